//! The tables of a platform, and texts asked of them.
//!
//! A [`Warehouse`] has one database of tables that come through a port ([`Source`]); a text is parsed, bound against
//! their columns and run. Management commands are answered from the same tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_kql::Diagnostic;
use gantry_kql::bound::{Column, Schema};
use gantry_kql::value::{Type, Value};

use crate::chunk::Chunk;
use crate::column::Builder;
use crate::context::{Cancel, Context, Limits};
use crate::engine::{self, Part, Table};
use crate::error::{Error, Result};
use crate::journal::{Entry, Journal, new_guid};
use crate::models::{Models, NoModels};
use crate::operators::Flow;
use crate::outside::{NoOutside, Outside};
use crate::pushdown::Need;
use crate::store::{MemoryStore, TableStore};
use crate::world::World;

/// Rows of one table, as the platform has them now.
pub trait Source: Send + Sync {
    /// What the table holds, in a sentence.
    fn about(&self) -> &'static str;

    /// The columns that tell one row from all others, together; none when nothing does.
    fn key(&self) -> &'static [&'static str] {
        &[]
    }

    /// Of a table to which rows are only ever added: the column by which rows of one [`key`](Self::key) but for it
    /// rise, each new one behind all that are there.
    fn rises_by(&self) -> Option<&'static str> {
        None
    }

    /// Its columns, at this instant.
    ///
    /// # Errors
    /// When they cannot be found out.
    fn columns(&self) -> Result<Vec<Column>>;

    /// Calls for its rows, with these columns (those of an earlier [`columns`](Self::columns)), until it answers that
    /// it has enough. What the query does not need may be absent.
    ///
    /// # Errors
    /// When rows cannot be read, and what the sink returns.
    fn scan(
        &self,
        columns: &[Column],
        need: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow>;

    /// The same in pieces of one instant, which may be read beside each other.
    ///
    /// # Errors
    /// When it is not known which there are.
    fn parts<'a>(&'a self, columns: &[Column], need: &'a Need, context: &'a Context) -> Result<Vec<Part<'a>>> {
        let columns = columns.to_vec();
        Ok(vec![Box::new(move |sink| self.scan(&columns, need, context, sink))])
    }
}

/// Limits, given what `set` says in a text.
pub type LimitsOf<'a> = &'a (dyn Fn(&[(String, Value)]) -> Limits + Sync);

/// A text asked of the tables.
pub struct Ask<'a> {
    /// The database; the default one without.
    pub database: Option<&'a str>,
    /// The text.
    pub text: &'a str,
    /// Values of `declare query_parameters`: literals of the language, or plain texts.
    pub parameters: &'a [(String, String)],
    /// The instant, in ticks.
    pub now: i64,
    /// The limits, given what `set` says in the text.
    pub limits: LimitsOf<'a>,
    /// Rows after which a result ends in silence.
    pub rows_wanted: Option<u64>,
    /// Stops it from outside.
    pub cancel: Cancel,
    /// Who asks.
    pub by: By,
}

/// Who asks, and what they may do beside reading.
#[derive(Debug, Clone, Default)]
pub struct By {
    /// Who, as `current_principal()` says it: `policy=service`, `user=admin`.
    pub principal: String,
    /// With which program.
    pub application: String,
    /// What the client calls its request.
    pub request_id: String,
    /// May write into tables and define things.
    pub may_write: bool,
    /// May say who may do what.
    pub may_administer: bool,
}

impl Ask<'_> {
    /// What every part of the query shares, given what `set` says in its text.
    pub(crate) fn context(&self, options: &[(String, Value)]) -> Arc<Context> {
        let limits = (self.limits)(options);
        let context = Context::new(self.now, limits, self.cancel.clone(), seed()).with_options(options);
        Arc::new(context.with_principal(&self.by.principal))
    }
}

/// Why a text was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The text is not of the language, or means nothing here.
    Text {
        /// Code of the reference (`SYN0002`, `SEM0100`).
        code: &'static str,
        /// Line, from 1.
        line: usize,
        /// Character of the line, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// There is no such database.
    Database(String),
    /// There is no such thing.
    NotFound {
        /// `Table`, `Function`...
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There is one of this name.
    Exists {
        /// `Table`, `Function`...
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// What was asked makes no sense here, or not now.
    Wrong(String),
    /// The caller may not do it.
    Forbidden(String),
    /// A command that the reference knows and this does not.
    NotImplemented(String),
    /// It could not be run.
    Run(Error),
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rejected::Text { code, line, column, message } => {
                let word = if code.starts_with("SYN") { "Syntax" } else { "Semantic" };
                write!(f, "{word} error: {code}: {message} [line:position={line}:{column}]")
            }
            Rejected::Database(name) => write!(f, "Entity ID '{name}' of kind 'Database' was not found."),
            Rejected::NotFound { kind, name } => write!(f, "Entity ID '{name}' of kind '{kind}' was not found."),
            Rejected::Exists { kind, name } => write!(f, "Entity ID '{name}' of kind '{kind}' already exists."),
            Rejected::Wrong(message) | Rejected::Forbidden(message) => f.write_str(message),
            Rejected::NotImplemented(what) => write!(f, "{what} is not implemented"),
            Rejected::Run(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Rejected {
        Rejected::Run(error)
    }
}

/// The tables of a platform.
pub struct Warehouse {
    database: String,
    sources: BTreeMap<String, Arc<dyn Source>>,
    store: Arc<dyn TableStore>,
    outside: Arc<dyn Outside>,
    models: Arc<dyn Models>,
    journal: Journal,
}

impl Warehouse {
    /// One database of these tables, and of those that are written into, which are kept in memory.
    pub fn new(database: impl Into<String>, sources: impl IntoIterator<Item = (String, Arc<dyn Source>)>) -> Warehouse {
        Warehouse {
            database: database.into(),
            sources: sources.into_iter().collect(),
            store: Arc::new(MemoryStore::default()),
            outside: Arc::new(NoOutside),
            models: Arc::new(NoModels),
            journal: Journal::default(),
        }
    }

    /// With places outside that texts may name.
    #[must_use]
    pub fn with_outside(self, outside: Arc<dyn Outside>) -> Warehouse {
        Warehouse { outside, ..self }
    }

    /// With what runs models.
    #[must_use]
    pub fn with_models(self, models: Arc<dyn Models>) -> Warehouse {
        Warehouse { models, ..self }
    }

    /// What runs models.
    pub(crate) fn models(&self) -> &Arc<dyn Models> {
        &self.models
    }

    /// Files that texts may name.
    pub fn outside(&self) -> &Arc<dyn Outside> {
        &self.outside
    }

    /// What runs and what has been.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// With another store for what is written.
    #[must_use]
    pub fn with_store(self, store: Arc<dyn TableStore>) -> Warehouse {
        Warehouse { store, ..self }
    }

    /// Where tables that are written into are kept.
    pub fn store(&self) -> &Arc<dyn TableStore> {
        &self.store
    }

    /// Runs a query.
    ///
    /// # Errors
    /// When the text cannot be run. A query that fails on the way is no error: its tables say so.
    pub fn query(&self, ask: &Ask) -> std::result::Result<Vec<Table>, Rejected> {
        self.noted(ask, "Query", || deeply(|| self.query_here(ask)))
    }

    /// Runs a text that is T-SQL.
    ///
    /// # Errors
    /// As of [`query`](Self::query).
    pub fn tsql(&self, ask: &Ask) -> std::result::Result<Vec<Table>, Rejected> {
        self.noted(ask, "Query", || {
            deeply(|| {
                self.check_database(ask.database)?;
                self.tsql_here(ask)
            })
        })
    }

    /// Works, with a note in the journal of what it was and how it ended.
    fn noted(
        &self,
        ask: &Ask,
        kind: &str,
        work: impl FnOnce() -> std::result::Result<Vec<Table>, Rejected>,
    ) -> std::result::Result<Vec<Table>, Rejected> {
        let entry = Entry {
            activity: new_guid(),
            request_id: ask.by.request_id.clone(),
            kind: kind.to_owned(),
            text: gantry_kql::command::masked(ask.text),
            principal: ask.by.principal.clone(),
            application: ask.by.application.clone(),
            started: ask.now,
            duration: 0,
            state: "InProgress",
            failure: String::new(),
        };
        let mut running = self.journal.begin(entry, ask.cancel.clone());
        let tables = work();
        match &tables {
            Ok(tables) => match tables.iter().find_map(|table| table.failure.as_ref()) {
                None => running.ended("Completed", String::new()),
                Some(Error::Cancelled) => running.ended("Cancelled", String::new()),
                Some(error) => running.ended("Failed", error.to_string()),
            },
            Err(rejected) => running.ended("Failed", rejected.to_string()),
        }
        tables
    }

    fn query_here(&self, ask: &Ask) -> std::result::Result<Vec<Table>, Rejected> {
        self.check_database(ask.database)?;
        let world = World::new(self, ask.now, &ask.by);
        let script = gantry_kql::parse(ask.text).map_err(|wrong| rejected(&wrong, ask.text))?;
        let parameters = ask.parameters.iter().cloned().collect();
        let bound = gantry_kql::bind(&script, &world, &parameters).map_err(|wrong| rejected(&wrong, ask.text))?;
        let context = ask.context(&bound.options);
        let mut tables = engine::run(&bound, &world, &context);
        if let Some(wanted) = ask.rows_wanted {
            tables.iter_mut().for_each(|table| cut(table, wanted));
        }
        Ok(tables)
    }

    fn check_database(&self, asked: Option<&str>) -> std::result::Result<(), Rejected> {
        match asked {
            // What clients of the reference send when nobody chose one.
            None | Some("NetDefaultDB") => Ok(()),
            Some(name) if name.eq_ignore_ascii_case(&self.database) => Ok(()),
            Some(name) => Err(Rejected::Database(name.to_owned())),
        }
    }

    /// Runs a management command.
    ///
    /// # Errors
    /// When it is none, or one that is not implemented.
    pub fn command(&self, ask: &Ask) -> std::result::Result<Vec<Table>, Rejected> {
        self.check_database(ask.database)?;
        self.noted(ask, &crate::commands::kind_of(ask.text), || deeply(|| crate::commands::run(self, ask)))
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A table that is made of what the platform has.
    pub(crate) fn source(&self, name: &str) -> Option<&Arc<dyn Source>> {
        self.sources.get(name)
    }

    /// Names and sources of its tables.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Arc<dyn Source>)> {
        self.sources.iter().map(|(name, source)| (name.as_str(), source))
    }
}

/// The stack of a query. Operators stand on each other as deep as `kql` lets trees be, a call or two a level; what is
/// not reached costs no memory.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// Works on a thread with room for the deepest tree. A fault of ours in it is an error and ends nobody else's work.
pub(crate) fn deeply<T: Send>(
    work: impl FnOnce() -> std::result::Result<T, Rejected> + Send,
) -> std::result::Result<T, Rejected> {
    let failed = || Rejected::Run(Error::Evaluation("the query ended without an answer".into()));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("query".into()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work).map_err(|_| failed())?;
        running.join().map_err(|_| failed())?
    })
}

/// Rows of a result beyond a count go, in silence.
pub(crate) fn cut(table: &mut Table, wanted: u64) {
    let mut left = wanted;
    for chunk in &mut table.chunks {
        let rows = left.min(chunk.rows as u64);
        *chunk = chunk.slice(0, rows as usize);
        left -= rows;
    }
    table.chunks.retain(|chunk| chunk.rows > 0);
}

/// What chance begins with: it may differ from query to query, and need not be secret.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// The first fault of a text, with its place in lines.
pub(crate) fn rejected(wrong: &[Diagnostic], text: &str) -> Rejected {
    let Some(first) = wrong.first() else { return Rejected::Run(Error::Evaluation("the text was refused".into())) };
    let at = (first.span.start as usize).min(text.len());
    let before = text.get(..at).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Rejected::Text { code: first.code.engine(), line, column, message: first.message.clone() }
}

/// A small table made of rows of texts and other values.
pub fn small_table(columns: &[(&str, Type)], rows: Vec<Vec<Value>>) -> Table {
    let schema = Schema::of(columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect());
    let count = rows.len();
    let mut builders: Vec<Builder> = columns.iter().map(|(_, ty)| Builder::new(*ty, count)).collect();
    for row in rows {
        row.into_iter().zip(&mut builders).for_each(|(value, builder)| builder.push(value));
    }
    let chunk = Chunk::of(builders.into_iter().map(Builder::finish).collect(), count);
    Table { name: None, schema: Arc::new(schema), chunks: vec![chunk], render: None, failure: None }
}
