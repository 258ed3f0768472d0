//! `Authorization: Payment`: as a token, and as the JSON inside one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpp::protocol::{Credential, CredentialBuf, b64};

fuzz_target!(|data: &[u8]| {
    if let Ok(token) = std::str::from_utf8(data) {
        read(token);
    }
    let Some(credential) = read(&b64::encode(data)) else { return };
    let header = credential.to_header_value();
    // The canonical form of everything but huge escapes is no longer than what was read.
    if let Some(again) = read(header.strip_prefix("Payment ").expect("it starts so")) {
        assert_eq!(again.to_header_value(), header);
        assert_eq!(again.fingerprint(), credential.fingerprint());
    }
});

fn read(token: &str) -> Option<Credential> {
    let buffer = CredentialBuf::decode(token).ok()?;
    let credential = buffer.parse().ok()?;
    let _ = credential.challenge.expires_at();
    credential.to_credential().ok()
}
