//! Writing AMQP values (part 1, 1.6) to the end of a byte buffer.
//!
//! Every function appends to `out` and picks the shortest encoding, with two exceptions that
//! clients depend on: lists are never `list0`, and an empty map is `map8` with no entries.
//!
//! Compounds are written in one pass: [`begin`] leaves room for the short header, [`finish`]
//! patches it, and moves the content six bytes up in the rare case that the long header is needed.

use uuid::Uuid;

use crate::value::{Described, Map, Symbol, Value};

/// Constructor bytes (part 1, 1.6), shared with the decoder.
pub(crate) mod code {
    pub(crate) const DESCRIBED: u8 = 0x00;
    pub(crate) const NULL: u8 = 0x40;
    pub(crate) const TRUE: u8 = 0x41;
    pub(crate) const FALSE: u8 = 0x42;
    pub(crate) const UINT0: u8 = 0x43;
    pub(crate) const ULONG0: u8 = 0x44;
    pub(crate) const LIST0: u8 = 0x45;
    pub(crate) const UBYTE: u8 = 0x50;
    pub(crate) const BYTE: u8 = 0x51;
    pub(crate) const SMALL_UINT: u8 = 0x52;
    pub(crate) const SMALL_ULONG: u8 = 0x53;
    pub(crate) const SMALL_INT: u8 = 0x54;
    pub(crate) const SMALL_LONG: u8 = 0x55;
    pub(crate) const BOOLEAN: u8 = 0x56;
    pub(crate) const USHORT: u8 = 0x60;
    pub(crate) const SHORT: u8 = 0x61;
    pub(crate) const UINT: u8 = 0x70;
    pub(crate) const INT: u8 = 0x71;
    pub(crate) const FLOAT: u8 = 0x72;
    pub(crate) const CHAR: u8 = 0x73;
    pub(crate) const DECIMAL32: u8 = 0x74;
    pub(crate) const ULONG: u8 = 0x80;
    pub(crate) const LONG: u8 = 0x81;
    pub(crate) const DOUBLE: u8 = 0x82;
    pub(crate) const TIMESTAMP: u8 = 0x83;
    pub(crate) const DECIMAL64: u8 = 0x84;
    pub(crate) const DECIMAL128: u8 = 0x94;
    pub(crate) const UUID: u8 = 0x98;
    pub(crate) const BINARY8: u8 = 0xA0;
    pub(crate) const STRING8: u8 = 0xA1;
    pub(crate) const SYMBOL8: u8 = 0xA3;
    pub(crate) const BINARY32: u8 = 0xB0;
    pub(crate) const STRING32: u8 = 0xB1;
    pub(crate) const SYMBOL32: u8 = 0xB3;
    pub(crate) const LIST8: u8 = 0xC0;
    pub(crate) const MAP8: u8 = 0xC1;
    pub(crate) const LIST32: u8 = 0xD0;
    pub(crate) const MAP32: u8 = 0xD1;
    pub(crate) const ARRAY8: u8 = 0xE0;
    pub(crate) const ARRAY32: u8 = 0xF0;
}

/// A compound being written; see [`begin`].
#[derive(Debug)]
#[must_use = "a compound must be finished"]
pub struct Open {
    at: usize,
}

/// Which compound [`begin`] starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compound {
    /// A list; the count is the number of values.
    List,
    /// A map; the count is the number of keys plus the number of values.
    Map,
}

/// Starts a list or map at the end of `out`.
#[inline]
pub fn begin(out: &mut Vec<u8>, compound: Compound) -> Open {
    let at = out.len();
    let constructor = match compound {
        Compound::List => code::LIST8,
        Compound::Map => code::MAP8,
    };
    out.extend_from_slice(&[constructor, 0, 0]);
    Open { at }
}

/// Ends a compound of `count` values.
///
/// # Panics
/// If the content is 4 GiB or longer; frames and messages are bounded far below.
#[inline]
pub fn finish(out: &mut Vec<u8>, open: Open, count: usize) {
    let at = open.at;
    let content = out.len() - at - 3;
    if content < 255 && count <= 255 {
        out[at + 1] = content as u8 + 1;
        out[at + 2] = count as u8;
        return;
    }
    widen(out, at, content, count);
}

#[cold]
fn widen(out: &mut Vec<u8>, at: usize, content: usize, count: usize) {
    let size = u32::try_from(content + 4).expect("compounds stay far below 4 GiB");
    let count = u32::try_from(count).expect("compounds stay far below 4 GiB");
    out.resize(out.len() + 6, 0);
    out.copy_within(at + 3..at + 3 + content, at + 9);
    out[at] |= 0x10; // list8 -> list32, map8 -> map32, array8 -> array32
    out[at + 1..at + 5].copy_from_slice(&size.to_be_bytes());
    out[at + 5..at + 9].copy_from_slice(&count.to_be_bytes());
}

/// The descriptor of a performative or section, as `smallulong`.
#[inline]
pub fn descriptor(out: &mut Vec<u8>, descriptor: u8) {
    out.extend_from_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor]);
}

/// `null`.
#[inline]
pub fn null(out: &mut Vec<u8>) {
    out.push(code::NULL);
}

/// A boolean, in its one-byte form.
#[inline]
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { code::TRUE } else { code::FALSE });
}

/// An unsigned byte.
#[inline]
pub fn ubyte(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[code::UBYTE, value]);
}

/// An unsigned 16-bit integer.
#[inline]
pub fn ushort(out: &mut Vec<u8>, value: u16) {
    fixed(out, code::USHORT, value.to_be_bytes());
}

/// An unsigned 32-bit integer.
#[inline]
pub fn uint(out: &mut Vec<u8>, value: u32) {
    match value {
        0 => out.push(code::UINT0),
        1..=255 => out.extend_from_slice(&[code::SMALL_UINT, value as u8]),
        _ => fixed(out, code::UINT, value.to_be_bytes()),
    }
}

/// An unsigned 64-bit integer.
#[inline]
pub fn ulong(out: &mut Vec<u8>, value: u64) {
    match value {
        0 => out.push(code::ULONG0),
        1..=255 => out.extend_from_slice(&[code::SMALL_ULONG, value as u8]),
        _ => fixed(out, code::ULONG, value.to_be_bytes()),
    }
}

/// A signed 32-bit integer.
#[inline]
pub fn int(out: &mut Vec<u8>, value: i32) {
    match i8::try_from(value) {
        Ok(small) => fixed(out, code::SMALL_INT, small.to_be_bytes()),
        Err(_) => fixed(out, code::INT, value.to_be_bytes()),
    }
}

/// A signed 64-bit integer.
#[inline]
pub fn long(out: &mut Vec<u8>, value: i64) {
    match i8::try_from(value) {
        Ok(small) => fixed(out, code::SMALL_LONG, small.to_be_bytes()),
        Err(_) => fixed(out, code::LONG, value.to_be_bytes()),
    }
}

/// Milliseconds since the Unix epoch.
#[inline]
pub fn timestamp(out: &mut Vec<u8>, milliseconds: i64) {
    fixed(out, code::TIMESTAMP, milliseconds.to_be_bytes());
}

/// An RFC 4122 identifier.
#[inline]
pub fn uuid(out: &mut Vec<u8>, value: Uuid) {
    fixed(out, code::UUID, value.into_bytes());
}

/// Opaque bytes.
#[inline]
pub fn binary(out: &mut Vec<u8>, value: &[u8]) {
    variable(out, code::BINARY8, value);
}

/// UTF-8 text.
#[inline]
pub fn string(out: &mut Vec<u8>, value: &str) {
    variable(out, code::STRING8, value.as_bytes());
}

/// An ASCII name.
#[inline]
pub fn symbol(out: &mut Vec<u8>, value: &str) {
    variable(out, code::SYMBOL8, value.as_bytes());
}

/// Text, or `null`.
pub fn string_or_null(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => string(out, value),
        None => null(out),
    }
}

/// A name, or `null`.
pub fn symbol_or_null(out: &mut Vec<u8>, value: Option<&Symbol>) {
    match value {
        Some(value) => symbol(out, value.as_str()),
        None => null(out),
    }
}

/// An array of symbols, or `null` when there are none ("multiple" fields, part 1, 1.4).
pub fn symbols_or_null(out: &mut Vec<u8>, names: &[Symbol]) {
    if names.is_empty() {
        return null(out);
    }
    array_with(out, names.len(), |out| {
        out.push(code::SYMBOL32);
        for name in names {
            element32(out, name.as_str().as_bytes());
        }
    });
}

/// A map.
pub fn map(out: &mut Vec<u8>, entries: &Map) {
    let open = begin(out, Compound::Map);
    for (key, value) in entries {
        self::value(out, key);
        self::value(out, value);
    }
    finish(out, open, entries.len() * 2);
}

/// A map, or `null` when it is empty.
pub fn map_or_null(out: &mut Vec<u8>, entries: &Map) {
    if entries.is_empty() {
        null(out);
    } else {
        map(out, entries);
    }
}

/// Any value.
pub fn value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => null(out),
        Value::Boolean(v) => boolean(out, *v),
        Value::Ubyte(v) => ubyte(out, *v),
        Value::Ushort(v) => ushort(out, *v),
        Value::Uint(v) => uint(out, *v),
        Value::Ulong(v) => ulong(out, *v),
        Value::Int(v) => int(out, *v),
        Value::Long(v) => long(out, *v),
        Value::Binary(v) => binary(out, v),
        Value::String(v) => string(out, v),
        Value::Symbol(v) => symbol(out, v.as_str()),
        Value::List(values) => {
            let open = begin(out, Compound::List);
            values.iter().for_each(|v| self::value(out, v));
            finish(out, open, values.len());
        }
        Value::Map(entries) => map(out, entries),
        Value::Array(array) => array_with(out, array.values().len(), |out| {
            match array.values().first() {
                Some(first) => element_constructor(out, first),
                None => out.push(code::NULL),
            }
            array.values().iter().for_each(|v| element(out, v));
        }),
        Value::Described(described) => {
            let Described { descriptor, value } = &**described;
            out.push(code::DESCRIBED);
            self::value(out, descriptor);
            self::value(out, value);
        }
        // The rest has one encoding, which is also that of an array element.
        other => {
            element_constructor(out, other);
            element(out, other);
        }
    }
}

/// The constructor all elements of an array share: always the widest form of the type.
fn element_constructor(out: &mut Vec<u8>, value: &Value) {
    let constructor = match value {
        Value::Null => code::NULL,
        Value::Boolean(_) => code::BOOLEAN,
        Value::Ubyte(_) => code::UBYTE,
        Value::Ushort(_) => code::USHORT,
        Value::Uint(_) => code::UINT,
        Value::Ulong(_) => code::ULONG,
        Value::Byte(_) => code::BYTE,
        Value::Short(_) => code::SHORT,
        Value::Int(_) => code::INT,
        Value::Long(_) => code::LONG,
        Value::Float(_) => code::FLOAT,
        Value::Double(_) => code::DOUBLE,
        Value::Decimal32(_) => code::DECIMAL32,
        Value::Decimal64(_) => code::DECIMAL64,
        Value::Decimal128(_) => code::DECIMAL128,
        Value::Char(_) => code::CHAR,
        Value::Timestamp(_) => code::TIMESTAMP,
        Value::Uuid(_) => code::UUID,
        Value::Binary(_) => code::BINARY32,
        Value::String(_) => code::STRING32,
        Value::Symbol(_) => code::SYMBOL32,
        Value::List(_) => code::LIST32,
        Value::Map(_) => code::MAP32,
        Value::Array(_) => code::ARRAY32,
        Value::Described(described) => {
            out.push(code::DESCRIBED);
            self::value(out, &described.descriptor);
            return element_constructor(out, &described.value);
        }
    };
    out.push(constructor);
}

/// One element of an array, without its constructor.
fn element(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Boolean(v) => out.push(u8::from(*v)),
        Value::Ubyte(v) => out.push(*v),
        Value::Ushort(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Uint(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Ulong(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Byte(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Short(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Int(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Long(v) | Value::Timestamp(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Float(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Double(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Decimal32(v) => out.extend_from_slice(v),
        Value::Decimal64(v) => out.extend_from_slice(v),
        Value::Decimal128(v) => out.extend_from_slice(v),
        Value::Char(v) => out.extend_from_slice(&u32::from(*v).to_be_bytes()),
        Value::Uuid(v) => out.extend_from_slice(v.as_bytes()),
        Value::Binary(v) => element32(out, v),
        Value::String(v) => element32(out, v.as_bytes()),
        Value::Symbol(v) => element32(out, v.as_str().as_bytes()),
        Value::List(values) => {
            sized32(out, values.len(), |out| values.iter().for_each(|v| self::value(out, v)));
        }
        Value::Map(entries) => sized32(out, entries.len() * 2, |out| {
            for (key, value) in entries {
                self::value(out, key);
                self::value(out, value);
            }
        }),
        Value::Array(array) => sized32(out, array.values().len(), |out| {
            match array.values().first() {
                Some(first) => element_constructor(out, first),
                None => out.push(code::NULL),
            }
            array.values().iter().for_each(|v| element(out, v));
        }),
        Value::Described(described) => element(out, &described.value),
    }
}

fn array_with(out: &mut Vec<u8>, count: usize, content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[code::ARRAY8, 0, 0]);
    content(out);
    finish(out, Open { at }, count);
}

fn sized32(out: &mut Vec<u8>, count: usize, content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    content(out);
    let size = u32::try_from(out.len() - at - 4).expect("compounds stay far below 4 GiB");
    let count = u32::try_from(count).expect("compounds stay far below 4 GiB");
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    out[at + 4..at + 8].copy_from_slice(&count.to_be_bytes());
}

fn element32(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("values stay far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[inline]
fn fixed<const N: usize>(out: &mut Vec<u8>, constructor: u8, bytes: [u8; N]) {
    out.push(constructor);
    out.extend_from_slice(&bytes);
}

#[inline]
fn variable(out: &mut Vec<u8>, short: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.extend_from_slice(&[short, length]),
        Err(_) => {
            let length = u32::try_from(bytes.len()).expect("values stay far below 4 GiB");
            out.push(short | 0x10); // vbin8 -> vbin32, and so on
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}
