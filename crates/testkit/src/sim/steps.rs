//! The steps of a simulation: what may happen next, and what must come of it.

use std::time::Duration;

use bytes::Bytes;
use gantry_hub::c2d::{Ack, C2dMessage, Settle};
use gantry_hub::connection::{CloseReason, Delivery, MethodResponse, Subscriptions};
use gantry_hub::device::{DeviceWrite, IfMatch, Status};
use gantry_hub::event::Telemetry;
use gantry_hub::limits;
use gantry_hub::ports::Queues as _;
use gantry_hub::service_queue::ServiceQueue;
use gantry_hub::twin::{Object, TwinWrite};
use gantry_hub::{HubError, MethodCall, Presented};
use gantry_identity::{Key, Signer};
use serde_json::Value;

use super::model::{Device, Model, Queued};
use super::platform::{HOST, PARTITIONS};
use super::random::Random;
use super::world::{Lock, World, identity};
use super::{Options, Sabotage};

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create(usize),
    Delete(usize),
    Turn {
        device: usize,
        is_disabled: bool,
    },
    Connect {
        device: usize,
        with_old_keys: bool,
    },
    Disconnect(usize),
    Telemetry {
        device: usize,
        count: usize,
        bytes: usize,
    },
    Report(usize),
    Write {
        device: usize,
        tags: bool,
        desired: bool,
        is_stale: bool,
    },
    Send {
        device: usize,
        count: usize,
        ack: Ack,
        ttl: Option<Duration>,
    },
    Receive {
        device: usize,
        by_request: bool,
        for_ever: bool,
    },
    Settle {
        device: usize,
        settle: Settle,
    },
    Release(usize),
    Purge(usize),
    Invoke {
        device: usize,
        is_answered: bool,
    },
    Tend,
    Relay,
    Feedback,
    Follow(u16),
    Clock(i64),
    Full(bool),
    Restart,
    /// The power fails, perhaps while something happens.
    Crash(Option<Box<Step>>),
}

impl Step {
    pub(super) fn draw(random: &mut Random, options: &Options) -> Self {
        let device = random.below(options.devices);
        match random.below(100) {
            0..3 => Self::Create(device),
            3..5 => Self::Delete(device),
            5..7 => Self::Turn { device, is_disabled: random.percent(40) },
            7..16 => Self::Connect { device, with_old_keys: random.percent(10) },
            16..19 => Self::Disconnect(device),
            19..34 => Self::Telemetry { device, count: 1 + random.below(5), bytes: random.below(1800) },
            34..40 => Self::Report(device),
            40..48 => {
                let (tags, desired) = (random.percent(40), random.percent(80));
                Self::Write { device, tags, desired, is_stale: random.percent(15) }
            }
            48..57 => {
                let count = if random.percent(4) { 30 } else { 1 };
                let ttl = random.percent(50).then(|| Duration::from_secs(1 + random.below(900) as u64));
                Self::Send {
                    device,
                    count,
                    ack: *random.pick(&[Ack::None, Ack::Positive, Ack::Negative, Ack::Full]),
                    ttl,
                }
            }
            57..66 => Self::Receive { device, by_request: random.percent(40), for_ever: random.percent(30) },
            66..74 => {
                let settle = *random.pick(&[Settle::Complete, Settle::Complete, Settle::Abandon, Settle::Reject]);
                Self::Settle { device, settle }
            }
            74 => Self::Release(device),
            75 => Self::Purge(device),
            76..79 => Self::Invoke { device, is_answered: random.percent(70) },
            79..83 => Self::Tend,
            83..85 => Self::Relay,
            85..88 => Self::Feedback,
            88..91 => Self::Follow(random.below(PARTITIONS.into()) as u16),
            91..94 => {
                let second = 1000;
                let jumps =
                    [second, 5 * second, 20 * second, 70 * second, 600 * second, 7200 * second, -second, -300 * second];
                Self::Clock(*random.pick(&jumps))
            }
            94..96 => Self::Full(random.percent(40)),
            96 => Self::Restart,
            _ => {
                let during = random.percent(80).then(|| Self::draw(random, options));
                Self::Crash(during.filter(Self::writes).map(Box::new))
            }
        }
    }

    /// Whether it is one that writes, once.
    fn writes(&self) -> bool {
        !matches!(
            self,
            Self::Connect { .. }
                | Self::Disconnect(_)
                | Self::Receive { .. }
                | Self::Release(_)
                | Self::Invoke { .. }
                | Self::Relay
                | Self::Clock(_)
                | Self::Full(_)
                | Self::Restart
                | Self::Crash(_)
        ) && !matches!(self, Self::Send { count: 2.., .. })
    }
}

/// What an operation must end with, when the disk lets it.
type Expected = Result<(), &'static str>;

/// The kind of an error, as far as steps expect some.
fn kind(error: &HubError) -> &'static str {
    match error {
        HubError::NotFound(_) => "not found",
        HubError::AlreadyExists(_) => "exists",
        HubError::PreconditionFailed(_) => "precondition",
        HubError::Disabled(_) => "disabled",
        HubError::QueueFull(_) => "full",
        HubError::LockLost => "lock lost",
        HubError::NotOnline(_) => "not online",
        HubError::Unauthorized(_) => "unauthorized",
        _ => "other",
    }
}

impl World {
    /// Carries a step out, and checks what came of it.
    pub(super) async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Restart => {
                let closed = self.platform().events.close().await;
                closed.map_err(|error| format!("closing the log: {error}"))?;
                self.stop();
                self.old_wal = None;
                self.start().await
            }
            Step::Crash(during) => self.crash(during.as_deref()).await,
            other => self.happen(other).await,
        }
    }

    /// The power fails. What `during` wrote may be there, all of it, or not.
    async fn crash(&mut self, during: Option<&Step>) -> Result<(), String> {
        self.settle_writes().await?;
        let (wal, before) = (self.disks.wal(), self.model.clone());
        if let Some(step) = during {
            self.is_failing = true;
            self.disks.set_failing(true);
            self.happen(step).await?;
            self.settle_writes().await?;
        }
        let mut random = self.random.fork();
        let keeps = [0, 50, 90, 100][random.below(4)];
        let wal = if self.options.sabotage == Sabotage::ForgetWrites { self.old_wal.take() } else { Some(wal) };
        self.disks.lose_power(wal, || random.percent(keeps));
        self.is_failing = false;
        let expired = match during {
            Some(Step::Tend) => self.expired(&before),
            _ => vec![],
        };
        self.stop();
        self.start().await?;
        let mut after = self.model.clone();
        if let Some(done) = after.done.difference(&before.done).next().copied() {
            // Nothing else tells whether a service completed the message it had.
            let first = self.platform().database.service_first(ServiceQueue::Feedback, self.at(), vec![]).await;
            if first.map_err(|error| error.to_string())?.is_some_and(|first| first.sequence_number == done) {
                after = before.clone();
            }
        }
        if matches!(during, Some(Step::Tend)) {
            // It writes for each device.
            self.model = before;
            self.find_expired(expired).await?;
            let found = self.model.clone();
            return self.adopt(vec![found]).await;
        }
        self.adopt(vec![after, before]).await
    }

    /// Says whether an operation succeeded, when it may or may not have.
    fn outcome(&self, what: &str, result: Result<(), HubError>, expected: Expected) -> Result<bool, String> {
        match (result, expected) {
            (Ok(()), Ok(())) => Ok(true),
            (Err(error), Err(words)) if kind(&error) == words => Ok(false),
            (Err(_), _) if self.may_fail() => Ok(false),
            (result, expected) => Err(format!("{what} ended with {result:?}, not {expected:?}")),
        }
    }

    async fn happen(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Create(device) => self.create(device).await,
            Step::Delete(device) => self.delete(device).await,
            Step::Turn { device, is_disabled } => self.turn(device, is_disabled).await,
            Step::Connect { device, with_old_keys } => self.come(device, with_old_keys).await,
            Step::Disconnect(device) => {
                if let Some(connection) = self.connections.remove(&device) {
                    self.locks.entry(device).or_default().retain(|lock| lock.holder != Some(connection.number));
                    self.platform().hub.disconnect(self.at(), connection.mailbox);
                }
                Ok(())
            }
            Step::Telemetry { device, count, bytes } => self.telemetry(device, count, bytes).await,
            Step::Report(device) => self.report(device).await,
            Step::Write { device, tags, desired, is_stale } => self.write(device, tags, desired, is_stale).await,
            Step::Send { device, count, ack, ttl } => {
                for _ in 0..count {
                    self.send(device, ack, ttl).await?;
                }
                Ok(())
            }
            Step::Receive { device, by_request, for_ever } => self.receive(device, by_request, for_ever).await,
            Step::Settle { device, settle } => self.settle(device, settle).await,
            Step::Release(device) => {
                if let Some(lock) = self.locks.get_mut(&device).and_then(Vec::pop) {
                    self.platform().hub.release_c2d(&identity(device), lock.token);
                }
                Ok(())
            }
            Step::Purge(device) => self.purge(device).await,
            Step::Invoke { device, is_answered } => self.invoke(device, is_answered).await,
            Step::Tend => self.tend().await,
            Step::Relay => {
                match self.platform().database.relay(&self.platform().events).await {
                    Ok(true) => self.history.appended(),
                    Ok(false) => {}
                    Err(_) if self.may_fail() => {}
                    Err(error) => return Err(format!("relaying reports: {error}")),
                }
                Ok(())
            }
            Step::Feedback => self.feedback().await,
            Step::Follow(partition) => {
                let ahead = self.history.len(partition) - self.places[usize::from(partition)].saved;
                let place = self.places[usize::from(partition)].saved + ahead.min(1 + self.random.below(5) as u64);
                self.save_place(partition, place).await
            }
            Step::Clock(by) => {
                self.now += by;
                self.history.latest = self.history.latest.max(self.now);
                Ok(())
            }
            Step::Full(is_full) => self.set_full(is_full).await,
            Step::Restart | Step::Crash(_) => unreachable!("they are steps of their own"),
        }
    }

    async fn create(&mut self, device: usize) -> Result<(), String> {
        let expected = if self.model.devices.contains_key(&device) { Err("exists") } else { Ok(()) };
        let (hub, write) = (&self.platform().hub, DeviceWrite::default());
        let made = hub.put_device(self.at(), &identity(device), write, &IfMatch::Absent).await;
        if self.outcome("creating", made.map(drop), expected)? {
            self.model.devices.insert(device, Device::new());
        }
        Ok(())
    }

    async fn delete(&mut self, device: usize) -> Result<(), String> {
        let expected = if self.model.devices.contains_key(&device) { Ok(()) } else { Err("not found") };
        let deleted = self.platform().hub.delete_device(self.at(), &identity(device), &IfMatch::Any).await;
        if !self.outcome("deleting", deleted, expected)? {
            return Ok(());
        }
        let gone = self.model.devices.remove(&device).expect("it was there");
        self.model.deleted.extend(gone.generation);
        self.old_keys.extend(gone.keys.map(|keys| (device, keys)));
        self.locks.remove(&device);
        match self.connections.remove(&device) {
            Some(connection) => self.closed(connection, CloseReason::CredentialsChanged),
            None => Ok(()),
        }
    }

    async fn turn(&mut self, device: usize, is_disabled: bool) -> Result<(), String> {
        let expected = if self.model.devices.contains_key(&device) { Ok(()) } else { Err("not found") };
        let status = if is_disabled { Status::Disabled } else { Status::Enabled };
        let write = DeviceWrite { status, ..DeviceWrite::default() };
        let turned = self.platform().hub.put_device(self.at(), &identity(device), write, &IfMatch::Any).await;
        if !self.outcome("turning", turned.map(drop), expected)? {
            return Ok(());
        }
        self.model.devices.get_mut(&device).expect("it is there").is_disabled = is_disabled;
        if !is_disabled {
            return Ok(());
        }
        match self.connections.remove(&device) {
            Some(connection) => {
                self.locks.remove(&device);
                self.closed(connection, CloseReason::CredentialsChanged)
            }
            None => Ok(()),
        }
    }

    async fn come(&mut self, device: usize, with_old_keys: bool) -> Result<(), String> {
        let registered = self.model.devices.get(&device);
        let own = registered.and_then(|device| device.keys.clone());
        let old = self.old_keys.get(&device).cloned();
        let keys = if with_old_keys { old.or(own.clone()) } else { own.clone().or(old) };
        let is_own = own.is_some() && keys == own;
        let key = keys.map_or(Key::from_bytes([9; 32]), |keys| keys.primary);
        let expected = match registered {
            Some(device) if !device.is_disabled && is_own => Ok(()),
            _ => Err("unauthorized"),
        };
        let identity = identity(device);
        let signer = Signer { resource: format!("{HOST}/devices/{identity}"), key, policy: None };
        let token = signer.token(self.at().plus(Duration::from_secs(3600)));
        let presented = Presented { token: Some(&token), certificate: None };
        let proved = self.platform().hub.authenticate_device(self.at(), &identity, presented).await;
        let session = match (proved, expected) {
            (Ok(session), Ok(())) => session,
            (Err(error), Err(words)) if kind(&error) == words => return Ok(()),
            (proved, expected) => return Err(format!("authentication ended with {proved:?}, not {expected:?}")),
        };
        let mailbox = self.platform().hub.connect(self.at(), &session, false).await;
        let mailbox = mailbox.map_err(|error| format!("connecting: {error}"))?;
        mailbox.subscribe(Subscriptions::C2D.with(Subscriptions::METHODS).with(Subscriptions::DESIRED));
        self.locks.entry(device).or_default().retain(|lock| lock.holder.is_none());
        match self.connect(device, mailbox, session) {
            Some(older) => self.closed(older, CloseReason::TakenOver),
            None => Ok(()),
        }
    }

    async fn telemetry(&mut self, device: usize, count: usize, bytes: usize) -> Result<(), String> {
        if !self.connections.contains_key(&device) {
            return Ok(());
        }
        let numbers: Vec<u64> = (0..count).map(|_| self.number()).collect();
        let bodies: Vec<String> = numbers.iter().map(|number| format!("{number}{}", " ".repeat(bytes))).collect();
        let messages: Vec<_> =
            bodies.iter().map(|body| Telemetry { body: body.as_bytes(), ..Telemetry::default() }).collect();
        self.history.send(&numbers, self.now);
        let session = &self.connections[&device].session;
        let taken = self.platform().hub.telemetry(self.at(), session, &messages);
        let append = taken.map_err(|error| format!("telemetry was refused: {error}"))?.append;
        match append.await {
            Ok(()) => self.history.acknowledge(&numbers),
            Err(_) if self.is_full || self.is_failing => {}
            Err(error) => return Err(format!("telemetry was not taken: {error}")),
        }
        Ok(())
    }

    /// A patch of one or two of a few properties.
    fn patch(&mut self) -> Object {
        let mut patch = Object::new();
        for _ in 0..=self.random.below(2) {
            let name = (*self.random.pick(&["a", "b", "c"])).to_owned();
            let value = if self.random.percent(25) { Value::Null } else { self.number().into() };
            patch.insert(name, value);
        }
        patch
    }

    async fn report(&mut self, device: usize) -> Result<(), String> {
        if !self.connections.contains_key(&device) {
            return Ok(());
        }
        let patch = self.patch();
        let reported = self.platform().hub.report(self.at(), &identity(device), &patch).await;
        let version = reported.as_ref().ok().copied();
        if self.outcome("reporting", reported.map(drop), Ok(()))? {
            let model = self.model.devices.get_mut(&device).expect("it is connected");
            model.report(&patch);
            if version != Some(model.reported_version) {
                return Err(format!("reported version {version:?}, not {}", model.reported_version));
            }
        }
        Ok(())
    }

    async fn write(&mut self, device: usize, tags: bool, desired: bool, is_stale: bool) -> Result<(), String> {
        let (tags, desired) = (tags.then(|| self.patch()), desired.then(|| self.patch()));
        let (if_match, expected) = match self.model.devices.get(&device) {
            None => (IfMatch::Any, Err("not found")),
            Some(model) if is_stale && model.writes > 0 => {
                let before = Device { writes: model.writes - 1, ..Device::new() };
                (IfMatch::tag(before.etag()), Err("precondition"))
            }
            Some(model) => (IfMatch::tag(model.etag()), Ok(())),
        };
        let write = TwinWrite::merging(tags.clone().map(Value::Object), desired.clone().map(Value::Object));
        let write = write.map_err(|error| format!("a twin write: {error}"))?;
        let written = self.platform().hub.write_twin(self.at(), &identity(device), &write, &if_match).await;
        if self.outcome("writing a twin", written.map(drop), expected)? {
            let model = self.model.devices.get_mut(&device).expect("it was written to");
            model.write(tags.as_ref(), desired.as_ref());
            if let Some(connection) = self.connections.get_mut(&device) {
                connection.expected = model.desired_version;
            }
        }
        Ok(())
    }

    async fn send(&mut self, device: usize, ack: Ack, ttl: Option<Duration>) -> Result<(), String> {
        let (id, now) = (format!("m{}", self.number()), self.now);
        let expected = match self.model.devices.get(&device) {
            None => Err("not found"),
            Some(model) if model.is_disabled => Err("disabled"),
            Some(model) => {
                let waiting = model.queue.iter().filter(|queued| queued.expires_at > now).count();
                if waiting >= limits::C2D_QUEUE_LEN_MAX { Err("full") } else { Ok(()) }
            }
        };
        let expires_at = ttl.map(|ttl| self.at().plus(ttl));
        let body = Bytes::from(id.clone());
        let message = C2dMessage { message_id: Some(id.clone()), ack, expires_at, body, ..C2dMessage::default() };
        let sent = self.platform().hub.send_c2d(self.at(), &identity(device), message).await;
        if self.outcome("sending", sent, expected)? {
            let ttl = ttl.unwrap_or(limits::C2D_TTL_DEFAULT);
            let expires_at = now + i64::try_from(ttl.as_millis()).expect("hours");
            let model = self.model.devices.get_mut(&device).expect("it was sent to");
            model.queue.push(Queued { id, expires_at, deliveries: 0, ack });
        }
        Ok(())
    }

    async fn receive(&mut self, device: usize, by_request: bool, for_ever: bool) -> Result<(), String> {
        let Some(model) = self.model.devices.get(&device) else { return Ok(()) };
        let connection = self.connections.get(&device);
        if !by_request && connection.is_none() {
            return Ok(());
        }
        let now = self.now;
        let locks = self.locks.entry(device).or_default();
        locks.retain(|lock| !lock.is_over(now));
        let free = |queued: &&Queued| queued.expires_at > now && locks.iter().all(|lock| lock.id != queued.id);
        let expected = model.queue.iter().find(free).cloned();
        let hub = &self.platform.as_ref().expect("it runs between steps").hub;
        let at = gantry_identity::Timestamp::from_millis(now);
        let received = match connection.filter(|_| !by_request) {
            Some(connection) => hub.next_c2d(at, connection.mailbox.holder(), for_ever).await,
            None => hub.receive_c2d(at, &identity(device), None).await,
        };
        let received = received.map_err(|error| format!("receiving: {error}"))?;
        let what = received.as_ref().map(|locked| {
            let message = &locked.message;
            (message.message.message_id.clone().unwrap_or_default(), message.delivery_count)
        });
        if what != expected.as_ref().map(|queued| (queued.id.clone(), queued.deliveries)) {
            return Err(format!("d{device} received {what:?}, not {expected:?}"));
        }
        let holder = connection.filter(|_| !by_request).map(|connection| connection.number);
        if let (Some(locked), Some(queued)) = (received, expected) {
            let until = locked.until.map(gantry_identity::Timestamp::as_millis);
            locks.push(Lock { id: queued.id, token: locked.token, deliveries: queued.deliveries, until, holder });
        }
        Ok(())
    }

    async fn settle(&mut self, device: usize, settle: Settle) -> Result<(), String> {
        let count = self.locks.get(&device).map_or(0, Vec::len);
        if count == 0 {
            return Ok(());
        }
        let lock = self.locks[&device][self.random.below(count)].clone();
        let expected = if lock.is_over(self.now) { Err("lock lost") } else { Ok(()) };
        let settled = self.platform().hub.settle_c2d(self.at(), &identity(device), lock.token, settle).await;
        if !self.outcome("settling", settled, expected)? {
            return Ok(());
        }
        self.locks.get_mut(&device).expect("it is there").retain(|other| other.token != lock.token);
        let outcome = match settle {
            Settle::Complete => "Success",
            Settle::Reject => "Rejected",
            Settle::Abandon if lock.deliveries + 1 >= limits::C2D_DELIVERY_COUNT_MAX => "DeliveryCountExceeded",
            Settle::Abandon => {
                let queue = self.model.devices.get_mut(&device).into_iter().flat_map(|device| &mut device.queue);
                queue.filter(|queued| queued.id == lock.id).for_each(|queued| queued.deliveries += 1);
                return Ok(());
            }
        };
        self.model.settle(device, &lock.id, outcome);
        Ok(())
    }

    async fn purge(&mut self, device: usize) -> Result<(), String> {
        let expected = if self.model.devices.contains_key(&device) { Ok(()) } else { Err("not found") };
        let purged = self.platform().hub.purge_c2d(self.at(), &identity(device)).await;
        if self.outcome("purging", purged.map(drop), expected)? {
            let queue = self.model.devices[&device].queue.clone();
            queue.iter().for_each(|queued| self.model.settle(device, &queued.id, "Purged"));
            self.locks.remove(&device);
        }
        Ok(())
    }

    async fn invoke(&mut self, device: usize, is_answered: bool) -> Result<(), String> {
        let number = self.number();
        let call = MethodCall::new("m", Bytes::from(number.to_string())).expect("a good call");
        let (hub, identity) = (self.platform().hub.clone(), identity(device));
        let invoked = hub.invoke(&identity, &call);
        let Some(connection) = self.connections.get_mut(&device) else {
            return self.outcome("a method", invoked.await.map(drop), Err("not online")).map(drop);
        };
        let answer = async {
            loop {
                match connection.mailbox.next().await {
                    Delivery::Method { request_id, payload, .. } if is_answered => {
                        connection.mailbox.answer(request_id, MethodResponse { status: 200, payload });
                        return Ok(());
                    }
                    Delivery::Method { request_id, .. } => {
                        connection.mailbox.decline(request_id);
                        return Ok(());
                    }
                    Delivery::C2dAvailable => {}
                    other => return Err(format!("d{device} heard {other:?} instead of a method")),
                }
            }
        };
        let (invoked, answered) = tokio::join!(invoked, answer);
        answered?;
        let is_echo = |response: &MethodResponse| response.payload == call.payload;
        match invoked {
            Ok(response) if is_answered && is_echo(&response) => Ok(()),
            Err(HubError::NotOnline(_)) if !is_answered => Ok(()),
            other => Err(format!("a method that is answered: {is_answered} ended with {other:?}")),
        }
    }

    /// Messages of a model that are to go when time is looked at, as device and id.
    fn expired(&self, model: &Model) -> Vec<(usize, String)> {
        let mut expired = vec![];
        for (device, known) in &model.devices {
            let locks = self.locks.get(device).map(Vec::as_slice).unwrap_or_default();
            let held = |id: &str| locks.iter().any(|lock| lock.id == id && !lock.is_over(self.now));
            let due = known.queue.iter().filter(|queued| queued.expires_at <= self.now && !held(&queued.id));
            expired.extend(due.map(|queued| (*device, queued.id.clone())));
        }
        expired
    }

    async fn tend(&mut self) -> Result<(), String> {
        let expired = self.expired(&self.model);
        let tended = self.platform().hub.tend(self.at()).await;
        let now = self.now;
        self.locks.values_mut().for_each(|locks| locks.retain(|lock| !lock.is_over(now)));
        match tended {
            Ok(()) => expired.iter().for_each(|(device, id)| self.model.settle(*device, id, "Expired")),
            Err(_) if self.may_fail() => self.find_expired(expired).await?,
            Err(error) => return Err(format!("tending: {error}")),
        }
        Ok(())
    }

    /// Finds out which of the messages went, after some may have.
    async fn find_expired(&mut self, expired: Vec<(usize, String)>) -> Result<(), String> {
        for (device, id) in expired {
            let queue =
                self.platform().database.c2d_list(&identity(device)).await.map_err(|error| error.to_string())?;
            if queue.iter().all(|queued| queued.message.message_id.as_ref() != Some(&id)) {
                self.model.settle(device, &id, "Expired");
            }
        }
        Ok(())
    }

    /// A service takes a message with outcomes.
    async fn feedback(&mut self) -> Result<(), String> {
        let received = self.platform().hub.receive_service(self.at(), ServiceQueue::Feedback).await;
        let Some(batch) = received.map_err(|error| format!("receiving outcomes: {error}"))? else { return Ok(()) };
        let records: Vec<Value> =
            serde_json::from_slice(batch.message.content.body()).map_err(|error| error.to_string())?;
        let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let records: Vec<_> =
            records.iter().map(|record| (text(record, "originalMessageId"), text(record, "statusCode"))).collect();
        let done = self.platform().hub.settle_service(self.at(), ServiceQueue::Feedback, batch.token, Settle::Complete);
        let done = done.await;
        if self.outcome("completing outcomes", done, Ok(()))? {
            return self.model.tell(batch.message.sequence_number, &records);
        }
        self.platform().hub.release_service(ServiceQueue::Feedback, batch.token);
        Ok(())
    }

    /// Brings everything to its end: what waits is delivered, told and read.
    pub(super) async fn finish(&mut self) -> Result<(), String> {
        self.set_full(false).await?;
        for device in 0..self.options.devices {
            self.locks.remove(&device);
            if let Some(connection) = self.connections.remove(&device) {
                self.platform().hub.disconnect(self.at(), connection.mailbox);
            }
        }
        // Locks of requests end, and every outcome has its age.
        self.now = self.history.latest + 120_000;
        self.history.latest = self.now;
        self.happen(&Step::Tend).await?;
        for device in 0..self.options.devices {
            if !self.model.devices.contains_key(&device) {
                continue;
            }
            loop {
                self.receive(device, true, false).await?;
                if self.locks.get(&device).is_none_or(Vec::is_empty) {
                    break;
                }
                self.settle(device, Settle::Complete).await?;
            }
        }
        self.now += 60_000;
        self.happen(&Step::Tend).await?;
        loop {
            let told = self.model.done.len();
            self.feedback().await?;
            if self.model.done.len() == told {
                break;
            }
        }
        if let Some((id, outcome)) = self.model.outcomes.iter().find(|(id, _)| !self.model.told.contains_key(*id)) {
            return Err(format!("nobody was told that {id} ended with {outcome}"));
        }
        if let Some((device, left)) = self.model.devices.iter().find(|(_, device)| !device.queue.is_empty()) {
            return Err(format!("d{device} still has {:?}", left.queue));
        }
        let relayed = self.platform().database.relay(&self.platform().events).await;
        relayed.map_err(|error| format!("relaying reports: {error}"))?;
        self.check().await?;
        if self.history.deletions() != &self.model.deleted {
            return Err(format!("deletions in the log: {:?}, not {:?}", self.history.deletions(), self.model.deleted));
        }
        self.step(&Step::Restart).await?;
        self.check().await
    }
}
