//! The layout of the picture: the boxes, and the line between user space and kernel space.

use maud::{Markup, html};

use super::UserSpace;
use crate::page::{Page, words};

/// The picture's units are pixels of a narrow phone, so that its text is never smaller than
/// intended.
pub(super) const WIDTH: u32 = 320;
pub(super) const HEIGHT: u32 = 340;

/// The left column, where bytes come from, and the right column, where they go.
pub(super) const LEFT: Column = Column { x: 8, middle: 34 };
pub(super) const RIGHT: Column = Column {
    x: 192,
    middle: 286,
};

/// Where user space is named, the edges of the program's memory, and the edges of the kernel's
/// memory and of the devices.
pub(super) const USER_TITLE: u32 = 18;
pub(super) const USER_TOP: u32 = 28;
pub(super) const USER_BOTTOM: u32 = 68;
pub(super) const KERNEL: Band = Band {
    top: 176,
    bottom: 228,
};
pub(super) const DEVICES_TOP: u32 = 288;

const BOUNDARY: u32 = 82;
const HARDWARE: u32 = 254;
/// Where kernel space ends, with a margin: the height of a picture without devices.
pub(super) const KERNEL_END: u32 = HARDWARE;
const BOX_WIDTH: u32 = 120;

/// Two buffers side by side in user space: the width of each, where the left one ends, and where
/// the right one begins.
const USER_BOX_WIDTH: u32 = 106;
pub(super) const USER_LEFT_END: u32 = LEFT.x + USER_BOX_WIDTH;
pub(super) const USER_RIGHT: u32 = WIDTH - LEFT.x - USER_BOX_WIDTH;

pub(super) struct Column {
    x: u32,
    pub(super) middle: u32,
}

pub(super) struct Band {
    pub(super) top: u32,
    pub(super) bottom: u32,
}

/// Draws everything except the arrows.
pub(super) fn draw(page: &Page, user: UserSpace, interface: &str, gathers: Option<bool>) -> Markup {
    let gathering = match gathers {
        Some(true) => words::GATHERS_SHORT,
        Some(false) => words::GATHERS_NOT_SHORT,
        None => words::GATHERS_PERHAPS_SHORT,
    };
    let say = |text| page.say(text);
    html! {
        rect.user-space x="0" y="0" width=(WIDTH) height=(BOUNDARY) {}
        rect.kernel-space x="0" y=(BOUNDARY) width=(WIDTH) height=(HARDWARE - BOUNDARY) {}
        line.boundary x1="0" y1=(BOUNDARY) x2=(WIDTH) y2=(BOUNDARY) {}
        (user_space(page, user))
        text.space x=(WIDTH / 2) y=(HARDWARE - 8) { (say(words::KERNEL_SPACE)) }
        (place("box", LEFT.x, KERNEL.top, BOX_WIDTH, KERNEL.bottom, &[say(words::PAGE_CACHE)]))
        (place("box", RIGHT.x, KERNEL.top, BOX_WIDTH, KERNEL.bottom, &[say(words::SOCKET_BUFFER)]))
        (place("box device", LEFT.x, DEVICES_TOP, BOX_WIDTH, HEIGHT - 6, &[say(words::DISK)]))
        (place("box device", RIGHT.x, DEVICES_TOP, BOX_WIDTH, HEIGHT - 6, &[interface, say(gathering)]))
    }
}

/// Draws the places of a program's bytes: where they come from, its memory, and where they go.
pub(super) fn draw_program(page: &Page, is_touched: bool, source: &str, sink: &str) -> Markup {
    let user = if is_touched {
        UserSpace::Buffer
    } else {
        UserSpace::Untouched
    };
    html! {
        rect.user-space x="0" y="0" width=(WIDTH) height=(BOUNDARY) {}
        rect.kernel-space x="0" y=(BOUNDARY) width=(WIDTH) height=(KERNEL_END - BOUNDARY) {}
        line.boundary x1="0" y1=(BOUNDARY) x2=(WIDTH) y2=(BOUNDARY) {}
        (user_space(page, user))
        text.space x=(WIDTH / 2) y=(KERNEL_END - 8) { (page.say(words::KERNEL_SPACE)) }
        (place("box", LEFT.x, KERNEL.top, BOX_WIDTH, KERNEL.bottom, &[source]))
        (place("box", RIGHT.x, KERNEL.top, BOX_WIDTH, KERNEL.bottom, &[sink]))
    }
}

/// The program's memory: one box, or two with encryption from one to the other.
fn user_space(page: &Page, user: UserSpace) -> Markup {
    let one = |class, memory| {
        let width = WIDTH - 2 * LEFT.x;
        html! {
            text.space x=(WIDTH / 2) y=(USER_TITLE) { (page.say(words::USER_SPACE)) }
            (place(class, LEFT.x, USER_TOP, width, USER_BOTTOM, &[page.say(memory)]))
        }
    };
    let two = |memory| {
        let small = |x, text| {
            place(
                "box",
                x,
                USER_TOP,
                USER_BOX_WIDTH,
                USER_BOTTOM,
                &[page.say(text)],
            )
        };
        html! {
            text.space x="46" y=(USER_TITLE) { (page.say(words::USER_SPACE)) }
            (small(LEFT.x, memory))
            (small(USER_RIGHT, words::RECORDS))
        }
    };
    match user {
        UserSpace::Buffer => one("box", words::BUFFER),
        UserSpace::Mapping => one("box", words::MAPPING),
        UserSpace::Untouched => one("box absent", words::NO_BUFFER),
        UserSpace::BufferAndRecords => two(words::BUFFER),
        UserSpace::MappingAndRecords => two(words::MAPPING_SHORT),
    }
}

fn place(class: &str, x: u32, top: u32, width: u32, bottom: u32, lines: &[&str]) -> Markup {
    let first = top.midpoint(bottom) + 14 - 9 * lines.len() as u32;
    html! {
        rect class=(class) x=(x) y=(top) width=(width) height=(bottom - top) rx="4" {}
        @for (line, y) in lines.iter().zip((first..).step_by(18)) {
            text.name x=(x + width / 2) y=(y) { (line) }
        }
    }
}
