//! Real database servers for the tests of their stores: each on a free port, with its data in a temporary folder,
//! stopped when it is dropped.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Connects to a server that has just been started: it refuses for a moment.
pub(crate) async fn ready<S, E: Display, F: Future<Output = Result<S, E>>>(connect: impl Fn() -> F) -> S {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        match connect().await {
            Ok(store) => return store,
            Err(_) if Instant::now() < patience => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The command line over this folder, on this port.
type Start = dyn Fn(&Path, u16) -> Command + Send + Sync;

/// A server that can be stopped hard and started again over the same data.
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: TempDir,
    start: Box<Start>,
    process: Option<Child>,
}

impl Server {
    /// A Redis with these further settings; `None` when there is no `redis-server` and that is acceptable.
    pub(crate) fn redis(settings: &[&str]) -> Option<Server> {
        let program = program("redis-server", &[])?;
        let settings: Vec<String> = settings.iter().map(|&word| word.to_owned()).collect();
        let start = move |folder: &Path, port: u16| {
            let mut command = Command::new(&program);
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]);
            command.arg(folder).args(&settings);
            command
        };
        Some(Server::run(folder(), start))
    }

    /// A whole cluster of one Redis (7 or later): it has every slot, and refuses what touches two of them as any cluster does.
    pub(crate) fn redis_cluster() -> Option<Server> {
        let bus = free_port().to_string();
        let server =
            Server::redis(&["--appendonly", "yes", "--cluster-enabled", "yes", "--cluster-port", &bus])?;
        assert_eq!(server.answer("CLUSTER ADDSLOTSRANGE 0 16383"), "+OK");
        let patience = Instant::now() + Duration::from_secs(30);
        while server.answer("EXISTS anything") != ":0" {
            assert!(Instant::now() < patience, "the cluster did not come up: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// A PostgreSQL with a superuser `postgres` and the password `secret`; `None` as above.
    pub(crate) fn postgres() -> Option<Server> {
        let initdb = program("initdb", &postgres_folders())?;
        let program = program("postgres", &postgres_folders())?;
        let folder = folder();
        let password = folder.path().join("password");
        fs::write(&password, "secret").expect("a temporary file");
        let mut init = unprivileged(folder.path(), initdb.as_ref());
        init.args([
            "--auth=scram-sha-256",
            "--username=postgres",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        init.arg(format!("--pwfile={}", password.display())).arg("--pgdata").arg(folder.path().join("data"));
        let output = init.output().expect("initdb starts");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let start = move |folder: &Path, port: u16| {
            let mut command = unprivileged(folder, program.as_ref());
            command.arg("-D").arg(folder.join("data")).args([
                "-p",
                &port.to_string(),
                "-h",
                "127.0.0.1",
                "-k",
                "",
            ]);
            command.args(["-c", "max_connections=200"]);
            command
        };
        Some(Server::run(folder, start))
    }

    /// A pgbouncer in transaction mode before that PostgreSQL, with fewer connections to it than a store opens.
    pub(crate) fn pgbouncer(before: &Server) -> Option<Server> {
        let program = program("pgbouncer", &["/usr/sbin".into()])?;
        let folder = folder();
        fs::write(folder.path().join("password"), "\"postgres\" \"secret\"").expect("a temporary file");
        let database = before.port;
        let start = move |folder: &Path, port: u16| {
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
                 pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 200\n\
                 ignore_startup_parameters = extra_float_digits\n",
                folder.join("password").display()
            );
            fs::write(folder.join("settings"), settings).expect("a temporary file");
            let mut command = unprivileged(folder, program.as_ref());
            command.arg(folder.join("settings"));
            command
        };
        Some(Server::run(folder, start))
    }

    fn run(folder: TempDir, start: impl Fn(&Path, u16) -> Command + Send + Sync + 'static) -> Server {
        let mut server = Server { port: free_port(), folder, start: Box::new(start), process: None };
        server.start();
        server
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start(&mut self) {
        let log = File::create(self.folder.path().join("log")).expect("a temporary file");
        let mut command = (self.start)(self.folder.path(), self.port);
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("a second handle")).stdout(log);
        self.process = Some(command.spawn().expect("the server starts"));
        let patience = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < patience, "the server did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where this PostgreSQL is, for a user.
    pub(crate) fn postgres_url(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// What this Redis answers to a command of its operator; one line.
    pub(crate) fn answer(&self, command: &str) -> String {
        let mut operator = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it is up");
        operator.write_all(format!("{command}\r\n").as_bytes()).expect("it listens");
        let mut answer = String::new();
        BufReader::new(operator).read_line(&mut answer).expect("it answers");
        answer.trim_end().to_owned()
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may be gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    port.expect("a free port").port()
}

/// Readable by others: a server may run as another user.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().expect("a temporary folder")
}

/// The program, from the path or one of these folders. Without it the test is skipped, but for `cargo xtask test`, which
/// has installed it.
fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(folders.iter().cloned()).map(|folder| folder.join(name));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        let missing = format!("`{name}` is not installed, so this test cannot run");
        assert!(std::env::var_os("MPP_XTASK").is_none_or(|v| v != "1"), "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}

/// Debian keeps the server's programs off the path, per version.
fn postgres_folders() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

/// PostgreSQL refuses to run as root: then it runs as `nobody`, who is given the folder.
fn unprivileged(folder: &Path, program: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder).expect("the folder is there"));
    if owner == 0 || owner == NOBODY {
        for path in [folder.to_owned(), folder.join("password")] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(folder).env("HOME", folder);
    command
}

const NOBODY: u32 = 65_534;
