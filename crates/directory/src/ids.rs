//! The ids of a directory: tenants, principals, applications, groups, roles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A GUID, as directories name everything. Written with hyphens, in lower case; read in that form without case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(u128);

/// A text is no GUID.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("not a GUID of 36 characters")]
pub struct GuidError;

/// Characters of a GUID with hyphens.
const LEN: usize = 36;

impl Guid {
    /// From its 128 bits, as built-in ones are written down.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// A new one (version 4) from random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid().as_u128())
    }

    /// Reads the hyphenated form.
    ///
    /// # Errors
    /// [`GuidError`] for every other form, also those without hyphens or with braces.
    pub fn parse(text: &str) -> Result<Self, GuidError> {
        if text.len() != LEN {
            return Err(GuidError);
        }
        Uuid::try_parse(text).map(|uuid| Self(uuid.as_u128())).map_err(|_| GuidError)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_u128(self.0), f)
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Guid {
    type Err = GuidError;
    fn from_str(text: &str) -> Result<Self, GuidError> {
        Self::parse(text)
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    #[test]
    fn one_form_is_read_without_case_and_written_in_lower() {
        let guid = Guid::parse(TEXT).unwrap();
        assert_eq!(guid.to_string(), TEXT);
        assert_eq!(Guid::parse(&TEXT.to_uppercase()), Ok(guid));
        assert_eq!(serde_json::from_str::<Guid>(&serde_json::to_string(&guid).unwrap()).unwrap(), guid);
        let simple = TEXT.replace('-', "");
        for wrong in ["", "x", &TEXT[..35], &format!("{TEXT}0"), &simple, &format!("{{{TEXT}}}"), &"g".repeat(36)] {
            assert_eq!(Guid::parse(wrong), Err(GuidError), "{wrong}");
        }
    }

    #[test]
    fn a_new_one_says_that_it_is_random() {
        assert_eq!(Guid::from_random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
