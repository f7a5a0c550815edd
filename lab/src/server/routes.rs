//! The routes that underpass took, from its metrics.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Context, Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes sent so far by route, including heads: the metric `name`.
pub(crate) fn ask(metrics: SocketAddr, name: &str) -> Result<BTreeMap<String, u64>> {
    match parse(&page(metrics)?, name) {
        routes if routes.is_empty() => Err(Error::new("underpass tells nothing of its routes")),
        routes => Ok(routes),
    }
}

/// The counter `name`, which has no labels.
pub(crate) fn counter(metrics: SocketAddr, name: &str) -> Result<u64> {
    let told = value(&page(metrics)?, name);
    told.ok_or_else(|| Error::new(format!("underpass has no metric {name}")))
}

fn page(metrics: SocketAddr) -> Result<String> {
    let mut page = String::new();
    TcpStream::connect(metrics)
        .and_then(|mut socket| {
            socket.set_read_timeout(Some(PATIENCE))?;
            let ask =
                format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
            socket.write_all(ask.as_bytes())?;
            socket.read_to_string(&mut page)
        })
        .context(|| "cannot ask underpass for its metrics".into())?;
    Ok(page)
}

/// Checks that `bytes` of bodies were sent by `route`: either all of them by sendfile, or all
/// written and none by sendfile.
pub(crate) fn check(routes: &BTreeMap<String, u64>, route: &str, bytes: u64) -> Result<()> {
    let by = |name: &str| routes.get(name).copied().unwrap_or(0);
    let others: u64 = match route {
        // Heads are written.
        "sendfile" => 0,
        _ => routes.values().sum::<u64>() - by(route),
    };
    if by(route) >= bytes && others == 0 {
        return Ok(());
    }
    Err(Error::new(format!(
        "not by {route}: {bytes} bytes arrived, {routes:?} were sent"
    )))
}

fn value(page: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(value)
}

fn parse(page: &str, name: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (route, count) = line
            .strip_prefix(name)?
            .strip_prefix("{route=\"")?
            .split_once("\"} ")?;
        Some((route.to_owned(), count.trim().parse().ok()?))
    };
    page.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_held_against_what_arrived() {
        let page = "# TYPE x\nunderpass_http_response_bytes_total{route=\"sendfile\"} 1000\n\
            underpass_http_response_bytes_total{route=\"write\"} 20\nother 3\n";
        let routes = parse(page, "underpass_http_response_bytes_total");
        assert_eq!(routes.len(), 2);
        assert_eq!((value(page, "other"), value(page, "oth")), (Some(3), None));
        assert!(check(&routes, "sendfile", 1000).is_ok());
        assert!(check(&routes, "sendfile", 1001).is_err());
        assert!(check(&routes, "write", 10).is_err());
        let written = BTreeMap::from([("sendfile".to_owned(), 0), ("write".to_owned(), 20)]);
        assert!(check(&written, "write", 20).is_ok());
        assert!(check(&written, "sendfile", 20).is_err());
    }
}
