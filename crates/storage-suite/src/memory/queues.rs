//! Queues of devices and services.

use std::sync::Arc;

use bytes::Bytes;
use gantry_hub::c2d::C2dMessage;
use gantry_hub::ports::{Enqueued, FeedbackBatch, PortFuture, QueueChange, Queues, Settlement, StoreError};
use gantry_hub::service_queue::{Content, RoutedEvent, ServiceMessage, ServiceQueue};
use gantry_identity::{Identity, Timestamp};

use super::{Memory, State, is_after};

/// A message in the queue of an identity.
#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) identity: Identity,
    enqueued: Enqueued,
}

impl Waiting {
    fn without_body(&self) -> Enqueued {
        let message = C2dMessage { body: Bytes::new(), ..self.enqueued.message.clone() };
        Enqueued { message, ..self.enqueued.clone() }
    }
}

impl State {
    fn queue(&self, identity: &Identity) -> impl Iterator<Item = &Waiting> {
        self.c2d.values().filter(move |waiting| waiting.identity == *identity)
    }

    fn service_queue(&self, queue: ServiceQueue) -> impl Iterator<Item = &ServiceMessage> {
        self.service.values().filter(move |(of, _)| *of == queue).map(|(_, message)| message)
    }

    fn push_service(&mut self, queue: ServiceQueue, content: Content, enqueued_at: Timestamp, expires_at: Timestamp) {
        let sequence_number = self.next_sequence();
        let message = ServiceMessage { sequence_number, enqueued_at, expires_at, delivery_count: 0, content };
        self.service.insert(sequence_number, (queue, message));
    }

    /// The oldest go when there are more than `len_max`.
    fn bound_service(&mut self, queue: ServiceQueue, len_max: usize) {
        let all: Vec<u64> = self.service_queue(queue).map(|message| message.sequence_number).collect();
        for oldest in &all[..all.len().saturating_sub(len_max)] {
            self.service.remove(oldest);
        }
    }

    fn settle(&mut self, identity: &Identity, settlement: Settlement) -> bool {
        let number = settlement.sequence_number;
        let Some(waiting) = self.c2d.get_mut(&number).filter(|waiting| waiting.identity == *identity) else {
            return false;
        };
        match settlement.change {
            QueueChange::Remove => drop(self.c2d.remove(&number)),
            QueueChange::Count(count) => waiting.enqueued.delivery_count = count,
        }
        self.feedback.extend(settlement.feedback.map(|feedback| (feedback.at, feedback.document)));
        true
    }
}

impl Queues for Memory {
    fn c2d_push<'a>(
        &'a self,
        identity: &'a Identity,
        message: C2dMessage,
        generation_id: String,
        now: Timestamp,
        len_max: usize,
    ) -> PortFuture<'a, u64, StoreError> {
        self.run(move |state| {
            let waiting = state.queue(identity).filter(|waiting| waiting.enqueued.expires_at() > now).count();
            if waiting >= len_max {
                return Err(StoreError::Full);
            }
            let sequence_number = state.next_sequence();
            let message = C2dMessage { expires_at: Some(message.expires_at.unwrap_or(now)), ..message };
            let enqueued = Enqueued { sequence_number, delivery_count: 0, enqueued_at: now, generation_id, message };
            state.c2d.insert(sequence_number, Waiting { identity: identity.clone(), enqueued });
            Ok(sequence_number)
        })
    }

    fn routed_push(
        &self,
        queue: ServiceQueue,
        events: Arc<Vec<RoutedEvent>>,
        enqueued_at: Timestamp,
        expires_at: Timestamp,
        len_max: usize,
    ) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            if state.service_queue(queue).count().saturating_add(events.len()) > len_max {
                return Err(StoreError::Full);
            }
            for event in &*events {
                let content = Content::Event(Box::new(event.clone()));
                state.push_service(queue, content, enqueued_at, expires_at);
            }
            Ok(())
        })
    }

    fn service_purge(&self, queue: ServiceQueue) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            state.service.retain(|_, (of, _)| *of != queue);
            Ok(())
        })
    }

    fn c2d_first<'a>(
        &'a self,
        identity: &'a Identity,
        now: Timestamp,
        skip: Vec<u64>,
    ) -> PortFuture<'a, Option<Enqueued>, StoreError> {
        self.run(move |state| {
            let unexpired = state.queue(identity).map(|waiting| &waiting.enqueued).filter(|one| one.expires_at() > now);
            let mut free = unexpired.filter(|one| !skip.contains(&one.sequence_number));
            Ok(free.next().cloned())
        })
    }

    fn c2d_list<'a>(&'a self, identity: &'a Identity) -> PortFuture<'a, Vec<Enqueued>, StoreError> {
        self.run(|state| Ok(state.queue(identity).map(Waiting::without_body).collect()))
    }

    fn c2d_settle<'a>(
        &'a self,
        identity: &'a Identity,
        settlements: Vec<Settlement>,
    ) -> PortFuture<'a, usize, StoreError> {
        self.run(move |state| {
            Ok(settlements.into_iter().filter(|settlement| state.settle(identity, settlement.clone())).count())
        })
    }

    fn c2d_expired(
        &self,
        now: Timestamp,
        after: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<(Identity, Enqueued)>, StoreError> {
        self.run(move |state| {
            let place = |waiting: &Waiting| (waiting.enqueued.expires_at(), waiting.enqueued.sequence_number);
            let mut expired: Vec<&Waiting> = state.c2d.values().collect();
            expired.retain(|waiting| place(waiting).0 <= now && is_after(&place(waiting), after.as_ref()));
            expired.sort_by_key(|waiting| place(waiting));
            let named = |waiting: &Waiting| (waiting.identity.clone(), waiting.without_body());
            Ok(expired.into_iter().take(limit).map(named).collect())
        })
    }

    fn feedback_batch(&self, batch: FeedbackBatch) -> PortFuture<'_, usize, StoreError> {
        self.run(move |state| {
            let mut made = 0;
            while let Some((oldest, _)) = state.feedback.front() {
                if *oldest > batch.due_at && state.feedback.len() < batch.len_max {
                    break;
                }
                let len = state.feedback.len().min(batch.len_max);
                let documents: Vec<String> = state.feedback.drain(..len).map(|(_, document)| document).collect();
                let body = Bytes::from(format!("[{}]", documents.join(",")));
                state.push_service(ServiceQueue::Feedback, Content::Text(body), batch.enqueued_at, batch.expires_at);
                state.bound_service(ServiceQueue::Feedback, batch.queue_len_max);
                made += 1;
            }
            Ok(made)
        })
    }

    fn service_push(
        &self,
        queue: ServiceQueue,
        body: Bytes,
        enqueued_at: Timestamp,
        expires_at: Timestamp,
        len_max: usize,
    ) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            state.push_service(queue, Content::Text(body), enqueued_at, expires_at);
            state.bound_service(queue, len_max);
            Ok(())
        })
    }

    fn service_first(
        &self,
        queue: ServiceQueue,
        now: Timestamp,
        skip: Vec<u64>,
    ) -> PortFuture<'_, Option<ServiceMessage>, StoreError> {
        self.run(move |state| {
            let unexpired = state.service_queue(queue).filter(|message| message.expires_at > now);
            let mut free = unexpired.filter(|message| !skip.contains(&message.sequence_number));
            Ok(free.next().cloned())
        })
    }

    fn service_settle(
        &self,
        queue: ServiceQueue,
        sequence_number: u64,
        change: QueueChange,
    ) -> PortFuture<'_, bool, StoreError> {
        self.run(move |state| {
            let Some((of, message)) = state.service.get_mut(&sequence_number) else { return Ok(false) };
            if *of != queue {
                return Ok(false);
            }
            match change {
                QueueChange::Remove => drop(state.service.remove(&sequence_number)),
                QueueChange::Count(count) => message.delivery_count = count,
            }
            Ok(true)
        })
    }

    fn service_expire(&self, now: Timestamp) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            state.service.retain(|_, (_, message)| message.expires_at > now);
            Ok(())
        })
    }
}
