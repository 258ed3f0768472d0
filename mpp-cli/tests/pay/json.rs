use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use crate::scene::{Scene, document, err, out};

/// A port where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

#[test]
fn every_command_answers_and_fails_in_json_for_a_program_that_asks_for_it() {
    let scene = Scene::set();
    let (weather, password) = (scene.url("/weather"), scene.write("password", "correct horse\n"));
    let port = scene.url.rsplit(':').next().unwrap();
    // A node that has one answer to everything: that it serves chain 1, and that an account has one unit.
    let (node, _) = scene.between(|server| {
        (0..100).for_each(|_| {
            server.answer(
                "200 OK\r\ncontent-type: application/json",
                r#"{"id":1,"jsonrpc":"2.0","result":"0x1"}"#,
            );
        });
    });
    let cases: &[(&[&str], u8)] = &[
        (&["quote", &weather], 0),
        (&["quote", &scene.url("/nowhere")], 1),
        (&["quote", NOBODY], 1),
        (&["pay", &weather, "-y"], 0),
        (&["pay", &weather, "--dry-run"], 0),
        (&["pay", &weather], 3),
        (&["pay", &weather, "-y", "--max", "0.01"], 3),
        (&["pay", NOBODY, "-y"], 1),
        (&["pay", &scene.url("/nowhere"), "-y", "--fail"], 22),
        (&["pay", &weather, "--include"], 2),
        (&["ledger"], 0),
        (&["ledger", "--csv"], 2),
        (&["ledger", "--server", "--store", "file:/nowhere/at/all"], 1),
        (&["wallet", "new", "main", "--kind", "evm", "--password-file", &password], 0),
        (&["wallet", "new", "a/b", "--password-file", &password], 1),
        (&["wallet", "list"], 0),
        (&["wallet", "list", "main"], 2),
        (&["wallet", "address", "main"], 0),
        (&["wallet", "address", "nobody"], 1),
        (&["wallet", "balance", "main", "--evm-chain", "1", "--evm-rpc", &node], 0),
        (&["wallet", "balance", "main", "--evm-chain", "2", "--evm-rpc", &node], 1),
        (&["config"], 0),
        (&["config", "--explain"], 0),
        (&["config", "explain"], 2),
        (&["demo", "--port", port], 1),
        (&["secret"], 0),
        (&["secret", "--bytes", "1"], 2),
        (&["decode", "tempo/charge"], 0),
        (&["decode", "hello"], 1),
        (&["openapi", &scene.url], 0),
        (&["openapi", NOBODY], 1),
        (&["llms", &scene.url], 0),
        (&["llms", &scene.url, "--full"], 0),
        (&["llms", NOBODY], 1),
        (&["manifest", &scene.url], 0),
        (&["manifest", NOBODY], 1),
        (&["manifest", &scene.url, "--check", "/nowhere/at/all"], 1),
        (&["describe", &scene.url], 0),
        (&["describe", &scene.url, "nothing"], 1),
        (&["validate", &scene.url], 0),
        (&["validate", NOBODY], 1),
        (&["register", &scene.url, "--dry-run"], 0),
        (&["register", NOBODY, "--dry-run"], 1),
        (&["completions", "zsh"], 0),
        (&["completions", "cmd"], 2),
        (&["man"], 0),
        (&["man", "wallet", "new"], 0),
        (&["man", "nothing"], 1),
    ];
    for (args, code) in cases {
        in_json(&scene, args, *code);
    }
    let manual = document(&scene.run(&["man", "--json"]));
    let commands = leaves(&manual);
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        let words: Vec<_> = command.split(' ').skip(1).collect();
        in_json(&scene, &[&words[..], &["--no-such-option"]].concat(), 2);
        let shows =
            |done: bool| cases.iter().any(|(args, code)| args.starts_with(&words) && done == (*code == 0));
        // What a server that goes on for ever says is looked at below.
        assert!(shows(true) || command == "mpp demo", "no case shows what {command} answers in JSON");
        assert!(shows(false), "no case shows how {command} fails in JSON");
    }
    let mut demo = scene.start(&["demo", "--json", "--port", "0"]);
    let mut line = String::new();
    BufReader::new(demo.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says where it is");
    let _ = demo.kill().and_then(|()| demo.wait());
    let said: Value = serde_json::from_str(&line).unwrap();
    assert!(said["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{line}");
}

/// The commands that have none below them, as they are typed.
fn leaves(page: &Value) -> Vec<&str> {
    match page["commands"].as_array().expect("a list").as_slice() {
        [] => vec![page["command"].as_str().expect("a name")],
        below => below.iter().flat_map(leaves).collect(),
    }
}

/// Runs a command with `--json`: one document on standard output, which is the answer, or the sentence that is on standard
/// error.
fn in_json(scene: &Scene, args: &[&str], code: u8) {
    let output = scene.run(&[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(i32::from(code)), "{args:?} {}", err(&output));
    let document = document(&output);
    let error = &document["error"];
    if code == 0 {
        assert!(error.is_null(), "{args:?} {document}");
        return;
    }
    assert_eq!((&error["exitCode"], &error["resume"]), (&json!(code), &Value::Null), "{args:?} {document}");
    let message = error["message"].as_str().expect("a sentence");
    match code {
        // How it is used is said to people alone.
        2 => {
            let said = err(&output).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.starts_with(&format!("error: {message}")) && !message.contains("--help"), "{said}");
        }
        _ => assert_eq!(err(&output), format!("mpp: {message}\n"), "{args:?}"),
    }
}

#[test]
fn json_is_asked_for_before_the_end_of_the_options_alone() {
    let scene = Scene::nobody();
    let asked = scene.run(&["--json", "--no-such-option"]);
    assert_eq!(document(&asked)["error"]["exitCode"], 2);
    for args in [&["--no-such-option"][..], &["secret", "--", "--json"]] {
        let output = scene.run(args);
        assert_eq!((output.status.code(), out(&output)), (Some(2), ""), "{args:?}");
    }
    let help = scene.run(&["secret", "--json", "--help"]);
    assert!(help.status.success() && out(&help).contains("Usage: mpp secret"), "{}", out(&help));
}

#[test]
fn what_a_manifest_differs_in_is_a_finding_and_no_failure() {
    let scene = Scene::set();
    let manifest = scene.run(&["manifest", "--json", &scene.url]);
    let check = |file: &str| {
        let output = scene.run(&["manifest", "--json", &scene.url, "--check", file]);
        (output.status.code(), document(&output))
    };
    let prices = scene.write("prices.json", out(&manifest));
    assert_eq!(check(&prices), (Some(0), json!({ "same": true, "diff": [] })));
    let dearer = scene.write("dearer.json", &out(&manifest).replace("\"50000\"", "\"60000\""));
    let (code, document) = check(&dearer);
    let diff: Vec<_> = document["diff"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((code, &document["same"]), (Some(1), &json!(false)));
    let has =
        |sign: &str, units: &str| diff.iter().any(|line| line.starts_with(sign) && line.contains(units));
    assert!(has("-", "60000") && has("+", "50000"), "{diff:?}");
}

#[test]
fn what_people_are_shown_is_in_the_document_word_for_word() {
    let scene = Scene::set();
    let shown = |args: &[&str]| out(&scene.run(args)).to_owned();
    let told = |args: &[&str]| document(&scene.run(&[args, &["--json"]].concat()));
    for (args, member) in [
        (&["llms", &scene.url][..], "text"),
        (&["config", "--explain"], "text"),
        (&["completions", "fish"], "script"),
        (&["man"], "roff"),
        (&["man", "wallet", "new"], "roff"),
    ] {
        let text = shown(args);
        assert!(text.len() > 100, "{args:?}");
        assert_eq!(told(args)[member], text, "{args:?}");
    }
    assert_eq!(told(&["completions", "fish"])["shell"], "fish");
}

#[test]
fn the_manual_says_what_every_command_takes() {
    let scene = Scene::nobody();
    let manual = document(&scene.run(&["man", "--json"]));
    assert_eq!(manual["command"], "mpp");
    let commands = manual["commands"].as_array().unwrap();
    let pay = commands.iter().find(|page| page["command"] == "mpp pay").expect("the page of `mpp pay`");
    assert_eq!(*pay, document(&scene.run(&["man", "pay", "--json"])));
    let argument = |name: &str| {
        let arguments = pay["arguments"].as_array().unwrap();
        arguments.iter().find(|argument| argument["name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(
        argument("--max"),
        json!({ "name": "--max", "value": "AMOUNT", "help": "Pay at most this much, in units of the currency", "required": false })
    );
    let yes = argument("--yes");
    assert!(yes["short"] == "-y" && yes.get("value").is_none() && yes.get("default").is_none(), "{yes}");
    assert_eq!(
        argument("--evm-pays-by")["choices"],
        json!(["authorization", "permit2", "transaction", "hash"])
    );
    assert!(pay["usage"].as_str().unwrap().starts_with("mpp pay "), "{}", pay["usage"]);
    // Every page that another one names can be printed, and is that of its command.
    let page = out(&scene.run(&["man"])).to_owned();
    let named: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("mpp\\-")?.strip_suffix("(1)")).collect();
    assert_eq!(named.len(), commands.len(), "{named:?}");
    for name in named {
        let page = scene.run(&["man", name]);
        let title = format!(".TH mpp-{name} 1  \"mpp {}\"", env!("CARGO_PKG_VERSION"));
        assert!(out(&page).contains(&title), "{}", out(&page));
    }
}
