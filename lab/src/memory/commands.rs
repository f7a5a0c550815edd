//! The commands whose memory is measured, each with the peer that it needs.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::pin::Pinning;
use crate::receipt::Receipt;
use crate::run::{Finished, Invocation, run};
use crate::sendfile::send_by_sendfile;
use crate::server::running::free_addresses;
use crate::sink::Sink;

/// Pause between two attempts to reach a `recv` that does not listen yet.
const RETRY: Duration = Duration::from_millis(20);

/// One run of one command on one file.
pub(super) struct Bench {
    pub(super) underpass: PathBuf,
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) size: u64,
}

pub(super) type Measure = fn(&Bench) -> Result<Finished>;

/// `true` moves nothing: a process starts with the peak memory of its parent (see `sys::Usage`), so
/// no row can be below that of `true`.
pub(super) const COMMANDS: &[(&str, Measure)] = &[
    ("true (the floor)", |_| run(&Invocation::new("true"))),
    ("underpass send", Bench::send),
    ("underpass recv", Bench::recv),
    ("underpass copy", Bench::copy),
    ("underpass explain", Bench::explain),
];

impl Bench {
    fn send(&self) -> Result<Finished> {
        let sink = Sink::start(Pinning::new(false)?)?;
        let send = self
            .underpass("send")
            .arg(&self.from)
            .arg(format!("tcp://127.0.0.1:{}", sink.port()));
        let finished = self.with_receipt(send);
        let received = sink.finish();
        let (finished, received) = (finished?, received?);
        if received.bytes != self.size {
            return Err(Error::new(format!(
                "the sink received {} of {} bytes",
                received.bytes, self.size
            )));
        }
        Ok(finished)
    }

    fn recv(&self) -> Result<Finished> {
        let [addr] = free_addresses()?;
        let receiver_gone = AtomicBool::new(false);
        let recv = self
            .underpass("recv")
            .arg(format!("tcp://{addr}"))
            .arg(&self.to)
            .arg("--force");
        let (finished, fed) = thread::scope(|scope| {
            let feeder = scope.spawn(|| feed(&self.from, addr, &receiver_gone));
            let finished = self.with_receipt(recv);
            receiver_gone.store(true, Ordering::Relaxed);
            (
                finished,
                feeder
                    .join()
                    .unwrap_or_else(|_| Err(Error::new("the feeding thread died"))),
            )
        });
        let finished = finished?;
        fed?;
        self.arrived(finished)
    }

    fn copy(&self) -> Result<Finished> {
        let finished = self.with_receipt(self.underpass("copy").arg(&self.from).arg(&self.to))?;
        self.arrived(finished)
    }

    fn explain(&self) -> Result<Finished> {
        run(&self.underpass("explain").arg(&self.from).arg(&self.to))
    }

    fn underpass(&self, command: &str) -> Invocation {
        Invocation::new(&self.underpass).arg(command)
    }

    fn with_receipt(&self, invocation: Invocation) -> Result<Finished> {
        let finished = run(&invocation.args(["--receipt", "json", "--quiet"]))?;
        Receipt::parse(&finished.stdout)?.check(self.size, None)?;
        Ok(finished)
    }

    fn arrived(&self, finished: Finished) -> Result<Finished> {
        let length = fs::metadata(&self.to)
            .context(|| format!("cannot look at {}", self.to.display()))?
            .len();
        if length != self.size {
            return Err(Error::new(format!(
                "{length} of {} bytes are in the target",
                self.size
            )));
        }
        Ok(finished)
    }
}

/// Sends the file as soon as somebody listens. Gives up if the receiver has ended.
fn feed(from: &Path, addr: SocketAddr, receiver_gone: &AtomicBool) -> Result<()> {
    loop {
        match TcpStream::connect(addr) {
            Ok(socket) if !is_own_echo(&socket) => return send_by_sendfile(from, &socket),
            _ if receiver_gone.load(Ordering::Relaxed) => {
                return Err(Error::new("nobody listened"));
            }
            _ => thread::sleep(RETRY),
        }
    }
}

/// Whether TCP has connected the socket to itself. This happens if the client port that it gets is
/// the free port to which it connects.
fn is_own_echo(socket: &TcpStream) -> bool {
    matches!((socket.local_addr(), socket.peer_addr()), (Ok(own), Ok(peer)) if own == peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feeder_gives_up_when_the_receiver_is_gone() {
        let gone = AtomicBool::new(true);
        let [addr] = free_addresses().unwrap();
        let fed = feed(Path::new("/dev/null"), addr, &gone);
        assert_eq!(fed, Err(Error::new("nobody listened")));
    }
}
