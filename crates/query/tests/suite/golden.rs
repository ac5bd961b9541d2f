//! Every query of `golden/queries.txt` over `golden/fleet.json`.

use gantry_query::Query;
use serde_json::Value;

const FLEET: &str = include_str!("../golden/fleet.json");
const QUERIES: &str = include_str!("../golden/queries.txt");

fn rows(text: &str, fleet: &[Value]) -> Result<Vec<Value>, String> {
    let query = Query::parse(text).map_err(|error| error.to_string())?;
    let mut run = query.start(100);
    for document in fleet {
        if run.offer(document) {
            break;
        }
    }
    run.finish().map_err(|error| error.to_string())
}

#[test]
fn queries_give_their_rows() {
    let fleet: Vec<Value> = serde_json::from_str(FLEET).unwrap();
    let lines: Vec<&str> = QUERIES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() > 100, "the table is there");
    for pair in lines.chunks(2) {
        let [text, expected] = pair else { panic!("{pair:?} is not a query with its rows") };
        let expected = expected.strip_prefix("=> ").expect("rows follow a query");
        let expected = match expected.strip_prefix("error: ") {
            Some(error) => Err(error.to_owned()),
            None => Ok(serde_json::from_str::<Vec<Value>>(expected).unwrap()),
        };
        assert_eq!(rows(text, &fleet), expected, "{text}");
    }
}

#[test]
fn whole_documents_come_back_as_they_are() {
    let fleet: Vec<Value> = serde_json::from_str(FLEET).unwrap();
    assert_eq!(rows("SELECT * FROM devices WHERE deviceId='x3'", &fleet).unwrap(), [fleet[2].clone()]);
}
