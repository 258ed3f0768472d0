//! Payers' identifiers: a DID is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::Did;

fuzz_target!(|text: &str| {
    if let Ok(did) = Did::parse(text) {
        assert_eq!(did.to_string(), text);
    }
});
