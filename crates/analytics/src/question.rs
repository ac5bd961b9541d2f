//! Questions whose rows are handed on as they come, whatever language they were asked in.
//!
//! A [`Question`] is whatever binds against the tables: a text of KQL, a tree somebody built, a text of another
//! language. Nothing is kept of its result here: whoever takes the rows says how fast and how many.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_kql::ast::Script;
use gantry_kql::bound::{Bound, ResultTable, Schema};
use gantry_kql::{Catalog, bind, parse};

use crate::chunk::Chunk;
use crate::context::{Cancel, Context, Limits};
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::operators::Flow;
use crate::warehouse::{By, Rejected, Warehouse, deeply, rejected, seed};
use crate::world::World;

/// Something asked of the tables.
pub trait Question: Sync {
    /// Binds it against the tables.
    ///
    /// # Errors
    /// When it means nothing here.
    fn bind(&self, catalog: &dyn Catalog) -> std::result::Result<Bound, Rejected>;
}

/// A text of KQL.
#[derive(Debug, Clone, Copy)]
pub struct Kql<'a> {
    /// The text.
    pub text: &'a str,
    /// Values of `declare query_parameters`: literals of the language, or plain texts.
    pub parameters: &'a HashMap<String, String>,
}

impl Question for Kql<'_> {
    fn bind(&self, catalog: &dyn Catalog) -> std::result::Result<Bound, Rejected> {
        let script = parse(self.text).map_err(|wrong| rejected(&wrong, self.text))?;
        bind(&script, catalog, self.parameters).map_err(|wrong| rejected(&wrong, self.text))
    }
}

/// A tree without a text.
impl Question for Script {
    fn bind(&self, catalog: &dyn Catalog) -> std::result::Result<Bound, Rejected> {
        bind(self, catalog, &HashMap::new()).map_err(|wrong| rejected(&wrong, ""))
    }
}

/// How a question is run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The instant, in ticks.
    pub now: i64,
    /// Memory and time; how many rows are enough, whoever takes them says.
    pub limits: Limits,
    /// Stops it from outside.
    pub cancel: Cancel,
    /// Who asks.
    pub by: By,
}

impl Warehouse {
    /// The columns of a question's result. Nothing is run.
    ///
    /// # Errors
    /// When it means nothing here, or has several results.
    pub fn describe(&self, question: &dyn Question, now: i64) -> std::result::Result<Arc<Schema>, Rejected> {
        deeply(|| {
            let bound = question.bind(&World::new(self, now, &By::default()))?;
            Ok(Arc::clone(&only(&bound)?.rel.schema))
        })
    }

    /// Calls for the rows of a question's one result until `sink` has enough, on a thread of the query's own.
    ///
    /// # Errors
    /// When it cannot be run, fails on the way, or has several results; and what the sink returns.
    pub fn each_chunk(
        &self,
        question: &dyn Question,
        run: &Run,
        sink: &mut (dyn FnMut(Chunk) -> Result<Flow> + Send),
    ) -> std::result::Result<(), Rejected> {
        deeply(|| {
            let world = World::new(self, run.now, &run.by);
            let bound = question.bind(&world)?;
            let result = only(&bound)?;
            let context = Context::new(run.now, run.limits, run.cancel.clone(), seed()).with_options(&bound.options);
            let context = context.with_principal(&run.by.principal);
            let session = Session::new(&bound, &world, &Arc::new(context));
            session.run(&result.rel, &Frame::default(), sink)?;
            Ok(())
        })
    }
}

/// The one result of a question.
fn only(bound: &Bound) -> std::result::Result<&ResultTable, Rejected> {
    let mut results = bound.queries.iter().flat_map(|query| &query.results);
    match (results.next(), results.next()) {
        (Some(only), None) if !only.rel.schema.open => Ok(only),
        (Some(_), None) => Err(Rejected::NotImplemented("a result whose columns are known only when it runs".into())),
        (None, _) => Err(Rejected::NotImplemented("a question without a result".into())),
        (Some(_), Some(_)) => Err(Rejected::NotImplemented("several results of one question".into())),
    }
}
