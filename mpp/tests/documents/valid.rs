//! The documents are valid: OpenAPI 3.1, and the draft's two schemas (DISC-12). The OpenAPI schema is the OpenAPI
//! Initiative's (Apache-2.0); the other two stand in draft-payment-discovery-00 (appendices).

use crate::shop::{info, router};
use jsonschema::Validator;
use mpp::discovery::Info;
use mpp::testing;
use serde_json::Value;

fn schema(text: &str) -> Validator {
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

fn assert_valid(validator: &Validator, value: &Value) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|e| format!("{} at {}", e, e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

pub fn assert_openapi(document: &Value) {
    assert_valid(&schema(include_str!("../fixtures/openapi-3.1.schema.json")), document);
}

fn assert_document(document: &Value) {
    assert_openapi(document);
    assert_valid(
        &schema(include_str!("../fixtures/x-service-info.schema.json")),
        &document["x-service-info"],
    );
    let offers = schema(include_str!("../fixtures/x-payment-info.schema.json"));
    let mut priced = 0;
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|i| i.as_object().unwrap().values())
    {
        assert_valid(&offers, &operation["x-payment-info"]);
        assert!(operation["responses"]["402"].is_object());
        priced += 1;
    }
    assert!(priced >= 16, "{priced}");
}

#[test]
fn the_document_is_openapi_and_its_extensions_are_the_drafts() {
    let mpp = testing::mpp();
    assert_document(router(&mpp).documents(&mpp, &info()).openapi());
}

#[test]
fn the_slim_document_is_too_and_is_half_as_large() {
    let mpp = testing::mpp();
    let full = router(&mpp).documents(&mpp, &info());
    let slim = router(&mpp).documents(&mpp, &info().slim());
    assert_document(slim.openapi());
    let size = |value: &Value| value["paths"].to_string().len();
    assert!(
        size(slim.openapi()) * 10 < size(full.openapi()) * 6,
        "{} of {}",
        size(slim.openapi()),
        size(full.openapi())
    );
}

#[test]
fn the_schemas_of_the_draft_refuse_what_they_should() {
    let offers = schema(include_str!("../fixtures/x-payment-info.schema.json"));
    let with = |amount: Value| serde_json::json!({ "offers": [{ "intent": "charge", "method": "tempo", "amount": amount }] });
    assert!(offers.is_valid(&with("500".into())) && offers.is_valid(&with(Value::Null)));
    assert!(!offers.is_valid(&with("0500".into())) && !offers.is_valid(&with(500.into())));
}

#[test]
fn the_same_router_has_the_same_document_every_time() {
    let text = || {
        let mpp = testing::mpp();
        router(&mpp).documents(&mpp, &info()).openapi().to_string()
    };
    let first = text();
    for _ in 0..20 {
        assert_eq!(text(), first);
    }
}

#[test]
fn an_empty_service_has_a_valid_document_too() {
    let mpp = testing::mpp();
    let empty = mpp::routing::Router::<mpp::Mpp>::new().documents(&mpp, &Info::new("Nothing", "0"));
    assert_openapi(empty.openapi());
}
