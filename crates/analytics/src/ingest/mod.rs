//! Data from outside into rows of a table: bytes, their format and a mapping in, chunks out. Pure: nothing here knows
//! where bytes come from or where rows go.
//!
//! A value that is not of its column's type becomes null (`""` of strings), as at the reference; a text that is not of
//! its format is refused whole, with its line. Everything has a bound: what compressed bytes may grow to, how long a
//! value may be (a longer string is cut, a longer dynamic is null), how deep JSON may be nested.

mod files;
mod inflate;
mod json;
mod mapping;
mod rows;
mod text;

use std::sync::Arc;

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::Type;

use crate::chunk::Chunk;
use crate::column::{Builder, Column};
use crate::warehouse::Rejected;

pub use inflate::{INFLATED_BYTES_MAX, inflated, inflated_within};
pub use mapping::{Mapped, Transform, read_mapping};

/// A format of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Values between a sign, quoted where need be.
    Separated(u8),
    /// Values between tabs, with backslashes before what is meant literally.
    Tsve,
    /// A row for each line.
    Txt,
    /// One row of everything.
    Raw,
    /// A JSON object on each line.
    Json,
    /// JSON objects one behind the other, or in an array.
    MultiJson,
    /// One JSON object.
    SingleJson,
    /// A log of a web server, with its fields named in a line.
    W3cLog,
    /// Parquet.
    Parquet,
    /// Avro.
    Avro,
}

impl Format {
    /// The format of a name, whatever its case.
    ///
    /// # Errors
    /// When there is none of the name, or it is one that is not read here.
    pub fn of(name: &str) -> Result<Format, Rejected> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "csv" => Format::Separated(b','),
            "tsv" => Format::Separated(b'\t'),
            "scsv" => Format::Separated(b';'),
            "psv" => Format::Separated(b'|'),
            "sohsv" => Format::Separated(1),
            "tsve" => Format::Tsve,
            "txt" => Format::Txt,
            "raw" => Format::Raw,
            "json" => Format::Json,
            "multijson" => Format::MultiJson,
            "singlejson" => Format::SingleJson,
            "w3clogfile" => Format::W3cLog,
            "parquet" => Format::Parquet,
            "avro" | "apacheavro" => Format::Avro,
            "orc" | "sstream" | "azmonstream" => {
                return Err(Rejected::NotImplemented(format!("ingestion of format `{name}`")));
            }
            _ => return Err(Rejected::Wrong(format!("`{name}` is no format of data"))),
        })
    }

    /// The format that the name of a file says it is of.
    pub fn of_file(name: &str) -> Option<Format> {
        let name = crate::outside::without_secrets(name);
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zip")).unwrap_or(name);
        let extension = name.rsplit('/').next()?.rsplit_once('.')?.1;
        Format::of(extension).ok()
    }

    /// The kinds of mappings that fit it.
    pub fn mapping_kind(self) -> &'static str {
        match self {
            Format::Separated(_) | Format::Tsve | Format::Txt | Format::Raw => "csv",
            Format::Json | Format::MultiJson | Format::SingleJson => "json",
            Format::W3cLog => "w3clogfile",
            Format::Parquet => "parquet",
            Format::Avro => "avro",
        }
    }
}

/// How data is read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its format.
    pub format: Format,
    /// Which part of a record goes where; by place or name without.
    pub mapping: Option<Vec<Mapped>>,
    /// The first record names the columns.
    pub ignore_first_record: bool,
    /// Where the data came from, for `SourceLocation`.
    pub location: String,
}

/// Why data was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Code of the reference.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    fn new(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<Fault> for Rejected {
    fn from(fault: Fault) -> Rejected {
        Rejected::Wrong(fault.to_string())
    }
}

/// Reads data into rows with these columns.
///
/// # Errors
/// When the data is not of its format, or beyond a bound.
pub fn read(bytes: &[u8], columns: &[SchemaColumn], settings: &Settings) -> Result<Vec<Chunk>, Fault> {
    let mut rows = rows::Rows::new(columns, settings)?;
    match settings.format {
        Format::Separated(sign) => text::separated(bytes, sign, settings, &mut rows)?,
        Format::Tsve => text::escaped(text::utf8(bytes)?, settings, &mut rows)?,
        Format::Txt => text::lines(text::utf8(bytes)?, settings, &mut rows)?,
        Format::Raw => text::raw(text::utf8(bytes)?, &mut rows)?,
        Format::W3cLog => text::w3c_log(text::utf8(bytes)?, &mut rows)?,
        Format::Json => json::lines(text::utf8(bytes)?, settings, &mut rows)?,
        Format::MultiJson => json::several(text::utf8(bytes)?, &mut rows)?,
        Format::SingleJson => json::single(text::utf8(bytes)?, &mut rows)?,
        Format::Parquet => files::parquet(bytes, &mut rows)?,
        Format::Avro => files::avro(bytes, &mut rows)?,
    }
    Ok(rows.finish())
}

/// Whether rows of some columns can be put into a table: by place, each of the type of the table or of one that widens
/// into it.
///
/// # Errors
/// When they cannot, with both schemas.
pub(crate) fn conform(table: &str, wanted: &[SchemaColumn], given: &[SchemaColumn]) -> Result<(), Rejected> {
    let widens = |from: Type, to: Type| {
        from == to
            || to == Type::Dynamic
            || matches!(
                (from, to),
                (Type::Int, Type::Long | Type::Real | Type::Decimal)
                    | (Type::Long, Type::Real | Type::Decimal)
                    | (Type::Unknown, _)
            )
    };
    let fits = wanted.len() == given.len() && wanted.iter().zip(given).all(|(to, from)| widens(from.ty, to.ty));
    if fits {
        return Ok(());
    }
    let spelled = |columns: &[SchemaColumn]| columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Err(Rejected::Wrong(format!(
        "the schema of the query does not match that of table `{table}`: query ({}), table ({})",
        spelled(given),
        spelled(wanted)
    )))
}

/// The rows of a query as the columns of a table take them.
pub(crate) fn widened(chunk: &Chunk, columns: &[SchemaColumn]) -> Chunk {
    let columns = chunk.columns.iter().zip(columns).map(|(column, wanted)| widened_column(column, wanted.ty));
    Chunk::new(columns.collect(), chunk.rows)
}

/// A column as one of another type: what does not fit is null.
pub(crate) fn widened_column(column: &Arc<Column>, ty: Type) -> Arc<Column> {
    if column.ty() == ty {
        return Arc::clone(column);
    }
    let mut builder = Builder::new(ty, column.len());
    (0..column.len()).for_each(|row| builder.push_cell(column.cell(row)));
    Arc::new(builder.finish())
}
