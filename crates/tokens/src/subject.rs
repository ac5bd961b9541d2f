//! What a token is asked for: a device, a module, or a registration.
//!
//! ```text
//! {host}/devices/{id}    {host}/devices/{id}/modules/{id}    {scope}/registrations/{id}
//! ```
//!
//! Clients write it into a query percent-encoded, encoded twice or not at all. A scheme before the
//! host and a slash at the end are ignored, as a hub ignores them in tokens.

use std::fmt;

use gantry_identity::{DeviceId, IdError, Identity, ModuleId};
use gantry_provisioning::RegistrationId;
use percent_encoding::percent_decode_str;

/// Longest text accepted: a host name and two ids, every character encoded twice, would be longer, but no client
/// writes such a thing.
const TEXT_LEN_MAX: usize = 2048;
/// Longest host name or id scope, characters (RFC 1035 for host names).
const PLACE_LEN_MAX: usize = 253;

/// What a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A device or module of a hub.
    Identity {
        /// Host name as asked for, without port.
        host: String,
        /// The device or module.
        identity: Identity,
    },
    /// A registration with a provisioning service.
    Registration {
        /// Id scope.
        scope: String,
        /// Registration id, as asked for: its key is derived from this text.
        id: RegistrationId,
    },
}

/// Why a text names nothing a token can be made for.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SubjectError {
    /// The text is empty or absent.
    #[error("query parameter `sr` is missing")]
    Missing,
    /// The text is too long.
    #[error("`sr` is longer than {TEXT_LEN_MAX} characters")]
    TooLong,
    /// The percent-encoding does not give text.
    #[error("`sr` is not UTF-8 after decoding")]
    Encoding,
    /// The parts are others than one of the three forms has.
    #[error(
        "`sr` must be HOST/devices/ID, HOST/devices/ID/modules/ID or SCOPE/registrations/ID, percent-encoded or not"
    )]
    Shape,
    /// The device or module id is none.
    #[error("{0}")]
    Id(#[from] IdError),
    /// The registration id is none.
    #[error("registration {0}")]
    Registration(String),
}

impl Subject {
    /// Reads the value of the parameter as it stands in the query, without form-decoding: a `+` is a plus, because
    /// ids may hold one and never a blank.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(raw: &str) -> Result<Self, SubjectError> {
        if raw.is_empty() {
            return Err(SubjectError::Missing);
        }
        if raw.len() > TEXT_LEN_MAX {
            return Err(SubjectError::TooLong);
        }
        let mut text = decode(raw)?;
        // A whole resource has slashes: without one it was encoded twice. An id may hold `%2F` as it is.
        if !text.contains('/') {
            text = decode(&text)?;
        }
        let text = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest).trim_end_matches('/');
        let parts: Vec<&str> = text.split('/').collect();
        let place = parts.first().filter(is_place).ok_or(SubjectError::Shape)?;
        let identity = |device: &str, module: Option<&str>| {
            let module = module.map(ModuleId::parse).transpose()?;
            Ok(Self::Identity {
                host: strip_port(place),
                identity: Identity { device: DeviceId::parse(device)?, module },
            })
        };
        match parts[1..] {
            ["devices", device] => identity(device, None),
            // The article's prose says `module`, the SDKs `modules`.
            ["devices", device, "modules" | "module", module] => identity(device, Some(module)),
            ["registrations", id] => {
                let id = RegistrationId::parse(id).map_err(|error| SubjectError::Registration(error.to_string()))?;
                Ok(Self::Registration { scope: (*place).to_owned(), id })
            }
            _ => Err(SubjectError::Shape),
        }
    }
}

fn decode(text: &str) -> Result<String, SubjectError> {
    percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| SubjectError::Encoding)
}

/// Host names, addresses and id scopes; what follows is compared with what is configured.
fn is_place(text: &&&str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
    !text.is_empty() && text.len() <= PLACE_LEN_MAX && text.chars().all(allowed)
}

fn strip_port(host: &str) -> String {
    match host.rsplit_once(':') {
        // An IPv6 address outside of brackets has more colons than one.
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name.to_owned()
        }
        _ => host.to_owned(),
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { host, identity } => write!(f, "{host}/{}", identity.resource()),
            Self::Registration { scope, id } => write!(f, "{scope}/registrations/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(raw: &str, expected: &str) {
        assert_eq!(Subject::parse(raw).map(|subject| subject.to_string()).as_deref(), Ok(expected), "{raw}");
    }

    #[track_caller]
    fn refuses(raw: &str, expected: &SubjectError) {
        assert_eq!(Subject::parse(raw).as_ref(), Err(expected), "{raw}");
    }

    #[test]
    fn every_spelling_of_a_client_is_read() {
        for raw in [
            "hub.example/devices/d1",
            "hub.example%2Fdevices%2Fd1",
            "hub.example%2fdevices%2fd1",
            "hub.example%252Fdevices%252Fd1",
            "https://hub.example/devices/d1/",
            "hub.example:443/devices/d1",
        ] {
            reads(raw, "hub.example/devices/d1");
        }
        reads("h/devices/d/modules/m", "h/devices/d/modules/m");
        reads("h/devices/d/module/m", "h/devices/d/modules/m");
        reads("0ne00000001/registrations/R-1", "0ne00000001/registrations/R-1");
    }

    #[test]
    fn an_id_keeps_its_plus_and_its_percent() {
        reads("h/devices/a+b", "h/devices/a+b");
        reads("h%2Fdevices%2Fa%252Fb", "h/devices/a%2Fb");
    }

    #[test]
    fn what_is_no_single_identity_is_refused() {
        refuses("", &SubjectError::Missing);
        for raw in [
            "h",
            "h/devices",
            "h/devices/d/messages",
            "h/devices/d/modules",
            "h/twins/d",
            "/devices/d",
            "h h/devices/d",
        ] {
            refuses(raw, &SubjectError::Shape);
        }
        refuses("h/devices/", &SubjectError::Shape);
        refuses("h/devices/a%20b", &SubjectError::Id(IdError::Character(' ')));
        refuses(&format!("h/devices/{}", "x".repeat(129)), &SubjectError::Id(IdError::TooLong));
        refuses("h/devices/d/modules/m%C3%BC", &SubjectError::Id(IdError::Character('ü')));
        refuses("h/devices/%FF", &SubjectError::Encoding);
        refuses(&"x".repeat(TEXT_LEN_MAX + 1), &SubjectError::TooLong);
        assert!(matches!(Subject::parse("s/registrations/a b"), Err(SubjectError::Registration(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = Subject::parse(&text);
        }
    }
}
