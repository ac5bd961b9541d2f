//! Expressions and functions of one row, records and arrays, UNION, and functions that look back.

use crate::common::{Trial, check, settings, value};
use gantry_streaming::{Failure, OnError};

#[test]
fn null_is_unknown() {
    for (expression, expected) in [
        ("CASE WHEN x = NULL THEN 1 ELSE 0 END", "0"),
        ("CASE WHEN NOT (x = 1) THEN 1 ELSE 0 END", "0"),
        ("CASE WHEN x IS NULL THEN 1 ELSE 0 END", "1"),
        ("CASE WHEN x IS NOT NULL THEN 1 ELSE 0 END", "0"),
        ("CASE WHEN x = 1 OR y = 2 THEN 1 ELSE 0 END", "1"),
        ("CASE WHEN x = 1 AND y = 3 THEN 1 ELSE 0 END", "0"),
        ("CASE WHEN NOT (x = 1 AND y = 3) THEN 1 ELSE 0 END", "1"),
        ("CASE WHEN y IN (1, NULL, 2) THEN 1 ELSE 0 END", "1"),
        ("CASE WHEN y NOT IN (1, NULL) THEN 1 ELSE 0 END", "0"),
        ("CASE WHEN y NOT IN (1, 3) THEN 1 ELSE 0 END", "1"),
        ("CASE WHEN y BETWEEN NULL AND 1 THEN 1 ELSE 0 END", "0"),
        ("CASE WHEN y NOT BETWEEN NULL AND 1 THEN 1 ELSE 0 END", "1"),
        ("CASE y WHEN 1 THEN 'one' WHEN 2 THEN 'two' END", "\"two\""),
        ("CASE x WHEN NULL THEN 1 END", "null"),
        ("x + 1", "null"),
        ("COALESCE(x, z, y, 7)", "2"),
        ("NULLIF(y, 2)", "null"),
        ("NULLIF(y, 3)", "2"),
        ("CONCAT('a', x, y)", "\"a2\""),
        ("LEN(x)", "null"),
    ] {
        value(expression, r#"{"y":2}"#, expected);
    }
}

#[test]
fn arithmetic() {
    for (expression, expected) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("7 / 2.0", "3.5"),
        ("-7 % 3", "-1"),
        ("2 - 3 - 4", "-5"),
        ("- y", "-2"),
        ("'a' + 'b'", "\"ab\""),
        ("ABS(-3)", "3"),
        ("CEILING(1.2)", "2.0"),
        ("FLOOR(-1.2)", "-2.0"),
        ("FLOOR(5)", "5"),
        ("ROUND(2.345, 2)", "2.35"),
        ("ROUND(1234, -2)", "1200"),
        ("ROUND(2.7, 0, 1)", "2.0"),
        ("POWER(2, 10)", "1024.0"),
        ("SQRT(2.25)", "1.5"),
        ("SQUARE(3)", "9.0"),
        ("SIGN(-2.5)", "-1.0"),
        ("EXP(0)", "1.0"),
        ("9223372036854775807", "9223372036854775807"),
    ] {
        value(expression, r#"{"y":2}"#, expected);
    }
}

#[test]
fn texts() {
    for (expression, expected) in [
        ("LEN('abc  ')", "3"),
        ("SUBSTRING('hello', 2, 3)", "\"ell\""),
        ("SUBSTRING('hello', 0, 3)", "\"he\""),
        ("SUBSTRING('hello', 4, 99)", "\"lo\""),
        ("CHARINDEX('l', 'hello')", "3"),
        ("CHARINDEX('l', 'hello', 4)", "4"),
        ("CHARINDEX('z', 'hello')", "0"),
        ("PATINDEX('%l_o%', 'hello')", "3"),
        ("PATINDEX('h%', 'hello')", "1"),
        ("PATINDEX('l%', 'hello')", "0"),
        ("REPLACE('hello', 'l', 'LL')", "\"heLLLLo\""),
        ("LOWER('ÄB')", "\"äb\""),
        ("UPPER('äb')", "\"ÄB\""),
        ("TRIM('  a ')", "\"a\""),
        ("REGEXMATCH('B123', '^[A-C][0-9]+$')", "1"),
        ("REGEXMATCH('D123', '^[A-C]')", "0"),
        ("SPLIT('a,b,,c', ',')", r#"["a","b","","c"]"#),
        ("CASE WHEN 'abc' LIKE 'a%' THEN 1 END", "1"),
        ("CASE WHEN 'abc' LIKE '_b[a-c]' THEN 1 END", "1"),
        ("CASE WHEN 'abc' NOT LIKE '%[^c]' THEN 1 END", "1"),
        ("CASE WHEN '50%' LIKE '50!%' ESCAPE '!' THEN 1 END", "1"),
        ("CASE WHEN 'a.c' LIKE 'abc' THEN 1 END", "null"),
        ("'it''s'", "\"it's\""),
        ("HASHBYTES('MD5', 'abc')", "\"900150983CD24FB0D6963F7D28E17F72\""),
    ] {
        value(expression, "{}", expected);
    }
}

#[test]
fn instants() {
    for (expression, expected) in [
        ("DATEADD(minute, 90, t)", "\"2024-02-29T01:30:00.0000000Z\""),
        ("DATEADD(year, 1, t)", "\"2025-02-28T00:00:00.0000000Z\""),
        ("DATEDIFF(day, t, '2024-03-01T23:00:00Z')", "1"),
        ("DATEDIFF(hour, '2024-02-29T00:59:59Z', '2024-02-29T01:00:00Z')", "1"),
        ("DATEPART(hour, '2024-02-29T13:00:00Z')", "13"),
        ("DATENAME(month, t)", "\"February\""),
        ("DATENAME(dw, t)", "\"Thursday\""),
        ("DAY(t)", "29"),
        ("MONTH(t)", "2"),
        ("YEAR(t)", "2024"),
        ("DATETIMEFROMPARTS(2024, 1, 2, 3, 4, 5, 6)", "\"2024-01-02T03:04:05.0060000Z\""),
        ("CASE WHEN CAST(t AS datetime) > '2024-02-28' THEN 1 END", "1"),
        ("System.Timestamp()", "\"2024-01-01T12:00:00.0000000Z\""),
    ] {
        value(expression, r#"{"t":"2024-02-29T00:00:00Z"}"#, expected);
    }
}

#[test]
fn casts_and_types() {
    for (expression, expected) in [
        ("CAST('42' AS bigint)", "42"),
        ("CAST(4.9 AS bigint)", "4"),
        ("CAST('4.5' AS float)", "4.5"),
        ("CAST(5 AS nvarchar(max))", "\"5\""),
        ("CAST('true' AS bit)", "true"),
        ("TRY_CAST('4x' AS bigint)", "null"),
        ("TRY_CAST('yesterday' AS datetime)", "null"),
        ("TRY_CAST(r AS record)", r#"{"a":1}"#),
        ("GetType(r)", "\"record\""),
        ("GetType(1)", "\"bigint\""),
        ("GetType(1.5)", "\"float\""),
        ("GetType('a')", "\"nvarchar(max)\""),
        ("GetType(x)", "null"),
    ] {
        value(expression, r#"{"r":{"a":1}}"#, expected);
    }
}

#[test]
fn records_and_arrays() {
    let body = r#"{"a":{"b":{"c":5},"Two Words":6},"l":[{"x":1},{"x":2}]}"#;
    for (expression, expected) in [
        ("a.b.c", "5"),
        ("i.a.b.c", "5"),
        ("A.B.C", "5"),
        ("a.[Two Words]", "6"),
        ("a.none.c", "null"),
        ("GetArrayElement(l, 1)", r#"{"x":2}"#),
        ("GetArrayElement(l, 1).x", "2"),
        ("GetArrayElement(l, 9)", "null"),
        ("GetArrayLength(l)", "2"),
        ("GetRecordPropertyValue(a, 'Two Words')", "6"),
        ("GetRecordPropertyValue(a.b, 'c')", "5"),
        ("GetArrayElement(GetRecordProperties(a.b), 0)", r#"{"PropertyName":"c","PropertyValue":5}"#),
        ("GetArrayElement(GetArrayElements(l), 1)", r#"{"ArrayIndex":1,"ArrayValue":{"x":2}}"#),
    ] {
        value(expression, body, expected);
    }
}

#[test]
fn apply_gives_a_row_for_each_element() {
    let events = [
        ("12:00:00", r#"{"d":"a","l":[{"x":1},{"x":2}]}"#),
        ("12:00:01", r#"{"d":"b","l":[]}"#),
        ("12:00:02", r#"{"d":"c"}"#),
    ];
    check(
        "SELECT i.d, e.ArrayIndex AS n, e.ArrayValue.x AS x INTO output FROM input i CROSS APPLY GetArrayElements(i.l) AS e",
        &events,
        &[r#"12:00:00 {"d":"a","n":0,"x":1}"#, r#"12:00:00 {"d":"a","n":1,"x":2}"#],
    );
    check(
        "SELECT d, e.ArrayIndex AS n INTO output FROM input i OUTER APPLY GetArrayElements(i.l) AS e",
        &events,
        &[
            r#"12:00:00 {"d":"a","n":0}"#,
            r#"12:00:00 {"d":"a","n":1}"#,
            r#"12:00:01 {"d":"b","n":null}"#,
            r#"12:00:02 {"d":"c","n":null}"#,
        ],
    );
    check(
        "SELECT p.PropertyName AS k, p.PropertyValue AS v INTO output FROM input CROSS APPLY GetRecordProperties(input.r) AS p
         WHERE p.PropertyValue > 1",
        &[("12:00:00", r#"{"r":{"a":1,"b":2}}"#)],
        &[r#"12:00:00 {"k":"b","v":2}"#],
    );
}

#[test]
fn an_event_that_cannot_be_evaluated_is_dropped_or_stops_the_job() {
    let text = "SELECT CAST(x AS bigint) AS x INTO output FROM input";
    let mut trial = Trial::new(text, &settings());
    trial.push("input", 0, "12:00:00", r#"{"x":"one"}"#);
    trial.push("input", 0, "12:00:01", r#"{"x":"1"}"#);
    assert_eq!(trial.finish(), [r#"12:00:01 {"x":1}"#]);
    assert_eq!(trial.running.faults(), (1, Some("'one' is no bigint")));
    let mut settings = settings();
    settings.on_error = OnError::Stop;
    let mut trial = Trial::new(text, &settings);
    trial.push("input", 0, "12:00:00", r#"{"x":"one"}"#);
    let stopped = trial.try_push("input", 0, "12:00:01", "{}");
    assert!(matches!(&stopped, Err(Failure::Event { message, .. }) if message == "'one' is no bigint"), "{stopped:?}");
    for faulty in ["1 / x", "x + 'a'", "x > 'a'", "9223372036854775807 + 1", "SQRT(-1)", "SUBSTRING('a', 1, -1)"] {
        let mut trial = Trial::new(&format!("SELECT {faulty} AS v INTO output FROM input"), &crate::common::settings());
        trial.push("input", 0, "12:00:00", r#"{"x":0}"#);
        assert_eq!(trial.finish(), [""; 0], "{faulty}");
        assert_eq!(trial.running.faults().0, 1, "{faulty}");
    }
}

#[test]
fn steps_unions_and_several_outputs() {
    let mut trial = Trial::new(
        "WITH hot AS (SELECT d, t FROM input WHERE t > 50),
              cold AS (SELECT d AS device, t AS temperature FROM input WHERE t < 0),
              [all] AS (SELECT * FROM hot UNION ALL SELECT device, temperature FROM cold)
         SELECT * INTO alerts FROM [all];
         SELECT COUNT(*) AS n INTO counts FROM [all] GROUP BY TumblingWindow(minute, 1)
         SELECT * INTO archive FROM (SELECT d FROM hot) AS inner1",
        &settings(),
    );
    trial.push("input", 0, "12:00:01", r#"{"d":"a","t":60}"#);
    trial.push("input", 0, "12:00:02", r#"{"d":"b","t":-5}"#);
    trial.push("input", 0, "12:00:03", r#"{"d":"c","t":20}"#);
    trial.running.finish(&mut trial.out).expect("finished");
    let outputs: Vec<_> = trial.out.iter().map(|row| row.output.to_string()).collect();
    assert_eq!(outputs, ["alerts", "archive", "alerts", "counts"]);
    assert_eq!(
        trial.rows(),
        [
            r#"12:00:01 {"d":"a","t":60}"#,
            r#"12:00:01 {"d":"a"}"#,
            r#"12:00:02 {"d":"b","t":-5}"#,
            r#"12:01:00 {"n":2}"#,
        ]
    );
}

#[test]
fn lag_looks_back_within_its_partition() {
    check(
        "SELECT d, x, LAG(x) OVER (PARTITION BY d LIMIT DURATION(second, 10)) AS p,
                LAG(x, 2, -1) OVER (PARTITION BY d LIMIT DURATION(second, 10)) AS pp
         INTO output FROM input",
        &[
            ("12:00:00", r#"{"d":"a","x":1}"#),
            ("12:00:01", r#"{"d":"b","x":10}"#),
            ("12:00:02", r#"{"d":"a","x":2}"#),
            ("12:00:03", r#"{"d":"a","x":3}"#),
            // Ten seconds after: the last of b is just out.
            ("12:00:11", r#"{"d":"b","x":11}"#),
        ],
        &[
            r#"12:00:00 {"d":"a","x":1,"p":null,"pp":-1}"#,
            r#"12:00:01 {"d":"b","x":10,"p":null,"pp":-1}"#,
            r#"12:00:02 {"d":"a","x":2,"p":1,"pp":-1}"#,
            r#"12:00:03 {"d":"a","x":3,"p":2,"pp":1}"#,
            r#"12:00:11 {"d":"b","x":11,"p":null,"pp":-1}"#,
        ],
    );
}

#[test]
fn lag_sees_what_where_leaves_out_and_when_lets_in() {
    check(
        "SELECT x, LAG(x) OVER (LIMIT DURATION(hour, 1) WHEN x > 1) AS p INTO output FROM input
         WHERE x <> 5 AND LAG(x) OVER (LIMIT DURATION(hour, 1)) IS NOT NULL",
        &[
            ("12:00:00", r#"{"x":2}"#),
            ("12:00:01", r#"{"x":5}"#),
            ("12:00:02", r#"{"x":1}"#),
            ("12:00:03", r#"{"x":3}"#),
        ],
        &[r#"12:00:02 {"x":1,"p":5}"#, r#"12:00:03 {"x":3,"p":5}"#],
    );
}

#[test]
fn last_includes_the_row_itself() {
    // The classic: how long something lasted that has a beginning and an end.
    check(
        "SELECT d, DATEDIFF(second, LAST(t) OVER (PARTITION BY d LIMIT DURATION(hour, 1) WHEN e = 'start'), t) AS lasted
         INTO output FROM input TIMESTAMP BY t WHERE e = 'end'",
        &[
            ("12:00:00", r#"{"d":"a","e":"start","t":"2024-01-01T12:00:00Z"}"#),
            ("12:00:09", r#"{"d":"a","e":"end","t":"2024-01-01T12:00:09Z"}"#),
            ("12:00:10", r#"{"d":"b","e":"end","t":"2024-01-01T12:00:10Z"}"#),
        ],
        &[
            r#"12:00:09 {"d":"a","lasted":9}"#,
            r#"12:00:10 {"d":"b","lasted":null}"#,
        ],
    );
    check(
        "SELECT LAST(x) OVER (LIMIT DURATION(hour, 1)) AS l INTO output FROM input",
        &[("12:00:00", r#"{"x":2}"#)],
        &[r#"12:00:00 {"l":2}"#],
    );
}

#[test]
fn is_first_in_each_interval() {
    check(
        "SELECT ISFIRST(second, 10) OVER (PARTITION BY d) AS f, ISFIRST(second, 10) OVER (PARTITION BY d WHEN x > 1) AS g
         INTO output FROM input",
        &[
            ("12:00:01", r#"{"d":"a","x":1}"#),
            ("12:00:02", r#"{"d":"a","x":2}"#),
            ("12:00:03", r#"{"d":"b","x":2}"#),
            ("12:00:10", r#"{"d":"a","x":2}"#),
            ("12:00:11", r#"{"d":"a","x":2}"#),
        ],
        &[
            r#"12:00:01 {"f":1,"g":0}"#,
            r#"12:00:02 {"f":0,"g":1}"#,
            r#"12:00:03 {"f":1,"g":1}"#,
            r#"12:00:10 {"f":0,"g":0}"#,
            r#"12:00:11 {"f":1,"g":1}"#,
        ],
    );
}

#[test]
fn anomalies_are_records() {
    let text = "WITH scored AS (
            SELECT x, AnomalyDetection_SpikeAndDip(CAST(x AS float), 99, 60, 'spikesanddips')
                OVER (PARTITION BY d LIMIT DURATION(second, 120)) AS s,
              AnomalyDetection_ChangePoint(x, 95, 60) OVER (LIMIT DURATION(minute, 2)) AS c
            FROM input)
        SELECT x, GetRecordPropertyValue(s, 'IsAnomaly') AS spike, s.Score AS score, c.IsAnomaly AS changed INTO output FROM scored";
    let mut trial = Trial::new(text, &settings());
    for second in 0..50 {
        let x = if second == 40 { 100.0 } else { 20.0 + f64::from(second % 7) * 0.1 };
        trial.push("input", 0, &format!("12:00:{second:02}"), &format!(r#"{{"d":1,"x":{x}}}"#));
    }
    let rows = trial.finish();
    let spikes: Vec<_> = rows.iter().filter(|row| row.contains(r#""spike":1"#)).collect();
    assert_eq!(spikes.len(), 1, "{spikes:?}");
    assert!(spikes[0].starts_with(r#"12:00:40 {"x":100,"#), "{spikes:?}");
    assert!(rows.iter().all(|row| row.contains(r#""changed":0"#)));
}

#[test]
fn places() {
    let area = "CreatePolygon(CreatePoint(0, 0), CreatePoint(0, 10), CreatePoint(10, 10), CreatePoint(10, 0), CreatePoint(0, 0))";
    let beside = "CreatePolygon(CreatePoint(5, 5), CreatePoint(5, 15), CreatePoint(15, 15), CreatePoint(15, 5), CreatePoint(5, 5))";
    let line = "CreateLineString(CreatePoint(-5, 5), CreatePoint(5, 5))";
    for (expression, expected) in [
        ("CreatePoint(47.5, 8)".to_owned(), r#"{"type":"Point","coordinates":[8.0,47.5]}"#),
        (format!("ST_WITHIN(CreatePoint(5, 5), {area})"), "1"),
        (format!("ST_WITHIN(CreatePoint(5, 15), {area})"), "0"),
        (format!("ST_WITHIN({beside}, {area})"), "0"),
        (format!("ST_INTERSECTS({line}, {area})"), "1"),
        (format!("ST_INTERSECTS(CreatePoint(11, 11), {area})"), "0"),
        (format!("ST_OVERLAPS({beside}, {area})"), "1"),
        (format!("ST_OVERLAPS({area}, {area})"), "0"),
        (format!("ST_DISTANCE(CreatePoint(5, 5), {area})"), "0.0"),
        // A degree of the equator.
        ("ROUND(ST_DISTANCE(CreatePoint(0, 0), CreatePoint(0, 1)), 0)".to_owned(), "111195.0"),
        (format!("ROUND(ST_DISTANCE(CreatePoint(5, 11), {area}), -3)"), "111000.0"),
        ("ST_DISTANCE(p, CreatePoint(0, 0))".to_owned(), "0.0"),
        ("ST_DISTANCE(none, CreatePoint(0, 0))".to_owned(), "null"),
    ] {
        value(&expression, r#"{"p":{"type":"Point","coordinates":[0,0]}}"#, expected);
    }
}

#[test]
fn words_of_the_language_may_be_names() {
    let mut trial = Trial::new(
        "SELECT timestamp, left, LEFT(full, 2) AS right, RIGHT(full, 1) AS limit, partition AS timestamp2,
                System.Timestamp() AS [end], [select] AS filter
         INTO timestamp FROM input TIMESTAMP BY timestamp",
        &settings(),
    );
    let body = r#"{"timestamp":"2024-01-01T12:00:00Z","left":1,"full":"abc","partition":2,"select":3}"#;
    trial.push("input", 0, "12:00:00", body);
    assert_eq!(
        trial.finish(),
        [concat!(
            r#"12:00:00 {"timestamp":"2024-01-01T12:00:00Z","left":1,"right":"ab","limit":"c","timestamp2":2,"#,
            r#""end":"2024-01-01T12:00:00.0000000Z","filter":3}"#
        )]
    );
    check(
        "SELECT COUNT(*) AS count, MAX(value) AS max FROM input i TIMESTAMP BY DATEADD(second, i.epoch, '1970-01-01T00:00:00Z')
         GROUP BY TumblingWindow(second, 10)",
        &[("12:00:05", r#"{"epoch":1704110403,"value":7}"#)],
        &[r#"12:00:10 {"count":1,"max":7}"#],
    );
}
