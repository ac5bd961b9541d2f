//! Analytics: the columnar engine that runs bound KQL over tables.
//!
//! `kql` says what a query means, this crate works it out: [`run`] takes a bound tree and the tables it reads, and
//! pushes chunks of columns through one operator after the other. Columns, expressions, functions, aggregates and
//! operators have a folder each; [`series`] is the mathematics of time series, without a word of KQL.

pub mod aggregates;
pub mod calendar;
mod chunk;
pub mod column;
mod commands;
mod context;
mod distinct;
mod engine;
mod error;
mod expression;
mod external;
mod functions;
mod groups;
pub mod ingest;
pub mod journal;
pub mod models;
mod operators;
pub mod outside;
pub mod pushdown;
mod question;
pub mod series;
mod sql;
pub mod store;
pub mod telemetry;
mod text;
mod tsql;
mod warehouse;
mod world;
mod write;

pub use chunk::{CHUNK_ROWS, Chunk, sorted_rows};
pub use commands::Ingested;
pub use context::{Cancel, Context, Fault, Limits, Usage};
pub use engine::{Frame, NoTables, Part, Session, Table, Tables, run};
pub use error::{Error, Result};
pub use operators::Flow;
pub use question::{Kql, Question, Run};
pub use sql::{SqlAsk, SqlRejected, SqlRows};
pub use warehouse::{Ask, By, LimitsOf, Rejected, Source, Warehouse, small_table};
