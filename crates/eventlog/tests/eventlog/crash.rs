//! Whatever happens to the file: acknowledged events survive, and what was not appended is never returned.

use std::collections::BTreeMap;

use super::*;

const SEGMENT: &str = "log/00000000000000000001.seg";

/// Four commits over three partitions; returns the disk, and for each commit where it ends and how many
/// events of each partition are acknowledged then.
async fn small_log() -> (MemoryDisk, Vec<(usize, [usize; 3])>, BTreeMap<(u16, u64), Vec<u8>>) {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, config());
    let mut commits = vec![(4096, [0; 3])];
    let mut events = BTreeMap::new();
    let mut end = 4096_usize;
    let mut counts = [0_usize; 3];
    for commit in 0..4_u8 {
        let mut batch = Vec::new();
        let mut commit_bytes = 0_usize;
        for partition in 0..=u16::from(commit % 3) {
            let mut block_bytes = 64;
            for n in 0..3_usize {
                let bytes = vec![commit * 16 + partition as u8 * 4 + n as u8 + 1; 5 + n * 20];
                block_bytes += 8 + bytes.len();
                let number = counts[usize::from(partition)] as u64;
                events.insert((partition, number), bytes.clone());
                counts[usize::from(partition)] += 1;
                batch.push((partition, 1000, bytes));
            }
            commit_bytes = commit_bytes.next_multiple_of(64) + block_bytes;
        }
        append(&log, &batch).await.unwrap();
        end += commit_bytes.next_multiple_of(512);
        commits.push((end, counts));
    }
    // No close: the index file must not be there to help.
    (disk.copy(), commits, events)
}

fn check_events(log: &Log, expected: &BTreeMap<(u16, u64), Vec<u8>>, what: &str) -> [usize; 3] {
    let mut counts = [0; 3];
    for partition in 0..3_u16 {
        let (events, _) = read_all(log, partition, StartPosition::Earliest);
        for event in &events {
            let appended = expected.get(&(partition, event.sequence_number));
            assert_eq!(appended.map(Vec::as_slice), Some(&event.bytes[..]), "{what}");
        }
        counts[usize::from(partition)] = events.len();
    }
    counts
}

#[tokio::test]
async fn a_file_cut_at_any_byte_keeps_every_whole_commit_and_takes_new_events() {
    let (disk, commits, mut expected) = small_log().await;
    let last = commits.last().unwrap().0;
    for cut in 4096..=last {
        let disk = disk.copy();
        disk.edit(SEGMENT, |bytes| bytes.truncate(cut));
        let (log, recovery) = open(&disk, config());
        let counts = check_events(&log, &expected, &format!("cut at {cut}"));
        let whole = commits.iter().rev().find(|(end, _)| *end <= cut).unwrap();
        for (partition, count) in counts.iter().enumerate() {
            assert!(*count >= whole.1[partition], "cut at {cut}: {count} of {:?}", whole.1);
        }
        assert!(commits.iter().any(|(_, all)| *all == counts), "cut at {cut}: part of a commit");
        assert!(recovery.damage.is_empty(), "cut at {cut}: {recovery:?}");
        let number = counts[0] as u64;
        let before = expected.insert((0, number), b"after".to_vec());
        append(&log, &[(0, 1, b"after".to_vec())]).await.unwrap();
        assert_eq!(check_events(&log, &expected, &format!("after cut at {cut}"))[0], counts[0] + 1);
        match before {
            Some(before) => expected.insert((0, number), before),
            None => expected.remove(&(0, number)),
        };
    }
}

#[tokio::test]
async fn a_changed_byte_loses_at_most_its_own_block_and_is_reported() {
    let (disk, commits, expected) = small_log().await;
    let all = commits.last().unwrap().1;
    let before_last = commits[commits.len() - 2];
    for at in 4096..commits.last().unwrap().0 {
        let disk = disk.copy();
        disk.edit(SEGMENT, |bytes| bytes[at] ^= 0x41);
        let (log, recovery) = open(&disk, config());
        let what = format!("byte {at}");
        let counts = check_events(&log, &expected, &what);
        let lost: usize = all.iter().zip(counts).map(|(all, count)| all - count).sum();
        if at >= before_last.0 {
            assert!(lost == 0 || counts == before_last.1, "{what}: the last commit is cut whole");
            assert_eq!(lost > 0, recovery.cut.is_some(), "{what}");
            continue;
        }
        assert!(lost == 0 || lost == 3, "{what}: lost {lost}");
        assert_eq!(lost > 0, !recovery.damage.is_empty(), "{what}: {recovery:?}");
        // A number that may have been used is not given out again.
        append(&log, &[(0, 1, b"x".to_vec()), (1, 1, b"x".to_vec()), (2, 1, b"x".to_vec())]).await.unwrap();
        for partition in 0..3_u16 {
            let (events, _) = read_all(&log, partition, StartPosition::Earliest);
            assert!(events.last().unwrap().sequence_number >= all[usize::from(partition)] as u64, "{what}");
            assert!(events.is_sorted_by(|a, b| a.sequence_number < b.sequence_number), "{what}");
        }
    }
}

#[tokio::test]
async fn power_loss_with_any_mix_of_sectors_keeps_the_acknowledged() {
    for seed in 0..200_u64 {
        let disk = MemoryDisk::default();
        let (log, _) = open(&disk, config());
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut expected = BTreeMap::new();
        let mut counts = [0_usize; 3];
        for step in 0..1 + random() % 6 {
            let partition = (random() % 3) as u16;
            let bytes = vec![step as u8; (random() % 3000) as usize];
            expected.insert((partition, counts[usize::from(partition)] as u64), bytes.clone());
            append(&log, &[(partition, step, bytes)]).await.unwrap();
            counts[usize::from(partition)] += 1;
        }
        // The last commit is written and not synced.
        disk.faults.sync.store(true, std::sync::atomic::Ordering::SeqCst);
        let torn: Vec<_> = (0..3).map(|partition| (partition, 9, vec![0xEE; 1500])).collect();
        for (partition, _, bytes) in &torn {
            expected.insert((*partition, counts[usize::from(*partition)] as u64), bytes.clone());
        }
        assert!(append(&log, &torn).await.is_err());
        let left = disk.after_power_loss(|| random() % 2 == 0);
        let (log, _) = open(&left, config());
        let kept = check_events(&log, &expected, &format!("seed {seed}"));
        for (kept, acknowledged) in kept.iter().zip(counts) {
            assert!(*kept >= acknowledged, "seed {seed}: {kept} of {acknowledged}");
        }
        // What the torn commit left behind must not come between a shorter one and its reader.
        expected.insert((0, kept[0] as u64), b"after".to_vec());
        append(&log, &[(0, 1, b"after".to_vec())]).await.unwrap();
        let (log, recovery) = open(&left.copy(), config());
        assert_eq!((recovery.cut, recovery.damage), (None, vec![]), "seed {seed}");
        let after = check_events(&log, &expected, &format!("seed {seed}, after"));
        assert_eq!(after, [kept[0] + 1, kept[1], kept[2]], "seed {seed}");
    }
}
