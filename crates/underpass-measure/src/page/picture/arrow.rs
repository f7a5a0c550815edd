//! One hop as an arrow. Its width shows how many bytes were moved, and its fill shows who moved
//! them.

use maud::{Markup, html};
use underpass::receipt::CryptoPlace;

use super::{Absent, mover, scene};
use crate::page::{Page, counted, words};
use crate::report::{Count, CryptoPass, Hop, HopKind, Mover};

/// The width of an arrow for one copy of each byte.
const ONE_COPY: f64 = 12.0;
/// The least and the greatest width: a narrower arrow could not be seen, and a wider one would not
/// fit between the boxes.
const WIDTHS: (f64, f64) = (2.0, 36.0);
const HEAD: f64 = 14.0;

/// Where the arrow begins and ends, and where its label is.
pub(super) struct Arrow {
    from: (u32, u32),
    to: (u32, u32),
    label: Label,
}

struct Label {
    at: (u32, u32),
    anchor: &'static str,
    /// Whether number and evidence are on one line, and not one below the other.
    flat: bool,
}

impl Arrow {
    /// The arrow of a hop.
    pub(super) fn of(kind: HopKind) -> Self {
        let (left, right) = (scene::LEFT.middle, scene::RIGHT.middle);
        let (top, bottom) = (scene::KERNEL.top, scene::KERNEL.bottom);
        let (user, devices) = (scene::USER_BOTTOM, scene::DEVICES_TOP);
        match kind {
            HopKind::DiskToKernel => {
                Self::new((left, devices), (left, bottom), Label::right_of(left, 265))
            }
            HopKind::KernelToUser | HopKind::SocketToUser => {
                Self::new((left, top), (left, user), Label::right_of(left, 102))
            }
            HopKind::UserToSocket => {
                Self::new((right, user), (right, top), Label::left_of(right, 102))
            }
            HopKind::KernelToSocket => Self::new((128, 206), (192, 206), Label::above(166)),
            HopKind::SocketToInterface => Self::new(
                (right, bottom),
                (right, devices),
                Label::left_of(right, 265),
            ),
        }
    }

    /// The arrow of [`HopKind::KernelToSocket`] below the one of the kernel's encryption.
    pub(super) fn of_records() -> Self {
        Self::new((128, 215), (192, 215), Label::above(166))
    }

    /// The arrow of encryption.
    pub(super) fn of_encryption(place: CryptoPlace) -> Self {
        if place == CryptoPlace::Kernel {
            return Self::new((128, 189), (192, 189), Label::above(149));
        }
        let middle = scene::USER_TOP.midpoint(scene::USER_BOTTOM);
        let (from, to) = (scene::USER_LEFT_END + 4, scene::USER_RIGHT - 4);
        Self::new((from, middle), (to, middle), Label::in_title())
    }

    fn new(from: (u32, u32), to: (u32, u32), label: Label) -> Self {
        Self { from, to, label }
    }

    /// Draws the hop, with its number and evidence.
    pub(super) fn draw(&self, page: &Page, hop: &Hop) -> Markup {
        let class = match hop.mover {
            Mover::Cpu => "cpu",
            Mover::Dma => "dma",
        };
        self.draw_count(page, class, mover(hop.mover), &hop.copies)
    }

    /// Draws the hop as one that nothing makes here, with what a device would make.
    pub(super) fn draw_absent(&self, page: &Page, hop: &Hop, device: Absent) -> Markup {
        let count = counted::value(hop.copies.value);
        let mover = mover(hop.mover);
        let (here, elsewhere) = match device {
            Absent::Card => (
                words::NO_CARD_HERE,
                words::with_a_card(page.language, mover, &count),
            ),
            // There is no room beside what a card would make; the list of costs says it.
            Absent::Disk => (words::NO_DISK_HERE, String::new()),
        };
        html! {
            line.none x1=(self.from.0) y1=(self.from.1) x2=(self.to.0) y2=(self.to.1) {}
            (self.label.draw(page.say(here), &elsewhere))
        }
    }

    /// Draws a pass of encryption, with its number and evidence.
    pub(super) fn draw_pass(&self, page: &Page, pass: &CryptoPass) -> Markup {
        self.draw_count(page, "crypto", page.say(words::ENCRYPTED), &pass.count)
    }

    fn draw_count(&self, page: &Page, class: &str, name: &str, count: &Count) -> Markup {
        let done = count.value.filter(|times| *times > 0.0);
        html! {
            @if let Some(times) = done {
                polygon class=(class) points=(self.outline(times)) {}
            } @else {
                line.none x1=(self.from.0) y1=(self.from.1) x2=(self.to.0) y2=(self.to.1) {}
            }
            (self.label.draw(
                &format!("{name} {}", counted::value(count.value)),
                page.say(counted::evidence(count.evidence)),
            ))
        }
    }

    /// The corners, calculated for an arrow along one axis and then turned.
    fn outline(&self, copies: f64) -> String {
        let half = (copies * ONE_COPY).clamp(WIDTHS.0, WIDTHS.1) / 2.0;
        let [x0, y0, x1, y1] = [self.from.0, self.from.1, self.to.0, self.to.1].map(f64::from);
        let length = (x1 - x0).hypot(y1 - y0);
        let (along_x, along_y) = ((x1 - x0) / length, (y1 - y0) / length);
        let neck = length - HEAD;
        let wings = half + 6.0;
        let corners = [
            (0.0, -half),
            (neck, -half),
            (neck, -wings),
            (length, 0.0),
            (neck, wings),
            (neck, half),
            (0.0, half),
        ];
        let turned = corners.map(|(along, across)| {
            let x = x0 + along * along_x - across * along_y;
            let y = y0 + along * along_y + across * along_x;
            format!("{x:.1},{y:.1}")
        });
        turned.join(" ")
    }
}

impl Label {
    fn right_of(x: u32, y: u32) -> Self {
        let at = (x + 24, y);
        let (anchor, flat) = ("start", false);
        Self { at, anchor, flat }
    }

    fn left_of(x: u32, y: u32) -> Self {
        let at = (x - 24, y);
        let (anchor, flat) = ("end", false);
        Self { at, anchor, flat }
    }

    fn above(y: u32) -> Self {
        let at = (scene::WIDTH / 2, y);
        let (anchor, flat) = ("middle", true);
        Self { at, anchor, flat }
    }

    /// At the right of the line that names user space.
    fn in_title() -> Self {
        let at = (scene::WIDTH - 8, scene::USER_TITLE);
        let (anchor, flat) = ("end", true);
        Self { at, anchor, flat }
    }

    fn draw(&self, number: &str, evidence: &str) -> Markup {
        let (x, y) = self.at;
        html! {
            @if self.flat {
                text.label x=(x) y=(y) text-anchor=(self.anchor) { (number) " " tspan.evidence { (evidence) } }
            } @else {
                text.label x=(x) y=(y) text-anchor=(self.anchor) { (number) }
                text.label.evidence x=(x) y=(y + 17) text-anchor=(self.anchor) { (evidence) }
            }
        }
    }
}

/// The descriptors that take the place of the bytes: a mark on the way into the socket buffer, and
/// the way itself if no hop has drawn it.
pub(super) fn descriptors(page: &Page, undrawn: bool) -> Markup {
    let arrow = Arrow::of(HopKind::KernelToSocket);
    html! {
        @if undrawn {
            line.none x1=(arrow.from.0) y1=(arrow.from.1) x2=(arrow.to.0) y2=(arrow.to.1) {}
        }
        text.label x=(scene::WIDTH / 2) y="149" text-anchor="middle" { (page.say(words::DESCRIPTORS)) }
    }
}
