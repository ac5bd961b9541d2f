//! A graph of 100,000 twins and 300,000 relationships: a twin, its relationships, three hops, how many of a model.
//!
//! `cargo bench -p gantry-graph`

#![expect(clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_graph::query::page;
use gantry_graph::{Graph, Item};
use gantry_identity::Timestamp;
use gantry_storage_suite::Memory;
use serde_json::{Map, Value, json};

const TWINS: usize = 100_000;
const LINKS: usize = 3;
const RUNS: usize = 1_000;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn twin(number: usize) -> Item {
    let model = if number.is_multiple_of(10) { "dtmi:x:Floor;1" } else { "dtmi:x:Room;1" };
    Item::Twin(object(json!({"$dtId": format!("t{number}"), "$metadata": {"$model": model}, "n": number})))
}

fn link(number: usize, link: usize) -> Item {
    let target = (number * 7 + link * 31 + 1) % TWINS;
    Item::Relationship(object(json!({"$dtId": format!("t{number}"), "$relationshipId": format!("l{link}"),
        "$targetId": format!("t{target}"), "$relationshipName": "next"})))
}

async fn build() -> Graph {
    let graph = Graph::load(Arc::new(Memory::new()), TWINS, TWINS * LINKS).await.expect("an empty graph");
    let contents =
        json!([{"@type": "Property", "name": "n", "schema": "integer"}, {"@type": "Relationship", "name": "next"}]);
    let models = ["Floor", "Room"].map(|name| {
        json!({"@context": "dtmi:dtdl:context;2", "@id": format!("dtmi:x:{name};1"), "@type": "Interface", "contents": contents})
    });
    graph.add_models(Timestamp::default(), models.to_vec()).await.expect("models");
    let twins: Vec<usize> = (0..TWINS).collect();
    for (number, chunk) in twins.chunks(500).enumerate() {
        let items: Vec<Item> = chunk.iter().map(|number| twin(*number)).collect();
        graph.put_many(Timestamp::default(), (number as u128) << 32, &items).await.expect("twins");
    }
    for chunk in twins.chunks(500) {
        let links = chunk.iter().filter(|n| (**n * 6 + 1) % TWINS != 0);
        let items: Vec<Item> = links.flat_map(|number| (0..LINKS).map(|one| link(*number, one))).collect();
        graph.put_many(Timestamp::default(), (chunk[0] as u128) << 64, &items).await.expect("links");
    }
    graph
}

fn measure(name: &str, mut run: impl FnMut(usize) -> usize) {
    let mut times: Vec<Duration> = vec![];
    let mut rows = 0;
    for number in 0..RUNS {
        let at = Instant::now();
        rows += run(number);
        times.push(at.elapsed());
    }
    times.sort_unstable();
    println!("{name}: median {:?}, 99th {:?}, {} rows a run", times[RUNS / 2], times[RUNS * 99 / 100], rows / RUNS);
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let at = Instant::now();
    let graph = runtime.block_on(build());
    let state = graph.read();
    println!("built {} twins, {} relationships in {:?}", state.twins_len(), state.relationships_len(), at.elapsed());
    let ask = |text: String| page(&state, &text, None, 1000).expect("a page").rows.len();
    let id = |number: usize| format!("t{}", number * 97 % TWINS);
    measure("get", |number| usize::from(state.twin(&id(number)).is_ok()));
    measure("query by $dtId", |n| ask(format!("SELECT * FROM DIGITALTWINS WHERE $dtId = '{}'", id(n))));
    measure("1 hop", |n| {
        ask(format!("SELECT B FROM DIGITALTWINS A JOIN B RELATED A.next WHERE A.$dtId = '{}'", id(n)))
    });
    measure("3 hops", |n| {
        ask(format!("SELECT B.$dtId FROM DIGITALTWINS MATCH (A)-[:next*3]->(B) WHERE A.$dtId = '{}'", id(n)))
    });
    measure("count of a model", |_| {
        ask("SELECT COUNT() FROM DIGITALTWINS WHERE IS_OF_MODEL('dtmi:x:Floor;1')".to_owned())
    });
    measure("page of a model", |_| {
        ask("SELECT * FROM DIGITALTWINS T WHERE IS_OF_MODEL(T, 'dtmi:x:Floor;1') AND T.n > 90000".to_owned())
    });
}
