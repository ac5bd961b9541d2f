//! External tables: files outside that are read as a table.

use gantry_kql::command::{CreateMode, Kind};
use gantry_kql::value::{Dynamic, Value};

use super::answers::{Answer, long, text};
use super::{Answered, Run, check_name, json_of, only_known};
use crate::ingest::Format;
use crate::outside::without_secrets;
use crate::store::ExternalTableDefinition;
use crate::warehouse::Rejected;

const PROPERTIES: &[&str] = &[
    "folder",
    "docString",
    "compressed",
    "includeHeaders",
    "namePrefix",
    "fileExtension",
    "encoding",
    "sampleUris",
    "filesPreview",
    "validateNotEmpty",
    "dryRun",
];

fn not_found(name: &str) -> Rejected {
    Rejected::NotFound { kind: "ExternalTable", name: name.to_owned() }
}

pub(super) fn create(run: &Run, command: &Kind) -> Answered {
    let Kind::CreateExternalTable { mode, name, columns, kind, format, partitions, sources, properties } = command
    else {
        return Err(Rejected::NotImplemented(run.name.to_owned()));
    };
    check_name("external table", name)?;
    super::tables::check_columns(columns)?;
    super::tables::check_not_built_in(run, name)?;
    if !matches!(kind.as_str(), "storage" | "blob" | "adl") {
        return Err(Rejected::NotImplemented(format!("an external table of kind `{kind}`")));
    }
    only_known(properties, PROPERTIES)?;
    if partitions.is_some() {
        return Err(Rejected::NotImplemented("an external table with partitions".into()));
    }
    let format = format.as_deref().ok_or_else(|| Rejected::Wrong("`dataformat = ...` is missing".into()))?;
    Format::of(format)?;
    if columns.is_empty() || sources.is_empty() {
        return Err(Rejected::Wrong("an external table has columns and an address".into()));
    }
    sources.iter().try_for_each(|source| run.warehouse.outside().check(source)).map_err(Rejected::Wrong)?;
    let kept: serde_json::Map<_, _> = properties.iter().map(|(name, value)| (name.clone(), json_of(value))).collect();
    run.change(|snapshot| {
        let definitions = &mut snapshot.definitions;
        for (kind, taken) in [
            ("Table", definitions.tables.contains_key(name)),
            ("MaterializedView", definitions.views.contains_key(name)),
        ] {
            if taken {
                return Err(Rejected::Exists { kind, name: name.clone() });
            }
        }
        match (mode, definitions.external_tables.contains_key(name)) {
            (CreateMode::Create, true) => return Err(Rejected::Exists { kind: "ExternalTable", name: name.clone() }),
            (CreateMode::CreateIfNotExists, true) => return Ok(()),
            (CreateMode::Alter, false) => return Err(not_found(name)),
            _ => {}
        }
        let columns = columns.iter().map(|column| definitions.new_column(column)).collect();
        let table = ExternalTableDefinition {
            columns,
            kind: kind.clone(),
            format: Some(format.to_owned()),
            partitions: None,
            sources: sources.clone(),
            properties: kept.clone(),
        };
        definitions.external_tables.insert(name.clone(), table);
        Ok(())
    })?;
    show(run, Some(name), None)
}

pub(super) fn drop(run: &Run, name: &str, if_exists: bool) -> Answered {
    run.change(|snapshot| {
        let definitions = &mut snapshot.definitions;
        if let Some((export, _)) = definitions.exports.iter().find(|(_, export)| export.target == name) {
            return Err(Rejected::Wrong(format!(
                "`{name}` is the target of the continuous export `{export}`: drop that first"
            )));
        }
        if definitions.external_tables.remove(name).is_none() && !if_exists {
            return Err(not_found(name));
        }
        super::tables::forget(definitions, &format!("external {name}"));
        Ok(())
    })?;
    show(run, None, None)
}

pub(super) fn describe(run: &Run, name: &str, what: &str, said: &str) -> Answered {
    run.change(|snapshot| {
        let table = snapshot.definitions.external_tables.get_mut(name).ok_or_else(|| not_found(name))?;
        table.properties.retain(|known, _| !known.eq_ignore_ascii_case(what));
        table.properties.insert(what.to_owned(), said.into());
        Ok(())
    })?;
    show(run, Some(name), None)
}

pub(super) fn show(run: &Run, name: Option<&str>, detail: Option<&str>) -> Answered {
    let snapshot = run.snapshot();
    let tables = &snapshot.definitions.external_tables;
    if let Some(name) = name.filter(|name| !tables.contains_key(*name)) {
        return Err(not_found(name));
    }
    let wanted = tables.iter().filter(|(known, _)| name.is_none_or(|name| name == *known));
    let said = |table: &ExternalTableDefinition, wanted: &str| {
        let found = table.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.and_then(|(_, value)| value.as_str()).unwrap_or_default().to_owned()
    };
    match detail {
        None => {
            let mut answer = Answer::of("ShowExternalTables");
            for (name, table) in wanted {
                let addresses = table.sources.iter().map(|source| Dynamic::String(without_secrets(source).to_owned()));
                let mut properties = table.properties.clone();
                properties.insert("Format".into(), table.format.clone().into());
                answer.row(&[
                    ("TableName", text(name)),
                    ("TableType", text("Blob")),
                    ("Folder", text(said(table, "folder"))),
                    ("DocString", text(said(table, "docstring"))),
                    ("Properties", text(serde_json::Value::Object(properties).to_string())),
                    ("ConnectionStrings", Value::Dynamic(Dynamic::Array(addresses.collect()))),
                    ("Partitions", Value::Dynamic(Dynamic::Array(Vec::new()))),
                ]);
            }
            Ok(answer.table())
        }
        Some("details") => {
            let mut answer = Answer::of("ShowExternalTablesDetails");
            wanted.for_each(|(name, _)| answer.row(&[("TableName", text(name))]));
            Ok(answer.table())
        }
        Some(form @ ("cslschema" | "schema as json" | "schema as csl")) => {
            let mut answer = Answer::of("ShowTableCslSchema");
            for (name, table) in wanted {
                let (folder, docstring) = (said(table, "folder"), said(table, "docstring"));
                let schema = match form.ends_with("json") {
                    true => {
                        super::schema::table_json(&snapshot, name, &folder, &docstring, &table.schema()).to_string()
                    }
                    false => super::schema::csl(&table.schema()),
                };
                answer.row(&[
                    ("TableName", text(name)),
                    ("Schema", text(schema)),
                    ("DatabaseName", text(run.warehouse.database())),
                    ("Folder", text(folder)),
                    ("DocString", text(docstring)),
                ]);
            }
            Ok(answer.table())
        }
        Some("artifacts") => {
            let mut answer = Answer::of("ShowExternalTableArtifacts");
            for (_, table) in wanted {
                for source in &table.sources {
                    for file in run.warehouse.outside().list(source).map_err(Rejected::Wrong)? {
                        answer.row(&[("Uri", text(without_secrets(&file.uri))), ("Size", long(file.size))]);
                    }
                }
            }
            Ok(answer.table())
        }
        Some(_) => Err(Rejected::NotImplemented(run.name.to_owned())),
    }
}
