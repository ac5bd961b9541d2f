//! The event log from outside, over a disk in memory that fails on demand, and over a real one.

mod crash;
mod faults;
mod golden;
mod kill;
mod model;
mod reading;

use std::sync::Arc;

use gantry_eventlog::{AppendError, Config, Disk, Event, Log, MemoryDisk, ReadError, Recovery, StartPosition};

/// A small log: three partitions, 64 KiB segments.
fn config() -> Config {
    let mut config = Config::new("log", 3);
    config.segment_bytes = 64 << 10;
    config.pending_bytes_max = 16 << 10;
    config.event_bytes_max = 8 << 10;
    config.index_interval_bytes = 1024;
    config.read_bytes = 1024;
    config
}

fn open(disk: &MemoryDisk, config: Config) -> (Log, Recovery) {
    Log::open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, config).unwrap()
}

async fn append(log: &Log, events: &[(u16, u64, Vec<u8>)]) -> Result<(), AppendError> {
    let commit = {
        let mut batch = log.begin();
        for (partition, time_ms, bytes) in events {
            batch.push(*partition, *time_ms, |out| out.extend_from_slice(bytes))?;
        }
        batch.finish()
    };
    commit.await
}

/// Everything readable now, and what was reported missing.
fn read_all(log: &Log, partition: u16, start: StartPosition) -> (Vec<Event>, Vec<(u64, u64)>) {
    let mut reader = log.reader(partition, start).unwrap();
    let mut events = Vec::new();
    let mut gaps = Vec::new();
    loop {
        match reader.try_next_batch(7, 1 << 20) {
            Ok(batch) if batch.is_empty() => return (events, gaps),
            Ok(batch) => events.extend(batch),
            Err(ReadError::Damaged { from, to } | ReadError::Expired { from, to }) => gaps.push((from, to)),
            Err(error) => panic!("{error}"),
        }
    }
}
