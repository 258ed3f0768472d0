#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mpp_fuzz::protocol::accept_payment(data));
