//! Windows: what lies in them, when they end, what is not in them.

use crate::common::{Trial, check, settings};

const COUNT: &str = "SELECT COUNT(*) AS n INTO output FROM input GROUP BY ";

#[track_caller]
fn count(window: &str, events: &[&str], expected: &[&str]) {
    let events: Vec<_> = events.iter().map(|arrival| (*arrival, "{}")).collect();
    check(&format!("{COUNT}{window}"), &events, expected);
}

#[test]
fn a_tumbling_window_includes_its_end_and_not_its_start() {
    count(
        "TumblingWindow(minute, 5)",
        &["11:55:00", "11:55:01", "12:00:00", "12:00:00.0000001", "12:05:00"],
        &[r#"11:55:00 {"n":1}"#, r#"12:00:00 {"n":2}"#, r#"12:05:00 {"n":2}"#],
    );
}

#[test]
fn hourly_windows_end_on_the_hour_and_days_at_midnight() {
    count("TumblingWindow(hour, 1)", &["12:34:56"], &[r#"13:00:00 {"n":1}"#]);
    count("TumblingWindow(day, 1)", &["12:34:56"], &[r#"2024-01-02T00:00:00 {"n":1}"#]);
}

#[test]
fn an_offset_moves_the_ends() {
    count(
        "TumblingWindow(Duration(minute, 5), Offset(millisecond, -1))",
        &["11:59:59.999", "12:00:00", "12:04:59.9990001"],
        &[r#"11:59:59.999 {"n":1}"#, r#"12:04:59.999 {"n":1}"#, r#"12:09:59.999 {"n":1}"#],
    );
    count("TumblingWindow(minute, 5, 2)", &["12:01:00"], &[r#"12:02:00 {"n":1}"#]);
    count(
        "TumblingWindow(minute, 5, Offset(second, 30))",
        &["12:00:30", "12:00:31"],
        &[r#"12:00:30 {"n":1}"#, r#"12:05:30 {"n":1}"#],
    );
}

#[test]
fn an_event_lies_in_as_many_hopping_windows_as_cover_it() {
    count(
        "HoppingWindow(second, 10, 5)",
        &["12:00:05", "12:00:06"],
        &[r#"12:00:05 {"n":1}"#, r#"12:00:10 {"n":2}"#, r#"12:00:15 {"n":1}"#],
    );
    // Windows that leave time out between them.
    count(
        "HoppingWindow(Duration(second, 2), Hop(second, 10))",
        &["12:00:05", "12:00:09", "12:00:10"],
        &[r#"12:00:10 {"n":2}"#],
    );
}

#[test]
fn a_sliding_window_fires_when_its_content_changes() {
    count(
        "SlidingWindow(second, 10)",
        &["12:00:00", "12:00:04", "12:00:04", "12:00:30"],
        &[
            r#"12:00:00 {"n":1}"#,
            // Both enter together.
            r#"12:00:04 {"n":3}"#,
            // The first leaves; when the others leave nothing is left.
            r#"12:00:10 {"n":2}"#,
            r#"12:00:30 {"n":1}"#,
        ],
    );
    // One leaves when another enters: one row.
    count("SlidingWindow(second, 10)", &["12:00:00", "12:00:10"], &[r#"12:00:00 {"n":1}"#, r#"12:00:10 {"n":1}"#]);
}

#[test]
fn a_sliding_window_forgets_what_left_it() {
    check(
        "SELECT SUM(x) AS s, MIN(x) AS low, MAX(x) AS high, STDEVP(x) AS d, TopOne() OVER (ORDER BY x DESC) AS top
         INTO output FROM input GROUP BY SlidingWindow(second, 10)",
        &[("12:00:00", r#"{"x":1e17}"#), ("12:00:05", r#"{"x":1.0}"#), ("12:00:06", r#"{"x":3.0}"#)],
        &[
            r#"12:00:00 {"s":1e+17,"low":1e+17,"high":1e+17,"d":0.0,"top":{"x":1e+17}}"#,
            r#"12:00:05 {"s":1e+17,"low":1.0,"high":1e+17,"d":5e+16,"top":{"x":1e+17}}"#,
            r#"12:00:06 {"s":1e+17,"low":1.0,"high":1e+17,"d":4.714045207910317e+16,"top":{"x":1e+17}}"#,
            r#"12:00:10 {"s":4.0,"low":1.0,"high":3.0,"d":1.0,"top":{"x":3.0}}"#,
            r#"12:00:15 {"s":3.0,"low":3.0,"high":3.0,"d":0.0,"top":{"x":3.0}}"#,
        ],
    );
    check(
        "SELECT COUNT(DISTINCT x) AS n, Collect(x) AS c, Percentile_Disc(0.5) OVER (ORDER BY x) AS p
         INTO output FROM input GROUP BY SlidingWindow(second, 10)",
        &[("12:00:00", r#"{"x":1}"#), ("12:00:05", r#"{"x":2}"#)],
        &[
            r#"12:00:00 {"n":1,"c":[1],"p":1}"#,
            r#"12:00:05 {"n":2,"c":[1,2],"p":1}"#,
            r#"12:00:10 {"n":1,"c":[2],"p":2}"#,
        ],
    );
}

#[test]
fn a_session_ends_after_its_timeout() {
    count(
        "SessionWindow(second, 5, 600)",
        &["12:00:01", "12:00:06", "12:00:11", "12:00:20"],
        &[r#"12:00:16 {"n":3}"#, r#"12:00:25 {"n":1}"#],
    );
    count("SessionWindow(Timeout(second, 5), MaxDuration(minute, 10))", &["12:00:01"], &[r#"12:00:06 {"n":1}"#]);
}

#[test]
fn a_session_is_cut_at_a_multiple_of_its_longest_duration() {
    // It begins at 12:00:08; at 12:00:10 it is 2 s long, at 12:00:20 it is 12 s long and is cut.
    count(
        "SessionWindow(second, 5, 10)",
        &["12:00:08", "12:00:12", "12:00:16", "12:00:20", "12:00:24"],
        &[r#"12:00:20 {"n":4}"#, r#"12:00:29 {"n":1}"#],
    );
    // One that begins on a multiple is cut at the next.
    count(
        "SessionWindow(second, 5, 10)",
        &["12:00:00", "12:00:04", "12:00:08", "12:00:12"],
        &[r#"12:00:10 {"n":3}"#, r#"12:00:17 {"n":1}"#],
    );
}

#[test]
fn sessions_of_partitions_are_apart() {
    check(
        "SELECT d, COUNT(*) AS n INTO output FROM input
         GROUP BY d, SessionWindow(second, 5, 600) OVER (PARTITION BY d)",
        &[
            ("12:00:00", r#"{"d":"a"}"#),
            ("12:00:04", r#"{"d":"b"}"#),
            ("12:00:08", r#"{"d":"a"}"#),
            ("12:00:09", r#"{"d":"b"}"#),
        ],
        &[r#"12:00:05 {"d":"a","n":1}"#, r#"12:00:13 {"d":"a","n":1}"#, r#"12:00:14 {"d":"b","n":2}"#],
    );
    // Without OVER one session holds all of them.
    check(
        "SELECT d, COUNT(*) AS n INTO output FROM input GROUP BY d, SessionWindow(second, 5, 600)",
        &[("12:00:00", r#"{"d":"a"}"#), ("12:00:04", r#"{"d":"b"}"#), ("12:00:08", r#"{"d":"a"}"#)],
        &[r#"12:00:13 {"d":"a","n":2}"#, r#"12:00:13 {"d":"b","n":1}"#],
    );
}

#[test]
fn a_snapshot_groups_what_has_one_time() {
    count("System.Timestamp()", &["12:00:00", "12:00:00", "12:00:01"], &[r#"12:00:00 {"n":2}"#, r#"12:00:01 {"n":1}"#]);
    count("System.Timestamp", &["12:00:00"], &[r#"12:00:00 {"n":1}"#]);
}

#[test]
fn several_windows_are_told_apart_by_their_ids() {
    check(
        "SELECT System.Window().Id AS w, System.Timestamp() AS t, System.Window().Start AS s, COUNT(*) AS n
         INTO output FROM input
         GROUP BY Windows(Window('1 min', TumblingWindow(minute, 1)), Window('hop', HoppingWindow(minute, 2, 1)))",
        &[("12:00:30", "{}")],
        &[
            r#"12:01:00 {"w":"1 min","t":"2024-01-01T12:01:00.0000000Z","s":"2024-01-01T12:00:00.0000000Z","n":1}"#,
            r#"12:01:00 {"w":"hop","t":"2024-01-01T12:01:00.0000000Z","s":"2024-01-01T11:59:00.0000000Z","n":1}"#,
            r#"12:02:00 {"w":"hop","t":"2024-01-01T12:02:00.0000000Z","s":"2024-01-01T12:00:00.0000000Z","n":1}"#,
        ],
    );
}

#[test]
fn an_empty_window_gives_no_row() {
    count("TumblingWindow(minute, 1)", &["12:00:30", "12:10:30"], &[r#"12:01:00 {"n":1}"#, r#"12:11:00 {"n":1}"#]);
    check(
        "SELECT COUNT(*) AS n INTO output FROM input WHERE x > 1 GROUP BY TumblingWindow(minute, 1)",
        &[("12:00:30", r#"{"x":1}"#)],
        &[],
    );
}

#[test]
fn all_aggregates_over_a_window() {
    check(
        "SELECT COUNT(*) AS n, COUNT(x) AS nx, COUNT(DISTINCT x) AS dx, SUM(x) AS s, AVG(x) AS a, MIN(x) AS mi, MAX(x) AS ma,
                STDEV(x) AS sd, STDEVP(x) AS sp, VAR(x) AS v, VARP(x) AS vp,
                Percentile_Cont(0.5) OVER (ORDER BY x) AS pc, Percentile_Disc(0.75) OVER (ORDER BY x DESC) AS pd,
                TopOne() OVER (ORDER BY x DESC, k) AS top, Collect() AS c, CollectTop(2) OVER (ORDER BY x) AS ct,
                SUM(x) FILTER (WHERE k > 1) AS f
         INTO output FROM input GROUP BY TumblingWindow(minute, 1)",
        &[
            ("12:00:01", r#"{"k":1,"x":4}"#),
            ("12:00:02", r#"{"k":2,"x":2}"#),
            ("12:00:03", r#"{"k":3,"x":4}"#),
            ("12:00:04", r#"{"k":4,"x":null}"#),
            ("12:00:05", r#"{"k":5,"x":6}"#),
        ],
        &[concat!(
            r#"12:01:00 {"n":5,"nx":4,"dx":3,"s":16,"a":4.0,"mi":2,"ma":6,"#,
            r#""sd":1.632993161855452,"sp":1.4142135623730951,"v":2.6666666666666665,"vp":2.0,"#,
            r#""pc":4.0,"pd":4,"top":{"k":5,"x":6},"#,
            r#""c":[{"k":1,"x":4},{"k":2,"x":2},{"k":3,"x":4},{"k":4,"x":null},{"k":5,"x":6}],"#,
            r#""ct":[{"k":4,"x":null},{"k":2,"x":2}],"f":12}"#
        )],
    );
    check(
        "SELECT SUM(x) AS s, AVG(x) AS a, MIN(x) AS m, VAR(x) AS v, COUNT(x) AS c INTO output FROM input
         GROUP BY TumblingWindow(minute, 1)",
        &[("12:00:01", "{}")],
        &[r#"12:01:00 {"s":null,"a":null,"m":null,"v":null,"c":0}"#],
    );
}

#[test]
fn having_and_keys() {
    check(
        "SELECT System.Timestamp() AS t, d, LOWER(d) AS l, AVG(x) * 2 AS a INTO output FROM input i
         GROUP BY i.d, LOWER(d), TumblingWindow(minute, 1) HAVING AVG(x) > 1",
        &[
            ("12:00:01", r#"{"d":"A","x":1}"#),
            ("12:00:02", r#"{"d":"B","x":2}"#),
            ("12:00:03", r#"{"d":"B","x":3}"#),
            ("12:00:04", r#"{"x":3}"#),
        ],
        &[
            r#"12:01:00 {"t":"2024-01-01T12:01:00.0000000Z","d":null,"l":null,"a":6.0}"#,
            r#"12:01:00 {"t":"2024-01-01T12:01:00.0000000Z","d":"B","l":"b","a":5.0}"#,
        ],
    );
}

#[test]
fn windows_of_windows() {
    // The rows of the first have the time of their end, and lie in the window that ends with it.
    check(
        "WITH minutes AS (SELECT d, AVG(x) AS a FROM input GROUP BY d, TumblingWindow(minute, 1))
         SELECT COUNT(*) AS n, MAX(a) AS m INTO output FROM minutes GROUP BY TumblingWindow(minute, 2)",
        &[
            ("12:00:30", r#"{"d":"a","x":1}"#),
            ("12:01:30", r#"{"d":"a","x":2}"#),
            ("12:01:31", r#"{"d":"b","x":5}"#),
            ("12:02:30", r#"{"d":"a","x":3}"#),
        ],
        &[r#"12:02:00 {"n":3,"m":5.0}"#, r#"12:04:00 {"n":1,"m":3.0}"#],
    );
}

#[test]
fn a_window_is_given_when_time_passes_its_end_and_not_before() {
    let mut trial = Trial::new(&format!("{COUNT}TumblingWindow(minute, 1)"), &settings());
    trial.push("input", 0, "12:00:30", "{}");
    trial.push("input", 0, "12:01:00", "{}");
    // More events may come at the very end.
    assert_eq!(trial.rows(), [""; 0]);
    trial.push("input", 0, "12:01:00", "{}");
    trial.push("input", 0, "12:01:00.0000001", "{}");
    assert_eq!(trial.rows(), [r#"12:01:00 {"n":3}"#]);
}
