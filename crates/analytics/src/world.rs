//! The tables as one query sees them: what it may read, and through which policies.
//!
//! A table with an enabled policy of `row_level_security` is read through the policy's query; a materialized view is
//! its query over its source; where an update policy runs, the rows that just came stand in place of their table.
//! Columns that a query has asked for stay as they were.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_kql::bound::{Bound, Column, Rel, RelKind};
use gantry_kql::value::Value;
use gantry_kql::{Catalog, StoredFunction};

use crate::chunk::Chunk;
use crate::context::{Cancel, Context, Limits};
use crate::engine::{Frame, Part, Session, Tables};
use crate::error::{Error, Result};
use crate::models::{Features, Scores};
use crate::operators::Flow;
use crate::pushdown::Need;
use crate::store::{Snapshot, StoredTable};
use crate::warehouse::{By, Warehouse};

/// The function of the reference's library that scores rows with a model out of a table, for `invoke`: parameters and
/// body. A stored function of this name stands before it.
const PREDICT_ONNX_FL: (&str, &str) = (
    "(samples:(*), models_tbl:(name:string, timestamp:datetime, model:string), model_name:string, features_cols:dynamic, pred_col:string)",
    "{ let model = toscalar(models_tbl | where name == model_name | top 1 by timestamp desc | project model); \
     samples | evaluate predict_onnx(model, features_cols, pred_col) }",
);
/// How deep views, policies and what they read may stand on each other.
const DEPTH_MAX: usize = 16;

/// The tables as one query sees them.
pub(crate) struct World<'a> {
    pub(crate) warehouse: &'a Warehouse,
    pub(crate) snapshot: Arc<Snapshot>,
    now: i64,
    principal: String,
    is_unrestricted: bool,
    columns: Mutex<BTreeMap<String, Vec<Column>>>,
    /// Rows that stand in place of tables.
    instead: HashMap<String, Arc<Vec<Chunk>>>,
    source_table: Option<String>,
    /// Extents of a table that are read: those that came at an instant or later.
    since: HashMap<String, i64>,
    /// Tables and views whose policy is being applied: they are read as they are.
    bare: Vec<String>,
    depth: usize,
}

impl<'a> World<'a> {
    pub(crate) fn new(warehouse: &'a Warehouse, now: i64, by: &By) -> World<'a> {
        let snapshot = warehouse.store().snapshot();
        let is_unrestricted =
            by.may_administer || snapshot.definitions.has_role("database", &["unrestrictedviewers"], &by.principal);
        World {
            warehouse,
            snapshot,
            now,
            principal: by.principal.clone(),
            is_unrestricted,
            columns: Mutex::default(),
            instead: HashMap::new(),
            source_table: None,
            since: HashMap::new(),
            bare: Vec::new(),
            depth: 0,
        }
    }

    /// The same without policies of who reads: for what the platform itself does.
    pub(crate) fn of_platform(warehouse: &'a Warehouse, snapshot: Arc<Snapshot>, now: i64) -> World<'a> {
        World { snapshot, is_unrestricted: true, bare: vec!["*".into()], ..World::new(warehouse, now, &By::default()) }
    }

    /// With rows in place of a table, which `$source_table` means too.
    pub(crate) fn with_rows(mut self, table: &str, rows: Arc<Vec<Chunk>>) -> World<'a> {
        self.instead.insert(table.to_owned(), rows);
        self.source_table = Some(crate::commands::quoted(table));
        self
    }

    /// A stored text with the name of the table whose policy runs.
    fn with_source(&self, text: &str) -> String {
        match &self.source_table {
            Some(name) => text.replace("$source_table", name),
            None => text.to_owned(),
        }
    }

    fn within(&self, bare: &str) -> Result<World<'a>> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::Evaluation(format!("more than {DEPTH_MAX} views and policies stand on each other")));
        }
        let mut all = self.bare.clone();
        all.push(bare.to_owned());
        Ok(World {
            warehouse: self.warehouse,
            snapshot: Arc::clone(&self.snapshot),
            now: self.now,
            principal: self.principal.clone(),
            is_unrestricted: self.is_unrestricted,
            columns: Mutex::new(self.columns.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            instead: self.instead.clone(),
            source_table: self.source_table.clone(),
            since: self.since.clone(),
            bare: all,
            depth: self.depth + 1,
        })
    }

    fn is_bare(&self, entity: &str) -> bool {
        self.bare.iter().any(|bare| bare == "*" || bare == entity)
    }

    pub(crate) fn columns_of(&self, name: &str) -> Result<Option<Vec<Column>>> {
        let Some(source) = self.warehouse.source(name) else {
            return Ok(self.snapshot.definitions.tables.get(name).map(|table| table.schema()));
        };
        let mut known = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(columns) = known.get(name) {
            return Ok(Some(columns.clone()));
        }
        let columns = source.columns()?;
        known.insert(name.to_owned(), columns.clone());
        Ok(Some(columns))
    }

    /// Binds a text that was stored.
    pub(crate) fn bind(&self, text: &str) -> std::result::Result<Bound, crate::Rejected> {
        let text = &self.with_source(text);
        let rejected = |wrong: Vec<gantry_kql::Diagnostic>| crate::warehouse::rejected(&wrong, text);
        let script = gantry_kql::parse(text).map_err(rejected)?;
        gantry_kql::bind(&script, self, &HashMap::new()).map_err(rejected)
    }

    /// Runs a text that was stored and hands on the columns that are asked for, found by name.
    fn run_stored(
        &self,
        what: &str,
        text: &str,
        columns: &[Column],
        must_have_all: bool,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let fault = |reason: String| Error::Evaluation(format!("{what}: {reason}"));
        let bound = self.bind(text).map_err(|wrong| fault(wrong.to_string()))?;
        let result = bound.queries.last().and_then(|query| query.results.first());
        let rel = &result.ok_or_else(|| fault("it has no result".into()))?.rel;
        let mut places = Vec::with_capacity(columns.len());
        for column in columns {
            let at = rel.schema.position(&column.name);
            if at.is_none() && must_have_all {
                return Err(fault(format!("its query no longer yields `{column}`")));
            }
            places.push(at);
        }
        // A query within a query has its own options, and shares instant, limits and memory of the one around it.
        let context = Arc::new(context.within());
        Session::new(&bound, self, &context).run(rel, &Frame::default(), &mut |chunk| {
            // Columns of what the platform makes come, widen and go with what is in it.
            let column = |(at, wanted): (&Option<usize>, &Column)| match at {
                Some(at) => crate::ingest::widened_column(&chunk.columns[*at], wanted.ty),
                None => Arc::new(crate::column::Column::absent(wanted.ty, chunk.rows)),
            };
            sink(Chunk::new(places.iter().zip(columns).map(column).collect(), chunk.rows))
        })
    }

    /// The query of a policy of who sees which rows, when it is on.
    fn row_rule(&self, entity: &str) -> Option<String> {
        let policy = self.snapshot.definitions.policies.get(entity)?.get("row_level_security")?;
        let on = policy.get("IsEnabled").and_then(serde_json::Value::as_bool).unwrap_or(false);
        on.then(|| policy.get("Query").and_then(|query| query.as_str()).unwrap_or_default().to_owned())
    }

    /// Whether a policy keeps a table from all but a few.
    fn check_access(&self, entity: &str, name: &str) -> Result<()> {
        let policy = self.snapshot.definitions.policies.get(entity).and_then(|all| all.get("restricted_view_access"));
        let restricted = policy.and_then(|policy| policy.get("IsEnabled")).and_then(serde_json::Value::as_bool);
        let roles = ["admins", "viewers"];
        let may = self.is_unrestricted
            || self.is_bare(entity)
            || self.snapshot.definitions.has_role(entity, &roles, &self.principal);
        if restricted == Some(true) && !may {
            let reason = format!("`{}` is no unrestricted viewer", self.principal);
            return Err(Error::Forbidden { table: name.to_owned(), reason });
        }
        Ok(())
    }

    fn scan_bare(
        &self,
        table: &str,
        need: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let missing = || Error::Table { table: table.to_owned(), reason: "it is gone".into() };
        if let Some(rows) = self.instead.get(table) {
            for chunk in rows.iter() {
                if sink(chunk.clone())? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
            return Ok(Flow::More);
        }
        if let Some(source) = self.warehouse.source(table) {
            let columns = self.columns_of(table)?.ok_or_else(missing)?;
            return source.scan(&columns, need, context, sink);
        }
        let definition = self.snapshot.definitions.tables.get(table).ok_or_else(missing)?;
        let store = &**self.warehouse.store();
        let stored = StoredTable { store, snapshot: &self.snapshot, definition };
        match self.since.get(table) {
            None => stored.scan(need, context, sink),
            Some(since) => {
                let extents = self.snapshot.extents_of(definition.id).iter();
                let extents = extents.filter(|extent| extent.created >= *since);
                crate::store::scan_extents(store, extents, &definition.ids(), need, context, sink)
            }
        }
    }
}

impl Catalog for World<'_> {
    fn default_database(&self) -> String {
        self.warehouse.database().to_owned()
    }

    fn database(&self, name: &str) -> Option<String> {
        name.eq_ignore_ascii_case(self.warehouse.database()).then(|| self.warehouse.database().to_owned())
    }

    fn tables(&self, _: &str) -> Vec<String> {
        let written = self.snapshot.definitions.tables.keys();
        self.warehouse.sources().map(|(name, _)| name.to_owned()).chain(written.cloned()).collect()
    }

    fn table(&self, _: &str, name: &str) -> Option<Vec<Column>> {
        self.columns_of(name).ok().flatten()
    }

    fn external_table(&self, _: &str, name: &str) -> Option<Vec<Column>> {
        Some(self.snapshot.definitions.external_tables.get(name)?.schema())
    }

    fn materialized_view(&self, _: &str, name: &str) -> Option<Vec<Column>> {
        Some(self.snapshot.definitions.views.get(name)?.schema())
    }

    fn function(&self, _: &str, name: &str) -> Option<StoredFunction> {
        let stored = self.snapshot.definitions.functions.get(name);
        let stored = stored.map(|function| (function.parameters.as_str(), function.body.as_str()));
        let (parameters, body) = stored.or((name == "predict_onnx_fl").then_some(PREDICT_ONNX_FL))?;
        Some(StoredFunction { parameters: parameters.to_owned(), body: self.with_source(body) })
    }

    fn resolve_open(&self, rel: &Rel) -> Option<Vec<Column>> {
        let RelKind::Evaluate { input: Some(input), plugin, arguments } = &rel.kind else { return None };
        let bound = Bound { queries: Vec::new(), options: Vec::new(), materialized: Vec::new(), scalars: Vec::new() };
        let context = Context::new(self.now, Limits::default(), Cancel::default(), 0).with_principal(&self.principal);
        let context = Arc::new(context);
        let session = Session::new(&bound, self, &context);
        session.open(input, plugin.name, arguments, &Frame::default()).ok().map(|(columns, _)| columns)
    }
}

impl Tables for World<'_> {
    fn scan(
        &self,
        _: &str,
        table: &str,
        need: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let entity = format!("table {table}");
        self.check_access(&entity, table)?;
        if let (Some(rule), false) = (self.row_rule(&entity), self.is_bare(&entity)) {
            let missing = || Error::Table { table: table.to_owned(), reason: "it is gone".into() };
            let columns = self.columns_of(table)?.ok_or_else(missing)?;
            let what = format!("the row level security of `{table}`");
            return self.within(&entity)?.run_stored(&what, &rule, &columns, true, context, sink);
        }
        self.scan_bare(table, need, context, sink)
    }

    fn parts<'b>(
        &'b self,
        database: &'b str,
        table: &'b str,
        need: &'b Need,
        context: &'b Context,
    ) -> Result<Vec<Part<'b>>> {
        let entity = format!("table {table}");
        let is_plain = self.row_rule(&entity).is_none() || self.is_bare(&entity);
        if is_plain && !self.instead.contains_key(table) && !self.since.contains_key(table) {
            self.check_access(&entity, table)?;
            if let (Some(source), Some(columns)) = (self.warehouse.source(table), self.columns_of(table)?) {
                return source.parts(&columns, need, context);
            }
            if let Some(definition) = self.snapshot.definitions.tables.get(table) {
                let store = &**self.warehouse.store();
                return Ok(StoredTable { store, snapshot: &self.snapshot, definition }.parts(need, context));
            }
        }
        Ok(vec![Box::new(move |sink| self.scan(database, table, need, context, sink))])
    }

    fn scan_view(&self, view: &str, context: &Context, sink: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> {
        let missing = || Error::Table { table: view.to_owned(), reason: "it is gone".into() };
        let definition = self.snapshot.definitions.views.get(view).ok_or_else(missing)?;
        let entity = format!("view {view}");
        self.check_access(&entity, view)?;
        let columns = definition.schema();
        if let (Some(rule), false) = (self.row_rule(&entity), self.is_bare(&entity)) {
            let what = format!("the row level security of `{view}`");
            return self.within(&entity)?.run_stored(&what, &rule, &columns, true, context, sink);
        }
        // The view's own rule is the one that counts, not its source's.
        let mut world = self.within(&format!("table {}", definition.source))?;
        if let Some(since) = definition.since {
            world.since.insert(definition.source.clone(), since);
        }
        let what = format!("the materialized view `{view}`");
        world.run_stored(&what, &definition.query, &columns, false, context, sink)
    }

    fn scan_external(
        &self,
        table: &str,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let missing = || Error::Table { table: table.to_owned(), reason: "it is gone".into() };
        let definition = self.snapshot.definitions.external_tables.get(table).ok_or_else(missing)?;
        self.check_access(&format!("external {table}"), table)?;
        crate::external::scan(self, table, definition, context, sink)
    }

    fn predict(&self, model: &[u8], features: &Features, context: &Context) -> Result<Scores> {
        let is_wanted = || context.check().is_ok();
        let scores = self.warehouse.models().predict(model, features, &is_wanted);
        // Out of time or cancelled: that is what is wrong.
        context.check()?;
        scores.map_err(|why| Error::Evaluation(format!("predict_onnx(): {why}")))
    }

    fn scan_external_data(
        &self,
        uris: &[String],
        properties: &[(String, Value)],
        columns: &[Column],
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        crate::external::scan_data(self, uris, properties, columns, context, sink)
    }
}
