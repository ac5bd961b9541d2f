//! The PostgreSQL wire protocol over the tables: psql, psycopg, node-postgres, ODBC, ADBC, Grafana, Power BI.
//!
//! Connections are encrypted before anything else is said ([`before_tls`]); who asks proves itself by the key of a
//! policy or by a token of one. Statements only read. Each runs on a thread of its own, some at once.
//!
//! Written here and not taken from a library: what there is brings a second TLS library or a server of its own, and
//! bounds on what a peer sends are the point.

mod connection;
mod copy;
mod message;
mod value;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_analytics::{Cancel, Warehouse};
use gantry_api::Api;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;

/// Connections at once.
const CONNECTIONS_MAX: usize = 200;
/// Statements that run at once.
const RUNNING_MAX: usize = 8;
/// How long a peer may take to say who it is.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of what a peer says before it is known.
const STARTUP_BYTES_MAX: usize = 10_000;

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// The head of one hub's tables.
#[derive(Clone)]
pub struct Postgres(Arc<Shared>);

/// The secret of a connection, and what stops its statement.
type Key = (i32, Arc<Mutex<Cancel>>);

struct Shared {
    warehouse: Arc<Warehouse>,
    api: Arc<Api>,
    connections: Arc<Semaphore>,
    running: Arc<Semaphore>,
    last_id: AtomicI32,
    /// Keys that stop what a connection runs.
    keys: Mutex<HashMap<i32, Key>>,
}

impl Postgres {
    /// The head.
    pub fn new(api: Arc<Api>, warehouse: Arc<Warehouse>) -> Postgres {
        Postgres(Arc::new(Shared {
            warehouse,
            api,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            last_id: AtomicI32::new(0),
            keys: Mutex::default(),
        }))
    }

    /// Serves one connection until it ends. `known` is called when the peer has proven who it is.
    ///
    /// # Errors
    /// When the connection breaks, or the peer breaks the protocol.
    pub async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
        peer: &str,
        known: impl FnOnce() + Send,
    ) -> io::Result<()> {
        connection::serve(self, stream, peer, known).await
    }

    /// Stops what a connection runs, if the key is its own.
    pub fn cancel(&self, id: i32, key: i32) -> bool {
        let keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(&id) {
            Some((own, cancel)) if subtle::ConstantTimeEq::ct_eq(own, &key).into() => {
                cancel.lock().unwrap_or_else(PoisonError::into_inner).cancel();
                true
            }
            _ => false,
        }
    }

    fn enter(&self, key: i32, cancel: Arc<Mutex<Cancel>>) -> Entered<'_> {
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let id = loop {
            // Numbers of connections go round.
            let id = self.0.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if id != 0 && !keys.contains_key(&id) {
                break id;
            }
        };
        keys.insert(id, (key, cancel));
        Entered { postgres: self, id }
    }
}

/// A connection that can be told to stop, until it is dropped.
struct Entered<'a> {
    postgres: &'a Postgres,
    id: i32,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.postgres.0.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What is said before the TLS handshake: whether one follows. A client may ask to stop a statement in the clear, with a
/// key that is good for nothing else; a password is not asked for.
///
/// # Errors
/// When the connection breaks, or the peer says something else.
pub async fn before_tls(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    cancel: impl Fn(i32, i32),
) -> io::Result<bool> {
    // Encryption by Kerberos may be asked for first.
    for _ in 0..2 {
        let len = stream.read_i32().await?;
        let code = stream.read_i32().await?;
        match (len, code) {
            (8, SSL_REQUEST) => {
                stream.write_all(b"S").await?;
                stream.flush().await?;
                return Ok(true);
            }
            (8, GSS_REQUEST) => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
            }
            (16, CANCEL_REQUEST) => {
                let (id, key) = (stream.read_i32().await?, stream.read_i32().await?);
                cancel(id, key);
                return Ok(false);
            }
            _ => {
                let mut out = Vec::new();
                message::error(&mut out, "FATAL", "28000", "connections must be encrypted (sslmode=require)", None);
                stream.write_all(&out).await?;
                stream.shutdown().await?;
                return Ok(false);
            }
        }
    }
    Ok(false)
}
