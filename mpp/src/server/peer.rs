//! Who a request comes from, as far as fair shares go.
//!
//! It is the peer of the connection. Behind a reverse proxy that is the proxy, unless a layer outside of the router puts the
//! address that the proxy vouches for into [`ConnectInfo`].

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The client, or nothing where it is not known.
pub(super) fn client(extensions: &Extensions) -> String {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| name(peer.0.ip())).unwrap_or_default()
}

/// One share for everybody who can take addresses at will: an IPv6 customer has 2^64 of them.
fn name(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            format!("{}/64", Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_one_customer_has_is_one_client() {
        let named = |address: &str| name(address.parse().unwrap());
        assert_eq!(named("192.0.2.7"), "192.0.2.7");
        assert_ne!(named("192.0.2.7"), named("192.0.2.8"));
        assert_eq!(named("::ffff:192.0.2.7"), "192.0.2.7", "the same machine on a dual-stack socket");
        assert_eq!(named("2001:db8:1:2::7"), "2001:db8:1:2::/64");
        assert_eq!(named("2001:db8:1:2:ffff:ffff:ffff:ffff"), named("2001:db8:1:2::7"));
        assert_ne!(named("2001:db8:1:3::7"), named("2001:db8:1:2::7"));
    }

    #[test]
    fn without_a_peer_there_is_no_client() {
        assert_eq!(client(&Extensions::new()), "");
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 1234))));
        assert_eq!(client(&extensions), "192.0.2.7");
    }
}
