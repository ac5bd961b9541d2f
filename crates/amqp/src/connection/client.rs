//! The client's side of the handshake, for tests and for the command line.

use bytes::Bytes;

use super::{Config, Connection, Error, Phase};
use crate::frame::{AMQP_HEADER, SASL_HEADER};
use crate::sasl::{self, Outcome, Plain, SaslFrame};

/// How a client presents itself.
#[derive(Clone, Debug)]
pub enum ClientSasl {
    /// No SASL layer.
    None,
    /// Mechanism ANONYMOUS.
    Anonymous,
    /// Mechanism PLAIN.
    Plain(Plain),
}

#[derive(Debug)]
pub(super) struct Client {
    sasl: ClientSasl,
}

impl Connection {
    /// The client's end of a connection that was made at `now`.
    #[must_use]
    pub fn client(config: Config, sasl: ClientSasl, now: u64) -> Self {
        let plain = matches!(sasl, ClientSasl::None);
        let mut connection = Self::new(config, Some(Client { sasl }), now);
        if plain {
            connection.begin_amqp();
        } else {
            connection.output.extend_from_slice(&SASL_HEADER);
        }
        connection
    }

    fn begin_amqp(&mut self) {
        self.output.extend_from_slice(&AMQP_HEADER);
        self.put_open();
        self.phase = Phase::AmqpHeader;
    }

    pub(super) fn client_protocol_header(&mut self, header: [u8; 8]) -> Result<(), Error> {
        self.phase = match (self.phase, header) {
            (Phase::Header, SASL_HEADER) => Phase::SaslMechanisms,
            (Phase::AmqpHeader, AMQP_HEADER) => Phase::Open,
            _ => return Err(Error::ProtocolHeader(header)),
        };
        Ok(())
    }

    pub(super) fn client_sasl_frame(&mut self, frame: SaslFrame) -> Result<(), Error> {
        match (self.phase, frame) {
            (Phase::SaslMechanisms, SaslFrame::Mechanisms(offered)) => {
                let sasl = self.client.as_ref().map(|client| &client.sasl);
                let (mechanism, initial_response) = match sasl {
                    Some(ClientSasl::Plain(plain)) => (sasl::PLAIN, plain.encode()),
                    _ => (sasl::ANONYMOUS, Bytes::new()),
                };
                if !offered.contains(&mechanism) {
                    return Err(Error::NotAllowed("no common SASL mechanism"));
                }
                let hostname = self.config.hostname.clone();
                self.put_sasl(&SaslFrame::Init { mechanism, initial_response, hostname });
                self.phase = Phase::SaslOutcome;
                Ok(())
            }
            (Phase::SaslOutcome, SaslFrame::Outcome(code)) if code == Outcome::Ok as u8 => {
                self.begin_amqp();
                Ok(())
            }
            (Phase::SaslOutcome, SaslFrame::Outcome(code)) => Err(Error::SaslRefused(code)),
            _ => Err(Error::NotAllowed("SASL frame out of order")),
        }
    }
}
