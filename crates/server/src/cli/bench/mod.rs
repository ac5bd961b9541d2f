//! `gantry bench telemetry`: acknowledged messages per second and server CPU per message.
//!
//! Starts a platform of its own in a temporary folder (durable, as in production) and, when
//! it is installed, Mosquitto beside it; both get the same load from this process, one after
//! the other. CPU is that of the server process alone, from `/proc/PID/stat`. Figures of one
//! run compare with each other, not with those of another machine.

mod amqp;
mod connections;
mod crowd;
mod load;
mod methods;
mod registrations;
mod registry;
mod server;
mod tokens;
mod twins;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use gantry_identity::{Key, Signer};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::Client;
use super::mqtt_client::{Login, MqttClient, Target, trust};
use super::output::Output;
use load::Load;
use server::{Server, start_gantry, start_mosquitto};

/// Offset of the bench's ports, away from a platform in use.
const PORT_OFFSET: u16 = 21_000;
const PLAIN_PORT: u16 = 29_884;
const MOSQUITTO_PORT: u16 = 29_885;

#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Durable QoS 1 telemetry, with and without TLS, beside Mosquitto.
    Telemetry(TelemetryArgs),
    /// Durable telemetry over AMQP with TLS.
    AmqpTelemetry(amqp::AmqpTelemetryArgs),
    /// Cloud-to-device messages over AMQP with TLS: sent, then delivered and completed.
    C2d(amqp::C2dArgs),
    /// Connects over TLS with SAS: connections a second, CPU and memory of each.
    Connections(connections::ConnectionsArgs),
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

#[derive(Args)]
pub(super) struct TelemetryArgs {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Devices connected.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Bytes of each message body.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Messages in flight on each connection.
    #[arg(long, default_value_t = 100)]
    window: usize,
    /// Registered devices, connected or not.
    #[arg(long, default_value_t = 100)]
    registered: usize,
    /// Leave Mosquitto out.
    #[arg(long)]
    no_peer: bool,
}

pub(super) async fn run(output: Output, command: BenchCommand) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("gantry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = match command {
        BenchCommand::Telemetry(args) => telemetry(output, &args, &folder).await,
        BenchCommand::AmqpTelemetry(args) => amqp::telemetry(output, &args, &folder).await,
        BenchCommand::C2d(args) => amqp::c2d(output, &args, &folder).await,
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

async fn telemetry(output: Output, args: &TelemetryArgs, folder: &Path) -> anyhow::Result<()> {
    let rows = measure_all(args, folder).await?;
    let columns = [
        ("server", "/server"),
        ("acked msg/s", "/perSecond"),
        ("cpu us/msg", "/cpuMicros"),
        ("p50 ms", "/p50Ms"),
        ("p99 ms", "/p99Ms"),
        ("RSS KiB", "/residentKib"),
    ];
    output.table(&Value::Array(rows), &columns);
    Ok(())
}

async fn measure_all(args: &TelemetryArgs, folder: &Path) -> anyhow::Result<Vec<Value>> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.set_message("starting gantry");
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, args.connections, args.registered, &bar).await?;
    let tls = Target {
        host: "localhost".into(),
        port: client.connection().get("GANTRY_MQTT_PORT")?.parse()?,
        tls: Some(trust(&client.connection().ca()?)?),
    };
    let plain = Target { host: "127.0.0.1".into(), port: PLAIN_PORT, tls: None };
    let mut rows = vec![];
    for (name, target) in [("gantry, plain, durable", &plain), ("gantry, TLS, durable", &tls)] {
        bar.set_message(format!("measuring {name}"));
        let full = measure(&server, target, &logins, args, None).await?;
        rows.push(full.row(name));
        let half = full.per_second / 2.0;
        bar.set_message(format!("measuring {name} at half the rate"));
        rows.push(measure(&server, target, &logins, args, Some(half)).await?.row(&format!("{name}, half rate")));
    }
    drop(server);
    if !args.no_peer {
        bar.set_message("measuring mosquitto");
        let peer = start_mosquitto(folder).await?;
        let target = Target { host: "127.0.0.1".into(), port: MOSQUITTO_PORT, tls: None };
        let row = measure(&peer, &target, &logins, args, None).await?.row("mosquitto, plain, not durable");
        rows.push(row);
    }
    bar.finish_and_clear();
    Ok(rows)
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

async fn measure(
    server: &Server,
    target: &Target,
    logins: &[Login],
    args: &TelemetryArgs,
    rate: Option<f64>,
) -> anyhow::Result<Figures> {
    let mut clients = vec![];
    for login in logins {
        clients
            .push((MqttClient::connect(target, login).await?, format!("devices/{}/messages/events/", login.client_id)));
    }
    let (cpu, started) = (server.cpu()?, Instant::now());
    let until = started + Duration::from_secs(args.seconds);
    let share = rate.map(|rate| rate / logins.len() as f64);
    let mut tasks = tokio::task::JoinSet::new();
    for (client, topic) in clients {
        let load = Load { topic, body: vec![b'x'; args.size], window: args.window, until, rate: share };
        tasks.spawn(load.run(client));
    }
    let (mut acked, mut latencies) = (0, vec![]);
    while let Some(done) = tasks.join_next().await {
        let (count, mut samples) = done??;
        acked += count;
        latencies.append(&mut samples);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), server.cpu()? - cpu);
    latencies.sort_unstable();
    Ok(Figures {
        acked,
        per_second: acked as f64 / seconds,
        cpu_micros: cpu * 1e6 / acked.max(1) as f64,
        latencies,
        resident_kib: server.resident_kib()?,
    })
}
