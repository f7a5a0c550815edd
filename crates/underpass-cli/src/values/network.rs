//! Networks: addresses with the same first bits.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network, such as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    /// How many bits count.
    prefix: u32,
}

impl Network {
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let same = |own: u128, other: u128, width: u32| {
            // All bits of the address are behind a prefix of 0.
            self.prefix == 0 || (own ^ other) >> (width - self.prefix) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not a network: write ADDRESS or ADDRESS/BITS, as in 10.0.0.0/8")
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = bits.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        if prefix > width {
            return Err(format!("{text:?}: such an address has {width} bits"));
        }
        let this = Self { address, prefix };
        if bits.is_some() && !this.is_first() {
            return Err(format!(
                "{text:?}: that address has more than its first {prefix} bits; write {this}"
            ));
        }
        Ok(this)
    }
}

impl Network {
    /// Whether the bits that do not count are 0.
    fn is_first(self) -> bool {
        self.first() == self.address
    }

    fn first(self) -> IpAddr {
        let cut = |bits: u128, width: u32| {
            let rest = width - self.prefix;
            bits.checked_shr(rest)
                .and_then(|it| it.checked_shl(rest))
                .unwrap_or(0)
        };
        match self.address {
            IpAddr::V4(it) => IpAddr::V4((cut(it.to_bits().into(), 32) as u32).into()),
            IpAddr::V6(it) => IpAddr::V6(cut(it.to_bits(), 128).into()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

/// Peers that are believed: those of a network, or all on Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    Network(Network),
    Unix,
}

impl Trusted {
    /// Whether a peer is one of them; `None` is a peer on a Unix socket.
    pub(crate) fn includes(self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Network(network), Some(address)) => network.contains(address),
            (Self::Unix, None) => true,
            _ => false,
        }
    }
}

impl FromStr for Trusted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix:" {
            return Ok(Self::Unix);
        }
        let wrong = |error| format!("{error}, or unix: for all on Unix sockets");
        text.parse().map(Self::Network).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_begins_like_it() {
        for (network, address, contained) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            let found = parsed.contains(address.parse().unwrap());
            assert_eq!(found, contained, "{address} in {network}");
        }
    }

    #[test]
    fn peers_on_unix_sockets_are_believed_only_if_that_is_said() {
        let unix: Trusted = "unix:".parse().unwrap();
        let all: Trusted = "0.0.0.0/0".parse().unwrap();
        let peer = Some("192.0.2.1".parse().unwrap());
        assert!(unix.includes(None) && !unix.includes(peer));
        assert!(all.includes(peer) && !all.includes(None));
        let error = "unix:/run/a".parse::<Trusted>().unwrap_err();
        assert!(error.contains("or unix:"), "{error}");
    }

    #[test]
    fn others_are_refused() {
        for (text, word) in [
            ("", "not a network"),
            ("localhost", "not a network"),
            ("10.0.0.0/x", "not a network"),
            ("10.0.0.0/33", "32 bits"),
            ("::/129", "128 bits"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
