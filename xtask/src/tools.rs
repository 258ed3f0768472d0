//! What the tests need that cargo does not bring: cargo-deny, cargo-fuzz, the npm and PyPI packages of the interop tests, the databases
//! of the stores, a browser, and valgrind.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::run::Step;
use crate::stages::Server;
use crate::tally::Counting;
use crate::workspace::{Workspace, cargo};

/// A program of cargo's, in exactly this version: what it is told, and what it says, changes between versions.
pub(crate) struct CargoTool {
    name: &'static str,
    version: &'static str,
}

pub(crate) const CARGO_DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2" };
pub(crate) const CARGO_FUZZ: CargoTool = CargoTool { name: "cargo-fuzz", version: "0.13.2" };

impl CargoTool {
    /// What to call, and the installation it needs first, if any.
    ///
    /// An installed one of the right version is used; else it goes to `target/tools`, where the next run finds it.
    pub(crate) fn program(&self, workspace: &Workspace) -> (OsString, Option<Step>) {
        let root = workspace.scratch("tools");
        let own = root.join("bin").join(self.name);
        let wanted = format!("{} {}", self.name, self.version);
        for program in [Path::new(self.name), &own] {
            if version(program).is_some_and(|found| found.trim() == wanted) {
                return (program.into(), None);
            }
        }
        let mut install = cargo();
        install
            .args(["install", "--locked", "--version", self.version, "--root"])
            .arg(&root)
            .arg(self.name)
            // Its own build goes to a temporary folder, not among the artefacts of this repository.
            .env_remove("CARGO_TARGET_DIR");
        (own.into(), Some(Step::new(install, Counting::Setup, Duration::from_secs(15 * 60))))
    }
}

/// The installation of the npm packages that `interop/package.json` pins.
pub(crate) fn npm_packages(workspace: &Workspace) -> Step {
    let mut npm = Command::new("npm");
    // The pins in package.json are exact; a lock file would carry the addresses of one registry.
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
        .current_dir(workspace.root().join("interop"));
    Step::new(npm, Counting::Setup, Duration::from_secs(5 * 60))
}

/// The installation of the PyPI packages that `interop/requirements.txt` pins, into an environment of their own beside the
/// built programs, where the tests look for it. Checks, not preparation: without Python the other tests still run.
pub(crate) fn python_packages(workspace: &Workspace) -> [Step; 2] {
    let requirements = workspace.root().join("interop/requirements.txt");
    let environment = workspace.scratch("interop-python");
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&environment);
    let own = ["bin/python", "Scripts/python.exe"].map(|file| environment.join(file));
    let mut install = Command::new(own.iter().find(|file| file.is_file()).unwrap_or(&own[0]));
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements);
    [make, install].map(|command| Step::new(command, Counting::Check, Duration::from_secs(5 * 60)))
}

/// The installation of the databases that the stores are tested on; none when they are there or cannot be had: then the
/// tests say what is missing.
pub(crate) fn databases(without: &[Server]) -> Option<Step> {
    let postgres = Path::new("/usr/lib/postgresql").is_dir() || on_path("postgres");
    let pooler = on_path("pgbouncer") || Path::new("/usr/sbin/pgbouncer").is_file();
    let missing: Vec<&str> = [
        (Server::Redis, "redis-server", on_path("redis-server")),
        (Server::Postgres, "postgresql", postgres),
        (Server::Postgres, "pgbouncer", pooler),
    ]
    .into_iter()
    .filter(|(server, _, there)| !there && !without.contains(server))
    .map(|(_, package, _)| package)
    .collect();
    debian_packages(&missing, Counting::Setup)
}

/// The installation of the browser that opens the pay page, under the same conditions. A check: without it one test fails,
/// and says why.
pub(crate) fn browser() -> Option<Step> {
    let there = on_path("chromium") || on_path("chromium-browser");
    debian_packages(if there { &[] } else { &["chromium", "fonts-dejavu-core"] }, Counting::Check)
}

/// The installation of what counts instructions, under the same conditions.
pub(crate) fn valgrind() -> Option<Step> {
    debian_packages(if on_path("valgrind") { &[] } else { &["valgrind"] }, Counting::Setup)
}

/// None when nothing is missing, or this is not root on such a system.
fn debian_packages(missing: &[&str], counting: Counting) -> Option<Step> {
    if missing.is_empty() || !on_path("apt-get") || !is_root() {
        return None;
    }
    let missing = missing.join(" ");
    let packages = format!("apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends {missing}");
    let mut install = Command::new("sh");
    // A fresh machine may not have the package lists, or old ones.
    install.args(["-c", &format!("{packages} || {{ apt-get update && {packages}; }}")]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    Some(Step::new(install, counting, Duration::from_secs(5 * 60)))
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// What `<program> --version` prints, if there is such a program.
fn version(program: &Path) -> Option<String> {
    let output =
        Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()
}
