use std::time::Duration;

use mpp::{Clock as _, SystemClock};

use crate::scene::{Scene, document, err, out};

#[test]
fn what_is_neither_priced_nor_free_is_no_quote() {
    let scene = Scene::set();
    let heads = [
        "401 Unauthorized",
        "404 Not Found",
        "405 Method Not Allowed",
        "415 Unsupported Media Type",
        "422 Unprocessable Entity",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ];
    let (url, answers) = scene.between(move |server| {
        for head in heads {
            for _ in 0..3 {
                server.answer(&format!("{head}\r\ncontent-type: text/plain"), "because");
            }
        }
        // Of another protocol.
        for _ in 0..2 {
            let head =
                "402 Payment Required\r\ncontent-type: text/plain\r\nwww-authenticate: L402 macaroon=x";
            server.answer(head, "by lightning");
        }
    });
    let other = format!("{url}/weather");
    for head in heads {
        let (words, json) = (scene.run(&["quote", &other]), scene.run(&["quote", "--json", &other]));
        let dry = scene.run(&["pay", "--dry-run", &other]);
        assert_eq!([&words, &json, &dry].map(|output| output.status.code()), [Some(1); 3], "{head}");
        let said = format!("mpp: {other} is not priced: it answered {head} (\"because\")");
        assert!(err(&words).starts_with(&said) && out(&words).is_empty(), "{}", err(&words));
        let error = &document(&json)["error"];
        assert_eq!(error["exitCode"], 1);
        assert!(error["message"].as_str().unwrap().contains(head), "{error}");
    }
    let foreign = scene.run(&["quote", &other]);
    assert_eq!(foreign.status.code(), Some(1), "{}", out(&foreign));
    assert!(err(&foreign).contains("no way to pay"), "{}", err(&foreign));
    let unpaid = scene.run(&["pay", "-y", "--json", &other]);
    assert_eq!(unpaid.status.code(), Some(3), "what was not paid is no success: {}", out(&unpaid));
    let said = "mpp: the server answered 402 Payment Required (\"by lightning\"), and there is nothing that can be paid here\n";
    assert_eq!(err(&unpaid), said);
    assert_eq!(document(&unpaid)["error"]["exitCode"], 3);
    assert_eq!(scene.run(&["pay", "-y", "-X", "HEAD", &scene.url("/weather")]).status.code(), Some(3));
    answers.join().unwrap();
    assert_eq!(scene.run(&["quote", &scene.url("/")]).status.code(), Some(0), "free is an answer");
}

#[test]
fn a_wrong_file_url_key_or_flag_is_one_sentence_with_a_hint() {
    let scene = Scene::set();
    let weather = scene.url("/weather");
    let not_a_key = scene.write("not-a-key", "{\"sealed\": \"geheim\"}");
    let password = scene.write("password", "geheim\n");
    let nowhere = "/nowhere/at/all";
    let sandbox_key = "main";
    scene.run(&["wallet", "new", sandbox_key, "--password-file", &password]);
    let damaged = Scene::nobody();
    let file = damaged.write("spent.jsonl", "nonsense\n");
    let told = damaged.run(&["pay", "-y", &weather]);
    assert!(err(&told).contains(&file) && err(&told).contains("line 1"), "{}", err(&told));
    let cases: &[(&[&str], &str)] = &[
        (&["pay", "-y", "weather"], "write it out, as https://"),
        (&["pay", "-y", "ftp://example.com/x"], "https://api.example.com"),
        (&["pay", "-y", "http://127.0.0.1:1/x"], "is the server running?"),
        (&["quote", "http://127.0.0.1:1/x"], "is the server running?"),
        (&["pay", "-y", &weather.replace("http:", "https:")], "is it an http:// URL?"),
        (&["pay", "-y", "http://nobody.invalid/x"], "is the name right?"),
        (&["pay", "-y", "--tempo-rpc", "http://127.0.0.1:1", &weather], "mpp wallet new NAME --kind evm"),
        (&["pay", "-y", "--evm-pays-by", "hash", &weather], "--key-file NAME"),
        (
            &["quote", "--key-file", sandbox_key, "--password-file", &password, "--evm-chain", "1", &weather],
            "--key-file NAME",
        ),
        (&["pay", "-y", "-X", "no verb", &weather], "such as GET"),
        (&["pay", "-y", "-H", "nonsense", &weather], "write `Name: value`"),
        (&["pay", "-y", "-d", "@/nowhere/at/all", &weather], "without `@` it is the data itself"),
        (&["pay", "-y", "--key-file", &not_a_key, &weather], "`mpp wallet new` makes one"),
        (&["pay", "-y", "--key-file", "nobody", &weather], "`mpp wallet list`"),
        (&["pay", "-y", "--key-file", sandbox_key, &weather], "--password-file"),
        (&["pay", "-y", "--key-file", sandbox_key, "--password-file", nowhere, &weather], "first line"),
        (&["pay", "-y", "--stripe-tokens", "http://example.com/tokens", &weather], "https"),
        (&["pay", "-y", "-o", "/nowhere/at/all", &weather], "nothing was sent"),
        (&["pay", "--resume", "x"], "32"),
        (&["wallet", "new", "a/b", "--password-file", &password], "letters, digits"),
        (&["wallet", "new", sandbox_key, "--password-file", &password], "another name"),
        (&["wallet", "address", "nobody"], "`mpp wallet list`"),
        (&["wallet", "balance"], "`mpp wallet list`"),
        (&["demo", "--port", scene.url.rsplit(':').next().unwrap()], "--port 0"),
        (&["decode", "hello"], "WWW-Authenticate"),
        (&["openapi", nowhere], "No such file"),
    ];
    for (args, hint) in cases {
        let output = scene.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?} {}", err(&output));
        assert_eq!(err(&output).lines().count(), 1, "{args:?} {}", err(&output));
        assert!(err(&output).contains(hint), "{args:?} {}", err(&output));
        let told = err(&output).to_lowercase();
        for word in ["geheim", "backtrace", "panicked", ".rs:"] {
            assert!(!told.contains(word), "{args:?} {told}");
        }
    }
    scene.write("config.toml", "[limits]\nper_request = 0.1\n");
    for args in [&["config"][..], &["pay", "-y", &weather]] {
        let config = scene.run(args);
        let told = err(&config);
        assert!(told.contains("config.toml line 2") && told.contains("--explain"), "{told}");
        assert_eq!((told.lines().count(), config.status.code()), (1, Some(1)), "{told}");
    }
    for args in [
        &["pay", "--max", "ten", &weather][..],
        &["pay", "--resume", "x", &weather],
        &["pay", "--tempo-chain", "1", &weather],
        &["pay", "--method", "No Method!", &weather],
        &["quote"],
        &["wallet"],
        &["nonsense"],
    ] {
        let output = scene.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(err(&output).contains("--help") || args == ["wallet"], "{args:?} {}", err(&output));
    }
}

#[test]
fn a_refusal_says_what_helps_where_the_name_the_method_or_the_intent_is_what_is_wrong() {
    let scene = Scene::set();
    let weather = scene.url("/weather");
    let renamed = scene.run(&["pay", "-y", &weather.replace("127.0.0.1", "localhost")]);
    assert_eq!(renamed.status.code(), Some(3), "{}", err(&renamed));
    assert!(err(&renamed).ends_with("; ask for 127.0.0.1 instead of localhost\n"), "{}", err(&renamed));
    let unknown = scene.run(&["pay", "-y", "--method", "foo", &weather]);
    assert_eq!(unknown.status.code(), Some(2), "{}", err(&unknown));
    assert!(err(&unknown).contains("[possible values: tempo, stripe, evm, sandbox]"), "{}", err(&unknown));
    let other = scene.run(&["pay", "-y", "--method", "tempo", &weather]);
    assert!(
        err(&other).ends_with("the method `sandbox`; the command says --method tempo\n"),
        "{}",
        err(&other)
    );
    // A sandbox plays Tempo's charges; no key of any kind pays a session.
    let (url, answered) = scene.between(|server| {
        let soon = SystemClock.now() + Duration::from_secs(300);
        let offer = format!(
            r#"Payment id="s", realm="127.0.0.1", method="tempo", intent="session", request="e30", expires="{}""#,
            soon.to_rfc3339().as_str()
        );
        server.answer(&format!("402 Payment Required\r\nwww-authenticate: {offer}"), "");
    });
    let session = scene.run(&["pay", "-y", &url]);
    answered.join().unwrap();
    let said = "tempo: it asks for a `session`, which no wallet pays here; an offer of a single `charge` is needed\n";
    assert!(err(&session).ends_with(said) && session.status.code() == Some(3), "{}", err(&session));
    let keys = scene.run(&["wallet", "list"]);
    assert_eq!((out(&keys), keys.status.code()), ("name  kind  address\n", Some(0)));
    assert!(err(&keys).contains("`mpp wallet new NAME` makes one"), "{}", err(&keys));
}

#[test]
fn every_exit_code_is_one_that_the_readme_explains() {
    let scene = Scene::set();
    let weather = scene.url("/weather");
    let (url, exchanges) = scene.between(|server| {
        server.pass();
        server.lose();
    });
    let url = format!("{url}/weather");
    let cases: [(&[&str], u8); 6] = [
        (&["pay", "-yq", &weather], 0),
        (&["pay", "-yq", "weather"], 1),
        (&["pay", "--nonsense"], 2),
        (&["pay", "-yq", "--max", "0.01", &weather], 3),
        (&["pay", "-yq", &url], 4),
        (&["pay", "-yq", "--fail", &scene.url("/nowhere")], 22),
    ];
    let readme = include_str!("../../README.md");
    let help = scene.run(&["pay", "--help"]);
    for (args, code) in cases {
        assert_eq!(scene.run(args).status.code(), Some(i32::from(code)), "{args:?}");
        assert!(readme.contains(&format!("\n| {code} | ")), "{code}");
        let told = out(&help).split("Exit codes: ").nth(1).expect("they are told");
        assert!(told.contains(&format!("{code} ")), "{told}");
    }
    exchanges.join().unwrap();
    let explained =
        readme.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let explained = explained.take_while(|line| line.split(" | ").count() == 2).count();
    assert_eq!(explained, cases.len(), "the README explains no other");
}

#[test]
fn the_configuration_explains_itself_and_shells_are_served() {
    let scene = Scene::set();
    let explained = scene.run(&["config", "--explain"]);
    scene.write("config.toml", out(&explained));
    let config = scene.run(&["config", "--json"]);
    assert_eq!(document(&config)["limits"]["per_request"], "1");
    assert!(out(&scene.run(&["completions", "bash"])).contains("_mpp"));
    assert!(out(&scene.run(&["man"])).contains(".TH mpp"));
}
