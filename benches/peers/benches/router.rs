//! A priced route in a router of axum, guarded by this library, by the official SDK and by x402-axum: time and allocations of
//! one request, from the router's `call` to the response.
//!
//! A group is a case, and its members are whose it is, so that what is compared is measured within the same seconds.
//! `benches/README.md` says what is equal about them and what is not. Before anything is measured every case is answered once
//! and held against what it should say; the sizes are printed, because a longer answer costs more.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use divan::{AllocProfiler, Bencher};
use mpp::protocol::{Challenge, Receipt};
use mpp_peers::proof::Payer;
use mpp_peers::{official, x402};

use server::{Server, authorized, get, order};

#[path = "../../shared/ours.rs"]
mod ours;
#[path = "router/parts.rs"]
mod parts;
#[path = "../../shared/server.rs"]
mod server;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    eprintln!("{:<50}{:>7}{:>9}{:>7}", "what answers what", "status", "headers", "body");
    for case in cases() {
        case.check();
    }
    divan::main();
}

/// What an answer has to carry.
#[derive(Clone, Copy)]
enum Carries {
    /// The resource, without a word about payments.
    Nothing,
    /// This many challenges of the Payment scheme, each of which can be read.
    Challenges(usize),
    /// The offer of x402.
    Offer,
    /// A receipt of the Payment scheme.
    Receipt,
    /// That of x402.
    Settlement,
}

/// One row of the comparison.
struct Case {
    name: &'static str,
    router: fn() -> Router,
    request: fn(&Server) -> Request<Body>,
    status: StatusCode,
    carries: Carries,
}

/// The order is that of the README.
fn cases() -> [Case; 21] {
    use Carries::{Challenges, Nothing, Offer, Receipt as AReceipt, Settlement};
    let case = |name, router: fn() -> Router, request: fn(&Server) -> Request<Body>, carries| {
        let asks = matches!(carries, Challenges(_) | Offer);
        let status = if asks { StatusCode::PAYMENT_REQUIRED } else { StatusCode::OK };
        Case { name, router, request, status, carries }
    };
    let (ours, sdk, other) = (ours::router, official::router, x402::router);
    [
        case("free_handler::axum", ours, |_| get("/free"), Nothing),
        case("constant_402::axum", ours::constant, |_| get("/constant"), Challenges(1)),
        case("challenge_one_method::ours", ours, |_| get("/one"), Challenges(1)),
        case("challenge_one_method::official_extractor", sdk, |_| get("/one"), Challenges(1)),
        case("challenge_one_method::official_layer", sdk, |_| get("/one/layer"), Challenges(1)),
        case(
            "challenge_one_method::official_layer_with_body",
            sdk,
            |_| get("/one/layer/problem"),
            Challenges(1),
        ),
        case("challenge_one_method::x402_axum", other, |_| get("/one"), Offer),
        case("challenge_two_methods::ours", ours, |_| get("/two"), Challenges(2)),
        case("challenge_two_methods::official_extractor", sdk, |_| get("/two"), Challenges(2)),
        case("challenge_two_methods::x402_axum", other, |_| get("/two"), Offer),
        case("computed_price::ours", ours, |_| order("/computed"), Challenges(1)),
        case("computed_price::official_by_hand", sdk, |_| order("/computed"), Challenges(1)),
        case("free_tier::ours", ours, |_| get("/tier?pages=1"), Nothing),
        case("free_tier::x402_axum", other, |_| get("/tier?pages=1"), Nothing),
        case("forged_credential::ours", ours, forged, Challenges(1)),
        case("forged_credential::official_extractor", sdk, forged, Challenges(1)),
        case("forged_credential::official_layer", sdk, forged_at_the_layer, Challenges(1)),
        case("valid_credential::ours", ours, pay_ours, AReceipt),
        case("valid_credential::official_extractor", sdk, |s| pay_official(s, "/sandbox"), AReceipt),
        case("valid_credential::official_layer", sdk, |s| pay_official(s, "/sandbox/layer"), AReceipt),
        case("valid_credential::x402_axum", other, pay_x402, Settlement),
    ]
}

impl Case {
    /// Asked once, it answers what it should.
    fn check(&self) {
        let server = Server::of(self.router);
        let (head, body) = server.call((self.request)(&server)).into_parts();
        let body = server.wait_for(to_bytes(body, usize::MAX)).expect("it is in memory");
        assert_eq!(head.status, self.status, "{}", self.name);
        match self.carries {
            Carries::Nothing => assert!(offers(&head.headers).is_empty(), "{}", self.name),
            Carries::Challenges(count) => {
                let offers = offers(&head.headers);
                assert_eq!(offers.len(), count, "{}", self.name);
                let asked = |offer: &Challenge| offer.charge().is_ok() && offer.expires_at().is_ok();
                assert!(offers.iter().all(asked), "{}", self.name);
            }
            Carries::Offer => assert!(head.headers.contains_key(x402::REQUIRED), "{}", self.name),
            Carries::Receipt => {
                let receipt = head.headers["payment-receipt"].to_str().expect("an ASCII header");
                Receipt::parse_header(receipt).expect("a receipt");
            }
            Carries::Settlement => assert!(head.headers.contains_key("payment-response"), "{}", self.name),
        }
        if self.status == StatusCode::OK {
            assert_eq!(body, ours::BODY, "{}", self.name);
        }
        let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        let headers: usize = head.headers.iter().map(size).sum();
        eprintln!("{:<50}{:>7}{headers:>9}{:>7}", self.name, head.status.as_u16(), body.len());
    }
}

/// The challenges a response carries.
fn offers(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
    Challenge::parse_all(lines.map(|line| line.to_str().expect("an ASCII header"))).offers
}

fn pay_ours(server: &Server) -> Request<Body> {
    authorized("/sandbox", &ours::credential(server))
}

fn pay_official(server: &Server, path: &str) -> Request<Body> {
    authorized(path, &official::credential(ours::challenge(server, path), &Payer::default()))
}

fn pay_x402(_: &Server) -> Request<Body> {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let mut request = get("/one");
    let payment = x402::payment(&Payer::default(), &nonce).parse().expect("an ASCII header");
    request.headers_mut().insert(x402::PAYMENT, payment);
    request
}

/// The same forgery, of whoever's challenge.
fn forged(server: &Server) -> Request<Body> {
    authorized("/one", &ours::forged(server, "/one"))
}

fn forged_at_the_layer(server: &Server) -> Request<Body> {
    authorized("/one/layer", &ours::forged(server, "/one/layer"))
}

/// Measures a request that is the same every time.
fn measure(bencher: Bencher, name: &str) {
    measure_with(bencher, name, |server, case| {
        // Made once: what comes in is copied, as it would be read from a connection.
        let made = (case.request)(server);
        let (head, body) = made.into_parts();
        let body = server.wait_for(to_bytes(body, usize::MAX)).expect("it is in memory");
        move |_: &Server| {
            let mut request = Request::new(Body::from(body.clone()));
            *request.method_mut() = head.method.clone();
            *request.uri_mut() = head.uri.clone();
            *request.headers_mut() = head.headers.clone();
            request
        }
    });
}

/// Measures a request that can be made only once.
fn measure_fresh(bencher: Bencher, name: &str) {
    measure_with(bencher, name, |_, case| case.request);
}

fn measure_with<R>(bencher: Bencher, name: &str, requests: impl FnOnce(&Server, &Case) -> R)
where
    R: Fn(&Server) -> Request<Body>,
{
    let cases = cases();
    let case = cases.iter().find(|case| case.name == name).expect("every measured case is checked");
    let server = Server::of(case.router);
    let request = requests(&server, case);
    bencher.with_inputs(|| request(&server)).bench_local_values(|request| server.call(request));
}

/// A function per member of a group, named after the case it measures.
macro_rules! group {
    ($group:ident: $measure:ident, $samples:literal x $size:literal: $($who:ident)*) => {
        mod $group {
            $(
                #[divan::bench(sample_count = $samples, sample_size = $size)]
                fn $who(bencher: divan::Bencher) {
                    super::$measure(bencher, concat!(stringify!($group), "::", stringify!($who)));
                }
            )*
        }
    };
}

group!(free_handler: measure, 400 x 16: axum);
group!(constant_402: measure, 400 x 16: axum);
group!(challenge_one_method: measure, 400 x 16:
    ours official_extractor official_layer official_layer_with_body x402_axum);
group!(challenge_two_methods: measure, 400 x 16: ours official_extractor x402_axum);
group!(computed_price: measure, 400 x 16: ours official_by_hand);
group!(free_tier: measure, 400 x 16: ours x402_axum);
group!(forged_credential: measure, 400 x 16: ours official_extractor official_layer);
group!(valid_credential: measure_fresh, 100 x 8: ours official_extractor official_layer x402_axum);
