//! Bytes to packets of version 5.

use super::Properties;
use super::packet::{
    Acknowledgement, Connack, Connect, Ending, Packet, Publish, Reason, Suback, Subscribe, SubscribeFilter,
    Unsubscribe, Will,
};
use super::properties::Holder;
use crate::decode::{Fields, Frame, frame, topic_may_hold_wildcards};
use crate::{DecodeError, QoS};

/// A packet and how many bytes it took.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The packet, borrowing from the input.
    pub packet: Packet<'a>,
    /// Bytes to drop from the input before the next call.
    pub len: usize,
}

/// Decodes the packet at the start of `input`; `None` when more bytes are needed.
///
/// `len_max` bounds the whole packet in bytes, and is applied as soon as the length is known.
///
/// # Errors
/// [`DecodeError`] says what is malformed.
pub fn decode(input: &[u8], len_max: usize) -> Result<Option<Decoded<'_>>, DecodeError> {
    let Some(Frame { first, body, len }) = frame(input, len_max)? else { return Ok(None) };
    let packet = body_of(first, body)?;
    Ok(Some(Decoded { packet, len }))
}

fn body_of(first: u8, body: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let (kind, flags) = (first >> 4, first & 0x0f);
    let expected = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
    if kind != 3 && flags != expected {
        return Err(DecodeError::Flags);
    }
    let mut fields = Fields(body);
    let packet = match kind {
        1 => Packet::Connect(connect(&mut fields)?),
        2 => Packet::Connack(connack(&mut fields)?),
        3 => Packet::Publish(publish(flags, &mut fields)?),
        4 => Packet::Puback(acknowledgement(kind, &mut fields)?),
        5 => Packet::Pubrec(acknowledgement(kind, &mut fields)?),
        6 => Packet::Pubrel(acknowledgement(kind, &mut fields)?),
        7 => Packet::Pubcomp(acknowledgement(kind, &mut fields)?),
        8 => Packet::Subscribe(subscribe(&mut fields)?),
        9 => Packet::Suback(suback(kind, &mut fields)?),
        10 => Packet::Unsubscribe(unsubscribe(&mut fields)?),
        11 => Packet::Unsuback(suback(kind, &mut fields)?),
        12 => Packet::Pingreq,
        13 => Packet::Pingresp,
        14 => Packet::Disconnect(ending(kind, &mut fields)?),
        15 => Packet::Auth(ending(kind, &mut fields)?),
        other => return Err(DecodeError::Type(other)),
    };
    if fields.0.is_empty() { Ok(packet) } else { Err(DecodeError::TrailingBytes) }
}

fn connect<'a>(fields: &mut Fields<'a>) -> Result<Connect<'a>, DecodeError> {
    if fields.text()? != "MQTT" || fields.byte()? != 5 {
        return Err(DecodeError::Version);
    }
    let flags = fields.byte()?;
    let keep_alive_secs = fields.u16()?;
    let has = |bit: u8| flags & (1 << bit) != 0;
    // A password without a user name is allowed in this version.
    if has(0) || (!has(2) && flags & 0b0011_1000 != 0) {
        return Err(DecodeError::ConnectFlags);
    }
    let properties = Properties::decode(fields, Holder::packet(1))?;
    if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
        return Err(DecodeError::Property(0x16));
    }
    let client_id = fields.text()?;
    let will = if has(2) {
        let qos = QoS::from_bits((flags >> 3) & 3).ok_or(DecodeError::QoS)?;
        let properties = Properties::decode(fields, Holder::WILL)?;
        Some(Box::new(Will { properties, topic: fields.text()?, payload: fields.binary()?, qos, retain: has(5) }))
    } else {
        None
    };
    let user_name = if has(7) { Some(fields.text()?) } else { None };
    let password = if has(6) { Some(fields.binary()?) } else { None };
    Ok(Connect { clean_start: has(1), keep_alive_secs, properties, client_id, will, user_name, password })
}

fn connack<'a>(fields: &mut Fields<'a>) -> Result<Connack<'a>, DecodeError> {
    let session_present = match fields.byte()? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Flags),
    };
    let reason = Reason(fields.byte()?);
    Ok(Connack { session_present, reason, properties: Properties::decode(fields, Holder::packet(2))? })
}

fn publish<'a>(flags: u8, fields: &mut Fields<'a>) -> Result<Publish<'a>, DecodeError> {
    let qos = QoS::from_bits((flags >> 1) & 3).ok_or(DecodeError::QoS)?;
    let topic = fields.text()?;
    if topic.contains(['+', '#']) && !topic_may_hold_wildcards(topic) {
        return Err(DecodeError::Topic);
    }
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { fields.packet_id()? };
    let properties = Properties::decode(fields, Holder::packet(3))?;
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(DecodeError::Topic);
    }
    let payload = fields.rest();
    Ok(Publish { dup: flags & 8 != 0, qos, retain: flags & 1 != 0, topic, packet_id, properties, payload })
}

/// Reason and properties may be left out when there is nothing to say (section 3.4.2.1).
fn acknowledgement<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Acknowledgement<'a>, DecodeError> {
    let packet_id = fields.packet_id()?;
    let Ending { reason, properties } = ending(kind, fields)?;
    Ok(Acknowledgement { packet_id, reason, properties })
}

fn ending<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Ending<'a>, DecodeError> {
    if fields.0.is_empty() {
        return Ok(Ending::default());
    }
    let reason = Reason(fields.byte()?);
    if fields.0.is_empty() {
        return Ok(Ending { reason, properties: Properties::default() });
    }
    Ok(Ending { reason, properties: Properties::decode(fields, Holder::packet(kind))? })
}

fn subscribe<'a>(fields: &mut Fields<'a>) -> Result<Subscribe<'a>, DecodeError> {
    let packet_id = fields.packet_id()?;
    let properties = Properties::decode(fields, Holder::packet(8))?;
    let mut filters = vec![];
    while !fields.0.is_empty() {
        let filter = fields.text()?;
        let options = fields.byte()?;
        let retain_handling = (options >> 4) & 3;
        if options & 0b1100_0000 != 0 || retain_handling == 3 {
            return Err(DecodeError::SubscriptionOptions);
        }
        let qos = QoS::from_bits(options & 3).ok_or(DecodeError::QoS)?;
        let (no_local, retain_as_published) = (options & 4 != 0, options & 8 != 0);
        filters.push(SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling });
    }
    if filters.is_empty() { Err(DecodeError::NoFilter) } else { Ok(Subscribe { packet_id, properties, filters }) }
}

fn unsubscribe<'a>(fields: &mut Fields<'a>) -> Result<Unsubscribe<'a>, DecodeError> {
    let packet_id = fields.packet_id()?;
    let properties = Properties::decode(fields, Holder::packet(10))?;
    let mut filters = vec![];
    while !fields.0.is_empty() {
        filters.push(fields.text()?);
    }
    if filters.is_empty() { Err(DecodeError::NoFilter) } else { Ok(Unsubscribe { packet_id, properties, filters }) }
}

fn suback<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Suback<'a>, DecodeError> {
    let packet_id = fields.packet_id()?;
    let properties = Properties::decode(fields, Holder::packet(kind))?;
    Ok(Suback { packet_id, properties, reasons: fields.rest() })
}

#[cfg(test)]
#[path = "test.rs"]
mod tests;
