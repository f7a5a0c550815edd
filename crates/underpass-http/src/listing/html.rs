//! The list of entries as an HTML page.

use std::fmt::{self, Display, Formatter};

use percent_encoding::percent_encode;
use underpass::units;

use super::language::{Counts, Language, Texts};
use super::{By, Entry, IN_URL, Kind, Order, Page, utc};
use escape::Text;

mod escape;

const STYLE: &str = include_str!("page.css");
/// What the page does in the browser. [`CONTENT_SECURITY_POLICY`] has its hash.
///
/// [`CONTENT_SECURITY_POLICY`]: super::CONTENT_SECURITY_POLICY
const SCRIPT: &str = include_str!("page.js");

/// The head of a page behind its language. It has an icon, so that browsers do not ask for
/// `/favicon.ico`.
const HEAD: &str = r#"<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
"#;

/// The beginning of a page, up to its body.
fn begin(f: &mut Formatter<'_>, language: Language, title: impl Display) -> fmt::Result {
    let tag = language.tag();
    writeln!(f, "<!DOCTYPE html>\n<html lang=\"{tag}\">\n<head>")?;
    writeln!(f, "{HEAD}<title>{title}</title>")?;
    write!(f, "<style>\n{STYLE}</style>\n</head>\n<body>\n")
}

/// A listing.
pub(super) struct Document<'a>(pub(super) &'a Page<'a>);

impl Display for Document<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Page {
            path,
            entries,
            language,
            ..
        } = self.0;
        let texts = language.texts();
        let full_path = self.0.full_path();
        let title = Text(&full_path);
        begin(f, *language, format_args!("{} {title}", texts.index_of))?;
        breadcrumbs(f, path, texts)?;
        tools(f, self.0)?;
        f.write_str("<main>\n")?;
        if entries.is_empty() {
            nothing(f, path, texts)?;
        } else {
            table(f, self.0)?;
        }
        if let Some(next) = self.0.next_query() {
            let (next, more) = (Text(next.as_bytes()), texts.next_page);
            writeln!(f, r#"<p><a href="{next}" rel="next">{more}</a></p>"#)?;
        }
        f.write_str("</main>\n")?;
        footer(f, entries, *language)?;
        write!(f, "<script>{SCRIPT}</script>\n</body>\n</html>\n")
    }
}

/// A page that says what a status means, or what became of uploads.
pub(super) struct Message<'a> {
    pub(super) language: Language,
    pub(super) title: &'a str,
    /// Each has a sentence, and details in small type, which may be empty.
    pub(super) lines: &'a [(String, String)],
    /// Whether it has a link to the directory of its path.
    pub(super) back: bool,
}

impl Display for Message<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let title = Text(self.title.as_bytes());
        begin(f, self.language, &title)?;
        write!(f, "<h1><span>{title}</span></h1>\n<main>\n")?;
        for (sentence, details) in self.lines {
            let is_brief = details.is_empty();
            let (sentence, details) = (Text(sentence.as_bytes()), Text(details.as_bytes()));
            write!(f, "<p class=\"message\"><bdi>{sentence}</bdi>")?;
            if !is_brief {
                write!(f, "<small lang=\"en\">{details}</small>")?;
            }
            f.write_str("</p>\n")?;
        }
        if self.back {
            let back = self.language.texts().back;
            writeln!(f, r#"<p><a class="up" href="./">{back}</a></p>"#)?;
        }
        f.write_str("</main>\n</body>\n</html>\n")
    }
}

/// The links are relative to this directory, so that they work wherever the root is mounted.
fn breadcrumbs(f: &mut Formatter<'_>, path: &[u8], texts: &Texts) -> fmt::Result {
    let names = path.split(|byte| *byte == b'/');
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    let Texts {
        breadcrumb,
        index_of,
        top,
        ..
    } = texts;
    write!(f, "<nav aria-label=\"{breadcrumb}\">\n<h1>\n")?;
    writeln!(f, "<small>{index_of}</small>")?;
    let top = format!(r#"<span class="top" role="img" aria-label="{top}"></span>"#);
    crumb(f, names.len(), top)?;
    for (depth, name) in names.iter().enumerate() {
        let up = names.len() - 1 - depth;
        crumb(f, up, format_args!("<bdi>{}</bdi>", Text(name)))?;
    }
    f.write_str("</h1>\n</nav>\n")
}

/// A link to the directory `up` levels above this one.
fn crumb(f: &mut Formatter<'_>, up: usize, label: impl Display) -> fmt::Result {
    let (href, current) = match up {
        0 => ("./".to_owned(), r#" aria-current="page""#),
        _ => ("../".repeat(up), ""),
    };
    writeln!(f, r#"<span><a href="{href}"{current}>{label}</a>/</span>"#)
}

/// What can be done with the directory: search, which the script shows, archives and uploads.
fn tools(f: &mut Formatter<'_>, page: &Page<'_>) -> fmt::Result {
    let texts = page.language.texts();
    f.write_str("<div class=\"tools\">\n")?;
    let search = texts.search;
    writeln!(
        f,
        r#"<input type="search" placeholder="{search}" aria-label="{search}" hidden><output></output>"#
    )?;
    if page.archives {
        // `nofollow` keeps search engines from downloading whole trees.
        writeln!(
            f,
            r#"<span class="archives">{}: <a href="?archive=zip" rel="nofollow">zip</a> <a href="?archive=tar" rel="nofollow">tar</a></span>"#,
            texts.archives
        )?;
    }
    if page.uploads {
        upload_form(f, texts)?;
    }
    f.write_str("</div>\n")
}

/// Works without the script, too. The choice comes before the files, because they are stored as
/// they arrive.
fn upload_form(f: &mut Formatter<'_>, texts: &Texts) -> fmt::Result {
    let Texts {
        files,
        if_it_exists,
        keep_both,
        skip,
        replace,
        upload,
        ..
    } = texts;
    writeln!(
        f,
        "<form class=\"upload\" method=\"post\" enctype=\"multipart/form-data\" action=\"./\">\n\
         <label>{if_it_exists}: <select name=\"exists\">\
         <option value=\"both\">{keep_both}</option>\
         <option value=\"skip\">{skip}</option>\
         <option value=\"replace\">{replace}</option></select></label>\n\
         <label class=\"files\">{files} <input type=\"file\" name=\"file\" multiple required></label>\n\
         <button>{upload}</button>\n</form>"
    )
}

/// The link to the directory above.
fn parent(texts: &Texts) -> String {
    format!(r#"<a class="up" href="../" rel="up">{}</a>"#, texts.parent)
}

fn nothing(f: &mut Formatter<'_>, path: &[u8], texts: &Texts) -> fmt::Result {
    if !path.is_empty() {
        writeln!(f, "<p>{}</p>", parent(texts))?;
    }
    writeln!(f, "<p class=\"empty\">{}</p>", texts.empty)
}

fn table(f: &mut Formatter<'_>, page: &Page<'_>) -> fmt::Result {
    let (order, texts) = (page.order, page.language.texts());
    let modified = format!("{} <small>UTC</small>", texts.modified);
    f.write_str("<table>\n<thead>\n<tr>\n")?;
    heading(f, By::Name, texts.name, order)?;
    heading(f, By::Modified, &modified, order)?;
    heading(f, By::Size, texts.size, order)?;
    f.write_str("</tr>\n</thead>\n<tbody>\n")?;
    if !page.path.is_empty() {
        writeln!(f, r#"<tr><td colspan="3">{}</td></tr>"#, parent(texts))?;
    }
    for entry in &page.entries {
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
    write!(
        f,
        r#"<tr><td><a class="{class}" href="./{href}{slash}"><bdi>{name}</bdi>{slash}</a></td>"#
    )?;
    match entry.modified {
        Some(modified) => {
            let (exact, time) = (utc::rfc3339(modified), utc::to_the_minute(modified));
            write!(f, r#"<td><time datetime="{exact}">{time}</time></td>"#)?;
        }
        None => f.write_str("<td></td>")?,
    }
    match entry.kind {
        Kind::Directory => writeln!(f, "<td></td></tr>"),
        Kind::File => writeln!(f, "<td>{}</td></tr>", Size(entry.size)),
    }
}

/// Writes a summary such as `2 directories, 1 file, 12.3 KiB`.
fn footer(f: &mut Formatter<'_>, entries: &[Entry], language: Language) -> fmt::Result {
    let files = entries.iter().filter(|entry| entry.kind == Kind::File);
    let (count, bytes) = files.fold((0, 0_u64), |(count, bytes), file| {
        (count + 1, bytes.saturating_add(file.size))
    });
    let counts = Counts {
        language,
        directories: entries.len() - count,
        files: count,
    };
    writeln!(f, "<footer>{counts}{}</footer>", Size(bytes))
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
