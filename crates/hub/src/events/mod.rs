//! What goes into the log: telemetry of devices, and reports the hub makes itself, rows of streaming jobs, events of the digital-twin graph.

pub mod consumer_groups;
pub mod directed;
pub mod event;
pub mod reports;
pub mod rows;
pub(crate) mod telemetry;
