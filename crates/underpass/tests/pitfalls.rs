//! The known pitfalls of zero-copy transfers, tested on the real kernel. Those that need a scripted
//! kernel are in `src/transfer/faults`.
#![allow(
    clippy::large_stack_arrays,
    reason = "constant test data, which is not on the stack"
)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write, pipe};
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::net::{SendFlags, sockopt};
use underpass::plan::Promise;
use underpass::{Error, Receipt, Route, Running, Step, Transfer, Wait};

use support::{
    Mounted, collect, file_of, fill, needs, random_bytes, tcp_pair, unix_pair, watched, whole,
};

mod support;

const MIB: u64 = 1 << 20;

/// What a reader sees that reads only after the file was overwritten.
fn seen_after_a_write(promise: Promise) -> (Receipt, Vec<u8>) {
    let file = file_of(&[b'a'; 65_536]);
    let (near, mut far) = unix_pair();
    let sent = Transfer::new(&file, &near).promise(promise).run().unwrap();
    file.write_all_at(&[b'b'; 65_536], 0).unwrap();
    drop(near);
    let mut seen = Vec::new();
    far.read_to_end(&mut seen).unwrap();
    (sent, seen)
}

#[test]
fn pitfall_01_a_stable_source_never_shows_a_later_write() {
    let (sent, seen) = seen_after_a_write(Promise::Stable);
    assert_eq!(sent.route, Some(Route::ReadWrite));
    assert!(seen == [b'a'; 65_536], "a stable source changed");
}

#[test]
fn pitfall_01_a_shared_source_does() {
    let (sent, seen) = seen_after_a_write(Promise::Shared);
    assert_eq!(sent.route, Some(Route::Sendfile));
    assert_eq!(seen.len(), 65_536);
    if !seen.contains(&b'b') {
        // Pitfall 18: a kernel may copy here; then the promise is only stronger than it needs to
        // be.
        needs::lacking("a kernel that shares pages: this one copied");
    }
}

/// Steps until it fails, with far more steps than are needed. Empties `far` meanwhile.
fn until_it_fails<S: underpass::Input, D: std::os::fd::AsFd>(
    mut running: Running<'_, S, D>,
) -> Error {
    for _ in 0..1000 {
        match running.step() {
            Ok(Step::Done) => panic!("complete, in spite of the bytes that are gone"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
    panic!("it loops")
}

#[test]
fn pitfall_02_truncated_source() {
    let bytes = random_bytes(2, 300_000);
    let to_files = [
        Route::CopyFileRange,
        Route::Sendfile,
        Route::Splice,
        Route::ReadWrite,
    ];
    for route in to_files.map(Some).into_iter().chain([None]) {
        for (left, delivered) in [(100_000, 100_000), (5000, 40_000)] {
            let (from, to) = (file_of(&bytes), tempfile::tempfile().unwrap());
            let mut running = Transfer::new(&from, &to)
                .names("the-source", "the-sink")
                .route(route)
                .budget(40_000)
                .start()
                .unwrap();
            while running.bytes() < 40_000 {
                running.step().unwrap();
            }
            from.set_len(left).unwrap();
            let error = until_it_fails(running);
            assert!(error.is_source_truncated(), "{error}");
            assert_eq!(error.bytes(), delivered, "{error}");
            assert_eq!(whole(&to), bytes[..delivered as usize], "never padded");
            let receipt = error.receipt().unwrap();
            assert_eq!(receipt.fallbacks, [], "no other route finds more");
            let words = error.to_string();
            assert!(words.contains("the-source"), "{words}");
            let ended = match left {
                5000 => "the source ended after 40,000 of 300,000 bytes (it has 5,000 now)",
                _ => "the source ended after 100,000 of 300,000 bytes",
            };
            assert!(words.ends_with(ended), "{words}");
        }
    }
}

#[test]
fn pitfall_02_truncated_source_to_a_socket() {
    let bytes = random_bytes(2, 300_000);
    for route in [Route::Sendfile, Route::Splice, Route::ReadWrite] {
        let from = file_of(&bytes);
        let (near, far) = tcp_pair();
        let got = collect(far);
        let mut running = Transfer::new(&from, &near)
            .route(route)
            .budget(40_000)
            .start()
            .unwrap();
        while running.bytes() < 40_000 {
            running.step().unwrap();
        }
        from.set_len(100_000).unwrap();
        let error = running.run().unwrap_err();
        assert!(error.is_source_truncated(), "{error}");
        assert_eq!(error.bytes(), 100_000);
        drop(near);
        assert_eq!(got.join().unwrap(), bytes[..100_000]);
    }
}

#[test]
fn pitfall_02_a_sparse_source_cut_short_is_not_padded_with_a_hole() {
    let from = tempfile::tempfile().unwrap();
    from.set_len(4 * MIB).unwrap();
    from.write_all_at(&[1; 65_536], 0).unwrap();
    from.write_all_at(&[2; 65_536], 2 * MIB).unwrap();
    let to = tempfile::tempfile().unwrap();
    let mut running = Transfer::new(&from, &to).budget(65_536).start().unwrap();
    running.step().unwrap();
    from.set_len(MIB).unwrap();
    let error = until_it_fails(running);
    assert!(error.is_source_truncated(), "{error}");
    assert_eq!(error.bytes(), to.metadata().unwrap().len());
    assert_eq!(error.bytes(), MIB);
}

#[test]
fn pitfall_03_files_of_no_size_are_read_to_their_end() {
    let paths = [
        "/proc/version",
        "/proc/filesystems",
        "/proc/kallsyms",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ];
    for path in paths {
        let Ok(want) = std::fs::read(path) else {
            needs::lacking(&format!("no {path} here"));
            continue;
        };
        let to = tempfile::tempfile().unwrap();
        let receipt = Transfer::new(File::open(path).unwrap(), &to).run().unwrap();
        assert_eq!(receipt.route, Some(Route::ReadWrite), "{path}");
        assert!(whole(&to) == want, "{path} to a file");

        let (near, far) = unix_pair();
        let got = collect(far);
        Transfer::new(File::open(path).unwrap(), near)
            .run()
            .unwrap();
        assert!(got.join().unwrap() == want, "{path} to a socket");
    }
}

#[test]
fn pitfall_05_append_sinks_are_appended_to() {
    let bytes = random_bytes(5, 200_000);
    let directory = tempfile::tempdir().unwrap();
    for flag_set_later in [false, true] {
        let path = directory.path().join(format!("{flag_set_later}"));
        std::fs::write(&path, b"before ").unwrap();
        let sink = OpenOptions::new()
            .append(!flag_set_later)
            .write(true)
            .open(&path)
            .unwrap();
        if flag_set_later {
            rustix::fs::fcntl_setfl(&sink, OFlags::APPEND).unwrap();
        }
        let receipt = Transfer::new(file_of(&bytes), sink).run().unwrap();
        assert_eq!(receipt.route, Some(Route::ReadWrite));
        let (near, mut far) = unix_pair();
        far.write_all(b" after").unwrap();
        drop(far);
        let sink = OpenOptions::new().append(true).open(&path).unwrap();
        Transfer::new(near, sink).run().unwrap();
        let want = [b"before ", bytes.as_slice(), b" after"].concat();
        assert_eq!(std::fs::read(&path).unwrap(), want);
    }
}

/// With `O_APPEND`, a write goes to the end of the file whatever its offset, so no hole can be
/// skipped.
#[test]
fn pitfall_05_a_sparse_source_is_appended_hole_by_hole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sink");
    let sink = OpenOptions::new().append(true).create(true).open(&path);
    let receipt = Transfer::new(sparse(), sink.unwrap()).run().unwrap();
    assert_eq!(receipt.hole_bytes, 0);
    assert!(std::fs::read(&path).unwrap() == whole(&sparse()));
}

#[test]
fn pitfall_05_append_set_while_under_way_loses_nothing() {
    let bytes = random_bytes(5, 200_000);
    let to = tempfile::tempfile().unwrap();
    let mut running = Transfer::new(file_of(&bytes), &to)
        .budget(40_000)
        .start()
        .unwrap();
    running.step().unwrap();
    rustix::fs::fcntl_setfl(&to, OFlags::APPEND).unwrap();
    let receipt = running.run().unwrap();
    assert_eq!(receipt.fallbacks[0].errno.as_deref(), Some("EBADF"));
    assert_eq!(receipt.fallbacks[0].at, 40_000);
    assert_eq!(whole(&to), bytes);
}

#[test]
fn pitfall_07_past_four_gib() {
    let from = tempfile::tempfile().unwrap();
    from.set_len(5 << 30).unwrap();
    let end = random_bytes(7, 70_000);
    from.write_all_at(&end, (5 << 30) - 70_000).unwrap();

    let to = tempfile::tempfile().unwrap();
    let receipt = Transfer::new(&from, &to).budget(u64::MAX).run().unwrap();
    assert_eq!(receipt.bytes, 5 << 30);
    assert_eq!(to.metadata().unwrap().len(), 5 << 30);

    for route in [Route::Sendfile, Route::Splice, Route::ReadWrite] {
        let (near, far) = unix_pair();
        let got = collect(far);
        let range = (5 << 30) - 70_000..5 << 30;
        let transfer = Transfer::new(&to, near).range(range).route(route);
        assert_eq!(transfer.budget(u64::MAX).run().unwrap().bytes, 70_000);
        assert_eq!(got.join().unwrap(), end, "{route}");
    }
}

#[test]
fn pitfall_07_no_call_is_asked_for_more_than_it_takes() {
    let (source, mut writer) = pipe().unwrap();
    let (mut reader, sink) = pipe().unwrap();
    writer.write_all(b"short").unwrap();
    drop(writer);
    let receipt = Transfer::new(source, sink)
        .range(..)
        .budget(u64::MAX)
        .route(Route::Splice)
        .run()
        .unwrap();
    assert_eq!(receipt.bytes, 5);
    let mut got = String::new();
    reader.read_to_string(&mut got).unwrap();
    assert_eq!(got, "short");
}

#[test]
fn pitfall_07_offsets_near_the_end_of_the_world_are_refused() {
    let last = i64::MAX as u64;
    let (file, to) = (file_of(b"x"), tempfile::tempfile().unwrap());
    for range in [last - 1..last, last - 5..last + 1, u64::MAX - 1..u64::MAX] {
        let transfer = Transfer::new(&file, &to).range(range.clone());
        let error = transfer.run().unwrap_err();
        assert!(error.is_refused(), "{range:?}: {error}");
        assert!(error.to_string().contains("past the source's end at 1"));
        // An empty file may be one that reports no size, so only reading tells.
        let empty = tempfile::tempfile().unwrap();
        let error = Transfer::new(&empty, &to).range(range).run().unwrap_err();
        assert_eq!(error.bytes(), 0, "{error}");
    }
    assert_eq!(to.metadata().unwrap().len(), 0);
}

/// A file of 16 MiB with data at 0 and at 5 MiB, and a hole at the end.
fn sparse() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(16 * MIB).unwrap();
    file.write_all_at(&random_bytes(8, 65_536), 0).unwrap();
    file.write_all_at(&random_bytes(9, 65_536), 5 * MIB)
        .unwrap();
    file
}

#[test]
fn pitfall_08_holes_stay_holes() {
    use std::os::unix::fs::MetadataExt;
    let routes = [
        Route::CopyFileRange,
        Route::Sendfile,
        Route::Splice,
        Route::ReadWrite,
    ];
    let from = sparse();
    for route in routes.map(Some).into_iter().chain([None]) {
        let to = tempfile::tempfile().unwrap();
        let receipt = Transfer::new(&from, &to)
            .range(..)
            .route(route)
            .run()
            .unwrap();
        assert!(whole(&from) == whole(&to), "{route:?}");
        assert_eq!(receipt.bytes, 16 * MIB);
        assert!(receipt.hole_bytes > 15 * MIB, "{}", receipt.hole_bytes);
        assert!(to.metadata().unwrap().blocks() * 512 < MIB, "{route:?}");
    }
}

#[test]
fn pitfall_08_holes_are_written_over_what_the_sink_has() {
    let (from, to) = (sparse(), file_of(&[0xff; 17 << 20]));
    let receipt = Transfer::new(&from, &to).run().unwrap();
    assert_eq!(receipt.hole_bytes, 0);
    let got = whole(&to);
    assert!(got[..16 << 20] == whole(&from), "not all was written over");
    assert!(got[16 << 20..].iter().all(|&byte| byte == 0xff));
}

#[test]
fn pitfall_08_a_reflink_does_not_shrink_a_longer_file() {
    let mounted = match Mounted::btrfs() {
        Ok(mounted) => mounted,
        Err(why) => {
            needs::lacking(&why);
            return;
        }
    };
    let bytes = random_bytes(8, 131_072);
    let open = |name: &str, bytes: &[u8]| {
        let path = mounted.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
    };
    let (from, to) = (open("from", &bytes), open("to", &[7; 200_000]));
    let receipt = Transfer::new(&from, &to).run().unwrap();
    assert_eq!(receipt.route, Some(Route::Reflink), "{receipt}");
    assert_eq!(receipt.copies.cpu_bytes, Some(0));
    let got = whole(&to);
    assert!(got[..131_072] == bytes && got[131_072..] == [7; 200_000 - 131_072]);

    // A stable source shares extents, but a later write to it is not visible in the copy.
    let snapshot = open("snapshot", b"");
    let stable = Transfer::new(&from, &snapshot)
        .range(..)
        .promise(Promise::Stable);
    assert_eq!(stable.run().unwrap().route, Some(Route::Reflink));
    from.write_all_at(&[0; 131_072], 0).unwrap();
    assert!(
        whole(&snapshot) == bytes,
        "a reflink changed with its source"
    );

    // A range that does not end at a block boundary cannot be shared into the middle of a file: the
    // next route copies.
    let odd = open("odd", &bytes[..100_001]);
    let receipt = Transfer::new(&odd, &to).range(..).run().unwrap();
    assert_eq!(receipt.bytes, 100_001);
}

#[test]
fn pitfall_09_devices_are_moved_by_whatever_they_allow() {
    let zero = || File::open("/dev/zero").unwrap();
    let to = tempfile::tempfile().unwrap();
    let receipt = Transfer::new(zero(), &to).range(..300_000).run().unwrap();
    assert_eq!(receipt.bytes, 300_000);
    assert!(whole(&to) == [0; 300_000]);
    let (near, far) = tcp_pair();
    let got = collect(far);
    let receipt = Transfer::new(zero(), near).range(..300_000).run().unwrap();
    assert_eq!(receipt.bytes, 300_000);
    assert!(got.join().unwrap() == [0; 300_000]);
}

#[test]
fn pitfall_09_a_source_without_splice_is_read() {
    use rustix::event::{EventfdFlags, eventfd};
    let (mut reader, sink) = pipe().unwrap();
    let counter = eventfd(1234, EventfdFlags::CLOEXEC).unwrap();
    let receipt = Transfer::new(counter, sink).range(..8).run().unwrap();
    assert_eq!(receipt.fallbacks[0].errno.as_deref(), Some("EINVAL"));
    assert_eq!(receipt.route, Some(Route::ReadWrite));
    let mut got = [0; 8];
    reader.read_exact(&mut got).unwrap();
    assert_eq!(u64::from_ne_bytes(got), 1234);
}

#[test]
fn pitfall_10_a_slow_reader_is_waited_for() {
    let bytes = random_bytes(10, 4 << 20);
    for route in [Route::Sendfile, Route::Splice, Route::ReadWrite] {
        let (near, mut far) = unix_pair();
        let from = file_of(&bytes);
        let sender = watched(move || Transfer::new(from, near).route(route).run().unwrap());
        let mut got = vec![0; bytes.len()];
        for (turn, chunk) in got.chunks_mut(65_536).enumerate() {
            // In the first turns the sender still has room; in the last ones it has ended.
            if (8..32).contains(&turn) {
                sender.until_it_waits();
            }
            far.read_exact(chunk).unwrap();
        }
        let receipt = sender.join();
        assert!(got == bytes, "{route}");
        assert!(receipt.syscalls < 1500, "{route}: {}", receipt.syscalls);
    }
}

/// The notifications of zero-copy sends wait on the error queue, and a poll(2) for room in the sink
/// sees them.
#[test]
fn pitfall_16_answers_do_not_end_the_wait_for_a_slow_reader() {
    let bytes = random_bytes(16, 16 << 20);
    for route in [None, Some(Route::SendZerocopy)] {
        let (near, mut far) = tcp_pair();
        let memory = bytes.clone();
        let transfer = Transfer::from_memory(memory, near)
            .route(route)
            .budget(65_536);
        let sender = watched(move || transfer.run().unwrap());
        let mut got = vec![0; bytes.len()];
        for (turn, chunk) in got.chunks_mut(1 << 20).enumerate() {
            if turn < 4 {
                sender.until_it_waits();
            }
            far.read_exact(chunk).unwrap();
        }
        let receipt = sender.join();
        assert!(got == bytes, "{route:?}");
        assert!(receipt.syscalls < 5000, "{route:?}: {}", receipt.syscalls);
    }
}

#[test]
fn pitfall_10_a_slow_writer_is_waited_for() {
    for route in [Route::Splice, Route::ReadWrite] {
        let (mut far, near) = unix_pair();
        let (sink, out) = unix_pair();
        let got = collect(out);
        let relay = watched(move || Transfer::new(near, sink).route(route).run().unwrap());
        for _ in 0..100 {
            relay.until_it_waits();
            far.write_all(b"drop by drop").unwrap();
        }
        relay.until_it_waits();
        drop(far);
        let receipt = relay.join();
        assert_eq!(got.join().unwrap(), b"drop by drop".repeat(100));
        assert!(receipt.syscalls < 1000, "{route}: {}", receipt.syscalls);
    }
}

#[test]
fn pitfall_12_half_close_ends_one_direction_only() {
    for route in [Route::Splice, Route::ReadWrite] {
        let (client, near) = tcp_pair();
        let (mut back, mut server) = tcp_pair();
        (&client).write_all(b"request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let receipt = Transfer::new(&near, &back).route(route).run().unwrap();
        assert!(receipt.complete);
        assert_eq!(receipt.bytes, 7);
        // The engine does not pass the end on by itself; a relay does that.
        back.write_all(b"!").unwrap();
        let mut got = [0; 8];
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"request!");
        back.shutdown(Shutdown::Write).unwrap();
        // The other direction still works.
        server.write_all(b"response").unwrap();
        drop(server);
        assert_eq!(Transfer::new(&back, &near).run().unwrap().bytes, 8);
        drop(near);
        let mut got = String::new();
        (&client).read_to_string(&mut got).unwrap();
        assert_eq!(got, "response");
    }
}

#[test]
fn pitfall_12_the_last_data_is_not_lost_with_the_end() {
    let bytes = random_bytes(12, 300_000);
    let (mut far, near) = unix_pair();
    let (sink, out) = unix_pair();
    let got = collect(out);
    let relay = std::thread::spawn(move || Transfer::new(near, sink).run().unwrap());
    far.write_all(&bytes).unwrap();
    drop(far);
    assert_eq!(relay.join().unwrap().bytes, 300_000);
    assert!(got.join().unwrap() == bytes);
}

#[test]
fn pitfall_13_an_abandoned_pipe_does_not_leak_into_the_next_transfer() {
    for _ in 0..20 {
        let (mut far, near) = unix_pair();
        let (sink, _out) = unix_pair();
        fill(&sink);
        far.write_all(&[b'A'; 4096]).unwrap();
        let mut running = Transfer::new(&near, &sink).start().unwrap();
        assert_eq!(running.step().unwrap(), Step::Blocked(Wait::Sink));
        assert_eq!(running.receipt().undelivered, 4096);
        drop(running);

        let (mut far, near) = unix_pair();
        let (sink, out) = unix_pair();
        let got = collect(out);
        far.write_all(&[b'B'; 100]).unwrap();
        drop(far);
        Transfer::new(near, sink).run().unwrap();
        assert_eq!(got.join().unwrap(), [b'B'; 100]);
    }
}

#[test]
fn pitfall_15_a_reader_that_leaves_does_not_cost_the_count() {
    let (near, mut far) = unix_pair();
    let from = file_of(&random_bytes(15, 4 << 20));
    let again = from.try_clone().unwrap();
    let sender = watched(move || Transfer::new(from, near).run().unwrap_err());
    let mut got = [0; 100_000];
    far.read_exact(&mut got).unwrap();
    sender.until_it_waits();
    drop(far);
    let error = sender.join();
    assert!(error.is_disconnected(), "{error}");
    assert!(error.bytes() >= 100_000, "{error}");
    let position = (&again).stream_position().unwrap();
    assert_eq!(position, error.bytes());
}

/// `top` names the call, because it counts other programs'.
#[test]
fn pitfall_14_vmsplice_is_called_nowhere() {
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut places = vec![PathBuf::from(crates)];
    let mut read = 0;
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = std::fs::read_dir(place).unwrap();
            places.extend(entries.map(|entry| entry.unwrap().path()));
        } else if place.extension().is_some_and(|it| it == "rs")
            && !place.iter().any(|it| it == "tests" || it == "top")
        {
            read += 1;
            let source = std::fs::read_to_string(&place).unwrap();
            let mut code = source
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            assert!(!code.any(|line| line.contains("vmsplice")), "{place:?}");
        }
    }
    assert!(read > 100, "only {read} files were read");
}

/// The urgent byte is left out of the stream, unless the receiver has asked for it.
#[test]
fn pitfall_24_the_urgent_byte_arrives_where_it_is_asked_for() {
    for (inline, expected) in [
        (false, &b"before and behind"[..]),
        (true, b"before! and behind"),
    ] {
        let (mut peer, near) = tcp_pair();
        sockopt::set_socket_oobinline(&near, inline).unwrap();
        peer.write_all(b"before").unwrap();
        rustix::net::send(&peer, b"!", SendFlags::OOB).unwrap();
        peer.write_all(b" and behind").unwrap();
        drop(peer);
        let to = file_of(b"");
        let receipt = Transfer::new(near, &to).route(Route::Splice).run().unwrap();
        assert_eq!(receipt.bytes, expected.len() as u64);
        assert_eq!(whole(&to), expected);
    }
}
