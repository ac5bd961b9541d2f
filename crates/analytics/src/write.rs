//! Rows into a table: once, with all that follows from them, or not at all.
//!
//! Rows are written down as an extent; the update policies over the table run on the new rows alone and make extents
//! of their targets, and so on; then one change of the store adds all of them. Data that says by which name it came
//! (`ingest-by:`) comes once. A policy that is not transactional and fails leaves its own target out, and a note.

use std::sync::Arc;

use gantry_kql::bound::Column as SchemaColumn;
use serde_json::Value as Json;

use crate::chunk::Chunk;
use crate::commands::{change, is_on};
use crate::context::{Cancel, Context, Limits};
use crate::engine::{Frame, Session};
use crate::error::Error;
use crate::ingest::{conform, widened};
use crate::journal::{Failure, new_guid};
use crate::operators::Flow;
use crate::store::{Extent, REQUEST_TAG, Rows, Snapshot, TableDefinition};
use crate::warehouse::{Ask, By, Rejected, Warehouse};
use crate::world::World;

/// How far update policies may follow from each other.
const CASCADE_MAX: usize = 8;

/// Rows on their way into a table.
pub(crate) struct Incoming<'a> {
    /// The table.
    pub table: &'a str,
    /// Its definition when it is made with the rows, or gets other columns.
    pub definition: Option<TableDefinition>,
    /// The columns of the rows: those of the table, in its order.
    pub chunks: Vec<Chunk>,
    /// What is given with them.
    pub tags: Vec<String>,
    /// When they count as having come, in ticks.
    pub created: Option<i64>,
    /// They are left out when the table has an extent with one of these `ingest-by:` tags.
    pub unless: Vec<String>,
    /// They are left out when data of a request of this name came before.
    pub request: Option<String>,
    /// What is there goes.
    pub replace: bool,
}

/// What became of rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// Extents of the table itself: id, bytes, rows.
    pub extents: Vec<(String, u64, u64)>,
    /// They had come before.
    pub was_there: bool,
    /// Update policies that failed and were not transactional.
    pub failed_policies: Vec<String>,
}

/// An extent and the table it goes to.
struct Placed {
    table: u64,
    extent: Arc<Extent>,
}

fn write_extent(
    warehouse: &Warehouse,
    definition: &TableDefinition,
    chunks: &[Chunk],
    created: i64,
    tags: &[String],
) -> Result<Option<Arc<Extent>>, Rejected> {
    if chunks.iter().all(|chunk| chunk.rows == 0) {
        return Ok(None);
    }
    let names: Vec<&str> = definition.columns.iter().map(|column| column.name.as_str()).collect();
    let rows = Rows { columns: &definition.ids(), names: &names, chunks, created, tags: tags.to_vec() };
    Ok(Some(warehouse.store().write(&rows)?))
}

/// Puts rows into a table.
///
/// # Errors
/// When they cannot be written, an update policy that is transactional fails, or the table changed meanwhile.
pub(crate) fn put(warehouse: &Warehouse, ask: &Ask, incoming: Incoming) -> Result<Written, Rejected> {
    let snapshot = warehouse.store().snapshot();
    let missing = || Rejected::NotFound { kind: "Table", name: incoming.table.to_owned() };
    let known = snapshot.definitions.tables.get(incoming.table);
    let definition = incoming.definition.as_ref().or(known).ok_or_else(missing)?.clone();
    let created = incoming.created.unwrap_or(ask.now);
    let mut tags = incoming.tags.clone();
    tags.extend(incoming.request.iter().map(|name| format!("{REQUEST_TAG}{name}")));
    if known.is_some() && has_come(&snapshot, definition.id, &incoming) {
        return Ok(Written { was_there: true, ..Written::default() });
    }
    let mut placed = Vec::new();
    let mut written = Written::default();
    if let Some(extent) = write_extent(warehouse, &definition, &incoming.chunks, created, &tags)? {
        written.extents.push((extent.id.clone(), extent.bytes, extent.rows));
        placed.push(Placed { table: definition.id, extent });
        let source =
            Source { table: incoming.table, chunks: Arc::new(incoming.chunks.clone()), created, tags: &incoming.tags };
        let mut following =
            Following { warehouse, ask, snapshot: &snapshot, placed: &mut placed, written: &mut written };
        following.run(&source, &mut vec![incoming.table.to_owned()])?;
    }
    let was_there = change(warehouse, |snapshot| {
        let tables = &mut snapshot.definitions.tables;
        match (tables.get(incoming.table).map(|table| table.id), &incoming.definition) {
            (Some(id), _) if id == definition.id => {}
            (None, Some(_)) => {}
            // `.set-or-replace` of what somebody else made meanwhile, `.append` to what somebody dropped.
            _ => return Err(Rejected::Wrong(format!("table `{}` changed meanwhile; try again", incoming.table))),
        }
        if has_come(snapshot, definition.id, &incoming) {
            return Ok(true);
        }
        if let Some(definition) = &incoming.definition {
            snapshot.definitions.tables.insert(incoming.table.to_owned(), definition.clone());
        }
        if incoming.replace {
            snapshot.extents.remove(&definition.id);
        }
        for one in &placed {
            if snapshot.definitions.tables.values().any(|table| table.id == one.table) {
                snapshot.add(one.table, Arc::clone(&one.extent));
            }
        }
        Ok(false)
    })?;
    if was_there {
        return Ok(Written { was_there: true, ..Written::default() });
    }
    Ok(written)
}

/// Whether data of these names is in a table.
fn has_come(snapshot: &Snapshot, table: u64, incoming: &Incoming) -> bool {
    if incoming.unless.is_empty() && incoming.request.is_none() {
        return false;
    }
    let is_it = |tag: &String| {
        let by = tag.strip_prefix("ingest-by:").is_some_and(|name| incoming.unless.iter().any(|one| one == name));
        by || tag.strip_prefix(REQUEST_TAG).is_some_and(|name| incoming.request.as_deref() == Some(name))
    };
    snapshot.extents_of(table).iter().any(|extent| extent.tags.iter().any(is_it))
}

/// Whether a tag is for people to see.
pub(crate) fn is_shown(tag: &str) -> bool {
    !tag.starts_with(REQUEST_TAG)
}

/// What an update policy made.
struct Applied {
    chunks: Vec<Chunk>,
    tags: Vec<String>,
}

/// Rows that came into a table.
struct Source<'s> {
    table: &'s str,
    chunks: Arc<Vec<Chunk>>,
    created: i64,
    tags: &'s [String],
}

/// What follows from rows.
struct Following<'f> {
    warehouse: &'f Warehouse,
    ask: &'f Ask<'f>,
    snapshot: &'f Arc<Snapshot>,
    placed: &'f mut Vec<Placed>,
    written: &'f mut Written,
}

impl Following<'_> {
    /// Runs the update policies over a table, and those over their targets. A circle is cut where it closes.
    fn run(&mut self, source: &Source, chain: &mut Vec<String>) -> Result<(), Rejected> {
        for (target, policy) in policies_over(self.snapshot, source.table) {
            if chain.contains(&target) || chain.len() >= CASCADE_MAX {
                continue;
            }
            match self.apply(source, &target, &policy) {
                Ok(None) => {}
                Ok(Some(Applied { chunks, tags })) => {
                    chain.push(target.clone());
                    let next =
                        Source { table: &target, chunks: Arc::new(chunks), created: source.created, tags: &tags };
                    let ran = self.run(&next, chain);
                    chain.pop();
                    ran?;
                }
                Err(wrong) if is_on(policy.get("IsTransactional")) => {
                    let message = format!("the update policy of `{target}` over `{}` failed: {wrong}", source.table);
                    self.note(&target, &message);
                    return Err(Rejected::Wrong(message));
                }
                Err(wrong) => {
                    let message = format!("the update policy of `{target}` over `{}` failed: {wrong}", source.table);
                    self.note(&target, &message);
                    self.written.failed_policies.push(message);
                }
            }
        }
        Ok(())
    }

    fn note(&self, table: &str, message: &str) {
        self.warehouse.journal().failed(Failure {
            operation: new_guid(),
            table: table.to_owned(),
            failed: self.ask.now,
            source: String::new(),
            details: message.to_owned(),
            code: "UpdatePolicy_QueryFailure".into(),
            permanent: true,
            of_update_policy: true,
            principal: self.ask.by.principal.clone(),
        });
    }

    fn apply(&mut self, source: &Source, target: &str, policy: &Json) -> Result<Option<Applied>, Rejected> {
        let missing = || Rejected::NotFound { kind: "Table", name: target.to_owned() };
        let definition = self.snapshot.definitions.tables.get(target).ok_or_else(missing)?.clone();
        let query = policy.get("Query").and_then(Json::as_str).unwrap_or_default();
        let world = World::of_platform(self.warehouse, Arc::clone(self.snapshot), self.ask.now);
        let world = world.with_rows(source.table, Arc::clone(&source.chunks));
        let chunks = rows_of(&world, self.ask, query, target, &definition.schema())?;
        let propagates = is_on(policy.get("PropagateIngestionProperties"));
        let tags = if propagates { source.tags.to_vec() } else { Vec::new() };
        let Some(extent) = write_extent(self.warehouse, &definition, &chunks, source.created, &tags)? else {
            return Ok(None);
        };
        self.placed.push(Placed { table: definition.id, extent });
        Ok(Some(Applied { chunks, tags }))
    }
}

/// The rows of a stored query as a table takes them.
fn rows_of(
    world: &World,
    ask: &Ask,
    query: &str,
    target: &str,
    columns: &[SchemaColumn],
) -> Result<Vec<Chunk>, Rejected> {
    let bound = world.bind(query)?;
    let result = bound.queries.last().and_then(|query| query.results.first());
    let result = result.ok_or_else(|| Rejected::Wrong("the query has no result".into()))?;
    conform(target, columns, &result.rel.schema.columns)?;
    let context = ask.context(&bound.options);
    let mut chunks = Vec::new();
    Session::new(&bound, world, &context).run(&result.rel, &Frame::default(), &mut |chunk| {
        context.hold("update policy", chunk.size())?;
        chunks.push(widened(&chunk, columns));
        Ok(Flow::More)
    })?;
    Ok(chunks)
}

/// The policies that are on over a table, with their targets.
fn policies_over(snapshot: &Snapshot, source: &str) -> Vec<(String, Json)> {
    let is_of = |policy: &&Json| {
        let named = policy.get("Source").and_then(Json::as_str).unwrap_or_default();
        let matches = match is_on(policy.get("SourceIsWildCard")) {
            true => matches_pattern(named, source),
            false => named == source,
        };
        matches && is_on(policy.get("IsEnabled"))
    };
    let mut found = Vec::new();
    for (entity, policies) in &snapshot.definitions.policies {
        let (Some(target), Some(list)) =
            (entity.strip_prefix("table "), policies.get("update").and_then(Json::as_array))
        else {
            continue;
        };
        found.extend(list.iter().filter(is_of).map(|policy| (target.to_owned(), policy.clone())));
    }
    found
}

/// Whether a name is one that a pattern with `*` means.
pub(crate) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// The context of what the platform itself does: an hour, and no bound on rows.
pub(crate) fn unhurried(now: i64, by: &By) -> Context {
    let limits = Limits { rows_max: None, bytes_max: None, seconds_max: 3_600, ..Limits::default() };
    Context::new(now, limits, Cancel::default(), crate::warehouse::seed()).with_principal(&by.principal)
}

/// What ended an ingestion, as an error of the engine.
pub(crate) fn evaluation(rejected: Rejected) -> Error {
    match rejected {
        Rejected::Run(error) => error,
        other => Error::Evaluation(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_names() {
        for (pattern, name, is) in [
            ("Source*", "Source1", true),
            ("*", "x", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("a", "ab", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), is, "{pattern} {name}");
        }
    }
}
