//! Guids.

use std::fmt;

/// A guid: its 128 bits in the order they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub u128);

impl Guid {
    /// 32 hexadecimal digits, with dashes anywhere between them and braces or not.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let (mut bits, mut digits) = (0u128, 0);
        for (at, c) in text.chars().enumerate() {
            if c == '-' && at > 0 {
                continue;
            }
            bits = bits.checked_shl(4)? | u128::from(c.to_digit(16)?);
            digits += 1;
            if digits > 32 {
                return None;
            }
        }
        (digits == 32 && !text.ends_with('-')).then_some(Self(bits))
    }
}

/// Lower case, with dashes.
impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_read_with_odd_dashes_and_print_with_the_usual() {
        let usual = "74be27de-1e4e-49d9-b579-fe0b331d3642";
        for text in [usual, "74be27de1e4e49d9b579fe0b331d3642", "{74BE27DE-1E4E-49D9-B579-FE0B331D3642}"] {
            assert_eq!(Guid::parse(text).unwrap().to_string(), usual);
        }
        for wrong in ["", "74be27de", "74be27de-1e4e-49d9-b579-fe0b331d36422", "x4be27de1e4e49d9b579fe0b331d3642"] {
            assert_eq!(Guid::parse(wrong), None, "{wrong}");
        }
    }
}
