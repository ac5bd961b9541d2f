//! Simulations: a thousand seeds hold, a seed gives the same again, and what is wrong on purpose is found.
//!
//! More of them: `make sim SEEDS=1000000`.

use std::sync::atomic::{AtomicU64, Ordering};

use gantry_testkit::sim::{Failure, Options, Sabotage, run};

/// Seeds that a sabotage may survive.
const FOUND_WITHIN: u64 = 60;

/// Plays the seeds of a range on all processors; the failure of the least seed that fails.
fn play(from: u64, count: u64, options: &Options) -> Result<(), Box<Failure>> {
    let next = AtomicU64::new(from);
    let failed = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || failed.load(Ordering::Relaxed) < seed {
                        return;
                    }
                    if run(seed, options).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        u64::MAX => Ok(()),
        seed => run(seed, options).map(drop).map_err(Box::new),
    }
}

#[track_caller]
fn check(from: u64, count: u64, options: &Options) {
    if let Err(failure) = play(from, count, options) {
        panic!("{failure}");
    }
}

#[test]
fn a_thousand_seeds_hold() {
    check(0, 1000, &Options::default());
}

#[test]
#[ignore = "as many as one likes: GANTRY_SEEDS of them from GANTRY_SEED on, of GANTRY_STEPS each"]
fn more_seeds_hold() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let options = Options { steps: number("GANTRY_STEPS", 100) as usize, ..Options::default() };
    check(number("GANTRY_SEED", 1000), number("GANTRY_SEEDS", 10_000), &options);
}

#[test]
fn a_seed_gives_the_same_again() {
    for seed in 0..5 {
        let first = run(seed, &Options::default());
        assert_eq!(first, run(seed, &Options::default()));
        assert_ne!(first, run(seed + 1, &Options::default()));
    }
}

/// A sabotage is found, and its seed finds it again.
#[track_caller]
fn check_found(sabotage: Sabotage, words: &[&str]) {
    let options = Options { sabotage, ..Options::default() };
    let failure = play(0, FOUND_WITHIN, &options).expect_err("it was not found");
    assert!(words.iter().any(|words| failure.what.contains(words)), "{failure}");
    let again = run(failure.seed, &options).expect_err("it was found before");
    assert_eq!((again.what, again.steps), (failure.what, failure.steps));
}

#[test]
fn an_event_that_was_acknowledged_and_not_taken_is_missed() {
    check_found(Sabotage::LoseEvent, &["was acknowledged and is not in the log"]);
}

#[test]
fn events_in_another_order_are_noticed() {
    check_found(Sabotage::SwapEvents, &["comes after later ones"]);
}

#[test]
fn a_disk_that_lies_is_found_out() {
    check_found(
        Sabotage::LyingSync,
        &["log:", "was acknowledged and is not in the log", "not Some", "checkpoint", "was read last", "are gone"],
    );
}

#[test]
fn a_store_that_forgets_is_found_out() {
    check_found(Sabotage::ForgetWrites, &["after the crash"]);
}
