//! `tcp://HOST:PORT` and `unix:PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host name or number with a port; IPv6 numbers in brackets.
    Tcp(String),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether `text` means an address rather than a file.
    pub(crate) fn is_meant(text: &str) -> bool {
        ["tcp://", "unix:", "udp://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }
}

/// UDP promises neither that bytes arrive nor in which order.
pub(crate) fn no_datagrams(text: &str) -> Result<(), String> {
    match text.strip_prefix("udp://") {
        Some(host) => Err(format!(
            "{text:?}: transfers need a stream, and UDP is none; write tcp://{host} or unix:PATH"
        )),
        None => Ok(()),
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        no_datagrams(text)?;
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(format!("{text:?} names no path; write unix:/run/some.sock")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let Some(rest) = text.strip_prefix("tcp://") else {
            return Err(format!(
                "{text:?} is not an address; write tcp://HOST:PORT or unix:PATH"
            ));
        };
        match rest.rsplit_once(':') {
            Some(("", _)) => Err(format!("{text:?} names no host; write tcp://HOST:PORT")),
            Some((host, _)) if host.contains(':') && !host.starts_with('[') => Err(format!(
                "{text:?}: an IPv6 number stands in brackets, as in tcp://[::1]:9000"
            )),
            Some((_, port)) if port.parse::<u16>().is_ok() => Ok(Self::Tcp(rest.to_owned())),
            Some((_, port)) => Err(format!("{text:?}: {port:?} is not a port (0 to 65535)")),
            None => Err(format!("{text:?} names no port; write tcp://HOST:PORT")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => write!(f, "tcp://{host}"),
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
        let tcp = |host: &str| Ok(Address::Tcp(host.to_owned()));
        assert_eq!("tcp://localhost:80".parse(), tcp("localhost:80"));
        assert_eq!("tcp://[::1]:9000".parse(), tcp("[::1]:9000"));
        assert_eq!("tcp://[fe80::1%eth0]:9".parse(), tcp("[fe80::1%eth0]:9"));
        assert_eq!("unix:/a b".parse(), Ok(Address::Unix("/a b".into())));
        assert_eq!("unix:///a".parse(), Ok(Address::Unix("/a".into())));
        for wrong in [
            "localhost:80",
            "tcp://",
            "tcp://h",
            "tcp://:1",
            "tcp://h:70000",
            "tcp://::1:80",
            "unix:",
            "udp://localhost:80",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_prints_the_same(host in "[a-z0-9.-]{1,20}", port: u16, path in "/[a-z0-9 ]{1,20}") {
            for text in [format!("tcp://{host}:{port}"), format!("unix:{path}")] {
                prop_assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
            }
        }

        #[test]
        fn any_text_is_an_answer_not_a_panic(text in ".*") {
            let _ = text.parse::<Address>();
        }
    }
}
