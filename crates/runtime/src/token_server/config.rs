//! What can be chosen: the section both forms share, and the file of `gantry token-server`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use gantry_identity::Key;
use serde::Deserialize;

use super::read_secret;
use crate::config::{Sources, default_token_server};

const DEFAULT: &str = include_str!("../../token-server.toml");
/// Shortest life that may be configured, seconds.
const LIFE_SECS_MIN: u64 = 10;
/// Longest life that may be configured, seconds: a year.
const LIFE_SECS_MAX: u64 = 365 * 86_400;
/// API keys that may be configured.
const API_KEYS_MAX: usize = 10_000;
/// Identities of one API key.
const IDENTITIES_MAX: usize = 1_000;

/// The section `[token_server]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenServerConfig {
    /// Whether `gantry serve` has the role.
    pub enabled: bool,
    /// Life of a token when none is asked for.
    pub life_secs: u64,
    /// Shortest life that may be asked for.
    pub life_min_secs: u64,
    /// Longest life that may be asked for.
    pub life_max_secs: u64,
    /// Requests from one address.
    pub per_address_per_second: u32,
    /// Tokens for one identity.
    pub per_identity_per_minute: u32,
    /// Tokens in all.
    pub total_per_second: u32,
    /// File with a line for every answer.
    pub audit_log: PathBuf,
    /// API keys.
    pub api_keys: Vec<ApiKeyConfig>,
    /// Authorities of devices.
    pub device_ca_files: Vec<PathBuf>,
    /// JSON Web Tokens.
    pub jwt: JwtConfig,
    /// A judgement elsewhere.
    pub webhook: WebhookConfig,
    /// A proxy that names devices.
    pub proxy: ProxyConfig,
    /// Tokens for DPS.
    pub enrollment_group: EnrollmentGroupConfig,
}

/// One API key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Name for the audit log.
    pub name: String,
    /// SHA-256 of the key, hex.
    pub sha256: String,
    /// What it may ask for.
    pub identities: Vec<String>,
}

/// Rules for JSON Web Tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// Who issued them.
    pub issuer: String,
    /// For whom.
    pub audience: String,
    /// URL or file of the key set.
    pub keys: String,
    /// Algorithms that are taken.
    pub algorithms: Vec<String>,
    /// Claim that is the device id.
    pub device_claim: String,
    /// Authority to trust for the URL.
    pub ca_file: PathBuf,
}

/// Where to ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// URL.
    pub url: String,
    /// File with our `Authorization` header.
    pub secret_file: PathBuf,
    /// Authority to trust for the URL.
    pub ca_file: PathBuf,
    /// How long an answer may take.
    pub timeout_secs: u64,
}

/// A proxy that names devices.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Header with the name.
    pub header: String,
    /// Who signed the proxy's certificate.
    pub ca_files: Vec<PathBuf>,
    /// Names the certificate may have.
    pub names: Vec<String>,
}

/// An enrollment group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentGroupConfig {
    /// Id scope.
    pub id_scope: String,
    /// File with the key.
    pub key_file: PathBuf,
}

impl TokenServerConfig {
    /// The same, switched off.
    pub fn off(&self) -> Self {
        Self { enabled: false, ..self.clone() }
    }

    /// Checks what can be checked without reading files.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        let (least, default, most) = (self.life_min_secs, self.life_secs, self.life_max_secs);
        ensure!(
            LIFE_SECS_MIN <= least && least <= default && default <= most && most <= LIFE_SECS_MAX,
            "token_server.life_min_secs, life_secs and life_max_secs must rise, from {LIFE_SECS_MIN} to {LIFE_SECS_MAX}"
        );
        ensure!(self.api_keys.len() <= API_KEYS_MAX, "token_server.api_keys may hold {API_KEYS_MAX} keys");
        let too_many = self.api_keys.iter().find(|key| key.identities.len() > IDENTITIES_MAX);
        if let Some(key) = too_many {
            anyhow::bail!("API key `{}` may have {IDENTITIES_MAX} identities", key.name);
        }
        ensure!((1..=30).contains(&self.webhook.timeout_secs), "token_server.webhook.timeout_secs must be 1 to 30");
        Ok(())
    }
}

/// The file of `gantry token-server`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandaloneConfig {
    /// Where the certificate authority is.
    pub data_folder: PathBuf,
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// Port to listen on.
    pub port: u16,
    /// Names for the certificate.
    pub host_names: Vec<String>,
    /// Connections at once.
    pub connections_max: usize,
    /// A certificate from elsewhere.
    pub tls: TlsConfig,
    /// The hub tokens are for.
    pub hub: HubKeysConfig,
    /// What is served.
    pub token_server: TokenServerConfig,
}

/// A certificate from elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Chain, leaf first, PEM.
    pub certificate_file: PathBuf,
    /// Key, PEM.
    pub key_file: PathBuf,
}

/// Keys of a policy with DeviceConnect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubKeysConfig {
    primary_file: PathBuf,
    secondary_file: PathBuf,
    sign_with: Slot,
    more_host_names: Vec<String>,
}

/// Which of two keys.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    Primary,
    /// The other.
    Secondary,
}

/// A connection string of a policy, read.
pub struct HubKey {
    /// Host names of the hub.
    pub host_names: Vec<String>,
    /// Name of the policy.
    pub policy: String,
    /// The key.
    pub key: Key,
}

impl StandaloneConfig {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Names the file and key that is wrong.
    pub fn load(sources: &Sources) -> anyhow::Result<Self> {
        let mut table: toml::Table = toml::from_str(DEFAULT).expect("token-server.toml is valid");
        table.insert("token_server".into(), default_token_server());
        let mut config: Self = sources.over(table, |_| Ok(()))?.try_into().context("in the configuration")?;
        if config.data_folder.as_os_str().is_empty() {
            config.data_folder = crate::config::default_folder()?.with_file_name("gantry-tokens");
        }
        ensure!(!config.bind.is_empty(), "bind must name at least one address");
        ensure!(!config.host_names.is_empty(), "host_names must hold at least one name");
        let TlsConfig { certificate_file, key_file } = &config.tls;
        let is_given = |path: &Path| !path.as_os_str().is_empty();
        ensure!(is_given(certificate_file) == is_given(key_file), "tls.certificate_file and tls.key_file go together");
        config.token_server.check()?;
        Ok(config)
    }
}

impl HubKeysConfig {
    /// Reads the connection string that signs now.
    ///
    /// # Errors
    /// Says what is missing; never shows the key.
    pub fn current(&self) -> anyhow::Result<HubKey> {
        let (variable, file, name) = match self.sign_with {
            Slot::Primary => ("GANTRY_TOKEN_HUB_PRIMARY", &self.primary_file, "hub.primary_file"),
            Slot::Secondary => ("GANTRY_TOKEN_HUB_SECONDARY", &self.secondary_file, "hub.secondary_file"),
        };
        let text = match std::env::var(variable) {
            Ok(text) => text,
            Err(_) if file.as_os_str().is_empty() => anyhow::bail!("neither {name} nor {variable} is set"),
            Err(_) => read_secret(file)?,
        };
        let mut key = HubKey::parse(&text).with_context(|| format!("in {name}"))?;
        key.host_names.extend(self.more_host_names.iter().cloned());
        Ok(key)
    }
}

impl HubKey {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let part = |name: &str| {
            let found = text.trim().split(';').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name);
            found.map(|(_, value)| value).filter(|value| !value.is_empty()).with_context(|| format!("no {name}"))
        };
        let host = part("HostName")?;
        // A port is for connecting; resources of tokens have none.
        let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
        let policy = part("SharedAccessKeyName")?.to_owned();
        Ok(Self { host_names: vec![host.to_owned()], policy, key: Key::from_base64(part("SharedAccessKey")?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<StandaloneConfig> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let overrides = toml::toml! { data_folder = "x" };
        StandaloneConfig::load(&Sources { file: Some(file.path().to_owned()), overrides })
    }

    #[test]
    fn the_default_is_valid_and_a_file_overrides_it() {
        let config = load("port = 9000\n[token_server]\nlife_secs = 600\n").unwrap();
        assert_eq!((config.port, config.token_server.life_secs, config.token_server.life_min_secs), (9000, 600, 60));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        for (text, expected) in [
            ("prot = 1\n", "unknown key `prot`"),
            ("[token_server]\nlive_secs = 1\n", "unknown key `token_server.live_secs`"),
            ("[token_server]\nlife_secs = 59\n", "must rise"),
            ("[token_server]\nlife_min_secs = 9\n", "must rise"),
            ("[token_server.webhook]\ntimeout_secs = 31\n", "timeout_secs"),
            ("[hub]\nsign_with = \"third\"\n", "sign_with"),
            ("[tls]\nkey_file = \"k\"\n", "go together"),
        ] {
            let error = format!("{:#}", load(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_connection_string_is_read_and_its_key_never_shown() {
        let text = "HostName=hub.example:443;SharedAccessKeyName=device;SharedAccessKey=AAECAwQFBgcICQoLDA0ODw==";
        let key = HubKey::parse(text).unwrap();
        assert_eq!((key.host_names[0].as_str(), key.policy.as_str()), ("hub.example", "device"));
        for wrong in ["", "HostName=h", "HostName=h;SharedAccessKeyName=p;SharedAccessKey=secret!"] {
            let error = format!("{:#}", HubKey::parse(wrong).err().unwrap());
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
