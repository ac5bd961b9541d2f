//! Rows out of a Parquet file that [`write`](crate::write) made, a few columns at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use gantry_analytics::column::{Column, Data, Strings};
use gantry_analytics::pushdown::Range;
use gantry_analytics::{CHUNK_ROWS, Chunk, Context, Error, Fault, Flow};
use gantry_kql::value::{DateTime, Decimal, TimeSpan, Type, Value};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, FileReader, Length, RowGroupReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

use crate::schema::Unit;

type Result<T> = std::result::Result<T, Error>;

/// A file that is read.
pub struct Reader<'a, F> {
    /// What errors call it.
    pub name: &'a str,
    /// The file.
    pub file: F,
    /// The columns that were written into it, ids and types.
    pub written: &'a [(u64, Type)],
    /// Told which bytes of the file are about to be read, so that what is far away is brought in one go.
    pub bring: &'a dyn Fn(&[std::ops::Range<u64>]) -> Result<()>,
    /// Whether columns may be read when somebody looks at them: what was brought does not stay for long.
    pub may_wait: bool,
}

impl<F: ChunkReader + 'static> Reader<'_, F> {
    /// Calls for the rows with these columns, see [`TableStore::read`](gantry_analytics::store::TableStore::read).
    pub fn read(
        self,
        columns: &[(u64, Type)],
        ranges: &[Range],
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let name = self.name;
        let wrong = |error: ParquetError| unreadable(name, &error);
        let Reader { file, written, bring, may_wait, .. } = self;
        let later = context.reads_later().filter(|_| may_wait);
        let reader = Arc::new(SerializedFileReader::new(file).map_err(wrong)?);
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let places: Vec<Option<usize>> = columns
            .iter()
            .map(|(id, ty)| {
                written.iter().any(|known| known == &(*id, *ty)).then_some(())?;
                schema.columns().iter().position(|column| {
                    let info = column.get_basic_info();
                    info.has_id() && u64::try_from(info.id()).ok() == Some(*id)
                })
            })
            .collect();
        for group in 0..reader.num_row_groups() {
            context.check()?;
            let metadata = reader.metadata().row_group(group);
            let misses = |range: &Range| {
                places[range.column].is_some_and(|at| misses(metadata, at, columns[range.column].1, range))
            };
            if ranges.iter().any(misses) {
                continue;
            }
            let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
            let wanted = places.iter().flatten().map(|at| {
                let (from, length) = metadata.column(*at).byte_range();
                from..from.saturating_add(length)
            });
            bring(&wanted.collect::<Vec<_>>())?;
            if let Some(fault) = later.as_ref().filter(|_| (1..=CHUNK_ROWS).contains(&rows)) {
                let column = |(place, (_, ty)): (&Option<usize>, &(u64, Type))| match place {
                    Some(at) => {
                        let one = OfGroup { name: name.to_owned(), reader: Arc::clone(&reader), group, at: *at };
                        let (ty, fault) = (*ty, fault.clone());
                        Column::later(ty, rows, move || one.read(ty, rows, &fault))
                    }
                    None => Column::absent(*ty, rows),
                };
                let chunk = places.iter().zip(columns).map(column).collect();
                if sink(Chunk::of(chunk, rows))? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
                continue;
            }
            let group = reader.get_row_group(group).map_err(wrong)?;
            let mut sources: Vec<Option<Source>> = Vec::new();
            for (place, (_, ty)) in places.iter().zip(columns) {
                sources.push(match place {
                    Some(at) => Some(Source::new(&*group, *at, *ty).map_err(wrong)?),
                    None => None,
                });
            }
            let mut left = rows;
            while left > 0 {
                let count = left.min(CHUNK_ROWS);
                let mut chunk = Vec::with_capacity(columns.len());
                for (source, (_, ty)) in sources.iter_mut().zip(columns) {
                    chunk.push(match source {
                        Some(source) => source.next(count).map_err(wrong)?,
                        None => Column::absent(*ty, count),
                    });
                }
                if sink(Chunk::of(chunk, count))? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
                left -= count;
            }
        }
        Ok(Flow::More)
    }
}

fn unreadable(name: &str, error: &ParquetError) -> Error {
    Error::Table { table: name.to_owned(), reason: error.to_string() }
}

/// A column of a group that is to be read.
struct OfGroup<F: ChunkReader> {
    name: String,
    reader: Arc<SerializedFileReader<F>>,
    group: usize,
    at: usize,
}

impl<F: ChunkReader + 'static> OfGroup<F> {
    fn read(self, ty: Type, rows: usize, fault: &Fault) -> Column {
        self.try_read(ty, rows).unwrap_or_else(|error| {
            fault.set(unreadable(&self.name, &error));
            Column::absent(ty, rows)
        })
    }

    fn try_read(&self, ty: Type, rows: usize) -> std::result::Result<Column, ParquetError> {
        let group = self.reader.get_row_group(self.group)?;
        let required = group.metadata().column(self.at).column_descr().max_def_level() == 0;
        if required && matches!(ty, Type::String | Type::Dynamic) {
            let mut pages = group.get_column_page_reader(self.at)?;
            match (crate::texts::read(&mut *pages, rows)?, ty) {
                (Some(texts), Type::String) => return Ok(Column::new(ty, Data::String(texts), None)),
                (Some(texts), _) => return Ok(Column::json(texts)),
                (None, _) => {}
            }
        }
        Source::new(&*group, self.at, ty)?.next(rows)
    }
}

/// A file that several may read at once: each read says where.
#[derive(Clone)]
pub struct Shared(Arc<File>);

impl Shared {
    /// Of a file that is open.
    pub fn new(file: File) -> Shared {
        Shared(Arc::new(file))
    }
}

/// Reads on from a place.
pub struct From {
    file: Arc<File>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for Shared {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for Shared {
    type T = io::BufReader<From>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(io::BufReader::new(From { file: Arc::clone(&self.0), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Whether the statistics of a column say that nothing of a group is within a range.
fn misses(group: &RowGroupMetaData, at: usize, ty: Type, range: &Range) -> bool {
    let column = group.column(at);
    let unit = Unit::of(column.column_descr().get_basic_info());
    let Some(statistics) = column.statistics() else { return false };
    let ends = match (statistics, ty) {
        (Statistics::Int64(values), Type::Long) => ends(values.min_opt(), values.max_opt(), |v| Some(Value::Long(*v))),
        (Statistics::Int64(values), Type::TimeSpan) => {
            ends(values.min_opt(), values.max_opt(), |v| Some(Value::TimeSpan(TimeSpan(*v))))
        }
        (Statistics::Int64(values), Type::DateTime) => ends(values.min_opt(), values.max_opt(), |v| {
            unit.to_ticks(*v).map(|ticks| Value::DateTime(DateTime(ticks)))
        }),
        (Statistics::Double(values), _) => ends(values.min_opt(), values.max_opt(), |v| Some(Value::Real(*v))),
        (Statistics::ByteArray(values), Type::String) => {
            ends(values.min_opt(), values.max_opt(), |v| v.as_utf8().ok().map(|text| Value::String(text.to_owned())))
        }
        _ => None,
    };
    ends.is_some_and(|(low, high)| range.misses(&low, &high))
}

fn ends<T>(low: Option<&T>, high: Option<&T>, value: impl Fn(&T) -> Option<Value>) -> Option<(Value, Value)> {
    Some((value(low?)?, value(high?)?))
}

/// A column of a group while it is read.
struct Source {
    ty: Type,
    unit: Unit,
    has_levels: bool,
    is_coded: bool,
    reader: ColumnReader,
}

impl Source {
    fn new(group: &dyn RowGroupReader, at: usize, ty: Type) -> std::result::Result<Source, ParquetError> {
        let metadata = group.metadata().column(at);
        Ok(Source {
            ty,
            unit: Unit::of(metadata.column_descr().get_basic_info()),
            has_levels: metadata.column_descr().max_def_level() > 0,
            is_coded: metadata.dictionary_page_offset().is_some(),
            reader: group.get_column_reader(at)?,
        })
    }

    fn next(&mut self, rows: usize) -> std::result::Result<Column, ParquetError> {
        let (ty, unit, has_levels, is_coded) = (self.ty, self.unit, self.has_levels, self.is_coded);
        let wrong = || ParquetError::General(format!("a column of {ty} is stored as another type"));
        match (&mut self.reader, ty) {
            (ColumnReader::BoolColumnReader(reader), Type::Bool) => {
                let (values, nulls) = take(reader, rows, has_levels)?;
                Ok(Column::new(ty, Data::Bool(spread(values, &nulls, false)), nulls))
            }
            (ColumnReader::Int32ColumnReader(reader), Type::Int) => {
                let (values, nulls) = take(reader, rows, has_levels)?;
                Ok(Column::new(ty, Data::Int(spread(values, &nulls, 0)), nulls))
            }
            (ColumnReader::Int64ColumnReader(reader), Type::Long | Type::TimeSpan | Type::DateTime) => {
                let (mut values, nulls) = take(reader, rows, has_levels)?;
                if ty == Type::DateTime {
                    let beyond = || ParquetError::General("an instant beyond the calendar".into());
                    for value in &mut values {
                        *value = unit.to_ticks(*value).ok_or_else(beyond)?;
                    }
                }
                Ok(Column::new(ty, Data::Long(spread(values, &nulls, 0)), nulls))
            }
            (ColumnReader::DoubleColumnReader(reader), Type::Real) => {
                let (values, nulls) = take(reader, rows, has_levels)?;
                Ok(Column::new(ty, Data::Real(spread(values, &nulls, 0.0)), nulls))
            }
            (ColumnReader::FixedLenByteArrayColumnReader(reader), Type::Guid) => {
                let (values, nulls) = take(reader, rows, has_levels)?;
                let bits = |bytes: parquet::data_type::FixedLenByteArray| {
                    <[u8; 16]>::try_from(bytes.data()).map(u128::from_be_bytes).map_err(|_| wrong())
                };
                let values = values.into_iter().map(bits).collect::<std::result::Result<Vec<u128>, _>>()?;
                Ok(Column::new(ty, Data::Guid(spread(values, &nulls, 0)), nulls))
            }
            (ColumnReader::ByteArrayColumnReader(reader), _) => {
                let (values, nulls) = take(reader, rows, has_levels)?;
                match ty {
                    Type::String => Ok(Column::new(ty, Data::String(texts(&values, is_coded)?), None)),
                    Type::Dynamic | Type::Unknown => {
                        let values = spread(values, &nulls, ByteArray::from("null"));
                        Ok(Column::json(texts(&values, is_coded)?))
                    }
                    Type::Decimal => {
                        let number = |bytes: ByteArray| Decimal::parse(bytes.as_utf8()?).ok_or_else(wrong);
                        let values =
                            values.into_iter().map(number).collect::<std::result::Result<Vec<Decimal>, _>>()?;
                        Ok(Column::new(ty, Data::Decimal(spread(values, &nulls, Decimal::from(0))), nulls))
                    }
                    _ => Err(wrong()),
                }
            }
            _ => Err(wrong()),
        }
    }
}

/// The next values of a column without its nulls, and which rows are null.
type Taken<T> = (Vec<T>, Option<Vec<bool>>);

fn take<D: DataType>(
    reader: &mut ColumnReaderImpl<D>,
    rows: usize,
    has_levels: bool,
) -> std::result::Result<Taken<D::T>, ParquetError> {
    let (mut values, mut levels) = (Vec::with_capacity(rows), Vec::new());
    let (read, _, _) = reader.read_records(rows, has_levels.then_some(&mut levels), None, &mut values)?;
    if read != rows {
        return Err(ParquetError::General(format!("{read} rows where {rows} were promised")));
    }
    let nulls = has_levels.then(|| levels.iter().map(|level: &i16| *level == 0).collect());
    Ok((values, nulls))
}

/// Puts values where their rows are.
fn spread<T: Clone>(values: Vec<T>, nulls: &Option<Vec<bool>>, absent: T) -> Vec<T> {
    match nulls {
        Some(nulls) if values.len() < nulls.len() => {
            let mut values = values.into_iter();
            let next =
                |null: &bool| if *null { absent.clone() } else { values.next().unwrap_or_else(|| absent.clone()) };
            nulls.iter().map(next).collect()
        }
        _ => values,
    }
}

/// Texts of values. Values of a dictionary share the bytes of its words, so words are told apart by where they are.
fn texts(values: &[ByteArray], is_coded: bool) -> std::result::Result<Strings, ParquetError> {
    if !is_coded {
        let mut plain = Strings::with_capacity(values.len());
        for value in values {
            plain.push(value.as_utf8()?);
        }
        return Ok(plain);
    }
    let mut words: Vec<Box<str>> = Vec::new();
    let mut known: HashMap<(usize, usize), u32> = HashMap::new();
    let mut codes = Vec::with_capacity(values.len());
    let mut last = ((usize::MAX, 0), 0);
    for value in values {
        let place = (value.data().as_ptr() as usize, value.len());
        if last.0 != place {
            let code = match known.get(&place) {
                Some(code) => *code,
                None => {
                    words.push(value.as_utf8()?.into());
                    known.insert(place, words.len() as u32 - 1);
                    words.len() as u32 - 1
                }
            };
            last = (place, code);
        }
        codes.push(last.1);
    }
    Ok(Strings::Dictionary { codes, words: Arc::new(words) })
}
