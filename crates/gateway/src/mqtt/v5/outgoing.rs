//! What is sent to one client, within what it can take.

use gantry_mqtt::QoS;
use gantry_mqtt::v5::{Acknowledgement, Connack, Ending, Packet, Properties, Publish, Reason, encode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::failure::Failure;
use super::login::Login;
use crate::mqtt::wire::{End, Wire};

/// What a client can take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    packet_bytes_max: usize,
    tells_problems: bool,
}

impl Limits {
    pub(super) fn of(login: &Login) -> Self {
        Self { packet_bytes_max: login.packet_bytes_max, tells_problems: login.tells_problems }
    }

    /// Of a client that did not say.
    pub(super) const UNKNOWN: Self = Self { packet_bytes_max: usize::MAX, tells_problems: true };
}

/// The wire, and the limits of the client at its other end.
pub(super) struct Outgoing<'a, S> {
    wire: &'a mut Wire<S>,
    limits: Limits,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Outgoing<'a, S> {
    pub(super) fn new(wire: &'a mut Wire<S>, limits: Limits) -> Self {
        Self { wire, limits }
    }

    /// Encodes a packet; false when it is larger than the client takes, and nothing is sent.
    pub(super) fn send(&mut self, packet: &Packet<'_>) -> bool {
        let output = self.wire.output();
        let start = output.len();
        encode(output, packet);
        let fits = output.len() - start <= self.limits.packet_bytes_max;
        if !fits {
            output.truncate(start);
        }
        fits
    }

    /// Encodes a publish; `packet_id` 0 is QoS 0. False when the client cannot take it.
    pub(super) fn publish(&mut self, topic: &str, packet_id: u16, properties: Properties<'_>, payload: &[u8]) -> bool {
        let qos = if packet_id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        self.send(&Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload }))
    }

    /// Answers a publish.
    pub(super) fn puback(&mut self, packet_id: u16, failure: Option<&Failure>) {
        let Some(failure) = failure else {
            self.send(&Packet::Puback(Acknowledgement { packet_id, ..Default::default() }));
            return;
        };
        let packet = |properties| Packet::Puback(Acknowledgement { packet_id, reason: failure.reason, properties });
        if self.limits.tells_problems {
            self.send_explained(failure, packet);
        } else {
            self.send(&packet(Properties::default()));
        }
    }

    /// Refuses a CONNECT.
    pub(super) fn connack_failure(&mut self, failure: &Failure) {
        let reason = failure.reason;
        let packet = |properties| Packet::Connack(Connack { session_present: false, reason, properties });
        self.send_explained(failure, packet);
    }

    /// Says why the connection ends.
    pub(super) fn disconnect(&mut self, failure: &Failure) {
        let reason = failure.reason;
        self.send_explained(failure, |properties| Packet::Disconnect(Ending { reason, properties }));
    }

    /// Answers a step of authentication.
    pub(super) fn auth(&mut self, method: &'static str) {
        let properties = Properties { authentication_method: Some(method), ..Default::default() };
        self.send(&Packet::Auth(Ending { reason: Reason::SUCCESS, properties }));
    }

    /// Sends as much of an explanation as fits: the status before the text.
    fn send_explained<'p>(&mut self, failure: &'p Failure, packet: impl Fn(Properties<'p>) -> Packet<'p>) {
        let user = explained(failure);
        let reason_string = (!failure.text.is_empty()).then_some(failure.text.as_str());
        let status = user.iter().copied().filter(|(name, _)| *name == "status").collect();
        let _ = self.send(&packet(Properties { reason_string, user: user.clone(), ..Default::default() }))
            || self.send(&packet(Properties { user, ..Default::default() }))
            || self.send(&packet(Properties { user: status, ..Default::default() }))
            || self.send(&packet(Properties::default()));
    }

    /// Sends what was encoded.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        self.wire.flush().await
    }
}

/// User properties that say what failed.
pub(super) fn explained(failure: &Failure) -> Vec<(&str, &str)> {
    let status = failure.status.map(|status| ("status", status));
    let reason = (!failure.text.is_empty()).then_some(("reason", failure.text.as_str()));
    status.into_iter().chain(reason).collect()
}

#[cfg(test)]
mod tests {
    use gantry_mqtt::v5::{Reason, decode};

    use super::*;

    #[track_caller]
    fn puback(packet_bytes_max: usize, tells_problems: bool) -> (Reason, usize, bool) {
        let (stream, _other) = tokio::io::duplex(64);
        let mut wire = Wire::new(stream);
        let mut outgoing = Outgoing::new(&mut wire, Limits { packet_bytes_max, tells_problems });
        outgoing.puback(1, Some(&Failure::bad_request("no such property")));
        let output = std::mem::take(wire.output());
        assert!(output.len() <= packet_bytes_max);
        let Packet::Puback(ack) = decode(&output, 1000).unwrap().unwrap().packet else { panic!() };
        (ack.reason, ack.properties.user.len(), ack.properties.reason_string.is_some())
    }

    #[test]
    fn explanations_shrink_to_what_the_client_takes() {
        let bad = Reason::IMPLEMENTATION_SPECIFIC;
        assert_eq!(puback(1000, true), (bad, 2, true));
        assert_eq!(puback(55, true), (bad, 2, false));
        assert_eq!(puback(30, true), (bad, 1, false));
        assert_eq!(puback(8, true), (bad, 0, false));
        assert_eq!(puback(1000, false), (bad, 0, false));
    }
}
