//! `in`, `!in`, `in~`, `!in~`, `has_any`, `has_all`.

use std::collections::HashSet;

use gantry_kql::bound::In;
use gantry_kql::value::{Dynamic, Type, Value};

use super::{Datum, Program, rowwise};
use crate::chunk::Chunk;
use crate::column::Cell;
use crate::context::Context;
use crate::error::Result;
use crate::text::{Match, Needle, fold};

/// A list to hold values against. When its values are the same for all rows they are prepared once.
#[derive(Debug)]
pub struct Membership {
    op: In,
    values: Vec<Program>,
    prepared: Option<Prepared>,
}

#[derive(Debug)]
enum Prepared {
    /// Texts as they are, or folded.
    Texts { texts: HashSet<String>, others: Vec<Value>, folded: bool },
    /// Texts whose terms are looked for.
    Needles(Vec<Needle>),
}

impl Membership {
    /// Prepares a list.
    pub fn new(op: In, values: Vec<Program>) -> Membership {
        let constants: Option<Vec<&Value>> = values.iter().map(Program::constant).collect();
        let prepared = constants.map(|constants| Prepared::new(op, constants.into_iter().map(Cell::from)));
        Membership { op, values, prepared }
    }

    /// Whether the list is the same for all rows.
    pub fn is_foldable(&self) -> bool {
        self.prepared.is_some()
    }

    /// Tests every row.
    pub fn eval(&self, value: Datum, chunk: &Chunk, context: &Context) -> Result<Datum> {
        if let Some(prepared) = &self.prepared {
            if let Datum::Many(column) = &value
                && let crate::column::Data::String(texts) = column.data()
            {
                let flags = texts.map(|text| prepared.holds(self.op, Cell::String(text)) == Some(true));
                return Ok(Datum::Many(std::sync::Arc::new(crate::column::Column::from(flags))));
            }
            return Ok(rowwise(&[value], Type::Bool, chunk.rows, |cells| {
                prepared.holds(self.op, cells[0]).map_or(Value::Null, Value::Bool)
            }));
        }
        let mut arguments = vec![value];
        for one in &self.values {
            arguments.push(one.eval(chunk, context)?);
        }
        Ok(rowwise(&arguments, Type::Bool, chunk.rows, |cells| {
            let prepared = Prepared::new(self.op, cells[1..].iter().copied());
            prepared.holds(self.op, cells[0]).map_or(Value::Null, Value::Bool)
        }))
    }
}

impl Prepared {
    fn new<'a>(op: In, cells: impl Iterator<Item = Cell<'a>>) -> Prepared {
        // A dynamic array stands for its elements.
        let mut flat: Vec<Value> = Vec::new();
        for cell in cells {
            match cell {
                Cell::Dynamic(Dynamic::Array(items)) => {
                    flat.extend(items.iter().map(|item| Cell::from(item).to_value()))
                }
                cell => flat.push(cell.to_value()),
            }
        }
        if matches!(op, In::HasAny | In::HasAll) {
            let needles = flat.iter().map(|value| Needle::new(Match::Has, false, &Cell::from(value).text()));
            return Prepared::Needles(needles.collect());
        }
        let folded = matches!(op, In::InNoCase | In::NotInNoCase);
        let (mut texts, mut others) = (HashSet::new(), Vec::new());
        for value in flat {
            match value {
                Value::String(text) if folded => drop(texts.insert(fold(&text).into_owned())),
                Value::String(text) => drop(texts.insert(text)),
                other => others.push(other),
            }
        }
        Prepared::Texts { texts, others, folded }
    }

    fn holds(&self, op: In, value: Cell) -> Option<bool> {
        match self {
            Prepared::Needles(needles) => {
                let text = value.text();
                let mut found = needles.iter().map(|needle| needle.matches(&text));
                Some(if op == In::HasAll { found.all(|found| found) } else { found.any(|found| found) })
            }
            Prepared::Texts { texts, others, folded } => {
                let negated = matches!(op, In::NotIn | In::NotInNoCase);
                let found = match value {
                    Cell::Null => return None,
                    Cell::String(text) if *folded => texts.contains(&*fold(text)),
                    Cell::String(text) => texts.contains(text),
                    _ => false,
                };
                let found = found
                    || others.iter().any(|other| value.equals(Cell::from(other)) == Some(true))
                    || (!matches!(value, Cell::String(_))
                        && texts.iter().any(|text| value.equals(Cell::String(text)) == Some(true)));
                Some(found != negated)
            }
        }
    }
}
