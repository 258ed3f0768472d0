//! `cargo xtask guard`, and the stage of that name: the hot paths must not take more instructions than the committed counts.
//!
//! Time on a shared machine says nothing below a factor; instructions do. callgrind counts those of each case of
//! `benches/guard`, and two runs differ by less than a thousandth, whatever else the machine does and wherever the repository
//! lies. `benches/guard/instructions.json` has the counts. One that is [more than 3 %](TOLERANCE) above fails; one that fell as
//! far is said, and `--bless` records both. Allocations are counted by the same run, as calls of the allocator.
//!
//! # What the counts belong to
//! One architecture and one set of vector instructions (libraries choose their code by it at run time): elsewhere nothing is
//! compared. One compiler, which is pinned, and one libc: a failure says when these are others. valgrind pretends to a
//! processor without SHA instructions: hashing weighs several times what it does in earnest, so these counts are for
//! noticing a change. What things cost, `cargo xtask bench` says.
//!
//! # Why not a crate
//! `iai-callgrind` (now `gungraun`) keeps its baselines in `target/`, where a fresh clone has none, and wants a runner of the
//! same version installed by `cargo install`, which takes longer than all of this. What is left is to start valgrind and to read
//! one line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;
use crate::run::Step;
use crate::tally::Counting;
use crate::tools;
use crate::workspace::{Workspace, cargo};

/// The committed counts.
const COUNTS: &str = "benches/guard/instructions.json";
/// How far a count may rise, as a share of what is recorded.
const TOLERANCE: f64 = 0.03;
/// Allocations are whole; what is kept from call to call grows now and then.
const ALLOCATIONS_TOLERANCE: f64 = 0.2;
/// What the allocator is called by.
const ALLOCATORS: [&str; 6] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Record the counts as the ones to keep
    #[arg(long)]
    bless: bool,
    /// Only these cases
    cases: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    #[error("counting instructions needs valgrind (Debian: `apt-get install valgrind`)")]
    NoValgrind,
    #[error("the counts are of another machine: {0}")]
    OtherMachine(String),
    #[error("`benches/guard` does not build; see above")]
    Build,
    #[error("`{0}` did not run under callgrind:\n{1}")]
    Run(String, String),
    #[error("there is no case `{0}` in benches/guard/guard.rs")]
    NoCase(String),
    #[error("{COUNTS}: {0}")]
    Counts(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Counts, compares, and says.
///
/// # Errors
/// When there is nothing to compare: no valgrind, another architecture, a case that does not run.
pub(crate) fn guard(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    Ok(run(workspace, options)?)
}

fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode, GuardError> {
    let here = Machine::here().ok_or(GuardError::NoValgrind)?;
    let path = workspace.root().join(COUNTS);
    let mut recorded = Counts::read(&path)?;
    if !options.bless && !here.is_comparable(&recorded.machine) {
        return Err(GuardError::OtherMachine(recorded.machine.differences(&here)));
    }
    let program = build(workspace)?;
    let names = cases(&program)?;
    if let Some(unknown) = options.cases.iter().find(|wanted| !names.contains(wanted)) {
        return Err(GuardError::NoCase(unknown.clone()));
    }
    let wanted = |name: &String| options.cases.is_empty() || options.cases.contains(name);
    let folder = workspace.scratch("xtask-guard");
    std::fs::create_dir_all(&folder)?;
    println!("{:<30}{:>14}{:>14}{:>9}{:>13}", "case", "instructions", "recorded", "change", "allocations");
    let mut verdicts = Vec::new();
    let mut counted = BTreeMap::new();
    for name in names.iter().filter(|name| wanted(name)) {
        let count = count(&program, name, &folder.join(format!("{name}.out")))?;
        let before = recorded.cases.get(name).copied();
        println!("{}", row(name, count, before));
        verdicts.push((name.clone(), Verdict::of(count, before)));
        counted.insert(name.clone(), count);
    }
    ratios(&counted).iter().for_each(|line| println!("{line}"));
    if options.bless {
        if options.cases.is_empty() {
            recorded.cases.clear();
        }
        recorded.cases.extend(counted);
        recorded.machine = here;
        std::fs::write(&path, recorded.to_text())?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.cases.is_empty() {
        let gone = recorded.cases.keys().filter(|name| !names.contains(name));
        verdicts.extend(gone.map(|name| (name.clone(), Verdict::Gone)));
    }
    let mut failed = false;
    for (name, verdict) in &verdicts {
        let Some(text) = verdict.text() else { continue };
        println!("{name}: {text}");
        failed |= verdict.is_failure();
    }
    if failed {
        println!(
            "where the instructions are: callgrind_annotate {}/CASE.out; what is meant: cargo xtask guard --bless",
            folder.display()
        );
        if recorded.machine != here {
            println!("the counts were made elsewhere: {}", recorded.machine.differences(&here));
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The steps of the stage. Skipped where valgrind cannot be had or the counts say nothing.
pub(crate) fn steps(workspace: &Workspace) -> Vec<Step> {
    let skipped = |why: String| {
        let mut say = Command::new("echo");
        say.arg(format!("not run: {why}"));
        vec![Step::new(say, Counting::Skipped, Duration::from_secs(60))]
    };
    let install = tools::valgrind();
    if install.is_none() && valgrind_version().is_none() {
        return skipped(GuardError::NoValgrind.to_string());
    }
    // What is comparable does not depend on the version of valgrind, which may not be there yet.
    let here = Machine { valgrind: valgrind_version().unwrap_or_default(), ..Machine::known() };
    match Counts::read(&workspace.root().join(COUNTS)) {
        Ok(recorded) if !here.is_comparable(&recorded.machine) => {
            skipped(GuardError::OtherMachine(recorded.machine.differences(&here)).to_string())
        }
        _ => {
            // Not this program's own file: an earlier stage may have built it anew.
            let mut guard = cargo();
            guard.args(["xtask", "guard"]);
            let guard = Step::new(guard, Counting::Check, Duration::from_secs(15 * 60));
            install.into_iter().chain([guard]).collect()
        }
    }
}

/// What one call of a case takes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Count {
    instructions: f64,
    allocations: f64,
}

/// What the counts belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    rustc: String,
    /// Architecture, and the widest vector instructions.
    processor: String,
    valgrind: String,
    /// Where the allocator and `memcpy` are.
    libc: String,
}

impl Machine {
    fn here() -> Option<Machine> {
        Some(Machine { valgrind: valgrind_version()?, ..Machine::known() })
    }

    /// Without valgrind.
    fn known() -> Machine {
        let first_line = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
        };
        let libc = first_line("getconf", &["GNU_LIBC_VERSION"]);
        Machine {
            rustc: first_line("rustc", &["--version"]).unwrap_or_else(unknown),
            processor: processor(),
            valgrind: String::new(),
            libc: libc.unwrap_or_else(unknown),
        }
    }

    /// Whether programs run through the same code. Another compiler or libc makes a difference too, but one to look at: a
    /// guard that goes to sleep when the compiler is raised guards nothing.
    fn is_comparable(&self, recorded: &Machine) -> bool {
        self.processor == recorded.processor
    }

    fn differences(&self, other: &Machine) -> String {
        let pairs = self.members().into_iter().zip(other.members());
        let differing = pairs.filter(|((_, there), (_, here))| there != here);
        differing
            .map(|((name, there), (_, here))| format!("{name} {there}, here {here}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn members(&self) -> [(&'static str, &str); 4] {
        [
            ("rustc", &self.rustc),
            ("processor", &self.processor),
            ("valgrind", &self.valgrind),
            ("libc", &self.libc),
        ]
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// As the libraries see it under valgrind, which knows nothing wider than AVX2.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let vectors = if std::arch::is_x86_feature_detected!("avx2") { "AVX2" } else { "no AVX2" };
        format!("x86_64 with {vectors}")
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.to_owned()
}

fn valgrind_version() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The file of counts.
struct Counts {
    machine: Machine,
    cases: BTreeMap<String, Count>,
}

impl Counts {
    fn read(path: &Path) -> Result<Counts, GuardError> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Counts::parse(&text)).map_err(GuardError::Counts)
    }

    fn parse(text: &str) -> Result<Counts, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let made_with = |name: &str| json["made_with"][name].as_str().unwrap_or_default().to_owned();
        let machine = Machine {
            rustc: made_with("rustc"),
            processor: made_with("processor"),
            valgrind: made_with("valgrind"),
            libc: made_with("libc"),
        };
        let cases = json["per_call"].as_object().ok_or("no `per_call`")?;
        let read = |(name, case): (&String, &Value)| {
            let number = |member: &str| case[member].as_f64().ok_or(format!("`{name}` has no `{member}`"));
            let count = Count { instructions: number("instructions")?, allocations: number("allocations")? };
            Ok((name.clone(), count))
        };
        Ok(Counts { machine, cases: cases.iter().map(read).collect::<Result<_, String>>()? })
    }

    fn to_text(&self) -> String {
        let made_with: BTreeMap<_, _> = self.machine.members().into_iter().collect();
        let per_call: BTreeMap<_, _> = self
            .cases
            .iter()
            .map(|(name, count)| {
                // Tenths and hundredths that change from run to run would be a change in every commit.
                let allocations = (count.allocations * 10.0).round() / 10.0;
                (
                    name,
                    json!({ "instructions": count.instructions.round() as u64, "allocations": allocations }),
                )
            })
            .collect();
        let json = json!({ "made_with": made_with, "per_call": per_call });
        format!("{json:#}\n")
    }
}

/// Builds the program that makes the calls, in release, with line tables.
fn build(workspace: &Workspace) -> Result<PathBuf, GuardError> {
    let mut build = cargo();
    build.current_dir(workspace.root());
    build.args(["build", "--profile", "guard", "--package", "mpp-guard", "--bench", "guard"]);
    build.arg("--message-format=json-render-diagnostics");
    if std::env::var_os("CI").is_some() {
        build.arg("--locked");
    }
    let output = build.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.next_back().filter(|_| output.status.success()).ok_or(GuardError::Build)
}

/// The names of the cases, each called once: what answers wrongly is not worth counting.
fn cases(program: &Path) -> Result<Vec<String>, GuardError> {
    let output = Command::new(program).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(GuardError::Run(program.display().to_string(), text));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn count(program: &Path, case: &str, profile: &Path) -> Result<Count, GuardError> {
    let mut valgrind = Command::new("valgrind");
    // In `measured` alone, and with every name in full where it is used.
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*guard*measured*"]);
    valgrind.args(["--compress-strings=no", "--compress-pos=no"]);
    valgrind.arg(format!("--callgrind-out-file={}", profile.display()));
    let output = valgrind.arg(program).arg(case).output()?;
    let failed = || {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        GuardError::Run(case.to_owned(), text)
    };
    if !output.status.success() {
        return Err(failed());
    }
    let calls = String::from_utf8_lossy(&output.stdout);
    let calls = calls.split_whitespace().nth(1).and_then(|calls| calls.parse::<f64>().ok());
    let calls = calls.filter(|calls| *calls > 0.0).ok_or_else(failed)?;
    let (instructions, allocations) = totals(&std::fs::read_to_string(profile)?).ok_or_else(failed)?;
    Ok(Count { instructions: instructions / calls, allocations: allocations / calls })
}

/// Instructions, and calls of the allocator, of a whole profile.
fn totals(profile: &str) -> Option<(f64, f64)> {
    let mut instructions = None;
    let mut allocations = 0.0;
    let mut allocator = false;
    for line in profile.lines() {
        if let Some(called) = line.strip_prefix("cfn=") {
            allocator = ALLOCATORS.contains(&called);
        } else if let Some(calls) = line.strip_prefix("calls=").filter(|_| allocator) {
            allocations += calls.split(' ').next()?.parse::<f64>().ok()?;
        } else if let Some(total) = line.strip_prefix("totals: ") {
            instructions = total.trim().parse::<f64>().ok();
        }
    }
    // A function that was never entered is not one that costs nothing.
    instructions.filter(|instructions| *instructions > 0.0).map(|instructions| (instructions, allocations))
}

/// How a count stands to the recorded one.
#[derive(Debug, PartialEq)]
enum Verdict {
    Same,
    /// By so many per cent.
    Rose(f64),
    /// From so many to so many.
    MoreAllocations(f64, f64),
    Fell(f64),
    /// Not in the file.
    New,
    /// In the file alone.
    Gone,
}

impl Verdict {
    fn of(count: Count, recorded: Option<Count>) -> Verdict {
        let Some(recorded) = recorded else { return Verdict::New };
        let change = count.instructions / recorded.instructions - 1.0;
        let most = recorded.allocations * (1.0 + TOLERANCE) + ALLOCATIONS_TOLERANCE;
        if change > TOLERANCE {
            Verdict::Rose(100.0 * change)
        } else if count.allocations > most {
            Verdict::MoreAllocations(recorded.allocations, count.allocations)
        } else if change < -TOLERANCE {
            Verdict::Fell(-100.0 * change)
        } else {
            Verdict::Same
        }
    }

    fn is_failure(&self) -> bool {
        match self {
            Verdict::Same | Verdict::Fell(_) => false,
            Verdict::Rose(_) | Verdict::MoreAllocations(..) | Verdict::New | Verdict::Gone => true,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Verdict::Same => None,
            Verdict::Rose(by) => Some(format!("takes {by:.1} % more instructions than recorded")),
            Verdict::MoreAllocations(before, now) => {
                Some(format!("allocates {now:.1} times a call, recorded are {before:.1}"))
            }
            Verdict::Fell(by) => {
                Some(format!("takes {by:.1} % fewer; `cargo xtask guard --bless` keeps it so"))
            }
            Verdict::New => Some("is not recorded; `cargo xtask guard --bless`".to_owned()),
            Verdict::Gone => {
                Some("is recorded, and no case any more; `cargo xtask guard --bless`".to_owned())
            }
        }
    }
}

fn row(name: &str, count: Count, recorded: Option<Count>) -> String {
    let Count { instructions, allocations } = count;
    let (before, change) = match recorded {
        Some(recorded) => {
            let change = 100.0 * (instructions / recorded.instructions - 1.0);
            (format!("{:.0}", recorded.instructions), format!("{change:+.1} %"))
        }
        None => ("-".to_owned(), String::new()),
    };
    format!("{name:<30}{instructions:>14.0}{before:>14}{change:>9}{allocations:>13.1}")
}

/// What the project's targets speak of: a case, and what it is measured by.
fn ratios(counts: &BTreeMap<String, Count>) -> Vec<String> {
    let of = |name: &str| counts.get(name).map(|count| count.instructions);
    [("valid_credential", "unavoidable_for_a_credential"), ("challenge_header", "unavoidable_for_a_header")]
        .into_iter()
        .filter_map(|(case, floor)| Some(format!("{case}: {:.2} times {floor}", of(case)? / of(floor)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of callgrind 3.19, shortened.
    const PROFILE: &str = "\
# callgrind format
events: Ir

fn=guard::measured
10 100
cfn=malloc
calls=3 0
12 300
cfn=mpp::protocol::b64::encode
calls=2 7
13 50
cfn=realloc
calls=1 0
14 20

totals: 6000
";

    fn count(instructions: f64, allocations: f64) -> Count {
        Count { instructions, allocations }
    }

    #[test]
    fn instructions_and_calls_of_the_allocator_are_read_from_a_profile() {
        assert_eq!(totals(PROFILE), Some((6000.0, 4.0)));
        assert_eq!(totals("events: Ir\ntotals: 0\n"), None, "the function was not found");
        assert_eq!(totals(""), None);
    }

    #[test]
    fn more_than_three_per_cent_fails_and_less_is_only_said() {
        let recorded = Some(count(1000.0, 8.0));
        let verdict = |instructions, allocations| Verdict::of(count(instructions, allocations), recorded);
        assert_eq!(verdict(1029.0, 8.1), Verdict::Same);
        assert_eq!(verdict(971.0, 7.0), Verdict::Same);
        assert!(matches!(verdict(1031.0, 8.0), Verdict::Rose(_)));
        assert!(matches!(verdict(969.0, 8.0), Verdict::Fell(_)));
        assert_eq!(verdict(1000.0, 9.0), Verdict::MoreAllocations(8.0, 9.0));
        let failing =
            [verdict(1031.0, 8.0), verdict(900.0, 9.0), Verdict::of(count(1.0, 0.0), None), Verdict::Gone];
        assert!(failing.iter().all(Verdict::is_failure));
        assert!([verdict(1000.0, 8.0), verdict(500.0, 8.0)].iter().all(|verdict| !verdict.is_failure()));
    }

    #[test]
    fn counts_are_read_as_they_were_written() {
        let machine = Machine { valgrind: "valgrind-3.19.0".to_owned(), ..Machine::known() };
        let cases = BTreeMap::from_iter([("a_case".to_owned(), count(24_299.0, 22.2))]);
        let written = Counts { machine, cases }.to_text();
        let read = Counts::parse(&written).expect("our own text");
        assert_eq!(read.to_text(), written);
        assert!(read.machine.is_comparable(&Machine::known()));
        let elsewhere = Machine { processor: "aarch64".to_owned(), ..read.machine.clone() };
        assert!(!elsewhere.is_comparable(&read.machine));
        assert!(read.machine.differences(&elsewhere).starts_with("processor "));
    }

    #[test]
    fn the_committed_counts_are_readable_and_have_every_case() {
        let workspace = Workspace::load().expect("this repository");
        let counts = Counts::read(&workspace.root().join(COUNTS)).expect("the committed counts");
        let source =
            std::fs::read_to_string(workspace.root().join("benches/guard/guard.rs")).expect("the cases");
        for name in counts.cases.keys() {
            assert!(source.contains(&format!("(\"{name}\", ")), "{name}");
        }
        assert!(counts.cases.len() > 10);
    }

    #[test]
    fn a_402_costs_as_much_among_a_thousand_prices_as_among_ten() {
        let workspace = Workspace::load().expect("this repository");
        let counts = Counts::read(&workspace.root().join(COUNTS)).expect("the committed counts");
        let among = |prices: u32| counts.cases[&format!("challenge_among_{prices}_prices")].instructions;
        assert!(among(1000) < among(10) * (1.0 + TOLERANCE));
    }
}
