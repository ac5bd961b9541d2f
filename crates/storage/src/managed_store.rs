//! Which configurations target which identities: table `managed_by`, kept with the records themselves.

use gantry_hub::management::Managed;
use gantry_hub::ports::StoreError;
use gantry_identity::Identity;
use rusqlite::{Connection, params};

use crate::database::{Database, fail};
use crate::shapes::identity;

/// `managed_by`: one row for each identity a configuration targets; `applied` when something of it is in force.
pub(crate) const TABLES: &str = "
CREATE TABLE managed_by(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, configuration TEXT NOT NULL, applied INTEGER NOT NULL,
  PRIMARY KEY(device_id, module_id, configuration)) WITHOUT ROWID;
CREATE INDEX managed_by_configuration ON managed_by(configuration, device_id, module_id, applied);
";

/// Makes the rows of one identity those of its record. Runs in the transaction that writes the record.
pub(crate) fn put(connection: &Connection, device: &str, module: &str, managed: &Managed) -> Result<(), StoreError> {
    let run = || -> rusqlite::Result<()> {
        let sql = "SELECT configuration, applied FROM managed_by WHERE device_id = ?1 AND module_id = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([device, module], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let old = rows.collect::<rusqlite::Result<std::collections::BTreeMap<String, bool>>>()?;
        for id in old.keys().filter(|id| !managed.configurations.contains_key(*id)) {
            let sql = "DELETE FROM managed_by WHERE device_id = ?1 AND module_id = ?2 AND configuration = ?3";
            connection.prepare_cached(sql)?.execute([device, module, id])?;
        }
        for (id, applied) in managed.configurations.iter().filter(|(id, applied)| old.get(*id) != Some(applied)) {
            let sql = "INSERT OR REPLACE INTO managed_by(device_id, module_id, configuration, applied)
                       VALUES (?1, ?2, ?3, ?4)";
            connection.prepare_cached(sql)?.execute(params![device, module, id, applied])?;
        }
        Ok(())
    };
    run().map_err(fail)
}

impl Database {
    pub(crate) async fn managed_page(
        &self,
        configuration: String,
        after: (String, String),
        limit: usize,
    ) -> Result<Vec<Identity>, StoreError> {
        let rows = self.scan(move |connection| {
            let sql = "SELECT device_id, module_id FROM managed_by
                       WHERE configuration = ?1 AND (device_id, module_id) > (?2, ?3)
                       ORDER BY device_id, module_id LIMIT ?4";
            let mut statement = connection.prepare_cached(sql)?;
            let values = params![configuration, after.0, after.1, limit as i64];
            let rows = statement.query_map(values, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.await?.iter().map(|(device, module)| identity(device, module)).collect()
    }

    pub(crate) async fn managed_totals(&self, configuration: String) -> Result<(u64, u64), StoreError> {
        self.scan(move |connection| {
            let sql = "SELECT COUNT(*), COALESCE(SUM(applied), 0) FROM managed_by WHERE configuration = ?1
                       AND NOT (module_id = '$edgeAgent' AND EXISTS(
                         SELECT 1 FROM managed_by d WHERE d.device_id = managed_by.device_id AND d.module_id = ''
                           AND d.configuration = managed_by.configuration))";
            connection.prepare_cached(sql)?.query_row([configuration], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
            })
        })
        .await
    }

    pub(crate) async fn managing(&self) -> Result<Vec<String>, StoreError> {
        self.scan(|connection| {
            // A jump from one id to the next, so that the rows behind each do not count.
            let sql = "WITH RECURSIVE ids(id) AS (
                         SELECT MIN(configuration) FROM managed_by UNION ALL
                         SELECT (SELECT MIN(configuration) FROM managed_by WHERE configuration > ids.id)
                         FROM ids WHERE ids.id IS NOT NULL)
                       SELECT id FROM ids WHERE id IS NOT NULL";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })
        .await
    }
}
