//! Management commands that tell about the tables.
//!
//! What a command answers is what the reference answers, column by column. Commands that would change something are
//! refused by name: tables are made of events and twins, nobody writes into them.

use gantry_kql::bound::Column;
use gantry_kql::value::{Type, Value};
use serde_json::json;

use crate::engine::Table;
use crate::warehouse::{Ask, Rejected, Warehouse, World, small_table};

const STRING: Type = Type::String;

/// Runs a command.
///
/// # Errors
/// When it is not one of these.
pub fn run(warehouse: &Warehouse, ask: &Ask) -> Result<Vec<Table>, Rejected> {
    let text = ask.text.trim();
    let (command, rest) = text.split_once('|').map_or((text, None), |(command, rest)| (command.trim(), Some(rest)));
    if rest.is_some() {
        return Err(Rejected::NotImplemented("a pipe behind a command".into()));
    }
    let words = words(command);
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let world = World::new(warehouse, ask.now);
    let table = match lower.as_slice() {
        [".show", "version"] => small_table(
            &[
                ("BuildVersion", STRING),
                ("BuildTime", Type::DateTime),
                ("ServiceType", STRING),
                ("ProductVersion", STRING),
            ],
            vec![vec![
                text_of(env!("CARGO_PKG_VERSION")),
                Value::Null,
                text_of("Engine"),
                text_of(env!("CARGO_PKG_VERSION")),
            ]],
        ),
        [".show", "cluster"] => small_table(
            &[("NodeId", STRING), ("Address", STRING), ("Name", STRING), ("StartTime", Type::DateTime)],
            vec![vec![text_of("0"), text_of(""), text_of("gantry"), Value::Null]],
        ),
        [".show", "databases"] => databases(warehouse),
        [".show", "databases", "schema"] | [".show", "database", _, "schema"] | [".show", "database", "schema"] => {
            database_schema(warehouse, &world)?
        }
        [".show", "databases", "schema", "as", "json"]
        | [".show", "database", _, "schema", "as", "json"]
        | [".show", "database", "schema", "as", "json"] => database_schema_json(warehouse, &world)?,
        [".show", "databases", list, "schema", "as", "json"] if list.starts_with('(') => {
            database_schema_json(warehouse, &world)?
        }
        [".show", "tables"] => tables(warehouse),
        [".show", "tables", "details"] => tables(warehouse),
        [".show", "table", _, "cslschema"] => table_schema(warehouse, &world, &words[2], false)?,
        [".show", "table", _, "schema", "as", "json"] => table_schema(warehouse, &world, &words[2], true)?,
        [".show", "table", _] => table_columns(&world, &words[2])?,
        [".show", "functions"] => small_table(
            &[("Name", STRING), ("Parameters", STRING), ("Body", STRING), ("Folder", STRING), ("DocString", STRING)],
            vec![],
        ),
        [verb, ..] => {
            let name = lower.iter().take(3).copied().collect::<Vec<_>>().join(" ");
            return Err(if verb.starts_with('.') { Rejected::NotImplemented(name) } else { no_command() });
        }
        [] => return Err(no_command()),
    };
    Ok(vec![table])
}

fn no_command() -> Rejected {
    Rejected::Text { code: "SYN0002", line: 1, column: 1, message: "a command begins with a point".into() }
}

/// Words of a command: quoted names are one, and so is a list in parentheses.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut depth) = (Vec::new(), String::new(), None, 0_usize);
    for c in command.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('\'' | '"', None) => quote = Some(c),
            ('(', None) => {
                depth += 1;
                word.push(c);
            }
            (')', None) => {
                depth = depth.saturating_sub(1);
                word.push(c);
            }
            (c, None) if c.is_whitespace() && depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, None) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    let bracketed = |word: String| {
        word.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).map(str::to_owned).unwrap_or(word)
    };
    words.into_iter().map(bracketed).collect()
}

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

fn tables(warehouse: &Warehouse) -> Table {
    let columns = [("TableName", STRING), ("DatabaseName", STRING), ("Folder", STRING), ("DocString", STRING)];
    let row = |(name, source): (&str, &std::sync::Arc<dyn crate::Source>)| {
        vec![text_of(name), text_of(warehouse.database()), text_of(""), text_of(source.about())]
    };
    small_table(&columns, warehouse.sources().map(row).collect())
}

/// Tables with their columns and what they hold.
fn all(warehouse: &Warehouse, world: &World) -> Result<Vec<(String, &'static str, Vec<Column>)>, Rejected> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_and_lists_are_one_word() {
        assert_eq!(words(".show table ['a b'] cslschema"), [".show", "table", "a b", "cslschema"]);
        assert_eq!(words(".show databases (['x', 'y']) schema as json")[2], "([x, y])");
    }
}
