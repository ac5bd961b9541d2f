//! `gantry bench twins`: reported patches and twin reads a second, over MQTT with TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::register;
use super::server::{Server, start_gantry};
use crate::mqtt_client::{Incoming, Login, MqttClient, Target, trust};
use crate::output::Output;

const RESPONSES: &str = "$iothub/twin/res/#";

#[derive(Args)]
pub(crate) struct TwinsArgs {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Devices connected.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 8)]
    window: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Report,
    Read,
}

pub(super) async fn run(output: Output, args: &TwinsArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, args.connections, args.connections, &bar).await?;
    let target = Target {
        host: "localhost".into(),
        port: client.connection().get("GANTRY_MQTT_PORT")?.parse()?,
        tls: Some(trust(&client.connection().ca()?)?),
    };
    let mut rows = vec![];
    for (name, request) in [("reported patch, durable", Request::Report), ("twin read", Request::Read)] {
        bar.set_message(format!("measuring {name}"));
        rows.push(measure(name, request, &server, &target, &logins, args).await?);
    }
    bar.finish_and_clear();
    let columns = [("request", "/request"), ("answered/s", "/perSecond"), ("cpu us each", "/cpuMicros")];
    output.table(&Value::Array(rows), &columns);
    Ok(())
}

async fn measure(
    name: &str,
    request: Request,
    server: &Server,
    target: &Target,
    logins: &[Login],
    args: &TwinsArgs,
) -> anyhow::Result<Value> {
    let mut clients = vec![];
    for login in logins {
        let mut client = MqttClient::connect(target, login).await?;
        client.subscribe(&[RESPONSES]);
        clients.push(client);
    }
    let (cpu, started) = (server.cpu()?, Instant::now());
    let until = started + Duration::from_secs(args.seconds);
    let refused = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        tasks.spawn(drive(client, request, args.window, until, Arc::clone(&refused)));
    }
    let mut answered = 0;
    while let Some(done) = tasks.join_next().await {
        answered += done??;
    }
    let refused = refused.load(std::sync::atomic::Ordering::Relaxed);
    anyhow::ensure!(refused == 0, "{refused} requests were refused");
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), server.cpu()? - cpu);
    Ok(json!({
        "request": name,
        "answered": answered,
        "perSecond": (answered as f64 / seconds).round() as u64,
        "cpuMicros": cpu * 1e6 / f64::max(answered as f64, 1.0),
    }))
}

/// Keeps `window` requests in flight until the time is up; says how many were answered.
async fn drive(
    mut client: MqttClient,
    request: Request,
    window: usize,
    until: Instant,
    refused: Arc<std::sync::atomic::AtomicU64>,
) -> anyhow::Result<u64> {
    let (mut sent, mut answered) = (0_u64, 0_u64);
    loop {
        while Instant::now() < until && sent - answered < window as u64 {
            match request {
                Request::Report => {
                    let body = format!(r#"{{"temperature":{sent},"firmware":"1.0.0"}}"#);
                    client.publish(&format!("$iothub/twin/PATCH/properties/reported/?$rid={sent}"), body.as_bytes());
                }
                Request::Read => {
                    client.publish(&format!("$iothub/twin/GET/?$rid={sent}"), b"");
                }
            }
            sent += 1;
        }
        if sent == answered {
            client.disconnect().await;
            return Ok(answered);
        }
        client.flush().await?;
        for incoming in client.receive().await? {
            let Incoming::Message { topic, .. } = incoming else { continue };
            answered += 1;
            if !topic.starts_with("$iothub/twin/res/20") {
                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }
}
