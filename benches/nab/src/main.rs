//! Scores our detector and the reference detectors on a labelled corpus and prints tables.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use gantry_bench_nab::corpus::{self, Series};
use gantry_bench_nab::detectors::Contestant;
use gantry_bench_nab::score::{self, Judged, Outcome, PROFILES, Profile};

/// Scores the anomaly detector the way the Numenta Anomaly Benchmark does.
#[derive(Parser)]
struct Arguments {
    /// Folder with `labels.json` and `data/<group>/<series>.csv`.
    #[arg(long, env = "NAB_DATA", default_value = "../shared/corpora/nab")]
    data: PathBuf,
    /// Print every detection of the series whose name contains this.
    #[arg(long)]
    show: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let all = corpus::read(&arguments.data).with_context(|| {
        format!(
            "the corpus is not part of the repository; `{}` does not hold it (--data or NAB_DATA names its folder)",
            arguments.data.display()
        )
    })?;
    ensure!(!all.is_empty(), "`labels.json` names no series");

    let started = Instant::now();
    let ours: Vec<Vec<f64>> = all.iter().map(|series| Contestant::Gantry.scores(series)).collect();
    let elapsed = started.elapsed();
    let rows: usize = all.iter().map(|series| series.values.len()).sum();

    let judged = judged(&all, &ours);
    print_series(&all, &judged, &PROFILES[0]);
    if let Some(name) = &arguments.show {
        print_detections(&all, &judged, name);
    }
    print_totals(&all);
    print_held_out(&all, &judged);
    println!("{rows} values in {} series, {:.0} ns a value", all.len(), elapsed.as_nanos() as f64 / rows as f64);
    Ok(())
}

fn judged<'a>(all: &'a [Series], scores: &'a [Vec<f64>]) -> Vec<Judged<'a>> {
    let pairs = all.iter().zip(scores);
    pairs.map(|(series, scores)| Judged { scores, windows: &series.windows }).collect()
}

fn total(judged: &[Judged<'_>], threshold: f64, profile: &Profile) -> Outcome {
    let mut total = Outcome::default();
    for one in judged {
        total.add(&score::score(*one, threshold, profile));
    }
    total
}

/// Our detector, series by series, at the best common threshold of `profile`.
fn print_series(all: &[Series], judged: &[Judged<'_>], profile: &Profile) {
    let (threshold, _) = score::best_threshold(judged, profile);
    println!("gantry, {} profile, threshold {threshold:.4}", profile.name);
    println!("{:58} {:>8} {:>7} {:>6}", "series", "raw", "windows", "false");
    for (series, one) in all.iter().zip(judged) {
        let outcome = score::score(*one, threshold, profile);
        let found = format!("{}/{}", outcome.windows_found, outcome.windows);
        println!("{:58} {:>8.3} {found:>7} {:>6}", series.name, outcome.raw, outcome.false_alarms);
    }
    println!();
}

fn print_detections(all: &[Series], judged: &[Judged<'_>], name: &str) {
    let (threshold, _) = score::best_threshold(judged, &PROFILES[0]);
    for (series, one) in all.iter().zip(judged).filter(|(series, _)| series.name.contains(name)) {
        println!("{}", series.name);
        for row in score::probation(series.values.len())..series.values.len() {
            if one.scores[row] >= threshold {
                let window = series.windows.iter().position(|window| (window.0..=window.1).contains(&row));
                let place = window.map_or("outside".to_owned(), |window| format!("window {}", window + 1));
                let (time, value) = (corpus::format_time(series.times_ms[row]), series.values[row]);
                println!("  {time}  {value:>12.4}  {:.4}  {place}", one.scores[row]);
            }
        }
        println!();
    }
}

/// Every contestant in every profile, each at its own best threshold.
fn print_totals(all: &[Series]) {
    println!("{:18} {:20} {:>7} {:>9} {:>7} {:>6}", "detector", "profile", "score", "threshold", "windows", "false");
    for contestant in Contestant::ALL {
        let scores: Vec<Vec<f64>> = all.iter().map(|series| contestant.scores(series)).collect();
        let judged = judged(all, &scores);
        for profile in &PROFILES {
            let (threshold, _) = score::best_threshold(&judged, profile);
            let outcome = total(&judged, threshold, profile);
            let found = format!("{}/{}", outcome.windows_found, outcome.windows);
            println!(
                "{:18} {:20} {:>7.2} {threshold:>9.4} {found:>7} {:>6}",
                contestant.name(),
                profile.name,
                outcome.normalised(profile).unwrap_or(0.0),
                outcome.false_alarms
            );
        }
    }
    println!();
}

/// The threshold chosen on every other series, the score taken on the rest, and the reverse.
fn print_held_out(all: &[Series], judged: &[Judged<'_>]) {
    println!("gantry, threshold chosen on one half of the series and scored on the other:");
    for profile in &PROFILES {
        let half = |parity: usize| -> Vec<Judged<'_>> {
            (0..all.len()).filter(|index| index % 2 == parity).map(|index| judged[index]).collect()
        };
        let (even, odd) = (half(0), half(1));
        let mut outcome = total(&odd, score::best_threshold(&even, profile).0, profile);
        outcome.add(&total(&even, score::best_threshold(&odd, profile).0, profile));
        println!("{:20} {:>7.2}", profile.name, outcome.normalised(profile).unwrap_or(0.0));
    }
    println!();
}
