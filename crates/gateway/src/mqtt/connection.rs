//! One client's connection to the hub, whichever version it speaks.
//!
//! One task serves one connection. Publishes that arrive together go into the log together and are answered together
//! once durable, in the order they came. Reading stops while too many are in flight or the log has no room: the
//! client feels back-pressure, nothing is dropped.
//!
//! What a [`Version`] knows: its packets, topics and properties, what it refuses and how it says so. It is a
//! parameter, so that nothing is looked up for a message. Futures of passing phases are boxed, so that an idle
//! connection does not keep room for the largest of them.

use std::collections::VecDeque;
use std::time::Duration;

use gantry_hub::c2d::Settle;
use gantry_hub::connection::{CloseReason, Delivery, Mailbox, Subscriptions};
use gantry_hub::event::Telemetry;
use gantry_hub::faults::{Fault, FaultKind};
use gantry_hub::ports::{Append, Enqueued};
use gantry_hub::service_queue::Locked;
use gantry_hub::throttle::Operation;
use gantry_hub::{Hub, HubError, LockToken, Session};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::inbox::Inbox;
use super::wire::{End, Wire};
use crate::twin::reported_patch;
use crate::{acknowledged, now, take_turn};

/// Batches of publishes waiting for the log; Java keeps up to 65,000 messages in flight.
const BATCHES_IN_FLIGHT_MAX: usize = 64;

/// What a version of MQTT knows that the other does not.
pub(super) trait Version: Sized + Send {
    /// Why serving stops.
    type Stop: From<End> + Send;
    /// Why one publish is refused while the connection goes on.
    type Refusal: Send;

    /// Whether a message may ask for a fault.
    const HAS_FAULTS: bool;

    /// What is done once the client was let in.
    fn begin<S: Stream>(_: &mut Connection<'_, S, Self>) -> impl Future<Output = Result<(), Self::Stop>> + Send {
        std::future::ready(Ok(()))
    }

    /// Handles every whole packet of `input`; `at` is how much of it that was. Telemetry gathers in `batch`, which is
    /// [submitted](Connection::submit) before anything else is done.
    fn handle_packets<'p, S: Stream>(
        connection: &mut Connection<'_, S, Self>,
        input: &'p [u8],
        at: &mut usize,
        batch: &mut Batch<'p, Self>,
    ) -> impl Future<Output = Result<(), Self::Stop>> + Send;

    /// The hub took none of the messages of a batch.
    fn not_taken(batch: &mut Batch<'_, Self>, error: &HubError) -> Result<(), Self::Stop>;

    /// Answers publishes, whose messages are stored unless `failed` says why not.
    fn answer<S: Stream>(
        connection: &mut Connection<'_, S, Self>,
        answers: Answers<Self>,
        failed: Option<&HubError>,
    ) -> Result<(), Self::Stop>;

    /// Sends a method, the offer of a stream, or desired properties.
    fn deliver<S: Stream>(connection: &mut Connection<'_, S, Self>, delivery: Delivery);

    /// Cloud-to-device messages the client takes before it acknowledges one.
    fn window(&self) -> usize {
        usize::MAX
    }

    /// Whether the client acknowledges cloud-to-device messages.
    fn acknowledges(&self) -> bool {
        true
    }

    /// Sends a cloud-to-device message; `packet_id` 0 is QoS 0. False when the client cannot take it.
    fn send_message<S: Stream>(connection: &mut Connection<'_, S, Self>, packet_id: u16, message: &Enqueued) -> bool;

    /// The message the client left for the case that it goes without a word.
    fn will(&self) -> Option<Telemetry<'_>>;

    /// Serving stops because of the hub; `what` was not done.
    fn failed(what: &'static str, error: &HubError) -> Self::Stop;

    /// The hub ends the connection.
    fn closed(reason: CloseReason) -> Self::Stop;

    /// The proof of the client expired.
    fn expired() -> Self::Stop;

    /// The client sent nothing for too long.
    fn silent() -> Self::Stop;

    /// Tells the client why its connection ends, if there is a way to.
    fn end<S: Stream>(connection: &mut Connection<'_, S, Self>, stop: Self::Stop) -> impl Future<Output = End> + Send;
}

/// What packets come over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Packet ids of publishes that are answered together, each with why it is refused, if it is.
pub(super) struct Answers<V: Version> {
    pub(super) publishes: Vec<(u16, Option<V::Refusal>)>,
    /// Whether publishes are among them that nobody will answer.
    pub(super) has_unacknowledged: bool,
}

impl<V: Version> Default for Answers<V> {
    fn default() -> Self {
        Self { publishes: vec![], has_unacknowledged: false }
    }
}

/// Telemetry that arrived together, and the answers to it.
pub(super) struct Batch<'p, V: Version> {
    pub(super) messages: Vec<Telemetry<'p>>,
    pub(super) answers: Answers<V>,
}

impl<V: Version> Default for Batch<'_, V> {
    fn default() -> Self {
        Self { messages: vec![], answers: Answers::default() }
    }
}

struct Pending<V: Version> {
    append: Append,
    answers: Answers<V>,
    /// What a message of it asks to break.
    fault: Option<Fault>,
}

pub(super) struct Connection<'a, S, V: Version> {
    pub(super) version: V,
    pub(super) wire: &'a mut Wire<S>,
    pub(super) hub: &'a Hub,
    pub(super) session: Box<Session>,
    pub(super) mailbox: Mailbox,
    /// Whether the client said that it leaves, so that its will is void.
    pub(super) in_order: bool,
    pending: VecDeque<Pending<V>>,
    inbox: Inbox,
    heard_at: Instant,
    expires_at: Option<Instant>,
    /// A fault the client asked for, and when it happens.
    fault: Option<(Fault, Instant)>,
}

impl<'a, S: Stream, V: Version> Connection<'a, S, V> {
    pub(super) fn new(
        version: V,
        wire: &'a mut Wire<S>,
        hub: &'a Hub,
        session: Box<Session>,
        mailbox: Mailbox,
    ) -> Self {
        let mut connection = Self {
            version,
            wire,
            hub,
            session,
            mailbox,
            in_order: false,
            pending: VecDeque::new(),
            inbox: Inbox::default(),
            heard_at: Instant::now(),
            expires_at: None,
            fault: None,
        };
        connection.note_expiry();
        connection
    }

    /// Serves the client until its connection ends. It may be silent for `silence_max`.
    pub(super) async fn run(mut self, silence_max: Duration) -> Result<(), End> {
        let end = match self.serve(silence_max).await {
            Ok(()) => Ok(()),
            Err(stop) => Err(V::end(&mut self, stop).await),
        };
        if !self.in_order {
            Box::pin(self.publish_will()).await;
        }
        self.hub.disconnect(now(), self.mailbox);
        end
    }

    async fn serve(&mut self, silence_max: Duration) -> Result<(), V::Stop> {
        V::begin(self).await?;
        Box::pin(self.deliver_messages()).await?;
        let timer = tokio::time::sleep_until(self.deadline(silence_max));
        tokio::pin!(timer);
        loop {
            self.wire.flush().await?;
            let may_read = self.pending.len() < BATCHES_IN_FLIGHT_MAX;
            tokio::select! {
                filled = read(self.wire, self.hub), if may_read => {
                    filled?;
                    self.heard_at = Instant::now();
                    Box::pin(self.handle_input()).await?;
                }
                result = committed(&mut self.pending), if !self.pending.is_empty() => self.answer(result)?,
                delivery = self.mailbox.next() => Box::pin(self.deliver(delivery)).await?,
                () = &mut timer => {
                    self.look_at_clock(silence_max)?;
                    let next = self.deadline(silence_max);
                    timer.as_mut().reset(next);
                }
            }
            // A fault was asked for, or a new proof ends earlier than the old one.
            let next = self.deadline(silence_max);
            if next < timer.deadline() {
                timer.as_mut().reset(next);
            }
        }
    }

    /// When to look at the clock.
    fn deadline(&self, silence_max: Duration) -> Instant {
        let silent = self.heard_at + silence_max;
        let ending = self.expires_at.map_or(silent, |expiry| expiry.min(silent));
        self.fault.map_or(ending, |(_, due)| due.min(ending))
    }

    fn look_at_clock(&mut self, silence_max: Duration) -> Result<(), V::Stop> {
        let at = Instant::now();
        if let Some((fault, _)) = self.fault.take_if(|(_, due)| *due <= at) {
            self.break_something(fault)?;
        }
        if self.expires_at.is_some_and(|expiry| expiry <= at) {
            return Err(V::expired());
        }
        if self.heard_at + silence_max <= at {
            return Err(V::silent());
        }
        Ok(())
    }

    /// Notes when the proof of the session ends.
    pub(super) fn note_expiry(&mut self) {
        let expires_in = self.session.expires_at.map(|at| at.since(now()));
        self.expires_at = expires_in.and_then(|wait| Instant::now().checked_add(wait));
    }

    /// Carries out the fault the client asked for.
    fn break_something(&mut self, fault: Fault) -> Result<(), V::Stop> {
        debug!(device = %self.session.identity, ?fault, "fault asked for");
        if fault.kind.refuses_sending() {
            self.hub.refuse_sending(now(), &self.session.identity, fault);
        }
        match fault.kind {
            // MQTT has no word for any of them but the end of the connection.
            FaultKind::KillTcp | FaultKind::ShutDownMqtt => Err(End::Protocol("fault asked for".into()).into()),
            kind if kind.refuses_sending() => Err(End::Protocol("fault asked for".into()).into()),
            _ => Ok(()),
        }
    }

    /// Handles every whole packet that has arrived.
    async fn handle_input(&mut self) -> Result<(), V::Stop> {
        let input = self.wire.take_input();
        let (mut at, mut batch) = (0, Batch::default());
        let handled = V::handle_packets(self, &input, &mut at, &mut batch).await;
        // What came before a packet that ends the connection still counts.
        let submitted = self.submit(batch);
        self.wire.put_back(input, at);
        handled.and(submitted)
    }

    /// Hands gathered telemetry to the log, and queues the answers behind it.
    pub(super) fn submit(&mut self, mut batch: Batch<'_, V>) -> Result<(), V::Stop> {
        if batch.messages.is_empty() && batch.answers.publishes.is_empty() {
            return Ok(());
        }
        let (mut append, mut fault): (Append, _) = (Box::pin(std::future::ready(Ok(()))), None);
        if !batch.messages.is_empty() {
            metrics::counter!("gantry_telemetry_messages_total").increment(batch.messages.len() as u64);
            match self.hub.telemetry(now(), &self.session, &batch.messages) {
                Ok(taken) => {
                    fault = V::HAS_FAULTS.then(|| self.hub.fault_in(&batch.messages)).flatten();
                    append = acknowledged(taken);
                }
                Err(error) => V::not_taken(&mut batch, &error)?,
            }
        }
        self.pending.push_back(Pending { append, answers: batch.answers, fault });
        Ok(())
    }

    fn answer(&mut self, (pending, result): Committed<V>) -> Result<(), V::Stop> {
        V::answer(self, pending.answers, result.as_ref().err())?;
        // Not before: a device that never heard of the message would send it, and with it the fault, for ever.
        if let Some(fault) = pending.fault {
            self.fault = Some((fault, Instant::now() + fault.delay));
        }
        Ok(())
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<(), V::Stop> {
        match delivery {
            Delivery::C2dAvailable => self.deliver_messages().await?,
            Delivery::Close(reason) => return Err(V::closed(reason)),
            delivery => V::deliver(self, delivery),
        }
        Ok(())
    }

    /// Sends cloud-to-device messages while the client wants and takes them.
    pub(super) async fn deliver_messages(&mut self) -> Result<(), V::Stop> {
        while self.inbox.has_room(self.version.window()) && self.mailbox.subscriptions().contains(Subscriptions::C2D) {
            // MQTT has no word for giving a message back: it is held until PUBACK or the end of the connection.
            let next = self.hub.next_c2d(now(), self.mailbox.holder(), true).await;
            let Some(locked) = next.map_err(|error| V::failed("queue not readable", &error))? else { break };
            let Locked { token, message, .. } = locked;
            let packet_id = if self.version.acknowledges() { self.inbox.take(token) } else { 0 };
            let is_sent = V::send_message(self, packet_id, &message);
            if is_sent && packet_id != 0 {
                continue;
            }
            // Sent without acknowledgement it is done; what the client cannot take is not sent again.
            self.inbox.complete(packet_id);
            self.wire.flush().await?;
            self.settle(token, if is_sent { Settle::Complete } else { Settle::Reject }).await?;
        }
        Ok(())
    }

    /// The client acknowledged a message, and says what becomes of it.
    pub(super) async fn settled(&mut self, packet_id: u16, settle: Settle) -> Result<(), V::Stop> {
        let Some(token) = self.inbox.complete(packet_id) else { return Ok(()) };
        self.settle(token, settle).await?;
        self.deliver_messages().await
    }

    async fn settle(&mut self, token: LockToken, settle: Settle) -> Result<(), V::Stop> {
        match self.hub.settle_c2d(now(), &self.session.identity, token, settle).await {
            // Purged meanwhile.
            Ok(()) | Err(HubError::LockLost) => Ok(()),
            Err(error) => Err(V::failed("message not settled", &error)),
        }
    }

    /// Sets what the client hears; with `keeps`, over its next connections too.
    pub(super) async fn subscribe(&mut self, wanted: Subscriptions, keeps: bool) -> Result<(), V::Stop> {
        let subscribed = self.hub.subscribe(&self.mailbox, wanted, keeps).await;
        subscribed.map_err(|error| V::failed("subscription not kept", &error))
    }

    pub(super) async fn read_twin(&mut self) -> Result<Value, HubError> {
        take_turn(self.hub, Operation::TwinRead).await?;
        self.hub.device_twin(&self.session.identity).await
    }

    /// Reports properties, if the section has the version the client knows; says the new one.
    pub(super) async fn report(&mut self, payload: &[u8], version: Option<u64>) -> Result<u64, HubError> {
        let patch = reported_patch(payload)?;
        take_turn(self.hub, Operation::TwinWrite).await?;
        self.hub.report_if(now(), &self.session.identity, &patch, version).await
    }

    /// The will becomes an ordinary message when the connection ends without DISCONNECT.
    async fn publish_will(&mut self) {
        let Some(will) = self.version.will() else { return };
        let stored = match self.hub.telemetry(now(), &self.session, &[will]) {
            Ok(taken) => taken.append.await.map_err(HubError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            warn!(device = %self.session.identity, %error, "will not stored");
        }
    }
}

async fn read<S: Stream>(wire: &mut Wire<S>, hub: &Hub) -> Result<(), End> {
    hub.ready().await;
    wire.fill().await
}

/// A batch, and whether it is stored.
type Committed<V> = (Pending<V>, Result<(), HubError>);

/// The oldest batch, once durable. Cancelling loses nothing.
async fn committed<V: Version>(pending: &mut VecDeque<Pending<V>>) -> Committed<V> {
    let Some(front) = pending.front_mut() else { return std::future::pending().await };
    let result = (&mut front.append).await.map_err(HubError::from);
    match pending.pop_front() {
        Some(batch) => (batch, result),
        None => std::future::pending().await,
    }
}

/// As much of a text as a log or an answer takes.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(128).collect()
}
