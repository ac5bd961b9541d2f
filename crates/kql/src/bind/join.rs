//! `join` and `lookup`.

use super::{Binder, Cx, Result, types};
use crate::ast;
use crate::bound::{Column, Expr, ExprKind, JoinKind, Rel, RelKind, Schema};
use crate::diagnostic::{Code, Span};
use crate::value::Type;
use std::sync::Arc;

/// The names of join kinds.
const JOINS: [(&str, JoinKind); 12] = [
    ("innerunique", JoinKind::InnerUnique),
    ("inner", JoinKind::Inner),
    ("leftouter", JoinKind::LeftOuter),
    ("rightouter", JoinKind::RightOuter),
    ("fullouter", JoinKind::FullOuter),
    ("leftsemi", JoinKind::LeftSemi),
    ("rightsemi", JoinKind::RightSemi),
    ("leftanti", JoinKind::LeftAnti),
    ("leftantisemi", JoinKind::LeftAnti),
    ("anti", JoinKind::LeftAnti),
    ("rightanti", JoinKind::RightAnti),
    ("rightantisemi", JoinKind::RightAnti),
];

impl Binder<'_> {
    pub(super) fn join_kind(&self, properties: &[ast::Property], default: JoinKind, span: Span) -> Result<JoinKind> {
        match self.property_text(properties, "kind")? {
            None => Ok(default),
            Some(kind) => match JOINS.iter().find(|(name, _)| *name == kind) {
                Some((_, kind)) => Ok(*kind),
                None => self.fault(Code::Syntax, span, format!("`{kind}` is no kind of join")),
            },
        }
    }

    pub(super) fn join(
        &mut self,
        table: &ast::Expr,
        on: &ast::JoinOn,
        properties: &[ast::Property],
        left: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let kind = self.join_kind(properties, JoinKind::InnerUnique, span)?;
        let right = self.table(table, cx)?;
        let on = self.join_on(on, &left, &right, cx, span)?;
        let hints = self.hints(properties)?;
        let schema = joined(kind, &left, &right);
        self.rel(RelKind::Join { kind, left, right, on, hints }, schema, false, span)
    }

    pub(super) fn hints(&self, properties: &[ast::Property]) -> Result<Vec<(String, String)>> {
        let mut hints = Vec::new();
        for property in properties.iter().filter(|property| property.name.text.starts_with("hint.")) {
            hints.push((property.name.text.clone(), self.property_value(&property.value)?.to_string()));
        }
        Ok(hints)
    }

    pub(super) fn lookup(
        &mut self,
        table: &ast::Expr,
        on: &ast::JoinOn,
        properties: &[ast::Property],
        left: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let kind = self.join_kind(properties, JoinKind::LeftOuter, span)?;
        if !matches!(kind, JoinKind::LeftOuter | JoinKind::Inner) {
            return self.fault(Code::Syntax, span, "`lookup` is of kind leftouter or inner");
        }
        let right = self.table(table, cx)?;
        let on = self.join_on(on, &left, &right, cx, span)?;
        let right_keys: Vec<usize> = on.iter().filter_map(|(_, right)| key_column(right)).collect();
        // The keys of the right side go before names are compared.
        let mut names = super::names::Names::default();
        let kept = |index: &usize| !right_keys.contains(index);
        left.schema.columns.iter().for_each(|column| {
            names.take(&column.name);
        });
        let right_columns: Vec<Column> = (0..right.schema.columns.len())
            .filter(kept)
            .map(|index| &right.schema.columns[index])
            .map(|column| Column::new(names.unique(&column.name), column.ty))
            .collect();
        let inner = joined(kind, &left, &right);
        let width = left.schema.columns.len();
        let picked: Vec<usize> =
            (0..width).chain((0..right.schema.columns.len()).filter(kept).map(|index| width + index)).collect();
        let mut columns = left.schema.columns.clone();
        columns.extend(right_columns);
        let open = inner.open;
        let hints = self.hints(properties)?;
        let joined = self.rel(RelKind::Join { kind, left, right, on, hints }, inner, false, span)?;
        let mut values = Vec::new();
        for index in picked {
            values.push(self.make(ExprKind::Column(index), joined.schema.columns[index].ty, span)?);
        }
        self.rel(RelKind::Project { input: joined, values }, Schema { columns, open }, false, span)
    }

    pub(super) fn join_on(
        &mut self,
        on: &ast::JoinOn,
        left: &Rel,
        right: &Rel,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Vec<(Expr, Expr)>> {
        let ast::JoinOn::On(conditions) = on else {
            return self.fault(Code::NotSupported, span, "`where` of a join is not implemented: use `on`");
        };
        let mut pairs = Vec::new();
        for condition in conditions {
            self.join_condition(condition, left, right, cx, &mut pairs)?;
        }
        Ok(pairs)
    }

    pub(super) fn join_condition(
        &mut self,
        condition: &ast::Expr,
        left: &Rel,
        right: &Rel,
        cx: Cx<'_>,
        pairs: &mut Vec<(Expr, Expr)>,
    ) -> Result<()> {
        let span = condition.span;
        let (one, other) = match &condition.kind {
            ast::ExprKind::And(parts) => {
                for part in parts {
                    self.join_condition(part, left, right, cx, pairs)?;
                }
                return Ok(());
            }
            ast::ExprKind::Name(_) => (self.row_value(condition, left, cx)?, self.row_value(condition, right, cx)?),
            ast::ExprKind::Binary { op: ast::Binary::Equal, left: one, right: other } => {
                let (first, second) = (side(one), side(other));
                match (first, second) {
                    (Some(("$left", one)), Some(("$right", other))) => {
                        (self.row_value(one, left, cx)?, self.row_value(other, right, cx)?)
                    }
                    (Some(("$right", other)), Some(("$left", one))) => {
                        (self.row_value(one, left, cx)?, self.row_value(other, right, cx)?)
                    }
                    _ => return self.fault(Code::WrongShape, span, JOIN_FORM),
                }
            }
            _ => return self.fault(Code::WrongShape, span, JOIN_FORM),
        };
        if one.ty == Type::Dynamic || other.ty == Type::Dynamic {
            return self.no_dynamic(span);
        }
        let ty = types::common([one.ty, other.ty]);
        let Some(ty) = ty else {
            let message = format!("the keys of a join have the types {} and {}", one.ty, other.ty);
            return self.fault(Code::WrongType, span, message);
        };
        pairs.push((self.cast(one, ty)?, self.cast(other, ty)?));
        Ok(())
    }
}

/// What a condition of a join may be.
const JOIN_FORM: &str =
    "a condition of a join is the name of a column of both sides, or `$left.column == $right.column`";

/// `$left` or `$right`, and what is asked of it.
fn side(expr: &ast::Expr) -> Option<(&str, &ast::Expr)> {
    match &expr.kind {
        ast::ExprKind::Path { of, member } => match &of.kind {
            ast::ExprKind::Name(side) => Some((side, member)),
            _ => None,
        },
        _ => None,
    }
}

/// The column a key is, below a cast.
fn key_column(key: &Expr) -> Option<usize> {
    match &key.kind {
        ExprKind::Column(index) => Some(*index),
        ExprKind::Cast(of) => key_column(of),
        _ => None,
    }
}

/// The columns of a join: those of the right get a number where the left has the name.
fn joined(kind: JoinKind, left: &Rel, right: &Rel) -> Schema {
    match kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => return (*left.schema).clone(),
        JoinKind::RightSemi | JoinKind::RightAnti => return (*right.schema).clone(),
        _ => {}
    }
    let mut names = super::names::Names::default();
    let taken: std::collections::HashSet<&str> = left.schema.columns.iter().map(|column| &*column.name).collect();
    for column in left.schema.columns.iter().chain(&right.schema.columns) {
        names.take(&column.name);
    }
    let mut columns = left.schema.columns.clone();
    for column in &right.schema.columns {
        let name = if taken.contains(&*column.name) { names.unique(&column.name) } else { column.name.to_string() };
        columns.push(Column::new(name, column.ty));
    }
    Schema { columns, open: left.schema.open || right.schema.open }
}
