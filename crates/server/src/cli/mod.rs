//! The command line.

use clap::{Parser, Subcommand};

use crate::config::{Config, Overrides, ServeOverrides};
use crate::serve;

/// A self-hosted, Azure-IoT-compatible platform.
#[derive(Parser)]
#[command(name = "gantry", version, about)]
pub struct Cli {
    #[command(flatten)]
    overrides: Overrides,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the platform.
    Serve {
        #[command(flatten)]
        overrides: ServeOverrides,
    },
}

/// Runs one command.
///
/// # Errors
/// Says what failed and why.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command {
        Command::Serve { overrides } => runtime.block_on(serve::run(Config::load(&cli.overrides, &overrides)?)),
    }
}
