//! The anomaly benchmark: labelled series, the scorer, and the detectors it compares.

pub mod corpus;
pub mod detectors;
pub mod held_out;
pub mod made;
pub mod motors;
pub mod score;
