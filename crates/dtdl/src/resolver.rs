//! Where documents come from that others refer to.
//!
//! A parse asks for all identifiers it misses at once and again for what the answers miss. This
//! crate does no I/O: a resolver is a model repository, a store, or a map in a test.

use crate::dtmi::Dtmi;

/// Gives documents for identifiers.
pub trait Resolver {
    /// The texts of documents that define these identifiers, in any order, more than asked for if
    /// that is handy. None if there are none to be had.
    fn resolve(&mut self, ids: &[Dtmi]) -> Option<Vec<String>>;
}

impl<F: FnMut(&[Dtmi]) -> Option<Vec<String>>> Resolver for F {
    fn resolve(&mut self, ids: &[Dtmi]) -> Option<Vec<String>> {
        self(ids)
    }
}
