//! `gantry certificate`: authorities whose devices may connect.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Output, text};

#[derive(Args)]
pub(super) struct CertificateArgs {
    /// Those of the provisioning service instead of the hub's.
    #[arg(long, global = true)]
    provisioning: bool,
    #[command(subcommand)]
    command: CertificateCommand,
}

#[derive(Subcommand)]
pub(super) enum CertificateCommand {
    /// Upload the certificate of a root or intermediate authority.
    Add {
        /// Name for it.
        name: String,
        /// Certificate, PEM or DER.
        file: PathBuf,
        /// Trust it at once, without a proof that its key is yours.
        #[arg(long)]
        verified: bool,
    },
    /// List authorities.
    List,
    /// Draw a verification code and print it: sign a certificate that has it as common name.
    Code {
        /// Name of the authority.
        name: String,
    },
    /// Show the certificate that was signed for the code.
    Verify {
        /// Name of the authority.
        name: String,
        /// Certificate, PEM or DER.
        file: PathBuf,
    },
    /// Delete an authority.
    Delete {
        /// Name of the authority.
        name: String,
    },
}

/// A certificate file as the platform takes it.
pub(super) fn certificate(file: &Path) -> anyhow::Result<String> {
    use base64::Engine as _;
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

pub(super) async fn run(client: &Client, output: Output, args: CertificateArgs) -> anyhow::Result<()> {
    let state = |entry: &Value| {
        let verified = if entry.pointer("/properties/isVerified") == Some(&json!(true)) { "" } else { "not yet " };
        println!("{} is {verified}verified", text(entry, "/name"));
    };
    let list = if args.provisioning { "/platform/v1/provisioning/certificates" } else { "/platform/v1/certificates" };
    let path = |name: &str| format!("{list}/{}", encode_component(name));
    match args.command {
        CertificateCommand::Add { name, file, verified } => {
            let body = json!({ "certificate": certificate(&file)?, "isVerified": verified });
            output.value(&client.hub(Method::PUT, &path(&name), Some(&body)).await?, state);
        }
        CertificateCommand::List => {
            let list = client.hub(Method::GET, list, None).await?;
            let columns = [
                ("name", "/name"),
                ("subject", "/properties/subject"),
                ("verified", "/properties/isVerified"),
                ("expires", "/properties/expiry"),
                ("thumbprint", "/properties/thumbprint"),
            ];
            output.table(&list["value"], &columns);
        }
        CertificateCommand::Code { name } => {
            let path = format!("{}/generateVerificationCode", path(&name));
            let entry = client.hub(Method::POST, &path, None).await?;
            output.value(&entry, |entry| println!("{}", text(entry, "/properties/verificationCode")));
        }
        CertificateCommand::Verify { name, file } => {
            let body = json!({ "certificate": certificate(&file)? });
            output.value(&client.hub(Method::POST, &format!("{}/verify", path(&name)), Some(&body)).await?, state);
        }
        CertificateCommand::Delete { name } => {
            client.hub(Method::DELETE, &path(&name), None).await?;
            output.value(&json!({ "deleted": name }), |_| println!("deleted {name}"));
        }
    }
    Ok(())
}
