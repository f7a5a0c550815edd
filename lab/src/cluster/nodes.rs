//! The nodes, and the balancer in front of them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::objects::{BUCKET, READY};
use super::ports::Ports;
use super::{PATIENCE, client};
use crate::error::{Context, Error, Result};
use crate::run::Invocation;
use crate::spawned::Spawned;
use crate::{process, program, testfile};

const HAPROXY: &str = include_str!("../../cluster/haproxy.cfg");
const NGINX: &str = include_str!("../../cluster/nginx.conf");
const VARNISH: &str = include_str!("../../cluster/varnish.vcl");
/// The addresses that are in the balancer's configuration.
const BALANCER: &str = "127.0.0.1:8080";
const NODES: [&str; 3] = ["127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083"];

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// `underpass serve s3://…`
    Underpass,
    /// nginx with `proxy_cache` and `slice`
    Nginx,
    /// Varnish, with its objects in memory
    Varnish,
}

/// How nodes are set.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) kind: Kind,
    pub(super) underpass: Option<PathBuf>,
    /// Bytes of the cache of each.
    pub(super) cache: u64,
    /// Seconds between two questions about one object.
    pub(super) revalidate: u32,
    /// Where S3 is, as nodes are told.
    pub(super) store: SocketAddr,
    /// Where their caches are made.
    pub(super) dir: PathBuf,
}

pub(super) struct Nodes {
    settings: Settings,
    pub(super) addrs: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    running: Vec<Option<Spawned>>,
}

impl Nodes {
    pub(super) fn start(settings: Settings, count: usize, ports: &mut Ports) -> Result<Self> {
        let addrs = || (0..count).map(|_| ports.next()).collect::<Result<Vec<_>>>();
        let mut addrs = addrs;
        let mut nodes = Self {
            settings,
            addrs: addrs()?,
            metrics: addrs()?,
            running: Vec::new(),
        };
        for number in 0..count {
            let node = nodes.node(number)?;
            nodes.running.push(Some(node));
        }
        Ok(nodes)
    }

    /// Kills a node. Its cache stays on the disk.
    pub(super) fn kill(&mut self, number: usize) {
        self.running[number] = None;
    }

    /// Starts it again.
    pub(super) fn restart(&mut self, number: usize) -> Result<()> {
        self.running[number] = Some(self.node(number)?);
        Ok(())
    }

    /// The process of a node that runs.
    pub(super) fn pid(&self, number: usize) -> Option<u32> {
        self.running[number].as_ref().map(Spawned::pid)
    }

    /// CPU time so far of those that run.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let running = self.running.iter().flatten();
        running.map(|node| process::cpu(node.pid())).sum()
    }

    /// How each is started.
    pub(super) fn command(&self) -> Result<String> {
        Ok(self.invocation(0)?.to_string())
    }

    fn node(&self, number: usize) -> Result<Spawned> {
        let work = testfile::work_dir(&std::env::temp_dir())?;
        let invocation = self.invocation(number)?;
        let mut node = Spawned::start(&invocation, work, Stdio::null())?;
        let addr = self.addrs[number];
        // Varnish listens before it can answer.
        let head = format!("HEAD /{READY}");
        node.within(PATIENCE, || client::request(addr, &head, "", &[]).ok())?;
        Ok(node)
    }

    fn invocation(&self, number: usize) -> Result<Invocation> {
        let dir = self.settings.dir.join(format!("node-{number}"));
        fs::create_dir_all(&dir).context(|| format!("cannot make {}", dir.display()))?;
        match self.settings.kind {
            Kind::Underpass => self.underpass(number, &dir),
            Kind::Nginx => self.nginx(number, &dir),
            Kind::Varnish => self.varnish(number, &dir),
        }
    }

    fn underpass(&self, number: usize, dir: &Path) -> Result<Invocation> {
        let settings = &self.settings;
        let binary = settings.underpass.as_deref().ok_or_else(|| {
            Error::new("no underpass binary: build it or name it with --underpass")
        })?;
        knows_stores(binary)?;
        // env(1) becomes the node.
        let words = Invocation::new("env")
            .arg(format!("AWS_ENDPOINT_URL=http://{}", settings.store))
            .args(["AWS_ALLOW_HTTP=true", "AWS_REGION=us-east-1"])
            .arg(binary)
            .args(["serve", &format!("s3://{BUCKET}"), "--quiet", "--threads=1"])
            .args(["--listen", &self.addrs[number].to_string()])
            .args(["--metrics", &self.metrics[number].to_string()])
            .args(["--cache", &dir.display().to_string()])
            .arg(format!("--cache-size={}", settings.cache))
            .arg(format!("--revalidate={}s", settings.revalidate))
            .arg("--stale-if-error=60s");
        Ok(words)
    }

    fn nginx(&self, number: usize, dir: &Path) -> Result<Invocation> {
        let settings = &self.settings;
        let nginx = program::rival("nginx", "Debian package nginx-light").map_err(Error::new)?;
        let root = rustix::process::geteuid().is_root();
        let text = fill(
            NGINX,
            &[
                ("WORK", dir.display().to_string()),
                ("USER", if root { "root" } else { "nobody" }.to_owned()),
                ("SIZE", settings.cache.to_string()),
                ("STORE", settings.store.to_string()),
                ("ADDR", self.addrs[number].to_string()),
                ("REVALIDATE", settings.revalidate.to_string()),
                ("BUCKET", BUCKET.to_owned()),
            ],
        );
        let conf = write(dir, "nginx.conf", &text)?;
        Ok(Invocation::new(nginx)
            .args(["-e", "stderr", "-c"])
            .arg(conf))
    }

    fn varnish(&self, number: usize, dir: &Path) -> Result<Invocation> {
        let settings = &self.settings;
        let varnish = program::rival("varnishd", "Debian package varnish").map_err(Error::new)?;
        let text = fill(
            VARNISH,
            &[
                ("STORE_HOST", settings.store.ip().to_string()),
                ("STORE_PORT", settings.store.port().to_string()),
                ("REVALIDATE", settings.revalidate.to_string()),
                ("BUCKET", BUCKET.to_owned()),
            ],
        );
        let conf = write(dir, "varnish.vcl", &text)?;
        Ok(Invocation::new(varnish)
            .args(["-F", "-j", "none", "-T", "none", "-n"])
            .arg(dir.join("varnish"))
            .args(["-a", &self.addrs[number].to_string()])
            .arg("-f")
            .arg(conf)
            .arg(format!("-smalloc,{}", settings.cache))
            .args(["-p", "thread_pools=1"]))
    }
}

/// Fills in what a configuration has in braces.
fn fill(text: &str, names: &[(&str, String)]) -> String {
    let fill =
        |text: String, (name, value): &(&str, String)| text.replace(&format!("{{{name}}}"), value);
    names.iter().fold(text.to_owned(), fill)
}

/// Starts HAProxy in front of the nodes, with its configuration in `dir`.
pub(super) fn balancer(
    nodes: &[SocketAddr],
    dir: &Path,
    ports: &mut Ports,
) -> Result<(Spawned, SocketAddr)> {
    let haproxy = program::rival("haproxy", "Debian package haproxy").map_err(Error::new)?;
    let addr = ports.next()?;
    let conf = write(dir, "haproxy.cfg", &configuration(addr, nodes))?;
    let invocation = Invocation::new(haproxy).args(["-db", "-f"]).arg(conf);
    let work = testfile::work_dir(&std::env::temp_dir())?;
    let mut running = Spawned::start(&invocation, work, Stdio::null())?;
    running.within(PATIENCE, || TcpStream::connect(addr).ok())?;
    Ok((running, addr))
}

/// The configuration of the book, at other addresses.
fn configuration(balancer: SocketAddr, nodes: &[SocketAddr]) -> String {
    let text = HAPROXY.replace(BALANCER, &balancer.to_string());
    let pairs = NODES.iter().zip(nodes);
    pairs.fold(text, |text, (written, node)| {
        text.replace(written, &node.to_string())
    })
}

/// Fails if this binary cannot serve a store.
fn knows_stores(binary: &Path) -> Result<()> {
    let mut help = Command::new(binary);
    help.args(["serve", "--help"]).stdin(Stdio::null());
    let help = help.output().context(|| "cannot start underpass".into())?;
    if String::from_utf8_lossy(&help.stdout).contains("--cache-size") {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} has no serve --cache-size, so it cannot serve a store",
        binary.display()
    )))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_replaced() {
        let addrs: Vec<SocketAddr> = (1..=4)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .collect();
        let text = configuration(addrs[0], &addrs[1..]);
        assert!(!text.contains(":80"), "{text}");
        for addr in &addrs {
            assert!(text.contains(&format!("{addr}\n")), "{text}");
        }
    }
}
