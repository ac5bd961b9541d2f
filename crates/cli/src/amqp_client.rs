//! A small AMQP client over our own codec: for the bench.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use gantry_amqp::connection::{AttachOptions, ClientSasl, Config, Connection, LinkId, SessionId};
use gantry_amqp::sasl::Plain;
use gantry_amqp::{Event, Role, Source, Target as Node};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::mqtt_client::{Stream, Target};

/// How long any answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const INPUT_LEN: usize = 64 * 1024;

/// A connected client with one session.
pub struct AmqpClient {
    /// The protocol.
    pub amqp: Connection,
    stream: Box<dyn Stream>,
    session: SessionId,
    begun: Instant,
}

impl AmqpClient {
    /// Connects and logs in with SASL PLAIN.
    ///
    /// # Errors
    /// What refused: network, TLS or SASL.
    pub async fn connect(target: &Target, user: &str, password: &str) -> anyhow::Result<Self> {
        Self::over(target.open().await?, target, user, password).await
    }

    /// Logs in over an open stream.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn over(
        mut stream: Box<dyn Stream>,
        target: &Target,
        user: &str,
        password: &str,
    ) -> anyhow::Result<Self> {
        let plain = Plain { user: user.to_owned(), password: password.to_owned() };
        let (begun, config) = (Instant::now(), Config::client("bench", target.host.as_str()));
        let mut amqp = Connection::client(config, ClientSasl::Plain(plain), 0);
        let opened = |event: &Event| matches!(event, Event::Opened(_)).then_some(());
        wait(&mut amqp, &mut stream, begun, opened).await.with_context(|| format!("logging in as {user}"))?;
        let session = amqp.begin_session().context("no session")?;
        Ok(Self { amqp, stream, session, begun })
    }

    /// Attaches a link and waits for the answer.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn attach(&mut self, role: Role, address: &str, credit: u32) -> anyhow::Result<LinkId> {
        let (source, target) = match role {
            Role::Sender => (Source::at("bench"), Node::at(address)),
            Role::Receiver => (Source::at(address), Node::at("bench")),
        };
        let options = AttachOptions { credit, ..AttachOptions::default() };
        let link = self.amqp.attach(self.session, address, role, source, target, options).context("no link")?;
        let attached = |event: &Event| matches!(event, Event::Attached { link: id, .. } if *id == link).then_some(());
        wait(&mut self.amqp, &mut self.stream, self.begun, attached).await?;
        Ok(link)
    }

    /// Sends what was encoded.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        flush(&mut self.amqp, &mut self.stream, self.begun).await
    }

    /// Waits for bytes and takes them in; look at `amqp` for what happened.
    ///
    /// # Errors
    /// When the connection breaks, or the server breaks the protocol.
    pub async fn receive(&mut self) -> anyhow::Result<()> {
        receive(&mut self.amqp, &mut self.stream, self.begun).await
    }
}

async fn flush(amqp: &mut Connection, stream: &mut Box<dyn Stream>, begun: Instant) -> anyhow::Result<()> {
    let output = amqp.take_output(elapsed_ms(begun));
    if !output.is_empty() {
        stream.write_all(&output).await?;
        stream.flush().await?;
    }
    Ok(())
}

async fn receive(amqp: &mut Connection, stream: &mut Box<dyn Stream>, begun: Instant) -> anyhow::Result<()> {
    let mut input = vec![0; INPUT_LEN];
    let count = stream.read(&mut input).await?;
    ensure!(count > 0, "the server hung up");
    Ok(amqp.receive(elapsed_ms(begun), &input[..count])?)
}

fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Waits for an event that `pick` finds something in.
async fn wait<T>(
    amqp: &mut Connection,
    stream: &mut Box<dyn Stream>,
    begun: Instant,
    pick: impl Fn(&Event) -> Option<T>,
) -> anyhow::Result<T> {
    let answer = async {
        loop {
            while let Some(event) = amqp.next_event() {
                if let Some(found) = pick(&event) {
                    return Ok(found);
                }
                if let Event::Closed { .. } | Event::Detached { .. } = event {
                    bail!("refused: {event:?}");
                }
            }
            flush(amqp, stream, begun).await?;
            receive(amqp, stream, begun).await?;
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.context("no answer in time")?
}
