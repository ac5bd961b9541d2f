//! Random appends, reopenings and retention against a list of events.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u16, u64, usize)>),
    Reopen,
    Crash,
    Retain { keep_bytes: bool },
    ReadTime { partition: u16, ms: u64 },
    ReadSequence { partition: u16, back: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let event = (0..3_u16, 0..1000_u64, prop_oneof![0..300_usize, 0..8000_usize]);
    prop_oneof![
        8 => prop::collection::vec(event, 1..6).prop_map(Step::Append),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(|keep_bytes| Step::Retain { keep_bytes }),
        2 => (0..3_u16, 0..1000_u64).prop_map(|(partition, ms)| Step::ReadTime { partition, ms }),
        2 => (0..3_u16, 0..40_u64).prop_map(|(partition, back)| Step::ReadSequence { partition, back }),
    ]
}

#[derive(Default)]
struct Model {
    events: [Vec<(u64, Vec<u8>)>; 3],
}

impl Model {
    fn check(&self, log: &Log, partition: u16, start: StartPosition, from: u64) {
        let (events, gaps) = read_all(log, partition, start);
        let all = &self.events[usize::from(partition)];
        let begin = log.partition_properties(partition).unwrap().begin_sequence_number;
        if from < begin && matches!(start, StartPosition::Sequence { .. }) {
            assert_eq!(gaps, [(from, begin)]);
        } else {
            assert!(gaps.is_empty(), "{gaps:?}");
        }
        let from = from.max(begin) as usize;
        assert_eq!(events.len(), all.len().saturating_sub(from), "{start:?} of {partition}");
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event.sequence_number, (from + at) as u64);
            assert_eq!((event.enqueued_time_ms, &event.bytes[..]), (all[from + at].0, &all[from + at].1[..]));
        }
    }

    fn check_all(&self, log: &Log) {
        for partition in 0..3_u16 {
            let properties = log.partition_properties(partition).unwrap();
            let all = &self.events[usize::from(partition)];
            assert_eq!(properties.last_enqueued_sequence_number, (all.len() as u64).checked_sub(1));
            assert_eq!(properties.last_enqueued_time_ms, all.last().map(|last| last.0));
            assert_eq!(properties.is_empty, properties.begin_sequence_number == all.len() as u64);
            self.check(log, partition, StartPosition::Earliest, 0);
        }
    }
}

async fn run(steps: Vec<Step>) {
    let mut config = config();
    config.retention = Some(Duration::from_millis(300));
    config.tail_bytes_max = 20 << 10;
    let mut disk = MemoryDisk::default();
    let (mut log, _) = open(&disk, config.clone());
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append(events) => {
                let of = |(partition, time_ms, bytes)| (partition, time_ms, vec![number as u8; bytes]);
                let events: Vec<_> = events.into_iter().map(of).collect();
                append(&log, &events).await.unwrap();
                for (partition, time_ms, bytes) in events {
                    let all = &mut model.events[usize::from(partition)];
                    let last = all.last().map_or(0, |last| last.0);
                    all.push((time_ms.max(last), bytes));
                }
            }
            Step::Reopen => {
                log.close().await.unwrap();
                let (again, recovery) = open(&disk, config.clone());
                assert_eq!((recovery.cut, recovery.damage), (None, Vec::new()));
                log = again;
            }
            Step::Crash => {
                disk = disk.after_power_loss(|| false);
                let (again, recovery) = open(&disk, config.clone());
                assert_eq!((recovery.cut, recovery.damage), (None, Vec::new()));
                log = again;
            }
            Step::Retain { keep_bytes } => {
                let now_ms = if keep_bytes { 0 } else { 1000 };
                let _ = log.apply_retention(now_ms);
            }
            Step::ReadTime { partition, ms } => {
                let all = &model.events[usize::from(partition)];
                let from = all.iter().position(|event| event.0 > ms).unwrap_or(all.len()) as u64;
                model.check(&log, partition, StartPosition::EnqueuedTime { ms }, from);
            }
            Step::ReadSequence { partition, back } => {
                let n = (model.events[usize::from(partition)].len() as u64).saturating_sub(back);
                model.check(&log, partition, StartPosition::Sequence { n, inclusive: true }, n);
                model.check(&log, partition, StartPosition::Sequence { n, inclusive: false }, n + 1);
            }
        }
        model.check_all(&log);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_behaves_like_a_list(steps in prop::collection::vec(step(), 1..60)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
