//! Arrays, bags and sets.

use std::cmp::Ordering;

use gantry_kql::value::{Bag, Dynamic, TimeSpan, Value};

use super::Implementation::{Fallible, Lax};
use super::{Call, Family, or_null};
use crate::column::{Cell, total_order};
use crate::error::{Error, Result};

/// Elements that a function may put into an array.
pub const ELEMENTS_MAX: usize = 1 << 20;

pub(super) const FUNCTIONS: Family = &[
    ("pack_array", Lax(|cells, _| array(cells.iter().map(|cell| cell.to_dynamic())))),
    ("bag_pack", Lax(bag_pack)),
    ("pack", Lax(bag_pack)),
    ("pack_all", Lax(pack_all)),
    ("bag_pack_columns", Lax(bag_pack)),
    ("range", Fallible(range)),
    ("array_length", Lax(|cells, _| or_null(cells[0].array(), |items| Value::Long(items.len() as i64)))),
    (
        "array_concat",
        Lax(|cells, _| {
            let parts: Option<Vec<_>> = cells.iter().filter(|cell| !cell.is_null()).map(|cell| cell.array()).collect();
            or_null(parts, |parts| array(parts.into_iter().flatten().cloned()))
        }),
    ),
    ("array_reverse", Lax(|cells, _| or_null(cells[0].array(), |items| array(items.iter().rev().cloned())))),
    ("array_slice", Lax(array_slice)),
    ("array_split", Lax(array_split)),
    ("array_index_of", Lax(array_index_of)),
    ("array_iff", Lax(array_iff)),
    ("array_shift_left", Lax(|cells, _| shift(cells, 1))),
    ("array_shift_right", Lax(|cells, _| shift(cells, -1))),
    ("array_rotate_left", Lax(|cells, _| rotate(cells, 1))),
    ("array_rotate_right", Lax(|cells, _| rotate(cells, -1))),
    ("array_sort_asc", Lax(|cells, _| sort(cells, false))),
    ("array_sort_desc", Lax(|cells, _| sort(cells, true))),
    ("zip", Lax(zip)),
    ("set_union", Lax(|cells, _| sets(cells, |all, _| all.iter().flat_map(|set| set.iter()).cloned().collect()))),
    (
        "set_intersect",
        Lax(|cells, _| {
            sets(cells, |all, first| {
                first.iter().filter(|item| all[1..].iter().all(|set| set.contains(item))).cloned().collect()
            })
        }),
    ),
    (
        "set_difference",
        Lax(|cells, _| {
            sets(cells, |all, first| {
                first.iter().filter(|item| !all[1..].iter().any(|set| set.contains(item))).cloned().collect()
            })
        }),
    ),
    (
        "set_has_element",
        Lax(|cells, _| {
            or_null(cells[0].array(), |items| {
                Value::Bool(items.iter().any(|item| Cell::from(item).equals(cells[1]) == Some(true)))
            })
        }),
    ),
    (
        "set_equals",
        Lax(|cells, _| {
            or_null(cells[0].array().zip(cells[1].array()), |(a, b)| {
                Value::Bool(a.iter().all(|item| b.contains(item)) && b.iter().all(|item| a.contains(item)))
            })
        }),
    ),
    ("jaccard_index", Lax(jaccard)),
    ("bag_keys", Lax(bag_keys)),
    (
        "bag_has_key",
        Lax(|cells, _| or_null(bag_of(cells[0]), |bag| Value::Bool(at_path(bag, &cells[1].text()).is_some()))),
    ),
    ("bag_merge", Lax(bag_merge)),
    ("bag_remove_keys", Lax(bag_remove_keys)),
    ("bag_set_key", Lax(bag_set_key)),
    ("bag_zip", Lax(bag_zip)),
];

fn array(items: impl IntoIterator<Item = Dynamic>) -> Value {
    Value::Dynamic(Dynamic::Array(items.into_iter().collect()))
}

fn bag_of(cell: Cell<'_>) -> Option<&Bag> {
    match cell {
        Cell::Dynamic(Dynamic::Bag(bag)) => Some(bag),
        _ => None,
    }
}

/// Names and values by turns.
fn bag_pack(cells: &[Cell], _: &Call) -> Value {
    let entries = cells.as_chunks::<2>().0.iter().map(|[name, value]| (name.text().into_owned(), value.to_dynamic()));
    Value::Dynamic(Dynamic::Bag(Bag::from_entries(entries.collect())))
}

/// As `bag_pack`, behind a bool that says whether empty values are left out.
fn pack_all(cells: &[Cell], call: &Call) -> Value {
    let (Some(ignore), pairs) = (cells.first(), cells.get(1..).unwrap_or_default()) else {
        return bag_pack(cells, call);
    };
    if ignore.bool() != Some(true) {
        return bag_pack(pairs, call);
    }
    let is_empty = |cell: Cell| matches!(cell, Cell::Null | Cell::String(""));
    let kept: Vec<Cell> =
        pairs.as_chunks::<2>().0.iter().filter(|[_, value]| !is_empty(*value)).flatten().copied().collect();
    bag_pack(&kept, call)
}

/// `range(start, stop [, step])`: both ends included.
fn range(cells: &[Cell], _: &Call) -> Result<Value> {
    let step = cells.get(2).copied();
    let make = |count: f64, item: &dyn Fn(usize) -> Dynamic| {
        let count = if count < 0.0 { 0 } else { (count.floor() as usize).saturating_add(1).min(ELEMENTS_MAX) };
        Ok(array((0..count).map(item)))
    };
    let zero = || Err(Error::Evaluation("range(): the step must not be zero".into()));
    match (cells[0], cells[1]) {
        (Cell::Null, _) | (_, Cell::Null) => Ok(Value::Null),
        (Cell::DateTime(start), stop) => {
            let (Some(stop), Some(step)) =
                (stop.datetime(), step.map_or(Some(crate::calendar::HOUR), |step| step.timespan()))
            else {
                return Ok(Value::Null);
            };
            if step == 0 {
                return zero();
            }
            make((stop - start) as f64 / step as f64, &|at| {
                Dynamic::DateTime(gantry_kql::value::DateTime(start + step * at as i64))
            })
        }
        (Cell::TimeSpan(start), stop) => {
            let (Some(stop), Some(step)) =
                (stop.timespan(), step.map_or(Some(crate::calendar::HOUR), |step| step.timespan()))
            else {
                return Ok(Value::Null);
            };
            if step == 0 {
                return zero();
            }
            make((stop as f64 - start as f64) / step as f64, &|at| {
                Dynamic::TimeSpan(TimeSpan(start + step * at as i64))
            })
        }
        (start, stop) => {
            let step = step.unwrap_or(Cell::Long(1));
            let whole = [start, stop, step].iter().all(|cell| matches!(cell, Cell::Int(_) | Cell::Long(_)));
            let [Some(from), Some(to), Some(by)] = [start.real(), stop.real(), step.real()] else {
                return Ok(Value::Null);
            };
            if by == 0.0 {
                return zero();
            }
            match (start.long(), step.long()) {
                (Some(first), Some(step)) if whole => {
                    make((to - from) / by, &|at| Dynamic::Long(first.wrapping_add(step.wrapping_mul(at as i64))))
                }
                _ => make((to - from) / by + 1e-12, &|at| Dynamic::Real(from + by * at as f64)),
            }
        }
    }
}

/// `array_slice(array, start, end)`: both ends included, negative ones from the end.
fn array_slice(cells: &[Cell], _: &Call) -> Value {
    let Some(items) = cells[0].array() else { return Value::Null };
    let place = |cell: Cell| {
        let at = cell.long().unwrap_or(0);
        if at < 0 { items.len() as i64 + at } else { at }
    };
    let (start, end) = (place(cells[1]).max(0), place(cells[2]).min(items.len() as i64 - 1));
    if start > end { array([]) } else { array(items[start as usize..=end as usize].iter().cloned()) }
}

/// At one place or several.
fn array_split(cells: &[Cell], _: &Call) -> Value {
    let Some(items) = cells[0].array() else { return Value::Null };
    let mut places: Vec<i64> = match cells[1].array() {
        Some(places) => places.iter().filter_map(|place| Cell::from(place).long()).collect(),
        None => cells[1].long().into_iter().collect(),
    };
    for place in &mut places {
        if *place < 0 {
            *place += items.len() as i64;
        }
        *place = (*place).clamp(0, items.len() as i64);
    }
    places.sort_unstable();
    let (mut from, mut parts) = (0, Vec::new());
    for place in places.into_iter().map(|place| place as usize) {
        parts.push(Dynamic::Array(items[from..place].to_vec()));
        from = place;
    }
    parts.push(Dynamic::Array(items[from..].to_vec()));
    array(parts)
}

/// `array_index_of(array, value [, start [, length [, occurrence]]])`: −1 for none.
fn array_index_of(cells: &[Cell], _: &Call) -> Value {
    let Some(items) = cells[0].array() else { return Value::Null };
    let start = cells.get(2).and_then(|cell| cell.long()).unwrap_or(0);
    let start = (if start < 0 { items.len() as i64 + start } else { start }).max(0) as usize;
    let length = cells.get(3).and_then(|cell| cell.long()).unwrap_or(-1);
    let end = if length < 0 { items.len() } else { start.saturating_add(length as usize).min(items.len()) };
    let occurrence = cells.get(4).and_then(|cell| cell.long()).unwrap_or(1).max(1) as usize;
    let mut found = (start..end).filter(|at| Cell::from(&items[*at]).equals(cells[1]) == Some(true));
    Value::Long(found.nth(occurrence - 1).map_or(-1, |at| at as i64))
}

/// Chosen element by element; what is no array stands for each element.
fn array_iff(cells: &[Cell], _: &Call) -> Value {
    let Some(conditions) = cells[0].array() else { return Value::Null };
    let side = |cell: Cell, at: usize| match cell.array() {
        Some(items) => items.get(at).cloned().unwrap_or(Dynamic::Null),
        None => cell.to_dynamic(),
    };
    array(conditions.iter().enumerate().map(|(at, condition)| match Cell::from(condition).bool() {
        Some(true) => side(cells[1], at),
        Some(false) => side(cells[2], at),
        None => Dynamic::Null,
    }))
}

fn shift(cells: &[Cell], sign: i64) -> Value {
    let (Some(items), Some(by)) = (cells[0].array(), cells[1].long()) else { return Value::Null };
    let fill = cells.get(2).map(|cell| cell.to_dynamic()).unwrap_or(Dynamic::Null);
    let by = by.saturating_mul(sign);
    array((0..items.len() as i64).map(|at| {
        let from = at.checked_add(by).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| items.get(from)).cloned().unwrap_or_else(|| fill.clone())
    }))
}

fn rotate(cells: &[Cell], sign: i64) -> Value {
    let (Some(items), Some(by)) = (cells[0].array(), cells[1].long()) else { return Value::Null };
    let length = items.len() as i64;
    if length == 0 {
        return array([]);
    }
    let by = by.wrapping_mul(sign).rem_euclid(length);
    array((0..length).map(|at| items[((at + by) % length) as usize].clone()))
}

/// Sorts the first array; the others take the same order. A last bool says whether nulls go last. There is a result for each array.
fn sort(cells: &[Cell], descending: bool) -> Value {
    let nulls_last = match cells.last() {
        Some(Cell::Bool(last)) if cells.len() > 1 => *last,
        _ => true,
    };
    let arrays: Vec<Option<&[Dynamic]>> =
        cells.iter().filter(|cell| !matches!(cell, Cell::Bool(_))).map(|cell| cell.array()).collect();
    let Some(Some(keys)) = arrays.first() else { return Value::Null };
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (Cell::from(&keys[*a]), Cell::from(&keys[*b]));
        match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => {
                if nulls_last {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (false, true) => {
                if nulls_last {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (false, false) => {
                // Values of other kinds stay apart, numbers first, whichever way each kind goes.
                let within = if descending { total_order(b, a) } else { total_order(a, b) };
                kind_of(a).cmp(&kind_of(b)).then(within)
            }
        }
    });
    let sorted: Vec<Dynamic> = arrays
        .iter()
        .map(|items| match items {
            Some(items) if items.len() == keys.len() => {
                Dynamic::Array(order.iter().map(|at| items[*at].clone()).collect())
            }
            _ => Dynamic::Null,
        })
        .collect();
    array(sorted)
}

fn kind_of(cell: Cell) -> u8 {
    match cell {
        Cell::Null => 0,
        Cell::Bool(_) => 1,
        Cell::Int(_) | Cell::Long(_) | Cell::Real(_) | Cell::Decimal(_) => 2,
        Cell::TimeSpan(_) => 3,
        Cell::DateTime(_) => 4,
        Cell::String(_) => 5,
        Cell::Guid(_) => 6,
        Cell::Dynamic(_) => 7,
    }
}

fn zip(cells: &[Cell], _: &Call) -> Value {
    let arrays: Vec<Vec<Dynamic>> = cells
        .iter()
        .map(|cell| match cell.array() {
            Some(items) => items.to_vec(),
            None => vec![cell.to_dynamic()],
        })
        .collect();
    let length = arrays.iter().map(Vec::len).max().unwrap_or(0);
    array(
        (0..length).map(|at| {
            Dynamic::Array(arrays.iter().map(|items| items.get(at).cloned().unwrap_or(Dynamic::Null)).collect())
        }),
    )
}

/// A set made of sets: each element once, in order.
fn sets(cells: &[Cell], f: fn(&[&[Dynamic]], &[Dynamic]) -> Vec<Dynamic>) -> Value {
    let all: Option<Vec<&[Dynamic]>> = cells.iter().map(|cell| cell.array()).collect();
    let Some(all) = all.filter(|all| !all.is_empty()) else { return Value::Null };
    let mut unique: Vec<Dynamic> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for item in f(&all, all[0]) {
        if seen.insert(item.to_json()) {
            unique.push(item);
        }
    }
    array(unique)
}

fn jaccard(cells: &[Cell], _: &Call) -> Value {
    let distinct = |items: &[Dynamic]| items.iter().map(Dynamic::to_json).collect::<std::collections::HashSet<_>>();
    or_null(cells[0].array().zip(cells[1].array()), |(a, b)| {
        let (a, b) = (distinct(a), distinct(b));
        Value::Real(a.intersection(&b).count() as f64 / a.union(&b).count() as f64)
    })
}

fn bag_keys(cells: &[Cell], _: &Call) -> Value {
    or_null(bag_of(cells[0]), |bag| array(bag.iter().map(|(name, _)| Dynamic::String(name.to_owned()))))
}

/// A name, or a JSON path that begins with `$`.
fn at_path<'a>(bag: &'a Bag, path: &str) -> Option<&'a Dynamic> {
    if !path.starts_with('$') {
        return bag.get(path);
    }
    let mut rest = path;
    let mut found: Option<&Dynamic> = None;
    // The first step is taken from the bag, the others from what was found.
    rest = rest.strip_prefix('$')?;
    while !rest.is_empty() {
        let (key, after) = next_step(rest)?;
        found = Some(match (found, key) {
            (None, Step::Name(name)) => bag.get(name)?,
            (Some(value), Step::Name(name)) => value.member(name)?,
            (Some(value), Step::Place(place)) => value.element(place)?,
            (None, Step::Place(_)) => return None,
        });
        rest = after;
    }
    found
}

enum Step<'a> {
    Name(&'a str),
    Place(i64),
}

fn next_step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(after) = path.strip_prefix('[') {
        let end = after.find(']')?;
        let (key, rest) = (&after[..end], &after[end + 1..]);
        let name = key.strip_prefix(['\'', '"']).and_then(|key| key.strip_suffix(['\'', '"']));
        return Some(match name {
            Some(name) => (Step::Name(name), rest),
            None => (Step::Place(key.trim().parse().ok()?), rest),
        });
    }
    let after = path.strip_prefix('.').unwrap_or(path);
    let end = after.find(['.', '[']).unwrap_or(after.len());
    (end > 0).then(|| (Step::Name(&after[..end]), &after[end..]))
}

/// Of a name twice the first value counts.
fn bag_merge(cells: &[Cell], _: &Call) -> Value {
    let mut merged = Bag::new();
    let mut any = false;
    for bag in cells.iter().filter_map(|cell| bag_of(*cell)) {
        any = true;
        for (name, value) in bag.iter() {
            if merged.get(name).is_none() {
                merged.put(name.to_owned(), value.clone());
            }
        }
    }
    if any { Value::Dynamic(Dynamic::Bag(merged)) } else { Value::Null }
}

/// Names at the top, or paths that begin with `$`.
fn bag_remove_keys(cells: &[Cell], _: &Call) -> Value {
    let (Some(bag), Some(keys)) = (bag_of(cells[0]), cells[1].array()) else { return Value::Null };
    let mut value = Dynamic::Bag(bag.clone());
    for key in keys {
        let key = key.to_string();
        match key.strip_prefix('$') {
            Some(path) => remove(&mut value, path),
            None => remove_name(&mut value, &key),
        }
    }
    Value::Dynamic(value)
}

fn remove_name(value: &mut Dynamic, name: &str) {
    if let Dynamic::Bag(bag) = value {
        let kept = std::mem::take(bag).into_entries().into_iter().filter(|(key, _)| key != name);
        *bag = Bag::from_entries(kept.collect());
    }
}

fn remove(value: &mut Dynamic, path: &str) {
    let Some((step, rest)) = next_step(path) else { return };
    match (value, step) {
        (value, Step::Name(name)) if rest.is_empty() => remove_name(value, name),
        (Dynamic::Bag(bag), Step::Name(name)) => {
            let mut entries = std::mem::take(bag).into_entries();
            entries.iter_mut().filter(|(key, _)| key == name).for_each(|(_, inner)| remove(inner, rest));
            *bag = Bag::from_entries(entries);
        }
        (Dynamic::Array(items), Step::Place(place)) => {
            let place = if place < 0 { items.len() as i64 + place } else { place } as usize;
            if rest.is_empty() {
                if place < items.len() {
                    items.remove(place);
                }
            } else if let Some(inner) = items.get_mut(place) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

/// `bag_set_key(bag, key, value)`: a name, or a path that begins with `$` whose steps exist.
fn bag_set_key(cells: &[Cell], _: &Call) -> Value {
    let mut bag = match cells[0] {
        Cell::Null => Bag::new(),
        cell => match bag_of(cell) {
            Some(bag) => bag.clone(),
            None => return Value::Null,
        },
    };
    let key = cells[1].text();
    match key.strip_prefix('$') {
        Some(path) => {
            let mut value = Dynamic::Bag(bag);
            put(&mut value, path, cells[2].to_dynamic());
            Value::Dynamic(value)
        }
        None => {
            bag.put(key.into_owned(), cells[2].to_dynamic());
            Value::Dynamic(Dynamic::Bag(bag))
        }
    }
}

fn put(value: &mut Dynamic, path: &str, new: Dynamic) {
    let Some((step, rest)) = next_step(path) else { return };
    match (value, step) {
        (Dynamic::Bag(bag), Step::Name(name)) => {
            if rest.is_empty() {
                return bag.put(name.to_owned(), new);
            }
            let mut inner = bag.get(name).cloned().unwrap_or_else(|| Dynamic::Bag(Bag::new()));
            put(&mut inner, rest, new);
            bag.put(name.to_owned(), inner);
        }
        (Dynamic::Array(items), Step::Place(place)) => {
            let place = if place < 0 { items.len() as i64 + place } else { place } as usize;
            match items.get_mut(place) {
                Some(slot) if rest.is_empty() => *slot = new,
                Some(inner) => put(inner, rest, new),
                None => {}
            }
        }
        _ => {}
    }
}

/// Names beside values; a value that is missing is null, a name that is missing is left out.
fn bag_zip(cells: &[Cell], _: &Call) -> Value {
    let (Some(names), Some(values)) = (cells[0].array(), cells[1].array()) else { return Value::Null };
    let entries = names.iter().enumerate().filter_map(|(at, name)| match name {
        Dynamic::String(name) => Some((name.clone(), values.get(at).cloned().unwrap_or(Dynamic::Null))),
        _ => None,
    });
    Value::Dynamic(Dynamic::Bag(Bag::from_entries(entries.collect())))
}
