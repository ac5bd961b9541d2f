//! Relationships: documents between two twins, of a name and with the properties that the model of the source says.

use std::sync::Arc;

use gantry_dtdl::{Capability, Content};
use serde_json::{Map, Value};

use crate::error::GraphError;
use crate::ids::cut;
use crate::models::Definitions;
use crate::patch::{Patch, apply};
use crate::twin::{ETAG, Twin, check_size, check_value, etag_of};

pub(crate) const ID: &str = "$relationshipId";
pub(crate) const SOURCE: &str = "$sourceId";
pub(crate) const TARGET: &str = "$targetId";
pub(crate) const NAME: &str = "$relationshipName";

type Object = Map<String, Value>;

/// A relationship.
#[derive(Clone, Debug, PartialEq)]
pub struct Relationship {
    /// Its id, unique at the source.
    pub id: Arc<str>,
    /// The twin it leaves.
    pub source: Arc<str>,
    /// The twin it comes to.
    pub target: Arc<str>,
    /// Its name in the model.
    pub name: Arc<str>,
    /// As it is answered.
    pub document: Value,
}

impl Relationship {
    /// Reads a document that was kept.
    pub(crate) fn restore(document: Value) -> Option<Self> {
        let text = |name: &str| document.get(name)?.as_str().map(Arc::from);
        let (id, source, target, name) = (text(ID)?, text(SOURCE)?, text(TARGET)?, text(NAME)?);
        Some(Self { id, source, target, name, document })
    }

    /// The etag, as the header has it.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.document.get(ETAG).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A relationship from a body. `target_of` finds the twin it comes to.
pub(crate) fn make<'a>(
    models: &Definitions,
    drawn: u128,
    source: &Twin,
    id: &Arc<str>,
    body: Object,
    target_of: impl Fn(&str) -> Option<&'a Arc<Twin>>,
) -> Result<Relationship, GraphError> {
    let text = |name: &str| match body.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(GraphError::InvalidRelationship(format!("`{name}` is missing, or not a string"))),
    };
    let (target, name) = (text(TARGET)?, text(NAME)?);
    for (member, is) in [(SOURCE, &*source.id), (ID, &**id)] {
        if body.get(member).is_some_and(|value| value.as_str() != Some(is)) {
            return Err(GraphError::InvalidRelationship(format!("`{member}` is not that of the address")));
        }
    }
    if *target == *source.id {
        return Err(GraphError::OperationNotAllowed(target));
    }
    let target = target_of(&target).ok_or(GraphError::TargetTwinNotFound(cut(&target)))?;
    let mut properties = body;
    for member in [ID, ETAG, SOURCE, TARGET, NAME] {
        properties.shift_remove(member);
    }
    check(models, source, &name, Some(target), &properties)?;
    finish(drawn, (&source.id, &target.id), (id, &name), properties)
}

/// What a patch makes of a relationship: properties can be changed, its ends and its name cannot.
pub(crate) fn patched(
    models: &Definitions,
    drawn: u128,
    source: &Twin,
    relationship: &Relationship,
    patch: &Patch,
) -> Result<Relationship, GraphError> {
    let Value::Object(mut properties) = relationship.document.clone() else {
        return Err(GraphError::validation("the relationship is damaged"));
    };
    for member in [ID, ETAG, SOURCE, TARGET, NAME] {
        properties.shift_remove(member);
    }
    for (path, operation) in &patch.0 {
        let first = path.first().map(String::as_str).unwrap_or_default();
        if first.starts_with('$') {
            return Err(GraphError::patch(format!("`{}` cannot be changed", cut(first))));
        }
        apply(&mut properties, path, operation).map_err(GraphError::patch)?;
    }
    check(models, source, &relationship.name, None, &properties)?;
    finish(drawn, (&source.id, &relationship.target), (&relationship.id, &relationship.name), properties)
}

fn finish(
    drawn: u128,
    (source, target): (&Arc<str>, &Arc<str>),
    (id, name): (&Arc<str>, &str),
    properties: Object,
) -> Result<Relationship, GraphError> {
    let mut document = Object::new();
    document.insert(ID.into(), (&**id).into());
    document.insert(ETAG.into(), etag_of(drawn).into());
    document.insert(SOURCE.into(), (&**source).into());
    document.insert(NAME.into(), name.into());
    document.insert(TARGET.into(), (&**target).into());
    document.extend(properties);
    let document = Value::Object(document);
    check_size(&document)?;
    let (source, target) = (Arc::clone(source), Arc::clone(target));
    Ok(Relationship { id: Arc::clone(id), source, target, name: name.into(), document })
}

/// The model of the source has the relationship, its target is of the model that says, and properties are as it says.
fn check(
    models: &Definitions,
    source: &Twin,
    name: &str,
    target: Option<&Arc<Twin>>,
    properties: &Object,
) -> Result<(), GraphError> {
    let interface = models.get(&source.model).and_then(|model| model.interface());
    let interface = interface.ok_or_else(|| {
        GraphError::InvalidRelationship(format!("model `{}` of the source is not there any more", source.model))
    })?;
    let of_name = |content: &Content<'_>| content.capability() == Some(Capability::Relationship);
    let content = interface.content(name).filter(of_name).ok_or_else(|| {
        GraphError::InvalidRelationship(format!("model `{}` has no relationship `{}`", source.model, cut(name)))
    })?;
    if let (Some(target), Some(wanted)) = (target, content.target()) {
        let is = match models.get(&target.model) {
            Some(model) => model.is(wanted.as_str()),
            None => *target.model == *wanted.as_str(),
        };
        if !is {
            let words = format!("`{name}` leads to twins of `{wanted}`; `{}` is of `{}`", target.id, target.model);
            return Err(GraphError::InvalidRelationship(words));
        }
    }
    for (member, value) in properties {
        let property = content.properties().find(|property| property.name() == Some(member.as_str()));
        let property = property.ok_or_else(|| {
            GraphError::validation(format!("relationship `{}` has no property `{}`", cut(name), cut(member)))
        })?;
        check_value(&property, member, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::{interface, of};
    use serde_json::json;

    fn models() -> Definitions {
        let contents = json!([{"@type": "Relationship", "name": "contains", "target": "dtmi:x:Room;1",
            "properties": [{"@type": "Property", "name": "since", "schema": "integer"}]},
            {"@type": "Property", "name": "size", "schema": "integer"}]);
        let floor = interface("dtmi:x:Floor;1", &json!({"contents": contents}));
        let room = interface("dtmi:x:Room;1", &json!({}));
        of(vec![floor, room, interface("dtmi:x:Kitchen;1", &json!({"extends": "dtmi:x:Room;1"}))])
    }

    fn twin(id: &str, model: &str) -> Arc<Twin> {
        let document = json!({"$dtId": id, "$metadata": {"$model": model}});
        Arc::new(Twin::restore(document).unwrap())
    }

    fn made(body: Value) -> Result<Relationship, GraphError> {
        let Value::Object(body) = body else { unreachable!() };
        let twins = [twin("k", "dtmi:x:Kitchen;1"), twin("f2", "dtmi:x:Floor;1")];
        let source = twin("f", "dtmi:x:Floor;1");
        let target_of = |id: &str| twins.iter().find(|twin| &*twin.id == id);
        make(&models(), 1, &source, &"r".into(), body, target_of)
    }

    #[test]
    fn a_relationship_is_as_its_model_says() {
        let body = json!({"$targetId": "k", "$relationshipName": "contains", "since": 2020});
        let made = made(body).unwrap();
        assert_eq!((&*made.source, &*made.target, &*made.name), ("f", "k", "contains"));
        assert_eq!(made.document["$sourceId"], "f");
        assert_eq!(made.document["since"], 2020);
        assert_eq!(Relationship::restore(made.document.clone()).unwrap(), made);
    }

    #[test]
    fn other_relationships_are_refused_by_name() {
        for (body, code) in [
            (json!({"$relationshipName": "contains"}), "InvalidRelationship"),
            (json!({"$targetId": "k"}), "InvalidRelationship"),
            (json!({"$targetId": "k", "$relationshipName": 1}), "InvalidRelationship"),
            (json!({"$targetId": "k", "$relationshipName": "has"}), "InvalidRelationship"),
            (json!({"$targetId": "k", "$relationshipName": "size"}), "InvalidRelationship"),
            (json!({"$targetId": "f2", "$relationshipName": "contains"}), "InvalidRelationship"),
            (json!({"$targetId": "k", "$relationshipName": "contains", "$sourceId": "x"}), "InvalidRelationship"),
            (json!({"$targetId": "none", "$relationshipName": "contains"}), "TargetTwinNotFound"),
            (json!({"$targetId": "f", "$relationshipName": "contains"}), "OperationNotAllowed"),
            (json!({"$targetId": "k", "$relationshipName": "contains", "since": "x"}), "ValidationFailed"),
            (json!({"$targetId": "k", "$relationshipName": "contains", "other": 1}), "ValidationFailed"),
        ] {
            assert_eq!(made(body.clone()).unwrap_err().code(), code, "{body}");
        }
    }

    #[test]
    fn patches_change_properties_only() {
        let relationship = made(json!({"$targetId": "k", "$relationshipName": "contains", "since": 1})).unwrap();
        let source = twin("f", "dtmi:x:Floor;1");
        let patch = |document: Value| {
            let patch = Patch::read(&document)?;
            patched(&models(), 2, &source, &relationship, &patch)
        };
        let after = patch(json!([{"op": "replace", "path": "/since", "value": 2}])).unwrap();
        assert_eq!(after.document["since"], 2);
        assert_ne!(after.etag(), relationship.etag());
        for path in ["/$targetId", "/$relationshipName", "/$etag", "/$sourceId"] {
            let error = patch(json!([{"op": "replace", "path": path, "value": "x"}])).unwrap_err();
            assert_eq!(error.code(), "JsonPatchInvalid", "{path}");
        }
        let error = patch(json!([{"op": "add", "path": "/other", "value": 1}])).unwrap_err();
        assert_eq!(error.code(), "ValidationFailed");
    }
}
