//! A server, asked over HTTP: short deadlines, bounded answers, no redirects, no proxies, and no payment.

use crate::interrupt::Interrupt;
use crate::request::without_user;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use url::Url;

/// Registries wait no longer for a document (draft-payment-discovery-00, appendix A.1).
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("`{0}` is not an http or https URL")]
    NotAUrl(String),
    #[error("`{0}` is not on this machine; beyond it only https is asked")]
    Plain(String),
    #[error("the HTTP client cannot be set up")]
    Client,
    #[error("{url} does not answer: {why}")]
    Silent { url: String, why: String },
    #[error("{url} answers {status}")]
    Refused { url: String, status: StatusCode },
    #[error("{url} answers more than {} MiB", MAX_ANSWER / 1024 / 1024)]
    TooLarge { url: String },
    #[error("the answer of {url} is not text")]
    NotText { url: String },
    #[error("{}", crate::purse::STOPPED)]
    Stopped,
}

/// A server.
pub(crate) struct Server {
    /// Without a user and a password: what is said of a server is printed, also into logs.
    pub(crate) base: Url,
    /// What goes along with every request: those, if the URL had them.
    pub(super) own: HeaderMap,
    client: Client,
    runtime: Runtime,
    /// Nothing more is asked once somebody wants the command to end; never, where nothing is paid.
    pub(super) interrupt: Interrupt,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A header line as text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The media type without parameters.
    pub(crate) fn media_type(&self) -> &str {
        self.header(CONTENT_TYPE.as_str()).split(';').next().unwrap_or_default().trim()
    }
}

impl Server {
    /// At this base URL, or at that of a document.
    pub(crate) fn at(url: &str) -> Result<Self, ServerError> {
        let base = Url::parse(url.trim_end_matches("openapi.json"))
            .map_err(|_| ServerError::NotAUrl(url.to_owned()))?;
        let mut own = HeaderMap::new();
        let mut base = without_user(base, &mut own);
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let host = base.host_str().unwrap_or_default();
        match base.scheme() {
            "https" if !host.is_empty() => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(ServerError::Plain(base.to_string())),
            _ => return Err(ServerError::NotAUrl(base.to_string())),
        }
        let client = http_client()?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| ServerError::Client)?;
        Ok(Self { base, own, client, runtime, interrupt: Interrupt::default() })
    }

    /// Gets a text below the base URL; anything but a success is an error.
    pub(crate) fn text(&self, path: &str) -> Result<String, ServerError> {
        let reply = self.ask(&Method::GET, path, &[], &[])?;
        let url = self.url(path)?.to_string();
        if !reply.status.is_success() {
            return Err(ServerError::Refused { url, status: reply.status });
        }
        String::from_utf8(reply.body).map_err(|_| ServerError::NotText { url })
    }

    /// Sends a request to a target below the base URL.
    pub(crate) fn ask(
        &self,
        verb: &Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, ServerError> {
        let url = self.url(target)?;
        let silent = |why: reqwest::Error| ServerError::Silent {
            url: url.to_string(),
            why: if why.is_timeout() { "it takes too long".to_owned() } else { root(&why) },
        };
        let answered = async {
            let request = self.client.request(verb.clone(), url.clone()).body(body.to_vec());
            let mut request = request.headers(self.own.clone());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut response = request.send().await.map_err(silent)?;
            let mut reply =
                Reply { status: response.status(), headers: response.headers().clone(), body: Vec::new() };
            while let Some(chunk) = response.chunk().await.map_err(silent)? {
                if reply.body.len() + chunk.len() > MAX_ANSWER {
                    return Err(ServerError::TooLarge { url: url.to_string() });
                }
                reply.body.extend_from_slice(&chunk);
            }
            Ok(reply)
        };
        self.runtime.block_on(self.interrupt.or(answered)).unwrap_or(Err(ServerError::Stopped))
    }

    /// Runs something beside what is asked.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Where a target is.
    pub(super) fn url(&self, target: &str) -> Result<Url, ServerError> {
        // Below the base, also when that has a path of its own; a target cannot lead to another host.
        let text = format!("{}{}", self.base, target.trim_start_matches('/'));
        Url::parse(&text).map_err(|_| ServerError::NotAUrl(text))
    }
}

/// Short deadlines, no redirects, no proxies.
pub(crate) fn http_client() -> Result<Client, ServerError> {
    Client::builder()
        .tls_backend_preconfigured(tls().map_err(|_| ServerError::Client)?)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("mpp/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| ServerError::Client)
}

/// The innermost reason, which is the one that says something.
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

/// An explicit provider: nothing depends on what the process has installed. A machine without root certificates can still
/// ask itself.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let builder = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    };
    match builder()?.with_platform_verifier() {
        Ok(verified) => Ok(verified.with_no_client_auth()),
        Err(_) => Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()),
    }
}

/// Whether a URL with this host stays on this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
}
