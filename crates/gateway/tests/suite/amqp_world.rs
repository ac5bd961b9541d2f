//! A stream, a hub and clients in memory.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use gantry_amqp::connection::{
    AttachOptions, ClientSasl, Config, Connection, Delivery, DeliveryId, LinkId, Outgoing, SessionId,
};
use gantry_amqp::decode::Reader;
use gantry_amqp::frame;
use gantry_amqp::performative::{Disposition, Performative};
use gantry_amqp::sasl::Plain;
use gantry_amqp::value::{Described, Map};
use gantry_amqp::{
    Body, DeliveryState, ErrorCondition, Event, Message, MessageId, Properties, Role, Source, Symbol, Target, Value,
};
use gantry_gateway::Peer;
use gantry_gateway::amqp::ports::{Authorizer, C2dSender, Grant};
use gantry_gateway::amqp::{AmqpContext, Receivers, serve};
use gantry_hub::authorities::Authorities;
use gantry_hub::c2d::C2dMessage;
use gantry_hub::device::{AuthenticationWrite, DeviceWrite, IfMatch};
use gantry_hub::event::{Event as HubEvent, MessageSource, StoredEvent, SystemProperties};
use gantry_hub::ports::directory::{Audience, Bearer, Directory, Person, Resource};
use gantry_hub::ports::{
    Append, Audit, Batch, Entropy, EventCursor, EventSink, EventSource, LogError, PartitionState, PortFuture,
    RefusedAccess, Start,
};
use gantry_hub::routing::Destinations;
use gantry_hub::service_queue::Messaging;
use gantry_hub::throttle::Edition;
use gantry_hub::{DisabledTokens, Hub, HubConfig, HubError, Ports};
use gantry_identity::{Identity, Key, KeyPair, Policies, Refusal, Rights, Signer, Timestamp};
use gantry_provisioning::{
    AllocationPolicy, DPS_COLLECTION, IdScope, Isolated, Limits, LinkedHub, Service, ServiceConfig,
};
use gantry_storage::Database;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// When the first event was enqueued, in milliseconds; every next one a second later.
pub(crate) const FIRST_AT: i64 = 1_795_000_000_000;

/// Two partitions in memory.
#[derive(Default)]
pub(crate) struct MemoryStream {
    partitions: [Mutex<Vec<StoredEvent>>; 2],
    news: Notify,
    /// Events handed to readers so far.
    read: Mutex<usize>,
    /// While it is shut, nobody gets a cursor.
    pub(crate) shut: watch::Sender<bool>,
}

impl MemoryStream {
    pub(crate) fn append(&self, partition: u16, count: usize, body: &Bytes) {
        self.append_for(Destinations::BUILT_IN, partition, count, body);
    }

    pub(crate) fn append_for(&self, destinations: Destinations, partition: u16, count: usize, body: &Bytes) {
        let mut events = self.partitions[usize::from(partition)].lock().unwrap();
        for _ in 0..count {
            let sequence_number = events.len() as u64;
            events.push(StoredEvent {
                partition,
                sequence_number,
                enqueued_at: Timestamp::from_millis(FIRST_AT + 1_000 * sequence_number as i64),
                source: MessageSource::Telemetry,
                identity: Identity::parse("motor-1").unwrap(),
                generation_id: "g".into(),
                auth_method: "{}".into(),
                model_id: None,
                system: SystemProperties::default(),
                properties: vec![("n".into(), Some(sequence_number.to_string()))],
                destinations,
                added: vec![],
                body: body.clone(),
            });
        }
        drop(events);
        self.news.notify_waiters();
    }

    pub(crate) fn read(&self) -> usize {
        *self.read.lock().unwrap()
    }
}

struct MemoryReader {
    stream: Arc<MemoryStream>,
    partition: usize,
    next: usize,
}

impl EventCursor for MemoryReader {
    fn position(&self) -> u64 {
        self.next as u64
    }

    fn next(&mut self, events_max: usize, _: usize) -> PortFuture<'_, Option<Batch>, LogError> {
        Box::pin(async move {
            loop {
                let mut news = std::pin::pin!(self.stream.news.notified());
                news.as_mut().enable();
                let events: Vec<_> = {
                    let events = self.stream.partitions[self.partition].lock().unwrap();
                    events.iter().skip(self.next).take(events_max).cloned().collect()
                };
                if !events.is_empty() {
                    self.next += events.len();
                    *self.stream.read.lock().unwrap() += events.len();
                    return Ok(Some(Batch { events, missed: 0 }));
                }
                news.await;
            }
        })
    }
}

/// The port wants `&self`, the reader a share of the stream.
pub(crate) struct Shared(pub(crate) Arc<MemoryStream>);

impl EventSource for Shared {
    fn partitions(&self) -> u16 {
        2
    }

    fn created_at(&self) -> Timestamp {
        Timestamp::from_millis(FIRST_AT)
    }

    fn partition(&self, partition: u16) -> PortFuture<'_, Option<PartitionState>, LogError> {
        let state = self.0.partitions.get(usize::from(partition)).map(|events| {
            let events = events.lock().unwrap();
            let last = events.last().map(|event| (event.sequence_number, event.enqueued_at));
            PartitionState { begin: 0, last, is_empty: events.is_empty() }
        });
        Box::pin(async move {
            // As one that is elsewhere: not at once.
            tokio::task::yield_now().await;
            Ok(state)
        })
    }

    fn read(&self, partition: u16, start: Start) -> PortFuture<'_, Option<Box<dyn EventCursor>>, LogError> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.0.shut.subscribe().wait_for(|shut| !shut).await.unwrap();
            let partition = usize::from(partition);
            let Some(events) = self.0.partitions.get(partition) else { return Ok(None) };
            let events = events.lock().unwrap();
            let next = match start {
                Start::Earliest => 0,
                Start::Latest => events.len(),
                Start::At(number) => number as usize,
                Start::After(at) => events.partition_point(|event| event.enqueued_at <= at),
            };
            Ok(Some(Box::new(MemoryReader { stream: self.0.clone(), partition, next }) as Box<dyn EventCursor>))
        })
    }
}

/// Tokens are `resource|policy|lifetime in ms`; the policy `service` has ServiceConnect, others have not.
#[derive(Default)]
pub(crate) struct Gate {
    refusals: Mutex<Vec<(String, &'static str, Refusal)>>,
}

impl Gate {
    pub(crate) fn refusals(&self) -> Vec<(String, &'static str, Refusal)> {
        self.refusals.lock().unwrap().clone()
    }
}

impl Authorizer for Gate {
    fn check(&self, now: Timestamp, token: &str) -> Result<Grant, Refusal> {
        let parts: Vec<&str> = token.split('|').collect();
        let &[resource, policy, lifetime] = parts.as_slice() else { return Err(Refusal::Signature) };
        let rights = if policy == "service" { Rights::SERVICE_CONNECT } else { Rights::DEVICE_CONNECT };
        let lifetime = Duration::from_millis(lifetime.parse().unwrap());
        Ok(Grant { resource: resource.into(), policy: policy.into(), rights, expires_at: now.plus(lifetime) })
    }

    fn on_refused(&self, _: Timestamp, claimed: &str, peer: &str, operation: &'static str, reason: &Refusal) {
        assert_eq!(peer, "test");
        self.refusals.lock().unwrap().push((claimed.into(), operation, reason.clone()));
    }
}

/// Tokens are `eyJ.audience.lifetime in ms`, of one program, which may do what is in `may`: actions with resources.
pub(crate) struct Roles {
    pub(crate) may: watch::Sender<Vec<(&'static str, &'static str)>>,
    changes: watch::Sender<u64>,
}

impl Default for Roles {
    fn default() -> Self {
        Self { may: watch::channel(vec![]).0, changes: watch::channel(0).0 }
    }
}

impl Roles {
    /// From now on the program may do this and nothing else.
    pub(crate) fn set(&self, may: Vec<(&'static str, &'static str)>) {
        self.may.send_replace(may);
        self.changes.send_modify(|count| *count += 1);
    }
}

struct Program(Person, watch::Receiver<Vec<(&'static str, &'static str)>>);

impl Bearer for Program {
    fn person(&self) -> &Person {
        &self.0
    }

    fn may(&self, action: &str, resource: Resource<'_>) -> bool {
        let resource = format!("{resource:?}");
        self.1.borrow().iter().any(|(held, at)| *held == action && *at == resource)
    }

    fn may_manage(&self, _: &str, _: Resource<'_>) -> bool {
        false
    }

    fn is_known(&self) -> bool {
        true
    }
}

impl Directory for Roles {
    fn identify(&self, now: Timestamp, token: &str, audience: Audience) -> Result<Arc<dyn Bearer>, Refusal> {
        let parts: Vec<&str> = token.split('.').collect();
        let &["eyJ", of, lifetime] = parts.as_slice() else { return Err(Refusal::Signature) };
        if of != format!("{audience:?}") {
            return Err(Refusal::NotProven(format!("for {of}")));
        }
        let lifetime = Duration::from_millis(lifetime.parse().unwrap());
        let person = Person {
            tenant_id: "t".into(),
            object_id: "o".into(),
            app_id: None,
            is_program: true,
            name: "program".into(),
            groups: vec![],
            expires_at: now.plus(lifetime),
        };
        Ok(Arc::new(Program(person, self.may.subscribe())))
    }

    fn authority(&self) -> (&str, &str) {
        ("https://localhost", "t")
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Takes messages for `motor-1` only.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) sent: Mutex<Vec<C2dMessage>>,
}

impl C2dSender for Outbox {
    fn send(&self, _: Timestamp, to: Identity, message: C2dMessage) -> PortFuture<'_, (), HubError> {
        Box::pin(async move {
            if to.to_string() != "motor-1" {
                return Err(HubError::NotFound(to));
            }
            self.sent.lock().unwrap().push(message);
            Ok(())
        })
    }
}

/// Everything behind the heads.
pub(crate) struct World {
    pub(crate) hub: Arc<Hub>,
    pub(crate) log: Arc<MemoryLog>,
    _folder: tempfile::TempDir,
    pub(crate) context: Arc<AmqpContext>,
    pub(crate) stream: Arc<MemoryStream>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) roles: Arc<Roles>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) stop: watch::Sender<bool>,
}

impl World {
    /// Services are let in by the gate, and send into the outbox.
    pub(crate) fn new() -> Self {
        Self::build(false, None)
    }

    /// The hub itself stands behind everything.
    pub(crate) fn real() -> Self {
        Self::build(true, None)
    }

    /// The same, acting like an edition of the reference service.
    pub(crate) fn like(edition: &str) -> Self {
        Self::build(true, Some(edition.parse().unwrap()))
    }

    fn build(real: bool, edition: Option<Edition>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::<MemoryLog>::default();
        let database = Arc::new(Database::open(folder.path()).unwrap());
        let hub = Arc::new(hub(&database, &log, edition));
        let provisioning = Arc::new(provisioning(database, &hub));
        let (stream, gate, outbox) = (Arc::<MemoryStream>::default(), Arc::<Gate>::default(), Arc::<Outbox>::default());
        let roles = Arc::<Roles>::default();
        let (stop, shutdown) = watch::channel(false);
        let context = Arc::new(AmqpContext {
            hub_name: "gantry".into(),
            entity: "hub".into(),
            stream_host: "localhost".into(),
            stream_port: 5671,
            hub: hub.clone(),
            provisioning: provisioning.into(),
            directory: Some(roles.clone()),
            authorizer: if real { hub.clone() } else { gate.clone() },
            events: Arc::new(Shared(stream.clone())),
            c2d: if real { hub.clone() } else { outbox.clone() },
            receivers: Receivers::default(),
            now: gantry_gateway::now,
            shutdown,
        });
        Self { hub, log, _folder: folder, context, stream, gate, roles, outbox, stop }
    }

    /// A client that has opened its connection.
    pub(crate) async fn client(&self, sasl: ClientSasl) -> Client {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let peer = Peer { address: "test".into(), certificate: None, place: None };
        let server = tokio::spawn(serve(theirs, self.context.clone(), peer));
        let amqp = Connection::client(Config::client("test", "localhost"), sasl, 0);
        let (frames, dispositions, sent) = (BytesMut::new(), Vec::new(), Vec::new());
        let mut client = Client {
            amqp,
            stream: ours,
            events: Vec::new(),
            session: None,
            frames,
            dispositions,
            links: 0,
            sent,
            server,
        };
        client.wait(|event| matches!(event, Event::Opened(_) | Event::Closed { .. }).then_some(())).await;
        client.session = client.amqp.begin_session();
        client
    }

    /// Registers a device or module; its first key is `[7; 32]`.
    pub(crate) async fn register(&self, name: &str) -> Identity {
        let identity = Identity::parse(name).unwrap();
        let keys = KeyPair { primary: Key::from_bytes([7; 32]), secondary: Key::from_bytes([8; 32]) };
        let write = DeviceWrite { authentication: AuthenticationWrite::Sas(Some(keys)), ..DeviceWrite::default() };
        self.hub.put_device(gantry_gateway::now(), &identity, write, &IfMatch::Absent).await.unwrap();
        identity
    }

    /// A client that put the token of a device.
    pub(crate) async fn device(&self, identity: &Identity) -> Client {
        let mut client = self.client(ClientSasl::None).await;
        client.come_in(identity).await;
        client
    }

    /// A client with the owner's token.
    pub(crate) async fn owner(&self) -> Client {
        let mut client = self.client(ClientSasl::None).await;
        let answer = client.put_token("localhost", &policy_token("iothubowner", "localhost", 3600)).await;
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(200)));
        client
    }

    /// A client with a token for everything.
    pub(crate) async fn trusted(&self) -> Client {
        let mut client = self.client(ClientSasl::Anonymous).await;
        let answer = client.put_token("sb://localhost/hub", "localhost|service|3600000").await;
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(200)));
        client
    }
}

/// Telemetry in memory. While it is shut, nothing becomes durable.
pub(crate) struct MemoryLog {
    pub(crate) events: Mutex<Vec<LoggedEvent>>,
    pub(crate) open: watch::Sender<bool>,
    /// Whether there is room for more.
    pub(crate) room: watch::Sender<bool>,
}

#[derive(Clone, Debug)]
pub(crate) struct LoggedEvent {
    pub(crate) identity: Identity,
    pub(crate) auth_method: String,
    pub(crate) model_id: Option<String>,
    pub(crate) fields: Vec<Option<String>>,
    pub(crate) properties: Vec<(String, Option<String>)>,
    pub(crate) body: Vec<u8>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self { events: Mutex::default(), open: watch::channel(true).0, room: watch::channel(true).0 }
    }
}

impl EventSink for MemoryLog {
    fn append(&self, events: &[HubEvent<'_>]) -> Append {
        let logged = events.iter().map(|event| LoggedEvent {
            identity: event.identity.clone(),
            auth_method: event.auth_method.to_owned(),
            model_id: event.model_id.map(str::to_owned),
            fields: event.message.system.fields().iter().map(|field| field.map(str::to_owned)).collect(),
            properties: event
                .message
                .properties
                .iter()
                .map(|(k, v)| (k.to_string(), v.as_ref().map(ToString::to_string)))
                .collect(),
            body: event.message.body.to_vec(),
        });
        self.events.lock().unwrap().extend(logged);
        let mut open = self.open.subscribe();
        Box::pin(async move {
            open.wait_for(|open| *open).await.map_err(|_| LogError::NoSpace)?;
            Ok(())
        })
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut room = self.room.subscribe();
        Box::pin(async move {
            let _ = room.wait_for(|room| *room).await;
        })
    }
}

impl MemoryLog {
    pub(crate) fn bodies(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events.iter().map(|event| String::from_utf8(event.body.clone()).unwrap()).collect()
    }
}

/// A fresh token for every lock.
#[derive(Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        let bytes = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        buffer.iter_mut().rev().zip(bytes.iter().rev().chain(std::iter::repeat(&0))).for_each(|(to, from)| *to = *from);
    }
}

struct Unheard;

impl Audit for Unheard {
    fn refused(&self, _: RefusedAccess) {}
}

fn hub(database: &Arc<Database>, log: &Arc<MemoryLog>, edition: Option<Edition>) -> Hub {
    let keys = || KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
    let config = HubConfig {
        name: "gantry".into(),
        host_names: vec!["localhost".into()],
        policies: Policies::hub_defaults(keys),
        disabled: DisabledTokens::default(),
        edition,
        allow_faults: true,
        consumer_groups: vec!["analytics".into()],
        messaging: Messaging::default(),
    };
    let ports = Ports {
        store: Arc::<Database>::clone(database),
        documents: Arc::<Database>::clone(database),
        log: Arc::<MemoryLog>::clone(log),
        entropy: Arc::<Counter>::default(),
        audit: Arc::new(Unheard),
        observer: Arc::new(()),
    };
    // SQLite answers at once.
    Hub::new(config, ports).now_or_never().unwrap().unwrap()
}

/// A provisioning service with one hub and no enrollment.
fn provisioning(database: Arc<Database>, hub: &Arc<Hub>) -> Service {
    let keys = || KeyPair { primary: Key::from_bytes([3; 32]), secondary: Key::from_bytes([4; 32]) };
    let config = ServiceConfig {
        id_scope: IdScope::new("0ne1"),
        host_names: vec!["localhost".into()],
        policies: Policies::provisioning_defaults(keys),
        allocation: AllocationPolicy::Hashed,
        limits: Limits::default(),
    };
    let entropy = Arc::<Counter>::default();
    let authorities = Authorities::load(database.clone(), entropy.clone(), DPS_COLLECTION);
    let authorities = authorities.now_or_never().unwrap().unwrap();
    let linked = LinkedHub::own(Arc::clone(hub), 1);
    let ports = gantry_provisioning::Ports {
        store: database,
        linker: Arc::new(Isolated),
        webhooks: Arc::new(Isolated),
        entropy,
        audit: Arc::new(Unheard),
    };
    Service::new(config, ports, vec![linked], authorities)
}

/// The token of a device or module, signed with its own key.
pub(crate) fn device_token(identity: &Identity, secs: u64) -> String {
    own_token(&format!("localhost/{}", identity.resource()), secs)
}

/// A token signed with the key of all devices, for a resource in any spelling.
pub(crate) fn own_token(resource: &str, secs: u64) -> String {
    token(resource, Key::from_bytes([7; 32]), None, secs)
}

/// A token signed with the key of a policy.
pub(crate) fn policy_token(policy: &str, resource: &str, secs: u64) -> String {
    token(resource, Key::from_bytes([1; 32]), Some(policy.to_owned()), secs)
}

fn token(resource: &str, key: Key, policy: Option<String>, secs: u64) -> String {
    Signer { resource: resource.to_owned(), key, policy }.token(gantry_gateway::now().plus(Duration::from_secs(secs)))
}

/// A client of the library's own, with the connection's bytes in memory.
pub(crate) struct Client {
    pub(crate) amqp: Connection,
    pub(crate) stream: DuplexStream,
    events: Vec<Event>,
    session: Option<SessionId>,
    /// Frames of the server that its library keeps to itself.
    frames: BytesMut,
    dispositions: Vec<Disposition>,
    links: usize,
    /// Every byte sent so far.
    pub(crate) sent: Vec<u8>,
    pub(crate) server: JoinHandle<std::io::Result<()>>,
}

impl Client {
    /// Waits for an event that `pick` finds something in; it is taken out, the others are kept.
    pub(crate) async fn wait<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        self.wait_for(PATIENCE, pick).await
    }

    /// As `wait`, for what comes in minutes of paused time.
    pub(crate) async fn wait_long<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        self.wait_for(PATIENCE * 30, pick).await
    }

    async fn wait_for<T>(&mut self, patience: Duration, pick: impl Fn(&Event) -> Option<T>) -> T {
        tokio::time::timeout(patience, async {
            loop {
                self.events.extend(std::iter::from_fn(|| self.amqp.next_event()));
                if let Some(at) = self.events.iter().position(|event| pick(event).is_some()) {
                    return pick(&self.events.remove(at)).unwrap();
                }
                self.flush().await;
                let mut input = vec![0; 64 * 1024];
                let count = self.stream.read(&mut input).await.unwrap();
                assert!(count > 0, "the server hung up; events so far: {:?}", self.events);
                self.note_dispositions(&input[..count]);
                // A refusal is an error here and an event too.
                let _ = self.amqp.receive(0, &input[..count]);
            }
        })
        .await
        .expect("what the test waits for comes in time")
    }

    fn note_dispositions(&mut self, input: &[u8]) {
        self.frames.extend_from_slice(input);
        loop {
            let is_header = self.frames.len() >= 8 && (self.frames[..][..4] == *b"AMQP");
            if is_header {
                let _ = self.frames.split_to(8);
                continue;
            }
            let Ok(Some(frame)) = frame::take(&mut self.frames, u32::MAX) else { return };
            if frame.kind != frame::Kind::Amqp || frame.body.is_empty() {
                continue;
            }
            if let Ok(Performative::Disposition(disposition)) = Performative::decode(&mut Reader::new(&frame.body))
                && disposition.role == Role::Sender
            {
                self.dispositions.push(disposition);
            }
        }
    }

    /// What the server says about a delivery of its own, after an outcome that did not settle.
    pub(crate) async fn confirmed(&mut self, delivery: DeliveryId) -> Disposition {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(at) = self.dispositions.iter().position(|said| said.first == delivery.0) {
                    return self.dispositions.remove(at);
                }
                self.flush().await;
                let mut input = vec![0; 64 * 1024];
                let count = self.stream.read(&mut input).await.unwrap();
                assert!(count > 0, "the server hung up");
                self.note_dispositions(&input[..count]);
                let _ = self.amqp.receive(0, &input[..count]);
            }
        })
        .await
        .expect("the server confirms in time")
    }

    /// Puts a token of a device's own.
    pub(crate) async fn come_in(&mut self, identity: &Identity) {
        let audience = format!("localhost/{}", identity.resource());
        let answer = self.put_token(&audience, &device_token(identity, 3600)).await;
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(200)));
    }

    /// Sends a frame its library would not.
    pub(crate) async fn raw(&mut self, channel: u16, performative: &Performative) {
        self.flush().await;
        let mut bytes = Vec::new();
        frame::put(&mut bytes, frame::Kind::Amqp, channel, |out| performative.encode(out));
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Why the connection ended.
    pub(crate) async fn closed(&mut self) -> ErrorCondition {
        self.wait(|event| match event {
            Event::Closed { error } => error.clone(),
            _ => None,
        })
        .await
    }

    /// Another session for the links to come.
    pub(crate) fn begin_session(&mut self) {
        self.session = self.amqp.begin_session();
    }

    pub(crate) async fn flush(&mut self) {
        let output = self.amqp.take_output(0);
        self.sent.extend_from_slice(&output);
        self.stream.write_all(&output).await.unwrap();
    }

    /// Asks for a link; its id, or why it was refused.
    pub(crate) async fn attach(
        &mut self,
        role: Role,
        source: Source,
        target: Target,
        options: AttachOptions,
    ) -> Result<LinkId, ErrorCondition> {
        self.links += 1;
        let name = format!("link-{}", self.links);
        let session = self.session.expect("the connection is open");
        let link = self.amqp.attach(session, &name, role, source, target, options).unwrap();
        self.wait(|event| matches!(event, Event::Attached { link: id, .. } if *id == link).then_some(())).await;
        // A refusal follows the attach at once, but the bytes may come in two reads: a round trip settles it.
        let probe = self.amqp.attach(
            session,
            "probe",
            Role::Sender,
            Source::at("probe"),
            Target::at("$cbs"),
            AttachOptions::default(),
        );
        let probe = probe.unwrap();
        self.wait(|event| matches!(event, Event::Attached { link: id, .. } if *id == probe).then_some(())).await;
        self.amqp.detach_in_peace(probe);
        let refused =
            self.events.iter().position(|event| matches!(event, Event::Detached { link: id, .. } if *id == link));
        match refused.map(|at| self.events.remove(at)) {
            Some(Event::Detached { error, .. }) => Err(error.expect("the server says why")),
            _ => Ok(link),
        }
    }

    pub(crate) async fn send_to(&mut self, address: &str) -> Result<LinkId, ErrorCondition> {
        let (source, target) = (Source::at("test"), Target::at(address));
        self.attach(Role::Sender, source, target, AttachOptions::default()).await
    }

    pub(crate) async fn receive_from(&mut self, address: &str, credit: u32) -> Result<LinkId, ErrorCondition> {
        self.receive_with(address, None, AttachOptions { credit, ..AttachOptions::default() }).await
    }

    /// A receiver with a selector filter and options.
    pub(crate) async fn receive_with(
        &mut self,
        address: &str,
        filter: Option<&str>,
        options: AttachOptions,
    ) -> Result<LinkId, ErrorCondition> {
        let mut source = Source::at(address);
        if let Some(filter) = filter {
            let name = Value::Symbol(Symbol::from_static("apache.org:selector-filter:string"));
            let described = Described { descriptor: name.clone(), value: filter.into() };
            source.filter = vec![(name, Value::Described(Box::new(described)))];
        }
        self.attach(Role::Receiver, source, Target::at("test"), options).await
    }

    /// Asks for a receiver and does not wait for it; returns when the server has read both.
    pub(crate) async fn give_up(&mut self, address: &str, credit: u32) {
        let session = self.session.expect("the connection is open");
        let options = AttachOptions { credit, ..AttachOptions::default() };
        let (source, target) = (Source::at(address), Target::at("test"));
        let link = self.amqp.attach(session, "given up", Role::Receiver, source, target, options).unwrap();
        self.amqp.detach_in_peace(link);
        self.send_to("$cbs").await.unwrap();
    }

    /// The next message on a link.
    pub(crate) async fn message(&mut self, link: LinkId) -> Message {
        let message = self
            .wait(|event| match event {
                Event::Message(Delivery { link: id, message, .. }) if *id == link => Some(message.clone()),
                _ => None,
            })
            .await;
        Message::decode(&message).unwrap()
    }

    /// The next delivery on a link, as it came.
    pub(crate) async fn delivery(&mut self, link: LinkId) -> (DeliveryId, Bytes, Message) {
        let (id, tag, message) = self
            .wait(|event| match event {
                Event::Message(delivery) if delivery.link == link => {
                    Some((delivery.delivery_id, delivery.tag.clone(), delivery.message.clone()))
                }
                _ => None,
            })
            .await;
        (id, tag, Message::decode(&message).unwrap())
    }

    /// Sequence numbers of the next messages on a link.
    pub(crate) async fn numbers(&mut self, link: LinkId, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            let message = self.message(link).await;
            numbers.push(message.message_annotation("x-opt-sequence-number").and_then(Value::as_i64).unwrap());
        }
        numbers
    }

    /// Why a link ended.
    pub(crate) async fn detached(&mut self, link: LinkId) -> ErrorCondition {
        self.wait(|event| match event {
            Event::Detached { link: id, error } if *id == link => error.clone(),
            _ => None,
        })
        .await
    }

    /// Sends a request to a node and waits for the answer.
    pub(crate) async fn request(&mut self, node: &str, properties: Map, body: Body, reply_to: Option<&str>) -> Message {
        let answers = self.receive_from(node, 10).await.unwrap();
        let requests = self.send_to(node).await.unwrap();
        let request = Message {
            properties: Some(Properties {
                message_id: Some(MessageId::Ulong(7)),
                reply_to: reply_to.map(str::to_owned),
                ..Properties::default()
            }),
            application_properties: properties,
            body,
            ..Message::default()
        };
        assert_eq!(self.send(requests, &request).await, DeliveryState::Accepted);
        let answer = self.message(answers).await;
        assert_eq!(answer.properties.as_ref().unwrap().correlation_id, Some(MessageId::Ulong(7)));
        self.amqp.detach_in_peace(answers);
        self.amqp.detach_in_peace(requests);
        answer
    }

    pub(crate) async fn put_token(&mut self, audience: &str, token: &str) -> Message {
        let properties = vec![
            ("operation".into(), "put-token".into()),
            ("type".into(), "servicebus.windows.net:sastoken".into()),
            ("name".into(), audience.into()),
        ];
        self.request("$cbs", properties, Body::Value(token.into()), Some("cbs")).await
    }

    /// Sends a message and waits for its outcome.
    pub(crate) async fn send(&mut self, link: LinkId, message: &Message) -> DeliveryState {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send_bytes(link, 0, &bytes).await
    }

    /// Sends an encoded message in a format and waits for its outcome.
    pub(crate) async fn send_bytes(&mut self, link: LinkId, format: u32, bytes: &[u8]) -> DeliveryState {
        if self.amqp.sendable(link) == 0 {
            self.wait(|event| matches!(event, Event::Credit { link: id, .. } if *id == link).then_some(())).await;
        }
        let sent = self.amqp.send(link, Outgoing { tag: b"t", settled: false, format }, bytes).unwrap();
        self.wait(|event| match event {
            Event::Disposition { link: id, delivery_id, state, settled: true }
                if (*id, *delivery_id) == (link, sent) =>
            {
                state.clone()
            }
            _ => None,
        })
        .await
    }
}

pub(crate) fn plain(user: &str, password: &str) -> ClientSasl {
    ClientSasl::Plain(Plain { user: user.into(), password: password.into() })
}
