//! Functions over windows of rows, as SQL has them. KQL's own (`prev`, `row_number`...) are expressions over rows in
//! their order; these bring their order and their partitions along.

use super::{Aggregate, Expr, Rel, SortKey};
use std::sync::Arc;

/// Window functions of one order: the result is the columns of the input and a column for each function, in the order
/// of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Over {
    /// The rows.
    pub input: Arc<Rel>,
    /// Rows with the same values are one partition; nulls are values as any others.
    pub partition: Vec<Expr>,
    /// The order within a partition.
    pub order: Vec<SortKey>,
    /// The functions.
    pub functions: Vec<OverFunction>,
}

/// One window function.
#[derive(Debug, Clone, PartialEq)]
pub struct OverFunction {
    /// What it works out.
    pub kind: OverKind,
    /// The rows it looks at, of those kinds that look at several.
    pub frame: Frame,
}

/// The window functions.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is the function of its name")]
pub enum OverKind {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile(Expr),
    /// The value so many rows before (after, when negative), or the other value.
    Lag {
        value: Expr,
        by: Expr,
        other: Option<Expr>,
    },
    FirstValue(Expr),
    LastValue(Expr),
    NthValue(Expr, Expr),
    /// An aggregate of one column over the frame.
    Aggregate(Aggregate),
}

/// Rows around the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Bounds count rows; else rows that are equal under the order belong together.
    pub rows: bool,
    /// The first row.
    pub start: FrameEnd,
    /// The last row.
    pub end: FrameEnd,
}

/// An end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameEnd {
    /// The end of the partition on this side.
    Unbounded,
    /// So many rows after the current one; before it, when negative. Zero is the current row, and with it its equals
    /// where bounds do not count rows.
    Offset(i64),
}

impl Over {
    /// Calls for every expression.
    pub fn for_each_expr<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        self.partition.iter().for_each(&mut *f);
        self.order.iter().for_each(|key| f(&key.value));
        for function in &self.functions {
            match &function.kind {
                OverKind::RowNumber
                | OverKind::Rank
                | OverKind::DenseRank
                | OverKind::PercentRank
                | OverKind::CumeDist => {}
                OverKind::Ntile(of) | OverKind::FirstValue(of) | OverKind::LastValue(of) => f(of),
                OverKind::NthValue(of, n) => [of, n].into_iter().for_each(&mut *f),
                OverKind::Lag { value, by, other } => [value, by].into_iter().chain(other).for_each(&mut *f),
                OverKind::Aggregate(aggregate) => aggregate.for_each_expr(f),
            }
        }
    }
}
