//! The rows of the catalogue.

use gantry_kql::value::{Type, Value};

use super::{Row, SCHEMAS, World, definitions, oid, text};
use crate::types::{Base, SqlType, TYPES};

/// The owner of everything.
const OWNER: u32 = 10;
/// The schema of the catalogue.
const PG_CATALOG: u32 = 11;
/// The schema of the tables.
const PUBLIC: u32 = 2200;
/// The collation of texts.
const COLLATION: u32 = 100;

/// Words that cannot be names.
pub const KEYWORDS: &str = "all analyse analyze and any array as asc asymmetric both case cast check collate column \
    constraint create current_catalog current_date current_role current_time current_timestamp current_user default \
    deferrable desc distinct do else end except false fetch for foreign from grant group having in initially intersect \
    into lateral leading limit localtime localtimestamp not null offset on only or order placing primary references \
    returning select session_user some symmetric system_user table then to trailing true union unique user using \
    variadic when where window with";

fn flag(value: bool) -> Value {
    Value::Bool(value)
}

fn small(value: i32) -> Value {
    Value::Int(value)
}

/// The names of the functions that read and write the values of a type.
fn io_name(base: Base, what: &str) -> String {
    let name = base.row().name;
    let joined = matches!(
        base,
        Base::Json
            | Base::Jsonb
            | Base::Date
            | Base::Time
            | Base::Timestamp
            | Base::TimestampTz
            | Base::Interval
            | Base::Numeric
            | Base::Uuid
            | Base::Void
            | Base::NodeTree
    );
    if joined { format!("{name}_{what}") } else { format!("{name}{what}") }
}

const WHATS: [&str; 4] = ["in", "out", "recv", "send"];

/// The functions of the catalogue: those that read and write values.
pub fn functions() -> Vec<(u32, String)> {
    let arrays = WHATS.iter().enumerate().map(|(at, what)| (750 + at as u32, format!("array_{what}")));
    let own = TYPES.iter().flat_map(|row| {
        WHATS.iter().enumerate().map(move |(at, what)| (row.oid * 4 + 20_000 + at as u32, io_name(row.base, what)))
    });
    arrays.chain(own).collect()
}

fn io(ty: SqlType, what: usize) -> Value {
    oid(if ty.array { 750 + what as u32 } else { ty.base.row().oid * 4 + 20_000 + what as u32 })
}

/// The rows of a table.
pub fn of(schema: &str, name: &str, world: &World) -> Vec<Row> {
    match (schema, name) {
        ("pg_catalog", "pg_namespace") => SCHEMAS
            .iter()
            .map(|(number, name)| Row::new([("oid", oid(*number)), ("nspname", text(*name)), ("nspowner", oid(OWNER))]))
            .collect(),
        ("pg_catalog", "pg_class") => classes(world),
        ("pg_catalog", "pg_attribute") => attributes(world),
        ("pg_catalog", "pg_type") => types(),
        ("pg_catalog", "pg_proc") => functions()
            .into_iter()
            .map(|(number, name)| {
                Row::new([
                    ("oid", oid(number)),
                    ("proname", text(name)),
                    ("pronamespace", oid(PG_CATALOG)),
                    ("proowner", oid(OWNER)),
                    ("prokind", text("f")),
                    ("provolatile", text("i")),
                    ("proparallel", text("s")),
                    ("pronargs", small(1)),
                ])
            })
            .collect(),
        ("pg_catalog", "pg_am") => vec![
            Row::new([("oid", oid(2)), ("amname", text("heap")), ("amtype", text("t"))]),
            Row::new([("oid", oid(403)), ("amname", text("btree")), ("amtype", text("i"))]),
        ],
        ("pg_catalog", "pg_collation") => [(COLLATION, "default"), (950, "C")]
            .into_iter()
            .map(|(number, name)| {
                Row::new([
                    ("oid", oid(number)),
                    ("collname", text(name)),
                    ("collnamespace", oid(PG_CATALOG)),
                    ("collowner", oid(OWNER)),
                    ("collprovider", text("c")),
                    ("collisdeterministic", flag(true)),
                    ("collencoding", small(-1)),
                    ("collcollate", text("C")),
                    ("collctype", text("C")),
                ])
            })
            .collect(),
        ("pg_catalog", "pg_database") => vec![Row::new([
            ("oid", oid(16_000)),
            ("datname", text(&world.database)),
            ("datdba", oid(OWNER)),
            ("encoding", small(6)),
            ("datlocprovider", text("c")),
            ("datallowconn", flag(true)),
            ("datconnlimit", small(-1)),
            ("dattablespace", oid(1663)),
            ("datcollate", text("C")),
            ("datctype", text("C")),
        ])],
        ("pg_catalog", "pg_roles") => vec![Row::new([
            ("rolname", text(&world.user)),
            ("rolinherit", flag(true)),
            ("rolcanlogin", flag(true)),
            ("rolconnlimit", small(-1)),
            ("oid", oid(OWNER)),
        ])],
        ("pg_catalog", "pg_authid") => {
            vec![Row::new([("oid", oid(OWNER)), ("rolname", text(&world.user)), ("rolcanlogin", flag(true))])]
        }
        ("pg_catalog", "pg_user") => {
            vec![Row::new([("usename", text(&world.user)), ("usesysid", oid(OWNER))])]
        }
        ("pg_catalog", "pg_settings") => crate::statement::SETTINGS
            .iter()
            .map(|(name, value)| {
                Row::new([
                    ("name", text(*name)),
                    ("setting", text(*value)),
                    ("category", text("Client")),
                    ("context", text("user")),
                    ("vartype", text("string")),
                    ("source", text("default")),
                    ("boot_val", text(*value)),
                    ("reset_val", text(*value)),
                ])
            })
            .collect(),
        ("pg_catalog", "pg_language") => {
            vec![Row::new([("oid", oid(14)), ("lanname", text("sql")), ("lanpltrusted", flag(true))])]
        }
        ("pg_catalog", "pg_tablespace") => {
            vec![Row::new([("oid", oid(1663)), ("spcname", text("pg_default")), ("spcowner", oid(OWNER))])]
        }
        ("pg_catalog", "pg_tables") => world
            .tables
            .iter()
            .map(|(_, name, _)| {
                Row::new([("schemaname", text("public")), ("tablename", text(name)), ("tableowner", text(&world.user))])
            })
            .collect(),
        ("pg_catalog", "pg_stat_user_tables") => world
            .tables
            .iter()
            .map(|(number, name, _)| {
                Row::new([("relid", oid(*number)), ("schemaname", text("public")), ("relname", text(name))])
            })
            .collect(),
        ("pg_catalog", "pg_timezone_names") => {
            vec![Row::new([
                ("name", text("UTC")),
                ("abbrev", text("UTC")),
                ("utc_offset", Value::TimeSpan(gantry_kql::value::TimeSpan(0))),
            ])]
        }
        ("information_schema", "schemata") => SCHEMAS
            .iter()
            .map(|(_, name)| {
                Row::new([
                    ("catalog_name", text(&world.database)),
                    ("schema_name", text(*name)),
                    ("schema_owner", text(&world.user)),
                ])
            })
            .collect(),
        ("information_schema", "tables") => tables(world),
        ("information_schema", "columns") => information_columns(world),
        ("information_schema", "character_sets") => vec![Row::new([
            ("character_set_name", text("UTF8")),
            ("character_repertoire", text("UCS")),
            ("form_of_use", text("UTF8")),
            ("default_collate_catalog", text(&world.database)),
            ("default_collate_schema", text("pg_catalog")),
            ("default_collate_name", text("C")),
        ])],
        ("information_schema", "table_privileges") => world
            .tables
            .iter()
            .map(|(_, name, _)| {
                Row::new([
                    ("grantor", text(&world.user)),
                    ("grantee", text(&world.user)),
                    ("table_catalog", text(&world.database)),
                    ("table_schema", text("public")),
                    ("table_name", text(name)),
                    ("privilege_type", text("SELECT")),
                    ("is_grantable", text("NO")),
                ])
            })
            .collect(),
        ("information_schema", "enabled_roles") => vec![Row::new([("role_name", text(&world.user))])],
        // Nothing here has keys, indexes, defaults, functions of its own...
        _ => Vec::new(),
    }
}

fn class(number: u32, name: &str, schema: u32, kind: &str, columns: usize) -> Row {
    Row::new([
        ("oid", oid(number)),
        ("relname", text(name)),
        ("relnamespace", oid(schema)),
        ("relowner", oid(OWNER)),
        ("relam", oid(if kind == "r" { 2 } else { 0 })),
        ("reltuples", Value::Real(-1.0)),
        ("relpersistence", text("p")),
        ("relkind", text(kind)),
        ("relnatts", small(columns as i32)),
        ("relispopulated", flag(true)),
        ("relreplident", text("d")),
    ])
}

fn classes(world: &World) -> Vec<Row> {
    let own = world.tables.iter().map(|(number, name, columns)| class(*number, name, PUBLIC, "r", columns.len()));
    let system = definitions().iter().map(|table| {
        let (schema, kind) = if table.schema == "pg_catalog" { (PG_CATALOG, "r") } else { (13_000, "v") };
        class(table.number, table.name, schema, kind, table.columns.len())
    });
    own.chain(system).collect()
}

fn attribute(table: u32, at: usize, name: &str, ty: SqlType, nullable: bool) -> Row {
    let row = ty.base.row();
    let collation = if ty.is_text() && ty.base != Base::Char { COLLATION } else { 0 };
    Row::new([
        ("attrelid", oid(table)),
        ("attname", text(name)),
        ("atttypid", oid(ty.oid())),
        ("attstattarget", small(-1)),
        ("attlen", small(if ty.array { -1 } else { row.len.into() })),
        ("attnum", small(at as i32 + 1)),
        ("attndims", small(i32::from(ty.array))),
        ("attcacheoff", small(-1)),
        ("atttypmod", small(-1)),
        ("attbyval", flag(!ty.array && (1..=8).contains(&row.len))),
        ("attalign", text("i")),
        ("attstorage", text(if ty.array || row.len < 0 { "x" } else { "p" })),
        ("attnotnull", flag(!nullable)),
        ("attislocal", flag(true)),
        ("attcollation", oid(collation)),
    ])
}

fn attributes(world: &World) -> Vec<Row> {
    let own = world.tables.iter().flat_map(|(number, _, columns)| {
        columns.iter().enumerate().map(|(at, column)| {
            let nullable = column.ty != Type::String;
            attribute(*number, at, &column.name, SqlType::of_engine(column.ty), nullable)
        })
    });
    let system = definitions().iter().flat_map(|table| {
        table
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| attribute(table.number, at, column.name, column.ty, column.nullable))
    });
    own.chain(system).collect()
}

fn types() -> Vec<Row> {
    let all = TYPES.iter().flat_map(|row| [SqlType::of(row.base), SqlType::array_of(row.base)]);
    all.filter(|ty| ty.oid() != 0)
        .map(|ty| {
            let row = ty.base.row();
            let vector = matches!(ty.base, Base::Int2Vector | Base::OidVector);
            let element = match (ty.array, vector) {
                (true, _) => row.oid,
                (false, true) => ty.element().expect("a vector").oid(),
                (false, false) if ty.base == Base::Name => SqlType::CHAR.oid(),
                _ => 0,
            };
            let pseudo = matches!(ty.base, Base::Unknown | Base::Void) && !ty.array;
            Row::new([
                ("oid", oid(ty.oid())),
                ("typname", text(ty.name())),
                ("typnamespace", oid(PG_CATALOG)),
                ("typowner", oid(OWNER)),
                ("typlen", small(if ty.array { -1 } else { row.len.into() })),
                ("typbyval", flag(!ty.array && (1..=8).contains(&row.len))),
                ("typtype", text(if pseudo { "p" } else { "b" })),
                ("typcategory", text(if ty.array { 'A' } else { row.category })),
                (
                    "typispreferred",
                    flag(
                        !ty.array
                            && matches!(
                                ty.base,
                                Base::Bool | Base::Float8 | Base::Text | Base::TimestampTz | Base::Oid
                            ),
                    ),
                ),
                ("typisdefined", flag(true)),
                ("typdelim", text(",")),
                ("typelem", oid(element)),
                ("typarray", oid(if ty.array { 0 } else { row.array_oid })),
                ("typinput", io(ty, 0)),
                ("typoutput", io(ty, 1)),
                ("typreceive", io(ty, 2)),
                ("typsend", io(ty, 3)),
                ("typalign", text("i")),
                ("typstorage", text(if ty.array || row.len < 0 { "x" } else { "p" })),
                ("typtypmod", small(-1)),
                ("typcollation", oid(if ty.is_text() && ty.base != Base::Char { COLLATION } else { 0 })),
            ])
        })
        .collect()
}

fn tables(world: &World) -> Vec<Row> {
    let row = |schema: &str, name: &str, kind: &str| {
        Row::new([
            ("table_catalog", text(&world.database)),
            ("table_schema", text(schema)),
            ("table_name", text(name)),
            ("table_type", text(kind)),
            ("is_insertable_into", text("NO")),
            ("is_typed", text("NO")),
        ])
    };
    let own = world.tables.iter().map(|(_, name, _)| row("public", name, "BASE TABLE"));
    let system = definitions()
        .iter()
        .map(|table| row(table.schema, table.name, if table.schema == "pg_catalog" { "BASE TABLE" } else { "VIEW" }));
    own.chain(system).collect()
}

fn information_columns(world: &World) -> Vec<Row> {
    let row = |schema: &str, table: &str, at: usize, name: &str, ty: SqlType, nullable: bool| {
        let kind = if ty.array { "ARRAY".to_owned() } else { ty.long_name() };
        let mut row = Row::new([
            ("table_catalog", text(&world.database)),
            ("table_schema", text(schema)),
            ("table_name", text(table)),
            ("column_name", text(name)),
            ("ordinal_position", small(at as i32 + 1)),
            ("is_nullable", text(if nullable { "YES" } else { "NO" })),
            ("data_type", text(kind)),
            ("udt_catalog", text(&world.database)),
            ("udt_schema", text("pg_catalog")),
            ("udt_name", text(ty.name())),
            ("dtd_identifier", text((at + 1).to_string())),
            ("is_self_referencing", text("NO")),
            ("is_identity", text("NO")),
            ("identity_cycle", text("NO")),
            ("is_generated", text("NEVER")),
            ("is_updatable", text("NO")),
        ]);
        let (precision, radix, scale) = match ty.base {
            Base::Int2 => (16, 2, Some(0)),
            Base::Int4 => (32, 2, Some(0)),
            Base::Int8 => (64, 2, Some(0)),
            Base::Float4 => (24, 2, None),
            Base::Float8 => (53, 2, None),
            _ => (0, 0, None),
        };
        if precision > 0 && !ty.array {
            row.0.insert("numeric_precision", small(precision));
            row.0.insert("numeric_precision_radix", small(radix));
            if let Some(scale) = scale {
                row.0.insert("numeric_scale", small(scale));
            }
        }
        if ty.is_instant() || ty.base == Base::Interval {
            row.0.insert("datetime_precision", small(if ty.base == Base::Date { 0 } else { 6 }));
        }
        row
    };
    let own = world.tables.iter().flat_map(|(_, table, columns)| {
        columns.iter().enumerate().map(move |(at, column)| {
            row("public", table, at, &column.name, SqlType::of_engine(column.ty), column.ty != Type::String)
        })
    });
    let system = definitions().iter().flat_map(|table| {
        let columns = table.columns.iter().enumerate();
        columns.map(move |(at, column)| row(table.schema, table.name, at, column.name, column.ty, column.nullable))
    });
    own.chain(system).collect()
}
