//! What a client asks, in which language and with which values.

use std::collections::HashMap;
use std::sync::OnceLock;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{DurationNanosecondType, Float64Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use gantry_analytics::{Error, Kql, Question, Rejected, Warehouse};
use gantry_kql::ast::{ParameterType, StatementKind};
use gantry_kql::bound::{Bound, Column};
use gantry_kql::value::{DateTime, Decimal, Guid, TimeSpan, Value};
use gantry_kql::{Catalog, parse, print_literal};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::columns::{Output, Shape, Unit, outputs};

/// Bytes of a text.
pub const TEXT_BYTES_MAX: usize = 2 << 20;

/// The languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// SQL: what nobody says otherwise of.
    Sql,
    /// KQL: by the header `x-query-language`, or a management command by its point.
    Kql,
}

/// A text and how it is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its language.
    pub language: Language,
    /// How times are counted.
    pub unit: Unit,
    /// The text.
    pub text: String,
}

/// A statement with a value for each of its parameters.
pub struct Bind<'a> {
    statement: &'a Statement,
    values: Option<&'a [Value]>,
    /// The parameters, and the columns of the result where its language says more of them than the engine knows: both
    /// once it was bound.
    found: OnceLock<(Vec<Output>, Option<Vec<Output>>)>,
}

/// What is known of a statement that was not run.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its parameters.
    pub parameters: Vec<Output>,
    /// Its result.
    pub shape: Shape,
}

impl<'a> Bind<'a> {
    /// A statement with these values; none to learn what the result looks like, for which any are good.
    pub fn new(statement: &'a Statement, values: Option<&'a [Value]>) -> Bind<'a> {
        Bind { statement, values, found: OnceLock::new() }
    }

    /// What is known of it.
    ///
    /// # Errors
    /// When it means nothing here.
    pub fn describe(self, warehouse: &Warehouse, now: i64) -> Result<Described, Rejected> {
        let unit = self.statement.unit;
        let schema = warehouse.describe(&self, now)?;
        let (parameters, result) = self.found.into_inner().unwrap_or_default();
        Ok(Described { parameters, shape: Shape::new(result.unwrap_or_else(|| outputs(&schema.columns)), unit) })
    }
}

impl Statement {
    /// A text as a client sent it, with what its headers say.
    ///
    /// # Errors
    /// When a header has a word that is unknown, or the text is too long.
    pub fn new(text: String, headers: &MetadataMap) -> Result<Statement, Status> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase);
        let language = match header("x-query-language").as_deref() {
            Some("kql") => Language::Kql,
            None | Some("sql") if is_command(&text) => Language::Kql,
            None | Some("sql") => Language::Sql,
            Some(other) => {
                return Err(Status::invalid_argument(format!("x-query-language is `sql` or `kql`, not `{other}`")));
            }
        };
        let unit = match header("x-timestamp-unit").as_deref() {
            None | Some("ns") => Unit::Nanoseconds,
            Some("us") => Unit::Microseconds,
            Some(other) => {
                return Err(Status::invalid_argument(format!("x-timestamp-unit is `ns` or `us`, not `{other}`")));
            }
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(Status::invalid_argument(format!("a text may have {TEXT_BYTES_MAX} bytes")));
        }
        Ok(Statement { language, unit, text })
    }

    /// As a ticket: a letter for the language, one for the unit, the text.
    pub fn ticket(&self) -> Vec<u8> {
        let language = if self.language == Language::Kql { b'k' } else { b's' };
        let unit = if self.unit == Unit::Microseconds { b'u' } else { b'n' };
        [&[language, unit], self.text.as_bytes()].concat()
    }

    /// Reads a ticket.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn of_ticket(ticket: &[u8]) -> Result<Statement, Status> {
        let wrong = || Status::invalid_argument("the ticket is none of this service");
        let (head, text) = ticket.split_at_checked(2).ok_or_else(wrong)?;
        let (language, unit) = match head {
            b"kn" => (Language::Kql, Unit::Nanoseconds),
            b"ku" => (Language::Kql, Unit::Microseconds),
            b"sn" => (Language::Sql, Unit::Nanoseconds),
            b"su" => (Language::Sql, Unit::Microseconds),
            _ => return Err(wrong()),
        };
        let text = std::str::from_utf8(text).map_err(|_| wrong())?.to_owned();
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong());
        }
        Ok(Statement { language, unit, text })
    }

    /// Whether it is a management command.
    pub fn is_command(&self) -> bool {
        self.language == Language::Kql && is_command(&self.text)
    }

    /// The parameters that a text of KQL declares. What is wrong with it is said where it is bound.
    fn declared(&self) -> Vec<Column> {
        let statements = parse(&self.text).map(|script| script.statements).unwrap_or_default();
        let declared = statements.into_iter().filter_map(|statement| match statement.kind {
            StatementKind::QueryParameters(parameters) => Some(parameters),
            _ => None,
        });
        let column = |parameter: gantry_kql::ast::Parameter| match parameter.ty {
            ParameterType::Scalar(ty) => Some(Column::new(parameter.name.text, ty)),
            ParameterType::Table(_) => None,
        };
        declared.flatten().filter_map(column).collect()
    }
}

fn is_command(text: &str) -> bool {
    text.trim_start().starts_with('.')
}

impl Question for Bind<'_> {
    fn bind(&self, catalog: &dyn Catalog) -> Result<Bound, Rejected> {
        let (bound, parameters, result) = match self.statement.language {
            Language::Kql => {
                let declared = self.statement.declared();
                let values = self.values.map_or_else(
                    || declared.iter().map(|column| Value::absent(column.ty)).collect(),
                    <[Value]>::to_vec,
                );
                if values.len() > declared.len() {
                    return Err(too_many(values.len(), declared.len()));
                }
                let value =
                    |(column, value): (&Column, &Value)| (column.name.to_string(), print_literal(value, column.ty));
                let parameters: HashMap<_, _> = declared.iter().zip(&values).map(value).collect();
                let bound = Kql { text: &self.statement.text, parameters: &parameters }.bind(catalog)?;
                (bound, outputs(&declared), None)
            }
            Language::Sql => {
                let (bound, parameters, result) = sql::bind(&self.statement.text, self.values, catalog)?;
                (bound, parameters, Some(result))
            }
        };
        let _ = self.found.set((parameters, result));
        Ok(bound)
    }
}

fn too_many(given: usize, declared: usize) -> Rejected {
    Rejected::Run(Error::Evaluation(format!("{given} values for {declared} parameters")))
}

/// The other language.
mod sql {
    use gantry_sql::{Base, Environment, Parameter, SqlType};

    use super::{Bound, Catalog, Error, Output, Rejected, Value, too_many};
    use crate::columns::Form;

    /// Binds a text: the tree, the parameters, the columns of the result. The type of a value is that of its parameter,
    /// but for texts, which are read as what their place needs.
    pub fn bind(
        text: &str,
        values: Option<&[Value]>,
        catalog: &dyn Catalog,
    ) -> Result<(Bound, Vec<Output>, Vec<Output>), Rejected> {
        let values = values.unwrap_or_default();
        let of = |value: &Value| Parameter { ty: type_of(value), value: Some(value.clone()) };
        let given: Vec<Parameter> = values.iter().map(of).collect();
        let refused = |error: gantry_sql::Error| {
            let place = error.at.map(|(line, column)| format!(" [line:position={line}:{column}]"));
            Rejected::Run(Error::Sql { state: error.state, message: error.message + &place.unwrap_or_default() })
        };
        let found = gantry_sql::bind(text, catalog, &given, &Environment::NONE).map_err(refused)?;
        let declared = gantry_sql::bind(text, catalog, &[], &Environment::NONE).map_err(refused)?.parameters;
        if values.len() > declared.len() {
            return Err(too_many(values.len(), declared.len()));
        }
        let parameter = |(n, ty): (usize, &SqlType)| output(format!("${}", n + 1), *ty);
        let parameters = found.parameters.iter().enumerate().map(parameter).collect();
        Ok((found.bound, parameters, found.columns.into_iter().map(|column| output(column.name, column.ty)).collect()))
    }

    fn output(name: String, ty: SqlType) -> Output {
        let form = match ty {
            SqlType::DATE => Form::Day,
            SqlType::TIME => Form::Clock,
            SqlType::TIMESTAMP => Form::Local,
            _ => Form::Plain,
        };
        Output { name, ty: ty.engine(), nullable: true, form }
    }

    fn type_of(value: &Value) -> Option<SqlType> {
        Some(match value {
            Value::Null | Value::String(_) => return None,
            Value::Bool(_) => SqlType::BOOL,
            Value::Int(_) => SqlType::INT4,
            Value::Long(_) => SqlType::INT8,
            Value::Real(_) => SqlType::FLOAT8,
            Value::Decimal(_) => SqlType::NUMERIC,
            Value::DateTime(_) => SqlType::of(Base::TimestampTz),
            Value::TimeSpan(_) => SqlType::INTERVAL,
            Value::Guid(_) => SqlType::UUID,
            Value::Dynamic(_) => SqlType::JSONB,
        })
    }
}

/// Rows of values for parameters, bounded by whoever calls.
///
/// # Errors
/// When a value is of no type here.
pub fn values(batch: &RecordBatch) -> Result<Vec<Vec<Value>>, Status> {
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect())
}

fn column(array: &ArrayRef) -> Result<Vec<Value>, Status> {
    let wrong = |what: &dyn std::fmt::Display| Status::invalid_argument(format!("a parameter of {what}"));
    let to = |ty: &DataType| cast(array, ty).map_err(|error| wrong(&error));
    let nullable = |row: usize, value: Value| if array.is_null(row) { Value::Null } else { value };
    let rows = 0..array.len();
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => {
            let values = array.as_boolean();
            rows.map(|row| nullable(row, Value::Bool(values.value(row)))).collect()
        }
        ty if ty.is_integer() => {
            let (cast, all) = (to(&DataType::Int64)?, array.null_count());
            if cast.null_count() != all {
                return Err(wrong(&"a whole number beyond 64 bits"));
            }
            let values = cast.as_primitive::<Int64Type>();
            rows.map(|row| nullable(row, Value::Long(values.value(row)))).collect()
        }
        ty if ty.is_floating() => {
            let cast = to(&DataType::Float64)?;
            let values = cast.as_primitive::<Float64Type>();
            rows.map(|row| nullable(row, Value::Real(values.value(row)))).collect()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let cast = to(&DataType::Utf8)?;
            let values = cast.as_string::<i32>();
            rows.map(|row| nullable(row, Value::String(values.value(row).to_owned()))).collect()
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let cast = to(&DataType::Timestamp(TimeUnit::Nanosecond, None))?;
            if cast.null_count() != array.null_count() {
                return Err(wrong(&"a time beyond what nanoseconds reach"));
            }
            let values = cast.as_primitive::<TimestampNanosecondType>();
            let instant = |row: usize| match DateTime::from_unix_ticks(values.value(row).div_euclid(100)) {
                Some(instant) => nullable(row, Value::DateTime(instant)),
                None => Value::Null,
            };
            rows.map(instant).collect()
        }
        DataType::Duration(_) => {
            let cast = to(&DataType::Duration(TimeUnit::Nanosecond))?;
            let values = cast.as_primitive::<DurationNanosecondType>();
            rows.map(|row| nullable(row, Value::TimeSpan(TimeSpan(values.value(row).div_euclid(100))))).collect()
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let cast = to(&DataType::Utf8)?;
            let values = cast.as_string::<i32>();
            let decimal = |row: usize| match Decimal::parse(values.value(row)) {
                _ if array.is_null(row) => Ok(Value::Null),
                Some(value) => Ok(Value::Decimal(value)),
                None => Err(wrong(&"a decimal of more than 38 digits")),
            };
            rows.map(decimal).collect::<Result<_, _>>()?
        }
        DataType::FixedSizeBinary(16) => {
            let values = array.as_fixed_size_binary();
            let guid = |row: usize| <[u8; 16]>::try_from(values.value(row)).map_or(0, u128::from_be_bytes);
            rows.map(|row| nullable(row, Value::Guid(Guid(guid(row))))).collect()
        }
        other => return Err(wrong(&format!("type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, StringArray, TimestampMicrosecondArray, UInt64Array};

    use super::*;

    #[test]
    fn a_ticket_reads_back_and_no_other_does() {
        for (language, unit) in [(Language::Kql, Unit::Nanoseconds), (Language::Sql, Unit::Microseconds)] {
            let statement = Statement { language, unit, text: "Twins | count".into() };
            assert_eq!(Statement::of_ticket(&statement.ticket()).unwrap(), statement);
        }
        for wrong in [&b""[..], b"k", b"xx", b"kn\xff"] {
            assert!(Statement::of_ticket(wrong).is_err());
        }
    }

    #[test]
    fn headers_and_a_point_say_the_language() {
        let language = |text: &str, header: Option<&str>| {
            let mut headers = MetadataMap::new();
            header.map(|value| headers.insert("x-query-language", value.parse().unwrap()));
            Statement::new(text.into(), &headers).map(|statement| statement.language).ok()
        };
        assert_eq!(language("select 1", None), Some(Language::Sql));
        assert_eq!(language(" .show tables", None), Some(Language::Kql));
        assert_eq!(language("Twins", Some("KQL")), Some(Language::Kql));
        assert_eq!(language("Twins", Some("prql")), None);
    }

    #[test]
    fn parameters_are_values_of_the_language() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec!["a'", ""])),
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1])),
        ];
        let read: Vec<_> = columns.iter().map(|array| column(array).unwrap()).collect();
        assert_eq!(read[0], [Value::Long(1), Value::Null]);
        assert_eq!(read[1], [Value::String("a'".into()), Value::String(String::new())]);
        assert_eq!(read[2][1], Value::DateTime(DateTime::from_unix_ticks(10).unwrap()));
        let beyond: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert!(column(&beyond).is_err());
    }

    #[test]
    fn a_statement_tells_the_parameters_it_declares() {
        let text = "declare query_parameters(d:string, n:long = 5); Twins | where DeviceId == d".into();
        let statement = Statement { language: Language::Kql, unit: Unit::default(), text };
        let declared: Vec<_> = statement.declared().iter().map(ToString::to_string).collect();
        assert_eq!(declared, ["d:string", "n:long"]);
    }
}
