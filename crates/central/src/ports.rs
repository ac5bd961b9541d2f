//! What the application needs from outside.

use gantry_hub::ports::{PortFuture, StoreError};

use crate::actions::{Action, DeliveryError};
use crate::alerts::Alert;
use crate::central::Change;

/// Documents by collection and id.
pub trait Documents: Send + Sync {
    /// All documents of a collection with their ids.
    ///
    /// # Errors
    /// When the store fails.
    fn all(&self, collection: &'static str) -> Result<Vec<(String, String)>, StoreError>;
    /// Writes documents of any collections in one transaction; `None` deletes.
    fn put(&self, changes: Vec<Change>) -> PortFuture<'_, (), StoreError>;
}

/// Carries out one kind of action, once.
pub trait Endpoint: Send + Sync {
    /// Delivers; retries are the caller's.
    fn deliver<'a>(&'a self, action: &'a Action, alert: &'a Alert) -> PortFuture<'a, (), DeliveryError>;
}
