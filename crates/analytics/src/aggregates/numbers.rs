//! `count`, `sum`, `avg`, `min`, `max` over numbers and ticks, with states in vectors.

use std::any::Any;

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::Type;

use super::{Accumulator, Input};
use crate::column::{Column, Data};
use crate::expression::Datum;

/// The accumulator of an aggregate, if it is one of these.
pub fn accumulator(name: &str, types: &[Type], ty: Type) -> Option<Box<dyn Accumulator>> {
    let of = types.first().copied();
    let ticks = matches!(of, Some(Type::Long | Type::Int | Type::DateTime | Type::TimeSpan | Type::Bool));
    Some(match (name, of) {
        ("count", _) => Box::new(Count::default()),
        ("sum", Some(Type::Real)) => Box::new(Fold::<f64>::new(Kind::Sum)),
        ("sum", Some(Type::Long | Type::Int | Type::TimeSpan | Type::Bool)) => Box::new(Fold::<i64>::new(Kind::Sum)),
        ("min", Some(Type::Real)) => Box::new(Fold::<f64>::new(Kind::Min)),
        ("max", Some(Type::Real)) => Box::new(Fold::<f64>::new(Kind::Max)),
        ("min", _) if ticks => Box::new(Fold::<i64>::new(Kind::Min)),
        ("max", _) if ticks => Box::new(Fold::<i64>::new(Kind::Max)),
        ("avg", Some(Type::Real)) => Box::new(Fold::<f64>::new(Kind::Mean)),
        ("avg", Some(Type::Long | Type::Int)) if ty == Type::Real => Box::new(Fold::<f64>::new(Kind::Mean)),
        _ => return None,
    })
}

/// `count()`.
#[derive(Debug, Default)]
struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn feed(&mut self, input: &Input) {
        input.each(|_, group| self.counts[group] += 1);
    }

    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn merge(&mut self, other: Box<dyn Accumulator>, map: &[u32]) {
        let Ok(other) = other.into_any().downcast::<Count>() else { unreachable!("states of one aggregate") };
        other.counts.iter().zip(map).for_each(|(count, group)| self.counts[*group as usize] += count);
    }

    fn finish(self: Box<Self>, _: &[SchemaColumn]) -> Vec<Column> {
        vec![Column::from(self.counts)]
    }

    fn size(&self) -> usize {
        self.counts.len() * 8
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Min,
    Max,
    Mean,
}

/// A number that folds.
trait Number: Copy + Default + Send + 'static {
    fn add(self, other: Self) -> Self;
    fn is_less(self, other: Self) -> bool;
    fn is_nothing(self) -> bool;
    /// Calls for each value of a column of the type that is there.
    fn each(datum: &Datum, input: &Input, f: impl FnMut(usize, Self));
    fn mean(self, count: i64) -> f64;
    fn column(values: Vec<Self>, nulls: Option<Vec<bool>>, ty: Type) -> Column;
}

impl Number for f64 {
    fn add(self, other: f64) -> f64 {
        self + other
    }

    fn is_less(self, other: f64) -> bool {
        self < other
    }

    fn is_nothing(self) -> bool {
        self.is_nan()
    }

    fn each(datum: &Datum, input: &Input, mut f: impl FnMut(usize, f64)) {
        if let Datum::Many(column) = datum {
            match (column.data(), column.nulls()) {
                (Data::Real(values), None) => return input.each(|row, group| f(group, values[row])),
                (Data::Long(values), None) => return input.each(|row, group| f(group, values[row] as f64)),
                (Data::Real(values), Some(nulls)) => {
                    return input.each(|row, group| {
                        if !nulls[row] {
                            f(group, values[row]);
                        }
                    });
                }
                _ => {}
            }
        }
        input.each(|row, group| {
            if let Some(value) = datum.cell(row).real() {
                f(group, value);
            }
        });
    }

    fn mean(self, count: i64) -> f64 {
        self / count as f64
    }

    fn column(values: Vec<f64>, nulls: Option<Vec<bool>>, ty: Type) -> Column {
        debug_assert_eq!(ty, Type::Real);
        Column::new(Type::Real, Data::Real(values), nulls)
    }
}

impl Number for i64 {
    fn add(self, other: i64) -> i64 {
        self.wrapping_add(other)
    }

    fn is_less(self, other: i64) -> bool {
        self < other
    }

    fn is_nothing(self) -> bool {
        false
    }

    fn each(datum: &Datum, input: &Input, mut f: impl FnMut(usize, i64)) {
        if let Datum::Many(column) = datum {
            match (column.data(), column.nulls()) {
                (Data::Long(values), None) => return input.each(|row, group| f(group, values[row])),
                (Data::Long(values), Some(nulls)) => {
                    return input.each(|row, group| {
                        if !nulls[row] {
                            f(group, values[row]);
                        }
                    });
                }
                _ => {}
            }
        }
        input.each(|row, group| {
            if let Some(value) = datum.cell(row).long() {
                f(group, value);
            }
        });
    }

    fn mean(self, count: i64) -> f64 {
        self as f64 / count as f64
    }

    fn column(values: Vec<i64>, nulls: Option<Vec<bool>>, ty: Type) -> Column {
        let data = match ty {
            Type::Int => Data::Int(values.into_iter().map(|value| value as i32).collect()),
            Type::Bool => Data::Bool(values.into_iter().map(|value| value != 0).collect()),
            _ => Data::Long(values),
        };
        Column::new(ty, data, nulls)
    }
}

/// One number and one count a group.
#[derive(Debug)]
struct Fold<T> {
    kind: Kind,
    values: Vec<T>,
    counts: Vec<i64>,
}

impl<T: Number> Fold<T> {
    fn new(kind: Kind) -> Fold<T> {
        Fold { kind, values: Vec::new(), counts: Vec::new() }
    }

    fn take(&mut self, group: usize, value: T, count: i64) {
        let held = &mut self.values[group];
        match self.kind {
            Kind::Sum | Kind::Mean => *held = held.add(value),
            _ if self.counts[group] == 0 => *held = value,
            Kind::Min if value.is_less(*held) || held.is_nothing() => *held = value,
            Kind::Max if held.is_less(value) || held.is_nothing() => *held = value,
            _ => {}
        }
        self.counts[group] += count;
    }
}

impl<T: Number> Accumulator for Fold<T> {
    fn feed(&mut self, input: &Input) {
        T::each(&input.arguments[0], input, |group, value| self.take(group, value, 1));
    }

    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, T::default());
        self.counts.resize(groups, 0);
    }

    fn merge(&mut self, other: Box<dyn Accumulator>, map: &[u32]) {
        let Ok(other) = other.into_any().downcast::<Fold<T>>() else { unreachable!("states of one aggregate") };
        for ((value, count), group) in other.values.iter().zip(&other.counts).zip(map) {
            if *count > 0 {
                self.take(*group as usize, *value, *count);
            }
        }
    }

    fn finish(self: Box<Self>, columns: &[SchemaColumn]) -> Vec<Column> {
        let ty = columns[0].ty;
        let nulls = || Some(self.counts.iter().map(|count| *count == 0).collect());
        vec![match self.kind {
            // The sum of nothing is zero; the mean, the least and the greatest of nothing are null.
            Kind::Sum => T::column(self.values, None, ty),
            Kind::Mean => {
                let means = self.values.iter().zip(&self.counts).map(|(sum, count)| sum.mean(*count)).collect();
                Column::new(Type::Real, Data::Real(means), nulls())
            }
            Kind::Min | Kind::Max => {
                let nulls = nulls();
                T::column(self.values, nulls, ty)
            }
        }]
    }

    fn size(&self) -> usize {
        self.values.len() * 16
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
