//! Who may do what: every operation of the service API with every default policy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::middleware::map_request;
use futures::FutureExt as _;
use gantry_api::{Api, Containers, ImportExport, PeerAddress, Sessions};
use gantry_blobs::{Permission, Place};
use gantry_hub::authorities::Authorities;
use gantry_hub::event::Event;
use gantry_hub::ports::{Append, Audit, Entropy, EventSink};
use gantry_hub::throttle::Edition;
use gantry_hub::{DisabledTokens, Hub, HubConfig, Ports};
use gantry_identity::{Identity, Key, KeyPair, Policies, Rights, Signer, Timestamp};
use gantry_monitoring::Monitoring;
use gantry_monitoring::pipeline::Pipeline;
use gantry_provisioning::{
    AllocationPolicy, DPS_COLLECTION, IdScope, Isolated, Limits, LinkedHub, Service, ServiceConfig,
};
use gantry_storage::Database;
use tower::ServiceExt as _;

/// Method, path, body, and what a policy needs for it.
pub(crate) const OPERATIONS: &[(&str, &str, &str, Rights)] = &[
    ("GET", "/devices", "", Rights::REGISTRY_READ),
    ("GET", "/devices/d", "", Rights::REGISTRY_READ),
    ("PUT", "/devices/d", "{}", Rights::REGISTRY_WRITE),
    ("DELETE", "/devices/none", "", Rights::REGISTRY_WRITE),
    ("GET", "/devices/d/modules", "", Rights::REGISTRY_READ),
    ("GET", "/devices/d/modules/m", "", Rights::REGISTRY_READ),
    ("PUT", "/devices/d/modules/m", "{}", Rights::REGISTRY_WRITE),
    ("DELETE", "/devices/d/modules/none", "", Rights::REGISTRY_WRITE),
    ("DELETE", "/devices/d/commands", "", Rights::SERVICE_CONNECT),
    ("POST", "/devices/query", r#"{"query":"SELECT * FROM devices"}"#, Rights::SERVICE_CONNECT),
    ("GET", "/statistics/devices", "", Rights::REGISTRY_READ),
    ("GET", "/statistics/service", "", Rights::SERVICE_CONNECT),
    ("GET", "/twins/d", "", Rights::SERVICE_CONNECT),
    ("PATCH", "/twins/d", "{}", Rights::SERVICE_CONNECT),
    ("PUT", "/twins/d", "{}", Rights::SERVICE_CONNECT),
    ("GET", "/twins/d/modules/m", "", Rights::SERVICE_CONNECT),
    ("PATCH", "/twins/d/modules/m", "{}", Rights::SERVICE_CONNECT),
    ("PUT", "/twins/d/modules/m", "{}", Rights::SERVICE_CONNECT),
    ("POST", "/twins/d/methods", r#"{"methodName":"x"}"#, Rights::SERVICE_CONNECT),
    ("POST", "/twins/d/modules/m/methods", r#"{"methodName":"x"}"#, Rights::SERVICE_CONNECT),
    ("GET", "/messages/serviceBound/feedback", "", Rights::SERVICE_CONNECT),
    ("DELETE", "/messages/serviceBound/feedback/x", "", Rights::SERVICE_CONNECT),
    ("POST", "/messages/serviceBound/feedback/x/abandon", "", Rights::SERVICE_CONNECT),
    ("GET", "/messages/serviceBound/filenotifications", "", Rights::SERVICE_CONNECT),
    ("POST", "/jobs/create", r#"{"type":"export","outputBlobContainerUri":"x"}"#, Rights::REGISTRY_WRITE),
    ("GET", "/jobs", "", Rights::REGISTRY_READ),
    ("GET", "/jobs/none", "", Rights::REGISTRY_READ),
    ("DELETE", "/jobs/none", "", Rights::REGISTRY_WRITE),
    ("POST", "/devices", r#"[{"id":"b","importMode":"createOrUpdate"}]"#, Rights::REGISTRY_WRITE),
    ("POST", "/devices/d/messages/devicebound", "hello", Rights::SERVICE_CONNECT),
    ("POST", "/devices/keys/regenerate", r#"{"policyKey":"both","devices":[{"id":"d"}]}"#, Rights::REGISTRY_WRITE),
    ("POST", "/devices/d/applyConfigurationContent", "{}", Rights::REGISTRY_WRITE),
    ("GET", "/configurations", "", Rights::REGISTRY_READ),
    ("GET", "/configurations/c", "", Rights::REGISTRY_READ),
    ("PUT", "/configurations/c", "{}", Rights::REGISTRY_WRITE),
    ("DELETE", "/configurations/none", "", Rights::REGISTRY_WRITE),
    ("POST", "/configurations/testQueries", "{}", Rights::REGISTRY_READ),
    ("GET", "/jobs/v2/query", "", Rights::SERVICE_CONNECT),
    ("GET", "/jobs/v2/j", "", Rights::SERVICE_CONNECT),
    ("PUT", "/jobs/v2/j", r#"{"type":"scheduleUpdateTwin"}"#, Rights::SERVICE_CONNECT),
    ("POST", "/jobs/v2/j/cancel", "", Rights::SERVICE_CONNECT),
    ("GET", "/digitaltwins/d", "", Rights::SERVICE_CONNECT),
    ("PATCH", "/digitaltwins/d", "[]", Rights::SERVICE_CONNECT),
    ("POST", "/digitaltwins/d/commands/x", "1", Rights::SERVICE_CONNECT),
    ("POST", "/digitaltwins/d/components/c/commands/x", "1", Rights::SERVICE_CONNECT),
    ("GET", "/platform/v1/fleet", "", Rights::SERVICE_CONNECT),
    ("GET", "/platform/v1/policies", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/policies/none/roll", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/alerts", "", Rights::SERVICE_CONNECT),
    ("GET", "/platform/v1/certificates", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/certificates/none", "", Rights::HUB_OWNER),
    ("PUT", "/platform/v1/certificates/c", r#"{"certificate":""}"#, Rights::HUB_OWNER),
    ("DELETE", "/platform/v1/certificates/none", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/certificates/none/generateVerificationCode", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/certificates/none/verify", r#"{"certificate":""}"#, Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/certificates", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/certificates/none", "", Rights::HUB_OWNER),
    ("PUT", "/platform/v1/provisioning/certificates/c", r#"{"certificate":""}"#, Rights::HUB_OWNER),
    ("DELETE", "/platform/v1/provisioning/certificates/none", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/provisioning/certificates/none/generateVerificationCode", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/provisioning/certificates/none/verify", r#"{"certificate":""}"#, Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/instance", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/enrollments", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/enrollments/none", "", Rights::HUB_OWNER),
    ("PUT", "/platform/v1/provisioning/enrollments/e", "{}", Rights::HUB_OWNER),
    ("DELETE", "/platform/v1/provisioning/enrollments/none", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/provisioning/enrollments/none/attestationmechanism", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/provisioning/enrollments/none/deviceKey", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/enrollmentGroups", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/enrollmentGroups/none", "", Rights::HUB_OWNER),
    ("PUT", "/platform/v1/provisioning/enrollmentGroups/g", "{}", Rights::HUB_OWNER),
    ("DELETE", "/platform/v1/provisioning/enrollmentGroups/none", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/provisioning/enrollmentGroups/none/attestationmechanism", "", Rights::HUB_OWNER),
    ("POST", "/platform/v1/provisioning/enrollmentGroups/none/deviceKey", "{}", Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/enrollmentGroups/none/registrations", "", Rights::HUB_OWNER),
    ("GET", "/platform/v1/provisioning/registrations/none", "", Rights::HUB_OWNER),
    ("DELETE", "/platform/v1/provisioning/registrations/none", "", Rights::HUB_OWNER),
];

pub(crate) struct Nothing;

/// A log in memory.
#[derive(Default)]
struct MemoryLog(Arc<Mutex<Vec<Logged>>>);

/// What a test looks at of an event.
#[derive(Clone)]
pub(crate) struct Logged {
    pub(crate) identity: Identity,
    pub(crate) fields: Vec<Option<String>>,
    pub(crate) properties: Vec<(String, Option<String>)>,
    pub(crate) body: Vec<u8>,
}

impl EventSink for MemoryLog {
    fn append(&self, events: &[Event<'_>]) -> Append {
        self.0.lock().unwrap().extend(events.iter().map(|event| {
            Logged {
                identity: event.identity.clone(),
                fields: event.message.system.fields().iter().map(|field| field.map(str::to_owned)).collect(),
                properties: event
                    .message
                    .properties
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.as_ref().map(ToString::to_string)))
                    .collect(),
                body: event.message.body.to_vec(),
            }
        }));
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

impl Containers for Nothing {
    fn open<'a>(
        &'a self,
        _: &'a str,
        _: &'static [Permission],
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Place, String>> + Send + 'a>> {
        Box::pin(std::future::ready(Err("there is none".into())))
    }
}

impl Entropy for Nothing {
    fn fill(&self, buffer: &mut [u8]) {
        // No two draws are the same, as keys and lock tokens need.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        buffer.iter_mut().zip(number.iter().rev().chain(std::iter::repeat(&7))).for_each(|(to, from)| *to = *from);
    }
}

fn keys() -> KeyPair {
    KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) }
}

pub(crate) fn api(folder: &tempfile::TempDir) -> Api {
    api_with_log(folder).0
}

/// The API, and the telemetry it takes.
pub(crate) fn api_with_log(folder: &tempfile::TempDir) -> (Api, Arc<Mutex<Vec<Logged>>>) {
    api_like(folder, None)
}

/// The same, acting like an edition of the reference service.
pub(crate) fn api_like(folder: &tempfile::TempDir, edition: Option<Edition>) -> (Api, Arc<Mutex<Vec<Logged>>>) {
    api_of(folder, edition, false)
}

/// The API of a hub that allows faults.
pub(crate) fn api_with_faults(folder: &tempfile::TempDir) -> Api {
    api_of(folder, None, true).0
}

fn api_of(folder: &tempfile::TempDir, edition: Option<Edition>, allow_faults: bool) -> (Api, Arc<Mutex<Vec<Logged>>>) {
    let database = Arc::new(Database::open(folder.path()).unwrap());
    // SQLite answers at once.
    let monitoring = Monitoring::restore(&*database, vec![Pipeline::default()]).now_or_never().unwrap();
    let monitoring = Arc::new(monitoring.unwrap());
    let (entropy, log): (Arc<dyn Entropy>, Arc<MemoryLog>) = (Arc::new(Nothing), Arc::default());
    let logged = Arc::clone(&log.0);
    let audit: Arc<dyn Audit> = Arc::<Monitoring>::clone(&monitoring);
    let config = HubConfig {
        name: "hub".into(),
        host_names: vec!["localhost".into()],
        policies: Policies::hub_defaults(keys),
        messaging: Default::default(),
        disabled: DisabledTokens::default(),
        edition,
        allow_faults,
    };
    let store = Arc::<Database>::clone(&database);
    let (documents, entropy_port) = (Arc::<Database>::clone(&database), Arc::clone(&entropy));
    let (audit_port, observer) = (Arc::clone(&audit) as _, Arc::new(()));
    let ports = Ports { store, documents, log, entropy: entropy_port, audit: audit_port, observer };
    let hub = Arc::new(Hub::new(config, ports).now_or_never().unwrap().unwrap());
    let dps = ServiceConfig {
        id_scope: IdScope::new("0ne"),
        host_names: vec!["localhost".into()],
        policies: Policies::provisioning_defaults(keys),
        allocation: AllocationPolicy::Hashed,
        limits: Limits::default(),
    };
    let linked = LinkedHub::own(Arc::clone(&hub), 1);
    let documents = Arc::<Database>::clone(&database);
    let (dps_documents, dps_entropy) = (Arc::<Database>::clone(&database), Arc::clone(&entropy));
    let authorities = Authorities::load(dps_documents, dps_entropy, DPS_COLLECTION).now_or_never().unwrap().unwrap();
    let ports = gantry_provisioning::Ports {
        store: database,
        linker: Arc::new(Isolated),
        webhooks: Arc::new(Isolated),
        entropy,
        audit,
    };
    let provisioning = Arc::new(Service::new(dps, ports, vec![linked], authorities));
    let import_export = ImportExport::load(Arc::clone(&hub), documents, Arc::new(Nothing)).now_or_never().unwrap();
    let import_export = import_export.unwrap();
    let sessions = Arc::new(Sessions::default());
    let instances = Arc::clone(&provisioning).into();
    (Api { hub, provisioning, instances, monitoring, files: None, import_export, sessions }, logged)
}

/// The API as its clients reach it. A call that names no version asks for one that hub and provisioning know.
pub(crate) fn router(api: Api) -> Router {
    let versioned = map_request(|mut request: Request<Body>| async {
        let uri = request.uri().to_string();
        if !uri.contains("api-version") {
            let separator = if uri.contains('?') { '&' } else { '?' };
            *request.uri_mut() = format!("{uri}{separator}api-version=2018-04-01").parse().unwrap();
        }
        request
    });
    gantry_api::routes(api).into_router().layer(versioned)
}

pub(crate) fn token(policy: &str, key: Key) -> String {
    let signer = Signer { resource: "localhost".into(), key, policy: Some(policy.into()) };
    signer.token(Timestamp::from_millis(4_000_000_000_000))
}

async fn status(api: &Api, method: &str, path: &str, body: &'static str, token: Option<&str>) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    // An etag, so that a repeated PUT replaces.
    let request = request.header("if-match", "*").body(Body::from(body)).unwrap();
    router(api.clone()).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn every_operation_asks_for_its_right() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    for policy in api.hub.policies().clone().iter() {
        let token = token(&policy.name, Key::from_bytes([2; 32]));
        for (method, path, body, needed) in OPERATIONS {
            let status = status(&api, method, path, body, Some(&token)).await;
            let refused = status == StatusCode::UNAUTHORIZED;
            assert_eq!(refused, !policy.rights.contains(*needed), "{} {method} {path}: {status}", policy.name);
        }
    }
}

#[tokio::test]
async fn nothing_opens_without_a_good_token() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let wrong = token("iothubowner", Key::from_bytes([9; 32]));
    let unknown = token("nobody", Key::from_bytes([1; 32]));
    let elsewhere =
        Signer { resource: "other".into(), key: Key::from_bytes([1; 32]), policy: Some("iothubowner".into()) };
    let elsewhere = elsewhere.token(Timestamp::from_millis(4_000_000_000_000));
    let expired =
        Signer { resource: "localhost".into(), key: Key::from_bytes([1; 32]), policy: Some("iothubowner".into()) };
    let expired = expired.token(Timestamp::from_millis(1_000_000_000_000));
    let tokens = [None, Some("Bearer x"), Some(&wrong), Some(&unknown), Some(&elsewhere), Some(&expired)];
    for token in tokens {
        for (method, path, body, _) in OPERATIONS {
            let status = status(&api, method, path, body, token).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?} {method} {path}");
        }
    }
}

#[tokio::test]
async fn enrollments_are_the_provisioning_policys_alone() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let operations = [
        ("GET", "/enrollmentGroups/g"),
        ("PUT", "/enrollmentGroups/g"),
        ("DELETE", "/enrollments/e"),
        ("POST", "/enrollments/query"),
        ("POST", "/enrollmentGroups/g/attestationmechanism"),
        ("GET", "/registrations/r"),
        ("POST", "/registrations/g/query"),
    ];
    let good = token("provisioningserviceowner", Key::from_bytes([1; 32]));
    let hub = token("iothubowner", Key::from_bytes([1; 32]));
    for (method, path) in operations {
        assert_eq!(status(&api, method, path, "{}", Some(&hub)).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_ne!(status(&api, method, path, "{}", Some(&good)).await, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}
