//! Which identities a credential may ask for: texts with `*` for any run of characters.
//!
//! A pattern without `/` is about a device and covers its modules, as a device's token does; one
//! with `/` is about modules (`gateway-*/telemetry`). Ids are compared with case at a hub; those of
//! registrations without.

use gantry_identity::Identity;

use crate::subject::Subject;

/// Longest pattern, characters: two ids and a slash.
const PATTERN_LEN_MAX: usize = 257;

/// Why a text is not a pattern.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("a pattern has 1 to {PATTERN_LEN_MAX} characters and at most one `/`")]
pub struct PatternError;

/// A pattern over devices, or over modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    device: String,
    module: Option<String>,
    /// A star is a star: the text is somebody's id.
    is_literal: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (device, module) = match text.split_once('/') {
            Some((device, module)) => (device, Some(module)),
            None => (text, None),
        };
        let is_bad = |part: &str| part.is_empty() || part.contains('/');
        if text.len() > PATTERN_LEN_MAX || is_bad(device) || module.is_some_and(is_bad) {
            return Err(PatternError);
        }
        Ok(Self { device: device.to_owned(), module: module.map(str::to_owned), is_literal: false })
    }

    /// Covers one id, `device` or `device/module`, as it is written.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        Ok(Self { is_literal: true, ..Self::parse(text)? })
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        if self.is_literal { pattern == text } else { matches(pattern, text) }
    }

    /// Whether the pattern covers what a token is asked for.
    pub(crate) fn covers(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Identity { identity: Identity { device, module }, .. } => {
                let same_module = match (&self.module, module) {
                    (None, _) => true,
                    (Some(pattern), Some(module)) => self.matches(pattern, module.as_str()),
                    (Some(_), None) => false,
                };
                same_module && self.matches(&self.device, device.as_str())
            }
            Subject::Registration { id, .. } => {
                self.module.is_none() && self.matches(&self.device.to_ascii_lowercase(), &id.folded())
            }
        }
    }
}

/// Greedy over the pieces between stars: the first and last are anchored, the others are found from the left.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, asked: &str, covered: bool) {
        let subject = Subject::parse(asked).unwrap();
        assert_eq!(Pattern::parse(pattern).unwrap().covers(&subject), covered, "{pattern} over {asked}");
    }

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, id, covered) in [
            ("d1", "d1", true),
            ("d1", "d10", false),
            ("d1", "D1", false),
            ("*", "anything", true),
            ("plant-7-*", "plant-7-", true),
            ("plant-7-*", "plant-70", false),
            ("*-cam", "east-cam", true),
            ("*-cam", "east-cam2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
        ] {
            check(pattern, &format!("h/devices/{id}"), covered);
        }
    }

    #[test]
    fn a_device_covers_its_modules_and_a_module_only_itself() {
        check("d", "h/devices/d/modules/m", true);
        check("d/m", "h/devices/d/modules/m", true);
        check("d/m", "h/devices/d/modules/m2", false);
        check("d/m", "h/devices/d", false);
        check("*/m", "h/devices/d/modules/m", true);
    }

    #[test]
    fn an_exact_pattern_has_no_stars() {
        let exact = |asked: &str| Pattern::exact("d*").unwrap().covers(&Subject::parse(asked).unwrap());
        assert!(exact("h/devices/d*") && !exact("h/devices/d1"));
    }

    #[test]
    fn registrations_are_compared_without_case() {
        check("Reg-*", "s/registrations/reg-1", true);
        check("reg-1/m", "s/registrations/reg-1", false);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "/m", "d/", "a/b/c", &"x".repeat(258)] {
            assert_eq!(Pattern::parse(text), Err(PatternError), "{text}");
        }
    }
}
