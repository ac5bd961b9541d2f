//! Signing in with a foreign OpenID provider: the way there and back.

use std::sync::Arc;

use gantry_directory::{
    CallbackRefused, Client, Drawn, Flows, IdTokenRefused, KEY_SET_BYTES_MAX, KeySetError, Mapping,
    PROVIDER_DOCUMENT_BYTES_MAX, PeopleError, PlatformRole, Provider, ProviderError, PublicKeys, SecretText, Stage,
    Start, TOKEN_ANSWER_BYTES_MAX,
};
use gantry_hub::ports::PortFuture;
use gantry_identity::Timestamp;
use parking_lot::Mutex;

use super::{NotSignedIn, Opened, SignIn, Whence};

/// The cookie that ties a callback to the browser that began.
pub(crate) const STATE_COOKIE: &str = "__Host-gantry_sign_in";

/// How a provider is asked: https, without redirects, within a time.
pub trait ProviderLink: Send + Sync {
    /// Fetches a document of at most so many bytes.
    fn get<'a>(&'a self, url: &'a str, bytes_max: usize) -> PortFuture<'a, Vec<u8>, String>;
    /// Posts a form; an answer of at most so many bytes, whatever its status.
    fn post<'a>(&'a self, url: &'a str, form: &'a SecretText, bytes_max: usize) -> PortFuture<'a, Vec<u8>, String>;
}

/// A foreign provider.
pub struct OpenIdProvider {
    /// Its name in addresses.
    pub id: String,
    /// Its name on the button.
    pub name: String,
    /// What it calls itself.
    pub issuer: String,
    /// What it knows us as.
    pub client: Client,
    /// What its claims mean here; roles are those of the platform.
    pub mapping: Mapping,
    /// How it is asked.
    pub link: Arc<dyn ProviderLink>,
}

/// A provider, and who is on their way to it: the secret of one is never posted to another.
pub(super) struct Way {
    provider: OpenIdProvider,
    flows: Mutex<Flows>,
}

impl Way {
    pub(super) fn new(provider: OpenIdProvider) -> Self {
        Self { provider, flows: Mutex::default() }
    }
}

/// Why nobody is sent to a provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFailure {
    #[error("there is no such provider")]
    Unknown,
    #[error("too many attempts; wait a minute")]
    TooMany,
    #[error("provider does not answer: {0}")]
    Unreachable(String),
    #[error(transparent)]
    Document(#[from] ProviderError),
}

/// Why a callback signs nobody in. For the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallbackFailure {
    #[error("there is no such provider")]
    Unknown,
    #[error(transparent)]
    Callback(#[from] CallbackRefused),
    #[error("provider does not answer: {0}")]
    Unreachable(String),
    #[error(transparent)]
    Document(#[from] ProviderError),
    #[error(transparent)]
    Keys(#[from] KeySetError),
    #[error(transparent)]
    IdToken(#[from] IdTokenRefused),
    #[error("the configuration gives no role of the platform")]
    Role,
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error(transparent)]
    Session(#[from] NotSignedIn),
}

impl SignIn {
    /// Providers by id, with their names.
    pub(crate) fn providers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ways.iter().map(|way| (way.provider.id.as_str(), way.provider.name.as_str()))
    }

    fn way(&self, id: &str) -> Option<&Way> {
        self.ways.iter().find(|way| way.provider.id == id)
    }

    /// Sends somebody to a provider.
    pub(crate) async fn begin(&self, id: &str, from: Whence<'_>, now: Timestamp) -> Result<Start, StartFailure> {
        let way = self.way(id).ok_or(StartFailure::Unknown)?;
        if !self.starts.lock().admit(from.address, now) {
            return Err(StartFailure::TooMany);
        }
        let provider = &way.provider;
        let document = discover(provider).await.map_err(StartFailure::Unreachable)?;
        let found = Provider::parse(&document, &provider.issuer)?;
        let drawn = Drawn { state: self.secret(), nonce: self.secret(), verifier: self.secret() };
        Ok(way.flows.lock().begin(&found, &provider.client, drawn, "/", now))
    }

    /// Takes what a browser brings back from a provider.
    pub(crate) async fn come_back(
        &self,
        id: &str,
        query: &str,
        cookie: &str,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<Opened, CallbackFailure> {
        let way = self.way(id).ok_or(CallbackFailure::Unknown)?;
        let provider = &way.provider;
        let exchange = way.flows.lock().callback(&provider.client, query, cookie, now)?;
        let document = discover(provider).await.map_err(CallbackFailure::Unreachable)?;
        let found = Provider::parse(&document, &provider.issuer)?;
        let answer = provider.link.post(&exchange.url, &exchange.body, TOKEN_ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(CallbackFailure::Unreachable)?;
        let keys = provider.link.get(&found.jwks_uri, KEY_SET_BYTES_MAX).await;
        let keys = PublicKeys::parse(&keys.map_err(CallbackFailure::Unreachable)?)?;
        let user = exchange.awaiting.finish(&answer, &keys, &provider.mapping, crate::now())?;
        let role = user.roles.iter().filter_map(|role| PlatformRole::parse(role)).max();
        let person = self.people.welcome(now, &user, role.ok_or(CallbackFailure::Role)?).await?;
        Ok(self.open(person, Stage::Full, None, from, now)?)
    }
}

async fn discover(provider: &OpenIdProvider) -> Result<Vec<u8>, String> {
    let url = format!("{}/.well-known/openid-configuration", provider.issuer.trim_end_matches('/'));
    provider.link.get(&url, PROVIDER_DOCUMENT_BYTES_MAX).await
}
