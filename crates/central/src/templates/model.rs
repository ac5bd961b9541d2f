//! A capability model as IoT Central accepts it, read by the parser of DTDL.
//!
//! IoT Central is more lenient than the language: a model may come without a context, and a semantic type without the
//! unit that DTDL v2 wants with it (the published example of a device template has `Humidity` so), or a command with
//! `durable`. That is put right on a copy before it is parsed; a semantic type set aside is kept under [`SET_ASIDE`],
//! which `capabilities` reads.

use gantry_dtdl::{DtdlError, Dtmi, Model, NESTING_MAX, Options, Parser, Resolver};
use serde_json::{Map, Value, json};

/// Bytes of a capability model with what it refers to.
pub const MODEL_BYTES_MAX: usize = 2 << 20;
/// Elements of one, standard ones among them: some dozens for each of the capabilities a template may have.
const ELEMENTS_MAX: usize = 20_000;
/// The property under which a semantic type without unit is kept.
pub(super) const SET_ASIDE: &str = "gantrySemanticType";
/// The type of what has properties that DTDL does not know.
const SET_ASIDE_TYPE: &str = "GantrySetAside";
/// Contexts of a model that has none.
const CONTEXTS: [&str; 2] = ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"];
/// Types that are not semantic, with all that end in `Value`: the language's, and IoT Central's that say what a value is for.
const NOT_SEMANTIC: [&str; 9] = [
    "Telemetry",
    "Property",
    "State",
    "Event",
    "Location",
    "VelocityVector",
    "AccelerationVector",
    "Cloud",
    "Initialized",
];

/// A model with what was fetched for it.
pub(super) struct Read {
    /// The model.
    pub(super) model: Model,
    /// Its root.
    pub(super) root: Dtmi,
    /// What the resolver gave, each time it was asked.
    pub(super) fetched: Vec<Vec<String>>,
}

/// Parses a capability model; `resolver` gives what it refers to and does not have.
pub(super) fn read(capability_model: &Value, resolver: &mut dyn Resolver) -> Result<Read, DtdlError> {
    let mut document = prepared(capability_model);
    let modules = take_modules(&mut document);
    let texts: Vec<String> = std::iter::once(&document).chain(&modules).map(Value::to_string).collect();
    let options = Options {
        text_bytes_max: MODEL_BYTES_MAX,
        elements_max: ELEMENTS_MAX,
        tolerate_solecisms_in_parse: true,
        tolerate_solecisms_in_resolve: true,
        ..Options::default()
    };
    let mut fetched = vec![];
    let mut recorded = |ids: &[Dtmi]| {
        let texts = resolver.resolve(ids)?;
        let read = texts.iter().map(|text| lenient(text)).collect();
        fetched.push(texts);
        Some(read)
    };
    let model = Parser::new(options).parse_with(&texts, &mut recorded)?;
    let root = capability_model.get("@id").and_then(Value::as_str).unwrap_or_default();
    let root = model.interface(root).map(|interface| interface.id().clone());
    let root = root.or_else(|| model.interfaces().next().map(|interface| interface.id().clone()));
    Ok(Read { root: root.ok_or(DtdlError::Unresolved(vec![]))?, model, fetched })
}

/// A document from elsewhere, put right if it can be read at all; the parser says what is wrong with it otherwise.
fn lenient(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |value| prepared(&value).to_string())
}

fn prepared(document: &Value) -> Value {
    let mut copy = document.clone();
    let roots = match &mut copy {
        Value::Array(all) => all.as_mut_slice(),
        one => std::slice::from_mut(one),
    };
    for root in roots {
        if let Value::Object(members) = root {
            members.entry("@context").or_insert_with(|| json!(CONTEXTS));
        }
        set_aside(root, NESTING_MAX);
    }
    copy
}

/// Takes the interfaces of modules of IoT Edge out of the links to them, where the language allows ids only: they become
/// documents of their own.
fn take_modules(document: &mut Value) -> Vec<Value> {
    let links = document.get_mut("contents").and_then(Value::as_array_mut).into_iter().flatten();
    let is_module = |link: &&mut Value| match link.get("@type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).any(|of| of.ends_with("EdgeModule")),
        _ => false,
    };
    let mut modules = vec![];
    for target in links.filter(is_module).filter_map(|link| link.get_mut("target")) {
        let one = match target {
            Value::Array(items) if items.len() == 1 => items.remove(0),
            Value::Object(_) => target.take(),
            _ => continue,
        };
        let id = one.get("@id").cloned();
        match (one, id) {
            (one @ Value::Object(_), Some(id)) => {
                *target = id;
                modules.push(prepared(&one));
            }
            // What is no interface the parser refuses where it is.
            (one, _) => *target = one,
        }
    }
    modules
}

/// Takes semantic types off values without a unit. What is nested deeper than the parser goes is left to it.
fn set_aside(value: &mut Value, depth: usize) {
    if depth == 0 {
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| set_aside(item, depth - 1)),
        Value::Object(members) => {
            set_aside_type(members);
            if members.contains_key("durable") || members.contains_key(SET_ASIDE) {
                allow_unknown(members);
            }
            members.values_mut().for_each(|member| set_aside(member, depth - 1));
        }
        _ => {}
    }
}

/// Moves the semantic type of a value without unit under [`SET_ASIDE`].
fn set_aside_type(members: &mut Map<String, Value>) {
    if members.contains_key("unit") {
        return;
    }
    let Some(Value::Array(types)) = members.get_mut("@type") else { return };
    let has = |name: &str| types.iter().any(|of| of == name);
    if !has("Telemetry") && !has("Property") {
        return;
    }
    let is_semantic = |of: &Value| of.as_str().is_some_and(|of| !NOT_SEMANTIC.contains(&of) && !of.ends_with("Value"));
    if let Some(at) = types.iter().position(is_semantic) {
        let of = types.remove(at);
        members.insert(SET_ASIDE.to_owned(), of);
    }
}

/// Gives an element a type nobody knows: without one, DTDL v2 allows no properties that it does not know.
fn allow_unknown(members: &mut Map<String, Value>) {
    let of = members.entry("@type").or_insert_with(|| json!([]));
    if let Value::String(name) = of {
        *of = json!([name]);
    }
    if let Value::Array(types) = of {
        types.push(json!(SET_ASIDE_TYPE));
    }
}
