//! Reading devices from a file, row by row: a file of any allowed length needs little more room than its ids.

use std::collections::HashMap;
use std::fmt;

use ::csv::{ByteRecord, ReaderBuilder, Terminator};
use gantry_identity::{DeviceId, Key, KeyError, KeyPair, is_thumbprint, normal_thumbprint};

use super::cell::unguarded;
use super::{COLUMNS, DEVICE_ID, DEVICE_NAME, Thumbprints};
use super::{SAS_KEY_PRIMARY, SAS_KEY_SECONDARY, THUMBPRINT_PRIMARY, THUMBPRINT_SECONDARY};
use crate::ids::{DisplayName, IdError};
use crate::templates::CAPABILITIES_MAX;

/// Bytes of a file; ours.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Devices of a file: as many as an application has (IoT Central quotas and limits).
pub const ROWS_MAX: u64 = 200_000;
/// Columns of a file.
pub const COLUMNS_MAX: usize = COLUMNS.len() + CAPABILITIES_MAX;
/// Bytes of a cell: more than a twin's property has.
pub const CELL_BYTES_MAX: usize = 8_192;
/// Errors listed; a caller who sees so many knows enough.
pub const ERRORS_MAX: usize = 100;
/// Characters of the name of an imported device (IoT Central, "Manage devices in bulk").
pub const NAME_CHARS_MAX: usize = 148;
/// Separators of a line, those within cells among them: a line of nothing else would need many times its length.
const SEPARATORS_MAX: usize = 100_000;
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A device that is imported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The line it begins in, the header's being 1.
    pub row: u64,
    /// Its id.
    pub device_id: DeviceId,
    /// What it is called; its id when the file has no name.
    pub display_name: DisplayName,
    /// Its keys, if the file has them.
    pub keys: Option<KeyPair>,
    /// The thumbprints of its certificates, if the file has them.
    pub thumbprints: Option<Thumbprints>,
    /// Properties by the name of their column, as they are written; those without a value are not there.
    pub properties: Vec<(String, String)>,
}

/// Something wrong in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CsvError {
    /// The line, the header's being 1.
    pub row: u64,
    /// The column; none for the row as a whole.
    pub column: Option<String>,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "row {}, column `{column}`: {}", self.row, self.problem),
            None => write!(f, "row {}: {}", self.row, self.problem),
        }
    }
}

impl std::error::Error for CsvError {}

/// What is wrong. Keys are never part of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// The file is too long.
    #[error("the file is longer than {FILE_BYTES_MAX} bytes")]
    FileTooLong,
    /// The file is in UTF-16.
    #[error("the file is in UTF-16; UTF-8 is wanted")]
    Utf16,
    /// Something is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// There is nothing.
    #[error("the file has no header")]
    NoHeader,
    /// A column that must be there is not.
    #[error("the column is missing")]
    MissingColumn,
    /// A column that is not known.
    #[error("the column is not known")]
    UnknownColumn,
    /// A column that is there twice.
    #[error("the column is there twice")]
    DuplicateColumn,
    /// Too many columns.
    #[error("there are more than {COLUMNS_MAX} columns")]
    TooManyColumns,
    /// A row with more or fewer cells than the header.
    #[error("the row has {0} cells and the header {1}")]
    Width(usize, usize),
    /// A cell that is too long.
    #[error("the cell is longer than {CELL_BYTES_MAX} bytes")]
    CellTooLong,
    /// An id that is none.
    #[error("the id of a device is 1 to 128 letters, digits and `-`")]
    DeviceId,
    /// An id that an earlier row has.
    #[error("row {0} has the same device")]
    DuplicateDevice(u64),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A key that is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A thumbprint that is none.
    #[error("a thumbprint is 40 or 64 hexadecimal digits")]
    Thumbprint,
    /// A key or thumbprint without its other half.
    #[error("`{0}` is empty")]
    Incomplete(&'static str),
    /// Keys and thumbprints.
    #[error("a device has keys or thumbprints, not both")]
    TwoProofs,
    /// Too many rows.
    #[error("there are more than {ROWS_MAX} devices")]
    TooManyRows,
}

/// All that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// The first [`ERRORS_MAX`] errors, in their order.
    pub errors: Vec<CsvError>,
    /// How many more there are.
    pub more: u64,
}

impl Refused {
    fn add(&mut self, error: CsvError) {
        if self.errors.len() < ERRORS_MAX { self.errors.push(error) } else { self.more += 1 }
    }
}

/// Looks at a whole file: how many devices it has, or all that is wrong with it.
///
/// # Errors
/// [`Refused`].
pub fn check(file: &[u8], is_property: impl Fn(&str) -> bool) -> Result<u64, Refused> {
    let mut refused = Refused::default();
    let mut devices = 0;
    match Import::new(file, is_property) {
        Err(errors) => errors.into_iter().for_each(|error| refused.add(error)),
        Ok(import) => {
            for row in import {
                match row {
                    Ok(_) => devices += 1,
                    Err(errors) => errors.into_iter().for_each(|error| refused.add(error)),
                }
            }
        }
    }
    if refused.errors.is_empty() { Ok(devices) } else { Err(refused) }
}

/// The devices of a file, one after the other; of a row that is wrong, all that is. A row after a wrong one is read.
pub struct Import<'a> {
    file: &'a [u8],
    reader: ::csv::Reader<&'a [u8]>,
    record: ByteRecord,
    /// A place in the file, and the line it is in.
    counted: (usize, u64),
    columns: Vec<String>,
    seen: HashMap<DeviceId, u64>,
    rows: u64,
}

impl<'a> Import<'a> {
    /// Reads the header. `is_property` says which columns beside [`COLUMNS`] are known.
    ///
    /// # Errors
    /// What is wrong with the header, or with the file as a whole.
    pub fn new(file: &'a [u8], is_property: impl Fn(&str) -> bool) -> Result<Self, Vec<CsvError>> {
        let whole = |problem| vec![CsvError { row: 1, column: None, problem }];
        if file.len() > FILE_BYTES_MAX {
            return Err(whole(Problem::FileTooLong));
        }
        if file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]) {
            return Err(whole(Problem::Utf16));
        }
        let file = file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(file);
        let separates = separator(file);
        let is_wide = |line: &[u8]| line.iter().filter(|byte| **byte == separates).count() > SEPARATORS_MAX;
        if file.split(|byte| matches!(byte, b'\r' | b'\n')).any(is_wide) {
            return Err(whole(Problem::TooManyColumns));
        }
        let mut builder = ReaderBuilder::new();
        builder.delimiter(separator(file)).has_headers(false).flexible(true).terminator(Terminator::CRLF);
        let mut import = Self {
            file,
            counted: (0, 1),
            reader: builder.from_reader(file),
            record: ByteRecord::new(),
            columns: vec![],
            seen: HashMap::new(),
            rows: 0,
        };
        let row = import.advance().ok_or_else(|| whole(Problem::NoHeader))?;
        import.columns = header(&import.record, row, is_property)?;
        Ok(import)
    }

    /// The next record that is not empty, and the line it begins in.
    fn advance(&mut self) -> Option<u64> {
        loop {
            // Reading from memory and without a fixed width, nothing fails.
            if !self.reader.read_byte_record(&mut self.record).ok()? {
                return None;
            }
            if self.record.iter().any(|cell| !cell.trim_ascii().is_empty()) {
                return Some(self.line());
            }
        }
    }

    /// The line the record begins in. The reader's own count is of `\n`, and of before the empty lines it skipped.
    fn line(&mut self) -> u64 {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let from = self.record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(usize::MAX));
        let skipped = self.file.get(from..).unwrap_or_default().iter().take_while(|byte| is_break(byte)).count();
        let (counted, line) = self.counted;
        let passed = self.file.get(counted..from.saturating_add(skipped)).unwrap_or_default();
        let breaks = passed.iter().filter(|byte| is_break(byte)).count();
        let pairs = passed.windows(2).filter(|pair| *pair == b"\r\n").count();
        self.counted = (counted + passed.len(), line + (breaks - pairs) as u64);
        self.counted.1
    }

    fn row(&mut self, row: u64) -> Result<Row, Vec<CsvError>> {
        let whole = |problem| vec![CsvError { row, column: None, problem }];
        if self.record.len() != self.columns.len() {
            return Err(whole(Problem::Width(self.record.len(), self.columns.len())));
        }
        let mut cells = Cells { row, values: HashMap::new(), errors: vec![] };
        for (column, cell) in self.columns.iter().zip(&self.record) {
            cells.read(column, cell);
        }
        let device_id = cells.device_id(&mut self.seen);
        let display_name = cells.display_name(device_id.as_ref());
        let keys = cells.keys();
        let thumbprints = cells.thumbprints();
        if keys.is_some() && thumbprints.is_some() {
            cells.wrong(None, Problem::TwoProofs);
        }
        let is_property = |column: &&String| !COLUMNS.contains(&column.as_str());
        let value = |column: &String| Some((column.clone(), cells.values.get(column.as_str())?.clone()));
        let properties = self.columns.iter().filter(is_property).filter_map(value).collect();
        match (device_id, display_name) {
            (Some(device_id), Some(display_name)) if cells.errors.is_empty() => {
                Ok(Row { row, device_id, display_name, keys, thumbprints, properties })
            }
            _ => Err(cells.errors),
        }
    }
}

impl Iterator for Import<'_> {
    type Item = Result<Row, Vec<CsvError>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows > ROWS_MAX {
            return None;
        }
        let row = self.advance()?;
        self.rows += 1;
        if self.rows > ROWS_MAX {
            return Some(Err(vec![CsvError { row, column: None, problem: Problem::TooManyRows }]));
        }
        Some(self.row(row))
    }
}

/// The cells of a row that have something in them, and what is wrong with them.
struct Cells<'a> {
    row: u64,
    values: HashMap<&'a str, String>,
    errors: Vec<CsvError>,
}

impl<'a> Cells<'a> {
    fn wrong(&mut self, column: Option<&str>, problem: Problem) {
        self.errors.push(CsvError { row: self.row, column: column.map(str::to_owned), problem });
    }

    fn read(&mut self, column: &'a str, cell: &[u8]) {
        match std::str::from_utf8(cell) {
            _ if cell.len() > CELL_BYTES_MAX => self.wrong(Some(column), Problem::CellTooLong),
            Err(_) => self.wrong(Some(column), Problem::NotUtf8),
            Ok(text) => {
                let text = plain(text);
                if !text.is_empty() {
                    self.values.insert(column, text.to_owned());
                }
            }
        }
    }

    fn is_wrong(&self, column: &str) -> bool {
        self.errors.iter().any(|error| error.column.as_deref() == Some(column))
    }

    fn device_id(&mut self, seen: &mut HashMap<DeviceId, u64>) -> Option<DeviceId> {
        let text = self.values.get(DEVICE_ID).map(String::as_str).unwrap_or_default();
        let is_one = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let Some(id) = DeviceId::parse(text).ok().filter(|_| is_one) else {
            if !self.is_wrong(DEVICE_ID) {
                self.wrong(Some(DEVICE_ID), Problem::DeviceId);
            }
            return None;
        };
        if let Some(first) = seen.get(&id) {
            self.wrong(Some(DEVICE_ID), Problem::DuplicateDevice(*first));
        } else {
            seen.insert(id.clone(), self.row);
        }
        Some(id)
    }

    fn display_name(&mut self, id: Option<&DeviceId>) -> Option<DisplayName> {
        let Some(text) = self.values.get(DEVICE_NAME) else {
            return DisplayName::parse(id?.as_str()).ok();
        };
        let parsed = if text.chars().count() > NAME_CHARS_MAX {
            Err(IdError::TooLong { what: "name of a device", max: NAME_CHARS_MAX })
        } else {
            DisplayName::parse(text)
        };
        parsed.map_err(|error| self.wrong(Some(DEVICE_NAME), Problem::Name(error))).ok()
    }

    fn keys(&mut self) -> Option<KeyPair> {
        let mut key = |column: &'static str| {
            let parsed = Key::from_base64(self.values.get(column)?);
            Some(parsed.map_err(|error| self.wrong(Some(column), Problem::Key(error))))
        };
        match (key(SAS_KEY_PRIMARY), key(SAS_KEY_SECONDARY)) {
            (Some(primary), Some(secondary)) => Some(KeyPair { primary: primary.ok()?, secondary: secondary.ok()? }),
            (Some(_), None) => self.incomplete(SAS_KEY_SECONDARY),
            (None, Some(_)) => self.incomplete(SAS_KEY_PRIMARY),
            (None, None) => None,
        }
    }

    fn thumbprints(&mut self) -> Option<Thumbprints> {
        let mut thumbprint = |column: &'static str| {
            let text = self.values.get(column)?;
            if is_thumbprint(text) {
                return Some(Some(normal_thumbprint(text)));
            }
            self.wrong(Some(column), Problem::Thumbprint);
            Some(None)
        };
        match (thumbprint(THUMBPRINT_PRIMARY), thumbprint(THUMBPRINT_SECONDARY)) {
            (Some(primary), secondary) => Some(Thumbprints { primary: primary?, secondary: secondary.flatten() }),
            (None, Some(_)) => self.incomplete(THUMBPRINT_PRIMARY),
            (None, None) => None,
        }
    }

    fn incomplete<T>(&mut self, column: &'static str) -> Option<T> {
        self.wrong(Some(column), Problem::Incomplete(column));
        None
    }
}

/// What a cell holds. A guard may guard nothing but spaces, so it is taken off first.
fn plain(cell: &str) -> &str {
    unguarded(cell.trim_start()).trim()
}

/// What separates cells: whatever the header has most of outside quotes.
fn separator(file: &[u8]) -> u8 {
    let mut is_quoted = false;
    let mut counts = [0_usize; SEPARATORS.len()];
    for byte in file {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\r' | b'\n' if !is_quoted && counts.iter().any(|count| *count > 0) => break,
            byte if !is_quoted => {
                let at = SEPARATORS.iter().position(|separator| separator == byte);
                if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
                    *count += 1;
                }
            }
            _ => {}
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    SEPARATORS.into_iter().zip(counts).find(|(_, count)| *count == most).map_or(b',', |(separator, _)| separator)
}

/// The columns, those that every file may have in their own spelling.
fn header(record: &ByteRecord, row: u64, is_property: impl Fn(&str) -> bool) -> Result<Vec<String>, Vec<CsvError>> {
    let mut columns: Vec<String> = vec![];
    let mut errors = vec![];
    if record.len() > COLUMNS_MAX {
        return Err(vec![CsvError { row, column: None, problem: Problem::TooManyColumns }]);
    }
    let mut wrong = |column: &str, problem| errors.push(CsvError { row, column: Some(column.to_owned()), problem });
    for cell in record {
        let Ok(text) = std::str::from_utf8(cell).map(plain) else {
            wrong(&String::from_utf8_lossy(cell.get(..cell.len().min(100)).unwrap_or_default()), Problem::NotUtf8);
            continue;
        };
        let own = COLUMNS.into_iter().find(|column| column.eq_ignore_ascii_case(text));
        match own.or_else(|| is_property(text).then_some(text)) {
            None => wrong(&text.chars().take(100).collect::<String>(), Problem::UnknownColumn),
            Some(name) if columns.iter().any(|column| column == name) => wrong(name, Problem::DuplicateColumn),
            Some(name) => columns.push(name.to_owned()),
        }
    }
    if !columns.iter().any(|column| column == DEVICE_ID) {
        wrong(DEVICE_ID, Problem::MissingColumn);
    }
    if errors.is_empty() { Ok(columns) } else { Err(errors) }
}
