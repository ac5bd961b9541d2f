//! What commands answer: columns of every kind of answer (`answers.txt`), and rows for them.

use std::sync::Arc;

use gantry_kql::value::{DateTime, Guid, Type, Value};

use crate::engine::Table;
use crate::store::Extent;
use crate::warehouse::small_table;

/// A line for each kind of answer: `Name = Column:type, ...`, as the reference documents them.
const ANSWERS: &str = include_str!("answers.txt");

/// An answer while it is written.
pub(crate) struct Answer {
    columns: Vec<(&'static str, Type)>,
    rows: Vec<Vec<Value>>,
}

impl Answer {
    /// An answer of a kind, without rows.
    ///
    /// # Panics
    /// When the list has no such kind: tests walk all that are used.
    pub(crate) fn of(kind: &str) -> Answer {
        let line = ANSWERS.lines().find_map(|line| line.split_once(" = ").filter(|(name, _)| *name == kind));
        let (_, columns) = line.expect("the list has every kind of answer");
        let columns = columns.split(", ").filter_map(|column| {
            let (name, ty) = column.split_once(':')?;
            Some((name, Type::from_name(ty)?))
        });
        Answer { columns: columns.collect(), rows: Vec::new() }
    }

    /// The first columns only: some commands answer fewer.
    pub(crate) fn first(mut self, columns: usize) -> Answer {
        self.columns.truncate(columns);
        self
    }

    /// Adds a row; columns that it does not name are absent.
    pub(crate) fn row(&mut self, values: &[(&str, Value)]) {
        debug_assert!(values.iter().all(|(name, _)| self.columns.iter().any(|(known, _)| known == name)));
        let value = |(name, ty): &(&'static str, Type)| {
            let given = values.iter().find(|(known, _)| known == name);
            given.map_or_else(|| Value::absent(*ty), |(_, value)| value.clone())
        };
        self.rows.push(self.columns.iter().map(value).collect());
    }

    /// With a row.
    pub(crate) fn with(mut self, values: &[(&str, Value)]) -> Answer {
        self.row(values);
        self
    }

    /// The answer.
    pub(crate) fn table(self) -> Table {
        small_table(&self.columns, self.rows)
    }
}

/// A text.
pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// What extents amount to, in all and those of them that are hot.
#[derive(Clone, Copy, Default)]
pub(crate) struct Amounts {
    pub(crate) all: Amount,
    pub(crate) hot: Amount,
}

/// What extents amount to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Amount {
    pub(crate) extents: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
}

impl Amounts {
    pub(crate) fn of<'a>(extents: impl IntoIterator<Item = &'a Arc<Extent>>) -> Amounts {
        let mut amounts = Amounts::default();
        for extent in extents {
            amounts.all.add(extent);
            if extent.cold.is_none() {
                amounts.hot.add(extent);
            }
        }
        amounts
    }
}

impl Amount {
    fn add(&mut self, extent: &Extent) {
        self.extents += 1;
        self.bytes += extent.bytes;
        self.rows += extent.rows;
    }
}

/// A count.
pub(crate) fn long(count: u64) -> Value {
    Value::Long(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A size as a real, as the reference counts bytes.
pub(crate) fn bytes(count: u64) -> Value {
    Value::Real(count as f64)
}

/// An instant.
pub(crate) fn time(ticks: i64) -> Value {
    Value::DateTime(DateTime(ticks))
}

/// A guid of its text; null when it is none.
pub(crate) fn guid(text: &str) -> Value {
    Guid::parse(text).map_or(Value::Null, Value::Guid)
}
