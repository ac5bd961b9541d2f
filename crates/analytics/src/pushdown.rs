//! What a query looks at in each of its tables: which columns, and between which values.
//!
//! A source may leave out what is not needed. It need not: the operators above ask again, so a source that gives
//! everything is right too.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_kql::bound::{Binary, Bound, Expr, ExprKind, In, List, Rel, RelKind};
use gantry_kql::value::{Type, Value};

use crate::column::Cell;

/// What a query looks at in a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Need {
    /// For each column whether it is looked at; all of them without.
    pub columns: Option<Vec<bool>>,
    /// Rows outside of any of these are not wanted.
    pub ranges: Vec<Range>,
}

impl Need {
    /// Everything.
    pub fn all() -> Need {
        Need::default()
    }

    /// Whether a column is looked at.
    pub fn uses(&self, column: usize) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.get(column).copied().unwrap_or(true))
    }
}

/// Values that a column must have; both ends are in it. Null is in none.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The column.
    pub column: usize,
    /// The low end.
    pub low: Option<Value>,
    /// The high end.
    pub high: Option<Value>,
}

impl Range {
    /// Whether nothing between two values, ends included, is within.
    pub fn misses(&self, low: &Value, high: &Value) -> bool {
        let below = |a: &Value, b: &Value| order(a, b) == Some(std::cmp::Ordering::Less);
        self.low.as_ref().is_some_and(|least| below(high, least))
            || self.high.as_ref().is_some_and(|most| below(most, low))
    }
}

/// How two values of one column compare; nothing when they do not.
fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (Cell::from(a), Cell::from(b)) {
        (Cell::Null, _) | (_, Cell::Null) => None,
        (Cell::String(a), Cell::String(b)) => Some(a.cmp(b)),
        (a, b) => a.compare(b),
    }
}

/// A comparison of a column with something that does not depend on the row.
#[derive(Debug, Clone, PartialEq)]
struct Comparison {
    column: usize,
    low: Option<Expr>,
    high: Option<Expr>,
}

/// What is looked at in each table of a query, by the node that reads it.
#[derive(Debug, Default)]
pub struct Plan {
    tables: HashMap<usize, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    columns: Vec<bool>,
    comparisons: Vec<Comparison>,
}

/// What the operators above look at: columns, all without, and comparisons that a row has to pass.
#[derive(Clone, Default)]
struct Above {
    columns: Option<Vec<bool>>,
    comparisons: Vec<Comparison>,
}

impl Above {
    /// Everything.
    fn all() -> Above {
        Above::default()
    }

    /// Only these columns of so many.
    fn only(count: usize, columns: impl IntoIterator<Item = usize>) -> Above {
        let mut used = vec![false; count];
        columns.into_iter().filter(|at| *at < count).for_each(|at| used[at] = true);
        Above { columns: Some(used), comparisons: Vec::new() }
    }

    fn uses(&self, column: usize) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.get(column).copied().unwrap_or(true))
    }

    /// Looks at what an expression looks at, too.
    fn with(mut self, expr: &Expr) -> Above {
        if expr.any(&mut |part| matches!(part.kind, ExprKind::Late(_))) {
            self.columns = None;
        }
        if let Some(columns) = &mut self.columns {
            note_columns(expr, columns);
        }
        self
    }

    /// Through an operator whose output is made of its input by a function of places.
    fn through(&self, count: usize, outputs: usize, input_of: impl Fn(usize) -> Option<usize>) -> Above {
        let used = (0..outputs).filter(|at| self.uses(*at)).filter_map(&input_of);
        let comparisons = self.comparisons.iter().filter_map(|one| {
            let column = input_of(one.column)?;
            Some(Comparison { column, ..one.clone() })
        });
        Above { comparisons: comparisons.collect(), ..Above::only(count, used) }
    }

    fn without_comparisons(mut self) -> Above {
        self.comparisons.clear();
        self
    }
}

fn note_columns(expr: &Expr, columns: &mut [bool]) {
    if let ExprKind::Column(at) = expr.kind
        && let Some(used) = columns.get_mut(at)
    {
        *used = true;
    }
    expr.for_each_child(&mut |child| note_columns(child, columns));
}

impl Plan {
    /// Of a query.
    pub fn of(bound: &Bound) -> Plan {
        let mut plan = Plan::default();
        for query in &bound.queries {
            query.results.iter().for_each(|result| plan.visit(&result.rel, Above::all()));
        }
        bound.materialized.iter().for_each(|rel| plan.visit(rel, Above::all()));
        bound.scalars.iter().for_each(|rel| plan.visit(rel, Above::only(rel.schema.columns.len(), [0])));
        plan
    }

    /// What is looked at by one node that reads a table; `value` works out what does not depend on rows.
    pub fn need(&self, rel: &Rel, value: &dyn Fn(&Expr) -> Option<Value>) -> Need {
        let Some(wanted) = self.tables.get(&place(rel)) else { return Need::all() };
        let end = |expr: &Option<Expr>| -> Option<Option<Value>> {
            match expr {
                None => Some(None),
                Some(expr) => value(expr).filter(|value| !is_unordered(value)).map(Some),
            }
        };
        let ranges = wanted
            .comparisons
            .iter()
            .filter_map(|one| Some(Range { column: one.column, low: end(&one.low)?, high: end(&one.high)? }));
        Need { ranges: ranges.collect(), columns: Some(wanted.columns.clone()) }
    }

    fn visit(&mut self, rel: &Arc<Rel>, above: Above) {
        let count = |input: &Arc<Rel>| input.schema.columns.len();
        // Rows of an open schema are matched by name when they come.
        let mut open = rel.schema.open;
        rel.for_each_input(&mut |input| open |= input.schema.open);
        let above = if open { Above::all() } else { above };
        rel.for_each_expr(&mut |expr| self.visit_lists(expr));
        match &rel.kind {
            RelKind::Table { .. } => self.note(rel, &above),
            RelKind::Where { input, predicate } => {
                let mut above = above.with(predicate);
                if predicate.has_window() {
                    above.comparisons.clear();
                } else {
                    comparisons(predicate, &mut above.comparisons);
                }
                self.visit(input, above);
            }
            RelKind::Project { input, values } => {
                let plain = |at: usize| match values.get(at).map(|value| &value.kind) {
                    Some(ExprKind::Column(column)) => Some(*column),
                    _ => None,
                };
                let mut below = above.through(count(input), values.len(), plain);
                if values.iter().any(Expr::has_window) {
                    below.comparisons.clear();
                }
                for (at, value) in values.iter().enumerate() {
                    if above.uses(at) {
                        below = below.with(value);
                    }
                }
                self.visit(input, below);
            }
            RelKind::Sort { input, keys } => {
                let below = keys.iter().fold(above, |above, key| above.with(&key.value));
                self.visit(input, below);
            }
            RelKind::Top { input, keys, .. } => {
                let below = keys.iter().fold(above, |above, key| above.with(&key.value));
                self.visit(input, below.without_comparisons());
            }
            RelKind::Take { input, .. } | RelKind::Sample { input, .. } => {
                self.visit(input, above.without_comparisons());
            }
            RelKind::Summarize { input, keys, aggregates } => {
                let key = |at: usize| match keys.get(at).map(|key| &key.kind) {
                    Some(ExprKind::Column(column)) => Some(*column),
                    _ => None,
                };
                let mut below = above.through(count(input), keys.len(), key);
                below = keys.iter().fold(below, Above::with);
                for aggregate in aggregates {
                    aggregate.for_each_expr(&mut |expr| below = std::mem::take(&mut below).with(expr));
                }
                self.visit(input, below);
            }
            RelKind::Join { kind, left, right, on, .. } => {
                use gantry_kql::bound::JoinKind::*;
                let (lefts, rights) = (count(left), count(right));
                let of_left = |at: usize| (at < lefts).then_some(at);
                let (mut l, mut r) = match kind {
                    LeftSemi | LeftAnti => (above.through(lefts, lefts, of_left), Above::only(rights, [])),
                    RightSemi | RightAnti => {
                        (Above::only(lefts, []), above.through(rights, rights, |at| (at < rights).then_some(at)))
                    }
                    _ => (
                        above.through(lefts, lefts + rights, of_left),
                        above.through(rights, lefts + rights, |at| at.checked_sub(lefts)),
                    ),
                };
                // A side whose rows may be missing in the result, or is thinned out first, is not narrowed from above.
                if matches!(kind, InnerUnique | RightOuter | FullOuter) {
                    l.comparisons.clear();
                }
                if matches!(kind, LeftOuter | FullOuter) {
                    r.comparisons.clear();
                }
                for (key, other) in on {
                    (l, r) = (l.with(key), r.with(other));
                }
                self.visit(left, l);
                self.visit(right, r);
            }
            RelKind::Union { inputs } => inputs.iter().for_each(|input| self.visit(input, above.clone())),
            _ => rel.for_each_input(&mut |input| self.visit(input, Above::all())),
        }
    }

    /// Tables that `in` looks into: only at their first column.
    fn visit_lists(&mut self, expr: &Expr) {
        if let ExprKind::In { list: List::Rel(rel), .. } = &expr.kind {
            self.visit(rel, Above::only(rel.schema.columns.len(), [0]));
        }
        expr.for_each_child(&mut |child| self.visit_lists(child));
    }

    fn note(&mut self, rel: &Arc<Rel>, above: &Above) {
        let columns: Vec<bool> = (0..rel.schema.columns.len()).map(|at| above.uses(at)).collect();
        let usable = |one: &&Comparison| {
            rel.schema.columns.get(one.column).is_some_and(|column| !matches!(column.ty, Type::Dynamic | Type::Unknown))
        };
        let comparisons: Vec<Comparison> = above.comparisons.iter().filter(usable).cloned().collect();
        match self.tables.get_mut(&place(rel)) {
            None => {
                self.tables.insert(place(rel), Wanted { columns, comparisons });
            }
            // The same node stands in several places of the query.
            Some(wanted) => {
                wanted.columns.iter_mut().zip(columns).for_each(|(known, more)| *known |= more);
                if wanted.comparisons != comparisons {
                    wanted.comparisons.clear();
                }
            }
        }
    }
}

/// Nodes are told apart by where they are: a query lives longer than its plan.
fn place(rel: &Rel) -> usize {
    std::ptr::from_ref(rel) as usize
}

fn is_unordered(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Real(value) => value.is_nan(),
        _ => false,
    }
}

/// Adds what a predicate demands of single columns.
fn comparisons(predicate: &Expr, found: &mut Vec<Comparison>) {
    let column = |expr: &Expr| match expr.kind {
        ExprKind::Column(at) => Some(at),
        _ => None,
    };
    let fixed = |expr: &Expr| !expr.has_columns();
    match &predicate.kind {
        ExprKind::And(parts) => parts.iter().for_each(|part| comparisons(part, found)),
        ExprKind::Binary { op, left, right } => {
            let (at, op, other) = match (column(left), column(right)) {
                (Some(at), None) if fixed(right) => (at, *op, right),
                (None, Some(at)) if fixed(left) => (at, mirrored(*op), left),
                _ => return,
            };
            let other = || Some(Expr::clone(other));
            let (low, high) = match op {
                Binary::Equal => (other(), other()),
                Binary::Less | Binary::LessOrEqual => (None, other()),
                Binary::Greater | Binary::GreaterOrEqual => (other(), None),
                Binary::StartsWithCs if column(left).is_some() => match begins_with(right) {
                    Some((low, high)) => (Some(low), Some(high)),
                    None => return,
                },
                _ => return,
            };
            found.push(Comparison { column: at, low, high });
        }
        ExprKind::In { op: In::In, value, list: List::Values(values) } => {
            if let (Some(at), Some((low, high))) = (column(value), ends(values)) {
                found.push(Comparison { column: at, low: Some(low.clone()), high: Some(high.clone()) });
            }
        }
        ExprKind::Between { negated: false, value, low, high } => {
            if let Some(at) = column(value).filter(|_| fixed(low) && fixed(high)) {
                found.push(Comparison { column: at, low: Some(Expr::clone(low)), high: Some(Expr::clone(high)) });
            }
        }
        _ => {}
    }
}

/// Between which texts those lie that begin with a literal.
fn begins_with(expr: &Expr) -> Option<(Expr, Expr)> {
    let ExprKind::Literal(Value::String(text)) = &expr.kind else { return None };
    let mut last = expr.clone();
    last.kind = ExprKind::Literal(Value::String(format!("{text}{}", char::MAX)));
    Some((expr.clone(), last))
}

/// The smallest and the largest of literals of one kind.
fn ends(values: &[Expr]) -> Option<(&Expr, &Expr)> {
    let literal = |expr: &Expr| match &expr.kind {
        ExprKind::Literal(value) if !matches!(value, Value::Dynamic(_)) => Some(value.clone()),
        _ => None,
    };
    let first = values.first()?;
    let mut ends = [(literal(first)?, first), (literal(first)?, first)];
    for expr in values {
        let value = literal(expr)?;
        // Nothing is known of values that do not compare.
        if order(&value, &ends[0].0)? == std::cmp::Ordering::Less {
            ends[0] = (value.clone(), expr);
        }
        if order(&value, &ends[1].0)? == std::cmp::Ordering::Greater {
            ends[1] = (value, expr);
        }
    }
    Some((ends[0].1, ends[1].1))
}

fn mirrored(op: Binary) -> Binary {
    match op {
        Binary::Less => Binary::Greater,
        Binary::LessOrEqual => Binary::GreaterOrEqual,
        Binary::Greater => Binary::Less,
        Binary::GreaterOrEqual => Binary::LessOrEqual,
        other => other,
    }
}
