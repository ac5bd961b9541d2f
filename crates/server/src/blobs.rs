//! The blob store: where contents are kept, and what is done to it now and then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gantry_api::{Files, UploadTarget};
use gantry_blobs::{Account, BlobError, Blobs, ContainerName, Place, SasSigner};
use gantry_hub::file_uploads::FileUploads;
use gantry_identity::Key;
use gantry_storage::Database;
use object_store::ObjectStore;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::local::LocalFileSystem;
use tracing::{info, warn};

use crate::config::{BlobsConfig, Config};
use crate::serve::SystemEntropy;

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

/// Where devices upload files; none when that is switched off.
///
/// # Errors
/// When the configured storage cannot be used.
pub fn files(config: &Config, blobs: &Arc<Blobs>, database: &Arc<Database>) -> anyhow::Result<Option<Arc<Files>>> {
    let settings = &config.file_upload;
    if !settings.enabled {
        return Ok(None);
    }
    let container = ContainerName::parse(&settings.container).context("file_upload.container")?;
    let target = if settings.azure_connection_string.is_empty() {
        let Account { name, keys } = blobs.account().clone();
        UploadTarget {
            host_name: None,
            container: settings.container.clone(),
            signer: SasSigner { account: name, key: keys.primary },
            place: Place::Own(Arc::clone(blobs), container),
        }
    } else {
        let account =
            StorageAccount::parse(&settings.azure_connection_string).context("file_upload.azure_connection_string")?;
        let host = account.endpoint.strip_prefix("https://").filter(|host| !host.contains('/'));
        let host = host.context("file_upload.azure_connection_string: devices need https and a plain host name")?;
        UploadTarget {
            host_name: Some(host.to_owned()),
            container: settings.container.clone(),
            signer: SasSigner { account: account.name.clone(), key: Key::from_base64(&account.key)? },
            place: Place::Elsewhere(account.container(container.as_str())?),
        }
    };
    let life = Duration::from_secs(settings.sas_minutes * 60);
    let store = Arc::<Database>::clone(database);
    let uploads = FileUploads::new(store, Arc::new(SystemEntropy), life);
    Ok(Some(Arc::new(Files { uploads, target })))
}

/// Makes the container for uploads when it is ours and missing.
///
/// # Errors
/// When the store fails.
pub async fn prepare(files: &Files) -> anyhow::Result<()> {
    let Place::Own(blobs, container) = &files.target.place else { return Ok(()) };
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
        let store = MicrosoftAzureBuilder::new()
            .with_account(&self.name)
            .with_access_key(&self.key)
            .with_endpoint(self.endpoint.clone())
            .with_allow_http(self.endpoint.starts_with("http://"))
            .with_container_name(name)
            .build()?;
        Ok(Arc::new(store))
    }
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
