//! What a priced handler costs its programmer: time in the compiler, bytes in the program, and the crates that come along.
//!
//! Four packages are written into the target folder: handlers of axum alone, the same with a price of this library, the same with
//! one of the official SDK, the same behind a layer of x402-axum. Each has a program without handlers and one with [`HANDLERS`] of
//! them; the difference is what handlers cost, and what cargo, the linker and everything else take is in neither. The packages have a
//! workspace of their own, with the lock file of `benches/peers`, so that the peers have the versions they have there.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::programs::{Bench, direct_dependencies, versions};
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
    dependencies: &'static str,
    /// The crate of the registry whose version is said, where there is one.
    peer: Option<&'static str>,
    handler: fn(u32) -> String,
    /// What answers at its route.
    answers: fn(u32) -> String,
    /// The program around the routes.
    program: fn(&str) -> String,
}

const CONTENDERS: [Contender; 4] = [
    Contender {
        name: "axum alone",
        package: "handlers-axum",
        dependencies: "",
        peer: Some("axum"),
        handler: of_axum,
        answers: by_itself,
        program: |routes| {
            main_of("use axum::{Router, extract::Path, routing::get};", "", &format!("Router::new(){routes}"))
        },
    },
    Contender {
        name: "this library",
        package: "handlers-ours",
        dependencies: "mpp = { path = \"MPP\", features = [\"sandbox\"] }\n",
        peer: None,
        handler: |n| {
            format!(
                "#[mpp::charge(amount = \"0.{:03}\", currency = \"usdc\", methods(tempo, stripe))]\n\
                 async fn h{n}(Path(city): Path<String>, _: Paid) -> String {{ city }}\n",
                n + 1
            )
        },
        answers: by_itself,
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
        dependencies: "official = { package = \"mpp\", version = \"=0.18.2\", default-features = false, \
                       features = [\"axum\", \"reqwest-rustls-tls-no-provider\", \"stripe\"] }\n",
        peer: Some("mpp"),
        handler: |n| {
            format!(
                "struct P{n};\n\
                 impl ChargeConfig for P{n} {{ fn amount() -> &'static str {{ \"0.{:03}\" }} }}\n\
                 async fn h{n}(Path(city): Path<String>, _: MppCharge<P{n}>) -> String {{ city }}\n",
                n + 1
            )
        },
        answers: by_itself,
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
    Contender {
        name: "x402-axum",
        package: "handlers-x402",
        dependencies: "x402-axum = \"=2.0.2\"\nx402-types = \"=2.0.2\"\n",
        peer: Some("x402-axum"),
        handler: of_axum,
        // Its price stands where the route is, not at the handler; 0.001 of a dollar and more.
        answers: |n| format!("get(h{n}).layer(x402.with_price_tag(price(\"{}\")))", 1_000 * (n + 1)),
        program: |routes| {
            main_of(
                "use axum::{Router, extract::Path, routing::get};\n\
                 use x402_axum::X402Middleware;\n\
                 use x402_types::chain::ChainId;\n\
                 use x402_types::proto::v2::{PaymentRequirements, PriceTag};\n\
                 fn price(amount: &str) -> PriceTag {\n\
                 PriceTag { requirements: PaymentRequirements {\n\
                 scheme: \"exact\".to_owned(), network: ChainId::new(\"eip155\", \"8453\"), amount: amount.to_owned(),\n\
                 pay_to: \"0x70997970C51812dc3A010C7d01b50e0d17dc79C8\".to_owned(), max_timeout_seconds: 300,\n\
                 asset: \"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913\".to_owned(), extra: None },\n\
                 enricher: None }\n\
                 }",
                "let x402 = X402Middleware::new(\"http://127.0.0.1:1\");",
                &format!("Router::new(){routes}"),
            )
        },
    },
];

/// A handler without a price.
fn of_axum(n: u32) -> String {
    format!("async fn h{n}(Path(city): Path<String>) -> String {{ city }}\n")
}

/// A handler that has its price, if any, with it.
fn by_itself(n: u32) -> String {
    format!("get(h{n})")
}

/// `routes` is an expression.
fn main_of(uses: &str, before: &str, routes: &str) -> String {
    format!(
        "#![allow(unused)]\n{uses}\n\
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
            Err(error @ BenchError::Command { .. }) if !contender.is_needed() => {
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
    let peers: Vec<&str> = works.iter().filter_map(|contender| contender.peer).collect();
    measured.versions = versions(&bench.run(direct_dependencies(in_folder(&folder)), LIMIT)?, &peers);
    Ok(measured)
}

impl Contender {
    /// Whether it is ours or what ours is compared with; of the others one may not compile on a machine.
    fn is_needed(&self) -> bool {
        matches!(self.package, "handlers-axum" | "handlers-ours")
    }
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
    copy_lock(&root.join("benches/peers/Cargo.lock"), folder)?;
    for contender in &CONTENDERS {
        let own = folder.join(contender.package);
        fs::create_dir_all(own.join("src/bin"))?;
        let mpp = root.join("mpp");
        let manifest = format!(
            "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[features]\ntempo = [{}]\n\n[dependencies]\n\
             axum = {{ version = \"0.8.9\", default-features = false, features = [\"http1\", \"tokio\"] }}\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"net\", \"rt\"] }}\n{}",
            contender.package,
            if contender.dependencies.starts_with("official") { "\"official/tempo\"" } else { "" },
            contender.dependencies.replace("MPP", &mpp.display().to_string().escape_default().to_string()),
        );
        write(own.join("Cargo.toml"), &manifest)?;
        for (program, handlers) in [(Program::None, 0), (Program::Many, HANDLERS)] {
            let mut routes = String::new();
            let mut text = String::new();
            for n in 0..handlers {
                // Writing to a string cannot fail.
                let _ = write!(routes, "\n.route(\"/{n}/{{city}}\", {})", (contender.answers)(n));
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

/// Again when it is another one. Cargo takes out of its copy what it does not need, so that the two are never the same; of what was
/// copied last, a second copy says it.
fn copy_lock(of_peers: &Path, folder: &Path) -> io::Result<()> {
    let (own, last) = (folder.join("Cargo.lock"), folder.join("Cargo.lock.of-peers"));
    let Ok(lock) = fs::read(of_peers) else { return Ok(()) };
    if own.is_file() && fs::read(&last).is_ok_and(|last| last == lock) {
        return Ok(());
    }
    fs::write(own, &lock)?;
    fs::write(last, &lock)
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
    const OURS: [(&str, &str); 14] = [
        ("this library, the protocol alone", ""),
        ("this library, `server`", "server"),
        ("this library, `openapi` (default)", "openapi"),
        ("this library, `reference`", "reference"),
        ("this library, `client`", "client"),
        ("this library, `server,sandbox`", "server,sandbox"),
        ("this library, `server,stripe`", "server,stripe"),
        ("this library, `server,tempo`", "server,tempo"),
        ("this library, `server,evm`", "server,evm"),
        ("this library, `server,redb`", "server,redb"),
        ("this library, `server,redis`", "server,redis"),
        ("this library, `server,postgres`", "server,postgres"),
        ("this library, `server,metrics`", "server,metrics"),
        ("this library, `testing`", "testing"),
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
        ("x402-axum, no chain", "handlers-x402", ""),
    ] {
        let mut command = in_folder(folder);
        tree(&mut command);
        command.args(["--package", package, "--features", features]);
        // Without the package of the handlers, and without the peer itself where there is one.
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
    fn every_contender_has_the_same_routes_each_with_a_handler_of_its_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_packages(folder.path(), Path::new("/nowhere")).expect("a temporary folder");
        for contender in &CONTENDERS {
            let text = |program| {
                let path = folder.path().join(contender.package).join("src/bin");
                fs::read_to_string(path.join(name(contender, program) + ".rs")).expect("it was written")
            };
            let (none, many) = (text(Program::None), text(Program::Many));
            assert_eq!(none.matches(".route(").count(), 0, "{none}");
            for n in 0..HANDLERS {
                assert!(many.contains(&format!(".route(\"/{n}/{{city}}\", get(h{n})")), "{n}: {many}");
                assert!(many.contains(&format!("async fn h{n}(Path(city): Path<String>")), "{n}: {many}");
            }
        }
    }

    #[test]
    fn a_newer_lock_file_of_the_peers_replaces_the_one_that_cargo_has_changed_since() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (of_peers, own) = (folder.path().join("peers.lock"), folder.path().join("Cargo.lock"));
        let write = |path: &Path, text: &str| fs::write(path, text).expect("a temporary file");
        let copied = || {
            copy_lock(&of_peers, folder.path()).expect("a temporary folder");
            fs::read_to_string(&own).expect("it was copied")
        };
        write(&of_peers, "mpp 0.18.2");
        assert_eq!(copied(), "mpp 0.18.2");
        write(&own, "as cargo wants it");
        assert_eq!(copied(), "as cargo wants it");
        write(&of_peers, "mpp 0.18.3");
        assert_eq!(copied(), "mpp 0.18.3");
    }

    #[test]
    fn packages_of_a_tree_are_counted_once() {
        let tree = "    Updating the index\nmpp v0.1.0 (/somewhere/mpp)\nserde v1.0.2\nserde v1.0.2 (*)\nsyn v2.0.0\nsyn v3.0.0\n\n";
        assert_eq!(count(tree, 1), 3.0);
    }
}
