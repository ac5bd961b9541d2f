//! Result tables as JSON: the frames of version 2, the tables of version 1.
//!
//! Facts of the clients that the order and the forms below serve: in a `DataTable` frame the columns come before the
//! rows; decimals are texts, whole numbers and reals are numbers but for NaN and the infinities, dynamic values are
//! nested JSON, null is null and a string never is. Clients look for a failure in three places, so it is said in
//! three: behind the last row, in `QueryCompletionInformation`, and in the frame that completes the set.

use std::fmt::Write as _;

use gantry_analytics::column::Cell;
use gantry_analytics::{Error, Table, Usage};
use gantry_kql::value::{Dynamic, Type, print_real};
use serde_json::json;

/// What identifies a request in its answer.
#[derive(Debug, Clone)]
pub struct Ids {
    /// As the client named it.
    pub request: String,
    /// As we do.
    pub activity: String,
    /// The instant, as datetimes are written.
    pub now: String,
}

/// What a query took.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// How long.
    pub time: std::time::Duration,
    /// Memory and rows.
    pub usage: Usage,
}

impl Spent {
    /// What is known of it, in the reference's shape.
    fn to_json(self, tables: &[Table]) -> serde_json::Value {
        let results = tables.iter().map(|table| {
            let bytes: usize = table.chunks.iter().map(gantry_analytics::Chunk::size).sum();
            json!({"table_row_count": table.rows(), "table_size": bytes})
        });
        json!({
            "ExecutionTime": self.time.as_secs_f64(),
            "resource_usage": {"memory": {"peak_per_node": self.usage.memory_peak}},
            "input_dataset_statistics": {"rows": {"scanned": self.usage.rows_read}},
            "dataset_statistics": results.collect::<Vec<_>>(),
        })
    }
}

/// The answer of version 2: an array of frames.
pub fn version_2(tables: &[Table], ids: &Ids, spent: Spent) -> String {
    let mut out = String::with_capacity(1_024);
    out.push_str(r#"[{"FrameType":"DataSetHeader","IsProgressive":false,"Version":"v2.0"},"#);
    let properties = visualizations(tables, 1);
    frame(
        &mut out,
        0,
        "QueryProperties",
        "@ExtendedProperties",
        &[("TableId", Type::Int), ("Key", Type::String), ("Value", Type::Dynamic)],
    );
    let rows: Vec<String> =
        properties.iter().map(|(id, text)| json!([id, "Visualization", text]).to_string()).collect();
    out.push_str(&rows.join(","));
    out.push_str("]}");
    for (at, table) in tables.iter().enumerate() {
        out.push(',');
        let columns: Vec<(&str, Type)> = table.schema.columns.iter().map(|column| (&*column.name, column.ty)).collect();
        frame(&mut out, at + 1, "PrimaryResult", table.name.as_deref().unwrap_or("PrimaryResult"), &columns);
        rows_of(&mut out, table);
        if let Some(error) = &table.failure {
            if table.rows() > 0 {
                out.push(',');
            }
            let _ = write!(out, r#"{{"OneApiErrors":[{}]}}"#, one_api_error(error, ids));
        }
        out.push_str("]}");
    }
    out.push(',');
    let failure = tables.iter().find_map(|table| table.failure.as_ref());
    completion(&mut out, tables.len() + 1, failure, ids, spent.to_json(tables));
    let errors = failure.map_or(String::new(), |error| format!(r#","OneApiErrors":[{}]"#, one_api_error(error, ids)));
    let _ = write!(
        out,
        r#",{{"FrameType":"DataSetCompletion","HasErrors":{},"Cancelled":{}{errors}}}]"#,
        failure.is_some(),
        matches!(failure, Some(Error::Cancelled))
    );
    out
}

fn frame(out: &mut String, id: usize, kind: &str, name: &str, columns: &[(&str, Type)]) {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, ty)| json!({"ColumnName": name, "ColumnType": type_name(*ty)}).to_string())
        .collect();
    let _ = write!(
        out,
        r#"{{"FrameType":"DataTable","TableId":{id},"TableKind":"{kind}","TableName":{},"Columns":[{}],"Rows":["#,
        json!(name),
        columns.join(",")
    );
}

/// The rows of the completion: `(level, level name, status, status name, event type, event, payload)`.
fn completion(out: &mut String, id: usize, failure: Option<&Error>, ids: &Ids, spent: serde_json::Value) {
    let columns = [
        ("Timestamp", Type::DateTime),
        ("ClientRequestId", Type::String),
        ("ActivityId", Type::Guid),
        ("SubActivityId", Type::Guid),
        ("ParentActivityId", Type::Guid),
        ("Level", Type::Int),
        ("LevelName", Type::String),
        ("StatusCode", Type::Int),
        ("StatusCodeName", Type::String),
        ("EventType", Type::Int),
        ("EventTypeName", Type::String),
        ("Payload", Type::String),
    ];
    frame(out, id, "QueryCompletionInformation", "QueryCompletionInformation", &columns);
    let row = |level: i32,
               level_name: &str,
               status: i32,
               status_name: &str,
               event: i32,
               event_name: &str,
               payload: String| {
        let activity = &ids.activity;
        json!([
            ids.now,
            ids.request,
            activity,
            activity,
            activity,
            level,
            level_name,
            status,
            status_name,
            event,
            event_name,
            payload
        ])
        .to_string()
    };
    let end = match failure {
        None => row(
            4,
            "Info",
            0,
            "S_OK (0)",
            4,
            "QueryInfo",
            json!({"Count": 1, "Text": "Query completed successfully"}).to_string(),
        ),
        Some(error) => row(
            2,
            "Error",
            -2_133_196_797,
            error.code(),
            4,
            "QueryInfo",
            json!({"Count": 1, "Text": error.to_string()}).to_string(),
        ),
    };
    let stats = row(6, "Stats", 0, "S_OK (0)", 0, "QueryResourceConsumption", spent.to_string());
    out.push_str(&[end, stats].join(","));
    out.push_str("]}");
}

fn one_api_error(error: &Error, ids: &Ids) -> serde_json::Value {
    let message = error.to_string();
    json!({"error": {
        "code": "LimitsExceeded",
        "message": message,
        "@type": "Kusto.Data.Exceptions.KustoServicePartialQueryFailureException",
        "@message": format!("{message} ({}).", error.code()),
        "@context": {"timestamp": ids.now, "clientRequestId": ids.request, "activityId": ids.activity},
        "@permanent": true,
    }})
}

/// How each result is to be drawn, as JSON text. Members that are not set are there too: clients read them all.
fn visualizations(tables: &[Table], first_id: usize) -> Vec<(usize, String)> {
    tables.iter().enumerate().map(|(at, table)| (at + first_id, visualization(table))).collect()
}

fn visualization(table: &Table) -> String {
    let render = table.render.as_ref();
    let property = |name: &str| {
        let found =
            render.and_then(|render| render.properties.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| match value {
            gantry_kql::value::Value::Bool(value) => json!(value),
            value => json!(value.to_string()),
        })
    };
    let list = |name: &str| match property(name) {
        Some(serde_json::Value::String(text)) => json!(text.split(',').map(str::trim).collect::<Vec<_>>()),
        _ => json!(null),
    };
    let flag = |name: &str| property(name).unwrap_or(json!(false));
    let number = |name: &str| property(name).unwrap_or(json!("NaN"));
    json!({
        "Visualization": render.map(|render| &render.kind),
        "Title": property("title"),
        "XColumn": property("xcolumn"),
        "Series": list("series"),
        "YColumns": list("ycolumns"),
        "AnomalyColumns": list("anomalycolumns"),
        "XTitle": property("xtitle"),
        "YTitle": property("ytitle"),
        "XAxis": property("xaxis"),
        "YAxis": property("yaxis"),
        "Legend": property("legend"),
        "YSplit": property("ysplit"),
        "Accumulate": flag("accumulate"),
        "IsQuerySorted": false,
        "Kind": property("kind"),
        "Ymin": number("ymin"),
        "Ymax": number("ymax"),
        "Xmin": number("xmin"),
        "Xmax": number("xmax"),
    })
    .to_string()
}

/// The answer of version 1 to a query: its tables, their properties, their status, and a table of contents.
pub fn version_1(tables: &[Table], ids: &Ids) -> String {
    let mut out = String::from(r#"{"Tables":["#);
    for (at, table) in tables.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        table_1(&mut out, &format!("Table_{at}"), table);
    }
    let count = tables.len();
    let properties: Vec<String> =
        visualizations(tables, 0).into_iter().map(|(_, text)| json!([text]).to_string()).collect();
    let failure = tables.iter().find_map(|table| table.failure.as_ref());
    let (severity, severity_name, status, description) = match failure {
        None => (4, "Info", 0, "Query completed successfully".to_owned()),
        Some(error) => (2, "Error", -2_133_196_797, format!("{error} ({}).", error.code())),
    };
    let activity = &ids.activity;
    let status =
        json!([ids.now, severity, severity_name, status, description, 1, activity, activity, activity, ids.request])
            .to_string();
    out.push(',');
    named_1(&mut out, &format!("Table_{count}"), &[("Value", Type::String)]);
    out.push_str(&properties.join(","));
    out.push_str("]},");
    let columns = [
        ("Timestamp", Type::DateTime),
        ("Severity", Type::Int),
        ("SeverityName", Type::String),
        ("StatusCode", Type::Int),
        ("StatusDescription", Type::String),
        ("Count", Type::Int),
        ("RequestId", Type::Guid),
        ("ActivityId", Type::Guid),
        ("SubActivityId", Type::Guid),
        ("ClientActivityId", Type::String),
    ];
    named_1(&mut out, &format!("Table_{}", count + 1), &columns);
    out.push_str(&status);
    out.push_str("]},");
    let columns = [
        ("Ordinal", Type::Long),
        ("Kind", Type::String),
        ("Name", Type::String),
        ("Id", Type::String),
        ("PrettyName", Type::String),
    ];
    named_1(&mut out, &format!("Table_{}", count + 2), &columns);
    let mut contents: Vec<String> = (0..count)
        .map(|at| {
            json!([at, "QueryResult", tables[at].name.as_deref().unwrap_or("PrimaryResult"), activity, ""]).to_string()
        })
        .collect();
    contents.push(json!([count, "QueryProperties", "@ExtendedProperties", activity, ""]).to_string());
    contents
        .push(json!([count + 1, "QueryStatus", "QueryStatus", "00000000-0000-0000-0000-000000000000", ""]).to_string());
    out.push_str(&contents.join(","));
    out.push_str("]}]}");
    out
}

/// The answer of version 1 to a command: its tables and nothing else.
pub fn command_1(tables: &[Table]) -> String {
    let mut out = String::from(r#"{"Tables":["#);
    for (at, table) in tables.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        table_1(&mut out, &format!("Table_{at}"), table);
    }
    out.push_str("]}");
    out
}

fn table_1(out: &mut String, name: &str, table: &Table) {
    let columns: Vec<(&str, Type)> = table.schema.columns.iter().map(|column| (&*column.name, column.ty)).collect();
    named_1(out, name, &columns);
    rows_of(out, table);
    out.push_str("]}");
}

fn named_1(out: &mut String, name: &str, columns: &[(&str, Type)]) {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, ty)| {
            json!({"ColumnName": name, "DataType": data_type(*ty), "ColumnType": type_name(*ty)}).to_string()
        })
        .collect();
    let _ = write!(out, r#"{{"TableName":"{name}","Columns":[{}],"Rows":["#, columns.join(","));
}

fn type_name(ty: Type) -> &'static str {
    if ty == Type::Unknown { "dynamic" } else { ty.name() }
}

/// The name of version 1 for a type.
fn data_type(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "SByte",
        Type::Int => "Int32",
        Type::Long => "Int64",
        Type::Real => "Double",
        Type::Decimal => "SqlDecimal",
        Type::String => "String",
        Type::DateTime => "DateTime",
        Type::TimeSpan => "TimeSpan",
        Type::Guid => "Guid",
        Type::Dynamic | Type::Unknown => "Object",
    }
}

fn rows_of(out: &mut String, table: &Table) {
    let mut first = true;
    for chunk in &table.chunks {
        for row in 0..chunk.rows {
            out.push_str(if std::mem::take(&mut first) { "[" } else { ",[" });
            for (at, column) in chunk.columns.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                cell(out, column.cell(row));
            }
            out.push(']');
        }
    }
}

fn cell(out: &mut String, cell: Cell) {
    match cell {
        Cell::Null => out.push_str("null"),
        Cell::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Cell::Int(value) => drop(write!(out, "{value}")),
        Cell::Long(value) => drop(write!(out, "{value}")),
        Cell::Real(value) if value.is_finite() => out.push_str(&print_real(value)),
        Cell::Real(value) if value.is_nan() => out.push_str(r#""NaN""#),
        Cell::Real(value) => out.push_str(if value > 0.0 { r#""Infinity""# } else { r#""-Infinity""# }),
        Cell::String(text) => string(out, text),
        Cell::Dynamic(value) => dynamic(out, value),
        other => string(out, &other.text()),
    }
}

fn string(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("null"),
    }
}

fn dynamic(out: &mut String, value: &Dynamic) {
    out.push_str(&value.to_json());
}
