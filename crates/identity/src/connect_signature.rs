//! The signature in a CONNECT of MQTT 5.
//!
//! `HMAC-SHA256(key, host LF client id LF policy LF sas-at LF sas-expiry LF)` over the texts **exactly as received**;
//! what was left out is an empty text. It proves one client id at one host, so there is no resource to authorize
//! beyond it. Source: IoT Hub MQTT 5 support (preview), "SAS".

use subtle::ConstantTimeEq as _;

use crate::key::{Key, KeyPair};
use crate::sas::{CLOCK_SKEW, Refusal};
use crate::time::Timestamp;

/// What a client signed, as it sent it, and its signature. Holding one proves nothing until
/// [`verify`](Self::verify) was called.
#[derive(Clone, Copy, Debug)]
pub struct ConnectSignature<'a> {
    /// The host it connects to.
    pub host: &'a str,
    /// Client id: `D` or `D/M`.
    pub client_id: &'a str,
    /// Policy whose key signed; absent when the identity's own did.
    pub policy: Option<&'a str>,
    /// `sas-at`: when the client signed, in milliseconds since the epoch.
    pub at: Option<&'a str>,
    /// `sas-expiry`: when the proof ends, in milliseconds since the epoch.
    pub expiry: &'a str,
    /// The 32 bytes of `Authentication Data`.
    pub signature: &'a [u8],
}

impl ConnectSignature<'_> {
    /// Checks the signature under either key, and the expiry; returns when a connection made with it ends.
    ///
    /// # Errors
    /// [`Refusal::Signature`] or [`Refusal::Expired`].
    pub fn verify(&self, keys: &KeyPair, now: Timestamp) -> Result<Timestamp, Refusal> {
        // Both comparisons always run, so time does not tell which key is in use.
        let good = self.matches(&keys.primary) | self.matches(&keys.secondary);
        // What cannot be an instant was not signed by a client of good faith.
        let expires_at = self.expiry.parse().map(Timestamp::from_millis).map_err(|_| Refusal::Signature)?;
        if !good {
            return Err(Refusal::Signature);
        }
        if now > expires_at.plus(CLOCK_SKEW) {
            return Err(Refusal::Expired(expires_at));
        }
        Ok(if now > expires_at { expires_at.plus(CLOCK_SKEW) } else { expires_at })
    }

    /// The signature a key makes of the same texts.
    pub fn sign(&self, key: &Key) -> [u8; 32] {
        let texts = [self.host, self.client_id, self.policy.unwrap_or(""), self.at.unwrap_or(""), self.expiry];
        let parts: Vec<&[u8]> = texts.into_iter().flat_map(|text| [text.as_bytes(), b"\n"]).collect();
        key.sign_parts(&parts)
    }

    fn matches(&self, key: &Key) -> bool {
        self.sign(key).as_slice().ct_eq(self.signature).into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const EXPIRY: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn context(signature: &[u8]) -> ConnectSignature<'_> {
        let expiry = "1767225600000";
        ConnectSignature { host: "hub.test", client_id: "d1", policy: None, at: Some("1"), expiry, signature }
    }

    fn keys() -> KeyPair {
        KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) }
    }

    #[test]
    fn the_text_signed_is_the_documented_one() {
        let key = Key::from_bytes([2; 32]);
        assert_eq!(context(&[]).sign(&key), key.sign(b"hub.test\nd1\n\n1\n1767225600000\n"));
        let of_policy = ConnectSignature { policy: Some("device"), at: None, ..context(&[]) };
        assert_eq!(of_policy.sign(&key), key.sign(b"hub.test\nd1\ndevice\n\n1767225600000\n"));
    }

    #[test]
    fn either_key_proves_until_the_expiry() {
        for key in [keys().primary, keys().secondary] {
            let signature = context(&[]).sign(&key);
            assert_eq!(context(&signature).verify(&keys(), Timestamp::from_millis(0)), Ok(EXPIRY));
            let late = EXPIRY.plus(CLOCK_SKEW).plus(Duration::from_millis(1));
            assert_eq!(context(&signature).verify(&keys(), late), Err(Refusal::Expired(EXPIRY)));
        }
    }

    #[test]
    fn another_key_text_or_length_is_refused() {
        let signature = context(&[]).sign(&keys().primary);
        let refused = |context: ConnectSignature<'_>| {
            assert_eq!(context.verify(&keys(), Timestamp::from_millis(0)), Err(Refusal::Signature), "{context:?}");
        };
        refused(context(&context(&[]).sign(&Key::from_bytes([3; 32]))));
        refused(context(&signature[..31]));
        refused(context(&[]));
        refused(ConnectSignature { client_id: "d2", ..context(&signature) });
        refused(ConnectSignature { at: None, ..context(&signature) });
        refused(ConnectSignature { policy: Some("device"), ..context(&signature) });
        let expiry = "never";
        let signature = ConnectSignature { expiry, ..context(&[]) }.sign(&keys().primary);
        refused(ConnectSignature { expiry, ..context(&signature) });
    }
}
