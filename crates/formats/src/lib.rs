//! Files of records in binary formats: Parquet, read and written, and Avro, read.
//!
//! A record is a bag of dynamic values ([`Dynamic`]): datetimes, timespans, guids and decimals are that, bytes are
//! Base64. Files come from outside and may lie about what is in them: whatever they hold, the answer is records or an
//! error. What a library does to a broken file ends here, as an error, and nowhere else.

mod avro;
mod parquet_read;
mod parquet_write;

use gantry_kql::value::Dynamic;

pub use avro::read_avro;
pub use parquet_read::read_parquet;
pub use parquet_write::write_parquet;

/// Why a file could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

/// What takes records; its fault ends the reading.
pub type Sink<'a, E> = &'a mut dyn FnMut(Dynamic) -> Result<(), E>;

/// Why reading ended: the file, or whoever took the records.
#[derive(Debug)]
pub enum ReadError<E> {
    /// The file is broken.
    File(FormatError),
    /// The sink had enough.
    Sink(E),
}

impl<E> From<FormatError> for ReadError<E> {
    fn from(error: FormatError) -> Self {
        ReadError::File(error)
    }
}

/// Bytes of all records of one file: what a small file may grow to.
const RECORDS_BYTES_MAX: usize = 1 << 30;
/// How deep records may be nested.
const DEPTH_MAX: usize = 64;

/// Works on bytes that may lie. A library that panics over them has found them broken.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, FormatError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .map_err(|_| FormatError("the file is broken: its parts do not fit together".into()))
}

/// About how many bytes a record holds, and whether it is too deep.
fn weigh(value: &Dynamic, depth: usize) -> Result<usize, FormatError> {
    if depth > DEPTH_MAX {
        return Err(FormatError(format!("records are nested deeper than {DEPTH_MAX}")));
    }
    Ok(size_of::<Dynamic>()
        + match value {
            Dynamic::String(text) => text.len(),
            Dynamic::Array(items) => items.iter().try_fold(0, |sum, item| Ok(sum + weigh(item, depth + 1)?))?,
            Dynamic::Bag(bag) => {
                bag.iter().try_fold(0, |sum, (name, item)| Ok(sum + name.len() + weigh(item, depth + 1)?))?
            }
            _ => 0,
        })
}

/// Counts what was read, up to a bound.
#[derive(Default)]
struct Budget(usize);

impl Budget {
    fn take(&mut self, record: &Dynamic) -> Result<(), FormatError> {
        self.0 += weigh(record, 0)?;
        if self.0 > RECORDS_BYTES_MAX {
            return Err(FormatError(format!("the file holds more than {RECORDS_BYTES_MAX} bytes of records")));
        }
        Ok(())
    }
}
