//! Conditional headers. Checkpoint stores claim partitions with them, so they are decided inside the
//! transaction that writes.

use gantry_identity::Timestamp;

use crate::blob::ETag;
use crate::error::BlobError;

/// Which states of a resource a caller means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any that exists.
    Any,
    /// These.
    These(Vec<ETag>),
}

impl Tags {
    /// Reads `*` or a list of ETags, quoted or not. Tags that are not ours match nothing.
    pub fn parse(text: &str) -> Self {
        if text.trim().trim_matches('"') == "*" {
            return Self::Any;
        }
        let read = |tag: &str| {
            let hex = tag.trim().trim_start_matches("W/").trim_matches('"').strip_prefix("0x8D")?;
            u64::from_str_radix(hex, 16).ok().map(ETag)
        };
        Self::These(text.split(',').filter_map(read).collect())
    }

    fn holds(&self, etag: ETag) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.contains(&etag),
        }
    }
}

/// What must be true of a resource for an operation to go ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<Tags>,
    /// `If-None-Match`.
    pub if_none_match: Option<Tags>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<Timestamp>,
    /// The caller may make blobs but not change them.
    pub only_new: bool,
}

/// State of a resource that exists.
#[derive(Clone, Copy, Debug)]
pub struct Current {
    /// Its ETag.
    pub etag: ETag,
    /// When it last changed.
    pub modified_at: Timestamp,
}

impl Conditions {
    /// Whether a write may go ahead.
    ///
    /// # Errors
    /// [`BlobError::BlobExists`] when only a new one was wanted, [`BlobError::ConditionNotMet`] otherwise.
    pub fn check_write(&self, current: Option<Current>) -> Result<(), BlobError> {
        let Some(current) = current else {
            return if self.if_match.is_some() { Err(BlobError::ConditionNotMet) } else { Ok(()) };
        };
        if self.only_new || self.if_none_match == Some(Tags::Any) {
            return Err(BlobError::BlobExists);
        }
        if self.unmet(current) || self.unchanged(current) {
            return Err(BlobError::ConditionNotMet);
        }
        Ok(())
    }

    /// Whether a change of something that must exist may go ahead.
    ///
    /// # Errors
    /// [`BlobError::ConditionNotMet`].
    pub fn check_change(&self, current: Current) -> Result<(), BlobError> {
        self.check_write(Some(current)).map_err(|_| BlobError::ConditionNotMet)
    }

    /// Whether a read may go ahead.
    ///
    /// # Errors
    /// [`BlobError::ConditionNotMet`] or [`BlobError::NotModified`].
    pub fn check_read(&self, current: Current) -> Result<(), BlobError> {
        if self.unmet(current) {
            return Err(BlobError::ConditionNotMet);
        }
        if self.unchanged(current) {
            return Err(BlobError::NotModified);
        }
        Ok(())
    }

    fn unmet(&self, current: Current) -> bool {
        let wrong_tag = self.if_match.as_ref().is_some_and(|tags| !tags.holds(current.etag));
        // HTTP dates have no fractions of a second.
        let changed = self.if_unmodified_since.is_some_and(|at| current.modified_at.as_secs() > at.as_secs());
        wrong_tag || changed
    }

    fn unchanged(&self, current: Current) -> bool {
        let same_tag = self.if_none_match.as_ref().is_some_and(|tags| tags.holds(current.etag));
        let old = self.if_modified_since.is_some_and(|at| current.modified_at.as_secs() <= at.as_secs());
        same_tag || old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Current = Current { etag: ETag(7), modified_at: Timestamp::from_millis(10_400) };

    fn matching(text: &str) -> Conditions {
        Conditions { if_match: Some(Tags::parse(text)), ..Conditions::default() }
    }

    fn none_matching(text: &str) -> Conditions {
        Conditions { if_none_match: Some(Tags::parse(text)), ..Conditions::default() }
    }

    #[test]
    fn if_match_takes_quoted_plain_and_star() {
        for text in ["0x8D0000000000007", "\"0x8D0000000000007\"", "*", "\"*\"", "\"0x8D1\", \"0x8D0000000000007\""] {
            assert!(matching(text).check_write(Some(NOW)).is_ok(), "{text}");
        }
        for text in ["\"0x8D0000000000008\"", "", "\"x\"", "0x8Dzz"] {
            assert!(matches!(matching(text).check_write(Some(NOW)), Err(BlobError::ConditionNotMet)), "{text}");
        }
        assert!(matches!(matching("*").check_write(None), Err(BlobError::ConditionNotMet)));
    }

    #[test]
    fn if_none_match_star_is_for_new_blobs() {
        assert!(none_matching("*").check_write(None).is_ok());
        assert!(matches!(none_matching("*").check_write(Some(NOW)), Err(BlobError::BlobExists)));
        // Set Blob Metadata with `*` on a blob that exists: 412 (claims of checkpoint stores).
        assert!(matches!(none_matching("*").check_change(NOW), Err(BlobError::ConditionNotMet)));
        assert!(matches!(none_matching("0x8D0000000000007").check_read(NOW), Err(BlobError::NotModified)));
        assert!(none_matching("0x8D0000000000008").check_read(NOW).is_ok());
    }

    #[test]
    fn times_count_in_whole_seconds() {
        let since = |at| Conditions { if_modified_since: Some(Timestamp::from_millis(at)), ..Conditions::default() };
        assert!(since(9_000).check_read(NOW).is_ok());
        assert!(matches!(since(10_000).check_read(NOW), Err(BlobError::NotModified)));
        let until = |at| Conditions { if_unmodified_since: Some(Timestamp::from_millis(at)), ..Conditions::default() };
        assert!(until(10_000).check_read(NOW).is_ok());
        assert!(matches!(until(9_000).check_read(NOW), Err(BlobError::ConditionNotMet)));
    }
}
