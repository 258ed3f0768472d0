//! `sandbox`: play money with real signatures, real balances and real refusals. No network, no account anywhere.
//!
//! An account is an ed25519 key, named by its `did:key`. The operator opens it with [`Sandbox::fund`]; the payer's
//! [`Wallet`] signs for a challenge; the server checks the signature and moves the money in its
//! store. A sandbox under another method's name ([`Sandbox::named`]) plays that method, so that a
//! priced handler runs before there is an account with the real network. Nothing outside this folder knows that the
//! money is not real, except that the builder wants `.allow_test_money()`.
//!
//! # On the wire
//! The request is that of draft-payment-intent-charge with `"methodDetails": {"testMoney": true}`, so that nobody
//! mistakes it for a request for real money. The credential's payload is
//!
//! | `type` | for | members |
//! | --- | --- | --- |
//! | `transfer` | an amount | `account` (`did:key:z6Mk…`), `signature` (base64url, ed25519) |
//! | `proof` | amount `0`: an identity proof | the same |
//!
//! A price that is split has its parts in `methodDetails.splits`, by the names the price gives the payees. They are
//! written, not played: the whole amount is in [`Sandbox::till`].
//!
//! The signature covers a label for the type and the realm, the method, the id and the request of the challenge, each
//! preceded by its length, so it can be used for nothing else. The receipt's reference is `sandbox-…`.
//!
//! # One unit is one unit
//! An account holds units of play money. A price of 0.05 costs 0.05 of them, whatever its currency is called and
//! however many decimals it has.
//!
//! # How it is known that nothing moved
//! A payment is the record of its challenge id, changed by compare-and-swap: opened once, then either settled or
//! declined, never both. `settle` opens it, reserves the money in the payer's account, and settles the record; only
//! then is the money gone. `resolve` and `release` decline a record that is not settled, which stops whoever is still
//! working on it, and give the reservation back. So `Declined` is final at whatever point a process died: the record
//! says so, and nothing that lost to it can settle any more. Records of ended payments are kept past the challenge's end
//! (ten minutes in a volatile store, a day in a durable one) and a payment is not begun after that end; only a process
//! that was suspended between reading the time and its first write for longer than that could begin one anew.
//!
#![cfg_attr(not(feature = "server"), doc = "[`Sandbox::fund`]: ../../index.html#cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Sandbox::named`]: ../../index.html#cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Sandbox::till`]: ../../index.html#cargo-features")]

mod client;
#[cfg(feature = "server")]
mod ledger;
mod request;
#[cfg(feature = "server")]
mod server;

pub use client::Wallet;
#[cfg(feature = "server")]
pub use server::{Sandbox, SandboxError};

use crate::protocol::MethodName;

const SANDBOX: MethodName = MethodName::from_static("sandbox");
