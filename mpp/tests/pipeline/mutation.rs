//! A credential that was changed, by a bit, a byte or a member, opens nothing.
//!
//! The credential is one of the sandbox: its payload is a real signature, so a change that is not noticed would be a hole and
//! not another payment. It has the members it needs and no other: what nobody knows is ignored, so a change to the name of an
//! optional member leaves it out.

use crate::lab::clock;
use axum::http::HeaderValue;
use mpp::Paid;
use mpp::protocol::b64;
use mpp::routing::{Router, get};
use mpp::testing::{self, Client};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tokio::runtime::Runtime;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn sold(_: Paid) -> &'static str {
    "sold"
}

struct Shop {
    runtime: Runtime,
    client: Client,
    /// What pays, once.
    paid: String,
}

impl Shop {
    fn open() -> Shop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mpp = testing::builder(clock()).build().unwrap();
        let client = Client::new(Router::new().route("/", get(sold)).with_state(mpp));
        let mut shop = Shop { runtime, client, paid: String::new() };
        shop.paid = shop.credential();
        shop
    }

    /// One that pays.
    fn credential(&self) -> String {
        let paid = self.runtime.block_on(self.client.get("/").credential("tempo"));
        let mut json: Value = serde_json::from_slice(&json_of(&paid)).unwrap();
        json.as_object_mut().unwrap().remove("source").expect("the wallet says who pays");
        encoded(&serde_json::to_vec(&json).unwrap())
    }

    fn status(&self, authorization: &str) -> u16 {
        self.runtime.block_on(self.client.get("/").presenting(authorization)).status().as_u16()
    }

    #[track_caller]
    fn refuses(&self, authorization: &str) {
        // What is no header value cannot be sent.
        if HeaderValue::from_str(authorization).is_ok() {
            let status = self.status(authorization);
            assert!(matches!(status, 400 | 402), "{status}: {authorization}");
        }
    }

    /// None of that was a payment, and none of it used the payment up.
    fn close(self) {
        assert_eq!(self.status(&self.paid), 200);
        assert_eq!(self.status(&self.paid), 402);
    }
}

fn json_of(paid: &str) -> Vec<u8> {
    b64::decode(paid.strip_prefix("Payment ").unwrap()).unwrap()
}

fn encoded(json: &[u8]) -> String {
    format!("Payment {}", b64::encode(json))
}

#[test]
fn no_bit_of_a_credential_can_be_changed() {
    let shop = Shop::open();
    // What stands before the token is a name of a scheme, in any case; everything after it counts.
    for at in "Payment ".len()..shop.paid.len() {
        for bit in 0..7 {
            let mut changed = shop.paid.clone().into_bytes();
            changed[at] ^= 1 << bit;
            shop.refuses(&String::from_utf8(changed).unwrap());
        }
        shop.refuses(&format!("{}{}", &shop.paid[..at], &shop.paid[at + 1..]));
    }
    shop.close();
}

#[test]
fn no_bit_of_what_a_credential_says_can_be_changed() {
    let shop = Shop::open();
    let json = json_of(&shop.paid);
    for at in 0..json.len() {
        for bit in 0..8 {
            let mut changed = json.clone();
            changed[at] ^= 1 << bit;
            shop.refuses(&encoded(&changed));
        }
        shop.refuses(&encoded(&json[..at]));
    }
    shop.close();
}

/// Any JSON value.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[A-Za-z0-9_-]{0,60}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn every_member_of_the_echo_and_the_payload_is_pinned() {
    let shop = Shop::open();
    let original: Value = serde_json::from_slice(&json_of(&shop.paid)).unwrap();
    let paths = members(&original);
    assert_eq!(paths.len(), 10, "seven of the challenge, three of the payload: {paths:?}");
    for path in &paths {
        let mut without = original.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        shop.refuses(&encoded(&serde_json::to_vec(&without).unwrap()));
    }
    let config = Config { cases: 3_000, failure_persistence: None, ..Config::default() };
    let changes = (any::<prop::sample::Index>(), any_value());
    TestRunner::new(config)
        .run(&changes, |(index, value)| {
            let mut changed = original.clone();
            let path: &String = index.get(&paths);
            let there = changed.pointer_mut(path).unwrap();
            prop_assume!(*there != value);
            *there = value;
            shop.refuses(&encoded(&serde_json::to_vec(&changed).unwrap()));
            Ok(())
        })
        .unwrap();
    shop.close();
}

#[test]
fn a_member_that_is_said_twice_is_not_one_that_is_said_once() {
    let shop = Shop::open();
    let json = String::from_utf8(json_of(&shop.paid)).unwrap();
    let original: Value = serde_json::from_str(&json).unwrap();
    for path in members(&original) {
        let name = path.rsplit('/').next().unwrap();
        for other in ["\"other\"", "null"] {
            let member = format!("\"{name}\":");
            for doubled in [format!("{member}{other},{member}"), format!("{member}{other},\\u0065{member}")] {
                shop.refuses(&encoded(json.replacen(&member, &doubled, 1).as_bytes()));
            }
        }
    }
    shop.close();
}

#[test]
fn parts_of_two_credentials_do_not_make_a_third() {
    let shop = Shop::open();
    let other = shop.credential();
    let [ours, theirs]: [Value; 2] =
        [&shop.paid, &other].map(|paid| serde_json::from_slice(&json_of(paid)).unwrap());
    let paths = members(&ours);
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(any::<bool>(), paths.len()), |choice| {
            let mut mixed = ours.clone();
            for (path, _) in paths.iter().zip(&choice).filter(|(_, taken)| **taken) {
                *mixed.pointer_mut(path).unwrap() = theirs.pointer(path).unwrap().clone();
            }
            // Some members are the same in both.
            prop_assume!(mixed != ours && mixed != theirs);
            shop.refuses(&encoded(&serde_json::to_vec(&mixed).unwrap()));
            Ok(())
        })
        .unwrap();
    assert_eq!(shop.status(&other), 200);
    shop.close();
}

#[test]
fn who_pays_can_be_left_out_but_not_be_somebody_else_and_pays_once_either_way() {
    let shop = Shop::open();
    let mut named: Value = serde_json::from_slice(&json_of(&shop.paid)).unwrap();
    let account = named["payload"]["account"].as_str().unwrap().to_owned();
    let nobody = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    for other in [nobody.into(), Value::from(""), 7.into(), account.to_uppercase().into()] {
        named["source"] = other;
        shop.refuses(&encoded(&serde_json::to_vec(&named).unwrap()));
    }
    named["source"] = account.into();
    assert_eq!(shop.status(&encoded(&serde_json::to_vec(&named).unwrap())), 200);
    shop.refuses(&shop.paid);
}

#[test]
fn another_spelling_of_a_credential_is_the_same_credential() {
    let shop = Shop::open();
    let json = json_of(&shop.paid);
    assert_eq!(shop.status(&shop.paid), 200);
    let text = String::from_utf8(json.clone()).unwrap();
    let escaped = text.replacen("charge", "\\u0063harge", 1);
    let spaced = text.replace("\":", "\" :\n");
    let same = |other: &str| serde_json::from_str::<Value>(other).ok() == serde_json::from_str(&text).ok();
    assert!(escaped != text && same(&escaped) && spaced != text && same(&spaced));
    let standard = b64::encode(&json).replace('-', "+").replace('_', "/");
    let padding = "=".repeat(standard.len().wrapping_neg() % 4);
    let spellings = [
        encoded(escaped.as_bytes()),
        encoded(spaced.as_bytes()),
        format!("Payment {standard}{padding}"),
        shop.paid.replacen("Payment", "pAYMENT", 1),
        shop.paid.replacen(' ', "   ", 1),
    ];
    spellings.iter().for_each(|spelling| shop.refuses(spelling));
}

/// Pointers to everything that is no object.
fn members(value: &Value) -> Vec<String> {
    fn collect(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| collect(value, &format!("{at}/{name}"), found))
            }
            _ => found.push(at.to_owned()),
        }
    }
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}
