//! Tempo envelopes: signed transactions in each of their spellings, held against a challenge of each kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::Tempo;
use mpp::method::tempo::Sponsor;
use mpp::protocol::Timestamp;
use mpp_fuzz::{Case, assert_refused, text, vectors};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::sync::LazyLock;

const KINDS: [&str; 4] = ["plain", "split", "sponsored", "sponsoredSplit"];

static SHOP: LazyLock<(Tempo, Vec<Case>)> = LazyLock::new(|| {
    let vectors = vectors(include_str!("../../mpp/tests/fixtures/tempo-vectors.json"));
    let input = |name: &str| text(&vectors, &format!("/inputs/{name}"));
    let tempo = Tempo::new(input("recipient"))
        .chain_id(31337)
        .payee("platform", input("platform"))
        .sponsor(Sponsor::local(input("sponsorKey")));
    let case = |kind| {
        let request = text(&vectors, &format!("/requests/{kind}/encoded"));
        Case::new(&tempo, input("challengeId"), input("realm"), request, Timestamp::from_unix(1_800_000_000))
    };
    let cases = KINDS.into_iter().map(case).collect();
    (tempo, cases)
});

// The first byte chooses the challenge, the others are the transaction.
fuzz_target!(|data: &[u8]| {
    let Some((kind, raw)) = data.split_first() else { return };
    let (tempo, cases) = &*SHOP;
    let mut signature = String::from("0x");
    raw.iter().for_each(|byte| write!(signature, "{byte:02x}").expect("a string takes everything"));
    let payload = Map::from_iter([
        ("type".to_owned(), Value::from("transaction")),
        ("signature".to_owned(), Value::from(signature)),
    ]);
    assert_refused(cases[usize::from(*kind) % cases.len()].verify(tempo, &payload));
});
