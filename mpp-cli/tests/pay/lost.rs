use std::io::Write as _;

use crate::scene::{Scene, document, entry_in, err, out, paid};

#[test]
fn what_was_paid_and_lost_is_kept_and_bought_with_the_same_payment() {
    let scene = Scene::set();
    let (url, exchanges) = scene.between(|server| {
        server.pass();
        server.lose();
        server.pass();
    });
    let lost = scene.run(&["pay", "-yq", &format!("{url}/weather")]);
    assert_eq!(lost.status.code(), Some(4), "{}", err(&lost));
    assert_eq!(err(&lost).lines().count(), 1);
    let entry = entry_in(&lost);
    assert_eq!(scene.ledger(), [("unknown".to_owned(), "50000".to_owned())]);
    let kept = scene.kept(&entry);
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
fn what_is_delivered_at_last_is_not_withheld_for_a_ledger_that_does_not_know_it() {
    let scene = Scene::set();
    let (url, exchanges) = scene.between(|server| {
        server.pass();
        server.lose();
        server.pass();
    });
    let lost = scene.run(&["pay", "-yq", &format!("{url}/weather")]);
    let entry = entry_in(&lost);
    std::fs::remove_file(scene.home.join("spent.jsonl")).unwrap();
    let resumed = scene.run(&["pay", "--resume", &entry]);
    exchanges.join().unwrap();
    assert_eq!((out(&resumed), resumed.status.code()), ("sunny, 21 degrees\n", Some(0)), "{}", err(&resumed));
    assert!(
        err(&resumed).contains("not written down") && err(&resumed).contains(&entry),
        "{}",
        err(&resumed)
    );
    assert!(!scene.kept(&entry).exists());
}

#[test]
fn an_error_after_a_payment_is_no_delivery_and_what_the_server_says_is_told_until_it_delivers() {
    let scene = Scene::set();
    let (url, exchanges) = scene.between(|server| {
        let json = |status: &str| format!("{status}\r\ncontent-type: application/problem+json");
        server.pass();
        server.answer("404 Not Found\r\ncontent-type: text/plain", "no such\u{1b} city\n");
        server.answer(&json("409 Conflict"), r#"{"detail":"use a new Idempotency-Key"}"#);
        server.answer(&json("402 Payment Required"), r#"{"detail":"the bank is closed"}"#);
        server.answer("503 Service Unavailable", "");
        server.pass();
    });
    std::fs::create_dir_all(&scene.home).unwrap();
    let target = scene.home.join("answer");
    let missed = scene.run(&["pay", "-y", "-o", target.to_str().unwrap(), &format!("{url}/weather")]);
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
        assert_eq!(document(&again)["error"]["resume"], entry, "it can be asked for once more");
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
    let scene = Scene::set();
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
    let (url, exchanges) = scene.between(|server| {
        for act in scripts.into_iter().flatten() {
            match act {
                Pass => server.pass(),
                Lose => server.lose(),
                Answer(head) => server.answer(head, ""),
            }
        }
    });
    let url = format!("{url}/shout");
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

#[test]
fn an_answer_that_breaks_off_is_kept_with_its_payment() {
    let scene = Scene::set();
    let (url, exchanges) = scene.between(|server| {
        server.pass();
        // The paid answer, without its last word.
        let (mut near, request) = server.take();
        let answer = server.ask(&request);
        near.write_all(&answer[..answer.len() - 8]).unwrap();
    });
    let broken = scene.run(&["pay", "-yq", &format!("{url}/weather")]);
    exchanges.join().unwrap();
    assert_eq!(broken.status.code(), Some(4), "{}", err(&broken));
    assert!(scene.kept(&entry_in(&broken)).exists());
    assert_eq!(scene.ledger(), [paid("50000")]);
}

#[test]
fn an_endless_answer_fills_no_memory_and_what_was_paid_is_kept() {
    let scene = Scene::set();
    let (url, exchanges) = scene.between(|server| {
        server.pass();
        let (mut near, _) = server.take();
        let _ = near.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        let block = vec![b'x'; 1 << 20];
        // Until nobody wants any more.
        (0..).take_while(|_| near.write_all(&block).is_ok()).count()
    });
    let endless = scene.run(&["pay", "-yq", "--json", &format!("{url}/weather")]);
    assert_eq!(endless.status.code(), Some(4), "{}", err(&endless));
    assert!(err(&endless).contains("larger than 64 MiB"), "{}", err(&endless));
    let sent = exchanges.join().unwrap();
    assert!((64..96).contains(&sent), "{sent} MiB");
    assert!(scene.kept(&entry_in(&endless)).exists());
}

#[test]
fn a_user_in_a_url_goes_into_a_header_as_with_curl_and_into_nothing_that_is_kept_or_told() {
    let scene = Scene::set();
    let (url, exchanges) = scene.between(|server| {
        server.pass();
        let (mut near, request) = server.take();
        near.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        request
    });
    let address = url.trim_start_matches("http://");
    let missed = scene.run(&["pay", "-y", &format!("http://me:ge%3Aheim@{address}/weather")]);
    assert_eq!(missed.status.code(), Some(4), "{}", err(&missed));
    let head = exchanges.join().unwrap().to_lowercase();
    // me:ge:heim
    assert!(head.contains("authorization: basic bwu6z2u6agvpbq==, payment "), "{head}");
    let ledger = scene.run(&["ledger", "--json"]);
    for text in [err(&missed), out(&ledger)] {
        assert!(!text.contains("heim") && !text.contains("me:"), "{text}");
    }
    let kept = std::fs::read(scene.kept(&entry_in(&missed))).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["url"], format!("http://{address}/weather"));
}
