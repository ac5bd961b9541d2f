//! Domain errors as AMQP conditions: the only place on the service side that knows both.

use gantry_amqp::{ErrorCondition, condition};
use gantry_hub::HubError;

/// Queue of a device is full (403004).
const QUEUE_FULL: gantry_amqp::Symbol =
    gantry_amqp::Symbol::from_static("com.microsoft:device-maximum-queue-depth-exceeded");

/// Faster than the edition allows (429001).
pub(super) const THROTTLED: gantry_amqp::Symbol =
    gantry_amqp::Symbol::from_static("com.microsoft:device-container-throttled");

/// The day's messages are used up (403002).
const QUOTA_EXCEEDED: gantry_amqp::Symbol = gantry_amqp::Symbol::from_static("com.microsoft:quota-exceeded");

/// A message was settled after its lock ended (412002).
const LOCK_LOST: gantry_amqp::Symbol = gantry_amqp::Symbol::from_static("com.microsoft:message-lock-lost");

/// What a peer is told about a refused cloud-to-device message.
pub(crate) fn of_hub(error: &HubError) -> ErrorCondition {
    let condition = match error {
        HubError::NotFound(_) => condition::NOT_FOUND,
        HubError::QueueFull(_) => QUEUE_FULL,
        HubError::LockLost => LOCK_LOST,
        HubError::MessageTooLarge { .. } => condition::MESSAGE_SIZE_EXCEEDED,
        HubError::Invalid(_) | HubError::Id(_) => condition::ARGUMENT_ERROR,
        HubError::Unauthorized(_) => condition::UNAUTHORIZED_ACCESS,
        HubError::Disabled(_) | HubError::NotOnline(_) => condition::NOT_ALLOWED,
        HubError::Throttled(_) => THROTTLED,
        HubError::QuotaExceeded(_) => QUOTA_EXCEEDED,
        HubError::NotInEdition(_) => condition::NOT_ALLOWED,
        HubError::NoSpace | HubError::Contended(_) => condition::SERVER_BUSY,
        HubError::Timeout(_) => condition::TIMEOUT,
        HubError::NotImplemented(_) => condition::NOT_IMPLEMENTED,
        _ => condition::INTERNAL_ERROR,
    };
    let text = match error {
        // What failed inside is for the log.
        HubError::Failed(_) => "internal error".to_owned(),
        other => other.to_string(),
    };
    ErrorCondition::new(condition, text)
}

/// No such entity, in the words clients look for.
pub(super) fn not_found(entity: &str) -> ErrorCondition {
    ErrorCondition::new(condition::NOT_FOUND, format!("The messaging entity '{entity}' could not be found."))
}

/// The peer may not do this. Why is for the log.
pub(super) fn unauthorized() -> ErrorCondition {
    ErrorCondition::new(condition::UNAUTHORIZED_ACCESS, "Unauthorized access.")
}
