//! Running the test programs, once for each mutant that they come by.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::tree::{Program, Tree};
use super::{Mutant, MutantsError};

/// Tests of quantity, which run for seconds and find nothing that others do not.
const SKIPPED: [&str; 4] = ["a_million_ids", "ten_thousand", "challenges_of_two", "durable"];

/// A program that takes this much longer than without a mutant hangs.
const PATIENCE: u32 = 4;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// By a test of this program.
    Killed { program: String },
    /// A program did not end.
    Hung { program: String },
    /// Tests came by and saw nothing.
    Survived,
    /// No test came by.
    Unreached,
}

/// Which tests of a program a mutant meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meets {
    /// Those that come by it.
    Witnesses,
    /// All of a program that comes by it: what is made once in a process is made by one test, and used by others.
    All,
}

/// The programs, with what they do without a mutant.
pub(super) struct Campaign {
    programs: Vec<Measured>,
    directory: PathBuf,
}

struct Measured {
    program: Program,
    took: Duration,
    /// How many tests it has.
    tests: usize,
    /// Which of its tests come by which mutant.
    reaches: BTreeMap<u32, Witnesses>,
}

/// The tests that come by a mutant.
enum Witnesses {
    These(BTreeSet<String>),
    /// A thread came by that is not a test's own: any test may have started it.
    Any,
}

enum Run {
    Passed,
    /// The first test that failed; none when the program itself did.
    Failed(Option<String>),
    Hung,
}

impl Campaign {
    /// Runs everything without a mutant, to know that it passes, how long it takes and what it comes by.
    pub(super) fn prepare(tree: &Tree, programs: Vec<Program>, log: &Path) -> Result<Campaign, MutantsError> {
        let mut campaign = Campaign { programs: Vec::new(), directory: tree.root.join("mpp") };
        for program in programs {
            let seen = log.join("reached");
            let _ = std::fs::remove_file(&seen);
            let started = Instant::now();
            match campaign.run(&program, &[], 0, Duration::from_secs(600), Some(&seen))? {
                Run::Passed => {}
                Run::Failed(test) => {
                    return Err(MutantsError::Baseline(
                        program.name,
                        test.unwrap_or_else(|| "itself".to_owned()),
                    ));
                }
                Run::Hung => return Err(MutantsError::Baseline(program.name, "to end".to_owned())),
            }
            let took = started.elapsed();
            let tests = campaign.tests(&program)?;
            let reaches = witnesses(&std::fs::read_to_string(&seen).unwrap_or_default(), &tests);
            println!(
                "  {:<12} {:>6.1} s, comes by {} mutants",
                program.name,
                took.as_secs_f64(),
                reaches.len()
            );
            campaign.programs.push(Measured { program, took, tests: tests.len(), reaches });
        }
        Ok(campaign)
    }

    /// Runs the tests for each mutant, `jobs` at a time; `done` is told each fate as it is known.
    pub(super) fn run_all(
        &self,
        mutants: &[Mutant],
        meets: Meets,
        jobs: usize,
        done: impl Fn(&Mutant, &Fate) + Sync,
    ) -> Result<Vec<Fate>, MutantsError> {
        let next = AtomicUsize::new(0);
        let fates = Mutex::new(vec![Ok(Fate::Survived); mutants.len()]);
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    while let Some((index, mutant)) = Some(next.fetch_add(1, Ordering::Relaxed))
                        .and_then(|index| Some((index, mutants.get(index)?)))
                    {
                        let fate = self.fate(mutant.id, meets);
                        if let Ok(fate) = &fate {
                            done(mutant, fate);
                        }
                        let fate = fate.map_err(|error| error.to_string());
                        fates.lock().unwrap_or_else(PoisonError::into_inner)[index] = fate;
                    }
                });
            }
        });
        let fates = fates.into_inner().unwrap_or_else(PoisonError::into_inner);
        fates.into_iter().collect::<Result<_, _>>().map_err(MutantsError::Run)
    }

    fn fate(&self, id: u32, meets: Meets) -> Result<Fate, MutantsError> {
        let mut fate = Fate::Unreached;
        let mut reached: Vec<(&Measured, Vec<String>)> =
            self.programs.iter().filter_map(|measured| Some((measured, measured.witnesses(id)?))).collect();
        if meets == Meets::All {
            reached.iter_mut().for_each(|(_, only)| only.clear());
        }
        // The quick ones first: most mutants never meet the slow ones.
        reached.sort_by_key(|(measured, only)| measured.cost(only));
        for (Measured { program, took, .. }, only) in reached {
            fate = Fate::Survived;
            let limit = *took * PATIENCE + Duration::from_secs(30);
            match self.run(program, &only, id, limit, None)? {
                Run::Passed => {}
                Run::Hung => return Ok(Fate::Hung { program: program.name.clone() }),
                Run::Failed(test) => {
                    // A busy machine fails tests too: what a mutant fails, it fails twice.
                    let alone: Vec<String> = test.into_iter().collect();
                    let again = |only: &[String]| self.run(program, only, id, limit, None);
                    if !matches!(again(&alone)?, Run::Passed) || !matches!(again(&only)?, Run::Passed) {
                        return Ok(Fate::Killed { program: program.name.clone() });
                    }
                }
            }
        }
        Ok(fate)
    }

    /// The names of a program's tests.
    fn tests(&self, program: &Program) -> Result<BTreeSet<String>, MutantsError> {
        let listed = Command::new(&program.path).arg("--list").current_dir(&self.directory).output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    fn run(
        &self,
        program: &Program,
        only: &[String],
        id: u32,
        limit: Duration,
        reached: Option<&Path>,
    ) -> Result<Run, MutantsError> {
        let mut command = Command::new(&program.path);
        command
            .args(["--test-threads", "2"])
            .args((!only.is_empty()).then_some("--exact"))
            .args(only)
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            .env("RUST_BACKTRACE", "0")
            .env("MUTANT", id.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        if only.is_empty() {
            command.args(SKIPPED.iter().flat_map(|name| ["--skip", name]));
        }
        if let Some(path) = reached {
            command.env("MUTANTS_REACHED", path);
        }
        let mut child = command.spawn()?;
        let (tell, told) = mpsc::channel();
        let output = child.stdout.take();
        // It ends with the program, which is stopped with all its children below.
        std::thread::spawn(move || {
            let lines =
                output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok);
            let failed = lines.filter_map(|line| failed_test(&line)).next();
            let _ = tell.send(failed);
        });
        let run = match told.recv_timeout(limit) {
            Err(_) => Run::Hung,
            Ok(Some(test)) => Run::Failed(Some(test)),
            Ok(None) if child.wait()?.success() => return Ok(Run::Passed),
            Ok(None) => Run::Failed(None),
        };
        stop(child)?;
        Ok(run)
    }
}

impl Measured {
    /// The tests to run for a mutant, all when empty; `None` when no test comes by.
    fn witnesses(&self, id: u32) -> Option<Vec<String>> {
        Some(match self.reaches.get(&id)? {
            Witnesses::Any => Vec::new(),
            Witnesses::These(tests) => tests.iter().cloned().collect(),
        })
    }

    /// About how long these tests take.
    fn cost(&self, only: &[String]) -> Duration {
        match only.len() {
            0 => self.took,
            some => self.took.mul_f64(some as f64 / self.tests.max(1) as f64),
        }
    }
}

/// What `runtime.rs` noted: `number thread`, a line each.
fn witnesses(noted: &str, tests: &BTreeSet<String>) -> BTreeMap<u32, Witnesses> {
    let mut reaches = BTreeMap::new();
    for (id, thread) in noted.lines().filter_map(|line| line.split_once(' ')) {
        let Ok(id) = id.parse() else { continue };
        let known = reaches.entry(id).or_insert_with(|| Witnesses::These(BTreeSet::new()));
        match known {
            Witnesses::These(names) if tests.contains(thread) => {
                names.insert(thread.to_owned());
            }
            _ => *known = Witnesses::Any,
        }
    }
    reaches
}

/// The name in `test a::b ... FAILED`.
fn failed_test(line: &str) -> Option<String> {
    Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned())
}

fn stop(mut child: Child) -> Result<(), MutantsError> {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_a_foreign_thread_came_by_is_met_by_any_test() {
        let tests = ["a::b".to_owned(), "c".to_owned()].into();
        let reaches = witnesses("1 a::b\n2 a::b\n1 c\n2 tokio-rt-worker\n2 c\n", &tests);
        assert!(matches!(&reaches[&1], Witnesses::These(names) if *names == tests));
        assert!(matches!(reaches[&2], Witnesses::Any));
    }

    #[test]
    fn only_a_failed_test_is_one() {
        assert_eq!(failed_test("test a::b ... FAILED").as_deref(), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
        assert_eq!(failed_test("test result: FAILED. 1 passed"), None);
    }
}
