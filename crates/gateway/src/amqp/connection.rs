//! One connection: bytes, time, futures and events, and nothing about what they mean.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use gantry_amqp::connection::{Config, Connection, DeliveryId, LinkId, SaslRequest};
use gantry_amqp::sasl::{self, Outcome};
use gantry_amqp::{DeliveryState, ErrorCondition, Event, Symbol, condition as amqp};
use gantry_hub::{Hub, HubError};
use gantry_identity::{Identity, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::address::readings;
use super::device::{DeviceDone, Devices};
use super::dps::{Dps, DpsDone, registration_of};
use super::grants::{Grants, Proof};
use super::links::{Link, LinkKind, Sent};
use super::management::Answer;
use super::partition::{Opened, Read, State};
use super::requests::Asked;
use super::{AmqpContext, condition, service_queue};
use crate::Peer;
use crate::hang_up::hang_up;

/// Bytes read at once, through a buffer of the thread: an idle connection has none of its own.
const INPUT_LEN: usize = 64 * 1024;

/// How long a connection keeps its buffers after it was last busy.
const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// Groups of telemetry that may wait for the log before nothing more is read.
const STORES_IN_FLIGHT_MAX: usize = 64;

thread_local! {
    static INPUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; INPUT_LEN].into());
}

/// Bytes of output above which nothing more is read, from the peer or from the log.
const OUTPUT_HIGH: usize = 512 * 1024;

/// How long a peer may refuse to read what we write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may stay without a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Something that was waited for.
pub(super) enum Done {
    /// A partition was opened for a link.
    Opened(Box<Opened>),
    /// Events of a partition.
    Read(Read),
    /// What a partition holds, for a link that is to be drained.
    State(State),
    /// A request to `$management` was carried out.
    Managed(Asked, Answer),
    /// A cloud-to-device message was queued or refused.
    Sent(Sent),
    /// Something about a device.
    Device(DeviceDone),
    /// A message for a service.
    Received(service_queue::Received),
    /// A message of a service queue was settled.
    ServiceSettled(service_queue::Settled),
    /// Something about a device at the provisioning service.
    Dps(DpsDone),
    /// A link that is to be at another address was answered.
    Redirected(LinkId, ErrorCondition),
}

/// The service's end of one connection.
pub(super) struct Head {
    pub(super) context: Arc<AmqpContext>,
    pub(super) peer: Peer,
    pub(super) amqp: Connection,
    pub(super) grants: Grants,
    pub(super) links: HashMap<LinkId, Link>,
    pub(super) devices: Devices,
    pub(super) dps: Dps,
    pub(super) stores_in_flight: usize,
    pub(super) work: FuturesUnordered<BoxFuture<'static, Result<Done, Aborted>>>,
    /// Links that lose their partition to others; there is none while no partition is read.
    evictions: Option<Evictions>,
    started: Instant,
    /// Since when there is no token.
    without_token_since: Option<Instant>,
}

/// Bytes on their way to the peer.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Everything was written, but may sit in a buffer of the stream.
    flushing: bool,
    /// When the peer last took something.
    progress_at: Option<Instant>,
    /// When the buffers, which are empty, are given back.
    shrink_at: Option<Instant>,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        self.progress_at = Some(Instant::now());
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
            self.flushing = true;
        }
    }

    fn flushed(&mut self) {
        self.flushing = false;
        self.progress_at = None;
        self.shrink_at = Some(Instant::now() + BUFFERS_KEPT);
    }
}

type Evictions = (mpsc::UnboundedSender<LinkId>, mpsc::UnboundedReceiver<LinkId>);

/// Whom a user name of SASL PLAIN names.
enum User<'u> {
    Policy(&'u str),
    /// Every reading of the name.
    Device(Vec<Identity>),
}

enum Progress {
    Wrote(usize),
    Flushed,
}

/// One step of sending: some bytes, or the flush after the last one. May be dropped without losing count.
async fn write<W: AsyncWrite + Unpin>(writer: &mut W, output: &Output) -> io::Result<Progress> {
    if output.is_empty() {
        writer.flush().await?;
        return Ok(Progress::Flushed);
    }
    match writer.write(&output.bytes[output.written..]).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(Progress::Wrote(count)),
    }
}

/// Waits for bytes, once the log has room when a device is there; none at the end of the stream. May be dropped
/// without losing any.
async fn read<R: AsyncRead + Unpin>(reader: &mut R, log: Option<Arc<Hub>>) -> io::Result<Vec<u8>> {
    if let Some(hub) = log {
        hub.ready().await;
    }
    poll_fn(|cx| {
        INPUT.with_borrow_mut(|input| {
            let mut buffer = ReadBuf::new(input);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().to_vec()))
        })
    })
    .await
}

/// The next link that must give up its partition.
async fn evicted(evictions: &mut Option<Evictions>) -> LinkId {
    let link = match evictions {
        Some((_, evicted)) => evicted.recv().await,
        None => None,
    };
    match link {
        Some(link) => link,
        None => std::future::pending().await,
    }
}

/// Resolves when somebody of a directory may have lost a role.
async fn changed(roles: &mut Option<watch::Receiver<u64>>) {
    let is_there = match roles {
        Some(roles) => roles.changed().await.is_ok(),
        None => false,
    };
    if !is_there {
        std::future::pending().await
    }
}

impl Head {
    pub(super) fn new(context: Arc<AmqpContext>, peer: Peer) -> Self {
        let mut config = Config::server(context.hub_name.clone());
        if peer.certificate.is_some() {
            config.mechanisms.insert(0, sasl::EXTERNAL);
        }
        Self {
            context,
            peer,
            amqp: Connection::server(config, 0),
            grants: Grants::default(),
            links: HashMap::new(),
            devices: Devices::default(),
            dps: Dps::default(),
            stores_in_flight: 0,
            work: FuturesUnordered::new(),
            evictions: None,
            started: Instant::now(),
            without_token_since: Some(Instant::now()),
        }
    }

    /// Moves bytes until the connection is over, and gives back what it held.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self: Box<Self>, stream: S) -> io::Result<()> {
        let result = self.transfer(stream).await;
        self.let_go();
        result
    }

    async fn transfer<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: S) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut output = Output::default();
        let mut shutdown = self.context.shutdown.clone();
        let mut roles = self.context.directory.as_ref().map(|directory| directory.changes());
        let mut stopping = false;
        loop {
            self.handle_events();
            if output.is_empty() && self.amqp.output_len() > 0 {
                let now = self.elapsed_ms();
                self.amqp.swap_output(now, &mut output.bytes);
                output.progress_at.get_or_insert_with(Instant::now);
            }
            let closed = self.amqp.is_closed();
            if closed && output.is_empty() && !output.flushing {
                return Box::pin(hang_up(&mut tokio::io::join(&mut reader, &mut writer))).await;
            }
            let room = output.bytes.len() - output.written + self.amqp.output_len() < OUTPUT_HIGH;
            let may_read = room && !closed && self.stores_in_flight < STORES_IN_FLIGHT_MAX;
            // Devices feel a full log here; services do not wait for it.
            let log = self.devices.is_connected().then(|| self.context.hub.clone());
            let deadline = self.deadline(&output);
            tokio::select! {
                progress = write(&mut writer, &output), if !output.is_empty() || output.flushing => {
                    match progress? {
                        Progress::Wrote(count) => output.wrote(count),
                        Progress::Flushed => output.flushed(),
                    }
                }
                read = read(&mut reader, log), if may_read => {
                    let input = read?;
                    if input.is_empty() {
                        return Ok(());
                    }
                    self.receive(&input);
                }
                Some(done) = self.work.next(), if room && !self.work.is_empty() => self.done(done),
                link = evicted(&mut self.evictions) => self.stolen(link),
                () = changed(&mut roles), if self.grants.has_directory() => self.detach_unauthorized(),
                changed = shutdown.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    // A context that is gone asks for the same.
                    drop(changed);
                    self.close(amqp::CONNECTION_FORCED, "the service is stopping");
                }
                () = sleep_until(deadline) => self.tick(&mut output)?,
            }
        }
    }

    /// Where others say that a link must give up its partition.
    pub(super) fn evict(&mut self) -> mpsc::UnboundedSender<LinkId> {
        self.evictions.get_or_insert_with(mpsc::unbounded_channel).0.clone()
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn receive(&mut self, bytes: &[u8]) {
        let now = self.elapsed_ms();
        if let Err(error) = self.amqp.receive(now, bytes) {
            debug!(peer = %self.peer.address, error = &error as &dyn std::error::Error, "peer broke the protocol");
        }
    }

    /// The next moment something is due. At least once an hour, which costs nothing and spares an `Option`.
    fn deadline(&self, output: &Output) -> Instant {
        let mut deadline = Instant::now() + Duration::from_secs(3600);
        if let Some(at) = self.amqp.next_deadline() {
            deadline = deadline.min(self.started + Duration::from_millis(at));
        }
        if let Some(expiry) = self.grants.next_expiry() {
            let left = expiry.since((self.context.now)());
            deadline = deadline.min(Instant::now() + left);
        }
        if let Some(expiry) = self.devices.next_expiry() {
            let left = expiry.since((self.context.now)());
            deadline = deadline.min(Instant::now() + left);
        }
        if let Some(expiry) = self.dps.expires_at() {
            let left = expiry.since((self.context.now)());
            deadline = deadline.min(Instant::now() + left);
        }
        if let Some(since) = self.without_token_since.filter(|_| !self.amqp.is_closed()) {
            deadline = deadline.min(since + TOKEN_TIMEOUT);
        }
        if let Some(at) = output.shrink_at {
            deadline = deadline.min(at);
        }
        match output.progress_at {
            Some(at) => deadline.min(at + WRITE_TIMEOUT),
            None => deadline,
        }
    }

    fn tick(&mut self, output: &mut Output) -> io::Result<()> {
        if output.shrink_at.is_some_and(|at| at <= Instant::now()) {
            output.shrink_at = None;
            if output.is_empty() {
                output.bytes = Vec::new();
            }
            self.amqp.shrink();
            self.links.shrink_to_fit();
            self.devices.shrink();
        }
        if output.progress_at.is_some_and(|at| at.elapsed() >= WRITE_TIMEOUT) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let now = self.elapsed_ms();
        if let Err(error) = self.amqp.tick(now) {
            debug!(peer = %self.peer.address, error = &error as &dyn std::error::Error, "peer is gone");
        }
        if self.grants.expire((self.context.now)()) {
            self.token_expired();
        }
        self.expire_devices((self.context.now)());
        self.expire_registrant((self.context.now)());
        if self.without_token_since.is_some_and(|since| since.elapsed() >= TOKEN_TIMEOUT) {
            self.without_token_since = None;
            self.close(amqp::UNAUTHORIZED_ACCESS, "no token was put in time");
        }
        Ok(())
    }

    /// Closes the connection, and says why.
    pub(super) fn close(&mut self, condition: Symbol, text: &str) {
        let now = self.elapsed_ms();
        self.amqp.close(now, Some(ErrorCondition::new(condition, text)));
    }

    /// Gives back what links and devices hold.
    fn let_go(&mut self) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.remove(id);
        }
        self.disconnect_devices();
    }

    fn token_expired(&mut self) {
        debug!(peer = %self.peer.address, "token expired");
        if self.grants.is_plain() {
            self.close(amqp::UNAUTHORIZED_ACCESS, "the token of this connection expired");
            return;
        }
        if self.grants.is_empty() && self.devices.is_empty() {
            self.without_token_since = Some(Instant::now());
        }
        self.detach_unauthorized();
    }

    /// Keeps what a token allows. `false` when there are too many.
    pub(super) fn put_grant(&mut self, audience: &str, proof: Proof, token: &str) -> bool {
        self.has_token();
        self.grants.put(audience, proof, token)
    }

    /// Somebody proved who they are.
    pub(super) fn has_token(&mut self) {
        self.peer.is_known();
        self.without_token_since = None;
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.amqp.next_event() {
            if !matches!(event, Event::Message(_)) {
                self.store_gathered();
            }
            match event {
                Event::Sasl(request) => self.sasl(request),
                Event::Opened(opened) => {
                    debug!(peer = %self.peer.address, container = %opened.container_id, "connection opened");
                }
                Event::AttachRequested(request) => self.attach_requested(*request),
                Event::Detached { link, .. } => self.remove(link),
                Event::Message(delivery) => self.message(&delivery),
                Event::Credit { link, drain, .. } => self.credit(link, drain),
                Event::Disposition { link, delivery_id, state, settled } => {
                    self.disposed(link, delivery_id, state, settled);
                }
                // We ask for no links of our own.
                Event::Attached { .. } | Event::Drained { .. } => {}
                Event::Closed { error } => {
                    debug!(peer = %self.peer.address, ?error, "connection closed");
                    self.let_go();
                    self.work.clear();
                }
            }
        }
        self.store_gathered();
    }

    fn disposed(&mut self, link: LinkId, delivery_id: DeliveryId, state: Option<DeliveryState>, settled: bool) {
        match self.links.get(&link).map(|link| &link.kind) {
            Some(LinkKind::Service(_)) => self.service_disposed(link, delivery_id, state.as_ref(), settled),
            Some(LinkKind::Device(_)) => self.c2d_disposed(link, delivery_id, state.as_ref(), settled),
            _ => {}
        }
    }

    fn done(&mut self, done: Result<Done, Aborted>) {
        match done {
            Ok(Done::Opened(opened)) => self.opened(*opened),
            Ok(Done::Read(read)) => self.events_read(read),
            Ok(Done::State(state)) => self.drain_to(state),
            Ok(Done::Managed(asked, answer)) => self.answer(asked, answer),
            Ok(Done::Sent(sent)) => self.sent(&sent),
            Ok(Done::Device(done)) => self.device_done(done),
            Ok(Done::Received(received)) => self.service_received(received),
            Ok(Done::ServiceSettled(settled)) => self.service_settled(settled),
            Ok(Done::Dps(done)) => self.dps_done(done),
            Ok(Done::Redirected(link, error)) => self.redirected(link, error),
            // Its link is gone.
            Err(Aborted) => {}
        }
    }

    /// SASL: PLAIN is a policy (`{policy}@sas.root.{hub}`), a device (`{device}@sas.{hub}`), or one at the
    /// provisioning service (`{scope}/registrations/{id}`), with a token as password; EXTERNAL is the certificate, which is looked at with the first link of a device.
    fn sasl(&mut self, request: SaslRequest) {
        let plain = match request {
            SaslRequest::External if self.peer.certificate.is_some() => return self.sasl_decided(Outcome::Ok),
            SaslRequest::External => return self.sasl_decided(Outcome::Auth),
            SaslRequest::Tpm(init) => return self.tpm_init(&init),
            SaslRequest::Response(response) => return self.tpm_response(&response),
            SaslRequest::Plain(plain) => plain,
        };
        if let Some((scope, id)) = registration_of(&plain.user) {
            return self.check_registrant_token(scope, id, plain.password);
        }
        let user = match self.plain_user(&plain.user) {
            Ok(User::Device(readings)) => return self.check_own_token(readings, plain.password, None),
            Ok(User::Policy(policy)) => Ok(policy),
            Err(refusal) => Err(refusal),
        };
        let checked = user.and_then(|policy| {
            let grant = self.context.authorizer.check((self.context.now)(), &plain.password)?;
            if grant.policy.eq_ignore_ascii_case(policy) {
                Ok(grant)
            } else {
                Err(Refusal::UnknownPolicy(policy.to_owned()))
            }
        });
        let outcome = match checked {
            Ok(grant) => {
                self.grants.set_plain(grant, &plain.password);
                self.has_token();
                Outcome::Ok
            }
            Err(refusal) => self.plain_refused(&plain.user, &HubError::Unauthorized(refusal)),
        };
        self.sasl_decided(outcome);
    }

    pub(super) fn sasl_decided(&mut self, outcome: Outcome) {
        if let Err(error) = self.amqp.sasl_outcome(outcome) {
            debug!(peer = %self.peer.address, error = &error as &dyn std::error::Error, "peer broke the protocol");
        }
    }

    pub(super) fn sasl_challenge(&mut self, challenge: Bytes) {
        if let Err(error) = self.amqp.sasl_challenge(challenge) {
            debug!(peer = %self.peer.address, error = &error as &dyn std::error::Error, "peer broke the protocol");
        }
    }

    pub(super) fn plain_refused(&mut self, user: &str, error: &HubError) -> Outcome {
        match error {
            HubError::Unauthorized(refusal) => {
                self.refused(user, "amqp sasl", refusal);
                Outcome::Auth
            }
            _ => Outcome::SystemTemporary,
        }
    }

    fn plain_user<'u>(&self, user: &'u str) -> Result<User<'u>, Refusal> {
        let unknown = || Refusal::UnknownIdentity(user.to_owned());
        let (name, scope) = user.rsplit_once('@').ok_or_else(unknown)?;
        let scope = scope.strip_prefix("sas.").ok_or_else(unknown)?;
        let (hub, user) = match scope.strip_prefix("root.") {
            Some(hub) => (hub, User::Policy(name)),
            None => {
                let (device, module) = name.split_once('/').map_or((name, None), |(device, id)| (device, Some(id)));
                // As it is written first: nobody has to encode a user name.
                let readings: Vec<_> = readings(device, module).into_iter().rev().collect();
                if readings.is_empty() {
                    return Err(unknown());
                }
                (scope, User::Device(readings))
            }
        };
        // Tools take the first label of the host name for the hub's name.
        let first_label = self.context.stream_host.split('.').next().unwrap_or_default();
        let known = [self.context.hub_name.as_str(), first_label];
        if known.iter().any(|name| name.eq_ignore_ascii_case(hub)) { Ok(user) } else { Err(unknown()) }
    }

    pub(super) fn refused(&self, claimed: &str, operation: &'static str, refusal: &Refusal) {
        let now = (self.context.now)();
        self.context.authorizer.on_refused(now, claimed, &self.peer.address, operation, refusal);
    }

    pub(super) fn detach_unauthorized(&mut self) {
        let now = (self.context.now)();
        let without: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| !link.is_authorized(&self.grants, now)).map(|(id, _)| *id).collect();
        for link in without {
            self.remove(link);
            self.amqp.detach(link, condition::unauthorized());
        }
    }
}
