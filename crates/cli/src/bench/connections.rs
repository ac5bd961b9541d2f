//! `gantry bench connections`: what it costs to connect, beside bare TLS handshakes of the same minutes, and to stay.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gantry_amqp::Role;
use indicatif::ProgressBar;
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::server::{Server, start_build};
use super::{amqp, bare, register};
use crate::amqp_client::AmqpClient;
use crate::client::Client;
use crate::mqtt_client::{Login, MqttClient, Stream, Target, trust};
use crate::output::Output;

/// Connects under way at once.
const CONNECTING_MAX: usize = 64;
/// Connections opened before as many bare handshakes are made, in turn.
const PORTION: usize = 1_000;
/// Connections from one loopback address: each has some 28,000 ports.
const PER_ADDRESS: usize = 10_000;
/// Files a process needs beside the connections it holds.
const OTHER_FILES: usize = 1_000;
/// First connections, which allocate what all of them share.
const WARM: usize = 64;

#[derive(Args)]
pub(crate) struct ConnectionsArgs {
    /// Connections that are open at each measurement, rising.
    #[arg(long, value_delimiter = ',', default_value = "10000,50000")]
    counts: Vec<usize>,
    /// Protocol of the devices; over AMQP each attaches its telemetry link.
    #[arg(long, value_enum, default_value_t = Transport::Mqtt)]
    transport: Transport,
    /// Another build, measured after this one.
    #[arg(long)]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Mqtt,
    Amqp,
}

/// A connection that stays.
#[expect(dead_code, reason = "they are held, not looked at")]
enum Idle {
    Mqtt(MqttClient),
    Amqp(Box<AmqpClient>),
    Bare(Box<dyn Stream>),
}

/// What some connects took.
#[derive(Clone, Copy, Default)]
struct Cost {
    connects: usize,
    seconds: f64,
    cpu: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.connects += other.connects;
        self.seconds += other.seconds;
        self.cpu += other.cpu;
    }

    fn per_second(self) -> f64 {
        self.connects as f64 / self.seconds
    }

    fn cpu_micros(self) -> f64 {
        self.cpu * 1e6 / self.connects as f64
    }
}

/// Where the connection with a number comes from.
fn address(number: usize) -> Ipv4Addr {
    let at = u8::try_from(number / PER_ADDRESS % 250).unwrap_or_default();
    Ipv4Addr::new(127, 0, 1, at + 1)
}

async fn connect(transport: Option<Transport>, target: &Target, number: usize, login: &Login) -> anyhow::Result<Idle> {
    let stream = target.open_from(address(number)).await?;
    Ok(match transport {
        None => Idle::Bare(stream),
        Some(Transport::Mqtt) => Idle::Mqtt(MqttClient::over(stream, login).await?),
        Some(Transport::Amqp) => {
            let mut client = amqp::connect_over(stream, target, login).await?;
            client.attach(Role::Sender, &format!("/devices/{}/messages/events", login.client_id), 0).await?;
            Idle::Amqp(Box::new(client))
        }
    })
}

/// Opens connections; the CPU is that of the server.
async fn open(
    server: &Server,
    transport: Option<Transport>,
    target: &Target,
    first: usize,
    logins: &[Login],
) -> anyhow::Result<(Vec<Idle>, Cost)> {
    let (cpu, started) = (server.cpu()?, Instant::now());
    let connects = logins.iter().zip(first..).map(|(login, number)| connect(transport, target, number, login));
    let opened: Vec<_> = stream::iter(connects).buffer_unordered(CONNECTING_MAX).try_collect().await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok((opened, Cost { connects: logins.len(), seconds, cpu: server.cpu()? - cpu }))
}

/// Takes as many files as the system allows to this process and those it starts; says how many connections each may
/// hold.
fn room(wanted: usize) -> usize {
    let files = (wanted + OTHER_FILES) as u64;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map(|maximum| maximum.max(files));
    // Above the hard limit goes only who may raise it.
    let raised = [most, limit.maximum]
        .into_iter()
        .find(|maximum| setrlimit(Resource::Nofile, Rlimit { current: *maximum, maximum: *maximum }).is_ok());
    let files =
        raised.unwrap_or(limit.current).map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    files.saturating_sub(OTHER_FILES)
}

pub(super) async fn run(output: Output, args: &ConnectionsArgs, folder: &Path) -> anyhow::Result<()> {
    ensure!(args.counts.is_sorted_by(|a, b| a < b) && args.counts.first() > Some(&WARM), "--counts must rise");
    let wanted = args.counts.last().copied().unwrap_or_default();
    let room = room(wanted);
    if room < wanted {
        eprintln!("the limit of open files lets in {room} connections; raise it (ulimit -Hn) to measure {wanted}");
    }
    let mut counts: Vec<_> = args.counts.iter().map(|count| *count.min(&room)).collect();
    counts.dedup();
    let mut rows = vec![];
    for (name, binary) in
        [("Gantry", None)].into_iter().chain(args.against.as_deref().map(|path| ("other build", Some(path))))
    {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        rows.append(&mut measure(name, binary, args.transport, &counts, &folder).await?);
    }
    let columns = [
        ("server", "/server"),
        ("connections", "/connections"),
        ("connects/s", "/perSecond"),
        ("of bare TLS", "/rateRatio"),
        ("cpu us/connect", "/cpuMicros"),
        ("bare TLS", "/bareCpuMicros"),
        ("KiB each", "/kibEach"),
        ("RSS KiB", "/residentKib"),
    ];
    output.table(&Value::Array(rows), &columns);
    Ok(())
}

async fn measure(
    name: &str,
    binary: Option<&Path>,
    transport: Transport,
    counts: &[usize],
    folder: &Path,
) -> anyhow::Result<Vec<Value>> {
    let most = counts.last().copied().unwrap_or_default();
    let bar = ProgressBar::new(most as u64);
    let (server, client) = start_build(folder, binary).await?;
    let logins = register(&client, most, most, &bar).await?;
    let target = match transport {
        Transport::Amqp => amqp::target(&client)?,
        Transport::Mqtt => Target {
            host: "localhost".into(),
            port: client.connection().get("GANTRY_MQTT_PORT")?.parse()?,
            tls: Some(trust(&client.connection().ca()?)?),
        },
    };
    let (bare, bare_target) = bare::start(folder, &target).await?;
    for (server, transport, target) in [(&bare, None, &bare_target), (&server, Some(transport), &target)] {
        open(server, transport, target, 0, &logins[..WARM]).await?;
    }
    let before = server.resident_kib()?;
    let (mut rows, mut clients) = (vec![], vec![]);
    for &count in counts {
        let (mut own, mut peer) = (Cost::default(), Cost::default());
        while clients.len() < count {
            let first = clients.len();
            let portion = &logins[first..count.min(first + PORTION)];
            // They go before ours come: the file limit holds for both together on our side.
            peer.add(open(&bare, None, &bare_target, first, portion).await?.1);
            let (mut opened, cost) = open(&server, Some(transport), &target, first, portion).await?;
            clients.append(&mut opened);
            own.add(cost);
            bar.set_position(clients.len() as u64);
        }
        // Buffers of the handshakes are freed as connections go idle.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = server.resident_kib()?;
        let all = connected(&client).await?;
        ensure!(all >= count as u64, "only {all} of {count} connections are still there");
        let round = |value: f64| (value * 100.0).round() / 100.0;
        rows.push(json!({
            "server": name,
            "connections": count,
            "perSecond": own.per_second().round(),
            "rateRatio": round(own.per_second() / peer.per_second()),
            "cpuMicros": own.cpu_micros(),
            "bareCpuMicros": peer.cpu_micros(),
            "kibEach": (after.saturating_sub(before)) as f64 / count as f64,
            "residentKib": after,
        }));
    }
    bar.finish_and_clear();
    Ok(rows)
}

/// Devices the hub counts as connected.
async fn connected(client: &Client) -> anyhow::Result<u64> {
    let counted = client.hub(Method::GET, "/statistics/service", None).await?;
    counted["connectedDeviceCount"].as_u64().context("connectedDeviceCount")
}
