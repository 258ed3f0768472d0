//! `cargo xtask bench`: runs the benchmarks, and writes `benches/RESULTS.md` and `benches/plots` from what they gave.
//!
//! A benchmark prints what it measured: divan its tree ([`divan`]), `load` its lines ([`lines`]), cargo its own time ([`compile`]). All of it
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
use results::{Measured, Origin, Results};

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
    /// Options for divan, such as a filter or `--sample-count 500`
    #[arg(last = true)]
    rest: Vec<String>,
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
    let folder = match effort {
        Effort::Full => workspace.root().join("benches"),
        Effort::Quick => workspace.scratch("bench-quick"),
    };
    let mut results = load(&folder)?;
    if options.render {
        write(&results, &folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = |group: &Group| options.only.is_empty() || options.only.contains(group);
    let groups: Vec<Group> = Group::value_variants().iter().copied().filter(wanted).collect();
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
                measured.origin = origin(workspace.root());
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
    let mut measured = Measured::default();
    if let Runner::Load(..) = runner {
        let Some(output) = bench.output(runner, &options)? else { return Ok(None) };
        lines::collect(&output, &mut measured);
        return Ok(Some(measured));
    }
    let mut runs = Vec::new();
    for _ in 0..if effort == Effort::Full { RUNS } else { 1 } {
        let Some(output) = bench.output(runner, &options)? else { return Ok(None) };
        runs.push(divan::parse(&output));
    }
    measured.cases = divan::middle(runs);
    Ok(Some(measured))
}

/// How often a program of divan's is run. What slows a machine for a moment slows a case from its first sample to its last; of
/// several runs it slows one, and the middle one counts.
const RUNS: usize = 5;

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
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(root).stderr(Stdio::null()).output();
        let text = output
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default();
        if text.is_empty() { "unknown".to_owned() } else { text }
    };
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = said("uname", &["-sr"]);
    let compiler: Vec<String> = said("rustc", &["--version"]).split(' ').take(2).map(str::to_owned).collect();
    Origin {
        date: said("date", &["-u", "+%F"]),
        machine: format!(
            "{} ({cores} cores), {kernel}",
            model.map_or("an unknown processor", |(_, name)| name)
        ),
        compiler: compiler.join(" "),
        commit: said("git", &["rev-parse", "--short=10", "HEAD"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
