//! Services that nobody would draw on a blackboard: documented, described and charged like any other.

use crate::valid::assert_openapi;
use axum::extract::Path;
use mpp::discovery::{self, Info};
use mpp::routing::{Router, any, delete, get, options};
use mpp::testing::{self, Client};
use mpp::{Mpp, Paid, Sandbox, Secret};
use serde_json::json;
use utoipa::OpenApi;

/// Größe in *Metern* <b>ungefähr</b>.
///
/// # Keine Überschrift von uns
/// [Anderswo](https://elsewhere.example) | `Code` "in Anführung"
#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
async fn größe(Path((mandant, id)): Path<(String, u64)>, _: Paid) -> String {
    format!("{mandant} {id}")
}

#[mpp::charge(amount = "0.02", currency = "usdc", methods(tempo))]
async fn files(Path((tenant, path)): Path<(String, String)>, _: Paid) -> String {
    format!("{tenant} {path}")
}

#[mpp::charge(amount = "0.03", currency = "usdc", methods(tempo))]
async fn anything(_: Paid) {}

#[mpp::charge(amount = "0.04", currency = "usdc", methods(tempo))]
async fn deep(Path((a, b, c)): Path<(String, u8, bool)>, _: Paid) -> String {
    format!("{a} {b} {c}")
}

/// Parameters in prefixes, a prefix with a slash at its end, prefixes in prefixes, every verb of one path, names that are no
/// ASCII, a path that is written as it is sent.
fn router() -> Router<Mpp> {
    let innermost = Router::new().route("/{c}", get(deep)).route("/", get(anything));
    let middle = Router::new().nest("/b/{b}", innermost);
    let verbs = get(anything).post(anything).put(anything).patch(anything).delete(anything);
    Router::new()
        .nest("/{mandant}", Router::new().route("/gr%C3%B6%C3%9Fe/{id}", get(größe)))
        .nest("/tenants/{tenant}/", Router::new().route("/files/{*path}", get(files)))
        .nest("/a/{a}", middle)
        .route("/all", verbs)
        .route("/any", any(anything))
        .route("/some", options(anything).delete(anything))
        .route("/once", delete(anything))
        .fallback(|| async { axum::http::StatusCode::NOT_FOUND })
}

fn info() -> Info {
    let examples = [
        ("mandant", "ä/ö?&#"),
        ("id", "7"),
        ("tenant", "t"),
        ("path", "x y"),
        ("a", "%"),
        ("b", "3"),
        ("c", "true"),
    ];
    let info =
        Info::new("Größen & <Maße>\n# zweite Zeile", "1 \"β\"").description("Erste.\n\nZweite \u{1f4cf}.");
    examples.into_iter().fold(info.allow_unmounted(), |info, (name, value)| info.example(name, value))
}

fn below(public_url: &str) -> Mpp {
    Mpp::builder(public_url)
        .secret(Secret::generate())
        .method(Sandbox::named("tempo"))
        .switched_off("stripe")
        .allow_test_money()
        .build()
        .unwrap()
}

#[tokio::test]
async fn every_one_of_their_operations_is_documented_as_it_is_served_and_charged() {
    let mpp = below("https://xn--gren-7qa.example/shop/");
    let app = router();
    let mounted = app.mounted().len();
    let documents = app.documents(&mpp, &info());
    assert_openapi(documents.openapi());
    let client = Client::new(app.with_state(mpp));
    assert_eq!(testing::assert_advertised(&client, documents.openapi()).await, mounted);
    let paths: Vec<_> = documents.openapi()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        paths,
        [
            "/a/{a}/b/{b}",
            "/a/{a}/b/{b}/{c}",
            "/all",
            "/any",
            "/once",
            "/some",
            "/tenants/{tenant}/files/{path}",
            "/{mandant}/gr%C3%B6%C3%9Fe/{id}"
        ]
    );
}

#[tokio::test]
async fn their_texts_stay_texts_in_every_document() {
    let mpp = below("https://xn--gren-7qa.example/shop/");
    let client = Client::new(router().publish(&mpp, info()).unwrap().with_state(mpp));
    let document = client.get("/openapi.json").unpaid().await.json();
    assert_eq!(document["info"]["title"], "Größen & <Maße>\n# zweite Zeile");
    assert_eq!(document["servers"][0]["url"], "https://xn--gren-7qa.example/shop");
    let operation = &document["paths"]["/{mandant}/gr%C3%B6%C3%9Fe/{id}"]["get"];
    assert_eq!(operation["operationId"], "größe");
    let llms = client.get("/llms.txt").unpaid().await.text();
    assert!(llms.starts_with("# Größen & <Maße> # zweite Zeile\n\n> Erste. Zweite \u{1f4cf}.\n"), "{llms}");
    assert!(llms.contains("(https://xn--gren-7qa.example/shop/llms-full.txt#"), "{llms}");
    assert!(llms.lines().filter(|line| line.starts_with("# ")).count() == 1, "{llms}");
    // By a name that has to be escaped, and by its call.
    for name in ["gr%C3%B6%C3%9Fe", "GET%20%2Fall"] {
        let item = client.get(&format!("/describe/{name}")).unpaid().await;
        assert_eq!(item.status(), 200, "{}", item.text());
    }
    let near = client.get("/describe/gr%C3%B6sse").unpaid().await.json();
    assert!(near["detail"].as_str().unwrap().contains("`größe`"), "{near}");
    assert_eq!(client.get("/describe/%FF%FE").unpaid().await.status(), 400);
    let page = client.get("/x/gr%C3%B6%C3%9Fe/7").header("accept", "text/html").unpaid().await;
    let html = page.text();
    assert!(html.contains("Größe in *Metern* &lt;b&gt;ungefähr&lt;/b&gt;."), "{html}");
    assert!(html.contains("/gr%C3%B6%C3%9Fe/7"), "{html}");
}

#[test]
fn a_given_document_with_several_servers_keeps_them() {
    #[derive(OpenApi)]
    #[openapi(
        servers(
            (url = "https://eu.example", description = "Europe"),
            (url = "https://{region}.example", variables(("region" = (default = "us", enum_values("us", "ap")))))
        ),
        tags((name = "sizes", description = "All of them"))
    )]
    struct Api;
    let documents = router().documents(&testing::mpp(), &info().openapi(Api::openapi()));
    let document = documents.openapi();
    assert_openapi(document);
    assert_eq!(document["servers"][0]["url"], "https://eu.example");
    assert_eq!(document["servers"][1]["variables"]["region"]["default"], "us");
    assert_eq!(document["tags"][0]["name"], "sizes");
    assert_eq!(document["x-service-info"]["docs"]["llms"], "https://test.example/llms.txt");
    let contract = discovery::contract(document, "größe").unwrap();
    assert_eq!(contract.json()["url"], "https://eu.example");
}

#[test]
fn what_is_no_document_is_described_as_nothing_and_never_a_panic() {
    let odd = [
        json!(null),
        json!([]),
        json!({ "paths": [] }),
        json!({ "paths": { "/x": [] } }),
        json!({ "paths": { "/x": { "get": [], "parameters": [{}] } } }),
        json!({ "paths": { "x": { "get": { "x-payment-info": [] } } } }),
        json!({ "paths": { "/{x": { "get": { "x-payment-info": {}, "parameters": [{ "in": "path", "name": 5 }] } } } }),
        json!({ "paths": { "/x": { "not a verb": { "x-payment-info": {} } } } }),
        json!({ "paths": { "/x": { "get": { "x-payment-info": { "offers": [null, 5, {}] }, "responses": [], "requestBody": { "content": { "application/json": { "schema": { "$ref": "#" } } } } } } } }),
        json!({ "paths": { "/x": { "get": { "x-payment-info": {}, "parameters": [{ "$ref": "#/paths" }, { "$ref": 5 }] } } } }),
    ];
    for document in odd {
        let overview = discovery::describe(&document);
        let _ = overview.text(50);
        for operation in overview.json()["operations"].as_array().into_iter().flatten() {
            let name = operation["name"].as_str().unwrap();
            let contract = discovery::contract(&document, name).unwrap();
            let _ = contract.text(50);
        }
        for sample in discovery::samples(&document).into_iter().flatten() {
            let _: Result<(), discovery::Difference> = sample.compare(&[]);
        }
    }
    let endless = json!({ "components": { "schemas": { "A": { "allOf": [{ "$ref": "#/components/schemas/A" }] } } },
        "paths": { "/x": { "post": { "x-payment-info": {}, "requestBody": { "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/A" } } } } } } } });
    assert_eq!(discovery::samples(&endless).len(), 1);
}
