//! One module per step, in the order in which a payment takes them.

/// `WWW-Authenticate` of a price that is always the same: everything but the nonce, the time and the id is known at start-up.
mod challenge_of_a_fixed_price {
    use crate::input;
    use divan::{Bencher, black_box};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use mpp::protocol::FreshSlots;
    use mpp_peers::REALM;
    use mpp_peers::official::SECRET;

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let unpaid = input::unpaid("fixed");
        bencher.bench_local(|| unpaid.challenges(None));
    }

    /// The value of the header alone, with a nonce and an expiry of its own.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours_header(bencher: Bencher) {
        let unpaid = input::unpaid("fixed");
        bencher.bench_local(|| unpaid.challenge());
    }

    /// The same of a nonce and an expiry that are there.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours_line(bencher: Bencher) {
        let (prepared, [expires, opaque]) = (input::prepared(), input::own_slots());
        let fresh = FreshSlots::new(&expires, "", &opaque);
        bencher.bench_local(|| prepared.issue(black_box(&fresh)));
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let server = input::official_server();
        bencher.bench_local(|| {
            let offers = server.charge(black_box("0.05")).expect("a challenge");
            official::format_www_authenticate_many(&offers).expect("lines")
        });
    }

    /// The HMAC over the same bytes, of which the first four slots are absorbed.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn floor_hmac_finish(bencher: Bencher) {
        let mut absorbed: Hmac<sha2::Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).expect("any length");
        for slot in [REALM, "tempo", "charge", input::prepared().request()] {
            absorbed.update(slot.as_bytes());
            absorbed.update(b"|");
        }
        let [expires, opaque] = input::own_slots();
        let rest = format!("{expires}||{opaque}");
        bencher.bench_local(|| {
            let mut state = absorbed.clone();
            state.update(black_box(rest.as_bytes()));
            state.finalize().into_bytes()
        });
    }
}

/// The same where the amount is another one each time: the request is written, canonicalised and bound each time.
mod challenge_of_a_computed_price {
    use crate::input;
    use divan::{Bencher, black_box};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use mpp::Amount;
    use mpp_peers::REALM;
    use mpp_peers::official::SECRET;

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let unpaid = input::unpaid("computed");
        bencher
            .with_inputs(|| Amount::micros(50_000 + u128::from(rand::random::<u16>())))
            .bench_local_values(|amount| unpaid.challenges(Some(amount)));
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let server = input::official_server();
        bencher
            .with_inputs(|| format!("0.0{}", 50_000 + u32::from(rand::random::<u16>()) % 40_000))
            .bench_local_refs(|amount| {
                let offers = server.charge(amount).expect("a challenge");
                official::format_www_authenticate_many(&offers).expect("lines")
            });
    }

    /// The JSON of that request, in whatever order its members are; its base64; and the HMAC of seven slots, whose key is
    /// absorbed.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn floor_json_and_hmac(bencher: Bencher) {
        let key: Hmac<sha2::Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).expect("any length");
        let (charge, [expires, opaque]) = (input::computed_charge(), input::own_slots());
        bencher.bench_local(|| {
            let json = serde_json::to_vec(black_box(&charge)).expect("JSON");
            let request = base64_simd::URL_SAFE_NO_PAD.encode_to_string(json);
            let mut state = key.clone();
            for slot in [REALM, "tempo", "charge", &request, &expires, "", &opaque] {
                state.update(slot.as_bytes());
                state.update(b"|");
            }
            (request, state.finalize().into_bytes())
        });
    }
}

/// The id of a challenge: the HMAC of its seven slots, as base64url.
mod challenge_id {
    use crate::input;
    use divan::{Bencher, black_box};
    use mpp::protocol::FreshSlots;

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours_prepared(bencher: Bencher) {
        let prefix = input::prefix();
        let fresh = FreshSlots::new(input::EXPIRES, "", input::OPAQUE);
        bencher.bench_local(|| prefix.id(black_box(&fresh)));
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours_from_seven_slots(bencher: Bencher) {
        let (ring, challenge) = (input::ring(), input::challenge());
        bencher.bench_local(|| ring.id(black_box(&challenge.slots())));
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let challenge = input::challenge();
        bencher.bench_local(|| input::official_id(black_box(&challenge.slots())));
    }
}

/// A challenge that is there, written as a header.
mod write_a_challenge {
    use crate::input;
    use divan::{Bencher, black_box};

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let challenge = input::challenge();
        bencher.bench_local(|| black_box(&challenge).to_header_value());
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let challenge = input::official_challenge();
        bencher.bench_local(|| official::format_www_authenticate(black_box(&challenge)).expect("a line"));
    }
}

/// A challenge read from a header, as a client does: with its request.
mod read_a_challenge {
    use crate::input;
    use divan::{Bencher, black_box};
    use mpp::protocol::Challenge;

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let line = input::challenge().to_header_value();
        bencher.bench_local(|| {
            let challenge = Challenge::parse_all([black_box(line.as_str())]).offers.remove(0);
            let charge = challenge.charge().expect("a charge");
            (challenge, charge)
        });
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let line = input::challenge().to_header_value();
        bencher.bench_local(|| {
            let challenge = official::parse_www_authenticate(black_box(&line)).expect("a challenge");
            let charge: official::ChargeRequest = challenge.request.decode().expect("a charge");
            (challenge, charge)
        });
    }
}

/// `Authorization`, from its text to what a server looks at.
mod read_a_credential {
    use crate::input;
    use divan::{Bencher, black_box};
    use mpp::protocol::CredentialBuf;

    /// All of it, as it is kept of a credential that is authentic.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let token = input::token();
        bencher.bench_local(|| {
            let buffer = CredentialBuf::decode(black_box(&token)).expect("a credential");
            buffer.parse().expect("a credential").to_credential().expect("a credential")
        });
    }

    /// What is read of every credential, before it is known who wrote it: borrowed, and not into the payload.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours_borrowed(bencher: Bencher) {
        let token = input::token();
        bencher.bench_local(|| {
            let buffer = CredentialBuf::decode(black_box(&token)).expect("a credential");
            let read = buffer.parse().expect("a credential").challenge.id.len();
            (buffer, read)
        });
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let value = input::authorization();
        bencher.bench_local(|| official::parse_authorization(black_box(&value)).expect("a credential"));
    }

    /// As borrowed as that, by serde.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn serde_borrowed(bencher: Bencher) {
        #[derive(serde::Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            challenge: Echo<'a>,
            #[serde(borrow)]
            payload: &'a serde_json::value::RawValue,
        }
        #[derive(serde::Deserialize)]
        struct Echo<'a> {
            id: &'a str,
            realm: &'a str,
            method: &'a str,
            intent: &'a str,
            request: &'a str,
            expires: &'a str,
            opaque: &'a str,
        }
        let token = input::token();
        bencher.bench_local(|| {
            let json = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(black_box(&token)).expect("base64url");
            let text = simdutf8::basic::from_utf8(&json).expect("UTF-8");
            let wire: Wire<'_> = serde_json::from_str(text).expect("JSON");
            let Echo { id, realm, method, intent, request, expires, opaque } = wire.challenge;
            let texts = [id, realm, method, intent, request, expires, opaque, wire.payload.get()];
            let read = texts.iter().map(|text| text.len()).sum::<usize>();
            (json, read)
        });
    }
}

/// The same, and whether the challenge in it is one we issued.
mod verify_the_binding {
    use crate::input;
    use divan::{Bencher, black_box};
    use mpp::protocol::CredentialBuf;

    /// On the route of the challenge, whose first four slots are absorbed; the payload is not looked at for this.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let (prefix, token, request) = (input::prefix(), input::token(), input::our_charge().encode());
        bencher.bench_local(|| {
            let buffer = CredentialBuf::decode(black_box(&token)).expect("a credential");
            let credential = buffer.parse().expect("a credential");
            let slots = credential.challenge.slots();
            assert!(slots.request == request && (slots.realm, slots.method) == (mpp_peers::REALM, "tempo"));
            prefix.verify(slots.expires, slots.digest, slots.opaque, &credential.challenge.id).expect("ours");
        });
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours_from_seven_slots(bencher: Bencher) {
        let (ring, token) = (input::ring(), input::token());
        bencher.bench_local(|| {
            let buffer = CredentialBuf::decode(black_box(&token)).expect("a credential");
            let challenge = buffer.parse().expect("a credential").challenge;
            ring.verify(&challenge.slots(), &challenge.id).expect("ours");
        });
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let value = input::authorization();
        bencher.bench_local(|| {
            let credential = official::parse_authorization(black_box(&value)).expect("a credential");
            let echo = &credential.challenge;
            let id = official::compute_challenge_id(
                mpp_peers::official::SECRET,
                &echo.realm,
                echo.method.as_str(),
                echo.intent.as_str(),
                echo.request.raw(),
                echo.expires.as_deref(),
                echo.digest.as_deref(),
                echo.opaque.as_ref().map(|opaque| opaque.raw()),
            );
            assert_eq!(id, echo.id);
        });
    }
}

/// `Payment-Receipt`, written by a server.
mod write_a_receipt {
    use crate::input;
    use divan::{Bencher, black_box};

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let receipt = input::our_receipt();
        bencher.bench_local(|| black_box(&receipt).to_header_value());
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let receipt = input::official_receipt();
        bencher.bench_local(|| official::format_receipt(black_box(&receipt)).expect("a line"));
    }
}

/// And read by a client.
mod read_a_receipt {
    use crate::input;
    use divan::{Bencher, black_box};
    use mpp::Receipt;

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let line = input::our_receipt().to_header_value();
        bencher.bench_local(|| Receipt::parse_header(black_box(&line)).expect("a receipt"));
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let line = input::our_receipt().to_header_value();
        bencher.bench_local(|| official::parse_receipt(black_box(&line)).expect("a receipt"));
    }
}

/// The `request` of a challenge: canonical JSON and base64url of a charge.
mod write_a_request {
    use crate::input;
    use divan::{Bencher, black_box};

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        let charge = input::our_charge();
        bencher.bench_local(|| black_box(&charge).encode());
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let charge = input::official_charge();
        bencher.bench_local(|| official::Base64UrlJson::from_typed(black_box(&charge)).expect("JSON"));
    }

    /// JSON in whatever order its members are, and base64.
    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn floor_json_and_base64(bencher: Bencher) {
        let charge = input::our_charge();
        bencher.bench_local(|| {
            let json = serde_json::to_vec(black_box(&charge)).expect("JSON");
            base64_simd::URL_SAFE_NO_PAD.encode_to_string(json)
        });
    }
}

/// Canonical JSON alone, of a JSON value.
mod canonical_json {
    use crate::input;
    use divan::{Bencher, black_box};

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        bencher.bench_local(|| mpp::protocol::to_jcs(black_box(&*input::CHARGE)).expect("JSON"));
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        bencher.bench_local(|| serde_json_canonicalizer::to_vec(black_box(&*input::CHARGE)).expect("JSON"));
    }
}

/// The digest that binds a body of 1 KB.
mod digest_of_1_kb {
    use divan::Bencher;

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        super::digests::ours(bencher, 1 << 10);
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        super::digests::official_sdk(bencher, 1 << 10);
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn floor_sha256(bencher: Bencher) {
        super::digests::floor(bencher, 1 << 10);
    }
}

/// And of 1 MB.
mod digest_of_1_mb {
    use divan::Bencher;

    #[divan::bench(sample_count = 100, sample_size = 1)]
    fn ours(bencher: Bencher) {
        super::digests::ours(bencher, 1 << 20);
    }

    #[divan::bench(sample_count = 100, sample_size = 1)]
    fn official_sdk(bencher: Bencher) {
        super::digests::official_sdk(bencher, 1 << 20);
    }

    #[divan::bench(sample_count = 100, sample_size = 1)]
    fn floor_sha256(bencher: Bencher) {
        super::digests::floor(bencher, 1 << 20);
    }
}

mod digests {
    use divan::{Bencher, black_box};
    use mpp::protocol::BodyDigest;
    use sha2::Digest as _;

    pub(super) fn ours(bencher: Bencher, size: usize) {
        let body = vec![b'x'; size];
        bencher.bench_local(|| BodyDigest::of(black_box(&body)).to_string());
    }

    pub(super) fn official_sdk(bencher: Bencher, size: usize) {
        let body = vec![b'x'; size];
        bencher.bench_local(|| official::body_digest::compute(black_box(&body)));
    }

    pub(super) fn floor(bencher: Bencher, size: usize) {
        let body = vec![b'x'; size];
        bencher.bench_local(|| sha2::Sha256::digest(black_box(&body)));
    }
}

/// `Accept-Payment`, read, and three offers ranked by it.
mod accept_payment {
    use crate::input;
    use divan::{Bencher, black_box};
    use mpp::protocol::AcceptPayment;

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn ours(bencher: Bencher) {
        bencher.bench_local(|| {
            let accept = AcceptPayment::parse(black_box(input::ACCEPT)).expect("it is well formed");
            accept.rank(input::OFFERS).len()
        });
    }

    #[divan::bench(sample_count = 300, sample_size = 32)]
    fn official_sdk(bencher: Bencher) {
        let offers = input::OFFERS.map(input::Offer);
        bencher.bench_local(|| {
            let accept =
                official::accept_payment::parse(black_box(input::ACCEPT)).expect("it is well formed");
            official::accept_payment::rank(&offers, &accept).len()
        });
    }
}

/// What a request has to find before it can be priced. The official SDK has neither: a price is an argument of its calls.
mod look_up {
    use crate::input;
    use divan::{Bencher, black_box};

    /// A price by the name of its handler, in a registry of two that is gone through: tests do that, and no request.
    #[divan::bench(sample_count = 200, sample_size = 256)]
    fn ours_registry_of_two(bencher: Bencher) {
        bencher.bench_local(|| input::price(black_box("fixed")));
    }

    /// What a request does.
    #[divan::bench(sample_count = 200, sample_size = 256)]
    fn ours_plan(bencher: Bencher) {
        let (mpp, price) = (input::our_server(), input::price("fixed"));
        bencher.bench_local(|| mpp::testing::hot_path::offers(black_box(&mpp), black_box(price)));
    }
}
