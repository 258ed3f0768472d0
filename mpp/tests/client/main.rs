//! The paying client against servers that behave and servers that do not. Money is counted at the server's books, never in
//! the client's own ledger.
//!
//! One program, so that it is linked once; one file per theme.
#![cfg(all(feature = "testing", feature = "client"))]

mod world;

mod delivery;
mod hostile;
mod ledger;
mod policy;
mod tcp;
#[cfg(feature = "stripe")]
mod tokens;
