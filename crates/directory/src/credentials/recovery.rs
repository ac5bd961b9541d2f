//! Recovery codes, for whoever lost their authenticator: shown once, kept as hashes, good once each.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::base32;
use crate::secret::{SecretHash, SecretText};

/// Codes a person gets.
pub const RECOVERY_CODES: usize = 10;
/// Random bytes of a code: 80 bits, more than anybody guesses from a hash.
const CODE_BYTES: usize = 10;
/// Longest text that is looked at.
const TEXT_LEN_MAX: usize = 64;

/// The codes that are left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecoveryCodes(Vec<SecretHash>);

impl RecoveryCodes {
    /// New codes from random bytes, and their texts (`ABCD-EFGH-IJKL-MNOP`) to show this once.
    pub fn from_random(bytes: [[u8; CODE_BYTES]; RECOVERY_CODES]) -> (Self, Vec<SecretText>) {
        let texts: Vec<_> = bytes.iter().map(|bytes| SecretText::new(grouped(&base32::encode(bytes)))).collect();
        (Self(texts.iter().map(|text| hash(text.text())).collect()), texts)
    }

    /// Whether a text is one of the codes; if so it is used up. Case, spaces and dashes do not matter.
    pub fn redeem(&mut self, text: &str) -> bool {
        if text.len() > TEXT_LEN_MAX {
            return false;
        }
        let hash = hash(text);
        let before = self.0.len();
        self.0.retain(|code| *code != hash);
        self.0.len() < before
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

fn grouped(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-")
}

fn hash(text: &str) -> SecretHash {
    let typed = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_uppercase());
    SecretHash::of(&Zeroizing::new(typed.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes() -> (RecoveryCodes, Vec<SecretText>) {
        RecoveryCodes::from_random(std::array::from_fn(|n| [u8::try_from(n).unwrap(); CODE_BYTES]))
    }

    #[test]
    fn a_code_is_good_once() {
        let (mut codes, texts) = codes();
        assert_eq!(texts[1].text(), "AEAQ-CAIB-AEAQ-CAIB");
        assert!(codes.redeem(texts[1].text()));
        assert!(!codes.redeem(texts[1].text()));
        assert!(codes.redeem(&texts[2].text().to_lowercase().replace('-', " ")));
        assert_eq!(codes.left(), RECOVERY_CODES - 2);
    }

    #[test]
    fn what_is_no_code_uses_none_up() {
        let (mut codes, texts) = codes();
        for wrong in ["", "-", &texts[0].text()[1..], &"A".repeat(TEXT_LEN_MAX + 1)] {
            assert!(!codes.redeem(wrong), "{wrong}");
        }
        assert_eq!(codes.left(), RECOVERY_CODES);
    }

    #[test]
    fn only_hashes_are_kept() {
        let (codes, texts) = codes();
        let json = serde_json::to_string(&codes).unwrap();
        assert!(!json.contains(&texts[0].text().replace('-', "")));
        assert_eq!(serde_json::from_str::<RecoveryCodes>(&json).unwrap(), codes);
    }
}
