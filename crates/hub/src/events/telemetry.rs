//! Telemetry: what devices send, on its way into the log.

use std::time::Duration;

use gantry_identity::{Identity, Timestamp};
use serde_json::Value;

use crate::access::Session;
use crate::error::HubError;
use crate::events::event::{Event, MessageSource, Telemetry};
use crate::hub::Hub;
use crate::limits;
use crate::ports::Append;
use crate::routing::{Decision, Destinations, Message};
use crate::throttle::Operation;

/// Messages on their way into the log.
pub struct Taken {
    /// Resolves when they are durable.
    pub append: Append,
    /// How long to hold back the acknowledgement: the sender is faster than the edition allows.
    pub wait: Duration,
}

const TELEMETRY: MessageSource = MessageSource::Telemetry;

impl Hub {
    /// Stamps messages with what the hub knows of their sender and appends them to the log, in order.
    /// The future resolves when all of them are durable; only then may the head acknowledge.
    ///
    /// # Errors
    /// [`HubError::MessageTooLarge`], [`HubError::Throttled`] or [`HubError::QuotaExceeded`]; nothing is taken then.
    pub fn telemetry(&self, now: Timestamp, session: &Session, messages: &[Telemetry<'_>]) -> Result<Taken, HubError> {
        if let Some(bytes) = messages.iter().map(Telemetry::size).find(|size| *size > limits::D2C_BYTES_MAX) {
            return Err(HubError::MessageTooLarge { bytes, max: limits::D2C_BYTES_MAX });
        }
        self.check_sending(now, &session.identity)?;
        let fault = self.send_fault(now, &session.identity)?;
        let wait = self.admit(now, Operation::Telemetry, messages.len() as u64)? + fault.delay;
        self.count_messages(now, messages.iter().map(Telemetry::size))?;
        let table = self.routes.table();
        let twin = if table.uses_twin() { self.twin_for_routes(&session.identity) } else { None };
        let (identity, model_id) = (&session.identity, session.model_id.as_deref());
        let decide = |message| match table.is_plain() {
            true => Decision { destinations: Destinations::BUILT_IN, added: vec![] },
            false => table.decide(&Message::new(TELEMETRY, identity, now, model_id, message, twin.as_ref())),
        };
        let twice = if fault.is_doubled { messages } else { &[] };
        let events: Vec<Event<'_>> = messages
            .iter()
            .chain(twice)
            .map(|message| {
                let Decision { destinations, added } = decide(message);
                Event {
                    source: TELEMETRY,
                    identity,
                    generation_id: &session.generation_id,
                    auth_method: &session.auth_method,
                    model_id,
                    enqueued_at: now,
                    message,
                    destinations,
                    added: added.into(),
                }
            })
            .collect();
        self.connections.touch(now, &session.identity);
        Ok(Taken { append: self.log.append(&events), wait })
    }

    /// The twin as conditions and enrichments see it: what this process knows of it now.
    pub(crate) fn twin_for_routes(&self, identity: &Identity) -> Option<Value> {
        self.store.known(identity).map(|record| record.twin_document(true))
    }
}
