//! Questions: the published ones, limits and one past them, what is wrong and where.

use gantry_identity::Timestamp;
use serde_json::json;

use super::*;
use crate::ids::DeviceTemplateId;
use crate::question::parse;
use crate::templates::{DeviceTemplate, TemplateWrite};

fn capabilities() -> std::sync::Arc<Capabilities> {
    let telemetry = |name: &str| json!({ "@type": "Telemetry", "name": name, "schema": "double" });
    let mut contents: Vec<_> = ["temperature", "humidity", "pressure", "RootTelemetry"].map(telemetry).to_vec();
    contents.push(json!({ "@type": "Property", "name": "room", "schema": "string" }));
    contents.push(json!({ "@type": ["Property", "Cloud"], "name": "owner", "schema": "string" }));
    contents.push(json!({ "@type": "Component", "name": "deviceInformation", "schema": {
        "@id": "dtmi:a:info;1", "@type": "Interface", "contents": [
            { "@type": "Property", "name": "model", "schema": "string" },
            { "@type": "Telemetry", "name": "workload", "schema": "double" }] } }));
    let write = TemplateWrite {
        types: vec!["ModelDefinition".into(), "DeviceModel".into()],
        capability_model: json!({ "@id": "dtmi:a:kit;1", "@type": "Interface", "contents": contents }),
        ..TemplateWrite::default()
    };
    let id = DeviceTemplateId::parse("dtmi:azurertos:devkit:hlby5jgib2o").unwrap();
    DeviceTemplate::new(&id, write, &mut |_: &[_]| None).unwrap().capabilities().unwrap()
}

const FROM: &str = "FROM dtmi:azurertos:devkit:hlby5jgib2o";

fn ask(select: &str, rest: &str) -> Result<Plan, QuestionError> {
    plan(parse(&format!("SELECT {select} {FROM} {rest}"))?, &capabilities())
}

fn telemetry(name: &str) -> Source {
    Source::Telemetry { component: None, name: name.to_owned() }
}

#[test]
fn the_published_questions_are_understood() {
    for (select, rest, kind) in [
        ("$id, $ts, temperature, humidity", "WHERE WITHIN_WINDOW(P1D)", Kind::Telemetry),
        ("deviceInformation.model", "", Kind::Properties),
        (
            "$id as ID, $ts as timestamp, temperature as t, pressure as p",
            "WHERE WITHIN_WINDOW(P1D) AND t > 0 AND p > 50",
            Kind::Telemetry,
        ),
        ("TOP 10 $id as ID, $ts as timestamp, temperature, humidity", "", Kind::Telemetry),
        (
            "$id, $ts, temperature AS t, pressure AS p",
            "WHERE WITHIN_WINDOW(P1D) AND t > 0 AND p > 50 AND $id IN ['sample-002', 'sample-003']",
            Kind::Telemetry,
        ),
        (
            "AVG(temperature), AVG(pressure)",
            "WHERE WITHIN_WINDOW(P1D) AND $id='sample-001' GROUP BY WINDOW(PT10M)",
            Kind::Telemetry,
        ),
        ("$id as ID, $ts as timestamp, temperature, humidity", "ORDER BY timestamp DESC", Kind::Telemetry),
        ("$id, room, owner", "WHERE room = 'A' AND $provisioned = true", Kind::Properties),
    ] {
        assert_eq!(ask(select, rest).map(|plan| plan.kind), Ok(kind), "{select} {rest}");
    }
    let text = "SELECT AVG(RootTelemetry), MAX(RootTelemetry) FROM dtmi:modelDefinition:y5zk2yqblv:en9xfxjif WHERE \
        WITHIN_WINDOW(P1D) AND RootTelemetry > 0 GROUP BY WINDOW(PT3H) ORDER BY $ts ASC";
    let question = parse(text).unwrap();
    assert_eq!(question.template.as_str(), "dtmi:modelDefinition:y5zk2yqblv:en9xfxjif");
    let plan = plan(question, &capabilities()).unwrap();
    let names: Vec<_> = plan.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["$ts", "avg_RootTelemetry", "max_RootTelemetry"]);
    assert_eq!(plan.order_by, [(Key::Column(0), false)]);
}

#[test]
fn a_plan_says_all_that_is_asked() {
    let plan = ask(
        "TOP 5 $id, AVG(temperature), LAST(deviceInformation.workload) AS w",
        "WHERE WITHIN_WINDOW('2021-06-13T13:00:00Z/2021-06-13T15:30:00Z') AND (temperature > 1 OR $simulated = false) \
         GROUP BY $id, WINDOW(PT10M) ORDER BY avg_temperature DESC, $id",
    )
    .unwrap();
    let names: Vec<_> = plan.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["$ts", "$id", "avg_temperature", "w"]);
    assert_eq!(plan.columns[3].function, Some(Function::Last));
    let start = Timestamp::parse("2021-06-13T13:00:00Z").unwrap();
    assert_eq!(plan.within, Some(Within::Between(start, Timestamp::parse("2021-06-13T15:30:00Z").unwrap())));
    assert_eq!((plan.window_ms, plan.group_by), (Some(600_000), vec![Source::Id]));
    assert_eq!(plan.order_by, [(Key::Column(2), true), (Key::Column(1), false)]);
    assert_eq!(plan.limit, 5);
    let greater = PlanTest::Compare(telemetry("temperature"), Comparison::Greater, Literal::Integer(1));
    let simulated = PlanTest::Compare(Source::Simulated, Comparison::Equal, Literal::Boolean(false));
    let either = Condition::Any(vec![Condition::Test(greater), Condition::Test(simulated)]);
    assert_eq!(plan.condition, Some(either));
}

#[test]
fn what_is_not_said_is_filled_in() {
    let limits = |select: &str| ask(select, "").map(|plan| (plan.limit, plan.within)).unwrap();
    assert_eq!(limits("temperature"), (TELEMETRY_ROWS_MAX, None));
    assert_eq!(limits("room"), (PROPERTY_ROWS_MAX, None));
    assert_eq!(limits("TOP 2000 room").0, PROPERTY_ROWS_MAX);
    assert_eq!(limits("TOP 10001 temperature").0, TELEMETRY_ROWS_MAX);
    assert_eq!(limits("COUNT(temperature)").1, Some(Within::Past(WITHIN_DEFAULT_MS)));
    assert_eq!(limits("$id").0, PROPERTY_ROWS_MAX);
}

#[track_caller]
fn wrong(select: &str, rest: &str, what: &str) {
    let error = ask(select, rest).expect_err(select).to_string();
    assert!(error.contains(what), "{select} {rest}: {error}");
}

#[test]
fn what_cannot_be_asked_is_named() {
    wrong("speed", "", "no telemetry or property `speed`");
    wrong("other.model", "", "`other.model`");
    wrong("temperature, room", "", "not about both: `temperature` and `room`");
    wrong("temperature", "WHERE room = 'A'", "not about both");
    wrong("room", "WHERE WITHIN_WINDOW(P1D)", "only telemetry has windows");
    wrong("AVG(room)", "", "only telemetry is aggregated");
    wrong("temperature, AVG(humidity)", "", "neither aggregated nor grouped by");
    wrong("temperature", "GROUP BY WINDOW(PT1M)", "nothing is aggregated");
    wrong("room", "WHERE room IN ['a']", "cannot be looked up with IN");
    wrong("temperature AS humidity, humidity", "", "names two columns");
    wrong("temperature, temperature", "", "names two columns");
    wrong("AVG(temperature) AS a", "WHERE a > 1", "says nothing of one");
    wrong("AVG(temperature)", "ORDER BY humidity", "cannot sort");
    assert!(ask("AVG(temperature)", "GROUP BY $id ORDER BY $id").is_ok());
}

#[track_caller]
fn misread(text: &str, at: usize, what: &str) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.at, at, "{text}: {error}");
    assert!(error.what.contains(what), "{text}: {error}");
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    misread("", 1, "`SELECT`");
    misread("SELECT * FROM dtmi:a;1", 8, "`*`");
    misread("SELECT TOP 0 a FROM dtmi:a;1", 12, "above 0");
    misread("SELECT TOP x FROM dtmi:a;1", 12, "a value");
    misread("SELECT FROM dtmi:a;1", 8, "a name");
    misread("SELECT a FROM devices", 15, "device template");
    misread("SELECT MEDIAN(a) FROM dtmi:a;1", 8, "no function");
    misread("SELECT COUNT(*) FROM dtmi:a;1", 14, "a name");
    misread("SELECT a AS $b FROM dtmi:a;1", 13, "an alias");
    misread("SELECT a FROM dtmi:a;1 WHERE WITHIN_WINDOW(P1M)", 44, "a duration");
    misread(
        "SELECT a FROM dtmi:a;1 WHERE WITHIN_WINDOW('2021-01-02T00:00:00Z/2021-01-01T00:00:00Z')",
        44,
        "a duration",
    );
    misread("SELECT a FROM dtmi:a;1 WHERE a > 1 OR WITHIN_WINDOW(P1D)", 39, "for the whole");
    misread("SELECT a FROM dtmi:a;1 WHERE WITHIN_WINDOW(P1D) AND WITHIN_WINDOW(P2D)", 53, "one WITHIN_WINDOW");
    misread("SELECT a FROM dtmi:a;1 WHERE a IN []", 36, "a value");
    misread("SELECT a FROM dtmi:a;1 GROUP a", 30, "`BY`");
    misread("SELECT a FROM dtmi:a;1 GROUP BY WINDOW(PT1M), WINDOW(PT2M)", 47, "already");
    misread("SELECT a FROM dtmi:a;1 ORDER BY a DESC b", 40, "the end");
    misread("SELECT a FROM dtmi:a;1; DROP", 15, "device template");
    misread("SELECT a FROM dtmi:a;1 DROP", 24, "the end");
}

#[test]
fn the_published_limits_hold_and_one_more_is_refused() {
    let items = |count: usize| format!("SELECT {} FROM dtmi:a;1", vec!["a"; count].join(","));
    assert!(parse(&items(ITEMS)).is_ok());
    assert!(parse(&items(ITEMS + 1)).unwrap_err().what.contains("15 items"));
    let tests = |count: usize| format!("SELECT a FROM dtmi:a;1 WHERE {}", vec!["a = 1"; count].join(" AND "));
    assert!(parse(&tests(OPERATORS + 1)).is_ok());
    assert!(parse(&tests(OPERATORS + 2)).unwrap_err().what.contains("10 operators"));
    let long = |chars: usize| {
        let start = "SELECT a FROM dtmi:a;1";
        format!("{start}{}", " ".repeat(chars - start.len()))
    };
    assert!(parse(&long(350)).is_ok());
    assert!(parse(&long(351)).unwrap_err().what.contains("longer than 350"));
}

const ITEMS: usize = crate::question::ITEMS_MAX;
const OPERATORS: usize = crate::question::OPERATORS_MAX;
