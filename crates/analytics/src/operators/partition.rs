//! `partition by`: a query of its own for each key.

use std::sync::Arc;

use gantry_kql::bound::{Expr, Rel};

use super::basic::whole;
use super::{Flow, Sink};
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Outer, Program};
use crate::groups::Groups;

/// Keys that there may be (the reference's bound of its native strategy).
const KEYS_MAX: usize = 1_000_000;

impl Session<'_> {
    pub(super) fn partition(&self, input: &Rel, key: &Expr, body: &Rel, frame: &Frame, sink: Sink) -> Result<Flow> {
        let chunk = whole(&input.schema, self.collect(input, frame, "partition")?);
        let program = Program::compile(key, self)?;
        let mut groups = Groups::new(vec![program.ty()]);
        let of_rows = groups.of_rows(&[program.eval(&chunk, self.context())?], chunk.rows);
        if groups.len() > KEYS_MAX {
            return Err(Error::TooManyRows { operator: "partition", limit: KEYS_MAX as u64 });
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); groups.len()];
        of_rows.iter().enumerate().for_each(|(row, group)| rows[*group as usize].push(row as u32));
        let mut enough = Flow::More;
        let keys = groups.columns().remove(0);
        for (group, rows) in rows.into_iter().enumerate() {
            let inner = Frame { input: Some(Arc::new(vec![chunk.take(&rows)])) };
            self.partition_keys.borrow_mut().push(keys.value(group));
            let ran = self.run(body, &inner, &mut |made| {
                enough = sink(made)?;
                Ok(enough)
            });
            self.partition_keys.borrow_mut().pop();
            ran?;
            if enough == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }
}
