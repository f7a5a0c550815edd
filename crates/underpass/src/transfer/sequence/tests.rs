use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use super::*;

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Content that differs at each place.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 251) as u8).collect()
}

fn reader(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut got = Vec::new();
        from.read_to_end(&mut got).unwrap();
        got
    })
}

/// A sink of each kind, and what reads it.
fn sinks() -> Vec<(&'static str, OwnedFd, JoinHandle<Vec<u8>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let (out, into) = std::io::pipe().unwrap();
    vec![
        ("tcp", tcp.into(), reader(listener.accept().unwrap().0)),
        ("unix", near.into(), reader(far)),
        ("pipe", into.into(), reader(out)),
    ]
}

/// The parts, and all their bytes in order.
fn mixed() -> (Vec<Part>, Vec<u8>) {
    let (small, large) = (content(3000), content(700_000));
    let parts = vec![
        Part::memory(b"head".to_vec()),
        Part::file(file(&small), 0..3000),
        Part::memory(vec![1; 512]),
        Part::file(file(&large), 100..700_000),
        Part::memory(vec![2; 100_000]),
        Part::file(file(&large), 0..300_000),
    ];
    let bytes = [
        b"head",
        &small[..],
        &[1; 512],
        &large[100..],
        &vec![2; 100_000],
        &large[..300_000],
    ]
    .concat();
    (parts, bytes)
}

#[test]
fn parts_arrive_in_order_and_large_files_are_not_copied() {
    for (name, sink, reader) in sinks() {
        let (parts, bytes) = mixed();
        let receipt = Sequence::new(parts.into_iter(), sink).run().unwrap();
        assert!(reader.join().unwrap() == bytes, "{name}");
        assert!(receipt.complete, "{name}");
        assert_eq!(receipt.bytes, bytes.len() as u64, "{name}");
        let copied = receipt
            .routes
            .iter()
            .filter(|used| used.route == Route::ReadWrite);
        let gathered = 4 + 3000 + 512 + 100_000;
        assert_eq!(
            copied.map(|used| used.bytes).sum::<u64>(),
            gathered,
            "{name}"
        );
        // Memory is copied once, a small file twice.
        assert_eq!(
            receipt.copies.cpu_bytes,
            Some(gathered + 3000),
            "{name}: {receipt}"
        );
    }
}

#[test]
fn a_file_is_written_at_its_position() {
    let sink = file(b"before");
    let (parts, bytes) = mixed();
    let receipt = Sequence::new(parts.into_iter(), &sink).run().unwrap();
    assert_eq!(receipt.bytes, bytes.len() as u64);
    let mut got = Vec::new();
    let mut reread = sink.try_clone().unwrap();
    std::io::Seek::rewind(&mut reread).unwrap();
    reread.read_to_end(&mut got).unwrap();
    assert!(got == [b"before", &bytes[..]].concat());
}

/// Files that are shorter than their parts say.
struct Short {
    left: Vec<Part>,
    answer: EndedEarly,
    missing: Vec<u64>,
}

impl Parts for &mut Short {
    fn next_part(&mut self) -> Option<Part> {
        self.left.pop()
    }

    fn ended_early(&mut self, missing: u64) -> EndedEarly {
        self.missing.push(missing);
        self.answer
    }
}

fn short(answer: EndedEarly) -> Short {
    let (small, large) = (content(1000), content(200_000));
    Short {
        left: vec![
            Part::memory(*b"end"),
            Part::file(file(&small), 0..1500),
            Part::file(file(&large), 0..300_000),
        ],
        answer,
        missing: Vec::new(),
    }
}

#[test]
fn pitfall_02_a_file_that_ended_early_is_filled_up_if_wanted() {
    for (name, sink, reader) in sinks() {
        let mut parts = short(EndedEarly::FillWithZeros);
        let receipt = Sequence::new(&mut parts, sink).run().unwrap();
        assert_eq!(parts.missing, [100_000, 500], "{name}");
        let zeros = vec![0; 100_000];
        let all = [
            &content(200_000)[..],
            &zeros,
            &content(1000),
            &[0; 500],
            b"end",
        ]
        .concat();
        assert!(reader.join().unwrap() == all, "{name}");
        assert_eq!(receipt.bytes, all.len() as u64, "{name}");
    }
}

#[test]
fn pitfall_02_a_file_that_ended_early_is_an_error_otherwise() {
    for (name, sink, reader) in sinks() {
        let mut parts = short(EndedEarly::Fail);
        let error = Sequence::new(&mut parts, sink).run().unwrap_err();
        assert!(error.is_source_truncated(), "{name}");
        assert_eq!(error.bytes(), 200_000, "{name}");
        assert_eq!(reader.join().unwrap().len(), 200_000, "{name}");
    }
}

#[test]
fn a_sink_that_goes_away_leaves_an_exact_receipt() {
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    let (parts, _) = mixed();
    let error = Sequence::new(parts.into_iter(), near).run().unwrap_err();
    assert!(error.is_disconnected(), "{error}");
    assert_eq!(error.bytes(), 0);
}

#[test]
fn a_cancelled_sequence_ends() {
    let (near, _far) = UnixStream::pair().unwrap();
    let cancel = Cancel::new().unwrap();
    let canceller = cancel.clone();
    // Nobody reads, so it waits for ever.
    let forever = (0..).map(|_| Part::memory(vec![0; 4096]));
    let thread = thread::spawn(move || Sequence::new(forever, near).cancel(&cancel).run());
    canceller.cancel();
    assert!(thread.join().unwrap().unwrap_err().is_cancelled());
}

#[test]
fn a_socket_blocks_again_afterwards() {
    let (near, far) = UnixStream::pair().unwrap();
    let parts = [Part::memory(*b"x")].into_iter();
    Sequence::new(parts, &near).run().unwrap();
    let flags = rustix::fs::fcntl_getfl(&near).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    drop(far);
}

/// Asks, and waits for the answer before the next part.
struct Asking {
    far: UnixStream,
    left: Vec<Part>,
}

impl Parts for &mut Asking {
    fn next_part(&mut self) -> Option<Part> {
        let part = self.left.pop()?;
        if let Part(PartKind::Memory(bytes)) = &part
            && bytes == b"second"
        {
            // Without the flush nothing would have come.
            let mut got = [0; 5];
            self.far.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"first");
        }
        Some(part)
    }
}

#[test]
fn a_flush_sends_all_before_it() {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let mut parts = Asking {
        far,
        left: vec![
            Part::memory(*b"second"),
            Part::flush(),
            Part::memory(*b"first"),
        ],
    };
    let receipt = Sequence::new(&mut parts, near).run().unwrap();
    assert_eq!(receipt.bytes, 11);
}
