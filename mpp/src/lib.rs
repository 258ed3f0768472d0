//! Declarative pricing for the Machine Payments Protocol.
pub mod protocol;
