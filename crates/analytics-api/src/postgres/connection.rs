//! One connection: who it is, what it sets, prepares and asks.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_analytics::{Cancel, Error as RunError, Limits, SqlAsk, SqlRejected, SqlRows};
use gantry_kql::value::Value;
use gantry_sql::statement::{self, CopyFormat, Query, Statement};
use gantry_sql::types::SqlType;
use gantry_sql::{Environment, Error, Parameter, ResultColumn};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::message::{Fields, error, message, row_description, text};
use super::value::{self, sized};
use super::{CANCEL_REQUEST, GSS_REQUEST, Postgres, SSL_REQUEST, STARTUP_BYTES_MAX, STARTUP_TIMEOUT, copy};

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
    user: String,
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
        user: started.user,
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

struct Started {
    user: String,
    settings: HashMap<String, String>,
}

/// Who it is, proven.
async fn startup<S: AsyncRead + AsyncWrite + Unpin>(
    postgres: &Postgres,
    stream: &mut S,
    peer: &str,
) -> Step<Option<Started>> {
    let body = loop {
        let len = usize::try_from(stream.read_i32().await?).unwrap_or(0);
        if !(8..=STARTUP_BYTES_MAX).contains(&len) {
            return Err(End::Fatal("08P01", "invalid length of startup packet".into()));
        }
        let mut body = vec![0; len - 4];
        stream.read_exact(&mut body).await?;
        let code = i32::from_be_bytes([body[0], body[1], body[2], body[3]]);
        match code {
            SSL_REQUEST | GSS_REQUEST => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
            }
            CANCEL_REQUEST => {
                let mut fields = Fields(&body[4..]);
                if let (Some(id), Some(key)) = (fields.int(), fields.int()) {
                    postgres.cancel(id, key);
                }
                return Ok(None);
            }
            code if code >> 16 == 3 => break body,
            _ => return Err(End::Fatal("0A000", "unsupported frontend protocol".into())),
        }
    };
    let minor = i32::from_be_bytes([body[0], body[1], body[2], body[3]]) & 0xffff;
    let mut fields = Fields(&body[4..]);
    let (mut user, mut database, mut settings, mut unknown) = (String::new(), None, HashMap::new(), Vec::new());
    while let Some(name) = fields.text().filter(|name| !name.is_empty()) {
        let Some(value) = fields.text() else {
            return Err(End::Fatal("08P01", "invalid startup packet layout".into()));
        };
        match name {
            "user" => user = value.to_owned(),
            "database" => database = Some(value.to_owned()),
            "replication" if value != "false" && value != "off" && value != "0" => {
                return Err(End::Fatal("0A000", "replication is not supported".into()));
            }
            "replication" => {}
            "options" => read_options(value, &mut settings),
            name if name.starts_with("_pq_.") => unknown.push(name.to_owned()),
            name => {
                settings.insert(name.to_lowercase(), value.to_owned());
            }
        }
    }
    let mut out = Vec::new();
    if minor > 0 || !unknown.is_empty() {
        message(&mut out, b'v', |out| {
            out.extend_from_slice(&(3_i32 << 16).to_be_bytes());
            out.extend_from_slice(&(unknown.len() as i32).to_be_bytes());
            unknown.iter().for_each(|name| text(out, name));
        });
    }
    // The password comes in the clear within TLS.
    message(&mut out, b'R', |out| out.extend_from_slice(&3_i32.to_be_bytes()));
    stream.write_all(&out).await?;
    stream.flush().await?;
    let tag = stream.read_u8().await?;
    let len = usize::try_from(stream.read_i32().await?).unwrap_or(0);
    if tag != b'p' || !(5..=STARTUP_BYTES_MAX).contains(&len) {
        return Err(End::Fatal("08P01", "a password was expected".into()));
    }
    let mut password = vec![0; len - 4];
    stream.read_exact(&mut password).await?;
    let password = Fields(&password).text().unwrap_or_default().to_owned();
    if !gantry_api::password_admits(&postgres.0.api, &user, &password, peer) {
        return Err(End::Fatal("28P01", format!("password authentication failed for user \"{user}\"")));
    }
    let own = postgres.0.warehouse.database();
    if let Some(database) = database.filter(|name| !name.eq_ignore_ascii_case(own)) {
        return Err(End::Fatal("3D000", format!("database \"{database}\" does not exist")));
    }
    Ok(Some(Started { user, settings }))
}

/// `-c name=value` and `--name=value`.
fn read_options(options: &str, settings: &mut HashMap<String, String>) {
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let pair = match word {
            "-c" => words.next().unwrap_or_default(),
            word => word.trim_start_matches("-c").trim_start_matches("--"),
        };
        if let Some((name, value)) = pair.split_once('=') {
            settings.insert(name.to_lowercase().replace('-', "_"), value.to_owned());
        }
    }
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
        let (user, pid, settings) = (self.user.clone(), self.id, self.settings.clone());
        let rows = self
            .work(move |warehouse| {
                let setting = |name: &str| settings.get(name).cloned();
                let environment = Environment { user: &user, pid, setting: &setting };
                let now = crate::kusto::now();
                warehouse.sql(&SqlAsk { query: &query, parameters: &parameters, environment, now, limits, cancel })
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

    async fn prepared(&mut self, text: String, statement: Statement, types: &[u32]) -> Result<Prepared, Error> {
        let given: Vec<Parameter> = types
            .iter()
            .map(|oid| Parameter { ty: SqlType::from_oid(*oid).filter(|ty| *ty != SqlType::UNKNOWN), value: None })
            .collect();
        let (query, single) = match &statement {
            Statement::Query(query) => (Some(query.clone()), None),
            Statement::Copy(query, _) => (Some(query.clone()), None),
            Statement::Show(Some(name)) => (None, Some(shown(name).to_owned())),
            Statement::Show(None) => (None, Some("setting".to_owned())),
            Statement::Explain(_) => (None, Some("QUERY PLAN".to_owned())),
            _ => (None, None),
        };
        let mut parameters: Vec<SqlType> = given.iter().map(|one| one.ty.unwrap_or(SqlType::TEXT)).collect();
        let mut columns = single.map(|name| texts(&name, Vec::new()).columns);
        if let Some(query) = query {
            let (user, settings) = (self.user.clone(), self.settings.clone());
            let bound = self
                .work(move |warehouse| {
                    let setting = |name: &str| settings.get(name).cloned();
                    let now = crate::kusto::now();
                    warehouse.describe_sql(&query, &given, &setting, &user, now)
                })
                .await?;
            parameters = bound.parameters;
            columns = (!matches!(statement, Statement::Copy(..))).then_some(bound.columns);
        }
        Ok(Prepared { text, statement, parameters, columns })
    }

    fn keep(&mut self, name: &str, prepared: Prepared) -> Result<(), Error> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(Error::new("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(Error::new("53400", format!("at most {STATEMENTS_MAX} prepared statements")));
        }
        self.statements.insert(name.to_owned(), prepared);
        Ok(())
    }

    async fn parse(&mut self, fields: &mut Fields<'_>) -> Step<Result<(), (Error, String)>> {
        let (Some(name), Some(sent)) = (fields.text(), fields.text()) else { return Err(protocol()) };
        let Some(count) = fields.short() else { return Err(protocol()) };
        let types: Option<Vec<u32>> = (0..count).map(|_| fields.int().map(|oid| oid as u32)).collect();
        let Some(types) = types else { return Err(protocol()) };
        let text_ = sent.to_owned();
        let parsed = async {
            let split = self.work(move |_| statement::split(&text_).map_err(SqlRejected::Statement)).await?;
            let [statement] = <[Statement; 1]>::try_from(split)
                .map_err(|_| Error::new("42601", "cannot insert multiple commands into a prepared statement"))?;
            let ends = matches!(
                statement,
                Statement::Commit | Statement::Rollback | Statement::Nothing("ROLLBACK") | Statement::Empty
            );
            if self.transaction == Transaction::Failed && !ends {
                return Err(Error::new(
                    "25P02",
                    "current transaction is aborted, commands ignored until end of transaction block",
                ));
            }
            self.prepared(sent.to_owned(), statement, &types).await
        };
        let kept = match parsed.await {
            Ok(prepared) => {
                if name.is_empty() {
                    self.statements.remove("");
                }
                self.keep(name, prepared)
            }
            Err(wrong) => Err(wrong),
        };
        Ok(kept.map(|()| message(&mut self.out, b'1', |_| {})).map_err(|wrong| (wrong, sent.to_owned())))
    }

    fn bind(&mut self, fields: &mut Fields) -> Result<(), (Error, String)> {
        let bare = |wrong: Error| (wrong, String::new());
        let broken = || (Error::new("08P01", "invalid Bind message"), String::new());
        let (portal, name) = (fields.text().ok_or_else(broken)?, fields.text().ok_or_else(broken)?);
        let prepared = self.statements.get(name).cloned().ok_or_else(|| bare(no_statement(name)))?;
        let formats = fields.shorts().ok_or_else(broken)?;
        let count = usize::try_from(fields.short().ok_or_else(broken)?).map_err(|_| broken())?;
        if count != prepared.parameters.len() {
            return Err(bare(Error::new(
                "08P01",
                format!(
                    "bind message supplies {count} parameters, but prepared statement \"{name}\" requires {}",
                    prepared.parameters.len()
                ),
            )));
        }
        let mut values = Vec::with_capacity(count);
        for (at, ty) in prepared.parameters.iter().enumerate() {
            let len = fields.int().ok_or_else(broken)?;
            let binary =
                *formats.get(at).or(if formats.len() == 1 { formats.first() } else { None }).unwrap_or(&0) == 1;
            let value = match usize::try_from(len) {
                Ok(len) => value::read(fields.bytes(len).ok_or_else(broken)?, *ty, binary).map_err(bare)?,
                Err(_) => Value::Null,
            };
            values.push(Parameter { ty: Some(*ty), value: Some(value) });
        }
        let formats = fields.shorts().ok_or_else(broken)?;
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return Err(bare(Error::new("42P03", format!("cursor \"{portal}\" already exists"))));
        }
        if self.portals.len() >= PORTALS_MAX {
            return Err(bare(Error::new("53400", format!("at most {PORTALS_MAX} portals"))));
        }
        self.portals.insert(portal.to_owned(), Portal { prepared, values, formats, rows: None, next: (0, 0), sent: 0 });
        message(&mut self.out, b'2', |_| {});
        Ok(())
    }

    fn describe(&mut self, fields: &mut Fields) -> Result<(), (Error, String)> {
        let broken = || (Error::new("08P01", "invalid Describe message"), String::new());
        let kind = fields.bytes(1).ok_or_else(broken)?;
        let name = fields.text().ok_or_else(broken)?;
        let (columns, formats) = if kind == b"S" {
            let prepared = self.statements.get(name).ok_or_else(|| (no_statement(name), String::new()))?;
            message(&mut self.out, b't', |out| {
                out.extend_from_slice(&(prepared.parameters.len() as i16).to_be_bytes());
                prepared.parameters.iter().for_each(|ty| out.extend_from_slice(&ty.oid().to_be_bytes()));
            });
            (prepared.columns.as_ref(), Vec::new())
        } else {
            let portal = self.portals.get(name).ok_or_else(|| (no_portal(name), String::new()))?;
            (portal.prepared.columns.as_ref(), portal.formats.clone())
        };
        match columns {
            Some(columns) => row_description(&mut self.out, columns, &|at| is_binary(&formats, at)),
            None => message(&mut self.out, b'n', |_| {}),
        }
        Ok(())
    }

    async fn execute(&mut self, fields: &mut Fields<'_>) -> Step<Result<(), (Error, String)>> {
        let (Some(name), Some(count)) = (fields.text(), fields.int()) else { return Err(protocol()) };
        let Some(mut portal) = self.portals.remove(name) else {
            return Ok(Err((no_portal(name), String::new())));
        };
        let limit = if count > 0 { count as u64 } else { u64::MAX };
        if portal.rows.is_none() {
            match self.outcome(&portal.prepared.statement, &portal.values).await {
                Ok(Outcome::Rows(rows, _)) => {
                    let same = portal.prepared.columns.as_ref().is_some_and(|known| {
                        known.len() == rows.columns.len() && known.iter().zip(&rows.columns).all(|(a, b)| a.ty == b.ty)
                    });
                    if !same {
                        // The tables have other columns than when it was prepared.
                        let wrong = Error::new("0A000", "cached plan must not change result type");
                        return Ok(Err((wrong, String::new())));
                    }
                    portal.rows = Some(rows);
                }
                Ok(Outcome::Copy(rows, format)) => {
                    self.copy(&rows, &format).await?;
                    return Ok(Ok(()));
                }
                Ok(Outcome::Done(tag)) => {
                    self.complete(&tag);
                    return Ok(Ok(()));
                }
                Ok(Outcome::Empty) => {
                    message(&mut self.out, b'I', |_| {});
                    return Ok(Ok(()));
                }
                Err(wrong) => return Ok(Err((wrong, portal.prepared.text.clone()))),
            }
        }
        let Some(rows) = portal.rows.clone() else { return Err(protocol()) };
        let (next, sent) = self.send(&rows, portal.next, limit, &portal.formats).await?;
        portal.next = next;
        portal.sent += sent;
        if next.0 < rows.table.chunks.len() {
            message(&mut self.out, b's', |_| {});
        } else {
            self.complete(&format!("SELECT {}", portal.sent));
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(Ok(()))
    }

    fn close(&mut self, fields: &mut Fields) -> Result<(), (Error, String)> {
        let broken = || (Error::new("08P01", "invalid Close message"), String::new());
        let kind = fields.bytes(1).ok_or_else(broken)?;
        let name = fields.text().ok_or_else(broken)?;
        if kind == b"S" {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
        message(&mut self.out, b'3', |_| {});
        Ok(())
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
