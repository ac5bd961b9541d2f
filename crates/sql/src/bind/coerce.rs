//! Values of one type as values of another.

use gantry_kql::Span;
use gantry_kql::bound::{Expr, ExprKind};
use gantry_kql::value::{Bag, Dynamic, Type, Value};
use sqlparser::ast::{ArrayElemTypeDef, DataType, ObjectNamePart, TimezoneInfo};

use super::scope::{Scalar, folded};
use super::{Binder, call, expr, is_null};
use crate::error::{Error, Result, state};
use crate::text;
use crate::types::{Base, SqlType};

impl Binder<'_> {
    /// The value as its place needs it, if it becomes that without being asked.
    pub(super) fn coerce(&mut self, value: Scalar, to: SqlType) -> Result<Scalar> {
        if self.becomes(&value, to) {
            return self.cast(value, to);
        }
        Err(Error::new(
            state::DATATYPE_MISMATCH,
            format!("a value of type {to} is needed here, and this is of type {}", value.ty),
        ))
    }

    /// Whether a value becomes one of another type without being asked.
    pub(super) fn becomes(&self, value: &Scalar, to: SqlType) -> bool {
        let from = value.ty;
        if from == to || from == SqlType::UNKNOWN || value.is_null_literal() {
            return true;
        }
        if from.array || to.array {
            return from.element().zip(to.element()).is_some_and(|(a, b)| {
                a == b || (a.is_text() && b.is_text()) || a.base.rank().zip(b.base.rank()).is_some_and(|(a, b)| a <= b)
            });
        }
        match (from.base.rank(), to.base.rank()) {
            // An oid is written as a number, and a number may be one.
            (Some(a), Some(b)) => a <= b || (from.is_whole() && to.is_whole() && (a == 3 || b == 3)),
            _ => {
                (from.is_text() && to.is_text())
                    || (from.base == Base::Date && to.is_instant())
                    || (from.base == Base::Timestamp && to.base == Base::TimestampTz)
                    || (from.base == Base::TimestampTz && to.base == Base::Timestamp)
                    || (from.is_json() && to.is_json())
                    || (from.base == Base::Time && to.base == Base::Interval)
            }
        }
    }

    /// The value as it is asked for.
    pub(super) fn cast(&mut self, value: Scalar, to: SqlType) -> Result<Scalar> {
        if value.ty == to && value.parameter.is_none() {
            return Ok(value);
        }
        if let Some(at) = value.parameter {
            // What stands for a number by its name comes as the name.
            let named = matches!(to.base, Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace);
            self.parameters[at].get_or_insert(if named { SqlType::TEXT } else { to });
        }
        if value.ty == SqlType::UNKNOWN
            && let ExprKind::Literal(literal) = &value.expr.kind
        {
            return self.read_literal(literal, to);
        }
        if value.is_null_literal() {
            return Ok(Scalar::literal(Value::Null, to));
        }
        let (from, held, nullable) = (value.ty, to.held(value.nullable), value.nullable);
        let made = |expr: Expr, nullable: bool| Ok(Scalar { months: value.months, ..Scalar::new(expr, to, nullable) });
        let relabel = |value: Scalar| {
            if value.expr.ty == held { value.expr } else { expr(ExprKind::Cast(value.expr.clone().into()), held) }
        };
        if from.array || to.array {
            return match (from.element(), to.element()) {
                (Some(a), Some(b)) if a.engine() == b.engine() || (a.is_whole() && b.is_whole()) => {
                    made(value.expr, nullable)
                }
                (Some(_), Some(_)) => made(call("sql.cast_array", vec![value.expr, type_name(to)], held), nullable),
                (_, None) if to.is_text() => made(self.to_text(&value, held), nullable),
                (None, _) if from.is_text() => made(read_as(value.expr, to, held), nullable),
                (Some(_), None) if to.is_json() => made(value.expr, nullable),
                _ => Err(cannot(from, to)),
            };
        }
        if from.is_text() && to.is_text() {
            return made(relabel(value.clone()), nullable);
        }
        if to.is_text() {
            return self.text_of(value, to);
        }
        if from.is_text() {
            if let Some(registered) = self.registered(&value, to)? {
                return Ok(registered);
            }
            return made(read_as(value.expr, to, held), nullable);
        }
        match (from.base.rank(), to.base.rank()) {
            (Some(a), Some(b)) => {
                let same = from.engine() == to.engine();
                let widens = a <= b && (from.base != Base::Numeric || matches!(held, Type::Real));
                return match (same, widens) {
                    (true, _) if a <= b || b == 3 => made(value.expr, nullable),
                    (false, true) => made(expr(ExprKind::Cast(value.expr.into()), held), nullable),
                    _ => made(call("sql.to_number", vec![value.expr, type_name(to)], held), nullable),
                };
            }
            (Some(_), None) if to.base == Base::Bool && from.is_whole() => {
                return made(expr(ExprKind::Cast(value.expr.into()), held), nullable);
            }
            (None, Some(_)) if from.base == Base::Bool && to.is_whole() => {
                return made(expr(ExprKind::Cast(value.expr.into()), held), nullable);
            }
            _ => {}
        }
        if from.is_instant() && to.base == Base::Date {
            let day = Expr::literal(Value::String("day".into()), Type::String, Span::default());
            return made(call("sql.date_trunc", vec![day, value.expr], held), nullable);
        }
        if from.is_instant() && to.is_instant() || from.is_json() && to.is_json() {
            return made(value.expr, nullable);
        }
        if from.is_instant() && to.base == Base::Time {
            return made(call("sql.time_of_day", vec![value.expr], held), nullable);
        }
        if matches!((from.base, to.base), (Base::Time, Base::Interval) | (Base::Interval, Base::Time)) {
            return made(value.expr, nullable);
        }
        if from.is_json() {
            return made(call("sql.from_json", vec![value.expr, type_name(to)], held), true);
        }
        Err(cannot(from, to))
    }

    fn read_literal(&mut self, literal: &Value, to: SqlType) -> Result<Scalar> {
        let text = match literal {
            Value::Null => return Ok(Scalar::literal(Value::Null, to)),
            Value::String(text) => text,
            other => {
                return self
                    .cast(Scalar::literal(other.clone(), SqlType::of_engine(other.ty().unwrap_or(Type::String))), to);
            }
        };
        if to.base == Base::Interval && !to.array {
            let wrong = || {
                Error::new(
                    state::INVALID_DATETIME_FORMAT,
                    format!("invalid input syntax for type interval: \"{text}\""),
                )
            };
            let span = text::Interval::read(text).ok_or_else(wrong)?;
            let rest = Value::TimeSpan(gantry_kql::value::TimeSpan(span.rest));
            return Ok(Scalar { months: span.months, ..Scalar::literal(rest, to) });
        }
        if !to.array && to.is_instant() {
            // Words that mean an instant of the query.
            let now = match text.trim().to_ascii_lowercase().as_str() {
                "now" => Some((0, false)),
                "today" => Some((0, true)),
                "yesterday" => Some((-1, true)),
                "tomorrow" => Some((1, true)),
                _ => None,
            };
            if let Some((days, whole)) = now {
                let mut at = call("now", Vec::new(), Type::DateTime);
                if whole {
                    at = call("startofday", vec![at, super::number(days)], Type::DateTime);
                }
                return self.cast(Scalar::new(at, SqlType::TIMESTAMPTZ, false), to);
            }
        }
        let written = Scalar::text(text.clone());
        if let Some(registered) = self.registered(&written, to)? {
            return Ok(registered);
        }
        Ok(Scalar::literal(text::read(text, to)?, to))
    }

    /// A name that is written as the number of what it names: `'pg_class'::regclass`.
    fn registered(&mut self, value: &Scalar, to: SqlType) -> Result<Option<Scalar>> {
        if to.array || !matches!(to.base, Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace) {
            return Ok(None);
        }
        let ExprKind::Literal(Value::String(name)) = &value.expr.kind else {
            // A name that only the rows tell.
            let names = self.numbers_of_names(to.base)?;
            let index = expr(ExprKind::Cast(value.expr.clone().into()), Type::String);
            let found = expr(ExprKind::Index { of: names.into(), index: index.into() }, Type::Dynamic);
            return Ok(Some(Scalar::new(expr(ExprKind::Cast(found.into()), Type::Long), to, true)));
        };
        if let Ok(number) = name.trim().parse::<u32>() {
            return Ok(Some(Scalar::literal(Value::Long(number.into()), to)));
        }
        if to.base == Base::Regtype
            && let Some(ty) = SqlType::from_name(name.trim().trim_start_matches("pg_catalog."))
        {
            return Ok(Some(Scalar::literal(Value::Long(ty.oid().into()), to)));
        }
        match self.number_of_name(to.base, name)? {
            Some(number) => Ok(Some(Scalar::literal(Value::Long(number.into()), to))),
            None => Err(Error::new(state::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))),
        }
    }

    /// A value as text; what may be null may be null there too.
    fn text_of(&mut self, value: Scalar, to: SqlType) -> Result<Scalar> {
        let held = to.held(value.nullable);
        let nullable = value.nullable;
        if matches!(value.ty.base, Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace) {
            let names = self.names_of_numbers(value.ty.base)?;
            let index = expr(ExprKind::Cast(value.expr.clone().into()), Type::String);
            let found = expr(ExprKind::Index { of: names.into(), index: index.clone().into() }, Type::Dynamic);
            let known = super::choice(
                vec![(is_null(found.clone()), expr(ExprKind::Cast(index.into()), Type::Dynamic))],
                Some(found),
                Type::Dynamic,
            );
            let printed = match nullable {
                false => expr(ExprKind::Cast(known.into()), Type::String),
                true => super::choice(
                    vec![(is_null(value.expr), Expr::literal(Value::Null, Type::Dynamic, Span::default()))],
                    Some(known),
                    Type::Dynamic,
                ),
            };
            return Ok(Scalar::new(printed, to, nullable));
        }
        Ok(Scalar::new(self.to_text(&value, held), to, nullable))
    }

    fn to_text(&self, value: &Scalar, held: Type) -> Expr {
        call("sql.to_text", vec![value.expr.clone(), type_name(value.ty)], held)
    }

    /// The type of a written type.
    pub(super) fn written_type(&self, written: &DataType) -> Result<SqlType> {
        Ok(match written {
            DataType::Array(ArrayElemTypeDef::SquareBracket(of, _) | ArrayElemTypeDef::Qualified(of, _)) => {
                let of = self.written_type(of)?;
                if of.base.row().array_oid == 0 {
                    return Err(Error::unsupported(format!("an array of {of}")));
                }
                SqlType::array_of(of.base)
            }
            DataType::Nvarchar(_) if self.is_tsql() => SqlType::TEXT,
            DataType::Datetime(_) if self.is_tsql() => SqlType::TIMESTAMP,
            DataType::Bit(_) if self.is_tsql() => SqlType::BOOL,
            DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => SqlType::TIMESTAMPTZ,
            DataType::Timestamp(..) => SqlType::TIMESTAMP,
            DataType::Time(..) => SqlType::TIME,
            DataType::Interval { .. } => SqlType::INTERVAL,
            DataType::DoublePrecision | DataType::Double(_) | DataType::Float8 | DataType::Float(_) => SqlType::FLOAT8,
            DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => SqlType::NUMERIC,
            DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => {
                SqlType::of(Base::Varchar)
            }
            DataType::Char(_) | DataType::Character(_) => SqlType::of(Base::Bpchar),
            DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => SqlType::INT4,
            DataType::BigInt(_) | DataType::Int8(_) => SqlType::INT8,
            DataType::SmallInt(_) | DataType::Int2(_) => SqlType::INT2,
            DataType::Custom(name, _) => {
                let last = match name.0.last() {
                    // `"char"` and `char` are two types.
                    Some(ObjectNamePart::Identifier(ident)) => folded(ident),
                    _ => String::new(),
                };
                if let Some(ty) = self.tsql_type(&last) {
                    return Ok(ty);
                }
                SqlType::from_name(&last)
                    .ok_or_else(|| Error::new(state::UNDEFINED_OBJECT, format!("type \"{last}\" does not exist")))?
            }
            other => {
                let name = other.to_string().to_lowercase();
                SqlType::from_name(&name)
                    .ok_or_else(|| Error::new(state::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist")))?
            }
        })
    }

    /// Values of one type: the type they meet in and the values in it.
    pub(super) fn unify(&mut self, values: Vec<Scalar>, what: &str) -> Result<(SqlType, Vec<Scalar>)> {
        let mut ty = SqlType::UNKNOWN;
        for value in &values {
            let known = if value.is_null_literal() { SqlType::UNKNOWN } else { value.ty };
            ty = ty.common(known).ok_or_else(|| {
                Error::new(state::DATATYPE_MISMATCH, format!("{what} types {ty} and {} cannot be matched", value.ty))
            })?;
        }
        if ty == SqlType::UNKNOWN {
            ty = SqlType::TEXT;
        }
        let values = values.into_iter().map(|value| self.cast(value, ty)).collect::<Result<Vec<_>>>()?;
        Ok((ty, values))
    }
}

/// A text as a value of a type; what is none ends the query.
fn read_as(value: Expr, to: SqlType, held: Type) -> Expr {
    call("sql.read", vec![value, type_name(to)], held)
}

/// The name of a type, for functions of the engine.
pub(super) fn type_name(ty: SqlType) -> Expr {
    Expr::literal(Value::String(ty.name()), Type::String, Span::default())
}

fn cannot(from: SqlType, to: SqlType) -> Error {
    Error::new("42846", format!("cannot cast type {from} to {to}"))
}

/// A value as the engine holds it when it may be null.
pub(super) fn held_as(value: &Scalar, nullable: bool) -> Expr {
    let held = value.ty.held(nullable);
    if value.expr.ty == held {
        return value.expr.clone();
    }
    match &value.expr.kind {
        ExprKind::Literal(Value::Null) => Expr::literal(Value::Null, held, Span::default()),
        _ => expr(ExprKind::Cast(value.expr.clone().into()), held),
    }
}

/// A bag of names and values.
pub(super) fn bag(entries: impl IntoIterator<Item = (String, Dynamic)>) -> Expr {
    let bag = Bag::from_entries(entries.into_iter().collect());
    Expr::literal(Value::Dynamic(Dynamic::Bag(bag)), Type::Dynamic, Span::default())
}
