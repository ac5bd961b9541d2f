//! The table of failures in `docs/errors.md`: what each looks like over HTTP, MQTT and AMQP.
//!
//! The document is the golden file. `UPDATE_GOLDEN=1` writes it anew.

use std::fmt::Write as _;

use gantry_hub::HubError;
use gantry_hub::configuration::ConfigurationError;
use gantry_hub::device::KeyPairError;
use gantry_hub::digital_twin::DigitalTwinError;
use gantry_hub::job::JobError;
use gantry_hub::routing::RoutingError;
use gantry_hub::throttle::Operation;
use gantry_hub::twin::TwinError;
use gantry_identity::{DeviceId, Identity, Refusal};
use gantry_provisioning::{DpsError, Unknown};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
const HEAD: &str = "\
# Failures on every transport

What a client sees when an operation of the hub fails. HTTP answers carry the name in `iothub-errorcode` and in `Message` \
(`ErrorCode:<name>;<words>`); direct methods carry the number. Twin operations over MQTT and AMQP answer with the twin \
status. Over AMQP a message or link is refused with the condition. A dash: it does not come up there. MQTT 3.1.1 has no negative acknowledgement: telemetry \
that cannot be taken ends the connection, a refused sign-in is CONNACK 5, a throttled one CONNACK 3. MQTT 5 has reason \
codes and the user property `status`, in acknowledgements, in responses and when a connection ends.

This table is checked by a test (`crates/gantry/tests/suite/errors.rs`).

| Failure | HTTP | Number | Name | Twin status | MQTT 5 | AMQP condition |
|---|---|---|---|---|---|---|
";

const PROVISIONING: &str = "
## The provisioning service

Its answers carry the number in `x-ms-error-code` and in the JSON body, whose shape is the same over HTTP, MQTT and AMQP \
(there in the description of the rejected request). Over MQTT the number's leading three digits are the status of the answer's topic; a \
refused sign-in is CONNACK 5, or SASL outcome 1. A registration that fails for its own reasons is no failure here: its status says so.

| Failure | HTTP | Number | AMQP condition |
|---|---|---|---|
";

const HTTP_ALONE: &str = "
## Over HTTP alone

| Refused | HTTP | Number | Name |
|---|---|---|---|
";

/// What the HTTP head refuses on its own: words, number and name.
const OF_HTTP: [(&str, u32, &str); 18] = [
    ("`api-version` missing, repeated or unknown", 400_001, "InvalidProtocolVersion"),
    ("container of an import or export job", 400_008, "BlobContainerValidationError"),
    ("`schemaVersion` of a configuration", 400_010, "InvalidSchemaVersion"),
    ("file upload without a storage", 400_014, "DefaultStorageEndpointNotConfigured"),
    ("correlation id of no file upload", 400_015, "InvalidFileUploadCorrelationId"),
    ("correlation id of an expired file upload", 400_016, "ExpiredFileUploadCorrelationId"),
    ("end of a file upload without `isSuccess`", 400_019, "InvalidFileUploadCompletionStatus"),
    ("`policyKey` of new keys", 400_035, "InvalidPolicyKey"),
    ("metric of a configuration", 400_404, "InvalidConfigurationCustomMetricsQuery"),
    ("null in the value of a digital twin patch", 400_507, "InvalidDigitalTwinPatch"),
    ("second import or export job at once", 403_003, "JobQuotaExceeded"),
    ("too many file uploads of a device", 403_006, "DeviceMaximumActiveFileUploadLimitExceeded"),
    ("no operation at this path", 404_000, "GenericNotFound"),
    ("method not allowed", 405_000, "GenericMethodNotAllowed"),
    ("body that does not arrive", 408_000, "GenericTimeout"),
    ("more entries than a bulk call takes", 413_002, "TooManyDevices"),
    ("more configurations than there may be", 413_101, "ConfigurationCountLimitExceeded"),
    ("event log without room", 503_005, "ServerBusy"),
];

/// One failure of each kind of the provisioning service, with words for it.
fn provisioning_failures() -> Vec<(&'static str, DpsError)> {
    let words = || "words".to_owned();
    let unknown = |what, words| (words, DpsError::NotFound(what, String::new()));
    vec![
        ("credentials refused", DpsError::Unauthorized(Refusal::Missing)),
        ("no role for it", DpsError::Forbidden(Refusal::Missing)),
        unknown(Unknown::Enrollment, "enrollment not there"),
        unknown(Unknown::Group, "enrollment group not there"),
        unknown(Unknown::Registration, "registration not there"),
        unknown(Unknown::Operation, "operation not there"),
        unknown(Unknown::Hub, "linked hub not there"),
        ("exists already", DpsError::Conflict(words())),
        ("etag of an enrollment", DpsError::PreconditionFailed),
        ("bad argument, certificate or key", DpsError::Invalid(words())),
        ("body that is no JSON, or of other types", DpsError::Malformed(words())),
        ("throttled", DpsError::Throttled { retry_after: std::time::Duration::from_secs(1) }),
        ("store or hub failed", DpsError::Failed(words())),
        ("not implemented", DpsError::NotImplemented("words")),
    ]
}

/// One failure of each kind. A kind that is missing here does not compile below.
fn failures() -> Vec<HubError> {
    let device = || Identity::device(DeviceId::parse("d").unwrap());
    let module = || Identity::parse("d/m").unwrap();
    let words = || "words".to_owned();
    vec![
        HubError::NotFound(device()),
        HubError::NotFound(module()),
        HubError::AlreadyExists(device()),
        HubError::AlreadyExists(module()),
        HubError::NoSuchCertificate(words()),
        HubError::Throttled(Operation::Telemetry),
        HubError::QuotaExceeded(1),
        HubError::NotInEdition(Operation::Method),
        HubError::FaultsOff,
        HubError::Routing(RoutingError::Fallback),
        HubError::RoutingChanged,
        HubError::CertificateChanged(words()),
        HubError::PreconditionFailed(device()),
        HubError::Disabled(device()),
        HubError::Scope(words()),
        HubError::SystemModule(module()),
        HubError::TooManyModules(device()),
        HubError::NamedTwice(device()),
        HubError::Invalid(words()),
        HubError::Id(DeviceId::parse("").unwrap_err()),
        HubError::Keys(KeyPairError::OnlyOne),
        HubError::Twin(TwinError::Key(words())),
        HubError::Twin(TwinError::TooLarge { section: "tags", bytes: 2, max: 1 }),
        HubError::Query(gantry_hub::Query::parse("SELECT").unwrap_err()),
        HubError::Configuration(ConfigurationError::NotFound(words())),
        HubError::Configuration(ConfigurationError::AlreadyExists(words())),
        HubError::Configuration(ConfigurationError::PreconditionFailed(words())),
        HubError::Configuration(ConfigurationError::Target(words())),
        HubError::Configuration(ConfigurationError::Content(words())),
        HubError::Configuration(ConfigurationError::Immutable),
        HubError::DigitalTwin(DigitalTwinError::Patch(words())),
        HubError::DigitalTwin(DigitalTwinError::Path(words())),
        HubError::Job(JobError::NotFound(words())),
        HubError::Job(JobError::AlreadyExists(words())),
        HubError::Job(JobError::Ended(words())),
        HubError::Job(JobError::TooMany),
        HubError::Unauthorized(Refusal::Missing),
        HubError::MessageTooLarge { bytes: 2, max: 1 },
        HubError::QueueFull(device()),
        HubError::LockLost,
        HubError::NotOnline(device()),
        HubError::TakenOver(device()),
        HubError::TooManyMethods(device()),
        HubError::TooManyStreams,
        HubError::Timeout(device()),
        HubError::Contended(device().to_string()),
        HubError::NoSpace,
        HubError::Failed(words()),
        HubError::NotImplemented("words"),
    ]
}

/// What went wrong, in a few words; also what makes sure that no kind is forgotten.
fn words(error: &HubError) -> &'static str {
    match error {
        HubError::NotFound(id) if id.module.is_some() => "module not registered",
        HubError::NotFound(_) => "device not registered",
        HubError::AlreadyExists(id) if id.module.is_some() => "module exists already",
        HubError::AlreadyExists(_) => "device exists already",
        HubError::NoSuchCertificate(_) => "certificate not there",
        HubError::Throttled(_) => "throttled",
        HubError::QuotaExceeded(_) => "daily quota used up",
        HubError::NotInEdition(_) => "not in this edition",
        HubError::FaultsOff => "faults are not allowed",
        HubError::Routing(_) => "routing cannot be so",
        HubError::RoutingChanged => "etag of routing",
        HubError::CertificateChanged(_) => "etag of a certificate",
        HubError::PreconditionFailed(_) => "etag of a device, module or twin",
        HubError::Disabled(_) => "device disabled",
        HubError::Scope(_) => "bad edge scope",
        HubError::SystemModule(_) => "module of the edge runtime",
        HubError::TooManyModules(_) => "too many modules",
        HubError::NamedTwice(_) => "named twice in one call",
        HubError::Invalid(_) => "bad argument",
        HubError::Id(_) => "bad id",
        HubError::Keys(_) => "bad keys",
        HubError::Twin(TwinError::TooLarge { .. }) => "twin section too large",
        HubError::Twin(_) => "bad twin",
        HubError::Query(_) => "bad query",
        HubError::Configuration(ConfigurationError::NotFound(_)) => "configuration not there",
        HubError::Configuration(ConfigurationError::AlreadyExists(_)) => "configuration exists already",
        HubError::Configuration(ConfigurationError::PreconditionFailed(_)) => "etag of a configuration",
        HubError::Configuration(ConfigurationError::Target(_)) => "bad target condition",
        HubError::Configuration(ConfigurationError::Content(_)) => "bad configuration content",
        HubError::Configuration(ConfigurationError::Immutable) => "configuration content cannot change",
        HubError::Configuration(_) => "bad configuration",
        HubError::DigitalTwin(DigitalTwinError::Path(_)) => "bad path in a digital twin patch",
        HubError::DigitalTwin(_) => "bad digital twin patch",
        HubError::Job(JobError::NotFound(_)) => "job not there",
        HubError::Job(JobError::AlreadyExists(_)) => "job exists already",
        HubError::Job(JobError::Ended(_)) => "job ended already",
        HubError::Job(JobError::TooMany) => "too many jobs",
        HubError::Job(_) => "bad job",
        HubError::Unauthorized(_) => "credentials refused",
        HubError::MessageTooLarge { .. } => "message too large",
        HubError::QueueFull(_) => "queue of the device full",
        HubError::LockLost => "lock on a message lost",
        HubError::NotOnline(_) => "device not connected, or not listening",
        HubError::TakenOver(_) => "another connection took over",
        HubError::TooManyMethods(_) => "too many methods in flight",
        HubError::TooManyStreams => "too many device streams",
        HubError::Timeout(_) => "device did not answer",
        HubError::Contended(_) => "too many writers at once",
        HubError::NoSpace => "disk full",
        HubError::Failed(_) => "store or log failed",
        HubError::NotImplemented(_) => "not implemented",
    }
}

#[test]
fn the_table_of_failures_is_what_the_heads_answer() {
    let mut table = HEAD.to_owned();
    for error in failures() {
        let what = words(&error);
        let (status, condition) = (gantry_gateway::twin_status(&error), gantry_gateway::amqp_condition(&error));
        // What cannot come up there would be an internal error.
        let is_internal = matches!(error, HubError::Failed(_));
        let status = if status == 500 && !is_internal { "–".into() } else { status.to_string() };
        let condition = match condition.as_str() {
            "amqp:internal-error" if !is_internal => "–".into(),
            condition => format!("`{condition}`"),
        };
        let mqtt_5 = match gantry_gateway::mqtt_5_failure(&error) {
            (_, Some("0601")) if !is_internal => "–".into(),
            (reason, Some(code)) => format!("{reason:#04x} `{code}`"),
            (reason, None) => format!("{reason:#04x}"),
        };
        let (http, number, name) = gantry_api::ApiError::from(error).code();
        writeln!(table, "| {what} | {http} | {number} | `{name}` | {status} | {mqtt_5} | {condition} |").unwrap();
    }
    table.push_str(HTTP_ALONE);
    for (what, number, name) in OF_HTTP {
        writeln!(table, "| {what} | {} | {number} | `{name}` |", number / 1000).unwrap();
    }
    table.push_str(PROVISIONING);
    for (what, error) in provisioning_failures() {
        let (number, condition) = (error.code(), gantry_gateway::amqp_dps_condition(&error));
        writeln!(table, "| {what} | {} | {number} | `{condition}` |", number / 1000).unwrap();
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let written = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(written == table, "docs/errors.md is not what the heads answer; UPDATE_GOLDEN=1 writes it anew:\n{table}");
}

/// Every `400_001, "Name"` in the sources of the HTTP head.
fn named_in(folder: &std::path::Path, found: &mut Vec<(u32, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices(", \"") {
            let number = text[..at].rsplit(['(', ' ']).next().and_then(|word| word.replace('_', "").parse().ok());
            let name = text[at + 3..].split('"').next().unwrap_or_default();
            if let Some(number) = number.filter(|number| (400_000..600_000).contains(number)) {
                found.push((number, name.to_owned()));
            }
        }
    }
}

#[test]
fn every_error_of_the_http_head_is_in_the_document() {
    let document = std::fs::read_to_string(TABLE).unwrap();
    let mut found = vec![];
    named_in(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../api/src")), &mut found);
    assert!(found.len() > 50, "{found:?}");
    for (number, name) in found {
        assert!(document.contains(&format!("| {number} | `{name}` |")), "{number} {name} is not in docs/errors.md");
    }
}
