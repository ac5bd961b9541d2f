//! Prepared statements: a text under a handle, with the values a client bound to it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gantry_kql::value::Value;
use parking_lot::Mutex;
use tonic::Status;

use crate::statement::Statement;

/// Statements that are open at once.
const OPEN_MAX: usize = 1_000;
/// Bytes of all their texts and values.
const BYTES_MAX: usize = 64 << 20;
/// How long one that nobody uses stays.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// A statement and rows of values for its parameters.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The statement.
    pub statement: Statement,
    /// Rows of values; none before any were bound.
    pub rows: Vec<Vec<Value>>,
}

struct Open {
    prepared: Prepared,
    bytes: usize,
    used: Instant,
}

/// The statements that are open.
#[derive(Default)]
pub struct Statements(Mutex<HashMap<Vec<u8>, Open>>);

impl Statements {
    /// Opens a statement and gives its handle.
    ///
    /// # Errors
    /// When there are too many.
    pub fn open(&self, statement: Statement) -> Result<Vec<u8>, Status> {
        let mut open = self.0.lock();
        open.retain(|_, one| one.used.elapsed() < IDLE_MAX);
        let bytes = statement.text.len();
        if open.len() >= OPEN_MAX || sum(&open) + bytes > BYTES_MAX {
            return Err(Status::resource_exhausted("too many prepared statements are open"));
        }
        let handle = uuid::Uuid::new_v4().as_bytes().to_vec();
        let prepared = Prepared { statement, rows: Vec::new() };
        open.insert(handle.clone(), Open { prepared, bytes, used: Instant::now() });
        Ok(handle)
    }

    /// The statement of a handle.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, handle: &[u8]) -> Result<Prepared, Status> {
        let mut open = self.0.lock();
        let one = open.get_mut(handle).ok_or_else(unknown)?;
        one.used = Instant::now();
        Ok(one.prepared.clone())
    }

    /// Binds rows of values, `bytes` large, in the place of those before.
    ///
    /// # Errors
    /// When there is no such statement, or the values are too large.
    pub fn bind(&self, handle: &[u8], rows: Vec<Vec<Value>>, bytes: usize) -> Result<(), Status> {
        let mut open = self.0.lock();
        let all = sum(&open);
        let one = open.get_mut(handle).ok_or_else(unknown)?;
        let bytes = one.prepared.statement.text.len() + bytes;
        if all - one.bytes + bytes > BYTES_MAX {
            return Err(Status::resource_exhausted("the bound values are too large"));
        }
        (one.prepared.rows, one.bytes, one.used) = (rows, bytes, Instant::now());
        Ok(())
    }

    /// Closes a statement.
    pub fn close(&self, handle: &[u8]) {
        self.0.lock().remove(handle);
    }
}

fn sum(open: &HashMap<Vec<u8>, Open>) -> usize {
    open.values().map(|one| one.bytes).sum()
}

fn unknown() -> Status {
    Status::not_found("there is no such prepared statement, or it was not used for an hour")
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::columns::Unit;
    use crate::statement::Language;

    fn statement(text: String) -> Statement {
        Statement { language: Language::Kql, unit: Unit::default(), text }
    }

    #[test]
    fn a_statement_keeps_what_was_bound_until_it_is_closed() {
        let statements = Statements::default();
        let handle = statements.open(statement("Twins".into())).unwrap();
        statements.bind(&handle, vec![vec![Value::Long(1)]], 8).unwrap();
        statements.bind(&handle, vec![vec![Value::Long(2)]], 8).unwrap();
        assert_eq!(statements.get(&handle).unwrap().rows, [[Value::Long(2)]]);
        statements.close(&handle);
        assert_eq!(statements.get(&handle).unwrap_err().code(), Code::NotFound);
        assert!(statements.bind(&handle, vec![], 0).is_err());
    }

    #[test]
    fn open_statements_are_bounded_in_number_and_size() {
        let statements = Statements::default();
        let handles: Vec<_> = (0..OPEN_MAX).map(|_| statements.open(statement("T".into())).unwrap()).collect();
        assert_eq!(statements.open(statement("T".into())).unwrap_err().code(), Code::ResourceExhausted);
        assert!(statements.bind(&handles[0], vec![], BYTES_MAX).is_err());
        statements.close(&handles[0]);
        assert!(statements.open(statement("T".into())).is_ok());
    }
}
