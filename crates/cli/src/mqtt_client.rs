//! A small MQTT 3.1.1 client over our own codec: for the simulator and the bench.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gantry_mqtt::{Connect, ConnectReturnCode, Packet, Publish, QoS, decode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Seconds within which a client that pings speaks.
pub const KEEP_ALIVE_SECS: u16 = 120;
/// How long any answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const PACKET_BYTES_MAX: usize = 1 << 20;

/// Either kind of socket.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How to reach a server.
#[derive(Clone)]
pub struct Target {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS settings; plain TCP when absent (only the bench's own listener and other brokers).
    pub tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Connects, with the handshake of TLS if there is one.
    ///
    /// # Errors
    /// Names the address.
    pub async fn open(&self) -> anyhow::Result<Box<dyn Stream>> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.with_context(|| self.at())?;
        self.secure(socket).await
    }

    /// Connects to a server on this machine from one of its loopback addresses, each of which has ports of its own.
    ///
    /// # Errors
    /// Names the address.
    pub async fn open_from(&self, from: Ipv4Addr) -> anyhow::Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let socket = socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await.with_context(|| self.at())?;
        self.secure(socket).await
    }

    fn at(&self) -> String {
        format!("connecting to {}:{}", self.host, self.port)
    }

    async fn secure(&self, socket: TcpStream) -> anyhow::Result<Box<dyn Stream>> {
        socket.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Box::new(socket)) };
        let connecting =
            TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from(self.host.clone())?, socket);
        Ok(Box::new(connecting.await.with_context(|| self.at())?))
    }
}

/// TLS settings that trust one CA.
///
/// # Errors
/// When the PEM cannot be read.
pub fn trust(ca_pem: &[u8]) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Who connects.
#[derive(Clone, Debug)]
pub struct Login {
    /// Client id.
    pub client_id: String,
    /// User name.
    pub user_name: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Seconds within which it speaks.
    pub keep_alive_secs: u16,
}

/// A connected client.
pub struct MqttClient {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    output: Vec<u8>,
    next_packet_id: u16,
}

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A publish was acknowledged.
    Acknowledged(u16),
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Anything else.
    Other,
}

impl MqttClient {
    /// Connects and logs in.
    ///
    /// # Errors
    /// What refused: network, TLS or CONNACK.
    pub async fn connect(target: &Target, login: &Login) -> anyhow::Result<Self> {
        Self::over(target.open().await?, login).await
    }

    /// Logs in over an open stream.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn over(stream: Box<dyn Stream>, login: &Login) -> anyhow::Result<Self> {
        let mut client = Self { stream, input: vec![], output: vec![], next_packet_id: 1 };
        let connect = Connect {
            protocol_name: "MQTT",
            protocol_level: 4,
            clean_session: true,
            keep_alive_secs: login.keep_alive_secs,
            client_id: &login.client_id,
            will: None,
            user_name: login.user_name.as_deref(),
            password: login.password.as_deref().map(str::as_bytes),
        };
        gantry_mqtt::encode_connect(&mut client.output, &connect);
        client.flush().await?;
        tokio::time::timeout(ANSWER_TIMEOUT, client.wait_connack()).await.context("no CONNACK")??;
        Ok(client)
    }

    async fn wait_connack(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(decoded) = decode(&self.input, PACKET_BYTES_MAX)? {
                let Packet::Connack(connack) = decoded.packet else { bail!("first answer is not CONNACK") };
                ensure!(connack.code == ConnectReturnCode::Accepted, "refused: {:?}", connack.code);
                let len = decoded.len;
                self.input.drain(..len);
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Encodes a QoS 1 publish, sent by [`flush`](Self::flush); returns its packet id.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> u16 {
        let packet_id = self.packet_id();
        let publish = Publish { dup: false, qos: QoS::AtLeastOnce, retain: false, topic, packet_id, payload };
        gantry_mqtt::encode_publish(&mut self.output, &publish);
        packet_id
    }

    /// Encodes a SUBSCRIBE.
    pub fn subscribe(&mut self, filters: &[&str]) {
        let packet_id = self.packet_id();
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, QoS::AtLeastOnce)).collect();
        gantry_mqtt::encode_subscribe(&mut self.output, packet_id, &filters);
    }

    /// Encodes a PINGREQ.
    pub fn ping(&mut self) {
        gantry_mqtt::encode_pingreq(&mut self.output);
    }

    fn packet_id(&mut self) -> u16 {
        let id = self.next_packet_id;
        self.next_packet_id = if id == u16::MAX { 1 } else { id + 1 };
        id
    }

    /// Sends what was encoded.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.output).await.context("connection lost")?;
        self.stream.flush().await?;
        self.output.clear();
        Ok(())
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        let len = self.stream.read_buf(&mut self.input).await.context("connection lost")?;
        ensure!(len > 0, "server closed the connection");
        Ok(())
    }

    /// Everything that has arrived, waiting for at least one packet. Messages of QoS 1 are acknowledged.
    /// Cancelling loses nothing.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn receive(&mut self) -> anyhow::Result<Vec<Incoming>> {
        loop {
            let (mut at, mut incoming) = (0, vec![]);
            while let Some(decoded) = decode(&self.input[at..], PACKET_BYTES_MAX)? {
                at += decoded.len;
                incoming.push(match decoded.packet {
                    Packet::Puback(packet_id) => Incoming::Acknowledged(packet_id),
                    Packet::Publish(publish) => {
                        if publish.qos == QoS::AtLeastOnce {
                            gantry_mqtt::encode_puback(&mut self.output, publish.packet_id);
                        }
                        Incoming::Message { topic: publish.topic.to_owned(), payload: publish.payload.to_vec() }
                    }
                    _ => Incoming::Other,
                });
            }
            if !incoming.is_empty() {
                self.input.drain(..at);
                return Ok(incoming);
            }
            self.fill().await?;
        }
    }

    /// Leaves in order.
    pub async fn disconnect(mut self) {
        gantry_mqtt::encode_disconnect(&mut self.output);
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }
}
