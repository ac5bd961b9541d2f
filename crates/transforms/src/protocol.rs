//! What the platform and its worker say to each other: a line of JSON each way.
//!
//! ```text
//! to the worker    {"program": "...", "inputs": [...]}
//! to the platform  {"outputs": [{"made": [...]}, {"failed": "..."}]}   for each input what it became, or why it did not
//!                  {"refused": "..."}                                  it is no program
//! ```

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest line that either takes.
pub(crate) const LINE_BYTES_MAX: u64 = 64 << 20;

/// A program, and messages for it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) program: String,
    pub(crate) inputs: Vec<Box<RawValue>>,
}

/// What became of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    Outputs(Vec<Output>),
    Refused(String),
}

/// What became of one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Output {
    Made(Vec<Box<RawValue>>),
    Failed(String),
}
