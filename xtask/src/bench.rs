//! `cargo xtask bench`: runs the benchmarks on one core and prints what each case costs over the free
//! handler.
//!
//! divan prints a tree of medians and allocation counts; a payment's price is a difference between two of its
//! rows, so that is what is computed here, beside the targets of the project. Timings are never a test: a
//! shared machine would make them fail at random.

use std::fmt;
use std::process::{Command, ExitCode, Stdio};

use crate::Error;
use crate::workspace::{Workspace, cargo};

/// The benchmarks of `benches/`: one drives the whole router, one each method alone, one the documents. And the names of the
/// cases that targets speak of.
const BENCHES: [&str; 3] = ["router", "methods", "documents"];
const FREE: &str = "free_handler";
const ONE_METHOD: &str = "challenge_one_method";
const FORGED: &str = "forged_credential";
const STRIPE: &str = "stripe_verify";
const TEMPO: &str = "tempo_transaction";
const START: &str = "start_10_000_priced_routes";
const DOCUMENT: &str = "serve_document";
const FILE: &str = "serve_static_file";

/// What the project promises for one core.
const TARGETS: [Target; 6] = [
    Target { case: ONE_METHOD, over: Some(FREE), nanoseconds: 1_200.0, allocations: Some(20.0) },
    Target { case: FORGED, over: Some(ONE_METHOD), nanoseconds: 1_200.0, allocations: None },
    // Before anybody asks Stripe anything.
    Target { case: STRIPE, over: None, nanoseconds: 20_000.0, allocations: None },
    // Before the first call of a node.
    Target { case: TEMPO, over: None, nanoseconds: 150_000.0, allocations: None },
    // Without the document.
    Target { case: START, over: None, nanoseconds: 100_000_000.0, allocations: None },
    Target { case: DOCUMENT, over: Some(FILE), nanoseconds: 1_000.0, allocations: None },
];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Options for divan, such as a filter or `--sample-count 500`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds the benchmarks, runs them on one core, and prints the table.
///
/// # Errors
/// When they do not build or do not run.
pub(crate) fn bench(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    let mut text = String::new();
    for bench in BENCHES {
        text += &measured(workspace, bench, options)?;
    }
    println!("{text}");
    let cases = parse(&text);
    if let Some(free) = find(&cases, FREE).copied() {
        println!(
            "{:<26}{:>12}{:>13}{:>8}{:>9}{:>13}",
            "case", "median", "over free", "ratio", "allocs", "over free"
        );
        for case in &cases {
            println!("{}", case.against(&free));
        }
        println!();
    }
    TARGETS.iter().filter_map(|target| target.verdict(&cases)).for_each(|line| println!("{line}"));
    Ok(ExitCode::SUCCESS)
}

/// What one benchmark printed.
fn measured(workspace: &Workspace, bench: &str, options: &Options) -> Result<String, Error> {
    let select = ["bench", "--package", "mpp-benches", "--bench", bench];
    let mut build = cargo();
    build.current_dir(workspace.root()).args(select).arg("--no-run");
    if !build.status().is_ok_and(|status| status.success()) {
        return Err(Error::Bench);
    }
    let mut run = on_one_core();
    run.current_dir(workspace.root()).args(select).args(["--quiet", "--"]).args(&options.rest);
    let output = run.stderr(Stdio::inherit()).output().ok().filter(|output| output.status.success());
    Ok(String::from_utf8_lossy(&output.ok_or(Error::Bench)?.stdout).into_owned())
}

/// cargo, held on one core where the system has `taskset`: cases that run on different cores cannot be
/// compared.
fn on_one_core() -> Command {
    let cargo = cargo();
    let pinned = Command::new("taskset").args(["--cpu-list", "0", "true"]).stderr(Stdio::null()).status();
    if !pinned.is_ok_and(|status| status.success()) {
        eprintln!("xtask: no `taskset` here; the benchmarks are not held on one core");
        return cargo;
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(cargo.get_program());
    command
}

/// One measured case: the median of a call, and what it allocates.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Case<'a> {
    name: &'a str,
    nanoseconds: f64,
    /// Calls of the allocator that return memory: allocations and growing reallocations.
    allocations: f64,
}

struct Target {
    case: &'static str,
    /// `None`: the case itself.
    over: Option<&'static str>,
    nanoseconds: f64,
    allocations: Option<f64>,
}

struct Row<'a> {
    case: &'a Case<'a>,
    free: &'a Case<'a>,
}

impl<'a> Case<'a> {
    fn against(&'a self, free: &'a Case<'a>) -> Row<'a> {
        Row { case: self, free }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { case, free } = self;
        write!(
            f,
            "{:<26}{:>9.0} ns{:>10.0} ns{:>7.2}x{:>9.1}{:>13.1}",
            case.name,
            case.nanoseconds,
            case.nanoseconds - free.nanoseconds,
            case.nanoseconds / free.nanoseconds,
            case.allocations,
            case.allocations - free.allocations,
        )
    }
}

impl Target {
    fn verdict(&self, cases: &[Case<'_>]) -> Option<String> {
        let case = find(cases, self.case)?;
        let nothing = Case { name: "", nanoseconds: 0.0, allocations: 0.0 };
        let over = self.over.map_or(Some(&nothing), |over| find(cases, over))?;
        let mut line = compare(case.nanoseconds - over.nanoseconds, self.nanoseconds, "ns");
        if let Some(most) = self.allocations {
            line += ", ";
            line += &compare(case.allocations - over.allocations, most, "allocations");
        }
        let over = self.over.map(|over| format!(" over {over}")).unwrap_or_default();
        Some(format!("{}{over}: {line}", self.case))
    }
}

fn compare(measured: f64, most: f64, unit: &str) -> String {
    let verdict = if measured <= most { "met" } else { "MISSED" };
    format!("{measured:.0} {unit} (target: at most {most:.0}, {verdict})")
}

fn find<'c, 'a>(cases: &'c [Case<'a>], name: &str) -> Option<&'c Case<'a>> {
    cases.iter().find(|case| case.name == name)
}

/// Reads divan's tree: a row per case, below it a count and a size for each kind of allocator call.
fn parse(text: &str) -> Vec<Case<'_>> {
    const MEDIAN: usize = 2;
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut counting = false;
    for line in text.lines() {
        let line = line.trim_start_matches(['├', '╰', '│', '─', ' ']);
        let columns: Vec<&str> = line.split('│').map(str::trim).collect();
        let first = columns[0];
        let median = columns.get(MEDIAN).copied().unwrap_or_default();
        if let Some(nanoseconds) = duration(median) {
            let name = first.split_whitespace().next().unwrap_or_default();
            cases.push(Case { name, nanoseconds, allocations: 0.0 });
        } else if first.ends_with(':') {
            counting = matches!(first, "alloc:" | "grow:");
        } else if counting && let (Ok(count), Some(case)) = (median.parse::<f64>(), cases.last_mut()) {
            case.allocations += count;
            counting = false; // the next row is the size
        }
    }
    cases
}

/// `1.25 µs` in nanoseconds.
fn duration(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let scale = match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
Timer precision: 20 ns
router                     fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ free_handler            443.5 ns      │ 853.2 ns      │ 450 ns        │ 461.3 ns      │ 100     │ 6400
│                          max alloc:    │               │               │               │         │
│                            7           │ 7             │ 7             │ 7             │         │
│                            100 B       │ 100 B         │ 100 B         │ 100 B         │         │
│                          alloc:        │               │               │               │         │
│                            9           │ 9             │ 9             │ 9             │         │
│                            100 B       │ 100 B         │ 100 B         │ 100 B         │         │
╰─ challenge_one_method    1.4 µs        │ 3.2 µs        │ 1.45 µs       │ 1.5 µs        │ 100     │ 25600
                           alloc:        │               │               │               │         │
                             20          │ 20            │ 20            │ 20            │         │
                             2.1 KB      │ 2.1 KB        │ 2.1 KB        │ 2.1 KB        │         │
                           grow:         │               │               │               │         │
                             2           │ 2             │ 2             │ 2             │         │
                             5 B         │ 5 B           │ 5 B           │ 5 B           │         │
";

    #[test]
    fn medians_and_allocations_are_read_from_the_tree_of_divan() {
        let free = Case { name: FREE, nanoseconds: 450.0, allocations: 9.0 };
        let challenge = Case { name: ONE_METHOD, nanoseconds: 1450.0, allocations: 22.0 };
        assert_eq!(parse(TREE), [free, challenge]);
    }

    #[test]
    fn a_target_is_judged_on_the_difference_between_two_cases() {
        let verdict = TARGETS[0].verdict(&parse(TREE)).expect("both cases are there");
        assert_eq!(
            verdict,
            "challenge_one_method over free_handler: 1000 ns (target: at most 1200, met), \
             13 allocations (target: at most 20, met)"
        );
        assert_eq!(TARGETS[1].verdict(&parse(TREE)), None);
    }
}
