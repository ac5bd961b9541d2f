//! `gantry query`: a question in KQL, or a management command.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::output::Output;

#[derive(Args)]
pub(super) struct QueryArgs {
    /// The text, as `Telemetry | summarize count() by DeviceId`; read from standard input when it is `-`.
    text: String,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people.
    Table,
    /// Comma-separated values with a line of names.
    Csv,
    /// An object a line.
    Json,
}

pub(super) async fn run(client: &Client, output: Output, args: QueryArgs) -> anyhow::Result<()> {
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
    for table in results {
        print(table, format)?;
    }
    let status = tables.len().checked_sub(2).filter(|_| !command).and_then(|at| tables[at]["Rows"].get(0));
    match status {
        Some(row) if row[1].as_i64().is_some_and(|severity| severity <= 2) => {
            bail!("the result is not complete: {}", row[4].as_str().unwrap_or_default())
        }
        _ => Ok(()),
    }
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
    }
    Ok(())
}
