//! What types operators and functions take and give.

use super::{Binder, Result};
use crate::ast::Binary;
use crate::bound::{Expr, ExprKind};
use crate::diagnostic::{Code, Span};
use crate::functions::Kind;
use crate::value::{DateTime, Decimal, Type, Value};

/// The type two numbers meet in.
pub(super) fn widest(left: Type, right: Type) -> Type {
    for ty in [Type::Decimal, Type::Real, Type::Long] {
        if left == ty || right == ty {
            return ty;
        }
    }
    left
}

/// The type values of all these types can have: numbers meet in the widest, a dynamic gives way
/// to what the others are, `Unknown` to all.
pub(super) fn common(types: impl IntoIterator<Item = Type>) -> Option<Type> {
    let mut common = Type::Unknown;
    for ty in types {
        common = match (common, ty) {
            (one, other) if one == other => one,
            (Type::Unknown | Type::Dynamic, other) if other != Type::Unknown => other,
            (one, Type::Unknown | Type::Dynamic) => one,
            (one, other) if one.is_number() && other.is_number() => widest(one, other),
            _ => return None,
        };
    }
    Some(common)
}

/// Result, and what the sides are cast to, of arithmetic.
pub(super) fn arithmetic(op: Binary, left: Type, right: Type) -> Option<(Type, Type, Type)> {
    use Type::{DateTime, Dynamic, Real, TimeSpan, Unknown};
    if left == Unknown || right == Unknown {
        let known = if left == Unknown { right } else { left };
        let possible = known.is_summable() || matches!(known, Dynamic | Unknown);
        return possible.then_some((Unknown, left, right));
    }
    if left.is_number() && right.is_number() {
        let ty = widest(Type::Long, widest(left, right));
        return Some((ty, ty, ty));
    }
    Some(match (op, left, right) {
        (_, Dynamic, Dynamic) => (Dynamic, Dynamic, Dynamic),
        (_, Dynamic, number) if number.is_number() => {
            let ty = widest(Type::Long, number);
            (ty, ty, ty)
        }
        (_, number, Dynamic) if number.is_number() => {
            let ty = widest(Type::Long, number);
            (ty, ty, ty)
        }
        (Binary::Add, DateTime, TimeSpan) => (DateTime, DateTime, TimeSpan),
        (Binary::Add, TimeSpan, DateTime) => (DateTime, TimeSpan, DateTime),
        (Binary::Add, TimeSpan, TimeSpan) => (TimeSpan, TimeSpan, TimeSpan),
        (Binary::Add, DateTime, Dynamic) => (DateTime, DateTime, TimeSpan),
        (Binary::Add, Dynamic, DateTime) => (DateTime, TimeSpan, DateTime),
        (Binary::Add | Binary::Subtract, TimeSpan, Dynamic) => (TimeSpan, TimeSpan, TimeSpan),
        (Binary::Add | Binary::Subtract, Dynamic, TimeSpan) => (TimeSpan, TimeSpan, TimeSpan),
        // Two datetimes are added as spans since the first instant.
        (Binary::Add, DateTime, DateTime) => (DateTime, DateTime, DateTime),
        (Binary::Subtract, DateTime, DateTime) => (TimeSpan, DateTime, DateTime),
        (Binary::Subtract, DateTime, TimeSpan) => (DateTime, DateTime, TimeSpan),
        (Binary::Subtract, TimeSpan, DateTime) => (DateTime, TimeSpan, DateTime),
        (Binary::Subtract, TimeSpan, TimeSpan) => (TimeSpan, TimeSpan, TimeSpan),
        (Binary::Subtract, DateTime, Dynamic) => (TimeSpan, DateTime, DateTime),
        (Binary::Subtract, Dynamic, DateTime) => (TimeSpan, DateTime, DateTime),
        (Binary::Multiply, span @ (TimeSpan | DateTime), number) if number.is_number() => (span, span, real_or(number)),
        (Binary::Multiply, number, span @ (TimeSpan | DateTime)) if number.is_number() => (span, real_or(number), span),
        (Binary::Multiply, TimeSpan, TimeSpan) => (TimeSpan, TimeSpan, TimeSpan),
        (Binary::Divide, span @ (TimeSpan | DateTime), number) if number.is_number() => (span, span, real_or(number)),
        (Binary::Divide, DateTime, DateTime | TimeSpan) | (Binary::Divide, TimeSpan, TimeSpan) => (Real, left, right),
        (Binary::Modulo, span @ (TimeSpan | DateTime), number) if number.is_number() => (span, span, real_or(number)),
        (Binary::Modulo, DateTime, DateTime | TimeSpan) | (Binary::Modulo, TimeSpan, TimeSpan) => {
            (TimeSpan, left, right)
        }
        _ => return None,
    })
}

/// Factors of spans: long or real.
fn real_or(number: Type) -> Type {
    if number.is_integer() { Type::Long } else { Type::Real }
}

/// What the sides of a comparison are cast to.
pub(super) fn comparison(op: Binary, left: Type, right: Type) -> Option<(Type, Type)> {
    use Type::{Bool, Dynamic, String, Unknown};
    let equality = matches!(op, Binary::Equal | Binary::NotEqual);
    if left == Unknown || right == Unknown {
        return Some((left, right));
    }
    if left.is_number() && right.is_number() {
        let ty = widest(left, right);
        return Some((ty, ty));
    }
    if left == right {
        let ordered = !matches!(left, String | Type::Guid);
        return (equality || ordered).then_some((left, right));
    }
    match (left, right) {
        (Dynamic, _) | (_, Dynamic) => {
            let other = if left == Dynamic { right } else { left };
            (equality || other.is_number()).then_some((left, right))
        }
        (Bool, number) | (number, Bool) if number.is_number() => {
            let ty = widest(Type::Long, number);
            Some((ty, ty))
        }
        (String, other) | (other, String) if equality => Some((other, other)),
        _ => None,
    }
}

/// Whether an argument of a type fits a parameter.
pub(super) fn fits(kind: Kind, ty: Type) -> bool {
    if ty == Type::Unknown {
        return !matches!(kind, Kind::TypeLiteral | Kind::Tabular);
    }
    match kind {
        Kind::Of(Type::String) => matches!(ty, Type::String | Type::Dynamic),
        Kind::Of(Type::Real) => matches!(ty, Type::Int | Type::Long | Type::Real),
        Kind::Of(Type::Long | Type::Int) | Kind::Integer => ty.is_integer(),
        Kind::Of(wanted) => ty == wanted,
        Kind::Scalar | Kind::Common | Kind::CommonOrDynamic | Kind::Aggregate | Kind::Column => true,
        Kind::Number => ty.is_number(),
        Kind::Summable => ty.is_summable(),
        Kind::Orderable => !matches!(ty, Type::Dynamic | Type::Guid),
        Kind::CommonOrderable => !matches!(ty, Type::Dynamic | Type::Guid),
        Kind::NotDynamic => ty != Type::Dynamic,
        Kind::NotRealOrBool => !matches!(ty, Type::Real | Type::Bool),
        Kind::Array | Kind::Bag => ty == Type::Dynamic,
        Kind::StringOrDynamic | Kind::StringOrArray => matches!(ty, Type::String | Type::Dynamic),
        Kind::IntegerOrArray => ty.is_integer() || ty == Type::Dynamic,
        Kind::NumberOrBool => ty.is_number() || ty == Type::Bool,
        Kind::TypeLiteral | Kind::Tabular => false,
    }
}

impl Binder<'_> {
    /// The value as a type: itself, or a cast of it. Literals are cast here and now.
    pub(super) fn cast(&mut self, value: Expr, ty: Type) -> Result<Expr> {
        if value.ty == ty || ty == Type::Unknown {
            return Ok(value);
        }
        if let Some(literal) = value.as_literal()
            && let Some(cast) = cast_literal(literal, ty)
        {
            return self.make(ExprKind::Literal(cast), ty, value.span);
        }
        let span = value.span;
        self.make(ExprKind::Cast(value.into()), ty, span)
    }

    /// The value for a place that is declared with a type: of that type, or of one that is
    /// converted to it without loss.
    pub(super) fn coerce(&mut self, value: Expr, ty: Type) -> Result<Expr> {
        let null = matches!(value.as_literal(), Some(Value::Null));
        let number = value.ty.is_number() && ty.is_number();
        if value.ty == ty
            || number
            || null
            || value.ty == Type::Unknown
            || ty == Type::Dynamic
            || value.ty == Type::Dynamic
        {
            return self.cast(value, ty);
        }
        self.fault(Code::WrongType, value.span, format!("a value of type {ty} expected, not of {}", value.ty))
    }

    /// A bool, or what may turn out to be one.
    pub(super) fn predicate(&mut self, value: Expr) -> Result<Expr> {
        match value.ty {
            Type::Bool | Type::Unknown => Ok(value),
            Type::Dynamic => self.cast(value, Type::Bool),
            ty => self.fault(Code::WrongType, value.span, format!("the expression must have type bool, not {ty}")),
        }
    }

    /// A declared type, which must be one.
    pub(super) fn declared(&self, ty: Type, span: Span) -> Result<Type> {
        if ty == Type::Unknown {
            return self.fault(Code::WrongType, span, "the declared type is no type of the language");
        }
        Ok(ty)
    }
}

/// The literal as another type, where that is exact.
fn cast_literal(value: &Value, ty: Type) -> Option<Value> {
    Some(match (value, ty) {
        (Value::Null, Type::String) => return None,
        (Value::Null, _) => Value::Null,
        (Value::Int(value), Type::Long) => Value::Long(i64::from(*value)),
        (Value::Int(value), Type::Real) => Value::Real(f64::from(*value)),
        (Value::Int(value), Type::Decimal) => Value::Decimal(Decimal::from(i64::from(*value))),
        (Value::Long(value), Type::Int) => Value::Int(i32::try_from(*value).ok()?),
        (Value::Long(value), Type::Real) => Value::Real(*value as f64),
        (Value::Long(value), Type::Decimal) => Value::Decimal(Decimal::from(*value)),
        (Value::Real(value), Type::Decimal) => Value::Decimal(Decimal::parse(&value.to_string())?),
        (Value::String(text), Type::DateTime) => Value::DateTime(DateTime::parse(text)?),
        (Value::Dynamic(_), _) => return None,
        (value, Type::Dynamic) => Value::Dynamic(value.clone().into_dynamic()),
        _ => return None,
    })
}
