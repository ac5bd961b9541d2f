//! Aggregates: a state for each group, fed with rows, merged with the states of another worker, and read at the end.
//!
//! The hot ones (`count`, `sum`, `avg`, `min`, `max` over numbers and ticks) keep their states in vectors and are fed
//! a column at a time; all others keep one state a group and are fed cells.

mod digest;
mod generic;
mod numbers;
mod sql;

pub use digest::Digest;
pub use generic::{hll_of, hll_value};

use std::any::Any;

use gantry_kql::bound::{Aggregate, Column as SchemaColumn};
use gantry_kql::value::{Type, Value};

use crate::chunk::Chunk;
use crate::column::Column;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer, Program, compile_all};

/// The states of one aggregate for all groups.
pub trait Accumulator: Any + Send {
    /// Feeds rows: row `i` belongs to group `groups[i]`, and counts only if `rows` lists it.
    fn feed(&mut self, input: &Input);
    /// Makes states for so many groups.
    fn grow(&mut self, groups: usize);
    /// Takes in the states of another worker: its group `i` is ours `map[i]`.
    fn merge(&mut self, other: Box<dyn Accumulator>, map: &[u32]);
    /// The columns of results.
    fn finish(self: Box<Self>, columns: &[SchemaColumn]) -> Vec<Column>;
    /// About how many bytes the states hold.
    fn size(&self) -> usize;
    /// For `merge`.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Rows for an aggregate.
#[derive(Debug)]
pub struct Input<'a> {
    /// The group of each row of the chunk.
    pub groups: &'a [u32],
    /// The rows that count; all without.
    pub rows: Option<&'a [u32]>,
    /// The arguments.
    pub arguments: &'a [Datum],
}

impl Input<'_> {
    /// Calls for each row that counts with its group.
    pub fn each(&self, mut f: impl FnMut(usize, usize)) {
        match self.rows {
            None => self.groups.iter().enumerate().for_each(|(row, group)| f(row, *group as usize)),
            Some(rows) => rows.iter().for_each(|row| f(*row as usize, self.groups[*row as usize] as usize)),
        }
    }
}

/// An aggregate of a query with its arguments ready.
#[derive(Debug)]
pub struct Prepared {
    name: &'static str,
    arguments: Vec<Program>,
    condition: Option<Program>,
    columns: Vec<SchemaColumn>,
}

impl Prepared {
    /// Prepares an aggregate.
    pub fn new(aggregate: &Aggregate, outer: &dyn Outer) -> Result<Prepared> {
        let prepared = Prepared {
            name: aggregate.function.plain,
            arguments: compile_all(&aggregate.arguments, outer)?,
            condition: aggregate.condition.as_ref().map(|condition| Program::compile(condition, outer)).transpose()?,
            columns: aggregate.columns.clone(),
        };
        prepared.accumulator()?;
        Ok(prepared)
    }

    /// The columns it yields.
    pub fn columns(&self) -> &[SchemaColumn] {
        &self.columns
    }

    /// Empty states.
    pub fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        let types: Vec<Type> = self.arguments.iter().map(Program::ty).collect();
        let constants: Vec<Option<Value>> = self.arguments.iter().map(|one| one.constant().cloned()).collect();
        let ty = self.columns.first().map_or(Type::Dynamic, |column| column.ty);
        numbers::accumulator(self.name, &types, ty)
            .or_else(|| generic::accumulator(self.name, &types, &constants))
            .or_else(|| sql::accumulator(self.name, &constants))
            .ok_or_else(|| Error::NotImplemented(format!("{}()", self.name)))
    }

    /// Feeds the rows of a chunk.
    pub fn feed(&self, states: &mut dyn Accumulator, chunk: &Chunk, groups: &[u32], context: &Context) -> Result<()> {
        let arguments = self.arguments.iter().map(|one| one.eval(chunk, context)).collect::<Result<Vec<_>>>()?;
        let rows = match &self.condition {
            Some(condition) => Some(condition.eval(chunk, context)?.true_rows(chunk.rows)),
            None => None,
        };
        states.feed(&Input { groups, rows: rows.as_deref(), arguments: &arguments });
        Ok(())
    }
}
