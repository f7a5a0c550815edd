//! `FileBody` by itself: what it accepts and what it refuses.

use std::fs::File;
use std::io::ErrorKind;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use underpass_http::FileBody;

use crate::support::{Files, KIB, MIB, block_on, bytes};

fn collected(body: FileBody) -> Bytes {
    block_on(body.collect()).unwrap().to_bytes()
}

#[test]
fn ranges_are_of_the_file_wherever_its_cursor_is() {
    let content = bytes(MIB + 5);
    let files = Files::new()
        .with("file", &content)
        .with("small", &content[..KIB]);
    for range in [
        0..0,
        0..1,
        4095..4097,
        5..MIB,
        MIB..MIB + 5,
        MIB + 5..MIB + 5,
        0..MIB + 5,
    ] {
        use std::io::{Read as _, Seek as _};
        let mut file = files.open("file");
        file.seek_relative(77).unwrap();
        let _ = file.read(&mut [0; 9]).unwrap();
        let body = FileBody::range(file, range.start as u64..range.end as u64).unwrap();
        assert_eq!(body.size_hint().exact(), Some(range.len() as u64));
        assert!(collected(body) == content[range]);
    }
    let body = FileBody::range(files.open("small"), 10..20).unwrap();
    assert_eq!(collected(body), content[10..20]);
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "it is what is refused")]
fn ranges_that_the_file_does_not_have_are_refused() {
    let files = Files::new()
        .with("big", &bytes(MIB))
        .with("small", b"0123456789")
        .with("empty", b"");
    for (name, range) in [
        ("big", 0..MIB as u64 + 1),
        ("big", 2..1),
        ("big", u64::MAX..u64::MAX),
        ("big", u64::MAX..0),
        ("small", 0..11),
        ("small", 5..4),
        ("empty", 0..1),
    ] {
        let message = format!("{name} {range:?}");
        let error = FileBody::range(files.open(name), range).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{message}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let files = Files::new();
    let fifo = files.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    // Opened for reading and writing, so that it does not wait for another process.
    let fifo = File::options().read(true).write(true).open(fifo).unwrap();
    let directory = File::open(files.root()).unwrap();
    let device = File::open("/dev/zero").unwrap();
    for file in [fifo, directory, device] {
        let error = FileBody::open(file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
    let unreadable = File::options()
        .write(true)
        .create_new(true)
        .open(files.path("out"));
    let unreadable = unreadable.unwrap();
    unreadable.set_len(10).unwrap();
    assert!(FileBody::open(unreadable).is_err());
}

#[test]
fn a_size_of_0_is_believed() {
    let files = Files::new().with("empty", b"");
    for file in [
        files.open("empty"),
        File::open("/proc/self/status").unwrap(),
    ] {
        let body = FileBody::open(file).unwrap();
        assert!(body.is_end_stream());
        assert_eq!(collected(body), b""[..]);
    }
}

/// The reader waits for missing pages itself, since there is no runtime with a thread for that.
#[test]
fn outside_of_a_runtime_a_body_is_ready_at_once() {
    let content = bytes(2 * MIB + 1);
    let files = Files::on_disk();
    files.cold("file", &content);
    let mut body = Box::pin(FileBody::open(files.open("file")).unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    let mut got = Vec::new();
    loop {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => got.extend_from_slice(&frame.unwrap().into_data().unwrap()),
            Poll::Ready(None) => break,
            Poll::Pending => panic!("nobody would wake it"),
        }
    }
    assert!(got == content);
}

#[test]
fn a_body_that_is_not_taken_to_its_end_leaves_nothing_behind() {
    let files = Files::new().with("file", &bytes(9 * MIB));
    let mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(&files.path("file"))
    };
    let mut body = FileBody::open(files.open("file")).unwrap();
    let frame = block_on(body.frame()).unwrap().unwrap();
    assert!(mapped());
    drop(body);
    assert!(mapped(), "a frame keeps its file");
    drop(frame);
    assert!(!mapped());
}
