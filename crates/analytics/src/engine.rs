//! Running a bound query over tables.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use gantry_kql::bound::{Bound, Column, Expr, Rel, Render, Schema};
use gantry_kql::value::Value;

use crate::chunk::Chunk;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::{Outer, Program};
use crate::models::{Features, Scores};
use crate::operators::Flow;
use crate::pushdown::{Need, Plan};

/// A piece of a table: calls for its rows, until the sink answers that it has enough.
pub type Part<'a> = Box<dyn FnOnce(&mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> + Send + 'a>;

/// What a query reads.
pub trait Tables: Send + Sync {
    /// Calls for the rows of a table, all columns of its schema in order, until it answers that it has enough. What
    /// the query does not need may be left out.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn scan(
        &self,
        database: &str,
        table: &str,
        need: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow>;

    /// The same in pieces of one instant, which may be read beside each other.
    ///
    /// # Errors
    /// When it is not known which there are.
    fn parts<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
        need: &'a Need,
        context: &'a Context,
    ) -> Result<Vec<Part<'a>>> {
        Ok(vec![Box::new(move |sink| self.scan(database, table, need, context, sink))])
    }

    /// Calls for the rows of a materialized view.
    ///
    /// # Errors
    /// When it cannot be read.
    fn scan_view(&self, view: &str, _: &Context, _: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> {
        Err(Error::Table { table: view.to_owned(), reason: "there are no materialized views here".into() })
    }

    /// Calls for the rows of an external table.
    ///
    /// # Errors
    /// When it cannot be read.
    fn scan_external(&self, table: &str, _: &Context, _: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> {
        Err(Error::Table { table: table.to_owned(), reason: "there are no external tables here".into() })
    }

    /// Calls for the rows of files somewhere else, read into these columns.
    ///
    /// # Errors
    /// When they may not be read, or cannot.
    fn scan_external_data(
        &self,
        _: &[String],
        _: &[(String, Value)],
        _: &[Column],
        _: &Context,
        _: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        Err(Error::NotImplemented("externaldata".into()))
    }

    /// What a model says of rows.
    ///
    /// # Errors
    /// When it cannot be run, or not with these rows.
    fn predict(&self, _model: &[u8], _features: &Features, _: &Context) -> Result<Scores> {
        Err(Error::NotImplemented("evaluate predict_onnx".into()))
    }
}

/// A world without tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTables;

impl Tables for NoTables {
    fn scan(
        &self,
        _: &str,
        table: &str,
        _: &Need,
        _: &Context,
        _: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        Err(Error::Table { table: table.to_owned(), reason: "there are no tables here".into() })
    }
}

/// One result of a query.
#[derive(Debug, Clone)]
pub struct Table {
    /// The name that the query gave it.
    pub name: Option<String>,
    /// Its columns.
    pub schema: Arc<Schema>,
    /// Its rows.
    pub chunks: Vec<Chunk>,
    /// How it is to be drawn.
    pub render: Option<Render>,
    /// Why rows are missing behind these, if they are.
    pub failure: Option<Error>,
}

impl Table {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows).sum()
    }
}

/// Runs a query. A result that fails half-way has the rows that were there and why there are no more; after it nothing
/// else is run.
pub fn run(bound: &Bound, tables: &dyn Tables, context: &Arc<Context>) -> Vec<Table> {
    run_in(bound, tables, context, &Frame::default())
}

/// The same over rows that are there already, which the first operator reads.
pub fn run_over(bound: &Bound, tables: &dyn Tables, context: &Arc<Context>, rows: Vec<Chunk>) -> Vec<Table> {
    run_in(bound, tables, context, &Frame { input: Some(Arc::new(rows)) })
}

fn run_in(bound: &Bound, tables: &dyn Tables, context: &Arc<Context>, frame: &Frame) -> Vec<Table> {
    // What fails then is looked for below; no other way to run a query does, so no other reads later.
    context.read_later();
    let session = Session::new(bound, tables, context);
    let mut results = Vec::new();
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    for query in &bound.queries {
        for result in &query.results {
            let mut chunks = Vec::new();
            let limits = context.limits;
            let ran = session.run(&result.rel, frame, &mut |chunk: Chunk| {
                let left = limits.rows_max.map_or(u64::MAX, |max| max.saturating_sub(rows));
                let over = chunk.rows as u64 > left;
                let chunk = if over { chunk.slice(0, left as usize) } else { chunk };
                chunk.settle();
                rows += chunk.rows as u64;
                bytes += chunk.size() as u64;
                chunks.push(chunk);
                if over {
                    return Err(Error::Rows(limits.rows_max.unwrap_or(u64::MAX)));
                }
                match limits.bytes_max {
                    Some(max) if bytes > max => Err(Error::Size(max)),
                    _ => Ok(Flow::More),
                }
            });
            let failure = ran.err().or_else(|| context.fault());
            let failed = failure.is_some();
            results.push(Table {
                name: result.name.clone(),
                schema: Arc::clone(&result.rel.schema),
                chunks,
                render: query.render.clone(),
                failure,
            });
            if failed {
                return results;
            }
        }
    }
    results
}

/// The rows that the nearest enclosing operator feeds into its body.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// None at the top.
    pub input: Option<Arc<Vec<Chunk>>>,
}

/// A query while it runs.
pub struct Session<'a> {
    bound: &'a Bound,
    pub(crate) tables: &'a dyn Tables,
    context: Arc<Context>,
    plan: Plan,
    scalars: Vec<OnceCell<Value>>,
    materialized: Vec<RefCell<Option<Arc<Vec<Chunk>>>>>,
    /// Keys of the partitions that are being worked on, the innermost last.
    pub(crate) partition_keys: RefCell<Vec<Value>>,
}

impl<'a> Session<'a> {
    /// Begins a query.
    pub fn new(bound: &'a Bound, tables: &'a dyn Tables, context: &Arc<Context>) -> Session<'a> {
        Session {
            bound,
            tables,
            context: Arc::clone(context),
            plan: Plan::of(bound),
            scalars: bound.scalars.iter().map(|_| OnceCell::new()).collect(),
            materialized: bound.materialized.iter().map(|_| RefCell::new(None)).collect(),
            partition_keys: RefCell::default(),
        }
    }

    /// All rows of an operator.
    pub fn collect(&self, rel: &Rel, frame: &Frame, operator: &'static str) -> Result<Vec<Chunk>> {
        let context = &*self.context;
        let hold = |chunks: &mut Vec<Chunk>, chunk: Chunk| {
            chunk.settle();
            context.hold(operator, chunk.size())?;
            chunks.push(chunk);
            Ok(())
        };
        if let Some(shares) = self.beside(rel, frame, || Ok(Vec::new()), hold)? {
            return Ok(shares.into_iter().flatten().collect());
        }
        let mut chunks = Vec::new();
        self.run(rel, frame, &mut |chunk| hold(&mut chunks, chunk).map(|()| Flow::More))?;
        Ok(chunks)
    }

    /// What the query looks at in the table that a node reads.
    pub(crate) fn need_of(&self, table: &Rel) -> Need {
        self.plan.need(table, &|expr| self.value(expr).ok())
    }

    /// What is shared by name, worked out once.
    pub fn materialized(&self, at: usize) -> Result<Arc<Vec<Chunk>>> {
        if let Some(known) = &*self.materialized[at].borrow() {
            return Ok(Arc::clone(known));
        }
        let chunks = Arc::new(self.collect(&self.bound.materialized[at], &Frame::default(), "materialize")?);
        *self.materialized[at].borrow_mut() = Some(Arc::clone(&chunks));
        Ok(chunks)
    }

    /// A number of rows: a long without columns.
    pub fn count(&self, expr: &Expr) -> Result<u64> {
        let value = Program::compile(expr, self)?.eval(&Chunk::unit(), &self.context)?;
        Ok(value.cell(0).long().unwrap_or(0).max(0) as u64)
    }

    /// A value without columns.
    pub fn value(&self, expr: &Expr) -> Result<Value> {
        Ok(Program::compile(expr, self)?.eval(&Chunk::unit(), &self.context)?.cell(0).to_value())
    }
}

impl Outer for Session<'_> {
    fn query(&self) -> &dyn Outer {
        self
    }

    fn scalar(&self, at: usize) -> Result<Value> {
        if let Some(known) = self.scalars[at].get() {
            return Ok(known.clone());
        }
        let mut found = Value::Null;
        let rel = &self.bound.scalars[at];
        if rel.schema.columns.first().is_some_and(|column| column.ty == gantry_kql::value::Type::String) {
            found = Value::String(String::new());
        }
        self.run(rel, &Frame::default(), &mut |chunk| {
            if chunk.rows == 0 || chunk.columns.is_empty() {
                return Ok(Flow::More);
            }
            found = chunk.columns[0].value(0);
            Ok(Flow::Enough)
        })?;
        Ok(self.scalars[at].get_or_init(|| found).clone())
    }

    fn list(&self, rel: &Arc<Rel>) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        self.run(rel, &Frame::default(), &mut |chunk| {
            if let Some(column) = chunk.columns.first() {
                values.extend((0..chunk.rows).map(|row| column.value(row)));
            }
            if values.len() > LIST_VALUES_MAX {
                return Err(Error::TooManyRows { operator: "in", limit: LIST_VALUES_MAX as u64 });
            }
            Ok(Flow::More)
        })?;
        Ok(values)
    }

    fn context(&self) -> &Arc<Context> {
        &self.context
    }

    fn partition_key(&self) -> Result<Value> {
        let keys = self.partition_keys.borrow();
        keys.last().cloned().ok_or_else(|| Error::Evaluation("the key of a partition outside of one".into()))
    }
}

/// Values that `in` takes of a table.
const LIST_VALUES_MAX: usize = 1_000_000;
