//! The verdict on a process: whether its bytes could move with fewer copies, and by what. A pure
//! function of what was counted.
//!
//! It says nothing that was not seen. Copies that are only documented for a call are called
//! expected, and where too little was seen, the verdict is that. That two numbers of bytes are the
//! same does not show that the bytes are: a remedy holds if they leave as they came.

use std::fmt;

use serde::{Deserialize, Serialize};

use underpass::units;

use super::activity::{CallActivity, CallFamily, CopyHop, End, ProcessActivity};
use crate::number;
use crate::report::Evidence;

mod flow;
#[cfg(test)]
mod tests;

use flow::{Flow, Kind, Side};

/// Fewer bytes than this say nothing about a program: log lines, name look-ups and the like.
const LEAST: u64 = 64 << 10;
/// What at least this share of the bytes does is what the program does.
const MOST: f64 = 0.9;
/// Copies for each byte that count as none: what is counted over loopback differs from a claim by
/// as much (see the tolerance of `claims`), and heads of responses are copied.
const NONE: f64 = 0.05;
/// Calls that move less than this on average cost more by entering the kernel than by copying: the
/// engine, too, copies what is smaller (see DESIGN.md, "When does a relay copy").
const SMALL: u64 = 4 << 10;
/// Writes that are this small would be fewer with a buffer of the usual 4 or 8 KiB.
const TINY: u64 = 512;
/// Fewer writes than this cost nothing that anybody would see.
const OFTEN: u64 = 1000;
/// What is sent is probably what was mapped, if at least this share of it was: httpd maps a file
/// again for each request, and a quarter to a third of it faults.
const MAPPED: f64 = 0.25;
/// By what two numbers of bytes may differ if they are to be the same bytes: heads of messages, and
/// what is under way at the ends of the interval.
const SAME: f64 = 0.05;
/// From this size of a send on, Documentation/networking/msg_zerocopy.rst finds it worth it: "over
/// around 10 KB".
const LARGE: u64 = 10 << 10;

/// What a verdict amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerdictKind {
    /// The CPU copied nothing, or nothing worth mentioning.
    ZeroCopy,
    /// Copies, or entries into the kernel, need not be.
    Avoidable,
    /// It is right as it is: the program looks at the bytes, or nothing would cost less.
    Needed,
    /// It moves no bytes.
    Idle,
    /// Too little was seen.
    Unknown,
}

/// What would save copies or entries into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// sendfile(2): from a file to a socket.
    Sendfile,
    /// TLS in the kernel (kTLS), and sendfile(2) into it.
    KernelTls,
    /// splice(2), through a pipe.
    Splice,
    /// copy_file_range(2), or sharing extents (FICLONE).
    CopyFileRange,
    /// A buffer in the program: fewer, larger calls.
    Buffer,
    /// send(2) with `MSG_ZEROCOPY`.
    SendZerocopy,
    /// An interface that gathers (scatter-gather).
    ScatterGather,
}

/// The verdict on a process.
///
/// Its text is one line: `2.0 copies a byte: reads files and writes sockets; sendfile would save
/// both`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verdict {
    /// What it amounts to.
    pub kind: VerdictKind,
    /// The verdict and its reason, in one line.
    pub line: String,
    /// What would save something; only if [`kind`](Self::kind) is [`VerdictKind::Avoidable`].
    pub remedy: Option<Remedy>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.line)
    }
}

impl Verdict {
    fn new(kind: VerdictKind, line: impl Into<String>) -> Self {
        let line = line.into();
        Self {
            kind,
            line,
            remedy: None,
        }
    }

    fn unknown(line: impl Into<String>) -> Self {
        Self::new(VerdictKind::Unknown, line)
    }

    fn needed(line: impl Into<String>) -> Self {
        Self::new(VerdictKind::Needed, line)
    }

    fn avoidable(line: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            remedy: Some(remedy),
            ..Self::new(VerdictKind::Avoidable, line)
        }
    }
}

/// The verdict on what a process did. Never panics, whatever was counted.
pub fn verdict(process: &ProcessActivity) -> Verdict {
    let case = Case {
        flow: Flow::of(process),
        process,
    };
    // The first rule that applies decides.
    let rules: [fn(&Case) -> Option<Verdict>; 13] = [
        kernel_thread,
        too_little,
        unseen,
        inside_the_kernel,
        by_reference,
        tiny_writes,
        small_calls,
        mapped,
        nothing_copied,
        encrypted_by_the_program,
        passed_on,
        with_a_device,
        one_way_or_other_bytes,
    ];
    let found = rules.iter().find_map(|rule| rule(&case));
    found.unwrap_or_else(|| Verdict::unknown("not enough seen: its bytes take several ways"))
}

/// What the rules look at.
struct Case<'a> {
    flow: Flow,
    process: &'a ProcessActivity,
}

impl Case<'_> {
    /// `2.0 copies a byte: `, with how that is known if it was not counted; nothing if it is not
    /// known.
    fn counted(&self) -> String {
        let Some(copies) = self.process.copies_per_byte() else {
            return String::new();
        };
        match self.process.copies_evidence() {
            Evidence::Measured => format!("{} a byte: ", times(copies)),
            evidence => format!("{} a byte {evidence}: ", times(copies)),
        }
    }

    /// The copies for each byte, if they were counted.
    fn measured(&self) -> Option<f64> {
        let is_measured = self.process.copies_evidence() == Evidence::Measured;
        self.process.copies_per_byte().filter(|_| is_measured)
    }

    /// The share of the bytes that left.
    fn share_out(&self, bytes: u64) -> f64 {
        share(bytes, self.flow.bytes_out())
    }

    fn is_mostly_ring(&self) -> bool {
        share(self.flow.ring, self.flow.copied()) >= MOST
    }
}

/// `1.0 copy` or `2.0 copies`; what is little is not shown as none.
fn times(copies: f64) -> String {
    match copies {
        copies if (copies - 1.0).abs() < 0.05 => "1.0 copy".to_owned(),
        copies if copies < 0.1 => format!("{} copies", number::count(copies)),
        copies => format!("{copies:.1} copies"),
    }
}

fn kernel_thread(case: &Case) -> Option<Verdict> {
    let copied = case.process.copied_bytes().filter(|bytes| *bytes > 0);
    let does = match copied {
        Some(bytes) => format!("copies {}", units::size(bytes)),
        None => "works".to_owned(),
    };
    case.process.is_kernel_thread.then(|| {
        Verdict::unknown(format!(
            "a thread of the kernel: it {does} for others, and for whom is not known"
        ))
    })
}

fn too_little(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    match flow.bytes_moved() {
        _ if flow.calls_of_unknown_bytes > 0 => None,
        0 if flow.mapped >= LEAST => Some(Verdict::new(
            VerdictKind::Idle,
            "maps files, and moves no bytes by calls",
        )),
        0 => Some(Verdict::new(VerdictKind::Idle, "does not move bytes")),
        bytes @ ..LEAST => Some(Verdict::unknown(format!(
            "not enough seen: only {} moved",
            units::size(bytes)
        ))),
        _ => None,
    }
}

/// The ends, or the bytes, of most calls are not known.
fn unseen(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    let sides = [&flow.copied_in, &flow.copied_out, &flow.in_kernel];
    let calls = sides
        .iter()
        .fold(0_u64, |sum, side| sum.saturating_add(side.calls));
    if flow.calls_of_unknown_bytes > calls.saturating_sub(flow.calls_of_unknown_bytes) {
        return Some(Verdict::unknown(
            "not enough seen: how many bytes most of its calls moved is not known",
        ));
    }
    let mains = [flow.copied_in.main(), flow.copied_out.main()];
    let is_unknown = mains.iter().flatten().any(|(kind, bytes)| {
        *kind == Kind::Unknown && share(*bytes, flow.bytes_in().max(flow.bytes_out())) >= 0.5
    });
    is_unknown.then(|| {
        Verdict::unknown("not enough seen: whether it reads and writes files, sockets or pipes")
    })
}

/// sendfile, splice and copy_file_range move nearly everything: the bytes stay in the kernel.
fn inside_the_kernel(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    if share(flow.in_kernel.bytes(), flow.bytes_moved()) < MOST {
        return None;
    }
    let call = flow.kernel_call?;
    let (to, _) = flow.in_kernel.main()?;
    if to == Kind::File {
        return Some(into_files(case, call));
    }
    let tls = if to == Kind::KernelTls {
        ", encrypted by the kernel"
    } else {
        ""
    };
    Some(match case.measured() {
        Some(copies) if copies <= NONE => {
            Verdict::new(VerdictKind::ZeroCopy, format!("zero-copy: {call}{tls}"))
        }
        Some(copies) if mostly(case, CopyHop::KernelToSocket) => Verdict::avoidable(
            format!(
                "{} a byte although {call} passes references: copied for an interface that does not gather",
                times(copies)
            ),
            Remedy::ScatterGather,
        ),
        Some(copies) if mostly(case, CopyHop::KernelToPipe) => Verdict::needed(format!(
            "{} a byte although {call} passes references: packets came in memory that a pipe cannot refer to",
            times(copies)
        )),
        Some(copies) => Verdict::needed(format!("{} a byte: {call}{tls}", times(copies))),
        None => {
            let known = case.counted();
            let known = known.trim_end_matches(": ");
            let (kind, said) = match case.process.copies_per_byte() {
                Some(copies) if copies <= NONE => (VerdictKind::ZeroCopy, "zero-copy expected"),
                Some(_) => (VerdictKind::Needed, known),
                None => (VerdictKind::Unknown, "copies not known"),
            };
            Verdict::new(kind, format!("{said}: {call}{tls}"))
        }
    })
}

/// Whether most copies are made at a hop: to sockets, packets that only referred to pages were
/// copied after all.
fn mostly(case: &Case, hop: CopyHop) -> bool {
    let copies = case.process.copies.iter();
    let hop = copies.filter(|copies| copies.hop == hop);
    let bytes = hop
        .filter_map(|copies| copies.bytes)
        .fold(0, u64::saturating_add);
    let all = case.process.copied_bytes().unwrap_or(0);
    share(bytes, all) >= 0.5
}

fn into_files(case: &Case, call: CallFamily) -> Verdict {
    let counted = case.counted();
    if call == CallFamily::CopyFileRange {
        return match case.measured() {
            Some(copies) if copies <= NONE => Verdict::new(
                VerdictKind::ZeroCopy,
                "zero-copy: copy_file_range: the file system shares extents, or its server copies",
            ),
            Some(_) => Verdict::needed(format!(
                "{counted}copy_file_range: the file system copies, from page to page; right as it is"
            )),
            None => Verdict::needed(format!(
                "{counted}copy_file_range: the file system shares extents, or copies once; right as it is"
            )),
        };
    }
    if call == CallFamily::Sendfile {
        return Verdict::needed(format!(
            "{counted}sendfile from file to file: copy_file_range copies none where extents are shared"
        ));
    }
    Verdict::needed(format!(
        "{counted}{call} into files: one copy, into the page cache, has to be; right as it is"
    ))
}

/// `MSG_ZEROCOPY`: the socket refers to the program's memory.
fn by_reference(case: &Case) -> Option<Verdict> {
    if case.share_out(case.flow.referred.bytes()) < MOST {
        return None;
    }
    Some(match (case.measured(), case.process.copies_per_byte()) {
        (Some(copies), _) if copies <= NONE => {
            Verdict::new(VerdictKind::ZeroCopy, "zero-copy: MSG_ZEROCOPY")
        }
        (None, Some(copies)) if copies <= NONE => Verdict::new(
            VerdictKind::ZeroCopy,
            "zero-copy expected: MSG_ZEROCOPY; the kernel may have copied all the same",
        ),
        _ => Verdict::needed(format!(
            "{}MSG_ZEROCOPY; the kernel copies all the same over loopback, for example",
            case.counted()
        )),
    })
}

/// Many writes of a few bytes, to files or pipes: the kernel is entered for each of them.
fn tiny_writes(case: &Case) -> Option<Verdict> {
    let out = &case.flow.copied_out;
    let (to, bytes) = out.main()?;
    let average = out.average()?;
    let is_buffered = matches!(to, Kind::File | Kind::Pipe) && case.share_out(bytes) >= MOST;
    let is_often = out.calls >= OFTEN && out.calls >= case.flow.copied_in.calls;
    (is_buffered && is_often && average < TINY).then(|| {
        Verdict::avoidable(
            format!(
                "writes of {average} B: entering the kernel costs more than the copies; a buffer would save most calls"
            ),
            Remedy::Buffer,
        )
    })
}

/// A few bytes a call: messages, as between peers that wait for each other, or a file in pieces.
fn small_calls(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    let calls = flow.copied_in.calls.saturating_add(flow.copied_out.calls);
    let copied = flow.copied();
    let average = copied.checked_div(calls)?;
    let all = flow.bytes_in().saturating_add(flow.bytes_out());
    (average < SMALL && share(copied, all) >= MOST).then(|| {
        Verdict::needed(format!(
            "{}, {} a call: entering the kernel is the cost, not the copies",
            small_what(flow),
            units::size(average)
        ))
    })
}

/// What comes to or from a socket or a pipe is a message: its size is not the program's alone.
fn small_what(flow: &Flow) -> &'static str {
    let is_much = |(_, bytes): &(Kind, u64)| share(*bytes, flow.copied()) >= 1.0 - MOST;
    let [read, written] = [&flow.copied_in, &flow.copied_out].map(|side| {
        let main = side.main().filter(is_much);
        main.map(|(kind, _)| kind)
    });
    let is_no_message = |kind| matches!(kind, Kind::File | Kind::Other);
    if ![read, written].into_iter().flatten().all(is_no_message) {
        return "small messages";
    }
    match (read, written) {
        (Some(Kind::File), Some(Kind::File)) => "small reads and writes",
        (Some(Kind::File), _) => "small reads",
        (_, Some(Kind::File)) => "small writes",
        _ => "small messages",
    }
}

/// Mapped files that are written to sockets. Small calls come before: every program maps its
/// libraries, which may be more than what it sends.
fn mapped(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    let (to, bytes) = flow.copied_out.main()?;
    // A fault maps several pages, and one that is mapped already does not fault.
    let is_mapped = to == Kind::Socket && share(flow.mapped, bytes) >= MAPPED;
    let reads_little = share(flow.bytes_in(), bytes) < 1.0 - MOST;
    (is_mapped && reads_little && case.share_out(bytes) >= MOST).then(|| {
        let line = "maps files and writes sockets; sendfile would save the copy";
        Verdict::avoidable(format!("{}{line}", case.counted()), Remedy::Sendfile)
    })
}

/// Bytes that pass the program's memory, and still nothing copies them.
fn nothing_copied(case: &Case) -> Option<Verdict> {
    let copies = case.measured()?;
    let (to, bytes) = case.flow.copied_out.main()?;
    if copies > NONE || case.share_out(bytes) < MOST {
        return None;
    }
    let is_direct = |call: &CallActivity| End::DirectFile == call.to;
    let direct = case.process.bytes(is_direct);
    let how = match to {
        Kind::KernelTls => "the kernel encrypts straight out of the program's memory",
        Kind::File if share(direct, bytes) >= MOST => "O_DIRECT, past the page cache",
        _ => return None,
    };
    Some(Verdict::new(
        VerdictKind::ZeroCopy,
        format!("zero-copy: {how}"),
    ))
}

fn encrypted_by_the_program(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    let (to, bytes) = flow.copied_out.main()?;
    if to != Kind::ProgramTls || case.share_out(bytes) < MOST {
        return None;
    }
    let counted = case.counted();
    let reads_files =
        matches!(flow.copied_in.main(), Some((Kind::File, read)) if same(read, bytes));
    Some(if reads_files {
        Verdict::avoidable(
            format!(
                "{counted}TLS in user space: the program must touch the bytes; kernel TLS with sendfile would save the copies"
            ),
            Remedy::KernelTls,
        )
    } else {
        Verdict::needed(format!(
            "{counted}TLS in user space: the program must touch the bytes; right as it is"
        ))
    })
}

/// As many bytes are written as were read: probably the same ones.
fn passed_on(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    let (from, read) = flow.copied_in.main()?;
    let (to, written) = flow.copied_out.main()?;
    let are_most = share(read, flow.bytes_in()) >= MOST && case.share_out(written) >= MOST;
    if !are_most || !same(read, written) {
        return None;
    }
    let (remedy, would_save) = match (from, to) {
        (Kind::Other | Kind::Unknown, _) | (_, Kind::Other | Kind::Unknown) => return None,
        (Kind::File, Kind::File) => (
            Remedy::CopyFileRange,
            "reads files and writes files; copy_file_range would save one copy, and both where extents are shared",
        ),
        (Kind::File, Kind::Socket) => (
            Remedy::Sendfile,
            "reads files and writes sockets; sendfile would save both",
        ),
        (Kind::File, to) if to.is_socket() => (
            Remedy::Sendfile,
            "reads files and writes sockets, whose TLS is in the kernel; sendfile would save both",
        ),
        (Kind::File, _) => (
            Remedy::Splice,
            "reads files and writes pipes; splice would save both",
        ),
        (Kind::Pipe, Kind::Pipe) => (
            Remedy::Splice,
            "reads pipes and writes pipes; splice would save both",
        ),
        (Kind::Pipe, Kind::File) => (
            Remedy::Splice,
            "reads pipes and writes files; splice would save one copy",
        ),
        (Kind::Pipe, _) | (_, Kind::Pipe) => (
            Remedy::Splice,
            "a pipe between: reads one end and writes the other; splice would save both",
        ),
        (_, Kind::File) => (
            Remedy::Splice,
            "reads sockets and writes files; splice would save one copy",
        ),
        (_, _) => (
            Remedy::Splice,
            "reads sockets and writes sockets; splice would save both",
        ),
    };
    let ring = if case.is_mostly_ring() {
        "; io_uring saves calls, not copies"
    } else {
        ""
    };
    let line = format!("{}{would_save}{ring}", case.counted());
    Some(Verdict::avoidable(line, remedy))
}

/// What a device does with bytes is its own matter.
fn with_a_device(case: &Case) -> Option<Verdict> {
    if case.process.copies_per_byte().is_some() {
        return None;
    }
    let flow = &case.flow;
    let is_device = |side: &Side, all| {
        let main = side.main();
        main.is_some_and(|(kind, bytes)| kind == Kind::Other && share(bytes, all) >= 0.5)
    };
    let how = if is_device(&flow.copied_out, flow.bytes_out()) {
        "go to a device, which may take"
    } else if is_device(&flow.copied_in, flow.bytes_in()) {
        "come from a device, which may give"
    } else {
        return None;
    };
    Some(Verdict::unknown(format!(
        "not enough seen: most bytes {how} them without a copy"
    )))
}

/// Nearly all bytes go one way, or other bytes go out than came in.
fn one_way_or_other_bytes(case: &Case) -> Option<Verdict> {
    let flow = &case.flow;
    let (read, written) = (flow.bytes_in(), flow.bytes_out());
    let all = read.saturating_add(written);
    let counted = case.counted();
    if share(read, all) >= MOST {
        let from = flow
            .copied_in
            .main()
            .map_or("bytes", |(from, _)| from.plural());
        return Some(Verdict::needed(format!(
            "{counted}reads {from} and uses the bytes itself; right as it is"
        )));
    }
    if share(written, all) >= MOST {
        return from_memory(case);
    }
    (!same(read, written)).then(|| {
        let ratio = read.max(written) as f64 / read.min(written).max(1) as f64;
        let (more, less) = if read > written {
            ("reads", "writes")
        } else {
            ("writes", "reads")
        };
        Verdict::needed(format!(
            "{counted}{more} {ratio:.1} times as much as it {less}: other bytes leave than came; right as it is"
        ))
    })
}

/// What it sends, it made itself or keeps in memory.
fn from_memory(case: &Case) -> Option<Verdict> {
    let out = &case.flow.copied_out;
    let (to, bytes) = out.main()?;
    let counted = case.counted();
    if to == Kind::Socket && out.average()? >= LARGE && case.share_out(bytes) >= MOST {
        return Some(Verdict::avoidable(
            format!("{counted}sends what it has in memory; MSG_ZEROCOPY may save the copy"),
            Remedy::SendZerocopy,
        ));
    }
    let to = to.plural();
    Some(Verdict::needed(format!(
        "{counted}makes the bytes itself and writes {to}; right as it is"
    )))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

fn same(one: u64, other: u64) -> bool {
    let (less, more) = (one.min(other) as f64, one.max(other) as f64);
    more > 0.0 && less >= more * (1.0 - SAME)
}
