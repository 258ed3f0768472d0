//! Documents: what is published equals what is mounted and what is charged (draft-payment-discovery-00).
#![cfg(all(feature = "testing", feature = "openapi"))]
#![allow(unreachable_pub, reason = "the modules of a test program")]

mod advertised;
mod conflicts;
mod described;
mod manifest;
mod odd;
mod page;
mod progressive;
#[cfg(feature = "reference")]
mod reference;
mod served;
mod shop;
mod valid;
