//! The built `mpp` command: what it prints, where, and with which exit code.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use mpp::protocol::{Challenge, ChallengeId, Credential, Secret, SecretRing, Slots, b64};
use tempfile::NamedTempFile;

const FAR: &str = "2999-01-01T00:00:00Z";
const PAST: &str = "2020-01-01T00:00:00Z";

fn mpp(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mpp"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // The command may stop reading at its limit, or not read at all.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    child.wait_with_output().expect("the command ends")
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

fn secret() -> Secret {
    Secret::from_bytes([7; 32]).expect("32 bytes")
}

fn challenge(expires: &str) -> Challenge {
    let request = b64::encode(r#"{"amount":"50000","currency":"usdc"}"#);
    let slots = Slots {
        realm: "api.example.com",
        method: "tempo",
        intent: "charge",
        request: &request,
        expires,
        ..Slots::default()
    };
    let id: ChallengeId = SecretRing::new(secret()).id(&slots);
    let header = format!(
        r#"Payment id="{id}", realm="api.example.com", method="tempo", intent="charge", request="{request}", expires="{expires}""#
    );
    Challenge::parse_all([header.as_str()]).offers.remove(0)
}

fn credential() -> Credential {
    let payload = [("signature".to_owned(), "0xspendable".into())].into_iter().collect();
    Credential { challenge: challenge(FAR), source: None, payload }
}

/// A file that is gone when the test ends.
fn file(content: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("the temporary folder is writable");
    std::fs::write(&file, content).expect("the temporary folder is writable");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("a text path")
}

#[test]
fn a_secret_is_fresh_hexadecimal_and_as_long_as_asked() {
    for (args, digits) in
        [(&["secret"][..], 64), (&["secret", "--bytes", "33"], 66), (&["secret", "--bytes", "100"], 200)]
    {
        let (one, two) = (mpp(args, b""), mpp(args, b""));
        assert!(one.status.success());
        assert_eq!(out(&one).trim_end().len(), digits);
        assert!(Secret::from_hex(out(&one)).is_ok());
        assert_ne!(out(&one), out(&two));
    }
}

#[test]
fn a_secret_of_fewer_than_32_bytes_is_wrong_usage() {
    for bytes in ["31", "0", "-1", "x", "99999999999999999999"] {
        let output = mpp(&["secret", &format!("--bytes={bytes}")], b"");
        assert_eq!(output.status.code(), Some(2), "{bytes}");
        assert!(out(&output).is_empty());
    }
}

#[test]
fn two_offers_in_one_line_are_explained_and_their_expiry_is_told() {
    let line = format!("{}, {}", challenge(FAR).to_header_value(), challenge(PAST).to_header_value());
    let output = mpp(&["decode"], line.as_bytes());
    assert!(output.status.success());
    let text = out(&output);
    assert!(text.contains("challenge (1 of 2)") && text.contains("challenge (2 of 2)"), "{text}");
    assert!(text.contains("expired   no, ") && text.contains("expired   yes"), "{text}");
    assert!(text.contains("50000 (0.05 usdc)"), "{text}");
}

#[test]
fn the_proof_in_a_credential_is_printed_only_when_asked_for() {
    let value = credential().to_header_value();
    for json in [&[][..], &["--json"]] {
        let hidden = mpp(&[&["decode"], json].concat(), value.as_bytes());
        assert!(hidden.status.success());
        assert!(out(&hidden).contains("signature"));
        assert!(!out(&hidden).contains("0xspendable"), "{}", out(&hidden));
        let shown = mpp(&[&["decode", "--show-payload"], json].concat(), value.as_bytes());
        assert!(out(&shown).contains("0xspendable"));
    }
}

#[test]
fn a_secret_file_tells_whose_challenge_it_is_also_after_a_rotation() {
    let mine = file(secret().expose_hex().as_bytes());
    let rotated = format!("{}\n\n{}\n", *Secret::generate().expose_hex(), *secret().expose_hex());
    let rotated = file(rotated.as_bytes());
    let other = file(Secret::generate().expose_hex().as_bytes());
    let good = challenge(FAR).to_header_value();
    let tampered = Challenge { realm: "evil.example".to_owned(), ..challenge(FAR) }.to_header_value();
    for (file, value, bound) in
        [(&mine, &good, true), (&rotated, &good, true), (&other, &good, false), (&mine, &tampered, false)]
    {
        let output = mpp(&["decode", "--json", "--secret-file", path(file), value], b"");
        assert!(output.status.success(), "{}", err(&output));
        let parsed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(parsed["found"][0]["bound"], bound);
    }
    let answered =
        mpp(&["decode", "--json", "--secret-file", path(&mine)], credential().to_header_value().as_bytes());
    let parsed: serde_json::Value = serde_json::from_slice(&answered.stdout).expect("JSON");
    assert_eq!(parsed["found"][0]["bound"], true);
}

#[test]
fn a_secret_file_that_cannot_be_used_is_named_and_its_content_is_not() {
    let empty = file(b"\n");
    let short = file(b"deadbeef\n");
    let words = file("correct horse battery staple correct horse battery".as_bytes());
    let binary = file(&[0xff; 64]);
    let huge = file(&vec![b'a'; 300 * 1024]);
    for file in [&empty, &short, &words, &binary, &huge] {
        let output = mpp(&["decode", "--secret-file", path(file), "tempo/charge"], b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains(path(file)), "{}", err(&output));
        assert!(!err(&output).contains("deadbeef") && !err(&output).contains("horse"), "{}", err(&output));
    }
    let missing = mpp(&["decode", "--secret-file", "/nowhere/at/all", "tempo/charge"], b"");
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("/nowhere/at/all"));
}

#[test]
fn garbage_is_one_sentence_on_standard_error_and_exit_code_1() {
    let large = vec![b'a'; 300 * 1024];
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let inputs: [&[u8]; 7] = [b"", b"hello", b"Payment", b"\xff\xfe", b"{", &large, deep.as_bytes()];
    for input in inputs {
        let output = mpp(&["decode", "-"], input);
        assert_eq!(output.status.code(), Some(1), "{}", out(&output));
        assert!(out(&output).is_empty());
        assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
        assert!(err(&output).starts_with("mpp: "), "{}", err(&output));
    }
}

#[test]
fn a_broken_offer_beside_a_good_one_is_a_warning() {
    let line = format!("Payment id=\"\", {}", challenge(FAR).to_header_value());
    let output = mpp(&["decode", &line], b"");
    assert!(output.status.success());
    assert!(out(&output).starts_with("challenge\n"));
    assert_eq!(err(&output), "mpp: refused: a payment challenge has no `id`\n");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [&[][..], &["decode", "--no-such-flag"], &["decode", "a", "b"], &["pay"]] {
        assert_eq!(mpp(args, b"").status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn nothing_a_terminal_would_act_on_is_printed() {
    let evil = serde_json::json!({
        "id": "x", "realm": "r\u{1b}[2J\u{9b}", "method": "tempo", "intent": "charge", "request": "e30", "description": "\u{202e}\r\n",
    });
    for args in [&["decode"][..], &["decode", "--json"]] {
        let output = mpp(args, evil.to_string().as_bytes());
        let printed = format!("{}{}", out(&output), err(&output));
        assert!(printed.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{printed:?}");
    }
}
