//! Properties: what packets of version 5 say beside their fixed fields (section 2.2.2).

use super::encode::{binary, variable_integer};
use crate::DecodeError;
use crate::decode::Fields;

/// User properties of one packet. The standard has no bound; each of them takes five bytes on the wire and more here.
pub const USER_PROPERTIES_MAX: usize = 256;

/// The properties of one packet. Which may be there depends on its kind; decoding checks it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "each is named and explained in section 2.2.2.2")]
pub struct Properties<'a> {
    pub payload_format: Option<u8>,
    pub message_expiry_secs: Option<u32>,
    pub content_type: Option<&'a str>,
    pub response_topic: Option<&'a str>,
    pub correlation_data: Option<&'a [u8]>,
    pub subscription_identifier: Option<u32>,
    pub session_expiry_secs: Option<u32>,
    pub assigned_client_id: Option<&'a str>,
    pub server_keep_alive_secs: Option<u16>,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
    pub request_problem_information: Option<bool>,
    pub will_delay_secs: Option<u32>,
    pub request_response_information: Option<bool>,
    pub response_information: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub reason_string: Option<&'a str>,
    pub receive_maximum: Option<u16>,
    pub topic_alias_maximum: Option<u16>,
    pub topic_alias: Option<u16>,
    pub maximum_qos: Option<u8>,
    pub retain_available: Option<bool>,
    pub maximum_packet_size: Option<u32>,
    pub wildcard_subscriptions_available: Option<bool>,
    pub subscription_identifiers_available: Option<bool>,
    pub shared_subscriptions_available: Option<bool>,
    /// User properties, in order.
    pub user: Vec<(&'a str, &'a str)>,
}

/// What has properties: a kind of packet by the number of its type, or a will.
#[derive(Clone, Copy)]
pub(super) struct Holder(u16);

impl Holder {
    pub(super) const WILL: Self = Self(1);

    pub(super) const fn packet(kind: u8) -> Self {
        Self(1 << kind)
    }

    /// Whether it may have a property (table 2-4).
    fn may_have(self, id: u8) -> bool {
        const CONNECT: u16 = 1 << 1;
        const CONNACK: u16 = 1 << 2;
        const PUBLISH: u16 = 1 << 3;
        const ANSWERS: u16 = 0b1111 << 4 | 1 << 9 | 1 << 11;
        const SUBSCRIBE: u16 = 1 << 8;
        const DISCONNECT: u16 = 1 << 14;
        const AUTH: u16 = 1 << 15;
        let holders = match id {
            0x01 | 0x02 | 0x03 | 0x08 | 0x09 => PUBLISH | Self::WILL.0,
            0x0b => PUBLISH | SUBSCRIBE,
            0x11 => CONNECT | CONNACK | DISCONNECT,
            0x12 | 0x13 | 0x1a | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => CONNACK,
            0x15 | 0x16 => CONNECT | CONNACK | AUTH,
            0x17 | 0x19 => CONNECT,
            0x18 => Self::WILL.0,
            0x1c => CONNACK | DISCONNECT,
            0x1f => CONNACK | ANSWERS | DISCONNECT | AUTH,
            0x21 | 0x22 | 0x27 => CONNECT | CONNACK,
            0x23 => PUBLISH,
            0x26 => u16::MAX,
            _ => 0,
        };
        holders & self.0 != 0
    }
}

/// A value that may be there once.
fn once<T>(slot: &mut Option<T>, id: u8, value: T) -> Result<(), DecodeError> {
    if slot.replace(value).is_some() { Err(DecodeError::RepeatedProperty(id)) } else { Ok(()) }
}

fn flag(id: u8, value: u8) -> Result<bool, DecodeError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::PropertyValue(id)),
    }
}

fn not_zero<T: Default + PartialEq>(id: u8, value: T) -> Result<T, DecodeError> {
    if value == T::default() { Err(DecodeError::PropertyValue(id)) } else { Ok(value) }
}

impl<'a> Properties<'a> {
    /// Reads the length of the properties and the properties.
    pub(super) fn decode(fields: &mut Fields<'a>, holder: Holder) -> Result<Self, DecodeError> {
        let len = fields.variable()?;
        let mut fields = Fields(fields.take(len)?);
        let mut properties = Self::default();
        while !fields.0.is_empty() {
            let id = fields.byte()?;
            if !holder.may_have(id) {
                return Err(DecodeError::Property(id));
            }
            properties.read(id, &mut fields)?;
        }
        Ok(properties)
    }

    fn read(&mut self, id: u8, fields: &mut Fields<'a>) -> Result<(), DecodeError> {
        match id {
            0x01 => once(&mut self.payload_format, id, fields.byte()?),
            0x02 => once(&mut self.message_expiry_secs, id, fields.u32()?),
            0x03 => once(&mut self.content_type, id, fields.text()?),
            0x08 => once(&mut self.response_topic, id, fields.text()?),
            0x09 => once(&mut self.correlation_data, id, fields.binary()?),
            0x0b => {
                let value = not_zero(id, fields.variable()?)?;
                once(&mut self.subscription_identifier, id, u32::try_from(value).unwrap_or(u32::MAX))
            }
            0x11 => once(&mut self.session_expiry_secs, id, fields.u32()?),
            0x12 => once(&mut self.assigned_client_id, id, fields.text()?),
            0x13 => once(&mut self.server_keep_alive_secs, id, fields.u16()?),
            0x15 => once(&mut self.authentication_method, id, fields.text()?),
            0x16 => once(&mut self.authentication_data, id, fields.binary()?),
            0x17 => once(&mut self.request_problem_information, id, flag(id, fields.byte()?)?),
            0x18 => once(&mut self.will_delay_secs, id, fields.u32()?),
            0x19 => once(&mut self.request_response_information, id, flag(id, fields.byte()?)?),
            0x1a => once(&mut self.response_information, id, fields.text()?),
            0x1c => once(&mut self.server_reference, id, fields.text()?),
            0x1f => once(&mut self.reason_string, id, fields.text()?),
            0x21 => once(&mut self.receive_maximum, id, not_zero(id, fields.u16()?)?),
            0x22 => once(&mut self.topic_alias_maximum, id, fields.u16()?),
            0x23 => once(&mut self.topic_alias, id, fields.u16()?),
            0x24 => once(&mut self.maximum_qos, id, u8::from(flag(id, fields.byte()?)?)),
            0x25 => once(&mut self.retain_available, id, flag(id, fields.byte()?)?),
            0x26 => {
                if self.user.len() >= USER_PROPERTIES_MAX {
                    return Err(DecodeError::TooManyProperties);
                }
                self.user.push((fields.text()?, fields.text()?));
                Ok(())
            }
            0x27 => once(&mut self.maximum_packet_size, id, not_zero(id, fields.u32()?)?),
            0x28 => once(&mut self.wildcard_subscriptions_available, id, flag(id, fields.byte()?)?),
            0x29 => once(&mut self.subscription_identifiers_available, id, flag(id, fields.byte()?)?),
            0x2a => once(&mut self.shared_subscriptions_available, id, flag(id, fields.byte()?)?),
            other => Err(DecodeError::Property(other)),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The value of the last user property of that name.
    pub fn user_property(&self, name: &str) -> Option<&'a str> {
        self.user.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Appends the length of the properties and the properties.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = vec![];
        byte(&mut body, 0x01, self.payload_format);
        long(&mut body, 0x02, self.message_expiry_secs);
        text(&mut body, 0x03, self.content_type);
        text(&mut body, 0x08, self.response_topic);
        bytes(&mut body, 0x09, self.correlation_data);
        if let Some(identifier) = self.subscription_identifier {
            body.push(0x0b);
            variable_integer(&mut body, usize::try_from(identifier).unwrap_or(usize::MAX));
        }
        long(&mut body, 0x11, self.session_expiry_secs);
        text(&mut body, 0x12, self.assigned_client_id);
        short(&mut body, 0x13, self.server_keep_alive_secs);
        text(&mut body, 0x15, self.authentication_method);
        bytes(&mut body, 0x16, self.authentication_data);
        byte(&mut body, 0x17, self.request_problem_information.map(u8::from));
        long(&mut body, 0x18, self.will_delay_secs);
        byte(&mut body, 0x19, self.request_response_information.map(u8::from));
        text(&mut body, 0x1a, self.response_information);
        text(&mut body, 0x1c, self.server_reference);
        short(&mut body, 0x21, self.receive_maximum);
        short(&mut body, 0x22, self.topic_alias_maximum);
        short(&mut body, 0x23, self.topic_alias);
        byte(&mut body, 0x24, self.maximum_qos);
        byte(&mut body, 0x25, self.retain_available.map(u8::from));
        long(&mut body, 0x27, self.maximum_packet_size);
        byte(&mut body, 0x28, self.wildcard_subscriptions_available.map(u8::from));
        byte(&mut body, 0x29, self.subscription_identifiers_available.map(u8::from));
        byte(&mut body, 0x2a, self.shared_subscriptions_available.map(u8::from));
        for (name, value) in &self.user {
            body.push(0x26);
            binary(&mut body, name.as_bytes());
            binary(&mut body, value.as_bytes());
        }
        text(&mut body, 0x1f, self.reason_string);
        variable_integer(out, body.len());
        out.extend_from_slice(&body);
    }
}

fn byte(out: &mut Vec<u8>, id: u8, value: Option<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(&[id, value]);
    }
}

fn short(out: &mut Vec<u8>, id: u8, value: Option<u16>) {
    if let Some(value) = value {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn long(out: &mut Vec<u8>, id: u8, value: Option<u32>) {
    if let Some(value) = value {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn text(out: &mut Vec<u8>, id: u8, value: Option<&str>) {
    bytes(out, id, value.map(str::as_bytes));
}

fn bytes(out: &mut Vec<u8>, id: u8, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.push(id);
        binary(out, value);
    }
}
