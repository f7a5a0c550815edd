//! The engine's relay and fan-out, stepped by hand: no byte enters user space.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use underpass::fan_out::{FanOutSettings, Hub, StreamSource, Subscriber};
use underpass::relay::{Direction, Relay, RelaySettings};
use underpass::{Route, Step, Wait};

use super::Passing;

/// A relay. Its sockets are open here too, because it resets both when it is dropped.
pub(super) struct Relayed {
    relay: Relay<TcpStream, TcpStream>,
    source: TcpStream,
    sink: TcpStream,
}

impl Relayed {
    /// Relays to the one socket in `sinks`.
    pub(super) fn new(source: TcpStream, mut sinks: Vec<TcpStream>) -> io::Result<Self> {
        let sink = sinks.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let settings = RelaySettings::new().route(Route::Splice);
        Ok(Self {
            relay: Relay::new(source.try_clone()?, sink.try_clone()?, &settings)?,
            source,
            sink,
        })
    }
}

impl Passing for Relayed {
    fn pass(&mut self) -> io::Result<u64> {
        let mut calls = 0;
        loop {
            calls += 1;
            match self.relay.step(Direction::Up) {
                Step::Done => return Ok(calls),
                Step::Blocked(wait) => {
                    let waited = match wait {
                        Wait::Source => (self.source.as_fd(), PollFlags::IN),
                        _ => (self.sink.as_fd(), PollFlags::OUT),
                    };
                    wait_for(&[waited])?;
                    calls += 1;
                }
                _ => {}
            }
        }
    }
}

/// A source and its subscribers, on one thread.
pub(super) struct FannedOut {
    source: StreamSource<TcpStream>,
    subscribers: Vec<Subscriber<TcpStream>>,
}

impl FannedOut {
    pub(super) fn new(source: TcpStream, sinks: Vec<TcpStream>) -> io::Result<Self> {
        let hub = Hub::new(FanOutSettings::new().route(Route::Splice));
        let subscribers = sinks.into_iter().map(|sink| hub.subscribe(sink));
        Ok(Self {
            subscribers: subscribers.collect::<Result<_, _>>()?,
            source: hub.source(source)?,
        })
    }
}

impl Passing for FannedOut {
    fn pass(&mut self) -> io::Result<u64> {
        let mut calls = 0;
        loop {
            calls += 1;
            let read = self.source.step();
            let mut over = read == Step::Done;
            let mut moved = matches!(read, Step::Moved(_));
            let mut waits = Vec::new();
            if read == Step::Blocked(Wait::Source) {
                waits.push((self.source.source().as_fd(), PollFlags::IN));
            }
            for subscriber in &mut self.subscribers {
                let stopped = loop {
                    calls += 1;
                    match subscriber.step() {
                        Step::Moved(_) => moved = true,
                        stopped => break stopped,
                    }
                };
                over &= stopped == Step::Done;
                if stopped == Step::Blocked(Wait::Sink) {
                    waits.push((subscriber.socket().as_fd(), PollFlags::OUT));
                }
            }
            if over {
                return Ok(calls);
            }
            if !moved {
                wait_for(&waits)?;
                calls += 1;
            }
        }
    }
}

fn wait_for(those: &[(BorrowedFd<'_>, PollFlags)]) -> io::Result<()> {
    let asked = those.iter();
    let mut asked: Vec<_> = asked
        .map(|(fd, wanted)| PollFd::from_borrowed_fd(*fd, *wanted))
        .collect();
    rustix::io::retry_on_intr(|| poll(&mut asked, None))?;
    Ok(())
}
