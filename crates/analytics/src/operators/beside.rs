//! Several threads over one table: each reads pieces of it and works on their rows, as far as one row at a time goes.
//!
//! Which thread reads which piece depends on their numbers alone, so a query over the same pieces adds up in the same
//! order each time.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gantry_kql::bound::{Expr, Rel, RelKind, Schema};

use super::basic::project_chunk;
use super::join::Probe;
use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::context::Context;
use crate::engine::{Frame, Part, Session};
use crate::error::{Error, Result};
use crate::expression::{Outer, Program, compile_all};
use crate::warehouse::STACK_BYTES;

/// Threads of one query.
const THREADS_MAX: usize = 8;

/// The table whose rows an operator looks at one at a time.
fn table_under(rel: &Rel) -> Option<&Rel> {
    match &rel.kind {
        RelKind::Table { .. } => Some(rel),
        RelKind::Where { input, predicate } if !predicate.has_window() => table_under(input),
        RelKind::Project { input, values } if !values.iter().any(Expr::has_window) => table_under(input),
        RelKind::Join { kind, left, .. } if Probe::is_by_row(*kind) => table_under(left),
        _ => None,
    }
}

/// What is done with each row of a table.
enum Step<'r> {
    Filter(Program),
    Project(Vec<Program>, &'r Schema),
    Join(Box<Probe<'r>>),
}

/// Hands on what steps make of rows.
fn through(steps: &[Step], chunk: Chunk, context: &Context, sink: Sink) -> Result<Flow> {
    let Some((step, rest)) = steps.split_first() else { return sink(chunk) };
    match step {
        Step::Filter(program) => {
            let rows = program.eval(&chunk, context)?.true_rows(chunk.rows);
            match rows.len() {
                0 => Ok(Flow::More),
                all if all == chunk.rows => through(rest, chunk, context, sink),
                _ => through(rest, chunk.take(&rows), context, sink),
            }
        }
        Step::Project(programs, schema) => {
            through(rest, project_chunk(context, schema, programs, &chunk)?, context, sink)
        }
        Step::Join(probe) => probe.each(&chunk, context, &mut |joined| through(rest, joined, context, sink)),
    }
}

impl Session<'_> {
    /// The steps from a table to an operator, if there are no others.
    fn way<'r>(&self, rel: &'r Rel, frame: &Frame) -> Result<Option<Vec<Step<'r>>>> {
        let mut steps = Vec::new();
        let mut at = rel;
        loop {
            match &at.kind {
                RelKind::Table { .. } => {
                    steps.reverse();
                    return Ok(Some(steps));
                }
                RelKind::Join { kind, left, right, on, .. } => {
                    steps.push(Step::Join(Box::new(self.probe(*kind, right, on, frame)?)));
                    at = left;
                }
                RelKind::Where { input, predicate } if !predicate.has_window() => {
                    steps.push(Step::Filter(Program::compile(predicate, self)?));
                    at = input;
                }
                RelKind::Project { input, values } if !values.iter().any(Expr::has_window) => {
                    steps.push(Step::Project(compile_all(values, self)?, &at.schema));
                    at = input;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Feeds the rows of an operator into as many states as there are threads for it; nothing is done and none come
    /// back where it is no work for several.
    pub(crate) fn beside<S: Send>(
        &self,
        rel: &Rel,
        frame: &Frame,
        begin: impl Fn() -> Result<S> + Sync,
        feed: impl Fn(&mut S, Chunk) -> Result<()> + Sync,
    ) -> Result<Option<Vec<S>>> {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        if threads < 2 {
            return Ok(None);
        }
        let Some(table) = table_under(rel) else { return Ok(None) };
        let RelKind::Table { database, name } = &table.kind else { return Ok(None) };
        let (need, context) = (self.need_of(table), &**self.context());
        let parts = self.tables.parts(database, name, &need, context)?;
        let threads = threads.min(parts.len());
        if threads < 2 {
            return Ok(None);
        }
        let Some(steps) = self.way(rel, frame)? else { return Ok(None) };
        let mut shares: Vec<Vec<Part>> = (0..threads).map(|_| Vec::new()).collect();
        for (at, part) in parts.into_iter().enumerate() {
            shares[at % threads].push(part);
        }
        let is_over = AtomicBool::new(false);
        let work = |share: Vec<Part<'_>>| {
            let mut state = begin()?;
            for part in share {
                let flow = part(&mut |chunk| {
                    context.check()?;
                    context.note_read(chunk.rows);
                    if is_over.load(Ordering::Relaxed) {
                        return Ok(Flow::Enough);
                    }
                    through(&steps, chunk, context, &mut |chunk| feed(&mut state, chunk).map(|()| Flow::More))
                })?;
                if flow == Flow::Enough {
                    break;
                }
            }
            Ok(state)
        };
        let work = &|share| work(share).inspect_err(|_| is_over.store(true, Ordering::Relaxed));
        let states = thread::scope(|scope| {
            let mut running = Vec::with_capacity(shares.len());
            for share in shares {
                let thread = thread::Builder::new().name("query".into()).stack_size(STACK_BYTES);
                running.push(thread.spawn_scoped(scope, move || work(share)));
            }
            let failed = || Error::Evaluation("the query ended without an answer".into());
            let end = |begun: std::io::Result<thread::ScopedJoinHandle<'_, Result<S>>>| {
                begun.map_err(|_| failed())?.join().map_err(|_| failed())?
            };
            running.into_iter().map(end).collect::<Vec<_>>()
        });
        states.into_iter().collect::<Result<Vec<_>>>().map(Some)
    }
}
