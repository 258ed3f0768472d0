//! A server of this library with play money, somebody between it and the client, and a clock for both.

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use mpp::client::{BoxError, Builder, Client, Error, MemoryLedger, Pay, Policy};
use mpp::method::sandbox::Wallet;
use mpp::method::{ClientMethod, Cost, Fate, PayError, Proof, Shortfall, Step};
use mpp::protocol::{BaseUnits, Challenge, MethodName, Secret, Timestamp};
use mpp::routing::{Router, get, post};
use mpp::{Amount, ManualClock, Mpp, Paid, Sandbox};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower::{Layer as _, Service, ServiceExt as _};

pub(crate) const START: Timestamp = Timestamp::from_unix(1_800_000_000);
pub(crate) const HOME: &str = "https://api.example.com";

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn weather(_: Paid) -> &'static str {
    "sunny"
}

#[mpp::charge(amount = "5.00", currency = "usdc", methods(sandbox))]
async fn dear(_: Paid) -> &'static str {
    "gold"
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(sandbox))]
async fn echo(paid: Paid, body: String) -> String {
    format!("{body} {}", paid.attempt())
}

#[mpp::charge(amount = "0", currency = "usdc", methods(sandbox), proof = true)]
async fn me(paid: Paid) -> String {
    paid.payer().unwrap_or_default().to_owned()
}

#[mpp::charge(amount = "0.02", currency = "usdc", methods(sandbox))]
async fn moody(paid: Paid) -> Result<&'static str, StatusCode> {
    // The first run fails; the second one is of the same payment.
    if paid.attempt() == 1 { Err(StatusCode::INTERNAL_SERVER_ERROR) } else { Ok("better now") }
}

#[mpp::charge(amount = "0.02", currency = "usdc", methods(sandbox))]
async fn picky(paid: Paid) -> Result<&'static str, StatusCode> {
    // The first run finds nothing.
    if paid.attempt() == 1 { Err(StatusCode::NOT_FOUND) } else { Ok("found") }
}

/// Sold, and to be had elsewhere.
#[mpp::charge(amount = "0.03", currency = "usdc", methods(sandbox))]
async fn elsewhere(Path(name): Path<String>, _: Paid) -> Redirect {
    Redirect::to(&format!("//{name}/seen"))
}

/// What happens to one request.
pub(crate) enum Act {
    /// Nothing.
    Pass,
    /// It never arrives; this is answered.
    Answer(Response<Body>),
    /// It arrives, and the response is changed.
    Change(Box<dyn FnOnce(Response<Body>) -> Response<Body> + Send>),
    /// It is answered, and the answer is lost.
    LoseAnswer,
    /// It never arrives, and neither does an answer.
    LoseRequest,
    /// It is answered, and the answer never comes.
    Hang,
}

pub(crate) fn change(by: impl FnOnce(Response<Body>) -> Response<Body> + Send + 'static) -> Act {
    Act::Change(Box::new(by))
}

/// The server, and whoever is in between. Clones are the same.
#[derive(Clone)]
pub(crate) struct Server {
    router: axum::Router,
    pub(crate) sandbox: Sandbox,
    acts: Arc<Mutex<VecDeque<Act>>>,
    /// The headers of what arrived in between, in order.
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Server {
    /// The honest server, for a socket.
    pub(crate) fn router(&self) -> axum::Router {
        self.router.clone()
    }

    /// Decides what happens to the next requests; after them, nothing does.
    pub(crate) fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The headers of the request of this number, counted from 0.
    pub(crate) fn headers(&self, request: usize) -> HeaderMap {
        self.seen.lock().unwrap()[request].clone()
    }

    /// An unpaid response of the honest server, which nobody in between has seen.
    pub(crate) async fn issue(&self, path: &str) -> Response<Body> {
        let request = Request::get(url(path)).body(Body::empty()).unwrap();
        let Ok(response) = self.router.clone().oneshot(request).await;
        response
    }

    /// What it took, in all.
    pub(crate) async fn till(&self) -> Amount {
        self.sandbox.till().await.unwrap()
    }

    async fn answer(self, request: Request<Full<Bytes>>) -> Result<Response<Body>, BoxError> {
        self.seen.lock().unwrap().push(request.headers().clone());
        let act = self.acts.lock().unwrap().pop_front().unwrap_or(Act::Pass);
        let serve = async |request: Request<Full<Bytes>>| {
            let Ok(response) = self.router.clone().oneshot(request.map(Body::new)).await;
            response
        };
        match act {
            Act::Pass => Ok(serve(request).await),
            Act::Answer(response) => Ok(response),
            Act::Change(by) => Ok(by(serve(request).await)),
            Act::LoseAnswer => {
                serve(request).await;
                Err("the connection was reset".into())
            }
            Act::LoseRequest => Err("the connection was refused".into()),
            Act::Hang => {
                serve(request).await;
                std::future::pending().await
            }
        }
    }
}

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// A server, a payer, and the time.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) wallet: Wallet,
    pub(crate) client: Client,
    pub(crate) http: Pay<Server>,
}

impl World {
    pub(crate) fn new(policy: Policy) -> World {
        World::with(policy, |builder| builder)
    }

    pub(crate) fn with(policy: Policy, change: impl FnOnce(Builder) -> Builder) -> World {
        let wallet = Wallet::generate();
        let method = wallet.clone();
        World::paying(wallet, policy, |builder| change(builder.method(method)))
    }

    /// With other wallets than the one whose account the server has.
    pub(crate) fn paying(wallet: Wallet, policy: Policy, change: impl FnOnce(Builder) -> Builder) -> World {
        let clock = Arc::new(ManualClock::at(START));
        let server = server(HOME, &wallet, &clock);
        let builder = Client::builder(policy, MemoryLedger::new()).clock(clock.clone());
        let client = change(builder).build().unwrap();
        let http = client.layer().layer(server.clone());
        World { server, clock, wallet, client, http }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response<Body>, Error> {
        self.send(Request::get(url(path)), "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &'static str) -> Result<Response<Body>, Error> {
        self.send(Request::post(url(path)), body).await
    }

    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        body: &'static str,
    ) -> Result<Response<Body>, Error> {
        self.exchange(request.body(Full::from(body)).unwrap()).await
    }

    /// Sends what an error kept.
    pub(crate) async fn retry(&self, error: &Error) -> Result<Response<Body>, Error> {
        let unsettled = error.unsettled().expect("a payment that can be sent again");
        self.exchange(unsettled.request().map(Full::new)).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>, Error> {
        let response = self.http.clone().oneshot(request).await;
        response.map_err(|error| *error.downcast::<Error>().expect("our own error"))
    }

    pub(crate) async fn till(&self) -> Amount {
        self.server.till().await
    }
}

pub(crate) fn server(base: &str, wallet: &Wallet, clock: &Arc<ManualClock>) -> Server {
    let sandbox = Sandbox::new().with_clock(clock.clone()).account(&wallet.did(), Amount::whole(100));
    let mpp = Mpp::builder(base)
        .secret(Secret::generate())
        .method(sandbox.clone())
        .clock(clock.clone())
        .allow_test_money()
        .build()
        .unwrap_or_else(|report| panic!("{report}"));
    let router = Router::new()
        .route("/weather", get(weather))
        .route("/dear", get(dear))
        .route("/echo", post(echo))
        .route("/me", get(me))
        .route("/moody", get(moody))
        .route("/picky", get(picky))
        .route("/elsewhere/{name}", get(elsewhere))
        .route("/free", axum::routing::get(async || "nothing"))
        .with_state(mpp)
        .into_axum();
    Server { router, sandbox, acts: Arc::default(), seen: Arc::default() }
}

pub(crate) fn url(path: &str) -> String {
    format!("{HOME}{path}")
}

pub(crate) async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A response of the server's own making.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)]) -> Response<Body> {
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// The challenges of a 402.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(header::WWW_AUTHENTICATE);
    Challenge::parse_all(lines.iter().map(|line| line.to_str().unwrap())).offers
}

/// Replaces every challenge of a 402.
pub(crate) fn edited(mut response: Response<Body>, edit: impl Fn(&mut Challenge)) -> Response<Body> {
    let offers = challenges(response.headers());
    response.headers_mut().remove(header::WWW_AUTHENTICATE);
    for mut offer in offers {
        edit(&mut offer);
        response.headers_mut().append(header::WWW_AUTHENTICATE, offer.to_header_value().parse().unwrap());
    }
    response
}

/// A wallet that does as it is told, around one that signs.
pub(crate) struct Told {
    pub(crate) inner: Wallet,
    pub(crate) paid: Arc<AtomicUsize>,
    pub(crate) fate: Fate,
    pub(crate) fails: Option<PayError>,
    /// The time that paying takes.
    pub(crate) takes: Option<(Arc<ManualClock>, std::time::Duration)>,
    /// What it says that it has.
    pub(crate) has: Has,
}

/// What a wallet says of its account.
#[derive(Clone, Copy)]
pub(crate) enum Has {
    Enough,
    /// Base units.
    Only(u128),
    /// It asks, and gets no answer.
    NoAnswer,
}

impl Told {
    pub(crate) fn around(inner: &Wallet) -> Told {
        Told {
            inner: inner.clone(),
            paid: Arc::default(),
            fate: Fate::Unknown,
            fails: None,
            takes: None,
            has: Has::Enough,
        }
    }
}

impl ClientMethod for Told {
    fn name(&self) -> &MethodName {
        self.inner.name()
    }

    fn cost(&self, challenge: &Challenge) -> Result<Cost, PayError> {
        self.inner.cost(challenge)
    }

    fn afford<'a>(&'a self, _: &'a Challenge, cost: &'a Cost) -> Step<'a, Result<(), Shortfall>> {
        match self.has {
            Has::Enough => Step::ready(Ok(())),
            Has::Only(units) => {
                let has = BaseUnits::new(units);
                Step::ready(Err(Shortfall { asset: cost.asset.clone(), needs: cost.amount, has }))
            }
            Has::NoAnswer => Step::boxed(std::future::pending()),
        }
    }

    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
        self.paid.fetch_add(1, Ordering::SeqCst);
        if let Some((clock, time)) = &self.takes {
            clock.advance(*time);
        }
        match &self.fails {
            Some(error) => Step::ready(Err(error.clone())),
            None => self.inner.pay(challenge),
        }
    }

    fn fate<'a>(&'a self, _: &'a Challenge, _: &'a Proof) -> Step<'a, Fate> {
        Step::ready(self.fate.clone())
    }
}
