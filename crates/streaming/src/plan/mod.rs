//! The checked plan of a job: where rows come from, what each query does with them, where they go.
//!
//! Every query is a [`Node`]; nodes are in the order of the text, and rows only go to later ones, so one pass
//! over the nodes carries an instant through the whole job.

mod compile;
mod query;
mod window;

use std::sync::Arc;

use crate::error::Error;
use crate::expr::Expr;
use crate::job::Settings;
use crate::time::{Ticks, Unit};

/// A job, ready to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub sources: Vec<Source>,
    pub nodes: Vec<Node>,
    pub outputs: Vec<Arc<str>>,
}

/// An input as one query or several read it: with one notion of time.
#[derive(Debug)]
pub(crate) struct Source {
    /// Which of the settings' inputs.
    pub input: usize,
    /// `TIMESTAMP BY`; else events have the time of their arrival.
    pub timestamp: Option<Expr>,
    /// `OVER`: events with the same key are in order among themselves only.
    pub over: Option<Expr>,
    pub consumers: Vec<Consumer>,
}

/// A query that takes rows, and at which of its doors: 0 is FROM, `n` the `n`th stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consumer {
    pub node: usize,
    pub port: usize,
}

/// One `SELECT`.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub stages: Vec<Stage>,
    pub analytics: Vec<Analytic>,
    pub filter: Option<Expr>,
    pub grouping: Option<Grouping>,
    pub having: Option<Expr>,
    pub items: Vec<Item>,
    pub consumers: Vec<Consumer>,
    pub outputs: Vec<Arc<str>>,
}

/// What is added to the rows of FROM, in the order of the text.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A join with rows that come at their own time.
    Stream(StreamJoin),
    /// A join with rows given beforehand.
    Reference { outer: bool, input: usize, keys: Vec<(Expr, Expr)>, rest: Option<Expr> },
    /// Elements of an array, or properties of a record.
    Apply { outer: bool, properties: bool, argument: Expr },
}

/// A join of streams: the right row is `low` to `high` boundaries of `unit` after the row of `slot`.
#[derive(Debug)]
pub(crate) struct StreamJoin {
    pub outer: bool,
    pub unit: Unit,
    pub low: i64,
    pub high: i64,
    pub slot: usize,
    /// Equal values, of the rows so far and of the right row.
    pub keys: Vec<(Expr, Expr)>,
    pub rest: Option<Expr>,
}

/// `GROUP BY`.
#[derive(Debug)]
pub(crate) struct Grouping {
    pub keys: Vec<Expr>,
    pub windows: Vec<Window>,
    pub aggregates: Vec<Aggregate>,
}

/// A window and what `System.Window().Id` says of it.
#[derive(Debug)]
pub(crate) struct Window {
    pub id: Option<Arc<str>>,
    pub kind: WindowKind,
}

#[derive(Debug)]
pub(crate) enum WindowKind {
    /// Also tumbling, which hops by its size.
    Hopping {
        size: Ticks,
        hop: Ticks,
        offset: Ticks,
    },
    Sliding {
        size: Ticks,
    },
    Session {
        timeout: Ticks,
        longest: Ticks,
        partition: Vec<Expr>,
    },
    Snapshot,
}

/// A call of an aggregate.
#[derive(Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub kind: AggregateKind,
    /// What it is over; nothing for `COUNT(*)`, whole rows for `Collect()` and `TopOne()`.
    pub value: Option<Expr>,
    pub order: Vec<(Expr, bool)>,
    pub filter: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AggregateKind {
    Count,
    CountDistinct,
    Sum,
    Average,
    Min,
    Max,
    Deviation { population: bool },
    Variance { population: bool },
    TopOne,
    Collect,
    CollectTop(usize),
    Percentile { at: f64, continuous: bool },
}

/// A call of a function that looks back over the rows before.
#[derive(Debug, PartialEq)]
pub(crate) struct Analytic {
    pub kind: AnalyticKind,
    pub partition: Vec<Expr>,
    pub limit: Ticks,
    pub when: Option<Expr>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum AnalyticKind {
    Lag { value: Expr, offset: usize, default: Option<Expr> },
    Last { value: Expr },
    IsFirst { interval: Ticks },
    SpikeAndDip { value: Expr, confidence: f64, history: usize, mode: Spikes },
    ChangePoint { value: Expr, confidence: f64, history: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spikes {
    Up,
    Down,
    Both,
}

/// What a query gives.
#[derive(Debug)]
pub(crate) enum Item {
    /// All columns of these rows.
    All(Vec<usize>),
    /// One column.
    One(Arc<str>, Expr),
}

/// Reads a text and checks it against what there is.
pub(crate) fn plan(text: &str, settings: &Settings) -> Result<Plan, Error> {
    let script = crate::parse::parse(text)?;
    query::Planner::new(text, settings).plan(&script)
}
