//! `gantry policy`: shared access policies of the hub.

use clap::Subcommand;
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Output, text};

#[derive(Subcommand)]
pub(super) enum PolicyCommand {
    /// List policies and their rights.
    List,
    /// Print the connection string of a policy.
    ConnectionString {
        /// Name of the policy.
        name: String,
        /// With the secondary key.
        #[arg(long)]
        secondary: bool,
    },
    /// Draw a new primary key; the old one is the secondary one until the next roll.
    Roll {
        /// Name of the policy.
        name: String,
    },
}

pub(super) async fn run(client: &Client, output: Output, command: PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::List => {
            let list = client.hub(Method::GET, "/platform/v1/policies", None).await?;
            output.table(&list["value"], &[("name", "/keyName"), ("rights", "/rights")]);
        }
        PolicyCommand::ConnectionString { name, secondary } => {
            let list = client.hub(Method::GET, "/platform/v1/policies", None).await?;
            let mut policies = list["value"].as_array().into_iter().flatten();
            let policy =
                policies.find(|policy| policy["keyName"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(&name)));
            let policy = policy.ok_or_else(|| anyhow::anyhow!("policy `{name}` is not there"))?;
            let key = if secondary { "/secondaryKey" } else { "/primaryKey" };
            let host = client.connection().credentials("IOTHUB_CONNECTION_STRING")?.host;
            let (name, key) = (text(policy, "/keyName"), text(policy, key));
            let string = format!("HostName={host};SharedAccessKeyName={name};SharedAccessKey={key}");
            output.value(&json!({ "connectionString": string }), |_| println!("{string}"));
        }
        PolicyCommand::Roll { name } => {
            let path = format!("/platform/v1/policies/{}/roll", encode_component(&name));
            let policy: Value = client.hub(Method::POST, &path, None).await?;
            output.value(&json!({ "rolled": policy["keyName"] }), |_| {
                println!("{name} has a new primary key; the old one works until the next roll");
                println!("connection.env has it after the next start of the platform");
            });
        }
    }
    Ok(())
}
