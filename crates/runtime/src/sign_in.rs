//! People who sign in, as the configuration says it, and how foreign OpenID providers are asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gantry_api::{OpenIdProvider, ProviderLink, SignIn, SignInConfig};
use gantry_directory::{
    Argon2Parameters, Client, Mapping, PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, PasswordPolicy, People, PlatformRole,
    RoleRule, SecretText, SessionLife,
};
use gantry_hub::ports::{Documents, PortFuture};
use serde::Deserialize;

use crate::config::Config;
use crate::unit::SystemEntropy;

/// Providers there may be.
const PROVIDERS_MAX: usize = 16;
/// How long a provider may take to answer.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest list of common passwords, bytes.
const COMMON_BYTES_MAX: u64 = 64 << 20;

/// How people sign in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInSection {
    /// Minutes without a request after which a session ends.
    idle_minutes: u64,
    /// Hours after which a session ends.
    absolute_hours: u64,
    /// The fewest characters of a password.
    password_length_min: usize,
    /// File of common passwords, one a line.
    common_passwords: PathBuf,
    /// Address of the page as browsers have it; empty: `GANTRY_URL`.
    url: String,
    /// Foreign providers.
    openid: Vec<OpenIdSection>,
}

/// A foreign OpenID provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenIdSection {
    id: String,
    name: String,
    issuer: String,
    client_id: String,
    #[serde(default)]
    client_secret_file: PathBuf,
    #[serde(default = "scopes")]
    scopes: Vec<String>,
    #[serde(default = "names")]
    names: Vec<String>,
    #[serde(default = "yes")]
    email_must_be_verified: bool,
    #[serde(default)]
    ca_file: PathBuf,
    roles: Vec<RoleSection>,
}

/// A role for whoever has a value in a claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleSection {
    claim: String,
    value: String,
    role: PlatformRole,
}

fn scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).to_vec()
}

fn names() -> Vec<String> {
    ["name", "preferred_username", "email"].map(str::to_owned).to_vec()
}

fn yes() -> bool {
    true
}

impl SignInSection {
    /// Checks what can be checked without files.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!((1..=1440).contains(&self.idle_minutes), "sign_in.idle_minutes must be 1 to 1440");
        ensure!((1..=720).contains(&self.absolute_hours), "sign_in.absolute_hours must be 1 to 720");
        let lengths = PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX;
        ensure!(
            lengths.contains(&self.password_length_min),
            "sign_in.password_length_min must be {PASSWORD_LEN_MIN} to {PASSWORD_LEN_MAX}"
        );
        let is_page = |url: &str| url.starts_with("https://") && !url.ends_with('/') && url.len() > 8;
        ensure!(self.url.is_empty() || is_page(&self.url), "sign_in.url is not as `https://host[:port]`");
        ensure!(self.openid.len() <= PROVIDERS_MAX, "sign_in.openid may hold {PROVIDERS_MAX} providers");
        for (n, one) in self.openid.iter().enumerate() {
            one.check()?;
            let is_again = self.openid.iter().take(n).any(|other| other.id == one.id);
            ensure!(!is_again, "sign_in.openid.id: `{}` is there twice", one.id);
        }
        Ok(())
    }

    fn life(&self) -> SessionLife {
        SessionLife {
            idle: Duration::from_secs(self.idle_minutes * 60),
            absolute: Duration::from_secs(self.absolute_hours * 3600),
        }
    }

    fn policy(&self) -> anyhow::Result<PasswordPolicy> {
        let path = &self.common_passwords;
        if path.as_os_str().is_empty() {
            return Ok(PasswordPolicy::new(self.password_length_min, []));
        }
        let reading = || format!("sign_in.common_passwords: {}", path.display());
        let length = std::fs::metadata(path).with_context(reading)?.len();
        ensure!(length <= COMMON_BYTES_MAX, "sign_in.common_passwords is larger than {COMMON_BYTES_MAX} bytes");
        let text = std::fs::read_to_string(path).with_context(reading)?;
        Ok(PasswordPolicy::new(self.password_length_min, text.lines().map(str::to_owned)))
    }
}

impl OpenIdSection {
    fn check(&self) -> anyhow::Result<()> {
        let id = &self.id;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !id.is_empty() && id.len() <= 64 && id.chars().all(is_plain),
            "sign_in.openid.id: `{id}` is not 1 to 64 small letters, digits or dashes"
        );
        ensure!(!self.name.is_empty(), "sign_in.openid.name of `{id}` is empty");
        ensure!(self.issuer.starts_with("https://"), "sign_in.openid.issuer of `{id}` is no https URL");
        ensure!(!self.client_id.is_empty(), "sign_in.openid.client_id of `{id}` is empty");
        ensure!(!self.roles.is_empty(), "sign_in.openid.roles of `{id}`: without any nobody signs in");
        Ok(())
    }

    fn provider(&self, url: &str) -> anyhow::Result<OpenIdProvider> {
        let secret = match self.client_secret_file.as_os_str().is_empty() {
            true => None,
            false => Some(read_secret(&self.client_secret_file)?),
        };
        let rule = |rule: &RoleSection| RoleRule {
            claim: rule.claim.clone(),
            value: rule.value.clone(),
            role: rule.role.name().to_owned(),
        };
        Ok(OpenIdProvider {
            id: self.id.clone(),
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            client: Client {
                client_id: self.client_id.clone(),
                client_secret: secret,
                redirect_uri: format!("{url}/platform/v1/sign-in/openid/{}/callback", self.id),
                scopes: self.scopes.clone(),
            },
            mapping: Mapping {
                names: self.names.clone(),
                email_must_be_verified: self.email_must_be_verified,
                roles: self.roles.iter().map(rule).collect(),
            },
            link: Arc::new(Link::new(&self.ca_file)?),
        })
    }
}

fn read_secret(path: &Path) -> anyhow::Result<SecretText> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(SecretText::new(text.trim()))
}

/// Everybody of a hub, who signs in as its configuration says.
///
/// # Errors
/// When they cannot be read, or a file of the configuration cannot.
pub async fn open(config: &Config, documents: Arc<dyn Documents>) -> anyhow::Result<SignIn> {
    let section = &config.sign_in;
    let host = config.hub.host_names.first().context("hub.host_names")?;
    let port = config.ports.https();
    let url = match section.url.as_str() {
        "" if port == 443 => format!("https://{host}"),
        "" => format!("https://{host}:{port}"),
        url => url.to_owned(),
    };
    let providers = section.openid.iter().map(|one| one.provider(&url)).collect::<anyhow::Result<_>>();
    let people = People::load(documents, gantry_gateway::now()).await.context("reading people")?;
    let settings = SignInConfig {
        name: config.hub.name.clone(),
        life: section.life(),
        policy: section.policy()?,
        cost: Argon2Parameters::default(),
        providers: providers.context("[[sign_in.openid]]")?,
    };
    Ok(SignIn::new(people, settings, Arc::new(SystemEntropy))?)
}

/// Asks a provider over https.
struct Link(reqwest::Client);

impl Link {
    fn new(ca_file: &Path) -> anyhow::Result<Self> {
        let ca = match ca_file.as_os_str().is_empty() {
            true => None,
            false => Some(std::fs::read(ca_file).with_context(|| format!("reading {}", ca_file.display()))?),
        };
        gantry_endpoints::client(ca.as_deref()).map(Self).map_err(anyhow::Error::msg)
    }
}

async fn read(request: reqwest::RequestBuilder, bytes_max: usize, needs_success: bool) -> Result<Vec<u8>, String> {
    let told = |error: reqwest::Error| {
        let error = error.without_url();
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    };
    let work = async {
        let mut answer = request.header("Accept", "application/json").send().await.map_err(told)?;
        if needs_success && !answer.status().is_success() {
            return Err(format!("answered {}", answer.status()));
        }
        let mut bytes = vec![];
        while let Some(piece) = answer.chunk().await.map_err(told)? {
            if bytes.len() + piece.len() > bytes_max {
                return Err(format!("answered more than {bytes_max} bytes"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    let done = tokio::time::timeout(PROVIDER_TIMEOUT, work).await;
    done.unwrap_or_else(|_| Err(format!("no answer within {} s", PROVIDER_TIMEOUT.as_secs())))
}

impl ProviderLink for Link {
    fn get<'a>(&'a self, url: &'a str, bytes_max: usize) -> PortFuture<'a, Vec<u8>, String> {
        Box::pin(read(self.0.get(url), bytes_max, true))
    }

    fn post<'a>(&'a self, url: &'a str, form: &'a SecretText, bytes_max: usize) -> PortFuture<'a, Vec<u8>, String> {
        let request = self.0.post(url).header("Content-Type", "application/x-www-form-urlencoded");
        // A refusal has a body too, which says why.
        Box::pin(read(request.body(form.text().to_owned()), bytes_max, false))
    }
}
