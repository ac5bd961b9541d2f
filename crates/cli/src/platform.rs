//! `gantry monitor`, `maintenance`, `alerts`, `rule`, `security`, `doctor`.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Output, text};
use gantry_runtime::config::Config;

#[derive(Subcommand)]
pub(super) enum RuleCommand {
    /// List rules.
    List,
    /// Create or replace a rule.
    Put {
        /// Rule id.
        id: String,
        /// The rule, JSON as docs/platform-api.md shows it.
        rule: String,
    },
    /// Delete a rule.
    Delete {
        /// Rule id.
        id: String,
    },
}

pub(super) async fn rule(client: &Client, output: Output, command: RuleCommand) -> anyhow::Result<()> {
    let path = |id: &str| format!("/platform/v1/rules/{}", encode_component(id));
    match command {
        RuleCommand::List => {
            let list = client.hub(Method::GET, "/platform/v1/rules", None).await?;
            let columns = [
                ("id", "/id"),
                ("enabled", "/enabled"),
                ("when", "/when"),
                ("severity", "/severity"),
                ("actions", "/actions"),
            ];
            output.table(&list["rules"], &columns);
        }
        RuleCommand::Put { id, rule } => {
            let rule: Value = serde_json::from_str(&rule).context("rule is not JSON")?;
            output.json(&client.hub(Method::PUT, &path(&id), Some(&rule)).await?);
        }
        RuleCommand::Delete { id } => {
            client.hub(Method::DELETE, &path(&id), None).await?;
            output.value(&json!({ "deleted": id }), |_| println!("deleted {id}"));
        }
    }
    Ok(())
}

#[derive(Subcommand)]
pub(super) enum FaultCommand {
    /// Show the faults under way.
    Show,
    /// Begin faults in place of those under way.
    Begin {
        /// What goes wrong, JSON as docs/platform-api.md shows it.
        faults: String,
    },
    /// End them.
    End,
}

pub(super) async fn fault(client: &Client, output: Output, command: FaultCommand) -> anyhow::Result<()> {
    const PATH: &str = "/platform/v1/faults";
    match command {
        FaultCommand::Show => output.json(&client.hub(Method::GET, PATH, None).await?),
        FaultCommand::Begin { faults } => {
            let faults: Value = serde_json::from_str(&faults).context("the faults are not JSON")?;
            output.json(&client.hub(Method::PUT, PATH, Some(&faults)).await?);
        }
        FaultCommand::End => {
            client.hub(Method::DELETE, PATH, None).await?;
            output.value(&json!({ "ended": true }), |_| println!("ended"));
        }
    }
    Ok(())
}

/// Live events, or anomalies, until interrupted or `count` of them.
pub(super) async fn monitor(
    client: &Client,
    output: Output,
    device: Option<&str>,
    count: Option<u64>,
    anomalies: bool,
) -> anyhow::Result<()> {
    let (path, wanted) = if anomalies { ("live", "point") } else { ("monitor", "message") };
    let mut events = client.events(&format!("/platform/v1/{path}")).await?;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some((name, event)) = events.next().await? else { break };
        if name == "lagged" {
            eprintln!("fell behind: {} events were not shown", event["missed"]);
        }
        let is_wanted = name == wanted && (!anomalies || event["anomaly"] == true);
        if !is_wanted || device.is_some_and(|device| event["deviceId"] != device) {
            continue;
        }
        left -= 1;
        output.value(&event, |event| {
            let device = text(event, "/deviceId");
            if anomalies {
                println!(
                    "{}  {device:20}  {}  {}",
                    text(event, "/time"),
                    text(event, "/signal"),
                    text(event, "/reason")
                );
            } else {
                println!("{}  {device:20}  {}", text(event, "/enqueuedTime"), event["body"]);
            }
        });
    }
    Ok(())
}

pub(super) async fn maintenance(client: &Client, output: Output) -> anyhow::Result<()> {
    let list = client.hub(Method::GET, "/platform/v1/maintenance", None).await?;
    let columns = [("place", "/place"), ("device", "/deviceId"), ("urgency", "/urgency"), ("reason", "/reason")];
    output.table(&list["items"], &columns);
    Ok(())
}

pub(super) async fn alerts(client: &Client, output: Output) -> anyhow::Result<()> {
    let list = client.hub(Method::GET, "/platform/v1/alerts", None).await?;
    let columns = [
        ("id", "/id"),
        ("state", "/state"),
        ("severity", "/severity"),
        ("device", "/deviceId"),
        ("count", "/count"),
        ("title", "/title"),
        ("reason", "/reason"),
    ];
    output.table(&list["alerts"], &columns);
    Ok(())
}

pub(super) async fn security(client: &Client, output: Output) -> anyhow::Result<()> {
    let list = client.hub(Method::GET, "/platform/v1/security", None).await?;
    let columns = [
        ("at", "/at"),
        ("claimed", "/claimed"),
        ("from", "/peer"),
        ("operation", "/operation"),
        ("reason", "/reason"),
        ("count", "/count"),
    ];
    output.table(&list["events"], &columns);
    Ok(())
}

/// Checks what usually goes wrong, one line each; fails when a check does.
pub(super) async fn doctor(config: &Config, output: Output) -> anyhow::Result<()> {
    let mut checks = vec![("configuration", Ok(config.data_folder.display().to_string()))];
    let client = Client::new(&config.data_folder);
    checks.push(("connection.env", client.as_ref().map(|_| "readable".to_owned()).map_err(|e| format!("{e:#}"))));
    for host in &config.hub.host_names {
        let resolved = (host.as_str(), 0).to_socket_addrs().map(|all| {
            let all: Vec<_> = all.map(|a| a.ip().to_string()).collect();
            format!("{host} is {}", all.join(", "))
        });
        checks.push(("host name", resolved.map_err(|error| format!("{host}: {error}"))));
    }
    // Where the platform last listened, and where it would.
    let last = |name| client.as_ref().ok().and_then(|client| client.connection().get(name).ok()?.parse().ok());
    let ports = [
        ("MQTT port", last("GANTRY_MQTT_PORT").unwrap_or(config.ports.mqtt())),
        ("AMQP port", last("GANTRY_AMQP_PORT").unwrap_or(config.ports.amqp())),
    ];
    for (name, port) in ports {
        checks.push((name, reach(config, port).await));
    }
    if let Ok(client) = &client {
        let answer = client.hub(Method::GET, "/statistics/devices", None).await;
        let words = |counts: Value| format!("{} devices registered", counts["totalDeviceCount"]);
        checks.push(("service API", answer.map(words).map_err(|error| format!("{error:#}"))));
    }
    let failed = checks.iter().filter(|(_, result)| result.is_err()).count();
    let report: Vec<_> = checks
        .iter()
        .map(|(name, result)| {
            let words = result.as_ref().map_or_else(String::as_str, String::as_str);
            json!({ "check": name, "ok": result.is_ok(), "detail": words })
        })
        .collect();
    output.table(&Value::Array(report), &[("check", "/check"), ("ok", "/ok"), ("detail", "/detail")]);
    anyhow::ensure!(failed == 0, "{failed} checks failed");
    Ok(())
}

async fn reach(config: &Config, port: u16) -> Result<String, String> {
    let mut reached = vec![];
    for address in &config.bind {
        let connect = tokio::net::TcpStream::connect((*address, port));
        match tokio::time::timeout(Duration::from_secs(3), connect).await {
            Ok(Ok(_)) => reached.push(address.to_string()),
            Ok(Err(error)) => return Err(format!("{address}:{port}: {error}")),
            Err(_) => return Err(format!("{address}:{port}: no answer")),
        }
    }
    Ok(format!("{port} open on {}", reached.join(", ")))
}
