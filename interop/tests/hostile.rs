//! Servers that cheat: our client buys from them on a real chain and by card. What moved is counted on the chain and at the
//! stand-in for Stripe, never in the client's own ledger. The same tricks with play money, and more of them, are in
//! `mpp/tests/client/hostile.rs`.

use alloy::signers::local::PrivateKeySigner;
use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use interop::stripe::{PROFILE, SECRET_KEY, StandIn};
use interop::{CHAIN_ID, Chain, DEV_KEYS, Lab, fresh_address, lab};
use mpp::client::{Budget, Client, Error, MemoryLedger, Paid as PaidFor, Policy, Refusal};
use mpp::method::ClientMethod;
use mpp::method::tempo::{Mode, Sponsor, TempoWallet};
use mpp::protocol::{BaseUnits, Challenge};
use mpp::routing::{Router, get};
use mpp::{Amount, Mpp, Paid, Secret, Stripe, Tempo};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn charge(_: Paid) -> &'static str {
    "delivered"
}

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo), fees = "sponsored")]
async fn sponsored(_: Paid) -> &'static str {
    "delivered"
}

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe))]
async fn card(_: Paid) -> &'static str {
    "delivered"
}

/// What the server does with the next request.
enum Act {
    /// What an honest one does.
    Pass,
    /// This is sent instead.
    Answer(Response<Vec<u8>>),
    /// The payment is taken, and this is sent instead of what it buys.
    Take(Response<Vec<u8>>),
    /// The connection is cut before the request is read as one.
    LoseRequest,
    /// The connection is cut once the payment was taken and delivered.
    LoseAnswer,
    /// These bytes are sent, and then one more a second.
    Drip(Vec<u8>),
}

/// A server with an honest half, which takes payments, and a half that does what the script says.
struct Cheat {
    base: String,
    honest: axum::Router,
    script: Mutex<VecDeque<Act>>,
    /// What came as `Authorization`, request by request.
    credentials: Mutex<Vec<Option<HeaderValue>>>,
}

impl Cheat {
    fn will(&self, script: impl IntoIterator<Item = Act>) {
        *self.script.lock().expect("no panic in here") = script.into_iter().collect();
    }

    fn credentials(&self) -> Vec<HeaderValue> {
        self.credentials.lock().expect("no panic in here").iter().flatten().cloned().collect()
    }

    /// The honest half's answer.
    async fn honestly(&self, path: &str, credential: Option<HeaderValue>) -> Response<Vec<u8>> {
        let mut request = Request::get(path).header(header::HOST, "127.0.0.1");
        if let Some(credential) = credential {
            request = request.header(header::AUTHORIZATION, credential);
        }
        let answer = self.honest.clone().oneshot(request.body(Body::empty()).expect("a request")).await;
        let (head, body) = answer.expect("infallible").into_parts();
        Response::from_parts(head, body.collect().await.expect("a body").to_bytes().to_vec())
    }

    /// A fresh 402 of the honest half, edited.
    async fn asking(&self, path: &str, edit: impl Fn(&mut Challenge)) -> Response<Vec<u8>> {
        let mut answer = self.honestly(path, None).await;
        assert_eq!(answer.status(), StatusCode::PAYMENT_REQUIRED);
        let line = answer.headers()[header::WWW_AUTHENTICATE].clone();
        let mut challenge = Challenge::parse_all([line.to_str().expect("text")]).offers.remove(0);
        edit(&mut challenge);
        let line = challenge.to_header_value().parse().expect("a header");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, line);
        answer
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let cheat = self.clone();
            // A client that has hung up is no matter.
            tokio::spawn(async move { drop(cheat.answer(stream).await) });
        }
    }

    /// One request a connection.
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head).expect("our client writes ASCII");
        let path = head.split(' ').nth(1).expect("a target").to_owned();
        let credential = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization").then(|| value.parse().expect("a header"))
        });
        self.credentials.lock().expect("no panic in here").push(credential.clone());
        let act = self.script.lock().expect("no panic in here").pop_front().unwrap_or(Act::Pass);
        let answer = match act {
            Act::Pass => self.honestly(&path, credential).await,
            Act::Answer(answer) => answer,
            Act::Take(answer) => {
                assert_eq!(self.honestly(&path, credential).await.status(), 200, "the payment is good");
                answer
            }
            Act::LoseRequest => return Ok(()),
            Act::LoseAnswer => {
                assert_eq!(self.honestly(&path, credential).await.status(), 200, "the payment is good");
                return Ok(());
            }
            Act::Drip(bytes) => {
                stream.write_all(&bytes).await?;
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    stream.write_all(b"a").await?;
                }
            }
        };
        stream.write_all(&on_the_wire(&answer)).await
    }
}

fn on_the_wire(answer: &Response<Vec<u8>>) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        bytes.extend_from_slice(format!("{name}: ").as_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let length = answer.body().len();
    bytes.extend_from_slice(format!("content-length: {length}\r\nconnection: close\r\n\r\n").as_bytes());
    bytes.extend_from_slice(answer.body());
    bytes
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Response<Vec<u8>> {
    let builder = Response::builder().status(status);
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(Vec::new()).expect("a response")
}

/// A cheat, and those who count.
struct World {
    chain: Chain,
    cards: StandIn,
    recipient: String,
    thief: String,
    cheat: Arc<Cheat>,
}

/// How it is paid.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Pull,
    Push,
    Sponsored,
    Card,
}

const EVERY: [Way; 4] = [Way::Pull, Way::Push, Way::Sponsored, Way::Card];

impl Way {
    fn path(self) -> &'static str {
        match self {
            Way::Pull | Way::Push => "/charge",
            Way::Sponsored => "/sponsored",
            Way::Card => "/card",
        }
    }

    /// Base units.
    fn price(self) -> u128 {
        if self == Way::Card { 100 } else { 10_000 }
    }
}

impl World {
    async fn new(lab: &Lab) -> World {
        let (chain, cards) = tokio::join!(lab.chain(), StandIn::of_today());
        let (recipient, thief) = (fresh_address(), fresh_address());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let tempo =
            Tempo::new(&recipient).rpc(&chain.url).chain_id(CHAIN_ID).sponsor(Sponsor::local(DEV_KEYS[1]));
        let mpp = Mpp::builder(&base)
            .secret(Secret::generate())
            .single_process_volatile_store()
            .method(tempo)
            .method(Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&cards.url))
            .build()
            .unwrap_or_else(|report| panic!("{report}"));
        mpp.check().await.expect("everything is there");
        let honest = Router::new()
            .route("/charge", get(charge))
            .route("/sponsored", get(sponsored))
            .route("/card", get(card))
            .with_state(mpp)
            .into_axum();
        let cheat = Arc::new(Cheat { base, honest, script: Mutex::default(), credentials: Mutex::default() });
        tokio::spawn(cheat.clone().serve(listener));
        World { chain, cards, recipient, thief, cheat }
    }

    /// What it has taken so far by any way, in base units, and how often.
    async fn taken(&self) -> (u128, usize) {
        let transfers = self.chain.payments_to(&self.recipient).await;
        let cards = u128::from(self.cards.taken());
        let times = transfers.len() + self.cards.intents().len();
        let on_chain: u128 = transfers.iter().map(|transfer| transfer.amount).sum();
        assert_eq!(on_chain, self.chain.balance(&self.recipient).await);
        assert_eq!(self.chain.balance(&self.thief).await, 0, "the thief has nothing");
        (on_chain + cards, times)
    }

    /// A wallet of somebody new, and its account.
    async fn wallet(&self, way: Way) -> (Arc<dyn ClientMethod>, String) {
        let key = PrivateKeySigner::random();
        let account = key.address().to_string();
        if way == Way::Card {
            return (Arc::new(self.cards.wallet("pm_card_visa")), account);
        }
        let mode = if way == Way::Push { Mode::Push } else { Mode::Pull };
        self.chain.fund(&account, FUNDS).await;
        let wallet = TempoWallet::new(key, &self.chain.url, CHAIN_ID).expect("a node on this machine");
        (Arc::new(wallet.mode(mode)), account)
    }

    /// A client of somebody new, with this policy.
    async fn client(&self, way: Way, policy: Policy) -> Client {
        let (wallet, _) = self.wallet(way).await;
        Client::builder(policy, MemoryLedger::new()).shared_method(wallet).build().expect("a client")
    }

    /// Asks for what `way` pays for.
    async fn buy(&self, client: &Client, way: Way) -> Result<(String, PaidFor), Error> {
        let request =
            client.http().expect("an HTTP client").get(format!("{}{}", self.cheat.base, way.path()));
        self.bought(request.timeout(Duration::from_secs(20)).send().await).await
    }

    /// Sends the credential of a payment without a delivery again.
    async fn retry(&self, client: &Client, error: &Error) -> Result<(String, PaidFor), Error> {
        let unsettled = error.unsettled().unwrap_or_else(|| panic!("no credential: {error}"));
        self.bought(unsettled.retry(&client.http().expect("an HTTP client")).await).await
    }

    async fn bought(
        &self,
        answer: Result<reqwest::Response, reqwest_middleware::Error>,
    ) -> Result<(String, PaidFor), Error> {
        match answer {
            Ok(response) => {
                let paid = response.extensions().get::<PaidFor>().expect("it was paid").clone();
                Ok((response.text().await.expect("a body"), paid))
            }
            Err(reqwest_middleware::Error::Middleware(error)) => {
                Err(error.downcast::<Error>().unwrap_or_else(|error| panic!("not ours: {error}")))
            }
            Err(error) => panic!("not ours: {error}"),
        }
    }
}

/// What a new account has, in base units of pathUSD.
const FUNDS: u128 = 2_000_000;

/// Two dollars, and as many further payments as anybody likes, should one provably not happen.
fn policy() -> Policy {
    Policy::new(Budget::total("pathusd", Amount::whole(2)).also("usd")).pay_again(5)
}

fn cost_more(challenge: &mut Challenge) {
    let mut request = challenge.charge().expect("a charge");
    request.amount = BaseUnits::new(request.amount.get() + 1);
    challenge.request = request.encode();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_took_a_payment_gets_no_second_one_by_asking_for_more_or_for_somebody_else() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    let thief = world.thief.clone();
    let to_the_thief = move |challenge: &mut Challenge| {
        let mut request = challenge.charge().expect("a charge");
        request.recipient = Some(thief.clone());
        challenge.request = request.encode();
    };
    let (mut taken, mut times) = (0, 0);
    for way in EVERY {
        let dearer = world.cheat.asking(way.path(), cost_more).await;
        let to_another = world.cheat.asking(way.path(), &to_the_thief).await;
        let the_same_again = world.cheat.asking(way.path(), |_| {}).await;
        for second in [dearer, to_another, the_same_again] {
            let client = world.client(way, policy()).await;
            world.cheat.will([Act::Pass, Act::Take(second)]);
            let error = world.buy(&client, way).await.expect_err("nothing was delivered");
            assert!(matches!(error, Error::Rejected(_)), "{way:?}: {error}");
            (taken, times) = (taken + way.price(), times + 1);
            assert_eq!(world.taken().await, (taken, times), "{way:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_answer_is_lost_is_sent_again_and_not_made_again() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    let (mut taken, mut times) = (0, 0);
    for way in EVERY {
        let client = world.client(way, policy()).await;
        // Before the server has it: the credential buys.
        world.cheat.will([Act::Pass, Act::LoseRequest]);
        let error = world.buy(&client, way).await.expect_err("the connection was cut");
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{way:?}: {error}");
        let (body, paid) = world.retry(&client, &error).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert!(body == "delivered" && paid.receipt.is_ok(), "{way:?}");
        (taken, times) = (taken + way.price(), times + 1);
        assert_eq!(world.taken().await, (taken, times), "{way:?}");
        // After it was delivered: the credential is used up, and nothing more is paid.
        world.cheat.will([Act::Pass, Act::LoseAnswer]);
        let error = world.buy(&client, way).await.expect_err("the connection was cut");
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{way:?}: {error}");
        let refused = world.retry(&client, &error).await.expect_err("delivered already");
        assert!(matches!(refused, Error::Rejected(_)), "{way:?}: {refused}");
        (taken, times) = (taken + way.price(), times + 1);
        assert_eq!(world.taken().await, (taken, times), "{way:?}");
        let sent = world.cheat.credentials();
        assert!(sent[sent.len() - 1] == sent[sent.len() - 2], "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_again_and_again_is_sent_one_credential() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    let (mut taken, mut times) = (0, 0);
    for way in EVERY {
        let client = world.client(way, policy()).await;
        let busy = |status| Act::Answer(answer(status, &[("retry-after", "1")]));
        world.cheat.will([Act::Pass, busy(503), busy(409), busy(503)]);
        let before = world.cheat.credentials().len();
        let (body, _) = world.buy(&client, way).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert_eq!(body, "delivered");
        let sent = world.cheat.credentials().split_off(before);
        assert!(sent.len() == 4 && sent.iter().all(|credential| *credential == sent[0]), "{way:?}");
        (taken, times) = (taken + way.price(), times + 1);
        assert_eq!(world.taken().await, (taken, times), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_does_not_follow_a_redirect_to_another_origin() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    // The same host under its other name is another origin.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let elsewhere = format!("http://localhost:{}", listener.local_addr().expect("it is bound").port());
    let thief = Arc::new(Cheat {
        base: elsewhere.clone(),
        honest: world.cheat.honest.clone(),
        script: Mutex::default(),
        credentials: Mutex::default(),
    });
    tokio::spawn(thief.clone().serve(listener));
    for (position, way) in EVERY.into_iter().enumerate() {
        let client = world.client(way, policy().origins([world.cheat.base.as_str()])).await;
        let there = format!("{elsewhere}{}", way.path());
        let away = || Act::Answer(answer(307, &[("location", &there)]));
        // Before anything is paid: whoever asks there was not asked.
        world.cheat.will([away()]);
        let error = world.buy(&client, way).await.expect_err("asked for by somebody else");
        let Error::NotPaid(refused) = &error else { panic!("{way:?}: {error}") };
        assert!(refused.is_because(|why| matches!(why, Refusal::Redirected { .. })), "{way:?}: {error}");
        assert_eq!(world.taken().await.1, position, "{way:?}");
        // With the credential: it stays here, and buys here.
        world.cheat.will([Act::Pass, away()]);
        let error = world.buy(&client, way).await.expect_err("nothing was delivered");
        world.retry(&client, &error).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert_eq!(world.taken().await.1, position + 1, "{way:?}");
        assert_eq!(thief.credentials(), Vec::<HeaderValue>::new(), "{way:?}");
    }
}

/// The worst server there is: it keeps every credential, delivers nothing, and presents them all in the end.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_hoarder_of_credentials_can_take_in_the_end_is_within_the_limit() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    for way in EVERY {
        let limit = if way == Way::Card { Amount::whole(3) } else { Amount::cents(30) };
        let policy = Policy::new(Budget::total("pathusd", limit).also("usd")).pay_again(5);
        let (wallet, account) = world.wallet(way).await;
        let client = Client::builder(policy, MemoryLedger::new()).shared_method(wallet).build();
        let client = client.expect("a client");
        let before = world.cheat.credentials().len();
        let funds = world.chain.balance(&account).await;
        let taken = world.taken().await.0;
        let mut stopped = false;
        for _ in 0..40 {
            let mut script = vec![Act::Pass];
            for _ in 0..3 {
                script.push(Act::Answer(world.cheat.asking(way.path(), |_| {}).await));
            }
            world.cheat.will(script);
            match world.buy(&client, way).await.expect_err("it never delivers") {
                Error::NotPaid(refused) => {
                    assert!(refused.is_because(|why| matches!(why, Refusal::Limit(_))), "{way:?}: {refused}");
                    stopped = true;
                    break;
                }
                Error::Rejected(_) => {}
                other => panic!("{way:?}: {other}"),
            }
        }
        assert!(stopped, "{way:?}: the limit was never reached");
        let hoard = world.cheat.credentials().split_off(before);
        assert!(hoard.len() >= 2, "{way:?}: it got {}", hoard.len());
        let mut good = 0;
        for credential in hoard {
            let answer = world.cheat.honestly(way.path(), Some(credential)).await;
            good += usize::from(answer.status() == StatusCode::OK);
        }
        let taken = world.taken().await.0 - taken;
        assert_eq!(taken, way.price() * good as u128, "{way:?}");
        assert!(good >= 2, "{way:?}: the hoard is worth something");
        if way == Way::Card {
            assert!(taken <= 300, "{taken}");
        } else {
            let spent = funds - world.chain.balance(&account).await;
            assert!(taken <= spent && spent <= 300_000, "{way:?}: {spent} with fees, {taken} without");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paid_for_offers_that_are_huge_many_old_or_for_ever() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    for way in [Way::Pull, Way::Push, Way::Card] {
        let cheat = &world.cheat;
        let huge = cheat.asking(way.path(), |offer| offer.request = "A".repeat(1 << 20)).await;
        let mut many = cheat.asking(way.path(), cost_more).await;
        let line = many.headers()[header::WWW_AUTHENTICATE].clone();
        for _ in 1..10_000 {
            many.headers_mut().append(header::WWW_AUTHENTICATE, line.clone());
        }
        let expires = |when: &str| {
            let when = when.to_owned();
            move |offer: &mut Challenge| offer.expires = Some(when.clone())
        };
        let old = cheat.asking(way.path(), expires("2026-01-01T00:00:00Z")).await;
        let late = cheat.asking(way.path(), expires("2099-01-01T00:00:00Z")).await;
        let endless = cheat.asking(way.path(), |offer| offer.expires = None).await;
        let foreign = cheat.asking(way.path(), |offer| offer.realm = "bank.example".to_owned()).await;
        for (what, asks) in [
            ("huge", huge),
            ("many", many),
            ("old", old),
            ("late", late),
            ("endless", endless),
            ("foreign", foreign),
        ] {
            let budget = Budget::total("pathusd", Amount::cents(50)).also("usd");
            let client = world.client(way, Policy::new(budget)).await;
            world.cheat.will([Act::Answer(asks)]);
            let url = format!("{}{}", world.cheat.base, way.path());
            let answer = client.http().expect("an HTTP client").get(url).send().await;
            // A head of a megabyte is too much for the HTTP client already.
            assert!(answer.is_err(), "{way:?}, {what}: paid? {answer:?}");
            assert_eq!(world.cheat.credentials(), Vec::<HeaderValue>::new(), "{way:?}, {what}");
        }
    }
    assert_eq!(world.taken().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_offer_among_broken_ones_is_paid_once() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    for (position, way) in EVERY.into_iter().enumerate() {
        let client = world.client(way, policy()).await;
        let mut asks = world.cheat.asking(way.path(), |_| {}).await;
        let good = asks.headers()[header::WWW_AUTHENTICATE].to_str().expect("text").to_owned();
        let lines = [
            r#"Payment id="", realm="127.0.0.1", method="tempo", intent="charge", request="e30""#.to_owned(),
            format!(r#"Bearer realm="Payment id=", Payment id=x, {good}, Digest nonce="unfinished"#),
        ];
        asks.headers_mut().remove(header::WWW_AUTHENTICATE);
        for line in lines {
            asks.headers_mut().append(header::WWW_AUTHENTICATE, line.parse().expect("a header"));
        }
        world.cheat.will([Act::Answer(asks)]);
        world.buy(&client, way).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert_eq!(world.taken().await.1, position + 1, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drips_holds_nobody_and_gets_one_payment() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    for (position, way) in EVERY.into_iter().enumerate() {
        let client = world.client(way, policy()).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-slow: ".to_vec();
        world.cheat.will([Act::Pass, Act::Drip(head)]);
        let url = format!("{}{}", world.cheat.base, way.path());
        let request = client.http().expect("an HTTP client").get(url).timeout(Duration::from_secs(4));
        let error = world.bought(request.send().await).await.expect_err("the caller's time was over");
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{way:?}: {error}");
        let (body, _) = world.retry(&client, &error).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert_eq!(body, "delivered");
        assert_eq!(world.taken().await.1, position + 1, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_false_receipt_is_told_and_nothing_is_paid_for_it() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    for (position, (way, receipt)) in
        [(Way::Pull, None), (Way::Push, Some("e30")), (Way::Sponsored, Some("%%%")), (Way::Card, None)]
            .into_iter()
            .enumerate()
    {
        let client = world.client(way, policy()).await;
        let headers: Vec<_> = receipt.iter().map(|receipt| ("payment-receipt", *receipt)).collect();
        world.cheat.will([Act::Pass, Act::Take(answer(200, &headers))]);
        let (_, paid) = world.buy(&client, way).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert!(paid.receipt.is_err(), "{way:?}: {:?}", paid.receipt);
        assert_eq!(world.taken().await.1, position + 1, "{way:?}");
    }
}
