//! What there is besides the rows: tables, functions, views, mappings, policies. All of it is plain data, one JSON
//! document, so that a store writes it down as it is.

use std::collections::BTreeMap;

use gantry_kql::bound::Column;
use gantry_kql::value::Type;
use serde::{Deserialize, Serialize};

/// Everything that was defined in the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Definitions {
    /// The last id that was given to a table or a column.
    pub last_id: u64,
    /// Tables by name.
    pub tables: BTreeMap<String, TableDefinition>,
    /// Tables that are fed from a log, by name. Commands do not change them; they are read through a
    /// [`Source`](crate::Source).
    pub fed: BTreeMap<String, TableDefinition>,
    /// Stored functions by name.
    pub functions: BTreeMap<String, FunctionDefinition>,
    /// Materialized views by name.
    pub views: BTreeMap<String, ViewDefinition>,
    /// External tables by name.
    pub external_tables: BTreeMap<String, ExternalTableDefinition>,
    /// Continuous exports by name.
    pub exports: BTreeMap<String, ExportDefinition>,
    /// Policies, by whose they are (`database`, `table NAME`, `column TABLE.NAME`, `view NAME`) and by name.
    pub policies: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Ingestion mappings, by whose they are (as policies), by kind (`csv`, `json`...) and name.
    pub mappings: BTreeMap<String, Vec<Mapping>>,
    /// Who has which role, by what it is for (as policies).
    pub roles: BTreeMap<String, Vec<Role>>,
}

/// Somebody's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `admins`, `viewers`, `ingestors`...
    pub role: String,
    /// Who: `policy=service`, `user=admin`; or a name of the reference (`aadapp=...`).
    pub principal: String,
    /// What was said of it.
    #[serde(default)]
    pub notes: String,
}

impl Definitions {
    /// A table that rows are kept for.
    pub fn kept(&self, name: &str) -> Option<&TableDefinition> {
        self.tables.get(name).or_else(|| self.fed.get(name))
    }

    /// All of them, with their names.
    pub fn all_kept(&self) -> impl Iterator<Item = (&String, &TableDefinition)> {
        self.tables.iter().chain(&self.fed)
    }

    /// An id that nothing has yet.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether somebody has one of these roles for something.
    pub fn has_role(&self, entity: &str, roles: &[&str], principal: &str) -> bool {
        let has = |one: &Role| one.principal == principal && roles.contains(&one.role.as_str());
        self.roles.get(entity).is_some_and(|all| all.iter().any(has))
    }

    /// Whether extents of a table may become one: a continuous export has exported all of them, or none.
    pub fn may_merge(&self, table: &str, extents: &[&str]) -> bool {
        let of_table = self.exports.values().filter(|export| export.over.iter().any(|name| name == table));
        let mut counts = of_table.map(|export| extents.iter().filter(|id| export.exported.contains(**id)).count());
        counts.all(|count| count == 0 || count == extents.len())
    }

    /// Notes that extents became one.
    pub fn merged(&mut self, extents: &[&str], into: &str) {
        for export in self.exports.values_mut() {
            let known = extents.iter().filter(|id| export.exported.remove(**id)).count();
            if known > 0 {
                export.exported.insert(into.to_owned());
            }
        }
    }

    /// A definition of a table with these columns, all new.
    pub fn new_table(&mut self, columns: &[Column]) -> TableDefinition {
        let id = self.next_id();
        let columns = columns.iter().map(|column| self.new_column(column)).collect();
        TableDefinition { id, columns, folder: String::new(), docstring: String::new() }
    }

    /// A definition of a new column.
    pub fn new_column(&mut self, column: &Column) -> ColumnDefinition {
        let id = self.next_id();
        ColumnDefinition { id, name: column.name.to_string(), ty: column.ty, docstring: String::new() }
    }
}

/// A table that is written into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDefinition {
    /// What its rows are kept under: it stays when the table is renamed.
    pub id: u64,
    /// Its columns in order.
    pub columns: Vec<ColumnDefinition>,
    /// Where tools show it.
    #[serde(default)]
    pub folder: String,
    /// What it is.
    #[serde(default)]
    pub docstring: String,
}

impl TableDefinition {
    /// The columns as queries see them.
    pub fn schema(&self) -> Vec<Column> {
        self.columns.iter().map(|column| Column::new(column.name.as_str(), column.ty)).collect()
    }

    /// Ids and types of the columns.
    pub fn ids(&self) -> Vec<(u64, Type)> {
        self.columns.iter().map(|column| (column.id, column.ty)).collect()
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDefinition {
    /// What its values are kept under: it stays when the column is renamed, and is a new one when it gets another type
    /// (values of the old type are then null, as at the reference).
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(with = "type_name")]
    pub ty: Type,
    /// What it is.
    #[serde(default)]
    pub docstring: String,
}

/// A stored function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionDefinition {
    /// `(a:long, b:string="x")`.
    pub parameters: String,
    /// `{ ... }`.
    pub body: String,
    /// Where tools show it.
    #[serde(default)]
    pub folder: String,
    /// What it is.
    #[serde(default)]
    pub docstring: String,
}

/// A materialized view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewDefinition {
    /// The table it is over.
    pub source: String,
    /// Its query.
    pub query: String,
    /// The columns it yields.
    #[serde(default)]
    pub columns: Vec<ColumnDefinition>,
    /// When it was made, in ticks.
    #[serde(default)]
    pub created: i64,
    /// What came into its source before is not part of it; all is without.
    #[serde(default)]
    pub since: Option<i64>,
    /// Whether it is kept up.
    pub enabled: bool,
    /// `backfill`, `lookback`... as they were given.
    #[serde(default)]
    pub properties: serde_json::Map<String, serde_json::Value>,
    /// Where tools show it.
    #[serde(default)]
    pub folder: String,
    /// What it is.
    #[serde(default)]
    pub docstring: String,
}

impl ViewDefinition {
    /// The columns as queries see them.
    pub fn schema(&self) -> Vec<Column> {
        self.columns.iter().map(|column| Column::new(column.name.as_str(), column.ty)).collect()
    }
}

impl ExternalTableDefinition {
    /// The columns as queries see them.
    pub fn schema(&self) -> Vec<Column> {
        self.columns.iter().map(|column| Column::new(column.name.as_str(), column.ty)).collect()
    }
}

/// An external table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalTableDefinition {
    /// Its columns.
    pub columns: Vec<ColumnDefinition>,
    /// `storage`...
    pub kind: String,
    /// `csv`, `parquet`...
    pub format: Option<String>,
    /// `partition by ...` and `pathformat = ...` as written.
    #[serde(default)]
    pub partitions: Option<String>,
    /// Where it is.
    pub sources: Vec<String>,
    /// `folder`, `compressed`... as they were given.
    #[serde(default)]
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// A continuous export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportDefinition {
    /// The tables whose new rows are exported.
    pub over: Vec<String>,
    /// The external table.
    pub target: String,
    /// The query.
    pub query: String,
    /// Whether it runs.
    pub enabled: bool,
    /// `intervalBetweenRuns`... as they were given.
    #[serde(default)]
    pub properties: serde_json::Map<String, serde_json::Value>,
    /// Extents whose rows were exported.
    #[serde(default)]
    pub exported: std::collections::BTreeSet<String>,
    /// Until when, in ticks.
    #[serde(default)]
    pub exported_to: i64,
    /// When it last ran, in ticks.
    #[serde(default)]
    pub last_run: Option<i64>,
    /// Files that it wrote.
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
    /// Runs that failed.
    #[serde(default)]
    pub failures: Vec<ExportFailure>,
}

/// A file of a continuous export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// When it was written, in ticks.
    pub at: i64,
    /// Where it is.
    pub path: String,
    /// How many rows it has.
    pub rows: u64,
}

/// A run of a continuous export that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportFailure {
    /// When, in ticks.
    pub at: i64,
    /// Why.
    pub details: String,
}

/// An ingestion mapping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// `csv`, `json`, `avro`, `parquet`...
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its columns, as JSON.
    pub mapping: serde_json::Value,
    /// When it was made or changed, in ticks.
    #[serde(default)]
    pub updated: i64,
}

/// Types by their names.
mod type_name {
    use super::Type;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(ty: &Type, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(ty.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Type, D::Error> {
        let name = String::deserialize(deserializer)?;
        Type::from_name(&name).ok_or_else(|| D::Error::custom(format!("`{name}` is no type")))
    }
}
