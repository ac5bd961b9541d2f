//! `evaluate autocluster`, `basket` and `diffpatterns`: what many rows have in common, and what parts two sets of rows.
//!
//! A pattern is a value for some of the columns. It covers the rows that have these values; what all rows it covers have
//! in common belongs to it, so no two patterns cover the same rows. Values that are missing are never part of one, because
//! the answer writes them for the columns that do not matter. Which patterns count is the reference's documentation; the
//! choice of `autocluster` is our own.

use std::collections::{HashMap, HashSet};

use gantry_kql::bound::{Argument, Rel, Schema};
use gantry_kql::value::{Type, Value};

use super::basic::{in_pieces, whole};
use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Builder, Cell};
use crate::context::Context;
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer as _};
use crate::groups::Groups;

/// Sets of rows that are looked at for one answer.
const SETS_MAX: usize = 200_000;
/// Patterns `autocluster` answers with.
const CLUSTERS_MAX: usize = 16;
/// The least share of the rows a pattern of `autocluster` covers that no better one covers.
const CLUSTER_MIN: f64 = 0.02;
/// A value that is in no pattern: missing, or too rare.
const NONE: u32 = u32::MAX;

/// How much of something there is in the two sets of `diffpatterns`; everything else has one set.
type Weight = [f64; 2];

/// A column and the number of one of its values.
type Item = (usize, u32);

/// Rows as numbers of values, rows that are alike as one.
struct Coded {
    rows: Vec<Vec<u32>>,
    weights: Vec<Weight>,
    /// Of each column, a row of the input for each number of a value.
    samples: Vec<Vec<u32>>,
    total: Weight,
}

/// The values of a pattern in the order of the columns, and the weight of what it covers.
#[derive(Debug, Clone)]
struct Pattern {
    items: Vec<Item>,
    weight: Weight,
}

impl Pattern {
    fn is_within(&self, other: &Pattern) -> bool {
        self.items.iter().all(|item| other.items.contains(item))
    }
}

impl Coded {
    fn share(&self, weight: Weight) -> Weight {
        let of = |set: usize| if self.total[set] > 0.0 { weight[set] / self.total[set] } else { 0.0 };
        [of(0), of(1)]
    }

    fn weight(&self, rows: &[u32]) -> Weight {
        rows.iter().fold([0.0; 2], |sum, row| {
            let weight = self.weights[*row as usize];
            [sum[0] + weight[0], sum[1] + weight[1]]
        })
    }

    /// The rows of each value of a column among these rows.
    fn parts(&self, column: usize, rows: &[u32]) -> HashMap<u32, Vec<u32>> {
        let mut parts: HashMap<u32, Vec<u32>> = HashMap::new();
        for row in rows {
            let value = self.rows[*row as usize][column];
            if value != NONE {
                parts.entry(value).or_default().push(*row);
            }
        }
        parts
    }

    /// Everything that all these rows have in common.
    fn common(&self, rows: &[u32]) -> Vec<Item> {
        let Some((first, rest)) = rows.split_first() else { return Vec::new() };
        let of = |row: &u32| &self.rows[*row as usize];
        (0..self.samples.len())
            .map(|column| (column, of(first)[column]))
            .filter(|(column, value)| *value != NONE && rest.iter().all(|row| of(row)[*column] == *value))
            .collect()
    }

    /// Every pattern of at most so many chosen values whose shares are frequent enough in one set or the other.
    fn frequent(&self, least: f64, chosen_max: usize, context: &Context) -> Result<Vec<Pattern>> {
        let all: Vec<u32> = (0..self.rows.len() as u32).collect();
        let bytes = |rows: &[u32]| size_of_val(rows);
        let mut found = Vec::new();
        let mut seen: HashSet<Vec<Item>> = HashSet::new();
        // What is still to be looked at: rows, what they have in common, the column after the last chosen one, choices.
        context.hold("patterns", bytes(&all))?;
        let mut open = vec![(all, 0, 0)];
        let mut looked = 0;
        while let Some((rows, from, chosen)) = open.pop() {
            context.check()?;
            context.release(bytes(&rows));
            let items = self.common(&rows);
            if !items.is_empty() && seen.insert(items.clone()) {
                found.push(Pattern { items: items.clone(), weight: self.weight(&rows) });
            }
            if chosen == chosen_max {
                continue;
            }
            for column in from..self.samples.len() {
                // What the rows have in common anyway is no choice.
                if items.iter().any(|(known, _)| *known == column) {
                    continue;
                }
                for part in self.parts(column, &rows).into_values() {
                    let [a, b] = self.share(self.weight(&part));
                    if a.max(b) < least {
                        continue;
                    }
                    looked += 1;
                    if looked > SETS_MAX {
                        return Err(Error::Evaluation(format!(
                            "more than {SETS_MAX} patterns: raise Threshold, lower MaxDimensions or project fewer columns"
                        )));
                    }
                    context.hold("patterns", bytes(&part))?;
                    open.push((part, column + 1, chosen + 1));
                }
            }
        }
        Ok(found)
    }
}

/// What the three plugins take, by place; `'~'` stands for the default.
struct Options<'a> {
    plugin: &'static str,
    arguments: &'a [Argument],
    values: Vec<Option<Value>>,
}

impl Options<'_> {
    fn given(&self, at: usize) -> Option<Cell<'_>> {
        let cell = Cell::from(self.values.get(at)?.as_ref()?);
        (!matches!(cell, Cell::String("~")) && !cell.is_null()).then_some(cell)
    }

    /// A share above `least` and below one.
    fn share(&self, at: usize, name: &str, least: f64, default: f64) -> Result<f64> {
        let Some(cell) = self.given(at) else { return Ok(default) };
        match cell.number() {
            Some(value) if value > least && value < 1.0 => Ok(value),
            _ => self.wrong(format!("{name} must be a number above {least} and below 1, not {}", cell.text())),
        }
    }

    fn count(&self, at: usize, name: &str, default: usize) -> Result<usize> {
        let Some(cell) = self.given(at) else { return Ok(default) };
        match cell.long() {
            Some(value) if value >= 1 => Ok(value.min(1_000_000) as usize),
            _ => self.wrong(format!("{name} must be a whole number from 1, not {}", cell.text())),
        }
    }

    fn wrong<T>(&self, words: String) -> Result<T> {
        Err(Error::Evaluation(format!("{}(): {words}", self.plugin)))
    }

    /// What stands for columns that do not matter, by type.
    fn wildcards(&self, from: usize) -> HashMap<Type, Value> {
        let given = self.arguments.iter().zip(&self.values).skip(from).filter_map(|(argument, value)| {
            let Argument::Scalar(expr) = argument else { return None };
            let value = value.clone()?;
            (value != Value::String("~".into())).then_some((expr.ty, value))
        });
        given.collect()
    }
}

impl Session<'_> {
    /// One of the three plugins.
    pub(super) fn patterns(
        &self,
        plugin: &str,
        schema: &Schema,
        input: &Rel,
        arguments: &[Argument],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let chunk = whole(&input.schema, self.collect(input, frame, "patterns")?);
        let columns = &input.schema;
        let found = match plugin {
            "autocluster" => {
                self.autocluster(schema, columns, &chunk, &self.options("autocluster", arguments, &[1])?)?
            }
            "basket" => self.basket(schema, columns, &chunk, &self.options("basket", arguments, &[1])?)?,
            _ => self.diffpatterns(schema, columns, &chunk, &self.options("diffpatterns", arguments, &[0, 3])?)?,
        };
        in_pieces(&found, sink)
    }

    /// `autocluster([SizeWeight [, WeightColumn [, NumSeeds [, CustomWildcard…]]]])`: few patterns that together say most
    /// about the rows.
    fn autocluster(&self, schema: &Schema, input: &Schema, chunk: &Chunk, options: &Options) -> Result<Chunk> {
        let size_weight = options.share(0, "SizeWeight", 0.0, 0.5)?;
        let seeds = options.count(2, "NumSeeds", 25)?;
        let weights = self.weights(options, 1, chunk)?;
        let coded = code(input, chunk, None, &weights);
        let chosen = clusters(&coded, size_weight, seeds, self.context())?;
        Ok(one_set(schema, &coded, &chosen, chunk, &options.wildcards(3)))
    }

    /// `basket([Threshold [, WeightColumn [, MaxDimensions [, CustomWildcard…]]]])`: every frequent pattern.
    fn basket(&self, schema: &Schema, input: &Schema, chunk: &Chunk, options: &Options) -> Result<Chunk> {
        let threshold = options.share(0, "Threshold", 0.015, 0.05)?;
        let dimensions = options.count(2, "MaxDimensions", 5)?;
        let weights = self.weights(options, 1, chunk)?;
        let coded = code(input, chunk, None, &weights);
        let mut found = coded.frequent(threshold, dimensions, self.context())?;
        // Patterns that say much about many rows come first, as in the documentation's examples.
        let said = |pattern: &Pattern| pattern.weight[0] * pattern.items.len() as f64;
        found.sort_by(|a, b| said(b).total_cmp(&said(a)).then_with(|| a.items.cmp(&b.items)));
        Ok(one_set(schema, &coded, &found, chunk, &options.wildcards(3)))
    }

    /// `diffpatterns(SplitColumn, SplitValueA, SplitValueB [, WeightColumn [, Threshold [, MaxDimensions [,
    /// CustomWildcard…]]]])`: patterns whose shares of the two sets differ.
    fn diffpatterns(&self, schema: &Schema, input: &Schema, chunk: &Chunk, options: &Options) -> Result<Chunk> {
        let threshold = options.share(4, "Threshold", 0.015, 0.05)?;
        let dimensions = options.count(5, "MaxDimensions", usize::MAX)?;
        let split = self.need(options.arguments, 0)?;
        let weights = self.weights(options, 3, chunk)?;
        let of = split.eval(chunk, self.context())?;
        let text = |at: usize| options.values.get(at).and_then(Option::as_ref).map(|value| Cell::from(value).text());
        let (Some(a), Some(b)) = (text(1), text(2)) else {
            return options.wrong("the values to split by must be given".into());
        };
        let weights: Vec<Weight> = (0..chunk.rows)
            .map(|row| {
                let text = of.cell(row).text();
                let in_set = |set: &str| if text == set { weights[row][0] } else { 0.0 };
                [in_set(&a), in_set(&b)]
            })
            .collect();
        let coded = code(input, chunk, split.as_column(), &weights);
        let difference = |pattern: &Pattern| {
            let [a, b] = coded.share(pattern.weight);
            (a - b).abs()
        };
        let mut found = coded.frequent(threshold, dimensions, self.context())?;
        found.retain(|pattern| difference(pattern) >= threshold);
        found.sort_by(|a, b| {
            let larger = difference(b).total_cmp(&difference(a));
            larger.then_with(|| b.items.len().cmp(&a.items.len())).then_with(|| a.items.cmp(&b.items))
        });
        // Of patterns that say the same with more or fewer columns, the one that parts the sets best stands for all.
        let mut kept: Vec<Pattern> = Vec::new();
        for pattern in found {
            self.context().check()?;
            if !kept.iter().any(|known| known.is_within(&pattern) || pattern.is_within(known)) {
                kept.push(pattern);
            }
        }
        let head = |pattern: &Pattern| {
            let [a, b] = coded.share(pattern.weight).map(|share| share * 100.0);
            vec![
                Value::Long(pattern.weight[0].round() as i64),
                Value::Long(pattern.weight[1].round() as i64),
                percent(a),
                percent(b),
                percent((a - b).abs()),
            ]
        };
        Ok(answer(schema, &coded, &kept, head, chunk, &options.wildcards(6)))
    }

    /// The values of the arguments that are no columns.
    fn options<'a>(&self, plugin: &'static str, arguments: &'a [Argument], columns: &[usize]) -> Result<Options<'a>> {
        let value = |(at, argument): (usize, &Argument)| match argument {
            Argument::Scalar(expr) if columns.contains(&at) && expr.as_literal().is_none() => Ok(None),
            _ => self.constant(Some(argument)),
        };
        let values = arguments.iter().enumerate().map(value).collect::<Result<_>>()?;
        Ok(Options { plugin, arguments, values })
    }

    /// What each row counts.
    fn weights(&self, options: &Options, at: usize, chunk: &Chunk) -> Result<Vec<Weight>> {
        let column = match (options.arguments.get(at), options.values.get(at)) {
            (Some(Argument::Scalar(_)), Some(None)) => self.need(options.arguments, at)?,
            (_, None | Some(None)) => return Ok(vec![[1.0, 0.0]; chunk.rows]),
            _ if options.given(at).is_none() => return Ok(vec![[1.0, 0.0]; chunk.rows]),
            _ => return options.wrong("WeightColumn must be a column".into()),
        };
        let values = column.eval(chunk, self.context())?;
        (0..chunk.rows)
            .map(|row| match values.cell(row).number() {
                Some(weight) if weight.is_finite() && weight >= 0.0 => Ok([weight, 0.0]),
                _ => options.wrong(format!("a weight must be a number from 0, not `{}`", values.cell(row).text())),
            })
            .collect()
    }
}

/// Rows as numbers; the column that splits them takes no part, nor does a row that weighs nothing.
fn code(schema: &Schema, chunk: &Chunk, left_out: Option<usize>, weights: &[Weight]) -> Coded {
    let mut columns: Vec<Vec<u32>> = Vec::new();
    let mut samples: Vec<Vec<u32>> = Vec::new();
    for (at, column) in schema.columns.iter().enumerate() {
        let cells = &chunk.columns[at];
        let mut numbers = Groups::new(vec![column.ty]).of_rows(&[Datum::Many(cells.clone())], chunk.rows);
        let mut first = Vec::new();
        for (row, number) in numbers.iter_mut().enumerate() {
            // Numbers are given in the order in which values are met.
            if *number as usize == first.len() {
                first.push(row as u32);
            }
            if left_out == Some(at) || cells.is_null(row) || matches!(cells.cell(row), Cell::String("")) {
                *number = NONE;
            }
        }
        columns.push(numbers);
        samples.push(first);
    }
    let mut alike: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut coded = Coded { rows: Vec::new(), weights: Vec::new(), samples, total: [0.0; 2] };
    for (row, weight) in weights.iter().enumerate() {
        if *weight == [0.0; 2] {
            continue;
        }
        let numbers: Vec<u32> = columns.iter().map(|column| column[row]).collect();
        let at = *alike.entry(numbers).or_insert_with_key(|numbers| {
            coded.rows.push(numbers.clone());
            coded.weights.push([0.0; 2]);
            coded.rows.len() - 1
        });
        let add = |to: Weight| [to[0] + weight[0], to[1] + weight[1]];
        coded.weights[at] = add(coded.weights[at]);
        coded.total = add(coded.total);
    }
    coded
}

/// Few patterns that say much about rows no other says much about.
///
/// What a pattern says is how surprising its values are by themselves, weighed against how many rows it covers. From each
/// of the best single values it grows by the value that makes it say more; the best of what grew is taken, its rows are
/// set aside, and the next is the best for the rows that are left.
fn clusters(coded: &Coded, size_weight: f64, seeds: usize, context: &Context) -> Result<Vec<Pattern>> {
    let all: Vec<u32> = (0..coded.rows.len() as u32).collect();
    let mut surprise: HashMap<Item, f64> = HashMap::new();
    for column in 0..coded.samples.len() {
        for (value, rows) in coded.parts(column, &all) {
            surprise.insert((column, value), -coded.share(coded.weight(&rows))[0].ln());
        }
    }
    let score = |items: &[Item], covered: f64| {
        let said: f64 = items.iter().filter_map(|item| surprise.get(item)).sum();
        covered.powf(size_weight) * said.powf(1.0 - size_weight)
    };
    let mut left = all;
    let mut chosen: Vec<Pattern> = Vec::new();
    while chosen.len() < CLUSTERS_MAX {
        let mut best: Option<(f64, Vec<Item>, Vec<u32>)> = None;
        for start in starts(coded, &left, seeds, &score) {
            context.check()?;
            let grown = grow(coded, start, &score);
            if best.as_ref().is_none_or(|best| grown.0 > best.0) {
                best = Some(grown);
            }
        }
        let Some((_, items, rows)) = best else { break };
        if coded.share(coded.weight(&rows))[0] < CLUSTER_MIN {
            break;
        }
        left.retain(|row| rows.binary_search(row).is_err());
        // It is told with all rows it covers, those of earlier patterns among them.
        let matches = |row: &Vec<u32>| items.iter().all(|(column, value)| row[*column] == *value);
        let covered = coded.rows.iter().zip(&coded.weights).filter(|(row, _)| matches(row));
        let weight = covered.fold([0.0; 2], |sum, (_, weight)| [sum[0] + weight[0], sum[1] + weight[1]]);
        if !chosen.iter().any(|known| known.items == items) {
            chosen.push(Pattern { items, weight });
        }
    }
    Ok(chosen)
}

/// The rows of the single values that say most, best first.
fn starts(coded: &Coded, left: &[u32], seeds: usize, score: &dyn Fn(&[Item], f64) -> f64) -> Vec<Vec<u32>> {
    let mut starts: Vec<(f64, Item, Vec<u32>)> = Vec::new();
    for column in 0..coded.samples.len() {
        for (value, rows) in coded.parts(column, left) {
            let covered = coded.share(coded.weight(&rows))[0];
            if covered >= CLUSTER_MIN {
                starts.push((score(&[(column, value)], covered), (column, value), rows));
            }
        }
    }
    starts.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    starts.into_iter().take(seeds).map(|(_, _, rows)| rows).collect()
}

/// The best that grows from these rows: its score, its values and the rows.
fn grow(coded: &Coded, mut rows: Vec<u32>, score: &dyn Fn(&[Item], f64) -> f64) -> (f64, Vec<Item>, Vec<u32>) {
    let judged = |rows: &[u32]| {
        let items = coded.common(rows);
        (score(&items, coded.share(coded.weight(rows))[0]), items)
    };
    let (mut best, mut items) = judged(&rows);
    loop {
        let mut better: Option<(f64, Vec<Item>, Vec<u32>)> = None;
        for column in (0..coded.samples.len()).filter(|column| !items.iter().any(|(known, _)| known == column)) {
            for part in coded.parts(column, &rows).into_values() {
                let (worth, items) = judged(&part);
                let known = better.as_ref().map_or(best, |better| better.0);
                let same = better.as_ref().is_some_and(|better| worth == better.0 && items < better.1);
                if worth > known || same {
                    better = Some((worth, items, part));
                }
            }
        }
        let Some(found) = better else { return (best, items, rows) };
        (best, items, rows) = found;
    }
}

fn percent(value: f64) -> Value {
    Value::Real((value * 100.0).round() / 100.0)
}

fn one_set(
    schema: &Schema,
    coded: &Coded,
    patterns: &[Pattern],
    chunk: &Chunk,
    wildcards: &HashMap<Type, Value>,
) -> Chunk {
    let head = |pattern: &Pattern| {
        let share = coded.share(pattern.weight)[0];
        vec![Value::Long(pattern.weight[0].round() as i64), percent(share * 100.0)]
    };
    answer(schema, coded, patterns, head, chunk, wildcards)
}

/// A row for each pattern: its number, what `head` says of it, and its values.
fn answer(
    schema: &Schema,
    coded: &Coded,
    patterns: &[Pattern],
    head: impl Fn(&Pattern) -> Vec<Value>,
    chunk: &Chunk,
    wildcards: &HashMap<Type, Value>,
) -> Chunk {
    let mut out: Vec<Builder> = schema.columns.iter().map(|column| Builder::new(column.ty, patterns.len())).collect();
    for (number, pattern) in patterns.iter().enumerate() {
        out[0].push(Value::Long(number as i64));
        let head = head(pattern);
        let first = 1 + head.len();
        head.into_iter().enumerate().for_each(|(at, value)| out[1 + at].push(value));
        for column in 0..coded.samples.len() {
            let builder = &mut out[first + column];
            let set = pattern.items.iter().find(|(known, _)| *known == column);
            match (set.and_then(|(_, value)| coded.samples[column].get(*value as usize)), wildcards.get(&builder.ty()))
            {
                (Some(row), _) => builder.push_cell(chunk.columns[column].cell(*row as usize)),
                (None, Some(wildcard)) => builder.push(wildcard.clone()),
                (None, None) => builder.push_absent(),
            }
        }
    }
    Chunk::of(out.into_iter().map(Builder::finish).collect(), patterns.len())
}
