//! T-SQL of clients of Kusto: a text like any other of theirs, answered with a table of KQL's types.

use std::collections::HashSet;
use std::sync::Arc;

use gantry_kql::bound::{Column, Schema};
use gantry_kql::value::Type;
use gantry_sql::{Dialect, Environment, ResultColumn};

use crate::chunk::Chunk;
use crate::context::Context;
use crate::engine::Table;
use crate::expression::{Datum, cast};
use crate::warehouse::{Ask, Rejected, Warehouse, cut, seed};
use crate::world::World;

impl Warehouse {
    pub(crate) fn tsql_here(&self, ask: &Ask) -> std::result::Result<Vec<Table>, Rejected> {
        if let Some((name, _)) = ask.parameters.first() {
            return Err(Rejected::NotImplemented(format!("the parameter `{name}` of a query in T-SQL")));
        }
        let query = gantry_sql::tsql::query(ask.text).map_err(rejected)?;
        let environment = Environment { dialect: Dialect::TSql, user: &ask.by.principal, pid: 0, setting: &|_| None };
        let world = World::new(self, ask.now, &ask.by);
        let prepared = gantry_sql::bind_query(&query, &world, &[], &environment).map_err(rejected)?;
        let context = Context::new(ask.now, (ask.limits)(&[]), ask.cancel.clone(), seed());
        let context = Arc::new(context.with_principal(&ask.by.principal));
        let tables = crate::engine::run(&prepared.bound, &world, &context);
        let mut tables: Vec<Table> = tables.into_iter().map(|table| told(table, &prepared.columns)).collect();
        if let Some(wanted) = ask.rows_wanted {
            tables.iter_mut().for_each(|table| cut(table, wanted));
        }
        Ok(tables)
    }
}

/// A result with names and types of KQL, where no two columns have one name and texts are never null.
fn told(table: Table, columns: &[ResultColumn]) -> Table {
    let mut taken = HashSet::new();
    let named = columns.iter().enumerate().map(|(at, column)| {
        let base = if column.name == "?column?" { format!("Column{}", at + 1) } else { column.name.clone() };
        let again = (1..).map(|number| format!("{base}{number}"));
        let free = std::iter::once(base.clone()).chain(again).find(|name| taken.insert(name.clone()));
        Column::new(free.unwrap_or(base), column.ty.engine())
    });
    let schema = Schema::of(named.collect());
    let held: Vec<Type> = table.schema.columns.iter().map(|column| column.ty).collect();
    let chunks = table.chunks.into_iter().map(|chunk| {
        let columns = chunk.columns.iter().zip(&schema.columns).zip(&held).map(|((values, column), held)| {
            cast(Datum::Many(Arc::clone(values)), *held, column.ty, chunk.rows).into_column(column.ty, chunk.rows)
        });
        Chunk::new(columns.collect(), chunk.rows)
    });
    Table { chunks: chunks.collect(), schema: Arc::new(schema), ..table }
}

fn rejected(wrong: gantry_sql::Error) -> Rejected {
    use gantry_sql::error::state;
    if wrong.state == state::FEATURE_NOT_SUPPORTED {
        // Whoever shows it says that it is not implemented.
        return Rejected::NotImplemented(wrong.message.trim_end_matches(" is not supported").to_owned());
    }
    let code = if wrong.state == state::SYNTAX_ERROR { "SYN0002" } else { "SEM0100" };
    let (line, column) = wrong.at.unwrap_or((1, 1));
    Rejected::Text { code, line: line as usize, column: column as usize, message: wrong.message }
}
