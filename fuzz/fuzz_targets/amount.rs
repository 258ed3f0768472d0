//! Amounts and base units: what parses is written and parses again, the same, and arithmetic keeps its laws.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::{Amount, BaseUnits};

fuzz_target!(|text: &str| {
    let (left, right) = text.split_once(' ').unwrap_or((text, "1"));
    if let Ok(units) = BaseUnits::parse(left) {
        assert_eq!(units.to_string(), left);
    }
    let (Ok(left), Ok(right)) = (Amount::parse(left), Amount::parse(right)) else { return };
    assert_eq!(Amount::parse(&left.to_string()), Ok(left));
    let sum = left + right;
    if !sum.is_overflow() {
        assert!(sum >= left && sum >= right);
        assert_eq!(sum - right, left);
    }
    if left < right {
        assert!((left - right).is_overflow());
    }
    for decimals in [0, 2, 6, 18, 38] {
        let rounded = left.round_up(decimals);
        assert!(rounded >= left);
        if let Ok(units) = left.to_base_units(decimals) {
            assert_eq!(units.to_amount(decimals), left);
            assert_eq!(rounded, left);
        }
    }
});
