//! A full disk and a failing one: clear errors, no number consumed, and life goes on afterwards.

use std::sync::atomic::Ordering;

use super::*;

async fn fill(log: &Log, disk: &MemoryDisk) -> u64 {
    let mut count = 0;
    loop {
        match append(log, &[(0, count, vec![count as u8; 4000])]).await {
            Ok(()) => count += 1,
            Err(AppendError::Full) => return count,
            Err(error) => panic!("{error}"),
        }
        if count == 10 {
            disk.faults.full.store(true, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_said_so_and_appends_succeed_again_with_space() {
    for half_writes in [false, true] {
        let disk = MemoryDisk::default();
        disk.faults.half_writes.store(half_writes, Ordering::SeqCst);
        let (log, _) = open(&disk, config());
        assert_eq!(fill(&log, &disk).await, 10);
        assert!(matches!(append(&log, &[(0, 1, b"no".to_vec())]).await, Err(AppendError::Full)));
        assert_eq!(read_all(&log, 0, StartPosition::Earliest).0.len(), 10, "still readable");
        let crashed = disk.copy();
        disk.faults.full.store(false, Ordering::SeqCst);
        append(&log, &[(0, 99, b"yes".to_vec())]).await.unwrap();
        for log in [log, open(&disk.copy(), config()).0] {
            let (events, gaps) = read_all(&log, 0, StartPosition::Earliest);
            assert_eq!((events.len(), gaps.len()), (11, 0));
            assert_eq!((events[10].sequence_number, &events[10].bytes[..]), (10, &b"yes"[..]));
        }
        let (log, _) = open(&crashed, config());
        assert_eq!(read_all(&log, 0, StartPosition::Earliest).0.len(), 10);
    }
}

#[tokio::test]
async fn a_failed_sync_moves_to_a_fresh_segment_and_uses_no_number() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, config());
    append(&log, &[(1, 1, b"first".to_vec())]).await.unwrap();
    disk.faults.sync.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(append(&log, &[(1, 2, b"lost".to_vec())]).await, Err(AppendError::Io(_))));
    }
    disk.faults.sync.store(false, Ordering::SeqCst);
    append(&log, &[(1, 3, b"second".to_vec())]).await.unwrap();
    assert!(disk.names().contains(&"log/00000000000000000002.seg".to_owned()));
    for log in [log, open(&disk.copy(), config()).0] {
        let (events, gaps) = read_all(&log, 1, StartPosition::Earliest);
        let got: Vec<_> = events.iter().map(|event| (event.sequence_number, &event.bytes[..])).collect();
        assert_eq!(got, [(0, &b"first"[..]), (1, &b"second"[..])]);
        assert!(gaps.is_empty());
    }
}

#[tokio::test]
async fn a_full_disk_does_not_keep_the_log_from_opening() {
    let disk = MemoryDisk::default();
    {
        let (log, _) = open(&disk, config());
        append(&log, &[(0, 1, b"a".to_vec())]).await.unwrap();
    }
    disk.edit("log/00000000000000000001.seg", |bytes| bytes.truncate(8192));
    disk.faults.full.store(true, Ordering::SeqCst);
    let (log, _) = open(&disk, config());
    assert_eq!(read_all(&log, 0, StartPosition::Earliest).0.len(), 1);
}
