//! What belongs in the place of a value. The name of the value in `--help` says what it is.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use clap::{Arg, Command};
use underpass::Route;
use underpass_measure::page::Language;
use underpass_measure::{Link, Stream, Way};

use super::{Offer, Paths, Word, about, commands};

/// What may be written for `argument` of `command`. `typed` is the beginning of the value.
pub(super) fn of(root: &Command, command: &Command, argument: &Arg, typed: &str) -> Offer {
    // Of a list, the last one is completed.
    let list = match argument
        .get_value_delimiter()
        .and_then(|it| typed.rfind(it))
    {
        Some(comma) => &typed[..=comma],
        None => "",
    };
    let typed = &typed[list.len()..];
    let mut offer = choices(argument).unwrap_or_default();
    for name in value_name(argument).split('|') {
        let more = kind(name).offer(root, command, argument, typed);
        offer.paths = offer.paths.max(more.paths);
        offer.words.extend(more.words);
    }
    let mut offer = Offer {
        paths: offer.paths,
        ..Offer::of(offer.words, typed)
    };
    for word in &mut offer.words {
        word.text.insert_str(0, list);
    }
    offer
}

pub(super) fn value_name(argument: &Arg) -> &str {
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map_or("", |name| name.as_str())
}

/// The values that clap knows.
fn choices(argument: &Arg) -> Option<Offer> {
    if !argument.get_action().takes_values() {
        return None;
    }
    let values = argument.get_value_parser().possible_values()?;
    let shown = values.filter(|value| !value.is_hide_set());
    let words = shown.map(|value| Word::new(value.get_name(), about(value.get_help())));
    let words = words.collect();
    let paths = Paths::None;
    Some(Offer { paths, words })
}

/// What the name of a value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Address,
    FileOrAddress,
    /// A number with one of these units, or one of these examples.
    Number(&'static [Unit], &'static [&'static str]),
    Range,
    /// A route, a way or a link: what the argument is called says which.
    Named,
    /// One of these.
    Words(&'static [(&'static str, &'static str)]),
    Group,
    Command,
    /// Whatever one likes, or what clap knows.
    Free,
    /// No such name.
    Unknown,
}

type Unit = (&'static str, &'static str);

const SIZES: &[Unit] = &[
    ("K", "KiB, of 1024 bytes"),
    ("M", "MiB, of 1024 KiB"),
    ("G", "GiB, of 1024 MiB"),
    ("KB", "of 1000 bytes"),
    ("MB", "of 1000 KB"),
    ("GB", "of 1000 MB"),
];
const RATES: &[Unit] = &[
    ("KiB/s", "KiB a second"),
    ("MiB/s", "MiB a second"),
    ("GiB/s", "GiB a second"),
];
const TIMES: &[Unit] = &[
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("m", "minutes"),
    ("h", "hours"),
];

pub(super) fn kind(name: &str) -> Kind {
    match name {
        "FILE" | "DIR/" => Kind::File,
        "DIR" => Kind::Directory,
        "ADDR" => Kind::Address,
        "SRC" | "DST" | "SOURCE" => Kind::FileOrAddress,
        "BYTES" | "SIZE" | "SIZES" => Kind::Number(SIZES, &["4K", "1M", "1G"]),
        "RATE" => Kind::Number(RATES, &["1MiB/s", "10MiB/s", "100MiB/s"]),
        "TIME" => Kind::Number(TIMES, &["500ms", "30s", "10m", "2h"]),
        "RANGE" => Kind::Range,
        "NAME" | "NAMES" | "LANG" => Kind::Named,
        "PORT" => Kind::Words(&[("8080", "the usual one"), ("0", "any that is free")]),
        "MODE" => Kind::Words(&[
            ("0660", "owner and group"),
            ("0600", "the owner only"),
            ("0666", "everybody"),
        ]),
        "ADDR[/BITS]" => Kind::Words(&[
            ("127.0.0.1", "proxies on this machine"),
            ("::1", "proxies on this machine, by IPv6"),
            ("10.0.0.0/8", "a private network"),
        ]),
        "unix:" => Kind::Words(&[("unix:", "all peers on Unix sockets")]),
        "VALUE" => Kind::Words(&[
            ("no-cache", "ask again each time"),
            ("no-store", "keep nothing"),
            ("max-age=3600", "an hour"),
        ]),
        "ORIGIN" => Kind::Words(&[("https://", "HOST, or HOST:PORT")]),
        "GROUP" => Kind::Group,
        "COMMAND" => Kind::Command,
        "-" | "*" | "BY" | "COUNT" | "DOMAIN" | "EXT=TYPE" | "FORM" | "HEADER" | "MAIL" | "N"
        | "PID" | "POLICY" | "SECONDS" | "SHELL" | "URL" | "USER:PASSWORD" | "VERSION" => {
            Kind::Free
        }
        _ => Kind::Unknown,
    }
}

impl Kind {
    fn offer(self, root: &Command, command: &Command, argument: &Arg, typed: &str) -> Offer {
        let none = Paths::None;
        let (paths, words) = match self {
            Self::File => (Paths::Files, Vec::new()),
            Self::Directory => (Paths::Directories, Vec::new()),
            Self::Address => (none, addresses(command, argument, typed)),
            // `copy` takes no address.
            Self::FileOrAddress if command.get_name() == "copy" => (Paths::Files, Vec::new()),
            Self::FileOrAddress => (Paths::Files, addresses(command, argument, typed)),
            Self::Number(units, examples) => (none, numbers(typed, units, examples)),
            Self::Range => (none, vec![range(typed)]),
            Self::Named => (none, named(command, argument)),
            Self::Words(words) => (none, listed(words)),
            Self::Group => (none, groups()),
            // A program and its arguments, for `top`.
            Self::Command if argument.is_last_set() => (Paths::Files, Vec::new()),
            Self::Command => (none, commands(root)),
            Self::Free | Self::Unknown => (none, Vec::new()),
        };
        Offer { paths, words }
    }
}

fn listed(words: &[(&str, &str)]) -> Vec<Word> {
    let words = words.iter();
    words.map(|&(text, about)| Word::new(text, about)).collect()
}

/// `typed` with each unit, if it is a number.
fn numbers(typed: &str, units: &[Unit], examples: &[&str]) -> Vec<Word> {
    if typed.is_empty() {
        return examples.iter().map(|&it| Word::new(it, "")).collect();
    }
    let number = typed.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number = &typed[..typed.len() - number.len()];
    if number.is_empty() {
        return Vec::new();
    }
    let units = units.iter();
    let with = |&(unit, about): &Unit| Word::new(format!("{number}{unit}"), about);
    units.map(with).collect()
}

fn range(typed: &str) -> Word {
    let start = typed.split("..").next().unwrap_or_default();
    let start = if start.is_empty() { "0" } else { start };
    Word::new(format!("{start}.."), "to the end, or to END: START..END")
}

fn named(command: &Command, argument: &Arg) -> Vec<Word> {
    let plain = |name: &str| Word::new(name, "");
    match argument.get_id().as_str() {
        "route" => routes(command.get_name()),
        "links" => Link::ALL.map(|link| plain(link.name())).to_vec(),
        "processes" => processes(),
        "lang" => Language::ALL.map(|it| plain(it.name())).to_vec(),
        "ways" => {
            let streams = Stream::ALL.map(|stream| plain(stream.name()));
            let ways = Way::ALL.map(|way| plain(way.name()));
            ways.into_iter().chain(streams).collect()
        }
        _ => Vec::new(),
    }
}

/// The names of what runs now.
fn processes() -> Vec<Word> {
    let entries = Path::new("/proc").read_dir().into_iter().flatten();
    let names = entries.filter_map(|entry| {
        let name = std::fs::read_to_string(entry.ok()?.path().join("comm")).ok()?;
        let name = name.trim_end().to_owned();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        name.chars().all(is_plain).then_some(name)
    });
    let names: std::collections::BTreeSet<String> = names.collect();
    names.into_iter().map(|name| Word::new(name, "")).collect()
}

/// The routes that can serve in a command.
fn routes(command: &str) -> Vec<Word> {
    let can = |route: Route| match command {
        "copy" => !matches!(route, Route::SendZerocopy | Route::Seal),
        "send" => matches!(
            route,
            Route::Sendfile | Route::Splice | Route::Seal | Route::ReadWrite
        ),
        "recv" | "relay" | "fan-out" => matches!(route, Route::Splice | Route::ReadWrite),
        _ => true,
    };
    let about = |route| match route {
        Route::Reflink => "shares the extents of the file",
        Route::CopyFileRange => "the kernel, or the file server, copies by itself",
        Route::Sendfile => "straight from the page cache",
        Route::Splice => "through a pipe inside the kernel",
        Route::SendZerocopy => "memory that the transfer owns",
        Route::Seal => "encrypts in this process, in one pass",
        Route::ReadWrite => "works for anything, with two copies by the CPU",
        _ => "",
    };
    let routes = Route::ALL.into_iter().filter(|&route| can(route));
    let words = routes.map(|route| Word::new(route.as_str(), about(route)));
    words.collect()
}

/// How an address may begin. After `unix:`, the sockets and directories that are there.
fn addresses(command: &Command, argument: &Arg, typed: &str) -> Vec<Word> {
    if let Some(path) = typed.strip_prefix("unix:") {
        return sockets(path);
    }
    let is_listening = matches!(
        argument.get_id().as_str(),
        "listen" | "at" | "metrics" | "redirect_http" | "from"
    );
    let has_tls = command.get_name() != "serve" && argument.get_id() != "metrics";
    let (plain, tls): (&[Unit], Unit) = if is_listening {
        (
            &[
                ("127.0.0.1:", "PORT, for this machine only"),
                (":", "PORT, at every address of this machine"),
                ("unix:", "PATH of a Unix socket"),
            ],
            ("tls://:", "PORT, with TLS"),
        )
    } else {
        (
            &[
                ("localhost:", "PORT on this machine"),
                ("unix:", "PATH of a Unix socket"),
            ],
            ("tls://", "HOST:PORT, with TLS"),
        )
    };
    let tls = has_tls.then_some(tls);
    let words: Vec<_> = plain.iter().copied().chain(tls).collect();
    listed(&words)
}

fn sockets(path: &str) -> Vec<Word> {
    let (directory, _) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
    let place = if directory.is_empty() { "." } else { directory };
    let Ok(entries) = Path::new(place).read_dir() else {
        return Vec::new();
    };
    let mut words: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let kind = entry.metadata().ok()?.file_type();
            let name = entry.file_name().into_string().ok()?;
            let is_plain = |letter: char| !letter.is_whitespace() && !letter.is_control();
            if !name.chars().all(is_plain) {
                return None;
            }
            match (kind.is_socket(), kind.is_dir()) {
                (true, _) => Some(Word::new(format!("unix:{directory}{name}"), "a socket")),
                (_, true) => Some(Word::new(format!("unix:{directory}{name}/"), "")),
                _ => None,
            }
        })
        .collect();
    words.sort_by(|one, other| one.text.cmp(&other.text));
    words
}

/// The groups that this machine has.
fn groups() -> Vec<Word> {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split(':').next());
    names.map(|name| Word::new(name, "")).collect()
}
