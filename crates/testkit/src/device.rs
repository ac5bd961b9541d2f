//! MQTT 3.1.1 over TLS, packet by packet and byte by byte.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gantry_identity::{Key, Signer};
use gantry_mqtt::{Connect, ConnectReturnCode, Packet, Publish, QoS, Will, decode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::service::now;
use crate::{PATIENCE, Platform};

/// More than any packet of the platform.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// A device token that ends `life` from now, or ended that long ago when `expired`.
pub fn device_token(device: &str, key: &Key, life: Duration, expired: bool) -> String {
    let at = if expired { now().as_millis() - millis(life) } else { now().as_millis() + millis(life) };
    let signer = Signer { resource: format!("localhost/devices/{device}"), key: key.clone(), policy: None };
    signer.token(gantry_identity::Timestamp::from_millis(at))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A TLS connection of raw bytes.
pub struct TlsSocket(TlsStream<TcpStream>);

impl TlsSocket {
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self(stream)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is lost, or the peer takes nothing for [`PATIENCE`].
    pub async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let send = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        Ok(tokio::time::timeout(PATIENCE, send).await.context("peer takes nothing")??)
    }

    /// Bytes that arrive, added to `input`; false when the server closed or cut the connection.
    ///
    /// # Errors
    /// When nothing arrives for [`PATIENCE`].
    pub async fn read(&mut self, input: &mut Vec<u8>) -> anyhow::Result<bool> {
        let read = tokio::time::timeout(PATIENCE, self.0.read_buf(input)).await.context("nothing arrives")?;
        Ok(read.is_ok_and(|len| len > 0))
    }

    /// Everything that arrives until the server closes.
    ///
    /// # Errors
    /// When it does not close within [`PATIENCE`] of its last byte.
    pub async fn read_to_end(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut input = vec![];
        while self.read(&mut input).await? {}
        Ok(input)
    }
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Login {
    /// Client id.
    pub client_id: String,
    /// User name.
    pub user_name: String,
    /// Password.
    pub password: String,
    /// Clean session.
    pub clean_session: bool,
    /// Keep-alive.
    pub keep_alive_secs: u16,
    /// Topic and message of a will.
    pub will: Option<(String, Vec<u8>)>,
}

impl Login {
    /// A device with its key, a clean session, no will.
    pub fn new(device: &str, key: &Key) -> Self {
        Self {
            client_id: device.to_owned(),
            user_name: format!("localhost/{device}/?api-version=2021-04-12"),
            password: device_token(device, key, Duration::from_secs(3600), false),
            clean_session: true,
            keep_alive_secs: 120,
            will: None,
        }
    }

    /// The CONNECT packet.
    pub fn encode(&self) -> Vec<u8> {
        let will = self.will.as_ref();
        let will = will.map(|(topic, message)| Will { topic, message, qos: QoS::AtLeastOnce, retain: false });
        let mut bytes = vec![];
        let connect = Connect {
            protocol_name: "MQTT",
            protocol_level: 4,
            clean_session: self.clean_session,
            keep_alive_secs: self.keep_alive_secs,
            client_id: &self.client_id,
            will,
            user_name: Some(&self.user_name),
            password: Some(self.password.as_bytes()),
        };
        gantry_mqtt::encode_connect(&mut bytes, &connect);
        bytes
    }
}

/// A packet of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Answer to CONNECT.
    Connack {
        /// Whether the server kept a session.
        session_present: bool,
        /// The code.
        code: ConnectReturnCode,
    },
    /// A publish is durable.
    Puback(u16),
    /// Granted QoS, or 0x80.
    Suback(Vec<u8>),
    /// A message.
    Message {
        /// Topic.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
        /// Packet id; 0 for QoS 0.
        packet_id: u16,
    },
    /// Answer to a ping.
    Pingresp,
    /// Anything else.
    Other,
}

/// A device's connection. Messages are acknowledged only when the test says so.
pub struct Device {
    socket: TlsSocket,
    input: Vec<u8>,
    received: VecDeque<Received>,
    next_packet_id: u16,
}

impl Device {
    /// Connects without speaking MQTT yet.
    ///
    /// # Errors
    /// When TCP or TLS fails.
    pub async fn open(platform: &Platform) -> anyhow::Result<Self> {
        let socket = platform.tls(platform.mqtt_port(), b"").await?;
        Ok(Self { socket, input: vec![], received: VecDeque::new(), next_packet_id: 1 })
    }

    /// Connects and returns the code of CONNACK too.
    ///
    /// # Errors
    /// When there is no CONNACK.
    pub async fn try_connect(platform: &Platform, login: &Login) -> anyhow::Result<(Self, bool, ConnectReturnCode)> {
        let mut device = Self::open(platform).await?;
        device.send(&login.encode()).await?;
        match device.next().await? {
            Some(Received::Connack { session_present, code }) => Ok((device, session_present, code)),
            other => bail!("no CONNACK but {other:?}"),
        }
    }

    /// Connects; returns whether the server kept a session.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn connect(platform: &Platform, login: &Login) -> anyhow::Result<(Self, bool)> {
        let (device, session_present, code) = Self::try_connect(platform, login).await?;
        ensure!(code == ConnectReturnCode::Accepted, "refused: {code:?}");
        Ok((device, session_present))
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.socket.write(bytes).await
    }

    fn packet_id(&mut self) -> u16 {
        let id = self.next_packet_id;
        self.next_packet_id = id.checked_add(1).unwrap_or(1);
        id
    }

    /// Appends a PUBLISH of QoS 1 to `output`; returns its packet id.
    pub fn encode_publish(&mut self, output: &mut Vec<u8>, topic: &str, payload: &[u8], retain: bool) -> u16 {
        let packet_id = self.packet_id();
        let publish = Publish { dup: false, qos: QoS::AtLeastOnce, retain, topic, packet_id, payload };
        gantry_mqtt::encode_publish(output, &publish);
        packet_id
    }

    /// Publishes and waits for PUBACK.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        let mut output = vec![];
        let packet_id = self.encode_publish(&mut output, topic, payload, false);
        self.send(&output).await?;
        self.wait(|received| *received == Received::Puback(packet_id)).await?;
        Ok(())
    }

    /// Subscribes and returns the codes of SUBACK.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn subscribe(&mut self, filters: &[(&str, QoS)]) -> anyhow::Result<Vec<u8>> {
        let (packet_id, mut output) = (self.packet_id(), vec![]);
        gantry_mqtt::encode_subscribe(&mut output, packet_id, filters);
        self.send(&output).await?;
        match self.wait(|received| matches!(received, Received::Suback(_))).await? {
            Received::Suback(codes) => Ok(codes),
            other => bail!("{other:?}"),
        }
    }

    /// Acknowledges a message.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn acknowledge(&mut self, packet_id: u16) -> anyhow::Result<()> {
        let mut output = vec![];
        gantry_mqtt::encode_puback(&mut output, packet_id);
        self.send(&output).await
    }

    /// Pings and waits for the answer: everything sent before it has been handled then.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn ping(&mut self) -> anyhow::Result<()> {
        let mut output = vec![];
        gantry_mqtt::encode_pingreq(&mut output);
        self.send(&output).await?;
        self.wait(|received| *received == Received::Pingresp).await?;
        Ok(())
    }

    /// The next packet; `None` when the server closed or cut the connection.
    ///
    /// # Errors
    /// When nothing comes in time, or what comes is not MQTT.
    pub async fn next(&mut self) -> anyhow::Result<Option<Received>> {
        loop {
            if let Some(received) = self.received.pop_front() {
                return Ok(Some(received));
            }
            if let Some(decoded) = decode(&self.input, PACKET_BYTES_MAX)? {
                let (received, len) = (owned(&decoded.packet), decoded.len);
                self.input.drain(..len);
                return Ok(Some(received));
            }
            if !self.socket.read(&mut self.input).await? {
                return Ok(None);
            }
        }
    }

    /// The next packet that `wanted` accepts; others stay for later calls.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn wait(&mut self, wanted: impl Fn(&Received) -> bool) -> anyhow::Result<Received> {
        let mut others = VecDeque::new();
        let found = loop {
            match self.next().await? {
                Some(received) if wanted(&received) => break Some(received),
                Some(received) => others.push_back(received),
                None => break None,
            }
        };
        others.append(&mut self.received);
        self.received = others;
        found.context("the server closed the connection")
    }

    /// Whether the server closes without another packet.
    ///
    /// # Errors
    /// When it sends something or neither closes within [`PATIENCE`].
    pub async fn closed(&mut self) -> anyhow::Result<()> {
        match self.next().await? {
            None => Ok(()),
            Some(received) => bail!("not closed, but {received:?}"),
        }
    }

    /// Leaves in order: DISCONNECT.
    ///
    /// # Errors
    /// When the server does not close.
    pub async fn disconnect(mut self) -> anyhow::Result<()> {
        let mut output = vec![];
        gantry_mqtt::encode_disconnect(&mut output);
        self.send(&output).await?;
        while self.next().await?.is_some() {}
        Ok(())
    }
}

fn owned(packet: &Packet<'_>) -> Received {
    match packet {
        Packet::Connack(connack) => Received::Connack { session_present: connack.session_present, code: connack.code },
        Packet::Puback(packet_id) => Received::Puback(*packet_id),
        Packet::Suback(suback) => Received::Suback(suback.return_codes.to_vec()),
        Packet::Publish(publish) => Received::Message {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            packet_id: if publish.qos == QoS::AtMostOnce { 0 } else { publish.packet_id },
        },
        Packet::Pingresp => Received::Pingresp,
        _ => Received::Other,
    }
}
