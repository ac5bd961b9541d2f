//! The packets.

/// How often a publish may arrive (section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(clippy::enum_variant_names, reason = "the names of the standard")]
pub enum QoS {
    /// At most once, no acknowledgement.
    AtMostOnce = 0,
    /// At least once, acknowledged by PUBACK.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Any control packet (section 2.2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Client asks for a connection.
    Connect(Connect<'a>),
    /// Server's answer to it.
    Connack(Connack),
    /// A message, either way.
    Publish(Publish<'a>),
    /// Acknowledges a QoS 1 publish with this packet id.
    Puback(u16),
    /// First answer to a QoS 2 publish.
    Pubrec(u16),
    /// Second step of QoS 2.
    Pubrel(u16),
    /// Last step of QoS 2.
    Pubcomp(u16),
    /// Client asks for topics.
    Subscribe(Subscribe<'a>),
    /// Server's answer to it.
    Suback(Suback<'a>),
    /// Client no longer wants topics; every requested QoS reads 0.
    Unsubscribe(Subscribe<'a>),
    /// Server's answer to it.
    Unsuback(u16),
    /// Are you there?
    Pingreq,
    /// Yes.
    Pingresp,
    /// Client leaves in order.
    Disconnect,
}

/// CONNECT (section 3.1).
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    /// Protocol name, `MQTT` in 3.1.1.
    pub protocol_name: &'a str,
    /// Protocol level: 4 for 3.1.1.
    pub protocol_level: u8,
    /// Whether the session starts empty and ends with the connection.
    pub clean_session: bool,
    /// Seconds between packets the client promises; 0 for no promise.
    pub keep_alive_secs: u16,
    /// Client id.
    pub client_id: &'a str,
    /// Message to publish when the connection ends without DISCONNECT.
    pub will: Option<Will<'a>>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// The will in a CONNECT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// Where to publish it.
    pub topic: &'a str,
    /// Its content.
    pub message: &'a [u8],
    /// Its QoS.
    pub qos: QoS,
    /// Its retain flag.
    pub retain: bool,
}

/// Why a connection was accepted or refused (section 3.2.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectReturnCode {
    /// Accepted.
    Accepted = 0,
    /// The server does not speak this protocol level.
    UnacceptableProtocolVersion = 1,
    /// The client id is not allowed.
    IdentifierRejected = 2,
    /// Try again later.
    ServerUnavailable = 3,
    /// Malformed user name or password.
    BadUserNameOrPassword = 4,
    /// Not authorized.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        use ConnectReturnCode::*;
        [
            Accepted,
            UnacceptableProtocolVersion,
            IdentifierRejected,
            ServerUnavailable,
            BadUserNameOrPassword,
            NotAuthorized,
        ]
        .get(usize::from(byte))
        .copied()
    }
}

/// CONNACK (section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connack {
    /// Whether the server kept a session for this client id.
    pub session_present: bool,
    /// The answer.
    pub code: ConnectReturnCode,
}

/// PUBLISH (section 3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// Sent before, perhaps.
    pub dup: bool,
    /// Delivery promise.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name, without wildcards.
    pub topic: &'a str,
    /// Packet id; 0 for QoS 0.
    pub packet_id: u16,
    /// The message.
    pub payload: &'a [u8],
}

/// SUBSCRIBE or UNSUBSCRIBE (sections 3.8 and 3.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// Packet id to answer with.
    pub packet_id: u16,
    /// The filters, in order; at least one.
    pub filters: Filters<'a>,
}

/// The filters of one packet with the QoS asked for each.
pub type Filters<'a> = Vec<(&'a str, QoS)>;

/// SUBACK (section 3.9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suback<'a> {
    /// The SUBSCRIBE it answers.
    pub packet_id: u16,
    /// Granted QoS for each filter; 0x80 for a refusal.
    pub return_codes: &'a [u8],
}
