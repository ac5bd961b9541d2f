//! Reference data of a job: rows of a query over the tables.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use gantry_analytics::{Ask, By, Cancel, Chunk, Limits, Warehouse};
use gantry_kql::value::Value as Cell;
use gantry_streaming::Value;

use super::config::ReferenceConfig;

/// Rows that a job may be joined with.
const ROWS_MAX: usize = 100_000;

/// Asks for the rows. Blocks while it is answered.
///
/// # Errors
/// When the query cannot be run, has no result or too large a one.
pub(super) fn read(warehouse: &Warehouse, config: &ReferenceConfig, now: i64) -> anyhow::Result<Vec<Value>> {
    let ask = Ask {
        database: None,
        text: &config.query,
        parameters: &[],
        now,
        limits: &|_| Limits::default(),
        rows_wanted: Some(ROWS_MAX as u64 + 1),
        cancel: Cancel::default(),
        by: By { principal: "job=streaming".into(), application: "gantry".into(), ..By::default() },
    };
    let tables = warehouse.query(&ask).map_err(|rejected| anyhow::anyhow!("{rejected}"))?;
    let table = tables.first().context("the query has no result")?;
    if let Some(failure) = &table.failure {
        bail!("{failure}");
    }
    if table.rows() > ROWS_MAX {
        bail!("the query has more than {ROWS_MAX} rows");
    }
    let names: Vec<Arc<str>> = table.schema.columns.iter().map(|column| (*column.name).into()).collect();
    Ok(table.chunks.iter().flat_map(|chunk| (0..chunk.rows).map(|row| record(&names, chunk, row))).collect())
}

fn record(names: &[Arc<str>], chunk: &Chunk, row: usize) -> Value {
    let cells = names.iter().zip(&chunk.columns);
    Value::record(cells.map(|(name, column)| (name.clone(), value(&column.value(row)))).collect())
}

/// A cell as a value of the streaming language; what it has no type for is a text.
fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => Value::Bit(*value),
        Cell::Int(number) => Value::Bigint((*number).into()),
        Cell::Long(number) => Value::Bigint(*number),
        Cell::Real(number) => Value::Float(*number),
        Cell::String(text) => Value::from(text.as_str()),
        // Both count ticks of 100 ns from the year 1.
        Cell::DateTime(at) => Value::Datetime(at.0),
        Cell::Dynamic(value) => {
            let json = serde_json::from_str(&value.to_string()).unwrap_or_default();
            Value::from_json(&json).unwrap_or(Value::Null)
        }
        Cell::Decimal(_) | Cell::TimeSpan(_) | Cell::Guid(_) => Value::from(cell.to_string().as_str()),
    }
}
