//! Hashes of values.

use gantry_kql::value::Value;
use xxhash_rust::xxh64::xxh64;

use super::Implementation::Lax;
use super::{Call, Family, text};
use crate::column::Cell;

pub(super) const FUNCTIONS: Family = &[
    ("hash", Lax(hash)),
    ("hash_xxhash64", Lax(hash)),
    ("hash_sha256", Lax(|cells, _| text(hex(&digest::<sha2::Sha256>(cells[0]))))),
    ("hash_sha1", Lax(|cells, _| text(hex(&digest::<sha1::Sha1>(cells[0]))))),
    ("hash_md5", Lax(|cells, _| text(hex(&digest::<md5::Md5>(cells[0]))))),
    (
        "hash_combine",
        Lax(|cells, _| Value::Long(cells.iter().filter_map(|cell| cell.long()).reduce(combine).unwrap_or(0))),
    ),
    (
        "hash_many",
        Lax(|cells, _| {
            Value::Long(cells.iter().map(|cell| hash_cell(*cell).cast_signed()).reduce(combine).unwrap_or(0))
        }),
    ),
];

/// `hash(value [, modulus])`.
fn hash(cells: &[Cell], _: &Call) -> Value {
    let hash = hash_cell(cells[0]).cast_signed();
    match cells.get(1).and_then(|cell| cell.long()) {
        Some(modulus) if modulus > 0 => {
            Value::Long(hash.cast_unsigned().wrapping_rem(modulus.cast_unsigned()).cast_signed())
        }
        Some(_) => Value::Null,
        None => Value::Long(hash),
    }
}

/// XXH64 of a value's bytes: texts as UTF-8, numbers and ticks as eight bytes, little-endian.
pub fn hash_cell(cell: Cell) -> u64 {
    match cell {
        Cell::Null => xxh64(&[], 0),
        Cell::String(text) => xxh64(text.as_bytes(), 0),
        Cell::Bool(value) => xxh64(&[u8::from(value)], 0),
        Cell::Int(value) => xxh64(&i64::from(value).to_le_bytes(), 0),
        Cell::Long(value) | Cell::DateTime(value) | Cell::TimeSpan(value) => xxh64(&value.to_le_bytes(), 0),
        Cell::Real(value) => xxh64(&crate::column::real_bits(value).to_le_bytes(), 0),
        Cell::Guid(bits) => xxh64(&bits.to_le_bytes(), 0),
        other => xxh64(other.text().as_bytes(), 0),
    }
}

fn combine(a: i64, b: i64) -> i64 {
    let (a, b) = (a.cast_unsigned(), b.cast_unsigned());
    (a ^ b.wrapping_add(0x9e37_79b9).wrapping_add(a << 6).wrapping_add(a >> 2)).cast_signed()
}

/// Of the text of a value; datetimes are written with all seven digits.
fn digest<D: sha2::Digest>(cell: Cell) -> Vec<u8> {
    let text = match cell {
        Cell::DateTime(ticks) => {
            let written = crate::calendar::format_datetime(ticks, "yyyy-MM-ddTHH:mm:ss.fffffffZ");
            written.unwrap_or_default().into()
        }
        cell => cell.text(),
    };
    D::digest(text.as_bytes()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
