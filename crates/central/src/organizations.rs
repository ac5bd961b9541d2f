//! Organizations: who sees what of an application.
//!
//! They are a tree below the application itself, the root, which is no object and has no id (`None` here). Whoever is in
//! an organization sees what is in it and below it, and nothing beside or above: siblings do not know of each other
//! (CEN-24). So every question is decided by the ancestors of what is looked at.
//!
//! Invariant of what [`check_put`] lets in: every parent is there, no organization is its own ancestor, no path is longer
//! than [`DEPTH_MAX`], and there are at most [`ORGANIZATIONS_MAX`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{DisplayName, OrganizationId};
use crate::kept::Kept;

/// Organizations an application has, the root not counted (IoT Central quotas and limits).
pub const ORGANIZATIONS_MAX: usize = 200;
/// Levels below the root (IoT Central quotas and limits).
pub const DEPTH_MAX: usize = 5;

/// An organization.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    /// What it is called; its id without one.
    pub display_name: Option<DisplayName>,
    /// The one above; the root without one.
    pub parent: Option<OrganizationId>,
}

/// All organizations by id.
pub type Organizations = BTreeMap<OrganizationId, Arc<Kept<Organization>>>;

/// Why an organization was not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum OrganizationError {
    /// There is none with this id.
    #[error("there is no organization `{0}`")]
    Unknown(OrganizationId),
    /// It would be above itself.
    #[error("organization `{0}` cannot be below itself")]
    Cycle(OrganizationId),
    /// A path would be too long.
    #[error("organizations are at most {DEPTH_MAX} levels deep")]
    TooDeep,
    /// There are as many as there may be.
    #[error("there are {ORGANIZATIONS_MAX} organizations, which is the most")]
    TooMany,
    /// Something is in it.
    #[error("organization `{id}` has {what} and cannot be deleted")]
    InUse {
        /// Which.
        id: OrganizationId,
        /// What is in it.
        what: &'static str,
    },
}

/// An organization and those above it, the nearest first. Ends after [`DEPTH_MAX`] whatever the tree says.
pub fn path<'a>(
    all: &'a Organizations,
    from: &'a OrganizationId,
) -> impl Iterator<Item = &'a OrganizationId> + use<'a> {
    let above = |id: &&'a OrganizationId| all.get(*id).and_then(|one| one.value.parent.as_ref());
    std::iter::successors(Some(from), above).take(DEPTH_MAX)
}

/// From where something is seen: decided once for it, whoever looks.
#[derive(Clone, Copy)]
pub struct Ancestry<'a> {
    is_at_root: bool,
    path: [Option<&'a OrganizationId>; DEPTH_MAX],
}

impl<'a> Ancestry<'a> {
    /// Of something in an organization, or at the root. What is in one that is gone is seen from the root only, until it
    /// is found and moved.
    #[must_use]
    pub fn of(all: &'a Organizations, of: Option<&'a OrganizationId>) -> Self {
        let mut ancestry = Self { is_at_root: of.is_none(), path: [None; DEPTH_MAX] };
        if let Some(of) = of.filter(|of| all.contains_key(*of)) {
            ancestry.path.iter_mut().zip(path(all, of)).for_each(|(place, id)| *place = Some(id));
        }
        ancestry
    }

    /// Whether it is seen from the root, or from an organization.
    #[must_use]
    pub fn is_seen(&self, from: Option<&OrganizationId>) -> bool {
        from.is_none_or(|from| !self.is_at_root && self.path.iter().flatten().any(|above| *above == from))
    }
}

/// Whether something in `of` is seen from `from`: from the root everything, from an organization what is in it and below.
#[must_use]
pub fn may_see(all: &Organizations, from: Option<&OrganizationId>, of: Option<&OrganizationId>) -> bool {
    Ancestry::of(all, of).is_seen(from)
}

/// Checks that an organization may be written under an id, new or not.
///
/// # Errors
/// [`OrganizationError`].
pub fn check_put(all: &Organizations, id: &OrganizationId, new: &Organization) -> Result<(), OrganizationError> {
    if !all.contains_key(id) && all.len() >= ORGANIZATIONS_MAX {
        return Err(OrganizationError::TooMany);
    }
    let depth = match &new.parent {
        None => 1,
        Some(parent) if !all.contains_key(parent) && parent != id => {
            return Err(OrganizationError::Unknown(parent.clone()));
        }
        Some(parent) if path(all, parent).any(|above| above == id) => {
            return Err(OrganizationError::Cycle(id.clone()));
        }
        Some(parent) => path(all, parent).count() + 1,
    };
    if depth + height(all, id) > DEPTH_MAX {
        return Err(OrganizationError::TooDeep);
    }
    Ok(())
}

/// How many levels there are below an organization.
fn height(all: &Organizations, id: &OrganizationId) -> usize {
    let heights = all.keys().filter_map(|below| path(all, below).position(|above| above == id));
    heights.max().unwrap_or(0)
}

/// The organizations directly below one, or below the root.
pub fn children<'a>(
    all: &'a Organizations,
    of: Option<&'a OrganizationId>,
) -> impl Iterator<Item = &'a OrganizationId> + use<'a> {
    all.iter().filter(move |(_, one)| one.value.parent.as_ref() == of).map(|(id, _)| id)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kept::tests::kept;

    pub(crate) fn id(text: &str) -> OrganizationId {
        OrganizationId::parse(text).unwrap()
    }

    fn below(parent: Option<&str>) -> Organization {
        Organization { display_name: None, parent: parent.map(id) }
    }

    /// Organizations from pairs of id and parent.
    pub(crate) fn tree(pairs: &[(&str, Option<&str>)]) -> Organizations {
        pairs.iter().map(|(name, parent)| (id(name), kept(below(*parent)))).collect()
    }

    fn five_levels() -> Organizations {
        tree(&[("l1", None), ("l2", Some("l1")), ("l3", Some("l2")), ("l4", Some("l3")), ("l5", Some("l4"))])
    }

    #[track_caller]
    fn check(from: Option<&str>, of: Option<&str>, seen: bool) {
        let all = tree(&[("us", None), ("us-west", Some("us")), ("us-east", Some("us")), ("eu", None)]);
        let (from_id, of_id) = (from.map(id), of.map(id));
        assert_eq!(may_see(&all, from_id.as_ref(), of_id.as_ref()), seen, "{of:?} from {from:?}");
    }

    #[test]
    fn one_sees_what_is_below_and_nothing_beside_or_above() {
        check(None, None, true);
        check(None, Some("us-west"), true);
        check(Some("us"), Some("us"), true);
        check(Some("us"), Some("us-west"), true);
        check(Some("us-west"), Some("us-east"), false);
        check(Some("us-west"), Some("us"), false);
        check(Some("us"), Some("eu"), false);
        check(Some("us"), None, false);
        check(Some("us"), Some("gone"), false);
        check(Some("gone"), Some("gone"), false);
        check(None, Some("gone"), true);
    }

    #[track_caller]
    fn put(all: &Organizations, name: &str, parent: Option<&str>, expected: Result<(), OrganizationError>) {
        assert_eq!(check_put(all, &id(name), &below(parent)), expected, "{name} below {parent:?}");
    }

    #[test]
    fn a_tree_is_five_levels_deep_wherever_it_is_moved() {
        let all = five_levels();
        put(&all, "l5", Some("l4"), Ok(()));
        put(&all, "l6", Some("l5"), Err(OrganizationError::TooDeep));
        let mut two = all.clone();
        two.extend(tree(&[("m1", None), ("m2", Some("m1"))]));
        put(&two, "m1", Some("l3"), Ok(()));
        put(&two, "m1", Some("l4"), Err(OrganizationError::TooDeep));
    }

    #[test]
    fn nothing_is_below_itself_or_below_what_is_not_there() {
        let all = five_levels();
        put(&all, "l1", Some("l1"), Err(OrganizationError::Cycle(id("l1"))));
        put(&all, "l1", Some("l5"), Err(OrganizationError::Cycle(id("l1"))));
        put(&all, "new", Some("new"), Err(OrganizationError::Cycle(id("new"))));
        put(&all, "new", Some("none"), Err(OrganizationError::Unknown(id("none"))));
        put(&all, "l4", None, Ok(()));
    }

    #[test]
    fn there_are_two_hundred_at_most() {
        let names: Vec<String> = (0..ORGANIZATIONS_MAX).map(|n| format!("o{n}x")).collect();
        let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
        put(&tree(&pairs[1..]), "one", None, Ok(()));
        let full = tree(&pairs);
        put(&full, "one", None, Err(OrganizationError::TooMany));
        put(&full, "o0x", Some("o1x"), Ok(()));
    }

    #[test]
    fn a_broken_tree_ends_all_the_same() {
        let ring = tree(&[("aa", Some("bb")), ("bb", Some("aa"))]);
        assert_eq!(path(&ring, &id("aa")).count(), DEPTH_MAX);
        assert!(!may_see(&ring, Some(&id("cc")), Some(&id("aa"))));
    }

    #[test]
    fn children_are_those_directly_below() {
        let all = tree(&[("us", None), ("us-west", Some("us")), ("eu", None)]);
        let check = |of: Option<OrganizationId>, expected: &[&str]| {
            let names: Vec<_> = children(&all, of.as_ref()).map(OrganizationId::as_str).collect();
            assert_eq!(names, expected, "below {of:?}");
        };
        check(None, &["eu", "us"]);
        check(Some(id("us")), &["us-west"]);
        check(Some(id("eu")), &[]);
    }
}
