//! A streaming job whose platform is killed: its rows are in their tables once each.

use anyhow::{Context as _, ensure};
use gantry_testkit::{Device, Login, PATIENCE, Platform, Service};
use reqwest::Method;
use serde_json::json;

use super::{GANTRY, key};

const CONFIG: &str = r#"
[streaming.jobs.rows]
query = """
SELECT IoTHub.ConnectionDeviceId AS device, x INTO Rows FROM input;
SELECT COUNT(*) AS n, System.Timestamp() AS till INTO Counts FROM input GROUP BY TumblingWindow(millisecond, 500)
"""
"#;
const ROUNDS: u64 = 5;
const BURST: u64 = 40;

/// The numbers of the first row of an answer; nothing while a table is missing.
async fn ask(service: &Service, text: &str) -> anyhow::Result<Option<Vec<u64>>> {
    let body = json!({"db": "telemetry", "csl": text}).to_string();
    let answer = service.call(Method::POST, "/v1/rest/query", body).await?;
    if answer.status == 400 && answer.body.to_string().contains("SEM0100") {
        return Ok(None);
    }
    ensure!(answer.status == 200, "{text}: {answer:?}");
    let row = &answer.body["Tables"][0]["Rows"][0];
    let numbers = row.as_array().context("a row")?.iter().map(|value| value.as_u64().unwrap_or(0));
    Ok(Some(numbers.collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_job_are_there_once_whenever_the_platform_is_killed() -> anyhow::Result<()> {
    let mut platform = Platform::start_with_config(GANTRY, CONFIG)?;
    let service = platform.service()?;
    ensure!(service.create_device("streamer", &key(1)).await?.status == 200);
    platform.wait_log(&["streaming job runs"], 1).await?;
    let mut x = 0;
    for round in 0..ROUNDS {
        let (mut device, _) = Device::connect(&platform, &Login::new("streamer", &key(1))).await?;
        for _ in 0..BURST {
            device.publish("devices/streamer/messages/events/", format!("{{\"x\":{x}}}").as_bytes()).await?;
            x += 1;
        }
        // Cut where it is: before the checkpoint, between it and the rows, or behind them.
        if round % 2 == 1 {
            let part = format!("Rows | where x >= {} | count", round * BURST);
            wait(&service, &part, |counts| counts[0] > 0).await?;
        }
        platform.kill()?;
        platform.restart()?;
    }
    let sent = x;
    let whole = "Rows | summarize n = count(), distinct = count_distinct(x), most = max(x)";
    let found = wait(&service, whole, |counts| counts[0] >= sent).await?;
    ensure!(found == [sent, sent, sent - 1], "{found:?} of {sent}");
    let counted = "Counts | summarize n = sum(n), windows = count(), distinct = count_distinct(till)";
    let found = wait(&service, counted, |counts| counts[0] >= sent).await?;
    ensure!(found[0] == sent && found[1] == found[2], "{found:?} of {sent}");
    platform.stop()
}

/// Asks until an answer is enough.
async fn wait(service: &Service, text: &str, enough: impl Fn(&[u64]) -> bool) -> anyhow::Result<Vec<u64>> {
    let asked = async {
        loop {
            match ask(service, text).await? {
                Some(found) if enough(&found) => return Ok(found),
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("never enough: {text}"))?
}
