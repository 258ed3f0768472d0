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

/// A folder of its own for what the command keeps.
fn home(name: &str) -> std::path::PathBuf {
    let home = std::env::temp_dir().join(format!("mpp-validate-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    home
}

/// `mpp validate --pay`, from that folder.
fn buying(home: &std::path::Path, args: &[&str]) -> (i32, String, String) {
    let args = [&["validate", "--pay", "--yes"], args].concat();
    let Output { status, stdout, stderr } = command(&args).env("MPP_HOME", home).output().unwrap();
    (status.code().unwrap_or(-1), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn with_pay_every_operation_is_bought_once_within_the_limits_and_its_receipt_checked() {
    let home = home("right");
    let mut demo = command(&["demo", "--port", "0"])
        .env("MPP_HOME", &home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(demo.stdout.take().unwrap()), &mut url).unwrap();
    let url = url.trim();
    let (code, out, err) = buying(&home, &[url, "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}{err}"));
    let ledger = command(&["ledger", "--json"]).env("MPP_HOME", &home).output().unwrap();
    let (_, cheap, _) = buying(&home, &[url, "--max", "0.02"]);
    demo.kill().unwrap();
    demo.wait().unwrap();
    std::fs::remove_dir_all(home).unwrap();

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
    let home = home("generous");
    let (code, out, err) = buying(&home, &[&url]);
    std::fs::remove_dir_all(home).unwrap();
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
        "warning: GET /thing: pages of other origins can read the challenge",
        "warning: llms.txt",
    ] {
        assert!(out.contains(found), "{found} is not in\n{out}");
    }
    assert!(!out.contains("DISC-10"), "an amount that is no string is any amount: {out}");
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
    let file = std::env::temp_dir().join(format!("mpp-cli-manifest-{}.json", std::process::id()));
    let path = file.to_str().unwrap();
    std::fs::write(&file, &now).unwrap();
    assert_eq!(mpp(&["manifest", &url, "--check", path], ""), (0, String::new(), String::new()));
    std::fs::write(&file, now.replace("\"50000\"", "\"40000\"")).unwrap();
    let (code, out, _) = mpp(&["manifest", &url, "--check", path], "");
    std::fs::remove_file(&file).unwrap();
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
