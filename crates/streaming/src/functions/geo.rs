//! Functions of places.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];
