//! The Kusto query language (KQL): text to tokens, to a tree, to a bound tree.
//!
//! The tree of a text is in [`ast`]; what names stand for is asked of a [`Catalog`]; an engine
//! executes a bound tree ([`bound::Bound`]). [`value`] has the values of the language with their
//! text forms. Nothing here executes anything, reads a clock or knows an engine.

pub mod ast;
pub mod bound;
mod catalog;
mod diagnostic;
pub mod functions;
pub mod value;

pub use catalog::{Catalog, EmptyCatalog, StoredFunction};
pub use diagnostic::{Code, Diagnostic, Position, Span};
