//! Directory tokens: what an SDK sends as `Authorization: Bearer ...`, read into a [`Principal`].
//!
//! Order: shape and header, issuer, signature with a key of that issuer alone, tenant, audience, time, who it is. The
//! peer hears that it was refused; the log hears why.

mod audience;
pub(crate) mod claims;
pub(crate) mod jws;
pub(crate) mod keys;
mod principal;
#[cfg(test)]
pub(crate) mod tests;

use gantry_identity::Timestamp;

pub use audience::{Audiences, Head};
pub use claims::{ClaimError, TimeError};
pub use jws::{JwtError, TOKEN_LEN_MAX};
use jws::{Unverified, shown};
pub use keys::{KEY_SET_BYTES_MAX, KEYS_MAX, KeySetError, PublicKey, PublicKeys};
pub use principal::{GROUPS_MAX, Principal, PrincipalKind, ROLES_MAX};

use crate::ids::Guid;

/// Audiences in one token.
const AUDIENCES_MAX: usize = 16;

/// A directory whose tokens are taken.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// What it calls itself in `iss`, for each version of its tokens; compared as it is.
    pub names: Vec<String>,
    /// The one tenant it speaks for.
    pub tenant_id: Guid,
    /// Its keys, which prove nothing that another issuer says.
    pub keys: PublicKeys,
}

impl TrustedIssuer {
    /// A tenant of Microsoft Entra, with the names its tokens of version 1 and 2 have.
    pub fn entra(tenant_id: Guid, keys: PublicKeys) -> Self {
        let names = vec![
            format!("https://sts.windows.net/{tenant_id}/"),
            format!("https://login.microsoftonline.com/{tenant_id}/v2.0"),
        ];
        Self { names, tenant_id, keys }
    }
}

/// Why a token is refused. For the log.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum TokenRefused {
    /// It is not signed as it must be.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// Nobody we trust issued it.
    #[error("issuer `{0}` is not trusted")]
    Issuer(String),
    /// It is of another tenant than its issuer's.
    #[error("tenant `{0}` is not the issuer's")]
    Tenant(Guid),
    /// It is for somebody else.
    #[error("audience `{0}` is not ours")]
    Audience(String),
    /// It is over.
    #[error("token has expired")]
    Expired,
    /// It has not begun.
    #[error("token is not valid yet")]
    NotYetValid,
    /// A claim is missing or wrong.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl From<TimeError> for TokenRefused {
    fn from(error: TimeError) -> Self {
        match error {
            TimeError::Expired => Self::Expired,
            TimeError::NotYetValid => Self::NotYetValid,
            TimeError::Claim(claim) => Self::Claim(claim),
        }
    }
}

/// Reads a token (without the word `Bearer`) that one of `issuers` made for one of `audiences`.
///
/// # Errors
/// [`TokenRefused`] with its one reason. [`JwtError::KeyUnknown`] may mean that the issuer's set is to be fetched
/// again.
pub fn validate(
    token: &str,
    issuers: &[TrustedIssuer],
    audiences: &Audiences,
    now: Timestamp,
) -> Result<Principal, TokenRefused> {
    let token = Unverified::parse(token)?;
    let named = token.issuer().unwrap_or_default();
    let issuer = issuers.iter().find(|issuer| issuer.names.iter().any(|name| name == named));
    let issuer = issuer.ok_or_else(|| TokenRefused::Issuer(shown(named)))?;
    let claims = token.verify(&issuer.keys)?;
    let tenant_id = claims.guid("tid")?;
    if tenant_id != issuer.tenant_id {
        return Err(TokenRefused::Tenant(tenant_id));
    }
    let named = claims.list("aud", AUDIENCES_MAX)?;
    if !named.iter().any(|audience| audiences.contains(audience)) {
        return Err(TokenRefused::Audience(shown(&named.join(" "))));
    }
    let expires_at = claims.check_time(now)?;
    Ok(Principal::from_claims(&claims, tenant_id, expires_at)?)
}
