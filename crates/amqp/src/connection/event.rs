//! What a connection tells its owner.

use bytes::Bytes;

use super::session::SessionId;
use crate::decode::DecodeError;
use crate::frame::FrameError;
use crate::performative::{Attach, DeliveryState, ErrorCondition};
use crate::sasl::Plain;
use crate::value::Map;

/// A link of one connection; never reused while the connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The number of a delivery in its session and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub u32);

/// Something the owner of a connection must know.
#[derive(Debug)]
pub enum Event {
    /// Credentials to check; answer with `sasl_outcome` or `sasl_challenge`.
    Sasl(SaslRequest),
    /// The peer opened the connection.
    Opened(Box<Opened>),
    /// The peer wants a link; answer with `accept_attach` or `refuse_attach`.
    AttachRequested(Box<AttachRequest>),
    /// The peer answered our attach.
    Attached {
        /// Our link.
        link: LinkId,
        /// What the peer said.
        attach: Box<Attach>,
    },
    /// A link ended: the peer detached it, its session ended, or we ended it because the peer broke
    /// a rule.
    Detached {
        /// The link.
        link: LinkId,
        /// Why, when it was not in peace.
        error: Option<ErrorCondition>,
    },
    /// A whole message arrived.
    Message(Delivery),
    /// The peer said something about a delivery of ours.
    Disposition {
        /// The link it went over.
        link: LinkId,
        /// The delivery.
        delivery_id: DeliveryId,
        /// What the peer made of it.
        state: Option<DeliveryState>,
        /// Whether that was its last word. If not, answer with `settle_sent`.
        settled: bool,
    },
    /// A sending link may send.
    Credit {
        /// The link.
        link: LinkId,
        /// Deliveries it may send now.
        credit: u32,
        /// Whether the peer wants the credit used up at once; answer with `drained` when nothing
        /// more can be sent now.
        drain: bool,
    },
    /// The peer has sent what it had after `drain`; the credit that was left is void.
    Drained {
        /// Our receiving link.
        link: LinkId,
    },
    /// The connection is over. Nothing follows, and links are gone without further events.
    Closed {
        /// Why, when it was not in peace.
        error: Option<ErrorCondition>,
    },
}

/// Credentials a client presents in the SASL layer.
#[derive(Debug)]
pub enum SaslRequest {
    /// User and password.
    Plain(Plain),
    /// The certificate of the TLS layer.
    External,
    /// Mechanism [`TPM`](crate::sasl::TPM) begins: its first message.
    Tpm(Bytes),
    /// The answer to our challenge.
    Response(Bytes),
}

/// What the peer said in its open.
#[derive(Debug)]
pub struct Opened {
    /// Its name.
    pub container_id: String,
    /// The host it wants.
    pub hostname: Option<String>,
    /// Product, version and the like.
    pub properties: Map,
}

/// A link the peer asks for.
#[derive(Debug)]
pub struct AttachRequest {
    /// The link, if it comes to be.
    pub link: LinkId,
    /// Its session.
    pub session: SessionId,
    /// What the peer asked; the answer echoes it, so adjust source or target here before accepting.
    pub attach: Attach,
}

/// A message from the peer.
#[derive(Debug)]
pub struct Delivery {
    /// The link it came over.
    pub link: LinkId,
    /// Its number, for `settle`.
    pub delivery_id: DeliveryId,
    /// The sender's name for it.
    pub tag: Bytes,
    /// Whether the sender forgot it already.
    pub settled: bool,
    /// How the bytes are encoded; see [`crate::message::FORMAT_BATCH`].
    pub format: u32,
    /// The encoded message.
    pub message: Bytes,
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A performative cannot be decoded.
    #[error("malformed performative")]
    Decode(#[source] DecodeError),
    /// Bytes that are not a frame.
    #[error("malformed frame")]
    Framing(#[source] FrameError),
    /// The first eight bytes are not a protocol header we speak.
    #[error("protocol header {0:02x?} is not spoken here")]
    ProtocolHeader([u8; 8]),
    /// Something out of order.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str),
    /// A frame for a session that does not exist.
    #[error("no session on channel {0}")]
    Channel(u16),
    /// A handle over the maximum we announced.
    #[error("link handle over the announced maximum")]
    Handle,
    /// A begin over the maximum we announced.
    #[error("too many sessions")]
    TooManySessions,
    /// The peer was silent past our idle timeout.
    #[error("no frame within the idle timeout")]
    IdleTimeout,
    /// The peer did not come to an end with opening.
    #[error("handshake not finished in time")]
    HandshakeTimeout,
    /// The peer did not answer our close.
    #[error("close not answered in time")]
    CloseTimeout,
    /// The server refused the client's credentials, with this SASL code.
    #[error("SASL outcome {0}")]
    SaslRefused(u8),
}
