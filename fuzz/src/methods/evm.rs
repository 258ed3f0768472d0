//! EVM credentials, for a token and for the chain's coin.

use super::{Case, payload, text, transaction, vectors};
use mpp::Evm;
use mpp::method::evm::Chain;
use mpp::protocol::Timestamp;
use std::sync::LazyLock;

const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

static SHOP: LazyLock<(Evm, Vec<Case>)> = LazyLock::new(|| {
    let vectors = vectors(include_str!("../../../mpp/tests/fixtures/evm-vectors.json"));
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

/// Payloads: `permit2`, `transaction` and `hash`.
///
/// An `authorization` is read after the node was asked for the token's domain: property tests beside its parser do that.
pub fn evm_payload(json: &[u8]) {
    let Some(payload) = payload(json) else { return };
    let (evm, cases) = &*SHOP;
    cases.iter().for_each(|case| case.assert_refused(evm, &payload));
}

/// Signed transactions.
pub fn evm_transaction(raw: &[u8]) {
    let (evm, cases) = &*SHOP;
    let payload = transaction(raw);
    cases.iter().for_each(|case| case.assert_refused(evm, &payload));
}
