//! `gantry bench methods`: direct methods a second, over REST to devices on MQTT with TLS and back.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::register;
use super::server::start_gantry;
use crate::mqtt_client::{Incoming, MqttClient, Target, trust};
use crate::output::Output;

const REQUESTS: &str = "$iothub/methods/POST/#";

#[derive(Args)]
pub(crate) struct MethodsArgs {
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Devices connected.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Calls in flight at once.
    #[arg(long, default_value_t = 64)]
    calls: usize,
}

pub(super) async fn run(output: Output, args: &MethodsArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let (server, client) = start_gantry(folder).await?;
    let logins = register(&client, args.connections, args.connections, &bar).await?;
    let target = Target {
        host: "localhost".into(),
        port: client.connection().get("GANTRY_MQTT_PORT")?.parse()?,
        tls: Some(trust(&client.connection().ca()?)?),
    };
    let mut devices = tokio::task::JoinSet::new();
    for login in &logins {
        let mut device = MqttClient::connect(&target, login).await?;
        device.subscribe(&[REQUESTS]);
        device.flush().await?;
        devices.spawn(answer(device));
    }
    bar.set_message("calling");
    let (cpu, started) = (server.cpu()?, Instant::now());
    let until = started + Duration::from_secs(args.seconds);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..args.calls {
        let (client, ids) = (client.clone(), logins.iter().map(|login| login.client_id.clone()).collect::<Vec<_>>());
        callers.spawn(async move {
            let (mut latencies, mut n) = (vec![], caller);
            let body = json!({ "methodName": "bench", "payload": {"a": 1}, "responseTimeoutInSeconds": 30,
                               "connectTimeoutInSeconds": 30 });
            while Instant::now() < until {
                let began = Instant::now();
                let path = format!("/twins/{}/methods", ids[n % ids.len()]);
                let answer = client.hub(Method::POST, &path, Some(&body)).await?;
                anyhow::ensure!(answer["status"] == 200, "{answer}");
                latencies.push(began.elapsed());
                n += 1;
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = vec![];
    while let Some(done) = callers.join_next().await {
        latencies.append(&mut done??);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), server.cpu()? - cpu);
    latencies.sort_unstable();
    let quantile = |q: f64| {
        let at = (latencies.len().saturating_sub(1) as f64 * q) as usize;
        latencies.get(at).map(|latency| (latency.as_secs_f64() * 100_000.0).round() / 100.0)
    };
    let row = json!({
        "perSecond": (latencies.len() as f64 / seconds).round() as u64,
        "cpuMicros": (cpu * 1e6 / latencies.len().max(1) as f64).round(),
        "p50Ms": quantile(0.5),
        "p99Ms": quantile(0.99),
    });
    bar.finish_and_clear();
    let columns =
        [("round trips/s", "/perSecond"), ("cpu us each", "/cpuMicros"), ("p50 ms", "/p50Ms"), ("p99 ms", "/p99Ms")];
    output.table(&Value::Array(vec![row]), &columns);
    Ok(())
}

/// Answers every call with 200 until the connection ends.
async fn answer(mut device: MqttClient) -> anyhow::Result<()> {
    loop {
        for incoming in device.receive().await? {
            let Incoming::Message { topic, .. } = incoming else { continue };
            if let Some((_, request)) = topic.split_once("?$rid=") {
                device.publish(&format!("$iothub/methods/res/200/?$rid={request}"), b"{\"done\":true}");
            }
        }
        device.flush().await?;
    }
}
