//! The built `mpp` command buys from the built shop on real chains, and by card: what it says, how it ends, and what its ledger
//! holds. What was paid is counted on the chain and at the stand-in for Stripe, never in the command's own ledger.

#![cfg(unix)]

use interop::stripe::{Limits, SECRET_KEY, StandIn};
use interop::{CHAIN_ID, Chain, DEV_ACCOUNTS, DEV_KEYS, EvmChain, KeyFile, Shop, fresh_address, lab};
use mpp::method::evm::CredentialType;
use mpp::protocol::CredentialBuf;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

#[path = "../../xtask/tests/console/mod.rs"]
mod console;

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
const MPP: &str = env!("CARGO_BIN_EXE_mpp-under-test");
const README: &str = include_str!("../../mpp-cli/README.md");

const PASSWORD: &str = "correct horse";

/// A home of its own with a key of kind `evm`, called `main`. It is gone when the test ends.
struct Purse {
    home: TempDir,
    address: String,
}

impl Purse {
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut purse = Self { home, address: String::new() };
        let password = purse.write("password", PASSWORD);
        let made = ["wallet", "new", "main", "--kind", "evm", "--password-file", &password];
        purse.address = done(&purse.run(&made).await).trim().to_owned();
        purse
    }

    /// With so many base units of pathUSD.
    async fn on_tempo(chain: &Chain, units: u128) -> Self {
        let purse = Self::new().await;
        chain.fund(&purse.address, units).await;
        purse
    }

    async fn run(&self, args: &[&str]) -> Output {
        // Asynchronously: a stand-in may have to answer meanwhile.
        tokio::process::Command::new(MPP)
            .args(args)
            .env("MPP_HOME", self.home.path())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the command runs")
    }

    /// `mpp pay` or `mpp quote` with the key, on this chain.
    async fn with_key(&self, command: &str, chain: &Chain, args: &[&str]) -> Output {
        let (password, id) = (self.path("password"), CHAIN_ID.to_string());
        let key = [command, "--key-file", "main", "--password-file", &password];
        let tempo = ["--tempo-rpc", &chain.url, "--tempo-chain", &id];
        self.run(&[&key[..], &tempo, args].concat()).await
    }

    async fn pay(&self, chain: &Chain, args: &[&str]) -> Output {
        self.with_key("pay", chain, &[&["--yes"], args].concat()).await
    }

    /// State, base units and reference of every payment that `mpp ledger` lists.
    async fn ledger(&self) -> Vec<(String, String, String)> {
        let document: Value =
            serde_json::from_str(&done(&self.run(&["ledger", "--json"]).await)).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let payments = document["payments"].as_array().expect("a list").iter();
        payments
            .map(|one| {
                let outcome = &one["outcome"];
                (text(&outcome["state"]), text(&one["spent"][0]["units"]), text(&outcome["reference"]))
            })
            .collect()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.home.path().join(name), text).expect("the home is writable");
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().expect("a temporary path is text").to_owned()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// What a command printed that ended well.
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    out(output)
}

/// What a command said that ended with this code: one sentence, and nothing on standard output.
fn ended(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", out(output), err(output));
    assert_eq!(out(output), "");
    err(output)
}

/// What the shop answered, and the reference in it.
fn sold(output: &Output, what: &str) -> String {
    let answer: Value = serde_json::from_str(&done(output)).expect("the shop speaks JSON");
    assert_eq!(answer["sold"], what);
    answer["reference"].as_str().expect("a reference").to_owned()
}

#[tokio::test]
async fn the_shop_is_validated_by_buying_all_of_it_on_tempo() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let purse = Purse::on_tempo(&chain, 4_000_000).await;
    let asked = ["--pay", "--yes", "--max", "2", "--json", &shop.url];
    let validated = purse.with_key("validate", &chain, &asked).await;
    let report: Value = serde_json::from_str(&out(&validated)).expect("JSON");
    let counts = ["failed", "skipped"].map(|count| report[count].as_u64().expect("a number"));
    assert_eq!((validated.status.code(), counts), (Some(0), [0, 0]), "{report:#}\n{}", err(&validated));
    let of = |outcome: &str| {
        let checks = report["checks"].as_array().expect("a list").iter();
        checks
            .filter(|check| check["outcome"] == outcome)
            .map(|check| check["place"].clone())
            .collect::<Vec<_>>()
    };
    // It has no body to describe.
    assert_eq!(of("warning"), ["POST /charge"]);
    assert!(of("passed").len() >= 241, "{} checks passed", of("passed").len());
    // Nine operations, one of which asks for nothing but a proof of identity.
    assert_eq!(chain.payments_to(&shop.recipient).await.len(), 8, "each is bought once");
}

#[tokio::test]
async fn a_charge_on_tempo_is_quoted_paid_once_and_entered() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let purse = Purse::on_tempo(&chain, 1_000_000).await;
    let charge = shop.at("/charge");

    for asking in [
        purse.with_key("quote", &chain, &[&charge]).await,
        purse.with_key("pay", &chain, &["--dry-run", &charge]).await,
    ] {
        let quote = done(&asking);
        assert!(quote.contains("0.01 pathusd") && quote.trim_end().ends_with("yes"), "{quote}");
        assert!(quote.to_lowercase().contains(&shop.recipient), "{quote}");
    }
    let unasked = purse.with_key("pay", &chain, &[&charge]).await;
    assert!(ended(&unasked, 3).contains("--yes"), "{unasked:?}");
    assert_eq!(chain.payments_to(&shop.recipient).await, []);
    assert_eq!(purse.ledger().await, []);

    let bought = purse.pay(&chain, &[&charge]).await;
    let reference = sold(&bought, "charge");
    assert!(err(&bought).contains("mpp: paying 0.01 pathusd"), "{}", err(&bought));
    assert!(err(&bought).contains(&format!("mpp: paid, receipt {reference}")), "{}", err(&bought));
    let transfers = chain.payments_to(&shop.recipient).await;
    assert_eq!(
        transfers.iter().map(|one| (one.amount, one.hash.as_str())).collect::<Vec<_>>(),
        [(10_000, &*reference)]
    );
    assert_eq!(purse.ledger().await, [("paid".to_owned(), "10000".to_owned(), reference)]);
}

#[tokio::test]
async fn what_the_limits_or_the_purse_do_not_hold_is_not_paid() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let purse = Purse::on_tempo(&chain, 2_000_000).await;
    let charge = shop.at("/charge");

    let dear = purse.pay(&chain, &["--max", "0.5", &shop.at("/dear")]).await;
    assert!(ended(&dear, 3).contains("the limit of 0.5 "), "{dear:?}");
    // The price and the most that the network may take fit once into the day; with what was spent they do not.
    purse.write("config.toml", "[limits]\nper_day = \"0.115\"\n");
    sold(&purse.pay(&chain, &[&charge]).await, "charge");
    let again = purse.pay(&chain, &[&charge]).await;
    assert!(ended(&again, 3).contains("the limit of 0.115 "), "{again:?}");
    let quote = done(&purse.with_key("quote", &chain, &[&charge]).await);
    assert!(quote.contains("no: the limit of 0.115 "), "{quote}");
    assert_eq!(chain.payments_to(&shop.recipient).await.len(), 1);
    assert_eq!(purse.ledger().await.len(), 1);

    // An empty purse signs nothing, and so owes nothing.
    let poor = Purse::new().await;
    let refused = poor.pay(&chain, &["--quiet", &charge]).await;
    assert!(
        ended(&refused, 3).contains("it needs 0.01 pathusd, and the account has 0 pathusd"),
        "{refused:?}"
    );
    let quote = done(&poor.with_key("quote", &chain, &[&charge]).await);
    assert!(quote.contains("no: it needs 0.01 pathusd"), "{quote}");
    assert_eq!(poor.ledger().await, []);
    // The price alone is not enough where the network takes a fee; that is known before anything is signed, too.
    chain.fund(&poor.address, 10_000).await;
    let refused = poor.pay(&chain, &["--quiet", &charge]).await;
    assert!(ended(&refused, 3).contains("and the account has 0.01 pathusd"), "{refused:?}");
    assert_eq!(poor.ledger().await[0].0, "released");
    assert_eq!(chain.payments_to(&shop.recipient).await.len(), 1);
}

#[tokio::test]
async fn a_sponsored_thing_costs_its_price_and_a_split_one_pays_both() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let purse = Purse::on_tempo(&chain, 10_000).await;
    let (key, platform) = (purse.write("fee-payer", DEV_KEYS[1]), fresh_address());
    let flags = ["--fee-payer-key-file", &key, "--split-payee", &platform];
    let shop = Shop::start(SHOP, &chain.url, &flags).await;

    let quote = done(&purse.with_key("quote", &chain, &[&shop.at("/sponsored")]).await);
    assert!(quote.contains("0.01 pathusd") && !quote.contains("fees"), "{quote}");
    sold(&purse.pay(&chain, &[&shop.at("/sponsored")]).await, "sponsored");
    assert_eq!(chain.balance(&purse.address).await, 0, "the price, to the last unit");
    assert_eq!(chain.balance(&shop.recipient).await, 10_000);

    chain.fund(&purse.address, 200_000).await;
    let quote = done(&purse.with_key("quote", &chain, &[&shop.at("/split")]).await).to_lowercase();
    assert!(quote.contains(&platform) && quote.contains(&shop.recipient), "both are told: {quote}");
    sold(&purse.pay(&chain, &[&shop.at("/split")]).await, "split");
    assert_eq!(chain.balance(&shop.recipient).await, 50_000);
    assert_eq!(chain.balance(&platform).await, 10_000);
    let spent: Vec<_> = purse.ledger().await.into_iter().map(|(state, units, _)| (state, units)).collect();
    assert_eq!(spent, [("paid".into(), "10000".into()), ("paid".into(), "50000".into())]);
}

#[tokio::test]
async fn what_the_shop_fails_to_deliver_is_resumed_and_not_paid_again() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let purse = Purse::on_tempo(&chain, 1_000_000).await;

    let lost = purse.pay(&chain, &["--quiet", &shop.at("/flaky")]).await;
    let said = ended(&lost, 4);
    let entry = said.split("--resume ").nth(1).and_then(|rest| rest.split('`').next()).expect("how to go on");
    let transfers = chain.payments_to(&shop.recipient).await;
    assert_eq!(transfers.len(), 1, "it was paid");
    assert_eq!(purse.ledger().await[0].0, "unknown");

    let resumed = purse.run(&["pay", "--resume", entry]).await;
    let reference = sold(&resumed, "flaky");
    assert_eq!(chain.payments_to(&shop.recipient).await, transfers, "and not again");
    assert_eq!(reference, transfers[0].hash);
    assert_eq!(purse.ledger().await, [("paid".to_owned(), "10000".to_owned(), reference)]);
    let nothing = purse.run(&["pay", "--resume", entry]).await;
    assert!(ended(&nothing, 1).contains("no such unsettled payment"), "{nothing:?}");
}

#[tokio::test]
async fn an_access_key_pays_from_the_account_that_authorised_it_and_from_no_other() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    // The key has nothing of its own.
    let (purse, owner) = (Purse::new().await, DEV_ACCOUNTS[2]);
    let (charge, account) = (shop.at("/charge"), ["--tempo-account", owner]);
    let buy = async || purse.pay(&chain, &[&account[..], &[&charge]].concat()).await;

    let refused = buy().await;
    assert!(err(&refused).contains(&format!("{} is no access key of {owner}", purse.address)), "{refused:?}");
    assert_eq!(refused.status.code(), Some(3));
    assert_eq!(chain.payments_to(&shop.recipient).await, []);

    chain.authorize_key(owner, &purse.address, None).await;
    let before = chain.balance(owner).await;
    let reference = sold(&buy().await, "charge");
    let transfers = chain.payments_to(&shop.recipient).await;
    assert_eq!(transfers.iter().map(|one| one.hash.as_str()).collect::<Vec<_>>(), [reference]);
    assert!(before - chain.balance(owner).await >= 10_000, "the owner paid");
    // What there is to pay with is the owner's.
    let (id, balance) = (CHAIN_ID.to_string(), ["wallet", "balance", "main", "--json"]);
    let node = ["--tempo-rpc", &chain.url, "--tempo-chain", &id];
    let read: Value =
        serde_json::from_str(&done(&purse.run(&[&balance[..], &node, &account].concat()).await))
            .expect("JSON");
    let pathusd =
        read["balances"].as_array().expect("a list").iter().find(|one| one["currency"] == "pathusd");
    let units = chain.balance(owner).await;
    assert_eq!(
        pathusd.expect("pathUSD")["amount"],
        mpp::protocol::BaseUnits::new(units).to_amount(6).to_string()
    );

    // A configuration says the same.
    let wallet = format!(
        "[wallet]\nkey_file = \"main\"\ntempo_rpc = \"{}\"\ntempo_chain = {id}\ntempo_account = \"{owner}\"\n",
        chain.url
    );
    purse.write("config.toml", &wallet);
    let password = purse.path("password");
    sold(&purse.run(&["pay", "-yq", "--password-file", &password, &charge]).await, "charge");
    let wrong = ["pay", "-yq", "--password-file", &password, "--tempo-account", "0x12", &charge];
    assert!(ended(&purse.run(&wrong).await, 1).contains("the account of the access key"));
}

#[tokio::test]
async fn a_token_on_an_evm_chain_is_paid_by_signature_alone_once_the_configuration_names_it() {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let purse = Purse::new().await;
    chain.mint(&purse.address, 1_000_000).await;
    let key = purse.write("settlement", DEV_KEYS[1]);
    let shop = Shop::on_evm(SHOP, chain.url(), &chain.token, &key, &[]).await;
    let (password, evm) = (purse.path("password"), shop.at("/evm"));
    let pay = ["pay", "--yes", "--key-file", "main", "--password-file", &password, &evm];
    let wallet = format!("[wallet]\nevm_chain = {CHAIN_ID}\nevm_rpc = \"{}\"\n", chain.url());

    purse.write("config.toml", &wallet);
    ended(&purse.run(&pay).await, 3);
    assert_eq!(chain.payments_to(&shop.recipient).await, [], "it could be any token");

    let token =
        format!("evm_tokens = [{{ name = \"usdc\", address = \"{}\", decimals = 6 }}]\n", chain.token);
    purse.write("config.toml", &format!("{wallet}{token}"));
    let bought = purse.run(&pay).await;
    let reference = sold(&bought, "evm");
    assert!(err(&bought).contains("mpp: paying 0.01 usdc"), "{}", err(&bought));
    assert_eq!(chain.payments_to(&shop.recipient).await, [(10_000, reference.clone())]);
    assert_eq!(chain.coins(&purse.address).await, 0, "who signs needs no coins");
    assert_eq!(purse.ledger().await, [("paid".to_owned(), "10000".to_owned(), reference)]);
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(evm))]
async fn dollars(_: mpp::Paid) -> &'static str {
    "sold\n"
}

/// A server that takes every way to pay on an EVM chain, and writes down which ones came.
async fn any_way(chain: &EvmChain, recipient: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let ways = [
        CredentialType::Authorization,
        CredentialType::Permit2,
        CredentialType::Transaction,
        CredentialType::Hash,
    ];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let evm =
        mpp::Evm::new(recipient).chain(CHAIN_ID).rpc(chain.url()).eip3009_token("usdc", &chain.token, 6);
    let mpp = mpp::Mpp::builder(&base)
        .secret(mpp::Secret::generate())
        .single_process_volatile_store()
        .method(evm.settlement_key(DEV_KEYS[1]).accept(&ways))
        .build()
        .unwrap_or_else(|report| panic!("{report}"));
    let came = Arc::new(Mutex::new(Vec::new()));
    let log = came.clone();
    let read = move |request: axum::extract::Request, next: axum::middleware::Next| {
        let credential = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        if let Some(credential) = credential.and_then(|value| value.strip_prefix("Payment ")) {
            let buffer = CredentialBuf::decode(credential).expect("a credential");
            let credential = buffer.parse().and_then(|read| read.to_credential()).expect("a credential");
            log.lock().unwrap().push(credential.payload["type"].as_str().unwrap_or_default().to_owned());
        }
        next.run(request)
    };
    let app = mpp::routing::Router::new().route("/dollars", mpp::routing::get(dollars)).with_state(mpp);
    let app = app.into_axum().layer(axum::middleware::from_fn(read));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("{base}/dollars"), came)
}

#[tokio::test]
async fn every_way_to_pay_on_an_evm_chain_can_be_chosen_and_gas_has_limits_of_its_own() {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let (purse, recipient) = (Purse::new().await, fresh_address());
    let (url, came) = any_way(&chain, &recipient).await;
    chain.mint(&purse.address, 1_000_000).await;
    let password = purse.path("password");
    let configure = |limits: &str, wallet: &str| {
        purse.write(
            "config.toml",
            &format!(
                "[limits]\n{limits}\n[wallet]\nkey_file = \"main\"\nevm_chain = {CHAIN_ID}\nevm_rpc = \"{}\"\nevm_coin = \"eth\"\n\
                 evm_tokens = [{{ name = \"usdc\", address = \"{}\", decimals = 6 }}]\n{wallet}",
                chain.url(),
                chain.token
            ),
        )
    };
    let pay = async |flags: &[&str]| {
        let fixed = ["pay", "-yq", "--password-file", &password];
        purse.run(&[&fixed[..], flags, &[&url]].concat()).await
    };
    let gas = r#"others = [{ currencies = ["eth"], per_request = "0.1", per_day = "0.2" }]"#;

    configure(gas, "");
    assert_eq!(done(&pay(&["--evm-pays-by", "authorization"]).await), "sold\n");
    assert_eq!(chain.coins(&purse.address).await, 0, "who signs needs no coins");
    chain.approve_permit2_as(&purse.address).await;
    assert_eq!(done(&pay(&["--evm-pays-by", "permit2"]).await), "sold\n");
    chain.give_coins(&purse.address).await;
    assert_eq!(done(&pay(&["--evm-pays-by", "transaction"]).await), "sold\n");
    // A configuration says the same, and a flag says it in its stead.
    configure(gas, "evm_pays_by = [\"hash\"]\n");
    assert_eq!(done(&pay(&[]).await), "sold\n");
    assert_eq!(done(&pay(&["--evm-pays-by", "permit2,authorization"]).await), "sold\n");
    let ways: Vec<_> = came.lock().unwrap().clone();
    assert_eq!(ways[..4], ["authorization", "permit2", "transaction", "hash"]);
    assert!(["authorization", "permit2"].contains(&ways[4].as_str()), "{ways:?}");
    assert_eq!(chain.payments_to(&recipient).await.len(), 5);

    // Gas is money: not covered, or over its own limit, it is not spent, whatever `--max` says of the price.
    configure("", "");
    let uncovered = ended(&pay(&["--evm-pays-by", "hash"]).await, 3);
    assert!(
        uncovered.contains("no budget covers \"eth\"") && uncovered.contains("mpp config"),
        "{uncovered}"
    );
    configure(r#"others = [{ currencies = ["eth"], per_request = "0.000000001", per_day = "1" }]"#, "");
    let dear = ended(&pay(&["--evm-pays-by", "transaction", "--max", "0.5"]).await, 3);
    assert!(dear.contains("0.000000001 eth per request"), "{dear}");
    assert_eq!(pay(&["--evm-pays-by", "cash"]).await.status.code(), Some(2));
    let shown = done(&purse.run(&["wallet", "balance"]).await);
    assert!(shown.contains("eth") && shown.contains("usdc      0.95"), "{shown}");
    assert_eq!(chain.payments_to(&recipient).await.len(), 5);
}

#[tokio::test]
async fn a_balance_is_read_without_a_password_and_only_from_the_chain_that_was_meant() {
    let Some(lab) = lab() else { return };
    let (tempo, evm) = (lab.chain().await, lab.evm_chain().await);
    let purse = Purse::on_tempo(&tempo, 1_250_000).await;
    evm.mint(&purse.address, 30_000).await;
    purse.write(
        "config.toml",
        &format!(
            "[wallet]\nkey_file = \"main\"\ntempo_rpc = \"{}\"\ntempo_chain = {CHAIN_ID}\nevm_rpc = \"{}\"\nevm_chain = {CHAIN_ID}\n\
             evm_tokens = [{{ name = \"usdc\", address = \"{}\", decimals = 6 }}]\n",
            tempo.url,
            evm.url(),
            evm.token
        ),
    );
    let balances = |output: &Output| -> Value {
        let mut document: Value = serde_json::from_str(&done(output)).expect("JSON");
        document["balances"].take()
    };
    let has = |currency: &str, amount: &str| json!({ "chain": "eip155:31337", "currency": currency, "amount": amount });
    let expected = json!([has("alphausd", "0"), has("pathusd", "1.25"), has("usdc", "0.03")]);
    assert_eq!(balances(&purse.run(&["wallet", "balance", "--json"]).await), expected);
    assert!(done(&purse.run(&["wallet", "balance", "main"]).await).contains("pathusd   1.25"));

    let other = ["wallet", "balance", "main", "--tempo-rpc", &tempo.url, "--tempo-chain", "4217"];
    assert!(ended(&purse.run(&other).await, 1).contains("serves the chain 31337, not 4217"));
    let nobody = ["wallet", "balance", "main", "--tempo-rpc", "http://127.0.0.1:1/geheim"];
    let said = ended(&purse.run(&nobody).await, 1);
    assert!(said.contains("does not answer") && !said.contains("geheim"), "{said}");
}

#[tokio::test]
async fn a_card_is_paid_with_through_a_token_backend() {
    // Needs no peer: the stand-in is of this crate.
    let (stand_in, key, purse) = (StandIn::of_today().await, KeyFile::of(SECRET_KEY), Purse::new().await);
    // The shop also sells something for less than a card usually takes, and does not open where nobody can pay for it.
    stand_in.allow_small_amounts();
    let shop = Shop::without_tempo(SHOP, &stand_in.flags(&key)).await;
    let backend = token_backend(&stand_in).await;

    let bought = purse.run(&["pay", "--yes", "--stripe-tokens", &backend, &shop.at("/stripe")]).await;
    let reference = sold(&bought, "stripe");
    assert!(err(&bought).contains("mpp: paying 1 usd"), "{}", err(&bought));
    assert_eq!((stand_in.taken(), stand_in.intents().len()), (100, 1));
    assert_eq!(purse.ledger().await, [("paid".to_owned(), "100".to_owned(), reference)]);
    let limited = ["pay", "--yes", "--max", "0.99", "--stripe-tokens", &backend, &shop.at("/stripe")];
    ended(&purse.run(&limited).await, 3);
    assert_eq!(stand_in.taken(), 100);
}

/// A payer's own backend, which makes tokens within what it is asked for.
async fn token_backend(stripe: &StandIn) -> String {
    let stripe = stripe.clone();
    let make = move |axum::Json(wanted): axum::Json<Value>| {
        let amount = wanted["amount"].as_str().and_then(|text| text.parse().ok()).expect("an amount");
        let token = stripe.token(Limits::of(amount, wanted["currency"].as_str().expect("a currency")));
        async move { axum::Json(json!({ "spt": token })) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/tokens", listener.local_addr().expect("it is bound"));
    let app = axum::Router::new().route("/tokens", axum::routing::post(make));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn the_readme_of_the_command_tells_a_purchase_on_a_real_chain_as_it_happens() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = temporary.path();
    let home = folder.join("home");
    std::fs::create_dir(&home).expect("a temporary folder");
    // The reader has the command under its own name.
    std::os::unix::fs::symlink(MPP, folder.join("mpp")).expect("a link to the command");
    std::fs::write(folder.join("password"), PASSWORD).expect("a temporary file");

    let (_, chapter) = README.split_once("\n## Paying a shop on a real chain\n").expect("the chapter");
    let chapter = chapter.split_once("\n## ").map_or(chapter, |(chapter, _)| chapter);
    let here = |text: &str| {
        let shop = text.replace("http://127.0.0.1:4100", &shop.url);
        shop.replace("http://127.0.0.1:8545", &chain.url)
    };
    let (_, config) = chapter.split_once("```toml\n").expect("the configuration");
    let (config, _) = config.split_once("```").expect("its end");
    std::fs::write(home.join("config.toml"), here(config)).expect("a temporary file");

    let mut sessions = console::sessions(chapter);
    for session in &mut sessions {
        session.command = format!("export MPP_HOME=home; {}", here(&session.command));
        session.promised.iter_mut().for_each(|line| *line = here(line));
    }
    let (made, rest) = sessions.split_at(1);
    console::check(made, folder, folder);
    chain.fund(&address_in(&home), 1_000_000).await;
    console::check(rest, folder, folder);
    assert_eq!(
        chain.payments_to(&shop.recipient).await.len(),
        2,
        "one charge, and one delivery that failed at first"
    );
}

/// The address of the key that the reader has made.
fn address_in(home: &Path) -> String {
    let text = std::fs::read_to_string(home.join("keys/main.json")).expect("the key file");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    file["address"].as_str().expect("an address").to_owned()
}
