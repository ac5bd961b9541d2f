//! What the service needs from outside.

use std::sync::Arc;

use gantry_hub::Hub;
use gantry_hub::ports::{PortFuture, StoreError};

use crate::enrollment::{Enrollment, EnrollmentKey, GroupId};
use crate::registration::{Registration, RegistrationId};

/// Which enrollments a list holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnrollmentKind {
    /// Individual ones.
    Individual,
    /// Groups.
    Group,
}

/// Enrollments and registrations.
pub trait Store: Send + Sync {
    /// One enrollment.
    fn enrollment<'a>(&'a self, key: &'a EnrollmentKey) -> PortFuture<'a, Option<Enrollment>, StoreError>;
    /// Enrollments of a kind after `after`, in order of id.
    fn enrollments<'a>(
        &'a self,
        kind: EnrollmentKind,
        after: Option<&'a str>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Enrollment>, StoreError>;
    /// Writes an enrollment whose stored ETag is `expected` (`None`: it must not exist).
    fn put_enrollment<'a>(&'a self, enrollment: Enrollment, expected: Option<u64>) -> PortFuture<'a, (), StoreError>;
    /// Deletes an enrollment whose stored ETag is `expected`.
    fn delete_enrollment<'a>(&'a self, key: &'a EnrollmentKey, expected: u64) -> PortFuture<'a, (), StoreError>;
    /// One registration.
    fn registration<'a>(&'a self, id: &'a RegistrationId) -> PortFuture<'a, Option<Registration>, StoreError>;
    /// Registrations of a group after `after`, in order of id.
    fn registrations<'a>(
        &'a self,
        group: &'a GroupId,
        after: Option<&'a str>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Registration>, StoreError>;
    /// Writes a registration.
    fn put_registration<'a>(&'a self, registration: Registration) -> PortFuture<'a, (), StoreError>;
    /// Deletes a registration; says whether it was there.
    fn delete_registration<'a>(&'a self, id: &'a RegistrationId) -> PortFuture<'a, bool, StoreError>;
}

/// A hub devices can be allocated to.
#[derive(Clone)]
pub struct LinkedHub {
    /// Name devices connect to.
    pub host_name: String,
    /// The hub.
    pub hub: Arc<Hub>,
}
