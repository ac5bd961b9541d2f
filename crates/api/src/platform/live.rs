//! Server-sent events: what changes, while it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use futures::stream::unfold;
use gantry_hub::ports::directory::Audience;
use gantry_monitoring::live::Live;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::session::{is_live, session_of};
use crate::Api;
use crate::auth::{PeerAddress, by_token};
use crate::caller::{Caller, Permissions};
use crate::query::Query;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often it is looked who listens, and what they may hear.
const SESSION_PERIOD: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct LiveQuery {
    device: Option<String>,
}

type Events =
    Sse<axum::response::sse::KeepAliveStream<std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>>>;

/// Who hears events, and which.
struct Listener {
    api: Arc<Api>,
    device: Option<String>,
    sees_security: bool,
    caller: Caller,
    /// Of a person: the stream ends with it.
    session: Option<String>,
    /// Of a program: the stream ends with its token.
    token: HeaderMap,
    peer: PeerAddress,
}

impl Listener {
    fn new(api: Arc<Api>, query: LiveQuery, caller: Caller, headers: &HeaderMap, peer: PeerAddress) -> Self {
        let sees_security = caller.permissions.contains(Permissions::SECURITY_READ);
        let session = session_of(&caller, headers);
        let token = headers.get(header::AUTHORIZATION).map(|token| (header::AUTHORIZATION, token.clone()));
        Self { api, device: query.device, sees_security, caller, session, token: token.into_iter().collect(), peer }
    }

    /// Looks again at who listens, and what they may hear by now; whether anything.
    fn renew(&mut self) -> bool {
        let caller = match self.token.is_empty() {
            false => by_token(&self.api, &self.token, &self.peer, Audience::Management).ok(),
            true => {
                is_live(&self.api, self.session.as_deref()).then(|| self.api.sign_in.renewed(&self.caller)).flatten()
            }
        };
        let permissions = caller.map_or(Permissions::NONE, |caller| caller.permissions);
        self.sees_security = permissions.contains(Permissions::SECURITY_READ);
        permissions.contains(Permissions::DEVICES_READ)
    }

    fn hears(&self, live: &Live) -> bool {
        is_for(live, self.device.as_deref()) && (self.sees_security || live.name != "security")
    }
}

pub(super) async fn live(
    State(api): State<Arc<Api>>,
    Query(query): Query<LiveQuery>,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
    caller: Caller,
) -> Events {
    let receiver = api.monitoring.live().subscribe();
    events(receiver, Listener::new(api, query, caller, &headers, peer))
}

pub(super) async fn monitor(
    State(api): State<Arc<Api>>,
    Query(query): Query<LiveQuery>,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
    caller: Caller,
) -> Events {
    let receiver = api.monitoring.monitor().subscribe();
    events(receiver, Listener::new(api, query, caller, &headers, peer))
}

fn events(receiver: Receiver<Live>, listener: Listener) -> Events {
    let mut look = tokio::time::interval(SESSION_PERIOD);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stream = unfold((receiver, listener, look), |(mut receiver, mut listener, mut look)| async move {
        loop {
            let received = tokio::select! {
                received = receiver.recv() => received,
                _ = look.tick() => match listener.renew() {
                    true => continue,
                    false => return None,
                },
            };
            let event = match received {
                Ok(live) if listener.hears(&live) => Event::default().event(live.name).data(&*live.data),
                Ok(_) => continue,
                // The client reads too slowly: it is told, and loads again.
                Err(RecvError::Lagged(missed)) => {
                    Event::default().event("lagged").data(format!("{{\"missed\":{missed}}}"))
                }
                Err(RecvError::Closed) => return None,
            };
            return Some((Ok(event), (receiver, listener, look)));
        }
    });
    let stream: std::pin::Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(stream);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn is_for(live: &Live, device: Option<&str>) -> bool {
    match (device, &live.device) {
        (Some(wanted), Some(device)) => **device == *wanted,
        _ => true,
    }
}
