//! `case` of SQL: a value is worked out for the rows that choose it and for no others, so that what guards a division
//! guards it.

use super::{Datum, Program};
use crate::chunk::Chunk;
use crate::column::{Builder, Cell};
use crate::context::Context;
use crate::error::Result;
use gantry_kql::value::Type;
use std::sync::Arc;

/// Pairs of condition and value, then the value for all other rows.
pub fn eval(parts: &[Program], ty: Type, chunk: &Chunk, context: &Context) -> Result<Datum> {
    let (pairs, other) = parts.as_chunks::<2>();
    let mut left: Vec<u32> = (0..chunk.rows as u32).collect();
    let mut rest = chunk.clone();
    // Which value each row has, and where in it.
    let mut chosen: Vec<(usize, u32)> = vec![(usize::MAX, 0); chunk.rows];
    let mut values: Vec<Datum> = Vec::new();
    for [condition, value] in pairs {
        if left.is_empty() {
            break;
        }
        let hits = condition.eval(&rest, context)?.true_rows(rest.rows);
        if hits.is_empty() {
            continue;
        }
        let whole = hits.len() == rest.rows;
        let part = if whole { rest.clone() } else { rest.take(&hits) };
        values.push(value.eval(&part, context)?);
        for (place, hit) in hits.iter().enumerate() {
            chosen[left[*hit as usize] as usize] = (values.len() - 1, place as u32);
        }
        if whole {
            left.clear();
            break;
        }
        let mut hit = hits.iter().peekable();
        let misses: Vec<u32> = (0..rest.rows as u32).filter(|row| hit.next_if_eq(&row).is_none()).collect();
        left = misses.iter().map(|row| left[*row as usize]).collect();
        rest = rest.take(&misses);
    }
    if let ([other], false) = (other, left.is_empty()) {
        values.push(other.eval(&rest, context)?);
        for (place, row) in left.iter().enumerate() {
            chosen[*row as usize] = (values.len() - 1, place as u32);
        }
    }
    let mut builder = Builder::new(ty, chunk.rows);
    for (value, place) in chosen {
        match values.get(value) {
            Some(value) => match value.cell(place as usize) {
                Cell::Null => builder.push_absent(),
                cell => builder.push_cell(cell),
            },
            None => builder.push_absent(),
        }
    }
    Ok(Datum::Many(Arc::new(builder.finish())))
}
