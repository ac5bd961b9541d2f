//! A column that is read when somebody looks at it: of rows that a filter refuses, nothing else is read.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use gantry_kql::value::Type;

use super::Column;

type Make = Box<dyn FnOnce() -> Column + Send>;

/// Values to come.
pub(super) struct Later {
    ty: Type,
    rows: usize,
    made: OnceLock<Column>,
    make: Mutex<Option<Make>>,
}

impl Later {
    pub(super) fn new(ty: Type, rows: usize, make: impl FnOnce() -> Column + Send + 'static) -> Later {
        Later { ty, rows, made: OnceLock::new(), make: Mutex::new(Some(Box::new(make))) }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The column, if somebody looked at it already.
    pub(super) fn made(&self) -> Option<&Column> {
        self.made.get()
    }

    /// The column.
    pub(super) fn get(&self) -> &Column {
        self.made.get_or_init(|| {
            let make = self.make.lock().unwrap_or_else(PoisonError::into_inner).take();
            let made = make.map_or_else(|| Column::absent(self.ty, self.rows), |make| make());
            assert!(made.len() == self.rows && made.ty() == self.ty, "a column of {} as promised", self.ty);
            made
        })
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Later({}, {} rows)", self.ty, self.rows)
    }
}
