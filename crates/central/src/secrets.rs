//! Secrets that others are to be reached with: kept as they are, never printed, never said again.
//!
//! Who reads an object that has one sees [`HIDDEN`] in its place, as the reference does. Who writes back what they
//! read, or leaves the secret out, keeps the one that is there, but only while nothing else changed that says where the
//! secret goes: otherwise whoever may write an object could have its secret sent to themselves. [`Secret::hidden`]
//! stands for such a secret until it is found; it is never stored.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What is said in place of a secret.
pub const HIDDEN: &str = "*****";
/// Characters of a secret; ours.
pub const SECRET_CHARS_MAX: usize = 4_096;
/// Characters of a connection string; ours.
pub const CONNECTION_STRING_CHARS_MAX: usize = 4_096;
/// Fields of connection strings that are secrets.
const SECRET_FIELDS: [&str; 3] = ["AccountKey", "SharedAccessKey", "SharedAccessSignature"];

/// Why a secret is none.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing, too much, or what no header can have.
    #[error("`{0}` is not a text of 1 to {SECRET_CHARS_MAX} characters without control characters")]
    Text(&'static str),
    /// It is left out, and there is none to keep for the same place.
    #[error("`{0}` is hidden or left out, and there is none to keep for what is written")]
    Nothing(&'static str),
    /// A connection string is none.
    #[error("`connectionString` is not `name=value` pairs with semicolons between")]
    Pairs,
    /// A connection string says something twice.
    #[error("`connectionString` has `{0}` twice")]
    Twice(String),
    /// A connection string says too little.
    #[error("`connectionString` has no `{0}`")]
    Missing(&'static str),
}

/// A secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(Option<Arc<str>>);

impl Secret {
    /// Reads the member of this name; [`HIDDEN`] is [`Self::hidden`].
    ///
    /// # Errors
    /// [`SecretError::Text`].
    pub fn parse(field: &'static str, text: &str) -> Result<Self, SecretError> {
        if is_hidden(text) {
            return Ok(Self::hidden());
        }
        let has_length = (1..=SECRET_CHARS_MAX).contains(&text.chars().count());
        let is_good = has_length && !text.chars().any(char::is_control);
        if is_good { Ok(Self(Some(text.into()))) } else { Err(SecretError::Text(field)) }
    }

    /// One that is left out, to keep the one that is there.
    #[must_use]
    pub fn hidden() -> Self {
        Self(None)
    }

    /// The secret, for who sends it. Nothing when it is hidden, which no stored one is.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The secret, or the one that is there for the same place.
    pub(crate) fn or_kept(self, field: &'static str, kept: Option<&Self>) -> Result<Self, SecretError> {
        let text = self.0.or_else(|| kept.and_then(|kept| kept.0.clone()));
        text.map(|text| Self(Some(text))).ok_or(SecretError::Nothing(field))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl TryFrom<String> for Secret {
    type Error = SecretError;
    fn try_from(text: String) -> Result<Self, SecretError> {
        Self::parse("secret", &text)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.reveal().to_owned()
    }
}

/// Whether a text is stars only, as many as a client may have seen.
fn is_hidden(text: &str) -> bool {
    text.len() >= HIDDEN.len() && text.bytes().all(|b| b == b'*')
}

/// How to reach a service: `name=value` pairs with semicolons between, keys among them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionString(Arc<str>);

impl ConnectionString {
    /// Reads a connection string; a key in it may be [`HIDDEN`].
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if text.chars().count() > CONNECTION_STRING_CHARS_MAX || text.chars().any(char::is_control) {
            return Err(SecretError::Pairs);
        }
        let all: Vec<(&str, &str)> = pairs(text).collect::<Option<_>>().ok_or(SecretError::Pairs)?;
        if all.is_empty() {
            return Err(SecretError::Pairs);
        }
        for (at, (name, _)) in all.iter().enumerate() {
            if all.iter().take(at).any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(SecretError::Twice((*name).to_owned()));
            }
        }
        Ok(Self(text.into()))
    }

    /// A value, whatever the case of its name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The text, for who connects with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The text as it is said: keys hidden.
    #[must_use]
    pub fn masked(&self) -> String {
        let hide = |(name, value)| if is_secret(name) { format!("{name}={HIDDEN}") } else { format!("{name}={value}") };
        self.pairs().map(hide).collect::<Vec<_>>().join(";")
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(&self.0).flatten()
    }

    /// Checks that it says all of these, and something secret.
    pub(crate) fn check(&self, needed: &[&'static str]) -> Result<(), SecretError> {
        let is_there = |name: &str| self.value(name).is_some_and(|value| !value.is_empty());
        if let Some(missing) = needed.iter().find(|name| !is_there(name)) {
            return Err(SecretError::Missing(missing));
        }
        if SECRET_FIELDS.iter().any(|name| is_there(name)) {
            Ok(())
        } else {
            Err(SecretError::Missing(needed_key(needed)))
        }
    }

    /// The string, or the one that is there when keys are hidden and all else is the same.
    pub(crate) fn or_kept(self, kept: Option<&Self>) -> Result<Self, SecretError> {
        if !self.pairs().any(|(name, value)| is_secret(name) && is_hidden(value)) {
            return Ok(self);
        }
        let kept = kept.filter(|kept| kept.masked() == self.all_masked());
        kept.cloned().ok_or(SecretError::Nothing("connectionString"))
    }

    /// The masked text when every key is hidden; nothing that any masked text is otherwise.
    fn all_masked(&self) -> String {
        let are_hidden = self.pairs().all(|(name, value)| !is_secret(name) || is_hidden(value));
        if are_hidden { self.masked() } else { String::new() }
    }
}

fn needed_key(needed: &[&'static str]) -> &'static str {
    if needed.contains(&"AccountName") { "AccountKey" } else { "SharedAccessKey" }
}

fn is_secret(name: &str) -> bool {
    SECRET_FIELDS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Pairs of a text, none for what is not one.
fn pairs(text: &str) -> impl Iterator<Item = Option<(&str, &str)>> {
    let all = text.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    all.map(|pair| pair.split_once('=').filter(|(name, _)| !name.is_empty()))
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.masked())
    }
}

impl TryFrom<String> for ConnectionString {
    type Error = SecretError;
    fn try_from(text: String) -> Result<Self, SecretError> {
        Self::parse(&text)
    }
}

impl From<ConnectionString> for String {
    fn from(text: ConnectionString) -> Self {
        text.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOBS: &str = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=k3y==;EndpointSuffix=core.windows.net";

    fn connection(text: &str) -> ConnectionString {
        ConnectionString::parse(text).unwrap()
    }

    #[test]
    fn nothing_secret_is_printed() {
        let secret = Secret::parse("clientSecret", "hush").unwrap();
        assert_eq!((format!("{secret:?}").as_str(), secret.reveal()), (HIDDEN, "hush"));
        let text = format!("{:?}", connection(BLOBS));
        assert!(text.contains("AccountName=a") && !text.contains("k3y"), "{text}");
        let wrong = ConnectionString::parse("k3y").unwrap_err().to_string();
        assert!(!wrong.contains("k3y"), "{wrong}");
        assert_eq!(connection("Endpoint=e;sharedaccesskey=k").masked(), "Endpoint=e;sharedaccesskey=*****");
    }

    #[test]
    fn a_secret_has_a_length_and_fits_into_a_header() {
        let of = |count: usize| Secret::parse("value", &"x".repeat(count));
        assert_eq!(of(0), Err(SecretError::Text("value")));
        assert!(of(SECRET_CHARS_MAX).is_ok());
        assert_eq!(of(SECRET_CHARS_MAX + 1), Err(SecretError::Text("value")));
        assert_eq!(Secret::parse("value", "a\r\nb: c"), Err(SecretError::Text("value")));
    }

    #[test]
    fn a_hidden_secret_is_the_one_that_is_there() {
        let kept = Secret::parse("value", "old").unwrap();
        for hidden in
            [Secret::hidden(), Secret::parse("value", HIDDEN).unwrap(), Secret::parse("value", "********").unwrap()]
        {
            assert_eq!(hidden.clone().or_kept("value", Some(&kept)).unwrap(), kept);
            assert_eq!(hidden.or_kept("value", None), Err(SecretError::Nothing("value")));
        }
        let new = Secret::parse("value", "new").unwrap();
        assert_eq!(new.clone().or_kept("value", Some(&kept)).unwrap(), new);
    }

    #[test]
    fn connection_strings_are_pairs() {
        assert_eq!(connection(BLOBS).value("accountname"), Some("a"));
        assert_eq!(connection(BLOBS).value("AccountKey"), Some("k3y=="));
        assert_eq!(connection("A=;").value("A"), Some(""));
        for wrong in ["", ";", "a", "=b", "a=b;c", "a=b\n"] {
            assert_eq!(ConnectionString::parse(wrong), Err(SecretError::Pairs), "{wrong:?}");
        }
        assert_eq!(ConnectionString::parse("a=1;A=2"), Err(SecretError::Twice("A".to_owned())));
        let long = |count: usize| ConnectionString::parse(&format!("a={}", "x".repeat(count - 2)));
        assert!(long(CONNECTION_STRING_CHARS_MAX).is_ok() && long(CONNECTION_STRING_CHARS_MAX + 1).is_err());
        let check = |text: &str| connection(text).check(&["AccountName"]);
        assert_eq!(check(BLOBS), Ok(()));
        assert_eq!(check("AccountKey=k"), Err(SecretError::Missing("AccountName")));
        assert_eq!(check("AccountName=a"), Err(SecretError::Missing("AccountKey")));
        assert_eq!(check("AccountName=a;SharedAccessSignature=s"), Ok(()));
    }

    #[test]
    fn a_connection_string_that_was_read_keeps_its_keys_for_the_same_place_only() {
        let kept = connection(BLOBS);
        let or_kept = |text: &str| connection(text).or_kept(Some(&kept));
        assert_eq!(or_kept(&kept.masked()), Ok(kept.clone()));
        assert_eq!(or_kept(&kept.masked().replace("*****", "********")), Ok(kept.clone()));
        let nothing = Err(SecretError::Nothing("connectionString"));
        assert_eq!(or_kept(&kept.masked().replace("core.windows.net", "evil.example")), nothing);
        assert_eq!(or_kept(&format!("{};SharedAccessSignature=s", kept.masked())), nothing);
        assert_eq!(connection(&kept.masked()).or_kept(None), nothing);
        let new = BLOBS.replace("k3y", "n3w");
        assert_eq!(or_kept(&new), Ok(connection(&new)));
    }

    #[test]
    fn what_is_stored_has_the_secret_and_is_never_hidden() {
        let secret = Secret::parse("value", "hush").unwrap();
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"hush\"");
        assert_eq!(serde_json::from_str::<Secret>("\"hush\"").unwrap(), secret);
        assert!(serde_json::from_str::<Secret>("\"\"").is_err());
        let text = serde_json::to_string(&connection(BLOBS)).unwrap();
        assert_eq!(serde_json::from_str::<ConnectionString>(&text).unwrap(), connection(BLOBS));
    }
}
