//! String predicates: whole values, substrings and terms, with and without case.
//!
//! A term is a maximal run of letters and digits. `has` asks for its needle between term boundaries: an end of the
//! needle that is itself no letter or digit needs none. Folding of case is that of ASCII where both texts are ASCII,
//! and simple Unicode lower case otherwise. An empty needle is contained everywhere.

use std::borrow::Cow;

use memchr::memmem;

use crate::column::Strings;

/// What is asked about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The whole text.
    Equals,
    /// Anywhere.
    Contains,
    /// At the beginning.
    StartsWith,
    /// At the end.
    EndsWith,
    /// Between term boundaries.
    Has,
    /// At the beginning of a term.
    HasPrefix,
    /// At the end of a term.
    HasSuffix,
}

/// A needle prepared for many texts.
#[derive(Debug)]
pub struct Needle {
    kind: Match,
    cased: bool,
    /// As asked for, or folded when case does not count.
    text: String,
    finder: memmem::Finder<'static>,
    /// What any JSON has in it whose text is what is asked for.
    fragment: Option<memmem::Finder<'static>>,
}

impl Needle {
    /// Prepares a needle. `cased` tells whether case counts.
    pub fn new(kind: Match, cased: bool, text: &str) -> Needle {
        let text = if cased { text.to_owned() } else { fold(text).into_owned() };
        let finder = memmem::Finder::new(text.as_bytes()).into_owned();
        let fragment = fragment(&text).map(|part| memmem::Finder::new(part.as_bytes()).into_owned());
        Needle { kind, cased, text, finder, fragment }
    }

    /// Whether the text of a value may be what the needle asks for, told from the JSON it came as, which is not read.
    pub fn may_match_json(&self, json: &str) -> bool {
        let Some(fragment) = &self.fragment else { return true };
        let found = |json: &str| fragment.find(json.as_bytes()).is_some();
        // An escape may stand for any letter.
        memchr::memchr(b'\\', json.as_bytes()).is_some() || if self.cased { found(json) } else { found(&fold(json)) }
    }

    /// The only rows of texts of JSON that may be what the needle asks for, told from all texts at once; nothing when it
    /// cannot be told so.
    pub fn candidates(&self, texts: &Strings) -> Option<Vec<u32>> {
        let (Some(fragment), Strings::Plain { offsets, bytes }) = (&self.fragment, texts) else { return None };
        if memchr::memchr(b'\\', bytes.as_bytes()).is_some() || !self.cased && !bytes.is_ascii() {
            return None;
        }
        let folded = if self.cased { Cow::Borrowed(bytes.as_str()) } else { fold(bytes) };
        let mut rows = Vec::new();
        let mut from = 0;
        while let Some(at) = fragment.find(&folded.as_bytes()[from..]) {
            let at = from + at;
            let row = offsets.partition_point(|begin| *begin <= at) - 1;
            let end = offsets[row + 1];
            if at + fragment.needle().len() <= end {
                rows.push(row as u32);
                from = end;
            } else {
                from = at + 1;
            }
        }
        Some(rows)
    }

    /// Whether a text is what the needle asks for.
    pub fn matches(&self, text: &str) -> bool {
        if self.cased {
            return self.found_in(text);
        }
        // Most texts of machines are short ASCII in lower case already: those are not copied.
        match fold(text) {
            Cow::Borrowed(text) => self.found_in(text),
            Cow::Owned(text) => self.found_in(&text),
        }
    }

    fn found_in(&self, text: &str) -> bool {
        let needle = self.text.as_str();
        match self.kind {
            Match::Equals => text == needle,
            Match::Contains => self.finder.find(text.as_bytes()).is_some(),
            Match::StartsWith => text.starts_with(needle),
            Match::EndsWith => text.ends_with(needle),
            Match::Has => self.found_between(text, true, true),
            Match::HasPrefix => self.found_between(text, true, false),
            Match::HasSuffix => self.found_between(text, false, true),
        }
    }

    fn found_between(&self, text: &str, before: bool, after: bool) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let (opens, closes) =
            (self.text.chars().next().is_some_and(is_term), self.text.chars().next_back().is_some_and(is_term));
        let mut from = 0;
        while let Some(at) = self.finder.find(&text.as_bytes()[from..]) {
            let (start, end) = (from + at, from + at + self.text.len());
            let is_open = !before || !opens || !text[..start].chars().next_back().is_some_and(is_term);
            let is_closed = !after || !closes || !text[end..].chars().next().is_some_and(is_term);
            if is_open && is_closed {
                return true;
            }
            from = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
        false
    }
}

/// Whether a character is part of a term.
pub fn is_term(c: char) -> bool {
    c.is_alphanumeric()
}

/// A text without case.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// The longest run of word characters in a text of which one can stand in no number: it lies within one string, name or
/// literal of a JSON, which has it as it is but for escapes.
fn fragment(text: &str) -> Option<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let in_no_number = |c: char| c == '_' || c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E');
    text.split(|c| !is_word(c)).filter(|run| run.chars().any(in_no_number)).max_by_key(|run| run.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Match, cased: bool, text: &str, needle: &str, right: bool) {
        assert_eq!(Needle::new(kind, cased, needle).matches(text), right, "{text} {kind:?} {needle}");
    }

    #[test]
    fn has_asks_for_whole_terms() {
        check(Match::Has, false, "KustoExplorerQueryRun", "Explorer", false);
        check(Match::Contains, false, "KustoExplorerQueryRun", "explorer", true);
        check(Match::Has, false, "at 10.1.2.3 again", "10.1.2.3", true);
        check(Match::Has, false, "at 10.1.2.33 again", "10.1.2.3", false);
        check(Match::Has, false, "North America", "north america", true);
        check(Match::Has, true, "North America", "north america", false);
        check(Match::Has, false, "snake_case", "case", true);
        check(Match::Has, false, "tool.exe", ".exe", true);
        check(Match::Has, false, "aa a", "a", true);
        check(Match::Has, false, "", "", true);
        check(Match::Has, false, "x", "", true);
    }

    #[test]
    fn prefixes_and_suffixes_of_terms() {
        check(Match::HasPrefix, false, "the Motor-17", "mot", true);
        check(Match::HasPrefix, false, "the Motor-17", "otor", false);
        check(Match::HasSuffix, false, "the Motor-17", "OR", true);
        check(Match::HasSuffix, true, "the Motor-17", "OR", false);
        check(Match::HasSuffix, false, "the Motor-17", "Mot", false);
    }

    #[test]
    fn case_folds_beyond_ascii() {
        check(Match::Equals, false, "STRAẞE", "straße", true);
        check(Match::Has, false, "der ÖLDRUCK fällt", "öldruck", true);
        check(Match::Has, false, "äb", "b", false);
    }

    #[test]
    fn what_a_body_cannot_have_is_told_without_reading_it() {
        let bodies = [
            r#"{"state":"E0417 bearing","n":1.50}"#,
            r#"{"state" : "b\u0065aring"}"#,
            r#"{"Bearing":true,"n":1e3}"#,
            r#"["naïve", null, false]"#,
            "\"no json\"",
            "null",
        ];
        let needles = [
            "bearing",
            "BEARING",
            "state\":\"E0417",
            "E0417",
            "1.5",
            "1000",
            "true",
            "null",
            "ïve",
            "no json",
            "x_1",
            "",
            "\"n\":1",
        ];
        for needle in needles {
            for (cased, kind) in
                [(true, Match::Contains), (false, Match::Contains), (false, Match::Has), (true, Match::StartsWith)]
            {
                let asked = Needle::new(kind, cased, needle);
                for body in bodies {
                    let value = gantry_kql::value::Dynamic::parse_json(body).unwrap();
                    let text = crate::column::Cell::from(&value).text().into_owned();
                    assert!(asked.may_match_json(body) || !asked.matches(&text), "{needle} {kind:?} {body}");
                }
            }
        }
        assert!(!Needle::new(Match::Contains, true, "bearing").may_match_json(bodies[2]), "case counts");
        assert!(!Needle::new(Match::Has, false, "an x_1").may_match_json(bodies[0]));
    }
}
