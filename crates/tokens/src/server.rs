//! One request from its text to its token.

use std::sync::Arc;
use std::time::Duration;

use gantry_identity::{Key, Signer, Timestamp};

use crate::denied::Denied;
use crate::limit::Limits;
use crate::ports::{Audit, Event, Outcome, Signing};
use crate::proof::{By, Presented, Proofs};
use crate::subject::Subject;

/// Policy name in tokens for the provisioning service (DPS device reference).
const REGISTRATION: &str = "registration";
/// Characters of an unreadable resource that are kept for the audit log.
const RESOURCE_SHOWN_MAX: usize = 300;

/// How long tokens are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When nothing is asked for.
    pub default: Duration,
    /// Shortest that may be asked for.
    pub min: Duration,
    /// Longest that may be asked for.
    pub max: Duration,
}

/// The key of an enrollment group, to derive keys of registrations from.
#[derive(Clone, Debug)]
pub struct GroupKey {
    /// Id scope of the provisioning service.
    pub scope: String,
    /// The group's key.
    pub key: Key,
}

/// What a token server is made of.
pub struct TokenServerConfig {
    /// Names of the hub, as they may stand in `sr`.
    pub host_names: Vec<String>,
    /// How long tokens are good.
    pub life: Life,
    /// Key of an enrollment group, when registrations are served.
    pub group: Option<GroupKey>,
    /// Which proofs are taken.
    pub proofs: Proofs,
    /// How many tokens may be asked for.
    pub limits: Limits,
    /// The key to sign with.
    pub signing: Arc<dyn Signing>,
    /// Takes every answer.
    pub audit: Arc<dyn Audit>,
}

/// A request for a token.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Value of `sr` as it stands in the query.
    pub resource: &'a str,
    /// Life asked for, seconds.
    pub ttl_secs: Option<&'a str>,
    /// Expiry asked for, seconds since the epoch.
    pub expiry_secs: Option<&'a str>,
    /// Address of the peer with its port.
    pub peer: &'a str,
    /// Credentials.
    pub presented: Presented<'a>,
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The shared access signature.
    pub text: String,
    /// When it expires.
    pub expires_at: Timestamp,
    /// How the device proved itself.
    pub by: By,
}

/// Hands out tokens.
pub struct TokenServer(TokenServerConfig);

impl TokenServer {
    /// A server.
    pub fn new(config: TokenServerConfig) -> Self {
        Self(config)
    }

    /// Makes a token, or says why not; either way it is audited.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn issue(&self, now: Timestamp, request: Request<'_>) -> Result<Token, Denied> {
        let mut shown = request.resource.chars().take(RESOURCE_SHOWN_MAX).collect();
        let result = self.decide(now, request, &mut shown).await;
        let outcome = match &result {
            Ok((token, key_name)) => Outcome::Issued { by: &token.by, expires_at: token.expires_at, key_name },
            Err(denied) => Outcome::Refused(denied),
        };
        self.0.audit.note(&Event { at: now, peer: request.peer, resource: &shown, outcome });
        result.map(|(token, _)| token)
    }

    async fn decide(
        &self,
        now: Timestamp,
        request: Request<'_>,
        shown: &mut String,
    ) -> Result<(Token, String), Denied> {
        self.0.limits.admit_address(request.peer, now)?;
        let subject = Subject::parse(request.resource)?;
        *shown = subject.to_string();
        let expires_at = self.expiry(now, request)?;
        self.check_place(&subject)?;
        let by = self.0.proofs.check(request.presented, &subject, request.peer, now).await?;
        self.0.limits.admit_subject(shown, now)?;
        let signer = self.signer(&subject)?;
        let name = signer.policy.clone().unwrap_or_default();
        Ok((Token { text: signer.token(expires_at), expires_at, by }, name))
    }

    /// The expiry asked for, or the default: whole seconds, because tokens hold no parts of them.
    fn expiry(&self, now: Timestamp, request: Request<'_>) -> Result<Timestamp, Denied> {
        let number = |name: &str, text: &str| {
            let parsed: Result<u32, _> = text.parse();
            parsed.map_err(|_| Denied::Life(format!("`{name}` must be a whole number of seconds")))
        };
        let Life { default, min, max } = self.0.life;
        let now_secs = now.as_secs();
        let life_secs = match (request.ttl_secs, request.expiry_secs) {
            (None, None) => i64::try_from(default.as_secs()).unwrap_or(i64::MAX),
            (Some(ttl), None) => i64::from(number("ttl", ttl)?),
            (None, Some(expiry)) => i64::from(number("se", expiry)?) - now_secs,
            (Some(_), Some(_)) => return Err(Denied::Life("only one of `ttl` and `se` may be given".into())),
        };
        let life = Duration::from_secs(u64::try_from(life_secs).unwrap_or(0));
        if !(min..=max).contains(&life) {
            let (min, max) = (min.as_secs(), max.as_secs());
            return Err(Denied::Life(format!("the token's life must be {min} to {max} seconds")));
        }
        Ok(Timestamp::from_millis(now_secs.saturating_add(life_secs).saturating_mul(1000)))
    }

    fn check_place(&self, subject: &Subject) -> Result<(), Denied> {
        let (place, is_ours) = match subject {
            Subject::Identity { host, .. } => {
                (host, self.0.host_names.iter().any(|name| name.eq_ignore_ascii_case(host)))
            }
            Subject::Registration { scope, .. } => {
                (scope, self.0.group.as_ref().is_some_and(|group| group.scope.eq_ignore_ascii_case(scope)))
            }
        };
        if is_ours { Ok(()) } else { Err(Denied::Place(place.clone())) }
    }

    fn signer(&self, subject: &Subject) -> Result<Signer, Denied> {
        let resource = subject.to_string();
        let (key, policy) = match (subject, &self.0.group) {
            (Subject::Registration { id, .. }, Some(group)) => (group.key.derive(id.as_str()), REGISTRATION.to_owned()),
            (Subject::Registration { scope, .. }, None) => return Err(Denied::Place(scope.clone())),
            (Subject::Identity { .. }, _) => {
                let current = self.0.signing.current();
                let current = current.ok_or_else(|| Denied::Unavailable("there is no key to sign with".into()))?;
                (current.key, current.policy)
            }
        };
        Ok(Signer { resource, key, policy: Some(policy) })
    }
}
