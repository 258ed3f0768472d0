//! The interactive reference page (feature `reference`): Swagger UI over the service's own `openapi.json`, with the price
//! beside each operation.
//!
//! Swagger UI is a maintained one and comes with `utoipa-swagger-ui`, from the binary and not from the network. Our part is a
//! page, a style sheet and a plugin that reads `x-payment-info`. The policy of the page allows nothing but this server (and
//! the service's public URL, which "Try it out" asks).

use super::info::Info;
use super::prepared::{Prepared, preflight, refusal};
use crate::Mpp;
use crate::server::page::Text;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::{MethodRouter, get};
use std::borrow::Cow;
use std::sync::Arc;
use url::Url;

/// Where the page is, and what it consists of.
pub(super) const PATHS: [&str; 2] = ["/reference", "/reference/{file}"];

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The routes of the page. Its files are prepared now: they are in the binary, and hashing them takes a millisecond.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(
    mpp: &Mpp,
    info: &Info,
) -> [(&'static str, MethodRouter<S>); 2] {
    let page = Arc::new(page(mpp, info));
    let files: Arc<[(&'static str, Prepared)]> = [
        ("page.js", Prepared::new(SCRIPT, include_str!("page.js"))),
        ("page.css", Prepared::new(STYLE, include_str!("page.css"))),
    ]
    .into_iter()
    .chain(
        [("swagger-ui-bundle.js", SCRIPT), ("swagger-ui.css", STYLE)]
            .into_iter()
            .filter_map(|(name, media)| Some((name, of_swagger_ui(name, media)?))),
    )
    .collect();
    let [at, below] = PATHS;
    let page = move |headers: HeaderMap| async move { page.respond(&headers) };
    let files =
        move |Path(name): Path<String>, headers: HeaderMap| async move { file(&files, &name, &headers) };
    [(at, get(page).options(preflight)), (below, get(files).options(preflight))]
}

fn file(files: &[(&str, Prepared)], name: &str, headers: &HeaderMap) -> Response<Body> {
    match files.iter().find(|(known, _)| *known == name) {
        Some((_, file)) => file.respond(headers),
        None => refusal(StatusCode::NOT_FOUND, "the reference page has no such file"),
    }
}

/// A file of Swagger UI, compressed as the binary has it. Every browser reads that.
fn of_swagger_ui(name: &str, media: &'static str) -> Option<Prepared> {
    // The name is one of its distribution, and only its own start script can fail to be made.
    let file = utoipa_swagger_ui::serve(name, Arc::default()).ok().flatten()?;
    let zipped = file.gzpipped;
    let prepared = match file.bytes {
        Cow::Borrowed(bytes) => Prepared::new(media, bytes),
        Cow::Owned(bytes) => Prepared::new(media, bytes),
    };
    Some(match zipped {
        true => prepared.with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        false => prepared,
    })
}

fn page(mpp: &Mpp, info: &Info) -> Prepared {
    let title = Text(&info.title);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}: reference</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"reference/swagger-ui.css\">\n<link rel=\"stylesheet\" href=\"reference/page.css\">\n\
         </head>\n<body>\n<main id=\"reference\"></main>\n\
         <noscript><p>This page needs scripts. <a href=\"llms-full.txt\">llms-full.txt</a> says the same in words, and \
         <a href=\"openapi.json\">openapi.json</a> to programs.</p></noscript>\n\
         <script src=\"reference/swagger-ui-bundle.js\"></script>\n<script src=\"reference/page.js\"></script>\n\
         </body>\n</html>\n"
    );
    Prepared::new("text/html; charset=utf-8", html)
        .with(header::CONTENT_SECURITY_POLICY, policy(mpp.public_url()))
        .with(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
}

/// This server and nobody else. Swagger UI's style sheet has its pictures in itself (`data:`).
fn policy(public_url: &str) -> HeaderValue {
    let service = Url::parse(public_url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {service}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // ASCII: an origin is.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}
