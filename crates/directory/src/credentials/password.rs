//! Hashes of passwords: Argon2id, written as PHC strings (`$argon2id$v=19$m=19456,t=2,p=1$salt$hash`).

use std::fmt;

use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroize as _;

/// Longest PHC string that is read.
const PHC_LEN_MAX: usize = 256;
/// The most memory a hash may ask for, KiB; what is on disk does not decide how much we take.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// The most passes a hash may ask for.
const ITERATIONS_MAX: u32 = 64;
/// The most lanes a hash may ask for.
const PARALLELISM_MAX: u32 = 16;

/// What a hash costs. The default is what OWASP's Password Storage Cheat Sheet asks for at least of Argon2id:
/// 19 MiB, two passes, one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Parameters {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for Argon2Parameters {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// Parameters are outside of what Argon2 or we allow.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error(
    "{memory_kib} KiB, {iterations} passes, {parallelism} lanes: at most {MEMORY_KIB_MAX} KiB, {ITERATIONS_MAX} passes \
     and {PARALLELISM_MAX} lanes, at least one pass, one lane and 8 KiB a lane"
)]
pub struct ParametersError {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Argon2Parameters {
    fn hasher(self) -> Result<Argon2<'static>, ParametersError> {
        let Self { memory_kib, iterations, parallelism } = self;
        let wrong = ParametersError { memory_kib, iterations, parallelism };
        if memory_kib > MEMORY_KIB_MAX || iterations > ITERATIONS_MAX || parallelism > PARALLELISM_MAX {
            return Err(wrong);
        }
        let params = Params::new(memory_kib, iterations, parallelism, None).map_err(|_| wrong)?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

/// A hash as it is kept. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Reads a PHC string of Argon2id, version 19, with a salt, a hash and bounded parameters.
    ///
    /// # Errors
    /// Says what it is not.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > PHC_LEN_MAX {
            return Err("a PHC string of at most 256 bytes");
        }
        let hash = password_hash::PasswordHash::new(text).map_err(|_| "a PHC string")?;
        if hash.algorithm != Algorithm::Argon2id.ident() || hash.version != Some(Version::V0x13.into()) {
            return Err("a hash of Argon2id, version 19");
        }
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err("a PHC string with salt and hash");
        }
        let parameters = parameters_of(&hash).ok_or("a PHC string with Argon2's parameters")?;
        parameters.hasher().map_err(|_| "a hash within the bounds of its parameters")?;
        Ok(Self(text.to_owned()))
    }
}

fn parameters_of(hash: &password_hash::PasswordHash<'_>) -> Option<Argon2Parameters> {
    let params = Params::try_from(hash).ok()?;
    let (memory_kib, iterations, parallelism) = (params.m_cost(), params.t_cost(), params.p_cost());
    Some(Argon2Parameters { memory_kib, iterations, parallelism })
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let hash = Self::parse(&text).map_err(|what| serde::de::Error::custom(format!("not {what}")));
        text.zeroize();
        hash
    }
}

/// What a presented password is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another.
    Wrong,
    /// The right one.
    Right,
    /// The right one, hashed at less cost than today's: hash it again while it is at hand.
    RightAndCheap,
}

/// Hashes and verifies at one cost.
#[derive(Clone, Debug)]
pub struct Passwords {
    parameters: Argon2Parameters,
    hasher: Argon2<'static>,
    /// Of nobody, so that an unknown user costs what a known one does.
    nobody: PasswordHash,
}

impl Passwords {
    /// For a cost; the salt is for the hash of nobody.
    ///
    /// # Errors
    /// [`ParametersError`].
    pub fn new(parameters: Argon2Parameters, salt: [u8; 16]) -> Result<Self, ParametersError> {
        let hasher = parameters.hasher()?;
        let nobody = hash(&hasher, "", salt);
        Ok(Self { parameters, hasher, nobody })
    }

    /// Hashes a password that the policy let through, with a salt drawn for it. Takes as long as the cost says: not
    /// for a thread that must answer others.
    pub fn hash(&self, password: &str, salt: [u8; 16]) -> PasswordHash {
        hash(&self.hasher, password, salt)
    }

    /// Whether a password is the one that was hashed. Without a hash, for an unknown user, it is never right and
    /// takes as long.
    pub fn verify(&self, stored: Option<&PasswordHash>, password: &str) -> Verdict {
        let phc = stored.unwrap_or(&self.nobody);
        let Ok(hash) = password_hash::PasswordHash::new(&phc.0) else { return Verdict::Wrong };
        let is_right = self.hasher.verify_password(password.as_bytes(), &hash).is_ok();
        match (is_right && stored.is_some(), parameters_of(&hash)) {
            (true, Some(of)) if self.is_cheap(of) => Verdict::RightAndCheap,
            (true, _) => Verdict::Right,
            (false, _) => Verdict::Wrong,
        }
    }

    fn is_cheap(&self, of: Argon2Parameters) -> bool {
        of.memory_kib < self.parameters.memory_kib || of.iterations < self.parameters.iterations
    }
}

fn hash(hasher: &Argon2<'_>, password: &str, salt: [u8; 16]) -> PasswordHash {
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
    let hash = hasher.hash_password(password.as_bytes(), &salt).expect("parameters were checked");
    PasswordHash(hash.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const CHEAP: Argon2Parameters = Argon2Parameters { memory_kib: 64, iterations: 1, parallelism: 1 };

    pub(crate) fn passwords() -> Passwords {
        Passwords::new(CHEAP, [0; 16]).unwrap()
    }

    #[test]
    fn the_default_is_what_owasp_asks_for() {
        let hash = Passwords::new(Argon2Parameters::default(), [1; 16]).unwrap().hash("tallow brink", [2; 16]);
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$AgICAgICAgICAgICAgICAg$"), "{}", hash.0);
    }

    #[test]
    fn a_password_is_right_or_wrong_and_nobody_has_one() {
        let passwords = passwords();
        let hash = passwords.hash("tallow brink", [2; 16]);
        assert_eq!(passwords.verify(Some(&hash), "tallow brink"), Verdict::Right);
        for wrong in ["tallow brinK", "", "tallow brink "] {
            assert_eq!(passwords.verify(Some(&hash), wrong), Verdict::Wrong);
        }
        assert_eq!(passwords.verify(None, ""), Verdict::Wrong, "nobody's password opens nothing");
        assert_ne!(passwords.hash("tallow brink", [3; 16]), hash, "salted");
    }

    #[test]
    fn a_hash_from_cheaper_days_asks_to_be_made_again() {
        let hash = passwords().hash("tallow brink", [2; 16]);
        let of = |memory_kib, iterations| {
            let parameters = Argon2Parameters { memory_kib, iterations, parallelism: 1 };
            Passwords::new(parameters, [0; 16]).unwrap().verify(Some(&hash), "tallow brink")
        };
        assert_eq!(of(65, 1), Verdict::RightAndCheap);
        assert_eq!(of(64, 2), Verdict::RightAndCheap);
        assert_eq!(of(63, 1), Verdict::Right);
    }

    #[test]
    fn parameters_have_bounds() {
        let new = |memory_kib, iterations, parallelism| {
            Passwords::new(Argon2Parameters { memory_kib, iterations, parallelism }, [0; 16]).is_ok()
        };
        assert!(new(8, 1, 1) && !new(7, 1, 1));
        assert!(!new(64, 0, 1) && new(8, ITERATIONS_MAX, 1) && !new(8, ITERATIONS_MAX + 1, 1));
        assert!(!new(64, 1, 0) && !new(1024, 1, PARALLELISM_MAX + 1));
        assert!(!new(MEMORY_KIB_MAX + 1, 1, 1));
    }

    #[test]
    fn stored_hashes_are_read_if_they_are_of_argon2id() {
        let good = passwords().hash("a", [2; 16]);
        assert_eq!(PasswordHash::parse(&good.0), Ok(good.clone()));
        let json = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<PasswordHash>(&json).unwrap(), good);
        let changed = |from: &str, to: &str| PasswordHash::parse(&good.0.replace(from, to)).unwrap_err();
        assert_eq!(changed("argon2id", "argon2i"), "a hash of Argon2id, version 19");
        assert_eq!(changed("v=19", "v=16"), "a hash of Argon2id, version 19");
        assert_eq!(changed("m=64", "m=4294967295"), "a hash within the bounds of its parameters");
        for wrong in ["", "plain", "$argon2id$v=19$m=64,t=1,p=1", &"$".repeat(300)] {
            assert!(PasswordHash::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{good:?}"), "PasswordHash(…)");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,300}", tail in "[$a-z0-9=,+/]{0,80}") {
            let _ = PasswordHash::parse(&text);
            let _ = PasswordHash::parse(&format!("$argon2id$v=19${tail}"));
        }
    }
}
