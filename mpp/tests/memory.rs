//! What payments take in the memory store, by the resident size of this process: a program of its own, with one test, so that
//! nothing else is measured.
//!
//! The numbers at a million keys are in the documentation of `MemoryStore`. What is held to 300 bytes is an entry of the journal:
//! one that is over with all it has, an open one besides what its method wrote. The key that claims the proof of an open payment
//! comes on top, and is held to a bound of its own.
//!
//! The bound is on what strangers can make a server keep: whoever pays leaves a terminal entry until its challenge and the grace
//! period are over, whoever starts to pay an open one.
#![cfg(all(feature = "testing", target_os = "linux"))]

#[path = "common/mod.rs"]
mod common;
#[path = "common/lab.rs"]
mod lab;

use common::credential;
use lab::*;
use mpp::store::{Cas, Keep, Key, Limits, MemoryStore, Quota, Store, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The default limit of a store is ten times as many: `MPP_MEMORY_KEYS=1000000` measures that.
fn keys() -> usize {
    let told = std::env::var("MPP_MEMORY_KEYS").ok();
    told.map_or(100_000, |keys| keys.parse().expect("MPP_MEMORY_KEYS is a number"))
}

const ENTRY: usize = 300;
/// Of a key that claims a proof.
const CLAIM: usize = 120;
/// As long as a transaction's hash.
const PROOF: &str = "0xec7804f2762eb62085c566f26f65f59d3c835098effb15029681d2e1ab18fa3a";
/// Nonce and tag of what is sealed.
const SEAL: usize = 24 + 16;

#[tokio::test]
async fn an_entry_takes_300_bytes_and_an_open_one_what_its_method_wrote_besides() {
    let lab = Lab::new();
    lab.pay("/cheap", PROOF).await.1.assert_ok();
    settle_down().await;
    let over = left(&lab).await;
    assert_eq!(over.len(), 2, "{over:?}");
    // Kept to the end: memory that was given back would be measured as none.
    let (each, _full) = bytes_per_key(&over, Keep::For(Duration::from_secs(900))).await;
    println!("a key of a payment that is over takes {each} bytes");
    assert!(each <= ENTRY / 2, "a key of a payment that is over takes {each} bytes");

    let lab = Lab::new();
    lab.network.close_turnstile();
    let paid = credential(&lab.challenge("/cheap").await, PROOF);
    let request = lab.send("/cheap", &paid);
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
    let open = left(&lab).await;
    assert_eq!(open.len(), 2, "{open:?}");
    // The sealed plan and the payer are as long as the method makes them. Of a proof there is a hash.
    let plan =
        serde_json::json!({ "amount": "10000", "secret": common::PLAN_SECRET }).to_string().len() + SEAL;
    let written = plan + "did:example:payer".len();
    let (entries, claims): (Vec<_>, Vec<_>) = open.into_iter().partition(|(key, _)| key.contains("/entry/"));
    let (entry, _also_full) = bytes_per_key(&entries, Keep::Live).await;
    println!("an open entry takes {entry} bytes, of which its method wrote {written}");
    assert!(entry <= ENTRY + written, "an open entry takes {entry} bytes");
    let (claim, _full_as_well) = bytes_per_key(&claims, Keep::Live).await;
    println!("the claim of its proof takes {claim} bytes");
    assert!(claim <= CLAIM, "the claim of a proof takes {claim} bytes");
    request.abort();
}

/// The keys and the sizes of the values that a payment has in the store.
async fn left(lab: &Lab) -> Vec<(String, usize)> {
    let page = lab.shelf.scan("", None, 100).await.unwrap();
    page.into_iter().map(|(key, there)| (key.as_str().to_owned(), there.value.len())).collect()
}

/// Fills a store with many payments that look like this one.
async fn bytes_per_key(like: &[(String, usize)], keep: Keep) -> (usize, MemoryStore) {
    let keys = keys();
    let store = MemoryStore::with_limits(Limits { paid: keys, free: keys });
    let before = resident();
    for n in 0..keys / like.len() {
        for (key, size) in like {
            let (_, rest) = key.split_once('/').unwrap();
            let (kind, name) = rest.split_once('/').unwrap();
            // As long as the real one, in an order like that of hashes.
            let scattered = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let name = format!("{scattered:016x}{}", &name[16..]);
            let write = Write { value: vec![7; *size], keep };
            let written = store.cas(&Key::new(Quota::Paid, kind, &name), None, Some(write)).await;
            assert!(matches!(written, Ok(Cas::Written(_))));
        }
    }
    (resident().saturating_sub(before) / keys, store)
}

/// Bytes of this process in memory, the allocator's own included.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
