//! The metamodel: what a document may say, as tables.
//!
//! Source: the published specifications of DTDL v2, v3 and v4. A row of [`PROPERTIES`] gives the
//! class that has a property, what the property holds, and its limits in the five [`Edition`]s: a
//! limit that differs is an array in their order. The walker in `parse` and the rules in `rules`
//! read these tables and know no class by heart, but for the few rules that are about one class.

use super::Class::{self, *};
use super::Edition;
use super::Holds::{Flag, Identifier, Int, LangText, Literal, Many, One, Text};
use super::Prop as P;
use super::{Pattern, Row, class, row};

/// A limit that is none.
pub(crate) const MANY: u32 = u32::MAX;

/// The classes with their parents. Abstract ones have no elements of their own; elemental ones
/// only those of the standard (`double`), so a document names them and never defines one.
#[rustfmt::skip]
pub(crate) const CLASSES: &[super::ClassRow] = &[
    class(Entity,           Entity).is_abstract(),
    class(NamedEntity,      Entity).is_abstract(),
    class(Content,          NamedEntity).is_abstract(),
    class(SchemaField,      NamedEntity).is_abstract(),
    class(Schema,           Entity).is_abstract(),
    class(ComplexSchema,    Schema).is_abstract(),
    class(PrimitiveSchema,  Schema).is_abstract(),
    class(NumericSchema,    PrimitiveSchema).is_abstract(),
    class(TemporalSchema,   PrimitiveSchema).is_abstract(),

    class(Interface,        Entity),
    class(Telemetry,        Content),
    class(Property,         Content),
    class(Command,          Content),
    class(Relationship,     Content),
    class(Component,        Content),
    class(CommandPayload,   SchemaField),
    class(CommandRequest,   CommandPayload).since(3),
    class(CommandResponse,  CommandPayload).since(3),
    class(CommandType,      Entity).elemental(),

    class(Array,            ComplexSchema),
    class(Enum,             ComplexSchema),
    class(EnumValue,        NamedEntity),
    class(Map,              ComplexSchema),
    class(MapKey,           NamedEntity),
    class(MapValue,         SchemaField),
    class(Object,           ComplexSchema),
    class(Field,            SchemaField),

    class(Boolean,          PrimitiveSchema).elemental(),
    class(Bytes,            PrimitiveSchema).elemental().since(4),
    class(String,           PrimitiveSchema).elemental(),
    class(Uuid,             PrimitiveSchema).elemental().since(4),
    class(Date,             TemporalSchema).elemental(),
    class(DateTime,         TemporalSchema).elemental(),
    class(Duration,         TemporalSchema).elemental(),
    class(Time,             TemporalSchema).elemental(),
    class(Byte,             NumericSchema).elemental().since(4),
    class(Decimal,          NumericSchema).elemental().since(4),
    class(Double,           NumericSchema).elemental(),
    class(Float,            NumericSchema).elemental(),
    class(Integer,          NumericSchema).elemental(),
    class(Long,             NumericSchema).elemental(),
    class(Short,            NumericSchema).elemental().since(4),
    class(UnsignedByte,     NumericSchema).elemental().since(4),
    class(UnsignedInteger,  NumericSchema).elemental().since(4),
    class(UnsignedLong,     NumericSchema).elemental().since(4),
    class(UnsignedShort,    NumericSchema).elemental().since(4),

    class(Unit,             Entity).elemental(),
    class(UnitAttribute,    NamedEntity).elemental(),
    class(LatentType,       Entity).elemental().since(3),
    class(NamedLatentType,  NamedEntity).elemental().since(3),
];

/// The properties of the classes. A class has those of its parents too.
#[rustfmt::skip]
pub(crate) const PROPERTIES: &[Row] = &[
    //                                                         v2   v3   v4   v4+aio v4+onvif
    row(Entity,         P::Comment,         Text)      .length([512, 512, 512, 512,  512]),
    row(Entity,         P::Description,     LangText)  .length([512, 512, 512, 2048, 4096]),
    row(Entity,         P::DisplayName,     LangText)  .length([64,  512, 512, 512,  512]),
    row(NamedEntity,    P::Name,            Text)      .length([64,  512, 512, 512,  512]).pattern(Pattern::Name).required(),

    row(Interface,      P::Contents,        Many(Content)).max([300, MANY, MANY, MANY, MANY]).named().keyed(),
    row(Interface,      P::Extends,         Many(Interface)).max([2, MANY, MANY, MANY, MANY]).needs_id(),
    row(Interface,      P::Schemas,         Many(ComplexSchema)).needs_id().same_version(),

    row(Telemetry,      P::Schema,          One(Schema)).required(),
    row(Property,       P::Schema,          One(Schema)).required(),
    row(Property,       P::Writable,        Flag),
    row(Component,      P::Schema,          One(Interface)).required().needs_id(),

    row(Command,        P::CommandType,     One(CommandType)).needs_id().same_version().one_of(&["asynchronous", "synchronous"]),
    row(Command,        P::Request,         One(CommandPayload)).until(2).inferred().same_version(),
    row(Command,        P::Response,        One(CommandPayload)).until(2).inferred().same_version(),
    row(Command,        P::Request,         One(CommandRequest)).since(3).inferred().same_version(),
    row(Command,        P::Response,        One(CommandResponse)).since(3).inferred().same_version(),
    row(CommandPayload, P::Nullable,        Flag).since(4),
    row(SchemaField,    P::Schema,          One(Schema)).required(),

    row(Relationship,   P::Target,          Identifier).length([2048; 5]),
    row(Relationship,   P::MinMultiplicity, Int)        .range([(0, 0); 5]),
    row(Relationship,   P::MaxMultiplicity, Int)        .range([(1, 500), (1, NO_END), (1, NO_END), (1, NO_END), (1, NO_END)]),
    row(Relationship,   P::Properties,      Many(Property)).max([300, MANY, MANY, MANY, MANY]).named().unique(&[P::Name]),
    row(Relationship,   P::Writable,        Flag),

    row(Array,          P::ElementSchema,   One(Schema)).required(),
    row(Enum,           P::ValueSchema,     One(PrimitiveSchema)).required().needs_id().one_of(&["integer", "string"]),
    row(Enum,           P::EnumValues,      Many(EnumValue)).min([1, 0, 0, 0, 0]).max([100, MANY, MANY, MANY, MANY])
                                            .inferred().same_version().named().unique(&[P::Name, P::EnumValue]),
    row(EnumValue,      P::EnumValue,       Literal).required(),
    row(Map,            P::MapKey,          One(MapKey)).required().inferred().same_version(),
    row(Map,            P::MapValue,        One(MapValue)).required().inferred().same_version(),
    row(MapKey,         P::Schema,          One(String)).required().needs_id().one_of(&["string"]),
    row(Object,         P::Fields,          Many(Field)).min([1, 0, 0, 0, 0]).max([30, MANY, MANY, MANY, MANY])
                                            .inferred().same_version().named().unique(&[P::Name]),
];

/// The end of a range that has none: integers in documents have 32 bits.
const NO_END: i32 = i32::MAX;

/// What is limited over several elements, in the order of [`Edition`].
#[rustfmt::skip]
pub(crate) mod limits {
    use super::MANY;
    //                                               v2    v3       v4       v4+aio   v4+onvif
    pub(crate) const ID_LEN:           [u32; 5] = [2048, 2048,    2048,    512,     512];
    pub(crate) const INTERFACE_ID_LEN: [u32; 5] = [128,  128,     128,     256,     256];
    /// Schemas inside of schemas.
    pub(crate) const SCHEMA_DEPTH:     [u32; 5] = [5,    5,       8,       12,      24];
    /// Interfaces above an interface, one over the other.
    pub(crate) const EXTENDS_DEPTH:    [u32; 5] = [10,   10,      12,      12,      12];
    /// Interfaces above an interface, all of them.
    pub(crate) const EXTENDS_COUNT:    [u32; 5] = [MANY, 1024,    1024,    1024,    1024];
    /// Elements of an interface, everything inside counted.
    pub(crate) const ELEMENTS_COUNT:   [u32; 5] = [MANY, 100_000, 100_000, 100_000, 100_000];
    /// The text of an interface, in bytes.
    pub(crate) const INTERFACE_BYTES:  [u32; 5] = [MANY, 1 << 20, 1 << 20, 1 << 20, 1 << 20];
}

/// Whether schemas of this edition may contain themselves.
pub(crate) const fn schemas_may_contain_themselves(edition: Edition) -> bool {
    edition.version() >= 4
}

/// A class that must not occur below another, through some properties and any elements between.
pub(crate) struct Excluded {
    pub(crate) root: Class,
    pub(crate) class: Class,
    pub(crate) through: &'static [P],
    /// Whether only these properties are followed; otherwise all are, and one of these must lead
    /// to the element.
    pub(crate) narrow: bool,
    pub(crate) until: u8,
    /// How the reference names the properties in its error.
    pub(crate) property: &'static str,
}

/// What must not be below what.
pub(crate) const EXCLUDED: &[Excluded] = &[
    Excluded {
        root: Component,
        class: Component,
        through: &[P::Schema, P::Contents],
        narrow: true,
        until: 4,
        property: "'schema' or 'contents'",
    },
    Excluded { root: Property, class: Array, through: &[P::Schema], narrow: false, until: 2, property: "'schema'" },
];
