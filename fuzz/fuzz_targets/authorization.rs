//! `Authorization` with several schemes: no payment is left behind, and nothing else is touched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::authorization::{PaymentElement, split};

fuzz_target!(|value: &str| {
    let found = split(value);
    match &found.rest {
        Some(rest) if found.payment == PaymentElement::None => assert_eq!(rest, value),
        Some(rest) => {
            let again = split(rest);
            assert!(again.payment == PaymentElement::None);
            assert_eq!(again.rest.as_deref(), Some(rest.as_ref()));
        }
        None => {}
    }
});
