//! `gantry device`, `twin`, `method`: the registry and what can be asked of a device.

use clap::Subcommand;
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Output, text};

#[derive(Subcommand)]
pub(super) enum DeviceCommand {
    /// Register a device and print its connection string.
    Create {
        /// Device id.
        id: String,
        /// Primary key (base64); drawn when absent.
        #[arg(long, requires = "secondary_key")]
        primary_key: Option<String>,
        /// Secondary key (base64).
        #[arg(long, requires = "primary_key")]
        secondary_key: Option<String>,
    },
    /// List devices, at most 1000.
    List,
    /// Show one device.
    Show {
        /// Device id.
        id: String,
    },
    /// Delete a device, its twin and its queue.
    Delete {
        /// Device id.
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum TwinCommand {
    /// Show a twin.
    Show {
        /// Device id.
        id: String,
    },
    /// Merge desired properties or tags into a twin.
    Update {
        /// Device id.
        id: String,
        /// Desired properties, a JSON object; null removes.
        #[arg(long)]
        desired: Option<String>,
        /// Tags, a JSON object; null removes.
        #[arg(long)]
        tags: Option<String>,
    },
}

#[derive(Subcommand)]
pub(super) enum MethodCommand {
    /// Invoke a direct method and print the device's answer.
    Invoke {
        /// Device id.
        id: String,
        /// Method name.
        name: String,
        /// Payload, JSON; without one the device gets an empty body.
        payload: Option<String>,
        /// Seconds to wait for the answer, 5 to 300.
        #[arg(long, default_value_t = 30)]
        timeout: u64,
    },
}

pub(super) async fn device(client: &Client, output: Output, command: DeviceCommand) -> anyhow::Result<()> {
    match command {
        DeviceCommand::Create { id, primary_key, secondary_key } => {
            let keys = json!({ "primaryKey": primary_key, "secondaryKey": secondary_key });
            let body = json!({ "deviceId": id, "authentication": { "type": "sas", "symmetricKey": keys } });
            let device = client.hub(Method::PUT, &path("devices", &id), Some(&body)).await?;
            let key = text(&device, "/authentication/symmetricKey/primaryKey");
            let host = client.connection().get("IOTHUB_HOSTNAME")?;
            let line = format!("HostName={host};DeviceId={id};SharedAccessKey={key}");
            output.value(&json!({ "device": device, "connectionString": line }), |_| println!("{line}"));
        }
        DeviceCommand::List => {
            let devices = client.hub(Method::GET, "/devices?top=1000", None).await?;
            let columns = [
                ("device", "/deviceId"),
                ("status", "/status"),
                ("connection", "/connectionState"),
                ("last activity", "/lastActivityTime"),
                ("auth", "/authentication/type"),
            ];
            output.table(&devices, &columns);
        }
        DeviceCommand::Show { id } => output.json(&client.hub(Method::GET, &path("devices", &id), None).await?),
        DeviceCommand::Delete { id } => {
            client.hub_any(Method::DELETE, &path("devices", &id), None).await?;
            output.value(&json!({ "deleted": id }), |_| println!("deleted {id}"));
        }
    }
    Ok(())
}

pub(super) async fn twin(client: &Client, output: Output, command: TwinCommand) -> anyhow::Result<()> {
    let twin = match command {
        TwinCommand::Show { id } => client.hub(Method::GET, &path("twins", &id), None).await?,
        TwinCommand::Update { id, desired, tags } => {
            anyhow::ensure!(desired.is_some() || tags.is_some(), "give --desired or --tags");
            let mut body = json!({});
            if let Some(desired) = desired {
                body["properties"]["desired"] = parse("--desired", &desired)?;
            }
            if let Some(tags) = tags {
                body["tags"] = parse("--tags", &tags)?;
            }
            client.hub(Method::PATCH, &path("twins", &id), Some(&body)).await?
        }
    };
    output.json(&twin);
    Ok(())
}

pub(super) async fn method(client: &Client, output: Output, command: MethodCommand) -> anyhow::Result<()> {
    let MethodCommand::Invoke { id, name, payload, timeout } = command;
    let mut body = json!({ "methodName": name, "responseTimeoutInSeconds": timeout });
    if let Some(payload) = payload {
        body["payload"] = parse("payload", &payload)?;
    }
    let answer = client.hub(Method::POST, &format!("{}/methods", path("twins", &id)), Some(&body)).await?;
    output.json(&answer);
    Ok(())
}

fn parse(what: &str, text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).map_err(|error| anyhow::anyhow!("{what} is not JSON: {error}"))
}

fn path(collection: &str, id: &str) -> String {
    format!("/{collection}/{}", encode_component(id))
}
