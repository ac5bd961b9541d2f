//! Plugins of `evaluate`.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_kql::bound::{Argument, Column as SchemaColumn, Rel, Schema};
use gantry_kql::value::{Dynamic, Type, Value};

use super::basic::{in_pieces, whole};
use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Builder, Cell, Column};
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer, Program};
use crate::groups::Groups;

impl Session<'_> {
    pub(super) fn evaluate(
        &self,
        schema: &Schema,
        input: Option<&Arc<Rel>>,
        plugin: &str,
        arguments: &[Argument],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let Some(input) = input else { return Err(Error::NotImplemented(format!("evaluate {plugin}"))) };
        match plugin {
            "narrow" => {
                let chunk = whole(&input.schema, self.collect(input, frame, "narrow")?);
                in_pieces(&narrow(schema, &input.schema, &chunk), sink)
            }
            "bag_unpack" | "pivot" => {
                let made = self.open(input, plugin, arguments, frame)?;
                // The columns the binder knows, each from the made column of its name.
                let columns = schema.columns.iter().map(|column| {
                    let found = made.0.iter().position(|known| known.name == column.name);
                    match found {
                        Some(at) => crate::expression::cast(
                            Datum::Many(Arc::clone(&made.1.columns[at])),
                            made.0[at].ty,
                            column.ty,
                            made.1.rows,
                        )
                        .into_column(column.ty, made.1.rows),
                        None => Arc::new(Column::absent(column.ty, made.1.rows)),
                    }
                });
                in_pieces(&Chunk::new(columns.collect(), made.1.rows), sink)
            }
            "rows_near" => self.rows_near(input, arguments, frame, sink),
            "rolling_percentile" => self.rolling_percentile(schema, input, arguments, frame, sink),
            "active_users_count" => self.active_users(schema, input, arguments, frame, sink),
            "autocluster" | "basket" | "diffpatterns" => self.patterns(plugin, schema, input, arguments, frame, sink),
            "predict_onnx" => self.predict(input, arguments, frame, sink),
            "preview" => {
                let chunk = whole(&input.schema, self.collect(input, frame, "preview")?);
                let rows = self.whole_number(arguments.first())?.clamp(0, chunk.rows as i64) as usize;
                in_pieces(&chunk.slice(0, rows), sink)
            }
            "estimate_rows_count" => {
                let rows: usize =
                    self.collect(input, frame, "estimate_rows_count")?.iter().map(|chunk| chunk.rows).sum();
                sink(Chunk::of(vec![Column::from(vec![rows as i64])], 1))
            }
            plugin => Err(Error::NotImplemented(format!("evaluate {plugin}"))),
        }
    }

    /// The columns and rows of `bag_unpack` and `pivot`, which only the rows tell.
    pub fn open(
        &self,
        input: &Rel,
        plugin: &str,
        arguments: &[Argument],
        frame: &Frame,
    ) -> Result<(Vec<SchemaColumn>, Chunk)> {
        let chunk = whole(&input.schema, self.collect(input, frame, "evaluate")?);
        if plugin == "pivot" {
            self.pivot(&input.schema, &chunk, arguments)
        } else {
            self.bag_unpack(&input.schema, &chunk, arguments)
        }
    }

    fn scalar_program(&self, argument: Option<&Argument>) -> Result<Option<Program>> {
        match argument {
            Some(Argument::Scalar(expr)) => Ok(Some(Program::compile(expr, self)?)),
            _ => Ok(None),
        }
    }

    pub(super) fn constant(&self, argument: Option<&Argument>) -> Result<Option<Value>> {
        match argument {
            Some(Argument::Scalar(expr)) => Ok(Some(self.value(expr)?)),
            _ => Ok(None),
        }
    }

    fn whole_number(&self, argument: Option<&Argument>) -> Result<i64> {
        Ok(self.constant(argument)?.and_then(|value| Cell::from(&value).long()).unwrap_or(0))
    }

    /// `bag_unpack(column [, prefix [, conflict [, ignored]]])`: a column for each name, in the order of the names.
    fn bag_unpack(&self, schema: &Schema, chunk: &Chunk, arguments: &[Argument]) -> Result<(Vec<SchemaColumn>, Chunk)> {
        let column = self.scalar_program(arguments.first())?.and_then(|program| program.as_column());
        let Some(of) = column else {
            return Err(Error::Evaluation("bag_unpack(): the first argument must be a column".into()));
        };
        let text = |at: usize| -> Result<String> {
            Ok(self
                .constant(arguments.get(at))?
                .map(|value| Cell::from(&value).text().into_owned())
                .unwrap_or_default())
        };
        let (prefix, conflict) = (text(1)?, text(2)?);
        let ignored: Vec<String> = match self.constant(arguments.get(3))? {
            Some(value) => Cell::from(&value).array().unwrap_or_default().iter().map(Dynamic::to_string).collect(),
            None => Vec::new(),
        };
        let mut names: std::collections::BTreeMap<String, Option<Type>> = std::collections::BTreeMap::new();
        let bags: Vec<Dynamic> = (0..chunk.rows).map(|row| chunk.columns[of].cell(row).to_dynamic()).collect();
        for bag in &bags {
            let Dynamic::Bag(bag) = bag else { continue };
            for (name, value) in bag.iter().filter(|(name, _)| !ignored.iter().any(|ignored| ignored == name)) {
                let ty = match value {
                    Dynamic::Null => continue,
                    Dynamic::Array(_) | Dynamic::Bag(_) => Type::Dynamic,
                    scalar => Cell::from(scalar).to_value().ty().unwrap_or(Type::Dynamic),
                };
                names
                    .entry(name.to_owned())
                    .and_modify(|known| {
                        if known.is_some_and(|known| known != ty) {
                            let numbers = known.is_some_and(Type::is_number) && ty.is_number();
                            *known = Some(if numbers { Type::Real } else { Type::Dynamic });
                        }
                    })
                    .or_insert(Some(ty));
            }
        }
        let mut columns: Vec<SchemaColumn> = Vec::new();
        let mut made = Vec::new();
        for (at, column) in schema.columns.iter().enumerate().filter(|(at, _)| *at != of) {
            columns.push(column.clone());
            made.push(Arc::clone(&chunk.columns[at]));
        }
        for (name, ty) in names {
            let ty = ty.unwrap_or(Type::Dynamic);
            let mut builder = Builder::new(ty, chunk.rows);
            for bag in &bags {
                match bag.member(&name) {
                    Some(value) => builder.push(Cell::from(value).cast(ty)),
                    None => builder.push_absent(),
                }
            }
            let full = format!("{prefix}{name}");
            let built = Arc::new(builder.finish());
            match columns.iter().position(|known| *known.name == *full) {
                Some(_) if conflict == "keep_source" => {}
                Some(at) if conflict == "replace_source" => {
                    columns[at] = SchemaColumn::new(full, ty);
                    made[at] = built;
                }
                Some(_) => {
                    return Err(Error::Evaluation(format!("bag_unpack(): column `{full}` is there already")));
                }
                None => {
                    columns.push(SchemaColumn::new(full, ty));
                    made.push(built);
                }
            }
        }
        Ok((columns, Chunk::new(made, chunk.rows)))
    }

    /// `pivot(column [, aggregate [, keys…]])`: a row for each key, a column for each value in order.
    fn pivot(&self, schema: &Schema, chunk: &Chunk, arguments: &[Argument]) -> Result<(Vec<SchemaColumn>, Chunk)> {
        let column = self.scalar_program(arguments.first())?.and_then(|program| program.as_column());
        let Some(of) = column else {
            return Err(Error::Evaluation("pivot(): the first argument must be a column".into()));
        };
        let aggregate = arguments.iter().find_map(|argument| match argument {
            Argument::Aggregate(aggregate) => Some(aggregate),
            _ => None,
        });
        let prepared = aggregate.map(|aggregate| crate::aggregates::Prepared::new(aggregate, self)).transpose()?;
        let mut keys: Vec<usize> = Vec::new();
        for argument in arguments.iter().skip(1) {
            if let Some(at) = self.scalar_program(Some(argument))?.and_then(|program| program.as_column()) {
                keys.push(at);
            }
        }
        if keys.is_empty() {
            let mut used = vec![of];
            if let Some(aggregate) = aggregate {
                aggregate.for_each_expr(&mut |expr| {
                    expr.any(&mut |part| {
                        if let gantry_kql::bound::ExprKind::Column(at) = part.kind {
                            used.push(at);
                        }
                        false
                    });
                });
            }
            keys = (0..schema.columns.len()).filter(|at| !used.contains(at)).collect();
        }
        let types: Vec<Type> = keys.iter().map(|at| schema.columns[*at].ty).collect();
        let datum = |at: usize| Datum::Many(Arc::clone(&chunk.columns[at]));
        let mut groups = Groups::new(types);
        let of_key = if keys.is_empty() {
            vec![0; chunk.rows]
        } else {
            groups.of_rows(&keys.iter().map(|at| datum(*at)).collect::<Vec<_>>(), chunk.rows)
        };
        let count = if keys.is_empty() { usize::from(chunk.rows > 0) } else { groups.len() };
        let mut values = Groups::new(vec![schema.columns[of].ty]);
        let of_value = values.of_rows(&[datum(of)], chunk.rows);
        let cells: Vec<i64> = of_key
            .iter()
            .zip(&of_value)
            .map(|(k, v)| i64::from(*k) * values.len().max(1) as i64 + i64::from(*v))
            .collect();
        let mut cell_groups = Groups::new(vec![Type::Long]);
        let of_cell = cell_groups.of_rows(&[Datum::Many(Arc::new(Column::from(cells)))], chunk.rows);
        let (made, ty) = match &prepared {
            Some(prepared) => {
                let mut state = prepared.accumulator()?;
                state.grow(cell_groups.len());
                prepared.feed(&mut *state, chunk, &of_cell, self.context())?;
                (state.finish(prepared.columns()).remove(0), prepared.columns()[0].ty)
            }
            None => {
                let mut counts = vec![0_i64; cell_groups.len()];
                of_cell.iter().for_each(|cell| counts[*cell as usize] += 1);
                (Column::from(counts), Type::Long)
            }
        };
        let counts = prepared.is_none()
            || aggregate.is_some_and(|aggregate| matches!(aggregate.function.plain, "count" | "dcount" | "sum"));
        let numbers = cell_groups.columns().remove(0);
        let names = values.columns().remove(0);
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|a, b| names.cell(*a as usize).text().cmp(&names.cell(*b as usize).text()));
        let mut place = std::collections::HashMap::new();
        for cell in 0..numbers.len() {
            if let Some(number) = numbers.cell(cell).long() {
                place.insert(number, cell);
            }
        }
        let mut columns: Vec<SchemaColumn> = keys.iter().map(|at| schema.columns[*at].clone()).collect();
        let mut out: Vec<Column> = if keys.is_empty() { Vec::new() } else { groups.columns() };
        for value in order {
            let mut builder = Builder::new(ty, count);
            for key in 0..count {
                match place.get(&(key as i64 * values.len() as i64 + i64::from(value))) {
                    Some(cell) => builder.push_cell(made.cell(*cell)),
                    None if counts => builder.push(Cell::Long(0).cast(ty)),
                    None => builder.push_absent(),
                }
            }
            columns.push(SchemaColumn::new(names.cell(value as usize).text().into_owned(), ty));
            out.push(builder.finish());
        }
        Ok((columns, Chunk::of(out, count)))
    }

    /// `rows_near(condition, before [, after])`.
    fn rows_near(&self, input: &Rel, arguments: &[Argument], frame: &Frame, sink: Sink) -> Result<Flow> {
        let chunk = whole(&input.schema, self.collect(input, frame, "rows_near")?);
        let Some(condition) = self.scalar_program(arguments.first())? else {
            return Err(Error::Evaluation("rows_near(): the condition is missing".into()));
        };
        let before = self.whole_number(arguments.get(1))?;
        let after = match arguments.get(2) {
            Some(argument) => self.whole_number(Some(argument))?,
            None => before,
        };
        let mut near = vec![false; chunk.rows];
        for row in condition.eval(&chunk, self.context())?.true_rows(chunk.rows) {
            let from = (i64::from(row) - before).max(0) as usize;
            let to = (i64::from(row) + after).min(chunk.rows as i64 - 1) as usize;
            near[from..=to].fill(true);
        }
        let rows: Vec<u32> = (0..chunk.rows as u32).filter(|row| near[*row as usize]).collect();
        in_pieces(&chunk.take(&rows), sink)
    }

    /// `rolling_percentile(value, percentile, index, bin, bins [, dimensions…])`.
    fn rolling_percentile(
        &self,
        schema: &Schema,
        input: &Rel,
        arguments: &[Argument],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let chunk = whole(&input.schema, self.collect(input, frame, "rolling_percentile")?);
        let value = self.need(arguments, 0)?;
        let percent = self.constant(arguments.get(1))?.and_then(|value| Cell::from(&value).number()).unwrap_or(50.0);
        let index = self.need(arguments, 2)?;
        let bin = self.constant(arguments.get(3))?.unwrap_or(Value::Null);
        let bins = self.whole_number(arguments.get(4))?.max(1) as usize;
        let dimensions = (5..arguments.len()).map(|at| self.need(arguments, at)).collect::<Result<Vec<_>>>()?;
        let mut groups = Groups::new(dimensions.iter().map(Program::ty).collect());
        let keys = dimensions.iter().map(|one| one.eval(&chunk, self.context())).collect::<Result<Vec<_>>>()?;
        let of_rows = if keys.is_empty() { vec![0; chunk.rows] } else { groups.of_rows(&keys, chunk.rows) };
        let count = if keys.is_empty() { 1 } else { groups.len() };
        let (values, places) = (value.eval(&chunk, self.context())?, index.eval(&chunk, self.context())?);
        let mut binned: Vec<std::collections::BTreeMap<i64, Vec<usize>>> = vec![Default::default(); count];
        for (row, group) in of_rows.iter().enumerate() {
            let floored = crate::functions::bin_one(places.cell(row), Cell::from(&bin), index.ty());
            if let Cell::DateTime(at) | Cell::TimeSpan(at) | Cell::Long(at) = Cell::from(&floored) {
                binned[*group as usize].entry(at).or_default().push(row);
            }
        }
        let mut out: Vec<Builder> = schema.columns.iter().map(|column| Builder::new(column.ty, chunk.rows)).collect();
        let dimension_columns = if keys.is_empty() { Vec::new() } else { groups.columns() };
        let mut rows = 0;
        for (group, binned) in binned.iter().enumerate() {
            let all: Vec<(&i64, &Vec<usize>)> = binned.iter().collect();
            for at in 0..all.len() {
                let mut digest = crate::aggregates::Digest::default();
                for (_, members) in &all[(at + 1).saturating_sub(bins)..=at] {
                    members.iter().for_each(|row| digest.add(values.cell(*row), 1.0));
                }
                out[0].push(crate::column::ticks_value(index.ty(), *all[at].0));
                for (dimension, column) in dimension_columns.iter().enumerate() {
                    out[1 + dimension].push_cell(column.cell(group));
                }
                let last = out.len() - 1;
                let ty = schema.columns[last].ty;
                out[last].push(digest.percentiles(&[percent], ty).remove(0));
                rows += 1;
            }
        }
        in_pieces(&Chunk::of(out.into_iter().map(Builder::finish).collect(), rows), sink)
    }

    pub(super) fn need(&self, arguments: &[Argument], at: usize) -> Result<Program> {
        self.scalar_program(arguments.get(at))?
            .ok_or_else(|| Error::Evaluation(format!("argument {} is missing", at + 1)))
    }

    /// `active_users_count(id, time, start, end, lookback, period, active periods, bin [, dimensions…])`: distinct ids
    /// that were seen in at least so many periods of the window before the end of each bin.
    fn active_users(
        &self,
        schema: &Schema,
        input: &Rel,
        arguments: &[Argument],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let chunk = whole(&input.schema, self.collect(input, frame, "active_users_count")?);
        let (id, time) = (self.need(arguments, 0)?, self.need(arguments, 1)?);
        let number = |at: usize| -> Result<i64> {
            let value = self.constant(arguments.get(at))?.unwrap_or(Value::Null);
            match Cell::from(&value) {
                Cell::DateTime(ticks) | Cell::TimeSpan(ticks) | Cell::Long(ticks) => Ok(ticks),
                cell => cell.long().ok_or_else(|| {
                    Error::Evaluation(format!("active_users_count(): argument {} must be a value", at + 1))
                }),
            }
        };
        let [start, end, lookback, period, active, bin] =
            [number(2)?, number(3)?, number(4)?, number(5)?, number(6)?, number(7)?];
        if bin <= 0 || period <= 0 {
            return Err(Error::Evaluation("active_users_count(): period and bin must be positive".into()));
        }
        let dimensions = (8..arguments.len()).map(|at| self.need(arguments, at)).collect::<Result<Vec<_>>>()?;
        let mut groups = Groups::new(dimensions.iter().map(Program::ty).collect());
        let keys = dimensions.iter().map(|one| one.eval(&chunk, self.context())).collect::<Result<Vec<_>>>()?;
        let of_rows = if keys.is_empty() { vec![0; chunk.rows] } else { groups.of_rows(&keys, chunk.rows) };
        let count = if keys.is_empty() { 1 } else { groups.len() };
        let mut ids = Groups::new(vec![id.ty()]);
        let of_ids = ids.of_rows(&[id.eval(&chunk, self.context())?], chunk.rows);
        let times = time.eval(&chunk, self.context())?;
        let mut out: Vec<Builder> = schema.columns.iter().map(|column| Builder::new(column.ty, 16)).collect();
        let dimension_columns = if keys.is_empty() { Vec::new() } else { groups.columns() };
        let mut rows = 0;
        for group in 0..count {
            let mut at = start;
            while at <= end {
                self.context().check()?;
                // Whoever was active often enough in the window that ends with one of the bin's periods.
                let mut users: std::collections::HashSet<u32> = std::collections::HashSet::new();
                let mut period_end = at.saturating_add(period);
                while period_end <= at.saturating_add(bin) && period_end <= end.saturating_add(period) {
                    // Periods may be as short as a tick, and there may be no row at all.
                    self.context().check()?;
                    let mut seen: HashMap<u32, std::collections::HashSet<i64>> = HashMap::new();
                    for row in 0..chunk.rows {
                        let (Cell::DateTime(when) | Cell::TimeSpan(when) | Cell::Long(when)) = times.cell(row) else {
                            continue;
                        };
                        if of_rows[row] as usize == group
                            && when >= period_end.saturating_sub(lookback)
                            && when < period_end
                        {
                            seen.entry(of_ids[row]).or_default().insert(when.wrapping_sub(start).div_euclid(period));
                        }
                    }
                    users.extend(seen.iter().filter(|(_, periods)| periods.len() as i64 >= active).map(|(id, _)| *id));
                    period_end = period_end.saturating_add(period);
                }
                let users = users.len() as i64;
                if users > 0 {
                    out[0].push(crate::column::ticks_value(schema.columns[0].ty, at));
                    for (dimension, column) in dimension_columns.iter().enumerate() {
                        out[1 + dimension].push_cell(column.cell(group));
                    }
                    let last = out.len() - 1;
                    out[last].push(Value::Long(users));
                    rows += 1;
                }
                at = at.saturating_add(bin);
            }
        }
        in_pieces(&Chunk::of(out.into_iter().map(Builder::finish).collect(), rows), sink)
    }
}

/// A row for each cell: number of the row, name of the column, value as text.
fn narrow(schema: &Schema, input: &Schema, chunk: &Chunk) -> Chunk {
    let rows = chunk.rows * chunk.columns.len();
    let mut out: Vec<Builder> = schema.columns.iter().map(|column| Builder::new(column.ty, rows)).collect();
    for row in 0..chunk.rows {
        for (column, known) in chunk.columns.iter().zip(&input.columns) {
            out[0].push(Value::Long(row as i64));
            out[1].push_cell(Cell::String(&known.name));
            out[2].push_cell(Cell::String(&column.cell(row).text()));
        }
    }
    Chunk::of(out.into_iter().map(Builder::finish).collect(), rows)
}
