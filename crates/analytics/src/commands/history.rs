//! What runs, what has been, and what tables are kept in.

use gantry_kql::value::{Dynamic, TimeSpan, Value};

use super::answers::{Answer, bytes, guid, long, text, time};
use super::{Answered, Run};
use crate::engine::Table;
use crate::journal::Entry;

fn span(ticks: i64) -> Value {
    Value::TimeSpan(TimeSpan(ticks))
}

fn bag() -> Value {
    Value::Dynamic(Dynamic::Bag(gantry_kql::value::Bag::new()))
}

/// The values that a text under way and one that has been have in common.
fn common(run: &Run, entry: &Entry) -> Vec<(&'static str, Value)> {
    vec![
        ("ClientActivityId", text(&entry.request_id)),
        ("Text", text(&entry.text)),
        ("Database", text(run.warehouse.database())),
        ("StartedOn", time(entry.started)),
        ("LastUpdatedOn", time(entry.started.saturating_add(entry.duration))),
        ("Duration", span(entry.duration)),
        ("State", text(entry.state)),
        ("RootActivityId", guid(&entry.activity)),
        ("User", text(&entry.principal)),
        ("FailureReason", text(&entry.failure)),
        ("TotalCpu", span(entry.duration)),
        ("Application", text(&entry.application)),
        ("Principal", text(&entry.principal)),
        ("ClientRequestProperties", bag()),
        ("WorkloadGroup", text("default")),
    ]
}

fn all(run: &Run) -> Vec<Entry> {
    let mut all = run.warehouse.journal().done();
    all.extend(run.warehouse.journal().running());
    own(run, all)
}

/// Those of whoever asks; of everybody for who administers.
fn own(run: &Run, all: Vec<Entry>) -> Vec<Entry> {
    let by = &run.ask.by;
    all.into_iter().filter(|entry| by.may_administer || entry.principal == by.principal).collect()
}

pub(super) fn queries(run: &Run, running: bool) -> Table {
    let mut answer = Answer::of(if running { "ShowRunningQueries" } else { "ShowQueries" });
    let entries = if running { own(run, run.warehouse.journal().running()) } else { all(run) };
    for entry in entries.iter().filter(|entry| entry.kind == "Query") {
        let mut row = common(run, entry);
        row.extend([("CacheStatistics", bag()), ("ResultSetStatistics", bag())]);
        // The reference spells these two in its own way.
        if running {
            row.retain(|(name, _)| *name != "Principal");
            row.extend([("Pricipal", text(&entry.principal)), ("ScannedEventStatistics", bag())]);
        } else {
            row.push(("ScannedExtentsStatistics", bag()));
        }
        answer.row(&row);
    }
    answer.table()
}

pub(super) fn commands(run: &Run, with_queries: bool) -> Table {
    let mut answer = Answer::of(if with_queries { "ShowCommandsAndQueries" } else { "ShowCommands" });
    for entry in all(run).iter().filter(|entry| with_queries || entry.kind != "Query") {
        let mut row = common(run, entry);
        row.push(("CommandType", text(&entry.kind)));
        if with_queries {
            let statistics =
                [("CacheStatistics", bag()), ("ScannedExtentsStatistics", bag()), ("ResultSetStatistics", bag())];
            row.extend(statistics);
        } else {
            row.push(("ResourcesUtilization", bag()));
        }
        answer.row(&row);
    }
    answer.table()
}

pub(super) fn cancel(run: &Run, id: &str) -> Table {
    let found = run.warehouse.journal().cancel(id);
    Answer::of("CancelQuery").with(&[("RunningQueryCanceled", Value::Bool(found))]).table()
}

pub(super) fn operations(run: &Run, id: Option<&str>) -> Table {
    let mut answer = Answer::of("ShowOperations");
    let wanted: Vec<&str> = id.map(|ids| ids.split(',').map(str::trim).collect()).unwrap_or_default();
    for one in run.warehouse.journal().operations() {
        if !wanted.is_empty() && !wanted.iter().any(|id| id.eq_ignore_ascii_case(&one.id)) {
            continue;
        }
        answer.row(&[
            ("OperationId", guid(&one.id)),
            ("Operation", text(one.kind)),
            ("StartedOn", time(one.started)),
            ("LastUpdatedOn", time(one.started.saturating_add(one.duration))),
            ("Duration", span(one.duration)),
            ("State", text(one.state)),
            ("Status", text(one.status)),
            ("RootActivityId", guid(&one.id)),
            ("ShouldRetry", Value::Bool(false)),
            ("Database", text(run.warehouse.database())),
            ("Principal", text(&one.principal)),
            ("User", text(&one.principal)),
        ]);
    }
    answer.table()
}

pub(super) fn failures(run: &Run) -> Table {
    let mut answer = Answer::of("ShowIngestionFailures");
    for one in run.warehouse.journal().failures() {
        answer.row(&[
            ("OperationId", guid(&one.operation)),
            ("Database", text(run.warehouse.database())),
            ("Table", text(one.table)),
            ("FailedOn", time(one.failed)),
            ("IngestionSourcePath", text(one.source)),
            ("Details", text(one.details)),
            ("FailureKind", text(if one.permanent { "Permanent" } else { "Transient" })),
            ("RootActivityId", guid(&one.operation)),
            ("OperationKind", text("DataIngestPull")),
            ("OriginatesFromUpdatePolicy", Value::Bool(one.of_update_policy)),
            ("ErrorCode", text(one.code)),
            ("Principal", text(&one.principal)),
            ("ShouldRetry", Value::Bool(!one.permanent)),
            ("User", text(&one.principal)),
        ]);
    }
    answer.table()
}

pub(super) fn extents(run: &Run, table: Option<&str>, hot: bool) -> Answered {
    let snapshot = run.snapshot();
    let table = table.map(|name| run.plain(name));
    if let Some(name) = table.filter(|name| run.warehouse.source(name).is_none()) {
        snapshot.definitions.tables.get(name).ok_or_else(|| super::tables::not_found(name))?;
    }
    let mut answer = Answer::of("ShowTableExtents");
    for (name, definition) in snapshot.definitions.all_kept() {
        if table.is_some_and(|table| table != name) {
            continue;
        }
        for extent in snapshot.extents_of(definition.id).iter().filter(|extent| !hot || extent.cold.is_none()) {
            let tags: Vec<&str> =
                extent.tags.iter().map(String::as_str).filter(|tag| crate::write::is_shown(tag)).collect();
            answer.row(&[
                ("ExtentId", guid(&extent.id)),
                ("DatabaseName", text(run.warehouse.database())),
                ("TableName", text(name)),
                ("MaxCreatedOn", time(extent.created)),
                ("OriginalSize", bytes(extent.bytes)),
                ("ExtentSize", bytes(extent.bytes)),
                ("CompressedSize", bytes(extent.bytes)),
                ("IndexSize", bytes(0)),
                ("Blocks", long(1)),
                ("Segments", long(1)),
                ("RowCount", long(extent.rows)),
                ("MinCreatedOn", time(extent.created)),
                // The reference puts each tag on a line of its own.
                ("Tags", text(tags.join("\r\n"))),
                ("Kind", text("StorageV3")),
                ("DeletedRowCount", long(0)),
            ]);
        }
    }
    Ok(answer.table())
}

pub(super) fn capacity(run: &Run) -> Table {
    let mut answer = Answer::of("ShowCapacity");
    let running = run.warehouse.journal().running().len() as u64;
    for (resource, total, consumed) in [
        ("Ingestions", 8, 0),
        ("ExtentsMerge", 1, 0),
        ("ExtentsRebuild", 1, 0),
        ("Exports", 1, 0),
        ("MaterializedView", 1, 0),
        ("Queries", 8, running.min(8)),
    ] {
        answer.row(&[
            ("Resource", text(resource)),
            ("Total", long(total)),
            ("Consumed", long(consumed)),
            ("Remaining", long(total - consumed)),
        ]);
    }
    answer.table()
}

pub(super) fn diagnostics(run: &Run) -> Table {
    let snapshot = run.snapshot();
    let extents = || snapshot.extents.values().flat_map(|extents| extents.iter());
    let largest = snapshot.definitions.tables.iter().max_by_key(|(_, table)| snapshot.extents_of(table.id).len());
    let count = |count: usize| Value::Int(i32::try_from(count).unwrap_or(i32::MAX));
    let size = extents().map(|extent| extent.bytes).sum();
    let trouble = run.warehouse.store().cold_place().and_then(|place| place.trouble);
    let answer = Answer::of("ShowDiagnostics").with(&[
        ("IsHealthy", Value::Bool(true)),
        ("IsScaleOutRequired", Value::Bool(false)),
        ("MachinesTotal", Value::Int(1)),
        ("MachinesOffline", Value::Int(0)),
        ("ExtentsTotal", count(extents().count())),
        ("TotalOriginalDataSize", bytes(size)),
        ("TotalExtentSize", bytes(size)),
        ("BuildVersion", text(env!("CARGO_PKG_VERSION"))),
        ("ProductVersion", text(env!("CARGO_PKG_VERSION"))),
        ("IsAttentionRequired", Value::Bool(trouble.is_some())),
        ("AttentionRequiredReason", text(trouble.unwrap_or_default())),
        ("FailedIngestOperations", count(run.warehouse.journal().failures().len())),
        ("MaxExtentsInSingleTable", count(largest.map_or(0, |(_, table)| snapshot.extents_of(table.id).len()))),
        ("TableWithMaxExtents", text(largest.map_or("", |(name, _)| name))),
        ("NumberOfDatabases", Value::Int(1)),
    ]);
    answer.table()
}
