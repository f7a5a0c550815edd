//! The builder of tower-http's `ServeDir` and `ServeFile`: what is set there means the same here.
//! Each request is sent to a service of either crate.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::io;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, VARY};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tower::{Service, ServiceExt as _, service_fn};
use tower_http::services as theirs;
use underpass_http::{FileBody, ServeDir, ServeFile};

use crate::support::{Files, KIB, block_on, bytes};

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// The reply to one request. `fields` are names and values.
fn reply<S, B>(service: &S, method: Method, target: &str, fields: &[(&str, &str)]) -> Reply
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).unwrap();
    let response = block_on(async {
        let Ok(response) = service.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    });
    let (head, body) = response.into_parts();
    Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    }
}

/// Sends requests to a service of tower-http and to one of this crate. The expected status and
/// content are those of both.
macro_rules! both {
    ($ours:expr, $theirs:expr, [$($method:ident $target:expr, $fields:expr => $status:expr, $body:expr;)+]) => {{
        let (ours, theirs) = ($ours, $theirs);
        $({
            let (status, body): (u16, Option<&[u8]>) = ($status, $body);
            let theirs = reply(&theirs, Method::$method, $target, $fields);
            let ours = reply(&ours, Method::$method, $target, $fields);
            for (name, reply) in [("tower-http", &theirs), ("underpass", &ours)] {
                let shown = reply.body.escape_ascii();
                assert_eq!(reply.status, status, "{name}: {}: {shown}", $target);
                if let Some(body) = body {
                    assert!(reply.body == body, "{name}: {}: {shown}", $target);
                }
            }
            for field in [CONTENT_ENCODING, LOCATION] {
                let theirs = theirs.headers.get(&field);
                assert_eq!(ours.headers.get(&field), theirs, "{field} of {}", $target);
            }
        })+
    }};
}

/// A fallback that says what it was asked for.
async fn say(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let said = format!("{} {}", request.method(), request.uri().path());
    Ok(Response::new(said.into()))
}

const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];
const DEFLATE: &[(&str, &str)] = &[("accept-encoding", "deflate")];

#[test]
fn pages_need_no_extension() {
    let files = Files::new()
        .with("page.html", b"page")
        .with("both.html", b"never")
        .with("both", b"both")
        .with("only.html.gz", b"coded");
    std::fs::create_dir(files.path("directory")).unwrap();
    std::fs::write(files.path("directory.html"), "never").unwrap();
    std::fs::write(files.path("directory/index.html"), "index").unwrap();
    let root = files.root();
    both!(
        ServeDir::new(root).html_as_default_extension(true).precompressed_gzip(),
        theirs::ServeDir::new(root).html_as_default_extension(true).precompressed_gzip(),
        [
            GET "/page.html", &[] => 200, Some(b"page");
            GET "/both", &[] => 200, Some(b"both");
            GET "/page/", &[] => 404, None;
            GET "/page.css", &[] => 404, None;
            GET "/absent", &[] => 404, None;
            GET "/directory/", &[] => 200, Some(b"index");
        ]
    );
    let ours = ServeDir::new(root).html_as_default_extension(true);
    assert_eq!(&*reply(&ours, Method::GET, "/page", &[]).body, b"page");
    assert_eq!(reply(&ours, Method::GET, "/directory", &[]).status, 301);
    let coded = reply(&ours.precompressed_gzip(), Method::GET, "/only", GZIP);
    assert_eq!(&*coded.body, b"coded");
    assert_eq!(coded.headers[CONTENT_TYPE], "text/html");
    let without = ServeDir::new(root);
    assert_eq!(reply(&without, Method::GET, "/page", &[]).status, 404);
}

#[test]
fn precompressed_files_need_no_plain_file() {
    let files = Files::new()
        .with("a.txt.gz", b"gzip")
        .with("a.txt.zz", b"deflate")
        .with("b.txt", b"plain")
        .with("b.txt.zz", b"deflate");
    std::fs::create_dir(files.path("docs")).unwrap();
    std::fs::write(files.path("docs/index.html.gz"), "index").unwrap();
    let root = files.root();
    both!(
        ServeDir::new(root).precompressed_gzip().precompressed_deflate(),
        theirs::ServeDir::new(root).precompressed_gzip().precompressed_deflate(),
        [
            GET "/a.txt", GZIP => 200, Some(b"gzip");
            GET "/a.txt", DEFLATE => 200, Some(b"deflate");
            HEAD "/a.txt", GZIP => 200, Some(b"");
            GET "/b.txt", DEFLATE => 200, Some(b"deflate");
            GET "/b.txt", &[] => 200, Some(b"plain");
            GET "/docs/", GZIP => 200, Some(b"index");
        ]
    );
    both!(
        ServeFile::new(files.path("a.txt")).precompressed_deflate(),
        theirs::ServeFile::new(files.path("a.txt")).precompressed_deflate(),
        [
            GET "/anything", DEFLATE => 200, Some(b"deflate");
            GET "/anything", &[("range", "bytes=1-2"), DEFLATE[0]] => 206, Some(b"ef");
        ]
    );
    // A cache must not give this to clients that do accept gzip.
    let ours = ServeDir::new(root).precompressed_gzip();
    for target in ["/a.txt", "/docs/"] {
        let refused = reply(&ours, Method::GET, target, &[]);
        assert_eq!(refused.status, 404, "{target}");
        assert_eq!(refused.headers[VARY], "accept-encoding", "{target}");
    }
    let typed = reply(&ours, Method::GET, "/a.txt", GZIP);
    assert_eq!(typed.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
}

#[test]
fn fallbacks_get_other_methods_and_invalid_paths() {
    let files = Files::new().with("file", b"content");
    let root = files.root();
    both!(
        ServeDir::new(root)
            .call_fallback_on_method_not_allowed(true)
            .fallback(service_fn(say)),
        theirs::ServeDir::new(root)
            .call_fallback_on_method_not_allowed(true)
            .fallback(service_fn(say)),
        [
            GET "/file", &[] => 200, Some(b"content");
            POST "/file", &[] => 200, Some(b"POST /file");
            OPTIONS "/file", &[] => 200, Some(b"OPTIONS /file");
            GET "/absent", &[] => 200, Some(b"GET /absent");
            GET "/nul%00", &[] => 200, Some(b"GET /nul%00");
        ]
    );
    both!(
        ServeDir::new(root).fallback(service_fn(say)),
        theirs::ServeDir::new(root).fallback(service_fn(say)),
        [
            POST "/file", &[] => 405, None;
            GET "/caf%E9", &[] => 200, Some(b"GET /caf%E9");
        ]
    );
    both!(
        ServeDir::new(root).not_found_service(service_fn(say)),
        theirs::ServeDir::new(root).not_found_service(service_fn(say)),
        [
            GET "/nul%00", &[] => 404, Some(b"GET /nul%00");
        ]
    );
    both!(
        ServeDir::new(root).call_fallback_on_method_not_allowed(true),
        theirs::ServeDir::new(root).call_fallback_on_method_not_allowed(true),
        [
            POST "/file", &[] => 405, None;
        ]
    );
    let ours = ServeDir::new(root).call_fallback_on_method_not_allowed(true);
    let refused = reply(&ours, Method::POST, "/file", &[]);
    assert_eq!(refused.headers[ALLOW], "GET, HEAD, OPTIONS");
    // What has no fallback is refused.
    for target in ["/nul%00", "/a%2Fb"] {
        assert_eq!(
            reply(&ours, Method::GET, target, &[]).status,
            400,
            "{target}"
        );
    }
    let ours = ServeDir::new(root).fallback(service_fn(say));
    assert_eq!(
        &*reply(&ours, Method::GET, "/a%2Fb", &[]).body,
        b"GET /a%2Fb"
    );
}

#[test]
fn directories_redirect_as_they_are_told() {
    let files = Files::new();
    std::fs::create_dir(files.path("a b")).unwrap();
    std::fs::write(files.path("a b/index.html"), "index").unwrap();
    let ours = ServeDir::new(files.root());
    let to = |service: &ServeDir, target: &str| {
        let reply = reply(service, Method::GET, target, &[]);
        assert_eq!(reply.status, 301, "{target}");
        reply.headers[LOCATION].to_str().unwrap().to_owned()
    };
    assert_eq!(to(&ours, "/a%20b?c=d"), "./a%20b/?c=d");
    let below = ours.clone().redirect_path_prefix("/static");
    assert_eq!(to(&below, "/a%20b?c=d"), "/static/a%20b/?c=d");
    // A redirect never leads to another host.
    let root = ours.clone().redirect_path_prefix("");
    for target in ["//evil.example/../a%20b", "/\\evil.example/../a%20b"] {
        assert_eq!(to(&root, target), "/a%20b/", "{target}");
    }
    both!(
        ours.redirect_to_trailing_slash(false),
        theirs::ServeDir::new(files.root()).redirect_to_trailing_slash(false),
        [
            GET "/a%20b", &[] => 200, Some(b"index");
            GET "/a%20b/", &[] => 200, Some(b"index");
        ]
    );
    let listed = ServeDir::new(files.root())
        .redirect_to_trailing_slash(false)
        .append_index_html_on_directories(false)
        .listing(true);
    assert_eq!(to(&listed, "/a%20b"), "./a%20b/");
}

#[test]
fn several_ranges_can_be_ignored() {
    let content = bytes(100 * KIB);
    let files = Files::new().with("file", &content);
    let ranges: &[(&str, &str)] = &[("range", "bytes=0-1,5-6")];
    both!(
        ServeDir::new(files.root()).ignore_multi_range_requests(true),
        theirs::ServeDir::new(files.root()).ignore_multi_range_requests(true),
        [
            GET "/file", ranges => 200, Some(&content);
            GET "/file", &[("range", "bytes=5-6")] => 206, Some(&content[5..7]);
        ]
    );
    both!(
        ServeFile::new(files.path("file")).ignore_multi_range_requests(true),
        theirs::ServeFile::new(files.path("file")).ignore_multi_range_requests(true),
        [
            GET "/", ranges => 200, Some(&content);
        ]
    );
    let ours = ServeDir::new(files.root());
    assert_eq!(reply(&ours, Method::GET, "/file", ranges).status, 206);
}

#[test]
fn a_file_has_the_type_that_is_said() {
    let files = Files::new().with("file.txt", b"content");
    let path = files.path("file.txt");
    let type_of = |mime: &str| {
        let service = ServeFile::new_with_mime(&path, mime);
        reply(&service, Method::GET, "/", &[]).headers[CONTENT_TYPE].clone()
    };
    assert_eq!(type_of("image/jpg"), "image/jpg");
    assert_eq!(type_of("no\nfield"), "application/octet-stream");
    // As tower-http takes it.
    let mime: mime_guess::Mime = "image/jpg".parse().unwrap();
    let ours = ServeFile::new_with_mime(&path, &mime);
    let theirs = theirs::ServeFile::new_with_mime(&path, &mime);
    assert_eq!(
        reply(&ours, Method::GET, "/", &[]).headers[CONTENT_TYPE],
        "image/jpg"
    );
    assert_eq!(
        reply(&theirs, Method::GET, "/", &[]).headers[CONTENT_TYPE],
        "image/jpg"
    );
}

/// `try_call` of either crate, with the kind and errno of its error.
macro_rules! tried {
    ($service:expr, $target:expr) => {{
        let request = Request::builder()
            .uri($target)
            .body(Full::<Bytes>::default());
        let tried = block_on($service.try_call(request.unwrap()));
        tried
            .map(|response| response.status().as_u16())
            .map_err(|error: io::Error| (error.kind(), error.raw_os_error()))
    }};
}

#[test]
fn errors_are_returned_to_those_who_want_them() {
    let files = Files::new().with("file", b"content");
    std::fs::create_dir(files.path("directory")).unwrap();
    let (mut ours, mut theirs) = (
        ServeDir::new(files.root()),
        theirs::ServeDir::new(files.root()),
    );
    for target in ["/file", "/absent", "/file/below", "/directory/"] {
        assert_eq!(tried!(ours, target), tried!(theirs, target), "{target}");
    }
    assert_eq!(
        tried!(ours, "/absent").unwrap_err().0,
        io::ErrorKind::NotFound
    );
    // Refusals are responses, as there.
    assert_eq!(tried!(ours, "/nul%00"), Ok(400));
    assert_eq!(tried!(ours, "/directory"), Ok(301));
    // What is not served is an error here.
    assert_eq!(
        tried!(ours, "/file/").unwrap_err().0,
        io::ErrorKind::NotADirectory
    );
    assert_eq!(
        tried!(ours, "/.hidden").unwrap_err().0,
        io::ErrorKind::NotFound
    );
    let mut ours = ServeDir::new(files.root()).fallback(service_fn(say));
    assert_eq!(tried!(ours, "/absent"), Ok(200));
    let mut ours = ServeFile::new(files.path("absent"));
    assert_eq!(tried!(ours, "/").unwrap_err().0, io::ErrorKind::NotFound);
    let mut ours = ServeFile::new(files.path("file"));
    assert_eq!(tried!(ours, "/"), Ok(200));
}

#[test]
fn bodies_are_converted() {
    let read = |body: FileBody| block_on(body.collect()).unwrap().to_bytes();
    assert_eq!(&*read("text".into()), b"text");
    assert_eq!(&*read(String::from("text").into()), b"text");
    assert_eq!(&*read(Cow::Borrowed("text").into()), b"text");
    assert_eq!(&*read(b"text".to_vec().into()), b"text");
    assert_eq!(&*read((&b"text"[..]).into()), b"text");
    assert_eq!(&*read(Bytes::from("text").into()), b"text");
    assert_eq!(&*read(().into()), b"");
    let content = bytes(100 * KIB);
    let files = Files::new().with("file", &content);
    let body = FileBody::open(files.open("file")).unwrap();
    let boxed: UnsyncBoxBody<Bytes, io::Error> = body.into();
    assert_eq!(boxed.size_hint().exact(), Some(content.len() as u64));
    assert!(block_on(boxed.collect()).unwrap().to_bytes() == content);
}

/// An error of a wrapped body is the application's own, not one that is wrapped again.
#[test]
fn errors_of_other_bodies_stay_what_they_are() {
    struct Failing(Option<Box<dyn Error + Send + Sync>>);
    impl Body for Failing {
        type Data = Bytes;
        type Error = Box<dyn Error + Send + Sync>;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(self.0.take().map(Err))
        }
    }
    let failing = |error: Box<dyn Error + Send + Sync>| {
        let body = FileBody::other(Failing(Some(error)));
        block_on(body.collect()).map(drop).unwrap_err()
    };
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(failing(reset.into()).kind(), io::ErrorKind::ConnectionReset);
    let other = failing("broken".into());
    assert_eq!(
        (other.kind(), other.to_string()),
        (io::ErrorKind::Other, "broken".into())
    );
}

/// `ServeFile` looks at no body, so any will do.
#[test]
fn a_file_is_served_to_requests_with_any_body() {
    struct NoBody;
    let files = Files::new().with("file", b"content");
    let service = ServeFile::new(files.path("file"));
    let Ok(response) = block_on(service.oneshot(Request::new(NoBody)));
    assert_eq!(response.status(), StatusCode::OK);
    // A path that is only `AsRef<Path>`, as tower-http takes it.
    let directory = tempfile::tempdir().unwrap();
    drop((ServeDir::new(&directory), directory));
}
