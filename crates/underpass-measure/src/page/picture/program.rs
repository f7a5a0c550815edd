//! The picture of a program: what it reads, its memory, and what it writes, with user space above
//! the line and kernel space below. It draws exactly the hops that were counted.

use maud::{Markup, html};

use super::arrow::Arrow;
use super::scene;
use crate::page::{Page, counted, words};
use crate::report::{Count, Evidence, Hop, HopKind, Mover};
use crate::top::{CallActivity, CopyHop, End, HopCopies, ProcessReport};

/// One arrow for all hops of the same place.
struct Drawn {
    place: HopKind,
    hops: Vec<CopyHop>,
}

/// Where each hop is drawn: into the program's memory, out of it, or below it.
fn places() -> [Drawn; 3] {
    use CopyHop::{
        FileToUser, KernelToFile, KernelToPipe, KernelToSocket, PipeToUser, SocketToUser,
        UserToFile, UserToPipe, UserToSocket,
    };
    let drawn = |place, hops: &[CopyHop]| Drawn {
        place,
        hops: hops.to_vec(),
    };
    [
        drawn(
            HopKind::KernelToUser,
            &[FileToUser, SocketToUser, PipeToUser],
        ),
        drawn(
            HopKind::UserToSocket,
            &[UserToSocket, UserToFile, UserToPipe],
        ),
        drawn(
            HopKind::KernelToSocket,
            &[KernelToSocket, KernelToFile, KernelToPipe],
        ),
    ]
}

/// The picture of one program.
pub(in crate::page) fn of(page: &Page, process: &ProcessReport) -> Markup {
    let is_touched = process
        .activity
        .bytes(|call| (call.from == End::Memory) != (call.to == End::Memory))
        > 0;
    let source = most(process, |call| call.from);
    let sink = most(process, |call| call.to);
    let drawn = places().map(|drawn| (drawn.place, count(process, &drawn)));
    html! {
        figure.picture {
            svg viewBox={ "0 0 " (scene::WIDTH) " " (scene::KERNEL_END) } role="img" aria-label=(in_words(process)) {
                (scene::draw_program(page, is_touched, place_of(source), place_of(sink)))
                @for (place, count) in &drawn {
                    @if let Some(count) = count {
                        (Arrow::of(*place).draw(page, &Hop { kind: *place, mover: Mover::Cpu, copies: count.clone() }))
                    }
                }
            }
        }
    }
}

/// The end of most bytes, other than the program's memory.
fn most(process: &ProcessReport, end: fn(&CallActivity) -> End) -> Option<End> {
    let mut sums: Vec<(End, u64)> = Vec::new();
    let calls = process.activity.calls.iter();
    for call in calls.filter(|call| end(call) != End::Memory) {
        match sums.iter_mut().find(|(known, _)| *known == end(call)) {
            Some((_, bytes)) => *bytes += call.bytes,
            None => sums.push((end(call), call.bytes)),
        }
    }
    let most = sums.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.map(|(end, _)| end)
}

/// Where in the kernel the bytes of such an end are.
fn place_of(end: Option<End>) -> &'static str {
    match end {
        Some(End::File) => "page cache",
        Some(End::DirectFile) => "disk",
        Some(End::Pipe) => "pipe",
        Some(End::Terminal) => "terminal",
        Some(end) if end.is_socket() => "socket buffer",
        Some(_) => "other",
        None => "nothing",
    }
}

/// Copies for each byte at one place; `None` if the program's calls make none there.
fn count(process: &ProcessReport, drawn: &Drawn) -> Option<Count> {
    let copies = process.activity.copies.iter();
    let hops: Vec<&HopCopies> = copies
        .filter(|copies| drawn.hops.contains(&copies.hop))
        .collect();
    let weakest = hops.iter().map(|copies| copies.evidence).min()?;
    let moved = process.activity.bytes_moved();
    let bytes: Option<u64> = hops.iter().map(|copies| copies.bytes).sum();
    let mut whys: Vec<_> = hops.iter().map(|copies| copies.why.as_str()).collect();
    whys.dedup();
    let why = whys.join("; ");
    Some(match bytes {
        Some(bytes) if moved > 0 && weakest > Evidence::Unknown => {
            Count::new(Some(bytes as f64 / moved as f64), weakest, why)
        }
        _ => Count::unknown(why),
    })
}

/// The picture in words, for readers who cannot see it.
fn in_words(process: &ProcessReport) -> String {
    let hops = places().into_iter().filter_map(|drawn| {
        let count = count(process, &drawn)?;
        let names: Vec<_> = drawn.hops.iter().map(ToString::to_string).collect();
        let value = counted::value(count.value);
        Some(format!(
            "{}: {value} copies a byte, {}",
            names.join(" or "),
            count.evidence
        ))
    });
    let hops: Vec<_> = hops.collect();
    if hops.is_empty() {
        words::NO_BUFFER
            .say(crate::page::Language::English)
            .to_owned()
    } else {
        hops.join("; ")
    }
}
