//! Questions about telemetry and properties: the query operation of the previews (CEN-16).
//!
//! ```text
//! SELECT [TOP n] item {, item} FROM template
//!   [WHERE condition] [GROUP BY key {, key}] [ORDER BY column [ASC|DESC] {, ...}]
//! ```
//!
//! An item is a name or `FUNCTION(name)`, with `AS alias`; functions are `SUM`, `MAX`, `MIN`, `COUNT`, `AVG`, `FIRST` and
//! `LAST`. A name is telemetry or a property of the template, `component.name`, or `$id`, `$ts`, `$provisioned`,
//! `$simulated`. A condition has `name op literal`, `name IN [literals]` and, once and for the whole, `WITHIN_WINDOW` of a
//! duration or `'start/end'`. Keys are names and `WINDOW(duration)`. [`parse`] reads a text without knowing the template,
//! [`plan`] resolves its names and says what is asked; nothing here asks it.
//!
//! Limits are published: 350 characters, 15 items, 10 logical operations (`AND`, `OR`), 10,000 rows of telemetry, 1,000
//! of properties. Source: "How to use the IoT Central REST API to query devices".

pub(crate) mod duration;
mod parse;
mod plan;

use crate::language::SyntaxError;

pub use self::parse::{Function, GroupKey, Item, Question, Test, Within, parse};
pub use self::plan::{Column, Key, Kind, Plan, PlanTest, Source, TimeRange, plan};

/// Characters of a question.
pub const QUESTION_CHARS_MAX: usize = 350;
/// Items after `SELECT`.
pub const ITEMS_MAX: usize = 15;
/// Logical operations of a condition.
pub const OPERATORS_MAX: usize = 10;
/// Rows of telemetry.
pub const TELEMETRY_ROWS_MAX: u32 = 10_000;
/// Rows of properties.
pub const PROPERTY_ROWS_MAX: u32 = 1_000;
/// How far back telemetry is aggregated when nothing is said, in milliseconds: 30 days.
pub const WITHIN_DEFAULT_MS: i64 = 30 * 24 * 3_600_000;

/// Why a question is not answered.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum QuestionError {
    /// It cannot be read.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The template has no such thing.
    #[error("the template has no telemetry or property `{0}`")]
    UnknownName(String),
    /// Telemetry and properties at once.
    #[error("a question is about telemetry or about properties, not about both: `{telemetry}` and `{property}`")]
    Mixed {
        /// A telemetry value in it.
        telemetry: String,
        /// A property in it.
        property: String,
    },
    /// It is not what that place needs.
    #[error("`{name}` {what}")]
    Misplaced {
        /// What is named.
        name: String,
        /// Why it cannot be there.
        what: &'static str,
    },
}
