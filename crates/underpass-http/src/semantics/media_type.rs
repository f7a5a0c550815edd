//! The media type of a file (RFC 9110 section 8.3), by its extension.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use http::HeaderValue;
use mime_guess::{Mime, mime};

/// The types that were configured for some extensions. Other types are guessed.
#[derive(Clone, Debug, Default)]
pub(crate) struct MediaTypes {
    chosen: Vec<(String, HeaderValue)>,
    /// The type of every file.
    all: Option<HeaderValue>,
}

/// The type of what no type is known of.
pub(crate) const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The media type of a file and its content coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    pub(crate) value: HeaderValue,
    /// The file's content is compressed with gzip, as in `.svgz`.
    pub(crate) is_gzip: bool,
}

/// Extensions for which [`mime_guess`] has no type, or another one than the one that is registered
/// or in use today.
const CORRECTED: &[(&str, &str)] = &[
    ("cjs", "text/javascript"),
    ("deb", "application/vnd.debian.binary-package"),
    ("m3u", "audio/mpegurl"),
    // RFC 8216 section 4.
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4b", "audio/mp4"),
    // Source maps.
    ("map", "application/json"),
    ("m2ts", "video/mp2t"),
    ("mjs", "text/javascript"),
    ("rpm", "application/x-rpm"),
    ("zst", "application/zstd"),
];

/// MPEG transport streams, or TypeScript: the content says which.
const TRANSPORT_STREAM_OR_TYPESCRIPT: &[&str] = &["ts", "mts"];

/// Bytes of a file's beginning that [`MediaTypes::of`] asks for.
pub(crate) const BEGINNING: usize = PACKETS * (STAMP + TS_PACKET);

/// The length of a packet in an MPEG transport stream (ISO/IEC 13818-1), and the byte that each
/// begins with.
const TS_PACKET: usize = 188;
const TS_SYNC: u8 = 0x47;
/// Bytes of a time stamp before each packet in the files of cameras (`.mts`).
const STAMP: usize = 4;
/// This many packets in a row do not occur in a text by accident.
const PACKETS: usize = 3;

impl MediaTypes {
    /// Chooses the type of an extension, in upper or lower case. `value` is sent as it is.
    pub(crate) fn choose(&mut self, extension: &str, value: HeaderValue) {
        let extension = extension.trim_start_matches('.').to_ascii_lowercase();
        self.chosen.push((extension, value));
    }

    /// Chooses the type of every file.
    pub(crate) fn choose_for_all(&mut self, value: HeaderValue) {
        self.all = Some(value);
    }

    /// The type of a file with this name. `beginning` is called if the name is ambiguous.
    ///
    /// # Errors
    /// Those of `beginning`.
    pub(crate) fn of(
        &self,
        name: &[u8],
        beginning: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<MediaType> {
        let extension = extension(name);
        let mut chosen = self.chosen.iter().rev();
        let chosen = chosen.find(|(one, _)| *one == extension);
        if let Some(value) = self.all.as_ref().or(chosen.map(|(_, value)| value)) {
            return Ok(MediaType {
                value: value.clone(),
                is_gzip: false,
            });
        }
        let value = if TRANSPORT_STREAM_OR_TYPESCRIPT.contains(&&*extension) {
            HeaderValue::from_static(if is_transport_stream(&beginning()?) {
                "video/mp2t"
            } else {
                "text/typescript; charset=utf-8"
            })
        } else {
            with_charset(&guess(&extension).unwrap_or(mime::APPLICATION_OCTET_STREAM))
        };
        Ok(MediaType {
            value,
            is_gzip: extension == "svgz",
        })
    }
}

/// Whether a name is that of an asset, which pages load, and not of a page that people visit.
pub(crate) fn is_asset(name: &[u8]) -> bool {
    guess(&extension(name)).is_some_and(|mime| match mime.type_().as_str() {
        "image" | "audio" | "video" | "font" => true,
        "text" => matches!(mime.subtype().as_str(), "css" | "javascript" | "plain"),
        _ => ["javascript", "json", "xml", "wasm", "pdf", "zip", "gzip"]
            .iter()
            .any(|kind| mime.subtype() == *kind || mime.suffix().is_some_and(|it| it == *kind)),
    })
}

/// The extension in lower case; empty if there is none.
fn extension(name: &[u8]) -> String {
    let extension = Path::new(OsStr::from_bytes(name)).extension();
    let extension = extension.and_then(OsStr::to_str).unwrap_or_default();
    extension.to_ascii_lowercase()
}

fn guess(extension: &str) -> Option<Mime> {
    let corrected = CORRECTED.iter().find(|(one, _)| *one == extension);
    match corrected {
        Some((_, value)) => value.parse().ok(),
        None => mime_guess::from_ext(extension).first(),
    }
}

/// Text without a charset is decoded by old defaults, so UTF-8 is added. Not for HTML, XML, CSS and
/// RTF: such documents can declare their own charset, and one in the type would override it.
fn with_charset(mime: &Mime) -> HeaderValue {
    let declares_its_own = ["html", "xml", "css", "rtf", "vnd.wap.wml"]
        .iter()
        .any(|kind| mime.subtype() == *kind)
        || mime.suffix().is_some_and(|suffix| suffix == "xml");
    let is_text = mime.type_() == "text"
        || ["javascript", "json"]
            .iter()
            .any(|kind| mime.subtype() == *kind);
    let value = if is_text && !declares_its_own && mime.get_param("charset").is_none() {
        HeaderValue::try_from(format!("{mime}; charset=utf-8"))
    } else {
        HeaderValue::try_from(mime.as_ref())
    };
    value.unwrap_or(UNKNOWN)
}

fn is_transport_stream(beginning: &[u8]) -> bool {
    let has_packets = |first: usize, step| {
        let mut places = (first..).step_by(step).take(PACKETS);
        places.all(|at| beginning.get(at) == Some(&TS_SYNC))
    };
    has_packets(0, TS_PACKET) || has_packets(STAMP, STAMP + TS_PACKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> MediaType {
        let unneeded = || panic!("{name} says it all");
        MediaTypes::default().of(name.as_bytes(), unneeded).unwrap()
    }

    #[test]
    fn pitfall_34_a_charset_overrules_no_document() {
        for (name, expected) in [
            ("a/index.html", "text/html"),
            ("a.xhtml", "application/xhtml+xml"),
            ("a.xml", "text/xml"),
            ("a.rss", "application/rss+xml"),
            ("a.svg", "image/svg+xml"),
            ("a.css", "text/css"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.md", "text/markdown; charset=utf-8"),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.png", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.unheard-of", "application/octet-stream"),
            ("Makefile", "application/octet-stream"),
        ] {
            assert_eq!(of(name).value, expected, "{name}");
        }
    }

    #[test]
    fn types_are_those_in_use() {
        for (name, expected) in [
            ("a.rpm", "application/x-rpm"),
            ("a.M3U8", "application/vnd.apple.mpegurl"),
            ("a.m4a", "audio/mp4"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.cjs", "text/javascript; charset=utf-8"),
            ("a.js.map", "application/json; charset=utf-8"),
            ("a.svgz", "image/svg+xml"),
        ] {
            assert_eq!(of(name).value, expected, "{name}");
        }
        assert!(of("a.svgz").is_gzip && !of("a.svg").is_gzip);
        for (_, corrected) in CORRECTED {
            assert!(corrected.parse::<Mime>().is_ok(), "{corrected}");
        }
    }

    #[test]
    fn a_transport_stream_is_told_from_typescript() {
        let stream = |begin: usize, step: usize| {
            let mut bytes = vec![0; 1000];
            (begin..1000)
                .step_by(step)
                .for_each(|at| bytes[at] = TS_SYNC);
            bytes.truncate(BEGINNING);
            bytes
        };
        for (name, beginning, expected) in [
            ("a.ts", stream(0, TS_PACKET), "video/mp2t"),
            ("a.mts", stream(STAMP, TS_PACKET + STAMP), "video/mp2t"),
            (
                "a.ts",
                b"export {};".to_vec(),
                "text/typescript; charset=utf-8",
            ),
            (
                "a.ts",
                b"Go(); ".repeat(99),
                "text/typescript; charset=utf-8",
            ),
            ("a.mts", Vec::new(), "text/typescript; charset=utf-8"),
        ] {
            let found = MediaTypes::default().of(name.as_bytes(), || Ok(beginning));
            assert_eq!(found.unwrap().value, expected, "{name}");
        }
    }

    #[test]
    fn what_was_chosen_is_sent_as_it_is() {
        let mut types = MediaTypes::default();
        for (extension, value) in [
            ("ts", "a/b"),
            (".LOG", "text/plain"),
            ("svgz", "x/y"),
            ("ts", "c/d"),
        ] {
            types.choose(extension, HeaderValue::from_static(value));
        }
        let of = |name: &[u8]| types.of(name, || panic!("it is chosen")).unwrap();
        assert_eq!(of(b"a.TS").value, "c/d");
        assert_eq!(of(b"caf\xe9.log").value, "text/plain");
        assert!(!of(b"a.svgz").is_gzip);
    }

    #[test]
    fn assets_are_told_from_pages() {
        for name in [
            "a.js",
            "a/gone-1a2b.CSS",
            "a.js.map",
            "a.png",
            "a.woff2",
            "robots.txt",
            "a.svg",
            "a.webmanifest",
        ] {
            assert!(is_asset(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "users",
            "v1.2",
            "jane.doe",
            "jane.me",
            "index.html",
            "a.php",
            "main.rs",
        ] {
            assert!(!is_asset(name.as_bytes()), "{name}");
        }
    }
}
