//! Files outside as tables: external tables, `externaldata`, and what is written for others.

use gantry_kql::bound::Column;
use gantry_kql::value::{Type, Value};

use crate::chunk::Chunk;
use crate::commands::settings_of;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ingest::{Format, Settings, inflated, read};
use crate::operators::Flow;
use crate::outside::without_secrets;
use crate::store::ExternalTableDefinition;
use crate::warehouse::Rejected;
use crate::world::World;

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Files of one table.
const FILES_MAX: usize = 10_000;

/// Calls for the rows of an external table: those of every file at its addresses.
pub(crate) fn scan(
    world: &World,
    name: &str,
    table: &ExternalTableDefinition,
    context: &Context,
    sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
) -> Result<Flow> {
    let fault = |reason: String| Error::Table { table: name.to_owned(), reason };
    let format = Format::of(table.format.as_deref().unwrap_or("csv")).map_err(|wrong| fault(wrong.to_string()))?;
    let headers = table.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case("includeHeaders"));
    let headers = headers.and_then(|(_, value)| value.as_str()).unwrap_or("None").to_ascii_lowercase();
    let columns = table.schema();
    let outside = world.warehouse.outside();
    let mut first = true;
    for source in &table.sources {
        let files = outside.list(source).map_err(fault)?;
        if files.len() > FILES_MAX {
            return Err(fault(format!("more than {FILES_MAX} files are at `{}`", without_secrets(source))));
        }
        for file in files {
            let has_header = headers == "all" || headers == "firstfile" && first;
            first = false;
            let settings =
                Settings { format, mapping: None, ignore_first_record: has_header, location: file.uri.clone() };
            if scan_file(world, &file.uri, &columns, &settings, context, sink)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
    }
    Ok(Flow::More)
}

fn scan_file(
    world: &World,
    uri: &str,
    columns: &[Column],
    settings: &Settings,
    context: &Context,
    sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
) -> Result<Flow> {
    context.check()?;
    let shown = without_secrets(uri);
    let fault = |reason: String| Error::Evaluation(format!("reading `{shown}`: {reason}"));
    let bytes = world.warehouse.outside().read(uri, FILE_BYTES_MAX).map_err(fault)?;
    context.hold("external data", bytes.len())?;
    let plain = inflated(&bytes).map_err(|wrong| fault(wrong.to_string()))?;
    let chunks = read(&plain, columns, settings).map_err(|wrong| fault(wrong.to_string()))?;
    drop(plain);
    let size = bytes.len();
    drop(bytes);
    context.release(size);
    for chunk in chunks {
        if sink(chunk)? == Flow::Enough {
            return Ok(Flow::Enough);
        }
    }
    Ok(Flow::More)
}

/// Calls for the rows of `externaldata`.
pub(crate) fn scan_data(
    world: &World,
    uris: &[String],
    properties: &[(String, Value)],
    columns: &[Column],
    context: &Context,
    sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
) -> Result<Flow> {
    for uri in uris {
        world.warehouse.outside().check(uri).map_err(|reason| Error::Evaluation(format!("externaldata: {reason}")))?;
        let otherwise = Format::of_file(uri);
        let settings = settings_of(&world.snapshot, "", properties, without_secrets(uri), otherwise)
            .map_err(crate::write::evaluation)?;
        if scan_file(world, uri, columns, &settings, context, sink)? == Flow::Enough {
            return Ok(Flow::Enough);
        }
    }
    Ok(Flow::More)
}

/// What a file that is written is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Separated(u8),
    Json,
    Parquet,
}

impl Written {
    pub(crate) fn of(name: &str) -> std::result::Result<Written, Rejected> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "csv" => Written::Separated(b','),
            "tsv" => Written::Separated(b'\t'),
            "json" => Written::Json,
            "parquet" => Written::Parquet,
            other => return Err(Rejected::NotImplemented(format!("export to format `{other}`"))),
        })
    }

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Written::Separated(b'\t') => "tsv",
            Written::Separated(_) => "csv",
            Written::Json => "json",
            Written::Parquet => "parquet",
        }
    }
}

/// Rows as a file.
pub(crate) fn file_of(
    format: Written,
    columns: &[Column],
    chunk: &Chunk,
    with_header: bool,
) -> std::result::Result<Vec<u8>, Rejected> {
    let failed = |error: String| Rejected::Run(Error::Evaluation(format!("writing a file: {error}")));
    match format {
        Written::Separated(sign) => {
            let mut writer =
                csv::WriterBuilder::new().delimiter(sign).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
            if with_header {
                writer
                    .write_record(columns.iter().map(|column| &*column.name))
                    .map_err(|error| failed(error.to_string()))?;
            }
            for row in 0..chunk.rows {
                let cells = chunk.columns.iter().map(|column| column.cell(row).text().into_owned());
                writer.write_record(cells).map_err(|error| failed(error.to_string()))?;
            }
            writer.into_inner().map_err(|error| failed(error.to_string()))
        }
        Written::Json => {
            let mut out = Vec::new();
            for row in 0..chunk.rows {
                out.push(b'{');
                for (at, (column, values)) in columns.iter().zip(&chunk.columns).enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    let name = serde_json::to_string(&*column.name).map_err(|error| failed(error.to_string()))?;
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    out.extend_from_slice(values.cell(row).to_dynamic().to_json().as_bytes());
                }
                out.extend_from_slice(b"}\n");
            }
            Ok(out)
        }
        Written::Parquet => {
            let named: Vec<(String, Type)> =
                columns.iter().map(|column| (column.name.to_string(), column.ty)).collect();
            gantry_formats::write_parquet(&named, chunk.rows, |row, column| chunk.columns[column].value(row))
                .map_err(|error| failed(error.to_string()))
        }
    }
}
