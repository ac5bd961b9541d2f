//! The tables of a platform, and texts asked of them.
//!
//! A [`Warehouse`] has one database of tables that come through a port ([`Source`]); a text is parsed, bound against
//! their columns and run. Management commands are answered from the same tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_kql::bound::{Bound, Column, Rel, RelKind, Schema};
use gantry_kql::value::{Type, Value};
use gantry_kql::{Catalog, Diagnostic};

use crate::chunk::Chunk;
use crate::column::Builder;
use crate::context::{Cancel, Context, Limits};
use crate::engine::{self, Frame, Session, Table, Tables};
use crate::error::{Error, Result};
use crate::operators::Flow;

/// Rows of one table, as the platform has them now.
pub trait Source: Send + Sync {
    /// What the table holds, in a sentence.
    fn about(&self) -> &'static str;

    /// Its columns, at this instant.
    ///
    /// # Errors
    /// When they cannot be found out.
    fn columns(&self) -> Result<Vec<Column>>;

    /// Calls for its rows, with these columns (those of an earlier [`columns`](Self::columns)), until it answers that
    /// it has enough.
    ///
    /// # Errors
    /// When rows cannot be read, and what the sink returns.
    fn scan(&self, columns: &[Column], context: &Context, sink: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow>;
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
}

impl Ask<'_> {
    /// What every part of the query shares, given what `set` says in its text.
    pub(crate) fn context(&self, options: &[(String, Value)]) -> Arc<Context> {
        let limits = (self.limits)(options);
        Arc::new(Context::new(self.now, limits, self.cancel.clone(), seed()).with_options(options))
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
    /// A command that the reference knows and this does not.
    NotImplemented(String),
    /// It could not be run.
    Run(Error),
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
}

impl Warehouse {
    /// One database of these tables.
    pub fn new(database: impl Into<String>, sources: impl IntoIterator<Item = (String, Arc<dyn Source>)>) -> Warehouse {
        Warehouse { database: database.into(), sources: sources.into_iter().collect() }
    }

    /// Runs a query.
    ///
    /// # Errors
    /// When the text cannot be run. A query that fails on the way is no error: its tables say so.
    pub fn query(&self, ask: &Ask) -> std::result::Result<Vec<Table>, Rejected> {
        deeply(|| self.query_here(ask))
    }

    fn query_here(&self, ask: &Ask) -> std::result::Result<Vec<Table>, Rejected> {
        self.check_database(ask.database)?;
        let world = World::new(self, ask.now);
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
        deeply(|| crate::commands::run(self, ask))
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Names and sources of its tables.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Arc<dyn Source>)> {
        self.sources.iter().map(|(name, source)| (name.as_str(), source))
    }
}

/// The stack of a query. Operators stand on each other as deep as `kql` lets trees be, a call or two a level; what is
/// not reached costs no memory.
const STACK_BYTES: usize = 64 << 20;

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
fn cut(table: &mut Table, wanted: u64) {
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

/// The tables as one query sees them: columns that it has asked for stay as they were.
pub(crate) struct World<'a> {
    warehouse: &'a Warehouse,
    now: i64,
    columns: std::sync::Mutex<BTreeMap<String, Vec<Column>>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(warehouse: &'a Warehouse, now: i64) -> World<'a> {
        World { warehouse, now, columns: std::sync::Mutex::default() }
    }

    pub(crate) fn columns_of(&self, name: &str) -> Result<Option<Vec<Column>>> {
        let Some(source) = self.warehouse.sources.get(name) else { return Ok(None) };
        let mut known = self.columns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(columns) = known.get(name) {
            return Ok(Some(columns.clone()));
        }
        let columns = source.columns()?;
        known.insert(name.to_owned(), columns.clone());
        Ok(Some(columns))
    }
}

impl Catalog for World<'_> {
    fn default_database(&self) -> String {
        self.warehouse.database.clone()
    }

    fn database(&self, name: &str) -> Option<String> {
        name.eq_ignore_ascii_case(&self.warehouse.database).then(|| self.warehouse.database.clone())
    }

    fn tables(&self, _: &str) -> Vec<String> {
        self.warehouse.sources.keys().cloned().collect()
    }

    fn table(&self, _: &str, name: &str) -> Option<Vec<Column>> {
        self.columns_of(name).ok().flatten()
    }

    fn resolve_open(&self, rel: &Rel) -> Option<Vec<Column>> {
        let RelKind::Evaluate { input: Some(input), plugin, arguments } = &rel.kind else { return None };
        let bound = Bound { queries: Vec::new(), options: Vec::new(), materialized: Vec::new(), scalars: Vec::new() };
        let context = Arc::new(Context::new(self.now, Limits::default(), Cancel::default(), 0));
        let session = Session::new(&bound, self, &context);
        session.open(input, plugin.name, arguments, &Frame::default()).ok().map(|(columns, _)| columns)
    }
}

impl Tables for World<'_> {
    fn scan(
        &self,
        _: &str,
        table: &str,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let missing = || Error::Table { table: table.to_owned(), reason: "it is gone".into() };
        let source = self.warehouse.sources.get(table).ok_or_else(missing)?;
        let columns = self.columns_of(table)?.ok_or_else(missing)?;
        source.scan(&columns, context, sink)
    }
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
