//! RFC 3339: what parses is written in UTC and parses again, the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::Timestamp;

fuzz_target!(|text: &str| {
    if let Ok(moment) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        assert_eq!(Timestamp::from_unix(moment.unix()), moment);
    }
});
