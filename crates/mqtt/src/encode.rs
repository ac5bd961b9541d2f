//! Packets to bytes, appended to the caller's buffer.
//!
//! Texts and binary fields longer than 65,535 bytes cannot be written in MQTT; callers
//! bound them before (`expect` here states that invariant).

use crate::packet::{Connack, Connect, Publish, QoS};

/// Appends a CONNECT.
pub fn encode_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let will_len = connect.will.as_ref().map_or(0, |w| 4 + w.topic.len() + w.message.len());
    let len = 2
        + connect.protocol_name.len()
        + 4
        + 2
        + connect.client_id.len()
        + will_len
        + connect.user_name.map_or(0, |u| 2 + u.len())
        + connect.password.map_or(0, |p| 2 + p.len());
    fixed_header(out, 0x10, len);
    binary(out, connect.protocol_name.as_bytes());
    out.push(connect.protocol_level);
    let mut flags = u8::from(connect.clean_session) << 1;
    if let Some(will) = &connect.will {
        flags |= 1 << 2 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(connect.password.is_some()) << 6 | u8::from(connect.user_name.is_some()) << 7;
    out.push(flags);
    out.extend_from_slice(&connect.keep_alive_secs.to_be_bytes());
    binary(out, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        binary(out, will.topic.as_bytes());
        binary(out, will.message);
    }
    if let Some(user_name) = connect.user_name {
        binary(out, user_name.as_bytes());
    }
    if let Some(password) = connect.password {
        binary(out, password);
    }
}

/// Appends a CONNACK.
pub fn encode_connack(out: &mut Vec<u8>, connack: Connack) {
    out.extend_from_slice(&[0x20, 2, u8::from(connack.session_present), connack.code as u8]);
}

/// Appends a PUBLISH.
pub fn encode_publish(out: &mut Vec<u8>, publish: &Publish<'_>) {
    let with_id = publish.qos != QoS::AtMostOnce;
    let first = 0x30 | u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    fixed_header(out, first, 2 + publish.topic.len() + if with_id { 2 } else { 0 } + publish.payload.len());
    binary(out, publish.topic.as_bytes());
    if with_id {
        out.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    out.extend_from_slice(publish.payload);
}

/// Appends a PUBACK.
pub fn encode_puback(out: &mut Vec<u8>, packet_id: u16) {
    with_packet_id(out, 0x40, packet_id);
}

/// Appends a SUBSCRIBE.
pub fn encode_subscribe(out: &mut Vec<u8>, packet_id: u16, filters: &[(&str, QoS)]) {
    fixed_header(out, 0x82, 2 + filters.iter().map(|(f, _)| 3 + f.len()).sum::<usize>());
    out.extend_from_slice(&packet_id.to_be_bytes());
    for (filter, qos) in filters {
        binary(out, filter.as_bytes());
        out.push(*qos as u8);
    }
}

/// Appends a SUBACK with the granted QoS (or 0x80) for each filter.
pub fn encode_suback(out: &mut Vec<u8>, packet_id: u16, return_codes: &[u8]) {
    fixed_header(out, 0x90, 2 + return_codes.len());
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.extend_from_slice(return_codes);
}

/// Appends an UNSUBSCRIBE.
pub fn encode_unsubscribe(out: &mut Vec<u8>, packet_id: u16, filters: &[&str]) {
    fixed_header(out, 0xa2, 2 + filters.iter().map(|f| 2 + f.len()).sum::<usize>());
    out.extend_from_slice(&packet_id.to_be_bytes());
    for filter in filters {
        binary(out, filter.as_bytes());
    }
}

/// Appends an UNSUBACK.
pub fn encode_unsuback(out: &mut Vec<u8>, packet_id: u16) {
    with_packet_id(out, 0xb0, packet_id);
}

/// Appends a PINGREQ.
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Appends a PINGRESP.
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// Appends a DISCONNECT.
pub fn encode_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xe0, 0]);
}

fn with_packet_id(out: &mut Vec<u8>, first: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

fn fixed_header(out: &mut Vec<u8>, first: u8, remaining: usize) {
    out.push(first);
    variable_integer(out, remaining);
}

pub(crate) fn variable_integer(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("callers bound texts to 65,535 bytes");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{ConnectReturnCode, Packet, Suback, Subscribe, Will};
    use crate::{Decoded, decode};

    #[track_caller]
    fn round_trip(packet: &Packet<'_>) {
        let mut out = vec![];
        match packet {
            Packet::Connect(p) => encode_connect(&mut out, p),
            Packet::Connack(p) => encode_connack(&mut out, *p),
            Packet::Publish(p) => encode_publish(&mut out, p),
            Packet::Puback(id) => encode_puback(&mut out, *id),
            Packet::Subscribe(p) => encode_subscribe(&mut out, p.packet_id, &p.filters),
            Packet::Suback(p) => encode_suback(&mut out, p.packet_id, p.return_codes),
            Packet::Unsubscribe(p) => {
                let filters: Vec<_> = p.filters.iter().map(|(f, _)| *f).collect();
                encode_unsubscribe(&mut out, p.packet_id, &filters);
            }
            Packet::Unsuback(id) => encode_unsuback(&mut out, *id),
            Packet::Pingreq => encode_pingreq(&mut out),
            Packet::Pingresp => encode_pingresp(&mut out),
            Packet::Disconnect => encode_disconnect(&mut out),
            other => panic!("no encoder for {other:?}"),
        }
        assert_eq!(decode(&out, usize::MAX), Ok(Some(Decoded { packet: packet.clone(), len: out.len() })));
    }

    #[test]
    fn every_packet_survives_a_round_trip() {
        let will = Will { topic: "w", message: b"gone", qos: QoS::AtLeastOnce, retain: true };
        let connect = Connect {
            protocol_name: "MQTT",
            protocol_level: 4,
            clean_session: false,
            keep_alive_secs: 60,
            client_id: "d1",
            will: Some(will),
            user_name: Some("hub/d1/?api-version=2021-04-12"),
            password: Some(b"secret"),
        };
        round_trip(&Packet::Connect(connect.clone()));
        round_trip(&Packet::Connect(Connect { will: None, password: None, clean_session: true, ..connect }));
        round_trip(&Packet::Connack(Connack { session_present: true, code: ConnectReturnCode::Accepted }));
        round_trip(&Packet::Puback(7));
        round_trip(&Packet::Subscribe(Subscribe {
            packet_id: 1,
            filters: vec![("a/#", QoS::AtLeastOnce), ("b/+", QoS::ExactlyOnce)],
        }));
        round_trip(&Packet::Suback(Suback { packet_id: 1, return_codes: &[1, 0x80] }));
        round_trip(&Packet::Unsubscribe(Subscribe { packet_id: 2, filters: vec![("a/#", QoS::AtMostOnce)] }));
        round_trip(&Packet::Unsuback(2));
        round_trip(&Packet::Pingreq);
        round_trip(&Packet::Pingresp);
        round_trip(&Packet::Disconnect);
    }

    proptest::proptest! {
        #[test]
        fn any_publish_survives_a_round_trip(
            topic in "[a-z$/=&%]{1,200}",
            payload in proptest::collection::vec(proptest::num::u8::ANY, 0..20_000),
            qos in 0_u8..3, dup in proptest::bool::ANY, retain in proptest::bool::ANY, id in 1_u16..,
        ) {
            let qos = QoS::from_bits(qos).unwrap();
            let packet_id = if qos == QoS::AtMostOnce { 0 } else { id };
            round_trip(&Packet::Publish(Publish { dup, qos, retain, topic: &topic, packet_id, payload: &payload }));
        }
    }
}
