//! Who is compared: each serves one directory on one port until it is killed. Why each is set so: `lab/RIVALS.md`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bench::Contender;
use crate::error::{Context, Result};
use crate::program;
use crate::record::Side;
use crate::run::Invocation;

/// How a server is started. In its words and its configuration {ROOT}, {ADDR}, {PORT}, {WORK}, {CONF}, {METRICS}, {USER} and
/// its own settings are filled in.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) words: &'static [&'static str],
    /// What its configuration file is made from.
    pub(super) template: Option<&'static str>,
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// Whether it tells what it sent by which route.
    pub(super) tells_routes: bool,
}

/// What is filled in.
pub(super) struct Places<'a> {
    pub(super) root: &'a Path,
    pub(super) work: &'a Path,
    pub(super) addr: SocketAddr,
    pub(super) metrics: SocketAddr,
}

/// A rival's program and how it is told what to do.
struct Rival {
    name: &'static str,
    program: &'static str,
    package: &'static str,
    words: &'static [&'static str],
    template: Option<&'static str>,
    settings: &'static [(&'static str, &'static str)],
}

const NGINX: Rival = Rival {
    name: "nginx, sendfile on",
    program: "nginx",
    package: "Debian package nginx-light",
    words: &["-e", "stderr", "-c", "{CONF}"],
    template: Some(include_str!("../../rivals/nginx.conf")),
    settings: &[("SENDFILE", "on")],
};

const RIVALS: &[Rival] = &[
    NGINX,
    Rival {
        name: "nginx, sendfile off",
        settings: &[("SENDFILE", "off")],
        ..NGINX
    },
    Rival {
        name: "h2o",
        program: "h2o",
        package: "Debian package h2o",
        words: &["-c", "{CONF}"],
        template: Some(include_str!("../../rivals/h2o.yaml")),
        settings: &[],
    },
    Rival {
        name: "lighttpd",
        program: "lighttpd",
        package: "Debian package lighttpd",
        words: &["-D", "-f", "{CONF}"],
        template: Some(include_str!("../../rivals/lighttpd.conf")),
        settings: &[],
    },
    Rival {
        name: "Caddy",
        program: "caddy",
        package: "Debian package caddy",
        words: &["run", "--adapter", "caddyfile", "--config", "{CONF}"],
        template: Some(include_str!("../../rivals/Caddyfile")),
        settings: &[],
    },
    Rival {
        name: "Apache",
        program: "apache2",
        package: "Debian package apache2",
        words: &["-D", "FOREGROUND", "-f", "{CONF}"],
        template: Some(include_str!("../../rivals/apache.conf")),
        settings: &[],
    },
    Rival {
        name: "static-web-server",
        program: "static-web-server",
        package: "crate static-web-server",
        words: &[
            "--host",
            "127.0.0.1",
            "--port",
            "{PORT}",
            "--root",
            "{ROOT}",
            "--threads-multiplier=1",
            "--log-level=error",
            "--compression=false",
            "--cache-control-headers=false",
        ],
        template: None,
        settings: &[],
    },
    Rival {
        name: "miniserve",
        program: "miniserve",
        package: "crate miniserve",
        words: &[
            "--interfaces",
            "127.0.0.1",
            "--port",
            "{PORT}",
            "--workers",
            "1",
            "{ROOT}",
        ],
        template: None,
        settings: &[],
    },
    Rival {
        name: "dufs",
        program: "dufs",
        package: "crate dufs",
        words: &[
            "--bind",
            "127.0.0.1",
            "--port",
            "{PORT}",
            "--log-format",
            "",
            "{ROOT}",
        ],
        template: None,
        settings: &[],
    },
    Rival {
        name: "Python http.server",
        program: "python3",
        package: "Debian package python3",
        words: &[
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--protocol",
            "HTTP/1.1",
            "--directory",
            "{ROOT}",
            "{PORT}",
        ],
        template: None,
        settings: &[],
    },
];

const UNDERPASS: &[&str] = &[
    "serve",
    "{ROOT}",
    "--listen",
    "{ADDR}",
    "--metrics",
    "{METRICS}",
    "--threads",
    "1",
    "--quiet",
];

/// Everyone.
pub(super) fn all(underpass: Option<&Path>) -> Vec<Contender<Start>> {
    let ours = Contender::new("underpass", Side::Ours, underpass_serve(underpass));
    let rivals = RIVALS.iter().map(Rival::contender);
    let child = |name, side, words| Contender::new(name, side, Start::child(words));
    let children = [
        child(
            "axum + tower-http",
            Side::Rival,
            &["child", "tower-http", "{ROOT}", "{ADDR}"],
        ),
        child(
            "bare sendfile loop",
            Side::Floor,
            &["child", "http-sendfile", "{ROOT}", "{ADDR}"],
        ),
        child(
            "bare epoll loop",
            Side::Floor,
            &["child", "http-epoll", "{ROOT}", "{ADDR}"],
        ),
    ];
    [ours].into_iter().chain(rivals).chain(children).collect()
}

fn underpass_serve(binary: Option<&Path>) -> std::result::Result<Start, String> {
    let binary = binary.ok_or("no underpass binary (see --underpass)")?;
    let mut help = Command::new(binary);
    help.args(["serve", "--help"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !help.status().is_ok_and(|status| status.success()) {
        return Err("this underpass binary has no command serve".to_owned());
    }
    let start = Start::of(binary.to_owned(), UNDERPASS);
    Ok(Start {
        tells_routes: true,
        ..start
    })
}

impl Rival {
    fn contender(&self) -> Contender<Start> {
        let found = program::rival(self.program, self.package);
        let start = found.map(|program| Start {
            template: self.template,
            settings: self.settings,
            ..Start::of(program, self.words)
        });
        Contender::new(self.name, Side::Rival, start)
    }
}

impl Start {
    fn of(program: PathBuf, words: &'static [&'static str]) -> Self {
        Self {
            program,
            words,
            template: None,
            settings: &[],
            tells_routes: false,
        }
    }

    /// A hidden subcommand of the lab.
    fn child(words: &'static [&'static str]) -> std::result::Result<Self, String> {
        program::lab().map(|lab| Self::of(lab, words))
    }

    /// The command, and the text of the configuration file that it names, which is written to `work`.
    pub(super) fn invocation(&self, places: &Places) -> Result<(Invocation, Option<String>)> {
        let conf = places.work.join("configuration");
        let fill = |text: &str| places.fill(text, &conf, self.settings);
        let configuration = self.template.map(fill);
        if let Some(text) = &configuration {
            fs::write(&conf, text).context(|| format!("cannot write {}", conf.display()))?;
        }
        let words = self.words.iter().map(|word| fill(word));
        Ok((Invocation::new(&self.program).args(words), configuration))
    }
}

impl Places<'_> {
    fn fill(&self, text: &str, file: &Path, settings: &[(&str, &str)]) -> String {
        // Started by root, h2o becomes nobody, and Apache asks whom to become, who may not read our directory.
        let root = rustix::process::geteuid().is_root();
        let user = if root { "root" } else { "nobody" };
        let filled = text
            .replace("{ROOT}", &self.root.to_string_lossy())
            .replace("{WORK}", &self.work.to_string_lossy())
            .replace("{CONF}", &file.to_string_lossy())
            .replace("{ADDR}", &self.addr.to_string())
            .replace("{METRICS}", &self.metrics.to_string())
            .replace("{PORT}", &self.addr.port().to_string())
            .replace("{USER}", user);
        settings.iter().fold(filled, |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_words_and_templates_is_filled_in() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
        let places = Places {
            root: Path::new("/r"),
            work: Path::new("/w"),
            addr,
            metrics: addr,
        };
        for rival in RIVALS {
            let words = rival.words.join(" ");
            let template = rival.template.unwrap_or_default();
            let text = places.fill(
                &format!("{words}\n{template}"),
                Path::new("/c"),
                rival.settings,
            );
            let upper = |line: &str| {
                let mut after = line.split('{').skip(1);
                after.any(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
            };
            let mut lines = text.lines().filter(|line| !line.starts_with('#'));
            assert!(!lines.any(upper), "{}", rival.name);
            assert!(text.contains("8080"), "{}", rival.name);
        }
    }

    #[test]
    fn a_rival_that_is_missing_names_its_package() {
        let missing = Rival {
            program: "no-such-server",
            package: "Debian package its-package",
            ..NGINX
        };
        let why = missing.contender().program.unwrap_err();
        assert_eq!(
            why,
            "not installed: Debian package its-package (scripts/install-rivals)"
        );
    }
}
