//! `voucher`: prepaid vouchers in euro cents. The code never travels: the payload names the voucher and holds an HMAC of the
//! challenge under the code. What was spent is one record per voucher in a [`Store`], changed by compare-and-swap: it is
//! the commit point, so `Declined` is final because the record says so.

use hmac::{Hmac, KeyInit, Mac};
use mpp::method::*;
use mpp::protocol::{BaseUnits, Challenge, ChargeRequest, Currency, MethodName, b64};
use mpp::store::{Keep, Key, Quota, Store, StoreError, Version, Write};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

static NAME: MethodName = MethodName::from_static("voucher");

/// `methods(custom_method::Voucher)` in an annotation.
pub struct Voucher;
impl PaymentMethod for Voucher {
    const NAME: &'static str = "voucher";
    const CURRENCIES: &'static [Currency] = &[Currency::EUR];
}

/// A voucher in somebody's pocket.
pub struct Pocket(pub String);
impl ClientMethod for Pocket {
    fn name(&self) -> &MethodName {
        &NAME
    }
    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
        if challenge.method != NAME {
            return Step::ready(Err(PayError::Unsupported("there are only vouchers in this pocket".into())));
        }
        let mac = b64::encode(mac(&self.0, challenge).finalize().into_bytes());
        let payload = Map::from_iter([("voucher".into(), id(&self.0).into()), ("mac".into(), mac.into())]);
        Step::ready(Ok(Proof { payload, source: None }))
    }
}

/// The vouchers that were sold, and where it is written what they have paid. `Debug` shows no code.
pub struct Vouchers {
    sold: BTreeMap<String, (String, u128)>,
    store: Arc<dyn Store>,
}
impl fmt::Debug for Vouchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouchers").field("sold", &self.sold.len()).finish_non_exhaustive()
    }
}

/// Challenge id → cents paid, or `None`: cancelled, and never to be paid.
type Spent = BTreeMap<String, Option<u128>>;

impl Vouchers {
    /// Codes (long and random) with their worth in cents.
    pub fn new(store: Arc<dyn Store>, sold: impl IntoIterator<Item = (String, u128)>) -> Self {
        Self { sold: sold.into_iter().map(|(code, cents)| (id(&code), (code, cents))).collect(), store }
    }

    /// What a voucher has paid so far.
    pub async fn spent(&self, code: &str) -> Result<u128, StoreError> {
        Ok(self.read(&id(code)).await?.1.values().flatten().sum())
    }

    async fn read(&self, voucher: &str) -> Result<(Option<Version>, Spent), StoreError> {
        let Some(there) = self.store.get(&key(voucher)).await? else { return Ok((None, Spent::new())) };
        let spent = serde_json::from_slice(&there.value).map_err(|e| StoreError::Backend(e.to_string()))?;
        Ok((Some(there.version), spent))
    }

    async fn check(&self, cx: &CredentialCx<'_>) -> Result<Verified, Rejection> {
        let text = |name| cx.payload.get(name).and_then(Value::as_str);
        let (Some(voucher), Some(Ok(tag))) = (text("voucher"), text("mac").map(b64::decode)) else {
            return Err(Rejection::malformed("`voucher` or `mac` is missing"));
        };
        let signed = |code: &str| mac(code, cx.challenge).verify_slice(&tag).is_ok();
        let Some((_, worth)) = self.sold.get(voucher).filter(|(code, _)| signed(code)) else {
            return Err(Rejection::failed("no such voucher, or not for this"));
        };
        let read = self.read(voucher).await;
        let (_, spent) = read.map_err(|e| Rejection::unavailable(Duration::from_secs(2), e.to_string()))?;
        let (cents, used) = (cx.request.amount.get(), spent.values().flatten().sum::<u128>());
        if used + cents > *worth && !spent.contains_key(&cx.challenge.id) {
            return Err(Rejection::failed("the voucher is not worth that much any more"));
        }
        let plan = SettlementPlan(json!([voucher, cents.to_string()]));
        Ok(Verified { payer: None, proof_keys: Vec::new(), plan }) // the MAC is for this challenge alone
    }

    /// Writes what becomes of a challenge, unless that is written already.
    async fn write(&self, cx: &SettleCx<'_>, entry: fn(u128) -> Option<u128>) -> Settlement {
        let unknown = |detail: &dyn fmt::Display| Settlement::Unknown { detail: detail.to_string() };
        let plan = serde_json::from_value::<(String, String)>(cx.plan.0.clone()).ok();
        let plan = plan.and_then(|(voucher, cents)| Some((voucher, cents.parse::<u128>().ok()?)));
        let Some((voucher, cents)) = plan else { return unknown(&"an odd plan") };
        let Some((_, worth)) = self.sold.get(&voucher) else { return unknown(&"whose voucher is it?") };
        for _ in 0..100 {
            let (version, mut spent) = match self.read(&voucher).await {
                Ok(there) => there,
                Err(error) => return unknown(&error),
            };
            match spent.get(cx.challenge_id) {
                Some(Some(_)) => return Settlement::Settled(Payment::new(cx.challenge_id)),
                Some(None) => return Settlement::Declined(Rejection::failed("the payment was cancelled")),
                None => {}
            }
            let fits = spent.values().flatten().sum::<u128>() + cents <= *worth;
            spent.insert(cx.challenge_id.to_owned(), entry(cents).filter(|_| fits));
            let write = Write { value: json!(spent).to_string().into_bytes(), keep: Keep::Live };
            if let Err(error) = self.store.cas(&key(&voucher), version, Some(write)).await {
                return unknown(&error);
            } // written or not: what is there now decides
        }
        unknown(&"too many payments with one voucher at once")
    }
}

impl ServerMethod for Vouchers {
    fn name(&self) -> &MethodName {
        &NAME
    }
    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        (name == "eur").then(|| MethodCurrency { id: "eur".into(), decimals: 2, minimum: BaseUnits::new(1) })
    }
    fn currencies(&self) -> Vec<String> {
        vec!["eur".into()]
    }
    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        Ok(ChargeRequest::new(cx.amount, &cx.currency.id))
    }
    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        Step::boxed(self.check(cx))
    }
    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        Step::boxed(self.write(cx, Some))
    }
    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        Step::boxed(self.write(cx, |_| None))
    }
}

fn id(code: &str) -> String {
    b64::encode(&Sha256::digest(code)[..12])
}
fn key(voucher: &str) -> Key {
    Key::new(Quota::Paid, "voucher", voucher)
}
fn mac(code: &str, challenge: &Challenge) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(code.as_bytes()).expect("an HMAC takes a key of any length");
    mac.chain_update(&challenge.id).chain_update([0]).chain_update(&challenge.request)
}
