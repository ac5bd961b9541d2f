//! What devices sent before this process began: a port, as the tables are known to others.

use gantry_identity::Timestamp;

/// A value of a signal, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// When it was measured.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
}

/// Values of signals, from where they are kept for long.
pub trait History: Send + Sync {
    /// The last values of a signal of a device that were measured before an instant, or ever: at most `limit`, oldest
    /// first. Blocks while it reads.
    ///
    /// # Errors
    /// When they cannot be read, in words.
    fn values(
        &self,
        device: &str,
        signal: &str,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Measured>, String>;
}
