//! The event log: positions, times, what readers see and what they are told of what they cannot see.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{EventSource, PartitionState, Start};
use gantry_identity::Timestamp;

use crate::Engine;
use crate::fixtures::{WRITERS, append, at, at_once, device_in, read_to};

async fn state(source: &dyn EventSource, partition: u16) -> PartitionState {
    source.partition(partition).await.unwrap().unwrap()
}

/// Everything in a partition, and how much of it is missing.
async fn whole(source: &dyn EventSource, partition: u16) -> (Vec<StoredEvent>, u64) {
    let end = state(source, partition).await.last.map_or(0, |(last, _)| last + 1);
    let mut cursor = source.read(partition, Start::At(0)).await.unwrap().unwrap();
    read_to(&mut *cursor, end).await
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence_number).collect()
}

/// One event a millisecond in the first partition, from an instant on.
async fn fill(engine: &dyn Engine, from: i64, count: i64, body: &[u8]) {
    let (sink, device) = (engine.sink(), device_in(0, engine.source().partitions()));
    for ms in from..from + count {
        append(&*sink, &device, at(ms), body).await.unwrap();
    }
}

/// As it says.
pub async fn a_cursor_begins_where_it_is_told_and_says_where_it_stands(engine: Box<dyn Engine>) {
    let source = engine.source();
    let none = source.partitions();
    let empty = PartitionState { begin: 0, last: None, is_empty: true };
    assert_eq!(state(&*source, 0).await, empty);
    fill(&*engine, 1_000, 10, b"x").await;
    assert_eq!(state(&*source, 0).await, PartitionState { begin: 0, last: Some((9, at(1_009))), is_empty: false });
    assert_eq!(state(&*source, 1).await, empty);
    assert_eq!(source.partition(none).await.unwrap(), None);
    assert!(source.read(none, Start::Earliest).await.unwrap().is_none());

    let mut latest = source.read(0, Start::Latest).await.unwrap().unwrap();
    assert_eq!(latest.position(), 10);
    fill(&*engine, 1_010, 2, b"x").await;
    for (start, first) in [
        (Start::Earliest, 0),
        (Start::At(0), 0),
        (Start::At(7), 7),
        (Start::At(11), 11),
        (Start::After(at(0)), 0),
        (Start::After(at(1_004)), 5),
    ] {
        let mut cursor = source.read(0, start).await.unwrap().unwrap();
        let mut read = vec![];
        while cursor.position() < 12 {
            let batch = cursor.next(7, 1 << 20).await.unwrap().unwrap();
            assert!((1..=7).contains(&batch.events.len()) && batch.missed == 0, "{start:?}");
            read.extend(numbers(&batch.events));
        }
        assert_eq!((read, cursor.position()), ((first..12).collect(), 12), "{start:?}");
    }
    assert_eq!(numbers(&read_to(&mut *latest, 12).await.0), [10, 11]);
    engine.close_log().await.unwrap();
    assert!(latest.next(1, 1).await.unwrap().is_none(), "closed, and read to its end");
}

/// As it says.
pub async fn positions_rise_by_one_and_time_never_falls(engine: Box<dyn Engine>) {
    let (source, sink) = (engine.source(), engine.sink());
    let devices: Vec<_> = (0..source.partitions()).map(|n| device_in(n, source.partitions())).collect();
    let written = at_once(|writer| {
        let (sink, device) = (Arc::clone(&sink), devices[writer % devices.len()].clone());
        async move {
            for number in 0..20 {
                sink.ready().await;
                // Clocks that go back, and differ.
                let time = at(1_000 - number * 7 + i64::try_from(writer).unwrap());
                append(&*sink, &device, time, format!("{writer} {number}").as_bytes()).await.unwrap();
            }
        }
    });
    written.await;
    let mut of_writers = BTreeMap::<String, Vec<u32>>::new();
    let mut count = 0;
    for partition in 0..source.partitions() {
        let (events, missed) = whole(&*source, partition).await;
        assert_eq!((numbers(&events), missed), ((0..events.len() as u64).collect(), 0));
        assert!(events.is_sorted_by(|a, b| a.enqueued_at <= b.enqueued_at));
        let last = events.last().unwrap();
        assert_eq!(state(&*source, partition).await.last, Some((last.sequence_number, last.enqueued_at)));
        for event in &events {
            assert_eq!((event.partition, &event.identity), (partition, &devices[usize::from(partition)]));
            let body = String::from_utf8(event.body.to_vec()).unwrap();
            let (writer, number) = body.split_once(' ').unwrap();
            of_writers.entry(writer.to_owned()).or_default().push(number.parse().unwrap());
        }
        count += events.len();
    }
    assert_eq!(count, WRITERS * 20);
    assert!(of_writers.values().all(|numbers| *numbers == (0..20).collect::<Vec<_>>()), "{of_writers:?}");
}

/// As it says.
pub async fn a_reader_skips_nothing_while_many_write(engine: Box<dyn Engine>) {
    let (source, sink) = (engine.source(), engine.sink());
    let device = device_in(0, source.partitions());
    let end = WRITERS as u64 * 20;
    let readers: Vec<_> = [Start::Earliest, Start::Latest, Start::At(5), Start::After(Timestamp::NEVER)]
        .into_iter()
        .map(|start| {
            let source = Arc::clone(&source);
            tokio::spawn(async move {
                let mut cursor = source.read(0, start).await.unwrap().unwrap();
                let from = cursor.position();
                (from, read_to(&mut *cursor, end).await)
            })
        })
        .collect();
    let written = at_once(|_| {
        let (sink, device) = (Arc::clone(&sink), device.clone());
        async move {
            for number in 0..20 {
                sink.ready().await;
                append(&*sink, &device, at(1 + number), b"x").await.unwrap();
            }
        }
    });
    written.await;
    for reader in readers {
        let (from, (events, missed)) = reader.await.unwrap();
        assert_eq!((numbers(&events), missed), ((from..end).collect(), 0));
    }
}

/// As it says.
pub async fn what_retention_dropped_is_told_as_missed(engine: Box<dyn Engine>) {
    let source = engine.source();
    let mut cursor = source.read(0, Start::At(0)).await.unwrap().unwrap();
    fill(&*engine, 1_000, 40, &[7; 8 << 10]).await;
    engine.expire().await.unwrap();
    let begin = state(&*source, 0).await.begin;
    assert!((1..40).contains(&begin), "something was dropped, and not everything: {begin}");
    let (events, missed) = read_to(&mut *cursor, 40).await;
    assert_eq!((numbers(&events), missed), ((begin..40).collect(), begin));
    let earliest = source.read(0, Start::Earliest).await.unwrap().unwrap();
    assert_eq!(earliest.position(), begin);
    let mut late = source.read(0, Start::At(begin - 1)).await.unwrap().unwrap();
    assert_eq!(read_to(&mut *late, 40).await.1, 1, "whoever comes back to what is gone is told");
    // Numbers go on where they were.
    fill(&*engine, 2_000, 1, b"x").await;
    assert_eq!(state(&*source, 0).await.last, Some((40, at(2_000))));
}

/// As it says.
pub async fn what_is_damaged_is_told_as_missed_and_never_given(engine: Box<dyn Engine>) {
    let source = engine.source();
    for number in 0..12 {
        fill(&*engine, 1_000 + number, 1, format!("event {number:02} {}", "x".repeat(3_000)).as_bytes()).await;
    }
    engine.damage(b"event 04 ");
    let (events, missed) = whole(&*source, 0).await;
    assert_eq!((numbers(&events), missed), ((0..12).filter(|number| *number != 4).collect(), 1));
    let mut cursor = source.read(0, Start::At(4)).await.unwrap().unwrap();
    let batch = cursor.next(10, 1 << 20).await.unwrap().unwrap();
    assert_eq!((batch.events.len(), batch.missed, cursor.position()), (0, 1, 5), "first what is missed, then the rest");
}

/// As it says.
pub async fn an_append_is_decided_when_it_resolves(engine: Box<dyn Engine>) {
    let (source, sink) = (engine.source(), engine.sink());
    let device = device_in(0, source.partitions());
    // The log is closed while many write: each is told yes or no, and it is true.
    let (told, closed) = tokio::join!(
        at_once(|writer| {
            let (sink, device) = (Arc::clone(&sink), device.clone());
            async move {
                let mut told = vec![];
                for number in 0..20 {
                    let body = format!("{writer} {number}");
                    told.push((append(&*sink, &device, at(1), body.as_bytes()).await.is_ok(), body));
                }
                told
            }
        }),
        engine.close_log()
    );
    closed.unwrap();
    let mut acknowledged: Vec<_> =
        told.into_iter().flatten().filter_map(|(is_taken, body)| is_taken.then_some(body)).collect();
    let (events, missed) = whole(&*source, 0).await;
    let mut stored: Vec<_> = events.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect();
    acknowledged.sort();
    stored.sort();
    assert_eq!((stored, missed), (acknowledged, 0));
    assert!(append(&*sink, &device, at(1), b"late").await.is_err());
}

/// As it says.
pub async fn what_was_acknowledged_survives_a_restart(engine: Box<dyn Engine>) {
    fill(&*engine, 1_000, 5, b"x").await;
    let before = whole(&*engine.source(), 0).await.0;
    let engine = engine.restart().await.unwrap();
    assert_eq!(whole(&*engine.source(), 0).await, (before, 0));
    // A clock that went back in between.
    fill(&*engine, 10, 1, b"x").await;
    assert_eq!(state(&*engine.source(), 0).await.last, Some((5, at(1_004))));
}
