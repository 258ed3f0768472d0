//! Runs what a README tells its reader to type, and compares what is printed with what the README says.
//!
//! In a fenced `console` block a line that starts with `$ ` is a command for `sh`, and the lines below it are
//! its output (both streams). `…` stands for any text within a line; on a line of its own, for any number of
//! lines.

use std::path::Path;
use std::process::{Command, Stdio};

/// One command of a README, with the output it promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) command: String,
    pub(crate) promised: Vec<String>,
}

/// The commands of all `console` blocks, in order.
pub(crate) fn sessions(markdown: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    let mut in_block = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
        } else if !in_block {
            continue;
        } else if let Some(command) = line.strip_prefix("$ ") {
            sessions.push(Session { command: command.to_owned(), promised: Vec::new() });
        } else if let Some(session) = sessions.last_mut() {
            session.promised.push(line.to_owned());
        }
    }
    sessions
}

/// Runs every command in `folder` with `path` in front of the search path.
///
/// # Panics
/// When a command prints something else than its README says.
pub(crate) fn check(sessions: &[Session], folder: &Path, path: &Path) {
    assert!(!sessions.is_empty(), "the README has no console block");
    let search = std::env::join_paths(
        std::iter::once(path.to_owned())
            .chain(std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect::<Vec<_>>()),
    )
    .expect("a search path");
    for session in sessions {
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {}; }} 2>&1", session.command)])
            .current_dir(folder)
            .env("PATH", &search)
            .stdin(Stdio::null())
            .output()
            .expect("sh runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let promised: Vec<&str> = session.promised.iter().map(|line| line.trim_end()).collect();
        assert!(
            matches(&promised, &lines),
            "`{}` promises\n{}\nbut prints\n{printed}",
            session.command,
            promised.join("\n")
        );
    }
}

fn matches(promised: &[&str], printed: &[&str]) -> bool {
    match promised.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && matches(rest, others)),
    }
}

fn line_matches(promised: &str, printed: &str) -> bool {
    let mut parts = promised.split('…');
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut ended = true;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        ended = part.is_empty();
    }
    // The text after the last `…` must be the end of the line; `…` at the end takes whatever is left.
    rest.is_empty() || (ended && promised.contains('…'))
}

#[test]
fn a_readme_is_read_as_its_reader_would_type_it() {
    let markdown = "text\n```console\n$ one\nout\n…\n$ two\n```\n```rust\n$ three\n```\n";
    let one = Session { command: "one".to_owned(), promised: vec!["out".to_owned(), "…".to_owned()] };
    let two = Session { command: "two".to_owned(), promised: Vec::new() };
    assert_eq!(sessions(markdown), [one, two]);
}

#[test]
fn an_ellipsis_stands_for_text_and_for_lines_and_for_nothing_else() {
    assert!(matches(&["a", "…", "d"], &["a", "b", "c", "d"]));
    assert!(matches(&["id=\"…\", n"], &["id=\"abc\", n"]));
    assert!(matches(&["id …"], &["id abc"]));
    assert!(!matches(&["id=\"…\", n"], &["id=\"abc\", m"]));
    assert!(!matches(&["a"], &["a", "b"]));
    assert!(!matches(&["a", "b"], &["a"]));
    assert!(!matches(&["a"], &["ab"]));
}
