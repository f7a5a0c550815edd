//! Pages of lists, as far as keys can be asked for.
//!
//! `object_store` refuses a whole page for one key that it has no path for. So such keys leave the
//! page before it sees it.

use object_store::path::Path;

/// The elements of a page that name something, and the element in them that has the name.
const ENTRIES: [(&str, &str); 2] = [("Contents", "Key"), ("CommonPrefixes", "Prefix")];

/// S3 has no longer keys, in bytes.
const LONGEST_KEY: usize = 1024;

/// Whether an object of this key can be asked for: none of its parts is empty, `.` or `..`, and
/// there are no control characters in it.
pub(super) fn path(key: &str) -> Result<Path, String> {
    if key.is_empty() || key.starts_with('/') || key.ends_with('/') {
        return Err("a part of the key is empty".into());
    }
    if key.len() > LONGEST_KEY {
        return Err(format!("it is longer than {LONGEST_KEY} bytes"));
    }
    Path::parse(key).map_err(|error| error.to_string())
}

/// The page without the entries whose names cannot be asked for.
pub(super) fn servable(page: &str) -> String {
    let [objects, directories] = ENTRIES;
    without_others(&without_others(page, objects), directories)
}

fn without_others(page: &str, (element, inner): (&str, &str)) -> String {
    let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
    let mut kept = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(start) = rest.find(&begin)
        && let Some(len) = rest[start..].find(&end)
    {
        let (before, from) = rest.split_at(start);
        let (entry, after) = from.split_at(len + end.len());
        kept.push_str(before);
        if is_servable(text(entry, inner).unwrap_or_default()) {
            kept.push_str(entry);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// What is written in the first element of this name.
pub(super) fn text<'a>(xml: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    let (text, _) = rest.split_once(&format!("</{element}>"))?;
    Some(text)
}

fn is_servable(name: &str) -> bool {
    // What cannot be read is `object_store`'s to refuse.
    let Ok(name) = quick_xml::escape::unescape(name) else {
        return !name.contains("&#");
    };
    // Of a directory, or of the object that marks one.
    let name = name.strip_suffix('/').unwrap_or(&name);
    path(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_asked_for_leave_the_page() {
        let page = |keys: &[&str], prefixes: &[&str]| {
            let entry = |key: &&str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
            let keys: String = keys.iter().map(entry).collect();
            let prefix =
                |it: &&str| format!("<CommonPrefixes><Prefix>{it}</Prefix></CommonPrefixes>");
            let prefixes: String = prefixes.iter().map(prefix).collect();
            format!("<List><Prefix>a//</Prefix>{keys}<N>2</N>{prefixes}</List>")
        };
        let bad = [
            "/a", "a//b", "a/../b", ".", "..", "a&#10;b", "a\nb", "&#x1;", "", "/", "a&#47;/b",
        ];
        let good = [
            "a",
            "a/b",
            "a/",
            "a&amp;&lt;b",
            "a b",
            "a%2F",
            "...",
            "a&#33;",
            "\u{e9}",
        ];
        let all = [&bad[..2], &good, &bad[2..]].concat();
        assert_eq!(servable(&page(&all, &["b/", "c//"])), page(&good, &["b/"]));
        let long = "k".repeat(LONGEST_KEY);
        let keys = [long.as_str(), &format!("{long}k")];
        assert_eq!(servable(&page(&keys, &[])), page(&keys[..1], &[]));
        for other in [
            "",
            "<Contents>",
            "<Contents><Key>..",
            "<Contents></Contents>",
        ] {
            servable(other);
        }
    }
}
