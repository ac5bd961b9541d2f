//! JSON: an object on each line, objects one behind the other, one object.

use gantry_kql::value::Dynamic;

use super::rows::Rows;
use super::{Fault, Settings};

fn wrong(line: u64, reason: impl std::fmt::Display) -> Fault {
    Fault::new("BadRequest_InvalidJson", format!("line {line} is no JSON object: {reason}"))
}

fn object(line: u64, value: Dynamic) -> Result<Dynamic, Fault> {
    match value {
        Dynamic::Bag(_) => Ok(value),
        other => Err(wrong(line, format_args!("it is a value of type {}", other.type_name()))),
    }
}

/// An object on each line.
pub(super) fn lines(text: &str, settings: &Settings, rows: &mut Rows) -> Result<(), Fault> {
    // Data that begins with an array, or whose first line is no object by itself, is of the looser form.
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if Dynamic::parse_json(first).is_none_or(|value| !matches!(value, Dynamic::Bag(_))) {
        return several(text, rows);
    }
    let mut skip = settings.ignore_first_record;
    for (at, line) in text.lines().enumerate() {
        let number = at as u64 + 1;
        if line.trim().is_empty() {
            continue;
        }
        if std::mem::take(&mut skip) {
            continue;
        }
        let value = Dynamic::parse_json(line).ok_or_else(|| wrong(number, "it cannot be read"))?;
        rows.push_record(number, &object(number, value)?)?;
    }
    Ok(())
}

/// Objects one behind the other, or in an array.
pub(super) fn several(text: &str, rows: &mut Rows) -> Result<(), Fault> {
    let mut reader = serde_json::Deserializer::from_str(text).into_iter::<Dynamic>();
    let mut counted = (0, 1_u64);
    loop {
        let start = reader.byte_offset();
        let begin = start + (text.len() - start - text.get(start..).unwrap_or("").trim_start().len());
        counted.1 +=
            text.as_bytes()[counted.0..begin.max(counted.0)].iter().filter(|byte| **byte == b'\n').count() as u64;
        counted.0 = begin.max(counted.0);
        let line = counted.1;
        match reader.next() {
            None => return Ok(()),
            Some(Ok(Dynamic::Array(items))) => {
                for item in items {
                    rows.push_record(line, &object(line, item)?)?;
                }
            }
            Some(Ok(value)) => rows.push_record(line, &object(line, value)?)?,
            Some(Err(error)) => return Err(wrong(error.line() as u64, error)),
        }
    }
}

/// One object, or one value of any kind.
pub(super) fn single(text: &str, rows: &mut Rows) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let value = Dynamic::parse_json(text).ok_or_else(|| wrong(1, "it cannot be read"))?;
    rows.push_record(1, &object(1, value)?)
}
