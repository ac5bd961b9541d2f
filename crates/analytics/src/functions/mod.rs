//! The scalar functions, by the families of the reference's documentation.
//!
//! A function takes the cells of one row and gives a value; the few that are worth it work on whole columns. Which
//! arguments a function takes and what it returns the binder has settled: an argument whose parameter has a type has
//! that type. What a function answers to null is part of it: a *strict* one gives null (`""` where it returns text)
//! without being asked.

mod bits;
mod conditions;
mod conversions;
mod datetimes;
mod dynamics;
mod encodings;
mod geo;
mod hashes;
mod math;
mod network;
mod series;
mod sketches;
mod sql;
mod strings;
mod units;

pub use hashes::hash_cell;
pub use math::bin_one;

use std::collections::HashMap;
use std::sync::OnceLock;

use gantry_kql::value::{Type, Value};

use crate::column::Cell;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::{Datum, rowwise};

/// What a function knows beside its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The query it runs in.
    pub context: &'a Context,
    /// The type of what it returns.
    pub ty: Type,
}

/// How a function works.
#[derive(Debug, Clone, Copy)]
pub enum Implementation {
    /// Null when an argument is.
    Strict(fn(&[Cell], &Call) -> Value),
    /// Asked whatever the arguments are.
    Lax(fn(&[Cell], &Call) -> Value),
    /// May end the query.
    Fallible(fn(&[Cell], &Call) -> Result<Value>),
    /// A new value for each row, even without arguments.
    Random(fn(&[Cell], &Call) -> Value),
    /// Over whole columns.
    Columns(fn(&[Datum], usize, &Call) -> Result<Datum>),
}

impl Implementation {
    /// Whether two calls with the same arguments may differ.
    pub fn is_random(&self) -> bool {
        matches!(self, Implementation::Random(_))
    }

    /// Works it out for all rows.
    pub fn eval(&self, arguments: &[Datum], ty: Type, rows: usize, context: &Context) -> Result<Datum> {
        let call = Call { context, ty };
        Ok(match self {
            Implementation::Strict(f) => rowwise(arguments, ty, rows, |cells| {
                if cells.iter().any(|cell| cell.is_null()) { Value::absent(ty) } else { f(cells, &call) }
            }),
            Implementation::Lax(f) => rowwise(arguments, ty, rows, |cells| f(cells, &call)),
            Implementation::Fallible(f) => {
                let mut failed = None;
                let worked = rowwise(arguments, ty, rows, |cells| match f(cells, &call) {
                    Ok(value) => value,
                    Err(error) => {
                        failed.get_or_insert(error);
                        Value::Null
                    }
                });
                match failed {
                    Some(error) => return Err(error),
                    None => worked,
                }
            }
            Implementation::Random(f) => {
                let mut builder = crate::column::Builder::new(ty, rows);
                for row in 0..rows {
                    let cells: Vec<Cell> = arguments.iter().map(|argument| argument.cell(row)).collect();
                    builder.push(f(&cells, &call));
                }
                Datum::Many(std::sync::Arc::new(builder.finish()))
            }
            Implementation::Columns(f) => f(arguments, rows, &call)?,
        })
    }
}

/// A function by its name.
pub fn find(name: &str) -> Result<Implementation> {
    static TABLE: OnceLock<HashMap<&str, Implementation>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let families = [
            bits::FUNCTIONS,
            conditions::FUNCTIONS,
            conversions::FUNCTIONS,
            datetimes::FUNCTIONS,
            dynamics::FUNCTIONS,
            encodings::FUNCTIONS,
            geo::FUNCTIONS,
            hashes::FUNCTIONS,
            math::FUNCTIONS,
            network::FUNCTIONS,
            series::FUNCTIONS,
            sketches::FUNCTIONS,
            strings::FUNCTIONS,
            units::FUNCTIONS,
        ];
        families.iter().chain(sql::TABLES).copied().flatten().copied().collect()
    });
    table.get(name).copied().ok_or_else(|| Error::NotImplemented(format!("{name}()")))
}

/// A table of functions.
type Family = &'static [(&'static str, Implementation)];

/// Short for a value or null.
fn or_null<T>(value: Option<T>, make: impl Fn(T) -> Value) -> Value {
    value.map_or(Value::Null, make)
}

fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}
