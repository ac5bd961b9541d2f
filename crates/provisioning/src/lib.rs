//! The Device Provisioning Service: enrollments, attestation, allocation, registration.
