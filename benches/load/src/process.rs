//! Servers as processes of their own, held on one core, and the processor time they use.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server on loopback; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `command`, which prints `listening on http://<address>` when it is ready and ends with its standard input.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut said =
            BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let address = said.find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned));
        let address = address.unwrap_or_else(|| panic!("{command:?} did not become ready"));
        // Nobody reads what else it says; a pipe that is closed is its own affair.
        Self { child, address: address.trim_end_matches('/').parse().expect("an address") }
    }

    /// What it has used of the processors so far.
    pub(crate) fn used(&self) -> Duration {
        used(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of a process, user and system, of all its living threads.
///
/// From `schedstat`, which counts nanoseconds; `stat`, which counts hundredths of a second, where the system does not have it.
pub(crate) fn used(process: u32) -> Duration {
    let root = Path::new("/proc").join(process.to_string());
    let threads = std::fs::read_dir(root.join("task")).into_iter().flatten().flatten();
    let nanoseconds = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    let total: u64 = threads.filter_map(nanoseconds).sum();
    if total > 0 {
        return Duration::from_nanos(total);
    }
    let stat = std::fs::read_to_string(root.join("stat")).unwrap_or_default();
    // After the name, which may have any character in it: utime and stime are the 14th and 15th field of all.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// `program` on this core alone; anywhere, where the system has no `taskset`.
pub(crate) fn on_core(core: usize, program: impl AsRef<OsStr>) -> Command {
    let works = Command::new("taskset")
        .args(["--cpu-list", &core.to_string(), "true"])
        .stderr(Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

/// This very program, on a core of its own, as a server.
pub(crate) fn serving(core: Option<usize>, args: &[impl AsRef<OsStr>]) -> Command {
    let own = std::env::current_exe().expect("this program");
    let mut command = match core {
        Some(core) => on_core(core, own),
        None => Command::new(own),
    };
    command.arg("serve").args(args);
    command
}

/// The version of an npm package that the interop tests pin.
pub(crate) fn pinned(package: &str) -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/package.json");
    let manifest = std::fs::read(manifest).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
    manifest["dependencies"][package].as_str().unwrap_or("?").to_owned()
}
