//! A running contender, with the producer and all subscribers connected.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use super::producer::{Place, Producer};
use super::readers::{Readers, Waiting};
use crate::bench::Bench;
use crate::contender::{Contender, Places, Source};
use crate::error::{Context, Error, Result};
use crate::process;
use crate::server::running::free_addresses;
use crate::spawned::Spawned;

/// A process, and the connections to it.
pub(super) struct Running {
    program: Spawned,
    ends: bool,
    /// The CPU time that it had used, and when, as the first subscriber connected.
    pub(super) before: (Duration, Instant),
}

/// A contender that has ended.
pub(super) struct Finished {
    pub(super) stdout: String,
    pub(super) cpu_s: f64,
}

/// What is sent to the subscribers.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Stream(Source),
    File(&'a Path),
}

impl Running {
    /// Starts it on this thread's processor, and connects the producer and all subscribers.
    pub(super) fn start(
        bench: &Bench,
        who: &Contender,
        what: What<'_>,
        subscribers: usize,
    ) -> Result<(Self, Producer, Readers)> {
        let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        let waiting = Waiting::listen(if connects(who) { subscribers } else { 0 })?;
        let [listen, from] = free_addresses()?;
        let source = source(what, work.path(), from);
        let places = Places::default()
            .with("LISTEN", &listen)
            .with("PORT", &listen.port())
            .with("N", &subscribers)
            .with("WORK", &work.path().display());
        let places = match what {
            What::File(path) => places
                .with("FILE", &path.display())
                .with("DIR", &path.parent().unwrap_or(path).display()),
            What::Stream(_) => places
                .with("SOURCE", &source.address())
                .with("SOURCE_PORT", &from.port())
                .with("PLAIN", &source.plain()),
        };
        let invocation = bench.invocation(&to_each(who, &waiting.ports()?)?, places)?;
        let mut program = Spawned::start(&invocation, work, Stdio::piped())?;
        let stdin = program.take_stdin();
        let mut running = Self {
            program,
            ends: who.row.ends.0,
            before: (Duration::ZERO, Instant::now()),
        };
        let joined = running.join(waiting, (listen, subscribers), &source, stdin);
        let (producer, readers) = running.explain(joined)?;
        Ok((running, producer, readers))
    }

    fn join(
        &mut self,
        waiting: Waiting,
        (listen, subscribers): (SocketAddr, usize),
        source: &Place,
        mut stdin: Option<ChildStdin>,
    ) -> Result<(Producer, Readers)> {
        if !waiting.is_empty() {
            let connect = || Producer::connect(source, &mut stdin).ok();
            let producer = self.program.patiently(connect)?;
            let readers = waiting.accept()?;
            self.before = (process::cpu(self.program.pid())?, Instant::now());
            return Ok((producer, readers));
        }
        // The first connection is a subscriber already. A connection that only checks whether it
        // listens would be one too.
        let first = self.program.patiently(|| TcpStream::connect(listen).ok())?;
        self.before = (process::cpu(self.program.pid())?, Instant::now());
        let readers = Readers::connect(first, listen, subscribers)?;
        Ok((Producer::connect(source, &mut stdin)?, readers))
    }

    /// Stops the process if needed. Returns what it printed and used.
    pub(super) fn finish(mut self) -> Result<Finished> {
        if !self.ends {
            self.program.terminate();
        }
        let (status, usage, stdout) = self.program.finish()?;
        if self.ends && !status.success() {
            return self.explain(Err(Error::new(format!("it failed ({status})"))));
        }
        let used = usage.user_s + usage.system_s;
        Ok(Finished {
            stdout,
            cpu_s: used - self.before.0.as_secs_f64(),
        })
    }

    /// Adds to a failed measurement what the contender printed last.
    pub(super) fn explain<T>(&mut self, measured: Result<T>) -> Result<T> {
        self.program.explain(measured)
    }

    /// Kills it, so that nobody waits for it.
    pub(super) fn kill(&self) {
        self.program.kill();
    }
}

/// Whether it connects to the subscribers, and not they to it.
fn connects(who: &Contender) -> bool {
    who.row.each.is_some()
}

/// The contender with additional words for each subscriber that it connects to.
fn to_each(who: &Contender, ports: &[u16]) -> Result<Contender> {
    let mut who = who.clone();
    let each = who.row.each.take().unwrap_or_default();
    for port in ports {
        let places = Places::default()
            .with("TO", &format!("127.0.0.1:{port}"))
            .with("TO_PORT", &port);
        for word in &each.0 {
            who.row.more.0.push(places.fill(word)?);
        }
    }
    Ok(who)
}

/// Where the producer will connect.
fn source(what: What<'_>, work: &Path, free: SocketAddr) -> Place {
    match what {
        What::File(_) | What::Stream(Source::Pipe) => Place::Stdin,
        What::Stream(Source::Tcp) => Place::Tcp(free),
        What::Stream(Source::Unix) => Place::Unix(work.join("producer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_connects_to_its_subscribers_is_told_of_each() {
        let row = toml::from_str("words = '-q'\neach = '-O {TO}'").unwrap();
        let program = Ok("/bin/true".into());
        let who = to_each(&Contender { row, program }, &[7, 8]).unwrap();
        let words: Vec<_> = who.row.words().collect();
        assert_eq!(words, ["-q", "-O", "127.0.0.1:7", "-O", "127.0.0.1:8"]);
    }
}
