//! Writes the two made-up motors of the demonstration as CSV files; the third is the source itself.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use gantry_bench_nab::corpus;
use gantry_bench_nab::motors::motors;

/// The labelled series the motors are made from.
const SERIES: &str = "realKnownCause/machine_temperature_system_failure.csv";

/// Makes `motor-healthy.csv` and `motor-shifted.csv`.
#[derive(Parser)]
struct Arguments {
    /// Folder with the source series and its `labels.json`; the files are written there.
    #[arg(long, default_value = "examples/motor")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let folder = Arguments::parse().out;
    let source = folder.join("machine_temperature_system_failure.csv");
    let series = corpus::read_one(&source, &folder.join("labels.json"), SERIES)
        .with_context(|| format!("`{}` holds no labelled series", folder.display()))?;
    for motor in motors(&series).iter().skip(1) {
        let mut text = String::from("timestamp,value\n");
        for (&time_ms, value) in motor.times_ms.iter().zip(&motor.values) {
            writeln!(text, "{},{value:.4}", corpus::format_time(time_ms))?;
        }
        let path = folder.join(format!("{}.csv", motor.name));
        fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
        println!("{}: {} rows", path.display(), motor.values.len());
    }
    Ok(())
}
