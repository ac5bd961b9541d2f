//! `gantry token-server`: runs it, and draws API keys for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use gantry_tokens::{Pattern, hash_api_key};
use rand::RngCore as _;
use serde_json::json;

use super::output::Output;
use gantry_runtime::config::Sources;
use gantry_runtime::token_server;

#[derive(Args)]
pub(super) struct TokenServerArgs {
    #[command(subcommand)]
    command: Option<TokenServerCommand>,
}

#[derive(Subcommand)]
enum TokenServerCommand {
    /// Draw an API key: prints it once, and the entry for the configuration.
    Key {
        /// Name for the audit log.
        name: String,
        /// Identity it may ask for: device, or device/module; * is any run of characters. May be repeated.
        #[arg(long = "identity", required = true)]
        identities: Vec<String>,
    },
}

pub(super) async fn run(sources: &Sources, output: Output, json: bool, args: TokenServerArgs) -> anyhow::Result<()> {
    match args.command {
        None => {
            // Nothing this process writes is for other users.
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            token_server::run(sources, json).await
        }
        Some(TokenServerCommand::Key { name, identities }) => draw(output, &name, &identities),
    }
}

fn draw(output: Output, name: &str, identities: &[String]) -> anyhow::Result<()> {
    for text in identities {
        Pattern::parse(text)?;
    }
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    let key = format!("gtk_{}", URL_SAFE_NO_PAD.encode(bytes));
    let sha256: String = hash_api_key(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = json!({ "key": key, "name": name, "sha256": sha256, "identities": identities });
    output.value(&entry, |_| {
        // JSON's texts and lists are TOML's too.
        println!("# key, shown once: {key}");
        println!("[[token_server.api_keys]]\nname = {}\nsha256 = \"{sha256}\"", json!(name));
        println!("identities = {}", json!(identities));
    });
    Ok(())
}
