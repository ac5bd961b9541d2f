//! Cloud-to-device messages as services send them: AMQP 1.0 with SASL PLAIN.

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use gantry_amqp::connection::{AttachOptions, ClientSasl, Config, Connection, LinkId, Outgoing};
use gantry_amqp::sasl::Plain;
use gantry_amqp::{Body, DeliveryState, Event, Message, MessageId, Properties, Role, Source, Target};

use crate::{Platform, Service, TlsSocket};

/// A sender link to `/messages/devicebound`.
pub struct C2dSender {
    amqp: Connection,
    socket: TlsSocket,
    link: LinkId,
    begun: Instant,
}

impl C2dSender {
    /// Connects and attaches.
    ///
    /// # Errors
    /// When the connection or the link is refused.
    pub async fn connect(platform: &Platform, service: &Service) -> anyhow::Result<Self> {
        let mut socket = platform.tls(platform.amqp_port(), b"").await?;
        let plain = Plain { user: "iothubowner@sas.root.localhost".into(), password: service.token() };
        let begun = Instant::now();
        let mut amqp = Connection::client(Config::client("testkit", "localhost"), ClientSasl::Plain(plain), 0);
        wait(&mut amqp, &mut socket, begun, |event| matches!(event, Event::Opened(_)).then_some(())).await?;
        let session = amqp.begin_session().context("no session")?;
        let (source, target) = (Source::at("testkit"), Target::at("/messages/devicebound"));
        let link = amqp.attach(session, "c2d", Role::Sender, source, target, AttachOptions::default());
        let link = link.context("no link")?;
        Ok(Self { amqp, socket, link, begun })
    }

    /// Sends one message; true when the hub accepted it.
    ///
    /// # Errors
    /// When the connection is lost before the outcome is known.
    pub async fn send(&mut self, device: &str, message_id: &str, body: &[u8]) -> anyhow::Result<bool> {
        let link = self.link;
        if self.amqp.sendable(link) == 0 {
            let credit = |event: &Event| matches!(event, Event::Credit { link: id, .. } if *id == link).then_some(());
            wait(&mut self.amqp, &mut self.socket, self.begun, credit).await?;
        }
        let properties = Properties {
            message_id: Some(MessageId::String(message_id.into())),
            to: Some(format!("/devices/{device}/messages/devicebound")),
            ..Properties::default()
        };
        let message = Message {
            properties: Some(properties),
            body: Body::Data(vec![body.to_vec().into()]),
            ..Message::default()
        };
        let mut bytes = vec![];
        message.encode(&mut bytes);
        let sent = self.amqp.send(link, Outgoing { tag: b"t", settled: false, format: 0 }, &bytes);
        let sent = sent.context("not sent")?;
        let state = wait(&mut self.amqp, &mut self.socket, self.begun, |event| match event {
            Event::Disposition { link: id, delivery_id, state, .. } if (*id, *delivery_id) == (link, sent) => {
                Some(state.clone())
            }
            _ => None,
        });
        Ok(state.await? == Some(DeliveryState::Accepted))
    }
}

/// Waits for an event that `pick` finds something in.
async fn wait<T>(
    amqp: &mut Connection,
    socket: &mut TlsSocket,
    begun: Instant,
    pick: impl Fn(&Event) -> Option<T>,
) -> anyhow::Result<T> {
    loop {
        while let Some(event) = amqp.next_event() {
            if let Some(found) = pick(&event) {
                return Ok(found);
            }
            if let Event::Closed { .. } | Event::Detached { .. } = event {
                bail!("refused: {event:?}");
            }
        }
        let now = u64::try_from(begun.elapsed().as_millis())?;
        socket.write(&amqp.take_output(now)).await?;
        let mut input = vec![];
        ensure!(socket.read(&mut input).await?, "the server closed the connection");
        // A refusal is an error here and an event too.
        let _ = amqp.receive(now, &input);
    }
}
