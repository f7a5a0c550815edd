//! Cross-origin requests (the Fetch standard's CORS protocol).

use std::str::FromStr;
use std::time::Duration;

use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED,
};
use http::{HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// For so long a browser need not ask again; Chromium believes no longer time.
const PREFLIGHT_VALID: Duration = Duration::from_secs(7200);

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
        // No field of a request does here what an allowed origin may not do, and libraries add their own (`X-…`).
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(PREFLIGHT_VALID)
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
