//! Statements of SQL asked of the tables.

use std::sync::Arc;

use gantry_sql::statement::Query;
use gantry_sql::{Dialect, Environment, Parameter, Prepared, ResultColumn};

use crate::context::{Cancel, Context, Limits};
use crate::engine::{self, Table};
use crate::error::Error;
use crate::warehouse::{By, Rejected, Warehouse, deeply, seed};
use crate::world::World;

/// A statement asked of the tables.
pub struct SqlAsk<'a> {
    /// The statement.
    pub query: &'a Query,
    /// The values of its parameters.
    pub parameters: &'a [Parameter],
    /// Who asks.
    pub by: By,
    /// What functions about the session answer.
    pub environment: Environment<'a>,
    /// The instant, in ticks.
    pub now: i64,
    /// The limits.
    pub limits: Limits,
    /// Stops it from outside.
    pub cancel: Cancel,
}

/// The rows of a statement.
#[derive(Debug, Clone)]
pub struct SqlRows {
    /// Names and types of the columns.
    pub columns: Vec<ResultColumn>,
    /// The rows, and why there are no more of them.
    pub table: Table,
}

/// Why a statement has no rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlRejected {
    /// It means nothing here.
    Statement(gantry_sql::Error),
    /// It could not be run.
    Run(Error),
}

impl Warehouse {
    /// Names and types of the columns and parameters of a statement, without running it.
    ///
    /// # Errors
    /// When it means nothing here.
    pub fn describe_sql(
        &self,
        query: &Query,
        parameters: &[Parameter],
        setting: &(dyn Fn(&str) -> Option<String> + Sync),
        user: &str,
        by: &By,
        now: i64,
    ) -> std::result::Result<Prepared, SqlRejected> {
        self.with_stack(|| {
            let environment =
                Environment { dialect: Dialect::PostgreSql, user, pid: 0, setting: &|name| setting(name) };
            let world = World::new(self, now, by);
            gantry_sql::bind_query(query, &world, parameters, &environment).map_err(SqlRejected::Statement)
        })
    }

    /// Works on a thread with room for the deepest statement; its text is best read there too.
    ///
    /// # Errors
    /// What the work returns.
    pub fn with_stack<T: Send>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, SqlRejected> + Send,
    ) -> std::result::Result<T, SqlRejected> {
        let outcome = deeply(|| Ok(work()));
        outcome.unwrap_or_else(|failed| {
            Err(SqlRejected::Run(match failed {
                Rejected::Run(error) => error,
                _ => Error::Evaluation("the statement ended without an answer".into()),
            }))
        })
    }

    /// Runs a statement. One that fails on the way is no error: its table says so. Call it within
    /// [`with_stack`](Self::with_stack).
    ///
    /// # Errors
    /// When it means nothing here.
    pub fn sql(&self, ask: &SqlAsk) -> std::result::Result<SqlRows, SqlRejected> {
        let world = World::new(self, ask.now, &ask.by);
        let prepared = gantry_sql::bind_query(ask.query, &world, ask.parameters, &ask.environment)
            .map_err(SqlRejected::Statement)?;
        let context = Context::new(ask.now, ask.limits, ask.cancel.clone(), seed()).with_principal(&ask.by.principal);
        let context = Arc::new(context);
        let table = engine::run(&prepared.bound, &world, &context).pop();
        let table = table.ok_or_else(|| SqlRejected::Run(Error::Evaluation("the statement has no result".into())))?;
        Ok(SqlRows { columns: prepared.columns, table })
    }
}
