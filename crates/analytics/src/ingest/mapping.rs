//! Mappings: which part of a record goes into which column.
//!
//! Two forms are read: `{"Column": "a", "Properties": {"Path": "$.a"}}`, and the older `{"Name": "a", "Ordinal": 0}`
//! and `{"column": "a", "path": "$.a"}`; names without case.

use gantry_kql::value::{Dynamic, Type};
use serde_json::Value as Json;

use super::Fault;

/// What goes into one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// The column.
    pub column: String,
    /// Its type, should the table not have it yet.
    pub ty: Option<Type>,
    /// Which part of a record.
    pub(super) part: Part,
    /// What is done to it.
    pub(super) transform: Option<Transform>,
}

/// A part of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// The value at a place.
    Ordinal(usize),
    /// The value at a path.
    Path(Path),
    /// The same for all.
    Constant(String),
}

/// What is done to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Where the data came from.
    SourceLocation,
    /// The number of the record's line.
    SourceLineNumber,
    /// An instant of units since 1970, each of so many nanoseconds.
    FromUnix(i64),
    /// `[{"a":1},{"b":2}]` becomes `{"a":1,"b":2}`.
    BagArrayToDictionary,
    /// What other columns take is left out.
    DropMapped,
    /// Bytes as Base64; they are that anyway.
    BytesAsBase64,
}

impl Transform {
    fn of(name: &str) -> Option<Transform> {
        Some(match name.to_ascii_lowercase().as_str() {
            "sourcelocation" => Transform::SourceLocation,
            "sourcelinenumber" => Transform::SourceLineNumber,
            "datetimefromunixseconds" => Transform::FromUnix(1_000_000_000),
            "datetimefromunixmilliseconds" => Transform::FromUnix(1_000_000),
            "datetimefromunixmicroseconds" => Transform::FromUnix(1_000),
            "datetimefromunixnanoseconds" => Transform::FromUnix(1),
            "propertybagarraytodictionary" => Transform::BagArrayToDictionary,
            "dropmappedfields" => Transform::DropMapped,
            "bytesasbase64" => Transform::BytesAsBase64,
            _ => return None,
        })
    }
}

/// A way into a record: `$.a['b c'][0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(i64),
}

impl Path {
    fn parse(text: &str) -> Option<Path> {
        let text = text.trim();
        let Some(mut rest) = text.strip_prefix('$') else {
            // A plain name is a member of the record.
            return (!text.is_empty()).then(|| Path(vec![Step::Member(text.to_owned())]));
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return None;
                }
                steps.push(Step::Member(after[..end].to_owned()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix('[') {
                if let Some(quote) = after.chars().next().filter(|c| matches!(c, '\'' | '"')) {
                    let end = after[1..].find([quote])? + 1;
                    steps.push(Step::Member(after[1..end].to_owned()));
                    rest = after[end + 1..].strip_prefix(']')?;
                } else {
                    let end = after.find(']')?;
                    steps.push(Step::Element(after[..end].trim().parse().ok()?));
                    rest = &after[end + 1..];
                }
            } else {
                return None;
            }
        }
        Some(Path(steps))
    }

    /// What is there.
    pub(super) fn find<'d>(&self, record: &'d Dynamic) -> Option<&'d Dynamic> {
        self.0.iter().try_fold(record, |value, step| match step {
            Step::Member(name) => value.member(name),
            Step::Element(at) => value.element(*at),
        })
    }

    /// The name, when the path is one.
    pub(super) fn only_name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Step::Member(name)] => Some(name),
            _ => None,
        }
    }

    /// Takes away from what is at this path what is at a path that goes on from it.
    pub(super) fn drop_below(&self, other: &Path, value: &mut Dynamic) {
        let Some(rest) = other.0.strip_prefix(self.0.as_slice()) else { return };
        if !rest.is_empty() {
            without(value, rest);
        }
    }
}

fn without(value: &mut Dynamic, steps: &[Step]) {
    let (Some(Step::Member(name)), Dynamic::Bag(bag)) = (steps.first(), &mut *value) else { return };
    let entries = std::mem::take(bag).into_entries().into_iter();
    let kept = entries.filter_map(|(key, mut inner)| {
        if key == *name {
            if steps.len() == 1 {
                return None;
            }
            without(&mut inner, &steps[1..]);
        }
        Some((key, inner))
    });
    *bag = gantry_kql::value::Bag::from_entries(kept.collect());
}

/// Reads a mapping.
///
/// # Errors
/// When it is none, with the place in it.
pub fn read_mapping(mapping: &Json) -> Result<Vec<Mapped>, Fault> {
    let wrong = |message: String| Fault::new("BadRequest_InvalidMapping", message);
    let Json::Array(items) = mapping else { return Err(wrong("a mapping is a list of columns".into())) };
    if items.is_empty() {
        return Err(wrong("the mapping has no column".into()));
    }
    items
        .iter()
        .enumerate()
        .map(|(at, item)| read_one(item).map_err(|why| wrong(format!("column {at}: {why}"))))
        .collect()
}

fn read_one(item: &Json) -> Result<Mapped, String> {
    let Json::Object(members) = item else { return Err("it is no object".into()) };
    let find = |members: &serde_json::Map<String, Json>, name: &str| {
        let found = members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_null())
    };
    let properties = match find(members, "properties") {
        Some(Json::Object(properties)) => properties,
        None => serde_json::Map::new(),
        Some(_) => return Err("`Properties` is no object".into()),
    };
    let known = ["column", "name", "datatype", "type", "csvdatatype", "properties"];
    let parts = ["path", "ordinal", "constvalue", "constantvalue", "transform", "field"];
    let all = members.keys().filter(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name)));
    if let Some(other) =
        all.chain(properties.keys()).find(|name| !parts.iter().any(|one| one.eq_ignore_ascii_case(name)))
    {
        return Err(format!("`{other}` is not known"));
    }
    let property = |name: &str| find(&properties, name).or_else(|| find(members, name));
    let text = |value: Json| match value {
        Json::String(text) => text,
        other => other.to_string(),
    };
    let column = find(members, "column").or_else(|| find(members, "name")).map(text).filter(|name| !name.is_empty());
    let column = column.ok_or("it names no column")?;
    let ty = match find(members, "datatype").or_else(|| find(members, "type")).map(text).filter(|ty| !ty.is_empty()) {
        None => None,
        Some(name) => Some(Type::from_name(&name.to_ascii_lowercase()).ok_or(format!("`{name}` is no type"))?),
    };
    let transform = match property("transform").map(text).filter(|name| !name.is_empty() && name != "None") {
        None => None,
        Some(name) => Some(Transform::of(&name).ok_or(format!("`{name}` is no transform"))?),
    };
    let part = if let Some(value) = property("constvalue").or_else(|| property("constantvalue")) {
        Part::Constant(text(value))
    } else if let Some(path) = property("path").or_else(|| property("field")).map(text) {
        Part::Path(Path::parse(&path).ok_or(format!("`{path}` is no path"))?)
    } else if let Some(ordinal) = property("ordinal").map(text) {
        Part::Ordinal(ordinal.trim().parse().map_err(|_| format!("`{ordinal}` is no ordinal"))?)
    } else if matches!(transform, Some(Transform::SourceLocation | Transform::SourceLineNumber)) {
        Part::Constant(String::new())
    } else {
        Part::Path(Path(vec![Step::Member(column.clone())]))
    };
    Ok(Mapped { column, ty, part, transform })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_records() {
        let record = Dynamic::parse_json(r#"{"a":{"b c":[1,{"d":2}]},"x":3}"#).unwrap();
        let find = |path: &str| Path::parse(path).and_then(|path| path.find(&record).map(Dynamic::to_json));
        assert_eq!(find("$.a['b c'][1].d"), Some("2".into()));
        assert_eq!(find("$['x']"), Some("3".into()));
        assert_eq!(find("x"), Some("3".into()));
        assert_eq!(find("$.nothing.x"), None);
        assert_eq!(find("$"), Some(record.to_json()));
        for wrong in ["$.", "$x", "$[", "$['a", "$[a]", ""] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn both_forms_of_mappings_are_read_and_others_refused() {
        let read = |text: &str| read_mapping(&serde_json::from_str(text).unwrap());
        let modern = read(r#"[{"Column":"a","DataType":"long","Properties":{"Ordinal":"2"}}]"#).unwrap();
        let older = read(r#"[{"Name":"a","DataType":"long","Ordinal":2,"ConstValue":null}]"#).unwrap();
        assert_eq!(modern, older);
        assert_eq!((modern[0].ty, &modern[0].part), (Some(Type::Long), &Part::Ordinal(2)));
        let path = read(r#"[{"column":"a","path":"$.b","datatype":"","transform":null}]"#).unwrap();
        assert_eq!(path[0].part, Part::Path(Path(vec![Step::Member("b".into())])));
        for wrong in [
            "[]",
            "{}",
            "[5]",
            r#"[{"Properties":{"Path":"$.a"}}]"#,
            r#"[{"Column":"a","Properties":{"Path":"a["}}, 5]"#,
            r#"[{"Column":"a","Properties":{"Ordinal":"x"}}]"#,
            r#"[{"Column":"a","Properties":{"Transform":"Rot13"}}]"#,
            r#"[{"Column":"a","DataType":"text"}]"#,
            r#"[{"Column":"a","Patth":"$.a"}]"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
