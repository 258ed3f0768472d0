//! The pipeline (`mpp/src/server/pipeline.rs`) from a client's side: statuses, money and deliveries.
//!
//! One program, so that it is linked once; one file per theme.
#![cfg(feature = "testing")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/lab.rs"]
mod lab;

mod body;
mod capture;
mod computed;
mod concurrency;
mod configurations;
mod currencies;
mod exchange;
mod faults;
mod fees;
mod headers;
mod health;
mod idempotency;
mod layer;
mod ledger;
mod limits;
mod mutation;
mod observe;
mod oracle;
mod order;
mod rates;
mod recovery;
mod redelivery;
mod refund;
mod replay;
mod shutdown;
mod splits;
mod volatile;
mod wire;
