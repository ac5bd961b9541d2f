//! Readers, retention and shutdown, over a real folder where it matters.

use super::*;

#[tokio::test]
async fn a_waiting_reader_is_woken_by_a_commit_and_told_of_the_end() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, config());
    append(&log, &[(2, 5, b"old".to_vec())]).await.unwrap();
    let mut reader = log.reader(2, StartPosition::Latest).unwrap();
    let waiting = tokio::spawn(async move {
        let events = reader.next_batch(10, 1000).await.unwrap();
        (events, reader.next_batch(10, 1000).await)
    });
    append(&log, &[(2, 4, b"new".to_vec())]).await.unwrap();
    log.close().await.unwrap();
    let (events, end) = waiting.await.unwrap();
    // The task may have begun only after the append; `Latest` was fixed before it all the same.
    assert_eq!(events, [Event { sequence_number: 1, enqueued_time_ms: 5, bytes: "new".into() }]);
    assert!(matches!(end, Err(ReadError::Closed)));
    assert!(matches!(append(&log, &[(0, 1, Vec::new())]).await, Err(AppendError::Closed)));
}

#[tokio::test]
async fn retention_by_size_moves_a_slow_reader_on_and_recycles_files() {
    let mut config = config();
    config.retention_bytes = Some(3 * (64 << 10));
    config.tail_bytes_max = 0;
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, config.clone());
    let mut slow = log.reader(0, StartPosition::Earliest).unwrap();
    for n in 0..200_u64 {
        append(&log, &[(0, n, vec![n as u8; 4000])]).await.unwrap();
        let _ = log.apply_retention(0);
    }
    assert!(log.size_bytes() <= 3 * (64 << 10));
    let begin = log.partition_properties(0).unwrap().begin_sequence_number;
    assert!(begin > 100);
    let expired = slow.next_batch(10, 1 << 20).await;
    assert!(matches!(expired, Err(ReadError::Expired { from: 0, to }) if to == begin), "{expired:?}");
    let mut next = begin;
    while next < 200 {
        for event in slow.next_batch(10, 1 << 20).await.unwrap() {
            assert_eq!((event.sequence_number, event.bytes[0]), (next, next as u8));
            next += 1;
        }
    }
    let (log, recovery) = open(&disk.copy(), config);
    assert_eq!(recovery.damage, []);
    assert_eq!(read_all(&log, 0, StartPosition::Earliest).0.len() as u64, 200 - begin);
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_skipped_and_reported_to_readers_of_that_partition() {
    let mut config = config();
    config.tail_bytes_max = 0;
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, config.clone());
    for n in 0..40_u64 {
        append(&log, &[(0, n, vec![n as u8; 3000]), (1, n, vec![n as u8; 30])]).await.unwrap();
    }
    // The third event of partition 0: commits are 3584 bytes long.
    disk.edit("log/00000000000000000001.seg", |bytes| bytes[4096 + 2 * 3584 + 500] ^= 1);
    let (events, gaps) = read_all(&log, 0, StartPosition::Earliest);
    assert_eq!((events.len(), gaps), (39, vec![(2, 3)]));
    let (events, gaps) = read_all(&log, 1, StartPosition::Earliest);
    assert_eq!((events.len(), gaps), (40, vec![]));
    // Everything behind some point of the segment.
    disk.edit("log/00000000000000000001.seg", |bytes| bytes[40_000..].fill(0));
    let (events, gaps) = read_all(&log, 0, StartPosition::Earliest);
    assert_eq!(gaps.len(), 2);
    assert_eq!(events.len() as u64, 40 - gaps.iter().map(|(from, to)| to - from).sum::<u64>());
}

#[tokio::test]
async fn a_real_folder_is_locked_reopened_by_its_index_files_and_survives_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.folder = folder.path().join("log");
    let (log, _) = Log::open(config.clone()).unwrap();
    assert!(matches!(Log::open(config.clone()), Err(gantry_eventlog::OpenError::Locked)));
    for n in 0..50_u64 {
        append(&log, &[((n % 3) as u16, n, vec![n as u8; 4000])]).await.unwrap();
    }
    let last = {
        let mut batch = log.begin();
        batch.push(2, 100, |out| out.push(1)).unwrap();
        batch.finish()
    };
    assert_eq!(last.last_sequence_number().await.unwrap(), Some(16));
    let mut batch = log.begin();
    batch.push(1, 100, |out| out.push(1)).unwrap();
    let unawaited = batch.finish();
    drop(log);
    unawaited.await.unwrap();
    let (log, recovery) = Log::open(config.clone()).unwrap();
    assert!(recovery.segments >= 4);
    assert_eq!((recovery.scanned, recovery.cut, recovery.damage), (0, None, vec![]));
    assert_eq!(read_all(&log, 1, StartPosition::Earliest).0.len(), 18);
    drop(log);
    config.partitions = 4;
    let refused = Log::open(config);
    assert!(matches!(refused, Err(gantry_eventlog::OpenError::Partitions { found: 3, asked: 4 })));
}

#[tokio::test]
async fn ready_waits_until_the_writer_took_what_was_pending() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, config());
    let commit = {
        let mut batch = log.begin();
        for _ in 0..3 {
            batch.push(0, 1, |out| out.resize(out.len() + 8000, 1)).unwrap();
        }
        batch.finish()
    };
    log.ready().await;
    assert!(log.has_room());
    commit.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_appenders_see_every_event_once_and_in_order() {
    const TASKS: u64 = 4;
    const BATCHES: u64 = 150;
    for tail_bytes_max in [0, 8 << 10, 1 << 20] {
        let mut config = config();
        config.tail_bytes_max = tail_bytes_max;
        let (log, _) = open(&MemoryDisk::default(), config);
        let appender = |task: u64, log: Log| async move {
            for number in 0..BATCHES {
                log.ready().await;
                let event = |partition| (partition, number, [task, number].map(|n| n as u8).repeat(40));
                append(&log, &[event(0), event(1), event(2)]).await.unwrap();
            }
        };
        let follow = |partition: u16, log: Log| async move {
            let mut reader = log.reader(partition, StartPosition::Earliest).unwrap();
            let mut next = 0;
            let mut numbers = [0_u8; TASKS as usize];
            while next < TASKS * BATCHES {
                for event in reader.next_batch(50, 4000).await.unwrap() {
                    assert_eq!(event.sequence_number, next);
                    let [task, number] = [event.bytes[0], event.bytes[1]];
                    assert_eq!(number, numbers[usize::from(task)], "events of a task keep their order");
                    numbers[usize::from(task)] += 1;
                    next += 1;
                }
            }
        };
        let mut tasks: Vec<_> = (0..3).map(|at| tokio::spawn(follow(at, log.clone()))).collect();
        tasks.extend((0..TASKS).map(|task| tokio::spawn(appender(task, log.clone()))));
        for task in tasks {
            task.await.unwrap();
        }
    }
}
