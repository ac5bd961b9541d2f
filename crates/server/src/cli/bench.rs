//! `gantry bench telemetry`: acknowledged messages per second and server CPU per message.
//!
//! Starts a platform of its own in a temporary folder (durable, as in production) and, when
//! it is installed, Mosquitto beside it; both get the same load from this process, one after
//! the other. CPU is that of the server process alone, from `/proc/PID/stat`. Figures of one
//! run compare with each other, not with those of another machine.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use gantry_identity::{Key, Signer};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::Client;
use super::mqtt_client::{Incoming, Login, MqttClient, Target, trust};
use super::output::Output;

/// Clock ticks a second in `/proc`: USER_HZ, 100 on every Linux we run on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Offset of the bench's ports, away from a platform in use.
const PORT_OFFSET: u16 = 21_000;
const PLAIN_PORT: u16 = 29_884;
const MOSQUITTO_PORT: u16 = 29_885;
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// One latency of so many is kept.
const LATENCY_SAMPLE: u64 = 16;

#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Durable QoS 1 telemetry, with and without TLS, beside Mosquitto.
    Telemetry(TelemetryArgs),
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

/// A server under measurement; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// CPU seconds the process used so far.
    fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // Fields after the command name, which is in parentheses and may hold blanks.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).context("/proc stat");
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    /// Resident memory in KiB.
    fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }
}

pub(super) async fn run(output: Output, command: BenchCommand) -> anyhow::Result<()> {
    let BenchCommand::Telemetry(args) = command;
    let folder = std::env::temp_dir().join(format!("gantry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let rows = measure_all(&args, &folder).await;
    std::fs::remove_dir_all(&folder)?;
    let columns = [
        ("server", "/server"),
        ("acked msg/s", "/perSecond"),
        ("cpu us/msg", "/cpuMicros"),
        ("p50 ms", "/p50Ms"),
        ("p99 ms", "/p99Ms"),
        ("RSS KiB", "/residentKib"),
    ];
    output.table(&Value::Array(rows?), &columns);
    Ok(())
}

async fn measure_all(args: &TelemetryArgs, folder: &Path) -> anyhow::Result<Vec<Value>> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.set_message("starting gantry");
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, args, &bar).await?;
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

async fn start_gantry(folder: &Path) -> anyhow::Result<(Server, Client)> {
    let data = folder.join("data");
    let child = Command::new(std::env::current_exe()?)
        .args(["serve", "--port-offset", &PORT_OFFSET.to_string()])
        .env("GANTRY_DATA", &data)
        .env("GANTRY_BENCH_PLAIN_PORT", PLAIN_PORT.to_string())
        .env("GANTRY_LOG", "warn")
        .stdout(Stdio::null())
        .spawn()?;
    let mut server = Server(child);
    let started = Instant::now();
    loop {
        if let Some(status) = server.0.try_wait()? {
            bail!("gantry serve ended: {status}");
        }
        if let Ok(client) = Client::new(&data)
            && client.hub(Method::GET, "/statistics/devices", None).await.is_ok()
        {
            return Ok((server, client));
        }
        anyhow::ensure!(started.elapsed() < START_TIMEOUT, "gantry serve did not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn start_mosquitto(folder: &Path) -> anyhow::Result<Server> {
    let config = folder.join("mosquitto.conf");
    std::fs::write(
        &config,
        format!("listener {MOSQUITTO_PORT} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"),
    )?;
    let binary = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].iter().map(PathBuf::from).find(|path| path.exists());
    let binary = binary.context("mosquitto is not installed (apt-get install mosquitto), or use --no-peer")?;
    let child = Command::new(binary).arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let server = Server(child);
    let started = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", MOSQUITTO_PORT)).await.is_err() {
        anyhow::ensure!(started.elapsed() < START_TIMEOUT, "mosquitto did not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(server)
}

/// Registers the devices; returns how the first of them log in.
async fn register(client: &Client, args: &TelemetryArgs, bar: &ProgressBar) -> anyhow::Result<Vec<Login>> {
    let key = Key::from_bytes([7; 32]);
    let text = key.to_base64();
    let host = client.connection().get("IOTHUB_HOSTNAME")?.to_owned();
    let count = args.registered.max(args.connections);
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
    Ok((0..args.connections).map(login).collect())
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
        clients.push((MqttClient::connect(target, login).await?, format!("devices/{}/messages/events/", login.client_id)));
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

/// What one connection sends.
struct Load {
    topic: String,
    body: Vec<u8>,
    window: usize,
    until: Instant,
    rate: Option<f64>,
}

impl Load {
    /// Sends until the time is up, then waits for the last acknowledgement.
    async fn run(self, mut client: MqttClient) -> anyhow::Result<(u64, Vec<Duration>)> {
        let started = Instant::now();
        let (mut sent, mut acked, mut sent_at, mut latencies) = (0_u64, 0_u64, VecDeque::new(), vec![]);
        loop {
            let now = Instant::now();
            let allowed = match self.rate {
                _ if now >= self.until => sent,
                None => u64::MAX,
                Some(rate) => (now.duration_since(started).as_secs_f64() * rate) as u64,
            };
            while sent < allowed && sent_at.len() < self.window {
                client.publish(&self.topic, &self.body);
                sent_at.push_back(now);
                sent += 1;
            }
            client.flush().await?;
            if sent_at.is_empty() {
                if now >= self.until {
                    client.disconnect().await;
                    return Ok((acked, latencies));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let incoming = match self.rate {
                None => client.receive().await?,
                Some(_) => match tokio::time::timeout(Duration::from_millis(1), client.receive()).await {
                    Ok(incoming) => incoming?,
                    Err(_) => continue,
                },
            };
            let now = Instant::now();
            for _ in incoming.iter().filter(|i| matches!(i, Incoming::Acknowledged(_))) {
                let at = sent_at.pop_front().context("acknowledgement of nothing")?;
                if acked.is_multiple_of(LATENCY_SAMPLE) {
                    latencies.push(now.duration_since(at));
                }
                acked += 1;
            }
        }
    }
}
