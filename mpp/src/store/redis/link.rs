//! One connection to Redis, opened when it is needed and again when it broke.
//!
//! Commands of all tasks share it (RESP pipelining); none of them blocks Redis for long. The stream is opened here
//! and not by the `redis` crate, whose TLS depends on a provider installed for the whole process.

use crate::store::StoreError;
use crate::tls::{self, Wire};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    RedisError, RedisResult, ScriptInvocation,
};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest time to open a connection, and to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a failed attempt the next callers are told so at once: they must not queue for it.
const BREATHER: Duration = Duration::from_millis(250);

pub(super) struct Link {
    info: ConnectionInfo,
    tls: Option<TlsConnector>,
    open: RwLock<Option<Open>>,
    /// Held while connecting: one does, the others wait for it.
    failed: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    /// Which one, so that a late failure does not close its successor.
    id: Arc<()>,
}

impl Link {
    /// Reads the URL; connects later.
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        // The crate's own message may quote the URL, and with it a password.
        let info = url
            .into_connection_info()
            .map_err(|_| failed("the address is not `redis://…`, `rediss://…` or `redis+unix://…`"))?;
        let tls = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(failed("a TLS connection whose certificate is not checked protects nobody"));
            }
            ConnectionAddr::TcpTls { .. } => {
                let config = tls::config(Wire::Tls).map_err(|e| failed(&e.to_string()))?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) => None,
            _ => return Err(failed("this kind of address is not supported")),
        };
        Ok(Self { info, tls, open: RwLock::new(None), failed: tokio::sync::Mutex::new(None) })
    }

    pub(super) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut open = self.open().await?;
        let answer = command.query_async(&mut open.connection).await;
        self.told(&open, answer)
    }

    pub(super) async fn script<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut open = self.open().await?;
        let answer = call.invoke_async(&mut open.connection).await;
        self.told(&open, answer)
    }

    /// Puts the connection away when it is of no more use.
    fn told<T>(&self, open: &Open, answer: RedisResult<T>) -> Result<T, StoreError> {
        answer.map_err(|error| {
            // What was the primary is a replica now (which in a cluster says `MOVED`): the address may lead to another one.
            let elsewhere = matches!(error.code(), Some("READONLY" | "MOVED"));
            if error.is_unrecoverable_error() || error.is_timeout() || elsewhere {
                let mut current = self.open.write().unwrap_or_else(PoisonError::into_inner);
                if current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.id, &open.id)) {
                    *current = None;
                }
            }
            told(&error)
        })
    }

    async fn open(&self) -> Result<Open, StoreError> {
        let current = || self.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(open) = current() {
            return Ok(open);
        }
        let mut failed_before = self.failed.lock().await;
        if let Some(open) = current() {
            return Ok(open);
        }
        if let Some((when, why)) = &*failed_before
            && when.elapsed() < BREATHER
        {
            return Err(why.clone());
        }
        let attempt = tokio::time::timeout(PATIENCE, self.connect()).await;
        match attempt.unwrap_or_else(|_| Err(failed("Redis did not answer in time"))) {
            Ok(connection) => {
                let open = Open { connection, id: Arc::new(()) };
                *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(open.clone());
                *failed_before = None;
                Ok(open)
            }
            Err(why) => {
                *failed_before = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        match (self.info.addr(), &self.tls) {
            (ConnectionAddr::Tcp(host, port), None) => self.speak(tcp(host, *port).await?).await,
            (ConnectionAddr::TcpTls { host, port, .. }, Some(tls)) => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| failed("the host is no name a certificate can be for"))?;
                let stream = tcp(host, *port).await?;
                let stream = tls.connect(name, stream).await.map_err(|e| unreachable(&e))?;
                self.speak(stream).await
            }
            #[cfg(unix)]
            (ConnectionAddr::Unix(path), None) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(|e| unreachable(&e))?;
                self.speak(stream).await
            }
            _ => Err(failed("this kind of address is not supported")),
        }
    }

    /// Logs in and leaves the connection to a task of its own, which ends with it.
    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let settings = self.info.redis_settings();
        let opened = MultiplexedConnection::new_with_config(settings, stream, config).await;
        let (connection, driver) = opened.map_err(|e| told(&e))?;
        tokio::spawn(driver);
        Ok(connection)
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, StoreError> {
    let stream = TcpStream::connect((host, port)).await.map_err(|e| unreachable(&e))?;
    // Swaps are small, and somebody waits for each.
    stream.set_nodelay(true).map_err(|e| unreachable(&e))?;
    Ok(stream)
}

fn unreachable(error: &io::Error) -> StoreError {
    failed(&format!("Redis cannot be reached: {}", error.kind()))
}

/// What Redis said, without its free text: that may quote names or passwords.
fn told(error: &RedisError) -> StoreError {
    match error.code() {
        Some("MPPLOST") => lost(),
        Some("MPPCLOCK") => failed(
            "the clock of this machine is behind that of Redis: it would take credentials that Redis has rightly forgotten. Set \
             the clocks of both",
        ),
        Some("MOVED") => failed(
            "this node of a Redis cluster does not have the tenant's keys, and redirections are not followed: connect to the one \
             that has them (MOVED)",
        ),
        Some(code) => failed(&format!("Redis refused ({code})")),
        None => failed(&format!("Redis did not answer properly: {}", error.category())),
    }
}

pub(super) fn lost() -> StoreError {
    failed(
        "Redis has lost its data or the latest of it, or is another one than before: payments made so far may be unknown to it. When \
         that is dealt with, start the servers again",
    )
}

fn failed(why: &str) -> StoreError {
    StoreError::Backend(why.to_owned())
}
