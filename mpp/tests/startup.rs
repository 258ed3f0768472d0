//! The start-up report: every problem of every price at once, with file and line.
#![cfg(feature = "testing")]
#![allow(unreachable_pub, reason = "the modules of a test program")]

mod common;

use common::{Network, Script, Terms, Wired};
use mpp::method::{Holding, Money};
use mpp::routing::Router;
use mpp::server::TrustedProxies;
use mpp::store::MemoryStore;
use mpp::testing::Client;
use mpp::{BuildError, Builder, Mpp, Paid, Sandbox, Secret};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Prices that every test but the golden one leaves out, each in a module of its own.
mod prices {
    pub mod weather {
        use mpp::Paid;

        #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
        pub async fn forecast(_: Paid) -> &'static str {
            "sunny"
        }
    }

    pub mod dust {
        use mpp::Paid;

        #[mpp::charge(amount = "0.0001", currency = "usdc", methods(tempo))]
        pub async fn speck(_: Paid) {}
    }

    pub mod holds {
        use mpp::{Hold, Paid};

        #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), capture = "success")]
        pub async fn reserved(_: Paid<Hold>) {}
    }

    pub mod euros {
        use mpp::Paid;

        #[mpp::charge(amount = "0.05", currency = "eur", methods(stripe))]
        pub async fn priced_in_euros(_: Paid) {}
    }

    pub mod wordy {
        use mpp::Paid;

        #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), description = "says what it is")]
        pub async fn described(_: Paid) {}
    }

    pub mod computed {
        use axum::extract::Path;
        use mpp::{Amount, Paid};

        #[mpp::charge(amount = Amount::micros((*n).into()), currency = "usdc", methods(tempo))]
        pub async fn metered(Path(n): Path<u32>, _: Paid) -> String {
            n.to_string()
        }
    }

    pub mod proof {
        use mpp::Paid;

        #[mpp::charge(amount = "0", proof = true, currency = "usdc", methods(tempo))]
        pub async fn whoami(_: Paid) {}
    }
}

const MODULES: [&str; 7] = ["weather", "dust", "holds", "euros", "wordy", "computed", "proof"];

/// A configuration without problems of its own that sees the prices of these modules only.
fn builder(seen: &[&str]) -> Builder {
    let builder = Mpp::builder("https://api.example.com").secret(Secret::generate()).allow_test_money();
    MODULES
        .iter()
        .filter(|module| !seen.contains(module))
        .fold(builder, |builder, module| builder.ignore_module(format!("startup::prices::{module}")))
        .ignore_module("startup::successful")
}

fn wired(name: &'static str, terms: Terms) -> Wired {
    Wired(Network::on(name, terms))
}

fn problems(builder: Builder) -> Vec<String> {
    builder.build().expect_err("a report").problems().to_vec()
}

#[track_caller]
fn only(builder: Builder, expected: &str) {
    let found = problems(builder);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains(expected), "{found:#?}");
}

/// `file:line`, without the line: it changes with every edit above.
fn without_lines(report: &str) -> String {
    let mut parts = report.split(".rs:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(".rs:N");
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

#[test]
fn every_problem_is_reported_at_once_with_file_and_line() {
    let stripe = Network::on("stripe", Terms { minimum: 500_000, currencies: &["usdc"], ..Terms::default() });
    let tempo = Network::on(
        "tempo",
        Terms {
            money: Money::Real,
            holding: Holding::Unsupported,
            decimals: Some(3),
            problem: Some("no recipient"),
            ..Terms::default()
        },
    );
    let error = Mpp::builder("ftp://api.example.com")
        .method(Wired(stripe.clone()))
        .method(Wired(stripe))
        .method(Wired(tempo))
        .method(wired("tempo", Terms::default()))
        .switched_off("stripe")
        .switched_off("evm")
        .challenge_lifetime(Duration::from_millis(999))
        .lease(Duration::from_millis(2999))
        .trusted_proxies(TrustedProxies::forwarded(["10.0.0.1", "the load balancer"]))
        .build()
        .unwrap_err();
    let golden = "\
16 problems in this configuration:
  1. the public URL has the scheme `ftp`; it must be https
  2. method `stripe` is both configured and switched off
  3. method `stripe` deals in test money; `.allow_test_money()` accepts that
  4. method `stripe` is configured twice
  5. method `stripe` is both configured and switched off
  6. method `stripe` deals in test money; `.allow_test_money()` accepts that
  7. method `tempo` takes real money, but the store forgets its payments when the process ends; use a durable store, or `.single_process_volatile_store()` if that is acceptable
  8. method `tempo`: no recipient
  9. method `tempo` is configured twice, once with test money: take one of them away
  10. method `tempo` deals in test money; `.allow_test_money()` accepts that
  11. the trusted proxies: `the load balancer` is neither an address nor a network (like `10.0.0.0/16`)
  12. no secret: add `.secret(…)`, at least 32 random bytes (`mpp secret` makes one)
  13. the lease is under 3 seconds: the clock has whole ones, and a third of it is the heartbeat
  14. the challenge lifetime is under a second: `expires` has whole seconds
  15. `startup::prices::dust::speck` (mpp/tests/startup.rs:N): 0.0001 usdc cannot be charged by `tempo`, whose currency `usdc` has 3 decimals: the amount has more than 3 decimal places
  16. `startup::prices::holds::reserved` (mpp/tests/startup.rs:N): `tempo` cannot reserve funds, so `capture = \"success\"` is not possible with it";
    assert_eq!(without_lines(&error.to_string()), golden);
    assert_eq!(error.problems().len(), 16);
    assert!(error.to_string().contains(&format!("startup.rs:{}", line_of("pub async fn speck") - 1)));
}

/// The line of this file on which `text` first stands.
fn line_of(text: &str) -> usize {
    include_str!("startup.rs").lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn a_sound_configuration_builds_and_says_what_it_is() {
    let mpp = builder(&MODULES)
        .method(Sandbox::named("tempo"))
        .method(Sandbox::named("stripe"))
        .build()
        .unwrap_or_else(|report| panic!("{report}"));
    assert_eq!((mpp.realm(), mpp.public_url()), ("api.example.com", "https://api.example.com/"));
    assert_eq!(format!("{mpp:?}"), r#"Mpp { realm: "api.example.com", methods: ["tempo", "stripe"], .. }"#);
    assert_eq!(mpp.warnings(), [] as [String; 0]);

    use mpp::routing::{get, post};
    let app: Router<Mpp> = Router::new()
        .route("/weather", get(prices::weather::forecast).post(prices::dust::speck))
        .nest(
            "/v1",
            Router::new()
                .route("/", get(prices::holds::reserved))
                .route("/eur", post(prices::euros::priced_in_euros)),
        )
        .merge(Router::new().route("/wordy", get(prices::wordy::described)))
        .route("/{n}", mpp::routing::any(prices::computed::metered));
    let mounted: Vec<_> =
        app.mounted().iter().map(|m| format!("{:?} {} {}", m.method, m.path, m.spec.name)).collect();
    assert_eq!(
        mounted,
        [
            "Some(GET) /weather forecast",
            "Some(POST) /weather speck",
            "Some(GET) /v1 reserved",
            "Some(POST) /v1/eur priced_in_euros",
            "Some(GET) /wordy described",
            "None /{n} metered",
        ]
    );
    let unmounted: Vec<_> = app.unmounted().iter().map(|spec| spec.name).collect();
    assert_eq!(unmounted, ["whoami", "the_card"]);
}

#[test]
fn one_problem_is_counted_as_one() {
    let error: BuildError = Mpp::builder("https://a.example").ignore_module("startup").build().unwrap_err();
    assert!(error.to_string().starts_with("1 problem in this configuration:\n  1. no secret"), "{error}");
}

#[test]
fn public_urls_are_https_or_loopback() {
    let build = |url: &str| Mpp::builder(url).secret(Secret::generate()).ignore_module("startup");
    for (url, realm) in [
        ("https://api.example.com:8443/v1/", "api.example.com"),
        ("http://localhost:3000", "localhost"),
        ("http://a.localhost", "a.localhost"),
        ("http://127.0.0.1:3000", "127.0.0.1"),
        ("http://127.8.8.8", "127.8.8.8"),
        ("http://[::1]:3000", "[::1]"),
        ("https://API.Example.com", "api.example.com"),
    ] {
        assert_eq!(build(url).build().unwrap().realm(), realm);
    }
    for url in
        ["http://api.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://notlocalhost"]
    {
        only(build(url), "is plain http: payment credentials would travel in the clear");
        build(url).allow_insecure().build().unwrap();
    }
    only(build("ws://localhost"), "has the scheme `ws`; it must be https");
    only(build("ws://localhost").allow_insecure(), "has the scheme `ws`; it must be https");
    for (url, why) in [
        ("api.example.com", "is not a URL"),
        ("", "is not a URL"),
        ("data:text/plain,x", "names no host"),
        ("localhost:3000", "names no host; write e.g. `https://api.example.com` or `http://localhost:3000`"),
        ("https://api.example.com/?tenant=7", "has a query or a fragment"),
        ("https://api.example.com/#top", "has a query or a fragment"),
    ] {
        only(build(url), why);
    }
}

#[test]
fn a_password_in_the_public_url_is_a_problem_and_not_in_the_report() {
    for url in
        ["https://me:hunter2@api.example.com", "http://:hunter2@api.example.com", "https://hunter2@localhost"]
    {
        let builder = Mpp::builder(url).secret(Secret::generate()).ignore_module("startup");
        let found = problems(builder);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].contains("has a user or a password in it") && !found[0].contains("hunter2"),
            "{found:#?}"
        );
    }
}

#[test]
fn a_host_that_cannot_be_a_realm_is_a_problem() {
    let long = format!("https://{}example.com", "a.".repeat(200));
    only(Mpp::builder(long).secret(Secret::generate()).ignore_module("startup"), "cannot be a realm");
}

#[tokio::test]
async fn a_description_is_shown_to_payers_in_challenge_and_request() {
    let mpp = builder(&["wordy"]).method(wired("tempo", Terms::default())).build().unwrap();
    let app = Router::new().route("/", mpp::routing::get(prices::wordy::described)).with_state(mpp);
    let challenge = Client::new(app).get("/").unpaid().await.challenges().offers.remove(0);
    assert_eq!(challenge.description.as_deref(), Some("says what it is"));
    assert_eq!(challenge.charge().unwrap().description.as_deref(), Some("says what it is"));
}

#[test]
fn a_method_that_is_not_configured_is_named_with_those_that_are() {
    let alone = builder(&["weather"]).method(wired("tempo", Terms::default()));
    only(
        alone,
        "takes `stripe`, which is not configured (configured: `tempo`); add it with `.method(…)`, or say `.switched_off(\"stripe\")`",
    );
    let none = problems(builder(&["weather"]));
    assert_eq!(none.len(), 2);
    assert!(none[0].contains("`startup::prices::weather::forecast` (mpp/tests/startup.rs:"), "{none:#?}");
    assert!(none[0].contains("which is not configured (configured: none)"), "{none:#?}");
}

#[test]
fn a_method_that_is_switched_off_is_left_out_and_a_price_without_any_is_a_warning() {
    let mpp = builder(&["weather"])
        .method(wired("tempo", Terms::default()))
        .switched_off("stripe")
        .build()
        .unwrap();
    assert_eq!(mpp.warnings(), [] as [String; 0]);
    let mpp = builder(&["weather"]).switched_off("stripe").switched_off("tempo").build().unwrap();
    assert_eq!(mpp.warnings().len(), 1);
    assert!(
        mpp.warnings()[0].contains("every method of this price is switched off; it answers 503"),
        "{:?}",
        mpp.warnings()
    );
    // Switched off and below the minimum: nothing is left, and not on purpose.
    let low = wired("tempo", Terms { minimum: 1_000_000, ..Terms::default() });
    only(builder(&["weather"]).method(low).switched_off("stripe"), "no method of this price is payable");
}

#[test]
fn switching_off_what_no_price_names_is_a_warning_that_lists_what_they_name() {
    let build = || builder(&["weather"]).method(wired("tempo", Terms::default())).switched_off("stripe");
    let mpp = build().switched_off("strpe").build().unwrap();
    let [warning] = mpp.warnings() else { panic!("{:#?}", mpp.warnings()) };
    assert_eq!(warning, "`strpe` is switched off, and no price names it (they name `stripe`, `tempo`)");
    let none = builder(&[]).switched_off("tempo").build().unwrap();
    assert!(none.warnings()[0].ends_with("no price names it (there are none)"), "{:#?}", none.warnings());
}

#[test]
fn the_names_of_methods_are_one_of_each_and_well_formed() {
    let real = || wired("tempo", Terms { money: Money::Real, ..Terms::default() });
    let build = || builder(&[]).single_process_volatile_store().method(real());
    only(build().method(real()), "method `tempo` is configured twice");
    only(build().method(Sandbox::named("tempo")), "configured twice, once with test money");
    only(build().switched_off("tempo"), "method `tempo` is both configured and switched off");
    only(
        builder(&[]).method(Sandbox::new()).method(Sandbox::named("Tempo 2")).allow_test_money(),
        "a sandbox cannot be named `Tempo 2`",
    );
    only(
        build().method(wired("tempo-two", Terms::default())),
        "`tempo-two` cannot be the name of a payment method",
    );
    build().build().unwrap();
}

#[test]
fn test_money_and_real_money_on_a_volatile_store_need_to_be_allowed() {
    let build = || Mpp::builder("https://a.example").secret(Secret::generate()).ignore_module("startup");
    only(
        build().method(Sandbox::new()),
        "method `sandbox` deals in test money; `.allow_test_money()` accepts that",
    );
    build().method(Sandbox::new()).allow_test_money().build().unwrap();
    let real = || wired("tempo", Terms { money: Money::Real, ..Terms::default() });
    only(build().method(real()), "method `tempo` takes real money, but the store forgets");
    only(build().method(real()).store(MemoryStore::new()), "takes real money, but the store forgets");
    build().method(real()).single_process_volatile_store().build().unwrap();
}

#[cfg(feature = "redb")]
#[test]
fn real_money_on_a_durable_store_needs_no_permission() {
    let folder = tempfile::tempdir().unwrap();
    let store = mpp::store::RedbStore::open(folder.path().join("store.redb")).unwrap();
    let real = wired("tempo", Terms { money: Money::Real, ..Terms::default() });
    Mpp::builder("https://a.example")
        .secret(Secret::generate())
        .ignore_module("startup")
        .method(real)
        .store(store)
        .build()
        .unwrap();
}

#[test]
fn a_currency_the_method_does_not_know_is_named_with_those_it_knows() {
    let stripe = wired("stripe", Terms { currencies: &["usdc", "usd"], ..Terms::default() });
    only(
        builder(&["euros"]).method(stripe),
        "`stripe` does not know the currency `eur` (it knows: `usdc`, `usd`)",
    );
}

#[test]
fn an_amount_finer_than_the_methods_currency_is_a_problem() {
    let coarse = wired("tempo", Terms { decimals: Some(2), ..Terms::default() });
    only(
        builder(&["dust"]).method(coarse),
        "0.0001 usdc cannot be charged by `tempo`, whose currency `usdc` has 2 decimals",
    );
}

#[test]
fn an_offer_below_its_methods_minimum_is_one_warning_that_names_route_amount_and_minimum() {
    let cards = wired("stripe", Terms { minimum: 500_000, ..Terms::default() });
    let mpp = builder(&["weather"]).method(wired("tempo", Terms::default())).method(cards).build().unwrap();
    assert_eq!(mpp.warnings().len(), 1, "{:?}", mpp.warnings());
    for part in [
        "prices::weather::forecast` (mpp/tests/startup.rs:",
        "0.05 usdc",
        "minimum of `stripe`, 0.5 usdc",
        "left out",
    ] {
        assert!(mpp.warnings()[0].contains(part), "{:?}", mpp.warnings());
    }
    // Exactly the minimum is enough.
    let cards = wired("stripe", Terms { minimum: 50_000, ..Terms::default() });
    let mpp = builder(&["weather"]).method(wired("tempo", Terms::default())).method(cards).build().unwrap();
    assert_eq!(mpp.warnings().len(), 0);
    let both = |terms: Terms| {
        builder(&["weather"]).method(wired("tempo", terms.clone())).method(wired("stripe", terms))
    };
    only(both(Terms { minimum: 50_001, ..Terms::default() }), "forecast` (mpp/tests/startup.rs:");
    // A proof charges nothing, so no minimum concerns it.
    let high = wired("tempo", Terms { minimum: 50_001, ..Terms::default() });
    builder(&["proof"]).method(high).build().unwrap();
}

#[test]
fn capture_on_success_is_refused_for_a_method_that_cannot_reserve_funds() {
    let build = |holding| builder(&["holds"]).method(wired("tempo", Terms { holding, ..Terms::default() }));
    only(
        build(Holding::Unsupported),
        "`tempo` cannot reserve funds, so `capture = \"success\"` is not possible with it",
    );
    build(Holding::Supported).build().unwrap();
}

#[test]
fn a_challenge_too_large_for_a_header_line_is_a_problem() {
    // base64 takes four characters for three.
    let build =
        |recipient| builder(&["wordy"]).method(wired("tempo", Terms { recipient, ..Terms::default() }));
    build(5_900).build().unwrap();
    only(build(6_100), "the challenge of `tempo` has ");
}

#[test]
fn an_ignored_module_takes_its_submodules_with_it_and_nothing_else() {
    let build = || Mpp::builder("https://a.example").secret(Secret::generate());
    build().ignore_module("startup").build().unwrap();
    build().ignore_module("startup::prices").ignore_module("startup::successful").build().unwrap();
    assert!(build().ignore_module("startup::price").build().is_err());
    assert!(build().ignore_module("prices").build().is_err());
    assert!(build().ignore_module("startup::prices::weather").build().is_err());
}

#[test]
fn a_methods_own_problems_are_part_of_the_report() {
    let unwell =
        wired("tempo", Terms { problem: Some("the recipient is not an address"), ..Terms::default() });
    only(builder(&[]).method(unwell), "method `tempo`: the recipient is not an address");
}

#[tokio::test]
async fn check_asks_every_method_for_its_network() {
    let (tempo, stripe) = (Network::new("tempo"), Network::new("stripe"));
    let mpp = builder(&[]).method(Wired(tempo.clone())).method(Wired(stripe.clone())).build().unwrap();
    mpp.check().await.unwrap();
    tempo.will(Script::Unreachable);
    let report = mpp.check().await.unwrap_err();
    assert_eq!(report.problems(), ["method `tempo`: its network is out of reach"]);
    stripe.will(Script::Unreachable);
    assert_eq!(mpp.check().await.unwrap_err().problems().len(), 2);
}

mod successful {
    use super::*;

    #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
    pub async fn the_card(_: Paid) -> &'static str {
        "sunny"
    }
}

#[tokio::test]
async fn the_cards_line_starts_and_runs_with_a_minimum_over_its_amount() {
    let mpp = Mpp::builder("https://a.example")
        .secret(Secret::generate())
        .ignore_module("startup::prices")
        .method(Sandbox::named("tempo"))
        .method(Sandbox::named("stripe").minimum("0.50"))
        .allow_test_money()
        .build()
        .unwrap();
    assert_eq!(mpp.warnings().len(), 1);
    let app = Router::new().route("/weather", mpp::routing::get(successful::the_card));
    let client = Client::new(app.with_state(mpp));
    client.get("/weather").unpaid().await.assert_offers(["tempo 0.05 usdc"]);
}

#[tokio::test]
async fn an_extreme_lifetime_or_lease_does_no_harm() {
    for (lifetime, lease) in
        [(Duration::from_secs(1), Duration::from_secs(3)), (Duration::MAX, Duration::MAX)]
    {
        let network = Network::new("tempo");
        let clock = Arc::new(mpp::SystemClock);
        let mpp = builder(&["proof"])
            .method(Wired(network.clone()))
            .clock(clock)
            .challenge_lifetime(lifetime)
            .lease(lease)
            .grace(Duration::MAX)
            .build()
            .unwrap();
        let app = Router::new().route("/", mpp::routing::get(prices::proof::whoami));
        let client = Client::new(app.with_state(mpp));
        let response = client.get("/").unpaid().await;
        assert_eq!(response.status(), 402);
        let challenge = response.challenges().offers.remove(0);
        let paid = common::credential(&challenge, "tx1");
        assert_eq!(client.get("/").presenting(&paid).await.status(), 200);
        assert_eq!(client.get("/").presenting(&paid).await.status(), 402);
        assert_eq!(network.verified.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn the_registry_is_sorted_by_module_name_and_place() {
    let places = mpp::registry().iter().map(|price| (price.module, price.name, price.location.line));
    let places: Vec<_> = places.collect();
    assert!(places.len() > 5 && places.is_sorted(), "{places:?}");
}

#[test]
fn the_builder_prints_no_secret() {
    let secret = Secret::generate();
    let text =
        format!("{:?}", builder(&[]).secret(secret.clone()).method(Sandbox::new()).switched_off("stripe"));
    assert!(!text.contains(&*secret.expose_hex()));
    assert_eq!(
        text,
        r#"Builder { public_url: "https://api.example.com", methods: ["sandbox"], switched_off: ["stripe"], .. }"#
    );
}
