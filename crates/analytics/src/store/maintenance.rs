//! Upkeep of tables: rows that are too old go, extents that are too small become one.

use std::sync::Arc;

use gantry_kql::value::TimeSpan;

use super::{Extent, REQUEST_TAG, Rows, Snapshot, TableDefinition, TableStore};
use crate::chunk::{Chunk, sorted_rows};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::operators::Flow;

/// Rows of an extent that was made of others, at most.
const MERGED_ROWS_MAX: u64 = 128 * 1024;
/// And bytes at rest of those it is made of: they are held in memory, many times as large.
const MERGED_BYTES_MAX: u64 = 4 << 20;
/// So many extents are worth being made one.
const MERGED_MIN: usize = 4;
const TICKS_PER_DAY: i64 = 864_000_000_000;
/// How long it is remembered which requests brought rows: a client that asks again does so within minutes.
const REQUESTS_REMEMBERED: i64 = TICKS_PER_DAY / 24;

/// How long rows of a table are kept, in ticks, by the policies of the table and of the database; for ever without.
pub fn retention(snapshot: &Snapshot, table: &str) -> Option<i64> {
    let policies = &snapshot.definitions.policies;
    let of = |owner: &str| {
        let policy = policies.get(owner)?.get("retention")?;
        let period = policy.get("SoftDeletePeriod")?.as_str()?;
        TimeSpan::parse(period).map(|period| period.0)
    };
    of(&format!("table {table}")).or_else(|| of("database"))
}

/// Drops extents whose newest row came longer ago than rows of their table are kept. Answers how many.
///
/// # Errors
/// When the store cannot be changed.
pub fn expire(store: &dyn TableStore, now: i64, fallback: &dyn Fn(&str) -> Option<i64>) -> Result<usize> {
    let expired = |snapshot: &Snapshot, name: &str, extent: &Extent| {
        let kept = retention(snapshot, name).or_else(|| fallback(name));
        kept.is_some_and(|kept| extent.created < now.saturating_sub(kept))
    };
    let snapshot = store.snapshot();
    let count = |name: &String, table: &TableDefinition| {
        snapshot.extents_of(table.id).iter().filter(|extent| expired(&snapshot, name, extent)).count()
    };
    let found: usize = snapshot.definitions.all_kept().map(|(name, table)| count(name, table)).sum();
    if found > 0 {
        store.change(&mut |snapshot| {
            let before = snapshot.clone();
            for (name, table) in before.definitions.all_kept() {
                snapshot.retain(table.id, |extent| !expired(&before, name, extent));
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// Makes one extent of several small ones of a table, sorted by some columns. Answers whether there were enough.
/// A query sees either those or the one.
///
/// # Errors
/// When rows cannot be read or written.
pub fn merge(store: &dyn TableStore, name: &str, order: &[usize], context: &Context) -> Result<bool> {
    let snapshot = store.snapshot();
    let Some(table) = snapshot.definitions.kept(name) else { return Ok(false) };
    let views: Vec<i64> =
        snapshot.definitions.views.values().filter(|view| view.source == name).filter_map(|view| view.since).collect();
    let Some(small) = mergeable(snapshot.extents_of(table.id), &views) else { return Ok(false) };
    let ids_of = |extents: &[Arc<Extent>]| extents.iter().map(|extent| extent.id.clone()).collect::<Vec<_>>();
    let small_ids = ids_of(&small);
    let small_ids: Vec<&str> = small_ids.iter().map(String::as_str).collect();
    if !snapshot.definitions.may_merge(name, &small_ids) {
        return Ok(false);
    }
    let columns = small[0].columns.clone();
    let name_of = |id: u64| table.columns.iter().find(|column| column.id == id).map(|column| column.name.clone());
    // A column that was dropped is dropped here, too.
    let kept: Vec<_> = columns.iter().filter_map(|(id, ty)| Some((*id, *ty, name_of(*id)?))).collect();
    let ids: Vec<_> = kept.iter().map(|(id, ty, _)| (*id, *ty)).collect();
    let mut chunks: Vec<Chunk> = Vec::new();
    for extent in &small {
        store.read(extent, &ids, &[], context, &mut |chunk| {
            chunks.push(chunk);
            Ok(Flow::More)
        })?;
    }
    let schema: Vec<_> = kept.iter().map(|(_, ty, name)| gantry_kql::bound::Column::new(name.as_str(), *ty)).collect();
    let names: Vec<&str> = kept.iter().map(|(_, _, name)| name.as_str()).collect();
    let order: Vec<usize> = order.iter().copied().filter(|at| *at < schema.len()).collect();
    let rows = [sorted_rows(&schema, &chunks, &order)];
    let remembered = context.now.saturating_sub(REQUESTS_REMEMBERED);
    let tags = small.iter().flat_map(|extent| extent.tags.iter().map(|tag| (extent.created, tag)));
    let tags = tags.filter(|(created, tag)| !tag.starts_with(REQUEST_TAG) || *created >= remembered);
    let mut tags: Vec<String> = tags.map(|(_, tag)| tag.clone()).collect();
    tags.sort();
    tags.dedup();
    let created = small.iter().map(|extent| extent.created).max().unwrap_or_default();
    let merged = store.write(&Rows { columns: &ids, names: &names, chunks: &rows, created, tags })?;
    let id = table.id;
    store.change(&mut |snapshot| {
        let is_small = |extent: &Arc<Extent>| small.iter().any(|one| one.id == extent.id);
        let is_whole = snapshot.extents_of(id).iter().filter(|extent| is_small(extent)).count() == small.len();
        if !is_whole || !snapshot.definitions.may_merge(name, &small_ids) {
            return Err(Error::Table { table: name.to_owned(), reason: "it changed while it was merged".into() });
        }
        snapshot.retain(id, |extent| !is_small(extent));
        snapshot.add(id, Arc::clone(&merged));
        snapshot.definitions.merged(&small_ids, &merged.id);
        Ok(())
    })?;
    Ok(true)
}

/// Small extents that may become one: hot ones, of one day, with the same columns and the same tags to drop them by, and on one
/// side of the instants from which views look at the table.
fn mergeable(extents: &[Arc<Extent>], views: &[i64]) -> Option<Vec<Arc<Extent>>> {
    let drop_tags = |extent: &Extent| extent.tags.iter().filter(|tag| tag.starts_with("drop-by:")).cloned().collect();
    let alike = |a: &Extent, b: &Extent| {
        let (these, those): (Vec<String>, Vec<String>) = (drop_tags(a), drop_tags(b));
        a.columns == b.columns
            && these == those
            && a.created / TICKS_PER_DAY == b.created / TICKS_PER_DAY
            && views.iter().all(|since| (a.created >= *since) == (b.created >= *since))
    };
    let is_small = |extent: &Extent| {
        extent.cold.is_none() && extent.rows * 2 <= MERGED_ROWS_MAX && extent.bytes * 2 <= MERGED_BYTES_MAX
    };
    for (at, first) in extents.iter().enumerate().filter(|(_, extent)| is_small(extent)) {
        let (mut rows, mut bytes, mut found) = (0, 0, Vec::new());
        for extent in extents[at..].iter().filter(|extent| is_small(extent) && alike(first, extent)) {
            if rows + extent.rows > MERGED_ROWS_MAX || bytes + extent.bytes > MERGED_BYTES_MAX {
                break;
            }
            rows += extent.rows;
            bytes += extent.bytes;
            found.push(Arc::clone(extent));
        }
        if found.len() >= MERGED_MIN {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;
    use crate::context::{Cancel, Limits};
    use crate::store::MemoryStore;
    use gantry_kql::bound::Column as SchemaColumn;
    use gantry_kql::value::Type;

    fn filled(created: &[i64]) -> MemoryStore {
        let store = MemoryStore::default();
        for created in created {
            store
                .change(&mut |snapshot| {
                    let definitions = &mut snapshot.definitions;
                    if definitions.tables.is_empty() {
                        let table = definitions.new_table(&[SchemaColumn::new("n", Type::Long)]);
                        definitions.tables.insert("T".into(), table);
                    }
                    let table = definitions.tables["T"].clone();
                    let chunks = [Chunk::of(vec![Column::from(vec![*created, -*created])], 2)];
                    let rows =
                        Rows { columns: &table.ids(), names: &["n"], chunks: &chunks, created: *created, tags: vec![] };
                    snapshot.add(table.id, store.write(&rows)?);
                    Ok(())
                })
                .unwrap();
        }
        store
    }

    fn numbers(store: &MemoryStore) -> Vec<i64> {
        let snapshot = store.snapshot();
        let table = &snapshot.definitions.tables["T"];
        let context = Context::new(0, Limits::default(), Cancel::default(), 0);
        let mut numbers = Vec::new();
        for extent in snapshot.extents_of(table.id) {
            let read = store.read(extent, &table.ids(), &[], &context, &mut |chunk| {
                numbers.extend((0..chunk.rows).filter_map(|row| chunk.columns[0].cell(row).long()));
                Ok(Flow::More)
            });
            assert_eq!(read, Ok(Flow::More));
        }
        numbers
    }

    #[test]
    fn small_extents_of_one_day_become_one_in_order() {
        let store = filled(&[5, 1, 3, TICKS_PER_DAY, 2]);
        let context = Context::new(0, Limits::default(), Cancel::default(), 0);
        assert_eq!(merge(&store, "T", &[0], &context), Ok(true));
        assert_eq!(numbers(&store), [TICKS_PER_DAY, -TICKS_PER_DAY, -5, -3, -2, -1, 1, 2, 3, 5]);
        assert_eq!(merge(&store, "T", &[0], &context), Ok(false), "what is left is too little");
    }

    #[test]
    fn rows_are_kept_as_long_as_the_policy_says() {
        let store = filled(&[TICKS_PER_DAY, 3 * TICKS_PER_DAY]);
        let now = 4 * TICKS_PER_DAY;
        assert_eq!(expire(&store, now, &|_| None), Ok(0), "for ever without a policy");
        let policy = |owner: &str, period: &str| {
            let policy = serde_json::json!({"SoftDeletePeriod": period});
            store
                .change(&mut |snapshot| {
                    let of = snapshot.definitions.policies.entry(owner.to_owned()).or_default();
                    of.insert("retention".into(), policy.clone());
                    Ok(())
                })
                .unwrap();
        };
        policy("database", "1.00:00:00");
        policy("table T", "2.00:00:00");
        assert_eq!(expire(&store, now, &|_| None), Ok(1));
        assert_eq!(numbers(&store), [3 * TICKS_PER_DAY, -3 * TICKS_PER_DAY]);
    }
}
