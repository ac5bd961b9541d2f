//! JSON Patch (RFC 6902), as far as the reference takes it: `add`, `replace` and `remove`.

use serde_json::{Map, Value, json};

use crate::error::GraphError;
use crate::ids::cut;
use crate::limits::{PATCH_DEPTH_MAX, PATCH_OPERATIONS_MAX};

/// What is done at a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Puts a value there, whether there was one or not.
    Add(Value),
    /// Puts a value in the place of one that is there.
    Replace(Value),
    /// Takes the value that is there away.
    Remove,
}

/// Places with what is done there, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(pub(crate) Vec<(Vec<String>, Operation)>);

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// [`GraphError::JsonPatchInvalid`] names the operation that is wrong.
    pub fn read(document: &Value) -> Result<Self, GraphError> {
        let Value::Array(items) = document else { return Err(GraphError::patch("a JSON patch is an array")) };
        if items.len() > PATCH_OPERATIONS_MAX {
            return Err(GraphError::patch(format!("a patch has at most {PATCH_OPERATIONS_MAX} operations")));
        }
        let read = |(number, item)| {
            operation(item).map_err(|why| GraphError::patch(format!("operation {number} of the patch: {why}")))
        };
        Ok(Self(items.iter().enumerate().map(read).collect::<Result<_, _>>()?))
    }

    /// A patch that adds values under names.
    #[must_use]
    pub fn adding(values: impl IntoIterator<Item = (Vec<String>, Value)>) -> Self {
        Self(values.into_iter().map(|(path, value)| (path, Operation::Add(value))).collect())
    }

    /// Does what another says after this.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The same patch of what is under a name.
    #[must_use]
    pub fn within(self, name: &str) -> Self {
        let deeper = |(mut path, operation): (Vec<String>, Operation)| {
            path.insert(0, name.to_owned());
            (path, operation)
        };
        Self(self.0.into_iter().map(deeper).collect())
    }

    /// The patch as a document.
    #[must_use]
    pub fn document(&self) -> Value {
        self.0.iter().map(|(path, operation)| written(path, operation)).collect()
    }
}

fn written(path: &[String], operation: &Operation) -> Value {
    let path: String = path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
    match operation {
        Operation::Add(value) => json!({"op": "add", "path": path, "value": value}),
        Operation::Replace(value) => json!({"op": "replace", "path": path, "value": value}),
        Operation::Remove => json!({"op": "remove", "path": path}),
    }
}

fn operation(item: &Value) -> Result<(Vec<String>, Operation), String> {
    let Value::Object(item) = item else { return Err("it is not an object".into()) };
    if let Some(name) = item.keys().find(|name| !["op", "path", "value"].contains(&name.as_str())) {
        return Err(format!("`{}` is not known", cut(name)));
    }
    let text = |name: &str| item.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is a string"));
    let path = steps(text("path")?)?;
    let value = || item.get("value").cloned().ok_or_else(|| "`value` is missing".to_owned());
    let operation = match text("op")? {
        "add" => Operation::Add(value()?),
        "replace" => Operation::Replace(value()?),
        "remove" if item.contains_key("value") => return Err("`remove` has no `value`".into()),
        "remove" => Operation::Remove,
        other => return Err(format!("`{}` is none of add, replace and remove", cut(other))),
    };
    Ok((path, operation))
}

/// The steps of a JSON pointer (RFC 6901).
fn steps(path: &str) -> Result<Vec<String>, String> {
    let rest = path.strip_prefix('/').ok_or_else(|| format!("path `{}` does not begin with `/`", cut(path)))?;
    let read = |step: &str| {
        let plain = step.replace("~1", "").replace("~0", "");
        if plain.contains('~') {
            return Err(format!("path `{}` has a `~` without 0 or 1", cut(path)));
        }
        Ok(step.replace("~1", "/").replace("~0", "~"))
    };
    let steps: Vec<String> = rest.split('/').map(read).collect::<Result<_, _>>()?;
    if steps.len() > PATCH_DEPTH_MAX {
        return Err(format!("a path has at most {PATCH_DEPTH_MAX} steps"));
    }
    Ok(steps)
}

/// Does an operation within an object. Errors say what is not there.
pub(crate) fn apply(object: &mut Map<String, Value>, path: &[String], operation: &Operation) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else { return Err("the path is empty".into()) };
    if !rest.is_empty() {
        let inner = object.get_mut(first).ok_or_else(|| format!("there is no `{}`", cut(first)))?;
        return apply_in(inner, rest, operation);
    }
    match operation {
        Operation::Add(value) => drop(object.insert(first.clone(), value.clone())),
        Operation::Replace(value) => match object.get_mut(first) {
            Some(place) => *place = value.clone(),
            None => return Err(format!("there is no `{}` to replace", cut(first))),
        },
        Operation::Remove => {
            object.shift_remove(first).ok_or_else(|| format!("there is no `{}` to remove", cut(first)))?;
        }
    }
    Ok(())
}

fn apply_in(value: &mut Value, path: &[String], operation: &Operation) -> Result<(), String> {
    match value {
        Value::Object(object) => apply(object, path, operation),
        Value::Array(items) => apply_at(items, path, operation),
        _ => Err("the path leads into a value that has no members".into()),
    }
}

fn apply_at(items: &mut Vec<Value>, path: &[String], operation: &Operation) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else { return Err("the path is empty".into()) };
    let is_end = first == "-" && rest.is_empty() && matches!(operation, Operation::Add(_));
    let index = if is_end { Some(items.len()) } else { index(first) };
    let index = index.ok_or_else(|| format!("`{}` is not an index", cut(first)))?;
    let len = items.len();
    let no_item = || format!("there is no item {index}");
    if !rest.is_empty() {
        return apply_in(items.get_mut(index).ok_or_else(no_item)?, rest, operation);
    }
    match operation {
        Operation::Add(value) if index <= len => items.insert(index, value.clone()),
        Operation::Replace(value) if index < len => *items.get_mut(index).ok_or_else(no_item)? = value.clone(),
        Operation::Remove if index < len => drop(items.remove(index)),
        _ => return Err(no_item()),
    }
    Ok(())
}

/// An index as RFC 6901 writes it: no sign, no leading zero.
fn index(text: &str) -> Option<usize> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(document: Value, patch: Value) -> Result<Value, String> {
        let Value::Object(mut document) = document else { unreachable!() };
        let patch = Patch::read(&patch).map_err(|error| error.to_string())?;
        for (path, operation) in &patch.0 {
            apply(&mut document, path, operation)?;
        }
        Ok(document.into())
    }

    #[track_caller]
    fn check(patch: Value, expected: Value) {
        let document = json!({"a": 1, "b": {"c/d": 2}, "l": [1, 2]});
        assert_eq!(patched(document, patch), Ok(expected));
    }

    #[test]
    fn operations_do_as_rfc_6902_says() {
        check(json!([{"op": "add", "path": "/x", "value": null}]), json!({"a":1,"b":{"c/d":2},"l":[1,2],"x":null}));
        check(json!([{"op": "replace", "path": "/b/c~1d", "value": 3}]), json!({"a":1,"b":{"c/d":3},"l":[1,2]}));
        check(json!([{"op": "remove", "path": "/a"}]), json!({"b": {"c/d": 2}, "l": [1, 2]}));
        check(json!([{"op": "add", "path": "/l/-", "value": 3}]), json!({"a":1,"b":{"c/d":2},"l":[1,2,3]}));
        check(json!([{"op": "add", "path": "/l/0", "value": 0}]), json!({"a":1,"b":{"c/d":2},"l":[0,1,2]}));
        check(json!([{"op": "remove", "path": "/l/1"}]), json!({"a": 1, "b": {"c/d": 2}, "l": [1]}));
    }

    #[test]
    fn what_is_not_there_is_not_replaced_and_not_removed() {
        for (path, op) in [("/x", "replace"), ("/l/2", "replace"), ("/b/x/y", "replace"), ("/a/b", "replace")] {
            let patch = json!([{"op": op, "path": path, "value": 1}]);
            assert!(patched(json!({"a": 1, "b": {}, "l": [1, 2]}), patch).is_err(), "{path}");
        }
        for path in ["/x", "/l/2", "/l/-", "/l/01", "/l/+1"] {
            let patch = json!([{"op": "remove", "path": path}]);
            assert!(patched(json!({"a": 1, "l": [1, 2]}), patch).is_err(), "{path}");
        }
    }

    #[test]
    fn patches_that_are_none_are_refused_by_operation() {
        for bad in [
            json!({}),
            json!([1]),
            json!([{"op": "move", "path": "/a", "from": "/b"}]),
            json!([{"op": "test", "path": "/a", "value": 1}]),
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "add", "path": "/a~2", "value": 1}]),
            json!([{"op": "remove", "path": "/a", "value": 1}]),
            json!([{"op": "add", "value": 1}]),
            json!([{"op": "add", "path": "/a", "value": 1, "extra": 1}]),
            json!([{"op": "add", "path": "/a".repeat(PATCH_DEPTH_MAX + 1), "value": 1}]),
            Value::Array(vec![json!({"op": "remove", "path": "/a"}); PATCH_OPERATIONS_MAX + 1]),
        ] {
            assert!(matches!(Patch::read(&bad), Err(GraphError::JsonPatchInvalid(_))), "{bad}");
        }
        assert!(Patch::read(&Value::Array(vec![json!({"op": "remove", "path": "/a"}); PATCH_OPERATIONS_MAX])).is_ok());
    }

    #[test]
    fn a_patch_is_written_as_it_was_read() {
        let document = json!([{"op": "add", "path": "/a~1b/~0", "value": 1}, {"op": "remove", "path": "/c"}]);
        assert_eq!(Patch::read(&document).unwrap().document(), document);
    }
}
