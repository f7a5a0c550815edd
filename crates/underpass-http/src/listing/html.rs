//! The list of entries as an HTML page.

use std::fmt::{self, Display, Formatter};

use percent_encoding::percent_encode;
use underpass::units;

use super::{By, Entry, IN_URL, Kind, Order, Page, utc};
use escape::Text;

mod escape;

const STYLE: &str = include_str!("page.css");

/// The beginning of the page. It has an icon, so that browsers do not ask for `/favicon.ico`.
const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
"#;

pub(super) struct Document<'a>(pub(super) &'a Page<'a>);

impl Display for Document<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Page {
            path,
            entries,
            order,
            archives,
        } = self.0;
        let title = self.0.full_path();
        writeln!(f, "{HEAD}<title>Index of {}</title>", Text(&title))?;
        write!(f, "<style>\n{STYLE}</style>\n</head>\n<body>\n")?;
        breadcrumbs(f, path)?;
        f.write_str("<main>\n")?;
        if entries.is_empty() {
            nothing(f, path)?;
        } else {
            table(f, path, entries, *order)?;
        }
        if *archives {
            f.write_str(ARCHIVES)?;
        }
        f.write_str("</main>\n")?;
        footer(f, entries)?;
        f.write_str("</body>\n</html>\n")
    }
}

/// The links are relative to this directory, so that they work wherever the root is mounted.
fn breadcrumbs(f: &mut Formatter<'_>, path: &[u8]) -> fmt::Result {
    let names = path.split(|byte| *byte == b'/');
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    f.write_str("<nav aria-label=\"Breadcrumb\">\n<h1>\n<small>Index of</small>\n")?;
    crumb(f, names.len(), TOP)?;
    for (depth, name) in names.iter().enumerate() {
        let up = names.len() - 1 - depth;
        crumb(f, up, format_args!("<bdi>{}</bdi>", Text(name)))?;
    }
    f.write_str("</h1>\n</nav>\n")
}

const TOP: &str = r#"<span class="top" role="img" aria-label="Top directory"></span>"#;

/// A link to the directory `up` levels above this one.
fn crumb(f: &mut Formatter<'_>, up: usize, label: impl Display) -> fmt::Result {
    let (href, current) = match up {
        0 => ("./".to_owned(), r#" aria-current="page""#),
        _ => ("../".repeat(up), ""),
    };
    writeln!(f, r#"<span><a href="{href}"{current}>{label}</a>/</span>"#)
}

/// `nofollow` keeps search engines from downloading whole trees.
const ARCHIVES: &str = r#"<p class="archives">Download all of it: \
<a href="?archive=zip" rel="nofollow">zip</a> <a href="?archive=tar" rel="nofollow">tar</a></p>
"#;

const PARENT: &str = r#"<a class="up" href="../" rel="up">Parent directory</a>"#;

fn nothing(f: &mut Formatter<'_>, path: &[u8]) -> fmt::Result {
    if !path.is_empty() {
        writeln!(f, "<p>{PARENT}</p>")?;
    }
    f.write_str("<p class=\"empty\">This directory is empty.</p>\n")
}

fn table(f: &mut Formatter<'_>, path: &[u8], entries: &[Entry], order: Order) -> fmt::Result {
    f.write_str("<table>\n<thead>\n<tr>\n")?;
    heading(f, By::Name, "Name", order)?;
    heading(f, By::Modified, "Modified <small>UTC</small>", order)?;
    heading(f, By::Size, "Size", order)?;
    f.write_str("</tr>\n</thead>\n<tbody>\n")?;
    if !path.is_empty() {
        writeln!(f, r#"<tr><td colspan="3">{PARENT}</td></tr>"#)?;
    }
    for entry in entries {
        row(f, entry)?;
    }
    f.write_str("</tbody>\n</table>\n")
}

/// The heading of a column, which sorts by it. The first click sorts names from A, other columns
/// from the largest or newest; the next click reverses the order.
fn heading(f: &mut Formatter<'_>, by: By, label: &str, order: Order) -> fmt::Result {
    let current = order.by == by;
    let next = Order {
        by,
        descending: if current {
            !order.descending
        } else {
            by != By::Name
        },
    };
    let sorted = match (current, order.descending) {
        (false, _) => "",
        (true, false) => r#" aria-sort="ascending""#,
        (true, true) => r#" aria-sort="descending""#,
    };
    let query = next.to_query();
    writeln!(
        f,
        r#"<th scope="col"{sorted}><a href="{}">{label}</a></th>"#,
        Text(query.as_bytes())
    )
}

fn row(f: &mut Formatter<'_>, entry: &Entry) -> fmt::Result {
    let (class, slash) = match entry.kind {
        Kind::Directory => ("directory", "/"),
        Kind::File => ("file", ""),
    };
    // "./" keeps a name such as `javascript:x` from being taken for a scheme.
    let href = percent_encode(&entry.name, IN_URL);
    let name = Text(&entry.name);
    let (exact, time) = (
        utc::rfc3339(entry.modified),
        utc::to_the_minute(entry.modified),
    );
    write!(
        f,
        r#"<tr><td><a class="{class}" href="./{href}{slash}"><bdi>{name}</bdi>{slash}</a></td>"#
    )?;
    write!(f, r#"<td><time datetime="{exact}">{time}</time></td>"#)?;
    match entry.kind {
        Kind::Directory => writeln!(f, "<td></td></tr>"),
        Kind::File => writeln!(f, "<td>{}</td></tr>", Size(entry.size)),
    }
}

/// Writes a summary such as `2 directories, 1 file, 12.3 KiB`.
fn footer(f: &mut Formatter<'_>, entries: &[Entry]) -> fmt::Result {
    let files = entries.iter().filter(|entry| entry.kind == Kind::File);
    let (count, bytes) = files.fold((0, 0_u64), |(count, bytes), file| {
        (count + 1, bytes.saturating_add(file.size))
    });
    let directories = entries.len() - count;
    f.write_str("<footer>")?;
    if directories > 0 {
        let plural = if directories == 1 { "y" } else { "ies" };
        write!(f, "{directories} director{plural}, ")?;
    }
    let plural = if count == 1 { "" } else { "s" };
    writeln!(f, "{count} file{plural}, {}</footer>", Size(bytes))
}

/// Formats a size as `12.3 KiB`, with the exact number of bytes in its title.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (bytes, size) = (self.0, units::size(self.0));
        let plural = if bytes == 1 { "" } else { "s" };
        write!(
            f,
            r#"<data value="{bytes}" title="{bytes} byte{plural}">{size}</data>"#
        )
    }
}

#[cfg(test)]
mod tests;
