//! Which passwords people may choose.
//!
//! Length counts, composition does not (NIST SP 800-63B, 3.1.1.2): no rule asks for digits or signs. Refused is what
//! is guessed first: names of the person and the product, one piece repeated, rows of the keyboard, and what the
//! operator's list holds.

use std::collections::HashSet;

/// The fewest characters any policy may ask for (NIST SP 800-63B, beside a second factor).
pub const PASSWORD_LEN_MIN: usize = 8;
/// The most characters of a password; NIST wants 64 at least to be allowed.
pub const PASSWORD_LEN_MAX: usize = 128;
/// Shortest part of a name that a password may not contain.
const CONTEXT_LEN_MIN: usize = 4;
/// Longest piece whose repetition is no password.
const REPEATED_LEN_MAX: usize = 4;
/// What is typed by moving a finger along.
const ROWS: [&str; 5] = ["abcdefghijklmnopqrstuvwxyz", "0123456789", "qwertyuiop", "qwertzuiop", "asdfghjklzxcvbnm"];

/// Rules for new passwords.
#[derive(Clone, Debug)]
pub struct PasswordPolicy {
    length_min: usize,
    blocked: HashSet<String>,
}

/// Why a password may not be chosen.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum WeakPassword {
    /// Too few characters.
    #[error("password has fewer than {0} characters")]
    Short(usize),
    /// Too many characters.
    #[error("password has more than {PASSWORD_LEN_MAX} characters")]
    Long,
    /// Characters nobody types on purpose.
    #[error("password contains control characters")]
    Control,
    /// It is on the operator's list.
    #[error("password is on the list of common passwords")]
    Common,
    /// It contains a name that is known of the person or the place.
    #[error("password contains a name of the user or the platform")]
    Name,
    /// One short piece, again and again.
    #[error("password repeats one piece of at most {REPEATED_LEN_MAX} characters")]
    Repeated,
    /// A row of the keyboard, the alphabet or the digits.
    #[error("password is a row of neighbouring characters")]
    Row,
    /// It is the present one.
    #[error("password is the present one")]
    Same,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { length_min: 12, blocked: HashSet::new() }
    }
}

impl PasswordPolicy {
    /// A policy with a length of its own ([`PASSWORD_LEN_MIN`] at least) and a list of common passwords.
    pub fn new(length_min: usize, blocked: impl IntoIterator<Item = String>) -> Self {
        let blocked = blocked.into_iter().map(|word| word.trim().to_lowercase()).collect();
        Self { length_min: length_min.clamp(PASSWORD_LEN_MIN, PASSWORD_LEN_MAX), blocked }
    }

    /// Checks a new password; `names` are those of the person, their address and the platform.
    ///
    /// # Errors
    /// [`WeakPassword`] names the rule.
    pub fn check(&self, password: &str, names: &[&str]) -> Result<(), WeakPassword> {
        let length = password.chars().count();
        if length < self.length_min {
            return Err(WeakPassword::Short(self.length_min));
        }
        if length > PASSWORD_LEN_MAX {
            return Err(WeakPassword::Long);
        }
        if password.chars().any(char::is_control) {
            return Err(WeakPassword::Control);
        }
        let lower = password.to_lowercase();
        if self.blocked.contains(&lower) {
            return Err(WeakPassword::Common);
        }
        if names.iter().any(|name| contains_name(&lower, name)) {
            return Err(WeakPassword::Name);
        }
        let characters: Vec<char> = lower.chars().collect();
        if is_repeated(&characters) {
            return Err(WeakPassword::Repeated);
        }
        if is_row(&lower) { Err(WeakPassword::Row) } else { Ok(()) }
    }
}

/// Whole, or any word of it (`jane.doe@contoso.com`: `jane`, `contoso`).
fn contains_name(password: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric())
        .any(|word| word.chars().count() >= CONTEXT_LEN_MIN && password.contains(word))
}

fn is_repeated(characters: &[char]) -> bool {
    (1..=REPEATED_LEN_MAX).any(|length| characters.iter().zip(characters.iter().skip(length)).all(|(a, b)| a == b))
}

fn is_row(password: &str) -> bool {
    let backward: String = password.chars().rev().collect();
    ROWS.iter().any(|row| {
        let around = row.repeat(password.len() / row.len() + 2);
        around.contains(password) || around.contains(&backward)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(password: &str, expected: Result<(), WeakPassword>) {
        let policy = PasswordPolicy::new(12, ["Correct horse".to_owned()]);
        assert_eq!(policy.check(password, &["jane.doe@contoso.com", "Gantry"]), expected, "{password}");
    }

    #[test]
    fn length_is_what_counts() {
        check("tallow brink", Ok(()));
        check("tallow brin", Err(WeakPassword::Short(12)));
        let long = "tallow brink ".repeat(10);
        check(&long[..PASSWORD_LEN_MAX], Ok(()));
        check(&long[..=PASSWORD_LEN_MAX], Err(WeakPassword::Long));
        // Characters, not bytes.
        check("éàüöäñçßøåœþ", Ok(()));
    }

    #[test]
    fn what_is_guessed_first_is_refused() {
        check("CORRECT HORSE", Err(WeakPassword::Common));
        check("i am Jane, hello", Err(WeakPassword::Name));
        check("my gantry rocks", Err(WeakPassword::Name));
        check("doe, a female deer", Ok(()));
        check("aaaaaaaaaaaaa", Err(WeakPassword::Repeated));
        check("abcdabcdabcda", Err(WeakPassword::Repeated));
        check("abcdeabcdeabc", Ok(()));
        check("567890123456", Err(WeakPassword::Row));
        check("012345678901234567890123", Err(WeakPassword::Row));
        check("Abcdefghijkl", Err(WeakPassword::Row));
        check("lkjihgfedcba", Err(WeakPassword::Row));
        check("tallow\u{0}brink", Err(WeakPassword::Control));
    }

    #[test]
    fn no_policy_asks_for_less_than_eight() {
        let policy = PasswordPolicy::new(0, []);
        assert_eq!(policy.check("tallows", &[]), Err(WeakPassword::Short(8)));
        assert_eq!(policy.check("tallowsb", &[]), Ok(()));
    }
}
