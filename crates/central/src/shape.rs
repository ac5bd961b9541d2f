//! Shapes of JSON that is stored as it was written: tables of members, and a check that names the place.
//!
//! A member that is not in the table is refused, as is one of another kind; the error has the path to it, as in
//! `tiles[2].configuration.queryRange.type`. Who keeps what was checked bounds its size as a whole.

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
    /// Members.
    Object(&'static [Member]),
    /// Members as `type` says.
    Kind(&'static [(&'static str, &'static [Member])]),
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
            Self::Object(members) => match value.as_object() {
                Some(all) => return check_members(all, members, None, path),
                None => false,
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
            Self::Object(_) | Self::Kind(_) => "an object".to_owned(),
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
    check_members(all, members, Some("type"), path)
}

/// Checks members, but for one that was looked at.
fn check_members(
    all: &Map<String, Value>,
    members: &[Member],
    but: Option<&str>,
    path: &str,
) -> Result<(), ShapeError> {
    for (name, value) in all.iter().filter(|(name, _)| Some(name.as_str()) != but) {
        let member = members.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| ShapeError::Unknown(below(path, name)))?;
        member.shape.check(value, &below(path, name))?;
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
        optional("url", Shape::HttpsUrl),
        optional("link", Shape::Link),
        optional("flag", Shape::Flag),
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
        check(json!({ "range": { "type": "time", "word": "b" }, "flag": true }), "");
        check(json!({ "url": "HTTPS://a" }), "");
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
        check(json!({ "flag": "true" }), "`flag` is not true or false");
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
