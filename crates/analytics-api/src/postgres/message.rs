//! Messages of the protocol, version 3.0.

use gantry_sql::ResultColumn;

use super::value::sized;

/// A message while it is written: a letter, its length, its fields.
pub fn message(out: &mut Vec<u8>, tag: u8, f: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    sized(out, f);
    // The length counts itself.
    let len = (out.len() - at) as i32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// A text with its end.
pub fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.push(0);
}

/// An error, or with `severity` something less.
pub fn error(out: &mut Vec<u8>, severity: &str, state: &str, message_: &str, position: Option<usize>) {
    message(out, b'E', |out| {
        for (field, value) in [(b'S', severity), (b'V', severity), (b'C', state), (b'M', message_)] {
            out.push(field);
            text(out, value);
        }
        if let Some(position) = position {
            out.push(b'P');
            text(out, &position.to_string());
        }
        out.push(0);
    });
}

/// Names and types of the columns of rows.
pub fn row_description(out: &mut Vec<u8>, columns: &[ResultColumn], binary: &dyn Fn(usize) -> bool) {
    message(out, b'T', |out| {
        out.extend_from_slice(&(columns.len() as i16).to_be_bytes());
        for (at, column) in columns.iter().enumerate() {
            text(out, &column.name);
            let (table, number) = column.origin.map_or((0, 0), |origin| (origin.table, origin.column));
            out.extend_from_slice(&table.to_be_bytes());
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&column.ty.oid().to_be_bytes());
            let len = if column.ty.array { -1 } else { column.ty.base.row().len };
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&i16::from(binary(at)).to_be_bytes());
        }
    });
}

/// The fields of a message that arrived.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// A text.
    pub fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(text).ok()
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// 16 bits.
    pub fn short(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    /// 32 bits.
    pub fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    /// So many values of 16 bits, behind their number.
    pub fn shorts(&mut self) -> Option<Vec<i16>> {
        let count = self.short()?;
        (0..count).map(|_| self.short()).collect()
    }
}
