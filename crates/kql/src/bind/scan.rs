//! `scan`.

use super::{Binder, Cx, Result, RowKind};
use crate::ast::{self, ParameterType};
use crate::bound::{Column, Rel, RelKind, Scan, ScanStep, Schema, SortKey};
use crate::diagnostic::{Code, Span};
use crate::value::{Type, Value};
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn scan(&mut self, scan: &ast::Scan, input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let mut input = input;
        if !scan.partition.is_empty() {
            return self.fault(Code::NotSupported, span, "`partition by` within `scan` is not implemented");
        }
        if !scan.order.is_empty() {
            let keys: Vec<SortKey> = self.sort_keys(&scan.order, &input, cx)?;
            let schema = input.schema.clone();
            input = self.rel_of(RelKind::Sort { input, keys }, schema, true, span)?;
        }
        if !input.serialized {
            let message = "`scan` needs rows in order: put `serialize` or `sort` before it";
            return self.fault(Code::NotSerialized, span, message);
        }
        let mut columns = input.schema.columns.clone();
        let mut declared = Vec::new();
        for parameter in &scan.declared {
            let name = &parameter.name;
            let ParameterType::Scalar(ty) = parameter.ty else {
                return self.fault(Code::WrongType, name.span, "a scalar column expected");
            };
            let ty = self.declared(ty, name.span)?;
            self.charge(columns.len() as u64, name.span)?;
            let default = match &parameter.default {
                Some(default) => {
                    let value = self.constant(default, cx)?;
                    self.coerce(value, ty)?
                }
                None => self.make(crate::bound::ExprKind::Literal(Value::absent(ty)), ty, name.span)?,
            };
            if columns.iter().any(|column| *column.name == *name.text) {
                let message = format!("a column with the name `{}` is declared already", name.text);
                return self.fault(Code::DuplicateName, name.span, message);
            }
            let column = Column::new(name.text.as_str(), ty);
            columns.push(column.clone());
            declared.push((column, default));
        }
        let state = Schema { columns: columns.clone(), open: input.schema.open };
        let names: Vec<String> = scan.steps.iter().map(|step| step.name.text.clone()).collect();
        let mut steps = Vec::new();
        for (at, step) in scan.steps.iter().enumerate() {
            if names[..at].contains(&names[at]) {
                let message = format!("a step with the name `{}` is there already", names[at]);
                return self.fault(Code::DuplicateName, step.name.span, message);
            }
            let row = self.row(&state, RowKind::Scan(&names), true);
            let inner = cx.with_row(&row);
            let condition = self.expr(&step.condition, inner)?;
            let condition = self.predicate(condition)?;
            let mut assignments = Vec::new();
            for (name, value) in &step.assignments {
                let Some(target) = state.position(&name.text) else {
                    let message = format!("`{}` is no declared column", name.text);
                    return self.fault(Code::UnknownName, name.span, message);
                };
                let value = self.expr(value, inner)?;
                assignments.push((target, self.coerce(value, state.columns[target].ty)?));
            }
            steps.push(ScanStep {
                name: names[at].clone(),
                optional: step.optional,
                output: step.output,
                condition,
                assignments,
            });
        }
        let id = self.property_text(&scan.properties, "with_match_id")?;
        if let Some(id) = &id {
            columns.push(Column::new(id.as_str(), Type::Long));
        }
        let schema = Schema { columns, open: input.schema.open };
        self.rel(RelKind::Scan(Scan { input, match_id: id.is_some(), declared, steps }), schema, true, span)
    }
}
