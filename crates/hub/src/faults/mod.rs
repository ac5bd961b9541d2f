//! Faults on purpose, on a hub that allows them: those a device asks for in a message of its own, and those an
//! operator plans for a fleet.

mod asked;
mod plan;

pub use asked::{Fault, FaultKind};
pub use plan::{FaultPlan, RestFault, TelemetryFaults};

use asked::Refused;
use plan::Planned;

/// The faults under way.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    refused: Refused,
    planned: Planned,
}
