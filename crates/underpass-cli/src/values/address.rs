//! The address of a peer or a listener: `tcp://HOST:PORT`, `HOST:PORT`, `:PORT` or `unix:PATH`.
//!
//! Every command takes every form. Messages and receipts show the form with its scheme.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen, or where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host name or IP address with a port; IPv6 addresses in brackets.
    Tcp(String),
    /// A port alone: every address of this machine to listen at, this machine to connect to.
    Port(u16),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether `text` begins with the scheme of an address, and so cannot mean a file.
    pub(crate) fn has_scheme(text: &str) -> bool {
        ["tcp://", "unix:", "tls://", "udp://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }

    /// The short form: `HOST:PORT`, `:PORT` or `unix:PATH`.
    pub(crate) fn short(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("tcp://").unwrap_or(&text).to_owned()
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        refuse_other_schemes(text)?;
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(format!("{text:?} names no path; write unix:/run/some.sock")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let after_scheme = text.strip_prefix("tcp://");
        let Some((host, port)) = after_scheme.unwrap_or(text).rsplit_once(':') else {
            return Err(match after_scheme {
                Some(_) => format!("{text:?} names no port; write tcp://HOST:PORT"),
                None => format!("{text:?} is not an address; {}", likely(text)),
            });
        };
        if host.contains('/') || port.contains('/') {
            return Err(format!(
                "{text:?}: only HOST:PORT, without http:// or a path"
            ));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(format!(
                "{text:?}: an IPv6 address needs brackets, as in [::1]:8080"
            ));
        }
        let port: u16 = port
            .parse()
            .map_err(|_| format!("{text:?}: {port:?} is not a port (0 to 65535)"))?;
        match host {
            "" | "*" => Ok(Self::Port(port)),
            host => Ok(Self::Tcp(format!("{host}:{port}"))),
        }
    }
}

fn refuse_other_schemes(text: &str) -> Result<(), String> {
    if let Some(rest) = text.strip_prefix("udp://") {
        // UDP guarantees neither that bytes arrive nor their order.
        return Err(format!(
            "{text:?}: transfers need a stream, and UDP is not a stream; write tcp://{rest} or unix:PATH"
        ));
    }
    if let Some(rest) = text.strip_prefix("tls://") {
        return Err(format!(
            "{text:?}: TLS is not built yet; write tcp://{rest}, which does not encrypt"
        ));
    }
    Ok(())
}

/// A guess at what was meant by a text without a colon.
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
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Port(port) => write!(f, "tcp://:{port}"),
            // Two slashes at the beginning would be read as part of the scheme.
            Self::Unix(path) if path.to_string_lossy().starts_with("//") => {
                write!(f, "unix://{}", path.display())
            }
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
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        let table = [
            ("localhost:80", tcp("localhost:80")),
            ("[::1]:8080", tcp("[::1]:8080")),
            ("[fe80::1%eth0]:9", tcp("[fe80::1%eth0]:9")),
            (":8080", Ok(Address::Port(8080))),
            ("*:8080", Ok(Address::Port(8080))),
        ];
        for (text, address) in table {
            assert_eq!(text.parse(), address, "{text}");
            assert_eq!(format!("tcp://{text}").parse(), address, "{text}");
        }
        assert_eq!("unix:/a b".parse(), unix("/a b"));
        assert_eq!("unix:a".parse(), unix("a"));
        assert_eq!("unix:///a".parse(), unix("/a"));
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        let table = [
            ("8080", ":8080"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("localhost", "localhost:8080"),
            ("tcp://", "names no port"),
            ("tcp://h", "names no port"),
            ("http://localhost:80", "without http://"),
            ("localhost:80/x", "without http://"),
            ("::1:80", "brackets"),
            ("tcp://::1:80", "brackets"),
            ("h:70000", "not a port"),
            ("tcp://h:70000", "not a port"),
            ("h:", "not a port"),
            ("unix:", "names no path"),
            ("udp://localhost:80", "UDP"),
            ("tls://localhost:80", "not built yet"),
        ];
        for (text, word) in table {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_prints_the_same(
            host in "[a-z0-9.-]{1,20}",
            port: u16,
            path in "/{1,4}[a-z0-9 ]{1,20}",
        ) {
            for text in [format!("tcp://{host}:{port}"), format!("tcp://:{port}")] {
                let address: Address = text.parse().unwrap();
                prop_assert_eq!(address.short().parse::<Address>().unwrap(), address.clone());
                prop_assert_eq!(address.to_string(), text);
            }
            let unix = Address::Unix(path.into());
            prop_assert_eq!(unix.to_string().parse::<Address>().unwrap(), unix);
        }

        #[test]
        fn any_text_is_an_answer_not_a_panic(text in ".*") {
            let _ = text.parse::<Address>();
        }
    }
}
