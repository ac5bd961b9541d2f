//! Client credentials: a program shows its secret and gets a token (RFC 6749, 4.4).
//!
//! Clients of version 1 name a `resource`, those of version 2 a `scope` that is a resource and `/.default`. Errors
//! have the words and numbers of the reference's directory, on which its client libraries decide what to say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_identity::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::OwnDirectory;
use super::client::{SecretCheck, ServicePrincipal};
use super::signing::SigningKeys;
use crate::form::{Form, FormError, decode};
use crate::ids::Guid;
use crate::secret::SecretText;
use crate::token::Audiences;
use crate::token::jws::shown;

/// How long a token lives, seconds.
pub const TOKEN_LIFE_SECS: i64 = 3600;
/// What a scope of version 2 ends with: everything the program has been given.
const DEFAULT_SCOPE: &str = "/.default";
/// Longest resource, bytes.
const RESOURCE_LEN_MAX: usize = 512;

/// Which of the two token endpoints was asked: `/{tenant}/oauth2/token` or `/{tenant}/oauth2/v2.0/token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Names a `resource`.
    V1,
    /// Names a `scope`.
    V2,
}

/// A request for a token.
#[derive(Debug)]
pub struct TokenRequest {
    endpoint: Endpoint,
    /// Who asks, to be looked up.
    pub client_id: Guid,
    secret: SecretText,
    resource: String,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum GrantError {
    /// The body is no form.
    #[error("request body cannot be read: {0}")]
    Form(#[from] FormError),
    /// A parameter is missing.
    #[error("the request body must contain the parameter `{0}`")]
    Missing(&'static str),
    /// Only client credentials with a secret are known.
    #[error("grant type `{0}` is not supported; use `client_credentials` with a client secret")]
    GrantType(String),
    /// The header cannot be read, or names somebody else than the body.
    #[error("the client is not named once, by header or by body")]
    Client,
    /// There is no such program, or it is disabled.
    #[error("application `{0}` was not found in the directory or is disabled")]
    Unknown(String),
    /// Another secret.
    #[error("the client secret is wrong; the secret itself is meant, not its id")]
    Secret,
    /// Its life is over.
    #[error("the client secret has expired")]
    SecretExpired,
    /// Not a resource and `/.default`.
    #[error("scope `{0}` is not valid: client credentials take one resource and `/.default`")]
    Scope(String),
    /// Nothing here is meant by it.
    #[error("resource `{0}` is not known in this directory")]
    Resource(String),
    /// We cannot sign.
    #[error("no token can be signed")]
    Signing,
}

impl GrantError {
    /// HTTP status, RFC 6749's word, and the reference's number (AADSTS...).
    pub fn code(&self) -> (u16, &'static str, u32) {
        match self {
            Self::Form(_) => (400, "invalid_request", 90_014),
            Self::Missing(_) => (400, "invalid_request", 900_144),
            Self::GrantType(_) => (400, "unsupported_grant_type", 70_003),
            Self::Client => (401, "invalid_client", 7_000_216),
            Self::Unknown(_) => (400, "unauthorized_client", 700_016),
            Self::Secret => (401, "invalid_client", 7_000_215),
            Self::SecretExpired => (401, "invalid_client", 7_000_222),
            Self::Scope(_) => (400, "invalid_scope", 70_011),
            Self::Resource(_) => (400, "invalid_resource", 500_011),
            Self::Signing => (503, "temporarily_unavailable", 90_033),
        }
    }

    /// The body of the answer; ids are drawn by the caller.
    pub fn document(&self, trace_id: Guid, correlation_id: Guid, now: Timestamp) -> Value {
        let (_, error, number) = self.code();
        json!({
            "error": error,
            "error_description": format!("AADSTS{number}: {self}."),
            "error_codes": [number],
            "timestamp": now.to_string(),
            "trace_id": trace_id,
            "correlation_id": correlation_id,
        })
    }
}

impl TokenRequest {
    /// Reads the body of a token request, and the header of whoever authenticates by it (`Basic`). Parameters that
    /// are not known are ignored, as RFC 6749, 3.2 wants: client libraries send their version and more.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn parse(endpoint: Endpoint, body: &str, authorization: Option<&str>) -> Result<Self, GrantError> {
        let form = Form::parse(body)?;
        let grant_type = form.get("grant_type")?.ok_or(GrantError::Missing("grant_type"))?;
        if grant_type != "client_credentials" || form.get("client_assertion")?.is_some() {
            return Err(GrantError::GrantType(shown(grant_type)));
        }
        let (client_id, secret) = client(&form, authorization)?;
        let client_id = Guid::parse(&client_id).map_err(|_| GrantError::Unknown(shown(&client_id)))?;
        let resource = match endpoint {
            Endpoint::V1 => form.get("resource")?.ok_or(GrantError::Missing("resource"))?,
            Endpoint::V2 => resource_of(form.get("scope")?.ok_or(GrantError::Missing("scope"))?)?,
        };
        if resource.len() > RESOURCE_LEN_MAX {
            return Err(GrantError::Resource(shown(resource)));
        }
        Ok(Self { endpoint, client_id, secret, resource: resource.to_owned() })
    }
}

fn client(form: &Form, authorization: Option<&str>) -> Result<(String, SecretText), GrantError> {
    let (id, secret) = (form.get("client_id")?, form.get("client_secret")?);
    let Some(header) = authorization else {
        let id = id.ok_or(GrantError::Missing("client_id"))?;
        let secret = secret.ok_or(GrantError::Missing("client_secret"))?;
        return Ok((id.to_owned(), SecretText::new(secret)));
    };
    let (of_header, secret_of_header) = basic(header).ok_or(GrantError::Client)?;
    if secret.is_some() || id.is_some_and(|id| id != of_header) {
        return Err(GrantError::Client);
    }
    Ok((of_header, secret_of_header))
}

/// RFC 6749, 2.3.1: both are form-encoded before they are put together.
fn basic(header: &str) -> Option<(String, SecretText)> {
    let (scheme, credentials) = header.split_once(' ')?;
    let bytes = Zeroizing::new(BASE64.decode(credentials.trim()).ok()?);
    let (id, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    let both = Some((decode(id).ok()?, SecretText::new(decode(secret).ok()?)));
    both.filter(|_| scheme.eq_ignore_ascii_case("basic"))
}

fn resource_of(scope: &str) -> Result<&str, GrantError> {
    let resource = scope.strip_suffix(DEFAULT_SCOPE).filter(|one| !one.is_empty() && !one.contains(' '));
    resource.ok_or_else(|| GrantError::Scope(shown(scope)))
}

/// A token, and what its answer says.
#[derive(Debug)]
pub struct Granted {
    endpoint: Endpoint,
    resource: String,
    issued_at: i64,
    /// The token.
    pub access_token: SecretText,
}

impl Granted {
    /// The body of the answer. Version 1 writes numbers as texts.
    pub fn document(&self) -> Value {
        let life = TOKEN_LIFE_SECS - 1;
        let text = |number: i64| number.to_string();
        match self.endpoint {
            Endpoint::V1 => json!({
                "token_type": "Bearer",
                "expires_in": text(life),
                "ext_expires_in": text(life),
                "expires_on": text(self.issued_at + TOKEN_LIFE_SECS),
                "not_before": text(self.issued_at),
                "resource": self.resource,
                "access_token": self.access_token.text(),
            }),
            Endpoint::V2 => json!({
                "token_type": "Bearer",
                "expires_in": life,
                "ext_expires_in": life,
                "access_token": self.access_token.text(),
            }),
        }
    }
}

impl OwnDirectory {
    /// Gives the program `client`, which was looked up by [`TokenRequest::client_id`], a token for one of
    /// `resources`. The token has the shape of version 1 whichever endpoint was asked, as those of the reference's
    /// own services have, and its `aud` is what the client wrote. `token_id` is drawn by the caller.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn grant(
        &self,
        request: &TokenRequest,
        client: Option<&ServicePrincipal>,
        resources: &[Audiences],
        keys: &SigningKeys,
        token_id: Guid,
        now: Timestamp,
    ) -> Result<Granted, GrantError> {
        let unknown = || GrantError::Unknown(request.client_id.to_string());
        let client = client.filter(|one| one.enabled && one.app_id == request.client_id).ok_or_else(unknown)?;
        match client.check_secret(request.secret.text(), now) {
            SecretCheck::Good => {}
            SecretCheck::Expired => return Err(GrantError::SecretExpired),
            SecretCheck::Wrong => return Err(GrantError::Secret),
        }
        if !resources.iter().any(|audiences| audiences.contains(&request.resource)) {
            return Err(GrantError::Resource(shown(&request.resource)));
        }
        let claims = self.claims(client, &request.resource, token_id, now);
        let token = keys.sign(&claims, now).map_err(|_| GrantError::Signing)?;
        Ok(Granted {
            endpoint: request.endpoint,
            resource: request.resource.clone(),
            issued_at: now.as_secs(),
            access_token: SecretText::new(token),
        })
    }

    fn claims(&self, client: &ServicePrincipal, resource: &str, token_id: Guid, now: Timestamp) -> Value {
        let issued_at = now.as_secs();
        let mut claims = json!({
            "aud": resource,
            "iss": self.issuer(Endpoint::V1),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + TOKEN_LIFE_SECS,
            "appid": client.app_id,
            "appidacr": "1",
            "app_displayname": client.display_name,
            "idp": self.issuer(Endpoint::V1),
            "idtyp": "app",
            "oid": client.object_id,
            "sub": client.object_id,
            "tid": self.tenant_id,
            "uti": token_id,
            "ver": "1.0",
        });
        if !client.roles.is_empty() {
            claims["roles"] = json!(client.roles);
        }
        claims
    }
}
