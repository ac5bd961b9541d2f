//! What a disk may make of the event log.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use gantry_eventlog::{Config, Log, MemoryDisk, ReadError, StartPosition};

/// The events of a log: partition, number, time, bytes.
type Events = BTreeMap<(u16, u64), (u64, Vec<u8>)>;

const FILES: [&str; 4] =
    ["log/00000000000000000001.seg", "log/00000000000000000001.idx", "log/meta", "log/checkpoints/x.0"];

fn config() -> Config {
    let mut config = Config::new("log", 2);
    config.segment_bytes = 64 << 10;
    (config.pending_bytes_max, config.event_bytes_max) = (16 << 10, 8 << 10);
    (config.index_interval_bytes, config.read_bytes) = (512, 1024);
    config
}

fn events(log: &Log) -> Events {
    let mut all = Events::new();
    for partition in 0..log.partitions() {
        let mut reader = log.reader(partition, StartPosition::Earliest).expect("there is such a partition");
        loop {
            match reader.try_next_batch(10, 1 << 20) {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => {
                    all.extend(batch.into_iter().map(|event| {
                        ((partition, event.sequence_number), (event.enqueued_time_ms, event.bytes.to_vec()))
                    }))
                }
                Err(ReadError::Damaged { .. } | ReadError::Expired { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    all
}

/// A log of a few commits, and what is in it.
static SOUND: LazyLock<(MemoryDisk, Events)> = LazyLock::new(|| {
    let disk = MemoryDisk::default();
    let (log, _) = Log::open_on(Arc::new(disk.clone()), config()).expect("an empty disk can be used");
    for commit in 0..6_u8 {
        let mut batch = log.begin();
        for event in 0..4_u8 {
            let bytes = vec![commit * 16 + event + 1; 20 + usize::from(event) * 90];
            let pushed =
                batch.push(u16::from(event % 2), 1000 + u64::from(commit), |out| out.extend_from_slice(&bytes));
            pushed.expect("there is room");
        }
        wait(batch.finish()).expect("the disk is sound");
    }
    let epoch = log.checkpoints().take("x").expect("the disk is sound");
    log.checkpoints().put("x", epoch, b"place").expect("the disk is sound");
    let all = events(&log);
    wait(log.close()).expect("the disk is sound");
    (disk, all)
});

/// Runs a future that another thread completes.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let (mut future, mut context) = (std::pin::pin!(future), std::task::Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// A sound log, damaged: each four bytes are a file, a place and a byte; one of 255 cuts the file there.
///
/// # Panics
/// When an event is returned that was never appended.
pub fn event_log(bytes: &[u8]) {
    let (sound, appended) = &*SOUND;
    let disk = sound.copy();
    for damage in bytes.chunks_exact(4) {
        let (file, at) = (FILES[usize::from(damage[0] % 4)], usize::from(u16::from_le_bytes([damage[1], damage[2]])));
        disk.edit(file, |bytes| match damage[3] {
            255 => bytes.truncate(at),
            byte => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
        });
    }
    let Ok((log, _)) = Log::open_on(Arc::new(disk.clone()), config()) else { return };
    for (place, event) in events(&log) {
        assert_eq!(appended.get(&place), Some(&event), "{place:?}");
    }
    assert!(
        log.checkpoints().get("x").is_err()
            || matches!(log.checkpoints().get("x"), Ok(kept) if kept.as_deref().is_none_or(|kept| kept == b"place"))
    );
}
