//! `parse`, `parse-where` and `parse-kv`.

use std::sync::Arc;

use gantry_kql::bound::{Parse, ParseKind, ParseKv, ParsePiece, Schema, Slot};
use gantry_kql::value::{Type, Value};

use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Builder, Cell, ColumnRef};
use crate::context::Regex;
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::expression::{Outer, Program};

impl Session<'_> {
    pub(super) fn parse(&self, schema: &Schema, parse: &Parse, frame: &Frame, sink: Sink) -> Result<Flow> {
        let program = Program::compile(&parse.text, self)?;
        let types: Vec<Type> = parse
            .pieces
            .iter()
            .filter_map(|piece| match piece {
                ParsePiece::Capture(ty) => Some(*ty),
                _ => None,
            })
            .collect();
        let regex = self.context().regex(&pattern(parse))?;
        self.run(&parse.input, frame, &mut |chunk| {
            let texts = program.eval(&chunk, self.context())?;
            let mut builders: Vec<Builder> = types.iter().map(|ty| Builder::new(*ty, chunk.rows)).collect();
            let mut kept = Vec::with_capacity(chunk.rows);
            for row in 0..chunk.rows {
                let text = texts.cell(row).text();
                let found = captures(&regex, &text, &types, parse.kind);
                if found.is_none() && parse.drop_failed {
                    continue;
                }
                kept.push(row as u32);
                match found {
                    Some(values) => {
                        values.into_iter().zip(&mut builders).for_each(|(value, builder)| builder.push(value))
                    }
                    None => builders.iter_mut().for_each(Builder::push_absent),
                }
            }
            let chunk = if kept.len() == chunk.rows { chunk } else { chunk.take(&kept) };
            if chunk.rows == 0 {
                return Ok(Flow::More);
            }
            let made = builders.into_iter().map(|builder| Arc::new(builder.finish())).collect();
            sink(assemble(schema, &parse.outputs, &chunk, made))
        })
    }

    pub(super) fn parse_kv(&self, schema: &Schema, parse: &ParseKv, frame: &Frame, sink: Sink) -> Result<Flow> {
        let program = Program::compile(&parse.text, self)?;
        let property = |name: &str| {
            parse
                .properties
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| Cell::from(value).text().into_owned())
        };
        let regex = property("regex").map(|pattern| self.context().regex(&pattern)).transpose()?;
        let reader = KeyValues {
            pair: property("pair_delimiter"),
            kv: property("kv_delimiter"),
            quotes: property("quote").map(|quote| quote.chars().collect()).unwrap_or_default(),
            escape: property("escape").and_then(|escape| escape.chars().next()),
            greedy: property("greedy").as_deref() == Some("true"),
        };
        self.run(&parse.input, frame, &mut |chunk| {
            let texts = program.eval(&chunk, self.context())?;
            let mut builders: Vec<Builder> = parse.keys.iter().map(|key| Builder::new(key.ty, chunk.rows)).collect();
            for row in 0..chunk.rows {
                let text = texts.cell(row).text();
                let pairs = match &regex {
                    Some(regex) => regex
                        .captures_iter(&text)
                        .filter_map(|found| {
                            Some((found.get(1)?.as_str().to_owned(), found.get(2)?.as_str().to_owned()))
                        })
                        .collect(),
                    None => reader.pairs(&text),
                };
                for (key, builder) in parse.keys.iter().zip(&mut builders) {
                    match pairs.iter().find(|(name, _)| **name == *key.name) {
                        Some((_, value)) if key.ty == Type::String => builder.push_cell(Cell::String(value)),
                        Some((_, value)) => builder.push(Cell::String(value).cast(key.ty)),
                        None => builder.push_absent(),
                    }
                }
            }
            let made = builders.into_iter().map(|builder| Arc::new(builder.finish())).collect();
            sink(assemble(schema, &parse.outputs, &chunk, made))
        })
    }
}

fn assemble(schema: &Schema, outputs: &[Slot], chunk: &Chunk, made: Vec<ColumnRef>) -> Chunk {
    let columns = outputs.iter().map(|slot| match slot {
        Slot::Input(at) => Arc::clone(&chunk.columns[*at]),
        Slot::Made(at) => Arc::clone(&made[*at]),
    });
    debug_assert_eq!(outputs.len(), schema.columns.len());
    Chunk::new(columns.collect(), chunk.rows)
}

/// The pattern as one regular expression: texts as they are (or as patterns), captures up to the next text. A pattern
/// that begins with a text begins anywhere; one that ends with a capture takes the rest.
fn pattern(parse: &Parse) -> String {
    let mut out = String::from("(?s");
    out.extend(parse.flags.chars().filter(|flag| "imsU".contains(*flag)));
    out.push(')');
    let pieces = &parse.pieces;
    if matches!(pieces.first(), Some(ParsePiece::Capture(_) | ParsePiece::Star)) {
        out.push('^');
    }
    for (at, piece) in pieces.iter().enumerate() {
        let is_last = at + 1 == pieces.len();
        match piece {
            ParsePiece::Star => out.push_str(if is_last { ".*$" } else { ".*?" }),
            ParsePiece::Text(text) if parse.kind == ParseKind::Regex => {
                out.push_str("(?:");
                out.push_str(text);
                out.push(')');
            }
            ParsePiece::Text(text) => out.push_str(&regex::escape(text)),
            ParsePiece::Capture(ty) => {
                let next_is_text = matches!(pieces.get(at + 1), Some(ParsePiece::Text(_)));
                // A capture that no text ends takes what its type is made of, or the rest.
                out.push_str(match ty {
                    Type::Int | Type::Long if !next_is_text && !is_last => r"([-+]?\d+)",
                    Type::Real | Type::Decimal if !next_is_text && !is_last => r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)",
                    _ if is_last => "(.*)$",
                    _ => "(.*?)",
                });
            }
        }
    }
    out
}

/// What a text gives; none when it does not match, or (but of the relaxed kind) when one piece cannot be converted.
fn captures(regex: &Regex, text: &str, types: &[Type], kind: ParseKind) -> Option<Vec<Value>> {
    let found = regex.captures(text)?;
    // Groups of the user's own patterns are counted too: ours are found by their order among plain captures.
    let groups = found.iter().skip(1).map(|group| group.map(|group| group.as_str()).unwrap_or_default());
    let mut values = Vec::with_capacity(types.len());
    for (piece, ty) in groups.zip(types) {
        let value = match ty {
            Type::String => Value::String(piece.to_owned()),
            Type::Dynamic => Value::Dynamic(
                gantry_kql::value::Dynamic::parse_json(piece)
                    .unwrap_or_else(|| gantry_kql::value::Dynamic::String(piece.to_owned())),
            ),
            ty => match Cell::String(piece.trim()).cast(*ty) {
                Value::Null if kind != ParseKind::Relaxed => return None,
                value => value,
            },
        };
        values.push(value);
    }
    Some(values)
}

/// How pairs are written.
struct KeyValues {
    pair: Option<String>,
    kv: Option<String>,
    /// Opening and closing quote; one quote is both.
    quotes: Vec<char>,
    escape: Option<char>,
    /// Values may hold the delimiter of pairs: a pair ends where the next name begins.
    greedy: bool,
}

impl KeyValues {
    fn pairs(&self, text: &str) -> Vec<(String, String)> {
        let (Some(pair), Some(kv)) = (&self.pair, &self.kv) else { return self.words(text) };
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start();
            while let Some(after) = rest.strip_prefix(pair.as_str()).filter(|_| !pair.is_empty()) {
                rest = after.trim_start();
            }
            let name = match self.quoted(rest) {
                Some((name, after)) => {
                    rest = after.trim_start();
                    name
                }
                None => {
                    let Some(at) = rest.find(kv.as_str()) else { return pairs };
                    // What stands before the last delimiter of pairs is no part of the name.
                    let name = rest[..at].rsplit(pair.as_str()).next().unwrap_or_default();
                    let name = name.trim().to_owned();
                    rest = &rest[at..];
                    name
                }
            };
            let Some(after) = rest.strip_prefix(kv.as_str()) else { continue };
            let (value, after) = self.value(after, pair, kv);
            pairs.push((name, value));
            rest = after;
        }
    }

    /// Without delimiters: whatever is neither letter nor digit delimits, and a name is followed by its value.
    fn words(&self, text: &str) -> Vec<(String, String)> {
        let mut words: Vec<String> = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((word, after)) = self.quoted(rest) {
                words.push(word);
                rest = after;
            } else if first.is_alphanumeric() || first == '_' {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                rest = &rest[end..];
            } else {
                rest = &rest[first.len_utf8()..];
            }
        }
        words.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    /// A quoted text at the beginning, and what follows it.
    fn quoted<'a>(&self, text: &'a str) -> Option<(String, &'a str)> {
        let (open, close) = (self.quotes.first()?, self.quotes.last()?);
        let inner = text.strip_prefix(*open)?;
        let mut value = String::new();
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            if Some(c) == self.escape {
                value.extend(chars.next().map(|(_, escaped)| escaped));
            } else if c == *close {
                return Some((value, &inner[at + c.len_utf8()..]));
            } else {
                value.push(c);
            }
        }
        Some((value, ""))
    }

    /// A value and what follows it.
    fn value<'a>(&self, text: &'a str, pair: &str, kv: &str) -> (String, &'a str) {
        let start = text.trim_start_matches(|c: char| c.is_whitespace() && !pair.contains(c));
        if let Some(quoted) = self.quoted(start) {
            return quoted;
        }
        if self.greedy {
            // The value goes up to the last delimiter before the next name.
            if let Some(next) = start.find(kv) {
                let before = start[..next].trim_end();
                if let Some(cut) = before.rfind(pair) {
                    return (before[..cut].trim().to_owned(), &start[cut + pair.len()..]);
                }
            }
            return (start.trim().to_owned(), "");
        }
        match start.find(pair).filter(|_| !pair.is_empty()) {
            Some(at) => (start[..at].trim().to_owned(), &start[at + pair.len()..]),
            None => (start.trim().to_owned(), ""),
        }
    }
}
