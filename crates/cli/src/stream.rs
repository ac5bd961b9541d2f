//! A streaming query over stored rows: what a job would have given, had it run when they came.
//!
//! Rows of `Telemetry` become the events they were, with the columns of the platform; of any other table a row is an
//! event that arrived at the first of its columns that is an instant.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use gantry_streaming::time::{Ticks, parse, text};
use gantry_streaming::{Event, Input, Job, Output, Running, Settings, Value};
use serde_json::{Map, Value as Json, json};

/// How the rows are taken.
#[derive(Args)]
pub(super) struct StreamArgs {
    /// A streaming query that the rows are events of, as `SELECT COUNT(*) AS n FROM input GROUP BY TumblingWindow(hour, 1)`.
    #[arg(long)]
    stream: Option<String>,
    /// With --stream: events older than their arrival by more are late.
    #[arg(long, default_value_t = 5, requires = "stream")]
    late_seconds: u64,
    /// With --stream: events older by more than this than the newest before them are out of order.
    #[arg(long, default_value_t = 0, requires = "stream")]
    out_of_order_seconds: u64,
    /// With --stream: reference data, as `sites=Twins | project device = DeviceId, site = tostring(Tags.site)`.
    #[arg(long, value_name = "NAME=QUERY", value_parser = named, requires = "stream")]
    reference: Vec<(String, String)>,
}

/// The name of reference data, and its query.
fn named(text: &str) -> Result<(String, String), String> {
    let (name, query) = text.split_once('=').ok_or("reference data is NAME=QUERY")?;
    Ok((name.trim().to_owned(), query.trim().to_owned()))
}

/// A row on its way.
struct Taken {
    arrival: Ticks,
    partition: u32,
    sequence: u64,
    body: Value,
    system: Vec<(Arc<str>, Value)>,
    user: Option<Arc<Value>>,
}

impl StreamArgs {
    /// The queries of its reference data.
    pub(super) fn references(&self) -> impl Iterator<Item = &str> {
        self.reference.iter().map(|(_, query)| query.as_str())
    }

    /// The results of the streaming query over a table, one for each output; nothing when there is no such query.
    ///
    /// # Errors
    /// When its text is wrong, a row has no time, or the query cannot hold what it would have to.
    ///
    /// `reference` are the first results of [`references`](Self::references), in their order.
    pub(super) fn run(&self, table: &Json, reference: &[Json]) -> anyhow::Result<Option<Vec<Json>>> {
        let Some(query) = &self.stream else { return Ok(None) };
        let mut rows = taken(table)?;
        rows.sort_by_key(|row| (row.arrival, row.partition, row.sequence));
        let partitions = rows.iter().map(|row| row.partition + 1).max().unwrap_or(1);
        let mut inputs = vec![Input::stream("input", partitions)];
        for ((name, _), table) in self.reference.iter().zip(reference) {
            inputs.push(Input::reference(name, records(table)?));
        }
        let mut settings = Settings::new(inputs);
        settings.late.within = Duration::from_secs(self.late_seconds);
        settings.out_of_order.within = Duration::from_secs(self.out_of_order_seconds);
        let job = Job::parse(query, &settings).context("--stream")?;
        let (mut running, mut out) = (Running::new(&job), Vec::new());
        for row in rows {
            let Taken { arrival, partition, sequence, body, system, user } = row;
            running.push(Event { input: "input", partition, sequence, arrival, body, system, user }, &mut out)?;
        }
        running.finish(&mut out)?;
        if let (count @ 1.., Some(last)) = running.faults() {
            eprintln!("{count} events could not be evaluated, the last of them: {last}");
        }
        Ok(Some(job.outputs().map(|output| result(output, &out)).collect()))
    }
}

/// Names and types of a table's columns.
fn columns_of(table: &Json) -> Vec<(&str, &str)> {
    let columns = table["Columns"].as_array().into_iter().flatten();
    columns
        .map(|column| {
            (column["ColumnName"].as_str().unwrap_or_default(), column["ColumnType"].as_str().unwrap_or_default())
        })
        .collect()
}

/// The rows of a table as records.
fn records(table: &Json) -> anyhow::Result<Vec<Value>> {
    let columns = columns_of(table);
    let rows = table["Rows"].as_array().into_iter().flatten().filter_map(Json::as_array);
    rows.map(|cells| record(&columns, cells)).collect()
}

fn record(columns: &[(&str, &str)], cells: &[Json]) -> anyhow::Result<Value> {
    let fields = columns.iter().zip(cells).map(|((name, ty), cell)| Ok(((*name).into(), value(cell, ty)?)));
    Ok(Value::record(fields.collect::<anyhow::Result<_>>()?))
}

/// The rows of a table as events.
fn taken(table: &Json) -> anyhow::Result<Vec<Taken>> {
    let columns = columns_of(table);
    let place = |name: &str| columns.iter().position(|(column, _)| *column == name);
    let of_hub = ["EnqueuedTime", "DeviceId", "Partition", "SequenceNumber", "Body"]
        .into_iter()
        .all(|name| place(name).is_some());
    let time = if of_hub { place("EnqueuedTime") } else { columns.iter().position(|(_, ty)| *ty == "datetime") };
    let time = time.context("no column of the rows is a datetime: there is nothing to tell when they came")?;
    let mut found = Vec::new();
    for (number, row) in table["Rows"].as_array().into_iter().flatten().enumerate() {
        let Some(cells) = row.as_array() else { continue };
        let arrival = cells.get(time).and_then(Json::as_str).and_then(parse);
        let Some(arrival) = arrival else { bail!("row {number} has no time in `{}`", columns[time].0) };
        let cell = |name: &str| place(name).and_then(|at| cells.get(at)).unwrap_or(&Json::Null);
        found.push(if of_hub { stored(arrival, &cell)? } else { plain(arrival, number, &columns, cells)? });
    }
    Ok(found)
}

/// A cell as a value. Dynamic ones may come as the text of their JSON.
fn value(cell: &Json, ty: &str) -> anyhow::Result<Value> {
    let inner = match cell {
        Json::String(text) if ty == "dynamic" => {
            serde_json::from_str::<Json>(text).ok().filter(|json| !json.is_number())
        }
        _ => None,
    };
    let value = Value::from_json(inner.as_ref().unwrap_or(cell)).context("a value nested too deep")?;
    Ok(match &value {
        Value::Text(text) if ty == "datetime" => parse(text).map_or(value, Value::Datetime),
        _ => value,
    })
}

/// A row of `Telemetry` as the event it was.
fn stored<'c>(arrival: Ticks, cell: &dyn Fn(&str) -> &'c Json) -> anyhow::Result<Taken> {
    let words = |name: &str| match cell(name).as_str() {
        Some(text) if !text.is_empty() => Value::from(text),
        _ => Value::Null,
    };
    let partition = cell("Partition").as_u64().unwrap_or(0);
    let mut hub = vec![
        ("MessageId".into(), words("MessageId")),
        ("CorrelationId".into(), words("CorrelationId")),
        ("ConnectionDeviceId".into(), words("DeviceId")),
        ("EnqueuedTime".into(), Value::Datetime(arrival)),
        ("StreamId".into(), Value::Null),
    ];
    if let module @ Value::Text(_) = words("ModuleId") {
        hub.push(("ConnectionModuleId".into(), module));
    }
    let user = value(cell("Properties"), "dynamic")?;
    Ok(Taken {
        arrival,
        partition: u32::try_from(partition).context("a partition past all")?,
        sequence: cell("SequenceNumber").as_u64().unwrap_or(0),
        body: value(cell("Body"), "dynamic")?,
        system: vec![
            ("EventProcessedUtcTime".into(), Value::Datetime(arrival)),
            ("PartitionId".into(), Value::Bigint(partition as i64)),
            ("EventEnqueuedUtcTime".into(), Value::Datetime(arrival)),
            ("IoTHub".into(), Value::record(hub)),
        ],
        user: matches!(user, Value::Record(_)).then(|| Arc::new(user)),
    })
}

/// A row of another table.
fn plain(arrival: Ticks, number: usize, columns: &[(&str, &str)], cells: &[Json]) -> anyhow::Result<Taken> {
    Ok(Taken {
        arrival,
        partition: 0,
        sequence: number as u64,
        body: record(columns, cells)?,
        system: Vec::new(),
        user: None,
    })
}

/// The rows of an output as a table, behind the time of each.
fn result(output: &str, out: &[Output]) -> Json {
    let mut names: Vec<&str> = Vec::new();
    let mut rows = Vec::new();
    for row in out.iter().filter(|row| &*row.output == output) {
        let mut cells = Map::new();
        for (name, value) in &row.row.fields {
            if !names.contains(&&**name) {
                names.push(name);
            }
            cells.insert(name.to_string(), value.to_json());
        }
        rows.push((text(row.timestamp), cells));
    }
    let columns: Vec<Json> =
        std::iter::once(&"System.Timestamp").chain(&names).map(|name| json!({"ColumnName": name})).collect();
    let rows: Vec<Json> = rows
        .into_iter()
        .map(|(time, mut cells)| {
            let cells = names.iter().map(|name| cells.remove(*name).unwrap_or(Json::Null));
            std::iter::once(Json::from(time)).chain(cells).collect()
        })
        .collect();
    json!({"TableName": output, "Columns": columns, "Rows": rows})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(query: &str) -> StreamArgs {
        StreamArgs { stream: Some(query.into()), late_seconds: 5, out_of_order_seconds: 0, reference: Vec::new() }
    }

    fn table(columns: &[(&str, &str)], rows: Json) -> Json {
        let columns: Vec<_> = columns.iter().map(|(name, ty)| json!({"ColumnName": name, "ColumnType": ty})).collect();
        json!({"Columns": columns, "Rows": rows})
    }

    #[test]
    fn rows_of_telemetry_are_the_events_they_were() {
        let columns = [
            ("EnqueuedTime", "datetime"),
            ("DeviceId", "string"),
            ("Partition", "int"),
            ("SequenceNumber", "long"),
            ("Properties", "dynamic"),
            ("Body", "dynamic"),
        ];
        let rows = json!([
            ["2024-01-01T00:00:02Z", "b", 1, 0, "{\"site\":\"x\"}", "{\"t\":3}"],
            ["2024-01-01T00:00:01Z", "a", 0, 7, null, {"t": 1}],
            ["2024-01-01T00:00:01Z", "a", 0, 8, null, "no json"],
        ]);
        let query =
            "SELECT IoTHub.ConnectionDeviceId AS d, AVG(t) AS a, MAX(GetMetadataPropertyValue(input, 'User.site')) AS s
                     FROM input GROUP BY IoTHub.ConnectionDeviceId, TumblingWindow(second, 10)";
        let results = args(query).run(&table(&columns, rows), &[]).unwrap().unwrap();
        assert_eq!(results.len(), 1);
        assert_eq!(
            results[0]["Rows"],
            json!([["2024-01-01T00:00:10.0000000Z", "a", 1.0, null], ["2024-01-01T00:00:10.0000000Z", "b", 3.0, "x"]])
        );
        assert_eq!(results[0]["Columns"][1]["ColumnName"], "d");
    }

    #[test]
    fn rows_of_another_table_come_at_their_first_instant() {
        let columns = [("x", "long"), ("at", "datetime")];
        let rows = json!([[1, "2024-01-01T00:00:01Z"], [2, "2024-01-01T00:00:00Z"]]);
        let query =
            "SELECT x, LAG(x) OVER (LIMIT DURATION(hour, 1)) AS before, DATEPART(second, at) AS s INTO a FROM input;
                     SELECT x INTO b FROM input WHERE x > 1";
        let results = args(query).run(&table(&columns, rows.clone()), &[]).unwrap().unwrap();
        assert_eq!(results[0]["Rows"][1], json!(["2024-01-01T00:00:01.0000000Z", 1, 2, 1]));
        assert_eq!(results[1]["Rows"], json!([["2024-01-01T00:00:00.0000000Z", 2]]));
        assert!(args(query).run(&table(&columns[..1], rows), &[]).is_err());
        assert!(args("SELECT").run(&table(&columns, json!([])), &[]).is_err());
        assert!(args(query).run(&table(&columns, json!([[1, null]])), &[]).is_err());
    }

    #[test]
    fn rows_are_joined_with_reference_data() {
        let columns = [("Time", "datetime"), ("device", "string"), ("t", "real")];
        let rows = json!([["2024-01-01T00:00:01Z", "a", 1.5], ["2024-01-01T00:00:02Z", "b", 2.5]]);
        let sites = table(&[("device", "string"), ("site", "string")], json!([["b", "lyon"]]));
        let mut args = args("SELECT i.t, s.site INTO T FROM input i JOIN sites s ON i.device = s.device");
        args.reference = vec![named("sites = Sites | where x == 1").unwrap()];
        assert_eq!(args.references().collect::<Vec<_>>(), ["Sites | where x == 1"]);
        let results = args.run(&table(&columns, rows), &[sites]).unwrap().unwrap();
        assert_eq!(results[0]["Rows"], json!([["2024-01-01T00:00:02.0000000Z", 2.5, "lyon"]]));
        assert!(named("sites").is_err());
    }
}
