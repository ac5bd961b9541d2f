//! Asking the tables for what a request needs.

use gantry_analytics::{By, Cancel, Chunk, Flow, Limits, Result as EngineResult, Run, Warehouse};
use gantry_kql::ast::Operator;
use gantry_kql::bound::Column;
use gantry_kql::value::Value;

use super::failure::Failure;
use super::model::Model;
use super::tree;
use super::write::Form;

/// A request, as far as every part of its answer shares it.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The tables.
    pub warehouse: &'a Warehouse,
    /// The tables as sets.
    pub model: &'a Model,
    /// The instant, in ticks.
    pub now: i64,
    /// Stops it from outside.
    pub cancel: &'a Cancel,
    /// Rows of a page, when the client said.
    pub page_size: Option<u64>,
    /// How values are written.
    pub form: Form,
    /// The address of the service, with a slash at its end.
    pub root: &'a str,
    /// Who asks.
    pub by: &'a By,
}

/// Rows that are taken whole: counts, keys, ends of parts.
const VALUES_MAX: usize = 100_000;

impl Asker<'_> {
    fn how(&self) -> Run {
        Run { now: self.now, limits: Limits::default(), cancel: self.cancel.clone(), by: self.by.clone() }
    }

    /// Runs a query of a table.
    ///
    /// # Errors
    /// When it means nothing, or fails.
    pub fn run(
        &self,
        table: &str,
        operators: Vec<Operator>,
        sink: &mut (dyn FnMut(Chunk) -> EngineResult<Flow> + Send),
    ) -> Result<(), Failure> {
        Ok(self.warehouse.each_chunk(&tree::query(table, operators), &self.how(), sink)?)
    }

    /// All rows of a small result.
    ///
    /// # Errors
    /// When it means nothing, fails or is large.
    pub fn values(&self, table: &str, operators: Vec<Operator>) -> Result<Vec<Vec<Value>>, Failure> {
        let mut all = Vec::new();
        self.run(table, operators, &mut |chunk: Chunk| {
            for row in 0..chunk.rows {
                all.push(chunk.columns.iter().map(|column| column.value(row)).collect());
            }
            Ok(if all.len() > VALUES_MAX { Flow::Enough } else { Flow::More })
        })?;
        Ok(all)
    }

    /// The columns of a query's result.
    ///
    /// # Errors
    /// When it means nothing.
    pub fn columns(&self, table: &str, operators: Vec<Operator>) -> Result<Vec<Column>, Failure> {
        let schema = self.warehouse.describe(&tree::query(table, operators), self.now)?;
        Ok(schema.columns.clone())
    }
}
