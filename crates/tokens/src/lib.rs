//! The token server: hands a device a shared access signature for its own identity.
//!
//! A company that has device identities of its own keeps one key of a hub, that of a policy with
//! DeviceConnect alone. A device proves who it is in the company's way and gets a token that names
//! only that device; the hub checks it against the policy and the registry. Source: "Device
//! authentication with third-party token servers" (Azure Architecture Center).
//!
//! Invariants: a token covers one device (with its modules), one module or one registration, never
//! a whole hub; every answer, given or refused, reaches [`ports::Audit`]; nothing secret is in an
//! error or an event. Nothing here knows HTTP, sockets, files or a clock; what it needs from
//! outside is in [`ports`]. It does not know the registry: whether a device exists, and is
//! enabled, is the hub's to say when the token is used.

mod api_key;
mod certificate;
mod denied;
mod jwt;
mod key_set;
mod limit;
mod pattern;
pub mod ports;
mod proof;
mod server;
mod subject;

pub use api_key::{API_KEY_LEN_MAX, ApiKey, ApiKeys, ApiKeysError, hash_api_key};
pub use certificate::{DeviceCertificates, TrustedProxy};
pub use denied::{Denied, Unproven};
pub use jwt::{JwtRules, JwtRulesError};
pub use key_set::{KeySet, KeySetRules};
pub use limit::{Limits, Rate};
pub use pattern::{Pattern, PatternError};
pub use proof::{By, Presented, Proofs};
pub use server::{GroupKey, Life, Request, Token, TokenServer, TokenServerConfig};
pub use subject::{Subject, SubjectError};
