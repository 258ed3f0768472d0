//! `cargo xtask mutants`: every check of the gate, the pipeline, a sponsor and the client is removed in turn, and a test must
//! fail each time.
//!
//! A surviving mutant is a check that no test holds. All mutants are compiled into one program and chosen at run time
//! ([`sites`], `runtime.rs`), so that a mutant costs one run of the tests that come by it ([`campaign`]) instead of one
//! build ([`tree`]). The survivors that are accepted, with the reason, are rows of `mpp/tests/MUTANTS.md`; any
//! other fails the command. This is for maintainers: before a release, and after a change to the files below.

mod campaign;
mod sites;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use self::campaign::{Campaign, Fate, Meets};
use self::sites::Site;
use self::tree::Tree;
use crate::Error;
use crate::workspace::Workspace;

/// The rooms in which a removed check lets somebody in unpaid or twice, lets strangers spend a sponsor's money, or lets a
/// client pay what its owner forbade.
const EXAMINED: [&str; 11] = [
    "mpp/src/server/",
    "mpp/src/method/tempo/sponsor/",
    "mpp/src/pricing/plan.rs",
    "mpp/src/pricing/split.rs",
    "mpp/src/pricing/spec.rs",
    "mpp/src/pricing/registry.rs",
    "mpp/src/protocol/authorization.rs",
    "mpp/src/protocol/binding.rs",
    "mpp/src/protocol/credential.rs",
    "mpp/src/protocol/plain.rs",
    "mpp/src/client/",
];

/// The tests that hold them, besides the unit tests.
const TESTS: [&str; 5] = ["pipeline", "startup", "client", "secrets", "documents"];

/// Where the accepted survivors are.
const ACCEPTED: &str = "mpp/tests/MUTANTS.md";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print the mutants without running any
    #[arg(long)]
    list: bool,
    /// Only files whose path contains this; may name a file that is not examined otherwise
    #[arg(long, value_name = "TEXT")]
    file: Vec<String>,
    /// Only the survivors of the last run, and what hung in it
    #[arg(long)]
    again: bool,
    /// How many mutants run at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MutantsError {
    #[error("mutants: {0}")]
    Io(#[from] std::io::Error),
    #[error("{file} is not Rust: {source}")]
    Parse { file: String, source: syn::Error },
    #[error("the mutated tests do not compile:\n{0}")]
    Build(String),
    #[error("without a mutant, `{0}` fails: {1}")]
    Baseline(String, String),
    #[error("{0}")]
    Run(String),
}

/// One site with its number.
#[derive(Debug, Clone)]
struct Mutant {
    id: u32,
    /// From the root of the repository.
    file: String,
    site: Site,
}

/// Builds and runs every mutant. A survivor that nobody accepted is a failure.
///
/// # Errors
/// When the tests do not compile or do not pass without a mutant: then there is no verdict.
pub(crate) fn mutants(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    Ok(run(workspace, options)?)
}

fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode, MutantsError> {
    let folder = workspace.scratch("mutants");
    let record = folder.join("survivors.md");
    let mut mutants = find(workspace, options)?;
    if options.again {
        let last = rows(&fs::read_to_string(&record)?);
        mutants.retain(|mutant| last.contains(&mutant.key()));
    }
    if options.list {
        mutants.iter().for_each(|mutant| println!("{}", mutant.line()));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} mutants; building the tests with all of them", mutants.len());
    let tree = Tree::copy(workspace)?;
    let programs = tree.build(workspace, &mut mutants, &TESTS)?;
    println!("{} mutants; the tests without any", mutants.len());
    let campaign = Campaign::prepare(&tree, programs, &folder)?;
    println!("the tests with each");
    let accepted = rows(&fs::read_to_string(workspace.root().join(ACCEPTED))?);
    let fates = fates(&campaign, &mutants, &accepted, options.jobs)?;
    let survivors: Vec<&Mutant> = mutants
        .iter()
        .zip(&fates)
        .filter(|(_, fate)| matches!(fate, Fate::Survived | Fate::Unreached))
        .map(|(mutant, _)| mutant)
        .collect();
    print_tables(&mutants, &fates);
    // A hang is a verdict only on a machine that is not busy: `--again` has another look.
    let doubtful = mutants.iter().zip(&fates).filter(|(_, fate)| !matches!(fate, Fate::Killed { .. }));
    fs::write(&record, doubtful.map(|(mutant, _)| mutant.row()).collect::<String>())?;
    let new: Vec<&&Mutant> = survivors.iter().filter(|mutant| !accepted.contains(&mutant.key())).collect();
    println!("\n{} survived, {} of them not accepted in {ACCEPTED}:", survivors.len(), new.len());
    new.iter().for_each(|mutant| println!("{}", mutant.line()));
    Ok(if new.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of each mutant. One that would be a new survivor has met all the tests.
fn fates(
    campaign: &Campaign,
    mutants: &[Mutant],
    accepted: &BTreeSet<[String; 2]>,
    jobs: usize,
) -> Result<Vec<Fate>, MutantsError> {
    let tell = |mutant: &Mutant, fate: &Fate| {
        if !matches!(fate, Fate::Killed { .. }) {
            println!("  {fate:?}: {}", mutant.line());
        }
    };
    let mut fates = campaign.run_all(mutants, Meets::Witnesses, jobs, tell)?;
    let is_new = |at: &usize| fates[*at] == Fate::Survived && !accepted.contains(&mutants[*at].key());
    let new: Vec<usize> = (0..mutants.len()).filter(is_new).collect();
    println!("all the tests with the {} that survived and are not accepted", new.len());
    let unheld: Vec<Mutant> = new.iter().map(|at| mutants[*at].clone()).collect();
    for (at, fate) in new.into_iter().zip(campaign.run_all(&unheld, Meets::All, jobs, tell)?) {
        fates[at] = fate;
    }
    Ok(fates)
}

fn find(workspace: &Workspace, options: &Options) -> Result<Vec<Mutant>, MutantsError> {
    let mut files = BTreeSet::new();
    let wanted: Vec<&str> = match &options.file[..] {
        [] => EXAMINED.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    for file in rust_files(workspace.root().join("mpp/src"))? {
        let file = file.strip_prefix(workspace.root()).unwrap_or(&file).to_string_lossy().into_owned();
        if wanted.iter().any(|wanted| file.contains(wanted)) {
            files.insert(file);
        }
    }
    let mut mutants = Vec::new();
    for file in files {
        let source = fs::read_to_string(workspace.root().join(&file))?;
        let sites =
            sites::find(&source).map_err(|source| MutantsError::Parse { file: file.clone(), source })?;
        mutants.extend(sites.into_iter().map(|site| Mutant { id: 0, file: file.clone(), site }));
    }
    (1..).zip(&mut mutants).for_each(|(id, mutant)| mutant.id = id);
    Ok(mutants)
}

fn rust_files(folder: PathBuf) -> Result<Vec<PathBuf>, MutantsError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

impl Mutant {
    /// For people: `file:line function: what`.
    fn line(&self) -> String {
        format!("{}:{} {}: {}", self.file, self.site.lines.0, self.site.function, self.site.what)
    }

    /// The row of the record, whose reason is to be written.
    fn row(&self) -> String {
        let [file, what] = self.key();
        format!("| {file} | {what} | |\n")
    }

    /// What names a mutant when lines move: the first two cells of its row.
    fn key(&self) -> [String; 2] {
        let file = self.file.trim_start_matches("mpp/src/");
        [format!("`{file}` `{}`", self.site.function), self.site.what.replace('|', "\\|")]
    }
}

/// The first two cells of every row of a table.
fn rows(markdown: &str) -> BTreeSet<[String; 2]> {
    let cells = |line: &str| -> Option<[String; 2]> {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some([cells.next()?.to_owned(), cells.next()?.to_owned()])
    };
    markdown.lines().filter_map(cells).collect()
}

fn print_tables(mutants: &[Mutant], fates: &[Fate]) {
    let mut files: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut killers: BTreeMap<&str, usize> = BTreeMap::new();
    for (mutant, fate) in mutants.iter().zip(fates) {
        let counts = match fate {
            Fate::Killed { program } => {
                *killers.entry(program).or_default() += 1;
                [1, 1, 0, 0]
            }
            Fate::Hung { .. } => {
                *killers.entry("a hang").or_default() += 1;
                [1, 1, 1, 0]
            }
            Fate::Survived | Fate::Unreached => [1, 0, 0, 1],
        };
        for file in [mutant.file.trim_start_matches("mpp/src/"), "all"] {
            let row = files.entry(file).or_default();
            row.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    let all = files.remove("all");
    println!(
        "\n| file | mutants | killed | of these by a hang | survived |\n| --- | --- | --- | --- | --- |"
    );
    let named = files.iter().map(|(file, counts)| (format!("`{file}`"), *counts));
    for (file, [mutants, killed, hung, survived]) in named.chain(all.map(|counts| ("all".to_owned(), counts)))
    {
        println!("| {file} | {mutants} | {killed} | {hung} | {survived} |");
    }
    println!("\nkilled by:");
    killers.iter().for_each(|(program, count)| println!("  {program}: {count}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_record_names_its_mutant_again() {
        let sites = sites::find("fn judge() { if a || b < c {} }").expect("Rust");
        for (id, site) in (1..).zip(sites) {
            let mutant = Mutant { id, file: "mpp/src/server/pipeline.rs".to_owned(), site };
            assert!(rows(&mutant.row()).contains(&mutant.key()), "{}", mutant.row());
        }
    }
}
