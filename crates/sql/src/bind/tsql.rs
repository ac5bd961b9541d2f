//! What expressions of T-SQL mean where PostgreSQL has another meaning or none.

use gantry_kql::Span;
use gantry_kql::bound::{Binary, Expr, ExprKind};
use gantry_kql::value::{Type, Value};
use sqlparser::ast::{self, BinaryOperator, TopQuantity};

use super::call::plain_arguments;
use super::coerce::held_as;
use super::expr::choice;
use super::operator::Comparison;
use super::scope::{Scalar, Stage};
use super::{Binder, Dialect, call, expr, not};
use crate::error::{Error, Result, state};
use crate::types::SqlType;

/// Parts of an instant, as they are written and as the engine names them.
const PARTS: &[(&[&str], &str)] = &[
    (&["year", "yy", "yyyy"], "year"),
    (&["quarter", "qq", "q"], "quarter"),
    (&["month", "mm", "m"], "month"),
    (&["dayofyear", "dy", "y"], "dayOfYear"),
    (&["day", "dd", "d"], "day"),
    (&["week", "wk", "ww"], "week"),
    (&["weekday", "dw"], "weekday"),
    (&["hour", "hh"], "hour"),
    (&["minute", "mi", "n"], "minute"),
    (&["second", "ss", "s"], "second"),
    (&["millisecond", "ms"], "millisecond"),
    (&["microsecond", "mcs"], "microsecond"),
    (&["nanosecond", "ns"], "nanosecond"),
];

/// The rows that `TOP` leaves, as a bound.
pub(super) fn top(top: &ast::Top) -> Result<Option<ast::Expr>> {
    if top.percent || top.with_ties {
        return Err(Error::unsupported(if top.percent { "TOP ... PERCENT" } else { "TOP ... WITH TIES" }));
    }
    Ok(top.quantity.as_ref().map(|quantity| match quantity {
        TopQuantity::Expr(of) => of.clone(),
        TopQuantity::Constant(count) => ast::Expr::value(ast::Value::Number(count.to_string(), false)),
    }))
}

fn text(text: &str) -> Expr {
    Expr::literal(Value::String(text.to_owned()), Type::String, Span::default())
}

impl Binder<'_> {
    pub(super) fn is_tsql(&self) -> bool {
        self.environment.dialect == Dialect::TSql
    }

    /// A type that T-SQL alone names so.
    pub(super) fn tsql_type(&self, name: &str) -> Option<SqlType> {
        let ty = match name {
            "datetime" | "datetime2" | "smalldatetime" => SqlType::TIMESTAMP,
            "datetimeoffset" => SqlType::TIMESTAMPTZ,
            "bit" => SqlType::BOOL,
            "tinyint" => SqlType::INT2,
            "uniqueidentifier" => SqlType::UUID,
            "money" | "smallmoney" => SqlType::NUMERIC,
            "nchar" | "ntext" | "sysname" => SqlType::TEXT,
            _ => return None,
        };
        self.is_tsql().then_some(ty)
    }

    /// A call that means something of its own in T-SQL.
    pub(super) fn tsql_call(&mut self, stage: &Stage, function: &ast::Function, name: &str) -> Result<Option<Scalar>> {
        if !self.is_tsql() || function.over.is_some() {
            return Ok(None);
        }
        let Ok(written) = plain_arguments(function) else { return Ok(None) };
        Ok(Some(match (name, written.as_slice()) {
            ("dateadd", [part, count, at]) => {
                let part = part_of(name, part)?;
                let (count, at) = (self.whole(stage, count)?, self.instant(stage, at)?);
                let nullable = count.nullable || at.nullable;
                let made = call("datetime_add", vec![text(part), count.expr, at.expr], Type::DateTime);
                Scalar::new(made, SqlType::TIMESTAMP, nullable)
            }
            ("datediff" | "datediff_big", [part, from, to]) => {
                let part = part_of(name, part)?;
                let (from, to) = (self.instant(stage, from)?, self.instant(stage, to)?);
                let nullable = from.nullable || to.nullable;
                let made = call("datetime_diff", vec![text(part), to.expr, from.expr], Type::Long);
                Scalar::new(made, SqlType::INT8, nullable)
            }
            ("datepart", [part, at]) => {
                let part = part_of(name, part)?;
                let at = self.instant(stage, at)?;
                self.part(part, at)?
            }
            ("year" | "month" | "day", [at]) => {
                let at = self.instant(stage, at)?;
                self.part(name, at)?
            }
            ("datename", _) => return Err(Error::unsupported(name)),
            ("iif", [condition, then, other]) => {
                let condition = self.condition(stage, condition)?.expr;
                let values = vec![self.expr(stage, then)?, self.expr(stage, other)?];
                let (ty, values) = self.unify(values, "IIF")?;
                let nullable = values.iter().any(|value| value.nullable);
                let (then, other) = (held_as(&values[0], nullable), held_as(&values[1], nullable));
                Scalar::new(choice(vec![(condition, then)], Some(other), ty.held(nullable)), ty, nullable)
            }
            ("charindex", [part, of]) => {
                let (part, of) = (self.expr(stage, part)?, self.expr(stage, of)?);
                self.call_named("strpos", vec![of, part])?
            }
            ("log", [of]) => {
                let of = self.expr(stage, of)?;
                self.call_named("ln", vec![of])?
            }
            ("json_value", [of, path]) => {
                let (of, path) = (self.expr(stage, of)?, self.expr(stage, path)?);
                let (of, path) = (self.cast(of, SqlType::TEXT)?, self.cast(path, SqlType::TEXT)?);
                let found = call("extract_json", vec![path.expr, of.expr], Type::String);
                let is_none = expr(
                    ExprKind::Binary { op: Binary::Equal, left: found.clone().into(), right: text("").into() },
                    Type::Bool,
                );
                let found = expr(ExprKind::Cast(found.into()), Type::Dynamic);
                Scalar::new(choice(vec![(not(is_none), found)], None, Type::Dynamic), SqlType::TEXT, true)
            }
            _ => return Ok(None),
        }))
    }

    fn instant(&mut self, stage: &Stage, of: &ast::Expr) -> Result<Scalar> {
        let of = self.expr(stage, of)?;
        self.cast(of, SqlType::TIMESTAMP)
    }

    fn whole(&mut self, stage: &Stage, of: &ast::Expr) -> Result<Scalar> {
        let of = self.expr(stage, of)?;
        self.cast(of, SqlType::INT8)
    }

    fn part(&mut self, part: &str, at: Scalar) -> Result<Scalar> {
        if part == "weekday" {
            // Sunday is the first day, as the service is set up unless it is told otherwise.
            let day = self.date_part("dow", at)?;
            let day = self.cast(day, SqlType::INT8)?;
            return self.operate(&BinaryOperator::Plus, day, Scalar::literal(Value::Long(1), SqlType::INT8));
        }
        let part = if part == "week" { "week_of_year" } else { part };
        let made = call("datetime_part", vec![text(part), at.expr], Type::Long);
        Ok(Scalar::new(made, SqlType::INT8, at.nullable))
    }

    /// The name of a column that nobody named: as the table spells it.
    pub(super) fn spelled(&self, stage: &Stage, of: &ast::Expr) -> Result<Option<String>> {
        let path = match of {
            ast::Expr::Identifier(name) => std::slice::from_ref(name),
            ast::Expr::CompoundIdentifier(path) => path,
            _ => return Ok(None),
        };
        let field = if self.is_tsql() { stage.scope.find(path)? } else { None };
        Ok(field.map(|field| field.name.clone()))
    }

    /// `CONVERT` and `TRY_CAST`: a value as a type; what is none is null when it is only tried.
    pub(super) fn converted(&mut self, value: Scalar, ty: SqlType, only_tried: bool) -> Result<Scalar> {
        if !only_tried || !value.ty.is_text() && value.ty != SqlType::UNKNOWN {
            return self.cast(value, ty);
        }
        if ty.is_text() {
            return self.cast(value, ty);
        }
        let text = self.cast(value, SqlType::TEXT)?;
        let read = expr(ExprKind::Cast(text.expr.into()), ty.engine());
        Ok(Scalar::new(read, ty, true))
    }

    /// `+` of texts, and truths beside the numbers 0 and 1; nothing when the operator means what it means everywhere.
    pub(super) fn tsql_operate(
        &mut self,
        op: &BinaryOperator,
        left: &Scalar,
        right: &Scalar,
    ) -> Result<Option<Scalar>> {
        if !self.is_tsql() {
            return Ok(None);
        }
        let is_text = |value: &Scalar| value.ty.is_text();
        let is_literal = |value: &Scalar| matches!(value.expr.as_literal(), Some(Value::String(_)));
        if *op == BinaryOperator::Plus
            && (is_text(left) && (is_text(right) || is_literal(right))
                || is_literal(left) && (is_text(right) || is_literal(right)))
        {
            return self.operate(&BinaryOperator::StringConcat, left.clone(), right.clone()).map(Some);
        }
        let Some(comparison) = Comparison::of(op) else { return Ok(None) };
        if left.ty == SqlType::BOOL && right.ty.is_whole() {
            let right = self.bit(right)?;
            return self.compare(comparison, left.clone(), right).map(Some);
        }
        if right.ty == SqlType::BOOL && left.ty.is_whole() {
            let left = self.bit(left)?;
            return self.compare(comparison, left, right.clone()).map(Some);
        }
        Ok(None)
    }

    fn bit(&mut self, value: &Scalar) -> Result<Scalar> {
        match value.expr.as_literal() {
            Some(Value::Int(0)) => Ok(Scalar::literal(Value::Bool(false), SqlType::BOOL)),
            Some(Value::Int(1)) => Ok(Scalar::literal(Value::Bool(true), SqlType::BOOL)),
            _ => Err(Error::new(state::DATATYPE_MISMATCH, "a bit compares with 0 and 1")),
        }
    }
}

/// The engine's name of a part that is written as a bare word.
fn part_of(function: &str, written: &ast::Expr) -> Result<&'static str> {
    let word = match written {
        ast::Expr::Identifier(word) => word.value.as_str(),
        _ => "",
    };
    let found = PARTS.iter().find(|(words, _)| words.iter().any(|known| known.eq_ignore_ascii_case(word)));
    match found {
        Some((_, "weekday")) if function != "datepart" => Err(Error::unsupported(format!("weekday in {function}"))),
        Some((_, "dayOfYear")) if function != "datepart" => Ok("day"),
        Some((_, part)) => Ok(part),
        None => Err(Error::new(
            state::INVALID_PARAMETER_VALUE,
            format!("`{written}` is not a part of an instant for {function}"),
        )),
    }
}
