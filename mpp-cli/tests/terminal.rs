//! The `mpp` command at a terminal: it asks before it pays, shows what it waits for, and uses colours; and does none of that
//! where nobody sits in front of it.
//!
//! The terminal is the one of `script` (util-linux), so that the command cannot tell it from a real one.

#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

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
    fn run(home: &Path, environment: &[(&str, &str)], args: &[&str]) -> Terminal {
        let words = [&[env!("CARGO_BIN_EXE_mpp")], args].concat();
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        // The first line says which terminal it is.
        let line = format!("tty; exec {}", words.join(" "));
        let mut program = Command::new("script");
        program
            .args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
            .env("MPP_HOME", home)
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

/// A folder, and the demo's server.
struct Scene {
    home: PathBuf,
    server: Child,
    url: String,
}

impl Scene {
    fn set(name: &str) -> Scene {
        let home = std::env::temp_dir().join(format!("mpp-terminal-{name}-{}", std::process::id()));
        let mut server = mpp(&home, &["demo", "--port", "0"]);
        let mut server =
            server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the demo starts");
        let mut url = String::new();
        BufReader::new(server.stdout.take().expect("a pipe"))
            .read_line(&mut url)
            .expect("it says where it is");
        Scene { home, server, url: url.trim().to_owned() }
    }

    fn weather(&self) -> String {
        format!("{}/weather", self.url)
    }

    fn payments(&self) -> usize {
        let ledger = mpp(&self.home, &["ledger", "--csv"]).output().expect("it runs");
        String::from_utf8_lossy(&ledger.stdout).lines().count() - 1
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn mpp(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpp"));
    command.args(args).env("MPP_HOME", home).stdin(Stdio::null());
    command
}

/// Both streams, of a command that no terminal sees.
fn piped(home: &Path, environment: &[(&str, &str)], args: &[&str]) -> Output {
    with(&mut mpp(home, args), environment).output().expect("it runs")
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
    let scene = Scene::set("asked");
    for (answer, code) in [("n\n", 3), ("\n", 3), ("yess\n", 3), ("\u{4}", 3), ("y\n", 0), ("YES\n", 0)] {
        let before = scene.payments();
        let mut terminal = Terminal::run(&scene.home, &[], &["pay", &scene.weather()]);
        terminal.shows("Pay 0.05 usdc by sandbox to http://127.0.0.1:");
        terminal.shows("for GET /weather? [y/N] ");
        terminal.types(answer);
        let (shown, ended) = terminal.ends();
        assert_eq!(ended, code, "{answer:?}: {shown}");
        assert_eq!(shown.contains("sunny"), code == 0, "{answer:?}: {shown}");
        assert_eq!(shown.contains("you said no"), code == 3, "{answer:?}: {shown}");
        assert_eq!(scene.payments() - before, usize::from(code == 0), "{answer:?}");
    }
}

#[test]
fn what_is_waited_for_is_shown_at_a_terminal_alone() {
    let scene = Scene::set("progress");
    for (environment, quiet, shown_there) in [
        (&[][..], &[][..], true),
        (&[("NO_COLOR", "1")], &[], true),
        (&[("TERM", "dumb")], &[], false),
        (&[], &["--quiet"], false),
    ] {
        let slow = Slow::before(&scene.url);
        let mut terminal =
            Terminal::run(&scene.home, environment, &[&["pay", "--yes", &slow.url][..], quiet].concat());
        slow.waits();
        if shown_there {
            terminal.shows("the server confirms the payment");
        }
        slow.goes_on();
        let (shown, code) = terminal.ends();
        assert_eq!(code, 0, "{shown}");
        assert!(shown.contains("sunny"), "{shown}");
        assert_eq!(shown.contains(ESCAPE), shown_there, "{environment:?} {quiet:?} {shown:?}");
        assert_eq!(shown.contains("mpp: paying 0.05 usdc"), quiet.is_empty(), "{shown}");
    }
    let bought = piped(&scene.home, &[], &["pay", "--yes", &scene.weather()]);
    let told = String::from_utf8_lossy(&bought.stderr).into_owned();
    assert!(told.starts_with("mpp: paying") && !told.contains(ESCAPE) && !told.contains('\r'), "{told:?}");
    assert!(!told.contains("confirms"), "{told:?}");
}

#[test]
fn colours_are_for_terminals_and_can_be_switched_off() {
    let scene = Scene::set("colours");
    for args in [&["pay", "--nonsense"][..], &["--help"], &["pay", "--max", "ten", "x"]] {
        let coloured =
            |environment: &[_]| Terminal::run(&scene.home, environment, args).ends().0.contains(ESCAPE);
        assert!(coloured(&[]), "{args:?}");
        assert!(!coloured(&[("NO_COLOR", "1")]) && !coloured(&[("TERM", "dumb")]), "{args:?}");
        let output = piped(&scene.home, &[], args);
        assert!(![output.stdout, output.stderr].concat().contains(&(ESCAPE as u8)), "{args:?}");
    }
    // What is printed about money has none anywhere.
    for args in [&["quote", &scene.weather()][..], &["ledger"], &["config"], &["secret"]] {
        let (shown, code) = Terminal::run(&scene.home, &[], args).ends();
        assert!(code == 0 && !shown.contains(ESCAPE), "{args:?} {shown:?}");
    }
}

#[test]
fn a_password_is_asked_for_twice_and_never_shown() {
    let scene = Scene::set("password");
    for (again, made) in [("correct hose", false), ("correct horse", true)] {
        let mut terminal = Terminal::run(&scene.home, &[], &["wallet", "new", "main"]);
        terminal.shows("Password for the new key: ");
        terminal.types_unseen("correct horse\n");
        terminal.shows("The same again: ");
        terminal.types_unseen(&format!("{again}\n"));
        let (shown, code) = terminal.ends();
        assert_eq!((code == 0, shown.contains("did:key:")), (made, made), "{shown}");
        assert!(!shown.contains("horse") && !shown.contains("hose"), "{shown}");
    }
    let mut terminal =
        Terminal::run(&scene.home, &[], &["pay", "-yq", "--key-file", "main", &scene.weather()]);
    terminal.shows("Password for ");
    terminal.types_unseen("correct horse\n");
    let (shown, code) = terminal.ends();
    assert!(code == 0 && shown.contains("sunny") && !shown.contains("horse"), "{shown}");
}

/// Something in between that lets the first exchange through, and the payment when it is told to.
struct Slow {
    url: String,
    has_arrived: Receiver<()>,
    go: std::sync::mpsc::Sender<()>,
}

impl Slow {
    fn before(server: &str) -> Slow {
        let upstream = server.strip_prefix("http://").expect("a URL").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/weather", listener.local_addr().expect("it is bound"));
        let (arrived, has_arrived) = channel();
        let (go, may_go) = channel();
        std::thread::spawn(move || {
            for is_paid in [false, true] {
                let (mut near, _) = listener.accept().expect("a connection");
                let mut head = [0; 16 * 1024];
                let length = near.read(&mut head).expect("a request");
                if is_paid {
                    arrived.send(()).expect("somebody waits");
                    may_go.recv().expect("it goes on");
                }
                let mut far = TcpStream::connect(&upstream).expect("the demo is there");
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                far.write_all(head.as_bytes()).expect("it listens");
                std::io::copy(&mut far, &mut near).expect("an answer");
            }
        });
        Slow { url, has_arrived, go }
    }

    fn waits(&self) {
        self.has_arrived.recv_timeout(PATIENCE).expect("a payment arrives");
    }

    fn goes_on(&self) {
        self.go.send(()).expect("it waits");
    }
}
