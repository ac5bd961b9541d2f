//! SASL frames (part 5, 5.3.3). Mechanisms of the server may challenge; our client has those that need one message.

use bytes::Bytes;

use crate::decode::{DecodeError, Reader};
use crate::encode::{self, Compound};
use crate::value::Symbol;

const MECHANISMS: u8 = 0x40;
const INIT: u8 = 0x41;
const CHALLENGE: u8 = 0x42;
const RESPONSE: u8 = 0x43;
const OUTCOME: u8 = 0x44;

/// Certificate of the TLS layer.
pub const EXTERNAL: Symbol = Symbol::from_static("EXTERNAL");
/// No proof here: claims follow over `$cbs`.
pub const MSSBCBS: Symbol = Symbol::from_static("MSSBCBS");
/// User name and password.
pub const PLAIN: Symbol = Symbol::from_static("PLAIN");
/// What a TPM signs, after a challenge (provisioning service).
pub const TPM: Symbol = Symbol::from_static("TPM");
/// No proof here.
pub const ANONYMOUS: Symbol = Symbol::from_static("ANONYMOUS");

/// The result of the negotiation (5.3.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Go on.
    Ok = 0,
    /// The credentials were refused.
    Auth = 1,
    /// The server cannot decide now.
    SystemTemporary = 4,
}

/// A SASL frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslFrame {
    /// What the server offers.
    Mechanisms(Vec<Symbol>),
    /// What the client chose.
    Init {
        /// The mechanism.
        mechanism: Symbol,
        /// Its only message.
        initial_response: Bytes,
        /// The host the client wants.
        hostname: Option<String>,
    },
    /// The server's challenge.
    Challenge(Bytes),
    /// The client's answer to it.
    Response(Bytes),
    /// The server's verdict: [`Outcome`] as a number.
    Outcome(u8),
}

impl SaslFrame {
    /// Appends the frame body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Mechanisms(mechanisms) => {
                encode::descriptor(out, MECHANISMS);
                let list = encode::begin(out, Compound::List);
                encode::symbols_or_null(out, mechanisms);
                encode::finish(out, list, 1);
            }
            Self::Init { mechanism, initial_response, hostname } => {
                encode::descriptor(out, INIT);
                let list = encode::begin(out, Compound::List);
                encode::symbol(out, mechanism.as_str());
                encode::binary(out, initial_response);
                encode::string_or_null(out, hostname.as_deref());
                encode::finish(out, list, 3);
            }
            Self::Challenge(bytes) | Self::Response(bytes) => {
                encode::descriptor(out, if matches!(self, Self::Challenge(_)) { CHALLENGE } else { RESPONSE });
                let list = encode::begin(out, Compound::List);
                encode::binary(out, bytes);
                encode::finish(out, list, 1);
            }
            Self::Outcome(code) => {
                encode::descriptor(out, OUTCOME);
                let list = encode::begin(out, Compound::List);
                encode::ubyte(out, *code);
                encode::null(out); // additional-data
                encode::finish(out, list, 2);
            }
        }
    }

    /// Reads a frame body.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let descriptor = reader.descriptor()?;
        let mut fields = reader.fields()?;
        Ok(match u8::try_from(descriptor).unwrap_or(0) {
            MECHANISMS => Self::Mechanisms(fields.symbols()?),
            INIT => Self::Init {
                mechanism: fields.symbol()?.ok_or(DecodeError::Missing("mechanism"))?,
                initial_response: fields.binary()?.unwrap_or_default(),
                hostname: fields.string()?,
            },
            CHALLENGE => Self::Challenge(fields.binary()?.ok_or(DecodeError::Missing("challenge"))?),
            RESPONSE => Self::Response(fields.binary()?.ok_or(DecodeError::Missing("response"))?),
            OUTCOME => Self::Outcome(fields.ubyte()?.ok_or(DecodeError::Missing("code"))?),
            _ => return Err(DecodeError::UnknownDescriptor(descriptor)),
        })
    }
}

/// The message of mechanism PLAIN (RFC 4616).
#[derive(Clone, PartialEq, Eq)]
pub struct Plain {
    /// Authentication identity.
    pub user: String,
    /// Password; never printed.
    pub password: String,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Plain {
    /// Reads `[authzid] NUL authcid NUL password`. The authorization identity is ignored.
    #[must_use]
    pub fn decode(response: &[u8]) -> Option<Self> {
        let mut parts = response.splitn(3, |byte| *byte == 0);
        let _authorization_identity = parts.next()?;
        let user = std::str::from_utf8(parts.next()?).ok()?.to_owned();
        let password = std::str::from_utf8(parts.next()?).ok()?.to_owned();
        Some(Self { user, password })
    }

    /// Writes the message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::from(format!("\0{}\0{}", self.user, self.password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts() {
        let plain = Plain::decode(b"\0user\0a\0b").unwrap();
        assert_eq!((plain.user.as_str(), plain.password.as_str()), ("user", "a\0b"));
        assert_eq!(Plain::decode(b"other\0user\0pw").unwrap().user, "user");
        assert!(Plain::decode(b"user\0pw").is_none());
        assert!(Plain::decode(b"\0\xff\0pw").is_none());
    }

    #[test]
    fn a_password_is_not_printed() {
        let plain = Plain { user: "u".into(), password: "hidden".into() };
        assert!(!format!("{plain:?}").contains("hidden"));
    }
}
