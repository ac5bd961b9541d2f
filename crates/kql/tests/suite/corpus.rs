//! Texts of the documentation and of public detections, against what the official language
//! service says of them (`corpus/README.md`), and mutations of them, which nothing must survive
//! badly.

use gantry_kql::{Diagnostic, EmptyCatalog, bind, command, parse};
use serde_json::Value;
use std::collections::HashMap;

/// Texts whose columns differ from the official ones, and why.
const DIFFERENT: [(&str, &str); 3] = [
    ("doc-5cfbf03874fa", "`datetime(8:00)` is a time of today, which a literal row cannot hold"),
    ("doc-e9665aa88b7b", "the documentation says that `union T*` sees views of `let`"),
    ("doc-fbc9611262a1", "the documentation says that `toscalar` cannot depend on a row"),
];

fn records(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn schemas() -> impl Iterator<Item = Value> {
    records(include_str!("../corpus/schemas.jsonl"))
}

fn texts() -> impl Iterator<Item = Value> {
    records(include_str!("../corpus/texts.jsonl"))
}

fn commands() -> impl Iterator<Item = Value> {
    records(include_str!("../corpus/commands.jsonl"))
}

fn query(record: &Value) -> &str {
    record["query"].as_str().unwrap()
}

#[test]
fn texts_of_the_language_are_read_and_others_refused() {
    for record in texts() {
        let read = parse(query(&record));
        assert_eq!(read.is_ok(), record["ok"].as_bool().unwrap(), "{}: {}\n{read:?}", record["id"], query(&record));
    }
}

#[test]
fn results_have_the_official_columns() {
    for record in schemas() {
        let id = record["id"].as_str().unwrap();
        let script = parse(query(&record)).unwrap_or_else(|faults| panic!("{id}: {}", faults[0]));
        let bound = bind(&script, &EmptyCatalog, &HashMap::new());
        let wanted: Vec<&str> =
            record["schema"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let found = bound.as_ref().ok().and_then(|bound| {
            let schema = &bound.queries.last()?.results.last()?.rel.schema;
            let names: Vec<String> = schema.columns.iter().map(ToString::to_string).collect();
            Some((names, schema.open))
        });
        let same = found.as_ref().is_some_and(|(names, open)| *names == wanted && record["open"] == *open);
        match DIFFERENT.iter().find(|(different, _)| *different == id) {
            Some((_, why)) => assert!(!same, "{id} no longer differs: {why}"),
            None => assert!(same, "{id}: {}\nwanted {wanted:?}\nfound {found:?}\n{:?}", query(&record), bound.err()),
        }
    }
}

#[test]
fn commands_are_read_or_refused_by_name() {
    for record in commands() {
        match command::parse(query(&record)) {
            Ok(command) => assert!(command.name.starts_with('.'), "{}", record["id"]),
            // Several commands in one text, which the official parser of the editor takes apart.
            Err(faults) => {
                let several = command::split(query(&record)).len() > 1 || query(&record).contains("$command_results");
                assert!(several, "{}: {}\n{}", record["id"], query(&record), faults[0]);
            }
        }
    }
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count.max(1)
    }
}

#[track_caller]
fn within(text: &str, faults: &[Diagnostic]) {
    for fault in faults {
        assert!(fault.span.end() as usize <= text.len(), "{fault} of\n{text}");
        assert!(fault.position(text).line >= 1);
    }
}

/// Reads and binds a text: whatever it is, nothing panics, and faults lie within it.
fn survive(text: &str) {
    match parse(text) {
        Ok(script) => {
            if let Err(faults) = bind(&script, &EmptyCatalog, &HashMap::new()) {
                within(text, &faults);
            }
        }
        Err(faults) => within(text, &faults),
    }
    if let Err(faults) = command::parse(text) {
        within(text, &faults);
    }
}

#[test]
fn mutations_of_texts_are_survived() {
    let all: Vec<String> = schemas().chain(texts()).chain(commands()).map(|record| query(&record).into()).collect();
    let mut dice = Dice(4711);
    let boundary = |text: &str, at: usize| (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
    for _ in 0..4_000 {
        let mut text = all[dice.below(all.len())].clone();
        for _ in 0..=dice.below(3) {
            let from = boundary(&text, dice.below(text.len()));
            let to = boundary(&text, (from + dice.below(12)).min(text.len()));
            let other = &all[dice.below(all.len())];
            let cut = boundary(other, dice.below(other.len()));
            let end = boundary(other, (cut + dice.below(16)).min(other.len()));
            match dice.below(3) {
                0 => text.replace_range(from..to, ""),
                1 => text.insert_str(from, &other[cut..end]),
                _ => text.replace_range(from..to, &other[cut..end]),
            }
        }
        survive(&text);
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        survive(&text);
    }

    #[test]
    fn any_words_and_signs_are_survived(parts in proptest::collection::vec(
        proptest::sample::select(vec![
            "print", "let", "T", "=", "(", ")", "[", "]", "{", "}", "|", ";", ",", ".", "..", "*", "-", "in", "and", "by",
            "summarize", "extend", "where", "union", "join", "on", "x", "1", "'a'", "1d", "dynamic", "datetime(2020-01-01)",
            "mv-expand", "make-series", "scan", "with", "step", ":", "evaluate", "pivot", "range", "from", "to", "toscalar",
            "count()", "materialize", "datatable", "(a:long)", "[1]", "==", "has", "between", "$left", "<|", ".show", "`",
        ]), 0..40)) {
        survive(&parts.join(" "));
    }
}
