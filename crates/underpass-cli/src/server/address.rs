//! `HOST:PORT`, `:PORT` and `unix:PATH`; `tcp://` may stand before a host.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::values::address;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host name or number with a port; IPv6 numbers in brackets.
    Host(String),
    /// A port on every address of this machine.
    Port(u16),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        address::no_datagrams(text)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(format!("{text:?} names no path; write unix:/run/some.sock")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let Some((host, port)) = text.strip_prefix("tcp://").unwrap_or(text).rsplit_once(':')
        else {
            return Err(format!("{text:?} is not an address; {}", likely(text)));
        };
        if host.contains('/') || port.contains('/') {
            return Err(format!(
                "{text:?}: only HOST:PORT, without http:// or a path"
            ));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(format!(
                "{text:?}: an IPv6 number stands in brackets, as in [::1]:8080"
            ));
        }
        let port = port
            .parse()
            .map_err(|_| format!("{text:?}: {port:?} is not a port (0 to 65535)"))?;
        match host {
            "" | "*" => Ok(Self::Port(port)),
            host => Ok(Self::Host(format!("{host}:{port}"))),
        }
    }
}

/// What was meant by a text without a colon.
fn likely(text: &str) -> String {
    if text.parse::<u16>().is_ok() {
        return format!(
            "write :{text} for every address, or 127.0.0.1:{text} for this machine only"
        );
    }
    if text.is_empty() {
        return "write 127.0.0.1:8080, :8080 or unix:PATH".to_owned();
    }
    if text.contains('/') {
        return format!("write unix:{text} for a Unix socket");
    }
    format!("write {text}:8080, :8080 or unix:PATH")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Port(port) => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_told_apart() {
        let host = |host: &str| Ok(Address::Host(host.to_owned()));
        assert_eq!("localhost:80".parse(), host("localhost:80"));
        assert_eq!("[::1]:8080".parse(), host("[::1]:8080"));
        assert_eq!("[fe80::1%eth0]:80".parse(), host("[fe80::1%eth0]:80"));
        assert_eq!("tcp://localhost:80".parse(), host("localhost:80"));
        assert_eq!(":8080".parse(), Ok(Address::Port(8080)));
        assert_eq!("*:8080".parse(), Ok(Address::Port(8080)));
        assert_eq!("unix:a b".parse(), Ok(Address::Unix("a b".into())));
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        let table = [
            ("8080", ":8080"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("localhost", "localhost:8080"),
            ("http://localhost:80", "without http://"),
            ("localhost:80/x", "without http://"),
            ("::1:80", "brackets"),
            ("h:70000", "not a port"),
            ("h:", "not a port"),
            ("unix:", "names no path"),
            ("udp://localhost:80", "UDP"),
        ];
        for (text, word) in table {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_prints_the_same(host in "[a-z0-9.-]{1,20}", port: u16, path in "/[a-z0-9 ]{1,20}") {
            for text in [format!("{host}:{port}"), format!(":{port}"), format!("unix:{path}")] {
                prop_assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
            }
        }

        #[test]
        fn any_text_is_an_answer_not_a_panic(text in ".*") {
            let _ = text.parse::<Address>();
        }
    }
}
