//! T-SQL over a small table, as tools that speak to Azure Data Explorer write it.

use std::sync::Arc;

use gantry_analytics::{Ask, By, Cancel, Limits, Source, Table, Warehouse};
use gantry_kql::value::{DateTime, Dynamic, Type, Value};

use crate::sql::Rows;

fn warehouse() -> Warehouse {
    let columns = vec![
        ("Timestamp", Type::DateTime),
        ("DeviceId", Type::String),
        ("Site", Type::String),
        ("Temperature", Type::Real),
        ("N", Type::Long),
        ("Running", Type::Bool),
        ("Body", Type::Dynamic),
    ];
    let row = |at: &str, device: &str, site: &str, temperature: Option<f64>, n: i64, running: bool, body: &str| {
        vec![
            Value::DateTime(DateTime::parse(at).unwrap()),
            Value::String(device.into()),
            Value::String(site.into()),
            temperature.map_or(Value::Null, Value::Real),
            Value::Long(n),
            Value::Bool(running),
            Value::Dynamic(Dynamic::parse_json(body).unwrap()),
        ]
    };
    let rows = vec![
        row("2026-03-01T08:00:00Z", "motor-1", "north", Some(60.5), 1, true, r#"{"axis":{"x":1.5}}"#),
        row("2026-03-01T08:30:00Z", "motor-1", "north", Some(61.5), 2, true, r#"{"axis":{"x":2.5}}"#),
        row("2026-03-01T09:00:00Z", "motor-2", "north", Some(80.0), 3, false, r#"{"note":"hot"}"#),
        row("2026-03-02T08:00:00Z", "motor-2", "north", None, 4, true, "{}"),
        row("2026-03-08T23:59:59Z", "pump 7", "south", Some(20.0), 5, true, r#"{"axis":{"x":0}}"#),
    ];
    let readings: Arc<dyn Source> = Arc::new(Rows(columns, rows));
    let columns = vec![("EnqueuedTime", Type::DateTime), ("DeviceId", Type::String), ("temperature", Type::Real)];
    let telemetry: Arc<dyn Source> = Arc::new(Rows(columns, Vec::new()));
    Warehouse::new("telemetry", [("Readings".to_owned(), readings), ("Telemetry".to_owned(), telemetry)])
}

fn answer(text: &str) -> Result<Table, String> {
    let limits = &|_: &[(String, Value)]| Limits::default();
    let (now, by) = (639_100_000_000_000_000, By::default());
    let ask =
        Ask { database: None, text, parameters: &[], now, limits, rows_wanted: None, cancel: Cancel::default(), by };
    let table = warehouse().tsql(&ask).map_err(|wrong| wrong.to_string())?.remove(0);
    match &table.failure {
        Some(failure) => Err(failure.to_string()),
        None => Ok(table),
    }
}

/// Names of the columns, then the rows.
#[track_caller]
fn check(text: &str, names: &str, expected: &[&str]) {
    let table = answer(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
    let found: Vec<&str> = table.schema.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(found.join("|"), names, "{text}");
    let mut rows = Vec::new();
    for chunk in &table.chunks {
        for row in 0..chunk.rows {
            let cells: Vec<String> = chunk.columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    assert_eq!(rows, expected, "{text}");
}

#[track_caller]
fn refused(text: &str, words: &str) {
    let wrong = answer(text).expect_err(text);
    assert!(wrong.contains(words), "{text}: {wrong}");
}

#[test]
fn columns_are_spelled_as_the_table_has_them() {
    check(
        "SELECT TOP 1 DeviceId, Timestamp FROM Readings ORDER BY N",
        "DeviceId|Timestamp",
        &["motor-1|2026-03-01T08:00:00Z"],
    );
    check("SELECT [DeviceId] AS [the device] FROM dbo.Readings WHERE N = 5", "the device", &["pump 7"]);
    check("SELECT r.DeviceId AS Value FROM Readings r WHERE r.N = 5", "Value", &["pump 7"]);
    refused("SELECT deviceid FROM Readings", "column \"deviceid\" does not exist");
    refused("SELECT 1 FROM Nothing", "\"Nothing\" does not exist");
}

#[test]
fn columns_without_a_name_get_one_and_no_two_have_the_same() {
    check("SELECT 1 + 1, N, N FROM Readings WHERE N = 5", "Column1|N|N1", &["2|5|5"]);
}

#[test]
fn top_and_offset_bound_the_rows() {
    check("SELECT TOP (2) N FROM Readings ORDER BY N DESC", "N", &["5", "4"]);
    check("SELECT DISTINCT TOP 1 Site FROM Readings ORDER BY Site", "Site", &["north"]);
    check("SELECT N FROM Readings ORDER BY N OFFSET 3 ROWS FETCH NEXT 1 ROWS ONLY", "N", &["4"]);
    check("SELECT N FROM (SELECT TOP 2 N FROM Readings ORDER BY N) AS first ORDER BY N DESC", "N", &["2", "1"]);
    refused("SELECT TOP 10 PERCENT N FROM Readings", "TOP ... PERCENT");
}

#[test]
fn nulls_are_the_smallest_values() {
    check("SELECT N FROM Readings ORDER BY Temperature", "N", &["4", "5", "1", "2", "3"]);
    check("SELECT TOP 1 N FROM Readings ORDER BY Temperature DESC", "N", &["3"]);
}

#[test]
fn rows_are_grouped() {
    check(
        "SELECT Site, COUNT(*) AS c, AVG(Temperature) AS a, COUNT_BIG(Temperature) AS b
         FROM Readings GROUP BY Site HAVING COUNT(*) > 1",
        "Site|c|a|b",
        &["north|4|67.33333333333333|3"],
    );
    check("SELECT STDEV(N) AS s, COUNT(DISTINCT DeviceId) AS d FROM Readings", "s|d", &["1.5811388300841898|3"]);
}

#[test]
fn instants_are_added_compared_and_taken_apart() {
    check("SELECT DATEADD(hour, 2, Timestamp) AS t FROM Readings WHERE N = 1", "t", &["2026-03-01T10:00:00Z"]);
    check("SELECT DATEADD(mm, -1, '2026-03-31') AS t", "t", &["2026-02-28T00:00:00Z"]);
    check("SELECT DATEDIFF(day, '2026-03-01 23:59', '2026-03-02 00:01') AS d", "d", &["1"]);
    check("SELECT DATEDIFF(minute, MIN(Timestamp), MAX(Timestamp)) AS d FROM Readings", "d", &["11039"]);
    check(
        "SELECT DATEPART(weekday, Timestamp) AS d, YEAR(Timestamp) AS y FROM Readings WHERE N = 1",
        "d|y",
        &["1|2026"],
    );
    check("SELECT DATEPART(dy, Timestamp) AS d FROM Readings WHERE N = 5", "d", &["67"]);
    check("SELECT COUNT(*) AS n FROM Readings WHERE Timestamp >= '2026-03-02' AND Timestamp < GETDATE()", "n", &["2"]);
    refused("SELECT DATEADD(fortnight, 1, Timestamp) FROM Readings", "`\"fortnight\"` is not a part of an instant");
}

#[test]
fn texts_and_choices() {
    check("SELECT DeviceId + '@' + Site AS t FROM Readings WHERE N = 1", "t", &["motor-1@north"]);
    check("SELECT LEN(DeviceId) AS l, CHARINDEX('-', DeviceId) AS c FROM Readings WHERE N = 1", "l|c", &["7|6"]);
    check(
        "SELECT IIF(Temperature > 70, 'hot', 'cool') AS s FROM Readings ORDER BY N",
        "s",
        &["cool", "cool", "hot", "cool", "cool"],
    );
    check("SELECT ISNULL(Temperature, -1) AS t FROM Readings WHERE N = 4", "t", &["-1.0"]);
    check("SELECT N FROM Readings WHERE DeviceId LIKE 'pump%' OR Site IN (N'east')", "N", &["5"]);
    check("SELECT LEFT(Site, 2) AS s, UPPER(Site) AS u FROM Readings WHERE N = 5", "s|u", &["so|SOUTH"]);
}

#[test]
fn truths_compare_with_bits() {
    check("SELECT N FROM Readings WHERE Running = 0", "N", &["3"]);
    check("SELECT COUNT(*) AS n FROM Readings WHERE Running <> 0 AND 1 = Running", "n", &["4"]);
    refused("SELECT N FROM Readings WHERE Running = 2", "a bit compares with 0 and 1");
}

#[test]
fn values_become_other_types() {
    check("SELECT CAST(N AS nvarchar(10)) AS t, CONVERT(float, N) AS f FROM Readings WHERE N = 2", "t|f", &["2|2.0"]);
    check("SELECT TRY_CAST('7' AS int) AS a, TRY_CAST('seven' AS int) AS b", "a|b", &["7|"]);
    check("SELECT CAST(1 AS bit) AS b, CAST('2026-03-01' AS datetime2) AS t", "b|t", &["true|2026-03-01T00:00:00Z"]);
    refused("SELECT CAST(DeviceId AS int) AS x FROM Readings", "invalid input syntax");
}

#[test]
fn bodies_are_read_by_path() {
    check("SELECT JSON_VALUE(Body, '$.axis.x') AS x FROM Readings ORDER BY N", "x", &["1.5", "2.5", "", "", "0"]);
    check("SELECT COUNT(*) AS n FROM Readings WHERE JSON_VALUE(Body, '$.axis.x') IS NULL", "n", &["2"]);
}

#[test]
fn tables_are_joined_and_queries_named() {
    check(
        "WITH Hot AS (SELECT DeviceId, MAX(Temperature) AS Peak FROM Readings GROUP BY DeviceId)
         SELECT r.N, h.Peak FROM Readings AS r WITH (NOLOCK) INNER JOIN Hot AS h ON h.DeviceId = r.DeviceId
         WHERE h.Peak > 70 ORDER BY r.N",
        "N|Peak",
        &["3|80.0", "4|80.0"],
    );
    check(
        "SELECT N, ROW_NUMBER() OVER (PARTITION BY Site ORDER BY Timestamp DESC) AS r FROM Readings ORDER BY N",
        "N|r",
        &["1|4", "2|3", "3|2", "4|1", "5|1"],
    );
    check("SELECT N FROM Readings WHERE N < 2 UNION ALL SELECT N FROM Readings WHERE N > 4", "N", &["1", "5"]);
}

#[test]
fn the_guides_statements_run() {
    let guide = include_str!("../../../../docs/questions.md");
    let statements: Vec<&str> = guide.split("```tsql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(statements.len(), 1);
    for statement in statements {
        answer(statement).unwrap_or_else(|wrong| panic!("{statement}: {wrong}"));
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (text, name) in [
        ("EXPLAIN SELECT N FROM Readings", "EXPLAIN is not implemented"),
        ("SELECT N INTO Copy FROM Readings", "SELECT INTO"),
        ("DELETE FROM Readings", "DELETE"),
        ("SELECT DATENAME(month, Timestamp) FROM Readings", "datename"),
    ] {
        refused(text, name);
    }
}
