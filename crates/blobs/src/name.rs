//! Names of containers and blobs (Azure "Naming and referencing containers, blobs, and metadata").

use std::fmt;

/// Longest blob name in characters.
const BLOB_NAME_LEN_MAX: usize = 1024;
/// Path segments a blob name may have.
const BLOB_SEGMENTS_MAX: usize = 254;
/// First words of the platform's own paths: blobs can be addressed without the account's name
/// (`https://host/container/blob`), and nobody should wonder which of two services answers.
const RESERVED: [&str; 17] = [
    "api",
    "assets",
    "configurations",
    "devices",
    "digitaltwins",
    "enrollmentgroups",
    "enrollments",
    "healthz",
    "jobs",
    "messages",
    "metrics",
    "platform",
    "readyz",
    "registrations",
    "statistics",
    "sts",
    "twins",
];

/// Why a name cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not 3 to 63 characters.
    #[error("a container name has 3 to 63 characters")]
    ContainerLength,
    /// Other characters than lower-case letters, digits and single dashes between them.
    #[error("a container name has lower-case letters, digits and single dashes between them")]
    ContainerCharacters,
    /// A word of the platform's own paths.
    #[error("the container name is reserved for the platform's own paths")]
    Reserved,
    /// Not 1 to 1024 characters.
    #[error("a blob name has 1 to {BLOB_NAME_LEN_MAX} characters")]
    BlobLength,
    /// Too many path segments.
    #[error("a blob name has at most {BLOB_SEGMENTS_MAX} path segments")]
    BlobSegments,
    /// A control character.
    #[error("a blob name has no control characters")]
    BlobCharacters,
}

/// The name of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(String);

impl ContainerName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !(3..=63).contains(&text.len()) {
            return Err(NameError::ContainerLength);
        }
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !plain || text.starts_with('-') || text.ends_with('-') || text.contains("--") {
            return Err(NameError::ContainerCharacters);
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a blob, decoded. Case counts, and `/` is a character like any other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName(String);

impl BlobName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.chars().count() > BLOB_NAME_LEN_MAX {
            return Err(NameError::BlobLength);
        }
        if text.split('/').count() > BLOB_SEGMENTS_MAX {
            return Err(NameError::BlobSegments);
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
            return Err(NameError::BlobCharacters);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_are_3_to_63_of_few_characters() {
        let of = |text: &str| ContainerName::parse(text).map(drop);
        assert_eq!(of("ab"), Err(NameError::ContainerLength));
        assert_eq!(of("abc"), Ok(()));
        assert_eq!(of(&"a".repeat(63)), Ok(()));
        assert_eq!(of(&"a".repeat(64)), Err(NameError::ContainerLength));
        for bad in ["Abc", "a_b", "-abc", "abc-", "a--b", "a.b", "äbc", "a/b", "..."] {
            assert_eq!(of(bad), Err(NameError::ContainerCharacters), "{bad}");
        }
        assert_eq!(of("devices"), Err(NameError::Reserved));
    }

    #[test]
    fn blob_names_are_1_to_1024_characters_in_254_segments() {
        let of = |text: &str| BlobName::parse(text).map(drop);
        assert_eq!(of(""), Err(NameError::BlobLength));
        assert_eq!(of(&"ä".repeat(1024)), Ok(()));
        assert_eq!(of(&"a".repeat(1025)), Err(NameError::BlobLength));
        assert_eq!(of(&vec!["a"; 254].join("/")), Ok(()));
        assert_eq!(of(&vec!["a"; 255].join("/")), Err(NameError::BlobSegments));
        assert_eq!(of("a\nb"), Err(NameError::BlobCharacters));
        // Names that would climb out of a folder are names like any other: none reaches a file system.
        assert_eq!(of("../../etc/passwd"), Ok(()));
    }
}
