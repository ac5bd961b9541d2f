//! Formats of text: values between signs, lines, logs.

use super::rows::Rows;
use super::{Fault, Settings};

/// Bytes of one record.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// The text of bytes, without the mark of their order.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Fault::new("BadRequest_InvalidEncoding", format!("line {line} is not UTF-8"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn too_long(line: u64) -> Fault {
    Fault::new("BadRequest_RecordTooLong", format!("the record at line {line} is longer than {RECORD_BYTES_MAX} bytes"))
}

/// Values between signs (RFC 4180).
pub(super) fn separated(bytes: &[u8], sign: u8, settings: &Settings, rows: &mut Rows) -> Result<(), Fault> {
    let text = utf8(bytes)?;
    check_quotes(text, sign)?;
    let mut reader =
        csv::ReaderBuilder::new().delimiter(sign).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let mut first = settings.ignore_first_record;
    loop {
        let wrong = |error: csv::Error| {
            let line = error.position().map_or(0, csv::Position::line);
            Fault::new("Stream_MalformedRecord", format!("line {line} cannot be read: {error}"))
        };
        if !reader.read_record(&mut record).map_err(wrong)? {
            return Ok(());
        }
        let line = record.position().map_or(0, csv::Position::line);
        if record.as_slice().len() > RECORD_BYTES_MAX {
            return Err(too_long(line));
        }
        if std::mem::take(&mut first) {
            continue;
        }
        rows.push_texts(line, |at| record.get(at))?;
    }
}

/// Refuses a quote that nothing closes, which would swallow the rows behind it.
fn check_quotes(text: &str, sign: u8) -> Result<(), Fault> {
    let (mut line, mut opened, mut at_start, mut quoted) = (1_u64, 1_u64, true, false);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&b'"') => drop(bytes.next()),
            b'"' if quoted => quoted = false,
            b'"' if at_start => (quoted, opened) = (true, line),
            _ => {}
        }
        line += u64::from(byte == b'\n');
        at_start = !quoted && (byte == sign || byte == b'\n' || byte == b'\r');
    }
    if quoted {
        let message = format!("the quote that is opened at line {opened} is never closed");
        return Err(Fault::new("Stream_ClosingQuoteMissing", message));
    }
    Ok(())
}

/// Lines of a text, each with its number from 1; an empty one at the end is none.
fn numbered(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines.enumerate().map(|(at, line)| (at as u64 + 1, line)).filter(move |_| !text.is_empty())
}

/// Values between tabs, with backslashes.
pub(super) fn escaped(text: &str, settings: &Settings, rows: &mut Rows) -> Result<(), Fault> {
    for (number, line) in numbered(text).skip(usize::from(settings.ignore_first_record)) {
        if line.len() > RECORD_BYTES_MAX {
            return Err(too_long(number));
        }
        let values: Vec<String> = fields(line);
        rows.push_texts(number, |at| values.get(at).map(String::as_str))?;
    }
    Ok(())
}

fn fields(line: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let value = values.last_mut().expect("there is one at least");
        match c {
            '\t' => values.push(String::new()),
            '\\' => match characters.next() {
                Some('t') => value.push('\t'),
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some(other) => value.push(other),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    values
}

/// A row for each line.
pub(super) fn lines(text: &str, settings: &Settings, rows: &mut Rows) -> Result<(), Fault> {
    for (number, line) in numbered(text).skip(usize::from(settings.ignore_first_record)) {
        rows.push_texts(number, |at| (at == 0).then_some(line))?;
    }
    Ok(())
}

/// One row of everything.
pub(super) fn raw(text: &str, rows: &mut Rows) -> Result<(), Fault> {
    if text.is_empty() {
        return Ok(());
    }
    rows.push_texts(1, |at| (at == 0).then_some(text))
}

/// A log of a web server: `#Fields: date time cs-uri ...`, then a line for each request; `-` is nothing.
pub(super) fn w3c_log(text: &str, rows: &mut Rows) -> Result<(), Fault> {
    let plain = |name: &str| name.replace(['-', '('], "_").replace(')', "");
    let columns = rows.columns();
    let mut places: Option<Vec<Option<usize>>> = None;
    for (number, line) in numbered(text) {
        if let Some(names) = line.strip_prefix("#Fields:") {
            let names: Vec<&str> = names.split_ascii_whitespace().collect();
            let place = |(at, column): (usize, &gantry_kql::bound::Column)| {
                let by_name = |wanted: &str| names.iter().position(|name| *name == wanted);
                match rows.field_of(at) {
                    Some(field) => field.and_then(by_name),
                    None => by_name(&column.name).or_else(|| names.iter().position(|name| plain(name) == *column.name)),
                }
            };
            places = Some(columns.iter().enumerate().map(place).collect());
            continue;
        }
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let Some(places) = &places else {
            let message = format!("line {number} comes before a line `#Fields:` that names its values");
            return Err(Fault::new("BadRequest_InvalidLog", message));
        };
        let values: Vec<&str> = line.split(' ').filter(|value| !value.is_empty()).collect();
        let value = |at: usize| places.get(at).copied().flatten().and_then(|at| values.get(at).copied());
        rows.push_texts(number, |at| value(at).map(|value| if value == "-" { "" } else { value }))?;
    }
    Ok(())
}
