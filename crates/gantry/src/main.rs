//! Gantry: a whole Azure-IoT-compatible platform in one binary.
//!
//! `gantry serve` runs it; every other subcommand is a client of its public API.

use std::process::ExitCode;

use clap::Parser as _;
use gantry_cli::{Arrow, Cli};
use tracing_subscriber::EnvFilter;

/// Small short-lived texts are what a message is made of; see decision 15.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("GANTRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // The one provider of the process; a second call would be a bug.
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("no provider is installed yet");
    match gantry_cli::run(Cli::parse(), Arrow { flight: gantry_flight::router, write: gantry_flight::write }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
