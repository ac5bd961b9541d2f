//! Device templates: what a kind of device offers, as a capability model in DTDL v2 with IoT Central's additions.
//!
//! A template that is written is published. Its id is not that of its capability model: the latter is the model id a
//! device announces, and how a device finds its template. While it is published it may grow, but what devices rely on
//! stays ([`changes`]); it is deleted only when no device uses it, which `Central` asks of its port.
//!
//! A template keeps its model as it was written, with the documents that were fetched for it, so that it is read again
//! without asking anybody; the view of its capabilities is made when it is first looked at.

mod capabilities;
pub mod changes;
mod model;
mod values;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use gantry_dtdl::{DtdlError, Dtmi, Resolver};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::capabilities::{
    Capabilities, Command, EnumValue, Field, Part, Property, Relationship, Schema, Telemetry,
};
use self::changes::Breaking;
pub use self::model::MODEL_BYTES_MAX;
pub use self::values::Unfit;
use crate::ids::{DeviceTemplateId, DisplayName, IdError, check_description};
use crate::kept::Kept;

/// Templates an application has (IoT Central quotas and limits).
pub const TEMPLATES_MAX: usize = 1_000;
/// Telemetry values, properties and commands of one (IoT Central quotas and limits).
pub const CAPABILITIES_MAX: usize = 300;
/// Types of one; there are four that mean something.
const TYPES_MAX: usize = 16;
/// Where ids of templates made from models are.
const AUTOMATIC: &str = "dtmi:modelDefinition";

/// A device template as it is written and stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTemplate {
    /// Its types; `ModelDefinition` and one of `DeviceModel`, `EdgeModel`, `GatewayModel` among them.
    pub types: Vec<String>,
    /// Its context, as written.
    pub context: Option<Value>,
    /// What it is called.
    pub display_name: Option<DisplayName>,
    /// What it is for.
    pub description: Option<String>,
    /// The model, as written.
    pub capability_model: Value,
    model_id: String,
    /// What was fetched for the model, each time: given again in this order, it is read as it was.
    fetched: Vec<Vec<String>>,
    #[serde(skip)]
    view: OnceLock<Arc<Capabilities>>,
}

/// A template as a request gives it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateWrite {
    /// `@type`.
    pub types: Vec<String>,
    /// `@context`.
    pub context: Option<Value>,
    /// `displayName`.
    pub display_name: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `capabilityModel`.
    pub capability_model: Value,
}

/// All templates by id.
pub type Templates = BTreeMap<DeviceTemplateId, Arc<Kept<DeviceTemplate>>>;

/// Why a template was not written or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// There is none with this id.
    #[error("there is no device template `{0}`")]
    Unknown(DeviceTemplateId),
    /// A name or description is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A type is missing.
    #[error("`@type` of a device template has `ModelDefinition` and one of `DeviceModel`, `EdgeModel`, `GatewayModel`")]
    Types,
    /// The model is not one object.
    #[error("`capabilityModel` is an object, an interface with an `@id`")]
    NoModel,
    /// The model is none.
    #[error("`capabilityModel` is not a model: {0}")]
    Model(#[from] DtdlError),
    /// The model offers too much.
    #[error("`capabilityModel` has {0} capabilities; {CAPABILITIES_MAX} are allowed")]
    TooMany(usize),
    /// There are as many templates as there may be.
    #[error("there are {TEMPLATES_MAX} device templates, which is the most")]
    Full,
    /// Devices of the published template would break.
    #[error("a published device template cannot change so, it needs a new version: {}", listed(.0))]
    Breaking(Vec<Breaking>),
    /// The id of the template is that of its model.
    #[error("a device template and its model cannot both be `{0}`")]
    SameId(DeviceTemplateId),
    /// Devices use it.
    #[error("devices use device template `{0}`")]
    InUse(DeviceTemplateId),
}

fn listed(changes: &[Breaking]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl DeviceTemplate {
    /// Checks what a request gives. `resolver` gives interfaces that the model refers to and does not have.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong.
    pub fn new(
        id: &DeviceTemplateId,
        write: TemplateWrite,
        resolver: &mut dyn Resolver,
    ) -> Result<Self, TemplateError> {
        check_types(&write.types)?;
        let display_name = write.display_name.as_deref().map(DisplayName::parse).transpose()?;
        write.description.as_deref().map_or(Ok(()), check_description)?;
        let has_id = write.capability_model.get("@id").is_some_and(Value::is_string);
        if !has_id {
            return Err(TemplateError::NoModel);
        }
        let read = model::read(&write.capability_model, resolver)?;
        let capabilities = Capabilities::of(&read).ok_or(TemplateError::NoModel)?;
        if capabilities.count() > CAPABILITIES_MAX {
            return Err(TemplateError::TooMany(capabilities.count()));
        }
        if capabilities.model_id == id.as_str() {
            return Err(TemplateError::SameId(id.clone()));
        }
        Ok(Self {
            types: write.types,
            context: write.context,
            display_name,
            description: write.description,
            capability_model: write.capability_model,
            model_id: capabilities.model_id.clone(),
            fetched: read.fetched,
            view: OnceLock::from(Arc::new(capabilities)),
        })
    }

    /// A template from a model that a device announced, with the id it gets (CEN-03). `document` is what a model
    /// repository has under the model's id: an interface, or an array with it among others.
    ///
    /// # Errors
    /// [`TemplateError`], [`TemplateError::NoModel`] when the document does not have the interface.
    pub fn automatic(
        model_id: &Dtmi,
        document: &Value,
        resolver: &mut dyn Resolver,
    ) -> Result<(DeviceTemplateId, Self), TemplateError> {
        let is_it = |one: &&Value| one.get("@id").and_then(Value::as_str) == Some(model_id.as_str());
        let all = document.as_array().map_or(std::slice::from_ref(document), Vec::as_slice);
        let interface = all.iter().find(is_it).ok_or(TemplateError::NoModel)?;
        let path = model_id.as_str().strip_prefix("dtmi:").unwrap_or_default();
        let id = DeviceTemplateId::parse(&format!("{AUTOMATIC}:{path}"))?;
        let others: Vec<String> = all.iter().filter(|one| !is_it(one)).map(Value::to_string).collect();
        let mut asked_for_others = others.is_empty();
        let mut both = |ids: &[Dtmi]| {
            if std::mem::replace(&mut asked_for_others, true) { resolver.resolve(ids) } else { Some(others.clone()) }
        };
        let write = TemplateWrite {
            types: vec!["ModelDefinition".to_owned(), "DeviceModel".to_owned()],
            capability_model: interface.clone(),
            ..TemplateWrite::default()
        };
        let mut template = Self::new(&id, write, &mut both)?;
        template.display_name = DisplayName::parse(&template.capabilities()?.root.display_name).ok();
        Ok((id, template))
    }

    /// The id that devices announce.
    #[must_use]
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Whether devices of it run IoT Edge.
    #[must_use]
    pub fn is_edge(&self) -> bool {
        self.types.iter().any(|of| of == "EdgeModel" || of == "GatewayModel")
    }

    /// What a device of it offers.
    ///
    /// # Errors
    /// When the model, which was one when it was stored, is none any more.
    pub fn capabilities(&self) -> Result<Arc<Capabilities>, TemplateError> {
        if let Some(view) = self.view.get() {
            return Ok(Arc::clone(view));
        }
        let mut answers = self.fetched.iter().cloned();
        let read = model::read(&self.capability_model, &mut |_: &[Dtmi]| answers.next())?;
        let view = Arc::new(Capabilities::of(&read).ok_or(TemplateError::NoModel)?);
        Ok(Arc::clone(self.view.get_or_init(|| view)))
    }
}

fn check_types(types: &[String]) -> Result<(), TemplateError> {
    let has = |name: &str| types.iter().any(|of| of == name);
    let is_good = has("ModelDefinition") && ["DeviceModel", "EdgeModel", "GatewayModel"].into_iter().any(has);
    if is_good && types.len() <= TYPES_MAX { Ok(()) } else { Err(TemplateError::Types) }
}

/// Checks that a template may be written under an id, new or in place of the one that is published.
///
/// # Errors
/// [`TemplateError::Full`] and [`TemplateError::Breaking`].
pub fn check_put(all: &Templates, id: &DeviceTemplateId, new: &DeviceTemplate) -> Result<(), TemplateError> {
    let Some(published) = all.get(id) else {
        return if all.len() < TEMPLATES_MAX { Ok(()) } else { Err(TemplateError::Full) };
    };
    let changes = changes::breaking(&*published.value.capabilities()?, &*new.capabilities()?);
    if changes.is_empty() { Ok(()) } else { Err(TemplateError::Breaking(changes)) }
}

/// The template of devices that announce a model; the one written last when several have it.
#[must_use]
pub fn for_model<'a>(
    all: &'a Templates,
    model_id: &str,
) -> Option<(&'a DeviceTemplateId, &'a Arc<Kept<DeviceTemplate>>)> {
    all.iter().filter(|(_, kept)| kept.value.model_id == model_id).max_by_key(|(_, kept)| kept.updated_at)
}

#[cfg(test)]
mod tests;
