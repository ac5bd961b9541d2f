//! The directory of the process: its section of the configuration, and what it needs of the outside: keys of issuers
//! elsewhere, keys to sign with, time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gantry_api::{Api, Routes};
use gantry_directory::{Guid, PublicKeys};
use gantry_directory_api::{DevelopmentSecret, Issuer, OfHub, Place, Service, Setup};
use gantry_hub::ports::Documents;
use gantry_hub::ports::directory as port;
use gantry_management_api::RESOURCE_GROUP;
use gantry_storage::Database;
use gantry_tokens::ports::KeySource as _;
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::token_server::outside::JsonWebKeys;
use crate::unit::Unit;

/// Directories elsewhere that may be trusted.
const ISSUERS_MAX: usize = 16;
/// Names one of them may have.
const NAMES_MAX: usize = 8;
/// Names both versions of Microsoft Entra's tokens.
const ENTRA: &str = "entra";
/// How often keys are looked after.
const PERIOD: Duration = Duration::from_secs(3600);
/// The same while keys of an issuer could not be had.
const PERIOD_FAILING: Duration = Duration::from_secs(60);
/// Least time between two attempts: strangers who make up key ids cannot make us call.
const PAUSE: Duration = Duration::from_secs(30);

/// The section `[directory]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Whether tokens of directories are taken, and ours gives some.
    pub enabled: bool,
    /// Makes a program that may do everything.
    pub development_principal: bool,
    /// Directories elsewhere.
    pub issuers: Vec<IssuerConfig>,
}

/// A directory elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    issuer: Vec<String>,
    tenant_id: String,
    keys: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    ca_file: PathBuf,
}

impl DirectoryConfig {
    /// Checks what can be checked without looking outside.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.enabled || !self.development_principal, "directory.development_principal needs directory.enabled");
        ensure!(self.issuers.len() <= ISSUERS_MAX, "directory.issuers: {ISSUERS_MAX} is the most");
        let mut tenants = vec![];
        for one in &self.issuers {
            let tenant = Guid::parse(&one.tenant_id).context("directory.issuers.tenant_id")?;
            ensure!(!tenants.contains(&tenant), "directory.issuers.tenant_id: `{tenant}` is there twice");
            tenants.push(tenant);
            let is_name = |name: &String| !name.is_empty() && name.len() <= 512;
            let count = one.issuer.len();
            ensure!(
                (1..=NAMES_MAX).contains(&count) && one.issuer.iter().all(is_name),
                "directory.issuers.issuer: 1 to {NAMES_MAX} names of tenant `{tenant}`"
            );
            ensure!(!one.keys.is_empty(), "directory.issuers.keys: a file or an address, of tenant `{tenant}`");
        }
        Ok(())
    }
}

impl IssuerConfig {
    /// Without its keys.
    fn read(&self) -> anyhow::Result<Issuer> {
        let tenant_id = Guid::parse(&self.tenant_id).context("tenant_id")?;
        let names = self.issuer.iter().flat_map(|name| match name.as_str() {
            ENTRA => entra(tenant_id),
            _ => vec![name.clone()],
        });
        let audience = Some(self.audience.clone()).filter(|audience| !audience.is_empty());
        Ok(Issuer { names: names.collect(), tenant_id, audience, keys: None })
    }
}

/// What Microsoft Entra calls itself for a tenant, as in `gantry_directory::TrustedIssuer::entra`.
fn entra(tenant_id: Guid) -> Vec<String> {
    vec![format!("https://sts.windows.net/{tenant_id}/"), format!("https://login.microsoftonline.com/{tenant_id}/v2.0")]
}

/// What `connection.env` says of the directory.
pub struct Entry {
    /// Where it is.
    pub origin: String,
    /// Its tenant.
    pub tenant: String,
    /// The program for development.
    pub development: Option<DevelopmentSecret>,
}

/// The directory.
pub struct Directory {
    service: Arc<Service>,
    entry: Entry,
    /// Where keys of issuers elsewhere are, in their order.
    sources: Vec<JsonWebKeys>,
}

impl Directory {
    /// Opens the directory over the documents of the main hub; none when it is off. The ports of the configuration are
    /// those that were bound.
    ///
    /// # Errors
    /// When something cannot be read; says what.
    pub async fn open(config: &Config, main: &Unit) -> anyhow::Result<Option<Self>> {
        let section = &config.directory;
        if !section.enabled {
            return Ok(None);
        }
        let port = config.ports.https();
        let at = |host: &String| {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
        };
        let origin = at(config.hub.host_names.first().context("hub.host_names")?);
        let (mut issuers, mut sources) = (vec![], vec![]);
        for one in &section.issuers {
            let named = || format!("issuers: tenant {}", one.tenant_id);
            let mut issuer = one.read().with_context(named)?;
            let source = JsonWebKeys::new(&one.keys, &one.ca_file).with_context(named)?;
            // A file is there or it is a mistake; another server may come later.
            if matches!(source, JsonWebKeys::File(_)) {
                issuer.keys = Some(keys(&source).await.map_err(anyhow::Error::msg).with_context(named)?);
            }
            issuers.push(issuer);
            sources.push(source);
        }
        let own_names = config.all_host_names().iter().map(at).collect();
        let setup = Setup { origin, own_names, issuers, draw_key };
        let documents: Arc<dyn Documents> = Arc::<Database>::clone(&main.database);
        let service = Service::open(documents, setup).await?;
        service.tend(gantry_gateway::now()).await.context("drawing a key to sign with")?;
        let development = service.development(section.development_principal, gantry_gateway::now()).await?;
        let (origin, tenant) = service.authority();
        let entry = Entry { origin: origin.to_owned(), tenant: tenant.to_owned(), development };
        Ok(Some(Self { service: Arc::new(service), entry, sources }))
    }

    /// What programs are told of it.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// It as the heads of a hub ask it.
    pub fn of_hub(&self, unit: &Unit) -> Arc<dyn port::Directory> {
        Arc::new(OfHub::new(Arc::clone(&self.service), place(unit)))
    }

    /// Its routes at the endpoint of a hub.
    pub fn routes(&self, api: &Arc<Api>, unit: &Unit) -> Routes {
        gantry_directory_api::routes(api, Arc::clone(&self.service), &place(unit), unit.config.is_main())
    }

    /// Looks after keys, ours and those of others.
    pub async fn run(self) {
        loop {
            let begun = Instant::now();
            let mut period = PERIOD;
            for (place, source) in self.sources.iter().enumerate() {
                match keys(source).await {
                    Ok(keys) => self.service.set_keys(place, keys),
                    Err(reason) => {
                        warn!(place, reason, "the keys of an issuer could not be renewed");
                        period = PERIOD_FAILING;
                    }
                }
            }
            if let Err(error) = self.service.tend(gantry_gateway::now()).await {
                warn!(%error, "keys of the directory are not tended");
                period = PERIOD_FAILING;
            }
            tokio::select! {
                () = sleep(period) => {}
                () = self.service.keys_wanted() => sleep_until(begun + PAUSE).await,
            }
        }
    }
}

async fn keys(source: &JsonWebKeys) -> Result<PublicKeys, String> {
    PublicKeys::parse(&source.fetch().await?).map_err(|error| error.to_string())
}

/// Where the resources of a hub are.
fn place(unit: &Unit) -> Place {
    let account = &unit.secrets.storage.name;
    Place::new(&unit.secrets.subscription, RESOURCE_GROUP, &unit.config.hub.name, account)
}

/// A key to sign with; empty, and refused for that, when the system gives none.
fn draw_key() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(rcgen::KeyPair::generate().map(|key| key.serialize_der()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use gantry_directory::{SigningKeys, TrustedIssuer};

    use super::*;

    #[test]
    fn entra_has_the_names_of_both_versions() {
        let config: IssuerConfig = toml::from_str(
            "issuer = [\"entra\", \"https://x\"]\ntenant_id = \"72f988bf-86f1-41af-91ab-2d7cd011db47\"\nkeys = \"k\"\n",
        )
        .unwrap();
        let issuer = config.read().unwrap();
        assert_eq!(issuer.names.len(), 3);
        assert!(issuer.keys.is_none() && issuer.audience.is_none());
        let mut keys = SigningKeys::default();
        keys.add(draw_key(), gantry_gateway::now()).unwrap();
        let entra = TrustedIssuer::entra(issuer.tenant_id, keys.public_keys().unwrap());
        assert_eq!(issuer.names[..2], entra.names);
    }

    /// A platform of two hubs, and a client that trusts it.
    async fn start(folder: &std::path::Path) -> (crate::platform::Platform, reqwest::Client) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = folder.join("gantry.toml");
        std::fs::write(&file, "[[hubs]]\nname = \"line-2\"\nhost_names = [\"127.0.0.1\"]\n").unwrap();
        let mut overrides = toml::toml! {
            bind = ["127.0.0.1"]
            hub = { name = "line-1", host_names = ["localhost"] }
            ports = { mqtt = 0, amqp = 0, https = 0, postgres = 0 }
            directory = { enabled = true, development_principal = true }
        };
        overrides.insert("data_folder".into(), folder.to_str().unwrap().into());
        let config = Config::load(&crate::config::Sources { file: Some(file), overrides }).unwrap();
        let platform = crate::platform::Platform::start(config).await.unwrap();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&platform.ready().ca_file).unwrap()).unwrap();
        (platform, reqwest::Client::builder().tls_certs_only([ca]).build().unwrap())
    }

    fn environment(path: &std::path::Path) -> impl Fn(&str) -> String + use<> {
        let text = std::fs::read_to_string(path).unwrap();
        move |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('\'').to_owned()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_directory_serves_every_hub_of_the_process_and_the_first_one_manages_it() {
        let folder = tempfile::tempdir().unwrap();
        let (platform, client) = start(folder.path()).await;
        let env = environment(&platform.ready().connection_env);
        let second = environment(&folder.path().join("hubs/line-2/connection.env"));
        let port = platform.ready().ports.https();
        let token = async |id: &str, secret: &str, resource: &str| {
            let body = format!(
                "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={resource}/.default"
            );
            let url = format!("{}/{}/oauth2/v2.0/token", env("AZURE_AUTHORITY_HOST"), env("AZURE_TENANT_ID"));
            let answer = client.post(url).body(body).send().await.unwrap().text().await.unwrap();
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        let call = async |method: reqwest::Method, host: &str, path: &str, token: &str, body: serde_json::Value| {
            let request = client.request(method, format!("https://{host}:{port}{path}")).header("authorization", token);
            let answer = request.json(&body).send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            (status, serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default())
        };
        let (get, post, none) = (reqwest::Method::GET, reqwest::Method::POST, serde_json::Value::Null);
        let (id, secret) = (env("AZURE_CLIENT_ID"), env("AZURE_CLIENT_SECRET"));
        let owner = format!("Bearer {}", token(&id, &secret, "https://management.azure.com").await);
        let of_hub = format!("Bearer {}", token(&id, &secret, "https://iothubs.azure.net").await);
        const DEVICES: &str = "/devices?api-version=2021-04-12";
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(call(get.clone(), host, DEVICES, &of_hub, none.clone()).await.0, 200, "{host}");
        }
        let make = json(&[("displayName", "line 1 alone")]);
        let path = "/platform/v1/directory/servicePrincipals";
        let (status, made) = call(post.clone(), "localhost", path, &owner, make.clone()).await;
        assert_eq!(status, 201, "{made}");
        for by in [&owner, &second("MANAGEMENT_TOKEN")] {
            let (status, _) = call(post.clone(), "127.0.0.1", path, by, make.clone()).await;
            assert!([404, 405].contains(&status), "the second hub does not manage the directory: {status}");
        }
        let (_, told) =
            call(post.clone(), "localhost", &format!("{path}/{}/secrets", text(&made["appId"])), &owner, json(&[]))
                .await;
        let assign = json(&[("principalId", text(&made["objectId"])), ("role", "IoT Hub Data Reader")]);
        let (status, given) =
            call(post.clone(), "localhost", "/platform/v1/directory/roleAssignments", &owner, assign).await;
        assert_eq!(status, 201, "{given}");
        let reader = token(text(&made["appId"]), text(&told["secret"]), "https://iothubs.azure.net").await;
        let reader = format!("Bearer {reader}");
        assert_eq!(call(get.clone(), "localhost", DEVICES, &reader, none.clone()).await.0, 200);
        assert_eq!(call(get, "127.0.0.1", DEVICES, &reader, none).await.0, 403, "a role at another hub");
        platform.stop().await.unwrap();
    }

    fn json(fields: &[(&str, &str)]) -> serde_json::Value {
        fields.iter().map(|(name, value)| ((*name).to_owned(), serde_json::Value::from(*value))).collect()
    }

    fn text(value: &serde_json::Value) -> &str {
        value.as_str().unwrap_or_default()
    }
}
