//! MQTT 5 as the preview of IoT Hub speaks it (api-version 2020-10-01-preview).
//!
//! Topics are fixed words below `$iothub/`, properties say what 3.1.1 puts into topics, and every refusal has a code
//! and words. Messages (telemetry, commands) are acknowledged; requests (twin, methods) are QoS 0 publishes joined to
//! their responses by Correlation Data. No released SDK speaks it: this rests on the published preview documents.
//! Provisioning has no version 5.

mod failure;
mod hub;
mod login;
mod message;
mod outgoing;
mod requests;
mod topics;

use gantry_hub::throttle::Operation;
use gantry_hub::{HubError, Presented, Session};
use gantry_identity::{Identity, Refusal};
use gantry_mqtt::v5::{Decoded, Packet, Reason, decode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::{End, Wire};
use crate::{Gateway, Peer, now, take_turn};
pub(super) use failure::Failure;
pub(super) use login::Login;
use login::Proof;
use outgoing::{Limits, Outgoing};

/// Largest packet taken from a client, in bytes.
pub(super) const PACKET_BYTES_MAX: usize = 256 * 1024;
/// QoS 1 publishes a client may have unacknowledged.
const RECEIVE_MAXIMUM: u16 = 16;
/// Topic aliases of a client.
const TOPIC_ALIAS_MAXIMUM: u16 = 10;
/// Longest keep-alive, in seconds.
const KEEP_ALIVE_SECS_MAX: u16 = 19 * 60;
/// Subscriptions of one client.
const SUBSCRIPTIONS_MAX: usize = 50;
/// Length of Correlation Data, in bytes.
const CORRELATION_BYTES_MAX: usize = 16;

/// Reads the CONNECT at the start of `input`.
pub(super) fn login(input: &[u8]) -> Result<Box<Login>, Failure> {
    match decode(input, PACKET_BYTES_MAX).map_err(Failure::of_decoding)? {
        Some(Decoded { packet: Packet::Connect(connect), .. }) => Login::read(&connect).map(Box::new),
        _ => Err(Failure::protocol("first packet is not CONNECT")),
    }
}

/// Serves a client that sent a CONNECT of version 5 until its connection ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    wire: &mut Wire<S>,
    gateway: &Gateway,
    peer: &Peer,
    login: Result<Box<Login>, Failure>,
) -> Result<(), End> {
    let login = match login {
        Ok(login) => login,
        Err(failure) => return refuse(&mut Outgoing::new(wire, Limits::UNKNOWN), &failure).await,
    };
    let mut outgoing = Outgoing::new(wire, Limits::of(&login));
    let gateway = &login.host.as_deref().map_or_else(|| gateway.clone(), |host| gateway.at(host));
    let session = match Box::pin(authenticate(gateway, peer, &login)).await {
        Ok(session) => session,
        Err(failure) => return refuse(&mut outgoing, &failure).await,
    };
    peer.is_known();
    if let Err(error) = take_turn(&gateway.hub, Operation::Connect).await {
        return refuse(&mut outgoing, &Failure::new(Reason::CONNECTION_RATE_EXCEEDED, None, error.to_string())).await;
    }
    Box::pin(hub::run(wire, gateway, peer, session, *login)).await
}

/// Answers CONNECT with a failure and ends the connection.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    outgoing: &mut Outgoing<'_, S>,
    failure: &Failure,
) -> Result<(), End> {
    outgoing.connack_failure(failure);
    outgoing.flush().await?;
    Err(End::Refused(format!("CONNACK {:#04x}: {}", failure.reason.0, failure.log_text())))
}

async fn authenticate(gateway: &Gateway, peer: &Peer, login: &Login) -> Result<Session, Failure> {
    if let Some(host) = &login.host
        && !gateway.hub.answers_to(host)
    {
        let refusal = Refusal::Resource { presented: host.clone(), needed: gateway.hub.host_name().into() };
        return Err(refused(gateway, peer, &login.client_id, "mqtt 5 connect", &refusal));
    }
    let identity = Identity::parse(&login.client_id)
        .map_err(|error| Failure::new(Reason::CLIENT_ID_NOT_VALID, None, error.to_string()))?;
    let at = now();
    let authenticated = match &login.proof {
        Proof::Signed(signed) => {
            gateway
                .hub
                .authenticate_signed(at, &identity, signed.context(login.host.as_deref(), &login.client_id))
                .await
        }
        Proof::Certificate => {
            let presented = Presented { token: None, certificate: peer.certificate.as_ref() };
            gateway.hub.authenticate_device(at, &identity, presented).await
        }
    };
    match authenticated {
        Ok(session) => Ok(Session { model_id: login.model_id.clone(), ..session }),
        Err(HubError::Unauthorized(refusal)) => {
            Err(refused(gateway, peer, &login.client_id, "mqtt 5 connect", &refusal))
        }
        Err(error) => Err(Failure::new(Reason::SERVER_UNAVAILABLE, None, error.to_string())),
    }
}

/// Reports refused credentials; why they were refused is for the log only.
fn refused(gateway: &Gateway, peer: &Peer, client_id: &str, operation: &'static str, refusal: &Refusal) -> Failure {
    gateway.hub.report_refusal(now(), client_id, &peer.address, operation, refusal);
    Failure::not_authorized()
}
