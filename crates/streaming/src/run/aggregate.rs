//! Aggregates: what they remember of the values given to them.
//!
//! The sums of whole numbers are exact, those of floats are compensated, so that a large value that comes and
//! goes does not take the small ones with it. What is constant in size can be merged, which sliding windows use.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::codec::{Read, Reader, Writer};
use crate::error::CheckpointError;
use crate::expr::Env;
use crate::plan::{Aggregate, AggregateKind, Item};
use crate::value::Value;

/// What one event gives to one aggregate; nothing when FILTER leaves it out or it is null.
pub(crate) type Given = Option<Sample>;

/// A value with what it is ordered by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub value: Value,
    pub order: Vec<Value>,
}

impl Sample {
    pub(crate) fn memory(&self) -> usize {
        self.value.memory() + self.order.iter().map(Value::memory).sum::<usize>() + 24
    }
}

/// What an event gives to an aggregate. What does not fit it is an error of the event.
pub(crate) fn sample(aggregate: &Aggregate, env: &Env<'_>) -> Result<Given, String> {
    use AggregateKind::{Average, Deviation, Percentile, Sum, Variance};
    if let Some(filter) = &aggregate.filter
        && !filter.holds(env)?
    {
        return Ok(None);
    }
    let value = match &aggregate.value {
        Some(value) => value.evaluate(env)?,
        None if aggregate.kind == AggregateKind::Count => Value::Bit(true),
        None => {
            let all = Item::All((0..env.slots.len()).collect());
            Value::record(super::node::columns(&[all], env)?)
        }
    };
    if value.is_null() && aggregate.kind != AggregateKind::Collect {
        return Ok(None);
    }
    let numeric = matches!(aggregate.kind, Sum | Average | Deviation { .. } | Variance { .. } | Percentile { .. });
    if numeric && value.number().is_none() {
        return Err(format!("no arithmetic with {}", value.kind().unwrap_or("null")));
    }
    let mut order = Vec::new();
    if !matches!(aggregate.kind, Percentile { .. }) {
        for (key, _) in &aggregate.order {
            order.push(key.evaluate(env)?);
        }
    }
    Ok(Some(Sample { value, order }))
}

/// What an aggregate remembers.
#[derive(Debug, Clone)]
pub(crate) enum Accumulator {
    Count(i64),
    Distinct(BTreeSet<Vec<u8>>),
    Sum(Sum),
    Extreme(Option<Value>),
    Moments(Moments),
    Top(Option<Sample>),
    Many(Vec<Sample>),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Sum {
    count: i64,
    whole: i128,
    float: f64,
    /// What rounding took from `float`.
    lost: f64,
    floats: bool,
}

impl Sum {
    fn add(&mut self, number: f64) {
        let sum = self.float + number;
        self.lost +=
            if self.float.abs() >= number.abs() { (self.float - sum) + number } else { (number - sum) + self.float };
        self.float = sum;
    }

    fn float(&self) -> f64 {
        self.float + self.lost + self.whole as f64
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Accumulator {
    pub(crate) fn new(kind: AggregateKind) -> Accumulator {
        match kind {
            AggregateKind::Count => Accumulator::Count(0),
            AggregateKind::CountDistinct => Accumulator::Distinct(BTreeSet::new()),
            AggregateKind::Sum | AggregateKind::Average => Accumulator::Sum(Sum::default()),
            AggregateKind::Min | AggregateKind::Max => Accumulator::Extreme(None),
            AggregateKind::Deviation { .. } | AggregateKind::Variance { .. } => {
                Accumulator::Moments(Moments::default())
            }
            AggregateKind::TopOne => Accumulator::Top(None),
            AggregateKind::Collect | AggregateKind::CollectTop(_) | AggregateKind::Percentile { .. } => {
                Accumulator::Many(Vec::new())
            }
        }
    }

    /// Whether it stays small and can be merged.
    pub(crate) fn is_constant(kind: AggregateKind) -> bool {
        !matches!(Accumulator::new(kind), Accumulator::Distinct(_) | Accumulator::Many(_))
    }

    /// Adds a value, and says by how many bytes this has grown.
    pub(crate) fn add(&mut self, aggregate: &Aggregate, given: &Given) -> usize {
        let Some(sample) = given else {
            return 0;
        };
        match self {
            Accumulator::Count(count) => *count = count.saturating_add(1),
            Accumulator::Distinct(seen) => {
                let key = sample.value.key();
                let bytes = key.len() + 48;
                return if seen.insert(key) { bytes } else { 0 };
            }
            Accumulator::Sum(sum) => {
                sum.count = sum.count.saturating_add(1);
                match &sample.value {
                    Value::Bigint(number) => sum.whole = sum.whole.saturating_add((*number).into()),
                    other => {
                        sum.floats = true;
                        sum.add(other.number().unwrap_or(0.0));
                    }
                }
            }
            Accumulator::Extreme(held) => {
                let wanted = match aggregate.kind {
                    AggregateKind::Min => Ordering::Less,
                    _ => Ordering::Greater,
                };
                let better = match held {
                    Some(held) => sample.value.order(held) == wanted,
                    None => true,
                };
                if better {
                    let before = held.as_ref().map_or(0, Value::memory);
                    *held = Some(sample.value.clone());
                    return sample.value.memory().saturating_sub(before);
                }
            }
            Accumulator::Moments(moments) => {
                let number = sample.value.number().unwrap_or(0.0);
                moments.count += 1.0;
                let delta = number - moments.mean;
                moments.mean += delta / moments.count;
                moments.squares += delta * (number - moments.mean);
            }
            Accumulator::Top(held) => {
                let better = match held {
                    Some(held) => before(aggregate, sample, held),
                    None => true,
                };
                if better {
                    let old = held.as_ref().map_or(0, Sample::memory);
                    *held = Some(sample.clone());
                    return sample.memory().saturating_sub(old);
                }
            }
            Accumulator::Many(held) => {
                if let AggregateKind::CollectTop(most) = aggregate.kind {
                    let place = held.partition_point(|other| !before(aggregate, sample, other));
                    if place >= most {
                        return 0;
                    }
                    held.insert(place, sample.clone());
                    let dropped = if held.len() > most { held.pop() } else { None };
                    let dropped = dropped.as_ref().map_or(0, Sample::memory);
                    return sample.memory().saturating_sub(dropped);
                }
                held.push(sample.clone());
                return sample.memory();
            }
        }
        0
    }

    /// Adds what a later one remembers. Only of those that are constant in size.
    pub(crate) fn merge(&mut self, aggregate: &Aggregate, later: &Accumulator) {
        match (self, later) {
            (Accumulator::Count(count), Accumulator::Count(more)) => *count += more,
            (Accumulator::Sum(sum), Accumulator::Sum(more)) => {
                sum.count += more.count;
                sum.whole += more.whole;
                sum.floats |= more.floats;
                sum.add(more.float);
                sum.lost += more.lost;
            }
            (Accumulator::Moments(moments), Accumulator::Moments(more)) => {
                let count = moments.count + more.count;
                if more.count > 0.0 {
                    let delta = more.mean - moments.mean;
                    moments.mean += delta * more.count / count;
                    moments.squares += more.squares + delta * delta * moments.count * more.count / count;
                    moments.count = count;
                }
            }
            (this @ Accumulator::Extreme(_), Accumulator::Extreme(Some(value))) => {
                let given = Some(Sample { value: value.clone(), order: Vec::new() });
                this.add(aggregate, &given);
            }
            (this @ Accumulator::Top(_), Accumulator::Top(given @ Some(_))) => {
                this.add(aggregate, given);
            }
            _ => {}
        }
    }

    /// The value of the aggregate.
    pub(crate) fn value(&self, aggregate: &Aggregate) -> Value {
        let float = |number: f64| {
            if number.is_finite() { Value::Float(number) } else { Value::Null }
        };
        match self {
            Accumulator::Count(count) => Value::Bigint(*count),
            Accumulator::Distinct(seen) => Value::Bigint(seen.len() as i64),
            Accumulator::Sum(sum) if sum.count == 0 => Value::Null,
            Accumulator::Sum(sum) if aggregate.kind == AggregateKind::Average => float(sum.float() / sum.count as f64),
            Accumulator::Sum(sum) => match i64::try_from(sum.whole) {
                Ok(whole) if !sum.floats => Value::Bigint(whole),
                _ => float(sum.float()),
            },
            Accumulator::Extreme(held) => held.clone().unwrap_or(Value::Null),
            Accumulator::Moments(moments) => {
                let population = matches!(
                    aggregate.kind,
                    AggregateKind::Deviation { population: true } | AggregateKind::Variance { population: true }
                );
                let of = moments.count - if population { 0.0 } else { 1.0 };
                if of <= 0.0 {
                    return Value::Null;
                }
                let variance = (moments.squares / of).max(0.0);
                match aggregate.kind {
                    AggregateKind::Deviation { .. } => float(variance.sqrt()),
                    _ => float(variance),
                }
            }
            Accumulator::Top(held) => held.as_ref().map_or(Value::Null, |held| held.value.clone()),
            Accumulator::Many(held) => match aggregate.kind {
                AggregateKind::Percentile { at, continuous } => {
                    let descending = aggregate.order.first().is_some_and(|(_, down)| *down);
                    percentile(held, at, continuous, descending)
                }
                _ => Value::Array(held.iter().map(|sample| sample.value.clone()).collect()),
            },
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Accumulator::Count(count) => writer.signed(*count),
            Accumulator::Distinct(seen) => {
                writer.list(seen.iter(), |writer, key| writer.slice(key));
            }
            Accumulator::Sum(sum) => {
                writer.signed(sum.count);
                writer.wide(sum.whole as u128);
                writer.float(sum.float);
                writer.float(sum.lost);
                writer.flag(sum.floats);
            }
            Accumulator::Extreme(held) => {
                writer.flag(held.is_some());
                if let Some(held) = held {
                    held.write(writer);
                }
            }
            Accumulator::Moments(moments) => {
                writer.float(moments.count);
                writer.float(moments.mean);
                writer.float(moments.squares);
            }
            Accumulator::Top(held) => write_given(writer, held),
            Accumulator::Many(held) => {
                writer.list(held.iter(), write_sample);
            }
        }
    }

    pub(crate) fn read(kind: AggregateKind, reader: &mut Reader<'_>) -> Read<Accumulator> {
        Ok(match Accumulator::new(kind) {
            Accumulator::Count(_) => Accumulator::Count(reader.signed()?),
            Accumulator::Distinct(_) => {
                Accumulator::Distinct(reader.list(|reader| Ok(reader.slice()?.to_vec()))?.into_iter().collect())
            }
            Accumulator::Sum(_) => Accumulator::Sum(Sum {
                count: reader.signed()?,
                whole: reader.wide()? as i128,
                float: reader.float()?,
                lost: reader.float()?,
                floats: reader.flag()?,
            }),
            Accumulator::Extreme(_) => {
                Accumulator::Extreme(if reader.flag()? { Some(Value::read(reader)?) } else { None })
            }
            Accumulator::Moments(_) => Accumulator::Moments(Moments {
                count: reader.float()?,
                mean: reader.float()?,
                squares: reader.float()?,
            }),
            Accumulator::Top(_) => Accumulator::Top(read_given(reader)?),
            Accumulator::Many(_) => Accumulator::Many(reader.list(read_sample)?),
        })
    }
}

fn write_sample(writer: &mut Writer, sample: &Sample) {
    sample.value.write(writer);
    writer.list(sample.order.iter(), |writer, key| key.write(writer));
}

fn read_sample(reader: &mut Reader<'_>) -> Read<Sample> {
    Ok(Sample { value: Value::read(reader)?, order: reader.list(Value::read)? })
}

pub(crate) fn write_given(writer: &mut Writer, given: &Given) {
    writer.flag(given.is_some());
    if let Some(sample) = given {
        write_sample(writer, sample);
    }
}

pub(crate) fn read_given(reader: &mut Reader<'_>) -> Read<Given> {
    if reader.flag()? { read_sample(reader).map(Some) } else { Ok(None) }
}

/// As many of each as the plan says, or the checkpoint is damaged.
pub(crate) fn exactly<T>(items: Vec<T>, count: usize) -> Read<Vec<T>> {
    if items.len() == count { Ok(items) } else { Err(CheckpointError::Damaged) }
}

/// Whether one sample comes before another that was there first: ties stay as they came.
fn before(aggregate: &Aggregate, one: &Sample, other: &Sample) -> bool {
    for ((_, descending), (left, right)) in aggregate.order.iter().zip(one.order.iter().zip(&other.order)) {
        let order = if *descending { right.order(left) } else { left.order(right) };
        match order {
            Ordering::Equal => {}
            order => return order == Ordering::Less,
        }
    }
    false
}

fn percentile(held: &[Sample], at: f64, continuous: bool, descending: bool) -> Value {
    let mut values: Vec<&Value> = held.iter().map(|sample| &sample.value).collect();
    values.sort_by(|left, right| left.order(right));
    if descending {
        values.reverse();
    }
    let Some(last) = values.len().checked_sub(1) else {
        return Value::Null;
    };
    if !continuous {
        // The first value whose cumulative distribution reaches the part.
        let place = (at * values.len() as f64).ceil() as usize;
        return values[place.saturating_sub(1).min(last)].clone();
    }
    let place = at * last as f64;
    let below = place.floor() as usize;
    let low = values[below.min(last)].number().unwrap_or(0.0);
    let high = values[(below + 1).min(last)].number().unwrap_or(0.0);
    Value::Float(low + (high - low) * (place - below as f64))
}
