//! Device streams: pipes of bytes between a service and a device, through this platform.
//!
//! A service asks for one, the device accepts or refuses the offer, and both then come to the pipe with a token each.
//! A token is good once and for [`HANDSHAKE_MAX`] after the device accepted; tokens are in memory only. What one end
//! sends waits for the other in a channel of [`PIECES_MAX`] pieces: a slow reader holds its writer up. A pipe ends
//! when either end is dropped, when its device is disabled, deleted or gets other keys, and when the hub stops.
//!
//! Source: service API reference, device streams (preview). Nothing here knows a socket: heads move bytes between
//! theirs and an [`End`].

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use gantry_identity::{Identity, Key, Refusal, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::connections::connection::{Delivery, Subscriptions, Undelivered};
use crate::connections::methods::answered;
use crate::error::HubError;
use crate::hub::Hub;

/// Streams of one hub at once. Source: IoT Hub quotas, device streams.
pub const STREAMS_MAX: usize = 50;
/// How long both ends may take to come once the device accepted.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(60);
/// Pieces on their way in one direction.
pub const PIECES_MAX: usize = 8;
/// Length of a piece in bytes.
pub const PIECE_BYTES_MAX: usize = 128 * 1024;
/// Length of a stream's name in characters.
pub const STREAM_NAME_LEN_MAX: usize = 100;

/// What one end sends at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whether it was sent as text.
    pub is_text: bool,
    /// The bytes.
    pub bytes: Bytes,
}

/// One end of a pipe.
#[derive(Debug)]
pub struct End {
    /// To the other end. Waits for room.
    pub sender: mpsc::Sender<Piece>,
    /// From the other end; nothing more once that is gone.
    pub receiver: mpsc::Receiver<Piece>,
    /// Changes when the hub ends the pipe.
    pub stopped: watch::Receiver<()>,
}

/// A pipe to which both parties are invited. The tokens are secrets, so this is never printed.
pub struct Invitation {
    /// Names the pipe.
    pub id: u64,
    /// With which the service comes: 64 hex digits.
    pub service_token: String,
    /// With which the device comes.
    pub device_token: String,
}

/// An offer on its way to a device.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamOffer {
    /// Name the service gave it.
    pub name: String,
    /// Where the device comes to.
    pub url: String,
    /// With which it comes.
    pub token: String,
}

impl std::fmt::Debug for StreamOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamOffer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A pipe, with the ends nobody came for yet and what opens each.
struct Pipe {
    identity: Identity,
    expires_at: Timestamp,
    // A key, because keys compare in constant time and are wiped.
    ends: [Option<(Key, End)>; 2],
    stop: watch::Sender<()>,
}

impl Pipe {
    fn is_over(&self, now: Timestamp) -> bool {
        let is_waiting = self.ends.iter().any(Option::is_some);
        self.stop.is_closed() || (is_waiting && self.expires_at <= now)
    }
}

/// The pipes of a hub.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<u64, Pipe>>);

impl Streams {
    /// Makes a pipe; false when there are too many.
    fn open(&self, now: Timestamp, id: u64, identity: &Identity, expires_at: Timestamp, keys: [Key; 2]) -> bool {
        let mut pipes = self.0.lock();
        pipes.retain(|_, pipe| !pipe.is_over(now));
        if pipes.len() >= STREAMS_MAX {
            return false;
        }
        let (stop, stopped) = watch::channel(());
        let (to_device, from_service) = mpsc::channel(PIECES_MAX);
        let (to_service, from_device) = mpsc::channel(PIECES_MAX);
        let service = End { sender: to_device, receiver: from_device, stopped: stopped.clone() };
        let device = End { sender: to_service, receiver: from_service, stopped };
        let [service_key, device_key] = keys;
        let ends = [Some((service_key, service)), Some((device_key, device))];
        pipes.insert(id, Pipe { identity: identity.clone(), expires_at, ends, stop });
        true
    }

    fn join(&self, now: Timestamp, id: u64, key: &Key) -> Option<End> {
        let mut pipes = self.0.lock();
        let pipe = pipes.get_mut(&id).filter(|pipe| !pipe.is_over(now))?;
        // Both comparisons always run, so time does not tell whose token was nearly right.
        let opens = |end: &Option<(Key, End)>| end.as_ref().is_some_and(|(own, _)| own == key);
        let [service, device] = [opens(&pipe.ends[0]), opens(&pipe.ends[1])];
        let end = if service { &mut pipe.ends[0] } else { &mut pipe.ends[1] };
        if service | device { end.take().map(|(_, end)| end) } else { None }
    }

    /// The device accepted: both ends may come until then.
    fn accept(&self, id: u64, expires_at: Timestamp) {
        if let Some(pipe) = self.0.lock().get_mut(&id) {
            pipe.expires_at = expires_at;
        }
    }

    /// Ends one pipe.
    fn close(&self, id: u64) {
        self.0.lock().remove(&id);
    }

    /// Ends the pipes of an identity.
    pub(crate) fn close_of(&self, identity: &Identity) {
        self.0.lock().retain(|_, pipe| pipe.identity != *identity);
    }

    pub(crate) fn close_all(&self) {
        self.0.lock().clear();
    }

    /// Drops pipes to which somebody did not come in time, and those both left.
    pub(crate) fn expire(&self, now: Timestamp) {
        self.0.lock().retain(|_, pipe| !pipe.is_over(now));
    }
}

impl Hub {
    /// Resolves when the identity is connected and takes offers. Bound it with the connect time-out.
    pub async fn stream_listener(&self, identity: &Identity) {
        self.listener(identity, Subscriptions::STREAMS).await;
    }

    /// Makes a pipe for an identity. It waits for `answer_within` for the device's answer, and [`HANDSHAKE_MAX`] more.
    ///
    /// # Errors
    /// [`HubError::TooManyStreams`].
    pub fn open_stream(
        &self,
        now: Timestamp,
        identity: &Identity,
        answer_within: Duration,
    ) -> Result<Invitation, HubError> {
        let tokens = [self.draw_stream_token(), self.draw_stream_token()];
        let (id, keys) = (self.random_id(), tokens.map(Key::from_bytes));
        let expires_at = now.plus(answer_within).plus(HANDSHAKE_MAX);
        if !self.streams.open(now, id, identity, expires_at, keys) {
            return Err(HubError::TooManyStreams);
        }
        let [service_token, device_token] = tokens.map(|token| hex(&token));
        Ok(Invitation { id, service_token, device_token })
    }

    /// Offers a pipe to a connected device and resolves with whether it accepted. Bound it with the response time-out;
    /// end the pipe with [`close_stream`](Self::close_stream) when it did not.
    ///
    /// # Errors
    /// [`HubError::NotOnline`], [`HubError::TakenOver`] or [`HubError::TooManyMethods`]: offers count among the methods in flight.
    pub async fn offer_stream(&self, identity: &Identity, offer: StreamOffer) -> Result<bool, HubError> {
        let deliver = |request_id| Delivery::Stream { request_id, offer };
        let waiting = self.connections.request(identity, Subscriptions::STREAMS, deliver);
        let waiting = waiting.map_err(|error| match error {
            Undelivered::Offline => HubError::NotOnline(identity.clone()),
            Undelivered::TooManyInFlight => HubError::TooManyMethods(identity.clone()),
        })?;
        let answer = answered(identity, waiting).await?;
        Ok((200..300).contains(&answer.status))
    }

    /// Notes that the device accepted: both parties may come from now on, for [`HANDSHAKE_MAX`].
    pub fn stream_accepted(&self, now: Timestamp, id: u64) {
        self.streams.accept(id, now.plus(HANDSHAKE_MAX));
    }

    /// Takes the end of a pipe that a token opens. It opens it once.
    ///
    /// # Errors
    /// [`Refusal::Signature`], whatever is wrong: the pipe, the token, or the time.
    pub fn join_stream(&self, now: Timestamp, id: u64, token: &str) -> Result<End, Refusal> {
        let key = unhex(token).map(Key::from_bytes).ok_or(Refusal::Signature)?;
        self.streams.join(now, id, &key).ok_or(Refusal::Signature)
    }

    /// Ends a pipe.
    pub fn close_stream(&self, id: u64) {
        self.streams.close(id);
    }

    fn draw_stream_token(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use gantry_identity::DeviceId;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn device(id: &str) -> Identity {
        Identity::device(DeviceId::parse(id).unwrap())
    }

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; 32])
    }

    fn with_one() -> Streams {
        let streams = Streams::default();
        assert!(streams.open(NOW, 1, &device("d"), NOW.plus(HANDSHAKE_MAX), [key(1), key(2)]));
        streams
    }

    fn piece(bytes: &'static [u8]) -> Piece {
        Piece { is_text: false, bytes: Bytes::from_static(bytes) }
    }

    #[tokio::test]
    async fn what_one_end_sends_the_other_gets_even_after_it_left() {
        let streams = with_one();
        let mut service = streams.join(NOW, 1, &key(1)).unwrap();
        service.sender.send(piece(b"to device")).await.unwrap();
        let mut device = streams.join(NOW, 1, &key(2)).unwrap();
        device.sender.send(piece(b"to service")).await.unwrap();
        drop(device.sender);
        assert_eq!(service.receiver.recv().await, Some(piece(b"to service")));
        assert_eq!(service.receiver.recv().await, None);
        assert_eq!(device.receiver.recv().await, Some(piece(b"to device")));
    }

    #[test]
    fn a_token_opens_its_end_once_and_no_other() {
        let streams = with_one();
        assert!(streams.join(NOW, 1, &key(3)).is_none());
        assert!(streams.join(NOW, 2, &key(1)).is_none());
        let _service = streams.join(NOW, 1, &key(1)).unwrap();
        assert!(streams.join(NOW, 1, &key(1)).is_none());
        assert!(streams.join(NOW, 1, &key(2)).is_some());
    }

    #[test]
    fn who_does_not_come_in_time_ends_the_pipe_for_both() {
        let streams = with_one();
        let mut service = streams.join(NOW, 1, &key(1)).unwrap();
        streams.expire(NOW);
        assert!(service.stopped.has_changed().is_ok());
        let late = NOW.plus(HANDSHAKE_MAX);
        assert!(streams.join(late, 1, &key(2)).is_none());
        streams.expire(late);
        assert!(service.stopped.has_changed().is_err() && service.receiver.try_recv().is_err());
    }

    #[test]
    fn there_are_so_many_and_places_become_free() {
        let streams = Streams::default();
        let open =
            |id: u64, at: Timestamp| streams.open(at, id, &device("d"), at.plus(HANDSHAKE_MAX), [key(1), key(2)]);
        let max = u64::try_from(STREAMS_MAX).unwrap();
        assert!((0..max).all(|id| open(id, NOW)));
        assert!(!open(max, NOW));
        // Both left.
        drop((streams.join(NOW, 0, &key(1)), streams.join(NOW, 0, &key(2))));
        assert!(open(max, NOW) && !open(max + 1, NOW));
        assert!(open(max + 1, NOW.plus(HANDSHAKE_MAX)));
        streams.close_of(&device("other"));
        assert_eq!(streams.0.lock().len(), 1);
        streams.close_of(&device("d"));
        assert_eq!(streams.0.lock().len(), 0);
    }

    #[test]
    fn tokens_are_hex_of_their_length() {
        assert_eq!(unhex(&hex(&[0xa5; 32])), Some([0xa5; 32]));
        for text in ["", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32), &"+1".repeat(32)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
