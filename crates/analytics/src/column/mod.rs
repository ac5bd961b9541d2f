//! Columns: the values of one name and type, one after the other, and what every operator does with them.
//!
//! A [`Column`] keeps values of one type in one vector, and beside it which of them are null; strings and dynamic
//! values keep that themselves (`""`, `Dynamic::Null`). Columns do not change once they are built: operators share
//! them (`Arc`) or build new ones with a [`Builder`].

mod builder;
mod cell;
mod later;
mod strings;

pub use builder::Builder;
pub use cell::{Cell, real_bits, total_order};
pub use strings::Strings;

use std::sync::{Arc, OnceLock};

use later::Later;

use gantry_kql::value::{DateTime, Decimal, Dynamic, Guid, TimeSpan, Type, Value};

/// A column that is shared.
pub type ColumnRef = Arc<Column>;

/// Values of one type.
#[derive(Debug, Clone)]
pub struct Column {
    ty: Type,
    data: Values,
    /// Which values are null; none of them when there is no vector. Never there for strings and dynamic values.
    nulls: Option<Vec<bool>>,
}

/// The vectors. Datetimes and timespans are ticks.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "named for the types of the language")]
pub enum Data {
    Bool(Vec<bool>),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Real(Vec<f64>),
    Decimal(Vec<Decimal>),
    Guid(Vec<u128>),
    String(Strings),
    Dynamic(Vec<Dynamic>),
}

/// Values that are there, texts of JSON that are read when somebody looks into them, or values that are read when
/// somebody looks at them.
#[derive(Debug, Clone)]
enum Values {
    Read(Data),
    Json(Strings, OnceLock<Data>),
    Later(Arc<Later>),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Data::Bool(values) => values.len(),
            Data::Int(values) => values.len(),
            Data::Long(values) => values.len(),
            Data::Real(values) => values.len(),
            Data::Decimal(values) => values.len(),
            Data::Guid(values) => values.len(),
            Data::String(values) => values.len(),
            Data::Dynamic(values) => values.len(),
        }
    }
}

impl Column {
    /// A column of values and which of them are null.
    ///
    /// # Panics
    /// When the vector is not one of the type, or the lengths differ.
    pub fn new(ty: Type, data: Data, nulls: Option<Vec<bool>>) -> Column {
        let fits = match ty {
            Type::Bool => matches!(data, Data::Bool(_)),
            Type::Int => matches!(data, Data::Int(_)),
            Type::Long | Type::DateTime | Type::TimeSpan => matches!(data, Data::Long(_)),
            Type::Real => matches!(data, Data::Real(_)),
            Type::Decimal => matches!(data, Data::Decimal(_)),
            Type::Guid => matches!(data, Data::Guid(_)),
            Type::String => matches!(data, Data::String(_)),
            Type::Dynamic | Type::Unknown => matches!(data, Data::Dynamic(_)),
        };
        assert!(fits, "a vector of {ty}");
        assert!(nulls.as_ref().is_none_or(|nulls| nulls.len() == data.len()), "a null mark for each value");
        let nulls = nulls.filter(|nulls| nulls.contains(&true) && !matches!(data, Data::String(_) | Data::Dynamic(_)));
        Column { ty, data: Values::Read(data), nulls }
    }

    /// A column of dynamic values, each a text of JSON; they are read when somebody looks into them.
    pub fn json(texts: Strings) -> Column {
        Column { ty: Type::Dynamic, data: Values::Json(texts, OnceLock::new()), nulls: None }
    }

    /// A column that is made when somebody looks at it.
    ///
    /// # Panics
    /// When it is made: if it has another type, or not so many rows.
    pub fn later(ty: Type, rows: usize, make: impl FnOnce() -> Column + Send + 'static) -> Column {
        let ty = if ty == Type::Unknown { Type::Dynamic } else { ty };
        Column { ty, data: Values::Later(Arc::new(Later::new(ty, rows, make))), nulls: None }
    }

    /// The column with its values, which are read if they were not yet.
    fn settled(&self) -> &Column {
        match &self.data {
            Values::Later(later) => later.get(),
            _ => self,
        }
    }

    /// Reads what is not read yet.
    pub fn settle(&self) {
        let _ = self.settled();
    }

    /// One value, many times.
    pub fn repeat(ty: Type, value: &Value, rows: usize) -> Column {
        let mut builder = Builder::new(ty, rows);
        if let (Type::String, Value::String(text)) = (ty, value) {
            return Column::new(ty, Data::String(Strings::repeat(text, rows)), None);
        }
        for _ in 0..rows {
            builder.push(value.clone());
        }
        builder.finish()
    }

    /// A column without a single value in it: `""` of strings, null of all else.
    pub fn absent(ty: Type, rows: usize) -> Column {
        let data = match ty {
            Type::Bool => Data::Bool(vec![false; rows]),
            Type::Int => Data::Int(vec![0; rows]),
            Type::Long | Type::DateTime | Type::TimeSpan => Data::Long(vec![0; rows]),
            Type::Real => Data::Real(vec![0.0; rows]),
            Type::Decimal => Data::Decimal(vec![Decimal::from(0); rows]),
            Type::Guid => Data::Guid(vec![0; rows]),
            Type::String => return Column::new(ty, Data::String(Strings::repeat("", rows)), None),
            Type::Dynamic | Type::Unknown => return Column::new(ty, Data::Dynamic(vec![Dynamic::Null; rows]), None),
        };
        Column::new(ty, data, Some(vec![true; rows]))
    }

    /// The type.
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        match &self.data {
            Values::Read(data) => data.len(),
            Values::Json(texts, _) => texts.len(),
            Values::Later(later) => later.rows(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vector.
    pub fn data(&self) -> &Data {
        match &self.data {
            Values::Read(data) => data,
            Values::Json(texts, read) => read.get_or_init(|| {
                Data::Dynamic(texts.iter().map(|text| Dynamic::parse_json(text).unwrap_or(Dynamic::Null)).collect())
            }),
            Values::Later(later) => later.get().data(),
        }
    }

    /// The texts of a column of JSON that nobody has looked into.
    pub fn texts(&self) -> Option<&Strings> {
        match &self.data {
            Values::Json(texts, _) => Some(texts),
            Values::Read(_) => None,
            Values::Later(later) => later.get().texts(),
        }
    }

    /// Null marks, when there are nulls and the type needs marks.
    pub fn nulls(&self) -> Option<&[bool]> {
        self.settled().nulls.as_deref()
    }

    /// The same values under another type of the same vector: ticks as longs and back.
    pub fn retyped(&self, ty: Type) -> Column {
        Column::new(ty, self.data().clone(), self.nulls().map(<[bool]>::to_vec))
    }

    /// Whether a value is null. Strings never are.
    pub fn is_null(&self, row: usize) -> bool {
        match self.data() {
            Data::Dynamic(values) => matches!(values[row], Dynamic::Null),
            _ => self.nulls().is_some_and(|nulls| nulls[row]),
        }
    }

    /// The value of a row, borrowed.
    pub fn cell(&self, row: usize) -> Cell<'_> {
        if self.nulls().is_some_and(|nulls| nulls[row]) {
            return Cell::Null;
        }
        match self.data() {
            Data::Bool(values) => Cell::Bool(values[row]),
            Data::Int(values) => Cell::Int(values[row]),
            Data::Long(values) => match self.ty {
                Type::DateTime => Cell::DateTime(values[row]),
                Type::TimeSpan => Cell::TimeSpan(values[row]),
                _ => Cell::Long(values[row]),
            },
            Data::Real(values) => Cell::Real(values[row]),
            Data::Decimal(values) => Cell::Decimal(values[row]),
            Data::Guid(values) => Cell::Guid(values[row]),
            Data::String(values) => Cell::String(values.get(row)),
            Data::Dynamic(values) => Cell::from(&values[row]),
        }
    }

    /// The value of a row.
    pub fn value(&self, row: usize) -> Value {
        self.cell(row).to_value()
    }

    /// The values at some rows, in their order.
    pub fn take(&self, rows: &[u32]) -> Column {
        fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|row| values[*row as usize]).collect()
        }
        match &self.data {
            Values::Json(texts, _) => return Column::json(texts.take(rows)),
            Values::Later(later) => {
                let Some(made) = later.made() else {
                    let (later, rows) = (Arc::clone(later), rows.to_vec());
                    return Column::later(self.ty, rows.len(), move || later.get().take(&rows));
                };
                return made.take(rows);
            }
            Values::Read(_) => {}
        }
        let data = match self.data() {
            Data::Bool(values) => Data::Bool(pick(values, rows)),
            Data::Int(values) => Data::Int(pick(values, rows)),
            Data::Long(values) => Data::Long(pick(values, rows)),
            Data::Real(values) => Data::Real(pick(values, rows)),
            Data::Decimal(values) => Data::Decimal(pick(values, rows)),
            Data::Guid(values) => Data::Guid(pick(values, rows)),
            Data::String(values) => Data::String(values.take(rows)),
            Data::Dynamic(values) => Data::Dynamic(rows.iter().map(|row| values[*row as usize].clone()).collect()),
        };
        Column::new(self.ty, data, self.nulls.as_ref().map(|nulls| pick(nulls, rows)))
    }

    /// A run of rows.
    pub fn slice(&self, from: usize, rows: usize) -> Column {
        let rows: Vec<u32> = (from as u32..(from + rows) as u32).collect();
        self.take(&rows)
    }

    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        let data = match &self.data {
            Values::Read(data) => data,
            Values::Json(texts, read) => return texts.size() * if read.get().is_some() { 4 } else { 1 },
            Values::Later(later) => return later.made().map_or(0, Column::size),
        };
        let values = match data {
            Data::Bool(values) => values.len(),
            Data::Int(values) => values.len() * 4,
            Data::Long(values) => values.len() * 8,
            Data::Real(values) => values.len() * 8,
            Data::Decimal(values) => values.len() * size_of::<Decimal>(),
            Data::Guid(values) => values.len() * 16,
            Data::String(values) => values.size(),
            Data::Dynamic(values) => values.iter().map(dynamic_size).sum(),
        };
        values + self.nulls.as_ref().map_or(0, Vec::len)
    }
}

/// About how many bytes a dynamic value holds.
pub fn dynamic_size(value: &Dynamic) -> usize {
    size_of::<Dynamic>()
        + match value {
            Dynamic::String(text) => text.len(),
            Dynamic::Array(items) => items.iter().map(dynamic_size).sum(),
            Dynamic::Bag(bag) => bag.iter().map(|(name, value)| 24 + name.len() + dynamic_size(value)).sum(),
            _ => 0,
        }
}

/// Where a row is among many columns of one schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which column.
    pub part: u32,
    /// Which row of it.
    pub row: u32,
}

impl Place {
    /// No row: an absent value takes its place.
    pub const NOWHERE: Place = Place { part: u32::MAX, row: 0 };
}

/// Gathers values from several columns of one type.
pub fn gather(ty: Type, parts: &[&Column], places: &[Place]) -> Column {
    if let [only] = parts
        && !places.contains(&Place::NOWHERE)
    {
        let rows: Vec<u32> = places.iter().map(|place| place.row).collect();
        return only.take(&rows);
    }
    // Texts of JSON stay as they were written.
    let texts: Option<Vec<&Strings>> = parts.iter().map(|part| part.texts()).collect();
    if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
        let mut gathered = Strings::with_capacity(places.len());
        for place in places {
            gathered.push(texts.get(place.part as usize).map_or("null", |texts| texts.get(place.row as usize)));
        }
        return Column::json(gathered);
    }
    let mut builder = Builder::new(ty, places.len());
    for place in places {
        match parts.get(place.part as usize) {
            Some(part) => builder.push_cell(part.cell(place.row as usize)),
            None => builder.push_absent(),
        }
    }
    builder.finish()
}

impl From<Vec<i64>> for Column {
    fn from(values: Vec<i64>) -> Column {
        Column::new(Type::Long, Data::Long(values), None)
    }
}

impl From<Vec<f64>> for Column {
    fn from(values: Vec<f64>) -> Column {
        Column::new(Type::Real, Data::Real(values), None)
    }
}

impl From<Vec<bool>> for Column {
    fn from(values: Vec<bool>) -> Column {
        Column::new(Type::Bool, Data::Bool(values), None)
    }
}

impl From<Vec<Dynamic>> for Column {
    fn from(values: Vec<Dynamic>) -> Column {
        Column::new(Type::Dynamic, Data::Dynamic(values), None)
    }
}

/// What a value of each type looks like as a [`Value`].
pub(crate) fn ticks_value(ty: Type, ticks: i64) -> Value {
    match ty {
        Type::DateTime => Value::DateTime(DateTime(ticks)),
        Type::TimeSpan => Value::TimeSpan(TimeSpan(ticks)),
        _ => Value::Long(ticks),
    }
}

/// A guid of its bits.
pub(crate) fn guid_value(bits: u128) -> Value {
    Value::Guid(Guid(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_gives_back_what_was_put_in() {
        let mut builder = Builder::new(Type::Long, 3);
        builder.push(Value::Long(1));
        builder.push(Value::Null);
        builder.push(Value::Int(3));
        let column = builder.finish();
        assert_eq!(
            (0..3).map(|row| column.value(row)).collect::<Vec<_>>(),
            [Value::Long(1), Value::Null, Value::Long(3)]
        );
        assert_eq!(column.take(&[2, 0]).nulls(), None);
        assert!(column.slice(1, 2).is_null(0));
    }

    #[test]
    fn gathering_reaches_across_columns_and_to_nowhere() {
        let (left, right) =
            (Column::repeat(Type::String, &Value::String("a".into()), 2), Column::absent(Type::String, 1));
        let places = [Place { part: 0, row: 1 }, Place::NOWHERE, Place { part: 1, row: 0 }];
        let all = gather(Type::String, &[&left, &right], &places);
        assert_eq!((all.value(0), all.value(1)), (Value::String("a".into()), Value::String(String::new())));
        let numbers = gather(Type::Real, &[&Column::from(vec![1.5])], &[Place::NOWHERE]);
        assert_eq!(numbers.value(0), Value::Null);
    }
}
