//! The built `mpp` command buying from `mpp demo`: what it pays, prints, keeps and refuses.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// A home of its own, and a server that takes play money. Both are gone when the test ends.
struct Scene {
    home: PathBuf,
    server: Option<Child>,
    url: String,
}

impl Scene {
    fn set(name: &str) -> Scene {
        let home = std::env::temp_dir().join(format!("mpp-pay-{name}-{}", std::process::id()));
        let mut command = mpp(&home);
        command.args(["demo", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().expect("the demo starts");
        let mut url = String::new();
        BufReader::new(server.stdout.take().expect("a pipe"))
            .read_line(&mut url)
            .expect("the demo says where it is");
        Scene { home, server: Some(server), url: url.trim().to_owned() }
    }

    /// A home alone.
    fn nobody(name: &str) -> Scene {
        let home = std::env::temp_dir().join(format!("mpp-pay-{name}-{}", std::process::id()));
        Scene { home, server: None, url: String::new() }
    }

    fn run(&self, args: &[&str]) -> Output {
        mpp(&self.home).args(args).stdin(Stdio::null()).output().expect("the command runs")
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::create_dir_all(&self.home).expect("a home");
        let path = self.home.join(name);
        std::fs::write(&path, text).expect("the home is writable");
        path.to_str().expect("a text path").to_owned()
    }

    /// State and amount of every payment in the ledger.
    fn ledger(&self) -> Vec<(String, String)> {
        let output = self.run(&["ledger", "--json"]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let payments = document["payments"].as_array().expect("a list");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        payments.iter().map(|one| (text(&one["outcome"]["state"]), text(&one["spent"][0]["units"]))).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn mpp(home: &PathBuf) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpp"));
    command.env("MPP_HOME", home);
    command
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

/// Hands one exchange on.
fn pass(proxy: &TcpListener, upstream: &str) {
    let (mut near, _) = proxy.accept().unwrap();
    let mut head = [0; 16 * 1024];
    let length = near.read(&mut head).unwrap();
    let mut far = TcpStream::connect(upstream).unwrap();
    let head = String::from_utf8_lossy(&head[..length]).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    far.write_all(head.as_bytes()).unwrap();
    std::io::copy(&mut far, &mut near).unwrap();
}

/// Answers one exchange without asking anybody.
fn answer(proxy: &TcpListener, head: &str, body: &str) {
    let (mut near, _) = proxy.accept().unwrap();
    let _ = near.read(&mut [0; 16 * 1024]).unwrap();
    let length = body.len();
    let text = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    near.write_all(text.as_bytes()).unwrap();
}

/// The entry that a failure says can be asked for again.
fn entry_in(output: &Output) -> String {
    err(output)
        .split("--resume ")
        .nth(1)
        .unwrap_or_else(|| panic!("{}", err(output)))
        .split('`')
        .next()
        .unwrap()
        .to_owned()
}

fn paid(units: &str) -> (String, String) {
    ("paid".to_owned(), units.to_owned())
}

#[test]
fn a_request_is_quoted_paid_and_entered() {
    let scene = Scene::set("happy");
    let quote = scene.run(&["quote", &scene.url("/weather")]);
    assert!(out(&quote).contains("0.05 usdc") && out(&quote).contains("yes"), "{}", out(&quote));
    assert_eq!(scene.ledger(), []);
    let bought = scene.run(&["pay", "--yes", &scene.url("/weather")]);
    assert_eq!(out(&bought), "sunny, 21 degrees\n");
    assert!(
        err(&bought).contains("mpp: paying 0.05 usdc") && err(&bought).contains("receipt sandbox-"),
        "{}",
        err(&bought)
    );
    let quiet = scene.run(&["pay", "-yq", &scene.url("/weather")]);
    assert_eq!((out(&quiet), err(&quiet)), ("sunny, 21 degrees\n", ""));
    let free = scene.run(&["pay", &scene.url("/")]);
    assert!(free.status.success() && err(&free).is_empty(), "what costs nothing asks nothing");
    assert_eq!(scene.ledger(), [paid("50000"), paid("50000")]);
    let csv = scene.run(&["ledger", "--csv"]);
    assert_eq!(out(&csv).lines().count(), 3);
}

#[test]
fn nobody_pays_without_being_asked_or_told() {
    let scene = Scene::set("asked");
    let refused = scene.run(&["pay", &scene.url("/weather")]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(err(&refused).contains("--yes") && out(&refused).is_empty(), "{}", err(&refused));
    let dry = scene.run(&["pay", "--dry-run", &scene.url("/weather")]);
    assert!(dry.status.success() && out(&dry).contains("0.05 usdc"), "{}", out(&dry));
    assert_eq!(scene.ledger(), []);
}

#[test]
fn no_payment_exceeds_what_the_command_or_the_configuration_allows() {
    let scene = Scene::set("limits");
    for args in [&["--max", "0.04"][..], &["--method", "tempo"]] {
        let refused = scene.run(&[&["pay", "-y"], args, &[&scene.url("/weather")]].concat());
        assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
        assert_eq!(err(&refused).lines().count(), 1);
        assert!(!err(&refused).contains("mpp config"), "{}", err(&refused));
    }
    let daily = scene.run(&["pay", "-y", "--max", "30", &scene.url("/gold")]);
    assert_eq!(daily.status.code(), Some(3), "the day's limit");
    assert!(err(&daily).contains("in 24 h") && err(&daily).contains("`mpp config`"), "{}", err(&daily));
    scene.write("config.toml", "[limits]\nper_day = \"0.12\"\n");
    for code in [0, 0, 3] {
        assert_eq!(scene.run(&["pay", "-y", &scene.url("/weather")]).status.code(), Some(code));
    }
    scene.write("config.toml", "[allow]\norigins = [\"https://api.example.com\"]\n");
    let refused = scene.run(&["pay", "-y", &scene.url("/weather")]);
    assert!(err(&refused).contains("does not allow payments to"), "{}", err(&refused));
    // What the configuration refuses says where it is; what the command itself refuses does not.
    assert!(err(&refused).contains("`mpp config`"), "{}", err(&refused));
    // What the configuration does not allow the command does not either.
    scene.write("config.toml", "[allow]\nmethods = [\"tempo\"]\n");
    let refused = scene.run(&["pay", "-y", "--method", "sandbox", &scene.url("/weather")]);
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    assert_eq!(scene.ledger().len(), 2);
}

#[test]
fn bodies_headers_and_files_go_as_with_curl() {
    let scene = Scene::set("curl");
    let file = scene.write("text", "from a file");
    for (args, expected) in [
        (&["-d", "hello"][..], "HELLO"),
        (&["-d", &format!("@{file}")], "FROM A FILE"),
        (&["-X", "POST", "-H", "content-type: text/plain", "-d", "x"], "X"),
    ] {
        let bought = scene.run(&[&["pay", "-yq"], args, &[&scene.url("/shout")]].concat());
        assert_eq!(out(&bought), expected, "{}", err(&bought));
    }
    let target = scene.home.join("answer");
    scene.run(&["pay", "-yq", "-o", target.to_str().unwrap(), &scene.url("/weather")]);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "sunny, 21 degrees\n");
    // What was there stays until there is something else.
    let refused =
        scene.run(&["pay", "-yq", "--max", "0.01", "-o", target.to_str().unwrap(), &scene.url("/weather")]);
    assert_eq!(refused.status.code(), Some(3));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "sunny, 21 degrees\n");
    scene.run(&["pay", "-yq", "-d", "x", "-o", target.to_str().unwrap(), &scene.url("/shout")]);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "X");
    let unmade = scene.home.join("unmade");
    scene.run(&["pay", "-yq", "--max", "0.01", "-o", unmade.to_str().unwrap(), &scene.url("/weather")]);
    assert!(!unmade.exists());
    let head = scene.run(&["pay", "-yqi", &scene.url("/weather")]);
    assert!(
        out(&head).starts_with("HTTP/1.1 200 OK\r\n") && out(&head).contains("payment-receipt: "),
        "{}",
        out(&head)
    );
    let json = scene.run(&["pay", "-yq", "--json", &scene.url("/weather")]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["body"], "sunny, 21 degrees\n");
    assert_eq!(document["paid"]["cost"], "0.05 usdc");
    assert_eq!(scene.run(&["pay", &scene.url("/nowhere")]).status.code(), Some(0));
    assert_eq!(scene.run(&["pay", "--fail", &scene.url("/nowhere")]).status.code(), Some(22));
}

#[test]
fn what_was_paid_and_lost_is_kept_and_bought_with_the_same_payment() {
    let scene = Scene::set("lost");
    // In between: the first exchange passes, the second is cut after its request, the third passes.
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weather", proxy.local_addr().unwrap());
    let exchanges = std::thread::spawn(move || {
        pass(&proxy, &upstream);
        let (mut near, _) = proxy.accept().unwrap();
        let _ = near.read(&mut [0; 16 * 1024]).unwrap();
        drop(near);
        pass(&proxy, &upstream);
    });
    let lost = scene.run(&["pay", "-yq", &url]);
    assert_eq!(lost.status.code(), Some(4), "{}", err(&lost));
    assert_eq!(err(&lost).lines().count(), 1);
    let entry = err(&lost).split("--resume ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    assert_eq!(scene.ledger(), [("unknown".to_owned(), "50000".to_owned())]);
    let kept = scene.home.join(format!("unsettled/{entry}.json"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let resumed = scene.run(&["pay", "--resume", &entry]);
    assert_eq!(out(&resumed), "sunny, 21 degrees\n", "{}", err(&resumed));
    exchanges.join().unwrap();
    assert_eq!(scene.ledger(), [paid("50000")]);
    assert!(!kept.exists());
    for unknown in [entry.as_str(), "../config", "x"] {
        let nothing = scene.run(&["pay", "--resume", unknown]);
        assert_eq!(nothing.status.code(), Some(1), "{}", err(&nothing));
    }
}

#[test]
fn an_error_after_a_payment_is_no_delivery_and_what_the_server_says_is_told_until_it_delivers() {
    let scene = Scene::set("undelivered");
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weather", proxy.local_addr().unwrap());
    let exchanges = std::thread::spawn(move || {
        let json = |status: &str| format!("{status}\r\ncontent-type: application/problem+json");
        pass(&proxy, &upstream);
        answer(&proxy, "404 Not Found\r\ncontent-type: text/plain", "no such\u{1b} city\n");
        answer(&proxy, &json("409 Conflict"), r#"{"detail":"use a new Idempotency-Key"}"#);
        answer(&proxy, &json("402 Payment Required"), r#"{"detail":"the bank is closed"}"#);
        answer(&proxy, "503 Service Unavailable", "");
        pass(&proxy, &upstream);
    });
    std::fs::create_dir_all(&scene.home).unwrap();
    let target = scene.home.join("answer");
    let missed = scene.run(&["pay", "-y", "-o", target.to_str().unwrap(), &url]);
    assert_eq!(missed.status.code(), Some(4), "{}", err(&missed));
    assert!(out(&missed).is_empty() && !target.exists(), "what was paid for goes there, and nothing else");
    let told: Vec<_> = err(&missed).lines().collect();
    assert_eq!(told.len(), 2, "that it pays, and how that ended: {told:?}");
    assert!(
        told[1].starts_with("mpp: 0.05 usdc may be paid, and the server answered 404 Not Found (\"no such"),
        "{told:?}"
    );
    assert!(!err(&missed).contains('\u{1b}'), "{told:?}");
    assert_eq!(scene.ledger(), [("unknown".to_owned(), "50000".to_owned())]);
    let entry = entry_in(&missed);
    for said in [
        "409 Conflict (\"use a new Idempotency-Key\")",
        "402 Payment Required (\"the bank is closed\")",
        "503 Service",
    ] {
        let again = scene.run(&["pay", "--json", "--resume", &entry]);
        assert_eq!(again.status.code(), Some(4), "{}", err(&again));
        assert!(err(&again).contains(said), "{}", err(&again));
        let document: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(document["error"]["resume"], entry, "it can be asked for once more");
    }
    let resumed = scene.run(&["pay", "--resume", &entry]);
    assert_eq!(out(&resumed), "sunny, 21 degrees\n", "{}", err(&resumed));
    exchanges.join().unwrap();
    assert_eq!(scene.ledger(), [paid("50000")]);
}

#[test]
fn who_tries_again_asks_with_what_was_paid_before_anything_is_paid_anew() {
    /// What happens to one exchange.
    enum Act {
        Pass,
        Lose,
        Answer(&'static str),
    }
    use Act::{Answer, Lose, Pass};
    /// Arguments, what happens to the exchanges, what is printed, the exit code, and whether it pays.
    type Try<'a> = (&'a [&'a str], Vec<Act>, &'a str, i32, bool);
    let scene = Scene::set("again");
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/shout", proxy.local_addr().unwrap());
    let tries: [Try<'_>; 11] = [
        (&["-d", "x"], vec![Pass, Lose], "", 4, true),
        (&["-d", "x"], vec![Lose], "", 4, false),
        (&["-d", "x"], vec![Answer("503 Service Unavailable")], "", 4, false),
        (&["-d", "x"], vec![Pass], "X", 0, false),
        (&["-d", "y"], vec![Pass, Answer("404 Not Found")], "", 4, true),
        // Other data, or another header, is another purchase.
        (&["-d", "z"], vec![Pass, Pass], "Z", 0, true),
        (&["-d", "y", "-H", "x-user: 2"], vec![Pass, Pass], "Y", 0, true),
        // What the server takes no more is tried once, and bought anew.
        (&["-d", "y"], vec![Answer("402 Payment Required"), Pass, Pass], "Y", 0, true),
        (&["-d", "y"], vec![Pass, Pass], "Y", 0, true),
        (&["-d", "w"], vec![Pass, Lose], "", 4, true),
        (&["-d", "w", "--anew"], vec![Pass, Pass], "W", 0, true),
    ];
    let (scripts, cases): (Vec<_>, Vec<_>) =
        tries.into_iter().map(|(args, acts, prints, code, pays)| (acts, (args, prints, code, pays))).unzip();
    let exchanges = std::thread::spawn(move || {
        for act in scripts.into_iter().flatten() {
            match act {
                Pass => pass(&proxy, &upstream),
                Lose => drop(proxy.accept().unwrap()),
                Answer(head) => answer(&proxy, head, ""),
            }
        }
    });
    for (number, (args, prints, code, pays)) in cases.into_iter().enumerate() {
        let output = scene.run(&[&["pay", "-y"], args, &[&url]].concat());
        let told = err(&output);
        assert_eq!((output.status.code(), out(&output)), (Some(code), prints), "{number}: {told}");
        assert_eq!(told.contains("mpp: paying 0.02 usdc"), pays, "{number}: {told}");
    }
    exchanges.join().unwrap();
    let states: Vec<_> = scene.ledger().into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["paid", "unknown", "paid", "paid", "paid", "paid", "unknown", "paid"]);
    let kept = std::fs::read_dir(scene.home.join("unsettled")).unwrap().count();
    assert_eq!(kept, 2, "what was never delivered stays, for whoever asks about it");
}

/// Sends a signal to a program.
#[cfg(unix)]
fn tell_to_end(program: &Child, signal: &str) {
    let told = Command::new("sh").args(["-c", &format!("kill -{signal} {}", program.id())]).status();
    assert!(told.expect("a shell").success());
}

#[cfg(unix)]
#[test]
fn whoever_stops_a_payment_keeps_what_was_paid() {
    use std::sync::mpsc::channel;
    let scene = Scene::set("stopped");
    for (signal, answered) in [("INT", false), ("TERM", false), ("INT", true)] {
        let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/weather", proxy.local_addr().unwrap());
        let (reached, is_reached) = channel();
        let (ended, is_ended) = channel::<()>();
        let exchanges = std::thread::spawn(move || {
            pass(&proxy, &upstream);
            let (mut near, _) = proxy.accept().unwrap();
            let _ = near.read(&mut [0; 16 * 1024]).unwrap();
            if answered {
                // The beginning of an answer, and no more.
                near.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\nsunny").unwrap();
            }
            reached.send(()).unwrap();
            let _ = is_ended.recv();
            drop(near);
            pass(&proxy, &upstream);
        });
        let mut command = mpp(&scene.home);
        command.args(["pay", "-yq", &url]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut paying = command.spawn().expect("the command starts");
        is_reached.recv().unwrap();
        if answered {
            paying.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        }
        tell_to_end(&paying, signal);
        let stopped = paying.wait_with_output().expect("it ends");
        ended.send(()).unwrap();
        assert_eq!(stopped.status.code(), Some(4), "{}", err(&stopped));
        assert!(err(&stopped).starts_with("mpp: stopped before"), "{}", err(&stopped));
        let (state, _) = scene.ledger().pop().unwrap();
        assert_eq!(state, if answered { "paid" } else { "unknown" });
        let resumed = scene.run(&["pay", "--resume", &entry_in(&stopped)]);
        assert_eq!(out(&resumed), "sunny, 21 degrees\n", "{}", err(&resumed));
        exchanges.join().unwrap();
        assert_eq!(scene.ledger().pop().unwrap(), paid("50000"));
    }
}

#[test]
fn what_is_neither_priced_nor_free_is_no_quote() {
    let scene = Scene::set("unpriced");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weather", server.local_addr().unwrap());
    let heads = [
        "401 Unauthorized",
        "404 Not Found",
        "405 Method Not Allowed",
        "415 Unsupported Media Type",
        "422 Unprocessable Entity",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ];
    let other = url.clone();
    let answers = std::thread::spawn(move || {
        for head in heads {
            for _ in 0..3 {
                answer(&server, &format!("{head}\r\ncontent-type: text/plain"), "because");
            }
        }
        // Of another protocol.
        answer(&server, "402 Payment Required\r\nwww-authenticate: L402 macaroon=x", "");
    });
    for head in heads {
        let (words, json) = (scene.run(&["quote", &other]), scene.run(&["quote", "--json", &other]));
        let dry = scene.run(&["pay", "--dry-run", &other]);
        assert_eq!([&words, &json, &dry].map(|output| output.status.code()), [Some(1); 3], "{head}");
        let said = format!("mpp: {other} is not priced: it answered {head} (\"because\")");
        assert!(err(&words).starts_with(&said) && out(&words).is_empty(), "{}", err(&words));
        let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(document["error"]["exitCode"], 1);
        assert!(document["error"]["message"].as_str().unwrap().contains(head), "{document}");
    }
    let foreign = scene.run(&["quote", &other]);
    assert_eq!(foreign.status.code(), Some(1), "{}", out(&foreign));
    assert!(err(&foreign).contains("no way to pay"), "{}", err(&foreign));
    answers.join().unwrap();
    assert_eq!(scene.run(&["quote", &scene.url("/")]).status.code(), Some(0), "free is an answer");
}

#[test]
fn an_answer_that_breaks_off_is_kept_with_its_payment() {
    let scene = Scene::set("broken");
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weather", proxy.local_addr().unwrap());
    let exchanges = std::thread::spawn(move || {
        pass(&proxy, &upstream);
        // The paid answer, without its last word.
        let (mut near, _) = proxy.accept().unwrap();
        let mut head = [0; 16 * 1024];
        let length = near.read(&mut head).unwrap();
        let mut far = TcpStream::connect(&upstream).unwrap();
        let head = String::from_utf8_lossy(&head[..length]).replacen("\r\n", "\r\nconnection: close\r\n", 1);
        far.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).unwrap();
        near.write_all(&answer[..answer.len() - 8]).unwrap();
    });
    let broken = scene.run(&["pay", "-yq", &url]);
    exchanges.join().unwrap();
    assert_eq!(broken.status.code(), Some(4), "{}", err(&broken));
    let entry = err(&broken).split("--resume ").nth(1).unwrap().split('`').next().unwrap();
    assert!(scene.home.join(format!("unsettled/{entry}.json")).exists());
    assert_eq!(scene.ledger(), [paid("50000")]);
}

#[test]
fn a_key_is_made_listed_and_paid_with_and_needs_its_password() {
    let scene = Scene::set("keys");
    let password = scene.write("password", "correct horse\n");
    let made = scene.run(&["wallet", "new", "main", "--password-file", &password]);
    let address = out(&made).trim().to_owned();
    assert!(address.starts_with("did:key:z6Mk"), "{}", err(&made));
    let again = scene.run(&["wallet", "new", "main", "--password-file", &password]);
    assert!(err(&again).contains("already"), "{}", err(&again));
    assert!(out(&scene.run(&["wallet", "list"])).contains(&address));
    assert_eq!(out(&scene.run(&["wallet", "address", "main"])).trim(), address);
    let pay = |password: &str| {
        scene.run(&["pay", "-yq", "--key-file", "main", "--password-file", password, &scene.url("/weather")])
    };
    assert_eq!(out(&pay(&password)), "sunny, 21 degrees\n");
    let wrong = scene.write("wrong", "incorrect horse\n");
    let refused = pay(&wrong);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        err(&refused).contains("the password is wrong") && !err(&refused).contains("horse"),
        "{}",
        err(&refused)
    );
    for name in ["", "../x", "a/b", "a.b"] {
        assert_eq!(scene.run(&["wallet", "address", name]).status.code(), Some(1), "{name}");
    }
}

#[test]
fn any_newcomer_can_pay_the_demo_and_an_empty_account_is_a_refusal_and_no_debt() {
    let scene = Scene::set("newcomer");
    let newcomer = Scene::nobody("newcomer-home");
    newcomer.write("config.toml", "[limits]\nper_request = \"30\"\nper_day = \"1000\"\n");
    for _ in 0..4 {
        let bought = newcomer.run(&["pay", "-yq", &scene.url("/gold")]);
        assert_eq!(out(&bought), "a picture of gold\n", "{}", err(&bought));
    }
    let empty = newcomer.run(&["pay", "-yq", &scene.url("/weather")]);
    assert_eq!(empty.status.code(), Some(3), "{}", err(&empty));
    assert!(err(&empty).contains("does not hold this much") && err(&empty).contains("nothing was paid"));
    let states: Vec<_> = newcomer.ledger().into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["paid", "paid", "paid", "paid", "released"]);
    assert!(!newcomer.home.join("unsettled").exists(), "there is nothing to resume");
}

#[test]
fn a_wrong_file_url_key_or_flag_is_one_sentence_with_a_hint() {
    let scene = Scene::set("wrong");
    let weather = scene.url("/weather");
    let not_a_key = scene.write("not-a-key", "{\"sealed\": \"geheim\"}");
    let password = scene.write("password", "geheim\n");
    let nowhere = "/nowhere/at/all";
    let sandbox_key = "main";
    scene.run(&["wallet", "new", sandbox_key, "--password-file", &password]);
    let damaged = Scene::nobody("damaged");
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
        (&["pay", "-y", "--method", "No Method!", &weather], "method"),
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
fn commands_that_start_at_once_in_a_new_home_share_one_key_of_play_money() {
    for round in 0..3 {
        let scene = Scene::nobody(&format!("first-{round}"));
        let commands: Vec<_> = (0..12)
            .map(|_| {
                let mut command = mpp(&scene.home);
                command.args(["wallet", "address"]).stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().expect("the command starts")
            })
            .collect();
        let mut addresses: Vec<_> = commands
            .into_iter()
            .map(|command| command.wait_with_output().expect("it ends"))
            .map(|output| format!("{}{}", out(&output), err(&output)))
            .collect();
        addresses.dedup();
        assert!(addresses.len() == 1 && addresses[0].starts_with("did:key:"), "{addresses:?}");
        let files: Vec<_> =
            std::fs::read_dir(&scene.home).unwrap().flatten().map(|file| file.file_name()).collect();
        assert_eq!(files, ["sandbox.key"]);
    }
}

#[test]
fn an_endless_answer_fills_no_memory_and_what_was_paid_is_kept() {
    let scene = Scene::set("endless");
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weather", proxy.local_addr().unwrap());
    let exchanges = std::thread::spawn(move || {
        pass(&proxy, &upstream);
        let (mut near, _) = proxy.accept().unwrap();
        let _ = near.read(&mut [0; 16 * 1024]).unwrap();
        let _ = near.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        let block = vec![b'x'; 1 << 20];
        // Until nobody wants any more.
        (0..).take_while(|_| near.write_all(&block).is_ok()).count()
    });
    let endless = scene.run(&["pay", "-yq", "--json", &url]);
    assert_eq!(endless.status.code(), Some(4), "{}", err(&endless));
    assert!(err(&endless).contains("larger than 64 MiB"), "{}", err(&endless));
    let sent = exchanges.join().unwrap();
    assert!((64..96).contains(&sent), "{sent} MiB");
    assert!(scene.home.join(format!("unsettled/{}.json", entry_in(&endless))).exists());
}

#[test]
fn a_user_in_a_url_goes_into_a_header_as_with_curl_and_into_nothing_that_is_kept_or_told() {
    let scene = Scene::set("user");
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let exchanges = std::thread::spawn(move || {
        pass(&proxy, &upstream);
        let (mut near, _) = proxy.accept().unwrap();
        let mut head = [0; 16 * 1024];
        let length = near.read(&mut head).unwrap();
        near.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8(head[..length].to_vec()).unwrap()
    });
    let missed = scene.run(&["pay", "-y", &format!("http://me:ge%3Aheim@{address}/weather")]);
    assert_eq!(missed.status.code(), Some(4), "{}", err(&missed));
    let head = exchanges.join().unwrap().to_lowercase();
    // me:ge:heim
    assert!(head.contains("authorization: basic bwu6z2u6agvpbq==, payment "), "{head}");
    let ledger = scene.run(&["ledger", "--json"]);
    for text in [err(&missed), out(&ledger)] {
        assert!(!text.contains("heim") && !text.contains("me:"), "{text}");
    }
    let kept = scene.home.join(format!("unsettled/{}.json", entry_in(&missed)));
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept["url"], format!("http://{address}/weather"));
}

#[test]
fn every_exit_code_is_one_that_the_readme_explains() {
    let scene = Scene::set("codes");
    let weather = scene.url("/weather");
    // Lets the first exchange through, and cuts the second one after its request.
    let cut = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weather", cut.local_addr().unwrap());
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let exchanges = std::thread::spawn(move || {
        pass(&cut, &upstream);
        drop(cut.accept().unwrap());
    });
    let cases: [(&[&str], u8); 6] = [
        (&["pay", "-yq", &weather], 0),
        (&["pay", "-yq", "weather"], 1),
        (&["pay", "--nonsense"], 2),
        (&["pay", "-yq", "--max", "0.01", &weather], 3),
        (&["pay", "-yq", &url], 4),
        (&["pay", "-yq", "--fail", &scene.url("/nowhere")], 22),
    ];
    let readme = include_str!("../README.md");
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
fn a_program_that_asks_for_json_gets_answers_and_failures_in_it() {
    let scene = Scene::set("json");
    let (weather, password) = (scene.url("/weather"), scene.write("password", "correct horse\n"));
    let cases: &[(&[&str], u8)] = &[
        (&["quote", "--json", &weather], 0),
        (&["pay", "-y", "--json", &weather], 0),
        (&["pay", "--dry-run", "--json", &weather], 0),
        (&["ledger", "--json"], 0),
        (&["wallet", "new", "main", "--password-file", &password, "--json"], 0),
        (&["wallet", "list", "--json"], 0),
        (&["wallet", "address", "main", "--json"], 0),
        (&["config", "--json"], 0),
        (&["secret", "--json"], 0),
        (&["decode", "--json", "tempo/charge"], 0),
        (&["openapi", "--json", &scene.url], 0),
        (&["llms", "--json", &scene.url], 0),
        (&["llms", "--json", "--full", &scene.url], 0),
        (&["manifest", "--json", &scene.url], 0),
        (&["describe", "--json", &scene.url], 0),
        (&["register", "--dry-run", "--json", &scene.url], 0),
        (&["openapi", "--json", "http://127.0.0.1:1"], 1),
        (&["llms", "--json", "http://127.0.0.1:1"], 1),
        (&["manifest", "--json", "http://127.0.0.1:1"], 1),
        (&["manifest", "--json", &scene.url, "--check", "/nowhere/at/all"], 1),
        (&["describe", "--json", &scene.url, "nothing"], 1),
        (&["register", "--dry-run", "--json", "http://127.0.0.1:1"], 1),
        (&["quote", "--json", &scene.url("/nowhere")], 1),
        (&["pay", "--json", &weather], 3),
        (&["pay", "-y", "--json", "--max", "0.01", &weather], 3),
        (&["pay", "-y", "--json", "http://127.0.0.1:1/x"], 1),
        (&["quote", "--json", "http://127.0.0.1:1/x"], 1),
        (&["wallet", "address", "nobody", "--json"], 1),
        (&["decode", "--json", "hello"], 1),
        (&["validate", "--json", "http://127.0.0.1:1"], 1),
    ];
    for (args, code) in cases {
        let output = scene.run(args);
        assert_eq!(output.status.code(), Some(i32::from(*code)), "{args:?} {}", err(&output));
        let document: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        if *code == 0 {
            assert!(document.get("error").is_none(), "{args:?} {document}");
        } else {
            assert_eq!(document["error"]["exitCode"], *code, "{args:?} {document}");
            let message = document["error"]["message"].as_str().expect("a sentence");
            assert_eq!(err(&output), format!("mpp: {message}\n"), "{args:?}");
            assert!(document["error"]["resume"].is_null(), "{args:?} {document}");
        }
    }
    // What a manifest differs in is a finding and no failure.
    let manifest = scene.run(&["manifest", "--json", &scene.url]);
    let prices = scene.write("prices.json", out(&manifest));
    let check = |file: &str| {
        let output = scene.run(&["manifest", "--json", &scene.url, "--check", file]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document)
    };
    assert_eq!(check(&prices), (0, serde_json::json!({ "same": true, "diff": [] })));
    let dearer = scene.write("dearer.json", &out(&manifest).replace("\"50000\"", "\"60000\""));
    let (code, document) = check(&dearer);
    let diff: Vec<_> = document["diff"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
    assert_eq!((code, &document["same"]), (1, &false.into()));
    let has =
        |sign: &str, units: &str| diff.iter().any(|line| line.starts_with(sign) && line.contains(units));
    assert!(has("-", "60000") && has("+", "50000"), "{diff:?}");
    let llms: serde_json::Value =
        serde_json::from_slice(&scene.run(&["llms", "--json", &scene.url]).stdout).unwrap();
    assert_eq!(llms["text"], out(&scene.run(&["llms", &scene.url])));
    // What was paid and not delivered names what can be asked for again.
    let cut = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weather", cut.local_addr().unwrap());
    let upstream = scene.url.strip_prefix("http://").unwrap().to_owned();
    let exchanges = std::thread::spawn(move || {
        pass(&cut, &upstream);
        drop(cut.accept().unwrap());
    });
    let lost = scene.run(&["pay", "-y", "--json", &url]);
    exchanges.join().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&lost.stdout).unwrap();
    assert_eq!(document["error"]["exitCode"], 4);
    let entry = document["error"]["resume"].as_str().unwrap();
    assert!(scene.home.join(format!("unsettled/{entry}.json")).exists());
    // And a server says where it is.
    let mut demo = mpp(&scene.home);
    let demo = demo.args(["demo", "--json", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut demo = demo.spawn().expect("the demo starts");
    let mut line = String::new();
    BufReader::new(demo.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says where it is");
    let _ = demo.kill().and_then(|()| demo.wait());
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(said["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{line}");
}

#[test]
fn the_configuration_explains_itself_and_shells_are_served() {
    let scene = Scene::set("config");
    let explained = scene.run(&["config", "--explain"]);
    scene.write("config.toml", out(&explained));
    let config = scene.run(&["config", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&config.stdout).unwrap();
    assert_eq!(document["limits"]["per_request"], "1");
    assert!(out(&scene.run(&["completions", "bash"])).contains("_mpp"));
    assert!(out(&scene.run(&["man"])).contains(".TH mpp"));
}
