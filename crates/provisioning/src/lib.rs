//! The Device Provisioning Service: enrollments, attestation, allocation, registration.
//!
//! A device proves itself to an enrollment, is allocated to a hub, created there with its
//! first twin, and told where it belongs. Heads speak MQTT, HTTPS or AMQP and call
//! [`Service`]. Left out until later: TPM attestation, custom allocation, moving
//! between hubs; each is refused by name.

mod assign;
mod attest;
mod attestation;
mod document;
mod enrollment;
mod ports;
mod registration;
mod request;
mod service;

pub use assign::{Operation, Registering};
pub use attest::Registrant;
pub use attestation::{Attestation, AttestationWrite, CertificateWrite, Credential, Evidence, Slots, X509};
pub use document::certificate_document;
pub use enrollment::{
    AllocationPolicy, Enrollment, EnrollmentKey, EnrollmentWrite, GroupId, InitialTwin, ProvisioningStatus,
    ReprovisionPolicy,
};
pub use ports::{EnrollmentKind, LinkedHub, Store};
pub use registration::{IdScope, Registration, RegistrationId, RegistrationStatus, Substatus};
pub use request::DEVICE_BODY_BYTES_MAX;
pub use service::{DPS_COLLECTION, DpsError, Service, ServiceConfig};
