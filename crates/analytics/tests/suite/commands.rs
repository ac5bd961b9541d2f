//! Commands against tables in memory: what they change, what they answer, what they refuse.

use std::sync::{Arc, Mutex};

use gantry_analytics::outside::{Found, Outside};
use gantry_analytics::{Ask, By, Cancel, Chunk, Context, Flow, Limits, Rejected, Source, Table, Warehouse};
use gantry_kql::bound::Column;
use gantry_kql::value::Type;

/// A table that the platform makes itself.
struct Devices;

impl Source for Devices {
    fn about(&self) -> &'static str {
        "Devices."
    }

    fn columns(&self) -> gantry_analytics::Result<Vec<Column>> {
        Ok(vec![Column::new("DeviceId", Type::String)])
    }

    fn scan(
        &self,
        _: &[Column],
        _: &gantry_analytics::pushdown::Need,
        _: &Context,
        _: &mut dyn FnMut(Chunk) -> gantry_analytics::Result<Flow>,
    ) -> gantry_analytics::Result<Flow> {
        Ok(Flow::More)
    }
}

/// Files in memory, below `file:///data/`.
#[derive(Default)]
struct Files(Mutex<Vec<(String, Vec<u8>)>>);

impl Outside for Files {
    fn check(&self, uri: &str) -> Result<(), String> {
        if uri.starts_with("file:///data/") { Ok(()) } else { Err(format!("`{uri}` may not be named")) }
    }

    fn read(&self, uri: &str, _: u64) -> Result<Vec<u8>, String> {
        self.check(uri)?;
        let files = self.0.lock().unwrap();
        files.iter().find(|(name, _)| name == uri).map(|(_, bytes)| bytes.clone()).ok_or("it is not there".into())
    }

    fn list(&self, uri: &str) -> Result<Vec<Found>, String> {
        let files = self.0.lock().unwrap();
        let below = files.iter().filter(|(name, _)| name.starts_with(uri));
        Ok(below.map(|(name, bytes)| Found { uri: name.clone(), size: bytes.len() as u64 }).collect())
    }

    fn write(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<String, String> {
        self.check(folder)?;
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        self.0.lock().unwrap().push((path.clone(), bytes.to_vec()));
        Ok(path)
    }
}

fn warehouse() -> Arc<Warehouse> {
    let devices: Arc<dyn Source> = Arc::new(Devices);
    let warehouse = Warehouse::new("telemetry", [("Devices".to_owned(), devices)]);
    Arc::new(warehouse.with_outside(Arc::new(Files::default())))
}

const NOW: i64 = 638_400_000_000_000_000;

fn ask_of<'a>(text: &'a str, by: By, now: i64) -> Ask<'a> {
    let limits = &|_: &[(String, gantry_kql::value::Value)]| Limits::default();
    Ask { database: None, text, parameters: &[], now, limits, rows_wanted: None, cancel: Cancel::default(), by }
}

fn writer() -> By {
    By { principal: "policy=service".into(), may_write: true, ..By::default() }
}

fn administrator() -> By {
    By { principal: "user=admin".into(), may_write: true, may_administer: true, ..By::default() }
}

fn run_as(warehouse: &Warehouse, text: &str, by: By) -> Result<Vec<Table>, Rejected> {
    let ask = ask_of(text, by, NOW);
    if gantry_kql::command::is_command(text) { warehouse.command(&ask) } else { warehouse.query(&ask) }
}

fn rows_of(table: &Table) -> Vec<String> {
    assert_eq!(table.failure, None);
    let mut rows = Vec::new();
    for chunk in &table.chunks {
        for row in 0..chunk.rows {
            let cells: Vec<String> = chunk.columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    rows
}

/// The rows that a text answers, sorted.
#[track_caller]
fn rows(warehouse: &Warehouse, text: &str) -> Vec<String> {
    let tables = run_as(warehouse, text, writer()).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
    let mut rows = rows_of(&tables[0]);
    rows.sort();
    rows
}

#[track_caller]
fn done(warehouse: &Warehouse, text: &str) {
    rows(warehouse, text);
}

/// Why a text is refused.
#[track_caller]
fn refused(warehouse: &Warehouse, text: &str) -> String {
    match run_as(warehouse, text, writer()) {
        Err(wrong) => wrong.to_string(),
        Ok(tables) => match tables.into_iter().find_map(|table| table.failure) {
            Some(failure) => failure.to_string(),
            None => panic!("{text} is not refused"),
        },
    }
}

#[track_caller]
fn check(warehouse: &Warehouse, text: &str, expected: &[&str]) {
    assert_eq!(rows(warehouse, text), expected, "{text}");
}

#[test]
fn tables_are_made_changed_and_dropped() {
    let w = warehouse();
    check(
        &w,
        ".create table T (a:long, b:string) with (folder='f', docstring='d') | project TableName, Folder, DocString",
        &["T|f|d"],
    );
    // It is there: nothing changes, whatever is asked for.
    done(&w, ".create table T (x:real)");
    check(&w, ".show table T cslschema | project Schema", &["a:long,b:string"]);
    check(&w, ".create-merge table T (b:string, c:datetime) | project TableName", &["T"]);
    assert!(refused(&w, ".create-merge table T (a:string)").contains("is of type long"));
    done(&w, ".ingest inline into table T <| 1,x,2024-01-02\n2,y,");
    check(&w, "T | project a, b, c", &["1|x|2024-01-02T00:00:00Z", "2|y|"]);
    // Columns that come back are new ones: what was in the old ones is gone.
    done(&w, ".alter table T (b:string, d:long)");
    done(&w, ".alter-merge table T (a:long)");
    check(&w, "T | project a, b, d", &["|x|", "|y|"]);
    done(&w, ".rename column T.b to e");
    done(&w, ".alter column T.a type=string");
    check(&w, ".show table T cslschema | project Schema", &["e:string,d:long,a:string"]);
    done(&w, ".rename columns e = T.d, d = T.e");
    check(&w, "T | project d", &["x", "y"]);
    assert!(refused(&w, ".rename column T.e to d").contains("already exists"));
    done(&w, ".drop table T columns (e, a)");
    assert!(refused(&w, ".drop column T.d").contains("needs a column"));
    done(&w, ".create table U based-on T");
    check(&w, ".show tables | where TableName != 'Devices' | project TableName", &["T", "U"]);
    done(&w, ".rename tables T = U, U = T");
    check(&w, "U | count", &["2"]);
    check(&w, ".clear table U data", &["Succeeded"]);
    check(&w, "U | count", &["0"]);
    check(&w, ".drop tables (T, Nothing) ifexists | project TableName", &["U"]);
    assert!(refused(&w, ".drop table T").contains("Entity ID 'T' of kind 'Table' was not found."));
}

#[test]
fn tables_of_the_platform_refuse_to_be_changed_by_name() {
    let w = warehouse();
    for text in [
        ".create table Devices (a:long)",
        ".drop table Devices",
        ".alter column Devices.DeviceId type=long",
        ".rename table Devices to D",
        ".clear table Devices data",
        ".ingest inline into table Devices <| x",
        ".set-or-append Devices <| print DeviceId='x'",
        ".alter table Devices policy update @'[{\"Source\":\"Devices\",\"Query\":\"Devices\",\"IsEnabled\":true}]'",
    ] {
        assert!(refused(&w, text).contains("`Devices`"), "{text}");
    }
    check(&w, ".show table Devices cslschema | project Schema, DocString", &["DeviceId:string|Devices."]);
}

#[test]
fn who_only_reads_changes_nothing() {
    let w = warehouse();
    for text in
        [".create table T (a:long)", ".set T <| print 1", ".execute database script <| .create table T (a:long)"]
    {
        let answer = run_as(&w, text, By::default());
        let told = answer.map(|tables| rows_of(&tables[0]).join("\n")).unwrap_or_else(|wrong| wrong.to_string());
        assert!(told.contains("not authorized"), "{text}: {told}");
    }
    assert!(run_as(&w, ".show tables", By::default()).is_ok());
    assert_eq!(w.store().snapshot().definitions.tables.len(), 0);
}

#[test]
fn functions_are_checked_when_they_are_made() {
    let w = warehouse();
    done(&w, ".create table T (a:long, s:string)");
    done(&w, ".create function with (docstring='d', folder='f') Above(least:long) { T | where a > least }");
    done(&w, ".create function Twice(x:long = 1) { x * 2 }");
    check(&w, ".show function Above | project Parameters, Body, Folder", &["(least:long)|{ T | where a > least }|f"]);
    done(&w, ".ingest inline into table T <| 1,x\n5,y");
    check(&w, "Above(2) | project a", &["5"]);
    check(&w, "print Twice(21)", &["42"]);
    let wrong = refused(&w, ".create function Bad() {\n  T\n  | where nothing > 1\n}");
    assert!(wrong.contains("SEM0100") && wrong.contains("[line:position=3:11]"), "{wrong}");
    assert!(refused(&w, ".create function Above(least:long) { T }").contains("already exists"));
    done(&w, ".create ifnotexists function Above(least:long) { T }");
    done(&w, ".create-or-alter function with (skipvalidation=true) Later() { Unknown | take 1 }");
    assert!(refused(&w, ".alter function Nobody() { T }").contains("was not found"));
    done(&w, ".alter function Above folder \"g\"");
    check(&w, ".show functions | project Name, Folder", &["Above|g", "Later|", "Twice|"]);
    check(&w, ".drop function Later", &["Later"]);
}

#[test]
fn set_and_append_make_extend_and_replace() {
    let w = warehouse();
    assert_eq!(rows(&w, ".set T with (folder='f') <| range a from 1 to 3 step 1 | extend b = tostring(a)").len(), 1);
    assert!(refused(&w, ".set T <| print 1").contains("already exists"));
    done(&w, ".append T <| print x = int(4), y = 'd'");
    check(&w, "T | summarize sum(a), count()", &["10|4"]);
    let wrong = refused(&w, ".append T <| print x = 'd', y = 4");
    assert!(wrong.contains("does not match") && wrong.contains("a:long,b:string"), "{wrong}");
    let wrong = refused(&w, ".append T <| T\n| where nothing");
    assert!(wrong.contains("[line:position=2:9]"), "{wrong}");
    done(&w, ".set-or-append T with (extend_schema=true) <| print 5, 'e', 1.5");
    check(&w, ".show table T cslschema | project Schema", &["a:long,b:string,print_2:real"]);
    done(&w, ".set-or-replace T <| print 1, 'x', 2.5");
    check(&w, "T", &["1|x|2.5"]);
    done(&w, ".set-or-replace T with (recreate_schema=true) <| print z = 7");
    check(&w, "T", &["7"]);
    assert!(refused(&w, ".append Nothing <| print 1").contains("was not found"));
    assert!(refused(&w, ".append T with (colour='red') <| print 1").contains("`colour`"));
}

#[test]
fn data_with_one_name_comes_once() {
    let w = warehouse();
    done(&w, ".create table T (a:long)");
    for _ in 0..3 {
        done(&w, ".ingest inline into table T with (ingestIfNotExists='[\"day1\"]', tags='[\"drop-by:x\"]') <| 1");
    }
    check(&w, "T | count", &["1"]);
    check(&w, ".show table T extents | project RowCount, Tags", &["1|drop-by:x\r\ningest-by:day1"]);
    // Without a cold storage everything is hot.
    for text in [".show extents hot", ".show table T extents hot", ".show database telemetry extents hot"] {
        check(&w, &format!("{text} | project RowCount"), &["1"]);
    }
    let ask = ask_of("", writer(), NOW);
    for _ in 0..3 {
        w.ingest(&ask, "T", b"7", &[], "", Some("request".into())).unwrap();
    }
    check(&w, "T | count", &["2"]);
    check(&w, ".show table T extents | where Tags has 'request' | count", &["0"]);
}

#[test]
fn inline_data_is_rows_in_brackets_or_of_any_format() {
    let w = warehouse();
    done(&w, ".create table L (Timestamp:datetime, Trace:dynamic)");
    done(&w, ".ingest inline into table L [2015-01-01,\"{\"\"EventType\"\":\"\"Demo\"\"}\"]");
    check(&w, "L | project Trace.EventType", &["Demo"]);
    done(
        &w,
        ".ingest inline into table L with (format='multijson') <| [{\"Timestamp\":\"2016-01-01\",\"Trace\":[1]},{\"Trace\":2}]",
    );
    check(&w, "L | where Timestamp > datetime(2015-06-01) | project tostring(Trace)", &["[1]"]);
    let wrong = refused(&w, ".ingest inline into table L with (format='json') <| {\"Trace\":1}\n{oops}");
    assert!(wrong.contains("line 2"), "{wrong}");
    check(&w, "L | count", &["3"]);
    assert!(refused(&w, ".ingest inline into table L with (format='orc') <| x").contains("`orc` is not implemented"));
}

#[test]
fn mappings_are_stored_and_used() {
    let w = warehouse();
    done(&w, ".create table T (a:long, t:datetime, d:dynamic, s:string, n:long)");
    let json = r#"[{"Column":"a","Properties":{"Path":"$.x.y[1]"}},{"Column":"t","Properties":{"Path":"$.at","Transform":"DateTimeFromUnixMilliseconds"}},{"Column":"d","Properties":{"Path":"$.tags","Transform":"PropertyBagArrayToDictionary"}},{"Column":"s","Properties":{"ConstValue":"const"}},{"Column":"n","Properties":{"Transform":"SourceLineNumber"}}]"#;
    check(
        &w,
        &format!(".create table T ingestion json mapping 'M' '{json}' | project Name, Kind, Table"),
        &["M|Json|T"],
    );
    assert!(refused(&w, &format!(".create table T ingestion json mapping 'M' '{json}'")).contains("already exists"));
    done(
        &w,
        ".ingest inline into table T with (format='json', ingestionMappingReference='M') <| {\"x\":{\"y\":[1,2]},\"at\":1700000000000,\"tags\":[{\"k\":1},{\"l\":2}]}",
    );
    check(&w, "T", &["2|2023-11-14T22:13:20Z|{\"k\":1,\"l\":2}|const|1"]);
    assert!(
        refused(&w, ".ingest inline into table T with (format='csv', ingestionMappingReference='M') <| 1")
            .contains("'M'")
    );
    assert!(refused(&w, ".create table T ingestion json mapping 'N' '[{\"Path\":1}]'").contains("column 0"));
    // A column that only the mapping has is added with the type it says.
    done(
        &w,
        ".ingest inline into table T with (format='csv', ingestionMapping='[{\"Column\":\"new\",\"DataType\":\"real\",\"Properties\":{\"Ordinal\":0}}]') <| 1.5",
    );
    check(&w, "T | where isnotnull(new) | project new", &["1.5"]);
    check(&w, ".drop table T ingestion json mapping 'M' | count", &["0"]);
}

#[test]
fn values_of_another_type_become_null_and_texts_of_another_format_are_refused() {
    let w = warehouse();
    done(
        &w,
        ".create table T (b:bool, i:int, l:long, r:real, d:decimal, s:string, t:datetime, p:timespan, g:guid, y:dynamic)",
    );
    done(
        &w,
        ".ingest inline into table T <| x,x,x,x,x,x,x,x,x,x\n,,,,,,,,,\n1,5000000000,1.5,nan,1.10,\"a,\"\"b\"\"\",2024-02-30,1d,74be27de-1e4e-49d9-b579-fe0b331d3642,{}",
    );
    let kept = "true|||NaN|1.10|a,\"b\"||1.00:00:00|74be27de-1e4e-49d9-b579-fe0b331d3642|{}";
    check(&w, "T", &[kept, "|||||x||||x", "|||||||||"]);
    let wrong = refused(&w, ".ingest inline into table T <| 1,2\n3,\"open");
    assert!(wrong.contains("line 2"), "{wrong}");
}

#[test]
fn every_format_of_text_is_read() {
    let w = warehouse();
    done(&w, ".create table T (a:string, b:string)");
    let ask = ask_of("", writer(), NOW);
    let text = |value: &str| gantry_kql::value::Value::String(value.into());
    for (format, data, expected) in [
        ("tsv", "1\t\"x y\"\r\n", "1|x y"),
        ("scsv", "1;2", "1|2"),
        ("psv", "1|2", "1|2"),
        ("sohsv", "1\u{1}2", "1|2"),
        ("tsve", "1\\t2\tx\\\\y", "1\t2|x\\y"),
        ("txt", "one, line\n", "one, line|"),
        ("raw", "all\nof it", "all\nof it|"),
        ("json", "{\"a\":1,\"b\":true}", "1|true"),
        ("singlejson", "{\n\"a\":\"x\"\n}", "x|"),
        ("w3clogfile", "#Version: 1.0\n#Fields: b a\n- 7\n", "7|"),
    ] {
        w.ingest(&ask, "T", data.as_bytes(), &[("format".into(), text(format))], "", None)
            .unwrap_or_else(|wrong| panic!("{format}: {wrong}"));
        check(&w, "T", &[expected]);
        done(&w, ".clear table T data");
    }
    for (format, data) in [
        ("json", &b"{\"a\":1}\n[1]"[..]),
        ("singlejson", b"[1"),
        ("w3clogfile", b"1 2"),
        ("csv", b"\xff\xfe"),
        ("parquet", b"PAR1 no PAR1"),
        ("avro", b"Obj\x01"),
        ("nonsense", b""),
    ] {
        assert!(w.ingest(&ask, "T", data, &[("format".into(), text(format))], "", None).is_err(), "{format}");
    }
    check(&w, "T | count", &["0"]);
    check(&w, ".show ingestion failures | count", &["7"]);
}

#[test]
fn compressed_data_is_read_within_bounds() {
    use std::io::Write as _;
    let w = warehouse();
    done(&w, ".create table T (a:long)");
    let ask = ask_of("", writer(), NOW);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"1\n2\n").unwrap();
    w.ingest(&ask, "T", &packed.finish().unwrap(), &[], "x.csv.gz", None).unwrap();
    check(&w, "T | count", &["2"]);
    let bomb = vec![0_u8; 4 << 20];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&bomb).unwrap();
    let bomb = packed.finish().unwrap();
    assert!(gantry_analytics::ingest::inflated_within(&bomb, 1 << 20).unwrap_err().message.contains("larger than"));
    for broken in [&b"\x1f\x8bxxxx"[..], b"PK\x03\x04", b"PK\x03\x04PK\x05\x06zzzzzzzzzzzzzzzzzzzz"] {
        assert!(w.ingest(&ask, "T", broken, &[], "", None).is_err());
    }
}

#[test]
fn policies_are_checked_stored_and_shown() {
    let w = warehouse();
    done(&w, ".create table T (a:long)");
    check(
        &w,
        ".show table T policy retention | project PolicyName, EntityName, Policy, EntityType",
        &["RetentionPolicy|[telemetry].[T]|null|Table"],
    );
    done(&w, ".alter-merge table T policy retention softdelete = 10d recoverability = disabled");
    check(
        &w,
        ".show table T policy retention | project Policy",
        &[r#"{"SoftDeletePeriod":"10.00:00:00","Recoverability":"disabled"}"#],
    );
    done(&w, ".alter-merge table T policy retention softdelete = 5d");
    check(
        &w,
        ".show table telemetry.T policy retention | project Policy",
        &[r#"{"SoftDeletePeriod":"5.00:00:00","Recoverability":"disabled"}"#],
    );
    done(&w, ".alter table T policy streamingingestion enable");
    done(&w, ".alter database telemetry policy caching hot = 30d");
    done(
        &w,
        ".alter table T policy ingestionbatching @'{\"MaximumBatchingTimeSpan\":\"00:00:10\",\"MaximumNumberOfItems\":500}'",
    );
    check(
        &w,
        ".show database policy caching | project Policy",
        &[r#"{"DataHotSpan":{"Value":"30.00:00:00"},"IndexHotSpan":{"Value":"30.00:00:00"}}"#],
    );
    for (text, why) in [
        (".alter table T policy retention @'{\"SoftDeletePeriod\":\"never\"}'", "timespan"),
        (".alter table T policy retention @'{\"Period\":\"1d\"}'", "`Period`"),
        (".alter table T policy retention @'[]'", "object"),
        (".alter table T policy retention @'{'", "JSON"),
        (".alter table T policy nonsense @'{}'", "nonsense is not implemented"),
        (".alter cluster policy caching hot = 30d", "not implemented"),
        (".alter table T policy caching hot = -1d", "timespan"),
        (".alter table T policy caching @'{\"DataHotSpan\":{\"Value\":\"long\"}}'", "timespan"),
        (".alter table T policy caching @'{\"HotWindows\":[{\"MinValue\":\"2021-01-01\"}]}'", "instants"),
        (".alter table Nothing policy caching hot = 30d", "was not found"),
    ] {
        assert!(refused(&w, text).contains(why), "{text}: {}", refused(&w, text));
    }
    let windows = ".alter table T policy caching hot = 3d, hot_window = datetime(2021-01-01) .. datetime(2021-02-01)";
    done(&w, windows);
    check(
        &w,
        ".show table T policy caching | extend p = todynamic(Policy) | project p.DataHotSpan.Value, p.HotWindows[0].MinValue",
        &["3.00:00:00|2021-01-01T00:00:00Z"],
    );
    check(&w, ".show table T details | project HotExtents, CachingPolicy has '3.00:00:00'", &["0|true"]);
    done(&w, ".delete table T policy retention");
    check(&w, ".show table T policy retention | project Policy", &["null"]);
}

#[test]
fn update_policies_follow_new_rows() {
    let w = warehouse();
    done(&w, ".create table Raw (line:string)");
    done(&w, ".create table Parsed (a:long, b:string)");
    done(&w, ".create table Counted (n:long)");
    done(
        &w,
        ".create function Parse() { Raw | where line has 'ok' | parse line with a:long ' ' b:string | project a, b }",
    );
    done(
        &w,
        ".alter table Parsed policy update @'[{\"IsEnabled\":true,\"Source\":\"Raw\",\"Query\":\"Parse()\",\"IsTransactional\":true}]'",
    );
    done(
        &w,
        ".alter table Counted policy update @'[{\"IsEnabled\":\"True\",\"Source\":\"Parsed\",\"Query\":\"Parsed | summarize n = count()\",\"IsTransactional\":false}]'",
    );
    done(&w, ".ingest inline into table Raw <| 1 ok\nnothing\n2 ok");
    done(&w, ".set-or-append Raw <| print line = '3 ok'");
    // Each time only what was new.
    check(&w, "Parsed", &["1|ok", "2|ok", "3|ok"]);
    check(&w, "Counted", &["1", "2"]);
    for (policy, why) in [
        (r#"[{"IsEnabled":true,"Source":"Nothing","Query":"Raw"}]"#, "was not found"),
        (r#"[{"IsEnabled":true,"Source":"Raw","Query":"Raw"}]"#, "does not match"),
        (r#"[{"IsEnabled":true,"Source":"Raw","Query":"Raw | where x"}]"#, "SEM0100"),
        (r#"[{"IsEnabled":true,"Source":"Raw"}]"#, "`Query`"),
        (r#"[{"Enabled":true}]"#, "`Enabled`"),
    ] {
        assert!(refused(&w, &format!(".alter table Parsed policy update @'{policy}'")).contains(why), "{policy}");
    }
    // What no longer works fails the data, or leaves a note.
    done(&w, ".alter table Counted (n:long, more:string)");
    done(&w, ".ingest inline into table Raw <| 4 ok");
    check(&w, "Parsed | count", &["4"]);
    check(&w, ".show ingestion failures | where OriginatesFromUpdatePolicy | project Table", &["Counted"]);
    done(&w, ".drop function Parse");
    assert!(refused(&w, ".ingest inline into table Raw <| 5 ok").contains("update policy"));
    check(&w, "Raw | count", &["5"]);
    check(&w, "Parsed | count", &["4"]);
}

#[test]
fn a_circle_of_update_policies_is_cut() {
    let w = warehouse();
    done(&w, ".create tables A (x:long), B (x:long)");
    for (target, source) in [("A", "B"), ("B", "A")] {
        done(
            &w,
            &format!(
                ".alter table {target} policy update @'[{{\"IsEnabled\":true,\"Source\":\"{source}\",\"Query\":\"{source}\"}}]'"
            ),
        );
    }
    done(&w, ".ingest inline into table A <| 1");
    check(&w, "union A, B | count", &["2"]);
}

#[test]
fn an_update_policy_may_be_over_many_tables() {
    let w = warehouse();
    done(&w, ".create tables Source1 (id:long), ['Source 2'] (id:long), Target (id:long, from:string)");
    done(&w, ".create function with (skipvalidation=true) All() { $source_table | extend from = 'x' }");
    done(
        &w,
        ".alter table Target policy update @'[{\"IsEnabled\":true,\"Source\":\"Source*\",\"SourceIsWildCard\":true,\"Query\":\"All()\",\"IsTransactional\":true}]'",
    );
    done(&w, ".ingest inline into table Source1 <| 1");
    done(&w, ".ingest inline into table ['Source 2'] <| 2");
    check(&w, "Target", &["1|x", "2|x"]);
}

#[test]
fn materialized_views_are_right_at_every_instant() {
    let w = warehouse();
    done(&w, ".create table T (id:string, v:long, at:datetime)");
    done(&w, ".ingest inline into table T <| a,1,2024-01-01\na,2,2024-01-02\nb,5,2024-01-01");
    done(
        &w,
        ".create materialized-view with (backfill=true, docString='d') Last on table T { T | summarize arg_max(at, *) by id }",
    );
    check(&w, "Last | project id, v", &["a|2", "b|5"]);
    done(&w, ".ingest inline into table T <| b,7,2024-01-03");
    check(&w, "materialized_view('Last') | project id, v", &["a|2", "b|7"]);
    check(&w, "Last | count", &["2"]);
    done(&w, ".create materialized-view Total on materialized-view Last { Last | summarize n = count(), s = sum(v) }");
    check(&w, "Total", &["2|9"]);
    check(&w, ".show materialized-views | project Name, SourceTable, IsEnabled", &["Last|T|true", "Total|Last|true"]);
    for (text, why) in [
        (".create materialized-view V on table T { T | where v > 1 }", "summarize"),
        (
            ".create materialized-view V on table T { T | summarize count() by id | summarize count() }",
            "one `summarize`",
        ),
        (".create materialized-view V on table T { T | top 5 by v | summarize count() }", "nothing else"),
        (".create materialized-view V on table Nothing { Nothing | summarize count() }", "was not found"),
        (".create materialized-view Last on table T { T | summarize count() }", "already exists"),
        (".create materialized-view T on table T { T | summarize count() }", "already exists"),
        (
            ".create-or-alter materialized-view Last on materialized-view Total { Total | summarize count() }",
            "over itself",
        ),
        (".drop table T", "materialized view `Last`"),
        (".drop materialized-view Last", "`Total`"),
    ] {
        assert!(refused(&w, text).contains(why), "{text}: {}", refused(&w, text));
    }
    done(&w, ".disable materialized-view Last");
    check(&w, ".show materialized-view Last | project IsEnabled", &["false"]);
    done(&w, ".drop materialized-view Total");
    done(&w, ".drop materialized-view Last");
    done(&w, ".drop table T");
}

#[test]
fn a_view_without_backfill_begins_when_it_is_made() {
    let w = warehouse();
    done(&w, ".create table T (v:long)");
    let at = |text: &str, now| w.command(&ask_of(text, writer(), now)).unwrap();
    at(".ingest inline into table T <| 1", NOW);
    at(".create materialized-view V on table T { T | summarize n = count() }", NOW + 10);
    check(&w, "V", &["0"]);
    at(".ingest inline into table T <| 2", NOW + 20);
    check(&w, "V", &["1"]);
}

#[test]
fn row_level_security_puts_a_query_in_place_of_the_table() {
    let w = warehouse();
    done(&w, ".create table T (owner:string, secret:string)");
    done(&w, ".ingest inline into table T <| policy=service,one\npolicy=other,two");
    done(
        &w,
        ".alter table T policy row_level_security enable \"T | where owner == current_principal() | extend secret = strcat(substring(secret, 0, 1), '***')\"",
    );
    check(&w, "T", &["policy=service|o***"]);
    check(&w, "union T, T | count", &["2"]);
    let other = run_as(&w, "T | project secret", By { principal: "policy=other".into(), ..By::default() }).unwrap();
    assert_eq!(rows_of(&other[0]), ["t***"]);
    let nobody = run_as(&w, "T | count", By::default()).unwrap();
    assert_eq!(rows_of(&nobody[0]), ["0"]);
    // What the platform does itself sees everything.
    done(&w, ".create table U (owner:string, secret:string)");
    assert!(refused(&w, ".alter table T policy row_level_security enable \"T | project owner\"").contains("secret"));
    done(&w, ".alter table T policy row_level_security disable \"T\"");
    check(&w, "T | count", &["2"]);
}

#[test]
fn restricted_tables_are_read_by_who_has_a_role() {
    let w = warehouse();
    done(&w, ".create table T (a:long)");
    done(&w, ".alter table T policy restricted_view_access true");
    assert!(refused(&w, "T | count").contains("forbidden"));
    assert!(
        refused(&w, ".add database telemetry unrestrictedviewers ('policy=service') 'note'").contains("not authorized")
    );
    run_as(&w, ".add database telemetry unrestrictedviewers ('policy=service') 'note'", administrator()).unwrap();
    check(&w, "T | count", &["0"]);
    check(
        &w,
        ".show database telemetry principals | project Role, PrincipalFQN, Notes",
        &["Database telemetry UnrestrictedViewer|policy=service|note"],
    );
    run_as(&w, ".drop database telemetry unrestrictedviewers ('policy=service')", administrator()).unwrap();
    assert!(refused(&w, "T | count").contains("forbidden"));
    run_as(&w, ".set table T viewers ('policy=service')", administrator()).unwrap();
    check(&w, "T | count", &["0"]);
    run_as(&w, ".set table T viewers none", administrator()).unwrap();
    assert!(refused(&w, "T | count").contains("forbidden"));
}

#[test]
fn files_outside_are_read_and_written_where_they_are_allowed() {
    let w = warehouse();
    done(
        &w,
        ".export to csv ('file:///data/out') with (includeHeaders='all', namePrefix='p') <| range a from 1 to 3 step 1 | extend b = strcat('x,', a)",
    );
    done(
        &w,
        ".create external table E (a:long, b:string) kind=storage dataformat=csv ('file:///data/out') with (includeHeaders='All', folder='f')",
    );
    check(&w, "external_table('E')", &["1|x,1", "2|x,2", "3|x,3"]);
    check(&w, ".show external tables | project TableName, TableType, Folder", &["E|Blob|f"]);
    for format in ["json", "parquet", "tsv"] {
        done(
            &w,
            &format!(
                ".export compressed to {format} ('file:///data/{format}') <| external_table('E') | extend t = datetime(2024-01-01), d = dynamic({{\"k\":[1]}})"
            ),
        );
        done(
            &w,
            &format!(
                ".create external table X{format} (a:long, b:string, t:datetime, d:dynamic) kind=storage dataformat={format} ('file:///data/{format}')"
            ),
        );
        check(
            &w,
            &format!("external_table('X{format}') | where a == 2 | project b, t, d.k[0]"),
            &["x,2|2024-01-01T00:00:00Z|1"],
        );
    }
    check(&w, ".show external table E artifacts | count", &["1"]);
    done(&w, ".create table T (a:long, b:string)");
    let path = rows(&w, ".show external table E artifacts | project Uri").remove(0);
    done(&w, &format!(".ingest into table T ('{path}') with (ignoreFirstRecord=true)"));
    check(&w, "T | count", &["3"]);
    check(
        &w,
        &format!("externaldata(a:long, b:string) ['{path}'] with (format='csv', ignoreFirstRecord=true) | where a > 2"),
        &["3|x,3"],
    );
    for (text, why) in [
        ("externaldata(a:long) ['https://example.org/x.csv']", "may not be named"),
        (".ingest into table T ('https://example.org/x.csv')", "may not be named"),
        (".export to csv ('https://example.org/') <| T", "may not be named"),
        (".create external table Y (a:long) kind=storage dataformat=csv ('file:///etc/')", "may not be named"),
        (".create external table Y (a:long) kind=sql ('Server=x')", "kind `sql`"),
        (".create external table Y (a:long) kind=storage dataformat=orc ('file:///data/y')", "orc"),
        ("external_table('Nothing')", "SEM0100"),
    ] {
        assert!(refused(&w, text).contains(why), "{text}: {}", refused(&w, text));
    }
    done(&w, ".drop external table E");
}

#[test]
fn continuous_exports_write_each_row_once() {
    let w = warehouse();
    done(&w, ".create table T (a:long)");
    done(&w, ".ingest inline into table T <| 1");
    done(&w, ".create external table E (a:long) kind=storage dataformat=json ('file:///data/c')");
    done(
        &w,
        ".create-or-alter continuous-export C over (T) to table E with (intervalBetweenRuns=1m) <| T | where a > 0",
    );
    done(&w, ".ingest inline into table T <| 2\n-1\n3");
    let minute = 600_000_000;
    w.export_due(NOW);
    // Not due yet, then nothing new, then one more.
    w.export_due(NOW + 1);
    w.export_due(NOW + minute);
    done(&w, ".ingest inline into table T <| 4");
    w.export_due(NOW + 2 * minute);
    check(&w, "external_table('E')", &["2", "3", "4"]);
    check(&w, ".show continuous-export C exported-artifacts | project NumRecords", &["1", "2"]);
    check(&w, ".show continuous-exports | project Name, LastRunResult, IsDisabled", &["C|Completed|false"]);
    assert!(refused(&w, ".drop external table E").contains("`C`"));
    // A run that fails is told, and tried again.
    done(&w, ".rename column T.a to b");
    w.export_due(NOW + 3 * minute);
    done(&w, ".ingest inline into table T <| 5");
    w.export_due(NOW + 4 * minute);
    check(&w, ".show continuous-export C failures | count", &["1"]);
    done(&w, ".rename column T.b to a");
    w.export_due(NOW + 5 * minute);
    check(&w, "external_table('E')", &["2", "3", "4", "5"]);
    done(&w, ".disable continuous-export C");
    done(&w, ".drop continuous-export C");
}

#[test]
fn scripts_go_on_or_stop() {
    let w = warehouse();
    let commands = ".create table T (a:long)\n.drop table Nothing\n.create table U (a:long)";
    let of = |with: &str| {
        let tables = run_as(&w, &format!(".execute database script {with} <|\n{commands}"), writer()).unwrap();
        rows_of(&tables[0]).iter().map(|row| row.split('|').nth(3).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(""), ["Completed", "Failed", "Skipped"]);
    check(&w, ".show tables | where TableName == 'U' | count", &["0"]);
    assert_eq!(of("with (ContinueOnErrors=true)"), ["Completed", "Failed", "Completed"]);
    assert!(
        refused(&w, &format!(".execute database script with (ThrowOnErrors=true) <|\n{commands}"))
            .contains("'Nothing'")
    );
}

#[test]
fn what_runs_and_what_has_been_is_shown() {
    let w = warehouse();
    done(&w, "print secret = h'abc'");
    check(&w, ".show queries | project Text, State", &["print secret = h'*****'|Completed"]);
    refused(&w, "Nothing");
    check(&w, ".show queries | where State == 'Failed' | count", &["1"]);
    done(&w, ".set async T <| print a = 1");
    check(&w, ".show operations | project Operation, State", &["TableSet|Completed"]);
    done(&w, ".set async T <| print a = 1");
    check(
        &w,
        ".show operations | where State == 'Failed' | project Status",
        &["Entity ID 'T' of kind 'Table' already exists."],
    );
    check(&w, ".show commands | where CommandType == 'TableSet' | count", &["2"]);
    check(&w, ".cancel query 'nobody'", &["false"]);
    check(&w, ".show capacity | where Resource == 'MaterializedView' | project Total", &["1"]);
    check(&w, ".show diagnostics | project IsHealthy, MachinesTotal", &["true|1"]);
}

#[test]
fn a_database_makes_itself_again_from_its_script() {
    let w = warehouse();
    for text in [
        ".create table ['a b'] (['c d']:long, e:string) with (docstring='it\\'s', folder='f')",
        ".alter table ['a b'] column-docstrings (e: 'what')",
        ".create function F(x:long) { ['a b'] | where ['c d'] > x }",
        ".create materialized-view with (backfill=true) V on table ['a b'] { ['a b'] | summarize count() by e }",
        ".create table ['a b'] ingestion csv mapping 'M' '[{\"Column\":\"e\",\"Properties\":{\"Ordinal\":0}}]'",
        ".alter-merge table ['a b'] policy retention softdelete = 1d",
    ] {
        done(&w, text);
    }
    let script = run_as(&w, ".show database schema as csl script", writer()).unwrap();
    let script = rows_of(&script[0]).join("\n");
    let other = warehouse();
    let ran = run_as(&other, &format!(".execute database script <|\n{script}"), writer()).unwrap();
    for row in rows_of(&ran[0]) {
        assert!(row.contains("|Completed|"), "{row}");
    }
    let plain = |w: &Warehouse| rows(w, ".show database schema | project TableName, ColumnName, ColumnType");
    assert_eq!(plain(&w), plain(&other));
    let json = rows(&other, ".show database schema as json").remove(0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let database = &json["Databases"]["telemetry"];
    assert_eq!(database["Functions"]["F"]["InputParameters"][0]["CslType"], "long");
    assert_eq!(database["MaterializedViews"]["V"]["OrderedColumns"][1]["Name"], "count_");
    assert_eq!(database["Tables"]["a b"]["OrderedColumns"][1]["DocString"], "what");
}

#[test]
fn the_examples_of_the_guide_run() {
    let guide = include_str!("../../../../docs/questions.md");
    let examples: Vec<&str> = guide.split("```kusto\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    let w = warehouse();
    for line in examples.iter().flat_map(|example| example.lines()) {
        done(&w, line);
    }
    check(&w, "Latest | project Machine, Value", &["press|7.5"]);
}

/// Commands of the language's documentation: each is done, or refused for a reason that a golden file lists. A reader
/// of its changes sees what came and what went.
#[test]
fn documented_commands_are_run_or_refused_by_name() {
    let text = include_str!("../../../kql/tests/corpus/commands.jsonl");
    let mut lines = Vec::new();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let (id, query) = (record["id"].as_str().unwrap(), record["query"].as_str().unwrap());
        let whole = gantry_kql::command::Text { text: query.trim().to_owned(), span: gantry_kql::Span::default() };
        let is_script = whole.text.starts_with(".execute");
        let commands = if is_script { vec![whole] } else { gantry_kql::command::split(query) };
        for command in commands {
            let w = prepared();
            let outcome = match run_as(&w, &command.text, administrator()) {
                Ok(tables) => match tables.iter().find_map(|table| table.failure.clone()) {
                    None => {
                        let columns = tables[0].schema.columns.iter().map(ToString::to_string).collect::<Vec<_>>();
                        format!("answers {}", columns.join(" "))
                    }
                    Some(failure) => format!("fails: {failure}"),
                },
                Err(wrong) => {
                    format!("refused: {}", wrong.to_string().lines().next().unwrap_or_default())
                }
            };
            let first: String = command.text.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
            lines.push(format!("{id} {first}: {outcome}"));
        }
    }
    let path = gantry_golden::folder(env!("CARGO_MANIFEST_DIR")).join("commands.txt");
    gantry_golden::check(&path, (lines.join("\n") + "\n").as_bytes());
}

/// A warehouse with what the documentation's commands are about, as far as that can be told.
fn prepared() -> Arc<Warehouse> {
    let w = Arc::new(Warehouse::new("MyDatabase", []).with_outside(Arc::new(Files::default())));
    for text in [
        ".create tables MyTable (a:long, b:string), T (Timestamp:datetime, User:string, x:long), StormEvents (StartTime:datetime, EndTime:datetime, State:string, EventType:string, DamageProperty:int), events (timestamp:datetime), table_name (a:long)",
        ".create table TestTable (TimeStamp:datetime, Name:string, Metric:int, Source:string)",
        ".create function MyFunction() { T }",
    ] {
        run_as(&w, text, administrator()).unwrap();
    }
    w
}

proptest::proptest! {
    #[test]
    fn data_of_any_bytes_is_survived(bytes: Vec<u8>, text in "[\\[\\]{}\",:;|\\\\#a-c0-9 \n\t-]{0,120}") {
        use gantry_analytics::ingest::{Format, Settings, inflated_within, read};
        let columns = [Column::new("a", Type::Long), Column::new("b", Type::Dynamic), Column::new("c", Type::String)];
        let formats =
            ["csv", "tsv", "tsve", "txt", "raw", "json", "multijson", "singlejson", "w3clogfile", "parquet", "avro"];
        for name in formats {
            let format = Format::of(name).unwrap();
            let settings = Settings { format, mapping: None, ignore_first_record: false, location: String::new() };
            for bytes in [&bytes[..], text.as_bytes()] {
                let rows = read(bytes, &columns, &settings).unwrap_or_default();
                proptest::prop_assert!(rows.iter().all(|chunk| chunk.columns.len() == 3));
            }
        }
        for start in [&b"\x1f\x8b"[..], b"PK\x03\x04"] {
            let _ = inflated_within(&[start, &bytes].concat(), 1 << 16);
        }
    }
}
