//! Policies: JSON documents that belong to tables, views and the database.
//!
//! A policy is stored as it was given and shown as it is stored; those that something here follows are checked when
//! they are set (`retention`, `caching`, `update`, `row_level_security`, `restricted_view_access`...). A policy that
//! nobody knows is refused by name, and so are those of the whole service: there is one platform, not a cluster.

use std::sync::Arc;

use gantry_kql::command::{Entity, PolicyValue};
use gantry_kql::value::{Dynamic, TimeSpan, Value};
use serde_json::{Map, Value as Json, json};

use super::answers::{Answer, text};
use super::tables::not_found;
use super::{Answered, Run, json_of};
use crate::store::{Snapshot, caching};
use crate::warehouse::Rejected;
use crate::world::World;

/// A policy: its name in commands, its name in answers, and its form.
struct Known {
    name: &'static str,
    shown: &'static str,
    form: Form,
    /// What holds without one.
    otherwise: &'static str,
}

/// What a policy may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// An object with these members and no others.
    Object(&'static [&'static str]),
    /// On or off, or an object.
    Switch(&'static [&'static str]),
    /// A list of objects.
    List(&'static [&'static str]),
    /// As it comes.
    Any,
}

const KNOWN: &[Known] = &[
    Known {
        name: "retention",
        shown: "RetentionPolicy",
        form: Form::Object(&["SoftDeletePeriod", "Recoverability"]),
        otherwise: r#"{"SoftDeletePeriod":"365000.00:00:00","Recoverability":"Enabled"}"#,
    },
    Known {
        name: "caching",
        shown: "CachingPolicy",
        form: Form::Object(&["DataHotSpan", "IndexHotSpan", "HotWindows", "ColumnOverrides"]),
        otherwise: r#"{"DataHotSpan":{"Value":"36500.00:00:00"},"IndexHotSpan":{"Value":"36500.00:00:00"}}"#,
    },
    Known {
        name: "update",
        shown: "UpdatePolicy",
        form: Form::List(&[
            "IsEnabled",
            "Source",
            "SourceIsWildCard",
            "Query",
            "IsTransactional",
            "PropagateIngestionProperties",
            "ManagedIdentity",
        ]),
        otherwise: "null",
    },
    Known {
        name: "ingestionbatching",
        shown: "IngestionBatchingPolicy",
        form: Form::Object(&["MaximumBatchingTimeSpan", "MaximumNumberOfItems", "MaximumRawDataSizeMB"]),
        otherwise: "null",
    },
    Known {
        name: "streamingingestion",
        shown: "StreamingIngestionPolicy",
        form: Form::Switch(&[
            "IsEnabled",
            "HintAllocatedRate",
            "NumberOfRowStores",
            "SealIntervalLimit",
            "SealThresholdBytes",
        ]),
        otherwise: r#"{"IsEnabled":true}"#,
    },
    Known {
        name: "ingestiontime",
        shown: "IngestionTimePolicy",
        form: Form::Switch(&["IsEnabled"]),
        otherwise: r#"{"IsEnabled":true}"#,
    },
    Known {
        name: "merge",
        shown: "ExtentsMergePolicy",
        form: Form::Object(&[
            "RowCountUpperBoundForMerge",
            "OriginalSizeMBUpperBoundForMerge",
            "MaxExtentsToMerge",
            "LoopPeriod",
            "MaxRangeInHours",
            "AllowRebuild",
            "AllowMerge",
            "Lookback",
            "Origin",
        ]),
        otherwise: "null",
    },
    Known {
        name: "sharding",
        shown: "ShardingPolicy",
        form: Form::Object(&[
            "MaxRowCount",
            "MaxExtentSizeInMb",
            "MaxOriginalSizeInMb",
            "UseShardEngine",
            "ShardEngineMaxRowCount",
            "ShardEngineMaxExtentSizeInMb",
            "ShardEngineMaxOriginalSizeInMb",
        ]),
        otherwise: "null",
    },
    Known {
        name: "partitioning",
        shown: "PartitioningPolicy",
        form: Form::Object(&[
            "PartitionKeys",
            "EffectiveDateTime",
            "MinRowCountPerOperation",
            "MaxRowCountPerOperation",
            "MaxOriginalSizePerOperation",
        ]),
        otherwise: "null",
    },
    Known {
        name: "row_level_security",
        shown: "RowLevelSecurityPolicy",
        form: Form::Object(&["IsEnabled", "Query"]),
        otherwise: "null",
    },
    Known {
        name: "restricted_view_access",
        shown: "RestrictedViewAccessPolicy",
        form: Form::Switch(&["IsEnabled"]),
        otherwise: r#"{"IsEnabled":false}"#,
    },
    Known { name: "roworder", shown: "RowOrderPolicy", form: Form::Any, otherwise: "null" },
    Known { name: "encoding", shown: "EncodingPolicy", form: Form::Any, otherwise: "null" },
    Known {
        name: "auto_delete",
        shown: "AutoDeletePolicy",
        form: Form::Object(&["ExpiryDate", "DeleteIfNotEmpty"]),
        otherwise: "null",
    },
    Known {
        name: "extent_tags_retention",
        shown: "ExtentTagsRetentionPolicy",
        form: Form::List(&["TagPrefix", "RetentionPeriod"]),
        otherwise: "null",
    },
    Known { name: "query_acceleration", shown: "QueryAccelerationPolicy", form: Form::Any, otherwise: "null" },
];

fn known(run: &Run, policy: &str) -> Result<&'static Known, Rejected> {
    let found = KNOWN.iter().find(|known| known.name == policy);
    found.ok_or_else(|| Rejected::NotImplemented(format!("{} {policy}", run.name)))
}

/// Whose a policy is, as it is stored, and as it is shown.
pub(super) fn entity_of(run: &Run, entity: &Entity, snapshot: &Snapshot) -> Result<String, Rejected> {
    let definitions = &snapshot.definitions;
    let has_table = |name: &str| definitions.tables.contains_key(name) || run.warehouse.source(name).is_some();
    let missing = |kind, name: &str| Rejected::NotFound { kind, name: name.to_owned() };
    Ok(match entity {
        Entity::Cluster => return Err(Rejected::NotImplemented(format!("{} of the whole service", run.name))),
        Entity::Database(name) => {
            run.check_database(name.as_deref())?;
            "database".into()
        }
        Entity::Table(name) => {
            let name = run.plain(name);
            // Views are tables to some commands.
            if definitions.views.contains_key(name) {
                return Ok(format!("view {name}"));
            }
            if !has_table(name) {
                return Err(not_found(name));
            }
            format!("table {name}")
        }
        Entity::Column(table, column) => {
            let name = run.plain(table);
            let columns = run.world().columns_of(name)?.ok_or_else(|| not_found(name))?;
            if !columns.iter().any(|known| *known.name == **column) {
                return Err(missing("Column", column));
            }
            format!("column {name}.{column}")
        }
        Entity::MaterializedView(name) if definitions.views.contains_key(name) => format!("view {name}"),
        Entity::MaterializedView(name) => return Err(missing("MaterializedView", name)),
        Entity::ExternalTable(name) if definitions.external_tables.contains_key(name) => format!("external {name}"),
        Entity::ExternalTable(name) => return Err(missing("ExternalTable", name)),
        Entity::Function(name) if definitions.functions.contains_key(name) => format!("function {name}"),
        Entity::Function(name) => return Err(missing("Function", name)),
    })
}

/// The policy that counts for something: its own, or that of the database.
pub(super) fn effective(run: &Run, snapshot: &Snapshot, entity: &str, policy: &str) -> Json {
    let of = |entity: &str| snapshot.definitions.policies.get(entity).and_then(|all| all.get(policy)).cloned();
    let otherwise = || {
        if let ("caching", Some(place)) = (policy, run.warehouse.store().cold_place()) {
            let span = json!({"Value": TimeSpan(place.hot_span).to_string()});
            return json!({"DataHotSpan": span, "IndexHotSpan": span});
        }
        let known = KNOWN.iter().find(|known| known.name == policy);
        known.and_then(|known| serde_json::from_str(known.otherwise).ok()).unwrap_or(Json::Null)
    };
    of(entity).or_else(|| of("database")).unwrap_or_else(otherwise)
}

fn row(run: &Run, answer: &mut Answer, known: &Known, entity: &str, value: Option<&Json>) {
    let database = run.warehouse.database();
    let (kind, name) = match entity.split_once(' ') {
        None => ("Database", format!("[{database}]")),
        Some(("view", name)) => ("MaterializedView", format!("[{database}].[{name}]")),
        Some(("external", name)) => ("ExternalTable", format!("[{database}].[{name}]")),
        Some(("function", name)) => ("Function", format!("[{database}].[{name}]")),
        Some(("column", name)) => {
            let (table, column) = name.split_once('.').unwrap_or((name, ""));
            ("Column", format!("[{database}].[{table}].[{column}]"))
        }
        Some((_, name)) => ("Table", format!("[{database}].[{name}]")),
    };
    answer.row(&[
        ("PolicyName", text(known.shown)),
        ("EntityName", text(name)),
        ("Policy", text(value.map_or("null".to_owned(), ToString::to_string))),
        ("EntityType", text(kind)),
    ]);
}

pub(super) fn show(run: &Run, entity: &Entity, policy: &str) -> Answered {
    let known = known(run, policy)?;
    let snapshot = run.snapshot();
    let mut answer = Answer::of("ShowTablePolicyCaching");
    let own = |entity: &str| snapshot.definitions.policies.get(entity).and_then(|all| all.get(policy));
    if matches!(entity, Entity::Table(name) if name == "*") {
        for (name, ..) in super::tables::all(run, &snapshot) {
            let entity = format!("table {name}");
            row(run, &mut answer, known, &entity, own(&entity));
        }
        return Ok(answer.table());
    }
    let entity = entity_of(run, entity, &snapshot)?;
    row(run, &mut answer, known, &entity, own(&entity));
    Ok(answer.table())
}

pub(super) fn delete(run: &Run, entity: &Entity, policy: &str) -> Answered {
    let known = known(run, policy)?;
    let entity = entity_of(run, entity, &run.snapshot())?;
    run.change(|snapshot| {
        if let Some(all) = snapshot.definitions.policies.get_mut(&entity) {
            all.remove(policy);
            if all.is_empty() {
                snapshot.definitions.policies.remove(&entity);
            }
        }
        Ok(())
    })?;
    let mut answer = Answer::of("ShowTablePolicyCaching");
    row(run, &mut answer, known, &entity, None);
    Ok(answer.table())
}

pub(super) fn alter(run: &Run, entities: &[Entity], policy: &str, merge: bool, value: &PolicyValue) -> Answered {
    let known = known(run, policy)?;
    let snapshot = run.snapshot();
    let mut given = given(run, known, value)?;
    let mut changed = Vec::new();
    for entity in entities {
        let entity = entity_of(run, entity, &snapshot)?;
        spell_out(known, &mut given);
        check(run, known, &entity, &given, merge)?;
        changed.push(entity);
    }
    let values = run.change(|snapshot| {
        let mut values = Vec::new();
        for entity in &changed {
            let all = snapshot.definitions.policies.entry(entity.clone()).or_default();
            let fresh = match (merge, all.get(policy)) {
                (true, Some(known)) => merged(known.clone(), given.clone()),
                (true, None) => {
                    let otherwise = serde_json::from_str(known.otherwise).unwrap_or(Json::Null);
                    merged(otherwise, given.clone())
                }
                (false, _) => given.clone(),
            };
            if fresh.is_null() {
                all.remove(policy);
            } else {
                all.insert(policy.to_owned(), fresh.clone());
            }
            values.push((entity.clone(), fresh));
        }
        Ok(values)
    })?;
    let mut answer = Answer::of("ShowTablePolicyCaching");
    for (entity, value) in &values {
        row(run, &mut answer, known, entity, Some(value).filter(|value| !value.is_null()));
    }
    Ok(answer.table())
}

/// What is named takes the place of what was there; lists grow.
fn merged(known: Json, given: Json) -> Json {
    match (known, given) {
        (Json::Object(mut known), Json::Object(given)) => {
            known.extend(given);
            Json::Object(known)
        }
        (Json::Array(mut known), Json::Array(given)) => {
            known.extend(given);
            Json::Array(known)
        }
        (_, given) => given,
    }
}

/// The value as JSON.
fn given(run: &Run, known: &Known, value: &PolicyValue) -> Result<Json, Rejected> {
    match value {
        PolicyValue::Text(text) if known.form == Form::Any => {
            Ok(serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
        }
        PolicyValue::Text(text) => serde_json::from_str(text)
            .map_err(|error| Rejected::Wrong(format!("the policy {} is no JSON: {error}", known.shown))),
        PolicyValue::Switch(on) => match known.form {
            Form::Switch(_) => Ok(json!({"IsEnabled": on})),
            _ => Err(Rejected::Wrong(format!("{} {} is not just on or off", run.name, known.name))),
        },
        PolicyValue::Settings(settings) => settings_json(known, settings),
    }
}

/// `softdelete = 10d recoverability = disabled`, `hot = 30d`, `enable "query"`.
fn settings_json(known: &Known, settings: &[(String, Value)]) -> Result<Json, Rejected> {
    let mut out = Map::new();
    let span = |value: &Value| match value {
        Value::TimeSpan(span) => Ok(json!(span.to_string())),
        other => TimeSpan::parse(&other.to_string())
            .map(|span| json!(span.to_string()))
            .ok_or_else(|| Rejected::Wrong(format!("`{other}` is no timespan"))),
    };
    for (name, value) in settings {
        match (known.name, name.to_ascii_lowercase().as_str()) {
            ("retention", "softdelete") => drop(out.insert("SoftDeletePeriod".into(), span(value)?)),
            ("retention", "recoverability") => {
                let word = match value {
                    Value::Bool(true) => "Enabled".to_owned(),
                    Value::Bool(false) => "Disabled".to_owned(),
                    other => other.to_string(),
                };
                out.insert("Recoverability".into(), json!(word));
            }
            ("caching", "hot") => {
                out.insert("DataHotSpan".into(), json!({"Value": span(value)?}));
                out.insert("IndexHotSpan".into(), json!({"Value": span(value)?}));
            }
            ("caching", "hotdata") => drop(out.insert("DataHotSpan".into(), json!({"Value": span(value)?}))),
            ("caching", "hotindex") => drop(out.insert("IndexHotSpan".into(), json!({"Value": span(value)?}))),
            ("caching", "hot_window") => {
                let Value::Dynamic(Dynamic::Array(ends)) = value else {
                    return Err(Rejected::Wrong("`hot_window` is `from .. to`".into()));
                };
                let ends: Vec<String> = ends.iter().map(ToString::to_string).collect();
                let window = json!({"MinValue": ends.first(), "MaxValue": ends.get(1)});
                match out.entry("HotWindows").or_insert_with(|| json!([])) {
                    Json::Array(windows) => windows.push(window),
                    _ => unreachable!("it was made a list"),
                }
            }
            ("row_level_security", "enable") => drop(out.insert("IsEnabled".into(), json_of(value))),
            ("row_level_security", "query") => drop(out.insert("Query".into(), json_of(value))),
            ("encoding", "type") => drop(out.insert("type".into(), json_of(value))),
            (_, other) => {
                return Err(Rejected::Wrong(format!("the policy {} has no setting `{other}`", known.shown)));
            }
        }
    }
    Ok(Json::Object(out))
}

/// Names as the policy spells them: they are read without case.
fn spell_out(known: &Known, given: &mut Json) {
    let names = match known.form {
        Form::Object(names) | Form::Switch(names) | Form::List(names) => names,
        Form::Any => return,
    };
    let respell = |members: &mut Map<String, Json>| {
        let spelled = std::mem::take(members).into_iter().map(|(name, value)| {
            let known = names.iter().find(|known| known.eq_ignore_ascii_case(&name));
            (known.map_or(name, |known| (*known).to_owned()), value)
        });
        *members = spelled.collect();
    };
    match given {
        Json::Object(members) => respell(members),
        Json::Array(items) => items.iter_mut().filter_map(Json::as_object_mut).for_each(respell),
        _ => {}
    }
}

/// Whether something is on: `true`, `"True"`.
pub(crate) fn is_on(value: Option<&Json>) -> bool {
    match value {
        Some(Json::Bool(on)) => *on,
        Some(Json::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn check(run: &Run, known: &Known, entity: &str, given: &Json, merge: bool) -> Result<(), Rejected> {
    let wrong = |message: String| Err(Rejected::Wrong(format!("policy {}: {message}", known.shown)));
    let members =
        |members: &Map<String, Json>, names: &[&str]| match members.keys().find(|name| !names.contains(&name.as_str()))
        {
            Some(other) => wrong(format!("there is no `{other}` in it; there are {}", names.join(", "))),
            None => Ok(()),
        };
    match (known.form, given) {
        (_, Json::Null) if !merge => return Ok(()),
        (Form::Any, _) => {}
        (Form::Object(names) | Form::Switch(names), Json::Object(object)) => members(object, names)?,
        (Form::List(names), Json::Array(items)) => {
            for item in items {
                let Json::Object(item) = item else { return wrong("a list of objects is needed".into()) };
                members(item, names)?;
            }
        }
        (Form::List(_), _) => return wrong("a list of objects is needed".into()),
        _ => return wrong("an object is needed".into()),
    }
    let only = |kinds: &[&str]| {
        let kind = entity.split_once(' ').map_or(entity, |(kind, _)| kind);
        if kinds.contains(&kind) { Ok(()) } else { wrong(format!("a {kind} has none")) }
    };
    match known.name {
        "retention" => {
            if let Some(period) = given.get("SoftDeletePeriod") {
                let span = period.as_str().and_then(TimeSpan::parse);
                if span.is_none_or(|span| span.0 < 0) {
                    return wrong(format!("`SoftDeletePeriod` must be a timespan, not {period}"));
                }
            }
            match given.get("Recoverability").map(|word| word.as_str().unwrap_or_default().to_ascii_lowercase()) {
                None => Ok(()),
                Some(word) if word == "enabled" || word == "disabled" => Ok(()),
                Some(word) => wrong(format!("`Recoverability` must be Enabled or Disabled, not `{word}`")),
            }
        }
        "caching" => {
            for name in ["DataHotSpan", "IndexHotSpan"] {
                let span = given.get(name).map(|span| span.get("Value").unwrap_or(span));
                if span.is_some_and(|span| span.as_str().and_then(TimeSpan::parse).is_none_or(|span| span.0 < 0)) {
                    return wrong(format!("`{name}` must be a timespan"));
                }
            }
            match given.get("HotWindows") {
                None | Some(Json::Null) => Ok(()),
                Some(Json::Array(windows)) if windows.iter().all(|one| caching::window(one).is_some()) => Ok(()),
                Some(_) => wrong("`HotWindows` must be a list of `MinValue` and `MaxValue`, which are instants".into()),
            }
        }
        "ingestionbatching" => {
            let span = given.get("MaximumBatchingTimeSpan");
            if span.is_some_and(|span| span.as_str().and_then(TimeSpan::parse).is_none_or(|span| span.0 < 0)) {
                return wrong("`MaximumBatchingTimeSpan` must be a timespan".into());
            }
            for name in ["MaximumNumberOfItems", "MaximumRawDataSizeMB"] {
                if given.get(name).is_some_and(|count| count.as_u64().is_none_or(|count| count == 0)) {
                    return wrong(format!("`{name}` must be a number above 0"));
                }
            }
            Ok(())
        }
        "row_level_security" => {
            only(&["table", "view"])?;
            check_rule(run, entity, given)
        }
        "restricted_view_access" => only(&["table", "view"]),
        "update" => {
            only(&["table"])?;
            check_updates(run, entity, given)
        }
        _ => Ok(()),
    }
}

/// The rule must yield the columns of its table.
fn check_rule(run: &Run, entity: &str, given: &Json) -> Result<(), Rejected> {
    let Some(query) = given.get("Query").and_then(Json::as_str) else {
        return Err(Rejected::Wrong("policy RowLevelSecurityPolicy: `Query` must be a text".into()));
    };
    let world = World::of_platform(run.warehouse, run.snapshot(), run.ask.now);
    let bound = world.bind(query)?;
    let result = bound.queries.last().and_then(|query| query.results.first());
    let Some(result) = result else { return Err(Rejected::Wrong("the query has no result".into())) };
    let name = entity.split_once(' ').map_or("", |(_, name)| name);
    let columns = match entity.starts_with("view ") {
        true => world.snapshot.definitions.views.get(name).map(|view| view.schema()).unwrap_or_default(),
        false => world.columns_of(name)?.unwrap_or_default(),
    };
    let found = &result.rel.schema;
    let missing =
        columns.iter().find(|column| found.position(&column.name).is_none_or(|at| found.columns[at].ty != column.ty));
    match missing {
        Some(column) => Err(Rejected::Wrong(format!("the query of the policy does not yield `{column}` of the table"))),
        None => Ok(()),
    }
}

/// Update policies: their sources are there, and their queries yield what the table takes.
fn check_updates(run: &Run, entity: &str, given: &Json) -> Result<(), Rejected> {
    let snapshot = run.snapshot();
    let target = entity.strip_prefix("table ").unwrap_or(entity);
    super::tables::check_not_built_in(run, target)?;
    for policy in given.as_array().map(Vec::as_slice).unwrap_or_default() {
        let said = |name: &str| policy.get(name).and_then(Json::as_str).unwrap_or_default();
        let (source, query) = (said("Source"), said("Query"));
        if source.is_empty() || query.is_empty() {
            return Err(Rejected::Wrong("policy UpdatePolicy: `Source` and `Query` must be texts".into()));
        }
        if is_on(policy.get("SourceIsWildCard")) {
            continue;
        }
        if run.warehouse.source(source).is_some() {
            return Err(Rejected::NotImplemented(format!(
                "an update policy over `{source}`, which the platform makes,"
            )));
        }
        if !snapshot.definitions.tables.contains_key(source) {
            return Err(not_found(source));
        }
        let world = World::of_platform(run.warehouse, Arc::clone(&snapshot), run.ask.now);
        let world = world.with_rows(source, Arc::new(Vec::new()));
        let bound = world.bind(query)?;
        let Some(result) = bound.queries.last().and_then(|query| query.results.first()) else {
            return Err(Rejected::Wrong("the query of the policy has no result".into()));
        };
        let Some(definition) = snapshot.definitions.tables.get(target) else { return Err(not_found(target)) };
        crate::ingest::conform(target, &definition.schema(), &result.rel.schema.columns)?;
    }
    Ok(())
}
