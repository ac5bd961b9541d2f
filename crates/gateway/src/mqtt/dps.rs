//! One device's MQTT connection to DPS: register, poll, done.

use std::sync::Arc;

use gantry_mqtt::{ConnectReturnCode, Packet, Publish, QoS};
use gantry_provisioning::{DpsError, RETRY_AFTER_SECS, Registering, Registrant, Service, check_api_version};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::login::DpsLogin;
use super::silence_max;
use super::wire::{End, Wire};
use crate::{Gateway, Peer, now};

const RESPONSE_FILTER: &str = "$dps/registrations/res/#";
const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/";
const STATUS: &str = "$dps/registrations/GET/iotdps-get-operationstatus/";

/// Serves an authenticated device until its connection ends.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    wire: &mut Wire<S>,
    gateway: &Gateway,
    peer: &Peer,
    registrant: Registrant,
    login: &DpsLogin,
) -> Result<(), End> {
    // Session-present is always 0 here: C# fails otherwise.
    wire.connack(false, ConnectReturnCode::Accepted);
    let service = gateway.provisioning.of(&login.id_scope);
    let silence = silence_max(login.keep_alive_secs);
    loop {
        while let Some(decoded) = wire.decode()? {
            let len = decoded.len;
            let request = read(&decoded.packet)?;
            wire.consume(len);
            match request {
                Request::Publish(publish) => answer(wire, service, &registrant, login, &publish).await,
                Request::Subscribe { packet_id, codes } => {
                    gantry_mqtt::encode_suback(wire.output(), packet_id, &codes);
                }
                Request::Unsubscribe { packet_id } => gantry_mqtt::encode_unsuback(wire.output(), packet_id),
                Request::Ping => gantry_mqtt::encode_pingresp(wire.output()),
                Request::Nothing => {}
            }
        }
        wire.flush().await?;
        let expires_in = registrant.expires_at.since(now());
        let deadline = Instant::now() + silence.min(expires_in);
        match tokio::time::timeout_at(deadline, wire.fill()).await {
            Ok(filled) => filled?,
            Err(_) => return Err(End::Protocol(format!("{} silent or its token expired", peer.address))),
        }
    }
}

/// A packet, owned, so that the input can be consumed before it is answered.
enum Request {
    Publish(OwnedPublish),
    Subscribe { packet_id: u16, codes: Vec<u8> },
    Unsubscribe { packet_id: u16 },
    Ping,
    Nothing,
}

struct OwnedPublish {
    topic: String,
    packet_id: u16,
    payload: Vec<u8>,
}

fn read(packet: &Packet<'_>) -> Result<Request, End> {
    match packet {
        Packet::Publish(Publish { qos: QoS::ExactlyOnce, .. }) => Err(End::Protocol("QoS 2 publish".into())),
        Packet::Publish(publish) => Ok(Request::Publish(OwnedPublish {
            topic: publish.topic.to_owned(),
            packet_id: publish.packet_id,
            payload: publish.payload.to_vec(),
        })),
        Packet::Subscribe(subscribe) => {
            let granted = |filter: &str, qos: QoS| {
                if filter == RESPONSE_FILTER { qos.min(QoS::AtLeastOnce) as u8 } else { 0x80 }
            };
            let codes = subscribe.filters.iter().map(|(filter, qos)| granted(filter, *qos)).collect();
            Ok(Request::Subscribe { packet_id: subscribe.packet_id, codes })
        }
        Packet::Unsubscribe(unsubscribe) => Ok(Request::Unsubscribe { packet_id: unsubscribe.packet_id }),
        Packet::Pingreq => Ok(Request::Ping),
        Packet::Puback(_) => Ok(Request::Nothing),
        Packet::Disconnect => Err(End::Closed),
        _ => Err(End::Protocol("packet a client may not send".into())),
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    service: &Arc<Service>,
    registrant: &Registrant,
    login: &DpsLogin,
    publish: &OwnedPublish,
) {
    if publish.packet_id != 0 {
        gantry_mqtt::encode_puback(wire.output(), publish.packet_id);
    }
    let rid = parameter(&publish.topic, "$rid").unwrap_or_default();
    let (status, parameters, body) = match handle(service, registrant, login, publish).await {
        Ok((status, body)) => {
            let wait = if status == 202 { format!("&retry-after={RETRY_AFTER_SECS}") } else { String::new() };
            (status, wait, body)
        }
        Err(error) => {
            let tracking_id = format!("{:x}", now().as_millis());
            let wait = match error {
                DpsError::Throttled { retry_after } => format!("&retry-after={}", retry_after.as_secs() + 1),
                _ if error.code() >= 429_000 => format!("&retry-after={RETRY_AFTER_SECS}"),
                _ => String::new(),
            };
            (error.code() / 1000, wait, error.document(&tracking_id, now()))
        }
    };
    // No further `$` may stand in the topic: Python splits at it.
    let topic = format!("$dps/registrations/res/{status}/?$rid={rid}{parameters}");
    wire.publish(&topic, 0, body.to_string().as_bytes());
}

async fn handle(
    service: &Arc<Service>,
    registrant: &Registrant,
    login: &DpsLogin,
    publish: &OwnedPublish,
) -> Result<(u32, Value), DpsError> {
    check_api_version(login.api_version.as_deref())?;
    if publish.topic.starts_with(REGISTER) {
        let force =
            parameter(&publish.topic, "forceRegistration").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        let asked = Registering { force, ..Registering::read(&publish.payload, &registrant.id)? };
        let operation = service.register(now(), registrant, asked).await?;
        return Ok((202, operation.document()));
    }
    if publish.topic.starts_with(STATUS) {
        let id = parameter(&publish.topic, "operationId").ok_or(DpsError::Invalid("operationId is missing".into()))?;
        let operation = service.operation(now(), registrant, id).await?;
        return Ok((if operation.is_done() { 200 } else { 202 }, operation.document()));
    }
    Err(DpsError::Invalid("unknown topic".into()))
}

fn parameter<'a>(topic: &'a str, name: &str) -> Option<&'a str> {
    let (_, parameters) = topic.split_once('?')?;
    parameters.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}
