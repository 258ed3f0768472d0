//! An EVM credential's payload: `permit2`, `transaction` and `hash`, for a token and for the chain's coin.
//!
//! An `authorization` is read after the node was asked for the token's domain: property tests beside its parser do that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::Evm;
use mpp::method::ServerMethod as _;
use mpp::method::evm::Chain;
use mpp::protocol::Timestamp;
use mpp_fuzz::{Case, assert_refused, text, vectors};
use serde_json::{Map, Value};
use std::sync::LazyLock;

const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

static SHOP: LazyLock<(Evm, Vec<Case>)> = LazyLock::new(|| {
    let vectors = vectors(include_str!("../../mpp/tests/fixtures/evm-vectors.json"));
    let evm = Evm::new(text(&vectors, "/recipient")).chain(Chain::BASE).settlement_key(KEY);
    let expires = Timestamp::parse(text(&vectors, "/expires")).expect("a date");
    let now = Timestamp::from_unix(expires.unix() - 240);
    let case = |kind| {
        let request = text(&vectors, &format!("/requests/{kind}"));
        Case::new(&evm, text(&vectors, "/id"), text(&vectors, "/realm"), request, now)
    };
    let cases = ["everything", "coin"].into_iter().map(case).collect();
    (evm, cases)
});

fuzz_target!(|json: &[u8]| {
    let Ok(payload) = serde_json::from_slice::<Map<String, Value>>(json) else { return };
    let (evm, cases) = &*SHOP;
    let source = payload.get("source").and_then(Value::as_str);
    for case in cases {
        let mut cx = case.credential(&payload);
        cx.source = source;
        assert_refused(mpp_fuzz::now(evm.verify(&cx)));
    }
});
