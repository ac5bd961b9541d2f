//! `gantry bench crowd`: what good clients notice of peers that begin something and go no further.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::register;
use super::server::start_gantry;
use crate::client::{Client, Connection};
use crate::mqtt_client::{Login, MqttClient, Target, trust};
use crate::output::Output;

/// The first bytes of a TLS handshake.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01";
/// Pause between two bytes of a slow peer.
const DRIP: Duration = Duration::from_secs(1);
/// Peers that connect at once: as many as the system's own queue holds would only measure that.
const COMING_MAX: usize = 256;

#[derive(Args)]
pub(crate) struct CrowdArgs {
    /// Peers, spread over the three ports.
    #[arg(long, default_value_t = 9_000)]
    count: usize,
    /// Loopback addresses they come from; good clients come from another.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=250))]
    addresses: u8,
    /// What they do.
    #[arg(long, value_enum, default_value_t = Kind::Half)]
    kind: Kind,
    /// Connects and requests of good clients that are measured each time.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Connect and say nothing.
    Silent,
    /// Send half of a TLS hello.
    Half,
    /// Send a hello byte by byte.
    Slow,
}

/// One peer: stays until it is shown out.
async fn stand(kind: Kind, from: Ipv4Addr, port: u16) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let mut stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    if kind != Kind::Silent {
        stream.write_all(HALF_A_HELLO).await?;
    }
    if kind == Kind::Slow {
        loop {
            let pause = DRIP.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::time::sleep(pause).await;
            stream.write_all(&[0]).await?;
        }
    }
    stream.read_to_end(&mut vec![]).await.map(drop)
}

/// Medians and slowest, in milliseconds, of a device that connects and a service that asks on a new connection.
async fn measure(when: &str, rounds: usize, target: &Target, login: &Login, folder: &Path) -> anyhow::Result<Value> {
    let (mut connects, mut asks) = (vec![], vec![]);
    for _ in 0..rounds {
        let begun = Instant::now();
        MqttClient::connect(target, login).await?.disconnect().await;
        connects.push(begun.elapsed().as_secs_f64() * 1e3);
        let client = Client::new(folder)?;
        let begun = Instant::now();
        client.hub(reqwest::Method::GET, "/devices/bench-0", None).await?;
        asks.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let of = |times: &mut Vec<f64>, share: f64| {
        times.sort_by(f64::total_cmp);
        times.get(((times.len() - 1) as f64 * share) as usize).copied()
    };
    Ok(json!({
        "when": when,
        "connectMs": of(&mut connects, 0.5),
        "connectP99Ms": of(&mut connects, 0.99),
        "askMs": of(&mut asks, 0.5),
        "askP99Ms": of(&mut asks, 0.99),
    }))
}

fn port(connection: &Connection, name: &str) -> anyhow::Result<u16> {
    connection.get(name)?.parse().context("a port")
}

pub(super) async fn run(output: Output, args: &CrowdArgs, folder: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(args.rounds > 0 && args.count > 0, "--rounds and --count must be at least 1");
    let bar = ProgressBar::new(args.count as u64);
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, 1, 1, &bar).await?;
    let login = logins.first().context("no device")?;
    let connection = client.connection();
    let https = reqwest::Url::parse(connection.get("GANTRY_URL")?)?.port_or_known_default().context("a port")?;
    let ports = [port(connection, "GANTRY_MQTT_PORT")?, port(connection, "GANTRY_AMQP_PORT")?, https];
    let target = Target { host: "localhost".into(), port: ports[0], tls: Some(trust(&connection.ca()?)?) };
    let data = folder.join("data");
    let mut rows = vec![measure("alone", args.rounds, &target, login, &data).await?];
    let coming = std::sync::Arc::new(tokio::sync::Semaphore::new(COMING_MAX));
    let mut crowd = JoinSet::new();
    for n in 0..args.count {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(n % usize::from(args.addresses))? + 1);
        let (kind, port) = (args.kind, ports[n % ports.len()]);
        let permit = std::sync::Arc::clone(&coming).acquire_owned().await?;
        crowd.spawn(async move {
            // Connecting is quick once it is let in; a place in the queue is given up then.
            let standing = stand(kind, from, port);
            let mut standing = std::pin::pin!(standing);
            let _ = tokio::time::timeout(Duration::from_millis(20), standing.as_mut()).await;
            drop(permit);
            let _ = standing.await;
        });
        bar.set_position(n as u64);
    }
    let mut beside = measure("beside the crowd", args.rounds, &target, login, &data).await?;
    let gone = std::iter::from_fn(|| crowd.try_join_next()).count();
    beside["crowd"] = (args.count - gone).into();
    beside["residentKib"] = server.resident_kib()?.into();
    rows.push(beside);
    bar.finish_and_clear();
    let rows = json!(rows);
    let columns = [
        ("good clients", "/when"),
        ("connect ms", "/connectMs"),
        ("p99", "/connectP99Ms"),
        ("request ms", "/askMs"),
        ("p99", "/askP99Ms"),
        ("crowd", "/crowd"),
        ("RSS KiB", "/residentKib"),
    ];
    output.table(&rows, &columns);
    Ok(())
}
