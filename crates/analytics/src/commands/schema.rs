//! The schema of the database, in the forms that tools read.

use gantry_kql::bound::Column;
use gantry_kql::command::SchemaForm;
use gantry_kql::value::{Type, Value};
use serde_json::{Map, json};

use super::answers::{Amounts, Answer, bytes, long, text};
use super::{Answered, Run};
use crate::engine::Table;
use crate::store::Snapshot;
use crate::warehouse::Rejected;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn version() -> Table {
    let answer = Answer::of("ShowVersion").with(&[
        ("BuildVersion", text(VERSION)),
        ("ServiceType", text("Engine")),
        ("ProductVersion", text(VERSION)),
    ]);
    answer.table()
}

pub(super) fn cluster() -> Table {
    Answer::of("ShowCluster").with(&[("NodeId", text("0")), ("Name", text("gantry"))]).table()
}

pub(super) fn databases(run: &Run, name: Option<&str>, detail: Option<&str>) -> Answered {
    run.check_database(name)?;
    let snapshot = run.snapshot();
    let database = run.warehouse.database();
    let common = |answer: Answer, more: &[(&str, Value)]| {
        let mut row = vec![
            ("DatabaseName", text(database)),
            ("Version", text(format!("v{}.0", snapshot.version))),
            ("IsCurrent", Value::Bool(true)),
            ("DatabaseAccessMode", text("ReadWrite")),
        ];
        row.extend(more.iter().cloned());
        answer.with(&row).table()
    };
    let policy = |policy: &str| text(super::policies::effective(run, &snapshot, "database", policy).to_string());
    let Amounts { all, hot } = Amounts::of(snapshot.extents.values().flat_map(|extents| extents.iter()));
    Ok(match detail {
        None => common(Answer::of("ShowDatabase"), &[]),
        Some("identity") => common(Answer::of("ShowDatabaseIdentity"), &[]),
        Some("details") => {
            let policies = [
                ("RetentionPolicy", policy("retention")),
                ("MergePolicy", policy("merge")),
                ("CachingPolicy", policy("caching")),
                ("ShardingPolicy", policy("sharding")),
                ("StreamingIngestionPolicy", policy("streamingingestion")),
                ("IngestionBatchingPolicy", policy("ingestionbatching")),
                ("TotalSize", bytes(all.bytes)),
            ];
            common(Answer::of("ShowDatabaseDetails"), &policies)
        }
        Some("policies") => {
            let policies = [
                ("RetentionPolicy", policy("retention")),
                ("MergePolicy", policy("merge")),
                ("CachingPolicy", policy("caching")),
                ("ShardingPolicy", policy("sharding")),
                ("StreamingIngestionPolicy", policy("streamingingestion")),
                ("IngestionBatchingPolicy", policy("ingestionbatching")),
            ];
            common(Answer::of("ShowDatabasePolicies"), &policies)
        }
        Some("datastats") => {
            let stats = [
                ("OriginalSize", bytes(all.bytes)),
                ("ExtentSize", bytes(all.bytes)),
                ("RowCount", long(all.rows)),
                ("HotOriginalSize", bytes(hot.bytes)),
                ("HotExtentSize", bytes(hot.bytes)),
                ("HotRowCount", long(hot.rows)),
            ];
            common(Answer::of("ShowDatabaseDataStats"), &stats)
        }
        Some("entities") => entities(run, &snapshot)?,
        Some(_) => return Err(Rejected::NotImplemented(run.name.to_owned())),
    })
}

/// A name as the language writes it: in brackets when it is no plain word.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if plain { name.to_owned() } else { format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'")) }
}

/// `a:long,['b c']:string`
pub(super) fn csl(columns: &[Column]) -> String {
    let column = |column: &Column| format!("{}:{}", quoted(&column.name), column.ty);
    columns.iter().map(column).collect::<Vec<_>>().join(",")
}

/// What is known of a table, for tools.
pub(super) fn table_json(
    snapshot: &Snapshot,
    name: &str,
    folder: &str,
    docstring: &str,
    columns: &[Column],
) -> serde_json::Value {
    let definition = snapshot.definitions.tables.get(name);
    let column = |(at, column): (usize, &Column)| {
        let mut shown = json!({"Name": &*column.name, "Type": column.ty.system_name(), "CslType": column.ty.name()});
        let said = definition.and_then(|table| table.columns.get(at)).map(|column| column.docstring.as_str());
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            shown["DocString"] = json!(said);
        }
        shown
    };
    let ordered: Vec<_> = columns.iter().enumerate().map(column).collect();
    json!({"Name": name, "Folder": folder, "DocString": docstring, "OrderedColumns": ordered})
}

pub(super) fn show(run: &Run, databases: &[String], form: SchemaForm) -> Answered {
    databases.iter().try_for_each(|name| run.check_database(Some(name)))?;
    match form {
        SchemaForm::Rows => rows(run, false),
        SchemaForm::Details => rows(run, true),
        SchemaForm::Json => as_json(run),
        SchemaForm::Script => script(run),
    }
}

fn rows(run: &Run, details: bool) -> Answered {
    let world = run.world();
    let mut answer = Answer::of("ShowDatabaseSchema");
    let mut row = |table: &str, column: &str, ty: &str, folder: &str, docstring: &str| {
        let no = || Value::Bool(false);
        answer.row(&[
            ("DatabaseName", text(run.warehouse.database())),
            ("TableName", text(table)),
            ("ColumnName", text(column)),
            ("ColumnType", text(ty)),
            ("IsDefaultTable", no()),
            ("IsDefaultColumn", no()),
            ("Version", text(format!("v{}.0", world.snapshot.version))),
            ("Folder", text(folder)),
            ("DocString", text(docstring)),
        ]);
    };
    row("", "", "", "", "");
    for (name, folder, docstring) in super::tables::all(run, &world.snapshot) {
        row(&name, "", "", &folder, &docstring);
        for column in world.columns_of(&name)?.unwrap_or_default() {
            row(&name, &column.name, column.ty.system_name(), "", "");
        }
    }
    Ok(if details { answer.table() } else { answer.first(8).table() })
}

fn as_json(run: &Run) -> Answered {
    let world = run.world();
    let snapshot = &world.snapshot;
    let definitions = &snapshot.definitions;
    let mut tables = Map::new();
    for (name, folder, docstring) in super::tables::all(run, snapshot) {
        let columns = world.columns_of(&name)?.unwrap_or_default();
        tables.insert(name.clone(), table_json(snapshot, &name, &folder, &docstring, &columns));
    }
    let mut external = Map::new();
    for (name, table) in &definitions.external_tables {
        let of = |name: &str| table.properties.get(name).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
        external.insert(name.clone(), table_json(snapshot, name, &of("folder"), &of("docstring"), &table.schema()));
    }
    let mut views = Map::new();
    for (name, view) in &definitions.views {
        let mut shown = table_json(snapshot, name, &view.folder, &view.docstring, &view.schema());
        shown["Query"] = json!(view.query);
        shown["SourceTable"] = json!(view.source);
        views.insert(name.clone(), shown);
    }
    let mut functions = Map::new();
    for (name, function) in &definitions.functions {
        let shown = json!({
            "Name": name,
            "InputParameters": super::functions::parameters_json(function),
            "Body": function.body,
            "Folder": function.folder,
            "DocString": function.docstring,
            "FunctionKind": "Unknown",
            "OutputColumns": [],
        });
        functions.insert(name.clone(), shown);
    }
    let database = run.warehouse.database();
    let schema = json!({"Databases": {database: {
        "Name": database,
        "Tables": tables,
        "ExternalTables": external,
        "MaterializedViews": views,
        "Functions": functions,
        "MajorVersion": snapshot.version,
        "MinorVersion": 0,
        "DatabaseAccessMode": "ReadWrite",
    }}});
    Ok(Answer::of("ShowDatabaseSchemaAsJson").with(&[("DatabaseSchema", text(schema.to_string()))]).table())
}

/// A text of the language.
pub(super) fn literal(text: &str) -> String {
    gantry_kql::print_literal(&Value::String(text.to_owned()), Type::String)
}

fn texts(folder: &str, docstring: &str) -> String {
    let given = [("folder", folder), ("docstring", docstring)];
    let given: Vec<_> = given.iter().filter(|(_, text)| !text.is_empty()).collect();
    let given: Vec<String> = given.iter().map(|(name, text)| format!("{name} = {}", literal(text))).collect();
    if given.is_empty() { String::new() } else { format!("with ({})", given.join(", ")) }
}

/// Commands that make everything that was defined.
fn script(run: &Run) -> Answered {
    let snapshot = run.snapshot();
    let definitions = &snapshot.definitions;
    let mut lines = Vec::new();
    for (name, table) in &definitions.tables {
        let columns = csl(&table.schema());
        let line =
            format!(".create-merge table {} ({columns}) {}", quoted(name), texts(&table.folder, &table.docstring));
        lines.push(line.trim_end().to_owned());
        let said = table.columns.iter().filter(|column| !column.docstring.is_empty());
        let said: Vec<_> =
            said.map(|column| format!("{}:{}", quoted(&column.name), literal(&column.docstring))).collect();
        if !said.is_empty() {
            lines.push(format!(".alter-merge table {} column-docstrings ({})", quoted(name), said.join(", ")));
        }
    }
    for (name, function) in &definitions.functions {
        let with = texts(&function.folder, &function.docstring);
        let with = if with.is_empty() {
            "with (skipvalidation = true)".to_owned()
        } else {
            with.replace("with (", "with (skipvalidation = true, ")
        };
        lines.push(format!(
            ".create-or-alter function {with} {}{} {}",
            quoted(name),
            function.parameters,
            function.body
        ));
    }
    for (name, view) in &definitions.views {
        let with = texts(&view.folder, &view.docstring);
        let kind = if definitions.views.contains_key(&view.source) { "materialized-view" } else { "table" };
        let source = quoted(&view.source);
        lines.push(format!(
            ".create ifnotexists materialized-view {with} {} on {kind} {source} {{ {} }}",
            quoted(name),
            view.query
        ));
    }
    for (entity, mappings) in &definitions.mappings {
        for mapping in mappings {
            let (kind, name) = (&mapping.kind, literal(&mapping.name));
            let json = literal(&mapping.mapping.to_string());
            lines.push(format!(".create-or-alter {} ingestion {kind} mapping {name} {json}", spelled(entity)));
        }
    }
    for (entity, policies) in &definitions.policies {
        for (policy, value) in policies {
            lines.push(format!(".alter {} policy {policy} {}", spelled(entity), literal(&value.to_string())));
        }
    }
    let mut answer = Answer::of("ShowDatabaseSchemaAsCslScript");
    lines.into_iter().for_each(|line| answer.row(&[("DatabaseSchemaScript", text(line))]));
    Ok(answer.table())
}

/// `table NAME` as a command names it.
fn spelled(entity: &str) -> String {
    match entity.split_once(' ') {
        Some(("view", name)) => format!("materialized-view {}", quoted(name)),
        Some(("external", name)) => format!("external table {}", quoted(name)),
        Some(("column", name)) => match name.split_once('.') {
            Some((table, column)) => format!("column {}.{}", quoted(table), quoted(column)),
            None => format!("column {}", quoted(name)),
        },
        Some((kind, name)) => format!("{kind} {}", quoted(name)),
        None => entity.to_owned(),
    }
}

fn entities(run: &Run, snapshot: &Snapshot) -> Answered {
    let world = run.world();
    let mut answer = Answer::of("ShowDatabasesEntities");
    let mut row = |kind: &str, name: &str, docstring: &str, folder: &str, more: &[(&'static str, String)]| {
        let mut row = vec![
            ("DatabaseName", text(run.warehouse.database())),
            ("EntityType", text(kind)),
            ("EntityName", text(name)),
            ("DocString", text(docstring)),
            ("Folder", text(folder)),
        ];
        row.extend(more.iter().map(|(name, value)| (*name, text(value))));
        answer.row(&row);
    };
    for (name, folder, docstring) in super::tables::all(run, snapshot) {
        let columns = csl(&world.columns_of(&name)?.unwrap_or_default());
        row("Table", &name, &docstring, &folder, &[("CslOutputSchema", columns)]);
    }
    for (name, table) in &snapshot.definitions.external_tables {
        row("ExternalTable", name, "", "", &[("CslOutputSchema", csl(&table.schema()))]);
    }
    for (name, view) in &snapshot.definitions.views {
        let more = [("CslOutputSchema", csl(&view.schema())), ("Content", view.query.clone())];
        row("MaterializedView", name, &view.docstring, &view.folder, &more);
    }
    for (name, function) in &snapshot.definitions.functions {
        let more = [("CslInputSchema", function.parameters.clone()), ("Content", function.body.clone())];
        row("Function", name, &function.docstring, &function.folder, &more);
    }
    Ok(answer.table())
}
