//! What others see of the page: the title and text of a shared link, and a card that can be copied
//! as a picture.

use maud::{Markup, PreEscaped, html};

use super::{Page, words};
use crate::number;
use crate::report::Summary;

/// Draws the card into a picture, and opens what is folded before the page is printed. Without it
/// the page has no button, and everything else works.
const SCRIPT: &str = include_str!("script.js");
/// Allows [`SCRIPT`] and no other.
pub(super) const SCRIPT_HASH: &str = "sha256-T9lG+dYFQoSOWsr2O/lDHqR/fG6c8MydGNUrl24kHQ8=";

const MARGIN: f64 = 64.0;
/// The widest line of the headline, in units of its font size.
const WIDEST: f64 = 20.5;
const HEADLINE: f64 = 52.0;

/// The Open Graph description (ogp.me). A picture has to be a file of its own with an absolute
/// address, so there is none: the card is there for that.
pub(super) fn head(page: &Page) -> Markup {
    let machine = &page.report.machine;
    let detail = page.headline.detail.as_deref();
    let about = format!("{} · {}", machine.kernel, machine.processor);
    let detail = detail.map_or_else(|| page.say(words::MYTH).to_owned(), str::to_owned);
    html! {
        meta property="og:type" content="article";
        meta property="og:site_name" content="underpass";
        meta property="og:locale" content=(page.language.locale());
        meta property="og:title" content=(page.headline.sentence);
        meta property="og:description" content={ (detail) " " (about) };
        meta name="description" content={ (detail) " " (about) };
        meta name="twitter:card" content="summary";
    }
}

/// The card, folded, and the buttons for it.
pub(super) fn section(page: &Page) -> Markup {
    html! {
        details.share {
            summary { (page.say(words::SHARE_RESULT)) }
            p { (page.say(words::SHARE_INTRO)) }
            p #share-buttons hidden {
                button type="button" #copy-card { (page.say(words::COPY_PNG)) } " "
                button type="button" #save-card { (page.say(words::SAVE_PNG)) } " "
                span #share-done role="status" data-copied=(page.say(words::COPIED)) data-saved=(page.say(words::SAVED)) {}
            }
            (card(page))
        }
    }
}

pub(super) fn script() -> Markup {
    html! { script { (PreEscaped(SCRIPT)) } }
}

/// The card has its colours and fonts in its own attributes: a picture made of it has no style
/// sheet.
fn card(page: &Page) -> Markup {
    let report = page.report;
    let lines = wrapped(&page.headline.sentence);
    let below = 150.0 + HEADLINE * 1.25 * lines.len() as f64;
    let machine = format!(
        "{} × {}",
        report.machine.processors, report.machine.processor
    );
    let place = format!("{} · {}", report.machine.kernel, report.machine.file_system);
    html! {
        svg #card viewBox="0 0 1200 630" width="1200" height="630" role="img" aria-label=(page.headline.sentence)
            font-family="system-ui, 'Segoe UI', Roboto, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif" {
            rect width="1200" height="630" fill="#ffffff" {}
            rect width="1200" height="12" fill="#0a5ca8" {}
            text x=(MARGIN) y="84" font-size="26" fill="#54595f" { "underpass measure" }
            @for (line, y) in lines.iter().zip((0..).map(|line| 152.0 + HEADLINE * 1.25 * f64::from(line))) {
                text x=(MARGIN) y=(y) font-size=(HEADLINE) font-weight="700" fill="#1a1c1f" { (line) }
            }
            @if let Some(cost) = &page.headline.cost { (bars(page, cost, below)) }
            text x=(MARGIN) y="556" font-size="24" fill="#54595f" { (machine) }
            text x=(MARGIN) y="592" font-size="24" fill="#54595f" { (place) " · " (report.began) " · underpass " (report.version) }
        }
    }
}

/// The CPU time of both ways, as bars.
fn bars(page: &Page, cost: &[Summary; 2], top: f64) -> Markup {
    let longest = cost[0].median.max(cost[1].median).max(f64::MIN_POSITIVE);
    let [classic, sendfile] = cost;
    let bars = [
        ("read-write", classic, "#c3c8ce", top + 20.0),
        ("sendfile", sendfile, "#86b9e6", top + 100.0),
    ];
    html! {
        text x=(MARGIN) y=(top) font-size="26" fill="#54595f" { (page.say(words::CPU_TIME_SHORT)) }
        @for (name, cost, colour, y) in bars {
            @let width = cost.median / longest * 640.0;
            text x=(MARGIN) y=(y + 42.0) font-size="30" fill="#1a1c1f" { (name) }
            rect x="250" y=(y) width=(format!("{width:.1}")) height="60" fill=(colour) {}
            text x=(format!("{:.1}", 266.0 + width)) y=(y + 42.0) font-size="30" font-weight="700" fill="#1a1c1f" {
                (number::three_digits(cost.median)) " s/GB"
            }
        }
    }
}

/// Breaks a sentence into lines, between words, or between any two Chinese characters.
fn wrapped(sentence: &str) -> Vec<String> {
    let is_wide = |letter: char| !letter.is_ascii() && letter > '\u{2fff}';
    let width = |text: &str| -> f64 {
        let each = text
            .chars()
            .map(|letter| if is_wide(letter) { 1.0 } else { 0.56 });
        each.sum()
    };
    let mut pieces: Vec<String> = Vec::new();
    for letter in sentence.chars() {
        let joins = pieces.last().is_some_and(|last: &String| {
            !last.ends_with(' ') && !is_wide(letter) && !last.chars().any(is_wide)
        });
        match pieces.last_mut() {
            Some(last) if joins || "，。 ".contains(letter) => last.push(letter),
            _ => pieces.push(letter.to_string()),
        }
    }
    let mut lines = vec![String::new()];
    for piece in pieces {
        match lines.last_mut() {
            Some(last) if last.is_empty() || width(last) + width(piece.trim_end()) <= WIDEST => {
                last.push_str(&piece);
            }
            _ => lines.push(piece),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_between_chinese_characters() {
        let sentence = "On this machine sendfile saves 42 % of the CPU at 16 MiB";
        let lines = wrapped(sentence);
        assert_eq!(lines.concat(), sentence);
        assert!(lines.len() > 1 && lines[..lines.len() - 1].iter().all(|it| it.ends_with(' ')));
        let chinese = "在这台机器上，发送 16 MiB 时 sendfile 节省 42 % 的 CPU 时间";
        let lines = wrapped(chinese);
        assert_eq!(lines.concat(), chinese);
        assert!(
            lines.iter().all(|line| !line.starts_with('，')),
            "{lines:?}"
        );
        assert_eq!(wrapped(""), [""]);
    }
}
