//! Application templates: what an application begins with (CMP-01, CEN-01).
//!
//! A template is data beside this file: models of ours, the device templates, device groups, organizations, simulated
//! devices, dashboards and rules of an application. Dashboards are bodies as `iotcentral-2022-10-31-preview` has them.
//! Rules have no published shape: theirs is [`Rule`]. What is here refers to nothing that is not here: tests walk it all.
//!
//! `manifestId` and `manifestVersion` are those of the reference's application templates, which a client names as
//! `iotc-pnp-preview@1.0.0` when it creates an application.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ids::{DashboardId, DeviceGroupId, DeviceTemplateId, DisplayName, OrganizationId};
use crate::simulation::Place;
use crate::templates::TemplateWrite;

/// Types of a device template that a person makes.
const TYPES: [&str; 2] = ["ModelDefinition", "DeviceModel"];

/// What an application begins with.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Application {
    /// Its id among application templates: `iotc-pnp-preview`.
    pub manifest_id: String,
    /// Its version: `1.0.0`.
    pub manifest_version: String,
    /// What it is called in lists.
    pub name: String,
    /// What it is called on its page.
    pub title: String,
    /// Its place among the others.
    pub order: u32,
    /// What it is for.
    pub description: String,
    /// Whose it is; empty for everybody's.
    pub industry: String,
    /// Device templates.
    pub templates: Vec<Template>,
    /// Organizations, parents before those below them.
    pub organizations: Vec<Organization>,
    /// Device groups.
    pub groups: Vec<Group>,
    /// Devices, all simulated.
    pub devices: Vec<Device>,
    /// Dashboards.
    pub dashboards: Vec<Dashboard>,
    /// Rules.
    pub rules: Vec<Rule>,
}

/// A device template.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Template {
    /// Its id.
    pub id: DeviceTemplateId,
    /// What it is called.
    pub display_name: DisplayName,
    /// What it is for.
    pub description: String,
    /// The name of its model's file, without folder and ending.
    model: String,
    /// Its model.
    #[serde(skip)]
    pub capability_model: Value,
}

/// An organization.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// What it is called.
    pub display_name: DisplayName,
    /// The one above.
    #[serde(default)]
    pub parent: Option<OrganizationId>,
}

/// A device group.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// Its id.
    pub id: DeviceGroupId,
    /// What it is called.
    pub display_name: DisplayName,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Who is in it, a filter of devices.
    pub filter: String,
    /// The organization it belongs to.
    #[serde(default)]
    pub organization: Option<OrganizationId>,
}

/// A simulated device.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub display_name: DisplayName,
    /// Its template.
    pub template: DeviceTemplateId,
    /// Its organization.
    #[serde(default)]
    pub organization: Option<OrganizationId>,
    /// Where it is.
    pub place: Place,
    /// Values of its cloud properties.
    #[serde(default)]
    pub cloud_properties: Map<String, Value>,
}

/// A dashboard: its id, and the rest as a request has it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Dashboard {
    /// Its id.
    pub id: DashboardId,
    /// `displayName`, `tiles`, `favorite`.
    #[serde(flatten)]
    pub body: Map<String, Value>,
}

/// When something is to be done.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub display_name: DisplayName,
    /// Whose devices it looks at.
    pub template: DeviceTemplateId,
    /// The ISO duration of the windows over which values are aggregated, one after the other; single messages without.
    #[serde(default)]
    pub window: Option<String>,
    /// Whether all conditions must hold or any.
    pub join: Join,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What is done, by kind; to whom is set by the application.
    pub actions: Vec<ActionKind>,
}

/// How conditions go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Join {
    /// All hold.
    All,
    /// One holds, or more.
    Any,
}

/// Something that is looked at.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// The name of the telemetry value, `component.name` in a component.
    pub telemetry: String,
    /// What of the values of a window; there in rules with a window only.
    #[serde(default)]
    pub aggregate: Option<Aggregate>,
    /// How it is compared.
    pub operator: Operator,
    /// With what; nothing for [`Operator::Exists`].
    #[serde(default)]
    pub value: Option<f64>,
}

/// One value of many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aggregate {
    /// The mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// All together.
    Sum,
    /// How many.
    Count,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operator {
    /// There is a value: of events.
    Exists,
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// More.
    GreaterThan,
    /// As much or more.
    GreaterThanOrEqual,
    /// Less.
    LessThan,
    /// As much or less.
    LessThanOrEqual,
}

/// What is done when a rule holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ActionKind {
    /// A mail.
    Email,
    /// A request to an address.
    Webhook,
    /// An action group of a monitor.
    ActionGroup,
    /// A workflow.
    Workflow,
}

impl Template {
    /// The template as a request would give it.
    #[must_use]
    pub fn write(&self) -> TemplateWrite {
        TemplateWrite {
            types: TYPES.map(str::to_owned).to_vec(),
            context: None,
            display_name: Some(self.display_name.as_str().to_owned()),
            description: Some(self.description.clone()),
            capability_model: self.capability_model.clone(),
        }
    }
}

impl Operator {
    /// Whether a value, if there is one, is so.
    #[must_use]
    pub fn holds(self, value: Option<f64>, with: Option<f64>) -> bool {
        let Some(value) = value else { return false };
        match (self, with) {
            (Self::Exists, _) => true,
            (Self::Equal, Some(with)) => value == with,
            (Self::NotEqual, Some(with)) => value != with,
            (Self::GreaterThan, Some(with)) => value > with,
            (Self::GreaterThanOrEqual, Some(with)) => value >= with,
            (Self::LessThan, Some(with)) => value < with,
            (Self::LessThanOrEqual, Some(with)) => value <= with,
            (_, None) => false,
        }
    }
}

macro_rules! application {
    ($folder:literal: $($model:literal),*) => {
        read(
            include_str!(concat!($folder, "/application.json")),
            &[$(($model, include_str!(concat!($folder, "/", $model, ".json")))),*],
        )
    };
}

/// All application templates, in their order.
#[must_use]
pub fn all() -> &'static [Application] {
    static ALL: OnceLock<Vec<Application>> = OnceLock::new();
    ALL.get_or_init(|| {
        vec![
            application!("generic": "environmentSensor"),
            application!("retail": "storeEnvironment", "refrigeratedCase", "checkout"),
            application!("energy": "smartMeter", "solarInverter"),
            application!("government": "waterQuality"),
            application!("healthcare": "vitalsPatch", "kneeBrace"),
        ]
    })
}

/// The application template that a client names, with its version after `@` or without.
#[must_use]
pub fn find(name: &str) -> Option<&'static Application> {
    let (id, version) = name.split_once('@').map_or((name, None), |(id, version)| (id, Some(version)));
    all().iter().find(|one| one.manifest_id == id && version.is_none_or(|version| one.manifest_version == version))
}

fn read(text: &str, models: &[(&str, &str)]) -> Application {
    let mut application: Application = serde_json::from_str(text).expect("our files are of our shape");
    for template in &mut application.templates {
        let (_, model) = models.iter().find(|(name, _)| *name == template.model).expect("each model is included");
        template.capability_model = serde_json::from_str(model).expect("our models are JSON");
    }
    application
}

#[cfg(test)]
mod tests;
