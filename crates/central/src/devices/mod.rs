//! Devices of an application: what it knows of one beside its identity and twin, and how people see it.
//!
//! That is kept in the twin's tags under [`TAG`], so that a device is one record, whoever writes it, and is exported,
//! imported and deleted as one:
//!
//! ```json
//! {"iotCentral": {"displayName": "Pump 3", "template": "dtmi:contoso:pump;1", "organization": "north",
//!                 "manifest": "edge1", "simulated": true, "upstream": {"id": "r1", "source": "gateway-1", "generation": "7"},
//!                 "properties": {"room": "A4", "info": {"owner": "Ida"}}}}
//! ```
//!
//! `upstream` is the relationship to the device above it, a gateway or an edge device; a device has one at most.
//! `properties` are the cloud properties, those of a component under its name. What somebody else wrote there and is
//! nothing of this counts as not there. A device without a template that announces a model has the template of the
//! model ([`template_of`]).

mod commands;
mod properties;

use std::sync::Arc;

use gantry_hub::device::Status;
use gantry_hub::ports::Record;
use gantry_hub::twin::{Object, SectionWrite};
use gantry_identity::{DeviceId, Timestamp};
use serde_json::{Map, Value, json};

pub use self::commands::{CommandError, method_name, request_of};
pub use self::properties::{PropertyError, PropertyWrite, read_properties, write_properties};
use crate::groups::DeviceFacts;
use crate::ids::{DeploymentManifestId, DeviceTemplateId, DisplayName, OrganizationId, RelationshipId};
use crate::kept::Kept;
use crate::templates::{self, DeviceTemplate, Templates};

/// The tag with what the application keeps of a device.
pub const TAG: &str = "iotCentral";

/// The relationship to the device above.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its id.
    pub id: RelationshipId,
    /// The device above.
    pub source: DeviceId,
    /// Its generation: another device of its name is not above anything.
    pub generation_id: String,
}

impl Upstream {
    fn of(kept: &Value) -> Option<Self> {
        let text = |name: &str| kept.get(name).and_then(Value::as_str);
        let generation_id = text("generation").unwrap_or_default().to_owned();
        let id = RelationshipId::parse(text("id")?).ok()?;
        Some(Self { id, source: DeviceId::parse(text("source")?).ok()?, generation_id })
    }
}

/// The member of [`TAG`] by which a device is found whose id has capitals: its id in lower case. Registration ids have no
/// case, so two devices whose ids differ in nothing else would be one to provisioning.
pub const FOLDED: &str = "folded";

/// What is kept under [`FOLDED`] of an id; nothing when the id is that already.
#[must_use]
pub fn folded(id: &DeviceId) -> Option<String> {
    let folded = id.as_str().to_ascii_lowercase();
    (folded != id.as_str()).then_some(folded)
}

/// What the application keeps of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// What it is called; its id without one.
    pub display_name: Option<DisplayName>,
    /// The template it was given.
    pub template: Option<DeviceTemplateId>,
    /// The organization it is in; the root without one.
    pub organization: Option<OrganizationId>,
    /// The deployment manifest it got last.
    pub manifest: Option<DeploymentManifestId>,
    /// Whether the platform plays it.
    pub is_simulated: bool,
    /// The device above it.
    pub upstream: Option<Upstream>,
    /// Cloud properties.
    pub properties: Map<String, Value>,
}

impl Profile {
    /// What tags say of it.
    #[must_use]
    pub fn of(tags: &Object) -> Self {
        tags.get(TAG).map_or_else(Self::default, Self::read)
    }

    /// What the value of [`TAG`] says of it.
    #[must_use]
    pub fn read(kept: &Value) -> Self {
        let text = |name: &str| kept.get(name).and_then(Value::as_str);
        Self {
            display_name: text("displayName").and_then(|text| DisplayName::parse(text).ok()),
            template: text("template").and_then(|text| DeviceTemplateId::parse(text).ok()),
            organization: text("organization").and_then(|text| OrganizationId::parse(text).ok()),
            manifest: text("manifest").and_then(|text| DeploymentManifestId::parse(text).ok()),
            is_simulated: kept.get("simulated") == Some(&Value::Bool(true)),
            upstream: kept.get("upstream").and_then(Upstream::of),
            properties: kept.get("properties").and_then(Value::as_object).cloned().unwrap_or_default(),
        }
    }

    /// The write of tags that leaves them as this says; other tags stay.
    #[must_use]
    pub fn write(&self) -> SectionWrite {
        SectionWrite::Merge(Object::from_iter([(TAG.to_owned(), Value::Object(self.members()))]))
    }

    /// The same over what is there, so that who hears of the write hears of what changed only. Nothing when nothing did.
    #[must_use]
    pub fn write_over(&self, before: &Self) -> Option<SectionWrite> {
        let before = before.members();
        let mut all = self.members();
        all.retain(|name, value| before.get(name) != Some(value));
        let tags = || SectionWrite::Merge(Object::from_iter([(TAG.to_owned(), Value::Object(all.clone()))]));
        (!all.is_empty()).then(tags)
    }

    fn members(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: Option<Value>| all.insert(name.to_owned(), value.unwrap_or_default());
        put("displayName", self.display_name.as_ref().map(|name| name.as_str().into()));
        put("template", self.template.as_ref().map(|id| id.as_str().into()));
        put("organization", self.organization.as_ref().map(|id| id.as_str().into()));
        put("manifest", self.manifest.as_ref().map(|id| id.as_str().into()));
        put("simulated", self.is_simulated.then(|| true.into()));
        let upstream = |one: &Upstream| json!({ "id": one.id.as_str(), "source": one.source.as_str(), "generation": one.generation_id });
        put("upstream", self.upstream.as_ref().map(upstream));
        all
    }

    /// Whether it can be told from a device that the application never wrote.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The template of a device, given or by the model it announces, when there is one.
#[must_use]
pub fn template_of<'a>(
    all: &'a Templates,
    profile: &Profile,
    model_id: Option<&str>,
) -> Option<(&'a DeviceTemplateId, &'a Arc<Kept<DeviceTemplate>>)> {
    match &profile.template {
        Some(id) => all.get_key_value(id),
        None => model_id.and_then(|model_id| templates::for_model(all, model_id)),
    }
}

/// A device as people see it.
#[derive(Clone, Debug)]
pub struct Device<'a> {
    /// Identity and twin.
    pub record: &'a Record,
    /// What the application keeps of it.
    pub profile: Profile,
    /// Its template.
    pub template: Option<DeviceTemplateId>,
    /// Whether it registered or connected.
    pub is_provisioned: bool,
}

impl<'a> Device<'a> {
    /// A device that is known to have registered, or not.
    #[must_use]
    pub fn of(record: &'a Record, templates: &Templates, is_registered: bool) -> Self {
        let profile = Profile::of(&record.twin.tags);
        let template = match &profile.template {
            // A template that is gone is still the one it was given.
            Some(id) => Some(id.clone()),
            None => template_of(templates, &profile, record.twin.model_id.as_deref()).map(|(id, _)| id.clone()),
        };
        let has_connected = record.presence.updated_at != Timestamp::NEVER;
        Self { record, profile, template, is_provisioned: is_registered || has_connected }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.record.device.identity.device.as_str()
    }

    /// What it is called.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.profile.display_name.as_ref().map_or(self.id(), DisplayName::as_str)
    }

    /// Whether it may connect.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.record.device.status == Status::Enabled
    }

    /// What every write of it changes, as text.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{:016x}{:016x}", self.record.device.etag, self.record.twin.etag)
    }

    /// As bodies show it.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut all = json!({
            "id": self.id(),
            "etag": self.etag(),
            "displayName": self.display_name(),
            "simulated": self.profile.is_simulated,
            "provisioned": self.is_provisioned,
            "enabled": self.is_enabled(),
        });
        if let Some(template) = &self.template {
            all["template"] = template.as_str().into();
        }
        if let Some(organization) = &self.profile.organization {
            all["organizations"] = json!([organization.as_str()]);
        }
        if self.record.device.iot_edge {
            all["type"] = json!(["iotEdge"]);
        }
        all
    }

    /// A field of the lists' filters ([`DEVICE_FIELDS`](crate::lists::DEVICE_FIELDS)).
    #[must_use]
    pub fn field(&self, name: &str) -> Value {
        match name {
            "id" => self.id().into(),
            "displayName" => self.display_name().into(),
            "enabled" => self.is_enabled().into(),
            "provisioned" => self.is_provisioned.into(),
            "simulated" => self.profile.is_simulated.into(),
            "template" => self.template.as_ref().map(DeviceTemplateId::as_str).into(),
            "organizations" | "scopes" => self.profile.organization.as_ref().map(OrganizationId::as_str).into(),
            _ => Value::Null,
        }
    }

    /// Its properties as the filters of groups see them: what it reported, what is desired where it did not, and the
    /// cloud properties.
    #[must_use]
    pub fn properties(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for section in [&self.record.twin.desired.values, &self.record.twin.reported.values, &self.profile.properties] {
            overlay(&mut all, section);
        }
        all
    }

    /// What a group's filter looks at.
    #[must_use]
    pub fn facts<'f>(&'f self, properties: &'f Map<String, Value>) -> DeviceFacts<'f> {
        DeviceFacts {
            id: self.id(),
            display_name: self.display_name(),
            template: self.template.as_ref().map(DeviceTemplateId::as_str),
            is_simulated: self.profile.is_simulated,
            is_provisioned: self.is_provisioned,
            is_enabled: self.is_enabled(),
            organization: self.profile.organization.as_ref().map(OrganizationId::as_str),
            properties,
        }
    }
}

/// Puts values over others; components, which are objects, member by member.
fn overlay(all: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (name, value) in over.iter().filter(|(name, _)| !name.starts_with('$') && *name != properties::MARKER) {
        let value = value_of(value);
        let Value::Object(over) = value else {
            all.insert(name.clone(), value.clone());
            continue;
        };
        let there = all.entry(name.clone()).or_insert_with(|| json!({}));
        if !there.is_object() {
            *there = json!({});
        }
        if let Value::Object(there) = there {
            overlay(there, over);
        }
    }
}

/// The value of a property, without the acknowledgement around it.
pub(crate) fn value_of(reported: &Value) -> &Value {
    let acknowledged = reported.get("ac").is_some().then(|| reported.get("value")).flatten();
    acknowledged.unwrap_or(reported)
}

#[cfg(test)]
mod tests {
    use gantry_hub::twin::{Twin, TwinWrite};

    use super::*;

    fn profile() -> Profile {
        Profile {
            display_name: DisplayName::parse("Pump 3").ok(),
            template: DeviceTemplateId::parse("dtmi:contoso:pump;1").ok(),
            organization: OrganizationId::parse("north").ok(),
            manifest: DeploymentManifestId::parse("edge1").ok(),
            is_simulated: true,
            upstream: Upstream::of(&json!({"id": "r1", "source": "gateway-1", "generation": "7"})),
            properties: Map::new(),
        }
    }

    fn write(twin: &mut Twin, tags: SectionWrite) {
        twin.write(&TwinWrite { tags: Some(tags), desired: None }, Timestamp::NEVER).unwrap();
    }

    #[test]
    fn a_profile_is_read_as_it_was_written_and_leaves_other_tags_alone() {
        let mut twin = Twin::new();
        let others = json!({ "site": "x", TAG: {"properties": {"room": "A4"}} });
        write(&mut twin, SectionWrite::Merge(others.as_object().unwrap().clone()));
        write(&mut twin, profile().write());
        let read = Profile::of(&twin.tags);
        assert_eq!(read.properties.get("room"), Some(&json!("A4")), "cloud properties are written apart");
        assert_eq!(Profile { properties: Map::new(), ..read }, profile());
        assert_eq!(twin.tags.get("site"), Some(&json!("x")));
        write(&mut twin, Profile::default().write());
        assert_eq!(twin.tags.get(TAG), Some(&json!({"properties": {"room": "A4"}})), "what it has not is not stored");
    }

    #[test]
    fn what_is_nothing_of_a_profile_counts_as_not_there() {
        for strange in [
            json!(1),
            json!([]),
            json!({"displayName": 1, "template": "x", "organization": "A b", "simulated": 1, "upstream": {"id": "r1"}}),
        ] {
            let tags = Object::from_iter([(TAG.to_owned(), strange)]);
            assert!(Profile::of(&tags).is_empty(), "{tags:?}");
        }
        assert!(Profile::of(&Object::new()).is_empty() && !profile().is_empty());
    }

    #[test]
    fn filters_see_values_without_their_acknowledgements_and_components_as_one() {
        let mut all = Map::new();
        let over = |value: Value| value.as_object().unwrap().clone();
        overlay(&mut all, &over(json!({"speed": 10, "fan": {"__t": "c", "rate": 1, "mode": "a"}, "$version": 3})));
        overlay(&mut all, &over(json!({"speed": {"value": 9, "ac": 200, "av": 1}, "fan": {"__t": "c", "rate": 2}})));
        assert_eq!(Value::Object(all), json!({"speed": 9, "fan": {"rate": 2, "mode": "a"}}));
    }
}
