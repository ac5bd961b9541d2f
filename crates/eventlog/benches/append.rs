//! What the log costs: whole-process CPU and wall time for appends and reads of 300-byte events.
//!
//! `cargo bench -p gantry-eventlog` prints one line a case. The log is made under `GANTRY_BENCH_FOLDER`,
//! by default the current folder: a memory file system would make `fdatasync` free.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_eventlog::{Commit, Config, Log, StartPosition};
use rustix::time::{ClockId, clock_gettime};

const EVENT: [u8; 300] = [0x5A; 300];
/// About 64 kB.
const EVENTS_PER_BATCH: usize = 218;
const PARTITIONS: u16 = 4;

/// CPU time of this process so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

struct Measure {
    wall: Instant,
    cpu: Duration,
}

impl Measure {
    fn begin() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    fn print(&self, case: &str, count: usize) {
        let wall = self.wall.elapsed();
        let cpu = cpu() - self.cpu;
        println!(
            "{case:<46} {count:>9} in {:>7.3} s  {:>10.0} /s  {:>7.3} us CPU each  {:>9.1} us wall each",
            wall.as_secs_f64(),
            count as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / count as f64,
            wall.as_secs_f64() * 1e6 / count as f64,
        );
    }
}

fn fresh(parent: &Path) -> (tempfile::TempDir, Log) {
    let folder = tempfile::tempdir_in(parent).expect("a folder for the log");
    let (log, _) = Log::open(Config::new(folder.path().join("log"), PARTITIONS)).expect("a fresh log");
    (folder, log)
}

/// A log that has just begun to write over a retired segment, with another to follow.
async fn recycling(parent: &Path) -> (tempfile::TempDir, Log) {
    let folder = tempfile::tempdir_in(parent).expect("a folder for the log");
    let mut config = Config::new(folder.path().join("log"), PARTITIONS);
    config.retention_bytes = Some(0);
    let (log, _) = Log::open(config).expect("a fresh log");
    append(&log, 2, 4, 1500, EVENTS_PER_BATCH).await;
    let retired = log.apply_retention(0).segments;
    assert!(retired >= 2, "{retired} segments retired");
    append(&log, 2, 4, 500, EVENTS_PER_BATCH).await;
    (folder, log)
}

fn encode(log: &Log, first_partition: usize, events: usize) -> Commit {
    let mut batch = log.begin();
    for at in 0..events {
        let partition = ((first_partition + at / 55) % usize::from(PARTITIONS)) as u16;
        batch.push(partition, 1, |out| out.extend_from_slice(&EVENT)).expect("room");
    }
    batch.finish()
}

/// Tasks that each keep `in_flight` batches between encoding and durable.
async fn append(log: &Log, tasks: usize, in_flight: usize, batches: usize, events: usize) {
    let run = |task: usize, log: Log| async move {
        let mut waiting = std::collections::VecDeque::new();
        for number in 0..batches {
            log.ready().await;
            waiting.push_back(encode(&log, task + number, events));
            if waiting.len() >= in_flight {
                waiting.pop_front().expect("not empty").await.expect("durable");
            }
        }
        for commit in waiting {
            commit.await.expect("durable");
        }
    };
    let tasks: Vec<_> = (0..tasks).map(|task| tokio::spawn(run(task, log.clone()))).collect();
    for task in tasks {
        task.await.expect("the task ends");
    }
}

async fn read(log: &Log) -> usize {
    let mut count = 0;
    for partition in 0..PARTITIONS {
        let end = log.partition_properties(partition).expect("exists").last_enqueued_sequence_number;
        let mut reader = log.reader(partition, StartPosition::Earliest).expect("exists");
        while Some(reader.next_sequence_number()) <= end {
            count += reader.next_batch(1000, 1 << 20).await.expect("intact").len();
        }
    }
    count
}

async fn run(parent: &Path) {
    for (tasks, in_flight, batches) in [(2, 1, 1000), (2, 8, 4000), (50, 1, 100)] {
        let (_folder, log) = fresh(parent);
        let measure = Measure::begin();
        append(&log, tasks, in_flight, batches, EVENTS_PER_BATCH).await;
        let case = format!("append, {tasks} tasks x {in_flight} batches of 64 kB");
        measure.print(&case, tasks * batches * EVENTS_PER_BATCH);
    }
    let (folder, log) = fresh(parent);
    append(&log, 2, 8, 2500, EVENTS_PER_BATCH).await;
    let measure = Measure::begin();
    let count = read(&log).await;
    measure.print("read, 4 partitions from files", count);
    log.close().await.expect("closes");
    drop(log);
    let measure = Measure::begin();
    let (log, _) = Log::open(Config::new(folder.path().join("log"), PARTITIONS)).expect("opens");
    measure.print(&format!("open, clean, {} MiB", log.size_bytes() >> 20), 1);
    let (_folder, log) = fresh(parent);
    append(&log, 2, 1, 150, EVENTS_PER_BATCH).await;
    let measure = Measure::begin();
    let mut count = 0;
    for _ in 0..10 {
        count += read(&log).await;
    }
    measure.print("read, 4 partitions from memory", count);
    let (_folder, log) = fresh(parent);
    let measure = Measure::begin();
    append(&log, 1, 1, 500, 1).await;
    measure.print("append, one event a commit", 500);
    let (_folder, log) = recycling(parent).await;
    let measure = Measure::begin();
    append(&log, 1, 1, 500, 1).await;
    measure.print("append, one event a commit, recycled file", 500);
    let measure = Measure::begin();
    append(&log, 2, 1, 400, EVENTS_PER_BATCH).await;
    measure.print("append, 2 tasks x 1 batches, recycled file", 800 * EVENTS_PER_BATCH);
}

fn main() {
    let parent = std::env::var_os("GANTRY_BENCH_FOLDER").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run(&parent));
}
