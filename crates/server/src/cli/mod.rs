//! The command line: `serve`, and clients of its public API.

mod amqp_client;
mod bench;
mod certificate;
mod client;
mod device;
mod enrollment;
mod fleet;
mod hubs;
mod mqtt_client;
mod output;
mod platform;
mod policy;
mod return_rules;
mod routing;
mod simulate;
mod token_server;

use clap::{Parser, Subcommand};

use crate::config::{Config, Overrides, ServeOverrides};
use crate::serve;
use client::{Client, Connection};
use output::Output;

/// A self-hosted, Azure-IoT-compatible platform.
#[derive(Parser)]
#[command(name = "gantry", version, about)]
pub struct Cli {
    #[command(flatten)]
    overrides: Overrides,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
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
    /// Run a token server: hands devices tokens for their own identity, apart from the hub.
    TokenServer(token_server::TokenServerArgs),
    /// The identity registry.
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Device twins.
    #[command(subcommand)]
    Twin(device::TwinCommand),
    /// Direct methods.
    #[command(subcommand)]
    Method(device::MethodCommand),
    /// Enrollments of the provisioning service.
    Enrollment(enrollment::EnrollmentArgs),
    /// Devices that came by an enrollment group.
    #[command(subcommand)]
    Registration(enrollment::RegistrationCommand),
    /// Hubs the provisioning service allocates devices to.
    #[command(subcommand)]
    Hub(hubs::HubCommand),
    /// Device-to-cloud events as they are stored.
    Monitor {
        /// Only this device.
        #[arg(long)]
        device: Option<String>,
        /// Stop after so many events.
        #[arg(long)]
        count: Option<u64>,
        /// Values that begin something unusual, instead of events.
        #[arg(long)]
        anomalies: bool,
    },
    /// The maintenance list, most urgent first.
    Maintenance,
    /// Alerts, newest first.
    Alerts,
    /// Rules: what becomes an alert, and what is done then.
    #[command(subcommand)]
    Rule(platform::RuleCommand),
    /// Certificate authorities whose devices may connect.
    Certificate(certificate::CertificateArgs),
    /// Shared access policies of the hub.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Which events go to which endpoints.
    #[command(subcommand)]
    Routing(routing::RoutingCommand),
    /// Rehearse faults: late, lost and doubled messages, refused calls, clock skew, expired certificates.
    #[command(subcommand)]
    Fault(platform::FaultCommand),
    /// Refused access, newest first.
    Security,
    /// Replay a CSV file as a device that provisions itself; or a fleet after a blackout.
    Simulate(simulate::SimulateArgs),
    /// Measure this build.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Check what usually goes wrong.
    Doctor,
}

/// Runs one command.
///
/// # Errors
/// Says what failed and why.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(cli))
}

async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let output = if cli.json { Output::Json } else { Output::Text };
    let command = match cli.command {
        Command::Serve { overrides } => return serve::run(Config::load(&cli.overrides, &overrides)?, cli.json).await,
        Command::TokenServer(args) => return token_server::run(&cli.overrides, output, cli.json, args).await,
        command => command,
    };
    let config = Config::load(&cli.overrides, &ServeOverrides::default())?;
    let folder = &config.data_folder;
    let client = || Client::new(folder);
    match command {
        Command::Serve { .. } | Command::TokenServer(_) => Ok(()),
        Command::Device(command) => device::device(&client()?, output, command).await,
        Command::Twin(command) => device::twin(&client()?, output, command).await,
        Command::Method(command) => device::method(&client()?, output, command).await,
        Command::Enrollment(args) => enrollment::enrollment(&client()?, output, args).await,
        Command::Registration(command) => enrollment::registration(&client()?, output, command).await,
        Command::Hub(command) => hubs::run(&client()?, output, command).await,
        Command::Monitor { device, count, anomalies } => {
            platform::monitor(&client()?, output, device.as_deref(), count, anomalies).await
        }
        Command::Maintenance => platform::maintenance(&client()?, output).await,
        Command::Alerts => platform::alerts(&client()?, output).await,
        Command::Rule(command) => platform::rule(&client()?, output, command).await,
        Command::Certificate(args) => certificate::run(&client()?, output, args).await,
        Command::Policy(command) => policy::run(&client()?, output, command).await,
        Command::Routing(command) => routing::run(&client()?, output, command).await,
        Command::Fault(command) => platform::fault(&client()?, output, command).await,
        Command::Security => platform::security(&client()?, output).await,
        Command::Simulate(args) => simulate::run(&Connection::read(folder)?, output, args).await,
        Command::Bench(command) => bench::run(output, command).await,
        Command::Doctor => platform::doctor(&config, output).await,
    }
}
