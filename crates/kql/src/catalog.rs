//! What the binder asks about the world: databases, tables, stored functions.

use crate::bound::{Column, Rel};

/// A stored function, as `.create function` took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFunction {
    /// `(a:long, b:string="x")`.
    pub parameters: String,
    /// `{ T | where ... }`, with its braces.
    pub body: String,
}

/// What names stand for. Names of databases are compared without case by whoever implements
/// this and are answered as they are spelled; all other names are case-sensitive.
///
/// The caller is asked only for what the text names, so that a row-level rule or a missing
/// right can answer `None`.
pub trait Catalog {
    /// The database a bare name is looked up in.
    fn default_database(&self) -> String;

    /// The database of a name, as it is spelled; `None` when there is none.
    fn database(&self, name: &str) -> Option<String>;

    /// The names of a database's tables, for wildcards, `find` and `search`.
    fn tables(&self, database: &str) -> Vec<String>;

    /// The columns of a table.
    fn table(&self, database: &str, name: &str) -> Option<Vec<Column>>;

    /// The columns of an external table.
    fn external_table(&self, database: &str, name: &str) -> Option<Vec<Column>> {
        let _ = (database, name);
        None
    }

    /// The columns of a materialized view.
    fn materialized_view(&self, database: &str, name: &str) -> Option<Vec<Column>> {
        let _ = (database, name);
        None
    }

    /// The columns of the nodes and of the edges of a stored graph.
    fn graph(&self, database: &str, name: &str) -> Option<(Vec<Column>, Vec<Column>)> {
        let _ = (database, name);
        None
    }

    /// A stored function.
    fn function(&self, database: &str, name: &str) -> Option<StoredFunction> {
        let _ = (database, name);
        None
    }

    /// Whether `cluster("name")` means this service.
    fn is_this_cluster(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// The columns of an operator that are known only from its rows (`evaluate pivot` and
    /// `bag_unpack` without a schema): an engine may run it now. With an answer everything
    /// behind it is bound as usual; with `None` its schema stays open and names that are not
    /// found in it become [`ExprKind::Late`](crate::bound::ExprKind::Late).
    fn resolve_open(&self, rel: &Rel) -> Option<Vec<Column>> {
        let _ = rel;
        None
    }
}

/// A world without tables: for texts that stand alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyCatalog;

impl Catalog for EmptyCatalog {
    fn default_database(&self) -> String {
        String::new()
    }

    fn database(&self, _name: &str) -> Option<String> {
        None
    }

    fn tables(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    fn table(&self, _database: &str, _name: &str) -> Option<Vec<Column>> {
        None
    }
}
