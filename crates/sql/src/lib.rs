//! SQL in the dialects of PostgreSQL and, for clients of Kusto ([`tsql`]), T-SQL: text to the bound tree of KQL.
//!
//! [`bind`] reads one statement that yields rows, resolves its names against a [`Catalog`](gantry_kql::Catalog) and
//! the catalogue of PostgreSQL ([`catalog`]), and yields what an engine executes ([`gantry_kql::bound::Bound`]) with
//! names and types of the columns. [`types`] has the types of the dialect, [`text`] the texts of their values,
//! [`statement`] takes apart what a client sends. Nothing here executes anything, reads a clock or knows an engine.
//!
//! What SQL says of null holds, though texts are never null in the tables: a text that may be null (of the other side
//! of an outer join, of a `case` without `else`) is a dynamic value in the tree.
//!
//! Bounds: texts of [`TEXT_LEN_MAX`] bytes and [`TOKENS_MAX`] tokens, and those of bound trees. What is beyond is
//! refused; no text makes this crate panic or run long. Callers give it the stack its recursion needs.

mod bind;
pub mod catalog;
pub mod error;
pub mod functions;
mod parse;
pub mod statement;
pub mod text;
pub mod tsql;
pub mod types;

pub use bind::{Dialect, Environment, Origin, Parameter, Prepared, ResultColumn, bind, bind_query};
pub use error::{Error, Result};
pub use parse::{TEXT_LEN_MAX, TOKENS_MAX, query as parse};
pub use types::{Base, SqlType};
