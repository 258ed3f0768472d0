//! The peers as servers: the routes of `benches/shared/ours.rs`, written with other libraries as their documentation says.
//!
//! [`official`] is the SDK of Tempo and Stripe (the crate `mpp` of crates.io), [`x402`] another protocol with the same
//! purpose. What is paid is paid with a play method of the same kind as our sandbox: a signature of ed25519 that is verified
//! ([`proof`]), and a record that it was used.

pub mod official;
pub mod proof;
pub mod x402;

/// What every handler answers, whoever guards it.
pub const BODY: &str = "sunny, 21 degrees\n";

/// Who is paid.
pub const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// USDC on Tempo: what our `tempo` calls `usdc`.
pub const USDC: &str = "0x20c000000000000000000000b9537d11c60e8b50";

/// Who asks.
pub const REALM: &str = "api.example.com";
