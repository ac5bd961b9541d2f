//! Models: interfaces in DTDL with when they came and whether they are still for new twins.
//!
//! Models that come together are parsed together and share what was parsed. What one is built on, by `extends` or as a
//! component, must come with it or be there. Twins outlive their model: one whose model was deleted can be read, queried
//! and deleted, and not be changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_dtdl::{DtdlError, Dtmi, Interface, Model as Parsed, Options, Parser};
use gantry_identity::Timestamp;
use serde_json::{Map, Value};

use crate::error::GraphError;
use crate::ids::{check_model, cut};
use crate::limits::{MODEL_BYTES_MAX, MODELS_BYTES_MAX, MODELS_MAX};

/// What contexts of DTDL begin with.
const CONTEXT: &str = "dtmi:dtdl:context;";

/// A model.
pub struct Model {
    /// Its id.
    pub id: Arc<str>,
    /// The interface as it came.
    pub definition: Value,
    /// When it came.
    pub uploaded_at: Timestamp,
    /// Whether no new twin may have it.
    pub decommissioned: bool,
    /// Bytes of the definition.
    pub(crate) bytes: usize,
    /// Every interface it extends, however far above.
    ancestors: BTreeSet<Arc<str>>,
    /// What it extends and has as components, itself.
    references: BTreeSet<Arc<str>>,
    parsed: Arc<Parsed>,
}

impl Model {
    fn new(parsed: &Arc<Parsed>, definition: Value, bytes: usize, uploaded_at: Timestamp) -> Option<Self> {
        let id = definition.get("@id")?.as_str()?;
        let interface = parsed.interface(id)?;
        let name = |of: Interface<'_>| Arc::<str>::from(of.id().as_str());
        let own = |id: &Dtmi| id.as_str() == interface.id().as_str();
        let components = interface.contents().filter(|content| content.defined_in().is_none_or(own));
        let components = components.filter_map(|content| content.component()).map(name);
        let references = interface.extends().map(name).chain(components).collect();
        let ancestors = interface.ancestors().map(name).collect();
        let (id, parsed) = (Arc::from(id), Arc::clone(parsed));
        Some(Self { id, definition, uploaded_at, decommissioned: false, bytes, ancestors, references, parsed })
    }

    /// The interface.
    #[must_use]
    pub fn interface(&self) -> Option<Interface<'_>> {
        self.parsed.interface(&self.id)
    }

    /// Whether it is another model or extends it.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        *self.id == *other || self.ancestors.contains(other)
    }

    /// The same, decommissioned or not.
    #[must_use]
    pub fn set_decommissioned(&self, decommissioned: bool) -> Self {
        Self {
            decommissioned,
            id: Arc::clone(&self.id),
            definition: self.definition.clone(),
            ancestors: self.ancestors.clone(),
            references: self.references.clone(),
            parsed: Arc::clone(&self.parsed),
            ..*self
        }
    }

    /// A member of the definition that has texts by language; a plain text is English.
    #[must_use]
    pub fn texts(&self, name: &str) -> Map<String, Value> {
        match self.definition.get(name) {
            Some(Value::String(text)) => Map::from_iter([("en".to_owned(), text.clone().into())]),
            Some(Value::Object(texts)) => texts.clone(),
            _ => Map::new(),
        }
    }
}

/// Models by id.
pub type Definitions = BTreeMap<Arc<str>, Arc<Model>>;

fn parser() -> Parser {
    Parser::new(Options {
        text_bytes_max: MODELS_BYTES_MAX * 2,
        elements_max: 20_000_000,
        resolver_calls_max: 64,
        ..Options::default()
    })
}

/// What `definitions` become as models of a graph that has `there`.
///
/// # Errors
/// Names the first definition that cannot be a model, and why.
pub(crate) fn read(there: &Definitions, definitions: Vec<Value>, now: Timestamp) -> Result<Vec<Model>, GraphError> {
    let mut texts = Vec::with_capacity(definitions.len());
    let mut ids = BTreeSet::new();
    for definition in &definitions {
        let id = definition.get("@id").and_then(Value::as_str);
        let id = id.ok_or_else(|| GraphError::InvalidArgument("a model is an object with an `@id`".into()))?;
        check_model(id)?;
        check_version(definition)?;
        if there.contains_key(id) || !ids.insert(id) {
            return Err(GraphError::ModelAlreadyExists(id.to_owned()));
        }
        let text = definition.to_string();
        if text.len() > MODEL_BYTES_MAX {
            return Err(GraphError::LimitExceeded(format!("model `{id}` has more than {MODEL_BYTES_MAX} bytes")));
        }
        texts.push(text);
    }
    if there.len() + definitions.len() > MODELS_MAX {
        return Err(GraphError::LimitExceeded(format!("a graph may have {MODELS_MAX} models")));
    }
    let bytes = there.values().map(|model| model.bytes).chain(texts.iter().map(String::len)).sum::<usize>();
    if bytes > MODELS_BYTES_MAX {
        return Err(GraphError::LimitExceeded(format!("models of a graph may have {MODELS_BYTES_MAX} bytes together")));
    }
    let mut resolver = |ids: &[Dtmi]| {
        let found = ids.iter().filter_map(|id| there.get(id.as_str())).map(|model| model.definition.to_string());
        let found: Vec<String> = found.collect();
        (!found.is_empty()).then_some(found)
    };
    let parsed = parser().parse_with(&texts, &mut resolver).map_err(|error| refusal(&error))?;
    let parsed = Arc::new(parsed);
    let made = definitions.into_iter().zip(texts).map(|(definition, text)| {
        let id = definition.get("@id").and_then(Value::as_str).map(cut).unwrap_or_default();
        Model::new(&parsed, definition, text.len(), now)
            .ok_or_else(|| GraphError::DtdlParserError(format!("`{id}` is not an interface")))
    });
    made.collect()
}

fn refusal(error: &DtdlError) -> GraphError {
    GraphError::DtdlParserError(error.to_string())
}

/// A context of a version that is not known is told apart from other errors.
fn check_version(definition: &Value) -> Result<(), GraphError> {
    let first = match definition.get("@context") {
        Some(Value::Array(contexts)) => contexts.first(),
        context => context,
    };
    let version = first.and_then(Value::as_str).and_then(|context| context.strip_prefix(CONTEXT));
    let number = version.map(|version| version.split('#').next().unwrap_or(version));
    match number {
        Some(number) if !["2", "3", "4"].contains(&number) => {
            Err(GraphError::ModelVersionNotSupported(cut(version.unwrap_or_default())))
        }
        _ => Ok(()),
    }
}

/// Models as they were kept, all of them good when they came.
pub(crate) fn restore(kept: Vec<(Value, Timestamp, bool)>) -> Result<Definitions, GraphError> {
    if kept.is_empty() {
        return Ok(Definitions::new());
    }
    let times: Vec<_> = kept.iter().map(|(_, at, decommissioned)| (*at, *decommissioned)).collect();
    let definitions = kept.into_iter().map(|(definition, ..)| definition).collect();
    let models = read(&Definitions::new(), definitions, Timestamp::default())?;
    let restored = models.into_iter().zip(times).map(|(mut model, (at, decommissioned))| {
        (model.uploaded_at, model.decommissioned) = (at, decommissioned);
        (Arc::clone(&model.id), Arc::new(model))
    });
    Ok(restored.collect())
}

/// The model of an id.
pub(crate) fn find<'a>(there: &'a Definitions, id: &str) -> Result<&'a Arc<Model>, GraphError> {
    check_model(id)?;
    there.get(id).ok_or_else(|| GraphError::ModelNotFound(id.to_owned()))
}

/// The ids of a model and everything built on it, in order.
pub(crate) fn descendants(there: &Definitions, id: &str) -> Vec<Arc<str>> {
    there.values().filter(|model| model.is(id)).map(|model| Arc::clone(&model.id)).collect()
}

/// These models with everything they are built on, each once, in order of id.
pub(crate) fn with_dependencies(there: &Definitions, ids: &[String]) -> Result<Vec<Arc<Model>>, GraphError> {
    let mut found = Definitions::new();
    let mut waiting = ids.iter().map(|id| find(there, id).map(Arc::clone)).collect::<Result<Vec<_>, _>>()?;
    while let Some(model) = waiting.pop() {
        if found.insert(Arc::clone(&model.id), Arc::clone(&model)).is_none() {
            waiting.extend(model.references.iter().filter_map(|id| there.get(id)).map(Arc::clone));
        }
    }
    Ok(found.into_values().collect())
}

/// One that is built on a model, of those that `counts`.
fn user(there: &Definitions, id: &str, counts: impl Fn(&Model) -> bool) -> Option<String> {
    let user = there.values().find(|model| model.references.contains(id) && counts(model))?;
    Some(user.id.to_string())
}

/// That a model may go.
pub(crate) fn check_unused(there: &Definitions, id: &str) -> Result<(), GraphError> {
    match user(there, id, |_| true) {
        Some(by) => Err(GraphError::ModelReferencesNotDeleted { model: id.to_owned(), by }),
        None => Ok(()),
    }
}

/// What the patch of a model makes of it: only whether it is decommissioned can be replaced.
pub(crate) fn decommission(there: &Definitions, id: &str, patch: &Value) -> Result<Model, GraphError> {
    let model = find(there, id)?;
    let patch = crate::patch::Patch::read(patch)?;
    let mut decommissioned = model.decommissioned;
    for (path, operation) in &patch.0 {
        use crate::patch::Operation::{Add, Replace};
        match (path.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), operation) {
            (["decommissioned"], Replace(Value::Bool(flag)) | Add(Value::Bool(flag))) => decommissioned = *flag,
            _ => return Err(GraphError::patch("only `/decommissioned` of a model can be replaced, by true or false")),
        }
    }
    if decommissioned && let Some(by) = user(there, id, |model| !model.decommissioned) {
        return Err(GraphError::ModelReferencesNotDecommissioned { model: id.to_owned(), by });
    }
    Ok(model.set_decommissioned(decommissioned))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn interface(id: &str, more: &Value) -> Value {
        let mut made = json!({"@context": "dtmi:dtdl:context;2", "@id": id, "@type": "Interface"});
        for (name, value) in more.as_object().into_iter().flatten() {
            made[name] = value.clone();
        }
        made
    }

    pub(crate) fn of(definitions: Vec<Value>) -> Definitions {
        let models = read(&Definitions::new(), definitions, Timestamp::default()).unwrap();
        models.into_iter().map(|model| (Arc::clone(&model.id), Arc::new(model))).collect()
    }

    fn building() -> Definitions {
        let space = interface("dtmi:x:Space;1", &json!({"displayName": "Space"}));
        let lamp = interface("dtmi:x:Lamp;1", &json!({"displayName": {"de": "Lampe"}}));
        let contents = json!([{"@type": "Component", "name": "lamp", "schema": "dtmi:x:Lamp;1"}]);
        let room = interface("dtmi:x:Room;1", &json!({"extends": "dtmi:x:Space;1", "contents": contents}));
        of(vec![room, space, lamp])
    }

    #[test]
    fn a_model_is_what_it_extends_and_brings_what_it_is_built_on() {
        let models = building();
        assert!(models["dtmi:x:Room;1"].is("dtmi:x:Space;1"));
        assert!(!models["dtmi:x:Space;1"].is("dtmi:x:Room;1"));
        assert_eq!(descendants(&models, "dtmi:x:Space;1").len(), 2);
        let all = with_dependencies(&models, &["dtmi:x:Room;1".into()]).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(with_dependencies(&models, &["dtmi:x:Lamp;1".into()]).unwrap().len(), 1);
        assert!(matches!(with_dependencies(&models, &["dtmi:x:No;1".into()]), Err(GraphError::ModelNotFound(_))));
        assert_eq!(models["dtmi:x:Space;1"].texts("displayName")["en"], "Space");
        assert_eq!(models["dtmi:x:Lamp;1"].texts("displayName")["de"], "Lampe");
    }

    #[test]
    fn what_others_are_built_on_stays() {
        let models = building();
        assert!(matches!(
            check_unused(&models, "dtmi:x:Lamp;1"),
            Err(GraphError::ModelReferencesNotDeleted { by, .. }) if by == "dtmi:x:Room;1"
        ));
        assert!(check_unused(&models, "dtmi:x:Room;1").is_ok());
        let patch = json!([{"op": "replace", "path": "/decommissioned", "value": true}]);
        assert!(matches!(
            decommission(&models, "dtmi:x:Space;1", &patch),
            Err(GraphError::ModelReferencesNotDecommissioned { .. })
        ));
        assert!(decommission(&models, "dtmi:x:Room;1", &patch).unwrap().decommissioned);
        for bad in [
            json!([{"op": "replace", "path": "/displayName", "value": true}]),
            json!([{"op": "replace", "path": "/decommissioned", "value": 1}]),
            json!([{"op": "remove", "path": "/decommissioned"}]),
        ] {
            assert!(matches!(decommission(&models, "dtmi:x:Room;1", &bad), Err(GraphError::JsonPatchInvalid(_))));
        }
    }

    #[track_caller]
    fn refused(definitions: Vec<Value>, code: &str) {
        let error = read(&building(), definitions, Timestamp::default()).err().map(|error| error.code());
        assert_eq!(error, Some(code));
    }

    #[test]
    fn what_is_no_model_is_refused_by_name() {
        refused(vec![json!({})], "InvalidArgument");
        refused(vec![json!(1)], "InvalidArgument");
        refused(vec![interface("Room", &json!({}))], "InvalidArgument");
        refused(vec![interface("dtmi:x:Room;1", &json!({}))], "ModelAlreadyExists");
        refused(vec![interface("dtmi:x:A;1", &json!({})), interface("dtmi:x:A;1", &json!({}))], "ModelAlreadyExists");
        refused(vec![interface("dtmi:x:A;1", &json!({"extends": "dtmi:x:Missing;1"}))], "DTDLParserError");
        refused(vec![interface("dtmi:x:A;1", &json!({"contents": 1}))], "DTDLParserError");
        refused(vec![interface("dtmi:x:A;1", &json!({"@context": "dtmi:dtdl:context;5"}))], "ModelVersionNotSupported");
        let a = interface("dtmi:x:A;1", &json!({"extends": "dtmi:x:B;1"}));
        let b = interface("dtmi:x:B;1", &json!({"extends": "dtmi:x:A;1"}));
        refused(vec![a, b], "DTDLParserError");
        let long = "x".repeat(MODEL_BYTES_MAX);
        refused(vec![interface("dtmi:x:A;1", &json!({"comment": long}))], "LimitExceeded");
    }

    #[test]
    fn models_that_were_kept_are_read_together() {
        let models = building();
        let kept = models.values().map(|model| (model.definition.clone(), Timestamp::from_millis(5), true));
        let again = restore(kept.collect()).unwrap();
        assert_eq!(again.len(), 3);
        assert!(again.values().all(|model| model.decommissioned && model.uploaded_at.as_millis() == 5));
        assert!(again["dtmi:x:Room;1"].interface().unwrap().content("lamp").is_some());
    }
}
