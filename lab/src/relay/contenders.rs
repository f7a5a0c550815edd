//! Who is compared: each passes connections from one port to another until it is killed, with one thread where it has threads.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Result};
use crate::program;
use crate::run::Invocation;

pub(crate) const UNDERPASS: &str = "underpass";
/// HAProxy as it relays best: the one that the goals are about.
pub(crate) const HAPROXY: &str = "HAProxy, splice";
pub(crate) const SOCAT: &str = "socat";
pub(crate) const BARE: &str = "bare splice loop";

/// Somebody who is compared.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// How it is started, or what is missing.
    pub(crate) start: std::result::Result<Start, String>,
}

/// How a relay is started. In its words and its configuration {LISTEN}, {PORT}, {TARGET}, {TARGET_PORT}, {METRICS} and {CONF}
/// are filled in.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    program: PathBuf,
    words: Vec<String>,
    /// What its configuration file is made from, and what is put into it besides.
    template: Option<(&'static str, &'static [(&'static str, &'static str)])>,
    /// What it is to be asked for its version.
    version: Option<&'static str>,
    /// Whether it tells what it carried by which route.
    pub(super) tells_routes: bool,
}

/// What is filled in.
pub(super) struct Places<'a> {
    pub(super) work: &'a Path,
    pub(super) addr: SocketAddr,
    pub(super) target: SocketAddr,
    pub(super) metrics: SocketAddr,
}

/// What others have in common with the splicing one: `maxconn` and time limits of the run, one thread.
const HAPROXY_CONF: &str = include_str!("haproxy.conf");
const NGINX_CONF: &str = include_str!("nginx-stream.conf");

/// A pipe of 1 MiB and two options instead of the guess that `splice-auto` is: as fast with one connection, faster with many.
const SPLICING: &[(&str, &str)] = &[("SPLICE", "option splice-request\n    option splice-response")];
const COPYING: &[(&str, &str)] = &[("SPLICE", "no option splice-auto")];

/// Everyone.
pub(crate) fn all(underpass: Option<&Path>) -> Vec<Contender> {
    let row = |name, start| Contender { name, start };
    vec![
        row(UNDERPASS, ours(underpass, None)),
        row(HAPROXY, haproxy(SPLICING)),
        row("HAProxy, copying", haproxy(COPYING)),
        row("nginx stream", nginx()),
        row(SOCAT, socat()),
        row("tokio copy_bidirectional", child("relay-tokio", &["65536"])),
        row(BARE, child("relay-splice", &[])),
    ]
}

/// `underpass relay`, with this route alone if one is named.
pub(crate) fn ours(
    binary: Option<&Path>,
    route: Option<&str>,
) -> std::result::Result<Start, String> {
    let binary = binary.ok_or("no underpass binary (see --underpass)")?;
    let mut help = Command::new(binary);
    help.args(["relay", "--help"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !help.status().is_ok_and(|status| status.success()) {
        return Err("this underpass binary has no command relay".to_owned());
    }
    let mut start = Start::of(
        binary.to_owned(),
        &[
            "relay", "--listen", "{LISTEN}", "--to", "{TARGET}", "--metrics", "{METRICS}",
            "--threads", "1", "--quiet",
        ],
    );
    if let Some(route) = route {
        start.words.extend(["--route".to_owned(), route.to_owned()]);
    }
    start.tells_routes = true;
    Ok(start)
}

fn haproxy(
    settings: &'static [(&'static str, &'static str)],
) -> std::result::Result<Start, String> {
    let mut start = Start::of(installed("haproxy", "haproxy")?, &["-db", "-f", "{CONF}"]);
    start.template = Some((HAPROXY_CONF, settings));
    start.version = Some("-v");
    Ok(start)
}

fn nginx() -> std::result::Result<Start, String> {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !Path::new(MODULE).is_file() {
        return Err("not installed: Debian package libnginx-mod-stream".to_owned());
    }
    let words = &["-e", "stderr", "-c", "{CONF}"];
    let mut start = Start::of(installed("nginx", "nginx-light")?, words);
    start.template = Some((NGINX_CONF, &[("MODULE", MODULE)]));
    start.version = Some("-v");
    Ok(start)
}

/// With the buffer with which it relays fastest.
fn socat() -> std::result::Result<Start, String> {
    let words = &[
        "-b",
        "65536",
        "TCP-LISTEN:{PORT},bind=127.0.0.1,fork,reuseaddr,backlog=4096,nodelay",
        "TCP:{TARGET},nodelay",
    ];
    let mut start = Start::of(installed("socat", "socat")?, words);
    start.version = Some("-V");
    Ok(start)
}

fn child(name: &str, rest: &[&str]) -> std::result::Result<Start, String> {
    let lab = std::env::current_exe().map_err(|error| format!("the lab's own program: {error}"))?;
    let words = [&["child", name, "{LISTEN}", "{TARGET}"], rest].concat();
    Ok(Start::of(lab, &words))
}

fn installed(name: &str, package: &str) -> std::result::Result<PathBuf, String> {
    // Where Debian keeps servers, which is not on everybody's PATH.
    let sbin = Path::new("/usr/sbin").join(name);
    let found = program::on_path(name).or_else(|| sbin.is_file().then_some(sbin));
    found.ok_or_else(|| format!("not installed: Debian package {package}"))
}

impl Start {
    fn of(program: PathBuf, words: &[&str]) -> Self {
        Self {
            program,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            template: None,
            version: None,
            tells_routes: false,
        }
    }

    /// What a rival's program says of itself, like `HAProxy version 2.6.12`.
    pub(super) fn version(&self) -> Option<String> {
        let mut command = Command::new(&self.program);
        let said = command.arg(self.version?).stdin(Stdio::null()).output();
        let said = said.ok()?;
        // nginx says it on standard error.
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| line.contains("version"))?;
        Some(line.to_owned())
    }

    pub(super) fn invocation(&self, places: &Places<'_>) -> Result<Invocation> {
        let file = places.work.join("configuration");
        if let Some((template, settings)) = self.template {
            let text = settings.iter().fold(template.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), value)
            });
            fs::write(&file, places.fill(&text))
                .context(|| format!("cannot write {}", file.display()))?;
        }
        let words = self.words.iter().map(|word| places.fill(word));
        Ok(Invocation::new(&self.program).args(words))
    }
}

impl Places<'_> {
    fn fill(&self, text: &str) -> String {
        text.replace("{LISTEN}", &self.addr.to_string())
            .replace("{PORT}", &self.addr.port().to_string())
            .replace("{TARGET}", &self.target.to_string())
            .replace("{METRICS}", &self.metrics.to_string())
            .replace("{WORK}", &self.work.to_string_lossy())
            .replace("{CONF}", &self.work.join("configuration").to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_filled_in() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let places = Places {
            work: Path::new("/w"),
            addr: addr(1001),
            target: addr(1002),
            metrics: addr(1003),
        };
        for contender in all(Some(Path::new("/bin/true"))) {
            let Ok(start) = contender.start else {
                println!("skipped: {}", contender.name);
                continue;
            };
            let mut texts = start.words.clone();
            if let Some((template, settings)) = start.template {
                texts.push(settings.iter().fold(template.to_owned(), |text, (name, value)| {
                    text.replace(&format!("{{{name}}}"), value)
                }));
            }
            let filled: String = texts.iter().map(|text| places.fill(text) + "\n").collect();
            let upper = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
            assert!(!filled.split('{').skip(1).any(upper), "{filled}");
            for port in ["1001", "1002"] {
                assert!(filled.contains(port), "{filled}");
            }
        }
    }
}
