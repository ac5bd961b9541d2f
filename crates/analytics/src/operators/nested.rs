//! `top-hitters` and `top-nested`.

use std::sync::Arc;

use gantry_kql::bound::{Expr, NestedLevel, Rel, Schema};
use gantry_kql::value::{Type, Value};

use super::basic::{in_pieces, whole};
use super::sort::order_cells;
use super::summarize::Summary;
use super::{Flow, Sink};
use crate::aggregates::Prepared;
use crate::chunk::Chunk;
use crate::column::{Builder, Column};
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::expression::{Outer, Program};
use crate::groups::Groups;

impl Session<'_> {
    #[expect(clippy::too_many_arguments, reason = "the parts of the operator")]
    pub(super) fn top_hitters(
        &self,
        schema: &Schema,
        input: &Rel,
        count: &Expr,
        of: &Expr,
        by: Option<&Expr>,
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let count = self.count(count)? as usize;
        let of = Program::compile(of, self)?;
        let by = by.map(|by| Program::compile(by, self)).transpose()?;
        let mut groups = Groups::new(vec![of.ty()]);
        let mut weights: Vec<f64> = Vec::new();
        self.run(input, frame, &mut |chunk| {
            let of_rows = groups.of_rows(&[of.eval(&chunk, self.context())?], chunk.rows);
            weights.resize(groups.len(), 0.0);
            let by = by.as_ref().map(|by| by.eval(&chunk, self.context())).transpose()?;
            for (row, group) in of_rows.into_iter().enumerate() {
                weights[group as usize] += by.as_ref().map_or(1.0, |by| by.cell(row).number().unwrap_or(0.0));
            }
            Ok(Flow::More)
        })?;
        let mut order: Vec<u32> = (0..groups.len() as u32).collect();
        order.sort_by(|a, b| weights[*b as usize].total_cmp(&weights[*a as usize]));
        order.truncate(count);
        let mut counts = Builder::new(schema.columns[1].ty, order.len());
        for group in &order {
            let weight = weights[*group as usize];
            counts.push(if schema.columns[1].ty == Type::Real {
                Value::Real(weight)
            } else {
                Value::Long(weight as i64)
            });
        }
        let values = groups.columns().remove(0).take(&order);
        in_pieces(&Chunk::of(vec![values, counts.finish()], order.len()), sink)
    }

    /// Levels from the outside in: each value of a level has its own best values of the next.
    pub(super) fn top_nested(
        &self,
        schema: &Schema,
        input: &Rel,
        levels: &[NestedLevel],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let chunk = whole(&input.schema, self.collect(input, frame, "top-nested")?);
        let mut rows: Vec<Vec<Value>> = Vec::new();
        self.descend(levels, &chunk, &mut Vec::new(), &mut rows)?;
        let columns: Vec<Column> = schema
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let mut builder = Builder::new(column.ty, rows.len());
                rows.iter().for_each(|row| builder.push(row.get(at).cloned().unwrap_or(Value::Null)));
                builder.finish()
            })
            .collect();
        in_pieces(&Chunk::of(columns, rows.len()), sink)
    }

    fn descend(
        &self,
        levels: &[NestedLevel],
        chunk: &Chunk,
        path: &mut Vec<Value>,
        out: &mut Vec<Vec<Value>>,
    ) -> Result<()> {
        let Some((level, inner)) = levels.split_first() else {
            out.push(path.clone());
            return Ok(());
        };
        self.context().check()?;
        let keys = [Program::compile(&level.of, self)?];
        let aggregates = [Prepared::new(&level.by, self)?];
        let mut groups = Groups::new(vec![keys[0].ty()]);
        let of_rows = groups.of_rows(&[keys[0].eval(chunk, self.context())?], chunk.rows);
        let mut summary = Summary::new(&keys, &aggregates)?;
        summary.feed(chunk, self.context())?;
        let summed = summary.finish(self.context());
        let ranked = self.rank(level, &summed)?;
        let mut order: Vec<usize> = (0..summed.rows).collect();
        order.sort_by(|a, b| order_cells(ranked.cell(*a), ranked.cell(*b), level.descending, !level.descending));
        let count = match &level.count {
            Some(count) => self.count(count)? as usize,
            None => usize::MAX,
        };
        let (kept, left) = order.split_at(count.min(order.len()));
        let rows_of = |groups: &[usize]| -> Vec<u32> {
            (0..chunk.rows as u32).filter(|row| groups.contains(&(of_rows[*row as usize] as usize))).collect()
        };
        for group in kept {
            path.push(summed.columns[0].value(*group));
            path.push(ranked.value(*group));
            self.descend(inner, &chunk.take(&rows_of(&[*group])), path, out)?;
            path.truncate(path.len() - 2);
        }
        let Some(others) = &level.others else { return Ok(()) };
        let rest = chunk.take(&rows_of(left));
        let keyless: [Program; 0] = [];
        let mut summary = Summary::new(&keyless, &aggregates)?;
        summary.feed(&rest, self.context())?;
        let mut summed = summary.finish(self.context());
        summed.columns.insert(0, Arc::new(Column::absent(keys[0].ty(), 1)));
        let ranked = self.rank(level, &summed)?;
        path.push(self.value(others)?);
        path.push(ranked.value(0));
        self.descend(inner, &rest, path, out)?;
        path.truncate(path.len() - 2);
        Ok(())
    }

    /// The value that ranks each group: the aggregate, or what is worked out of it.
    fn rank(&self, level: &NestedLevel, summed: &Chunk) -> Result<Arc<Column>> {
        let aggregate = Chunk::new(summed.columns[1..].to_vec(), summed.rows);
        match &level.rank {
            Some(rank) => {
                let program = Program::compile(rank, self)?;
                Ok(program.eval(&aggregate, self.context())?.into_column(program.ty(), summed.rows))
            }
            None => Ok(Arc::clone(&aggregate.columns[0])),
        }
    }
}
