//! Responses to HEAD have no content: HTTP/2 and layers would send it.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use tower::ServiceExt as _;
use underpass_http::{FileBody, ServeDir, ServeFile};

use crate::support::{Files, block_on, bytes};

type Asking = Request<Empty<Bytes>>;

fn ask(method: Method, path: &str) -> Asking {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// Compares the responses to HEAD and to GET.
fn compare(
    name: &str,
    request: impl Fn(Method) -> Asking,
    ask: impl Fn(Asking) -> Response<FileBody>,
) {
    let (got, head) = (ask(request(Method::GET)), ask(request(Method::HEAD)));
    assert_eq!(head.status(), got.status(), "{name}");
    let length = |fields: &HeaderMap| fields.get(CONTENT_LENGTH).cloned();
    let content =
        |response: Response<FileBody>| block_on(response.into_body().collect()).unwrap().to_bytes();
    let announced = length(head.headers()).expect("a length");
    if let Some(length) = length(got.headers()) {
        assert_eq!(announced, length, "{name}");
    }
    assert!(http_body::Body::is_end_stream(head.body()), "{name}");
    assert_eq!(content(head), "", "{name}");
    let got = content(got);
    assert_eq!(announced, got.len().to_string().as_str(), "{name}");
}

#[test]
fn heads_have_no_content() {
    let files = Files::new()
        .with("small", b"small")
        .with("large", &bytes(50_000))
        .with("empty", b"");
    std::fs::create_dir(files.path("sub")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = |service: ServeDir| {
        let runtime = &runtime;
        move |request| runtime.block_on(service.clone().oneshot(request)).unwrap()
    };
    let service = ServeDir::new(files.root()).listing(true);
    let pages = ServeDir::new(files.root()).not_found_page("large");
    for path in ["/small", "/large", "/empty", "/none", "/sub", "/sub/", "/%"] {
        let request = |method| ask(method, path);
        // The second time the file is in the cache.
        for _ in 0..2 {
            compare(path, request, |request| answer(service.clone())(request));
            compare(path, request, |request| answer(pages.clone())(request));
        }
    }
    let file = ServeFile::new(files.path("large"));
    let one = |request| runtime.block_on(file.clone().oneshot(request)).unwrap();
    compare("a file", |method| ask(method, "/any"), one);
    let other = tower::service_fn(|_: Asking| async {
        Ok(Response::new(Full::new(Bytes::from_static(b"other"))))
    });
    let other = service.fallback(other);
    let other = |request| runtime.block_on(other.clone().oneshot(request)).unwrap();
    compare("a fallback", |method| ask(method, "/none"), other);
}
