//! `gantry bench amqp-telemetry` and `c2d`: AMQP over TLS.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use gantry_amqp::connection::Outgoing;
use gantry_amqp::{Body, DeliveryState, Event, Message, MessageId, Properties, Role};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::body::BodyArgs;
use super::server::{Server, start_gantry};
use super::{Figures, register};
use crate::amqp_client::AmqpClient;
use crate::client::Client;
use crate::mqtt_client::{Login, Stream, Target, trust};
use crate::output::Output;

/// One latency of so many is kept.
const LATENCY_SAMPLE: u64 = 16;
/// Messages the queue of one device holds.
const QUEUE_LEN: usize = 50;
/// Messages of one sender under way; the hub takes those of a link one after the other.
const SEND_WINDOW: usize = 8;

#[derive(Args)]
pub(crate) struct AmqpTelemetryArgs {
    /// Seconds of the measurement.
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
}

#[derive(Args)]
pub(crate) struct C2dArgs {
    /// Devices; each is sent 50 messages.
    #[arg(long, default_value_t = 1_000)]
    devices: usize,
    /// Connections that send.
    #[arg(long, default_value_t = 50)]
    senders: usize,
}

/// Where devices and services connect.
pub(super) fn target(client: &Client) -> anyhow::Result<Target> {
    Ok(Target {
        host: "localhost".into(),
        port: client.connection().get("GANTRY_AMQP_PORT")?.parse()?,
        tls: Some(trust(&client.connection().ca()?)?),
    })
}

/// Connects a device with the token of its MQTT login.
async fn connect(target: &Target, login: &Login) -> anyhow::Result<AmqpClient> {
    connect_over(target.open().await?, target, login).await
}

/// The same over an open stream.
pub(super) async fn connect_over(
    stream: Box<dyn Stream>,
    target: &Target,
    login: &Login,
) -> anyhow::Result<AmqpClient> {
    let user = format!("{}@sas.{}", login.client_id, target.host);
    AmqpClient::over(stream, target, &user, login.password.as_deref().unwrap_or_default()).await
}

pub(super) async fn telemetry(output: Output, args: &AmqpTelemetryArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, args.connections, args.connections, &bar).await?;
    let target = target(&client)?;
    let mut clients = vec![];
    for login in &logins {
        clients.push((connect(&target, login).await?, login.client_id.clone()));
    }
    bar.set_message("measuring");
    let (cpu, started) = (server.cpu()?, Instant::now());
    let until = started + Duration::from_secs(args.seconds);
    let mut tasks = JoinSet::new();
    for (n, (client, id)) in clients.into_iter().enumerate() {
        tasks.spawn(send_telemetry(client, id, args.body.bodies(n)?, args.window, until));
    }
    let (mut acked, mut latencies) = (0, vec![]);
    while let Some(done) = tasks.join_next().await {
        let (count, mut samples) = done??;
        acked += count;
        latencies.append(&mut samples);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), server.cpu()? - cpu);
    latencies.sort_unstable();
    bar.finish_and_clear();
    let figures = Figures {
        acked,
        per_second: acked as f64 / seconds,
        cpu_micros: cpu * 1e6 / acked.max(1) as f64,
        latencies,
        resident_kib: server.resident_kib()?,
    };
    let columns = [
        ("server", "/server"),
        ("accepted msg/s", "/perSecond"),
        ("cpu us/msg", "/cpuMicros"),
        ("p50 ms", "/p50Ms"),
        ("p99 ms", "/p99Ms"),
        ("RSS KiB", "/residentKib"),
    ];
    output.table(&json!([figures.row("gantry, AMQP, TLS, durable")]), &columns);
    Ok(())
}

/// Keeps `window` messages in flight until the time is up.
async fn send_telemetry(
    mut client: AmqpClient,
    device: String,
    bodies: Vec<Vec<u8>>,
    window: usize,
    until: Instant,
) -> anyhow::Result<(u64, Vec<Duration>)> {
    let link = client.attach(Role::Sender, &format!("/devices/{device}/messages/events"), 0).await?;
    let encode = |body: Vec<u8>| {
        let mut bytes = vec![];
        Message { body: Body::Data(vec![body.into()]), ..Message::default() }.encode(&mut bytes);
        bytes
    };
    let messages: Vec<_> = bodies.into_iter().map(encode).collect();
    let (mut sent, mut acked, mut sent_at, mut latencies) = (0_u64, 0_u64, VecDeque::new(), vec![]);
    loop {
        let now = Instant::now();
        while now < until && sent_at.len() < window && client.amqp.sendable(link) > 0 {
            let delivery = Outgoing { tag: &sent.to_be_bytes(), settled: false, format: 0 };
            client.amqp.send(link, delivery, &messages[sent as usize % messages.len()])?;
            sent_at.push_back(now);
            sent += 1;
        }
        client.flush().await?;
        if sent_at.is_empty() && now >= until {
            return Ok((acked, latencies));
        }
        client.receive().await?;
        let now = Instant::now();
        while let Some(event) = client.amqp.next_event() {
            let Event::Disposition { state, .. } = event else { continue };
            ensure!(state == Some(DeliveryState::Accepted), "refused: {state:?}");
            let at = sent_at.pop_front().context("acceptance of nothing")?;
            if acked.is_multiple_of(LATENCY_SAMPLE) {
                latencies.push(now.duration_since(at));
            }
            acked += 1;
        }
    }
}

pub(super) async fn c2d(output: Output, args: &C2dArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, args.devices, args.devices, &bar).await?;
    let target = target(&client)?;
    bar.set_message("sending");
    let rows = vec![
        measure(&server, "sent, durable", || send_all(&client, &target, args)).await?,
        measure(&server, "delivered and completed", || receive_all(&target, &logins)).await?,
    ];
    bar.finish_and_clear();
    output.table(&Value::Array(rows), &[("c2d", "/name"), ("msg/s", "/perSecond"), ("cpu us/msg", "/cpuMicros")]);
    Ok(())
}

async fn measure<F: Future<Output = anyhow::Result<usize>>>(
    server: &Server,
    name: &str,
    work: impl FnOnce() -> F,
) -> anyhow::Result<Value> {
    let (cpu, started) = (server.cpu()?, Instant::now());
    let count = work().await? as f64;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), server.cpu()? - cpu);
    Ok(json!({ "name": name, "perSecond": (count / seconds).round(), "cpuMicros": cpu * 1e6 / count }))
}

/// Fills every queue.
async fn send_all(client: &Client, target: &Target, args: &C2dArgs) -> anyhow::Result<usize> {
    let credentials = client.connection().credentials("IOTHUB_CONNECTION_STRING")?;
    let user = format!("{}@sas.root.{}", credentials.policy, target.host);
    let signer =
        gantry_identity::Signer { resource: credentials.host, key: credentials.key, policy: Some(credentials.policy) };
    let token = signer.token(gantry_gateway::now().plus(Duration::from_secs(3600)));
    let mut tasks = JoinSet::new();
    for sender in 0..args.senders {
        let (target, user, token) = (target.clone(), user.clone(), token.clone());
        let devices: Vec<usize> = (sender..args.devices).step_by(args.senders).collect();
        tasks.spawn(async move { send_to(AmqpClient::connect(&target, &user, &token).await?, &devices).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(args.devices * QUEUE_LEN)
}

async fn send_to(mut client: AmqpClient, devices: &[usize]) -> anyhow::Result<()> {
    let link = client.attach(Role::Sender, "/messages/devicebound", 0).await?;
    let mut left = (0..QUEUE_LEN * devices.len()).map(|at| (at / devices.len(), devices[at % devices.len()]));
    let (mut in_flight, mut done) = (0, false);
    loop {
        while !done && in_flight < SEND_WINDOW && client.amqp.sendable(link) > 0 {
            let Some((n, device)) = left.next() else {
                done = true;
                break;
            };
            let properties = Properties {
                message_id: Some(MessageId::String(format!("{device}-{n}"))),
                to: Some(format!("/devices/bench-{device}/messages/devicebound")),
                ..Properties::default()
            };
            let body = Body::Data(vec![vec![b'x'; 256].into()]);
            let mut bytes = vec![];
            Message { properties: Some(properties), body, ..Message::default() }.encode(&mut bytes);
            client.amqp.send(link, Outgoing { tag: b"c2d", settled: false, format: 0 }, &bytes)?;
            in_flight += 1;
        }
        client.flush().await?;
        if done && in_flight == 0 {
            return Ok(());
        }
        client.receive().await?;
        while let Some(event) = client.amqp.next_event() {
            if let Event::Disposition { state, .. } = event {
                ensure!(state == Some(DeliveryState::Accepted), "refused: {state:?}");
                in_flight -= 1;
            }
        }
    }
}

/// Empties every queue: a hundred devices at a time.
async fn receive_all(target: &Target, logins: &[Login]) -> anyhow::Result<usize> {
    for some in logins.chunks(100) {
        let mut tasks = JoinSet::new();
        for login in some {
            let (target, login) = (target.clone(), login.clone());
            tasks.spawn(async move { receive_from(connect(&target, &login).await?, &login.client_id).await });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
    }
    Ok(logins.len() * QUEUE_LEN)
}

async fn receive_from(mut client: AmqpClient, device: &str) -> anyhow::Result<()> {
    let address = format!("/devices/{device}/messages/devicebound");
    let link = client.attach(Role::Receiver, &address, u32::try_from(QUEUE_LEN)?).await?;
    let mut count = 0;
    loop {
        while let Some(event) = client.amqp.next_event() {
            if let Event::Message(delivery) = event {
                client.amqp.settle(link, delivery.delivery_id, DeliveryState::Accepted);
                count += 1;
            }
        }
        client.flush().await?;
        if count == QUEUE_LEN {
            break;
        }
        client.receive().await?;
    }
    // What was said last counts once the server has answered it.
    client.attach(Role::Sender, &format!("/devices/{device}/messages/events"), 0).await?;
    Ok(())
}
