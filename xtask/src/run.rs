//! Running one command: bounded in time, logged to a file, and with everything it started gone afterwards.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::tally::{Counting, Ending};

/// How often a running command is looked at. Steps take seconds to minutes.
const POLL: Duration = Duration::from_millis(50);

/// One command of a stage.
pub(crate) struct Step {
    pub(crate) command: Command,
    pub(crate) counting: Counting,
    /// The longest it may take; after that it is stopped and has failed.
    pub(crate) limit: Duration,
}

/// How a step ended, and what it wrote.
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    /// Why it failed, in words: `exit status: 101`, `stopped after 600 s`.
    pub(crate) reason: String,
    pub(crate) output: String,
}

/// The file that keeps everything the steps of one stage write.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

/// Set by Ctrl-C and by SIGTERM, so that a running step is stopped with all its children before we leave.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot write the log {path}: {source}")]
    Log { path: PathBuf, source: std::io::Error },
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(std::io::Error),
}

impl Step {
    pub(crate) fn new(command: Command, counting: Counting, limit: Duration) -> Step {
        Step { command, counting, limit }
    }

    /// The command as one would type it.
    pub(crate) fn line(&self) -> String {
        let program = self.command.get_program().to_string_lossy();
        let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
        let args = self.command.get_args().map(|arg| arg.to_string_lossy().into_owned());
        std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
    }

    /// Runs the command to its end, to its limit or to the interruption.
    ///
    /// # Errors
    /// Only when the log cannot be written: a command that cannot be started is a failed step.
    pub(crate) fn run(&mut self, log: &mut Log, interrupt: &Interrupt) -> Result<Finished, RunError> {
        let start = log.begin(&self.line())?;
        self.command.stdin(Stdio::null()).stdout(log.handle()?).stderr(log.handle()?).process_group(0);
        let (ending, reason) = match self.command.spawn() {
            Ok(child) => match wait(child, self.limit, interrupt) {
                Ok(status) if status.success() => (Ending::Succeeded, String::new()),
                Ok(status) => (Ending::Failed, status.to_string()),
                Err(Stopped::Limit) => (Ending::Failed, format!("stopped after {} s", self.limit.as_secs())),
                Err(Stopped::Interrupted) => (Ending::Failed, "interrupted".to_owned()),
                Err(Stopped::Lost(error)) => (Ending::Failed, format!("lost: {error}")),
            },
            Err(error) => (Ending::Failed, format!("cannot start: {error}")),
        };
        Ok(Finished { ending, reason, output: log.since(start)? })
    }
}

impl Log {
    pub(crate) fn create(path: PathBuf) -> Result<Log, RunError> {
        let file = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| File::options().read(true).append(true).create(true).open(&path))
            .and_then(|file| file.set_len(0).map(|()| file))
            .map_err(|source| RunError::Log { path: path.clone(), source })?;
        Ok(Log { path, file })
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn begin(&mut self, line: &str) -> Result<u64, RunError> {
        writeln!(self.file, "$ {line}")
            .and_then(|()| self.file.seek(SeekFrom::End(0)))
            .map_err(|e| self.error(e))
    }

    fn handle(&self) -> Result<File, RunError> {
        self.file.try_clone().map_err(|error| self.error(error))
    }

    fn since(&mut self, start: u64) -> Result<String, RunError> {
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.read_to_end(&mut bytes))
            .map_err(|error| self.error(error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn error(&self, source: std::io::Error) -> RunError {
        RunError::Log { path: self.path.clone(), source }
    }
}

impl Interrupt {
    pub(crate) fn listen() -> Result<Interrupt, RunError> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(RunError::Signals)?;
        }
        Ok(Interrupt(flag))
    }

    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

enum Stopped {
    Limit,
    Interrupted,
    Lost(std::io::Error),
}

fn wait(mut child: Child, limit: Duration, interrupt: &Interrupt) -> Result<ExitStatus, Stopped> {
    let deadline = Instant::now() + limit;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let outcome = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if interrupt.happened() => break Err(Stopped::Interrupted),
            Ok(None) if Instant::now() >= deadline => break Err(Stopped::Limit),
            Ok(None) => std::thread::sleep(POLL),
            Err(error) => break Err(Stopped::Lost(error)),
        }
    };
    // The group outlives its leader: a chain or a server that a test left behind must not disturb the next
    // stage.
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    if outcome.is_err() {
        let _ = child.wait();
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration, interrupt: bool) -> Finished {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut log = Log::create(folder.path().join("step.log")).expect("a log in the temporary folder");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let interrupt = Interrupt(Arc::new(AtomicBool::new(interrupt)));
        Step::new(command, Counting::Check, limit).run(&mut log, &interrupt).expect("the log is writable")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_exit_code_is_the_verdict_and_both_streams_are_kept() {
        let finished = run("echo out; echo err >&2; exit 3", LONG, false);
        assert_eq!(finished.ending, Ending::Failed);
        assert_eq!(finished.reason, "exit status: 3");
        assert_eq!(finished.output, "out\nerr\n");
    }

    #[test]
    fn a_step_over_its_limit_is_stopped_with_its_children() {
        let started = Instant::now();
        let finished = run("sleep 600 & echo $!; sleep 600", Duration::from_millis(200), false);
        assert_eq!(finished.ending, Ending::Failed);
        assert!(finished.reason.starts_with("stopped after"), "{}", finished.reason);
        assert!(started.elapsed() < LONG);
        let child = finished.output.trim().parse::<u32>().expect("the script printed a process id");
        assert!(gone(child), "process {child} outlived its step");
    }

    #[test]
    fn what_a_finished_step_left_behind_is_stopped_too() {
        let finished = run("sleep 601 & echo $!", LONG, false);
        assert_eq!(finished.ending, Ending::Succeeded);
        let child = finished.output.trim().parse::<u32>().expect("the script printed a process id");
        assert!(gone(child), "process {child} outlived its step");
    }

    #[test]
    fn an_interruption_stops_the_step() {
        assert_eq!(run("sleep 602", LONG, true).reason, "interrupted");
    }

    #[test]
    fn a_program_that_does_not_exist_is_a_failed_step() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut log = Log::create(folder.path().join("step.log")).expect("a log in the temporary folder");
        let interrupt = Interrupt(Arc::default());
        let mut step = Step::new(Command::new("/nowhere/no-such-program"), Counting::Check, LONG);
        let finished = step.run(&mut log, &interrupt).expect("the log is writable");
        assert!(finished.reason.starts_with("cannot start"), "{}", finished.reason);
    }

    /// A killed process may linger as a zombie until its parent (here: init) reads its status.
    fn gone(pid: u32) -> bool {
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit(')').next().map(|rest| rest.trim().starts_with('Z'))
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if state().unwrap_or(true) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}
