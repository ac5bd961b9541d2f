//! The corpora: what a case says, and parsing it as it says.

use flate2::read::GzDecoder;
use gantry_dtdl::{DtdlError, Dtmi, Model, Options, Parser, UndefinedExtensions};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// One case of a corpus.
pub struct Case(pub Value);

/// The cases of a corpus, in their order.
pub fn cases(name: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(format!("{name}.jsonl.gz"));
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| Case(serde_json::from_str(line).unwrap())).collect()
}

impl Case {
    pub fn id(&self) -> &str {
        self.0["id"].as_str().unwrap()
    }

    pub fn valid(&self) -> bool {
        self.0["valid"].as_bool().unwrap()
    }

    /// The documents, as texts.
    pub fn texts(&self) -> Vec<String> {
        self.0["input"].as_array().unwrap().iter().map(Value::to_string).collect()
    }

    /// What is expected of a kind, as a list.
    pub fn expected(&self, kind: &str) -> &[Value] {
        self.0["expect"][kind].as_array().map_or(&[], Vec::as_slice)
    }

    fn has(&self, list: &str, word: &str) -> bool {
        self.0[list].as_array().is_some_and(|words| words.iter().any(|of| of == word))
    }

    pub fn options(&self) -> Options {
        let undefined_extensions = if self.has("options", "AllowUndefinedExtensions") {
            UndefinedExtensions::Allow
        } else if self.has("options", "DisallowUndefinedExtensions") {
            UndefinedExtensions::Disallow
        } else {
            UndefinedExtensions::PerVersion
        };
        let limits = self.0["acceptableLimits"].as_array().map_or(&[][..], Vec::as_slice);
        Options {
            undefined_extensions,
            max_dtdl_version: self.0["maxDtdlVersion"].as_u64().map_or(4, |version| u8::try_from(version).unwrap()),
            acceptable_limits: limits.iter().map(|id| Dtmi::parse(id.as_str().unwrap()).unwrap()).collect(),
            tolerate_solecisms_in_parse: self.has("quirks", "TolerateSolecismsInParse"),
            tolerate_solecisms_in_resolve: self.has("quirks", "TolerateSolecismsInResolve"),
            ..Options::default()
        }
    }

    /// Parses the case, with the answers its resolver gives.
    pub fn parse(&self) -> Result<Model, DtdlError> {
        let mut dialogue = self.0["resolution"].as_array().cloned().unwrap_or_default().into_iter();
        let mut resolver = |ids: &[Dtmi]| {
            let step = dialogue.next()?;
            let mut asked: Vec<&str> = ids.iter().map(Dtmi::as_str).collect();
            let mut expected: Vec<&str> =
                step["request"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            asked.sort_unstable();
            expected.sort_unstable();
            assert_eq!(asked, expected, "{}: what the resolver is asked for", self.id());
            Some(step["response"].as_array()?.iter().map(Value::to_string).collect())
        };
        Parser::new(self.options()).parse_with(&self.texts(), &mut resolver)
    }
}

/// Fails with the first few of what went wrong.
#[track_caller]
pub fn report(what: &str, total: usize, wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} of {total} {what} differ:\n{}",
        wrong.len(),
        wrong.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n")
    );
}
