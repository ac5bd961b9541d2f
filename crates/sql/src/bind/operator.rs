//! Operators of two sides.

use gantry_kql::Span;
use gantry_kql::bound::{Binary, Expr, ExprKind};
use gantry_kql::value::{TICKS_PER_DAY, TimeSpan, Type, Value};
use sqlparser::ast::BinaryOperator;

use super::scope::Scalar;
use super::{Binder, call, expr, not};
use crate::error::{Error, Result, state};
use crate::types::{Base, SqlType};

/// A comparison: its operator here, and its function for sides that may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison(pub Binary);

impl Comparison {
    /// The comparison of an operator.
    pub(super) fn of(op: &BinaryOperator) -> Option<Comparison> {
        Some(Comparison(match op {
            BinaryOperator::Eq => Binary::Equal,
            BinaryOperator::NotEq => Binary::NotEqual,
            BinaryOperator::Lt => Binary::Less,
            BinaryOperator::LtEq => Binary::LessOrEqual,
            BinaryOperator::Gt => Binary::Greater,
            BinaryOperator::GtEq => Binary::GreaterOrEqual,
            _ => return None,
        }))
    }

    fn function(self) -> &'static str {
        match self.0 {
            Binary::Equal => "sql.eq",
            Binary::NotEqual => "sql.ne",
            Binary::Less => "sql.lt",
            Binary::LessOrEqual => "sql.le",
            Binary::Greater => "sql.gt",
            _ => "sql.ge",
        }
    }
}

/// The comparison that a function stands for, for whoever may write it plainly.
pub(super) fn comparison_of(function: &str) -> Option<Binary> {
    Some(match function {
        "sql.eq" => Binary::Equal,
        "sql.lt" => Binary::Less,
        "sql.le" => Binary::LessOrEqual,
        "sql.gt" => Binary::Greater,
        "sql.ge" => Binary::GreaterOrEqual,
        _ => return None,
    })
}

impl Binder<'_> {
    /// A comparison of two values.
    pub(super) fn compare(&mut self, op: Comparison, left: Scalar, right: Scalar) -> Result<Scalar> {
        let Some(ty) = left.ty.common(right.ty) else {
            // A number beside a text that is written bare is that number; anything else does not compare.
            return Err(no_operator(op.0.symbol().replace("==", "=").replace("!=", "<>").as_str(), &left, &right));
        };
        let ty = if ty == SqlType::UNKNOWN { SqlType::TEXT } else { ty };
        let (left, right) = (self.cast(left, ty)?, self.cast(right, ty)?);
        let (a, b) = (whole_interval(&left), whole_interval(&right));
        let nullable = left.nullable || right.nullable;
        // Arrays and bags have no order in the engine, texts of them have.
        if (ty.array || ty.is_json()) && !matches!(op.0, Binary::Equal | Binary::NotEqual) {
            return Err(Error::unsupported(format!("comparing values of type {ty}")));
        }
        if !nullable && !ty.array && !ty.is_json() {
            return Ok(Scalar::bool(
                expr(ExprKind::Binary { op: op.0, left: a.into(), right: b.into() }, Type::Bool),
                false,
            ));
        }
        Ok(Scalar::bool(call(op.function(), vec![a, b], Type::Bool), nullable))
    }

    /// Arithmetic, texts put together, patterns, JSON.
    pub(super) fn operate(&mut self, op: &BinaryOperator, left: Scalar, right: Scalar) -> Result<Scalar> {
        use BinaryOperator as Op;
        if let Some(value) = self.tsql_operate(op, &left, &right)? {
            return Ok(value);
        }
        if let Some(comparison) = Comparison::of(op) {
            return self.compare(comparison, left, right);
        }
        match op {
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo | Op::PGExp => {
                self.arithmetic(op, left, right)
            }
            Op::StringConcat => self.concatenate(left, right),
            Op::PGRegexMatch => self.pattern("sql.regex", left, right, false),
            Op::PGRegexIMatch => self.pattern("sql.iregex", left, right, false),
            Op::PGRegexNotMatch => self.pattern("sql.regex", left, right, true),
            Op::PGRegexNotIMatch => self.pattern("sql.iregex", left, right, true),
            Op::PGLikeMatch => self.pattern("sql.like", left, right, false),
            Op::PGILikeMatch => self.pattern("sql.ilike", left, right, false),
            Op::PGNotLikeMatch => self.pattern("sql.like", left, right, true),
            Op::PGNotILikeMatch => self.pattern("sql.ilike", left, right, true),
            Op::PGStartsWith => self.pattern("sql.starts_with", left, right, false),
            Op::Arrow | Op::LongArrow => {
                let left = self.coerce(left, SqlType::JSONB)?;
                let right = if right.ty.is_whole() {
                    self.cast(right, SqlType::INT8)?
                } else {
                    self.coerce(right, SqlType::TEXT)?
                };
                Ok(self.json_step(left, right, *op == Op::LongArrow))
            }
            Op::HashArrow | Op::HashLongArrow => {
                let left = self.coerce(left, SqlType::JSONB)?;
                let right = self.coerce(right, SqlType::array_of(Base::Text))?;
                let (name, ty) = if *op == Op::HashArrow {
                    ("sql.json_path", SqlType::JSONB)
                } else {
                    ("sql.json_path_text", SqlType::TEXT)
                };
                Ok(Scalar::new(call(name, vec![left.expr, right.expr], Type::Dynamic), ty, true))
            }
            Op::Question => {
                let left = self.coerce(left, SqlType::JSONB)?;
                let right = self.coerce(right, SqlType::TEXT)?;
                let nullable = left.nullable || right.nullable;
                Ok(Scalar::bool(call("sql.json_has", vec![left.expr, right.expr], Type::Bool), nullable))
            }
            Op::AtArrow | Op::ArrowAt => {
                let (outer, inner) = if *op == Op::AtArrow { (left, right) } else { (right, left) };
                let ty = if outer.ty.element().is_some() { outer.ty } else { SqlType::JSONB };
                let (outer, inner) = (self.coerce(outer, ty)?, self.coerce(inner, ty)?);
                let nullable = outer.nullable || inner.nullable;
                Ok(Scalar::bool(call("sql.contains", vec![outer.expr, inner.expr], Type::Bool), nullable))
            }
            Op::BitwiseAnd | Op::BitwiseOr | Op::PGBitwiseXor | Op::PGBitwiseShiftLeft | Op::PGBitwiseShiftRight => {
                let name = match op {
                    Op::BitwiseAnd => "sql.bit_and",
                    Op::BitwiseOr => "sql.bit_or",
                    Op::PGBitwiseXor => "sql.bit_xor",
                    Op::PGBitwiseShiftLeft => "sql.shift_left",
                    _ => "sql.shift_right",
                };
                let ty = left.ty.common(right.ty).filter(|ty| ty.is_whole()).unwrap_or(SqlType::INT8);
                let (left, right) = (self.coerce(left, ty)?, self.coerce(right, ty)?);
                let nullable = left.nullable || right.nullable;
                Ok(Scalar::new(call(name, vec![left.expr, right.expr], ty.engine()), ty, nullable))
            }
            Op::PGCustomBinaryOperator(path) => {
                let op = path.last().map(String::as_str).unwrap_or_default();
                let known = match op {
                    "~" => Op::PGRegexMatch,
                    "~*" => Op::PGRegexIMatch,
                    "!~" => Op::PGRegexNotMatch,
                    "!~*" => Op::PGRegexNotIMatch,
                    "~~" => Op::PGLikeMatch,
                    "!~~" => Op::PGNotLikeMatch,
                    "=" => Op::Eq,
                    "<>" | "!=" => Op::NotEq,
                    "<" => Op::Lt,
                    "<=" => Op::LtEq,
                    ">" => Op::Gt,
                    ">=" => Op::GtEq,
                    "+" => Op::Plus,
                    "-" => Op::Minus,
                    "*" => Op::Multiply,
                    "/" => Op::Divide,
                    "||" => Op::StringConcat,
                    other => return Err(Error::unsupported(format!("operator {other}"))),
                };
                self.operate(&known, left, right)
            }
            other => Err(Error::unsupported(format!("operator {other}"))),
        }
    }

    fn arithmetic(&mut self, op: &BinaryOperator, left: Scalar, right: Scalar) -> Result<Scalar> {
        let (mut left, mut right) = (left, right);
        // A bare text beside something is of its kind.
        if left.ty == SqlType::UNKNOWN && right.ty != SqlType::UNKNOWN {
            let ty = beside(right.ty, op);
            left = self.cast(left, ty)?;
        } else if right.ty == SqlType::UNKNOWN && left.ty != SqlType::UNKNOWN {
            let ty = beside(left.ty, op);
            right = self.cast(right, ty)?;
        }
        if left.ty.is_number() && right.ty.is_number() {
            return self.numbers(op, left, right);
        }
        let nullable = left.nullable || right.nullable;
        let binary = match op {
            BinaryOperator::Plus => Binary::Add,
            BinaryOperator::Minus => Binary::Subtract,
            BinaryOperator::Multiply => Binary::Multiply,
            BinaryOperator::Divide => Binary::Divide,
            _ => return Err(no_operator(&op.to_string(), &left, &right)),
        };
        let days = |value: Scalar| {
            let day = Expr::literal(Value::TimeSpan(TimeSpan(TICKS_PER_DAY)), Type::TimeSpan, Span::default());
            let long = expr(ExprKind::Cast(value.expr.into()), Type::Long);
            expr(ExprKind::Binary { op: Binary::Multiply, left: day.into(), right: long.into() }, Type::TimeSpan)
        };
        let made = |left: Expr, right: Expr, ty: SqlType| {
            let kind = ExprKind::Binary { op: binary, left: left.into(), right: right.into() };
            Ok(Scalar::new(expr(kind, ty.engine()), ty, nullable))
        };
        use Base::{Date, Interval, Time};
        match (left.ty, binary, right.ty) {
            (a, Binary::Subtract, b) if a.base == Date && b.base == Date => {
                let span = expr(
                    ExprKind::Binary { op: Binary::Subtract, left: left.expr.into(), right: right.expr.into() },
                    Type::TimeSpan,
                );
                let day = Expr::literal(Value::TimeSpan(TimeSpan(TICKS_PER_DAY)), Type::TimeSpan, Span::default());
                let kind = ExprKind::Binary { op: Binary::Divide, left: span.into(), right: day.into() };
                let whole = Scalar::new(expr(kind, Type::Long), SqlType::INT8, nullable);
                self.cast(whole, SqlType::INT4)
            }
            (a, Binary::Subtract, b) if a.is_instant() && b.is_instant() => {
                made(left.expr, right.expr, SqlType::INTERVAL)
            }
            (a, Binary::Add | Binary::Subtract, b) if a.base == Date && b.is_whole() => {
                made(left.expr, days(right), SqlType::DATE)
            }
            (a, Binary::Add, b) if a.is_whole() && b.base == Date => made(days(left), right.expr, SqlType::DATE),
            (a, Binary::Add | Binary::Subtract, b) if a.is_instant() && b.base == Interval => {
                self.move_instant(left, right, binary)
            }
            (a, Binary::Add, b) if a.base == Interval && b.is_instant() => self.move_instant(right, left, binary),
            (a, Binary::Add | Binary::Subtract, b)
                if matches!(a.base, Interval | Time) && matches!(b.base, Interval | Time) =>
            {
                if left.months != 0 || right.months != 0 {
                    let months =
                        if binary == Binary::Add { left.months + right.months } else { left.months - right.months };
                    let mut sum = made(left.expr, right.expr, SqlType::INTERVAL)?;
                    sum.months = months;
                    return Ok(sum);
                }
                let ty = if a.base == Time && b.base == Interval { SqlType::TIME } else { SqlType::INTERVAL };
                made(left.expr, right.expr, ty)
            }
            (a, Binary::Multiply | Binary::Divide, b) if a.base == Interval && b.is_number() => {
                let by = self.cast(right, SqlType::FLOAT8)?;
                if left.months != 0 {
                    let span = whole_interval(&left);
                    return made(span, by.expr, SqlType::INTERVAL);
                }
                if binary == Binary::Divide {
                    let made = call("sql.divide_span", vec![left.expr, by.expr], Type::TimeSpan);
                    return Ok(Scalar::new(made, SqlType::INTERVAL, nullable));
                }
                made(left.expr, by.expr, SqlType::INTERVAL)
            }
            (a, Binary::Multiply, b) if a.is_number() && b.base == Interval => {
                let by = self.cast(left, SqlType::FLOAT8)?;
                let span = whole_interval(&right);
                made(span, by.expr, SqlType::INTERVAL)
            }
            _ => Err(no_operator(&op.to_string(), &left, &right)),
        }
    }

    /// An instant and an interval, whose months count by the calendar.
    fn move_instant(&mut self, instant: Scalar, span: Scalar, op: Binary) -> Result<Scalar> {
        let nullable = instant.nullable || span.nullable;
        let ty = if instant.ty == SqlType::DATE { SqlType::TIMESTAMP } else { instant.ty };
        let mut from = instant.expr;
        if span.months != 0 {
            let months = if op == Binary::Add { span.months } else { -span.months };
            from = call("sql.add_months", vec![from, super::number(months)], Type::DateTime);
        }
        let kind = ExprKind::Binary { op, left: from.into(), right: span.expr.into() };
        Ok(Scalar::new(expr(kind, Type::DateTime), ty, nullable))
    }

    fn numbers(&mut self, op: &BinaryOperator, left: Scalar, right: Scalar) -> Result<Scalar> {
        let common = left.ty.common(right.ty).expect("numbers meet");
        let ty = match op {
            BinaryOperator::PGExp => SqlType::FLOAT8,
            _ if common.base.rank() == Some(3) => SqlType::INT8,
            BinaryOperator::Modulo if !common.is_whole() => SqlType::NUMERIC,
            _ => common,
        };
        let (left, right) = (self.cast(left, ty)?, self.cast(right, ty)?);
        let nullable = left.nullable || right.nullable;
        let plain = match op {
            BinaryOperator::Plus => Some(Binary::Add),
            BinaryOperator::Minus => Some(Binary::Subtract),
            BinaryOperator::Multiply => Some(Binary::Multiply),
            _ => None,
        };
        if let (Type::Real, Some(op)) = (ty.engine(), plain) {
            let kind = ExprKind::Binary { op, left: left.expr.into(), right: right.expr.into() };
            return Ok(Scalar::new(expr(kind, Type::Real), ty, nullable));
        }
        let name = match op {
            BinaryOperator::Plus => "sql.add",
            BinaryOperator::Minus => "sql.subtract",
            BinaryOperator::Multiply => "sql.multiply",
            BinaryOperator::Divide => "sql.divide",
            BinaryOperator::Modulo => "sql.modulo",
            _ => "sql.power",
        };
        let mut arguments = vec![left.expr, right.expr];
        if ty == SqlType::INT2 {
            // The engine has no 16 bits: the bounds are looked at there.
            arguments.push(super::coerce::type_name(ty));
        }
        Ok(Scalar::new(call(name, arguments, ty.engine()), ty, nullable))
    }

    fn concatenate(&mut self, left: Scalar, right: Scalar) -> Result<Scalar> {
        if left.ty.element().is_some() || right.ty.element().is_some() {
            let element = left.ty.element().or(right.ty.element()).expect("one is an array");
            let ty = SqlType::array_of(element.base);
            let array = |binder: &mut Self, value: Scalar| {
                if value.ty.element().is_some() || value.ty == SqlType::UNKNOWN {
                    return binder.cast(value, ty);
                }
                let item = binder.coerce(value, element)?;
                Ok(Scalar::new(call("sql.array", vec![item.expr], Type::Dynamic), ty, false))
            };
            let (left, right) = (array(self, left)?, array(self, right)?);
            let nullable = left.nullable || right.nullable;
            return Ok(Scalar::new(call("sql.array_cat", vec![left.expr, right.expr], Type::Dynamic), ty, nullable));
        }
        if left.ty.is_json() && right.ty.is_json() {
            return Err(Error::unsupported("operator || of jsonb"));
        }
        let (left, right) = (self.cast(left, SqlType::TEXT)?, self.cast(right, SqlType::TEXT)?);
        let nullable = left.nullable || right.nullable;
        let ty = SqlType::TEXT.held(nullable);
        Ok(Scalar::new(call("sql.concat2", vec![left.expr, right.expr], ty), SqlType::TEXT, nullable))
    }

    /// A text against a pattern.
    pub(super) fn pattern(&mut self, name: &'static str, left: Scalar, right: Scalar, negated: bool) -> Result<Scalar> {
        let (left, right) = (self.coerce(left, SqlType::TEXT)?, self.coerce(right, SqlType::TEXT)?);
        let nullable = left.nullable || right.nullable;
        let found = call(name, vec![left.expr, right.expr], Type::Bool);
        Ok(Scalar::bool(if negated { not(found) } else { found }, nullable))
    }

    /// `->` and `->>`.
    pub(super) fn json_step(&mut self, of: Scalar, step: Scalar, as_text: bool) -> Scalar {
        let member = match &step.expr.kind {
            ExprKind::Literal(Value::String(name)) => {
                ExprKind::Member { of: of.expr.into(), name: name.as_str().into() }
            }
            _ => ExprKind::Index { of: of.expr.into(), index: step.expr.into() },
        };
        let found = expr(member, Type::Dynamic);
        if as_text {
            return Scalar::new(call("sql.json_text", vec![found], Type::Dynamic), SqlType::TEXT, true);
        }
        Scalar::new(found, SqlType::JSONB, true)
    }
}

/// What a bare text beside a value of a type is.
fn beside(ty: SqlType, op: &BinaryOperator) -> SqlType {
    match ty.base {
        Base::Date | Base::Timestamp | Base::TimestampTz if *op == BinaryOperator::Minus => ty,
        Base::Date | Base::Timestamp | Base::TimestampTz => SqlType::INTERVAL,
        Base::Interval if matches!(op, BinaryOperator::Multiply | BinaryOperator::Divide) => SqlType::FLOAT8,
        _ => ty,
    }
}

/// An interval as one number: a month is thirty days where intervals are compared or multiplied.
pub(super) fn whole_interval(value: &Scalar) -> Expr {
    match (&value.expr.kind, value.months) {
        (ExprKind::Literal(Value::TimeSpan(rest)), months) if months != 0 => {
            let ticks = months.saturating_mul(30 * TICKS_PER_DAY).saturating_add(rest.0);
            Expr::literal(Value::TimeSpan(TimeSpan(ticks)), Type::TimeSpan, Span::default())
        }
        _ => value.expr.clone(),
    }
}

fn no_operator(op: &str, left: &Scalar, right: &Scalar) -> Error {
    Error::new(state::UNDEFINED_FUNCTION, format!("operator does not exist: {} {op} {}", left.ty, right.ty))
}
