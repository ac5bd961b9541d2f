//! `evaluate`: plugins and the columns they yield.

use super::names::{Names, name_of, number_in_name};
use super::{Binder, Cx, Result, RowKind};
use crate::ast::{self, Named, SchemaItem};
use crate::bound::{Argument, Column, Expr, Rel, RelKind, Schema};
use crate::diagnostic::{Code, Span};
use crate::functions::{self, Kind, Plugin, Signature};
use crate::value::{Type, Value};
use std::sync::Arc;

/// An argument, with what naming needs to know of it.
struct Given<'a> {
    written: &'a Named,
    argument: Argument,
    name: Option<String>,
}

impl Given<'_> {
    fn ty(&self) -> Type {
        match &self.argument {
            Argument::Scalar(value) => value.ty,
            _ => Type::Unknown,
        }
    }

    fn named(&self) -> String {
        self.name.clone().unwrap_or_default()
    }
}

impl Binder<'_> {
    pub(super) fn evaluate(
        &mut self,
        call: &ast::Expr,
        schema: Option<&[SchemaItem]>,
        input: Option<Arc<Rel>>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let ast::ExprKind::Call { name, arguments } = &call.kind else {
            return self.fault(Code::WrongShape, call.span, "a call of a plugin expected");
        };
        let Some(plugin) = functions::plugin(&name.text) else {
            return self.fault(Code::UnknownFunction, name.span, format!("no plugin has the name `{}`", name.text));
        };
        let nothing = Arc::new(Schema::default());
        let columns = input.as_ref().map_or(nothing, |input| input.schema.clone());
        let row = self.row(&columns, RowKind::Plain, false);
        let cx = if input.is_some() { cx.with_row(&row) } else { cx };
        let given = self.plugin_arguments(plugin, arguments, cx, span)?;
        let result = match schema {
            Some(items) => {
                // `*` stands for the columns the plugin keeps.
                let kept = match plugin.name {
                    "bag_unpack" | "pivot" => self.open_schema(plugin, &given, &columns, span)?,
                    _ => (*columns).clone(),
                };
                let declared = self.declared_schema(items, &kept)?;
                Schema { open: columns.open, ..declared }
            }
            None => self.plugin_schema(plugin, &given, &columns, span)?,
        };
        let serialized = plugin.name == "identity" && input.as_ref().is_some_and(|input| input.serialized);
        let arguments = given.into_iter().map(|given| given.argument).collect();
        let open = result.open;
        let kind = RelKind::Evaluate { input, plugin, arguments };
        let rel = self.rel(kind, result, serialized, span)?;
        if open && let Some(columns) = self.catalog.resolve_open(&rel) {
            return self.rel(rel.kind.clone(), Schema::of(columns), serialized, span);
        }
        Ok(rel)
    }

    fn plugin_arguments<'n>(
        &mut self,
        plugin: &'static Plugin,
        arguments: &'n [Named],
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Vec<Given<'n>>> {
        let mut given: Vec<Given<'n>> = Vec::new();
        let signature = plugin.signatures.iter().max_by_key(|signature| signature.parameters.len());
        let mut lookup: Option<Arc<Rel>> = None;
        for (at, written) in arguments.iter().enumerate() {
            let parameter = written.names.first().and_then(|name| place_of(plugin, &name.text));
            let place = parameter.unwrap_or(at);
            let kind = signature.and_then(|signature: &Signature| signature.parameters.get(place)).map(|p| p.kind);
            let name = match written.names.first() {
                Some(name) if parameter.is_none() => Some(name.text.clone()),
                _ => name_of(&written.value),
            };
            let argument = match (&written.value.kind, kind) {
                (ast::ExprKind::TypeOf(ast::TypeOf::Schema(items)), _) => {
                    let columns = cx.row.map_or_else(Schema::default, |row| row.schema.clone());
                    Argument::Schema(self.declared_schema(items, &columns)?)
                }
                (ast::ExprKind::TypeOf(ast::TypeOf::Scalar(ty)), _) => {
                    return self.fault(Code::WrongType, span, format!("a schema expected, not `typeof({ty})`"));
                }
                (_, Some(Kind::Tabular)) => {
                    let rel = self.table(&written.value, cx)?;
                    lookup = Some(rel.clone());
                    Argument::Rel(rel)
                }
                (ast::ExprKind::Call { name, .. }, _)
                    if plugin.name == "pivot" && at == 1 && functions::aggregate(&name.text).is_some() =>
                {
                    let (mut aggregates, _) = self.summary_value(&written.value, cx)?;
                    Argument::Aggregate(aggregates.swap_remove(0))
                }
                // The key of a table to look up in is a column of that table.
                (ast::ExprKind::Name(column), _) if is_lookup_key(plugin, place) => {
                    let Some(index) = lookup.as_ref().and_then(|rel| rel.schema.position(column)) else {
                        let message = format!("the table to look up in has no column `{column}`");
                        return self.fault(Code::UnknownName, written.value.span, message);
                    };
                    let ty = lookup.as_ref().map_or(Type::Unknown, |rel| rel.schema.columns[index].ty);
                    Argument::Scalar(Expr::column(index, ty, written.value.span))
                }
                _ => Argument::Scalar(self.expr(&written.value, cx)?),
            };
            // A named argument stands at the place of its parameter.
            while parameter.is_some_and(|place| given.len() < place) {
                given.push(Given { written, argument: Argument::Absent, name: None });
            }
            given.push(Given { written, argument, name });
        }
        let required = plugin
            .signatures
            .iter()
            .map(|signature| signature.parameters.iter().filter(|parameter| !parameter.optional).count());
        let repeats = plugin.signatures.iter().any(|s| s.parameters.iter().any(|parameter| parameter.repeats));
        let most = plugin.signatures.iter().map(|signature| signature.parameters.len()).max().unwrap_or(0);
        let extra = if matches!(plugin.name, "bag_unpack" | "pivot") { 2 } else { 0 };
        if given.len() < required.min().unwrap_or(0) || !repeats && given.len() > most + extra {
            let message = format!("the plugin `{}` does not take {} arguments", plugin.name, given.len());
            return self.fault(Code::WrongType, span, message);
        }
        Ok(given)
    }

    fn declared_schema(&self, items: &[SchemaItem], input: &Schema) -> Result<Schema> {
        let mut columns: Vec<Column> = Vec::new();
        let mut open = false;
        for item in items {
            match item {
                SchemaItem::Star => {
                    columns.extend(input.columns.iter().cloned());
                    open |= input.open;
                }
                SchemaItem::Column(column) => {
                    let ty = self.declared(column.ty, column.name.span)?;
                    let made = Column::new(column.name.text.as_str(), ty);
                    match columns.iter().position(|known| *known.name == *made.name) {
                        Some(place) => columns[place] = made,
                        None => columns.push(made),
                    }
                }
            }
        }
        Ok(Schema { columns, open })
    }

    /// The columns a plugin yields.
    fn plugin_schema(
        &mut self,
        plugin: &'static Plugin,
        given: &[Given<'_>],
        input: &Schema,
        span: Span,
    ) -> Result<Schema> {
        let column = |name: &str, ty: Type| Column::new(name, ty);
        let at = |place: usize| given.get(place).map_or((String::new(), Type::Unknown), |one| (one.named(), one.ty()));
        let rest =
            |from: usize| given.iter().skip(from).map(|one| Column::new(one.named(), one.ty())).collect::<Vec<_>>();
        let with = |mut first: Vec<Column>, more: Vec<Column>| {
            first.extend(more);
            first
        };
        let (time, time_ty) = at(1);
        let timeline = || vec![column(&time, time_ty)];
        let segment = |columns: &[(&str, Type)]| columns.iter().map(|(name, ty)| column(name, *ty)).collect::<Vec<_>>();
        let columns = match plugin.name {
            "identity" | "rows_near" | "identity_v3" | "predict_onnx" => input.columns.clone(),
            "narrow" => segment(&[("Row", Type::Long), ("Column", Type::String), ("Value", Type::String)]),
            "autocluster" | "basket" => with(
                segment(&[("SegmentId", Type::Long), ("Count", Type::Long), ("Percent", Type::Real)]),
                input.columns.clone(),
            ),
            "diffpatterns" => with(
                segment(&[
                    ("SegmentId", Type::Long),
                    ("CountA", Type::Long),
                    ("CountB", Type::Long),
                    ("PercentA", Type::Real),
                    ("PercentB", Type::Real),
                    ("PercentDiffAB", Type::Real),
                ]),
                input.columns.clone(),
            ),
            "bag_unpack" | "pivot" => return self.open_schema(plugin, given, input, span),
            "active_users_count" => with(with(timeline(), rest(8)), segment(&[("dcount", Type::Long)])),
            "activity_counts_metrics" => with(
                with(timeline(), rest(5)),
                segment(&[
                    ("count", Type::Long),
                    ("dcount", Type::Long),
                    ("new_dcount", Type::Long),
                    ("aggregated_dcount", Type::Long),
                ]),
            ),
            "activity_engagement" => with(
                with(timeline(), rest(6)),
                segment(&[
                    ("dcount_activities_inner", Type::Long),
                    ("dcount_activities_outer", Type::Long),
                    ("activity_ratio", Type::Real),
                ]),
            ),
            "activity_metrics" => with(
                with(timeline(), rest(5)),
                segment(&[
                    ("dcount_values", Type::Long),
                    ("dcount_newvalues", Type::Long),
                    ("retention_rate", Type::Real),
                    ("churn_rate", Type::Real),
                ]),
            ),
            "new_activity_metrics" => with(
                with(
                    vec![Column::new(format!("from_{time}"), time_ty), Column::new(format!("to_{time}"), time_ty)],
                    rest(5).into_iter().filter(|column| !column.name.is_empty()).collect(),
                ),
                segment(&[
                    ("dcount_new_values", Type::Long),
                    ("dcount_retained_values", Type::Long),
                    ("dcount_churn_values", Type::Long),
                    ("retention_rate", Type::Real),
                    ("churn_rate", Type::Real),
                ]),
            ),
            "session_count" => with(with(timeline(), rest(6)), segment(&[("count_sessions", Type::Long)])),
            "sliding_window_counts" => {
                with(with(timeline(), rest(6)), segment(&[("Count", Type::Long), ("Dcount", Type::Long)]))
            }
            "funnel_sequence" => {
                let (_, state) = at(6);
                with(
                    timeline(),
                    segment(&[("prev", state), ("next", state), ("dcount", Type::Long), ("samples", Type::Dynamic)]),
                )
            }
            "funnel_sequence_completion" => {
                let (name, state) = at(5);
                let period = with(
                    vec![Column::new(name, state)],
                    segment(&[("Period", Type::TimeSpan), ("dcount", Type::Long)]),
                );
                with(timeline(), period)
            }
            "sequence_detect" => {
                let (time, time_ty) = at(0);
                let steps = |one: &&Given<'_>| one.ty() == Type::Bool;
                let dimensions = given.iter().skip(3).filter(|one| one.ty() != Type::Bool);
                let mut columns: Vec<Column> = dimensions.map(|one| Column::new(one.named(), one.ty())).collect();
                for step in given.iter().skip(3).filter(steps) {
                    columns.push(Column::new(format!("{}_{time}", step.named()), time_ty));
                }
                columns.push(column("Duration", Type::TimeSpan));
                columns
            }
            "rolling_percentile" => {
                let (value, ty) = at(0);
                let (axis, axis_ty) = at(2);
                let number = |place: usize| match given.get(place).map(|one| &one.argument) {
                    Some(Argument::Scalar(value)) => value.as_literal().map(number_in_name).unwrap_or_default(),
                    _ => String::new(),
                };
                let name = format!("rolling_{}_percentile_{value}_{}", number(4), number(1));
                with(with(vec![Column::new(axis, axis_ty)], rest(5)), vec![Column::new(name, ty)])
            }
            "dcount_intersect" => {
                let sizes = (0..given.len()).map(|at| Column::new(format!("s{at}"), Type::Long)).collect();
                with(input.columns.clone(), sizes)
            }
            "estimate_rows_count" => segment(&[("EstimatedRowsCount", Type::Long)]),
            "http_request" | "http_request_post" => {
                segment(&[("ResponseHeaders", Type::Dynamic), ("ResponseBody", Type::Dynamic)])
            }
            "infer_storage_schema" => segment(&[("CslSchema", Type::String)]),
            "infer_storage_schema_with_suggestions" => segment(&[("SuggestedTableSchema", Type::String)]),
            "python" | "r" | "csharp" => match given.first().map(|one| &one.argument) {
                Some(Argument::Schema(schema)) => return Ok(schema.clone()),
                _ => {
                    return self.fault(Code::WrongType, span, "the first argument is `typeof` of the result's columns");
                }
            },
            "ipv4_lookup" | "ipv6_lookup" | "geo_polygon_lookup" | "geo_line_lookup" => {
                let geo = plugin.name.starts_with("geo_");
                let Some(Argument::Rel(lookup)) = given.first().map(|one| &one.argument) else {
                    return self.fault(Code::WrongShape, span, "the first argument is the table to look up in");
                };
                let keeps_key = given.iter().any(|one| {
                    one.written.names.first().is_some_and(|name| name.text == "return_lookup_key")
                        && matches!(&one.argument, Argument::Scalar(value) if value.as_literal() == Some(&Value::Bool(true)))
                });
                let key = at(1).0;
                let found = lookup.schema.columns.iter().filter(|column| !geo || keeps_key || *column.name != *key);
                with(input.columns.clone(), found.cloned().collect())
            }
            "ai_embeddings" | "ai_embed_text" | "ai_chat_completion" | "ai_chat_completion_prompt" => {
                let embeds = plugin.name.starts_with("ai_embed");
                let (what, ty) = if embeds { ("embeddings", Type::Dynamic) } else { ("completion", Type::String) };
                let name = format!("{}_{what}", at(0).0);
                let errors = matches!(
                    given.get(3).map(|one| &one.argument),
                    Some(Argument::Scalar(value)) if value.as_literal() == Some(&Value::Bool(true))
                );
                let error = errors.then(|| Column::new(format!("{name}_error"), Type::String));
                with(with(input.columns.clone(), vec![Column::new(name, ty)]), error.into_iter().collect())
            }
            "sql_request"
            | "mysql_request"
            | "postgresql_request"
            | "cosmosdb_sql_request"
            | "dax_request"
            | "azure_digital_twins_query_request"
            | "execute_query"
            | "execute_show_command"
            | "external_datatable" => {
                return Ok(Schema { columns: Vec::new(), open: true });
            }
            other => return self.fault(Code::NotSupported, span, format!("the plugin `{other}` is not implemented")),
        };
        let mut names = Names::default();
        let columns = columns.into_iter().map(|column| Column::new(names.unique(&column.name), column.ty)).collect();
        Ok(Schema { columns, open: input.open })
    }

    /// The columns of `bag_unpack` and `pivot` that are known without the rows.
    fn open_schema(
        &mut self,
        plugin: &'static Plugin,
        given: &[Given<'_>],
        input: &Schema,
        span: Span,
    ) -> Result<Schema> {
        let column_of = |place: usize| match given.get(place).map(|one| &one.argument) {
            Some(Argument::Scalar(value)) => match value.kind {
                crate::bound::ExprKind::Column(index) => Some(index),
                _ => None,
            },
            _ => None,
        };
        let Some(first) = column_of(0) else {
            return self.fault(Code::WrongShape, span, "the first argument is the name of a column");
        };
        let keys: Vec<usize> = (2..given.len()).filter_map(column_of).collect();
        let aggregated: Vec<usize> = match given.get(1).map(|one| &one.argument) {
            Some(Argument::Aggregate(aggregate)) => {
                let mut used = Vec::new();
                for argument in aggregate.arguments.iter().chain(&aggregate.condition) {
                    argument.any(&mut |part| {
                        if let crate::bound::ExprKind::Column(index) = part.kind {
                            used.push(index);
                        }
                        false
                    });
                }
                used
            }
            _ => Vec::new(),
        };
        let kept = |index: &usize| match plugin.name {
            "pivot" if !keys.is_empty() => keys.contains(index),
            "pivot" => *index != first && !aggregated.contains(index),
            _ => *index != first,
        };
        let columns = (0..input.columns.len()).filter(kept).map(|index| input.columns[index].clone()).collect();
        Ok(Schema { columns, open: true })
    }
}

/// The place of a parameter.
fn place_of(plugin: &Plugin, name: &str) -> Option<usize> {
    plugin.signatures.iter().find_map(|signature| signature.parameters.iter().position(|p| p.name == name))
}

/// Whether a parameter is a column of the table that is looked up in.
fn is_lookup_key(plugin: &Plugin, place: usize) -> bool {
    match plugin.name {
        "ipv4_lookup" | "ipv6_lookup" => place == 2,
        "geo_polygon_lookup" | "geo_line_lookup" => place == 1,
        _ => false,
    }
}
