//! The line of a progress, made for the width of a terminal.

use std::time::Duration;

use underpass::{Printable, units};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a line shows.
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    /// What the bytes belong to, such as `1,204 files`; may be empty.
    pub(super) count: &'a str,
    pub(super) bytes: Option<u64>,
    /// What is done of all, where that is known.
    pub(super) share: Option<(u64, u64)>,
    /// Bytes per second.
    pub(super) rate: Option<f64>,
}

/// A bar shorter than this shows nothing that the percentage does not.
const SHORTEST_BAR: usize = 12;
const LONGEST_BAR: usize = 40;

/// A name cut to less than this is of no use.
const SHORTEST_NAME: usize = 8;

impl Shown<'_> {
    /// The line, at most one column less than `width`: a character in the last column may move the
    /// cursor to the next line. What is least needed is left out first.
    pub(super) fn line(&self, width: usize) -> String {
        let room = width.saturating_sub(1);
        let facts = self.facts(room);
        let name = Printable(self.name).to_string();
        let left = room.saturating_sub(facts.width() + 2);
        let for_bar = if self.share.is_some() && left >= SHORTEST_NAME + 2 + SHORTEST_BAR {
            // The name has at most a half of what is left, unless it is short.
            let name = name.width().min(left / 2);
            (left - name - 2).min(LONGEST_BAR)
        } else {
            0
        };
        let for_name = left - if for_bar > 0 { for_bar + 2 } else { 0 };
        let name = fitted(&name, for_name);
        let bar = match self.share {
            Some((done, total)) if for_bar > 0 => bar(done, total, for_bar),
            _ => String::new(),
        };
        let parts = [name, bar, facts];
        let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).collect();
        let parts: Vec<_> = parts.iter().map(|part| part.as_str()).collect();
        parts.join("  ")
    }

    /// As many of the numbers as fit into `room`, the most important ones first.
    fn facts(&self, room: usize) -> String {
        let percent = self.share.map(|(done, total)| percent(done, total));
        let moved = self.bytes.map(|bytes| match self.share {
            Some((_, total)) => format!("{} of {}", units::size(bytes), units::size(total)),
            None => units::size(bytes),
        });
        let rate = self.rate.map(units::rate);
        let count = Some(self.count.to_owned()).filter(|count| !count.is_empty());
        let all = [percent, count, moved, rate, self.left()];
        // The places of `all`, in the order of their importance.
        let mut wanted = [None, None, None, None, None];
        let mut line = String::new();
        for at in [0, 2, 3, 1, 4] {
            wanted[at].clone_from(&all[at]);
            let with_it = wanted
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            if with_it.width() > room {
                wanted[at] = None;
            } else {
                line = with_it;
            }
        }
        line
    }

    /// How long it still takes.
    fn left(&self) -> Option<String> {
        let (done, total) = self.share?;
        let rate = self.rate.filter(|rate| *rate >= 1.0)?;
        let seconds = total.saturating_sub(done) as f64 / rate;
        let left = Duration::try_from_secs_f64(seconds.ceil()).ok()?;
        Some(format!("{} left", units::duration(left)))
    }
}

fn percent(done: u64, total: u64) -> String {
    let percent = match total {
        0 => 100,
        total => (u128::from(done.min(total)) * 100 / u128::from(total)) as u64,
    };
    format!("{percent:>3}%")
}

fn bar(done: u64, total: u64, width: usize) -> String {
    let inner = width - 2;
    let filled = match total {
        0 => inner,
        total => (u128::from(done.min(total)) * inner as u128 / u128::from(total)) as usize,
    };
    let (full, tip) = match filled {
        filled if filled == inner => ("=".repeat(filled), ""),
        filled => ("=".repeat(filled), ">"),
    };
    format!("[{:<inner$}]", full + tip)
}

/// The beginning of `name` that has at most `room` columns, with `…` where it was cut. Empty if
/// there is too little room.
fn fitted(name: &str, room: usize) -> String {
    if name.width() <= room {
        return name.to_owned();
    }
    if room < SHORTEST_NAME {
        return String::new();
    }
    let (mut kept, mut columns) = (String::new(), 0);
    for character in name.chars() {
        // Where characters are joined to one, as in some emoji, they need less than their sum.
        columns += character.width().unwrap_or(0);
        if columns > room - 1 {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 6] = [
        "a",
        "in.bin",
        "a-rather-long-name-of-a-disk-image-2026-11-26.img",
        "照片和视频的备份文件夹二〇二六年十一月.tar",
        "👩‍👩‍👧‍👦 family 🏳️‍🌈 2026 👍🏽 photos.tar",
        "odd\u{1b}[31m\n\u{202e}name",
    ];

    fn shown(name: &str) -> Shown<'_> {
        Shown {
            name,
            count: "",
            bytes: Some(120 << 20),
            share: Some((120 << 20, 286 << 20)),
            rate: Some(650.0 * 1024.0 * 1024.0),
        }
    }

    #[test]
    fn a_line_is_made_for_its_width() {
        let cjk = NAMES[3];
        let table = [
            (20, "in.bin", " 41%, 650 MiB/s"),
            (40, "in.bin", " 41%, 120 MiB of 286 MiB, 650 MiB/s"),
            (
                80,
                "in.bin",
                "in.bin  [=========>            ]   41%, 120 MiB of 286 MiB, 650 MiB/s, 1 s left",
            ),
            (
                80,
                cjk,
                "照片和视频的备…  [=====>      ]   41%, 120 MiB of 286 MiB, 650 MiB/s, 1 s left",
            ),
        ];
        for (width, name, want) in table {
            let line = shown(name).line(width);
            assert!(line.width() < width, "{width}: {line:?}");
            assert_eq!(line, want);
        }
    }

    #[test]
    fn a_wide_terminal_shows_the_whole_name() {
        for name in NAMES {
            let line = shown(name).line(300);
            let name = Printable(name).to_string();
            assert!(line.starts_with(&name), "{line:?}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn a_stream_has_no_bar_and_a_tree_has_a_count() {
        let stream = Shown {
            share: None,
            count: "1,204 files",
            ..shown("photos")
        };
        assert_eq!(stream.line(80), "photos  1,204 files, 120 MiB, 650 MiB/s");
        assert_eq!(stream.line(24), "120 MiB, 650 MiB/s");
        let step = Shown {
            bytes: None,
            rate: None,
            share: Some((1, 4)),
            ..shown("sendfile, 16 MiB")
        };
        assert!(step.line(80).ends_with("]   25%"), "{}", step.line(80));
        assert_eq!(step.line(5), " 25%");
    }

    proptest! {
        #[test]
        fn no_line_is_too_long(
            width in 0_usize..320,
            name in 0..NAMES.len(),
            bytes: u64,
            total: Option<u64>,
            rate in 0.0..1e20_f64,
        ) {
            let share = total.map(|total| (bytes, total));
            let count = "18,446,744,073,709,551,615 files";
            let (bytes, rate) = (Some(bytes), Some(rate));
            let shown = Shown { name: NAMES[name], count, bytes, share, rate };
            let line = shown.line(width);
            prop_assert!(line.width() <= width.saturating_sub(1), "{width}: {line:?}");
        }
    }
}
