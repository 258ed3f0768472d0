//! `WWW-Authenticate` lines: whatever is found is written and found again, the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::Challenge;

fuzz_target!(|lines: &str| {
    let found = Challenge::parse_all(lines.lines());
    let written: Vec<String> = found.offers.iter().map(Challenge::to_header_value).collect();
    for line in &written {
        assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')), "a header is printable ASCII");
    }
    let again = Challenge::parse_all(written.iter().map(String::as_str));
    // Escaping can make a list longer than is read; nothing else may be lost.
    if again.refused.is_empty() {
        assert_eq!(again.offers, found.offers);
        let joined = written.join(", ");
        assert_eq!(Challenge::parse_all([joined.as_str()]).offers, found.offers);
    }
    for offer in &found.offers {
        let _ = (offer.expires_at(), offer.charge(), offer.opaque_map());
    }
});
