//! Aggregates of SQL alone.

use std::cmp::Ordering;
use std::collections::HashMap;

use gantry_kql::value::{DateTime, Dynamic, TimeSpan, Value};

use super::Accumulator;
use super::generic::{State, states};
use crate::column::{Cell, total_order};
use crate::operators::sort::order_cells;

/// The accumulator of an aggregate, if it is one of these.
pub fn accumulator(name: &str, constants: &[Option<Value>]) -> Option<Box<dyn Accumulator>> {
    let constant = |at: usize| constants.get(at).and_then(Option::as_ref).map(Cell::from);
    let fraction = constant(1).and_then(|cell| cell.real());
    let descending = constant(2).and_then(|cell| cell.bool()).unwrap_or(false);
    Some(match name {
        "sql.bool_and" => states(|| Truth { dominant: false, held: None }),
        "sql.bool_or" => states(|| Truth { dominant: true, held: None }),
        "sql.percentile_cont" => states(move || Exact { values: Vec::new(), fraction, descending, between: true }),
        "sql.percentile_disc" => states(move || Exact { values: Vec::new(), fraction, descending, between: false }),
        "sql.ordered_list" => {
            let flag = |at: usize| constant(at).and_then(|cell| cell.bool()).unwrap_or(false);
            let distinct = flag(1);
            let keys: Vec<(bool, bool)> =
                (2..constants.len()).step_by(3).map(|at| (flag(at + 1), flag(at + 2))).collect();
            states(move || OrderedList { rows: Vec::new(), distinct, keys: keys.clone() })
        }
        "sql.mode" => states(|| Mode { counts: HashMap::new() }),
        _ => return None,
    })
}

/// `bool_and`, `bool_or`.
struct Truth {
    dominant: bool,
    held: Option<bool>,
}

impl State for Truth {
    fn add(&mut self, cells: &[Cell]) {
        if let Some(value) = cells[0].bool() {
            self.held = Some(match self.held {
                Some(held) if held == self.dominant => held,
                _ => value,
            });
        }
    }

    fn merge(&mut self, later: Truth) {
        if let Some(value) = later.held {
            self.add(&[Cell::Bool(value)]);
        }
    }

    fn finish(self) -> Vec<Value> {
        vec![self.held.map_or(Value::Null, Value::Bool)]
    }
}

/// `percentile_cont`, `percentile_disc`: of all values, not of a sketch.
struct Exact {
    values: Vec<Value>,
    fraction: Option<f64>,
    descending: bool,
    between: bool,
}

impl State for Exact {
    fn add(&mut self, cells: &[Cell]) {
        if !cells[0].is_null() {
            self.values.push(cells[0].to_value());
        }
    }

    fn merge(&mut self, later: Exact) {
        self.values.extend(later.values);
    }

    fn finish(mut self) -> Vec<Value> {
        let Some(fraction) = self.fraction.filter(|fraction| (0.0..=1.0).contains(fraction)) else {
            return vec![Value::Null];
        };
        let descending = self.descending;
        self.values.sort_by(|a, b| {
            let order = total_order(Cell::from(a), Cell::from(b));
            if descending { order.reverse() } else { order }
        });
        let count = self.values.len();
        if count == 0 {
            return vec![Value::Null];
        }
        if !self.between {
            let at = ((fraction * count as f64).ceil() as usize).max(1) - 1;
            return vec![self.values.swap_remove(at.min(count - 1))];
        }
        let at = fraction * (count - 1) as f64;
        let (low, high) = (at.floor() as usize, at.ceil() as usize);
        let share = at - low as f64;
        let number = |at: usize| match &self.values[at] {
            Value::TimeSpan(TimeSpan(ticks)) | Value::DateTime(DateTime(ticks)) => *ticks as f64,
            value => Cell::from(value).real().unwrap_or(f64::NAN),
        };
        let between = number(low) + (number(high) - number(low)) * share;
        vec![match self.values[low] {
            Value::TimeSpan(_) => Value::TimeSpan(TimeSpan(between.round() as i64)),
            _ => Value::Real(between),
        }]
    }

    fn size(&self) -> usize {
        self.values.len() * size_of::<Value>()
    }
}

/// `array_agg(value order by keys)`.
struct OrderedList {
    /// A value and its keys.
    rows: Vec<Vec<Value>>,
    distinct: bool,
    /// Descending, nulls first.
    keys: Vec<(bool, bool)>,
}

impl State for OrderedList {
    fn add(&mut self, cells: &[Cell]) {
        // Behind the value stands whether it is distinct, behind each key how it sorts.
        let keys = cells[2..].iter().step_by(3);
        self.rows.push(std::iter::once(&cells[0]).chain(keys).map(|cell| cell.to_value()).collect());
    }

    fn merge(&mut self, later: OrderedList) {
        self.rows.extend(later.rows);
    }

    fn finish(mut self) -> Vec<Value> {
        let keys = &self.keys;
        self.rows.sort_by(|a, b| {
            let each = keys.iter().enumerate().map(|(at, (descending, nulls_first))| {
                order_cells(Cell::from(&a[at + 1]), Cell::from(&b[at + 1]), *descending, *nulls_first)
            });
            each.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        if self.distinct {
            self.rows.dedup_by(|a, b| a[0] == b[0]);
        }
        let values = self.rows.into_iter().filter_map(|row| row.into_iter().next()).map(Value::into_dynamic).collect();
        vec![Value::Dynamic(Dynamic::Array(values))]
    }

    fn size(&self) -> usize {
        self.rows.len() * (1 + self.keys.len()) * size_of::<Value>()
    }
}

/// `mode`: the value that is there most often, the smallest of several.
struct Mode {
    counts: HashMap<String, (Value, i64)>,
}

impl State for Mode {
    fn add(&mut self, cells: &[Cell]) {
        if !cells[0].is_null() {
            self.counts.entry(cells[0].text().into_owned()).or_insert_with(|| (cells[0].to_value(), 0)).1 += 1;
        }
    }

    fn merge(&mut self, later: Mode) {
        for (text, (value, count)) in later.counts {
            self.counts.entry(text).or_insert((value, 0)).1 += count;
        }
    }

    fn finish(self) -> Vec<Value> {
        let best = self.counts.into_values().max_by(|a, b| {
            let by_count = a.1.cmp(&b.1);
            by_count.then_with(|| match total_order(Cell::from(&b.0), Cell::from(&a.0)) {
                Ordering::Equal => Ordering::Equal,
                order => order,
            })
        });
        vec![best.map_or(Value::Null, |(value, _)| value)]
    }

    fn size(&self) -> usize {
        self.counts.len() * 96
    }
}
