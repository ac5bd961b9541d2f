//! The blob store: where contents are kept, and what is done to it now and then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gantry_blobs::{Account, Blobs};
use gantry_storage::Database;
use object_store::ObjectStore;
use object_store::azure::MicrosoftAzureBuilder;
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

fn objects(config: &BlobsConfig, folder: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    if config.azure_connection_string.is_empty() {
        let folder = folder.join("blobs");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        // Synced before it answers: what a client was told is stored is stored.
        return Ok(Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true)));
    }
    let account = StorageAccount::parse(&config.azure_connection_string).context("blobs.azure_connection_string")?;
    let store = MicrosoftAzureBuilder::new()
        .with_account(&account.name)
        .with_access_key(&account.key)
        .with_endpoint(account.endpoint.clone())
        .with_allow_http(account.endpoint.starts_with("http://"))
        .with_container_name(&config.azure_container)
        .build()?;
    Ok(Arc::new(store))
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
