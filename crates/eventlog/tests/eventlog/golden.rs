//! Format v1 must stay readable: `tests/golden/v1` is a log written once, `v1.expected.txt` what it holds.
//!
//! To write a new one (for a new format version only), run this test with `GANTRY_GOLDEN=write`.

use std::fmt::Write;
use std::path::Path;

use super::*;

fn golden_config(folder: &Path) -> Config {
    let mut config = config();
    config.folder = folder.to_owned();
    config
}

async fn write_golden(folder: &Path) {
    let (log, _) = Log::open(golden_config(folder)).unwrap();
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

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_log_of_format_v1_reads_as_it_was_written() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let expected = golden.with_extension("expected.txt");
    if std::env::var_os("GANTRY_GOLDEN").is_some_and(|value| value == "write") {
        write_golden(&golden).await;
        let segment = golden.join("00000000000000000001.seg");
        std::fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(8192).unwrap();
        let (log, _) = Log::open(golden_config(&golden)).unwrap();
        std::fs::write(&expected, describe(&log)).unwrap();
        drop(log);
        let segment = golden.join("00000000000000000001.seg");
        std::fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(8192).unwrap();
    }
    for index_file in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&golden, folder.path());
        if !index_file {
            std::fs::remove_file(folder.path().join("00000000000000000001.idx")).unwrap();
        }
        let (log, recovery) = Log::open(golden_config(folder.path())).unwrap();
        assert_eq!((recovery.cut, recovery.damage), (None, Vec::new()));
        assert_eq!(describe(&log), std::fs::read_to_string(&expected).unwrap());
    }
}
