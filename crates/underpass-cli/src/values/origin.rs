//! The origin of a web page, as `--cors` takes it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::HeaderValue;

use super::domain_name::{LONGEST_LABEL, LONGEST_NAME};

/// An origin `https://HOST[:PORT]`, or all origins.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Any,
    One(HeaderValue),
}

/// Pages never have these origins: there are no pages, or their origin is sent as `null`.
const WITHOUT_ORIGIN: [&str; 8] = [
    "about",
    "blob",
    "data",
    "file",
    "ftp",
    "javascript",
    "ws",
    "wss",
];

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        check(text).map(Self::One).map_err(|reason| {
            format!(
                "{text:?} is neither an origin, such as https://example.org or http://localhost:3000, nor *: {reason}"
            )
        })
    }
}

/// Origins are compared byte by byte, so one that browsers spell otherwise would never match.
fn check(text: &str) -> Result<HeaderValue, String> {
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err("it does not begin with https:// or http://".to_owned());
    };
    if !is_scheme(scheme) {
        return Err(format!("{scheme:?} is not the scheme of a URL"));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("browsers send it in lower case".to_owned());
    }
    if authority.contains(['/', '?', '#']) {
        return Err("an origin has no path, not even a slash at its end".to_owned());
    }
    if authority.contains('@') {
        return Err("an origin has no user".to_owned());
    }
    if authority.contains('*') {
        return Err("a pattern matches no origin: list each, or allow all by *".to_owned());
    }
    if WITHOUT_ORIGIN.contains(&scheme) {
        return Err(format!("no page has an origin of {scheme}:"));
    }
    let (host, port) = split_port(authority);
    check_host(host)?;
    if let Some(port) = port {
        check_port(scheme, port)?;
    }
    HeaderValue::from_str(text).map_err(|_| "it is not a URL".to_owned())
}

/// The scheme of a URL (RFC 3986 section 3.1).
fn is_scheme(scheme: &str) -> bool {
    let is_in_schemes = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_in_schemes)
}

/// The host, with its brackets, and the port.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let address_end = authority.rfind(']').unwrap_or_default();
    match authority[address_end..].rfind(':') {
        Some(colon) => {
            let colon = address_end + colon;
            (&authority[..colon], Some(&authority[colon + 1..]))
        }
        None => (authority, None),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        let Ok(parsed) = address.parse::<Ipv6Addr>() else {
            return Err(format!("{host} is not an IPv6 address"));
        };
        // Browsers write the last part of a mapped address in hexadecimal, Rust as an IPv4 address.
        let is_short = parsed.to_ipv4_mapped().is_some() || parsed.to_string() == address;
        return if is_short {
            Ok(())
        } else {
            Err(format!("browsers write the address as [{parsed}]"))
        };
    }
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if labels.clone().next_back().is_some_and(is_number) && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{host} is neither a name nor an IPv4 address"));
    }
    let is_label = |label: &str| {
        let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(is_in_names)
    };
    if !host.is_ascii() {
        return Err("browsers send other letters than a-z in punycode (xn--…)".to_owned());
    }
    if host.len() > LONGEST_NAME || !labels.clone().all(is_label) {
        return Err(format!("{host:?} is not the name of a host"));
    }
    Ok(())
}

fn check_port(scheme: &str, port: &str) -> Result<(), String> {
    let number = port.parse::<u16>().ok().filter(|number| *number > 0);
    match number {
        Some(number) if number.to_string() != port => Err(format!("the port is written {number}")),
        Some(80) if scheme == "http" => Err("browsers leave the default port 80 out".to_owned()),
        Some(443) if scheme == "https" => Err("browsers leave the default port 443 out".to_owned()),
        Some(_) => Ok(()),
        None => Err(format!("{port:?} is not a port from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for text in [
            "*",
            "https://example.org",
            "https://xn--bcher-kva.example",
            "https://a_b.example.",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://[::1]",
            "http://[::ffff:102:304]",
            "https://example.org:80",
            // Applications in a web view, and extensions.
            "capacitor://localhost",
            "tauri://localhost",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0a1b2c3d-0000-4000-8000-000000000000",
        ] {
            assert!(text.parse::<Origin>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        let long = format!("https://{}.example", "a".repeat(64));
        for (text, reason) in [
            ("", "does not begin"),
            ("null", "does not begin"),
            ("a b", "does not begin"),
            ("example.org", "does not begin"),
            ("https:example.org", "does not begin"),
            ("https://example.org/", "no path"),
            ("https://a/b", "no path"),
            ("https://a?b", "no path"),
            ("https://a#b", "no path"),
            ("HTTPS://a", "lower case"),
            ("https://Example.org", "lower case"),
            ("https://ann@example.org", "no user"),
            ("https://ann:secret@example.org", "no user"),
            ("https://*.example.org", "pattern"),
            ("https://*", "pattern"),
            ("ftp://example.org", "ftp:"),
            ("file://", "file:"),
            ("ws://example.org", "ws:"),
            ("https://", "no host"),
            ("https://:8080", "no host"),
            ("https://[::1", "not an IPv6 address"),
            ("https://[1.2.3.4]", "not an IPv6 address"),
            ("https://[::1]x", "not an IPv6 address"),
            ("https://[0:0:0:0:0:0:0:1]", "[::1]"),
            ("https://1.2.3.256", "IPv4"),
            ("https://1.2.3", "IPv4"),
            ("https://bücher.example", "punycode"),
            ("https://a..b", "name of a host"),
            ("https://a b", "name of a host"),
            ("https://a%20b", "name of a host"),
            (&long, "name of a host"),
            ("https://a:", "not a port"),
            ("https://a:0", "not a port"),
            ("https://a:65536", "not a port"),
            ("https://a:http", "not a port"),
            ("https://a:+8080", "written 8080"),
            ("https://a:08080", "written 8080"),
            ("https://a:443", "default port 443"),
            ("http://a:80", "default port 80"),
            ("1http://a", "scheme"),
            ("h_ttp://a", "scheme"),
            ("://a", "scheme"),
        ] {
            let error = text.parse::<Origin>().expect_err(text);
            assert!(error.contains(reason), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
