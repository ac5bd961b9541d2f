//! Connections of devices, and what goes over them at once: deliveries, direct methods, streams.

pub mod connection;
pub(crate) mod methods;
pub mod streams;

use gantry_identity::{Identity, Timestamp};

use crate::access::Session;
use crate::connections::connection::{Mailbox, Subscriptions};
use crate::error::HubError;
use crate::hub::Hub;
use crate::ports::Presence;

impl Hub {
    /// Connections open now.
    pub fn connected_count(&self) -> usize {
        self.connections.count()
    }

    /// Whether the identity is connected.
    pub fn is_connected(&self, identity: &Identity) -> bool {
        self.connections.is_connected(identity)
    }

    /// Opens the mailbox of an authenticated device, taking it over from an older connection.
    pub async fn connect(&self, now: Timestamp, session: &Session, persistent: bool) -> Result<Mailbox, HubError> {
        let kept = if persistent { session.subscriptions } else { Subscriptions::default() };
        if !persistent && session.subscriptions != Subscriptions::default() {
            self.store.save_subscriptions(&session.identity, 0).await?;
        }
        if let Some(model_id) = &session.model_id {
            self.announce_model(&session.identity, model_id).await?;
        }
        // An older connection loses what it holds; requests keep their locks.
        self.queues.locks.release_connections(&session.identity);
        let mailbox = self.connections.open(now, session.identity.clone(), kept);
        self.note(now, &session.identity, kept);
        self.report_connection(now, &session.identity, true);
        Ok(mailbox)
    }

    /// Sets what a connection hears; kept over reconnects when the session is persistent.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscribe(&self, mailbox: &Mailbox, wanted: Subscriptions, persistent: bool) -> Result<(), HubError> {
        if persistent && wanted != mailbox.subscriptions() {
            self.store.save_subscriptions(mailbox.identity(), wanted.0).await?;
        }
        mailbox.subscribe(wanted);
        Ok(())
    }

    /// Gives back what a closing connection held.
    pub fn disconnect(&self, now: Timestamp, mailbox: Mailbox) {
        let (holder, current, kept) = (mailbox.holder().clone(), mailbox.is_current(), mailbox.subscriptions());
        drop(mailbox);
        self.queues.locks.release_holder(&holder.identity, holder.number);
        if current {
            self.note(now, &holder.identity, kept);
            self.report_connection(now, &holder.identity, false);
        }
    }

    /// Notes that a connection was ended by the hub: its holder will find it is not current.
    pub(crate) fn note_gone(&self, now: Timestamp, identity: &Identity) {
        self.note(now, identity, Subscriptions::default());
        self.report_connection(now, identity, false);
    }

    fn note(&self, now: Timestamp, identity: &Identity, subscriptions: Subscriptions) {
        let presence =
            Presence { updated_at: now, last_activity_at: now, subscriptions: subscriptions.0, c2d_count: 0 };
        self.store.note_presence(identity, presence);
    }
}
