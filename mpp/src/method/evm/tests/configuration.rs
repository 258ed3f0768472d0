//! What start-up says.

use super::*;
use crate::method::{Fees, Sponsoring};
use crate::protocol::ChargeRequest;

fn sentences(evm: &Evm) -> Vec<String> {
    evm.problems().iter().map(ToString::to_string).collect()
}

fn offered(evm: &Evm, currency: &str) -> Result<ChargeRequest, MethodProblem> {
    let money = evm.currency(currency).unwrap();
    evm.offer(&OfferCx::new(BaseUnits::new(5), &money))
}

fn types(evm: &Evm, currency: &str) -> Value {
    offered(evm, currency).unwrap().method_details.unwrap()["credentialTypes"].clone()
}

#[test]
fn configuration_problems_are_sentences_without_secrets() {
    let good = || Evm::new(&SHOP.to_string()).chain(Chain::BASE).rpc("https://rpc.example.org/k3y");
    assert_eq!(sentences(&good()), [""; 0]);
    for (evm, said) in [
        (good().chain(0), "0 is not a usable chain id"),
        (good().chain((1 << 53) + 1), "9007199254740993 is not a usable chain id"),
        (good().rpc("rpc.example.org/k3y"), "the RPC URL is not an absolute"),
        (good().settlement_key("k3y"), "the settlement key is not a private key"),
        (good().confirmations(0), "a payment needs at least one confirmation"),
        (good().accept(&[]), "`.accept(&[])` takes no payment at all"),
        (good().accept(&[CredentialType::Permit2]), "`permit2` is accepted, but nobody can settle it"),
        (good().permit2_at("0x12"), "the address of Permit2 is not usable"),
        (good().token("USD", &TOKEN.to_string(), 6), "a token is named with lowercase letters"),
        (good().token("dai", "0x12", 18), "the token \"dai\" is not usable"),
        (good().token("dai", &Address::ZERO.to_string(), 18), "the token \"dai\" is the zero address"),
    ] {
        let problems = sentences(&evm);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_said(&problems[0], said);
        assert!(!format!("{problems:?}{evm:?}").contains("k3y"), "{evm:?}");
    }
}

#[test]
fn a_challenge_lists_exactly_what_can_pay_in_its_currency() {
    const DAI: &str = "0x50c5725949A6F0c72E6C4a641F24049A917DB0Cb";
    let keyless = || Evm::new(&SHOP.to_string()).chain(Chain::BASE).token("dai", DAI, 18);
    let keyed = || keyless().settlement_signer(PrivateKeySigner::random());
    for (evm, usdc, dai, eth) in [
        (keyless(), json!(["transaction"]), json!(["transaction"]), json!(["transaction"])),
        (
            keyed(),
            json!(["authorization", "transaction"]),
            json!(["permit2", "transaction"]),
            json!(["transaction"]),
        ),
        (
            keyed().accept_unbound_hash(),
            json!(["authorization", "transaction", "hash"]),
            json!(["permit2", "transaction", "hash"]),
            json!(["transaction", "hash"]),
        ),
    ] {
        assert_eq!((types(&evm, "usdc"), types(&evm, "dai"), types(&evm, "eth")), (usdc, dai, eth));
    }
    let only = keyed().accept(&[CredentialType::Authorization, CredentialType::Authorization]);
    assert_eq!(types(&only, "usdc"), json!(["authorization"]));
    assert_eq!(
        offered(&only, "eth").unwrap_err().to_string(),
        "none of the accepted credential types can pay eth"
    );
}

#[test]
fn who_settles_also_sponsors() {
    let keyless = Evm::new(&SHOP.to_string()).chain(Chain::BASE);
    assert_eq!(keyless.sponsoring(), Sponsoring::Unconfigured);
    let evm = keyless.settlement_signer(PrivateKeySigner::random());
    assert_eq!(evm.sponsoring(), Sponsoring::Open);
    let money = evm.currency("usdc").unwrap();
    let mut cx = OfferCx::new(BaseUnits::new(5), &money);
    cx.fees = Fees::Sponsored;
    let details = evm.offer(&cx).unwrap().method_details.unwrap();
    assert_eq!(
        details["credentialTypes"],
        json!(["authorization"]),
        "payers pay the gas of their transactions"
    );
}

#[tokio::test]
async fn start_up_compares_the_tokens_domain_with_its_name_and_version() {
    let scene = Scene::of("usdc", |evm| evm.accept(&[CredentialType::Authorization])).await;
    scene.evm.check().await.unwrap();
    assert!(scene.evm.domains.lock().unwrap().contains_key(&TOKEN));

    let settler = &scene.settler;
    for domain in [None, Some(B256::repeat_byte(1)), Some(typed::token_domain("USDC", "2", 1, TOKEN))] {
        scene.chain.state().domain = domain;
        let other = shop_at(&scene.chain.node.url, settler).accept(&[CredentialType::Authorization]);
        let wrong = other.check().await.unwrap_err();
        assert!(wrong.to_string().contains("does not sign transfers under its name"), "{wrong}");
        // Should it run all the same, it is nobody's fault but ours.
        let payload = scene.pay_by_blind().await;
        let cx = CredentialCx::new(
            &scene.challenge,
            &scene.request,
            &payload,
            Timestamp::from_unix(EXPIRES),
            Timestamp::from_unix(NOW),
        );
        assert_said(
            &said(other.verify(&cx).await),
            "unavailable: evm: 0x5FbDB2315678afecb367f032d93F642f64180aa3",
        );
    }
}

#[tokio::test]
async fn a_token_may_describe_its_domain_instead_and_must_not_contradict_itself() {
    let scene = Scene::of("usdc", |evm| evm.accept(&[CredentialType::Authorization])).await;
    let separator = scene.chain.state().domain;
    for (domain, described, accepted) in [
        (None, Some(("USDC", CHAIN)), true),
        (separator, Some(("USDC", CHAIN)), true),
        (None, Some(("USDC", 1)), false),
        (separator, Some(("Euro", CHAIN)), false),
        (None, None, false),
    ] {
        {
            let mut state = scene.chain.state();
            (state.domain, state.described) = (domain, described);
        }
        let evm = shop_at(&scene.chain.node.url, &scene.settler).accept(&[CredentialType::Authorization]);
        assert_eq!(evm.check().await.is_ok(), accepted, "{domain:?} {described:?}");
        let kept = evm.domains.lock().unwrap().get(&TOKEN).copied();
        assert_eq!(kept, separator.filter(|_| accepted));
    }
}

#[tokio::test]
async fn start_up_refuses_a_token_of_other_decimals_and_a_chain_without_permit2() {
    let scene = Scene::new().await;
    let url = &scene.chain.node.url;
    let wrong = shop_at(url, &scene.settler).token("usdc", &TOKEN.to_string(), 18).check().await.unwrap_err();
    assert!(wrong.to_string().ends_with("configured as \"usdc\" with 18 decimals, has 6"), "{wrong}");
    // The stand-in's code answers no domain that is Permit2's.
    let wrong = shop_at(url, &scene.settler).check().await.unwrap_err();
    assert_said(
        &wrong.to_string(),
        "Permit2 is not at 0x000000000022D473030F116dDEE9F6B43aC78BA3 on chain 31337",
    );
    scene.chain.state().broken = Some(Reply::Status(500));
    let wrong = shop_at(url, &scene.settler).check().await.unwrap_err();
    assert!(wrong.to_string().contains("cannot be used"), "{wrong}");
}

#[tokio::test]
async fn the_wallet_signs_nothing_it_does_not_understand() {
    let scene = Scene::new().await;
    let url = &scene.chain.node.url;
    let wallet = || EvmWallet::new(CHAIN, scene.key.clone());
    let with = |edit: &dyn Fn(&mut ChargeRequest)| {
        let mut request = scene.request.clone();
        edit(&mut request);
        challenge(&request, "Uhc6WSMBbKqNSUJETnxTmSTzEqvM8S1eKaBB9UT4Mn8")
    };
    let details = |name: &'static str, value: Value| {
        move |r: &mut ChargeRequest| {
            let details = r.method_details.as_mut().unwrap();
            match &value {
                Value::Null => details.remove(name),
                value => details.insert(name.into(), value.clone()),
            };
        }
    };
    let permit = || wallet().pays_by(&[CredentialType::Permit2]);
    let authorize = || wallet().pays_by(&[CredentialType::Authorization]);
    let mut expired = with(&|_| {});
    expired.expires = Some("2026-01-01T00:00:00Z".into());
    for (wallet, challenge, said) in [
        (EvmWallet::new(1, scene.key.clone()), with(&|_| {}), "it is for chain 31337, this wallet pays on 1"),
        (wallet(), with(&details("splits", json!([]))), "it splits the payment"),
        (wallet(), with(&details("chainId", Value::Null)), "its request is not one of draft-evm-charge"),
        (wallet(), expired, "it has expired"),
        (permit(), with(&details("spender", Value::Null)), "it does not say who will use the permit"),
        (permit(), with(&details("permit2Address", json!(SHOP))), "it names another Permit2 contract"),
        (authorize(), with(&|_| {}), "the token's EIP-712 domain is not known"),
        (
            authorize().token_domain(&TOKEN.to_string(), "Euro", "2").unwrap().rpc(url).unwrap(),
            with(&|_| {}),
            "the token's EIP-712 domain is not the one that is known",
        ),
        (
            wallet(),
            with(&|_| {}),
            "permit2: this wallet does not pay so; authorization: the token's EIP-712 domain is not known, and there is \
             no node to ask; transaction: there is no node to ask for nonce and fees; hash: there is no node",
        ),
        (wallet(), with(&details("credentialTypes", json!(["teleport"]))), "it accepts no credential type"),
        (
            authorize(),
            with(&details("credentialTypes", json!(["hash"]))),
            "hash: this wallet does not pay so",
        ),
    ] {
        let refused = wallet.pay(&challenge).await.unwrap_err().to_string();
        assert!(refused.contains(said), "{said}: {refused}");
    }
    // A token that says of itself what it does not verify under.
    scene.chain.state().domain = Some(B256::repeat_byte(1));
    let refused = authorize().rpc(url).unwrap().pay(&with(&|_| {})).await.unwrap_err().to_string();
    assert!(refused.contains("is not what its name and version give"), "{refused}");
    assert_eq!(scene.chain.node.asked("eth_sendRawTransaction"), 0);
}

#[test]
fn the_wallet_says_what_a_payment_costs_at_worst_and_to_whom() {
    let evm = Evm::new(&SHOP.to_string()).chain(Chain::BASE).settlement_signer(PrivateKeySigner::random());
    let of = |currency: &str, wallet: &EvmWallet| {
        let request = offered(&evm, currency).unwrap();
        wallet.cost(&challenge(&request, "x")).unwrap()
    };
    let wallet = || EvmWallet::new(Chain::BASE, PrivateKeySigner::random());
    let cost = of("usdc", &wallet());
    assert_eq!(cost.to_string(), "0.000005 usdc", "the server pays the gas");
    assert_eq!(
        (cost.payees[0].account.as_str(), cost.payees[0].units),
        (SHOP.to_string().as_str(), cost.amount)
    );

    let policy = GasPolicy { gas: 100_000, fee_per_gas: 1_000_000_000, ..GasPolicy::default() };
    let node = wallet().rpc("http://127.0.0.1:1").unwrap().gas_policy(policy);
    let by_transaction = node.pays_by(&[CredentialType::Transaction]);
    assert_eq!(of("usdc", &by_transaction).to_string(), "0.000005 usdc + at most 0.0001 eth in fees");
    assert_eq!(of("eth", &by_transaction).asset.name.as_deref(), Some("eth"));

    // A token is what its address is, and has a name only if this wallet knows it.
    const DAI: &str = "0x50c5725949A6F0c72E6C4a641F24049A917DB0Cb";
    let evm = Evm::new(&SHOP.to_string()).chain(Chain::BASE).token("usdc", DAI, 18);
    let request = offered(&evm, "usdc").unwrap();
    let stranger = by_transaction.cost(&challenge(&request, "x")).unwrap().asset;
    assert_eq!((stranger.name, stranger.decimals, stranger.id.as_str()), (None, None, DAI));
    let named = by_transaction.token("dai", DAI, 18).unwrap().cost(&challenge(&request, "x")).unwrap().asset;
    assert_eq!((named.name.as_deref(), named.network.as_str()), (Some("dai"), "eip155:8453"));
}

impl Scene {
    /// An authorization signed without asking the token.
    async fn pay_by_blind(&self) -> Map<String, Value> {
        let wallet = EvmWallet::new(CHAIN, self.key.clone())
            .token_domain(&TOKEN.to_string(), "USDC", "2")
            .unwrap()
            .pays_by(&[CredentialType::Authorization]);
        wallet.pay(&self.challenge).await.unwrap().payload
    }
}
