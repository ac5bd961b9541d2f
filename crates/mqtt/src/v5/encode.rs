//! Packets of version 5 to bytes.
//!
//! Texts and binary fields longer than 65,535 bytes cannot be written; callers bound them before.

use super::packet::{Acknowledgement, Connack, Connect, Ending, Packet, Publish, Suback, Subscribe, Unsubscribe};
use crate::QoS;
pub(super) use crate::encode::{binary, variable_integer};

/// Appends a packet.
pub fn encode(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut body = vec![];
    let first = match packet {
        Packet::Connect(p) => connect(&mut body, p),
        Packet::Connack(p) => connack(&mut body, p),
        Packet::Publish(p) => publish(&mut body, p),
        Packet::Puback(p) => acknowledgement(&mut body, 0x40, p),
        Packet::Pubrec(p) => acknowledgement(&mut body, 0x50, p),
        Packet::Pubrel(p) => acknowledgement(&mut body, 0x62, p),
        Packet::Pubcomp(p) => acknowledgement(&mut body, 0x70, p),
        Packet::Subscribe(p) => subscribe(&mut body, p),
        Packet::Suback(p) => suback(&mut body, 0x90, p),
        Packet::Unsubscribe(p) => unsubscribe(&mut body, p),
        Packet::Unsuback(p) => suback(&mut body, 0xb0, p),
        Packet::Pingreq => 0xc0,
        Packet::Pingresp => 0xd0,
        Packet::Disconnect(p) => ending(&mut body, 0xe0, p),
        Packet::Auth(p) => ending(&mut body, 0xf0, p),
    };
    // The payload of a PUBLISH is long; it is written once, behind its header.
    let payload = if let Packet::Publish(p) = packet { p.payload } else { &[] };
    out.push(first);
    variable_integer(out, body.len() + payload.len());
    out.extend_from_slice(&body);
    out.extend_from_slice(payload);
}

fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) -> u8 {
    binary(out, b"MQTT");
    out.push(5);
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 1 << 2 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(connect.password.is_some()) << 6 | u8::from(connect.user_name.is_some()) << 7;
    out.push(flags);
    out.extend_from_slice(&connect.keep_alive_secs.to_be_bytes());
    connect.properties.encode(out);
    binary(out, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        will.properties.encode(out);
        binary(out, will.topic.as_bytes());
        binary(out, will.payload);
    }
    if let Some(user_name) = connect.user_name {
        binary(out, user_name.as_bytes());
    }
    if let Some(password) = connect.password {
        binary(out, password);
    }
    0x10
}

fn connack(out: &mut Vec<u8>, connack: &Connack<'_>) -> u8 {
    out.extend_from_slice(&[u8::from(connack.session_present), connack.reason.0]);
    connack.properties.encode(out);
    0x20
}

fn publish(out: &mut Vec<u8>, publish: &Publish<'_>) -> u8 {
    binary(out, publish.topic.as_bytes());
    if publish.qos != QoS::AtMostOnce {
        out.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    publish.properties.encode(out);
    0x30 | u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain)
}

fn acknowledgement(out: &mut Vec<u8>, first: u8, answer: &Acknowledgement<'_>) -> u8 {
    out.extend_from_slice(&answer.packet_id.to_be_bytes());
    if answer.reason.0 != 0 || !answer.properties.is_empty() {
        out.push(answer.reason.0);
        answer.properties.encode(out);
    }
    first
}

fn subscribe(out: &mut Vec<u8>, subscribe: &Subscribe<'_>) -> u8 {
    out.extend_from_slice(&subscribe.packet_id.to_be_bytes());
    subscribe.properties.encode(out);
    for filter in &subscribe.filters {
        binary(out, filter.filter.as_bytes());
        let flags = u8::from(filter.no_local) << 2 | u8::from(filter.retain_as_published) << 3;
        out.push(filter.qos as u8 | flags | filter.retain_handling << 4);
    }
    0x82
}

fn suback(out: &mut Vec<u8>, first: u8, suback: &Suback<'_>) -> u8 {
    out.extend_from_slice(&suback.packet_id.to_be_bytes());
    suback.properties.encode(out);
    out.extend_from_slice(suback.reasons);
    first
}

fn unsubscribe(out: &mut Vec<u8>, unsubscribe: &Unsubscribe<'_>) -> u8 {
    out.extend_from_slice(&unsubscribe.packet_id.to_be_bytes());
    unsubscribe.properties.encode(out);
    for filter in &unsubscribe.filters {
        binary(out, filter.as_bytes());
    }
    0xa2
}

fn ending(out: &mut Vec<u8>, first: u8, ending: &Ending<'_>) -> u8 {
    if ending.reason.0 != 0 || !ending.properties.is_empty() {
        out.push(ending.reason.0);
        ending.properties.encode(out);
    }
    first
}
