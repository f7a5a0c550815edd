//! The address of a client behind proxies that are trusted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use crate::server::observe::Exchange;

/// The address of the client, as an extension of its requests; see [`TrustedProxies`]. `None` on a
/// Unix socket whose peer names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

/// The header in which proxies name their clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeader {
    /// `X-Forwarded-For: 192.0.2.7, 10.0.0.1`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.7;proto=https, for=10.0.0.1` (RFC 7239)
    Forwarded,
}

/// The proxies that are believed who their clients are, and the header in which they say it.
///
/// Each proxy appends the address of its own peer, so the last address is the only one that the
/// peer vouches for, and so on to the left. The first one that is not trusted is the client's; what
/// stands before it, the client may have made up. For the same reason there is one header: a proxy
/// passes on what its client says in the other.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use underpass_http::TrustedProxies;
///
/// let own = |peer: Option<std::net::IpAddr>| peer.is_some_and(|address| address.is_loopback());
/// let proxies = TrustedProxies::new(own);
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.1, 192.0.2.7"));
/// let client = proxies.client("127.0.0.1".parse().ok(), &headers);
/// assert_eq!(client, "192.0.2.7".parse().ok());
/// ```
#[derive(Clone)]
pub struct TrustedProxies {
    trusts: Arc<dyn Fn(Option<IpAddr>) -> bool + Send + Sync>,
    header: ProxyHeader,
}

impl fmt::Debug for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedProxies")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl TrustedProxies {
    /// Believes the peers for which `trusts` is true; `None` is a peer on a Unix socket.
    pub fn new(trusts: impl Fn(Option<IpAddr>) -> bool + Send + Sync + 'static) -> Self {
        Self {
            trusts: Arc::new(trusts),
            header: ProxyHeader::default(),
        }
    }

    /// Sets the header in which they name their clients. Default: `X-Forwarded-For`.
    #[must_use]
    pub fn header(self, header: ProxyHeader) -> Self {
        Self { header, ..self }
    }

    /// The address of the client of a request with these headers: that of the peer, or of whom a
    /// trusted peer names. `None` on a Unix socket whose peer names nobody.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
        let name = match self.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => header::FORWARDED,
        };
        let mut client = peer.map(|peer| peer.to_canonical());
        // Several fields mean the same as one with their values in order.
        let values = headers.get_all(name).iter().rev();
        for value in values {
            let Ok(value) = value.to_str() else {
                return client;
            };
            match self.behind(client, value) {
                (found, true) => client = found,
                (found, false) => return found,
            }
        }
        client
    }

    /// The same for an exchange that is [observed](crate::Observe), whose request is known.
    pub fn client_of(&self, exchange: &Exchange) -> Option<IpAddr> {
        let request = exchange.request.as_deref();
        let value = request.and_then(|request| match self.header {
            ProxyHeader::XForwardedFor => request.x_forwarded_for.as_ref(),
            ProxyHeader::Forwarded => request.forwarded.as_ref(),
        });
        let peer = exchange.peer.map(|peer| peer.ip().to_canonical());
        match value.and_then(|value| value.to_str().ok()) {
            Some(value) => self.behind(peer, value).0,
            None => peer,
        }
    }

    /// The client that the value of a field names to `peer`. Also whether all who are in it are
    /// trusted, so that a field before it counts.
    fn behind(&self, peer: Option<IpAddr>, value: &str) -> (Option<IpAddr>, bool) {
        let mut client = peer;
        for element in value.rsplit(',') {
            if !(self.trusts)(client) {
                return (client, false);
            }
            let address = match self.header {
                ProxyHeader::XForwardedFor => address(element.trim()),
                ProxyHeader::Forwarded => forwarded_for(element),
            };
            if address.is_none() {
                // `unknown`, or a name that hides the address: nobody knows more than this proxy.
                return (client, false);
            }
            client = address;
        }
        (client, true)
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
    use http::HeaderValue;

    use super::*;

    fn client(header: ProxyHeader, peer: &str, values: &[&str]) -> String {
        let is_own = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.is_loopback(),
        };
        let proxies = TrustedProxies::new(move |peer| peer.is_none_or(is_own)).header(header);
        let name = match header {
            ProxyHeader::XForwardedFor => "x-forwarded-for",
            ProxyHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let client = proxies.client(peer.parse().ok(), &headers);
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
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
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
            let found = client(ProxyHeader::XForwardedFor, peer, &[value]);
            assert_eq!(found, expected, "{peer}: {value}");
        }
    }

    #[test]
    fn several_fields_are_one() {
        for (values, expected) in [
            (&["1.1.1.1", "198.51.100.1"][..], "198.51.100.1"),
            (&["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            (&["1.1.1.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            (&["1.1.1.1", "unknown", "10.0.0.2"], "10.0.0.2"),
            (&[], "10.0.0.1"),
        ] {
            let found = client(ProxyHeader::XForwardedFor, "10.0.0.1", values);
            assert_eq!(found, expected, "{values:?}");
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
            let found = client(ProxyHeader::Forwarded, "10.0.0.1", &[value]);
            assert_eq!(found, expected, "{value}");
        }
    }
}
