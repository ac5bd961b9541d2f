//! `gantry enrollment` and `gantry registration`: which devices may register, and which did.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::certificate::certificate;
use super::client::Client;
use super::output::{Output, text};

const BASE: &str = "/platform/v1/provisioning";

#[derive(Args)]
pub(super) struct EnrollmentArgs {
    /// An individual enrollment instead of a group.
    #[arg(long, global = true)]
    individual: bool,
    #[command(subcommand)]
    command: EnrollmentCommand,
}

#[derive(Subcommand)]
enum EnrollmentCommand {
    /// List enrollments.
    #[command(alias = "list-groups")]
    List,
    /// Show an enrollment, without its keys.
    Show {
        /// Group id, or registration id of an individual enrollment.
        id: String,
    },
    /// Create an enrollment; with symmetric keys, print its primary key.
    #[command(alias = "create-group")]
    Create(Box<CreateArgs>),
    /// Let devices register by an enrollment again.
    Enable {
        /// Group id, or registration id of an individual enrollment.
        id: String,
    },
    /// Let no device register by an enrollment.
    Disable {
        /// Group id, or registration id of an individual enrollment.
        id: String,
    },
    /// Delete an enrollment; its devices at the hubs stay.
    Delete {
        /// Group id, or registration id of an individual enrollment.
        id: String,
    },
    /// Print the keys of an enrollment.
    Keys {
        /// Group id, or registration id of an individual enrollment.
        id: String,
    },
    /// Print what a new device must be told: host, id scope, registration id and its key.
    DeviceKey {
        /// Group id, or registration id of an individual enrollment.
        id: String,
        /// Registration id of the new device; of a group only.
        registration_id: Option<String>,
    },
}

#[derive(Args)]
struct CreateArgs {
    /// Group id, or registration id of an individual enrollment.
    id: String,
    /// Replace it if it is there.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    proof: Proof,
    /// Device id at the hub, other than the registration id; individual enrollments only.
    #[arg(long)]
    device_id: Option<String>,
    /// How a hub is chosen.
    #[arg(long)]
    allocation: Option<Allocation>,
    /// Address of the webhook that decides, with `--allocation custom`.
    #[arg(long, required_if_eq("allocation", "custom"))]
    webhook: Option<String>,
    /// API version the webhook is called with.
    #[arg(long, default_value = "2021-10-01")]
    webhook_api_version: String,
    /// Host name of a linked hub its devices may go to; again for more. Every hub when absent.
    #[arg(long = "hub")]
    hubs: Vec<String>,
    /// What happens to a device that registers again.
    #[arg(long, default_value = "migrate")]
    reprovision: Reprovision,
    /// First twin of its devices: `{"tags":{},"properties":{"desired":{}}}`.
    #[arg(long)]
    initial_twin: Option<String>,
    /// Its devices are IoT Edge devices.
    #[arg(long)]
    edge: bool,
    /// Let no device register by it yet.
    #[arg(long)]
    disabled: bool,
}

/// How devices prove themselves; symmetric keys unless something else is given.
#[derive(Args)]
#[group(multiple = false)]
struct Proof {
    /// Primary key (base64); drawn when absent.
    #[arg(long)]
    key: Option<String>,
    /// Certificate of the device, or of the authority above the devices of a group; PEM or DER.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// Name of a verified authority above the devices' certificates.
    #[arg(long)]
    ca_reference: Option<String>,
    /// Endorsement key of the device's TPM (base64); individual enrollments only.
    #[arg(long)]
    endorsement_key: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "camelCase")]
enum Allocation {
    /// Evenly, by the weight of the hubs.
    Hashed,
    /// Where the latency is lowest.
    GeoLatency,
    /// The first hub given.
    Static,
    /// A webhook decides.
    Custom,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reprovision {
    /// It may move, and its twin with it.
    Migrate,
    /// It may move, and starts anew.
    Reset,
    /// It stays at its hub.
    Never,
}

impl Proof {
    fn attestation(&self, individual: bool) -> anyhow::Result<Value> {
        if let Some(file) = &self.certificate {
            let list = if individual { "clientCertificates" } else { "signingCertificates" };
            return Ok(
                json!({ "type": "x509", "x509": { list: { "primary": { "certificate": certificate(file)? } } } }),
            );
        }
        if let Some(name) = &self.ca_reference {
            return Ok(json!({ "type": "x509", "x509": { "caReferences": { "primary": name } } }));
        }
        if let Some(key) = &self.endorsement_key {
            return Ok(json!({ "type": "tpm", "tpm": { "endorsementKey": key } }));
        }
        Ok(json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": self.key, "secondaryKey": self.key } }))
    }
}

impl CreateArgs {
    fn body(&self, individual: bool) -> anyhow::Result<Value> {
        let id = if individual { "registrationId" } else { "enrollmentGroupId" };
        let twin = self.initial_twin.as_deref().map(serde_json::from_str::<Value>).transpose();
        let allocation = self.allocation.and_then(|word| word.to_possible_value());
        let webhook = |url: &String| json!({ "webhookUrl": url, "apiVersion": self.webhook_api_version });
        let mut body = Map::new();
        body.insert(id.into(), json!(self.id));
        body.insert("attestation".into(), self.proof.attestation(individual)?);
        body.insert("deviceId".into(), json!(self.device_id));
        body.insert("allocationPolicy".into(), json!(allocation.as_ref().map(|word| word.get_name())));
        body.insert("customAllocationDefinition".into(), json!(self.webhook.as_ref().map(webhook)));
        body.insert("iotHubs".into(), json!(self.hubs));
        body.insert("initialTwin".into(), json!(twin.context("--initial-twin")?));
        body.insert("capabilities".into(), json!({ "iotEdge": self.edge }));
        body.insert("provisioningStatus".into(), json!(if self.disabled { "disabled" } else { "enabled" }));
        let reprovision = json!({
            "updateHubAssignment": self.reprovision != Reprovision::Never,
            "migrateDeviceData": self.reprovision == Reprovision::Migrate,
        });
        body.insert("reprovisionPolicy".into(), reprovision);
        Ok(Value::Object(body))
    }
}

pub(super) async fn enrollment(client: &Client, output: Output, args: EnrollmentArgs) -> anyhow::Result<()> {
    let individual = args.individual;
    let list = format!("{BASE}/{}", if individual { "enrollments" } else { "enrollmentGroups" });
    let path = |id: &str| format!("{list}/{}", encode_component(id));
    match args.command {
        EnrollmentCommand::List => {
            let id = if individual { "/registrationId" } else { "/enrollmentGroupId" };
            let columns = [
                ("id", id),
                ("status", "/provisioningStatus"),
                ("attestation", "/attestation/type"),
                ("allocation", "/allocationPolicy"),
                ("registration", "/registrationState/status"),
                ("created", "/createdDateTimeUtc"),
            ];
            output.table(&all(client, &list).await?, &columns);
        }
        EnrollmentCommand::Show { id } => output.json(&client.hub(Method::GET, &path(&id), None).await?),
        EnrollmentCommand::Create(args) => create(client, output, individual, &path(&args.id), &args).await?,
        EnrollmentCommand::Enable { id } => switch(client, output, &path(&id), "enabled").await?,
        EnrollmentCommand::Disable { id } => switch(client, output, &path(&id), "disabled").await?,
        EnrollmentCommand::Delete { id } => {
            client.hub(Method::DELETE, &path(&id), None).await?;
            output.value(&json!({ "deleted": id }), |_| println!("deleted {id}"));
        }
        EnrollmentCommand::Keys { id } => output.json(&keys(client, &path(&id)).await?),
        EnrollmentCommand::DeviceKey { id, registration_id } => {
            if individual == registration_id.is_some() {
                bail!("a device of a group has a registration id, one of an individual enrollment no other");
            }
            let body = json!({ "registrationId": registration_id });
            let device = client.hub(Method::POST, &format!("{}/deviceKey", path(&id)), Some(&body)).await?;
            output.value(&device, print_device);
        }
    }
    Ok(())
}

/// Every item of a list, page by page.
async fn all(client: &Client, list: &str) -> anyhow::Result<Value> {
    let (mut items, mut path) = (vec![], list.to_owned());
    loop {
        let mut page = client.hub(Method::GET, &path, None).await?;
        if let Value::Array(more) = page["value"].take() {
            items.extend(more);
        }
        let Some(next) = page["next"].as_str() else { return Ok(Value::Array(items)) };
        path = format!("{list}?after={}", encode_component(next));
    }
}

async fn create(
    client: &Client,
    output: Output,
    individual: bool,
    path: &str,
    args: &CreateArgs,
) -> anyhow::Result<()> {
    let body = args.body(individual)?;
    let mut made = match args.replace {
        true => client.hub_any(Method::PUT, path, Some(&body)).await?,
        false => client.hub(Method::PUT, path, Some(&body)).await?,
    };
    made["attestation"] = keys(client, path).await?;
    output.value(&made, |made| match made.pointer("/attestation/symmetricKey/primaryKey").and_then(Value::as_str) {
        Some(key) => println!("{key}"),
        None => println!("created {}", args.id),
    });
    Ok(())
}

async fn keys(client: &Client, path: &str) -> anyhow::Result<Value> {
    client.hub(Method::POST, &format!("{path}/attestationmechanism"), None).await
}

async fn switch(client: &Client, output: Output, path: &str, status: &str) -> anyhow::Result<()> {
    let mut stored = client.hub(Method::GET, path, None).await?;
    stored["provisioningStatus"] = json!(status);
    let changed = client.hub_if(Method::PUT, path, Some(&stored), &text(&stored, "/etag")).await?;
    output.value(&changed, |_| println!("{status}"));
    Ok(())
}

/// The block, under the names the samples of the device SDKs read.
fn print_device(device: &Value) {
    for (name, pointer) in [
        ("PROVISIONING_HOST", "/provisioningHost"),
        ("PROVISIONING_IDSCOPE", "/idScope"),
        ("PROVISIONING_REGISTRATION_ID", "/registrationId"),
        ("PROVISIONING_SYMMETRIC_KEY", "/primaryKey"),
    ] {
        println!("{name}={}", text(device, pointer));
    }
}

#[derive(Subcommand)]
pub(super) enum RegistrationCommand {
    /// List devices that registered by a group.
    List {
        /// Group id.
        group: String,
    },
    /// Show a registration.
    Show {
        /// Registration id.
        id: String,
    },
    /// Delete a registration; the device at the hub stays.
    Delete {
        /// Registration id.
        id: String,
    },
}

pub(super) async fn registration(client: &Client, output: Output, command: RegistrationCommand) -> anyhow::Result<()> {
    let path = |id: &str| format!("{BASE}/registrations/{}", encode_component(id));
    match command {
        RegistrationCommand::List { group } => {
            let list = format!("{BASE}/enrollmentGroups/{}/registrations", encode_component(&group));
            let columns = [
                ("id", "/registrationId"),
                ("status", "/status"),
                ("hub", "/assignedHub"),
                ("device", "/deviceId"),
                ("error", "/errorMessage"),
                ("changed", "/lastUpdatedDateTimeUtc"),
            ];
            output.table(&all(client, &list).await?, &columns);
        }
        RegistrationCommand::Show { id } => output.json(&client.hub(Method::GET, &path(&id), None).await?),
        RegistrationCommand::Delete { id } => {
            client.hub(Method::DELETE, &path(&id), None).await?;
            output.value(&json!({ "deleted": id }), |_| println!("deleted {id}"));
        }
    }
    Ok(())
}
