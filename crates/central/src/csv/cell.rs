//! Cells that a spreadsheet takes for formulas.
//!
//! A text that begins with a mark of a formula gets a `'` before it, as does one that begins with a `'`, so that reading
//! takes off what writing put on. Numbers are no formulas.

/// What formulas begin with, in either width.
const MARKS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
/// What makes a spreadsheet look again at what follows.
const BREAKS: [char; 3] = ['\t', '\r', '\n'];
const GUARD: char = '\'';

/// A text that is no formula.
pub(super) fn guarded(text: &str) -> String {
    if text.starts_with(GUARD) || (is_formula(text) && !is_number(text)) {
        format!("{GUARD}{text}")
    } else {
        text.to_owned()
    }
}

/// The text before it was guarded. A `'` that guards nothing stays.
pub(super) fn unguarded(text: &str) -> &str {
    match text.strip_prefix(GUARD) {
        Some(rest) if rest.starts_with(GUARD) || is_formula(rest) => rest,
        _ => text,
    }
}

fn is_formula(text: &str) -> bool {
    text.starts_with(BREAKS) || text.trim_start().starts_with(MARKS)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formulas_are_guarded_and_numbers_are_not() {
        for text in
            ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\rx", " =1", "＝1", "-inf", "'x", "=cmd|' /C calc'!A0"]
        {
            assert_eq!(guarded(text), format!("'{text}"));
            assert_eq!(unguarded(&guarded(text)), text);
        }
        for text in ["", "x", "-5", "+1.5e-3", "1-2", "a=b", "Pump '3'"] {
            assert_eq!(guarded(text), text);
        }
    }

    #[test]
    fn what_somebody_wrote_stays() {
        assert_eq!(unguarded("'quoted'"), "'quoted'");
        assert_eq!(unguarded("'-5"), "-5");
        assert_eq!(unguarded("=1"), "=1");
    }

    proptest! {
        #[test]
        fn reading_takes_off_what_writing_put_on(text in "(?s)['=+@\\t -]{0,3}.{0,8}") {
            let written = guarded(&text);
            prop_assert_eq!(unguarded(&written), text.as_str());
            prop_assert!(!is_formula(&written) || is_number(&written));
        }
    }
}
