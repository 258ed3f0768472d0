//! What stops the shop at start, each time with one sentence. The node is a listener that knows one answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A node of chain `id`, and nothing else. It lives as long as the test process.
fn node_of_chain(id: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut length = 0;
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut question = vec![0; length];
            reader.read_exact(&mut question).unwrap();
            // TIP-20 tokens live at 0x20c0…, and have six decimals.
            let question = String::from_utf8(question).unwrap().to_ascii_lowercase();
            let result = match question.contains(r#""to":"0x20c0"#) {
                true => format!("0x{:064x}", 6),
                false => format!("{id:#x}"),
            };
            let body = format!(r#"{{"jsonrpc":"2.0","id":0,"result":"{result}"}}"#);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            connection.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

/// Runs the shop to its end; it must not open.
fn stopped(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shop")).args(args).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is served");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_wrong_flag_is_one_sentence_and_exit_code_2() {
    for (args, said) in [
        (&[][..], "--tempo-rpc"),
        (&["--frobnicate"], "--frobnicate"),
        (&["--tempo-rpc", "http://x", "--recipient", RECIPIENT, "--listen", "here"], "--listen"),
        (&["--tempo-rpc", "http://x", "--recipient", RECIPIENT, "--store", "disk"], "`memory`, `file:PATH`"),
        (&["--tempo-rpc", "http://x", "--recipient", RECIPIENT, "--expires", "0"], "--expires"),
        (&["--tempo-rpc", "http://x", "--recipient", RECIPIENT, "--tempo-token", "usdc"], "--tempo-token"),
        (&["--evm-rpc", "http://x"], "--evm-key-file"),
        (&["--evm-token", RECIPIENT, "--stripe-key-file", "x"], "--evm-rpc"),
    ] {
        let (code, stderr) = stopped(args);
        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.starts_with("shop: ") && stderr.contains(said), "{stderr}");
    }
}

#[test]
fn a_wrong_configuration_is_one_sentence_and_exit_code_1() {
    let rpc = node_of_chain(31337);
    let folder = tempfile::tempdir().unwrap();
    let [missing, short, good] = ["missing", "short", "good"].map(|name| folder.path().join(name));
    std::fs::write(&short, "c0ffee").unwrap();
    std::fs::write(&good, "ab".repeat(32)).unwrap();
    let (missing, short, good) = (missing.to_str().unwrap(), short.to_str().unwrap(), good.to_str().unwrap());
    // 32 bytes in hexadecimal are a secret and a private key alike.
    let on_evm = |rpc: &str, more: &[&str]| {
        stopped(&[&["--listen", "127.0.0.1:0", "--evm-rpc", rpc, "--evm-key-file", good], more].concat())
    };
    let base = ["--listen", "127.0.0.1:0", "--recipient", RECIPIENT];
    let with = |more: &[&str]| stopped(&[&base, more].concat());
    for ((code, stderr), said) in [
        (with(&["--tempo-rpc", "http://127.0.0.1:1"]), "the RPC node at http://127.0.0.1:1 cannot be used"),
        (with(&["--tempo-rpc", "http://127.0.0.1:1", "--chain-id", "31337"]), "cannot be used"),
        (with(&["--tempo-rpc", "nowhere"]), "not an absolute http:// or https:// URL"),
        (with(&["--tempo-rpc", "http://example.org/a-k3y"]), "plain http to another machine (example.org)"),
        (with(&["--tempo-rpc", &rpc, "--chain-id", "4217"]), "serves chain 31337, not chain 4217"),
        (
            with(&["--tempo-rpc", &rpc, "--tempo-token", "pathusd=0x20c0"]),
            "the token \"pathusd\" is not usable",
        ),
        (
            with(&["--tempo-rpc", &rpc, "--tempo-token", &format!("pathusd={RECIPIENT}")]),
            "is not a TIP-20 token",
        ),
        (with(&["--tempo-rpc", &rpc, "--public-url", "http://shop.example"]), "shop.example"),
        (with(&["--tempo-rpc", &rpc, "--split-payee", "0x12"]), "the payee \"platform\" is not usable"),
        (with(&["--tempo-rpc", &rpc, "--fee-payer-key-file", missing]), "cannot read the fee payer's key"),
        (
            with(&["--tempo-rpc", &rpc, "--fee-payer-key-file", short]),
            "the sponsor's key is not a private key",
        ),
        (with(&["--tempo-rpc", &rpc, "--secret-file", missing]), "cannot read the secret"),
        (with(&["--tempo-rpc", &rpc, "--secret-file", short]), "is not usable"),
        (
            with(&["--tempo-rpc", &rpc, "--store", "file:/nonexistent/folder/shop"]),
            "/nonexistent/folder/shop",
        ),
        (with(&["--tempo-rpc", &rpc, "--store", "redis://:pa55@127.0.0.1:1"]), "say --secret-file"),
        (
            with(&["--tempo-rpc", &rpc, "--store", "redis://:pa55@127.0.0.1:1", "--secret-file", good]),
            "Redis cannot be reached",
        ),
        (
            with(&["--tempo-rpc", &rpc, "--store", "postgres://a:pa55@127.0.0.1:1/b", "--secret-file", good]),
            "PostgreSQL cannot be reached",
        ),
        (stopped(&["--listen", "127.0.0.1:0", "--tempo-rpc", &rpc, "--recipient", "0x7099"]), "recipient"),
        (on_evm("http://127.0.0.1:1", &[]), "the RPC node at http://127.0.0.1:1 cannot be used"),
        (on_evm("http://example.org/a-k3y", &[]), "plain http to another machine (example.org)"),
        (on_evm(&rpc, &[]), "no USDC is known on chain 31337: say --evm-token"),
        (on_evm(&rpc, &["--evm-token", "0x12"]), "the token \"usdc\" is not usable"),
        (on_evm(&rpc, &["--evm-token", RECIPIENT, "--recipient", "0x7099"]), "recipient"),
        (
            stopped(&["--listen", "127.0.0.1:0", "--evm-rpc", &rpc, "--evm-key-file", missing]),
            "cannot read the settlement key",
        ),
        (
            stopped(&["--listen", "127.0.0.1:0", "--evm-rpc", &rpc, "--evm-key-file", short]),
            "holds no private key",
        ),
        (
            stopped(&["--listen", "192.0.2.1:80", "--tempo-rpc", &rpc, "--recipient", RECIPIENT]),
            "cannot listen",
        ),
    ] {
        assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
        assert!(stderr.starts_with("shop: ") && stderr.contains(said), "{said}: {stderr}");
        assert!(!stderr.contains("abab") && !stderr.contains("c0ffee"), "{stderr}");
        assert!(!stderr.contains("-k3y") && !stderr.contains("pa55"), "{stderr}");
        // One mistake is one sentence, not another one for each price that it concerns.
        assert!(!stderr.contains("routes.rs"), "{stderr}");
    }
}

#[test]
fn the_help_explains_every_flag_and_its_default() {
    let output = Command::new(env!("CARGO_BIN_EXE_shop")).arg("--help").output().unwrap();
    // clap breaks lines to the width of the terminal it finds.
    let help = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success());
    for flag in [
        "--listen",
        "--tempo-rpc",
        "--recipient",
        "--chain-id",
        "--tempo-token",
        "--fee-payer-key-file",
        "--split-payee",
        "--evm-rpc",
        "--evm-token",
        "--evm-key-file",
        "--public-url",
        "--secret-file",
        "--store",
        "--expires",
        "--drain",
        "[default: 127.0.0.1:4100]",
        "[default: memory]",
        "[default: 300]",
        "/units/<n>",
    ] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
}

#[test]
fn a_shop_that_may_open_challenges_for_its_prices() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["--listen", "127.0.0.1:0", "--tempo-rpc", &node_of_chain(31337), "--recipient", RECIPIENT])
        .args(["--store", &format!("file:{}", folder.path().join("journal").display())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(shop.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().rsplit('/').next().unwrap().parse().unwrap();
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    connection.write_all(b"GET /charge HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    shop.kill().unwrap();
    shop.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 402 "), "{answer}");
    assert!(
        answer.contains("www-authenticate: Payment id=\"") && answer.contains("realm=\"127.0.0.1\""),
        "{answer}"
    );
}
