//! Streaming anomaly detection: score, expected band, reason in words, health and maintenance list.
//!
//! One [`Detector`] for each signal of each device sees values one at a time and
//! judges each by those before it. [`health::Health`] follows its observations
//! and says how urgently a person should look; [`machine::Machine`] looks at the
//! signals of a device together; [`maintenance::List`] orders the devices. No sockets, files, clock or randomness: the same values always give
//! the same answers, so a replay of the event log rebuilds everything, and
//! `to_bytes` is what a checkpoint keeps.
//!
//! ```
//! let mut detector = gantry_detection::Detector::new();
//! for minute in 0..500 {
//!     let wave = f64::from(minute % 10);
//!     detector.observe(i64::from(minute) * 60_000, 80.0 + wave)?;
//! }
//! let observed = detector.observe(500 * 60_000, 20.0)?;
//! assert!(observed.score > gantry_detection::ALERT_SCORE);
//! let words = observed.reason.unwrap().in_words(Some("°C"));
//! assert_eq!(words, "20 °C is below the expected 80 to 89 °C");
//! # Ok::<(), gantry_detection::ObserveError>(())
//! ```

pub mod changes;
mod detector;
mod encoding;
mod forecast;
pub mod health;
pub mod machine;
pub mod maintenance;
mod onset;
mod reason;
mod season;
mod tail;

pub use detector::{ALERT_SCORE, Band, Detector, Observation, ObserveError, VALUE_MAGNITUDE_MAX};
pub use encoding::{DecodeError, VERSION};
pub use forecast::{Direction, Remaining};
pub use reason::{Kind, Reason, in_digits};
pub use season::Rhythm;
