//! Bits of whole numbers.

use gantry_kql::value::Value;

use super::Family;
use super::Implementation::Strict;
use super::or_null;
use crate::column::Cell;

macro_rules! both {
    ($f:expr) => {
        Strict(|cells, _| or_null(pair(cells), |(a, b): (i64, i64)| Value::Long($f(a, b))))
    };
}

pub(super) const FUNCTIONS: Family = &[
    ("binary_and", both!(|a, b| a & b)),
    ("binary_or", both!(|a, b| a | b)),
    ("binary_xor", both!(|a, b| a ^ b)),
    ("binary_not", Strict(|cells, _| or_null(cells[0].long(), |a| Value::Long(!a)))),
    // The count of places is taken modulo 64, as the reference does.
    ("binary_shift_left", both!(|a: i64, by: i64| a.wrapping_shl((by & 63) as u32))),
    ("binary_shift_right", both!(|a: i64, by: i64| a.wrapping_shr((by & 63) as u32))),
    ("bitset_count_ones", Strict(|cells, _| or_null(cells[0].long(), |a| Value::Long(i64::from(a.count_ones()))))),
];

fn pair(cells: &[Cell]) -> Option<(i64, i64)> {
    cells[0].long().zip(cells[1].long())
}
