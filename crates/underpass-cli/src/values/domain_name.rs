//! Names that certificates are for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host name in lower case, such as `www.example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DomainName(String);

/// Limits of the DNS (RFC 1035 section 2.3.4).
pub(super) const LONGEST_NAME: usize = 253;
pub(super) const LONGEST_LABEL: usize = 63;

impl DomainName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("*.") {
            return Err(format!(
                "{text:?}: a certificate for all names below one needs a challenge in the DNS, which is not done \
                 here: name each host"
            ));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!("{text:?} is an address; a host name is needed"));
        }
        if !text.is_ascii() {
            return Err(format!(
                "{text:?}: write the name as the DNS has it, in ASCII (xn--…)"
            ));
        }
        let is_name = text.len() <= LONGEST_NAME && text.split('.').all(is_label);
        if !is_name {
            return Err(format!(
                "{text:?} is not a host name, such as www.example.org"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

fn is_label(label: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(is_allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_names_are_taken() {
        for (text, wanted) in [
            ("example.org", "example.org"),
            ("WWW.Example.org", "www.example.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(text.parse::<DomainName>().unwrap().as_str(), wanted);
        }
        for text in [
            "",
            ".",
            "example.org.",
            "a..b",
            "*.example.org",
            "192.0.2.1",
            "::1",
            "a/b",
            "../x",
            "a b",
            "-a.org",
            "bücher.example",
            "https://example.org",
            "example.org:443",
            &"a".repeat(64),
            &"a.".repeat(127),
        ] {
            assert!(text.parse::<DomainName>().is_err(), "{text}");
        }
    }
}
