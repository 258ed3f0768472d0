//! The terminal is the one of `script` (util-linux), so that the command cannot tell it from a real one.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::scene::{Scene, mpp};

/// The longest that anything is waited for; it takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program in a terminal of its own.
struct Terminal {
    program: Child,
    keyboard: ChildStdin,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn run(scene: &Scene, environment: &[(&str, &str)], args: &[&str]) -> Terminal {
        let words = [&[env!("CARGO_BIN_EXE_mpp")], args].concat();
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        // The first line says which terminal it is.
        let line = format!("tty; exec {}", words.join(" "));
        let mut program = Command::new("script");
        program
            .args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
            .env("MPP_HOME", &scene.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut program = with(&mut program, environment).spawn().expect("util-linux has `script`");
        let keyboard = program.stdin.take().expect("a pipe");
        let mut output = program.stdout.take().expect("a pipe");
        let (said, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                if said.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { program, keyboard, screen, shown: String::new() }
    }

    /// Waits until this is on the screen.
    fn shows(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let Ok(more) = self.screen.recv_timeout(PATIENCE) else {
                panic!("no {text:?} in {:?}", self.shown);
            };
            self.shown += &String::from_utf8_lossy(&more);
        }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).and_then(|()| self.keyboard.flush()).expect("it listens");
    }

    /// Types what the terminal does not repeat, once it no longer does.
    fn types_unseen(&mut self, text: &str) {
        let name = self.shown.lines().next().expect("the first line").trim().to_owned();
        let begun = Instant::now();
        loop {
            let state =
                Command::new("stty").args(["-F", &name, "-a"]).output().expect("coreutils has `stty`");
            if String::from_utf8_lossy(&state.stdout).split_whitespace().any(|word| word == "-echo") {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} repeats what is typed");
        }
        self.types(text);
    }

    /// Everything that was shown, and the exit code.
    fn ends(mut self) -> (String, i32) {
        while let Ok(more) = self.screen.recv_timeout(PATIENCE) {
            self.shown += &String::from_utf8_lossy(&more);
        }
        let status = self.program.wait().expect("it ends");
        (self.shown.clone(), status.code().expect("a code"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
    }
}

/// Both streams, of a command that no terminal sees.
fn piped(scene: &Scene, environment: &[(&str, &str)], args: &[&str]) -> Output {
    with(mpp(&scene.home).args(args).stdin(Stdio::null()), environment).output().expect("it runs")
}

/// In this environment, whatever the one of the tests says about colours; a continuous integration's `CI` asks for them everywhere.
fn with<'a>(command: &'a mut Command, environment: &[(&str, &str)]) -> &'a mut Command {
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm").envs(environment.iter().copied())
}

const ESCAPE: char = '\u{1b}';

#[test]
fn a_person_is_asked_and_only_a_yes_pays() {
    let scene = Scene::set();
    for (answer, code) in [("n\n", 3), ("\n", 3), ("yess\n", 3), ("\u{4}", 3), ("y\n", 0), ("YES\n", 0)] {
        let before = scene.ledger().len();
        let mut terminal = Terminal::run(&scene, &[], &["pay", &scene.url("/weather")]);
        terminal.shows("Pay 0.05 usdc by sandbox to http://127.0.0.1:");
        terminal.shows("for GET /weather? [y/N] ");
        terminal.types(answer);
        let (shown, ended) = terminal.ends();
        assert_eq!(ended, code, "{answer:?}: {shown}");
        assert_eq!(shown.contains("sunny"), code == 0, "{answer:?}: {shown}");
        assert_eq!(shown.contains("you said no"), code == 3, "{answer:?}: {shown}");
        assert_eq!(scene.ledger().len() - before, usize::from(code == 0), "{answer:?}");
    }
}

#[test]
fn ctrl_c_at_a_question_ends_the_command_also_after_a_payment() {
    let scene = Scene::set();
    let mut terminal = Terminal::run(&scene, &[], &["validate", "--pay", &scene.url]);
    terminal.shows("Pay 0.02 usdc by sandbox");
    terminal.types("y\n");
    terminal.shows("Pay 0.05 usdc by sandbox");
    terminal.types("\u{3}");
    let (shown, code) = terminal.ends();
    assert!(code == 1 && shown.contains("mpp: stopped; `mpp ledger` lists"), "{code} {shown}");
    assert_eq!(scene.ledger().len(), 1);
}

#[test]
fn what_is_waited_for_is_shown_at_a_terminal_alone() {
    let scene = Scene::set();
    for (environment, quiet, shown_there) in [
        (&[][..], &[][..], true),
        (&[("NO_COLOR", "1")], &[], true),
        (&[("TERM", "dumb")], &[], false),
        (&[], &["--quiet"], false),
    ] {
        let (arrived, has_arrived) = channel();
        let (goes_on, may_go_on) = channel::<()>();
        let (slow, _) = scene.between(move |server| {
            server.pass();
            let (mut near, payment) = server.take();
            arrived.send(()).expect("somebody waits");
            may_go_on.recv().expect("it goes on");
            near.write_all(&server.ask(&payment)).expect("somebody waits");
        });
        let slow = format!("{slow}/weather");
        let mut terminal =
            Terminal::run(&scene, environment, &[&["pay", "--yes", &slow][..], quiet].concat());
        has_arrived.recv_timeout(PATIENCE).expect("a payment arrives");
        if shown_there {
            terminal.shows("the server confirms the payment");
        }
        goes_on.send(()).expect("it waits");
        let (shown, code) = terminal.ends();
        assert_eq!(code, 0, "{shown}");
        assert!(shown.contains("sunny"), "{shown}");
        assert_eq!(shown.contains(ESCAPE), shown_there, "{environment:?} {quiet:?} {shown:?}");
        assert_eq!(shown.contains("mpp: paying 0.05 usdc"), quiet.is_empty(), "{shown}");
    }
    let bought = piped(&scene, &[], &["pay", "--yes", &scene.url("/weather")]);
    let told = String::from_utf8_lossy(&bought.stderr).into_owned();
    assert!(told.starts_with("mpp: paying") && !told.contains(ESCAPE) && !told.contains('\r'), "{told:?}");
    assert!(!told.contains("confirms"), "{told:?}");
}

#[test]
fn colours_are_for_terminals_and_can_be_switched_off() {
    let scene = Scene::set();
    for args in [&["pay", "--nonsense"][..], &["--help"], &["pay", "--max", "ten", "x"]] {
        let coloured = |environment: &[_]| Terminal::run(&scene, environment, args).ends().0.contains(ESCAPE);
        assert!(coloured(&[]), "{args:?}");
        assert!(!coloured(&[("NO_COLOR", "1")]) && !coloured(&[("TERM", "dumb")]), "{args:?}");
        let output = piped(&scene, &[], args);
        assert!(![output.stdout, output.stderr].concat().contains(&(ESCAPE as u8)), "{args:?}");
    }
    // What is printed about money has none anywhere.
    for args in [&["quote", &scene.url("/weather")][..], &["ledger"], &["config"], &["secret"]] {
        let (shown, code) = Terminal::run(&scene, &[], args).ends();
        assert!(code == 0 && !shown.contains(ESCAPE), "{args:?} {shown:?}");
    }
}

#[test]
fn a_password_is_asked_for_twice_and_never_shown() {
    let scene = Scene::set();
    for (again, made) in [("correct hose", false), ("correct horse", true)] {
        let mut terminal = Terminal::run(&scene, &[], &["wallet", "new", "main"]);
        terminal.shows("Password for the new key: ");
        terminal.types_unseen("correct horse\n");
        terminal.shows("The same again: ");
        terminal.types_unseen(&format!("{again}\n"));
        let (shown, code) = terminal.ends();
        assert_eq!((code == 0, shown.contains("did:key:")), (made, made), "{shown}");
        assert!(!shown.contains("horse") && !shown.contains("hose"), "{shown}");
    }
    let mut terminal =
        Terminal::run(&scene, &[], &["pay", "-yq", "--key-file", "main", &scene.url("/weather")]);
    terminal.shows("Password for ");
    terminal.types_unseen("correct horse\n");
    let (shown, code) = terminal.ends();
    assert!(code == 0 && shown.contains("sunny") && !shown.contains("horse"), "{shown}");
}
