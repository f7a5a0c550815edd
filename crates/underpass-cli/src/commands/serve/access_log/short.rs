//! Lines for people: `14:02:11 192.0.2.7 GET /video.mp4 206 1.2 MiB 12 ms`.

use std::io::Write;
use std::net::IpAddr;

use underpass::units;
use underpass_http::Exchange;

use super::combined::{escaped, host, request_line};
use crate::commands::serve::auth;
use crate::values::date;

pub(super) fn line(line: &mut Vec<u8>, exchange: &Exchange, client: Option<IpAddr>, users: bool) {
    let request = exchange.request.as_deref();
    // Writing to memory does not fail.
    let _ = write!(line, "{} {} ", date::local_time(exchange.at), host(client));
    let user = request
        .and_then(|request| request.authorization.as_ref())
        .filter(|_| users)
        .and_then(auth::name_in);
    if let Some(user) = user {
        escaped(line, user.as_bytes());
        line.push(b' ');
    }
    match request {
        // The version says little.
        Some(it) => escaped(line, format!("{} {}", it.method, it.uri).as_bytes()),
        None => escaped(line, &request_line(exchange)),
    }
    let _ = match exchange.status {
        Some(status) => write!(line, " {}", status.as_u16()),
        None => write!(line, " -"),
    };
    let (size, elapsed) = (
        units::size(exchange.bytes),
        units::duration(exchange.elapsed),
    );
    let _ = write!(line, " {size} {elapsed}");
    if !exchange.complete {
        line.extend_from_slice(b" (broke off)");
    }
    line.push(b'\n');
}
