//! A relay between two ends that keeps what passes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use super::pair;

/// A relay between two sockets.
pub(crate) struct Tap {
    directions: Vec<JoinHandle<Vec<u8>>>,
}

impl Tap {
    /// The two ends of a connection that passes through a tap.
    pub(crate) fn between() -> (TcpStream, TcpStream, Self) {
        let ((one, near), (far, other)) = (pair(), pair());
        (one, other, Self::joining(near, far))
    }

    /// Puts a tap before a socket. Gives the end that takes the socket's place.
    pub(crate) fn before(far: TcpStream) -> (TcpStream, Self) {
        let (one, near) = pair();
        (one, Self::joining(near, far))
    }

    fn joining(near: TcpStream, far: TcpStream) -> Self {
        let copies = [
            (near.try_clone().unwrap(), far.try_clone().unwrap()),
            (far, near),
        ];
        let directions = copies.map(|(from, to)| thread::spawn(move || pass(from, to)));
        Self {
            directions: directions.into(),
        }
    }

    /// All that passed, in both directions, when both have ended.
    pub(crate) fn all(self) -> Vec<u8> {
        let passed = self.directions.into_iter().map(|it| it.join().unwrap());
        passed.collect::<Vec<_>>().concat()
    }

    /// What the far end sent, when both have ended.
    pub(crate) fn far_sent(self) -> Vec<u8> {
        let passed = self.directions.into_iter().map(|it| it.join().unwrap());
        passed.last().unwrap()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut part) {
        all.extend_from_slice(&part[..count]);
        if to.write_all(&part[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    all
}
