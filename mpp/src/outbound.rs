//! The one place where an HTTP client is built: for RPC nodes and for payment providers.
//!
//! It follows no redirects and no proxies from the environment: what it sends
//! authorises payments and must reach exactly the configured endpoint.

pub(crate) use crate::tls::Wire;
use crate::tls::{self, TlsError};
use std::net::IpAddr;
use std::time::Duration;

/// Longest time to open a connection.
const CONNECT: Duration = Duration::from_secs(2);

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
pub(crate) fn client(wire: Wire, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(wire)?)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn building_an_http_client_installs_no_process_wide_tls_provider() {
        let before = rustls::crypto::CryptoProvider::get_default().is_some();
        client(Wire::Plain, CONNECT).unwrap();
        assert_eq!(rustls::crypto::CryptoProvider::get_default().is_some(), before);
    }
}
