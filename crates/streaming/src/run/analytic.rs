//! Functions that look back over the rows before: LAG, LAST, ISFIRST, and the anomaly functions.
//!
//! State is kept for each partition and forgotten when LIMIT DURATION has passed since its newest row: a row
//! at `t` sees rows of `(t - duration, t]`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::held::{Held, Share};
use crate::anomaly::{Change, History};
use crate::codec::{Read, Reader, Writer};
use crate::error::Failure;
use crate::expr::Env;
use crate::plan::{Analytic, AnalyticKind};
use crate::time::Ticks;
use crate::value::Value;

/// Bytes of a partition beside the values it holds.
const PARTITION_BYTES: usize = 160;

/// One call, over all partitions.
#[derive(Default)]
pub(crate) struct Calls {
    partitions: BTreeMap<Vec<u8>, Partition>,
    expiry: BTreeSet<(Ticks, Vec<u8>)>,
}

struct Partition {
    expires: Ticks,
    bytes: usize,
    state: State,
}

enum State {
    Recent(VecDeque<(Ticks, Value)>),
    Interval(Ticks),
    History(History),
    Change(Change),
}

impl State {
    fn new(kind: &AnalyticKind) -> State {
        match kind {
            AnalyticKind::Lag { .. } | AnalyticKind::Last { .. } => State::Recent(VecDeque::new()),
            AnalyticKind::IsFirst { .. } => State::Interval(Ticks::MIN),
            AnalyticKind::SpikeAndDip { .. } => State::History(History::default()),
            AnalyticKind::ChangePoint { .. } => State::Change(Change::default()),
        }
    }

    fn memory(&self) -> usize {
        match self {
            State::Recent(rows) => rows.iter().map(|(_, value)| value.memory() + 8).sum(),
            State::Interval(_) => 0,
            State::History(history) => history.memory(),
            State::Change(change) => change.memory(),
        }
    }
}

/// What a call needs of a row, evaluated before anything is changed.
struct Wanted {
    key: Vec<u8>,
    value: Value,
    default: Value,
    counts: bool,
}

fn wanted(call: &Analytic, env: &Env<'_>) -> Result<Wanted, String> {
    let mut writer = Writer::default();
    for key in &call.partition {
        key.evaluate(env)?.write_key(&mut writer);
    }
    let counts = match &call.when {
        Some(when) => when.holds(env)?,
        None => true,
    };
    let mut default = Value::Null;
    let value = match &call.kind {
        AnalyticKind::Lag { value, default: other, .. } => {
            if let Some(other) = other {
                default = other.evaluate(env)?;
            }
            value.evaluate(env)?
        }
        AnalyticKind::IsFirst { .. } => Value::Null,
        AnalyticKind::Last { value } if counts => value.evaluate(env)?,
        AnalyticKind::SpikeAndDip { value, .. } | AnalyticKind::ChangePoint { value, .. } if counts => {
            let value = value.evaluate(env)?;
            if !value.is_null() && value.number().is_none() {
                return Err(format!("no anomalies of {}", value.kind().unwrap_or("null")));
            }
            value
        }
        _ => Value::Null,
    };
    Ok(Wanted { key: writer.bytes, value, default, counts })
}

/// The values of all calls for a row, each of which then remembers it. When the row is in error none does.
pub(crate) fn evaluate(
    calls: &[Analytic],
    states: &mut [Calls],
    env: &Env<'_>,
    held: &mut Held,
) -> Result<Result<Vec<Value>, String>, Failure> {
    let mut all = Vec::with_capacity(calls.len());
    for call in calls {
        match wanted(call, env) {
            Ok(wanted) => all.push(wanted),
            Err(error) => return Ok(Err(error)),
        }
    }
    let mut values = Vec::with_capacity(calls.len());
    for ((call, state), wanted) in calls.iter().zip(states).zip(all) {
        values.push(state.row(call, env.timestamp, wanted, held)?);
    }
    Ok(Ok(values))
}

impl Calls {
    fn row(&mut self, call: &Analytic, at: Ticks, wanted: Wanted, held: &mut Held) -> Result<Value, Failure> {
        self.expire(at, held);
        if !wanted.counts && !self.partitions.contains_key(&wanted.key) {
            return Ok(match &call.kind {
                AnalyticKind::IsFirst { .. } => Value::Bigint(0),
                _ => wanted.default,
            });
        }
        if !self.partitions.contains_key(&wanted.key) {
            held.take(Share::group(PARTITION_BYTES + 2 * wanted.key.len()))?;
            self.partitions
                .insert(wanted.key.clone(), Partition { expires: Ticks::MIN, bytes: 0, state: State::new(&call.kind) });
        }
        let Some(partition) = self.partitions.get_mut(&wanted.key) else {
            return Ok(Value::Null);
        };
        let value = partition.row(call, at, &wanted);
        if wanted.counts {
            self.expiry.remove(&(partition.expires, wanted.key.clone()));
            partition.expires = match (&partition.state, &call.kind) {
                (State::Interval(end), _) => *end,
                _ => at + call.limit,
            };
            self.expiry.insert((partition.expires, wanted.key));
        }
        let bytes = partition.state.memory();
        held.give(Share::bytes(partition.bytes));
        partition.bytes = bytes;
        held.take(Share::bytes(bytes))?;
        Ok(value)
    }

    fn expire(&mut self, at: Ticks, held: &mut Held) {
        // An interval ends with its last instant, a duration before it.
        let over = |expires: Ticks, state: &State| match state {
            State::Interval(_) => expires < at,
            _ => expires <= at,
        };
        while let Some((expires, key)) = self.expiry.first() {
            let past = self.partitions.get(key).is_none_or(|partition| over(*expires, &partition.state));
            if !past {
                return;
            }
            if let Some((_, key)) = self.expiry.pop_first()
                && let Some(partition) = self.partitions.remove(&key)
            {
                held.give(Share::group(PARTITION_BYTES + 2 * key.len()));
                held.give(Share::bytes(partition.bytes));
            }
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.list(self.partitions.iter(), |writer, (key, partition)| {
            writer.slice(key);
            writer.signed(partition.expires);
            writer.size(partition.bytes);
            match &partition.state {
                State::Recent(rows) => writer.list(rows.iter(), |writer, (at, value)| {
                    writer.signed(*at);
                    value.write(writer);
                }),
                State::Interval(end) => writer.signed(*end),
                State::History(history) => history.write(writer),
                State::Change(change) => change.write(writer),
            }
        });
    }

    pub(crate) fn read(call: &Analytic, reader: &mut Reader<'_>) -> Read<Calls> {
        let mut calls = Calls::default();
        let partitions = reader.list(|reader| {
            let key = reader.slice()?.to_vec();
            let expires = reader.ticks()?;
            let bytes = reader.size()?;
            let state = match State::new(&call.kind) {
                State::Recent(_) => {
                    State::Recent(reader.list(|reader| Ok((reader.ticks()?, Value::read(reader)?)))?.into())
                }
                State::Interval(_) => State::Interval(reader.ticks()?),
                State::History(_) => State::History(History::read(reader)?),
                State::Change(_) => State::Change(Change::read(reader)?),
            };
            Ok((key, Partition { expires, bytes, state }))
        })?;
        for (key, partition) in partitions {
            calls.expiry.insert((partition.expires, key.clone()));
            calls.partitions.insert(key, partition);
        }
        Ok(calls)
    }
}

impl Partition {
    fn row(&mut self, call: &Analytic, at: Ticks, wanted: &Wanted) -> Value {
        let since = at - call.limit;
        match (&call.kind, &mut self.state) {
            (AnalyticKind::Lag { offset, .. }, State::Recent(rows)) => {
                while rows.front().is_some_and(|(entered, _)| *entered <= since) {
                    rows.pop_front();
                }
                let found = rows.len().checked_sub(*offset).and_then(|place| rows.get(place));
                let value = found.map_or(&wanted.default, |(_, value)| value).clone();
                if wanted.counts {
                    rows.push_back((at, wanted.value.clone()));
                    if rows.len() > *offset {
                        rows.pop_front();
                    }
                }
                value
            }
            (AnalyticKind::Last { .. }, State::Recent(rows)) => {
                if wanted.counts {
                    rows.clear();
                    rows.push_back((at, wanted.value.clone()));
                }
                let last = rows.back().filter(|(entered, _)| *entered > since);
                last.map_or(Value::Null, |(_, value)| value.clone())
            }
            (AnalyticKind::IsFirst { interval }, State::Interval(end)) => {
                let first = wanted.counts && *end < at;
                if first {
                    *end = at + (-at).rem_euclid(*interval);
                }
                Value::Bigint(first.into())
            }
            (AnalyticKind::SpikeAndDip { confidence, history: size, mode, .. }, State::History(history)) => {
                match wanted.value.number() {
                    Some(number) => {
                        history.forget(since);
                        let value = history.judge(number, *confidence, *size, *mode);
                        history.learn(at, number, *size);
                        value
                    }
                    None => Value::Null,
                }
            }
            (AnalyticKind::ChangePoint { confidence, history: size, .. }, State::Change(change)) => {
                match wanted.value.number() {
                    Some(number) => change.judge((at, since), number, *confidence, *size),
                    None => Value::Null,
                }
            }
            _ => unreachable!("the state was made from the same plan"),
        }
    }
}
