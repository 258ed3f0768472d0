//! The `digest` parameter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::BodyDigest;

fuzz_target!(|text: &str| {
    if let Ok(digest) = BodyDigest::parse(text) {
        assert_eq!(BodyDigest::parse(&digest.to_string()), Ok(digest));
    }
});
