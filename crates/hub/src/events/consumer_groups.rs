//! Consumer groups of the event stream: the names under which services read it, each at its own pace.
//!
//! A group is a name and nothing else, since checkpoints are with whoever reads. Every stream has [`DEFAULT`]; the
//! configuration names others, and further ones are made and deleted while the hub runs. Names are compared without
//! case, as the reference compares them.

use std::sync::Arc;

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hub::Hub;
use crate::limits::CONSUMER_GROUPS_MAX;
use crate::owned::{Changed, Owned};
use crate::ports::{Collection, Documents, StoreError};

/// The group every stream has.
pub const DEFAULT: &str = "$Default";
/// Collection of the groups that were made while the hub ran.
const COLLECTION: &str = "consumer_groups";
/// Longest name in characters (Event Hubs quotas).
const NAME_LEN_MAX: usize = 50;

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroup {
    /// Its name.
    pub name: String,
    /// When it was made; none for those that are always there.
    pub created_at: Option<Timestamp>,
}

/// Why a group was not made or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerGroupError {
    /// The name cannot be used.
    #[error("`{0}` is not a name: 1 to {NAME_LEN_MAX} letters, digits, `-`, `.` or `_`")]
    Name(String),
    /// There is none of the name.
    #[error("consumer group `{0}` is not there")]
    Unknown(String),
    /// It is of the configuration, or every stream has it.
    #[error("consumer group `{0}` is always there: it is `{DEFAULT}`, or of the configuration")]
    Fixed(String),
    /// A hub has no more.
    #[error("{CONSUMER_GROUPS_MAX} consumer groups beside `{DEFAULT}` is the most a hub has")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    created_at: i64,
}

/// Reads the groups that were made while the hub ran.
pub(crate) async fn load(documents: Arc<dyn Documents>) -> Result<Owned<Vec<ConsumerGroup>>, StoreError> {
    let read = |(name, text): (String, String)| {
        let unreadable = |error| StoreError::Failed(format!("consumer group `{name}` cannot be read: {error}"));
        let Document { created_at } = serde_json::from_str(&text).map_err(unreadable)?;
        Ok(ConsumerGroup { name, created_at: Some(Timestamp::from_millis(created_at)) })
    };
    let read_all = move |stored: Vec<Collection>| {
        stored.into_iter().flat_map(|all| all.documents).map(read).collect::<Result<Vec<_>, _>>()
    };
    Owned::load(documents, vec![COLLECTION], read_all).await
}

fn is_name(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.chars().all(is_good)
}

impl Hub {
    /// Every consumer group: [`DEFAULT`], those of the configuration, those that were made.
    pub fn consumer_groups(&self) -> Vec<ConsumerGroup> {
        let made = self.consumer_groups.current();
        let fixed = std::iter::once(DEFAULT).chain(self.config.consumer_groups.iter().map(String::as_str));
        let fixed = fixed.map(|name| ConsumerGroup { name: name.to_owned(), created_at: None });
        // One that was made may be in the configuration by now.
        let made = made.iter().filter(|group| !self.is_fixed_group(&group.name)).cloned();
        fixed.chain(made).collect()
    }

    /// The consumer group of a name.
    pub fn consumer_group(&self, name: &str) -> Option<ConsumerGroup> {
        self.consumer_groups().into_iter().find(|group| group.name.eq_ignore_ascii_case(name))
    }

    fn is_fixed_group(&self, name: &str) -> bool {
        let mut fixed = self.config.consumer_groups.iter().map(String::as_str).chain([DEFAULT]);
        fixed.any(|one| one.eq_ignore_ascii_case(name))
    }

    /// Makes a consumer group; one that is there already stays as it is.
    ///
    /// # Errors
    /// [`ConsumerGroupError`].
    pub async fn create_consumer_group(&self, now: Timestamp, name: &str) -> Result<ConsumerGroup, ConsumerGroupError> {
        if let Some(found) = self.consumer_group(name) {
            return Ok(found);
        }
        if !is_name(name) {
            return Err(ConsumerGroupError::Name(name.chars().take(NAME_LEN_MAX).collect()));
        }
        let make = |all: &Vec<ConsumerGroup>| {
            if let Some(found) = all.iter().find(|group| group.name.eq_ignore_ascii_case(name)) {
                return Ok(Changed { edits: vec![], next: all.clone(), said: found.clone() });
            }
            if all.len() + self.config.consumer_groups.len() >= CONSUMER_GROUPS_MAX {
                return Err(ConsumerGroupError::TooMany);
            }
            let group = ConsumerGroup { name: name.to_owned(), created_at: Some(now) };
            let document = Document { created_at: now.as_millis() };
            let text = serde_json::to_string(&document).map_err(|error| StoreError::Failed(error.to_string()))?;
            let next = all.iter().cloned().chain([group.clone()]).collect();
            Ok(Changed { edits: vec![vec![(group.name.clone(), Some(text))]], next, said: group })
        };
        self.consumer_groups.change(make).await
    }

    /// Deletes a consumer group. Receivers that read under it go on until they end.
    ///
    /// # Errors
    /// [`ConsumerGroupError`].
    pub async fn delete_consumer_group(&self, name: &str) -> Result<(), ConsumerGroupError> {
        if self.is_fixed_group(name) {
            return Err(ConsumerGroupError::Fixed(name.to_owned()));
        }
        let delete = |all: &Vec<ConsumerGroup>| {
            let (gone, next): (Vec<_>, Vec<_>) =
                all.iter().cloned().partition(|group| group.name.eq_ignore_ascii_case(name));
            if gone.is_empty() {
                return Err(ConsumerGroupError::Unknown(name.chars().take(NAME_LEN_MAX).collect()));
            }
            let edits = gone.into_iter().map(|group| (group.name, None)).collect();
            Ok(Changed { edits: vec![edits], next, said: () })
        };
        self.consumer_groups.change(delete).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        for good in ["a", "A-b.c_1", &"x".repeat(NAME_LEN_MAX)] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", "a b", "$Default", "ä", "a/b", &"x".repeat(NAME_LEN_MAX + 1)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
