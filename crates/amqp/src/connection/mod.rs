//! One AMQP connection: protocol headers, SASL, open and close, keep-alives, and the frames of its
//! sessions and links (part 2).
//!
//! The owner moves bytes and time:
//!
//! 1. [`Connection::receive`] with what the socket gave, then [`Connection::next_event`] until
//!    there is none, answering with commands (`accept_attach`, `send_with`, `settle`, ...);
//! 2. [`Connection::take_output`] to the socket, after every round;
//! 3. [`Connection::tick`] when [`Connection::next_deadline`] passes.
//!
//! When `receive` or `tick` fails, the close frame is already in the output: flush it and drop the
//! connection. The layout of the module: this file is the connection, [`session`](self) frames are
//! in `session.rs`, commands on links in `command.rs`, the client's side of the handshake in
//! `client.rs`.
//!
//! Bounds beyond those in [`Config`]: a session's window toward us is never enforced, because every
//! transfer is processed at once; what a peer can make us hold is bounded by the partial messages
//! ([`PARTIAL_BYTES_MAX`]) and by the credit its links were given.

mod client;
mod command;
mod config;
mod event;
mod link;
mod session;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

pub use client::ClientSasl;
pub use command::{Accept, AttachOptions, DELIVERY_TAG_LEN_MAX, Outgoing, SendError};
pub use config::{Config, PARTIAL_BYTES_MAX};
pub use event::{AttachRequest, Delivery, DeliveryId, Error, Event, LinkId, Opened, SaslRequest};
use link::Links;
use session::Session;
pub use session::SessionId;

use crate::condition;
use crate::decode::Reader;
use crate::frame::{self, AMQP_HEADER, Frame, Kind, SASL_HEADER};
use crate::performative::{ErrorCondition, Open, Performative};
use crate::sasl::{self, Outcome, Plain, SaslFrame};

/// Bytes a peer may send ahead while its credentials are being checked.
const SASL_AHEAD_MAX: usize = 64 * 1024;

/// Shortest keep-alive interval we let a peer impose, in milliseconds.
const KEEPALIVE_MIN_MS: u64 = 100;

/// How long a close we sent may stay unanswered, in milliseconds.
const CLOSE_TIMEOUT_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The peer's first protocol header is due.
    Header,
    /// The client's choice of mechanism is due.
    SaslInit,
    /// The client's answer to a challenge is due.
    SaslResponse,
    /// The owner decides about credentials.
    SaslDecision,
    /// The server's list of mechanisms is due.
    SaslMechanisms,
    /// The server's verdict is due.
    SaslOutcome,
    /// SASL is over; the AMQP protocol header is due.
    AmqpHeader,
    /// The peer's open is due.
    Open,
    /// Both opens were exchanged.
    Opened,
    /// We sent close; the peer's is due.
    Closing,
    /// Nothing more happens.
    Closed,
}

/// The state of one connection, as server or client.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    client: Option<client::Client>,
    phase: Phase,
    input: BytesMut,
    output: Vec<u8>,
    events: VecDeque<Event>,
    /// By our channel.
    sessions: Vec<Option<Box<Session>>>,
    /// Our channel by the peer's.
    channels: Vec<Option<u16>>,
    links: Links,
    partial_bytes: usize,
    peer_frame_size_max: usize,
    peer_channel_max: u16,
    peer_idle_timeout_ms: Option<u64>,
    open_sent: bool,
    received_at: u64,
    sent_at: u64,
    /// When the connection began, later when we sent close.
    phase_at: u64,
}

impl Connection {
    /// The server's end of a connection that was accepted at `now` (milliseconds).
    #[must_use]
    pub fn server(config: Config, now: u64) -> Self {
        Self::new(config, None, now)
    }

    fn new(config: Config, client: Option<client::Client>, now: u64) -> Self {
        Self {
            config,
            client,
            phase: Phase::Header,
            input: BytesMut::new(),
            output: Vec::new(),
            events: VecDeque::new(),
            sessions: Vec::new(),
            channels: Vec::new(),
            links: Links::default(),
            partial_bytes: 0,
            peer_frame_size_max: frame::MAX_FRAME_SIZE_MIN as usize,
            peer_channel_max: 0,
            peer_idle_timeout_ms: None,
            open_sent: false,
            received_at: now,
            sent_at: now,
            phase_at: now,
        }
    }

    /// Takes bytes from the peer.
    ///
    /// # Errors
    /// When the peer broke the protocol. The close frame is in the output and
    /// [`Event::Closed`] is the last event.
    pub fn receive(&mut self, now: u64, bytes: &[u8]) -> Result<(), Error> {
        self.received_at = now;
        if self.phase != Phase::Closed {
            self.input.extend_from_slice(bytes);
        }
        self.process()
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the bytes to send, and notes that they go out at `now`.
    #[must_use]
    pub fn take_output(&mut self, now: u64) -> Bytes {
        if !self.output.is_empty() {
            self.sent_at = now;
        }
        std::mem::take(&mut self.output).into()
    }

    /// Swaps the bytes to send into `buffer`, which must be empty; its memory is used for the next
    /// round. The fast form of [`Connection::take_output`].
    pub fn swap_output(&mut self, now: u64, buffer: &mut Vec<u8>) {
        debug_assert!(buffer.is_empty(), "the buffer was sent before it is used again");
        if !self.output.is_empty() {
            self.sent_at = now;
            std::mem::swap(&mut self.output, buffer);
        }
    }

    /// Gives back the memory of buffers that are empty; for connections that go idle.
    pub fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.output.shrink_to_fit();
        self.events.shrink_to_fit();
    }

    /// How many bytes wait to be sent.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Whether the connection is over. Flush the output and drop it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Answers [`Event::Sasl`]. After [`Outcome::Ok`] the connection goes on; after anything else
    /// it is closed.
    ///
    /// # Errors
    /// As [`Connection::receive`], for bytes that were waiting.
    pub fn sasl_outcome(&mut self, outcome: Outcome) -> Result<(), Error> {
        if self.phase != Phase::SaslDecision {
            return Ok(());
        }
        self.put_sasl(&SaslFrame::Outcome(outcome as u8));
        if outcome != Outcome::Ok {
            self.end(None);
            return Ok(());
        }
        self.phase = Phase::AmqpHeader;
        self.process()
    }

    /// Answers [`Event::Sasl`] with a challenge; [`SaslRequest::Response`] follows.
    ///
    /// # Errors
    /// As [`Connection::receive`], for bytes that were waiting.
    pub fn sasl_challenge(&mut self, challenge: Bytes) -> Result<(), Error> {
        if self.phase != Phase::SaslDecision {
            return Ok(());
        }
        self.put_sasl(&SaslFrame::Challenge(challenge));
        self.phase = Phase::SaslResponse;
        self.process()
    }

    /// Closes the connection. `error` is absent when nothing went wrong.
    pub fn close(&mut self, now: u64, error: Option<ErrorCondition>) {
        match self.phase {
            Phase::Closing | Phase::Closed => {}
            Phase::Open | Phase::Opened => {
                self.put_open();
                self.put(0, &Performative::Close(error));
                self.phase = Phase::Closing;
                self.phase_at = now;
            }
            _ => self.end(None),
        }
    }

    /// When [`Connection::tick`] must be called, in the milliseconds of `now`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let silence = self.received_at + u64::from(self.config.idle_timeout_ms);
        match self.phase {
            Phase::Closed => None,
            Phase::Closing => Some(self.phase_at + CLOSE_TIMEOUT_MS),
            Phase::Opened => Some(match self.keepalive_at() {
                Some(keepalive) => keepalive.min(silence),
                None => silence,
            }),
            _ => Some(self.phase_at + u64::from(self.config.handshake_timeout_ms)),
        }
    }

    /// Does what is due at `now`: a keep-alive, or giving up on a silent peer.
    ///
    /// # Errors
    /// When the peer was silent too long; see [`Connection::receive`].
    pub fn tick(&mut self, now: u64) -> Result<(), Error> {
        if self.phase == Phase::Opened && self.keepalive_at().is_some_and(|at| at <= now) {
            frame::put(&mut self.output, Kind::Amqp, 0, |_| {});
            self.sent_at = now;
        }
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return Ok(());
        }
        let error = match self.phase {
            Phase::Opened => Error::IdleTimeout,
            Phase::Closing => Error::CloseTimeout,
            _ => Error::HandshakeTimeout,
        };
        self.fail(&error);
        Err(error)
    }

    fn keepalive_at(&self) -> Option<u64> {
        let interval = (self.peer_idle_timeout_ms? / 2).max(KEEPALIVE_MIN_MS);
        Some(self.sent_at + interval)
    }

    fn process(&mut self) -> Result<(), Error> {
        let result = self.process_input();
        if let Err(error) = &result {
            self.fail(error);
        }
        result
    }

    fn process_input(&mut self) -> Result<(), Error> {
        loop {
            match self.phase {
                Phase::Closed => {
                    self.input.clear();
                    return Ok(());
                }
                Phase::SaslDecision if self.input.len() > SASL_AHEAD_MAX => {
                    return Err(Error::NotAllowed("frames before the SASL outcome"));
                }
                Phase::SaslDecision => return Ok(()),
                Phase::Header | Phase::AmqpHeader => {
                    let Some(header) = self.input.first_chunk::<8>().copied() else {
                        return Ok(());
                    };
                    let _ = self.input.split_to(8);
                    self.protocol_header(header)?;
                }
                _ => {
                    let limit = self.config.max_frame_size;
                    match frame::take(&mut self.input, limit).map_err(Error::Framing)? {
                        None => return Ok(()),
                        Some(frame) => self.frame(&frame)?,
                    }
                }
            }
        }
    }

    fn protocol_header(&mut self, header: [u8; 8]) -> Result<(), Error> {
        if self.client.is_some() {
            return self.client_protocol_header(header);
        }
        match header {
            SASL_HEADER if self.phase == Phase::Header => {
                self.output.extend_from_slice(&SASL_HEADER);
                self.put_sasl(&SaslFrame::Mechanisms(self.config.mechanisms.clone()));
                self.phase = Phase::SaslInit;
                Ok(())
            }
            AMQP_HEADER => {
                self.output.extend_from_slice(&AMQP_HEADER);
                self.phase = Phase::Open;
                Ok(())
            }
            // 2.2: answer with a header we support, then close.
            _ => {
                self.output.extend_from_slice(&SASL_HEADER);
                Err(Error::ProtocolHeader(header))
            }
        }
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), Error> {
        let sasl =
            matches!(self.phase, Phase::SaslInit | Phase::SaslResponse | Phase::SaslMechanisms | Phase::SaslOutcome);
        match (frame.kind, sasl) {
            (Kind::Sasl, true) => {
                let mut reader = Reader::new(&frame.body);
                let sasl = SaslFrame::decode(&mut reader).map_err(Error::Decode)?;
                self.sasl_frame(sasl)
            }
            (Kind::Amqp, false) if frame.body.is_empty() => Ok(()),
            (Kind::Amqp, false) => self.amqp_frame(frame),
            _ => Err(Error::NotAllowed("frame of the other layer")),
        }
    }

    fn sasl_frame(&mut self, frame: SaslFrame) -> Result<(), Error> {
        match (self.phase, frame) {
            (Phase::SaslInit, SaslFrame::Init { mechanism, initial_response, .. }) => {
                if !self.config.mechanisms.contains(&mechanism) {
                    return self.refuse_sasl("SASL mechanism that was not offered");
                }
                let request = if mechanism == sasl::PLAIN {
                    match Plain::decode(&initial_response) {
                        Some(plain) => SaslRequest::Plain(plain),
                        None => return self.refuse_sasl("malformed SASL PLAIN response"),
                    }
                } else if mechanism == sasl::EXTERNAL {
                    SaslRequest::External
                } else if mechanism == sasl::TPM {
                    SaslRequest::Tpm(initial_response)
                } else {
                    // ANONYMOUS and MSSBCBS prove nothing; claims follow over `$cbs`.
                    self.phase = Phase::SaslDecision;
                    return self.sasl_outcome(Outcome::Ok);
                };
                self.phase = Phase::SaslDecision;
                self.events.push_back(Event::Sasl(request));
                Ok(())
            }
            (Phase::SaslResponse, SaslFrame::Response(response)) => {
                self.phase = Phase::SaslDecision;
                self.events.push_back(Event::Sasl(SaslRequest::Response(response)));
                Ok(())
            }
            (_, frame) if self.client.is_some() => self.client_sasl_frame(frame),
            _ => Err(Error::NotAllowed("SASL frame out of order")),
        }
    }

    fn refuse_sasl(&mut self, reason: &'static str) -> Result<(), Error> {
        self.put_sasl(&SaslFrame::Outcome(Outcome::Auth as u8));
        Err(Error::NotAllowed(reason))
    }

    fn amqp_frame(&mut self, frame: &Frame) -> Result<(), Error> {
        let mut reader = Reader::new(&frame.body);
        let performative = Performative::decode(&mut reader).map_err(Error::Decode)?;
        match (self.phase, performative) {
            (Phase::Open, Performative::Open(open)) => {
                self.peer_opened(open);
                Ok(())
            }
            (Phase::Open, _) => Err(Error::NotAllowed("frame before open")),
            (_, Performative::Open(_)) => Err(Error::NotAllowed("second open")),
            (_, Performative::Close(error)) => {
                if self.phase == Phase::Opened {
                    self.put(0, &Performative::Close(None));
                }
                self.end(error);
                Ok(())
            }
            // Frames that crossed our close mean nothing any more.
            (Phase::Closing, _) => Ok(()),
            (_, performative) => self.session_frame(frame.channel, performative, &reader),
        }
    }

    fn peer_opened(&mut self, open: Open) {
        self.peer_frame_size_max = open.max_frame_size.max(frame::MAX_FRAME_SIZE_MIN).try_into().unwrap_or(usize::MAX);
        self.peer_channel_max = open.channel_max;
        self.peer_idle_timeout_ms = open.idle_timeout.filter(|t| *t > 0).map(u64::from);
        self.put_open();
        self.phase = Phase::Opened;
        self.events.push_back(Event::Opened(Box::new(Opened {
            container_id: open.container_id,
            hostname: open.hostname,
            properties: open.properties,
        })));
    }

    fn put_open(&mut self) {
        if std::mem::replace(&mut self.open_sent, true) {
            return;
        }
        let open = Open {
            container_id: self.config.container_id.clone(),
            hostname: self.config.hostname.clone(),
            max_frame_size: self.config.max_frame_size,
            channel_max: self.config.channel_max,
            idle_timeout: Some(self.config.idle_timeout_ms),
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: self.config.properties.clone(),
        };
        self.put(0, &Performative::Open(open));
    }

    fn put(&mut self, channel: u16, performative: &Performative) {
        frame::put(&mut self.output, Kind::Amqp, channel, |out| performative.encode(out));
    }

    fn put_sasl(&mut self, frame: &SaslFrame) {
        frame::put(&mut self.output, Kind::Sasl, 0, |out| frame.encode(out));
    }

    /// Ends with an error: says so to the peer when the AMQP layer was reached.
    fn fail(&mut self, error: &Error) {
        let condition = ErrorCondition::new(error.condition(), error.to_string());
        match self.phase {
            Phase::Closed => return,
            Phase::Open | Phase::Opened => {
                self.put_open();
                self.put(0, &Performative::Close(Some(condition.clone())));
            }
            _ => {}
        }
        self.end(Some(condition));
    }

    fn end(&mut self, error: Option<ErrorCondition>) {
        self.phase = Phase::Closed;
        self.input.clear();
        self.sessions.clear();
        self.channels.clear();
        self.links = Links::default();
        self.partial_bytes = 0;
        self.events.push_back(Event::Closed { error });
    }
}

impl Error {
    /// The condition a peer is told.
    fn condition(&self) -> crate::value::Symbol {
        match self {
            Self::Decode(_) => condition::DECODE_ERROR,
            Self::Framing(_) | Self::ProtocolHeader(_) | Self::Handle => condition::FRAMING_ERROR,
            Self::NotAllowed(_) | Self::Channel(_) | Self::SaslRefused(_) => condition::NOT_ALLOWED,
            Self::TooManySessions => condition::RESOURCE_LIMIT_EXCEEDED,
            Self::IdleTimeout => condition::RESOURCE_LIMIT_EXCEEDED,
            Self::HandshakeTimeout | Self::CloseTimeout => condition::CONNECTION_FORCED,
        }
    }
}
