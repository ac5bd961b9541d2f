//! Links over which services take outcomes of their messages, notifications of files, and what routes send to queues.

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::{AbortHandle, Abortable};
use gantry_amqp::connection::{DeliveryId, LinkId, Outgoing};
use gantry_amqp::{Body, DeliveryState, Header, Message, Properties, Symbol, Value};
use gantry_hub::event::names;
use gantry_hub::service_queue::{Locked, ServiceMessage, ServiceQueue};
use gantry_hub::{HubError, LockToken};
use tracing::debug;

use super::connection::{Done, Head};
use super::device::{Said, outcome, settled_state};
use super::links::LinkKind;
use super::routed;

/// A link to a service queue.
#[derive(Debug)]
pub(super) struct ServiceLink {
    queue: ServiceQueue,
    in_hand: HashMap<DeliveryId, LockToken>,
    /// Stops the waiting for a message.
    waiting: Option<AbortHandle>,
    /// The service wants to know when there is nothing more.
    draining: bool,
}

/// A message was waited for.
pub(super) struct Received {
    link: LinkId,
    queue: ServiceQueue,
    result: Result<Option<Locked<ServiceMessage>>, HubError>,
}

/// A message was settled in the hub.
pub(super) struct Settled {
    link: LinkId,
    delivery_id: DeliveryId,
    /// The service forgot it already.
    settled: bool,
    result: Result<(), HubError>,
}

impl ServiceLink {
    pub(super) fn new(queue: ServiceQueue) -> Self {
        Self { queue, in_hand: HashMap::new(), waiting: None, draining: false }
    }
}

impl Head {
    fn service_link(&mut self, id: LinkId) -> Option<&mut ServiceLink> {
        match &mut self.links.get_mut(&id)?.kind {
            LinkKind::Service(link) => Some(link),
            _ => None,
        }
    }

    /// The service granted credit; with `drain` it wants no more than there is.
    pub(super) fn service_credit(&mut self, id: LinkId, drain: bool) {
        let Some(link) = self.service_link(id) else { return };
        if drain && !link.draining {
            link.draining = true;
            if let Some(waiting) = link.waiting.take() {
                waiting.abort();
            }
        }
        self.pump_service(id);
    }

    fn pump_service(&mut self, id: LinkId) {
        let has_credit = self.amqp.sendable(id) > 0;
        let (hub, now) = (self.context.hub.clone(), self.context.now);
        let Some(link) = self.service_link(id) else { return };
        if link.waiting.is_some() {
            return;
        }
        if !has_credit {
            if std::mem::take(&mut link.draining) {
                self.amqp.drained(id);
            }
            return;
        }
        let (abort, registration) = AbortHandle::new_pair();
        link.waiting = Some(abort);
        let (queue, draining) = (link.queue, link.draining);
        let receive = async move {
            let result = if draining {
                hub.receive_service(now(), queue).await
            } else {
                hub.next_service(now, queue).await.map(Some)
            };
            Done::Received(Received { link: id, queue, result })
        };
        self.work.push(Box::pin(Abortable::new(receive, registration)));
    }

    pub(super) fn service_received(&mut self, received: Received) {
        let Received { link: id, queue, result } = received;
        let has_credit = self.amqp.sendable(id) > 0;
        let locked = result.unwrap_or_else(|error| {
            tracing::warn!(?queue, %error, "queue not readable");
            None
        });
        let Some(link) = self.service_link(id) else {
            self.service_give_back(queue, locked);
            return;
        };
        link.waiting = None;
        match locked {
            Some(locked) if has_credit => {
                self.send_service(id, queue, locked);
                self.pump_service(id);
            }
            Some(locked) => self.service_give_back(queue, Some(locked)),
            None => {
                if std::mem::take(&mut link.draining) {
                    self.amqp.drained(id);
                }
            }
        }
    }

    fn service_give_back(&self, queue: ServiceQueue, locked: Option<Locked<ServiceMessage>>) {
        if let Some(locked) = locked {
            self.context.hub.release_service(queue, locked.token);
        }
    }

    fn send_service(&mut self, id: LinkId, queue: ServiceQueue, locked: Locked<ServiceMessage>) {
        let message = match queue {
            ServiceQueue::Routed { .. } => routed::write(locked.token, &locked.message, locked.until),
            _ => write(queue, locked.token, &locked.message),
        };
        let delivery = Outgoing { tag: locked.token.as_bytes(), settled: false, format: 0 };
        match self.amqp.send_with(id, delivery, |out| message.encode(out)) {
            Ok(delivery_id) => {
                if let Some(link) = self.service_link(id) {
                    link.in_hand.insert(delivery_id, locked.token);
                }
            }
            Err(_) => self.context.hub.release_service(queue, locked.token),
        }
    }

    /// A service said something about a message.
    pub(super) fn service_disposed(
        &mut self,
        id: LinkId,
        delivery_id: DeliveryId,
        state: Option<&DeliveryState>,
        settled: bool,
    ) {
        let Some(link) = self.service_link(id) else { return };
        let queue = link.queue;
        let said = outcome(state, settled);
        if matches!(said, Said::Nothing) {
            return;
        }
        let Some(token) = link.in_hand.remove(&delivery_id) else { return };
        let Said::Settle(settle) = said else {
            self.context.hub.release_service(queue, token);
            return;
        };
        let (hub, now) = (self.context.hub.clone(), self.context.now);
        self.work.push(Box::pin(async move {
            let result = hub.settle_service(now(), queue, token, settle).await;
            Ok(Done::ServiceSettled(Settled { link: id, delivery_id, settled, result }))
        }));
    }

    pub(super) fn service_settled(&mut self, done: Settled) {
        let Settled { link, delivery_id, settled, result } = done;
        if let Err(error) = &result {
            debug!(peer = %self.peer.address, %error, "message not settled");
        }
        if !settled {
            self.amqp.settle_sent(link, delivery_id, settled_state(result));
        }
    }

    /// A link is gone: what it held goes back.
    pub(super) fn service_link_removed(&mut self, link: ServiceLink) {
        if let Some(waiting) = link.waiting {
            waiting.abort();
        }
        for token in link.in_hand.into_values() {
            self.context.hub.release_service(link.queue, token);
        }
    }
}

/// A message as a service gets it.
fn write(queue: ServiceQueue, token: LockToken, message: &ServiceMessage) -> Message {
    let annotation = |name: &'static str, value| (Value::Symbol(Symbol::from_static(name)), value);
    Message {
        header: Some(Header { delivery_count: message.delivery_count, ..Header::default() }),
        message_annotations: vec![
            annotation("x-opt-lock-token", token.to_string().into()),
            annotation("x-opt-sequence-number", Value::Ulong(message.sequence_number)),
            annotation(names::ENQUEUED_TIME, Value::Timestamp(message.enqueued_at.as_millis())),
        ],
        properties: Some(Properties {
            message_id: Some(gantry_amqp::MessageId::String(token.to_string())),
            // One client reads it without a look whether it is there.
            user_id: Some(Bytes::from_static(b"gantry")),
            content_type: Some(Symbol::from_static(queue.content_type())),
            content_encoding: Some(Symbol::from_static("utf-8")),
            absolute_expiry_time: Some(message.expires_at.as_millis()),
            ..Properties::default()
        }),
        body: Body::Data(vec![message.content.body().clone()]),
        ..Message::default()
    }
}
