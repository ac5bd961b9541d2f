//! The event log behind the hub's ports: where readers begin, what they miss, and who holds a checkpoint.

use std::time::Duration;

use gantry_hub::event::{Event, MessageSource, SystemProperties, Telemetry};
use gantry_hub::ports::{CheckpointError, Checkpoints, EventCursor, EventSink, EventSource, Start};
use gantry_hub::routing::Destinations;
use gantry_identity::{Identity, Timestamp};
use gantry_storage::{Events, LogConfig};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// A log of one partition with small segments, which keeps nothing in memory.
fn open(folder: &std::path::Path) -> Events {
    let mut config = LogConfig::new(folder, 1);
    config.segment_bytes = 64 << 10;
    config.event_bytes_max = 16 << 10;
    config.pending_bytes_max = 16 << 10;
    config.tail_bytes_max = 0;
    config.retention = Some(Duration::from_secs(60));
    Events::open(config).unwrap()
}

/// One event a millisecond, from an instant on.
async fn append(events: &dyn EventSink, from: i64, count: i64, body: &[u8]) {
    let identity = Identity::parse("motor-1").unwrap();
    let message = Telemetry { system: SystemProperties::default(), properties: vec![], body };
    for ms in from..from + count {
        let event = Event {
            source: MessageSource::Telemetry,
            identity: &identity,
            generation_id: "1",
            auth_method: "{}",
            model_id: None,
            enqueued_at: at(ms),
            message: &message,
            destinations: Destinations::BUILT_IN,
            added: vec![].into(),
        };
        events.append(&[event]).await.unwrap();
    }
}

/// Reads on until nothing is missing before `end`; the numbers, and how many were missed.
async fn read_to(cursor: &mut dyn EventCursor, end: u64) -> (Vec<u64>, u64) {
    let (mut numbers, mut missed) = (vec![], 0);
    while cursor.position() < end {
        let batch = cursor.next(7, 1 << 20).await.unwrap().unwrap();
        numbers.extend(batch.events.iter().map(|event| event.sequence_number));
        missed += batch.missed;
    }
    (numbers, missed)
}

#[tokio::test]
async fn a_cursor_begins_where_it_is_told_and_says_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let events: &dyn EventSource = &log;
    let empty = events.partition(0).await.unwrap().unwrap();
    assert_eq!((empty.begin, empty.last, empty.is_empty), (0, None, true));
    append(&log, 1_000, 10, b"x").await;
    let state = events.partition(0).await.unwrap().unwrap();
    assert_eq!((state.begin, state.last, state.is_empty), (0, Some((9, at(1_009))), false));
    assert_eq!(events.partition(1).await.unwrap(), None);
    assert!(events.read(1, Start::Earliest).await.unwrap().is_none());

    let mut latest = events.read(0, Start::Latest).await.unwrap().unwrap();
    assert_eq!(latest.position(), 10);
    append(&log, 1_010, 2, b"x").await;
    for (start, first) in [
        (Start::Earliest, 0),
        (Start::At(0), 0),
        (Start::At(7), 7),
        (Start::At(11), 11),
        (Start::After(at(0)), 0),
        (Start::After(at(1_004)), 5),
    ] {
        let mut cursor = events.read(0, start).await.unwrap().unwrap();
        assert_eq!(read_to(&mut *cursor, 12).await, ((first..12).collect(), 0), "{start:?}");
        assert_eq!(cursor.position(), 12, "{start:?}");
    }
    assert_eq!(read_to(&mut *latest, 12).await, (vec![10, 11], 0));
    log.close().await.unwrap();
    assert!(latest.next(1, 1).await.unwrap().is_none(), "closed, and read to its end");
}

#[tokio::test]
async fn what_retention_dropped_is_told_as_missed() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut cursor = log.read(0, Start::At(0)).await.unwrap().unwrap();
    append(&log, 1_000, 40, &[7; 8 << 10]).await;
    log.retain(at(2_000_000)).await;
    let begin = log.partition(0).await.unwrap().unwrap().begin;
    assert!(begin > 0, "something was dropped");
    let (numbers, missed) = read_to(&mut *cursor, 40).await;
    assert_eq!((numbers, missed), ((begin..40).collect(), begin));
}

#[tokio::test]
async fn a_checkpoint_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let places: &dyn Checkpoints = &log;
    assert_eq!(places.get("place/1").await, Ok(None));
    let first = places.take("place/1").await.unwrap();
    places.put("place/1", first, b"1".to_vec()).await.unwrap();
    let second = places.take("place/1").await.unwrap();
    assert_eq!(places.put("place/1", first, b"late".to_vec()).await, Err(CheckpointError::Taken));
    places.put("place/1", second, b"2".to_vec()).await.unwrap();
    log.close().await.unwrap();
    drop(log);

    let log = open(folder.path());
    let places: &dyn Checkpoints = &log;
    assert_eq!(places.put("place/1", first, b"late".to_vec()).await, Err(CheckpointError::Taken));
    let third = places.take("place/1").await.unwrap();
    assert!(third > second);
    assert_eq!(places.get("place/1").await, Ok(Some(b"2".to_vec())));
    assert_eq!(places.remove("place/1", second).await, Err(CheckpointError::Taken));
    places.remove("place/1", third).await.unwrap();
    assert_eq!(places.get("place/1").await, Ok(None));
    assert!(matches!(places.take(&"n".repeat(81)).await, Err(CheckpointError::Failed(_))));
}

#[tokio::test]
async fn a_damaged_checkpoint_is_told_from_none() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let epoch = log.take("place").await.unwrap();
    log.put("place", epoch, b"1".to_vec()).await.unwrap();
    std::fs::write(folder.path().join("checkpoints/place.0"), b"GCHK").unwrap();
    assert_eq!(log.get("place").await, Err(CheckpointError::Damaged));
    // It can be taken and written all the same.
    let epoch = log.take("place").await.unwrap();
    log.put("place", epoch, b"2".to_vec()).await.unwrap();
    assert_eq!(log.get("place").await, Ok(Some(b"2".to_vec())));
}
