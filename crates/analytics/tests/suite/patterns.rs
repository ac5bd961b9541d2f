//! What rows and texts have in common: `autocluster`, `basket`, `diffpatterns`, `reduce`.

use gantry_analytics::{Ask, By, Cancel, Limits, Warehouse};

/// The rows that a text answers in their order, or why it is refused.
fn answer(text: &str) -> Result<Vec<String>, String> {
    let warehouse = Warehouse::new("telemetry", []);
    let limits = &|_: &[(String, gantry_kql::value::Value)]| Limits::default();
    let (now, by) = (638_400_000_000_000_000, By::default());
    let ask =
        Ask { database: None, text, parameters: &[], now, limits, rows_wanted: None, cancel: Cancel::default(), by };
    let table = warehouse.query(&ask).map_err(|wrong| wrong.to_string())?.remove(0);
    if let Some(failure) = table.failure {
        return Err(failure.to_string());
    }
    let row = |(chunk, row): (&gantry_analytics::Chunk, usize)| {
        let cells: Vec<String> = chunk.columns.iter().map(|column| column.value(row).to_string()).collect();
        cells.join("|")
    };
    Ok(table.chunks.iter().flat_map(|chunk| (0..chunk.rows).map(move |at| (chunk, at))).map(row).collect())
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(answer(text).unwrap(), expected, "{text}");
}

#[track_caller]
fn refused(text: &str, words: &str) {
    let wrong = answer(text).expect_err(text);
    assert!(wrong.contains(words), "{text}: {wrong}");
}

/// A thousand motors. Those of one maker at one site run hot, and every hot one has the new firmware.
const MOTORS: &str = "range n from 0 to 999 step 1
    | extend Site = case(n % 10 < 5, 'north', n % 10 < 8, 'south', 'east'), Maker = iff(n % 4 == 0, 'Acme', 'Bolt')
    | extend Hot = iff(Site == 'north' and Maker == 'Acme' or n % 100 == 7, 'yes', 'no')
    | extend Firmware = iff(Hot == 'yes', 2, 1)
    | project Site, Maker, Hot, Firmware ";

fn motors(then: &str) -> String {
    format!("{MOTORS}{then}")
}

#[test]
fn basket_finds_every_frequent_pattern_once_with_what_belongs_to_it() {
    // Hot and firmware always go together, so neither is ever told alone.
    check(
        &motors("| evaluate basket(0.4) | project Count, Percent, Site, Maker, Hot, Firmware"),
        &["740|74.0||Bolt|no|1", "840|84.0|||no|1", "750|75.0||Bolt||", "500|50.0|north|||"],
    );
}

#[test]
fn a_pattern_is_no_more_frequent_than_the_threshold_says() {
    check(&motors("| evaluate basket(0.84) | count"), &["1"]);
    check(&motors("| evaluate basket(0.841) | count"), &["0"]);
}

#[test]
fn weights_count_instead_of_rows() {
    check(
        "datatable(a: string, w: long) ['x', 9, 'y', 1, 'y', 2] | evaluate basket(0.5, w) | project Count, Percent, a",
        &["9|75.0|x"],
    );
    refused("datatable(a: string, w: long) ['x', -1] | evaluate basket(0.5, w)", "a weight must be a number from 0");
    refused("datatable(a: string) ['x'] | evaluate basket(0.5, 'a')", "WeightColumn must be a column");
}

#[test]
fn columns_that_do_not_matter_are_empty_or_hold_the_wildcard_of_their_type() {
    let rows = "datatable(a: string, n: long) ['x', 1, 'x', 2, 'x', 3] | evaluate basket(0.5";
    check(&format!("{rows}) | project a, n"), &["x|"]);
    check(&format!("{rows}, '~', '~', '*', -1) | project a, n"), &["x|-1"]);
}

#[test]
fn missing_values_are_in_no_pattern() {
    check("datatable(a: string, n: long) ['', 1, '', 1] | evaluate basket(0.5) | project Count, a, n", &["2||1"]);
    check("datatable(n: long) [long(null), long(null)] | evaluate basket(0.5) | count", &["0"]);
    check("datatable(n: long) [] | evaluate autocluster() | count", &["0"]);
}

#[test]
fn autocluster_tells_the_fault_in_one_dimension_apart() {
    let rows = answer(&motors("| evaluate autocluster() | project Count, Site, Maker, Hot, Firmware")).unwrap();
    assert!(rows.iter().any(|row| row == "150|north|Acme|yes|2" || row == "160|||yes|2"), "{rows:?}");
    assert!(rows.len() <= 8, "{rows:?}");
}

#[test]
fn diffpatterns_names_what_parts_two_sets() {
    // All 150 hot motors of the north are by one maker; ten others are hot without a reason.
    let rows = answer(&motors("| evaluate diffpatterns(Hot, 'yes', 'no')")).unwrap();
    assert_eq!(
        rows[0].split('|').skip(1).take(5).collect::<Vec<_>>(),
        ["160", "0", "100.0", "0.0", "100.0"],
        "{rows:?}"
    );
    let rows = answer(&motors("| project-away Firmware | evaluate diffpatterns(Hot, 'yes', 'no')")).unwrap();
    assert_eq!(rows[0], "0|150|0|93.75|0.0|93.75|north|Acme|", "{rows:?}");
}

#[test]
fn arguments_out_of_bounds_are_refused() {
    for share in ["0.0", "1.0", "-0.5", "0.015"] {
        refused(&motors(&format!("| evaluate basket({share})")), "Threshold must be a number above 0.015 and below 1");
    }
    refused(&motors("| evaluate autocluster(1.5)"), "SizeWeight must be a number above 0 and below 1");
    refused(&motors("| evaluate basket(0.1, '~', 0)"), "MaxDimensions must be a whole number from 1");
}

#[test]
fn too_many_patterns_are_refused_by_name() {
    let columns: Vec<String> = (0..40).map(|at| format!("c{at} = n / {} % 2", at * 7 + 1)).collect();
    let text =
        format!("range n from 1 to 500 step 1 | project {} | evaluate basket(0.02, '~', 40)", columns.join(", "));
    refused(&text, "raise Threshold, lower MaxDimensions or project fewer columns");
}

#[test]
fn texts_that_are_alike_become_a_pattern() {
    let lines = "range n from 1 to 90 step 1
        | extend line = case(n % 3 == 0, strcat('motor ', n, ' failed with code 0x', n), n % 3 == 1,
                             strcat('connection from 10.0.0.', n, ':443 closed'), tostring(hash_md5(tostring(n))))
        | reduce by line";
    check(
        lines,
        &[
            "connection from * closed|30|connection from 10.0.0.1:443 closed",
            "motor * failed with code *|30|motor 3 failed with code 0x3",
            "others|30|",
        ],
    );
}

#[test]
fn what_parts_words_can_be_said() {
    let texts = "range x from 1 to 10 step 1 | project text = strcat('foo', 'Z', x) | reduce by text";
    check(texts, &["others|10|"]);
    check(&format!("{texts} with characters='Z'"), &["foo*|10|fooZ1"]);
    check(&format!("{texts} with characters='Z', threshold=0.5"), &["foo*|10|fooZ1"]);
    refused(&format!("{texts} with threshold=1.0"), "threshold must be a number above 0 and below 1");
    refused(&format!("{texts} with treshold=0.1"), "unknown property `treshold`");
}
