//! The address of a client behind proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use underpass_http::Exchange;

use crate::values::{ForwardedHeader, Trusted};

/// The proxies that are believed, and the header in which they say who their client is.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustedProxies {
    pub(super) trusted: Vec<Trusted>,
    pub(super) header: ForwardedHeader,
}

impl TrustedProxies {
    /// The address of the client: the peer, or whom a trusted peer names. `None` for a Unix socket.
    pub(super) fn client(&self, exchange: &Exchange) -> Option<IpAddr> {
        let peer = exchange.peer.map(|peer| peer.ip().to_canonical());
        let request = exchange.request.as_deref();
        let value = request.and_then(|request| match self.header {
            ForwardedHeader::XForwardedFor => request.x_forwarded_for.as_ref(),
            ForwardedHeader::Forwarded => request.forwarded.as_ref(),
        });
        let value = value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        self.behind(peer, value)
    }

    /// Each proxy appends the address of its own peer, so the last address is the only one that the
    /// peer vouches for, and so on to the left. The first one that is not trusted is the client;
    /// what stands before it, the client may have made up.
    fn behind(&self, peer: Option<IpAddr>, value: &str) -> Option<IpAddr> {
        let is_trusted = |client| self.trusted.iter().any(|it| it.includes(client));
        let mut client = peer;
        for element in value.rsplit(',') {
            if !is_trusted(client) {
                break;
            }
            let address = match self.header {
                ForwardedHeader::XForwardedFor => address(element.trim()),
                ForwardedHeader::Forwarded => forwarded_for(element),
            };
            if address.is_none() {
                // `unknown`, or a name that hides the address: nobody knows more than this proxy.
                break;
            }
            client = address;
        }
        client
    }
}

/// The address in an element of `Forwarded`: `for="[2001:db8::1]:80";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

/// An address, with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardedHeader, peer: &str, value: &str) -> String {
        let trusted = ["10.0.0.0/8", "::1", "unix:"];
        let trusted = trusted.map(|it| it.parse().unwrap()).to_vec();
        let proxies = TrustedProxies { trusted, header };
        let client = proxies.behind(peer.parse().ok(), value);
        client.map_or("nobody".to_owned(), |it| it.to_string())
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        for (peer, value, expected) in [
            // Who is not trusted is not believed.
            ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::1", "198.51.100.1", "198.51.100.1"),
            // What a client sent along stands on the left.
            ("10.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),
            (
                "10.0.0.1",
                "1.1.1.1, 198.51.100.1, 10.0.0.2",
                "198.51.100.1",
            ),
            ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
            ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "<script>", "10.0.0.1"),
            // A Unix socket, which has no address.
            ("", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("", "", "nobody"),
            ("", "unknown", "nobody"),
        ] {
            let found = client(ForwardedHeader::XForwardedFor, peer, value);
            assert_eq!(found, expected, "{peer}: {value}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        for (value, expected) in [
            (
                "for=198.51.100.1;proto=http;by=203.0.113.43",
                "198.51.100.1",
            ),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            (
                "for=192.0.2.43, for=198.51.100.17;by=10.0.0.1",
                "198.51.100.17",
            ),
            ("for=192.0.2.43,FOR=10.0.0.2", "192.0.2.43"),
            ("for=_hidden", "10.0.0.1"),
            ("for=unknown", "10.0.0.1"),
            ("by=192.0.2.43", "10.0.0.1"),
        ] {
            let found = client(ForwardedHeader::Forwarded, "10.0.0.1", value);
            assert_eq!(found, expected, "{value}");
        }
    }
}
