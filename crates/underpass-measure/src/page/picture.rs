//! The picture of one way: disk, kernel buffer, user buffer, socket, interface, with user space
//! above the line and kernel space below. It draws exactly the hops of its row.

use maud::{Markup, html};
use underpass::receipt::CryptoPlace;

use super::{Page, counted, words};
use crate::report::{CryptoPass, Hop, HopKind, Mover, Row};
use crate::{Link, Way};

mod arrow;
mod program;
mod scene;

use arrow::Arrow;
pub(super) use program::of as program;

/// The fill pattern of DMA's arrows, defined once for all pictures of the page.
pub(super) fn definitions() -> Markup {
    html! {
        svg.definitions aria-hidden="true" width="0" height="0" {
            defs {
                pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect.ground width="6" height="6" {}
                    rect.stripe width="3" height="6" {}
                }
            }
        }
    }
}

/// A piece of an arrow, for the legend.
pub(super) fn legend(class: &str) -> Markup {
    html! {
        svg.sample aria-hidden="true" width="40" height="14" {
            @if class == "none" {
                line.none x1="0" y1="7" x2="40" y2="7" {}
            } @else {
                rect class=(class) x="1" y="1" width="38" height="12" {}
            }
        }
    }
}

/// The picture of one way over one interface.
pub(super) fn of(page: &Page, row: &Row) -> Markup {
    let user = user_space(row);
    let interface = page
        .report
        .interfaces
        .iter()
        .find(|interface| interface.name == row.interface);
    html! {
        figure.picture {
            svg viewBox={ "0 0 " (scene::WIDTH) " " (scene::HEIGHT) } role="img" aria-label=(in_words(page, row)) {
                (scene::draw(page, user, &page.interface(&row.interface), interface.and_then(|interface| interface.gathers)))
                @for hop in &row.copies.hops {
                    @if let Some(device) = absent(page, hop.kind, row) {
                        (Arrow::of(hop.kind).draw_absent(page, hop, device))
                    } @else {
                        (arrow_of(hop.kind, row).draw(page, hop))
                    }
                }
                @for pass in encryption(row) { (Arrow::of_encryption(pass.place).draw_pass(page, pass)) }
                @if only_descriptors(row) { (arrow::descriptors(page, row.copies.hop(HopKind::KernelToSocket).is_none())) }
            }
            @for caption in captions(row) { figcaption { (page.say(caption)) } }
        }
    }
}

/// A device that would copy by DMA, and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// loopback and veth only pass references on.
    Card,
    /// The file has no place but the page cache.
    Disk,
}

fn absent(page: &Page, hop: HopKind, row: &Row) -> Option<Absent> {
    match hop {
        HopKind::SocketToInterface => row.interface.parse::<Link>().ok().map(|_| Absent::Card),
        HopKind::DiskToKernel => {
            (page.report.machine.file_system == "tmpfs").then_some(Absent::Disk)
        }
        _ => None,
    }
}

/// What the copies by DMA are called: each is made only where there is a device for it.
pub(super) fn dma_copies(page: &Page, row: &Row) -> words::Text {
    let is_absent = |hop| absent(page, hop, row).is_some();
    match (
        is_absent(HopKind::DiskToKernel),
        is_absent(HopKind::SocketToInterface),
    ) {
        (false, false) => words::DMA_COPIES,
        (false, true) => words::DMA_COPIES_WITH_CARD,
        (true, false) => words::DMA_COPIES_WITH_DISK,
        (true, true) => words::DMA_COPIES_WITH_BOTH,
    }
}

/// Which part of the program's memory the bytes pass through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UserSpace {
    /// A buffer of its own.
    Buffer,
    /// Pages of the page cache that are mapped into the program.
    Mapping,
    /// A buffer, and another one for what is encrypted.
    BufferAndRecords,
    /// A mapping, and a buffer for what is encrypted.
    MappingAndRecords,
    /// None.
    Untouched,
}

fn user_space(row: &Row) -> UserSpace {
    let passes = |kind| {
        row.copies
            .hop(kind)
            .is_some_and(|count| count.value != Some(0.0))
    };
    let way = row.way.parse();
    if encrypted_in(row, CryptoPlace::User) && passes(HopKind::KernelToUser) {
        UserSpace::BufferAndRecords
    } else if encrypted_in(row, CryptoPlace::User) {
        UserSpace::MappingAndRecords
    } else if matches!(way, Ok(Way::MmapWrite | Way::SendZerocopy)) {
        UserSpace::Mapping
    } else if passes(HopKind::KernelToUser) || passes(HopKind::UserToSocket) {
        UserSpace::Buffer
    } else {
        UserSpace::Untouched
    }
}

/// Whether the bytes themselves, as far as is known, were not copied into the socket buffer.
fn only_descriptors(row: &Row) -> bool {
    let stays = |kind| {
        row.copies
            .hop(kind)
            .is_none_or(|count| count.value == Some(0.0))
    };
    stays(HopKind::UserToSocket)
        && stays(HopKind::KernelToSocket)
        && !encrypted_in(row, CryptoPlace::Kernel)
}

/// The passes of encryption that are drawn: those that were made, or may have been.
fn encryption(row: &Row) -> impl Iterator<Item = &CryptoPass> {
    let passes = row.crypto.iter().flat_map(|crypto| &crypto.passes);
    passes.filter(|pass| pass.count.value != Some(0.0))
}

fn encrypted_in(row: &Row, place: CryptoPlace) -> bool {
    encryption(row).any(|pass| pass.place == place)
}

/// The arrow of a hop, which makes room for the kernel's encryption if there is any.
fn arrow_of(hop: HopKind, row: &Row) -> Arrow {
    if hop == HopKind::KernelToSocket && encrypted_in(row, CryptoPlace::Kernel) {
        Arrow::of_records()
    } else {
        Arrow::of(hop)
    }
}

fn captions(row: &Row) -> impl Iterator<Item = words::Text> {
    let encryption = match user_space(row) {
        UserSpace::BufferAndRecords => Some(words::SEALED_FROM_BUFFER),
        UserSpace::MappingAndRecords => Some(words::SEALED_FROM_MAPPING),
        _ if encrypted_in(row, CryptoPlace::Kernel) => Some(words::SEALED_BY_KERNEL),
        _ => None,
    };
    let after_all = row
        .copies
        .hop(HopKind::KernelToSocket)
        .and_then(|count| count.value);
    let copying = if only_descriptors(row) {
        Some(words::DESCRIPTORS_ONLY)
    } else if after_all.is_some_and(|copies| copies > 0.0) {
        Some(words::COPIED_AFTER_ALL)
    } else {
        None
    };
    encryption.into_iter().chain(copying)
}

/// The picture in words, for readers who cannot see it.
fn in_words(page: &Page, row: &Row) -> String {
    let hops = row
        .copies
        .hops
        .iter()
        .map(|hop| hop_in_words(page, hop, row));
    let passes = encryption(row).map(|pass| pass_in_words(page, pass));
    hops.chain(passes).collect::<Vec<_>>().join("; ")
}

fn pass_in_words(page: &Page, pass: &CryptoPass) -> String {
    let encrypted = match pass.place {
        CryptoPlace::Kernel => words::ENCRYPTED_BY_KERNEL,
        _ => words::ENCRYPTED_IN_USER_SPACE,
    };
    let evidence = page.say(counted::evidence(pass.count.evidence));
    let count = words::times(page.language, &counted::value(pass.count.value), evidence);
    format!("{} {count}", page.say(encrypted))
}

fn hop_in_words(page: &Page, hop: &Hop, row: &Row) -> String {
    let (from, to) = match hop.kind {
        HopKind::DiskToKernel => (words::DISK, words::PAGE_CACHE),
        HopKind::KernelToUser => (words::PAGE_CACHE, words::USER_SPACE),
        HopKind::SocketToUser => (words::SOCKET_BUFFER, words::USER_SPACE),
        HopKind::UserToSocket => (words::USER_SPACE, words::SOCKET_BUFFER),
        HopKind::KernelToSocket => (words::PAGE_CACHE, words::SOCKET_BUFFER),
        HopKind::SocketToInterface => (words::SOCKET_BUFFER, words::INTERFACE),
    };
    let evidence = page.say(counted::evidence(hop.copies.evidence));
    let mut count = words::times(page.language, &counted::value(hop.copies.value), evidence);
    if let Some(device) = absent(page, hop.kind, row) {
        let remark = match device {
            Absent::Card => words::NO_CARD,
            Absent::Disk => words::NO_DISK,
        };
        count = format!("{count}, {}", page.say(remark));
    }
    words::hop(
        page.language,
        page.say(from),
        page.say(to),
        mover(hop.mover),
        &count,
    )
}

/// Who moves the bytes; the name is the same in every language.
fn mover(mover: Mover) -> &'static str {
    match mover {
        Mover::Cpu => "CPU",
        Mover::Dma => "DMA",
    }
}

#[cfg(test)]
mod tests {
    use crate::page::{Language, fixture, render};

    /// A file in memory is read from no disk: there is no arrow for it, and the count says so.
    #[test]
    fn nothing_is_drawn_that_no_device_makes() {
        let mut report = fixture();
        let arrows = |report: &_| {
            render(report, Language::English)
                .matches("<polygon class=\"dma\"")
                .count()
        };
        report.machine.file_system = "ext4".to_owned();
        let with_disk = arrows(&report);
        report.machine.file_system = "tmpfs".to_owned();
        let page = render(&report, Language::English);
        assert!(with_disk > 0);
        assert_eq!(arrows(&report), 0);
        assert!(page.contains(">no disk<"), "the picture says it");
        assert!(page.contains("DMA copies with a disk and a card"));
    }
}
