//! What a transfer promises its caller: lengths, positions, steps, edits, names, and how it ends.
#![allow(
    clippy::large_stack_arrays,
    reason = "constant test data, which is not on the stack"
)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use underpass::{Cancel, Progress, Route, Step, Transfer, Wait};

use support::{collect, file_of, fill, random_bytes, unix_pair, watched, whole};

mod support;

fn empty() -> File {
    tempfile::tempfile().unwrap()
}

fn position(mut file: &File) -> u64 {
    file.stream_position().unwrap()
}

const FILE_ROUTES: [Option<Route>; 5] = [
    None,
    Some(Route::CopyFileRange),
    Some(Route::Sendfile),
    Some(Route::Splice),
    Some(Route::ReadWrite),
];

#[test]
fn a_range_of_length_zero_moves_nothing() {
    let (file, (source, _writer)) = (file_of(b"content"), pipe().unwrap());
    for at in [0, 3, 7] {
        let to = empty();
        let receipt = Transfer::new(&file, &to).range(at..at).run().unwrap();
        assert!(receipt.complete && receipt.bytes == 0 && receipt.route.is_none());
        assert_eq!(whole(&to), b"");
    }
    // An empty range does not even read from a stream that would have to be waited for.
    let receipt = Transfer::new(source, empty()).range(..0).run().unwrap();
    assert!(receipt.complete && receipt.bytes == 0);
    let memory = Transfer::from_memory([], empty()).run().unwrap();
    assert!(memory.complete && memory.bytes == 0);
}

#[test]
fn a_range_that_does_not_fit_is_refused_before_a_byte_is_moved() {
    let file = file_of(b"content");
    let to = empty();
    let (source, _writer) = pipe().unwrap();
    #[allow(clippy::reversed_empty_ranges)]
    let refused = [
        Transfer::new(file.as_fd(), &to).range(..8).run(),
        Transfer::new(file.as_fd(), &to).range(8..).run(),
        Transfer::new(file.as_fd(), &to).range(5..3).run(),
        Transfer::new(file.as_fd(), &to).range(..=7).run(),
        Transfer::new(source.as_fd(), &to).range(1..).run(),
        Transfer::new(source.as_fd(), &to).range(1..5).run(),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(error.is_refused(), "{error}");
        assert!(error.receipt().is_none());
    }
    assert_eq!(whole(&to), b"");
    assert_eq!(position(&file), 0);
    let memory = Transfer::from_memory(*b"four", &to).range(..5).run();
    assert!(memory.unwrap_err().is_refused());
}

#[test]
fn every_kind_of_range_bound_is_understood() {
    use std::ops::Bound::{Excluded, Unbounded};
    let file = file_of(b"0123456789");
    let moved = |transfer: Transfer<'_, &File, &File>, to: &File| {
        transfer.run().unwrap();
        whole(to)
    };
    let to = || empty();
    let sink = to();
    assert_eq!(
        moved(Transfer::new(&file, &sink).range(2..5), &sink),
        b"234"
    );
    let sink = to();
    assert_eq!(
        moved(Transfer::new(&file, &sink).range(2..=5), &sink),
        b"2345"
    );
    let sink = to();
    assert_eq!(moved(Transfer::new(&file, &sink).range(7..), &sink), b"789");
    let sink = to();
    let after = Transfer::new(&file, &sink).range((Excluded(7), Unbounded));
    assert_eq!(moved(after, &sink), b"89");
}

#[test]
fn a_range_of_a_stream_is_a_length_and_leaves_the_rest() {
    for route in [Route::Splice, Route::ReadWrite] {
        let (mut source, mut writer) = pipe().unwrap();
        writer.write_all(b"taken, and left").unwrap();
        let to = empty();
        let transfer = Transfer::new(&source, &to).range(..5).route(route);
        assert_eq!(transfer.run().unwrap().bytes, 5);
        drop(writer);
        let mut rest = String::new();
        source.read_to_string(&mut rest).unwrap();
        assert_eq!(
            (whole(&to), rest.as_str()),
            (b"taken".to_vec(), ", and left")
        );
    }
}

#[test]
fn a_stream_that_ends_before_its_range_is_truncated() {
    let (source, mut writer) = pipe().unwrap();
    writer.write_all(b"four").unwrap();
    drop(writer);
    let error = Transfer::new(source, empty()).range(..9).run().unwrap_err();
    assert!(error.is_source_truncated(), "{error}");
    assert_eq!(error.bytes(), 4);
}

#[test]
fn without_a_range_positions_move_as_read_and_write_move_them() {
    let bytes = random_bytes(1, 100_000);
    for route in FILE_ROUTES {
        let (mut from, mut to) = (file_of(&bytes), file_of(b"head"));
        from.seek(SeekFrom::Start(1000)).unwrap();
        to.seek(SeekFrom::End(0)).unwrap();
        let receipt = Transfer::new(&from, &to).route(route).run().unwrap();
        assert_eq!(receipt.bytes, 99_000);
        assert_eq!((position(&from), position(&to)), (100_000, 99_004));
        to.write_all(b"tail").unwrap();
        let want = [b"head", &bytes[1000..], b"tail"].concat();
        assert!(whole(&to) == want, "{route:?}");
    }
}

#[test]
fn with_a_range_the_sources_position_stays() {
    let bytes = random_bytes(2, 100_000);
    for route in FILE_ROUTES {
        let (mut from, to) = (file_of(&bytes), empty());
        from.seek(SeekFrom::Start(77)).unwrap();
        let transfer = Transfer::new(&from, &to).range(500..70_000).route(route);
        assert_eq!(transfer.run().unwrap().bytes, 69_500);
        assert_eq!((position(&from), position(&to)), (77, 69_500));
        assert!(whole(&to) == bytes[500..70_000], "{route:?}");
    }
    // The same if holes were looked for meanwhile.
    let mut sparse = empty();
    sparse.set_len(1 << 20).unwrap();
    sparse.seek(SeekFrom::Start(77)).unwrap();
    Transfer::new(&sparse, empty()).range(..).run().unwrap();
    assert_eq!(position(&sparse), 77);
}

#[test]
fn the_middle_of_a_sink_can_be_written_over() {
    for route in FILE_ROUTES {
        let mut to = file_of(b"0123456789");
        to.seek(SeekFrom::Start(3)).unwrap();
        let transfer = Transfer::new(file_of(b"abc"), &to).route(route);
        transfer.run().unwrap();
        assert_eq!(whole(&to), b"012abc6789", "{route:?}");
        assert_eq!(position(&to), 6);
    }
}

#[test]
fn a_dropped_transfer_leaves_positions_behind_what_it_delivered() {
    let from = file_of(&random_bytes(3, 100_000));
    let to = empty();
    let mut running = Transfer::new(&from, &to).budget(30_000).start().unwrap();
    running.step().unwrap();
    drop(running);
    assert_eq!((position(&from), position(&to)), (30_000, 30_000));
    // So another transfer continues from there.
    Transfer::new(&from, &to).run().unwrap();
    assert!(whole(&to) == whole(&from));
}

#[test]
fn no_step_delivers_more_than_the_budget_and_progress_only_grows() {
    let bytes = random_bytes(4, 100_000);
    for route in FILE_ROUTES {
        let mut seen = Vec::new();
        let (from, to) = (file_of(&bytes), empty());
        let mut running = Transfer::new(&from, &to)
            .budget(7000)
            .route(route)
            .progress(|now| seen.push(now))
            .start()
            .unwrap();
        let mut moved = Vec::new();
        loop {
            match running.step().unwrap() {
                Step::Moved(bytes) => moved.push(bytes),
                Step::Done => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(running.step().unwrap(), Step::Done);
        drop(running);
        assert!(moved.iter().all(|&bytes| bytes <= 7000), "{route:?}");
        let shown: Vec<_> = seen.iter().map(|now| now.bytes).collect();
        let sums = moved.iter().scan(0, |sum, bytes| {
            *sum += bytes;
            Some(*sum)
        });
        let want: Vec<_> = sums.collect();
        assert_eq!(shown, want);
        assert!(seen.iter().all(|now: &Progress| now.total == Some(100_000)));
    }
}

#[test]
fn a_budget_of_nothing_is_one_byte() {
    let to = empty();
    let receipt = Transfer::new(file_of(b"abc"), &to).budget(0).run().unwrap();
    assert_eq!((receipt.bytes, whole(&to)), (3, b"abc".to_vec()));
}

#[test]
fn a_step_never_waits_for_pipes_that_would_block() {
    for route in [None, Some(Route::Splice), Some(Route::ReadWrite)] {
        let (source, mut writer) = pipe().unwrap();
        let (_reader, sink) = pipe().unwrap();
        let mut running = Transfer::new(&source, &sink).route(route).start().unwrap();
        assert_eq!(running.step().unwrap(), Step::Blocked(Wait::Source));
        fill(&sink);
        writer.write_all(&[1; 50_000]).unwrap();
        assert_eq!(
            running.step().unwrap(),
            Step::Blocked(Wait::Sink),
            "{route:?}"
        );
        assert_eq!(
            running.step().unwrap(),
            Step::Blocked(Wait::Sink),
            "{route:?}"
        );
    }
}

#[test]
fn a_step_never_waits_for_a_pipe_with_room_for_a_part() {
    for route in [None, Some(Route::Splice), Some(Route::ReadWrite)] {
        let (mut reader, sink) = pipe().unwrap();
        let from = file_of(&random_bytes(6, 300_000));
        let mut running = Transfer::new(&from, &sink).route(route).start().unwrap();
        let mut moved = 0;
        while let Step::Moved(bytes) = running.step().unwrap() {
            moved += bytes;
        }
        assert!((1..300_000).contains(&moved), "{route:?}: {moved}");
        reader.read_exact(&mut [0; 5000]).unwrap();
        while let Step::Moved(bytes) = running.step().unwrap() {
            moved += bytes;
        }
        assert_eq!(running.step().unwrap(), Step::Blocked(Wait::Sink));
        assert!(moved > 0);
    }
}

#[test]
fn an_edit_may_grow_shrink_and_drop_chunks() {
    let bytes = random_bytes(5, 400_000);
    let (from, to) = (file_of(&bytes), empty());
    let mut turn = 0;
    let mut want = Vec::new();
    let receipt = Transfer::new(&from, &to)
        .budget(30_000)
        .edit(|chunk| {
            turn += 1;
            match turn % 3 {
                0 => chunk.clear(),
                1 => chunk.extend_from_within(..),
                _ => chunk.truncate(chunk.len() / 3),
            }
            want.extend_from_slice(chunk);
        })
        .run()
        .unwrap();
    assert_eq!(receipt.bytes, want.len() as u64);
    assert!(whole(&to) == want);
    assert_eq!(position(&from), 400_000);
    assert_eq!(receipt.routes.len(), 1);
}

#[test]
fn an_edit_that_drops_everything_still_steps_in_budgets() {
    let from = file_of(&random_bytes(5, 400_000));
    let mut running = Transfer::new(&from, empty())
        .budget(100_000)
        .edit(Vec::clear)
        .start()
        .unwrap();
    for _ in 0..4 {
        assert_eq!(running.step().unwrap(), Step::Moved(0));
    }
    assert_eq!(running.step().unwrap(), Step::Done);
    assert_eq!(running.receipt().bytes, 0);
}

#[test]
fn cancelling_ends_a_transfer_that_waits() {
    let waits_for_source = || {
        let (source, mut writer) = pipe().unwrap();
        let (reader, sink) = pipe().unwrap();
        writer.write_all(b"first").unwrap();
        (Transfer::new(source, sink), (writer, reader))
    };
    let cancel = Cancel::new().unwrap();
    let (transfer, _held) = waits_for_source();
    let transfer = transfer.cancel(&cancel);
    let run = watched(move || transfer.run().unwrap_err());
    run.until_it_waits();
    cancel.cancel();
    let error = run.join();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(error.bytes(), 5);
}

#[test]
fn cancelling_ends_a_transfer_that_waits_for_its_sink() {
    let cancel = Cancel::new().unwrap();
    let (near, _far) = unix_pair();
    let transfer = Transfer::new(file_of(&random_bytes(1, 4 << 20)), near).cancel(&cancel);
    let run = watched(move || transfer.run().unwrap_err());
    run.until_it_waits();
    cancel.clone().cancel();
    assert!(run.join().is_cancelled());
}

#[test]
fn a_progress_callback_may_cancel() {
    let cancel = Cancel::new().unwrap();
    let (sender, receiver) = mpsc::channel();
    let error = Transfer::new(file_of(&random_bytes(1, 100_000)), empty())
        .budget(10_000)
        .cancel(&cancel)
        .progress(|now| {
            sender.send(now.bytes).unwrap();
            if now.bytes == 30_000 {
                cancel.cancel();
            }
        })
        .run()
        .unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.bytes(), 30_000);
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        [10_000, 20_000, 30_000]
    );
}

#[test]
fn idle_too_long_is_an_error_that_keeps_the_count() {
    let (source, mut writer) = pipe().unwrap();
    let (_reader, sink) = pipe().unwrap();
    writer.write_all(b"first").unwrap();
    let error = Transfer::new(source, sink)
        .idle_timeout(Duration::from_millis(5))
        .run()
        .unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    assert_eq!(error.bytes(), 5);
}

#[test]
fn a_reader_that_leaves_is_seen_while_the_source_is_silent() {
    let (source, _writer) = pipe().unwrap();
    let (near, far) = unix_pair();
    let run = watched(move || Transfer::new(source, near).run().unwrap_err());
    run.until_it_waits();
    drop(far);
    assert!(run.join().is_disconnected());
}

#[test]
fn ends_are_called_what_they_are_or_what_the_caller_says() {
    let named = tempfile::NamedTempFile::new().unwrap();
    let path = named.path().to_string_lossy().into_owned();
    let receipt = Transfer::new(named.as_file(), empty()).run().unwrap();
    assert_eq!(receipt.source.name, path);
    let receipt = Transfer::new(named.as_file(), empty())
        .names("upload", "store")
        .run()
        .unwrap();
    assert_eq!(
        (receipt.source.name.as_str(), receipt.sink.name.as_str()),
        ("upload", "store")
    );
    let receipt = Transfer::from_memory([1], empty()).run().unwrap();
    assert_eq!(receipt.source.name, "memory");
}

#[test]
fn blocking_sockets_block_again_afterwards() {
    let blocking = |fd: &dyn AsFd| {
        let flags = rustix::fs::fcntl_getfl(fd.as_fd()).unwrap();
        !flags.contains(rustix::fs::OFlags::NONBLOCK)
    };
    let ((near, far), (sink, out)) = (unix_pair(), unix_pair());
    let mut running = Transfer::new(&near, &sink).start().unwrap();
    assert_eq!(running.step().unwrap(), Step::Blocked(Wait::Source));
    assert!(!blocking(&near) && !blocking(&sink));
    drop(running);
    assert!(blocking(&near) && blocking(&sink));
    // A socket that its owner has made non-blocking stays so.
    near.set_nonblocking(true).unwrap();
    drop(far);
    Transfer::new(&near, &sink).run().unwrap();
    assert!(!blocking(&near) && blocking(&sink));
    drop(out);
}

#[test]
fn a_socket_can_be_its_own_sink() {
    let (mut client, echo) = unix_pair();
    client.write_all(b"echo").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    Transfer::new(&echo, &echo).run().unwrap();
    drop(echo);
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    assert_eq!(got, "echo");
}

#[test]
fn terminals_are_read_and_written() {
    let front = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&front).unwrap();
    let name = ptsname(&front, Vec::new()).unwrap();
    let back = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut raw = tcgetattr(&back).unwrap();
    raw.make_raw();
    tcsetattr(&back, OptionalActions::Now, &raw).unwrap();
    let receipt = Transfer::new(file_of(b"to the screen"), &back)
        .run()
        .unwrap();
    assert_eq!(receipt.route, Some(Route::ReadWrite));
    let (mut reader, sink) = pipe().unwrap();
    let receipt = Transfer::new(&front, sink).range(..13).run().unwrap();
    assert_eq!(receipt.route, Some(Route::ReadWrite));
    let mut got = String::new();
    reader.read_to_string(&mut got).unwrap();
    assert_eq!(got, "to the screen");
}

#[test]
fn memory_reaches_every_kind_of_sink() {
    let bytes = random_bytes(9, 500_000);
    let to = empty();
    Transfer::from_memory(bytes.clone(), &to).run().unwrap();
    assert!(whole(&to) == bytes);
    let (reader, sink) = pipe().unwrap();
    let got = collect(reader);
    let part = Transfer::from_memory(bytes.clone(), sink).range(1..400_000);
    part.run().unwrap();
    assert!(got.join().unwrap() == bytes[1..400_000]);
}

/// splice(2) says EPIPE then before it looks for the end of the source; a program that reads and
/// writes has nothing to write.
#[test]
fn a_pipe_that_nobody_reads_does_not_matter_once_nothing_is_left() {
    let (from_pipe, writer) = pipe().unwrap();
    drop(writer);
    let (from_unix, peer) = unix_pair();
    drop(peer);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let from_tcp = listener.accept().unwrap().0;
    drop(peer);
    // The end has arrived when it can be read.
    assert_eq!(from_tcp.peek(&mut [0]).unwrap(), 0);
    let sources: [OwnedFd; 3] = [from_pipe.into(), from_unix.into(), from_tcp.into()];
    for source in &sources {
        for route in [None, Some(Route::Splice), Some(Route::ReadWrite)] {
            let (reader, sink) = pipe().unwrap();
            drop(reader);
            let receipt = Transfer::new(source, &sink).route(route).run().unwrap();
            assert!(
                receipt.complete && receipt.bytes == 0,
                "{source:?} {route:?}"
            );
        }
    }
}

/// And where something is left, it stays where it is.
#[test]
fn bytes_for_a_pipe_that_nobody_reads_are_not_taken() {
    let (from_pipe, mut writer) = pipe().unwrap();
    writer.write_all(b"content").unwrap();
    drop(writer);
    let (from_unix, mut peer) = unix_pair();
    peer.write_all(b"content").unwrap();
    drop(peer);
    let sources: [OwnedFd; 2] = [from_pipe.into(), from_unix.into()];
    for source in sources {
        let (reader, sink) = pipe().unwrap();
        drop(reader);
        let error = Transfer::new(&source, &sink).run().unwrap_err();
        assert_eq!(
            error.receipt().map(|receipt| receipt.bytes),
            Some(0),
            "{error}"
        );
        let mut left = Vec::new();
        File::from(source).read_to_end(&mut left).unwrap();
        assert_eq!(left, b"content", "{error}");
    }
}
