//! What both sides are given, and that they make the same of it.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{Request, header};
use mpp::pricing::PriceSpec;
use mpp::protocol::{
    AcceptPayment, BaseUnits, BodyDigest, BoundPrefix, Challenge, ChargeRequest, Credential, CredentialBuf,
    FreshSlots, Intent, MethodName, PreparedChallenge, Realm, SecretRing, Slots, Timestamp, b64, to_jcs,
};
use mpp::testing::hot_path::{Unpaid, offers};
use mpp::{Amount, Mpp, Receipt, Secret, Tempo};
use mpp_peers::official::SECRET;
use mpp_peers::{REALM, RECIPIENT, USDC};
use official::server::{TempoChargeMethod, TempoProvider};
use serde_json::{Value, json};

// The two are priced and never mounted: what is looked at is their registered prices.
#[expect(dead_code, reason = "nothing calls them")]
mod priced {
    use axum::http::Method;
    use mpp::{Amount, Paid};

    #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    async fn fixed(_: Paid, _: Method) {} // another argument: a bare price is answered as it is opened

    #[mpp::charge(amount = Amount::cents(5), up_to = "2.00", currency = "usdc", methods(tempo))]
    async fn computed(_: Paid) {}
}

/// `expires` of every challenge, and the `opaque` that ours have: a nonce and a route.
pub(crate) const EXPIRES: &str = "2126-11-21T12:00:00Z";
pub(crate) const OPAQUE: &str =
    "eyJuIjoiOGI3YzFkMmUzZjRhNWI2YzdkOGU5ZjAxIiwib3AiOiJHRVQgL3dlYXRoZXIve2NpdHl9In0";

/// What a client prefers, and between what it may choose.
pub(crate) const ACCEPT: &str = "tempo/charge;q=0.5, stripe/*, */session;q=0.1";
pub(crate) const OFFERS: [(&str, &str); 3] = [("tempo", "charge"), ("evm", "charge"), ("stripe", "charge")];

/// A charge on Tempo with everything that is optional, as JSON.
pub(crate) static CHARGE: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "amount": "50000",
        "currency": USDC,
        "recipient": RECIPIENT,
        "description": "Current weather for a city",
        "externalId": "order-4711",
        "methodDetails": {"chainId": 4217, "memo": format!("0x{}", "ab".repeat(32))},
    })
});

/// The same, as our type.
pub(crate) fn our_charge() -> ChargeRequest {
    let member = |name: &str| CHARGE[name].as_str().map(str::to_owned);
    ChargeRequest {
        recipient: member("recipient"),
        description: member("description"),
        external_id: member("externalId"),
        method_details: CHARGE["methodDetails"].as_object().cloned(),
        ..ChargeRequest::new(BaseUnits::new(50_000), USDC)
    }
}

/// And as the official SDK's.
pub(crate) fn official_charge() -> official::ChargeRequest {
    serde_json::from_value(CHARGE.clone()).expect("a charge")
}

/// The secret of both.
pub(crate) fn ring() -> SecretRing {
    SecretRing::new(Secret::from_bytes(SECRET).expect("long enough"))
}

/// A challenge both can have issued, as ours.
pub(crate) fn challenge() -> Challenge {
    let mut challenge = Challenge {
        id: String::new(),
        realm: REALM.into(),
        method: MethodName::from_static("tempo"),
        intent: Intent::CHARGE,
        request: our_charge().encode(),
        expires: Some(EXPIRES.into()),
        digest: None,
        opaque: Some(OPAQUE.into()),
        description: None,
    };
    challenge.id = ring().id(&challenge.slots()).to_string();
    challenge
}

/// What is absorbed of [`challenge`] before a request comes.
pub(crate) fn prefix() -> BoundPrefix {
    ring().prefix(REALM, "tempo", "charge", &our_charge().encode())
}

/// What our server has ready for its fixed price.
pub(crate) fn prepared() -> PreparedChallenge {
    let (realm, method) = (Realm::parse(REALM).expect("a realm"), MethodName::from_static("tempo"));
    PreparedChallenge::new(&ring(), &realm, &method, &Intent::CHARGE, own_challenge().request, None)
}

/// `expires` and `opaque` as our server writes them for its fixed price.
pub(crate) fn own_slots() -> [String; 2] {
    let challenge = own_challenge();
    [challenge.expires.expect("ours have one"), challenge.opaque.expect("ours have one")]
}

/// What our server asks for its computed price.
pub(crate) fn computed_charge() -> ChargeRequest {
    let line = our_line("computed", Some(Amount::cents(5)));
    Challenge::parse_all([line.as_str()]).offers.remove(0).charge().expect("a charge")
}

/// A challenge of our server for its fixed price.
fn own_challenge() -> Challenge {
    Challenge::parse_all([our_line("fixed", None).as_str()]).offers.remove(0)
}

/// The same as the official SDK's, which read it.
pub(crate) fn official_challenge() -> official::PaymentChallenge {
    official::parse_www_authenticate(&challenge().to_header_value()).expect("a challenge")
}

/// `Authorization` for [`challenge`], with a real transaction.
pub(crate) fn authorization() -> String {
    let payload = serde_json::from_str(include_str!("../../../shared/transaction.json")).expect("JSON");
    Credential { challenge: challenge(), source: None, payload }.to_header_value()
}

/// What follows the scheme.
pub(crate) fn token() -> String {
    authorization().strip_prefix("Payment ").expect("the scheme").to_owned()
}

pub(crate) fn our_receipt() -> Receipt {
    Receipt::new(MethodName::from_static("tempo"), REFERENCE, Timestamp::from_unix(1_800_000_000))
}

pub(crate) fn official_receipt() -> official::Receipt {
    official::parse_receipt(&our_receipt().to_header_value()).expect("a receipt")
}

const REFERENCE: &str = "0x5d2b1c9d5b8f4f0a6e3c7a1e9b8d7c6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d";

/// A server of ours that takes USDC on Tempo.
pub(crate) fn our_server() -> Mpp {
    Mpp::builder("https://api.example.com")
        .secret(Secret::from_bytes(SECRET).expect("long enough"))
        .method(Tempo::new(RECIPIENT).rpc("http://127.0.0.1:1"))
        .single_process_volatile_store()
        .build()
        .expect("the prices of this file can be paid")
}

/// A server of the official SDK that takes the same.
pub(crate) fn official_server() -> official::server::Mpp<TempoChargeMethod<TempoProvider>> {
    mpp_peers::official::tempo()
}

pub(crate) fn price(name: &str) -> &'static PriceSpec {
    mpp::registry().iter().find(|price| price.name == name).expect("it is in this file")
}

/// A request for a price, on its way to a challenge.
pub(crate) fn unpaid(name: &str) -> Unpaid<'static> {
    let request = Request::get("/weather/paris").body(Body::empty()).expect("a valid request");
    let server = Box::leak(Box::new(our_server()));
    Unpaid::open(server, price(name), request).expect("nothing is wrong with it")
}

/// `WWW-Authenticate` as our server writes it.
fn our_line(name: &str, amount: Option<Amount>) -> String {
    let headers = unpaid(name).challenges(amount);
    headers[header::WWW_AUTHENTICATE].to_str().expect("it is visible ASCII").to_owned()
}

/// That what is compared is the same.
pub(crate) fn check() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();

    // The request: the same bytes.
    let encoded = our_charge().encode();
    assert_eq!(official::Base64UrlJson::from_typed(&official_charge()).expect("JSON").raw(), encoded);
    assert_eq!(b64::encode(to_jcs(&*CHARGE).expect("JSON")), encoded);
    let canonical = serde_json_canonicalizer::to_vec(&*CHARGE).expect("JSON");
    assert_eq!(canonical, to_jcs(&*CHARGE).expect("JSON"));

    // The challenge: the same id, and the same line for the same challenge.
    let challenge = challenge();
    assert_eq!(official_id(&challenge.slots()), challenge.id);
    assert_eq!(prefix().id(&FreshSlots::new(EXPIRES, "", OPAQUE)).as_str(), challenge.id);
    let line = official::format_www_authenticate(&official_challenge()).expect("a line");
    assert_eq!(Challenge::parse_all([line.as_str()]).offers, [challenge]);

    // The credential: both read it and find the challenge authentic.
    let ours = CredentialBuf::decode(&token()).expect("a credential");
    let ours = ours.parse().expect("a credential").to_credential().expect("a credential");
    let theirs = official::parse_authorization(&authorization()).expect("a credential");
    assert_eq!(theirs.challenge.request.raw(), ours.challenge.request);
    assert_eq!(official_id(&ours.challenge.slots()), theirs.challenge.id);

    // The receipt: each reads the other's.
    let line = official::format_receipt(&official_receipt()).expect("a receipt");
    assert_eq!(Receipt::parse_header(&line).expect("a receipt").reference, REFERENCE);

    // The digest: the same hash; ours is written in the form of RFC 9530.
    let digest = official::body_digest::compute(b"hello");
    assert_eq!(digest.parse(), Ok(BodyDigest::of(b"hello")));

    // Preferences: the same order.
    let ranked = AcceptPayment::parse(ACCEPT).expect("it is well formed").rank(OFFERS);
    assert_eq!(ranked, [2, 0]);
    let preferences = official::accept_payment::parse(ACCEPT).expect("it is well formed");
    let offers_of_both = OFFERS.map(Offer);
    let theirs = official::accept_payment::rank(&offers_of_both, &preferences);
    assert_eq!(theirs.iter().map(|offer| offer.0.0).collect::<Vec<_>>(), ["stripe", "tempo"]);

    // A server's own challenge: of the same amount, currency and recipient.
    let ours = our_line("fixed", None);
    let computed = our_line("computed", Some(Amount::cents(5)));
    let theirs = official_server().charge("0.05").expect("a challenge").remove(0);
    let theirs = official::format_www_authenticate(&theirs).expect("a line");
    let asked = |line: &str| Challenge::parse_all([line]).offers.remove(0).charge().expect("a charge");
    for line in [&ours, &computed] {
        assert_eq!(asked(line), asked(&theirs));
    }
    assert_eq!(offers(&our_server(), price("fixed")), 1);
    eprintln!(
        "a challenge of ours has {} characters, of the official SDK {}; a credential {}; a receipt {}",
        ours.len(),
        theirs.len(),
        authorization().len(),
        our_receipt().to_header_value().len(),
    );
}

/// The id as the official SDK computes it.
pub(crate) fn official_id(slots: &Slots<'_>) -> String {
    let opaque = (!slots.opaque.is_empty()).then_some(slots.opaque);
    official::compute_challenge_id(
        SECRET,
        slots.realm,
        slots.method,
        slots.intent,
        slots.request,
        Some(slots.expires),
        None,
        opaque,
    )
}

/// An offer, as the official SDK ranks them.
#[derive(Clone, Copy)]
pub(crate) struct Offer(pub(crate) (&'static str, &'static str));

impl official::accept_payment::HasMethodIntent for Offer {
    fn method(&self) -> &str {
        self.0.0
    }

    fn intent(&self) -> &str {
        self.0.1
    }
}
