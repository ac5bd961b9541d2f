//! JSON as documents have it: members in order, repeated ones kept, nesting bounded.
//!
//! `serde_json::Value` drops repeated members, and a model that repeats one has to be refused by
//! name, so the walker reads this tree instead. It does not outlive the parse.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// How deep objects and arrays may be nested in a document.
///
/// The deepest schema any limits allow (24 levels) is nested about as deep when it is written in
/// one piece. Everything that descends a document by recursion is bounded by this.
pub const NESTING_MAX: usize = 100;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole text.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = At { depth: 0 }.deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// As serde_json has it; the last of repeated members stays.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Number(n) => n.clone().into(),
            Self::Text(t) => t.as_str().into(),
            Self::Array(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => members.iter().map(|(k, v)| (k.clone(), v.to_value())).collect(),
        }
    }

    /// The bytes of the value without white space, escapes not counted.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Null => 4,
            Self::Bool(b) => 5 - usize::from(*b),
            Self::Number(n) => n.to_string().len(),
            Self::Text(t) => t.len() + 2,
            Self::Array(items) => 2 + items.iter().map(|i| i.size() + 1).sum::<usize>(),
            Self::Object(members) => 2 + members.iter().map(|(k, v)| k.len() + 4 + v.size()).sum::<usize>(),
        }
    }
}

/// Reads one value at a depth.
#[derive(Clone, Copy)]
struct At {
    depth: usize,
}

impl At {
    fn inside<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == NESTING_MAX {
            return Err(E::custom(format_args!("nested deeper than {NESTING_MAX}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for At {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let inside = self.inside()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inside)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let inside = self.inside()?;
        let mut members = Vec::new();
        while let Some(name) = access.next_key()? {
            members.push((name, access.next_value_seed(inside)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_members_are_kept_in_order() {
        let Json::Object(members) = Json::parse(r#"{"b":1,"a":2,"b":null}"#).unwrap() else { panic!("no object") };
        let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", "a", "b"]);
    }

    #[test]
    fn nesting_is_read_up_to_its_bound_and_no_deeper() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(&nested(NESTING_MAX)).is_ok());
        assert!(Json::parse(&nested(NESTING_MAX + 1)).unwrap_err().to_string().contains("nested deeper"));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{} {}", "[1,]", "nul", "\u{feff}{}"] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
    }
}
