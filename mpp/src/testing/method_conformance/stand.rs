//! The server in process that the kit pays, and its clock.

use super::{Found, MethodBench};
use crate::clock::ManualClock;
use crate::method::{
    CredentialCx, MethodCurrency, Payment, Proof, Rejection, ServerMethod, SettleCx, Settlement,
    SettlementPlan, Verified,
};
use crate::pricing::{Location, OfferSpec, Price, PriceSpec, registry};
use crate::protocol::{Challenge, ChargeRequest, Credential, Secret, Timestamp};
use crate::server::layer::{HeadQuote, LayerPrice};
use crate::server::{Builder, Mpp};
use crate::store::{MemoryStore, Store};
use crate::testing::{Client, Response};
use axum::Router;
use axum::http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where the priced resource is.
pub(super) const PATH: &str = "/thing";
/// Longer than all the kit's patience, so that no challenge ends in the middle of a check.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);
/// Longer than a lease and a call together, so that a dead server's entries can be taken over.
const PAUSE: Duration = Duration::from_secs(91);
/// How many pauses an outcome may stay unknown.
pub(super) const PATIENCE: usize = 20;
/// After how many the payer does something about it, if anything can be done.
const GIVES_UP: usize = 4;

/// The method under test, and a server that takes it.
pub(super) struct Stand<'b, B: MethodBench> {
    pub(super) bench: &'b B,
    pub(super) clock: Arc<ManualClock>,
    pub(super) method: Arc<B::Method>,
    pub(super) currency: MethodCurrency,
    /// The price, in base units.
    pub(super) price: u128,
    /// How often the handler has run.
    runs: Arc<AtomicUsize>,
    stops: AtomicUsize,
    spec: &'static PriceSpec,
    shelf: Arc<dyn Store>,
    secret: Secret,
    pub(super) client: Client,
}

/// A challenge with its honest answer, and what was there before it was paid.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) challenge: Challenge,
    pub(super) request: ChargeRequest,
    pub(super) proof: Proof,
    expires: Timestamp,
    taken: u128,
    runs: usize,
}

impl Ticket {
    /// As `verify` sees it.
    pub(super) fn cx(&self, now: Timestamp) -> CredentialCx<'_> {
        let mut cx =
            CredentialCx::new(&self.challenge, &self.request, &self.proof.payload, self.expires, now);
        cx.source = self.proof.source.as_deref();
        cx
    }

    /// As `settle` sees it.
    pub(super) fn settle<'a>(&'a self, plan: &'a SettlementPlan, now: Timestamp) -> SettleCx<'a> {
        SettleCx::new(&self.challenge.id, plan, now)
    }

    pub(super) fn credential(&self) -> Credential {
        Credential {
            challenge: self.challenge.clone(),
            source: self.proof.source.clone(),
            payload: self.proof.payload.clone(),
        }
    }

    pub(super) fn header(&self) -> String {
        self.credential().to_header_value()
    }
}

/// What happened since a ticket was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    /// Payments; `None` when what moved is no multiple of the price.
    pub(super) payments: Option<u128>,
    /// Runs of the handler.
    pub(super) runs: usize,
}

impl<'b, B: MethodBench> Stand<'b, B> {
    pub(super) async fn set_up(bench: &'b B) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::at(bench.now()));
        let method = Arc::new(bench.method(clock.clone()).await);
        let (amount, currency) = bench.price();
        let own = method.currency(currency.name).ok_or_else(|| {
            format!(
                "the price is in {}, which the method does not know ({:?})",
                currency.name,
                method.currencies()
            )
        })?;
        let price = amount.to_base_units(own.decimals).map_err(|e| format!("the price: {e}"))?;
        // A price made at run time; a test makes a handful of them, so they may stay until it ends.
        let name: &'static str = Box::leak(method.name().as_str().to_owned().into_boxed_str());
        let offer = OfferSpec { method: name, currency, price: Price::Fixed(amount) };
        let spec: &'static PriceSpec = Box::leak(Box::new(PriceSpec {
            module: module_path!(),
            name: "thing",
            offers: Box::leak(Box::new([offer])),
            location: Location { file: file!(), line: line!(), column: column!() },
            ..PriceSpec::NEW
        }));
        let shelf: Arc<dyn Store> = Arc::new(MemoryStore::new().with_clock(clock.clone()));
        let (secret, runs) = (Secret::generate(), Arc::default());
        let client = serve(method.clone(), &clock, shelf.clone(), &secret, spec, &runs)?;
        let (currency, price, stops) = (own, price.get(), AtomicUsize::new(0));
        Ok(Self { bench, clock, method, currency, price, runs, stops, spec, shelf, secret, client })
    }

    /// The server in another process, over this store.
    pub(super) async fn restart(&self, store: Arc<dyn Store>) -> Client {
        let method = Arc::new(self.another_method().await);
        serve(method, &self.clock, store, &self.secret, self.spec, &self.runs)
            .expect("what started once starts again")
    }

    /// The method as another process has it.
    pub(super) async fn another_method(&self) -> B::Method {
        self.bench.method(self.clock.clone()).await
    }

    /// What the server writes to, and survives it.
    pub(super) fn shelf(&self) -> Arc<dyn Store> {
        self.shelf.clone()
    }

    pub(super) fn now(&self) -> Timestamp {
        use crate::clock::Clock;
        self.clock.now()
    }

    /// Something was stopped in the middle.
    pub(super) fn stopped(&self) {
        self.stops.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn stops(&self) -> usize {
        self.stops.load(Ordering::SeqCst)
    }

    /// Time goes on here and there.
    pub(super) async fn wait(&self) {
        self.clock.advance(PAUSE);
        self.bench.wait(PAUSE).await;
    }

    /// The n-th time in a row for the same payment.
    async fn wait_again(&self, pause: usize) {
        if pause == GIVES_UP {
            self.bench.abandon().await;
        }
        self.wait().await;
    }

    /// A challenge, unanswered.
    pub(super) async fn challenge(&self) -> Challenge {
        let unpaid = self.client.get(PATH).unpaid().await;
        let offers = unpaid.challenges().offers;
        assert!(
            unpaid.status() == StatusCode::PAYMENT_REQUIRED && offers.len() == 1,
            "no challenge: HTTP {} {}",
            unpaid.status(),
            unpaid.text()
        );
        offers.into_iter().next().expect("there is one")
    }

    /// A challenge with its honest answer.
    pub(super) async fn ticket(&self) -> Ticket {
        let challenge = self.challenge().await;
        let (taken, runs) = (self.bench.taken().await, self.runs.load(Ordering::SeqCst));
        let proof = self.bench.pay(&challenge).await;
        let request = challenge.charge().expect("a challenge of ours is for a charge");
        let expires = challenge.expires_at().ok().flatten().expect("a challenge of ours ends");
        Ticket { challenge, request, proof, expires, taken, runs }
    }

    /// As the pipeline: `verify` by the method at hand.
    pub(super) async fn verified(&self, ticket: &Ticket) -> Verified {
        let cx = ticket.cx(self.now());
        match self.method.verify(&cx).await {
            Ok(verified) => verified,
            Err(rejection) => panic!("an honest payment was refused by `verify`: {rejection:?}"),
        }
    }

    pub(super) async fn since(&self, ticket: &Ticket) -> Since {
        let moved = self.bench.taken().await.checked_sub(ticket.taken);
        Since {
            payments: moved.filter(|moved| moved.is_multiple_of(self.price)).map(|moved| moved / self.price),
            runs: self.runs.load(Ordering::SeqCst) - ticket.runs,
        }
    }

    pub(super) async fn present(&self, client: &Client, header: &str) -> Response {
        client.get(PATH).presenting(header).await
    }

    /// Presents a credential until the server knows what became of it, as a patient client would.
    pub(super) async fn until_answered(
        &self,
        client: &Client,
        header: &str,
        found: &mut Found,
    ) -> StatusCode {
        for pause in 0..PATIENCE {
            let response = self.present(client, header).await;
            match response.status() {
                StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => self.wait_again(pause).await,
                status => return status,
            }
        }
        found.push("the outcome of a payment stays unknown for good".to_owned());
        StatusCode::SERVICE_UNAVAILABLE
    }

    /// Asks `resolve` of another process until it knows.
    pub(super) async fn resolved(
        &self,
        ticket: &Ticket,
        plan: &SettlementPlan,
        found: &mut Found,
    ) -> Option<Result<Payment, Rejection>> {
        let method = self.another_method().await;
        let mut last = String::new();
        for pause in 0..PATIENCE {
            match method.resolve(&ticket.settle(plan, self.now())).await {
                Settlement::Settled(payment) => return Some(Ok(payment)),
                Settlement::Declined(rejection) => return Some(Err(rejection)),
                Settlement::Unknown { detail } => last = detail,
            }
            self.wait_again(pause).await;
        }
        found.push(format!("`resolve` never finds out ({last})"));
        None
    }
}

/// A server of one resource at the price.
fn serve(
    method: Arc<dyn ServerMethod>,
    clock: &Arc<ManualClock>,
    store: Arc<dyn Store>,
    secret: &Secret,
    spec: &'static PriceSpec,
    runs: &Arc<AtomicUsize>,
) -> Result<Client, String> {
    let builder = Mpp::builder("https://test.example")
        .secret(secret.clone())
        .shared_method(method)
        .clock(clock.clone())
        .shared_store(store)
        .challenge_lifetime(LIFETIME)
        .grace(LIFETIME)
        .allow_test_money()
        .single_process_volatile_store();
    // Prices of the program around the test may name methods that are not here.
    let ignoring = |builder: Builder, module: &'static str| builder.ignore_module(module);
    let mpp = registry().iter().map(|spec| spec.module).fold(builder, ignoring).build();
    let mpp = mpp.map_err(|report| report.to_string())?;
    let runs = runs.clone();
    let handler = move || {
        runs.fetch_add(1, Ordering::SeqCst);
        std::future::ready("the thing")
    };
    let route = axum::routing::get(handler).layer(mpp.layer(LayerPrice::new(spec, HeadQuote::Fixed)));
    Ok(Client::new(Router::new().route(PATH, route)))
}
