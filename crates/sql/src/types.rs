//! The types of the dialect, and which type of the engine holds their values.

use gantry_kql::value::Type;

/// A type without its arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named for the types of PostgreSQL")]
pub enum Base {
    /// A literal or parameter whose place says what it is.
    Unknown,
    Void,
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Varchar,
    Bpchar,
    Name,
    /// `"char"`, one byte.
    Char,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Oid,
    Regclass,
    Regtype,
    Regproc,
    Regnamespace,
    Int2Vector,
    OidVector,
    NodeTree,
}

/// A type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlType {
    /// The type, or that of the elements.
    pub base: Base,
    /// An array of them.
    pub array: bool,
}

/// What the catalogue tells of a type.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The type.
    pub base: Base,
    /// Its number.
    pub oid: u32,
    /// The number of its arrays; zero when there are none.
    pub array_oid: u32,
    /// The name in `pg_type`.
    pub name: &'static str,
    /// The name in the standard, when it is another.
    pub long_name: &'static str,
    /// Bytes of a value; -1 when they vary.
    pub len: i16,
    /// The letter of its family.
    pub category: char,
}

const fn row(
    base: Base,
    oid: u32,
    array_oid: u32,
    name: &'static str,
    long_name: &'static str,
    len: i16,
    category: char,
) -> Row {
    Row { base, oid, array_oid, name, long_name, len, category }
}

/// All types, by their numbers.
pub const TYPES: &[Row] = &[
    row(Base::Bool, 16, 1000, "bool", "boolean", 1, 'B'),
    row(Base::Bytea, 17, 1001, "bytea", "bytea", -1, 'U'),
    row(Base::Char, 18, 1002, "char", "\"char\"", 1, 'Z'),
    row(Base::Name, 19, 1003, "name", "name", 64, 'S'),
    row(Base::Int8, 20, 1016, "int8", "bigint", 8, 'N'),
    row(Base::Int2, 21, 1005, "int2", "smallint", 2, 'N'),
    row(Base::Int2Vector, 22, 1006, "int2vector", "int2vector", -1, 'A'),
    row(Base::Int4, 23, 1007, "int4", "integer", 4, 'N'),
    row(Base::Regproc, 24, 1008, "regproc", "regproc", 4, 'N'),
    row(Base::Text, 25, 1009, "text", "text", -1, 'S'),
    row(Base::Oid, 26, 1028, "oid", "oid", 4, 'N'),
    row(Base::OidVector, 30, 1013, "oidvector", "oidvector", -1, 'A'),
    row(Base::Json, 114, 199, "json", "json", -1, 'U'),
    row(Base::NodeTree, 194, 0, "pg_node_tree", "pg_node_tree", -1, 'Z'),
    row(Base::Float4, 700, 1021, "float4", "real", 4, 'N'),
    row(Base::Float8, 701, 1022, "float8", "double precision", 8, 'N'),
    row(Base::Unknown, 705, 0, "unknown", "unknown", -2, 'X'),
    row(Base::Bpchar, 1042, 1014, "bpchar", "character", -1, 'S'),
    row(Base::Varchar, 1043, 1015, "varchar", "character varying", -1, 'S'),
    row(Base::Date, 1082, 1182, "date", "date", 4, 'D'),
    row(Base::Time, 1083, 1183, "time", "time without time zone", 8, 'D'),
    row(Base::Timestamp, 1114, 1115, "timestamp", "timestamp without time zone", 8, 'D'),
    row(Base::TimestampTz, 1184, 1185, "timestamptz", "timestamp with time zone", 8, 'D'),
    row(Base::Interval, 1186, 1187, "interval", "interval", 16, 'T'),
    row(Base::Numeric, 1700, 1231, "numeric", "numeric", -1, 'N'),
    row(Base::Regclass, 2205, 2210, "regclass", "regclass", 4, 'N'),
    row(Base::Regtype, 2206, 2211, "regtype", "regtype", 4, 'N'),
    row(Base::Void, 2278, 0, "void", "void", 4, 'P'),
    row(Base::Uuid, 2950, 2951, "uuid", "uuid", 16, 'U'),
    row(Base::Jsonb, 3802, 3807, "jsonb", "jsonb", -1, 'U'),
    row(Base::Regnamespace, 4089, 4090, "regnamespace", "regnamespace", 4, 'N'),
];

impl Base {
    /// Its row of the catalogue.
    pub fn row(self) -> &'static Row {
        TYPES.iter().find(|row| row.base == self).expect("every type has a row")
    }

    /// The type of the engine that holds its values. Texts that may be null are dynamic there, see [`SqlType::held`].
    pub fn engine(self) -> Type {
        match self {
            Base::Bool => Type::Bool,
            Base::Int2 | Base::Int4 => Type::Int,
            Base::Int8 | Base::Oid | Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace => Type::Long,
            Base::Float4 | Base::Float8 => Type::Real,
            Base::Numeric => Type::Decimal,
            Base::Date | Base::Timestamp | Base::TimestampTz => Type::DateTime,
            Base::Time | Base::Interval => Type::TimeSpan,
            Base::Uuid => Type::Guid,
            Base::Json | Base::Jsonb | Base::Int2Vector | Base::OidVector => Type::Dynamic,
            Base::Text
            | Base::Varchar
            | Base::Bpchar
            | Base::Name
            | Base::Char
            | Base::Bytea
            | Base::NodeTree
            | Base::Unknown
            | Base::Void => Type::String,
        }
    }

    /// Its place among the numbers, when it is one: a wider one holds a narrower.
    pub fn rank(self) -> Option<u8> {
        Some(match self {
            Base::Int2 => 1,
            Base::Int4 => 2,
            Base::Oid | Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace => 3,
            Base::Int8 => 4,
            Base::Numeric => 5,
            Base::Float4 => 6,
            Base::Float8 => 7,
            _ => return None,
        })
    }
}

impl SqlType {
    #![expect(missing_docs, reason = "named for the types")]
    pub const UNKNOWN: SqlType = SqlType::of(Base::Unknown);
    pub const BOOL: SqlType = SqlType::of(Base::Bool);
    pub const INT2: SqlType = SqlType::of(Base::Int2);
    pub const INT4: SqlType = SqlType::of(Base::Int4);
    pub const INT8: SqlType = SqlType::of(Base::Int8);
    pub const FLOAT8: SqlType = SqlType::of(Base::Float8);
    pub const NUMERIC: SqlType = SqlType::of(Base::Numeric);
    pub const TEXT: SqlType = SqlType::of(Base::Text);
    pub const NAME: SqlType = SqlType::of(Base::Name);
    pub const CHAR: SqlType = SqlType::of(Base::Char);
    pub const OID: SqlType = SqlType::of(Base::Oid);
    pub const DATE: SqlType = SqlType::of(Base::Date);
    pub const TIME: SqlType = SqlType::of(Base::Time);
    pub const TIMESTAMP: SqlType = SqlType::of(Base::Timestamp);
    pub const TIMESTAMPTZ: SqlType = SqlType::of(Base::TimestampTz);
    pub const INTERVAL: SqlType = SqlType::of(Base::Interval);
    pub const UUID: SqlType = SqlType::of(Base::Uuid);
    pub const JSON: SqlType = SqlType::of(Base::Json);
    pub const JSONB: SqlType = SqlType::of(Base::Jsonb);
    pub const REGCLASS: SqlType = SqlType::of(Base::Regclass);

    /// A type that is no array.
    pub const fn of(base: Base) -> SqlType {
        SqlType { base, array: false }
    }

    /// Arrays of a type.
    pub const fn array_of(base: Base) -> SqlType {
        SqlType { base, array: true }
    }

    /// Its number.
    pub fn oid(self) -> u32 {
        let row = self.base.row();
        if self.array { row.array_oid } else { row.oid }
    }

    /// The type of a number.
    pub fn from_oid(oid: u32) -> Option<SqlType> {
        TYPES.iter().find_map(|row| {
            if row.oid == oid {
                Some(SqlType::of(row.base))
            } else if row.array_oid == oid && oid != 0 {
                Some(SqlType::array_of(row.base))
            } else {
                None
            }
        })
    }

    /// The type of a name in lower case: that of `pg_type`, or one of the standard.
    pub fn from_name(name: &str) -> Option<SqlType> {
        if let Some(element) = name.strip_suffix("[]") {
            return SqlType::from_name(element.trim_end()).map(|of| SqlType::array_of(of.base));
        }
        let name = match name {
            "int" => "int4",
            "string" | "cstring" => "text",
            "decimal" => "numeric",
            "character" => "bpchar",
            "regrole" => "regnamespace",
            name => name,
        };
        let found = TYPES.iter().find(|row| row.name == name || row.long_name == name);
        found.map(|row| SqlType::of(row.base)).or_else(|| {
            let element = name.strip_prefix('_')?;
            TYPES.iter().find(|row| row.name == element && row.array_oid != 0).map(|row| SqlType::array_of(row.base))
        })
    }

    /// The name in `pg_type`: `int8`, `_int8`.
    pub fn name(self) -> String {
        if self.array { format!("_{}", self.base.row().name) } else { self.base.row().name.to_owned() }
    }

    /// The name `format_type` gives: `bigint`, `bigint[]`.
    pub fn long_name(self) -> String {
        if self.array { format!("{}[]", self.base.row().long_name) } else { self.base.row().long_name.to_owned() }
    }

    /// The type of the engine that holds its values when none is null.
    pub fn engine(self) -> Type {
        if self.array { Type::Dynamic } else { self.base.engine() }
    }

    /// The type of the engine that holds its values: texts are never null there, so texts that may be null are
    /// dynamic values.
    pub fn held(self, nullable: bool) -> Type {
        match self.engine() {
            Type::String if nullable => Type::Dynamic,
            ty => ty,
        }
    }

    /// A text of some kind.
    pub fn is_text(self) -> bool {
        !self.array
            && matches!(
                self.base,
                Base::Text
                    | Base::Varchar
                    | Base::Bpchar
                    | Base::Name
                    | Base::Char
                    | Base::NodeTree
                    | Base::Unknown
                    | Base::Void
                    | Base::Bytea
            )
    }

    /// A number of some kind.
    pub fn is_number(self) -> bool {
        !self.array && self.base.rank().is_some()
    }

    /// A whole number of some kind.
    pub fn is_whole(self) -> bool {
        !self.array && self.base.rank().is_some_and(|rank| rank <= 4)
    }

    /// An instant or a day.
    pub fn is_instant(self) -> bool {
        !self.array && matches!(self.base, Base::Date | Base::Timestamp | Base::TimestampTz)
    }

    /// json or jsonb.
    pub fn is_json(self) -> bool {
        !self.array && matches!(self.base, Base::Json | Base::Jsonb)
    }

    /// Its elements, of arrays and vectors.
    pub fn element(self) -> Option<SqlType> {
        match self {
            SqlType { base, array: true } => Some(SqlType::of(base)),
            SqlType { base: Base::Int2Vector, .. } => Some(SqlType::INT2),
            SqlType { base: Base::OidVector, .. } => Some(SqlType::OID),
            _ => None,
        }
    }

    /// The type under which a column of the tables is seen.
    pub fn of_engine(ty: Type) -> SqlType {
        match ty {
            Type::Bool => SqlType::BOOL,
            Type::Int => SqlType::INT4,
            Type::Long => SqlType::INT8,
            Type::Real => SqlType::FLOAT8,
            Type::Decimal => SqlType::NUMERIC,
            Type::String => SqlType::TEXT,
            Type::DateTime => SqlType::TIMESTAMPTZ,
            Type::TimeSpan => SqlType::INTERVAL,
            Type::Guid => SqlType::UUID,
            Type::Dynamic | Type::Unknown => SqlType::JSONB,
        }
    }

    /// The one type two values meet in, if there is one.
    pub fn common(self, other: SqlType) -> Option<SqlType> {
        if self == other || other.base == Base::Unknown && !other.array {
            return Some(self);
        }
        if self.base == Base::Unknown && !self.array {
            return Some(other);
        }
        if self.array || other.array {
            let element = self.element()?.common(other.element()?)?;
            return Some(SqlType::array_of(element.base));
        }
        if let (Some(a), Some(b)) = (self.base.rank(), other.base.rank()) {
            return Some(if a >= b { self } else { other });
        }
        if self.is_text() && other.is_text() {
            return Some(SqlType::TEXT);
        }
        if self.is_instant() && other.is_instant() {
            let tz = [self, other].contains(&SqlType::TIMESTAMPTZ);
            return Some(if tz { SqlType::TIMESTAMPTZ } else { SqlType::TIMESTAMP });
        }
        if self.is_json() && other.is_json() {
            return Some(SqlType::JSONB);
        }
        None
    }
}

impl std::fmt::Display for SqlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.long_name())
    }
}
