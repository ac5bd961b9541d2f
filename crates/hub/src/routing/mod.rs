//! Message routing: which events go to which endpoints, and what is added to them on the way.
//!
//! Decided once, when an event is written: its record says where it goes and with which
//! enrichments, so every reader of the log agrees and a change of routes touches no event
//! that is stored already. The built-in endpoint is a view of the log, as are endpoints that
//! are streams of this platform; all others have a sender with a cursor of its own.
//!
//! Sources, conditions, fallback and enrichments are those of "IoT Hub message routing";
//! shapes are those of its management API (`RoutingProperties`), with `webhooks` beside the
//! endpoint types of the reference.

mod health;
mod message;
mod settings;
mod store;
mod table;
mod test;
mod validation;

pub use message::Message;
pub use settings::{
    BUILT_IN, Endpoint, EndpointKind, Endpoints, Enrichment, FallbackRoute, Route, Routing, RoutingError, Source,
    StorageContainer, Stream, Topic, Webhook,
};
pub use table::{Added, Decision, Destinations, Table};
pub use test::{RouteVerdict, TestMessage, Verdict};
pub use validation::{LINK_LIFE, Validation};

pub use store::InUse;
pub(crate) use store::Routes;
