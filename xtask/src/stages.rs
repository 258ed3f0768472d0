//! The stages of `cargo xtask test`, in order, and the loop that runs them.
//!
//! A failed stage does not stop the ones after it: one run shows everything that is broken. What every stage
//! writes is in `target/xtask/<stage>.log`; the end of it is shown when the stage fails.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::Error;
use crate::fuzz;
use crate::guard;
use crate::run::{Interrupt, Log, Step};
use crate::tally::{Counting, Ending, Tally};
use crate::tools;
use crate::workspace::{FeatureSet, TestTarget, Workspace, cargo, set_of};

/// Lines of a failed step's output that are shown; the log has the rest.
const TAIL: usize = 60;
/// A workspace of its own: the official SDK beside ours (`benches/README.md`).
const PEERS: &str = "benches/peers/Cargo.toml";

/// Which stages to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Leave these stages out, or the tests of `postgres` or `redis`, which are counted as skipped
    #[arg(long, value_name = "STAGE|SERVER", value_delimiter = ',', num_args = 1.., value_parser = Omitted::read)]
    without: Vec<Omitted>,
    /// Run these stages alone
    #[arg(long, value_name = "STAGE", value_delimiter = ',', num_args = 1..)]
    only: Vec<Stage>,
    /// Stop whatever still runs after this many minutes, and count it as failed
    #[arg(long, value_name = "N", default_value_t = 39)]
    minutes: u64,
}

/// What `--without` leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Omitted {
    Stage(Stage),
    Server(Server),
}

impl Omitted {
    fn read(text: &str) -> Result<Self, String> {
        let stage = Stage::from_str(text, false).map(Self::Stage);
        let server = || Server::from_str(text, false).map(Self::Server);
        stage.or_else(|_| server()).map_err(|_| "neither a stage nor `postgres` nor `redis`".to_owned())
    }
}

/// A database that tests start themselves. Every test that needs one has its name in its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// PostgreSQL, and the pgbouncer before it
    Postgres,
    /// Redis
    Redis,
}

impl Server {
    /// What the names of its tests have in them.
    fn name(self) -> &'static str {
        match self {
            Server::Postgres => "postgres",
            Server::Redis => "redis",
        }
    }
}

/// What is checked, in the order in which it is: cheap verdicts first, then the slim build, then the full
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// rustfmt has nothing to change, and the lock file of the peers' workspace is not stale
    Format,
    /// Licences, sources and bans (cargo-deny)
    Deny,
    /// `cargo run -p quickstart` ends with exit code 0
    Quickstart,
    /// This repository's own promises: dependency trees, README, and the tests of xtask
    Repository,
    /// Unit, expansion and documentation tests of the macros
    Macros,
    /// Every mistake gives the compiler error it should
    Ui,
    /// Builds every test of the full feature set
    Build,
    /// Unit tests
    Unit,
    /// The pipeline over an in-process router
    Pipeline,
    /// The stores against one conformance suite
    Stores,
    /// The `mpp` command
    Cli,
    /// The example server
    Shop,
    /// Real chains and real clients of other SDKs (npm)
    Interop,
    /// The parsers' fuzz targets, for a moment each (skipped without nightly and a C++ compiler)
    Fuzz,
    /// The instructions of the hot paths against the committed counts (skipped without valgrind)
    Guard,
    /// Documentation tests, and links within the documentation
    Doc,
    /// Clippy without a warning, in both feature sets
    Clippy,
}

/// Runs the selected stages and prints the one line this command ends with.
///
/// # Errors
/// When a log cannot be written or the run was interrupted: then there is no verdict.
pub(crate) fn test(workspace: &Workspace, selection: &Selection) -> Result<ExitCode, Error> {
    let interrupt = Interrupt::listen()?;
    let deadline = Instant::now() + Duration::from_secs(60 * selection.minutes);
    let without = selection.servers_left_out();
    let mut total = Tally::default();
    let mut table = Vec::new();
    for stage in selection.stages() {
        let started = Instant::now();
        let tally = run_stage(workspace, stage, &without, deadline, &interrupt)?;
        if interrupt.happened() {
            return Err(Error::Interrupted);
        }
        total += tally;
        let row = format!("{:<12}{:>7.1} s   {tally}", stage.name(), started.elapsed().as_secs_f64());
        println!("  {row}");
        table.push(row);
    }
    println!("\nseconds per stage");
    table.iter().for_each(|row| println!("  {row}"));
    println!("{total}");
    Ok(if total.is_green() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_stage(
    workspace: &Workspace,
    stage: Stage,
    without: &[Server],
    deadline: Instant,
    interrupt: &Interrupt,
) -> Result<Tally, Error> {
    let mut log = Log::create(workspace.scratch("xtask").join(format!("{}.log", stage.name())))?;
    let mut tally = Tally::default();
    println!("{}", stage.name());
    for mut step in stage.steps(workspace, without) {
        step.limit = step.limit.min(deadline.saturating_duration_since(Instant::now()));
        println!("  $ {}", step.line());
        let finished = step.run(&mut log, interrupt)?;
        let step_tally = Tally::of(step.counting, finished.ending, &finished.output);
        tally += step_tally;
        if finished.ending == Ending::Failed {
            print_tail(&finished.output);
            println!("  failed ({}); all of it is in {}", finished.reason, log.path().display());
            if step.counting == Counting::Setup {
                break; // what follows in this stage needs it
            }
        }
    }
    Ok(tally)
}

fn print_tail(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    let skipped = lines.len().saturating_sub(TAIL);
    if skipped > 0 {
        println!("  | … {skipped} lines …");
    }
    lines[skipped..].iter().for_each(|line| println!("  | {line}"));
}

impl Selection {
    fn stages(&self) -> impl Iterator<Item = Stage> {
        let wanted = |stage: &Stage| self.only.is_empty() || self.only.contains(stage);
        Stage::value_variants()
            .iter()
            .copied()
            .filter(wanted)
            .filter(|stage| !self.without.contains(&Omitted::Stage(*stage)))
    }

    fn servers_left_out(&self) -> Vec<Server> {
        let server = |omitted: &Omitted| match omitted {
            Omitted::Server(server) => Some(*server),
            Omitted::Stage(_) => None,
        };
        self.without.iter().filter_map(server).collect()
    }
}

impl Stage {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The commands of this stage. An installation or a build comes first where one is needed.
    fn steps(self, workspace: &Workspace, without: &[Server]) -> Vec<Step> {
        use Counting::{CargoTest, Check, Setup};
        use FeatureSet::{Full, Slim};
        let call = Calls { workspace, without };
        match self {
            Stage::Format => {
                // The benchmarks of peers are not compiled here: they take minutes and belong to nobody's change. What can be
                // said of them without that is said.
                let peers = ["--manifest-path", PEERS];
                let mut formatted = call.cargo(Check, 2, ["fmt", "--check"]);
                let mut locked = call.cargo(Check, 2, ["update", "--workspace", "--locked"]);
                formatted.command.args(peers);
                locked.command.args(peers);
                vec![call.cargo(Check, 2, ["fmt", "--all", "--check"]), formatted, locked]
            }
            Stage::Repository => {
                vec![call.cargo(CargoTest, 10, ["test", "--package", "xtask", "--no-fail-fast"])]
            }
            Stage::Deny => {
                let (program, install) = tools::CARGO_DENY.program(workspace);
                let mut deny = call.command(program);
                deny.args(["--all-features", "check", "bans", "licenses", "sources"]);
                install.into_iter().chain([Step::new(deny, Check, minutes(5))]).collect()
            }
            Stage::Quickstart => vec![call.cargo(Check, 10, ["run", "--package", "quickstart"])],
            Stage::Macros => vec![
                call.test(Slim, 10, Setup, ["--no-run"]),
                call.test(Slim, 5, CargoTest, ["--lib", "--bins"]),
                call.test(Slim, 5, CargoTest, ["--doc"]),
            ],
            Stage::Ui => call.integration_tests(15, Slim, self),
            Stage::Build => vec![call.test(Full, 20, Setup, ["--no-run"])],
            Stage::Unit => {
                let libraries = call.test(Full, 10, CargoTest, ["--lib", "--bins"]);
                [libraries].into_iter().chain(call.integration_tests(10, Full, self)).collect()
            }
            Stage::Interop => {
                let npm = [tools::npm_packages(workspace)].into_iter();
                npm.chain(tools::python_packages(workspace))
                    .chain(tools::databases(without))
                    .chain(tools::browser())
                    .chain(call.integration_tests(12, Full, self))
                    .collect()
            }
            Stage::Stores | Stage::Cli => {
                tools::databases(without).into_iter().chain(call.integration_tests(10, Full, self)).collect()
            }
            Stage::Pipeline | Stage::Shop => call.integration_tests(10, Full, self),
            Stage::Fuzz => fuzz::steps(workspace),
            Stage::Guard => guard::steps(workspace).into_iter().map(|step| call.step(step)).collect(),
            Stage::Doc => {
                let mut links = call.cargo(Check, 10, ["doc", "--no-deps"]);
                links.command.args(workspace.select(Full)).env("RUSTDOCFLAGS", "-D warnings");
                vec![call.test(Full, 15, CargoTest, ["--doc"]), links]
            }
            Stage::Clippy => {
                let clippy = |selection: Vec<String>| {
                    let mut step = call.cargo(Check, 15, ["clippy", "--all-targets"]);
                    step.command.args(selection).args(["--", "-D", "warnings"]);
                    step
                };
                let own = vec!["--package".to_owned(), "xtask".to_owned()];
                vec![clippy(own), clippy(workspace.select(Slim)), clippy(workspace.select(Full))]
            }
        }
    }

    /// The stage an integration test belongs to, so that a new file in any `tests/` folder is run without
    /// being listed.
    fn of(test: &TestTarget) -> Stage {
        match test.package.as_str() {
            "mpp" if test.name.starts_with("store") => Stage::Stores,
            "mpp" => Stage::Pipeline,
            "mpp-cli" => Stage::Cli,
            "shop" => Stage::Shop,
            "interop" => Stage::Interop,
            package if set_of(package) == Some(FeatureSet::Slim) => Stage::Ui,
            _ => Stage::Unit,
        }
    }
}

/// Builds the commands of the stages with what all of them share.
struct Calls<'a> {
    workspace: &'a Workspace,
    without: &'a [Server],
}

impl Calls<'_> {
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        prepared(Command::new(program), self.workspace.root())
    }

    fn cargo<const N: usize>(&self, counting: Counting, limit: u64, args: [&str; N]) -> Step {
        let mut command = prepared(cargo(), self.workspace.root());
        command.args(args);
        // In CI what is not in the committed lock file must show, not be resolved on the fly.
        if std::env::var_os("CI").is_some() && !args.contains(&"--locked") && args[0] != "fmt" {
            command.arg("--locked");
        }
        Step::new(command, counting, minutes(limit))
    }

    /// A step of another file, in what every command runs with.
    fn step(&self, step: Step) -> Step {
        Step { command: prepared(step.command, self.workspace.root()), ..step }
    }

    fn test<const N: usize>(&self, set: FeatureSet, limit: u64, counting: Counting, args: [&str; N]) -> Step {
        let mut step = self.cargo(counting, limit, ["test", "--no-fail-fast"]);
        step.command.args(self.workspace.select(set)).args(args);
        step
    }

    /// One `cargo test` over the integration tests of a stage; none when there are none.
    fn integration_tests(&self, limit: u64, set: FeatureSet, stage: Stage) -> Vec<Step> {
        let tests = self.workspace.integration_tests().iter();
        let mut names: Vec<_> = tests
            .filter(|test| set_of(&test.package) == Some(set) && Stage::of(test) == stage)
            .flat_map(|test| ["--test", &test.name])
            .collect();
        names.dedup();
        if names.is_empty() {
            return Vec::new();
        }
        let mut step = self.test(set, limit, Counting::CargoTest, []);
        step.command.args(names);
        if !self.without.is_empty() {
            step.command.arg("--").args(self.without.iter().flat_map(|server| ["--skip", server.name()]));
        }
        vec![step]
    }
}

/// What every command of a stage runs with.
fn prepared(mut command: Command, root: &Path) -> Command {
    command
        .current_dir(root)
        // A missing peer (npm, anvil) is a failure here and a skip under plain `cargo test`.
        .env("MPP_XTASK", "1")
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TERM_COLOR", "never")
        .env("TERM", "dumb"); // rustfmt goes by the terminal alone
    command
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(without: &[Stage], only: &[Stage]) -> Vec<Stage> {
        let without = without.iter().map(|stage| Omitted::Stage(*stage));
        Selection { without: without.collect(), only: only.to_vec(), minutes: 39 }.stages().collect()
    }

    fn test_target(package: &str, name: &str) -> TestTarget {
        TestTarget { package: package.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn without_leaves_out_and_only_leaves_nothing_else() {
        assert_eq!(selection(&[], &[]), Stage::value_variants());
        assert!(!selection(&[Stage::Interop], &[]).contains(&Stage::Interop));
        assert_eq!(selection(&[], &[Stage::Clippy, Stage::Format]), [Stage::Format, Stage::Clippy]);
    }

    #[test]
    fn without_a_server_its_tests_are_skipped_by_name_and_no_stage_is() {
        let without = ["stores", "postgres"].map(|text| Omitted::read(text).expect("both are known"));
        let selection = Selection { without: without.to_vec(), only: Vec::new(), minutes: 39 };
        assert_eq!(selection.stages().count(), Stage::value_variants().len() - 1);
        assert_eq!(selection.servers_left_out(), [Server::Postgres]);
        assert!(Omitted::read("mysql").is_err());

        let workspace = Workspace::load().expect("this repository");
        for stage in [Stage::Stores, Stage::Interop] {
            let line = |without: &[Server]| stage.steps(&workspace, without).pop().expect("tests").line();
            assert!(
                line(&[Server::Postgres]).ends_with(" -- --skip postgres"),
                "{}",
                line(&[Server::Postgres])
            );
            assert!(!line(&[]).contains("--skip"));
        }
    }

    #[test]
    fn a_new_test_file_of_any_member_has_a_stage() {
        assert_eq!(Stage::of(&test_target("mpp", "stores")), Stage::Stores);
        assert_eq!(Stage::of(&test_target("mpp", "replay")), Stage::Pipeline);
        assert_eq!(Stage::of(&test_target("ui-tests", "diagnostics")), Stage::Ui);
        assert_eq!(Stage::of(&test_target("something-new", "anything")), Stage::Unit);
    }

    #[test]
    fn the_integration_tests_of_every_member_are_run_by_exactly_the_stage_they_belong_to() {
        let workspace = Workspace::load().expect("this repository");
        for test in workspace.integration_tests().iter().filter(|test| test.package != "xtask") {
            let runs = |stage: &&Stage| {
                let steps = stage.steps(&workspace, &[]);
                steps.iter().any(|step| step.line().split(' ').any(|arg| arg == test.name))
            };
            let running: Vec<_> = Stage::value_variants().iter().filter(runs).collect();
            assert!(running.contains(&&Stage::of(test)), "{test:?} is run by {running:?}");
        }
    }
}
