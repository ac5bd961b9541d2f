//! The Kusto query language (KQL): text to tokens, to a tree, to a bound tree.
//!
//! [`parse`] reads the text of a query, [`command::parse`] that of a management command;
//! [`bind`] resolves every name against a [`Catalog`], computes types and column names, and
//! yields what an engine executes ([`bound::Bound`]). [`value`] has the values of the language
//! with their text forms. Nothing here executes anything, reads a clock or knows an engine.
//!
//! Bounds: texts of [`TEXT_LEN_MAX`] bytes, nesting of [`NESTING_MAX`], bound trees of
//! [`bound::NODES_MAX`] nodes and [`bound::DEPTH_MAX`] levels. What is beyond is refused with a
//! diagnostic; no text makes this crate panic or run long.
//! Source: the published language reference; `docs/compatibility.md` has the choices made where
//! it is silent.

pub mod ast;
mod bind;
pub mod bound;
mod catalog;
pub mod command;
mod diagnostic;
pub mod functions;
mod lex;
mod parse;
pub mod value;

pub use bind::{bind, bind_over};
pub use catalog::{Catalog, EmptyCatalog, StoredFunction};
pub use diagnostic::{Code, Diagnostic, Position, Span};
pub use parse::literal::print_literal;
pub use parse::{NESTING_MAX, TEXT_LEN_MAX, parse, parse_function};
