//! What bodies of several kinds of objects have in common.

use gantry_central::access::users::RoleAssignment;
use gantry_central::ids::{IdError, OrganizationId, RoleId};
use serde_json::{Map, Value, json};

use crate::Failure;

/// A text that may be missing or null.
pub(crate) fn text<'b>(body: &'b Value, name: &str) -> Result<Option<&'b str>, Failure> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::invalid(format!("`{name}` is a string"))),
    }
}

/// A text that must be there.
pub(crate) fn needed<'b>(body: &'b Value, name: &str) -> Result<&'b str, Failure> {
    text(body, name)?.ok_or_else(|| Failure::invalid(format!("`{name}` is missing")))
}

/// A flag that may be missing or null.
pub(crate) fn flag(body: &Value, name: &str) -> Result<Option<bool>, Failure> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Failure::invalid(format!("`{name}` is true or false"))),
    }
}

/// A text that something is read from, if it is there.
pub(crate) fn parsed<T>(body: &Value, name: &str, parse: fn(&str) -> Result<T, IdError>) -> Result<Option<T>, Failure> {
    let read = |text| parse(text).map_err(|error| Failure::invalid(format!("`{name}`: {error}")));
    text(body, name)?.map(read).transpose()
}

/// `organizations`: none or one.
pub(crate) fn organization(body: &Value) -> Result<Option<OrganizationId>, Failure> {
    let wrong = || Failure::invalid("`organizations` is an array of one organization id, or empty");
    match body.get("organizations") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(ids)) => match ids.as_slice() {
            [] => Ok(None),
            [Value::String(id)] => Ok(Some(OrganizationId::parse(id)?)),
            _ => Err(wrong()),
        },
        Some(_) => Err(wrong()),
    }
}

/// The same as bodies show it; nothing at the root.
pub(crate) fn put_organization(body: &mut Value, organization: Option<&OrganizationId>) {
    if let Some(id) = organization {
        body["organizations"] = json!([id.as_str()]);
    }
}

/// `roles`.
pub(crate) fn roles(body: &Value) -> Result<Vec<RoleAssignment>, Failure> {
    let Some(Value::Array(items)) = body.get("roles") else {
        return Err(Failure::invalid("`roles` is an array of roles"));
    };
    let one = |item: &Value| {
        let role = RoleId::parse(needed(item, "role")?)?;
        Ok(RoleAssignment { role, organization: parsed(item, "organization", OrganizationId::parse)? })
    };
    items.iter().map(one).collect()
}

/// The same as bodies show it.
pub(crate) fn show_roles(roles: &[RoleAssignment]) -> Value {
    let one = |role: &RoleAssignment| {
        let mut shown = json!({ "role": role.role.as_str() });
        if let Some(organization) = &role.organization {
            shown["organization"] = organization.as_str().into();
        }
        shown
    };
    roles.iter().map(one).collect()
}

/// What an object becomes when a merge patch (RFC 7396) is put on what is shown of it.
pub(crate) fn patched(shown: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut all = shown.as_object().cloned().unwrap_or_else(Map::new);
    for (name, value) in patch {
        if value.is_null() {
            all.remove(name);
        } else {
            let merged = patched(all.get(name).unwrap_or(&Value::Null), value);
            all.insert(name.clone(), merged);
        }
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_merged_and_null_takes_away() {
        let shown = json!({"a": 1, "b": {"c": 1, "d": [1]}, "e": 2});
        let patch = json!({"a": null, "b": {"c": null, "d": [2]}, "f": {"g": null, "h": 1}});
        assert_eq!(patched(&shown, &patch), json!({"b": {"d": [2]}, "e": 2, "f": {"h": 1}}));
    }

    #[test]
    fn wrong_members_are_named() {
        let told = |failure: Failure| format!("{failure:?}");
        assert!(told(needed(&json!({}), "a").unwrap_err()).contains("`a` is missing"));
        assert!(told(text(&json!({"a": 1}), "a").unwrap_err()).contains("`a` is a string"));
        assert!(told(flag(&json!({"a": 1}), "a").unwrap_err()).contains("`a` is true or false"));
        for wrong in
            [json!({"organizations": "x"}), json!({"organizations": ["a1", "b1"]}), json!({"organizations": [1]})]
        {
            assert!(organization(&wrong).is_err(), "{wrong}");
        }
        assert_eq!(organization(&json!({"organizations": []})), Ok(None));
    }
}
