//! Child processes that end with their handle.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a process may take to say that it is ready.
const READY: Duration = Duration::from_secs(30);

/// A running child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: &'static str,
    said: Arc<Mutex<String>>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts `command`.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let said = Arc::default();
        let stderr = child.stderr.take().expect("it is piped");
        tokio::spawn(keep(stderr, Arc::clone(&said)));
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, name, said, lines }
    }

    /// The rest of the first line of output that starts with `prefix`.
    pub(crate) async fn line_after(&mut self, prefix: &str) -> String {
        let found = timeout(READY, async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                if let Some(rest) = line.strip_prefix(prefix) {
                    return Some(rest.trim().to_owned());
                }
            }
            None
        });
        match found.await {
            Ok(Some(rest)) => rest,
            _ => panic!("{} did not become ready; it said:\n{}", self.name, self.said()),
        }
    }

    /// The next line of output.
    pub(crate) async fn line(&mut self) -> String {
        match timeout(READY, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            _ => panic!("{} does not answer; it said:\n{}", self.name, self.said()),
        }
    }

    /// Its standard input.
    pub(crate) fn input(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("it is piped")
    }

    /// Reads its output on, so that it never blocks on a full pipe.
    pub(crate) fn ignore_output(self) -> Running {
        let Self { child, said, mut lines, .. } = self;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Running { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().expect("nobody panics while holding it").clone()
    }
}

/// A process whose output nobody reads any more; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    /// What it has written to its standard error.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("nobody panics while holding it").clone()
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// Asks it to stop, with SIGTERM.
    pub(crate) async fn terminate(&self) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "it cannot be asked to stop");
    }

    /// Waits for its own end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let ended = timeout(READY, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it does not end; it said:\n{}", self.said()))
            .expect("it has a status")
    }

    /// Kills it and waits until it is gone, as a crash would end it.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

async fn keep(from: impl AsyncRead + Unpin, said: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut said = said.lock().expect("nobody panics while holding it");
        said.push_str(&line);
        said.push('\n');
    }
}
