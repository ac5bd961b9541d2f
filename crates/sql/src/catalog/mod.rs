//! The catalogue of PostgreSQL: `pg_catalog` and `information_schema` as tables one can join, made of the tables that
//! the [`Catalog`] knows.
//!
//! Columns are listed in `tables.txt`: a line for each table with its columns, `?` behind the type of those that may
//! be null. Rows name the columns they have something to say about; the others are null, or nothing of their type.

mod rows;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gantry_kql::Catalog;
use gantry_kql::value::{Dynamic, Type, Value};

use crate::types::{Base, SqlType, TYPES};

/// A column of a table of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: SqlType,
    /// Whether it may be null.
    pub nullable: bool,
}

/// A table of the catalogue.
#[derive(Debug)]
struct Definition {
    schema: &'static str,
    name: &'static str,
    number: u32,
    columns: Vec<Column>,
}

/// Schemas and their numbers.
pub const SCHEMAS: &[(u32, &str)] = &[(11, "pg_catalog"), (2200, "public"), (13_000, "information_schema")];

/// The number of the first table that is none of the catalogue.
pub const FIRST_TABLE: u32 = 16_384;

fn definitions() -> &'static [Definition] {
    static READ: OnceLock<Vec<Definition>> = OnceLock::new();
    READ.get_or_init(|| {
        let mut found = Vec::new();
        for line in include_str!("tables.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (head, columns) = line.split_once(':').expect("name: columns");
            let (name, number) = match head.split_once('=') {
                Some((name, number)) => (name, number.parse().expect("a number")),
                None => (head, 12_000 + found.len() as u32),
            };
            let (schema, name) = name.split_once('.').expect("schema.name");
            let columns = columns
                .split_whitespace()
                .map(|column| {
                    let (name, ty) = column.split_once('/').unwrap_or((column, "name"));
                    let (ty, nullable) = match ty.strip_suffix('?') {
                        Some(ty) => (ty, true),
                        None => (ty, false),
                    };
                    Column { name, ty: SqlType::from_name(ty).expect("a type"), nullable }
                })
                .collect();
            found.push(Definition { schema, name, number, columns });
        }
        found
    })
}

/// Whether there is such a table of the catalogue; without a schema those of `pg_catalog` alone.
pub fn named(schema: Option<&str>, name: &str) -> Option<(&'static str, &'static str)> {
    let schema = schema.unwrap_or("pg_catalog");
    let found = definitions().iter().find(|table| table.schema == schema && table.name == name)?;
    Some((found.schema, found.name))
}

/// The columns and rows of a table of the catalogue.
pub fn rows(schema: &str, name: &str, catalog: &dyn Catalog, user: &str) -> (Vec<Column>, Vec<Vec<Value>>) {
    let Some(table) = definitions().iter().find(|table| table.schema == schema && table.name == name) else {
        return (Vec::new(), Vec::new());
    };
    let world = World::new(catalog, user);
    let rows = rows::of(table.schema, table.name, &world);
    let rows = rows.into_iter().map(|row| row.spread(&table.columns)).collect();
    (table.columns.clone(), rows)
}

/// What the rows of the catalogue are made of.
struct World {
    database: String,
    user: String,
    /// Number, name and columns of each table.
    tables: Vec<(u32, String, Vec<gantry_kql::bound::Column>)>,
}

impl World {
    fn new(catalog: &dyn Catalog, user: &str) -> World {
        let database = catalog.default_database();
        let names = catalog.tables(&database);
        let tables = names
            .iter()
            .filter_map(|name| Some((table_number(&names, name), name.clone(), catalog.table(&database, name)?)))
            .collect();
        World { database, user: user.to_owned(), tables }
    }
}

/// What a row has to say.
#[derive(Debug, Default)]
struct Row(BTreeMap<&'static str, Value>);

impl Row {
    fn new(values: impl IntoIterator<Item = (&'static str, Value)>) -> Row {
        Row(values.into_iter().collect())
    }

    fn spread(mut self, columns: &[Column]) -> Vec<Value> {
        columns
            .iter()
            .map(|column| {
                self.0
                    .remove(column.name)
                    .unwrap_or_else(|| if column.nullable { Value::Null } else { nothing(column.ty) })
            })
            .collect()
    }
}

fn nothing(ty: SqlType) -> Value {
    match ty.engine() {
        Type::Bool => Value::Bool(false),
        Type::Int => Value::Int(0),
        Type::Long => Value::Long(0),
        Type::Real => Value::Real(0.0),
        Type::String => Value::String(String::new()),
        Type::Dynamic if ty.array => Value::Dynamic(Dynamic::Array(Vec::new())),
        _ => Value::Null,
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}

fn oid(value: u32) -> Value {
    Value::Long(value.into())
}

/// The number of a table: its place among the names.
pub fn table_number(names: &[String], name: &str) -> u32 {
    let at = names.iter().position(|known| known == name).unwrap_or(names.len());
    FIRST_TABLE + at as u32
}

/// Number, schema and name of everything that a kind of number stands for.
pub fn names(base: Base, catalog: &dyn Catalog) -> Vec<(u32, String, String)> {
    match base {
        Base::Regclass => {
            let tables = catalog.tables(&catalog.default_database());
            let own = tables.iter().map(|name| (table_number(&tables, name), "public".to_owned(), name.clone()));
            let system =
                definitions().iter().map(|table| (table.number, table.schema.to_owned(), table.name.to_owned()));
            own.chain(system).collect()
        }
        Base::Regtype => TYPES
            .iter()
            .flat_map(|row| [SqlType::of(row.base), SqlType::array_of(row.base)])
            .filter(|ty| ty.oid() != 0)
            .map(|ty| (ty.oid(), "pg_catalog".to_owned(), ty.long_name()))
            .collect(),
        Base::Regnamespace => {
            SCHEMAS.iter().map(|(number, name)| (*number, "pg_catalog".to_owned(), (*name).to_owned())).collect()
        }
        Base::Regproc => {
            rows::functions().into_iter().map(|(number, name)| (number, "pg_catalog".to_owned(), name)).collect()
        }
        _ => Vec::new(),
    }
}

/// The rows of a function of the catalogue.
#[expect(clippy::type_complexity, reason = "names and types, rows")]
pub fn function_rows(name: &str) -> Option<(Vec<(&'static str, SqlType)>, Vec<Vec<Value>>)> {
    match name {
        "pg_get_keywords" => {
            let columns = vec![("word", SqlType::TEXT), ("catcode", SqlType::CHAR), ("catdesc", SqlType::TEXT)];
            let words = rows::KEYWORDS.split_whitespace();
            Some((columns, words.map(|word| vec![text(word), text("R"), text("reserved")]).collect()))
        }
        "pg_available_extensions" | "pg_timezone_names" => None,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_read_and_every_row_has_its_columns() {
        for table in definitions() {
            let (columns, rows) = rows(table.schema, table.name, &gantry_kql::EmptyCatalog, "x");
            assert!(!columns.is_empty(), "{}", table.name);
            for row in rows {
                assert_eq!(row.len(), columns.len(), "{}", table.name);
                for (value, column) in row.iter().zip(&columns) {
                    let fits = value.ty().is_none_or(|ty| ty == column.ty.engine());
                    assert!(fits, "{}.{} is {value:?}", table.name, column.name);
                    assert!(column.nullable || *value != Value::Null, "{}.{} is null", table.name, column.name);
                }
            }
        }
    }

    #[test]
    fn rows_say_nothing_of_columns_that_are_not_there() {
        for table in definitions() {
            let world = World::new(&gantry_kql::EmptyCatalog, "x");
            for row in rows::of(table.schema, table.name, &world) {
                for name in row.0.keys() {
                    assert!(table.columns.iter().any(|column| column.name == *name), "{}.{name}", table.name);
                }
            }
        }
    }
}
