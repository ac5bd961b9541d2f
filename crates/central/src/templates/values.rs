//! Whether values are what a template says they look like.

use std::fmt;
use std::sync::OnceLock;

use gantry_dtdl::{Model, Parser};
use serde_json::{Value, json};

use super::capabilities::Schema;

const INTERFACE: &str = "dtmi:gantry:words;1";
/// Every schema that has a word.
const WORDS: [&str; 18] = [
    "boolean",
    "date",
    "dateTime",
    "double",
    "duration",
    "float",
    "integer",
    "long",
    "string",
    "time",
    "point",
    "multiPoint",
    "lineString",
    "multiLineString",
    "polygon",
    "multiPolygon",
    "geopoint",
    "vector",
];

/// Why a value is not one of a schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    /// Where in the value, as a JSON pointer.
    path: String,
    what: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "the value {}", self.what),
            path => write!(f, "`{path}` {}", self.what),
        }
    }
}

impl Schema {
    /// Checks a value. What is of a schema that is not known fits.
    ///
    /// # Errors
    /// [`Unfit`] says where, and what is wrong there.
    pub fn check(&self, value: &Value) -> Result<(), Unfit> {
        nested(self, value, "")
    }
}

fn nested(schema: &Schema, value: &Value, path: &str) -> Result<(), Unfit> {
    let wrong = |path: String, what: &str| Err(Unfit { path, what: what.to_owned() });
    let below = |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
    match schema {
        Schema::Word("any") | Schema::Deeper => Ok(()),
        Schema::Word(word) => leaf(word, value, path),
        Schema::Geopoint => leaf("geopoint", value, path),
        Schema::Vector => leaf("vector", value, path),
        Schema::Enum(values) if values.iter().any(|one| one.value == *value && !value.is_null()) => Ok(()),
        Schema::Enum(_) => wrong(path.to_owned(), "is none of the values of the enumeration"),
        Schema::Array(of) => {
            let Some(items) = value.as_array() else { return wrong(path.to_owned(), "is not an array") };
            items.iter().enumerate().try_for_each(|(number, item)| nested(of, item, &below(&number.to_string())))
        }
        Schema::Map(of) => {
            let Some(members) = value.as_object() else { return wrong(path.to_owned(), "is not an object") };
            members.iter().try_for_each(|(name, member)| nested(of, member, &below(name)))
        }
        Schema::Object(fields) => {
            let Some(members) = value.as_object() else { return wrong(path.to_owned(), "is not an object") };
            members.iter().try_for_each(|(name, member)| match fields.iter().find(|field| field.name == *name) {
                None => wrong(below(name), "is not a field of the schema"),
                Some(field) => nested(&field.schema, member, &below(name)),
            })
        }
    }
}

/// Asks the language.
fn leaf(word: &str, value: &Value, path: &str) -> Result<(), Unfit> {
    let content = words().interface(INTERFACE).and_then(|interface| interface.content(word));
    let found = content.map(|content| content.validate(value)).unwrap_or_default();
    match found.into_iter().next() {
        None => Ok(()),
        Some(violation) => Err(Unfit { path: format!("{path}{}", violation.path), what: violation.what.to_owned() }),
    }
}

/// A model with a telemetry value of each schema, under its word.
fn words() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let contents: Vec<Value> =
            WORDS.iter().map(|word| json!({ "@type": "Telemetry", "name": word, "schema": word })).collect();
        let document = json!({ "@context": ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"], "@id": INTERFACE,
            "@type": "Interface", "contents": contents });
        Parser::default().parse(&[document.to_string()]).expect("the words are those of the language")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::{EnumValue, Field};

    #[track_caller]
    fn told(schema: &Schema, value: Value) -> String {
        schema.check(&value).map_or_else(|unfit| unfit.to_string(), |()| String::new())
    }

    fn field(name: &str, schema: Schema) -> Field {
        Field { name: name.to_owned(), display_name: name.to_owned(), schema }
    }

    #[test]
    fn every_word_has_its_values() {
        let line = json!([[1.0, 2.0], [3.0, 4.0]]);
        let samples = [
            json!(true),
            json!("2024-02-29"),
            json!("2024-02-29T12:00:00Z"),
            json!(1.5),
            json!("PT5M"),
            json!(0.5),
            json!(7),
            json!(9_007_199_254_740_993_i64),
            json!("x"),
            json!("12:00:00Z"),
            json!({ "type": "Point", "coordinates": [1.0, 2.0] }),
            json!({ "type": "MultiPoint", "coordinates": line }),
            json!({ "type": "LineString", "coordinates": line }),
            json!({ "type": "MultiLineString", "coordinates": [line] }),
            json!({ "type": "Polygon", "coordinates": [line] }),
            json!({ "type": "MultiPolygon", "coordinates": [[line]] }),
            json!({ "lat": 1.0, "lon": 2.0 }),
            json!({ "x": 1, "y": 2, "z": 3 }),
        ];
        assert_eq!(samples.len(), WORDS.len());
        for (word, sample) in WORDS.iter().zip(samples) {
            assert_eq!(told(&Schema::Word(word), sample.clone()), "", "{word}");
            assert_ne!(told(&Schema::Word(word), json!(["no"])), "", "{word}");
        }
        assert_eq!(told(&Schema::Geopoint, json!({ "lat": 1.0, "long": 2.0 })), "`/long` is not a field of the schema");
        assert_eq!(told(&Schema::Vector, json!({ "x": "1" })), "`/x` is not a number");
        assert_eq!(told(&Schema::Word("integer"), json!(1.5)), "the value is not an integer of 32 bits");
    }

    #[test]
    fn nested_values_are_looked_into_and_what_is_wrong_is_named() {
        let one = EnumValue { name: "on".into(), display_name: "On".into(), value: json!(1) };
        let schema = Schema::Object(vec![
            field("state", Schema::Enum(vec![one])),
            field("list", Schema::Array(Box::new(Schema::Map(Box::new(Schema::Word("double")))))),
        ]);
        assert_eq!(told(&schema, json!({ "state": 1, "list": [{ "a/b": 1.5 }, {}] })), "");
        assert_eq!(told(&schema, json!({})), "");
        assert_eq!(told(&schema, json!({ "state": null })), "`/state` is none of the values of the enumeration");
        assert_eq!(told(&schema, json!({ "state": 2 })), "`/state` is none of the values of the enumeration");
        assert_eq!(told(&schema, json!({ "list": [{}, { "a/b": "x" }] })), "`/list/1/a~1b` is not a number");
        assert_eq!(told(&schema, json!({ "other": 1 })), "`/other` is not a field of the schema");
        assert_eq!(told(&schema, json!([])), "the value is not an object");
        assert_eq!(told(&schema, json!({ "list": {} })), "`/list` is not an array");
        assert_eq!(told(&Schema::Word("any"), json!({ "anything": 1 })), "");
    }
}
