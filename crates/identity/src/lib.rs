//! Who is speaking: device and module ids, shared access signatures, policies and rights.
//!
//! Everything here is a plain function of its arguments: no sockets, no files, no clock
//! (`now` is passed in) and no randomness, but what RSA encryption draws for its own padding. Every protocol head proves an identity through
//! [`SharedAccessSignature`], [`CertificateChain`] and [`Policy`]; none has rules of its own.

mod certificate;
mod connect_signature;
mod enrolled;
mod id;
mod key;
mod policy;
mod sas;
mod time;
mod tpm;
mod version1;

pub use certificate::{Authority, CertificateChain, CertificateError, is_thumbprint, normal_thumbprint};
pub use connect_signature::ConnectSignature;
pub use enrolled::{Certificate, CertificateInfo};
pub use id::{DeviceId, IdError, Identity, ModuleId};
pub use key::{Key, KeyError, KeyPair};
pub use policy::{Policies, Policy, Rights};
pub use sas::{Claims, Refusal, SasError, SharedAccessSignature, Signer, covers, encode_component};
pub use time::Timestamp;
pub use tpm::{TpmError, TpmKeys, TpmPublic, WrapEntropy};
