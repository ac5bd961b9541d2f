//! The Device Provisioning Service: enrollments, attestation, allocation, registration.
//!
//! A device proves itself to an enrollment, is allocated to a hub, created there with its
//! first twin, and told where it belongs. Heads speak MQTT, HTTPS or AMQP and call
//! [`Service`]. Left out until later: X.509 and TPM attestation, custom allocation, moving
//! between hubs; each is refused by name.

mod assign;
mod attest;
mod document;
mod enrollment;
mod ports;
mod registration;
mod service;

pub use assign::Operation;
pub use attest::Registrant;
pub use enrollment::{
    AllocationPolicy, Attestation, Enrollment, EnrollmentKey, EnrollmentWrite, GroupId, InitialTwin,
    ProvisioningStatus, ReprovisionPolicy,
};
pub use ports::{EnrollmentKind, LinkedHub, Store};
pub use registration::{IdScope, Registration, RegistrationId, RegistrationStatus, Substatus};
pub use service::{DpsError, Service, ServiceConfig};
