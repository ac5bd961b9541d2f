//! Following the event log: one loop for everybody who takes what comes, in order, and goes on at the same place after
//! a restart.
//!
//! A [`Follower`] begins at its saved place and hands batches to a [`Consumer`]. While the consumer has no room nothing
//! is read; what could not be read is told with the batch after it; a log that cannot be read is read again. The place
//! is saved behind what the consumer is done with, so that a restart repeats some events and loses none.
//!
//! Saved place: the sequence number of the next event, `u64`, little-endian.

use std::sync::Arc;
use std::time::Duration;

use gantry_hub::ports::{Batch, CheckpointError, Checkpoints, EventCursor, EventSource, Start};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, warn};

/// About how many bytes are read at once.
const BATCH_BYTES: usize = 1 << 20;
/// How often a consumer is asked for work when nothing comes.
const TICK: Duration = Duration::from_secs(1);
/// How often a place is saved at most: a crash repeats this much.
const SAVE_PERIOD: Duration = Duration::from_millis(900);
/// Pause after the log or the place could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Takes the events of one partition.
pub trait Consumer: Send {
    /// Events it takes at once.
    const BATCH_EVENTS: usize;

    /// Whether it takes events now.
    fn has_room(&self) -> bool {
        true
    }

    /// Takes what was read, and learns how many events were missed before.
    fn take(&mut self, batch: Batch);

    /// Does what is due, after each batch and each second. Nothing is read meanwhile.
    fn work(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Whether it is done with everything it took.
    fn is_done(&self) -> bool {
        true
    }
}

/// Reads one partition for a consumer.
pub struct Follower {
    /// Who reads, for the log.
    pub name: String,
    /// What is read.
    pub events: Arc<dyn EventSource>,
    /// Which partition.
    pub partition: u16,
    /// Where it begins while no place is saved.
    pub start: Start,
    /// Where the place is kept, and under which name; none for a consumer that keeps it itself.
    pub place: Option<(Arc<dyn Checkpoints>, String)>,
}

impl Follower {
    /// Runs until the log is closed, or somebody else takes the place.
    pub async fn run<C: Consumer>(self, mut consumer: C) {
        let (place, mut cursor) = loop {
            match self.begin().await {
                Ok(Some(begun)) => break begun,
                Ok(None) => return,
                Err(error) => self.pause(&error).await,
            }
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut saved, mut saved_at) = (cursor.position(), Instant::now());
        loop {
            tokio::select! {
                read = cursor.next(C::BATCH_EVENTS, BATCH_BYTES), if consumer.has_room() => match read {
                    Ok(Some(batch)) => {
                        self.tell(batch.missed);
                        consumer.take(batch);
                    }
                    Ok(None) => return,
                    Err(error) => self.pause(&error.into()).await,
                },
                _ = tick.tick() => {}
            }
            consumer.work().await;
            let next = cursor.position();
            let is_due = consumer.is_done() && next > saved && saved_at.elapsed() >= SAVE_PERIOD;
            let Some(place) = place.as_ref().filter(|_| is_due) else { continue };
            saved_at = Instant::now();
            match place.put(next.to_le_bytes().to_vec()).await {
                Ok(()) => saved = next,
                Err(CheckpointError::Taken) => {
                    warn!(reader = %self.name, partition = self.partition, "somebody else reads on here");
                    return;
                }
                Err(error) => warn!(reader = %self.name, partition = self.partition, %error, "place not saved"),
            }
        }
    }

    /// Takes the place from whoever had it, and a cursor there; nothing when there is no such partition.
    async fn begin(&self) -> anyhow::Result<Option<(Option<Checkpoint>, Box<dyn EventCursor>)>> {
        let (mut place, mut start) = (None, self.start);
        if let Some((checkpoints, name)) = &self.place {
            let held = Checkpoint::take(Arc::clone(checkpoints), name.clone()).await?;
            match held.get().await.map(|saved| saved.map(<[u8; 8]>::try_from)) {
                Ok(Some(Ok(next))) => start = Start::At(u64::from_le_bytes(next)),
                Ok(None) => {}
                Ok(Some(Err(_))) | Err(CheckpointError::Damaged) => {
                    warn!(reader = %self.name, partition = self.partition, "the place is damaged, reading begins anew");
                }
                Err(error) => return Err(error.into()),
            }
            place = Some(held);
        }
        Ok(self.events.read(self.partition, start).await?.map(|cursor| (place, cursor)))
    }

    async fn pause(&self, error: &anyhow::Error) {
        error!(reader = %self.name, partition = self.partition, error = format!("{error:#}"), "events cannot be read");
        tokio::time::sleep(RETRY_PAUSE).await;
    }

    fn tell(&self, missed: u64) {
        if missed > 0 {
            warn!(reader = %self.name, partition = self.partition, missed, "events were gone before they were read");
            metrics::counter!("gantry_events_missed_total", "reader" => self.name.clone()).increment(missed);
        }
    }
}

/// A checkpoint this process holds, until somebody else takes it.
#[derive(Clone)]
pub struct Checkpoint {
    checkpoints: Arc<dyn Checkpoints>,
    name: String,
    epoch: u64,
}

impl Checkpoint {
    /// Takes it from whoever held it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take(checkpoints: Arc<dyn Checkpoints>, name: String) -> Result<Self, CheckpointError> {
        let epoch = checkpoints.take(&name).await?;
        Ok(Self { checkpoints, name, epoch })
    }

    /// What was put last.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.checkpoints.get(&self.name).await
    }

    /// Replaces it; durable when this returns.
    ///
    /// # Errors
    /// When somebody took it since, or the store fails.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<(), CheckpointError> {
        self.checkpoints.put(&self.name, self.epoch, bytes).await
    }

    /// Removes it.
    ///
    /// # Errors
    /// When somebody took it since, or the store fails.
    pub async fn remove(self) -> Result<(), CheckpointError> {
        self.checkpoints.remove(&self.name, self.epoch).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use gantry_hub::event::{MessageSource, StoredEvent, SystemProperties};
    use gantry_hub::ports::{LogError, PartitionState, PortFuture};
    use gantry_hub::routing::Destinations;
    use gantry_identity::{Identity, Timestamp};
    use tokio::sync::watch;

    use super::*;

    /// One partition in memory: numbers, of which those before `begin` are gone.
    #[derive(Clone, Default)]
    struct Log {
        begin: u64,
        end: u64,
        is_closed: bool,
        /// Calls that fail before one succeeds.
        failures: u32,
    }

    impl Log {
        fn fails(&mut self) -> Result<(), LogError> {
            match self.failures.checked_sub(1) {
                None => Ok(()),
                Some(left) => {
                    self.failures = left;
                    Err(LogError::Failed("disk".into()))
                }
            }
        }
    }

    struct Memory(watch::Sender<Log>);

    struct MemoryCursor(watch::Sender<Log>, u64);

    impl EventSource for Memory {
        fn partitions(&self) -> u16 {
            1
        }

        fn created_at(&self) -> Timestamp {
            Timestamp::NEVER
        }

        fn partition(&self, _: u16) -> PortFuture<'_, Option<PartitionState>, LogError> {
            Box::pin(std::future::ready(Ok(None)))
        }

        fn read(&self, partition: u16, start: Start) -> PortFuture<'_, Option<Box<dyn EventCursor>>, LogError> {
            let mut opened = Ok(None);
            self.0.send_modify(|log| {
                let Start::At(next) = start else { panic!("{start:?}") };
                opened = log.fails().map(|()| (partition == 0).then(|| MemoryCursor(self.0.clone(), next)));
            });
            let opened = opened.map(|cursor| cursor.map(|cursor| Box::new(cursor) as Box<dyn EventCursor>));
            Box::pin(std::future::ready(opened))
        }
    }

    impl EventCursor for MemoryCursor {
        fn position(&self) -> u64 {
            self.1
        }

        fn next(&mut self, events_max: usize, _: usize) -> PortFuture<'_, Option<Batch>, LogError> {
            Box::pin(async move {
                let mut log = self.0.subscribe();
                let next = self.1;
                let _ = log.wait_for(|log| log.failures > 0 || log.end > next || log.is_closed).await;
                let mut failed = Ok(());
                self.0.send_modify(|log| failed = log.fails());
                failed?;
                let Log { begin, end, .. } = *log.borrow();
                if next < begin {
                    self.1 = begin;
                    return Ok(Some(Batch { events: vec![], missed: begin - next }));
                }
                self.1 = end.min(next + events_max as u64);
                let events: Vec<_> = (next..self.1).map(event).collect();
                Ok((!events.is_empty()).then_some(Batch { events, missed: 0 }))
            })
        }
    }

    fn event(sequence_number: u64) -> StoredEvent {
        StoredEvent {
            partition: 0,
            sequence_number,
            enqueued_at: Timestamp::NEVER,
            source: MessageSource::Telemetry,
            identity: Identity::parse("motor-1").unwrap(),
            generation_id: String::new(),
            auth_method: String::new(),
            model_id: None,
            system: SystemProperties::default(),
            properties: vec![],
            destinations: Destinations::BUILT_IN,
            added: vec![],
            body: bytes::Bytes::new(),
        }
    }

    /// Checkpoints in memory: epoch and bytes; no bytes are damaged ones.
    #[derive(Clone, Default)]
    struct Kept {
        places: HashMap<String, (u64, Option<Vec<u8>>)>,
        failures: u32,
    }

    struct Places(watch::Sender<Kept>);

    impl Places {
        fn with<'a, T: Send + 'a>(
            &'a self,
            work: impl FnOnce(&mut Kept) -> Result<T, CheckpointError>,
        ) -> PortFuture<'a, T, CheckpointError> {
            let mut result = Err(CheckpointError::Failed("disk".into()));
            self.0.send_modify(|kept| match kept.failures.checked_sub(1) {
                None => result = work(kept),
                Some(left) => kept.failures = left,
            });
            Box::pin(std::future::ready(result))
        }

        async fn saved(&self, next: u64) {
            let is_it = |kept: &Kept| kept.places.get("place").is_some_and(|(_, bytes)| *bytes == saved(next));
            self.0.subscribe().wait_for(is_it).await.unwrap();
        }
    }

    fn saved(next: u64) -> Option<Vec<u8>> {
        Some(next.to_le_bytes().to_vec())
    }

    impl Checkpoints for Places {
        fn take<'a>(&'a self, name: &'a str) -> PortFuture<'a, u64, CheckpointError> {
            self.with(|kept| {
                let place = kept.places.entry(name.into()).or_insert((0, Some(vec![])));
                place.0 += 1;
                Ok(place.0)
            })
        }

        fn get<'a>(&'a self, name: &'a str) -> PortFuture<'a, Option<Vec<u8>>, CheckpointError> {
            self.with(|kept| {
                let bytes = kept.places[name].1.clone().ok_or(CheckpointError::Damaged)?;
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            })
        }

        fn put<'a>(&'a self, name: &'a str, epoch: u64, bytes: Vec<u8>) -> PortFuture<'a, (), CheckpointError> {
            self.with(|kept| match kept.places.get_mut(name) {
                Some(place) if place.0 == epoch => {
                    place.1 = Some(bytes);
                    Ok(())
                }
                _ => Err(CheckpointError::Taken),
            })
        }

        fn remove<'a>(&'a self, name: &'a str, epoch: u64) -> PortFuture<'a, (), CheckpointError> {
            self.put(name, epoch, vec![])
        }
    }

    /// What a consumer saw, and how it behaves.
    #[derive(Clone, Default)]
    struct Seen {
        numbers: Vec<u64>,
        missed: u64,
        worked: u32,
        is_full: bool,
        is_holding: bool,
    }

    impl Consumer for watch::Sender<Seen> {
        const BATCH_EVENTS: usize = 2;

        fn has_room(&self) -> bool {
            !self.borrow().is_full
        }

        fn take(&mut self, batch: Batch) {
            self.send_modify(|seen| {
                seen.missed += batch.missed;
                seen.numbers.extend(batch.events.iter().map(|event| event.sequence_number));
            });
        }

        async fn work(&mut self) {
            self.send_modify(|seen| seen.worked += 1);
        }

        fn is_done(&self) -> bool {
            !self.borrow().is_holding
        }
    }

    struct World {
        log: watch::Sender<Log>,
        places: Arc<Places>,
        seen: watch::Sender<Seen>,
    }

    impl World {
        fn new(end: u64) -> Self {
            let log = watch::Sender::new(Log { end, ..Log::default() });
            Self { log, places: Arc::new(Places(watch::Sender::default())), seen: watch::Sender::default() }
        }

        fn follow(&self, start: u64) -> tokio::task::JoinHandle<()> {
            let follower = Follower {
                name: "test".into(),
                events: Arc::new(Memory(self.log.clone())),
                partition: 0,
                start: Start::At(start),
                place: Some((Arc::<Places>::clone(&self.places), "place".into())),
            };
            tokio::spawn(follower.run(self.seen.clone()))
        }

        /// Runs to the end of the log; what was seen.
        async fn follow_to_the_end(&self, start: u64) -> (Vec<u64>, u64) {
            self.log.send_modify(|log| log.is_closed = true);
            self.follow(start).await.unwrap();
            let seen = self.seen.borrow();
            (seen.numbers.clone(), seen.missed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_goes_on_at_the_saved_place() {
        let world = World::new(5);
        let first = world.follow(1);
        world.places.saved(5).await;
        first.abort();
        assert_eq!(world.seen.send_replace(Seen::default()).numbers, [1, 2, 3, 4], "in order, in batches");
        world.log.send_modify(|log| log.end = 8);
        assert_eq!(world.follow_to_the_end(1).await.0, [5, 6, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_place_stays_before_what_is_in_hand() {
        let world = World::new(3);
        world.seen.send_modify(|seen| seen.is_holding = true);
        let _running = world.follow(0);
        world.seen.subscribe().wait_for(|seen| seen.worked > 5).await.unwrap();
        assert_eq!(world.seen.borrow().numbers, [0, 1, 2]);
        assert_eq!(world.places.0.borrow().places["place"].1, Some(vec![]), "nothing was saved");
        world.seen.send_modify(|seen| seen.is_holding = false);
        world.places.saved(3).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_and_nothing_is_lost() {
        let world = World::new(3);
        let begun = Instant::now();
        world.places.0.send_modify(|kept| kept.failures = 2);
        world.log.send_modify(|log| log.failures = 3);
        let running = world.follow(0);
        world.places.saved(3).await;
        assert!(begun.elapsed() >= RETRY_PAUSE * 5, "a pause after each");
        // In the middle, and while a place is saved.
        world.places.0.send_modify(|kept| kept.failures = 2);
        world.log.send_modify(|log| (log.failures, log.end) = (2, 4));
        world.places.saved(4).await;
        assert_eq!(world.seen.borrow().numbers, [0, 1, 2, 3]);
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missed_is_told() {
        let world = World::new(7);
        world.log.send_modify(|log| log.begin = 5);
        assert_eq!(world.follow_to_the_end(2).await, (vec![5, 6], 3));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_there_is_no_room() {
        let world = World::new(3);
        world.seen.send_modify(|seen| seen.is_full = true);
        let running = world.follow(0);
        world.seen.subscribe().wait_for(|seen| seen.worked > 2).await.unwrap();
        let seen = world.seen.send_replace(Seen::default());
        assert!(seen.numbers.is_empty());
        world.places.saved(3).await;
        assert_eq!(world.seen.borrow().numbers, [0, 1, 2]);
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_the_place_ends_the_reader_before() {
        let world = World::new(2);
        let first = world.follow(0);
        world.places.saved(2).await;
        let place = Checkpoint::take(Arc::<Places>::clone(&world.places), "place".into()).await.unwrap();
        assert_eq!(place.get().await.unwrap(), saved(2));
        world.log.send_modify(|log| log.end = 3);
        first.await.unwrap();
        assert_eq!(place.get().await.unwrap(), saved(2), "what it wrote late is refused");
        place.put(saved(9).unwrap()).await.unwrap();
        world.places.saved(9).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_place_is_no_place() {
        for damaged in [None, Some(vec![1])] {
            let world = World::new(3);
            world.places.0.send_modify(|kept| drop(kept.places.insert("place".into(), (7, damaged))));
            assert_eq!(world.follow_to_the_end(1).await.0, [1, 2]);
        }
    }
}
