//! Where the platform sends: webhooks, mail, and files in storage containers.
//!
//! Each endpoint carries an action out once, within [`TIMEOUT`]; retries are the caller's.
//! What can never work (a refused address, a redirect, a malformed URL) is told apart from
//! what is worth another attempt.

mod event_grid;
mod mail;
pub mod storage;
mod webhook;

use std::pin::Pin;
use std::time::Duration;

use gantry_hub::event::StoredEvent;
use gantry_identity::Timestamp;

pub use event_grid::EventGrid;
pub use mail::Mail;
pub use webhook::Webhook;

/// Why events were not delivered.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SinkError {
    /// Worth another attempt.
    #[error("{0}")]
    Again(String),
    /// The receiver will never take these events.
    #[error("{0}")]
    Never(String),
}

/// An endpoint of message routing, as one partition's events go to it.
///
/// Events are pushed in order and kept until a flush succeeds; a flush that fails keeps them.
pub trait Sink: Send {
    /// Takes an event.
    fn push(&mut self, now: Timestamp, event: StoredEvent);
    /// Whether more may be pushed before a flush.
    fn has_room(&self) -> bool;
    /// Whether what is kept should be sent now.
    fn is_due(&self, now: Timestamp) -> bool;
    /// Sends what is kept.
    ///
    /// # Errors
    /// [`SinkError::Again`] keeps it, [`SinkError::Never`] drops it.
    fn flush(&mut self, now: Timestamp) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + '_>>;
}

/// How long one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(15);
