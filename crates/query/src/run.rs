//! A query on its way through documents.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::ast::{Aggregate, Item, Query, Reference, Select, What};
use crate::eval::{Scope, evaluate};
use crate::operand::{Operand, order};
use crate::path::{Step, find};

/// Most groups one query may form.
pub const GROUPS_MAX: usize = 10_000;

/// What a query runs over, one at a time.
pub trait Document {
    /// The value at a path.
    fn value(&self, path: &[Step]) -> Operand<'_>;
    /// The whole document, for `SELECT *`.
    fn whole(&self) -> Value;
}

impl Document for Value {
    fn value(&self, path: &[Step]) -> Operand<'_> {
        find(self, path).into()
    }

    fn whole(&self) -> Value {
        self.clone()
    }
}

struct Of<'d, D>(&'d D);

impl<D: Document> Scope for Of<'_, D> {
    fn resolve<'a>(&'a self, reference: &'a Reference) -> Operand<'a> {
        match reference {
            Reference::Document(path) => self.0.value(path),
            _ => Operand::Undefined,
        }
    }
}

impl Query {
    /// Whether a document satisfies the condition.
    pub fn matches(&self, document: &impl Document) -> bool {
        self.condition.as_ref().is_none_or(|condition| evaluate(condition, &Of(document)).is_true())
    }
}

/// More groups than [`GROUPS_MAX`].
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("the query forms more than {GROUPS_MAX} groups")]
pub struct TooManyGroups;

/// One page in the making. Feed documents with [`offer`](Self::offer) until it is full.
#[derive(Debug)]
pub struct Run<'q> {
    query: &'q Query,
    page: usize,
    items: Vec<Value>,
    by_key: HashMap<String, usize>,
    groups: Vec<Vec<Accumulator>>,
    overflowed: bool,
}

impl<'q> Run<'q> {
    pub(crate) fn new(query: &'q Query, page: usize) -> Self {
        let page = query.top.map_or(page, |top| top.min(page));
        Self { query, page, items: vec![], by_key: HashMap::new(), groups: vec![], overflowed: false }
    }

    /// Takes a document; true when the page is full and the next document belongs to the next page.
    pub fn offer(&mut self, document: &impl Document) -> bool {
        if self.query.matches(document) { self.take(document) } else { false }
    }

    /// Takes a document that is known to satisfy the condition.
    pub fn take(&mut self, document: &impl Document) -> bool {
        match &self.query.select {
            Select::Items(items) if self.query.is_aggregate() => {
                self.accumulate(items, document);
                return false;
            }
            Select::Items(items) => self.items.push(project(items, document)),
            Select::Whole => self.items.push(document.whole()),
        }
        self.items.len() >= self.page
    }

    /// Counts documents that satisfy the condition without looking at them; for [`Query::is_count`].
    pub fn count(&mut self, documents: u64) {
        let Select::Items(items) = &self.query.select else { return };
        if let Some(index) = self.group(String::new(), items.len()) {
            self.groups[index].iter_mut().for_each(|accumulator| accumulator.count += documents);
        }
    }

    /// Items on the page so far.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the page has no items yet.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn accumulate(&mut self, items: &[Item], document: &impl Document) {
        let mut key = String::new();
        for path in &self.query.group_by {
            // Undefined and null are groups of their own; texts are quoted, so keys cannot run together.
            match document.value(path).to_json() {
                Some(value) => key.push_str(&value.to_string()),
                None => key.push('-'),
            }
            key.push('\n');
        }
        let Some(index) = self.group(key, items.len()) else { return };
        for (item, accumulator) in items.iter().zip(&mut self.groups[index]) {
            match &item.what {
                What::Aggregate(_, None) => accumulator.count += 1,
                What::Aggregate(_, Some(path)) => accumulator.take(&document.value(path)),
                What::Attribute(path) if accumulator.first.is_none() => {
                    accumulator.first = document.value(path).to_json();
                }
                What::Attribute(_) => {}
            }
        }
    }

    fn group(&mut self, key: String, items: usize) -> Option<usize> {
        if let Some(index) = self.by_key.get(&key) {
            return Some(*index);
        }
        if self.groups.len() >= GROUPS_MAX {
            self.overflowed = true;
            return None;
        }
        self.by_key.insert(key, self.groups.len());
        self.groups.push(vec![Accumulator::default(); items]);
        Some(self.groups.len() - 1)
    }

    /// The items of the page.
    ///
    /// # Errors
    /// [`TooManyGroups`].
    pub fn finish(mut self) -> Result<Vec<Value>, TooManyGroups> {
        let Select::Items(items) = &self.query.select else { return Ok(self.items) };
        if !self.query.is_aggregate() {
            return Ok(self.items);
        }
        if self.overflowed {
            return Err(TooManyGroups);
        }
        if self.groups.is_empty() && self.query.group_by.is_empty() {
            self.groups.push(vec![Accumulator::default(); items.len()]);
        }
        let top = self.query.top.unwrap_or(usize::MAX);
        Ok(self.groups.iter().take(top).map(|group| summarize(items, group)).collect())
    }
}

fn project(items: &[Item], document: &impl Document) -> Value {
    let mut row = Map::new();
    for item in items {
        if let What::Attribute(path) = &item.what
            && let Some(value) = document.value(path).to_json()
        {
            row.insert(item.name.clone(), value);
        }
    }
    Value::Object(row)
}

fn summarize(items: &[Item], accumulators: &[Accumulator]) -> Value {
    let mut row = Map::new();
    for (item, accumulator) in items.iter().zip(accumulators) {
        let value = match &item.what {
            What::Attribute(_) => accumulator.first.clone(),
            What::Aggregate(Aggregate::Count, _) => Some(accumulator.count.into()),
            What::Aggregate(Aggregate::Sum, _) => Operand::number(accumulator.sum).to_json(),
            What::Aggregate(Aggregate::Avg, _) => {
                Operand::number(accumulator.sum / accumulator.numbers as f64).to_json()
            }
            What::Aggregate(Aggregate::Min, _) => accumulator.min.clone(),
            What::Aggregate(Aggregate::Max, _) => accumulator.max.clone(),
        };
        if let Some(value) = value {
            row.insert(item.name.clone(), value);
        }
    }
    Value::Object(row)
}

#[derive(Clone, Debug, Default)]
struct Accumulator {
    count: u64,
    numbers: u64,
    sum: f64,
    min: Option<Value>,
    max: Option<Value>,
    first: Option<Value>,
}

impl Accumulator {
    fn take(&mut self, value: &Operand<'_>) {
        if *value == Operand::Undefined {
            return;
        }
        self.count += 1;
        if let Some(number) = value.as_number() {
            self.numbers += 1;
            self.sum += number;
        }
        if order(value, value).is_none() {
            return;
        }
        let beats =
            |best: &Option<Value>, wanted| best.as_ref().is_none_or(|best| order(value, &best.into()) == Some(wanted));
        if beats(&self.min, std::cmp::Ordering::Less) {
            self.min = value.to_json();
        }
        if beats(&self.max, std::cmp::Ordering::Greater) {
            self.max = value.to_json();
        }
    }
}
