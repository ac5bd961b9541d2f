//! Who may do what: every operation of the table of routes with everybody there is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use axum::middleware::map_request;
use futures::FutureExt as _;
use gantry_api::{
    Access, Api, Files, Head, History, Measured, PeerAddress, Row, ServiceLines, SignIn, SignInConfig, StreamingJob,
    StreamingJobs, WallClock, now,
};
use gantry_directory::audit::{self, AuditEntry, AuditLog, AuditRecord, Verified};
use gantry_directory::{Argon2Parameters, People};
use gantry_hub::authorities::Authorities;
use gantry_hub::device::{AuthenticationWrite, DeviceWrite, IfMatch};
use gantry_hub::event::Event;
use gantry_hub::file_uploads::FileUploads;
use gantry_hub::import_export::{Container, Containers, ImportExport, Outside, Purpose};
use gantry_hub::ports::{Append, Audit, Entropy, EventSink, PortFuture};
use gantry_hub::throttle::Edition;
use gantry_hub::{DisabledTokens, Hub, HubConfig, Ports};
use gantry_identity::{Identity, Key, KeyPair, Policies, Policy, Rights, Signer, Timestamp};
use gantry_monitoring::Monitoring;
use gantry_monitoring::dashboards::Dashboards;
use gantry_monitoring::pipeline::Pipeline;
use gantry_provisioning::{
    AllocationPolicy, DPS_COLLECTION, IdScope, Isolated, Limits, LinkedHub, Service, ServiceConfig,
};
use gantry_storage::Database;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::paths::operations;
use crate::provisioning::send_as;

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

/// An audit log in memory: its entries, without links.
#[derive(Default)]
pub(crate) struct Recorded(Mutex<Vec<AuditRecord>>);

impl AuditLog for Recorded {
    fn append(&self, entry: AuditEntry) -> PortFuture<'_, (), String> {
        let mut all = self.0.lock().unwrap();
        let head = all.last().map_or(audit::Head::EMPTY, AuditRecord::head);
        all.push(audit::append(&Key::from_bytes([1; 32]), &head, entry));
        Box::pin(std::future::ready(Ok(())))
    }

    fn read(&self, before: Option<u64>, limit: usize) -> PortFuture<'_, Vec<AuditRecord>, String> {
        let all = self.0.lock().unwrap();
        let page = all.iter().rev().filter(|record| before.is_none_or(|before| record.number < before));
        Box::pin(std::future::ready(Ok(page.take(limit).cloned().collect())))
    }

    fn verify(&self, _: Option<audit::Head>) -> PortFuture<'_, Verified, String> {
        let all = self.0.lock().unwrap();
        let head = audit::verify(&Key::from_bytes([1; 32]), &audit::Head::EMPTY, &*all).unwrap();
        Box::pin(std::future::ready(Ok(Verified { first: 1, head, broken: None })))
    }
}

impl Containers for Nothing {
    fn open<'a>(&'a self, _: &'a str, _: Purpose) -> PortFuture<'a, Arc<dyn Container>, String> {
        Box::pin(std::future::ready(Err("there is none".into())))
    }
}

impl History for Nothing {
    fn values(&self, _: &str, _: &str, _: Option<Timestamp>, _: usize) -> Result<Vec<Measured>, String> {
        Ok(Vec::new())
    }
}

impl StreamingJobs for Nothing {
    fn all(&self) -> Vec<StreamingJob> {
        Vec::new()
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

/// The default policy of a provisioning service, and one for each right.
fn dps_policies() -> Policies {
    let of = |name: &str, rights| Policy { name: name.into(), keys: keys(), rights };
    let defaults = Policies::provisioning_defaults(keys);
    Policies::from_list(
        defaults
            .iter()
            .cloned()
            .chain([
                of("config", Rights::SERVICE_CONFIG),
                of("read", Rights::ENROLLMENT_READ),
                of("write", Rights::ENROLLMENT_WRITE),
                of("status", Rights::REGISTRATION_STATUS_READ),
                of("forget", Rights::REGISTRATION_STATUS_WRITE),
            ])
            .collect(),
    )
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
        consumer_groups: vec![],
    };
    let store = Arc::<Database>::clone(&database);
    let (documents, entropy_port) = (Arc::<Database>::clone(&database), Arc::clone(&entropy));
    let (audit_port, observer) = (Arc::clone(&audit) as _, Arc::new(()));
    let ports = Ports { store, documents, log, entropy: entropy_port, audit: audit_port, observer };
    let hub = Arc::new(Hub::new(config, ports).now_or_never().unwrap().unwrap());
    let dps = ServiceConfig {
        id_scope: IdScope::new("0ne"),
        host_names: vec!["localhost".into()],
        policies: dps_policies(),
        allocation: AllocationPolicy::Hashed,
        limits: Limits::default(),
    };
    let linked = LinkedHub::own(Arc::clone(&hub), 1);
    let documents = Arc::<Database>::clone(&database);
    let of_dashboards = Arc::<Database>::clone(&database);
    let (uploads, upload_entropy) = (Arc::<Database>::clone(&database), Arc::clone(&entropy));
    let of_people = Arc::<Database>::clone(&database);
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
    let outside =
        Outside { documents, containers: Arc::new(Nothing), lines: Arc::new(ServiceLines), clock: Arc::new(WallClock) };
    let import_export = ImportExport::load(Arc::clone(&hub), outside).now_or_never().unwrap();
    let import_export = import_export.unwrap();
    // The administrator is written, which takes a moment.
    let load = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(People::load(of_people, now())).unwrap()
    };
    let people = std::thread::scope(|scope| scope.spawn(load).join().unwrap());
    let cost = Argon2Parameters { memory_kib: 64, iterations: 1, parallelism: 1 };
    let sign_in = SignInConfig { cost, ..SignInConfig::default() };
    let sign_in = Arc::new(SignIn::new(people, sign_in, Arc::new(Nothing)).unwrap());
    let instances = Arc::clone(&provisioning).into();
    let (history, streaming) = (Arc::new(Nothing), Arc::new(Nothing));
    let dashboards = Arc::new(Dashboards::load(of_dashboards).now_or_never().unwrap().unwrap());
    let api = Api {
        hub,
        provisioning,
        instances,
        monitoring,
        files: Arc::new(Files::new(FileUploads::new(uploads, Arc::clone(&upload_entropy)), None)),
        import_export,
        sign_in,
        audit: Arc::<Recorded>::default(),
        dashboards,
        history,
        streaming,
    };
    (api, logged)
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

/// The key of the device and the enrollment named X1.
const OWN: [u8; 32] = [3; 32];

/// The API with what the paths of [`operations`] name: a device and an enrollment X1, and policies of one right each.
async fn world(folder: &tempfile::TempDir) -> Api {
    let api = api(folder);
    let keys = KeyPair { primary: Key::from_bytes(OWN), secondary: Key::from_bytes([4; 32]) };
    for (id, keys) in [("X1", keys.clone()), ("other", KeyPair { primary: Key::from_bytes([5; 32]), ..keys.clone() })] {
        let write = DeviceWrite { authentication: AuthenticationWrite::Sas(Some(keys)), ..DeviceWrite::default() };
        api.hub.put_device(now(), &Identity::parse(id).unwrap(), write, &IfMatch::Absent).await.unwrap();
    }
    let attestation = json!({ "type": "symmetricKey", "symmetricKey": {
        "primaryKey": keys.primary.to_base64(), "secondaryKey": keys.secondary.to_base64() } });
    for id in ["X1", "other"] {
        let (path, body) = (format!("/enrollments/{id}"), json!({ "attestation": attestation }));
        let made = send_as(&api, "PUT", &path, &token("write", Key::from_bytes([1; 32])), None, &body).await;
        assert!(made.status.is_success(), "{made:?}");
    }
    api
}

/// What a caller brings.
#[derive(Clone, Debug)]
enum Brings {
    Nothing,
    Token(String),
    /// A cookie, and the token that goes with it.
    Session(String, String),
}

/// Status of a call, and the code of the platform's error.
async fn answer(router: &Router, row: &Row, path: &str, brings: &Brings) -> (StatusCode, String) {
    let method = row.method.clone().unwrap_or(Method::GET);
    let mut request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    match brings {
        Brings::Nothing => {}
        Brings::Token(token) => request = request.header("authorization", token),
        Brings::Session(cookie, csrf) => request = request.header("cookie", cookie).header("x-gantry-csrf", csrf),
    }
    // An etag, so that a repeated PUT replaces.
    let request = request.header("if-match", "*").body(Body::from("{}")).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, is_json) = (response.status(), response.headers().get("content-type"));
    if is_json.is_none_or(|kind| kind != "application/json") {
        return (status, String::new());
    }
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// Whether the answer is that of somebody who is not let in: who is not known, or known and may not.
fn is_refused(answer: &(StatusCode, String)) -> bool {
    answer.0 == StatusCode::UNAUTHORIZED || (answer.0 == StatusCode::FORBIDDEN && answer.1 == "Forbidden")
}

async fn sign_in(api: &Api) -> Brings {
    api.sign_in.add_link("link", now());
    let request = Request::post("/platform/v1/session").extension(PeerAddress::from("127.0.0.1:1"));
    let response = router(api.clone()).oneshot(request.body(Body::from(r#"{"token":"link"}"#)).unwrap()).await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let told: Value = serde_json::from_slice(&body).unwrap();
    Brings::Session(cookie, told["csrf"].as_str().unwrap().to_owned())
}

fn device(resource: &str, key: [u8; 32]) -> Brings {
    let policy = resource.contains("/registrations/").then(|| "registration".to_owned());
    let signer = Signer { resource: resource.into(), key: Key::from_bytes(key), policy };
    Brings::Token(signer.token(Timestamp::from_millis(4_000_000_000_000)))
}

/// Everybody there is, with the rights their policies have.
async fn callers(api: &Api) -> Vec<(String, Brings, Rights)> {
    let policies = Policies::hub_defaults(keys);
    let policies = policies.iter().map(|policy| (format!("hub policy {}", policy.name), &policy.name, policy.rights));
    let dps = dps_policies();
    let dps = dps.iter().map(|policy| (format!("dps policy {}", policy.name), &policy.name, policy.rights));
    let of_policy = |(who, name, rights): (String, &String, Rights)| {
        (who, Brings::Token(token(name, Key::from_bytes([2; 32]))), rights)
    };
    let mut all: Vec<_> = policies.map(of_policy).chain(dps.map(of_policy)).collect();
    all.push(("session".into(), sign_in(api).await, Rights::NONE));
    all.push(("device X1".into(), device("localhost/devices/X1", OWN), Rights::NONE));
    all.push(("device other".into(), device("localhost/devices/other", [5; 32]), Rights::NONE));
    all.push(("registration X1".into(), device("0ne/registrations/X1", OWN), Rights::NONE));
    all.push(("registration other".into(), device("0ne/registrations/other", OWN), Rights::NONE));
    all
}

/// Whether a row lets somebody in: written down here once more, and not taken from what is tested.
fn lets_in(row: &Row, who: &str, rights: Rights) -> bool {
    let (is_hub, is_dps) = (who.starts_with("hub policy"), who.starts_with("dps policy"));
    match row.access {
        Access::Hub(needed) => is_hub && rights.contains(needed),
        Access::Provisioning(needed) => is_dps && rights.contains(needed),
        Access::Device => who == "device X1" || is_hub && rights.contains(Rights::DEVICE_CONNECT),
        Access::Platform(needed) => {
            let operates = needed.names().all(|name| OPERATES.contains(&name));
            who == "session" || is_hub && (rights == Rights::HUB_OWNER || rights.contains(CONNECT) && operates)
        }
        Access::Person => who == "session",
        Access::Blob(_) | Access::Application(_) => panic!("{} is in the router", row.id),
        Access::Proof(_) => row.head == Head::DpsDevice && who == "registration X1",
        Access::Anyone => true,
    }
}

const CONNECT: Rights = Rights::SERVICE_CONNECT;
/// Permissions of a policy with that right.
const OPERATES: [&str; 9] = [
    "DevicesRead",
    "DevicesOperate",
    "AlertsRead",
    "AlertsManage",
    "RulesRead",
    "RulesManage",
    "SecurityRead",
    "RoutingRead",
    "DashboardsManage",
];

/// Proofs that are in the body or the path, which nobody here brings: who is let in is tested where they are.
fn has_a_proof_of_its_own(row: &Row) -> bool {
    ["Session_Create", "Routing_Validate", "SignIn_ChoosePassword", "SignIn_OpenIdCallback"].contains(&&*row.id)
}

/// A row with a path that leaves what the others need as it is.
fn spared((row, path): (Row, String)) -> (Row, String) {
    let writes = matches!(row.method, Some(Method::PUT | Method::DELETE));
    let is_own = matches!(row.head, Head::Device | Head::DpsDevice);
    let path = if writes && !is_own { path.replace("X1", "nobody") } else { path };
    (row, path)
}

#[tokio::test]
async fn every_operation_opens_to_the_right_credentials_and_to_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let api = world(&folder).await;
    let router = router(api.clone());
    let operations: Vec<_> = operations(&api).into_iter().map(spared).collect();
    for (who, mut brings, rights) in callers(&api).await {
        for (row, path) in operations.iter().filter(|(row, _)| !has_a_proof_of_its_own(row)) {
            let answer = answer(&router, row, path, &brings).await;
            assert_eq!(!is_refused(&answer), lets_in(row, &who, rights), "{who}: {} {path}: {answer:?}", row.id);
            if row.id == "Session_Delete" && who == "session" {
                assert!(is_refused(&self::answer(&router, row, path, &brings).await), "signed out");
                brings = sign_in(&api).await;
            }
        }
    }
}

#[tokio::test]
async fn nothing_opens_without_a_good_token() {
    let folder = tempfile::tempdir().unwrap();
    let api = world(&folder).await;
    let router = router(api.clone());
    let signed = |resource: &str, until: i64| {
        let signer =
            Signer { resource: resource.into(), key: Key::from_bytes([1; 32]), policy: Some("iothubowner".into()) };
        Brings::Token(signer.token(Timestamp::from_millis(until)))
    };
    let late = 4_000_000_000_000;
    let wrong = [
        Brings::Nothing,
        Brings::Token("Bearer x".into()),
        Brings::Token(token("iothubowner", Key::from_bytes([9; 32]))),
        Brings::Token(token("provisioningserviceowner", Key::from_bytes([9; 32]))),
        Brings::Token(token("nobody", Key::from_bytes([1; 32]))),
        signed("other", late),
        signed("localhost", 1_000_000_000_000),
        device("localhost/devices/X1", [9; 32]),
        device("0ne/registrations/X1", [9; 32]),
        device("0ne/registrations/other", OWN),
        Brings::Session("__Host-gantry_session=guess".into(), "guess".into()),
    ];
    let mut tried = 0;
    for brings in &wrong {
        for (row, path) in operations(&api).iter().filter(|(row, _)| row.access != Access::Anyone) {
            let (status, code) = answer(&router, row, path, brings).await;
            let expected = match &*row.id {
                // Whoever guesses a link hears that there is none, and after some guesses that it is enough.
                "Routing_Validate" => vec![StatusCode::NOT_FOUND],
                "Session_Create" | "SignIn_ChoosePassword" => vec![StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED],
                "SignIn_OpenIdCallback" => vec![StatusCode::SEE_OTHER],
                _ => vec![StatusCode::UNAUTHORIZED],
            };
            assert!(expected.contains(&status), "{brings:?} {} {path}: {status} {code}", row.id);
            tried += 1;
        }
    }
    assert!(tried > 1_000, "{tried}");
}

#[tokio::test]
async fn who_is_known_and_may_not_is_told_so_and_noted() {
    let folder = tempfile::tempdir().unwrap();
    let api = world(&folder).await;
    let router = router(api.clone());
    let service = Brings::Token(token("service", Key::from_bytes([1; 32])));
    let operations = operations(&api);
    let (row, path) = operations.iter().find(|(row, _)| row.id == "Policies_List").unwrap();
    assert_eq!(answer(&router, row, path, &service).await, (StatusCode::FORBIDDEN, "Forbidden".to_owned()));
    let noted = json!(api.monitoring.security());
    let last = &noted[0];
    assert_eq!((&last["claimed"], &last["operation"]), (&json!("service"), &json!("https platform")), "{noted}");
    assert_eq!(last["reason"], "policy `service` lacks PoliciesManage");
}
