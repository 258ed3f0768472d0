//! What starting a server costs by its prices: each is resolved under the configuration, with everything about a challenge that
//! does not depend on a request. Target: 10,000 prices in under 100 ms, at the first start of a process.
//!
//! That first start is the only one a real process has, and the only one that collects and sorts the registry and touches its
//! memory for the first time. Divan cannot measure what happens once: `main` does, before anything else, and prints a line that
//! `cargo xtask bench` reads as a case (`benches/load/src/report.rs` has its grammar). The cases of divan are the later starts of the
//! same process: what resolving costs alone.
//!
//! The prices are those a program registers when it is linked, two offers each. Routes and documents are in `documents.rs`.

use std::time::Instant;

use divan::{AllocProfiler, Bencher};
use mpp::{Mpp, Secret, Stripe, Tempo};

#[macro_use]
#[path = "shared/registered.rs"]
mod registered;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    let started = Instant::now();
    let mpp = server(None);
    let took = started.elapsed().as_nanos();
    drop(mpp);
    // Or the name of the case is a lie.
    assert_eq!(mpp::registry().len(), 10_000);
    println!(r#"result {{"case":"first_start_of_10_000_prices","metric":"time","values":[{took}]}}"#);
    divan::main();
}

mod few {
    ten! { ten! { ten! { price!("tempo", "stripe"); } } }
}

mod many {
    nine! { ten! { ten! { ten! { price!("tempo", "stripe"); } } } }
}

fn server(without: Option<&str>) -> Mpp {
    let builder = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc("http://127.0.0.1:1"))
        .method(Stripe::new("sk_test_51NotAKeyOfAnybody").network_id("profile_1MqDcVKA5fEO2tZvKQm9g8Yj"))
        .single_process_volatile_store();
    let builder = match without {
        Some(module) => builder.ignore_module(module),
        None => builder,
    };
    builder.build().expect("every price can be paid")
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn start_1_000_prices(bencher: Bencher) {
    bencher.bench_local(|| server(Some(concat!(module_path!(), "::many"))));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn start_10_000_prices(bencher: Bencher) {
    bencher.bench_local(|| server(None));
}
