//! Who a request comes from, as far as fair shares go.
//!
//! It is the peer of the connection. Behind a reverse proxy that is the proxy, and everybody behind it would be one client;
//! so [`TrustedProxies`] names the proxies whose word about their own peer is taken.
//!
//! The rule is that of the rightmost untrusted address. Every proxy appends the address that it was connected from, so the
//! header is read from its end, past the proxies that are trusted, and the first address that is none of them is the client.
//! What stands left of it was written by the client itself and is never looked at. Only the one header that was named is
//! read: a proxy that writes one of them passes the other on as a stranger sent it. What cannot be read, on the way to that
//! address, makes the peer the client.

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Once;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// No deployment has more proxies in a row; a longer header is not worth reading on.
const MOST_PROXIES: usize = 32;

/// The reverse proxies in front of this server, and the header in which they say who connected to them. Given to
/// [`Builder::trusted_proxies`](super::Builder::trusted_proxies).
///
/// Without it every request comes from the peer of its connection, whatever its headers say. With it, a request that comes
/// from one of these addresses comes from the last address of the header that is not one of them. Name proxies only, and all
/// that can be in a row: whoever has one of these addresses can say to be anybody.
///
/// The header has to be the one that they write. A proxy that appends to `X-Forwarded-For` passes on a `Forwarded` that a
/// stranger sent, and the other way round.
///
/// Clients are told apart by IPv4 address or IPv6 /64 network, because one customer has all of that. The server has to be
/// served with `into_make_service_with_connect_info::<SocketAddr>()`: without a peer nobody can be trusted.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{SystemClock, testing};
/// # use std::sync::Arc;
/// # let builder = testing::builder(Arc::new(SystemClock));
/// use mpp::server::TrustedProxies;
///
/// // A load balancer in its own network, and a proxy on this machine.
/// let mpp = builder.trusted_proxies(TrustedProxies::x_forwarded_for(["10.0.0.0/16", "127.0.0.1"])).build().unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct TrustedProxies {
    header: Forwarding,
    networks: Vec<IpNet>,
    wrong: Vec<String>,
    no_peer: Once,
}

/// How proxies say who connected to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forwarding {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl TrustedProxies {
    /// Proxies that append to `X-Forwarded-For`: `proxies` are addresses (`127.0.0.1`, `::1`) and networks (`10.0.0.0/16`,
    /// `fd00::/8`). What is neither is reported by [`Builder::build`](super::Builder::build).
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{SystemClock, testing};
    /// # use std::sync::Arc;
    /// # use mpp::server::TrustedProxies;
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let report = builder.trusted_proxies(TrustedProxies::x_forwarded_for(["the load balancer"])).build().unwrap_err();
    /// assert!(report.to_string().contains("`the load balancer` is neither an address nor a network"));
    /// # }
    /// ```
    pub fn x_forwarded_for<'a>(proxies: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Forwarding::XForwardedFor, proxies)
    }

    /// Proxies that append to `Forwarded` (RFC 7239), as
    /// [`x_forwarded_for`](Self::x_forwarded_for) otherwise. Elements without an address (`for=unknown`,
    /// `for=_hidden`) name nobody: such a request comes from the proxy.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{SystemClock, testing};
    /// # use std::sync::Arc;
    /// # use mpp::server::TrustedProxies;
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.trusted_proxies(TrustedProxies::forwarded(["2001:db8:7::/48"])).build().unwrap();
    /// # }
    /// ```
    pub fn forwarded<'a>(proxies: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Forwarding::Forwarded, proxies)
    }

    /// Nobody.
    pub(super) fn none() -> Self {
        Self {
            header: Forwarding::XForwardedFor,
            networks: Vec::new(),
            wrong: Vec::new(),
            no_peer: Once::new(),
        }
    }

    fn new<'a>(header: Forwarding, proxies: impl IntoIterator<Item = &'a str>) -> Self {
        let mut named = Self { header, ..Self::none() };
        for proxy in proxies {
            match network(proxy) {
                Some(everybody) if everybody.prefix_len() == 0 => named.wrong.push(format!(
                    "the trusted proxies: `{everybody}` is everybody, so every client could say who it is; name the \
                     network of the proxies"
                )),
                Some(network) => named.networks.push(network),
                None => named.wrong.push(format!(
                    "the trusted proxies: `{}` is neither an address nor a network (like `10.0.0.0/16`)",
                    proxy.escape_debug()
                )),
            }
        }
        if named.networks.is_empty() && named.wrong.is_empty() {
            named.wrong.push("the trusted proxies: none is named".to_owned());
        }
        named
    }

    /// What start-up has to say about it.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.wrong.iter().cloned()
    }

    /// Who sent this request.
    #[inline(never)] // only where rates are limited, or a body is read
    pub(super) fn client(&self, extensions: &Extensions, headers: &HeaderMap) -> Client {
        let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<SocketAddr>>() else {
            self.cannot_be_told();
            return Client(None);
        };
        let peer = peer.ip().to_canonical();
        if !self.trusts(peer) {
            return Client::at(peer);
        }
        Client::at(self.named_in(headers).unwrap_or(peer))
    }

    fn cannot_be_told(&self) {
        if self.networks.is_empty() {
            return;
        }
        self.no_peer.call_once(|| {
            tracing::warn!(
                target: "mpp",
                "no proxy can be trusted, because requests come without the address of their peer: serve the app with \
                 `into_make_service_with_connect_info::<SocketAddr>()`"
            );
        });
    }

    /// The last address that is none of ours; with nobody but proxies in the header, the first of them.
    fn named_in(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut first = None;
        for hop in self.header.hops(headers).take(MOST_PROXIES) {
            let address = hop?;
            if !self.trusts(address) {
                return Some(address);
            }
            first = Some(address);
        }
        first
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

impl Forwarding {
    /// From the last to the first; `None` for what names no address. Several lines are one list (RFC 9110 section 5.3).
    fn hops(self, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
        let (name, address): (_, fn(&str) -> Option<IpAddr>) = match self {
            Self::XForwardedFor => (X_FORWARDED_FOR, address),
            Self::Forwarded => (header::FORWARDED, address_in_element),
        };
        let lines = headers.get_all(name).iter().rev();
        // A comma inside quotes splits too. No address has one, so all that comes of it is an element that is not understood;
        // counting quotes from the left instead would let the client's own part decide where the proxy's begins.
        let elements = lines.flat_map(|line: &HeaderValue| line.as_bytes().rsplit(|byte| *byte == b','));
        let elements = elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty());
        elements.map(move |element| address(std::str::from_utf8(element).ok()?))
    }
}

/// A client, as far as it can be told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(Option<IpAddr>);

impl Client {
    #[cfg(test)]
    pub(super) fn unknown() -> Self {
        Self(None)
    }

    /// Whether there is an address at all.
    pub(super) fn is_known(self) -> bool {
        self.0.is_some()
    }

    /// One share for everybody who can take addresses at will: an IPv6 customer has 2^64 of them.
    pub(super) fn at(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            address => address,
        }))
    }
}

impl fmt::Display for Client {
    /// Empty for a client that nobody knows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(IpAddr::V4(address)) => address.fmt(f),
            Some(IpAddr::V6(network)) => write!(f, "{network}/64"),
        }
    }
}

/// An address or a network, in the form in which addresses are compared.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    match network.addr().to_canonical() {
        // `::ffff:10.0.0.0/112` is `10.0.0.0/16`.
        IpAddr::V4(v4) if network.addr().is_ipv6() => {
            IpNet::new(v4.into(), network.prefix_len().checked_sub(96)?).ok()
        }
        _ => Some(network),
    }
}

/// An address as proxies write it: bare, in brackets, with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets =
        || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    bare().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

/// The address of a `forwarded-element` (RFC 7239 section 4), of which every part has to be well formed.
fn address_in_element(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            // Nothing that names an address needs an escape.
            Some(rest) => rest.strip_suffix('"').filter(|text| !text.contains(['"', '\\']))?,
            None => (!value.is_empty() && value.bytes().all(is_token_byte)).then_some(value)?,
        };
        if !name.trim_ascii().eq_ignore_ascii_case("for") {
            continue;
        }
        if found.replace(value).is_some() {
            return None; // "each parameter MUST NOT occur more than once"
        }
    }
    address(found?)
}

/// RFC 9110 section 5.6.2, and the `:` of an IPv4 address with a port, which some proxies do not quote.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who sent a request that arrived from `peer` with these lines of the header that `proxies` write.
    fn client(proxies: &TrustedProxies, peer: &str, lines: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1234)));
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = if proxies.header == Forwarding::Forwarded { "forwarded" } else { "x-forwarded-for" };
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        proxies.client(&extensions, &headers).to_string()
    }

    #[test]
    fn a_network_that_one_customer_has_is_one_client() {
        let named = |address: &str| Client::at(address.parse().unwrap()).to_string();
        assert_eq!(named("192.0.2.7"), "192.0.2.7");
        assert_ne!(named("192.0.2.7"), named("192.0.2.8"));
        assert_eq!(named("::ffff:192.0.2.7"), "192.0.2.7", "the same machine on a dual-stack socket");
        assert_eq!(named("2001:db8:1:2::7"), "2001:db8:1:2::/64");
        assert_eq!(named("2001:db8:1:2:ffff:ffff:ffff:ffff"), named("2001:db8:1:2::7"));
        assert_ne!(named("2001:db8:1:3::7"), named("2001:db8:1:2::7"));
    }

    #[test]
    fn without_a_peer_there_is_no_client() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));
        let proxies = TrustedProxies::x_forwarded_for(["192.0.2.0/24"]);
        assert_eq!(proxies.client(&Extensions::new(), &headers).to_string(), "");
    }

    #[test]
    fn that_no_proxy_can_be_trusted_without_peers_is_said_where_some_are_named() {
        for (proxies, said) in
            [(TrustedProxies::none(), false), (TrustedProxies::forwarded(["10.0.0.0/16"]), true)]
        {
            proxies.client(&Extensions::new(), &HeaderMap::new());
            assert_eq!(proxies.no_peer.is_completed(), said);
        }
    }

    #[test]
    fn nobody_says_who_it_is_but_a_configured_proxy() {
        let none = TrustedProxies::none();
        assert_eq!(client(&none, "192.0.2.7", &["198.51.100.1"]), "192.0.2.7");
        let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/16", "::1", "fd00::/8"]);
        assert_eq!(client(&proxies, "192.0.2.7", &["198.51.100.1"]), "192.0.2.7");
        assert_eq!(client(&proxies, "10.1.0.1", &["198.51.100.1"]), "10.1.0.1", "beside the network");
        for proxy in ["10.0.255.1", "::ffff:10.0.0.1", "::1", "fd00::7"] {
            assert_eq!(client(&proxies, proxy, &["198.51.100.1"]), "198.51.100.1", "{proxy}");
        }
        let mapped = TrustedProxies::x_forwarded_for(["::ffff:10.0.0.0/112"]);
        assert_eq!(client(&mapped, "10.0.3.1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn the_client_is_the_last_address_that_no_proxy_has() {
        let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/16"]);
        let client = |lines: &[&str]| client(&proxies, "10.0.0.1", lines);
        assert_eq!(client(&["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["6.6.6.6, 203.0.113.9, 10.0.0.2"]), "203.0.113.9", "the first is its own word");
        assert_eq!(
            client(&["6.6.6.6", "203.0.113.9", "10.0.0.2,10.0.0.3"]),
            "203.0.113.9",
            "lines are one list"
        );
        assert_eq!(client(&["10.0.0.9, 203.0.113.9"]), "203.0.113.9", "a proxy's address in its mouth");
        assert_eq!(client(&["10.0.0.8, 10.0.0.9"]), "10.0.0.8", "from inside");
        assert_eq!(client(&["x, \"y, 203.0.113.9"]), "203.0.113.9", "what it wrote itself is not read");
        for (address, network) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::/64"),
            ("[2001:db8::9]", "2001:db8::/64"),
            ("[2001:db8::9]:4711", "2001:db8::/64"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            (" \t203.0.113.9 ,, ", "203.0.113.9"),
        ] {
            assert_eq!(client(&[address]), network, "{address}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_read_makes_the_proxy_the_client() {
        let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/16"]);
        let many = vec!["10.0.0.2"; 1000].join(",");
        for lines in [
            &[][..],
            &[""],
            &["unknown"],
            &["203.0.113.9, unknown"],
            &["203.0.113.9 203.0.113.8"],
            &["203.0.113.9, é"],
            &["203.0.113.300"],
            &["for=203.0.113.9"],
        ] {
            assert_eq!(client(&proxies, "10.0.0.1", lines), "10.0.0.1", "{lines:?}");
        }
        assert_eq!(client(&proxies, "10.0.0.1", &["6.6.6.6", &many]), "10.0.0.2");
    }

    #[test]
    fn the_standard_header_is_read_as_rfc_7239_writes_it() {
        let proxies = TrustedProxies::forwarded(["10.0.0.0/16"]);
        let client = |lines: &[&str]| client(&proxies, "10.0.0.1", lines);
        for (element, network) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"203.0.113.9:4711\"", "203.0.113.9"),
            ("for=203.0.113.9:4711", "203.0.113.9"),
            ("for=\"[2001:db8::9]:4711\"", "2001:db8::/64"),
            ("for=\"[2001:db8::9]\"", "2001:db8::/64"),
            ("by=10.0.0.1;for=203.0.113.9;host=\"api.example.com:443\";proto=https", "203.0.113.9"),
            ("for=6.6.6.6, for=203.0.113.9, for=10.0.0.7", "203.0.113.9"),
            // An open quote of the client's swallows nothing of what the proxy appends.
            ("for=\", for=203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(client(&[element]), network, "{element}");
        }
        for nobody in [
            "203.0.113.9",
            "for=unknown",
            "for=_hidden",
            "for=",
            "proto=https",
            "for=203.0.113.9;for=6.6.6.6",
            "for=203.0.113.9;",
            "for=\"203.0.113.9",
            "for=203.0.113.9;host=a b",
            // The client chooses its Host, which proxies repeat in quotes.
            "for=203.0.113.9;host=\"a,for=6.6.6.6\"",
            "for=203.0.113.9;host=\"a,for=6.6.6.6;x=\"",
            r#"for=203.0.113.9;host="a,for=6.6.6.6;x=\"y""#,
        ] {
            assert_eq!(client(&[nobody]), "10.0.0.1", "{nobody}");
        }
    }

    #[test]
    fn the_other_header_is_not_read() {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 1234))));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        headers.insert("forwarded", HeaderValue::from_static("for=203.0.113.10"));
        let told = |proxies: TrustedProxies| proxies.client(&extensions, &headers).to_string();
        assert_eq!(told(TrustedProxies::x_forwarded_for(["10.0.0.1"])), "203.0.113.9");
        assert_eq!(told(TrustedProxies::forwarded(["10.0.0.1"])), "203.0.113.10");
    }

    #[test]
    fn what_names_no_proxy_is_a_problem() {
        for wrong in ["", "10.0.0.0/33", "proxy.example.com", "0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            assert_eq!(TrustedProxies::forwarded([wrong]).problems().count(), 1, "{wrong}");
        }
        assert_eq!(TrustedProxies::x_forwarded_for([]).problems().count(), 1);
        assert_eq!(TrustedProxies::x_forwarded_for(["10.0.0.0/8", "::1"]).problems().count(), 0);
    }
}
