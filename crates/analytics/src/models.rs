//! Models that rows are scored with: a port, as what runs them is none of the engine's.

use std::fmt;

/// Rows of features, one row behind the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Features of each row.
    pub columns: usize,
    /// `columns` values for each row; what a row lacks is NaN.
    pub values: Vec<f32>,
}

impl Features {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }
}

/// What a model says of each row: the values of its first output.
#[derive(Debug, Clone, PartialEq)]
pub enum Scores {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Whole numbers, as labels of classes are.
    Whole(Vec<i64>),
    /// Truth values.
    Flags(Vec<bool>),
    /// Texts, as names of classes are.
    Texts(Vec<String>),
}

impl Scores {
    /// How many rows were scored.
    pub fn rows(&self) -> usize {
        match self {
            Self::Numbers(all) => all.len(),
            Self::Whole(all) => all.len(),
            Self::Flags(all) => all.len(),
            Self::Texts(all) => all.len(),
        }
    }
}

/// Why rows were not scored, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotScored(pub String);

impl fmt::Display for NotScored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What runs models.
pub trait Models: Send + Sync {
    /// What an ONNX model says of rows: a score for each. Blocks until it does, or `is_wanted` says no.
    ///
    /// # Errors
    /// In words, when the model cannot be run with these rows, or nothing here runs models.
    fn predict(
        &self,
        model: &[u8],
        features: &Features,
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Scores, NotScored>;
}

/// Nothing runs models.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoModels;

impl Models for NoModels {
    fn predict(&self, _: &[u8], _: &Features, _: &(dyn Fn() -> bool + Sync)) -> Result<Scores, NotScored> {
        Err(NotScored("nothing here runs models".into()))
    }
}
