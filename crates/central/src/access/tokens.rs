//! API tokens: roles for programs, proven by a text that is shown once.
//!
//! `SharedAccessSignature sr={application}&sig={secret}&skn={id}&se={milliseconds}`, opaque to clients. `sig` is 32
//! random bytes in base64, percent-encoded; what is kept is `HMAC-SHA256(secret, application LF id LF se)`, from which
//! the secret cannot be had and which fails when any other field is changed. `se` is in milliseconds, unlike that of a
//! hub's token, which is why the text is read here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gantry_identity::{Key, Refusal, SasError, Timestamp, encode_component};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::users::RoleAssignment;
use crate::ids::TokenId;
use crate::kept::{Kept, millis};

/// How long a token is good when its creator does not say: a year, as the reference does.
pub const TOKEN_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes of a token's text that is looked at, as of the tokens of a hub, whose error names the bound.
const TOKEN_LEN_MAX: usize = 4096;
const PREFIX: &str = "SharedAccessSignature ";

/// A token as it is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// What it may do.
    pub roles: Vec<RoleAssignment>,
    /// When it ends.
    #[serde(with = "millis")]
    pub expiry: Timestamp,
    digest: Digest,
}

/// Tokens by id.
pub type Tokens = BTreeMap<TokenId, Arc<Kept<ApiToken>>>;

/// What is kept of a secret; compared in constant time, never printed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Digest(Key);

impl Digest {
    fn of(secret: &Key, application: &str, id: &str, expiry: Timestamp) -> Self {
        Self(secret.derive(&format!("{application}\n{id}\n{}", expiry.as_millis())))
    }
}

impl TryFrom<String> for Digest {
    type Error = gantry_identity::KeyError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Key::from_base64(&text).map(Self)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.to_base64()
    }
}

/// A token as its creator wants it.
#[derive(Clone)]
pub struct NewToken {
    /// What it may do.
    pub roles: Vec<RoleAssignment>,
    /// When it ends; after [`TOKEN_LIFE`] without.
    pub expiry: Option<Timestamp>,
    /// Drawn at random.
    pub secret: [u8; 32],
}

impl NewToken {
    /// The token and its text.
    ///
    /// # Errors
    /// [`TokenError::Expired`].
    pub fn issue(self, now: Timestamp, application: &str, id: &TokenId) -> Result<(ApiToken, String), TokenError> {
        let expiry = self.expiry.unwrap_or_else(|| now.plus(TOKEN_LIFE));
        if expiry <= now {
            return Err(TokenError::Expired);
        }
        Ok(ApiToken::issue(application, id, self.roles, expiry, self.secret))
    }
}

impl ApiToken {
    fn issue(
        application: &str,
        id: &TokenId,
        roles: Vec<RoleAssignment>,
        expiry: Timestamp,
        secret: [u8; 32],
    ) -> (Self, String) {
        let secret = Key::from_bytes(secret);
        let (sr, sig) = (encode_component(application), encode_component(&secret.to_base64()));
        let text = format!("{PREFIX}sr={sr}&sig={sig}&skn={id}&se={}", expiry.as_millis());
        (Self { roles, expiry, digest: Digest::of(&secret, application, id.as_str(), expiry) }, text)
    }
}

/// The text of a token, read. Proves nothing until [`verify`](Self::verify) was called.
#[derive(Clone, Debug)]
pub struct PresentedToken {
    application: String,
    id: String,
    expiry: Timestamp,
    secret: Key,
}

impl PresentedToken {
    /// Reads the text of a token.
    ///
    /// # Errors
    /// [`SasError`] names the field that is missing or cannot be read.
    pub fn parse(text: &str) -> Result<Self, SasError> {
        if text.len() > TOKEN_LEN_MAX {
            return Err(SasError::TooLong);
        }
        let fields = text.strip_prefix(PREFIX).ok_or(SasError::Prefix)?;
        let expiry = field(fields, "se")?.parse().map_err(|_| SasError::Malformed("se"))?;
        Ok(Self {
            application: field(fields, "sr")?,
            id: field(fields, "skn")?,
            expiry: Timestamp::from_millis(expiry),
            secret: Key::from_base64(&field(fields, "sig")?).map_err(|_| SasError::Malformed("sig"))?,
        })
    }

    /// The id of the token it claims to be, if it is one.
    #[must_use]
    pub fn id(&self) -> Option<TokenId> {
        TokenId::parse(&self.id).ok()
    }

    /// Checks it against the token it claims to be. Whether there is one makes no difference to how long that takes.
    ///
    /// # Errors
    /// [`Refusal`], for logs and not for the peer.
    pub fn verify(&self, kept: Option<&ApiToken>, application: &str, now: Timestamp) -> Result<(), Refusal> {
        let presented = Digest::of(&self.secret, &self.application, &self.id, self.expiry);
        let nobody = Digest(self.secret.derive(""));
        let is_good = presented == *kept.map_or(&nobody, |token| &token.digest);
        if kept.is_none() {
            return Err(Refusal::UnknownIdentity(self.id.clone()));
        }
        if !is_good {
            return Err(Refusal::Signature);
        }
        if self.application != application {
            return Err(Refusal::Resource { presented: self.application.clone(), needed: application.to_owned() });
        }
        if now >= self.expiry { Err(Refusal::Expired(self.expiry)) } else { Ok(()) }
    }
}

/// A field of a token's text, decoded.
fn field(fields: &str, name: &'static str) -> Result<String, SasError> {
    let mut found = fields.split('&').filter_map(|field| field.split_once('=')).filter(|(of, _)| *of == name);
    let (_, raw) = found.next().ok_or(SasError::Missing(name))?;
    if found.next().is_some() {
        return Err(SasError::Repeated(name));
    }
    percent_decode_str(raw).decode_utf8().map(|text| text.into_owned()).map_err(|_| SasError::Malformed(name))
}

/// Why a token was not made or deleted.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// There is none with this id.
    #[error("there is no API token `{0}`")]
    Unknown(TokenId),
    /// There is one with this id; a token is never changed.
    #[error("there is an API token `{0}` already")]
    Exists(TokenId),
    /// It would have ended before it began.
    #[error("`expiry` is in the past")]
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::roles::ADMINISTRATOR;
    use crate::access::roles::tests::role_id;
    use crate::kept::tests::kept;

    const END: Timestamp = Timestamp::from_millis(1_800_000_000_123);
    const APPLICATION: &str = "5782ed70-b703-4f13-bda3-1f5f0f5c678e";

    fn issued() -> (ApiToken, String) {
        let roles = vec![RoleAssignment { role: role_id(ADMINISTRATOR), organization: None }];
        ApiToken::issue(APPLICATION, &TokenId::parse("operator-1").unwrap(), roles, END, [251; 32])
    }

    #[track_caller]
    fn check(text: &str, now: Timestamp, expected: Result<(), Refusal>) {
        let (token, _) = issued();
        let told = PresentedToken::parse(text).unwrap().verify(Some(&token), APPLICATION, now);
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn a_token_is_good_until_it_ends() {
        let (_, text) = issued();
        assert!(text.starts_with("SharedAccessSignature sr=5782ed70-"), "{text}");
        assert!(text.ends_with("&skn=operator-1&se=1800000000123"), "{text}");
        assert_eq!(PresentedToken::parse(&text).unwrap().id().unwrap().as_str(), "operator-1");
        check(&text, Timestamp::from_millis(0), Ok(()));
        check(&text, Timestamp::from_millis(END.as_millis() - 1), Ok(()));
        check(&text, END, Err(Refusal::Expired(END)));
    }

    #[test]
    fn a_changed_field_is_refused() {
        let (_, text) = issued();
        for (from, to) in [
            ("se=1800000000123", "se=1900000000123"),
            ("skn=operator-1", "skn=operator-2"),
            ("sr=5782ed70", "sr=6782ed70"),
            ("sig=%2B", "sig=%2F"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            check(&changed, Timestamp::from_millis(0), Err(Refusal::Signature));
        }
    }

    #[test]
    fn a_token_of_another_application_or_of_nobody_is_refused() {
        let (token, text) = issued();
        let presented = PresentedToken::parse(&text).unwrap();
        let now = Timestamp::from_millis(0);
        assert!(matches!(presented.verify(Some(&token), "other", now), Err(Refusal::Resource { .. })));
        assert!(matches!(presented.verify(None, APPLICATION, now), Err(Refusal::UnknownIdentity(_))));
    }

    #[test]
    fn texts_that_are_no_tokens_are_named() {
        let (_, text) = issued();
        let parse = |text: &str| PresentedToken::parse(text).unwrap_err();
        assert_eq!(parse("Bearer x"), SasError::Prefix);
        assert_eq!(parse(&text.replace("&skn=operator-1", "")), SasError::Missing("skn"));
        assert_eq!(parse(&format!("{text}&se=1")), SasError::Repeated("se"));
        assert_eq!(parse(&text.replace("se=18", "se=x")), SasError::Malformed("se"));
        assert_eq!(parse("SharedAccessSignature sr=a&sig=AA%3D%3D&skn=b&se=1"), SasError::Malformed("sig"));
        assert_eq!(parse("SharedAccessSignature sr=%FF&sig=AA&skn=b&se=1"), SasError::Malformed("sr"));
        assert_eq!(parse(&"x".repeat(TOKEN_LEN_MAX + 1)), SasError::TooLong);
    }

    #[test]
    fn what_is_kept_has_no_secret_and_verifies_after_it_was_stored() {
        let (token, text) = issued();
        let document = kept(token).document();
        let secret = Key::from_bytes([251; 32]).to_base64();
        assert!(!document.contains(&secret), "{document}");
        let again = Kept::<ApiToken>::read(&document).unwrap();
        let presented = PresentedToken::parse(&text).unwrap();
        assert_eq!(presented.verify(Some(&again.value), APPLICATION, Timestamp::from_millis(0)), Ok(()));
    }
}
