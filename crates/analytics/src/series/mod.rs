//! Time series as plain arrays: what the `series_*` functions compute, without a word of KQL.
//!
//! A series is a slice of `Option<f64>`, where `None` is a missing element. Every function here is pure and total:
//! an empty or an all-missing series has an answer, and no input panics. Definitions are those of the reference's
//! documentation of each function; where it publishes no formula the module says what is computed instead.

mod decompose;
mod fill;
mod filter;
mod fit;
mod outliers;
mod periods;
mod stats;

pub use decompose::{Anomalies, Decomposition, Seasonality, Trend, anomalies, decompose, forecast, seasonal};
pub use fill::{fill_backward, fill_const, fill_forward, fill_linear};
pub use filter::{fir, iir};
pub use fit::{Line, Polynomial, TwoLines, fit_2lines, fit_line, fit_polynomial};
pub use outliers::{Fences, outliers};
pub use periods::{periods_detect, periods_validate};
pub use stats::{Stats, cosine_similarity, dot, magnitude, pearson, quantile, stats};

/// A series as functions take it.
pub type Series<'a> = &'a [Option<f64>];
