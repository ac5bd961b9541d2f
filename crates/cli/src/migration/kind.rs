//! The kinds of things that a migration carries: what they are called in files and reports, in what order they are
//! written, what of a document is the thing itself, and what cannot be carried.

use serde_json::{Map, Value, json};

use gantry_identity::Timestamp;

/// A kind of thing. The order is that of writing: what others name comes before them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Kind {
    Roles,
    Organizations,
    Users,
    ApiTokens,
    EnrollmentGroups,
    DeviceTemplates,
    DeploymentManifests,
    Devices,
    /// How devices prove themselves.
    Attestations,
    Properties,
    Relationships,
    DeviceGroups,
    Dashboards,
    Jobs,
    ScheduledJobs,
    Destinations,
    Exports,
    /// Devices of a hub.
    Identities,
    Modules,
    Configurations,
}

/// What an application has.
pub(super) const CENTRAL: [Kind; 17] = [
    Kind::Roles,
    Kind::Organizations,
    Kind::Users,
    Kind::ApiTokens,
    Kind::EnrollmentGroups,
    Kind::DeviceTemplates,
    Kind::DeploymentManifests,
    Kind::Devices,
    Kind::Attestations,
    Kind::Properties,
    Kind::Relationships,
    Kind::DeviceGroups,
    Kind::Dashboards,
    Kind::Jobs,
    Kind::ScheduledJobs,
    Kind::Destinations,
    Kind::Exports,
];
/// What a hub has.
pub(super) const HUB: [Kind; 3] = [Kind::Identities, Kind::Modules, Kind::Configurations];

impl Kind {
    /// What it is called: in reports, in states, and its file without the extension.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Roles => "roles",
            Self::Organizations => "organizations",
            Self::Users => "users",
            Self::ApiTokens => "api-tokens",
            Self::EnrollmentGroups => "enrollment-groups",
            Self::DeviceTemplates => "device-templates",
            Self::DeploymentManifests => "deployment-manifests",
            Self::Devices | Self::Identities => "devices",
            Self::Attestations => "attestations",
            Self::Properties => "properties",
            Self::Relationships => "relationships",
            Self::DeviceGroups => "device-groups",
            Self::Dashboards => "dashboards",
            Self::Jobs => "jobs",
            Self::ScheduledJobs => "scheduled-jobs",
            Self::Destinations => "destinations",
            Self::Exports => "exports",
            Self::Modules => "modules",
            Self::Configurations => "configurations",
        }
    }

    /// Whether its file has a document a line.
    pub(super) fn is_lines(self) -> bool {
        use Kind::{Attestations, Devices, Identities, Modules, Properties, Relationships};
        matches!(self, Devices | Attestations | Properties | Relationships | Identities | Modules)
    }

    /// The list of the application's API that has it, for kinds that one list has.
    pub(super) fn collection(self) -> Option<&'static str> {
        match self {
            Self::Roles => Some("roles"),
            Self::Organizations => Some("organizations"),
            Self::Users => Some("users"),
            Self::ApiTokens => Some("apiTokens"),
            Self::EnrollmentGroups => Some("enrollmentGroups"),
            Self::DeviceTemplates => Some("deviceTemplates"),
            Self::DeploymentManifests => Some("deploymentManifests"),
            Self::Devices => Some("devices"),
            Self::DeviceGroups => Some("deviceGroups"),
            Self::Dashboards => Some("dashboards"),
            Self::Jobs => Some("jobs"),
            Self::ScheduledJobs => Some("scheduledJobs"),
            Self::Destinations => Some("dataExport/destinations"),
            Self::Exports => Some("dataExport/exports"),
            _ => None,
        }
    }

    /// The device that a thing is there with, by which it is known whether it is ours to write.
    pub(super) fn owner(self, id: &str) -> Option<(Self, &str)> {
        match self {
            Self::Attestations | Self::Properties => Some((Self::Devices, id)),
            // Others are made whole; these come with the device.
            Self::Modules => id.split_once("/$").map(|(device, _)| (Self::Identities, device)),
            _ => None,
        }
    }

    /// What a document is known by: the id, a module's behind its device's, a relationship's behind its source's.
    pub(super) fn id(self, document: &Value) -> Option<String> {
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        match self {
            Self::DeviceTemplates => text("@id").map(str::to_owned),
            Self::Modules => Some(format!("{}/{}", text("id")?, text("moduleId")?)),
            Self::Relationships => Some(format!("{}/{}", text("source")?, text("id")?)),
            _ => text("id").map(str::to_owned),
        }
    }

    /// A document without what the service says of it: the thing itself.
    pub(super) fn thing(self, mut document: Value) -> Value {
        let dropped: &[&str] = match self {
            Self::Devices => &["etag", "provisioned"],
            Self::Dashboards if document["personal"] == json!(false) => &["etag", "personal"],
            Self::Jobs => &["etag", "start", "end", "progress", "status"],
            Self::ScheduledJobs => &["etag", "completed"],
            Self::EnrollmentGroups => &["etag", "idScope"],
            Self::ApiTokens => &["token"],
            Self::Destinations | Self::Exports => &["status", "errors", "lastExportTime"],
            _ => &["etag"],
        };
        if let Value::Object(members) = &mut document {
            members.retain(|name, value| !dropped.contains(&name.as_str()) && !value.is_null());
            for empty in ["organizations", "type"] {
                if members.get(empty).is_some_and(|list| list.as_array().is_some_and(Vec::is_empty)) {
                    members.remove(empty);
                }
            }
        }
        match self {
            Self::ScheduledJobs => normal_times(&mut document),
            Self::Users if document["type"] == "ADGroup" => document["type"] = "adGroup".into(),
            _ => {}
        }
        document
    }

    /// What of a thing has to be the same.
    pub(super) fn compared(self, thing: &Value) -> Value {
        let mut compared = thing.clone();
        match self {
            Self::ScheduledJobs => take(&mut compared, &["enabled"]),
            Self::Properties => return thing["properties"].clone(),
            Self::Identities | Self::Modules => super::identity::compared(&mut compared),
            _ => {}
        }
        compared
    }

    /// What is written of a thing.
    pub(super) fn written(self, thing: &Value) -> Value {
        let mut body = thing.clone();
        match self {
            Self::Properties => return thing["properties"].clone(),
            Self::Attestations => take(&mut body, &["id"]),
            Self::ScheduledJobs => {
                take(&mut body, &["id"]);
                body["enabled"] = false.into();
            }
            Self::DeviceTemplates => take(&mut body, &["@id"]),
            Self::Identities | Self::Modules | Self::Configurations => {}
            _ => take(&mut body, &["id"]),
        }
        body
    }

    /// Why a thing cannot be carried, wherever it goes.
    pub(super) fn refusal(self, thing: &Value) -> Option<&'static str> {
        let kind = thing["type"].as_str().unwrap_or_default();
        match self {
            Self::Roles => Some("custom roles are made in the application, by no call of its API"),
            Self::ApiTokens => Some("nobody can read its secret; make a token anew"),
            Self::Jobs => Some("a job runs as soon as it is made; its definition is in jobs.json beside the report"),
            Self::Destinations | Self::Exports => Some("nobody can read the secrets of its destinations"),
            Self::Dashboards if thing["personal"] == json!(true) => Some("it belongs to somebody, as no token does"),
            Self::Attestations if kind == "x509" => {
                Some("of its certificate the thumbprint can be read alone; give the device its certificate anew")
            }
            Self::EnrollmentGroups if thing["attestation"]["type"] == "x509" => {
                Some("its certificates cannot be read; upload them anew")
            }
            Self::Attestations if kind == "symmetricKey" && !has_key(thing) => {
                Some("the export was made without --keys")
            }
            Self::EnrollmentGroups if !has_key(&thing["attestation"]) => Some("the export was made without --keys"),
            _ => None,
        }
    }
}

fn has_key(attestation: &Value) -> bool {
    attestation.pointer("/symmetricKey/primaryKey").is_some_and(|key| key.as_str().is_some_and(|key| !key.is_empty()))
}

/// Takes members away.
pub(super) fn take(document: &mut Value, names: &[&str]) {
    if let Value::Object(members) = document {
        members.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// Times of a schedule as one service writes them.
fn normal_times(document: &mut Value) {
    for path in ["/schedule/start", "/schedule/end/date"] {
        if let Some(value) = document.pointer_mut(path)
            && let Some(time) = value.as_str().and_then(Timestamp::parse)
        {
            *value = time.to_string().into();
        }
    }
}

/// What opens things, as members of documents: keys, and passwords of registries of containers.
const SECRETS: [&str; 2] = ["symmetricKey", "registryCredentials"];

/// Takes everything out of a thing that opens something, wherever in it that is.
pub(super) fn take_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !SECRETS.contains(&name.as_str()));
            members.values_mut().for_each(take_secrets);
        }
        Value::Array(items) => items.iter_mut().for_each(take_secrets),
        _ => {}
    }
}

/// Ids in the order in which they are written: each behind the one it is below; `above` says which that is. One that is
/// below itself comes last.
pub(super) fn waves(ids: Vec<String>, above: &Map<String, Value>) -> Vec<Vec<String>> {
    let mut waves: Vec<Vec<String>> = vec![];
    let mut rest: std::collections::BTreeSet<String> = ids.into_iter().collect();
    while !rest.is_empty() {
        let waits = |id: &&String| above.get(*id).and_then(Value::as_str).is_some_and(|above| rest.contains(above));
        let mut wave: Vec<String> = rest.iter().filter(|id| !waits(id)).cloned().collect();
        if wave.is_empty() {
            wave = rest.iter().cloned().collect();
        }
        rest.retain(|id| wave.binary_search(id).is_err());
        waves.push(wave);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_a_document_without_what_the_service_says_of_it() {
        let shown =
            json!({"id": "d", "etag": "x", "provisioned": true, "template": null, "organizations": [], "type": []});
        assert_eq!(Kind::Devices.thing(shown), json!({"id": "d"}));
        let job = json!({"id": "j", "completed": false, "enabled": true,
                         "schedule": {"start": "2022-02-24T08:00:00Z",
                         "end": {"type": "date", "date": "2022-02-25T08:00:00.000Z"}}});
        let same = json!({"id": "j", "schedule": {"start": "2022-02-24T08:00:00.0000000Z",
                         "end": {"type": "date", "date": "2022-02-25T08:00:00Z"}}});
        let (one, other) = (Kind::ScheduledJobs.thing(job), Kind::ScheduledJobs.thing(same));
        assert_eq!(Kind::ScheduledJobs.compared(&one), Kind::ScheduledJobs.compared(&other));
        // A member that nobody knows stays, and is for the service to refuse.
        assert_eq!(Kind::Users.thing(json!({"id": "u", "type": "ADGroup", "x": 1}))["x"], 1);
    }

    #[test]
    fn a_scheduled_job_is_written_disabled() {
        let job = json!({"id": "j", "enabled": true, "group": "g"});
        assert_eq!(Kind::ScheduledJobs.written(&job), json!({"enabled": false, "group": "g"}));
    }

    #[test]
    fn what_cannot_be_carried_is_said() {
        let key = json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": "k"}});
        for (kind, thing, is_refused) in [
            (Kind::Roles, json!({"id": "r"}), true),
            (Kind::ApiTokens, json!({"id": "t"}), true),
            (Kind::Jobs, json!({"id": "j"}), true),
            (Kind::Exports, json!({"id": "e"}), true),
            (Kind::Dashboards, json!({"id": "b", "personal": true}), true),
            (Kind::Dashboards, json!({"id": "b"}), false),
            (Kind::Attestations, json!({"type": "x509", "x509": {}}), true),
            (Kind::Attestations, json!({"type": "symmetricKey"}), true),
            (Kind::Attestations, json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": ""}}), true),
            (Kind::Attestations, json!({"type": "tpm", "tpm": {"endorsementKey": "e"}}), false),
            (Kind::Attestations, key.clone(), false),
            (Kind::EnrollmentGroups, json!({"attestation": key}), false),
            (Kind::EnrollmentGroups, json!({"attestation": {"type": "symmetricKey"}}), true),
            (Kind::EnrollmentGroups, json!({"attestation": {"type": "x509"}}), true),
            (Kind::Devices, json!({"id": "d"}), false),
        ] {
            assert_eq!(kind.refusal(&thing).is_some(), is_refused, "{kind:?} {thing}");
        }
    }

    #[test]
    fn keys_are_taken_out_wherever_they_are() {
        let mut thing = json!({"authentication": {"type": "sas", "symmetricKey": {"primaryKey": "k"}},
                               "data": [{"runtime": {"settings": {"registryCredentials": {"r": {"password": "p"}}}}}]});
        take_secrets(&mut thing);
        assert_eq!(thing, json!({"authentication": {"type": "sas"}, "data": [{"runtime": {"settings": {}}}]}));
    }

    #[test]
    fn what_is_below_comes_behind() {
        let above = json!({"c": "b", "b": "a", "x": "not here", "l1": "l2", "l2": "l1"});
        let ids = ["c", "b", "a", "x", "l1", "l2"].map(str::to_owned).to_vec();
        let of = |all: &[&str]| all.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let waves = waves(ids, above.as_object().unwrap());
        assert_eq!(waves, [of(&["a", "x"]), of(&["b"]), of(&["c"]), of(&["l1", "l2"])]);
    }

    #[test]
    fn parts_know_their_device() {
        assert_eq!(Kind::Modules.owner("d/$edgeHub"), Some((Kind::Identities, "d")));
        assert_eq!(Kind::Modules.owner("d/m"), None);
        assert_eq!(Kind::Properties.owner("d"), Some((Kind::Devices, "d")));
        assert_eq!(Kind::Devices.owner("d"), None);
        assert_eq!(Kind::Relationships.id(&json!({"id": "r", "source": "s"})).as_deref(), Some("s/r"));
        assert_eq!(Kind::Modules.id(&json!({"id": "d"})), None);
    }
}
