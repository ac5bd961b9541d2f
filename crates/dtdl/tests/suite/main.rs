//! The crate over whole documents: the corpora of the reference, bounds, hostile texts.

mod cases;
mod elements;
mod errors;
mod instances;
mod limits;
mod names;
mod resolution;
mod verdicts;
mod views;
