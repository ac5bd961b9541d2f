//! Automatic device management: what a configuration is and which ones can be.
//!
//! A configuration has a target condition, a priority and content: values under the desired
//! properties of devices (`deviceContent`) or of modules (`moduleContent`), or the modules of
//! an edge device with their desired properties (`modulesContent`). Source: "automatic device
//! management", registry REST reference; `docs/compatibility.md`.

use std::collections::BTreeMap;

use gantry_identity::Timestamp;
use gantry_query::{Query, Source};
use serde_json::{Value, json};

use crate::limits;
use crate::twins::twin::{Object, SectionWrite};
use crate::twins::write::{DESIRED, check_size, without_shown};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ConfigurationError {
    /// Not there.
    #[error("configuration `{0}` does not exist")]
    NotFound(String),
    /// The id is taken.
    #[error("configuration `{0}` exists already")]
    AlreadyExists(String),
    /// The caller's ETag is not the current one.
    #[error("etag of configuration `{0}` does not match")]
    PreconditionFailed(String),
    /// The id cannot be used.
    #[error("a configuration id has 1 to 128 lower-case letters, digits and -+%_*!'")]
    Id,
    /// The schema is not known.
    #[error("schemaVersion `{0}` is not known")]
    SchemaVersion(String),
    /// The target condition cannot be used.
    #[error("targetCondition: {0}")]
    Target(String),
    /// The content cannot be used.
    #[error("content: {0}")]
    Content(String),
    /// The content cannot be changed once it is there.
    #[error("the content of a configuration cannot be changed")]
    Immutable,
    /// A custom metric cannot be used.
    #[error("metric `{name}`: {why}")]
    Metric {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// As many configurations as there may be.
    #[error("a hub may have {max} configurations", max = limits::CONFIGURATIONS_MAX)]
    TooMany,
}

/// A value that belongs at a place under the desired properties.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// Names below `properties.desired`; empty for all of it.
    pub(crate) path: Vec<String>,
    /// Null removes what is there.
    pub(crate) value: Value,
}

/// What a configuration writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Device(Vec<Setting>),
    Module(Vec<Setting>),
    Edge(BTreeMap<String, Vec<Setting>>),
}

/// Whom it is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// An empty condition.
    Nobody,
    /// `SELECT *` over devices or modules.
    Query(Query),
}

/// What a service writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigurationWrite {
    /// `1.0` or `2.0`.
    pub schema_version: Option<String>,
    /// Words of the operator's.
    pub labels: Object,
    /// `content` as it came; absent leaves it on an update.
    pub content: Option<Value>,
    /// For whom.
    pub target_condition: String,
    /// The highest wins.
    pub priority: i32,
    /// Queries by name of the custom metrics.
    pub metrics: Vec<(String, String)>,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Its name.
    pub id: String,
    /// What a service wrote; the content is always there.
    pub write: ConfigurationWrite,
    /// When it was made; of equal priorities the newest wins.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Changes with every write.
    pub etag: u64,
    pub(crate) content: Content,
    pub(crate) target: Target,
}

impl Configuration {
    /// Checks a write and makes a configuration of it.
    ///
    /// # Errors
    /// [`ConfigurationError`] says what cannot be used.
    pub fn new(id: &str, write: ConfigurationWrite, now: Timestamp, etag: u64) -> Result<Self, ConfigurationError> {
        let made = Self::parse(id, write, now, etag)?;
        made.content.check()?;
        Ok(made)
    }

    /// As [`new`](Self::new), but that the content may hold what no twin takes: older versions stored it.
    fn parse(id: &str, write: ConfigurationWrite, now: Timestamp, etag: u64) -> Result<Self, ConfigurationError> {
        check_id(id)?;
        if let Some(version) = write.schema_version.as_deref().filter(|v| !matches!(*v, "" | "1.0" | "2.0")) {
            return Err(ConfigurationError::SchemaVersion(version.to_owned()));
        }
        check_metrics(&write.metrics)?;
        let content = parse_content(write.content.as_ref().unwrap_or(&Value::Null))?;
        let target = parse_target(&write.target_condition).map_err(ConfigurationError::Target)?;
        let wants_modules = matches!(content, Content::Module(_));
        if let Target::Query(query) = &target
            && wants_modules != (query.source() == Source::Modules)
        {
            let words =
                "moduleContent needs a condition that begins with FROM devices.modules, other content one without";
            return Err(ConfigurationError::Target(words.into()));
        }
        Ok(Self { id: id.to_owned(), write, created_at: now, updated_at: now, etag, content, target })
    }

    /// The ETag as bodies carry it.
    pub fn etag_text(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.etag.to_be_bytes())
    }

    /// Names and texts of the system metrics.
    pub fn system_metrics(&self) -> Vec<(&'static str, String)> {
        let id = &self.id;
        let (source, edge) = match self.content {
            Content::Module(_) => ("devices.modules", false),
            Content::Device(_) => ("devices", false),
            Content::Edge(_) => ("devices", true),
        };
        let list = if source == "devices" { "deviceId" } else { "deviceId, moduleId" };
        let mut all = vec![
            ("targetedCount", target_text(&self.write.target_condition, list)),
            ("appliedCount", format!("SELECT {list} FROM {source} WHERE configurations.[[{id}]].status = 'Applied'")),
        ];
        if edge {
            let agent = format!(
                "SELECT deviceId FROM devices.modules WHERE moduleId = '$edgeAgent' AND configurations.[[{id}]].status = 'Applied' AND properties.desired.$version = properties.reported.lastDesiredVersion"
            );
            let code = "properties.reported.lastDesiredStatus.code";
            all.push(("reportedSuccessfulCount", format!("{agent} AND {code} = 200")));
            all.push(("reportedFailedCount", format!("{agent} AND {code} != 200")));
        }
        all
    }

    /// Whether it brings a whole edge deployment and not a layer.
    pub(crate) fn is_base(&self) -> bool {
        match &self.content {
            Content::Edge(modules) => {
                modules.get("$edgeAgent").is_some_and(|agent| agent.iter().any(|setting| setting.path.is_empty()))
            }
            _ => false,
        }
    }

    pub(crate) fn document(&self) -> String {
        let write = &self.write;
        json!({
            "schemaVersion": write.schema_version, "labels": write.labels, "content": write.content,
            "targetCondition": write.target_condition, "priority": write.priority, "metrics": write.metrics,
            "createdAt": self.created_at.as_millis(), "updatedAt": self.updated_at.as_millis(), "etag": self.etag,
        })
        .to_string()
    }

    pub(crate) fn read(id: &str, text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let at = |field: &str| value[field].as_i64().map(Timestamp::from_millis);
        let write = ConfigurationWrite {
            schema_version: value["schemaVersion"].as_str().map(str::to_owned),
            labels: value["labels"].as_object()?.clone(),
            content: Some(value["content"].clone()),
            target_condition: value["targetCondition"].as_str()?.to_owned(),
            priority: i32::try_from(value["priority"].as_i64()?).ok()?,
            metrics: serde_json::from_value(value["metrics"].clone()).ok()?,
        };
        let read = Self::parse(id, write, at("createdAt")?, value["etag"].as_u64()?).ok()?;
        Some(Self { updated_at: at("updatedAt")?, ..read })
    }
}

fn check_id(id: &str) -> Result<(), ConfigurationError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-+%_*!'".contains(&b);
    if (1..=128).contains(&id.len()) && id.bytes().all(allowed) { Ok(()) } else { Err(ConfigurationError::Id) }
}

fn check_metrics(metrics: &[(String, String)]) -> Result<(), ConfigurationError> {
    let bad = |name: &str, why: String| ConfigurationError::Metric { name: name.to_owned(), why };
    if let Some((name, _)) = metrics.get(limits::CONFIGURATION_METRICS_MAX) {
        return Err(bad(name, format!("there may be {}", limits::CONFIGURATION_METRICS_MAX)));
    }
    for (name, text) in metrics {
        check_metric(text).map_err(|why| bad(name, why))?;
    }
    Ok(())
}

/// Whether a text is a query a metric may be.
///
/// # Errors
/// Says what is wrong.
pub fn check_metric(text: &str) -> Result<(), String> {
    let query = Query::parse(text).map_err(|error| error.to_string())?;
    if query.source() == Source::Jobs { Err("a metric reads devices or modules".into()) } else { Ok(()) }
}

/// The target condition as a query with a select list.
fn target_text(condition: &str, list: &str) -> String {
    let condition = condition.trim();
    if condition.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("from")) {
        return format!("SELECT {list} {condition}");
    }
    match condition {
        "" => format!("SELECT {list} FROM devices WHERE false"),
        "*" => format!("SELECT {list} FROM devices"),
        condition => format!("SELECT {list} FROM devices WHERE {condition}"),
    }
}

/// Whom a target condition means.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn parse_target(condition: &str) -> Result<Target, String> {
    if condition.trim().is_empty() {
        return Ok(Target::Nobody);
    }
    let query = Query::parse(&target_text(condition, "*")).map_err(|error| error.to_string())?;
    if query.source() == Source::Jobs || query.is_aggregate() {
        return Err("a condition on devices or modules is needed".into());
    }
    Ok(Target::Query(query))
}

/// Whether a text is a target condition.
///
/// # Errors
/// Says what is wrong.
pub fn check_target(condition: &str) -> Result<(), String> {
    parse_target(condition).map(drop)
}

/// Reads `content`: one of the three kinds.
pub(crate) fn parse_content(content: &Value) -> Result<Content, ConfigurationError> {
    let bad = |why: &str| ConfigurationError::Content(why.to_owned());
    let part = |name: &str| match content.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) if object.is_empty() => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(ConfigurationError::Content(format!("`{name}` must be a JSON object"))),
    };
    match (part("deviceContent")?, part("moduleContent")?, part("modulesContent")?) {
        (Some(device), None, None) => Ok(Content::Device(spread(parse_settings(device)?))),
        (None, Some(module), None) => Ok(Content::Module(spread(parse_settings(module)?))),
        (None, None, Some(modules)) => {
            let parse = |(id, part): (&String, &Value)| {
                gantry_identity::ModuleId::parse(id).map_err(|_| bad(&format!("`{id}` is not a module id")))?;
                let part = part.as_object().ok_or_else(|| bad(&format!("`{id}` must be a JSON object")))?;
                Ok((id.clone(), parse_settings(part)?))
            };
            if modules.len() > limits::MODULES_MAX {
                return Err(bad("more modules than a device may have"));
            }
            Ok(Content::Edge(modules.iter().map(parse).collect::<Result<_, _>>()?))
        }
        (None, None, None) => Err(bad("deviceContent, moduleContent or modulesContent is needed")),
        _ => Err(bad("only one of deviceContent, moduleContent and modulesContent may be there")),
    }
}

/// A setting for all of desired as one for each of its names, so that each can be won and removed.
fn spread(settings: Vec<Setting>) -> Vec<Setting> {
    let one = |setting: Setting| match (setting.path.is_empty(), &setting.value) {
        (true, Value::Object(all)) => {
            all.iter().map(|(name, value)| Setting { path: vec![name.clone()], value: value.clone() }).collect()
        }
        _ => vec![setting],
    };
    settings.into_iter().flat_map(one).collect()
}

fn parse_settings(part: &Object) -> Result<Vec<Setting>, ConfigurationError> {
    part.iter().map(|(key, value)| parse_setting(key, value)).collect()
}

impl Content {
    /// Whether twins take it: what none takes is refused here and not on every device.
    pub(crate) fn check(&self) -> Result<(), ConfigurationError> {
        match self {
            Self::Device(settings) | Self::Module(settings) => check_settings(settings),
            Self::Edge(modules) => modules.values().try_for_each(|settings| check_settings(settings)),
        }
    }
}

fn check_settings(settings: &[Setting]) -> Result<(), ConfigurationError> {
    let mut all = Object::new();
    let mut check = |Setting { path, value }: &Setting| {
        // Alone, so that none hides behind another at the same place.
        let mut one = Object::new();
        put(&mut one, path, value, Nulls::Stay);
        put(&mut all, path, value, Nulls::Remove);
        // All of desired at once takes the place of what is there.
        if path.is_empty() { SectionWrite::Replace(one) } else { SectionWrite::Merge(one) }.check(DESIRED)
    };
    let checked = settings.iter().try_for_each(&mut check);
    checked
        .and_then(|()| check_size(&all, DESIRED, limits::TWIN_PROPERTIES_BYTES_MAX))
        .map_err(|error| ConfigurationError::Content(error.to_string()))
}

fn parse_setting(key: &str, value: &Value) -> Result<Setting, ConfigurationError> {
    let bad = |why: String| ConfigurationError::Content(why);
    let rest = key.strip_prefix(DESIRED).ok_or_else(|| bad(format!("`{key}` is not under {DESIRED}")))?;
    let path: Vec<String> = match rest.strip_prefix('.') {
        Some(names) => names.split('.').map(str::to_owned).collect(),
        None if rest.is_empty() => vec![],
        None => return Err(bad(format!("`{key}` is not under {DESIRED}"))),
    };
    let is_name = |name: &String| !name.is_empty() && !name.starts_with('$');
    if path.len() > limits::TWIN_DEPTH_MAX || !path.iter().all(is_name) {
        return Err(bad(format!("`{key}` is not a place in a twin")));
    }
    let value = match value {
        Value::Object(all) if path.is_empty() => {
            Value::Object(without_shown(all).map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        _ if path.is_empty() => return Err(bad(format!("`{key}` must be a JSON object"))),
        value => value.clone(),
    };
    Ok(Setting { path, value })
}

/// What becomes of a null that is put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// What is there goes.
    Remove,
    /// It stays, as part of a merge patch.
    Stay,
}

/// Puts a value at a place: objects merge, anything else replaces.
pub(crate) fn put(values: &mut Object, path: &[String], value: &Value, nulls: Nulls) {
    let Some((name, rest)) = path.split_first() else {
        if let Value::Object(inner) = value {
            inner.iter().for_each(|(key, value)| put(values, std::slice::from_ref(key), value, nulls));
        }
        return;
    };
    let removes = value.is_null() && nulls == Nulls::Remove;
    if rest.is_empty() {
        match value {
            Value::Null if removes => {
                values.remove(name);
                return;
            }
            Value::Object(_) => {}
            other => {
                values.insert(name.clone(), other.clone());
                return;
            }
        }
    } else if removes && !values.contains_key(name) {
        return;
    }
    let node = values.entry(name.clone()).or_insert_with(|| json!({}));
    if !node.is_object() {
        *node = json!({});
    }
    put(node.as_object_mut().expect("made an object above"), rest, value, nulls);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(content: Value, target: &str) -> ConfigurationWrite {
        ConfigurationWrite { content: Some(content), target_condition: target.into(), ..ConfigurationWrite::default() }
    }

    fn make(id: &str, content: Value, target: &str) -> Result<Configuration, ConfigurationError> {
        Configuration::new(id, write(content, target), Timestamp::NEVER, 1)
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let good = json!({ "deviceContent": {"properties.desired.a": 1} });
        assert!(make("c-1", good.clone(), "tags.site = 'x'").is_ok());
        assert!(make("c-1", good.clone(), "*").is_ok() && make("c-1", good.clone(), "").is_ok());
        for id in ["", "Upper", "with space", "a.b", &"x".repeat(129)] {
            assert_eq!(make(id, good.clone(), "*"), Err(ConfigurationError::Id), "{id}");
        }
        for target in
            ["tags.site =", "FROM devices.modules WHERE a = 1", "FROM devices.jobs", "deviceId = 'x' GROUP BY a"]
        {
            assert!(matches!(make("c", good.clone(), target), Err(ConfigurationError::Target(_))), "{target}");
        }
        for content in [
            json!(null),
            json!({}),
            json!({ "deviceContent": {"tags.a": 1} }),
            json!({ "deviceContent": {"properties.desiredness": 1} }),
            json!({ "deviceContent": {"properties.desired.a..b": 1} }),
            json!({ "deviceContent": {"properties.desired.$version": 1} }),
            json!({ "deviceContent": {"properties.desired": 1} }),
            json!({ "deviceContent": {"properties.desired.a": "x".repeat(5000)} }),
            json!({ "deviceContent": {"properties.desired.a": {"b": [1, null]}} }),
            json!({ "deviceContent": {"properties.desired": {"a": [{"b": null}]}} }),
            json!({ "deviceContent": {"properties.desired.a#b": 1} }),
            json!({ "deviceContent": {"properties.desired.a#b": null} }),
            json!({ "deviceContent": {"properties.desired.a": 1, "properties.desired.a.b#": 2} }),
            json!({ "deviceContent": {"properties.desired": {"a.b": 1}} }),
            json!({ "deviceContent": {"properties.desired.a": {"$version": 1}} }),
            json!({ "modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {"a#": 1}}}} }),
            json!({ "modulesContent": {"m": {"properties.desired.list": [null]}} }),
            json!({ "deviceContent": {"properties.desired.a": 1}, "moduleContent": {"properties.desired.a": 1} }),
            json!({ "modulesContent": {"not a module": {"properties.desired.a": 1}} }),
        ] {
            assert!(matches!(make("c", content.clone(), "*"), Err(ConfigurationError::Content(_))), "{content}");
        }
    }

    #[test]
    fn metrics_are_up_to_five_queries() {
        let metric = |n: usize| (format!("m{n}"), "SELECT deviceId FROM devices".to_owned());
        let with = |metrics| {
            let write =
                ConfigurationWrite { metrics, ..write(json!({ "deviceContent": {"properties.desired.a": 1} }), "*") };
            Configuration::new("c", write, Timestamp::NEVER, 1)
        };
        assert!(with((0..5).map(metric).collect()).is_ok());
        assert!(matches!(with((0..6).map(metric).collect()), Err(ConfigurationError::Metric { .. })));
        assert!(matches!(with(vec![("m".into(), "SELECT".into())]), Err(ConfigurationError::Metric { .. })));
    }

    #[test]
    fn a_configuration_survives_its_document() {
        let content = json!({ "modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {}}}} });
        let made = make("base", content, "capabilities.iotEdge = true").unwrap();
        assert!(made.is_base());
        assert_eq!(Configuration::read("base", &made.document()), Some(made));
    }

    #[test]
    fn what_older_versions_stored_is_read_though_no_twin_takes_it() {
        let mut made = make("c", json!({ "deviceContent": {"properties.desired.a": 1} }), "*").unwrap();
        made.write.content = Some(json!({ "deviceContent": {"properties.desired.a#b": [null]} }));
        let read = Configuration::read("c", &made.document()).unwrap();
        assert_eq!(read.write, made.write);
        assert!(read.content.check().is_err());
    }

    #[test]
    fn values_are_put_at_their_places() {
        let mut values = json!({ "a": {"b": 1, "c": 2}, "x": 5 }).as_object().unwrap().clone();
        let mut at = |path: &str, value: Value| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            put(&mut values, &path, &value, Nulls::Remove);
            Value::Object(values.clone())
        };
        assert_eq!(at("a.b", json!({"d": 1})), json!({ "a": {"b": {"d": 1}, "c": 2}, "x": 5 }));
        assert_eq!(at("a", json!({"c": null, "e": 3})), json!({ "a": {"b": {"d": 1}, "e": 3}, "x": 5 }));
        assert_eq!(at("x.y", json!(1)), json!({ "a": {"b": {"d": 1}, "e": 3}, "x": {"y": 1} }));
        assert_eq!(at("none.y", json!(null)), json!({ "a": {"b": {"d": 1}, "e": 3}, "x": {"y": 1} }));
    }
}
