//! Windowed queries over streams, in a subset of the SQL of Azure Stream Analytics.
//!
//! A text becomes tokens ([`lex`]), a tree ([`parse`]), and a plan checked against the inputs there are
//! ([`plan`]); [`Running`] carries events through it and gives rows. Everything is a pure function of the
//! events: no clock, no sockets, no threads, no randomness, so that it runs in the platform, at the edge and
//! over stored tables alike.
//!
//! Invariants: what comes out does not depend on how partitions interleave; a job saved and restored goes on
//! exactly; the state is within the [`Limits`], or the job fails and says so; the work of an event does not
//! grow with the number of groups. What the language has and this does not is refused by name.

mod anomaly;
mod ast;
mod codec;
mod error;
mod expr;
mod functions;
mod job;
mod lex;
mod parse;
mod plan;
mod row;
mod run;
pub mod time;
mod value;

pub use error::{CheckpointError, Error, Failure};
pub use job::{Beyond, Input, InputKind, Job, LATE_MAX, Limits, OUT_OF_ORDER_MAX, OnError, Settings, Tolerance};
pub use parse::{LIST_MAX, NESTING_MAX, SELECTS_MAX, TEXT_BYTES_MAX};
pub use run::{Counts, Event, Output, Running};
pub use value::{DEPTH_MAX, Record, Value};
