//! `gantry bench telemetry`: acknowledged messages per second and server CPU per message.
//!
//! Starts a platform of its own in a temporary folder (durable and with everything on, as in production), another
//! build beside it where one is named, and Mosquitto; all get the same load from this process, one after the other.
//! CPU is that of the server process alone, from `/proc/PID/stat`, until it has nothing left to do with the messages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::body::BodyArgs;
use super::load::Load;
use super::server::{Mosquitto, Server, start_build, start_mosquitto};
use super::{Figures, PLAIN_PORT, register};
use crate::mqtt_client::{KEEP_ALIVE_SECS, Login, MqttClient, Target, trust};
use crate::output::Output;

/// How long a server may go on working after the last acknowledgement.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// A server that uses less than this share of a core is done.
const IDLE_SHARE: f64 = 0.1;

#[derive(Args)]
pub(crate) struct TelemetryArgs {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Devices connected.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    #[command(flatten)]
    body: BodyArgs,
    /// Messages in flight on each connection.
    #[arg(long, default_value_t = 100)]
    window: usize,
    /// Registered devices, connected or not.
    #[arg(long, default_value_t = 100)]
    registered: usize,
    /// Another build of gantry to measure in the same run.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Leave Mosquitto out.
    #[arg(long)]
    no_peer: bool,
    /// Leave the measurements without TLS out.
    #[arg(long)]
    no_plain: bool,
}

/// One measurement of a server.
struct Case<'a> {
    name: String,
    target: &'a Target,
    rate: Option<f64>,
    /// Every message in a write, and so in a TLS record, of its own.
    one_by_one: bool,
}

pub(super) async fn run(output: Output, args: &TelemetryArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut rows = vec![];
    for (name, binary) in [("gantry", None), ("other build", args.against.as_deref())] {
        if name == "gantry" || binary.is_some() {
            rows.extend(build(name, binary, args, &folder.join(name), &bar).await?);
        }
    }
    if !args.no_peer {
        rows.extend(mosquitto(args, &folder.join("gantry"), &bar).await?);
    }
    bar.finish_and_clear();
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

async fn build(
    name: &str,
    binary: Option<&Path>,
    args: &TelemetryArgs,
    folder: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Value>> {
    std::fs::create_dir_all(folder)?;
    let (server, client) = start_build(folder, binary).await?;
    let logins = register(&client, args.connections, args.registered, bar).await?;
    let tls = Target {
        host: "localhost".into(),
        port: client.connection().get("GANTRY_MQTT_PORT")?.parse()?,
        tls: Some(trust(&client.connection().ca()?)?),
    };
    let plain = Target { host: "127.0.0.1".into(), port: PLAIN_PORT, tls: None };
    let mut rows = vec![];
    for (kind, target) in [("plain", &plain), ("TLS", &tls)] {
        if args.no_plain && target.tls.is_none() {
            continue;
        }
        let name = format!("{name}, {kind}, durable");
        let full = Case { name: name.clone(), target, rate: None, one_by_one: false };
        let full = measure(&server, &full, &logins, args, bar).await?;
        rows.push(full.row(&name));
        let half =
            Case { name: format!("{name}, half rate"), target, rate: Some(full.per_second / 2.0), one_by_one: false };
        rows.push(measure(&server, &half, &logins, args, bar).await?.row(&half.name));
    }
    let single =
        Case { name: format!("{name}, TLS, durable, a record each"), target: &tls, rate: None, one_by_one: true };
    rows.push(measure(&server, &single, &logins, args, bar).await?.row(&single.name));
    Ok(rows)
}

/// The peer, with the certificate of the platform in `folder`.
async fn mosquitto(args: &TelemetryArgs, folder: &Path, bar: &ProgressBar) -> anyhow::Result<Vec<Value>> {
    let Mosquitto { server, plain, tls } = start_mosquitto(folder).await?;
    let login = |n| Login {
        client_id: format!("bench-{n}"),
        user_name: None,
        password: None,
        keep_alive_secs: KEEP_ALIVE_SECS,
    };
    let logins: Vec<_> = (0..args.connections).map(login).collect();
    let mut rows = vec![];
    for (kind, target, one_by_one) in
        [("plain", &plain, false), ("TLS", &tls, false), ("TLS, a record each", &tls, true)]
    {
        if args.no_plain && target.tls.is_none() {
            continue;
        }
        let case = Case { name: format!("mosquitto, {kind}, not durable"), target, rate: None, one_by_one };
        rows.push(measure(&server, &case, &logins, args, bar).await?.row(&case.name));
    }
    Ok(rows)
}

async fn measure(
    server: &Server,
    case: &Case<'_>,
    logins: &[Login],
    args: &TelemetryArgs,
    bar: &ProgressBar,
) -> anyhow::Result<Figures> {
    bar.set_message(format!("measuring {}", case.name));
    let mut clients = vec![];
    for (n, login) in logins.iter().enumerate() {
        let topic = format!("devices/{}/messages/events/", login.client_id);
        clients.push((MqttClient::connect(case.target, login).await?, topic, args.body.bodies(n)?));
    }
    let (cpu, started) = (server.cpu()?, Instant::now());
    let until = started + Duration::from_secs(args.seconds);
    let rate = case.rate.map(|rate| rate / logins.len() as f64);
    let mut tasks = JoinSet::new();
    for (client, topic, bodies) in clients {
        let load = Load { topic, bodies, window: args.window, until, rate, one_by_one: case.one_by_one };
        tasks.spawn(load.run(client));
    }
    let (mut acked, mut latencies) = (0, vec![]);
    while let Some(done) = tasks.join_next().await {
        let (count, mut samples) = done??;
        acked += count;
        latencies.append(&mut samples);
    }
    let seconds = started.elapsed().as_secs_f64();
    settle(server).await?;
    latencies.sort_unstable();
    Ok(Figures {
        acked,
        per_second: acked as f64 / seconds,
        cpu_micros: (server.cpu()? - cpu) * 1e6 / acked.max(1) as f64,
        latencies,
        resident_kib: server.resident_kib()?,
    })
}

/// Waits until the server is done with what it acknowledged.
async fn settle(server: &Server) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(500);
    let (begun, mut before) = (Instant::now(), server.cpu()?);
    loop {
        sleep(LOOK).await;
        let now = server.cpu()?;
        if now - before < IDLE_SHARE * LOOK.as_secs_f64() {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < SETTLE_MAX, "the server still works a minute after the last acknowledgement");
        before = now;
    }
}
