//! Queries over a building of three levels: a building, two floors, rooms on each, a sensor in every room.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::error::GraphError;
use crate::models::tests::{interface, of};
use crate::relationship::Relationship;
use crate::state::{Change, State};
use crate::twin::Twin;

fn link(state: &mut State, source: &str, name: &str, target: &str, more: Value) {
    let mut document = json!({"$relationshipId": format!("{name}-{target}"), "$sourceId": source,
        "$targetId": target, "$relationshipName": name});
    for (name, value) in more.as_object().into_iter().flatten() {
        document[name] = value.clone();
    }
    let one = Arc::new(Relationship::restore(document).unwrap());
    state.apply(Change::Relationship(Arc::clone(&one.source), Arc::clone(&one.id), Some(one)));
}

fn twin(state: &mut State, id: &str, model: &str, more: Value) {
    let mut document = json!({"$dtId": id, "$metadata": {"$model": model}});
    for (name, value) in more.as_object().into_iter().flatten() {
        document[name] = value.clone();
    }
    state.apply(Change::Twin(id.into(), Twin::restore(document).map(Arc::new)));
}

fn building() -> State {
    let models = of(vec![
        interface("dtmi:x:Space;1", &json!({})),
        interface("dtmi:x:Building;1", &json!({"extends": "dtmi:x:Space;1"})),
        interface("dtmi:x:Floor;1", &json!({"extends": "dtmi:x:Space;1"})),
        interface("dtmi:x:Room;1", &json!({"extends": "dtmi:x:Space;1"})),
        interface("dtmi:x:Sensor;1", &json!({})),
    ]);
    let mut state = State::default();
    state.models = models;
    twin(&mut state, "b", "dtmi:x:Building;1", json!({"name": "Tower", "tags": ["old", 3], "open": true}));
    for floor in 1..=2 {
        twin(&mut state, &format!("f{floor}"), "dtmi:x:Floor;1", json!({"level": floor, "note": null}));
        link(&mut state, "b", "contains", &format!("f{floor}"), json!({"since": 2000 + floor}));
        for room in 1..=3 {
            let id = format!("r{floor}{room}");
            twin(
                &mut state,
                &id,
                "dtmi:x:Room;1",
                json!({"temperature": f64::from(floor * 10 + room), "at": {"x": room}}),
            );
            link(&mut state, &format!("f{floor}"), "contains", &id, json!({"since": 2010 + room}));
            twin(&mut state, &format!("s{floor}{room}"), "dtmi:x:Sensor;1", json!({}));
            link(&mut state, &id, "has", &format!("s{floor}{room}"), json!({}));
        }
    }
    link(&mut state, "r11", "next", "r12", json!({}));
    link(&mut state, "r12", "next", "r13", json!({}));
    link(&mut state, "r13", "next", "r11", json!({}));
    state
}

fn all(text: &str) -> Result<Vec<Value>, GraphError> {
    all_by(text, 1000)
}

fn all_by(text: &str, rows: usize) -> Result<Vec<Value>, GraphError> {
    let state = building();
    let (mut found, mut token) = (vec![], None::<String>);
    loop {
        let page = page(&state, text, token.as_deref(), rows)?;
        assert!(page.rows.len() <= rows);
        found.extend(page.rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap()));
        token = page.token;
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// The ids a query finds: of rows that are twins, or have one column.
#[track_caller]
fn check(text: &str, expected: &str) {
    let rows = all(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let words: Vec<String> = rows.iter().map(word).collect();
    assert_eq!(words.join(" "), expected, "{text}");
    // The same in pages of one.
    let again: Vec<String> = all_by(text, 1).unwrap().iter().map(word).collect();
    assert_eq!(again, words, "{text}");
}

fn word(row: &Value) -> String {
    let members = row.as_object().unwrap();
    if let Some(id) = members.get("$dtId").or(members.get("$relationshipId")) {
        return id.as_str().unwrap().to_owned();
    }
    let words = members.values().map(|value| match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => word(value),
        other => other.to_string(),
    });
    words.collect::<Vec<_>>().join("+")
}

#[test]
fn conditions_choose_twins() {
    check("SELECT * FROM DIGITALTWINS WHERE $dtId = 'r11'", "r11");
    check("select * from digitaltwins T where T.$dtId in ['r12', 'r11', 'none']", "r11 r12");
    check("SELECT * FROM DIGITALTWINS WHERE temperature > 12 AND temperature <= 21", "r13 r21");
    check("SELECT * FROM DIGITALTWINS T WHERE T.at.x = 3", "r13 r23");
    check("SELECT * FROM DIGITALTWINS WHERE level = 1 OR name = 'Tower'", "b f1");
    check("SELECT * FROM DIGITALTWINS WHERE IS_DEFINED(level) AND NOT (level = 1)", "f2");
    check("SELECT * FROM DIGITALTWINS WHERE level != 1", "f2");
    check("SELECT * FROM DIGITALTWINS WHERE level NIN [1, 5]", "f2");
    check("SELECT * FROM DIGITALTWINS WHERE level NOT IN [1, 5]", "f2");
    check("SELECT * FROM DIGITALTWINS WHERE IS_NULL(note)", "f1 f2");
    check("SELECT * FROM DIGITALTWINS WHERE note = null", "f1 f2");
    check("SELECT * FROM DIGITALTWINS WHERE IS_OBJECT(at) AND STARTSWITH($dtId, 'r1') AND ENDSWITH($dtId, '3')", "r13");
    check("SELECT * FROM DIGITALTWINS WHERE CONTAINS(name, 'owe') AND IS_STRING(name)", "b");
    check("SELECT * FROM DIGITALTWINS WHERE ARRAY_CONTAINS(tags, 'old') AND ARRAY_CONTAINS(tags, 3)", "b");
    check("SELECT * FROM DIGITALTWINS WHERE ARRAY_CONTAINS(tags, 4)", "");
    check("SELECT * FROM DIGITALTWINS WHERE IS_BOOL(open) AND open", "b");
    check("SELECT * FROM DIGITALTWINS WHERE IS_NUMBER(level) AND IS_PRIMITIVE(level)", "f1 f2");
    check("SELECT * FROM DIGITALTWINS WHERE IS_PRIMITIVE(at)", "");
    check("SELECT * FROM DIGITALTWINS WHERE temperature < -5", "");
    check("SELECT * FROM DIGITALTWINS WHERE name > 5", "");
    check("SELECT TOP (2) * FROM DIGITALTWINS WHERE temperature > 0", "r11 r12");
    check("SELECT TOP(0) * FROM DIGITALTWINS", "");
}

#[test]
fn models_choose_twins() {
    check("SELECT * FROM DIGITALTWINS WHERE IS_OF_MODEL('dtmi:x:Floor;1')", "f1 f2");
    check("SELECT * FROM DIGITALTWINS WHERE IS_OF_MODEL('dtmi:x:Space;1', exact)", "");
    check("SELECT T.$dtId FROM DIGITALTWINS T WHERE IS_OF_MODEL(T, 'dtmi:x:Space;1') AND T.level = 2", "f2");
    check("SELECT COUNT() FROM DIGITALTWINS WHERE IS_OF_MODEL('dtmi:x:Space;1')", "9");
    check("SELECT COUNT() FROM DIGITALTWINS", "15");
    check("SELECT COUNT() FROM DIGITALTWINS T WHERE T.temperature > 20", "3");
    check("SELECT * FROM DIGITALTWINS WHERE $metadata.$model = 'dtmi:x:Building;1'", "b");
    check(
        "SELECT * FROM DIGITALTWINS WHERE NOT IS_OF_MODEL('dtmi:x:Sensor;1') AND NOT IS_OF_MODEL('dtmi:x:Room;1')",
        "b f1 f2",
    );
}

#[test]
fn relationships_are_a_collection_too() {
    check("SELECT * FROM RELATIONSHIPS WHERE $sourceId = 'b'", "contains-f1 contains-f2");
    check("SELECT * FROM RELATIONSHIPS R WHERE R.$targetId = 'r11'", "contains-r11 next-r11");
    check("SELECT R.$relationshipId FROM RELATIONSHIPS R WHERE R.since = 2002", "contains-f2");
    check("SELECT COUNT() FROM RELATIONSHIPS", "17");
    check("SELECT COUNT() FROM RELATIONSHIPS WHERE $relationshipName = 'next'", "3");
}

#[test]
fn joins_follow_relationships() {
    check("SELECT R.$dtId FROM DIGITALTWINS F JOIN R RELATED F.contains WHERE F.$dtId = 'f1'", "r11 r12 r13");
    check(
        "SELECT S.$dtId AS s, L.since FROM DIGITALTWINS F JOIN R RELATED F.contains L JOIN S RELATED R.has \
         WHERE F.$dtId = 'f2' AND L.since > 2011",
        "s22+2012 s23+2013",
    );
    // From the other end: what is known of it says where to begin.
    check("SELECT F.$dtId FROM DIGITALTWINS F JOIN R RELATED F.contains WHERE R.$dtId = 'r21'", "f2");
    check("SELECT COUNT() FROM DIGITALTWINS F JOIN R RELATED F.contains WHERE F.$dtId IN ['b', 'f1']", "5");
    check("SELECT F, R FROM DIGITALTWINS F JOIN R RELATED F.contains WHERE F.$dtId = 'f1' AND R.at.x = 2", "f1+r12");
    check("SELECT * FROM DIGITALTWINS F JOIN R RELATED F.contains WHERE R.$dtId = 'f1'", "b+f1");
}

#[test]
fn patterns_have_directions_names_and_hops() {
    check("SELECT R.$dtId FROM DIGITALTWINS MATCH (B)-[]->(R) WHERE B.$dtId = 'b'", "f1 f2");
    check("SELECT B.$dtId FROM DIGITALTWINS MATCH (R)<-[:contains]-(B) WHERE R.$dtId = 'f1'", "b");
    check("SELECT B.$dtId FROM DIGITALTWINS MATCH (R)-[:contains]-(B) WHERE R.$dtId = 'f1'", "r11 r12 r13 b");
    check(
        "SELECT S.$dtId FROM DIGITALTWINS MATCH (B)-[:contains|has*3]->(S) WHERE B.$dtId = 'b'",
        "s11 s12 s13 s21 s22 s23",
    );
    check("SELECT S.$dtId FROM DIGITALTWINS MATCH (B)-[*..1]->(S) WHERE B.$dtId = 'b'", "f1 f2");
    check(
        "SELECT S.$dtId FROM DIGITALTWINS MATCH (B)-[:contains*1..2]->(S) WHERE B.$dtId = 'b'",
        "r11 r12 r13 r21 r22 r23",
    );
    check("SELECT COUNT() FROM DIGITALTWINS MATCH (B)-[:contains*..2]->(S) WHERE B.$dtId = 'b'", "8");
    check(
        "SELECT L.since FROM DIGITALTWINS MATCH (B)-[L:contains]->(F) WHERE B.$dtId = 'b' AND L.since > 2001",
        "2002",
    );
    check(
        "SELECT F.$dtId AS f, S.$dtId AS s FROM DIGITALTWINS MATCH (B)-[:contains]->(F)-[:contains*1]->(R)-[:has]->(S) \
         WHERE B.$dtId = 'b' AND R.temperature = 12",
        "f1+s12",
    );
    check("SELECT * FROM DIGITALTWINS MATCH (r) WHERE r.$dtId = 'r11'", "r11");
    check("SELECT A.$dtId FROM DIGITALTWINS MATCH (A)-[:next]->()-[:next]->(B) WHERE B.$dtId = 'r13'", "r11");
}

#[test]
fn cycles_end() {
    // Around the three rooms once: a relationship is walked once.
    check("SELECT B.$dtId FROM DIGITALTWINS MATCH (A)-[:next*3]->(B) WHERE A.$dtId = 'r11'", "r11");
    check("SELECT B.$dtId FROM DIGITALTWINS MATCH (A)-[:next*4]->(B) WHERE A.$dtId = 'r11'", "");
    check("SELECT COUNT() FROM DIGITALTWINS MATCH (A)-[:next*..10]-(B) WHERE A.$dtId = 'r11'", "3");
    check(
        "SELECT A.$dtId FROM DIGITALTWINS MATCH (A)-[:next]->(B)-[:next]->(C)-[:next]->(A) WHERE A.$dtId = 'r12'",
        "r12",
    );
    check(
        "SELECT C.$dtId FROM DIGITALTWINS MATCH (A)-[:contains]-(B)-[:contains]-(C) WHERE A.$dtId = 'r11'",
        "r12 r13 b",
    );
}

#[test]
fn columns_have_names() {
    let rows = all("SELECT T.at.x, T.temperature AS t, T.missing FROM DIGITALTWINS T WHERE T.$dtId = 'r11'").unwrap();
    assert_eq!(rows, [json!({"x": 1, "t": 11.0})]);
    let rows = all("SELECT T FROM DIGITALTWINS T WHERE T.$dtId = 'f1'").unwrap();
    assert_eq!(rows[0]["T"]["level"], 1);
    let rows = all("SELECT [[note]], level FROM DIGITALTWINS WHERE level = 1").unwrap();
    assert_eq!(rows, [json!({"note": null, "level": 1})]);
}

#[track_caller]
fn refused(text: &str, position: usize) {
    match all(text) {
        Err(GraphError::SqlQueryError(error)) => assert_eq!(error.position, position, "{text}: {error}"),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn errors_name_the_place() {
    refused("", 1);
    refused("SELECT", 7);
    refused("SELECT * FROM", 14);
    refused("SELECT * FROM devices", 15);
    refused("SELECT * FROM DIGITALTWINS WHERE", 33);
    refused("SELECT * FROM DIGITALTWINS WHERE a =", 37);
    refused("SELECT * FROM DIGITALTWINS WHERE a = 'x", 38);
    refused("SELECT * FROM DIGITALTWINS WHERE a = 1 b", 40);
    refused("SELECT * FROM DIGITALTWINS WHERE a = 1x", 38);
    refused("SELECT * FROM DIGITALTWINS WHERE a[0] = 1", 35);
    refused("SELECT * FROM DIGITALTWINS WHERE LOWER(a) = 1", 34);
    refused("SELECT * FROM DIGITALTWINS WHERE a # 1", 36);
    refused("SELECT X.a FROM DIGITALTWINS T JOIN B RELATED T.r", 8);
    refused("SELECT * FROM DIGITALTWINS T JOIN B RELATED X.r", 45);
    refused("SELECT * FROM DIGITALTWINS T JOIN T RELATED T.r", 35);
    refused("SELECT a, b.a FROM DIGITALTWINS T", 11);
    refused("SELECT * FROM DIGITALTWINS MATCH (a)<-[]->(b)", 42);
    refused("SELECT * FROM DIGITALTWINS MATCH (a)-[r*2]->(b)", 39);
    refused("SELECT * FROM DIGITALTWINS MATCH (a)-[*11]->(b)", 40);
    refused("SELECT * FROM DIGITALTWINS MATCH (a)-[*6]->(b)-[*5]->(c)", 47);
    refused("SELECT * FROM DIGITALTWINS MATCH (a)-[*3..2]->(b)", 40);
    refused("SELECT * FROM DIGITALTWINS MATCH (a)-[*0]->(b)", 40);
    refused("SELECT * FROM RELATIONSHIPS WHERE IS_OF_MODEL('dtmi:x:y;1')", 47);
    refused("SELECT TOP(1) COUNT() FROM DIGITALTWINS", 1);
}

#[test]
fn texts_lists_joins_and_nesting_are_bounded() {
    let of = |condition: String| format!("SELECT * FROM DIGITALTWINS T WHERE {condition}");
    assert!(all(&of(vec!["a = 1"; LOGICAL_MAX + 1].join(" AND "))).is_ok());
    assert!(all(&of(vec!["a = 1"; LOGICAL_MAX + 2].join(" OR "))).is_err());
    assert!(all(&of(format!("a IN [{}]", vec!["1"; IN_MAX].join(",")))).is_ok());
    assert!(all(&of(format!("a IN [{}]", vec!["1"; IN_MAX + 1].join(",")))).is_err());
    let nested = |depth: usize| of(format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth)));
    assert!(all(&nested(DEPTH_MAX)).is_ok());
    assert!(all(&nested(DEPTH_MAX + 1)).is_err());
    assert!(all(&of(format!("{} a = 1", "NOT ".repeat(DEPTH_MAX + 1)))).is_err());
    assert!(all(&of(format!("{} a = 1", "(NOT ".repeat(3_000)))).is_err());
    assert!(all(&format!("SELECT {} FROM DIGITALTWINS", "x".repeat(TEXT_LEN_MAX))).is_err());
    let joins: String = (0..=JOINS_MAX).map(|n| format!(" JOIN J{n} RELATED T.r")).collect();
    assert!(all(&format!("SELECT T FROM DIGITALTWINS T{joins} WHERE T.$dtId = 'x'")).is_err());
    assert!(all(&of(format!("a.{} = 1", vec!["b"; PATH_MAX].join(".")))).is_err());
}

#[test]
fn a_walk_that_does_not_end_is_stopped() {
    let mut state = building();
    // Everybody knows everybody: as many ways as there are orders.
    for left in 0..20 {
        twin(&mut state, &format!("p{left}"), "dtmi:x:Sensor;1", json!({}));
    }
    for left in 0..20 {
        for right in (0..20).filter(|right| *right != left) {
            link(&mut state, &format!("p{left}"), "knows", &format!("p{right}"), json!({}));
        }
    }
    let text = "SELECT B.$dtId FROM DIGITALTWINS MATCH (A)-[:knows*10]->(B) WHERE A.$dtId = 'p0'";
    assert!(matches!(page(&state, text, None, 10), Err(GraphError::TimeoutError)));
    let text = "SELECT COUNT() FROM DIGITALTWINS MATCH (A)-[:knows]-(B)-[:knows]-(C)-[:knows]-(D)-[:knows]-(E)";
    assert!(matches!(page(&state, text, None, 10), Err(GraphError::TimeoutError)));
}

#[test]
fn what_is_passed_over_counts_and_nobody_waits_for_what_is_not_wanted() {
    let mut state = building();
    twin(&mut state, "hub", "dtmi:x:Sensor;1", json!({}));
    twin(&mut state, "end", "dtmi:x:Sensor;1", json!({}));
    for number in 0..300 {
        let id = json!({ "$relationshipId": format!("r{number}") });
        link(&mut state, "hub", "a", "end", id.clone());
        link(&mut state, "end", "a", "hub", id);
    }
    // 300 * 300 ways lead to a twin with 300 relationships, none of which has the name.
    let joins = "JOIN A RELATED H.a JOIN B RELATED A.a JOIN C RELATED B.none";
    let text = format!("SELECT COUNT() FROM DIGITALTWINS H {joins} WHERE H.$dtId = 'hub'");
    assert!(matches!(page(&state, &text, None, 10), Err(GraphError::TimeoutError)));
    let text = "SELECT COUNT() FROM DIGITALTWINS H JOIN A RELATED H.a WHERE H.$dtId = 'hub'";
    assert!(page(&state, text, None, 10).is_ok());
    assert!(matches!(page_while(&state, text, None, 10, &|| false), Err(GraphError::TimeoutError)));
}

#[test]
fn tokens_that_are_none_are_refused() {
    let state = building();
    let text = "SELECT * FROM DIGITALTWINS";
    let token = page(&state, text, None, 2).unwrap().token.unwrap();
    // The query of the token counts, not the one beside it.
    assert_eq!(page(&state, "", Some(&token), 2).unwrap().rows.len(), 2);
    for bad in ["", "x", "e30", &token[1..], &"A".repeat(100_000)] {
        assert!(matches!(page(&state, text, Some(bad), 2), Err(GraphError::BadContinuation)), "{bad}");
    }
}

#[test]
fn pages_go_on_when_the_twin_at_their_end_is_gone() {
    let mut state = building();
    let text = "SELECT * FROM DIGITALTWINS WHERE temperature > 0";
    let first = page(&state, text, None, 2).unwrap();
    state.apply(Change::Twin("r12".into(), None));
    let second = page(&state, text, first.token.as_deref(), 2).unwrap();
    assert!(second.rows[0].contains("\"r13\""), "{:?}", second.rows);
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "[ -~]{0,200}") {
        let _ = Query::parse(&text);
    }

    #[test]
    fn any_words_are_survived(words in proptest::collection::vec(
        "SELECT|FROM|DIGITALTWINS|RELATIONSHIPS|MATCH|JOIN|RELATED|WHERE|AND|OR|NOT|IN|T|a|1|'x'|[(){}.,=<>*:|-]|\\[|\\]|IS_OF_MODEL|TOP|COUNT",
        0..40,
    )) {
        let text = format!("SELECT * FROM DIGITALTWINS {}", words.join(" "));
        if Query::parse(&text).is_ok() {
            let _ = page(&building(), &text, None, 5);
        }
    }
}
