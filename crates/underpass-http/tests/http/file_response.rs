//! `FileResponse`: what handlers of one's own respond with is what `ServeDir` would send, except
//! for what they choose.

use std::convert::Infallible;
use std::fs::File;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tower::{ServiceExt as _, service_fn};
use underpass_http::{FileBody, FileResponse, RequestBody, ServeDir};

use crate::support::{Client, Reply, Server, Settings, Tree, bytes, set_modified};

type Asked = (String, Method, HeaderMap);

/// A server whose handler gets the path without its slash, the method and the headers.
fn server<F>(handler: impl Fn(Asked) -> F + Clone + Send + Sync + 'static) -> Server
where
    F: Future<Output = Response<FileBody>> + Send + 'static,
{
    let service = service_fn(move |request: Request<RequestBody>| {
        let path = request.uri().path()[1..].to_owned();
        let response = handler((path, request.method().clone(), request.headers().clone()));
        async { Ok::<_, Infallible>(response.await) }
    });
    Server::of(service, Settings::default())
}

/// The same file in four ways, by the first segment of the path.
fn in_four_ways(tree: &Tree) -> Server {
    let (root, files) = (tree.root().to_owned(), tree.serve_fresh());
    let service = service_fn(move |mut request: Request<RequestBody>| {
        let (root, files) = (root.clone(), files.clone());
        async move {
            let path = request.uri().path().to_owned();
            let (way, name) = path[1..].split_once('/').unwrap();
            let (method, headers) = (request.method().clone(), request.headers().clone());
            let response = match way {
                "path" => FileResponse::path(root.join(name)),
                "below" => FileResponse::below(&files, name),
                "file" => {
                    let text = HeaderValue::from_static("text/plain; charset=utf-8");
                    FileResponse::file(File::open(root.join(name)).unwrap()).content_type(text)
                }
                _ => {
                    *request.uri_mut() = format!("/{name}").parse().unwrap();
                    return files.oneshot(request).await;
                }
            };
            Ok(response.respond(&method, &headers).await)
        }
    });
    Server::of(service, Settings::default())
}

/// What must be the same: boundaries are random, and so they are replaced.
fn shown(reply: &Reply) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let (mut fields, mut body) = (reply.undated(), reply.body.clone());
    for (_, value) in &mut fields {
        if let Some(boundary) = value.strip_prefix("multipart/byteranges; boundary=") {
            let boundary = boundary.as_bytes().to_vec();
            while let Some(at) = body.windows(boundary.len()).position(|it| it == boundary) {
                body.splice(at..at + boundary.len(), *b"BOUNDARY");
            }
            value.truncate("multipart/byteranges".len());
        }
    }
    (reply.status, fields, body)
}

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[test]
fn it_is_what_a_directory_would_send() {
    for len in [0, 700, 70_000] {
        let tree = Tree::of(&[("file.txt", &bytes(1, len))]);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        set_modified(&tree.path("file.txt"), at);
        let server = in_four_ways(&tree);
        let reply = Client::get(&server, "/served/file.txt", "").has_status(200);
        let etag = reply.etag().to_owned();
        let mut statuses = Vec::new();
        for fields in [
            "",
            "If-None-Match: E\r\n",
            "If-None-Match: \"x\"\r\n",
            "If-Match: E\r\n",
            "If-Match: \"x\"\r\n",
            "If-Modified-Since: MODIFIED\r\n",
            "If-Modified-Since: BEFORE\r\n",
            "If-Unmodified-Since: BEFORE\r\n",
            "Range: bytes=0-9\r\n",
            "Range: bytes=-1\r\n",
            "Range: bytes=0-9,300-309,600-\r\n",
            "Range: bytes=99999-\r\n",
            "Range: lines=1-2\r\n",
            "Range: bytes=0-9\r\nIf-Range: E\r\n",
            "Range: bytes=0-9\r\nIf-Range: \"x\"\r\n",
            "Range: bytes=0-9\r\nIf-Range: MODIFIED\r\n",
            "Range: bytes=0-9\r\nIf-None-Match: E\r\n",
        ] {
            let fields = fields
                .replace("MODIFIED", MODIFIED)
                .replace("BEFORE", BEFORE)
                .replace('E', &etag);
            for method in ["GET", "HEAD"] {
                let ask = |way: &str| {
                    let path = format!("/{way}/file.txt");
                    shown(&Client::ask(&server, method, &path, &fields))
                };
                let expected = ask("served");
                for way in ["path", "file", "below"] {
                    let same = ask(way) == expected;
                    assert!(same, "{way} {method} {len} {fields}: {:?}", ask(way));
                }
                statuses.push(expected.0);
            }
        }
        if len > 0 {
            for status in [200, 206, 304, 412, 416] {
                assert!(statuses.contains(&status), "{status}: {statuses:?}");
            }
        }
    }
}

#[test]
fn errors_are_those_of_a_directory() {
    let tree = Tree::of(&[("file.txt", b"content"), ("sub/file", b"content")]);
    std::fs::write(tree.around().join("secret"), "secret").unwrap();
    symlink("../secret", tree.path("out")).unwrap();
    let fifo = (tree.path("fifo"), rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo.0,
        rustix::fs::FileType::Fifo,
        fifo.1,
        0,
    )
    .unwrap();
    let server = in_four_ways(&tree);
    let long = "x".repeat(300);
    for name in ["absent", "file.txt/below", "fifo", &long, "sub/absent"] {
        let expected = Client::get(&server, &format!("/served/{name}"), "").expect_error(404);
        for way in ["path", "below"] {
            for method in ["GET", "HEAD"] {
                let reply = Client::ask(&server, method, &format!("/{way}/{name}"), "");
                assert_eq!(reply.undated(), expected.undated(), "{way} {name}");
                let body: &[u8] = if method == "GET" { &expected.body } else { b"" };
                reply.has_status(404).has_body(body);
            }
        }
    }
    // A directory is no file, whatever a directory's service makes of it.
    for path in [
        "/path/sub",
        "/path/sub/",
        "/below/sub",
        "/below/sub/",
        "/below/",
    ] {
        Client::get(&server, path, "").expect_error(404);
    }
    // The program's own paths may lead anywhere. What clients choose goes below a directory.
    Client::get(&server, "/path/out", "").has_body(b"secret");
    Client::get(&server, "/below/out", "").expect_error(404);
}

#[test]
fn nothing_outside_a_directory_is_sent() {
    let tree = Tree::of(&[
        ("file", b"inside"),
        (".hidden", b"hidden"),
        ("a%2Fb", b"odd"),
    ]);
    std::fs::write(tree.around().join("secret"), "secret").unwrap();
    std::fs::write(tree.around().join("file"), "outside").unwrap();
    let secret = tree.around().join("secret").display().to_string();
    let files = ServeDir::new(tree.root());
    let names = [
        "../secret",
        "../../secret",
        "/../secret",
        &secret,
        "x/../../secret",
        ".hidden",
    ];
    let all: Vec<String> = names.map(str::to_owned).into();
    let asked = all.clone();
    let server = server(move |(path, method, headers)| {
        let name = match path.parse::<usize>() {
            Ok(index) => asked[index].clone(),
            Err(_) => path.replace('_', "/"),
        };
        let response = FileResponse::below(&files, name);
        async move { response.respond(&method, &headers).await }
    });
    for (index, name) in all.iter().enumerate() {
        let reply = Client::get(&server, &format!("/{index}"), "");
        assert_eq!(reply.status, 404, "{name}");
    }
    // Dot segments end at the directory, and a name is not decoded.
    for (path, body) in [
        ("/.._file", &b"inside"[..]),
        ("/._file", b"inside"),
        ("/a%2Fb", b"odd"),
    ] {
        Client::get(&server, path, "")
            .has_status(200)
            .has_body(body);
    }
}

#[test]
fn a_handler_chooses_name_type_and_caching() {
    let content = bytes(1, 20_000);
    let tree = Tree::of(&[("6f1ed002", &content), ("page.html", &content)]);
    let root = tree.root().to_owned();
    let server = server(move |(path, method, headers)| {
        let (blob, page) = (root.join("6f1ed002"), root.join("page.html"));
        let response = match &*path {
            "plain" => FileResponse::path(blob),
            "named" => FileResponse::path(blob).attachment("Rechnung für März.pdf"),
            "shown" => FileResponse::file(File::open(blob).unwrap()).inline("a.png"),
            "typed" => FileResponse::path(blob)
                .attachment("a.png")
                .content_type(HeaderValue::from_static("application/x-own")),
            // An extension that nobody knows says less than the file's own.
            "odd" => FileResponse::path(page).attachment("page.unheardof"),
            "cached" => FileResponse::path(blob)
                .attachment("a")
                .cache_control(HeaderValue::from_static("private, max-age=60")),
            "svgz" => FileResponse::path(blob).inline("drawing.svgz"),
            other => panic!("{other}"),
        };
        async move { response.respond(&method, &headers).await }
    });
    let get = |path: &str, fields: &str| Client::get(&server, path, fields);
    get("/plain", "")
        .has("content-type", "application/octet-stream")
        .lacks("content-disposition")
        .lacks("cache-control");
    get("/named", "")
        .has("content-type", "application/pdf")
        .has(
            "content-disposition",
            "attachment; filename=\"Rechnung f_r M_rz.pdf\"; \
             filename*=UTF-8''Rechnung%20f%C3%BCr%20M%C3%A4rz.pdf",
        )
        .has_body(&content);
    get("/shown", "Range: bytes=5-9\r\n")
        .has_status(206)
        .has("content-type", "image/png")
        .has("content-disposition", "inline; filename=\"a.png\"")
        .has_body(&content[5..10]);
    get("/typed", "").has("content-type", "application/x-own");
    get("/odd", "").has("content-type", "text/html");
    get("/svgz", "")
        .has("content-type", "image/svg+xml")
        .has("content-encoding", "gzip");
    let cached = get("/cached", "").has("cache-control", "private, max-age=60");
    let current = format!("If-None-Match: {}\r\n", cached.etag());
    get("/cached", &current)
        .has_status(304)
        .has("cache-control", "private, max-age=60")
        .lacks("content-disposition");
    let several = get("/named", "Range: bytes=0-9,9000-9009\r\n").has_status(206);
    assert!(
        several
            .text_lossy()
            .contains("Content-Type: application/pdf\r\n")
    );
}

#[test]
fn precompressed_files_of_a_directory_are_sent() {
    let tree = Tree::of(&[
        ("data.csv", b"plain"),
        ("data.csv.gz", b"gzip"),
        ("only.gz", b"gzip"),
    ]);
    let files = tree.serve_fresh().precompressed_gzip();
    let server = server(move |(path, method, headers)| {
        let response = FileResponse::below(&files, path).attachment("data.csv");
        async move { response.respond(&method, &headers).await }
    });
    for (fields, body) in [("", &b"plain"[..]), ("Accept-Encoding: gzip\r\n", b"gzip")] {
        let reply = Client::get(&server, "/data.csv", fields)
            .has_body(body)
            .has("vary", "accept-encoding")
            .has("content-type", "text/csv; charset=utf-8")
            .has("content-disposition", "attachment; filename=\"data.csv\"");
        let coding = (body == b"gzip").then_some("gzip");
        assert_eq!(reply.field("content-encoding"), coding);
    }
    Client::get(&server, "/only", "")
        .expect_error(404)
        .has("vary", "accept-encoding");
}

/// The response to a POST is not the file that conditions and ranges are about.
#[test]
fn other_methods_get_the_whole_file() {
    let tree = Tree::of(&[("file", b"content")]);
    let root = tree.root().to_owned();
    let server = server(move |(path, method, headers)| {
        let response = FileResponse::path(root.join(path));
        async move { response.respond(&method, &headers).await }
    });
    for fields in [
        "",
        "Range: bytes=0-0\r\n",
        "If-None-Match: *\r\n",
        "If-Match: \"x\"\r\n",
    ] {
        let fields = format!("Content-Length: 0\r\n{fields}");
        Client::ask(&server, "POST", "/file", &fields)
            .has_status(200)
            .has_body(b"content");
    }
}

#[test]
fn what_it_sends_is_not_copied() {
    let content = bytes(1, 1_000_000);
    let tree = Tree::of(&[("file.txt", &content)]);
    let server = in_four_ways(&tree);
    for way in ["path", "file", "below"] {
        let path = format!("/{way}/file.txt");
        Client::get(&server, &path, "").has_body(&content);
        Client::get(&server, &path, "Range: bytes=1000-500999\r\n")
            .has_body(&content[1000..501_000]);
        Client::get(&server, &path, "Range: bytes=0-99999,900000-\r\n").has_status(206);
    }
    server.stop_uncopied(3 * (1_000_000 + 500_000 + 200_000));
}

/// A caller that wants to respond itself gets the error.
#[test]
fn errors_are_returned_to_those_who_want_them() {
    let tree = Tree::of(&[("file", b"content")]);
    let files = tree.serve();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let of = |response: FileResponse| {
        let headers = HeaderMap::new();
        let tried = response.try_respond(&Method::GET, &headers);
        let tried = runtime.block_on(tried);
        tried.map(|it| it.status().as_u16()).map_err(|it| it.kind())
    };
    let path = |name: &str| -> PathBuf { tree.path(name) };
    for (response, expected) in [
        (FileResponse::path(path("file")), Ok(200)),
        (FileResponse::path(path("absent")), Err(NotFound)),
        (FileResponse::path(path("file/below")), Err(NotADirectory)),
        (FileResponse::path(tree.root()), Err(NotFound)),
        (
            FileResponse::file(File::open("/dev/null").unwrap()),
            Err(NotFound),
        ),
        (FileResponse::below(&files, "file"), Ok(200)),
        (FileResponse::below(&files, "absent"), Err(NotFound)),
        // No file has such a name.
        (FileResponse::below(&files, "nul\0"), Ok(400)),
    ] {
        let message = format!("{response:?}");
        assert_eq!(of(response), expected, "{message}");
    }
}
