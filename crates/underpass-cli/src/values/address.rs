//! The address of a peer or a listener: `tcp://HOST:PORT`, `HOST:PORT`, `:PORT`, `unix:PATH` or
//! `tls://HOST:PORT`, which may end in `#` and the fingerprint of the peer's key.
//!
//! Every command takes every form. Messages and receipts show the form with its scheme.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use underpass_tls::Fingerprint;

/// Where to listen, or where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host name or IP address with a port; IPv6 addresses in brackets.
    Tcp(String),
    /// A port alone: every address of this machine to listen at, this machine to connect to.
    Port(u16),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
    /// TLS over TCP.
    Tls(TlsAddress),
}

/// An address with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsAddress {
    /// A host with a port, or a port alone.
    below: Box<Address>,
    /// The key that the peer must have, whatever its certificate says.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl TlsAddress {
    /// The TCP address.
    pub(crate) fn below(&self) -> &Address {
        &self.below
    }

    /// The host that a certificate must be for, without its port: a name or an IP address.
    pub(crate) fn host(&self) -> String {
        let Address::Tcp(host) = &*self.below else {
            return "localhost".to_owned();
        };
        let host = host.rsplit_once(':').map_or(&host[..], |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // The interface of a link-local address is of no interest to its owner.
        host.split('%').next().unwrap_or(host).to_owned()
    }

    fn parse(rest: &str, text: &str) -> Result<Self, String> {
        let (place, fingerprint) = match rest.split_once('#') {
            Some((place, fingerprint)) => (place, Some(fingerprint)),
            None => (rest, None),
        };
        let fingerprint = fingerprint.map(|fingerprint| {
            let parsed: Result<Fingerprint, _> = fingerprint.parse();
            parsed.map_err(|_| {
                format!(
                    "{text:?}: after # stands sha256- and 64 hexadecimal digits, as recv prints it"
                )
            })
        });
        if !place.contains(':') {
            return Err(format!("{text:?} names no port; write tls://HOST:PORT"));
        }
        let below = place.parse().map_err(|why: String| {
            // It is about the part without the scheme.
            why.replacen(&format!("{place:?}"), &format!("{text:?}"), 1)
        })?;
        match below {
            below @ (Address::Tcp(_) | Address::Port(_)) => Ok(Self {
                below: Box::new(below),
                fingerprint: fingerprint.transpose()?,
            }),
            _ => Err(format!(
                "{text:?}: TLS goes over TCP; write tls://HOST:PORT"
            )),
        }
    }
}

impl Address {
    /// Whether `text` begins with the scheme of an address, and so cannot mean a file.
    pub(crate) fn has_scheme(text: &str) -> bool {
        ["tcp://", "unix:", "tls://", "udp://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }

    /// The short form: `HOST:PORT`, `:PORT`, `unix:PATH` or `tls://HOST:PORT`.
    pub(crate) fn short(&self) -> String {
        let text = self.name();
        text.strip_prefix("tcp://").unwrap_or(&text).to_owned()
    }

    /// The address for receipts and messages: without a fingerprint.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tls(tls) => format!("tls://{}", tls.below.short()),
            other => other.to_string(),
        }
    }

    /// The TLS of the address, if it has any.
    pub(crate) fn tls(&self) -> Option<&TlsAddress> {
        match self {
            Self::Tls(tls) => Some(tls),
            Self::Tcp(_) | Self::Port(_) | Self::Unix(_) => None,
        }
    }

    /// The same address with TLS, and the fingerprint of its key. A Unix socket stays as it is.
    pub(crate) fn with_tls(self, fingerprint: Option<Fingerprint>) -> Self {
        match self {
            below @ (Self::Tcp(_) | Self::Port(_)) => Self::Tls(TlsAddress {
                below: Box::new(below),
                fingerprint,
            }),
            Self::Tls(tls) => Self::Tls(TlsAddress { fingerprint, ..tls }),
            Self::Unix(path) => Self::Unix(path),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        refuse_other_schemes(text)?;
        if let Some(rest) = text.strip_prefix("tls://") {
            return TlsAddress::parse(rest, text).map(Self::Tls);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            return unix_path(rest, text).map(|path| Self::Unix(path.into()));
        }
        let after_scheme = text.strip_prefix("tcp://");
        let Some((host, port)) = after_scheme.unwrap_or(text).rsplit_once(':') else {
            return Err(match after_scheme {
                Some(_) => format!("{text:?} names no port; write tcp://HOST:PORT"),
                None => format!("{text:?} is not an address; {}", likely(text)),
            });
        };
        if host.contains('/') || port.contains('/') {
            return Err(format!("{text:?}: only HOST:PORT, without a path"));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(format!(
                "{text:?}: an IPv6 address needs brackets, as in [::1]:8080"
            ));
        }
        if port.is_empty() {
            return Err(format!("{text:?} names no port; write {text}8080"));
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
    match text.split_once("://") {
        Some((scheme, rest)) if !Address::has_scheme(text) => {
            let place = rest.split('/').next().unwrap_or_default();
            let place = match place.parse() {
                Ok(Address::Tcp(_) | Address::Port(_)) => place,
                _ => "HOST:PORT",
            };
            Err(format!(
                "{text:?} is a URL; write {place}, without {scheme}:// and without a path"
            ))
        }
        _ => Ok(()),
    }
}

/// The longest path of a Unix socket in bytes: `sun_path` of unix(7) has 108, the last one is zero.
const LONGEST_UNIX_PATH: usize = 107;

/// The path in an address, whose text is `text`, after `unix:`.
fn unix_path<'a>(rest: &'a str, text: &str) -> Result<&'a str, String> {
    let path = match rest.strip_prefix("//") {
        // As in every URL, a host would stand here; there is none, so a slash follows.
        Some(path) if !path.starts_with('/') && !path.is_empty() => {
            return Err(format!(
                "{text:?}: unix:// is followed by a path from the root; write unix:/{path}, or unix:{path} for a path from here"
            ));
        }
        Some(path) => path,
        None => rest,
    };
    if path.is_empty() {
        return Err(format!("{text:?} names no path; write unix:/run/some.sock"));
    }
    // ss and systemd write the names of abstract sockets so. A file of that name would be none.
    if path.starts_with('@') {
        return Err(format!(
            "{text:?}: sockets without a path (abstract ones) cannot be used; for a file of this name write unix:./{path}"
        ));
    }
    if let Some(below) = path.strip_prefix("~/") {
        return Err(format!(
            "{text:?}: the shell leaves ~ as it is here; write unix:$HOME/{below}"
        ));
    }
    match path.len() {
        ..=LONGEST_UNIX_PATH => Ok(path),
        length => Err(format!(
            "the path has {length} bytes, and a Unix socket's at most {LONGEST_UNIX_PATH}; use a shorter one, or go to its directory and name it from there: unix:NAME"
        )),
    }
}

/// A guess at what was meant by a text without a colon.
fn likely(text: &str) -> String {
    if text.parse::<u16>().is_ok() {
        return format!("write :{text}, or 127.0.0.1:{text} for this machine only");
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("and {text} is not a port either (0 to 65535)");
    }
    if text.is_empty() {
        return "write 127.0.0.1:8080, :8080 or unix:PATH".to_owned();
    }
    let found = std::fs::metadata(text).map(|found| found.file_type());
    if found.is_ok_and(|kind| kind.is_file() || kind.is_dir()) {
        return "it is a file, and an address like backup:9000 belongs here".to_owned();
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
            Self::Tls(tls) => {
                write!(f, "tls://{}", tls.below.short())?;
                match tls.fingerprint {
                    Some(fingerprint) => write!(f, "#{fingerprint}"),
                    None => Ok(()),
                }
            }
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
            ("99999", "not a port either"),
            ("/", "it is a file"),
            ("http://localhost:80", "write localhost:80, without http://"),
            ("https://localhost/x", "write HOST:PORT, without https://"),
            ("localhost:80/x", "without a path"),
            ("unix://a/b", "unix:a/b for a path from here"),
            ("unix:~/a", "unix:$HOME/a"),
            ("unix:@a", "for a file of this name write unix:./@a"),
            ("::1:80", "brackets"),
            ("tcp://::1:80", "brackets"),
            ("h:70000", "not a port"),
            ("tcp://h:70000", "not a port"),
            ("h:", "write h:8080"),
            ("unix:", "names no path"),
            ("udp://localhost:80", "UDP"),
            ("tls://localhost", "names no port"),
            ("tls://", "names no port"),
            ("tls://::1:80", "brackets"),
            ("tls://h:70000", "not a port"),
            ("tls://unix:/a", "TLS goes over TCP"),
            ("tls://h:80#sha256-12", "64 hexadecimal digits"),
            ("tls://h:80#", "64 hexadecimal digits"),
            ("tls://h:80/x", "only HOST:PORT"),
        ];
        for (text, word) in table {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_is_as_long_as_the_kernel_takes() {
        let path = |length: usize| format!("unix:/{}", "x".repeat(length - 1));
        assert!(path(LONGEST_UNIX_PATH).parse::<Address>().is_ok());
        let error = path(LONGEST_UNIX_PATH + 1).parse::<Address>().unwrap_err();
        assert!(error.starts_with("the path has 108 bytes"), "{error}");
        let taken = rustix::net::SocketAddrUnix::new("x".repeat(LONGEST_UNIX_PATH).as_str());
        assert!(taken.is_ok());
        let refused = rustix::net::SocketAddrUnix::new("x".repeat(LONGEST_UNIX_PATH + 2).as_str());
        assert!(refused.is_err());
    }

    #[test]
    fn tls_has_a_host_and_may_have_a_fingerprint() {
        let print = format!("sha256-{}", "5a".repeat(32));
        for (text, host) in [
            ("tls://backup.example:9000", "backup.example"),
            ("tls://[::1]:9000", "::1"),
            ("tls://[fe80::1%eth0]:9000", "fe80::1"),
            ("tls://:9000", "localhost"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let tls = address.tls().unwrap();
            assert_eq!((tls.host(), tls.fingerprint), (host.to_owned(), None));
            let pinned: Address = format!("{text}#{print}").parse().unwrap();
            assert_eq!(pinned.to_string(), format!("{text}#{print}"));
            assert_eq!(
                (pinned.name(), pinned.short()),
                (text.to_owned(), text.to_owned())
            );
            assert_eq!(pinned.with_tls(None), address);
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
