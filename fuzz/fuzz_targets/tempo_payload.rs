//! A Tempo credential's payload: `transaction`, `hash` and `proof`, for an amount and for none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::Tempo;
use mpp::method::ServerMethod as _;
use mpp::protocol::Timestamp;
use mpp_fuzz::{Case, assert_refused, text, vectors};
use serde_json::{Map, Value};
use std::sync::LazyLock;

static SHOP: LazyLock<(Tempo, Vec<Case>)> = LazyLock::new(|| {
    let vectors = vectors(include_str!("../../mpp/tests/fixtures/tempo-vectors.json"));
    let input = |name: &str| text(&vectors, &format!("/inputs/{name}"));
    let tempo = Tempo::new(input("recipient")).chain_id(31337);
    let case = |kind| {
        let request = text(&vectors, &format!("/requests/{kind}/encoded"));
        Case::new(&tempo, input("challengeId"), input("realm"), request, Timestamp::from_unix(1_800_000_000))
    };
    let cases = ["plain", "pushOnly", "zero"].into_iter().map(case).collect();
    (tempo, cases)
});

fuzz_target!(|json: &[u8]| {
    let Ok(payload) = serde_json::from_slice::<Map<String, Value>>(json) else { return };
    let (tempo, cases) = &*SHOP;
    // The payer is part of the credential, and a parser of its own.
    let source = payload.get("source").and_then(Value::as_str);
    for case in cases {
        let mut cx = case.credential(&payload);
        cx.source = source;
        assert_refused(mpp_fuzz::now(tempo.verify(&cx)));
    }
});
