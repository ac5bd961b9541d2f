//! One connection: who it is, what it sets, prepares and asks.

mod extended;
mod startup;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_analytics::{By, Cancel, Error as RunError, Limits, SqlAsk, SqlRejected, SqlRows};
use gantry_api::Caller;
use gantry_kql::value::Value;
use gantry_sql::statement::{self, CopyFormat, Query, Statement};
use gantry_sql::types::SqlType;
use gantry_sql::{Environment, Error, Parameter, ResultColumn};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::message::{Fields, error, message, row_description, text};
use super::value::{self, sized};
use super::{Postgres, STARTUP_TIMEOUT, copy};
use startup::startup;

/// Bytes of a message: a statement with its parameters.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How long the rest of a message may take to come.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a peer may take to accept what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Prepared statements of a connection.
const STATEMENTS_MAX: usize = 1_000;
/// Open portals of a connection.
const PORTALS_MAX: usize = 200;
/// Settings of a connection's own.
const SETTINGS_MAX: usize = 200;
/// Bytes that gather before they are written.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of a result.
const RESULT_BYTES_MAX: u64 = 256 << 20;
/// Seconds a statement may run.
const SECONDS_MAX: u64 = 240;

/// What a peer is told and the connection ends with.
enum End {
    /// The peer went.
    Gone(io::Error),
    /// It is told why, and then it is over.
    Fatal(&'static str, String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Gone(error)
    }
}

type Step<T> = Result<T, End>;

/// A prepared statement.
#[derive(Clone)]
struct Prepared {
    text: String,
    statement: Statement,
    parameters: Vec<SqlType>,
    columns: Option<Vec<ResultColumn>>,
}

/// A statement with its parameters, and its rows once it was run.
struct Portal {
    prepared: Prepared,
    values: Vec<Parameter>,
    formats: Vec<i16>,
    rows: Option<Arc<SqlRows>>,
    /// The chunk and the row in it that come next.
    next: (usize, usize),
    sent: u64,
}

/// What an execution yields.
enum Outcome {
    Rows(Arc<SqlRows>, &'static str),
    Copy(Arc<SqlRows>, CopyFormat),
    Done(String),
    Empty,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    Failed,
}

struct Connection<'a, S> {
    postgres: &'a Postgres,
    stream: S,
    out: Vec<u8>,
    /// The policy whose key or token was shown, whatever name came with it.
    user: String,
    /// Asked again before each message: a token of a directory ends, and roles are taken away.
    who: Caller,
    by: By,
    id: i32,
    cancel: Arc<Mutex<Cancel>>,
    settings: HashMap<String, String>,
    given: HashMap<String, String>,
    transaction: Transaction,
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
}

/// Serves one connection until it ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(
    postgres: &Postgres,
    mut stream: S,
    peer: &str,
    known: impl FnOnce() + Send,
) -> io::Result<()> {
    let startup = timeout(STARTUP_TIMEOUT, startup(postgres, &mut stream, peer)).await;
    let started = match startup {
        Ok(Ok(Some(started))) => started,
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(End::Gone(error))) => return Err(error),
        Ok(Err(End::Fatal(state, reason))) => return fatal(stream, state, &reason).await,
        Err(_) => return fatal(stream, "57P05", "nobody said who they are").await,
    };
    known();
    let Ok(_turn) = postgres.0.connections.clone().try_acquire_owned() else {
        return fatal(stream, "53300", "sorry, too many clients already").await;
    };
    let key = rand::random::<i32>();
    let cancel = Arc::new(Mutex::new(Cancel::default()));
    let entered = postgres.enter(key, Arc::clone(&cancel));
    let mut connection = Connection {
        postgres,
        stream,
        out: Vec::new(),
        user: started.who.name().to_owned(),
        by: By { principal: started.who.principal(), ..By::default() },
        who: started.who,
        id: entered.id,
        cancel,
        settings: started.settings.clone(),
        given: started.settings,
        transaction: Transaction::None,
        statements: HashMap::new(),
        portals: HashMap::new(),
    };
    let ended = connection.run(key).await;
    match ended {
        Ok(()) => Ok(()),
        Err(End::Gone(error)) => Err(error),
        Err(End::Fatal(state, reason)) => fatal(connection.stream, state, &reason).await,
    }
}

async fn fatal(mut stream: impl AsyncWrite + Unpin, state: &str, reason: &str) -> io::Result<()> {
    let mut out = Vec::new();
    error(&mut out, "FATAL", state, reason, None);
    stream.write_all(&out).await?;
    stream.flush().await?;
    stream.shutdown().await
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection<'_, S> {
    async fn run(&mut self, key: i32) -> Step<()> {
        message(&mut self.out, b'R', |out| out.extend_from_slice(&0_i32.to_be_bytes()));
        for name in [
            "server_version",
            "server_encoding",
            "client_encoding",
            "application_name",
            "is_superuser",
            "session_authorization",
            "DateStyle",
            "IntervalStyle",
            "TimeZone",
            "integer_datetimes",
            "standard_conforming_strings",
            "default_transaction_read_only",
            "in_hot_standby",
        ] {
            self.report(name);
        }
        let id = self.id;
        message(&mut self.out, b'K', |out| {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&key.to_be_bytes());
        });
        self.ready();
        self.flush().await?;
        // After an error of the extended protocol everything up to Sync is passed over.
        let mut skipping = false;
        loop {
            let tag = match self.stream.read_u8().await {
                Ok(tag) => tag,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Ok(body) = timeout(MESSAGE_TIMEOUT, self.body()).await else {
                return Err(End::Fatal("57P05", "a message did not come to its end".into()));
            };
            let body = body?;
            if !self.who.may_still_read_tables() {
                return Err(End::Fatal(
                    "28000",
                    "the token of this connection ended, or its role was taken away".into(),
                ));
            }
            if skipping && !matches!(tag, b'S' | b'X') {
                continue;
            }
            let mut fields = Fields(&body);
            let done = match tag {
                b'X' => return Ok(()),
                b'Q' => {
                    let sent = fields.text().map(str::to_owned);
                    match sent {
                        Some(sent) => self.simple(&sent).await?,
                        None => self.fail(&Error::new("22021", "invalid byte sequence for encoding \"UTF8\""), ""),
                    }
                    self.ready();
                    self.flush().await?;
                    Ok(())
                }
                b'P' => self.parse(&mut fields).await?,
                b'B' => self.bind(&mut fields),
                b'D' => self.describe(&mut fields),
                b'E' => self.execute(&mut fields).await?,
                b'C' => self.close(&mut fields),
                b'H' => {
                    self.flush().await?;
                    Ok(())
                }
                b'S' => {
                    skipping = false;
                    if self.transaction == Transaction::None {
                        self.portals.clear();
                    }
                    self.ready();
                    self.flush().await?;
                    Ok(())
                }
                // What is left of a copy that failed.
                b'd' | b'c' | b'f' => Ok(()),
                b'F' => Err((Error::unsupported("function call"), String::new())),
                _ => return Err(End::Fatal("08P01", format!("invalid frontend message type {tag}"))),
            };
            if let Err((error, of)) = done {
                self.fail(&error, &of);
                self.flush().await?;
                skipping = true;
            }
            if self.out.len() > WRITE_BYTES {
                self.flush().await?;
            }
        }
    }

    async fn body(&mut self) -> Step<Vec<u8>> {
        let len = usize::try_from(self.stream.read_i32().await?).unwrap_or(0);
        if !(4..=MESSAGE_BYTES_MAX).contains(&len) {
            return Err(End::Fatal("08P01", format!("a message has at most {MESSAGE_BYTES_MAX} bytes")));
        }
        // Room is made as bytes come: a length alone costs nothing.
        let mut body = Vec::new();
        let read = (&mut self.stream).take(len as u64 - 4).read_to_end(&mut body).await?;
        if read != len - 4 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(body)
    }

    async fn flush(&mut self) -> Step<()> {
        let out = std::mem::take(&mut self.out);
        let write = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        match timeout(WRITE_TIMEOUT, write).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    fn ready(&mut self) {
        let status = match self.transaction {
            Transaction::None => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        };
        message(&mut self.out, b'Z', |out| out.push(status));
    }

    fn fail(&mut self, wrong: &Error, of: &str) {
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
        error(&mut self.out, "ERROR", wrong.state, &wrong.message, wrong.position(of));
    }

    fn setting(&self, name: &str) -> Option<String> {
        let name = name.to_lowercase();
        match name.as_str() {
            "session_authorization" | "role" => Some(self.user.clone()),
            name => self.settings.get(name).cloned().or_else(|| statement::setting(name).map(str::to_owned)),
        }
    }

    /// Tells a setting that clients follow.
    fn report(&mut self, name: &str) {
        let value = self.setting(name).unwrap_or_default();
        message(&mut self.out, b'S', |out| {
            text(out, name);
            text(out, &value);
        });
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Result<(), Error> {
        const FIXED: [&str; 6] = [
            "server_version",
            "server_version_num",
            "server_encoding",
            "integer_datetimes",
            "is_superuser",
            "max_identifier_length",
        ];
        if FIXED.contains(&name) {
            return Err(Error::new("55P02", format!("parameter \"{name}\" cannot be changed")));
        }
        let value = match (name, value) {
            (_, None) => None,
            ("client_encoding", Some(value)) => {
                let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                if !matches!(plain.to_lowercase().as_str(), "utf8" | "unicode" | "sqlascii") {
                    return Err(Error::unsupported(format!("client_encoding {value}")));
                }
                Some("UTF8".to_owned())
            }
            ("timezone", Some(value)) => {
                let utc = ["utc", "gmt", "etc/utc", "z", "universal", "zulu", "0", "+00", "+00:00", "utc0"];
                if !utc.contains(&value.to_lowercase().as_str()) {
                    return Err(Error::unsupported(format!("time zone {value}: instants are shown in UTC, which")));
                }
                Some("UTC".to_owned())
            }
            ("datestyle", Some(value)) => {
                if !value.to_lowercase().contains("iso") {
                    return Err(Error::unsupported(format!("DateStyle {value}")));
                }
                Some("ISO, MDY".to_owned())
            }
            ("intervalstyle", Some(value)) if !value.eq_ignore_ascii_case("postgres") => {
                return Err(Error::unsupported(format!("IntervalStyle {value}")));
            }
            ("standard_conforming_strings", Some(value)) if !value.eq_ignore_ascii_case("on") => {
                return Err(Error::unsupported("standard_conforming_strings off"));
            }
            ("default_transaction_read_only" | "transaction_read_only", Some(_)) => Some("on".to_owned()),
            (_, value) => value,
        };
        match value {
            Some(value) if self.settings.len() < SETTINGS_MAX || self.settings.contains_key(name) => {
                self.settings.insert(name.to_owned(), value.chars().take(10_000).collect());
            }
            Some(_) => return Err(Error::new("54000", format!("at most {SETTINGS_MAX} settings"))),
            None => match self.given.get(name) {
                Some(given) => {
                    self.settings.insert(name.to_owned(), given.clone());
                }
                None => {
                    self.settings.remove(name);
                }
            },
        }
        if name == "application_name" {
            self.report(name);
        }
        Ok(())
    }

    /// Works on the statement thread, when it is its turn.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&gantry_analytics::Warehouse) -> Result<T, SqlRejected> + Send + 'static,
    ) -> Result<T, Error> {
        let Ok(turn) = self.postgres.0.running.clone().acquire_owned().await else {
            return Err(Error::new("53000", "the platform is stopping"));
        };
        let warehouse = Arc::clone(&self.postgres.0.warehouse);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            warehouse.with_stack(|| work(&warehouse))
        });
        match done.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(rejected)) => Err(as_error(rejected)),
            Err(failed) => {
                tracing::error!(error = %failed, "a statement ended without an answer");
                Err(Error::new("XX000", "the statement ended without an answer; the log says why"))
            }
        }
    }

    async fn rows(&mut self, query: &Query, parameters: &[Parameter]) -> Result<Arc<SqlRows>, Error> {
        let cancel = {
            let mut held = self.cancel.lock().unwrap_or_else(PoisonError::into_inner);
            *held = Cancel::default();
            held.clone()
        };
        // A peer that hangs up drops this, and with it the statement.
        let _guard = CancelOnDrop(cancel.clone());
        let milliseconds = self.settings.get("statement_timeout").map(|value| milliseconds(value)).unwrap_or(0);
        let seconds_max = if milliseconds > 0 { milliseconds.div_ceil(1_000).min(SECONDS_MAX) } else { SECONDS_MAX };
        let limits = Limits { rows_max: None, bytes_max: Some(RESULT_BYTES_MAX), seconds_max, ..Limits::default() };
        let (query, parameters) = (query.clone(), parameters.to_vec());
        let (user, by, pid, settings) = (self.user.clone(), self.by.clone(), self.id, self.settings.clone());
        let rows = self
            .work(move |warehouse| {
                let setting = |name: &str| settings.get(name).cloned();
                let environment =
                    Environment { dialect: gantry_sql::Dialect::PostgreSql, user: &user, pid, setting: &setting };
                let now = crate::kusto::now();
                warehouse.sql(&SqlAsk { query: &query, parameters: &parameters, by, environment, now, limits, cancel })
            })
            .await?;
        match &rows.table.failure {
            Some(failure) => Err(as_error(SqlRejected::Run(failure.clone()))),
            None => Ok(Arc::new(rows)),
        }
    }

    async fn simple(&mut self, sent: &str) -> Step<()> {
        let text_ = sent.to_owned();
        let split = self.work(move |_| statement::split(&text_).map_err(SqlRejected::Statement)).await;
        let statements = match split {
            Ok(statements) => statements,
            Err(wrong) => {
                self.fail(&wrong, sent);
                return Ok(());
            }
        };
        // The unnamed statement ends with a simple query.
        self.statements.remove("");
        for statement in statements {
            match self.outcome(&statement, &[]).await {
                Ok(Outcome::Rows(rows, word)) => {
                    row_description(&mut self.out, &rows.columns, &|_| false);
                    let (_, sent) = self.send(&rows, (0, 0), u64::MAX, &[]).await?;
                    self.complete(&format!("{word} {sent}"));
                }
                Ok(Outcome::Copy(rows, format)) => self.copy(&rows, &format).await?,
                Ok(Outcome::Done(tag)) => self.complete(&tag),
                Ok(Outcome::Empty) => message(&mut self.out, b'I', |_| {}),
                Err(wrong) => {
                    self.fail(&wrong, sent);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, tag: &str) {
        message(&mut self.out, b'C', |out| text(out, tag));
    }

    /// Runs a statement.
    async fn outcome(&mut self, statement: &Statement, parameters: &[Parameter]) -> Result<Outcome, Error> {
        if self.transaction == Transaction::Failed
            && !matches!(statement, Statement::Commit | Statement::Rollback | Statement::Nothing("ROLLBACK"))
        {
            return Err(Error::new(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(match statement {
            Statement::Empty => Outcome::Empty,
            Statement::Query(query) => Outcome::Rows(self.rows(query, parameters).await?, "SELECT"),
            Statement::Copy(query, format) => Outcome::Copy(self.rows(query, parameters).await?, format.clone()),
            Statement::Explain(query) => {
                let lines = vec![format!("Query: {query}")];
                Outcome::Rows(Arc::new(texts("QUERY PLAN", lines)), "EXPLAIN")
            }
            Statement::Show(Some(name)) => match self.setting(name) {
                Some(value) => Outcome::Rows(Arc::new(texts(shown(name), vec![value])), "SHOW"),
                None => {
                    return Err(Error::new("42704", format!("unrecognized configuration parameter \"{name}\"")));
                }
            },
            Statement::Show(None) => {
                let lines = statement::SETTINGS
                    .iter()
                    .map(|(name, _)| format!("{name} = {}", self.setting(name).unwrap_or_default()))
                    .collect();
                Outcome::Rows(Arc::new(texts("setting", lines)), "SHOW")
            }
            Statement::Set(name, value) => {
                self.set(name, value.clone())?;
                Outcome::Done(if value.is_some() { "SET".into() } else { "RESET".into() })
            }
            Statement::ResetAll => {
                self.settings = self.given.clone();
                Outcome::Done("RESET".into())
            }
            Statement::DiscardAll => {
                self.settings = self.given.clone();
                self.statements.clear();
                self.portals.clear();
                Outcome::Done("DISCARD ALL".into())
            }
            Statement::Deallocate(None) => {
                self.statements.clear();
                Outcome::Done("DEALLOCATE ALL".into())
            }
            Statement::Deallocate(Some(name)) => {
                // Clients let go of what a failed transaction has taken already.
                self.statements.remove(name);
                Outcome::Done("DEALLOCATE".into())
            }
            Statement::Begin => {
                self.transaction = Transaction::Open;
                Outcome::Done("BEGIN".into())
            }
            Statement::Commit => {
                let failed = std::mem::replace(&mut self.transaction, Transaction::None) == Transaction::Failed;
                Outcome::Done(if failed { "ROLLBACK".into() } else { "COMMIT".into() })
            }
            Statement::Rollback => {
                self.transaction = Transaction::None;
                Outcome::Done("ROLLBACK".into())
            }
            Statement::Nothing(tag) => {
                if *tag == "ROLLBACK" && self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Open;
                }
                Outcome::Done((*tag).to_owned())
            }
            Statement::Prepare(name, query) => {
                let prepared = self.prepared(query.to_string(), Statement::Query(query.clone()), &[]).await?;
                self.keep(name, prepared)?;
                Outcome::Done("PREPARE".into())
            }
            Statement::Execute(name, arguments) => {
                let Some(prepared) = self.statements.get(name).cloned() else {
                    return Err(no_statement(name));
                };
                let mut values = Vec::new();
                for (at, argument) in arguments.iter().enumerate() {
                    let ty = prepared.parameters.get(at).copied().unwrap_or(SqlType::TEXT);
                    values.push(Parameter { ty: Some(ty), value: Some(self.argument(argument, ty).await?) });
                }
                let Statement::Query(query) = &prepared.statement else { return Err(Error::unsupported("EXECUTE")) };
                Outcome::Rows(self.rows(query, &values).await?, "SELECT")
            }
        })
    }

    async fn argument(&mut self, argument: &impl std::fmt::Display, ty: SqlType) -> Result<Value, Error> {
        let text_ = format!("SELECT CAST({argument} AS {})", ty.long_name());
        let query = self.work(move |_| gantry_sql::parse(&text_).map_err(SqlRejected::Statement)).await?;
        let rows = self.rows(&query, &[]).await?;
        let chunk = rows.table.chunks.first().filter(|chunk| chunk.rows > 0);
        Ok(chunk.map_or(Value::Null, |chunk| chunk.columns[0].value(0)))
    }

    /// Sends rows from a place on; says where the next one is, and how many were sent.
    async fn send(
        &mut self,
        rows: &SqlRows,
        from: (usize, usize),
        limit: u64,
        formats: &[i16],
    ) -> Step<((usize, usize), u64)> {
        let (mut chunk_at, mut row) = from;
        let mut sent = 0;
        while let Some(chunk) = rows.table.chunks.get(chunk_at) {
            if row >= chunk.rows {
                (chunk_at, row) = (chunk_at + 1, 0);
                continue;
            }
            if sent >= limit {
                break;
            }
            message(&mut self.out, b'D', |out| {
                out.extend_from_slice(&(rows.columns.len() as i16).to_be_bytes());
                for (at, (column, values)) in rows.columns.iter().zip(&chunk.columns).enumerate() {
                    match values.value(row) {
                        Value::Null => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                        value => {
                            sized(out, |out| value::write(&value, column.ty, is_binary(formats, at), out));
                        }
                    }
                }
            });
            row += 1;
            sent += 1;
            if self.out.len() > WRITE_BYTES {
                self.flush().await?;
            }
        }
        Ok(((chunk_at, row), sent))
    }

    async fn copy(&mut self, rows: &SqlRows, format: &CopyFormat) -> Step<()> {
        let binary = format.kind == statement::CopyKind::Binary;
        message(&mut self.out, b'H', |out| {
            out.push(u8::from(binary));
            out.extend_from_slice(&(rows.columns.len() as i16).to_be_bytes());
            rows.columns.iter().for_each(|_| out.extend_from_slice(&i16::from(binary).to_be_bytes()));
        });
        let mut head = copy::head(format, &rows.columns).unwrap_or_default();
        let mut count = 0;
        for chunk in &rows.table.chunks {
            for row in 0..chunk.rows {
                let mut line = std::mem::take(&mut head);
                copy::row(format, &rows.columns, chunk, row, &mut line);
                message(&mut self.out, b'd', |out| out.extend_from_slice(&line));
                count += 1;
                if self.out.len() > WRITE_BYTES {
                    self.flush().await?;
                }
            }
        }
        head.extend(copy::tail(format).unwrap_or_default());
        if !head.is_empty() {
            message(&mut self.out, b'd', |out| out.extend_from_slice(&head));
        }
        message(&mut self.out, b'c', |_| {});
        self.complete(&format!("COPY {count}"));
        Ok(())
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn protocol() -> End {
    End::Fatal("08P01", "invalid message format".into())
}

fn no_statement(name: &str) -> Error {
    Error::new("26000", format!("prepared statement \"{name}\" does not exist"))
}

fn no_portal(name: &str) -> Error {
    Error::new("34000", format!("portal \"{name}\" does not exist"))
}

/// Whether column n is asked for in binary: one format stands for all.
fn is_binary(formats: &[i16], at: usize) -> bool {
    match formats {
        [one] => *one == 1,
        formats => formats.get(at) == Some(&1),
    }
}

/// The name of the column that `show` answers with.
fn shown(name: &str) -> &str {
    match name {
        "timezone" => "TimeZone",
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        name => name,
    }
}

fn milliseconds(value: &str) -> u64 {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..digits].parse().unwrap_or(0);
    match value[digits..].trim() {
        "s" => number.saturating_mul(1_000),
        "min" => number.saturating_mul(60_000),
        "h" => number.saturating_mul(3_600_000),
        _ => number,
    }
}

/// Rows of one column of texts.
fn texts(name: &str, lines: Vec<String>) -> SqlRows {
    let rows = lines.into_iter().map(|line| vec![Value::String(line)]).collect();
    let table = gantry_analytics::small_table(&[(name, gantry_kql::value::Type::String)], rows);
    SqlRows { columns: vec![ResultColumn { name: name.to_owned(), ty: SqlType::TEXT, origin: None }], table }
}

/// Why there are no rows, as PostgreSQL says it.
fn as_error(rejected: SqlRejected) -> Error {
    let error = match rejected {
        SqlRejected::Statement(error) => return error,
        SqlRejected::Run(error) => error,
    };
    let state = match &error {
        RunError::Sql { state, .. } => state,
        RunError::NotImplemented(_) => "0A000",
        RunError::Evaluation(_) => "22000",
        RunError::Cancelled | RunError::Timeout(_) => "57014",
        RunError::Rows(_) | RunError::Size(_) | RunError::TooManyRows { .. } => "54000",
        RunError::Memory { .. } => "53200",
        RunError::Table { .. } => "58030",
        RunError::Forbidden { .. } => "42501",
    };
    let message = match &error {
        RunError::Cancelled => "canceling statement due to user request".to_owned(),
        RunError::Timeout(_) => "canceling statement due to statement timeout".to_owned(),
        error => error.to_string(),
    };
    Error::new(state, message)
}
