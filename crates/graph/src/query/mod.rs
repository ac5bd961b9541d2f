//! The query language of the graph: `SELECT`, `FROM DIGITALTWINS | RELATIONSHIPS`, `JOIN`, `MATCH`, `WHERE`.
//!
//! A text is parsed once into a pattern of twins and relationships between them (`ast.rs`); a join is a pattern too.
//! Running it begins at the twin that its conditions say most about, by id, by model or by nothing, and walks the
//! pattern from there (`run.rs`). Pages end after so many rows, bytes or steps and go on at a token. Texts, nesting,
//! lists, joins, hops and steps are bounded. Source: the reference's pages on its query language and its limits.

mod ast;
mod eval;
mod lex;
mod parse;
mod plan;
mod run;

pub use ast::Query;
pub use lex::QueryError;
pub use run::{Page, page, page_while};

/// Characters of a query.
pub const TEXT_LEN_MAX: usize = 8_000;
/// `AND` and `OR` in a query.
pub const LOGICAL_MAX: usize = 50;
/// Values of one `IN`.
pub const IN_MAX: usize = 50;
/// Joins of a query.
pub const JOINS_MAX: usize = 5;
/// Hops of a `MATCH`, those of its relationships together.
pub const HOPS_MAX: usize = 10;
/// Columns of a `SELECT`. Ours.
pub const COLUMNS_MAX: usize = 50;
/// Parentheses and `NOT`s within each other. Ours.
pub const DEPTH_MAX: usize = 32;
/// Steps of a path, as in `T.a.b`. Ours.
pub const PATH_MAX: usize = 32;
/// Names of one relationship in a `MATCH`. Ours.
pub const NAMES_MAX: usize = 50;
/// Steps after which a page ends that could go on later. Ours.
pub const PAGE_STEPS_MAX: u64 = 400_000;
/// Steps of a query that cannot be cut into pages there: from one twin on, or counting. Ours.
pub const STEPS_MAX: u64 = 5_000_000;
/// Bytes after which a page ends. Ours.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
