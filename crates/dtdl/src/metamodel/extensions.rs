//! What extensions add to the metamodel: types an element may have beside its class, with their
//! properties and rules, as a table.
//!
//! Source: the published extension documents (annotation, historization, MQTT, overriding,
//! requirement, IoT Central, IoT Operations). Quantitative types are rows too, made from
//! `quantities` when the vocabulary is built. The streaming and initialization extensions are not
//! published and therefore unknown here.

use super::Class::{self, *};
use super::{Pattern, Prop};

/// How an extension makes identifiers of its terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// `dtmi:dtdl:extension:mqtt:v1:Mqtt` and `...:v1:Mqtt:commandTopic`.
    Extension,
    /// `dtmi:iotcentral:class:State;2` and `dtmi:iotcentral:property:...;2`.
    Product,
}

/// An extension with its versions and types.
pub(crate) struct Extension {
    /// The context without its version.
    pub(crate) context: &'static str,
    /// What its identifiers begin with.
    pub(crate) prefix: &'static str,
    pub(crate) naming: Naming,
    /// Each version with the DTDL versions its types may be used in.
    pub(crate) versions: &'static [(u32, &'static [u8])],
    pub(crate) types: &'static [TypeRow],
}

/// A type of an extension.
#[derive(Clone, Copy)]
pub(crate) struct TypeRow {
    pub(crate) name: &'static str,
    pub(crate) on: &'static [Class],
    pub(crate) properties: &'static [PropertyRow],
    /// Types that the element must have too.
    pub(crate) needs: &'static [&'static str],
    /// Types that the element must not have.
    pub(crate) excludes: &'static [&'static str],
    /// A type that allows this one on classes not in `on`.
    pub(crate) also_with: &'static [&'static str],
    pub(crate) rules: &'static [TypeRule],
    /// The versions of the extension that have it.
    pub(crate) since: u32,
}

/// What a property of an extension holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Decimal,
    Duration,
    /// A term or identifier of a property.
    Identifier,
    /// A reference to a unit of this kind.
    Unit(&'static str),
    /// A reference to any element of a class.
    Element(Class),
}

/// A property of a type.
#[derive(Clone, Copy)]
pub(crate) struct PropertyRow {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
    pub(crate) length: u32,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) min: Option<i32>,
    /// Siblings must differ in it.
    pub(crate) unique: bool,
    /// The value must be one of the element's schema.
    pub(crate) of_schema: bool,
    /// Since which version of the extension.
    pub(crate) since: u32,
}

/// A class or a type of the extension.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Is {
    Class(Class),
    Type(&'static str),
}

/// A rule that comes with a type. Names are types of the same extension, or full identifiers, in
/// which `{v}` is the extension's version.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TypeRule {
    /// Values of the property are of one of these.
    Holds(Prop, &'static [Is]),
    /// Values of the property are one of these elements.
    Among(Prop, &'static [&'static str]),
    /// The element is a field of an object with one of these types; no other field has this type;
    /// if given, another field has that one.
    FieldOf(&'static [&'static str], Option<&'static str>),
    /// The text in `by` is the name of a sibling of one of the classes, which has not the type.
    Annotates { by: &'static str, of: &'static [Class], never: &'static str },
    /// The text in `by` is the name of a sibling; `overrides` names a property of a type of that
    /// sibling; no other sibling overrides it; the schema is what that property has its values of.
    Overrides { by: &'static str, overrides: &'static str, of: &'static [Class] },
}

use TypeRule::{Among, Annotates, FieldOf, Holds, Overrides};

const fn extra(name: &'static str, on: &'static [Class]) -> TypeRow {
    TypeRow { name, on, properties: &[], needs: &[], excludes: &[], also_with: &[], rules: &[], since: 1 }
}

impl TypeRow {
    const fn with(mut self, properties: &'static [PropertyRow]) -> Self {
        self.properties = properties;
        self
    }

    const fn needs(mut self, types: &'static [&'static str]) -> Self {
        self.needs = types;
        self
    }

    const fn excludes(mut self, types: &'static [&'static str]) -> Self {
        self.excludes = types;
        self
    }

    const fn also_with(mut self, types: &'static [&'static str]) -> Self {
        self.also_with = types;
        self
    }

    const fn rules(mut self, rules: &'static [TypeRule]) -> Self {
        self.rules = rules;
        self
    }

    const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }
}

pub(crate) const fn has(name: &'static str, kind: Kind) -> PropertyRow {
    PropertyRow {
        name,
        kind,
        optional: false,
        length: u32::MAX,
        pattern: None,
        min: None,
        unique: false,
        of_schema: false,
        since: 1,
    }
}

impl PropertyRow {
    pub(crate) const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    const fn pattern(mut self, pattern: Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    const fn length(mut self, length: u32) -> Self {
        self.length = length;
        self
    }

    const fn min(mut self, min: i32) -> Self {
        self.min = Some(min);
        self
    }

    const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    const fn of_schema(mut self) -> Self {
        self.of_schema = true;
        self
    }

    const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }
}

const REQUIRED: &[&str] = &["dtmi:dtdl:extension:requirement:v1:Required"];
const VALUES: &[Class] = &[Property, Telemetry];
/// What has a schema and is data.
pub(crate) const DATA: &[Class] = &[CommandRequest, CommandResponse, Field, MapValue, Property, Telemetry];
const OBJECT: &[Is] = &[Is::Class(Object)];
const NUMERIC: &[Is] = &[Is::Class(NumericSchema)];
const V3: &[u8] = &[3];
const V3_AND_V4: &[u8] = &[3, 4];

/// The extensions but for quantitative types.
#[rustfmt::skip]
pub(crate) const EXTENSIONS: &[Extension] = &[
    Extension {
        context: "dtmi:dtdl:extension:annotation",
        prefix: "dtmi:dtdl:extension:annotation",
        naming: Naming::Extension,
        versions: &[(1, V3), (2, V3_AND_V4)],
        types: &[
            extra("ValueAnnotation", VALUES).with(&[has("annotates", Kind::Text)])
                .rules(&[Annotates { by: "annotates", of: VALUES, never: "ValueAnnotation" }]),
        ],
    },
    Extension {
        context: "dtmi:dtdl:extension:historization",
        prefix: "dtmi:dtdl:extension:historization",
        naming: Naming::Extension,
        versions: &[(1, V3), (2, V3_AND_V4)],
        types: &[extra("Historized", VALUES)],
    },
    Extension {
        context: "dtmi:dtdl:extension:mqtt",
        prefix: "dtmi:dtdl:extension:mqtt",
        naming: Naming::Extension,
        versions: &[(1, V3), (2, V3_AND_V4), (3, V3_AND_V4), (4, V3_AND_V4)],
        types: &[
            extra("Mqtt", &[Interface]).with(&[
                has("payloadFormat", Kind::Text),
                has("telemetryTopic", Kind::Text).optional().pattern(Pattern::Topic),
                has("commandTopic", Kind::Text).optional().pattern(Pattern::Topic),
                has("propertyTopic", Kind::Text).optional().pattern(Pattern::Topic).since(4),
                has("telemServiceGroupId", Kind::Text).optional().pattern(Pattern::GroupId).since(2),
                has("cmdServiceGroupId", Kind::Text).optional().pattern(Pattern::GroupId).since(2),
            ]),
            extra("Idempotent", &[Command]),
            extra("Cacheable", &[Command]).with(&[has("ttl", Kind::Duration)]).needs(&["Idempotent"]),
            // `Indexed` of version 4 is on properties too: see `Extension::classes`.
            extra("Indexed", &[EnumValue, Field, Telemetry]).with(&[has("index", Kind::Int).min(1).unique()]),
            extra("Transparent", &[CommandRequest, CommandResponse]).since(2).rules(&[Holds(Prop::Schema, OBJECT)]),
            extra("Error", &[Object]).since(3),
            extra("ErrorMessage", &[Field]).since(3)
                .rules(&[FieldOf(&["Error"], None), Holds(Prop::Schema, &[Is::Class(String)])]),
            extra("Result", &[Object]).since(3)
                .rules(&[Holds(Prop::Fields, &[Is::Type("NormalResult"), Is::Type("ErrorResult"), Is::Type("ErrorCode"), Is::Type("ErrorInfo")])]),
            extra("NormalResult", &[Field]).since(3).excludes(REQUIRED).rules(&[FieldOf(&["Result"], None)]),
            extra("ErrorResult", &[Field]).since(3).excludes(REQUIRED)
                .rules(&[FieldOf(&["Result"], None), Holds(Prop::Schema, &[Is::Type("Error")])]),
            extra("ErrorCode", &[Field]).since(4)
                .rules(&[FieldOf(&["Result", "Error"], None), Holds(Prop::Schema, &[Is::Class(Enum)])]),
            extra("ErrorInfo", &[Field]).since(4)
                .rules(&[FieldOf(&["Result", "Error"], Some("ErrorCode")), Holds(Prop::Schema, OBJECT)]),
            extra("PropertyResult", &[Object]).since(4)
                .rules(&[Holds(Prop::Fields, &[Is::Type("PropertyValue"), Is::Type("ReadError"), Is::Type("WriteError")])]),
            extra("PropertyValue", &[Field]).since(4).excludes(REQUIRED).rules(&[FieldOf(&["PropertyResult"], None)]),
            extra("ReadError", &[Field]).since(4).excludes(REQUIRED)
                .rules(&[FieldOf(&["PropertyResult"], None), Holds(Prop::Schema, &[Is::Type("Error")])]),
            extra("WriteError", &[Field]).since(4).excludes(REQUIRED)
                .rules(&[FieldOf(&["PropertyResult"], None), Holds(Prop::Schema, &[Is::Type("Error")])]),
            extra("Fragmented", &[Property]).since(4).also_with(&["PropertyValue"])
                .rules(&[Holds(Prop::Schema, &[Is::Class(Map)])]),
            extra("Indirect", &[Field]).since(4).excludes(REQUIRED),
        ],
    },
    Extension {
        context: "dtmi:dtdl:extension:overriding",
        prefix: "dtmi:dtdl:extension:overriding",
        naming: Naming::Extension,
        versions: &[(1, V3), (2, V3_AND_V4)],
        types: &[
            extra("Override", &[Property]).with(&[has("overrides", Kind::Identifier)])
                .needs(&["dtmi:dtdl:extension:annotation:v{v}:ValueAnnotation"])
                .rules(&[Overrides {
                    by: "dtmi:dtdl:extension:annotation:v{v}:ValueAnnotation:annotates",
                    overrides: "overrides",
                    of: VALUES,
                }]),
        ],
    },
    Extension {
        context: "dtmi:dtdl:extension:requirement",
        prefix: "dtmi:dtdl:extension:requirement",
        naming: Naming::Extension,
        versions: &[(1, V3_AND_V4), (2, V3_AND_V4)],
        types: &[extra("Required", &[Field])],
    },
    Extension {
        context: "dtmi:iotcentral:context",
        prefix: "dtmi:iotcentral",
        naming: Naming::Product,
        versions: &[(2, &[2])],
        types: &[
            extra("State", VALUES).rules(&[Holds(Prop::Schema, &[Is::Class(Enum)])]),
            extra("Event", VALUES).rules(&[Holds(Prop::Schema, &[Is::Class(NumericSchema), Is::Class(String)])]),
            extra("Location", VALUES).rules(&[Among(Prop::Schema, &[
                "dtmi:standard:schema:geospatial:point;2", "dtmi:standard:schema:geospatial:multiPoint;2",
                "dtmi:standard:schema:geospatial:lineString;2", "dtmi:standard:schema:geospatial:multiLineString;2",
                "dtmi:standard:schema:geospatial:polygon;2", "dtmi:standard:schema:geospatial:multiPolygon;2",
                "dtmi:iotcentral:schema:geopoint;2",
            ])]),
            extra("AccelerationVector", VALUES).rules(&[Among(Prop::Schema, &["dtmi:iotcentral:schema:vector;2"])])
                .with(&[has("dtmi:dtdl:property:unit;2", Kind::Unit("AccelerationUnit")).optional()]),
            extra("VelocityVector", VALUES).rules(&[Among(Prop::Schema, &["dtmi:iotcentral:schema:vector;2"])])
                .with(&[has("dtmi:dtdl:property:unit;2", Kind::Unit("VelocityUnit")).optional()]),
        ],
    },
    Extension {
        context: "dtmi:iotoperations:context",
        prefix: "dtmi:iotoperations",
        naming: Naming::Product,
        versions: &[(4, &[4])],
        types: &[
            extra("Event", &[Interface]),
            extra("Composite", &[Interface]).excludes(&["Event"]).with(&[has("ontology", Kind::Text).length(128)]),
            extra("Congruence", &[Array, Enum, Interface, Map, Object]).with(&[has("typeRef", Kind::Text).length(128)]),
            extra("Detail", &[Object]),
            extra("Subject", &[Field]).rules(&[FieldOf(&["Detail"], None)]),
            extra("GroupMember", &[Command]).with(&[has("group", Kind::Text).length(128).pattern(Pattern::Name)]),
            extra("HasComponent", &[Relationship]),
            extra("HasCapability", &[Relationship]).excludes(&["HasComponent"]),
            extra("Limited", DATA).rules(&[Holds(Prop::Schema, NUMERIC)]).with(&[
                has("minimum", Kind::Decimal).optional().of_schema(),
                has("maximum", Kind::Decimal).optional().of_schema(),
            ]),
            extra("Precise", DATA).rules(&[Holds(Prop::Schema, NUMERIC)]).with(&[has("decimalPlaces", Kind::Int)]),
            extra("Qualified", &[Command, Component, Field, Property, Relationship, Telemetry])
                .with(&[has("namespace", Kind::Text).length(128)]),
            extra("ScaledStatically", DATA).rules(&[Holds(Prop::Schema, NUMERIC)])
                .with(&[has("scaleFactor", Kind::Decimal).of_schema()]),
        ],
    },
];

impl Extension {
    /// The classes a type may be on in a version: two have grown.
    pub(crate) fn classes(&self, version: u32, row: &TypeRow) -> Vec<Class> {
        let mut classes = row.on.to_vec();
        let grown = match (self.context, row.name) {
            ("dtmi:dtdl:extension:mqtt", "Indexed") => version >= 4,
            ("dtmi:dtdl:extension:requirement", "Required") => version >= 2,
            _ => false,
        };
        if grown {
            classes.push(Class::Property);
        }
        classes
    }
}

/// Contexts that only raise limits, with the DTDL version and the limits they stand for.
pub(crate) const LIMIT_CONTEXTS: &[(&str, u32, super::Edition)] =
    &[("dtmi:dtdl:limits:aio", 1, super::Edition::V4Aio), ("dtmi:dtdl:limits:onvif", 1, super::Edition::V4Onvif)];
