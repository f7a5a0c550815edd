//! An end of a transfer that may be a file or an address.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Address;

/// A file, `-` for a standard stream, or an address. A text that could be both, such as
/// `localhost:80`, means the file if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileOrAddress {
    File(PathBuf),
    Address(Address),
}

impl FromStr for FileOrAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("\"\" is neither a file nor an address".to_owned());
        }
        if Address::has_scheme(text) {
            return text.parse().map(Self::Address);
        }
        // A dangling link counts as a file that is there.
        let is_there = || Path::new(text).symlink_metadata().is_ok();
        match text.parse() {
            Ok(address) if !is_there() => Ok(Self::Address(address)),
            // An address with a mistake in it, and not a file to be made.
            Err(why) if text.contains("://") && !is_there() => Err(why),
            Err(why) if (is_like_an_address(text) || is_bare(text)) && !is_there() => {
                Err(format!("{why}; a file of this name is ./{text}"))
            }
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// Whether it has a port or what stands in its place, and no directory.
fn is_like_an_address(text: &str) -> bool {
    text.contains(':') && !text.contains('/')
}

/// Whether it can only be a host or a port, of which the other half is missing.
fn is_bare(text: &str) -> bool {
    text == "localhost" || text.parse::<IpAddr>().is_ok() || text.parse::<u16>().is_ok()
}

impl FileOrAddress {
    /// The name for receipts and messages: without a fingerprint.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Address(address) => address.name(),
        }
    }
}

impl fmt::Display for FileOrAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_before_a_short_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("localhost:80");
        let text = path.to_str().unwrap();
        std::fs::write(&path, b"").unwrap();
        let file = |text: &str| Ok(FileOrAddress::File(text.into()));
        let tcp = |host: &str| Ok(FileOrAddress::Address(Address::Tcp(host.to_owned())));
        assert_eq!(text.parse(), file(text));
        assert_eq!("-".parse(), file("-"));
        assert_eq!("disk.img".parse(), file("disk.img"));
        assert_eq!("some/dir:80".parse(), file("some/dir:80"));
        assert_eq!("localhost:80".parse(), tcp("localhost:80"));
        assert_eq!("tcp://localhost:80".parse(), tcp("localhost:80"));
        for wrong in [
            "tcp://localhost",
            "localhost:99999",
            "localhost:",
            "localhost",
            "10.0.0.7",
            "9000",
            "http://a/b",
        ] {
            assert!(wrong.parse::<FileOrAddress>().is_err(), "{wrong}");
        }
    }
}
