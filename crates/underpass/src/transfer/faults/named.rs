//! Pitfalls that need a scripted kernel. Each test is about one of them.
#![allow(
    clippy::large_stack_arrays,
    reason = "constant test data, which is not on the stack"
)]

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::driver::{self, Driver};
use super::rig::{SourceKind, content, ext4, tcp, unix, whole};
use super::{Call, Fault, Faulty, Made, Receipt, Route, Transfer};
use crate::receipt::Evidence;
use crate::step::Step;
use crate::sys::Notification;
use crate::transfer::error::Error;
use crate::transfer::{Input, drive_poll};

/// Runs `transfer` on `sys`.
fn run<S: Input, D: AsFd>(
    transfer: Transfer<'_, S, D>,
    sys: Faulty,
) -> (Result<Receipt, Error>, Vec<Made>) {
    let mut machine = transfer.start_with(sys).unwrap();
    let result = drive_poll::drive(&mut machine).map(|()| machine.receipt(true));
    let log = machine.sys().log();
    (result, log)
}

fn source() -> std::fs::File {
    use std::os::unix::fs::FileExt;
    let file = ext4();
    file.write_all_at(content(SourceKind::Ext4), 0).unwrap();
    file
}

fn left(receipt: &Receipt) -> Vec<(Route, Route, Option<&str>, u64)> {
    let lefts = receipt.fallbacks.iter();
    lefts
        .map(|f| (f.from, f.to, f.errno.as_deref(), f.at))
        .collect()
}

/// Collects what arrives at `far`.
fn collect(far: OwnedFd) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut got = Vec::new();
        std::fs::File::from(far).read_to_end(&mut got).unwrap();
        got
    })
}

#[test]
fn pitfall_04_zero_before_the_end_tries_the_next_route() {
    let (from, to) = (source(), ext4());
    let sys = Faulty::default().from(Call::CopyFileRange, 1, Fault::Zero);
    let (result, _) = run(Transfer::new(&from, &to), sys);
    let receipt = result.unwrap();
    assert_eq!(
        left(&receipt),
        [(Route::CopyFileRange, Route::Sendfile, None, 0)]
    );
    assert_eq!(whole(&to), content(SourceKind::Ext4));
}

#[test]
fn pitfall_05_append_set_after_the_start_is_survived() {
    let (from, to) = (source(), ext4());
    let sys = Faulty::default()
        .from(Call::CopyFileRange, 2, Fault::Errno(Errno::BADF))
        .from(Call::Sendfile, 1, Fault::Errno(Errno::INVAL))
        .from(Call::Splice, 1, Fault::Errno(Errno::INVAL));
    let (result, _) = run(Transfer::new(&from, &to).budget(40_000), sys);
    let receipt = result.unwrap();
    assert_eq!(
        left(&receipt),
        [
            (Route::CopyFileRange, Route::Sendfile, Some("EBADF"), 40_000),
            (Route::Sendfile, Route::Splice, Some("EINVAL"), 40_000),
            (Route::Splice, Route::ReadWrite, Some("EINVAL"), 40_000),
        ]
    );
    assert_eq!(whole(&to), content(SourceKind::Ext4));
}

#[test]
fn pitfall_06_one_refusal_does_not_disable_the_route_for_the_next_transfer() {
    let from = source();
    let sys = Faulty::default().at(Call::CopyFileRange, 1, Fault::Errno(Errno::PERM));
    let refused = run(Transfer::new(&from, ext4()).range(..), sys).0.unwrap();
    assert_eq!(refused.route, Some(Route::Sendfile));
    let next = run(Transfer::new(&from, ext4()).range(..), Faulty::default());
    assert_eq!(next.0.unwrap().route, Some(Route::CopyFileRange));
}

#[test]
fn pitfall_10_eagain_with_both_ends_ready_does_not_spin() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"there it is").unwrap();
    drop(writer);
    let (near, far) = unix();
    let got = collect(far);
    let sys = Faulty::default().from(Call::Splice, 1, Fault::Errno(Errno::AGAIN));
    let (result, log) = run(Transfer::new(reader, near), sys);
    let receipt = result.unwrap();
    let told = (Route::Splice, Route::ReadWrite, Some("EAGAIN"), 0);
    assert_eq!(left(&receipt), [told]);
    assert_eq!(got.join().unwrap(), b"there it is");
    assert!(log.len() < 60, "{} calls", log.len());
}

/// Whether `SPLICE_F_MORE` was set, for each call that moved bytes into the sink.
fn corks(log: &[Made]) -> Vec<bool> {
    // Every other splice fills the pipe between; the calls that drain it ask for as many bytes as
    // it holds.
    let moved = log
        .iter()
        .filter(|made| made.call == Call::Splice && made.result.is_ok_and(|count| count > 0));
    moved.skip(1).step_by(2).map(|made| made.more).collect()
}

#[test]
fn pitfall_11_the_last_chunk_is_not_held_back() {
    let (from, (near, far)) = (source(), tcp());
    let got = collect(far);
    let transfer = Transfer::new(from, near)
        .range(..100_000)
        .budget(40_000)
        .route(Route::Splice);
    let (result, log) = run(transfer, Faulty::default());
    assert_eq!(result.unwrap().bytes, 100_000);
    assert_eq!(got.join().unwrap(), content(SourceKind::Ext4)[..100_000]);
    assert_eq!(corks(&log), [true, true, false]);
}

#[test]
fn pitfall_11_a_stream_is_never_held_back() {
    let (mut from, relayed) = tcp_stream();
    let (near, far) = tcp();
    let got = collect(far);
    from.write_all(&[5; 9000]).unwrap();
    drop(from);
    // The length is far from reached, so the next byte may take long to come.
    let transfer = Transfer::new(relayed, near)
        .range(..9000)
        .budget(3000)
        .route(Route::Splice);
    let (result, log) = run(transfer, Faulty::default());
    assert_eq!(result.unwrap().bytes, 9000);
    assert_eq!(got.join().unwrap(), [5; 9000]);
    let splices: Vec<_> = log.iter().filter(|m| m.call == Call::Splice).collect();
    assert!(splices.iter().all(|made| !made.more), "{splices:?}");
}

fn tcp_stream() -> (std::net::TcpStream, OwnedFd) {
    let (near, far) = tcp();
    (near.into(), far)
}

#[test]
fn pitfall_12_a_short_splice_is_not_the_end() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let to = ext4();
    writer.write_all(&[3; 50_000]).unwrap();
    drop(writer);
    let sys = Faulty::default().from(Call::Splice, 1, Fault::Cap(700));
    let (result, log) = run(Transfer::new(reader, &to), sys);
    assert_eq!(result.unwrap().bytes, 50_000);
    assert_eq!(whole(&to), [3; 50_000]);
    assert!(log.iter().filter(|m| m.len > 700).count() >= 72);
}

#[test]
fn pitfall_15_an_error_in_the_middle_keeps_the_count() {
    let (from, to) = (source(), ext4());
    let sys = Faulty::default()
        .at(Call::CopyFileRange, 2, Fault::Errno(Errno::INTR))
        .at(Call::CopyFileRange, 4, Fault::Errno(Errno::NOSPC));
    let (result, _) = run(Transfer::new(&from, &to).budget(40_000), sys);
    let error = result.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    assert_eq!(error.bytes(), 80_000);
    assert_eq!(whole(&to), content(SourceKind::Ext4)[..80_000]);
}

/// A notification. It is a `Result`, because scripts contain failures as well.
#[allow(clippy::unnecessary_wraps)]
fn answer(first: u32, last: u32, copied: bool) -> Result<Notification, Errno> {
    Ok(Notification {
        first,
        last,
        copied,
    })
}

/// Sends 20 000 bytes in two sends of 10 000.
fn two_sends(sys: Faulty) -> Receipt {
    let (near, far) = tcp();
    let got = collect(far);
    let memory = content(SourceKind::Memory);
    let transfer = Transfer::from_memory(memory, near)
        .range(..20_000)
        .budget(10_000);
    let receipt = run(transfer, sys).0.unwrap();
    assert_eq!(got.join().unwrap(), memory[..20_000]);
    receipt
}

#[test]
fn pitfall_16_answers_may_be_late_ranged_and_out_of_order() {
    let scripts = [
        (
            vec![Err(Errno::AGAIN), answer(1, 1, false), answer(0, 0, true)],
            10_000,
        ),
        (vec![Err(Errno::AGAIN), answer(0, 1, false)], 0),
        (
            vec![Err(Errno::AGAIN), Err(Errno::NOMSG), answer(0, 1, true)],
            20_000,
        ),
        (vec![answer(7, 7, false), answer(8, 8, true)], 10_000),
    ];
    for (script, copied) in scripts {
        let receipt = two_sends(Faulty::default().answering(script));
        assert_eq!(left(&receipt), []);
        assert_eq!(receipt.route, Some(Route::SendZerocopy));
        assert_eq!(receipt.copies.cpu_bytes, Some(copied));
        assert_eq!(receipt.copies.evidence, Evidence::Reported);
    }
}

#[test]
fn pitfall_16_copied_is_believed_and_the_route_is_left() {
    let receipt = two_sends(Faulty::default().answering([answer(0, 0, true)]));
    let told = (Route::SendZerocopy, Route::ReadWrite, None, 10_000);
    assert_eq!(left(&receipt), [told]);
}

#[test]
fn pitfall_16_a_spent_budget_waits_for_answers_or_leaves() {
    let nobufs = Fault::Errno(Errno::NOBUFS);
    let sys = Faulty::default()
        .at(Call::SendZerocopy, 2, nobufs)
        .answering([Err(Errno::AGAIN), answer(0, 0, false), answer(1, 1, false)]);
    let waited = two_sends(sys);
    assert_eq!(left(&waited), []);
    let nothing_to_wait_for = two_sends(Faulty::default().at(Call::SendZerocopy, 1, nobufs));
    let told = (Route::SendZerocopy, Route::ReadWrite, Some("ENOBUFS"), 0);
    assert_eq!(left(&nothing_to_wait_for), [told]);
}

#[test]
fn pitfall_16_the_last_answer_is_not_taken_and_then_waited_for() {
    for &driver in Driver::ALL {
        let (near, far) = tcp();
        let got = collect(far);
        let answered = near.try_clone().unwrap();
        // The kernel's report on the first send is there already, but is found only after the
        // second send was refused.
        let until_answered = move |_| {
            let mut fds = [PollFd::new(&answered, PollFlags::ERR)];
            rustix::event::poll(&mut fds, None).unwrap();
        };
        let sys = Faulty::default()
            .at(Call::SendZerocopy, 2, Fault::Errno(Errno::NOBUFS))
            .at(Call::Notification, 1, Fault::Errno(Errno::AGAIN));
        let memory = content(SourceKind::Memory);
        let mut machine = Transfer::from_memory(memory, near)
            .range(..20_000)
            .budget(10_000)
            .route(Route::SendZerocopy)
            .idle_timeout(driver::HANGS)
            .progress(until_answered)
            .start_with(sys)
            .unwrap();
        driver.drive(&mut machine).unwrap();
        assert_eq!(machine.sys().struck(), 2);
        drop(machine);
        assert_eq!(got.join().unwrap(), memory[..20_000], "{driver:?}");
    }
}

#[test]
fn pitfall_16_a_send_that_is_too_much_at_once_is_made_smaller() {
    let (near, far) = tcp();
    let got = collect(far);
    let memory = content(SourceKind::Memory);
    let sys = Faulty::default().at(Call::SendZerocopy, 1, Fault::Errno(Errno::NOBUFS));
    let transfer = Transfer::from_memory(memory, near).route(Route::SendZerocopy);
    let (result, log) = run(transfer, sys);
    assert_eq!(result.unwrap().bytes, memory.len() as u64);
    let sends = log.iter().filter(|made| made.call == Call::SendZerocopy);
    let asked: Vec<_> = sends.map(|made| made.len).take(2).collect();
    assert_eq!(asked, [memory.len(), memory.len() / 2]);
    assert_eq!(got.join().unwrap(), memory);
}

/// Memory that records when it is freed.
struct Told {
    bytes: Vec<u8>,
    freed: Arc<AtomicBool>,
}

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.freed.store(true, Ordering::Release);
    }
}

#[test]
fn pitfall_16_memory_outlives_a_transfer_that_is_dropped_too_early() {
    let told = || {
        let freed = Arc::new(AtomicBool::new(false));
        let bytes = vec![1; 20_000];
        (Arc::clone(&freed), Told { bytes, freed })
    };
    let (near, _far) = tcp();
    let (freed, memory) = told();
    let mut dropped = Transfer::from_memory(memory, &near)
        .start_with(Faulty::default())
        .unwrap();
    assert_eq!(dropped.step().unwrap(), Step::Moved(20_000));
    drop(dropped);
    assert!(
        !freed.load(Ordering::Acquire),
        "the kernel still refers to it"
    );

    let (freed, memory) = told();
    let next = run(Transfer::from_memory(memory, &near), Faulty::default());
    assert_eq!(next.0.unwrap().route, Some(Route::ReadWrite));
    assert!(freed.load(Ordering::Acquire));
}

#[test]
fn an_edit_that_grows_past_the_position_fails_without_panic() {
    let (from, to) = (source(), ext4());
    let sys = Faulty::default().at(Call::Pwrite, 1, Fault::Errno(Errno::NOSPC));
    let transfer = Transfer::new(&from, &to).edit(|chunk| chunk.resize(chunk.len() * 3, b'+'));
    let error = run(transfer, sys).0.unwrap_err();
    assert_eq!(error.bytes(), 0);
}
