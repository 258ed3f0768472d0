//! `Payment-Receipt`: as a header value, and as the JSON inside one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::{Receipt, b64};

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = std::str::from_utf8(data) {
        let _ = Receipt::parse_header(value);
    }
    let Ok(receipt) = Receipt::parse_header(&b64::encode(data)) else { return };
    let header = receipt.to_header_value();
    if let Ok(again) = Receipt::parse_header(&header) {
        assert_eq!(again.to_header_value(), header);
    }
});
