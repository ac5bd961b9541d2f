//! Requests over tables in memory.

use axum::body::to_bytes;
use gantry_analytics::pushdown::Need;
use gantry_analytics::{Chunk, Context, Flow, Result as EngineResult, Source, small_table};
use gantry_kql::bound::Column;
use gantry_kql::value::{DateTime, Dynamic, Type, Value};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

/// A table of these rows.
struct Fixed {
    columns: Vec<(&'static str, Type)>,
    key: &'static [&'static str],
    rises_by: Option<&'static str>,
    rows: std::sync::Mutex<Vec<Vec<Value>>>,
}

impl Source for Fixed {
    fn about(&self) -> &'static str {
        "Rows."
    }

    fn key(&self) -> &'static [&'static str] {
        self.key
    }

    fn rises_by(&self) -> Option<&'static str> {
        self.rises_by
    }

    fn columns(&self) -> EngineResult<Vec<Column>> {
        Ok(self.columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect())
    }

    fn scan(
        &self,
        _: &[Column],
        _: &Need,
        _: &Context,
        sink: &mut dyn FnMut(Chunk) -> EngineResult<Flow>,
    ) -> EngineResult<Flow> {
        for chunk in small_table(&self.columns, self.rows.lock().unwrap().clone()).chunks {
            if sink(chunk)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

struct World {
    warehouse: Warehouse,
    events: Arc<Fixed>,
}

impl World {
    fn new() -> World {
        let devices = Fixed {
            columns: vec![("DeviceId", Type::String), ("Tags", Type::Dynamic), ("Version", Type::Long)],
            key: &["DeviceId"],
            rises_by: None,
            rows: vec![
                vec![text("a"), Value::Dynamic(Dynamic::parse_json(r#"{"site":"lyon"}"#).unwrap()), Value::Long(1)],
                vec![text("b"), Value::Null, Value::Long(i64::MAX)],
                vec![text("it's"), Value::Dynamic(Dynamic::String("x".into())), Value::Long(3)],
            ]
            .into(),
        };
        let at = |day: i64| Value::DateTime(DateTime(DateTime::parse("2024-01-01").unwrap().0 + day * 864_000_000_000));
        let row = |part: i32, number: i64, device: &str, value: Value| {
            vec![Value::Int(part), Value::Long(number), text(device), at(number), value, Value::Bool(number % 2 == 0)]
        };
        let events = Arc::new(Fixed {
            columns: vec![
                ("Partition", Type::Int),
                ("SequenceNumber", Type::Long),
                ("DeviceId", Type::String),
                ("At", Type::DateTime),
                ("odd name", Type::Real),
                ("Even", Type::Bool),
            ],
            key: &["Partition", "SequenceNumber"],
            rises_by: Some("SequenceNumber"),
            rows: (0..10)
                .map(|n| row((n % 2) as i32, n / 2, if n < 7 { "a" } else { "b" }, value(n)))
                .collect::<Vec<_>>()
                .into(),
        });
        let points = Fixed {
            columns: vec![("Name", Type::String), ("Time", Type::Long)],
            key: &["Name"],
            rises_by: None,
            rows: (0..9).map(|n| vec![text("same"), Value::Long(n)]).collect::<Vec<_>>().into(),
        };
        let sources: [(String, Arc<dyn Source>); 3] = [
            ("Devices".into(), Arc::new(devices)),
            ("Events".into(), Arc::<Fixed>::clone(&events)),
            ("Points".into(), Arc::new(points)),
        ];
        World { warehouse: Warehouse::new("telemetry", sources), events }
    }

    fn ask(&self, path: &str, query: &[(&str, &str)], prefer: Option<&str>) -> Result<Response, Failure> {
        let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = Options::read(&query)?;
        let headers = prefer.map(|prefer| (header::HeaderName::from_static("prefer"), prefer.parse().unwrap()));
        let request = Request {
            path: path.to_owned(),
            query,
            options,
            root: "https://h/odata/".into(),
            headers: HeaderMap::from_iter(headers),
            by: By::default(),
        };
        request.answer(&self.warehouse, &Cancel::default())
    }

    fn json(&self, path: &str, query: &[(&str, &str)], prefer: Option<&str>) -> Json {
        let answer = self.ask(path, query, prefer).unwrap_or_else(|failure| panic!("{path} {query:?}: {failure:?}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(to_bytes(answer.into_body(), usize::MAX)).unwrap();
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Json::String(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// All rows over all pages.
    fn pages(&self, path: &str, query: &[(&str, &str)], rows: u64) -> Vec<Vec<Json>> {
        let prefer = format!("maxpagesize={rows}");
        let mut answer = self.json(path, query, Some(&prefer));
        let mut pages = vec![answer["value"].as_array().unwrap().clone()];
        while let Some(link) = answer["@odata.nextLink"].as_str() {
            let (_, token) = link.rsplit_once("$skiptoken=").unwrap();
            let mut query = query.to_vec();
            query.push(("$skiptoken", token));
            answer = self.json(path, &query, Some(&prefer));
            pages.push(answer["value"].as_array().unwrap().clone());
        }
        pages
    }
}

fn value(n: i64) -> Value {
    match n {
        3 => Value::Null,
        4 => Value::Real(f64::NAN),
        n => Value::Real(n as f64 / 2.0),
    }
}

/// Numbers of the events that a condition holds for: twice the sequence number and the partition.
#[track_caller]
fn check(filter: &str, expected: &[i64]) {
    let answer = World::new().json("Events", &[("$filter", filter)], None);
    let number = |row: &Json| row["SequenceNumber"].as_i64().unwrap() * 2 + row["Partition"].as_i64().unwrap();
    let mut found: Vec<_> = answer["value"].as_array().unwrap().iter().map(number).collect();
    found.sort_unstable();
    assert_eq!(found, expected, "{filter}");
}

#[test]
fn null_is_compared_as_the_protocol_says() {
    check("odd_x0020_name eq null", &[3]);
    check("odd_x0020_name ne null", &[0, 1, 2, 4, 5, 6, 7, 8, 9]);
    check("odd_x0020_name lt 1", &[0, 1]);
    check("not (odd_x0020_name lt 1)", &[2, 3, 4, 5, 6, 7, 8, 9]);
    check("not (odd_x0020_name ge 0) and not (odd_x0020_name lt 0)", &[3, 4]);
    check("odd_x0020_name ne 1", &[0, 1, 3, 4, 5, 6, 7, 8, 9]);
    check("odd_x0020_name eq odd_x0020_name", &[0, 1, 2, 3, 5, 6, 7, 8, 9]);
    check("odd_x0020_name in (0.5,null)", &[1, 3]);
    check("(odd_x0020_name gt 4) eq false", &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    check("null eq null and DeviceId ne null and not (DeviceId eq null)", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn conditions_are_of_their_types() {
    check("Even", &[0, 1, 4, 5, 8, 9]);
    check("Even eq true and Partition eq 1", &[1, 5, 9]);
    check("DeviceId gt 'a'", &[7, 8, 9]);
    check("DeviceId eq 'A'", &[]);
    check("At ge 2024-01-05", &[8, 9]);
    check("At gt 2024-01-04T23:59:59.9999999Z and At le 2024-01-05T01:00:00+01:00", &[8, 9]);
    check("At sub 2024-01-01T00:00:00Z ge duration'P4D'", &[8, 9]);
    check("day(At) eq 2 or date(At) eq 2024-01-04", &[2, 3, 6, 7]);
    check("SequenceNumber mod 3 eq 1 and Partition mod 2 ne 1", &[2, 8]);
    check("SequenceNumber sub 10 mod 3 eq -1", &[0, 1]);
    check("(SequenceNumber sub 10) mod 3 eq -1", &[0, 1, 6, 7]);
    check("SequenceNumber divby 2 eq 0.5", &[2, 3]);
    check("SequenceNumber div 2 eq 0", &[0, 1, 2, 3]);
    check("true or false and false", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    check("1 eq 1 and 2 gt 1 eq true and DeviceId eq 'b'", &[7, 8, 9]);
}

#[test]
fn what_means_nothing_is_refused_with_its_place() {
    let world = World::new();
    for (filter, status, named) in [
        ("Even eq 1", 400, "Edm.Boolean and Edm.Int64"),
        ("DeviceId lt 5", 400, "position"),
        ("At eq 'x'", 400, "Edm.DateTimeOffset"),
        ("DeviceId", 400, "Edm.Boolean"),
        ("not DeviceId", 400, "not"),
        ("DeviceId eq 'x' and", 400, "position 20"),
        ("(true", 400, "`)`"),
        ("true)", 400, "nothing more"),
        ("DeviceId eq \"x\"", 400, "unexpected"),
        ("odd name eq 1", 400, "odd"),
        ("nope(1)", 400, "nope"),
        ("year(DeviceId) eq 1", 400, "year(Edm.String)"),
        ("DeviceId has 'x'", 400, "has"),
        ("DeviceId eq @none", 400, "@none"),
        ("time(At) eq 1", 501, "time"),
        ("Devices/any(d:d/Version gt 1)", 501, "Devices/"),
        ("isof(At,Edm.Date)", 501, "isof"),
        ("$it/DeviceId eq 'x'", 501, "$it"),
    ] {
        let failure = world.ask("Events", &[("$filter", filter)], None).expect_err(filter);
        assert_eq!(failure.status(), status, "{filter}: {}", failure.message());
        assert!(failure.message().contains(named), "{filter}: {}", failure.message());
    }
    let long = vec!["Even"; 3_000].join(" and ");
    assert!(world.ask("Events", &[("$filter", &long)], None).unwrap_err().message().contains("pieces"));
    let deep = format!("{}Even", "not ".repeat(100_000));
    assert!(world.ask("Events", &[("$filter", &deep)], None).unwrap_err().message().contains("levels"));
    let turns = [("$filter", "@a"), ("@a", "@b"), ("@b", "@a")];
    assert!(world.ask("Events", &turns, None).unwrap_err().message().contains("levels"));
}

#[test]
fn pages_of_any_size_are_all_rows_once_and_in_order() {
    let world = World::new();
    for (path, order, all) in [
        ("Events", "", 10),
        ("Events", "odd_x0020_name", 10),
        ("Events", "odd_x0020_name desc,At", 10),
        ("Events", "DeviceId desc,Even", 10),
        ("Events", "Even,At desc", 10),
        // Not one column tells these rows apart.
        ("Points", "", 9),
        ("Devices", "Tags desc", 3),
    ] {
        let query = if order.is_empty() { vec![] } else { vec![("$orderby", order)] };
        let whole = world.pages(path, &query, 1_000).concat();
        assert_eq!(whole.len(), all, "{path} {order}");
        for rows in [1, 2, 3, 4, 7] {
            let pages = world.pages(path, &query, rows);
            assert!(pages.iter().all(|page| page.len() as u64 <= rows));
            assert_eq!(pages.concat(), whole, "{path} {order} {rows}");
            let mut query = query.clone();
            query.extend([("$skip", "2"), ("$top", "5"), ("$count", "true")]);
            assert_eq!(
                world.pages(path, &query, rows).concat(),
                whole[2.min(all)..7.min(all)],
                "{path} {order} {rows}"
            );
        }
    }
}

#[test]
fn rows_that_come_meanwhile_are_in_no_page() {
    let world = World::new();
    let query = [("$orderby", "SequenceNumber desc"), ("$count", "true")];
    let first = world.json("Events", &query, Some("maxpagesize=4"));
    let mut rows = world.events.rows.lock().unwrap();
    let mut new = rows[9].clone();
    new[1] = Value::Long(100);
    rows.push(new);
    drop(rows);
    let (_, token) = first["@odata.nextLink"].as_str().unwrap().rsplit_once("$skiptoken=").unwrap();
    let rest = world.json("Events", &[query[0], query[1], ("$skiptoken", token)], None);
    assert_eq!((first["@odata.count"].as_i64(), rest["@odata.count"].as_i64()), (Some(10), Some(10)));
    assert_eq!(rest["value"].as_array().unwrap().len(), 6);
    // A token is good for its own query alone.
    let other = world.ask("Events", &[("$orderby", "SequenceNumber"), ("$skiptoken", token)], None);
    assert_eq!(other.unwrap_err().status(), 400);
}

#[test]
fn paths_lead_to_entities_and_onward() {
    let world = World::new();
    let json = |path: &str| world.json(path, &[], None);
    assert_eq!(json("Devices('it''s')")["Version"], 3);
    assert_eq!(json("Devices('it''s')")["Tags"], "x");
    assert_eq!(json("Devices('a')/Tags")["value"], r#"{"site":"lyon"}"#);
    assert_eq!(json("Devices('a')/Events/$count"), 7);
    assert_eq!(json("Events(Partition=1,SequenceNumber=4)/Devices")["DeviceId"], "b");
    assert_eq!(json("Events(SequenceNumber=4,Partition=1)/Devices/Version")["value"], i64::MAX);
    assert_eq!(world.ask("Devices('b')/Tags", &[], None).unwrap().status(), 204);
    for (path, status) in [
        ("Devices('c')", 404),
        ("Devices('c')/Events", 404),
        ("devices", 404),
        ("Devices(DeviceId='a',X=1)", 400),
        ("Devices(null)", 400),
        ("Events(1)", 400),
        ("Devices('a", 400),
        ("Devices('a')/Events(Partition=0,SequenceNumber=0)/Devices", 501),
        ("Devices/$ref", 501),
    ] {
        assert_eq!(world.ask(path, &[], None).expect_err(path).status(), status, "{path}");
    }
    assert_eq!(world.ask("Devices('a')", &[("$top", "1")], None).unwrap_err().status(), 400);
}

#[test]
fn expanded_rows_stand_with_those_they_belong_to() {
    let world = World::new();
    let expand = "Events($top=2;$orderby=SequenceNumber desc;$select=SequenceNumber;$count=true)";
    let answer = world.json("Devices", &[("$expand", expand), ("$select", "DeviceId")], None);
    let rows = answer["value"].as_array().unwrap();
    let numbers: Vec<Vec<i64>> = rows
        .iter()
        .map(|row| {
            row["Events"].as_array().unwrap().iter().map(|one| one["SequenceNumber"].as_i64().unwrap()).collect()
        })
        .collect();
    assert_eq!(numbers, [vec![3, 2], vec![4, 4], vec![]]);
    assert_eq!(rows[0]["Events@odata.count"], 7);
    let answer = world.json("Events", &[("$expand", "Devices($select=Version)"), ("$top", "1")], None);
    assert_eq!(answer["value"][0]["Devices"], serde_json::json!({"Version": 1}));
}

#[test]
fn groups_are_rows_like_others() {
    let world = World::new();
    let apply = "filter(Partition eq 0)/groupby((DeviceId),aggregate($count as n,odd_x0020_name with sum as total))";
    let answer = world.json("Events", &[("$apply", apply), ("$orderby", "n desc"), ("$filter", "n gt 0")], None);
    assert_eq!(answer["value"][0]["DeviceId"], "a");
    assert_eq!(answer["value"][1], serde_json::json!({"DeviceId": "b", "n": 1, "total": 4.0}));
    let pages = world.pages("Events", &[("$apply", "groupby((Partition,Even))")], 1);
    assert_eq!(pages.len(), 4);
    let none = world.json(
        "Events",
        &[("$apply", "filter(false)/aggregate(At with max as last,Partition with sum as s)")],
        None,
    );
    assert_eq!(none["value"], serde_json::json!([{"last": null, "s": null}]));
    assert_eq!(world.json("Events/$count", &[("$apply", "groupby((DeviceId))")], None), 2);
}

proptest! {
    #[test]
    fn no_option_ends_in_a_panic(filter in ".{0,80}", orderby in ".{0,40}", expand in ".{0,40}", apply in ".{0,60}", path in ".{0,60}") {
        let world = World::new();
        for query in [("$filter", &filter), ("$orderby", &orderby), ("$expand", &expand), ("$apply", &apply), ("$skiptoken", &filter)] {
            let _ = world.ask("Events", &[(query.0, query.1)], None);
        }
        let _ = world.ask(&path, &[], None);
        let _ = world.ask(&format!("Devices({filter})"), &[], None);
    }

    #[test]
    fn no_condition_of_tokens_ends_in_a_panic(words in proptest::collection::vec(prop_oneof![
        Just("DeviceId"), Just("At"), Just("Even"), Just("eq"), Just("ne"), Just("lt"), Just("and"), Just("or"), Just("not"),
        Just("("), Just(")"), Just(","), Just("'x'"), Just("5"), Just("1.5"), Just("null"), Just("in"), Just("contains("),
        Just("add"), Just("mod"), Just("-"), Just("2024-01-01"), Just("now()"), Just("duration'P1D'"), Just("true"),
    ], 0..14)) {
        let _ = World::new().ask("Events", &[("$filter", &words.join(" "))], None);
    }
}
