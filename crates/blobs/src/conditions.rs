//! Conditional headers. Checkpoint stores claim partitions with them, so they are decided inside the
//! transaction that writes.

use gantry_identity::Timestamp;

use crate::blob::ETag;
use crate::error::BlobError;

/// Which states of a resource a caller means: ETags, compared as texts without their quotes, or `*` for any state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags(Vec<String>);

const ANY: &str = "*";
const WEAK: &str = "W/";

impl Tags {
    /// `*`: any that exists.
    pub fn any() -> Self {
        Self(vec![ANY.to_owned()])
    }

    /// Reads `*` or a list of ETags, quoted or not. Tags that are not ours match nothing.
    pub fn parse(text: &str) -> Self {
        let read = |tag: &str| match tag.strip_prefix(WEAK) {
            Some(tag) => format!("{WEAK}{}", tag.trim_matches('"')),
            None => tag.trim_matches('"').to_owned(),
        };
        Self(text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(read).collect())
    }

    fn is_any(&self) -> bool {
        self.0.iter().any(|tag| tag == ANY)
    }

    /// For `If-Match`. A weak tag never holds (RFC 9110, 13.1.1).
    fn hold(&self, etag: ETag) -> bool {
        let text = etag.to_string();
        self.is_any() || self.0.contains(&text)
    }

    /// For `If-None-Match`. A weak tag holds like a strong one (RFC 9110, 13.1.2).
    fn hold_weakly(&self, etag: ETag) -> bool {
        let text = etag.to_string();
        self.is_any() || self.0.iter().any(|tag| tag.strip_prefix(WEAK).unwrap_or(tag) == text)
    }
}

impl From<ETag> for Tags {
    fn from(etag: ETag) -> Self {
        Self(vec![etag.to_string()])
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
    /// Those of a read, before anything is looked at: any combination, and lists of ETags.
    ///
    /// # Errors
    /// [`BlobError::Unsatisfiable`] when `If-None-Match` is `*`: nothing could be read.
    pub fn of_read(self) -> Result<Self, BlobError> {
        if self.if_none_match.as_ref().is_some_and(Tags::is_any) { Err(BlobError::Unsatisfiable) } else { Ok(self) }
    }

    /// Those of a write, before anything is looked at: one condition with one value. Of two pairs the date is passed
    /// over: `If-None-Match` with `If-Modified-Since`, `If-Match` with `If-Unmodified-Since`.
    ///
    /// # Errors
    /// [`BlobError::ManyConditions`] when there are more.
    pub fn of_write(mut self) -> Result<Self, BlobError> {
        if self.if_none_match.is_some() {
            self.if_modified_since = None;
        }
        if self.if_match.is_some() {
            self.if_unmodified_since = None;
        }
        let values = |tags: &Option<Tags>| tags.as_ref().map_or(0, |tags| tags.0.len().max(1));
        let dates = [self.if_modified_since, self.if_unmodified_since].into_iter().flatten().count();
        let all = values(&self.if_match) + values(&self.if_none_match) + dates;
        if all > 1 { Err(BlobError::ManyConditions) } else { Ok(self) }
    }

    /// Whether a write may go ahead.
    ///
    /// # Errors
    /// [`BlobError::BlobExists`] when only a new one was wanted, [`BlobError::ConditionNotMet`] otherwise.
    pub fn check_write(&self, current: Option<Current>) -> Result<(), BlobError> {
        let Some(current) = current else {
            return if self.if_match.is_some() { Err(BlobError::ConditionNotMet) } else { Ok(()) };
        };
        if self.only_new || self.if_none_match.as_ref().is_some_and(Tags::is_any) {
            return Err(BlobError::BlobExists);
        }
        if self.unmet(current) || self.unchanged(current) { Err(BlobError::ConditionNotMet) } else { Ok(()) }
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
        let wrong_tag = self.if_match.as_ref().is_some_and(|tags| !tags.hold(current.etag));
        // HTTP dates have no fractions of a second.
        let changed = self.if_unmodified_since.is_some_and(|at| current.modified_at.as_secs() > at.as_secs());
        wrong_tag || changed
    }

    /// `If-None-Match` or `If-Modified-Since` fails; of both, when both fail.
    fn unchanged(&self, current: Current) -> bool {
        let same_tag = self.if_none_match.as_ref().map(|tags| tags.hold_weakly(current.etag));
        let old = self.if_modified_since.map(|at| current.modified_at.as_secs() <= at.as_secs());
        (same_tag.is_some() || old.is_some()) && same_tag != Some(false) && old != Some(false)
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
    fn a_weak_tag_is_good_for_if_none_match_alone() {
        let weak = "W/\"0x8D0000000000007\"";
        assert!(matches!(matching(weak).check_write(Some(NOW)), Err(BlobError::ConditionNotMet)));
        assert!(matches!(matching(weak).check_read(NOW), Err(BlobError::ConditionNotMet)));
        assert!(matches!(none_matching(weak).check_write(Some(NOW)), Err(BlobError::ConditionNotMet)));
        assert!(matches!(none_matching(weak).check_read(NOW), Err(BlobError::NotModified)));
    }

    #[test]
    fn tags_are_compared_as_texts() {
        for text in ["0x8D7", "0x8D+000000000007", "0x8d0000000000007", "0X8D0000000000007", "7"] {
            assert!(matches!(matching(text).check_read(NOW), Err(BlobError::ConditionNotMet)), "{text}");
        }
    }

    #[test]
    fn a_write_takes_one_condition_with_one_value() {
        let date = Some(Timestamp::from_millis(0));
        let one = || Some(Tags::from(NOW.etag));
        let all = |if_match, if_none_match, if_modified_since, if_unmodified_since| Conditions {
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
            only_new: false,
        };
        let two = || Some(Tags::parse("\"a\", *"));
        for taken in [
            all(None, None, None, None),
            all(one(), None, None, None),
            all(None, one(), None, None),
            all(None, None, date, None),
            all(None, None, None, date),
            all(None, one(), date, None),
            all(one(), None, None, date),
        ] {
            assert!(taken.clone().of_write().is_ok(), "{taken:?}");
        }
        for refused in [
            all(one(), one(), None, None),
            all(one(), None, date, None),
            all(None, one(), None, date),
            all(None, None, date, date),
            all(one(), one(), date, date),
            all(two(), None, None, None),
            all(None, two(), None, None),
        ] {
            assert!(matches!(refused.clone().of_write(), Err(BlobError::ManyConditions)), "{refused:?}");
        }
        // The ETag decides, not the date beside it.
        let stale = all(one(), None, None, date).of_write().unwrap();
        assert!(stale.check_write(Some(NOW)).is_ok());
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
