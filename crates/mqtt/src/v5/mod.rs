//! MQTT 5 packets.
//!
//! As in version 3.1.1, decoding borrows from its input and never panics. Besides the list of filters it allocates
//! the list of user properties, which [`USER_PROPERTIES_MAX`] bounds, and room for a will. Source: OASIS MQTT
//! Version 5.0; sections are of that standard.

mod decode;
mod encode;
mod packet;
mod properties;

pub use decode::{Decoded, decode};
pub use encode::encode;
pub use packet::{
    Acknowledgement, Connack, Connect, Ending, Packet, Publish, Reason, Suback, Subscribe, SubscribeFilter,
    Unsubscribe, Will,
};
pub use properties::{Properties, USER_PROPERTIES_MAX};
