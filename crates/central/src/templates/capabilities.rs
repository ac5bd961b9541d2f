//! What a device of a template offers, in the order of its model: the view of pages, checks, simulations and exports.
//!
//! Plain data, free of the model it came from. Capabilities of the root are those of its interface and all it extends;
//! those of a component are likewise. Names for people are those of English or the nearest language there is.

use std::sync::Arc;

use gantry_dtdl::{
    Capability, Class, Content, Data, Interface, Model, Node, Schema as Dtdl, SchemaKind, Value as Literal,
};
use serde_json::{Value, json};

use super::model::{Read, SET_ASIDE};

const LANGUAGE: &str = "en";
/// Levels of a schema looked at; those below are [`Schema::Deeper`]. DTDL v2 has five.
const SCHEMA_DEPTH_MAX: usize = 12;

/// Where schemas of shapes on the earth are.
const GEOSPATIAL: &str = "dtmi:standard:schema:geospatial:";
/// Their words.
const SHAPES: [&str; 6] = ["point", "multiPoint", "lineString", "multiLineString", "polygon", "multiPolygon"];

/// Everything a template offers.
#[derive(Clone, PartialEq, Debug)]
pub struct Capabilities {
    /// The id devices announce.
    pub model_id: String,
    /// What the device itself offers.
    pub root: Part,
    /// What its components offer, by name.
    pub components: Vec<Part>,
}

/// The device itself or one of its components.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// The component's name; none of the device itself.
    pub name: Option<String>,
    /// What people call it.
    pub display_name: String,
    /// Its interface.
    pub interface: String,
    /// What it sends.
    pub telemetry: Vec<Telemetry>,
    /// What it has.
    pub properties: Vec<Property>,
    /// What it does when asked.
    pub commands: Vec<Command>,
    /// Links to others; modules of IoT Edge among them.
    pub relationships: Vec<Relationship>,
}

/// A value that is sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Telemetry {
    /// Its id in the model, the one it has by its place when the model says none.
    pub id: String,
    /// Name on the wire.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// What values look like.
    pub schema: Schema,
    /// The unit's term (`degreeCelsius`).
    pub unit: Option<String>,
    /// What the value means (`Temperature`, `State`, `Location`).
    pub semantic_type: Option<String>,
}

/// A value a device has, or that is kept for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Property {
    /// Its id in the model, the one it has by its place when the model says none.
    pub id: String,
    /// Name on the wire.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// What values look like.
    pub schema: Schema,
    /// The unit's term.
    pub unit: Option<String>,
    /// What the value means.
    pub semantic_type: Option<String>,
    /// Whether it is set through the desired section.
    pub is_writable: bool,
    /// Whether it is kept by the application and never sent to the device.
    pub is_cloud: bool,
    /// What is desired of a new device.
    pub initial_value: Option<Value>,
}

/// Something a device does when asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Command {
    /// Name on the wire.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// What it takes.
    pub request: Option<Field>,
    /// What it gives.
    pub response: Option<Field>,
    /// Whether it waits in the device's queue while the device is away.
    pub is_durable: bool,
}

/// A link to other devices.
#[derive(Clone, PartialEq, Debug)]
pub struct Relationship {
    /// Name.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// The interface of what it points to, if it says.
    pub target: Option<String>,
    /// Whether it is a module of an IoT Edge device.
    pub is_edge_module: bool,
    /// What the module offers, where the model has its interface.
    pub module: Option<Arc<Capabilities>>,
}

/// A named value inside another.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Name on the wire.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// What values look like.
    pub schema: Schema,
}

/// What values look like.
#[derive(Clone, PartialEq, Debug)]
pub enum Schema {
    /// A primitive or geospatial schema by its word: `double`, `dateTime`, `point`.
    Word(&'static str),
    /// Latitude, longitude and perhaps altitude.
    Geopoint,
    /// Three numbers, `x`, `y` and `z`.
    Vector,
    /// One of some values.
    Enum(Vec<EnumValue>),
    /// Values under known names.
    Object(Vec<Field>),
    /// Values under names that are not known before.
    Map(Box<Schema>),
    /// A list.
    Array(Box<Schema>),
    /// Nested deeper than is looked at.
    Deeper,
}

/// A value of an enumeration.
#[derive(Clone, PartialEq, Debug)]
pub struct EnumValue {
    /// Name in the model.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// What stands for it on the wire, a string or an integer.
    pub value: Value,
}

impl Capabilities {
    pub(super) fn of(read: &Read) -> Option<Self> {
        let mut all = Self::of_interface(&read.model, read.root.as_str())?;
        for link in all.root.relationships.iter_mut().filter(|link| link.is_edge_module) {
            let module = link.target.as_deref().and_then(|target| Self::of_interface(&read.model, target));
            link.module = module.map(Arc::new);
        }
        Some(all)
    }

    fn of_interface(model: &Model, id: &str) -> Option<Self> {
        let root = model.interface(id)?;
        let components = root.capabilities(Capability::Component);
        let components = components.filter_map(|content| Some(part(Some(&content), content.component()?))).collect();
        Some(Self { model_id: id.to_owned(), root: part(None, root), components })
    }

    /// What a module of an edge device offers, if that is known.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<&Arc<Self>> {
        self.root.relationships.iter().find(|link| link.is_edge_module && link.name == name)?.module.as_ref()
    }

    /// The device itself, then its components.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.root).chain(&self.components)
    }

    /// The device itself without a name, or a component.
    #[must_use]
    pub fn part(&self, name: Option<&str>) -> Option<&Part> {
        self.parts().find(|part| part.name.as_deref() == name)
    }

    /// How many telemetry values, properties and commands there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.parts().map(|part| part.telemetry.len() + part.properties.len() + part.commands.len()).sum()
    }
}

impl Part {
    /// A telemetry value by its name.
    #[must_use]
    pub fn telemetry(&self, name: &str) -> Option<&Telemetry> {
        self.telemetry.iter().find(|one| one.name == name)
    }

    /// A property by its name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|one| one.name == name)
    }

    /// A command by its name.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.commands.iter().find(|one| one.name == name)
    }
}

fn part(component: Option<&Content<'_>>, interface: Interface<'_>) -> Part {
    let mut part = Part {
        name: component.and_then(|content| content.name()).map(str::to_owned),
        display_name: component.map_or_else(|| display_name(&interface), |content| display_name(content)),
        interface: interface.id().as_str().to_owned(),
        telemetry: vec![],
        properties: vec![],
        commands: vec![],
        relationships: vec![],
    };
    for content in interface.contents() {
        match content.capability() {
            Some(Capability::Telemetry) => part.telemetry.push(telemetry(&content)),
            Some(Capability::Property) => part.properties.push(property(&content)),
            Some(Capability::Command) => part.commands.push(command(&content)),
            Some(Capability::Relationship) => part.relationships.push(relationship(&content)),
            Some(Capability::Component) | None => {}
        }
    }
    part
}

fn telemetry(content: &Content<'_>) -> Telemetry {
    Telemetry {
        id: content.id().as_str().to_owned(),
        name: name(content),
        display_name: display_name(content),
        schema: schema(content.schema(), SCHEMA_DEPTH_MAX),
        unit: content.unit().map(|unit| unit.term().to_owned()),
        semantic_type: semantic_type(content),
    }
}

fn property(content: &Content<'_>) -> Property {
    let value = telemetry(content);
    Property {
        id: value.id,
        name: value.name,
        display_name: value.display_name,
        schema: value.schema,
        unit: value.unit,
        semantic_type: value.semantic_type,
        is_writable: content.is_writable(),
        is_cloud: content.has_type("Cloud"),
        initial_value: unknown(content, "initialValue").filter(|_| content.has_type("Initialized")).cloned(),
    }
}

fn command(content: &Content<'_>) -> Command {
    let payload = |data: Option<Data<'_>>| data.map(|data| field(&data, SCHEMA_DEPTH_MAX));
    let payloads = content.command();
    Command {
        name: name(content),
        display_name: display_name(content),
        request: payload(payloads.and_then(|command| command.request())),
        response: payload(payloads.and_then(|command| command.response())),
        is_durable: unknown(content, "durable") == Some(&Value::Bool(true)),
    }
}

fn relationship(content: &Content<'_>) -> Relationship {
    let is_edge_module = ["EdgeModule", "SemanticType/EdgeModule"].iter().any(|of| content.has_type(of));
    let target = content.target().map(|id| id.as_str().to_owned());
    Relationship { name: name(content), display_name: display_name(content), target, is_edge_module, module: None }
}

fn field(data: &Data<'_>, depth: usize) -> Field {
    Field { name: name(data), display_name: display_name(data), schema: schema(data.schema(), depth) }
}

fn schema(of: Option<Dtdl<'_>>, depth: usize) -> Schema {
    let Some(of) = of else { return Schema::Word("any") };
    let Some(below) = depth.checked_sub(1) else { return Schema::Deeper };
    match of.id().as_str() {
        "dtmi:iotcentral:schema:geopoint;2" => return Schema::Geopoint,
        "dtmi:iotcentral:schema:vector;2" => return Schema::Vector,
        id => {
            let shape = id.strip_prefix(GEOSPATIAL).and_then(|rest| rest.split(';').next());
            if let Some(word) = shape.and_then(|shape| SHAPES.into_iter().find(|word| *word == shape)) {
                return Schema::Word(word);
            }
        }
    }
    match of.kind() {
        SchemaKind::Primitive(class) => Schema::Word(word(class)),
        SchemaKind::Array(of) => Schema::Array(Box::new(schema(of, below))),
        SchemaKind::Map(of) => Schema::Map(Box::new(schema(of.and_then(|data| data.schema()), below))),
        SchemaKind::Object => Schema::Object(of.fields().map(|data| field(&data, below)).collect()),
        SchemaKind::Enum => Schema::Enum(of.values().map(|(node, value)| enum_value(&node, &value)).collect()),
    }
}

fn enum_value(node: &Node<'_>, value: &Literal<'_>) -> EnumValue {
    let value = match value {
        Literal::Text(text) => json!(text),
        Literal::Int(number) => json!(number),
        _ => Value::Null,
    };
    EnumValue { name: name(node), display_name: display_name(node), value }
}

/// The word of a schema as documents write it.
fn word(class: Class) -> &'static str {
    match class {
        Class::Boolean => "boolean",
        Class::Date => "date",
        Class::DateTime => "dateTime",
        Class::Double => "double",
        Class::Duration => "duration",
        Class::Float => "float",
        Class::Integer => "integer",
        Class::Long => "long",
        Class::String => "string",
        Class::Time => "time",
        _ => "any",
    }
}

/// What a value means: the language's semantic type, one set aside, or one of IoT Central's kinds of values.
fn semantic_type(node: &Node<'_>) -> Option<String> {
    let kinds = ["State", "Event", "Location", "VelocityVector", "AccelerationVector"];
    let kind = || kinds.into_iter().find(|kind| node.has_type(kind)).map(str::to_owned);
    let aside = || unknown(node, SET_ASIDE).and_then(Value::as_str).map(str::to_owned);
    node.semantic_type().map(str::to_owned).or_else(aside).or_else(kind)
}

fn unknown<'m>(node: &Node<'m>, property: &str) -> Option<&'m Value> {
    node.unknown_properties().find(|(name, _)| *name == property).map(|(_, value)| value)
}

fn name(node: &Node<'_>) -> String {
    node.name().unwrap_or_default().to_owned()
}

fn display_name(node: &Node<'_>) -> String {
    node.display_name(LANGUAGE).map_or_else(|| node.id().as_str().to_owned(), str::to_owned)
}
