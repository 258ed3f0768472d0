//! What a 402 and a payment cost as a service grows: more prices, more routes of one price, more claims in the store, more offers of one
//! price, longer headers; beside a handler of axum's that is free.
//!
//! In the process, without a socket: a request from the router's `call` to its response. All sizes of a figure are there at once and
//! measured in turn, so that a machine that slows down meanwhile slows all of them; a point is the median of all turns. `cargo xtask bench`
//! draws the figures and says which of them are flat.

mod prices;

use crate::{Effort, report};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use mpp::__private::{HeadQuote, LayerPrice};
use mpp::method::ClientMethod as _;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{Challenge, Credential};
use mpp::routing::get;
use mpp::store::{Keep, Key, Limits, MemoryStore, Quota, Store as _, Write};
use mpp::{Amount, Mpp, Paid, Sandbox, Secret};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

const BODY: &str = "sunny, 21 degrees\n";
/// Where the handlers without a price are.
const FREE: &str = "/free";

async fn free() -> &'static str {
    BODY
}

/// A handler with a price in each of these currencies.
macro_rules! offers {
    ($handler:ident: $($currency:literal)+) => {
        #[mpp::charge(amount = "0.05", methods($(sandbox(currency = $currency)),+))]
        async fn $handler(_: Paid) -> &'static str {
            BODY
        }
    };
}

offers!(one_offer: "usdc");
offers!(two_offers: "usdc" "eurc");
offers!(five_offers: "usdc" "eurc" "usd" "eur" "gbp");
offers!(ten_offers: "usdc" "eurc" "usd" "eur" "gbp" "pathusd" "alphausd" "eth" "pol" "avax");

/// Measures every figure and reports.
pub(crate) fn measure(effort: Effort) {
    let pace = effort.choose(Pace { turns: 60, calls: 400 }, Pace { turns: 3, calls: 100 });

    let sizes: &[usize] = effort.choose(&[10, 100, 1_000, 10_000], &[10, 1_000]);
    measured("prices", sizes, pace, |prices| {
        let specs = prices::of(prices);
        assert_eq!(specs.len(), prices, "there are modules of just that many prices");
        Service::new(Size { paths: prices, prices, ..Size::ONE }, |mpp, mut app| {
            for (number, spec) in specs.into_iter().enumerate() {
                let price = LayerPrice::new(spec, HeadQuote::Fixed);
                app = app.route(&format!("/{number}"), mpp.wrap(axum::routing::get(free), price));
            }
            app
        })
    });

    let sizes: &[usize] = effort.choose(&[10, 100, 1_000, 10_000, 100_000], &[10, 1_000]);
    measured("routes", sizes, pace, |routes| {
        Service::new(Size { paths: routes, ..Size::ONE }, |_, app| (0..routes).fold(app, one_offer_at))
    });

    let sizes: &[usize] = effort.choose(&[1, 1_000, 10_000, 100_000, 1_000_000], &[1, 10_000]);
    measured("claims", sizes, pace, |claims| {
        Service::new(Size { claims, ..Size::ONE }, |_, app| one_offer_at(app, 0))
    });

    measured("offers", &[1, 2, 5, 10], pace, |offers| {
        Service::new(Size::ONE, |_, app| match offers {
            1 => app.route("/0", get(one_offer)),
            2 => app.route("/0", get(two_offers)),
            5 => app.route("/0", get(five_offers)),
            _ => app.route("/0", get(ten_offers)),
        })
    });

    headers(pace);
}

fn one_offer_at(app: mpp::routing::Router<Mpp>, number: usize) -> mpp::routing::Router<Mpp> {
    app.route(&format!("/{number}"), get(one_offer))
}

/// How often each size is measured.
#[derive(Debug, Clone, Copy)]
struct Pace {
    turns: usize,
    /// Requests for a price in a turn; a payment costs as much as eight of them.
    calls: usize,
}

fn measured(figure: &str, sizes: &[usize], pace: Pace, service: impl Fn(usize) -> Service) {
    let mut services: Vec<_> =
        sizes.iter().map(|size| (*size, service(*size), [const { Vec::new() }; 3])).collect();
    for _ in 0..pace.turns {
        for (_, service, [given, asked, paid]) in &mut services {
            let requests = (0..pace.calls).map(|_| service.request(FREE)).collect();
            given.push(service.time(requests, StatusCode::OK));
            let requests = (0..pace.calls).map(|_| service.request("")).collect();
            asked.push(service.time(requests, StatusCode::PAYMENT_REQUIRED));
            let requests = (0..pace.calls / 8).map(|_| service.paying_request()).collect();
            paid.push(service.time(requests, StatusCode::OK));
        }
    }
    for (size, _, [given, asked, paid]) in services {
        for (case, times) in [("free handler", given), ("402", asked), ("payment", paid)] {
            times.iter().for_each(|time| report::point(figure, case, size as f64, *time));
        }
    }
}

/// Requests with headers of so many bytes: one that is not ours, a list of wishes, and a credential that somebody made up.
fn headers(pace: Pace) {
    const SIZES: [usize; 5] = [256, 1024, 4 * 1024, 16 * 1024, 48 * 1024];
    // Of one offer there is no order, and no list of wishes is read.
    let mut service = Service::new(Size::ONE, |_, app| app.route("/0", get(two_offers)));
    let mut forged = service.credential("/0");
    forged.challenge.id = "A".repeat(forged.challenge.id.len());
    let mut kinds: Vec<(&str, usize, HeaderMap, Vec<f64>)> = Vec::new();
    for size in SIZES {
        let with = |name: HeaderName, value: String| {
            HeaderMap::from_iter([(name, HeaderValue::try_from(value).expect("a value"))])
        };
        let filler = with(HeaderName::from_static("x-filler"), "x".repeat(size));
        kinds.push(("402, another header", size, filler, Vec::new()));
        let wishes = "stripe/charge;q=0.5, ".repeat(size / 21) + "sandbox/charge";
        kinds.push((
            "402, Accept-Payment",
            size,
            with(HeaderName::from_static("accept-payment"), wishes),
            Vec::new(),
        ));
        let mut forged = forged.clone();
        // Three quarters of it: it is base64 in the header.
        forged.payload.insert("filler".to_owned(), "x".repeat(size * 3 / 4).into());
        kinds.push((
            "forged credential",
            size,
            with(header::AUTHORIZATION, forged.to_header_value()),
            Vec::new(),
        ));
    }
    for _ in 0..pace.turns {
        for (_, _, headers, times) in &mut kinds {
            let request = || {
                let mut request = Request::get("/0").body(Body::empty()).expect("a request");
                request.headers_mut().clone_from(headers);
                request
            };
            let requests = (0..pace.calls).map(|_| request()).collect();
            times.push(service.time(requests, StatusCode::PAYMENT_REQUIRED));
        }
    }
    for (kind, size, _, times) in kinds {
        times.iter().for_each(|time| report::point("headers", kind, size as f64, *time));
    }
}

/// How large a service is.
struct Size {
    /// Of others, in its store.
    claims: usize,
    /// Priced routes: `/0` and the following.
    paths: usize,
    /// Of [`prices`].
    prices: usize,
}

impl Size {
    const ONE: Self = Self { claims: 0, paths: 1, prices: 0 };
}

/// A server without a socket, and somebody who pays it.
struct Service {
    runtime: Runtime,
    router: Router,
    wallet: Wallet,
    paths: usize,
    next: usize,
}

impl Service {
    /// On the routes of `routes`, each with a neighbour that is free.
    fn new(
        Size { claims, paths, prices }: Size,
        routes: impl FnOnce(&Mpp, mpp::routing::Router<Mpp>) -> mpp::routing::Router<Mpp>,
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let wallet = Wallet::generate();
        let router = runtime.block_on(async {
            let store = MemoryStore::with_limits(Limits { paid: usize::MAX, free: usize::MAX });
            for number in 0..claims {
                let key = Key::new(Quota::Free, "claim", &format!("somebody-else-{number:029}"));
                let write = Write { value: vec![7; 64], keep: Keep::Live };
                store.cas(&key, None, Some(write)).await.expect("there is room");
            }
            let mpp = prices::without_others(Mpp::builder("https://api.example.com"), prices)
                .secret(Secret::generate())
                .method(Sandbox::new().account(&wallet.did(), Amount::whole(1_000_000_000)))
                .shared_store(Arc::new(store))
                .allow_test_money()
                .ignore_module("load::serve") // this program's other prices, in another process
                .build()
                .expect("the prices of this file can be paid");
            let priced = routes(&mpp, mpp::routing::Router::new()).with_state(mpp).into_axum();
            (0..paths)
                .fold(priced, |app, number| app.route(&format!("{FREE}/{number}"), axum::routing::get(free)))
        });
        Self { runtime, router, wallet, paths, next: 0 }
    }

    fn call(&mut self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.runtime.block_on(self.router.call(request));
        response
    }

    /// The next path; neighbours in the table of routes are not asked one after the other.
    fn path(&mut self) -> String {
        self.next = (self.next + 7919) % self.paths.max(1);
        format!("/{}", self.next)
    }

    /// For a price, or for what is free under this prefix.
    fn request(&mut self, prefix: &str) -> Request<Body> {
        Request::get(format!("{prefix}{}", self.path())).body(Body::empty()).expect("a request")
    }

    fn credential(&mut self, path: &str) -> Credential {
        let unpaid = self.call(Request::get(path).body(Body::empty()).expect("a request"));
        let lines = unpaid
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .map(|line| line.to_str().expect("ASCII"));
        let challenge = Challenge::parse_all(lines).offers.remove(0);
        let proof = self.runtime.block_on(self.wallet.pay(&challenge)).expect("the account is funded");
        Credential { challenge, source: proof.source, payload: proof.payload }
    }

    fn paying_request(&mut self) -> Request<Body> {
        let path = self.path();
        let credential = self.credential(&path).to_header_value();
        Request::get(path).header(header::AUTHORIZATION, credential).body(Body::empty()).expect("a request")
    }

    /// Nanoseconds of this thread's time that one of these requests takes, on average: a machine that does something else as well
    /// does not count.
    fn time(&mut self, requests: Vec<Request<Body>>, expected: StatusCode) -> f64 {
        let count = requests.len() as f64;
        // What is not part of the price: making requests, and dropping responses.
        let mut responses = Vec::with_capacity(requests.len());
        let start = of_this_thread();
        for request in requests {
            responses.push(black_box(self.call(request)));
        }
        let took = of_this_thread() - start;
        assert!(responses.iter().all(|response| response.status() == expected), "{:?}", responses[0]);
        took / count
    }
}

/// Nanoseconds of the processor that this thread has used.
fn of_this_thread() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
