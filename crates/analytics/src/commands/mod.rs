//! Management commands that tell about the tables.
//!
//! What a command answers is what the reference answers, column by column. Commands that would change something are
//! refused by name: tables are made of events and twins, nobody writes into them.

use gantry_kql::bound::Column;
use gantry_kql::command::{self, Command, Kind, SchemaForm, TableForm};
use gantry_kql::value::{Type, Value};
use serde_json::json;

use crate::engine::{self, Table};
use crate::warehouse::{Ask, Rejected, Warehouse, World, rejected, small_table};

const STRING: Type = Type::String;

/// Runs a command, and the operators behind it over what it answers.
///
/// # Errors
/// When it is none, or one that is not implemented.
pub fn run(warehouse: &Warehouse, ask: &Ask) -> Result<Vec<Table>, Rejected> {
    let command = command::parse(ask.text).map_err(|wrong| rejected(&wrong, ask.text))?;
    let world = World::new(warehouse, ask.now);
    let table = answer(warehouse, &world, &command)?;
    let Some(pipeline) = &command.pipeline else { return Ok(vec![table]) };
    let bound = gantry_kql::bind_over(pipeline, &world, (*table.schema).clone());
    let bound = bound.map_err(|wrong| rejected(&wrong, ask.text))?;
    Ok(engine::run_over(&bound, &world, &ask.context(&bound.options), table.chunks))
}

fn answer(warehouse: &Warehouse, world: &World, command: &Command) -> Result<Table, Rejected> {
    let is_ours = |names: &[String]| match names.iter().find(|name| !name.eq_ignore_ascii_case(warehouse.database())) {
        Some(other) => Err(Rejected::Database(other.clone())),
        None => Ok(()),
    };
    Ok(match &command.kind {
        Kind::ShowVersion => small_table(
            &[
                ("BuildVersion", STRING),
                ("BuildTime", Type::DateTime),
                ("ServiceType", STRING),
                ("ProductVersion", STRING),
            ],
            vec![vec![text_of(VERSION), Value::Null, text_of("Engine"), text_of(VERSION)]],
        ),
        Kind::ShowCluster => small_table(
            &[("NodeId", STRING), ("Address", STRING), ("Name", STRING), ("StartTime", Type::DateTime)],
            vec![vec![text_of("0"), text_of(""), text_of("gantry"), Value::Null]],
        ),
        Kind::ShowDatabases { name, detail: None } => {
            is_ours(&name.iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>())?;
            databases(warehouse)
        }
        Kind::ShowSchema { databases, form, .. } => {
            is_ours(databases)?;
            match form {
                SchemaForm::Rows | SchemaForm::Details => database_schema(warehouse, world)?,
                SchemaForm::Json => database_schema_json(warehouse, world)?,
                SchemaForm::Script => return Err(Rejected::NotImplemented(command.name.clone())),
            }
        }
        Kind::ShowTables { names, details: false } => tables(warehouse, names),
        Kind::ShowTable { name, form: TableForm::Csl } => table_schema(warehouse, world, name, false)?,
        Kind::ShowTable { name, form: TableForm::Json } => table_schema(warehouse, world, name, true)?,
        Kind::ShowTable { name, form: TableForm::Row } => table_columns(world, name)?,
        Kind::ShowFunctions { name: None } => small_table(
            &[("Name", STRING), ("Parameters", STRING), ("Body", STRING), ("Folder", STRING), ("DocString", STRING)],
            vec![],
        ),
        _ => return Err(Rejected::NotImplemented(command.name.clone())),
    })
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn text_of(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

fn databases(warehouse: &Warehouse) -> Table {
    let columns = [
        ("DatabaseName", STRING),
        ("PersistentStorage", STRING),
        ("Version", STRING),
        ("IsCurrent", Type::Bool),
        ("DatabaseAccessMode", STRING),
        ("PrettyName", STRING),
        ("ReservedSlot1", Type::Bool),
        ("DatabaseId", Type::Guid),
        ("InTransitionTo", STRING),
    ];
    let row = vec![
        text_of(warehouse.database()),
        text_of(""),
        text_of("v1.0"),
        Value::Bool(true),
        text_of("ReadOnly"),
        text_of(""),
        Value::Null,
        Value::Null,
        text_of(""),
    ];
    small_table(&columns, vec![row])
}

fn tables(warehouse: &Warehouse, names: &[String]) -> Table {
    let columns = [("TableName", STRING), ("DatabaseName", STRING), ("Folder", STRING), ("DocString", STRING)];
    let row = |(name, source): (&str, &std::sync::Arc<dyn crate::Source>)| {
        vec![text_of(name), text_of(warehouse.database()), text_of(""), text_of(source.about())]
    };
    let wanted = warehouse.sources().filter(|(name, _)| names.is_empty() || names.iter().any(|one| one == name));
    small_table(&columns, wanted.map(row).collect())
}

/// Name of a table, what it holds, its columns.
type Shown = (String, &'static str, Vec<Column>);

/// Tables with their columns and what they hold.
fn all(warehouse: &Warehouse, world: &World) -> Result<Vec<Shown>, Rejected> {
    let mut all = Vec::new();
    for (name, source) in warehouse.sources() {
        all.push((name.to_owned(), source.about(), world.columns_of(name)?.unwrap_or_default()));
    }
    Ok(all)
}

fn database_schema(warehouse: &Warehouse, world: &World) -> Result<Table, Rejected> {
    let columns = [
        ("DatabaseName", STRING),
        ("TableName", STRING),
        ("ColumnName", STRING),
        ("ColumnType", STRING),
        ("IsDefaultTable", Type::Bool),
        ("IsDefaultColumn", Type::Bool),
        ("PrettyName", STRING),
        ("Version", STRING),
    ];
    let row = |table: &str, column: &str, ty: &str| {
        let no = || Value::Bool(false);
        vec![
            text_of(warehouse.database()),
            text_of(table),
            text_of(column),
            text_of(ty),
            no(),
            no(),
            text_of(""),
            text_of("v1.0"),
        ]
    };
    let mut rows = vec![row("", "", "")];
    for (name, _, columns) in all(warehouse, world)? {
        rows.push(row(&name, "", ""));
        rows.extend(columns.iter().map(|column| row(&name, &column.name, column.ty.system_name())));
    }
    Ok(small_table(&columns, rows))
}

fn ordered_columns(columns: &[Column]) -> serde_json::Value {
    let column =
        |column: &Column| json!({"Name": &*column.name, "Type": column.ty.system_name(), "CslType": column.ty.name()});
    columns.iter().map(column).collect()
}

fn database_schema_json(warehouse: &Warehouse, world: &World) -> Result<Table, Rejected> {
    let mut tables = serde_json::Map::new();
    for (name, about, columns) in all(warehouse, world)? {
        let table =
            json!({"Name": name, "Folder": "", "DocString": about, "OrderedColumns": ordered_columns(&columns)});
        tables.insert(name, table);
    }
    let schema = json!({"Databases": {warehouse.database(): {
        "Name": warehouse.database(),
        "Tables": tables,
        "ExternalTables": {},
        "MaterializedViews": {},
        "Functions": {},
        "MajorVersion": 1,
        "MinorVersion": 0,
        "DatabaseAccessMode": "ReadOnly",
    }}});
    Ok(small_table(&[("DatabaseSchema", STRING)], vec![vec![text_of(schema.to_string())]]))
}

fn known(world: &World, name: &str) -> Result<Vec<Column>, Rejected> {
    world.columns_of(name)?.ok_or_else(|| Rejected::Text {
        code: "SEM0100",
        line: 1,
        column: 1,
        message: format!("table `{name}` was not found"),
    })
}

fn table_schema(warehouse: &Warehouse, world: &World, name: &str, as_json: bool) -> Result<Table, Rejected> {
    let columns = known(world, name)?;
    let about =
        warehouse.sources().find(|(known, _)| *known == name).map(|(_, source)| source.about()).unwrap_or_default();
    let schema = if as_json {
        json!({"Name": name, "Folder": "", "DocString": about, "OrderedColumns": ordered_columns(&columns)}).to_string()
    } else {
        columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let shape = [
        ("TableName", STRING),
        ("Schema", STRING),
        ("DatabaseName", STRING),
        ("Folder", STRING),
        ("DocString", STRING),
    ];
    let row = vec![text_of(name), text_of(schema), text_of(warehouse.database()), text_of(""), text_of(about)];
    Ok(small_table(&shape, vec![row]))
}

fn table_columns(world: &World, name: &str) -> Result<Table, Rejected> {
    let shape = [
        ("AttributeName", STRING),
        ("AttributeType", STRING),
        ("ExtentSize", Type::Long),
        ("CompressionRatio", Type::Real),
        ("IndexSize", Type::Long),
        ("IndexSizePercent", Type::Real),
        ("OriginalSize", Type::Long),
        ("AttributeId", Type::Guid),
        ("SharedIndexSize", Type::Long),
        ("StorageEngineVersion", STRING),
    ];
    let row = |column: &Column| {
        let mut row = vec![text_of(&*column.name), text_of(column.ty.system_name())];
        row.resize(shape.len(), Value::Null);
        row
    };
    Ok(small_table(&shape, known(world, name)?.iter().map(row).collect()))
}
