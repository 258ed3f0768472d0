use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mpp::Clock as _;
use mpp::protocol::b64;
use serde_json::json;

use crate::between::Between;
use crate::scene::{Scene, document, entry_in, err, out, paid};

/// Sends a signal to a program.
fn tell_to_end(program: &Child, signal: &str) {
    let told = Command::new("sh").args(["-c", &format!("kill -{signal} {}", program.id())]).status();
    assert!(told.expect("a shell").success());
}

/// Waits until the other end is reached; that takes a fraction of it, and a command that has failed before never gets there.
fn waits(is_reached: &Receiver<()>) {
    is_reached.recv_timeout(Duration::from_secs(60)).expect("it gets there");
}

/// Hands everything on until a payment comes, which waits then.
fn until_a_payment(server: &Between) -> std::net::TcpStream {
    loop {
        let (mut near, request) = server.take();
        // What is sent to see whether it is refused is shorter.
        let is_payment = |line: &str| line.starts_with("authorization: Payment ") && line.len() > 100;
        if request.lines().any(is_payment) {
            return near;
        }
        near.write_all(&server.ask(&request)).unwrap();
    }
}

/// Whether the tests were started under `nohup`: so is what they start, and a closed terminal stops none of it.
fn under_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(ignored.trim(), 16).expect("a mask") & 1 == 1
}

#[test]
fn whoever_stops_a_payment_keeps_what_was_paid() {
    let scene = Scene::set();
    let stops = [("INT", false), ("TERM", false), ("HUP", false), ("INT", true)];
    for (signal, answered) in stops.into_iter().filter(|(signal, _)| *signal != "HUP" || !under_nohup()) {
        let (reached, is_reached) = channel();
        let (ended, is_ended) = channel::<()>();
        let (url, exchanges) = scene.between(move |server| {
            let mut near = until_a_payment(server);
            if answered {
                // The beginning of an answer, and no more.
                near.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\nsunny").unwrap();
            }
            reached.send(()).unwrap();
            let _ = is_ended.recv();
            drop(near);
            server.pass();
        });
        let mut paying = scene.start(&["pay", "-yq", &format!("{url}/weather")]);
        waits(&is_reached);
        if answered {
            paying.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        }
        tell_to_end(&paying, signal);
        let stopped = paying.wait_with_output().expect("it ends");
        ended.send(()).unwrap();
        assert_eq!(stopped.status.code(), Some(4), "{signal}: {}", err(&stopped));
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
fn whoever_stops_a_validation_that_pays_keeps_what_was_paid_and_nothing_more_is_bought() {
    let scene = Scene::set();
    for (signal, is_for_a_program) in [("INT", false), ("TERM", true)] {
        let before = scene.ledger().len();
        let (reached, is_reached) = channel();
        let (ended, is_ended) = channel::<()>();
        let (url, exchanges) = scene.between(move |server| {
            let near = until_a_payment(server);
            reached.send(()).unwrap();
            let _ = is_ended.recv();
            drop(near);
            server.pass();
        });
        let json = if is_for_a_program { &["--json"][..] } else { &[] };
        let validating = scene.start(&[&["validate", "--pay", "--yes", &url], json].concat());
        waits(&is_reached);
        tell_to_end(&validating, signal);
        let stopped = validating.wait_with_output().expect("it ends");
        ended.send(()).unwrap();
        assert_eq!(stopped.status.code(), Some(4), "{signal}: {}", err(&stopped));
        assert!(
            err(&stopped).contains("\nmpp: stopped before the answer to a payment of 0.02 usdc"),
            "{}",
            err(&stopped)
        );
        let entry = entry_in(&stopped);
        if is_for_a_program {
            let error = &document(&stopped)["error"];
            assert_eq!((&error["exitCode"], &error["resume"]), (&4.into(), &entry.as_str().into()));
        }
        let bought = scene.ledger().split_off(before);
        assert_eq!(bought, [("unknown".to_owned(), "20000".to_owned())]);
        let resumed = scene.run(&["pay", "--resume", &entry]);
        assert!(resumed.status.success(), "{}", err(&resumed));
        exchanges.join().unwrap();
        assert_eq!(scene.ledger().pop().unwrap(), paid("20000"));
    }
}

#[test]
fn whoever_stops_a_validation_between_two_payments_is_told_that_nothing_is_lost() {
    let scene = Scene::set();
    let (reached, is_reached) = channel();
    let (url, exchanges) = scene.between(move |server| {
        let (mut near, mut request) = server.take();
        let mut payments = 0;
        // The credential that was delivered is sent again, to see that it opens nothing: that one waits.
        loop {
            payments += usize::from(
                request.lines().any(|line| line.len() > 100 && line.starts_with("authorization: ")),
            );
            if payments == 2 {
                reached.send(()).unwrap();
                // Until the command has gone.
                return near.read(&mut [0; 1]).unwrap_or(0);
            }
            near.write_all(&server.ask(&request)).unwrap();
            (near, request) = server.take();
        }
    });
    let validating = scene.start(&["validate", "--pay", "--yes", &url]);
    waits(&is_reached);
    tell_to_end(&validating, "INT");
    let stopped = validating.wait_with_output().expect("it ends");
    assert_eq!(exchanges.join().unwrap(), 0);
    assert_eq!(stopped.status.code(), Some(1), "{}", err(&stopped));
    assert!(err(&stopped).ends_with("mpp: stopped; `mpp ledger` lists what was paid\n"), "{}", err(&stopped));
    assert_eq!(scene.ledger(), [paid("20000")]);
    assert!(!scene.home.join("unsettled").exists());
}

#[test]
fn whoever_stops_a_wallet_that_takes_its_time_is_told_and_can_ask_twice() {
    enum Then {
        Declines,
        Pays,
        StopAgain,
    }
    let scene = Scene::nobody();
    for (then, code, state) in
        [(Then::Declines, 3, "released"), (Then::Pays, 4, "unknown"), (Then::StopAgain, 4, "open")]
    {
        let (shop, sells) = scene.between(|server| {
            let details = json!({ "networkId": "profile_1", "paymentMethodTypes": ["card"] });
            let request = json!({ "amount": "50", "currency": "usd", "methodDetails": details });
            let request = b64::encode(request.to_string());
            let expires = (mpp::SystemClock.now() + Duration::from_secs(300)).to_rfc3339();
            let challenge = format!(
                r#"Payment id="x7Tg", realm="127.0.0.1", method="stripe", intent="charge", request="{request}", expires="{expires}""#
            );
            server.answer(&format!("402 Payment Required\r\nwww-authenticate: {challenge}"), "");
        });
        // What makes tokens, at its leisure.
        let (reached, is_reached) = channel();
        let (answer, may_answer) = channel::<&str>();
        let (backend, makes) = scene.between(move |server| {
            let (mut near, _) = server.take();
            reached.send(()).unwrap();
            if let Ok(answer) = may_answer.recv() {
                near.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut paying = scene.start(&["pay", "-y", "--stripe-tokens", &backend, &shop]);
        waits(&is_reached);
        let mut told = BufReader::new(paying.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(told.next().unwrap().starts_with("mpp: paying 0.5 usd"));
        tell_to_end(&paying, "INT");
        assert!(told.next().unwrap().contains("once more ends it now"));
        match then {
            Then::Declines => {
                answer.send("HTTP/1.1 402 Payment Required\r\ncontent-length: 0\r\n\r\n").unwrap()
            }
            Then::Pays => {
                answer.send("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"spt\":\"spt_1Ab\"}").unwrap()
            }
            Then::StopAgain => tell_to_end(&paying, "INT"),
        }
        let last = told.last().unwrap();
        assert_eq!(paying.wait().unwrap().code(), Some(code), "{last}");
        assert_eq!(last.contains("--resume"), matches!(then, Then::Pays), "{last}");
        drop(answer);
        sells.join().unwrap();
        makes.join().unwrap();
        assert_eq!(scene.ledger().pop().unwrap(), (state.to_owned(), "50".to_owned()), "{last}");
    }
}

#[cfg(target_os = "linux")] // which says what a program ignores
#[test]
fn a_payment_that_outlives_its_terminal_goes_on_when_that_is_closed() {
    let scene = Scene::set();
    let (reached, is_reached) = channel();
    let (told, is_told) = channel::<()>();
    let (url, exchanges) = scene.between(move |server| {
        server.pass();
        let (mut near, payment) = server.take();
        reached.send(()).unwrap();
        is_told.recv().unwrap();
        near.write_all(&server.ask(&payment)).unwrap();
    });
    // As `nohup` starts it.
    let line = format!("trap '' HUP; exec '{}' pay -yq {url}/weather", env!("CARGO_BIN_EXE_mpp"));
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env("MPP_HOME", &scene.home);
    let paying =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    waits(&is_reached);
    tell_to_end(&paying, "HUP");
    told.send(()).unwrap();
    let bought = paying.wait_with_output().unwrap();
    assert_eq!(out(&bought), "sunny, 21 degrees\n", "{}", err(&bought));
    exchanges.join().unwrap();
}
