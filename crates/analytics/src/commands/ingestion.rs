//! Commands that put rows into tables: of a query, of the command itself, of files.

use std::sync::Arc;

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::command::{IngestMode, Properties, Text};
use gantry_kql::value::{DateTime, Value};
use serde_json::Value as Json;

use super::answers::{Answer, guid, long, text};
use super::tables::{check_not_built_in, not_found};
use super::{Answered, Run, change, check_name, flag, only_known, text_property};
use crate::chunk::Chunk;
use crate::engine::{Frame, Session};
use crate::ingest::{Format, Settings, conform, inflated, read, read_mapping, widened};
use crate::journal::{Failure, Operation, new_guid};
use crate::operators::Flow;
use crate::outside::without_secrets;
use crate::store::{Snapshot, TableDefinition};
use crate::warehouse::{Ask, Rejected, Warehouse, rejected};
use crate::write::{Incoming, Written, put};

/// Bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What ingestion commands and clients may say of data.
const PROPERTIES: &[&str] = &[
    "format",
    "ingestionMapping",
    "ingestionMappingReference",
    "ingestionMappingType",
    "ignoreFirstRecord",
    "tags",
    "ingestIfNotExists",
    "creationTime",
    "folder",
    "docstring",
    "extend_schema",
    "recreate_schema",
    "distributed",
    "policy_ingestiontime",
    "persistDetails",
    "validationPolicy",
    "zipPattern",
    "rawSizeBytes",
    "rawDataSize",
    "append",
    "deduplicate",
    "kustoMappingReference",
    "avroMappingReference",
    "jsonMappingReference",
    "csvMappingReference",
];

/// A list of texts that stands as JSON in a text: `'["a", "b"]'`.
fn texts_of(properties: &Properties, name: &str) -> Result<Vec<String>, Rejected> {
    let Some(value) = super::property(properties, name) else { return Ok(Vec::new()) };
    let given = value.to_string();
    if given.trim().is_empty() {
        return Ok(Vec::new());
    }
    let read: Result<Vec<String>, _> = serde_json::from_str(&given);
    read.map_err(|_| Rejected::Wrong(format!("`{name}` must be a list of texts as JSON, not `{given}`")))
}

/// What is said of rows beside their format.
struct Given {
    tags: Vec<String>,
    unless: Vec<String>,
    created: Option<i64>,
}

fn given(properties: &Properties) -> Result<Given, Rejected> {
    let mut tags = texts_of(properties, "tags")?;
    let unless = texts_of(properties, "ingestIfNotExists")?;
    // What must come once is known by the tag afterwards.
    for name in &unless {
        let tag = format!("ingest-by:{name}");
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let created = match super::property(properties, "creationTime") {
        None => None,
        Some(Value::DateTime(at)) => Some(at.0),
        Some(other) => {
            let at = DateTime::parse(&other.to_string());
            Some(at.ok_or_else(|| Rejected::Wrong(format!("`creationTime` is no datetime: `{other}`")))?.0)
        }
    };
    Ok(Given { tags, unless, created })
}

/// How data for a table is read, given what is said of it.
///
/// # Errors
/// When something is not known, or a mapping is missing or wrong.
pub(crate) fn settings_of(
    snapshot: &Snapshot,
    table: &str,
    properties: &[(String, Value)],
    location: &str,
    otherwise: Option<Format>,
) -> Result<Settings, Rejected> {
    let named = text_property(properties, "format").filter(|name| !name.is_empty());
    let reference =
        ["ingestionMappingReference", "jsonMappingReference", "csvMappingReference", "avroMappingReference"]
            .iter()
            .find_map(|name| text_property(properties, name))
            .filter(|name| !name.is_empty());
    let find = |name: &str, kind: Option<&str>| {
        let lists = [format!("table {table}"), "database".to_owned()];
        let all = lists.iter().filter_map(|entity| snapshot.definitions.mappings.get(entity)).flatten();
        let mut of_kind = all.filter(|mapping| mapping.name == name && kind.is_none_or(|kind| mapping.kind == kind));
        of_kind.next()
    };
    let format = match named {
        Some(name) => Format::of(&name)?,
        None => match reference.as_deref().and_then(|name| find(name, None)).map(|mapping| mapping.kind.as_str()) {
            Some(kind) if otherwise.is_none() => Format::of(kind)?,
            _ => otherwise.unwrap_or(Format::Separated(b',')),
        },
    };
    let mapping = if let Some(text) = text_property(properties, "ingestionMapping").filter(|text| !text.is_empty()) {
        let json: Json = serde_json::from_str(&text)
            .map_err(|error| Rejected::Wrong(format!("`ingestionMapping` is no JSON: {error}")))?;
        Some(read_mapping(&json)?)
    } else if let Some(name) = &reference {
        let kind = format.mapping_kind();
        let fitting = find(name, Some(kind)).or_else(|| {
            // The paths of JSON serve files of records too.
            find(name, Some("json")).filter(|_| matches!(kind, "avro" | "parquet"))
        });
        let found = fitting.ok_or_else(|| Rejected::NotFound { kind: "MappingPersistent", name: name.clone() })?;
        Some(read_mapping(&found.mapping)?)
    } else {
        None
    };
    Ok(Settings {
        format,
        mapping,
        ignore_first_record: flag(properties, "ignoreFirstRecord")?,
        location: location.to_owned(),
    })
}

/// Data into a table: bytes that are read as is said of them.
///
/// # Errors
/// When they are not of their format, or cannot be written.
pub(crate) fn ingest_bytes(
    warehouse: &Warehouse,
    ask: &Ask,
    table: &str,
    bytes: &[u8],
    properties: &[(String, Value)],
    location: &str,
    request: Option<String>,
) -> Result<Written, Rejected> {
    let properties = properties.to_vec();
    only_known(&properties, PROPERTIES)?;
    let given = given(&properties)?;
    if warehouse.source(table).is_some() {
        return Err(Rejected::Wrong(format!("table `{table}` is made by the platform and cannot be written into")));
    }
    let mut snapshot = warehouse.store().snapshot();
    let otherwise = Format::of_file(location);
    let settings = settings_of(&snapshot, table, &properties, location, otherwise)?;
    let mut definition = snapshot.definitions.tables.get(table).ok_or_else(|| not_found(table))?.clone();
    // Columns that a mapping names with a type and the table lacks are added to it.
    let new = settings.mapping.iter().flatten().filter_map(|mapped| {
        let ty = mapped.ty?;
        let known = definition.columns.iter().any(|column| column.name == mapped.column);
        (!known).then(|| SchemaColumn::new(mapped.column.as_str(), ty))
    });
    let new: Vec<SchemaColumn> = new.collect();
    if !new.is_empty() {
        change(warehouse, |snapshot| {
            let mut fresh = snapshot.definitions.tables.get(table).ok_or_else(|| not_found(table))?.clone();
            super::tables::merge(&mut snapshot.definitions, &mut fresh, table, &new)?;
            snapshot.definitions.tables.insert(table.to_owned(), fresh);
            Ok(())
        })?;
        snapshot = warehouse.store().snapshot();
        definition = snapshot.definitions.tables.get(table).ok_or_else(|| not_found(table))?.clone();
    }
    let columns = definition.schema();
    let chunks = read(&inflated(bytes)?, &columns, &settings)?;
    let Given { tags, unless, created } = given;
    let incoming = Incoming { table, definition: None, chunks, tags, created, unless, request, replace: false };
    put(warehouse, ask, incoming)
}

/// Data in the command itself: rows of a format, or `[row]`s.
pub(super) fn inline(run: &Run, table: &str, properties: &Properties, data: &Text) -> Answered {
    let table = run.plain(table);
    let bracketed = data.text.trim_start().starts_with('[')
        && text_property(properties, "format").is_none_or(|format| format.eq_ignore_ascii_case("csv"));
    let text = if bracketed { unbracketed(&data.text) } else { data.text.clone() };
    let written = ingest_bytes(run.warehouse, run.ask, table, text.as_bytes(), properties, "", None)?;
    let mut answer = Answer::of("IngestInlineIntoTable");
    written.extents.iter().for_each(|(id, ..)| answer.row(&[("ExtentId", guid(id))]));
    Ok(answer.table())
}

/// `[1,"a"] [2,"b"]` as lines. A bracket within quotes is part of a value.
fn unbracketed(text: &str) -> String {
    let (mut out, mut quoted, mut inside) = (String::with_capacity(text.len()), false, false);
    for c in text.chars() {
        match c {
            '"' if inside => {
                quoted = !quoted;
                out.push(c);
            }
            '[' if !inside => inside = true,
            ']' if inside && !quoted => {
                inside = false;
                out.push('\n');
            }
            c if inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// Data of files.
pub(super) fn pull(
    run: &Run,
    asynchronous: bool,
    table: &str,
    sources: &[String],
    properties: &Properties,
) -> Answered {
    let table = run.plain(table);
    check_not_built_in(run, table)?;
    only_known(properties, PROPERTIES)?;
    let known = run.snapshot();
    if !known.definitions.tables.contains_key(table) {
        return Err(not_found(table));
    }
    for source in sources {
        run.warehouse.outside().check(source).map_err(Rejected::Wrong)?;
    }
    operation(run, asynchronous, "DataIngestPull", |operation| {
        let mut answer = Answer::of("IngestIntoTable");
        for source in sources {
            let pulled = pull_one(run, table, source, properties);
            if let Err(wrong) = &pulled {
                run.warehouse.journal().failed(Failure {
                    operation: operation.to_owned(),
                    table: table.to_owned(),
                    failed: run.ask.now,
                    source: without_secrets(source).to_owned(),
                    details: wrong.to_string(),
                    code: "BadRequest".into(),
                    permanent: true,
                    of_update_policy: false,
                    principal: run.ask.by.principal.clone(),
                });
            }
            for (id, ..) in &pulled?.extents {
                answer.row(&[
                    ("ExtentId", guid(id)),
                    ("ItemLoaded", text(without_secrets(source))),
                    ("Duration", text("00:00:00")),
                    ("HasErrors", text("False")),
                    ("OperationId", guid(operation)),
                ]);
            }
        }
        Ok(answer.table())
    })
}

fn pull_one(run: &Run, table: &str, source: &str, properties: &Properties) -> Result<Written, Rejected> {
    let bytes = run.warehouse.outside().read(source, FILE_BYTES_MAX).map_err(Rejected::Wrong)?;
    ingest_bytes(run.warehouse, run.ask, table, &bytes, properties, without_secrets(source), None)
}

/// Runs something as an operation. One that is asynchronous is answered by its id, and what became of it is asked
/// with `.show operations`.
pub(super) fn operation(run: &Run, asynchronous: bool, kind: &str, work: impl FnOnce(&str) -> Answered) -> Answered {
    let (id, began) = (new_guid(), std::time::Instant::now());
    let answered = work(&id);
    run.warehouse.journal().operation(Operation {
        id: id.clone(),
        kind: kind.to_owned(),
        started: run.ask.now,
        duration: i64::try_from(began.elapsed().as_nanos() / 100).unwrap_or(i64::MAX),
        state: if answered.is_ok() { "Completed" } else { "Failed" },
        status: answered.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        principal: run.ask.by.principal.clone(),
    });
    if asynchronous { Ok(Answer::of("Operation").with(&[("OperationId", guid(&id))]).table()) } else { answered }
}

/// What the reference calls it.
pub(super) fn kind_of(mode: IngestMode) -> &'static str {
    match mode {
        IngestMode::Set => "TableSet",
        IngestMode::Append => "TableAppend",
        IngestMode::SetOrAppend => "TableSetOrAppend",
        IngestMode::SetOrReplace => "TableSetOrReplace",
    }
}

/// Rows of a query.
pub(super) fn query(
    run: &Run,
    mode: IngestMode,
    asynchronous: bool,
    table: &str,
    properties: &Properties,
    query: &Text,
) -> Answered {
    let table = run.plain(table);
    check_not_built_in(run, table)?;
    check_name("table", table)?;
    only_known(properties, PROPERTIES)?;
    operation(run, asynchronous, kind_of(mode), |_| {
        let written = query_into(run, mode, table, properties, query)?;
        let mut answer = Answer::of("SetTable");
        for (id, size, rows) in &written.extents {
            answer.row(&[
                ("ExtentId", guid(id)),
                ("OriginalSize", long(*size)),
                ("ExtentSize", long(*size)),
                ("ColumnSize", long(*size)),
                ("IndexSize", long(0)),
                ("RowCount", long(*rows)),
            ]);
        }
        Ok(answer.table())
    })
}

fn query_into(
    run: &Run,
    mode: IngestMode,
    table: &str,
    properties: &Properties,
    query: &Text,
) -> Result<Written, Rejected> {
    let world = run.world();
    let text = run.in_place(query);
    let script = gantry_kql::parse(&text).map_err(|wrong| rejected(&wrong, &text))?;
    let none = std::collections::HashMap::new();
    let bound = gantry_kql::bind(&script, &world, &none).map_err(|wrong| rejected(&wrong, &text))?;
    let [only] = bound.queries.as_slice() else {
        return Err(Rejected::Wrong(format!("`{}` takes one query with one result", run.name)));
    };
    let [result] = only.results.as_slice() else {
        return Err(Rejected::Wrong(format!("`{}` takes a query with one result", run.name)));
    };
    let columns = &result.rel.schema.columns;
    super::tables::check_columns(columns)?;
    let known = world.snapshot.definitions.tables.get(table).cloned();
    let unchanged = known.clone();
    let definition = match (mode, known) {
        (IngestMode::Set, Some(_)) => return Err(Rejected::Exists { kind: "Table", name: table.to_owned() }),
        (IngestMode::Append, None) => return Err(not_found(table)),
        (_, None) => new_definition(run, table, columns, properties)?,
        (IngestMode::SetOrReplace, Some(known)) if flag(properties, "recreate_schema")? => {
            let fresh = new_definition(run, table, columns, properties)?;
            TableDefinition { id: known.id, ..fresh }
        }
        (_, Some(known)) if flag(properties, "extend_schema")? && known.columns.len() < columns.len() => {
            extended(run, table, known, columns)?
        }
        (_, Some(known)) => known,
    };
    let wanted = definition.schema();
    conform(table, &wanted, columns)?;
    let chunks = collect(run, &world, &bound, result, &wanted)?;
    let Given { tags, unless, created } = given(properties)?;
    let replace = mode == IngestMode::SetOrReplace;
    let incoming = Incoming {
        table,
        // What stays as it is may be changed by somebody else meanwhile.
        definition: Some(definition).filter(|fresh| unchanged.as_ref() != Some(fresh)),
        chunks,
        tags,
        created,
        unless,
        request: None,
        replace,
    };
    put(run.warehouse, run.ask, incoming)
}

/// The rows of a query, all of them: nothing cuts off what goes into a table.
fn collect(
    run: &Run,
    world: &crate::world::World,
    bound: &gantry_kql::bound::Bound,
    result: &gantry_kql::bound::ResultTable,
    columns: &[SchemaColumn],
) -> Result<Vec<Chunk>, Rejected> {
    let context = run.ask.context(&bound.options);
    let mut chunks = Vec::new();
    Session::new(bound, world, &context).run(&result.rel, &Frame::default(), &mut |chunk| {
        context.hold("ingestion", chunk.size())?;
        chunks.push(widened(&chunk, columns));
        Ok(Flow::More)
    })?;
    Ok(chunks)
}

/// A definition whose ids are taken, of a table that is made with its rows.
fn new_definition(
    run: &Run,
    table: &str,
    columns: &[SchemaColumn],
    properties: &Properties,
) -> Result<TableDefinition, Rejected> {
    run.change(|snapshot| {
        let definitions = &mut snapshot.definitions;
        for (kind, taken) in [
            ("MaterializedView", definitions.views.contains_key(table)),
            ("ExternalTable", definitions.external_tables.contains_key(table)),
        ] {
            if taken {
                return Err(Rejected::Exists { kind, name: table.to_owned() });
            }
        }
        let mut fresh = definitions.new_table(columns);
        fresh.folder = text_property(properties, "folder").unwrap_or_default();
        fresh.docstring = text_property(properties, "docstring").unwrap_or_default();
        Ok(fresh)
    })
}

/// A table with the columns of a query that it lacks behind its own.
fn extended(
    run: &Run,
    table: &str,
    known: TableDefinition,
    columns: &[SchemaColumn],
) -> Result<TableDefinition, Rejected> {
    let more = columns.get(known.columns.len()..).unwrap_or_default();
    run.change(|snapshot| {
        let mut fresh = known.clone();
        super::tables::merge(&mut snapshot.definitions, &mut fresh, table, more)?;
        Ok(fresh)
    })
}

/// So that tables that are made by commands and those of programs share one way in.
impl Warehouse {
    /// Puts data into a table, as clients of streaming and queued ingestion send it: bytes, and what they say of them.
    /// Data of a request whose name came before is not put in again. Answers how many rows came in.
    ///
    /// # Errors
    /// When the data is not of its format, the table is not there, or it cannot be written.
    pub fn ingest(
        self: &Arc<Self>,
        ask: &Ask,
        table: &str,
        bytes: &[u8],
        properties: &[(String, Value)],
        location: &str,
        request: Option<String>,
    ) -> Result<Ingested, Rejected> {
        if !ask.by.may_write {
            return Err(Rejected::Forbidden(format!("{} is not authorized to ingest", ask.by.principal)));
        }
        let work = || ingest_bytes(self, ask, table, bytes, properties, location, request);
        let written = crate::warehouse::deeply(work);
        if let Err(wrong) = &written {
            self.journal().failed(Failure {
                operation: new_guid(),
                table: table.to_owned(),
                failed: ask.now,
                source: without_secrets(location).to_owned(),
                details: wrong.to_string(),
                code: "BadRequest".into(),
                permanent: !matches!(wrong, Rejected::Run(_)),
                of_update_policy: false,
                principal: ask.by.principal.clone(),
            });
        }
        let written = written?;
        Ok(Ingested {
            rows: written.extents.iter().map(|(_, _, rows)| rows).sum(),
            was_there: written.was_there,
            failed_policies: written.failed_policies,
        })
    }
}

/// What became of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// Rows that came in.
    pub rows: u64,
    /// The data had come before.
    pub was_there: bool,
    /// Update policies that failed and were not transactional.
    pub failed_policies: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_brackets_are_lines() {
        assert_eq!(unbracketed("[1,\"a\"] [2,\"b]\"\"]\"]\n[3,c]"), "1,\"a\"\n2,\"b]\"\"]\"\n3,c\n");
        assert_eq!(unbracketed("[1"), "1");
    }
}
