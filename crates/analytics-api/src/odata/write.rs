//! Rows as JSON of the protocol.

use std::fmt::Write as _;

use gantry_analytics::Chunk;
use gantry_analytics::column::Cell;
use gantry_kql::value::{DateTime, Type, print_real};

use super::lex::print_duration;
use super::model::{Property, edm};

/// How much is told beside the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing.
    None,
    /// What a client cannot work out.
    Minimal,
    /// Everything.
    Full,
}

/// How values are written.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// What is told beside them.
    pub detail: Detail,
    /// Whole numbers of 64 bits and decimals as texts.
    pub numbers_as_text: bool,
}

/// Quotes a text.
pub fn string(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("null"),
    }
}

/// Writes the members of a row's object, with commas between them.
pub fn members(out: &mut String, properties: &[&Property], chunk: &Chunk, row: usize, form: Form) {
    for (at, (property, column)) in properties.iter().zip(&chunk.columns).enumerate() {
        if at > 0 {
            out.push(',');
        }
        if form.detail == Detail::Full && !is_plain(property.ty) {
            string(out, &format!("{}@odata.type", property.name));
            let _ = write!(out, r##":"#{}","##, edm(property.ty).trim_start_matches("Edm."));
        }
        string(out, &property.name);
        out.push(':');
        value(out, property.ty, column.cell(row), form);
    }
}

/// Types that JSON tells by itself.
fn is_plain(ty: Type) -> bool {
    matches!(ty, Type::Bool | Type::Real | Type::String | Type::Dynamic | Type::Unknown)
}

/// Writes a value of a type.
pub fn value(out: &mut String, ty: Type, cell: Cell, form: Form) {
    let quoted = form.numbers_as_text && matches!(ty, Type::Long | Type::Decimal);
    match (ty, cell) {
        (_, Cell::Null) => out.push_str("null"),
        (Type::Dynamic | Type::Unknown, cell) => string(out, &cell.text()),
        (_, Cell::Bool(value)) => out.push_str(if value { "true" } else { "false" }),
        (_, Cell::Real(value)) if value.is_finite() => out.push_str(&print_real(value)),
        (_, Cell::Real(value)) if value.is_nan() => out.push_str(r#""NaN""#),
        (_, Cell::Real(value)) => out.push_str(if value > 0.0 { r#""INF""# } else { r#""-INF""# }),
        (_, Cell::Int(_) | Cell::Long(_) | Cell::Decimal(_)) if !quoted => out.push_str(&cell.text()),
        (_, cell) => string(out, &plain(cell)),
    }
}

/// A value as a text alone.
pub fn plain(cell: Cell) -> String {
    match cell {
        Cell::TimeSpan(ticks) => print_duration(ticks),
        Cell::DateTime(ticks) => DateTime(ticks).to_string(),
        Cell::Real(value) if value.is_infinite() => if value > 0.0 { "INF" } else { "-INF" }.into(),
        other => other.text().into_owned(),
    }
}

/// A literal of a key in an address.
pub fn key_literal(ty: Type, cell: Cell) -> String {
    match ty {
        Type::String | Type::Dynamic | Type::Unknown => format!("'{}'", cell.text().replace('\'', "''")),
        Type::TimeSpan => format!("duration'{}'", plain(cell)),
        _ => plain(cell),
    }
}

#[cfg(test)]
mod tests {
    use gantry_kql::value::{Dynamic, TICKS_PER_HOUR};

    use super::*;

    #[test]
    fn values_are_written_as_the_protocol_has_them() {
        let check = |ty, cell: Cell, expected: &str, numbers_as_text| {
            let mut out = String::new();
            value(&mut out, ty, cell, Form { detail: Detail::Minimal, numbers_as_text });
            assert_eq!(out, expected);
        };
        check(Type::Long, Cell::Long(i64::MAX), "9223372036854775807", false);
        check(Type::Long, Cell::Long(i64::MAX), r#""9223372036854775807""#, true);
        check(Type::Int, Cell::Int(7), "7", true);
        check(Type::Real, Cell::Real(f64::NEG_INFINITY), r#""-INF""#, false);
        check(Type::Real, Cell::Real(f64::NAN), r#""NaN""#, false);
        check(Type::Real, Cell::Real(1.0), "1.0", false);
        check(Type::String, Cell::String("a\"\u{1}"), r#""a\"\u0001""#, false);
        check(Type::TimeSpan, Cell::TimeSpan(TICKS_PER_HOUR), r#""PT1H""#, false);
        check(Type::DateTime, Cell::DateTime(0), r#""0001-01-01T00:00:00Z""#, false);
        check(Type::Dynamic, Cell::Long(5), r#""5""#, false);
        let array = Dynamic::Array(vec![Dynamic::Long(1)]);
        check(Type::Dynamic, Cell::Dynamic(&array), r#""[1]""#, false);
        check(Type::Dynamic, Cell::Null, "null", false);
    }
}
