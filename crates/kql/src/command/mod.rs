//! Management commands: texts whose first sign is a dot.
//!
//! [`parse`] reads a command into [`Command`]: what it asks for, and the operators behind it if
//! there are some (`.show tables | count`). The commands an engine has to know are variants with
//! their parts; every other command of the service is [`Kind::NotImplemented`] with its name, so
//! that it can be refused by name. Queries, function bodies and data within a command are texts
//! of their own, with their place, read when they are needed.

mod data;
mod read;
mod show;

use crate::ast::Script;
use crate::bound::Column;
use crate::diagnostic::{Diagnostic, Span};
use crate::value::Value;

/// Reads a command. A text whose first sign is no dot is refused.
pub fn parse(text: &str) -> Result<Command, Vec<Diagnostic>> {
    read::command(text).map_err(|fault| vec![*fault])
}

/// Whether a text is a command: its first character that is neither blank nor of a comment is a
/// dot.
pub fn is_command(text: &str) -> bool {
    read::body(text).starts_with('.')
}

/// The commands of a text with several, one behind the other: each starts with a dot at the start
/// of a line.
pub fn split(text: &str) -> Vec<Text> {
    read::commands_of(text, 0)
}

/// A text whose obfuscated strings (`h'...'`) show nothing of what is in them: for journals and logs.
pub fn masked(text: &str) -> String {
    let (mut out, mut at, mut is_start) = (String::with_capacity(text.len()), 0, true);
    while let Some(c) = text[at..].chars().next() {
        let end = if text[at..].starts_with("//") {
            at + text[at..].find('\n').unwrap_or(text.len() - at)
        } else if is_start && let Ok(Some(end)) = crate::lex::string_end(text, at) {
            end
        } else {
            at + c.len_utf8()
        };
        let is_secret = matches!(c, 'h' | 'H') && end > at + 1;
        out.push_str(if is_secret { "h'*****'" } else { &text[at..end] });
        is_start = !c.is_alphanumeric() && c != '_';
        at = end;
    }
    out
}

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Its words without names and values: `.show table details`.
    pub name: String,
    /// What it asks for.
    pub kind: Kind,
    /// Operators over its result: one statement whose first operator reads
    /// [`RelKind::Input`](crate::bound::RelKind::Input), see [`bind_over`](crate::bind_over).
    pub pipeline: Option<Script>,
}

/// A piece of a command that is a text of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Where it is in the command.
    pub span: Span,
}

/// `with (name = value, ...)`.
pub type Properties = Vec<(String, Value)>;

/// What policies, mappings and roles belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entity {
    /// The whole service.
    Cluster,
    /// A database; the one of the request without a name.
    Database(Option<String>),
    /// A table; all of the database for `*`.
    Table(String),
    /// A column of a table.
    Column(String, String),
    /// A materialized view.
    MaterializedView(String),
    /// An external table.
    ExternalTable(String),
    /// A function.
    Function(String),
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `.show version`
    ShowVersion,
    /// `.show databases`, `.show database [name]`: a row for each.
    ShowDatabases {
        /// Only this one; the current one for an empty name.
        name: Option<String>,
        /// With `details`, `identity`, `policies` and the like: that word.
        detail: Option<String>,
    },
    /// `.show databases schema`, `.show database D schema [as json|csl script]`.
    ShowSchema {
        /// Of these databases; none for all that are seen.
        databases: Vec<String>,
        /// Whether the text was `.show database schema`: of the current database.
        current: bool,
        /// The form.
        form: SchemaForm,
    },
    /// `.show tables [(names)] [details]`
    ShowTables {
        /// Only these.
        names: Vec<String>,
        /// With sizes and policies.
        details: bool,
    },
    /// `.show table T cslschema`, `.show table T schema as json`
    ShowTable {
        /// The table.
        name: String,
        /// The form.
        form: TableForm,
    },
    /// `.create table`, `.create-merge table`, `.alter table`, `.alter-merge table` with columns
    CreateTables {
        /// What happens to tables that exist.
        mode: TableMode,
        /// The tables and their columns.
        tables: Vec<(String, Vec<Column>)>,
        /// `docstring`, `folder`...
        properties: Properties,
    },
    /// `.create table T based-on U`
    CreateTableLike {
        /// The new table.
        name: String,
        /// The table whose columns it gets.
        like: String,
        /// No fault when it exists.
        if_not_exists: bool,
        /// `docstring`, `folder`...
        properties: Properties,
    },
    /// `.drop table T [ifexists]`, `.drop tables (T, U) [ifexists]`
    DropTables {
        /// The tables.
        names: Vec<String>,
        /// No fault when one does not exist.
        if_exists: bool,
    },
    /// `.rename table T to U`, `.rename tables A=B, C=D` (new = old; all at once)
    RenameTables(Vec<(String, String)>),
    /// `.alter table T docstring|folder "text"`, `.alter function F docstring|folder "text"`
    Describe {
        /// The table, function or database.
        entity: Entity,
        /// `docstring` or `folder`.
        what: String,
        /// The text.
        text: String,
    },
    /// `.alter table T column-docstrings (a: "text", ...)`
    DescribeColumns {
        /// The table.
        table: String,
        /// Columns and texts.
        texts: Vec<(String, String)>,
        /// Columns that are not named keep theirs.
        merge: bool,
    },
    /// `.alter column T.c type=long`
    AlterColumn {
        /// The table.
        table: String,
        /// The column, with its new type.
        column: Column,
    },
    /// `.drop column T.c`, `.drop table T columns (a, b)`
    DropColumns {
        /// The table.
        table: String,
        /// The columns.
        columns: Vec<String>,
        /// No fault when one does not exist.
        if_exists: bool,
    },
    /// `.rename column T.a to b`, `.rename columns a = T.b, ...` (new = old)
    RenameColumns(Vec<(String, String, String)>),
    /// `.clear table T data`
    ClearTable(String),
    /// `.ingest inline into table T [with (...)] <| data`: rows of CSV, or `[row]`s.
    IngestInline {
        /// The table.
        table: String,
        /// `format`, `ingestionMappingReference`...
        properties: Properties,
        /// The data as it was sent.
        data: Text,
    },
    /// `.ingest [async] into table T (uris) [with (...)]`
    Ingest {
        /// An operation id is answered at once.
        asynchronous: bool,
        /// The table.
        table: String,
        /// Where the data is, secrets included.
        sources: Vec<String>,
        /// `format`...
        properties: Properties,
    },
    /// `.set`, `.append`, `.set-or-append`, `.set-or-replace` `[async] T [with (...)] <| query`
    IngestQuery {
        /// What happens to rows that are there.
        mode: IngestMode,
        /// An operation id is answered at once.
        asynchronous: bool,
        /// The table.
        table: String,
        /// `extend_schema`, `recreate_schema`, `distributed`, `folder`...
        properties: Properties,
        /// The query.
        query: Text,
    },
    /// `.create[-or-alter]|.alter table T ingestion csv mapping "M" 'json'`
    CreateMapping {
        /// The table or database.
        entity: Entity,
        /// What happens to one that exists.
        mode: CreateMode,
        /// `csv`, `json`, `avro`, `parquet`...
        format: String,
        /// Its name.
        name: String,
        /// Its columns, as JSON.
        mapping: String,
    },
    /// `.drop table T ingestion csv mapping "M"`
    DropMapping {
        /// The table or database.
        entity: Entity,
        /// Its kind.
        format: String,
        /// Its name.
        name: String,
    },
    /// `.show table T ingestion [csv] mappings`, `.show table T ingestion csv mapping "M"`
    ShowMappings {
        /// The table or database.
        entity: Entity,
        /// Only of this kind.
        format: Option<String>,
        /// Only this one.
        name: Option<String>,
    },
    /// `.create[-or-alter]|.alter function [ifnotexists] [with (...)] F (parameters) { body }`
    CreateFunction {
        /// What happens to one that exists.
        mode: CreateMode,
        /// Its name.
        name: String,
        /// `docstring`, `folder`, `skipvalidation`, `view`...
        properties: Properties,
        /// The parameters with their parentheses.
        parameters: String,
        /// The body with its braces.
        body: Text,
    },
    /// `.drop function F [ifexists]`, `.drop functions (F, G) [ifexists]`
    DropFunctions {
        /// The functions.
        names: Vec<String>,
        /// No fault when one does not exist.
        if_exists: bool,
    },
    /// `.show functions`, `.show function F`
    ShowFunctions {
        /// Only this one.
        name: Option<String>,
    },
    /// `.alter|.alter-merge ENTITY policy P value`
    AlterPolicy {
        /// Whose; several tables for `.alter tables (T, U) policy`.
        entities: Vec<Entity>,
        /// `retention`, `update`, `caching`...
        policy: String,
        /// What is not named stays as it is.
        merge: bool,
        /// What it becomes.
        value: PolicyValue,
    },
    /// `.delete ENTITY policy P`
    DeletePolicy {
        /// Whose.
        entity: Entity,
        /// Which.
        policy: String,
    },
    /// `.show ENTITY policy P`
    ShowPolicy {
        /// Whose.
        entity: Entity,
        /// Which.
        policy: String,
    },
    /// `.create [async] [ifnotexists]|.create-or-alter|.alter materialized-view [with (...)] V on table T { query }`
    CreateView {
        /// What happens to one that exists.
        mode: CreateMode,
        /// An operation id is answered at once.
        asynchronous: bool,
        /// Its name.
        name: String,
        /// `backfill`, `lookback`, `docString`...
        properties: Properties,
        /// The table, or view, it is over.
        source: Entity,
        /// Its query, without braces.
        query: Text,
    },
    /// `.drop materialized-view V [ifexists]`
    DropView {
        /// The view.
        name: String,
        /// No fault when it does not exist.
        if_exists: bool,
    },
    /// `.enable|.disable materialized-view V`
    EnableView {
        /// The view.
        name: String,
        /// On or off.
        enabled: bool,
    },
    /// `.show materialized-views`, `.show materialized-view V [word]`
    ShowViews {
        /// Only this one.
        name: Option<String>,
        /// `details`, `failures`, `extents`, `schema`...
        detail: Option<String>,
    },
    /// `.create|.create-or-alter|.alter external table E (schema) kind=storage dataformat=f (uris) [with (...)]`
    CreateExternalTable {
        /// What happens to one that exists.
        mode: CreateMode,
        /// Its name.
        name: String,
        /// Its columns.
        columns: Vec<Column>,
        /// `storage`, `delta`, `sql`...
        kind: String,
        /// `csv`, `parquet`...; none for kinds that have one of their own.
        format: Option<String>,
        /// `partition by (...)` and `pathformat = (...)` as they were written.
        partitions: Option<String>,
        /// Where it is, secrets included.
        sources: Vec<String>,
        /// `folder`, `compressed`, `includeHeaders`...
        properties: Properties,
    },
    /// `.drop external table E [ifexists]`
    DropExternalTable {
        /// The table.
        name: String,
        /// No fault when it does not exist.
        if_exists: bool,
    },
    /// `.show external tables`, `.show external table E [schema as json|artifacts...]`
    ShowExternalTables {
        /// Only this one.
        name: Option<String>,
        /// `details`, `schema as json`, `cslschema`, `artifacts`...
        detail: Option<String>,
    },
    /// `.create-or-alter continuous-export N [over (T)] to table E [with (...)] <| query`
    CreateExport {
        /// Its name.
        name: String,
        /// The tables whose new records are exported.
        over: Vec<String>,
        /// The external table.
        target: String,
        /// `intervalBetweenRuns`, `forcedLatency`, `sizeLimit`...
        properties: Properties,
        /// The query.
        query: Text,
    },
    /// `.drop continuous-export N`
    DropExport(String),
    /// `.enable|.disable continuous-export N`
    EnableExport {
        /// Its name.
        name: String,
        /// On or off.
        enabled: bool,
    },
    /// `.show continuous-exports`, `.show continuous-export N [exported-artifacts|failures]`
    ShowExports {
        /// Only this one.
        name: Option<String>,
        /// `exported-artifacts` or `failures`.
        detail: Option<String>,
    },
    /// `.export [async] [compressed] to csv|tsv|json|parquet (uris) [with (...)] <| query`,
    /// `.export [async] to table E <| query`
    Export {
        /// An operation id is answered at once.
        asynchronous: bool,
        /// Files are compressed.
        compressed: bool,
        /// The form of files, or nothing when the target is an external table.
        format: Option<String>,
        /// Addresses, secrets included; the one name of an external table without `format`.
        targets: Vec<String>,
        /// `sizeLimit`, `namePrefix`...
        properties: Properties,
        /// The query.
        query: Text,
    },
    /// `.show operations [id]`
    ShowOperations(Option<String>),
    /// `.show queries`, `.show running queries`
    ShowQueries {
        /// Only those under way.
        running: bool,
    },
    /// `.show commands`, `.show commands-and-queries`
    ShowCommands {
        /// And queries.
        queries: bool,
    },
    /// `.cancel query "id"`
    CancelQuery(String),
    /// `.cancel operation id`
    CancelOperation(String),
    /// `.show ingestion failures`
    ShowIngestionFailures,
    /// `.show extents`, `.show table T extents`, `.show cluster extents`, each with `hot` behind it.
    ShowExtents {
        /// Of a table; of all without.
        table: Option<String>,
        /// Only those that are kept here.
        hot: bool,
    },
    /// `.show cluster`
    ShowCluster,
    /// `.show capacity`
    ShowCapacity,
    /// `.show diagnostics`
    ShowDiagnostics,
    /// `.show principal roles`, `.show ENTITY principals`
    ShowPrincipals(Option<Entity>),
    /// `.add|.drop|.set ENTITY role ('principal', ...) ['notes']`, `.set ENTITY role none`
    Roles {
        /// What happens to who has it.
        change: RoleChange,
        /// For what.
        entity: Entity,
        /// `admins`, `viewers`, `ingestors`...
        role: String,
        /// Who.
        principals: Vec<String>,
        /// What is said of it.
        notes: String,
    },
    /// `.execute database script [with (...)] <| commands`
    ExecuteScript {
        /// `ContinueOnErrors`...
        properties: Properties,
        /// The commands, in order.
        commands: Vec<Text>,
    },
    /// A command of the service that is not implemented: `Command::name` says which.
    NotImplemented,
}

/// The form of a database's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaForm {
    /// A row for each column.
    Rows,
    /// The same with folders and texts.
    Details,
    /// One JSON document.
    Json,
    /// Commands that make it.
    Script,
}

/// The form of a table's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableForm {
    /// A row like those of `.show tables`.
    Row,
    /// `details`
    Details,
    /// `cslschema`: `a:long,b:string`
    Csl,
    /// `schema as json`
    Json,
}

/// What happens to tables that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableMode {
    /// Nothing: success.
    Create,
    /// Columns they lack are added.
    CreateMerge,
    /// They get exactly these columns; they must exist.
    Alter,
    /// Columns they lack are added; they must exist.
    AlterMerge,
}

/// What happens to an object that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMode {
    /// It is a fault.
    Create,
    /// Nothing.
    CreateIfNotExists,
    /// It is replaced.
    CreateOrAlter,
    /// It is replaced, and must exist.
    Alter,
}

/// What happens to rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestMode {
    /// The table must not exist.
    Set,
    /// The table must exist.
    Append,
    /// The table is made if need be.
    SetOrAppend,
    /// They go.
    SetOrReplace,
}

/// What happens to who has a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleChange {
    /// They have it too.
    Add,
    /// They have it no more.
    Drop,
    /// Nobody else has it.
    Set,
}

/// What a policy becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyValue {
    /// A text, mostly JSON.
    Text(String),
    /// `softdelete = 10d recoverability = disabled`, `hot = 30d`
    Settings(Properties),
    /// `enable`, `disable`, `true`, `false`
    Switch(bool),
}

#[cfg(test)]
mod tests;
