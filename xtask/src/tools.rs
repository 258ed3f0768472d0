//! What the tests need that cargo does not bring: cargo-deny, the npm and PyPI packages of the interop tests, and the
//! databases of the stores.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::run::Step;
use crate::stages::Server;
use crate::tally::Counting;
use crate::workspace::{Workspace, cargo};

/// Exactly this one: the configuration format of cargo-deny changes between versions.
const CARGO_DENY: &str = "0.20.2";

/// The program to call as cargo-deny, and the installation it needs first, if any.
///
/// An installed one of the right version is used; else it goes to `target/tools`, where the next run finds
/// it.
pub(crate) fn cargo_deny(workspace: &Workspace) -> (OsString, Option<Step>) {
    let root = workspace.scratch("tools");
    let own = root.join("bin/cargo-deny");
    let wanted = format!("cargo-deny {CARGO_DENY}");
    for program in [Path::new("cargo-deny"), &own] {
        if version(program).is_some_and(|found| found.trim() == wanted) {
            return (program.into(), None);
        }
    }
    let mut install = cargo();
    install
        .args(["install", "--locked", "--version", CARGO_DENY, "--root"])
        .arg(&root)
        .arg("cargo-deny")
        // Its own build goes to a temporary folder, not among the artefacts of this repository.
        .env_remove("CARGO_TARGET_DIR");
    (own.into(), Some(Step::new(install, Counting::Setup, Duration::from_secs(15 * 60))))
}

/// The installation of the npm packages that `interop/package.json` pins; none before there is such a file.
pub(crate) fn npm_packages(workspace: &Workspace) -> Option<Step> {
    let folder = workspace.root().join("interop");
    if !folder.join("package.json").is_file() {
        return None;
    }
    let mut npm = Command::new("npm");
    // The pins in package.json are exact; a lock file would carry the addresses of one registry.
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(folder);
    Some(Step::new(npm, Counting::Setup, Duration::from_secs(5 * 60)))
}

/// The installation of the PyPI packages that `interop/requirements.txt` pins, into an environment of their own beside the
/// built programs, where the tests look for it. Checks, not preparation: without Python the other tests still run.
pub(crate) fn python_packages(workspace: &Workspace) -> Vec<Step> {
    let requirements = workspace.root().join("interop/requirements.txt");
    if !requirements.is_file() {
        return Vec::new();
    }
    let environment = workspace.scratch("interop-python");
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&environment);
    let own = ["bin/python", "Scripts/python.exe"].map(|file| environment.join(file));
    let mut install = Command::new(own.iter().find(|file| file.is_file()).unwrap_or(&own[0]));
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements);
    [make, install].map(|command| Step::new(command, Counting::Check, Duration::from_secs(5 * 60))).into()
}

/// The installation of the databases that the stores are tested on, from Debian's packages; none when they are there or
/// this is not root on such a system: then the tests say what is missing.
pub(crate) fn databases(without: &[Server]) -> Option<Step> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
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
    if missing.is_empty() || !on_path("apt-get") || !is_root() {
        return None;
    }
    let mut install = Command::new("sh");
    let packages = format!(
        "apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends {}",
        missing.join(" ")
    );
    // A fresh machine may not have the package lists, or old ones.
    install.args(["-c", &format!("{packages} || {{ apt-get update && {packages}; }}")]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    Some(Step::new(install, Counting::Setup, Duration::from_secs(5 * 60)))
}

/// The installation of the browser that opens the pay page, from Debian's packages, under the same conditions. A check:
/// without it one test fails, and says why.
pub(crate) fn browser() -> Option<Step> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if on_path("chromium") || on_path("chromium-browser") || !on_path("apt-get") || !is_root() {
        return None;
    }
    let mut install = Command::new("sh");
    let packages = "apt-get install -y --no-install-recommends chromium fonts-dejavu-core";
    install.args(["-c", &format!("{packages} || {{ apt-get update && {packages}; }}")]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    Some(Step::new(install, Counting::Check, Duration::from_secs(5 * 60)))
}

/// The installation of what counts instructions, from Debian's packages, under the same conditions.
pub(crate) fn valgrind() -> Option<Step> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if on_path("valgrind") || !on_path("apt-get") || !is_root() {
        return None;
    }
    let mut install = Command::new("sh");
    let packages = "apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends valgrind";
    install.args(["-c", &format!("{packages} || {{ apt-get update && {packages}; }}")]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    Some(Step::new(install, Counting::Setup, Duration::from_secs(5 * 60)))
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
