//! Materialized views: a query that ends in one `summarize`, over one table or over another view.
//!
//! A view's rows are worked out of its source when somebody asks, so they are right at every instant; what came into
//! the source before the view was made is part of it with `backfill` only, and what retention took from the source is
//! gone from the view too. The aggregates that a view may have are those of the reference, so that what is accepted
//! here can be kept up row by row.

use gantry_kql::bound::{Rel, RelKind};
use gantry_kql::command::{CreateMode, Entity, Properties, Text};
use gantry_kql::value::{TimeSpan, Value};

use super::answers::{Answer, long, text, time};
use super::{Answered, Run, check_name, flag, json_of, only_known, text_property};
use crate::store::ViewDefinition;
use crate::warehouse::{Rejected, rejected};
use crate::world::World;

/// Aggregates that a view may have.
const AGGREGATES: &[&str] = &[
    "count",
    "countif",
    "dcount",
    "dcountif",
    "min",
    "minif",
    "max",
    "maxif",
    "avg",
    "avgif",
    "sum",
    "sumif",
    "arg_max",
    "arg_min",
    "take_any",
    "take_anyif",
    "hll",
    "hll_if",
    "hll_merge",
    "make_set",
    "make_set_if",
    "make_list",
    "make_list_if",
    "make_bag",
    "make_bag_if",
    "percentile",
    "percentiles",
    "percentiles_array",
    "tdigest",
    "tdigest_merge",
    "merge_tdigest",
    "count_distinct",
    "count_distinctif",
    "stdev",
    "variance",
    "buildschema",
];

const PROPERTIES: &[&str] = &[
    "backfill",
    "effectiveDateTime",
    "updateExtentsCreationTime",
    "lookback",
    "lookback_column",
    "autoUpdateSchema",
    "dimensionTables",
    "dimensionMaterializedViews",
    "folder",
    "docString",
    "allowMaterializedViewsWithoutRowLevelSecurity",
    "Concurrency",
];

fn not_found(name: &str) -> Rejected {
    Rejected::NotFound { kind: "MaterializedView", name: name.to_owned() }
}

pub(super) fn create(
    run: &Run,
    mode: CreateMode,
    asynchronous: bool,
    name: &str,
    properties: &Properties,
    source: &Entity,
    query: &Text,
) -> Answered {
    check_name("materialized view", name)?;
    only_known(properties, PROPERTIES)?;
    super::tables::check_not_built_in(run, name)?;
    let source = match source {
        Entity::Table(source) | Entity::MaterializedView(source) => run.plain(source).to_owned(),
        _ => return Err(Rejected::NotImplemented(run.name.to_owned())),
    };
    let world = World::of_platform(run.warehouse, run.snapshot(), run.ask.now);
    let columns = columns_of(run, &world, &source, query)?;
    let since = match (flag(properties, "backfill")?, super::property(properties, "effectiveDateTime")) {
        (false, _) => Some(run.ask.now),
        (true, None) => None,
        (true, Some(Value::DateTime(at))) => Some(at.0),
        (true, Some(other)) => {
            let at = gantry_kql::value::DateTime::parse(&other.to_string());
            Some(at.ok_or_else(|| Rejected::Wrong(format!("`effectiveDateTime` is no datetime: `{other}`")))?.0)
        }
    };
    // Tables that the platform makes are not kept in extents: all that they have is part of a view.
    let since = since
        .filter(|_| run.warehouse.source(&source).is_none() && !world.snapshot.definitions.views.contains_key(&source));
    if let Some(lookback) = super::property(properties, "lookback") {
        let valid = matches!(lookback, Value::TimeSpan(_)) || TimeSpan::parse(&lookback.to_string()).is_some();
        if !valid {
            return Err(Rejected::Wrong(format!("`lookback` is no timespan: `{lookback}`")));
        }
    }
    let kept = properties.iter().map(|(name, value)| (name.clone(), json_of(value))).collect();
    super::ingestion::operation(run, asynchronous, "MaterializedViewCreateOrAlter", |_| {
        run.change(|snapshot| {
            let definitions = &mut snapshot.definitions;
            if definitions.tables.contains_key(name) {
                return Err(Rejected::Exists { kind: "Table", name: name.to_owned() });
            }
            let known = definitions.views.get(name).cloned();
            match (mode, &known) {
                (CreateMode::Create, Some(_)) => {
                    return Err(Rejected::Exists { kind: "MaterializedView", name: name.to_owned() });
                }
                (CreateMode::CreateIfNotExists, Some(_)) => return Ok(()),
                (CreateMode::Alter, None) => return Err(not_found(name)),
                _ => {}
            }
            if reaches(definitions, &source, name) {
                return Err(Rejected::Wrong(format!("`{name}` would be over itself")));
            }
            let columns = columns.iter().map(|column| definitions.new_column(column)).collect();
            let said = |property: &str, known: Option<&String>| {
                text_property(properties, property).or_else(|| known.cloned()).unwrap_or_default()
            };
            let view = ViewDefinition {
                source: source.clone(),
                query: query.text.clone(),
                columns,
                created: known.as_ref().map_or(run.ask.now, |view| view.created),
                since: known.as_ref().map_or(since, |view| view.since),
                enabled: known.as_ref().is_none_or(|view| view.enabled),
                properties: serde_json::Map::clone(&kept),
                folder: said("folder", known.as_ref().map(|view| &view.folder)),
                docstring: said("docString", known.as_ref().map(|view| &view.docstring)),
            };
            definitions.views.insert(name.to_owned(), view);
            Ok(())
        })?;
        show(run, Some(name), None)
    })
}

/// Whether a view is among what another reads.
fn reaches(definitions: &crate::store::Definitions, from: &str, to: &str) -> bool {
    let mut at = from;
    for _ in 0..=definitions.views.len() {
        if at == to {
            return true;
        }
        match definitions.views.get(at) {
            Some(view) => at = &view.source,
            None => return false,
        }
    }
    true
}

/// Binds the query of a view and says which columns it yields.
fn columns_of(
    run: &Run,
    world: &World,
    source: &str,
    query: &Text,
) -> Result<Vec<gantry_kql::bound::Column>, Rejected> {
    let is_view = world.snapshot.definitions.views.contains_key(source);
    if !is_view && world.columns_of(source)?.is_none() {
        return Err(super::tables::not_found(source));
    }
    let text = run.in_place(query);
    let script = gantry_kql::parse(&text).map_err(|wrong| rejected(&wrong, &text))?;
    let none = std::collections::HashMap::new();
    let bound = gantry_kql::bind(&script, world, &none).map_err(|wrong| rejected(&wrong, &text))?;
    let result = bound.queries.last().and_then(|query| query.results.first());
    let result = result.ok_or_else(|| Rejected::Wrong("the query of the view has no result".into()))?;
    check_shape(source, &result.rel)?;
    Ok(result.rel.schema.columns.clone())
}

/// One `summarize`, last, with aggregates that can be kept up, over the source alone.
fn check_shape(source: &str, rel: &Rel) -> Result<(), Rejected> {
    let wrong = |message: String| Err(Rejected::Wrong(format!("a materialized view {message}")));
    let mut at = rel;
    // Names of columns are a projection above it.
    let summarize = loop {
        match &at.kind {
            RelKind::Summarize { input, aggregates, .. } => break (input, aggregates),
            RelKind::Project { input, .. } => at = input,
            _ => return wrong("ends with `summarize`".into()),
        }
    };
    let (mut input, aggregates) = summarize;
    for aggregate in aggregates.iter() {
        let name = aggregate.function.name;
        if !AGGREGATES.contains(&name) {
            return wrong(format!("cannot have the aggregate `{name}`"));
        }
    }
    loop {
        match &input.kind {
            RelKind::Table { name, .. } | RelKind::MaterializedView { name, .. } if name == source => return Ok(()),
            RelKind::Table { name, .. } | RelKind::MaterializedView { name, .. } => {
                return wrong(format!("reads its source `{source}`, not `{name}`"));
            }
            RelKind::Summarize { .. } => return wrong("has one `summarize`".into()),
            RelKind::Where { input: next, .. }
            | RelKind::Project { input: next, .. }
            | RelKind::Evaluate { input: Some(next), .. }
            | RelKind::Join { left: next, .. } => input = next,
            RelKind::MvExpand(expand) => input = &expand.input,
            RelKind::Parse(parse) => input = &parse.input,
            RelKind::ParseKv(parse) => input = &parse.input,
            _ => return wrong("may filter, extend, parse and expand the rows of its source, and nothing else".into()),
        }
    }
}

pub(super) fn drop(run: &Run, name: &str, if_exists: bool) -> Answered {
    let shown = show(run, Some(name), None);
    run.change(|snapshot| {
        let definitions = &mut snapshot.definitions;
        if let Some((above, _)) = definitions.views.iter().find(|(_, view)| view.source == name) {
            return Err(Rejected::Wrong(format!(
                "`{name}` is the source of the materialized view `{above}`: drop that first"
            )));
        }
        if definitions.views.remove(name).is_none() && !if_exists {
            return Err(not_found(name));
        }
        super::tables::forget(definitions, &format!("view {name}"));
        Ok(())
    })?;
    shown.or_else(|_| Ok(Answer::of("ShowMaterializedViews").table()))
}

pub(super) fn enable(run: &Run, name: &str, enabled: bool) -> Answered {
    run.change(|snapshot| {
        let view = snapshot.definitions.views.get_mut(name).ok_or_else(|| not_found(name))?;
        view.enabled = enabled;
        Ok(())
    })?;
    show(run, Some(name), None)
}

pub(super) fn describe(run: &Run, name: &str, what: &str, said: &str) -> Answered {
    run.change(|snapshot| {
        let view = snapshot.definitions.views.get_mut(name).ok_or_else(|| not_found(name))?;
        let place = if what == "folder" { &mut view.folder } else { &mut view.docstring };
        said.clone_into(place);
        Ok(())
    })?;
    show(run, Some(name), None)
}

pub(super) fn show(run: &Run, name: Option<&str>, detail: Option<&str>) -> Answered {
    let snapshot = run.snapshot();
    let views = &snapshot.definitions.views;
    if let Some(name) = name.filter(|name| !views.contains_key(*name)) {
        return Err(not_found(name));
    }
    let wanted = views.iter().filter(|(known, _)| name.is_none_or(|name| name == *known));
    let database = run.warehouse.database();
    match detail {
        None => {
            let mut answer = Answer::of("ShowMaterializedViews");
            for (name, view) in wanted {
                let kept = |property: &str| {
                    view.properties
                        .iter()
                        .find(|(known, _)| known.eq_ignore_ascii_case(property))
                        .map(|(_, value)| value)
                };
                let lookback = kept("lookback").and_then(|value| value.as_str()).and_then(TimeSpan::parse);
                answer.row(&[
                    ("Name", text(name)),
                    ("SourceTable", text(&view.source)),
                    ("Query", text(&view.query)),
                    ("MaterializedTo", time(run.ask.now)),
                    ("LastRun", time(run.ask.now)),
                    ("LastRunResult", text("Completed")),
                    ("IsHealthy", Value::Bool(true)),
                    ("IsEnabled", Value::Bool(view.enabled)),
                    ("Folder", text(&view.folder)),
                    ("DocString", text(&view.docstring)),
                    (
                        "AutoUpdateSchema",
                        Value::Bool(kept("autoUpdateSchema").and_then(|on| on.as_bool()).unwrap_or(false)),
                    ),
                    ("EffectiveDateTime", time(view.since.unwrap_or(view.created))),
                    ("Lookback", lookback.map_or(Value::Null, Value::TimeSpan)),
                    (
                        "LookbackColumn",
                        text(kept("lookback_column").and_then(|name| name.as_str()).unwrap_or_default()),
                    ),
                ]);
            }
            Ok(answer.table())
        }
        Some("details") => {
            let mut answer = Answer::of("ShowMaterializedViewsDetails");
            for (name, view) in wanted {
                let entity = format!("view {name}");
                let policy =
                    |policy: &str| text(super::policies::effective(run, &snapshot, &entity, policy).to_string());
                answer.row(&[
                    ("MaterializedViewName", text(name)),
                    ("DatabaseName", text(database)),
                    ("Folder", text(&view.folder)),
                    ("DocString", text(&view.docstring)),
                    ("TotalExtents", long(0)),
                    ("TotalRowCount", long(0)),
                    ("RetentionPolicy", policy("retention")),
                    ("CachingPolicy", policy("caching")),
                    ("ShardingPolicy", policy("sharding")),
                    ("MergePolicy", policy("merge")),
                ]);
            }
            Ok(answer.table())
        }
        Some("cslschema") => {
            let mut answer = Answer::of("ShowTableCslSchema");
            for (name, view) in wanted {
                answer.row(&[
                    ("TableName", text(name)),
                    ("Schema", text(super::schema::csl(&view.schema()))),
                    ("DatabaseName", text(database)),
                    ("Folder", text(&view.folder)),
                    ("DocString", text(&view.docstring)),
                ]);
            }
            Ok(answer.table())
        }
        Some("extents") => Ok(Answer::of("ShowTableExtents").table()),
        Some(_) => Err(Rejected::NotImplemented(run.name.to_owned())),
    }
}
