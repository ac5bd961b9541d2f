//! The AMQP type system (part 1) as Rust values.
//!
//! [`Value`] holds anything the wire can carry. Decimals are kept as raw bytes: nothing here
//! computes with them. Fast paths do not go through `Value`; they use [`crate::encode`] directly.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

/// A name from a constrained domain (part 1, 1.6.21): ASCII, usually a constant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Cow<'static, str>);

impl Symbol {
    /// A symbol from a constant.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ":{}", self.0)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Symbol {
    fn from(name: &'static str) -> Self {
        Self::from_static(name)
    }
}

impl From<String> for Symbol {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl PartialEq<str> for Symbol {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Symbol {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// Key and value pairs in wire order. AMQP maps keep no promise about order, but echoing a peer's
/// map unchanged is worth more than hashing a handful of keys.
pub type Map = Vec<(Value, Value)>;

/// Any AMQP value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The absent value.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// Unsigned, 8 bits.
    Ubyte(u8),
    /// Unsigned, 16 bits.
    Ushort(u16),
    /// Unsigned, 32 bits.
    Uint(u32),
    /// Unsigned, 64 bits.
    Ulong(u64),
    /// Signed, 8 bits.
    Byte(i8),
    /// Signed, 16 bits.
    Short(i16),
    /// Signed, 32 bits.
    Int(i32),
    /// Signed, 64 bits.
    Long(i64),
    /// IEEE 754 single precision.
    Float(f32),
    /// IEEE 754 double precision.
    Double(f64),
    /// IEEE 754 decimal, raw big-endian bytes.
    Decimal32([u8; 4]),
    /// IEEE 754 decimal, raw big-endian bytes.
    Decimal64([u8; 8]),
    /// IEEE 754 decimal, raw big-endian bytes.
    Decimal128([u8; 16]),
    /// One Unicode scalar.
    Char(char),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// RFC 4122 identifier.
    Uuid(Uuid),
    /// Opaque bytes.
    Binary(Bytes),
    /// UTF-8 text.
    String(String),
    /// ASCII name.
    Symbol(Symbol),
    /// Values of any types.
    List(Vec<Value>),
    /// Key and value pairs.
    Map(Map),
    /// Values of one type.
    Array(Array),
    /// A value annotated with a descriptor.
    Described(Box<Described>),
}

impl Value {
    /// The text of a string or symbol.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Symbol(name) => Some(name.as_str()),
            _ => None,
        }
    }

    /// Any integer or timestamp that fits an `i64`.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(n) => Some(n.into()),
            Self::Ushort(n) => Some(n.into()),
            Self::Uint(n) => Some(n.into()),
            Self::Ulong(n) => i64::try_from(n).ok(),
            Self::Byte(n) => Some(n.into()),
            Self::Short(n) => Some(n.into()),
            Self::Int(n) => Some(n.into()),
            Self::Long(n) | Self::Timestamp(n) => Some(n),
            _ => None,
        }
    }

    /// The value without its descriptors.
    #[must_use]
    pub fn undescribed(&self) -> &Self {
        let mut value = self;
        while let Self::Described(described) = value {
            value = &described.value;
        }
        value
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Symbol> for Value {
    fn from(name: Symbol) -> Self {
        Self::Symbol(name)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Long(value)
    }
}

/// A descriptor and the value it describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Usually an `Ulong` or a `Symbol`.
    pub descriptor: Value,
    /// What is described.
    pub value: Value,
}

/// Values of one type. The constructor is written once for all elements, so a mixed array cannot
/// be encoded and is not constructible.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Array(Vec<Value>);

impl Array {
    /// An array, or `None` when the elements are not of one type (for described elements: one
    /// descriptor, which is a number or a symbol, and one type).
    #[must_use]
    pub fn new(values: Vec<Value>) -> Option<Self> {
        let uniform = values.windows(2).all(|pair| same_type(&pair[0], &pair[1]));
        (uniform && values.first().is_none_or(has_plain_descriptors)).then_some(Self(values))
    }

    /// An array of strings.
    pub fn of_strings<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self(texts.into_iter().map(|t| Value::String(t.into())).collect())
    }

    /// An array of symbols.
    pub fn of_symbols(names: impl IntoIterator<Item = Symbol>) -> Self {
        Self(names.into_iter().map(Value::Symbol).collect())
    }

    /// The elements.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// The elements, owned.
    #[must_use]
    pub fn into_values(self) -> Vec<Value> {
        self.0
    }
}

fn has_plain_descriptors(value: &Value) -> bool {
    match value {
        Value::Described(described) => {
            matches!(described.descriptor, Value::Ulong(_) | Value::Symbol(_))
                && has_plain_descriptors(&described.value)
        }
        _ => true,
    }
}

fn same_type(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Described(a), Value::Described(b)) => a.descriptor == b.descriptor && same_type(&a.value, &b.value),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_holds_one_type_only() {
        assert!(Array::new(vec![Value::Int(1), Value::Int(2)]).is_some());
        assert!(Array::new(vec![Value::Int(1), Value::Long(2)]).is_none());
        let described = |descriptor: u64| {
            let value = Value::Int(1);
            Value::Described(Box::new(Described { descriptor: Value::Ulong(descriptor), value }))
        };
        assert!(Array::new(vec![described(1), described(1)]).is_some());
        assert!(Array::new(vec![described(1), described(2)]).is_none());
        let odd = Described { descriptor: Value::List(vec![]), value: Value::Null };
        assert!(Array::new(vec![Value::Described(Box::new(odd))]).is_none());
    }

    #[test]
    fn descriptors_are_looked_through() {
        let inner = Value::from("text");
        let described = Described { descriptor: Value::Ulong(7), value: inner.clone() };
        let twice = Described { descriptor: Value::Ulong(8), value: Value::Described(Box::new(described)) };
        assert_eq!(Value::Described(Box::new(twice)).undescribed(), &inner);
    }
}
