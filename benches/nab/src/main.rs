//! Scores our detector and the reference detectors on labelled series and prints tables.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use gantry_bench_nab::corpus::{self, Series};
use gantry_bench_nab::detectors::Contestant;
use gantry_bench_nab::held_out::{group, leave_one_group_out, total};
use gantry_bench_nab::made;
use gantry_bench_nab::score::{self, Judged, Outcome, PROFILES, Profile};
use gantry_detection::ALERT_SCORE;

/// Made series of each shape.
const MADE_SERIES: u64 = 8;

/// Scores the anomaly detector the way the Numenta Anomaly Benchmark does.
#[derive(Parser)]
struct Arguments {
    /// Folder with `labels.json` and `data/<group>/<series>.csv`.
    #[arg(long, env = "NAB_DATA", default_value = "../shared/corpora/nab")]
    data: PathBuf,
    /// A folder of further groups, as `packages.py` lays it.
    #[arg(long, env = "NAB_MORE")]
    more: Vec<PathBuf>,
    /// Print every detection of the series whose name contains this.
    #[arg(long)]
    show: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let corpus = corpus::read(&arguments.data).with_context(|| {
        format!(
            "the corpus is not part of the repository; `{}` does not hold it (--data or NAB_DATA names its folder)",
            arguments.data.display()
        )
    })?;
    ensure!(!corpus.is_empty(), "`labels.json` names no series");
    let benchmark = corpus.len();
    let mut all = corpus;
    for folder in &arguments.more {
        all.extend(corpus::read(folder).with_context(|| format!("reading `{}`", folder.display()))?);
    }
    all.extend(made::series(MADE_SERIES));

    let started = Instant::now();
    let ours: Vec<Vec<f64>> = all.iter().map(|series| Contestant::Gantry.scores(series)).collect();
    let elapsed = started.elapsed();
    let rows: usize = all.iter().map(|series| series.values.len()).sum();

    let judged = judged(&all, &ours);
    print_series(&all[..benchmark], &judged[..benchmark], &PROFILES[0]);
    if let Some(name) = &arguments.show {
        print_detections(&all, &judged, name);
    }
    print_totals(&all[..benchmark]);
    print_held_out(&all, &judged, benchmark);
    println!("{rows} values in {} series, {:.0} ns a value", all.len(), elapsed.as_nanos() as f64 / rows as f64);
    Ok(())
}

fn judged<'a>(all: &'a [Series], scores: &'a [Vec<f64>]) -> Vec<Judged<'a>> {
    let pairs = all.iter().zip(scores);
    pairs.map(|(series, scores)| Judged { scores, windows: &series.windows }).collect()
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

/// Each group at the threshold that the others choose, at the product's own, and at the best for it in hindsight.
fn print_held_out(all: &[Series], judged: &[Judged<'_>], benchmark: usize) {
    let names: Vec<&str> = all[..benchmark].iter().map(group).collect();
    for profile in &PROFILES {
        println!("gantry, {} profile, each group scored at the threshold of all other groups:", profile.name);
        let mut totals = [Outcome::default(); 2];
        for one in leave_one_group_out(all, judged, profile) {
            totals[usize::from(!names.contains(&one.group.as_str()))].add(&one.outcome);
            print_outcome(&one.group, one.threshold, &one.outcome, profile);
        }
        for (name, outcome) in ["the benchmark", "the others"].iter().zip(&totals) {
            print_outcome(name, f64::NAN, outcome, profile);
        }
        for (name, part) in [("the benchmark", &judged[..benchmark]), ("the others", &judged[benchmark..])] {
            let (best, _) = score::best_threshold(part, profile);
            for threshold in [ALERT_SCORE, best] {
                print_outcome(&format!("{name}, one threshold"), threshold, &total(part, threshold, profile), profile);
            }
        }
        println!();
    }
}

fn print_outcome(name: &str, threshold: f64, outcome: &Outcome, profile: &Profile) {
    let score = outcome.normalised(profile).map_or("-".to_owned(), |score| format!("{score:.2}"));
    let found = format!("{}/{}", outcome.windows_found, outcome.windows);
    println!("{name:32} {threshold:>9.4} {score:>7} {found:>7} {:>6} false", outcome.false_alarms);
}
