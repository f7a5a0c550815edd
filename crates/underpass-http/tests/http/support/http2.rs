//! Requests over HTTP/2, made by hyper's client.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::Reply;

/// Nothing in a passing test takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes one request on a new connection. `fields` are the lines of a head.
#[track_caller]
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    content: &[u8],
) -> Reply {
    let request = request(method, path, fields, content);
    let replied = block_on(async {
        let socket = TokioIo::new(crate::wire::connect(address).await?);
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), socket).await?;
        let driver = tokio::spawn(connection);
        let response = client.send_request(request).await?;
        let reply = reply(response).await?;
        drop(client);
        let ended = driver.await?;
        // Both peers close at once. If the server is first, the client's close_notify is answered
        // by a reset, which hyper reports.
        if !crate::TRANSPORT.is_tls() {
            ended?;
        }
        Ok::<_, Box<dyn std::error::Error>>(reply)
    });
    replied.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
}

fn request(method: &str, path: &str, fields: &str, content: &[u8]) -> Request<Full<Bytes>> {
    let uri = format!("{}://localhost{path}", crate::wire::SCHEME);
    let mut request = Request::builder().method(method).uri(uri);
    for line in fields.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a field");
        // In HTTP/2, connections have no fields.
        if !name.eq_ignore_ascii_case("connection") {
            request = request.header(name, value.trim());
        }
    }
    let content = Bytes::copy_from_slice(content);
    request.body(Full::new(content)).unwrap()
}

/// Reads a response to its end.
async fn reply(response: Response<Incoming>) -> hyper::Result<Reply> {
    let (head, body) = response.into_parts();
    let fields = head.headers.iter().map(|(name, value)| {
        let value = value.to_str().expect("fields are ASCII");
        (name.as_str().to_owned(), value.to_owned())
    });
    Ok(Reply {
        version: format!("{:?}", head.version),
        status: head.status.as_u16(),
        fields: fields.collect(),
        body: body.collect().await?.to_bytes().to_vec(),
    })
}

#[track_caller]
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limited = async { tokio::time::timeout(PATIENCE, future).await };
    runtime.block_on(limited).expect("it takes too long")
}
