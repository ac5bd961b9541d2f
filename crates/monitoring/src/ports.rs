//! What the application needs from outside.

use gantry_hub::ports::PortFuture;

use crate::actions::Action;
use crate::alerts::Alert;
use gantry_hub::delivery::DeliveryError;

/// Carries out one kind of action, once.
pub trait Endpoint: Send + Sync {
    /// Delivers; retries are the caller's.
    fn deliver<'a>(&'a self, action: &'a Action, alert: &'a Alert) -> PortFuture<'a, (), DeliveryError>;
}
