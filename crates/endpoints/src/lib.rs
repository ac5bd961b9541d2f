//! Where the platform sends: webhooks, mail, files in storage containers, and receivers of the application's exports.
//!
//! Each endpoint carries an action out once, within [`TIMEOUT`]; retries are the caller's.
//! What can never work (a refused address, a redirect, a malformed URL) is told apart from
//! what is worth another attempt.

mod allocation;
mod event_grid;
pub mod export;
mod mail;
mod remote_hub;
pub mod storage;
mod webhook;

use std::pin::Pin;
use std::time::Duration;

use gantry_hub::delivery::DeliveryError;
use gantry_hub::event::StoredEvent;
use gantry_identity::Timestamp;
use reqwest::redirect::Policy;

pub use allocation::AllocationWebhooks;
pub use event_grid::EventGrid;
pub use mail::Mail;
pub use remote_hub::HubLinker;
pub use webhook::Webhook;

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
    /// [`DeliveryError::Again`] keeps it, [`DeliveryError::Never`] drops it.
    fn flush(&mut self, now: Timestamp) -> Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + '_>>;
}

/// How long one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// A client of receivers. It trusts the system's CAs and `extra_ca` (PEM). Redirects are not followed: a receiver
/// that moved is configured anew, and cannot send what we post elsewhere.
///
/// # Errors
/// When the CA cannot be read.
pub fn client(extra_ca: Option<&[u8]>) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder().redirect(Policy::none()).timeout(TIMEOUT);
    if let Some(pem) = extra_ca {
        let certificate = reqwest::Certificate::from_pem(pem).map_err(|error| error.to_string())?;
        builder = builder.tls_certs_merge([certificate]);
    }
    builder.build().map_err(|error| error.to_string())
}

/// Why a request was not answered, in words that do not repeat its URL, which may hold a key.
fn unanswered(error: reqwest::Error) -> DeliveryError {
    let error = error.without_url();
    let words = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_builder() { DeliveryError::Never(words) } else { DeliveryError::Again(words) }
}
