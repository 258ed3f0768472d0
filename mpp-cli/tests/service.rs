//! The commands about a service, against a running one that is right and one that is wrong in every way it can be.

use axum::http::StatusCode;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::response::IntoResponse;
use mpp::discovery::Info;
use mpp::routing::{Router, get, post};
use mpp::{Mpp, Paid, Sandbox, Secret};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Current weather.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn weather(axum::extract::Path(city): axum::extract::Path<String>, _: Paid) -> String {
    city
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(sandbox), challenge = "first")]
async fn echo(axum::Json(said): axum::Json<Value>, _: Paid) -> axum::Json<Value> {
    axum::Json(said)
}

fn priced(public_url: &str) -> axum::Router {
    let mpp = Mpp::builder(public_url)
        .secret(Secret::generate())
        .method(Sandbox::new())
        .allow_test_money()
        .single_process_volatile_store()
        .build()
        .unwrap();
    let info = Info::new("Weather", "1.0.0")
        .description("Two things for sale.")
        .category("data")
        .example("city", "oslo")
        .body_example("echo", json!({ "said": "hello" }));
    let router = Router::new().route("/weather/{city}", get(weather)).route("/echo", post(echo));
    router.publish(&mpp, info).unwrap().with_state(mpp).into_axum()
}

/// Advertises one price and asks for another, in a challenge of another realm that is long over, for a client that sends
/// nothing; and takes no notice of what is no credential.
fn wrong() -> axum::Router {
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "Wrong", "version": "1" },
        "x-service-info": { "categories": ["Not Tidy"], "docs": { "homepage": "/relative" } },
        "paths": { "/thing": { "get": {
            "x-payment-info": { "offers": [{ "intent": "charge", "method": "sandbox", "amount": 5, "recipient": "me" }] },
            "responses": { "200": { "description": "ok" } },
        } } },
    });
    // {"amount":"7","currency":"usdc"}
    let challenge = "Payment id=\"same\", realm=\"other.example\", method=\"sandbox\", intent=\"charge\", \
                     request=\"eyJhbW91bnQiOiI3IiwiY3VycmVuY3kiOiJ1c2RjIn0\", expires=\"2020-01-01T00:00:00Z\"";
    let thing = move |method: axum::http::Method, headers: axum::http::HeaderMap| async move {
        match headers.contains_key("authorization") && method == "GET" {
            true => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            false => {
                let headers = [
                    (WWW_AUTHENTICATE, challenge),
                    (CACHE_CONTROL, "public"),
                    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
                ];
                (StatusCode::PAYMENT_REQUIRED, headers, "pay").into_response()
            }
        }
    };
    axum::Router::new()
        .route("/openapi.json", axum::routing::get(move || async move { axum::Json(document) }))
        .route("/thing", axum::routing::any(thing))
}

/// Serves on a free port for as long as the test program runs; `make` is given the URL.
fn served(make: impl FnOnce(&str) -> axum::Router + Send + 'static) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let public = url.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, make(&public)).await
        })
    });
    url
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpp"));
    command.args(args);
    command
}

fn mpp(args: &[&str], stdin: &str) -> (i32, String, String) {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the command ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

#[test]
fn a_server_of_this_library_is_valid() {
    let url = served(priced);
    let (code, out, err) = mpp(&["validate", &url], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains(" 0 warnings, 0 failed, 2 skipped\n"), "{out}");
    assert!(out.contains("skipped: POST /echo: a payment is answered with a success and a receipt"), "{out}");
    let (_, out, _) = mpp(&["validate", &url, "--json"], "");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert!(report["passed"].as_u64().unwrap() >= 40, "{out}");
}

/// `mpp validate --pay`, with a folder of its own for what it keeps.
fn buying(home: &std::path::Path, args: &[&str]) -> (i32, String, String) {
    let args = [&["validate", "--pay", "--yes"], args].concat();
    let Output { status, stdout, stderr } = command(&args).env("MPP_HOME", home).output().unwrap();
    (status.code().unwrap_or(-1), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn with_pay_every_operation_is_bought_once_within_the_limits_and_its_receipt_checked() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = command(&["demo", "--port", "0"])
        .env("MPP_HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(demo.stdout.take().unwrap()), &mut url).unwrap();
    let url = url.trim();
    let (code, out, err) = buying(home.path(), &[url, "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}{err}"));
    let ledger = command(&["ledger", "--json"]).env("MPP_HOME", home.path()).output().unwrap();
    let (_, cheap, _) = buying(home.path(), &[url, "--max", "0.02"]);
    demo.kill().unwrap();
    demo.wait().unwrap();

    // `/gold` costs 25, and the limit is 1.
    let counts = ["failed", "warnings", "skipped"].map(|count| report[count].as_u64().unwrap());
    assert_eq!((code, counts), (0, [0, 0, 1]), "{out}");
    let passed = |check: &str| {
        let checks = report["checks"].as_array().unwrap().iter();
        checks.filter(|c| c["check"] == check && c["outcome"] == "passed").count()
    };
    for check in [
        "a payment is answered with a success and a receipt",
        "the receipt has a reference",
        "the receipt is of now",
        "what was paid for is not stored for others",
        "the same payment opens it no second time",
        "a spent payment gets a 402 with a challenge",
    ] {
        assert_eq!(passed(check), 2, "{check}: {out}");
    }
    let ledger: Value = serde_json::from_slice(&ledger.stdout).unwrap();
    assert_eq!(ledger["payments"].as_array().unwrap().len(), 2, "one payment for each: {ledger}");
    assert!(cheap.contains(" 0 failed, 2 skipped\n") && cheap.contains("skipped: GET /weather: "), "{cheap}");
}

/// Takes the money, and then does everything wrong: no receipt, an answer for everybody's cache, and as often as one likes.
async fn generous(headers: axum::http::HeaderMap) -> axum::response::Response {
    match headers.get("authorization").and_then(|value| value.to_str().ok()) {
        Some(credential) if credential.len() > 100 => {
            ([(CACHE_CONTROL, "public, max-age=60")], "for everybody").into_response()
        }
        _ => {
            let request = json!({
                "amount": "10000", "currency": "usdc", "recipient": "till", "methodDetails": { "testMoney": true },
            });
            let request = mpp::protocol::b64::encode(request.to_string());
            let expires =
                (mpp::Clock::now(&mpp::SystemClock) + std::time::Duration::from_secs(300)).to_rfc3339();
            let challenge = format!(
                "Payment id=\"{}\", realm=\"127.0.0.1\", method=\"sandbox\", intent=\"charge\", request=\"{request}\", expires=\"{expires}\"",
                *Secret::generate().expose_hex()
            );
            let headers = [(WWW_AUTHENTICATE, challenge), (CACHE_CONTROL, "no-store".to_owned())];
            (StatusCode::PAYMENT_REQUIRED, headers, "pay").into_response()
        }
    }
}

#[test]
fn with_pay_a_server_that_takes_money_and_gives_no_receipt_is_told_so() {
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "Generous", "version": "1" },
        "paths": { "/thing": { "get": {
            "x-payment-info": { "offers": [{ "intent": "charge", "method": "sandbox", "amount": "10000", "currency": "usdc" }] },
            "responses": { "402": { "description": "Payment Required" } },
        } } },
    });
    let url = served(move |_| {
        axum::Router::new()
            .route("/openapi.json", axum::routing::get(move || async move { axum::Json(document) }))
            .route("/thing", axum::routing::get(generous))
    });
    let home = tempfile::tempdir().unwrap();
    let (code, out, err) = buying(home.path(), &[&url]);
    for found in [
        "error: GET /thing: a payment is answered with a success and a receipt: the response carries no receipt",
        "error: GET /thing: what was paid for is not stored for others: `Cache-Control: public, max-age=60`",
        "warning: GET /thing: the same payment opens it no second time: it answers 200 OK",
    ] {
        assert!(out.contains(found), "{found} is not in\n{out}\n{err}");
    }
    assert_eq!(code, 1);
}

#[test]
fn a_server_that_is_wrong_in_every_way_is_told_each_of_them() {
    let url = served(|_| wrong());
    let (code, out, _) = mpp(&["validate", &url], "");
    assert_eq!(code, 1);
    for found in [
        "error: GET /thing: DISC-03: declares a 402",
        "error: GET /thing: DISC-05: offers are as the draft has them",
        "warning: openapi.json: DISC-06",
        "error: openapi.json: DISC-07: links are URIs",
        "warning: openapi.json: DISC-09",
        "warning: openapi.json: DISC-11",
        "error: GET /thing: the realm is the host: `other.example`",
        "error: GET /thing: the challenge can still be paid",
        "error: GET /thing: a challenge is not stored",
        "warning: GET /thing: explains itself as a problem",
        "error: GET /thing: each challenge has an id of its own",
        "error: GET /thing: a malformed credential gets a 402",
        "error: GET /thing: a preflight is not charged",
        "warning: GET /thing: pages of other origins can read the challenge and the receipt: `access-control-expose-headers` lacks",
        "warning: GET /thing: pages of other origins can send a credential: a preflight answers 402",
        "warning: llms.txt",
    ] {
        assert!(out.contains(found), "{found} is not in\n{out}");
    }
    assert!(!out.contains("DISC-10"), "an amount that is no string is any amount: {out}");
}

/// A document of such paths, each with its operations.
fn document(paths: &Value) -> Value {
    json!({ "openapi": "3.1.0", "info": { "title": "Sloppy", "version": "1" }, "paths": paths })
}

/// A priced `GET` as a document lists it.
fn listed() -> Value {
    json!({ "get": {
        "x-payment-info": { "offers": [{ "intent": "charge", "method": "sandbox", "amount": "7", "currency": "usdc" }] },
        "responses": { "402": { "description": "Payment Required" } },
    } })
}

/// Answers 402 with a challenge that has this `expires`.
fn until(expires: Option<String>) -> axum::routing::MethodRouter {
    axum::routing::get(move || async move {
        let expires = expires.map(|expires| format!(", expires=\"{expires}\"")).unwrap_or_default();
        // {"amount":"7","currency":"usdc"}
        let challenge = format!(
            "Payment id=\"{}\", realm=\"127.0.0.1\", method=\"sandbox\", intent=\"charge\", \
             request=\"eyJhbW91bnQiOiI3IiwiY3VycmVuY3kiOiJ1c2RjIn0\"{expires}",
            *Secret::generate().expose_hex()
        );
        (
            StatusCode::PAYMENT_REQUIRED,
            [(WWW_AUTHENTICATE, challenge), (CACHE_CONTROL, "no-store".to_owned())],
        )
    })
}

#[test]
fn an_expiry_that_is_missing_absurd_or_no_time_is_told_apart() {
    let after = |seconds| {
        let then = mpp::Clock::now(&mpp::SystemClock) + std::time::Duration::from_secs(seconds);
        Some(then.to_rfc3339().to_string())
    };
    let cases = [
        ("/never", None, "warning: GET /never: the challenge says when it expires: there is no `expires`"),
        (
            "/garbage",
            Some("tomorrow".to_owned()),
            "error: GET /garbage: every challenge can be read: a payment challenge has an invalid `expires`",
        ),
        (
            "/past",
            Some("2020-01-01T00:00:00Z".to_owned()),
            "error: GET /past: the challenge can still be paid: it expired at `2020-01-01T00:00:00Z`",
        ),
        (
            "/far",
            Some("2999-01-01T00:00:00Z".to_owned()),
            "warning: GET /far: the challenge is for now: it expires at `2999-01-01T00:00:00Z`, in more than a day",
        ),
        ("/soon", after(9), "too soon to pay it"),
        ("/right", after(300), ""),
    ];
    let paths = cases.iter().map(|(path, ..)| ((*path).to_owned(), listed()));
    let document = document(&paths.collect::<serde_json::Map<_, _>>().into());
    let routes = cases.clone().map(|(path, expires, _)| (path, until(expires)));
    let url = served(move |_| {
        let router = axum::Router::new()
            .route("/openapi.json", axum::routing::get(move || async move { axum::Json(document) }));
        routes.into_iter().fold(router, |router, (path, route)| router.route(path, route))
    });
    let (code, out, _) = mpp(&["validate", &url], "");
    assert_eq!(code, 1);
    for (path, _, said) in cases {
        assert!(out.contains(said), "{said} is not in\n{out}");
        let found = |line: &&str| {
            let other = line.starts_with("skipped") || line.contains("explains itself as a problem");
            line.contains(&format!("GET {path}: ")) && !other
        };
        assert_eq!(out.lines().filter(found).count(), usize::from(!said.is_empty()), "{path}\n{out}");
    }
}

#[test]
fn what_a_document_calls_free_and_is_not_is_found_and_so_is_half_a_price() {
    let info = listed()["get"]["x-payment-info"].clone();
    let url = served(move |_| {
        let document = document(&json!({
            "/free": { "get": {} },
            "/unsaid/{id}": { "parameters": [{ "name": "id", "in": "path", "required": true, "example": "1" }], "get": {} },
            "/unknown/{id}": { "get": { "parameters": [{ "name": "id", "in": "path", "required": true }] } },
            "/unasked": { "post": {} },
            "/half": { "get": { "responses": { "402": { "description": "Payment Required" } } } },
            "/other": { "get": { "x-payment-info": info } },
        }));
        let paid = || async { StatusCode::PAYMENT_REQUIRED };
        axum::Router::new()
            .route("/openapi.json", axum::routing::get(move || async move { axum::Json(document) }))
            .route("/free", axum::routing::get(|| async { "free" }))
            .route("/unsaid/{id}", axum::routing::get(paid))
            .route("/half", axum::routing::get(paid))
            .fallback(|| async { (StatusCode::IM_A_TEAPOT, "nobody asks") })
    });
    let (code, out, _) = mpp(&["validate", &url], "");
    assert_eq!(code, 1);
    for found in [
        "error: GET /unsaid/{id}: DISC-03: what costs money is said to: ",
        "error: GET /half: DISC-03: has x-payment-info",
        "error: GET /other: DISC-03: declares a 402",
        "error: GET /other: answers 402 without a credential: it answers 418",
    ] {
        assert!(out.contains(found), "{found} is not in\n{out}");
    }
    for quiet in ["GET /free", "/unknown", "/unasked"] {
        assert!(!out.contains(quiet), "{quiet} is in\n{out}");
    }
}

#[test]
fn a_server_without_a_document_is_told_so_once() {
    let nothing = served(|_| axum::Router::new());
    let other = served(|_| {
        axum::Router::new()
            .route("/openapi.json", axum::routing::get(|| async { axum::Json(json!({ "swagger": "2.0" })) }))
    });
    let page =
        served(|_| axum::Router::new().route("/openapi.json", axum::routing::get(|| async { "<html>" })));
    for (url, said) in [
        (
            nothing,
            "answers 404 Not Found (with this library `Router::publish` serves it); nothing else can be checked without it\n",
        ),
        (other, "is no OpenAPI document; nothing else can be checked without it\n"),
        (page, "is not JSON: expected value at line 1 column 1; nothing else can be checked without it\n"),
    ] {
        let (code, out, _) = mpp(&["validate", &url], "");
        let lines: Vec<_> = out.lines().collect();
        assert_eq!((code, lines.len()), (1, 2), "{out}");
        assert!(
            lines[0].starts_with("error: openapi.json: DISC-02: is there: ") && out.contains(said),
            "{out}"
        );
        assert!(lines[1].ends_with(": 0 passed, 0 warnings, 1 failed, 0 skipped"), "{out}");
        let (code, out, _) = mpp(&["validate", &url, "--json"], "");
        assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()["failed"].as_u64()), (1, Some(1)));
        let (code, out, _) = mpp(&["register", "--dry-run", &url], "");
        assert_eq!((code, out.lines().count()), (1, 1), "{out}");
        let (code, out, _) = mpp(&["register", "--dry-run", &url, "--json"], "");
        let seen: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, seen["findings"].as_array().unwrap().len()), (1, 1), "{out}");
    }
}

#[test]
fn a_user_in_the_url_of_a_server_goes_into_a_header_and_into_nothing_that_is_printed() {
    let guarded = served(|_| {
        let answer = async |headers: axum::http::HeaderMap| {
            // me:geheim
            let known = headers.get("authorization").is_some_and(|value| value == "Basic bWU6Z2VoZWlt");
            if known { (StatusCode::OK, "<html>") } else { (StatusCode::UNAUTHORIZED, "") }
        };
        axum::Router::new().route("/openapi.json", axum::routing::get(answer))
    });
    let url = guarded.replace("http://", "http://me:geheim@");
    for args in [
        &["validate", &url][..],
        &["validate", "--json", &url],
        &["register", "--dry-run", &url],
        &["register", "--dry-run", "--json", &url],
        &["openapi", &url],
        &["describe", &url],
    ] {
        let (code, out, err) = mpp(args, "");
        assert!(code == 1 && format!("{out}{err}").contains("is not JSON"), "{args:?} {out}{err}");
        assert!(!format!("{out}{err}").contains("geheim"), "{args:?} {out}{err}");
    }
    for refused in ["http://me:geheim@example.com", "ftp://me:geheim@example.com"] {
        let (code, out, err) = mpp(&["validate", refused], "");
        assert!(code == 1 && err.contains("example.com") && !err.contains("geheim"), "{out}{err}");
    }
}

/// What CORS a server has, and what a page of another origin misses.
#[test]
fn a_server_that_is_open_to_pages_is_told_what_they_cannot_do() {
    type Head = &'static [(&'static str, &'static str)];
    let cases: [(&str, Head, Head, &[&str]); 4] = [
        ("/closed", &[], &[], &[]),
        (
            "/open",
            &[
                ("access-control-allow-origin", "*"),
                ("access-control-expose-headers", "WWW-Authenticate, Payment-Receipt"),
            ],
            &[("access-control-allow-origin", "*"), ("access-control-allow-headers", "authorization")],
            &[],
        ),
        (
            "/star",
            &[
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", "true"),
                ("access-control-expose-headers", "*"),
            ],
            &[("access-control-allow-origin", "*"), ("access-control-allow-headers", "*")],
            &[
                "can read the challenge and the receipt: `access-control-expose-headers` lacks `www-authenticate`, `payment-receipt`",
                "can send a credential: `access-control-allow-headers` lacks `authorization`; `*` does not cover",
                "`*` does not stand beside credentials: its answer has `access-control-allow-origin: *`",
            ],
        ),
        (
            "/half",
            &[("access-control-allow-origin", "*"), ("access-control-expose-headers", "www-authenticate")],
            &[],
            &[
                "can read the challenge and the receipt: `access-control-expose-headers` lacks `payment-receipt`",
                "can send a credential: no `access-control-allow-origin`",
            ],
        ),
    ];
    let paths = cases.iter().map(|(path, ..)| ((*path).to_owned(), listed()));
    let document = document(&paths.collect::<serde_json::Map<_, _>>().into());
    let url = served(move |_| {
        let router = axum::Router::new()
            .route("/openapi.json", axum::routing::get(move || async move { axum::Json(document) }));
        cases.into_iter().fold(router, |router, (path, answer, preflight, _)| {
            let head = move |head: Head| async move {
                let headers =
                    head.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), *value));
                axum::response::AppendHeaders(headers.collect::<Vec<_>>())
            };
            let add = move |response: axum::response::Response| async move {
                (head(answer).await, response).into_response()
            };
            let route = until(Some("2999-01-01T00:00:00Z".to_owned()))
                .layer(axum::middleware::map_response(add))
                .options(move || head(preflight));
            router.route(path, route)
        })
    });
    let (_, out, _) = mpp(&["validate", &url], "");
    for (path, _, _, findings) in cases {
        let told = |line: &&str| {
            line.contains(&format!("GET {path}: ")) && (line.contains("pages of") || line.contains("`*`"))
        };
        assert_eq!(out.lines().filter(told).count(), findings.len(), "{path}\n{out}");
        for finding in findings {
            assert!(out.contains(finding), "{finding} is not in\n{out}");
        }
    }
}

#[test]
fn the_document_is_printed_described_and_listed_from_a_server_a_file_and_standard_input() {
    let url = served(priced);
    let (code, document, _) = mpp(&["openapi", &url], "");
    assert_eq!(code, 0);
    let (_, text, _) = mpp(&["describe", "-"], &document);
    assert!(text.starts_with("Weather 1.0.0\n"), "{text}");
    assert!(text.contains("weather: GET /weather/{city}, 0.05 usdc by sandbox."), "{text}");
    let (_, item, _) = mpp(&["describe", &url, "weather", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&item).unwrap()["level"], "item");
    let (code, _, err) = mpp(&["describe", &url, "wether"], "");
    assert_eq!((code, err.as_str()), (1, "mpp: there is no operation `wether`; did you mean `weather`?\n"));
    let (_, llms, _) = mpp(&["llms", &url], "");
    assert!(llms.starts_with("# Weather\n"));
    let (_, seen, _) = mpp(&["register", "--dry-run", &url], "");
    assert!(seen.contains("categories: data") && seen.contains("registries crawl https only"), "{seen}");
    let (code, _, err) = mpp(&["register", &url], "");
    assert!(code == 1 && err.contains("--dry-run"), "{err}");
}

#[test]
fn what_a_service_says_cannot_act_on_the_terminal() {
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "\u{1b}[31mRed\u{202e}der", "version": "é" },
        "paths": { "/x": { "get": {
            "operationId": "\u{7}bell", "x-payment-info": { "intent": "charge", "method": "m", "amount": null },
        } } },
    })
    .to_string();
    let bad = |text: &str| text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}');
    for args in [
        &["describe", "-"][..],
        &["describe", "-", "--json"],
        &["openapi", "-"],
        &["llms", "-"],
        &["manifest", "-"],
    ] {
        let (code, out, _) = mpp(args, &document);
        assert!(code == 0 && !bad(&out), "{args:?}: {out:?}");
    }
    let (_, out, _) = mpp(&["openapi", "-"], &document);
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap(),
        serde_json::from_str::<Value>(&document).unwrap()
    );
    assert!(!bad(&mpp(&["describe", "-", "\u{7}bel"], &document).2));
}

#[test]
fn a_manifest_that_differs_from_the_file_is_a_diff_and_exit_code_1() {
    let url = served(priced);
    let (_, now, _) = mpp(&["manifest", &url], "");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(&file, &now).unwrap();
    assert_eq!(mpp(&["manifest", &url, "--check", path], ""), (0, String::new(), String::new()));
    std::fs::write(&file, now.replace("\"50000\"", "\"40000\"")).unwrap();
    let (code, out, _) = mpp(&["manifest", &url, "--check", path], "");
    let lines: Vec<_> = out.lines().map(|line| line.replace(' ', "")).collect();
    assert_eq!(
        (code, lines),
        (1, vec!["-\"amount\":\"40000\",".to_owned(), "+\"amount\":\"50000\",".to_owned()])
    );
}

#[test]
fn what_cannot_be_asked_is_one_sentence() {
    for (args, said) in [
        (&["openapi", "http://example.com"][..], "only https is asked"),
        (&["openapi", "http://127.0.0.1:1"], "does not answer"),
        (&["openapi", "/no/such/file"], "cannot read /no/such/file"),
        (&["describe", "-"], "is not JSON"),
    ] {
        let (code, out, err) = mpp(args, "not json");
        assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
        assert!(err.starts_with("mpp: ") && err.contains(said), "{err}");
    }
    assert_eq!(mpp(&["describe", "-"], "{}").2, "mpp: - is not an OpenAPI document\n");
}
