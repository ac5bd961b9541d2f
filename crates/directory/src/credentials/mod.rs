//! What a person of ours proves themselves with: a password, and a second factor if they have one.
//!
//! Signing in is three steps: [`Attempts::admit`], [`Credentials::check`], and telling [`Attempts`] the outcome.
//! Whoever presented a wrong password, has no account or may not sign in hears the same, after the same time; the log
//! hears which it was.
//!
//! On disk: JSON `{version: 1, password, passwordChangedAt, mustChange, disabled, totp?, recovery}`.

mod attempts;
mod base32;
mod password;
mod policy;
mod recovery;
mod totp;

use gantry_identity::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

pub use attempts::{ATTEMPT_KEYS_MAX, Admitted, Attempts, NAME_LEN_MAX, Wait};
pub use password::{Argon2Parameters, ParametersError, PasswordHash, Passwords, Verdict};
pub use policy::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, PasswordPolicy, WeakPassword};
pub use recovery::{RECOVERY_CODES, RecoveryCodes};
pub use totp::{Totp, TotpSecret};

/// Version of the stored shape.
const VERSION: u8 = 1;
/// Longest password that is hashed, bytes: [`PASSWORD_LEN_MAX`] characters of UTF-8.
const PASSWORD_BYTES_MAX: usize = PASSWORD_LEN_MAX * 4;

/// The credentials of one person.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    #[serde(deserialize_with = "version_one")]
    version: u8,
    password: PasswordHash,
    #[serde(with = "crate::millis")]
    password_changed_at: Timestamp,
    must_change: bool,
    disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totp: Option<Totp>,
    recovery: RecoveryCodes,
}

fn version_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        VERSION => Ok(VERSION),
        other => Err(serde::de::Error::custom(format!("version {other} of credentials is not known"))),
    }
}

/// What somebody presents.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// Password.
    pub password: &'a str,
    /// Code of the authenticator, or a recovery code.
    pub code: Option<&'a str>,
}

/// How far somebody is signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedIn {
    /// Wholly.
    Fully {
        /// The password was hashed at less cost than today's: [`Credentials::rehash`] it.
        rehash: bool,
        /// They used a recovery code; so many are left.
        recovery_left: Option<usize>,
    },
    /// They must choose another password first.
    MustChange,
    /// The password is right; the second factor is missing.
    CodeMissing,
}

/// Why somebody is not signed in. For the log: the peer hears one text for all of these.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Nobody has that name.
    #[error("there is no such user")]
    Unknown,
    /// Another password.
    #[error("password is wrong")]
    Password,
    /// No code of the second factor, or one that was used.
    #[error("code of the second factor is wrong or was used before")]
    Code,
    /// They may not sign in.
    #[error("user is disabled")]
    Disabled,
}

impl Credentials {
    /// A new person's, with a password somebody else chose: they must choose their own.
    pub fn new(password: PasswordHash, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            password,
            password_changed_at: now,
            must_change: true,
            disabled: false,
            totp: None,
            recovery: RecoveryCodes::default(),
        }
    }

    /// Those of a person who chose the password themselves, which the policy let through.
    pub fn chosen(password: PasswordHash, now: Timestamp) -> Self {
        Self { must_change: false, ..Self::new(password, now) }
    }

    /// Checks what was presented for a user, or for nobody. What was used up is in `stored` afterwards: write it
    /// before anybody is let in, with compare-and-swap, or a code is good twice.
    ///
    /// # Errors
    /// [`Refused`], after the same time whether or not there is such a user.
    pub fn check(
        stored: Option<&mut Self>,
        passwords: &Passwords,
        presented: Presented<'_>,
        now: Timestamp,
    ) -> Result<SignedIn, Refused> {
        if presented.password.len() > PASSWORD_BYTES_MAX {
            return Err(Refused::Password);
        }
        let verdict = passwords.verify(stored.as_ref().map(|one| &one.password), presented.password);
        let stored = stored.ok_or(Refused::Unknown)?;
        if verdict == Verdict::Wrong {
            return Err(Refused::Password);
        }
        if stored.disabled {
            return Err(Refused::Disabled);
        }
        let recovery_left = match (&mut stored.totp, presented.code) {
            (None, _) => None,
            (Some(_), None) => return Ok(SignedIn::CodeMissing),
            (Some(totp), Some(code)) => match totp.check(code, now) {
                true => None,
                false if stored.recovery.redeem(code) => Some(stored.recovery.left()),
                false => return Err(Refused::Code),
            },
        };
        if stored.must_change {
            return Ok(SignedIn::MustChange);
        }
        Ok(SignedIn::Fully { rehash: verdict == Verdict::RightAndCheap, recovery_left })
    }

    /// Gives a person the password they chose, which the policy let through. Sessions of theirs should end.
    ///
    /// # Errors
    /// [`WeakPassword::Same`].
    pub fn change(
        &mut self,
        passwords: &Passwords,
        new: &str,
        salt: [u8; 16],
        now: Timestamp,
    ) -> Result<(), WeakPassword> {
        if passwords.verify(Some(&self.password), new) != Verdict::Wrong {
            return Err(WeakPassword::Same);
        }
        (self.password, self.password_changed_at, self.must_change) = (passwords.hash(new, salt), now, false);
        Ok(())
    }

    /// An administrator gives a person a password, which they must change.
    pub fn reset(&mut self, password: PasswordHash, now: Timestamp) {
        (self.password, self.password_changed_at, self.must_change) = (password, now, true);
    }

    /// Hashes the password that was just right at today's cost.
    pub fn rehash(&mut self, passwords: &Passwords, password: &str, salt: [u8; 16]) {
        self.password = passwords.hash(password, salt);
    }

    /// Whether a password is this person's, for what is asked for again before a step that weighs.
    pub fn has_password(&self, passwords: &Passwords, password: &str) -> bool {
        password.len() <= PASSWORD_BYTES_MAX && passwords.verify(Some(&self.password), password) != Verdict::Wrong
    }

    /// Switches the second factor on, with new recovery codes.
    pub fn add_totp(&mut self, totp: Totp, recovery: RecoveryCodes) {
        (self.totp, self.recovery) = (Some(totp), recovery);
    }

    /// Switches the second factor off; its recovery codes go with it.
    pub fn remove_totp(&mut self) {
        (self.totp, self.recovery) = (None, RecoveryCodes::default());
    }

    /// Replaces the recovery codes of a second factor.
    pub fn replace_recovery(&mut self, recovery: RecoveryCodes) {
        self.recovery = recovery;
    }

    /// Lets a person sign in or not.
    pub fn set_disabled(&mut self, disabled: bool) {
        self.disabled = disabled;
    }

    /// Makes a person choose another password at their next sign-in.
    pub fn require_change(&mut self) {
        self.must_change = true;
    }

    /// Whether they may not sign in.
    pub fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// Whether they have a second factor.
    pub fn has_totp(&self) -> bool {
        self.totp.is_some()
    }

    /// Recovery codes that are left.
    pub fn recovery_left(&self) -> usize {
        self.recovery.left()
    }

    /// When the password was chosen.
    pub fn password_changed_at(&self) -> Timestamp {
        self.password_changed_at
    }
}

#[cfg(test)]
mod tests {
    use super::password::tests::passwords;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(59_000);
    const PASSWORD: &str = "tallow brink";
    const KEY: [u8; 20] = *b"12345678901234567890";

    fn person() -> Credentials {
        Credentials::chosen(passwords().hash(PASSWORD, [2; 16]), NOW)
    }

    fn with_totp() -> (Credentials, String) {
        let mut one = person();
        let totp = Totp::confirm(TotpSecret::from_random(KEY), "755224", Timestamp::from_millis(0)).unwrap();
        let (codes, texts) = RecoveryCodes::from_random([[3; 10]; RECOVERY_CODES]);
        one.add_totp(totp, codes);
        (one, texts[0].text().to_owned())
    }

    fn check(one: &mut Credentials, password: &str, code: Option<&str>) -> Result<SignedIn, Refused> {
        Credentials::check(Some(one), &passwords(), Presented { password, code }, NOW)
    }

    const FULLY: Result<SignedIn, Refused> = Ok(SignedIn::Fully { rehash: false, recovery_left: None });

    #[test]
    fn a_password_signs_in_unless_it_is_wrong_or_nobodys() {
        let mut one = person();
        assert_eq!(check(&mut one, PASSWORD, None), FULLY);
        assert_eq!(check(&mut one, PASSWORD, Some("123456")), FULLY, "a code nobody asked for");
        assert_eq!(check(&mut one, "first", None), Err(Refused::Password));
        assert_eq!(check(&mut one, &"x".repeat(PASSWORD_BYTES_MAX + 1), None), Err(Refused::Password));
        let nobody = Credentials::check(None, &passwords(), Presented { password: "", code: None }, NOW);
        assert_eq!(nobody, Err(Refused::Unknown));
        one.set_disabled(true);
        assert_eq!(check(&mut one, PASSWORD, None), Err(Refused::Disabled));
        assert_eq!(check(&mut one, "x", None), Err(Refused::Password), "only the right password tells");
    }

    #[test]
    fn a_given_password_must_be_changed_into_another() {
        let mut one = Credentials::new(passwords().hash("first", [1; 16]), NOW);
        assert_eq!(check(&mut one, "first", None), Ok(SignedIn::MustChange));
        assert_eq!(one.change(&passwords(), "first", [2; 16], NOW), Err(WeakPassword::Same));
        assert_eq!(one.change(&passwords(), PASSWORD, [2; 16], NOW), Ok(()));
        assert_eq!(check(&mut one, PASSWORD, None), FULLY);
        one.require_change();
        assert_eq!(check(&mut one, PASSWORD, None), Ok(SignedIn::MustChange));
        one.reset(passwords().hash("second", [1; 16]), NOW);
        assert_eq!(check(&mut one, "second", None), Ok(SignedIn::MustChange));
    }

    #[test]
    fn a_second_factor_is_asked_for_and_good_once() {
        let (mut one, recovery) = with_totp();
        assert_eq!(check(&mut one, PASSWORD, None), Ok(SignedIn::CodeMissing));
        assert_eq!(check(&mut one, "x", Some("287082")), Err(Refused::Password));
        assert_eq!(check(&mut one, PASSWORD, Some("000000")), Err(Refused::Code));
        assert_eq!(check(&mut one, PASSWORD, Some("287082")), FULLY, "a wrong password used no code up");
        assert_eq!(check(&mut one, PASSWORD, Some("287082")), Err(Refused::Code));
        // All ten codes of this test are alike, and go together.
        let signed_in = SignedIn::Fully { rehash: false, recovery_left: Some(0) };
        assert_eq!(check(&mut one, PASSWORD, Some(&recovery)), Ok(signed_in));
        assert_eq!(check(&mut one, PASSWORD, Some(&recovery)), Err(Refused::Code));
        one.remove_totp();
        assert_eq!(check(&mut one, PASSWORD, None), FULLY);
    }

    #[test]
    fn a_cheap_hash_is_made_again() {
        let mut one = person();
        let dear = Argon2Parameters { memory_kib: 128, iterations: 1, parallelism: 1 };
        let dear = Passwords::new(dear, [0; 16]).unwrap();
        let presented = Presented { password: PASSWORD, code: None };
        let rehash = Ok(SignedIn::Fully { rehash: true, recovery_left: None });
        assert_eq!(Credentials::check(Some(&mut one), &dear, presented, NOW), rehash);
        one.rehash(&dear, PASSWORD, [9; 16]);
        assert_eq!(Credentials::check(Some(&mut one), &dear, presented, NOW), FULLY);
        assert!(one.has_password(&dear, PASSWORD) && !one.has_password(&dear, "x"));
    }

    #[test]
    fn the_stored_shape_is_as_it_was() {
        let (one, _) = with_totp();
        let json = serde_json::to_value(&one).unwrap();
        let mut read: Credentials = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(check(&mut read, PASSWORD, Some("287082")), FULLY);
        assert_eq!(read.password_changed_at(), NOW);
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["version", "password", "passwordChangedAt", "mustChange", "disabled", "totp", "recovery"];
        assert_eq!(keys, expected);
        for (key, value) in [("version", 2), ("unknown", 1)] {
            let mut changed = json.clone();
            changed[key] = value.into();
            assert!(serde_json::from_value::<Credentials>(changed).is_err(), "{key}");
        }
    }
}
