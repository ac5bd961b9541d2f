//! Places in JSON documents.

use serde_json::Value;

/// One step into a document.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// A member of an object.
    Name(String),
    /// An item of an array.
    Index(usize),
}

/// Steps from a document's root.
pub type Path = Vec<Step>;

/// Fields of the service, written without regard to case.
const FIELDS: [&str; 33] = [
    "deviceId",
    "moduleId",
    "etag",
    "deviceEtag",
    "status",
    "statusReason",
    "statusUpdateTime",
    "statusUpdatedTime",
    "connectionStateUpdatedTime",
    "connectionState",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "modelId",
    "version",
    "tags",
    "properties",
    "capabilities",
    "deviceScope",
    "parentScopes",
    "configurations",
    "managedBy",
    "jobId",
    "jobType",
    "startTimeUtc",
    "endTimeUtc",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "outcome",
    "error",
    "desired",
    "reported",
];
/// Second names that belong to the service too.
const INNER_FIELDS: [&str; 5] = ["desired", "reported", "iotEdge", "primaryThumbprint", "secondaryThumbprint"];

/// The value at a path of a document; `None` when there is none.
pub fn find<'a>(document: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(document, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.get(*index),
    })
}

/// Spells the names of the service in a path as documents do; `desired.x` alone is `properties.desired.x`,
/// as older clients write.
pub(crate) fn canonical(path: &mut Path) {
    let known = |names: &[&'static str], step: &Step| match step {
        Step::Name(name) => names.iter().find(|known| known.eq_ignore_ascii_case(name)).copied(),
        Step::Index(_) => None,
    };
    let Some(first) = path.first().and_then(|step| known(&FIELDS, step)) else { return };
    path[0] = Step::Name(first.to_owned());
    if matches!(first, "desired" | "reported") {
        path.insert(0, Step::Name("properties".to_owned()));
    }
    if matches!(first, "properties" | "capabilities" | "x509Thumbprint")
        && let Some(second) = path.get(1).and_then(|step| known(&INNER_FIELDS, step))
    {
        path[1] = Step::Name(second.to_owned());
    }
}

/// The last name of a path: what a result calls its value.
pub(crate) fn last_name(path: &[Step]) -> String {
    let name = |step: &Step| match step {
        Step::Name(name) => Some(name.clone()),
        Step::Index(_) => None,
    };
    path.iter().rev().find_map(name).unwrap_or_default()
}
