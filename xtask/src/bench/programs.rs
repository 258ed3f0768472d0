//! Builds the benchmarks and runs them, each bounded in time, logged, and with nothing left behind.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::BenchError;
use super::groups::{Cores, Group, Runner};
use crate::run::{Interrupt, Log, Step};
use crate::tally::{Counting, Ending};
use crate::tools;
use crate::workspace::{Workspace, cargo};

/// Where the peers are compared. Not a member of the workspace.
const PEERS: &str = "benches/peers/Cargo.toml";
const PEER_SERVER: &str = "peer-server";
const LOAD: &str = "load";
/// From nothing, on two cores.
const BUILD: Duration = Duration::from_secs(40 * 60);
/// Far more than any group takes.
const RUN: Duration = Duration::from_secs(15 * 60);
/// Of a list of what is compiled already.
const LIST: Duration = Duration::from_secs(60);

/// What a run is done with.
pub(crate) struct Bench<'a> {
    pub(crate) workspace: &'a Workspace,
    log: Log,
    interrupt: Interrupt,
    /// What was built, by whose it is and its name.
    built: HashMap<(Whose, String), PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    Ours,
    Peers,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(workspace: &'a Workspace) -> Result<Self, BenchError> {
        let log = Log::create(workspace.scratch("xtask").join("bench.log"))?;
        Ok(Self { workspace, log, interrupt: Interrupt::listen()?, built: HashMap::new() })
    }

    /// Builds what these groups run: ours, which has to work, and the peers, which may not.
    pub(crate) fn build(&mut self, groups: &[Group]) -> Result<(), BenchError> {
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for group in groups {
            match group.runner() {
                Runner::Divan(name) => ours.push(["--bench", name]),
                Runner::Peers(name) => peers.push(["--bench", name]),
                Runner::Load(..) => ours.push(["--bin", LOAD]),
                Runner::Compile => {}
            }
            if *group == Group::Loopback {
                peers.push(["--bin", PEER_SERVER]);
            }
        }
        if !ours.is_empty() {
            let mut build = self.profile();
            // Both packages always, so that every selection has the same features and nothing is built twice.
            build.args(["--package", "mpp-benches", "--package", "mpp-load"]).args(ours.concat());
            self.built_by(build, Whose::Ours)?;
        }
        if !peers.is_empty() && self.workspace.root().join(PEERS).is_file() {
            let mut build = self.profile();
            let target = self.workspace.scratch("peers");
            build.args(["--manifest-path", PEERS, "--target-dir"]).arg(target).args(peers.concat());
            if let Err(error) = self.built_by(build, Whose::Peers) {
                self.stop_if_interrupted()?;
                eprintln!("xtask: the peers are left out: {error}");
            }
        }
        Ok(())
    }

    /// Installs what the benchmarks of these groups use, as the tests do. What cannot be installed is left out later, by
    /// whoever misses it.
    pub(crate) fn install(&mut self, groups: &[Group]) -> Result<(), BenchError> {
        let mut steps = Vec::new();
        if groups.contains(&Group::Loopback) || groups.contains(&Group::Chain) {
            steps.push(tools::npm_packages(self.workspace));
        }
        if groups.contains(&Group::Stores) {
            steps.extend(tools::databases(&[]));
        }
        for mut step in steps {
            let finished = step.run(&mut self.log, &self.interrupt)?;
            self.stop_if_interrupted()?;
            if finished.ending == Ending::Failed {
                eprintln!("xtask: `{}`: {}", step.line(), finished.reason);
            }
        }
        Ok(())
    }

    fn profile(&self) -> Command {
        let mut command = cargo();
        command.current_dir(self.workspace.root());
        command.args([
            "build",
            "--locked",
            "--profile",
            "bench",
            "--message-format",
            "json-render-diagnostics",
        ]);
        command
    }

    fn built_by(&mut self, build: Command, whose: Whose) -> Result<(), BenchError> {
        let output = self.run(build, BUILD)?;
        for message in output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if let (Some(path), Some(name)) =
                (message["executable"].as_str(), message["target"]["name"].as_str())
            {
                self.built.insert((whose, name.to_owned()), path.into());
            }
        }
        Ok(())
    }

    /// Runs the benchmark of a group; what it printed, or `None` when it could not be built.
    pub(crate) fn output(&mut self, runner: Runner, rest: &[String]) -> Result<Option<String>, BenchError> {
        let (whose, name) = match runner {
            Runner::Divan(name) => (Whose::Ours, name),
            Runner::Peers(name) => (Whose::Peers, name),
            Runner::Load(..) => (Whose::Ours, LOAD),
            Runner::Compile => return Ok(None),
        };
        let Some(program) = self.built.get(&(whose, name.to_owned())).cloned() else { return Ok(None) };
        let command = match runner {
            Runner::Load(group, cores) => {
                let mut command = match cores {
                    Cores::One => on_one_core(&program),
                    Cores::Any => Command::new(&program),
                };
                command.arg(group);
                if let ("loopback", Some(peer)) =
                    (group, self.built.get(&(Whose::Peers, PEER_SERVER.to_owned())))
                {
                    command.arg("--peer").arg(peer);
                }
                command.args(rest);
                command
            }
            _ => {
                let mut command = on_one_core(&program);
                command.arg("--bench").args(rest);
                command
            }
        };
        self.run(command, RUN).map(Some)
    }

    /// Which versions of others' libraries a group is measured beside, as the lock file of the peers has them.
    pub(crate) fn versions_of_peers(&mut self, group: Group) -> Result<Vec<String>, BenchError> {
        let (program, crates): (&str, &[&str]) = match group {
            Group::Micro => ("micro", &["mpp"]),
            Group::Router => ("router", &["mpp", "x402-axum", "axum"]),
            Group::Loopback => (PEER_SERVER, &["mpp", "axum"]),
            _ => return Ok(Vec::new()),
        };
        if !self.built.contains_key(&(Whose::Peers, program.to_owned())) {
            return Ok(Vec::new());
        }
        let mut command = direct_dependencies(cargo());
        command.current_dir(self.workspace.root()).args(["--locked", "--manifest-path", PEERS]);
        Ok(versions(&self.run(command, LIST)?, crates))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&mut self, mut command: Command, limit: Duration) -> Result<String, BenchError> {
        command.env("CARGO_TERM_COLOR", "never");
        let mut step = Step::new(command, Counting::Setup, limit);
        let line = step.line();
        let finished = step.run(&mut self.log, &self.interrupt)?;
        self.stop_if_interrupted()?;
        match finished.ending {
            Ending::Succeeded => Ok(finished.output),
            Ending::Failed => Err(BenchError::Command {
                line: line.chars().take(120).collect(),
                reason: finished.reason,
                log: self.log.path().to_owned(),
            }),
        }
    }

    /// Runs a short command and says how much processor time it and what it starts have used: on a machine that does
    /// something else as well, the time on the wall would be that of something else.
    pub(crate) fn timed(&mut self, mut command: Command) -> Result<Duration, BenchError> {
        let (start, before) = (Instant::now(), used_by_children());
        let output = command.stdin(Stdio::null()).output();
        let took = start.elapsed();
        let used = used_by_children().zip(before).map(|(after, before)| after.saturating_sub(before));
        self.stop_if_interrupted()?;
        let failed = |reason: String| BenchError::Command {
            line: format!("{command:?}").chars().take(120).collect(),
            reason,
            log: self.log.path().to_owned(),
        };
        match output {
            Ok(output) if output.status.success() => Ok(used.unwrap_or(took)),
            Ok(output) => {
                eprintln!("{}", String::from_utf8_lossy(&output.stderr));
                Err(failed(output.status.to_string()))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn stop_if_interrupted(&self) -> Result<(), BenchError> {
        if self.interrupt.happened() { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}

/// Lets cargo print each package of a workspace and each crate that one depends on itself, in a line of its own.
pub(crate) fn direct_dependencies(mut cargo: Command) -> Command {
    cargo.args([
        "tree",
        "--workspace",
        "--edges",
        "normal",
        "--depth",
        "1",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    cargo
}

/// The versions of these crates in such a list. What lies in a folder is ours and has no version that would say anything.
pub(crate) fn versions(list: &str, crates: &[&str]) -> Vec<String> {
    let version = |name: &&str| {
        let mut versions = list.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" v"));
        let version = versions.find(|version| !version.contains(' '));
        Some(match *name {
            "mpp" => format!("official SDK (mpp {})", version?),
            name => format!("{name} {}", version?),
        })
    };
    crates.iter().filter_map(version).collect()
}

/// User and system time of every process this one has started and waited for, and of theirs; `None` where the system does not
/// say. It counts in hundredths of a second.
fn used_by_children() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may have any character in it: cutime and cstime are the 16th and 17th field of all.
    let fields = stat.rsplit(')').next()?.split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_millis(10 * ticks))
}

/// A program held on one core where the system has `taskset`: cases that run on different cores cannot be compared.
fn on_one_core(program: &Path) -> Command {
    let pinned = Command::new("taskset").args(["--cpu-list", "0", "true"]).stderr(Stdio::null()).status();
    if !pinned.is_ok_and(|status| status.success()) {
        eprintln!("xtask: no `taskset` here; the benchmarks are not held on one core");
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_the_version_of_the_registry_and_not_that_of_the_folder_of_the_same_name() {
        let list = "    Updating an index\nmpp-peers v0.1.0 (/somewhere/benches/peers)\naxum v0.8.9\n\
                    mpp v0.1.0 (/somewhere/mpp)\nmpp v0.18.2\nx402-axum v2.0.2\n";
        let said = versions(list, &["mpp", "x402-axum", "axum", "nobody"]);
        assert_eq!(said, ["official SDK (mpp 0.18.2)", "x402-axum 2.0.2", "axum 0.8.9"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_a_child_is_counted_once_it_has_been_waited_for() {
        let before = used_by_children().expect("this is Linux");
        let busy = "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done";
        let status = Command::new("sh").args(["-c", busy]).status();
        assert!(status.is_ok_and(|status| status.success()));
        let used = used_by_children().expect("this is Linux") - before;
        assert!(used >= Duration::from_millis(10), "{used:?}");
    }
}
