//! `state.db` as it is on disk: `tests/golden/state/vN.sql` is what schema N held, `vN.expected.txt` what is read of it.
//!
//! The newest is written again by the same calls and compared to the letter. SQLite's own format is SQLite's affair, so
//! the files are SQL; the rest of the data folder is `gantry-eventlog`'s and plain content of blobs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use gantry_blobs::blob::{Draft, Properties, Which};
use gantry_blobs::conditions::Conditions;
use gantry_blobs::ports::{BlobAddress, Catalogue as _};
use gantry_blobs::{Account, BlobError, BlobName, Blobs, ContainerName};
use gantry_hub::authorities::HUB_COLLECTION;
use gantry_hub::c2d::{Ack, C2dMessage};
use gantry_hub::configuration::ConfigurationWrite;
use gantry_hub::connection::MethodResponse;
use gantry_hub::device::{Authentication, AuthenticationWrite, DeviceWrite, IfMatch, Status};
use gantry_hub::event::{MessageSource, SystemProperties};
use gantry_hub::feedback::FileNotification;
use gantry_hub::file_uploads::FileUpload;
use gantry_hub::job::{Job, JobStatus, Outcome, Statistics, Work};
use gantry_hub::ports::{
    Audit, DeviceJobFilter, Documents as _, Entropy, JobFilter, JobStore as _, Presence, QueueChange, Queues as _,
    Record, RefusedAccess, Settlement, Store as _,
};
use gantry_hub::routing::{Routing, Validation};
use gantry_hub::service_queue::{Messaging, RoutedEvent, ServiceQueue};
use gantry_hub::twin::{Object, SectionWrite, TwinWrite};
use gantry_hub::{DisabledTokens, Hub, HubConfig, MethodCall, Ports};
use gantry_identity::{
    Authority, Certificate, DeviceId, Identity, Key, KeyPair, Policies, Refusal, Timestamp, TpmPublic,
};
use gantry_monitoring::Monitoring;
use gantry_provisioning::{
    AllocationPolicy, Attestation, CustomAllocation, Departure, Enrollment, EnrollmentKey, EnrollmentKind,
    EnrollmentWrite, Evidence, GroupId, HubLink, InitialTwin, ProvisioningStatus, Registration, RegistrationId,
    RegistrationStatus, ReprovisionPolicy, Slots, Store as _, Substatus, TpmAttestation, X509,
};
use gantry_storage::{Database, Events, LogConfig, MemoryDisk};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::json;

/// The newest schema. A change of it begins a new file; that of the version before stays, and is only read.
const NEWEST: &str = "v10";

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn golden(name: &str) -> PathBuf {
    gantry_golden::folder(env!("CARGO_MANIFEST_DIR")).join("state").join(name)
}

fn text(name: &str) -> String {
    String::from_utf8(gantry_golden::read(&golden(name))).unwrap()
}

/// The whole database as SQL that makes it again.
fn dump(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let mut out = format!("PRAGMA user_version = {version};\n");
    let mut statement = connection
        .prepare("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'table' DESC, name")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let made: Vec<(String, String, String)> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let (tables, others): (Vec<_>, Vec<_>) = made.into_iter().partition(|(kind, ..)| kind == "table");
    for (_, name, sql) in &tables {
        // SQLite makes this one itself.
        if name != "sqlite_sequence" {
            writeln!(out, "\n{sql};").unwrap();
        }
        let columns = connection.prepare(&format!("SELECT * FROM {name}")).unwrap().column_count();
        let order: Vec<_> = (1..=columns).map(|column| column.to_string()).collect();
        let sql = format!("SELECT * FROM {name} ORDER BY {}", order.join(", "));
        let mut statement = connection.prepare(&sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<_> = (0..columns).map(|at| literal(row.get_ref(at).unwrap())).collect();
            writeln!(out, "INSERT INTO {name} VALUES({});", values.join(", ")).unwrap();
        }
    }
    writeln!(out).unwrap();
    for (_, _, sql) in &others {
        writeln!(out, "{sql};").unwrap();
    }
    out
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => format!("'{}'", std::str::from_utf8(text).unwrap().replace('\'', "''")),
        ValueRef::Blob(bytes) => bytes.iter().fold("X'".into(), |hex, byte| format!("{hex}{byte:02X}")) + "'",
    }
}

/// A data folder whose `state.db` is made of a golden file.
fn restored(version: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    connection.execute_batch(&text(&format!("{version}.sql"))).unwrap();
    folder
}

/// Counts up.
#[derive(Default)]
struct Counter(AtomicU8);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

struct Silent;

impl Audit for Silent {
    fn refused(&self, _: RefusedAccess) {}
}

fn keys() -> KeyPair {
    KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) }
}

/// A hub over a database, with events in memory.
fn hub(database: &Arc<Database>) -> Hub {
    let mut log = LogConfig::new("log", 1);
    log.segment_bytes = 1 << 20;
    (log.pending_bytes_max, log.event_bytes_max) = (1 << 18, 1 << 18);
    let (events, store) = (Events::open_on(Arc::new(MemoryDisk::default()), log).unwrap(), Arc::clone(database));
    let ports = Ports {
        documents: Arc::<Database>::clone(&store),
        store,
        log: Arc::new(events),
        entropy: Arc::<Counter>::default(),
        audit: Arc::new(Silent),
        observer: Arc::new(()),
    };
    let config = HubConfig {
        name: "hub".into(),
        host_names: vec!["localhost".into()],
        policies: Policies::hub_defaults(keys),
        disabled: DisabledTokens::default(),
        edition: None,
        allow_faults: false,
        consumer_groups: vec![],
        messaging: Messaging::default(),
    };
    Hub::new(config, ports).now_or_never().unwrap().unwrap()
}

fn id(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn registration_id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).unwrap()
}

fn object(value: serde_json::Value) -> Object {
    value.as_object().unwrap().clone()
}

fn certificate() -> Certificate {
    Certificate::parse(text("authority.pem").as_bytes()).unwrap()
}

fn endorsement() -> TpmPublic {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text("endorsement.txt").trim()).unwrap();
    TpmPublic::parse(&bytes).unwrap()
}

/// Devices and modules of every kind, with twins.
async fn write_registry(database: &Database, hub: &Hub) {
    let write = |authentication| DeviceWrite { authentication, ..DeviceWrite::default() };
    let thumbprint = Some("AB".repeat(20));
    for (name, write) in [
        ("gone", DeviceWrite::default()),
        ("motor", write(AuthenticationWrite::Sas(Some(keys())))),
        (
            "authority",
            DeviceWrite {
                status: Status::Disabled,
                status_reason: Some("stolen; it's gone".into()),
                ..write(AuthenticationWrite::CertificateAuthority)
            },
        ),
        ("signed", write(AuthenticationWrite::SelfSigned { primary: thumbprint, secondary: None })),
        ("edge", DeviceWrite { iot_edge: true, ..write(AuthenticationWrite::Sas(Some(keys()))) }),
        ("edge/filter", DeviceWrite { managed_by: Some("IotEdge".into()), ..write(AuthenticationWrite::None) }),
    ] {
        hub.put_device(NOW, &id(name), write, &IfMatch::Absent).await.unwrap();
    }
    let scope = hub.record(&id("edge")).await.unwrap().device.device_scope;
    let leaf = DeviceWrite { device_scope: scope, ..write(AuthenticationWrite::Sas(Some(keys()))) };
    hub.put_device(NOW, &id("leaf"), leaf, &IfMatch::Absent).await.unwrap();
    let desired = json!({"interval": 5, "limits": {"high": 80.5, "on": true}, "list": [1, "two", null]});
    let write = TwinWrite::merging(Some(json!({"site": "Zürich"})), Some(desired));
    // Null inside of arrays is refused in twins of today.
    assert!(write.is_err());
    let desired = json!({"interval": 5, "limits": {"high": 80.5, "on": true}, "list": [1, "two"]});
    let write = TwinWrite::merging(Some(json!({"site": "Zürich"})), Some(desired)).unwrap();
    hub.write_twin(NOW, &id("motor"), &write, &IfMatch::Any).await.unwrap();
    hub.report(NOW, &id("motor"), &object(json!({"firmware": {"version": "1.2"}}))).await.unwrap();
    hub.announce_model(&id("motor"), "dtmi:com:example:Motor;1").await.unwrap();
    let presence = Presence { updated_at: NOW, last_activity_at: NOW, subscriptions: 0, c2d_count: 0 };
    database.note_presence(&id("motor"), presence);
    database.save_subscriptions(&id("motor"), 7).await.unwrap();
    // Its deletion waits in the outbox.
    hub.delete_device(NOW, &id("gone"), &IfMatch::Any).await.unwrap();
}

/// What is kept in documents: configurations, routing, authorities, keys of policies, and the application.
async fn write_settings(database: &Arc<Database>, hub: &Hub) {
    let configuration = ConfigurationWrite {
        schema_version: Some("1.0".into()),
        labels: object(json!({"by": "golden"})),
        content: Some(json!({"deviceContent": {"properties.desired.mode": {"eco": true}}})),
        target_condition: "tags.site = 'Zürich'".into(),
        priority: 10,
        metrics: vec![("all".into(), "SELECT deviceId FROM devices".into())],
    };
    hub.put_configuration(NOW, "eco", configuration, &IfMatch::Absent).await.unwrap();
    hub.manage(NOW).await.unwrap();
    let authority = Authority::parse(text("authority.pem").as_bytes()).unwrap();
    hub.authorities().put(NOW, "root", authority, false, &IfMatch::Absent).await.unwrap();
    hub.authorities().draw_code(NOW, "root", &IfMatch::Any).await.unwrap();
    hub.roll_policy("service").await.unwrap();
    let routing: Routing = serde_json::from_value(json!({
        "endpoints": {
            "serviceBusQueues": [{"name": "queue"}],
            "serviceBusTopics": [{"name": "topic", "subscriptions": ["all"]}],
            "eventHubs": [{"name": "stream"}],
            "storageContainers": [{"name": "files", "containerName": "files"}],
            "webhooks": [{"name": "hook", "url": "https://example.com/hook"}],
        },
        "routes": [
            {"name": "hot", "source": "DeviceMessages", "condition": "level = 'high'", "endpointNames": ["queue"]},
            {"name": "lives", "source": "DeviceLifecycleEvents", "endpointNames": ["hook"], "isEnabled": false},
        ],
        "enrichments": [{"key": "site", "value": "$twin.tags.site", "endpointNames": ["queue"]}],
    }))
    .unwrap();
    hub.put_routing(NOW, routing, &IfMatch::Absent).await.unwrap();
    hub.webhook_proved("https://example.com/hook").await.unwrap();
    let monitoring = Monitoring::restore(&**database, vec![]).await.unwrap();
    for _ in 0..6 {
        monitoring.refused(RefusedAccess {
            at: NOW,
            claimed: "intruder".into(),
            peer: "127.0.0.1:1".into(),
            operation: "mqtt connect",
            reason: Refusal::Signature,
        });
    }
    monitoring.store(&**database).await.unwrap();
}

async fn write_queues(database: &Database, hub: &Hub) {
    for (name, ack) in [("first", Ack::Full), ("second", Ack::None), ("third", Ack::Negative)] {
        let message = C2dMessage {
            message_id: Some(name.into()),
            correlation_id: Some("c".into()),
            user_id: Some("u".into()),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            expires_at: None,
            ack,
            properties: vec![("a".into(), Some("b".into())), ("null".into(), None), ("empty".into(), Some("".into()))],
            body: Bytes::from_static(b"{\"on\":true}\x00\xff"),
        };
        hub.send_c2d(NOW, &id("motor"), message).await.unwrap();
    }
    let first = hub.receive_c2d(NOW, &id("motor"), None).await.unwrap().unwrap();
    let complete = gantry_hub::c2d::Settle::Complete;
    hub.settle_c2d(NOW, &id("motor"), first.token, complete).await.unwrap();
    hub.tend(NOW.plus(Duration::from_secs(20))).await.unwrap();
    let queue = database.c2d_list(&id("motor")).await.unwrap();
    let counted =
        Settlement { sequence_number: queue[0].sequence_number, change: QueueChange::Count(3), feedback: None };
    database.c2d_settle(&id("motor"), vec![counted]).await.unwrap();
    let third = hub.receive_c2d(NOW, &id("motor"), None).await.unwrap().unwrap();
    hub.settle_c2d(NOW, &id("motor"), third.token, gantry_hub::c2d::Settle::Abandon).await.unwrap();
    hub.purge_c2d(NOW, &id("leaf")).await.unwrap();
    let last = hub.receive_c2d(NOW, &id("motor"), None).await.unwrap().unwrap();
    hub.settle_c2d(NOW, &id("motor"), last.token, gantry_hub::c2d::Settle::Reject).await.unwrap();
    let file = FileNotification {
        identity: id("motor"),
        blob_uri: "https://localhost/files/motor/a.txt".into(),
        blob_name: "motor/a.txt".into(),
        last_updated_at: NOW,
        size_bytes: 5,
    };
    hub.notify_file_uploaded(NOW, &file).await.unwrap();
    for queue in hub.endpoints().iter().flat_map(gantry_hub::routing::InUse::queues).collect::<Vec<_>>() {
        let event = RoutedEvent {
            source: MessageSource::Telemetry,
            identity: id("motor"),
            generation_id: "1".into(),
            auth_method: r#"{"scope":"device"}"#.into(),
            model_id: Some("dtmi:example:Motor;1".into()),
            enqueued_at: NOW,
            system: SystemProperties { message_id: Some("m-1".into()), ..SystemProperties::default() },
            properties: vec![("site".into(), Some("lyon".into())), ("none".into(), None)],
            body: Bytes::from_static(b"{}"),
        };
        hub.push_routed(NOW, queue, Arc::new(vec![event])).await.unwrap();
    }
    let device = DeviceId::parse("motor").unwrap();
    let upload = FileUpload {
        device,
        correlation_id: "0011".into(),
        blob_name: "motor/a.txt".into(),
        expires_at: NOW.plus(Duration::from_secs(60)),
    };
    gantry_hub::file_uploads::UploadStore::begin(database, upload, NOW, 10).await.unwrap();
}

async fn write_jobs(database: &Database) {
    let job = |id: &str, work| Job {
        id: id.into(),
        condition: "*".into(),
        work,
        created_at: NOW,
        start_at: NOW,
        execution_max: Duration::from_secs(3600),
        began_at: None,
        ended_at: None,
        status: JobStatus::Scheduled,
        failure: None,
        is_listed: false,
        statistics: Statistics::default(),
    };
    let write = TwinWrite {
        tags: Some(SectionWrite::Merge(object(json!({"site": null})))),
        desired: Some(SectionWrite::Clear),
    };
    let shown = json!({"etag": "*", "tags": {"site": null}, "properties": {"desired": null}});
    database.insert_job(job("twins", Work::UpdateTwin { write, shown })).await.unwrap();
    let call = MethodCall { name: "reboot".into(), payload: Bytes::from_static(b"{\"in\":5}") };
    let (response, connect) = (Duration::from_secs(30), Duration::from_secs(5));
    let methods = job("methods", Work::CallMethod { call, response, connect });
    database.insert_job(methods.clone()).await.unwrap();
    let devices = ["authority", "edge", "leaf", "motor", "signed"].map(id).to_vec();
    database.list_devices("methods", NOW, devices).await.unwrap();
    let failed = Outcome::Failed { code: "DeviceNotOnline".into(), description: "it's away".into() };
    let answer = MethodResponse { status: 200, payload: Bytes::from_static(b"\"ok\"") };
    let outcomes = vec![
        (id("motor"), NOW, NOW, Outcome::Succeeded(Some(answer))),
        (id("edge"), NOW, NOW, Outcome::Succeeded(None)),
        (id("leaf"), NOW, NOW, failed),
    ];
    database.put_outcomes("methods", outcomes).await.unwrap();
    let ended = Job {
        status: JobStatus::Cancelled,
        is_listed: true,
        began_at: Some(NOW),
        ended_at: Some(NOW),
        failure: Some("cancelled by hand".into()),
        ..methods
    };
    database.end_job(ended, Outcome::Cancelled).await.unwrap();
}

async fn write_provisioning(database: &Database) {
    let everything = EnrollmentWrite {
        device_id: Some(DeviceId::parse("motor").unwrap()),
        iot_hub_host_name: Some("localhost".into()),
        iot_hubs: vec!["localhost".into(), "other".into()],
        initial_twin: Some(InitialTwin { tags: object(json!({"a": 1})), desired: object(json!({"b": {"c": 2}})) }),
        optional_device_information: Some(object(json!({"color": "red"}))),
        iot_edge: true,
        status: ProvisioningStatus::Disabled,
        reprovision: Some(ReprovisionPolicy { update_hub_assignment: true, migrate_device_data: false }),
        allocation: Some(AllocationPolicy::Custom),
        custom: Some(CustomAllocation { url: "https://example.com/?key=1".into(), api_version: "2021-10-01".into() }),
        ..EnrollmentWrite::default()
    };
    let individual = |id: &str| EnrollmentKey::Individual(registration_id(id));
    let group = |id: &str| EnrollmentKey::Group(GroupId::parse(id).unwrap());
    let slots = Slots { primary: Some(certificate()), secondary: None };
    let names = Slots { primary: Some("root".to_owned()), secondary: Some("next".to_owned()) };
    let tpm = TpmAttestation { endorsement: endorsement(), storage_root: Some(endorsement()), key: keys().primary };
    for (key, attestation, settings) in [
        (individual("Motor-1"), Attestation::SymmetricKey(keys()), everything),
        (individual("leaf-1"), Attestation::X509(X509::Client(slots.clone())), EnrollmentWrite::default()),
        (individual("tpm-1"), Attestation::Tpm(tpm), EnrollmentWrite::default()),
        (group("keys"), Attestation::SymmetricKey(keys()), EnrollmentWrite::default()),
        (group("roots"), Attestation::X509(X509::References(names)), EnrollmentWrite::default()),
        (group("signers"), Attestation::X509(X509::Signing(slots)), EnrollmentWrite::default()),
    ] {
        let enrollment = Enrollment { key, attestation, settings, etag: 7, created_at: NOW, updated_at: NOW };
        database.put_enrollment(enrollment, None).await.unwrap();
    }
    let assigned = |id: &str, evidence| Registration {
        id: registration_id(id),
        group: Some(GroupId::parse("keys").unwrap()),
        status: RegistrationStatus::Assigned,
        substatus: Some(Substatus::InitialAssignment),
        assigned_hub: Some("localhost".into()),
        device_id: Some(DeviceId::parse("motor").unwrap()),
        error: None,
        evidence,
        payload: Some(json!({"hello": "device"})),
        created_at: NOW,
        updated_at: NOW,
        etag: 3,
    };
    let info = Box::new(certificate().info());
    let failed = Registration {
        status: RegistrationStatus::Failed,
        substatus: None,
        assigned_hub: None,
        device_id: None,
        error: Some((400_207, "custom allocation failed".into())),
        payload: None,
        ..assigned("Tpm-1", Evidence::Tpm { authentication_key: "AAEC".into() })
    };
    let left =
        Departure { id: registration_id("motor-1"), hub: "other".into(), device_id: DeviceId::parse("motor").unwrap() };
    for (registration, departure) in [
        (assigned("Motor-1", Evidence::SymmetricKey), Some(left)),
        (assigned("leaf-1", Evidence::X509 { leaf: info.clone(), signer: Some(info) }), None),
        (failed, None),
    ] {
        database.put_registration(registration, None, departure.into_iter().collect()).await.unwrap();
    }
    let link = HubLink {
        connection_string: "HostName=other;SharedAccessKeyName=x;SharedAccessKey=AAEC".into(),
        authority: Some(text("authority.pem")),
        weight: 3,
        takes_part: true,
    };
    database.put_hub_link("Other".into(), link).await.unwrap();
}

fn blob(name: &str) -> BlobAddress {
    BlobAddress { container: ContainerName::parse("files").unwrap(), name: BlobName::parse(name).unwrap() }
}

/// Blobs and blocks; what they hold are files of exactly their bytes.
async fn write_blobs(database: &Arc<Database>, folder: &Path) {
    let objects = object_store::local::LocalFileSystem::new_with_prefix(folder).unwrap();
    let account = Account { name: "gantry".into(), keys: keys() };
    let blobs = Blobs::new(account, Arc::<Database>::clone(database), Arc::new(objects), 0xE0);
    let stored = async |body: &'static [u8]| {
        let once = futures::stream::iter([Ok::<_, BlobError>(Bytes::from_static(body))]);
        blobs.store(once, u64::MAX).await.unwrap()
    };
    let metadata = vec![("owner".to_owned(), "golden".to_owned())];
    blobs.create_container(&blob("x").container, metadata.clone(), NOW).await.unwrap();
    let properties = Properties {
        content_type: Some("text/plain".into()),
        content_encoding: Some("gzip".into()),
        ..Properties::default()
    };
    let draft = Draft { properties, metadata };
    for body in [&b"older"[..], b"hello"] {
        let stored = stored(body).await;
        blobs.put_blob(&blob("motor/a.txt"), draft.clone(), stored, Conditions::default(), NOW).await.unwrap();
    }
    for (block, body) in [("AAAA", &b"one"[..]), ("AAAB", b"two"), ("AAAC", b"left")] {
        let stored = stored(body).await;
        blobs.put_block(&blob("parts"), block.into(), stored, NOW).await.unwrap();
    }
    let list = vec![(Which::Latest, "AAAA".to_owned()), (Which::Latest, "AAAB".to_owned())];
    blobs.commit_blocks(&blob("parts"), Draft::default(), list, Conditions::default(), NOW).await.unwrap();
    let stored = stored(b"more").await;
    blobs.put_block(&blob("parts"), "AAAD".into(), stored, NOW).await.unwrap();
}

/// The names of files under a folder with what they hold.
fn files(folder: &Path) -> String {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.push(format!("{name} {}\n", std::fs::read(&path).unwrap().escape_ascii()));
            }
        }
    }
    found.sort();
    found.concat()
}

fn secrets(authentication: &Authentication) -> String {
    match authentication {
        Authentication::Sas(keys) => format!("{} {}", keys.primary.to_base64(), keys.secondary.to_base64()),
        _ => String::new(),
    }
}

/// Everything the ports read.
async fn describe(database: &Arc<Database>) -> String {
    let mut out = String::new();
    for modules in [false, true] {
        for record in database.records(modules, None, 100).await.unwrap() {
            writeln!(out, "{record:#?}\nkeys {}", secrets(&record.device.authentication)).unwrap();
            let Record { device, .. } = record;
            for message in database.c2d_list(&device.identity).await.unwrap() {
                let first = database.c2d_first(&device.identity, NOW, vec![]).await.unwrap();
                let body = first.filter(|first| first.sequence_number == message.sequence_number);
                writeln!(out, "{message:#?}\nbody {:?}", body.map(|first| first.message.body)).unwrap();
            }
        }
    }
    writeln!(out, "{:?}", database.counts().await.unwrap()).unwrap();
    for id in database.managed_by_any().await.unwrap() {
        writeln!(out, "{id} manages {:?}", database.managed_by(&id, None, 100).await.unwrap()).unwrap();
    }
    let mut queues = vec![ServiceQueue::Feedback, ServiceQueue::FileNotifications];
    let hub = hub(database);
    queues.extend(hub.endpoints().iter().flat_map(gantry_hub::routing::InUse::queues));
    for queue in queues {
        writeln!(out, "{queue:?} {:#?}", database.service_first(queue, NOW, vec![]).await.unwrap()).unwrap();
    }
    for job in database.jobs(JobFilter::default(), None, 100).await.unwrap() {
        writeln!(out, "{job:#?}").unwrap();
    }
    writeln!(out, "{:#?}", database.device_jobs(DeviceJobFilter::default(), None, 100).await.unwrap()).unwrap();
    for kind in [EnrollmentKind::Individual, EnrollmentKind::Group] {
        for enrollment in database.enrollments(kind, None, 100).await.unwrap() {
            writeln!(out, "{enrollment:#?}").unwrap();
        }
    }
    for name in ["Motor-1", "leaf-1", "tpm-1"] {
        writeln!(out, "{:#?}", database.registration(&registration_id(name)).await.unwrap()).unwrap();
    }
    writeln!(out, "{:?}", gantry_provisioning::Store::departures(&**database, 10).await.unwrap()).unwrap();
    for link in database.hub_links().await.unwrap() {
        writeln!(out, "{link:?} {}", link.connection_string).unwrap();
    }
    for name in ["motor/a.txt", "parts"] {
        writeln!(out, "{name} {:#?}", database.blob(&blob(name), (0, u64::MAX)).await).unwrap();
        writeln!(out, "{name} {:#?}", database.blocks(&blob(name)).await.map(|(_, lists)| lists)).unwrap();
    }
    describe_settings(&mut out, database, &hub).await;
    let device = DeviceId::parse("motor").unwrap();
    let upload = gantry_hub::file_uploads::UploadStore::take(&**database, &device, "0011");
    writeln!(out, "{:#?}", upload.await.unwrap()).unwrap();
    out
}

/// What is kept in documents, as its owners read it.
async fn describe_settings(out: &mut String, database: &Arc<Database>, hub: &Hub) {
    for configuration in hub.configurations() {
        writeln!(out, "{configuration:#?}").unwrap();
    }
    for entry in &**hub.authorities().list() {
        let (name, certificate, code) = (&entry.name, &entry.authority, &entry.code);
        writeln!(out, "{name} {} {} {code:?}", certificate.subject(), entry.is_verified).unwrap();
    }
    for policy in hub.policies().iter() {
        let keys = Authentication::Sas(policy.keys.clone());
        writeln!(out, "{} {} {}", policy.name, policy.rights, secrets(&keys)).unwrap();
    }
    writeln!(out, "{:#?}\n{:#?}", hub.routing(), hub.endpoints()).unwrap();
    let is_proved = matches!(hub.webhook_validation(NOW, "https://example.com/hook"), Validation::Proved);
    writeln!(out, "webhook proved {is_proved}").unwrap();
    let monitoring = Monitoring::restore(&**database, vec![]).await.unwrap();
    writeln!(out, "{:#?}\n{:#?}\n{:#?}", monitoring.rules(), monitoring.alerts(None, 100), monitoring.security())
        .unwrap();
    assert!(database.all(HUB_COLLECTION).await.is_ok());
}

async fn check_read(version: &str) {
    let folder = restored(version);
    let database = Arc::new(Database::open(folder.path()).unwrap());
    gantry_golden::check(&golden(&format!("{version}.expected.txt")), describe(&database).await.as_bytes());
}

#[tokio::test]
async fn earlier_schemas_are_read_as_they_were_written() {
    for version in ["v1", "v9"] {
        check_read(version).await;
    }
}

#[tokio::test]
async fn the_newest_schema_is_written_and_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("blobs");
    std::fs::create_dir(&objects).unwrap();
    {
        let database = Arc::new(Database::open(folder.path()).unwrap());
        let hub = hub(&database);
        write_registry(&database, &hub).await;
        write_settings(&database, &hub).await;
        write_queues(&database, &hub).await;
        write_jobs(&database).await;
        write_provisioning(&database).await;
        write_blobs(&database, &objects).await;
    }
    gantry_golden::check(&golden(&format!("{NEWEST}.sql")), dump(&folder.path().join("state.db")).as_bytes());
    gantry_golden::check(&golden("blobs.txt"), files(&objects).as_bytes());
    check_read(NEWEST).await;
}
