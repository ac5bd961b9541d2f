//! JSON from outside, read so that nothing in it is lost without a word.
//!
//! The parser below would keep the last of two members with one name, round integers that 64 bits do not hold, and
//! take an array for an object, member by member. All three are refused here.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// Reads JSON as what it must be.
///
/// # Errors
/// Says what is wrong, and where.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    read_value(parse(text)?)
}

/// As [`read`], of JSON that was parsed.
///
/// # Errors
/// Says what is wrong.
pub fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Strict(value))
}

/// Parses JSON.
///
/// # Errors
/// When it is none, names a member twice or has an integer beyond 64 bits.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    let Unique(value) = serde_json::from_slice(text)?;
    check_integers(text)?;
    Ok(value)
}

/// Checks that 64 bits hold every integer of a JSON text.
///
/// # Errors
/// Names the first one that is too large.
pub fn check_integers(text: &[u8]) -> Result<(), Error> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at + 1),
            b'-' | b'0'..=b'9' => {
                let rest = &text[at..];
                let is_number = |b: &u8| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let number = &rest[..rest.iter().position(|b| !is_number(b)).unwrap_or(rest.len())];
                let number = std::str::from_utf8(number).map_err(Error::custom)?;
                let is_integer = !number.contains(['.', 'e', 'E']);
                // Every integer of fewer digits fits.
                if is_integer && number.len() > 18 && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Err(Error::custom(format!("integer `{number}` does not fit into 64 bits")));
                }
                at += number.len();
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// The index after the quote that ends a string.
fn end_of_string(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// JSON of which no object names a member twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = vec![];
        while let Some(Unique(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, Unique>()? {
            if all.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` is there twice")));
            }
            all.insert(name, value);
        }
        Ok(all.into())
    }
}

/// Gives a structure an object only.
struct Strict(Value);

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Strict))),
            Value::Object(members) => {
                visitor.visit_map(MapDeserializer::new(members.into_iter().map(|(name, value)| (name, Strict(value)))))
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.0.is_object() { self.deserialize_any(visitor) } else { Err(Error::custom("a JSON object is needed")) }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(serde::Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Body {
        name: Option<String>,
        inner: Option<Box<Body>>,
        list: Vec<Body>,
        free: Value,
        kind: Kind,
    }

    #[derive(serde::Deserialize, Debug, PartialEq, Default)]
    enum Kind {
        #[default]
        One,
        Two,
    }

    #[test]
    fn an_array_is_no_object() {
        for text in ["[]", r#"["n"]"#, r#"{"inner":[]}"#, r#"{"list":[[]]}"#, r#"{"inner":{"inner":["n"]}}"#, "null"] {
            let error = read::<Body>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("a JSON object is needed"), "{text}: {error}");
        }
        let text = r#"{"name":"n","inner":{"inner":null},"list":[{},{"name":"m"}],"free":[[1],{}],"kind":"Two"}"#;
        let body: Body = read(text.as_bytes()).unwrap();
        assert_eq!(body, serde_json::from_str(text).unwrap());
        assert_eq!((body.kind, body.free), (Kind::Two, json!([[1], {}])));
    }

    #[test]
    fn no_member_is_there_twice() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"a":3}]}"#, r#"{"\u0061":1,"a":2}"#] {
            assert!(parse(text.as_bytes()).unwrap_err().to_string().contains("`a` is there twice"), "{text}");
        }
        assert_eq!(parse(br#"{"a":1,"A":2}"#).unwrap(), json!({ "a": 1, "A": 2 }));
    }

    #[test]
    fn integers_are_whole_or_refused() {
        for good in
            ["0", "-9223372036854775808", "18446744073709551615", "1e30", "1.5", "[\"99999999999999999999\", 7]"]
        {
            assert_eq!(parse(good.as_bytes()).unwrap(), serde_json::from_str::<Value>(good).unwrap());
        }
        for bad in ["18446744073709551616", "-9223372036854775809", "{\"a\\\"\": [99999999999999999999]}"] {
            assert!(parse(bad.as_bytes()).unwrap_err().to_string().contains("64 bits"), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn other_json_is_read_as_ever(text in "[\\[\\]{}:,\" a-c0-9.e\\\\-]{0,40}") {
            if let Ok(value) = parse(text.as_bytes()) {
                proptest::prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
