//! Management commands: what they do to the tables, and what they answer.
//!
//! A command answers what the reference answers, column by column (`answers.txt`). Everything that it changes is
//! changed at once or not at all ([`TableStore::change`](crate::store::TableStore::change)). Tables that are made of
//! what the platform has (`Telemetry`, `Twins`...) refuse to be written into, by name. A command that the language
//! knows and this does not is refused by its name.

mod answers;
mod exports;
mod externals;
mod functions;
mod history;
mod ingestion;
mod mappings;
mod policies;
mod roles;
mod schema;
mod script;
mod tables;
mod views;

use gantry_kql::command::{self, Command, Kind, Text};
use gantry_kql::value::Value;

use crate::engine::{self, Table};
use crate::error::Error;
use crate::store::Snapshot;
use crate::warehouse::{Ask, Rejected, Warehouse, rejected};
use crate::world::World;

pub use ingestion::Ingested;
pub(crate) use ingestion::settings_of;
pub(crate) use policies::is_on;
pub(crate) use schema::quoted;

/// A command while it runs.
pub(crate) struct Run<'a> {
    pub(crate) warehouse: &'a Warehouse,
    pub(crate) ask: &'a Ask<'a>,
    /// Its words: `.show tables`.
    pub(crate) name: &'a str,
    /// The text it stands in: of places.
    pub(crate) text: &'a str,
}

type Answered = Result<Table, Rejected>;

/// Runs a command.
///
/// # Errors
/// When it is none, or one that is not implemented, and what it says itself.
pub fn run(warehouse: &Warehouse, ask: &Ask) -> Result<Vec<Table>, Rejected> {
    run_one(warehouse, ask, ask.text)
}

/// The words of a command, for the journal.
pub fn kind_of(text: &str) -> String {
    let Ok(command) = command::parse(text) else { return "Unknown".into() };
    match command.kind {
        Kind::IngestQuery { mode, .. } => ingestion::kind_of(mode).into(),
        Kind::Ingest { .. } => "DataIngestPull".into(),
        _ => kind_name(&command.name.replace(" async", "")),
    }
}

/// `.set-or-append` is `SetOrAppend` in operations and journals.
fn kind_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.flat_map(|word| [word[..1].to_uppercase(), word[1..].to_owned()]).collect()
}

fn run_one(warehouse: &Warehouse, ask: &Ask, text: &str) -> Result<Vec<Table>, Rejected> {
    let command = command::parse(text).map_err(|wrong| rejected(&wrong, text))?;
    let run = Run { warehouse, ask, name: &command.name, text };
    let table = run.answer(&command)?;
    let Some(pipeline) = &command.pipeline else { return Ok(vec![table]) };
    let world = run.world();
    let bound = gantry_kql::bind_over(pipeline, &world, (*table.schema).clone());
    let bound = bound.map_err(|wrong| rejected(&wrong, text))?;
    Ok(engine::run_over(&bound, &world, &ask.context(&bound.options), table.chunks))
}

impl<'a> Run<'a> {
    /// The tables as the caller sees them.
    pub(crate) fn world(&self) -> World<'a> {
        World::new(self.warehouse, self.ask.now, &self.ask.by)
    }

    /// Everything that is defined now.
    fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        self.warehouse.store().snapshot()
    }

    /// Changes everything at once.
    fn change<T>(&self, edit: impl FnMut(&mut Snapshot) -> Result<T, Rejected>) -> Result<T, Rejected> {
        change(self.warehouse, edit)
    }

    /// A text within the command, with what stands before it blank: places in it are places in the command.
    fn in_place(&self, text: &Text) -> String {
        let before = self.text.get(..text.span.start as usize).unwrap_or_default();
        let mut padded: String = before.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        padded.push_str(&text.text);
        padded
    }

    /// A name as the command gives it, without the database before it.
    fn plain<'n>(&self, name: &'n str) -> &'n str {
        let rest = |(database, rest): (&str, &'n str)| {
            database.eq_ignore_ascii_case(self.warehouse.database()).then_some(rest)
        };
        name.split_once('.').and_then(rest).unwrap_or(name)
    }

    fn check_database(&self, name: Option<&str>) -> Result<(), Rejected> {
        match name {
            Some(name) if !name.is_empty() && !name.eq_ignore_ascii_case(self.warehouse.database()) => {
                Err(Rejected::Database(name.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Lets through who may write.
    fn may_write(&self) -> Result<(), Rejected> {
        if self.ask.by.may_write {
            return Ok(());
        }
        let who = if self.ask.by.principal.is_empty() { "the caller" } else { &self.ask.by.principal };
        Err(Rejected::Forbidden(format!("{who} is not authorized to run `{}`", self.name)))
    }

    fn answer(&self, command: &Command) -> Answered {
        if !is_reading(&command.kind) {
            self.may_write()?;
        }
        match &command.kind {
            Kind::ShowVersion => Ok(schema::version()),
            Kind::ShowCluster => Ok(schema::cluster()),
            Kind::ShowDatabases { name, detail } => schema::databases(self, name.as_deref(), detail.as_deref()),
            Kind::ShowSchema { databases, form, .. } => schema::show(self, databases, *form),
            Kind::ShowTables { names, details } => tables::show(self, names, *details),
            Kind::ShowTable { name, form } => tables::show_one(self, name, *form),
            Kind::CreateTables { mode, tables, properties } => tables::create(self, *mode, tables, properties),
            Kind::CreateTableLike { name, like, if_not_exists, properties } => {
                tables::create_like(self, name, like, *if_not_exists, properties)
            }
            Kind::DropTables { names, if_exists } => tables::drop(self, names, *if_exists),
            Kind::RenameTables(names) => tables::rename(self, names),
            Kind::Describe { entity, what, text } => tables::describe(self, entity, what, text),
            Kind::DescribeColumns { table, texts, merge } => tables::describe_columns(self, table, texts, *merge),
            Kind::AlterColumn { table, column } => tables::alter_column(self, table, column),
            Kind::DropColumns { table, columns, if_exists } => tables::drop_columns(self, table, columns, *if_exists),
            Kind::RenameColumns(names) => tables::rename_columns(self, names),
            Kind::ClearTable(name) => tables::clear(self, name),
            Kind::IngestInline { table, properties, data } => ingestion::inline(self, table, properties, data),
            Kind::Ingest { asynchronous, table, sources, properties } => {
                ingestion::pull(self, *asynchronous, table, sources, properties)
            }
            Kind::IngestQuery { mode, asynchronous, table, properties, query } => {
                ingestion::query(self, *mode, *asynchronous, table, properties, query)
            }
            Kind::CreateMapping { entity, mode, format, name, mapping } => {
                mappings::create(self, entity, *mode, format, name, mapping)
            }
            Kind::DropMapping { entity, format, name } => mappings::drop(self, entity, format, name),
            Kind::ShowMappings { entity, format, name } => {
                mappings::show(self, entity, format.as_deref(), name.as_deref())
            }
            Kind::CreateFunction { mode, name, properties, parameters, body } => {
                functions::create(self, *mode, name, properties, parameters, body)
            }
            Kind::DropFunctions { names, if_exists } => functions::drop(self, names, *if_exists),
            Kind::ShowFunctions { name } => functions::show(self, name.as_deref()),
            Kind::AlterPolicy { entities, policy, merge, value } => {
                policies::alter(self, entities, policy, *merge, value)
            }
            Kind::DeletePolicy { entity, policy } => policies::delete(self, entity, policy),
            Kind::ShowPolicy { entity, policy } => policies::show(self, entity, policy),
            Kind::CreateView { mode, asynchronous, name, properties, source, query } => {
                views::create(self, *mode, *asynchronous, name, properties, source, query)
            }
            Kind::DropView { name, if_exists } => views::drop(self, name, *if_exists),
            Kind::EnableView { name, enabled } => views::enable(self, name, *enabled),
            Kind::ShowViews { name, detail } => views::show(self, name.as_deref(), detail.as_deref()),
            Kind::CreateExternalTable { .. } => externals::create(self, &command.kind),
            Kind::DropExternalTable { name, if_exists } => externals::drop(self, name, *if_exists),
            Kind::ShowExternalTables { name, detail } => externals::show(self, name.as_deref(), detail.as_deref()),
            Kind::Export { .. } => exports::export(self, &command.kind),
            Kind::CreateExport { name, over, target, properties, query } => {
                exports::create(self, name, over, target, properties, query)
            }
            Kind::DropExport(name) => exports::drop(self, name),
            Kind::EnableExport { name, enabled } => exports::enable(self, name, *enabled),
            Kind::ShowExports { name, detail } => exports::show(self, name.as_deref(), detail.as_deref()),
            Kind::ShowOperations(id) => Ok(history::operations(self, id.as_deref())),
            Kind::ShowQueries { running } => Ok(history::queries(self, *running)),
            Kind::ShowCommands { queries } => Ok(history::commands(self, *queries)),
            Kind::ShowIngestionFailures => Ok(history::failures(self)),
            Kind::ShowExtents { table, hot } => history::extents(self, table.as_deref(), *hot),
            Kind::ShowCapacity => Ok(history::capacity(self)),
            Kind::ShowDiagnostics => Ok(history::diagnostics(self)),
            Kind::CancelQuery(id) => Ok(history::cancel(self, id)),
            Kind::ShowPrincipals(entity) => roles::show(self, entity.as_ref()),
            Kind::Roles { change, entity, role, principals, notes } => {
                roles::change(self, *change, entity, role, principals, notes)
            }
            Kind::ExecuteScript { properties, commands } => script::run(self, properties, commands),
            Kind::CancelOperation(_) | Kind::NotImplemented => Err(Rejected::NotImplemented(command.name.clone())),
        }
    }
}

/// Whether a command leaves everything as it is. A script asks for each of its commands.
fn is_reading(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ShowVersion
            | Kind::ShowCluster
            | Kind::ShowDatabases { .. }
            | Kind::ShowSchema { .. }
            | Kind::ShowTables { .. }
            | Kind::ShowTable { .. }
            | Kind::ShowMappings { .. }
            | Kind::ShowFunctions { .. }
            | Kind::ShowPolicy { .. }
            | Kind::ShowViews { .. }
            | Kind::ShowExternalTables { .. }
            | Kind::ShowExports { .. }
            | Kind::ShowOperations(_)
            | Kind::ShowQueries { .. }
            | Kind::ShowCommands { .. }
            | Kind::ShowIngestionFailures
            | Kind::ShowExtents { .. }
            | Kind::ShowCapacity
            | Kind::ShowDiagnostics
            | Kind::ShowPrincipals(_)
            | Kind::ExecuteScript { .. }
            | Kind::NotImplemented
    )
}

/// Changes everything at once: what the edit refuses is what is answered.
pub(crate) fn change<T>(
    warehouse: &Warehouse,
    mut edit: impl FnMut(&mut Snapshot) -> Result<T, Rejected>,
) -> Result<T, Rejected> {
    let (mut done, mut refused) = (None, None);
    let changed = warehouse.store().change(&mut |snapshot| match edit(snapshot) {
        Ok(value) => {
            done = Some(value);
            Ok(())
        }
        Err(wrong) => {
            refused = Some(wrong);
            Err(Error::Cancelled)
        }
    });
    match (changed, refused, done) {
        (_, Some(wrong), _) => Err(wrong),
        (Err(error), ..) => Err(error.into()),
        (Ok(_), None, Some(value)) => Ok(value),
        (Ok(_), None, None) => Err(Rejected::Wrong("nothing was changed".into())),
    }
}

/// Characters of a name.
const NAME_LEN_MAX: usize = 1_024;

/// A name that something may have.
fn check_name(kind: &str, name: &str) -> Result<(), Rejected> {
    let fits = !name.is_empty()
        && name.chars().count() <= NAME_LEN_MAX
        && name.trim() == name
        && !name.chars().any(char::is_control)
        && name != "*";
    if fits { Ok(()) } else { Err(Rejected::Wrong(format!("`{name}` cannot be the name of a {kind}"))) }
}

/// A property of `with (...)` by its name, whatever its case.
pub(crate) fn property<'p>(properties: &'p [(String, Value)], name: &str) -> Option<&'p Value> {
    properties.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The same as a text.
pub(crate) fn text_property(properties: &[(String, Value)], name: &str) -> Option<String> {
    property(properties, name).map(ToString::to_string)
}

/// The same as a flag.
pub(crate) fn flag(properties: &[(String, Value)], name: &str) -> Result<bool, Rejected> {
    match property(properties, name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => gantry_kql::value::parse_bool(&other.to_string())
            .ok_or_else(|| Rejected::Wrong(format!("`{name}` must be true or false, not `{other}`"))),
    }
}

/// Refuses properties that nobody reads.
fn only_known(properties: &[(String, Value)], known: &[&str]) -> Result<(), Rejected> {
    let unknown = properties.iter().find(|(name, _)| !known.iter().any(|one| one.eq_ignore_ascii_case(name)));
    match unknown {
        None => Ok(()),
        Some((name, _)) => {
            Err(Rejected::Wrong(format!("property `{name}` is not known here; there are {}", known.join(", "))))
        }
    }
}

/// A value as JSON, for what is stored.
fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Long(value) => (*value).into(),
        Value::Real(value) => (*value).into(),
        other => other.to_string().into(),
    }
}
