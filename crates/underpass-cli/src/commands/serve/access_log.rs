//! The access log: a line for every request.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;
use underpass_http::{Exchange, TlsConnection, TrustedProxies};

use super::auth;

use crate::exit::Failure;
use crate::report;
use crate::server::{LogSender, LogWriter};
use crate::values::{AccessLogForm as Form, date};

mod combined;
mod short;

/// Queues exchanges to be logged.
pub(crate) type AccessLog = LogSender<Box<Exchange>>;

/// Starts the log's thread. `users` says whether user names are checked, and so are worth logging;
/// `proxies` are believed who their clients are.
pub(super) fn start(
    form: Form,
    path: Option<&Path>,
    users: bool,
    proxies: TrustedProxies,
) -> Result<LogWriter<Box<Exchange>>, Failure> {
    LogSender::start("access log", path, move |batch, exchange: Box<Exchange>| {
        let client = proxies.client_of(&exchange);
        match form {
            Form::None => {}
            Form::Short => short::line(batch, &exchange, client, users),
            Form::Json => json_line(batch, &exchange, client, users),
            Form::Combined => {
                combined::line(batch, &exchange, client, users);
                if !exchange.complete {
                    // The format has no field for this.
                    report::notice(combined::incomplete(&exchange, client));
                }
            }
        }
    })
}

/// A line of the JSON format. Unknown values are null.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    /// The client: the peer, or whom a trusted proxy names.
    peer: Option<String>,
    /// The trusted proxy that the client came by.
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    user: Option<String>,
    method: Option<&'a str>,
    target: Option<String>,
    version: Option<String>,
    /// The number of the request's stream, in HTTP/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u32>,
    /// The malformed request line, if there was no valid request.
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<Cow<'a, str>>,
    status: Option<u16>,
    bytes: u64,
    complete: bool,
    seconds: f64,
    referer: Option<String>,
    user_agent: Option<String>,
    tls: Option<JsonTls<'a>>,
}

#[derive(Serialize)]
struct JsonTls<'a> {
    version: String,
    cipher: String,
    /// Who encrypts: `kernel` or `user`.
    mode: &'static str,
    resumed: bool,
    server_name: Option<&'a str>,
    /// The fingerprint of the client's key.
    client: Option<&'a str>,
}

impl<'a> JsonTls<'a> {
    fn of(connection: &'a TlsConnection) -> Self {
        let tls = &connection.tls;
        Self {
            version: tls.version.to_string(),
            cipher: tls.cipher.to_string(),
            mode: if tls.is_in_kernel() { "kernel" } else { "user" },
            resumed: connection.resumed,
            server_name: connection.server_name.as_deref(),
            client: connection.client.as_deref(),
        }
    }
}

fn json_line(line: &mut Vec<u8>, exchange: &Exchange, client: Option<IpAddr>, users: bool) {
    let peer = exchange.peer.map(|peer| peer.ip().to_canonical());
    let request = exchange.request.as_deref();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let authorization = request.and_then(|request| request.authorization.as_ref());
    let object = JsonLine {
        time: date::rfc3339(exchange.at),
        peer: client.map(|address| address.to_string()),
        proxy: peer
            .filter(|_| client != peer)
            .map(|address| address.to_string()),
        user: authorization.filter(|_| users).and_then(auth::name_in),
        method: request.map(|request| request.method.as_str()),
        target: request.map(|request| request.uri.to_string()),
        version: request.map(|request| format!("{:?}", request.version)),
        stream: exchange.stream,
        malformed: exchange.malformed.as_deref().map(String::from_utf8_lossy),
        status: exchange.status.map(|status| status.as_u16()),
        bytes: exchange.bytes,
        complete: exchange.complete,
        seconds: (exchange.elapsed.as_secs_f64() * 1e6).round() / 1e6,
        referer: request
            .and_then(|request| request.referer.as_ref())
            .map(text),
        user_agent: request
            .and_then(|request| request.user_agent.as_ref())
            .map(text),
        tls: exchange.tls.as_deref().map(JsonTls::of),
    };
    // Strings and numbers can always be written to memory.
    let _ = serde_json::to_writer(&mut *line, &object);
    line.push(b'\n');
}
