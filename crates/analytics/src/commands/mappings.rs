//! Ingestion mappings: stored with a table or with the database, and named by who ingests.

use gantry_kql::command::{CreateMode, Entity};
use gantry_kql::value::Value;
use serde_json::Value as Json;

use super::answers::{Answer, text, time};
use super::{Answered, Run, check_name};
use crate::ingest::read_mapping;
use crate::store::Mapping;
use crate::warehouse::Rejected;

const KINDS: [&str; 6] = ["csv", "json", "avro", "parquet", "orc", "w3clogfile"];

fn kind_of(format: &str) -> Result<&'static str, Rejected> {
    let lower = format.to_ascii_lowercase();
    let lower = if lower == "apacheavro" { "avro" } else { &lower };
    let found = KINDS.iter().find(|kind| **kind == lower).copied();
    found.ok_or_else(|| {
        Rejected::Wrong(format!("there are no mappings of kind `{format}`; there are {}", KINDS.join(", ")))
    })
}

fn not_found(name: &str) -> Rejected {
    Rejected::NotFound { kind: "MappingPersistent", name: name.to_owned() }
}

pub(super) fn create(
    run: &Run,
    entity: &Entity,
    mode: CreateMode,
    format: &str,
    name: &str,
    mapping: &str,
) -> Answered {
    let kind = kind_of(format)?;
    check_name("mapping", name)?;
    let json: Json =
        serde_json::from_str(mapping).map_err(|error| Rejected::Wrong(format!("the mapping is no JSON: {error}")))?;
    read_mapping(&json)?;
    let of = super::policies::entity_of(run, entity, &run.snapshot())?;
    if let Some(table) = of.strip_prefix("table ") {
        super::tables::check_not_built_in(run, table)?;
    }
    run.change(|snapshot| {
        let all = snapshot.definitions.mappings.entry(of.clone()).or_default();
        let fresh =
            Mapping { kind: kind.to_owned(), name: name.to_owned(), mapping: json.clone(), updated: run.ask.now };
        let known = all.iter().position(|one| one.kind == kind && one.name == name);
        match (mode, known) {
            (CreateMode::Create, Some(_)) => {
                return Err(Rejected::Exists { kind: "MappingPersistent", name: name.to_owned() });
            }
            (CreateMode::CreateIfNotExists, Some(_)) => {}
            (CreateMode::Alter, None) => return Err(not_found(name)),
            (_, Some(at)) => all[at] = fresh,
            (_, None) => all.push(fresh),
        }
        Ok(())
    })?;
    rows(run, &of, |one| one.kind == kind && one.name == name)
}

pub(super) fn drop(run: &Run, entity: &Entity, format: &str, name: &str) -> Answered {
    let kind = kind_of(format)?;
    let of = super::policies::entity_of(run, entity, &run.snapshot())?;
    run.change(|snapshot| {
        let all = snapshot.definitions.mappings.get_mut(&of).ok_or_else(|| not_found(name))?;
        let at = all.iter().position(|one| one.kind == kind && one.name == name).ok_or_else(|| not_found(name))?;
        all.remove(at);
        if all.is_empty() {
            snapshot.definitions.mappings.remove(&of);
        }
        Ok(())
    })?;
    rows(run, &of, |_| true)
}

pub(super) fn show(run: &Run, entity: &Entity, format: Option<&str>, name: Option<&str>) -> Answered {
    let kind = format.map(kind_of).transpose()?;
    let of = super::policies::entity_of(run, entity, &run.snapshot())?;
    let is_it = |one: &Mapping| kind.is_none_or(|kind| one.kind == kind) && name.is_none_or(|name| one.name == name);
    let snapshot = run.snapshot();
    let found = snapshot.definitions.mappings.get(&of).is_some_and(|all| all.iter().any(is_it));
    match name {
        Some(name) if !found => Err(not_found(name)),
        _ => rows(run, &of, is_it),
    }
}

fn rows(run: &Run, of: &str, wanted: impl Fn(&Mapping) -> bool) -> Answered {
    let snapshot = run.snapshot();
    let table = of.split_once(' ').map_or("", |(_, name)| name);
    let kind = if of == "database" { "CreateDatabaseIngestionMapping" } else { "CreateTableIngestionMapping" };
    let mut answer = Answer::of(kind);
    for one in snapshot.definitions.mappings.get(of).into_iter().flatten().filter(|one| wanted(one)) {
        let shown = match one.kind.as_str() {
            "csv" => "Csv",
            "json" => "Json",
            "avro" => "Avro",
            "parquet" => "Parquet",
            "orc" => "Orc",
            _ => "W3CLogFile",
        };
        let mut row = vec![
            ("Name", text(&one.name)),
            ("Kind", text(shown)),
            ("Mapping", text(one.mapping.to_string())),
            ("LastUpdatedOn", if one.updated == 0 { Value::Null } else { time(one.updated) }),
            ("Database", text(run.warehouse.database())),
        ];
        if of != "database" {
            row.push(("Table", text(table)));
        }
        answer.row(&row);
    }
    Ok(answer.table())
}
