//! A job: a text with the settings it is checked against.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Hash;
use crate::error::Error;
use crate::plan::{self, Plan};
use crate::value::Value;

/// What a job runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The inputs that a text may name.
    pub inputs: Vec<Input>,
    /// The outputs that a text may name; any when absent.
    pub outputs: Option<Vec<String>>,
    /// Events whose time is older than their arrival by more than this are late. At most 20 days.
    pub late: Tolerance,
    /// Events whose time is older by more than this than the newest before them are out of order. At most
    /// 9 minutes 59 seconds.
    pub out_of_order: Tolerance,
    /// What becomes of an event that cannot be evaluated.
    pub on_error: OnError,
    /// How large the state may become.
    pub limits: Limits,
}

impl Settings {
    /// With the reference's defaults: 5 seconds late, in order, and late events adjusted.
    pub fn new(inputs: Vec<Input>) -> Settings {
        Settings {
            inputs,
            outputs: None,
            late: Tolerance { within: Duration::from_secs(5), beyond: Beyond::Adjust },
            out_of_order: Tolerance { within: Duration::ZERO, beyond: Beyond::Adjust },
            on_error: OnError::Drop,
            limits: Limits::default(),
        }
    }
}

/// An input by its name.
#[derive(Debug, Clone)]
pub struct Input {
    /// What texts call it.
    pub name: String,
    /// What it is.
    pub kind: InputKind,
}

impl Input {
    /// A stream of so many partitions.
    pub fn stream(name: &str, partitions: u32) -> Input {
        Input { name: name.to_owned(), kind: InputKind::Stream { partitions } }
    }

    /// Rows that streams are joined with, as they are at first: [`Running::refer`](crate::Running::refer) exchanges them.
    pub fn reference(name: &str, rows: Vec<Value>) -> Input {
        Input { name: name.to_owned(), kind: InputKind::Reference(rows) }
    }
}

/// What an input is.
#[derive(Debug, Clone)]
pub enum InputKind {
    /// Events, in partitions numbered from 0, each of which is in order of arrival.
    Stream {
        /// How many.
        partitions: u32,
    },
    /// Rows known beforehand.
    Reference(Vec<Value>),
}

/// How much disorder is taken, and what becomes of events beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    /// How much.
    pub within: Duration,
    /// What becomes of the rest.
    pub beyond: Beyond,
}

/// What becomes of an event outside of a tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It gets the oldest time that is within.
    Adjust,
    /// It is dropped, and counted.
    Drop,
}

/// What becomes of an event that cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is dropped, and counted.
    Drop,
    /// The job stops.
    Stop,
}

/// How large the state of a job may become. A job that needs more fails and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events that are held: not yet in order, in sliding windows, waiting to be joined.
    pub events: usize,
    /// Groups of windows, sessions, and partitions of functions with OVER.
    pub groups: usize,
    /// Bytes of all of these, about.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { events: 1_000_000, groups: 1_000_000, bytes: 256 << 20 }
    }
}

/// Longest tolerance of late events.
pub const LATE_MAX: Duration = Duration::from_secs(20 * 24 * 3600);
/// Longest tolerance of events out of order.
pub const OUT_OF_ORDER_MAX: Duration = Duration::from_secs(9 * 60 + 59);

/// A text that was understood, with its settings.
#[derive(Debug)]
pub struct Job {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) fingerprint: u128,
}

impl Job {
    /// Reads a text; an error says where it is wrong.
    pub fn parse(text: &str, settings: &Settings) -> Result<Arc<Job>, Error> {
        let refuse = |message: String| Err(Error { line: 1, column: 1, message });
        if settings.late.within > LATE_MAX {
            return refuse("events may be late by 20 days at most".to_owned());
        }
        if settings.out_of_order.within > OUT_OF_ORDER_MAX {
            return refuse("events may be out of order by 9 minutes 59 seconds at most".to_owned());
        }
        let plan = plan::plan(text, settings)?;
        // Rows of reference data change while a job lasts.
        let mut lasting = settings.clone();
        for input in &mut lasting.inputs {
            if let InputKind::Reference(rows) = &mut input.kind {
                rows.clear();
            }
        }
        let fingerprint = Hash::new().bytes(text.as_bytes()).bytes(format!("{lasting:?}").as_bytes()).0;
        Ok(Arc::new(Job { plan, fingerprint, settings: settings.clone() }))
    }

    /// The streams it reads.
    pub fn inputs(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for source in &self.plan.sources {
            let name = self.settings.inputs[source.input].name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The outputs it writes to, in the order of the text.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.plan.outputs.iter().map(|output| &**output)
    }
}
