//! Values of the language: the scalar types, what a literal holds, and the text forms.
//!
//! Everything here is plain data. A [`Value`] of any type but string may be null; a string is
//! never null, its empty value is `""`. The text forms are those the service puts on its wire
//! and `tostring` gives: seven digits of a second's fraction or none, `1.00:00:00` for a day,
//! lower case guids, the shortest real that reads back as itself, always with a point or an
//! exponent. Reading is as tolerant as `todatetime`, `totimespan` and their relatives are, and
//! answers `None` for what is not a value; nothing here panics on any text.

mod datetime;
mod decimal;
mod dynamic;
mod guid;
mod real;
mod timespan;

pub use datetime::{DateTime, Parts};
pub use decimal::Decimal;
pub use dynamic::{Bag, Dynamic, JSON_DEPTH_MAX};
pub use guid::Guid;
pub use real::{parse_real, print_real};
pub use timespan::{TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MINUTE, TICKS_PER_SECOND, TimeSpan};

use std::fmt;

/// The scalar types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// True, false or null.
    Bool,
    /// 32 bits with sign.
    Int,
    /// 64 bits with sign.
    Long,
    /// A double: null and NaN are two things.
    Real,
    /// A decimal number of up to 38 digits.
    Decimal,
    /// Text, never null.
    String,
    /// Ticks of 100 ns since 0001-01-01, UTC.
    DateTime,
    /// Ticks of 100 ns, with sign.
    TimeSpan,
    /// 128 bits.
    Guid,
    /// Any value, array or bag.
    Dynamic,
    /// Not known before the query runs: a column of an open schema, or what is computed of one.
    Unknown,
}

impl Type {
    /// The type a name of the language means, aliases included (`double`, `date`, `uuid`...).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "bool" | "boolean" => Self::Bool,
            "int" | "int32" | "uint" | "uint32" | "int8" | "uint8" | "int16" | "uint16" => Self::Int,
            "long" | "int64" | "ulong" | "uint64" => Self::Long,
            "real" | "double" | "float" => Self::Real,
            "decimal" => Self::Decimal,
            "string" => Self::String,
            "datetime" | "date" => Self::DateTime,
            "timespan" | "time" => Self::TimeSpan,
            "guid" | "uuid" | "uniqueid" => Self::Guid,
            "dynamic" => Self::Dynamic,
            _ => return None,
        })
    }

    /// The name of the language: `long`, `datetime`...
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Long => "long",
            Self::Real => "real",
            Self::Decimal => "decimal",
            Self::String => "string",
            Self::DateTime => "datetime",
            Self::TimeSpan => "timespan",
            Self::Guid => "guid",
            Self::Dynamic => "dynamic",
            Self::Unknown => "unknown",
        }
    }

    /// The name schema commands and `getschema` report: `System.Int64`, `System.SByte`...
    pub fn system_name(self) -> &'static str {
        match self {
            Self::Bool => "System.SByte",
            Self::Int => "System.Int32",
            Self::Long => "System.Int64",
            Self::Real => "System.Double",
            Self::Decimal => "System.Data.SqlTypes.SqlDecimal",
            Self::String => "System.String",
            Self::DateTime => "System.DateTime",
            Self::TimeSpan => "System.TimeSpan",
            Self::Guid => "System.Guid",
            Self::Dynamic | Self::Unknown => "System.Object",
        }
    }

    /// int, long, real or decimal.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Long | Self::Real | Self::Decimal)
    }

    /// int or long.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int | Self::Long)
    }

    /// A number, a datetime or a timespan: what can be added up and binned.
    pub fn is_summable(self) -> bool {
        self.is_number() || matches!(self, Self::DateTime | Self::TimeSpan)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value. A null has no type of its own: the expression or column it is in has one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Null of any type but string.
    Null,
    /// A bool.
    Bool(bool),
    /// An int.
    Int(i32),
    /// A long.
    Long(i64),
    /// A real.
    Real(f64),
    /// A decimal.
    Decimal(Decimal),
    /// A string.
    String(String),
    /// A datetime.
    DateTime(DateTime),
    /// A timespan.
    TimeSpan(TimeSpan),
    /// A guid.
    Guid(Guid),
    /// A dynamic that is not null.
    Dynamic(Dynamic),
}

impl Value {
    /// The type, of all but null.
    pub fn ty(&self) -> Option<Type> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Long(_) => Type::Long,
            Self::Real(_) => Type::Real,
            Self::Decimal(_) => Type::Decimal,
            Self::String(_) => Type::String,
            Self::DateTime(_) => Type::DateTime,
            Self::TimeSpan(_) => Type::TimeSpan,
            Self::Guid(_) => Type::Guid,
            Self::Dynamic(_) => Type::Dynamic,
        })
    }

    /// The value an absent cell of a type has: `""` of string, null of all others.
    pub fn absent(ty: Type) -> Self {
        if ty == Type::String { Self::String(String::new()) } else { Self::Null }
    }

    /// The value as an element of an array or bag.
    pub fn into_dynamic(self) -> Dynamic {
        match self {
            Self::Null => Dynamic::Null,
            Self::Bool(value) => Dynamic::Bool(value),
            Self::Int(value) => Dynamic::Long(i64::from(value)),
            Self::Long(value) => Dynamic::Long(value),
            Self::Real(value) => Dynamic::Real(value),
            Self::Decimal(value) => Dynamic::Decimal(value),
            Self::String(value) => Dynamic::String(value),
            Self::DateTime(value) => Dynamic::DateTime(value),
            Self::TimeSpan(value) => Dynamic::TimeSpan(value),
            Self::Guid(value) => Dynamic::Guid(value),
            Self::Dynamic(value) => value,
        }
    }
}

/// What `tostring` gives: `""` of null, a string or a dynamic string without quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(value) => f.write_str(if *value { "true" } else { "false" }),
            Self::Int(value) => value.fmt(f),
            Self::Long(value) => value.fmt(f),
            Self::Real(value) => f.write_str(&print_real(*value)),
            Self::Decimal(value) => value.fmt(f),
            Self::String(value) => f.write_str(value),
            Self::DateTime(value) => value.fmt(f),
            Self::TimeSpan(value) => value.fmt(f),
            Self::Guid(value) => value.fmt(f),
            Self::Dynamic(value) => value.fmt(f),
        }
    }
}

/// `true` and `false` in any case; what `tobool` reads beside numbers.
pub fn parse_bool(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        text.parse::<i64>().ok().map(|number| number != 0)
    }
}

/// A whole number in decimal or after `0x` in hexadecimal, with a sign.
pub fn parse_long(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        // All 64 bits may be set: 0xFFFFFFFFFFFFFFFF is -1.
        let bits = u64::from_str_radix(hex, 16).ok()?.cast_signed();
        return if negative { bits.checked_neg() } else { Some(bits) };
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_in_both_bases() {
        assert_eq!(parse_long(" -12 "), Some(-12));
        assert_eq!(parse_long("0x1F"), Some(31));
        assert_eq!(parse_long("0xFFFFFFFFFFFFFFFF"), Some(-1));
        assert_eq!(parse_long("9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_long("-9223372036854775808"), Some(i64::MIN));
        for wrong in ["", "-", "1.5", "9223372036854775808", "0x", "0x1FFFFFFFFFFFFFFFF", "+-1", "1 2"] {
            assert_eq!(parse_long(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_type_has_a_name_that_reads_back() {
        for ty in [
            Type::Bool,
            Type::Int,
            Type::Long,
            Type::Real,
            Type::Decimal,
            Type::String,
            Type::DateTime,
            Type::TimeSpan,
            Type::Guid,
            Type::Dynamic,
        ] {
            assert_eq!(Type::from_name(ty.name()), Some(ty));
        }
        assert_eq!(Type::from_name("Long"), None);
    }
}
