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
        let copies = [
            (near.try_clone().unwrap(), far.try_clone().unwrap()),
            (far, near),
        ];
        let directions = copies.map(|(from, to)| thread::spawn(move || pass(from, to)));
        let directions = directions.into();
        (one, other, Self { directions })
    }

    /// All that passed, in both directions, when both have ended.
    pub(crate) fn all(self) -> Vec<u8> {
        let passed = self.directions.into_iter().map(|it| it.join().unwrap());
        passed.collect::<Vec<_>>().concat()
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
