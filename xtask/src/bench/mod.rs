//! `cargo xtask bench`: runs the benchmarks, and writes `benches/RESULTS.md` and `benches/plots` from what they gave.
//!
//! A benchmark prints what it measured: divan its tree ([`divan`]), `load` its lines ([`lines`]), cargo its own time ([`compile`]); a
//! program of divan's prints a line of `load`'s for what divan cannot measure, such as something that happens once. All of it
//! becomes [`results`], which are kept in `benches/results.json`; the page ([`render`]), the verdicts on the targets ([`targets`]) and the plots
//! ([`plots`]) are made from that file alone, and a test says so. Nothing that was measured is ever asserted: a shared machine would
//! fail such a test at random.

mod compile;
mod divan;
mod groups;
mod growth;
mod lines;
mod plots;
mod programs;
mod render;
mod results;
mod targets;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::ValueEnum as _;

use crate::Error;
use crate::run::RunError;
use crate::workspace::Workspace;
use groups::{Group, Runner};
use programs::Bench;
use results::{Case, Measured, Origin, Results};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure these groups alone; the others stay as they were
    #[arg(long, value_name = "GROUP", value_delimiter = ',', num_args = 1..)]
    only: Vec<Group>,
    /// Short runs that show whether everything works; written to target/bench-quick, not to benches/
    #[arg(long)]
    quick: bool,
    /// Write the page and the plots again from results.json, and measure nothing
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    render: bool,
    /// Options for divan, such as a filter or `--sample-count 500`; written where short runs are, because the page has whole groups
    /// that were measured alike
    #[arg(last = true)]
    rest: Vec<String>,
}

impl Options {
    /// Whether `benches/` has what comes of these: of whole groups, measured as they are always measured.
    fn is_published(&self) -> bool {
        !self.quick && self.rest.is_empty()
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    Full,
    Quick,
}

/// What stops a benchmark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("`{line}`: {reason}; all of it is in {log}")]
    Command { line: String, reason: String, log: PathBuf },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Draw(#[from] plots::DrawError),
    #[error("interrupted")]
    Interrupted,
}

/// Builds and runs the selected groups, and writes what they gave. A group that cannot be measured here is said to be left out;
/// one that fails makes the exit code say so, and its older results stay.
///
/// # Errors
/// When our own benchmarks do not build, or a file cannot be written.
pub(crate) fn bench(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    let effort = if options.quick { Effort::Quick } else { Effort::Full };
    let folder = match options.is_published() {
        true => workspace.root().join("benches"),
        false => workspace.scratch("bench-quick"),
    };
    let mut results = load(&folder)?;
    if options.render {
        write(&results, &folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = |group: &Group| options.only.is_empty() || options.only.contains(group);
    let groups: Vec<Group> = Group::value_variants().iter().copied().filter(wanted).collect();
    // Before anything is built of it: what is written here, and what somebody commits meanwhile, was not measured.
    let origin = origin(workspace.root());
    let mut bench = Bench::new(workspace)?;
    println!("building");
    bench.install(&groups)?;
    bench.build(&groups)?;
    let mut verdict = ExitCode::SUCCESS;
    for group in groups {
        let started = Instant::now();
        match measured(&mut bench, group, effort, &options.rest) {
            Ok(Some(mut measured)) => {
                println!("{:<12}{:>7.1} s", group.name(), started.elapsed().as_secs_f64());
                measured.skipped.iter().for_each(|why| println!("  not measured: {why}"));
                measured.origin = origin.clone();
                measured.about = group.page().about.to_owned();
                results.groups.insert(group.name(), measured);
                // After each, so that a later failure takes nothing away.
                write(&results, &folder)?;
            }
            Ok(None) => println!("{:<12}left out: it could not be built", group.name()),
            Err(BenchError::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                println!("{:<12}failed: {error}", group.name());
                verdict = ExitCode::FAILURE;
            }
        }
    }
    println!("\n{}\nwritten to {}", targets::table(&results), folder.join(PAGE).display());
    Ok(verdict)
}

const DATA: &str = "results.json";
const PAGE: &str = "RESULTS.md";
const PLOTS: &str = "plots";

fn measured(
    bench: &mut Bench<'_>,
    group: Group,
    effort: Effort,
    rest: &[String],
) -> Result<Option<Measured>, BenchError> {
    let runner = group.runner();
    let quick = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
    let options = match (runner, effort) {
        (Runner::Divan(_) | Runner::Peers(_), Effort::Full) => rest.to_vec(),
        (Runner::Divan(_) | Runner::Peers(_), Effort::Quick) => {
            [rest, &quick(&["--max-time", "0.2"])].concat()
        }
        (_, Effort::Full) => Vec::new(),
        (_, Effort::Quick) => quick(&["--quick"]),
    };
    if runner == Runner::Compile {
        return compile::measure(bench, effort).map(Some);
    }
    let mut measured = Measured { versions: bench.versions_of_peers(group)?, ..Measured::default() };
    if let Runner::Load(..) = runner {
        let Some(output) = bench.output(runner, &options)? else { return Ok(None) };
        lines::collect(&output, &mut measured);
        return Ok(Some(measured));
    }
    let mut runs = Vec::new();
    for _ in 0..if effort == Effort::Full { RUNS } else { 1 } {
        let Some(output) = bench.output(runner, &options)? else { return Ok(None) };
        runs.push(one_run(&output));
    }
    measured.cases = divan::together(&runs);
    Ok(Some(measured))
}

/// How often a program of divan's is run, each time as a new process. What slows a machine for a moment slows a case from its first
/// sample to its last, because that takes milliseconds; of many runs it slows the fewer, and the middle one counts. A shared machine can
/// be slow for a third of the time: of five runs, three would then be too often.
const RUNS: usize = 15;

/// What a program of divan's printed: the cases of its tree, and of its lines.
fn one_run(output: &str) -> Vec<Case> {
    let mut lines = Measured::default();
    lines::collect(output, &mut lines);
    [divan::parse(output), lines.cases].concat()
}

fn load(folder: &Path) -> Result<Results, BenchError> {
    let path = folder.join(DATA);
    Results::load(&path).map_err(|source| BenchError::File { path, source })
}

/// The data, the page and the plots.
fn write(results: &Results, folder: &Path) -> Result<(), BenchError> {
    let plots = folder.join(PLOTS);
    fs::create_dir_all(&plots).map_err(|source| BenchError::File { path: plots.clone(), source })?;
    let file = |path: PathBuf, text: &str| {
        fs::write(&path, text).map_err(|source| BenchError::File { path, source })
    };
    file(folder.join(DATA), &results.to_json())?;
    file(folder.join(PAGE), &render::page(results))?;
    plots::all(results)?.iter().try_for_each(|plot| file(plots.join(&plot.file), &plot.svg))
}

/// Today, on this machine, of this commit.
fn origin(root: &Path) -> Origin {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let said = |program, args: &[&str]| said(root, program, args).unwrap_or_else(unknown);
    let kernel = said("uname", &["-sr"]);
    let compiler: Vec<String> = said("rustc", &["--version"]).split(' ').take(2).map(str::to_owned).collect();
    Origin {
        date: said("date", &["-u", "+%F"]),
        machine: format!(
            "{} ({cores} cores), {kernel}",
            model.map_or("an unknown processor", |(_, name)| name)
        ),
        compiler: compiler.join(" "),
        commit: commit(root),
    }
}

/// The commit that is checked out, and whether something else was measured: files that git knows and that differ from it, except
/// for those that a measurement writes.
fn commit(root: &Path) -> String {
    let Some(commit) = said(root, "git", &["rev-parse", "--short=10", "HEAD"]) else { return unknown() };
    let written = [DATA, PAGE, PLOTS].map(|name| format!(":(exclude)benches/{name}"));
    let mut differ = vec!["diff", "--name-only", "HEAD", "--", "."];
    differ.extend(written.iter().map(String::as_str));
    match said(root, "git", &differ) {
        Some(_) => format!("{commit}-dirty"),
        None => commit,
    }
}

/// What a command prints, if it prints anything.
fn said(root: &Path, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(root).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::divan::TIME;
    use super::*;

    #[test]
    fn only_whole_groups_measured_as_always_are_published() {
        let options = |quick, rest: &[&str]| {
            let rest = rest.iter().map(|option| (*option).to_owned()).collect();
            Options { only: vec![Group::Router], quick, render: false, rest }
        };
        assert!(options(false, &[]).is_published());
        assert!(!options(true, &[]).is_published());
        assert!(!options(false, &["forged"]).is_published());
    }

    #[test]
    fn a_run_has_the_cases_of_the_tree_and_those_that_happen_once() {
        let output = "\
result {\"case\":\"first_start_of_10_000_prices\",\"metric\":\"time\",\"values\":[64000000.0]}
startup                    fastest       │ slowest       │ median        │ mean          │ samples │ iters
╰─ start_10_000_prices     38.4 ms       │ 41.2 ms       │ 39.5 ms       │ 39.5 ms       │ 20      │ 20
";
        let cases = one_run(output);
        let times: Vec<(&str, f64)> =
            cases.iter().map(|case| (case.name.as_str(), case.values[TIME].median)).collect();
        assert_eq!(times, [("start_10_000_prices", 39.5e6), ("first_start_of_10_000_prices", 64e6)]);
    }

    #[test]
    fn a_commit_is_dirty_when_something_differs_that_a_measurement_does_not_write() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"]);
            let status = command.args(args).current_dir(root).stdout(Stdio::null()).status();
            assert!(status.is_ok_and(|status| status.success()), "git {args:?}");
        };
        let write = |path: &str, text: &str| fs::write(root.join(path), text).expect("a temporary file");
        fs::create_dir_all(root.join("benches/plots")).expect("a temporary folder");
        assert_eq!(commit(root), "unknown");
        for path in ["lib.rs", "benches/results.json", "benches/RESULTS.md", "benches/plots/prices.svg"] {
            write(path, "as committed");
        }
        git(&["init", "--quiet"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "--no-gpg-sign", "--message", "all"]);
        let clean = commit(root);
        assert_eq!(clean.len(), 10, "{clean}");

        write("notes.txt", "git does not know this file");
        for path in ["benches/results.json", "benches/RESULTS.md", "benches/plots/prices.svg"] {
            write(path, "measured again");
        }
        assert_eq!(commit(root), clean);
        write("lib.rs", "as it is today");
        assert_eq!(commit(root), format!("{clean}-dirty"));
        git(&["add", "lib.rs"]);
        assert_eq!(commit(root), format!("{clean}-dirty"), "what is staged is not committed");
    }

    /// Whoever changes how the page is written, or edits it by hand, has to run `cargo xtask bench --render`.
    #[test]
    fn the_published_page_and_plots_are_what_the_results_give() {
        let root = Workspace::load().expect("this repository").root().to_owned();
        let folder = root.join("benches");
        let results = load(&folder).expect("results.json can be read");
        let there =
            |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(there(folder.join(DATA)) == results.to_json(), "results.json is not as it would be written");
        assert!(
            there(folder.join(PAGE)) == render::page(&results),
            "RESULTS.md is not what results.json gives"
        );
        let plots = plots::all(&results).expect("plots");
        for plot in &plots {
            assert!(
                there(folder.join(PLOTS).join(&plot.file)) == plot.svg,
                "{} is not what results.json gives",
                plot.file
            );
        }
        let drawn = |file: &str| plots.iter().any(|plot| plot.file == file);
        for entry in fs::read_dir(folder.join(PLOTS)).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            assert!(drawn(&file), "{file} belongs to no result");
        }
    }
}
