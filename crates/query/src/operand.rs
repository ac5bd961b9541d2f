//! Values while an expression is evaluated.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

/// A value, borrowed from where it was found as far as possible.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand<'a> {
    /// Nothing is there.
    Undefined,
    /// JSON null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// An array or an object.
    Json(&'a Value),
}

impl<'a> From<&'a Value> for Operand<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => match n.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => Self::Json(value),
        }
    }
}

impl<'a, T: Into<Operand<'a>>> From<Option<T>> for Operand<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Undefined, Into::into)
    }
}

impl<'a> From<&'a str> for Operand<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<Cow<'a, str>> for Operand<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Operand<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Operand<'_> {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Float(value as f64), Self::Integer)
    }
}

impl<'a> Operand<'a> {
    /// As JSON; `None` is undefined.
    pub fn to_json(&self) -> Option<Value> {
        match self {
            Self::Undefined => None,
            Self::Null => Some(Value::Null),
            Self::Bool(b) => Some((*b).into()),
            Self::Integer(n) => Some((*n).into()),
            Self::Float(n) => serde_json::Number::from_f64(*n).map(Value::Number),
            Self::Text(text) => Some(text.as_ref().into()),
            Self::Json(value) => Some((*value).clone()),
        }
    }

    /// Whether it is exactly true.
    pub(crate) fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(n) => Some(*n as f64),
            Self::Float(n) => Some(*n),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number, whole when it can be; what is not finite is undefined.
    pub(crate) fn number(value: f64) -> Self {
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        if !value.is_finite() {
            return Self::Undefined;
        }
        if value.fract() == 0.0 && value.abs() < WHOLE_MAX { Self::Integer(value as i64) } else { Self::Float(value) }
    }
}

/// Order of two primitives of one kind; `None` otherwise.
pub(crate) fn order(left: &Operand<'_>, right: &Operand<'_>) -> Option<Ordering> {
    match (left, right) {
        (Operand::Integer(a), Operand::Integer(b)) => Some(a.cmp(b)),
        (Operand::Text(a), Operand::Text(b)) => Some(a.cmp(b)),
        (Operand::Bool(a), Operand::Bool(b)) => Some(a.cmp(b)),
        (a, b) => a.as_number()?.partial_cmp(&b.as_number()?),
    }
}

/// Whether two primitives are equal; `None` when they cannot be compared.
pub(crate) fn equal(left: &Operand<'_>, right: &Operand<'_>) -> Option<bool> {
    match (left, right) {
        (Operand::Undefined | Operand::Json(_), _) | (_, Operand::Undefined | Operand::Json(_)) => None,
        (Operand::Null, other) | (other, Operand::Null) => Some(*other == Operand::Null),
        _ => order(left, right).map(Ordering::is_eq),
    }
}
