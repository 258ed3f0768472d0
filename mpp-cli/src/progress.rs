//! What is being waited for, at the bottom of the terminal while a payment confirms; nothing at all anywhere else.
//!
//! Only where standard error is a terminal that can move its cursor: a file or a pipe gets the lines that are said, and no
//! control characters.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line is drawn: what it shows besides the words is that it is alive, and for how long.
const TICK: Duration = Duration::from_millis(120);

/// The line. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Shown, if there is a terminal.
    pub(crate) fn at_a_terminal() -> Progress {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if is_dumb || !std::io::stderr().is_terminal() {
            return Progress::none();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // It names nothing but what the library knows, so it is a template.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style.tick_strings(&["-", "\\", "|", "/", "+"]));
        }
        Progress(bar)
    }

    /// Never shown.
    pub(crate) fn none() -> Progress {
        Progress(ProgressBar::hidden())
    }

    /// Shows what is waited for from now on.
    pub(crate) fn wait_for(&self, what: &'static str) {
        self.0.set_message(what);
        self.0.enable_steady_tick(TICK);
    }

    /// Says a line that stays, above it.
    pub(crate) fn say(&self, line: &str) {
        // Whoever closed standard error does not want to know.
        self.0.suspend(|| drop(writeln!(std::io::stderr().lock(), "{line}")));
    }

    /// Takes it away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
