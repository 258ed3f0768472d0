//! What the targets do with an input, and what they assert of it.
//!
//! The targets themselves (`fuzz_targets/`) only hand libFuzzer's bytes over. What is here has no part of libFuzzer in it, so
//! `mpp/tests/corpus.rs` runs every committed input through the same functions, under plain `cargo test` and without
//! a nightly compiler.

#[cfg(feature = "methods")]
pub mod methods;
pub mod protocol;
