//! Texts that are not jobs: where they are wrong, and what is not built, by name.

use std::fmt::Write;

use crate::common::settings;
use gantry_streaming::{Input, Job, LIST_MAX, SELECTS_MAX, TEXT_BYTES_MAX};

#[track_caller]
fn refused(text: &str, expected: &str) {
    let mut settings = settings();
    settings.inputs.push(Input::reference("reference", Vec::new()));
    let error = Job::parse(text, &settings).expect_err(text);
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn an_error_says_where_it_is() {
    for (text, expected) in [
        ("", "line 1, column 1: expected a SELECT statement, found the end of the text"),
        ("SELECT", "line 1, column 7: expected a value, found the end of the text"),
        ("SELECT a FROM", "line 1, column 14: expected the name of an input or step, found the end of the text"),
        ("SELECT a,\n  ä + FROM input", "line 2, column 7: expected a value, found `FROM`"),
        ("SELECT 'a FROM input", "line 1, column 8: a text is not closed"),
        ("SELECT [a FROM input", "line 1, column 8: a name in brackets is not closed"),
        ("/* SELECT", "line 1, column 1: a comment is not closed"),
        ("SELECT 1a FROM input", "line 1, column 8: `1a` is no number"),
        ("SELECT a # b FROM input", "line 1, column 10: unexpected `#`"),
        ("SELECT a FROM nowhere", "line 1, column 15: there is no input and no step called `nowhere`"),
        ("SELECT a FROM input WHERE", "line 1, column 26: expected a value, found the end of the text"),
        (
            "SELECT a FROM input garbage here",
            "line 1, column 29: expected `SELECT`, `;` or the end of the text, found `here`",
        ),
        ("SELECT a, b AS A FROM input", "line 1, column 11: two columns are called `A`"),
        ("WITH s AS (SELECT a FROM input) SELECT b FROM s", "line 1, column 40: `s` has no column `b`"),
        ("WITH s AS (SELECT a FROM s) SELECT a FROM s", "line 1, column 26: there is no input and no step called `s`"),
        ("WITH input AS (SELECT a FROM other) SELECT a FROM input", "line 1, column 6: `input` is there already"),
        ("SELECT a FROM input UNION SELECT a, b FROM input", "line 1, column 27: UNION of 1 columns with 2"),
        ("SELECT a FROM reference", "line 1, column 15: reference data can only be joined to a stream"),
        (
            "SELECT x.a FROM input a JOIN other a ON DATEDIFF(second, a, a) BETWEEN 0 AND 1",
            "line 1, column 36: two of FROM are called `a`",
        ),
        (
            "SELECT k FROM input a JOIN other b ON DATEDIFF(second, a, b) BETWEEN 0 AND 1",
            "line 1, column 8: whose column is `k`? write a name before it, as in x.k",
        ),
        ("SELECT LEN() FROM input", "line 1, column 8: `LEN` takes 1 arguments, not 0"),
        (
            "SELECT CAST(a AS integer) FROM input",
            "line 1, column 18: `integer` is no type: bigint, float, nvarchar(max), datetime, bit, record and array are",
        ),
        ("SELECT REGEXMATCH(a, '(') FROM input", "line 1, column 22: this is no pattern, or one that is too large"),
        ("SELECT DATEADD(fortnight, 1, a) FROM input", "line 1, column 16: expected a unit of time, as `minute`"),
    ] {
        refused(text, expected);
    }
}

#[test]
fn groups_and_windows_are_checked() {
    for (text, expected) in [
        ("SELECT COUNT(*) FROM input", "line 1, column 1: a group of a stream needs a window in GROUP BY"),
        ("SELECT a FROM input GROUP BY a", "line 1, column 30: a group of a stream needs a window in GROUP BY"),
        (
            "SELECT a FROM input GROUP BY b, TumblingWindow(minute, 1)",
            "line 1, column 8: `a` is neither in GROUP BY nor within an aggregate",
        ),
        (
            "SELECT * FROM input GROUP BY TumblingWindow(minute, 1)",
            "line 1, column 8: a query with GROUP BY cannot select `*`",
        ),
        (
            "SELECT COUNT(*) FROM input GROUP BY TumblingWindow(month, 1)",
            "line 1, column 52: expected a unit: day, hour, minute, second, millisecond or microsecond",
        ),
        (
            "SELECT COUNT(*) FROM input GROUP BY TumblingWindow(day, 8)",
            "line 1, column 37: the duration of a window is more than nothing and at most 7 days",
        ),
        (
            "SELECT COUNT(*) FROM input GROUP BY TumblingWindow(minute, 0)",
            "line 1, column 37: the duration of a window is more than nothing and at most 7 days",
        ),
        ("SELECT COUNT(*) FROM input GROUP BY TumblingWindow(minute, x)", "line 1, column 60: expected a whole number"),
        (
            "SELECT COUNT(*) FROM input GROUP BY HoppingWindow(minute, 5)",
            "line 1, column 37: a window takes a unit and 2 to 3 numbers",
        ),
        (
            "SELECT COUNT(*) FROM input GROUP BY HoppingWindow(microsecond, 1000000, 1)",
            "line 1, column 37: an event would lie in more than 10000 windows",
        ),
        (
            "SELECT COUNT(*) FROM input GROUP BY SessionWindow(minute, 5, 2)",
            "line 1, column 37: the longest duration of a session is at least its timeout",
        ),
        (
            "SELECT COUNT(*) FROM input GROUP BY TumblingWindow(minute, 1), SlidingWindow(minute, 1)",
            "line 1, column 64: a query has one window; write Windows(…) for several",
        ),
        (
            "SELECT SUM(COUNT(*)) FROM input GROUP BY TumblingWindow(minute, 1)",
            "line 1, column 12: an aggregate, `COUNT`, is not possible here",
        ),
        ("SELECT a FROM input WHERE COUNT(*) > 1", "line 1, column 27: an aggregate, `COUNT`, is not possible here"),
        (
            "SELECT d, COUNT(*) FROM input TIMESTAMP BY t OVER k GROUP BY d, TumblingWindow(minute, 1)",
            "line 1, column 62: GROUP BY must contain the key of PARTITION BY and of TIMESTAMP BY … OVER",
        ),
        (
            "SELECT COUNT(*) FROM input PARTITION BY PartitionId GROUP BY TumblingWindow(minute, 1)",
            "line 1, column 62: GROUP BY must contain the key of PARTITION BY and of TIMESTAMP BY … OVER",
        ),
        (
            "SELECT TopOne() FROM input GROUP BY TumblingWindow(minute, 1)",
            "line 1, column 8: `TopOne` needs OVER (ORDER BY …)",
        ),
        (
            "SELECT Percentile_Cont(2) OVER (ORDER BY x) FROM input GROUP BY TumblingWindow(minute, 1)",
            "line 1, column 24: a percentile is a number from 0 to 1",
        ),
        ("SELECT LAG(x) FROM input", "line 1, column 8: `LAG` needs OVER (… LIMIT DURATION(unit, number))"),
        (
            "SELECT LAG(x) OVER (LIMIT DURATION(day, 8)) FROM input",
            "line 1, column 27: LIMIT DURATION is more than nothing and at most 7 days",
        ),
        (
            "SELECT a.x FROM input a JOIN other b ON a.k = b.k",
            "line 1, column 45: a join of streams needs `DATEDIFF(unit, a, b) BETWEEN x AND y` in ON",
        ),
        (
            "SELECT a.x FROM input a JOIN other b ON DATEDIFF(day, a, b) BETWEEN 0 AND 8",
            "line 1, column 69: the bound of a join is longer than 7 days",
        ),
        (
            "SELECT AnomalyDetection_SpikeAndDip(x, 101, 10, 'spikes') OVER (LIMIT DURATION(minute, 1)) FROM input",
            "line 1, column 40: the confidence is a number from 1 to 100",
        ),
    ] {
        refused(text, expected);
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (text, expected) in [
        ("SELECT udf.f(a) FROM input", "line 1, column 8: not implemented: function `udf.f`"),
        ("SELECT a FROM input ORDER BY a", "line 1, column 21: not implemented: ORDER BY (a stream has no end)"),
        ("SELECT DISTINCT a FROM input", "line 1, column 8: not implemented: SELECT DISTINCT"),
        ("SELECT TOP 5 a FROM input", "line 1, column 8: not implemented: SELECT TOP"),
        ("SELECT a INTO o PARTITION BY a FROM input", "line 1, column 17: not implemented: INTO … PARTITION BY"),
        ("SELECT a FROM input, other", "line 1, column 20: not implemented: FROM with several inputs; write JOIN"),
        ("SELECT a.x FROM input a RIGHT JOIN other b ON 1 = 1", "line 1, column 25: not implemented: RIGHT JOIN"),
        ("SELECT a.x FROM input a FULL OUTER JOIN other b ON 1 = 1", "line 1, column 25: not implemented: FULL JOIN"),
        ("SELECT a.x FROM input a CROSS JOIN other b", "line 1, column 25: not implemented: CROSS JOIN"),
        ("SELECT a FROM input CROSS APPLY f(a) AS x", "line 1, column 33: not implemented: APPLY of f"),
        ("SELECT a FROM input EXCEPT SELECT a FROM other", "line 1, column 21: not implemented: `EXCEPT`"),
        ("SELECT a FROM input WHERE a IN (SELECT b FROM other)", "line 1, column 33: not implemented: IN with a query"),
        ("SELECT (SELECT a FROM other) FROM input", "line 1, column 8: not implemented: a query as a value"),
        (
            "SELECT CAST(a AS nvarchar(10)) FROM input",
            "line 1, column 27: not implemented: nvarchar of a length; write nvarchar(max)",
        ),
        (
            "SELECT COUNT(*) OVER (LIMIT DURATION(minute, 1)) FROM input GROUP BY TumblingWindow(minute, 1)",
            "line 1, column 8: not implemented: `COUNT` OVER anything but ORDER BY",
        ),
        (
            "SELECT a FROM input WHERE a LIKE b",
            "line 1, column 34: not implemented: the pattern of LIKE that is not written as a text",
        ),
        ("CREATE TABLE t (a bigint)", "line 1, column 1: not implemented: CREATE statements"),
        (
            "SELECT LAG(a.x) OVER (LIMIT DURATION(minute, 1)) FROM input a CROSS APPLY GetArrayElements(a.l) AS e",
            "line 1, column 1: not implemented: LAG, LAST, ISFIRST and the like in a query with JOIN or APPLY; use a step",
        ),
    ] {
        refused(text, expected);
    }
}

#[test]
fn a_text_is_bounded() {
    let bounded = |text: &str, message: &str| {
        let error = Job::parse(text, &settings()).expect_err("past a bound");
        assert!(error.message.contains(message), "{error}");
    };
    let parse = |text: &str| Job::parse(text, &settings()).map(|_| ());
    bounded(&" ".repeat(TEXT_BYTES_MAX + 1), "longer than");
    bounded(&format!("SELECT {}1{} FROM input", "(".repeat(100_000), ")".repeat(100_000)), "nested deeper");
    bounded(&format!("SELECT {} a FROM input", "NOT ".repeat(60_000)), "nested deeper");
    bounded(&format!("SELECT {}1 FROM input", "- ".repeat(100_000)), "nested deeper");
    bounded(&format!("SELECT 1{} FROM input", " + 1".repeat(50_000)), "levels");
    bounded(&format!("SELECT a{} FROM input", ".a".repeat(50_000)), "parts");
    bounded(&format!("SELECT f(a){} FROM input", ".a".repeat(50_000)), "levels");
    bounded(&format!("SELECT {} FROM input", "CASE WHEN ".repeat(20_000)), "nested deeper");
    bounded(&"SELECT * FROM (".repeat(10_000), "nested deeper");
    let mut columns = String::from("SELECT 1 AS c");
    for column in 0..LIST_MAX {
        write!(columns, ", 1 AS c{column}").expect("a text");
    }
    bounded(&format!("{columns} FROM input"), "more than 1024 things selected");
    let selects = "SELECT * FROM input;".repeat(SELECTS_MAX);
    assert_eq!(parse(&selects), Ok(()));
    bounded(&format!("{selects}SELECT * FROM input"), "SELECTs");
    // A long chain is not deep.
    assert_eq!(parse(&format!("SELECT a FROM input WHERE a = 1{}", " OR a = 2".repeat(5_000))), Ok(()));
    assert_eq!(parse(&format!("SELECT 1{} FROM input", " + 1".repeat(200))), Ok(()));
}

#[test]
fn outputs_may_be_given_beforehand() {
    let mut settings = settings();
    settings.outputs = Some(vec!["Alerts".to_owned()]);
    let job = Job::parse("SELECT a INTO alerts FROM input; SELECT b INTO alerts FROM other", &settings).expect("a job");
    assert_eq!(job.outputs().collect::<Vec<_>>(), ["alerts"]);
    assert_eq!(job.inputs(), ["input", "other"]);
    let error = Job::parse("SELECT a FROM input", &settings).expect_err("no such output");
    assert_eq!(error.to_string(), "line 1, column 1: there is no output `output`");
}
