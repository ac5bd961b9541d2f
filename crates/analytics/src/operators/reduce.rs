//! `reduce by`: texts that are alike become a pattern, after Vaarandi, "A Data Clustering Algorithm for Mining Patterns
//! From Event Logs" (2003), which the reference's documentation names.
//!
//! A text is cut into words. A word that stands at the same place in more than `threshold` of all texts belongs to the
//! pattern, other words are `*`. A word of digits alone is never part of one: numbers are what log lines are about.
//! Texts with nothing in common are `others`.

use std::collections::HashMap;

use gantry_kql::bound::{Expr, Rel};
use gantry_kql::value::{Type, Value};

use super::basic::in_pieces;
use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Cell, Column, Data, Strings};
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Outer as _, Program};

/// Words of a text that are looked at; what follows them is one word.
const WORDS_MAX: usize = 256;

/// What parts words: the default is all that is no letter or digit of ASCII.
enum Breaks {
    Default,
    These(Vec<char>),
}

impl Breaks {
    fn is_one(&self, c: char) -> bool {
        match self {
            Breaks::Default => !c.is_ascii_alphanumeric(),
            Breaks::These(chars) => chars.contains(&c),
        }
    }

    /// The words of a text.
    fn words<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        text.splitn(WORDS_MAX, |c| self.is_one(c)).filter(|word| !word.is_empty())
    }
}

#[derive(Default)]
struct Cluster {
    count: i64,
    representative: String,
}

impl Session<'_> {
    pub(super) fn reduce(
        &self,
        input: &Rel,
        of: &Expr,
        properties: &[(String, Value)],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let (threshold, breaks) = options(properties)?;
        let program = Program::compile(of, self)?;
        let mut texts = Strings::default();
        let mut held = 0;
        self.run(input, frame, &mut |chunk| {
            let values = program.eval(&chunk, self.context())?;
            let mut bytes = 0;
            for row in 0..chunk.rows {
                let text = values.cell(row).text();
                bytes += text.len() + size_of::<usize>();
                texts.push(&text);
            }
            held += bytes;
            self.context().hold("reduce", bytes)?;
            Ok(Flow::More)
        })?;
        let clusters = clusters(&texts, threshold, &breaks, &|| self.context().check())?;
        self.context().release(held);
        in_pieces(&answer(clusters), sink)
    }
}

fn options(properties: &[(String, Value)]) -> Result<(f64, Breaks)> {
    let (mut threshold, mut breaks) = (0.1, Breaks::Default);
    for (name, value) in properties {
        let cell = Cell::from(value);
        if name.eq_ignore_ascii_case("threshold") {
            threshold = match cell.number() {
                Some(number) if number > 0.0 && number < 1.0 => number,
                _ => {
                    let words = format!("reduce: threshold must be a number above 0 and below 1, not {}", cell.text());
                    return Err(Error::Evaluation(words));
                }
            };
        } else if name.eq_ignore_ascii_case("characters") {
            breaks = Breaks::These(cell.text().chars().collect());
        } else {
            return Err(Error::Evaluation(format!(
                "reduce: unknown property `{name}`; there are threshold, characters"
            )));
        }
    }
    Ok((threshold, breaks))
}

/// Patterns with how many texts they stand for.
fn clusters(
    texts: &Strings,
    threshold: f64,
    breaks: &Breaks,
    check: &dyn Fn() -> Result<()>,
) -> Result<Vec<(String, Cluster)>> {
    let mut counts: HashMap<(usize, &str), usize> = HashMap::new();
    for at in 0..texts.len() {
        if at % 1024 == 0 {
            check()?;
        }
        for (place, word) in breaks.words(texts.get(at)).enumerate() {
            *counts.entry((place, word)).or_default() += 1;
        }
    }
    let support = threshold * texts.len() as f64;
    let is_frequent = |place: usize, word: &str| {
        !word.bytes().all(|byte| byte.is_ascii_digit())
            && counts.get(&(place, word)).is_some_and(|count| *count as f64 > support)
    };
    let mut found: HashMap<String, Cluster> = HashMap::new();
    for at in 0..texts.len() {
        if at % 1024 == 0 {
            check()?;
        }
        let text = texts.get(at);
        let pattern = pattern(text, breaks, &is_frequent);
        let cluster = found.entry(pattern.unwrap_or_else(|| OTHERS.to_owned())).or_default();
        cluster.count += 1;
        if cluster.count == 1 {
            cluster.representative = text.to_owned();
        }
    }
    let mut found: Vec<(String, Cluster)> = found.into_iter().collect();
    for (_, cluster) in found.iter_mut().filter(|(pattern, _)| pattern == OTHERS) {
        cluster.representative.clear();
    }
    found.sort_by(|(a, one), (b, other)| other.count.cmp(&one.count).then_with(|| a.cmp(b)));
    Ok(found)
}

/// The pattern of texts that have nothing in common.
const OTHERS: &str = "others";

/// A text with `*` for its words that are not frequent, and what parts them; nothing when no word is.
///
/// What stands between two frequent words is kept. Beside a `*` only white space is: `10.0.0.7:443` is one `*`.
fn pattern(text: &str, breaks: &Breaks, is_frequent: &dyn Fn(usize, &str) -> bool) -> Option<String> {
    let mut pattern = String::new();
    let mut is_one = false;
    let (mut from, mut starred) = (0, false);
    for (place, word) in breaks.words(text).enumerate() {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let between = &text[from..start];
        let is_blank = !between.is_empty() && between.chars().all(char::is_whitespace);
        from = start + word.len();
        if is_frequent(place, word) {
            if !starred || is_blank {
                pattern.push_str(between);
            }
            pattern.push_str(word);
            (is_one, starred) = (true, false);
        } else if !starred || is_blank {
            pattern.push_str(if is_blank { between } else { "" });
            pattern.push('*');
            starred = true;
        }
    }
    if !starred {
        pattern.push_str(&text[from..]);
    }
    is_one.then_some(pattern)
}

fn answer(clusters: Vec<(String, Cluster)>) -> Chunk {
    let rows = clusters.len();
    let (mut patterns, mut representatives) = (Strings::default(), Strings::default());
    let mut counts = Vec::with_capacity(rows);
    for (pattern, cluster) in clusters {
        patterns.push(&pattern);
        counts.push(cluster.count);
        representatives.push(&cluster.representative);
    }
    let column = |texts| Column::new(Type::String, Data::String(texts), None);
    Chunk::of(vec![column(patterns), Column::from(counts), column(representatives)], rows)
}
