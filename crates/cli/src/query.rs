//! `gantry query`: a question in KQL, or a management command.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use reqwest::Method;
use serde_json::{Value, json};

use gantry_kql::bound::Column;
use gantry_kql::value::{DateTime, Decimal, Dynamic, Guid, TimeSpan, Type, Value as Typed, parse_real};

use crate::Arrow;
use crate::client::Client;
use crate::output::Output;
use crate::stream::StreamArgs;

#[derive(Args)]
pub(super) struct QueryArgs {
    /// The text, as `Telemetry | summarize count() by DeviceId`; read from standard input when it is `-`.
    text: String,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    stream: StreamArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people.
    Table,
    /// Comma-separated values with a line of names.
    Csv,
    /// An object a line.
    Json,
    /// A stream of Arrow IPC, one result after the other.
    Arrow,
}

pub(super) async fn run(client: &Client, output: Output, arrow: Arrow, args: QueryArgs) -> anyhow::Result<()> {
    let text = match args.text.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()).context("reading the query")?,
        text => text.to_owned(),
    };
    let answer = client.hub(Method::POST, "/v1/rest/query", Some(&json!({ "csl": text }))).await?;
    let tables = answer["Tables"].as_array().context("the answer has no tables")?;
    // Behind the results of a query stand their properties, their status and a table of contents.
    let command = text.trim_start().starts_with('.');
    let results = if command { &tables[..] } else { &tables[..tables.len().saturating_sub(3)] };
    let format = if output == Output::Json { Format::Json } else { args.format };
    let mut reference = Vec::new();
    for query in args.stream.references() {
        let answer = client.hub(Method::POST, "/v1/rest/query", Some(&json!({ "csl": query }))).await;
        reference.push(answer.with_context(|| format!("reference data `{query}`"))?["Tables"][0].take());
    }
    let first = results.first().map(|table| args.stream.run(table, &reference)).transpose()?.flatten();
    let streamed = first.as_deref();
    for table in streamed.unwrap_or(results) {
        match format {
            Format::Arrow if streamed.is_some() => bail!("rows of --stream have no types for Arrow"),
            Format::Arrow => columns(table, arrow)?,
            format => print(table, format)?,
        }
    }
    let status = tables.len().checked_sub(2).filter(|_| !command).and_then(|at| tables[at]["Rows"].get(0));
    match status {
        Some(row) if row[1].as_i64().is_some_and(|severity| severity <= 2) => {
            bail!("the result is not complete: {}", row[4].as_str().unwrap_or_default())
        }
        _ => Ok(()),
    }
}

/// Writes a table as a stream of Arrow.
fn columns(table: &Value, arrow: Arrow) -> anyhow::Result<()> {
    let text = |column: &Value, name: &str| column[name].as_str().unwrap_or_default().to_owned();
    let column = |column: &Value| {
        let ty = Type::from_name(&text(column, "ColumnType")).unwrap_or(Type::Dynamic);
        Column::new(text(column, "ColumnName"), ty)
    };
    let columns: Vec<_> = table["Columns"].as_array().into_iter().flatten().map(column).collect();
    let row = |row: &Value| {
        let cells = row.as_array().into_iter().flatten();
        cells.zip(&columns).map(|(cell, column)| typed(cell, column.ty)).collect()
    };
    let rows = table["Rows"].as_array().into_iter().flatten().filter(|row| row.is_array()).map(row).collect();
    Ok((arrow.write)(&columns, rows, &mut std::io::stdout().lock())?)
}

/// A value as the service writes it, read as its type.
fn typed(cell: &Value, ty: Type) -> Typed {
    let read = match (ty, cell) {
        (_, Value::Null) => None,
        (Type::Bool, Value::Bool(value)) => Some(Typed::Bool(*value)),
        (Type::Int, Value::Number(value)) => value.as_i64().and_then(|value| value.try_into().ok()).map(Typed::Int),
        (Type::Long, Value::Number(value)) => value.as_i64().map(Typed::Long),
        (Type::Real, Value::Number(value)) => value.as_f64().map(Typed::Real),
        (Type::Real, Value::String(text)) => parse_real(text).map(Typed::Real),
        (Type::Decimal, Value::String(text)) => Decimal::parse(text).map(Typed::Decimal),
        (Type::DateTime, Value::String(text)) => DateTime::parse(text).map(Typed::DateTime),
        (Type::TimeSpan, Value::String(text)) => TimeSpan::parse(text).map(Typed::TimeSpan),
        (Type::Guid, Value::String(text)) => Guid::parse(text).map(Typed::Guid),
        (Type::String, Value::String(text)) => Some(Typed::String(text.clone())),
        (_, other) => Dynamic::parse_json(&other.to_string()).map(Typed::Dynamic),
    };
    read.unwrap_or_else(|| Typed::absent(ty))
}

fn print(table: &Value, format: Format) -> anyhow::Result<()> {
    let names: Vec<&str> =
        table["Columns"].as_array().into_iter().flatten().filter_map(|column| column["ColumnName"].as_str()).collect();
    let rows = || table["Rows"].as_array().into_iter().flatten().filter_map(Value::as_array);
    let plain = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match format {
        Format::Table => {
            let mut printed = Table::new();
            printed.load_preset(NOTHING).set_header(&names);
            for row in rows() {
                printed.add_row(row.iter().map(plain));
            }
            println!("{printed}");
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
            writer.write_record(&names)?;
            for row in rows() {
                writer.write_record(row.iter().map(plain))?;
            }
            writer.flush()?;
        }
        Format::Json => {
            let mut out = std::io::stdout().lock();
            for row in rows() {
                let object: serde_json::Map<String, Value> =
                    names.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect();
                writeln!(out, "{}", Value::Object(object))?;
            }
        }
        Format::Arrow => {}
    }
    Ok(())
}
