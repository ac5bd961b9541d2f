//! The Device Provisioning Service: enrollments, attestation, allocation, registration.
//!
//! A device proves itself to an enrollment, is allocated to a hub, created there with its
//! first twin, and told where it belongs. Heads speak MQTT, HTTPS or AMQP and call
//! [`Service`].

mod allocation;
mod api_version;
mod assign;
mod attest;
mod attestation;
mod challenge;
mod custom;
mod document;
mod enrollment;
mod enrollment_document;
mod hubs;
mod instances;
mod limits;
mod link;
mod ports;
mod registration;
mod request;
mod service;

pub use allocation::CustomError;
pub use api_version::check_api_version;
pub use assign::{Operation, Registering};
pub use attest::Registrant;
pub use attestation::{
    Attestation, AttestationWrite, CertificateWrite, Credential, Evidence, Slots, TpmAttestation, X509,
};
pub use custom::Webhooks;
pub use document::certificate_document;
pub use enrollment::{
    AllocationPolicy, CustomAllocation, Enrollment, EnrollmentKey, EnrollmentWrite, GroupId, InitialTwin,
    ProvisioningStatus, ReprovisionPolicy,
};
pub use enrollment_document::Keys;
pub use hubs::{HubLink, HubView, Isolated, Linker, Way};
pub use instances::Instances;
pub use limits::Limits;
pub use link::{Beginning, Link, LinkError, LinkedHub, Placed, Placement};
pub use ports::{Departure, EnrollmentKind, Store};
pub use registration::{IdScope, Registration, RegistrationId, RegistrationStatus, Substatus};
pub use request::{DEVICE_BODY_BYTES_MAX, RETRY_AFTER_SECS, TpmRequest};
pub use service::{DPS_COLLECTION, DpsError, Ports, Service, ServiceConfig, Unknown};
