//! The value of a `Host` field.

use std::net::Ipv6Addr;

/// Whether a field is `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2). A
/// name has no empty labels, but may end in a dot. An empty field is valid.
pub(crate) fn is_host(field: &[u8]) -> bool {
    let (host, port) = split_port(field);
    let is_port = port.is_none_or(|port| {
        let port = std::str::from_utf8(port).unwrap_or("x");
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        is_number && (port.is_empty() || port.parse::<u16>().is_ok())
    });
    let is_literal = || {
        let literal = host.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]"));
        let literal = literal.and_then(|it| std::str::from_utf8(it).ok());
        literal.is_some_and(|it| {
            // A zone (RFC 6874) has a meaning for the client only, but some clients send it.
            let (address, zone) = it.split_once('%').unwrap_or((it, "-"));
            address.parse::<Ipv6Addr>().is_ok() && is_name(zone.as_bytes())
        })
    };
    is_port && (field.is_empty() || is_name(host) || is_literal())
}

/// Splits at the colon after the host. Colons of an IPv6 address are in brackets.
fn split_port(field: &[u8]) -> (&[u8], Option<&[u8]>) {
    let host = memchr::memrchr(b']', field).map_or(0, |end| end + 1);
    match memchr::memchr(b':', &field[host..]) {
        Some(colon) => (&field[..host + colon], Some(&field[host + colon + 1..])),
        None => (field, None),
    }
}

fn is_name(host: &[u8]) -> bool {
    let name = host.strip_suffix(b".").unwrap_or(host);
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_~!$&'()*+,;=%".contains(byte);
    name.split(|byte| *byte == b'.')
        .all(|label| !label.is_empty() && label.iter().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_the_rfcs_call_so() {
        for host in [
            "",
            "a",
            "a.b.",
            "a_b-c.d",
            "127.0.0.1:80",
            "a:",
            "a:65535",
            "a%41",
            "[::1]",
            "[2001:db8::1]:8080",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]:80",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            ".",
            "a..b",
            ".a",
            "a..",
            ":80",
            ":",
            "[::1",
            "::1",
            "[::1]80",
            "[]",
            "[::1%]",
            "[a]",
            "a:98777",
            "a:b",
            "a:-1",
            "a:+1",
            "a:1:2",
            "a b",
            "a/b",
            "u@a",
            "[::1]:80:80",
            "a]:80",
            "\u{e9}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
