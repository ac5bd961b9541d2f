//! The fields of bodies services, operators and the page write: what is read, and what clients were shown and send back.
//!
//! Clients send whole objects back, so the reference takes what is not theirs to write and
//! ignores it: `shown`. What is in neither list is refused by name, so that nothing that is
//! accepted is dropped. Names are read without regard to case, as the reference reads them:
//! clients with `SymmetricKey` are about. Source: published OpenAPI, models of the SDKs.

use serde_json::{Map, Value};

/// The fields of one object.
#[derive(Debug)]
pub(crate) struct Fields {
    /// Read as they are.
    pub(crate) taken: &'static [&'static str],
    /// Objects with fields of their own, or arrays of such.
    pub(crate) inner: &'static [(&'static str, &'static Fields)],
    /// Accepted and ignored.
    pub(crate) shown: &'static [&'static str],
}

const NOTHING: Fields = Fields::NOTHING;

const SYMMETRIC_KEY: Fields = Fields { taken: &["primaryKey", "secondaryKey"], ..NOTHING };
const CAPABILITIES: Fields = Fields { taken: &["iotEdge"], ..NOTHING };
const TWIN_PROPERTIES: Fields = Fields { taken: &["desired"], shown: &["reported"], ..NOTHING };
const AUTHENTICATION: Fields = Fields {
    taken: &["type"],
    inner: &[
        ("symmetricKey", &SYMMETRIC_KEY),
        ("x509Thumbprint", &Fields { taken: &["primaryThumbprint", "secondaryThumbprint"], ..NOTHING }),
    ],
    ..NOTHING
};

/// A device or module in the registry.
pub(crate) const IDENTITY: Fields = Fields {
    taken: &["deviceId", "moduleId", "status", "statusReason", "deviceScope", "parentScopes", "managedBy"],
    inner: &[("authentication", &AUTHENTICATION), ("capabilities", &CAPABILITIES)],
    shown: &[
        "generationId",
        "etag",
        "connectionState",
        "connectionStateUpdatedTime",
        "statusUpdatedTime",
        "lastActivityTime",
        "cloudToDeviceMessageCount",
    ],
};

/// An entry of a bulk call or a line of an import file.
pub(crate) const BULK_ENTRY: Fields = Fields {
    taken: &[
        "id",
        "moduleId",
        "eTag",
        "importMode",
        "status",
        "statusReason",
        "deviceScope",
        "parentScopes",
        "managedBy",
        "twinETag",
        "tags",
    ],
    inner: &[("authentication", &AUTHENTICATION), ("capabilities", &CAPABILITIES), ("properties", &TWIN_PROPERTIES)],
    shown: &[
        "generationId",
        "connectionState",
        "connectionStateUpdatedTime",
        "statusUpdatedTime",
        "lastActivityTime",
        "cloudToDeviceMessageCount",
    ],
};

/// A twin.
pub(crate) const TWIN: Fields = Fields {
    taken: &["deviceId", "moduleId", "etag", "tags"],
    inner: &[("properties", &TWIN_PROPERTIES)],
    shown: &[
        "version",
        "deviceEtag",
        "status",
        "statusReason",
        "statusUpdateTime",
        "statusUpdatedTime",
        "connectionState",
        "connectionStateUpdatedTime",
        "lastActivityTime",
        "cloudToDeviceMessageCount",
        "authenticationType",
        "x509Thumbprint",
        "modelId",
        "capabilities",
        "deviceScope",
        "parentScopes",
        "configurations",
    ],
};

/// What a configuration writes.
pub(crate) const CONTENT: Fields = Fields { taken: &["deviceContent", "moduleContent", "modulesContent"], ..NOTHING };

/// A configuration, or a line of its import file.
pub(crate) const CONFIGURATION: Fields = Fields {
    taken: &["id", "schemaVersion", "labels", "targetCondition", "priority", "etag", "importMode"],
    inner: &[("content", &CONTENT), ("metrics", &Fields { taken: &["queries"], shown: &["results"], ..NOTHING })],
    // `contentType` is a constant of older clients.
    shown: &["createdTimeUtc", "lastUpdatedTimeUtc", "systemMetrics", "contentType"],
};

/// An import or export job.
pub(crate) const IMPORT_EXPORT: Fields = Fields {
    taken: &[
        "type",
        "inputBlobContainerUri",
        "inputBlobName",
        "outputBlobContainerUri",
        "outputBlobName",
        "excludeKeysInExport",
        "storageAuthenticationType",
        "identity",
        "includeConfigurations",
        "configurationsBlobName",
    ],
    shown: &["jobId", "startTimeUtc", "endTimeUtc", "status", "progress", "failureReason"],
    ..NOTHING
};

/// A query.
pub(crate) const QUERY: Fields = Fields { taken: &["query"], ..NOTHING };

/// Texts that a configuration would have.
pub(crate) const TEST_QUERIES: Fields = Fields { taken: &["targetCondition", "customMetricQueries"], ..NOTHING };

/// Whose keys are made anew.
pub(crate) const REGENERATE_KEYS: Fields = Fields {
    taken: &["policyKey"],
    inner: &[("devices", &Fields { taken: &["id", "moduleId"], ..NOTHING })],
    ..NOTHING
};

/// The begin of a file upload.
pub(crate) const UPLOAD_BEGUN: Fields = Fields { taken: &["blobName"], ..NOTHING };

/// The end of one.
pub(crate) const UPLOAD_ENDED: Fields =
    Fields { taken: &["correlationId", "isSuccess", "statusCode", "statusDescription"], ..NOTHING };

/// Enrollments in bulk; each has fields of its own.
pub(crate) const BULK_ENROLLMENTS: Fields = Fields { taken: &["mode", "enrollments", "enrollmentGroups"], ..NOTHING };

const CERTIFICATE: Fields = Fields {
    taken: &["certificate"],
    inner: &[(
        "info",
        &Fields {
            taken: &["sha256Thumbprint"],
            shown: &[
                "subjectName",
                "sha1Thumbprint",
                "issuerName",
                "notBeforeUtc",
                "notAfterUtc",
                "serialNumber",
                "version",
            ],
            ..NOTHING
        },
    )],
    ..NOTHING
};
const CERTIFICATES: Fields = Fields { inner: &[("primary", &CERTIFICATE), ("secondary", &CERTIFICATE)], ..NOTHING };
const ATTESTATION: Fields = Fields {
    taken: &["type"],
    inner: &[
        ("symmetricKey", &SYMMETRIC_KEY),
        ("tpm", &Fields { taken: &["endorsementKey", "storageRootKey"], ..NOTHING }),
        (
            "x509",
            &Fields {
                inner: &[
                    ("clientCertificates", &CERTIFICATES),
                    ("signingCertificates", &CERTIFICATES),
                    ("caReferences", &Fields { taken: &["primary", "secondary"], ..NOTHING }),
                ],
                ..NOTHING
            },
        ),
    ],
    ..NOTHING
};

/// An individual enrollment or an enrollment group.
pub(crate) const ENROLLMENT: Fields = Fields {
    taken: &[
        "registrationId",
        "enrollmentGroupId",
        "etag",
        "deviceId",
        "iotHubHostName",
        "iotHubs",
        "provisioningStatus",
        "allocationPolicy",
        "optionalDeviceInformation",
    ],
    inner: &[
        ("attestation", &ATTESTATION),
        ("capabilities", &CAPABILITIES),
        (
            "initialTwin",
            &Fields {
                taken: &["tags"],
                inner: &[("properties", &Fields { taken: &["desired"], ..NOTHING })],
                ..NOTHING
            },
        ),
        ("reprovisionPolicy", &Fields { taken: &["updateHubAssignment", "migrateDeviceData"], ..NOTHING }),
        ("customAllocationDefinition", &Fields { taken: &["webhookUrl", "apiVersion"], ..NOTHING }),
    ],
    shown: &["registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"],
};

/// A direct method.
pub(crate) const METHOD: Fields =
    Fields { taken: &["methodName", "payload", "responseTimeoutInSeconds", "connectTimeoutInSeconds"], ..NOTHING };

/// A scheduled job.
pub(crate) const JOB: Fields = Fields {
    taken: &[
        "jobId",
        "type",
        "queryCondition",
        "deviceIds",
        "startTime",
        "maxExecutionTimeInSeconds",
        "updateTwin",
        "cloudToDeviceMethod",
    ],
    ..NOTHING
};

/// The token of a sign-in link, or what somebody knows and has.
pub(crate) const SIGN_IN: Fields = Fields { taken: &["token", "name", "password", "code"], ..NOTHING };

/// The token of a password link, and the password.
pub(crate) const CHOOSE_PASSWORD: Fields = Fields { taken: &["token", "password"], ..NOTHING };

/// The password there is, and another.
pub(crate) const CHANGE_PASSWORD: Fields = Fields { taken: &["current", "new"], ..NOTHING };

/// The password, once more.
pub(crate) const PASSWORD: Fields = Fields { taken: &["password"], ..NOTHING };

/// The first code of a second factor.
pub(crate) const CODE: Fields = Fields { taken: &["code"], ..NOTHING };

/// A person who signs in.
pub(crate) const PERSON: Fields = Fields {
    taken: &["displayName", "email", "role", "disabled", "mustChangePassword"],
    shown: &["name", "issuer", "hasPassword", "hasTotp", "createdAt", "etag"],
    ..NOTHING
};

/// A rule; which fields belong together is for its reader.
pub(crate) const RULE: Fields = Fields {
    taken: &["id", "enabled", "severity"],
    inner: &[
        (
            "when",
            &Fields {
                taken: &[
                    "kind",
                    "signal",
                    "scoreMin",
                    "urgencyMin",
                    "countMin",
                    "output",
                    "job",
                    "above",
                    "below",
                    "withinHours",
                ],
                ..NOTHING
            },
        ),
        ("actions", &Fields { taken: &["kind", "url", "to", "name", "payload", "patch"], ..NOTHING }),
    ],
    ..NOTHING
};

/// A dashboard.
pub(crate) const DASHBOARD: Fields = Fields {
    taken: &["title", "refreshSeconds"],
    inner: &[
        ("parameters", &Fields { taken: &["name", "type", "value", "choices"], ..NOTHING }),
        ("tiles", &Fields { taken: &["title", "query", "width"], ..NOTHING }),
    ],
    // As it was read.
    shown: &["id", "etag", "updatedAt"],
};

/// An authority's certificate.
pub(crate) const AUTHORITY: Fields = Fields { taken: &["certificate", "isVerified"], ..NOTHING };

/// A certificate that proves an authority's key.
pub(crate) const PROOF: Fields = Fields { taken: &["certificate"], ..NOTHING };

/// A hub elsewhere.
pub(crate) const LINKED_HUB: Fields = Fields {
    taken: &["connectionString", "certificateAuthority", "allocationWeight", "applyAllocationPolicy"],
    ..NOTHING
};

/// A device of an enrollment group.
pub(crate) const NEW_DEVICE: Fields = Fields { taken: &["registrationId"], ..NOTHING };

/// Message routing; `properties` are in the words of the settings' file, and as strictly read.
pub(crate) const ROUTING: Fields = Fields { taken: &["properties", "etag"], ..NOTHING };

const TEST_MESSAGE: Fields = Fields { taken: &["body", "appProperties", "systemProperties"], ..NOTHING };

/// A route to be tried out.
pub(crate) const TEST_ROUTE: Fields =
    Fields { taken: &["route", "twin"], inner: &[("message", &TEST_MESSAGE)], ..NOTHING };

/// Routes to be tried out.
pub(crate) const TEST_ROUTES: Fields =
    Fields { taken: &["routingSource", "twin"], inner: &[("message", &TEST_MESSAGE)], ..NOTHING };

/// A name to be looked up.
pub(crate) const NAME: Fields = Fields { taken: &["name", "type"], ..NOTHING };

/// Faults that an operator plans.
pub(crate) const FAULTS: Fields = Fields {
    taken: &["durationSecs", "devices", "clockSkewSecs", "certificatesExpired"],
    inner: &[
        ("telemetry", &Fields { taken: &["delayMs", "dropShare", "duplicateShare"], ..NOTHING }),
        ("rest", &Fields { taken: &["status", "share", "retryAfterSecs"], ..NOTHING }),
    ],
    ..NOTHING
};

impl Fields {
    /// None.
    pub(crate) const NOTHING: Self = Self { taken: &[], inner: &[], shown: &[] };

    /// Every name that is read or accepted, without what is within.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let inner = self.inner.iter().map(|(name, _)| *name);
        self.taken.iter().chain(self.shown).copied().chain(inner)
    }

    /// Names that are read as they are.
    pub(crate) fn taken(&self) -> &'static [&'static str] {
        self.taken
    }

    /// Names of objects, or arrays of them, that have fields of their own.
    pub(crate) fn inner(&self) -> &'static [(&'static str, &'static Fields)] {
        self.inner
    }

    /// Names that are accepted and ignored.
    pub(crate) fn shown(&self) -> &'static [&'static str] {
        self.shown
    }

    /// The object with its names as they are published and without what is only shown. Values that are no objects
    /// are for their reader to refuse.
    ///
    /// # Errors
    /// Names a field that is not known, or is there twice.
    pub(crate) fn read(&self, value: Value) -> Result<Value, String> {
        self.read_at(value, "")
    }

    fn read_at(&self, value: Value, at: &str) -> Result<Value, String> {
        let object = match value {
            Value::Object(object) => object,
            Value::Array(items) => return items.into_iter().map(|item| self.read_at(item, at)).collect(),
            other => return Ok(other),
        };
        let mut all = Map::new();
        for (key, value) in object {
            let same = |name: &str| name.eq_ignore_ascii_case(&key);
            let (name, value) = if let Some((name, inner)) = self.inner.iter().find(|(name, _)| same(name)) {
                (*name, inner.read_at(value, &format!("{at}{name}."))?)
            } else if let Some(name) = self.taken.iter().find(|name| same(name)) {
                (*name, value)
            } else if self.shown.iter().any(|name| same(name)) {
                continue;
            } else {
                return Err(format!("`{at}{key}` is not a field"));
            };
            if all.insert(name.to_owned(), value).is_some() {
                return Err(format!("`{at}{name}` is there twice"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_read_without_case_and_what_is_only_shown_is_left_out() {
        let body = json!({ "DeviceID": "d", "generationId": "1", "eTag": "x", "Authentication": {"SymmetricKey": {"PrimaryKey": "k"}} });
        let read = json!({ "deviceId": "d", "authentication": {"symmetricKey": {"primaryKey": "k"}} });
        assert_eq!(IDENTITY.read(body), Ok(read));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (fields, body, name) in [
            (&IDENTITY, json!({ "colour": 1 }), "`colour`"),
            (
                &IDENTITY,
                json!({ "authentication": {"symmetricKey": {"thirdKey": 1}} }),
                "`authentication.symmetricKey.thirdKey`",
            ),
            (&TWIN, json!({ "properties": {"wanted": {}} }), "`properties.wanted`"),
            (&TWIN, json!({ "desired": {} }), "`desired`"),
            (&BULK_ENTRY, json!({ "deviceId": "d" }), "`deviceId`"),
            (&CONFIGURATION, json!({ "content": {"x": 1} }), "`content.x`"),
            (
                &ENROLLMENT,
                json!({ "initialTwin": {"properties": {"reported": {}}} }),
                "`initialTwin.properties.reported`",
            ),
        ] {
            assert!(fields.read(body.clone()).unwrap_err().starts_with(name), "{body}");
        }
        assert!(IDENTITY.read(json!({ "status": "enabled", "Status": "disabled" })).is_err());
    }

    #[test]
    fn no_name_is_in_two_lists() {
        fn check(fields: &Fields) {
            let mut names: Vec<_> = fields.names().collect();
            let len = names.len();
            names.sort_by_key(|name| name.to_ascii_lowercase());
            names.dedup_by_key(|name| name.to_ascii_lowercase());
            assert_eq!(names.len(), len, "{fields:?}");
            fields.inner.iter().for_each(|(_, inner)| check(inner));
        }
        let all = [IDENTITY, BULK_ENTRY, TWIN, CONFIGURATION, IMPORT_EXPORT, ENROLLMENT, JOB, RULE, FAULTS, TEST_ROUTE];
        all.iter().for_each(check);
    }
}
