//! `Accept-Payment`: what parses is written and parses again, the same; a ranking names each offer at most once.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use mpp::protocol::AcceptPayment;

const OFFERS: [(&str, &str); 4] =
    [("tempo", "charge"), ("tempo", "session"), ("stripe", "charge"), ("evm", "subscription")];

fuzz_target!(|text: &str| {
    let Ok(accept) = AcceptPayment::parse(text) else { return };
    let ranked = accept.rank(OFFERS);
    let unique: HashSet<_> = ranked.iter().collect();
    assert!(unique.len() == ranked.len() && ranked.iter().all(|index| *index < OFFERS.len()));
    if let Ok(again) = AcceptPayment::parse(&accept.to_string()) {
        assert_eq!(again, accept);
    }
});
