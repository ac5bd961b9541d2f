//! The command line: `serve`, and clients of its public API.

mod amqp_client;
mod bench;
mod certificate;
mod client;
mod device;
mod enrollment;
mod fleet;
mod hubs;
mod migration;
mod mqtt_client;
mod output;
mod platform;
mod policy;
mod query;
mod return_rules;
mod routing;
mod serve;
mod settings;
mod simulate;
mod stream;
mod token_server;
mod user;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use client::{Client, Connection};
use gantry_kql::bound::Column;
use gantry_kql::value::Value;
use gantry_runtime::config::{Config, FlightHead};
use output::Output;
use settings::{Overrides, ServeOverrides};

/// Writes rows of these columns.
pub type WriteRows = fn(&[Column], Vec<Vec<Value>>, &mut dyn std::io::Write) -> std::io::Result<()>;

/// What the binary does with Arrow.
#[derive(Clone, Copy)]
pub struct Arrow {
    /// Answers Arrow Flight SQL of a platform that is served.
    pub flight: FlightHead,
    /// Writes rows as a stream of Arrow IPC.
    pub write: WriteRows,
}

/// The command of the process that runs models.
const MODEL_WORKER: &str = "model-worker";
/// The command of the process that runs transforms of exports.
const TRANSFORM_WORKER: &str = "transform-worker";

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
    /// A question about telemetry in KQL, or a management command.
    Query(query::QueryArgs),
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
    /// Plan faults: late, lost and doubled messages, refused calls, clock skew, expired certificates.
    #[command(subcommand)]
    Fault(platform::FaultCommand),
    /// Refused access, newest first.
    Security,
    /// People who sign in to the page.
    #[command(subcommand)]
    User(user::UserCommand),
    /// The audit log: who changed what.
    #[command(subcommand)]
    Audit(user::AuditCommand),
    /// Replay a CSV file as a device that provisions itself; or a fleet after a blackout.
    Simulate(simulate::SimulateArgs),
    /// Measure this build.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Take over what is elsewhere: an application of IoT Central, a hub, or files of an export.
    #[command(subcommand)]
    Import(migration::ImportCommand),
    /// Write everything of an application or a hub into files.
    #[command(subcommand)]
    Export(migration::ExportCommand),
    /// Check what usually goes wrong.
    Doctor,
    /// What `serve` starts to run models: answers on its standard output.
    #[command(hide = true, name = MODEL_WORKER)]
    ModelWorker {
        /// ONNX Runtime.
        library: PathBuf,
    },
    /// What `serve` starts to run transforms of exports: answers on its standard output.
    #[command(hide = true, name = TRANSFORM_WORKER)]
    TransformWorker,
}

/// Runs one command; `arrow` is what needs Arrow, which this crate is not built with.
///
/// # Errors
/// Says what failed and why.
pub fn run(cli: Cli, arrow: Arrow) -> anyhow::Result<()> {
    if let Command::ModelWorker { library } = &cli.command {
        return Ok(gantry_models::work(library)?);
    }
    if let Command::TransformWorker = &cli.command {
        return Ok(gantry_transforms::work()?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(cli, arrow))
}

async fn dispatch(cli: Cli, arrow: Arrow) -> anyhow::Result<()> {
    let output = if cli.json { Output::Json } else { Output::Text };
    let command = match cli.command {
        Command::Serve { overrides } => {
            let mut sources = cli.overrides.sources()?;
            overrides.add_to(&mut sources);
            let mut config = Config::load(&sources)?;
            config.bench_plain_port = overrides.bench_plain_port;
            config.flight_head = Some(arrow.flight);
            let program = std::env::current_exe()?;
            config.model_worker = Some((program.clone(), vec![MODEL_WORKER.into()]));
            config.transform_worker = Some((program, vec![TRANSFORM_WORKER.into()]));
            return serve::run(config, cli.json).await;
        }
        Command::TokenServer(args) => {
            return token_server::run(&cli.overrides.sources()?, output, cli.json, args).await;
        }
        command => command,
    };
    let config = Config::load(&cli.overrides.sources()?)?;
    let folder = &config.data_folder;
    let client = || Client::new(folder);
    let here = || migration::Here { folder, is_named: cli.overrides.is_given() };
    match command {
        Command::Serve { .. } | Command::TokenServer(_) | Command::ModelWorker { .. } | Command::TransformWorker => {
            Ok(())
        }
        Command::Device(command) => device::device(&client()?, output, command).await,
        Command::Twin(command) => device::twin(&client()?, output, command).await,
        Command::Method(command) => device::method(&client()?, output, command).await,
        Command::Enrollment(args) => enrollment::enrollment(&client()?, output, args).await,
        Command::Registration(command) => enrollment::registration(&client()?, output, command).await,
        Command::Hub(command) => hubs::run(&client()?, output, command).await,
        Command::Monitor { device, count, anomalies } => {
            platform::monitor(&client()?, output, device.as_deref(), count, anomalies).await
        }
        Command::Query(args) => query::run(&client()?, output, arrow, args).await,
        Command::Maintenance => platform::maintenance(&client()?, output).await,
        Command::Alerts => platform::alerts(&client()?, output).await,
        Command::Rule(command) => platform::rule(&client()?, output, command).await,
        Command::Certificate(args) => certificate::run(&client()?, output, args).await,
        Command::Policy(command) => policy::run(&client()?, output, command).await,
        Command::Routing(command) => routing::run(&client()?, output, command).await,
        Command::Fault(command) => platform::fault(&client()?, output, command).await,
        Command::Security => platform::security(&client()?, output).await,
        Command::User(command) => user::user(&client()?, output, command).await,
        Command::Audit(command) => user::audit(&client()?, output, command).await,
        Command::Simulate(args) => simulate::run(&Connection::read(folder)?, output, args).await,
        Command::Bench(command) => bench::run(output, command).await,
        Command::Import(command) => migration::import(here(), output, command).await,
        Command::Export(command) => migration::export(here(), output, command).await,
        Command::Doctor => platform::doctor(&config, output).await,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    /// Commands of ours in a document or a configuration file: between backticks, and lines of fenced blocks.
    fn commands(text: &str) -> Vec<String> {
        let ticked = text.split('`').skip(1).step_by(2).filter(|words| words.starts_with("gantry "));
        let mut found: Vec<String> = ticked.map(str::to_owned).collect();
        for block in text.split("```").skip(1).step_by(2) {
            let lines = block.lines().filter_map(|line| {
                let at = line.find("gantry ").filter(|at| *at == 0 || line[..*at].ends_with(['/', '(']))?;
                Some(line[at..].split(['#', '>', ')', '|']).next().unwrap_or_default().trim().to_owned())
            });
            found.extend(lines);
        }
        found
    }

    /// What is wrong with a command, when something is.
    fn fault(command: &str) -> Option<String> {
        let mut current = Cli::command();
        current.build();
        for word in command.split_whitespace().skip(1) {
            if let Some(flag) = word.strip_prefix("--") {
                let flag = flag.split('=').next().unwrap_or_default();
                if !current.get_arguments().any(|known| known.get_long() == Some(flag)) {
                    return Some(format!("`{}` has no --{flag}", current.get_name()));
                }
            } else if let Some(next) = current.find_subcommand(word).cloned() {
                current = next;
            } else if current.is_subcommand_required_set() && current.get_name() == "gantry" && !word.contains('/') {
                return Some(format!("`gantry` has no {word}"));
            }
        }
        None
    }

    #[test]
    fn every_command_in_the_documents_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = vec!["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ARCHITECTURE.md"];
        files.extend(["crates/runtime/default.toml", "crates/runtime/token-server.toml"]);
        let mut paths: Vec<_> = files.into_iter().map(|file| root.join(file)).collect();
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        paths.extend(docs.filter(|path| path.extension().is_some_and(|end| end == "md")));
        let mut seen = 0;
        for path in paths {
            for command in commands(&std::fs::read_to_string(&path).unwrap()) {
                seen += 1;
                assert_eq!(fault(&command), None, "{}: {command}", path.display());
            }
        }
        assert!(seen > 30, "only {seen} were found");
        assert!(fault("gantry provisioning link").is_some() && fault("gantry serve --nothing").is_some());
    }
}
