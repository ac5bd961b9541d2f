//! Building a column value by value.

use gantry_kql::value::{Decimal, Dynamic, Type, Value};

use super::{Cell, Column, Data, Strings};

/// A column while it grows. A value that is not of the type becomes null (`""` of strings), but whole numbers widen
/// to long, real and decimal, and anything may become dynamic.
#[derive(Debug)]
pub struct Builder {
    ty: Type,
    data: Data,
    nulls: Vec<bool>,
    any_null: bool,
}

impl Builder {
    /// An empty column of a type, with room for some rows.
    pub fn new(ty: Type, rows: usize) -> Builder {
        let data = match ty {
            Type::Bool => Data::Bool(Vec::with_capacity(rows)),
            Type::Int => Data::Int(Vec::with_capacity(rows)),
            Type::Long | Type::DateTime | Type::TimeSpan => Data::Long(Vec::with_capacity(rows)),
            Type::Real => Data::Real(Vec::with_capacity(rows)),
            Type::Decimal => Data::Decimal(Vec::with_capacity(rows)),
            Type::Guid => Data::Guid(Vec::with_capacity(rows)),
            Type::String => Data::String(Strings::with_capacity(rows)),
            Type::Dynamic | Type::Unknown => Data::Dynamic(Vec::with_capacity(rows)),
        };
        Builder { ty, data, nulls: Vec::new(), any_null: false }
    }

    /// The type of its values.
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a value.
    pub fn push(&mut self, value: Value) {
        match (&mut self.data, value) {
            (Data::String(values), Value::String(text)) => values.push(&text),
            (Data::Dynamic(values), value) => values.push(value.into_dynamic()),
            (_, value) => self.push_cell(Cell::from(&value)),
        }
    }

    /// Adds a value that is borrowed.
    pub fn push_cell(&mut self, cell: Cell) {
        let ty = self.ty;
        let pushed = match (&mut self.data, cell) {
            (Data::Dynamic(values), cell) => {
                values.push(cell.to_dynamic());
                return;
            }
            (Data::String(values), Cell::String(text)) => {
                values.push(text);
                return;
            }
            (Data::Bool(values), Cell::Bool(value)) => put(values, value),
            (Data::Int(values), Cell::Int(value)) => put(values, value),
            (Data::Int(values), Cell::Long(value)) => i32::try_from(value).is_ok_and(|value| put(values, value)),
            (Data::Long(values), Cell::Long(value)) if ty == Type::Long => put(values, value),
            (Data::Long(values), Cell::Int(value)) if ty == Type::Long => put(values, i64::from(value)),
            (Data::Long(values), Cell::DateTime(value)) if ty == Type::DateTime => put(values, value),
            (Data::Long(values), Cell::TimeSpan(value)) if ty == Type::TimeSpan => put(values, value),
            (Data::Real(values), Cell::Real(value)) => put(values, value),
            (Data::Real(values), Cell::Long(value)) => put(values, value as f64),
            (Data::Real(values), Cell::Int(value)) => put(values, f64::from(value)),
            (Data::Real(values), Cell::Decimal(value)) => put(values, value.to_real()),
            (Data::Decimal(values), Cell::Decimal(value)) => put(values, value),
            (Data::Decimal(values), Cell::Long(value)) => put(values, Decimal::from(value)),
            (Data::Decimal(values), Cell::Int(value)) => put(values, Decimal::from(i64::from(value))),
            (Data::Guid(values), Cell::Guid(value)) => put(values, value),
            _ => false,
        };
        if pushed {
            self.mark(false);
        } else {
            self.push_absent();
        }
    }

    /// Adds the absent value: `""` of strings, null of all else.
    pub fn push_absent(&mut self) {
        match &mut self.data {
            Data::Bool(values) => values.push(false),
            Data::Int(values) => values.push(0),
            Data::Long(values) => values.push(0),
            Data::Real(values) => values.push(0.0),
            Data::Decimal(values) => values.push(Decimal::from(0)),
            Data::Guid(values) => values.push(0),
            Data::String(values) => return values.push(""),
            Data::Dynamic(values) => return values.push(Dynamic::Null),
        }
        self.mark(true);
    }

    /// Null marks begin with the first null: most columns have none.
    fn mark(&mut self, null: bool) {
        if null && !self.any_null {
            self.any_null = true;
            self.nulls.resize(self.data.len() - 1, false);
        }
        if self.any_null {
            self.nulls.push(null);
        }
    }

    /// The column.
    pub fn finish(self) -> Column {
        Column::new(self.ty, self.data, self.any_null.then_some(self.nulls))
    }
}

fn put<T>(values: &mut Vec<T>, value: T) -> bool {
    values.push(value);
    true
}
