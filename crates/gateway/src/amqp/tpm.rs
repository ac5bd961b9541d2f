//! SASL mechanism TPM of the provisioning service: a device shows the keys of its TPM, is challenged, and signs.
//!
//! ```text
//! init       00 scope 00 registration 00 EK         challenge  00
//! response   00 SRK                                 challenge  control byte, part of the blob
//! response   00  after every part but the last      ...
//! response   00 token                               outcome
//! ```
//!
//! The control byte is `C0` for the last part and `80` for others, with the part's number below it; parts fit into the
//! 512 bytes a SASL frame may have (AMQP 1.0, 5.3.1).

use std::sync::Arc;

use bytes::Bytes;
use gantry_amqp::sasl::Outcome;
use gantry_identity::Refusal;
use gantry_provisioning::{DpsError, RegistrationId, TpmRequest};

use super::connection::{Done, Head};
use super::dps::DpsDone;

/// Bytes of the blob in one challenge.
const PART_LEN: usize = 400;
/// Set in every control byte, and in that of the last part.
const PART: u8 = 0x80;
const LAST_PART: u8 = 0xc0;

/// Who wants to prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    scope: String,
    id: RegistrationId,
    endorsement_key: Vec<u8>,
}

/// How far it came.
pub(super) enum TpmSasl {
    /// The storage root key is due.
    RootKey(Claim),
    /// The challenge is being made.
    Challenging(Claim),
    /// Parts of the challenge follow.
    Parts { claim: Claim, blob: Bytes, sent: usize },
    /// The token is due.
    Token(Claim),
}

impl Claim {
    /// Reads the first message.
    fn read(init: &[u8]) -> Option<Self> {
        let mut fields = init.strip_prefix(&[0])?.splitn(3, |byte| *byte == 0);
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let (scope, id) = (text()?.to_owned(), RegistrationId::parse(text()?).ok()?);
        let endorsement_key = fields.next()?.to_vec();
        Some(Self { scope, id, endorsement_key })
    }
}

impl Head {
    /// The first message.
    pub(super) fn tpm_init(&mut self, init: &Bytes) {
        match Claim::read(init) {
            Some(claim) => {
                self.dps.tpm = Some(TpmSasl::RootKey(claim));
                self.sasl_challenge(Bytes::from_static(&[0]));
            }
            None => {
                self.tpm_refused("", &DpsError::Unauthorized(Refusal::UnknownIdentity("malformed TPM message".into())))
            }
        }
    }

    /// A later message.
    pub(super) fn tpm_response(&mut self, response: &Bytes) {
        let content = response.strip_prefix(&[0]);
        match (self.dps.tpm.take(), content) {
            (Some(TpmSasl::RootKey(claim)), Some(storage_root_key)) => self.make_challenge(claim, storage_root_key),
            (Some(TpmSasl::Parts { claim, blob, sent }), Some(_)) => self.send_part(claim, blob, sent),
            (Some(TpmSasl::Token(claim)), Some(token)) => match std::str::from_utf8(token) {
                Ok(token) => self.check_registrant_token(&claim.scope, claim.id.as_str(), token.to_owned()),
                Err(_) => self.tpm_refused(claim.id.as_str(), &DpsError::Unauthorized(Refusal::Missing)),
            },
            _ => self.tpm_refused("", &DpsError::Unauthorized(Refusal::Missing)),
        }
    }

    fn make_challenge(&mut self, claim: Claim, storage_root_key: &[u8]) {
        let (service, now) = (Arc::clone(self.context.provisioning.of(&claim.scope)), self.context.now);
        let (scope, id) = (claim.scope.clone(), claim.id.clone());
        let storage_root_key = storage_root_key.to_vec();
        let shown = TpmRequest { endorsement_key: claim.endorsement_key.clone(), storage_root_key };
        self.dps.tpm = Some(TpmSasl::Challenging(claim));
        self.work.push(Box::pin(async move {
            let result = service.challenge(now(), &scope, &id, &shown).await;
            Ok(Done::Dps(DpsDone::Challenged(Box::new(result))))
        }));
    }

    pub(super) fn tpm_challenged(&mut self, result: Result<Vec<u8>, DpsError>) {
        let Some(TpmSasl::Challenging(claim)) = self.dps.tpm.take() else { return };
        match result {
            Ok(blob) => self.send_part(claim, blob.into(), 0),
            Err(error) => self.tpm_refused(claim.id.as_str(), &error),
        }
    }

    fn send_part(&mut self, claim: Claim, mut blob: Bytes, sent: usize) {
        let part = blob.split_to(blob.len().min(PART_LEN));
        let is_last = blob.is_empty();
        let number = u8::try_from(sent).unwrap_or(u8::MAX) & !LAST_PART;
        let control = number | if is_last { LAST_PART } else { PART };
        let challenge = [&[control][..], &part].concat();
        self.dps.tpm =
            Some(if is_last { TpmSasl::Token(claim) } else { TpmSasl::Parts { claim, blob, sent: sent + 1 } });
        self.sasl_challenge(challenge.into());
    }

    fn tpm_refused(&mut self, id: &str, error: &DpsError) {
        let outcome = match error {
            DpsError::Unauthorized(refusal) => {
                let (at, service) = ((self.context.now)(), self.context.provisioning.own());
                service.report_refusal(at, id, &self.peer.address, "amqp dps sasl", refusal);
                Outcome::Auth
            }
            DpsError::Invalid(_) | DpsError::Malformed(_) => Outcome::Auth,
            _ => Outcome::SystemTemporary,
        };
        self.sasl_decided(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_has_three_fields_and_the_last_may_hold_anything() {
        let claim = Claim::read(b"\x000ne1\0pump-1\0\x01\0\x02").unwrap();
        assert_eq!((claim.scope.as_str(), claim.id.as_str()), ("0ne1", "pump-1"));
        assert_eq!(claim.endorsement_key, [1, 0, 2]);
        for wrong in [&b""[..], b"0ne1\0pump-1\0k", b"\x000ne1\0pump-1", b"\x000ne1\0a b\0k", b"\0\xff\0a\0k"] {
            assert_eq!(Claim::read(wrong), None, "{wrong:?}");
        }
    }
}
