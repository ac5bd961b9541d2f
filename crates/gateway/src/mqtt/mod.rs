//! MQTT as IoT Hub and DPS speak it: version 3.1.1, and version 5 for the hub ([`v5`]).

mod bag;
mod connection;
mod dps;
mod inbox;
mod login;
mod topics;
mod v4;
mod v5;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use gantry_hub::throttle::Operation;
use gantry_hub::{Hub, HubError, Presented, Session};
use gantry_identity::{Identity, Refusal};
use gantry_mqtt::{Connect, ConnectReturnCode, Packet};
use gantry_provisioning::{DpsError, Registrant, RegistrationId};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info};

use crate::{Gateway, Peer, now, take_turn};
use login::{DpsLogin, HubLogin, Login, LoginError, Terms};
use wire::{End, Wire};

/// How long a peer may take to send CONNECT (stated for the preview; a good default).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Keep-alive cap in seconds: 29.45 minutes (MQTT guide).
const KEEP_ALIVE_CAP: Duration = Duration::from_secs(1767);

/// Serves one connection until it ends. Every end is logged once.
///
/// Futures of passing phases are boxed here and in `connection.rs`, so that an idle connection does
/// not keep room for the largest of them.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(stream: S, gateway: Gateway, mut peer: Peer) {
    metrics::gauge!("gantry_mqtt_connections").increment(1.0);
    let mut wire = Wire::new(stream);
    let end = match Box::pin(come_in(&mut wire, &gateway, &peer)).await {
        Ok(Known::Device(hub, session, terms)) => {
            peer.place = None;
            Box::pin(v4::run(&mut wire, hub, session, terms)).await
        }
        Ok(Known::Registrant(registrant, login)) => {
            Box::pin(dps::run(&mut wire, &gateway, &peer, *registrant, &login)).await
        }
        Ok(Known::Version5(login)) => Box::pin(v5::serve(&mut wire, &gateway, &peer, *login)).await,
        Err(end) => Err(end),
    };
    match end {
        Ok(()) | Err(End::Closed) => debug!(peer = %peer.address, "connection closed"),
        Err(End::Io(error)) => debug!(peer = %peer.address, %error, "connection lost"),
        Err(End::Refused(reason)) => debug!(peer = %peer.address, %reason, "connection refused"),
        Err(End::Protocol(reason)) => info!(peer = %peer.address, %reason, "connection closed for cause"),
    }
    let _ = wire.close().await;
    metrics::gauge!("gantry_mqtt_connections").decrement(1.0);
}

/// A CONNECT, or why it is refused.
enum First {
    Version4(Result<Login, LoginError>),
    Version5(Result<Box<v5::Login>, v5::Failure>),
}

async fn first_packet<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Result<First, End> {
    loop {
        if let Some(decoded) = wire.decode()? {
            let Packet::Connect(connect) = decoded.packet else {
                return Err(End::Protocol("first packet is not CONNECT".into()));
            };
            let len = decoded.len;
            let first = match connect {
                Connect { protocol_name: "MQTT", protocol_level: 5, .. } => First::Version5(v5::login(wire.input())),
                connect => First::Version4(Login::read(&connect)),
            };
            wire.consume(len);
            return Ok(first);
        }
        wire.fill().await?;
    }
}

/// A device that proved who it is, and what it asked for; one that speaks version 5 is yet to prove it.
enum Known {
    Device(Arc<Hub>, Box<Session>, Box<Terms>),
    Registrant(Box<Registrant>, Box<DpsLogin>),
    Version5(Box<Result<Box<v5::Login>, v5::Failure>>),
}

/// Waits for CONNECT, and who sent it.
async fn come_in<S: AsyncRead + AsyncWrite + Unpin + Send>(
    wire: &mut Wire<S>,
    gateway: &Gateway,
    peer: &Peer,
) -> Result<Known, End> {
    match tokio::time::timeout(CONNECT_TIMEOUT, first_packet(wire)).await {
        Ok(Ok(First::Version4(login))) => admit(wire, gateway, peer, login).await,
        Ok(Ok(First::Version5(login))) => Ok(Known::Version5(Box::new(login))),
        Ok(Err(end)) => Err(end),
        Err(_) => Err(End::Protocol("no CONNECT within 30 s".into())),
    }
}

async fn admit<S: AsyncRead + AsyncWrite + Unpin + Send>(
    wire: &mut Wire<S>,
    gateway: &Gateway,
    peer: &Peer,
    login: Result<Login, LoginError>,
) -> Result<Known, End> {
    let refused = match login {
        Ok(Login::Hub(login)) => {
            let gateway = gateway.at(&login.host);
            match authenticate_hub(&gateway, peer, &login).await.inspect(|_| peer.is_known()) {
                Ok(session) => match take_turn(&gateway.hub, Operation::Connect).await {
                    Ok(()) => return Ok(Known::Device(gateway.hub, Box::new(session), Box::new(login.terms))),
                    Err(error) => (ConnectReturnCode::ServerUnavailable, error.to_string()),
                },
                Err(refused) => refused,
            }
        }
        Ok(Login::Dps(login)) => match authenticate_dps(gateway, peer, &login).await.inspect(|_| peer.is_known()) {
            Ok(registrant) => return Ok(Known::Registrant(Box::new(registrant), Box::new(login))),
            Err(refused) => refused,
        },
        Err(error) => (error.code(), error.to_string()),
    };
    Err(refuse(wire, refused.0, &refused.1).await)
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, code: ConnectReturnCode, reason: &str) -> End {
    wire.connack(false, code);
    match wire.flush().await {
        Ok(()) => End::Refused(format!("CONNACK {}: {reason}", code as u8)),
        Err(end) => end,
    }
}

/// The code a peer sees and the reason the log gets.
type Refused = (ConnectReturnCode, String);

async fn authenticate_hub(gateway: &Gateway, peer: &Peer, login: &HubLogin) -> Result<Session, Refused> {
    let at = now();
    let report = |reason: &Refusal| {
        gateway.hub.report_refusal(at, &login.client_id, &peer.address, "mqtt connect", reason);
        (ConnectReturnCode::NotAuthorized, reason.to_string())
    };
    if !gateway.hub.answers_to(&login.host) {
        return Err(report(&Refusal::Resource {
            presented: login.host.clone(),
            needed: gateway.hub.host_name().into(),
        }));
    }
    let identity = Identity::parse(&login.client_id)
        .map_err(|error| (ConnectReturnCode::IdentifierRejected, error.to_string()))?;
    let presented = Presented { token: login.password.as_deref(), certificate: peer.certificate.as_ref() };
    match gateway.hub.authenticate_device(at, &identity, presented).await {
        Ok(mut session) => {
            session.model_id.clone_from(&login.model_id);
            Ok(session)
        }
        Err(HubError::Unauthorized(reason)) => Err(report(&reason)),
        Err(error) => Err((ConnectReturnCode::ServerUnavailable, error.to_string())),
    }
}

async fn authenticate_dps(gateway: &Gateway, peer: &Peer, login: &DpsLogin) -> Result<Registrant, Refused> {
    let (at, service) = (now(), gateway.provisioning.of(&login.id_scope));
    let report = |reason: &Refusal| {
        service.report_refusal(at, &login.registration_id, &peer.address, "mqtt dps connect", reason);
        (ConnectReturnCode::NotAuthorized, reason.to_string())
    };
    let id = RegistrationId::parse(&login.registration_id)
        .map_err(|error| (ConnectReturnCode::IdentifierRejected, error.to_string()))?;
    let presented = Presented { token: login.password.as_deref(), certificate: peer.certificate.as_ref() };
    match service.authenticate_device(at, &login.id_scope, &id, presented).await {
        Ok(registrant) => Ok(registrant),
        Err(DpsError::Unauthorized(reason)) => Err(report(&reason)),
        Err(error) => Err((ConnectReturnCode::ServerUnavailable, error.to_string())),
    }
}

/// Reason code and status of a failure, in version 5.
pub(crate) fn failure_of_version_5(error: &HubError) -> (u8, Option<&'static str>) {
    let failure = v5::Failure::from(error);
    (failure.reason.0, failure.status)
}

/// How long to wait for the next packet: 1.5 times what the client promised, capped; the cap when it promised nothing.
fn silence_max(keep_alive_secs: u16) -> Duration {
    match keep_alive_secs {
        0 => KEEP_ALIVE_CAP,
        secs => (Duration::from_secs(u64::from(secs)) * 3 / 2).min(KEEP_ALIVE_CAP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_one_and_a_half_keep_alives_up_to_the_cap() {
        assert_eq!(silence_max(60), Duration::from_secs(90));
        assert_eq!(silence_max(1177), Duration::from_millis(1_765_500));
        assert_eq!(silence_max(1200), KEEP_ALIVE_CAP);
        assert_eq!(silence_max(0), KEEP_ALIVE_CAP);
    }
}
