//! Decimal numbers: digits and a scale.

use std::cmp::Ordering;
use std::fmt;

/// `mantissa / 10^scale`, up to 38 digits. The scale is the one it was written with: 1.50 prints
/// as 1.50 and equals 1.5.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    /// The digits, with the sign.
    pub mantissa: i128,
    /// How many of them stand after the point.
    pub scale: u8,
}

/// The largest scale.
const SCALE_MAX: u8 = 38;

impl Decimal {
    /// A decimal number with or without fraction and exponent, with a sign. Digits that do not
    /// fit are cut off behind the point; what does not fit before it is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (number, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if digits().next().is_none() || !digits().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (mut mantissa, mut scale) = (0i128, 0i64);
        for (at, digit) in digits().enumerate() {
            match mantissa.checked_mul(10).and_then(|m| m.checked_add(i128::from(digit - b'0'))) {
                Some(next) => mantissa = next,
                None if at >= whole.len() => break,
                None => return None,
            }
            scale += i64::from(at >= whole.len());
        }
        scale -= i64::from(exponent);
        while scale < 0 && mantissa != 0 {
            mantissa = mantissa.checked_mul(10)?;
            scale += 1;
        }
        while scale > i64::from(SCALE_MAX) && mantissa != 0 {
            mantissa /= 10;
            scale -= 1;
        }
        let scale = u8::try_from(scale.clamp(0, i64::from(SCALE_MAX))).expect("clamped");
        Some(Self { mantissa: if negative { -mantissa } else { mantissa }, scale })
    }

    /// The nearest double.
    pub fn to_real(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// Without trailing zeros behind the point: what two equal numbers have in common.
    pub fn normalized(self) -> Self {
        let Self { mut mantissa, mut scale } = self;
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    /// The whole part and the fraction as 38 digits: a total order of all decimals.
    fn parts(self) -> (i128, u128, bool) {
        let power = 10u128.pow(u32::from(self.scale.min(SCALE_MAX)));
        let magnitude = self.mantissa.unsigned_abs();
        let fraction = magnitude % power * 10u128.pow(u32::from(SCALE_MAX - self.scale.min(SCALE_MAX)));
        let whole = i128::try_from(magnitude / power).unwrap_or(i128::MAX);
        (whole, fraction, self.mantissa < 0)
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self { mantissa: i128::from(value), scale: 0 }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.parts(), other.parts()) {
            ((a, b, false), (c, d, false)) => (a, b).cmp(&(c, d)),
            ((a, b, true), (c, d, true)) => (c, d).cmp(&(a, b)),
            ((.., negative), _) => negative.cmp(&false).reverse(),
        }
    }
}

impl std::hash::Hash for Decimal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let Self { mantissa, scale } = self.normalized();
        (mantissa, scale).hash(state);
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.mantissa.unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        for (text, printed) in [
            ("1.5", "1.5"),
            ("-0.05", "-0.05"),
            ("1.50", "1.50"),
            ("1e3", "1000"),
            ("1.5e-3", "0.0015"),
            ("12345678901234567890.123456789", "12345678901234567890.123456789"),
            (".5", "0.5"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), printed);
        }
        for wrong in ["", "-", ".", "1.2.3", "x", "1e", "1e99", "999999999999999999999999999999999999999999"] {
            assert!(Decimal::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn decimals_are_ordered_by_value() {
        let ordered = ["-2", "-1.5", "-0.1", "0", "0.05", "0.1", "1.50", "2", "1e20"];
        let decimals: Vec<_> = ordered.iter().map(|text| Decimal::parse(text).unwrap()).collect();
        assert!(decimals.is_sorted());
        assert_eq!(Decimal::parse("1.50"), Decimal::parse("1.5"));
        assert_eq!(Decimal::parse("-0"), Decimal::parse("0.00"));
    }
}
