//! `gantry bench registry`: operations on a registry as it grows, in one run.
//!
//! Devices are spread over sites; queries ask for one page.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::server::start_gantry;
use crate::client::Client;
use crate::output::Output;

/// Calls in flight at once.
const CONCURRENCY: usize = 32;
/// Entries of one bulk call.
const BULK: usize = 100;
/// Sites devices are spread over.
const SITES: usize = 20;

#[derive(Args)]
pub(crate) struct RegistryArgs {
    /// Registered devices at each measurement, rising.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000")]
    sizes: Vec<usize>,
    /// Calls of each kind.
    #[arg(long, default_value_t = 2000)]
    calls: usize,
}

/// A kind of call: its name, and the n-th of it among so many devices.
type Kind = (&'static str, fn(usize, usize) -> (Method, String, Option<Value>));

const KINDS: [Kind; 9] = [
    ("create", |n, size| (Method::PUT, format!("/devices/new-{size}-{n}"), Some(json!({})))),
    ("get", |n, size| (Method::GET, format!("/devices/{}", id(spread(n, size))), None)),
    ("twin update", |n, size| {
        let patch = json!({ "properties": {"desired": {"rate": n}} });
        (Method::PATCH, format!("/twins/{}", id(spread(n, size))), Some(patch))
    }),
    ("query one id", |n, size| query(&format!("SELECT * FROM devices WHERE deviceId = '{}'", id(spread(n, size))))),
    ("query one tag", |n, size| query(&format!("SELECT * FROM devices WHERE tags.serial = 's{}'", spread(n, size)))),
    ("query a page", |_, _| query("SELECT * FROM devices")),
    ("query a page of a tag", |n, _| {
        query(&format!("SELECT deviceId FROM devices WHERE tags.site = 'site{}'", n % SITES))
    }),
    ("count all", |_, _| query("SELECT COUNT() AS n FROM devices")),
    ("delete", |n, size| (Method::DELETE, format!("/devices/new-{size}-{n}"), None)),
];

fn id(n: usize) -> String {
    format!("bench-{n:07}")
}

/// Numbers spread over all of them, so that caches do not answer.
fn spread(n: usize, size: usize) -> usize {
    n.wrapping_mul(7_919) % size
}

fn query(text: &str) -> (Method, String, Option<Value>) {
    (Method::POST, "/devices/query".to_owned(), Some(json!({ "query": text })))
}

pub(super) async fn run(output: Output, args: &RegistryArgs, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let (server, client) = start_gantry(folder).await?;
    let (mut rows, mut registered, mut first) = (vec![], 0, vec![]);
    for size in &args.sizes {
        let began = Instant::now();
        grow(&client, registered, *size, &bar).await?;
        if *size > registered {
            let rate = (*size - registered) as f64 / began.elapsed().as_secs_f64();
            rows.push(json!({ "devices": size, "call": "bulk create, devices", "perSecond": rate.round() as u64 }));
        }
        registered = *size;
        for (number, (name, call)) in KINDS.iter().enumerate() {
            bar.set_message(format!("{size} devices: {name}"));
            warm(&client, call, *size).await?;
            let row = measure(&client, name, call, *size, args.calls).await?;
            let micros = row["meanMicros"].as_f64().unwrap_or_default();
            if first.len() <= number {
                first.push(micros);
            }
            let mut row = row;
            row["ratio"] = json!((micros / first[number] * 100.0).round() / 100.0);
            rows.push(row);
        }
        let count = query(&format!("SELECT COUNT() AS n FROM devices WHERE tags.site = 'site{}'", 1));
        rows.push(once(&client, "count one tag, once", &count, *size).await?);
        let scan = query("SELECT COUNT() AS n FROM devices WHERE tags.serial != 'x' OR tags.site = 'y'");
        rows.push(once(&client, "look at every twin, once", &scan, *size).await?);
    }
    bar.finish_and_clear();
    let columns = [
        ("devices", "/devices"),
        ("call", "/call"),
        ("calls/s", "/perSecond"),
        ("p50 ms", "/p50Ms"),
        ("p99 ms", "/p99Ms"),
        ("against the first size", "/ratio"),
    ];
    output.table(&Value::Array(rows), &columns);
    drop(server);
    Ok(())
}

/// Registers devices up to a number, in bulk.
async fn grow(client: &Client, from: usize, to: usize, bar: &ProgressBar) -> anyhow::Result<()> {
    let starts: Vec<usize> = (from..to).step_by(BULK).collect();
    let calls = stream::iter(starts).map(|start| async move {
        let entries: Vec<Value> = (start..to.min(start + BULK)).map(entry).collect();
        client.hub(Method::POST, "/devices", Some(&Value::Array(entries))).await?;
        anyhow::Ok(start)
    });
    let mut done = calls.buffer_unordered(CONCURRENCY);
    while let Some(start) = done.try_next().await? {
        bar.set_message(format!("registering devices: {start} of {to}"));
    }
    Ok(())
}

fn entry(n: usize) -> Value {
    json!({
        "id": id(n), "importMode": "create", "status": "enabled",
        "tags": {"site": format!("site{}", n % SITES), "serial": format!("s{n}"), "floor": n % 9},
        "properties": {"desired": {"rate": 1, "firmware": {"version": "1.0.0", "channel": "stable"}}},
    })
}

/// Calls a few times, and waits until what the calls set off in the background is done: an index, for one.
async fn warm(
    client: &Client,
    call: &fn(usize, usize) -> (Method, String, Option<Value>),
    size: usize,
) -> anyhow::Result<()> {
    let (method, path, body) = call(0, size);
    if path != "/devices/query" {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut quick = 0;
    while quick < 20 {
        let began = Instant::now();
        client.hub(method.clone(), &path, body.as_ref()).await?;
        quick = if began.elapsed() < Duration::from_millis(50) { quick + 1 } else { 0 };
        anyhow::ensure!(Instant::now() < deadline, "{path} {body:?} does not become quick");
    }
    Ok(())
}

async fn measure(
    client: &Client,
    name: &str,
    call: &fn(usize, usize) -> (Method, String, Option<Value>),
    size: usize,
    calls: usize,
) -> anyhow::Result<Value> {
    let began = Instant::now();
    let all = stream::iter(0..calls).map(|n| async move {
        let (method, path, body) = call(n, size);
        let began = Instant::now();
        client.hub(method, &path, body.as_ref()).await?;
        anyhow::Ok(began.elapsed())
    });
    let mut latencies: Vec<Duration> = all.buffer_unordered(CONCURRENCY).try_collect().await?;
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize].as_secs_f64() * 1000.0;
    Ok(json!({
        "devices": size,
        "call": name,
        "perSecond": (calls as f64 / seconds).round() as u64,
        "p50Ms": (quantile(0.5) * 100.0).round() / 100.0,
        "p99Ms": (quantile(0.99) * 100.0).round() / 100.0,
        "meanMicros": seconds * 1e6 / calls as f64,
    }))
}

async fn once(
    client: &Client,
    name: &str,
    call: &(Method, String, Option<Value>),
    size: usize,
) -> anyhow::Result<Value> {
    let (method, path, body) = call;
    let began = Instant::now();
    let answer = client.hub(method.clone(), path, body.as_ref()).await?;
    answer.pointer("/0/n").context("a count")?;
    let ms = (began.elapsed().as_secs_f64() * 100_000.0).round() / 100.0;
    Ok(json!({ "devices": size, "call": name, "p50Ms": ms }))
}
