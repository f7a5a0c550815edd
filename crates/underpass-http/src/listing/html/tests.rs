//! Parses the page and checks it.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

/// Names that a file can have: any without `/`.
const NAMES: [&str; 17] = [
    "plain.txt",
    "<script>alert(1)<b>",
    "a & b &amp; c",
    "\"double\" 'single'",
    "\" onmouseover=\"x",
    "#fragment?query=1&x=2",
    "100%25 %3Cb%3E",
    "  two  spaces  ",
    "line\nbreak\ttab\r\u{1}\u{7f}\u{85}",
    "🦀👨‍👩‍👧",
    "שלום עולם.txt",
    "\u{202e}gpj.exe",
    "javascript:alert(1)",
    "a:b",
    "back\\slash",
    "-->]]>",
    "<title><style>",
];

fn entry(name: &str, kind: Kind) -> Entry {
    Entry {
        name: name.into(),
        kind,
        size: 12_595,
        modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600)),
    }
}

fn html(path: &str, entries: Vec<Entry>) -> String {
    Page::new(path.as_bytes(), entries, Order::default()).html()
}

/// A page as a strict parser sees it: tags with their attributes, and the text between them.
#[derive(Debug, Default)]
struct Parsed {
    /// The tags, without the values of their attributes.
    skeleton: String,
    /// The links of entries only.
    hrefs: Vec<String>,
    text: String,
}

/// Panics if the page is not well-formed: a tag or quote that is not closed, a `<` or `>` in text,
/// an unknown entity.
fn parse(html: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut open = Vec::new();
    let html = html.strip_prefix("<!DOCTYPE html>").unwrap();
    let (before, style) = html.split_once("<style>").unwrap();
    let (_, after) = style.split_once("</style>").unwrap();
    let (after, script) = after.split_once("<script>").unwrap();
    let (_, end) = script.split_once("</script>").unwrap();
    let mut rest = format!("{before}{after}{end}");
    while let Some((text, tag)) = rest.split_once('<') {
        parsed.text += &unescape(text);
        let (tag, after) = end_of_tag(tag);
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else {
            let name = tag.split(' ').next().unwrap();
            if !["meta", "link", "input"].contains(&name) {
                open.push(name.to_owned());
            }
        }
        attributes(tag, &mut parsed);
        rest = after.to_owned();
    }
    assert_eq!(open, Vec::<String>::new(), "left open");
    parsed
}

fn end_of_tag(tag: &str) -> (&str, &str) {
    let mut quoted = false;
    for (place, c) in tag.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '>' if !quoted => return (&tag[..place], &tag[place + 1..]),
            '<' => panic!("a raw < in <{tag}"),
            _ => {}
        }
    }
    panic!("<{tag} does not end")
}

fn attributes(tag: &str, parsed: &mut Parsed) {
    let pieces: Vec<&str> = tag.split('"').collect();
    assert_eq!(pieces.len() % 2, 1, "quotes in <{tag}>");
    for (place, piece) in pieces.iter().enumerate() {
        if place % 2 == 0 {
            write!(parsed.skeleton, "{piece}|").unwrap();
        } else {
            let value = unescape(piece);
            if pieces[place - 1].ends_with("href=") && tag.contains("class=\"") {
                parsed.hrefs.push(value);
            }
        }
    }
}

fn unescape(text: &str) -> String {
    assert!(!text.contains(['<', '>', '"', '\'']), "raw in {text:?}");
    let mut pieces = text.split('&');
    let mut plain = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (entity, rest) = piece.split_once(';').expect("a raw &");
        plain += match entity {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "quot" => "\"",
            "#39" => "'",
            _ => panic!("&{entity};"),
        };
        plain += rest;
    }
    plain
}

/// The name that a browser would request for a link to an entry.
fn name_behind(href: &str) -> String {
    let encoded = href.strip_prefix("./").unwrap();
    assert!(
        encoded
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)),
        "{href}"
    );
    percent_decode_str(encoded)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

#[test]
fn no_name_gets_through() {
    let harmless = parse(&html("p", vec![entry("x", Kind::File)]));
    for name in NAMES {
        let parsed = parse(&html(name, vec![entry(name, Kind::File)]));
        assert_eq!(parsed.skeleton, harmless.skeleton, "{name:?}");
        assert_eq!(name_behind(&parsed.hrefs[1]), name);
        if !name.contains(['\n', '\u{202e}']) {
            assert_eq!(parsed.text.matches(name).count(), 3, "{name:?}");
        }
    }
}

#[test]
fn control_characters_are_pictures() {
    let text = parse(&html("", vec![entry("a\nb\u{7f}", Kind::File)])).text;
    assert!(text.contains("a␊b␡"), "{text}");
}

#[test]
fn no_name_is_turned_into_another() {
    let text = parse(&html("", vec![entry("a\u{202e}gpj.exe", Kind::File)])).text;
    assert!(text.contains("a\u{fffd}gpj.exe"), "{text}");
}

#[test]
fn links_to_directories_end_in_a_slash() {
    let parsed = parse(&html("", vec![entry("a b", Kind::Directory)]));
    assert_eq!(parsed.hrefs, ["./a%20b/"]);
    assert!(parsed.text.contains("a b/"));
}

#[test]
fn the_way_up() {
    let page = html("a/b", vec![entry("x", Kind::File)]);
    let top = r#"<span class="top" role="img" aria-label="Top directory"></span>"#;
    let up = parent(Language::English.texts());
    for line in [
        "<title>Index of /a/b/</title>",
        &format!(r#"<span><a href="../../">{top}</a>/</span>"#),
        r#"<span><a href="../"><bdi>a</bdi></a>/</span>"#,
        r#"<span><a href="./" aria-current="page"><bdi>b</bdi></a>/</span>"#,
        &up,
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let root = html("", vec![entry("x", Kind::File)]);
    assert!(root.contains("<title>Index of /</title>"));
    assert!(!root.contains(&up));
}

#[test]
fn an_empty_directory_says_so() {
    let page = html("a", Vec::new());
    parse(&page);
    assert!(page.contains("This directory is empty."));
    let up = parent(Language::English.texts());
    assert!(page.contains(&up));
    assert!(!page.contains("<table>"));
    assert!(!html("", Vec::new()).contains(&up));
}

#[test]
fn a_row_in_full() {
    let page = html("", vec![entry("x", Kind::File)]);
    let row = concat!(
        r#"<tr><td><a class="file" href="./x"><bdi>x</bdi></a></td>"#,
        r#"<td><time datetime="2026-11-22T10:00:00Z">2026-11-22 10:00</time></td>"#,
        r#"<td><data value="12595" title="12595 bytes">12.3 KiB</data></td></tr>"#,
    );
    assert!(page.contains(row), "{page}");
}

#[test]
fn headings_say_the_order_and_lead_to_the_next() {
    let order = Order {
        by: By::Size,
        descending: true,
    };
    let page = Page::new(b"", vec![entry("x", Kind::File)], order).html();
    for heading in [
        r#"<th scope="col"><a href="?sort=name&amp;order=asc">Name"#,
        r#"<th scope="col"><a href="?sort=modified&amp;order=desc">Modified"#,
        r#"<th scope="col" aria-sort="descending"><a href="?sort=size&amp;order=asc">Size"#,
    ] {
        assert!(page.contains(heading), "{heading} in {page}");
    }
    let by_name = html("", vec![entry("x", Kind::File)]);
    assert!(by_name.contains(r#"aria-sort="ascending"><a href="?sort=name&amp;order=desc">"#));
}

#[test]
fn the_sum() {
    let files = |count| vec![entry("x", Kind::File); count];
    let one_of_each = vec![entry("x", Kind::File), entry("y", Kind::Directory)];
    for (entries, sum) in [
        (files(0), "0 files, 0 B"),
        (files(2), "2 files, 24.6 KiB"),
        (one_of_each, "1 directory, 1 file, 12.3 KiB"),
        (
            vec![entry("y", Kind::Directory); 2],
            "2 directories, 0 files, 0 B",
        ),
    ] {
        let text = parse(&html("", entries)).text;
        assert!(text.trim_end().ends_with(sum), "{sum} in {text}");
    }
    let mut huge = files(2);
    huge[0].size = u64::MAX;
    assert!(html("", huge).contains(">16.0 EiB<"));
}

/// The page has nothing that its Content-Security-Policy would refuse.
#[test]
fn nothing_is_loaded_and_only_one_script_runs() {
    let page = Page::new(b"a", vec![entry("x", Kind::File)], Order::default());
    let page = page.uploads(true).html();
    let (page, after) = page.split_once("<script>").unwrap();
    let (script, end) = after.split_once("</script>").unwrap();
    for forbidden in ["<script", "<img", "@import", "src=", "style=", " on"] {
        let tags = page.split('<').filter_map(|tag| tag.split_once('>'));
        assert!(
            !tags.into_iter().any(|(tag, _)| tag.contains(forbidden)),
            "{forbidden}"
        );
    }
    assert_eq!(end, "\n</body>\n</html>\n");
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    let policy = crate::listing::CONTENT_SECURITY_POLICY;
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let allowed = format!("script-src 'sha256-{hash}'; ");
    assert!(policy.contains(&allowed), "{allowed} in {policy}");
    let urls = STYLE.split("url(").skip(1);
    assert!(urls.into_iter().all(|url| url.starts_with("\"data:image/")));
    assert!(!STYLE.contains('<'), "would have to be escaped");
    assert!(!SCRIPT.contains("</script"), "would end the script");
}

#[test]
fn pages_are_in_the_language_of_their_reader() {
    let page = Page::new(b"a", vec![entry("x", Kind::File)], Order::default());
    let page = page.language(Language::Chinese).uploads(true).html();
    parse(&page);
    for part in [
        "lang=\"zh-Hans\"",
        "目录 /a/",
        "名称",
        "上级目录",
        "上传文件",
        "1 个文件",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[test]
fn a_form_is_there_if_uploads_are() {
    let page = || Page::new(b"", Vec::new(), Order::default());
    let form = r#"<form class="upload" method="post" enctype="multipart/form-data" action="./">"#;
    assert!(page().uploads(true).html().contains(form));
    assert!(!page().html().contains("<form"));
}

#[test]
fn nothing_in_a_message_gets_through() {
    let lines = [("<b>\"a".to_owned(), "&'".to_owned())];
    let message = Message {
        language: Language::Chinese,
        title: "404 <i>",
        lines: &lines,
        back: true,
    };
    let page = message.to_string();
    assert!(
        page.contains("404 &lt;i&gt;") && page.contains("&lt;b&gt;&quot;a"),
        "{page}"
    );
    assert!(
        page.contains("&amp;&#39;") && page.contains("返回目录"),
        "{page}"
    );
    assert!(!page.contains("<b>") && !page.contains("<i>"), "{page}");
}

proptest! {
    #[test]
    fn no_name_whatever_gets_through(
        name in r#"([<>&"'/#?%: \n]|&lt;|<b x="|\PC|[^/\x00]){1,40}"#,
        directory in any::<bool>(),
    ) {
        let name = name.replace('/', "_");
        let kind = if directory { Kind::Directory } else { Kind::File };
        let harmless = parse(&html("p", vec![entry("x", kind)]));
        let parsed = parse(&html(&name, vec![entry(&name, kind)]));
        prop_assert_eq!(parsed.skeleton, harmless.skeleton);
        let href = &parsed.hrefs[1];
        let href = if directory { href.strip_suffix('/').unwrap() } else { href };
        prop_assert_eq!(name_behind(href), name);
    }
}

#[test]
fn a_size_has_its_exact_number_in_its_title() {
    for (bytes, shown) in [
        (1, r#"<data value="1" title="1 byte">1 B</data>"#),
        (
            12_595,
            r#"<data value="12595" title="12595 bytes">12.3 KiB</data>"#,
        ),
    ] {
        assert_eq!(Size(bytes).to_string(), shown);
    }
}
