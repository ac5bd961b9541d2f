//! The crate over whole documents: the corpora of the reference, bounds, hostile texts.

mod cases;
mod errors;
mod verdicts;
