//! What a migration will do or did, as JSON and as tables. Names of things and places, never what is in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use super::folder;
use super::kind::Kind;
use super::plan::{Action, Step};

/// Things that are printed one by one.
const PRINTED_MAX: usize = 40;

/// What became of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was not for this run to do: it is as the plan says.
    Planned,
    /// It was carried out.
    Done,
    /// It was refused, with these words.
    Failed(String),
}

/// A report.
pub(super) struct Report {
    /// `iotcentral` or `iothub`.
    pub(super) of: &'static str,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) is_dry: bool,
    /// What holds for all of it.
    pub(super) notes: Vec<String>,
    pub(super) steps: Vec<(Step, Outcome)>,
}

/// The words for what becomes of things, in the order of columns.
const WORDS: [&str; 8] = ["create", "created", "same", "differs", "overwrite", "overwritten", "left", "failed"];

fn word(step: &Step, outcome: &Outcome) -> &'static str {
    match (&step.action, outcome) {
        (_, Outcome::Failed(_)) => "failed",
        (Action::Create, Outcome::Planned) => "create",
        (Action::Create, Outcome::Done) => "created",
        (Action::Same, _) => "same",
        (Action::Differs(_), _) => "differs",
        (Action::Overwrite(_), Outcome::Planned) => "overwrite",
        (Action::Overwrite(_), Outcome::Done) => "overwritten",
        (Action::Leave(_), _) => "left",
    }
}

/// Why a thing is not simply made.
fn why(step: &Step, outcome: &Outcome) -> Option<String> {
    match (&step.action, outcome) {
        (_, Outcome::Failed(words)) => Some(words.clone()),
        (Action::Differs(places) | Action::Overwrite(places), _) => Some(places.join(", ")),
        (Action::Leave(why), _) => Some(why.clone()),
        (Action::Create | Action::Same, _) => None,
    }
}

impl Report {
    /// How many of each kind became what.
    fn counts(&self) -> BTreeMap<Kind, BTreeMap<&'static str, usize>> {
        let mut counts = BTreeMap::<Kind, BTreeMap<_, _>>::new();
        for (step, outcome) in &self.steps {
            *counts.entry(step.kind).or_default().entry(word(step, outcome)).or_default() += 1;
        }
        counts
    }

    /// How many things were refused.
    pub(super) fn failed(&self) -> usize {
        self.steps.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))).count()
    }

    /// The report without its things.
    pub(super) fn summary(&self) -> Value {
        let summary: serde_json::Map<_, _> =
            self.counts().into_iter().map(|(kind, counts)| (kind.name().to_owned(), json!(counts))).collect();
        json!({
            "of": self.of, "from": self.from, "to": self.to, "dryRun": self.is_dry,
            "summary": summary, "notes": self.notes,
        })
    }

    /// The report with all its things.
    fn document(&self) -> Value {
        let item = |(step, outcome): &(Step, Outcome)| {
            let mut item = json!({ "kind": step.kind.name(), "id": step.id, "outcome": word(step, outcome) });
            if let Some(why) = why(step, outcome) {
                item["why"] = why.into();
            }
            item
        };
        let mut document = self.summary();
        document["items"] = self.steps.iter().map(item).collect();
        document
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let counts = self.counts();
        let words: Vec<_> =
            WORDS.into_iter().filter(|word| counts.values().any(|all| all.contains_key(word))).collect();
        let mut table = Table::new();
        let head = [self.of.to_uppercase()].into_iter().chain(words.iter().map(|word| word.to_uppercase()));
        table.load_preset(NOTHING).set_header(head);
        for (kind, counts) in &counts {
            let of = |word: &&str| counts.get(word).map_or_else(String::new, ToString::to_string);
            table.add_row([kind.name().to_owned()].into_iter().chain(words.iter().map(of)));
        }
        let mut text = format!("from {}\nto   {}\n\n{table}\n", self.from, self.to);
        let mut told = Table::new();
        told.load_preset(NOTHING);
        let worth: Vec<_> = self.steps.iter().filter(|(step, outcome)| why(step, outcome).is_some()).collect();
        for (step, outcome) in worth.iter().take(PRINTED_MAX) {
            let why = why(step, outcome).unwrap_or_default();
            told.add_row([word(step, outcome), step.kind.name(), &step.id, &why]);
        }
        if !worth.is_empty() {
            let _ = writeln!(text, "\n{told}");
        }
        if worth.len() > PRINTED_MAX {
            let _ = writeln!(text, "  and {} more in report.json", worth.len() - PRINTED_MAX);
        }
        if !self.notes.is_empty() {
            let _ = writeln!(text);
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        if self.is_dry {
            let _ = writeln!(text, "\nNothing was changed; --yes carries it out.");
        }
        text
    }

    /// Writes `report.json` and `report.txt` into a folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        folder::write(&folder.join("report.json"), &self.document())?;
        let mut file = folder::open(&folder.join("report.txt"), true)?;
        file.write_all(self.text().as_bytes()).context("writing report.txt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(steps: Vec<(Step, Outcome)>) -> Report {
        Report { of: "iotcentral", from: "a".into(), to: "b".into(), is_dry: true, notes: vec!["note".into()], steps }
    }

    fn step(id: &str, action: Action) -> Step {
        Step { kind: Kind::Devices, id: id.into(), action }
    }

    #[test]
    fn a_report_counts_and_says_why() {
        let report = report(vec![
            (step("a", Action::Create), Outcome::Planned),
            (step("b", Action::Create), Outcome::Done),
            (step("c", Action::Same), Outcome::Planned),
            (step("d", Action::Differs(vec!["x".into(), "y".into()])), Outcome::Planned),
            (step("e", Action::Leave("because".into())), Outcome::Planned),
            (step("f", Action::Create), Outcome::Failed("422: words".into())),
            (step("g", Action::Overwrite(vec!["x".into()])), Outcome::Done),
        ]);
        let document = report.document();
        let counted =
            json!({"create": 1, "created": 1, "same": 1, "differs": 1, "left": 1, "failed": 1, "overwritten": 1});
        assert_eq!(document["summary"]["devices"], counted);
        assert_eq!(document["items"][3], json!({"kind": "devices", "id": "d", "outcome": "differs", "why": "x, y"}));
        assert_eq!(document["items"][2], json!({"kind": "devices", "id": "c", "outcome": "same"}));
        assert_eq!(report.failed(), 1);
        let text = report.text();
        for part in ["DIFFERS", "because", "422: words", "x, y", "- note", "--yes"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("OVERWRITE "), "{text}");
    }

    #[test]
    fn a_long_report_is_printed_in_part() {
        let of = |len: usize| {
            report((0..len).map(|n| (step(&n.to_string(), Action::Leave("w".into())), Outcome::Planned)).collect())
        };
        assert!(!of(PRINTED_MAX).text().contains("more in report.json"));
        assert!(of(PRINTED_MAX + 1).text().contains("and 1 more in report.json"));
    }
}
