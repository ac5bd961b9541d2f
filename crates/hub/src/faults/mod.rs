//! Faults on purpose: those a device asks for in a message of its own, and those an operator rehearses with a fleet.

mod asked;
pub mod rehearsal;

pub use asked::{Fault, FaultKind};

use asked::Spells;
use rehearsal::Stage;

/// The faults under way.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    spells: Spells,
    stage: Stage,
}
