//! The bulk load: targets send a file from the page cache for ever, and clients discard what
//! arrives. One thread drives all of them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde::Serialize;

use super::pair::{PATIENCE, Pair};
use crate::clock::Clock;
use crate::error::{Context, Error, Result};
use crate::sys;

/// The most bytes sent or discarded at once, before the others have their turn.
const BITE: usize = 1 << 20;
/// How often a load that receives nothing looks at the clock.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// What arrived in the window.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Streamed {
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    pub(crate) relay_cpu_s: f64,
    /// CPU time of the thread that plays both ends.
    pub(crate) ends_cpu_s: f64,
}

/// Sends the first `size` bytes of `file` over and over from each target to its client: for
/// `warmup`, and then for `window`, which alone is counted. `relay_cpu` is called at both ends of
/// the window.
pub(crate) fn stream(
    pairs: &[Pair],
    file: &File,
    size: u64,
    (warmup, window): (Duration, Duration),
    relay_cpu: &dyn Fn() -> Result<Duration>,
) -> Result<Streamed> {
    let mut driver = Driver::new(pairs, file, size)?;
    driver.drive(warmup)?;
    let clock = Clock::start(relay_cpu)?;
    driver.arrived = 0;
    driver.drive(window)?;
    let spent = clock.stop()?;
    if driver.arrived == 0 {
        return Err(Error::new("nothing arrived in the window"));
    }
    Ok(Streamed {
        seconds: spent.seconds,
        bytes: driver.arrived,
        relay_cpu_s: spent.cpu_s,
        ends_cpu_s: spent.own_cpu_s,
    })
}

/// Sends `size` bytes of `file` through the relay, in both directions, and compares them.
pub(crate) fn compare(pair: &Pair, file: &File, size: u64) -> Result<()> {
    for (from, to) in [(&pair.client, &pair.target), (&pair.target, &pair.client)] {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| send(from, file, size));
            let same = arrives(to, file, size);
            if same.is_err() {
                // If the other thread still sends, nobody reads it any more.
                let _ = from.shutdown(Shutdown::Both);
            }
            let sent = sending.join();
            same.and(sent.map_err(|_| Error::new("the sending thread died"))?)
        })?;
    }
    Ok(())
}

/// Bytes that are compared at once.
const PIECE: usize = 256 << 10;

fn send(mut to: &TcpStream, file: &File, size: u64) -> Result<()> {
    each_piece(file, size, |piece, _| {
        to.write_all(piece)
            .context(|| "cannot send to the relay".into())
    })
}

fn arrives(mut from: &TcpStream, file: &File, size: u64) -> Result<()> {
    let mut got = vec![0; PIECE];
    each_piece(file, size, |piece, at| {
        let got = &mut got[..piece.len()];
        from.read_exact(got)
            .context(|| format!("the bytes from {at} on did not arrive"))?;
        let same = got == piece;
        same.then_some(())
            .ok_or_else(|| Error::new(format!("other bytes arrived after byte {at}")))
    })
}

fn each_piece(
    file: &File,
    size: u64,
    mut deal: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let piece = &mut piece[..(size - at).min(PIECE as u64) as usize];
        file.read_exact_at(piece, at)
            .context(|| "cannot read a file".into())?;
        deal(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

struct Driver<'a> {
    pairs: &'a [Pair],
    file: &'a File,
    size: u64,
    /// The position of each target in the file.
    offsets: Vec<u64>,
    epoll: rustix::fd::OwnedFd,
    /// The kernel writes nothing into this buffer, so its pages never exist.
    buffer: Vec<u8>,
    arrived: u64,
    heard: Instant,
}

impl<'a> Driver<'a> {
    fn new(pairs: &'a [Pair], file: &'a File, size: u64) -> Result<Self> {
        let context = || "the load cannot poll".to_owned();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context(context)?;
        for (at, pair) in pairs.iter().enumerate() {
            let ends = [
                (&pair.target, epoll::EventFlags::OUT),
                (&pair.client, epoll::EventFlags::IN),
            ];
            for (which, (socket, wanted)) in ends.into_iter().enumerate() {
                socket.set_nonblocking(true).context(context)?;
                let data = epoll::EventData::new_u64((2 * at + which) as u64);
                epoll::add(&epoll, socket, data, wanted).context(context)?;
            }
        }
        Ok(Self {
            pairs,
            file,
            size,
            offsets: vec![0; pairs.len()],
            epoll,
            buffer: vec![0; BITE],
            arrived: 0,
            heard: Instant::now(),
        })
    }

    fn drive(&mut self, time: Duration) -> Result<()> {
        let started = Instant::now();
        let mut events = Vec::with_capacity(2 * self.pairs.len());
        while started.elapsed() < time {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&LOOK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context(|| "the load cannot poll".into()),
            }
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            let before = self.arrived;
            for event in events.drain(..) {
                let which = event.data.u64() as usize;
                match which % 2 {
                    0 => self.send(which / 2)?,
                    _ => self.discard(which / 2)?,
                }
            }
            if self.arrived > before {
                self.heard = Instant::now();
            } else if self.heard.elapsed() > PATIENCE {
                return Err(Error::new("the relay stands still"));
            }
        }
        Ok(())
    }

    fn send(&mut self, at: usize) -> Result<()> {
        let offset = &mut self.offsets[at];
        let left = (self.size - *offset).min(BITE as u64) as usize;
        match sendfile(&self.pairs[at].target, self.file, Some(offset), left) {
            Ok(0) => return Err(Error::new("the file became shorter")),
            Ok(_) if *offset == self.size => *offset = 0,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "a target cannot send".into()),
        }
        Ok(())
    }

    fn discard(&mut self, at: usize) -> Result<()> {
        let client = &self.pairs[at].client;
        match recv(client, &mut self.buffer[..], RecvFlags::TRUNC) {
            Ok((_, 0)) => Err(Error::new("the relay closed a connection")),
            Ok((_, count)) => {
                self.arrived += count as u64;
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).context(|| "a client cannot receive".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::relay::bare;
    use crate::relay::pair::Target;
    use crate::testfile;

    const SIZE: u64 = (3 << 20) + 5;

    fn file() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = testfile::make(dir.path(), "hot", SIZE).unwrap();
        let file = File::open(path).unwrap();
        (dir, file)
    }

    fn through(relay: impl FnOnce(SocketAddr, SocketAddr) + Send + 'static) -> Pair {
        let target = Target::listen().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let (listen, to) = (free.local_addr().unwrap(), target.addr().unwrap());
        drop(free);
        std::thread::spawn(move || relay(listen, to));
        while TcpStream::connect(listen).is_err() {}
        target.connect(listen).unwrap()
    }

    #[test]
    fn our_own_relays_pass_every_byte_on_and_count_it() {
        let (_dir, file) = file();
        let pairs = [
            through(|listen, to| bare::splice_loop(listen, to).unwrap()),
            through(|listen, to| bare::tokio_copy(listen, to, 65536).unwrap()),
        ];
        for pair in &pairs {
            compare(pair, &file, SIZE).unwrap();
        }
        let times = (Duration::from_millis(10), Duration::from_millis(100));
        let streamed = stream(&pairs, &file, SIZE, times, &|| Ok(Duration::ZERO)).unwrap();
        assert!(streamed.bytes > 0 && streamed.seconds >= 0.1);
    }

    #[test]
    fn a_relay_that_changes_a_byte_is_found_out() {
        let (_dir, file) = file();
        let pair = through(|listen, to| {
            let listener = TcpListener::bind(listen).unwrap();
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(to).unwrap());
                for (mut from, mut to) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap()),
                    (far, near),
                ] {
                    std::thread::spawn(move || {
                        let (mut buffer, mut passed) = (vec![0; 4096], 0);
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            // After the greeting, somewhere in the middle.
                            if (passed..passed + count).contains(&1_000_000) {
                                buffer[1_000_000 - passed] ^= 1;
                            }
                            passed += count;
                            let _ = to.write_all(&buffer[..count]);
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        let error = compare(&pair, &file, SIZE).unwrap_err().to_string();
        assert!(error.starts_with("other bytes arrived"), "{error}");
    }
}
