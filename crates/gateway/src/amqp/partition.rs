//! Links that read a partition.

use std::collections::VecDeque;

use futures::future::{AbortHandle, Abortable};
use gantry_amqp::connection::{AttachRequest, LinkId, Outgoing};
use gantry_amqp::message::lookup;
use gantry_amqp::{ErrorCondition, Value, condition as amqp};
use gantry_hub::event::StoredEvent;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, error};

use super::connection::{Done, Head};
use super::event::{self, Metrics};
use super::links::LinkKind;
use super::management::partition_number;
use super::ports::{EventReader, PartitionProperties, StartPosition, StreamError};
use super::receivers::{Lease, RECEIVERS_MAX, ReceiverRefusal};
use super::{DEFAULT_CONSUMER_GROUP, condition, filter};

/// Most events taken from the log at once, and about how many bytes of them.
const BATCH_EVENTS_MAX: u32 = 500;
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Link property with the owner level.
const EPOCH: &str = "com.microsoft:epoch";
/// Capability that asks for [`Metrics`].
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";

/// A link that reads a partition.
#[derive(Debug)]
pub(super) struct Partition {
    partition: u16,
    /// Absent while a batch is waited for.
    reader: Option<Box<dyn EventReader>>,
    /// Stops the waiting.
    waiting: Option<AbortHandle>,
    /// Events that were read and had no credit any more.
    pending: VecDeque<StoredEvent>,
    /// Highest sequence number that was read or begun behind; -1 before the first.
    through: i64,
    metrics: bool,
    /// The client wants to know when there is nothing more.
    pub(super) draining: bool,
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

/// Events of a partition, and the reader that gave them.
#[derive(Debug)]
pub(super) struct Batch {
    link: LinkId,
    reader: Box<dyn EventReader>,
    result: Result<Vec<StoredEvent>, StreamError>,
}

impl Head {
    pub(super) fn attach_partition(&mut self, request: AttachRequest, entity: &str, group: &str, id: &str) {
        let evict = self.evict();
        match self.open_partition(&request, entity, group, id, evict) {
            Ok(partition) => {
                debug!(peer = %self.peer.address, group, partition = id, "receiver attached");
                self.accept(request, LinkKind::Partition(Box::new(partition)));
            }
            Err(error) => {
                debug!(peer = %self.peer.address, entity, group, partition = id, error = %error.description,
                    "receiver refused");
                self.amqp.refuse_attach(request, error);
            }
        }
    }

    fn open_partition(
        &self,
        request: &AttachRequest,
        entity: &str,
        group: &str,
        id: &str,
        evict: UnboundedSender<LinkId>,
    ) -> Result<Partition, ErrorCondition> {
        let context = &self.context;
        if !context.stream.entities().iter().any(|known| known.eq_ignore_ascii_case(entity)) {
            return Err(condition::not_found(entity));
        }
        let mut groups = context.consumer_groups.iter().map(String::as_str).chain([DEFAULT_CONSUMER_GROUP]);
        if !groups.any(|known| known.eq_ignore_ascii_case(group)) {
            return Err(condition::not_found(&format!("{entity}/ConsumerGroups/{group}")));
        }
        let partitions = context.stream.partitions();
        let out_of_range = || {
            let text = format!(
                "The specified partition is invalid for an EventHub partition sender or receiver. It should be between \
                 0 and {}.",
                partitions.saturating_sub(1)
            );
            ErrorCondition::new(amqp::ARGUMENT_OUT_OF_RANGE, text)
        };
        let partition = partition_number(id).ok_or_else(out_of_range)?;
        let properties = context.stream.partition_properties(partition).ok_or_else(out_of_range)?;
        let attach = &request.attach;
        let filters = attach.source.as_ref().map(|source| source.filter.as_slice()).unwrap_or_default();
        let start = filter::start_position(&filters.to_vec())
            .map_err(|error| ErrorCondition::new(amqp::ARGUMENT_ERROR, error.to_string()))?;
        let owner_level = lookup(&attach.properties, EPOCH).and_then(Value::as_i64);
        let lease = context
            .receivers
            .enter(&format!("{entity}/{group}"), partition, owner_level, request.link, evict)
            .map_err(receiver_refused)?;
        Ok(Partition {
            partition,
            reader: Some(context.stream.reader(entity, partition, start).ok_or_else(out_of_range)?),
            waiting: None,
            pending: VecDeque::new(),
            through: begun_behind(start, &properties),
            metrics: attach.desired_capabilities.iter().any(|capability| *capability == RUNTIME_METRIC),
            draining: false,
            next_tag: 0,
            _lease: lease,
        })
    }

    /// Sends what may be sent, and asks the log for more when there is credit for it.
    pub(super) fn pump(&mut self, link: LinkId) {
        let Some(LinkKind::Partition(partition)) = self.links.get_mut(&link).map(|link| &mut link.kind) else { return };
        if !partition.pending.is_empty() && self.amqp.sendable(link) > 0 {
            let found = partition.metrics.then(|| self.context.stream.partition_properties(partition.partition));
            let runtime = found.flatten().map(|partition| Metrics { partition, at: (self.context.now)() });
            let before = partition.next_tag;
            while self.amqp.sendable(link) > 0
                && let Some(event) = partition.pending.pop_front()
            {
                let tag = partition.next_tag.to_be_bytes();
                partition.next_tag += 1;
                let delivery = Outgoing { tag: &tag, settled: true, format: 0 };
                let sent = self.amqp.send_with(link, delivery, |out| event::write(out, &event, runtime.as_ref()));
                debug_assert!(sent.is_ok(), "the link had credit");
            }
            metrics::counter!("gantry_stream_events_delivered_total").increment(partition.next_tag - before);
        }
        let credit = self.amqp.sendable(link);
        if credit > 0
            && partition.pending.is_empty()
            && let Some(mut reader) = partition.reader.take()
        {
            let (abort, registration) = AbortHandle::new_pair();
            partition.waiting = Some(abort);
            let events_max = credit.min(BATCH_EVENTS_MAX) as usize;
            let read = async move {
                let result = reader.next_batch(events_max, BATCH_BYTES_MAX).await;
                Done::Batch(Batch { link, reader, result })
            };
            self.work.push(Box::pin(Abortable::new(read, registration)));
        }
        self.finish_drain(link);
    }

    /// Tells a client that asked for everything there is that there is nothing more.
    fn finish_drain(&mut self, link: LinkId) {
        let Some(LinkKind::Partition(partition)) = self.links.get_mut(&link).map(|link| &mut link.kind) else { return };
        if !partition.draining {
            return;
        }
        let found = self.context.stream.partition_properties(partition.partition);
        let newest = found.filter(|found| !found.is_empty).and_then(|found| found.last_enqueued);
        let caught_up = newest.is_none_or(|(number, _)| wire(number) <= partition.through);
        if self.amqp.sendable(link) == 0 || (caught_up && partition.pending.is_empty()) {
            partition.draining = false;
            self.amqp.drained(link);
        }
    }

    pub(super) fn batch(&mut self, batch: Batch) {
        let Batch { link, reader, result } = batch;
        let Some(LinkKind::Partition(partition)) = self.links.get_mut(&link).map(|link| &mut link.kind) else { return };
        partition.waiting = None;
        match result {
            Ok(events) => {
                partition.reader = Some(reader);
                partition.through = events.last().map_or(partition.through, |event| wire(event.sequence_number));
                partition.pending.extend(events);
                self.pump(link);
            }
            Err(problem) => {
                let error = match &problem {
                    StreamError::Closed => ErrorCondition::new(amqp::DETACH_FORCED, "the service is stopping"),
                    StreamError::Failed(_) => {
                        error!(peer = %self.peer.address, error = %problem, "reading a partition failed");
                        ErrorCondition::new(amqp::INTERNAL_ERROR, "internal error")
                    }
                };
                self.remove(link);
                self.amqp.detach(link, error);
            }
        }
    }
}

/// A sequence number as the wire has it.
fn wire(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The newest event a reader does not get because it begins behind it.
fn begun_behind(start: StartPosition, properties: &PartitionProperties) -> i64 {
    let before_first = wire(properties.begin_sequence_number) - 1;
    let newest = properties.last_enqueued.map_or(-1, |(number, _)| wire(number));
    match start {
        StartPosition::Earliest => before_first,
        StartPosition::Latest => newest,
        StartPosition::Sequence { number, inclusive } => wire(number) - i64::from(inclusive),
        StartPosition::EnqueuedAfter(at) => match properties.last_enqueued {
            Some((_, newest_at)) if newest_at > at => before_first,
            _ => newest,
        },
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
