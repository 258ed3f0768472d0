//! Signed EVM transactions, for a token and for the chain's coin.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::Evm;
use mpp::method::evm::Chain;
use mpp::protocol::Timestamp;
use mpp_fuzz::{Case, assert_refused, text, vectors};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::sync::LazyLock;

static SHOP: LazyLock<(Evm, Vec<Case>)> = LazyLock::new(|| {
    let vectors = vectors(include_str!("../../mpp/tests/fixtures/evm-vectors.json"));
    let evm = Evm::new(text(&vectors, "/recipient")).chain(Chain::BASE);
    let expires = Timestamp::parse(text(&vectors, "/expires")).expect("a date");
    let now = Timestamp::from_unix(expires.unix() - 240);
    let case = |kind| {
        let request = text(&vectors, &format!("/requests/{kind}"));
        Case::new(&evm, text(&vectors, "/id"), text(&vectors, "/realm"), request, now)
    };
    let cases = ["everything", "coin"].into_iter().map(case).collect();
    (evm, cases)
});

fuzz_target!(|raw: &[u8]| {
    let (evm, cases) = &*SHOP;
    let mut signature = String::from("0x");
    raw.iter().for_each(|byte| write!(signature, "{byte:02x}").expect("a string takes everything"));
    let payload = Map::from_iter([
        ("type".to_owned(), Value::from("transaction")),
        ("signature".to_owned(), Value::from(signature)),
    ]);
    cases.iter().for_each(|case| assert_refused(case.verify(evm, &payload)));
});
