//! The packets of version 5.

use super::Properties;
use crate::QoS;

/// Why something was done, refused or ended (section 2.4). Codes of 0x80 and above are failures; unknown ones are
/// kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Reason(pub u8);

impl Reason {
    /// Done; or a DISCONNECT in order; or QoS 0 is granted.
    pub const SUCCESS: Self = Self(0x00);
    /// A DISCONNECT after which the will is published.
    pub const DISCONNECT_WITH_WILL: Self = Self(0x04);
    /// UNSUBACK: there was no such subscription.
    pub const NO_SUBSCRIPTION_EXISTED: Self = Self(0x11);
    /// AUTH: prove it again.
    pub const REAUTHENTICATE: Self = Self(0x19);
    /// The bytes are no packet.
    pub const MALFORMED_PACKET: Self = Self(0x81);
    /// The packet is not allowed here.
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    /// Refused for a reason of the server's own.
    pub const IMPLEMENTATION_SPECIFIC: Self = Self(0x83);
    /// The client id is not allowed.
    pub const CLIENT_ID_NOT_VALID: Self = Self(0x85);
    /// Not authorized.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// Try again later.
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    /// Too much to do.
    pub const SERVER_BUSY: Self = Self(0x89);
    /// The server stops.
    pub const SERVER_SHUTTING_DOWN: Self = Self(0x8b);
    /// No such authentication method, or another one than at CONNECT.
    pub const BAD_AUTHENTICATION_METHOD: Self = Self(0x8c);
    /// Nothing was heard for too long.
    pub const KEEP_ALIVE_TIMEOUT: Self = Self(0x8d);
    /// Another connection has the client id now.
    pub const SESSION_TAKEN_OVER: Self = Self(0x8e);
    /// The filter is not allowed.
    pub const TOPIC_FILTER_INVALID: Self = Self(0x8f);
    /// The topic is not allowed.
    pub const TOPIC_NAME_INVALID: Self = Self(0x90);
    /// More QoS 1 publishes than allowed are not acknowledged.
    pub const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    /// A topic alias of 0, beyond the maximum, or never set.
    pub const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    /// Longer than the maximum.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    /// Too many, or too fast.
    pub const QUOTA_EXCEEDED: Self = Self(0x97);
    /// Retained messages are not kept.
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9a);
    /// The QoS is not offered.
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9b);
    /// Shared subscriptions are not offered.
    pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0x9e);
    /// Connections come too fast.
    pub const CONNECTION_RATE_EXCEEDED: Self = Self(0x9f);
    /// Subscription identifiers are not offered.
    pub const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: Self = Self(0xa1);
    /// Filters with wildcards are not offered.
    pub const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0xa2);

    /// Whether it says that something was refused.
    pub fn is_failure(self) -> bool {
        self.0 >= 0x80
    }
}

impl From<QoS> for Reason {
    /// The grant of a QoS.
    fn from(qos: QoS) -> Self {
        Self(qos as u8)
    }
}

/// Any control packet (section 2.1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Client asks for a connection.
    Connect(Connect<'a>),
    /// Server's answer to it.
    Connack(Connack<'a>),
    /// A message, either way.
    Publish(Publish<'a>),
    /// Answers a QoS 1 publish.
    Puback(Acknowledgement<'a>),
    /// First answer to a QoS 2 publish.
    Pubrec(Acknowledgement<'a>),
    /// Second step of QoS 2.
    Pubrel(Acknowledgement<'a>),
    /// Last step of QoS 2.
    Pubcomp(Acknowledgement<'a>),
    /// Client asks for topics.
    Subscribe(Subscribe<'a>),
    /// Server's answer to it.
    Suback(Suback<'a>),
    /// Client no longer wants topics.
    Unsubscribe(Unsubscribe<'a>),
    /// Server's answer to it.
    Unsuback(Suback<'a>),
    /// Are you there?
    Pingreq,
    /// Yes.
    Pingresp,
    /// Either side leaves.
    Disconnect(Ending<'a>),
    /// A step of enhanced authentication.
    Auth(Ending<'a>),
}

/// CONNECT (section 3.1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Connect<'a> {
    /// Whether an earlier session is dropped.
    pub clean_start: bool,
    /// Seconds between packets the client promises; 0 for no promise.
    pub keep_alive_secs: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// Client id.
    pub client_id: &'a str,
    /// Message to publish when the connection ends without DISCONNECT.
    pub will: Option<Box<Will<'a>>>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// The will in a CONNECT (section 3.1.3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// Its properties.
    pub properties: Properties<'a>,
    /// Where to publish it.
    pub topic: &'a str,
    /// Its content.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: QoS,
    /// Its retain flag.
    pub retain: bool,
}

/// CONNACK (section 3.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Connack<'a> {
    /// Whether the server kept a session for this client id.
    pub session_present: bool,
    /// The answer.
    pub reason: Reason,
    /// Its properties.
    pub properties: Properties<'a>,
}

/// PUBLISH (section 3.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// Sent before, perhaps.
    pub dup: bool,
    /// Delivery promise.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name, without wildcards; empty when there is an alias for it.
    pub topic: &'a str,
    /// Packet id; 0 for QoS 0.
    pub packet_id: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// The message.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acknowledgement<'a> {
    /// The PUBLISH it is about.
    pub packet_id: u16,
    /// What became of it.
    pub reason: Reason,
    /// Its properties.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE (section 3.8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// Packet id to answer with.
    pub packet_id: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// The filters, in order; at least one.
    pub filters: Vec<SubscribeFilter<'a>>,
}

/// A filter of a SUBSCRIBE and its options (section 3.8.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscribeFilter<'a> {
    /// The filter.
    pub filter: &'a str,
    /// The most the client wants.
    pub qos: QoS,
    /// Not to the connection that published it.
    pub no_local: bool,
    /// Keep the retain flag as published.
    pub retain_as_published: bool,
    /// When retained messages are sent: 0 to 2.
    pub retain_handling: u8,
}

/// UNSUBSCRIBE (section 3.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// Packet id to answer with.
    pub packet_id: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// The filters, in order; at least one.
    pub filters: Vec<&'a str>,
}

/// SUBACK or UNSUBACK (sections 3.9 and 3.11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suback<'a> {
    /// The packet it answers.
    pub packet_id: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// A code for each filter.
    pub reasons: &'a [u8],
}

/// DISCONNECT or AUTH: a reason and properties (sections 3.14 and 3.15).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ending<'a> {
    /// Why.
    pub reason: Reason,
    /// Its properties.
    pub properties: Properties<'a>,
}
