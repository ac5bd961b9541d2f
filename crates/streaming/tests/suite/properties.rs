//! What holds for all streams: a job restored goes on exactly, order within the tolerance does not matter,
//! partitions may interleave as they like, and the state is bounded.

use std::sync::Arc;

use crate::common::{json, settings};
use gantry_streaming::time::{self, Ticks};
use gantry_streaming::{Beyond, CheckpointError, Event, Failure, Input, Job, Output, Running, Settings};
use proptest::prelude::*;

/// Texts that between them use every kind of state.
const TEXTS: [&str; 9] = [
    "SELECT d, COUNT(*) AS n, AVG(x) AS a, COUNT(DISTINCT x) AS dx, Collect(x) AS c, MIN(x) AS m, STDEV(x) AS s,
        CollectTop(2) OVER (ORDER BY x DESC) AS t, Percentile_Cont(0.3) OVER (ORDER BY x) AS p
     INTO output FROM input TIMESTAMP BY t
     GROUP BY d, Windows(Window('a', TumblingWindow(second, 10)), Window('b', HoppingWindow(second, 20, 5)))",
    "SELECT d, COUNT(*) AS n, SUM(x) AS s, MAX(x) AS m, VARP(x) AS v, TopOne() OVER (ORDER BY x) AS top
     INTO output FROM input TIMESTAMP BY t GROUP BY d, SlidingWindow(second, 7)",
    "SELECT COUNT(*) AS n, Collect(x) AS c INTO output FROM input TIMESTAMP BY t GROUP BY SlidingWindow(second, 7)",
    "SELECT d, COUNT(*) AS n INTO output FROM input TIMESTAMP BY t OVER d
     GROUP BY d, SessionWindow(second, 4, 15) OVER (PARTITION BY d)",
    "SELECT d, x, LAG(x, 2, 0) OVER (PARTITION BY d LIMIT DURATION(second, 9)) AS l,
        LAST(x) OVER (LIMIT DURATION(second, 9) WHEN x > 5) AS la, ISFIRST(second, 10) OVER (PARTITION BY d) AS f,
        AnomalyDetection_SpikeAndDip(x, 90, 6, 'spikesanddips') OVER (LIMIT DURATION(minute, 1)) AS s,
        AnomalyDetection_ChangePoint(x, 90, 6) OVER (PARTITION BY d LIMIT DURATION(minute, 1)) AS c
     INTO output FROM input TIMESTAMP BY t",
    "SELECT a.x AS a, b.x AS b INTO output FROM input a TIMESTAMP BY t LEFT JOIN input b TIMESTAMP BY t
     ON a.d = b.d AND DATEDIFF(second, a, b) BETWEEN -2 AND 5 AND a.x < b.x",
    "WITH minutes AS (SELECT d, SUM(x) AS s FROM input GROUP BY d, TumblingWindow(second, 5))
     SELECT MAX(s) AS m INTO output FROM minutes GROUP BY SlidingWindow(second, 12);
     SELECT d, s INTO rows FROM minutes WHERE s > 3",
    "SELECT i.d, e.ArrayValue AS v INTO output FROM input i TIMESTAMP BY t CROSS APPLY GetArrayElements(i.l) AS e",
    "SELECT COUNT(*) AS n INTO output FROM input TIMESTAMP BY t GROUP BY System.Timestamp()",
];

/// What a test needs of an event; times are in milliseconds.
#[derive(Debug, Clone)]
struct Sent {
    partition: u32,
    arrival: i64,
    age: i64,
    device: u8,
    x: i64,
}

fn sent() -> impl Strategy<Value = Sent> {
    (0..2u32, 0..1500i64, -500..9000i64, 0..4u8, 0..10i64).prop_map(|(partition, arrival, age, device, x)| Sent {
        partition,
        arrival,
        age,
        device,
        x,
    })
}

/// Events whose arrivals rise.
fn stream(length: usize) -> impl Strategy<Value = Vec<Sent>> {
    proptest::collection::vec(sent(), 0..length).prop_map(|mut events| {
        let mut now = 0;
        for event in &mut events {
            now += event.arrival;
            event.arrival = now;
        }
        events
    })
}

fn instant(milliseconds: i64) -> Ticks {
    crate::common::at("12:00:00") + milliseconds * 10_000
}

fn push(running: &mut Running, sequence: usize, event: &Sent, out: &mut Vec<Output>) -> Result<(), Failure> {
    let own = time::text(instant(event.arrival - event.age));
    let body = format!(r#"{{"d":"d{}","x":{},"t":"{own}","l":[{},{}]}}"#, event.device, event.x, event.x, event.device);
    running.push(
        Event {
            input: "input",
            partition: event.partition,
            sequence: sequence as u64,
            arrival: instant(event.arrival),
            body: json(&body),
            system: Vec::new(),
            user: None,
        },
        out,
    )
}

fn two_partitions() -> Settings {
    let mut settings = settings();
    settings.inputs = vec![Input::stream("input", 2)];
    settings.late.within = std::time::Duration::from_secs(5);
    settings.out_of_order.within = std::time::Duration::from_secs(2);
    settings
}

fn job(text: &str, settings: &Settings) -> Arc<Job> {
    Job::parse(text, settings).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The rows of a job in their order.
fn run(job: &Arc<Job>, events: &[Sent]) -> Vec<Output> {
    let (mut running, mut out) = (Running::new(job), Vec::new());
    for (sequence, event) in events.iter().enumerate() {
        push(&mut running, sequence, event, &mut out).expect("pushed");
    }
    running.finish(&mut out).expect("finished");
    assert_eq!(running.held().0, 0, "nothing waits at the end");
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_job_restored_goes_on_exactly(text in 0..TEXTS.len(), events in stream(60), every in 1..9usize) {
        let job = job(TEXTS[text], &two_partitions());
        let expected = run(&job, &events);
        let (mut running, mut out) = (Running::new(&job), Vec::new());
        for (sequence, event) in events.iter().enumerate() {
            push(&mut running, sequence, event, &mut out).expect("pushed");
            if sequence % every == 0 {
                let saved = running.save();
                running = Running::restore(&job, &saved).expect("restored");
                prop_assert_eq!(running.save(), saved, "the same state");
            }
        }
        running.finish(&mut out).expect("finished");
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn partitions_may_interleave_and_time_may_be_told_at_any_moment(
        text in 0..TEXTS.len(),
        events in stream(60),
        choices in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let job = job(TEXTS[text], &two_partitions());
        // Places in a partition are the same whoever comes first.
        let mut places = [0; 2];
        let numbered: Vec<_> = events.iter().map(|event| {
            let place = &mut places[event.partition as usize];
            *place += 1;
            (*place, event)
        }).collect();
        let run = |order: Vec<&(usize, &Sent)>, tell: bool| {
            let (mut running, mut out) = (Running::new(&job), Vec::new());
            for (place, event) in order {
                if tell {
                    running.advance("input", event.partition, instant(event.arrival), &mut out).expect("advanced");
                }
                push(&mut running, *place, event, &mut out).expect("pushed");
            }
            running.finish(&mut out).expect("finished");
            out
        };
        let expected = run(numbered.iter().collect(), false);
        let mut queues: [Vec<_>; 2] = [Vec::new(), Vec::new()];
        for one in numbered.iter().rev() {
            queues[one.1.partition as usize].push(one);
        }
        let mut order = Vec::new();
        for choice in choices.iter().cycle() {
            match queues[usize::from(*choice)].pop().or_else(|| queues[usize::from(!*choice)].pop()) {
                Some(one) => order.push(one),
                None => break,
            }
            if order.len() == numbered.len() {
                break;
            }
        }
        prop_assert_eq!(&run(order, false), &expected);
        prop_assert_eq!(&run(numbered.iter().collect(), true), &expected);
    }

    #[test]
    fn identities_are_of_one_row_each(text in 0..TEXTS.len(), events in stream(60)) {
        let out = run(&job(TEXTS[text], &two_partitions()), &events);
        let mut seen = std::collections::HashSet::new();
        for row in &out {
            prop_assert!(seen.insert((row.output.clone(), row.identity)), "{row:?}");
        }
    }

    #[test]
    fn an_event_lies_in_size_over_hop_windows(at in 0..100_000i64, hop in 1..20i64, times in 1..20i64) {
        let text = format!(
            "SELECT COUNT(*) AS n INTO output FROM input GROUP BY HoppingWindow(second, {}, {hop})",
            hop * times
        );
        let event = Sent { partition: 0, arrival: at, age: 0, device: 0, x: 0 };
        let out = run(&job(&text, &two_partitions()), &[event]);
        prop_assert_eq!(out.len() as i64, times);
        for row in &out {
            prop_assert!(row.timestamp >= instant(at));
            prop_assert!(row.timestamp < instant(at + hop * times * 1000));
            prop_assert_eq!(row.timestamp % (hop * 10_000_000), 0);
        }
    }

    #[test]
    fn order_within_the_tolerance_does_not_matter(
        times in proptest::collection::btree_set(0..9000i64, 1..30),
        shuffle in any::<u64>(),
    ) {
        let mut settings = two_partitions();
        settings.inputs = vec![Input::stream("input", 1)];
        settings.late = crate::common::tolerance(60, Beyond::Drop);
        settings.out_of_order = crate::common::tolerance(10, Beyond::Drop);
        let text = "SELECT COUNT(*) AS n, Collect(x) AS c, SUM(x / 3.0) AS s INTO output FROM input TIMESTAMP BY t
                    GROUP BY SlidingWindow(second, 2)";
        let job = job(text, &settings);
        let sorted: Vec<_> = times.iter().map(|time| Sent {
            partition: 0, arrival: 10_000, age: 10_000 - time, device: 0, x: *time,
        }).collect();
        let mut shuffled = sorted.clone();
        let mut state = shuffle;
        shuffled.sort_by_cached_key(|event| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(event.x as u64);
            state >> 33
        });
        let rows = |events: &[Sent]| run(&job, events).into_iter().map(|row| (row.timestamp, row.row)).collect::<Vec<_>>();
        prop_assert_eq!(rows(&shuffled), rows(&sorted));
    }

    #[test]
    fn a_damaged_checkpoint_is_an_error(text in 0..TEXTS.len(), events in stream(30), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let job = job(TEXTS[text], &two_partitions());
        let (mut running, mut out) = (Running::new(&job), Vec::new());
        for (sequence, event) in events.iter().enumerate() {
            push(&mut running, sequence, event, &mut out).expect("pushed");
        }
        let saved = running.save();
        let place = at.index(saved.len());
        prop_assert!(Running::restore(&job, &saved[..place]).is_err());
        let mut changed = saved.clone();
        changed[place] = to;
        prop_assert!(changed == saved || Running::restore(&job, &changed).is_err());
        // Even where the check is right, what is inside is read with care.
        let content = changed.len() - 4;
        let check = crc32fast::hash(&changed[..content]).to_le_bytes();
        changed[content..].copy_from_slice(&check);
        if let Ok(mut running) = Running::restore(&job, &changed) {
            let _ = running.finish(&mut out);
        }
    }
}

#[test]
fn a_checkpoint_is_of_one_job_and_one_version() {
    let settings = two_partitions();
    let one = job("SELECT x INTO output FROM input", &settings);
    let other = job("SELECT x AS y INTO output FROM input", &settings);
    let mut saved = Running::new(&one).save();
    assert!(Running::restore(&one, &saved).is_ok());
    assert_eq!(Running::restore(&other, &saved).err(), Some(CheckpointError::OtherJob));
    saved[0] = 9;
    assert_eq!(Running::restore(&one, &saved).err(), Some(CheckpointError::Version(9)));
    assert_eq!(Running::restore(&one, &[]).err(), Some(CheckpointError::Damaged));
}

#[test]
fn state_past_its_bound_is_an_error_that_names_it() {
    let fill = |text: &str, change: fn(&mut Settings)| {
        let mut settings = two_partitions();
        change(&mut settings);
        let mut running = Running::new(&job(text, &settings));
        let mut out = Vec::new();
        (0..10_000usize)
            .map(|number| {
                let body = format!(r#"{{"k":{number},"l":[[1,2,3],[1,2,3],[1,2,3]]}}"#);
                running.push(
                    Event {
                        input: "input",
                        partition: 0,
                        sequence: number as u64,
                        arrival: instant(number as i64),
                        body: json(&body),
                        system: Vec::new(),
                        user: None,
                    },
                    &mut out,
                )?;
                running.advance("input", 1, instant(number as i64), &mut out)
            })
            .find_map(Result::err)
    };
    let groups = "SELECT k, COUNT(*) AS n INTO output FROM input GROUP BY k, TumblingWindow(hour, 1)";
    assert_eq!(
        fill(groups, |settings| settings.limits.groups = 100),
        Some(Failure::Full { what: "groups", limit: 100 })
    );
    assert_eq!(
        fill(groups, |settings| settings.limits.bytes = 100_000),
        Some(Failure::Full { what: "bytes", limit: 100_000 })
    );
    let sliding = "SELECT COUNT(*) AS n INTO output FROM input GROUP BY SlidingWindow(hour, 1)";
    assert_eq!(
        fill(sliding, |settings| settings.limits.events = 100),
        Some(Failure::Full { what: "events", limit: 100 })
    );
    let collected = "SELECT Collect() AS c INTO output FROM input GROUP BY TumblingWindow(hour, 1)";
    assert_eq!(
        fill(collected, |settings| settings.limits.bytes = 100_000),
        Some(Failure::Full { what: "bytes", limit: 100_000 })
    );
    let applied = "SELECT c.ArrayIndex INTO output FROM input i CROSS APPLY GetArrayElements(i.l) a
                   CROSS APPLY GetArrayElements(a.ArrayValue) b CROSS APPLY GetArrayElements(i.l) c";
    assert_eq!(
        fill(applied, |settings| settings.limits.events = 10),
        Some(Failure::Full { what: "events", limit: 10 })
    );
    let functions = "SELECT LAG(k) OVER (PARTITION BY k LIMIT DURATION(hour, 1)) AS l INTO output FROM input";
    assert_eq!(
        fill(functions, |settings| settings.limits.groups = 100),
        Some(Failure::Full { what: "groups", limit: 100 })
    );
}

#[test]
fn state_is_given_back() {
    for text in TEXTS {
        let mut running = Running::new(&job(text, &two_partitions()));
        let mut out = Vec::new();
        let mut most = 0;
        for number in 0..3000i64 {
            let event = Sent {
                partition: (number % 2) as u32,
                arrival: number * 100,
                age: 0,
                device: (number / 100 % 200) as u8,
                x: number % 7,
            };
            push(&mut running, number as usize, &event, &mut out).expect("pushed");
            if number == 1000 {
                most = running.held().2;
            }
        }
        assert!(running.held().2 <= most * 2, "{text}: {most} became {}", running.held().2);
    }
}
