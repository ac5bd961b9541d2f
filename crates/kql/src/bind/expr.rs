//! Scalar expressions.

use super::{Binder, Cx, Entity, Item, Result, Row, RowKind, types};
use crate::ast::{self, Binary, In};
use crate::bound::{Expr, ExprKind, List};
use crate::diagnostic::{Code, Span};
use crate::functions;
use crate::parse::literal;
use crate::value::{Type, Value};
use std::sync::Arc;

impl Binder<'_> {
    /// A scalar.
    pub(super) fn expr(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Expr> {
        let span = expr.span;
        match &expr.kind {
            ast::ExprKind::Literal(value, ty) => self.make(ExprKind::Literal(value.clone()), *ty, span),
            ast::ExprKind::BadLiteral(ty) => {
                self.fault(Code::WrongType, span, format!("the literal is no value of type {ty}"))
            }
            ast::ExprKind::Name(name) => self.name(name, span, cx),
            ast::ExprKind::Sign { negative, of } => {
                let value = self.expr(of, cx)?;
                self.signed(value, *negative, span)
            }
            ast::ExprKind::And(parts) => {
                let parts = self.predicates(parts, cx)?;
                self.make(ExprKind::And(parts), Type::Bool, span)
            }
            ast::ExprKind::Or(parts) => {
                let parts = self.predicates(parts, cx)?;
                self.make(ExprKind::Or(parts), Type::Bool, span)
            }
            ast::ExprKind::Binary { .. } => self.chain(expr, cx),
            ast::ExprKind::In { op, value, list } => self.in_list(*op, value, list, span, cx),
            ast::ExprKind::Between { negated, value, low, high } => {
                let value = self.expr(value, cx)?;
                let (low, high) = (self.expr(low, cx)?, self.expr(high, cx)?);
                self.between(*negated, value, low, high, span)
            }
            ast::ExprKind::Call { name, arguments } => match self.call(name, arguments, span, cx)? {
                Item::Scalar(value) => Ok(value),
                _ => self.fault(Code::WrongShape, span, format!("`{}` yields a table, not a scalar", name.text)),
            },
            ast::ExprKind::Path { of, member } => self.path(of, member, span, cx),
            ast::ExprKind::Index { of, index } => {
                let of = self.expr(of, cx)?;
                let index = self.expr(index, cx)?;
                self.index(of, index, span)
            }
            ast::ExprKind::TypeOf(_) => self.fault(Code::WrongShape, span, "`typeof` is an argument, not a value"),
            ast::ExprKind::Wildcard(_) => self.fault(Code::WrongShape, span, "`*` is not a value"),
            ast::ExprKind::Pipe { .. }
            | ast::ExprKind::DataTable { .. }
            | ast::ExprKind::ExternalData { .. }
            | ast::ExprKind::InlineExternalTable
            | ast::ExprKind::EntityGroup(_)
            | ast::ExprKind::MacroExpand { .. } => self.fault(Code::WrongShape, span, "scalar value expected"),
        }
    }

    /// What a name of a scalar stands for: a column of the row, then what the scopes have.
    fn name(&mut self, name: &str, span: Span, cx: Cx<'_>) -> Result<Expr> {
        if let Some(row) = cx.row
            && let Some(value) = self.column(name, span, row)?
        {
            return Ok(value);
        }
        match cx.env.get(name) {
            Some(Entity::Scalar(value, row)) => {
                if row.is_some() && row != cx.row_id {
                    let message = format!("`{name}` depends on a row that is not at hand here: it must be constant");
                    return self.fault(Code::NotConstant, span, message);
                }
                return Ok(value.at(span));
            }
            Some(Entity::Function(_)) => {
                return self.fault(Code::WrongShape, span, format!("the function `{name}` needs its arguments"));
            }
            Some(_) => return self.fault(Code::WrongShape, span, format!("`{name}` is a table, not a scalar")),
            None => {}
        }
        match cx.row {
            Some(row) if row.schema.open => self.make(ExprKind::Late(name.into()), Type::Unknown, span),
            Some(Row { kind: RowKind::Lenient, .. }) => self.make(ExprKind::Literal(Value::Null), Type::Unknown, span),
            _ if self.catalog.table(cx.database, name).is_some() => {
                self.fault(Code::WrongShape, span, format!("`{name}` is a table, not a scalar"))
            }
            _ => self.fault(
                Code::UnknownName,
                span,
                format!("failed to resolve `{name}`: no column, variable or function has this name"),
            ),
        }
    }

    /// The column of a name in a row.
    fn column(&mut self, name: &str, span: Span, row: &Row<'_>) -> Result<Option<Expr>> {
        if let RowKind::Graph(scope) = row.kind
            && let Some(element) = scope.element(name)
        {
            return self.make(ExprKind::Element(element), Type::Dynamic, span).map(Some);
        }
        self.charge(row.schema.columns.len() as u64, span)?;
        let Some(index) = row.schema.position(name) else { return Ok(None) };
        self.make(ExprKind::Column(index), row.schema.columns[index].ty, span).map(Some)
    }

    fn signed(&mut self, value: Expr, negative: bool, span: Span) -> Result<Expr> {
        let ty = match value.ty {
            Type::Int if value.as_literal().is_none() => Type::Long,
            ty if ty.is_summable() || matches!(ty, Type::Dynamic | Type::Unknown) => ty,
            ty => return self.fault(Code::WrongType, span, format!("a sign before a value of type {ty}")),
        };
        if !negative {
            return Ok(value);
        }
        if let Some(negated) = value.as_literal().and_then(literal::negated) {
            return self.make(ExprKind::Literal(negated), ty, span);
        }
        let value = self.cast(value, ty)?;
        self.make(ExprKind::Negate(value.into()), ty, span)
    }

    fn predicates(&mut self, parts: &[ast::Expr], cx: Cx<'_>) -> Result<Arc<[Expr]>> {
        parts
            .iter()
            .map(|part| {
                let value = self.expr(part, cx)?;
                self.predicate(value)
            })
            .collect()
    }

    /// Operators of two sides. What stands on the left may be as deep as the text is long, so
    /// that side is gone down without recursion.
    fn chain(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Expr> {
        let mut links = Vec::new();
        let mut first = expr;
        while let ast::ExprKind::Binary { op, left, right } = &first.kind {
            links.push((*op, right, first.span));
            first = left;
        }
        // `* has "x"`: any column.
        let (op, right, span) = *links.last().expect("it is an operator of two sides");
        let mut value = if matches!(&first.kind, ast::ExprKind::Wildcard(star) if star == "*") {
            links.pop();
            let right = self.expr(right, cx)?;
            self.any_column(op, right, span, cx)?
        } else {
            self.expr(first, cx)?
        };
        for (op, right, span) in links.into_iter().rev() {
            let right = self.expr(right, cx)?;
            value = self.binary(op, value, right, span)?;
        }
        Ok(value)
    }

    /// A test that any column passes as text.
    pub(super) fn any_column(&mut self, op: Binary, right: Expr, span: Span, cx: Cx<'_>) -> Result<Expr> {
        let Some(row) = cx.row else { return self.fault(Code::WrongShape, span, "`*` without rows") };
        let mut tests = Vec::new();
        for (index, column) in row.schema.columns.iter().enumerate() {
            let value = self.make(ExprKind::Column(index), column.ty, span)?;
            let text = self.cast(value, Type::String)?;
            tests.push(self.binary(op, text, right.clone(), span)?);
        }
        if row.schema.open {
            return self.fault(Code::NotSupported, span, "`*` over columns that are known only when the query runs");
        }
        self.make(ExprKind::Or(tests.into()), Type::Bool, span)
    }

    pub(super) fn binary(&mut self, op: Binary, left: Expr, right: Expr, span: Span) -> Result<Expr> {
        let (lt, rt) = (left.ty, right.ty);
        let types = if op.is_arithmetic() {
            types::arithmetic(op, lt, rt)
        } else if op.is_comparison() {
            types::comparison(op, lt, rt).map(|(left, right)| (Type::Bool, left, right))
        } else {
            let text = |ty| matches!(ty, Type::String | Type::Dynamic | Type::Unknown);
            (text(lt) && text(rt)).then_some((Type::Bool, Type::String, Type::String))
        };
        let Some((ty, left_ty, right_ty)) = types else {
            let message = format!("the operator `{}` is not defined for operands of types {lt} and {rt}", op.symbol());
            return self.fault(Code::WrongType, span, message);
        };
        let (left, right) = (self.cast(left, left_ty)?, self.cast(right, right_ty)?);
        self.make(ExprKind::Binary { op, left: left.into(), right: right.into() }, ty, span)
    }

    fn between(&mut self, negated: bool, value: Expr, low: Expr, high: Expr, span: Span) -> Result<Expr> {
        // `t between (a .. 1d)` ends a day after a.
        let high = if value.ty == Type::DateTime && high.ty == Type::TimeSpan {
            self.binary(Binary::Add, low.clone(), high, span)?
        } else {
            high
        };
        let known = [value.ty, low.ty, high.ty];
        let wrong =
            format!("`between` is not defined for operands of types {}, {} and {}", known[0], known[1], known[2]);
        let Some(ty) = types::common(known) else { return self.fault(Code::WrongType, span, wrong) };
        if !ty.is_summable() && ty != Type::Unknown {
            return self.fault(Code::WrongType, span, wrong);
        }
        let (value, low, high) = (self.cast(value, ty)?, self.cast(low, ty)?, self.cast(high, ty)?);
        let kind = ExprKind::Between { negated, value: value.into(), low: low.into(), high: high.into() };
        self.make(kind, Type::Bool, span)
    }

    fn in_list(&mut self, op: In, value: &ast::Expr, list: &[ast::Expr], span: Span, cx: Cx<'_>) -> Result<Expr> {
        let value = self.expr(value, cx)?;
        let terms = matches!(op, In::HasAny | In::HasAll);
        let texts = !matches!(op, In::In | In::NotIn);
        if terms && !matches!(value.ty, Type::String | Type::Dynamic | Type::Unknown) {
            return self.fault(Code::WrongType, span, format!("a text expected, not a value of type {}", value.ty));
        }
        let value = if texts { self.cast(value, Type::String)? } else { value };
        let mut values = Vec::new();
        for element in list {
            match self.item_or_scalar(element, cx)? {
                Item::Scalar(element) => {
                    let element = if element.ty == Type::Dynamic {
                        element
                    } else if texts {
                        self.cast(element, Type::String)?
                    } else {
                        match types::comparison(Binary::Equal, value.ty, element.ty) {
                            // An int list for a long column and the like; a real among longs stays.
                            Some((left, right)) if left == value.ty => self.cast(element, right)?,
                            Some(_) => element,
                            None => {
                                let message = format!("a {} is never among values of type {}", value.ty, element.ty);
                                return self.fault(Code::WrongType, element.span, message);
                            }
                        }
                    };
                    values.push(element);
                }
                Item::Rel(rel) if list.len() == 1 => {
                    if rel.schema.columns.is_empty() && !rel.schema.open {
                        return self.fault(Code::WrongShape, element.span, "the table has no columns");
                    }
                    let kind = ExprKind::In { op, value: value.into(), list: List::Rel(rel) };
                    return self.make(kind, Type::Bool, span);
                }
                _ => return self.fault(Code::WrongShape, element.span, "a list of values or one table expected"),
            }
        }
        let kind = ExprKind::In { op, value: value.into(), list: List::Values(values.into()) };
        self.make(kind, Type::Bool, span)
    }

    fn path(&mut self, of: &ast::Expr, member: &ast::Expr, span: Span, cx: Cx<'_>) -> Result<Expr> {
        let ast::ExprKind::Name(name) = &member.kind else {
            return self.fault(Code::WrongShape, span, "scalar value expected");
        };
        if let (ast::ExprKind::Name(owner), Some(row)) = (&of.kind, cx.row) {
            match row.kind {
                RowKind::Scan(steps) => {
                    if let Some(step) = steps.iter().position(|step| step == owner)
                        && let Some(column) = row.schema.position(name)
                    {
                        return self.make(ExprKind::StepColumn { step, column }, row.schema.columns[column].ty, span);
                    }
                }
                RowKind::Graph(scope) => {
                    if let Some(element) = scope.element(owner) {
                        let (column, ty) = match scope.property(element, name) {
                            Some(found) => found,
                            None => {
                                let message = format!("`{owner}` has no property `{name}`");
                                return self.fault(Code::UnknownName, span, message);
                            }
                        };
                        return self.make(ExprKind::Property { element, column }, ty, span);
                    }
                }
                RowKind::Plain | RowKind::Element | RowKind::Lenient => {}
            }
        }
        let of = self.expr(of, cx)?;
        if !matches!(of.ty, Type::Dynamic | Type::Unknown) {
            let message = format!("a value of type {} has no member `{name}`", of.ty);
            return self.fault(Code::WrongType, span, message);
        }
        self.make(ExprKind::Member { of: of.into(), name: name.as_str().into() }, Type::Dynamic, span)
    }

    fn index(&mut self, of: Expr, index: Expr, span: Span) -> Result<Expr> {
        if !matches!(of.ty, Type::Dynamic | Type::Unknown) {
            return self.fault(Code::WrongType, span, format!("a value of type {} has no elements", of.ty));
        }
        if let Some(Value::String(name)) = index.as_literal() {
            let name = name.as_str().into();
            return self.make(ExprKind::Member { of: of.into(), name }, Type::Dynamic, span);
        }
        if !index.ty.is_integer() && !matches!(index.ty, Type::String | Type::Dynamic | Type::Unknown) {
            return self.fault(Code::WrongType, index.span, format!("a {} is no index", index.ty));
        }
        self.make(ExprKind::Index { of: of.into(), index: index.into() }, Type::Dynamic, span)
    }

    /// A call of a function of the table, its arguments as they are.
    pub(super) fn call_of(&mut self, name: &str, arguments: Vec<Expr>, ty: Type, span: Span) -> Result<Expr> {
        let function = functions::scalar(name).expect("the function is in the table");
        self.make(ExprKind::Call { function, arguments: arguments.into() }, ty, span)
    }

    /// A value that depends on no row.
    pub(super) fn constant(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Expr> {
        let value = self.expr(expr, cx.without_row())?;
        if value.has_columns() {
            return self.fault(Code::NotConstant, expr.span, "the value must be constant");
        }
        Ok(value)
    }

    /// A whole number that depends on no row.
    pub(super) fn count(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Expr> {
        let value = self.constant(expr, cx)?;
        if value.ty.is_integer() || matches!(value.ty, Type::Dynamic | Type::Unknown) {
            return self.cast(value, Type::Long);
        }
        self.fault(Code::WrongType, expr.span, format!("a whole number expected, not a {}", value.ty))
    }
}
