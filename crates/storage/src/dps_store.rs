//! The provisioning service's store: enrollments and registrations.

use gantry_hub::ports::{PortFuture, StoreError};
use gantry_provisioning::{
    Departure, Enrollment, EnrollmentKey, EnrollmentKind, GroupId, HubLink, Registration, RegistrationId, Store,
};
use rusqlite::{Connection, OptionalExtension as _, Params, params};
use serde::Deserialize;

use crate::database::{Database, fail};
use crate::dps_links::write_departures;
use crate::shapes::{EnrollmentShape, RegistrationShape, corrupt};

/// Column `kind` and the folded id of an enrollment.
fn column(key: &EnrollmentKey) -> (i64, String) {
    match key {
        EnrollmentKey::Individual(id) => (0, id.folded()),
        EnrollmentKey::Group(id) => (1, id.as_str().to_ascii_lowercase()),
    }
}

/// The number every document here carries, whatever else it says.
#[derive(Deserialize)]
struct Etag {
    etag: u64,
}

const ENROLLMENT: &str = "SELECT document FROM enrollments WHERE kind = ?1 AND id = ?2";
const REGISTRATION: &str = "SELECT document FROM registrations WHERE id = ?1";

fn stored_etag(connection: &Connection, sql: &str, key: impl Params) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(fail)?;
    let text: Option<String> = statement.query_row(key, |row| row.get(0)).optional().map_err(fail)?;
    text.map(|text| serde_json::from_str(&text).map(|Etag { etag }| etag).map_err(|_| corrupt("etag"))).transpose()
}

fn read_enrollment(text: &str, is_group: bool) -> Result<Enrollment, StoreError> {
    serde_json::from_str::<EnrollmentShape>(text).map_err(|_| corrupt("enrollment"))?.read(is_group)
}

fn read_registration(text: &str) -> Result<Registration, StoreError> {
    serde_json::from_str::<RegistrationShape>(text).map_err(|_| corrupt("registration"))?.read()
}

impl Store for Database {
    fn enrollment<'a>(&'a self, key: &'a EnrollmentKey) -> PortFuture<'a, Option<Enrollment>, StoreError> {
        Box::pin(async move {
            let (kind, id) = column(key);
            let text: Option<String> = self.read(|connection| {
                connection.prepare_cached(ENROLLMENT)?.query_row(params![kind, id], |row| row.get(0)).optional()
            })?;
            text.map(|text| read_enrollment(&text, kind == 1)).transpose()
        })
    }

    fn enrollments<'a>(
        &'a self,
        kind: EnrollmentKind,
        after: Option<&'a str>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Enrollment>, StoreError> {
        let is_group = kind == EnrollmentKind::Group;
        let after = after.unwrap_or_default().to_ascii_lowercase();
        Box::pin(async move {
            let sql = "SELECT document FROM enrollments WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
            let texts = self
                .scan(move |connection| {
                    let mut statement = connection.prepare_cached(sql)?;
                    let rows =
                        statement.query_map(params![i64::from(is_group), after, limit as i64], |row| row.get(0))?;
                    rows.collect::<rusqlite::Result<Vec<String>>>()
                })
                .await?;
            texts.iter().map(|text| read_enrollment(text, is_group)).collect()
        })
    }

    fn put_enrollment(&self, enrollment: Enrollment, expected: Option<u64>) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            let (kind, id) = column(&enrollment.key);
            let text = serde_json::to_string(&EnrollmentShape::from(&enrollment))
                .map_err(|e| StoreError::Failed(e.to_string()))?;
            self.write(move |connection| {
                if stored_etag(connection, ENROLLMENT, params![kind, id])? != expected {
                    return Err(StoreError::Conflict);
                }
                let sql = "INSERT OR REPLACE INTO enrollments(kind, id, document) VALUES (?1, ?2, ?3)";
                connection.execute(sql, params![kind, id, text]).map_err(fail).map(|_| ())
            })
            .await
        })
    }

    fn delete_enrollment<'a>(&'a self, key: &'a EnrollmentKey, expected: u64) -> PortFuture<'a, (), StoreError> {
        let (kind, id) = column(key);
        Box::pin(async move {
            self.write(move |connection| {
                if stored_etag(connection, ENROLLMENT, params![kind, id])? != Some(expected) {
                    return Err(StoreError::Conflict);
                }
                let sql = "DELETE FROM enrollments WHERE kind = ?1 AND id = ?2";
                connection.execute(sql, params![kind, id]).map_err(fail).map(|_| ())
            })
            .await
        })
    }

    fn registration<'a>(&'a self, id: &'a RegistrationId) -> PortFuture<'a, Option<Registration>, StoreError> {
        Box::pin(async move {
            let text: Option<String> = self.read(|connection| {
                connection.prepare_cached(REGISTRATION)?.query_row(params![id.folded()], |row| row.get(0)).optional()
            })?;
            text.as_deref().map(read_registration).transpose()
        })
    }

    fn registrations<'a>(
        &'a self,
        group: &'a GroupId,
        after: Option<&'a str>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Registration>, StoreError> {
        let group = group.as_str().to_ascii_lowercase();
        let after = after.unwrap_or_default().to_ascii_lowercase();
        Box::pin(async move {
            let sql = "SELECT document FROM registrations WHERE group_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
            let texts = self
                .scan(move |connection| {
                    let mut statement = connection.prepare_cached(sql)?;
                    let rows = statement.query_map(params![group, after, limit as i64], |row| row.get(0))?;
                    rows.collect::<rusqlite::Result<Vec<String>>>()
                })
                .await?;
            texts.iter().map(|text| read_registration(text)).collect()
        })
    }

    fn put_registration(
        &self,
        registration: Registration,
        expected: Option<u64>,
        departures: Vec<Departure>,
    ) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            let id = registration.id.folded();
            let group = registration.group.as_ref().map(|g| g.as_str().to_ascii_lowercase());
            let text = serde_json::to_string(&RegistrationShape::from(&registration))
                .map_err(|e| StoreError::Failed(e.to_string()))?;
            self.write(move |connection| {
                if stored_etag(connection, REGISTRATION, [&id])? != expected {
                    return Err(StoreError::Conflict);
                }
                let sql = "INSERT OR REPLACE INTO registrations(id, group_id, document) VALUES (?1, ?2, ?3)";
                let mut statement = connection.prepare_cached(sql).map_err(fail)?;
                statement.execute(params![id, group, text]).map_err(fail)?;
                write_departures(connection, &registration, &departures)
            })
            .await
        })
    }

    fn departures(&self, limit: usize) -> PortFuture<'_, Vec<Departure>, StoreError> {
        Box::pin(self.list_departures(limit))
    }

    fn end_departure<'a>(&'a self, departure: &'a Departure) -> PortFuture<'a, (), StoreError> {
        Box::pin(self.delete_departure(departure))
    }

    fn hub_links(&self) -> PortFuture<'_, Vec<HubLink>, StoreError> {
        Box::pin(self.list_hub_links())
    }

    fn put_hub_link(&self, host_name: String, hub: HubLink) -> PortFuture<'_, (), StoreError> {
        Box::pin(self.write_hub_link(host_name, hub))
    }

    fn delete_hub_link<'a>(&'a self, host_name: &'a str) -> PortFuture<'a, (), StoreError> {
        Box::pin(self.remove_hub_link(host_name))
    }

    fn delete_registration<'a>(&'a self, id: &'a RegistrationId) -> PortFuture<'a, bool, StoreError> {
        let id = id.folded();
        Box::pin(async move {
            self.write(move |connection| {
                let sql = "DELETE FROM registrations WHERE id = ?1";
                connection.execute(sql, params![id]).map_err(fail).map(|removed| removed > 0)
            })
            .await
        })
    }
}
