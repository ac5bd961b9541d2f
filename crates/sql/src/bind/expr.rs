//! Expressions.

use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Expr, ExprKind, In, List};
use gantry_kql::value::{Decimal, Type, Value};
use sqlparser::ast::{
    self, AccessExpr, BinaryOperator, DateTimeField, Ident, InTarget, Subscript, TrimWhereField, UnaryOperator,
};

use super::coerce::held_as;
use super::operator::Comparison;
use super::scope::{Scalar, Stage};
use super::{Binder, call, expr, is_null, not, truth};
use crate::error::{Error, Result, state};
use crate::types::{Base, SqlType};

/// The first of the values whose condition is true, without working out the others.
pub(super) fn choice(pairs: Vec<(Expr, Expr)>, other: Option<Expr>, ty: Type) -> Expr {
    let mut arguments: Vec<Expr> = pairs.into_iter().flat_map(|(condition, value)| [condition, value]).collect();
    arguments.extend(other);
    call("sql.case", arguments, ty)
}

/// Null of a type.
fn null(ty: Type) -> Expr {
    Expr::literal(Value::Null, ty, Span::default())
}

impl Binder<'_> {
    /// The value of an expression over the rows of a stage.
    pub(super) fn expr(&mut self, stage: &Stage, of: &ast::Expr) -> Result<Scalar> {
        self.deeper(|binder| {
            // What is grouped by is a column, however it is written.
            if let Some(key) = binder.group_key(stage, of)? {
                return Ok(key);
            }
            binder.expr_here(stage, of)
        })
    }

    fn expr_here(&mut self, stage: &Stage, of: &ast::Expr) -> Result<Scalar> {
        use ast::Expr as E;
        match of {
            E::Identifier(name) => self.name(stage, std::slice::from_ref(name)),
            E::CompoundIdentifier(path) => self.name(stage, path),
            E::Nested(of) => self.expr(stage, of),
            E::Value(value) => self.value(&value.value).map_err(|wrong| wrong.or_at(value.span)),
            E::TypedString(typed) => {
                let ty = self.written_type(&typed.data_type)?;
                let text = self.value(&typed.value.value)?;
                self.cast(text, ty).map_err(|wrong| wrong.or_at(typed.value.span))
            }
            E::Interval(interval) => self.interval(stage, interval),
            E::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. } => self.logic(stage, of),
            E::BinaryOp { left, op, right } => {
                if let (E::Tuple(left), E::Tuple(right)) = (&**left, &**right) {
                    return self.rows(stage, op, left, right);
                }
                let (left, right) = (self.expr(stage, left)?, self.expr(stage, right)?);
                self.operate(op, left, right)
            }
            E::UnaryOp { op, expr: of } => self.unary(stage, op, of),
            E::Cast { kind: ast::CastKind::TryCast, .. } | E::Convert { .. } if !self.is_tsql() => {
                Err(Error::unsupported(format!("`{of}`")))
            }
            E::Cast { kind, expr: of, data_type, .. } => {
                let ty = self.written_type(data_type)?;
                let value = self.expr(stage, of)?;
                self.converted(value, ty, *kind == ast::CastKind::TryCast)
            }
            E::Convert { is_try, expr: of, data_type: Some(ty), styles, .. } if styles.is_empty() => {
                let ty = self.written_type(ty)?;
                let value = self.expr(stage, of)?;
                self.converted(value, ty, *is_try)
            }
            E::IsNull(of) => self.null_test(stage, of, false),
            E::IsNotNull(of) => self.null_test(stage, of, true),
            E::IsTrue(of) => self.truth_test(stage, of, Some(true), false),
            E::IsNotTrue(of) => self.truth_test(stage, of, Some(true), true),
            E::IsFalse(of) => self.truth_test(stage, of, Some(false), false),
            E::IsNotFalse(of) => self.truth_test(stage, of, Some(false), true),
            E::IsUnknown(of) => self.truth_test(stage, of, None, false),
            E::IsNotUnknown(of) => self.truth_test(stage, of, None, true),
            E::IsDistinctFrom(left, right) => self.distinct_from(stage, left, right, true),
            E::IsNotDistinctFrom(left, right) => self.distinct_from(stage, left, right, false),
            E::Between { expr: of, negated, low, high } => {
                let of = self.expr(stage, of)?;
                let (low, high) = (self.expr(stage, low)?, self.expr(stage, high)?);
                let above = self.compare(Comparison(gantry_kql::bound::Binary::GreaterOrEqual), of.clone(), low)?;
                let below = self.compare(Comparison(gantry_kql::bound::Binary::LessOrEqual), of, high)?;
                let nullable = above.nullable || below.nullable;
                let within = expr(ExprKind::And(Arc::new([above.expr, below.expr])), Type::Bool);
                Ok(Scalar::bool(if *negated { not(within) } else { within }, nullable))
            }
            E::Like { negated, any: false, expr: of, pattern, escape_char } => {
                self.like(stage, "sql.like", of, pattern, escape_char.as_deref(), *negated)
            }
            E::ILike { negated, any: false, expr: of, pattern, escape_char } => {
                self.like(stage, "sql.ilike", of, pattern, escape_char.as_deref(), *negated)
            }
            E::In { expr: of, target: InTarget::List(list), negated, .. } => self.in_list(stage, of, list, *negated),
            E::In { expr: of, target: InTarget::Subquery(query), negated, .. } => {
                let value = match &**of {
                    E::Tuple(_) => return Err(Error::unsupported("a row of several values IN a sub-query")),
                    of => self.expr(stage, of)?,
                };
                self.in_query(stage, value, query, *negated)
            }
            E::AnyOp { left, compare_op, right, .. } => self.quantified(stage, left, compare_op, right, false),
            E::AllOp { left, compare_op, right } => self.quantified(stage, left, compare_op, right, true),
            E::Case { operand, conditions, else_result, .. } => {
                self.case(stage, operand.as_deref(), conditions, else_result.as_deref())
            }
            E::Exists { subquery, negated } => self.exists(stage, subquery, *negated),
            E::Subquery(query) => self.scalar_query(stage, query),
            E::Function(function) => self.function(stage, function),
            E::Array(array) => {
                let items = array.elem.iter().map(|item| self.expr(stage, item)).collect::<Result<Vec<_>>>()?;
                self.array(items)
            }
            E::Extract { field, expr: of, .. } => {
                let of = self.expr(stage, of)?;
                self.date_part(&field_name(field), of)
            }
            E::Substring { expr: of, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.expr(stage, of)?];
                match substring_from {
                    Some(from) => arguments.push(self.expr(stage, from)?),
                    None => arguments.push(Scalar::literal(Value::Int(1), SqlType::INT4)),
                }
                if let Some(count) = substring_for {
                    arguments.push(self.expr(stage, count)?);
                }
                self.call_named("substring", arguments)
            }
            E::Trim { trim_where, trim_what, expr: of, trim_characters } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut arguments = vec![self.expr(stage, of)?];
                if let Some(what) = trim_what.as_deref().or(trim_characters.as_ref().and_then(|all| all.first())) {
                    arguments.push(self.expr(stage, what)?);
                }
                self.call_named(name, arguments)
            }
            E::Position { expr: of, r#in } => {
                let (part, of) = (self.expr(stage, of)?, self.expr(stage, r#in)?);
                self.call_named("strpos", vec![of, part])
            }
            E::Ceil { expr: of, field: ast::CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                let of = self.expr(stage, of)?;
                self.call_named("ceil", vec![of])
            }
            E::Floor { expr: of, field: ast::CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                let of = self.expr(stage, of)?;
                self.call_named("floor", vec![of])
            }
            E::AtTimeZone { timestamp, time_zone } => {
                let (at, zone) = (self.expr(stage, timestamp)?, self.expr(stage, time_zone)?);
                self.call_named("timezone", vec![zone, at])
            }
            // Texts are compared by their bytes, whatever the collation.
            E::Collate { expr: of, .. } => self.expr(stage, of),
            E::CompoundFieldAccess { root, access_chain } => self.access(stage, root, access_chain),
            other => Err(Error::unsupported(format!("`{other}`"))),
        }
    }

    fn name(&mut self, stage: &Stage, path: &[Ident]) -> Result<Scalar> {
        if let Some(value) = stage.resolve(path)? {
            return Ok(value);
        }
        if let [name] = path
            && name.quote_style.is_none()
            && let Some(value) = self.session_word(&name.value.to_ascii_lowercase())
        {
            return Ok(value);
        }
        let written = path.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        let message = match path {
            [table, ..] if path.len() > 1 && stage.scope.relation(table).is_none() => {
                return Err(Error::new(
                    state::UNDEFINED_TABLE,
                    format!("missing FROM-clause entry for table \"{}\"", path[path.len() - 2].value),
                )
                .or_at(table.span));
            }
            [_] => format!("column \"{written}\" does not exist"),
            _ => format!("column {written} does not exist"),
        };
        Err(Error::new(state::UNDEFINED_COLUMN, message).or_at(path[0].span))
    }

    pub(super) fn value(&mut self, value: &ast::Value) -> Result<Scalar> {
        Ok(match value {
            ast::Value::Number(digits, _) => {
                if let Ok(number) = digits.parse::<i32>() {
                    Scalar::literal(Value::Int(number), SqlType::INT4)
                } else if let Ok(number) = digits.parse::<i64>() {
                    Scalar::literal(Value::Long(number), SqlType::INT8)
                } else {
                    let number = Decimal::parse(digits).ok_or_else(|| {
                        Error::new(state::NUMERIC_VALUE_OUT_OF_RANGE, format!("`{digits}` is out of range"))
                    })?;
                    Scalar::literal(Value::Decimal(number), SqlType::NUMERIC)
                }
            }
            ast::Value::SingleQuotedString(text)
            | ast::Value::EscapedStringLiteral(text)
            | ast::Value::UnicodeStringLiteral(text)
            | ast::Value::NationalStringLiteral(text) => Scalar::literal(Value::String(text.clone()), SqlType::UNKNOWN),
            ast::Value::DollarQuotedString(text) => {
                Scalar::literal(Value::String(text.value.clone()), SqlType::UNKNOWN)
            }
            ast::Value::Boolean(value) => Scalar::literal(Value::Bool(*value), SqlType::BOOL),
            ast::Value::Null => Scalar::literal(Value::Null, SqlType::UNKNOWN),
            ast::Value::Placeholder(name) => self.parameter(name)?,
            other => return Err(Error::unsupported(format!("literal {other}"))),
        })
    }

    fn interval(&mut self, stage: &Stage, interval: &ast::Interval) -> Result<Scalar> {
        let mut value = self.expr(stage, &interval.value)?;
        if let (Some(field), ExprKind::Literal(Value::String(text))) = (&interval.leading_field, &value.expr.kind)
            && interval.last_field.is_none()
            && text.trim().parse::<f64>().is_ok()
        {
            value = Scalar::literal(
                Value::String(format!("{} {}", text.trim(), field.to_string().to_lowercase())),
                SqlType::UNKNOWN,
            );
        }
        self.cast(value, SqlType::INTERVAL)
    }

    /// `and` and `or`: chains of any length are one node.
    fn logic(&mut self, stage: &Stage, of: &ast::Expr) -> Result<Scalar> {
        let ast::Expr::BinaryOp { op, .. } = of else { unreachable!("and, or") };
        let mut parts = Vec::new();
        chain(of, op, &mut parts);
        let mut nullable = false;
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            let value = self.condition(stage, part)?;
            nullable |= value.nullable;
            values.push(value.expr);
        }
        let kind = if *op == BinaryOperator::And { ExprKind::And(values.into()) } else { ExprKind::Or(values.into()) };
        Ok(Scalar::bool(expr(kind, Type::Bool), nullable))
    }

    /// A value that must be a truth.
    pub(super) fn condition(&mut self, stage: &Stage, of: &ast::Expr) -> Result<Scalar> {
        let value = self.expr(stage, of)?;
        if value.ty != SqlType::BOOL && value.ty != SqlType::UNKNOWN {
            return Err(Error::new(
                state::DATATYPE_MISMATCH,
                format!("a condition must be of type boolean, not type {}", value.ty),
            ));
        }
        self.cast(value, SqlType::BOOL)
    }

    fn unary(&mut self, stage: &Stage, op: &UnaryOperator, of: &ast::Expr) -> Result<Scalar> {
        match op {
            UnaryOperator::Not => {
                let value = self.condition(stage, of)?;
                Ok(Scalar::bool(not(value.expr), value.nullable))
            }
            UnaryOperator::Plus => self.expr(stage, of),
            UnaryOperator::Minus => {
                if let ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(digits, long), .. }) = of {
                    return self.value(&ast::Value::Number(format!("-{digits}"), *long));
                }
                let value = self.expr(stage, of)?;
                if value.ty.is_number() || value.ty == SqlType::INTERVAL {
                    let ty = value.ty;
                    if ty.is_whole() {
                        let zero = Scalar::literal(Value::Int(0), SqlType::INT4);
                        return self.operate(&BinaryOperator::Minus, zero, value);
                    }
                    let months = -value.months;
                    let negated = expr(ExprKind::Negate(value.expr.into()), ty.engine());
                    return Ok(Scalar { months, ..Scalar::new(negated, ty, value.nullable) });
                }
                Err(Error::new(state::UNDEFINED_FUNCTION, format!("operator does not exist: - {}", value.ty)))
            }
            UnaryOperator::PGSquareRoot => {
                let value = self.expr(stage, of)?;
                self.call_named("sqrt", vec![value])
            }
            UnaryOperator::PGAbs => {
                let value = self.expr(stage, of)?;
                self.call_named("abs", vec![value])
            }
            other => Err(Error::unsupported(format!("operator {other}"))),
        }
    }

    fn null_test(&mut self, stage: &Stage, of: &ast::Expr, negated: bool) -> Result<Scalar> {
        let value = self.expr(stage, of)?;
        if value.parameter.is_none() && !value.nullable {
            return Ok(Scalar::bool(truth(negated), false));
        }
        let value = self.cast_unknown(value)?;
        let null = is_null(value.expr);
        Ok(Scalar::bool(if negated { not(null) } else { null }, false))
    }

    /// A value whose type nothing tells is a text.
    pub(super) fn cast_unknown(&mut self, value: Scalar) -> Result<Scalar> {
        if value.ty == SqlType::UNKNOWN { self.cast(value, SqlType::TEXT) } else { Ok(value) }
    }

    fn truth_test(&mut self, stage: &Stage, of: &ast::Expr, wanted: Option<bool>, negated: bool) -> Result<Scalar> {
        let value = self.condition(stage, of)?;
        let test = match wanted {
            None => is_null(value.expr),
            Some(wanted) => {
                let is = if wanted { value.expr } else { not(value.expr) };
                choice(vec![(is, truth(true))], Some(truth(false)), Type::Bool)
            }
        };
        Ok(Scalar::bool(if negated { not(test) } else { test }, false))
    }

    fn distinct_from(&mut self, stage: &Stage, left: &ast::Expr, right: &ast::Expr, distinct: bool) -> Result<Scalar> {
        let (left, right) = (self.expr(stage, left)?, self.expr(stage, right)?);
        let (_, mut both) = self.unify(vec![left, right], "IS DISTINCT FROM")?;
        let (right, left) = (both.pop().expect("two"), both.pop().expect("two"));
        let nulls = (is_null(left.expr.clone()), is_null(right.expr.clone()));
        let same = self.compare(Comparison(gantry_kql::bound::Binary::Equal), left, right)?;
        let both = expr(ExprKind::And(Arc::new([nulls.0.clone(), nulls.1.clone()])), Type::Bool);
        let either = expr(ExprKind::Or(Arc::new([nulls.0, nulls.1])), Type::Bool);
        let same = choice(vec![(both, truth(true)), (either, truth(false))], Some(same.expr), Type::Bool);
        Ok(Scalar::bool(if distinct { not(same) } else { same }, false))
    }

    fn like(
        &mut self,
        stage: &Stage,
        name: &'static str,
        of: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::Expr>,
        negated: bool,
    ) -> Result<Scalar> {
        let (of, pattern) = (self.expr(stage, of)?, self.expr(stage, pattern)?);
        let Some(escape) = escape else { return self.pattern(name, of, pattern, negated) };
        let (of, pattern) = (self.coerce(of, SqlType::TEXT)?, self.coerce(pattern, SqlType::TEXT)?);
        let escape = self.expr(stage, escape)?;
        let escape = self.coerce(escape, SqlType::TEXT)?;
        let nullable = of.nullable || pattern.nullable || escape.nullable;
        let found = call(name, vec![of.expr, pattern.expr, escape.expr], Type::Bool);
        Ok(Scalar::bool(if negated { not(found) } else { found }, nullable))
    }

    fn in_list(&mut self, stage: &Stage, of: &ast::Expr, list: &[ast::Expr], negated: bool) -> Result<Scalar> {
        if let ast::Expr::Tuple(of) = of {
            let mut any = Vec::new();
            for item in list {
                let ast::Expr::Tuple(item) = item else { return Err(Error::unsupported("a row IN values")) };
                any.push(self.rows(stage, &BinaryOperator::Eq, of, item)?);
            }
            let nullable = any.iter().any(|one| one.nullable);
            let found = expr(ExprKind::Or(any.into_iter().map(|one| one.expr).collect()), Type::Bool);
            return Ok(Scalar::bool(if negated { not(found) } else { found }, nullable));
        }
        let mut values = vec![self.expr(stage, of)?];
        for item in list {
            values.push(self.expr(stage, item)?);
        }
        let (ty, mut values) = self.unify(values, "IN")?;
        let value = values.remove(0);
        if ty.array || ty.is_json() {
            let mut any = Vec::new();
            for item in values {
                any.push(self.compare(Comparison(gantry_kql::bound::Binary::Equal), value.clone(), item)?);
            }
            let found = expr(ExprKind::Or(any.into_iter().map(|one| one.expr).collect()), Type::Bool);
            return Ok(Scalar::bool(if negated { not(found) } else { found }, true));
        }
        let nulls: Vec<Expr> =
            values.iter().filter(|item| item.nullable).map(|item| is_null(item.expr.clone())).collect();
        let items: Arc<[Expr]> = values.into_iter().map(|item| item.expr).collect();
        let (of, nullable) = (value.expr, value.nullable);
        let kind = ExprKind::In { op: In::In, value: of.clone().into(), list: List::Values(items) };
        let found = expr(kind, Type::Bool);
        let found = member(
            found,
            nullable.then(|| is_null(of)),
            (!nulls.is_empty()).then(|| expr(ExprKind::Or(nulls.clone().into()), Type::Bool)),
        );
        let nullable = nullable || !nulls.is_empty();
        Ok(Scalar::bool(if negated { not(found) } else { found }, nullable))
    }

    fn quantified(
        &mut self,
        stage: &Stage,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
    ) -> Result<Scalar> {
        let value = self.expr(stage, left)?;
        if let ast::Expr::Subquery(query) = right {
            return match (op, all) {
                (BinaryOperator::Eq, false) => self.in_query(stage, value, query, false),
                (BinaryOperator::NotEq, true) => self.in_query(stage, value, query, true),
                _ => Err(Error::unsupported(format!("operator {op} over all rows of a sub-query"))),
            };
        }
        let array = self.expr(stage, right)?;
        let array = match array.ty.element() {
            Some(_) => array,
            None if array.ty == SqlType::UNKNOWN => {
                let element = if value.ty == SqlType::UNKNOWN { Base::Text } else { value.ty.base };
                self.cast(array, SqlType::array_of(element))?
            }
            None => {
                return Err(Error::new(state::DATATYPE_MISMATCH, "op ANY/ALL (array) requires array on right side"));
            }
        };
        let element = array.ty.element().expect("an array");
        let ty = value.ty.common(element).ok_or_else(|| {
            Error::new(state::UNDEFINED_FUNCTION, format!("operator does not exist: {} {op} {element}", value.ty))
        })?;
        let value = self.cast(value, ty)?;
        let name = match (op, all) {
            (BinaryOperator::Eq, false) => "sql.any_eq",
            (BinaryOperator::NotEq, true) => {
                let found = call("sql.any_eq", vec![value.expr, array.expr], Type::Bool);
                return Ok(Scalar::bool(not(found), true));
            }
            (BinaryOperator::NotEq, false) => "sql.any_ne",
            (BinaryOperator::Lt, false) => "sql.any_lt",
            (BinaryOperator::Gt, false) => "sql.any_gt",
            (BinaryOperator::LtEq, false) => "sql.any_le",
            (BinaryOperator::GtEq, false) => "sql.any_ge",
            (BinaryOperator::Eq, true) => {
                let found = call("sql.any_ne", vec![value.expr, array.expr], Type::Bool);
                return Ok(Scalar::bool(not(found), true));
            }
            (BinaryOperator::PGLikeMatch, false) => "sql.any_like",
            (BinaryOperator::PGILikeMatch, false) => "sql.any_ilike",
            _ => return Err(Error::unsupported(format!("operator {op} over all elements of an array"))),
        };
        Ok(Scalar::bool(call(name, vec![value.expr, array.expr], Type::Bool), true))
    }

    fn case(
        &mut self,
        stage: &Stage,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        other: Option<&ast::Expr>,
    ) -> Result<Scalar> {
        let operand = operand.map(|of| self.expr(stage, of)).transpose()?;
        let mut tests = Vec::with_capacity(conditions.len());
        let mut values = Vec::with_capacity(conditions.len() + 1);
        for pair in conditions {
            let test = match &operand {
                Some(operand) => {
                    let with = self.expr(stage, &pair.condition)?;
                    self.compare(Comparison(gantry_kql::bound::Binary::Equal), operand.clone(), with)?
                }
                None => self.condition(stage, &pair.condition)?,
            };
            tests.push(test.expr);
            values.push(self.expr(stage, &pair.result)?);
        }
        values.push(match other {
            Some(other) => self.expr(stage, other)?,
            None => Scalar::literal(Value::Null, SqlType::UNKNOWN),
        });
        self.choose(tests, values, "CASE")
    }

    /// A value for each test, and one for none of them.
    pub(super) fn choose(&mut self, tests: Vec<Expr>, values: Vec<Scalar>, what: &str) -> Result<Scalar> {
        let (ty, values) = self.unify(values, what)?;
        let nullable = values.iter().any(|value| value.nullable);
        let mut values: Vec<Expr> = values.iter().map(|value| held_as(value, nullable)).collect();
        let other = values.pop();
        let chosen = choice(tests.into_iter().zip(values).collect(), other, ty.held(nullable));
        Ok(Scalar::new(chosen, ty, nullable))
    }

    /// An array of values.
    pub(super) fn array(&mut self, items: Vec<Scalar>) -> Result<Scalar> {
        let (ty, items) = self.unify(items, "ARRAY")?;
        if ty.element().is_some() || ty.base.row().array_oid == 0 {
            return Err(Error::unsupported(format!("an array of {ty}")));
        }
        let items = items.into_iter().map(|item| item.expr).collect();
        Ok(Scalar::new(call("sql.array", items, Type::Dynamic), SqlType::array_of(ty.base), false))
    }

    /// `(a, b) = (c, d)`.
    fn rows(&mut self, stage: &Stage, op: &BinaryOperator, left: &[ast::Expr], right: &[ast::Expr]) -> Result<Scalar> {
        if left.len() != right.len() || !matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
            return Err(Error::unsupported(format!("operator {op} of rows")));
        }
        let mut nullable = false;
        let mut all = Vec::new();
        for (left, right) in left.iter().zip(right) {
            let (left, right) = (self.expr(stage, left)?, self.expr(stage, right)?);
            let one = self.compare(Comparison(gantry_kql::bound::Binary::Equal), left, right)?;
            nullable |= one.nullable;
            all.push(one.expr);
        }
        let same = expr(ExprKind::And(all.into()), Type::Bool);
        Ok(Scalar::bool(if *op == BinaryOperator::Eq { same } else { not(same) }, nullable))
    }

    /// `a[1]`, `a[1:2]`, `j['name']`.
    fn access(&mut self, stage: &Stage, root: &ast::Expr, chain: &[AccessExpr]) -> Result<Scalar> {
        // A column by its table, and then what is within it.
        let mut path = match root {
            ast::Expr::Identifier(name) => vec![name.clone()],
            ast::Expr::CompoundIdentifier(path) => path.clone(),
            _ => Vec::new(),
        };
        let mut dots = 0;
        while let (false, Some(AccessExpr::Dot(ast::Expr::Identifier(name)))) = (path.is_empty(), chain.get(dots)) {
            path.push(name.clone());
            dots += 1;
        }
        let mut value = if dots > 0 { self.name(stage, &path)? } else { self.expr(stage, root)? };
        for access in &chain[dots..] {
            let AccessExpr::Subscript(subscript) = access else {
                return Err(Error::unsupported("a field of a row"));
            };
            match subscript {
                Subscript::Index { index } => {
                    let index = self.expr(stage, index)?;
                    if value.ty.is_json() {
                        let index = if index.ty.is_whole() {
                            self.cast(index, SqlType::INT8)?
                        } else {
                            self.coerce(index, SqlType::TEXT)?
                        };
                        value = self.json_step(value, index, false);
                        continue;
                    }
                    let Some(element) = value.ty.element() else {
                        return Err(Error::new(
                            state::DATATYPE_MISMATCH,
                            format!("cannot subscript type {} because it does not support subscripting", value.ty),
                        ));
                    };
                    let index = self.coerce(index, SqlType::INT8)?;
                    // Arrays count from one, vectors of the catalogue from zero.
                    let from = super::number(i64::from(value.ty.array));
                    let found = call("sql.element", vec![value.expr, index.expr, from], element.held(true));
                    value = Scalar::new(found, element, true);
                }
                Subscript::Slice { lower_bound, upper_bound, stride: None } => {
                    let mut arguments = vec![value.expr.clone()];
                    for bound in [lower_bound, upper_bound] {
                        arguments.push(match bound {
                            Some(bound) => {
                                let bound = self.expr(stage, bound)?;
                                self.coerce(bound, SqlType::INT8)?.expr
                            }
                            None => null(Type::Long),
                        });
                    }
                    value = Scalar { expr: call("sql.slice", arguments, Type::Dynamic), ..value };
                }
                Subscript::Slice { .. } => return Err(Error::unsupported("a stride")),
            }
        }
        Ok(value)
    }
}

/// What is in a list, when a value may be null and when an item may: null where it is not known.
pub(super) fn member(found: Expr, value_null: Option<Expr>, item_null: Option<Expr>) -> Expr {
    if value_null.is_none() && item_null.is_none() {
        return found;
    }
    let mut pairs = Vec::new();
    if let Some(value_null) = value_null {
        pairs.push((value_null, null(Type::Bool)));
    }
    pairs.push((found, truth(true)));
    if let Some(item_null) = item_null {
        pairs.push((item_null, null(Type::Bool)));
    }
    choice(pairs, Some(truth(false)), Type::Bool)
}

/// The operands of a chain of one operator.
pub(super) fn chain<'e>(of: &'e ast::Expr, wanted: &BinaryOperator, parts: &mut Vec<&'e ast::Expr>) {
    // Chains lean to the left, as long as they like.
    let mut of = of;
    let mut reversed = Vec::new();
    loop {
        match of {
            ast::Expr::BinaryOp { left, op, right } if op == wanted => {
                reversed.push(&**right);
                of = left;
            }
            ast::Expr::Nested(inner) if matches!(&**inner, ast::Expr::BinaryOp { op, .. } if op == wanted) => {
                of = inner
            }
            _ => break,
        }
    }
    parts.push(of);
    parts.extend(reversed.into_iter().rev());
}

/// The name of a field of an instant.
pub(super) fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(name) => name.value.to_lowercase(),
        DateTimeField::DayOfWeek => "dow".into(),
        DateTimeField::DayOfYear => "doy".into(),
        DateTimeField::IsoWeek => "week".into(),
        other => other.to_string().to_lowercase(),
    }
}
