//! Ten questions of IoT over tables on disk, beside another engine over the same files.
//!
//! `make FOLDER` writes telemetry as the platform keeps it: extents of a million rows, sorted by device and time, bodies
//! as JSON. `run FOLDER` asks each question of both engines in turn, several times, and prints the least time of each
//! with their ratio. Both must have as many rows in their answer. The peer is `peer.py` with the given Python.

mod data;
mod peer;
mod questions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use gantry_analytics::{Ask, By, Cancel, Limits, Warehouse};
use gantry_tables::Folder;

use peer::Peer;
use questions::{QUESTIONS, Question};

#[derive(Parser)]
#[command(about = "Ten questions of IoT over tables on disk, beside DuckDB over the same files")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the tables.
    Make {
        /// An empty folder, or none yet.
        folder: PathBuf,
        /// Rows of telemetry.
        #[arg(long, default_value_t = 10_000_000)]
        rows: u64,
        /// Devices that send them.
        #[arg(long, default_value_t = 20_000)]
        devices: u64,
    },
    /// Asks both engines.
    Run {
        /// The folder that `make` wrote.
        folder: PathBuf,
        /// A Python with the packages of `requirements.txt`; without, Gantry alone is asked.
        #[arg(long)]
        python: Option<PathBuf>,
        /// Threads of the peer.
        #[arg(long, default_value_t = 2)]
        threads: u32,
        /// Times each question is asked.
        #[arg(long, default_value_t = 3)]
        times: u32,
        /// Only questions whose name has this in it.
        #[arg(long, default_value = "")]
        only: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Make { folder, rows, devices } => data::make(&folder, rows, devices),
        Command::Run { folder, python, threads, times, only } => {
            let peer = python.map(|python| Peer::start(&python, &folder, threads)).transpose()?;
            run(&folder, peer, times, &only)
        }
    }
}

fn run(folder: &std::path::Path, mut peer: Option<Peer>, times: u32, only: &str) -> anyhow::Result<()> {
    let kept = Folder::open(folder).with_context(|| format!("opening {}", folder.display()))?;
    let warehouse = Warehouse::new("telemetry", []).with_store(Arc::new(kept));
    println!("{:<28} {:>10} {:>10} {:>7} {:>10}", "question", "gantry ms", "duckdb ms", "ratio", "rows");
    let mut ratios = Vec::new();
    for question in QUESTIONS.iter().filter(|question| question.name.contains(only)) {
        let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
        let mut rows = 0;
        for _ in 0..times {
            let (took, found) = ask(&warehouse, question)?;
            (ours, rows) = (ours.min(took), found);
            if let Some(peer) = &mut peer {
                let (took, found) = peer.ask(question.sql)?;
                theirs = theirs.min(took);
                if found != rows {
                    bail!("{}: {rows} rows here, {found} there", question.name);
                }
            }
        }
        let milliseconds = |took: Duration| took.as_secs_f64() * 1_000.0;
        if peer.is_none() {
            println!("{:<28} {:>10.1} {:>10} {:>7} {rows:>10}", question.name, milliseconds(ours), "-", "-");
            continue;
        }
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        ratios.push(ratio);
        let (ours, theirs) = (milliseconds(ours), milliseconds(theirs));
        println!("{:<28} {ours:>10.1} {theirs:>10.1} {ratio:>7.2} {rows:>10}", question.name);
    }
    if !ratios.is_empty() {
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        println!("geometric mean of the ratios {mean:.2}");
    }
    let theirs = peer.map(Peer::peak_mib).transpose()?;
    println!("peak of resident memory: {} MiB, peer {theirs:?} MiB", peak_mib()?);
    Ok(())
}

fn ask(warehouse: &Warehouse, question: &Question) -> anyhow::Result<(Duration, u64)> {
    let limits =
        Limits { rows_max: None, bytes_max: None, memory_max: 8 << 30, seconds_max: 3_600, ..Limits::default() };
    let ask = Ask {
        database: None,
        text: question.kql,
        parameters: &[],
        now: 0,
        limits: &|_| limits,
        rows_wanted: None,
        cancel: Cancel::default(),
        by: By::default(),
    };
    let began = Instant::now();
    let tables = warehouse.query(&ask).map_err(|rejected| anyhow::anyhow!("{}: {rejected:?}", question.name))?;
    let took = began.elapsed();
    if let Some(failure) = &tables[0].failure {
        bail!("{}: {failure}", question.name);
    }
    Ok((took, tables[0].chunks.iter().map(|chunk| chunk.rows as u64).sum()))
}

/// The most memory this process has had.
fn peak_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}
