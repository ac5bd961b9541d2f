//! `gantry bench registrations`: devices that provision themselves over HTTPS, as the enrollments grow, in one run.
//!
//! A registration is what a device does: register, then poll. Connections are kept, so TLS handshakes are left out.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gantry_identity::{Key, Signer};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::server::{Server, start_gantry};
use crate::client::Client;
use crate::output::Output;

/// Devices, and bulk calls, in progress at once.
const CONCURRENCY: usize = 64;
/// Devices one caller registers before it polls for the first of them: time passes, as it does for a device.
const BATCH: usize = 8;
/// Records of one bulk call (DPS service API).
const BULK: usize = 10;
const GROUP: &str = "bench";
const KEY: [u8; 32] = [7; 32];
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

#[derive(Args)]
pub(crate) struct RegistrationsArgs {
    /// Individual enrollments at each measurement, rising.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000")]
    sizes: Vec<usize>,
    /// Registrations of each kind at each size, at most; as many as enrollments were added.
    #[arg(long, default_value_t = 1000)]
    calls: usize,
}

/// A device with its proof.
struct Device {
    id: String,
    token: String,
}

struct Service {
    http: reqwest::Client,
    /// With the scope.
    url: String,
    scope: String,
}

pub(super) async fn run(output: Output, args: &RegistrationsArgs, folder: &Path) -> anyhow::Result<()> {
    ensure!(args.calls > 0 && args.sizes.is_sorted_by(|a, b| a < b) && args.sizes[0] > 0, "--sizes must rise");
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let (server, client) = start_gantry(folder).await?;
    let service = Service::new(&client)?;
    let key = Key::from_bytes(KEY);
    let body = json!({ "enrollmentGroupId": GROUP, "attestation": attestation(&key) });
    client.dps(Method::PUT, &format!("/enrollmentGroups/{GROUP}"), Some(&body)).await?;
    // Both sides warm up: connections, caches.
    let warm = (0..args.calls).map(|n| service.device(format!("warm-{n}"), |id| key.derive(id))).collect::<Vec<_>>();
    service.register_all(&warm).await?;

    let (mut rows, mut first, mut before) = (vec![], vec![], 0);
    for &size in &args.sizes {
        let began = Instant::now();
        enroll(&client, before, size, &bar).await?;
        let rate = (size - before) as f64 / began.elapsed().as_secs_f64();
        rows.push(json!({ "enrollments": size, "kind": "bulk enrollment", "perSecond": rate.round() as u64 }));
        let calls = args.calls.min(size - before);
        let individual =
            (0..calls).map(|n| service.device(individual_id(before + n * (size - before) / calls), |_| key.clone()));
        let of_group = (0..calls).map(|n| service.device(format!("group-{size}-{n}"), |id| key.derive(id)));
        let (individual, of_group) = (individual.collect::<Vec<_>>(), of_group.collect::<Vec<_>>());
        let kinds = [
            ("individual, first", &individual),
            ("individual, again", &individual),
            ("group, first", &of_group),
            ("group, again", &of_group),
        ];
        for (number, (kind, devices)) in kinds.into_iter().enumerate() {
            bar.set_message(format!("{size} enrollments: {kind}"));
            let mut row = measure(&server, &service, devices).await?;
            let cpu = row["cpuMicros"].as_f64().unwrap_or_default();
            if first.len() <= number {
                first.push(cpu);
            }
            row["ratio"] = json!((cpu / first[number] * 100.0).round() / 100.0);
            row["enrollments"] = json!(size);
            row["kind"] = json!(kind);
            rows.push(row);
        }
        before = size;
    }
    bar.finish_and_clear();
    let columns = [
        ("enrollments", "/enrollments"),
        ("registration", "/kind"),
        ("a second", "/perSecond"),
        ("cpu us each", "/cpuMicros"),
        ("polls each", "/polls"),
        ("cpu against the first size", "/ratio"),
    ];
    output.table(&Value::Array(rows), &columns);
    drop(server);
    Ok(())
}

fn attestation(key: &Key) -> Value {
    let key = key.to_base64();
    json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key, "secondaryKey": key } })
}

fn individual_id(n: usize) -> String {
    format!("bench-{n:07}")
}

/// Enrolls individuals up to a number, in bulk.
async fn enroll(client: &Client, from: usize, to: usize, bar: &ProgressBar) -> anyhow::Result<()> {
    let starts: Vec<usize> = (from..to).step_by(BULK).collect();
    let attestation = attestation(&Key::from_bytes(KEY));
    let calls = stream::iter(starts).map(|start| {
        let record = |n| json!({ "registrationId": individual_id(n), "attestation": attestation });
        let records: Vec<_> = (start..to.min(start + BULK)).map(record).collect();
        async move {
            let body = json!({ "mode": "create", "enrollments": records });
            let answer = client.dps(Method::POST, "/enrollments", Some(&body)).await?;
            ensure!(answer["isSuccessful"] == true, "{answer}");
            Ok(start)
        }
    });
    let mut done = calls.buffer_unordered(CONCURRENCY);
    while let Some(start) = done.try_next().await? {
        bar.set_message(format!("enrolling: {start} of {to}"));
    }
    Ok(())
}

async fn measure(server: &Server, service: &Service, devices: &[Device]) -> anyhow::Result<Value> {
    let (cpu, began) = (server.cpu()?, Instant::now());
    let polls = service.register_all(devices).await?;
    let (seconds, cpu, count) = (began.elapsed().as_secs_f64(), server.cpu()? - cpu, devices.len() as f64);
    Ok(json!({
        "perSecond": (count / seconds).round() as u64,
        "cpuMicros": (cpu * 1e6 / count).round(),
        "polls": (polls as f64 / count * 100.0).round() / 100.0,
    }))
}

impl Service {
    fn new(client: &Client) -> anyhow::Result<Self> {
        let connection = client.connection();
        let ca = reqwest::Certificate::from_pem(&connection.ca()?)?;
        let http = reqwest::Client::builder().tls_certs_only([ca]).http1_only().build()?;
        let scope = connection.get("PROVISIONING_IDSCOPE")?.to_owned();
        Ok(Self { http, url: format!("{}/{scope}/registrations", connection.get("GANTRY_URL")?), scope })
    }

    fn device(&self, id: String, key: impl FnOnce(&str) -> Key) -> Device {
        let resource = format!("{}/registrations/{id}", self.scope);
        let signer = Signer { resource, key: key(&id), policy: Some("registration".into()) };
        Device { token: signer.token(gantry_gateway::now().plus(TOKEN_LIFE)), id }
    }

    /// Registers devices; returns the polls that took.
    async fn register_all(&self, devices: &[Device]) -> anyhow::Result<usize> {
        let batches = stream::iter(devices.chunks(BATCH)).map(|batch| self.register(batch));
        batches.buffer_unordered(CONCURRENCY).try_fold(0, async |sum, polls| Ok(sum + polls)).await
    }

    async fn register(&self, batch: &[Device]) -> anyhow::Result<usize> {
        let (mut operations, mut polls) = (vec![], 0);
        for device in batch {
            let body = json!({ "registrationId": device.id });
            let begun = self.call(Method::PUT, device, "/register", Some(&body)).await?;
            operations.push(begun["operationId"].as_str().context("operationId")?.to_owned());
        }
        for (device, operation) in batch.iter().zip(operations) {
            loop {
                polls += 1;
                let state = self.call(Method::GET, device, &format!("/operations/{operation}"), None).await?;
                match state["status"].as_str() {
                    Some("assigned") => break,
                    Some("assigning") => tokio::time::sleep(Duration::from_millis(20)).await,
                    _ => bail!("{}: {state}", device.id),
                }
            }
        }
        Ok(polls)
    }

    async fn call(&self, method: Method, device: &Device, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}/{}{path}?api-version=2021-10-01", self.url, device.id);
        let mut request = self.http.request(method, url).header("Authorization", &device.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
