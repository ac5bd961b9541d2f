//! Where a role is given: a resource id, and everything below it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest scope, bytes.
pub const SCOPE_LEN_MAX: usize = 1024;

/// A resource id (`/subscriptions/../resourceGroups/../providers/Microsoft.Devices/IotHubs/NAME`), or `/`. Case does
/// not matter; it is kept as it was written, without a slash at the end.
#[derive(Clone, Debug, Serialize)]
pub struct Scope(String);

/// A text is no scope.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("scope is no resource id of at most {SCOPE_LEN_MAX} bytes: `/`, or names each after a `/`")]
pub struct ScopeError;

impl Scope {
    /// Reads a scope.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let names = text.strip_suffix('/').unwrap_or(text);
        let plain = |c: char| !c.is_control() && !matches!(c, '?' | '#' | '%' | '\\' | '*');
        let is_name = |name: &str| !name.is_empty() && name != "." && name != ".." && name.chars().all(plain);
        let mut parts = names.split('/');
        let is_good = text.len() <= SCOPE_LEN_MAX && text.starts_with('/') && parts.next() == Some("");
        if is_good && parts.all(is_name) { Ok(Self(names.to_owned())) } else { Err(ScopeError) }
    }

    /// Whether a resource is this or below it: whole names only.
    pub fn covers(&self, resource: &str) -> bool {
        let Some((head, rest)) = resource.as_bytes().split_at_checked(self.0.len()) else { return false };
        head.eq_ignore_ascii_case(self.0.as_bytes()) && (rest.is_empty() || rest.starts_with(b"/"))
    }

    /// Hash without case, equal to that of the resource's prefix.
    pub(super) fn hash(&self) -> u64 {
        self.0.bytes().fold(HASH_START, step)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x100_0000_01b3)
}

/// Hashes of every scope that could cover a resource, the widest first.
pub(super) fn hashes_over(resource: &str) -> impl Iterator<Item = u64> {
    let mut hash = HASH_START;
    resource.bytes().map(Some).chain([None]).filter_map(move |byte| {
        let ends = matches!(byte, None | Some(b'/')).then_some(hash);
        hash = byte.map_or(hash, |byte| step(hash, byte));
        ends
    })
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Eq for Scope {}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // As it is written: the root without its slash.
        Self::parse(if text.is_empty() { "/" } else { &text }).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scope: &str, resource: &str, expected: bool) {
        let scope = Scope::parse(scope).unwrap();
        assert_eq!(scope.covers(resource), expected, "{scope} over {resource}");
        assert_eq!(hashes_over(resource).any(|hash| hash == scope.hash()), expected, "{scope} over {resource}");
    }

    #[test]
    fn a_scope_covers_what_is_below_it_by_whole_names() {
        let hub = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub1";
        for scope in ["/", "/subscriptions/s", "/SUBSCRIPTIONS/S/resourcegroups/G", hub, &format!("{hub}/")] {
            check(scope, hub, true);
        }
        check(hub, "/subscriptions/s", false);
        check(hub, &format!("{hub}0"), false);
        check("/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub", hub, false);
        check("/subscriptions/t", hub, false);
        check("/", "", true);
    }

    #[test]
    fn what_is_no_resource_id_is_no_scope() {
        let long = format!("/{}", "a".repeat(SCOPE_LEN_MAX - 1));
        assert!(Scope::parse(&long).is_ok());
        for wrong in
            ["", "a", "//", "/a//b", "/a/..", "/./a", "/a?b", "/a#b", "/a%2fb", "/*", "/a\nb", &format!("{long}a")]
        {
            assert_eq!(Scope::parse(wrong), Err(ScopeError), "{wrong}");
        }
        for text in ["/", "/a"] {
            let json = serde_json::to_string(&Scope::parse(text).unwrap()).unwrap();
            assert_eq!(serde_json::from_str::<Scope>(&json).unwrap().to_string(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_scope_and_resource(scope in "(/[abAé]{1,2}){0,3}/?", resource in "[/abAé]{0,9}", text in "\\PC{0,20}") {
            let _ = Scope::parse(&text);
            let Ok(scope) = Scope::parse(&scope) else { return Ok(()) };
            let hashed = hashes_over(&resource).any(|hash| hash == scope.hash());
            proptest::prop_assert!(hashed || !scope.covers(&resource));
        }
    }
}
