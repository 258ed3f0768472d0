use crate::scene::{Scene, document, err, out, paid};

#[test]
fn a_request_is_quoted_paid_and_entered() {
    let scene = Scene::set();
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
    let scene = Scene::set();
    let refused = scene.run(&["pay", &scene.url("/weather")]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(err(&refused).contains("--yes") && out(&refused).is_empty(), "{}", err(&refused));
    let dry = scene.run(&["pay", "--dry-run", &scene.url("/weather")]);
    assert!(dry.status.success() && out(&dry).contains("0.05 usdc"), "{}", out(&dry));
    assert_eq!(scene.ledger(), []);
}

#[test]
fn no_payment_exceeds_what_the_command_or_the_configuration_allows() {
    let scene = Scene::set();
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
    let scene = Scene::set();
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
    let document = document(&json);
    assert_eq!(document["body"], "sunny, 21 degrees\n");
    assert_eq!(document["paid"]["cost"], "0.05 usdc");
    assert_eq!(scene.run(&["pay", &scene.url("/nowhere")]).status.code(), Some(0));
    assert_eq!(scene.run(&["pay", "--fail", &scene.url("/nowhere")]).status.code(), Some(22));
}

#[test]
fn a_key_is_made_listed_and_paid_with_and_needs_its_password() {
    let scene = Scene::set();
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
    let scene = Scene::set();
    let newcomer = Scene::nobody();
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
fn commands_that_start_at_once_in_a_new_home_share_one_key_of_play_money() {
    for _ in 0..3 {
        let scene = Scene::nobody();
        let commands: Vec<_> = (0..12).map(|_| scene.start(&["wallet", "address"])).collect();
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
