//! The words of DTDL: classes, properties, limits, extensions, units and standard elements.
//!
//! `table` has the metamodel, `extensions` what extensions add to it, `quantities` the units,
//! `standard` the elements that need no document, `vocabulary` the terms for all of it. Here are the types the tables are made of.

pub(crate) mod extensions;
pub(crate) mod quantities;
pub(crate) mod standard;
pub(crate) mod table;
pub(crate) mod vocabulary;

/// A DTDL version with a set of limits: the column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Edition {
    /// DTDL v2.
    V2,
    /// DTDL v3.
    V3,
    /// DTDL v4 with its own limits.
    V4,
    /// DTDL v4 with the limits of `dtmi:dtdl:limits:aio;1`.
    V4Aio,
    /// DTDL v4 with the limits of `dtmi:dtdl:limits:onvif;1`.
    V4Onvif,
}

impl Edition {
    /// The version with its own limits; none for a version that there is not.
    pub(crate) const fn of(version: u32) -> Option<Self> {
        match version {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            _ => None,
        }
    }

    /// The major version of the language.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 | Self::V4Aio | Self::V4Onvif => 4,
        }
    }

    /// The value of a limit in this column.
    pub(crate) const fn pick<T: Copy>(self, limits: &[T; 5]) -> T {
        limits[self as usize]
    }
}

/// What an element is. The order is that of the table of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's own, `table` says what they are")]
pub enum Class {
    Entity,
    NamedEntity,
    Content,
    SchemaField,
    Schema,
    ComplexSchema,
    PrimitiveSchema,
    NumericSchema,
    TemporalSchema,
    Interface,
    Telemetry,
    Property,
    Command,
    Relationship,
    Component,
    CommandPayload,
    CommandRequest,
    CommandResponse,
    CommandType,
    Array,
    Enum,
    EnumValue,
    Map,
    MapKey,
    MapValue,
    Object,
    Field,
    Boolean,
    Bytes,
    String,
    Uuid,
    Date,
    DateTime,
    Duration,
    Time,
    Byte,
    Decimal,
    Double,
    Float,
    Integer,
    Long,
    Short,
    UnsignedByte,
    UnsignedInteger,
    UnsignedLong,
    UnsignedShort,
    Unit,
    UnitAttribute,
    LatentType,
    NamedLatentType,
}

impl Class {
    fn row(self) -> &'static ClassRow {
        &table::CLASSES[self as usize]
    }

    /// The name as documents have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether this class is the other or a descendant of it.
    #[must_use]
    pub fn is(self, ancestor: Self) -> bool {
        let mut class = self;
        loop {
            if class == ancestor {
                return true;
            }
            let parent = class.row().parent;
            if parent == class {
                return false;
            }
            class = parent;
        }
    }

    pub(crate) fn is_abstract(self) -> bool {
        self.row().is_abstract
    }

    pub(crate) fn is_elemental(self) -> bool {
        self.row().elemental
    }

    /// Whether the version has the class.
    pub(crate) fn is_in(self, version: u8) -> bool {
        self.row().since <= version
    }

    /// The class a type string names in a version: a term or the full identifier.
    pub(crate) fn named(text: &str, version: u8) -> Option<Self> {
        let (name, fits) = match text.strip_prefix("dtmi:dtdl:class:") {
            Some(rest) => {
                let (name, of) = rest.split_once(';')?;
                (name, of.parse() == Ok(version))
            }
            None => (text, true),
        };
        let class = Self::by_name(name)?;
        (fits && class.is_in(version)).then_some(class)
    }

    /// Whether a type string names a class of any version.
    pub(crate) fn is_class_name(text: &str) -> bool {
        (2..=4).any(|version| Self::named(text, version).is_some())
    }

    fn by_name(name: &str) -> Option<Self> {
        table::CLASSES.iter().find(|row| row.name == name).map(|row| row.class)
    }
}

/// A row of the table of classes.
#[derive(Clone, Copy)]
pub(crate) struct ClassRow {
    pub(crate) class: Class,
    pub(crate) name: &'static str,
    parent: Class,
    is_abstract: bool,
    elemental: bool,
    pub(crate) since: u8,
}

const fn class(class: Class, parent: Class) -> ClassRow {
    ClassRow { class, name: class_name(class), parent, is_abstract: false, elemental: false, since: 2 }
}

impl ClassRow {
    const fn is_abstract(mut self) -> Self {
        self.is_abstract = true;
        self
    }

    const fn elemental(mut self) -> Self {
        self.elemental = true;
        self
    }

    const fn since(mut self, version: u8) -> Self {
        self.since = version;
        self
    }
}

/// A property of the metamodel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's own, `table` says what they hold")]
pub enum Prop {
    Comment,
    Description,
    DisplayName,
    Name,
    Contents,
    Extends,
    Schemas,
    Schema,
    Writable,
    CommandType,
    Request,
    Response,
    Nullable,
    Target,
    MinMultiplicity,
    MaxMultiplicity,
    Properties,
    ElementSchema,
    ValueSchema,
    EnumValues,
    EnumValue,
    MapKey,
    MapValue,
    Fields,
}

macro_rules! names {
    ($function:ident, $of:ident, $($variant:ident => $name:literal),+ $(,)?) => {
        const fn $function(of: $of) -> &'static str {
            match of {
                $($of::$variant => $name,)+
            }
        }
    };
}

names!(prop_name, Prop,
    Comment => "comment", Description => "description", DisplayName => "displayName", Name => "name",
    Contents => "contents", Extends => "extends", Schemas => "schemas", Schema => "schema",
    Writable => "writable", CommandType => "commandType", Request => "request", Response => "response",
    Nullable => "nullable", Target => "target", MinMultiplicity => "minMultiplicity",
    MaxMultiplicity => "maxMultiplicity", Properties => "properties", ElementSchema => "elementSchema",
    ValueSchema => "valueSchema", EnumValues => "enumValues", EnumValue => "enumValue",
    MapKey => "mapKey", MapValue => "mapValue", Fields => "fields",
);

names!(class_name, Class,
    Entity => "Entity", NamedEntity => "NamedEntity", Content => "Content", SchemaField => "SchemaField",
    Schema => "Schema", ComplexSchema => "ComplexSchema", PrimitiveSchema => "PrimitiveSchema",
    NumericSchema => "NumericSchema", TemporalSchema => "TemporalSchema", Interface => "Interface",
    Telemetry => "Telemetry", Property => "Property", Command => "Command", Relationship => "Relationship",
    Component => "Component", CommandPayload => "CommandPayload", CommandRequest => "CommandRequest",
    CommandResponse => "CommandResponse", CommandType => "CommandType", Array => "Array", Enum => "Enum",
    EnumValue => "EnumValue", Map => "Map", MapKey => "MapKey", MapValue => "MapValue", Object => "Object",
    Field => "Field", Boolean => "Boolean", Bytes => "Bytes", String => "String", Uuid => "Uuid",
    Date => "Date", DateTime => "DateTime", Duration => "Duration", Time => "Time", Byte => "Byte",
    Decimal => "Decimal", Double => "Double", Float => "Float", Integer => "Integer", Long => "Long",
    Short => "Short", UnsignedByte => "UnsignedByte", UnsignedInteger => "UnsignedInteger",
    UnsignedLong => "UnsignedLong", UnsignedShort => "UnsignedShort", Unit => "Unit",
    UnitAttribute => "UnitAttribute", LatentType => "LatentType", NamedLatentType => "NamedLatentType",
);

impl Prop {
    /// The name as documents have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        prop_name(self)
    }
}

/// What a property holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// One string.
    Text,
    /// Strings by language.
    LangText,
    /// `true` or `false`.
    Flag,
    /// A number of 32 bits.
    Int,
    /// A string, number or flag, as it comes.
    Literal,
    /// The identifier of an element that need not be there.
    Identifier,
    /// One element of a class.
    One(Class),
    /// Several elements of a class.
    Many(Class),
}

/// What a string must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Letters, digits and underscores, a letter first and no underscore last.
    Name,
    /// An MQTT topic with `{tokens}`.
    Topic,
    /// A part of an MQTT topic without separators and wildcards.
    GroupId,
}

/// A row of the table of properties.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) owner: Class,
    pub(crate) prop: Prop,
    pub(crate) holds: Holds,
    pub(crate) min: [u32; 5],
    pub(crate) max: [u32; 5],
    pub(crate) length: [u32; 5],
    pub(crate) range: [(i32, i32); 5],
    pub(crate) pattern: Option<Pattern>,
    since: u8,
    until: u8,
    /// Elements must be of the version of their parent; otherwise an older one will do.
    pub(crate) same_version: bool,
    /// Elements defined in place must have an identifier.
    pub(crate) needs_id: bool,
    /// Elements may leave out their type.
    pub(crate) inferred: bool,
    /// An element's name is part of the identifier it gets.
    pub(crate) named: bool,
    /// Elements are kept by their name, and an interface hands them down.
    pub(crate) keyed: bool,
    /// What must differ between elements.
    pub(crate) unique: &'static [Prop],
    /// The standard elements that may be the value, by term.
    pub(crate) one_of: &'static [&'static str],
}

const fn row(owner: Class, prop: Prop, holds: Holds) -> Row {
    Row {
        owner,
        prop,
        holds,
        min: [0; 5],
        max: [table::MANY; 5],
        length: [table::MANY; 5],
        range: [(i32::MIN, i32::MAX); 5],
        pattern: None,
        since: 2,
        until: 4,
        same_version: false,
        needs_id: false,
        inferred: false,
        named: false,
        keyed: false,
        unique: &[],
        one_of: &[],
    }
}

impl Row {
    const fn length(mut self, length: [u32; 5]) -> Self {
        self.length = length;
        self
    }

    const fn required(mut self) -> Self {
        self.min = [1; 5];
        self
    }

    const fn min(mut self, min: [u32; 5]) -> Self {
        self.min = min;
        self
    }

    const fn max(mut self, max: [u32; 5]) -> Self {
        self.max = max;
        self
    }

    const fn range(mut self, range: [(i32, i32); 5]) -> Self {
        self.range = range;
        self
    }

    const fn pattern(mut self, pattern: Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    const fn since(mut self, version: u8) -> Self {
        self.since = version;
        self
    }

    const fn until(mut self, version: u8) -> Self {
        self.until = version;
        self
    }

    const fn same_version(mut self) -> Self {
        self.same_version = true;
        self
    }

    const fn needs_id(mut self) -> Self {
        self.needs_id = true;
        self
    }

    const fn inferred(mut self) -> Self {
        self.inferred = true;
        self
    }

    const fn named(mut self) -> Self {
        self.named = true;
        self
    }

    const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    const fn unique(mut self, props: &'static [Prop]) -> Self {
        self.unique = props;
        self
    }

    const fn one_of(mut self, terms: &'static [&'static str]) -> Self {
        self.one_of = terms;
        self
    }

    fn is_in(&self, version: u8) -> bool {
        self.since <= version && version <= self.until
    }

    /// Whether an element of this version may be the value when the parent is of that version.
    pub(crate) fn allows_version(&self, parent: u8, element: u8) -> bool {
        if self.same_version { element == parent } else { element <= parent }
    }

    /// The limits of a range as options.
    pub(crate) fn bounds(&self, edition: Edition) -> (Option<i32>, Option<i32>) {
        let (low, high) = edition.pick(&self.range);
        ((low != i32::MIN).then_some(low), (high != i32::MAX).then_some(high))
    }
}

/// The properties of a class in a version.
pub(crate) fn rows(class: Class, version: u8) -> impl Iterator<Item = &'static Row> {
    table::PROPERTIES.iter().filter(move |row| row.is_in(version) && class.is(row.owner))
}

/// The row of a property that documents name so, by its term or full identifier.
pub(crate) fn row_named(class: Class, version: u8, text: &str) -> Option<&'static Row> {
    let name = match text.strip_prefix("dtmi:dtdl:property:") {
        Some(rest) => {
            let (name, of) = rest.split_once(';')?;
            (of.parse() == Ok(version)).then_some(name)?
        }
        None => text,
    };
    rows(class, version).find(|row| row.prop.name() == name)
}

/// The row of a property of a class.
pub(crate) fn row_of(class: Class, version: u8, prop: Prop) -> Option<&'static Row> {
    rows(class, version).find(|row| row.prop == prop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_listed_in_the_order_of_their_numbers() {
        for (number, row) in table::CLASSES.iter().enumerate() {
            assert_eq!(row.class as usize, number, "{}", row.name);
        }
    }

    #[test]
    fn a_class_is_its_ancestors() {
        assert!(Class::Double.is(Class::Schema));
        assert!(Class::CommandRequest.is(Class::CommandPayload));
        assert!(!Class::Field.is(Class::Schema));
    }

    #[test]
    fn classes_and_properties_are_found_by_term_and_by_identifier_of_their_version() {
        assert_eq!(Class::named("Array", 2), Some(Class::Array));
        assert_eq!(Class::named("dtmi:dtdl:class:Array;3", 3), Some(Class::Array));
        assert_eq!(Class::named("dtmi:dtdl:class:Array;3", 4), None);
        assert_eq!(Class::named("Uuid", 3), None);
        assert!(Class::is_class_name("Uuid"));
        assert!(row_named(Class::Telemetry, 3, "dtmi:dtdl:property:schema;3").is_some());
        assert!(row_named(Class::Telemetry, 3, "dtmi:dtdl:property:schema;2").is_none());
        assert!(row_named(Class::CommandRequest, 3, "nullable").is_none());
        assert!(row_named(Class::CommandRequest, 4, "nullable").is_some());
    }
}
