//! The verdict as a table, and its promises for whatever may be counted.

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::super::activity::{CallActivity, HopCopies};
use super::*;
use crate::top::decode::{ENDS, FAMILIES};

/// What a process did: calls and their MiB (in calls of 64 KiB, or the number and size of the
/// calls), then its copies in MiB, or their number is not known; what the verdict amounts to, its
/// remedy, and its line.
const TABLE: &str = "
sendfile file>tcp 100; kernel_to_socket 0 measured => zero_copy: zero-copy: sendfile
sendfile file>tcp 100; kernel_to_socket 0 expected => zero_copy: zero-copy expected: sendfile
sendfile file>tcp 100; kernel_to_socket 0 unknown => unknown: copies not known: sendfile
sendfile file>tcp 100; kernel_to_socket 100 measured => avoidable scatter_gather: 1.0 copy a byte although sendfile passes references: copied for an interface that does not gather
sendfile file>tcp 100; kernel_to_socket 100 expected => needed: 1.0 copy a byte expected: sendfile
sendfile file>kernel_tls 100; kernel_to_socket 0 measured => zero_copy: zero-copy: sendfile, encrypted by the kernel
sendfile file>tcp 100, recv tcp>memory 1, send memory>tcp 1; socket_to_user 1 measured, user_to_socket 1 measured => zero_copy: zero-copy: sendfile
splice tcp>pipe 100, splice pipe>tcp 100; kernel_to_socket 0 measured => zero_copy: zero-copy: splice
splice tcp>pipe 100, splice pipe>tcp 100; kernel_to_socket 0 measured, kernel_to_pipe 100 measured => needed: 1.0 copy a byte although splice passes references: packets came in memory that a pipe cannot refer to
splice tcp>pipe 100, splice pipe>file 100; kernel_to_file 100 measured => needed: 1.0 copy a byte: splice into files: one copy, into the page cache, has to be; right as it is
uring_splice file>pipe 100, uring_splice pipe>tcp 100; kernel_to_socket 0 measured => zero_copy: zero-copy: io_uring splice
sendfile file>file 100; kernel_to_file 100 measured => needed: 1.0 copy a byte: sendfile from file to file: copy_file_range copies none where extents are shared
copy_file_range file>file 100; kernel_to_file 0 unknown => needed: copy_file_range: the file system shares extents, or copies once; right as it is
copy_file_range file>file 100; kernel_to_file 0 measured => zero_copy: zero-copy: copy_file_range: the file system shares extents, or its server copies
copy_file_range file>file 100; kernel_to_file 100 measured => needed: 1.0 copy a byte: copy_file_range: the file system copies, from page to page; right as it is
zerocopy_send memory>tcp 100; kernel_to_socket 0 measured => zero_copy: zero-copy: MSG_ZEROCOPY
zerocopy_send memory>tcp 100; kernel_to_socket 0 expected => zero_copy: zero-copy expected: MSG_ZEROCOPY; the kernel may have copied all the same
zerocopy_send memory>tcp 100; kernel_to_socket 100 measured => needed: 1.0 copy a byte: MSG_ZEROCOPY; the kernel copies all the same over loopback, for example
uring_zerocopy_send memory>tcp 100; kernel_to_socket 0 measured => zero_copy: zero-copy: MSG_ZEROCOPY

read file>memory 100, write memory>tcp 100; file_to_user 100 measured, user_to_socket 100 measured => avoidable sendfile: 2.0 copies a byte: reads files and writes sockets; sendfile would save both
read file>memory 100, write memory>tcp 100; file_to_user 100 expected, user_to_socket 100 expected => avoidable sendfile: 2.0 copies a byte expected: reads files and writes sockets; sendfile would save both
read file>memory 100, write memory>tcp 100; file_to_user 0 unknown, user_to_socket 100 measured => avoidable sendfile: reads files and writes sockets; sendfile would save both
read file>memory 100, write memory>tcp 100; file_to_user 100 measured, user_to_socket 100 measured, kernel_to_socket 100 measured => avoidable sendfile: 3.0 copies a byte: reads files and writes sockets; sendfile would save both
read direct_file>memory 100, write memory>unix 100; user_to_socket 100 measured => avoidable sendfile: 1.0 copy a byte: reads files and writes sockets; sendfile would save both
read file>memory 100, write memory>kernel_tls 100; file_to_user 100 measured, user_to_socket 100 measured => avoidable sendfile: 2.0 copies a byte: reads files and writes sockets, whose TLS is in the kernel; sendfile would save both
uring_in file>memory 100, uring_out memory>tcp 100; file_to_user 100 measured, user_to_socket 100 measured => avoidable sendfile: 2.0 copies a byte: reads files and writes sockets; sendfile would save both; io_uring saves calls, not copies
mmap_fault file>memory 30, write memory>tcp 100; user_to_socket 100 measured => avoidable sendfile: 1.0 copy a byte: maps files and writes sockets; sendfile would save the copy
recv tcp>memory 100, send memory>tcp 100; socket_to_user 100 measured, user_to_socket 100 measured => avoidable splice: 2.0 copies a byte: reads sockets and writes sockets; splice would save both
read pipe>memory 100, write memory>tcp 100; pipe_to_user 100 measured, user_to_socket 100 measured => avoidable splice: 2.0 copies a byte: a pipe between: reads one end and writes the other; splice would save both
read file>memory 100, write memory>pipe 100; file_to_user 100 measured, user_to_pipe 100 measured => avoidable splice: 2.0 copies a byte: reads files and writes pipes; splice would save both
read pipe>memory 100, write memory>file 100; pipe_to_user 100 measured, user_to_file 100 measured => avoidable splice: 2.0 copies a byte: reads pipes and writes files; splice would save one copy
recv tcp>memory 100, write memory>file 100; socket_to_user 100 measured, user_to_file 100 measured => avoidable splice: 2.0 copies a byte: reads sockets and writes files; splice would save one copy
read file>memory 100, write memory>file 100; file_to_user 100 expected, user_to_file 100 expected => avoidable copy_file_range: 2.0 copies a byte expected: reads files and writes files; copy_file_range would save one copy, and both where extents are shared
write memory>tcp 100; user_to_socket 100 measured => avoidable send_zerocopy: 1.0 copy a byte: sends what it has in memory; MSG_ZEROCOPY may save the copy

read file>memory 100, write memory>program_tls 100; file_to_user 100 measured, user_to_socket 100 measured => avoidable kernel_tls: 2.0 copies a byte: TLS in user space: the program must touch the bytes; kernel TLS with sendfile would save the copies
send memory>kernel_tls 100; user_to_socket 0 measured => zero_copy: zero-copy: the kernel encrypts straight out of the program's memory
send memory>kernel_tls 100; user_to_socket 0 unknown => needed: makes the bytes itself and writes TLS sockets; right as it is
send memory>kernel_tls 100; user_to_socket 100 measured => needed: 1.0 copy a byte: makes the bytes itself and writes TLS sockets; right as it is
read direct_file>memory 100, write memory>direct_file 100; => zero_copy: zero-copy: O_DIRECT, past the page cache
write memory>program_tls 100; user_to_socket 100 measured => needed: 1.0 copy a byte: TLS in user space: the program must touch the bytes; right as it is
read file>memory 100, write memory>program_tls 30; file_to_user 100 measured, user_to_socket 30 measured => needed: 1.3 copies a byte: TLS in user space: the program must touch the bytes; right as it is

read file>memory 100, write memory>file 30; file_to_user 100 measured, user_to_file 30 measured => needed: 1.3 copies a byte: reads 3.3 times as much as it writes: other bytes leave than came; right as it is
read file>memory 30, write memory>tcp 100; file_to_user 30 measured, user_to_socket 100 measured => needed: 1.3 copies a byte: writes 3.3 times as much as it reads: other bytes leave than came; right as it is
read file>memory 100; file_to_user 100 measured => needed: 1.0 copy a byte: reads files and uses the bytes itself; right as it is
write memory>file 100; user_to_file 100 measured => needed: 1.0 copy a byte: makes the bytes itself and writes files; right as it is
write memory>file 100000x37; user_to_file 3 measured => avoidable buffer: writes of 37 B: entering the kernel costs more than the copies; a buffer would save most calls
recv tcp>memory 10000x100, send memory>tcp 10000x200; => needed: small messages, 150 B a call: entering the kernel is the cost, not the copies
mmap_fault file>memory 30, recv tcp>memory 500x80, send memory>tcp 500x1200; user_to_socket 1 measured, socket_to_user 0 measured => needed: small messages, 640 B a call: entering the kernel is the cost, not the copies
read file>memory 30000x2000; file_to_user 57 measured => needed: small reads, 2.0 KiB a call: entering the kernel is the cost, not the copies
read file>memory 16000x4000, write memory>other 16000x4000; => needed: small reads, 3.9 KiB a call: entering the kernel is the cost, not the copies
read file>memory 30000x512, write memory>file 30000x512; => needed: small reads and writes, 512 B a call: entering the kernel is the cost, not the copies
write memory>file 30000x1000; user_to_file 29 measured => needed: small writes, 1000 B a call: entering the kernel is the cost, not the copies
read file>memory 30000x1000, send memory>tcp 30000x1000; => needed: small messages, 1000 B a call: entering the kernel is the cost, not the copies
read pipe>memory 30000x1000, write memory>file 300x1000; => needed: small messages, 1000 B a call: entering the kernel is the cost, not the copies
read other>memory 30000x1000; => needed: small messages, 1000 B a call: entering the kernel is the cost, not the copies
read pipe>memory 100, write memory>file 1x36; pipe_to_user 100 measured => needed: 1.0 copy a byte: reads pipes and uses the bytes itself; right as it is
read file>memory 100, write memory>other 100; file_to_user 100 measured, other 0 unknown => unknown: not enough seen: most bytes go to a device, which may take them without a copy
read other>memory 100, write memory>file 100; user_to_file 100 measured, other 0 unknown => unknown: not enough seen: most bytes come from a device, which may give them without a copy
mmap_fault file>memory 3; => idle: maps files, and moves no bytes by calls
; => idle: does not move bytes
write memory>file 3x300; => unknown: not enough seen: only 900 B moved
read unknown>memory 100, write memory>unknown 100; => unknown: not enough seen: whether it reads and writes files, sockets or pipes
";

#[test]
fn each_kind_of_program_has_its_verdict() {
    let rows = TABLE.lines().filter(|line| !line.is_empty());
    for row in rows.clone() {
        let (did, want) = row.split_once(" => ").unwrap();
        let (amounts_to, line) = want.split_once(": ").unwrap();
        let (kind, remedy) = match amounts_to.split_once(' ') {
            Some((kind, remedy)) => (kind, Some(named(remedy))),
            None => (amounts_to, None),
        };
        let found = verdict(&process(did));
        assert_eq!(found.to_string(), line, "{did}");
        assert_eq!((found.kind, found.remedy), (named(kind), remedy), "{did}");
    }
    assert!(rows.count() > 40);
}

fn process(did: &str) -> ProcessActivity {
    let (calls, copies) = did.split_once(';').unwrap();
    let each = |text: &str| -> Vec<String> {
        let parts = text.split(',').map(str::trim);
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    ProcessActivity {
        calls: each(calls).iter().map(|text| call_of(text)).collect(),
        copies: each(copies).iter().map(|text| copies_of(text)).collect(),
        ..ProcessActivity::default()
    }
}

/// `sendfile file>tcp 100` or `write memory>file 3x300`.
fn call_of(text: &str) -> CallActivity {
    let words: Vec<_> = text.split(' ').collect();
    let (from, to) = words[1].split_once('>').unwrap();
    let (calls, size) = match words[2].split_once('x') {
        Some((calls, size)) => (calls.parse().unwrap(), size.parse().unwrap()),
        None => (words[2].parse::<u64>().unwrap() * 16, 64 << 10),
    };
    CallActivity {
        family: named(words[0]),
        from: named(from),
        to: named(to),
        calls,
        bytes: calls * size,
        calls_of_unknown_bytes: 0,
    }
}

/// `file_to_user 100 measured`.
fn copies_of(text: &str) -> HopCopies {
    let words: Vec<_> = text.split(' ').collect();
    let evidence = named(words[2]);
    let bytes = words[1].parse::<u64>().unwrap() << 20;
    HopCopies {
        hop: named(words[0]),
        bytes: (evidence != Evidence::Unknown).then_some(bytes),
        evidence,
        why: String::new(),
    }
}

/// A variant, by its name in JSON.
fn named<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(name.into()).unwrap()
}

#[test]
fn threads_of_the_kernel_and_unknown_bytes_are_no_guess() {
    let mut thread = process("read file>memory 100;");
    thread.is_kernel_thread = true;
    assert_eq!(
        verdict(&thread).line,
        "a thread of the kernel: it works for others, and for whom is not known"
    );
    thread.copies = process("; file_to_user 100 measured").copies;
    let line = verdict(&thread).line;
    assert!(line.contains("it copies 100 MiB for others"), "{line}");
    thread.is_kernel_thread = false;
    thread.calls[0].calls_of_unknown_bytes = thread.calls[0].calls;
    let found = verdict(&thread);
    assert_eq!(found.kind, VerdictKind::Unknown);
    assert!(found.line.contains("how many bytes"), "{found}");
}

const HOPS: [CopyHop; 4] = [
    CopyHop::FileToUser,
    CopyHop::UserToSocket,
    CopyHop::KernelToSocket,
    CopyHop::Other,
];
const EVIDENCE: [Evidence; 3] = [Evidence::Unknown, Evidence::Expected, Evidence::Measured];

fn call() -> impl Strategy<Value = CallActivity> {
    let number = prop_oneof![Just(0), Just(u64::MAX), 0_u64..1000, 0_u64..1 << 40];
    let parts = (
        0..FAMILIES.len(),
        0..ENDS.len(),
        0..ENDS.len(),
        number.clone(),
        number.clone(),
        number,
    );
    parts.prop_map(|(family, from, to, calls, bytes, unknown)| CallActivity {
        family: FAMILIES[family],
        from: ENDS[from],
        to: ENDS[to],
        calls,
        bytes,
        calls_of_unknown_bytes: unknown.min(calls),
    })
}

fn copies() -> impl Strategy<Value = HopCopies> {
    (0..4_usize, 0..3_usize, 0_u64..1 << 40).prop_map(|(hop, evidence, bytes)| HopCopies {
        hop: HOPS[hop],
        bytes: (evidence > 0).then_some(bytes),
        evidence: EVIDENCE[evidence],
        why: String::new(),
    })
}

proptest! {
    /// One line for whatever was counted; a remedy only where something could be saved, and never
    /// one that the program uses for nearly all of its bytes already.
    #[test]
    fn any_activity_has_a_verdict(
        calls in prop::collection::vec(call(), 0..8),
        copies in prop::collection::vec(copies(), 0..4),
        is_kernel_thread: bool,
    ) {
        let process = ProcessActivity { is_kernel_thread, calls, copies, ..ProcessActivity::default() };
        let found = verdict(&process);
        prop_assert!(!found.line.is_empty() && !found.line.contains('\n'), "{}", found.line);
        prop_assert_eq!(found.remedy.is_some(), found.kind == VerdictKind::Avoidable);
        let flow = Flow::of(&process);
        let is_in_kernel = share(flow.in_kernel.bytes(), flow.bytes_moved()) >= MOST;
        if is_in_kernel {
            let already = [Remedy::Sendfile, Remedy::Splice, Remedy::CopyFileRange, Remedy::KernelTls];
            prop_assert!(!found.remedy.is_some_and(|remedy| already.contains(&remedy)), "{}", found.line);
        }
        if process.copies_evidence() != Evidence::Measured {
            let claims_count = found.line.contains("copies a byte:") || found.line.contains("copy a byte:");
            prop_assert!(!claims_count, "{}", found.line);
            prop_assert!(!found.line.starts_with("zero-copy:"), "{}", found.line);
        }
        if process.copied_bytes().is_none() {
            prop_assert!(!found.line.contains(" a byte"), "{}", found.line);
        }
    }
}
