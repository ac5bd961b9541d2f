//! What provisioning keeps about hubs: departures that are not ended, and links to hubs elsewhere.
//!
//! `departures`: one row for a device that is still at a hub it left. `hub_links`: JSON `{connection_string, authority,
//! weight, takes_part}` by folded host name; it holds the key of the link.

use gantry_hub::ports::StoreError;
use gantry_identity::DeviceId;
use gantry_provisioning::{Departure, HubLink, Registration, RegistrationId};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::database::{Database, fail};
use crate::shapes::corrupt;

pub(crate) const TABLES: &str = "
CREATE TABLE departures(
  id TEXT NOT NULL, hub TEXT NOT NULL, device_id TEXT NOT NULL, PRIMARY KEY(id, hub, device_id)) WITHOUT ROWID;
CREATE TABLE hub_links(host_name TEXT NOT NULL PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
";

#[derive(Serialize, Deserialize)]
struct HubLinkShape {
    connection_string: String,
    authority: Option<String>,
    weight: u32,
    takes_part: bool,
}

/// Notes what a registration leaves behind; forgets a departure from where it is now.
pub(crate) fn write_departures(
    connection: &Connection,
    registration: &Registration,
    departures: &[Departure],
) -> Result<(), StoreError> {
    if let (Some(hub), Some(device)) = (&registration.assigned_hub, &registration.device_id) {
        let sql = "DELETE FROM departures WHERE id = ?1 AND hub = ?2 AND device_id = ?3";
        let mut statement = connection.prepare_cached(sql).map_err(fail)?;
        let key = params![registration.id.folded(), hub.to_ascii_lowercase(), device.as_str()];
        statement.execute(key).map_err(fail)?;
    }
    for departure in departures.iter().filter(|departure| !departure.is_to(registration)) {
        let sql = "INSERT OR REPLACE INTO departures(id, hub, device_id) VALUES (?1, ?2, ?3)";
        let key = params![departure.id.folded(), departure.hub.to_ascii_lowercase(), departure.device_id.as_str()];
        connection.execute(sql, key).map_err(fail)?;
    }
    Ok(())
}

impl Database {
    pub(crate) async fn list_departures(&self, limit: usize) -> Result<Vec<Departure>, StoreError> {
        let rows = self
            .scan(move |connection| {
                // In any order: those of a hub that never answers must not be the only ones that are tried.
                let sql = "SELECT id, hub, device_id FROM departures ORDER BY random() LIMIT ?1";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map(params![limit as i64], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
                })?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        let read = |(id, hub, device_id): (String, String, String)| {
            let id = RegistrationId::parse(&id).map_err(|_| corrupt("registration id"))?;
            let device_id = DeviceId::parse(&device_id).map_err(|_| corrupt("device id"))?;
            Ok(Departure { id, hub, device_id })
        };
        rows.into_iter().map(read).collect()
    }

    pub(crate) async fn delete_departure(&self, departure: &Departure) -> Result<(), StoreError> {
        let Departure { id, hub, device_id } = departure.clone();
        self.write(move |connection| {
            let sql = "DELETE FROM departures WHERE id = ?1 AND hub = ?2 AND device_id = ?3";
            let key = params![id.folded(), hub.to_ascii_lowercase(), device_id.as_str()];
            connection.execute(sql, key).map_err(fail).map(|_| ())
        })
        .await
    }

    pub(crate) async fn list_hub_links(&self) -> Result<Vec<HubLink>, StoreError> {
        let texts = self
            .scan(|connection| {
                let mut statement = connection.prepare_cached("SELECT document FROM hub_links ORDER BY host_name")?;
                let rows = statement.query_map([], |row| row.get(0))?;
                rows.collect::<rusqlite::Result<Vec<String>>>()
            })
            .await?;
        let read = |text: &String| {
            let shape: HubLinkShape = serde_json::from_str(text).map_err(|_| corrupt("hub link"))?;
            let HubLinkShape { connection_string, authority, weight, takes_part } = shape;
            Ok(HubLink { connection_string, authority, weight, takes_part })
        };
        texts.iter().map(read).collect()
    }

    pub(crate) async fn write_hub_link(&self, host_name: String, hub: HubLink) -> Result<(), StoreError> {
        let HubLink { connection_string, authority, weight, takes_part } = hub;
        let shape = HubLinkShape { connection_string, authority, weight, takes_part };
        let text = serde_json::to_string(&shape).map_err(|error| StoreError::Failed(error.to_string()))?;
        self.write(move |connection| {
            let sql = "INSERT OR REPLACE INTO hub_links(host_name, document) VALUES (?1, ?2)";
            connection.execute(sql, params![host_name.to_ascii_lowercase(), text]).map_err(fail).map(|_| ())
        })
        .await
    }

    pub(crate) async fn remove_hub_link(&self, host_name: &str) -> Result<(), StoreError> {
        let host_name = host_name.to_ascii_lowercase();
        self.write(move |connection| {
            connection.execute("DELETE FROM hub_links WHERE host_name = ?1", [host_name]).map_err(fail).map(|_| ())
        })
        .await
    }
}
