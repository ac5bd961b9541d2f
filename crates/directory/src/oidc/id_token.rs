//! The provider's answer: the id token (OpenID Connect Core, 3.1.3.7), and what its claims mean here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_identity::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;
use crate::token::claims::{Claims, LEEWAY};
use crate::token::jws::{Unverified, shown};
use crate::token::{ClaimError, JwtError, PublicKeys, TimeError};

/// Largest answer of a token endpoint, bytes.
pub const TOKEN_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Audiences in one token.
const AUDIENCES_MAX: usize = 16;
/// Values of one claim that roles are given for.
const VALUES_MAX: usize = 1000;
/// Longest subject, ASCII characters (OpenID Connect Core, 2).
const SUBJECT_LEN_MAX: usize = 255;

/// An answer that is waited for.
#[derive(Debug)]
pub struct Awaiting {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) nonce: Secret,
    pub(super) began_at: Timestamp,
}

/// Why an answer signs nobody in. For the log.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum IdTokenRefused {
    /// Not a token answer.
    #[error("provider's answer is no JSON object of at most {TOKEN_ANSWER_BYTES_MAX} bytes")]
    Malformed,
    /// The provider says no.
    #[error("provider refuses the code: `{0}`")]
    Provider(String),
    /// It has no id token.
    #[error("provider's answer has no `id_token`")]
    Missing,
    /// It is not signed as it must be.
    #[error("id token: {0}")]
    Jwt(#[from] JwtError),
    /// It is over, has not begun or was made before the person left.
    #[error("id token: {0}")]
    Time(#[from] TimeError),
    /// A claim is missing or wrong.
    #[error("id token: {0}")]
    Claim(#[from] ClaimError),
    /// Somebody else issued it.
    #[error("id token is of issuer `{0}`")]
    Issuer(String),
    /// It is for somebody else.
    #[error("id token is for `{0}`")]
    Audience(String),
    /// It was made for another way.
    #[error("id token's nonce is not ours")]
    Nonce,
    /// The access token beside it is another's.
    #[error("id token is not of the access token beside it")]
    AccessToken,
    /// The provider does not know that the address is theirs.
    #[error("address of the user is not verified by the provider")]
    EmailUnverified,
    /// No rule gives them a role.
    #[error("no rule gives user `{0}` a role")]
    NoRole(String),
}

/// Gives a role to whoever has a value in a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRule {
    /// Name of the claim: `groups`, `roles`.
    pub claim: String,
    /// The value it has, or holds in its list.
    pub value: String,
    /// The role here.
    pub role: String,
}

/// What claims mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Claims whose first text is the name.
    pub names: Vec<String>,
    /// Whether an address counts only when the provider verified it (`email_verified`).
    pub email_must_be_verified: bool,
    /// Roles. Whoever gets none is not signed in.
    pub roles: Vec<RoleRule>,
}

/// A person of a foreign provider. Issuer and subject say who it is; everything else may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignUser {
    /// The provider.
    pub issuer: String,
    /// Their id there.
    pub subject: String,
    /// For people.
    pub name: String,
    /// Their address, if it may count.
    pub email: Option<String>,
    /// Roles here, each once.
    pub roles: Vec<String>,
}

impl Awaiting {
    /// Reads the answer of the token endpoint.
    ///
    /// # Errors
    /// [`IdTokenRefused`].
    pub fn finish(
        self,
        answer: &[u8],
        keys: &PublicKeys,
        mapping: &Mapping,
        now: Timestamp,
    ) -> Result<ForeignUser, IdTokenRefused> {
        if answer.len() > TOKEN_ANSWER_BYTES_MAX {
            return Err(IdTokenRefused::Malformed);
        }
        let answer: Map<String, Value> = serde_json::from_slice(answer).map_err(|_| IdTokenRefused::Malformed)?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        if let Some(error) = text("error") {
            return Err(IdTokenRefused::Provider(shown(error)));
        }
        let token = Unverified::parse(text("id_token").ok_or(IdTokenRefused::Missing)?)?;
        let issuer = token.issuer().unwrap_or_default();
        if issuer != self.issuer {
            return Err(IdTokenRefused::Issuer(shown(issuer)));
        }
        let claims = token.verify(keys)?;
        self.check(&claims, text("access_token"), now)?;
        mapping.user(&claims, self.issuer)
    }

    fn check(&self, claims: &Claims, access_token: Option<&str>, now: Timestamp) -> Result<(), IdTokenRefused> {
        let audiences = claims.list("aud", AUDIENCES_MAX)?;
        let authorized = claims.text("azp")?;
        let is_ours = audiences.contains(&self.client_id.as_str())
            && authorized.is_none_or(|party| party == self.client_id)
            && (audiences.len() == 1 || authorized.is_some());
        if !is_ours {
            return Err(IdTokenRefused::Audience(shown(authorized.unwrap_or(&audiences.join(" ")))));
        }
        claims.check_time(now)?;
        let issued_at = claims.time("iat")?.ok_or(ClaimError { name: "iat", what: "there" })?;
        if now.plus(LEEWAY) < issued_at {
            return Err(TimeError::NotYetValid.into());
        }
        if issued_at.plus(LEEWAY) < self.began_at {
            return Err(TimeError::Expired.into());
        }
        if !bool::from(claims.required("nonce")?.as_bytes().ct_eq(self.nonce.text().as_bytes())) {
            return Err(IdTokenRefused::Nonce);
        }
        match (claims.text("at_hash")?, access_token) {
            (Some(hash), Some(token)) if hash != at_hash(token) => Err(IdTokenRefused::AccessToken),
            _ => Ok(()),
        }
    }
}

/// The left half of the token's SHA-256, which is the hash of every algorithm we take (OpenID Connect Core, 3.1.3.6).
fn at_hash(access_token: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(access_token).into();
    let (left, _) = hash.split_at(16);
    URL_SAFE_NO_PAD.encode(left)
}

impl Mapping {
    fn user(&self, claims: &Claims, issuer: String) -> Result<ForeignUser, IdTokenRefused> {
        let subject = claims.required("sub")?;
        if subject.len() > SUBJECT_LEN_MAX || !subject.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(ClaimError { name: "sub", what: "a text of at most 255 ASCII characters" }.into());
        }
        let text = |name: &String| claims.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = self.names.iter().find_map(text).unwrap_or(subject);
        let email = claims.text("email")?;
        let is_verified = match claims.0.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(value) => value == "true",
            None => false,
        };
        if email.is_some() && self.email_must_be_verified && !is_verified {
            return Err(IdTokenRefused::EmailUnverified);
        }
        let roles = self.roles(claims);
        if roles.is_empty() {
            return Err(IdTokenRefused::NoRole(shown(name)));
        }
        let (subject, email) = (subject.to_owned(), email.map(shown));
        Ok(ForeignUser { issuer, subject, name: shown(name), email, roles })
    }

    fn roles(&self, claims: &Claims) -> Vec<String> {
        let mut roles: Vec<String> = Vec::new();
        for rule in &self.roles {
            let has = match claims.0.get(&rule.claim) {
                Some(Value::Array(values)) => values.iter().take(VALUES_MAX).any(|value| *value == *rule.value),
                Some(value) => *value == *rule.value,
                None => false,
            };
            if has && !roles.contains(&rule.role) {
                roles.push(rule.role.clone());
            }
        }
        roles
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::provider::tests::ISSUER;
    use super::super::tests::{awaiting, client, nonce};
    use super::*;
    use crate::token::tests::{NOW, Signer};

    const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";

    fn mapping() -> Mapping {
        let rule =
            |value: &str, role: &str| RoleRule { claim: "groups".into(), value: value.into(), role: role.into() };
        Mapping {
            names: vec!["preferred_username".into(), "name".into()],
            email_must_be_verified: true,
            roles: vec![rule("works-admins", "administrator"), rule("works", "operator"), rule("all", "operator")],
        }
    }

    fn claims() -> Value {
        let now = NOW.as_secs();
        json!({
            "iss": ISSUER, "aud": client().client_id, "sub": "248289761001", "nonce": nonce(), "iat": now,
            "exp": now + 300, "at_hash": at_hash(ACCESS_TOKEN), "preferred_username": "jane", "name": "Jane Doe",
            "email": "jane@contoso.com", "email_verified": true, "groups": ["works", "all", "others"],
        })
    }

    fn finish(claims: &Value) -> Result<ForeignUser, IdTokenRefused> {
        let signer = Signer::ec("1");
        let answer = json!({ "token_type": "Bearer", "access_token": ACCESS_TOKEN, "id_token": signer.sign(claims) });
        awaiting().finish(answer.to_string().as_bytes(), &signer.keys(), &mapping(), NOW)
    }

    fn change(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    #[track_caller]
    fn refused(name: &str, value: Value, expected: &str) {
        assert_eq!(finish(&change(name, value)).unwrap_err().to_string(), expected, "{name}");
    }

    #[test]
    fn a_good_token_is_somebody() {
        let expected = ForeignUser {
            issuer: ISSUER.into(),
            subject: "248289761001".into(),
            name: "jane".into(),
            email: Some("jane@contoso.com".into()),
            roles: vec!["operator".into()],
        };
        assert_eq!(finish(&claims()).unwrap(), expected);
        assert_eq!(finish(&change("preferred_username", json!(""))).unwrap().name, "Jane Doe");
        for good in [
            change("azp", json!(client().client_id)),
            change("at_hash", json!(null)),
            change("aud", json!([client().client_id])),
            change("groups", json!("works-admins")),
        ] {
            assert!(finish(&good).is_ok(), "{good}");
        }
    }

    /// OpenID Connect Core, appendix A.3.
    #[test]
    fn the_hash_of_an_access_token_is_the_published_one() {
        assert_eq!(at_hash(ACCESS_TOKEN), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn wrong_claims_are_refused_by_name() {
        let now = NOW.as_secs();
        refused("iss", json!("https://evil.example"), "id token is of issuer `https://evil.example`");
        refused("aud", json!("others"), "id token is for `others`");
        refused("aud", json!([client().client_id, "others"]), "id token is for `gantry at work others`");
        refused("azp", json!("others"), "id token is for `others`");
        refused("nonce", json!("others"), "id token's nonce is not ours");
        refused("nonce", json!(null), "id token: claim `nonce` is not there");
        refused("at_hash", json!("others"), "id token is not of the access token beside it");
        refused("exp", json!(now - 60), "id token: token has expired");
        refused("iat", json!(now + 61), "id token: token is not valid yet");
        refused("iat", json!(now - 61), "id token: token has expired");
        refused("iat", json!("now"), "id token: claim `iat` is not a time in seconds");
        refused("sub", json!("é"), "id token: claim `sub` is not a text of at most 255 ASCII characters");
        refused("sub", json!("s".repeat(256)), "id token: claim `sub` is not a text of at most 255 ASCII characters");
        refused("email_verified", json!(false), "address of the user is not verified by the provider");
        refused("groups", json!(["work", 7]), "no rule gives user `jane` a role");
        assert!(finish(&change("sub", json!("s".repeat(255)))).is_ok());
        let both = {
            let mut claims = change("aud", json!([client().client_id, "others"]));
            claims["azp"] = json!(client().client_id);
            claims
        };
        assert!(finish(&both).is_ok());
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let signer = Signer::ec("1");
        let of = |answer: &str| awaiting().finish(answer.as_bytes(), &signer.keys(), &mapping(), NOW).unwrap_err();
        assert_eq!(of("[]"), IdTokenRefused::Malformed);
        assert_eq!(of(&" ".repeat(TOKEN_ANSWER_BYTES_MAX + 1)), IdTokenRefused::Malformed);
        assert_eq!(of("{\"error\":\"invalid_grant\"}"), IdTokenRefused::Provider("invalid_grant".into()));
        assert_eq!(of("{\"access_token\":\"x\"}"), IdTokenRefused::Missing);
        let forged = json!({ "id_token": Signer::rsa("2").sign(&claims()) });
        assert_eq!(of(&forged.to_string()), JwtError::KeyUnknown("2".into()).into());
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_refused(bytes: Vec<u8>, token in "\\PC{0,60}", name in "[a-z_]{1,12}", n: f64) {
            let keys = Signer::ec("1").keys();
            for answer in [bytes, json!({ "id_token": token }).to_string().into_bytes()] {
                proptest::prop_assert!(awaiting().finish(&answer, &keys, &mapping(), NOW).is_err());
            }
            let _ = finish(&change(&name, json!([n, token])));
        }
    }
}
