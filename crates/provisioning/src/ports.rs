//! What the service needs from outside.

use gantry_hub::ports::{PortFuture, StoreError};

use gantry_identity::DeviceId;

use crate::enrollment::{Enrollment, EnrollmentKey, GroupId};
use crate::hubs::HubLink;
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
    /// Writes a registration whose stored ETag is `expected` (`None`: it must not exist), and what its device left
    /// behind. What a departure would take away from the hub it now belongs to is forgotten.
    fn put_registration(
        &self,
        registration: Registration,
        expected: Option<u64>,
        departures: Vec<Departure>,
    ) -> PortFuture<'_, (), StoreError>;
    /// Some of the departures that have not been ended, others each time.
    fn departures(&self, limit: usize) -> PortFuture<'_, Vec<Departure>, StoreError>;
    /// Ends one.
    fn end_departure<'a>(&'a self, departure: &'a Departure) -> PortFuture<'a, (), StoreError>;
    /// Deletes a registration; says whether it was there.
    fn delete_registration<'a>(&'a self, id: &'a RegistrationId) -> PortFuture<'a, bool, StoreError>;
    /// The linked hubs elsewhere.
    fn hub_links(&self) -> PortFuture<'_, Vec<HubLink>, StoreError>;
    /// Writes one.
    fn put_hub_link(&self, host_name: String, hub: HubLink) -> PortFuture<'_, (), StoreError>;
    /// Deletes one.
    fn delete_hub_link<'a>(&'a self, host_name: &'a str) -> PortFuture<'a, (), StoreError>;
}

/// A device that is still at a hub it left.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    /// Its registration.
    pub id: RegistrationId,
    /// The hub it left.
    pub hub: String,
    /// Its id there.
    pub device_id: DeviceId,
}

impl Departure {
    /// What a registration leaves behind when `after` takes the place of `before`.
    pub(crate) fn between(before: &Registration, after: &Registration) -> Option<Self> {
        let (hub, device_id) = (before.assigned_hub.as_ref()?, before.device_id.as_ref()?);
        let departure = Self { id: after.id.clone(), hub: hub.clone(), device_id: device_id.clone() };
        (!departure.is_to(after)).then_some(departure)
    }

    /// Whether it would take the device away from where its registration has it.
    pub fn is_to(&self, registration: &Registration) -> bool {
        registration.assigned_hub.as_ref().is_some_and(|hub| hub.eq_ignore_ascii_case(&self.hub))
            && registration.device_id.as_ref() == Some(&self.device_id)
    }
}
