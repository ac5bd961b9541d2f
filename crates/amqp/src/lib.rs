//! AMQP 1.0: types, frames, SASL, connection, session and link state, without sockets or clock.
//!
//! [`Connection`] is the way in: feed it bytes and the time, take events and bytes to send from it.
//! Everything below it is public too, because the heads encode messages straight into its output
//! buffer with [`encode`] and read message sections with [`Message`].
//!
//! Promises: bytes from outside never panic; nesting, element counts, frames, partial messages,
//! sessions, links and unsettled deliveries are bounded; every performative we write carries every
//! field, because one widespread client decodes them by position.
//!
//! Deliberately absent: sockets, clocks, randomness, tokens and devices. Transactions, link
//! recovery (`unsettled` maps, `resume`) and the TLS protocol header are not implemented; they are
//! refused or ignored, as the respective place says.
//!
//! Section numbers in this crate are those of the OASIS standard "AMQP 1.0", parts 1 to 5.

pub mod condition;
pub mod connection;
pub mod decode;
pub mod encode;
pub mod frame;
pub mod message;
pub mod performative;
pub mod sasl;
pub mod terminus;
pub mod value;

pub use connection::{Connection, Error, Event};
pub use decode::DecodeError;
pub use message::{Body, Header, Message, MessageId, Properties};
pub use performative::{DeliveryState, ErrorCondition, ReceiverSettleMode, Role, SenderSettleMode};
pub use terminus::{Source, Target};
pub use value::{Array, Described, Map, Symbol, Value};
