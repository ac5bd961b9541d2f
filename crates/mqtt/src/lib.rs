//! MQTT packets: bytes to packets and packets to bytes. Version 3.1.1 is at the root, version 5 in [`v5`].
//!
//! No sockets, no clock, no idea what a device is. Decoding borrows from the input, so a
//! gateway can hand a publish on without copying it; encoding appends to a buffer the
//! caller owns. Source: OASIS MQTT Version 3.1.1 ("the standard" below).

mod decode;
mod encode;
mod packet;
pub mod v5;

pub use decode::{DecodeError, Decoded, decode};
pub use encode::{
    encode_connack, encode_connect, encode_disconnect, encode_pingreq, encode_pingresp, encode_puback, encode_publish,
    encode_suback, encode_subscribe, encode_unsuback, encode_unsubscribe,
};
pub use packet::{Connack, Connect, ConnectReturnCode, Filters, Packet, Publish, QoS, Suback, Subscribe, Will};
