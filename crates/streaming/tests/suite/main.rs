//! The language and its engine over whole jobs.

mod common;
mod documents;
mod joins;
mod language;
mod properties;
mod refusals;
mod time;
mod windows;
