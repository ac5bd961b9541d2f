//! Why the hub refused an operation.
//!
//! No transport here: `api` and `gateway` translate into their own codes.

use gantry_identity::{IdError, Identity, Refusal};

use crate::configurations::configuration::ConfigurationError;
use crate::jobs::job::JobError;
use crate::limits;
use crate::ports::{LogError, StoreError};
use crate::registry::device::KeyPairError;
use crate::twins::digital_twin::DigitalTwinError;
use crate::twins::twin::TwinError;

/// Why the hub refused an operation.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No such device or module.
    #[error("`{0}` is not registered")]
    NotFound(Identity),
    /// The id is taken.
    #[error("`{0}` exists already")]
    AlreadyExists(Identity),
    /// No certificate authority of that name.
    #[error("certificate `{0}` is not there")]
    NoSuchCertificate(String),
    /// Faster than the edition allows, and the backlog is full.
    #[error("too many operations ({0:?}); try again later")]
    Throttled(crate::throttle::Operation),
    /// The day's messages are used up.
    #[error("the daily quota of {0} messages is used up")]
    QuotaExceeded(u64),
    /// The edition lacks the operation.
    #[error("the edition this hub acts like has no {0:?}")]
    NotInEdition(crate::throttle::Operation),
    /// The hub does not allow faults on purpose.
    #[error("this hub does not allow faults; start it with --allow-faults")]
    FaultsOff,
    /// Routing cannot be as it was written.
    #[error(transparent)]
    Routing(#[from] crate::routing::RoutingError),
    /// The caller's ETag of routing is not the current one.
    #[error("etag of routing does not match")]
    RoutingChanged,
    /// The caller's ETag of a certificate authority is not the current one.
    #[error("etag of certificate `{0}` does not match")]
    CertificateChanged(String),
    /// The caller's ETag is not the current one.
    #[error("etag of `{0}` does not match")]
    PreconditionFailed(Identity),
    /// The identity is disabled.
    #[error("`{0}` is disabled")]
    Disabled(Identity),
    /// A scope names no edge device, or may not be written.
    #[error("{0}")]
    Scope(String),
    /// A module of the edge runtime belongs to the hub.
    #[error("`{0}` is a system module")]
    SystemModule(Identity),
    /// The device has all the modules it may have.
    #[error("`{0}` has {max} modules already", max = limits::MODULES_MAX)]
    TooManyModules(Identity),
    /// A device or module is named twice in one call.
    #[error("`{0}` is named more than once")]
    NamedTwice(Identity),
    /// An argument cannot be used; says which.
    #[error("{0}")]
    Invalid(String),
    /// An id cannot be used.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyPairError),
    /// A twin write cannot be used.
    #[error(transparent)]
    Twin(#[from] TwinError),
    /// A query cannot be used.
    #[error(transparent)]
    Query(#[from] gantry_query::QueryError),
    /// A configuration was refused.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A patch of a digital twin was refused.
    #[error(transparent)]
    DigitalTwin(#[from] DigitalTwinError),
    /// A job was refused.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Credentials were refused. The peer is not told why.
    #[error("access refused")]
    Unauthorized(#[source] Refusal),
    /// Message over its limit.
    #[error("message of {bytes} bytes is larger than the {max} allowed")]
    MessageTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The device's queue is full.
    #[error("queue of `{0}` holds {max} messages already", max = limits::C2D_QUEUE_LEN_MAX)]
    QueueFull(Identity),
    /// The lock on a message ended before it was settled.
    #[error("the lock on the message is lost, or never was")]
    LockLost,
    /// The device is not connected or does not listen for methods.
    #[error("`{0}` is not online")]
    NotOnline(Identity),
    /// A newer connection of the device took over while it had to answer.
    #[error("another connection of `{0}` took over before the device had answered")]
    TakenOver(Identity),
    /// Too many methods in flight for the device.
    #[error("too many methods in flight for `{0}`")]
    TooManyMethods(Identity),
    /// As many device streams as there may be.
    #[error("there are {max} device streams already", max = crate::connections::streams::STREAMS_MAX)]
    TooManyStreams,
    /// The device did not answer in time.
    #[error("`{0}` did not answer in time")]
    Timeout(Identity),
    /// Others wrote the same every time it was tried.
    #[error("too many concurrent writes to `{0}`")]
    Contended(String),
    /// The disk is full: nothing was taken.
    #[error("no space left on the disk")]
    NoSpace,
    /// The store or the log failed.
    #[error("{0}")]
    Failed(String),
    /// The reference has it; Gantry does not yet.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
}

impl From<gantry_query::TooManyGroups> for HubError {
    fn from(error: gantry_query::TooManyGroups) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<StoreError> for HubError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace => Self::NoSpace,
            StoreError::Conflict => Self::Contended("settings".into()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<LogError> for HubError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NoSpace => Self::NoSpace,
            LogError::Failed(why) => Self::Failed(why),
        }
    }
}
