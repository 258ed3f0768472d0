//! Ids and places that two operations would share: qualified where nobody wrote them, else a start-up problem.

use mpp::discovery::Info;
use mpp::routing::{Router, any, get};
use mpp::{Mpp, Paid, testing};
use serde_json::Value;
use utoipa::OpenApi;

mod one {
    #[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
    #[utoipa::path(get, path = "/one", operation_id = "readThing")]
    pub async fn thing(_: mpp::Paid) {}

    #[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
    pub async fn same(_: mpp::Paid) {}

    #[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
    #[utoipa::path(get, path = "/place")]
    pub async fn marked(_: mpp::Paid) {}
}

mod two {
    #[mpp::charge(amount = "0.02", currency = "usdc", methods(tempo))]
    #[utoipa::path(get, path = "/two", operation_id = "readThing")]
    pub async fn other(_: mpp::Paid) {}

    #[mpp::charge(amount = "0.02", currency = "usdc", methods(tempo))]
    pub async fn same(_: mpp::Paid) {}
}

#[mpp::charge(amount = "0.03", currency = "usdc", methods(tempo))]
async fn elsewhere(_: Paid) {}

/// Free, and of the same name as two priced handlers.
#[utoipa::path(get, path = "/free")]
async fn same() {}

#[utoipa::path(post, path = "/free", operation_id = "readThing")]
async fn free_thing() {}

fn info() -> Info {
    Info::new("Conflicts", "1").allow_unmounted()
}

fn problems(app: Router<Mpp>, info: Info) -> Vec<String> {
    app.publish(&testing::mpp(), info).err().map(|report| report.problems().to_vec()).unwrap_or_default()
}

fn document(app: &Router<Mpp>, info: &Info) -> Value {
    app.documents(&testing::mpp(), info).openapi().clone()
}

#[test]
fn an_id_that_somebody_wrote_is_the_id_of_the_operation() {
    let app = Router::new().route("/one", get(one::thing));
    assert_eq!(document(&app, &info())["paths"]["/one"]["get"]["operationId"], "readThing");
    assert_eq!(problems(app, info()), [""; 0]);
}

#[test]
fn an_id_that_was_written_twice_stops_the_start_and_both_places_are_named() {
    let app = Router::new().route("/one", get(one::thing)).route("/two", get(two::other));
    let problems = problems(app, info());
    assert_eq!(problems.len(), 1, "{problems:#?}");
    for said in
        ["`GET /one` (", "::one::thing`", "`GET /two` (", "::two::other`", "`readThing`", "conflicts.rs:"]
    {
        assert!(problems[0].contains(said), "{said} is not in {}", problems[0]);
    }
}

#[test]
fn an_id_of_the_given_document_counts_as_written() {
    #[derive(OpenApi)]
    #[openapi(paths(free_thing))]
    struct Api;
    let app = Router::new().route("/one", get(one::thing)).route("/free", axum::routing::post(free_thing));
    let problems = problems(app, info().openapi(Api::openapi()));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].starts_with("`POST /free` of the given document and `GET /one` ("),
        "{}",
        problems[0]
    );
}

#[test]
fn names_that_nobody_chose_as_ids_are_qualified_silently() {
    #[derive(OpenApi)]
    #[openapi(paths(same))]
    struct Api;
    let free = || Router::from(axum::Router::new().route("/free", axum::routing::get(same)));
    let app = || free().route("/a", get(one::same)).route("/b/{x}", get(two::same));
    let info = info().example("x", "1").openapi(Api::openapi());
    let document = document(&app(), &info);
    let id = |path: &str| document["paths"][path]["get"]["operationId"].clone();
    assert_eq!([id("/free"), id("/a"), id("/b/{x}")], ["same", "same_get_a", "same_get_b_x"]);
    // One is enough to collide with a free operation.
    let alone: Router<Mpp> = Router::new().route("/a", get(one::same));
    let document = alone.documents(&testing::mpp(), &info).openapi().clone();
    assert_eq!(document["paths"]["/a"]["get"]["operationId"], "same_get_a");
    assert_eq!(problems(app(), info), [""; 0]);
}

#[test]
fn one_handler_at_two_paths_has_one_written_id_which_is_qualified() {
    let app = Router::new().route("/one", get(one::thing)).route("/again", get(one::thing));
    let document = document(&app, &info());
    let id = |path: &str| document["paths"][path]["get"]["operationId"].clone();
    assert_eq!([id("/one"), id("/again")], ["readThing_get_one", "readThing_get_again"]);
    assert_eq!(problems(app, info()), [""; 0]);
}

#[test]
fn a_price_where_a_document_is_served_stops_the_start() {
    for path in ["/openapi.json", "/llms.txt", "/describe/{anything}"] {
        let problems = problems(Router::new().route(path, get(elsewhere)), info());
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].contains("::elsewhere`") && problems[0].contains("`publish` serves `/"),
            "{problems:?}"
        );
    }
}

#[test]
fn a_place_for_which_the_given_document_has_another_price_stops_the_start() {
    #[derive(OpenApi)]
    #[openapi(paths(one::marked))]
    struct Api;
    let mounted = Router::new().route("/place", get(elsewhere)).route("/moved", get(one::marked));
    let problems = problems(mounted, info().openapi(Api::openapi()));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].contains("::elsewhere`") && problems[0].contains("::one::marked`"),
        "{}",
        problems[0]
    );
}

#[test]
fn two_templates_that_the_document_cannot_tell_apart_stop_the_start() {
    // To axum the braces of the second are what they are.
    let app = Router::new().route("/a/%7Bx%7D", get(elsewhere)).route("/a/{{x}}", get(one::same));
    let problems = problems(app, info());
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("::elsewhere`") && problems[0].contains("::one::same`"), "{}", problems[0]);
}

#[tokio::test]
async fn a_price_for_every_verb_and_one_for_get_are_two_operations() {
    let mpp = testing::mpp();
    let app = Router::new().route("/x", any(elsewhere).get(one::same));
    let documents = app.documents(&mpp, &info());
    let item = &documents.openapi()["paths"]["/x"];
    assert_eq!(
        (&item["get"]["operationId"], &item["post"]["operationId"]),
        (&"same".into(), &"elsewhere".into())
    );
    let client = testing::Client::new(app.with_state(mpp));
    assert_eq!(testing::assert_advertised(&client, documents.openapi()).await, 2);
}

/// What is said at the end of what was mounted after `publish`.
fn late(mount: impl FnOnce(Router<Mpp>) -> Router<Mpp>) -> Vec<String> {
    let mpp = testing::mpp();
    let published = Router::new().route("/one", get(one::thing)).publish(&mpp, info()).unwrap();
    let finished = mount(published).with_state::<()>(mpp).try_into_axum();
    finished.err().map(|report| report.problems().to_vec()).unwrap_or_default()
}

#[test]
fn a_price_that_comes_after_publish_and_stands_where_a_document_is_stops_the_start() {
    let below = || Router::new().route("/{anything}", get(elsewhere));
    let beside = || Router::new().route("/llms-full.txt", get(elsewhere));
    for (path, problems) in [
        ("/llms.txt", late(|app| app.route("/llms.txt", get(elsewhere)))),
        ("/openapi.json", late(|app| app.route("/openapi.json", mpp::routing::post(elsewhere)))),
        ("/describe/{operation}", late(|app| app.nest("/describe", below()))),
        ("/llms-full.txt", late(|app| app.merge(beside()))),
    ] {
        assert_eq!(problems.len(), 1, "{problems:#?}");
        for named in ["::elsewhere`", "conflicts.rs:", &format!("`publish` serves `{path}`")] {
            assert!(problems[0].contains(named), "{named} is not in {}", problems[0]);
        }
    }
    let all = late(|app| app.route("/llms.txt", get(elsewhere)).route("/describe", get(one::same)));
    assert_eq!(all.len(), 2, "all of them, not the first: {all:#?}");
}

#[test]
fn operations_that_share_an_id_or_a_place_stop_the_start_also_when_one_comes_after_publish() {
    let id = late(|app| app.route("/two", get(two::other)));
    assert_eq!(id.len(), 1, "{id:#?}");
    assert!(
        id[0].contains("`GET /one` (") && id[0].contains("`GET /two` (") && id[0].contains("`readThing`")
    );
    let place = late(|app| app.route("/a/%7Bx%7D", get(elsewhere)).route("/a/{{x}}", get(one::same)));
    assert!(place[0].contains("::elsewhere`") && place[0].contains("::one::same`"), "{place:#?}");
    assert_eq!(late(|app| app.route("/fine", get(elsewhere))), [""; 0]);
}

#[test]
#[should_panic(expected = "is where `publish` serves `/llms.txt`; mount it elsewhere")]
fn who_does_not_ask_for_the_report_of_what_came_late_gets_it_as_a_panic_at_start_up() {
    let mpp = testing::mpp();
    let published = Router::new().publish(&mpp, info()).unwrap();
    let _ = published.route("/llms.txt", get(elsewhere)).with_state::<()>(mpp).into_axum();
}

#[test]
fn a_free_route_where_a_document_is_served_is_in_the_report_before_publish_and_after() {
    let free = || axum::routing::get(|| async { "mine" });
    let before = [
        Router::new().route("/llms.txt", free()),
        Router::new().merge(axum::Router::new().route("/llms.txt", free())),
        Router::new().route("/describe/{name}", free()),
    ];
    for app in before {
        let problems = problems(app, info());
        assert!(problems.len() == 1 && problems[0].contains("a route of yours"), "{problems:#?}");
    }
    let after = late(|app| app.route("/llms.txt", free()).route("/openapi.json", free()));
    assert_eq!(after.len(), 2, "{after:#?}");
    assert!(after[0].contains("`publish` serves `/llms.txt`") && after[1].contains("`/openapi.json`"));
    // Another verb is no conflict, for axum neither.
    assert_eq!(late(|app| app.route("/llms.txt", axum::routing::post(|| async { "mine" }))), [""; 0]);
    let all = problems(Router::new().route("/llms.txt", free()).route("/describe", get(elsewhere)), info());
    assert_eq!(all.len(), 1, "the priced one, which can be named: {all:#?}");
}

#[test]
fn a_router_is_published_once() {
    let mpp = testing::mpp();
    let published = Router::<Mpp>::new().publish(&mpp, info()).unwrap();
    let report = published.publish(&mpp, info()).unwrap_err();
    assert_eq!(report.problems(), ["`publish` was called twice on one router"]);
}

#[utoipa::path(post, path = "/things/{id}", params(("id" = u32, Path, example = 7)))]
#[mpp::charge(amount = "0.03", currency = "usdc", methods(tempo))]
async fn renamed(axum::extract::Path(id): axum::extract::Path<u32>, _: Paid) -> String {
    id.to_string()
}

#[test]
fn a_path_that_the_given_document_spells_with_other_parameters_stops_the_start() {
    #[derive(OpenApi)]
    #[openapi(paths(renamed))]
    struct Api;
    let problems_of = |path: &str| {
        let app = Router::new().route(path, mpp::routing::post(renamed));
        problems(app, info().openapi(Api::openapi()))
    };
    let said = problems_of("/things/{name}");
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].contains("`POST /things/{name}`") && said[0].contains("`/things/{id}`"), "{said:#?}");
    assert_eq!(problems_of("/things/{id}"), [""; 0]);
}
