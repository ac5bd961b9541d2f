//! Peers that have not said yet who they are: bounded in all and by address, the silent ones shown out first.
//!
//! A connection is a newcomer from its first byte until its device or service is known. While it is its own turn to say
//! something (a handshake, CONNECT, SASL, the head of a request, reading an answer) it has a little patience; after that
//! it may stay, until others need its place. While it is our turn it is never shown out, so work that was begun is
//! finished: when all places are taken by peers that wait for us, no more are let in for the moment and the system's own
//! queue holds them.
//!
//! [`Watched`] puts an end to the stream of a peer that is shown out, whatever protocol is spoken over it, and to that of
//! any peer that does not read what it is sent.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// How long a peer may leave unread what it is sent.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a newcomer keeps its place for sure while it does not read.
const STALL_PATIENCE: Duration = Duration::from_secs(3);

/// How many newcomers there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// In all.
    pub total: usize,
    /// From one address, or one /64 network of IPv6.
    pub per_address: usize,
}

/// All newcomers of a process.
#[derive(Debug)]
pub struct Newcomers {
    places: Places,
    room: Mutex<Room>,
    left: Notify,
}

type Turn = (Instant, u64);

#[derive(Debug, Default)]
struct Room {
    next: u64,
    all: HashMap<u64, Arc<Seat>>,
    /// Who may be shown out when, the first first.
    waiting: BTreeSet<Turn>,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Debug, Default)]
struct Address {
    count: usize,
    waiting: BTreeSet<Turn>,
}

#[derive(Debug)]
struct Seat {
    address: IpAddr,
    /// Until when it has its place for sure; none while it is our turn.
    patience: Mutex<Option<Instant>>,
    state: AtomicU8,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

const NEWCOMER: u8 = 0;
const KNOWN: u8 = 1;
const SHOWN_OUT: u8 = 2;

/// The place of one connection. It is given up when the last copy is dropped, or the peer is known.
#[derive(Clone, Debug)]
pub struct Newcomer(Arc<Place>);

#[derive(Debug)]
struct Place {
    id: u64,
    seat: Arc<Seat>,
    newcomers: Arc<Newcomers>,
}

impl Newcomers {
    /// Nobody yet.
    pub fn new(places: Places) -> Arc<Self> {
        Arc::new(Self { places, room: Mutex::default(), left: Notify::new() })
    }

    /// Takes a connection in, which is to say something within `patience`; waits while every place is taken by somebody
    /// who may not be shown out.
    pub async fn enter(self: &Arc<Self>, address: IpAddr, patience: Duration) -> Newcomer {
        let address = network(address);
        loop {
            let left = self.left.notified();
            let next = {
                let (mut room, now) = (self.room.lock(), Instant::now());
                if room.addresses.get(&address).is_some_and(|one| one.count >= self.places.per_address) {
                    let first = room.addresses.get(&address).and_then(|one| one.waiting.first().copied());
                    room.show_out(first.filter(|(until, _)| *until <= now));
                }
                let first = room.waiting.first().copied();
                if room.all.len() < self.places.total || room.show_out(first.filter(|(until, _)| *until <= now)) {
                    return self.seat(&mut room, address, now + patience);
                }
                first.map(|(until, _)| until)
            };
            match next {
                Some(until) => drop(tokio::time::timeout_at(until, left).await),
                None => left.await,
            }
        }
    }

    fn seat(self: &Arc<Self>, room: &mut Room, address: IpAddr, until: Instant) -> Newcomer {
        let id = room.next;
        room.next += 1;
        let seat = Arc::new(Seat {
            address,
            patience: Mutex::new(Some(until)),
            state: AtomicU8::new(NEWCOMER),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        });
        room.all.insert(id, Arc::clone(&seat));
        room.waiting.insert((until, id));
        let own = room.addresses.entry(address).or_default();
        own.count += 1;
        own.waiting.insert((until, id));
        Newcomer(Arc::new(Place { id, seat, newcomers: Arc::clone(self) }))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.room.lock().all.len()
    }
}

impl Room {
    /// Ends the stream of a newcomer; says whether there was one.
    fn show_out(&mut self, whom: Option<Turn>) -> bool {
        let Some(seat) = whom.and_then(|(_, id)| self.remove(id)) else { return false };
        seat.state.store(SHOWN_OUT, Ordering::Release);
        seat.reader.wake();
        seat.writer.wake();
        metrics::counter!("gantry_newcomers_shown_out_total").increment(1);
        true
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Seat>> {
        let seat = self.all.remove(&id)?;
        self.set(&seat, id, None);
        if let Some(own) = self.addresses.get_mut(&seat.address) {
            own.count -= 1;
            if own.count == 0 {
                self.addresses.remove(&seat.address);
            }
        }
        Some(seat)
    }

    fn set(&mut self, seat: &Seat, id: u64, until: Option<Instant>) -> Option<Instant> {
        let own = self.addresses.get_mut(&seat.address)?;
        let before = std::mem::replace(&mut *seat.patience.lock(), until);
        if let Some(before) = before {
            self.waiting.remove(&(before, id));
            own.waiting.remove(&(before, id));
        }
        if let Some(until) = until {
            self.waiting.insert((until, id));
            own.waiting.insert((until, id));
        }
        before
    }
}

impl Newcomer {
    /// It is the peer's turn: it has its place for sure for `patience` more. Says whether it had been ours.
    pub fn has_turn(&self, patience: Duration) -> bool {
        self.set(Some(Instant::now() + patience)).is_none()
    }

    /// It is our turn: the peer is not shown out.
    pub fn waits_for_us(&self) {
        self.set(None);
    }

    /// The peer proved who it is and needs no place here any more.
    pub fn is_known(&self) {
        if self.0.seat.state.compare_exchange(NEWCOMER, KNOWN, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.0.newcomers.leave(self.0.id);
            // Nobody wakes them any more, and a waker keeps the memory of its task, of the handshake's most of all.
            drop((self.0.seat.reader.take(), self.0.seat.writer.take()));
        }
    }

    /// Sets until when it has its place for sure; says until when it had.
    fn set(&self, until: Option<Instant>) -> Option<Instant> {
        let Place { id, seat, newcomers } = &*self.0;
        if seat.state.load(Ordering::Acquire) != NEWCOMER {
            return None;
        }
        let mut room = newcomers.room.lock();
        if !room.all.contains_key(id) {
            return None;
        }
        let before = room.set(seat, *id, until);
        drop(room);
        // Somebody may be waiting for the first whose patience ends.
        newcomers.left.notify_waiters();
        before
    }

    fn check(&self) -> io::Result<bool> {
        match self.0.seat.state.load(Ordering::Acquire) {
            SHOWN_OUT => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "others needed the place of a silent peer"))
            }
            state => Ok(state == NEWCOMER),
        }
    }
}

impl Newcomers {
    fn leave(&self, id: u64) {
        if self.room.lock().remove(id).is_some() {
            self.left.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.newcomers.leave(self.id);
    }
}

/// What counts as one address: a whole /64 of IPv6, because that is what one site has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

/// The stream of a peer, which ends when the peer is shown out or reads nothing of what it is sent for 30 s.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    newcomer: Newcomer,
    /// Since the peer stopped to read: when that is too long, and whether it had been our turn.
    stalled: Option<(Pin<Box<Sleep>>, bool)>,
}

impl<S> Watched<S> {
    /// Watches a stream.
    pub fn new(stream: S, newcomer: Newcomer) -> Self {
        Self { stream, newcomer, stalled: None }
    }

    /// The stream that is watched.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// A poll of the stream's writing side, with what its outcome means.
    fn poll_writing<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        S: Unpin,
    {
        let mut is_newcomer = self.newcomer.check()?;
        let polled = poll(Pin::new(&mut self.stream), cx);
        if polled.is_ready() {
            if let Some((_, true)) = self.stalled.take() {
                self.newcomer.waits_for_us();
            }
            return polled;
        }
        if is_newcomer {
            self.newcomer.0.seat.writer.register(cx.waker());
            is_newcomer = self.newcomer.check()?;
        }
        let (stalled, _) = self.stalled.get_or_insert_with(|| {
            let was_our_turn = is_newcomer && self.newcomer.has_turn(STALL_PATIENCE);
            (Box::pin(tokio::time::sleep(STALL_TIMEOUT)), was_our_turn)
        });
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_newcomer = self.newcomer.check()?;
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_pending() && is_newcomer {
            self.newcomer.0.seat.reader.register(cx.waker());
            self.newcomer.check()?;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn newcomers(total: usize, per_address: usize) -> Arc<Newcomers> {
        Newcomers::new(Places { total, per_address })
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    /// A newcomer with its stream and the other end of that.
    async fn enter(all: &Arc<Newcomers>, from: u8) -> (Watched<DuplexStream>, DuplexStream, Newcomer) {
        let place = all.enter(address(from), PATIENCE).await;
        let (peer, stream) = duplex(16);
        (Watched::new(stream, place.clone()), peer, place)
    }

    async fn is_shown_out(stream: &mut Watched<DuplexStream>) -> bool {
        // The clock stands still, so this does not wait for anything but what is ready.
        match timeout(Duration::ZERO, stream.read_u8()).await {
            Err(_) => false,
            Ok(read) => {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
                true
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_has_been_silent_longest_makes_room() {
        let all = newcomers(3, 3);
        let (mut first, _a, place) = enter(&all, 1).await;
        advance(Duration::from_millis(10)).await;
        let (mut second, _b, _) = enter(&all, 2).await;
        let (mut third, _c, _) = enter(&all, 3).await;
        advance(PATIENCE).await;
        // The first has said something in between.
        place.has_turn(PATIENCE);
        let (mut fourth, _d, _) = enter(&all, 4).await;
        assert!(is_shown_out(&mut second).await);
        for stays in [&mut first, &mut third, &mut fourth] {
            assert!(!is_shown_out(stays).await);
        }
        assert_eq!(all.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_makes_room_for_itself() {
        let all = newcomers(10, 2);
        let (mut other, _o, _) = enter(&all, 1).await;
        let (mut first, _a, _) = enter(&all, 2).await;
        let (mut second, _b, _) = enter(&all, 2).await;
        advance(PATIENCE).await;
        let (mut third, _c, _) = enter(&all, 2).await;
        assert!(is_shown_out(&mut first).await);
        for stays in [&mut other, &mut second, &mut third] {
            assert!(!is_shown_out(stays).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_shown_out_while_patience_lasts_or_it_is_our_turn() {
        let all = newcomers(2, 2);
        let begun = Instant::now();
        let (mut patient, _a, _) = enter(&all, 1).await;
        let (mut ours, _b, place) = enter(&all, 2).await;
        place.waits_for_us();
        let (mut late, _c, _) = enter(&all, 3).await;
        assert_eq!(begun.elapsed(), PATIENCE, "it waited until there was a place");
        assert!(is_shown_out(&mut patient).await);
        assert!(!is_shown_out(&mut ours).await && !is_shown_out(&mut late).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_or_gone_needs_no_place() {
        let all = newcomers(1, 1);
        let (mut known, _a, place) = enter(&all, 1).await;
        place.is_known();
        let (gone, _b, place) = enter(&all, 1).await;
        assert_eq!(all.count(), 1);
        drop((gone, place));
        let (mut last, _c, _) = enter(&all, 1).await;
        advance(PATIENCE).await;
        let (_next, _d, _) = enter(&all, 1).await;
        assert!(is_shown_out(&mut last).await);
        assert!(!is_shown_out(&mut known).await);
        assert_eq!(all.room.lock().addresses.len(), 1, "nothing is kept of those who left");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_a_task_that_waited_for_who_is_known_now() {
        let all = newcomers(2, 2);
        let (mut stream, mut peer, place) = enter(&all, 1).await;
        let handshake = tokio::spawn(async move {
            stream.read_u8().await.unwrap();
            stream
        });
        tokio::task::yield_now().await;
        assert!(place.0.seat.reader.take().inspect(|waker| place.0.seat.reader.register(waker)).is_some());
        peer.write_u8(1).await.unwrap();
        let _stream = handshake.await.unwrap();
        place.is_known();
        assert!(place.0.seat.reader.take().is_none() && place.0.seat.writer.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_left_lets_the_next_one_in() {
        let all = newcomers(1, 1);
        let (_stream, _peer, place) = enter(&all, 1).await;
        place.waits_for_us();
        let waiting = tokio::spawn({
            let all = Arc::clone(&all);
            async move { drop(all.enter(address(2), PATIENCE).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        place.is_known();
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_waited_for_and_then_given_up() {
        let all = newcomers(1, 1);
        let (mut stream, mut peer, place) = enter(&all, 1).await;
        place.waits_for_us();
        let written = tokio::join!(stream.write_all(&[0; 40]), async {
            tokio::time::sleep(STALL_TIMEOUT / 2).await;
            peer.read_exact(&mut [0; 40]).await.unwrap();
        });
        written.0.unwrap();
        assert_eq!(*place.0.seat.patience.lock(), None, "it is our turn again");
        let (begun, failed) = (Instant::now(), stream.write_all(&[0; 40]).await.unwrap_err());
        assert_eq!((failed.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, STALL_TIMEOUT));

        // Others do not wait for it that long.
        let (mut stream, _peer, place) = enter(&newcomers(1, 1), 1).await;
        place.waits_for_us();
        let stuck = tokio::spawn(async move { stream.write_all(&[0; 40]).await.unwrap_err().kind() });
        tokio::task::yield_now().await;
        let (_next, _p, _) = enter(&place.0.newcomers, 2).await;
        assert_eq!(stuck.await.unwrap(), io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("2001:db8:1:2:3:4:5:6"), parse("2001:db8:1:2::9"));
        assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), address(1));
    }
}
