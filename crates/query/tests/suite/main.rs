//! The language over examples, and under hostile texts.

mod golden;
mod hostile;
