//! Bytes to packets.
//!
//! Decoding never panics and never allocates more than the list of filters of one
//! SUBSCRIBE, which its bytes bound.

use crate::packet::{Connack, Connect, ConnectReturnCode, Filters, Packet, Publish, QoS, Suback, Subscribe, Will};

/// Why bytes are not a packet. The connection must be closed (section 4.8).
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// More than four bytes of remaining length (section 2.2.3).
    #[error("remaining length is malformed")]
    RemainingLength,
    /// Longer than the limit given to [`decode`].
    #[error("packet of {0} bytes is over the limit")]
    TooLarge(usize),
    /// A field ends after its packet.
    #[error("packet is shorter than its fields")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("packet is longer than its fields")]
    TrailingBytes,
    /// Packet type 0 or 15.
    #[error("packet type {0} is reserved")]
    Type(u8),
    /// Flags of the fixed header are not those of the type (section 2.2.2).
    #[error("fixed header flags are wrong")]
    Flags,
    /// Text is not UTF-8 or holds U+0000 (section 1.5.3).
    #[error("text is not well-formed UTF-8")]
    Text,
    /// QoS 3.
    #[error("QoS 3 does not exist")]
    QoS,
    /// Packet id 0 where one is needed (section 2.3.1).
    #[error("packet id is zero")]
    PacketId,
    /// A topic name with a wildcard, or empty (section 3.3.2.1).
    #[error("topic name is empty or holds a wildcard")]
    Topic,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("no topic filter")]
    NoFilter,
    /// Reserved connect flag set, password without user name, or will flags without will.
    #[error("connect flags contradict each other")]
    ConnectFlags,
    /// Unknown CONNACK code.
    #[error("return code is unknown")]
    ReturnCode,
    /// CONNECT of another version than the one it is read as.
    #[error("protocol name or version is another one")]
    Version,
    /// A property its packet may not have, or no property at all (MQTT 5, section 2.2.2.2).
    #[error("property {0:#04x} does not belong in this packet")]
    Property(u8),
    /// A property twice that may be there once.
    #[error("property {0:#04x} is there twice")]
    RepeatedProperty(u8),
    /// A property's value is out of its range.
    #[error("value of property {0:#04x} is out of range")]
    PropertyValue(u8),
    /// More user properties than [`v5::USER_PROPERTIES_MAX`](crate::v5::USER_PROPERTIES_MAX).
    #[error("too many user properties")]
    TooManyProperties,
    /// Reserved bits of subscription options, or a retain handling of 3 (MQTT 5, section 3.8.3.1).
    #[error("subscription options are wrong")]
    SubscriptionOptions,
}

/// A packet and how many bytes it took.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The packet, borrowing from the input.
    pub packet: Packet<'a>,
    /// Bytes to drop from the input before the next call.
    pub len: usize,
}

/// Protocol level of MQTT 3.1.1.
const LEVEL: u8 = 4;

/// Decodes the packet at the start of `input`; `None` when more bytes are needed.
///
/// `len_max` bounds the whole packet in bytes, and is applied as soon as the length is
/// known, before its bytes have arrived.
///
/// # Errors
/// [`DecodeError`] says what is malformed.
pub fn decode(input: &[u8], len_max: usize) -> Result<Option<Decoded<'_>>, DecodeError> {
    let Some(Frame { first, body, len }) = frame(input, len_max)? else { return Ok(None) };
    let packet = body_of(first, body)?;
    Ok(Some(Decoded { packet, len }))
}

/// A packet cut out of the input, the same in every version.
pub(crate) struct Frame<'a> {
    /// Type and flags.
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
    /// Bytes of the whole packet.
    pub(crate) len: usize,
}

/// The packet at the start of `input`; `None` when more bytes are needed.
pub(crate) fn frame(input: &[u8], len_max: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some(&first) = input.first() else { return Ok(None) };
    let Some((remaining, length_bytes)) = variable_integer(&input[1..])? else { return Ok(None) };
    let header = 1 + length_bytes;
    let len = header + remaining;
    if len > len_max {
        return Err(DecodeError::TooLarge(len));
    }
    Ok(input.get(header..len).map(|body| Frame { first, body, len }))
}

/// A length of up to four bytes, and how many it took.
fn variable_integer(bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut value = 0_usize;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() >= 4 { Err(DecodeError::RemainingLength) } else { Ok(None) }
}

fn body_of(first: u8, body: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let flags = first & 0x0f;
    let kind = first >> 4;
    let expected = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
    if kind != 3 && flags != expected {
        return Err(DecodeError::Flags);
    }
    let mut fields = Fields(body);
    let packet = match kind {
        1 => Packet::Connect(connect(&mut fields)?),
        2 => Packet::Connack(connack(&mut fields)?),
        3 => return publish(flags, fields).map(Packet::Publish),
        4 => Packet::Puback(fields.packet_id()?),
        5 => Packet::Pubrec(fields.packet_id()?),
        6 => Packet::Pubrel(fields.packet_id()?),
        7 => Packet::Pubcomp(fields.packet_id()?),
        8 => Packet::Subscribe(filters(&mut fields, true)?),
        9 => {
            let packet_id = fields.packet_id()?;
            Packet::Suback(Suback { packet_id, return_codes: fields.rest() })
        }
        10 => Packet::Unsubscribe(filters(&mut fields, false)?),
        11 => Packet::Unsuback(fields.packet_id()?),
        12 => Packet::Pingreq,
        13 => Packet::Pingresp,
        14 => Packet::Disconnect,
        other => return Err(DecodeError::Type(other)),
    };
    if fields.0.is_empty() { Ok(packet) } else { Err(DecodeError::TrailingBytes) }
}

fn connect<'a>(fields: &mut Fields<'a>) -> Result<Connect<'a>, DecodeError> {
    let protocol_name = fields.text()?;
    let protocol_level = fields.byte()?;
    if protocol_level != LEVEL {
        // What follows is laid out as that version wants it; who reads this refuses it by the level.
        fields.rest();
        return Ok(Connect { protocol_name, protocol_level, ..Connect::default() });
    }
    let flags = fields.byte()?;
    let keep_alive_secs = fields.u16()?;
    let has = |bit: u8| flags & (1 << bit) != 0;
    let will_bits = flags & 0b0011_1000;
    if has(0) || (has(6) && !has(7)) || (!has(2) && will_bits != 0) {
        return Err(DecodeError::ConnectFlags);
    }
    let client_id = fields.text()?;
    let will = if has(2) {
        let qos = QoS::from_bits((flags >> 3) & 3).ok_or(DecodeError::QoS)?;
        Some(Will { topic: fields.text()?, message: fields.binary()?, qos, retain: has(5) })
    } else {
        None
    };
    let user_name = if has(7) { Some(fields.text()?) } else { None };
    let password = if has(6) { Some(fields.binary()?) } else { None };
    Ok(Connect {
        protocol_name,
        protocol_level,
        clean_session: has(1),
        keep_alive_secs,
        client_id,
        will,
        user_name,
        password,
    })
}

fn connack(fields: &mut Fields<'_>) -> Result<Connack, DecodeError> {
    let session_present = match fields.byte()? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Flags),
    };
    let code = ConnectReturnCode::from_byte(fields.byte()?).ok_or(DecodeError::ReturnCode)?;
    Ok(Connack { session_present, code })
}

fn publish(flags: u8, mut fields: Fields<'_>) -> Result<Publish<'_>, DecodeError> {
    let qos = QoS::from_bits((flags >> 1) & 3).ok_or(DecodeError::QoS)?;
    let topic = fields.text()?;
    if topic.is_empty() || topic.contains(['+', '#']) && !topic_may_hold_wildcards(topic) {
        return Err(DecodeError::Topic);
    }
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { fields.packet_id()? };
    Ok(Publish { dup: flags & 8 != 0, qos, retain: flags & 1 != 0, topic, packet_id, payload: fields.0 })
}

/// The standard forbids wildcards in topic names, but IoT Hub device ids may hold `#` and `+`
/// and property bags a literal `+`, and SDKs write both raw. Such topics never meet a
/// wildcard matcher here, so they are let through.
pub(crate) fn topic_may_hold_wildcards(topic: &str) -> bool {
    topic.starts_with("devices/") || topic.starts_with('$')
}

fn filters<'a>(fields: &mut Fields<'a>, with_qos: bool) -> Result<Subscribe<'a>, DecodeError> {
    let packet_id = fields.packet_id()?;
    let mut filters = Filters::new();
    while !fields.0.is_empty() {
        let filter = fields.text()?;
        let qos = if with_qos { QoS::from_bits(fields.byte()?).ok_or(DecodeError::QoS)? } else { QoS::AtMostOnce };
        filters.push((filter, qos));
    }
    if filters.is_empty() { Err(DecodeError::NoFilter) } else { Ok(Subscribe { packet_id, filters }) }
}

/// What is left of a packet's body.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take(1).map(|b| b[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// An integer of one to four bytes (MQTT 5, section 1.5.5).
    pub(crate) fn variable(&mut self) -> Result<usize, DecodeError> {
        let (value, len) = variable_integer(self.0)?.ok_or(DecodeError::Truncated)?;
        self.take(len)?;
        Ok(value)
    }

    pub(crate) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::PacketId),
            id => Ok(id),
        }
    }

    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| DecodeError::Text)?;
        if text.contains('\0') { Err(DecodeError::Text) } else { Ok(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuse(bytes: &[u8], error: DecodeError) {
        assert_eq!(decode(bytes, 1 << 20), Err(error), "{bytes:02x?}");
    }

    #[test]
    fn a_packet_in_pieces_asks_for_more() {
        let bytes = [0x30, 0x05, 0x00, 0x01, b't', b'h', b'i'];
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len], 100), Ok(None), "{len}");
        }
        let Ok(Some(Decoded { packet: Packet::Publish(p), len: 7 })) = decode(&bytes, 100) else { panic!() };
        assert_eq!((p.topic, p.payload, p.qos), ("t", &b"hi"[..], QoS::AtMostOnce));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
        assert_eq!(decode(&[0x30, 0xff, 0xff, 0xff, 0x7f], 1000), Err(DecodeError::TooLarge(268_435_460)));
        assert_eq!(decode(&[0x30, 0xff, 0xff], 1000), Ok(None));
        refuse(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01], DecodeError::RemainingLength);
    }

    #[test]
    fn malformed_packets_are_named() {
        refuse(&[0x00, 0x00], DecodeError::Type(0));
        refuse(&[0xf0, 0x00], DecodeError::Type(15));
        refuse(&[0x82 & 0xf0, 0x00], DecodeError::Flags);
        refuse(&[0x36, 0x03, 0x00, 0x01, b't'], DecodeError::QoS);
        refuse(&[0x32, 0x05, 0x00, 0x01, b't', 0, 0], DecodeError::PacketId);
        refuse(&[0x30, 0x03, 0x00, 0x05, b't'], DecodeError::Truncated);
        refuse(&[0x30, 0x03, 0x00, 0x01, 0xff], DecodeError::Text);
        refuse(&[0x30, 0x03, 0x00, 0x01, b'+'], DecodeError::Topic);
        refuse(&[0x30, 0x02, 0x00, 0x00], DecodeError::Topic);
        refuse(&[0x82, 0x02, 0x00, 0x01], DecodeError::NoFilter);
        refuse(&[0xc0, 0x01, 0x00], DecodeError::TrailingBytes);
        refuse(&[0x10, 0x0c, 0, 4, b'M', b'Q', b'T', b'T', 4, 1, 0, 60, 0, 0], DecodeError::ConnectFlags);
        refuse(&[0x10, 0x0c, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x40, 0, 60, 0, 0], DecodeError::ConnectFlags);
    }

    #[test]
    fn a_device_id_with_wildcard_characters_is_a_topic() {
        let mut bytes = vec![0x30, 0x00];
        crate::encode_publish(
            &mut bytes,
            &Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: "devices/a#b/messages/events/",
                packet_id: 0,
                payload: b"",
            },
        );
        assert!(decode(&bytes[2..], 100).unwrap().is_some());
    }

    use proptest::collection::vec;
    use proptest::num::u8::ANY;
    use proptest::prelude::{BoxedStrategy, Just, Strategy as _, prop_oneof};

    /// Pieces that packets are made of, right and almost right.
    fn piece() -> BoxedStrategy<Vec<u8>> {
        let text = |bytes: Vec<u8>| [&[0, bytes.len() as u8][..], &bytes].concat();
        prop_oneof![
            vec(ANY, 0..40).prop_map(text),
            "[a-z$/+#]{0,20}".prop_map(move |words| text(words.into_bytes())),
            Just(b"\x00\x04MQTT\x04".to_vec()),
            vec(ANY, 0..4),
        ]
        .boxed()
    }

    /// A fixed header with the right length, and a body of such pieces.
    fn likely_packet() -> BoxedStrategy<Vec<u8>> {
        let packet = |(first, pieces): (u8, Vec<Vec<u8>>)| {
            let body = pieces.concat();
            [&[first, (body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8][..], &body].concat()
        };
        (ANY, vec(piece(), 0..6)).prop_map(packet).boxed()
    }

    // `PROPTEST_CASES=2000000 cargo test --release -p gantry-mqtt` looks for a minute.
    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in vec(ANY, 0..300)) {
            if let Ok(Some(decoded)) = decode(&bytes, 1 << 20) {
                assert!(decoded.len <= bytes.len());
            }
        }

        #[test]
        fn more_bytes_do_not_change_what_was_decided(bytes in likely_packet(), more in vec(ANY, 0..8)) {
            let whole = [&bytes[..], &more].concat();
            for len in 0..=whole.len() {
                match decode(&whole[..len], 1 << 20) {
                    Ok(None) => assert!(len < bytes.len()),
                    decided => {
                        assert_eq!(decode(&whole, 1 << 20), decided);
                        break;
                    }
                }
            }
        }
    }
}
