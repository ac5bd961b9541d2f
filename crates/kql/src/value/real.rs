//! Text of reals: the shortest that reads back as itself.

/// The text of a real: `1.0`, `0.1`, `1E+20`, `NaN`, `Infinity`, `-Infinity`.
///
/// Always with a point or an exponent, so that it is never taken for a whole number; the
/// exponent appears from 1E+15 and below 1E-04, as the service's runtime writes it.
pub fn print_real(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e15).contains(&magnitude) {
        let text = format!("{value:E}");
        let (mantissa, exponent) = text.split_once('E').expect("the form has an exponent");
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}E{sign}{digits:0>2}");
    }
    let text = value.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// A real: decimal with or without exponent, `nan`, `inf`, `infinity` in any case, with a sign.
pub fn parse_real(text: &str) -> Option<f64> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    if ["inf", "infinity"].iter().any(|name| unsigned.eq_ignore_ascii_case(name)) {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if unsigned.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    if !unsigned.bytes().next()?.is_ascii_digit() && !unsigned.starts_with('.') {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_print_as_the_shortest_text_with_a_point() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (0.0, "0.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e14, "100000000000000.0"),
            (1e15, "1E+15"),
            (1.5e-7, "1.5E-07"),
            (f64::MAX, "1.7976931348623157E+308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(print_real(value), text);
            let back = parse_real(text).unwrap();
            assert!(back == value || value.is_nan() && back.is_nan(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_no_real() {
        for wrong in ["", "-", "x", "1.5.2", "1e", "infinite", "1_000", "--1", "+-1"] {
            assert_eq!(parse_real(wrong), None, "{wrong}");
        }
    }
}
