//! Functions over stored states of `hll` and `tdigest`.

use gantry_kql::value::{Dynamic, Type, Value};

use super::Implementation::Lax;
use super::{Call, Family, or_null};
use crate::aggregates::{Digest, hll_of, hll_value};
use crate::column::Cell;

pub(super) const FUNCTIONS: Family = &[
    ("dcount_hll", Lax(|cells, _| or_null(hll_of(cells[0]), |set| Value::Long(set.count())))),
    (
        "hll_merge",
        Lax(|cells, _| {
            let merged = cells.iter().filter_map(|cell| hll_of(*cell)).reduce(|mut all, one| {
                all.merge(&one);
                all
            });
            or_null(merged, |set| hll_value(&set))
        }),
    ),
    ("merge_tdigest", Lax(merge)),
    ("tdigest_merge", Lax(merge)),
    (
        "percentile_tdigest",
        Lax(|cells, call| {
            let percent = cells[1].number();
            or_null(Digest::from_cell(cells[0]).zip(percent), |(mut digest, percent)| {
                digest.percentiles(&[percent], result_type(call)).remove(0)
            })
        }),
    ),
    ("percentiles_array_tdigest", Lax(percentiles)),
    (
        "rank_tdigest",
        Lax(|cells, _| {
            or_null(Digest::from_cell(cells[0]).zip(value_of(cells[1])), |(digest, value)| {
                Value::Real(digest.count_below(value))
            })
        }),
    ),
    (
        "percentrank_tdigest",
        Lax(|cells, _| {
            let rank = Digest::from_cell(cells[0]).zip(value_of(cells[1]));
            or_null(rank.and_then(|(mut digest, value)| digest.rank(value)), Value::Real)
        }),
    ),
];

fn value_of(cell: Cell) -> Option<f64> {
    match cell {
        Cell::DateTime(ticks) | Cell::TimeSpan(ticks) => Some(ticks as f64),
        cell => cell.number(),
    }
}

fn result_type(call: &Call) -> Type {
    if call.ty == Type::Dynamic { Type::Real } else { call.ty }
}

fn merge(cells: &[Cell], _: &Call) -> Value {
    let mut all = Digest::default();
    let mut any = false;
    for digest in cells.iter().filter_map(|cell| Digest::from_cell(*cell)) {
        all.merge(&digest);
        any = true;
    }
    if any { Value::Dynamic(all.into_dynamic()) } else { Value::Null }
}

/// Percents as an array, or one after the other.
fn percentiles(cells: &[Cell], call: &Call) -> Value {
    let percents: Vec<f64> = cells[1..]
        .iter()
        .flat_map(|cell| match cell.array() {
            Some(items) => items.iter().filter_map(|item| Cell::from(item).number()).collect(),
            None => cell.number().into_iter().collect::<Vec<_>>(),
        })
        .collect();
    or_null(Digest::from_cell(cells[0]), |mut digest| {
        let found = digest.percentiles(&percents, result_type(call));
        Value::Dynamic(Dynamic::Array(found.into_iter().map(Value::into_dynamic).collect()))
    })
}
