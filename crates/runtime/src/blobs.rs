//! The blob store: where contents are kept, and what is done to it now and then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;
use gantry_api::UploadTarget;
use gantry_api::blob::read_query;
use gantry_blobs::{
    Account, BlobError, BlobName, Blobs, ContainerName, Permission, Place, SasParameters, SasSigner, Target, verify_sas,
};
use gantry_hub::Hub;
use gantry_hub::import_export::{Container, Containers, Pieces, Purpose};
use gantry_hub::ports::PortFuture;
use gantry_identity::{Key, Timestamp};
use gantry_storage::Database;
use object_store::ObjectStore;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::local::LocalFileSystem;
use tracing::{info, warn};

use crate::config::{BlobsConfig, Config};

/// How often garbage is collected.
const COLLECT_PERIOD: Duration = Duration::from_secs(60);

/// Opens the store over the database and the configured place of contents.
///
/// # Errors
/// When the place cannot be used.
pub fn open(config: &Config, account: Account, database: Arc<Database>) -> anyhow::Result<Arc<Blobs>> {
    let objects = objects(&config.blobs, &config.data_folder).context("opening the place of blob contents")?;
    Ok(Arc::new(Blobs::new(account, database, objects, rand::random())))
}

/// Where devices upload files by the configuration; none when that is switched off. The application may say something
/// else ([`elsewhere`]).
///
/// # Errors
/// When the configured storage cannot be used.
pub fn upload_target(config: &Config, blobs: &Arc<Blobs>) -> anyhow::Result<Option<Arc<UploadTarget>>> {
    let settings = &config.file_upload;
    if !settings.enabled {
        return Ok(None);
    }
    let life = Duration::from_secs(settings.sas_minutes * 60);
    let container = ContainerName::parse(&settings.container).context("file_upload.container")?;
    if settings.azure_connection_string.is_empty() {
        let Account { name, keys } = blobs.account().clone();
        return Ok(Some(Arc::new(UploadTarget {
            host_name: None,
            container: settings.container.clone(),
            signer: SasSigner { account: name, key: keys.primary },
            place: Place::Own(Arc::clone(blobs), container),
            life,
        })));
    }
    let target = elsewhere(&settings.azure_connection_string, &container, life);
    Ok(Some(Arc::new(target.context("file_upload.azure_connection_string")?)))
}

/// A container of an account elsewhere, for uploads.
///
/// # Errors
/// When it cannot be used; never repeats the connection string, which holds a key.
pub fn elsewhere(connection_string: &str, container: &ContainerName, life: Duration) -> anyhow::Result<UploadTarget> {
    let account = StorageAccount::parse(connection_string)?;
    let host = account.endpoint.strip_prefix("https://").filter(|host| !host.contains('/'));
    let host = host.context("devices need https and a plain host name")?;
    Ok(UploadTarget {
        host_name: Some(host.to_owned()),
        container: container.as_str().to_owned(),
        signer: SasSigner { account: account.name.clone(), key: Key::from_base64(&account.key)? },
        place: Place::Elsewhere(account.container(container.as_str())?),
        life,
    })
}

/// Makes the container for uploads when it is ours and missing.
///
/// # Errors
/// When the store fails.
pub async fn prepare(target: &UploadTarget) -> anyhow::Result<()> {
    let Place::Own(blobs, container) = &target.place else { return Ok(()) };
    match blobs.create_container(container, Vec::new(), gantry_gateway::now()).await {
        Ok(_) | Err(BlobError::ContainerExists) => Ok(()),
        Err(error) => Err(error).context("making the container for file uploads"),
    }
}

fn objects(config: &BlobsConfig, folder: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    if config.azure_connection_string.is_empty() {
        let folder = folder.join("blobs");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        // Synced before it answers: what a client was told is stored is stored.
        return Ok(Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true)));
    }
    let account = StorageAccount::parse(&config.azure_connection_string).context("blobs.azure_connection_string")?;
    account.container(&config.azure_container)
}

/// An account at Azure or at an emulator.
pub struct StorageAccount {
    /// Its name.
    pub name: String,
    /// Its key, base64.
    pub key: String,
    /// Where its blobs are, without a slash at the end.
    pub endpoint: String,
}

impl StorageAccount {
    /// Reads a connection string (`AccountName=…;AccountKey=…;BlobEndpoint=…`).
    ///
    /// # Errors
    /// Names the field that is missing; never repeats the text, which holds a key.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let field = |name: &str| {
            let fields = text.split(';').filter_map(|pair| pair.split_once('='));
            fields.into_iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        let name = field("AccountName").context("no AccountName")?;
        let key = field("AccountKey").context("no AccountKey")?;
        let endpoint = field("BlobEndpoint").unwrap_or_else(|| {
            let protocol = field("DefaultEndpointsProtocol").unwrap_or_else(|| "https".into());
            let suffix = field("EndpointSuffix").unwrap_or_else(|| "core.windows.net".into());
            format!("{protocol}://{name}.blob.{suffix}")
        });
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        ensure!(endpoint.starts_with("https://") || endpoint.starts_with("http://"), "BlobEndpoint is not a URL");
        Ok(Self { name, key, endpoint })
    }

    /// One of its containers.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn container(&self, name: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(self.builder(name).build()?))
    }

    /// The same, for who wants to say more.
    pub fn builder(&self, container: &str) -> MicrosoftAzureBuilder {
        MicrosoftAzureBuilder::new()
            .with_account(&self.name)
            .with_access_key(&self.key)
            .with_endpoint(self.endpoint.clone())
            .with_allow_http(self.endpoint.starts_with("http://"))
            .with_container_name(container)
    }
}

/// Opens the containers that import and export jobs name: ours directly, others over HTTPS.
pub struct SignedContainers {
    /// Our store.
    pub blobs: Arc<Blobs>,
    /// Knows our names.
    pub hub: Arc<Hub>,
}

impl SignedContainers {
    async fn find(&self, uri: &str, needed: &[Permission]) -> Result<Place, String> {
        let url = url::Url::parse(uri).map_err(|_| "the container's address is not a URL".to_owned())?;
        let host = url.host_str().unwrap_or_default();
        let path: Vec<_> = url.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).collect();
        let container = path.last().ok_or("the address names no container")?;
        let query = read_query(url.query().unwrap_or_default()).ok_or("the address cannot be read")?;
        if !query.iter().any(|(name, _)| name == "sig") {
            return Err("the address has no shared access signature".into());
        }
        if self.hub.answers_to(host.trim_matches(['[', ']'])) && self.is_ours(&path) {
            return self.own(container, &query, needed).await;
        }
        if url.scheme() != "https" {
            return Err("the container's address must begin with https://".into());
        }
        self.elsewhere(&url, &path, container, uri)
    }

    fn is_ours(&self, path: &[&str]) -> bool {
        matches!(path, [_]) || matches!(path, [account, _] if *account == self.blobs.account().name)
    }

    async fn own(&self, name: &str, query: &[(String, String)], needed: &[Permission]) -> Result<Place, String> {
        let container = ContainerName::parse(name).map_err(|error| error.to_string())?;
        let blob = BlobName::parse("devices.txt").map_err(|error| error.to_string())?;
        let target = Target::Blob(container.clone(), blob);
        let now = gantry_gateway::now();
        // Loopback: the caller of the job is not the one who reads.
        let peer = Some(std::net::Ipv4Addr::LOCALHOST.into());
        let grant = verify_sas(self.blobs.account(), SasParameters(query), &target, peer, now);
        let allowed = grant.and_then(|grant| grant.require(&target, needed));
        allowed.map_err(|denied| format!("the shared access signature was refused: {denied}"))?;
        self.blobs.container(&container).await.map_err(|error| error.to_string())?;
        Ok(Place::Own(Arc::clone(&self.blobs), container))
    }

    fn elsewhere(&self, url: &url::Url, path: &[&str], container: &str, uri: &str) -> Result<Place, String> {
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let before = &path[..path.len() - 1];
        let account = before.last().copied().or_else(|| authority.split('.').next()).unwrap_or_default();
        let endpoint = [&[authority], before].concat().join("/");
        let signature = uri.split_once('?').map_or("", |(_, query)| query);
        let store = MicrosoftAzureBuilder::new()
            .with_account(account)
            .with_endpoint(format!("https://{endpoint}"))
            .with_container_name(container)
            .with_config(AzureConfigKey::SasKey, signature)
            .build()
            .map_err(|_| "the container's address cannot be used".to_owned())?;
        Ok(Place::Elsewhere(Arc::new(store)))
    }
}

impl Containers for SignedContainers {
    fn open<'a>(&'a self, uri: &'a str, purpose: Purpose) -> PortFuture<'a, Arc<dyn Container>, String> {
        let needed = match purpose {
            Purpose::Read => &[Permission::Read],
            Purpose::Write => &[Permission::Write],
        };
        Box::pin(async move {
            let opened: Arc<dyn Container> = Arc::new(Opened(self.find(uri, needed).await?));
            Ok(opened)
        })
    }
}

/// A container as jobs use it.
struct Opened(Place);

impl Container for Opened {
    fn length<'a>(&'a self, name: &'a str) -> PortFuture<'a, u64, String> {
        Box::pin(async move { Ok(self.0.stat(name).await.map_err(words)?.length) })
    }

    fn read<'a>(&'a self, name: &'a str) -> PortFuture<'a, Pieces, String> {
        Box::pin(async move {
            let pieces: Pieces = Box::pin(self.0.read(name).await.map_err(words)?.map_err(words));
            Ok(pieces)
        })
    }

    fn write<'a>(&'a self, now: Timestamp, name: &'a str, pieces: Pieces) -> PortFuture<'a, (), String> {
        let pieces = pieces.map_err(BlobError::Failed);
        Box::pin(async move { self.0.write(name, pieces, "text/plain", now).await.map_err(words) })
    }
}

fn words(error: BlobError) -> String {
    error.to_string()
}

/// Deletes what nothing needs, at once and then every minute.
pub async fn maintain(blobs: Arc<Blobs>) {
    match blobs.sweep().await {
        Ok(0) => {}
        Ok(swept) => info!(objects = swept, "deleted contents of uploads that were cut off"),
        Err(error) => warn!(%error, "contents of uploads that were cut off are not deleted"),
    }
    let mut timer = tokio::time::interval(COLLECT_PERIOD);
    loop {
        timer.tick().await;
        match blobs.collect_garbage(gantry_gateway::now()).await {
            Ok(0) => {}
            Ok(collected) => info!(objects = collected, "deleted contents no blob has any more"),
            Err(error) => warn!(%error, "contents no blob has any more are not deleted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_name_their_endpoint_or_have_azures() {
        let of = |text: &str| StorageAccount::parse(text).map(|account| account.endpoint).map_err(|e| e.to_string());
        assert_eq!(of("AccountName=a;AccountKey=k==").unwrap(), "https://a.blob.core.windows.net");
        let emulator = "AccountName=a;AccountKey=k==;BlobEndpoint=http://127.0.0.1:10000/a/;";
        assert_eq!(of(emulator).unwrap(), "http://127.0.0.1:10000/a");
        assert_eq!(StorageAccount::parse(emulator).unwrap().key, "k==");
        assert_eq!(of("AccountKey=secret").unwrap_err(), "no AccountName");
        assert_eq!(of("AccountName=a").unwrap_err(), "no AccountKey");
    }
}
