//! What the first start makes: keys, names and certificates; later starts read them.
//!
//! In the data folder:
//!
//! ```text
//! state.db        identities, enrollments, settings, application    (0600)
//! events/         the event log
//! blobs/          contents of blobs
//! audit/          the audit log                                     (0600)
//! tls/ca.pem      the private CA's certificate, for clients
//! tls/ca.key      its key                                           (0600)
//! tls/server.pem  server certificate and CA, leaf first
//! tls/server.key  its key                                           (0600)
//! tls/names       host names the server certificate was made for
//! connection.env  what a program needs to connect                   (0600)
//! hubs/NAME/      the same, less tls/, of each further hub
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_blobs::Account;
use gantry_hub::ports::{Changes, Documents, StoreError};
use gantry_identity::{Key, KeyPair, Policies, Policy, Rights, Signer, Timestamp, encode_component};
use gantry_management_api::RESOURCE_GROUP;
use rand::RngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair as TlsKeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::directory::Entry;

/// Collection of what is made once.
const SETTINGS: &str = "settings";

/// Random keys and names, made once.
pub struct Secrets {
    /// The hub's policies.
    pub hub_policies: Policies,
    /// The provisioning service's policies.
    pub dps_policies: Policies,
    /// The provisioning service's id scope.
    pub id_scope: String,
    /// The account of the blob store.
    pub storage: Account,
    /// The application's.
    pub application: ApplicationSecrets,
    /// The key of the audit log.
    pub audit: Key,
    /// The subscription that the control plane has its resources in; no secret.
    pub subscription: String,
}

/// Who an application is, and what its token for programs is made of.
pub struct ApplicationSecrets {
    /// Its id.
    pub id: String,
    /// The secret of the token.
    pub token: [u8; 32],
    /// Whether this start made them.
    pub is_new: bool,
    /// The text of the token, when there is one.
    pub token_text: String,
}

#[derive(Serialize, Deserialize)]
struct ApplicationShape {
    id: String,
    token: String,
}

#[derive(Serialize, Deserialize)]
struct AuditShape {
    key: String,
}

#[derive(Serialize, Deserialize)]
struct SubscriptionShape {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct SecretsShape {
    id_scope: String,
    hub_policies: Vec<PolicyShape>,
    dps_policies: Vec<PolicyShape>,
}

#[derive(Serialize, Deserialize)]
struct StorageShape {
    name: String,
    primary: String,
    secondary: String,
}

#[derive(Serialize, Deserialize)]
struct PolicyShape {
    name: String,
    rights: String,
    primary: String,
    secondary: String,
}

/// Opens the folder with rights for its owner only.
///
/// # Errors
/// When it cannot be made.
pub fn open_folder(folder: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("making {}", folder.display()))
}

/// Reads the secrets, or makes them.
///
/// # Errors
/// When the store cannot be used or holds something unreadable.
pub async fn secrets(documents: &dyn Documents) -> anyhow::Result<Secrets> {
    let shape = made_once(documents, "secrets", draw).await?;
    // Data folders of earlier versions have no account of the blob store.
    let StorageShape { name, primary, secondary } = made_once(documents, "storage_account", draw_account).await?;
    let keys = KeyPair { primary: Key::from_base64(&primary)?, secondary: Key::from_base64(&secondary)? };
    // And those before the application have none of it.
    let is_new = !documents.all(SETTINGS).await?.documents.iter().any(|(id, _)| id == "application");
    let ApplicationShape { id, token } = made_once(documents, "application", draw_application).await?;
    let token = BASE64.decode(&token).ok().and_then(|bytes| bytes.try_into().ok());
    let token = token.context("settings/application in state.db: `token` is not 32 bytes in base64")?;
    let application = ApplicationSecrets { id, token, is_new, token_text: String::new() };
    let SubscriptionShape { id: subscription } = made_once(documents, "subscription", draw_subscription).await?;
    let AuditShape { key } = made_once(documents, "audit", draw_audit).await?;
    Ok(Secrets {
        audit: Key::from_base64(&key)?,
        hub_policies: policies(shape.hub_policies)?,
        dps_policies: policies(shape.dps_policies)?,
        id_scope: shape.id_scope,
        storage: Account { name, keys },
        application,
        subscription,
    })
}

/// A document of the settings; whoever comes first makes it.
async fn made_once<T: Serialize + DeserializeOwned>(
    documents: &dyn Documents,
    id: &'static str,
    make: fn() -> T,
) -> anyhow::Result<T> {
    loop {
        let settings = documents.all(SETTINGS).await?;
        if let Some((_, text)) = settings.documents.iter().find(|(found, _)| found == id) {
            return serde_json::from_str(text).with_context(|| format!("{SETTINGS}/{id} in state.db"));
        }
        let made = vec![(id.to_owned(), Some(serde_json::to_string(&make())?))];
        match documents.put(vec![Changes { collection: SETTINGS, version: settings.version, documents: made }]).await {
            // Read again as it was written, by whomever.
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn draw_account() -> StorageShape {
    let draw = || {
        let mut bytes = [0; 64];
        rand::rng().fill_bytes(&mut bytes);
        BASE64.encode(bytes)
    };
    StorageShape { name: format!("gantry{:08x}", rand::rng().next_u32()), primary: draw(), secondary: draw() }
}

fn draw_application() -> ApplicationShape {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    ApplicationShape { id: uuid::Uuid::new_v4().to_string(), token: BASE64.encode(bytes) }
}

fn draw_audit() -> AuditShape {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    AuditShape { key: BASE64.encode(bytes) }
}

fn draw_subscription() -> SubscriptionShape {
    SubscriptionShape { id: uuid::Uuid::new_v4().to_string() }
}

fn draw() -> SecretsShape {
    let mut rng = rand::rng();
    let mut keys = || {
        let mut draw = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            Key::from_bytes(bytes)
        };
        KeyPair { primary: draw(), secondary: draw() }
    };
    let shape = |policy: &Policy| PolicyShape {
        name: policy.name.clone(),
        rights: policy.rights.to_string(),
        primary: policy.keys.primary.to_base64(),
        secondary: policy.keys.secondary.to_base64(),
    };
    let hub_policies = Policies::hub_defaults(&mut keys).iter().map(shape).collect();
    let dps_policies = Policies::provisioning_defaults(&mut keys).iter().map(shape).collect();
    let number = rand::rng().next_u32();
    SecretsShape { id_scope: format!("0ne{number:08X}"), hub_policies, dps_policies }
}

fn policies(shapes: Vec<PolicyShape>) -> anyhow::Result<Policies> {
    let read = |shape: PolicyShape| {
        let keys =
            KeyPair { primary: Key::from_base64(&shape.primary)?, secondary: Key::from_base64(&shape.secondary)? };
        let rights = Rights::parse(&shape.rights).ok_or_else(|| anyhow!("rights of policy `{}`", shape.name))?;
        Ok(Policy { name: shape.name, keys, rights })
    };
    shapes.into_iter().map(read).collect::<anyhow::Result<_>>().map(Policies::from_list)
}

/// The server's certificate chain, leaf first, and its key.
pub struct Certificates {
    /// Leaf and CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// Key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

/// Reads the certificates below a folder; makes the CA once, and a server certificate for each set of names.
///
/// # Errors
/// When files cannot be read or written.
pub fn certificates(folder: &Path, name: &str, host_names: &[String]) -> anyhow::Result<Certificates> {
    let folder = folder.join("tls");
    open_folder(&folder)?;
    let path = |name: &str| folder.join(name);
    if !path("ca.pem").exists() {
        make_ca(name, &folder)?;
    }
    let names = host_names.join("\n");
    if fs::read_to_string(path("names")).ok().as_deref() != Some(&names) {
        make_leaf(host_names, &folder)?;
        write_file(&path("names"), names.as_bytes(), 0o644)?;
    }
    Certificates::read(&path("server.pem"), &path("server.key"))
}

impl Certificates {
    /// Reads a chain, leaf first, and the leaf's key, both PEM.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| format!("reading {}", path.display());
        let certificates =
            CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).with_context(|| read(chain))?;
        let key = PrivateKeyDer::from_pem_file(key).with_context(|| read(key))?;
        Ok(Self { chain: certificates, key })
    }
}

fn ca_params(hub: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("Gantry private CA of {hub}"));
    validity(&mut params, 10);
    params
}

fn validity(params: &mut CertificateParams, years: i64) {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(365 * years);
}

fn make_ca(hub: &str, folder: &Path) -> anyhow::Result<()> {
    // RSA would please the oldest embedded clients, but rcgen makes EC keys only; see docs/compatibility.md.
    let key = TlsKeyPair::generate()?;
    let certificate = ca_params(hub).self_signed(&key)?;
    write_file(&folder.join("ca.key"), key.serialize_pem().as_bytes(), 0o600)?;
    write_file(&folder.join("ca.pem"), certificate.pem().as_bytes(), 0o644)
}

fn make_leaf(names: &[String], folder: &Path) -> anyhow::Result<()> {
    let ca_key = TlsKeyPair::from_pem(&fs::read_to_string(folder.join("ca.key"))?)?;
    let ca_pem = fs::read_to_string(folder.join("ca.pem"))?;
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca_pem, ca_key)?;
    let mut params = CertificateParams::new(names.to_vec()).context("hub.host_names")?;
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("localhost", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    // Some clients refuse server certificates of more than 825 days.
    validity(&mut params, 2);
    let key = TlsKeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    write_file(&folder.join("server.key"), key.serialize_pem().as_bytes(), 0o600)?;
    write_file(&folder.join("server.pem"), format!("{}{ca_pem}", certificate.pem()).as_bytes(), 0o644)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_file(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// When tokens for clients that know bearer tokens only end (2100-01-01): with the key of their policy, in effect.
const TOKEN_END: Timestamp = Timestamp::from_millis(4_102_444_800_000);

/// Names and keys for programs, as shell assignments.
pub struct Connections {
    /// Pairs of variable and value.
    variables: Vec<(&'static str, String)>,
}

impl Connections {
    /// With the ports of the configuration, which are those that were bound, and where the directory is when it is on.
    pub fn new(config: &Config, secrets: &Secrets, directory: Option<&Entry>) -> anyhow::Result<Self> {
        let host = config.hub.host_names.first().context("hub.host_names")?;
        let with_port = |port: u16, standard: u16| {
            if port == standard { host.clone() } else { format!("{host}:{port}") }
        };
        let key = |policies: &Policies, name: &str| {
            let policy = policies.find(name).with_context(|| format!("policy {name}"))?;
            anyhow::Ok(policy.keys.primary.to_base64())
        };
        let (web, amqp) = (with_port(config.ports.https(), 443), with_port(config.ports.amqp(), 5671));
        let owner = key(&secrets.hub_policies, "iothubowner")?;
        let service = key(&secrets.hub_policies, "service")?;
        let dps = key(&secrets.dps_policies, "provisioningserviceowner")?;
        // Clients of Kusto and of the control plane know bearer tokens only, so these are made here and not by them. A
        // start makes them anew; they end with the keys of the policies.
        let token = |policy: &Policy| {
            let (resource, key, policy) = (host.clone(), policy.keys.primary.clone(), Some(policy.name.clone()));
            Signer { resource, key, policy }.token(TOKEN_END)
        };
        let policy = secrets.hub_policies.find("service").context("policy service")?;
        let management = token(secrets.hub_policies.find("iothubowner").context("policy iothubowner")?);
        let sql = format!(
            "postgresql://{}:{}@{host}:{}/{}?sslmode=verify-full&sslrootcert=",
            policy.name,
            encode_component(&policy.keys.primary.to_base64()),
            config.ports.postgres(),
            crate::tables::DATABASE
        );
        let kusto = token(policy);
        let ca = fs::canonicalize(config.ca_file())?.display().to_string();
        let mut variables = vec![
            ("IOTHUB_HOSTNAME", host.clone()),
            (
                "IOTHUB_CONNECTION_STRING",
                format!("HostName={web};SharedAccessKeyName=iothubowner;SharedAccessKey={owner}"),
            ),
            (
                "EVENTHUB_CONNECTION_STRING",
                format!(
                    "Endpoint=sb://{amqp}/;SharedAccessKeyName=service;SharedAccessKey={service};EntityPath={}",
                    config.hub.name
                ),
            ),
            ("PROVISIONING_HOST", host.clone()),
            ("PROVISIONING_IDSCOPE", secrets.id_scope.clone()),
            (
                "PROVISIONING_CONNECTION_STRING",
                format!("HostName={web};SharedAccessKeyName=provisioningserviceowner;SharedAccessKey={dps}"),
            ),
            (
                "AZURE_STORAGE_CONNECTION_STRING",
                format!(
                    "DefaultEndpointsProtocol=https;AccountName={0};AccountKey={1};BlobEndpoint=https://{web}/{0};",
                    secrets.storage.name,
                    secrets.storage.keys.primary.to_base64()
                ),
            ),
            ("DIGITALTWINS_URL", format!("https://{web}/graph")),
            ("DIGITALTWINS_TOKEN", kusto.clone()),
            ("KUSTO_URL", format!("https://{web}")),
            ("KUSTO_DATABASE", crate::tables::DATABASE.to_owned()),
            ("KUSTO_TOKEN", kusto),
            ("IOTCENTRAL_URL", format!("https://{web}")),
            ("IOTCENTRAL_API_TOKEN", secrets.application.token_text.clone()),
            ("MANAGEMENT_URL", format!("https://{web}")),
            ("MANAGEMENT_TOKEN", management),
            ("MANAGEMENT_SUBSCRIPTION", secrets.subscription.clone()),
            ("MANAGEMENT_RESOURCE_GROUP", RESOURCE_GROUP.to_owned()),
            ("ODATA_URL", format!("https://{web}/odata/")),
            ("POSTGRES_URL", if config.postgres.enabled { sql + &encode_component(&ca) } else { String::new() }),
            ("GANTRY_CA_FILE", ca),
            ("GANTRY_URL", format!("https://{web}")),
            ("GANTRY_MQTT_PORT", config.ports.mqtt().to_string()),
            ("GANTRY_AMQP_PORT", config.ports.amqp().to_string()),
        ];
        if let Some(Entry { origin, tenant, development }) = directory {
            variables.extend([("AZURE_AUTHORITY_HOST", origin.clone()), ("AZURE_TENANT_ID", tenant.clone())]);
            if let Some(one) = development {
                variables
                    .extend([("AZURE_CLIENT_ID", one.app_id.clone()), ("AZURE_CLIENT_SECRET", one.secret.clone())]);
            }
        }
        if config.flight().is_some() {
            variables.push(("FLIGHTSQL_URL", format!("grpc+tls://{host}:{}", config.ports.https())));
        }
        Ok(Self { variables })
    }

    /// The value of a variable; empty when there is none of the name.
    pub fn get(&self, name: &str) -> &str {
        self.variables.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// Writes `connection.env`, readable by its owner only.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let mut text =
            String::from("# Written by gantry serve; `set -a; source` it. Holds secrets: keep it to yourself.\n");
        for (name, value) in &self.variables {
            let _ = writeln!(text, "{name}='{}'", value.replace('\'', r"'\''"));
        }
        write_file(&folder.join("connection.env"), text.as_bytes(), 0o600)
    }
}

#[cfg(test)]
mod tests {
    use gantry_storage::Database;

    use super::*;

    /// Puts what was stored once, and gives it as it would be stored today.
    async fn stored_again<S: Serialize + serde::de::DeserializeOwned>(database: &Database, id: &str) {
        let path = gantry_golden::folder(env!("CARGO_MANIFEST_DIR")).join(format!("{id}.v1.json"));
        let text = String::from_utf8(gantry_golden::read(&path)).unwrap();
        let shape: S = serde_json::from_str(&text).unwrap();
        gantry_golden::check(&path, format!("{}\n", serde_json::to_string(&shape).unwrap()).as_bytes());
        let version = database.all(SETTINGS).await.unwrap().version;
        let documents = vec![(id.into(), Some(text))];
        database.put(vec![Changes { collection: SETTINGS, version, documents }]).await.unwrap();
    }

    #[tokio::test]
    async fn secrets_are_read_and_written_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        stored_again::<SecretsShape>(&database, "secrets").await;
        stored_again::<StorageShape>(&database, "storage_account").await;
        stored_again::<SubscriptionShape>(&database, "subscription").await;
        let secrets = secrets(&database).await.unwrap();
        assert_eq!((secrets.id_scope.as_str(), secrets.storage.name.as_str()), ("0ne0000002A", "gantry0000002a"));
        assert_eq!(secrets.subscription, "00000000-0000-4000-8000-00000000002a");
        let device = secrets.hub_policies.find("device").unwrap();
        assert!(device.rights == Rights::DEVICE_CONNECT && device.keys.primary == Key::from_bytes([3; 32]));
        assert_eq!(secrets.dps_policies.iter().count(), 1);
    }
}
