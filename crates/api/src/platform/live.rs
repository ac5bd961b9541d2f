//! Server-sent events: what changes, while it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use futures::stream::unfold;
use gantry_monitoring::live::Live;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::session::{is_live, session_of};
use crate::Api;
use crate::caller::{Caller, Permissions};
use crate::query::Query;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often it is looked whether who listens is still signed in.
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
    /// Of a person: the stream ends with it.
    session: Option<String>,
}

impl Listener {
    fn new(api: Arc<Api>, query: LiveQuery, caller: &Caller, headers: &HeaderMap) -> Self {
        let sees_security = caller.permissions.contains(Permissions::SECURITY_READ);
        Self { api, device: query.device, sees_security, session: session_of(caller, headers) }
    }

    fn hears(&self, live: &Live) -> bool {
        is_for(live, self.device.as_deref()) && (self.sees_security || live.name != "security")
    }
}

pub(super) async fn live(
    State(api): State<Arc<Api>>,
    Query(query): Query<LiveQuery>,
    headers: HeaderMap,
    caller: Caller,
) -> Events {
    let receiver = api.monitoring.live().subscribe();
    events(receiver, Listener::new(api, query, &caller, &headers))
}

pub(super) async fn monitor(
    State(api): State<Arc<Api>>,
    Query(query): Query<LiveQuery>,
    headers: HeaderMap,
    caller: Caller,
) -> Events {
    let receiver = api.monitoring.monitor().subscribe();
    events(receiver, Listener::new(api, query, &caller, &headers))
}

fn events(receiver: Receiver<Live>, listener: Listener) -> Events {
    let mut look = tokio::time::interval(SESSION_PERIOD);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stream = unfold((receiver, listener, look), |(mut receiver, listener, mut look)| async move {
        loop {
            let received = tokio::select! {
                received = receiver.recv() => received,
                _ = look.tick() => match is_live(&listener.api, listener.session.as_deref()) {
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
