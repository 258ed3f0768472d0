//! How documents are served, and what stops a server from publishing them.

use crate::shop::{App, info, router};
use mpp::discovery::Info;
use mpp::routing::{Router, get};
use mpp::testing::{self, Client};
use mpp::{Mpp, Paid};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

fn published() -> Client {
    let mpp = testing::mpp();
    let app = router(&mpp).publish(&mpp, info()).unwrap();
    Client::new(app.with_state(App { mpp }))
}

#[tokio::test]
async fn each_document_is_public_cacheable_and_open_to_browsers() {
    let client = published();
    for (path, content_type) in [
        ("/openapi.json", "application/json"),
        ("/llms.txt", "text/plain; charset=utf-8"),
        ("/llms-full.txt", "text/plain; charset=utf-8"),
    ] {
        let response = client.get(path).unpaid().await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.header("content-type"), Some(content_type));
        assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        let exposed = response.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("WWW-Authenticate") && exposed.contains("Payment-Receipt"));
        assert!(!response.text().is_empty());
        let preflight = client.request(axum::http::Method::OPTIONS, path).unpaid().await;
        assert_eq!(
            (preflight.status().as_u16(), preflight.header("access-control-allow-origin")),
            (204, Some("*"))
        );
    }
}

#[tokio::test]
async fn a_known_document_is_not_sent_again() {
    let client = published();
    let first = client.get("/openapi.json").unpaid().await;
    let etag = first.header("etag").unwrap().to_owned();
    for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        let again = client.get("/openapi.json").header("if-none-match", &known).unpaid().await;
        assert_eq!((again.status().as_u16(), again.text().as_str()), (304, ""), "{known}");
        assert_eq!(again.header("etag"), Some(etag.as_str()));
    }
    let other = client.get("/openapi.json").header("if-none-match", "\"other\"").unpaid().await;
    assert_eq!(other.status(), 200);
    let head = client.request(axum::http::Method::HEAD, "/openapi.json").unpaid().await;
    assert_eq!((head.status().as_u16(), head.text().as_str()), (200, ""));
}

#[tokio::test]
async fn what_is_mounted_after_publish_is_in_the_documents_too() {
    let mpp = testing::mpp();
    let app = Router::new().publish(&mpp, info()).unwrap().merge(late());
    let served = Client::new(app.with_state(mpp)).get("/openapi.json").unpaid().await.json();
    assert_eq!(served["paths"]["/late"]["get"]["operationId"], "arrives_late");
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn arrives_late(_: Paid) {}

fn late() -> Router<Mpp> {
    Router::new().route("/late", get(arrives_late))
}

#[test]
fn a_priced_handler_that_is_mounted_nowhere_stops_the_start_and_is_named() {
    let mpp = testing::mpp();
    let strict = Info::new("Late", "1");
    let report = late().publish(&mpp, strict.clone()).unwrap_err();
    let here = report.problems().iter().filter(|p| p.contains("arrives_late")).count();
    assert_eq!(here, 0, "{report}");
    let weather =
        report.problems().iter().find(|p| p.contains("::shop::weather`")).expect("weather is not mounted");
    assert!(
        weather.contains("tests/documents/shop.rs:") && weather.contains("Info::allow_unmounted"),
        "{weather}"
    );
    assert!(!report.to_string().contains("legacy"), "a `price!` of a layer is no handler: {report}");
    assert!(late().publish(&mpp, strict.allow_unmounted()).is_ok());
}

#[test]
fn ignored_modules_need_not_be_mounted() {
    let clock = std::sync::Arc::new(mpp::SystemClock);
    let mpp =
        testing::builder(clock).ignore_module(module_path!().rsplit_once("::").unwrap().0).build().unwrap();
    assert!(late().publish(&mpp, Info::new("Late", "1")).is_ok());
}

#[test]
fn what_is_wrong_with_the_info_stops_the_start() {
    let mpp = testing::mpp();
    let report = late().publish(&mpp, Info::new("", "1").homepage("/docs").allow_unmounted()).unwrap_err();
    assert_eq!(report.problems().len(), 2, "{report}");
}

#[test]
#[should_panic(expected = "publish the outermost one")]
fn a_published_router_cannot_disappear_under_a_prefix() {
    let mpp = testing::mpp();
    let published = late().publish(&mpp, info()).unwrap();
    let _ = Router::new().nest("/api", published);
}

#[test]
fn a_document_registries_would_not_read_is_a_warning_that_names_what_is_large() {
    let mpp = testing::mpp();
    let paths: Vec<_> = (0..120).map(|n| format!("/a/rather/long/path/to/make/it/large/{n}")).collect();
    let many = || paths.iter().fold(Router::<Mpp>::new(), |app, path| app.route(path, get(arrives_late)));
    let warnings = many().documents(&mpp, &info()).warnings().join("\n");
    assert!(warnings.contains("registries read 65536"), "{warnings}");
    assert!(warnings.contains("GET /a/rather/long/path/to/make/it/large/"), "{warnings}");
    let slim = many().documents(&mpp, &info().slim());
    assert_eq!(slim.warnings(), [""; 0]);
}

/// A schema that says how often it was asked for.
macro_rules! counted {
    ($counter:ident $schema:ident $handler:ident) => {
        static $counter: AtomicUsize = AtomicUsize::new(0);

        #[derive(serde::Serialize)]
        struct $schema;

        impl utoipa::PartialSchema for $schema {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $counter.fetch_add(1, Ordering::SeqCst);
                utoipa::openapi::schema::ObjectBuilder::new().into()
            }
        }

        impl utoipa::ToSchema for $schema {}

        #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
        async fn $handler(_: Paid) -> axum::Json<$schema> {
            axum::Json($schema)
        }
    };
}

counted! { IN_BACKGROUND Background background }
counted! { LAZILY Lazy lazily }

const ROUTES: usize = 1_000;

fn routes() -> Vec<String> {
    (0..ROUTES).map(|n| format!("/route/{n}")).collect()
}

/// Gives up after a minute, which no machine needs.
fn wait_for(what: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !what() {
        assert!(begin.elapsed().as_secs() < 60, "it did not happen");
        std::thread::yield_now();
    }
}

// How fast ten thousand routes start is measured in benches/documents.rs.
#[tokio::test]
async fn in_a_runtime_the_document_is_built_once_before_anybody_asks() {
    let mpp = testing::mpp();
    let app = routes().iter().fold(Router::<Mpp>::new(), |app, path| app.route(path, get(background)));
    let client = Client::new(app.publish(&mpp, info()).unwrap().with_state(mpp));
    assert_eq!(client.get("/route/7").unpaid().await.status(), 402, "nobody waits for it");
    wait_for(|| IN_BACKGROUND.load(Ordering::SeqCst) == ROUTES);
    for path in ["/openapi.json", "/llms.txt", "/llms-full.txt", "/describe"] {
        assert_eq!(client.get(path).unpaid().await.status(), 200);
    }
    assert_eq!(IN_BACKGROUND.load(Ordering::SeqCst), ROUTES, "once for each operation");
}

#[test]
fn without_a_runtime_it_is_built_for_the_first_who_asks_and_never_again() {
    let mpp = testing::mpp();
    let app = routes().iter().fold(Router::<Mpp>::new(), |app, path| app.route(path, get(lazily)));
    let client = Client::new(app.publish(&mpp, info()).unwrap().with_state(mpp));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(client.get("/route/7").unpaid().await.status(), 402);
        assert_eq!(LAZILY.load(Ordering::SeqCst), 0, "starting and charging need no document");
        let (one, other) =
            tokio::join!(client.get("/openapi.json").unpaid(), client.get("/llms.txt").unpaid());
        assert!(one.text().contains("/route/999") && other.text().contains("/route/999"));
        assert_eq!(LAZILY.load(Ordering::SeqCst), ROUTES, "once for each operation");
        assert_eq!(client.get("/describe").unpaid().await.status(), 200);
        assert_eq!(LAZILY.load(Ordering::SeqCst), ROUTES);
    });
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Runs something with this log, in a runtime.
    fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        // Whoever else comes by first, while nobody listens, would switch the event off for good.
        static SOMEBODY: Once = Once::new();
        SOMEBODY.call_once(|| {
            let deaf = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
            tracing::subscriber::set_global_default(deaf).expect("the first one");
        });
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tracing::subscriber::with_default(subscriber, work) })
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn a_document_registries_would_not_read_is_said_while_the_server_starts() {
    let log = Log::default();
    log.during(|| {
        let mpp = testing::mpp();
        let app = routes().iter().fold(Router::<Mpp>::new(), |app, path| app.route(path, get(arrives_late)));
        drop(app.publish(&mpp, info()).unwrap().with_state::<()>(mpp).into_axum());
        wait_for(|| log.text().contains("registries read 65536"));
    });
    let text = log.text();
    assert!(
        text.contains("WARN mpp::startup: the OpenAPI document has ") && text.contains("`Info::slim`"),
        "{text}"
    );
}

#[derive(serde::Serialize)]
struct Broken;

impl utoipa::PartialSchema for Broken {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        panic!("this schema cannot be made")
    }
}

impl utoipa::ToSchema for Broken {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn broken(_: Paid) -> axum::Json<Broken> {
    axum::Json(Broken)
}

#[test]
fn a_schema_that_panics_is_said_at_start_up_and_the_server_sells_all_the_same() {
    let log = Log::default();
    let client = log.during(|| {
        let mpp = testing::mpp();
        let app = Router::<Mpp>::new().route("/broken", get(broken)).publish(&mpp, info()).unwrap();
        let client = Client::new(app.with_state(mpp));
        wait_for(|| log.text().contains("ERROR mpp::startup: the documents could not be built"));
        client
    });
    assert!(log.text().contains("this schema cannot be made"), "{}", log.text());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let document = client.get("/openapi.json").unpaid().await;
        assert_eq!(document.status(), 500);
        assert!(
            !document.text().contains("panic") && !document.text().contains("schema"),
            "{}",
            document.text()
        );
        assert_eq!(client.get("/broken").paying("tempo").await.status(), 200);
    });
}
