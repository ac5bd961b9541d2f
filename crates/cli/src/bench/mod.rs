//! `gantry bench`: what the platform costs, measured on a server of its own in a temporary folder.
//!
//! CPU is that of the server process alone, from `/proc/PID/stat`. Figures of one run compare with each other, not with
//! those of another machine.

mod amqp;
mod bare;
mod body;
mod connections;
mod crowd;
mod load;
mod methods;
mod registrations;
mod registry;
mod server;
mod telemetry;
mod tokens;
mod twins;

use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use gantry_identity::{Key, Signer};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};

use super::mqtt_client::Login;
use super::output::Output;
use crate::client::Client;

/// Offset of the bench's ports, away from a platform in use.
const PORT_OFFSET: u16 = 21_000;
const PLAIN_PORT: u16 = 29_884;
const MOSQUITTO_PORT: u16 = 29_885;
const MOSQUITTO_TLS_PORT: u16 = 29_886;
const BARE_TLS_PORT: u16 = 29_887;

/// How long a client of the bench may be silent: as long as the hub lets it.
const IDLE_SECS: u16 = 1177;

#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Durable QoS 1 telemetry, with and without TLS, beside Mosquitto.
    Telemetry(telemetry::TelemetryArgs),
    /// Durable telemetry over AMQP with TLS.
    AmqpTelemetry(amqp::AmqpTelemetryArgs),
    /// Cloud-to-device messages over AMQP with TLS: sent, then delivered and completed.
    C2d(amqp::C2dArgs),
    /// Connects over TLS with SAS: connections a second beside bare handshakes, CPU and memory of each.
    Connections(connections::ConnectionsArgs),
    /// What `connections` compares with: handshakes and nothing behind them.
    #[command(hide = true)]
    BareTls(bare::BareTlsArgs),
    /// Connects and requests of good clients beside peers that begin a handshake and go no further.
    Crowd(crowd::CrowdArgs),
    /// Reported patches and twin reads a second, over MQTT with TLS.
    Twins(twins::TwinsArgs),
    /// Direct methods a second, over REST to connected devices and back.
    Methods(methods::MethodsArgs),
    /// Registry operations and queries as the registry grows.
    Registry(registry::RegistryArgs),
    /// Devices that provision themselves, as the enrollments grow.
    Registrations(registrations::RegistrationsArgs),
    /// Tokens a second from a token server, over HTTPS.
    Tokens(tokens::TokensArgs),
}

pub(super) async fn run(output: Output, command: BenchCommand) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("gantry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = match command {
        BenchCommand::Telemetry(args) => telemetry::run(output, &args, &folder).await,
        BenchCommand::AmqpTelemetry(args) => amqp::telemetry(output, &args, &folder).await,
        BenchCommand::C2d(args) => amqp::c2d(output, &args, &folder).await,
        BenchCommand::BareTls(args) => bare::serve(&args).await,
        BenchCommand::Connections(args) => connections::run(output, &args, &folder).await,
        BenchCommand::Crowd(args) => crowd::run(output, &args, &folder).await,
        BenchCommand::Twins(args) => twins::run(output, &args, &folder).await,
        BenchCommand::Methods(args) => methods::run(output, &args, &folder).await,
        BenchCommand::Registry(args) => registry::run(output, &args, &folder).await,
        BenchCommand::Registrations(args) => registrations::run(output, &args, &folder).await,
        BenchCommand::Tokens(args) => tokens::run(output, &args, &folder).await,
    };
    std::fs::remove_dir_all(&folder)?;
    result
}

/// Registers the devices; returns how the first of them log in.
async fn register(
    client: &Client,
    connections: usize,
    registered: usize,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Login>> {
    let key = Key::from_bytes([7; 32]);
    let text = key.to_base64();
    let host = client.connection().get("IOTHUB_HOSTNAME")?.to_owned();
    let count = registered.max(connections);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..count {
        let (client, text) = (client.clone(), text.clone());
        tasks.spawn(async move {
            let keys = json!({ "primaryKey": text, "secondaryKey": text });
            let body = json!({ "authentication": { "type": "sas", "symmetricKey": keys } });
            client.hub(Method::PUT, &format!("/devices/bench-{n}"), Some(&body)).await
        });
        if tasks.len() >= 64 {
            tasks.join_next().await.context("task")???;
        }
        bar.set_message(format!("registering devices: {n} of {count}"));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let login = |n: usize| {
        let id = format!("bench-{n}");
        let signer = Signer { resource: format!("{host}/devices/{id}"), key: key.clone(), policy: None };
        let expires_at = gantry_gateway::now().plus(Duration::from_secs(3600));
        Login {
            user_name: Some(format!("{host}/{id}/?api-version=2021-04-12")),
            password: Some(signer.token(expires_at)),
            client_id: id,
            keep_alive_secs: IDLE_SECS,
        }
    };
    Ok((0..connections).map(login).collect())
}

struct Figures {
    acked: u64,
    per_second: f64,
    cpu_micros: f64,
    latencies: Vec<Duration>,
    resident_kib: u64,
}

impl Figures {
    fn row(&self, server: &str) -> Value {
        let quantile = |q: f64| {
            let at = ((self.latencies.len() as f64 - 1.0) * q).round().max(0.0) as usize;
            self.latencies.get(at).map(|l| l.as_secs_f64() * 1000.0)
        };
        json!({
            "server": server,
            "acked": self.acked,
            "perSecond": self.per_second.round() as u64,
            "cpuMicros": self.cpu_micros,
            "p50Ms": quantile(0.5),
            "p99Ms": quantile(0.99),
            "residentKib": self.resident_kib,
        })
    }
}
