//! The elements that need no document: primitive schemas, geospatial schemas, units.
//!
//! Source: the model elements published with the specifications. [`element`] describes one by its
//! identifier; the model takes it in when a document refers to it. Primitive schemas of DTDL v3 and
//! v4 are other names of those of v2, so [`canonical`] comes first.

use super::Class::{self, Array, CommandType, Enum, EnumValue, Field, Object, Unit, UnitAttribute};
use super::Prop;
use super::quantities::{BINARY_PREFIXES, DECIMAL_PREFIXES, Since, UNITS};
use super::table::CLASSES;
use std::borrow::Cow;

/// The geospatial schemas, shapes of GeoJSON.
pub(crate) const GEOSPATIAL: &[&str] =
    &["point", "multiPoint", "lineString", "multiLineString", "polygon", "multiPolygon"];

/// What the coordinates of each shape are.
const COORDINATES: &[(&str, &str)] = &[
    ("point", "position"),
    ("multiPoint", "positionArray"),
    ("lineString", "lineStringCoordinateArray"),
    ("multiLineString", "lineStringCoordinateArrayArray"),
    ("polygon", "polygonCoordinateArray"),
    ("multiPolygon", "polygonCoordinateArrayArray"),
];

/// Arrays of coordinates and what they are arrays of.
const ARRAYS: &[(&str, &str)] = &[
    ("positionArray", "position"),
    ("lineStringCoordinateArray", "position"),
    ("lineStringCoordinateArrayArray", "lineStringCoordinateArray"),
    ("linearRingCoordinateArray", "position"),
    ("polygonCoordinateArray", "linearRingCoordinateArray"),
    ("polygonCoordinateArrayArray", "polygonCoordinateArray"),
];

/// Schemas that are objects, with their fields.
const OBJECTS: &[(&str, &[(&str, &str)])] = &[
    ("dtmi:standard:schema:scaledDecimal;4", &[("value", "decimal"), ("scale", "short")]),
    ("dtmi:iotcentral:schema:vector;2", &[("x", "double"), ("y", "double"), ("z", "double")]),
    ("dtmi:iotcentral:schema:geopoint;2", &[("lon", "double"), ("lat", "double"), ("alt", "double")]),
];

/// A standard element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standard {
    pub(crate) class: Class,
    pub(crate) version: u8,
    /// The element it is defined in.
    pub(crate) child_of: Option<String>,
    /// The type it has beside its class.
    pub(crate) of_type: Option<String>,
    pub(crate) name: Option<&'static str>,
    /// What an enumeration's value is on the wire.
    pub(crate) value: Option<String>,
    pub(crate) links: Vec<(Prop, Vec<String>)>,
}

impl Standard {
    fn new(class: Class, version: u8) -> Self {
        Self { class, version, child_of: None, of_type: None, name: None, value: None, links: vec![] }
    }

    fn named(mut self, name: &'static str, value: String) -> Self {
        self.name = Some(name);
        self.value = Some(value);
        self
    }

    fn in_parent(mut self, id: String) -> Self {
        self.child_of = Some(id);
        self
    }

    fn link(mut self, prop: Prop, ids: Vec<String>) -> Self {
        self.links.push((prop, ids));
        self
    }
}

/// The identifier an element is known by in models.
pub(crate) fn canonical(id: &str) -> Cow<'_, str> {
    match primitive(id) {
        Some((_, name, since)) => Cow::Owned(format!("dtmi:dtdl:instance:Schema:{name};{since}")),
        None => Cow::Borrowed(id),
    }
}

/// The class of a primitive schema, its term, and the version that had it first.
fn primitive(id: &str) -> Option<(Class, &str, u8)> {
    let (name, version) = id.strip_prefix("dtmi:dtdl:instance:Schema:")?.split_once(';')?;
    let version: u8 = version.parse().ok()?;
    let row = CLASSES.iter().find(|row| {
        row.class.is(Class::PrimitiveSchema)
            && row.class.is_elemental()
            && row.name.len() == name.len()
            && row.name.get(1..) == name.get(1..)
            && row.name.get(..1).map(str::to_ascii_lowercase).as_deref() == name.get(..1)
    })?;
    (row.since <= version && version <= 4).then_some((row.class, name, row.since))
}

/// The primitive schema of a term in any version.
fn schema(name: &str) -> String {
    let since = if matches!(name, "decimal" | "short") { 4 } else { 2 };
    format!("dtmi:dtdl:instance:Schema:{name};{since}")
}

/// The element with this canonical identifier.
pub(crate) fn element(id: &str) -> Option<Standard> {
    if let Some((class, _, since)) = primitive(id) {
        return Some(Standard::new(class, since));
    }
    if let Some(found) = object(id) {
        return Some(found);
    }
    if let Some(rest) = id.strip_prefix("dtmi:dtdl:extension:quantitativeTypes:v") {
        return extension_unit(rest);
    }
    let (path, version) = id.split_once(';')?;
    let version: u8 = version.parse().ok().filter(|version| (2..=4).contains(version))?;
    if let Some(name) = path.strip_prefix("dtmi:dtdl:instance:CommandType:") {
        return matches!(name, "synchronous" | "asynchronous").then(|| Standard::new(CommandType, version));
    }
    if let Some(rest) = path.strip_prefix("dtmi:standard:schema:geospatial") {
        return geospatial(rest, version);
    }
    (version == 2).then(|| v2_unit(path)).flatten()
}

/// An object of the table or one of its fields.
fn object(id: &str) -> Option<Standard> {
    for (object, fields) in OBJECTS {
        let field_id = |name: &str| {
            let (path, version) = object.split_once(';').unwrap_or((object, ""));
            let between = if path.starts_with("dtmi:iotcentral") { ":" } else { ":_fields:__" };
            format!("{path}{between}{name};{version}")
        };
        let version = if object.ends_with('4') { 4 } else { 2 };
        if id == *object {
            let ids = fields.iter().map(|(name, _)| field_id(name)).collect();
            return Some(Standard::new(Object, version).link(Prop::Fields, ids));
        }
        if let Some((name, of)) = fields.iter().find(|(name, _)| id == field_id(name)) {
            return Some(field(name, version, object, schema(of)));
        }
    }
    None
}

fn field(name: &'static str, version: u8, parent: &str, schema: String) -> Standard {
    let mut of = Standard::new(Field, version).in_parent(parent.to_owned()).link(Prop::Schema, vec![schema]);
    of.name = Some(name);
    of
}

/// `:point`, `:point:type`, `PointType`, `:enumValue:point`, `:position` and so on.
fn geospatial(rest: &str, version: u8) -> Option<Standard> {
    let id = |name: &str| format!("dtmi:standard:schema:geospatial:{name};{version}");
    let type_id = |shape: &str| format!("dtmi:standard:schema:geospatial{}Type;{version}", upper_first(shape));
    let shape_of = |name: &str| GEOSPATIAL.iter().copied().find(|shape| *shape == name);
    let Some(name) = rest.strip_prefix(':') else {
        let shape = GEOSPATIAL.iter().find(|shape| rest.strip_suffix("Type") == Some(&upper_first(shape)))?;
        return Some(
            Standard::new(Enum, version)
                .link(Prop::ValueSchema, vec![schema("string")])
                .link(Prop::EnumValues, vec![id(&format!("enumValue:{shape}"))]),
        );
    };
    if let Some(shape) = name.strip_prefix("enumValue:").and_then(shape_of) {
        return Some(Standard::new(EnumValue, version).named(shape, upper_first(shape)).in_parent(type_id(shape)));
    }
    if name == "position" {
        return Some(Standard::new(Array, version).link(Prop::ElementSchema, vec![schema("double")]));
    }
    if let Some((_, of)) = ARRAYS.iter().find(|(array, _)| *array == name) {
        return Some(Standard::new(Array, version).link(Prop::ElementSchema, vec![id(of)]));
    }
    let (shape, part) = name.split_once(':').map_or((name, None), |(shape, part)| (shape, Some(part)));
    let (shape, coordinates) = COORDINATES.iter().find(|(of, _)| *of == shape)?;
    match part {
        None => {
            let ids = vec![id(&format!("{shape}:type")), id(&format!("{shape}:coordinates"))];
            Some(Standard::new(Object, version).link(Prop::Fields, ids))
        }
        Some("type") => Some(field("type", version, &id(shape), type_id(shape))),
        Some("coordinates") => Some(field("coordinates", version, &id(shape), id(coordinates))),
        Some(_) => None,
    }
}

/// A unit or prefix of DTDL v2.
fn v2_unit(path: &str) -> Option<Standard> {
    if let Some(name) = path.strip_prefix("dtmi:standard:unitprefix:") {
        let name = DECIMAL_PREFIXES.iter().chain(BINARY_PREFIXES).find(|of| **of == name && name != "deca")?;
        let mut of = Standard::new(UnitAttribute, 2);
        of.name = Some(name);
        return Some(of);
    }
    let name = path.strip_prefix("dtmi:standard:unit:")?;
    let (kind, _) = unit_kind(name, Since::V2)?;
    let mut of = Standard::new(Unit, 2);
    of.of_type = Some(format!("dtmi:standard:class:{kind};2"));
    Some(of)
}

/// `1:unit:kelvin`, `1:enum:TemperatureUnit`, `1:unitprefix:kilo`.
fn extension_unit(rest: &str) -> Option<Standard> {
    let (version, known, dtdl) = match rest.split_once(':')?.0 {
        "1" => (1, Since::Ext1, 3),
        "2" => (2, Since::Ext1, 4),
        "3" => (3, Since::Ext3, 4),
        _ => return None,
    };
    let base = format!("dtmi:dtdl:extension:quantitativeTypes:v{version}");
    let (what, name) = rest.split_once(':')?.1.split_once(':')?;
    match what {
        "unit" => {
            let (kind, name) = unit_kind(name, known)?;
            Some(Standard::new(EnumValue, dtdl).named(name, name.to_owned()).in_parent(format!("{base}:enum:{kind}")))
        }
        "unitprefix" => {
            let (kind, list) = prefixes().into_iter().find(|(_, list)| list.contains(&name) && name != "deka")?;
            let name = list.iter().find(|of| **of == name)?;
            Some(
                Standard::new(EnumValue, dtdl).named(name, (*name).to_owned()).in_parent(format!("{base}:enum:{kind}")),
            )
        }
        "enum" => {
            let values = enumeration(name, known)?;
            let ids = values.iter().map(|(what, value)| format!("{base}:{what}:{value}")).collect();
            Some(Standard::new(Enum, dtdl).link(Prop::ValueSchema, vec![schema("string")]).link(Prop::EnumValues, ids))
        }
        _ => None,
    }
}

fn prefixes() -> [(&'static str, &'static [&'static str]); 2] {
    [("DecimalPrefix", DECIMAL_PREFIXES), ("BinaryPrefix", BINARY_PREFIXES)]
}

/// The members of a kind of unit, or of prefixes.
fn enumeration(name: &str, known: Since) -> Option<Vec<(&'static str, &'static str)>> {
    if let Some((_, list)) = prefixes().into_iter().find(|(kind, _)| *kind == name) {
        return Some(list.iter().filter(|of| **of != "deka").map(|of| ("unitprefix", *of)).collect());
    }
    let (_, units) = UNITS.iter().find(|(kind, _)| *kind == name)?;
    let values: Vec<_> =
        units.iter().filter(|(_, _, since)| *since <= known).map(|(unit, _, _)| ("unit", *unit)).collect();
    (!values.is_empty()).then_some(values)
}

/// The kind of a unit, and its name for as long as the process runs.
fn unit_kind(name: &str, known: Since) -> Option<(&'static str, &'static str)> {
    UNITS.iter().find_map(|(kind, units)| {
        units.iter().find(|(unit, _, since)| *unit == name && *since <= known).map(|(unit, _, _)| (*kind, *unit))
    })
}

/// The symbol of a unit by its name, `°C` for `degreeCelsius`.
pub(crate) fn symbol(name: &str) -> Option<&'static str> {
    UNITS.iter().flat_map(|(_, units)| *units).find(|(unit, _, _)| *unit == name).map(|(_, symbol, _)| *symbol)
}

/// `point` as `Point`.
fn upper_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primitives_of_later_versions_are_those_of_the_first() {
        assert_eq!(canonical("dtmi:dtdl:instance:Schema:dateTime;4"), "dtmi:dtdl:instance:Schema:dateTime;2");
        assert_eq!(canonical("dtmi:dtdl:instance:Schema:uuid;4"), "dtmi:dtdl:instance:Schema:uuid;4");
        assert_eq!(canonical("dtmi:dtdl:instance:Schema:uuid;3"), "dtmi:dtdl:instance:Schema:uuid;3");
        assert_eq!(element("dtmi:dtdl:instance:Schema:uuid;3"), None);
        assert_eq!(element("dtmi:dtdl:instance:Schema:float;2").map(|e| e.class), Some(Class::Float));
    }

    #[test]
    fn whatever_a_standard_element_links_to_is_one_too() {
        let mut open: Vec<std::string::String> = GEOSPATIAL
            .iter()
            .flat_map(|shape| (2..=4).map(move |v| format!("dtmi:standard:schema:geospatial:{shape};{v}")))
            .chain(OBJECTS.iter().map(|(id, _)| (*id).to_owned()))
            .chain((1..=3).map(|v| format!("dtmi:dtdl:extension:quantitativeTypes:v{v}:enum:PowerUnit")))
            .chain((1..=3).map(|v| format!("dtmi:dtdl:extension:quantitativeTypes:v{v}:enum:DecimalPrefix")))
            .collect();
        while let Some(id) = open.pop() {
            let of = element(&id).unwrap_or_else(|| panic!("{id}"));
            open.extend(of.links.into_iter().flat_map(|(_, ids)| ids));
        }
    }

    #[test]
    fn units_are_there_from_their_vocabulary_on() {
        assert!(element("dtmi:standard:unit:degreeCelsius;2").is_some());
        assert!(element("dtmi:standard:unit:kiloampere;2").is_none());
        assert!(element("dtmi:dtdl:extension:quantitativeTypes:v2:unit:kiloampere").is_some());
        assert!(element("dtmi:dtdl:extension:quantitativeTypes:v2:unit:poise").is_none());
        assert!(element("dtmi:dtdl:extension:quantitativeTypes:v3:unit:poise").is_some());
        assert_eq!(symbol("degreeCelsius"), Some("°C"));
    }
}
