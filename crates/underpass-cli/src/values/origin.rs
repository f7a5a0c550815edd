//! The origin of a web page, as `--cors` takes it.

use std::str::FromStr;

use http::{HeaderValue, Uri};

/// An origin `https://HOST[:PORT]`, or all origins.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Any,
    One(HeaderValue),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || {
            format!(
                "{text:?} is neither an origin, such as https://example.org or http://localhost:3000, nor *"
            )
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        // Origins are compared byte by byte, so a spelling that no browser sends would never match.
        if format!("{scheme}://{authority}").to_ascii_lowercase() != text {
            return Err(wrong());
        }
        HeaderValue::from_str(text)
            .map(Self::One)
            .map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for text in [
            "*",
            "https://example.org",
            "http://localhost:3000",
            "http://[::1]:80",
        ] {
            assert!(text.parse::<Origin>().is_ok(), "{text}");
        }
        for text in [
            "",
            "example.org",
            "https://example.org/",
            "https://a/b",
            "HTTPS://A",
            "null",
            "a b",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
