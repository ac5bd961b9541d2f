//! Who is connected, and the mailbox through which a connection gets what is for its device.
//!
//! A mailbox is owned by whoever holds the connection; a newer connection takes it over and
//! the older one is told to close. The hub does not know which protocol is at the other end.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::mpsc;
use gantry_identity::{Identity, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

use crate::connections::streams::StreamOffer;
use crate::ports::Observer;

/// Deliveries waiting for one connection. A connection that falls this far behind is closed:
/// it reads its twin again when it returns, and nothing durable is lost.
pub const MAILBOX_LEN_MAX: usize = 64;

/// Direct methods in flight for one device (error 403800 of the reference).
pub const METHODS_IN_FLIGHT_MAX: usize = 32;

/// What a connection wants to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Subscriptions(pub u8);

impl Subscriptions {
    /// Cloud-to-device messages.
    pub const C2D: Self = Self(1);
    /// Direct methods.
    pub const METHODS: Self = Self(2);
    /// Answers to twin requests.
    pub const TWIN_RESPONSES: Self = Self(4);
    /// Changes of desired properties.
    pub const DESIRED: Self = Self(8);
    /// Inputs of a module.
    pub const INPUTS: Self = Self(16);
    /// Offers of device streams.
    pub const STREAMS: Self = Self(32);

    /// Whether all of `other` is wanted.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With `other` too.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Why the hub ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// A newer connection of the same identity (400027).
    TakenOver,
    /// The identity was disabled, deleted, or got other credentials.
    CredentialsChanged,
    /// The connection does not read what is for it.
    MailboxFull,
    /// The server stops.
    ShuttingDown,
}

/// Something for the device.
#[derive(Debug)]
pub enum Delivery {
    /// Run a method and answer with [`Mailbox::answer`].
    Method {
        /// Names the call.
        request_id: u64,
        /// Method name.
        name: String,
        /// JSON text.
        payload: Bytes,
    },
    /// A service offers a stream: take or refuse it with [`Mailbox::answer`], status 200 or another.
    Stream {
        /// Names the offer.
        request_id: u64,
        /// The offer.
        offer: StreamOffer,
    },
    /// Desired properties changed.
    Desired {
        /// New version of the section.
        version: u64,
        /// The patch, with `$version`.
        patch: Value,
    },
    /// The queue has a message; fetch it.
    C2dAvailable,
    /// Close now.
    Close(CloseReason),
}

/// A device's answer to a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodResponse {
    /// The device's own status.
    pub status: i32,
    /// JSON text, possibly empty; but a device may answer anything.
    pub payload: Bytes,
}

impl MethodResponse {
    /// What was answered. What is not JSON is a text, and nothing is `null`.
    pub fn value(&self) -> Value {
        match self.payload.trim_ascii() {
            b"" => Value::Null,
            json => serde_json::from_slice(json).unwrap_or_else(|_| String::from_utf8_lossy(&self.payload).into()),
        }
    }

    /// The answer as a part of a document.
    pub fn document(&self) -> Value {
        json!({ "status": self.status, "payload": self.value() })
    }
}

/// What becomes of a request to a device: its answer, or that a newer connection took over before it came. The sender
/// is dropped when the connection just ends.
pub(crate) type Answer = Result<MethodResponse, TakenOver>;

/// A newer connection of the identity took the mailbox over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakenOver;

#[derive(Debug)]
struct Entry {
    number: u64,
    // Boxed: a channel sets aside room for one, and most connections wait for years.
    sender: mpsc::Sender<Box<Delivery>>,
    subscriptions: Arc<AtomicU8>,
    last_activity_ms: i64,
    methods: HashMap<u64, oneshot::Sender<Answer>>,
}

/// A mailbox. It is `futures`' channel because that owns a quarter of a kilobyte while it is empty, tokio's nearly one.
fn channel() -> (mpsc::Sender<Box<Delivery>>, mpsc::Receiver<Box<Delivery>>) {
    // Its sender has a place of its own.
    mpsc::channel(MAILBOX_LEN_MAX - 1)
}

/// All connections of a hub. The observer is called under the lock, so that it hears of them in order.
pub(crate) struct Connections {
    entries: Mutex<HashMap<Identity, Entry>>,
    next: AtomicU64,
    changed: Notify,
    observer: Arc<dyn Observer>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// Why something could not be handed to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undelivered {
    Offline,
    TooManyInFlight,
}

impl Connections {
    /// Who hears of them.
    pub(crate) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { entries: Mutex::default(), next: AtomicU64::default(), changed: Notify::new(), observer }
    }

    pub(crate) fn open(self: &Arc<Self>, now: Timestamp, identity: Identity, subscriptions: Subscriptions) -> Mailbox {
        let (sender, receiver) = channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let subscriptions = Arc::new(AtomicU8::new(subscriptions.0));
        let entry = Entry {
            number,
            sender,
            subscriptions: Arc::clone(&subscriptions),
            last_activity_ms: now.as_millis(),
            methods: HashMap::new(),
        };
        let mut entries = self.entries.lock();
        match entries.insert(identity.clone(), entry) {
            // The receiver ends when its sender is dropped, so a full mailbox does not matter.
            Some(mut older) => {
                let _ = older.sender.try_send(Box::new(Delivery::Close(CloseReason::TakenOver)));
                for waiting in older.methods.into_values() {
                    let _ = waiting.send(Err(TakenOver));
                }
            }
            None => self.observer.connection(&identity, true),
        }
        drop(entries);
        self.changed.notify_waiters();
        let (holder, deliveries) = (Holder { identity, number }, Some(Deliveries(receiver)));
        Mailbox { connections: Arc::clone(self), holder, deliveries, subscriptions }
    }

    pub(crate) fn is_connected(&self, identity: &Identity) -> bool {
        self.entries.lock().contains_key(identity)
    }

    /// Notes that a connected identity was heard.
    pub(crate) fn touch(&self, now: Timestamp, identity: &Identity) {
        if let Some(entry) = self.entries.lock().get_mut(identity) {
            entry.last_activity_ms = now.as_millis();
        }
    }

    /// When a connected identity was last heard.
    pub(crate) fn last_activity(&self, identity: &Identity) -> Option<Timestamp> {
        self.entries.lock().get(identity).map(|entry| Timestamp::from_millis(entry.last_activity_ms))
    }

    /// The first connected identities after one, in order of id.
    pub(crate) fn next(&self, modules: bool, after: Option<&Identity>, limit: usize) -> Vec<Identity> {
        let entries = self.entries.lock();
        let follows = |id: &&Identity| id.module.is_some() == modules && after.is_none_or(|after| *id > after);
        // The greatest of those kept is dropped when a smaller one comes.
        let mut kept = std::collections::BinaryHeap::new();
        for identity in entries.keys().filter(follows) {
            if kept.len() < limit {
                kept.push(identity);
            } else if let Some(mut greatest) = kept.peek_mut()
                && identity < *greatest
            {
                *greatest = identity;
            }
        }
        kept.into_sorted_vec().into_iter().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.entries.lock().len()
    }

    /// Hands something over if the identity is connected and wants it.
    pub(crate) fn deliver(&self, identity: &Identity, wanted: Subscriptions, delivery: Delivery) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(identity) else { return false };
        if !Subscriptions(entry.subscriptions.load(Ordering::Relaxed)).contains(wanted) {
            return false;
        }
        let sent = entry.sender.try_send(Box::new(delivery));
        if sent.as_ref().is_err_and(mpsc::TrySendError::is_full) {
            // The connection reads what it was sent, hears that there is no more and says that it went.
            entry.sender.close_channel();
        }
        sent.is_ok()
    }

    /// Ends a connection; says whether there was one.
    pub(crate) fn close(&self, identity: &Identity, reason: CloseReason) -> bool {
        let mut entries = self.entries.lock();
        let Some(mut entry) = entries.remove(identity) else { return false };
        self.observer.connection(identity, false);
        let _ = entry.sender.try_send(Box::new(Delivery::Close(reason)));
        true
    }

    pub(crate) fn close_all(&self, reason: CloseReason) {
        for (_, mut entry) in self.entries.lock().drain() {
            let _ = entry.sender.try_send(Box::new(Delivery::Close(reason)));
        }
    }

    pub(crate) fn method(
        &self,
        identity: &Identity,
        name: &str,
        payload: &Bytes,
    ) -> Result<oneshot::Receiver<Answer>, Undelivered> {
        let delivery = |request_id| Delivery::Method { request_id, name: name.to_owned(), payload: payload.clone() };
        self.request(identity, Subscriptions::METHODS, delivery)
    }

    /// Hands over something that wants an answer, if the identity listens for such things.
    pub(crate) fn request(
        &self,
        identity: &Identity,
        wanted: Subscriptions,
        delivery: impl FnOnce(u64) -> Delivery,
    ) -> Result<oneshot::Receiver<Answer>, Undelivered> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(identity).ok_or(Undelivered::Offline)?;
        if !Subscriptions(entry.subscriptions.load(Ordering::Relaxed)).contains(wanted) {
            return Err(Undelivered::Offline);
        }
        entry.methods.retain(|_, waiting| !waiting.is_closed());
        if entry.methods.len() >= METHODS_IN_FLIGHT_MAX {
            return Err(Undelivered::TooManyInFlight);
        }
        let request_id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let delivery = delivery(request_id);
        entry.sender.try_send(Box::new(delivery)).map_err(|error| match error.is_full() {
            true => Undelivered::TooManyInFlight,
            false => Undelivered::Offline,
        })?;
        entry.methods.insert(request_id, sender);
        Ok(receiver)
    }

    /// Whether an identity is connected and hears `wanted`.
    pub(crate) fn listens(&self, identity: &Identity, wanted: Subscriptions) -> bool {
        let entries = self.entries.lock();
        entries.get(identity).is_some_and(|e| Subscriptions(e.subscriptions.load(Ordering::Relaxed)).contains(wanted))
    }

    /// Resolves at the next connect or subscription, of anybody.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

/// What is for one device, read by the connection that owns it. Dropping it is disconnecting.
#[derive(Debug)]
pub struct Mailbox {
    connections: Arc<Connections>,
    holder: Holder,
    /// Absent when somebody else reads.
    deliveries: Option<Deliveries>,
    subscriptions: Arc<AtomicU8>,
}

/// Names one connection of an identity, as long as the hub lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    pub(crate) identity: Identity,
    pub(crate) number: u64,
}

impl Holder {
    /// Whose connection it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// The reading end of a mailbox.
#[derive(Debug)]
pub struct Deliveries(mpsc::Receiver<Box<Delivery>>);

impl Deliveries {
    /// The next delivery. Once closed, always [`Delivery::Close`].
    pub async fn next(&mut self) -> Delivery {
        self.0.next().await.map_or(Delivery::Close(CloseReason::MailboxFull), |delivery| *delivery)
    }
}

impl Mailbox {
    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.holder.identity
    }

    /// Names this connection.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The next delivery. Once closed, always [`Delivery::Close`].
    pub async fn next(&mut self) -> Delivery {
        match &mut self.deliveries {
            Some(deliveries) => deliveries.next().await,
            None => std::future::pending().await,
        }
    }

    /// Takes the reading end away, for an owner of many mailboxes. [`next`](Self::next) gives nothing afterwards.
    pub fn take_deliveries(&mut self) -> Option<Deliveries> {
        self.deliveries.take()
    }

    /// What the connection wants to hear.
    pub fn subscriptions(&self) -> Subscriptions {
        Subscriptions(self.subscriptions.load(Ordering::Relaxed))
    }

    /// Sets what the connection wants to hear.
    pub fn subscribe(&self, subscriptions: Subscriptions) {
        self.subscriptions.store(subscriptions.0, Ordering::Relaxed);
        self.connections.changed.notify_waiters();
    }

    /// Answers a method; a late answer is dropped.
    pub fn answer(&self, request_id: u64, response: MethodResponse) {
        let waiting =
            self.connections.entries.lock().get_mut(self.identity()).and_then(|e| e.methods.remove(&request_id));
        if let Some(waiting) = waiting {
            let _ = waiting.send(Ok(response));
        }
    }

    /// Gives a method back unanswered: for its caller the device is not online.
    pub fn decline(&self, request_id: u64) {
        if let Some(entry) = self.connections.entries.lock().get_mut(self.identity()) {
            entry.methods.remove(&request_id);
        }
    }

    /// Whether this connection still owns the identity.
    pub fn is_current(&self) -> bool {
        self.connections.entries.lock().get(self.identity()).is_some_and(|e| e.number == self.holder.number)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut entries = self.connections.entries.lock();
        if entries.get(&self.holder.identity).is_some_and(|e| e.number == self.holder.number) {
            entries.remove(&self.holder.identity);
            self.connections.observer.connection(&self.holder.identity, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_identity::DeviceId;

    const NOW: Timestamp = Timestamp::NEVER;

    fn id() -> Identity {
        Identity::device(DeviceId::parse("d").unwrap())
    }

    #[tokio::test]
    async fn a_newer_connection_takes_over() {
        let all = Arc::new(Connections::new(Arc::new(())));
        let mut older = all.open(NOW, id(), Subscriptions::default());
        let newer = all.open(NOW, id(), Subscriptions::METHODS);
        assert!(matches!(older.next().await, Delivery::Close(CloseReason::TakenOver)));
        drop(older);
        assert!(newer.is_current() && all.is_connected(&id()));
        drop(newer);
        assert!(!all.is_connected(&id()));
    }

    #[tokio::test]
    async fn a_method_needs_a_subscription_and_gets_its_own_answer() {
        let all = Arc::new(Connections::new(Arc::new(())));
        let mut mailbox = all.open(NOW, id(), Subscriptions::default());
        let payload = Bytes::from_static(b"null");
        assert_eq!(all.method(&id(), "stop", &payload).unwrap_err(), Undelivered::Offline);
        mailbox.subscribe(Subscriptions::METHODS);
        let waiting = all.method(&id(), "stop", &payload).unwrap();
        let Delivery::Method { request_id, name, .. } = mailbox.next().await else { panic!() };
        assert_eq!(name, "stop");
        mailbox.answer(request_id + 1, MethodResponse { status: 1, payload: Bytes::new() });
        mailbox.answer(request_id, MethodResponse { status: 200, payload: Bytes::new() });
        assert_eq!(waiting.await.unwrap().unwrap().status, 200);
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_hears_why_none_comes() {
        let all = Arc::new(Connections::new(Arc::new(())));
        let open = || all.open(NOW, id(), Subscriptions::METHODS);
        let payload = Bytes::from_static(b"null");
        let older = open();
        let waiting = all.method(&id(), "stop", &payload).unwrap();
        let newer = open();
        assert_eq!(waiting.await.unwrap().unwrap_err(), TakenOver);
        drop(older);
        let waiting = all.method(&id(), "stop", &payload).unwrap();
        drop(newer);
        assert!(waiting.await.is_err(), "it just went");
    }

    #[tokio::test]
    async fn a_connection_that_does_not_read_is_closed() {
        let all = Arc::new(Connections::new(Arc::new(())));
        let mut mailbox = all.open(NOW, id(), Subscriptions::C2D);
        for _ in 0..MAILBOX_LEN_MAX {
            assert!(all.deliver(&id(), Subscriptions::C2D, Delivery::C2dAvailable));
        }
        assert!(!all.deliver(&id(), Subscriptions::C2D, Delivery::C2dAvailable));
        for _ in 0..MAILBOX_LEN_MAX {
            assert!(matches!(mailbox.next().await, Delivery::C2dAvailable));
        }
        assert!(matches!(mailbox.next().await, Delivery::Close(CloseReason::MailboxFull)));
    }

    /// Notes what it hears.
    #[derive(Default)]
    struct Heard(Mutex<Vec<bool>>);

    impl Observer for Heard {
        fn connection(&self, _: &Identity, is_connected: bool) {
            self.0.lock().push(is_connected);
        }
    }

    #[test]
    fn an_observer_hears_of_each_coming_and_going_once() {
        let heard = Arc::new(Heard::default());
        let all = Arc::new(Connections::new(Arc::<Heard>::clone(&heard)));
        let open = || all.open(NOW, id(), Subscriptions::C2D);
        let (older, newer) = (open(), open());
        drop(older);
        assert_eq!(heard.0.lock().split_off(0), [true], "a connection that takes over is no coming");
        drop(newer);
        let cut = open();
        assert!(all.close(&id(), CloseReason::CredentialsChanged));
        drop(cut);
        assert_eq!(heard.0.lock().split_off(0), [false, true, false]);
        let full = open();
        for _ in 0..=MAILBOX_LEN_MAX {
            all.deliver(&id(), Subscriptions::C2D, Delivery::C2dAvailable);
        }
        assert!(full.is_current(), "it is connected until it has noticed");
        drop(full);
        assert_eq!(heard.0.lock().split_off(0), [true, false]);
    }
}
