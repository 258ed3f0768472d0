//! Credentials in play money.

use super::{Case, now, payload};
use mpp::method::sandbox::Wallet;
use mpp::method::{ClientMethod as _, OfferCx, ServerMethod as _};
use mpp::protocol::{BaseUnits, Timestamp};
use mpp::{Amount, Sandbox};
use serde_json::{Map, Value};
use std::sync::LazyLock;

struct Shop {
    sandbox: Sandbox,
    case: Case,
    paid: Map<String, Value>,
}

static SHOP: LazyLock<Shop> = LazyLock::new(|| {
    let wallet = Wallet::from_seed([7; 32]);
    let sandbox = Sandbox::new().account(&wallet.did(), Amount::whole(1_000));
    let currency = mpp::method::ServerMethod::currency(&sandbox, "usdc").expect("dollars");
    let request = sandbox.offer(&OfferCx::new(BaseUnits::new(500), &currency)).expect("an offer").encode();
    let case = Case::new(&sandbox, "x7Tg", "api.example.com", &request, Timestamp::from_unix(1_800_000_000));
    let paid = now(wallet.pay(&case.challenge)).expect("it can be paid").payload;
    Shop { sandbox, case, paid }
});

/// Payloads: nothing but the wallet's own signature pays. The members of the input replace those of a payment.
pub fn sandbox_payload(json: &[u8]) {
    let Some(members) = payload(json) else { return };
    let Shop { sandbox, case, paid } = &*SHOP;
    let mut payload = paid.clone();
    payload.extend(members);
    if case.verify(sandbox, &payload).is_ok() {
        for (name, value) in paid {
            assert_eq!(payload.get(name), Some(value));
        }
    }
}
