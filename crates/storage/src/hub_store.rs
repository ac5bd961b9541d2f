//! The hub's store: identities, twins, presence and queues.

use gantry_hub::device::Status;
use gantry_hub::limits::MODULES_MAX;
use gantry_hub::ports::{Counts, Filter, PortFuture, Presence, Record, Search, Store, StoreError};
use gantry_hub::reports::Report;
use gantry_identity::{DeviceId, Identity, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, named_params, params};

use crate::database::{Database, fail};
use crate::managed_store;
use crate::outbox;
use crate::shapes::{DeviceShape, TwinShape, corrupt};

/// The statement that reads whole records from a table expression with `identities i` in it.
pub(crate) fn select_from(from: &str) -> String {
    format!(
        "SELECT i.device_id, i.module_id, i.revision, i.enabled, i.identity, i.twin,
                p.updated_at, p.last_activity_at, p.subscriptions,
                (SELECT COUNT(*) FROM c2d c WHERE c.device_id = i.device_id AND c.module_id = i.module_id)
         FROM {from} LEFT JOIN presence p ON p.device_id = i.device_id AND p.module_id = i.module_id"
    )
}

/// A row as read, decoded outside of the query.
pub(crate) struct Raw {
    device_id: String,
    module_id: String,
    revision: u64,
    enabled: bool,
    identity: String,
    twin: String,
    presence: Presence,
}

impl Raw {
    pub(crate) fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let at = |index| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_millis));
        let never = Timestamp::NEVER;
        Ok(Self {
            device_id: row.get(0)?,
            module_id: row.get(1)?,
            revision: row.get::<_, i64>(2)?.cast_unsigned(),
            enabled: row.get(3)?,
            identity: row.get(4)?,
            twin: row.get(5)?,
            presence: Presence {
                updated_at: at(6)?.unwrap_or(never),
                last_activity_at: at(7)?.unwrap_or(never),
                subscriptions: row.get::<_, Option<u8>>(8)?.unwrap_or(0),
                c2d_count: row.get(9)?,
            },
        })
    }

    pub(crate) fn decode(self) -> Result<Record, StoreError> {
        let device: DeviceShape = serde_json::from_str(&self.identity).map_err(|_| corrupt("identity"))?;
        let twin: TwinShape = serde_json::from_str(&self.twin).map_err(|_| corrupt("twin"))?;
        Ok(Record {
            device: device.read(&self.device_id, &self.module_id, self.enabled)?,
            twin: twin.into(),
            revision: self.revision,
            presence: self.presence,
        })
    }
}

/// The row of one identity.
pub(crate) fn read_raw(connection: &Connection, device: &str, module: &str) -> rusqlite::Result<Option<Raw>> {
    let sql = format!("{} WHERE i.device_id = ?1 AND i.module_id = ?2", select_from("identities i"));
    connection.prepare_cached(&sql)?.query_row([device, module], Raw::from_row).optional()
}

/// A record ready to be inserted.
struct Row {
    record: Record,
    identity: String,
    twin: String,
}

impl Row {
    fn encode(record: Record) -> Result<Self, StoreError> {
        let (identity, twin) = (json(&DeviceShape::from(&record.device))?, json(&TwinShape::from(&record.twin))?);
        Ok(Self { record, identity, twin })
    }

    fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT INTO identities(device_id, module_id, revision, enabled, identity, twin)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let id = &self.record.device.identity;
        let enabled = self.record.device.status == Status::Enabled;
        let revision = self.record.revision as i64;
        let values = params![id.device.as_str(), module_of(id), revision, enabled, self.identity, self.twin];
        connection.prepare_cached(sql)?.execute(values).map(drop)
    }
}

/// Whether none of the rows exists, and a module among them finds its device with room for it.
fn check_room(connection: &Connection, rows: &[Row]) -> Result<(), StoreError> {
    let exists = |device: &str, module: &str| {
        let sql = "SELECT 1 FROM identities WHERE device_id = ?1 AND module_id = ?2";
        connection.prepare_cached(sql).and_then(|mut s| s.exists([device, module])).map_err(fail)
    };
    let mut made = None;
    for row in rows {
        let id = &row.record.device.identity;
        if exists(id.device.as_str(), module_of(id))? {
            return Err(StoreError::Conflict);
        }
        if id.module.is_none() {
            made = Some(&id.device);
        } else if made != Some(&id.device) {
            if !exists(id.device.as_str(), "")? {
                return Err(StoreError::Missing);
            }
            let sql = "SELECT COUNT(*) FROM identities WHERE device_id = ?1 AND module_id <> ''";
            let count =
                connection.prepare_cached(sql).and_then(|mut s| s.query_row([id.device.as_str()], |r| r.get(0)));
            if count.map_err(fail).map(|count: i64| count >= MODULES_MAX as i64)? {
                return Err(StoreError::Full);
            }
        }
    }
    Ok(())
}

pub(crate) fn module_of(identity: &Identity) -> &str {
    identity.module.as_ref().map_or("", |module| module.as_str())
}

pub(crate) fn json<T: serde::Serialize>(shape: &T) -> Result<String, StoreError> {
    serde_json::to_string(shape).map_err(|e| StoreError::Failed(e.to_string()))
}

impl Database {
    fn find_record(&self, identity: &Identity) -> Result<Option<Record>, StoreError> {
        let ticket = match self.records_read().get(identity) {
            Ok(record) => return Ok(Some(record)),
            Err(ticket) => ticket,
        };
        let raw = self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "{} WHERE i.device_id = ?1 AND i.module_id = ?2",
                    select_from("identities i")
                ))?
                .query_row(params![identity.device.as_str(), module_of(identity)], Raw::from_row)
                .optional()
        })?;
        let record = raw.map(Raw::decode).transpose()?;
        if let Some(record) = &record {
            self.records_read().put(record, ticket);
        }
        Ok(record)
    }
}

impl Store for Database {
    fn known(&self, identity: &Identity) -> Option<Record> {
        self.find_record(identity).ok().flatten()
    }

    fn record<'a>(&'a self, identity: &'a Identity) -> PortFuture<'a, Option<Record>, StoreError> {
        Box::pin(async move { self.find_record(identity) })
    }

    fn records<'a>(
        &'a self,
        modules: bool,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Record>, StoreError> {
        Box::pin(self.search(Search { modules, constraints: vec![] }, after.cloned(), limit))
    }

    fn modules_of<'a>(&'a self, device: &'a DeviceId, limit: usize) -> PortFuture<'a, Vec<Record>, StoreError> {
        Box::pin(async move {
            let rows = self.read(|connection| {
                let from = select_from("identities i");
                let sql = format!("{from} WHERE i.device_id = ?1 AND i.module_id <> '' ORDER BY i.module_id LIMIT ?2");
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params![device.as_str(), limit as i64], Raw::from_row)?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })?;
            rows.into_iter().map(Raw::decode).collect()
        })
    }

    fn find(&self, search: Search, after: Option<Identity>, limit: usize) -> PortFuture<'_, Vec<Record>, StoreError> {
        Box::pin(self.search(search, after, limit))
    }

    fn find_where(
        &self,
        search: Search,
        filter: Filter,
        after: Option<Identity>,
        limit: usize,
    ) -> PortFuture<'_, (Vec<Record>, Option<Identity>), StoreError> {
        Box::pin(self.search_where(search, filter, after, limit))
    }

    fn count_where(&self, search: Search, filter: Filter) -> PortFuture<'_, u64, StoreError> {
        Box::pin(self.count_search_where(search, filter))
    }

    fn count(&self, search: Search) -> PortFuture<'_, Option<u64>, StoreError> {
        Box::pin(self.count_search(search))
    }

    fn insert(&self, records: Vec<Record>, reports: Vec<Report>) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            let Some(first) = records.first() else { return Ok(()) };
            let has_reports = !reports.is_empty();
            let touched = first.device.identity.device.clone();
            let rows = records.into_iter().map(Row::encode).collect::<Result<Vec<_>, _>>()?;
            self.write_record(&touched, move |connection| {
                check_room(connection, &rows)?;
                rows.iter().try_for_each(|row| row.insert(connection)).map_err(fail)?;
                outbox::put(connection, &reports).map_err(fail)
            })
            .await
            .inspect(|()| self.tell_relay(has_reports))
        })
    }

    fn update(&self, record: Record, reports: Vec<Report>) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            let (device, twin) = (json(&DeviceShape::from(&record.device))?, json(&TwinShape::from(&record.twin))?);
            let touched = record.device.identity.device.clone();
            let has_reports = !reports.is_empty();
            self.write_record(&touched, move |connection| {
                let sql = "UPDATE identities SET revision = revision + 1, enabled = :enabled, identity = :identity,
                             twin = :twin
                           WHERE device_id = :device AND module_id = :module AND revision = :revision";
                let id = &record.device.identity;
                let changed = connection
                    .prepare_cached(sql)
                    .and_then(|mut statement| {
                        statement.execute(named_params! {
                            ":enabled": record.device.status == Status::Enabled,
                            ":identity": device, ":twin": twin, ":device": id.device.as_str(),
                            ":module": module_of(id), ":revision": record.revision as i64,
                        })
                    })
                    .map_err(fail)?;
                if changed == 0 {
                    return Err(StoreError::Conflict);
                }
                managed_store::put(connection, id.device.as_str(), module_of(id), &record.twin.managed)?;
                outbox::put(connection, &reports).map_err(fail)
            })
            .await
            .inspect(|()| self.tell_relay(has_reports))
        })
    }

    fn delete<'a>(
        &'a self,
        identity: &'a Identity,
        revision: u64,
        reports: Vec<Report>,
    ) -> PortFuture<'a, (), StoreError> {
        let has_reports = !reports.is_empty();
        let (device, module) = (identity.device.to_string(), module_of(identity).to_owned());
        Box::pin(async move {
            self.write_record(&identity.device, move |connection| {
                let sql = "DELETE FROM identities WHERE device_id = ?1 AND module_id = ?2 AND revision = ?3";
                let changed = connection.execute(sql, params![device, module, revision as i64]).map_err(fail)?;
                if changed == 0 {
                    return Err(StoreError::Conflict);
                }
                delete_dependents(connection, &device, &module).map_err(fail)?;
                outbox::put(connection, &reports).map_err(fail)
            })
            .await
            .inspect(|()| self.tell_relay(has_reports))
        })
    }

    fn managed_by<'a>(
        &'a self,
        configuration: &'a str,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Identity>, StoreError> {
        let after = after.map_or_else(Default::default, |a| (a.device.to_string(), module_of(a).to_owned()));
        Box::pin(self.managed_page(configuration.to_owned(), after, limit))
    }

    fn managed_counts<'a>(&'a self, configuration: &'a str) -> PortFuture<'a, (u64, u64), StoreError> {
        Box::pin(self.managed_totals(configuration.to_owned()))
    }

    fn managed_by_any(&self) -> PortFuture<'_, Vec<String>, StoreError> {
        Box::pin(self.managing())
    }

    fn counts(&self) -> PortFuture<'_, Counts, StoreError> {
        Box::pin(async move {
            self.scan(|connection| {
                let mut counts = Counts::default();
                let sql = "SELECT enabled, count FROM totals";
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let count = row.get::<_, i64>(1)?.cast_unsigned();
                    if row.get(0)? { counts.enabled = count } else { counts.disabled = count }
                }
                Ok(counts)
            })
            .await
        })
    }

    fn note_presence(&self, identity: &Identity, presence: Presence) {
        let noted = identity.clone();
        self.write_record_later(&identity.device, move |connection| {
            put_presence(connection, &noted, presence).map_err(fail)
        });
    }

    fn save_subscriptions<'a>(&'a self, identity: &'a Identity, bits: u8) -> PortFuture<'a, (), StoreError> {
        let kept = identity.clone();
        Box::pin(async move {
            self.write_record(&identity.device, move |connection| {
                let sql = "INSERT INTO presence(device_id, module_id, updated_at, last_activity_at, subscriptions)
                           VALUES (?1, ?2, ?3, ?3, ?4)
                           ON CONFLICT DO UPDATE SET subscriptions = excluded.subscriptions";
                let never = Timestamp::NEVER.as_millis();
                let values = params![kept.device.as_str(), module_of(&kept), never, bits];
                connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(fail).map(|_| ())
            })
            .await
        })
    }
}

fn put_presence(connection: &Connection, identity: &Identity, presence: Presence) -> rusqlite::Result<()> {
    let sql = "INSERT INTO presence(device_id, module_id, updated_at, last_activity_at, subscriptions)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET updated_at = excluded.updated_at,
                 last_activity_at = excluded.last_activity_at";
    connection.prepare_cached(sql)?.execute(params![
        identity.device.as_str(),
        module_of(identity),
        presence.updated_at.as_millis(),
        presence.last_activity_at.as_millis(),
        presence.subscriptions
    ])?;
    Ok(())
}

fn delete_dependents(connection: &Connection, device: &str, module: &str) -> rusqlite::Result<()> {
    if module.is_empty() {
        for table in ["identities", "presence", "c2d", "file_uploads", "managed_by"] {
            connection.execute(&format!("DELETE FROM {table} WHERE device_id = ?1"), params![device])?;
        }
        return Ok(());
    }
    for table in ["presence", "c2d", "managed_by"] {
        let sql = format!("DELETE FROM {table} WHERE device_id = ?1 AND module_id = ?2");
        connection.execute(&sql, params![device, module])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gantry_hub::c2d::C2dMessage;
    use gantry_hub::device::Device;
    use gantry_hub::ports::Queues as _;
    use gantry_storage_suite::fixtures::{at, record};

    use super::*;

    #[tokio::test]
    async fn a_read_that_began_before_a_write_does_not_hide_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Database::open(folder.path()).unwrap();
        let old = record("d");
        store.insert(vec![old.clone()], vec![]).await.unwrap();
        let ticket = store.records_read().get(&old.device.identity).err().unwrap();
        let new = Record { device: Device { etag: 99, ..old.device.clone() }, ..old.clone() };
        store.update(new.clone(), vec![]).await.unwrap();
        store.records_read().put(&old, ticket);
        let read = store.record(&old.device.identity).await.unwrap().unwrap();
        assert_eq!((read.device.etag, read.revision), (99, 2));
        assert_eq!(store.record(&old.device.identity).await.unwrap(), Some(read), "from the cache now");
        store.c2d_push(&old.device.identity, C2dMessage::default(), String::new(), at(0), 9).await.unwrap();
        assert_eq!(store.record(&old.device.identity).await.unwrap().unwrap().presence.c2d_count, 1);
        store.delete(&old.device.identity, 2, vec![]).await.unwrap();
        assert_eq!(store.record(&old.device.identity).await.unwrap(), None);
    }
}
