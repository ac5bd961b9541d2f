//! `evaluate predict_onnx(model, features, column)`: a column of what a model says of each row.

use std::sync::Arc;

use gantry_kql::bound::{Argument, Rel};
use gantry_kql::value::{Dynamic, Type};

use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Builder, Cell, Column};
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer as _, cast};
use crate::models::{Features, Scores};

fn wrong<T>(words: impl std::fmt::Display) -> Result<T> {
    Err(Error::Evaluation(format!("predict_onnx(): {words}")))
}

impl Session<'_> {
    pub(super) fn predict(&self, input: &Rel, arguments: &[Argument], frame: &Frame, sink: Sink) -> Result<Flow> {
        let columns = &input.schema.columns;
        let place = |name: &str| match columns.iter().position(|column| *column.name == *name) {
            Some(at) => Ok(at),
            None => wrong(format!("the rows have no column `{name}`")),
        };
        let text = |at: usize| -> Result<String> {
            let value = self.constant(arguments.get(at))?;
            Ok(value.map(|value| Cell::from(&value).text().into_owned()).unwrap_or_default())
        };
        let names = match self.constant(arguments.get(1))? {
            Some(value) => {
                Cell::from(&value).array().unwrap_or_default().iter().map(named).collect::<Result<Vec<_>>>()?
            }
            None => Vec::new(),
        };
        if names.is_empty() {
            return wrong("the features must be an array of names of columns");
        }
        let features = names.iter().map(|name| place(name)).collect::<Result<Vec<_>>>()?;
        for at in &features {
            if !matches!(columns[*at].ty, Type::Bool | Type::Int | Type::Long | Type::Real | Type::Decimal) {
                return wrong(format!("the feature `{}` is no number but a {}", columns[*at].name, columns[*at].ty));
            }
        }
        let into = place(&text(2)?)?;
        let ty = columns[into].ty;
        let model = match bytes(&text(0)?) {
            Some(model) => model,
            None => return wrong("the model must be ONNX as hexadecimal digits; is there one of this name?"),
        };
        self.run(input, frame, &mut |chunk| {
            let features = self.features(&chunk, &features)?;
            let scores = self.tables.predict(&model, &features, self.context())?;
            let scores = column(scores);
            let from = scores.ty();
            let scored = cast(Datum::Many(Arc::new(scores)), from, ty, chunk.rows);
            let mut columns = chunk.columns.clone();
            columns[into] = scored.into_column(ty, chunk.rows);
            sink(Chunk::new(columns, chunk.rows))
        })
    }

    fn features(&self, chunk: &Chunk, places: &[usize]) -> Result<Features> {
        let mut values = Vec::with_capacity(chunk.rows * places.len());
        for row in 0..chunk.rows {
            values.extend(places.iter().map(|at| {
                // Models of the field are asked with 32 bits; what is null is no number.
                chunk.columns[*at].cell(row).real().map_or(f32::NAN, |value| value as f32)
            }));
        }
        Ok(Features { columns: places.len(), values })
    }
}

fn column(scores: Scores) -> Column {
    match scores {
        Scores::Numbers(values) => Column::from(values),
        Scores::Whole(values) => Column::from(values),
        Scores::Flags(values) => Column::from(values),
        Scores::Texts(values) => {
            let mut builder = Builder::new(Type::String, values.len());
            values.iter().for_each(|text| builder.push_cell(Cell::String(text)));
            builder.finish()
        }
    }
}

fn named(name: &Dynamic) -> Result<String> {
    match name {
        Dynamic::String(name) => Ok(name.to_string()),
        other => wrong(format!("a feature is the name of a column, not {other}")),
    }
}

/// The bytes of hexadecimal digits; nothing when they are none.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8; 2]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(pair).collect::<Option<_>>()?;
    (rest.is_empty() && !bytes.is_empty()).then_some(bytes)
}
