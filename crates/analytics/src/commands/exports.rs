//! Rows into files outside: once, and again and again for what is new.
//!
//! A continuous export notes with its definition which extents it has exported and which files they are in, in the
//! change that ends a run. A run that is cut short leaves files that are not listed, and is done again: of the files
//! that are listed, each row is in one.

use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use gantry_kql::bound::Column;
use gantry_kql::command::{Kind, Properties, Text};
use gantry_kql::value::{TimeSpan, Value};

use super::answers::{Answer, long, text, time};
use super::{Answered, Run, change, check_name, json_of, only_known, text_property};
use crate::chunk::{Chunk, gather_rows, places};
use crate::engine::{Frame, Session};
use crate::external::{Written, file_of};
use crate::journal::new_guid;
use crate::operators::Flow;
use crate::pushdown::Need;
use crate::store::{Artifact, ExportDefinition, ExportFailure, Snapshot};
use crate::warehouse::{By, Rejected, Warehouse, rejected};
use crate::world::World;
use crate::write::unhurried;

const PROPERTIES: &[&str] = &[
    "sizeLimit",
    "includeHeaders",
    "fileExtension",
    "namePrefix",
    "encoding",
    "compressionType",
    "distribution",
    "distributed",
    "persistDetails",
    "intervalBetweenRuns",
    "forcedLatency",
    "parquetRowGroupSize",
    "useNativeParquetWriter",
    "managedIdentity",
    "isDisabled",
];

/// Rows of one file: more begin the next.
const FILE_ROWS_MAX: usize = 1_000_000;
/// Files and failures that are listed.
const LISTED_MAX: usize = 1_000;
/// Ticks between runs without a setting: an hour.
const INTERVAL: i64 = 36_000_000_000;

fn not_found(name: &str) -> Rejected {
    Rejected::NotFound { kind: "ContinuousExport", name: name.to_owned() }
}

/// Where and how files are written.
struct Target {
    folder: String,
    format: Written,
    compressed: bool,
    prefix: String,
    extension: Option<String>,
    headers: String,
}

/// A file that was written.
struct File {
    path: String,
    rows: u64,
    bytes: u64,
}

impl Target {
    fn write(&self, warehouse: &Warehouse, columns: &[Column], chunks: &[Chunk]) -> Result<Vec<File>, Rejected> {
        let schema = gantry_kql::bound::Schema::of(columns.to_vec());
        let all = places(chunks);
        let mut files = Vec::new();
        for (at, part) in all.chunks(FILE_ROWS_MAX).enumerate() {
            let rows = gather_rows(&schema, chunks, part);
            let header = self.headers == "all" || self.headers == "firstfile" && at == 0;
            let mut bytes = file_of(self.format, columns, &rows, header)?;
            let extension = self.extension.clone().unwrap_or_else(|| self.format.extension().to_owned());
            let mut name = format!("{}_{}_{}.{extension}", self.prefix, at + 1, new_guid().replace('-', ""));
            if self.compressed && self.format != Written::Parquet {
                let mut packed = GzEncoder::new(Vec::new(), Compression::default());
                let written = std::io::Write::write_all(&mut packed, &bytes).and_then(|()| packed.finish());
                bytes = written.map_err(|error| Rejected::Wrong(format!("compressing a file: {error}")))?;
                name.push_str(".gz");
            }
            let path = warehouse.outside().write(&self.folder, &name, &bytes).map_err(Rejected::Wrong)?;
            files.push(File { path, rows: rows.rows as u64, bytes: bytes.len() as u64 });
        }
        Ok(files)
    }
}

fn of_external(snapshot: &Snapshot, name: &str) -> Result<(Target, Vec<Column>), Rejected> {
    let missing = || Rejected::NotFound { kind: "ExternalTable", name: name.to_owned() };
    let table = snapshot.definitions.external_tables.get(name).ok_or_else(missing)?;
    let said = |wanted: &str| {
        let found = table.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let target = Target {
        folder: table.sources.first().cloned().unwrap_or_default(),
        format: Written::of(table.format.as_deref().unwrap_or("csv"))?,
        compressed: said("compressed").is_some_and(|on| on.eq_ignore_ascii_case("true")),
        prefix: said("namePrefix").unwrap_or_else(|| "export".into()),
        extension: said("fileExtension"),
        headers: said("includeHeaders").unwrap_or_default().to_ascii_lowercase(),
    };
    Ok((target, table.schema()))
}

pub(super) fn export(run: &Run, command: &Kind) -> Answered {
    let Kind::Export { asynchronous, compressed, format, targets, properties, query } = command else {
        return Err(Rejected::NotImplemented(run.name.to_owned()));
    };
    only_known(properties, PROPERTIES)?;
    let snapshot = run.snapshot();
    let (target, wanted) = match format {
        None => {
            let (target, columns) = of_external(&snapshot, targets.first().map_or("", String::as_str))?;
            (target, Some(columns))
        }
        Some(format) => {
            let target = Target {
                folder: targets.first().cloned().unwrap_or_default(),
                format: Written::of(format)?,
                compressed: *compressed,
                prefix: text_property(properties, "namePrefix").unwrap_or_else(|| "export".into()),
                extension: text_property(properties, "fileExtension"),
                headers: text_property(properties, "includeHeaders").unwrap_or_default().to_ascii_lowercase(),
            };
            (target, None)
        }
    };
    run.warehouse.outside().check(&target.folder).map_err(Rejected::Wrong)?;
    super::ingestion::operation(run, *asynchronous, "DataExport", |_| {
        let world = run.world();
        let text_of = run.in_place(query);
        let script = gantry_kql::parse(&text_of).map_err(|wrong| rejected(&wrong, &text_of))?;
        let none = std::collections::HashMap::new();
        let bound = gantry_kql::bind(&script, &world, &none).map_err(|wrong| rejected(&wrong, &text_of))?;
        let result = bound.queries.last().and_then(|query| query.results.first());
        let result = result.ok_or_else(|| Rejected::Wrong("the query has no result".into()))?;
        let columns = result.rel.schema.columns.clone();
        if let Some(wanted) = &wanted {
            crate::ingest::conform(targets.first().map_or("", String::as_str), wanted, &columns)?;
        }
        let context = run.ask.context(&bound.options);
        let mut chunks = Vec::new();
        Session::new(&bound, &world, &context).run(&result.rel, &Frame::default(), &mut |chunk| {
            context.hold("export", chunk.size())?;
            chunks.push(chunk);
            Ok(Flow::More)
        })?;
        let names = wanted.as_deref().unwrap_or(&columns);
        let mut answer = Answer::of("Export");
        for file in target.write(run.warehouse, names, &chunks)? {
            answer.row(&[
                ("Path", text(file.path)),
                ("NumRecords", long(file.rows)),
                ("SizeInBytes", long(file.bytes)),
            ]);
        }
        Ok(answer.table())
    })
}

pub(super) fn create(
    run: &Run,
    name: &str,
    over: &[String],
    target: &str,
    properties: &Properties,
    query: &Text,
) -> Answered {
    check_name("continuous export", name)?;
    only_known(properties, PROPERTIES)?;
    let snapshot = run.snapshot();
    let (_, wanted) = of_external(&snapshot, target)?;
    for table in over {
        super::tables::check_not_built_in(run, table)?;
        snapshot.definitions.tables.get(table).ok_or_else(|| super::tables::not_found(table))?;
    }
    let world = World::of_platform(run.warehouse, Arc::clone(&snapshot), run.ask.now);
    let text_of = run.in_place(query);
    let script = gantry_kql::parse(&text_of).map_err(|wrong| rejected(&wrong, &text_of))?;
    let none = std::collections::HashMap::new();
    let bound = gantry_kql::bind(&script, &world, &none).map_err(|wrong| rejected(&wrong, &text_of))?;
    let result = bound.queries.last().and_then(|query| query.results.first());
    let result = result.ok_or_else(|| Rejected::Wrong("the query has no result".into()))?;
    crate::ingest::conform(target, &wanted, &result.rel.schema.columns)?;
    let over: Vec<String> = match over {
        // Without a list it is over the tables of the query; those that are written into have new rows.
        [] => snapshot.definitions.tables.keys().filter(|name| query.text.contains(name.as_str())).cloned().collect(),
        named => named.to_vec(),
    };
    if over.is_empty() {
        return Err(Rejected::Wrong("a continuous export is over a table that is written into".into()));
    }
    for setting in ["intervalBetweenRuns", "forcedLatency"] {
        let value = super::property(properties, setting);
        if value
            .is_some_and(|value| !matches!(value, Value::TimeSpan(_)) && TimeSpan::parse(&value.to_string()).is_none())
        {
            return Err(Rejected::Wrong(format!("`{setting}` is no timespan")));
        }
    }
    let disabled = super::flag(properties, "isDisabled")?;
    let kept: serde_json::Map<_, _> = properties.iter().map(|(name, value)| (name.clone(), json_of(value))).collect();
    run.change(|snapshot| {
        let known = snapshot.definitions.exports.get(name).cloned();
        // What is there when it is made is not new.
        let done = || {
            let extents = over.iter().filter_map(|name| snapshot.definitions.tables.get(name));
            extents.flat_map(|table| snapshot.extents_of(table.id)).map(|extent| extent.id.clone()).collect()
        };
        let fresh = ExportDefinition {
            over: over.clone(),
            target: target.to_owned(),
            query: query.text.clone(),
            enabled: known.as_ref().map_or(!disabled, |known| known.enabled && !disabled),
            properties: kept.clone(),
            exported: known.as_ref().map_or_else(done, |known| known.exported.clone()),
            exported_to: known.as_ref().map_or(run.ask.now, |known| known.exported_to),
            last_run: known.as_ref().and_then(|known| known.last_run),
            artifacts: known.as_ref().map(|known| known.artifacts.clone()).unwrap_or_default(),
            failures: known.map(|known| known.failures).unwrap_or_default(),
        };
        snapshot.definitions.exports.insert(name.to_owned(), fresh);
        Ok(())
    })?;
    show(run, Some(name), None)
}

pub(super) fn drop(run: &Run, name: &str) -> Answered {
    let shown = show(run, Some(name), None)?;
    run.change(|snapshot| snapshot.definitions.exports.remove(name).map(|_| ()).ok_or_else(|| not_found(name)))?;
    Ok(shown)
}

pub(super) fn enable(run: &Run, name: &str, enabled: bool) -> Answered {
    run.change(|snapshot| {
        snapshot.definitions.exports.get_mut(name).ok_or_else(|| not_found(name))?.enabled = enabled;
        Ok(())
    })?;
    show(run, Some(name), None)
}

fn span_of(export: &ExportDefinition, setting: &str) -> Option<TimeSpan> {
    let found = export.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(setting));
    found.and_then(|(_, value)| value.as_str()).and_then(TimeSpan::parse)
}

pub(super) fn show(run: &Run, name: Option<&str>, detail: Option<&str>) -> Answered {
    let snapshot = run.snapshot();
    let exports = &snapshot.definitions.exports;
    if let Some(name) = name.filter(|name| !exports.contains_key(*name)) {
        return Err(not_found(name));
    }
    let wanted = exports.iter().filter(|(known, _)| name.is_none_or(|name| name == *known));
    match detail {
        None => {
            let mut answer = Answer::of("ShowContinuousExports");
            for (name, export) in wanted {
                let failed = export.failures.last().filter(|failure| Some(failure.at) == export.last_run);
                answer.row(&[
                    ("Name", text(name)),
                    ("ExternalTableName", text(&export.target)),
                    ("Query", text(&export.query)),
                    ("ForcedLatency", Value::TimeSpan(span_of(export, "forcedLatency").unwrap_or(TimeSpan(0)))),
                    (
                        "IntervalBetweenRuns",
                        Value::TimeSpan(span_of(export, "intervalBetweenRuns").unwrap_or(TimeSpan(INTERVAL))),
                    ),
                    ("CursorScopedTables", text(serde_json::json!(export.over).to_string())),
                    ("ExportProperties", text(serde_json::Value::Object(export.properties.clone()).to_string())),
                    ("LastRunTime", export.last_run.map_or(Value::Null, time)),
                    ("IsDisabled", Value::Bool(!export.enabled)),
                    (
                        "LastRunResult",
                        text(match (export.last_run, failed) {
                            (None, _) => "",
                            (_, None) => "Completed",
                            (_, Some(_)) => "Failed",
                        }),
                    ),
                    ("ExportedTo", time(export.exported_to)),
                    ("IsRunning", Value::Bool(false)),
                ]);
            }
            Ok(answer.table())
        }
        Some("exported-artifacts") => {
            let mut answer = Answer::of("ShowContinuousExportExportedArtifacts");
            for (_, export) in wanted {
                for one in &export.artifacts {
                    answer.row(&[
                        ("Timestamp", time(one.at)),
                        ("ExternalTableName", text(&export.target)),
                        ("Path", text(&one.path)),
                        ("NumRecords", long(one.rows)),
                    ]);
                }
            }
            Ok(answer.table())
        }
        Some("failures") => {
            let mut answer = Answer::of("ShowContinuousExportFailures");
            for (name, export) in wanted {
                for one in &export.failures {
                    answer.row(&[
                        ("Timestamp", time(one.at)),
                        ("Name", text(name)),
                        ("FailureKind", text("Permanent")),
                        ("Details", text(&one.details)),
                    ]);
                }
            }
            Ok(answer.table())
        }
        Some(_) => Err(Rejected::NotImplemented(run.name.to_owned())),
    }
}

impl Warehouse {
    /// Runs the continuous exports that are due. Failures are noted with the export, and it is tried again when it is
    /// due again.
    pub fn export_due(&self, now: i64) {
        let snapshot = self.store().snapshot();
        for (name, export) in &snapshot.definitions.exports {
            let interval = span_of(export, "intervalBetweenRuns").map_or(INTERVAL, |span| span.0);
            let due = export.enabled && export.last_run.is_none_or(|last| now >= last.saturating_add(interval));
            if due {
                let ran = crate::warehouse::deeply(|| self.export_once(now, name, export));
                if let Err(wrong) = ran {
                    self.note_failure(now, name, &wrong);
                }
            }
        }
    }

    fn note_failure(&self, now: i64, name: &str, wrong: &Rejected) {
        // Should this fail too, the export is still due.
        let _ = change(self, |snapshot| {
            let export = snapshot.definitions.exports.get_mut(name).ok_or_else(|| not_found(name))?;
            export.last_run = Some(now);
            export.failures.push(ExportFailure { at: now, details: wrong.to_string() });
            let over = export.failures.len().saturating_sub(LISTED_MAX);
            export.failures.drain(..over);
            Ok(())
        });
    }

    fn export_once(&self, now: i64, name: &str, export: &ExportDefinition) -> Result<(), Rejected> {
        let snapshot = self.store().snapshot();
        let (target, wanted) = of_external(&snapshot, &export.target)?;
        let mut world = World::of_platform(self, Arc::clone(&snapshot), now);
        let context = Arc::new(unhurried(now, &By::default()));
        let mut fresh = Vec::new();
        for table in &export.over {
            let definition = snapshot.definitions.tables.get(table).ok_or_else(|| super::tables::not_found(table))?;
            let extents = snapshot.extents_of(definition.id).iter();
            let new: Vec<_> = extents.filter(|extent| !export.exported.contains(&extent.id)).cloned().collect();
            let mut chunks = Vec::new();
            let ids = definition.ids();
            crate::store::scan_extents(&**self.store(), new.iter(), &ids, &Need::all(), &context, &mut |chunk| {
                context.hold("continuous export", chunk.size())?;
                chunks.push(chunk);
                Ok(Flow::More)
            })?;
            fresh.extend(new.iter().map(|extent| extent.id.clone()));
            world = world.with_rows(table, Arc::new(chunks));
        }
        let mut files = Vec::new();
        if !fresh.is_empty() {
            let bound = world.bind(&export.query)?;
            let result = bound.queries.last().and_then(|query| query.results.first());
            let result = result.ok_or_else(|| Rejected::Wrong("the query has no result".into()))?;
            crate::ingest::conform(&export.target, &wanted, &result.rel.schema.columns)?;
            let mut chunks = Vec::new();
            Session::new(&bound, &world, &context).run(&result.rel, &Frame::default(), &mut |chunk| {
                context.hold("continuous export", chunk.size())?;
                chunks.push(crate::ingest::widened(&chunk, &wanted));
                Ok(Flow::More)
            })?;
            files = target.write(self, &wanted, &chunks)?;
        }
        change(self, |snapshot| {
            let tables: Vec<u64> =
                export.over.iter().filter_map(|name| snapshot.definitions.tables.get(name)).map(|one| one.id).collect();
            let there: std::collections::BTreeSet<String> =
                tables.iter().flat_map(|id| snapshot.extents_of(*id)).map(|extent| extent.id.clone()).collect();
            let export = snapshot.definitions.exports.get_mut(name).ok_or_else(|| not_found(name))?;
            export.exported.extend(fresh.iter().cloned());
            // Extents that are gone need no note.
            export.exported.retain(|id| there.contains(id));
            (export.last_run, export.exported_to) = (Some(now), now);
            let listed = files.iter().map(|file| Artifact { at: now, path: file.path.clone(), rows: file.rows });
            export.artifacts.extend(listed);
            let over = export.artifacts.len().saturating_sub(LISTED_MAX);
            export.artifacts.drain(..over);
            Ok(())
        })
    }
}
