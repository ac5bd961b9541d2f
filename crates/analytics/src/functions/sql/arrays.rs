//! Arrays and JSON.

use gantry_kql::bound::Binary;
use gantry_kql::value::{Bag, Dynamic, Type, Value};

use super::{fallible, too_many, wrong};
use crate::calendar::{self, Unit};
use crate::column::{Cell, ticks_value};
use crate::error::Result;
use crate::functions::Implementation::{self, Lax, Strict};
use crate::functions::{Call, Family, or_null, text};
use gantry_sql::types::SqlType;

pub(super) const FUNCTIONS: Family = &[
    ("sql.array", Lax(|cells, _| array(cells.iter().map(|cell| cell.to_dynamic()).collect()))),
    ("sql.array_cat", Strict(array_cat)),
    (
        "sql.array_length",
        Strict(|cells, _| {
            or_null(items(cells[0]).filter(|items| !items.is_empty() && cells[1].long() == Some(1)), |items| {
                Value::Int(items.len() as i32)
            })
        }),
    ),
    (
        "sql.array_lower",
        Strict(|cells, _| {
            or_null(items(cells[0]).filter(|items| !items.is_empty() && cells[1].long() == Some(1)), |_| Value::Int(1))
        }),
    ),
    ("sql.cardinality", Strict(|cells, _| or_null(items(cells[0]), |items| Value::Int(items.len() as i32)))),
    ("sql.array_to_string", Strict(array_to_string)),
    ("sql.array_position", Strict(array_position)),
    ("sql.string_to_array", Strict(string_to_array)),
    ("sql.element", Strict(element)),
    ("sql.slice", Lax(slice)),
    ("sql.subscripts", Strict(subscripts)),
    ("sql.series", fallible!(series)),
    ("sql.join_texts", Strict(join_texts)),
    ("sql.any_eq", Lax(|cells, _| any(cells, Binary::Equal))),
    ("sql.any_ne", Lax(|cells, _| any(cells, Binary::NotEqual))),
    ("sql.any_lt", Lax(|cells, _| any(cells, Binary::Less))),
    ("sql.any_le", Lax(|cells, _| any(cells, Binary::LessOrEqual))),
    ("sql.any_gt", Lax(|cells, _| any(cells, Binary::Greater))),
    ("sql.any_ge", Lax(|cells, _| any(cells, Binary::GreaterOrEqual))),
    ("sql.any_like", fallible!(|cells, call| any_like(cells, call, false))),
    ("sql.any_ilike", fallible!(|cells, call| any_like(cells, call, true))),
    ("sql.contains", Strict(|cells, _| Value::Bool(contains(&cells[0].to_dynamic(), &cells[1].to_dynamic())))),
    ("sql.json_text", Lax(|cells, _| json_text(cells[0]))),
    ("sql.json_path", Strict(|cells, _| Value::Dynamic(along(cells).cloned().unwrap_or(Dynamic::Null)))),
    ("sql.json_path_text", Strict(|cells, _| along(cells).map_or(Value::Null, |value| json_text(Cell::from(value))))),
    ("sql.json_has", Strict(json_has)),
    ("sql.json_type", Strict(json_type)),
    ("sql.json_length", fallible!(json_length)),
    ("sql.json_object", fallible!(json_object)),
    ("sql.json_array", Lax(|cells, _| array(cells.iter().map(|cell| cell.to_dynamic()).collect()))),
    ("sql.to_json", Lax(|cells, _| Value::Dynamic(cells[0].to_dynamic()))),
    (
        "sql.json_items",
        fallible!(|cells, _| match cells[0].array() {
            Some(items) => Ok(array(items.to_vec())),
            None => Err(wrong("22023", "cannot extract elements from a value that is no array")),
        }),
    ),
    (
        "sql.json_texts",
        fallible!(|cells, _| match cells[0].array() {
            Some(items) => Ok(array(items.iter().map(|item| json_text(Cell::from(item)).into_dynamic()).collect())),
            None => Err(wrong("22023", "cannot extract elements from a value that is no array")),
        }),
    ),
    (
        "sql.json_keys",
        fallible!(|cells, _| match cells[0] {
            Cell::Dynamic(Dynamic::Bag(bag)) => {
                Ok(array(bag.iter().map(|(name, _)| Dynamic::String(name.to_owned())).collect()))
            }
            _ => Err(wrong("22023", "cannot call jsonb_object_keys on a value that is no object")),
        }),
    ),
];

fn array(items: Vec<Dynamic>) -> Value {
    Value::Dynamic(Dynamic::Array(items))
}

fn items(cell: Cell<'_>) -> Option<&[Dynamic]> {
    cell.array()
}

fn array_cat(cells: &[Cell], _: &Call) -> Value {
    let mut all = Vec::new();
    cells.iter().filter_map(|cell| cell.array()).for_each(|items| all.extend_from_slice(items));
    array(all)
}

fn array_to_string(cells: &[Cell], _: &Call) -> Value {
    let Some(items) = cells[0].array() else { return Value::Null };
    let ty = SqlType::from_name(&cells[cells.len() - 1].text()).unwrap_or(SqlType::TEXT);
    let null = (cells.len() == 4).then(|| cells[2].text());
    let parts: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            Dynamic::Null => null.as_ref().map(|null| null.clone().into_owned()),
            item => Some(gantry_sql::text::print(&gantry_sql::text::typed(item, ty), ty)),
        })
        .collect();
    text(parts.join(&cells[1].text()))
}

fn array_position(cells: &[Cell], _: &Call) -> Value {
    let at = cells[0]
        .array()
        .and_then(|items| items.iter().position(|item| Cell::from(item).equals(cells[1]) == Some(true)));
    or_null(at, |at| Value::Int(at as i32 + 1))
}

fn string_to_array(cells: &[Cell], _: &Call) -> Value {
    let (of, by) = (cells[0].text(), cells[1].text());
    if of.is_empty() {
        return array(Vec::new());
    }
    let parts: Vec<&str> = if by.is_empty() { vec![&of] } else { of.split(&*by).collect() };
    array(parts.into_iter().map(|part| Dynamic::String(part.to_owned())).collect())
}

/// An element by its number; the last argument says where counting begins.
fn element(cells: &[Cell], call: &Call) -> Value {
    let at = cells[1].long().zip(cells[2].long()).and_then(|(at, first)| usize::try_from(at - first).ok());
    let found = cells[0].array().zip(at).and_then(|(items, at)| items.get(at));
    found.map_or(Value::absent(call.ty), |item| match Cell::from(item) {
        Cell::Null => Value::absent(call.ty),
        cell if call.ty == Type::Dynamic => Value::Dynamic(cell.to_dynamic()),
        cell => cell.cast(call.ty),
    })
}

fn slice(cells: &[Cell], _: &Call) -> Value {
    let Some(items) = cells[0].array() else { return Value::Null };
    let from = cells[1].long().unwrap_or(1).max(1) - 1;
    let to = cells[2].long().unwrap_or(i64::MAX).clamp(0, items.len() as i64);
    array(items.iter().take(to as usize).skip(from as usize).cloned().collect())
}

fn subscripts(cells: &[Cell], _: &Call) -> Value {
    let first = cells[1].long().unwrap_or(1);
    let count = cells[0].array().map_or(0, <[Dynamic]>::len) as i64;
    array((first..first + count).map(Dynamic::Long).collect())
}

/// The values of a series, both ends among them.
fn series(cells: &[Cell], call: &Call) -> Result<Value> {
    let max = call.context.limits.expanded_max;
    let zero = || wrong("22023", "step size cannot equal zero");
    if let (Cell::DateTime(from), Cell::DateTime(to)) = (cells[0], cells[1]) {
        let (step, months) = (cells[2].timespan().unwrap_or(0), cells.get(3).and_then(|m| m.long()).unwrap_or(0));
        if step == 0 && months == 0 {
            return Err(zero());
        }
        let up = step > 0 || months > 0;
        // Each is made of the one before: a month after the 31st ends on the 29th from then on.
        let (mut made, mut next) = (Vec::new(), Some(from));
        while let Some(at) = next.filter(|at| if up { *at <= to } else { *at >= to }) {
            made.push(ticks_value(Type::DateTime, at).into_dynamic());
            if made.len() as u64 > max {
                return Err(too_many(call));
            }
            let moved = if months == 0 { Some(at) } else { calendar::add(Unit::Month, months, at) };
            next = moved.and_then(|moved| moved.checked_add(step));
        }
        return Ok(array(made));
    }
    if let (Cell::Int(_) | Cell::Long(_), Cell::Int(_) | Cell::Long(_)) = (cells[0], cells[1]) {
        let (from, to) = (cells[0].long().unwrap_or(0), cells[1].long().unwrap_or(0));
        let step = cells.get(2).map_or(Some(1), |step| step.long()).unwrap_or(1);
        if step == 0 {
            return Err(zero());
        }
        let away = (to < from) != (step < 0) && to != from;
        let count = if away { 0 } else { (i128::from(to) - i128::from(from)) / i128::from(step) + 1 };
        if count > i128::from(max) {
            return Err(too_many(call));
        }
        return Ok(array((0..count as i64).map(|at| Dynamic::Long(from + at * step)).collect()));
    }
    let (from, to) = (cells[0].real().unwrap_or(0.0), cells[1].real().unwrap_or(0.0));
    let step = cells.get(2).map_or(Some(1.0), |step| step.real()).unwrap_or(1.0);
    if step == 0.0 {
        return Err(zero());
    }
    let count = ((to - from) / step + 1e-9).floor();
    if count >= max as f64 {
        return Err(too_many(call));
    }
    let count = if count < 0.0 { 0 } else { count as i64 + 1 };
    Ok(array((0..count).map(|at| Dynamic::Real(from + step * at as f64)).collect()))
}

fn join_texts(cells: &[Cell], _: &Call) -> Value {
    let Some(items) = cells[0].array() else { return Value::Null };
    let parts: Vec<_> = items.iter().map(|item| Cell::from(item).text()).collect();
    text(parts.join(&cells[1].text()))
}

/// Whether a comparison holds for an element: null when it does for none and some are null.
fn any(cells: &[Cell], op: Binary) -> Value {
    let Some(items) = cells[1].array() else { return Value::Null };
    if items.is_empty() {
        return Value::Bool(false);
    }
    if cells[0].is_null() {
        return Value::Null;
    }
    let mut unknown = false;
    for item in items {
        let item = Cell::from(item);
        if item.is_null() {
            unknown = true;
            continue;
        }
        let holds = match op {
            Binary::Equal | Binary::NotEqual => cells[0].equals(item).map(|same| same == (op == Binary::Equal)),
            op => cells[0].compare(item).map(|order| match op {
                Binary::Less => order.is_lt(),
                Binary::LessOrEqual => order.is_le(),
                Binary::Greater => order.is_gt(),
                _ => order.is_ge(),
            }),
        };
        match holds {
            Some(true) => return Value::Bool(true),
            Some(false) => {}
            None => unknown = true,
        }
    }
    if unknown { Value::Null } else { Value::Bool(false) }
}

fn any_like(cells: &[Cell], call: &Call, folded: bool) -> Result<Value> {
    let Some(items) = cells[1].array() else { return Ok(Value::Null) };
    let of = cells[0].text();
    for item in items {
        let pattern = super::texts::like_pattern(&Cell::from(item).text(), Some('\\'), folded)?;
        if call.context.regex(&pattern)?.is_match(&of) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// `@>`.
fn contains(outer: &Dynamic, inner: &Dynamic) -> bool {
    match (outer, inner) {
        (Dynamic::Bag(outer), Dynamic::Bag(inner)) => {
            inner.iter().all(|(name, value)| outer.get(name).is_some_and(|own| contains(own, value)))
        }
        (Dynamic::Array(outer), Dynamic::Array(inner)) => {
            inner.iter().all(|value| outer.iter().any(|own| contains(own, value)))
        }
        (Dynamic::Array(outer), inner) => outer.contains(inner),
        (outer, inner) => Cell::from(outer).equals(Cell::from(inner)).unwrap_or(outer == inner),
    }
}

/// A value of JSON as text: a text without quotes, null as null.
fn json_text(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::String(value) => text(value),
        other => text(gantry_sql::text::json(&other.to_dynamic())),
    }
}

fn along<'a>(cells: &[Cell<'a>]) -> Option<&'a Dynamic> {
    let Cell::Dynamic(mut at) = cells[0] else { return None };
    let steps: Vec<String> = match cells[1].array() {
        Some(items) => items.iter().map(|item| Cell::from(item).text().into_owned()).collect(),
        None => cells[1..].iter().map(|cell| cell.text().into_owned()).collect(),
    };
    for step in steps {
        at = match at {
            Dynamic::Bag(bag) => bag.get(&step)?,
            Dynamic::Array(_) => at.element(step.parse().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

fn json_has(cells: &[Cell], _: &Call) -> Value {
    let name = cells[1].text();
    Value::Bool(match cells[0] {
        Cell::Dynamic(Dynamic::Bag(bag)) => bag.get(&name).is_some(),
        Cell::Dynamic(Dynamic::Array(items)) => {
            items.iter().any(|item| matches!(item, Dynamic::String(text) if *text == name))
        }
        Cell::String(text) => text == name,
        _ => false,
    })
}

fn json_type(cells: &[Cell], _: &Call) -> Value {
    text(match cells[0] {
        Cell::Dynamic(Dynamic::Bag(_)) => "object",
        Cell::Dynamic(_) => "array",
        Cell::Bool(_) => "boolean",
        Cell::Int(_) | Cell::Long(_) | Cell::Real(_) | Cell::Decimal(_) => "number",
        _ => "string",
    })
}

fn json_length(cells: &[Cell], _: &Call) -> Result<Value> {
    match cells[0].array() {
        Some(items) => Ok(Value::Int(items.len() as i32)),
        None => Err(wrong("22023", "cannot get array length of a value that is no array")),
    }
}

fn json_object(cells: &[Cell], _: &Call) -> Result<Value> {
    let (pairs, odd) = cells.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(wrong("22023", "argument list must have even number of elements"));
    }
    let entries = pairs.iter().map(|[name, value]| (name.text().into_owned(), value.to_dynamic())).collect();
    Ok(Value::Dynamic(Dynamic::Bag(Bag::from_entries(entries))))
}
