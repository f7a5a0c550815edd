//! Reads headers of the PROXY protocol.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ProxiedAddresses;

/// The bytes that tell the versions apart. No header is shorter: the shortest is
/// `PROXY UNKNOWN\r\n`.
pub(super) const FIRST: usize = 12;

/// The longest line of version 1, with its end (section 2.1 of the specification).
pub(super) const LINE: usize = 107;

/// The fixed part of version 2.
pub(super) const V2_HEAD: usize = 16;

/// The most that may follow the fixed part of version 2. Addresses take up to 216 bytes; a proxy
/// may add what it knows of its client's TLS, which is more with a certificate.
const V2_MOST: usize = 4 << 10;

/// With what version 2 begins. No other protocol begins so.
const SIGNATURE: [u8; FIRST] = *b"\r\n\r\n\0\r\nQUIT\n";

/// With what version 1 begins.
const WORD: &[u8] = b"PROXY ";

/// Which version it is.
pub(super) enum Start {
    /// Version 1.
    Line,
    /// Version 2.
    Binary,
}

/// Checks that a header of either version can begin like this.
pub(super) fn begins(bytes: &[u8]) -> io::Result<()> {
    let word = &WORD[..WORD.len().min(bytes.len())];
    if SIGNATURE.starts_with(bytes) || bytes.starts_with(word) {
        return Ok(());
    }
    invalid("the connection does not begin with a PROXY protocol header")
}

/// The version, after [`begins`] has accepted all of these bytes.
pub(super) fn start(bytes: &[u8; FIRST]) -> Start {
    if *bytes == SIGNATURE {
        Start::Binary
    } else {
        Start::Line
    }
}

/// Reads version 1: `PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n`.
pub(super) fn read_line(line: &[u8]) -> io::Result<Option<ProxiedAddresses>> {
    let wrong = "the PROXY protocol header is not a line of version 1";
    let Some(text) = line.strip_suffix(b"\r\n").map(str::from_utf8) else {
        return invalid("the PROXY protocol header has no end, or is too long");
    };
    let words: Vec<_> = text.unwrap_or_default().split(' ').collect();
    match words.as_slice() {
        // What follows has no meaning.
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            from,
            to,
            from_port,
            to_port,
        ] => {
            let end = |address: &str, number: &str| {
                let ip: IpAddr = address.parse().ok()?;
                let is_v4 = *family == "TCP4";
                (ip.is_ipv4() == is_v4).then_some(SocketAddr::new(ip, port(number)?))
            };
            match (end(from, from_port), end(to, to_port)) {
                (Some(source), Some(destination)) => Ok(Some(ProxiedAddresses {
                    source,
                    destination,
                })),
                _ => invalid(wrong),
            }
        }
        _ => invalid(wrong),
    }
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = text.len() > 1 && text.starts_with('0');
    (is_number && !has_zeros).then(|| text.parse().ok())?
}

/// The number of bytes that follow the fixed part of version 2.
pub(super) fn length(head: [u8; V2_HEAD]) -> io::Result<usize> {
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > V2_MOST {
        return invalid("the PROXY protocol header is too long");
    }
    Ok(length)
}

/// Reads version 2: its fixed part, and what follows.
pub(super) fn read_binary(
    head: [u8; V2_HEAD],
    rest: &[u8],
) -> io::Result<Option<ProxiedAddresses>> {
    let (version, command) = (head[12] >> 4, head[12] & 0xF);
    let (family, transport) = (head[13] >> 4, head[13] & 0xF);
    let found = match (version, command, family, transport) {
        // LOCAL: the proxy's own connection, such as a health check.
        (2, 0, ..) => return Ok(None),
        // Unspecified, or Unix sockets, whose names say nothing here.
        (2, 1, 0, _) | (2, 1, 3, 1) => return Ok(None),
        (2, 1, 1, 1) => ends(rest, |ip: [u8; 4]| Ipv4Addr::from(ip).into()),
        (2, 1, 2, 1) => ends(rest, |ip: [u8; 16]| Ipv6Addr::from(ip).into()),
        _ => None,
    };
    match found {
        Some(addresses) => Ok(Some(addresses)),
        None => invalid("the PROXY protocol header is not one of version 2 for a stream"),
    }
}

/// Both addresses, then both ports. What follows are additions that nobody here needs.
fn ends<const N: usize>(
    bytes: &[u8],
    address: impl Fn([u8; N]) -> IpAddr,
) -> Option<ProxiedAddresses> {
    let (source, bytes) = bytes.split_first_chunk()?;
    let (destination, bytes) = bytes.split_first_chunk()?;
    let (ports, _) = bytes.split_first_chunk::<4>()?;
    let end = |ip, port| SocketAddr::new(address(ip), u16::from_be_bytes(port));
    Some(ProxiedAddresses {
        source: end(*source, [ports[0], ports[1]]),
        destination: end(*destination, [ports[2], ports[3]]),
    })
}

fn invalid<T>(told: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, told))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Result<Option<(String, String)>, ()> {
        let read = read_line(text.as_bytes()).map_err(|_| ())?;
        Ok(read.map(|it| (it.source.to_string(), it.destination.to_string())))
    }

    #[test]
    fn lines_of_version_1() {
        let ends = |one: &str, other: &str| Ok(Some((one.to_owned(), other.to_owned())));
        for (text, expected) in [
            (
                "PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n",
                ends("192.0.2.7:5000", "192.0.2.1:80"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n",
                ends("[2001:db8::1]:0", "[::1]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN ffff:f...f:ffff 1 2\r\n", Ok(None)),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\n", Err(())),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 5000 80", Err(())),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 5000\r\n", Err(())),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 5000 80 \r\n", Err(())),
            ("PROXY TCP4  192.0.2.7 192.0.2.1 5000 80\r\n", Err(())),
            ("PROXY TCP4 ::1 ::1 5000 80\r\n", Err(())),
            ("PROXY TCP6 192.0.2.7 192.0.2.1 5000 80\r\n", Err(())),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 +5000 80\r\n", Err(())),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 65536 80\r\n", Err(())),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 080 80\r\n", Err(())),
            ("PROXY TCP4 192.0.2.7 192.0.2.1  80\r\n", Err(())),
            ("PROXY TCP4 192.0.2.256 192.0.2.1 1 80\r\n", Err(())),
            ("PROXY UDP4 192.0.2.7 192.0.2.1 5000 80\r\n", Err(())),
            ("PROXY \r\n", Err(())),
        ] {
            assert_eq!(line(text), expected, "{text:?}");
        }
    }

    fn head(command: u8, family: u8, length: u16) -> [u8; V2_HEAD] {
        let mut head = [0; V2_HEAD];
        head[..FIRST].copy_from_slice(&SIGNATURE);
        (head[12], head[13]) = (command, family);
        head[14..].copy_from_slice(&length.to_be_bytes());
        head
    }

    #[test]
    fn headers_of_version_2() {
        let rest = [1, 2, 3, 4, 5, 6, 7, 8, 0x13, 0x88, 0, 80, 0xEE];
        let read = |command, family, rest: &[u8]| {
            let head = head(command, family, rest.len() as u16);
            read_binary(head, rest).map_err(|_| ())
        };
        let found = read(0x21, 0x11, &rest).unwrap().unwrap();
        assert_eq!(found.source, "1.2.3.4:5000".parse().unwrap());
        assert_eq!(found.destination, "5.6.7.8:80".parse().unwrap());
        assert_eq!(read(0x20, 0x11, &rest), Ok(None));
        assert_eq!(read(0x20, 0x00, &[]), Ok(None));
        assert_eq!(read(0x21, 0x00, &rest), Ok(None));
        assert_eq!(read(0x21, 0x31, &[0; 216]), Ok(None));
        for (command, family, rest) in [
            (0x21, 0x11, &rest[..11]),
            (0x21, 0x21, &rest[..]),
            (0x21, 0x12, &rest[..]),
            (0x21, 0x41, &rest[..]),
            (0x22, 0x11, &rest[..]),
            (0x11, 0x11, &rest[..]),
            (0x31, 0x11, &rest[..]),
        ] {
            assert_eq!(read(command, family, rest), Err(()), "{command} {family}");
        }
        assert_eq!(length(head(0x21, 0x11, 4096)).unwrap(), 4096);
        assert!(length(head(0x21, 0x11, 4097)).is_err());
    }

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for bytes in [
            &b"G"[..],
            b"GET / HTTP/1",
            b"\x16\x03\x01",
            b"PROXX",
            b"\r\n\r\n\r",
        ] {
            assert!(begins(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        for bytes in [&b"P"[..], b"PROXY TCP4 1", b"\r", &SIGNATURE] {
            assert!(begins(bytes).is_ok(), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(one: SocketAddr, other: SocketAddr) {
            prop_assume!(one.is_ipv4() == other.is_ipv4());
            let family = if one.is_ipv4() { "TCP4" } else { "TCP6" };
            let text = format!("PROXY {family} {} {} {} {}\r\n", one.ip(), other.ip(), one.port(), other.port());
            let read = line(&text).unwrap().unwrap();
            let plain = |it: SocketAddr| SocketAddr::new(it.ip(), it.port()).to_string();
            prop_assert_eq!(read, (plain(one), plain(other)));
        }

        #[test]
        fn any_line_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = read_line(&bytes);
            let _ = read_binary(head(0x21, 0x21, 0), &bytes);
        }
    }
}
