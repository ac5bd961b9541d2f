//! Dynamic values: what JSON has, and the scalars of the language that literals and functions put
//! into arrays and bags.

use super::{DateTime, Decimal, Guid, TimeSpan, print_real};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// How deep arrays and bags may be nested in a text.
pub const JSON_DEPTH_MAX: usize = 127;

/// A dynamic value. Equality is structural: bags without order, a long equal to the same real.
#[derive(Debug, Clone)]
pub enum Dynamic {
    /// Null.
    Null,
    /// A bool.
    Bool(bool),
    /// A whole number; ints become longs.
    Long(i64),
    /// A real.
    Real(f64),
    /// A decimal, of functions only: text never makes one.
    Decimal(Decimal),
    /// A string.
    String(String),
    /// A datetime, of literals and functions only: text that looks like one stays a string.
    DateTime(DateTime),
    /// A timespan, likewise.
    TimeSpan(TimeSpan),
    /// A guid, likewise.
    Guid(Guid),
    /// An array.
    Array(Vec<Dynamic>),
    /// A bag: names and values.
    Bag(Bag),
}

/// A property bag: names in the order they were first put in, each once.
#[derive(Debug, Clone, Default)]
pub struct Bag(Vec<(String, Dynamic)>);

/// The number of entries from which putting into a bag would be slow without an index.
const INDEX_FROM: usize = 16;

impl Bag {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bag of these entries; of a name twice the last value counts, at the place of the first.
    pub fn from_entries(entries: Vec<(String, Dynamic)>) -> Self {
        if entries.len() < INDEX_FROM {
            let mut bag = Self(Vec::with_capacity(entries.len()));
            for (name, value) in entries {
                bag.put(name, value);
            }
            return bag;
        }
        let mut places = std::collections::HashMap::with_capacity(entries.len());
        let mut kept: Vec<(String, Dynamic)> = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            match places.get(&name) {
                Some(&place) => {
                    let entry: &mut (String, Dynamic) = &mut kept[place];
                    entry.1 = value;
                }
                None => {
                    places.insert(name.clone(), kept.len());
                    kept.push((name, value));
                }
            }
        }
        Self(kept)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Dynamic> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Puts a value in; an entry of that name is replaced where it is.
    pub fn put(&mut self, name: String, value: Dynamic) {
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Dynamic)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries.
    pub fn into_entries(self) -> Vec<(String, Dynamic)> {
        self.0
    }
}

impl PartialEq for Bag {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        if self.0.iter().zip(&other.0).all(|((a, _), (b, _))| a == b) {
            return self.0.iter().zip(&other.0).all(|((_, a), (_, b))| a == b);
        }
        let sorted = |bag: &'_ Self| {
            let mut order: Vec<usize> = (0..bag.len()).collect();
            order.sort_by(|a, b| bag.0[*a].0.cmp(&bag.0[*b].0));
            order
        };
        sorted(self).into_iter().zip(sorted(other)).all(|(a, b)| self.0[a] == other.0[b])
    }
}

impl PartialEq for Dynamic {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Long(a), Self::Long(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a == b,
            (Self::Long(a), Self::Real(b)) | (Self::Real(b), Self::Long(a)) => *a as f64 == *b,
            (Self::Decimal(a), Self::Decimal(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::DateTime(a), Self::DateTime(b)) => a == b,
            (Self::TimeSpan(a), Self::TimeSpan(b)) => a == b,
            (Self::Guid(a), Self::Guid(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Bag(a), Self::Bag(b)) => a == b,
            _ => false,
        }
    }
}

impl Dynamic {
    /// Reads JSON (RFC 8259). `None` for what is not JSON; `parse_json` then answers the text as
    /// a string, and null of the empty text.
    pub fn parse_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of a name, if this is a bag that has it.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Bag(bag) => bag.get(name),
            _ => None,
        }
    }

    /// The element at an index, counted from the end when negative, if this is an array.
    pub fn element(&self, index: i64) -> Option<&Self> {
        let Self::Array(items) = self else { return None };
        let index = if index < 0 { i64::try_from(items.len()).ok()?.checked_add(index)? } else { index };
        items.get(usize::try_from(index).ok()?)
    }

    /// What `gettype` says: `long`, `array`, `dictionary`...
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Long(_) => "long",
            Self::Real(_) => "real",
            Self::Decimal(_) => "decimal",
            Self::String(_) => "string",
            Self::DateTime(_) => "datetime",
            Self::TimeSpan(_) => "timespan",
            Self::Guid(_) => "guid",
            Self::Array(_) => "array",
            Self::Bag(_) => "dictionary",
        }
    }

    /// Compact JSON: strings quoted, datetimes, timespans and guids as strings, and so NaN and
    /// the infinities.
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Long(value) => out.push_str(&value.to_string()),
            Self::Real(value) if value.is_finite() => out.push_str(&print_real(*value)),
            Self::Real(value) => write_string(out, &print_real(*value)),
            Self::Decimal(value) => write_string(out, &value.to_string()),
            Self::String(value) => write_string(out, value),
            Self::DateTime(value) => write_string(out, &value.to_string()),
            Self::TimeSpan(value) => write_string(out, &value.to_string()),
            Self::Guid(value) => write_string(out, &value.to_string()),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Bag(bag) => {
                out.push('{');
                for (at, (name, value)) in bag.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_string(out, name);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

/// What `tostring` gives: a string without quotes, null as nothing, all else as JSON.
impl fmt::Display for Dynamic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::String(value) => f.write_str(value),
            Self::Real(value) => f.write_str(&print_real(*value)),
            Self::Decimal(value) => value.fmt(f),
            Self::DateTime(value) => value.fmt(f),
            Self::TimeSpan(value) => value.fmt(f),
            Self::Guid(value) => value.fmt(f),
            other => f.write_str(&other.to_json()),
        }
    }
}

impl<'de> Deserialize<'de> for Dynamic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Json)
    }
}

struct Json;

impl<'de> Visitor<'de> for Json {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Dynamic, E> {
        Ok(Dynamic::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Dynamic, E> {
        Ok(Dynamic::Long(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(value).map_or(Dynamic::Real(value as f64), Dynamic::Long))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Dynamic, E> {
        Ok(Dynamic::Real(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Dynamic, E> {
        Ok(Dynamic::String(value.into()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Dynamic, E> {
        Ok(Dynamic::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dynamic, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Dynamic::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Dynamic, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Dynamic::Bag(Bag::from_entries(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_and_written_compactly() {
        let text = r#"{ "b" : [1, 2.5, null, true, "x\"y"], "a": {"c": -1e30} }"#;
        let value = Dynamic::parse_json(text).unwrap();
        assert_eq!(value.to_json(), r#"{"b":[1,2.5,null,true,"x\"y"],"a":{"c":-1E+30}}"#);
        assert_eq!(Dynamic::parse_json(&value.to_json()), Some(value));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(100_000);
        for wrong in ["", "{", "{'a':1}", "[1,]", "nul", "1 2", deep.as_str()] {
            assert_eq!(Dynamic::parse_json(wrong), None, "{:.20}", wrong);
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Dynamic::parse_json(&nested(JSON_DEPTH_MAX)).is_some());
        assert!(Dynamic::parse_json(&nested(JSON_DEPTH_MAX + 1)).is_none());
    }

    #[test]
    fn bags_are_equal_in_any_order_and_numbers_across_types() {
        let of = |text| Dynamic::parse_json(text).unwrap();
        assert_eq!(of(r#"{"a":1,"b":[2]}"#), of(r#"{"b":[2.0],"a":1.0}"#));
        assert_ne!(of(r#"{"a":1,"b":2}"#), of(r#"{"a":1,"c":2}"#));
        assert_eq!(of(r#"{"a":1,"b":0,"a":2}"#).to_json(), r#"{"a":2,"b":0}"#);
    }

    #[test]
    fn members_and_elements_are_found_from_both_ends() {
        let value = Dynamic::parse_json(r#"{"a":[10,20,30]}"#).unwrap();
        let array = value.member("a").unwrap();
        assert_eq!(array.element(0), Some(&Dynamic::Long(10)));
        assert_eq!(array.element(-1), Some(&Dynamic::Long(30)));
        assert_eq!((array.element(3), array.element(-4), array.element(i64::MIN)), (None, None, None));
        assert_eq!((value.element(0), array.member("a")), (None, None));
    }
}
