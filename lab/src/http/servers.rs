//! Who is compared: each a process that serves one directory on one port until it is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Result};
use crate::program;
use crate::run::Invocation;

/// One row of the tables.
pub(super) struct Server {
    pub(super) name: &'static str,
    /// How to start it, or why it cannot be.
    pub(super) start: std::result::Result<Start, String>,
}

#[derive(Clone)]
pub(super) enum Start {
    Underpass(PathBuf),
    /// A program, the words before the name of its configuration file, and what that file is made from.
    Configured {
        program: PathBuf,
        words: &'static [&'static str],
        template: &'static str,
        settings: &'static [(&'static str, &'static str)],
    },
    /// A hidden subcommand of the lab.
    Child(&'static str),
}

pub(super) const UNDERPASS: &str = "underpass";
pub(super) const NGINX: &str = "nginx, sendfile on";
pub(super) const LIGHTTPD: &str = "lighttpd";
pub(super) const TOWER_HTTP: &str = "axum + tower-http";
pub(super) const BARE: &str = "bare sendfile loop";

const NGINX_CONF: &str = include_str!("nginx.conf");
const NGINX_WORDS: &[&str] = &["-e", "stderr", "-c"];

/// Everyone.
pub(super) fn all(underpass: Option<&Path>) -> Vec<Server> {
    let nginx = |settings| configured("nginx", "nginx-light", NGINX_WORDS, NGINX_CONF, settings);
    let h2o = configured("h2o", "h2o", &["-c"], include_str!("h2o.yaml"), &[]);
    let lighttpd_conf = include_str!("lighttpd.conf");
    let lighttpd = configured("lighttpd", "lighttpd", &["-D", "-f"], lighttpd_conf, &[]);
    let row = |name, start| Server { name, start };
    vec![
        row(UNDERPASS, underpass_serve(underpass)),
        row(NGINX, nginx(&[("SENDFILE", "on")])),
        row("nginx, sendfile off", nginx(&[("SENDFILE", "off")])),
        row("h2o", h2o),
        row(LIGHTTPD, lighttpd),
        row(TOWER_HTTP, Ok(Start::Child("tower-http"))),
        row(BARE, Ok(Start::Child("http-sendfile"))),
    ]
}

fn underpass_serve(binary: Option<&Path>) -> std::result::Result<Start, String> {
    let binary = binary.ok_or("no underpass binary (see --underpass)")?;
    let mut help = Command::new(binary);
    help.args(["serve", "--help"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if help.status().is_ok_and(|status| status.success()) {
        return Ok(Start::Underpass(binary.to_owned()));
    }
    Err("this underpass binary has no command serve".to_owned())
}

fn configured(
    name: &str,
    package: &str,
    words: &'static [&'static str],
    template: &'static str,
    settings: &'static [(&'static str, &'static str)],
) -> std::result::Result<Start, String> {
    // Where Debian keeps servers, which is not on everybody's PATH.
    let sbin = Path::new("/usr/sbin").join(name);
    let found = program::on_path(name).or_else(|| sbin.is_file().then_some(sbin));
    let program = found.ok_or_else(|| format!("not installed: Debian package {package}"))?;
    Ok(Start::Configured {
        program,
        words,
        template,
        settings,
    })
}

impl Start {
    /// What a rival's program says of itself, like `nginx version: nginx/1.22.1`.
    pub(super) fn version(&self) -> Option<String> {
        let Self::Configured { program, .. } = self else {
            return None;
        };
        let said = Command::new(program)
            .arg("-v")
            .stdin(Stdio::null())
            .output();
        let said = said.ok()?;
        // nginx says it on standard error.
        let said = [said.stdout, said.stderr].concat();
        let line = String::from_utf8_lossy(&said).lines().next()?.to_owned();
        Some(line)
    }

    /// The command that serves `root`; a configuration file, if it needs one, is written to `work`.
    pub(super) fn invocation(&self, root: &Path, port: u16, work: &Path) -> Result<Invocation> {
        let addr = format!("127.0.0.1:{port}");
        match self {
            Self::Underpass(binary) => {
                let serve = Invocation::new(binary).arg("serve").arg(root);
                Ok(serve.args(["--listen", &addr, "--threads", "1", "--quiet"]))
            }
            Self::Child(name) => Ok(Invocation::child(name)?.arg(root).arg(addr)),
            Self::Configured {
                program,
                words,
                template,
                settings,
            } => {
                let file = work.join("configuration");
                let text = fill(template, root, port, work, settings);
                fs::write(&file, text).context(|| format!("cannot write {}", file.display()))?;
                Ok(Invocation::new(program).args(*words).arg(file))
            }
        }
    }
}

fn fill(template: &str, root: &Path, port: u16, work: &Path, settings: &[(&str, &str)]) -> String {
    // Started by root, h2o becomes nobody, who may not read our directory.
    let root_user = rustix::process::geteuid().is_root();
    let user = if root_user { "user: root" } else { "" };
    let filled = template
        .replace("{ROOT}", &root.to_string_lossy())
        .replace("{WORK}", &work.to_string_lossy())
        .replace("{PORT}", &port.to_string())
        .replace("{USER}", user);
    settings.iter().fold(filled, |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_a_template_is_filled_in() {
        for server in all(None) {
            let Ok(Start::Configured {
                template, settings, ..
            }) = server.start
            else {
                continue;
            };
            let text = fill(template, Path::new("/r"), 8080, Path::new("/w"), settings);
            let rest: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            let upper = |line: &str| {
                let mut after = line.split('{').skip(1);
                after.any(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
            };
            assert!(!rest.iter().any(|line| upper(line)), "{}", server.name);
            assert!(text.contains("8080"), "{}", server.name);
        }
    }

    #[test]
    fn a_rival_that_is_missing_names_its_package() {
        let missing = configured("no-such-server", "its-package", &[], "", &[]);
        let why = missing.err().unwrap();
        assert_eq!(why, "not installed: Debian package its-package");
    }
}
