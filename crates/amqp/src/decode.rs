//! Reading AMQP values (part 1) from bytes nobody vouches for.
//!
//! Bounds: nesting to [`DEPTH_MAX`], and [`VALUES_MAX`] values in one [`Reader`], so that an array
//! of a billion zero-width elements costs nothing. Declared sizes are checked before anything is
//! allocated for them. Binary values share the source buffer.

use bytes::Bytes;
use uuid::Uuid;

use crate::encode::code;
use crate::value::{Array, Described, Map, Symbol, Value};

/// Deepest nesting of compounds and descriptors.
pub const DEPTH_MAX: u32 = 32;

/// Most values read through one reader: one performative, or the sections of one message.
pub const VALUES_MAX: u32 = 65_536;

/// Why bytes are not the AMQP value they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value, or a size points past the end of its surroundings.
    #[error("value ends early")]
    Truncated,
    /// No type has this constructor byte.
    #[error("unknown constructor {0:#04x}")]
    UnknownConstructor(u8),
    /// The value has another type than the field.
    #[error("{expected} expected, found constructor {found:#04x}")]
    Type {
        /// What the field holds.
        expected: &'static str,
        /// The constructor byte that came.
        found: u8,
    },
    /// A field that must be there is absent or null.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A field holds a value outside its domain.
    #[error("field `{0}` has a value outside its domain")]
    Domain(&'static str),
    /// Text is not UTF-8, a symbol is not ASCII, or a char is not a scalar.
    #[error("malformed text")]
    Text,
    /// A size does not match the content, or a map has an odd count.
    #[error("compound size or count does not match its content")]
    Compound,
    /// Nested past [`DEPTH_MAX`].
    #[error("nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    #[error("more than {VALUES_MAX} values")]
    TooMany,
    /// A performative or section code that is not defined here.
    #[error("unknown descriptor {0:#x}")]
    UnknownDescriptor(u64),
}

type Result<T> = std::result::Result<T, DecodeError>;

/// A position in a buffer of AMQP values.
#[derive(Debug)]
pub struct Reader<'a> {
    source: &'a Bytes,
    at: usize,
    end: usize,
    values_left: u32,
}

impl<'a> Reader<'a> {
    /// Reads `source` from its beginning.
    #[must_use]
    pub fn new(source: &'a Bytes) -> Self {
        Self { source, at: 0, end: source.len(), values_left: VALUES_MAX }
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    /// What was not read yet, sharing the source buffer.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        self.source.slice(self.at..self.end)
    }

    /// Any value.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn value(&mut self) -> Result<Value> {
        self.value_at(0)
    }

    /// The numeric descriptor of the described value that begins here. Its value is next.
    ///
    /// # Errors
    /// When no described value begins here, or its descriptor is not a number.
    pub fn descriptor(&mut self) -> Result<u64> {
        let found = self.byte()?;
        if found != code::DESCRIBED {
            return Err(DecodeError::Type { expected: "described value", found });
        }
        match self.byte()? {
            code::ULONG0 => Ok(0),
            code::SMALL_ULONG => Ok(self.byte()?.into()),
            code::ULONG => Ok(u64::from_be_bytes(self.array()?)),
            found => Err(DecodeError::Type { expected: "ulong descriptor", found }),
        }
    }

    /// The list that begins here, to be read field by field.
    ///
    /// # Errors
    /// When no list begins here or its size is wrong.
    pub fn fields(&mut self) -> Result<Fields<'a>> {
        let (count, end) = match self.byte()? {
            code::LIST0 => (0, self.at),
            code::LIST8 => self.header8()?,
            code::LIST32 => self.header32()?,
            found => {
                return Err(DecodeError::Type { expected: "list", found });
            }
        };
        let reader = Reader { source: self.source, at: self.at, end, values_left: self.values_left };
        self.at = end;
        Ok(Fields { reader, left: count })
    }

    /// The map that begins here.
    ///
    /// # Errors
    /// When no map begins here, or on any other [`DecodeError`].
    pub fn map(&mut self) -> Result<Map> {
        match self.value()? {
            Value::Map(map) => Ok(map),
            Value::Null => Ok(Map::new()),
            _ => Err(DecodeError::Type { expected: "map", found: 0 }),
        }
    }

    /// The binary value that begins here, sharing the source buffer.
    ///
    /// # Errors
    /// When no binary value begins here.
    pub fn binary(&mut self) -> Result<Bytes> {
        let length = match self.byte()? {
            code::BINARY8 => self.byte()?.into(),
            code::BINARY32 => self.length32()?,
            found => {
                return Err(DecodeError::Type { expected: "binary", found });
            }
        };
        self.bytes(length)
    }

    fn value_at(&mut self, depth: u32) -> Result<Value> {
        let constructor = self.byte()?;
        self.constructed(constructor, depth)
    }

    fn constructed(&mut self, constructor: u8, depth: u32) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        self.values_left = self.values_left.checked_sub(1).ok_or(DecodeError::TooMany)?;
        Ok(match constructor {
            code::DESCRIBED => {
                let descriptor = self.value_at(depth + 1)?;
                let value = self.value_at(depth + 1)?;
                Value::Described(Box::new(Described { descriptor, value }))
            }
            code::NULL => Value::Null,
            code::TRUE => Value::Boolean(true),
            code::FALSE => Value::Boolean(false),
            code::BOOLEAN => Value::Boolean(self.boolean_byte()?),
            code::UBYTE => Value::Ubyte(self.byte()?),
            code::USHORT => Value::Ushort(u16::from_be_bytes(self.array()?)),
            code::UINT0 => Value::Uint(0),
            code::SMALL_UINT => Value::Uint(self.byte()?.into()),
            code::UINT => Value::Uint(u32::from_be_bytes(self.array()?)),
            code::ULONG0 => Value::Ulong(0),
            code::SMALL_ULONG => Value::Ulong(self.byte()?.into()),
            code::ULONG => Value::Ulong(u64::from_be_bytes(self.array()?)),
            code::BYTE => Value::Byte(i8::from_be_bytes(self.array()?)),
            code::SHORT => Value::Short(i16::from_be_bytes(self.array()?)),
            code::SMALL_INT => Value::Int(i8::from_be_bytes(self.array()?).into()),
            code::INT => Value::Int(i32::from_be_bytes(self.array()?)),
            code::SMALL_LONG => Value::Long(i8::from_be_bytes(self.array()?).into()),
            code::LONG => Value::Long(i64::from_be_bytes(self.array()?)),
            code::FLOAT => Value::Float(f32::from_be_bytes(self.array()?)),
            code::DOUBLE => Value::Double(f64::from_be_bytes(self.array()?)),
            code::DECIMAL32 => Value::Decimal32(self.array()?),
            code::DECIMAL64 => Value::Decimal64(self.array()?),
            code::DECIMAL128 => Value::Decimal128(self.array()?),
            code::CHAR => {
                let scalar = u32::from_be_bytes(self.array()?);
                Value::Char(char::from_u32(scalar).ok_or(DecodeError::Text)?)
            }
            code::TIMESTAMP => Value::Timestamp(i64::from_be_bytes(self.array()?)),
            code::UUID => Value::Uuid(Uuid::from_bytes(self.array()?)),
            code::BINARY8 => {
                let length = self.byte()?.into();
                Value::Binary(self.bytes(length)?)
            }
            code::BINARY32 => {
                let length = self.length32()?;
                Value::Binary(self.bytes(length)?)
            }
            code::STRING8 | code::STRING32 => Value::String(self.text(constructor)?.to_owned()),
            code::SYMBOL8 | code::SYMBOL32 => Value::Symbol(self.symbol_text(constructor)?),
            _ => return self.compound(constructor, depth),
        })
    }

    fn compound(&mut self, constructor: u8, depth: u32) -> Result<Value> {
        let (count, end) = match constructor {
            code::LIST0 => return Ok(Value::List(Vec::new())),
            code::LIST8 | code::MAP8 | code::ARRAY8 => self.header8()?,
            code::LIST32 | code::MAP32 | code::ARRAY32 => self.header32()?,
            other => return Err(DecodeError::UnknownConstructor(other)),
        };
        let outer = std::mem::replace(&mut self.end, end);
        let value = match constructor {
            code::LIST8 | code::LIST32 => {
                let mut values = Vec::with_capacity(self.capacity(count));
                for _ in 0..count {
                    values.push(self.value_at(depth + 1)?);
                }
                Value::List(values)
            }
            code::MAP8 | code::MAP32 => Value::Map(self.entries(count, depth)?),
            _ => Value::Array(self.elements(count, depth)?),
        };
        if self.at != end {
            return Err(DecodeError::Compound);
        }
        self.end = outer;
        Ok(value)
    }

    fn entries(&mut self, count: u32, depth: u32) -> Result<Map> {
        if !count.is_multiple_of(2) {
            return Err(DecodeError::Compound);
        }
        let mut entries = Map::with_capacity(self.capacity(count / 2));
        for _ in 0..count / 2 {
            entries.push((self.value_at(depth + 1)?, self.value_at(depth + 1)?));
        }
        Ok(entries)
    }

    fn elements(&mut self, count: u32, depth: u32) -> Result<Array> {
        let mut constructor = self.byte()?;
        let mut descriptors = Vec::new();
        // Every element gets a copy of the descriptors, which came over the wire once: they count as values each
        // time, the longer the more.
        let mut weight = 0;
        while constructor == code::DESCRIBED {
            if descriptors.len() as u32 + depth >= DEPTH_MAX {
                return Err(DecodeError::TooDeep);
            }
            let descriptor = self.value_at(depth + 1)?;
            weight += match &descriptor {
                Value::Ulong(_) => 1,
                Value::Symbol(name) => 1 + u32::try_from(name.as_str().len() / 32).unwrap_or(u32::MAX),
                _ => return Err(DecodeError::Domain("descriptor")),
            };
            descriptors.push(descriptor);
            constructor = self.byte()?;
        }
        let mut values = Vec::with_capacity(self.capacity(count));
        for _ in 0..count {
            self.values_left = self.values_left.checked_sub(weight).ok_or(DecodeError::TooMany)?;
            let value = self.constructed(constructor, depth + 1)?;
            values.push(describe(value, &descriptors));
        }
        // One constructor was read for all of them.
        Array::new(values).ok_or(DecodeError::Compound)
    }

    /// What may be reserved for `count` values: no more than bytes are left, at the least one each.
    fn capacity(&self, count: u32) -> usize {
        (count as usize).min(self.end - self.at).min(1024)
    }

    fn text(&mut self, constructor: u8) -> Result<&'a str> {
        let length = match constructor {
            code::STRING8 | code::SYMBOL8 => self.byte()?.into(),
            code::STRING32 | code::SYMBOL32 => self.length32()?,
            found => {
                return Err(DecodeError::Type { expected: "text", found });
            }
        };
        std::str::from_utf8(self.slice(length)?).map_err(|_| DecodeError::Text)
    }

    fn symbol_text(&mut self, constructor: u8) -> Result<Symbol> {
        let text = self.text(constructor)?;
        if !text.is_ascii() {
            return Err(DecodeError::Text);
        }
        Ok(Symbol::from(text.to_owned()))
    }

    fn boolean_byte(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Domain("boolean")),
        }
    }

    fn header8(&mut self) -> Result<(u32, usize)> {
        let size = usize::from(self.byte()?);
        let end = self.bounded(size)?;
        let count = self.byte()?.into();
        self.counted(count, end)
    }

    fn header32(&mut self) -> Result<(u32, usize)> {
        let size = self.length32()?;
        let end = self.bounded(size)?;
        let count = u32::from_be_bytes(self.array()?);
        self.counted(count, end)
    }

    /// The count is part of the size: a smaller size contradicts itself.
    fn counted(&self, count: u32, end: usize) -> Result<(u32, usize)> {
        if self.at > end { Err(DecodeError::Compound) } else { Ok((count, end)) }
    }

    fn bounded(&self, size: usize) -> Result<usize> {
        let end = self.at.checked_add(size).ok_or(DecodeError::Truncated)?;
        if end > self.end { Err(DecodeError::Truncated) } else { Ok(end) }
    }

    fn length32(&mut self) -> Result<usize> {
        let length = u32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| DecodeError::Truncated)
    }

    fn bytes(&mut self, length: usize) -> Result<Bytes> {
        let end = self.bounded(length)?;
        let bytes = self.source.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.bounded(length)?;
        let slice = self.source.get(self.at..end).ok_or(DecodeError::Truncated)?;
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let slice = self.slice(N)?;
        slice.try_into().map_err(|_| DecodeError::Truncated)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn peek(&self) -> Result<u8> {
        if self.at >= self.end {
            return Err(DecodeError::Truncated);
        }
        self.source.get(self.at).copied().ok_or(DecodeError::Truncated)
    }
}

fn describe(value: Value, descriptors: &[Value]) -> Value {
    descriptors.iter().rev().fold(value, |value, descriptor| {
        Value::Described(Box::new(Described { descriptor: descriptor.clone(), value }))
    })
}

/// The fields of a composite type, read in order. Fields past the end of the list are absent.
#[derive(Debug)]
pub struct Fields<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Fields<'a> {
    /// The next field, whatever it is; absent and null are both `None`.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn value(&mut self) -> Result<Option<Value>> {
        if self.absent()? { Ok(None) } else { self.reader.value().map(Some) }
    }

    /// Steps over fields nobody reads.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn skip(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.value()?;
        }
        Ok(())
    }

    /// A string.
    ///
    /// # Errors
    /// When the field is neither a string, a symbol, nor absent.
    pub fn string(&mut self) -> Result<Option<String>> {
        if self.absent()? {
            return Ok(None);
        }
        let constructor = self.reader.byte()?;
        Ok(Some(self.reader.text(constructor)?.to_owned()))
    }

    /// A symbol; a string is taken for one.
    ///
    /// # Errors
    /// When the field is neither a symbol, a string, nor absent.
    pub fn symbol(&mut self) -> Result<Option<Symbol>> {
        if self.absent()? {
            return Ok(None);
        }
        let constructor = self.reader.byte()?;
        self.reader.symbol_text(constructor).map(Some)
    }

    /// A field that may hold several symbols: an array, one symbol, or a list of them.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn symbols(&mut self) -> Result<Vec<Symbol>> {
        let values = match self.value()? {
            None => return Ok(Vec::new()),
            Some(Value::Array(array)) => array.into_values(),
            Some(Value::List(values)) => values,
            Some(single) => vec![single],
        };
        let symbol = |value| match value {
            Value::Symbol(name) => Ok(name),
            Value::String(text) if text.is_ascii() => Ok(Symbol::from(text)),
            _ => Err(DecodeError::Domain("symbols")),
        };
        values.into_iter().map(symbol).collect()
    }

    /// A map; absent is empty.
    ///
    /// # Errors
    /// When the field is neither a map nor absent.
    pub fn map(&mut self) -> Result<Map> {
        match self.value()? {
            None => Ok(Map::new()),
            Some(Value::Map(map)) => Ok(map),
            Some(_) => Err(DecodeError::Domain("map")),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// When the field is neither a boolean nor absent.
    pub fn boolean(&mut self) -> Result<Option<bool>> {
        if self.absent()? {
            return Ok(None);
        }
        match self.reader.byte()? {
            code::TRUE => Ok(Some(true)),
            code::FALSE => Ok(Some(false)),
            code::BOOLEAN => self.reader.boolean_byte().map(Some),
            found => Err(DecodeError::Type { expected: "boolean", found }),
        }
    }

    /// A `ubyte`.
    ///
    /// # Errors
    /// When the field is neither an unsigned byte nor absent.
    pub fn ubyte(&mut self) -> Result<Option<u8>> {
        Ok(match self.unsigned()? {
            None => None,
            Some(n) => Some(u8::try_from(n).map_err(|_| DecodeError::Domain("ubyte"))?),
        })
    }

    /// A `ushort`.
    ///
    /// # Errors
    /// When the field is neither an unsigned integer of 16 bits nor absent.
    pub fn ushort(&mut self) -> Result<Option<u16>> {
        Ok(match self.unsigned()? {
            None => None,
            Some(n) => Some(u16::try_from(n).map_err(|_| DecodeError::Domain("ushort"))?),
        })
    }

    /// A `uint`.
    ///
    /// # Errors
    /// When the field is neither an unsigned integer of 32 bits nor absent.
    pub fn uint(&mut self) -> Result<Option<u32>> {
        Ok(match self.unsigned()? {
            None => None,
            Some(n) => Some(u32::try_from(n).map_err(|_| DecodeError::Domain("uint"))?),
        })
    }

    /// A `ulong`.
    ///
    /// # Errors
    /// When the field is neither an unsigned integer nor absent.
    pub fn ulong(&mut self) -> Result<Option<u64>> {
        self.unsigned()
    }

    /// A timestamp in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the field is neither a timestamp nor absent.
    pub fn timestamp(&mut self) -> Result<Option<i64>> {
        if self.absent()? {
            return Ok(None);
        }
        match self.reader.byte()? {
            code::TIMESTAMP => Ok(Some(i64::from_be_bytes(self.reader.array()?))),
            found => Err(DecodeError::Type { expected: "timestamp", found }),
        }
    }

    /// Opaque bytes, sharing the source buffer.
    ///
    /// # Errors
    /// When the field is neither binary nor absent.
    pub fn binary(&mut self) -> Result<Option<Bytes>> {
        if self.absent()? { Ok(None) } else { self.reader.binary().map(Some) }
    }

    /// The reader at the next field when that field is there and not null.
    pub(crate) fn present(&mut self) -> Result<Option<&mut Reader<'a>>> {
        if self.absent()? { Ok(None) } else { Ok(Some(&mut self.reader)) }
    }

    fn unsigned(&mut self) -> Result<Option<u64>> {
        if self.absent()? {
            return Ok(None);
        }
        Ok(Some(match self.reader.byte()? {
            code::UINT0 | code::ULONG0 => 0,
            code::UBYTE | code::SMALL_UINT | code::SMALL_ULONG => self.reader.byte()?.into(),
            code::USHORT => u16::from_be_bytes(self.reader.array()?).into(),
            code::UINT => u32::from_be_bytes(self.reader.array()?).into(),
            code::ULONG => u64::from_be_bytes(self.reader.array()?),
            found => {
                return Err(DecodeError::Type { expected: "unsigned integer", found });
            }
        }))
    }

    fn absent(&mut self) -> Result<bool> {
        if self.left == 0 {
            return Ok(true);
        }
        self.left -= 1;
        if self.reader.peek()? == code::NULL {
            self.reader.at += 1;
            return Ok(true);
        }
        Ok(false)
    }
}
