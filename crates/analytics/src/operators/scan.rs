//! `scan`: rows matched one after the other by steps that remember what they saw.
//!
//! A step that holds a state holds one row of its own: the last row that matched it, the declared columns as it left
//! them, and the number of the match. For each row the steps are tried from the last to the first; a step can match
//! when it holds a state itself or the step before it does. Matching step `k` from step `k − 1` moves the state on.

use std::sync::Arc;

use gantry_kql::bound::{Expr, ExprKind, Scan, Schema, StepOutput};
use gantry_kql::value::{Type, Value};

use super::basic::{in_pieces, whole};
use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Builder, Column};
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::expression::{Outer, Program};

/// What a step remembers.
#[derive(Debug, Clone)]
struct State {
    /// Input and declared columns of the last row that matched.
    row: Vec<Value>,
    match_id: i64,
}

/// Columns of the states stand behind those of the row: step `s`, column `c` at `width · (s + 1) + c`.
struct Layout<'a, 'b> {
    session: &'a Session<'b>,
    width: usize,
}

impl Outer for Layout<'_, '_> {
    fn query(&self) -> &dyn Outer {
        self.session
    }

    fn place(&self, expr: &Expr) -> Option<usize> {
        match expr.kind {
            ExprKind::StepColumn { step, column } => Some(self.width * (step + 1) + column),
            _ => None,
        }
    }
}

struct Step {
    condition: Program,
    assignments: Vec<(usize, Program)>,
    output: StepOutput,
    optional: bool,
}

impl Session<'_> {
    pub(super) fn scan(&self, schema: &Schema, scan: &Scan, frame: &Frame, sink: Sink) -> Result<Flow> {
        let chunk = whole(&scan.input.schema, self.collect(&scan.input, frame, "scan")?);
        let inputs = scan.input.schema.columns.len();
        let width = inputs + scan.declared.len();
        let layout = Layout { session: self, width };
        let steps = scan
            .steps
            .iter()
            .map(|step| {
                Ok(Step {
                    condition: Program::compile(&step.condition, &layout)?,
                    assignments: step
                        .assignments
                        .iter()
                        .map(|(at, value)| Ok((*at, Program::compile(value, &layout)?)))
                        .collect::<Result<Vec<_>>>()?,
                    output: step.output,
                    optional: step.optional,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let defaults = scan.declared.iter().map(|(_, default)| self.value(default)).collect::<Result<Vec<_>>>()?;
        let types: Vec<Type> = scan
            .input
            .schema
            .columns
            .iter()
            .map(|column| column.ty)
            .chain(scan.declared.iter().map(|(column, _)| column.ty))
            .collect();
        let mut run = Run {
            session: self,
            steps,
            types,
            inputs,
            defaults,
            states: vec![None; scan.steps.len()],
            next_match: 0,
            out: schema.columns.iter().map(|column| Builder::new(column.ty, chunk.rows)).collect(),
            rows: 0,
            match_id: scan.match_id,
        };
        for row in 0..chunk.rows {
            if row % 1_024 == 0 {
                self.context().check()?;
            }
            run.take(&chunk, row)?;
        }
        // What a step with `output=last` still holds is its last row.
        for at in 0..run.states.len() {
            if let (StepOutput::Last, Some(state)) = (run.steps[at].output, run.states[at].clone()) {
                run.put_out(&state);
            }
        }
        let rows = run.rows;
        let columns: Vec<Column> = run.out.into_iter().map(Builder::finish).collect();
        in_pieces(&Chunk::of(columns, rows), sink)
    }
}

struct Run<'a, 'b> {
    session: &'a Session<'b>,
    steps: Vec<Step>,
    types: Vec<Type>,
    inputs: usize,
    defaults: Vec<Value>,
    states: Vec<Option<State>>,
    next_match: i64,
    out: Vec<Builder>,
    rows: usize,
    match_id: bool,
}

impl Run<'_, '_> {
    fn take(&mut self, chunk: &Chunk, row: usize) -> Result<()> {
        for at in (0..self.steps.len()).rev() {
            // A step goes on with its own state, or takes over that of the step before it. Steps between that are
            // optional may be passed over. The first step begins a match.
            let own = self.states[at].is_some();
            let before = (0..at).rev().find(|earlier| {
                let reachable = (*earlier + 1..at).all(|between| self.steps[between].optional);
                reachable && self.states[*earlier].is_some()
            });
            let begins = at == 0 || (0..at).all(|earlier| self.steps[earlier].optional);
            let mut sources: Vec<Option<usize>> = Vec::new();
            if let Some(earlier) = before {
                sources.push(Some(earlier));
            }
            if own {
                sources.push(Some(at));
            }
            if begins && !own {
                sources.push(None);
            }
            for source in sources {
                let from = source.map(|source| self.states[source].clone()).unwrap_or(None);
                let wide = self.wide(chunk, row, at, from.as_ref());
                let context = Arc::clone(self.session.context());
                if self.steps[at].condition.eval(&wide, &context)?.cell(0).bool() != Some(true) {
                    continue;
                }
                let mut values: Vec<Value> =
                    (0..self.types.len()).map(|column| wide.columns[column].value(0)).collect();
                for (column, program) in &self.steps[at].assignments {
                    values[*column] = program.eval(&wide, &context)?.cell(0).cast(self.types[*column]);
                }
                let match_id = match &from {
                    Some(state) => state.match_id,
                    None => {
                        self.next_match += 1;
                        self.next_match - 1
                    }
                };
                let state = State { row: values, match_id };
                match source {
                    Some(source) if source != at => {
                        if self.steps[at].output == StepOutput::Last
                            && let Some(old) = self.states[at].take()
                        {
                            self.put_out(&old);
                        }
                        if self.steps[source].output == StepOutput::Last
                            && let Some(old) = self.states[source].clone()
                        {
                            self.put_out(&old);
                        }
                        self.states[source] = None;
                    }
                    _ => {}
                }
                if self.steps[at].output == StepOutput::All {
                    self.put_out(&state);
                }
                self.states[at] = Some(state);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The row, its declared columns, and the states of all steps behind them. A step that is tried sees its own
    /// state as that which it would take over.
    fn wide(&self, chunk: &Chunk, row: usize, at: usize, from: Option<&State>) -> Chunk {
        let mut columns: Vec<Column> = chunk.columns.iter().map(|column| column.slice(row, 1)).collect();
        for (declared, default) in self.defaults.iter().enumerate() {
            let ty = self.types[self.inputs + declared];
            let value = from.map_or(default, |state| &state.row[self.inputs + declared]);
            columns.push(Column::repeat(ty, value, 1));
        }
        for (step, state) in self.states.iter().enumerate() {
            let state = if step == at { from } else { state.as_ref() };
            for (column, ty) in self.types.iter().enumerate() {
                columns.push(match state {
                    Some(state) => Column::repeat(*ty, &state.row[column], 1),
                    None if column >= self.inputs => Column::repeat(*ty, &self.defaults[column - self.inputs], 1),
                    None => Column::absent(*ty, 1),
                });
            }
        }
        Chunk::of(columns, 1)
    }

    fn put_out(&mut self, state: &State) {
        for (builder, value) in self.out.iter_mut().zip(&state.row) {
            builder.push(value.clone());
        }
        if self.match_id
            && let Some(last) = self.out.last_mut()
        {
            last.push(Value::Long(state.match_id));
        }
        self.rows += 1;
    }
}
