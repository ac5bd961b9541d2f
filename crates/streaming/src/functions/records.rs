//! Functions of records and arrays, and of types.

use std::sync::Arc;

use super::{Function, function, kind, texts, whole};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    function("gettype", 1, 1, |args| Ok(args[0].kind().map_or(Value::Null, Value::from))),
    function("getrecordpropertyvalue", 2, 2, |args| {
        let Some([name]) = texts(&args[1..])? else {
            return Ok(Value::Null);
        };
        match &args[0] {
            Value::Null | Value::Record(_) => Ok(args[0].member(name).clone()),
            other => Err(format!("a {} is no record", kind(other))),
        }
    }),
    function("getrecordproperties", 1, 1, |args| match &args[0] {
        Value::Null => Ok(Value::Null),
        value => Ok(Value::Array(properties(value).ok_or_else(|| format!("a {} is no record", kind(value)))?.into())),
    }),
    function("getarrayelement", 2, 2, |args| match &args[0] {
        Value::Null => Ok(Value::Null),
        Value::Array(items) => Ok(match whole(&args[1])? {
            Some(index) => {
                usize::try_from(index).ok().and_then(|index| items.get(index)).cloned().unwrap_or(Value::Null)
            }
            None => Value::Null,
        }),
        other => Err(format!("a {} is no array", kind(other))),
    }),
    function("getarrayelements", 1, 1, |args| match &args[0] {
        Value::Null => Ok(Value::Null),
        value => Ok(Value::Array(elements(value).ok_or_else(|| format!("a {} is no array", kind(value)))?.into())),
    }),
    function("getarraylength", 1, 1, |args| match &args[0] {
        Value::Null => Ok(Value::Null),
        Value::Array(items) => Ok(Value::Bigint(items.len() as i64)),
        other => Err(format!("a {} is no array", kind(other))),
    }),
];

/// The elements of an array as records of their place, from 0, and their value.
pub(crate) fn elements(value: &Value) -> Option<Vec<Value>> {
    let Value::Array(items) = value else {
        return None;
    };
    let (index_name, value_name): (Arc<str>, Arc<str>) = ("ArrayIndex".into(), "ArrayValue".into());
    Some(
        items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                Value::record(vec![
                    (index_name.clone(), Value::Bigint(index as i64)),
                    (value_name.clone(), item.clone()),
                ])
            })
            .collect(),
    )
}

/// The properties of a record as records of their name and value.
pub(crate) fn properties(value: &Value) -> Option<Vec<Value>> {
    let Value::Record(record) = value else {
        return None;
    };
    let (name_name, value_name): (Arc<str>, Arc<str>) = ("PropertyName".into(), "PropertyValue".into());
    Some(
        record
            .fields
            .iter()
            .map(|(name, value)| {
                Value::record(vec![(name_name.clone(), Value::Text(name.clone())), (value_name.clone(), value.clone())])
            })
            .collect(),
    )
}
