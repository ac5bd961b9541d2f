//! The operators: each takes chunks of its input and hands chunks on.
//!
//! Rows are pushed: an operator runs its input with a sink of its own, and the sink may say that it has enough. So
//! `take` ends a scan, rows flow through without being kept, and only operators that must (sorting, grouping, joining)
//! hold them, within the memory of the query.

mod basic;
mod beside;
mod evaluate;
mod expand;
mod graph;
mod join;
mod make_series;
mod nested;
mod over;
mod parse;
mod partition;
mod patterns;
mod predict;
mod reduce;
mod scan;
pub(crate) mod sort;
mod summarize;
mod window;

use gantry_kql::bound::{Rel, RelKind};

use crate::chunk::Chunk;
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::Outer;

/// Whether whoever takes rows wants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    More,
    /// It does not.
    Enough,
}

/// Takes rows.
pub type Sink<'a> = &'a mut dyn FnMut(Chunk) -> Result<Flow>;

impl Session<'_> {
    /// Runs an operator and everything below it.
    pub fn run(&self, rel: &Rel, frame: &Frame, sink: Sink) -> Result<Flow> {
        self.context().check()?;
        let schema = &rel.schema;
        match &rel.kind {
            RelKind::Table { database, name } => {
                self.tables.scan(database, name, &self.need_of(rel), self.context(), &mut |chunk| {
                    self.context().check()?;
                    self.context().note_read(chunk.rows);
                    sink(chunk)
                })
            }
            RelKind::DataTable { rows } => basic::data_table(schema, rows, sink),
            RelKind::Range { from, to, step } => self.range(schema, [from, to, step], sink),
            RelKind::Print { values } => self.print(schema, values, sink),
            RelKind::Materialized(at) => basic::replay(&self.materialized(*at)?, sink),
            RelKind::Input => match &frame.input {
                Some(chunks) => basic::replay(chunks, sink),
                None => Err(Error::Evaluation("rows of a body outside of it".into())),
            },
            RelKind::Where { input, predicate } => self.filter(input, predicate, frame, sink),
            RelKind::Project { input, values } => self.project(schema, input, values, frame, sink),
            RelKind::Sort { input, keys } => self.sort(input, keys, None, frame, sink),
            RelKind::Top { input, count, keys } => {
                let count = self.count(count)?;
                self.sort(input, keys, Some(count), frame, sink)
            }
            RelKind::Take { input, count } => self.take(input, count, frame, sink),
            RelKind::Sample { input, count } => self.sample(input, count, frame, sink),
            RelKind::SampleDistinct { input, count, of } => self.sample_distinct(schema, input, count, of, frame, sink),
            RelKind::TopHitters { input, count, of, by } => {
                self.top_hitters(schema, input, count, of, by.as_ref(), frame, sink)
            }
            RelKind::TopNested { input, levels } => self.top_nested(schema, input, levels, frame, sink),
            RelKind::Summarize { input, keys, aggregates } => {
                self.summarize(schema, input, keys, aggregates, frame, sink)
            }
            RelKind::Join { kind, left, right, on, .. } => self.join(*kind, left, right, on, frame, sink),
            RelKind::Union { inputs } => self.union(schema, inputs, frame, sink),
            RelKind::MvExpand(expand) => self.mv_expand(schema, expand, frame, sink),
            RelKind::MvApply { expand, expanded, body, outputs } => {
                self.mv_apply(schema, expand, expanded, body, outputs, frame, sink)
            }
            RelKind::Partition { input, key, body } => self.partition(input, key, body, frame, sink),
            RelKind::Parse(parse) => self.parse(schema, parse, frame, sink),
            RelKind::ParseKv(parse) => self.parse_kv(schema, parse, frame, sink),
            RelKind::MakeSeries(series) => self.make_series(schema, series, frame, sink),
            RelKind::Scan(scan) => self.scan(schema, scan, frame, sink),
            RelKind::Evaluate { input, plugin, arguments } => {
                self.evaluate(schema, input.as_ref(), plugin.name, arguments, frame, sink)
            }
            RelKind::Over(over) => self.over(schema, over, frame, sink),
            RelKind::Consume { input } => {
                self.run(input, frame, &mut |_| Ok(Flow::More))?;
                Ok(Flow::More)
            }
            RelKind::GraphMatch(search) => self.graph_match(schema, search, frame, sink),
            RelKind::GraphShortestPaths { search, all } => self.shortest_paths(schema, search, *all, frame, sink),
            RelKind::GraphToTable { graph, edges, ids } => self.graph_to_table(schema, graph, *edges, ids, frame, sink),
            RelKind::Reduce { input, of, properties } => self.reduce(input, of, properties, frame, sink),
            RelKind::ExternalTable { name, .. } => self.tables.scan_external(name, self.context(), sink),
            RelKind::ExternalData { uris, properties } => {
                self.tables.scan_external_data(uris, properties, &schema.columns, self.context(), sink)
            }
            RelKind::MaterializedView { name, .. } => self.tables.scan_view(name, self.context(), sink),
        }
    }
}
