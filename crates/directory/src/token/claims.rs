//! Reading claims, with the name of what is wrong.

use std::time::Duration;

use gantry_identity::Timestamp;
use serde_json::{Map, Value};

use crate::ids::Guid;

/// How far clocks may be apart.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);
/// Longest text of a claim, bytes.
const TEXT_LEN_MAX: usize = 1024;

/// A claim is missing or not what it must be.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("claim `{name}` is not {what}")]
pub struct ClaimError {
    /// Which.
    pub name: &'static str,
    /// What it must be.
    pub what: &'static str,
}

/// When a token is not good.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum TimeError {
    /// Over.
    #[error("token has expired")]
    Expired,
    /// Not begun.
    #[error("token is not valid yet")]
    NotYetValid,
    /// A time is missing or none.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

#[derive(Debug)]
pub(crate) struct Claims(pub(crate) Map<String, Value>);

impl Claims {
    /// A text that may be missing.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&str>, ClaimError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= TEXT_LEN_MAX => Ok(Some(text)),
            Some(_) => Err(ClaimError { name, what: "a text of at most 1024 bytes" }),
        }
    }

    /// A text that must be there.
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, ClaimError> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or(ClaimError { name, what: "there" })
    }

    /// A GUID that must be there.
    pub(crate) fn guid(&self, name: &'static str) -> Result<Guid, ClaimError> {
        Guid::parse(self.required(name)?).map_err(|_| ClaimError { name, what: "a GUID" })
    }

    /// A list of texts that may be missing; one text is a list of one.
    pub(crate) fn list(&self, name: &'static str, count_max: usize) -> Result<Vec<&str>, ClaimError> {
        let wrong = ClaimError { name, what: "a list of texts within its bounds" };
        let one = |value: &'_ Value| value.as_str().is_some_and(|text| text.len() <= TEXT_LEN_MAX);
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(all)) if all.len() <= count_max && all.iter().all(one) => {
                Ok(all.iter().filter_map(Value::as_str).collect())
            }
            Some(text) if one(text) => Ok(text.as_str().into_iter().collect()),
            Some(_) => Err(wrong),
        }
    }

    /// A time that may be missing.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, ClaimError> {
        let wrong = ClaimError { name, what: "a time in seconds" };
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => {
                let secs = value.as_f64().filter(|secs| secs.is_finite()).ok_or(wrong)?;
                // `as` saturates, which is right for a time beyond all others.
                Ok(Some(Timestamp::from_millis((secs * 1000.0) as i64)))
            }
        }
    }

    /// Checks `exp`, which must be there, and `nbf`.
    pub(crate) fn check_time(&self, now: Timestamp) -> Result<Timestamp, TimeError> {
        let expires_at = self.time("exp")?.ok_or(ClaimError { name: "exp", what: "there" })?;
        if now >= expires_at.plus(LEEWAY) {
            return Err(TimeError::Expired);
        }
        if self.time("nbf")?.is_some_and(|from| now.plus(LEEWAY) < from) {
            return Err(TimeError::NotYetValid);
        }
        Ok(expires_at)
    }
}
