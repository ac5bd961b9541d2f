//! A job that runs: events in, rows out.
//!
//! Events wait in their sources until time has passed them, then the job goes from instant to instant: at
//! each, all rows of that instant go through the queries in the order of the text, and windows that end then
//! are closed after them. So a query that reads another sees its rows at their time, with all others of it.
//!
//! What comes out depends on the events of each partition in their order, their times and their arrivals, and
//! on nothing else: not on how partitions interleave, not on when [`Running::advance`] is called, not on
//! whether the job was saved and restored in between.

mod aggregate;
mod analytic;
mod group;
mod held;
mod join;
mod node;
mod source;

use std::sync::Arc;

pub use source::Counts;

use crate::codec::{Hash, Reader, Writer};
use crate::error::{CheckpointError, Failure};
use crate::job::{InputKind, Job};
use crate::plan::Consumer;
use crate::row::Row;
use crate::time::{END, Ticks};
use crate::value::{Record, Value};
use held::Held;
use node::{Context, Faults, NodeState};
use source::SourceState;

/// Version of checkpoints written here.
///
/// A checkpoint is a byte of version, 16 bytes that tell the job from others (its text and settings), the
/// state, and a CRC-32 of all of this. The state is what [`Running::save`] writes, in its order; integers are
/// LEB128, signed ones zigzag, floats their bits, texts and lists begin with their length.
const VERSION: u8 = 1;

/// An event of an input.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// The name of the input.
    pub input: &'a str,
    /// Its partition, from 0.
    pub partition: u32,
    /// Its place in the partition: the same whenever it is read.
    pub sequence: u64,
    /// When it arrived.
    pub arrival: Ticks,
    /// A record, or an array of records, each of which is an event.
    pub body: Value,
    /// Columns that the platform vouches for, in place of those of the body that have their names.
    pub system: Vec<(Arc<str>, Value)>,
    /// Properties that the sender attached.
    pub user: Option<Arc<Value>>,
}

/// A row that a job gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The output it is for.
    pub output: Arc<str>,
    /// Its time: of an event, or the end of its window.
    pub timestamp: Ticks,
    /// The same whenever the same events make this row, and of no other row of the job: a sink that has it
    /// already need not write it again.
    pub identity: u128,
    /// Its columns.
    pub row: Arc<Record>,
}

/// A job with its state.
pub struct Running {
    job: Arc<Job>,
    sources: Vec<SourceState>,
    nodes: Vec<NodeState>,
    held: Held,
    faults: Faults,
    counts: Counts,
}

impl Running {
    /// A job that has seen nothing.
    pub fn new(job: &Arc<Job>) -> Running {
        let settings = &job.settings;
        let partitions = |input: usize| match settings.inputs[input].kind {
            InputKind::Stream { partitions } => partitions,
            InputKind::Reference(_) => 0,
        };
        Running {
            sources: job.plan.sources.iter().map(|source| SourceState::new(partitions(source.input))).collect(),
            nodes: job.plan.nodes.iter().map(|node| NodeState::new(node, settings)).collect(),
            held: Held::new(settings.limits),
            faults: Faults { on_error: settings.on_error, count: 0, last: None },
            counts: Counts::default(),
            job: job.clone(),
        }
    }

    /// Takes an event, and gives the rows that are certain now.
    pub fn push(&mut self, event: Event<'_>, out: &mut Vec<Output>) -> Result<(), Failure> {
        let job = self.job.clone();
        let input = self.input(&job, event.input, event.partition)?;
        let identity =
            Hash::new().number(input as i64).number(i64::from(event.partition)).number(event.sequence as i64);
        let bodies = match &event.body {
            Value::Array(items) => items.to_vec(),
            _ => vec![event.body],
        };
        for (index, body) in bodies.into_iter().enumerate() {
            let Value::Record(record) = body else {
                self.counts.malformed += 1;
                continue;
            };
            let row = Row {
                timestamp: event.arrival.clamp(0, END - 1),
                identity: identity.number(index as i64).0,
                value: with_system(record, &event.system),
                user: event.user.clone(),
            };
            for (source, state) in job.plan.sources.iter().zip(&mut self.sources) {
                if source.input == input {
                    state.push(
                        source,
                        &job.settings,
                        event.partition,
                        row.clone(),
                        (&mut self.held, &mut self.faults, &mut self.counts),
                    )?;
                }
            }
        }
        self.run(out)
    }

    /// Says that every event of a partition that arrived before `now` has been pushed, so that a quiet input
    /// does not hold time up.
    pub fn advance(&mut self, input: &str, partition: u32, now: Ticks, out: &mut Vec<Output>) -> Result<(), Failure> {
        let job = self.job.clone();
        let now = now.clamp(0, END - 1);
        let input = self.input(&job, input, partition)?;
        for (source, state) in job.plan.sources.iter().zip(&mut self.sources) {
            if source.input == input {
                state.advance(source, &job.settings, partition, now, &mut self.held);
            }
        }
        self.run(out)
    }

    /// Says that no event will come any more: everything that waits is given.
    pub fn finish(&mut self, out: &mut Vec<Output>) -> Result<(), Failure> {
        for source in &mut self.sources {
            source.finish();
        }
        self.run(out)
    }

    /// Exchanges the rows of reference data: instants from here on are joined with these.
    pub fn refer(&mut self, input: &str, rows: &[Value]) -> Result<(), Failure> {
        let inputs = &self.job.settings.inputs;
        let found = inputs.iter().position(|known| known.name.eq_ignore_ascii_case(input));
        let is_reference = |at: &usize| matches!(inputs[*at].kind, InputKind::Reference(_));
        let Some(at) = found.filter(is_reference) else {
            return Err(Failure::UnknownInput(input.to_owned()));
        };
        for (node, state) in self.job.plan.nodes.iter().zip(&mut self.nodes) {
            state.refer(node, at, rows);
        }
        Ok(())
    }

    /// How far time has come: no row with an earlier time will be given.
    pub fn watermark(&self) -> Ticks {
        let all = self.sources.iter().map(SourceState::watermark);
        all.min().unwrap_or(Ticks::MAX)
    }

    /// What became of events that were not taken as they came.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many events could not be evaluated, and what was wrong with the newest of them.
    pub fn faults(&self) -> (u64, Option<&str>) {
        (self.faults.count, self.faults.last.as_deref())
    }

    /// What is held: events, groups, and bytes, about.
    pub fn held(&self) -> (usize, usize, usize) {
        self.held.usage()
    }

    fn input(&self, job: &Job, name: &str, partition: u32) -> Result<usize, Failure> {
        let inputs = &job.settings.inputs;
        let found = inputs.iter().position(|input| input.name.eq_ignore_ascii_case(name));
        match found.map(|found| (found, &inputs[found].kind)) {
            Some((_, InputKind::Stream { partitions })) if partition >= *partitions => {
                Err(Failure::UnknownPartition { input: name.to_owned(), partition, count: *partitions })
            }
            Some((found, InputKind::Stream { .. })) => Ok(found),
            _ => Err(Failure::UnknownInput(name.to_owned())),
        }
    }

    /// Goes from instant to instant, as far as time has come.
    fn run(&mut self, out: &mut Vec<Output>) -> Result<(), Failure> {
        let clock = self.watermark();
        let job = self.job.clone();
        let nodes = &job.plan.nodes;
        loop {
            let sources = self.sources.iter().filter_map(SourceState::due);
            let windows = self.nodes.iter().zip(nodes).filter_map(|(state, node)| state.due(node));
            // More events of the instant that time has come to may follow.
            let Some(at) = sources.chain(windows).min().filter(|at| *at < clock) else {
                return Ok(());
            };
            let mut queues: Vec<Vec<(usize, Row)>> = nodes.iter().map(|_| Vec::new()).collect();
            for (source, state) in job.plan.sources.iter().zip(&mut self.sources) {
                while let Some(row) = state.take(at, &mut self.held) {
                    deliver(&mut queues, &source.consumers, &row);
                }
            }
            for (number, node) in nodes.iter().enumerate() {
                let mut context = Context { at, held: &mut self.held, faults: &mut self.faults };
                let rows = std::mem::take(&mut queues[number]);
                for row in self.nodes[number].step((number, node), rows, &mut context)? {
                    deliver(&mut queues, &node.consumers, &row);
                    let Value::Record(record) = &row.value else {
                        continue;
                    };
                    out.extend(node.outputs.iter().map(|output| Output {
                        output: output.clone(),
                        timestamp: row.timestamp,
                        identity: row.identity,
                        row: record.clone(),
                    }));
                }
            }
        }
    }

    /// The state as bytes, from which [`Running::restore`] goes on exactly as this would.
    pub fn save(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(VERSION);
        writer.wide(self.job.fingerprint);
        for source in &self.sources {
            source.write(&mut writer);
        }
        for node in &self.nodes {
            node.write(&mut writer);
        }
        self.held.write(&mut writer);
        let mut counts = self.counts;
        for count in counts.all_mut() {
            writer.unsigned(*count);
        }
        writer.unsigned(self.faults.count);
        writer.slice(self.faults.last.as_deref().unwrap_or_default().as_bytes());
        let check = crc32fast::hash(&writer.bytes);
        writer.bytes.extend_from_slice(&check.to_le_bytes());
        writer.bytes
    }

    /// The job as it was saved.
    pub fn restore(job: &Arc<Job>, bytes: &[u8]) -> Result<Running, CheckpointError> {
        let version = *bytes.first().ok_or(CheckpointError::Damaged)?;
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        let (content, check) = bytes.split_last_chunk::<4>().ok_or(CheckpointError::Damaged)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*check) {
            return Err(CheckpointError::Damaged);
        }
        let mut reader = Reader::new(content);
        reader.byte()?;
        if reader.wide()? != job.fingerprint {
            return Err(CheckpointError::OtherJob);
        }
        let mut running = Running::new(job);
        for source in &mut running.sources {
            source.read(&mut reader)?;
        }
        for (state, node) in running.nodes.iter_mut().zip(&job.plan.nodes) {
            state.read(node, &mut reader)?;
        }
        running.held.read(&mut reader)?;
        for count in running.counts.all_mut() {
            *count = reader.unsigned()?;
        }
        running.faults.count = reader.unsigned()?;
        let last = reader.text()?;
        running.faults.last = (!last.is_empty()).then(|| last.to_owned());
        reader.end()?;
        Ok(running)
    }
}

fn deliver(queues: &mut [Vec<(usize, Row)>], consumers: &[Consumer], row: &Row) {
    for consumer in consumers {
        queues[consumer.node].push((consumer.port, row.clone()));
    }
}

/// A body with the columns that the platform adds, which replace those of the same name.
fn with_system(body: Arc<Record>, system: &[(Arc<str>, Value)]) -> Value {
    if system.is_empty() {
        return Value::Record(body);
    }
    let own = |name: &str| system.iter().any(|(of, _)| of.eq_ignore_ascii_case(name));
    let mut fields: Vec<_> = body.fields.iter().filter(|(name, _)| !own(name)).cloned().collect();
    fields.extend_from_slice(system);
    Value::record(fields)
}
