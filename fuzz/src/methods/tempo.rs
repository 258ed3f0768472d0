//! Tempo credentials, for offers of every kind.

use super::{Case, payload, text, transaction, vectors};
use mpp::Tempo;
use mpp::method::tempo::Sponsor;
use mpp::protocol::Timestamp;
use std::sync::LazyLock;

/// A shop, and a challenge of each of these kinds.
fn shop(kinds: &[&str], change: impl FnOnce(Tempo, &dyn Fn(&str) -> String) -> Tempo) -> (Tempo, Vec<Case>) {
    let vectors = vectors(include_str!("../../../mpp/tests/fixtures/tempo-vectors.json"));
    let input = |name: &str| text(&vectors, &format!("/inputs/{name}")).to_owned();
    let tempo = change(Tempo::new(&input("recipient")).chain_id(31337), &input);
    let now = Timestamp::from_unix(1_800_000_000);
    let case = |kind: &&str| {
        let request = text(&vectors, &format!("/requests/{kind}/encoded"));
        Case::new(&tempo, &input("challengeId"), &input("realm"), request, now)
    };
    let cases = kinds.iter().map(case).collect();
    (tempo, cases)
}

static PAYLOADS: LazyLock<(Tempo, Vec<Case>)> =
    LazyLock::new(|| shop(&["plain", "pushOnly", "zero"], |tempo, _| tempo));

static TRANSACTIONS: LazyLock<(Tempo, Vec<Case>)> = LazyLock::new(|| {
    shop(&["plain", "split", "sponsored", "sponsoredSplit"], |tempo, input| {
        tempo.payee("platform", &input("platform")).sponsor(Sponsor::local(&input("sponsorKey")))
    })
});

/// Payloads: `transaction`, `hash` and `proof`, for an amount and for none. Only a signature of the account in `source` needs
/// no node, and pays nothing.
pub fn tempo_payload(json: &[u8]) {
    let Some(payload) = payload(json) else { return };
    let (tempo, cases) = &*PAYLOADS;
    for case in cases {
        let Ok(verified) = case.verify(tempo, &payload) else { continue };
        assert_eq!((case.request.amount.get(), payload["type"].as_str()), (0, Some("proof")));
        // An address has several spellings.
        let (payer, source) =
            (verified.payer.expect("who signed"), payload["source"].as_str().expect("a payer"));
        assert!(payer.eq_ignore_ascii_case(source), "{payer} is not {source}");
    }
}

/// Envelopes: signed transactions in each of their spellings. The first byte chooses the challenge they are held against,
/// the others are the transaction.
pub fn tempo_transaction(data: &[u8]) {
    let Some((kind, raw)) = data.split_first() else { return };
    let (tempo, cases) = &*TRANSACTIONS;
    cases[usize::from(*kind) % cases.len()].assert_refused(tempo, &transaction(raw));
}
