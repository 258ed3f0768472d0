//! The one place where an HTTP client is built: for RPC nodes, for payment providers, and for a client that pays.
//!
//! None uses proxies from the environment, and none follows redirects by itself: what methods send authorises payments and must
//! reach exactly the configured endpoint, and a client that pays looks at every step (`client::redirects`).

pub(crate) use crate::tls::Wire;
use crate::tls::{self, TlsError};
use std::net::IpAddr;
use std::time::Duration;

/// Longest time to open a connection.
#[cfg(any(feature = "tempo", feature = "evm", feature = "stripe"))]
const CONNECT: Duration = Duration::from_secs(2);

/// The same for servers anywhere, which are further away than one's own node.
#[cfg(feature = "client")]
const CONNECT_ANYWHERE: Duration = Duration::from_secs(10);

/// Why a client cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client itself.
    #[error("the HTTP client cannot be set up")]
    Http,
}

/// Builds a client that keeps its connections and gives up on a request after `timeout`.
#[cfg(any(feature = "tempo", feature = "evm", feature = "stripe"))]
pub(crate) fn client(wire: Wire, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    build(tls::config(wire)?, CONNECT, timeout)
}

/// A client for whatever URLs a user asks for: as [`client`], with more time to connect.
#[cfg(feature = "client")]
pub(crate) fn browsing(timeout: Duration) -> Result<reqwest::Client, ClientError> {
    // A machine without root certificates can still reach itself.
    let tls = tls::config(Wire::Tls).or_else(|_| tls::config(Wire::Plain))?;
    build(tls, CONNECT_ANYWHERE, timeout)
}

fn build(
    tls: rustls::ClientConfig,
    connect: Duration,
    timeout: Duration,
) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .timeout(timeout)
        .user_agent(concat!("mpp/", env!("CARGO_PKG_VERSION")))
        .build()
        // reqwest's own message may quote configuration; the two causes left are not the operator's to fix.
        .map_err(|_| ClientError::Http)
}

/// Whether a URL's host is this machine: the only one that plain http may go to unasked.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(all(test, any(feature = "tempo", feature = "evm", feature = "stripe")))]
mod tests {
    use super::*;

    #[test]
    fn building_an_http_client_installs_no_process_wide_tls_provider() {
        let before = rustls::crypto::CryptoProvider::get_default().is_some();
        client(Wire::Plain, CONNECT).unwrap();
        assert_eq!(rustls::crypto::CryptoProvider::get_default().is_some(), before);
    }
}
