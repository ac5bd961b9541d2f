//! Formats of the log: `tests/golden/v1` is a log written once, `v1.expected.txt` what it holds; `checkpoint.v2` is
//! the checkpoint of today, that in `v1` the one before.
//!
//! Every file is read, and written again byte for byte. A log draws its id at random and its checksums begin with it,
//! so that the file `meta` of the golden log is there before the log is written again.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const SEGMENT: &str = "00000000000000000001.seg";
const INDEX: &str = "00000000000000000001.idx";
const CHECKPOINT: &str = "checkpoints/consumer.0";
/// Of a segment, what is kept: header and blocks. The rest is zeros.
const SEGMENT_BYTES_KEPT: usize = 8192;

fn golden(name: &str) -> PathBuf {
    gantry_golden::folder(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn open_folder(folder: &Path) -> (Log, Recovery) {
    let mut config = config();
    config.folder = folder.to_owned();
    Log::open(config).unwrap()
}

async fn write(folder: &Path) {
    let (log, _) = open_folder(folder);
    for n in 0..6_u64 {
        let events: Vec<_> =
            (0..=n).map(|at| ((at % 3) as u16, 1_700_000_000_000 + n * 10, vec![n as u8; at as usize])).collect();
        append(&log, &events).await.unwrap();
    }
    let epoch = log.checkpoints().take("consumer").unwrap();
    log.checkpoints().put("consumer", epoch, b"cursor 17").unwrap();
    log.close().await.unwrap();
}

fn describe(log: &Log) -> String {
    let mut out = String::new();
    for partition in 0..log.partitions() {
        for event in read_all(log, partition, StartPosition::Earliest).0 {
            writeln!(out, "{partition} {} {} {:?}", event.sequence_number, event.enqueued_time_ms, &event.bytes[..])
                .unwrap();
        }
    }
    let checkpoint = log.checkpoints().get("consumer").unwrap().unwrap();
    writeln!(out, "checkpoint {}", String::from_utf8(checkpoint).unwrap()).unwrap();
    out
}

/// A copy of the golden log, without some of its files.
fn copy(without: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    for name in ["meta", SEGMENT, INDEX, CHECKPOINT].iter().filter(|name| !without.contains(name)) {
        fs::copy(golden("v1").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_log_of_format_v1_reads_as_it_was_written() {
    for without in [&[][..], &[INDEX]] {
        let folder = copy(without);
        let (log, recovery) = open_folder(folder.path());
        assert_eq!((recovery.cut, recovery.damage), (None, Vec::new()));
        gantry_golden::check(&golden("v1.expected.txt"), describe(&log).as_bytes());
    }
}

#[tokio::test]
async fn a_log_is_written_as_it_was() {
    let folder = copy(&[SEGMENT, INDEX, CHECKPOINT]);
    write(folder.path()).await;
    let segment = fs::read(folder.path().join(SEGMENT)).unwrap();
    let (kept, rest) = segment.split_at(SEGMENT_BYTES_KEPT);
    gantry_golden::check(&golden("v1").join(SEGMENT), kept);
    assert!(rest.iter().all(|byte| *byte == 0));
    gantry_golden::check(&golden("v1").join(INDEX), &fs::read(folder.path().join(INDEX)).unwrap());
    gantry_golden::check(&golden("checkpoint.v2"), &fs::read(folder.path().join(CHECKPOINT)).unwrap());
}

#[test]
fn a_checkpoint_of_format_v2_reads_as_it_was_written() {
    let folder = copy(&[CHECKPOINT]);
    fs::copy(golden("checkpoint.v2"), folder.path().join(CHECKPOINT)).unwrap();
    let (log, _) = open_folder(folder.path());
    assert_eq!(log.checkpoints().get("consumer").unwrap().as_deref(), Some(&b"cursor 17"[..]));
    assert_eq!(log.checkpoints().take("consumer").unwrap(), 2, "it was written under the first epoch");
}
