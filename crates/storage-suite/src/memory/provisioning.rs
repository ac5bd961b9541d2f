//! Enrollments, registrations and what they say of hubs.

use gantry_hub::ports::{PortFuture, StoreError};
use gantry_identity::DeviceId;
use gantry_provisioning::{
    Departure, Enrollment, EnrollmentKey, EnrollmentKind, GroupId, HubLink, Registration, RegistrationId, Store,
};

use super::{Memory, is_after};

/// Whether it is a group, and the folded id.
pub(super) type EnrollmentId = (bool, String);

/// Folded registration id, hub in lower case, device.
pub(super) type DepartureKey = (String, String, DeviceId);

fn id_of(key: &EnrollmentKey) -> EnrollmentId {
    (matches!(key, EnrollmentKey::Group(_)), key.as_str().to_ascii_lowercase())
}

fn key_of(departure: &Departure) -> DepartureKey {
    (departure.id.folded(), departure.hub.to_ascii_lowercase(), departure.device_id.clone())
}

impl Store for Memory {
    fn enrollment<'a>(&'a self, key: &'a EnrollmentKey) -> PortFuture<'a, Option<Enrollment>, StoreError> {
        self.run(|state| Ok(state.enrollments.get(&id_of(key)).cloned()))
    }

    fn enrollments<'a>(
        &'a self,
        kind: EnrollmentKind,
        after: Option<&'a str>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Enrollment>, StoreError> {
        let after = after.unwrap_or_default().to_ascii_lowercase();
        self.run(move |state| {
            let is_group = kind == EnrollmentKind::Group;
            let of_kind = state.enrollments.iter().filter(|((group, id), _)| *group == is_group && *id > after);
            Ok(of_kind.take(limit).map(|(_, enrollment)| enrollment.clone()).collect())
        })
    }

    fn put_enrollment<'a>(&'a self, enrollment: Enrollment, expected: Option<u64>) -> PortFuture<'a, (), StoreError> {
        self.run(move |state| {
            let id = id_of(&enrollment.key);
            if state.enrollments.get(&id).map(|stored| stored.etag) != expected {
                return Err(StoreError::Conflict);
            }
            state.enrollments.insert(id, enrollment);
            Ok(())
        })
    }

    fn delete_enrollment<'a>(&'a self, key: &'a EnrollmentKey, expected: u64) -> PortFuture<'a, (), StoreError> {
        self.run(move |state| {
            if state.enrollments.get(&id_of(key)).map(|stored| stored.etag) != Some(expected) {
                return Err(StoreError::Conflict);
            }
            state.enrollments.remove(&id_of(key));
            Ok(())
        })
    }

    fn registration<'a>(&'a self, id: &'a RegistrationId) -> PortFuture<'a, Option<Registration>, StoreError> {
        self.run(|state| Ok(state.registrations.get(&id.folded()).cloned()))
    }

    fn registrations<'a>(
        &'a self,
        group: &'a GroupId,
        after: Option<&'a str>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Registration>, StoreError> {
        let after = after.unwrap_or_default().to_ascii_lowercase();
        self.run(move |state| {
            let is_of = |of: &GroupId| of.as_str().eq_ignore_ascii_case(group.as_str());
            let of_group = state.registrations.iter().filter(|(_, one)| one.group.as_ref().is_some_and(is_of));
            Ok(of_group.filter(|(id, _)| **id > after).take(limit).map(|(_, one)| one.clone()).collect())
        })
    }

    fn put_registration(
        &self,
        registration: Registration,
        expected: Option<u64>,
        departures: Vec<Departure>,
    ) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            let id = registration.id.folded();
            if state.registrations.get(&id).map(|stored| stored.etag) != expected {
                return Err(StoreError::Conflict);
            }
            if let (Some(hub), Some(device_id)) = (&registration.assigned_hub, &registration.device_id) {
                state.departures.remove(&(id.clone(), hub.to_ascii_lowercase(), device_id.clone()));
            }
            state.departures.extend(departures.iter().filter(|one| !one.is_to(&registration)).map(key_of));
            state.registrations.insert(id, registration);
            Ok(())
        })
    }

    fn departures(&self, limit: usize) -> PortFuture<'_, Vec<Departure>, StoreError> {
        self.run(move |state| {
            // Each time from where the last one ended: those of a hub that never answers must not be the only ones tried.
            let turn = state.departure_turn.take();
            let (before, after): (Vec<_>, Vec<_>) =
                state.departures.iter().cloned().partition(|key| !is_after(key, turn.as_ref()));
            let some: Vec<DepartureKey> = after.into_iter().chain(before).take(limit).collect();
            state.departure_turn = some.last().cloned();
            some.into_iter()
                .map(|(id, hub, device_id)| {
                    let id = RegistrationId::parse(&id).map_err(|error| StoreError::Failed(error.to_string()))?;
                    Ok(Departure { id, hub, device_id })
                })
                .collect()
        })
    }

    fn end_departure<'a>(&'a self, departure: &'a Departure) -> PortFuture<'a, (), StoreError> {
        self.run(|state| {
            state.departures.remove(&key_of(departure));
            Ok(())
        })
    }

    fn delete_registration<'a>(&'a self, id: &'a RegistrationId) -> PortFuture<'a, bool, StoreError> {
        self.run(|state| Ok(state.registrations.remove(&id.folded()).is_some()))
    }

    fn hub_links(&self) -> PortFuture<'_, Vec<HubLink>, StoreError> {
        self.run(|state| Ok(state.hub_links.values().cloned().collect()))
    }

    fn put_hub_link(&self, host_name: String, hub: HubLink) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            state.hub_links.insert(host_name.to_ascii_lowercase(), hub);
            Ok(())
        })
    }

    fn delete_hub_link<'a>(&'a self, host_name: &'a str) -> PortFuture<'a, (), StoreError> {
        self.run(move |state| {
            state.hub_links.remove(&host_name.to_ascii_lowercase());
            Ok(())
        })
    }
}
