//! Devices: the list, one device, its parts.

pub(crate) mod adopt;
pub(crate) mod attestation;
pub(crate) mod commands;
pub(crate) mod credentials;
pub(crate) mod csv;
pub(crate) mod history;
mod page;
pub(crate) mod properties;
pub(crate) mod relationships;
pub(crate) mod telemetry;

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::now;
use gantry_central::access::permissions::Permission;
use gantry_central::devices::{Device, FOLDED, Profile, TAG, folded, template_of};
use gantry_central::ids::{DeviceTemplateId, DisplayName};
use gantry_central::simulation::initial_desired;
use gantry_central::templates::{Capabilities, DeviceTemplate, Templates};
use gantry_hub::device::{AuthenticationWrite, DeviceWrite, IfMatch, Status};
use gantry_hub::ports::{Constraint, Record, Search, Step, Test};
use gantry_hub::twin::{Object, SectionWrite, Twin, TwinWrite};
use gantry_hub::{Hub, HubError};
use gantry_identity::{DeviceId, Identity, ModuleId};
use gantry_provisioning::{DpsError, Registration, RegistrationId};
use serde_json::{Value, json};

pub(crate) use self::page::{members, page};
use crate::call::Call;
use crate::{Application, Failure, body, list, manifests};

/// Attempts of a read-change-write before the caller is told of contention.
const WRITE_ATTEMPTS: usize = 32;

/// A device that the caller may do something with, and its template.
pub(crate) struct Known {
    pub(crate) record: Record,
    pub(crate) profile: Profile,
    pub(crate) capabilities: Option<Arc<Capabilities>>,
}

impl Known {
    fn identity(&self) -> &Identity {
        &self.record.device.identity
    }
}

fn hub(call: &Call) -> &Hub {
    &call.application().api.hub
}

/// The id of a device in the path. What can be no id is no device.
pub(crate) fn device_id(call: &Call) -> Result<DeviceId, Failure> {
    DeviceId::parse(call.piece("deviceId")).map_err(|error| Failure::invalid(format!("device id: {error}")))
}

fn unknown(id: &DeviceId) -> Failure {
    Failure::not_found(format!("there is no device `{id}`"))
}

/// The record of the device of the path, if the caller sees it.
async fn record(call: &Call, one: Permission) -> Result<Record, Failure> {
    let id = device_id(call)?;
    let record = match hub(call).record(&Identity::device(id.clone())).await {
        Ok(record) => record,
        Err(HubError::NotFound(_)) => return Err(unknown(&id)),
        Err(error) => return Err(error.into()),
    };
    call.may_see(one, Profile::of(&record.twin.tags).organization.as_ref(), || unknown(&id))?;
    Ok(record)
}

/// The device, or module of it, of the path.
pub(crate) async fn known(call: &Call, one: Permission) -> Result<Known, Failure> {
    let record = record(call, one).await?;
    let profile = Profile::of(&record.twin.tags);
    let templates = &call.central().state().templates;
    let template = template_of(templates, &profile, record.twin.model_id.as_deref());
    let capabilities = template.map(|(_, kept)| kept.value.capabilities()).transpose();
    let capabilities = capabilities.map_err(|error| Failure::internal(&error))?;
    let Some(module) = call.piece_or_none("moduleName") else {
        return Ok(Known { record, profile, capabilities });
    };
    // What is not known of a module is not checked.
    let capabilities = capabilities.and_then(|all| all.module(module).cloned());
    let id = ModuleId::parse(module).map_err(|error| Failure::invalid(format!("module name: {error}")))?;
    let identity = Identity { module: Some(id), ..record.device.identity };
    let record = hub(call).record(&identity).await?;
    let profile = Profile::of(&record.twin.tags);
    Ok(Known { record, profile, capabilities })
}

/// Whether a device registered.
pub(crate) async fn is_registered(application: &Application, id: &DeviceId) -> Result<bool, Failure> {
    let registration = registration(application, id).await?;
    Ok(registration.is_some_and(|one| one.assigned_hub.is_some() && one.device_id.as_ref() == Some(id)))
}

/// What is registered under the id of a device, which may be another device whose id differs in case.
async fn registration(application: &Application, id: &DeviceId) -> Result<Option<Registration>, Failure> {
    let Ok(id) = RegistrationId::parse(id.as_str()) else { return Ok(None) };
    match application.api.provisioning.registration(&id).await {
        Ok(registration) => Ok(Some(registration)),
        Err(DpsError::NotFound(..)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Checks that provisioning would take no other device for this one: registration ids have no case.
async fn check_case(call: &Call, id: &DeviceId) -> Result<(), Failure> {
    let taken = || Failure::conflict(format!("`{id}` differs from the id of another device in case only"));
    let application = call.application();
    if registration(application, id).await?.is_some_and(|one| one.device_id.as_ref().is_some_and(|of| of != id)) {
        return Err(taken());
    }
    let lower = folded(id);
    if let Some(lower) = &lower {
        let lower = DeviceId::parse(lower).map_err(|error| Failure::internal(&error))?;
        match hub(call).record(&Identity::device(lower)).await {
            Ok(_) => return Err(taken()),
            Err(HubError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let lower = lower.unwrap_or_else(|| id.to_string());
    let path = ["tags", TAG, FOLDED].map(|name| Step::Name(name.to_owned())).to_vec();
    let constraints = vec![Constraint { path, test: Test::OneOf(vec![lower.clone().into()]) }];
    let found = hub(call).find_devices(Search { modules: false, constraints }, None, 100).await?;
    let is_it = |record: &Record| {
        let of = &record.device.identity.device;
        of != id && of.as_str().eq_ignore_ascii_case(&lower)
    };
    if found.iter().any(is_it) { Err(taken()) } else { Ok(()) }
}

pub(super) async fn show(call: &Call, record: &Record) -> Result<Value, Failure> {
    let is_registered = is_registered(call.application(), &record.device.identity.device).await?;
    let state = call.central().state();
    let device = Device::of(record, &state.templates, is_registered);
    let mut shown = device.document();
    if let Some(what) = call.asked(&["expand", "$expand"]).filter(|what| !what.is_empty()) {
        if what != "deploymentManifest" {
            return Err(Failure::invalid(format!(
                "expand: `{what}` is nothing that devices bring; `deploymentManifest` is"
            )));
        }
        let manifest = device.profile.manifest.as_ref().and_then(|id| state.manifests.get_key_value(id));
        if let Some((id, kept)) = manifest.filter(|(_, kept)| manifests::sees(call, &kept.value)) {
            shown["deploymentManifest"] = manifests::show(id.as_str(), kept);
        }
    }
    Ok(shown)
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    page(&call, None).await
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let record = record(&call, Permission::DevicesView).await?;
    Ok(Json(show(&call, &record).await?))
}

/// What a body says of a device; what it leaves out is `None`.
struct Written {
    display_name: Option<DisplayName>,
    template: Option<DeviceTemplateId>,
    is_enabled: Option<bool>,
    is_edge: Option<bool>,
    profile: Profile,
}

impl Written {
    fn read(body: &Value) -> Result<Self, Failure> {
        if body.get("deploymentManifest").is_some_and(|manifest| !manifest.is_null()) {
            return Err(Failure::not_implemented("a deployment manifest within a device"));
        }
        let display_name = body::parsed(body, "displayName", DisplayName::parse)?;
        let template = body::parsed(body, "template", DeviceTemplateId::parse)?;
        let profile = Profile {
            display_name: display_name.clone(),
            template: template.clone(),
            organization: body::organization(body)?,
            is_simulated: body::flag(body, "simulated")?.unwrap_or(false),
            ..Profile::default()
        };
        let is_edge = match body.get("type") {
            None | Some(Value::Null) => None,
            Some(Value::Array(types)) if types.is_empty() => Some(false),
            Some(Value::Array(types)) if types.iter().all(|of| of == "iotEdge") => Some(true),
            Some(_) => return Err(Failure::invalid("`type` is an array of `iotEdge`, or empty")),
        };
        Ok(Self { display_name, template, is_enabled: body::flag(body, "enabled")?, is_edge, profile })
    }
}

pub(crate) async fn put(call: Call) -> Result<Json<Value>, Failure> {
    let (id, body) = (device_id(&call)?, call.body()?);
    let written = Written::read(&body)?;
    let identity = Identity::device(id);
    match hub(&call).record(&identity).await {
        Ok(_) => change(&call, &call.if_match(&body)?, |_| Ok(body.clone())).await,
        Err(HubError::NotFound(_)) if call.if_match(&body)? != IfMatch::Absent => {
            Err(Failure::changed(identity.device.as_str()))
        }
        Err(HubError::NotFound(_)) => {
            let keys = credentials::derived(&call, &identity.device).await?;
            let record = create(&call, &identity, written, AuthenticationWrite::Sas(keys)).await?;
            Ok(Json(show(&call, &record).await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// The template that a body names, which must be there.
fn template<'t>(
    templates: &'t Templates,
    id: Option<&DeviceTemplateId>,
) -> Result<Option<&'t DeviceTemplate>, Failure> {
    let find = |id: &DeviceTemplateId| {
        let kept = templates.get(id);
        kept.map(|kept| &kept.value).ok_or_else(|| Failure::invalid(format!("there is no device template `{id}`")))
    };
    id.map(find).transpose()
}

async fn create(
    call: &Call,
    identity: &Identity,
    written: Written,
    authentication: AuthenticationWrite,
) -> Result<Record, Failure> {
    call.may_in(Permission::DevicesCreate, written.profile.organization.as_ref())?;
    let state = call.central().state();
    check_organization(&state, &written.profile)?;
    check_case(call, &identity.device).await?;
    let template = template(&state.templates, written.template.as_ref())?;
    let desired = template.map(initial_values).transpose()?.unwrap_or_default();
    let mut twin = Twin::new();
    let desired = (!desired.is_empty()).then_some(SectionWrite::Merge(desired));
    let write = TwinWrite { tags: Some(written.profile.write()), desired };
    twin.write(&write, now()).map_err(HubError::from)?;
    if let Some(folded) = folded(&identity.device) {
        let folded = Object::from_iter([(TAG.to_owned(), json!({ FOLDED: folded }))]);
        let write = TwinWrite { tags: Some(SectionWrite::Merge(folded)), desired: None };
        twin.write(&write, now()).map_err(HubError::from)?;
    }
    let device = DeviceWrite {
        status: status(written.is_enabled.unwrap_or(true)),
        iot_edge: written.is_edge.unwrap_or_else(|| template.is_some_and(DeviceTemplate::is_edge)),
        authentication,
        ..DeviceWrite::default()
    };
    let record = hub(call).create(now(), identity, device, twin).await?;
    if let Err(failure) = check_there(call, &written.profile) {
        hub(call).delete_device(now(), identity, &IfMatch::Any).await?;
        return Err(failure);
    }
    Ok(record)
}

/// Checks that what a device was given is there still: it may have been deleted while nothing had it.
fn check_there(call: &Call, profile: &Profile) -> Result<(), Failure> {
    let state = call.central().state();
    check_organization(&state, profile)?;
    template(&state.templates, profile.template.as_ref()).map(drop)
}

fn check_organization(state: &gantry_central::State, profile: &Profile) -> Result<(), Failure> {
    match &profile.organization {
        Some(id) if !state.organizations.contains_key(id) => {
            Err(Failure::invalid(format!("there is no organization `{id}`")))
        }
        _ => Ok(()),
    }
}

fn status(is_enabled: bool) -> Status {
    if is_enabled { Status::Enabled } else { Status::Disabled }
}

/// What is desired of a new device of a template.
pub(crate) fn initial_values(template: &DeviceTemplate) -> Result<Object, Failure> {
    let capabilities = template.capabilities().map_err(|error| Failure::internal(&error))?;
    Ok(initial_desired(&capabilities).unwrap_or_default())
}

pub(crate) async fn patch(call: Call) -> Result<Json<Value>, Failure> {
    let patch = call.body()?;
    let if_match = call.if_match(&patch)?;
    change(&call, &if_match, |shown| Ok(body::patched(shown, &patch))).await
}

/// Makes a device what `next` makes of what is shown of it, if it is still what the caller expects.
async fn change(
    call: &Call,
    if_match: &IfMatch,
    next: impl Fn(&Value) -> Result<Value, Failure>,
) -> Result<Json<Value>, Failure> {
    for _ in 0..WRITE_ATTEMPTS {
        let record = record(call, Permission::DevicesUpdate).await?;
        let state = call.central().state();
        let device = Device::of(&record, &state.templates, false);
        if !if_match.admits(&device.etag()) {
            return Err(Failure::changed(device.id()));
        }
        let mut shown = device.document();
        // A template that follows from the model was not given.
        if device.profile.template.is_none()
            && let Some(shown) = shown.as_object_mut()
        {
            shown.remove("template");
        }
        let written = Written::read(&next(&shown)?)?;
        check_organization(&state, &written.profile)?;
        call.may_in(Permission::DevicesUpdate, written.profile.organization.as_ref())?;
        template(&state.templates, written.template.as_ref())?;
        let given = written.profile.clone();
        match store(call, &record, written).await {
            Ok(after) => {
                if let Err(failure) = check_there(call, &given) {
                    // It gets back what it had.
                    let before = TwinWrite { tags: Some(Profile::of(&record.twin.tags).write()), desired: None };
                    let if_match = IfMatch::tag(after.twin.etag_text());
                    hub(call).write_twin(now(), &after.device.identity, &before, &if_match).await?;
                    return Err(failure);
                }
                return Ok(Json(show(call, &after).await?));
            }
            Err(HubError::PreconditionFailed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(HubError::Contended(call.piece("deviceId").to_owned()).into())
}

/// Writes it, all of it at once, if the device is still the one that was read.
async fn store(call: &Call, record: &Record, written: Written) -> Result<Record, HubError> {
    let (device, mut profile) = (&record.device, written.profile);
    // A name that is the id is none of its own.
    profile.display_name = written.display_name.filter(|name| name.as_str() != device.identity.device.as_str());
    let kept = Profile::of(&record.twin.tags);
    (profile.upstream, profile.manifest) = (kept.upstream.clone(), kept.manifest.clone());
    let status = status(written.is_enabled.unwrap_or(true));
    let iot_edge = written.is_edge.unwrap_or(false);
    // Scopes are those of an edge device, or of what is below one.
    let stays = iot_edge == device.iot_edge;
    let write = DeviceWrite {
        status,
        status_reason: device.status_reason.clone().filter(|_| device.status == status),
        iot_edge,
        device_scope: device.device_scope.clone().filter(|_| stays),
        parent_scopes: if stays { device.parent_scopes.clone() } else { vec![] },
        managed_by: device.managed_by.clone(),
        authentication: AuthenticationWrite::Unchanged,
    };
    let twin = TwinWrite { tags: profile.write_over(&kept), desired: None };
    let etags = (device.etag_text(), record.twin.etag_text());
    hub(call).put_device_with_twin(now(), &device.identity, &write, &twin, (&etags.0, &etags.1)).await
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let record = record(&call, Permission::DevicesDelete).await?;
    let device = Device::of(&record, &call.central().state().templates, false);
    if !call.if_match(&Value::Null)?.admits(&device.etag()) {
        return Err(Failure::changed(device.id()));
    }
    forget(&call, &record.device.identity.device).await?;
    hub(&call).delete_device(now(), &record.device.identity, &IfMatch::Any).await?;
    call.shared.runs.forget(&record.device.identity.device);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Deletes what provisioning has of a device, so that a new one of its name begins anew.
async fn forget(call: &Call, id: &DeviceId) -> Result<(), Failure> {
    let provisioning = &call.application().api.provisioning;
    let gone = |result: Result<(), DpsError>| match result {
        Ok(()) | Err(DpsError::NotFound(..)) => Ok(()),
        Err(error) => Err(Failure::from(error)),
    };
    if let Some(own) = attestation::own(call, id).await? {
        gone(provisioning.delete_enrollment(&own.key, &IfMatch::Any).await)?;
    }
    match registration(call.application(), id).await? {
        Some(one) if one.device_id.as_ref() == Some(id) => gone(provisioning.delete_registration(&one.id).await),
        _ => Ok(()),
    }
}

/// The components of a device or module, from its template.
pub(crate) async fn components(call: Call) -> Result<Response, Failure> {
    let known = known(&call, Permission::DevicesView).await?;
    let capabilities = known.capabilities.as_deref();
    let parts = capabilities.into_iter().flat_map(Capabilities::parts);
    let named =
        parts.filter_map(|part| Some((part.name.clone()?, (part.interface.clone(), part.display_name.clone()))));
    let mut all: Vec<_> = named.collect();
    all.sort();
    list::answer(
        &call,
        all.into_iter(),
        |name, (interface, display_name)| json!({ "@id": interface, "@type": ["Component"], "name": name, "displayName": display_name }),
    )
}

/// The modules of an edge device, from its template.
pub(crate) async fn modules(call: Call) -> Result<Response, Failure> {
    let known = known(&call, Permission::DevicesView).await?;
    let capabilities = known.capabilities.as_deref();
    let links = capabilities.into_iter().flat_map(|capabilities| &capabilities.root.relationships);
    let modules = links.filter(|link| link.is_edge_module);
    let mut all: Vec<_> = modules.map(|link| (link.name.clone(), link.target.clone())).collect();
    all.sort();
    list::answer(
        &call,
        all.into_iter(),
        |name, target| json!({ "@id": target, "@type": ["Relationship", "SemanticType/EdgeModule"], "name": name }),
    )
}
