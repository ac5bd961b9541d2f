//! A byte stream as packets: buffers in and out, bounded, freed while idle.
//!
//! Reading goes through a buffer of the thread; only an incomplete packet is kept, so an
//! idle connection owns no read buffer at all.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use gantry_hub::limits;
use gantry_mqtt::{Connack, ConnectReturnCode, Decoded, Publish, QoS, decode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::hang_up::hang_up;

/// Largest packet: a whole message plus topic, names and framing.
pub(super) const PACKET_BYTES_MAX: usize = limits::D2C_BYTES_MAX + 70 * 1024;
/// How long a peer may refuse to read what we write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// In order.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// CONNECT was refused; refused credentials are security events, which log themselves.
    Refused(String),
    /// The peer broke a rule, or must go; says which and why.
    Protocol(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One connection's stream and buffers.
pub(super) struct Wire<S> {
    stream: S,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, input: vec![], output: vec![] }
    }

    /// The packet at the start of the input, if it is whole.
    pub(super) fn decode(&self) -> Result<Option<Decoded<'_>>, End> {
        decode(&self.input, PACKET_BYTES_MAX).map_err(|error| End::Protocol(format!("malformed packet: {error}")))
    }

    /// The bytes that arrived and were not consumed.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(super) fn consume(&mut self, len: usize) {
        let input = self.take_input();
        self.put_back(input, len);
    }

    /// Hands the input over; give the rest back with [`put_back`](Self::put_back).
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Keeps what was not consumed.
    pub(super) fn put_back(&mut self, mut input: Vec<u8>, consumed: usize) {
        if consumed < input.len() {
            input.drain(..consumed);
            self.input = input;
        }
    }

    /// Waits for bytes and adds them to the input. Cancelling loses nothing.
    pub(super) async fn fill(&mut self) -> Result<(), End> {
        let (stream, input) = (&mut self.stream, &mut self.input);
        let len = poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
                input.extend_from_slice(buffer.filled());
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            })
        })
        .await?;
        if len == 0 { Err(End::Closed) } else { Ok(()) }
    }

    /// The buffer to encode into; sent by [`flush`](Self::flush).
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    pub(super) fn connack(&mut self, session_present: bool, code: ConnectReturnCode) {
        gantry_mqtt::encode_connack(&mut self.output, Connack { session_present, code });
    }

    /// Encodes a publish of ours; `packet_id` 0 is QoS 0.
    pub(super) fn publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) {
        let qos = if packet_id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let publish = Publish { dup: false, qos, retain: false, topic, packet_id, payload };
        gantry_mqtt::encode_publish(&mut self.output, &publish);
    }

    /// Sends what was encoded.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let send = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, send).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(End::Protocol("peer does not read".into())),
        }
    }

    pub(super) async fn close(&mut self) -> io::Result<()> {
        Box::pin(hang_up(&mut self.stream)).await
    }
}
