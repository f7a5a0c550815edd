//! Cross-origin requests (the Fetch standard's CORS protocol).

use std::str::FromStr;

use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    RANGE,
};
use http::{HeaderValue, Method, Uri};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// `https://HOST[:PORT]`, or everybody's.
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
                "{text:?} is not an origin, like https://example.org or http://localhost:3000, nor *"
            )
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        // Origins are compared byte by byte, so one that no browser sends would never match.
        if format!("{scheme}://{authority}").to_ascii_lowercase() != text {
            return Err(wrong());
        }
        HeaderValue::from_str(text)
            .map(Self::One)
            .map_err(|_| wrong())
    }
}

pub(crate) fn layer(origins: &[Origin], uploads: bool) -> CorsLayer {
    let one = |origin: &Origin| match origin {
        Origin::Any => None,
        Origin::One(value) => Some(value.clone()),
    };
    let listed: Option<Vec<_>> = origins.iter().map(one).collect();
    let mut methods = vec![Method::GET, Method::HEAD, Method::OPTIONS];
    if uploads {
        methods.push(Method::PUT);
    }
    let asked = [
        RANGE,
        IF_RANGE,
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        AUTHORIZATION,
        CONTENT_TYPE,
    ];
    let answered = [
        ETAG,
        LAST_MODIFIED,
        CONTENT_RANGE,
        ACCEPT_RANGES,
        CONTENT_LENGTH,
        CONTENT_DISPOSITION,
    ];
    CorsLayer::new()
        .allow_origin(listed.map_or_else(AllowOrigin::any, AllowOrigin::list))
        .allow_methods(methods)
        .allow_headers(asked)
        .expose_headers(answered)
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
