//! What ends a sequence early, with every driver: the peer, the program, and files that have become
//! shorter. Faults of single calls are in the matrix.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fd::OwnedFd;
use rustix::net::sockopt;

use super::driver::{Driver, HANGS};
use super::rig::{SourceKind, content, dense, parts, tcp, tmpfs, unix};
use super::{BUDGET, Faulty, Receipt};
use crate::cancel::Cancel;
use crate::fake_layer::{self, FakeLayer};
use crate::layer::Layer;
use crate::step::{Step, Wait};
use crate::transfer::driven::Driven;
use crate::transfer::error::Error;
use crate::transfer::{EndedEarly, Part, Parts, Sequence};

/// Sends parts to a Unix socket whose reader ends after `most` bytes. Returns what it has read.
fn send(
    driver: Driver,
    parts: impl Parts,
    cancel: &Cancel,
    most: u64,
) -> (Result<Receipt, Error>, Vec<u8>) {
    let (near, far): (OwnedFd, OwnedFd) = unix();
    let reader: JoinHandle<Vec<u8>> = std::thread::spawn(move || {
        let mut got = Vec::new();
        File::from(far).take(most).read_to_end(&mut got).unwrap();
        got
    });
    let mut work = Sequence::new(parts, near)
        .budget(BUDGET)
        .idle_timeout(HANGS)
        .cancel(cancel)
        .start_with(Faulty::default())
        .unwrap();
    let sent = driver.drive(&mut work).map(|()| work.receipt());
    drop(work);
    (sent, reader.join().unwrap())
}

fn routed(receipt: &Receipt) -> u64 {
    receipt.routes.iter().map(|used| used.bytes).sum()
}

#[test]
fn a_sequence_whose_peer_goes_away_says_what_it_gave() {
    let all = content(SourceKind::Parts);
    for &driver in Driver::ALL {
        // The rest is more than a socket holds.
        for most in [0, 50, 3000, 3700, 50_000] {
            let cancel = Cancel::new().unwrap();
            let (sent, got) = send(driver, parts().into_iter(), &cancel, most);
            let error = sent.unwrap_err();
            assert!(error.is_disconnected(), "{driver:?} {most}: {error}");
            assert_eq!(got, all[..most as usize], "{driver:?} {most}");
            let receipt = error.receipt().unwrap();
            assert!(receipt.bytes >= most && !receipt.complete);
            assert_eq!(routed(receipt), receipt.bytes, "{driver:?} {most}");
        }
    }
}

#[test]
fn a_sequence_can_be_cancelled_before_each_part() {
    let all = content(SourceKind::Parts);
    for &driver in Driver::ALL {
        for moment in 0..parts().len() {
            let cancel = Cancel::new().unwrap();
            let cancelling = parts().into_iter().enumerate().map(|(number, part)| {
                if number == moment {
                    cancel.cancel();
                }
                part
            });
            let (sent, got) = send(driver, cancelling, &cancel, u64::MAX);
            let error = sent.unwrap_err();
            assert!(error.is_cancelled(), "{driver:?} {moment}: {error}");
            assert_eq!(error.bytes(), got.len() as u64, "{driver:?} {moment}");
            assert!(all.starts_with(&got), "{driver:?} {moment}");
            assert_eq!(routed(error.receipt().unwrap()), error.bytes());
        }
    }
}

/// Parts of a file that has become shorter.
struct Short {
    parts: std::vec::IntoIter<Part>,
    answer: EndedEarly,
    missing: Vec<u64>,
}

impl Short {
    fn new(answer: EndedEarly) -> Self {
        let file = Arc::new(dense(tmpfs()));
        let end = content(SourceKind::Parts).len() as u64;
        let parts = vec![
            Part::memory(*b"before"),
            Part::file(Arc::clone(&file), end - 100..end + 900),
            Part::file(file, end - 50_000..end + 150_000),
            Part::memory(*b"behind"),
        ];
        Self {
            parts: parts.into_iter(),
            answer,
            missing: Vec::new(),
        }
    }
}

impl Parts for &mut Short {
    fn next_part(&mut self) -> Option<Part> {
        self.parts.next()
    }

    fn ended_early(&mut self, missing: u64) -> EndedEarly {
        self.missing.push(missing);
        self.answer
    }
}

#[test]
fn pitfall_02_a_short_file_is_filled_up_or_ends_the_sequence() {
    let all = content(SourceKind::Parts);
    let cancel = Cancel::new().unwrap();
    for &driver in Driver::ALL {
        let mut filled = Short::new(EndedEarly::FillWithZeros);
        let (sent, got) = send(driver, &mut filled, &cancel, u64::MAX);
        assert_eq!(filled.missing, [900, 150_000], "{driver:?}");
        let wanted = [
            b"before",
            &all[all.len() - 100..],
            &[0; 900],
            &all[all.len() - 50_000..],
            &vec![0; 150_000],
            b"behind",
        ]
        .concat();
        assert!(got == wanted, "{driver:?}");
        let receipt = sent.unwrap();
        assert_eq!(receipt.bytes, wanted.len() as u64, "{driver:?}");
        assert_eq!(routed(&receipt), receipt.bytes, "{driver:?}");

        let mut ended = Short::new(EndedEarly::Fail);
        let (sent, got) = send(driver, &mut ended, &cancel, u64::MAX);
        let error = sent.unwrap_err();
        assert!(error.is_source_truncated(), "{driver:?}: {error}");
        assert_eq!(ended.missing, [900], "{driver:?}");
        // What was gathered had not been sent.
        assert_eq!((error.bytes(), got.len()), (0, 0), "{driver:?}");
    }
}

#[test]
fn what_never_left_this_process_is_not_delivered() {
    let (near, far) = tcp();
    sockopt::set_socket_send_buffer_size(&near, 4096).unwrap();
    sockopt::set_socket_recv_buffer_size(&far, 4096).unwrap();
    let layer = Arc::new(FakeLayer::user());
    let mut work = Sequence::new(parts().into_iter(), near)
        .sink_layer(Arc::clone(&layer) as Arc<dyn Layer>)
        .start_with(Faulty::default())
        .unwrap();
    while Driven::step(&mut work).unwrap() != Step::Blocked(Wait::Sink) {}
    assert!(layer.unsent() > 0);
    let receipt = work.receipt();
    assert!(!receipt.complete);
    assert_eq!(work.bytes(), receipt.bytes);
    assert_eq!(routed(&receipt), receipt.bytes);
    drop(work);
    let mut got = Vec::new();
    let _ = File::from(far).read_to_end(&mut got);
    assert_eq!(fake_layer::opened(&got).0.len() as u64, receipt.bytes);
}

/// A step at a time, each in a future of its own.
#[cfg(feature = "tokio")]
#[test]
fn a_sequence_goes_on_after_its_future_was_dropped() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let (near, far) = unix();
    rustix::io::ioctl_fionbio(&far, true).unwrap();
    let (mut far, mut got) = (File::from(far), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let sequence = Sequence::new(parts().into_iter(), near).budget(BUDGET);
    let mut running = sequence.start().unwrap();
    let mut dropped = 0;
    let receipt = loop {
        let polled = pin!(running.run_async()).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(done) = polled {
            break done.unwrap();
        }
        dropped += 1;
        assert!(dropped < 10_000, "it does not go on");
        let told = running.bytes();
        // What is there, and then EAGAIN.
        let _ = far.read_to_end(&mut got);
        assert_eq!(told, got.len() as u64);
    };
    assert!(dropped > 8, "{dropped}");
    assert_eq!(receipt.bytes, got.len() as u64);
    assert!(got == content(SourceKind::Parts));
    assert!(receipt.complete);
}
