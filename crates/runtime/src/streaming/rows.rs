//! Rows of a job as rows of a table, which is made when it is missing.
//!
//! A column has the type of its first value: long, real, bool, datetime, string or dynamic. A value of another type
//! that does not fit goes into a column of the name and the type (`x_real`), so that nothing is lost; past the most
//! columns a table gets from a job, what is left goes into the column `Other`.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_analytics::{Ask, By, Cancel, Limits, Rejected, Warehouse};
use gantry_kql::value::Type;
use gantry_streaming::{Record, Value};
use serde_json::{Map, Value as Json};

/// Columns a table gets from a job.
const COLUMNS_MAX: usize = 500;
/// Where values go that have no column of their own.
const OTHER: &str = "Other";

/// A row as a line of JSON: every value but null with the type its column should have, `{"x":["long",1],"y":null}`.
pub(super) fn line(row: &Record) -> String {
    let mut fields = Map::new();
    for (name, value) in &row.fields {
        let typed = kind(value).map(|ty| Json::Array(vec![ty.into(), value.to_json()]));
        fields.insert(name.to_string(), typed.unwrap_or_default());
    }
    Json::Object(fields).to_string()
}

/// The rows of lines, without types.
pub(super) fn records(lines: &[u8]) -> anyhow::Result<Vec<Map<String, Json>>> {
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    rows.map(|line| {
        let typed: Map<String, Json> = serde_json::from_slice(line)?;
        let plain = |mut typed: Json| typed.get_mut(1).map(Json::take).unwrap_or_default();
        Ok(typed.into_iter().map(|(name, value)| (name, plain(value))).collect())
    })
    .collect()
}

/// The type of a value's column; nothing for null, which fits all.
fn kind(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::Null => return None,
        Value::Bigint(_) => "long",
        Value::Float(_) => "real",
        Value::Bit(_) => "bool",
        Value::Datetime(_) => "datetime",
        Value::Text(_) => "string",
        Value::Record(_) | Value::Array(_) => "dynamic",
    })
}

/// Whether a value of a type fits a column of another.
fn fits(column: &str, value: &str) -> bool {
    column == value || column == "dynamic" || (column == "real" && value == "long")
}

/// Writes rows into a table, once for each name of a request.
pub(super) fn write(
    warehouse: &Arc<Warehouse>,
    table: &str,
    lines: &[u8],
    request: String,
    now: i64,
) -> Result<(), String> {
    let snapshot = warehouse.store().snapshot();
    let known = snapshot.definitions.tables.get(table);
    let columns = known.iter().flat_map(|table| table.columns.iter());
    let columns = columns.map(|column| (column.name.clone(), spelled(column.ty).to_owned()));
    let (made, data) = placed(lines, columns.collect())?;
    let wrong = |rejected: Rejected| rejected.to_string();
    if known.is_none() || !made.is_empty() {
        let made: Vec<String> = made.iter().map(|(name, ty)| format!("{}:{ty}", quoted(name))).collect();
        let made = if made.is_empty() { format!("{}:dynamic", quoted(OTHER)) } else { made.join(", ") };
        let command = format!(".create-merge table {} ({made})", quoted(table));
        warehouse.command(&ask(&command, &request, now)).map_err(wrong)?;
    }
    let format = ("format".to_owned(), gantry_kql::value::Value::String("multijson".into()));
    warehouse.ingest(&ask("", &request, now), table, &data, &[format], "", Some(request.clone())).map_err(wrong)?;
    Ok(())
}

/// The job asks as itself, and may make tables and write into them.
fn ask<'a>(text: &'a str, request: &str, now: i64) -> Ask<'a> {
    Ask {
        database: None,
        text,
        parameters: &[],
        now,
        limits: &|_| Limits::default(),
        rows_wanted: None,
        cancel: Cancel::default(),
        by: By {
            principal: "job=streaming".into(),
            application: "gantry".into(),
            request_id: request.to_owned(),
            may_write: true,
            may_administer: false,
        },
    }
}

/// New columns with their types, and the rows as JSON lines with every value in the column it fits.
type Placed = (Vec<(String, String)>, Vec<u8>);

/// Gives every value a column.
fn placed(lines: &[u8], mut columns: BTreeMap<String, String>) -> Result<Placed, String> {
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows: Vec<Map<String, Json>> =
        rows.map(|line| serde_json::from_slice(line).map_err(|error| error.to_string())).collect::<Result<_, _>>()?;
    let mut made = Vec::new();
    // Whole numbers and others beside them in one batch are of one column.
    let is_real = |name: &str| rows.iter().any(|row| row.get(name).is_some_and(|value| value[0] == "real"));
    let mut data = Vec::new();
    for row in &rows {
        let mut fields = Map::new();
        let mut other = Map::new();
        for (name, typed) in row.iter().filter(|(_, typed)| !typed.is_null()) {
            let ty = typed[0].as_str().unwrap_or("dynamic");
            let value = typed[1].clone();
            let place =
                [name.clone(), format!("{name}_{ty}")].into_iter().find_map(|column| match columns.get(&column) {
                    Some(had) => fits(had, ty).then_some(column),
                    None if columns.len() >= COLUMNS_MAX || column == OTHER => None,
                    None => {
                        let ty = if ty == "long" && is_real(name) { "real" } else { ty };
                        columns.insert(column.clone(), ty.to_owned());
                        made.push((column.clone(), ty.to_owned()));
                        Some(column)
                    }
                });
            match place {
                Some(column) => fields.insert(column, value),
                None => other.insert(name.clone(), value),
            };
        }
        if !other.is_empty() {
            if !columns.contains_key(OTHER) {
                columns.insert(OTHER.to_owned(), "dynamic".to_owned());
                made.push((OTHER.to_owned(), "dynamic".to_owned()));
            }
            fields.insert(OTHER.to_owned(), Json::Object(other));
        }
        data.extend(Json::Object(fields).to_string().into_bytes());
        data.push(b'\n');
    }
    Ok((made, data))
}

fn spelled(ty: Type) -> &'static str {
    match ty {
        Type::Long => "long",
        Type::Real => "real",
        Type::Bool => "bool",
        Type::DateTime => "datetime",
        Type::String => "string",
        Type::Dynamic => "dynamic",
        // Nothing fits a column of another type.
        _ => "other",
    }
}

/// A name as commands take it, whatever it is.
fn quoted(name: &str) -> String {
    format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n").replace('\r', "\\r"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &[&[(&str, Value)]]) -> Vec<u8> {
        let record = |row: &&[(&str, Value)]| Record {
            fields: row.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
        };
        rows.iter().map(|row| line(&record(row)) + "\n").collect::<String>().into_bytes()
    }

    #[track_caller]
    fn check(rows: &[&[(&str, Value)]], had: &[(&str, &str)], made: &[(&str, &str)], data: &str) {
        let had = had.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned())).collect();
        let (found, bytes) = placed(&lines(rows), had).unwrap();
        let found: Vec<_> = found.iter().map(|(name, ty)| (name.as_str(), ty.as_str())).collect();
        assert_eq!((found.as_slice(), std::str::from_utf8(&bytes).unwrap()), (made, data));
    }

    #[test]
    fn a_value_is_in_a_column_of_its_type() {
        let row: &[(&str, Value)] = &[("n", Value::Bigint(1)), ("s", "a".into()), ("none", Value::Null)];
        check(&[row], &[], &[("n", "long"), ("s", "string")], "{\"n\":1,\"s\":\"a\"}\n");
        check(&[row], &[("n", "real"), ("s", "dynamic")], &[], "{\"n\":1,\"s\":\"a\"}\n");
        let real: &[(&str, Value)] = &[("n", Value::Float(1.5))];
        check(&[row, real], &[("s", "string")], &[("n", "real")], "{\"n\":1,\"s\":\"a\"}\n{\"n\":1.5}\n");
        check(&[real], &[("n", "long")], &[("n_real", "real")], "{\"n_real\":1.5}\n");
        check(&[real], &[("n", "long"), ("n_real", "string")], &[("Other", "dynamic")], "{\"Other\":{\"n\":1.5}}\n");
    }

    #[test]
    fn a_table_gets_so_many_columns_and_the_rest_in_one() {
        let had: Vec<String> = (0..COLUMNS_MAX).map(|number| format!("c{number}")).collect();
        let had: Vec<_> = had.iter().map(|name| (name.as_str(), "long")).collect();
        let row: &[(&str, Value)] = &[("c1", Value::Bigint(1)), ("more", "a".into())];
        check(&[row], &had, &[("Other", "dynamic")], "{\"c1\":1,\"Other\":{\"more\":\"a\"}}\n");
    }

    #[test]
    fn rows_come_into_a_table_once() {
        let warehouse = Arc::new(Warehouse::new("telemetry", []));
        let first = lines(&[&[("it's", Value::Bigint(1)), ("b", Value::Bit(true))]]);
        for _ in 0..2 {
            write(&warehouse, "My table", &first, "stream-a-1".into(), 1).unwrap();
        }
        let second = lines(&[&[("it's", Value::Float(2.5)), ("t", Value::Datetime(638_396_640_000_000_000))]]);
        write(&warehouse, "My table", &second, "stream-a-2".into(), 2).unwrap();
        let snapshot = warehouse.store().snapshot();
        let table = &snapshot.definitions.tables["My table"];
        let rows: u64 = snapshot.extents_of(table.id).iter().map(|extent| extent.rows).sum();
        let columns: Vec<_> = table.columns.iter().map(|column| (column.name.as_str(), spelled(column.ty))).collect();
        assert_eq!(rows, 2);
        assert_eq!(columns, [("it's", "long"), ("b", "bool"), ("it's_real", "real"), ("t", "datetime")]);
    }
}
