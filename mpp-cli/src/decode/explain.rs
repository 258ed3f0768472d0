//! What a thing of the protocol says: one list of named fields, from which both the text and the JSON are
//! printed.

use mpp::protocol::{
    AcceptPayment, Challenge, ChargeRequest, Credential, Opaque, Receipt, ReceivedProblem, Timestamp,
};
use mpp::{Currency, SecretRing};
use serde_json::{Map, Value};

use super::Payload;
use super::recognise::Thing;

/// What is known beside the thing itself.
pub(crate) struct Explainer<'a> {
    pub(crate) now: Timestamp,
    /// The secrets to check bindings with.
    pub(crate) ring: Option<&'a SecretRing>,
    pub(crate) payload: Payload,
}

/// One thing, explained.
pub(crate) struct Item {
    pub(crate) kind: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// One fact. `value` is for programs; `text` is for people where the value alone would not do.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) text: Option<String>,
}

impl Explainer<'_> {
    pub(crate) fn explain(&self, thing: &Thing) -> Item {
        let mut item = Item { kind: kind(thing), fields: Vec::new() };
        match thing {
            Thing::Challenge(challenge) => self.challenge(&mut item, challenge),
            Thing::Credential(credential) => self.credential(&mut item, credential),
            Thing::Receipt(receipt) => item.receipt(receipt),
            Thing::Accept(accept) => item.accept(accept),
            Thing::Request(request) => item.request(request, "description"),
            Thing::Opaque(opaque) => item.opaque(opaque),
            Thing::Problem(problem) => item.problem(problem),
        }
        item
    }

    fn challenge(&self, item: &mut Item, challenge: &Challenge) {
        item.add("id", challenge.id.as_str());
        item.add("realm", challenge.realm.as_str());
        item.add("method", challenge.method.as_str());
        item.add("intent", challenge.intent.as_str());
        match challenge.charge() {
            Ok(request) => item.request(&request, "requestDescription"),
            Err(error) => {
                item.put("request", challenge.request.as_str(), Some(format!("not explained: {error}")))
            }
        }
        item.add_some("expires", challenge.expires.as_deref());
        self.expiry(item, challenge);
        item.add_some("digest", challenge.digest.as_deref());
        item.add_some("description", challenge.description.as_deref());
        match challenge.opaque_map() {
            Ok(Some(opaque)) => {
                let members: Map<String, Value> =
                    opaque.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
                item.put("opaque", Value::Object(members), Some(pairs(&opaque)));
            }
            Ok(None) => {}
            Err(error) => {
                item.put("opaque", challenge.opaque.clone(), Some(format!("not explained: {error}")))
            }
        }
        self.binding(item, challenge);
    }

    fn expiry(&self, item: &mut Item, challenge: &Challenge) {
        match challenge.expires_at() {
            Ok(Some(expires)) if expires > self.now => {
                let left = format!("no, {} left", duration(expires.since(self.now).as_secs()));
                item.put("expired", false, Some(left));
            }
            Ok(Some(_)) => item.put("expired", true, Some("yes".to_owned())),
            Ok(None) => item.put("expired", false, Some("never".to_owned())),
            Err(error) => item.put("expired", Value::Null, Some(format!("cannot be told: {error}"))),
        }
    }

    fn binding(&self, item: &mut Item, challenge: &Challenge) {
        let Some(ring) = self.ring else { return };
        let bound = ring.verify(&challenge.slots(), &challenge.id).is_ok();
        let text = if bound {
            "yes, a secret of this file made the id for exactly these parameters"
        } else {
            "no: another secret, a changed parameter, or a server whose store does not outlive its process"
        };
        item.put("bound", bound, Some(text.to_owned()));
    }

    fn credential(&self, item: &mut Item, credential: &Credential) {
        item.add_some("source", credential.source.as_deref());
        match self.payload {
            Payload::Shown => item.put("payload", Value::Object(credential.payload.clone()), None),
            Payload::Hidden => {
                let names: Vec<Value> = credential.payload.keys().map(|name| name.as_str().into()).collect();
                let text = match names.len() {
                    0 => "empty".to_owned(),
                    _ => format!(
                        "{} (hidden: it is the payment; --show-payload prints it)",
                        credential.payload.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
                    ),
                };
                item.put("payloadMembers", names, Some(text));
            }
        }
        self.challenge(item, &credential.challenge);
    }
}

fn kind(thing: &Thing) -> &'static str {
    match thing {
        Thing::Challenge(_) => "challenge",
        Thing::Credential(_) => "credential",
        Thing::Receipt(_) => "receipt",
        Thing::Accept(_) => "accept-payment",
        Thing::Request(_) => "charge request",
        Thing::Opaque(_) => "opaque",
        Thing::Problem(_) => "problem",
    }
}

impl Item {
    fn put(&mut self, name: &'static str, value: impl Into<Value>, text: Option<String>) {
        self.fields.push(Field { name, value: value.into(), text });
    }

    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.put(name, value, None);
    }

    fn add_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// A challenge has a description of its own, so that the request's goes by another name there.
    fn request(&mut self, request: &ChargeRequest, description: &'static str) {
        let known = Currency::by_name(&request.currency);
        let text = known.map(|currency| {
            let amount = request.amount.to_amount(currency.decimals);
            format!("{} ({amount} {})", request.amount, currency.name)
        });
        self.put(
            "amount",
            request.amount.to_string(),
            text.or_else(|| Some(format!("{} base units", request.amount))),
        );
        self.add("currency", request.currency.as_str());
        self.add_some("recipient", request.recipient.as_deref());
        self.add_some(description, request.description.as_deref());
        self.add_some("externalId", request.external_id.as_deref());
        self.add_some("methodDetails", request.method_details.clone().map(Value::Object));
    }

    fn receipt(&mut self, receipt: &Receipt) {
        self.add("method", receipt.method.as_str());
        self.add("reference", receipt.reference.as_str());
        self.add("timestamp", receipt.timestamp.to_string());
        self.add_some("challengeId", receipt.challenge_id.as_deref());
        self.add_some("externalId", receipt.external_id.as_deref());
        if !receipt.extra.is_empty() {
            self.add("extra", Value::Object(receipt.extra.clone()));
        }
    }

    fn accept(&mut self, accept: &AcceptPayment) {
        let ranges = accept.to_string();
        let list: Vec<Value> = ranges.split(", ").map(Value::from).collect();
        self.put("accepts", list, Some(ranges));
    }

    fn opaque(&mut self, opaque: &Opaque) {
        let members: Map<String, Value> =
            opaque.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        self.put("members", Value::Object(members), Some(pairs(opaque)));
    }

    fn problem(&mut self, problem: &ReceivedProblem) {
        self.add("type", problem.type_uri.as_str());
        self.add_some("title", problem.title.as_deref());
        self.add_some("status", problem.status);
        self.add_some("detail", problem.detail.as_deref());
        self.add_some("challengeId", problem.challenge_id.as_deref());
        if !problem.members.is_empty() {
            self.add("extra", Value::Object(problem.members.clone()));
        }
    }
}

fn pairs(opaque: &Opaque) -> String {
    opaque.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}

/// The two largest units: `4 min 12 s`, `3 days 7 h`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_in_its_two_largest_units() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(252), "4 min 12 s");
        assert_eq!(duration(86_399), "23 h 59 min");
        assert_eq!(duration(90_000), "1 days 1 h");
    }
}
