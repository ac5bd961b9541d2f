//! Links that read a partition.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::{AbortHandle, Abortable};
use gantry_amqp::connection::{AttachRequest, LinkId, Outgoing};
use gantry_amqp::message::lookup;
use gantry_amqp::{ErrorCondition, Value, condition as amqp};
use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{EventCursor, EventSource, LogError, PartitionState, Start};
use gantry_hub::routing::Destinations;
use tracing::{debug, error};

use super::connection::{Done, Head};
use super::event::{self, Metrics};
use super::links::LinkKind;
use super::management::partition_number;
use super::receivers::{Lease, RECEIVERS_MAX, ReceiverRefusal};
use super::{condition, filter};

/// Most events taken from the log at once, and about how many bytes of them.
const BATCH_EVENTS_MAX: u32 = 500;
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Link property with the owner level.
const EPOCH: &str = "com.microsoft:epoch";
/// Capability that asks for [`Metrics`].
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";

/// A link that reads a partition: what was routed to one endpoint.
#[derive(Debug)]
pub(super) struct Partition {
    partition: u16,
    endpoint: Destinations,
    /// Absent while a batch is waited for.
    cursor: Option<Box<dyn EventCursor>>,
    /// Stops the waiting.
    waiting: Option<AbortHandle>,
    /// Events that were read and had no credit any more.
    pending: VecDeque<StoredEvent>,
    /// Events before this number were read, or begun behind.
    next: u64,
    /// The client wants [`Metrics`] with each event.
    wants_metrics: bool,
    /// As they were when events were read last.
    metrics: Option<Metrics>,
    /// The client wants to know when there is nothing more.
    pub(super) draining: bool,
    /// The log is being asked whether there is more.
    asking: bool,
    next_tag: u64,
    _lease: Lease,
}

impl Drop for Partition {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
    }
}

/// What a link asks to read.
struct Wanted {
    partition: u16,
    endpoint: Destinations,
    start: Start,
    /// Who reads together, in which receivers have their places.
    group: String,
}

/// A cursor, and the number before which it reads nothing; none when there is no such partition.
type Found = Option<(Box<dyn EventCursor>, u64)>;

/// A partition was opened for a link.
pub(super) struct Opened {
    request: AttachRequest,
    wanted: Wanted,
    result: Result<Found, LogError>,
}

/// Events of a partition, and the cursor that gave them; none when the log is closed.
pub(super) struct Read {
    link: LinkId,
    cursor: Box<dyn EventCursor>,
    result: Result<Option<Vec<StoredEvent>>, LogError>,
    metrics: Option<Metrics>,
}

/// What a partition holds.
pub(super) struct State {
    link: LinkId,
    result: Result<Option<PartitionState>, LogError>,
}

async fn open(events: &dyn EventSource, partition: u16, start: Start) -> Result<Found, LogError> {
    let Some(cursor) = events.read(partition, start).await? else { return Ok(None) };
    let mut next = cursor.position();
    // A time is looked for while reading, which does not come back from events that are all older.
    if let Start::After(at) = start
        && let Some((newest, newest_at)) = events.partition(partition).await?.and_then(|state| state.last)
        && newest_at <= at
    {
        next = next.max(newest.saturating_add(1));
    }
    Ok(Some((cursor, next)))
}

impl Head {
    pub(super) fn attach_partition(&mut self, request: AttachRequest, entity: &str, group: &str, id: &str) {
        let wanted = match self.wanted(&request, entity, group, id) {
            Ok(wanted) => wanted,
            Err(error) => return self.refuse_partition(request, error),
        };
        let events = Arc::clone(&self.context.events);
        self.work.push(Box::pin(async move {
            let result = open(&*events, wanted.partition, wanted.start).await;
            Ok(Done::Opened(Box::new(Opened { request, wanted, result })))
        }));
    }

    fn refuse_partition(&mut self, request: AttachRequest, error: ErrorCondition) {
        let address = request.attach.source.as_ref().and_then(|source| source.address.as_deref());
        debug!(peer = %self.peer.address, address, error = %error.description, "receiver refused");
        self.amqp.refuse_attach(request, error);
    }

    fn wanted(&self, request: &AttachRequest, entity: &str, group: &str, id: &str) -> Result<Wanted, ErrorCondition> {
        let context = &self.context;
        let mut streams = context.streams().into_iter();
        let Some((_, endpoint)) = streams.find(|(known, _)| known.eq_ignore_ascii_case(entity)) else {
            return Err(condition::not_found(entity));
        };
        if context.hub.consumer_group(group).is_none() {
            return Err(condition::not_found(&format!("{entity}/ConsumerGroups/{group}")));
        }
        let partition = partition_number(id).filter(|number| *number < context.events.partitions());
        let partition = partition.ok_or_else(|| self.out_of_range())?;
        let filters = request.attach.source.as_ref().map(|source| source.filter.as_slice()).unwrap_or_default();
        let start = filter::start_position(&filters.to_vec())
            .map_err(|error| ErrorCondition::new(amqp::ARGUMENT_ERROR, error.to_string()))?;
        Ok(Wanted { partition, endpoint, start, group: format!("{entity}/{group}") })
    }

    fn out_of_range(&self) -> ErrorCondition {
        let text = format!(
            "The specified partition is invalid for an EventHub partition sender or receiver. It should be between \
             0 and {}.",
            self.context.events.partitions().saturating_sub(1)
        );
        ErrorCondition::new(amqp::ARGUMENT_OUT_OF_RANGE, text)
    }

    /// A partition can be read: the link takes its place among the receivers.
    pub(super) fn opened(&mut self, opened: Opened) {
        let Opened { request, wanted, result } = opened;
        if !self.amqp.has_link(request.link) {
            // The peer gave up meanwhile.
            return;
        }
        match self.receiver(&request, &wanted, result) {
            Ok(partition) => {
                debug!(peer = %self.peer.address, group = %wanted.group, partition = wanted.partition, "receiver attached");
                self.accept(request, LinkKind::Partition(Box::new(partition)));
                // A token may have ended meanwhile.
                self.detach_unauthorized();
            }
            Err(error) => self.refuse_partition(request, error),
        }
    }

    fn receiver(
        &mut self,
        request: &AttachRequest,
        wanted: &Wanted,
        result: Result<Found, LogError>,
    ) -> Result<Partition, ErrorCondition> {
        let opened = result.map_err(|error| self.unreadable(&error))?;
        let (cursor, next) = opened.ok_or_else(|| self.out_of_range())?;
        let attach = &request.attach;
        let owner_level = lookup(&attach.properties, EPOCH).and_then(Value::as_i64);
        let evict = self.evict();
        let receivers = &self.context.receivers;
        let lease = receivers
            .enter(&wanted.group, wanted.partition, owner_level, request.link, evict)
            .map_err(receiver_refused)?;
        Ok(Partition {
            partition: wanted.partition,
            endpoint: wanted.endpoint,
            cursor: Some(cursor),
            waiting: None,
            pending: VecDeque::new(),
            next,
            wants_metrics: attach.desired_capabilities.iter().any(|capability| *capability == RUNTIME_METRIC),
            metrics: None,
            draining: false,
            asking: false,
            next_tag: 0,
            _lease: lease,
        })
    }

    /// The log failed; what the peer is told.
    fn unreadable(&self, error: &LogError) -> ErrorCondition {
        error!(peer = %self.peer.address, %error, "reading a partition failed");
        ErrorCondition::new(amqp::INTERNAL_ERROR, "internal error")
    }

    fn partition(&mut self, link: LinkId) -> Option<&mut Partition> {
        match &mut self.links.get_mut(&link)?.kind {
            LinkKind::Partition(partition) => Some(partition),
            _ => None,
        }
    }

    /// Sends what may be sent, and asks the log for more when there is credit for it.
    pub(super) fn pump(&mut self, link: LinkId) {
        let Some(LinkKind::Partition(partition)) = self.links.get_mut(&link).map(|link| &mut link.kind) else { return };
        if !partition.pending.is_empty() && self.amqp.sendable(link) > 0 {
            let before = partition.next_tag;
            while self.amqp.sendable(link) > 0
                && let Some(event) = partition.pending.pop_front()
            {
                let tag = partition.next_tag.to_be_bytes();
                partition.next_tag += 1;
                let delivery = Outgoing { tag: &tag, settled: true, format: 0 };
                let metrics = partition.metrics.as_ref();
                let sent = self.amqp.send_with(link, delivery, |out| event::write(out, &event, metrics));
                debug_assert!(sent.is_ok(), "the link had credit");
            }
            metrics::counter!("gantry_stream_events_delivered_total").increment(partition.next_tag - before);
        }
        let credit = self.amqp.sendable(link);
        if credit > 0
            && partition.pending.is_empty()
            && let Some(mut cursor) = partition.cursor.take()
        {
            let (abort, registration) = AbortHandle::new_pair();
            partition.waiting = Some(abort);
            let events_max = credit.min(BATCH_EVENTS_MAX) as usize;
            let (number, endpoint, now) = (partition.partition, partition.endpoint, self.context.now);
            let asked = partition.wants_metrics.then(|| Arc::clone(&self.context.events));
            let read = async move {
                let batch = cursor.next(events_max, BATCH_BYTES_MAX).await;
                let routed = |event: StoredEvent| event.routed_to(endpoint);
                let result =
                    batch.map(|read| read.map(|batch| batch.events.into_iter().filter_map(routed).collect::<Vec<_>>()));
                if matches!(&result, Ok(Some(events)) if events.is_empty()) {
                    // All went elsewhere, or were lost, as the log says there. This may go on for long, and others
                    // want the thread too.
                    tokio::task::yield_now().await;
                }
                let state = match asked {
                    Some(events) => events.partition(number).await.ok().flatten(),
                    None => None,
                };
                let metrics = state.map(|partition| Metrics { partition, at: now() });
                Done::Read(Read { link, cursor, result, metrics })
            };
            self.work.push(Box::pin(Abortable::new(read, registration)));
        }
        self.finish_drain(link);
    }

    /// Tells a client that asked for everything there is that there is nothing more.
    fn finish_drain(&mut self, link: LinkId) {
        let has_credit = self.amqp.sendable(link) > 0;
        let Some(partition) = self.partition(link).filter(|partition| partition.draining) else { return };
        if !has_credit {
            partition.draining = false;
            self.amqp.drained(link);
        } else if partition.pending.is_empty() && !partition.asking {
            partition.asking = true;
            let number = partition.partition;
            let events = Arc::clone(&self.context.events);
            self.work.push(Box::pin(async move {
                let result = events.partition(number).await;
                Ok(Done::State(State { link, result }))
            }));
        }
    }

    /// A link that is drained learns what there is; what it has not read yet comes, and then it is asked again.
    pub(super) fn drain_to(&mut self, state: State) {
        let State { link, result } = state;
        let Some(partition) = self.partition(link) else { return };
        partition.asking = false;
        let newest = match result {
            Ok(found) => found.filter(|found| !found.is_empty).and_then(|found| found.last),
            Err(error) => {
                let error = self.unreadable(&error);
                return self.end_reading(link, error);
            }
        };
        let caught_up = newest.is_none_or(|(number, _)| number < partition.next);
        if partition.draining && caught_up && partition.pending.is_empty() {
            partition.draining = false;
            self.amqp.drained(link);
        }
    }

    pub(super) fn events_read(&mut self, read: Read) {
        let Read { link, cursor, result, metrics } = read;
        let Some(partition) = self.partition(link) else { return };
        partition.waiting = None;
        match result {
            Ok(Some(events)) => {
                partition.next = partition.next.max(cursor.position());
                partition.cursor = Some(cursor);
                partition.metrics = metrics.or(partition.metrics);
                partition.pending.extend(events);
                self.pump(link);
            }
            Ok(None) => self.end_reading(link, ErrorCondition::new(amqp::DETACH_FORCED, "the service is stopping")),
            Err(error) => {
                let error = self.unreadable(&error);
                self.end_reading(link, error);
            }
        }
    }

    fn end_reading(&mut self, link: LinkId, error: ErrorCondition) {
        self.remove(link);
        self.amqp.detach(link, error);
    }
}

fn receiver_refused(refusal: ReceiverRefusal) -> ErrorCondition {
    match refusal {
        ReceiverRefusal::Owned(level) => {
            let text = format!(
                "At least one receiver with owner level (epoch) '{level}' exists; a lower one or one without is not \
                 let in."
            );
            ErrorCondition::new(amqp::LINK_STOLEN, text)
        }
        ReceiverRefusal::TooMany => {
            let text = format!(
                "Exceeded the maximum number of allowed receivers per partition in a consumer group which is \
                 {RECEIVERS_MAX}."
            );
            ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, text)
        }
    }
}
