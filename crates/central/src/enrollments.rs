//! Enrollment groups: what the application knows of them beside what provisioning has, which is their name for people.
//!
//! A group that was made elsewhere has none here, and is called as its id.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{DisplayName, EnrollmentGroupId};
use crate::kept::Kept;

/// Groups that have a name; ours.
pub const GROUPS_MAX: usize = 1_000;

/// An enrollment group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentGroup {
    /// What it is called.
    pub display_name: DisplayName,
}

/// Groups by id.
pub type EnrollmentGroups = BTreeMap<EnrollmentGroupId, Arc<Kept<EnrollmentGroup>>>;

/// Why the name of a group was not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum EnrollmentError {
    /// There is none with this id.
    #[error("there is no enrollment group `{0}`")]
    Unknown(EnrollmentGroupId),
    /// There are as many as there may be.
    #[error("{GROUPS_MAX} enrollment groups have a name, which is the most")]
    TooMany,
}

/// Checks that a group may be written under an id.
///
/// # Errors
/// [`EnrollmentError::TooMany`].
pub fn check_put(all: &EnrollmentGroups, id: &EnrollmentGroupId) -> Result<(), EnrollmentError> {
    if all.contains_key(id) || all.len() < GROUPS_MAX { Ok(()) } else { Err(EnrollmentError::TooMany) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::tests::kept;

    #[test]
    fn there_are_a_thousand_and_those_may_be_renamed() {
        let id = |n: usize| EnrollmentGroupId::parse(&format!("g{n}")).unwrap();
        let one = || kept(EnrollmentGroup { display_name: DisplayName::parse("G").unwrap() });
        let mut all: EnrollmentGroups = (1..GROUPS_MAX).map(|n| (id(n), one())).collect();
        assert_eq!(check_put(&all, &id(0)), Ok(()));
        all.insert(id(0), one());
        assert_eq!(check_put(&all, &id(0)), Ok(()));
        assert_eq!(check_put(&all, &id(GROUPS_MAX)), Err(EnrollmentError::TooMany));
    }
}
