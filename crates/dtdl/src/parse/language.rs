//! Texts by language: a string, tagged strings, or a map from languages to texts.

use super::Walk;
use super::literals::{At, length};
use crate::document::{Node, Value};
use crate::error::{ErrorName as E, ParsingError};
use std::collections::HashSet;

/// The language of a string that says none.
pub const DEFAULT_LANGUAGE: &str = "en";

/// Texts by language, in the order of the document.
pub(crate) type Texts = Vec<(Box<str>, Box<str>)>;

impl Walk<'_> {
    /// The texts of a property; `plural` says that its values are written as an array.
    pub(crate) fn lang_text(&mut self, at: At<'_>, values: &[Value<'_>], plural: bool, length_max: u32) -> Texts {
        match values {
            [Value::Node(node)] if !plural => self.language_map(at, node, length_max),
            _ => self.tagged_strings(at, values, length_max),
        }
    }

    fn lang_error(&mut self, at: At<'_>, name: E) {
        self.errors.add(ParsingError::new(name).on(at.id).property(at.property));
    }

    fn lang_value(&mut self, at: At<'_>, name: E, value: &str) {
        self.errors.add(ParsingError::new(name).on(at.id).property(at.property).value(value));
    }

    /// `"name"`, `{"@value": "Name", "@language": "de"}` or a list of them.
    fn tagged_strings(&mut self, at: At<'_>, values: &[Value<'_>], length_max: u32) -> Texts {
        let mut texts = Texts::new();
        let mut given = HashSet::new();
        for value in values {
            let (code, text) = match value {
                Value::Text(text) => (DEFAULT_LANGUAGE, Some(*text)),
                Value::Node(node) => match self.tagged_string(at, node) {
                    Some(found) => found,
                    None => continue,
                },
                _ => {
                    self.lang_error(at, E::LangStringElementNotStringOrObject);
                    continue;
                }
            };
            if let Some(text) = text
                && length(text) > length_max as usize
            {
                self.lang_value(at, E::LangStringValueTooLong, text);
            }
            if !given.insert(code) {
                self.lang_value(at, E::LangStringElementCodeNotUnique, code);
                continue;
            }
            texts.push((code.into(), text.unwrap_or_default().into()));
        }
        texts
    }

    /// The language and text of a tagged string; none if it cannot count as one.
    fn tagged_string<'d>(&mut self, at: At<'_>, node: &Node<'d>) -> Option<(&'d str, Option<&'d str>)> {
        let code = match node.language {
            None => DEFAULT_LANGUAGE,
            Some("") => {
                self.lang_error(at, E::LangStringElementCodeNotString);
                return None;
            }
            Some(code) => {
                if !is_language(code) {
                    self.lang_value(at, E::LangStringElementInvalidCode, code);
                }
                code
            }
        };
        let text = match node.value.as_deref() {
            None => {
                self.lang_error(at, E::LangStringElementNoValue);
                None
            }
            Some(Value::Text(text)) => Some(*text),
            Some(_) => {
                self.lang_error(at, E::LangStringElementValueNotString);
                return None;
            }
        };
        self.check_tagged_string(at, node);
        Some((code, text))
    }

    fn check_tagged_string(&mut self, at: At<'_>, node: &Node<'_>) {
        if node.context.is_some() {
            self.lang_error(at, E::LangStringElementContext);
        }
        if node.id.is_some() {
            self.lang_error(at, E::LangStringElementId);
        }
        if node.has_graph {
            self.lang_error(at, E::LangStringElementGraph);
        }
        if at.context.restricts_keywords() {
            if node.types.is_some() {
                self.lang_error(at, E::LangStringElementType);
            }
            for keyword in &node.keywords {
                self.lang_value(at, E::LangStringElementKeyword, keyword);
            }
        }
        for property in &node.properties {
            self.lang_value(at, E::LangStringElementInvalidProp, property.name);
        }
    }

    /// `{"en": "Name", "de": "Name"}`.
    fn language_map(&mut self, at: At<'_>, node: &Node<'_>, length_max: u32) -> Texts {
        if let (2, Some(code), Some(Value::Text(text))) = (node.members, node.language, node.value.as_deref()) {
            self.lang_value(at, E::LangTagValueInLangMap, &format!("{{ \"{code}\": \"{text}\" }}"));
        } else {
            for (given, keyword) in [(node.language.is_some(), "@language"), (node.value.is_some(), "@value")] {
                if given {
                    self.lang_value(at, E::LangMapObjKeyword, keyword);
                }
            }
        }
        for (given, keyword) in [
            (node.context.is_some(), "@context"),
            (node.id.is_some(), "@id"),
            (node.types.is_some(), "@type"),
            (node.has_graph, "@graph"),
        ] {
            if given {
                self.lang_value(at, E::LangMapObjKeyword, keyword);
            }
        }
        for keyword in &node.keywords {
            self.lang_value(at, E::LangMapObjKeyword, keyword);
        }
        let mut texts = Texts::new();
        let mut given = HashSet::new();
        for property in &node.properties {
            if !is_language(property.name) {
                self.lang_value(at, E::LangStringInvalidCode, property.name);
            }
            let text = match property.values.as_slice() {
                [Value::Text(text)] if !property.plural => {
                    if length(text) > length_max as usize {
                        self.lang_value(at, E::LangStringValueTooLong, text);
                    }
                    *text
                }
                _ => {
                    self.lang_value(at, E::LangStringValueNotString, property.name);
                    ""
                }
            };
            if given.insert(property.name) {
                texts.push((property.name.into(), text.into()));
            } else {
                self.lang_value(at, E::LangStringCodeNotUnique, property.name);
            }
        }
        texts
    }
}

/// Whether a text is a language code: `en`, `en-US`, `zh-Hant-TW`, `es-419`.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    if !(2..=4).contains(&language.len()) || !language.bytes().all(|b| b.is_ascii_lowercase()) {
        return false;
    }
    let mut next = parts.next();
    if next.is_some_and(is_script) {
        next = parts.next();
    }
    if next.is_some_and(is_region) {
        next = parts.next();
    }
    next.is_none()
}

fn is_script(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 4
        && bytes.first().is_some_and(u8::is_ascii_uppercase)
        && bytes.iter().skip(1).all(u8::is_ascii_lowercase)
}

fn is_region(text: &str) -> bool {
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()))
        || (text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::is_language;

    #[test]
    fn language_codes_have_a_language_a_script_and_a_region() {
        for (text, fits) in [
            ("en", true),
            ("en-US", true),
            ("es-419", true),
            ("zh-Hant", true),
            ("zh-Hant-TW", true),
            ("english", false),
            ("e", false),
            ("EN", false),
            ("en-us", false),
            ("en-US-Hant", false),
            ("en-", false),
            ("", false),
        ] {
            assert_eq!(is_language(text), fits, "{text}");
        }
    }
}
