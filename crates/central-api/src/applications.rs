//! Application templates: an application begins with one, and devices that are played come with it.
//!
//! What is there under the same name stays as it is, so beginning twice changes nothing. Rules of a template are told and
//! not made: the application has none of its own yet.

use axum::Json;
use gantry_api::now;
use gantry_central::CentralError;
use gantry_central::applications::{Application as Beginning, all, find};
use gantry_central::dashboards::{Dashboard, read_tiles};
use gantry_central::devices::{Profile, TAG};
use gantry_central::groups::{DeviceFilter, DeviceGroup, GroupError};
use gantry_central::ids::DisplayName;
use gantry_central::organizations::Organization;
use gantry_central::templates::DeviceTemplate;
use gantry_central::{Author, Write};
use gantry_hub::HubError;
use gantry_hub::device::{AuthenticationWrite, DeviceWrite, IfMatch};
use gantry_hub::twin::{SectionWrite, Twin, TwinWrite};
use gantry_identity::{DeviceId, Identity};
use rand::Rng as _;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::devices::{credentials, initial_values};
use crate::{Failure, body};

fn id_of(one: &Beginning) -> String {
    format!("{}@{}", one.manifest_id, one.manifest_version)
}

pub(crate) async fn list(_: Call) -> Json<Value> {
    let shown = all().iter().map(|one| {
        json!({
            "id": id_of(one),
            "name": one.name,
            "title": one.title,
            "description": one.description,
            "industry": one.industry,
            "devices": one.devices.len(),
        })
    });
    Json(json!({ "value": shown.collect::<Vec<_>>() }))
}

/// What came of a beginning.
#[derive(Default)]
struct Made {
    made: Map<String, Value>,
    kept: Map<String, Value>,
}

impl Made {
    fn note(&mut self, kind: &str, id: &str, is_new: bool) {
        let of = if is_new { &mut self.made } else { &mut self.kept };
        if let Value::Array(ids) = of.entry(kind).or_insert_with(|| json!([])) {
            ids.push(id.into());
        }
    }
}

pub(crate) async fn begin(call: Call) -> Result<Json<Value>, Failure> {
    let id = call.piece("applicationTemplateId");
    let one = find(id).ok_or_else(|| Failure::not_found(format!("there is no application template `{id}`")))?;
    let mut made = Made::default();
    objects(&call, one, &mut made).await?;
    devices(&call, one, &mut made).await?;
    let rules: Vec<&str> = one.rules.iter().map(|rule| rule.id.as_str()).collect();
    Ok(Json(json!({ "id": id_of(one), "made": made.made, "kept": made.kept, "notMade": { "rules": rules } })))
}

/// A write that replaces nothing.
fn write() -> Write<'static> {
    Write { now: now(), drawn: rand::rng().random(), if_match: &IfMatch::Absent }
}

/// Organizations, templates, groups and dashboards, each after what it refers to.
async fn objects(call: &Call, one: &Beginning, made: &mut Made) -> Result<(), Failure> {
    let (central, by) = (call.central(), &call.who.roles);
    let state = central.state();
    for of in &one.organizations {
        let is_new = !state.organizations.contains_key(&of.id);
        if is_new {
            let new = Organization { display_name: Some(of.display_name.clone()), parent: of.parent.clone() };
            central.put_organization(write(), &of.id, &new, by).await?;
        }
        made.note("organizations", of.id.as_str(), is_new);
    }
    for of in &one.templates {
        let is_new = !state.templates.contains_key(&of.id);
        if is_new {
            let new = DeviceTemplate::new(&of.id, of.write(), &mut |_: &[_]| None).map_err(CentralError::from)?;
            central.put_template(write(), &of.id, &new).await?;
        }
        made.note("deviceTemplates", of.id.as_str(), is_new);
    }
    for of in &one.groups {
        let is_new = !state.groups.contains_key(&of.id);
        if is_new {
            let filter = DeviceFilter::parse(&of.filter).map_err(GroupError::from).map_err(CentralError::from)?;
            let new = DeviceGroup {
                display_name: of.display_name.clone(),
                description: of.description.clone(),
                filter,
                organization: of.organization.clone(),
            };
            central.put_group(write(), &of.id, &new, by).await?;
        }
        made.note("deviceGroups", of.id.as_str(), is_new);
    }
    for of in &one.dashboards {
        let is_new = !state.dashboards.contains_key(&of.id);
        if is_new {
            let body = Value::Object(of.body.clone());
            let tiles = body.get("tiles").cloned().unwrap_or_else(|| json!([]));
            let new = Dashboard {
                display_name: DisplayName::parse(body::needed(&body, "displayName")?)?,
                tiles: read_tiles(&tiles).map_err(CentralError::from)?,
                favorite: body::flag(&body, "favorite")?.unwrap_or(false),
                owner: None,
                organization: body::organization(&body)?,
            };
            let author = Author { roles: by, user: None };
            central.put_dashboard(write(), &of.id, &new, author).await?;
        }
        made.note("dashboards", of.id.as_str(), is_new);
    }
    Ok(())
}

/// The simulated devices, which begin to be played within seconds.
async fn devices(call: &Call, one: &Beginning, made: &mut Made) -> Result<(), Failure> {
    let hub = &call.application().api.hub;
    let state = call.central().state();
    for of in &one.devices {
        let id = DeviceId::parse(&of.id).map_err(|error| Failure::internal(&error))?;
        let profile = Profile {
            display_name: Some(of.display_name.clone()),
            template: Some(of.template.clone()),
            organization: of.organization.clone(),
            is_simulated: true,
            ..Profile::default()
        };
        let desired = state.templates.get(&of.template).map(|kept| initial_values(&kept.value)).transpose()?;
        let mut twin = Twin::new();
        let desired = desired.filter(|desired| !desired.is_empty()).map(SectionWrite::Merge);
        twin.write(&TwinWrite { tags: Some(profile.write()), desired }, now()).map_err(HubError::from)?;
        let cloud = Map::from_iter([(TAG.to_owned(), json!({ "properties": of.cloud_properties }))]);
        let cloud = TwinWrite { tags: Some(SectionWrite::Merge(cloud)), desired: None };
        twin.write(&cloud, now()).map_err(HubError::from)?;
        let keys = credentials::derived(call, &id).await?;
        let device = DeviceWrite { authentication: AuthenticationWrite::Sas(keys), ..DeviceWrite::default() };
        let is_new = match hub.create(now(), &Identity::device(id), device, twin).await {
            Ok(_) => true,
            Err(HubError::AlreadyExists(_)) => false,
            Err(error) => return Err(error.into()),
        };
        made.note("devices", &of.id, is_new);
    }
    Ok(())
}
