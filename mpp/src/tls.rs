//! The TLS every connection we open uses: its provider (`ring`) is part of its own configuration, so the library neither
//! installs a process default nor depends on one.

use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;

/// Whether a client speaks TLS; plain http is for loopback nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Certificates are checked by the platform's verifier.
    Tls,
    /// Works on machines without any root certificates; TLS fails with it.
    #[cfg(any(feature = "tempo", feature = "evm", feature = "stripe", feature = "client"))]
    Plain,
}

/// No usable root certificates, or no usable TLS versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS cannot be set up on this machine: {0}")]
pub(crate) struct TlsError(String);

/// The configuration of a client.
pub(crate) fn config(wire: Wire) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError(e.to_string()))?;
    Ok(match wire {
        Wire::Tls => {
            builder.with_platform_verifier().map_err(|e| TlsError(e.to_string()))?.with_no_client_auth()
        }
        #[cfg(any(feature = "tempo", feature = "evm", feature = "stripe", feature = "client"))]
        Wire::Plain => builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuring_a_client_installs_no_process_wide_tls_provider() {
        let before = rustls::crypto::CryptoProvider::get_default().is_some();
        let _ = config(Wire::Tls);
        assert_eq!(rustls::crypto::CryptoProvider::get_default().is_some(), before);
    }
}
