//! Rows on their way through a job.

use std::sync::Arc;

use crate::codec::{Hash, Read, Reader, Writer};
use crate::time::Ticks;
use crate::value::Value;

/// A row with its time and its identity, which is the same whenever the same events make it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub timestamp: Ticks,
    pub identity: u128,
    pub value: Value,
    /// Properties that the sender attached, of rows of an input.
    pub user: Option<Arc<Value>>,
}

impl Row {
    /// What stands for a row that is not there.
    pub(crate) fn none() -> Row {
        Row { timestamp: Ticks::MIN, identity: 0, value: Value::Null, user: None }
    }

    /// About how many bytes of memory this takes.
    pub(crate) fn memory(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.memory());
        size_of::<Row>() + self.value.memory() + user
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.signed(self.timestamp);
        writer.wide(self.identity);
        self.value.write(writer);
        writer.flag(self.user.is_some());
        if let Some(user) = &self.user {
            user.write(writer);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Read<Row> {
        Ok(Row {
            timestamp: reader.ticks()?,
            identity: reader.wide()?,
            value: Value::read(reader)?,
            user: if reader.flag()? { Some(Arc::new(Value::read(reader)?)) } else { None },
        })
    }
}

/// Rows joined into one.
#[derive(Debug, Clone)]
pub(crate) struct Tuple {
    pub slots: Vec<Row>,
    pub timestamp: Ticks,
    pub identity: u128,
}

impl Tuple {
    pub(crate) fn of(row: Row) -> Tuple {
        Tuple { timestamp: row.timestamp, identity: row.identity, slots: vec![row] }
    }

    /// With one more row, at a time.
    pub(crate) fn with(&self, row: Row, timestamp: Ticks) -> Tuple {
        let mut slots = Vec::with_capacity(self.slots.len() + 1);
        slots.extend_from_slice(&self.slots);
        let identity = Hash::new().wide(self.identity).wide(row.identity).0;
        slots.push(row);
        Tuple { slots, timestamp, identity }
    }

    pub(crate) fn memory(&self) -> usize {
        size_of::<Tuple>() + self.slots.iter().map(Row::memory).sum::<usize>()
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.signed(self.timestamp);
        writer.wide(self.identity);
        writer.list(self.slots.iter(), |writer, row| row.write(writer));
    }

    pub(crate) fn read(reader: &mut Reader<'_>, slots: usize) -> Read<Tuple> {
        let tuple = Tuple { timestamp: reader.ticks()?, identity: reader.wide()?, slots: reader.list(Row::read)? };
        if tuple.slots.len() == slots { Ok(tuple) } else { Err(crate::error::CheckpointError::Damaged) }
    }
}
