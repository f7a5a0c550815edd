//! Cross-origin requests (the Fetch standard's CORS protocol).

use std::time::Duration;

use http::Method;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED,
};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::values::Origin;

/// For so long a browser need not ask again; Chromium believes no longer time.
const PREFLIGHT_VALID: Duration = Duration::from_secs(7200);

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
