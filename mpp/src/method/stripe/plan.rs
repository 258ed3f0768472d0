//! What is journaled between `verify` and `settle`: the request to Stripe, word for word, so that another process, or
//! another release with another configuration, repeats exactly it or nothing.

use super::connect::Connect;
use super::request::{Ask, Payload};
use crate::method::{CredentialCx, MethodProblem, SettlementPlan};
use crate::protocol::{Timestamp, b64};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use url::form_urlencoded::Serializer;

/// For how long after the first the same POST may be repeated: Stripe forgets keys after 24 hours.
const REPEATABLE: Duration = Duration::from_secs(20 * 60 * 60);

/// One PaymentIntent to be. Holds the token: never printed, and sealed by the pipeline.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The form of the POST that creates it.
    form: String,
    /// `Idempotency-Key`.
    pub(super) key: String,
    /// `Stripe-Version`.
    pub(super) version: String,
    /// `Stripe-Account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// What it has to be worth.
    pub(super) amount: u64,
    pub(super) currency: String,
    /// Its metadata `mpp_payment`: says, without the token, which challenge and token it belongs to.
    pub(super) mark: String,
    /// Not later than the first POST.
    begun: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
    /// Its id, once it is a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<String>,
}

/// Whether the money is taken when the PaymentIntent is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Funds {
    Taken,
    Reserved,
}

impl Plan {
    /// For an authentic credential.
    pub(super) fn new(
        cx: &CredentialCx<'_>,
        ask: &Ask,
        payload: &Payload<'_>,
        connect: &Connect,
        version: &str,
    ) -> Result<Self, MethodProblem> {
        let id = &cx.challenge.id;
        // SC-06; draft spelling.
        let key = format!("{id}_{}", payload.token);
        let mark = b64::encode(&Sha256::digest(format!("mpp stripe payment v1\0{key}"))[..24]);
        let mut form = Serializer::new(String::new());
        form.append_pair("amount", &ask.amount.to_string())
            .append_pair("currency", ask.currency)
            .append_pair("shared_payment_granted_token", payload.token)
            .append_pair("confirm", "true")
            .append_pair("automatic_payment_methods[enabled]", "true")
            .append_pair("automatic_payment_methods[allow_redirects]", "never");
        // I-12: the draft's name, and those that deployed servers write.
        for (name, value) in [
            ("challenge_id", id.as_str()),
            ("machine_payment", "true"),
            ("mpp_challenge_id", id.as_str()),
            ("mpp_intent", "charge"),
            ("mpp_is_mpp", "true"),
            ("mpp_payment", mark.as_str()),
            ("mpp_sdk", concat!("mpp/", env!("CARGO_PKG_VERSION"))),
            ("mpp_server_id", cx.challenge.realm.as_str()),
            ("mpp_version", "1"),
        ] {
            form.append_pair(&format!("metadata[{name}]"), value);
        }
        for (name, value) in connect.fields(ask.amount)? {
            form.append_pair(name, &value);
        }
        Ok(Self {
            form: form.finish(),
            key,
            version: version.to_owned(),
            account: connect.account.clone(),
            amount: ask.amount,
            currency: ask.currency.to_owned(),
            mark,
            begun: cx.now.unix(),
            external_id: payload.external_id.map(str::to_owned),
            held: None,
        })
    }

    /// The form of the POST.
    pub(super) fn form(&self, funds: Funds) -> String {
        match funds {
            Funds::Taken => self.form.clone(),
            Funds::Reserved => format!("{}&capture_method=manual", self.form),
        }
    }

    /// Whether the POST may be repeated now.
    pub(super) fn is_repeatable(&self, now: Timestamp) -> bool {
        now < Timestamp::from_unix(self.begun) + REPEATABLE
    }

    /// For the journal.
    pub(super) fn write(&self) -> SettlementPlan {
        SettlementPlan(serde_json::to_value(self).expect("strings and numbers are JSON"))
    }

    /// From the journal; `None` if a plan of another release is not understood.
    pub(super) fn read(plan: &SettlementPlan) -> Option<Self> {
        Self::deserialize(&plan.0).ok()
    }
}

/// The single-use key of a token in our store, which does not tell the token.
pub(super) fn proof_key(token: &str) -> String {
    b64::encode(Sha256::digest(format!("mpp stripe token v1\0{token}")))
}
