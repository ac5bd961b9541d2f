//! What the AMQP heads need from outside.

use gantry_hub::HubError;
use gantry_hub::c2d::C2dMessage;
use gantry_hub::ports::PortFuture;
use gantry_identity::{Identity, Refusal, Rights, Timestamp};

/// What a checked token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it covers, as `host` or `host/path`; the host is one of ours.
    pub resource: String,
    /// The policy that signed it.
    pub policy: String,
    /// What that policy may do.
    pub rights: Rights,
    /// When it ends, and with it every link it carries.
    pub expires_at: Timestamp,
}

/// Who may come in.
pub trait Authorizer: Send + Sync {
    /// Checks a shared access signature of a policy: signature, expiry and host.
    ///
    /// # Errors
    /// Why not, for the log.
    fn check(&self, now: Timestamp, token: &str) -> Result<Grant, Refusal>;

    /// Takes a security event. Must not block.
    fn on_refused(&self, now: Timestamp, claimed: &str, peer: &str, operation: &'static str, reason: &Refusal);
}

/// Where cloud-to-device messages go.
pub trait C2dSender: Send + Sync {
    /// Queues a message for a device or module. When it resolves, the message is durable.
    ///
    /// # Errors
    /// [`HubError`]; nothing was queued then.
    fn send(&self, now: Timestamp, to: Identity, message: C2dMessage) -> PortFuture<'_, (), HubError>;
}
