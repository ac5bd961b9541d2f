//! Second factors: time-based one-time passwords (RFC 6238) over HMAC-SHA1, six digits, thirty seconds: what every
//! authenticator takes.
//!
//! A code of the step before or after is good too (RFC 6238, 5.2), and each is good once: no step up to the last used
//! one is taken again.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_identity::{Timestamp, encode_component};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::base32;

/// Bytes of a key; RFC 4226 recommends 160 bits.
const KEY_LEN: usize = 20;
/// Length of a step, seconds.
const STEP_SECS: i64 = 30;
/// Digits of a code.
const DIGITS: u32 = 6;
/// Steps a clock may be off, either way.
const DRIFT_STEPS: i64 = 1;

/// The key a person's authenticator has. Never printed.
#[derive(Clone)]
pub struct TotpSecret(Zeroizing<[u8; KEY_LEN]>);

impl TotpSecret {
    /// From random bytes drawn by the caller.
    pub fn from_random(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key for typing into an authenticator.
    pub fn base32(&self) -> String {
        base32::encode(&*self.0)
    }

    /// What a QR code holds: `otpauth://totp/Issuer:account?secret=...` (Key URI format).
    pub fn uri(&self, issuer: &str, account: &str) -> String {
        let (issuer, account) = (encode_component(issuer), encode_component(account));
        let secret = self.base32();
        format!(
            "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}\
             &period={STEP_SECS}"
        )
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

impl Serialize for TotpSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(*self.0))
    }
}

impl<'de> Deserialize<'de> for TotpSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("not 20 bytes in base64");
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(|_| wrong())?;
        bytes.try_into().map(Self::from_random).map_err(|_| wrong())
    }
}

/// A second factor, and how far its codes are used up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Totp {
    secret: TotpSecret,
    /// Last step of which a code was taken.
    last_step: i64,
}

impl Totp {
    /// Switches a second factor on once its first code shows that the authenticator has the key.
    pub fn confirm(secret: TotpSecret, code: &str, now: Timestamp) -> Option<Self> {
        let mut totp = Self { secret, last_step: i64::MIN };
        totp.check(code, now).then_some(totp)
    }

    /// Whether a code is good now; if so it, and those before it, are not again.
    pub fn check(&mut self, code: &str, now: Timestamp) -> bool {
        let step = now.as_secs().div_euclid(STEP_SECS);
        let steps = step - DRIFT_STEPS..=step + DRIFT_STEPS;
        // Every step is looked at, so that time does not tell which one it was.
        let found = steps.fold(None, |found, step| if self.is_code(code, step) { Some(step) } else { found });
        match found.filter(|step| *step > self.last_step) {
            Some(step) => {
                self.last_step = step;
                true
            }
            None => false,
        }
    }

    fn is_code(&self, code: &str, step: i64) -> bool {
        use subtle::ConstantTimeEq as _;
        let mut expected = Zeroizing::new(String::with_capacity(DIGITS as usize));
        let _ = write!(expected, "{:0width$}", code_at(&*self.secret.0, step, DIGITS), width = DIGITS as usize);
        expected.as_bytes().ct_eq(code.as_bytes()).into()
    }
}

/// The code of a step (RFC 4226, 5.3).
fn code_at(key: &[u8], step: i64, digits: u32) -> u32 {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(&step.to_be_bytes());
    let mac: [u8; 20] = mac.finalize().into_bytes().into();
    let offset = usize::from(mac[19] & 0xf);
    let cut = [mac[offset], mac[offset + 1], mac[offset + 2], mac[offset + 3]];
    (u32::from_be_bytes(cut) & 0x7fff_ffff) % 10_u32.pow(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of both RFCs' test vectors.
    const KEY: [u8; 20] = *b"12345678901234567890";

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn codes_are_those_of_rfc_4226() {
        let expected = [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];
        for (count, code) in expected.into_iter().enumerate() {
            assert_eq!(code_at(&KEY, i64::try_from(count).unwrap(), 6), code);
        }
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        for (secs, code) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(code_at(&KEY, secs / 30, 8), code, "{secs}");
        }
    }

    /// Codes of step 1 (second 30 to 59) is 287082, see above.
    #[test]
    fn a_code_is_good_a_step_around_and_once() {
        let good = |secs| Totp { secret: TotpSecret::from_random(KEY), last_step: i64::MIN }.check("287082", at(secs));
        for (secs, expected) in [(-1, false), (0, true), (59, true), (89, true), (90, false)] {
            assert_eq!(good(secs), expected, "{secs}");
        }
        let mut totp = Totp::confirm(TotpSecret::from_random(KEY), "359152", at(60)).unwrap();
        assert!(!totp.check("359152", at(60)), "the same again");
        assert!(!totp.check("287082", at(60)), "an earlier one after a later one");
        assert!(totp.check("969429", at(60)));
    }

    #[test]
    fn what_is_no_code_is_wrong() {
        let mut totp = Totp { secret: TotpSecret::from_random(KEY), last_step: i64::MIN };
        for wrong in ["", "28708", "0287082", " 287082", "287 082", "２８７０８２", "abcdef"] {
            assert!(!totp.check(wrong, at(59)), "{wrong}");
        }
        assert!(Totp::confirm(TotpSecret::from_random(KEY), "000000", at(59)).is_none());
    }

    #[test]
    fn an_authenticator_reads_the_uri() {
        let uri = TotpSecret::from_random(KEY).uri("Gantry at work", "jane@contoso.com");
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert!(uri.starts_with("otpauth://totp/Gantry%20at%20work:jane%40contoso.com?"), "{uri}");
        assert!(uri.contains(&format!("secret={secret}&issuer=Gantry%20at%20work&")), "{uri}");
    }

    #[test]
    fn a_factor_is_read_as_it_was_written() {
        let totp = Totp::confirm(TotpSecret::from_random(KEY), "287082", at(59)).unwrap();
        let json = serde_json::to_string(&totp).unwrap();
        let mut read: Totp = serde_json::from_str(&json).unwrap();
        assert!(!read.check("287082", at(59)), "used codes stay used");
        assert!(serde_json::from_str::<Totp>(&json.replace("lastStep", "last")).is_err());
        assert_eq!(format!("{:?}", read.secret), "TotpSecret(…)");
    }
}
