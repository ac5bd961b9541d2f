//! `gantry hub`: hubs the provisioning service allocates devices to.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::output::{Output, text};

const PATH: &str = "/platform/v1/provisioning/hubs";

#[derive(Subcommand)]
pub(super) enum HubCommand {
    /// List linked hubs.
    List,
    /// Link a hub elsewhere, or change how it is linked.
    Link {
        /// File with the connection string of a policy with the rights RegistryWrite and ServiceConnect.
        file: PathBuf,
        /// Certificate authority of the hub (PEM), beside those the system trusts.
        #[arg(long)]
        ca: Option<PathBuf>,
        /// Its share of the devices.
        #[arg(long, default_value_t = 1)]
        weight: u32,
        /// Only for enrollments that name it.
        #[arg(long)]
        named_only: bool,
    },
    /// Unlink a hub; its devices stay there.
    Unlink {
        /// Host name of the hub.
        name: String,
    },
}

pub(super) async fn run(client: &Client, output: Output, command: HubCommand) -> anyhow::Result<()> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    match command {
        HubCommand::List => {
            let list = client.hub(Method::GET, PATH, None).await?;
            let columns = [
                ("name", "/name"),
                ("here", "/own"),
                ("weight", "/allocationWeight"),
                ("takes part", "/applyAllocationPolicy"),
                ("latency ms", "/latencyMs"),
            ];
            output.table(&list["value"], &columns);
        }
        HubCommand::Link { file, ca, weight, named_only } => {
            let body = json!({
                "connectionString": read(&file)?.trim(),
                "certificateAuthority": ca.as_ref().map(read).transpose()?,
                "allocationWeight": weight,
                "applyAllocationPolicy": !named_only,
            });
            let hub = client.hub(Method::POST, PATH, Some(&body)).await?;
            output.value(&hub, |hub| println!("linked {}", text(hub, "/name")));
        }
        HubCommand::Unlink { name } => {
            client.hub(Method::DELETE, &format!("{PATH}/{}", encode_component(&name)), None).await?;
            output.value(&json!({ "unlinked": name }), |_| println!("unlinked {name}"));
        }
    }
    Ok(())
}
