//! Message sections (part 3, 3.2).
//!
//! [`Message`] is for reading and for building the occasional message. Deliveries in bulk are
//! written section by section with the `encode_*` functions, from borrowed fields.

use bytes::Bytes;
use uuid::Uuid;

use crate::decode::{DecodeError, Fields, Reader};
use crate::encode::{self, Compound};
use crate::value::{Map, Symbol, Value};

const HEADER: u8 = 0x70;
const DELIVERY_ANNOTATIONS: u8 = 0x71;
const MESSAGE_ANNOTATIONS: u8 = 0x72;
const PROPERTIES: u8 = 0x73;
const APPLICATION_PROPERTIES: u8 = 0x74;
const DATA: u8 = 0x75;
const SEQUENCE: u8 = 0x76;
const VALUE: u8 = 0x77;
const FOOTER: u8 = 0x78;

/// Transfer format of a message whose body is a sequence of data sections, each a whole encoded
/// message: a batch.
pub const FORMAT_BATCH: u32 = 0x8001_3700;

type Result<T> = std::result::Result<T, DecodeError>;

/// Transport headers (3.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message must survive its broker.
    pub durable: bool,
    /// 0 to 9.
    pub priority: u8,
    /// Time to live in milliseconds.
    pub ttl: Option<u32>,
    /// Whether nobody acquired it before.
    pub first_acquirer: bool,
    /// Failed attempts so far.
    pub delivery_count: u32,
}

/// The priority of a message that names none.
const PRIORITY: u8 = 4;

impl Default for Header {
    fn default() -> Self {
        Self { durable: false, priority: PRIORITY, ttl: None, first_acquirer: false, delivery_count: 0 }
    }
}

impl Header {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, HEADER);
        let list = encode::begin(out, Compound::List);
        encode::boolean(out, self.durable);
        encode::ubyte(out, self.priority);
        match self.ttl {
            Some(ttl) => encode::uint(out, ttl),
            None => encode::null(out),
        }
        encode::boolean(out, self.first_acquirer);
        encode::uint(out, self.delivery_count);
        encode::finish(out, list, 5);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Self {
            durable: fields.boolean()?.unwrap_or(false),
            priority: fields.ubyte()?.unwrap_or(PRIORITY),
            ttl: fields.uint()?,
            first_acquirer: fields.boolean()?.unwrap_or(false),
            delivery_count: fields.uint()?.unwrap_or(0),
        })
    }
}

/// A message or correlation id (3.2.11 to 3.2.14). Answers must carry the type they were asked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// A number.
    Ulong(u64),
    /// An RFC 4122 identifier.
    Uuid(Uuid),
    /// Opaque bytes.
    Binary(Bytes),
    /// Text.
    String(String),
}

impl MessageId {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ulong(n) => encode::ulong(out, *n),
            Self::Uuid(id) => encode::uuid(out, *id),
            Self::Binary(bytes) => encode::binary(out, bytes),
            Self::String(text) => encode::string(out, text),
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Option<Self>> {
        Ok(match fields.value()? {
            None => None,
            Some(Value::Ulong(n)) => Some(Self::Ulong(n)),
            Some(Value::Uuid(id)) => Some(Self::Uuid(id)),
            Some(Value::Binary(bytes)) => Some(Self::Binary(bytes)),
            Some(Value::String(text)) => Some(Self::String(text)),
            Some(_) => return Err(DecodeError::Domain("message-id or correlation-id")),
        })
    }
}

/// The text of an id where everything is text: bytes are hex in capitals, as in the reference's own AMQP library.
impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ulong(n) => write!(f, "{n}"),
            Self::Uuid(id) => write!(f, "{id}"),
            Self::Binary(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}")),
            Self::String(text) => f.write_str(text),
        }
    }
}

/// Immutable properties (3.2.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Identifies the message.
    pub message_id: Option<MessageId>,
    /// Who made it.
    pub user_id: Option<Bytes>,
    /// Where it goes.
    pub to: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// What it answers.
    pub correlation_id: Option<MessageId>,
    /// MIME type of the body.
    pub content_type: Option<Symbol>,
    /// Encoding of the body.
    pub content_encoding: Option<Symbol>,
    /// Milliseconds since the epoch after which it is void.
    pub absolute_expiry_time: Option<i64>,
    /// Milliseconds since the epoch when it was made.
    pub creation_time: Option<i64>,
    /// Its group.
    pub group_id: Option<String>,
    /// Its place in the group.
    pub group_sequence: Option<u32>,
    /// The group of answers.
    pub reply_to_group_id: Option<String>,
}

impl Properties {
    fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, PROPERTIES);
        let list = encode::begin(out, Compound::List);
        encode_id(out, self.message_id.as_ref());
        match &self.user_id {
            Some(user_id) => encode::binary(out, user_id),
            None => encode::null(out),
        }
        encode::string_or_null(out, self.to.as_deref());
        encode::string_or_null(out, self.subject.as_deref());
        encode::string_or_null(out, self.reply_to.as_deref());
        encode_id(out, self.correlation_id.as_ref());
        encode::symbol_or_null(out, self.content_type.as_ref());
        encode::symbol_or_null(out, self.content_encoding.as_ref());
        encode_timestamp(out, self.absolute_expiry_time);
        encode_timestamp(out, self.creation_time);
        encode::string_or_null(out, self.group_id.as_deref());
        match self.group_sequence {
            Some(sequence) => encode::uint(out, sequence),
            None => encode::null(out),
        }
        encode::string_or_null(out, self.reply_to_group_id.as_deref());
        encode::finish(out, list, 13);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Self {
            message_id: MessageId::decode(fields)?,
            user_id: fields.binary()?,
            to: fields.string()?,
            subject: fields.string()?,
            reply_to: fields.string()?,
            correlation_id: MessageId::decode(fields)?,
            content_type: fields.symbol()?,
            content_encoding: fields.symbol()?,
            absolute_expiry_time: fields.timestamp()?,
            creation_time: fields.timestamp()?,
            group_id: fields.string()?,
            group_sequence: fields.uint()?,
            reply_to_group_id: fields.string()?,
        })
    }
}

/// The bare message's content (3.2.6 to 3.2.8).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Body {
    /// No body section. Not legal, and sent all the same by clients whose requests have none.
    #[default]
    Empty,
    /// Data sections.
    Data(Vec<Bytes>),
    /// Sequence sections.
    Sequence(Vec<Vec<Value>>),
    /// One value.
    Value(Value),
}

impl Body {
    /// The body as bytes: the data sections joined, without a copy when there is one. Text and
    /// binary values count as their bytes; anything else has none.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Bytes> {
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Data(sections) => Some(match sections.as_slice() {
                [single] => single.clone(),
                several => several.concat().into(),
            }),
            Self::Value(Value::Binary(bytes)) => Some(bytes.clone()),
            Self::Value(Value::String(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
            Self::Value(_) | Self::Sequence(_) => None,
        }
    }
}

/// A decoded message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Section `header`.
    pub header: Option<Header>,
    /// Section `delivery-annotations`.
    pub delivery_annotations: Map,
    /// Section `message-annotations`.
    pub message_annotations: Map,
    /// Section `properties`.
    pub properties: Option<Properties>,
    /// Section `application-properties`; keys are strings, values are of simple types.
    pub application_properties: Map,
    /// The body.
    pub body: Body,
    /// Section `footer`.
    pub footer: Map,
}

impl Message {
    /// Reads a whole message. Body bytes share the buffer.
    ///
    /// # Errors
    /// Any [`DecodeError`]; sections in another order than the standard's are accepted.
    pub fn decode(bytes: &Bytes) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut message = Self::default();
        while !reader.is_empty() {
            let descriptor = reader.descriptor()?;
            match u8::try_from(descriptor).unwrap_or(0) {
                HEADER => message.header = Some(Header::decode(&mut reader.fields()?)?),
                DELIVERY_ANNOTATIONS => message.delivery_annotations = reader.map()?,
                MESSAGE_ANNOTATIONS => message.message_annotations = reader.map()?,
                PROPERTIES => message.properties = Some(Properties::decode(&mut reader.fields()?)?),
                APPLICATION_PROPERTIES => message.application_properties = reader.map()?,
                FOOTER => message.footer = reader.map()?,
                DATA | SEQUENCE | VALUE => message.body.push(descriptor, &mut reader)?,
                _ => return Err(DecodeError::UnknownDescriptor(descriptor)),
            }
        }
        Ok(message)
    }

    /// Appends the message. Empty sections are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Some(header) = &self.header {
            header.encode(out);
        }
        encode_section(out, DELIVERY_ANNOTATIONS, &self.delivery_annotations);
        encode_section(out, MESSAGE_ANNOTATIONS, &self.message_annotations);
        if let Some(properties) = &self.properties {
            properties.encode(out);
        }
        encode_section(out, APPLICATION_PROPERTIES, &self.application_properties);
        match &self.body {
            Body::Empty => {}
            Body::Data(sections) => sections.iter().for_each(|data| encode_data(out, data)),
            Body::Sequence(sections) => {
                for values in sections {
                    encode::descriptor(out, SEQUENCE);
                    let list = encode::begin(out, Compound::List);
                    values.iter().for_each(|value| encode::value(out, value));
                    encode::finish(out, list, values.len());
                }
            }
            Body::Value(value) => {
                encode::descriptor(out, VALUE);
                encode::value(out, value);
            }
        }
        encode_section(out, FOOTER, &self.footer);
    }

    /// The value of an application property.
    #[must_use]
    pub fn application_property(&self, name: &str) -> Option<&Value> {
        lookup(&self.application_properties, name)
    }

    /// The value of a message annotation.
    #[must_use]
    pub fn message_annotation(&self, name: &str) -> Option<&Value> {
        lookup(&self.message_annotations, name)
    }
}

impl Body {
    fn push(&mut self, descriptor: u64, reader: &mut Reader<'_>) -> Result<()> {
        if descriptor == VALUE.into() {
            if *self != Self::Empty {
                return Err(DecodeError::Domain("body"));
            }
            *self = Self::Value(reader.value()?);
        } else if descriptor == DATA.into() {
            let data = reader.binary()?;
            match self {
                Self::Data(sections) => sections.push(data),
                Self::Empty => *self = Self::Data(vec![data]),
                _ => return Err(DecodeError::Domain("body")),
            }
        } else {
            let Value::List(values) = reader.value()? else {
                return Err(DecodeError::Domain("amqp-sequence"));
            };
            match self {
                Self::Sequence(sections) => sections.push(values),
                Self::Empty => *self = Self::Sequence(vec![values]),
                _ => return Err(DecodeError::Domain("body")),
            }
        }
        Ok(())
    }
}

/// The value of a string or symbol key.
#[must_use]
pub fn lookup<'m>(map: &'m Map, name: &str) -> Option<&'m Value> {
    map.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

/// Writes a `delivery-annotations` section. `entries` appends keys and values and returns how many
/// pairs it wrote.
#[inline]
pub fn encode_delivery_annotations(out: &mut Vec<u8>, entries: impl FnOnce(&mut Vec<u8>) -> usize) {
    encode_map(out, DELIVERY_ANNOTATIONS, entries);
}

/// Writes a `message-annotations` section; see [`encode_delivery_annotations`].
#[inline]
pub fn encode_message_annotations(out: &mut Vec<u8>, entries: impl FnOnce(&mut Vec<u8>) -> usize) {
    encode_map(out, MESSAGE_ANNOTATIONS, entries);
}

/// Writes an `application-properties` section; see [`encode_delivery_annotations`].
#[inline]
pub fn encode_application_properties(out: &mut Vec<u8>, entries: impl FnOnce(&mut Vec<u8>) -> usize) {
    encode_map(out, APPLICATION_PROPERTIES, entries);
}

/// Writes a `properties` section.
pub fn encode_properties(out: &mut Vec<u8>, properties: &Properties) {
    properties.encode(out);
}

/// Starts a `properties` section written field by field: 13 values, then [`encode::finish`] with
/// count 13.
pub fn begin_properties(out: &mut Vec<u8>) -> encode::Open {
    encode::descriptor(out, PROPERTIES);
    encode::begin(out, Compound::List)
}

/// Writes a `data` section.
#[inline]
pub fn encode_data(out: &mut Vec<u8>, data: &[u8]) {
    encode::descriptor(out, DATA);
    encode::binary(out, data);
}

#[inline]
fn encode_map(out: &mut Vec<u8>, code: u8, entries: impl FnOnce(&mut Vec<u8>) -> usize) {
    encode::descriptor(out, code);
    let map = encode::begin(out, Compound::Map);
    let pairs = entries(out);
    encode::finish(out, map, pairs * 2);
}

fn encode_section(out: &mut Vec<u8>, code: u8, entries: &Map) {
    if !entries.is_empty() {
        encode::descriptor(out, code);
        encode::map(out, entries);
    }
}

fn encode_id(out: &mut Vec<u8>, id: Option<&MessageId>) {
    match id {
        Some(id) => id.encode(out),
        None => encode::null(out),
    }
}

fn encode_timestamp(out: &mut Vec<u8>, time: Option<i64>) {
    match time {
        Some(time) => encode::timestamp(out, time),
        None => encode::null(out),
    }
}
