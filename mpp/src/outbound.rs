//! The one place where an HTTP client is built: for RPC nodes, for payment providers, and for a client that pays.
//!
//! Every client gets its TLS provider in its own configuration (`ring`), so the library neither installs a process
//! default nor depends on one, and uses no proxies from the environment. The clients of methods follow no redirects: what they
//! send authorises payments and must reach exactly the configured endpoint.

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest time to open a connection.
#[cfg(any(feature = "tempo", feature = "stripe"))]
const CONNECT: Duration = Duration::from_secs(2);

/// The same for servers anywhere, which are further away than one's own node.
#[cfg(feature = "client")]
const CONNECT_ANYWHERE: Duration = Duration::from_secs(10);

/// Whether a client speaks TLS; plain http is for loopback nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// `https`: certificates are checked by the platform's verifier.
    Tls,
    /// `http`: works on machines without any root certificates; `https` URLs fail on such a client.
    Plain,
}

/// Why a client cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// No usable root certificates, or no usable TLS versions.
    #[error("TLS cannot be set up on this machine: {0}")]
    Tls(String),
    /// The HTTP client itself.
    #[error("the HTTP client cannot be set up")]
    Http,
}

/// Builds a client that keeps its connections and gives up on a request after `timeout`.
#[cfg(any(feature = "tempo", feature = "stripe"))]
pub(crate) fn client(wire: Wire, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(wire)?)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(timeout)
        .user_agent(concat!("mpp/", env!("CARGO_PKG_VERSION")))
        .build()
        // reqwest's own message may quote configuration; the two causes left are not the operator's to fix.
        .map_err(|_| ClientError::Http)
}

/// A client for whatever URLs a user asks for: as [`client`], and it follows redirects.
#[cfg(feature = "client")]
pub(crate) fn browsing(timeout: Duration) -> Result<reqwest::Client, ClientError> {
    // A machine without root certificates can still reach itself.
    let tls = tls(Wire::Tls).or_else(|_| tls(Wire::Plain))?;
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::limited(10))
        .connect_timeout(CONNECT_ANYWHERE)
        .timeout(timeout)
        .user_agent(concat!("mpp/", env!("CARGO_PKG_VERSION")))
        .build()
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

fn tls(wire: Wire) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ClientError::Tls(e.to_string()))?;
    Ok(match wire {
        Wire::Tls => builder
            .with_platform_verifier()
            .map_err(|e| ClientError::Tls(e.to_string()))?
            .with_no_client_auth(),
        Wire::Plain => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    })
}

#[cfg(all(test, any(feature = "tempo", feature = "stripe")))]
mod tests {
    use super::*;

    #[test]
    fn building_a_client_installs_no_process_wide_tls_provider() {
        let before = rustls::crypto::CryptoProvider::get_default().is_some();
        client(Wire::Plain, CONNECT).unwrap();
        assert_eq!(rustls::crypto::CryptoProvider::get_default().is_some(), before);
    }
}
