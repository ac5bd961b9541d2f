//! Every example of the guide gives what it says.

use crate::common::{at, clock, settings};
use gantry_streaming::{Event, Job, Running, Value};

/// The blocks of a kind, in the order of the document, with what kind they are.
fn blocks(document: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => found.extend(open.take()),
            (Some((_, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, Some(kind)) => open = Some((kind.to_owned(), String::new())),
            (None, None) => {}
        }
    }
    found
}

#[test]
fn every_example_gives_what_it_says() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/streaming.md");
    let blocks = blocks(&std::fs::read_to_string(document).expect("the guide"));
    let (_, events) = blocks.iter().find(|(kind, _)| kind == "json").expect("events");
    let mut run = 0;
    for pair in blocks.windows(2) {
        let [(kind, query), (next, expected)] = pair else { unreachable!("pairs") };
        if kind != "sql" {
            continue;
        }
        assert_eq!(next, "text", "{query}");
        let job = Job::parse(query, &settings()).unwrap_or_else(|error| panic!("{query}\n{error}"));
        let (mut running, mut out) = (Running::new(&job), Vec::new());
        for (number, line) in events.lines().enumerate() {
            let mut json: serde_json::Value = serde_json::from_str(line).expect(line);
            let arrival = json.as_object_mut().and_then(|event| event.remove("arrival")).expect(line);
            let event = Event {
                input: "input",
                partition: 0,
                sequence: number as u64,
                arrival: at(arrival.as_str().expect(line)),
                body: Value::from_json(&json).expect(line),
                system: Vec::new(),
                user: None,
            };
            running.push(event, &mut out).expect("pushed");
        }
        running.finish(&mut out).expect("finished");
        let rows = out.into_iter().map(|row| {
            let columns = Value::Record(row.row).to_json();
            format!("{} {} {columns}\n", clock(row.timestamp), row.output)
        });
        assert_eq!(rows.collect::<String>(), *expected, "{query}");
        run += 1;
    }
    assert_eq!(run, 8);
}
