//! One value, borrowed: what functions take.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use gantry_kql::value::{DateTime, Decimal, Dynamic, Guid, TimeSpan, Type, Value, parse_bool, parse_long, parse_real};

use super::{guid_value, ticks_value};

/// A value of a row. A dynamic value is taken apart: its scalars are cells like those of typed columns, so a function
/// does not care where a number came from; only arrays and bags remain dynamic.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named for the types of the language")]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Real(f64),
    Decimal(Decimal),
    String(&'a str),
    DateTime(i64),
    TimeSpan(i64),
    Guid(u128),
    /// An array or a bag.
    Dynamic(&'a Dynamic),
}

impl<'a> From<&'a Dynamic> for Cell<'a> {
    fn from(value: &'a Dynamic) -> Cell<'a> {
        match value {
            Dynamic::Null => Cell::Null,
            Dynamic::Bool(value) => Cell::Bool(*value),
            Dynamic::Long(value) => Cell::Long(*value),
            Dynamic::Real(value) => Cell::Real(*value),
            Dynamic::Decimal(value) => Cell::Decimal(*value),
            Dynamic::String(text) => Cell::String(text),
            Dynamic::DateTime(DateTime(ticks)) => Cell::DateTime(*ticks),
            Dynamic::TimeSpan(TimeSpan(ticks)) => Cell::TimeSpan(*ticks),
            Dynamic::Guid(Guid(bits)) => Cell::Guid(*bits),
            Dynamic::Array(_) | Dynamic::Bag(_) => Cell::Dynamic(value),
        }
    }
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Cell<'a> {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(value) => Cell::Bool(*value),
            Value::Int(value) => Cell::Int(*value),
            Value::Long(value) => Cell::Long(*value),
            Value::Real(value) => Cell::Real(*value),
            Value::Decimal(value) => Cell::Decimal(*value),
            Value::String(text) => Cell::String(text),
            Value::DateTime(DateTime(ticks)) => Cell::DateTime(*ticks),
            Value::TimeSpan(TimeSpan(ticks)) => Cell::TimeSpan(*ticks),
            Value::Guid(Guid(bits)) => Cell::Guid(*bits),
            Value::Dynamic(value) => Cell::from(value),
        }
    }
}

impl<'a> Cell<'a> {
    /// The value, owned.
    pub fn to_value(self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Bool(value) => Value::Bool(value),
            Cell::Int(value) => Value::Int(value),
            Cell::Long(value) => Value::Long(value),
            Cell::Real(value) => Value::Real(value),
            Cell::Decimal(value) => Value::Decimal(value),
            Cell::String(text) => Value::String(text.to_owned()),
            Cell::DateTime(ticks) => ticks_value(Type::DateTime, ticks),
            Cell::TimeSpan(ticks) => ticks_value(Type::TimeSpan, ticks),
            Cell::Guid(bits) => guid_value(bits),
            Cell::Dynamic(value) => Value::Dynamic(value.clone()),
        }
    }

    /// The value as an element of an array or a bag.
    pub fn to_dynamic(self) -> Dynamic {
        match self {
            Cell::Dynamic(value) => value.clone(),
            other => other.to_value().into_dynamic(),
        }
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        matches!(self, Cell::Null)
    }

    /// What `tostring` gives.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Cell::String(text) => Cow::Borrowed(text),
            Cell::Null => Cow::Borrowed(""),
            Cell::Dynamic(value) => Cow::Owned(value.to_string()),
            other => Cow::Owned(other.to_value().to_string()),
        }
    }

    /// A bool; numbers are true unless zero, text is read.
    pub fn bool(self) -> Option<bool> {
        match self {
            Cell::Bool(value) => Some(value),
            Cell::String(text) => parse_bool(text),
            Cell::Int(value) => Some(value != 0),
            Cell::Long(value) => Some(value != 0),
            Cell::Real(value) => Some(value != 0.0),
            _ => None,
        }
    }

    /// A whole number: reals lose their fraction, text is read, ticks are ticks.
    pub fn long(self) -> Option<i64> {
        match self {
            Cell::Bool(value) => Some(i64::from(value)),
            Cell::Int(value) => Some(i64::from(value)),
            Cell::Long(value) => Some(value),
            Cell::Real(value) => real_to_long(value),
            Cell::Decimal(value) => real_to_long(value.to_real()),
            Cell::DateTime(ticks) | Cell::TimeSpan(ticks) => Some(ticks),
            Cell::String(text) => parse_long(text),
            _ => None,
        }
    }

    /// A real: text is read.
    pub fn real(self) -> Option<f64> {
        match self {
            Cell::Bool(value) => Some(f64::from(u8::from(value))),
            Cell::Int(value) => Some(f64::from(value)),
            Cell::Long(value) => Some(value as f64),
            Cell::Real(value) => Some(value),
            Cell::Decimal(value) => Some(value.to_real()),
            Cell::String(text) => parse_real(text).or_else(|| parse_long(text).map(|value| value as f64)),
            _ => None,
        }
    }

    /// A number of any kind as a real, and nothing else.
    pub fn number(self) -> Option<f64> {
        match self {
            Cell::Int(_) | Cell::Long(_) | Cell::Real(_) | Cell::Decimal(_) => self.real(),
            _ => None,
        }
    }

    /// A decimal: text is read.
    pub fn decimal(self) -> Option<Decimal> {
        match self {
            Cell::Bool(value) => Some(Decimal::from(i64::from(value))),
            Cell::Int(value) => Some(Decimal::from(i64::from(value))),
            Cell::Long(value) => Some(Decimal::from(value)),
            Cell::Real(value) => Decimal::parse(&value.to_string()),
            Cell::Decimal(value) => Some(value),
            Cell::String(text) => Decimal::parse(text),
            _ => None,
        }
    }

    /// Ticks of an instant: text is read.
    pub fn datetime(self) -> Option<i64> {
        match self {
            Cell::DateTime(ticks) => Some(ticks),
            Cell::String(text) => DateTime::parse(text).map(|instant| instant.0),
            Cell::Long(ticks) => DateTime::from_ticks(ticks).map(|instant| instant.0),
            _ => None,
        }
    }

    /// Ticks of a span: text is read.
    pub fn timespan(self) -> Option<i64> {
        match self {
            Cell::TimeSpan(ticks) => Some(ticks),
            Cell::String(text) => TimeSpan::parse(text).map(|span| span.0),
            Cell::Long(ticks) => Some(ticks),
            _ => None,
        }
    }

    /// Bits of a guid: text is read.
    pub fn guid(self) -> Option<u128> {
        match self {
            Cell::Guid(bits) => Some(bits),
            Cell::String(text) => Guid::parse(text).map(|guid| guid.0),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn array(self) -> Option<&'a [Dynamic]> {
        match self {
            Cell::Dynamic(Dynamic::Array(items)) => Some(items),
            _ => None,
        }
    }

    /// The value cast to a type, as the conversion functions do it; null when it cannot be.
    pub fn cast(self, ty: Type) -> Value {
        let cast = match ty {
            Type::Bool => self.bool().map(Value::Bool),
            Type::Int => self.long().and_then(|value| i32::try_from(value).ok()).map(Value::Int),
            Type::Long => self.long().map(Value::Long),
            Type::Real => self.real().map(Value::Real),
            Type::Decimal => self.decimal().map(Value::Decimal),
            Type::String => Some(Value::String(self.text().into_owned())),
            Type::DateTime => self.datetime().map(|ticks| ticks_value(ty, ticks)),
            Type::TimeSpan => self.timespan().map(|ticks| ticks_value(ty, ticks)),
            Type::Guid => self.guid().map(guid_value),
            Type::Dynamic | Type::Unknown => Some(Value::Dynamic(self.to_dynamic())),
        };
        cast.unwrap_or(Value::Null)
    }

    /// Order of two values of comparable types; nothing when one is null or they cannot be compared.
    pub fn compare(self, other: Cell) -> Option<Ordering> {
        match (self, other) {
            (Cell::String(a), Cell::String(b)) => Some(a.cmp(b)),
            (Cell::Bool(a), Cell::Bool(b)) => Some(a.cmp(&b)),
            (Cell::DateTime(a), Cell::DateTime(b)) | (Cell::TimeSpan(a), Cell::TimeSpan(b)) => Some(a.cmp(&b)),
            (Cell::Guid(a), Cell::Guid(b)) => Some(a.cmp(&b)),
            (Cell::Int(_) | Cell::Long(_), Cell::Int(_) | Cell::Long(_)) => Some(self.long()?.cmp(&other.long()?)),
            (Cell::Decimal(_), Cell::Decimal(_) | Cell::Int(_) | Cell::Long(_))
            | (Cell::Int(_) | Cell::Long(_), Cell::Decimal(_)) => Some(self.decimal()?.cmp(&other.decimal()?)),
            (Cell::Dynamic(a), Cell::Dynamic(b)) => (a == b).then_some(Ordering::Equal),
            // A text beside another type is read as that type.
            (Cell::String(_), Cell::Null) | (Cell::Null, _) | (_, Cell::Null) => None,
            (Cell::Bool(a), _) => Some(a.cmp(&other.bool()?)),
            (_, Cell::Bool(b)) => Some(self.bool()?.cmp(&b)),
            (Cell::DateTime(a), _) => Some(a.cmp(&other.datetime()?)),
            (_, Cell::DateTime(b)) => Some(self.datetime()?.cmp(&b)),
            (Cell::TimeSpan(a), _) => Some(a.cmp(&other.timespan()?)),
            (_, Cell::TimeSpan(b)) => Some(self.timespan()?.cmp(&b)),
            (Cell::Guid(a), _) => Some(a.cmp(&other.guid()?)),
            (_, Cell::Guid(b)) => Some(self.guid()?.cmp(&b)),
            (a, b) => a.real()?.partial_cmp(&b.real()?),
        }
    }

    /// Whether two values are the same value: numbers by value whatever their type, null equal to nothing.
    pub fn equals(self, other: Cell) -> Option<bool> {
        match (self, other) {
            (Cell::Null, _) | (_, Cell::Null) => None,
            (Cell::Dynamic(a), Cell::Dynamic(b)) => Some(a == b),
            (Cell::Dynamic(_), _) | (_, Cell::Dynamic(_)) => Some(false),
            (a, b) => Some(a.compare(b) == Some(Ordering::Equal)),
        }
    }

    /// Feeds a hasher so that values which group together hash alike: whole numbers of any type, reals by their bits
    /// (one NaN, one zero), texts by bytes.
    pub fn feed(self, state: &mut impl Hasher) {
        match self {
            Cell::Null => 0_u8.hash(state),
            Cell::Bool(value) => (1_u8, value).hash(state),
            Cell::Int(value) => (2_u8, i64::from(value)).hash(state),
            Cell::Long(value) => (2_u8, value).hash(state),
            Cell::Real(value) => (3_u8, real_bits(value)).hash(state),
            Cell::Decimal(value) => (4_u8, value).hash(state),
            Cell::String(text) => (5_u8, text).hash(state),
            Cell::DateTime(ticks) => (6_u8, ticks).hash(state),
            Cell::TimeSpan(ticks) => (7_u8, ticks).hash(state),
            Cell::Guid(bits) => (8_u8, bits).hash(state),
            Cell::Dynamic(value) => (9_u8, value.to_json()).hash(state),
        }
    }
}

/// Bits of a real under which equal reals are one: one NaN, no negative zero.
pub fn real_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

fn real_to_long(value: f64) -> Option<i64> {
    (value.is_finite() && value.abs() < 9.3e18).then_some(value as i64)
}

/// A total order of all values of one column: nulls and NaN first, then by value.
pub fn total_order(a: Cell, b: Cell) -> Ordering {
    let is_missing = |cell: Cell| match cell {
        Cell::Null => 0,
        Cell::Real(value) if value.is_nan() => 1,
        _ => 2,
    };
    is_missing(a).cmp(&is_missing(b)).then_with(|| {
        a.compare(b).unwrap_or_else(|| match (a, b) {
            (Cell::Null, _) | (_, Cell::Null) => Ordering::Equal,
            (a, b) => a.text().cmp(&b.text()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_across_types_and_texts_are_read() {
        assert_eq!(Cell::Int(2).compare(Cell::Real(1.5)), Some(Ordering::Greater));
        assert_eq!(Cell::Long(1 << 53).compare(Cell::Long((1 << 53) + 1)), Some(Ordering::Less));
        assert_eq!(Cell::Long(1).equals(Cell::String("1")), Some(true));
        assert_eq!(
            Cell::String("2024-01-01").equals(Cell::DateTime(DateTime::parse("2024-01-01").unwrap().0)),
            Some(true)
        );
        assert_eq!(Cell::Null.equals(Cell::Long(1)), None);
        assert_eq!(Cell::Dynamic(&Dynamic::Array(vec![])).equals(Cell::Long(1)), Some(false));
    }

    #[test]
    fn casting_reads_texts_and_gives_null_where_it_cannot() {
        assert_eq!(Cell::String("2.5").cast(Type::Real), Value::Real(2.5));
        assert_eq!(Cell::Real(2.9).cast(Type::Int), Value::Int(2));
        assert_eq!(Cell::Real(1e30).cast(Type::Long), Value::Null);
        assert_eq!(Cell::Long(i64::MAX).cast(Type::Int), Value::Null);
        assert_eq!(Cell::Null.cast(Type::String), Value::String(String::new()));
    }

    #[test]
    fn nulls_and_nan_come_first() {
        let mut cells = [Cell::Real(1.0), Cell::Null, Cell::Real(f64::NAN), Cell::Real(-1.0)];
        cells.sort_by(|a, b| total_order(*a, *b));
        assert!(matches!(cells[0], Cell::Null));
        assert!(matches!(cells[2], Cell::Real(value) if value == -1.0));
    }
}
