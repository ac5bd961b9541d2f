//! Events that writes of the hub report: stored in the write's transaction, relayed to the log after it.
//!
//! Table `outbox`: the record of `event_record.rs`, whose device, and when it happened. A row is
//! deleted once the log has it on disk, so a crash in between repeats an event and loses none.

use gantry_hub::ports::StoreError;
use gantry_hub::reports::Report;
use gantry_identity::DeviceId;
use rusqlite::{Connection, params};
use tracing::warn;

use crate::database::{Database, fail};
use crate::event_record;
use crate::events::Events;

pub(crate) const TABLES: &str = "
CREATE TABLE outbox(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, at INTEGER NOT NULL, record BLOB NOT NULL);
";

/// Rows relayed together.
const RELAY_LEN_MAX: i64 = 256;

/// A row, read.
struct Waiting {
    sequence: i64,
    device: DeviceId,
    at: u64,
    record: Vec<u8>,
}

/// Puts reports beside the write they report.
pub(crate) fn put(connection: &Connection, reports: &[Report]) -> rusqlite::Result<()> {
    for report in reports {
        let mut record = vec![];
        report.as_event(|event| event_record::encode(event, &mut record));
        let sql = "INSERT INTO outbox(device_id, at, record) VALUES (?1, ?2, ?3)";
        let values = params![report.identity.device.as_str(), report.at.as_millis(), record];
        connection.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

impl Database {
    /// Moves waiting reports into the log; says whether there were any.
    ///
    /// # Errors
    /// When the store or the log fails; what was not moved stays.
    pub async fn relay(&self, events: &Events) -> Result<bool, StoreError> {
        let waiting = self.read(|connection| {
            let sql = "SELECT sequence, device_id, at, record FROM outbox ORDER BY sequence LIMIT ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([RELAY_LEN_MAX], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        })?;
        let Some(last) = waiting.last().map(|(sequence, ..)| *sequence) else { return Ok(false) };
        let readable = waiting.into_iter().filter_map(|(sequence, device, at, record)| {
            let device = DeviceId::parse(&device).inspect_err(|_| warn!(sequence, "unreadable report")).ok()?;
            Some(Waiting { sequence, device, at: u64::try_from(at).unwrap_or(0), record })
        });
        let rows: Vec<Waiting> = readable.collect();
        tracing::trace!(first = rows.first().map(|row| row.sequence), "relaying reports");
        let records = rows.iter().map(|row| (&row.device, row.at, row.record.as_slice()));
        events.append_records(records).await.map_err(|error| StoreError::Failed(error.to_string()))?;
        self.write(move |connection| {
            connection.execute("DELETE FROM outbox WHERE sequence <= ?1", [last]).map_err(fail).map(drop)
        })
        .await?;
        Ok(true)
    }

    /// Resolves when a write left reports since the last call.
    pub async fn reports_waiting(&self) {
        self.reports().notified().await;
    }

    /// Tells the relay, when a write left something for it.
    pub(crate) fn tell_relay(&self, has_reports: bool) {
        if has_reports {
            self.reports().notify_one();
        }
    }
}
