//! The server's end of a TLS connection, which owns no buffer while it is idle.
//!
//! Records are read, opened and sealed in buffers of the thread. A connection keeps only what is under way: the
//! beginning of a record, plaintext its reader had no room for, records the socket did not take. rustls' own stream
//! keeps four kilobytes for the next read of every connection.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Most that is read at once. The largest record (16 KiB and what TLS adds) and the largest handshake message rustls
/// takes (64 KiB - 1) fit.
const ARRIVED_BYTES: usize = 64 * 1024;
/// Least that is asked for in one read, however little room the reader has.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Most plaintext sealed at once: three records.
const SEAL_BYTES_MAX: usize = 48 * 1024;
/// Room for it, what TLS adds to each record, and a key update.
const SEALED_BYTES: usize = SEAL_BYTES_MAX + 4 * 1024;

thread_local! {
    static ARRIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; ARRIVED_BYTES].into());
    static SEALED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SEALED_BYTES].into());
}

/// A peer's whole hello, not answered yet.
pub struct Hello<S> {
    stream: S,
    bytes: Vec<u8>,
    server_name: Option<Box<str>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Hello<S> {
    /// Waits for the hello.
    ///
    /// # Errors
    /// When the peer goes, or says something else; it is told what is wrong.
    pub async fn read(mut stream: S) -> io::Result<Self> {
        let (mut acceptor, mut bytes) = (Acceptor::default(), vec![]);
        loop {
            let known = bytes.len();
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut new = &bytes[known..];
            while !new.is_empty() {
                acceptor.read_tls(&mut new)?;
                match acceptor.accept() {
                    Ok(None) => {}
                    Ok(Some(accepted)) => {
                        let server_name = accepted.client_hello().server_name().map(Box::from);
                        return Ok(Self { stream, bytes, server_name });
                    }
                    Err((error, mut alert)) => {
                        let mut answer = vec![];
                        alert.write_all(&mut answer)?;
                        stream.write_all(&answer).await?;
                        return Err(invalid(error));
                    }
                }
            }
        }
    }

    /// Works out the answer, which takes our key; [`TlsStream::finish`] sends it.
    ///
    /// # Errors
    /// When the settings are wrong. What is wrong with the hello, `finish` says.
    pub fn answer(mut self, config: Arc<ServerConfig>) -> io::Result<TlsStream<S>> {
        let mut answered = TlsStream {
            stream: self.stream,
            session: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            server_name: self.server_name,
            input: vec![],
            plain: vec![],
            output: vec![],
            failed: None,
            peer_ended: false,
            we_ended: false,
        };
        answered.take_in(&mut self.bytes, &mut ReadBuf::new(&mut []));
        Ok(answered)
    }
}

/// A connection. It may be used for plaintext after [`finish`](Self::finish).
pub struct TlsStream<S> {
    stream: S,
    session: UnbufferedServerConnection,
    server_name: Option<Box<str>>,
    /// What arrived and is not a whole record, or a whole handshake message.
    input: Vec<u8>,
    /// What was opened and not read yet.
    plain: Vec<u8>,
    /// What was sealed and not sent yet.
    output: Vec<u8>,
    /// Why nothing can be read or written any more.
    failed: Option<Box<Error>>,
    /// The peer said that nothing follows.
    peer_ended: bool,
    /// We said so.
    we_ended: bool,
}

impl<S> TlsStream<S> {
    /// What it runs over.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The host the peer asked for, if it named one.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// What the peer presented, leaf first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session.peer_certificates()
    }

    fn check(&self) -> io::Result<()> {
        self.failed.as_deref().map_or(Ok(()), |error| Err(invalid(error.clone())))
    }

    /// Takes in what arrived: plaintext goes into `into` and, when that is full, is kept; so is the rest of the bytes.
    fn take_in(&mut self, bytes: &mut [u8], into: &mut ReadBuf<'_>) {
        let mut at = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(&mut bytes[at..]);
            at += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                at += record.discard;
                                let (now, later) = record.payload.split_at(record.payload.len().min(into.remaining()));
                                into.put_slice(now);
                                self.plain.extend_from_slice(later);
                            }
                            Err(error) => self.failed = Some(Box::new(error)),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.output),
                // It is as good as sent: nothing goes past it.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_ended = true,
                // Early data is not offered, so this is everything that is left: to wait.
                Ok(_) => break,
                Err(error) => self.failed = Some(Box::new(error)),
            }
            // Of what follows a failure nothing is looked at, but the peer is told.
            if self.failed.is_some() && !self.session.wants_write() {
                break;
            }
        }
        let is_over = self.failed.is_some() || self.peer_ended;
        self.input = if is_over { vec![] } else { bytes[at..].to_vec() };
    }

    /// Seals something.
    fn seal(
        &mut self,
        with: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        self.check()?;
        // No whole message is in the input, so there is nothing to be done before.
        match self.session.process_tls_records(&mut self.input).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => with(&mut traffic).map_err(io::Error::other),
            Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(invalid(error)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Goes on until the handshake is done.
    ///
    /// # Errors
    /// When the peer goes or breaks a rule; it is told which.
    pub async fn finish(&mut self) -> io::Result<()> {
        loop {
            self.flush().await?;
            self.check()?;
            if !self.session.is_handshaking() {
                return Ok(());
            }
            std::future::poll_fn(|cx| self.poll_take_in(cx, &mut ReadBuf::new(&mut []))).await?;
        }
    }

    /// Reads once and takes in what arrived.
    fn poll_take_in(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ARRIVED.with_borrow_mut(|arrived| {
            let known = self.input.len();
            let end = arrived.len().min(known + into.remaining().max(READ_BYTES_MIN));
            if end == known {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "handshake message too large")));
            }
            let mut buffer = ReadBuf::new(&mut arrived[known..end]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let len = buffer.filled().len();
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            arrived[..known].copy_from_slice(&self.input);
            self.take_in(&mut arrived[..known + len], into);
            // An alert or an answer to a key update. What the socket does not take now goes with what is written next.
            match self.poll_send(cx) {
                Poll::Ready(Err(error)) if self.failed.is_none() => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(())),
            }
        })
    }

    /// Sends what is sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut sent = 0;
        let all = poll_send_from(&mut self.stream, cx, &self.output, &mut sent);
        self.output.drain(..sent);
        if self.output.is_empty() {
            self.output = vec![];
        }
        all
    }
}

/// Sends bytes from a place on, which moves with what is sent.
fn poll_send_from<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    bytes: &[u8],
    at: &mut usize,
) -> Poll<io::Result<()>> {
    while *at < bytes.len() {
        match ready!(Pin::new(&mut *stream).poll_write(cx, &bytes[*at..]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            len => *at += len,
        }
    }
    Poll::Ready(Ok(()))
}

/// Appends a message of the handshake, or an alert.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, output: &mut Vec<u8>) {
    let at = output.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        output.resize(at + size.required_size, 0);
        let len = data.encode(&mut output[at..]).expect("there is the room that was asked for");
        output.truncate(at + len);
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.plain.is_empty() {
            let len = this.plain.len().min(into.remaining());
            into.put_slice(&this.plain[..len]);
            this.plain = this.plain.split_off(len);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        while into.remaining() > 0 && into.filled().len() == before && !this.peer_ended {
            this.check()?;
            ready!(this.poll_take_in(cx, into))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.check()?;
        ready!(this.poll_send(cx))?;
        let plain = &plain[..plain.len().min(SEAL_BYTES_MAX)];
        SEALED.with_borrow_mut(|sealed| {
            let len = this.seal(|traffic| traffic.encrypt(plain, sealed))?;
            let mut sent = 0;
            // What was sealed must go out once and in order: it is ours now, whatever the socket takes.
            if let Poll::Ready(Err(error)) = poll_send_from(&mut this.stream, cx, &sealed[..len], &mut sent) {
                return Poll::Ready(Err(error));
            }
            this.output.extend_from_slice(&sealed[sent..len]);
            Poll::Ready(Ok(plain.len()))
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.we_ended {
            this.we_ended = true;
            let mut notice = [0; 128];
            // After a failure the alert says it.
            if let Ok(len) = this.seal(|traffic| traffic.queue_close_notify(&mut notice)) {
                this.output.extend_from_slice(&notice[..len]);
            }
        }
        ready!(this.poll_send(cx))?;
        match ready!(Pin::new(&mut this.stream).poll_shutdown(cx)) {
            // The peer was first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            ended => Poll::Ready(ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
    use tokio::io::{DuplexStream, duplex};
    use tokio_rustls::{TlsConnector, client};

    use super::*;

    const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

    struct Identity {
        certificate: CertificateDer<'static>,
        key: PrivatePkcs8KeyDer<'static>,
    }

    fn identity(name: &str) -> Identity {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Identity { certificate: made.cert.into(), key: made.signing_key.serialize_der().into() }
    }

    /// A server's settings, and those of a client that presents a certificate if it has one.
    fn settings(
        version: &'static SupportedProtocolVersion,
        device: Option<Identity>,
    ) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = identity("hub.example");
        let mut roots = RootCertStore::empty();
        roots.add(server.certificate.clone()).unwrap();
        let client = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
        let client = match device {
            None => client.with_no_client_auth(),
            Some(device) => client.with_client_auth_cert(vec![device.certificate], device.key.into()).unwrap(),
        };
        let server = gantry_gateway::tls::server_config(vec![server.certificate], server.key.into(), &[]).unwrap();
        (server, Arc::new(client))
    }

    async fn accept(config: Arc<ServerConfig>, stream: DuplexStream) -> io::Result<TlsStream<DuplexStream>> {
        let mut stream = Hello::read(stream).await?.answer(config)?;
        stream.finish().await?;
        Ok(stream)
    }

    type Pair = (TlsStream<DuplexStream>, client::TlsStream<DuplexStream>);

    /// Both ends of a connection over a pipe that holds so many bytes.
    async fn connect(version: &'static SupportedProtocolVersion, pipe: usize, device: Option<Identity>) -> Pair {
        let (server, client) = settings(version, device);
        let (ours, theirs) = duplex(pipe);
        let name = ServerName::try_from("hub.example").unwrap();
        let connecting = TlsConnector::from(client).connect(name, theirs);
        let (ours, theirs) = tokio::join!(accept(server, ours), connecting);
        (ours.unwrap(), theirs.unwrap())
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    /// Sends everything one way while the other end reads so many bytes at a time.
    async fn carry(mut from: impl AsyncWrite + Unpin, mut to: impl AsyncRead + Unpin, len: usize, read: usize) {
        let sent = pattern(len);
        let mut got = vec![];
        let writing = async {
            from.write_all(&sent).await.unwrap();
            from.flush().await.unwrap();
        };
        let reading = async {
            let mut piece = vec![0; read];
            while got.len() < len {
                let read = to.read(&mut piece).await.unwrap();
                assert_ne!(read, 0, "after {} of {len}", got.len());
                got.extend_from_slice(&piece[..read]);
            }
        };
        tokio::join!(writing, reading);
        assert!(got == sent, "{len} bytes, read {read} at a time");
    }

    fn holds_nothing(stream: &TlsStream<DuplexStream>) -> bool {
        [&stream.input, &stream.plain, &stream.output].iter().all(|buffer| buffer.capacity() == 0)
    }

    #[tokio::test]
    async fn bytes_arrive_whole_and_in_order_however_small_the_pieces() {
        for version in VERSIONS {
            // A client waits until its first six bytes of the second flight are taken.
            for pipe in [8, 50, 1000, 20_000, 1 << 20] {
                let len = if pipe < 100 { 3_000 } else { 200_000 };
                for read in [1, 100, 5_000, 1 << 17] {
                    let (mut ours, mut theirs) = connect(version, pipe, None).await;
                    carry(&mut theirs, &mut ours, len.min(read * 2_000), read).await;
                    carry(&mut ours, &mut theirs, len.min(read * 2_000), read).await;
                    assert!(holds_nothing(&ours), "{version:?}, {pipe}, {read}");
                }
            }
        }
    }

    #[tokio::test]
    async fn both_ends_may_send_at_once() {
        let (ours, theirs) = connect(&version::TLS13, 300, None).await;
        let ((our_end, our_start), (their_end, their_start)) = (tokio::io::split(ours), tokio::io::split(theirs));
        tokio::join!(carry(our_start, their_end, 100_000, 777), carry(their_start, our_end, 100_000, 4096));
    }

    #[tokio::test]
    async fn what_is_under_way_is_kept_and_nothing_else() {
        let (mut ours, mut theirs) = connect(&version::TLS13, 1 << 20, None).await;
        assert!(holds_nothing(&ours));
        // Half of a record.
        std::io::Write::write_all(&mut theirs.get_mut().1.writer(), b"hello").unwrap();
        let mut record = vec![];
        theirs.get_mut().1.write_tls(&mut record).unwrap();
        let (first, second) = record.split_at(7);
        theirs.get_mut().0.write_all(first).await.unwrap();
        let mut text = [0; 5];
        assert!(futures::poll!(std::pin::pin!(ours.read(&mut text))).is_pending());
        assert_eq!(ours.input, first);
        theirs.get_mut().0.write_all(second).await.unwrap();
        ours.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"hello");
        assert!(holds_nothing(&ours));
    }

    #[tokio::test]
    async fn the_peer_may_change_its_keys() {
        let (mut ours, mut theirs) = connect(&version::TLS13, 1 << 16, None).await;
        for _ in 0..3 {
            theirs.get_mut().1.refresh_traffic_keys().unwrap();
            carry(&mut theirs, &mut ours, 1_000, 1_000).await;
            carry(&mut ours, &mut theirs, 1_000, 1_000).await;
        }
        assert!(holds_nothing(&ours));
    }

    #[tokio::test]
    async fn names_and_certificates_are_known() {
        for version in VERSIONS {
            let (ours, _theirs) = connect(version, 1 << 16, None).await;
            assert_eq!((ours.server_name(), ours.peer_certificates()), (Some("hub.example"), None));
            let device = identity("device.example");
            let certificate = device.certificate.clone();
            let (ours, _theirs) = connect(version, 100, Some(device)).await;
            assert_eq!(ours.peer_certificates(), Some(&[certificate][..]));
        }
    }

    #[tokio::test]
    async fn an_end_is_said_and_heard() {
        for version in VERSIONS {
            let (mut ours, mut theirs) = connect(version, 1 << 16, None).await;
            theirs.write_all(b"last").await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut got = vec![];
            ours.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"last");
            // The other way is still open.
            ours.write_all(b"words").await.unwrap();
            ours.shutdown().await.unwrap();
            got.clear();
            theirs.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"words");
            assert_eq!(ours.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[tokio::test]
    async fn what_the_peer_still_says_after_our_end_is_heard() {
        let (mut ours, mut theirs) = connect(&version::TLS13, 1 << 16, None).await;
        ours.shutdown().await.unwrap();
        theirs.write_all(b"late").await.unwrap();
        let mut got = [0; 4];
        ours.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"late");
    }

    #[tokio::test]
    async fn a_peer_that_just_goes_is_no_end() {
        let (mut ours, theirs) = connect(&version::TLS13, 1 << 16, None).await;
        drop(theirs);
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_forged_record_ends_it_and_the_peer_is_told() {
        for version in VERSIONS {
            let (mut ours, mut theirs) = connect(version, 1 << 16, None).await;
            theirs.write_all(b"good").await.unwrap();
            theirs.flush().await.unwrap();
            // Twice: of what follows the first nothing is looked at.
            let forged = [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat();
            theirs.get_mut().0.write_all(&[&forged[..], &forged].concat()).await.unwrap();
            let mut got = [0; 64];
            assert_eq!(ours.read(&mut got).await.unwrap(), 4, "what was good before is delivered");
            for _ in 0..2 {
                assert_eq!(ours.read(&mut got).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
                assert_eq!(ours.write(b"x").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
            }
            ours.shutdown().await.unwrap();
            let heard = theirs.read(&mut got).await.unwrap_err().to_string();
            assert!(heard.contains("BadRecordMac"), "{heard}");
        }
    }

    #[tokio::test]
    async fn any_bytes_after_the_handshake_are_survived() {
        for seed in 0..200_u32 {
            let (mut ours, mut theirs) = connect(&version::TLS13, 1 << 16, None).await;
            let noise: Vec<u8> =
                (0..300_u32).map(|n| (seed.wrapping_mul(2_654_435_761) >> (n % 24)) as u8 ^ n as u8).collect();
            let kind = [0x14, 0x15, 0x16, 0x17][seed as usize % 4];
            let head = [kind, 3, 3, 0, (seed % 64) as u8];
            theirs.get_mut().0.write_all(&[&head[..], &noise].concat()).await.unwrap();
            drop(theirs);
            assert!(ours.read(&mut [0; 64]).await.is_err());
            assert!(ours.read(&mut [0; 64]).await.is_err());
            let _ = ours.shutdown().await;
        }
    }

    #[tokio::test]
    async fn what_is_no_hello_is_refused_with_an_alert() {
        let (server, _) = settings(&version::TLS13, None);
        for (wrong, alert) in [
            // HTTP; a hello that is none; a version nobody speaks.
            (&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x15, 3, 3, 0, 2, 2][..]),
            (&[0x16, 3, 1, 0, 4, 1, 0, 0, 0], &[0x15, 3, 3, 0, 2, 2]),
            (&[0x16, 3, 1, 0, 4, 2, 0, 0, 0], &[0x15, 3, 3, 0, 2, 2]),
        ] {
            let (ours, mut theirs) = duplex(1 << 16);
            theirs.write_all(wrong).await.unwrap();
            let refused = accept(Arc::clone(&server), ours).await.err().map(|error| error.kind());
            assert_eq!(refused, Some(io::ErrorKind::InvalidData), "{wrong:?}");
            let mut heard = vec![];
            theirs.read_to_end(&mut heard).await.unwrap();
            assert!(heard.starts_with(alert), "{wrong:?}: {heard:?}");
        }
        let (ours, theirs) = duplex(1 << 16);
        drop(theirs);
        let gone = accept(server, ours).await.err().map(|error| error.kind());
        assert_eq!(gone, Some(io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn a_hello_that_asks_for_what_we_lack_is_refused_with_an_alert() {
        let (server, client) = settings(&version::TLS13, None);
        let mut server = Arc::unwrap_or_clone(server);
        server.alpn_protocols = vec![b"one".to_vec()];
        let mut client = Arc::unwrap_or_clone(client);
        client.alpn_protocols = vec![b"other".to_vec()];
        let (ours, theirs) = duplex(1 << 16);
        let name = ServerName::try_from("hub.example").unwrap();
        let connecting = TlsConnector::from(Arc::new(client)).connect(name, theirs);
        let (ours, theirs) = tokio::join!(accept(Arc::new(server), ours), connecting);
        assert_eq!(ours.err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
        let heard = theirs.unwrap_err().to_string();
        assert!(heard.contains("NoApplicationProtocol"), "{heard}");
    }
}
