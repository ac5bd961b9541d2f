//! Device and module ids.
//!
//! Ids are case-sensitive, 1 to 128 characters of ASCII letters, digits and
//! `- : . + % _ # * ? ! ( ) , = @ ; $ '` (IoT Hub identity registry reference).
//! They are parsed once where they come in; nobody checks them again.

use std::fmt;
use std::sync::Arc;

/// Longest id in characters.
pub const ID_LEN_MAX: usize = 128;

/// Why a text is not an id.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum IdError {
    /// The id is empty.
    #[error("id is empty")]
    Empty,
    /// The id has more than [`ID_LEN_MAX`] characters.
    #[error("id is longer than {ID_LEN_MAX} characters")]
    TooLong,
    /// The id holds a character outside the published alphabet.
    #[error("id holds the character {0:?}, which is not allowed")]
    Character(char),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_LEN_MAX {
        return Err(IdError::TooLong);
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(*c))) {
        Some(c) => Err(IdError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and alphabet.
            ///
            /// # Errors
            /// [`IdError`] names what is wrong.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id!(DeviceId, "The id of a registered device.");
id!(ModuleId, "The id of a module under a device.");

/// A device, or a module of a device.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// The module; absent for the device itself.
    pub module: Option<ModuleId>,
}

impl Identity {
    /// The identity of a device itself.
    pub fn device(device: DeviceId) -> Self {
        Self { device, module: None }
    }

    /// Parses `device` or `device/module`, the form of an MQTT client id.
    ///
    /// # Errors
    /// [`IdError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        match text.split_once('/') {
            None => Ok(Self::device(DeviceId::parse(text)?)),
            Some((device, module)) => {
                Ok(Self { device: DeviceId::parse(device)?, module: Some(ModuleId::parse(module)?) })
            }
        }
    }

    /// The path a token must cover, below the host: `devices/D` or `devices/D/modules/M`.
    pub fn resource(&self) -> String {
        match &self.module {
            None => format!("devices/{}", self.device),
            Some(module) => format!("devices/{}/modules/{module}", self.device),
        }
    }
}

impl From<DeviceId> for Identity {
    fn from(device: DeviceId) -> Self {
        Self::device(device)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            None => write!(f, "{}", self.device),
            Some(module) => write!(f, "{}/{module}", self.device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_character_is_accepted() {
        assert!(DeviceId::parse("aZ09-:.+%_#*?!(),=@;$'").is_ok());
    }

    #[test]
    fn slashes_blanks_and_letters_outside_ascii_are_refused() {
        for (text, c) in [("a/b", '/'), ("a b", ' '), ("münchen", 'ü'), ("a\0", '\0')] {
            assert_eq!(DeviceId::parse(text), Err(IdError::Character(c)));
        }
    }

    #[test]
    fn the_length_limit_is_128() {
        assert!(DeviceId::parse(&"x".repeat(128)).is_ok());
        assert_eq!(DeviceId::parse(&"x".repeat(129)), Err(IdError::TooLong));
        assert_eq!(DeviceId::parse(""), Err(IdError::Empty));
    }

    #[test]
    fn a_module_client_id_has_exactly_one_slash() {
        assert_eq!(Identity::parse("d/m").unwrap().resource(), "devices/d/modules/m");
        assert!(Identity::parse("d/m/x").is_err());
        assert!(Identity::parse("d/").is_err());
    }
}
