//! What the event log of a stopped platform holds.

use std::path::Path;

use anyhow::{Context as _, ensure};
use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{EventSource as _, Start};
use gantry_storage::{Events, LogConfig};

/// Partitions of a platform that was not told otherwise.
const PARTITIONS: u16 = 4;

/// Every event in the data folder, partition by partition, in order.
///
/// # Errors
/// When the log cannot be opened, or an event in it cannot be read.
pub async fn stored_events(data: &Path) -> anyhow::Result<Vec<StoredEvent>> {
    let events = Events::open(LogConfig::new(data.join("events"), PARTITIONS))?;
    let mut all = vec![];
    for partition in 0..PARTITIONS {
        let Some((last, _)) = events.partition(partition).await?.context("partition")?.last else { continue };
        let mut cursor = events.read(partition, Start::Earliest).await?.context("partition")?;
        while cursor.position() <= last {
            let batch = cursor.next(1000, 16 << 20).await?.context("log is closed")?;
            ensure!(batch.missed == 0, "{} events of partition {partition} are missing", batch.missed);
            all.extend(batch.events);
        }
    }
    events.close().await?;
    Ok(all)
}
