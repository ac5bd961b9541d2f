//! The nine performatives of part 2, delivery states (part 3, 3.4) and errors (part 2, 2.8.14).
//!
//! Every encoder writes every field of its list, null or not: a widespread client reads them by
//! position and fails on lists that stop early. Decoders accept lists of any length.

use bytes::Bytes;

use crate::decode::{DecodeError, Fields, Reader};
use crate::encode::{self, Compound};
use crate::terminus::{self, Source, Target};
use crate::value::{Map, Symbol, Value};

const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const FLOW: u8 = 0x13;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const END: u8 = 0x17;
const CLOSE: u8 = 0x18;
const ERROR: u8 = 0x1D;
const RECEIVED: u8 = 0x23;
const ACCEPTED: u8 = 0x24;
const REJECTED: u8 = 0x25;
const RELEASED: u8 = 0x26;
const MODIFIED: u8 = 0x27;

type Result<T> = std::result::Result<T, DecodeError>;

/// Which end of a link a peer is (2.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends transfers.
    Sender,
    /// Receives transfers.
    Receiver,
}

impl Role {
    /// The other end.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        encode::boolean(out, self == Self::Receiver);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        let receiver = fields.boolean()?.ok_or(DecodeError::Missing("role"))?;
        Ok(if receiver { Self::Receiver } else { Self::Sender })
    }
}

/// How the sender of a link settles (2.8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SenderSettleMode {
    /// Sends everything unsettled.
    Unsettled = 0,
    /// Sends everything settled.
    Settled = 1,
    /// Decides for each delivery.
    #[default]
    Mixed = 2,
}

/// How the receiver of a link settles (2.8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ReceiverSettleMode {
    /// Settles by itself.
    #[default]
    First = 0,
    /// Settles after the sender has.
    Second = 1,
}

/// An error on the wire (2.8.14).
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorCondition {
    /// The kind, for programs.
    pub condition: Symbol,
    /// What happened, for people.
    pub description: String,
    /// Facts, for programs.
    pub info: Map,
}

impl ErrorCondition {
    /// An error without facts.
    pub fn new(condition: Symbol, description: impl Into<String>) -> Self {
        Self { condition, description: description.into(), info: Map::new() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, ERROR);
        let list = encode::begin(out, Compound::List);
        encode::symbol(out, self.condition.as_str());
        encode::string(out, &self.description);
        encode::map(out, &self.info);
        encode::finish(out, list, 3);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let descriptor = reader.descriptor()?;
        if descriptor != ERROR.into() {
            return Err(DecodeError::UnknownDescriptor(descriptor));
        }
        let mut fields = reader.fields()?;
        Ok(Self {
            condition: fields.symbol()?.ok_or(DecodeError::Missing("condition"))?,
            description: fields.string()?.unwrap_or_default(),
            info: fields.map()?,
        })
    }
}

fn encode_error(out: &mut Vec<u8>, error: Option<&ErrorCondition>) {
    match error {
        Some(error) => error.encode(out),
        None => encode::null(out),
    }
}

fn decode_error(fields: &mut Fields<'_>) -> Result<Option<ErrorCondition>> {
    fields.present()?.map(ErrorCondition::decode).transpose()
}

/// The state of a delivery (part 3, 3.4).
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryState {
    /// Part of it arrived.
    Received {
        /// Section of the message.
        section_number: u32,
        /// Byte in that section.
        section_offset: u64,
    },
    /// Taken over.
    Accepted,
    /// Refused for good.
    Rejected(Option<ErrorCondition>),
    /// Not processed; may be sent again.
    Released,
    /// Not processed; may be sent again after a change.
    Modified {
        /// Counts as a failed attempt.
        delivery_failed: bool,
        /// Not for this receiver again.
        undeliverable_here: bool,
        /// Annotations to merge into the message.
        annotations: Map,
    },
    /// A state this library does not know.
    Other(Value),
}

impl DeliveryState {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Received { section_number, section_offset } => {
                encode::descriptor(out, RECEIVED);
                let list = encode::begin(out, Compound::List);
                encode::uint(out, *section_number);
                encode::ulong(out, *section_offset);
                encode::finish(out, list, 2);
            }
            Self::Accepted => encode_empty(out, ACCEPTED),
            Self::Released => encode_empty(out, RELEASED),
            Self::Rejected(error) => {
                encode::descriptor(out, REJECTED);
                let list = encode::begin(out, Compound::List);
                encode_error(out, error.as_ref());
                encode::finish(out, list, 1);
            }
            Self::Modified { delivery_failed, undeliverable_here, annotations } => {
                encode::descriptor(out, MODIFIED);
                let list = encode::begin(out, Compound::List);
                encode::boolean(out, *delivery_failed);
                encode::boolean(out, *undeliverable_here);
                encode::map_or_null(out, annotations);
                encode::finish(out, list, 3);
            }
            Self::Other(value) => encode::value(out, value),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let rest = reader.rest();
        let descriptor = reader.descriptor()?;
        let mut fields = reader.fields()?;
        Ok(match u8::try_from(descriptor).unwrap_or(0) {
            RECEIVED => Self::Received {
                section_number: fields.uint()?.unwrap_or(0),
                section_offset: fields.ulong()?.unwrap_or(0),
            },
            ACCEPTED => Self::Accepted,
            REJECTED => Self::Rejected(decode_error(&mut fields)?),
            RELEASED => Self::Released,
            MODIFIED => Self::Modified {
                delivery_failed: fields.boolean()?.unwrap_or(false),
                undeliverable_here: fields.boolean()?.unwrap_or(false),
                annotations: fields.map()?,
            },
            _ => Self::Other(Reader::new(&rest).value()?),
        })
    }
}

fn encode_empty(out: &mut Vec<u8>, code: u8) {
    encode::descriptor(out, code);
    let list = encode::begin(out, Compound::List);
    encode::finish(out, list, 0);
}

fn encode_state(out: &mut Vec<u8>, state: Option<&DeliveryState>) {
    match state {
        Some(state) => state.encode(out),
        None => encode::null(out),
    }
}

fn decode_state(fields: &mut Fields<'_>) -> Result<Option<DeliveryState>> {
    fields.present()?.map(DeliveryState::decode).transpose()
}

/// Negotiates a connection (2.7.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// Name of the sending container.
    pub container_id: String,
    /// Host the client wants.
    pub hostname: Option<String>,
    /// Largest frame, in bytes, the sender of this performative accepts.
    pub max_frame_size: u32,
    /// Highest channel number it accepts.
    pub channel_max: u16,
    /// Milliseconds of silence after which it gives up.
    pub idle_timeout: Option<u32>,
    /// Extensions it has.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions it would use.
    pub desired_capabilities: Vec<Symbol>,
    /// Product, version and the like.
    pub properties: Map,
}

impl Open {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, OPEN);
        let list = encode::begin(out, Compound::List);
        encode::string(out, &self.container_id);
        encode::string_or_null(out, self.hostname.as_deref());
        encode::uint(out, self.max_frame_size);
        encode::ushort(out, self.channel_max);
        encode_uint_or_null(out, self.idle_timeout);
        encode::null(out); // outgoing-locales: en-US
        encode::null(out); // incoming-locales
        encode::symbols_or_null(out, &self.offered_capabilities);
        encode::symbols_or_null(out, &self.desired_capabilities);
        encode::map_or_null(out, &self.properties);
        encode::finish(out, list, 10);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        let container_id = fields.string()?.unwrap_or_default();
        let hostname = fields.string()?;
        let max_frame_size = fields.uint()?.unwrap_or(u32::MAX);
        let channel_max = fields.ushort()?.unwrap_or(u16::MAX);
        let idle_timeout = fields.uint()?;
        fields.skip(2)?;
        Ok(Self {
            container_id,
            hostname,
            max_frame_size,
            channel_max,
            idle_timeout,
            offered_capabilities: fields.symbols()?,
            desired_capabilities: fields.symbols()?,
            properties: fields.map()?,
        })
    }
}

/// Begins a session (2.7.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Begin {
    /// The peer's channel when this is an answer.
    pub remote_channel: Option<u16>,
    /// Id of the sender's next transfer.
    pub next_outgoing_id: u32,
    /// Transfers it can take.
    pub incoming_window: u32,
    /// Transfers it may send.
    pub outgoing_window: u32,
    /// Highest handle it accepts.
    pub handle_max: u32,
    /// Extensions it has.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions it would use.
    pub desired_capabilities: Vec<Symbol>,
    /// Anything else.
    pub properties: Map,
}

impl Begin {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, BEGIN);
        let list = encode::begin(out, Compound::List);
        match self.remote_channel {
            Some(channel) => encode::ushort(out, channel),
            None => encode::null(out),
        }
        encode::uint(out, self.next_outgoing_id);
        encode::uint(out, self.incoming_window);
        encode::uint(out, self.outgoing_window);
        encode::uint(out, self.handle_max);
        encode::symbols_or_null(out, &self.offered_capabilities);
        encode::symbols_or_null(out, &self.desired_capabilities);
        encode::map_or_null(out, &self.properties);
        encode::finish(out, list, 8);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Self {
            remote_channel: fields.ushort()?,
            next_outgoing_id: required(fields, "next-outgoing-id")?,
            incoming_window: required(fields, "incoming-window")?,
            outgoing_window: required(fields, "outgoing-window")?,
            handle_max: fields.uint()?.unwrap_or(u32::MAX),
            offered_capabilities: fields.symbols()?,
            desired_capabilities: fields.symbols()?,
            properties: fields.map()?,
        })
    }
}

/// Attaches a link (2.7.3).
#[derive(Clone, Debug, PartialEq)]
pub struct Attach {
    /// Name of the link, unique between the two containers for its direction.
    pub name: String,
    /// The number the sender of this performative uses for it.
    pub handle: u32,
    /// The sender's end.
    pub role: Role,
    /// Settlement by the link's sender.
    pub snd_settle_mode: SenderSettleMode,
    /// Settlement by the link's receiver.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Where messages come from.
    pub source: Option<Source>,
    /// Where messages go; `None` for a transaction coordinator too.
    pub target: Option<Target>,
    /// Delivery count the link's sender starts with.
    pub initial_delivery_count: Option<u32>,
    /// Largest message, in bytes, the sender of this performative takes; 0 and absent: any.
    pub max_message_size: Option<u64>,
    /// Extensions it has.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions it would use.
    pub desired_capabilities: Vec<Symbol>,
    /// Link properties.
    pub properties: Map,
}

impl Attach {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, ATTACH);
        let list = encode::begin(out, Compound::List);
        encode::string(out, &self.name);
        encode::uint(out, self.handle);
        self.role.encode(out);
        encode::ubyte(out, self.snd_settle_mode as u8);
        encode::ubyte(out, self.rcv_settle_mode as u8);
        match &self.source {
            Some(source) => source.encode(out),
            None => encode::null(out),
        }
        match &self.target {
            Some(target) => target.encode(out),
            None => encode::null(out),
        }
        encode::null(out); // unsettled: links are not recovered
        encode::boolean(out, false); // incomplete-unsettled
        encode_uint_or_null(out, self.initial_delivery_count);
        match self.max_message_size {
            Some(size) => encode::ulong(out, size),
            None => encode::null(out),
        }
        encode::symbols_or_null(out, &self.offered_capabilities);
        encode::symbols_or_null(out, &self.desired_capabilities);
        encode::map_or_null(out, &self.properties);
        encode::finish(out, list, 14);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        let name = fields.string()?.ok_or(DecodeError::Missing("name"))?;
        let handle = required(fields, "handle")?;
        let role = Role::decode(fields)?;
        let snd_settle_mode = match fields.ubyte()? {
            Some(0) => SenderSettleMode::Unsettled,
            Some(1) => SenderSettleMode::Settled,
            None | Some(2) => SenderSettleMode::Mixed,
            Some(_) => return Err(DecodeError::Domain("snd-settle-mode")),
        };
        let rcv_settle_mode = match fields.ubyte()? {
            None | Some(0) => ReceiverSettleMode::First,
            Some(1) => ReceiverSettleMode::Second,
            Some(_) => return Err(DecodeError::Domain("rcv-settle-mode")),
        };
        let source = terminus::optional(fields.present()?, terminus::SOURCE, Source::decode)?;
        let target = terminus::optional(fields.present()?, terminus::TARGET, Target::decode)?;
        fields.skip(2)?; // unsettled, incomplete-unsettled
        Ok(Self {
            name,
            handle,
            role,
            snd_settle_mode,
            rcv_settle_mode,
            source,
            target,
            initial_delivery_count: fields.uint()?,
            max_message_size: fields.ulong()?,
            offered_capabilities: fields.symbols()?,
            desired_capabilities: fields.symbols()?,
            properties: fields.map()?,
        })
    }
}

/// Updates session windows and link credit (2.7.4).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Flow {
    /// The transfer id the sender of this performative expects next.
    pub next_incoming_id: Option<u32>,
    /// Transfers it can take.
    pub incoming_window: u32,
    /// Id of its next transfer.
    pub next_outgoing_id: u32,
    /// Transfers it may send.
    pub outgoing_window: u32,
    /// The link the rest is about; absent: the session alone.
    pub handle: Option<u32>,
    /// Deliveries so far.
    pub delivery_count: Option<u32>,
    /// Deliveries the link's sender may add to them.
    pub link_credit: Option<u32>,
    /// Deliveries the link's sender has waiting.
    pub available: Option<u32>,
    /// Whether the sender shall use up the credit at once.
    pub drain: bool,
    /// Whether an answer is wanted.
    pub echo: bool,
}

impl Flow {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, FLOW);
        let list = encode::begin(out, Compound::List);
        encode_uint_or_null(out, self.next_incoming_id);
        encode::uint(out, self.incoming_window);
        encode::uint(out, self.next_outgoing_id);
        encode::uint(out, self.outgoing_window);
        encode_uint_or_null(out, self.handle);
        encode_uint_or_null(out, self.delivery_count);
        encode_uint_or_null(out, self.link_credit);
        encode_uint_or_null(out, self.available);
        encode::boolean(out, self.drain);
        encode::boolean(out, self.echo);
        encode::null(out); // properties
        encode::finish(out, list, 11);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Self {
            next_incoming_id: fields.uint()?,
            incoming_window: required(fields, "incoming-window")?,
            next_outgoing_id: required(fields, "next-outgoing-id")?,
            outgoing_window: required(fields, "outgoing-window")?,
            handle: fields.uint()?,
            delivery_count: fields.uint()?,
            link_credit: fields.uint()?,
            available: fields.uint()?,
            drain: fields.boolean()?.unwrap_or(false),
            echo: fields.boolean()?.unwrap_or(false),
        })
    }
}

/// Carries a message or a part of one (2.7.5). The payload follows the performative in its frame.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Transfer {
    /// The link.
    pub handle: u32,
    /// Number of the delivery in its session; on the first transfer of a delivery.
    pub delivery_id: Option<u32>,
    /// The sender's name for the delivery; on the first transfer.
    pub delivery_tag: Option<Bytes>,
    /// How the message is encoded; 0 is part 3.
    pub message_format: Option<u32>,
    /// Whether the sender has settled it.
    pub settled: Option<bool>,
    /// Whether more transfers follow for this delivery.
    pub more: bool,
    /// Whether the delivery is given up.
    pub aborted: bool,
}

impl Transfer {
    /// The parts of a transfer as borrowed values: the fast path writes this for every frame.
    #[inline]
    pub(crate) fn encode_parts(
        out: &mut Vec<u8>,
        handle: u32,
        first: Option<(u32, &[u8], u32)>,
        settled: bool,
        more: bool,
    ) {
        encode::descriptor(out, TRANSFER);
        let list = encode::begin(out, Compound::List);
        encode::uint(out, handle);
        match first {
            Some((delivery_id, tag, format)) => {
                encode::uint(out, delivery_id);
                encode::binary(out, tag);
                encode::uint(out, format);
            }
            None => (0..3).for_each(|_| encode::null(out)),
        }
        encode::boolean(out, settled);
        encode::boolean(out, more);
        encode::null(out); // rcv-settle-mode: that of the link
        encode::null(out); // state
        encode::boolean(out, false); // resume
        encode::boolean(out, false); // aborted
        encode::boolean(out, false); // batchable
        encode::finish(out, list, 11);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, TRANSFER);
        let list = encode::begin(out, Compound::List);
        encode::uint(out, self.handle);
        encode_uint_or_null(out, self.delivery_id);
        match &self.delivery_tag {
            Some(tag) => encode::binary(out, tag),
            None => encode::null(out),
        }
        encode_uint_or_null(out, self.message_format);
        match self.settled {
            Some(settled) => encode::boolean(out, settled),
            None => encode::null(out),
        }
        encode::boolean(out, self.more);
        encode::null(out); // rcv-settle-mode
        encode::null(out); // state
        encode::boolean(out, false); // resume
        encode::boolean(out, self.aborted);
        encode::boolean(out, false); // batchable
        encode::finish(out, list, 11);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        let handle = required(fields, "handle")?;
        let delivery_id = fields.uint()?;
        let delivery_tag = fields.binary()?;
        let message_format = fields.uint()?;
        let settled = fields.boolean()?;
        let more = fields.boolean()?.unwrap_or(false);
        fields.skip(3)?; // rcv-settle-mode, state, resume
        let aborted = fields.boolean()?.unwrap_or(false);
        Ok(Self { handle, delivery_id, delivery_tag, message_format, settled, more, aborted })
    }
}

/// Reports the state of deliveries (2.7.6).
#[derive(Clone, Debug, PartialEq)]
pub struct Disposition {
    /// The end that reports.
    pub role: Role,
    /// First delivery id.
    pub first: u32,
    /// Last delivery id; absent: the first.
    pub last: Option<u32>,
    /// Whether the reporting end has settled them.
    pub settled: bool,
    /// Their state.
    pub state: Option<DeliveryState>,
}

impl Disposition {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, DISPOSITION);
        let list = encode::begin(out, Compound::List);
        self.role.encode(out);
        encode::uint(out, self.first);
        encode_uint_or_null(out, self.last);
        encode::boolean(out, self.settled);
        encode_state(out, self.state.as_ref());
        encode::boolean(out, false); // batchable
        encode::finish(out, list, 6);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Self {
            role: Role::decode(fields)?,
            first: required(fields, "first")?,
            last: fields.uint()?,
            settled: fields.boolean()?.unwrap_or(false),
            state: decode_state(fields)?,
        })
    }
}

/// Detaches a link (2.7.7).
#[derive(Clone, Debug, PartialEq)]
pub struct Detach {
    /// The link.
    pub handle: u32,
    /// Whether the link is gone for good.
    pub closed: bool,
    /// Why.
    pub error: Option<ErrorCondition>,
}

impl Detach {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, DETACH);
        let list = encode::begin(out, Compound::List);
        encode::uint(out, self.handle);
        encode::boolean(out, self.closed);
        encode_error(out, self.error.as_ref());
        encode::finish(out, list, 3);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Self {
            handle: required(fields, "handle")?,
            closed: fields.boolean()?.unwrap_or(false),
            error: decode_error(fields)?,
        })
    }
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "decoded and matched at once, never stored")]
pub enum Performative {
    /// See [`Open`].
    Open(Open),
    /// See [`Begin`].
    Begin(Begin),
    /// See [`Attach`].
    Attach(Attach),
    /// See [`Flow`].
    Flow(Flow),
    /// See [`Transfer`].
    Transfer(Transfer),
    /// See [`Disposition`].
    Disposition(Disposition),
    /// See [`Detach`].
    Detach(Detach),
    /// Ends a session (2.7.8).
    End(Option<ErrorCondition>),
    /// Closes the connection (2.7.9).
    Close(Option<ErrorCondition>),
}

impl Performative {
    /// Appends the performative.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open(open) => open.encode(out),
            Self::Begin(begin) => begin.encode(out),
            Self::Attach(attach) => attach.encode(out),
            Self::Flow(flow) => flow.encode(out),
            Self::Transfer(transfer) => transfer.encode(out),
            Self::Disposition(disposition) => disposition.encode(out),
            Self::Detach(detach) => detach.encode(out),
            Self::End(error) => encode_last(out, END, error.as_ref()),
            Self::Close(error) => encode_last(out, CLOSE, error.as_ref()),
        }
    }

    /// Reads a performative; the payload, if any, is what the reader has left.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let descriptor = reader.descriptor()?;
        let mut fields = reader.fields()?;
        let fields = &mut fields;
        Ok(match u8::try_from(descriptor).unwrap_or(0) {
            OPEN => Self::Open(Open::decode(fields)?),
            BEGIN => Self::Begin(Begin::decode(fields)?),
            ATTACH => Self::Attach(Attach::decode(fields)?),
            FLOW => Self::Flow(Flow::decode(fields)?),
            TRANSFER => Self::Transfer(Transfer::decode(fields)?),
            DISPOSITION => Self::Disposition(Disposition::decode(fields)?),
            DETACH => Self::Detach(Detach::decode(fields)?),
            END => Self::End(decode_error(fields)?),
            CLOSE => Self::Close(decode_error(fields)?),
            _ => return Err(DecodeError::UnknownDescriptor(descriptor)),
        })
    }
}

fn encode_last(out: &mut Vec<u8>, code: u8, error: Option<&ErrorCondition>) {
    encode::descriptor(out, code);
    let list = encode::begin(out, Compound::List);
    encode_error(out, error);
    encode::finish(out, list, 1);
}

fn encode_uint_or_null(out: &mut Vec<u8>, value: Option<u32>) {
    match value {
        Some(value) => encode::uint(out, value),
        None => encode::null(out),
    }
}

fn required(fields: &mut Fields<'_>, name: &'static str) -> Result<u32> {
    fields.uint()?.ok_or(DecodeError::Missing(name))
}
