//! What failed, in the words of this API: reason code, `status`, and a text for people.

use gantry_hub::HubError;
use gantry_hub::connection::CloseReason;
use gantry_hub::twin::TwinError;
use gantry_mqtt::DecodeError;
use gantry_mqtt::v5::Reason;

use super::super::wire::End;

/// Longest text sent, in characters.
const TEXT_LEN_MAX: usize = 256;

/// Values of the `status` property: a byte of flags (client error 01, server error 02, with 04 when trying again
/// may help) and a byte of code, in hex.
pub(super) mod status {
    pub(crate) const BAD_REQUEST: &str = "0100";
    pub(crate) const NOT_AUTHORIZED: &str = "0101";
    pub(crate) const NOT_ALLOWED: &str = "0102";
    pub(crate) const CONFLICT: &str = "0103";
    pub(crate) const PRECONDITION_FAILED: &str = "0104";
    pub(crate) const THROTTLED: &str = "0501";
    pub(crate) const QUOTA_EXCEEDED: &str = "0502";
    pub(crate) const RESOURCE_EXHAUSTED: &str = "0503";
    pub(crate) const NOT_FOUND: &str = "0504";
    pub(crate) const SERVER_ERROR: &str = "0601";
    pub(crate) const SERVER_BUSY: &str = "0603";

    /// Whether a client's status says that trying again may help.
    pub(crate) fn is_retryable(status: &str) -> bool {
        u16::from_str_radix(status, 16).is_ok_and(|bits| bits & 0x0400 != 0)
    }
}

/// Why something was refused, or a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Failure {
    pub(in super::super) reason: Reason,
    /// One of [`status`]; absent when the reason says it all.
    pub(in super::super) status: Option<&'static str>,
    /// For people; empty when they are not to be told.
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, status: Option<&'static str>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if let Some((end, _)) = text.char_indices().nth(TEXT_LEN_MAX) {
            text.truncate(end);
        }
        Self { reason, status, text }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(Reason::IMPLEMENTATION_SPECIFIC, Some(status::BAD_REQUEST), text)
    }

    pub(super) fn protocol(text: impl Into<String>) -> Self {
        Self::new(Reason::PROTOCOL_ERROR, None, text)
    }

    pub(super) fn not_authorized() -> Self {
        Self::new(Reason::NOT_AUTHORIZED, Some(status::NOT_AUTHORIZED), "")
    }

    pub(super) fn of_decoding(error: DecodeError) -> Self {
        let reason = match error {
            DecodeError::TooLarge(_) => Reason::PACKET_TOO_LARGE,
            DecodeError::RepeatedProperty(_) | DecodeError::PropertyValue(_) | DecodeError::Property(_) => {
                Reason::PROTOCOL_ERROR
            }
            _ => Reason::MALFORMED_PACKET,
        };
        Self::new(reason, None, error.to_string())
    }

    /// Why the hub ends a connection.
    pub(super) fn of_close(reason: CloseReason) -> Self {
        let (code, text) = match reason {
            CloseReason::TakenOver => (Reason::SESSION_TAKEN_OVER, "another connection has this client id now"),
            CloseReason::CredentialsChanged => (Reason::NOT_AUTHORIZED, ""),
            CloseReason::MailboxFull => (Reason::SERVER_BUSY, "the connection does not read what is for it"),
            CloseReason::ShuttingDown => (Reason::SERVER_SHUTTING_DOWN, "the server stops"),
        };
        Self::new(code, None, text)
    }

    /// What the log says.
    pub(super) fn log_text(&self) -> &str {
        if self.text.is_empty() { "not authorized" } else { &self.text }
    }
}

impl From<&HubError> for Failure {
    fn from(error: &HubError) -> Self {
        let specific = Reason::IMPLEMENTATION_SPECIFIC;
        let (reason, status) = match error {
            HubError::Throttled(_) => (Reason::QUOTA_EXCEEDED, status::THROTTLED),
            HubError::QuotaExceeded(_) => (Reason::QUOTA_EXCEEDED, status::QUOTA_EXCEEDED),
            HubError::Unauthorized(_) | HubError::Disabled(_) => return Self::not_authorized(),
            HubError::NotInEdition(_) | HubError::FaultsOff => (specific, status::NOT_ALLOWED),
            HubError::NotFound(_) => (specific, status::NOT_FOUND),
            HubError::PreconditionFailed(_) => (specific, status::PRECONDITION_FAILED),
            HubError::Contended(_) => (specific, status::CONFLICT),
            HubError::Twin(TwinError::TooLarge { .. }) | HubError::MessageTooLarge { .. } => {
                (specific, status::BAD_REQUEST)
            }
            HubError::Twin(_) | HubError::Invalid(_) => (specific, status::BAD_REQUEST),
            HubError::NoSpace => (specific, status::SERVER_BUSY),
            // What failed inside is for the log.
            _ => return Self::new(specific, Some(status::SERVER_ERROR), "internal error"),
        };
        Self::new(reason, Some(status), error.to_string())
    }
}

/// Why serving stops: the connection ended, or the client is told why it does.
#[derive(Debug)]
pub(super) enum Stop {
    End(End),
    Failed(Failure),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_by_characters() {
        assert_eq!(Failure::bad_request("ä".repeat(300)).text, "ä".repeat(TEXT_LEN_MAX));
    }

    #[test]
    fn a_status_says_whether_to_try_again() {
        for (text, retryable) in [("0603", true), ("06A0", true), ("0501", true), ("0100", false), ("x", false)] {
            assert_eq!(status::is_retryable(text), retryable, "{text}");
        }
    }
}
