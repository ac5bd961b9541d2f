//! `summarize`, `distinct`, `count`.

use std::sync::Arc;

use gantry_kql::bound::{Aggregate, Expr, Rel, Schema};

use super::basic::in_pieces;
use super::{Flow, Sink};
use crate::aggregates::{Accumulator, Prepared};
use crate::chunk::Chunk;
use crate::column::Column;
use crate::context::Context;
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::expression::{Datum, Outer, Program, compile_all};
use crate::groups::Groups;

/// Groups of rows and the states of their aggregates.
pub struct Summary<'a> {
    keys: &'a [Program],
    aggregates: &'a [Prepared],
    groups: Groups,
    states: Vec<Box<dyn Accumulator>>,
    held: usize,
}

impl<'a> Summary<'a> {
    /// No rows yet. Without keys there is one group from the beginning.
    pub fn new(keys: &'a [Program], aggregates: &'a [Prepared]) -> Result<Summary<'a>> {
        let mut states = aggregates.iter().map(Prepared::accumulator).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            states.iter_mut().for_each(|state| state.grow(1));
        }
        let groups = Groups::new(keys.iter().map(Program::ty).collect());
        Ok(Summary { keys, aggregates, groups, states, held: 0 })
    }

    /// Takes the rows of a chunk.
    pub fn feed(&mut self, chunk: &Chunk, context: &Context) -> Result<()> {
        let groups = if self.keys.is_empty() {
            vec![0; chunk.rows]
        } else {
            let keys = self.keys.iter().map(|key| key.eval(chunk, context)).collect::<Result<Vec<_>>>()?;
            self.groups.of_rows(&keys, chunk.rows)
        };
        let count = self.len();
        for (aggregate, state) in self.aggregates.iter().zip(&mut self.states) {
            state.grow(count);
            aggregate.feed(&mut **state, chunk, &groups, context)?;
        }
        self.hold(context)
    }

    /// Takes the groups of another thread.
    pub fn absorb(&mut self, other: Summary, context: &Context) -> Result<()> {
        let rows = other.len();
        let map = if self.keys.is_empty() {
            vec![0]
        } else {
            let keys: Vec<Datum> = other.groups.columns().into_iter().map(|key| Datum::Many(Arc::new(key))).collect();
            self.groups.of_rows(&keys, rows)
        };
        let count = self.len();
        for (state, mut theirs) in self.states.iter_mut().zip(other.states) {
            state.grow(count);
            theirs.grow(rows);
            state.merge(theirs, &map);
        }
        context.release(other.held);
        self.hold(context)
    }

    fn hold(&mut self, context: &Context) -> Result<()> {
        let size = self.groups.size() + self.states.iter().map(|state| state.size()).sum::<usize>();
        context.hold("summarize", size.saturating_sub(self.held))?;
        self.held = self.held.max(size);
        Ok(())
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        if self.keys.is_empty() { 1 } else { self.groups.len() }
    }

    /// Keys, then the columns of the aggregates.
    pub fn finish(self, context: &Context) -> Chunk {
        let rows = self.len();
        let mut columns: Vec<Column> = if self.keys.is_empty() { Vec::new() } else { self.groups.columns() };
        for (aggregate, state) in self.aggregates.iter().zip(self.states) {
            columns.extend(state.finish(aggregate.columns()));
        }
        context.release(self.held);
        Chunk::of(columns, rows)
    }
}

impl Session<'_> {
    pub(super) fn summarize(
        &self,
        _schema: &Schema,
        input: &Rel,
        keys: &[Expr],
        aggregates: &[Aggregate],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let keys = compile_all(keys, self)?;
        let aggregates = aggregates.iter().map(|one| Prepared::new(one, self)).collect::<Result<Vec<_>>>()?;
        let context = &**self.context();
        let feed = |summary: &mut Summary, chunk: Chunk| summary.feed(&chunk, context);
        let begin = || Summary::new(&keys, &aggregates);
        let mut shares = self.beside(input, frame, begin, feed)?.unwrap_or_default().into_iter();
        let summary = if let Some(mut summary) = shares.next() {
            shares.try_for_each(|share| summary.absorb(share, context))?;
            summary
        } else {
            let mut summary = begin()?;
            self.run(input, frame, &mut |chunk| feed(&mut summary, chunk).map(|()| Flow::More))?;
            summary
        };
        in_pieces(&summary.finish(self.context()), sink)
    }
}
