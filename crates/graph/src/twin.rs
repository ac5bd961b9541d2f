//! Twins: documents with an id, an etag, metadata, and properties and components as their model says.
//!
//! A document is kept as it is answered: `$dtId`, `$etag`, the contents, `$metadata` with `$model`, `$lastUpdateTime` and,
//! for each property, `lastUpdateTime` and perhaps `sourceTime`; a component has the same within. Everything that is
//! written is checked against the model as a whole, whether it came in a body or by a patch.

use std::collections::BTreeSet;
use std::sync::Arc;

use gantry_dtdl::{Capability, Interface};
use gantry_identity::Timestamp;
use serde_json::{Map, Value, json};

use crate::error::GraphError;
use crate::ids::cut;
use crate::limits::{DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, STRING_BYTES_MAX};
use crate::models::{Definitions, Model};
use crate::patch::{Operation, Patch, apply};

pub(crate) const ID: &str = "$dtId";
pub(crate) const ETAG: &str = "$etag";
pub(crate) const METADATA: &str = "$metadata";
pub(crate) const MODEL: &str = "$model";
const LAST_UPDATE: &str = "$lastUpdateTime";
const PROPERTY_UPDATE: &str = "lastUpdateTime";
const SOURCE_TIME: &str = "sourceTime";

type Object = Map<String, Value>;

/// A twin.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    /// Its id.
    pub id: Arc<str>,
    /// Its model, which may have been deleted.
    pub model: Arc<str>,
    /// As it is answered.
    pub document: Value,
}

impl Twin {
    /// Reads a document that was kept.
    pub(crate) fn restore(document: Value) -> Option<Self> {
        let id = document.get(ID)?.as_str()?.into();
        let model = document.get(METADATA)?.get(MODEL)?.as_str()?.into();
        Some(Self { id, model, document })
    }

    /// The etag, as the header has it.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.document.get(ETAG).and_then(Value::as_str).unwrap_or_default()
    }

    /// A component.
    ///
    /// # Errors
    /// When it has none of the name.
    pub fn component(&self, models: &Definitions, name: &str) -> Result<&Value, GraphError> {
        let is_one = match models.get(&self.model).and_then(|model| model.interface()) {
            Some(interface) => interface.content(name).is_some_and(|content| content.component().is_some()),
            None => self.document.get(name).is_some_and(|value| value.get(METADATA).is_some()),
        };
        let found = self.document.get(name).filter(|_| is_one && !name.starts_with('$'));
        found.ok_or_else(|| GraphError::ComponentNotFound { twin: self.id.to_string(), name: cut(name) })
    }
}

/// An etag as it is shown, of a number that was drawn.
pub(crate) fn etag_of(drawn: u128) -> String {
    let hex = format!("{drawn:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("W/\"{}-{}-{}-{}-{}\"", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The etag without its marks, to be compared.
pub(crate) fn bare(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// The model a twin may have, which a new one has not had before.
fn model_of<'a>(models: &'a Definitions, id: &str, had: Option<&str>) -> Result<&'a Model, GraphError> {
    let model = models.get(id).ok_or_else(|| GraphError::validation(format!("there is no model `{}`", cut(id))))?;
    if model.decommissioned && had != Some(id) {
        return Err(GraphError::ModelDecommissioned(id.to_owned()));
    }
    Ok(model)
}

/// A twin from a body. `old` is the one it replaces.
pub(crate) fn make(
    models: &Definitions,
    (now, drawn): (Timestamp, u128),
    id: &Arc<str>,
    body: Object,
    old: Option<&Twin>,
) -> Result<Twin, GraphError> {
    let metadata = match body.get(METADATA) {
        Some(Value::Object(metadata)) => metadata.clone(),
        Some(_) => return Err(GraphError::validation("`$metadata` is an object")),
        None => return Err(GraphError::validation("`$metadata` is missing")),
    };
    let named = metadata.get(MODEL).and_then(Value::as_str);
    let named = named.ok_or_else(|| GraphError::validation("`$metadata.$model` is the id of a model"))?;
    let model = model_of(models, named, old.map(|twin| &*twin.model))?;
    let mut contents = Object::new();
    for (name, value) in body {
        match name.as_str() {
            ID | ETAG | METADATA => {}
            _ => drop(contents.insert(name, value)),
        }
    }
    let document = Document { model, contents, metadata: &metadata, old: None, touched: &BTreeSet::new() };
    document.finish(now, drawn, id)
}

/// What a patch makes of a twin.
pub(crate) fn patched(
    models: &Definitions,
    (now, drawn): (Timestamp, u128),
    twin: &Twin,
    patch: &Patch,
) -> Result<Twin, GraphError> {
    let Value::Object(document) = &twin.document else { return Err(GraphError::validation("the twin is damaged")) };
    let mut contents = document.clone();
    let mut metadata = match contents.shift_remove(METADATA) {
        Some(Value::Object(metadata)) => metadata,
        _ => Object::new(),
    };
    contents.shift_remove(ID);
    contents.shift_remove(ETAG);
    let mut touched = BTreeSet::new();
    patch.0.iter().for_each(|(path, _)| forget_source_time(&mut metadata, &mut contents, path));
    for (path, operation) in &patch.0 {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let done = match names.as_slice() {
            [METADATA, MODEL] => change_model(&mut metadata, operation),
            [METADATA, property, SOURCE_TIME] => set_source_time(&mut metadata, property, operation),
            [component, METADATA, property, SOURCE_TIME] => {
                let inner = contents.get_mut(*component).and_then(|inner| inner.get_mut(METADATA));
                match inner.and_then(Value::as_object_mut) {
                    Some(inner) => set_source_time(inner, property, operation),
                    None => Err(format!("there is no component `{}`", cut(component))),
                }
            }
            [first, ..] if first.starts_with('$') => Err(format!("`{}` cannot be changed", cut(first))),
            [_, second, ..] if second.starts_with('$') => Err(format!("`{}` cannot be changed", cut(second))),
            [first, rest @ ..] => {
                touched.insert(((*first).to_owned(), rest.first().map(|name| (*name).to_owned())));
                apply(&mut contents, path, operation)
            }
            [] => Err("the path is empty".into()),
        };
        done.map_err(GraphError::patch)?;
    }
    let named = metadata.get(MODEL).and_then(Value::as_str).unwrap_or_default().to_owned();
    let model = model_of(models, &named, Some(&twin.model))?;
    let document = Document { model, contents, metadata: &metadata, old: Some(&metadata), touched: &touched };
    document.finish(now, drawn, &twin.id)
}

/// A value that is written is not as old as the one before.
fn forget_source_time(metadata: &mut Object, contents: &mut Object, path: &[String]) {
    let forget = |metadata: Option<&mut Object>, name: &str| {
        let about = metadata.and_then(|metadata| metadata.get_mut(name)).and_then(Value::as_object_mut);
        if let Some(about) = about {
            about.shift_remove(SOURCE_TIME);
        }
    };
    if let Some(first) = path.first() {
        forget(Some(metadata), first);
        if let Some(second) = path.get(1) {
            let inner = contents.get_mut(first).and_then(|inner| inner.get_mut(METADATA));
            forget(inner.and_then(Value::as_object_mut), second);
        }
    }
}

fn change_model(metadata: &mut Object, operation: &Operation) -> Result<(), String> {
    match operation {
        Operation::Add(Value::String(id)) | Operation::Replace(Value::String(id)) => {
            metadata.insert(MODEL.into(), id.clone().into());
            Ok(())
        }
        _ => Err("`$model` can only be replaced by the id of a model".into()),
    }
}

fn set_source_time(metadata: &mut Object, property: &str, operation: &Operation) -> Result<(), String> {
    let entry = metadata.entry(property).or_insert_with(|| json!({}));
    let entry = entry.as_object_mut().ok_or_else(|| format!("`{}` cannot be changed", cut(property)))?;
    match operation {
        Operation::Add(value) | Operation::Replace(value) => drop(entry.insert(SOURCE_TIME.into(), value.clone())),
        Operation::Remove => drop(entry.shift_remove(SOURCE_TIME)),
    }
    Ok(())
}

/// A twin in the making.
struct Document<'a> {
    model: &'a Model,
    contents: Object,
    /// What the caller says of properties: when their values were measured.
    metadata: &'a Object,
    /// What was known of properties; none when all of them are new.
    old: Option<&'a Object>,
    /// Properties that were written, and properties of components.
    touched: &'a BTreeSet<(String, Option<String>)>,
}

impl Document<'_> {
    fn finish(self, now: Timestamp, drawn: u128, id: &Arc<str>) -> Result<Twin, GraphError> {
        let interface = self.model.interface();
        let interface = interface.ok_or_else(|| GraphError::validation("the model is not an interface"))?;
        check_metadata(self.metadata, &self.contents, "")?;
        let mut document = Object::new();
        document.insert(ID.into(), (&**id).into());
        document.insert(ETAG.into(), etag_of(drawn).into());
        let mut metadata = Object::new();
        metadata.insert(MODEL.into(), (&*self.model.id).into());
        metadata.insert(LAST_UPDATE.into(), now.to_string().into());
        for (name, value) in &self.contents {
            let content = check_name(&interface, name)?;
            match content.capability() {
                Some(Capability::Property) => {
                    check_value(&content, name, value)?;
                    document.insert(name.clone(), value.clone());
                    let is_written = self.touched.iter().any(|(first, _)| first == name);
                    let old = self.old.filter(|_| !is_written);
                    metadata.insert(name.clone(), about(name, self.metadata, old, now));
                }
                Some(Capability::Component) => {
                    let made = self.component(name, value, content.component(), now)?;
                    document.insert(name.clone(), made);
                }
                _ => return Err(GraphError::validation(format!("`{name}` is neither a property nor a component"))),
            }
        }
        let mut components = interface.capabilities(Capability::Component).filter_map(|content| content.name());
        if let Some(name) = components.find(|name| !self.contents.contains_key(*name)) {
            let words = format!("component `{name}` is missing; one without properties is `{{\"$metadata\":{{}}}}`");
            return Err(GraphError::validation(words));
        }
        document.insert(METADATA.into(), metadata.into());
        let document = Value::Object(document);
        check_size(&document)?;
        Ok(Twin { id: Arc::clone(id), model: Arc::clone(&self.model.id), document })
    }

    fn component(
        &self,
        component: &str,
        value: &Value,
        interface: Option<Interface<'_>>,
        now: Timestamp,
    ) -> Result<Value, GraphError> {
        let Value::Object(value) = value else {
            return Err(GraphError::validation(format!("component `{component}` is an object")));
        };
        let interface =
            interface.ok_or_else(|| GraphError::validation(format!("component `{component}` has no interface")))?;
        let known = match value.get(METADATA) {
            Some(Value::Object(known)) => known.clone(),
            Some(_) => return Err(GraphError::validation(format!("`{component}.$metadata` is an object"))),
            None => Object::new(),
        };
        if known.get(MODEL).is_some_and(|named| named.as_str() != Some(interface.id().as_str())) {
            let words = format!("component `{component}` is of model `{}`", interface.id().as_str());
            return Err(GraphError::validation(words));
        }
        check_metadata(&known, value, component)?;
        let is_whole = self.touched.contains(&(component.to_owned(), None));
        let (mut made, mut metadata) = (Object::new(), Object::new());
        let is_touched = self.old.is_none() || self.touched.iter().any(|(first, _)| first == component);
        let before = known.get(LAST_UPDATE).filter(|_| !is_touched).cloned();
        metadata.insert(LAST_UPDATE.into(), before.unwrap_or_else(|| now.to_string().into()));
        for (name, value) in value.iter().filter(|(name, _)| name.as_str() != METADATA) {
            let content = check_name(&interface, name)?;
            if content.capability() != Some(Capability::Property) {
                return Err(GraphError::validation(format!("`{component}.{name}` is not a property")));
            }
            check_value(&content, &format!("{component}.{name}"), value)?;
            made.insert(name.clone(), value.clone());
            let is_written = is_whole || self.touched.contains(&(component.to_owned(), Some(name.clone())));
            let old = self.old.is_some_and(|_| !is_written).then_some(&known);
            metadata.insert(name.clone(), about(name, &known, old, now));
        }
        made.insert(METADATA.into(), metadata.into());
        Ok(made.into())
    }
}

/// What is known of a property: when it was written, and when measured if its writer says so.
fn about(name: &str, said: &Object, old: Option<&Object>, now: Timestamp) -> Value {
    let member = |of: &Object, member: &str| of.get(name).and_then(|about| about.get(member)).cloned();
    let mut about = Object::new();
    let written = old.and_then(|old| member(old, PROPERTY_UPDATE)).unwrap_or_else(|| now.to_string().into());
    about.insert(PROPERTY_UPDATE.into(), written);
    if let Some(measured) = member(said, SOURCE_TIME) {
        about.insert(SOURCE_TIME.into(), measured);
    }
    about.into()
}

/// Metadata names properties there are, and says of them what is known here.
fn check_metadata(metadata: &Object, contents: &Object, component: &str) -> Result<(), GraphError> {
    let place = if component.is_empty() { METADATA.to_owned() } else { format!("{component}.{METADATA}") };
    for (name, about) in metadata {
        match (name.as_str(), about) {
            (MODEL | LAST_UPDATE, Value::String(_)) => {}
            (_, Value::Object(about)) if !name.starts_with('$') => {
                let known = [PROPERTY_UPDATE, SOURCE_TIME];
                if let Some(other) = about.keys().find(|key| !known.contains(&key.as_str())) {
                    return Err(GraphError::validation(format!("`{place}.{}.{}` is not known", cut(name), cut(other))));
                }
                let is_time = |value: &Value| value.as_str().and_then(Timestamp::parse).is_some();
                if about.get(SOURCE_TIME).is_some_and(|value| !is_time(value)) {
                    let words = format!("`{place}.{}.{SOURCE_TIME}` is not an instant of RFC 3339", cut(name));
                    return Err(GraphError::validation(words));
                }
                let has_source_time = about.contains_key(SOURCE_TIME);
                if has_source_time && !contents.contains_key(name) {
                    return Err(GraphError::validation(format!(
                        "`{place}` speaks of `{}`, which has no value",
                        cut(name)
                    )));
                }
            }
            _ => return Err(GraphError::validation(format!("`{place}.{}` is not known", cut(name)))),
        }
    }
    Ok(())
}

fn check_name<'m>(interface: &Interface<'m>, name: &str) -> Result<gantry_dtdl::Content<'m>, GraphError> {
    interface.content(name).ok_or_else(|| {
        GraphError::validation(format!("model `{}` has no property `{}`", interface.id().as_str(), cut(name)))
    })
}

/// A value of a property is one of its schema, and its texts are within their bounds.
pub(crate) fn check_value(content: &gantry_dtdl::Content<'_>, name: &str, value: &Value) -> Result<(), GraphError> {
    if let Some(violation) = content.validate(value).first() {
        let path = violation.path.replace('/', ".");
        return Err(GraphError::validation(format!("`{}{}` {}", cut(name), cut(&path), violation.what)));
    }
    check_texts(name, value)
}

fn check_texts(name: &str, value: &Value) -> Result<(), GraphError> {
    match value {
        Value::String(text) if text.len() > STRING_BYTES_MAX => {
            Err(GraphError::validation(format!("`{}` has a text of more than {STRING_BYTES_MAX} bytes", cut(name))))
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_texts(name, item)),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            if key.len() > NAME_BYTES_MAX {
                let words = format!("`{}` has a name of more than {NAME_BYTES_MAX} bytes", cut(name));
                return Err(GraphError::validation(words));
            }
            check_texts(name, value)
        }),
        _ => Ok(()),
    }
}

/// A document is not larger than one may be.
pub(crate) fn check_size(document: &Value) -> Result<(), GraphError> {
    let bytes = document.to_string().len();
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(GraphError::LimitExceeded(format!("it has {bytes} bytes; {DOCUMENT_BYTES_MAX} are allowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::{interface, of};

    fn models() -> Definitions {
        let lamp = interface(
            "dtmi:x:Lamp;1",
            &json!({"contents": [{"@type": "Property", "name": "on", "schema": "boolean"}]}),
        );
        let contents = json!([
            {"@type": "Property", "name": "temperature", "schema": "double"},
            {"@type": "Property", "name": "name", "schema": "string"},
            {"@type": "Property", "name": "tags", "schema": {"@type": "Map",
                "mapKey": {"name": "k", "schema": "string"}, "mapValue": {"name": "v", "schema": "string"}}},
            {"@type": "Telemetry", "name": "noise", "schema": "double"},
            {"@type": "Component", "name": "lamp", "schema": "dtmi:x:Lamp;1"},
        ]);
        let room = interface("dtmi:x:Room;1", &json!({"contents": contents}));
        of(vec![lamp, room, interface("dtmi:x:Bare;1", &json!({}))])
    }

    fn at(ms: i64) -> (Timestamp, u128) {
        (Timestamp::from_millis(ms), 7)
    }

    fn room(more: &Value) -> Value {
        let mut body = json!({"$metadata": {"$model": "dtmi:x:Room;1"}, "lamp": {"$metadata": {}}});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    }

    fn made(body: Value) -> Result<Twin, GraphError> {
        let Value::Object(body) = body else { unreachable!() };
        make(&models(), at(1), &"room".into(), body, None)
    }

    fn patch(twin: &Twin, document: Value) -> Result<Twin, GraphError> {
        patched(&models(), at(2), twin, &Patch::read(&document)?)
    }

    #[test]
    fn a_twin_has_metadata_of_its_properties() {
        let twin = made(room(&json!({"temperature": 20, "lamp": {"on": true}, "$dtId": "ignored"}))).unwrap();
        let first = "1970-01-01T00:00:00.0010000Z";
        assert_eq!(
            twin.document,
            json!({
                "$dtId": "room", "$etag": "W/\"00000000-0000-0000-0000-000000000007\"", "temperature": 20,
                "lamp": {"on": true, "$metadata": {"$lastUpdateTime": first, "on": {"lastUpdateTime": first}}},
                "$metadata": {"$model": "dtmi:x:Room;1", "$lastUpdateTime": first,
                    "temperature": {"lastUpdateTime": first}},
            })
        );
        // What was read can be written as it is.
        let Value::Object(again) = twin.document.clone() else { unreachable!() };
        assert_eq!(make(&models(), at(1), &"room".into(), again, Some(&twin)).unwrap(), twin);
    }

    #[test]
    fn a_patch_changes_the_time_of_what_it_writes() {
        let twin = made(room(&json!({"temperature": 20, "name": "a", "lamp": {"on": true}}))).unwrap();
        let document = json!([
            {"op": "replace", "path": "/temperature", "value": 21},
            {"op": "add", "path": "/$metadata/temperature/sourceTime", "value": "2026-01-01T00:00:00Z"},
            {"op": "remove", "path": "/name"},
        ]);
        let after = patch(&twin, document).unwrap().document;
        let (first, second) = ("1970-01-01T00:00:00.0010000Z", "1970-01-01T00:00:00.0020000Z");
        assert_eq!(after["temperature"], 21);
        assert_eq!(after["$metadata"]["temperature"]["lastUpdateTime"], second);
        assert_eq!(after["$metadata"]["temperature"]["sourceTime"], "2026-01-01T00:00:00Z");
        assert_eq!(after["$metadata"]["$lastUpdateTime"], second);
        assert_eq!(after["lamp"]["$metadata"]["on"]["lastUpdateTime"], first);
        assert!(after.get("name").is_none() && after["$metadata"].get("name").is_none());
        let after = patch(&twin, json!([{"op": "replace", "path": "/lamp/on", "value": false}])).unwrap().document;
        assert_eq!(after["lamp"]["$metadata"]["on"]["lastUpdateTime"], second);
        assert_eq!(after["$metadata"]["temperature"]["lastUpdateTime"], first);
    }

    #[test]
    fn the_time_of_a_measurement_goes_with_its_value() {
        let twin = made(room(&json!({"temperature": 20}))).unwrap();
        let measured = json!([
            {"op": "add", "path": "/$metadata/temperature/sourceTime", "value": "2026-01-01T00:00:00Z"},
            {"op": "replace", "path": "/temperature", "value": 21},
        ]);
        let twin = patch(&twin, measured).unwrap();
        assert_eq!(twin.document["$metadata"]["temperature"]["sourceTime"], "2026-01-01T00:00:00Z");
        let later = patch(&twin, json!([{"op": "replace", "path": "/temperature", "value": 22}])).unwrap();
        assert!(later.document["$metadata"]["temperature"].get("sourceTime").is_none());
        assert!(patch(&twin, json!([{"op": "remove", "path": "/temperature"}])).is_ok());
    }

    #[track_caller]
    fn refused(body: Value, code: &str) {
        let error = made(body.clone()).err().map(|error| error.code());
        assert_eq!(error, Some(code), "{body}");
    }

    #[test]
    fn what_the_model_does_not_say_is_refused() {
        for bad in [
            json!({}),
            json!({"$metadata": 1}),
            json!({"$metadata": {}}),
            json!({"$metadata": {"$model": "dtmi:x:No;1"}}),
            json!({"$metadata": {"$model": "dtmi:x:Room;1"}}),
            room(&json!({"temperature": "hot"})),
            room(&json!({"temperature": null})),
            room(&json!({"noise": 1})),
            room(&json!({"other": 1})),
            room(&json!({"lamp": 1})),
            room(&json!({"lamp": {"on": 1}})),
            room(&json!({"lamp": {"off": true}})),
            room(&json!({"lamp": {"$metadata": {"$model": "dtmi:x:Room;1"}}})),
            room(&json!({"name": "x".repeat(STRING_BYTES_MAX + 1)})),
            room(&json!({"tags": {"x".repeat(NAME_BYTES_MAX + 1): "x"}})),
            room(&json!({"$metadata": {"$model": "dtmi:x:Room;1", "temperature": {"x": 1}}})),
            room(
                &json!({"$metadata": {"$model": "dtmi:x:Room;1", "temperature": {"sourceTime": "2026-01-01T00:00:00Z"}}}),
            ),
        ] {
            refused(bad, "ValidationFailed");
        }
        assert!(made(room(&json!({"name": "x".repeat(STRING_BYTES_MAX)}))).is_ok());
        let tags: Object = (0..17).map(|n| (format!("t{n}"), "x".repeat(STRING_BYTES_MAX).into())).collect();
        refused(room(&json!({"tags": tags})), "LimitExceeded");
    }

    #[test]
    fn patches_reach_contents_and_the_model_only() {
        let twin = made(room(&json!({"temperature": 20}))).unwrap();
        for (path, value, code) in [
            ("/$dtId", json!("x"), "JsonPatchInvalid"),
            ("/$etag", json!("x"), "JsonPatchInvalid"),
            ("/$metadata/temperature", json!({}), "JsonPatchInvalid"),
            ("/$metadata/$lastUpdateTime", json!("x"), "JsonPatchInvalid"),
            ("/lamp/$metadata", json!({}), "JsonPatchInvalid"),
            ("/$metadata/temperature/sourceTime", json!("noon"), "ValidationFailed"),
            ("/noise", json!(1), "ValidationFailed"),
            ("/$metadata/$model", json!("dtmi:x:Bare;1"), "ValidationFailed"),
            ("/$metadata/$model", json!("dtmi:x:No;1"), "ValidationFailed"),
            ("/$metadata/$model", json!(1), "JsonPatchInvalid"),
        ] {
            let error = patch(&twin, json!([{"op": "add", "path": path, "value": value}])).unwrap_err();
            assert_eq!(error.code(), code, "{path}: {error}");
        }
        // The model changes together with what it does not have.
        let bare = json!([
            {"op": "replace", "path": "/$metadata/$model", "value": "dtmi:x:Bare;1"},
            {"op": "remove", "path": "/temperature"}, {"op": "remove", "path": "/lamp"},
        ]);
        assert_eq!(&*patch(&twin, bare).unwrap().model, "dtmi:x:Bare;1");
    }

    #[test]
    fn decommissioned_models_are_for_twins_that_have_them() {
        let mut models = models();
        let twin = made(room(&json!({}))).unwrap();
        let old = Arc::new(models["dtmi:x:Room;1"].set_decommissioned(true));
        models.insert("dtmi:x:Room;1".into(), old);
        let Value::Object(body) = room(&json!({})) else { unreachable!() };
        let new = make(&models, at(1), &"b".into(), body.clone(), None);
        assert!(matches!(new, Err(GraphError::ModelDecommissioned(_))));
        assert!(make(&models, at(1), &"room".into(), body, Some(&twin)).is_ok());
    }

    #[test]
    fn components_are_found_by_name() {
        let twin = made(room(&json!({"temperature": 1}))).unwrap();
        assert!(twin.component(&models(), "lamp").is_ok());
        for bad in ["temperature", "$metadata", "other"] {
            assert!(matches!(twin.component(&models(), bad), Err(GraphError::ComponentNotFound { .. })), "{bad}");
        }
    }
}
