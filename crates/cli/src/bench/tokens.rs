//! `gantry bench tokens`: tokens a second from a token server of its own, over HTTPS with an API key.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use gantry_identity::encode_component;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::server::{Server, TOKEN_KEY, TokenServer, start_token_server};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct TokensArgs {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Requests in flight at once.
    #[arg(long, default_value_t = 64)]
    calls: usize,
}

pub(super) async fn run(output: Output, args: &TokensArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let (server, tokens) = start_token_server(folder)?;
    let mut rows = vec![];
    for (name, kept) in [("connections kept", usize::MAX), ("a connection each", 0)] {
        bar.set_message(format!("measuring: {name}"));
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&tokens.ca_file)?)?;
        let builder = reqwest::Client::builder().tls_certs_only([ca]).http1_only().pool_max_idle_per_host(kept);
        rows.push(measure(&server, &tokens, builder.build()?, args, name).await?);
    }
    bar.finish_and_clear();
    let columns = [
        ("", "/name"),
        ("tokens/s", "/perSecond"),
        ("cpu us each", "/cpuMicros"),
        ("tokens/s of a core", "/perCore"),
        ("p50 ms", "/p50Ms"),
        ("p99 ms", "/p99Ms"),
    ];
    output.table(&Value::Array(rows), &columns);
    Ok(())
}

async fn measure(
    server: &Server,
    tokens: &TokenServer,
    http: reqwest::Client,
    args: &TokensArgs,
    name: &str,
) -> anyhow::Result<Value> {
    let (cpu, started) = (server.cpu()?, Instant::now());
    let until = started + Duration::from_secs(args.seconds);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..args.calls {
        let resource = encode_component(&format!("hub.example/devices/bench-{caller}"));
        let (http, url) = (http.clone(), format!("{}?sr={resource}", tokens.url));
        callers.spawn(async move {
            let mut latencies = vec![];
            while Instant::now() < until {
                let began = Instant::now();
                let answer = http.get(&url).header("x-api-key", TOKEN_KEY).send().await?;
                anyhow::ensure!(answer.status() == 200, "{}", answer.text().await?);
                answer.bytes().await?;
                latencies.push(began.elapsed());
            }
            Ok(latencies)
        });
    }
    let mut latencies = vec![];
    while let Some(done) = callers.join_next().await {
        latencies.append(&mut done??);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), server.cpu()? - cpu);
    latencies.sort_unstable();
    let count = latencies.len().max(1) as f64;
    let quantile = |q: f64| {
        let at = (latencies.len().saturating_sub(1) as f64 * q) as usize;
        latencies.get(at).map(|latency| (latency.as_secs_f64() * 100_000.0).round() / 100.0)
    };
    Ok(json!({
        "name": name,
        "perSecond": (count / seconds).round() as u64,
        "cpuMicros": (cpu * 1e6 / count).round(),
        "perCore": (count / cpu).round() as u64,
        "p50Ms": quantile(0.5),
        "p99Ms": quantile(0.99),
    }))
}
