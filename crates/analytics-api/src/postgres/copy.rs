//! Rows as `copy ... to stdout` writes them.

use gantry_analytics::Chunk;
use gantry_kql::value::Value;
use gantry_sql::ResultColumn;
use gantry_sql::statement::{CopyFormat, CopyKind};

use super::value;

/// The beginning of the binary form.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What stands before the rows.
pub fn head(format: &CopyFormat, columns: &[ResultColumn]) -> Option<Vec<u8>> {
    match format.kind {
        CopyKind::Binary => Some(SIGNATURE.to_vec()),
        _ if format.header => {
            let names = columns.iter().map(|column| field(&column.name, format)).collect::<Vec<_>>();
            Some((names.join(&format.delimiter.to_string()) + "\n").into_bytes())
        }
        _ => None,
    }
}

/// What stands behind them.
pub fn tail(format: &CopyFormat) -> Option<Vec<u8>> {
    (format.kind == CopyKind::Binary).then(|| (-1_i16).to_be_bytes().to_vec())
}

/// One row.
pub fn row(format: &CopyFormat, columns: &[ResultColumn], chunk: &Chunk, at: usize, out: &mut Vec<u8>) {
    if format.kind == CopyKind::Binary {
        out.extend_from_slice(&(columns.len() as i16).to_be_bytes());
        for (column, values) in columns.iter().zip(&chunk.columns) {
            match values.value(at) {
                Value::Null => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                value => value::sized(out, |out| value::write(&value, column.ty, true, out)),
            }
        }
        return;
    }
    for (place, (column, values)) in columns.iter().zip(&chunk.columns).enumerate() {
        if place > 0 {
            out.extend_from_slice(format.delimiter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        match values.value(at) {
            Value::Null => out.extend_from_slice(format.null.as_bytes()),
            value => out.extend_from_slice(field(&gantry_sql::text::print(&value, column.ty), format).as_bytes()),
        }
    }
    out.push(b'\n');
}

fn field(text: &str, format: &CopyFormat) -> String {
    if format.kind == CopyKind::Csv {
        let quoted = text == format.null || text.contains(['"', '\n', '\r', format.delimiter]);
        return if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() };
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == format.delimiter => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
