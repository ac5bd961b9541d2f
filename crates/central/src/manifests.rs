//! Deployment manifests: what runs on a device of IoT Edge.
//!
//! `data` is `{"modulesContent": {"$edgeAgent": .., "$edgeHub": .., module: ..}}`, and each of these has
//! `properties.desired`, the desired properties of that module's twin. Those of the two system modules are checked as
//! their runtime reads them (schema 1.0 and 1.1); those of others are their own. A manifest is whole, so the layered
//! form with names such as `properties.desired.modules.a` is refused. It is kept as it was written, passwords of
//! registries among it, and so is never printed. Source: deployment manifests of `iotcentral-2022-10-31-preview`,
//! "Learn how to deploy modules and establish routes in IoT Edge".

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{DeploymentManifestId, DisplayName, IdError, OrganizationId};
use crate::kept::Kept;
use crate::organizations::Organizations;
use crate::shape::{Member, Shape, ShapeError, needed, optional};

/// Manifests an application has; ours.
pub const MANIFESTS_MAX: usize = 500;
/// Bytes of `data`; ours.
pub const DATA_BYTES_MAX: usize = 128 * 1_024;
/// Modules of one (IoT Edge limits).
pub const MODULES_MAX: usize = 50;
/// Variables, routes and registries of one; ours.
const NAMES_MAX: usize = 200;
/// Characters of a text; ours.
const TEXT: usize = 1_024;
/// Characters of options and routes; ours.
const LONG: usize = 16_384;

const NAME: Shape = Shape::Text(1, TEXT);
const SECONDS: Shape = Shape::Integer(0, u32::MAX as i64);
const ENVIRONMENT: Shape = Shape::Map(&Shape::Object(&[needed("value", Shape::Any)]), NAMES_MAX);
const SETTINGS: Shape = Shape::Open(&[needed("image", NAME), optional("createOptions", Shape::Text(0, LONG))]);
const REGISTRY: Shape = Shape::Object(&[needed("username", NAME), needed("password", NAME), needed("address", NAME)]);
const RUNTIME: Shape = Shape::Object(&[
    needed("type", Shape::Word(&["docker"])),
    needed(
        "settings",
        Shape::Object(&[
            optional("minDockerVersion", Shape::Text(0, TEXT)),
            optional("loggingOptions", Shape::Text(0, LONG)),
            optional("registryCredentials", Shape::Map(&REGISTRY, NAMES_MAX)),
        ]),
    ),
]);

const TYPE: Member = needed("type", Shape::Word(&["docker"]));
const PULL: Member = optional("imagePullPolicy", Shape::Word(&["on-create", "never"]));
const ENV: Member = optional("env", ENVIRONMENT);
const SET: Member = needed("settings", SETTINGS);
const ORDER: Member = optional("startupOrder", Shape::Integer(0, u32::MAX as i64));
const VERSION: Member = optional("version", Shape::Text(0, TEXT));
const STATUS: Shape = Shape::Word(&["running", "stopped"]);
const RESTART: Shape = Shape::Word(&["always", "never", "on-failure", "on-unhealthy"]);

const AGENT_MODULE: Shape = Shape::Object(&[TYPE, PULL, ENV, SET, ORDER, VERSION]);
const HUB_MODULE: Shape = Shape::Object(&[
    TYPE,
    PULL,
    ENV,
    SET,
    ORDER,
    VERSION,
    needed("status", Shape::Word(&["running"])),
    needed("restartPolicy", Shape::Word(&["always"])),
]);
const MODULE: Shape =
    Shape::Object(&[TYPE, PULL, ENV, SET, ORDER, VERSION, needed("status", STATUS), needed("restartPolicy", RESTART)]);

const SCHEMA_VERSION: Member = needed("schemaVersion", Shape::Word(&["1.0", "1.1"]));
const AGENT: &[Member] = &[
    SCHEMA_VERSION,
    needed("runtime", RUNTIME),
    needed("systemModules", Shape::Object(&[needed("edgeAgent", AGENT_MODULE), needed("edgeHub", HUB_MODULE)])),
    needed("modules", Shape::Modules(&[], &MODULE, MODULES_MAX)),
    optional("integrity", Shape::Any),
];
const ROUTE: &[Member] = &[
    needed("route", Shape::Text(1, LONG)),
    optional("priority", Shape::Integer(0, 9)),
    optional("timeToLiveSecs", SECONDS),
];
const HUB: &[Member] = &[
    SCHEMA_VERSION,
    needed("routes", Shape::Map(&Shape::TextOr(LONG, ROUTE), NAMES_MAX)),
    needed(
        "storeAndForwardConfiguration",
        Shape::Object(&[
            needed("timeToLiveSecs", SECONDS),
            optional("storeLimits", Shape::Object(&[needed("maxBytes", Shape::Integer(-1, i64::MAX))])),
        ]),
    ),
    optional("mqttBroker", Shape::Any),
    optional("integrity", Shape::Any),
];

const DATA: Shape = Shape::Object(&[needed(
    "modulesContent",
    Shape::Modules(
        &[
            needed("$edgeAgent", Shape::Object(&[needed("properties.desired", Shape::Object(AGENT))])),
            needed("$edgeHub", Shape::Object(&[needed("properties.desired", Shape::Object(HUB))])),
        ],
        &Shape::Object(&[needed("properties.desired", Shape::Open(&[]))]),
        MODULES_MAX,
    ),
)]);

/// A deployment manifest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentManifest {
    /// What it is called.
    pub display_name: Option<DisplayName>,
    /// What it deploys.
    pub data: ManifestData,
    /// The organization it belongs to; the root without one.
    pub organization: Option<OrganizationId>,
}

/// What a manifest deploys, as it was written.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct ManifestData(Value);

impl ManifestData {
    /// Reads `data`.
    ///
    /// # Errors
    /// [`ManifestError`] names the member that is wrong.
    pub fn read(value: &Value) -> Result<Self, ManifestError> {
        let bytes = value.to_string().len();
        if bytes > DATA_BYTES_MAX {
            return Err(ManifestError::TooLarge(bytes));
        }
        DATA.check(value, "data")?;
        Ok(Self(value.clone()))
    }

    /// The value as it was written.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The names of the modules it runs beside the two of the system.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        let modules = self.0.pointer("/modulesContent/$edgeAgent/properties.desired/modules");
        modules.and_then(Value::as_object).into_iter().flat_map(|all| all.keys().map(String::as_str))
    }
}

impl fmt::Debug for ManifestData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManifestData").finish_non_exhaustive()
    }
}

impl TryFrom<Value> for ManifestData {
    type Error = ManifestError;
    fn try_from(value: Value) -> Result<Self, ManifestError> {
        Self::read(&value)
    }
}

impl From<ManifestData> for Value {
    fn from(data: ManifestData) -> Self {
        data.0
    }
}

/// All manifests by id.
pub type Manifests = BTreeMap<DeploymentManifestId, Arc<Kept<DeploymentManifest>>>;

/// Why a manifest was not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ManifestError {
    /// There is none with this id.
    #[error("there is no deployment manifest `{0}`")]
    Unknown(DeploymentManifestId),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A member is none of a deployment of IoT Edge.
    #[error(transparent)]
    Data(#[from] ShapeError),
    /// It is too large.
    #[error("`data` has {0} bytes; {DATA_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// There is no such organization.
    #[error("there is no organization `{0}`")]
    UnknownOrganization(OrganizationId),
    /// There are as many as there may be.
    #[error("there are {MANIFESTS_MAX} deployment manifests, which is the most")]
    TooMany,
    /// Something needs it.
    #[error("deployment manifest `{id}` is used by {what}")]
    InUse {
        /// Which.
        id: DeploymentManifestId,
        /// What needs it.
        what: &'static str,
    },
}

/// Checks that a manifest may be written under an id.
///
/// # Errors
/// [`ManifestError`].
pub fn check_put(
    all: &Manifests,
    organizations: &Organizations,
    id: &DeploymentManifestId,
    new: &DeploymentManifest,
) -> Result<(), ManifestError> {
    if !all.contains_key(id) && all.len() >= MANIFESTS_MAX {
        return Err(ManifestError::TooMany);
    }
    match &new.organization {
        Some(id) if !organizations.contains_key(id) => Err(ManifestError::UnknownOrganization(id.clone())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kept::tests::kept;
    use crate::organizations::tests::tree;

    /// The published example.
    fn example() -> Value {
        serde_json::from_str(include_str!("../tests/examples/deployment_manifest.json")).unwrap()
    }

    #[test]
    fn the_published_example_is_read_and_written_back() {
        let data = ManifestData::read(&example()).unwrap();
        assert_eq!(data.value(), &example());
        assert_eq!(data.modules().collect::<Vec<_>>(), ["SimulatedTemperatureSensor"]);
        let stored = serde_json::to_string(&data).unwrap();
        assert_eq!(serde_json::from_str::<ManifestData>(&stored).unwrap(), data);
    }

    #[test]
    fn a_manifest_is_never_printed() {
        let data = ManifestData::read(&example()).unwrap();
        assert!(example().to_string().contains("<password>"));
        assert!(!format!("{data:?}").contains("<password>"));
    }

    /// Changes what is at a path of members; null takes the last away.
    #[track_caller]
    fn check(path: &[&str], value: Value, expected: Option<&str>) {
        let mut data = example();
        let (name, above) = path.split_last().unwrap();
        let parent = above.iter().fold(&mut data, |at, name| &mut at[*name]).as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(*name);
        } else {
            parent.insert((*name).to_owned(), value);
        }
        let told = ManifestData::read(&data).err().map(|error| error.to_string());
        assert_eq!(told.as_deref(), expected);
    }

    const AGENT_AT: [&str; 3] = ["modulesContent", "$edgeAgent", "properties.desired"];
    const HUB_AT: [&str; 3] = ["modulesContent", "$edgeHub", "properties.desired"];
    const MODULE_AT: [&str; 5] =
        ["modulesContent", "$edgeAgent", "properties.desired", "modules", "SimulatedTemperatureSensor"];

    fn at<'a>(above: &[&'a str], name: &'a str) -> Vec<&'a str> {
        above.iter().copied().chain([name]).collect()
    }

    #[test]
    fn what_is_no_deployment_is_named() {
        let gone = Value::Null;
        check(&["modulesContent"], gone.clone(), Some("`data.modulesContent` is missing"));
        check(&["other"], json!(1), Some("`data.other` is not a member that is known there"));
        check(&["modulesContent", "$edgeHub"], gone.clone(), Some("`data.modulesContent.$edgeHub` is missing"));
        check(&["modulesContent", "$other"], json!({}), Some("`data.modulesContent.$other` is not named as a module"));
        check(&["modulesContent", "m"], json!({}), Some("`data.modulesContent.m.properties.desired` is missing"));
        check(&["modulesContent", "m"], json!({ "properties.desired": { "any": [1] } }), None);
        check(
            &["modulesContent", "$edgeAgent", "properties.desired.modules.m"],
            json!({}),
            Some("`data.modulesContent.$edgeAgent.properties.desired.modules.m` is not a member that is known there"),
        );
        let agent = "data.modulesContent.$edgeAgent.properties.desired";
        let version = format!("`{agent}.schemaVersion` is not one of `1.0`, `1.1`");
        check(&at(&AGENT_AT, "schemaVersion"), json!("2.0"), Some(&version));
        check(&at(&AGENT_AT, "modules"), gone.clone(), Some(&format!("`{agent}.modules` is missing")));
        check(&at(&AGENT_AT, "modules"), json!({}), None);
        let hub = "data.modulesContent.$edgeHub.properties.desired";
        check(&at(&HUB_AT, "routes"), json!({ "r": "FROM /* INTO $upstream" }), None);
        check(&at(&HUB_AT, "routes"), json!({ "r": {} }), Some(&format!("`{hub}.routes.r.route` is missing")));
        let priority = format!("`{hub}.routes.r.priority` is not a whole number of 0 to 9");
        check(&at(&HUB_AT, "routes"), json!({ "r": { "route": "x", "priority": 10 } }), Some(&priority));
        let module = format!("{agent}.modules.SimulatedTemperatureSensor");
        check(&at(&MODULE_AT, "type"), json!("wasm"), Some(&format!("`{module}.type` is not one of `docker`")));
        check(
            &at(&MODULE_AT, "other"),
            json!(1),
            Some(&format!("`{module}.other` is not a member that is known there")),
        );
        let settings = json!({ "image": "i", "createOptions01": "{}" });
        check(&at(&MODULE_AT, "settings"), settings, None);
        check(&at(&MODULE_AT, "settings"), json!({}), Some(&format!("`{module}.settings.image` is missing")));
        check(&at(&MODULE_AT, "env"), json!({ "A": { "value": "b" } }), None);
        let value = format!("`{module}.env.A` is not an object");
        check(&at(&MODULE_AT, "env"), json!({ "A": "b" }), Some(&value));
    }

    #[test]
    fn manifests_are_bounded() {
        let modules = |count: usize| -> Value {
            let one = json!({ "type": "docker", "status": "running", "restartPolicy": "always",
                "settings": { "image": "i" } });
            (0..count).map(|n| (format!("m{n}"), one.clone())).collect::<serde_json::Map<_, _>>().into()
        };
        check(&at(&AGENT_AT, "modules"), modules(MODULES_MAX), None);
        let path = "`data.modulesContent.$edgeAgent.properties.desired.modules`";
        let told = format!("{path} is not an object of at most {MODULES_MAX} members");
        check(&at(&AGENT_AT, "modules"), modules(MODULES_MAX + 1), Some(&told));
        let filled = |bytes: usize| {
            let mut data = example();
            data["modulesContent"]["m"] = json!({ "properties.desired": { "p": "" } });
            let missing = bytes - data.to_string().len();
            data["modulesContent"]["m"]["properties.desired"]["p"] = json!("a".repeat(missing));
            ManifestData::read(&data).err()
        };
        assert_eq!(filled(DATA_BYTES_MAX), None);
        assert_eq!(filled(DATA_BYTES_MAX + 1), Some(ManifestError::TooLarge(DATA_BYTES_MAX + 1)));
        let id = |n: usize| DeploymentManifestId::parse(&format!("m{n}")).unwrap();
        let data = ManifestData::read(&example()).unwrap();
        let new = DeploymentManifest { display_name: None, data, organization: None };
        let full: Manifests = (0..MANIFESTS_MAX).map(|n| (id(n), kept(new.clone()))).collect();
        let none = tree(&[]);
        assert_eq!(check_put(&full, &none, &id(MANIFESTS_MAX), &new), Err(ManifestError::TooMany));
        assert_eq!(check_put(&full, &none, &id(0), &new), Ok(()));
        let organization = OrganizationId::parse("xx").ok();
        let elsewhere = DeploymentManifest { organization: organization.clone(), ..new };
        let unknown = Err(ManifestError::UnknownOrganization(organization.unwrap()));
        assert_eq!(check_put(&Manifests::new(), &none, &id(0), &elsewhere), unknown);
    }
}
