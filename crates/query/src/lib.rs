//! The hub query language: twin queries with conditions, projections and aggregates.
//!
//! `SELECT [TOP n] list FROM devices|devices.modules|devices.jobs [WHERE cond] [GROUP BY attr]`.
//! A query is parsed once and run over JSON documents one at a time, so a store can feed it
//! page by page. Three-valued logic as in the reference: a missing attribute is undefined,
//! and a comparison with it is false. Source: "IoT Hub query language"; grammar in
//! `docs/compatibility.md`. Left out: joins (the language has none), routing functions.

mod ast;
mod eval;
mod lex;
mod parse;
mod run;

pub use ast::{Query, Source};
pub use parse::QueryError;
pub use run::Run;
