//! The manifest: what a review sees of a price.

use crate::shop::{info, router};
use mpp::testing;
use serde_json::{Value, json};

fn price(path: &str) -> Value {
    let mpp = testing::mpp();
    let documents = router(&mpp).documents(&mpp, &info());
    let prices = documents.manifest()["prices"].as_array().unwrap().clone();
    prices.into_iter().find(|price| price["path"] == path).unwrap_or_else(|| panic!("{path} is not in it"))
}

#[test]
fn every_price_is_in_it_with_its_terms_and_policy() {
    let weather = price("/weather/{city}");
    assert_eq!((&weather["operation"], &weather["verb"]), (&json!("weather"), &json!("GET")));
    assert!(weather["handler"].as_str().unwrap().ends_with("::shop::weather"));
    assert_eq!(weather["offers"][1]["price"], "0.5 usd");
    assert_eq!(weather["policy"]["free"], "never");
    assert_eq!(weather["policy"]["replay"], "refused");
    assert_eq!(price("/complete")["upTo"], "2");
    assert_eq!(price("/legacy")["verb"], "*");
    assert_eq!(price("/search")["policy"]["free"], "sometimes");
    assert_eq!(price("/whoami")["policy"]["free"], "proof");
    let rate = price("/rate");
    assert_eq!((&rate["policy"]["honor"], &rate["policy"]["bind"]), (&json!("quote"), &json!(["x-tier"])));
    let article = price("/article");
    assert_eq!(article["splits"], json!([{ "to": "author", "part": "70%" }]));
    assert_eq!(
        (&article["externalId"], &article["policy"]["fees"]),
        (&json!("article-42"), &json!("sponsored"))
    );
}

#[test]
fn a_changed_price_is_a_readable_diff() {
    let mpp = testing::mpp();
    let documents = router(&mpp).documents(&mpp, &info());
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("{:#}\n", documents.manifest());
    std::fs::write(&file, &text).unwrap();
    testing::assert_manifest(&file, &documents);
    std::fs::write(&file, text.replace("\"0.5 usd\"", "\"0.4 usd\"")).unwrap();
    let panicked = std::panic::catch_unwind(|| testing::assert_manifest(&file, &documents)).unwrap_err();
    let said = panicked.downcast::<String>().unwrap();
    let lines: Vec<_> = said.lines().skip(1).map(str::trim_end).collect();
    assert_eq!(lines, [r#"-          "price": "0.4 usd""#, r#"+          "price": "0.5 usd""#], "{said}");
}
