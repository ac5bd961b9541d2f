//! `gantry routing`: which events go to which endpoints.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::Output;

const PATH: &str = "/platform/v1/routing";

#[derive(Subcommand)]
pub(super) enum RoutingCommand {
    /// Print endpoints, routes, fallback and enrichments as JSON.
    Show,
    /// Replace everything by a JSON file, as `show` prints it.
    Set {
        /// The file.
        file: PathBuf,
    },
    /// Add or replace a route.
    AddRoute {
        /// Its name.
        name: String,
        /// What it listens to.
        #[arg(long, default_value = "DeviceMessages")]
        source: String,
        /// Which of that it sends on.
        #[arg(long, default_value = "true")]
        condition: String,
        /// Where to; `events` is the built-in endpoint.
        #[arg(long, default_value = "events")]
        endpoint: String,
    },
    /// Delete a route.
    DeleteRoute {
        /// Its name.
        name: String,
    },
    /// Add or replace an endpoint.
    AddEndpoint {
        /// Its name.
        name: String,
        /// `eventHubs` (a stream of this platform, or elsewhere by connection string), `serviceBusQueues`,
        /// `serviceBusTopics`, `storageContainers` or `webhooks`.
        #[arg(long)]
        kind: String,
        /// Its other settings, JSON, as docs/platform-api.md shows them.
        #[arg(long, default_value = "{}")]
        settings: String,
    },
    /// Delete an endpoint.
    DeleteEndpoint {
        /// Its name.
        name: String,
    },
    /// Try a condition on a message nobody sent.
    Test {
        /// The condition.
        condition: String,
        /// Body of the message, JSON.
        #[arg(long, default_value = "{}")]
        body: String,
        /// Application properties, JSON.
        #[arg(long, default_value = "{}")]
        properties: String,
        /// Twin of the device, JSON.
        #[arg(long)]
        twin: Option<String>,
    },
    /// How endpoints fare.
    Health,
}

const KINDS: [&str; 5] = ["eventHubs", "serviceBusQueues", "serviceBusTopics", "storageContainers", "webhooks"];

pub(super) async fn run(client: &Client, output: Output, command: RoutingCommand) -> anyhow::Result<()> {
    match command {
        RoutingCommand::Show => output.json(&client.hub(Method::GET, PATH, None).await?["properties"]),
        RoutingCommand::Set { file } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let properties: Value = serde_json::from_str(&text).context("not JSON")?;
            let body = json!({ "properties": properties });
            output.json(&client.hub(Method::PUT, PATH, Some(&body)).await?["properties"]);
        }
        RoutingCommand::AddRoute { name, source, condition, endpoint } => {
            let route = json!({
                "name": name, "source": source, "condition": condition, "endpointNames": [endpoint], "isEnabled": true,
            });
            change(client, output, |routing| replace(&mut routing["routes"], &name, Some(route))).await?;
        }
        RoutingCommand::DeleteRoute { name } => {
            change(client, output, |routing| replace(&mut routing["routes"], &name, None)).await?;
        }
        RoutingCommand::AddEndpoint { name, kind, settings } => {
            let Some(kind) = KINDS.into_iter().find(|known| known.eq_ignore_ascii_case(&kind)) else {
                bail!("--kind is one of {}", KINDS.join(", "));
            };
            let mut endpoint: Value = serde_json::from_str(&settings).context("--settings")?;
            endpoint["name"] = json!(name);
            change(client, output, |routing| replace(&mut routing["endpoints"][kind], &name, Some(endpoint))).await?;
        }
        RoutingCommand::DeleteEndpoint { name } => {
            let delete = |routing: &mut Value| {
                // Of the five lists, one has it.
                let results = KINDS.map(|kind| replace(&mut routing["endpoints"][kind], &name, None));
                results.into_iter().find(Result::is_ok).unwrap_or_else(|| bail!("no endpoint `{name}`"))
            };
            change(client, output, delete).await?;
        }
        RoutingCommand::Test { condition, body, properties, twin } => {
            let properties: Value = serde_json::from_str(&properties).context("--properties")?;
            let twin: Option<Value> = twin.map(|twin| serde_json::from_str(&twin).context("--twin")).transpose()?;
            let input = json!({
                "message": { "body": body, "appProperties": properties },
                "route": { "name": "test", "source": "DeviceMessages", "condition": condition,
                           "endpointNames": ["events"], "isEnabled": true },
                "twin": twin,
            });
            let answer = client.hub(Method::POST, &format!("{PATH}/testnew"), Some(&input)).await?;
            output.value(&answer, |answer| {
                println!("{}", answer["result"].as_str().unwrap_or_default());
                for error in answer["details"]["compilationErrors"].as_array().into_iter().flatten() {
                    println!("{}", error["message"].as_str().unwrap_or_default());
                }
            });
        }
        RoutingCommand::Health => {
            let list = client.hub(Method::GET, &format!("{PATH}/health"), None).await?;
            let columns = [
                ("endpoint", "/endpointId"),
                ("health", "/healthStatus"),
                ("last success", "/lastSuccessfulSendAttemptTime"),
                ("last error", "/lastKnownError"),
            ];
            output.table(&list["value"], &columns);
        }
    }
    Ok(())
}

/// Reads routing, changes it and writes it back.
async fn change(
    client: &Client,
    output: Output,
    change: impl FnOnce(&mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut settings = client.hub(Method::GET, PATH, None).await?;
    change(&mut settings["properties"])?;
    // With its etag, so that a change made meanwhile is not lost.
    let answer = client.hub(Method::PUT, PATH, Some(&settings)).await?;
    output.json(&answer["properties"]);
    Ok(())
}

/// Puts the entry of a name into a list, in place of an older one, or takes it out.
fn replace(list: &mut Value, name: &str, entry: Option<Value>) -> anyhow::Result<()> {
    let Some(list) = list.as_array_mut() else { bail!("the answer has no such list") };
    let before = list.len();
    list.retain(|old| old["name"] != name);
    match entry {
        Some(entry) => list.push(entry),
        None if list.len() == before => bail!("no `{name}`"),
        None => {}
    }
    Ok(())
}
