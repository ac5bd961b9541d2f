//! Windows: groups of rows, and when they end.
//!
//! Windows are kept by their end, so that an event touches its own windows and no others, and nothing is
//! looked at before it is due. All windows are `(start, end]`: what happens at an instant belongs to the
//! window that ends there, which is why a window is closed after the rows of the instant of its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::aggregate::{Accumulator, Given, exactly, read_given, sample, write_given};
use super::held::{Held, Share};
use crate::codec::{Read, Reader, Writer};
use crate::error::{CheckpointError, Failure};
use crate::expr::Env;
use crate::plan::{Aggregate, Grouping, WindowKind};
use crate::time::Ticks;
use crate::value::Value;

/// Bytes of a group beside what is counted: the node of a tree, vectors, accumulators.
const GROUP_BYTES: usize = 200;

/// What a row gives to the groups it belongs to.
pub(crate) struct Contribution {
    key: Vec<u8>,
    keys: Vec<Value>,
    given: Vec<Given>,
    /// Key of the session's partition, for each window that is one.
    partitions: Vec<Vec<u8>>,
}

/// A group whose window has ended.
pub(crate) struct Ended {
    pub window: usize,
    pub start: Option<Ticks>,
    /// What tells it from other groups of the same window and end.
    pub key: Vec<u8>,
    pub keys: Vec<Value>,
    pub values: Vec<Value>,
}

/// The windows of a query.
pub(crate) struct Groups {
    windows: Vec<WindowState>,
}

enum WindowState {
    Hopping(BTreeMap<Ticks, BTreeMap<Vec<u8>, Group>>),
    Sliding(Sliding),
    Session(Sessions),
    Snapshot(BTreeMap<Vec<u8>, Group>),
}

struct Group {
    keys: Vec<Value>,
    accumulators: Vec<Accumulator>,
    bytes: usize,
}

#[derive(Default)]
struct Sliding {
    groups: BTreeMap<Vec<u8>, SlidingGroup>,
    /// Groups that a row leaves, by the time it does.
    leaving: BTreeMap<Ticks, BTreeSet<Vec<u8>>>,
    /// Groups that a row entered at this instant.
    entered: BTreeSet<Vec<u8>>,
}

/// The rows of a group within the window, as a queue of two stacks: `front` has what the oldest rows and all
/// after them up to the last flip come to, `back` what came later, so that each row is merged twice at most.
struct SlidingGroup {
    keys: Vec<Value>,
    rows: VecDeque<(Ticks, Vec<Given>, usize)>,
    front: Vec<Vec<Accumulator>>,
    back: Vec<Accumulator>,
    bytes: usize,
}

#[derive(Default)]
struct Sessions {
    sessions: BTreeMap<Vec<u8>, Session>,
    deadlines: BTreeSet<(Ticks, Vec<u8>)>,
}

struct Session {
    start: Ticks,
    deadline: Ticks,
    groups: BTreeMap<Vec<u8>, Group>,
}

fn accumulators(aggregates: &[Aggregate]) -> Vec<Accumulator> {
    aggregates.iter().map(|aggregate| Accumulator::new(aggregate.kind)).collect()
}

fn add(into: &mut [Accumulator], aggregates: &[Aggregate], given: &[Given]) -> usize {
    into.iter_mut()
        .zip(aggregates)
        .zip(given)
        .map(|((accumulator, aggregate), given)| accumulator.add(aggregate, given))
        .sum()
}

fn values(of: &[Accumulator], aggregates: &[Aggregate]) -> Vec<Value> {
    of.iter().zip(aggregates).map(|(accumulator, aggregate)| accumulator.value(aggregate)).collect()
}

/// What a row gives; an error of the event when something of it does not fit.
pub(crate) fn contribution(grouping: &Grouping, env: &Env<'_>) -> Result<Contribution, String> {
    let mut writer = Writer::default();
    let mut keys = Vec::with_capacity(grouping.keys.len());
    for key in &grouping.keys {
        let value = key.evaluate(env)?;
        value.write_key(&mut writer);
        keys.push(value);
    }
    let mut given = Vec::with_capacity(grouping.aggregates.len());
    for aggregate in &grouping.aggregates {
        given.push(sample(aggregate, env)?);
    }
    let mut partitions = Vec::new();
    for window in &grouping.windows {
        if let WindowKind::Session { partition, .. } = &window.kind {
            let mut writer = Writer::default();
            for key in partition {
                key.evaluate(env)?.write_key(&mut writer);
            }
            partitions.push(writer.bytes);
        }
    }
    Ok(Contribution { key: writer.bytes, keys, given, partitions })
}

/// Adds a row to its group among these.
fn add_to(
    groups: &mut BTreeMap<Vec<u8>, Group>,
    row: &Contribution,
    aggregates: &[Aggregate],
    held: &mut Held,
) -> Result<(), Failure> {
    let group = match groups.get_mut(&row.key) {
        Some(group) => group,
        None => {
            let bytes = GROUP_BYTES
                + row.key.len()
                + row.keys.iter().map(Value::memory).sum::<usize>()
                + aggregates.len() * size_of::<Accumulator>();
            held.take(Share::group(bytes))?;
            groups.entry(row.key.clone()).or_insert(Group {
                keys: row.keys.clone(),
                accumulators: accumulators(aggregates),
                bytes,
            })
        }
    };
    let grown = add(&mut group.accumulators, aggregates, &row.given);
    group.bytes += grown;
    held.take(Share::bytes(grown))
}

/// Ends all groups of a window.
fn end(
    groups: BTreeMap<Vec<u8>, Group>,
    place: (usize, Option<Ticks>, &[u8]),
    aggregates: &[Aggregate],
    held: &mut Held,
    ended: &mut Vec<Ended>,
) {
    let (window, start, partition) = place;
    for (key, group) in groups {
        held.give(Share::group(group.bytes));
        ended.push(Ended {
            window,
            start,
            key: [partition, &key].concat(),
            values: values(&group.accumulators, aggregates),
            keys: group.keys,
        });
    }
}

/// The first multiple of `step`, moved by `offset`, that is not before an instant.
fn ceiling(at: Ticks, step: Ticks, offset: Ticks) -> Ticks {
    let from = at - offset;
    let rest = from.rem_euclid(step);
    if rest == 0 { at } else { at + (step - rest) }
}

impl Groups {
    pub(crate) fn new(grouping: &Grouping) -> Groups {
        let state = |kind: &WindowKind| match kind {
            WindowKind::Hopping { .. } => WindowState::Hopping(BTreeMap::new()),
            WindowKind::Sliding { .. } => WindowState::Sliding(Sliding::default()),
            WindowKind::Session { .. } => WindowState::Session(Sessions::default()),
            WindowKind::Snapshot => WindowState::Snapshot(BTreeMap::new()),
        };
        Groups { windows: grouping.windows.iter().map(|window| state(&window.kind)).collect() }
    }

    /// When something is due next.
    pub(crate) fn due(&self) -> Option<Ticks> {
        self.windows
            .iter()
            .filter_map(|window| match window {
                WindowState::Hopping(ends) => ends.first_key_value().map(|(end, _)| *end),
                WindowState::Sliding(sliding) => sliding.leaving.first_key_value().map(|(at, _)| *at),
                WindowState::Session(sessions) => sessions.deadlines.first().map(|(at, _)| *at),
                WindowState::Snapshot(_) => None,
            })
            .min()
    }

    /// Adds a row of an instant to every window it lies in.
    pub(crate) fn add(
        &mut self,
        grouping: &Grouping,
        at: Ticks,
        row: &Contribution,
        held: &mut Held,
    ) -> Result<(), Failure> {
        let aggregates = grouping.aggregates.as_slice();
        let mut partitions = row.partitions.iter();
        for (window, state) in grouping.windows.iter().zip(&mut self.windows) {
            match (&window.kind, state) {
                (WindowKind::Hopping { size, hop, offset }, WindowState::Hopping(ends)) => {
                    let mut end = ceiling(at, *hop, *offset);
                    while end < at + size {
                        add_to(ends.entry(end).or_default(), row, aggregates, held)?;
                        end += hop;
                    }
                }
                (WindowKind::Sliding { size }, WindowState::Sliding(sliding)) => {
                    sliding.add(at, *size, row, aggregates, held)?;
                }
                (WindowKind::Session { timeout, longest, .. }, WindowState::Session(sessions)) => {
                    let partition = partitions.next().map(Vec::as_slice).unwrap_or_default();
                    let limits = (*timeout, *longest);
                    sessions.add(at, limits, partition, row, aggregates, held)?;
                }
                (WindowKind::Snapshot, WindowState::Snapshot(groups)) => {
                    add_to(groups, row, aggregates, held)?;
                }
                _ => unreachable!("the state was made from the same plan"),
            }
        }
        Ok(())
    }

    /// Takes what ends at an instant, all of whose rows have been added.
    pub(crate) fn end(&mut self, grouping: &Grouping, at: Ticks, held: &mut Held) -> Vec<Ended> {
        let aggregates = grouping.aggregates.as_slice();
        let mut ended = Vec::new();
        for (index, (window, state)) in grouping.windows.iter().zip(&mut self.windows).enumerate() {
            match (&window.kind, state) {
                (WindowKind::Hopping { size, .. }, WindowState::Hopping(ends)) => {
                    while let Some(first) = ends.first_entry().filter(|first| *first.key() <= at) {
                        let place = (index, Some(first.key() - size), &[][..]);
                        end(first.remove(), place, aggregates, held, &mut ended);
                    }
                }
                (WindowKind::Sliding { size }, WindowState::Sliding(sliding)) => {
                    sliding.end(index, at, *size, aggregates, held, &mut ended);
                }
                (WindowKind::Session { .. }, WindowState::Session(sessions)) => {
                    while sessions.deadlines.first().is_some_and(|(due, _)| *due <= at) {
                        let Some((_, key)) = sessions.deadlines.pop_first() else {
                            break;
                        };
                        if let Some(session) = sessions.sessions.remove(&key) {
                            held.give(Share::group(GROUP_BYTES + key.len()));
                            let place = (index, Some(session.start), key.as_slice());
                            end(session.groups, place, aggregates, held, &mut ended);
                        }
                    }
                }
                (WindowKind::Snapshot, WindowState::Snapshot(groups)) => {
                    let groups = std::mem::take(groups);
                    end(groups, (index, None, &[]), aggregates, held, &mut ended);
                }
                _ => unreachable!("the state was made from the same plan"),
            }
        }
        ended
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        for window in &self.windows {
            match window {
                WindowState::Hopping(ends) => writer.list(ends.iter(), |writer, (end, groups)| {
                    writer.signed(*end);
                    write_groups(writer, groups);
                }),
                WindowState::Sliding(sliding) => sliding.write(writer),
                WindowState::Session(sessions) => {
                    writer.list(sessions.sessions.iter(), |writer, (key, session)| {
                        writer.slice(key);
                        writer.signed(session.start);
                        writer.signed(session.deadline);
                        write_groups(writer, &session.groups);
                    });
                }
                // Between two instants it is empty.
                WindowState::Snapshot(_) => {}
            }
        }
    }

    pub(crate) fn read(&mut self, grouping: &Grouping, reader: &mut Reader<'_>) -> Read<()> {
        for window in &mut self.windows {
            match window {
                WindowState::Hopping(ends) => {
                    let read = reader.list(|reader| Ok((reader.ticks()?, read_groups(grouping, reader)?)))?;
                    ends.extend(read);
                }
                WindowState::Sliding(sliding) => sliding.read(grouping, reader)?,
                WindowState::Session(sessions) => {
                    let read = reader.list(|reader| {
                        Ok((
                            reader.slice()?.to_vec(),
                            Session {
                                start: reader.ticks()?,
                                deadline: reader.ticks()?,
                                groups: read_groups(grouping, reader)?,
                            },
                        ))
                    })?;
                    for (key, session) in read {
                        sessions.deadlines.insert((session.deadline, key.clone()));
                        sessions.sessions.insert(key, session);
                    }
                }
                WindowState::Snapshot(_) => {}
            }
        }
        Ok(())
    }
}

fn write_groups(writer: &mut Writer, groups: &BTreeMap<Vec<u8>, Group>) {
    writer.list(groups.iter(), |writer, (key, group)| {
        writer.slice(key);
        writer.list(group.keys.iter(), |writer, value| value.write(writer));
        for accumulator in &group.accumulators {
            accumulator.write(writer);
        }
        writer.size(group.bytes);
    });
}

fn read_groups(grouping: &Grouping, reader: &mut Reader<'_>) -> Read<BTreeMap<Vec<u8>, Group>> {
    let groups = reader.list(|reader| {
        Ok((
            reader.slice()?.to_vec(),
            Group {
                keys: exactly(reader.list(Value::read)?, grouping.keys.len())?,
                accumulators: grouping
                    .aggregates
                    .iter()
                    .map(|aggregate| Accumulator::read(aggregate.kind, reader))
                    .collect::<Read<_>>()?,
                bytes: reader.size()?,
            },
        ))
    })?;
    Ok(groups.into_iter().collect())
}

impl Sessions {
    fn add(
        &mut self,
        at: Ticks,
        (timeout, longest): (Ticks, Ticks),
        partition: &[u8],
        row: &Contribution,
        aggregates: &[Aggregate],
        held: &mut Held,
    ) -> Result<(), Failure> {
        let session = match self.sessions.get_mut(partition) {
            Some(session) => {
                self.deadlines.remove(&(session.deadline, partition.to_vec()));
                session
            }
            None => {
                held.take(Share::group(GROUP_BYTES + partition.len()))?;
                self.sessions.entry(partition.to_vec()).or_insert(Session {
                    start: at,
                    deadline: at,
                    groups: BTreeMap::new(),
                })
            }
        };
        // Lengths are looked at when a multiple of the longest passes, not when a session reaches it.
        let cut = ceiling(session.start + longest, longest, 0);
        session.deadline = (at + timeout).min(cut);
        self.deadlines.insert((session.deadline, partition.to_vec()));
        add_to(&mut session.groups, row, aggregates, held)
    }
}

impl Sliding {
    fn add(
        &mut self,
        at: Ticks,
        size: Ticks,
        row: &Contribution,
        aggregates: &[Aggregate],
        held: &mut Held,
    ) -> Result<(), Failure> {
        if !self.groups.contains_key(&row.key) {
            let bytes = GROUP_BYTES
                + row.key.len()
                + row.keys.iter().map(Value::memory).sum::<usize>()
                + 2 * aggregates.len() * size_of::<Accumulator>();
            held.take(Share::group(bytes))?;
            let group = SlidingGroup {
                keys: row.keys.clone(),
                rows: VecDeque::new(),
                front: Vec::new(),
                back: accumulators(aggregates),
                bytes,
            };
            self.groups.insert(row.key.clone(), group);
        }
        let Some(group) = self.groups.get_mut(&row.key) else {
            return Ok(());
        };
        let bytes = 64
            + row.key.len()
            + row.given.iter().flatten().map(|sample| sample.memory()).sum::<usize>()
            + aggregates.len() * size_of::<Accumulator>();
        held.take(Share::event(bytes))?;
        if mergeable(aggregates) {
            add(&mut group.back, aggregates, &row.given);
        }
        group.rows.push_back((at, row.given.clone(), bytes));
        self.leaving.entry(at + size).or_default().insert(row.key.clone());
        self.entered.insert(row.key.clone());
        Ok(())
    }

    fn end(
        &mut self,
        window: usize,
        at: Ticks,
        size: Ticks,
        aggregates: &[Aggregate],
        held: &mut Held,
        ended: &mut Vec<Ended>,
    ) {
        let mut changed = std::mem::take(&mut self.entered);
        while let Some(first) = self.leaving.first_entry().filter(|first| *first.key() <= at) {
            changed.extend(first.remove());
        }
        for key in changed {
            let Some(group) = self.groups.get_mut(&key) else {
                continue;
            };
            while let Some((entered, _, bytes)) = group.rows.front()
                && entered + size <= at
            {
                held.give(Share::event(*bytes));
                group.pop(aggregates);
            }
            if group.rows.is_empty() {
                held.give(Share::group(group.bytes));
                self.groups.remove(&key);
                continue;
            }
            ended.push(Ended {
                window,
                start: Some(at - size),
                keys: group.keys.clone(),
                values: values(&group.total(aggregates), aggregates),
                key,
            });
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.list(self.groups.iter(), |writer, (key, group)| {
            writer.slice(key);
            writer.list(group.keys.iter(), |writer, value| value.write(writer));
            writer.list(group.rows.iter(), |writer, (at, given, bytes)| {
                writer.signed(*at);
                for given in given {
                    write_given(writer, given);
                }
                writer.size(*bytes);
            });
            writer.size(group.front.len());
            writer.size(group.bytes);
        });
        writer.list(self.leaving.iter(), |writer, (at, keys)| {
            writer.signed(*at);
            writer.list(keys.iter(), |writer, key| writer.slice(key));
        });
    }

    fn read(&mut self, grouping: &Grouping, reader: &mut Reader<'_>) -> Read<()> {
        let aggregates = grouping.aggregates.as_slice();
        let groups = reader.list(|reader| {
            let key = reader.slice()?.to_vec();
            let keys = exactly(reader.list(Value::read)?, grouping.keys.len())?;
            let rows = reader.list(|reader| {
                let at = reader.ticks()?;
                let given = aggregates.iter().map(|_| read_given(reader)).collect::<Read<Vec<_>>>()?;
                Ok((at, given, reader.size()?))
            })?;
            let front = reader.size()?;
            let bytes = reader.size()?;
            if front > rows.len() {
                return Err(CheckpointError::Damaged);
            }
            let mut group =
                SlidingGroup { keys, rows: rows.into(), front: Vec::new(), back: accumulators(aggregates), bytes };
            if mergeable(aggregates) {
                group.flip(front, aggregates);
                for (_, given, _) in group.rows.iter().skip(front) {
                    add(&mut group.back, aggregates, given);
                }
            }
            Ok((key, group))
        })?;
        self.groups = groups.into_iter().collect();
        let leaving = reader.list(|reader| {
            let at = reader.ticks()?;
            let keys = reader.list(|reader| Ok(reader.slice()?.to_vec()))?;
            Ok((at, keys.into_iter().collect()))
        })?;
        self.leaving = leaving.into_iter().collect();
        Ok(())
    }
}

/// Whether all of these stay small and can be merged; else they are made anew from the rows.
fn mergeable(aggregates: &[Aggregate]) -> bool {
    aggregates.iter().all(|aggregate| Accumulator::is_constant(aggregate.kind))
}

impl SlidingGroup {
    /// Makes `front` of the oldest rows.
    fn flip(&mut self, count: usize, aggregates: &[Aggregate]) {
        for (_, given, _) in self.rows.iter().take(count).rev() {
            let mut total = accumulators(aggregates);
            add(&mut total, aggregates, given);
            if let Some(later) = self.front.last() {
                merge(&mut total, aggregates, later);
            }
            self.front.push(total);
        }
    }

    fn pop(&mut self, aggregates: &[Aggregate]) {
        if mergeable(aggregates) {
            if self.front.is_empty() {
                self.flip(self.rows.len(), aggregates);
                self.back = accumulators(aggregates);
            }
            self.front.pop();
        }
        self.rows.pop_front();
    }

    fn total(&self, aggregates: &[Aggregate]) -> Vec<Accumulator> {
        if !mergeable(aggregates) {
            let mut total = accumulators(aggregates);
            for (_, given, _) in &self.rows {
                add(&mut total, aggregates, given);
            }
            return total;
        }
        match self.front.last() {
            Some(front) => {
                let mut total = front.clone();
                merge(&mut total, aggregates, &self.back);
                total
            }
            None => self.back.clone(),
        }
    }
}

fn merge(into: &mut [Accumulator], aggregates: &[Aggregate], later: &[Accumulator]) {
    for ((accumulator, aggregate), later) in into.iter_mut().zip(aggregates).zip(later) {
        accumulator.merge(aggregate, later);
    }
}
