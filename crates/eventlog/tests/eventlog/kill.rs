//! `kill -9` of a process that appends, again and again over the same log.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const TEST: &str = "kill::what_a_killed_process_acknowledged_is_there";
const FOLDER: &str = "GANTRY_EVENTLOG_KILL_FOLDER";
const ROUNDS: usize = 5;
const ACKNOWLEDGED_BEFORE_KILL: usize = 40;

fn kill_config(folder: &Path) -> Config {
    let mut config = config();
    config.folder = folder.to_owned();
    config
}

fn content(number: u64) -> Vec<u8> {
    vec![number as u8; (number % 700) as usize]
}

/// The child: appends for ever to three partitions at once and says what was acknowledged.
async fn append_for_ever(folder: &Path) {
    let (log, _) = Log::open(kill_config(folder)).unwrap();
    let run = |partition: u16, log: Log| async move {
        let mut number =
            log.partition_properties(partition).unwrap().last_enqueued_sequence_number.map_or(0, |n| n + 1);
        loop {
            append(&log, &[(partition, 0, content(number)), (partition, 0, content(number + 1))]).await.unwrap();
            number += 2;
            println!("\nacknowledged {partition} {number}");
        }
    };
    tokio::join!(run(0, log.clone()), run(1, log.clone()), run(2, log.clone()));
}

/// Runs a child until enough was acknowledged, kills it, and returns the count acknowledged in each partition.
fn run_and_kill(folder: &Path) -> [u64; 3] {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = [0; 3];
    let mut lines = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((partition, count)) = line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        // A last line may be torn by the kill; it then says less than was acknowledged.
        if let (Ok(partition), Ok(count)) = (partition.parse::<usize>(), count.parse::<u64>()) {
            acknowledged[partition] = acknowledged[partition].max(count);
        }
        lines += 1;
        if lines == ACKNOWLEDGED_BEFORE_KILL {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(lines >= ACKNOWLEDGED_BEFORE_KILL, "the child ended by itself");
    acknowledged
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return append_for_ever(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let acknowledged = run_and_kill(folder.path());
        let (log, recovery) = Log::open(kill_config(folder.path())).unwrap();
        assert_eq!(recovery.damage, [], "round {round}");
        for partition in 0..3_u16 {
            let (events, gaps) = read_all(&log, partition, StartPosition::Earliest);
            assert_eq!(gaps, [], "round {round}");
            assert!(events.len() as u64 >= acknowledged[usize::from(partition)], "round {round}");
            assert!(events.len().is_multiple_of(2), "round {round}: half a batch");
            for (number, event) in events.iter().enumerate() {
                assert_eq!((event.sequence_number, &event.bytes[..]), (number as u64, &content(number as u64)[..]));
            }
        }
    }
}
