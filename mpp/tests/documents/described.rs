//! What an operation says of its handler: texts, parameters, bodies, results.

use crate::shop::{__path_above, __path_below, App, above, below, info, router};
use mpp::Mpp;
use mpp::discovery::Info;
use mpp::routing::{Router, get};
use mpp::testing;
use serde_json::{Value, json};

fn document() -> Value {
    let mpp = testing::mpp();
    router(&mpp).documents(&mpp, &info()).openapi().clone()
}

fn schema_of<'d>(operation: &'d Value, parameter: &str) -> &'d Value {
    let all = operation["parameters"].as_array().expect("parameters");
    all.iter().find(|p| p["name"] == parameter).unwrap_or_else(|| panic!("no {parameter} in {operation}"))
}

#[test]
fn texts_come_from_the_doc_comment_and_the_name_from_the_handler() {
    let document = document();
    let weather = &document["paths"]["/weather/{city}"]["get"];
    assert_eq!(weather["operationId"], "weather");
    assert_eq!(weather["summary"], "Current weather for a city.");
    assert!(weather["description"].as_str().unwrap().contains("From three stations"));
}

#[test]
fn offers_are_in_base_units_of_each_methods_own_currency_and_null_where_computed() {
    let document = document();
    let offers = |path: &str, verb: &str| document["paths"][path][verb]["x-payment-info"]["offers"].clone();
    assert_eq!(
        offers("/weather/{city}", "get"),
        json!([
            { "intent": "charge", "method": "tempo", "amount": "50000", "currency": "usdc", "description": "0.05 usdc" },
            { "intent": "charge", "method": "stripe", "amount": "50", "currency": "usd", "description": "0.5 usd" },
        ])
    );
    let both = offers("/either-token", "get");
    assert_eq!((&both[0]["currency"], &both[1]["currency"]), (&json!("usdc"), &json!("pathusd")));
    assert_eq!(both[0]["method"], both[1]["method"]);
    let computed = &offers("/complete", "post")[0];
    assert_eq!(computed["amount"], Value::Null);
    assert_eq!(computed["description"], "depends on the request, up to 2 usdc");
    assert_eq!(offers("/whoami", "get")[0]["amount"], "0");
    assert_eq!(offers("/search", "get")[0]["description"], "0.01 usdc; free for some requests");
}

#[test]
fn types_with_a_schema_are_described_by_it() {
    let document = document();
    let body = &document["paths"]["/complete"]["post"]["requestBody"];
    assert_eq!(body["required"], true);
    assert_eq!(body["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Prompt");
    assert_eq!(document["components"]["schemas"]["Prompt"]["required"], json!(["model", "text"]));
    let result =
        &document["paths"]["/weather/{city}"]["get"]["responses"]["200"]["content"]["application/json"];
    assert_eq!(result["schema"]["$ref"], "#/components/schemas/Weather");
    assert!(document["components"]["schemas"]["Wind"].is_object(), "what a schema refers to comes along");
    let completed = &document["paths"]["/complete"]["post"]["responses"]["200"]["content"];
    assert!(completed["text/plain; charset=utf-8"].is_object(), "the Ok of a Result: {completed}");
}

#[test]
fn types_without_one_are_described_by_their_media_type_and_nothing_made_up() {
    let document = document();
    let form = &document["paths"]["/v1/form"]["post"];
    let content = &form["requestBody"]["content"];
    assert_eq!(content["application/x-www-form-urlencoded"]["schema"], json!({}));
    assert_eq!(
        content["application/x-www-form-urlencoded"]["example"]["text"], "hello",
        "what the service says itself"
    );
    assert!(form["responses"]["200"]["content"]["application/json"].get("schema").is_none());
    let files = &document["paths"]["/files/{path}"]["get"];
    assert!(files["responses"]["200"].get("content").is_none(), "impl IntoResponse");
    assert!(schema_of(files, "path")["description"].as_str().unwrap().contains("slashes"));
}

#[test]
fn parameters_have_the_types_of_their_extractors_and_the_names_of_the_template() {
    let document = document();
    let tile = &document["paths"]["/v1/tiles/{zoom}/{x}"]["get"];
    assert_eq!(schema_of(tile, "zoom")["schema"]["type"], "integer");
    assert_eq!(schema_of(tile, "x")["example"], 12);
    let weather = &document["paths"]["/weather/{city}"]["get"];
    let city = schema_of(weather, "city");
    assert_eq!(
        (&city["in"], &city["required"], &city["example"]),
        (&json!("path"), &json!(true), &json!("oslo"))
    );
    let pages = schema_of(&document["paths"]["/search"]["get"], "pages");
    assert_eq!(
        (&pages["in"], &pages["required"], &pages["example"]),
        (&json!("query"), &json!(false), &json!(2))
    );
    let tier = schema_of(&document["paths"]["/rate"]["get"], "x-tier");
    assert_eq!((&tier["in"], &tier["required"]), (&json!("header"), &json!(false)));
}

#[test]
fn every_status_that_comes_before_the_handler_is_documented_where_it_can_happen() {
    let statuses = |document: &Value, path: &str, verb: &str| {
        let all = document["paths"][path][verb]["responses"].as_object().expect("responses");
        all.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let plain = document();
    assert_eq!(statuses(&plain, "/weather/{city}", "get"), "200 400 402 409 503 default");
    assert_eq!(statuses(&plain, "/complete", "post"), "200 400 402 408 409 413 415 422 429 503 default");
    assert_eq!(statuses(&plain, "/units/{n}", "get"), "200 400 402 409 422 503 default");
    let clock = std::sync::Arc::new(mpp::SystemClock);
    let limited = testing::builder(clock).rate_limits(mpp::server::RateLimits::new()).build().unwrap();
    let limited = router(&limited).documents(&limited, &info()).openapi().clone();
    assert_eq!(statuses(&limited, "/weather/{city}", "get"), "200 400 402 409 429 503 default");
}

#[test]
fn handlers_of_one_name_get_ids_of_their_own() {
    let document = document();
    let id = |path: &str| document["paths"][path]["get"]["operationId"].as_str().unwrap().to_owned();
    assert_eq!(id("/generic/text"), "generic_get_generic_text");
    assert_eq!(id("/generic/number"), "generic_get_generic_number");
    assert_eq!(id("/again"), "hidden", "the handler's own name, not the one it is exported by");
    assert_eq!(id("/legacy"), "legacy");
}

#[test]
fn a_free_route_is_not_listed_and_security_says_which_requests_may_be_free() {
    let document = document();
    assert!(document["paths"].get("/health").is_none());
    assert_eq!(document["paths"]["/again"]["get"]["security"], json!([{ "Payment": [] }]));
    assert_eq!(document["paths"]["/search"]["get"]["security"], json!([{ "Payment": [] }, {}]));
    let scheme = &document["components"]["securitySchemes"]["Payment"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("Payment")));
}

#[test]
fn the_service_says_who_it_is() {
    let document = document();
    let service = &document["x-service-info"];
    assert_eq!(service["categories"], json!(["data"]));
    assert_eq!(service["docs"]["homepage"], "https://shop.example/home");
    assert_eq!(service["docs"]["llms"], "https://test.example/llms.txt");
    assert_eq!(document["servers"][0]["url"], "https://test.example");
    assert_eq!(document["info"]["x-logo"]["url"], "https://shop.example/logo.svg");
    assert_eq!(document["info"]["contact"]["email"], "help@shop.example");
}

#[test]
fn utoipas_own_description_wins_with_our_attribute_above_it() {
    let document = document();
    let operation = &document["paths"]["/above"]["get"];
    assert_eq!(operation["tags"], json!(["orders"]));
    assert!(operation["responses"]["418"].is_object());
    assert_eq!(
        operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/Weather"
    );
    assert_eq!(operation["x-payment-info"]["offers"][0]["amount"], "20000");
    assert!(operation["responses"]["402"].is_object());
    assert!(!document.to_string().contains("x-mpp-price"), "the mark is ours alone");
}

#[test]
fn with_our_attribute_below_it_its_document_is_matched_by_verb_and_path() {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(crate::shop::below))]
    struct Api;

    let mpp = testing::mpp();
    let app: Router<App> = Router::new().route("/below", get(below));
    let api = <Api as utoipa::OpenApi>::openapi();
    let documents = app.documents(&mpp, &Info::new("Orders", "1").openapi(api));
    let operation = &documents.openapi()["paths"]["/below"]["get"];
    assert_eq!(operation["tags"], json!(["orders"]));
    assert_eq!(operation["x-payment-info"]["offers"][0]["amount"], "20000");
}

#[tokio::test]
async fn priced_handlers_on_a_router_of_utoipa_axum_are_found_by_their_mark() {
    use utoipa_axum::router::OpenApiRouter;
    use utoipa_axum::routes;

    let inner = OpenApiRouter::new().routes(routes!(above)).routes(routes!(below)).routes(routes!(free));
    let (router, api) = OpenApiRouter::<Mpp>::new().nest("/api", inner).split_for_parts();
    let mpp = testing::mpp();
    let app: Router<Mpp> = Router::from(router);
    let documents = app.documents(&mpp, &Info::new("Orders", "1").openapi(api));
    let document = documents.openapi();
    assert_eq!(document["paths"]["/api/above"]["get"]["x-payment-info"]["offers"][0]["amount"], "20000");
    assert!(document["paths"]["/api/free"]["get"].get("x-payment-info").is_none());
    assert!(document["paths"]["/api/free"]["get"].is_object(), "free operations stay documented");
    // Without the mark nobody can tell which handler it is: it is said, not guessed.
    assert!(
        documents.warnings().iter().any(|w| w.contains("`GET /api/below`")),
        "{:?}",
        documents.warnings()
    );
    let client = testing::Client::new(app.with_state(mpp));
    assert_eq!(testing::assert_advertised(&client, document).await, 1);
}

/// Costs nothing.
#[utoipa::path(get, path = "/free")]
async fn free() -> &'static str {
    "free"
}

#[test]
fn a_hidden_handler_is_in_no_document() {
    let mpp = testing::mpp();
    let documents = router(&mpp).documents(&mpp, &info().hide("whoami"));
    assert!(documents.openapi()["paths"].get("/whoami").is_none());
    assert!(!documents.llms().contains("whoami") && !documents.llms_full().contains("whoami"));
    assert!(documents.llms().contains("/rate"));
}

#[test]
fn what_is_hidden_or_cannot_be_paid_for_is_not_left_over_in_a_given_document_as_free() {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(crate::shop::above, crate::shop::below, free))]
    struct Api;
    let info = || Info::new("Orders", "1").openapi(<Api as utoipa::OpenApi>::openapi());
    let paths = |documents: mpp::discovery::Documents| {
        assert!(!documents.openapi().to_string().contains("x-mpp-price"), "the mark is ours alone");
        documents.openapi()["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let app: Router<App> = Router::new().route("/below", get(below));
    let mpp = testing::mpp();
    assert_eq!(paths(app.documents(&mpp, &info())), ["/above", "/below", "/free"]);
    assert_eq!(paths(app.documents(&mpp, &info().hide("below"))), ["/above", "/free"]);
    assert_eq!(paths(app.documents(&mpp, &info().hide("above"))), ["/below", "/free"]);
    let nothing = Mpp::builder("https://test.example")
        .secret(mpp::Secret::generate())
        .method(mpp::Sandbox::new())
        .switched_off("tempo")
        .switched_off("stripe")
        .allow_test_money()
        .build()
        .unwrap();
    assert_eq!(paths(app.documents(&nothing, &info())), ["/free"]);
}

#[test]
fn the_text_documents_list_the_same_operations() {
    let mpp = testing::mpp();
    let app = router(&mpp);
    let documents = app.documents(&mpp, &info());
    for mounted in app.mounted() {
        let path = mounted.path.replace("{*", "{");
        let line = format!("{} {path}", mounted.method.as_ref().map_or("GET", |m| m.as_str()));
        assert!(documents.llms().contains(&line), "{line} is not in\n{}", documents.llms());
        assert!(documents.llms_full().contains(&line), "{line} is not in\n{}", documents.llms_full());
    }
    for said in [
        "Costs 0.05 usdc by tempo, or 0.5 usd by stripe.",
        "The price depends on the request: up to 2 usdc by tempo.",
        "The price depends on the request: in usdc by tempo.",
        "Costs 0.01 usdc by tempo; free for some requests.",
        "Costs nothing but a proof of identity by tempo.",
    ] {
        assert!(documents.llms().contains(said), "{said} is not in\n{}", documents.llms());
    }
    let computed = "- price by `tempo`: depends on the request, up to 2 usdc (the challenge says the amount; currency `usdc`)";
    assert!(documents.llms_full().contains(computed), "{}", documents.llms_full());
    assert!(documents.llms_full().contains("- path parameter `city` (string, required), for example `oslo`"));
}

#[test]
fn the_reference_for_people_is_in_llms_txt() {
    let mpp = testing::mpp();
    let llms = |info: Info| router(&mpp).documents(&mpp, &info).llms().to_owned();
    assert!(!llms(info()).contains("[Reference]"), "there is none");
    let elsewhere = llms(info().api_reference("https://docs.example/api"));
    assert!(elsewhere.contains("- [Reference](https://docs.example/api): for people\n"), "{elsewhere}");
    #[cfg(feature = "reference")]
    assert!(
        llms(info().reference_page()).contains("- [Reference](https://test.example/reference): for people\n")
    );
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
#[utoipa::path(get, path = "/members", security(("key" = []), ("oauth" = ["read"], "device" = [])))]
async fn members(_: mpp::Paid) {}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), free_if = true)]
#[utoipa::path(get, path = "/sometimes", security(("key" = [])))]
async fn sometimes(_: mpp::Paid<Option<mpp::Receipt>>) {}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
#[utoipa::path(get, path = "/paid", security(("Payment" = [])))]
async fn says_so_itself(_: mpp::Paid) {}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
#[utoipa::path(get, path = "/optional", security((), ("key" = [])))]
async fn optional(_: mpp::Paid) {}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
#[utoipa::path(get, path = "/plain")]
async fn plain(_: mpp::Paid) {}

#[test]
fn a_payment_is_asked_for_beside_whatever_else_is_and_never_instead_of_it() {
    let app = Router::<Mpp>::new()
        .route("/members", get(members))
        .route("/sometimes", get(sometimes))
        .route("/paid", get(says_so_itself))
        .route("/optional", get(optional))
        .route("/plain", get(plain));
    let security = |info: &Info, path: &str| {
        app.documents(&testing::mpp(), info).openapi()["paths"][path]["get"]["security"].clone()
    };
    let info = Info::new("Members", "1");
    assert_eq!(
        security(&info, "/members"),
        json!([{ "Payment": [], "key": [] }, { "Payment": [], "device": [], "oauth": ["read"] }])
    );
    assert_eq!(security(&info, "/sometimes"), json!([{ "Payment": [], "key": [] }, { "key": [] }]));
    assert_eq!(security(&info, "/paid"), json!([{ "Payment": [] }]));
    assert_eq!(security(&info, "/optional"), json!([{ "Payment": [] }, { "Payment": [], "key": [] }]));
    assert_eq!(security(&info, "/plain"), json!([{ "Payment": [] }]));

    // What a given document asks of every operation is asked of the priced ones, too.
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(plain), security(("key" = [])))]
    struct Api;
    let given = info.openapi(<Api as utoipa::OpenApi>::openapi());
    assert_eq!(security(&given, "/plain"), json!([{ "Payment": [], "key": [] }]));
    assert_eq!(security(&given, "/members")[0], json!({ "Payment": [], "key": [] }));
}

#[test]
fn a_verb_that_is_not_safe_takes_an_idempotency_key_and_every_success_carries_a_receipt() {
    let document = document();
    let complete = &document["paths"]["/complete"]["post"];
    let key = schema_of(complete, "Idempotency-Key");
    assert_eq!((&key["in"], &key["required"]), (&json!("header"), &json!(false)));
    assert_eq!((&key["schema"]["minLength"], &key["schema"]["maxLength"]), (&json!(1), &json!(255)));
    assert!(!document["paths"]["/weather/{city}"].to_string().contains("Idempotency-Key"), "GET is safe");

    let receipt = "/headers/Payment-Receipt/schema/type";
    for (path, verb) in [("/complete", "post"), ("/above", "get")] {
        let responses = &document["paths"][path][verb]["responses"];
        assert_eq!(responses["200"].pointer(receipt), Some(&json!("string")), "{path}");
        assert!(responses["402"].get("headers").is_none() && responses["default"].get("headers").is_none());
    }
    assert!(document["paths"]["/above"]["get"]["responses"]["418"].get("headers").is_none(), "no success");
    let later = "/components/responses/PaymentProblem/headers/Retry-After/schema/type";
    assert_eq!(document.pointer(later), Some(&json!("string")));
    let challenge = "/components/responses/PaymentRequired/headers/WWW-Authenticate/schema/type";
    assert_eq!(document.pointer(challenge), Some(&json!("string")));
}

/// What this service's own errors look like.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Problem {
    ours: String,
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
async fn troubled(_: mpp::Paid) -> axum::Json<Problem> {
    axum::Json(Problem { ours: String::new() })
}

#[derive(serde::Serialize, utoipa::ToSchema)]
struct PaymentProblem {
    ours: String,
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
async fn confused(_: mpp::Paid) -> axum::Json<PaymentProblem> {
    axum::Json(PaymentProblem { ours: String::new() })
}

#[test]
fn a_schema_of_the_service_keeps_its_name_and_one_that_cannot_is_said() {
    let documents = |app: Router<Mpp>| app.documents(&testing::mpp(), &Info::new("Trouble", "1"));
    let troubled = documents(Router::new().route("/troubled", get(troubled)));
    let schemas = &troubled.openapi()["components"]["schemas"];
    assert!(schemas["Problem"]["properties"]["ours"].is_object(), "{schemas}");
    assert!(schemas["PaymentProblem"]["properties"]["challengeId"].is_object(), "{schemas}");
    assert_eq!(troubled.warnings(), [""; 0]);
    let confused = documents(Router::new().route("/confused", get(confused)));
    assert!(confused.warnings()[0].contains("`PaymentProblem`"), "{:?}", confused.warnings());
}
