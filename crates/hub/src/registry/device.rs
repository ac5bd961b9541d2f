//! A registered identity and what a service may write to it.

use gantry_identity::{Identity, Key, KeyError, KeyPair, Timestamp};

/// Longest status reason in characters (identity registry reference).
pub const STATUS_REASON_LEN_MAX: usize = 128;

/// Whether an identity may connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// May connect.
    Enabled,
    /// May not.
    Disabled,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// How an identity proves itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Authentication {
    /// A shared access signature under one of two keys.
    Sas(KeyPair),
    /// A certificate whose thumbprint is one of two (SHA-1 or SHA-256, hex).
    SelfSigned {
        /// Thumbprint in everyday use.
        primary: Option<String>,
        /// Thumbprint that takes over during a roll.
        secondary: Option<String>,
    },
    /// A certificate under a verified CA, with the id as common name.
    CertificateAuthority,
    /// None: an edge-managed module.
    None,
}

impl Authentication {
    /// The word on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sas(_) => "sas",
            Self::SelfSigned { .. } => "selfSigned",
            Self::CertificateAuthority => "certificateAuthority",
            Self::None => "none",
        }
    }
}

/// A device or module in the registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Who it is.
    pub identity: Identity,
    /// Changes when a deleted id is created again.
    pub generation_id: String,
    /// Counter behind the ETag.
    pub etag: u64,
    /// Whether it may connect.
    pub status: Status,
    /// Why, in the operator's words.
    pub status_reason: Option<String>,
    /// When the status last changed.
    pub status_updated_at: Timestamp,
    /// How it proves itself.
    pub authentication: Authentication,
    /// Whether it is an edge device.
    pub iot_edge: bool,
    /// Edge scope of the device, or of a leaf's parent.
    pub device_scope: Option<String>,
    /// Scopes of the edge devices above it; at most one.
    pub parent_scopes: Vec<String>,
    /// Who manages a module (`IotEdge`).
    pub managed_by: Option<String>,
}

impl Device {
    /// The ETag as bodies carry it.
    pub fn etag_text(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.etag.to_be_bytes())
    }
}

/// Authentication as a service writes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AuthenticationWrite {
    /// Not given: keys are drawn for a new identity, kept for an old one.
    #[default]
    Unchanged,
    /// Keys; drawn when absent.
    Sas(Option<KeyPair>),
    /// Thumbprints.
    SelfSigned {
        /// Thumbprint in everyday use.
        primary: Option<String>,
        /// Thumbprint that takes over during a roll.
        secondary: Option<String>,
    },
    /// Certificate authority.
    CertificateAuthority,
    /// None.
    None,
}

impl AuthenticationWrite {
    /// Keys from the two base64 texts of a request; empty counts as absent.
    ///
    /// # Errors
    /// [`KeyPairError`] when only one is given or one cannot be read.
    pub fn sas(primary: Option<&str>, secondary: Option<&str>) -> Result<Self, KeyPairError> {
        let given = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(Key::from_base64).transpose();
        match (given(primary)?, given(secondary)?) {
            (None, None) => Ok(Self::Sas(None)),
            (Some(primary), Some(secondary)) => Ok(Self::Sas(Some(KeyPair { primary, secondary }))),
            _ => Err(KeyPairError::OnlyOne),
        }
    }
}

/// Why two texts are not a pair of keys.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum KeyPairError {
    /// One key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Primary without secondary or the reverse.
    #[error("give both keys or neither")]
    OnlyOne,
}

/// Everything a service may write to an identity. PUT replaces all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceWrite {
    /// Whether it may connect.
    pub status: Status,
    /// Why, in the operator's words.
    pub status_reason: Option<String>,
    /// How it proves itself.
    pub authentication: AuthenticationWrite,
    /// Whether it is an edge device.
    pub iot_edge: bool,
    /// Scope of a leaf's parent.
    pub device_scope: Option<String>,
    /// Scopes of the edge devices above it; at most one.
    pub parent_scopes: Vec<String>,
    /// Who manages a module.
    pub managed_by: Option<String>,
}

impl Default for DeviceWrite {
    fn default() -> Self {
        Self {
            status: Status::Enabled,
            status_reason: None,
            authentication: AuthenticationWrite::Unchanged,
            iot_edge: false,
            device_scope: None,
            parent_scopes: vec![],
            managed_by: None,
        }
    }
}

/// What a request says about the version it expects (RFC 7232, as the SDKs spell it).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum IfMatch {
    /// No header.
    #[default]
    Absent,
    /// `*`, quoted or not.
    Any,
    /// One of these tags, without quotes.
    Tags(Vec<String>),
}

impl IfMatch {
    /// This tag.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::Tags(vec![tag.into()])
    }

    /// Reads the header, a list (RFC 9110, 13.1.1): quotes and a weak prefix are dropped, `"*"` is `*`.
    pub fn parse(header: Option<&str>) -> Self {
        let plain = |item: &str| item.strip_prefix("W/").unwrap_or(item).trim_matches('"').to_owned();
        let items = header.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty());
        let tags: Vec<String> = items.map(plain).collect();
        match &tags[..] {
            [] => Self::Absent,
            [tag] if tag == "*" => Self::Any,
            _ => Self::Tags(tags),
        }
    }

    /// Whether a thing with this tag may be written.
    pub fn admits(&self, etag: &str) -> bool {
        match self {
            Self::Absent | Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_read_as_the_sdks_write_it() {
        for (text, expected) in [
            (None, IfMatch::Absent),
            (Some("*"), IfMatch::Any),
            (Some("\"*\""), IfMatch::Any),
            (Some("\"AAE=\""), IfMatch::tag("AAE=")),
            (Some("AAE="), IfMatch::tag("AAE=")),
            (Some("W/\"AAE=\""), IfMatch::tag("AAE=")),
            (Some("\"AAE=\", AAI="), IfMatch::Tags(vec!["AAE=".into(), "AAI=".into()])),
            (Some("*, \"AAI=\""), IfMatch::Tags(vec!["*".into(), "AAI=".into()])),
            (Some(" , "), IfMatch::Absent),
        ] {
            assert_eq!(IfMatch::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn one_key_alone_is_refused() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(AuthenticationWrite::sas(Some(key), None), Err(KeyPairError::OnlyOne));
        assert_eq!(AuthenticationWrite::sas(Some(""), Some("")), Ok(AuthenticationWrite::Sas(None)));
        assert!(matches!(AuthenticationWrite::sas(Some(key), Some(key)), Ok(AuthenticationWrite::Sas(Some(_)))));
    }
}
