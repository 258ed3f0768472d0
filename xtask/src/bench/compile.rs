//! What a priced handler costs its programmer: time in the compiler, bytes in the program, and the crates that come along.
//!
//! Three packages are written into the target folder: handlers of axum alone, the same with a price of this library, the same with
//! one of the official SDK. Each has a program without handlers and one with [`HANDLERS`] of them; the difference is what handlers cost,
//! and what cargo, the linker and everything else take is in neither. The packages have a workspace of their own, with the lock
//! file of `benches/peers`, so that the SDK has the version it has there.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::programs::Bench;
use super::results::{Measured, Spread};
use super::{BenchError, Effort};
use crate::workspace::cargo;

const HANDLERS: u32 = 200;
/// Of one call of cargo, when everything below the handlers has been compiled.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Whose handlers.
struct Contender {
    /// As the results call it.
    name: &'static str,
    package: &'static str,
    /// Beside axum and tokio.
    dependency: &'static str,
    handler: fn(u32) -> String,
    /// The program around the routes.
    program: fn(&str) -> String,
}

const CONTENDERS: [Contender; 3] = [
    Contender {
        name: "axum alone",
        package: "handlers-axum",
        dependency: "",
        handler: |n| format!("async fn h{n}(Path(city): Path<String>) -> String {{ city }}\n"),
        program: |routes| {
            main_of("use axum::{Router, extract::Path, routing::get};", "", &format!("Router::new(){routes}"))
        },
    },
    Contender {
        name: "this library",
        package: "handlers-ours",
        dependency: "mpp = { path = \"MPP\", features = [\"sandbox\"] }\n",
        handler: |n| {
            format!(
                "#[mpp::charge(amount = \"0.{:03}\", currency = \"usdc\", methods(tempo, stripe))]\n\
                 async fn h{n}(Path(city): Path<String>, _: Paid) -> String {{ city }}\n",
                n + 1
            )
        },
        program: |routes| {
            main_of(
                "use axum::extract::Path;\nuse mpp::{Mpp, Paid, Sandbox, Secret, routing::{Router, get}};",
                "let mpp = Mpp::builder(\"https://api.example.com\")\n\
                 .secret(Secret::generate())\n\
                 .method(Sandbox::named(\"tempo\"))\n\
                 .method(Sandbox::named(\"stripe\").currency(\"usdc\", \"usdc\", 6))\n\
                 .allow_test_money()\n\
                 .build()\n\
                 .expect(\"prices that can be paid\");",
                &format!("Router::new(){routes}.with_state(mpp).into_axum()"),
            )
        },
    },
    Contender {
        name: "official SDK",
        package: "handlers-official",
        dependency: "official = { package = \"mpp\", version = \"=0.18.2\", default-features = false, \
                     features = [\"axum\", \"reqwest-rustls-tls-no-provider\", \"stripe\"] }\n",
        handler: |n| {
            format!(
                "struct P{n};\n\
                 impl ChargeConfig for P{n} {{ fn amount() -> &'static str {{ \"0.{:03}\" }} }}\n\
                 async fn h{n}(Path(city): Path<String>, _: MppCharge<P{n}>) -> String {{ city }}\n",
                n + 1
            )
        },
        program: |routes| {
            main_of(
                "use axum::{Router, extract::Path, routing::get};\n\
                 use official::server::axum::{ChargeChallenger, ChargeConfig, MppCharge};\n\
                 use official::server::{Mpp, StripeConfig, stripe};\n\
                 use std::sync::Arc;",
                "let price = stripe(StripeConfig {\n\
                 secret_key: \"sk_test_nobody\", network_id: \"profile\", payment_method_types: &[\"card\"],\n\
                 currency: \"usd\", decimals: 3 })\n\
                 .secret_key(\"a secret of more than 32 bytes, for a benchmark\");\n\
                 let mpp = Mpp::create_stripe(price).expect(\"its configuration is complete\");",
                &format!("Router::new(){routes}.with_state(Arc::new(mpp) as Arc<dyn ChargeChallenger>)"),
            )
        },
    },
];

/// `routes` is an expression.
fn main_of(uses: &str, before: &str, routes: &str) -> String {
    format!(
        "#![allow(unused_imports)]\n{uses}\n\
         #[tokio::main(flavor = \"current_thread\")]\n\
         async fn main() {{\n\
         {before}\n\
         let app: axum::Router = {routes};\n\
         let listener = tokio::net::TcpListener::bind(\"127.0.0.1:0\").await.expect(\"a free port\");\n\
         axum::serve(listener, app).await.expect(\"it serves\");\n\
         }}\n"
    )
}

/// Measures everything of this group.
pub(crate) fn measure(bench: &mut Bench<'_>, effort: Effort) -> Result<Measured, BenchError> {
    let folder = bench.workspace.scratch("bench-compile");
    let root = bench.workspace.root().to_owned();
    write_packages(&folder, &root).map_err(|source| BenchError::File { path: folder.clone(), source })?;
    let mut measured = Measured::default();
    let rounds = match effort {
        Effort::Full => 7,
        Effort::Quick => 1,
    };
    let mut works = Vec::new();
    for contender in &CONTENDERS {
        // Everything below the handlers, and whether it compiles at all.
        match both(bench, &folder, contender, Way::Check) {
            Ok(_) => works.push(contender),
            Err(error @ BenchError::Command { .. }) if contender.package == "handlers-official" => {
                eprintln!("xtask: {error}");
                measured.skipped.push(format!("{}: it does not compile here", contender.name));
            }
            Err(error) => return Err(error),
        }
    }
    let mut checks = vec![Vec::new(); works.len()];
    for _ in 0..rounds {
        for (contender, times) in works.iter().zip(&mut checks) {
            times.push(both(bench, &folder, contender, Way::Check)?.per_handler());
        }
    }
    for (contender, times) in works.iter().zip(&checks) {
        let values = &mut measured.case_mut(contender.name).values;
        values.extend(Spread::of(times).map(|spread| ("check".to_owned(), spread)));
    }
    if effort == Effort::Full {
        for contender in &works {
            both(bench, &folder, contender, Way::Build)?; // everything below, once
            let built = both(bench, &folder, contender, Way::Build)?;
            let values = &mut measured.case_mut(contender.name).values;
            values.insert("build".to_owned(), Spread::only(built.per_handler()));
            let size = |program| {
                fs::metadata(folder.join("target/release").join(name(contender, program))).map(|it| it.len())
            };
            if let (Ok(none), Ok(many)) = (size(Program::None), size(Program::Many)) {
                let each = (many as f64 - none as f64) / f64::from(HANDLERS);
                values.insert("size".to_owned(), Spread::only(each));
            }
        }
    }
    dependencies(bench, &folder, &mut measured)?;
    Ok(measured)
}

/// What is asked of cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Check,
    /// In the release profile.
    Build,
}

#[derive(Debug, Clone, Copy)]
enum Program {
    None,
    Many,
}

struct Both {
    none: Duration,
    many: Duration,
}

impl Both {
    /// Nanoseconds.
    fn per_handler(&self) -> f64 {
        (self.many.as_nanos() as f64 - self.none.as_nanos() as f64) / f64::from(HANDLERS)
    }
}

fn name(contender: &Contender, program: Program) -> String {
    match program {
        Program::None => format!("{}-none", contender.package),
        Program::Many => format!("{}-many", contender.package),
    }
}

fn both(bench: &mut Bench<'_>, folder: &Path, contender: &Contender, way: Way) -> Result<Both, BenchError> {
    let mut time = |program| -> Result<Duration, BenchError> {
        let name = name(contender, program);
        let path = folder.join(contender.package).join("src/bin").join(format!("{name}.rs"));
        // As after a change, so that cargo compiles it again, and it alone.
        let touched =
            fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        touched.map_err(|source| BenchError::File { path, source })?;
        let mut command = in_folder(folder);
        command.args(match way {
            Way::Check => ["check", "--quiet"].as_slice(),
            Way::Build => &["build", "--quiet", "--release"],
        });
        command.args(["--package", contender.package, "--bin", &name]);
        bench.timed(command)
    };
    Ok(Both { none: time(Program::None)?, many: time(Program::Many)? })
}

fn in_folder(folder: &Path) -> Command {
    let mut command = cargo();
    command.current_dir(folder).env("CARGO_INCREMENTAL", "0").env("CARGO_TARGET_DIR", folder.join("target"));
    command
}

fn write_packages(folder: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let members: Vec<String> =
        CONTENDERS.iter().map(|contender| format!("\"{}\"", contender.package)).collect();
    let workspace = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[profile.dev]\ndebug = 0\n\n[profile.release]\nstrip = true\n",
        members.join(", ")
    );
    write(folder.join("Cargo.toml"), &workspace)?;
    let lock = root.join("benches/peers/Cargo.lock");
    if lock.is_file() && !folder.join("Cargo.lock").is_file() {
        fs::copy(lock, folder.join("Cargo.lock"))?;
    }
    for contender in &CONTENDERS {
        let own = folder.join(contender.package);
        fs::create_dir_all(own.join("src/bin"))?;
        let mpp = root.join("mpp");
        let manifest = format!(
            "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[features]\ntempo = [{}]\n\n[dependencies]\n\
             axum = {{ version = \"0.8.9\", default-features = false, features = [\"http1\", \"tokio\"] }}\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"net\", \"rt\"] }}\n{}",
            contender.package,
            if contender.dependency.starts_with("official") { "\"official/tempo\"" } else { "" },
            contender.dependency.replace("MPP", &mpp.display().to_string().escape_default().to_string()),
        );
        write(own.join("Cargo.toml"), &manifest)?;
        for (program, handlers) in [(Program::None, 0), (Program::Many, HANDLERS)] {
            let mut routes = String::new();
            let mut text = String::new();
            for n in 0..handlers {
                // Writing to a string cannot fail.
                let _ = write!(routes, "\n.route(\"/{n}/{{city}}\", get(h{n}))");
                text += &(contender.handler)(n);
            }
            let program = name(contender, program);
            write(
                own.join("src/bin").join(format!("{program}.rs")),
                &((contender.program)(&routes) + &text),
            )?;
        }
    }
    Ok(())
}

/// Only if it changes something: cargo goes by the time of the file.
fn write(path: PathBuf, text: &str) -> io::Result<()> {
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text)
}

/// How many crates come along, by what is wanted of them.
fn dependencies(bench: &mut Bench<'_>, folder: &Path, measured: &mut Measured) -> Result<(), BenchError> {
    const OURS: [(&str, &str); 10] = [
        ("this library, the protocol alone", ""),
        ("this library, `server`", "server"),
        ("this library, `openapi` (default)", "openapi"),
        ("this library, `client`", "client"),
        ("this library, `server,stripe`", "server,stripe"),
        ("this library, `server,tempo`", "server,tempo"),
        ("this library, `server,evm`", "server,evm"),
        ("this library, `server,redb`", "server,redb"),
        ("this library, `server,redis`", "server,redis"),
        ("this library, `server,postgres`", "server,postgres"),
    ];
    let tree = |command: &mut Command| {
        command.args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    };
    let mut counts = Vec::new();
    for (name, features) in OURS {
        let mut command = cargo();
        command.current_dir(bench.workspace.root());
        tree(&mut command);
        command.args(["--package", "mpp", "--no-default-features", "--features", features]);
        counts.push((name, count(&bench.run(command, LIMIT)?, 1)));
    }
    for (name, package, features) in [
        ("axum and tokio", "handlers-axum", ""),
        ("official SDK, `axum,stripe`", "handlers-official", ""),
        ("official SDK, `axum,stripe,tempo`", "handlers-official", "tempo"),
    ] {
        let mut command = in_folder(folder);
        tree(&mut command);
        command.args(["--package", package, "--features", features]);
        // Without the package of the handlers, and without the SDK itself where there is one.
        let own = if package == "handlers-axum" { 1 } else { 2 };
        counts.push((name, count(&bench.run(command, LIMIT)?, own)));
    }
    for (name, count) in counts {
        measured.case_mut(name).values.insert("dependencies".to_owned(), Spread::only(count));
    }
    Ok(())
}

/// The different packages of a tree, without this many of its own.
fn count(tree: &str, own: usize) -> f64 {
    let is_package = |line: &&str| {
        let version = line.split(' ').nth(1).and_then(|word| word.strip_prefix('v'));
        version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
    };
    let mut packages: Vec<&str> =
        tree.lines().filter(is_package).map(|line| line.trim_end_matches(" (*)")).collect();
    packages.sort_unstable();
    packages.dedup();
    packages.len().saturating_sub(own) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_a_tree_are_counted_once() {
        let tree = "    Updating the index\nmpp v0.1.0 (/somewhere/mpp)\nserde v1.0.2\nserde v1.0.2 (*)\nsyn v2.0.0\nsyn v3.0.0\n\n";
        assert_eq!(count(tree, 1), 3.0);
    }
}
