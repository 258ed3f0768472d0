//! Canonical JSON: the canonical form of a canonical form is itself, and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::{jcs, to_jcs};

fuzz_target!(|json: &[u8]| {
    let Ok(value) = jcs::parse(json) else { return };
    let canonical = to_jcs(&value).expect("a parsed value is finite");
    let again = jcs::parse(&canonical).expect("canonical JSON is strict JSON");
    assert_eq!(to_jcs(&again).expect("still finite"), canonical);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&canonical).expect("JSON"), again);
});
