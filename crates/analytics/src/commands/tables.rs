//! Tables and their columns: made, changed, shown, dropped.

use gantry_kql::bound::Column;
use gantry_kql::command::{Entity, Properties, TableForm, TableMode};
use gantry_kql::value::{Type, Value};

use super::answers::{Amounts, Answer, bytes, guid, long, text, time};
use super::{Answered, Run, check_name, only_known, text_property};
use crate::store::{Definitions, Snapshot, TableDefinition};
use crate::warehouse::Rejected;

/// Columns that a table may have.
const COLUMNS_MAX: usize = 10_000;

pub(super) fn not_found(name: &str) -> Rejected {
    Rejected::NotFound { kind: "Table", name: name.to_owned() }
}

/// Refuses what would change a table that the platform makes itself.
pub(super) fn check_not_built_in(run: &Run, name: &str) -> Result<(), Rejected> {
    match run.warehouse.source(name) {
        Some(_) => Err(Rejected::Wrong(format!("table `{name}` is made by the platform and cannot be changed"))),
        None => Ok(()),
    }
}

/// A table that is written into.
pub(super) fn written<'d>(definitions: &'d mut Definitions, name: &str) -> Result<&'d mut TableDefinition, Rejected> {
    definitions.tables.get_mut(name).ok_or_else(|| not_found(name))
}

fn check_free(definitions: &Definitions, name: &str) -> Result<(), Rejected> {
    if definitions.views.contains_key(name) {
        return Err(Rejected::Exists { kind: "MaterializedView", name: name.to_owned() });
    }
    if definitions.external_tables.contains_key(name) {
        return Err(Rejected::Exists { kind: "ExternalTable", name: name.to_owned() });
    }
    Ok(())
}

pub(super) fn check_columns(columns: &[Column]) -> Result<(), Rejected> {
    if columns.len() > COLUMNS_MAX {
        return Err(Rejected::Wrong(format!("a table has at most {COLUMNS_MAX} columns")));
    }
    columns.iter().try_for_each(|column| check_name("column", &column.name))
}

fn conflict(table: &str, column: &Column, known: Type) -> Rejected {
    let name = &column.name;
    Rejected::Wrong(format!("column `{name}` of table `{table}` is of type {known}, not {}", column.ty))
}

/// Adds the columns that a table lacks.
pub(super) fn merge(
    definitions: &mut Definitions,
    table: &mut TableDefinition,
    name: &str,
    columns: &[Column],
) -> Result<(), Rejected> {
    for column in columns {
        match table.columns.iter().find(|known| known.name == *column.name) {
            Some(known) if known.ty != column.ty => return Err(conflict(name, column, known.ty)),
            Some(_) => {}
            None => table.columns.push(definitions.new_column(column)),
        }
    }
    Ok(())
}

fn set_texts(table: &mut TableDefinition, properties: &Properties) {
    if let Some(folder) = text_property(properties, "folder") {
        table.folder = folder;
    }
    if let Some(docstring) = text_property(properties, "docstring") {
        table.docstring = docstring;
    }
}

fn create_one(
    definitions: &mut Definitions,
    mode: TableMode,
    name: &str,
    columns: &[Column],
    properties: &Properties,
) -> Result<(), Rejected> {
    check_free(definitions, name)?;
    let Some(mut table) = definitions.tables.get(name).cloned() else {
        if matches!(mode, TableMode::Alter | TableMode::AlterMerge) {
            return Err(not_found(name));
        }
        let mut table = definitions.new_table(columns);
        set_texts(&mut table, properties);
        definitions.tables.insert(name.to_owned(), table);
        return Ok(());
    };
    match mode {
        TableMode::Create => return Ok(()),
        TableMode::CreateMerge | TableMode::AlterMerge => merge(definitions, &mut table, name, columns)?,
        TableMode::Alter => {
            let mut kept = Vec::with_capacity(columns.len());
            for column in columns {
                match table.columns.iter().find(|known| known.name == *column.name) {
                    Some(known) if known.ty != column.ty => return Err(conflict(name, column, known.ty)),
                    Some(known) => kept.push(known.clone()),
                    None => kept.push(definitions.new_column(column)),
                }
            }
            table.columns = kept;
        }
    }
    set_texts(&mut table, properties);
    definitions.tables.insert(name.to_owned(), table);
    Ok(())
}

pub(super) fn create(
    run: &Run,
    mode: TableMode,
    tables: &[(String, Vec<Column>)],
    properties: &Properties,
) -> Answered {
    only_known(properties, &["folder", "docstring"])?;
    for (name, columns) in tables {
        let name = run.plain(name);
        check_name("table", name)?;
        check_columns(columns)?;
        check_not_built_in(run, name)?;
        if columns.is_empty() && mode == TableMode::Create {
            return Err(Rejected::Wrong(format!("table `{name}` needs a column")));
        }
    }
    let several = run.name.ends_with("tables");
    run.change(|snapshot| {
        for (name, columns) in tables {
            create_one(&mut snapshot.definitions, mode, run.plain(name), columns, properties)?;
        }
        Ok(())
    })?;
    let names: Vec<&str> = tables.iter().map(|(name, _)| run.plain(name)).collect();
    if several { Ok(list(run, "CreateTables", &names)) } else { csl(run, names[0], true) }
}

pub(super) fn create_like(run: &Run, name: &str, like: &str, if_not_exists: bool, properties: &Properties) -> Answered {
    only_known(properties, &["folder", "docstring"])?;
    let (name, like) = (run.plain(name), run.plain(like));
    check_name("table", name)?;
    check_not_built_in(run, name)?;
    let columns = run.world().columns_of(like)?.ok_or_else(|| not_found(like))?;
    run.change(|snapshot| {
        let definitions = &mut snapshot.definitions;
        check_free(definitions, name)?;
        if definitions.tables.contains_key(name) {
            let exists = Rejected::Exists { kind: "Table", name: name.to_owned() };
            return if if_not_exists { Ok(()) } else { Err(exists) };
        }
        let mut table = definitions.new_table(&columns);
        if let Some(model) = definitions.tables.get(like) {
            (table.folder, table.docstring) = (model.folder.clone(), model.docstring.clone());
            for (column, known) in table.columns.iter_mut().zip(&model.columns) {
                column.docstring.clone_from(&known.docstring);
            }
        }
        set_texts(&mut table, properties);
        definitions.tables.insert(name.to_owned(), table);
        Ok(())
    })?;
    csl(run, name, true)
}

/// Takes away everything that belongs to something.
pub(super) fn forget(definitions: &mut Definitions, entity: &str) {
    definitions.policies.remove(entity);
    definitions.mappings.remove(entity);
    definitions.roles.remove(entity);
}

/// Refuses to take away what views are over.
fn check_unused(definitions: &Definitions, name: &str) -> Result<(), Rejected> {
    match definitions.views.iter().find(|(_, view)| view.source == name) {
        Some((view, _)) => Err(Rejected::Wrong(format!(
            "table `{name}` is the source of the materialized view `{view}`: drop that first"
        ))),
        None => Ok(()),
    }
}

pub(super) fn drop(run: &Run, names: &[String], if_exists: bool) -> Answered {
    let names: Vec<&str> = names.iter().map(|name| run.plain(name)).collect();
    names.iter().try_for_each(|name| check_not_built_in(run, name))?;
    run.change(|snapshot| {
        for name in &names {
            check_unused(&snapshot.definitions, name)?;
            let Some(table) = snapshot.definitions.tables.remove(*name) else {
                if if_exists {
                    continue;
                }
                return Err(not_found(name));
            };
            snapshot.extents.remove(&table.id);
            snapshot.cursors.remove(&table.id);
            forget(&mut snapshot.definitions, &format!("table {name}"));
            for column in &table.columns {
                forget(&mut snapshot.definitions, &format!("column {name}.{}", column.name));
            }
        }
        Ok(())
    })?;
    let mut answer = Answer::of("DropTable");
    let database = run.warehouse.database();
    let left = run.snapshot();
    for name in left.definitions.tables.keys() {
        answer.row(&[("TableName", text(name)), ("DatabaseName", text(database))]);
    }
    Ok(answer.table())
}

/// Moves what belongs to something under another name.
fn move_entity(definitions: &mut Definitions, from: &str, to: &str) {
    if let Some(policies) = definitions.policies.remove(from) {
        definitions.policies.insert(to.to_owned(), policies);
    }
    if let Some(mappings) = definitions.mappings.remove(from) {
        definitions.mappings.insert(to.to_owned(), mappings);
    }
    if let Some(roles) = definitions.roles.remove(from) {
        definitions.roles.insert(to.to_owned(), roles);
    }
}

/// What belongs to a table and its columns, under another name of the table.
fn move_all(definitions: &mut Definitions, table: &TableDefinition, from: &str, to: &str) {
    move_entity(definitions, &format!("table {from}"), &format!("table {to}"));
    for column in &table.columns {
        let name = &column.name;
        move_entity(definitions, &format!("column {from}.{name}"), &format!("column {to}.{name}"));
    }
}

/// Renames all at once: names may be swapped.
pub(super) fn rename(run: &Run, names: &[(String, String)]) -> Answered {
    let names: Vec<(&str, &str)> = names.iter().map(|(new, old)| (run.plain(old), run.plain(new))).collect();
    for (old, new) in &names {
        check_not_built_in(run, old)?;
        check_not_built_in(run, new)?;
        check_name("table", new)?;
    }
    run.change(|snapshot| {
        let definitions = &mut snapshot.definitions;
        let mut taken = Vec::new();
        for (at, (old, new)) in names.iter().enumerate() {
            check_unused(definitions, old)?;
            let table = definitions.tables.remove(*old).ok_or_else(|| not_found(old))?;
            // Under a name that nothing has, so that two may swap theirs.
            let between = format!("\u{0}{at}");
            move_all(definitions, &table, old, &between);
            taken.push((*new, between, table));
        }
        for (new, between, table) in taken {
            check_free(definitions, new)?;
            if definitions.tables.contains_key(new) {
                return Err(Rejected::Exists { kind: "Table", name: new.to_owned() });
            }
            move_all(definitions, &table, &between, new);
            definitions.tables.insert(new.to_owned(), table);
        }
        Ok(())
    })?;
    Ok(list(run, "RenameTables", &names.iter().map(|(_, new)| *new).collect::<Vec<_>>()))
}

pub(super) fn describe(run: &Run, entity: &Entity, what: &str, said: &str) -> Answered {
    match entity {
        Entity::Table(name) => {
            let name = run.plain(name);
            check_not_built_in(run, name)?;
            run.change(|snapshot| {
                let table = written(&mut snapshot.definitions, name)?;
                let place = if what == "folder" { &mut table.folder } else { &mut table.docstring };
                said.clone_into(place);
                Ok(())
            })?;
            csl(run, name, true)
        }
        Entity::Column(table, column) if what == "docstring" => {
            describe_columns(run, table, &[(column.clone(), said.to_owned())], true)
        }
        Entity::Function(name) => super::functions::describe(run, name, what, said),
        Entity::MaterializedView(name) => super::views::describe(run, name, what, said),
        Entity::ExternalTable(name) => super::externals::describe(run, name, what, said),
        _ => Err(Rejected::NotImplemented(run.name.to_owned())),
    }
}

pub(super) fn describe_columns(run: &Run, name: &str, texts: &[(String, String)], merge: bool) -> Answered {
    let name = run.plain(name);
    check_not_built_in(run, name)?;
    run.change(|snapshot| {
        let table = written(&mut snapshot.definitions, name)?;
        for (column, _) in texts {
            if !table.columns.iter().any(|known| known.name == *column) {
                return Err(Rejected::NotFound { kind: "Column", name: column.clone() });
            }
        }
        for column in &mut table.columns {
            match texts.iter().find(|(name, _)| *name == column.name) {
                Some((_, said)) => column.docstring.clone_from(said),
                None if !merge => column.docstring.clear(),
                None => {}
            }
        }
        Ok(())
    })?;
    csl(run, name, true)
}

fn changed_columns(changed: &[(String, Type)]) -> crate::Table {
    let mut answer = Answer::of("RenameColumns");
    for (name, ty) in changed {
        answer.row(&[("EntityName", text(name)), ("DataType", text(ty.system_name()))]);
    }
    answer.table()
}

fn column_at(table: &TableDefinition, name: &str) -> Result<usize, Rejected> {
    let at = table.columns.iter().position(|known| known.name == name);
    at.ok_or_else(|| Rejected::NotFound { kind: "Column", name: name.to_owned() })
}

/// A column of another type is a new one under the old name: values of the old type are gone, as at the reference.
pub(super) fn alter_column(run: &Run, table: &str, column: &Column) -> Answered {
    let name = run.plain(table);
    check_not_built_in(run, name)?;
    run.change(|snapshot| {
        let fresh = snapshot.definitions.new_column(column);
        let table = written(&mut snapshot.definitions, name)?;
        let at = column_at(table, &column.name)?;
        if table.columns[at].ty != column.ty {
            let docstring = std::mem::take(&mut table.columns[at].docstring);
            table.columns[at] = crate::store::ColumnDefinition { docstring, ..fresh };
        }
        Ok(())
    })?;
    Ok(changed_columns(&[(format!("{name}.{}", column.name), column.ty)]))
}

pub(super) fn drop_columns(run: &Run, table: &str, columns: &[String], if_exists: bool) -> Answered {
    let name = run.plain(table);
    check_not_built_in(run, name)?;
    run.change(|snapshot| {
        let table = written(&mut snapshot.definitions, name)?;
        for column in columns {
            match column_at(table, column) {
                Ok(at) => drop_at(&mut table.columns, at),
                Err(_) if if_exists => {}
                Err(wrong) => return Err(wrong),
            }
        }
        if table.columns.is_empty() {
            return Err(Rejected::Wrong(format!("table `{name}` needs a column")));
        }
        for column in columns {
            forget(&mut snapshot.definitions, &format!("column {name}.{column}"));
        }
        Ok(())
    })?;
    csl(run, name, true)
}

fn drop_at<T>(values: &mut Vec<T>, at: usize) {
    values.remove(at);
}

/// Renames all at once: names may be swapped.
pub(super) fn rename_columns(run: &Run, names: &[(String, String, String)]) -> Answered {
    for (table, new, _) in names {
        check_not_built_in(run, run.plain(table))?;
        check_name("column", new)?;
    }
    let changed = run.change(|snapshot| {
        let mut changed = Vec::new();
        let mut places = Vec::new();
        for (table, new, old) in names {
            let name = run.plain(table);
            places.push((name, column_at(written(&mut snapshot.definitions, name)?, old)?, old, new));
        }
        for (name, at, old, new) in places {
            let definitions = &mut snapshot.definitions;
            move_entity(definitions, &format!("column {name}.{old}"), &format!("column {name}.{new}"));
            let table = written(definitions, name)?;
            table.columns[at].name.clone_from(new);
            changed.push((format!("{name}.{new}"), table.columns[at].ty));
        }
        for (table, ..) in names {
            let table = written(&mut snapshot.definitions, run.plain(table))?;
            let mut seen = std::collections::HashSet::new();
            if let Some(twice) = table.columns.iter().find(|column| !seen.insert(column.name.as_str())) {
                return Err(Rejected::Exists { kind: "Column", name: twice.name.clone() });
            }
        }
        Ok(changed)
    })?;
    Ok(changed_columns(&changed))
}

pub(super) fn clear(run: &Run, name: &str) -> Answered {
    let name = run.plain(name);
    check_not_built_in(run, name)?;
    run.change(|snapshot| {
        let id = written(&mut snapshot.definitions, name)?.id;
        snapshot.extents.remove(&id);
        Ok(())
    })?;
    Ok(Answer::of("ClearTableData").with(&[("Status", text("Succeeded"))]).table())
}

/// Every table: its name, folder and what it is.
pub(super) fn all(run: &Run, snapshot: &Snapshot) -> Vec<(String, String, String)> {
    let built_in = run.warehouse.sources();
    let built_in = built_in.map(|(name, source)| (name.to_owned(), String::new(), source.about().to_owned()));
    let written = snapshot.definitions.tables.iter();
    let written = written.map(|(name, table)| (name.clone(), table.folder.clone(), table.docstring.clone()));
    let mut all: Vec<_> = built_in.chain(written).collect();
    all.sort();
    all.dedup_by(|later, first| later.0 == first.0);
    all
}

fn list(run: &Run, kind: &str, names: &[&str]) -> crate::Table {
    let mut answer = Answer::of(kind);
    for (name, folder, docstring) in all(run, &run.snapshot()) {
        if names.contains(&name.as_str()) {
            let database = text(run.warehouse.database());
            answer.row(&[
                ("TableName", text(name)),
                ("DatabaseName", database),
                ("Folder", text(folder)),
                ("DocString", text(docstring)),
            ]);
        }
    }
    answer.table()
}

pub(super) fn show(run: &Run, names: &[String], details: bool) -> Answered {
    let names: Vec<&str> = names.iter().map(|name| run.plain(name)).filter(|name| *name != "*").collect();
    let snapshot = run.snapshot();
    let known: Vec<String> = all(run, &snapshot).into_iter().map(|(name, ..)| name).collect();
    if let Some(missing) = names.iter().find(|name| !known.iter().any(|one| one == *name)) {
        return Err(not_found(missing));
    }
    let wanted: Vec<&str> =
        known.iter().map(String::as_str).filter(|name| names.is_empty() || names.contains(name)).collect();
    if details { Ok(show_details(run, &snapshot, &wanted)) } else { Ok(list(run, "ShowTables", &wanted)) }
}

fn show_details(run: &Run, snapshot: &Snapshot, names: &[&str]) -> crate::Table {
    let mut answer = Answer::of("ShowTablesDetails");
    for (name, folder, docstring) in all(run, snapshot) {
        if !names.contains(&name.as_str()) {
            continue;
        }
        let definition = snapshot.definitions.kept(&name);
        let extents = definition.map_or(&[][..], |table| snapshot.extents_of(table.id));
        let Amounts { all, hot } = Amounts::of(extents);
        let created = |ticks: Option<i64>| ticks.map_or(Value::Null, time);
        let entity = format!("table {name}");
        let policy = |policy: &str| text(super::policies::effective(run, snapshot, &entity, policy).to_string());
        answer.row(&[
            ("TableName", text(&name)),
            ("DatabaseName", text(run.warehouse.database())),
            ("Folder", text(folder)),
            ("DocString", text(docstring)),
            ("TotalExtents", long(all.extents)),
            ("TotalExtentSize", bytes(all.bytes)),
            ("TotalOriginalSize", bytes(all.bytes)),
            ("TotalRowCount", long(all.rows)),
            ("HotExtents", long(hot.extents)),
            ("HotExtentSize", bytes(hot.bytes)),
            ("HotOriginalSize", bytes(hot.bytes)),
            ("HotRowCount", long(hot.rows)),
            ("RetentionPolicy", policy("retention")),
            ("CachingPolicy", policy("caching")),
            ("ShardingPolicy", policy("sharding")),
            ("MergePolicy", policy("merge")),
            ("StreamingIngestionPolicy", policy("streamingingestion")),
            ("IngestionBatchingPolicy", policy("ingestionbatching")),
            ("MinExtentsCreationTime", created(extents.iter().map(|one| one.created).min())),
            ("MaxExtentsCreationTime", created(extents.iter().map(|one| one.created).max())),
            ("RowOrderPolicy", policy("roworder")),
            ("TableId", definition.map_or(Value::Null, |table| guid(&id_of(table.id)))),
        ]);
    }
    answer.table()
}

/// Our ids as guids.
fn id_of(id: u64) -> String {
    gantry_kql::value::Guid(u128::from(id)).to_string()
}

pub(super) fn show_one(run: &Run, name: &str, form: TableForm) -> Answered {
    let name = run.plain(name);
    match form {
        TableForm::Row => attributes(run, name),
        TableForm::Details => show(run, &[name.to_owned()], true),
        TableForm::Csl => csl(run, name, false),
        TableForm::Json => csl(run, name, true),
    }
}

/// A row of the schema of a table: as JSON, or as the language writes columns.
fn csl(run: &Run, name: &str, as_json: bool) -> Answered {
    let world = run.world();
    let columns = world.columns_of(name)?.ok_or_else(|| not_found(name))?;
    let (_, folder, docstring) =
        all(run, &world.snapshot).into_iter().find(|(known, ..)| known == name).unwrap_or_default();
    let schema = if as_json {
        super::schema::table_json(&world.snapshot, name, &folder, &docstring, &columns).to_string()
    } else {
        super::schema::csl(&columns)
    };
    let answer = Answer::of("CreateTable").with(&[
        ("TableName", text(name)),
        ("Schema", text(schema)),
        ("DatabaseName", text(run.warehouse.database())),
        ("Folder", text(folder)),
        ("DocString", text(docstring)),
    ]);
    Ok(answer.table())
}

fn attributes(run: &Run, name: &str) -> Answered {
    let world = run.world();
    let columns = world.columns_of(name)?.ok_or_else(|| not_found(name))?;
    let ids = world.snapshot.definitions.tables.get(name).map(|table| table.ids()).unwrap_or_default();
    let mut answer = Answer::of("ShowTable");
    for (at, column) in columns.iter().enumerate() {
        answer.row(&[
            ("AttributeName", text(&*column.name)),
            ("AttributeType", text(column.ty.system_name())),
            ("AttributeId", ids.get(at).map_or(Value::Null, |(id, _)| guid(&id_of(*id)))),
        ]);
    }
    Ok(answer.table())
}
