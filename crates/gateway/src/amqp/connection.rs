//! One connection: bytes, time, futures and events, and nothing about what they mean.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use gantry_amqp::connection::{Config, Connection, LinkId, SaslRequest};
use gantry_amqp::sasl::Outcome;
use gantry_amqp::{ErrorCondition, Event, condition as amqp};
use gantry_identity::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::grants::Grants;
use super::links::{Link, Sent};
use super::partition::Batch;
use super::ports::Grant;
use super::{AmqpContext, condition};
use crate::Peer;

/// Bytes read at once.
const INPUT_LEN: usize = 16 * 1024;

/// Bytes of output above which nothing more is read, from the peer or from the log.
const OUTPUT_HIGH: usize = 512 * 1024;

/// How long a peer may refuse to read what we write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may stay without a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer may take to hang up after the connection was closed. Hanging up first, while it still sends, would
/// make its system throw away the reason we gave.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Something that was waited for.
#[derive(Debug)]
pub(super) enum Done {
    /// Events of a partition.
    Batch(Batch),
    /// A cloud-to-device message was queued or refused.
    Sent(Sent),
}

/// The service's end of one connection.
pub(super) struct Head {
    pub(super) context: Arc<AmqpContext>,
    pub(super) peer: Peer,
    pub(super) amqp: Connection,
    pub(super) grants: Grants,
    pub(super) links: HashMap<LinkId, Link>,
    pub(super) work: FuturesUnordered<BoxFuture<'static, Result<Done, Aborted>>>,
    pub(super) evict: mpsc::UnboundedSender<LinkId>,
    evicted: mpsc::UnboundedReceiver<LinkId>,
    started: Instant,
    /// Since when there is no token.
    without_token_since: Option<Instant>,
}

/// Bytes on their way to the peer.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Everything was written, but may sit in a buffer of the stream.
    flushing: bool,
    /// When the peer last took something.
    progress_at: Option<Instant>,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        self.progress_at = Some(Instant::now());
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
            self.flushing = true;
        }
    }

    fn flushed(&mut self) {
        self.flushing = false;
        self.progress_at = None;
    }
}

enum Progress {
    Wrote(usize),
    Flushed,
}

/// One step of sending: some bytes, or the flush after the last one. May be dropped without losing count.
async fn write<W: AsyncWrite + Unpin>(writer: &mut W, output: &Output) -> io::Result<Progress> {
    if output.is_empty() {
        writer.flush().await?;
        return Ok(Progress::Flushed);
    }
    match writer.write(&output.bytes[output.written..]).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(Progress::Wrote(count)),
    }
}

/// Says that nothing follows, and waits a little for the peer to say the same.
async fn hang_up<R, W>(reader: &mut R, writer: &mut W, input: &mut [u8]) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let parting = async {
        writer.shutdown().await?;
        while reader.read(input).await? > 0 {}
        Ok(())
    };
    tokio::time::timeout(LINGER_TIMEOUT, parting).await.unwrap_or(Ok(()))
}

impl Head {
    pub(super) fn new(context: Arc<AmqpContext>, peer: Peer) -> Self {
        let (evict, evicted) = mpsc::unbounded_channel();
        let config = Config::server(context.hub_name.clone());
        Self {
            context,
            peer,
            amqp: Connection::server(config, 0),
            grants: Grants::default(),
            links: HashMap::new(),
            work: FuturesUnordered::new(),
            evict,
            evicted,
            started: Instant::now(),
            without_token_since: Some(Instant::now()),
        }
    }

    /// Moves bytes until the connection is over.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut input = vec![0; INPUT_LEN].into_boxed_slice();
        let mut output = Output::default();
        let mut shutdown = self.context.shutdown.clone();
        let mut stopping = false;
        loop {
            self.handle_events();
            if output.is_empty() && self.amqp.output_len() > 0 {
                let now = self.elapsed_ms();
                self.amqp.swap_output(now, &mut output.bytes);
                output.progress_at.get_or_insert_with(Instant::now);
            }
            let closed = self.amqp.is_closed();
            if closed && output.is_empty() && !output.flushing {
                return hang_up(&mut reader, &mut writer, &mut input).await;
            }
            let room = output.bytes.len() - output.written + self.amqp.output_len() < OUTPUT_HIGH;
            let deadline = self.deadline(&output);
            tokio::select! {
                progress = write(&mut writer, &output), if !output.is_empty() || output.flushing => {
                    match progress? {
                        Progress::Wrote(count) => output.wrote(count),
                        Progress::Flushed => output.flushed(),
                    }
                }
                read = reader.read(&mut input), if room && !closed => {
                    match read? {
                        0 => return Ok(()),
                        count => self.receive(&input[..count]),
                    }
                }
                Some(done) = self.work.next(), if room && !self.work.is_empty() => self.done(done),
                Some(link) = self.evicted.recv() => self.stolen(link),
                changed = shutdown.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    // A context that is gone asks for the same.
                    drop(changed);
                    let text = "the service is stopping";
                    let now = self.elapsed_ms();
                    self.amqp.close(now, Some(ErrorCondition::new(amqp::CONNECTION_FORCED, text)));
                }
                () = sleep_until(deadline) => self.tick(&output)?,
            }
        }
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn receive(&mut self, bytes: &[u8]) {
        let now = self.elapsed_ms();
        if let Err(error) = self.amqp.receive(now, bytes) {
            debug!(peer = %self.peer.address, error = &error as &dyn std::error::Error, "peer broke the protocol");
        }
    }

    /// The next moment something is due. At least once an hour, which costs nothing and spares an `Option`.
    fn deadline(&self, output: &Output) -> Instant {
        let mut deadline = Instant::now() + Duration::from_secs(3600);
        if let Some(at) = self.amqp.next_deadline() {
            deadline = deadline.min(self.started + Duration::from_millis(at));
        }
        if let Some(expiry) = self.grants.next_expiry() {
            let left = expiry.since((self.context.now)());
            deadline = deadline.min(Instant::now() + left);
        }
        if let Some(since) = self.without_token_since.filter(|_| !self.amqp.is_closed()) {
            deadline = deadline.min(since + TOKEN_TIMEOUT);
        }
        match output.progress_at {
            Some(at) => deadline.min(at + WRITE_TIMEOUT),
            None => deadline,
        }
    }

    fn tick(&mut self, output: &Output) -> io::Result<()> {
        if output.progress_at.is_some_and(|at| at.elapsed() >= WRITE_TIMEOUT) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let now = self.elapsed_ms();
        if let Err(error) = self.amqp.tick(now) {
            debug!(peer = %self.peer.address, error = &error as &dyn std::error::Error, "peer is gone");
        }
        if self.grants.expire((self.context.now)()) {
            self.token_expired();
        }
        if self.without_token_since.is_some_and(|since| since.elapsed() >= TOKEN_TIMEOUT) {
            self.without_token_since = None;
            let text = "no token was put in time";
            self.amqp.close(now, Some(ErrorCondition::new(amqp::UNAUTHORIZED_ACCESS, text)));
        }
        Ok(())
    }

    fn token_expired(&mut self) {
        debug!(peer = %self.peer.address, "token expired");
        if self.grants.is_plain() {
            let text = "the token of this connection expired";
            let now = self.elapsed_ms();
            self.amqp.close(now, Some(ErrorCondition::new(amqp::UNAUTHORIZED_ACCESS, text)));
            return;
        }
        if self.grants.is_empty() {
            self.without_token_since = Some(Instant::now());
        }
        self.detach_unauthorized();
    }

    /// Keeps what a token allows. `false` when there are too many.
    pub(super) fn put_grant(&mut self, audience: &str, grant: Grant) -> bool {
        self.without_token_since = None;
        self.grants.put(audience, grant)
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.amqp.next_event() {
            match event {
                Event::Sasl(request) => self.sasl(request),
                Event::Opened(opened) => {
                    debug!(peer = %self.peer.address, container = %opened.container_id, "connection opened");
                }
                Event::AttachRequested(request) => self.attach_requested(*request),
                Event::Detached { link, .. } => self.remove(link),
                Event::Message(delivery) => self.message(&delivery),
                Event::Credit { link, drain, .. } => self.credit(link, drain),
                // We ask for no links of our own, and send nothing unsettled.
                Event::Attached { .. } | Event::Disposition { .. } | Event::Drained { .. } => {}
                Event::Closed { error } => {
                    debug!(peer = %self.peer.address, ?error, "connection closed");
                    self.links.clear();
                    self.work.clear();
                }
            }
        }
    }

    fn done(&mut self, done: Result<Done, Aborted>) {
        match done {
            Ok(Done::Batch(batch)) => self.batch(batch),
            Ok(Done::Sent(sent)) => self.sent(&sent),
            // Its link is gone.
            Err(Aborted) => {}
        }
    }

    /// SASL PLAIN: `{policy}@sas.root.{hub}` with a token as password.
    fn sasl(&mut self, request: SaslRequest) {
        let outcome = match request {
            // Service clients have no certificates; `EXTERNAL` is not offered.
            SaslRequest::External => Outcome::Auth,
            SaslRequest::Plain(plain) => {
                let now = (self.context.now)();
                match self.plain_policy(&plain.user).and_then(|policy| {
                    let grant = self.context.authorizer.check(now, &plain.password)?;
                    if grant.policy.eq_ignore_ascii_case(policy) {
                        Ok(grant)
                    } else {
                        Err(Refusal::UnknownPolicy(policy.to_owned()))
                    }
                }) {
                    Ok(grant) => {
                        self.grants.set_plain(grant);
                        self.without_token_since = None;
                        Outcome::Ok
                    }
                    Err(refusal) => {
                        self.refused(&plain.user, "amqp sasl", &refusal);
                        Outcome::Auth
                    }
                }
            }
        };
        if let Err(error) = self.amqp.sasl_outcome(outcome) {
            debug!(peer = %self.peer.address, error = &error as &dyn std::error::Error, "peer broke the protocol");
        }
    }

    fn plain_policy<'u>(&self, user: &'u str) -> Result<&'u str, Refusal> {
        let unknown = || Refusal::UnknownIdentity(user.to_owned());
        let (policy, scope) = user.split_once('@').ok_or_else(unknown)?;
        let hub = scope.strip_prefix("sas.root.").ok_or_else(unknown)?;
        // Tools take the first label of the host name for the hub's name.
        let first_label = self.context.stream_host.split('.').next().unwrap_or_default();
        let known = [self.context.hub_name.as_str(), first_label];
        if known.iter().any(|name| name.eq_ignore_ascii_case(hub)) { Ok(policy) } else { Err(unknown()) }
    }

    pub(super) fn refused(&self, claimed: &str, operation: &'static str, refusal: &Refusal) {
        let now = (self.context.now)();
        self.context.authorizer.on_refused(now, claimed, &self.peer.address, operation, refusal);
    }

    fn detach_unauthorized(&mut self) {
        let now = (self.context.now)();
        let without: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| !link.is_authorized(&self.grants, now)).map(|(id, _)| *id).collect();
        for link in without {
            self.remove(link);
            self.amqp.detach(link, condition::unauthorized());
        }
    }
}
