//! A shop on real payment methods: start it, point a paying client at it, and it earns.
//!
//! `cargo run -p shop -- --tempo-rpc http://127.0.0.1:8545 --recipient 0x…` serves the routes of [`routes`] and takes
//! Tempo payments, `--evm-rpc` payments on an EVM chain, `--stripe-key-file` cards. Everything that can be wrong with the configuration stops it at start with one sentence; see
//! `--help` for the flags.

mod cli;
mod routes;

use axum::serve::ListenerExt;
use cli::{Flags, StoreAt};
use mpp::method::evm::{self, PrivateKeySigner};
use mpp::method::tempo::{Sponsor, rpc_chain_id};
use mpp::method::{MethodProblem, ServerMethod};
use mpp::store::{PostgresStore, RedbStore, RedisStore, Store};
use mpp::{Amount, Evm, Mpp, Sandbox, Secret, Stripe, Tempo};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> ExitCode {
    let flags = match cli::read() {
        Ok(flags) => flags,
        Err(exit) => return exit,
    };
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("shop: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Why the shop does not open: one sentence.
struct Closed(String);

impl Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<MethodProblem> for Closed {
    fn from(problem: MethodProblem) -> Self {
        Self(problem.to_string())
    }
}

impl From<mpp::BuildError> for Closed {
    fn from(report: mpp::BuildError) -> Self {
        Self(report.problems().join("; "))
    }
}

/// Says what was being done when an error came.
fn while_doing<E: Display>(what: impl Display) -> impl FnOnce(E) -> Closed {
    move |why| Closed(format!("{what}: {why}"))
}

async fn run(flags: Flags) -> Result<(), Closed> {
    let listener = TcpListener::bind(flags.listen)
        .await
        .map_err(while_doing(format!("cannot listen on {}", flags.listen)))?;
    let address = listener.local_addr().map_err(while_doing("cannot listen"))?;

    let mpp = configured(&flags, address).await?;
    mpp.check().await?;
    // Only now: a shop that does not open says why in one line.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    mpp.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let sweeper = tokio::spawn(sweep(mpp.clone()));

    println!("shop: listening on http://{address}");
    let app = routes::router(mpp.clone())?.into_make_service_with_connect_info::<SocketAddr>();
    // Responses are small and a payer waits for each.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let asked = Arc::new(Notify::new());
    let serving = axum::serve(listener, app).with_graceful_shutdown(leave(mpp.clone(), asked.clone()));
    let finished = async {
        serving.await.map_err(while_doing("the server stopped"))?;
        mpp.drained().await;
        Ok(())
    };
    let out_of_patience = async {
        asked.notified().await;
        tokio::time::sleep(Duration::from_secs(flags.drain)).await;
    };
    let stopped = tokio::select! {
        finished = finished => finished,
        () = out_of_patience => {
            tracing::warn!("some requests are still under way; their payments are in the journal");
            Ok(())
        }
    };
    sweeper.abort();
    stopped
}

/// Waits to be asked to stop. From then on nothing is claimed, and no connection is accepted; what is under way goes on.
async fn leave(mpp: Mpp, asked: Arc<Notify>) {
    asked_to_stop().await;
    mpp.drain();
    tracing::info!("asked to stop: no more payments are taken");
    asked.notify_one();
}

/// Finishes what a process before this one left, and whatever gets stuck later.
async fn sweep(mpp: Mpp) {
    let mut every_minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        every_minute.tick().await;
        match mpp.recover().await {
            Ok(0) => {}
            Ok(finished) => tracing::info!(finished, "payments that were left behind are finished"),
            Err(error) => tracing::error!(%error, "payments that were left behind could not be finished"),
        }
    }
}

async fn configured(flags: &Flags, address: SocketAddr) -> Result<Mpp, Closed> {
    let public_url = flags.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let builder = Mpp::builder(public_url)
        .secret(secret(flags)?)
        .challenge_lifetime(Duration::from_secs(flags.expires))
        .lease(Duration::from_secs(flags.lease))
        .settle_timeout(Duration::from_secs(flags.settle_timeout));
    let builder = match tempo(flags).await? {
        Some(tempo) => builder.method(tempo),
        None => builder.switched_off("tempo"),
    };
    let builder = match evm(flags).await? {
        Some(evm) => builder.method(evm),
        None => builder.switched_off("evm"),
    };
    let builder = match stripe(flags)? {
        Some(stripe) => builder.method(stripe),
        None => builder.switched_off("stripe"),
    };
    let store = store(flags).await?;
    let builder = match &flags.play_money {
        Some(payer) => builder.method(play_money(payer, store.clone())).allow_test_money(),
        None => builder.switched_off("sandbox"),
    };
    let builder = match store {
        Some(store) => builder.shared_store(store),
        None => builder.single_process_volatile_store(),
    };
    Ok(builder.build()?)
}

/// Where payments are journaled; `None` in memory.
async fn store(flags: &Flags) -> Result<Option<Arc<dyn Store>>, Closed> {
    Ok(match &flags.store {
        StoreAt::Memory => None,
        StoreAt::File(path) => {
            let store = RedbStore::open(path);
            Some(Arc::new(store.map_err(while_doing(format!("cannot use {}", path.display())))?))
        }
        StoreAt::Redis(url) => {
            Some(Arc::new(RedisStore::connect(url).await.map_err(while_doing("cannot use this Redis"))?))
        }
        StoreAt::Postgres(url) => {
            let store = PostgresStore::connect(url).await;
            Some(Arc::new(store.map_err(while_doing("cannot use this database"))?))
        }
    })
}

/// Play money, whose books are in the shop's own store.
fn play_money(payer: &str, store: Option<Arc<dyn Store>>) -> Sandbox {
    let sandbox = Sandbox::new().account(payer, Amount::whole(1_000_000));
    match store {
        Some(store) => sandbox.with_store(store),
        None => sandbox,
    }
}

/// Tempo, if there are flags for it.
async fn tempo(flags: &Flags) -> Result<Option<Tempo>, Closed> {
    let (Some(rpc), Some(recipient)) = (&flags.tempo_rpc, &flags.recipient) else { return Ok(None) };
    let chain_id = match flags.chain_id {
        Some(id) => id,
        None => rpc_chain_id(rpc).await?,
    };
    let mut tempo = Tempo::new(recipient).rpc(rpc).chain_id(chain_id);
    for token in &flags.tempo_token {
        tempo = tempo.token(&token.name, &token.address);
    }
    // Only the main network has USDC; elsewhere the money is play money anyway.
    if let (None, Some(pathusd)) = (tempo.currency("usdc"), tempo.currency("pathusd")) {
        tempo = tempo.token("usdc", &pathusd.id);
    }
    if let Some(path) = &flags.fee_payer_key_file {
        let key = std::fs::read_to_string(path)
            .map_err(while_doing(format!("cannot read the fee payer's key in {}", path.display())))?;
        tempo = tempo.sponsor(Sponsor::local(&key));
    }
    Ok(Some(tempo.payee("platform", flags.split_payee.as_deref().unwrap_or(recipient))))
}

/// An EVM chain, if there are flags for it.
async fn evm(flags: &Flags) -> Result<Option<Evm>, Closed> {
    let (Some(rpc), Some(path)) = (&flags.evm_rpc, &flags.evm_key_file) else { return Ok(None) };
    let key = std::fs::read_to_string(path)
        .map_err(while_doing(format!("cannot read the settlement key in {}", path.display())))?;
    // The parser's own message may quote the text.
    let signer: PrivateKeySigner = key
        .trim()
        .parse()
        .map_err(|_| Closed(format!("{} holds no private key: 32 bytes in hexadecimal", path.display())))?;
    let recipient = flags.recipient.clone().unwrap_or_else(|| signer.address().to_string());
    let chain = evm::rpc_chain_id(rpc).await?;
    let mut evm = Evm::new(&recipient).rpc(rpc).chain(chain).settlement_signer(signer);
    if let Some(token) = &flags.evm_token {
        evm = evm.eip3009_token("usdc", token, 6);
    } else if evm.currency("usdc").is_none() {
        return Err(Closed(format!("no USDC is known on chain {chain}: say --evm-token")));
    }
    Ok(Some(evm))
}

/// Stripe, if there is a key for it.
fn stripe(flags: &Flags) -> Result<Option<Stripe>, Closed> {
    let Some(path) = &flags.stripe_key_file else { return Ok(None) };
    let key = std::fs::read_to_string(path)
        .map_err(while_doing(format!("cannot read the Stripe key in {}", path.display())))?;
    let mut stripe = Stripe::new(key.trim()).network_id(&flags.stripe_network_id);
    if let Some(url) = &flags.stripe_url {
        stripe = stripe.base_url(url);
    }
    if let Some(minimum) = &flags.stripe_minimum {
        stripe = stripe.minimum("usd", minimum);
    }
    Ok(Some(stripe))
}

/// The secret of `--secret-file`; without one, a file store keeps its own beside it, and a memory store has a new one
/// each time (its challenges do not survive either).
fn secret(flags: &Flags) -> Result<Secret, Closed> {
    match (&flags.secret_file, &flags.store) {
        (Some(path), _) => secret_in(path),
        (None, StoreAt::Memory) => Ok(Secret::generate()),
        (None, StoreAt::Redis(_) | StoreAt::Postgres(_)) => Err(Closed(
            "a database is shared by several shops, and so must be their secret: say --secret-file (`mpp secret` makes one)"
                .to_owned(),
        )),
        (None, StoreAt::File(store)) => {
            let path = PathBuf::from(format!("{}.secret", store.display()));
            if path.exists() { secret_in(&path) } else { new_secret_in(&path) }
        }
    }
}

fn secret_in(path: &Path) -> Result<Secret, Closed> {
    let text = std::fs::read_to_string(path).map_err(while_doing(format!(
        "cannot read the secret in {} (`mpp secret` makes one)",
        path.display()
    )))?;
    Secret::from_hex(text.trim())
        .map_err(while_doing(format!("the secret in {} is not usable", path.display())))
}

fn new_secret_in(path: &Path) -> Result<Secret, Closed> {
    use std::io::Write;
    let secret = Secret::generate();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", *secret.expose_hex()))
        .map_err(while_doing(format!("cannot keep the secret in {}", path.display())))?;
    Ok(secret)
}

/// Ctrl-C, or SIGTERM where there is one.
async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return,
                _ = terminate.recv() => return,
            }
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // No signals on this system: only the end of the process stops the shop.
        std::future::pending().await
    }
}
