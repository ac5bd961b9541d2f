//! The cold storage of tables, as the configuration names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gantry_kql::value::TICKS_PER_DAY;
use gantry_tables::ColdStore;
use object_store::aws::AmazonS3Builder;
use object_store::client::{Certificate, ClientOptions};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use serde::Deserialize;

use crate::blobs::StorageAccount;

/// Where files of tables go that are past the hot span of their table.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdConfig {
    /// `file:///folder`, `s3://bucket/prefix`, `azure://container/prefix`; empty: nowhere.
    pub place: String,
    /// Hot span of tables without a caching policy, in days.
    pub hot_days: u32,
    /// Cold data kept in the data folder for the next question, in MiB.
    pub cache_mib: u64,
    /// File with the secret access key, or the connection string.
    pub secret_file: PathBuf,
    /// Authorities to trust beside the system's.
    pub ca_file: PathBuf,
    /// Address of a store that is not Amazon's.
    pub s3_endpoint: String,
    /// Region.
    pub s3_region: String,
    /// Who we are.
    pub s3_access_key_id: String,
    /// And the proof.
    pub s3_secret_access_key: String,
    /// Connection string of the account.
    pub azure_connection_string: String,
}

impl std::fmt::Debug for ColdConfig {
    /// Without keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColdConfig").field("place", &self.place).finish_non_exhaustive()
    }
}

/// How long it may take until the other side takes a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// And until it has answered one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request is made again, with growing pauses, before whoever asked hears of it.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// And how often.
const RETRIES_MAX: usize = 5;

/// Where cold extents are.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    S3 { bucket: String, prefix: String },
    Azure { container: String, prefix: String },
}

impl Place {
    /// Reads `file:///folder`, `s3://bucket/prefix` or `azure://container/prefix`; none when there is no place.
    fn parse(text: &str) -> anyhow::Result<Option<Place>> {
        if text.is_empty() {
            return Ok(None);
        }
        // The text is not repeated: somebody may have written a secret into it.
        let wrong = || "it is not as `file:///folder`, `s3://bucket/prefix` or `azure://container/prefix`".to_owned();
        let (scheme, rest) = text.split_once("://").with_context(wrong)?;
        if scheme == "file" {
            ensure!(rest.starts_with('/') && rest.len() > 1, wrong());
            return Ok(Some(Place::Folder(rest.into())));
        }
        let (first, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/').to_owned();
        ensure!(!first.is_empty() && !first.contains(['@', ':', '?']), wrong());
        object_store::path::Path::parse(&prefix).with_context(wrong)?;
        Ok(Some(match scheme {
            "s3" => Place::S3 { bucket: first.to_owned(), prefix },
            "azure" => Place::Azure { container: first.to_owned(), prefix },
            _ => bail!(wrong()),
        }))
    }
}

/// Checks what can be checked without asking anybody.
///
/// # Errors
/// Names what is wrong.
pub fn check(config: &ColdConfig) -> anyhow::Result<()> {
    Place::parse(&config.place).context("tables.cold.place")?;
    ensure!(config.hot_days <= 36_500, "tables.cold.hot_days must be 0 to 36500");
    Ok(())
}

/// Opens the cold storage of a hub; none when there is none. Nobody is asked yet.
///
/// # Errors
/// When the configuration does not say enough, or a file that it names cannot be read.
pub fn open(config: &ColdConfig, hub: &str) -> anyhow::Result<Option<ColdStore>> {
    let Some(place) = Place::parse(&config.place)? else { return Ok(None) };
    let secret = match config.secret_file.as_os_str().is_empty() {
        true => None,
        false => Some(read(&config.secret_file)?.trim().to_owned()),
    };
    let (objects, prefix, folder) = match place {
        Place::Folder(folder) => {
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            let objects = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true).with_automatic_cleanup(true);
            (Arc::new(objects) as Arc<dyn ObjectStore>, String::new(), Some(folder.join(hub)))
        }
        Place::S3 { bucket, prefix } => (s3(config, &bucket, secret)?, prefix, None),
        Place::Azure { container, prefix } => (azure(config, &container, secret)?, prefix, None),
    };
    let objects = if prefix.is_empty() { objects } else { Arc::new(PrefixStore::new(objects, prefix)) };
    Ok(Some(ColdStore {
        objects,
        name: config.place.clone(),
        root: hub.to_owned(),
        folder,
        hot_span: i64::from(config.hot_days) * TICKS_PER_DAY,
        cache_bytes: config.cache_mib.saturating_mul(1 << 20),
        runtime: tokio::runtime::Handle::current(),
    }))
}

fn s3(config: &ColdConfig, bucket: &str, secret: Option<String>) -> anyhow::Result<Arc<dyn ObjectStore>> {
    // What the tools of S3 have in their environment, or the role of the machine; what is configured goes before.
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_disable_bulk_delete(true);
    let environment = std::env::var("AWS_ENDPOINT_URL_S3").or_else(|_| std::env::var("AWS_ENDPOINT_URL"));
    let endpoint = match config.s3_endpoint.is_empty() {
        true => environment.unwrap_or_default(),
        false => config.s3_endpoint.clone(),
    };
    if !endpoint.is_empty() {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if !config.s3_region.is_empty() {
        builder = builder.with_region(&config.s3_region);
    }
    if !config.s3_access_key_id.is_empty() {
        let inline = Some(config.s3_secret_access_key.clone()).filter(|key| !key.is_empty());
        let key = secret.or(inline).context("s3_access_key_id needs s3_secret_access_key or secret_file")?;
        builder = builder.with_access_key_id(&config.s3_access_key_id).with_secret_access_key(key);
    }
    let builder = builder.with_retry(retries()).with_client_options(client(config, &endpoint)?);
    Ok(Arc::new(builder.build()?))
}

fn azure(config: &ColdConfig, container: &str, secret: Option<String>) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let inline = Some(config.azure_connection_string.clone()).filter(|text| !text.is_empty());
    let environment = || std::env::var("AZURE_STORAGE_CONNECTION_STRING").ok();
    let text = secret.or(inline).or_else(environment);
    let text = text.context("azure_connection_string, secret_file or AZURE_STORAGE_CONNECTION_STRING is needed")?;
    let account = StorageAccount::parse(&text).context("the connection string of the account")?;
    let builder = account.builder(container).with_retry(retries());
    Ok(Arc::new(builder.with_client_options(client(config, &account.endpoint)?).build()?))
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

fn client(config: &ColdConfig, endpoint: &str) -> anyhow::Result<ClientOptions> {
    let options = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
    let options = options.with_allow_http(endpoint.starts_with("http://"));
    if config.ca_file.as_os_str().is_empty() {
        return Ok(options);
    }
    let certificates = Certificate::from_pem_bundle(read(&config.ca_file)?.as_bytes()).context("ca_file")?;
    Ok(certificates.into_iter().fold(options, ClientOptions::with_root_certificate))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_folders_buckets_and_containers() {
        let parsed = |text: &str| Place::parse(text).map_err(|error| error.to_string());
        assert_eq!(parsed(""), Ok(None));
        assert_eq!(parsed("file:///srv/lake"), Ok(Some(Place::Folder("/srv/lake".into()))));
        let s3 = |bucket: &str, prefix: &str| Some(Place::S3 { bucket: bucket.into(), prefix: prefix.into() });
        assert_eq!(parsed("s3://lake"), Ok(s3("lake", "")));
        assert_eq!(parsed("s3://lake/a/b/"), Ok(s3("lake", "a/b")));
        let azure = Place::Azure { container: "lake".into(), prefix: "a".into() };
        assert_eq!(parsed("azure://lake/a"), Ok(Some(azure)));
        for wrong in ["lake", "file://lake", "file:///", "s3://", "gs://lake", "s3://key:secret@lake"] {
            assert!(
                parsed(wrong).is_err_and(|error| error.contains("is not as") && !error.contains("secret")),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named_and_secrets_are_not() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = |text: &str| {
            let default: toml::Table = toml::from_str(include_str!("../../default.toml")).unwrap();
            let mut table = default["tables"]["cold"].as_table().unwrap().clone();
            table.extend(toml::from_str::<toml::Table>(text).unwrap());
            table.try_into::<ColdConfig>().unwrap()
        };
        assert!(open(&config(""), "gantry").unwrap().is_none());
        let wrong = |text: &str| format!("{:#}", open(&config(text), "gantry").unwrap_err());
        let key = "s3_access_key_id = \"id\"\n";
        assert!(wrong(&format!("place = \"s3://lake\"\n{key}")).contains("s3_secret_access_key"));
        let account = "azure_connection_string = \"AccountName=a;AccountKey\"\n";
        assert!(wrong(&format!("place = \"azure://lake\"\n{account}")).contains("no AccountKey"));
        assert!(wrong("place = \"s3://lake\"\nca_file = \"/nowhere\"").contains("/nowhere"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let text = format!("place = \"s3://lake/tables\"\n{key}secret_file = {:?}", file.path().to_str().unwrap());
        let config = config(&format!("{text}\ns3_endpoint = \"http://127.0.0.1:8333\"\nhot_days = 3\ncache_mib = 2"));
        let store = open(&config, "line-2").unwrap().unwrap();
        assert_eq!((store.name.as_str(), store.root.as_str()), ("s3://lake/tables", "line-2"));
        assert_eq!((store.hot_span, store.cache_bytes), (3 * TICKS_PER_DAY, 2 << 20));
        let said = format!("{config:?} {store:?} {}", store.objects);
        assert!(!said.contains("hush"), "{said}");
    }
}
