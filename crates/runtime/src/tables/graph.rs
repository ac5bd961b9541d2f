//! The digital-twin graph as tables: twins, and relationships between them.

use std::sync::Arc;

use gantry_analytics::pushdown::Need;
use gantry_analytics::{Chunk, Context, Flow, Result, Source, small_table};
use gantry_graph::{Graph, Relationship, Twin};
use gantry_kql::bound::Column;
use gantry_kql::value::{Dynamic, Type, Value};

const TWINS: [(&str, Type); 4] =
    [("TwinId", Type::String), ("ModelId", Type::String), ("ETag", Type::String), ("Contents", Type::Dynamic)];
const RELATIONSHIPS: [(&str, Type); 5] = [
    ("SourceId", Type::String),
    ("RelationshipId", Type::String),
    ("Name", Type::String),
    ("TargetId", Type::String),
    ("Contents", Type::Dynamic),
];
/// Rows read at once: writes wait as long.
const PAGE: usize = 1000;

/// Every twin, a row each.
pub struct TwinsOfGraph(pub Arc<Graph>);

/// Every relationship, a row each.
pub struct RelationshipsOfGraph(pub Arc<Graph>);

fn columns(schema: &[(&str, Type)]) -> Vec<Column> {
    schema.iter().map(|(name, ty)| Column::new(*name, *ty)).collect()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn dynamic(document: &serde_json::Value) -> Value {
    Value::Dynamic(Dynamic::parse_json(&document.to_string()).unwrap_or(Dynamic::Null))
}

/// Gives page after page to the sink; `next` reads one behind the last.
fn pages<T>(
    context: &Context,
    schema: &[(&'static str, Type)],
    mut next: impl FnMut(Option<&T>) -> Vec<T>,
    row: impl Fn(&T) -> Vec<Value>,
    sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
) -> Result<Flow> {
    let mut last = None;
    loop {
        context.check()?;
        let mut page = next(last.as_ref());
        for chunk in small_table(schema, page.iter().map(&row).collect()).chunks {
            if sink(chunk)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        if page.len() < PAGE {
            return Ok(Flow::More);
        }
        last = page.pop();
    }
}

impl Source for TwinsOfGraph {
    fn about(&self) -> &'static str {
        "Twins of the digital-twin graph."
    }

    fn key(&self) -> &'static [&'static str] {
        &["TwinId"]
    }

    fn columns(&self) -> Result<Vec<Column>> {
        Ok(columns(&TWINS))
    }

    fn scan(
        &self,
        _: &[Column],
        _: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let next = |last: Option<&Arc<Twin>>| {
            self.0.read().twins_after(last.map(|twin| &*twin.id)).take(PAGE).cloned().collect()
        };
        let row =
            |twin: &Arc<Twin>| vec![text(&twin.id), text(&twin.model), text(twin.etag()), dynamic(&twin.document)];
        pages(context, &TWINS, next, row, sink)
    }
}

impl Source for RelationshipsOfGraph {
    fn about(&self) -> &'static str {
        "Relationships of the digital-twin graph."
    }

    fn key(&self) -> &'static [&'static str] {
        &["SourceId", "RelationshipId"]
    }

    fn columns(&self) -> Result<Vec<Column>> {
        Ok(columns(&RELATIONSHIPS))
    }

    fn scan(
        &self,
        _: &[Column],
        _: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let next = |last: Option<&Arc<Relationship>>| {
            let after = last.map(|one| (&*one.source, &*one.id));
            self.0.read().relationships_after(after).take(PAGE).cloned().collect()
        };
        let row = |one: &Arc<Relationship>| {
            vec![text(&one.source), text(&one.id), text(&one.name), text(&one.target), dynamic(&one.document)]
        };
        pages(context, &RELATIONSHIPS, next, row, sink)
    }
}
