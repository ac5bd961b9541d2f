//! The hub query language: queries over twins and jobs, and conditions of message routes.
//!
//! `SELECT [TOP n] list FROM devices|devices.modules|devices.jobs [WHERE cond] [GROUP BY attr]`.
//! A query is parsed once and run over documents one at a time, so a store can feed it page by
//! page. A [`Condition`] is the same expression language over the parts of a message. Logic
//! has three values (see `eval.rs`). Text, nesting, lists, groups and the texts functions make
//! are bounded, so a hostile text takes bounded time and memory. Source: "IoT Hub query
//! language" and "message routing query syntax"; `docs/compatibility.md` has the choices made
//! where they are silent. Left out: joins (the language has none).

mod ast;
mod condition;
mod eval;
mod functions;
mod lex;
mod operand;
mod parse;
mod path;
mod plan;
mod run;
mod statement;

pub use ast::{Query, Source};
pub use condition::{Condition, Lookup, Uses};
pub use operand::Operand;
pub use parse::{QueryError, TEXT_LEN_MAX};
pub use path::{Path, Step, find};
pub use plan::{Constraint, Test};
pub use run::{Document, GROUPS_MAX, Run, TooManyGroups};
