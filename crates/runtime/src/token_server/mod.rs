//! `gantry token-server`, and the same as a role of `gantry serve`.

mod audit;
mod config;
pub(crate) mod outside;
mod run;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::http::HeaderName;
use gantry_api::tokens::{Role, Tokens};
use gantry_hub::Hub;
use gantry_identity::{Authority, Key};
use gantry_tokens::ports::{PolicyKey, Signing};
use gantry_tokens::{
    ApiKey, ApiKeys, DeviceCertificates, GroupKey, JwtRules, KeySet, KeySetRules, Life, Limits, Pattern, Proofs, Rate,
    TokenServer, TrustedProxy,
};

pub use config::TokenServerConfig;
pub use run::run;

use crate::config::Config;
use audit::{AuditLog, Reporter};

/// Policy of a hub that signs tokens of the role in `gantry serve`.
const POLICY: &str = "device";
/// Certificates in one file of authorities.
const AUTHORITIES_MAX: usize = 100;

/// The role in `gantry serve`, signing with the hub's own policy; none when it is switched off.
///
/// # Errors
/// Names what is wrong with the configuration.
pub fn role(config: &Config, hub: &Arc<Hub>) -> anyhow::Result<Option<Tokens>> {
    if !config.token_server.enabled {
        return Ok(None);
    }
    let signing = Arc::new(HubPolicy(Arc::clone(hub)));
    let audit = AuditLog::open(&config.token_server.audit_log, Reporter::Hub(Arc::clone(hub)))?;
    build(&config.token_server, config.hub.host_names.clone(), signing, audit).map(|role| Some(Tokens::new(role)))
}

/// The hub's policy, as it is at the moment.
struct HubPolicy(Arc<Hub>);

impl Signing for HubPolicy {
    fn current(&self) -> Option<PolicyKey> {
        let policies = self.0.policies();
        let policy = policies.find(POLICY)?;
        Some(PolicyKey { policy: policy.name.clone(), key: policy.keys.primary.clone() })
    }
}

/// A server from its section.
fn build(
    config: &TokenServerConfig,
    host_names: Vec<String>,
    signing: Arc<dyn Signing>,
    audit: AuditLog,
) -> anyhow::Result<Role> {
    let proofs = proofs(config)?;
    ensure!(!proofs.is_empty(), "no proof is configured (api_keys, device_ca_files, jwt, webhook or proxy)");
    let secs = Duration::from_secs;
    let rate = |count, window| Rate { count, window: secs(window) };
    let limits = Limits::new(
        rate(config.per_address_per_second, 1),
        rate(config.per_identity_per_minute, 60),
        rate(config.total_per_second, 1),
    );
    let life =
        Life { default: secs(config.life_secs), min: secs(config.life_min_secs), max: secs(config.life_max_secs) };
    let header = &config.proxy.header;
    let forwarded_header = match header.as_str() {
        "" => None,
        name => Some(name.parse::<HeaderName>().with_context(|| format!("proxy.header `{name}`"))?),
    };
    let group = group(config).context("enrollment_group")?;
    let audit = Arc::new(audit);
    let config = gantry_tokens::TokenServerConfig { host_names, life, group, proofs, limits, signing, audit };
    Ok(Role { server: TokenServer::new(config), forwarded_header })
}

fn proofs(config: &TokenServerConfig) -> anyhow::Result<Proofs> {
    let api_keys = config.api_keys.iter().map(api_key).collect::<anyhow::Result<Vec<_>>>()?;
    let certificates = match config.device_ca_files.as_slice() {
        [] => None,
        files => Some(DeviceCertificates { authorities: authorities(files).context("device_ca_files")? }),
    };
    let proxy = match config.proxy.header.as_str() {
        "" => None,
        _ => {
            let names = config.proxy.names.clone();
            ensure!(!config.proxy.ca_files.is_empty(), "proxy.header needs proxy.ca_files");
            ensure!(!names.is_empty(), "proxy.header needs proxy.names");
            Some(TrustedProxy { authorities: authorities(&config.proxy.ca_files).context("proxy.ca_files")?, names })
        }
    };
    let webhook = match config.webhook.url.as_str() {
        "" => None,
        _ => Some(Arc::new(outside::Webhook::new(&config.webhook).context("webhook")?) as Arc<_>),
    };
    Ok(Proofs { api_keys: ApiKeys::new(api_keys)?, jwt: jwt(config).context("jwt")?, proxy, certificates, webhook })
}

fn api_key(entry: &config::ApiKeyConfig) -> anyhow::Result<ApiKey> {
    let name = entry.name.clone();
    let hash = outside::from_hex(&entry.sha256).with_context(|| format!("sha256 of API key `{name}`"))?;
    let pattern =
        |text: &String| Pattern::parse(text).with_context(|| format!("identity `{text}` of API key `{name}`"));
    let identities = entry.identities.iter().map(pattern).collect::<anyhow::Result<_>>()?;
    Ok(ApiKey { name, hash, identities })
}

fn jwt(config: &TokenServerConfig) -> anyhow::Result<Option<JwtRules>> {
    let jwt = &config.jwt;
    if jwt.issuer.is_empty() && jwt.keys.is_empty() {
        return Ok(None);
    }
    ensure!(!jwt.keys.is_empty(), "keys must name a URL or a file");
    let source = Arc::new(outside::JsonWebKeys::new(&jwt.keys, &jwt.ca_file)?);
    let keys = KeySet::new(source, KeySetRules::default());
    Ok(Some(JwtRules::new(&jwt.issuer, &jwt.audience, &jwt.algorithms, &jwt.device_claim, keys)?))
}

fn group(config: &TokenServerConfig) -> anyhow::Result<Option<GroupKey>> {
    let group = &config.enrollment_group;
    match (group.id_scope.as_str(), group.key_file.as_os_str().is_empty()) {
        ("", true) => Ok(None),
        ("", false) | (_, true) => bail!("id_scope and key_file go together"),
        (scope, false) => {
            let text = read_secret(&group.key_file)?;
            Ok(Some(GroupKey { scope: scope.to_owned(), key: Key::from_base64(&text).context("key_file")? }))
        }
    }
}

/// A file's text without the blanks around it.
fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Every certificate of these PEM files.
fn authorities(files: &[std::path::PathBuf]) -> anyhow::Result<Vec<Authority>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut all = vec![];
    for file in files {
        let certificates =
            CertificateDer::pem_file_iter(file).with_context(|| format!("reading {}", file.display()))?;
        for certificate in certificates {
            let certificate = certificate.with_context(|| format!("reading {}", file.display()))?;
            all.push(Authority::parse(&certificate).with_context(|| format!("in {}", file.display()))?);
            ensure!(all.len() <= AUTHORITIES_MAX, "more than {AUTHORITIES_MAX} authorities");
        }
    }
    ensure!(!all.is_empty(), "there is no certificate in the files");
    Ok(all)
}
