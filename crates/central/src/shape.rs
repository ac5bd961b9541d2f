//! Shapes of JSON that is stored as it was written: tables of members, and a check that names the place.
//!
//! A member that is not in the table is refused, as is one of another kind; the error has the path to it, as in
//! `tiles[2].configuration.queryRange.type`. Who keeps what was checked bounds its size as a whole.

use gantry_identity::ModuleId;
use serde_json::{Map, Value};

/// Characters of a name that an error repeats.
const NAME_CHARS_MAX: usize = 128;
/// Bytes of a URL; ours.
pub(crate) const URL_LEN_MAX: usize = 4_096;

/// What is wrong with a value, and where.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ShapeError {
    /// Nothing is known by that name there.
    #[error("`{0}` is not a member that is known there")]
    Unknown(String),
    /// Something is needed.
    #[error("`{0}` is missing")]
    Missing(String),
    /// It is something else.
    #[error("`{path}` is not {wanted}")]
    Wrong {
        /// Where.
        path: String,
        /// What it must be.
        wanted: String,
    },
}

/// What a value must be.
pub(crate) enum Shape {
    /// Anything.
    Any,
    /// A text with so many characters.
    Text(usize, usize),
    /// A text that names a place a browser goes to over TLS.
    HttpsUrl,
    /// Nothing, or a text that names a place of the web: no script is one.
    Link,
    /// One of some words.
    Word(&'static [&'static str]),
    /// True or false.
    Flag,
    /// A number in a range.
    Number(f64, f64),
    /// A number without a fraction in a range.
    Integer(i64, i64),
    /// Values of one shape, so many at most.
    List(&'static Self, usize),
    /// A value by name, so many at most.
    Map(&'static Self, usize),
    /// Members, and beside them values by names of modules, so many at most.
    Modules(&'static [Member], &'static Self, usize),
    /// Members.
    Object(&'static [Member]),
    /// Members, and others that may be anything.
    Open(&'static [Member]),
    /// Members as `type` says.
    Kind(&'static [(&'static str, &'static [Member])]),
    /// A text, or else members.
    TextOr(usize, &'static [Member]),
}

/// A member of an object.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) is_needed: bool,
    pub(crate) shape: Shape,
}

/// A member that must be there.
pub(crate) const fn needed(name: &'static str, shape: Shape) -> Member {
    Member { name, is_needed: true, shape }
}

/// A member that may be there.
pub(crate) const fn optional(name: &'static str, shape: Shape) -> Member {
    Member { name, is_needed: false, shape }
}

impl Shape {
    /// Checks a value at a path.
    pub(crate) fn check(&self, value: &Value, path: &str) -> Result<(), ShapeError> {
        let is_good = match self {
            Self::Any => true,
            Self::Text(min, max) => is_text(value, *min, *max),
            Self::HttpsUrl => value.as_str().is_some_and(|text| is_url(text, &["https://"])),
            Self::Link => value.as_str().is_some_and(|text| text.is_empty() || is_url(text, &["https://", "http://"])),
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Flag => value.is_boolean(),
            Self::Number(min, max) => value.as_f64().is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Integer(min, max) => value.as_i64().is_some_and(|number| (*min..=*max).contains(&number)),
            Self::List(shape, max) => match value.as_array().filter(|all| all.len() <= *max) {
                Some(all) => return check_each(all, shape, path),
                None => false,
            },
            Self::Map(shape, max) => match value.as_object().filter(|all| all.len() <= *max) {
                Some(all) => return all.iter().try_for_each(|(name, one)| shape.check(one, &below(path, name))),
                None => false,
            },
            Self::Modules(members, shape, max) => match value.as_object() {
                Some(all) if all.len() <= *max + members.len() => return check_modules(all, members, shape, path),
                _ => false,
            },
            Self::Open(members) => match value.as_object() {
                Some(all) => return check_members(all, members, &|_, _, _| Ok(()), path),
                None => false,
            },
            Self::Object(members) => match value.as_object() {
                Some(all) => return check_members(all, members, &unknown, path),
                None => false,
            },
            Self::TextOr(max, members) => match value.as_object() {
                Some(all) => return check_members(all, members, &unknown, path),
                None => is_text(value, 0, *max),
            },
            Self::Kind(kinds) => match value.as_object() {
                Some(all) => return check_kind(all, kinds, path),
                None => false,
            },
        };
        if is_good { Ok(()) } else { Err(ShapeError::Wrong { path: path.to_owned(), wanted: self.wanted() }) }
    }

    fn wanted(&self) -> String {
        match self {
            Self::Any => "a value".to_owned(),
            Self::Text(0, max) => format!("a text of at most {max} characters"),
            Self::Text(min, max) => format!("a text of {min} to {max} characters"),
            Self::HttpsUrl => "a URL with `https://`".to_owned(),
            Self::Link => "a URL with `https://` or `http://`".to_owned(),
            Self::Word(words) => format!("one of `{}`", words.join("`, `")),
            Self::Flag => "true or false".to_owned(),
            Self::Number(min, max) if *min == f64::MIN && *max == f64::MAX => "a number".to_owned(),
            Self::Number(min, max) => format!("a number of {min} to {max}"),
            Self::Integer(min, max) => format!("a whole number of {min} to {max}"),
            Self::List(_, max) => format!("a list of at most {max}"),
            Self::Map(_, max) | Self::Modules(_, _, max) => format!("an object of at most {max} members"),
            Self::Object(_) | Self::Open(_) | Self::Kind(_) => "an object".to_owned(),
            Self::TextOr(max, _) => format!("a text of at most {max} characters or an object"),
        }
    }
}

fn is_text(value: &Value, min: usize, max: usize) -> bool {
    value.as_str().is_some_and(|text| (min..=max).contains(&text.chars().count()))
}

/// Whether a text is a URL of one of some schemes with something for a host.
pub(crate) fn is_url(text: &str, schemes: &[&str]) -> bool {
    let after = |scheme: &&str| {
        let start = text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme));
        start.and_then(|_| text.get(scheme.len()..))
    };
    let rest = schemes.iter().find_map(after);
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']));
    has_host && text.len() <= URL_LEN_MAX && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn check_each(all: &[Value], shape: &Shape, path: &str) -> Result<(), ShapeError> {
    all.iter().enumerate().try_for_each(|(at, one)| shape.check(one, &format!("{path}[{at}]")))
}

fn check_modules(all: &Map<String, Value>, members: &[Member], shape: &Shape, path: &str) -> Result<(), ShapeError> {
    let other = |at: String, name: &str, value: &Value| {
        if name.starts_with('$') || ModuleId::parse(name).is_err() {
            return Err(ShapeError::Wrong { path: at, wanted: "named as a module".to_owned() });
        }
        shape.check(value, &at)
    };
    check_members(all, members, &other, path)
}

fn check_kind(
    all: &Map<String, Value>,
    kinds: &[(&'static str, &'static [Member])],
    path: &str,
) -> Result<(), ShapeError> {
    let at = below(path, "type");
    let Some(kind) = all.get("type") else { return Err(ShapeError::Missing(at)) };
    let Some((_, members)) = kinds.iter().find(|(word, _)| kind == word) else {
        let words: Vec<&str> = kinds.iter().map(|(word, _)| *word).collect();
        return Err(ShapeError::Wrong { path: at, wanted: format!("one of `{}`", words.join("`, `")) });
    };
    let other = |at: String, name: &str, value: &Value| if name == "type" { Ok(()) } else { unknown(at, name, value) };
    check_members(all, members, &other, path)
}

/// What is decided about a member that the table does not have, from its path, its name and its value.
type Other<'a> = &'a dyn Fn(String, &str, &Value) -> Result<(), ShapeError>;

fn unknown(path: String, _: &str, _: &Value) -> Result<(), ShapeError> {
    Err(ShapeError::Unknown(path))
}

fn check_members(all: &Map<String, Value>, members: &[Member], other: Other<'_>, path: &str) -> Result<(), ShapeError> {
    for (name, value) in all {
        let at = below(path, name);
        match members.iter().find(|member| member.name == name) {
            Some(member) => member.shape.check(value, &at)?,
            None => other(at, name, value)?,
        }
    }
    match members.iter().find(|member| member.is_needed && !all.contains_key(member.name)) {
        Some(member) => Err(ShapeError::Missing(below(path, member.name))),
        None => Ok(()),
    }
}

/// The path to a member.
pub(crate) fn below(path: &str, name: &str) -> String {
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POINT: &[Member] = &[needed("x", Shape::Integer(0, 9)), optional("name", Shape::Text(1, 3))];
    const SHAPE: Shape = Shape::Object(&[
        optional("points", Shape::List(&Shape::Object(POINT), 2)),
        optional("range", Shape::Kind(&[("time", &[needed("word", Shape::Word(&["a", "b"]))]), ("count", &[])])),
        optional("by", Shape::Map(&Shape::Number(0.5, 2.0), 1)),
        optional(
            "modules",
            Shape::Modules(&[optional("$a", Shape::Flag)], &Shape::Open(&[needed("x", Shape::Any)]), 1),
        ),
        optional("url", Shape::HttpsUrl),
        optional("link", Shape::Link),
        optional("flag", Shape::Flag),
        optional("route", Shape::TextOr(3, &[needed("route", Shape::Text(0, 3))])),
    ]);

    #[track_caller]
    fn check(value: Value, expected: &str) {
        let told = SHAPE.check(&value, "").map_err(|error| error.to_string());
        assert_eq!(told.err().unwrap_or_default(), expected, "{value}");
    }

    #[test]
    fn what_fits_is_good() {
        check(json!({}), "");
        check(json!({ "points": [{ "x": 0 }, { "x": 9, "name": "äöü" }], "range": { "type": "count" } }), "");
        check(json!({ "range": { "type": "time", "word": "b" }, "by": { "anything": 0.5 }, "flag": true }), "");
        check(json!({ "url": "HTTPS://a", "route": "abc", "modules": { "m-1": { "x": 1, "y": 2 }, "$a": true } }), "");
        check(json!({ "route": { "route": "" } }), "");
    }

    #[test]
    fn what_does_not_is_named_with_its_path() {
        check(json!([]), "`` is not an object");
        check(json!({ "other": 1 }), "`other` is not a member that is known there");
        check(json!({ "points": [{ "x": 1 }, {}] }), "`points[1].x` is missing");
        check(json!({ "points": [{ "x": 1, "y": 2 }] }), "`points[0].y` is not a member that is known there");
        check(json!({ "points": [{ "x": 10 }] }), "`points[0].x` is not a whole number of 0 to 9");
        check(json!({ "points": [{ "x": 1.0 }] }), "`points[0].x` is not a whole number of 0 to 9");
        check(json!({ "points": [{ "x": 1, "name": "" }] }), "`points[0].name` is not a text of 1 to 3 characters");
        check(json!({ "points": [{ "x": 1 }, { "x": 1 }, { "x": 1 }] }), "`points` is not a list of at most 2");
        check(json!({ "range": {} }), "`range.type` is missing");
        check(json!({ "range": { "type": "x" } }), "`range.type` is not one of `time`, `count`");
        check(json!({ "range": { "type": "time", "word": 1 } }), "`range.word` is not one of `a`, `b`");
        check(json!({ "range": { "type": "count", "word": "a" } }), "`range.word` is not a member that is known there");
        check(json!({ "by": { "p": 2.1 } }), "`by.p` is not a number of 0.5 to 2");
        check(json!({ "by": { "p": 1, "q": 1 } }), "`by` is not an object of at most 1 members");
        check(json!({ "modules": { "$a": 1 } }), "`modules.$a` is not true or false");
        check(json!({ "modules": { "$b": {} } }), "`modules.$b` is not named as a module");
        check(json!({ "modules": { "m": { "y": 1 } } }), "`modules.m.x` is missing");
        check(json!({ "modules": { "a": {}, "b": {}, "c": {} } }), "`modules` is not an object of at most 1 members");
        check(json!({ "flag": "true" }), "`flag` is not true or false");
        check(json!({ "route": "abcd" }), "`route` is not a text of at most 3 characters or an object");
        for url in ["http://a", "https://", "https:///a", "https://a b", "x", "https:/ä"] {
            check(json!({ "url": url }), "`url` is not a URL with `https://`");
        }
        for link in ["", "http://a", "https://a/b"] {
            check(json!({ "link": link }), "");
        }
        for link in ["javascript:alert(1)", "//a", " https://a"] {
            check(json!({ "link": link }), "`link` is not a URL with `https://` or `http://`");
        }
        let long = |len: usize| json!({ "url": format!("https://{}", "a".repeat(len - 8)) });
        check(long(URL_LEN_MAX), "");
        check(long(URL_LEN_MAX + 1), "`url` is not a URL with `https://`");
    }

    #[test]
    fn an_error_repeats_a_bounded_name() {
        let told = SHAPE.check(&json!({ "y".repeat(1_000): 1 }), "").unwrap_err();
        assert_eq!(told, ShapeError::Unknown("y".repeat(NAME_CHARS_MAX)));
    }
}
