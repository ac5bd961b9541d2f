//! What goes into the log: telemetry of devices, and reports the hub makes itself.

pub mod event;
pub mod reports;
pub(crate) mod telemetry;
