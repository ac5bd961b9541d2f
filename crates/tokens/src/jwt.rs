//! OAuth 2 client credentials: a device shows the JSON Web Token its authorization server gave it.
//!
//! Only algorithms with public keys are taken (`none` and the HMACs never), from an allow-list.
//! Issuer, audience and expiry must be there and right; a claim says which device it is.

use std::time::Duration;

use gantry_directory::PublicKey;
use gantry_identity::Timestamp;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::certificate::exact;
use crate::denied::{Denied, Unproven};
use crate::key_set::KeySet;
use crate::pattern::Pattern;

/// Longest token, bytes.
const JWT_LEN_MAX: usize = 8192;
/// How far clocks may be apart.
const LEEWAY: Duration = Duration::from_secs(60);

/// What a token must say.
#[derive(Debug)]
pub struct JwtRules {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    device_claim: String,
    keys: KeySet,
}

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum JwtRulesError {
    /// An algorithm is unknown, or signs with shared secrets.
    #[error("algorithm `{0}` is none of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA")]
    Algorithm(String),
    /// A value must be there.
    #[error("{0} must not be empty")]
    Empty(&'static str),
}

impl JwtRules {
    /// Rules from configuration: who issued, for whom, which algorithms, and the claim that is the device id (a name,
    /// or a JSON pointer such as `/device/id`). Its value is `device` or `device/module`.
    ///
    /// # Errors
    /// [`JwtRulesError`].
    pub fn new(
        issuer: &str,
        audience: &str,
        algorithms: &[String],
        device_claim: &str,
        keys: KeySet,
    ) -> Result<Self, JwtRulesError> {
        let what = [("issuer", issuer), ("audience", audience), ("device_claim", device_claim)];
        if let Some((name, _)) = what.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(JwtRulesError::Empty(name));
        }
        if algorithms.is_empty() {
            return Err(JwtRulesError::Empty("algorithms"));
        }
        let algorithm = |name: &String| {
            let parsed: Option<Algorithm> = name.parse().ok();
            let public = parsed.filter(|algorithm| algorithm.family() != AlgorithmFamily::Hmac);
            public.ok_or_else(|| JwtRulesError::Algorithm(name.clone()))
        };
        let algorithms = algorithms.iter().map(algorithm).collect::<Result<_, _>>()?;
        let (issuer, audience, device_claim) = (issuer.to_owned(), audience.to_owned(), device_claim.to_owned());
        Ok(Self { issuer, audience, algorithms, device_claim, keys })
    }

    /// The device a token is for: its id, and what that covers.
    pub(crate) async fn check(&self, token: &str, now: Timestamp) -> Result<(String, Vec<Pattern>), Denied> {
        let refuse = |reason: &str| Denied::Unproven(Unproven::Jwt(reason.to_owned()));
        if token.len() > JWT_LEN_MAX {
            return Err(refuse("longer than 8192 bytes"));
        }
        let header = decode_header(token).map_err(|_| refuse("malformed, or of an unknown algorithm"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(refuse(&format!("algorithm {:?} is not allowed", header.alg)));
        }
        let keys = self.keys.candidates(header.kid.as_deref(), now).await;
        let keys = keys.ok_or_else(|| Denied::Unavailable("the authorization server's keys cannot be had".into()))?;
        let fits = |key: &&PublicKey| {
            let same_id = header.kid.is_none() || key.id == header.kid;
            let same_algorithm = key.algorithm.as_deref().is_none_or(|name| name.parse() == Ok(header.alg));
            same_id && same_algorithm && key.key.family() == header.alg.family()
        };
        let mut last = "signed with a key that is not in the key set".to_owned();
        for key in keys.iter().filter(fits) {
            match decode::<Map<String, Value>>(token, &key.key, &self.validation(header.alg)) {
                Ok(data) => return self.device(&data.claims, now).map_err(|reason| refuse(&reason)),
                Err(error) => last = error.to_string(),
            }
        }
        Err(refuse(&last))
    }

    /// Times are checked against `now`, not by the library, which reads a clock.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }

    fn device(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(String, Vec<Pattern>), String> {
        let seconds = |name: &str| claims.get(name).map(|value| value.as_f64().ok_or(format!("`{name}` is no time")));
        let (now, leeway) = (now.as_millis() as f64 / 1000.0, LEEWAY.as_secs_f64());
        let expires_at = seconds("exp").transpose()?.ok_or("no `exp`")?;
        if now >= expires_at + leeway {
            return Err("expired".into());
        }
        if seconds("nbf").transpose()?.is_some_and(|from| now + leeway < from) {
            return Err("not valid yet".into());
        }
        let claim = match self.device_claim.split_once('/') {
            Some(("", _)) => Value::Object(claims.clone()).pointer(&self.device_claim).cloned(),
            _ => claims.get(&self.device_claim).cloned(),
        };
        let device =
            claim.as_ref().and_then(Value::as_str).ok_or_else(|| format!("no text `{}`", self.device_claim))?;
        Ok((device.chars().take(DEVICE_SHOWN_MAX).collect(), exact([device])))
    }
}

/// Characters of a claim that are shown in logs.
const DEVICE_SHOWN_MAX: usize = 257;
