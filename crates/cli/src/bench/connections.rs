//! `gantry bench connections`: what it costs to connect, and to stay.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use gantry_amqp::Role;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::server::start_gantry;
use super::{amqp, register};
use crate::amqp_client::AmqpClient;
use crate::mqtt_client::{Login, MqttClient, Target, trust};
use crate::output::Output;

/// Connects under way at once.
const CONNECTING_MAX: usize = 64;

#[derive(Args)]
pub(crate) struct ConnectionsArgs {
    /// Connections to open and keep.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Protocol of the devices; over AMQP each attaches its telemetry link.
    #[arg(long, value_enum, default_value_t = Transport::Mqtt)]
    transport: Transport,
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
}

async fn connect(transport: Transport, target: &Target, login: &Login) -> anyhow::Result<Idle> {
    if transport == Transport::Mqtt {
        return Ok(Idle::Mqtt(MqttClient::connect(target, login).await?));
    }
    let mut client = amqp::connect(target, login).await?;
    client.attach(Role::Sender, &format!("/devices/{}/messages/events", login.client_id), 0).await?;
    Ok(Idle::Amqp(Box::new(client)))
}

pub(super) async fn run(output: Output, args: &ConnectionsArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new(args.count as u64);
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, args.count, args.count, &bar).await?;
    let target = match args.transport {
        Transport::Amqp => amqp::target(&client)?,
        Transport::Mqtt => Target {
            host: "localhost".into(),
            port: client.connection().get("GANTRY_MQTT_PORT")?.parse()?,
            tls: Some(trust(&client.connection().ca()?)?),
        },
    };
    let transport = args.transport;
    let (before, cpu, started) = (server.resident_kib()?, server.cpu()?, Instant::now());
    let gate = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    for login in logins {
        let (gate, target) = (Arc::clone(&gate), target.clone());
        tasks.spawn(async move {
            let _permit = gate.acquire().await?;
            connect(transport, &target, &login).await
        });
    }
    let mut clients = vec![];
    while let Some(done) = tasks.join_next().await {
        clients.push(done??);
        bar.set_position(clients.len() as u64);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), server.cpu()? - cpu);
    // Buffers of the handshake are freed as connections go idle.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = server.resident_kib()?;
    bar.finish_and_clear();
    let count = clients.len().max(1) as f64;
    let row = json!({
        "connections": clients.len(),
        "perSecond": (count / seconds).round(),
        "cpuMicros": cpu * 1e6 / count,
        "kibEach": (after.saturating_sub(before)) as f64 / count,
        "residentKib": after,
    });
    let columns = [
        ("connections", "/connections"),
        ("connects/s", "/perSecond"),
        ("cpu us/connect", "/cpuMicros"),
        ("KiB each", "/kibEach"),
        ("RSS KiB", "/residentKib"),
    ];
    output.table(&json!([row]), &columns);
    clients.first().context("no connection was opened")?;
    Ok(())
}
