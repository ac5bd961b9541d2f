//! Looking records up by what a condition demands: never less than looking at every record would find.

use std::collections::BTreeMap;

use gantry_hub::Query;
use gantry_hub::device::Status;
use gantry_hub::limits::TWIN_INTEGER;
use gantry_hub::ports::{Filter, Record, Search, Store};
use gantry_hub::twin::{Object, TwinWrite};
use gantry_identity::{Identity, Timestamp};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::Engine;
use crate::fixtures::record;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Records on a page: few, so that every search has several.
const PAGE: usize = 7;
/// Random conditions that are tried.
const CONDITIONS_TRIED: usize = 600;
/// Conditions between changes of records.
const CONDITIONS_BETWEEN: usize = 20;

fn object(value: Value) -> Object {
    value.as_object().expect("an object").clone()
}

/// Devices with everything that is easily confused, and a module on every third.
///
/// # Panics
/// When the store fails.
pub async fn fleet(store: &dyn Store) -> Vec<Record> {
    let values = [
        json!(1),
        json!(true),
        json!("1"),
        json!(1.0),
        json!([1]),
        json!("[1]"),
        json!({"a": 1}),
        json!(0),
        json!("x'\"y"),
    ];
    let mut all = vec![];
    for number in 0..90 {
        let mut one = record(&format!("d{number:02}"));
        let tags = json!({ "v": values[number % values.len()], "n": number, "odd-key'": number % 3, "none": {} });
        let desired = json!({ "rate": number % 7, "deep": {"list": [number, {"x": "y"}]} });
        one.twin.write(&TwinWrite::merging(Some(tags), Some(desired)).unwrap(), NOW).unwrap();
        one.twin.report(&object(json!({ "temperature": number as f64 / 4.0 })), NOW).unwrap();
        one.device.iot_edge = number % 5 == 0;
        one.device.parent_scopes = if number % 4 == 0 { vec!["scope".into()] } else { vec![] };
        if number % 10 == 0 {
            one.device.status = Status::Disabled;
        }
        store.insert(vec![one.clone()], vec![]).await.unwrap();
        if number % 6 == 0 {
            one.twin.managed.configurations.insert("c-1".into(), number % 12 == 0);
            store.update(one.clone(), vec![]).await.unwrap();
            one.revision += 1;
        }
        all.push(one);
        if number % 3 == 0 {
            let module = record(&format!("d{number:02}/m"));
            store.insert(vec![module.clone()], vec![]).await.unwrap();
            all.push(module);
        }
    }
    all
}

const CONDITIONS: [&str; 34] = [
    "true",
    "deviceId = 'd05'",
    "deviceId IN ['d05', 'd70', 'none', 5]",
    "STARTSWITH(deviceId, 'd1')",
    "deviceId >= 'd30' AND deviceId < 'd33'",
    "deviceId > 5",
    "status = 'disabled'",
    "status = 'Disabled'",
    "status IN ['enabled', 'disabled'] AND tags.n < 3",
    "tags.v = 1",
    "tags.v = true",
    "tags.v",
    "tags.v = '1'",
    "tags.v = '[1]'",
    "tags.v = 0",
    "tags.v = 'x\\'\"y'",
    "tags.v IN [1, '1']",
    "tags.v > '0'",
    "tags.v < 'z'",
    "tags.v >= 1",
    "tags.[[odd-key']] = 2",
    "tags.n >= 85",
    "tags.n > 10 AND tags.n <= 20 AND properties.desired.rate = 3",
    "properties.desired.deep.list[0] = 33",
    "properties.desired.deep.list[1].x = 'y' AND tags.n = 4",
    "properties.reported.temperature = 2.5",
    "properties.reported.temperature < 1",
    "capabilities.iotEdge",
    "capabilities.iotEdge = false AND tags.n < 4",
    "array_contains(parentScopes, 'scope')",
    "configurations.[[c-1]].status = 'Applied'",
    "configurations.[[c-1]].status IN ['Targeted', 'Applied'] AND tags.n > 50",
    "is_defined(tags.none) AND tags.n = 1",
    "tags.n = 1 OR tags.n = 2",
];

/// Compares what a store finds with what the evaluator says of every record, in order of id.
///
/// # Panics
/// When they differ, when a page is out of order, or when a count that is given is wrong.
pub async fn check(store: &dyn Store, all: &[Record], source: &str, condition: &str) {
    check_text(store, &documents(all), source, condition).await;
}

/// What the evaluator looks at, of every record, in order of id.
type Documents = BTreeMap<Identity, Value>;

fn documents(all: &[Record]) -> Documents {
    all.iter().map(|record| (record.device.identity.clone(), record.twin_document(false))).collect()
}

async fn check_text(store: &dyn Store, all: &Documents, source: &str, condition: &str) {
    let query = Query::parse(&format!("SELECT * FROM {source} WHERE {condition}")).unwrap();
    check_query(store, all, source != "devices", &query, condition).await;
}

async fn check_query(store: &dyn Store, all: &Documents, modules: bool, query: &Query, condition: &str) {
    let search = Search { modules, constraints: query.constraints() };
    let expected = all.iter().filter(|(id, twin)| id.module.is_some() == modules && query.matches(*twin));
    let expected: Vec<_> = expected.map(|(id, _)| id.clone()).collect();
    let (mut found, mut after) = (vec![], None::<Identity>);
    loop {
        let page = store.find(search.clone(), after.clone(), PAGE).await;
        let page = page.unwrap_or_else(|error| panic!("{condition}: {error}"));
        let ids = page.iter().map(|record| &record.device.identity);
        assert!(after.iter().chain(ids).is_sorted_by(|a, b| a < b), "{condition}: in order of id");
        let full = page.len() == PAGE;
        after = page.last().map(|record| record.device.identity.clone());
        let ids = page.into_iter().map(|record| record.device.identity);
        found.extend(ids.filter(|id| query.matches(&all[id])));
        if !full {
            break;
        }
    }
    assert_eq!(found, expected, "{condition} (modules: {modules})");
    if query.is_exact()
        && let Some(count) = store.count(search).await.unwrap()
    {
        assert_eq!(count, expected.len() as u64, "{condition} (modules: {modules})");
    }
    if let Some(filter) = Filter::of(query) {
        let search = Search { modules, constraints: query.constraints() };
        check_filter(store, search, &filter, &expected, condition).await;
    }
}

/// Compares what a filter accepts, page by page and counted, with what is expected.
async fn check_filter(store: &dyn Store, search: Search, filter: &Filter, expected: &[Identity], condition: &str) {
    let (mut found, mut after) = (vec![], None);
    let mut pages = 0;
    loop {
        let page = store.find_where(search.clone(), filter.clone(), after, PAGE).await;
        let (page, next) = page.unwrap_or_else(|error| panic!("{condition}: {error}"));
        assert!(page.len() <= PAGE, "{condition}");
        found.extend(page.into_iter().map(|record| record.device.identity));
        pages += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, expected, "filtered: {condition}");
    assert_eq!(pages, expected.len().div_ceil(PAGE).max(1), "{condition}: no page more than there are matches for");
    let count = store.count_where(search, filter.clone()).await.unwrap();
    assert_eq!(count, expected.len() as u64, "counted: {condition}");
}

/// As it says.
pub async fn a_search_finds_what_looking_at_everything_finds(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    let all = documents(&fleet(store).await);
    // Again, because a store may make indexes of what it is asked for.
    for _ in 0..3 {
        for condition in CONDITIONS {
            check_text(store, &all, "devices", condition).await;
            check_text(store, &all, "devices.modules", condition).await;
        }
    }
}

/// A primitive of the kinds that are easily confused.
fn primitive() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-2..3_i64).prop_map(Value::from),
        1 => prop_oneof![Just(TWIN_INTEGER.start() + 1), Just(TWIN_INTEGER.end() - 1)].prop_map(Value::from),
        2 => prop_oneof![Just(0.0), Just(1.0), Just(-0.5), Just(1e300), Just(9_007_199_254_740_992.0)].prop_map(Value::from),
        2 => any::<bool>().prop_map(Value::from),
        4 => prop_oneof![
            Just(""), Just("a"), Just("ab"), Just("A"), Just("b"), Just("1"), Just("1.0"), Just("true"), Just("null"),
            Just("[1]"), Just("{}"), Just("é"), Just("\u{10FFFF}"), Just("a'b"), Just("a\"b"), Just("a%_b"),
        ]
        .prop_map(Value::from),
    ]
}

/// A value of a property; null takes it away.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => primitive(),
        1 => prop::collection::vec(primitive(), 0..3).prop_map(Value::from),
        1 => primitive().prop_map(|value| json!({ "x": value })),
        1 => Just(Value::Null),
    ]
}

/// A section of a twin. Few names, so that paths meet.
fn section() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("a"), Just("b"), Just("odd-'k'"), Just("deep")];
    prop::collection::btree_map(name, value(), 0..5).prop_map(|all: BTreeMap<&str, Value>| json!(all))
}

fn path() -> impl Strategy<Value = String> {
    let place = prop_oneof![
        3 => Just("tags"),
        2 => Just("properties.desired"),
        2 => Just("properties.reported"),
    ];
    let name = prop_oneof![
        Just(".a"),
        Just(".b"),
        Just(".[[odd-'k']]"),
        Just(".deep"),
        Just(".deep.x"),
        Just(".a[0]"),
        Just(".none")
    ];
    prop_oneof![
        8 => (place, name).prop_map(|(place, name)| format!("{place}{name}")),
        1 => prop_oneof![Just("deviceId"), Just("status"), Just("capabilities.iotEdge"), Just("deviceScope"),
                         Just("configurations.[[c-1]].status"), Just("connectionState"), Just("version"), Just("etag")]
            .prop_map(str::to_owned),
    ]
}

/// As the query language spells it.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        other => other.to_string(),
    }
}

fn operand() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => primitive().prop_map(|value| literal(&value)),
        1 => prop_oneof![Just(i64::MAX), Just(i64::MIN + 1), Just((1 << 53) + 1)].prop_map(|value| value.to_string()),
        2 => prop_oneof![Just("'d03'"), Just("'enabled'"), Just("'disabled'"), Just("'Applied'"), Just("'Targeted'"), Just("'scope'")]
            .prop_map(str::to_owned),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let comparison = prop_oneof![Just("="), Just("!="), Just("<>"), Just("<"), Just("<="), Just(">"), Just(">=")];
    let leaf = prop_oneof![
        8 => (path(), comparison, operand()).prop_map(|(path, is, value)| format!("{path} {is} {value}")),
        2 => (path(), prop::collection::vec(operand(), 1..4)).prop_map(|(path, all)| format!("{path} IN [{}]", all.join(", "))),
        1 => (path(), operand()).prop_map(|(path, value)| format!("STARTSWITH({path}, {value})")),
        1 => path().prop_map(|path| format!("is_defined({path})")),
        1 => (path(), operand()).prop_map(|(path, value)| format!("array_contains({path}, {value})")),
        1 => Just("array_contains(parentScopes, 'scope')".to_owned()),
        1 => path(),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            4 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR ({b})")),
            1 => inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

/// Changes the twin of a record, and gives it other properties of its identity.
fn change(runner: &mut TestRunner, one: &mut Record) {
    let mut draw = || section().new_tree(runner).expect("sections can be drawn").current();
    let write = TwinWrite::merging(Some(draw()), Some(draw())).expect("an object");
    one.twin.write(&write, NOW).expect("a small twin");
    one.twin.report(&object(draw()), NOW).expect("a small twin");
    let mut flag = |share: u32| (0..share).new_tree(runner).expect("numbers can be drawn").current() == 0;
    one.device.status = if flag(3) { Status::Disabled } else { Status::Enabled };
    one.device.iot_edge = flag(3);
    one.device.parent_scopes = if flag(3) { vec!["scope".into()] } else { vec![] };
    one.device.device_scope = flag(3).then(|| "scope".into());
    one.twin.managed.configurations.clear();
    if flag(3) {
        one.twin.managed.configurations.insert("c-1".into(), flag(2));
    }
}

/// As it says. The same records and conditions each time.
pub async fn random_conditions_find_what_looking_at_everything_finds(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    let mut runner = TestRunner::deterministic();
    let mut all: Vec<Record> =
        (0..30).flat_map(|n| [record(&format!("d{n:02}")), record(&format!("d{n:02}/m"))]).collect();
    for one in &all {
        store.insert(vec![one.clone()], vec![]).await.unwrap();
    }
    let mut tried = 0;
    while tried < CONDITIONS_TRIED {
        for one in &mut all {
            if (0..3_u32).new_tree(&mut runner).unwrap().current() == 0 || tried == 0 {
                change(&mut runner, one);
                store.update(one.clone(), vec![]).await.unwrap();
                one.revision += 1;
            }
        }
        let documents = documents(&all);
        for _ in 0..CONDITIONS_BETWEEN {
            let condition = condition().new_tree(&mut runner).unwrap().current();
            tried += 1;
            for (source, modules) in [("devices", false), ("devices.modules", true)] {
                let text = format!("SELECT * FROM {source} WHERE {condition}");
                // What cannot be written down is refused, and none of the store's business.
                let Ok(query) = Query::parse(&text) else { continue };
                check_query(store, &documents, modules, &query, &condition).await;
            }
        }
    }
}
