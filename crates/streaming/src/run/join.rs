//! Joins: of streams within a bound of time, and with reference data.
//!
//! Both sides of a join of streams are kept under the values that must be equal, and forgotten at the last
//! instant at which something could still match them. A row of the left side of LEFT OUTER JOIN that nothing
//! matched is given at that instant.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::held::{Held, Share};
use super::node::Faults;
use crate::codec::{Read, Reader, Writer};
use crate::error::Failure;
use crate::expr::{Env, Expr};
use crate::plan::StreamJoin;
use crate::row::{Row, Tuple};
use crate::time::{self, Ticks};
use crate::value::Value;

/// Bytes of an entry beside its rows and keys.
const ENTRY_BYTES: usize = 120;

/// The state of one join of streams.
#[derive(Default)]
pub(crate) struct JoinState {
    left: Side<Left>,
    right: Side<Row>,
    /// Counts entries, which keeps them in the order they came.
    next: u64,
}

struct Left {
    tuple: Tuple,
    matched: bool,
}

/// Rows of one side, by key, and when each may go.
struct Side<T> {
    rows: BTreeMap<Vec<u8>, BTreeMap<u64, T>>,
    expiry: BTreeSet<(Ticks, Vec<u8>, u64)>,
}

impl<T> Default for Side<T> {
    fn default() -> Side<T> {
        Side { rows: BTreeMap::new(), expiry: BTreeSet::new() }
    }
}

impl<T> Side<T> {
    fn insert(&mut self, until: Ticks, key: Vec<u8>, number: u64, row: T) {
        self.expiry.insert((until, key.clone(), number));
        self.rows.entry(key).or_default().insert(number, row);
    }

    /// Takes the next row that may go at an instant.
    fn expired(&mut self, at: Ticks) -> Option<(Vec<u8>, T)> {
        while self.expiry.first().is_some_and(|(until, _, _)| *until <= at) {
            let (_, key, number) = self.expiry.pop_first()?;
            let Some(rows) = self.rows.get_mut(&key) else {
                continue;
            };
            let row = rows.remove(&number);
            if rows.is_empty() {
                self.rows.remove(&key);
            }
            if let Some(row) = row {
                return Some((key, row));
            }
        }
        None
    }

    fn write(&self, writer: &mut Writer, mut one: impl FnMut(&mut Writer, &T)) {
        writer.list(self.expiry.iter(), |writer, (until, key, number)| {
            writer.signed(*until);
            writer.slice(key);
            writer.unsigned(*number);
            let row = self.rows.get(key).and_then(|rows| rows.get(number));
            one(writer, row.expect("what expires is there"));
        });
    }

    fn read(reader: &mut Reader<'_>, mut one: impl FnMut(&mut Reader<'_>) -> Read<T>) -> Read<Side<T>> {
        let mut side = Side::default();
        let rows =
            reader.list(|reader| Ok((reader.ticks()?, reader.slice()?.to_vec(), reader.unsigned()?, one(reader)?)))?;
        for (until, key, number, row) in rows {
            side.insert(until, key, number, row);
        }
        Ok(side)
    }
}

/// Bytes of the values that must be equal; nothing when one is null, which equals nothing.
fn key_of<'e>(keys: impl Iterator<Item = &'e Expr>, env: &Env<'_>) -> Result<Option<Vec<u8>>, String> {
    let mut writer = Writer::default();
    for key in keys {
        let value = key.evaluate(env)?;
        if value.is_null() {
            return Ok(None);
        }
        value.write_key(&mut writer);
    }
    Ok(Some(writer.bytes))
}

fn env(slots: &[Row], timestamp: Ticks) -> Env<'_> {
    Env { slots, timestamp, ..Env::default() }
}

/// First instant of the unit that is `count` units after the one an instant lies in.
fn boundary(at: Ticks, length: Ticks, count: i64) -> Ticks {
    (at.div_euclid(length) + count) * length
}

impl JoinState {
    /// When an unmatched row is due; inner joins wait for nothing.
    pub(crate) fn due(&self, join: &StreamJoin) -> Option<Ticks> {
        let first = if join.outer { self.left.expiry.first() } else { None };
        first.map(|(until, _, _)| *until)
    }

    /// Joins the rows of an instant.
    pub(crate) fn step(
        &mut self,
        join: &StreamJoin,
        at: Ticks,
        left: Vec<Tuple>,
        right: Vec<Row>,
        held: &mut Held,
        faults: &mut Faults,
    ) -> Result<Vec<Tuple>, Failure> {
        let length = join.unit.fixed().unwrap_or(1);
        let mut joined = Vec::new();
        for tuple in left {
            let Some(key) = faults.check(key_of(join.keys.iter().map(|(key, _)| key), &env(&tuple.slots, at)), at)?
            else {
                continue;
            };
            let since = tuple.slots[join.slot].timestamp;
            let until = if since == Ticks::MIN { at } else { boundary(since, length, join.high + 1) - 1 };
            let mut matched = false;
            let candidates = key.as_ref().and_then(|key| self.right.rows.get(key));
            for row in candidates.into_iter().flat_map(BTreeMap::values) {
                if let Some(found) = meet(join, &tuple, row, at, faults)? {
                    matched = true;
                    joined.push(found);
                    held.check_rows(joined.len())?;
                }
            }
            // A row that can match nothing more is only kept to say that nothing matched it.
            if key.is_none() && !join.outer {
                continue;
            }
            let key = key.map_or_else(Vec::new, |key| [&[1], key.as_slice()].concat());
            held.take(Share::event(ENTRY_BYTES + 2 * key.len() + tuple.memory()))?;
            self.next += 1;
            self.left.insert(until, key, self.next, Left { tuple, matched });
        }
        for row in right {
            let alone = std::slice::from_ref(&row);
            let Some(key) = faults.check(key_of(join.keys.iter().map(|(_, key)| key), &env(alone, at)), at)? else {
                continue;
            };
            let Some(key) = key else {
                continue;
            };
            let tagged = [&[1], key.as_slice()].concat();
            for left in self.left.rows.get_mut(&tagged).into_iter().flat_map(BTreeMap::values_mut) {
                if let Some(found) = meet(join, &left.tuple, &row, at, faults)? {
                    left.matched = true;
                    joined.push(found);
                    held.check_rows(joined.len())?;
                }
            }
            let until = boundary(row.timestamp, length, 1 - join.low) - 1;
            held.take(Share::event(ENTRY_BYTES + 2 * key.len() + row.memory()))?;
            self.next += 1;
            self.right.insert(until, key, self.next, row);
        }
        while let Some((key, row)) = self.right.expired(at) {
            held.give(Share::event(ENTRY_BYTES + 2 * key.len() + row.memory()));
        }
        while let Some((key, left)) = self.left.expired(at) {
            held.give(Share::event(ENTRY_BYTES + 2 * key.len() + left.tuple.memory()));
            if join.outer && !left.matched {
                joined.push(left.tuple.with(Row::none(), at));
            }
        }
        Ok(joined)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.unsigned(self.next);
        self.left.write(writer, |writer, left| {
            writer.flag(left.matched);
            left.tuple.write(writer);
        });
        self.right.write(writer, |writer, row| row.write(writer));
    }

    pub(crate) fn read(slots: usize, reader: &mut Reader<'_>) -> Read<JoinState> {
        Ok(JoinState {
            next: reader.unsigned()?,
            left: Side::read(reader, |reader| {
                Ok(Left { matched: reader.flag()?, tuple: Tuple::read(reader, slots)? })
            })?,
            right: Side::read(reader, Row::read)?,
        })
    }
}

/// Two rows with equal keys as one, if the bound of time and the rest of ON hold.
fn meet(
    join: &StreamJoin,
    left: &Tuple,
    right: &Row,
    at: Ticks,
    faults: &mut Faults,
) -> Result<Option<Tuple>, Failure> {
    let since = left.slots[join.slot].timestamp;
    if since == Ticks::MIN {
        return Ok(None);
    }
    let apart = time::difference(join.unit, since, right.timestamp);
    if !apart.is_some_and(|apart| (join.low..=join.high).contains(&apart)) {
        return Ok(None);
    }
    let tuple = left.with(right.clone(), at);
    let holds = match &join.rest {
        Some(rest) => faults.check(rest.holds(&env(&tuple.slots, at)), at)?.unwrap_or(false),
        None => true,
    };
    Ok(holds.then_some(tuple))
}

/// Rows of reference data, by the values that must be equal.
pub(crate) struct ReferenceIndex {
    rows: HashMap<Vec<u8>, Vec<Row>>,
}

impl ReferenceIndex {
    pub(crate) fn new(rows: &[Value], keys: &[(Expr, Expr)]) -> ReferenceIndex {
        let mut index = ReferenceIndex { rows: HashMap::new() };
        for (number, value) in rows.iter().enumerate() {
            let row = Row { timestamp: 0, identity: number as u128, value: value.clone(), user: None };
            // A row whose key cannot be evaluated equals nothing.
            let key = key_of(keys.iter().map(|(_, key)| key), &env(std::slice::from_ref(&row), 0));
            if let Ok(Some(key)) = key {
                index.rows.entry(key).or_default().push(row);
            }
        }
        index
    }

    /// The rows that match each of these.
    pub(crate) fn join(
        &self,
        (outer, keys, rest): (bool, &[(Expr, Expr)], &Option<Expr>),
        at: Ticks,
        tuples: Vec<Tuple>,
        held: &Held,
        faults: &mut Faults,
    ) -> Result<Vec<Tuple>, Failure> {
        let mut joined = Vec::new();
        for tuple in tuples {
            let key = key_of(keys.iter().map(|(key, _)| key), &env(&tuple.slots, at));
            let Some(key) = faults.check(key, at)? else {
                continue;
            };
            let mut matched = false;
            let candidates = key.and_then(|key| self.rows.get(&key));
            for row in candidates.into_iter().flatten() {
                let together = tuple.with(row.clone(), at);
                let holds = match rest {
                    Some(rest) => faults.check(rest.holds(&env(&together.slots, at)), at)?.unwrap_or(false),
                    None => true,
                };
                if holds {
                    matched = true;
                    joined.push(together);
                    held.check_rows(joined.len())?;
                }
            }
            if outer && !matched {
                joined.push(tuple.with(Row::none(), at));
            }
        }
        Ok(joined)
    }
}
