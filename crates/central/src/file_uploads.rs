//! Where devices upload files to: one object, or none.
//!
//! The connection string is a secret; a write with its key hidden keeps the one that is there while all else of it is
//! the same, as the published example of an update has it. Source: file uploads of `iotcentral-2022-10-31-preview`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::question::duration;
use crate::secrets::{ConnectionString, SecretError};

/// How long an address to upload to is good when nothing is said: an hour.
pub const SAS_TTL_DEFAULT: Duration = Duration::from_secs(3_600);
/// The shortest and the longest it may be good (file uploads of IoT Hub).
pub const SAS_TTL_RANGE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3_600));
/// Characters of the name of an account or a container (names of Azure Storage).
const NAME_LEN_MAX: usize = 63;

/// Where devices upload files to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileUploads {
    /// The account, as written.
    pub account: Option<String>,
    /// How it is reached.
    pub connection_string: ConnectionString,
    /// The container.
    pub container: String,
    /// How long an address is good; [`SAS_TTL_DEFAULT`] without.
    pub sas_ttl: Option<SasTtl>,
    /// Whether people read uploaded files in the application.
    pub read_access: bool,
}

/// How long an address is good, as it was written: a duration of ISO 8601.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SasTtl {
    text: String,
    length: Duration,
}

impl SasTtl {
    /// Reads `sasTtl`.
    ///
    /// # Errors
    /// [`FileUploadsError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, FileUploadsError> {
        let (min, max) = SAS_TTL_RANGE;
        let length = duration::parse(text).and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let length = length.filter(|length| (min..=max).contains(length)).ok_or(FileUploadsError::Invalid {
            field: "sasTtl",
            what: "a duration of ISO 8601 of one minute to one day",
        })?;
        Ok(Self { text: text.to_owned(), length })
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How long.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }
}

impl TryFrom<String> for SasTtl {
    type Error = FileUploadsError;
    fn try_from(text: String) -> Result<Self, FileUploadsError> {
        Self::parse(&text)
    }
}

impl From<SasTtl> for String {
    fn from(ttl: SasTtl) -> Self {
        ttl.text
    }
}

/// How the configuration fares, in the published words; whoever applies it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It waits.
    Pending,
    /// It is applied.
    Updating,
    /// It is taken away.
    Deleting,
    /// It is in force.
    Succeeded,
    /// It could not be applied.
    Failed,
}

impl State {
    /// Its published word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Updating => "updating",
            Self::Deleting => "deleting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// Why the configuration was not written or deleted.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum FileUploadsError {
    /// There is none.
    #[error("there is no file upload configuration")]
    Unknown,
    /// A secret is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nobody can upload there.
    #[error("{0}")]
    Unusable(String),
    /// A member is not what it must be.
    #[error("`{field}` is not {what}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
}

impl FileUploads {
    /// How long an address is good.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.sas_ttl.as_ref().map_or(SAS_TTL_DEFAULT, SasTtl::length)
    }

    /// Checks what is written, and finds a key that is hidden.
    pub(crate) fn with_secrets(mut self, kept: Option<&Self>) -> Result<Self, FileUploadsError> {
        self.connection_string.check(&["AccountName"])?;
        if self.account.as_deref().is_some_and(|account| !is_name(account)) {
            return Err(FileUploadsError::Invalid { field: "account", what: "the name of a storage account" });
        }
        if !is_name(&self.container) {
            return Err(FileUploadsError::Invalid { field: "container", what: "the name of a container" });
        }
        self.connection_string = self.connection_string.or_kept(kept.map(|kept| &kept.connection_string))?;
        Ok(self)
    }
}

/// Whether a text may name an account or a container. The published account, `contoso-account`, has a hyphen.
fn is_name(text: &str) -> bool {
    let is_in = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=NAME_LEN_MAX).contains(&text.len())
        && text.bytes().all(is_in)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str =
        "DefaultEndpointsProtocol=https;AccountName=MyAccountName;AccountKey=k==;EndpointSuffix=core.windows.net";

    fn uploads() -> FileUploads {
        FileUploads {
            account: Some("contoso-account".to_owned()),
            connection_string: ConnectionString::parse(EXAMPLE).unwrap(),
            container: "container".to_owned(),
            sas_ttl: None,
            read_access: true,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut FileUploads), part: &str) {
        let mut new = uploads();
        change(&mut new);
        let told = new.with_secrets(None).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(part) && told.is_empty() == part.is_empty(), "{told}");
    }

    #[test]
    fn members_are_checked() {
        check(|_| {}, "");
        check(|new| new.account = None, "");
        check(|new| new.account = Some("A".to_owned()), "`account`");
        check(|new| new.container = "x".repeat(NAME_LEN_MAX), "");
        for wrong in ["", "ab", "-abc", "abc-", "a--b", "Abc", "a/b", &"x".repeat(NAME_LEN_MAX + 1)] {
            check(|new| new.container = wrong.to_owned(), "`container`");
        }
        let connection = |text: &str| ConnectionString::parse(text).unwrap();
        check(|new| new.connection_string = connection("AccountKey=k"), "no `AccountName`");
        check(|new| new.connection_string = connection("AccountName=k"), "no `AccountKey`");
    }

    #[test]
    fn a_key_that_was_hidden_is_kept() {
        let masked = FileUploads {
            connection_string: ConnectionString::parse(&uploads().connection_string.masked()).unwrap(),
            ..uploads()
        };
        assert_eq!(masked.clone().with_secrets(Some(&uploads())), Ok(uploads()));
        assert!(matches!(masked.with_secrets(None), Err(FileUploadsError::Secret(SecretError::Nothing(_)))));
    }

    #[test]
    fn an_address_is_good_for_a_minute_to_a_day() {
        assert_eq!(uploads().lasts(), SAS_TTL_DEFAULT);
        for (text, seconds) in [("PT1H", Some(3_600)), ("PT1M", Some(60)), ("P1D", Some(86_400)), ("PT59S", None)] {
            assert_eq!(SasTtl::parse(text).ok().map(|ttl| ttl.length().as_secs()), seconds, "{text}");
        }
        for wrong in ["", "1H", "P1DT1S", "P1M", "-PT1H"] {
            assert!(SasTtl::parse(wrong).is_err(), "{wrong}");
        }
        let with = FileUploads { sas_ttl: SasTtl::parse("PT2H").ok(), ..uploads() };
        let text = serde_json::to_string(&with).unwrap();
        assert!(text.contains(r#""sasTtl":"PT2H""#), "{text}");
        assert_eq!(serde_json::from_str::<FileUploads>(&text).unwrap(), with);
        assert_eq!(with.lasts(), Duration::from_secs(7_200));
    }
}
