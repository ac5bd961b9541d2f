//! Server-sent events: what changes, while it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use futures::stream::unfold;
use gantry_monitoring::live::Live;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::Api;
use crate::query::Query;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(super) struct LiveQuery {
    device: Option<String>,
}

type Events =
    Sse<axum::response::sse::KeepAliveStream<std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>>>;

pub(super) async fn live(State(api): State<Arc<Api>>, Query(query): Query<LiveQuery>) -> Events {
    events(api.monitoring.live().subscribe(), query.device)
}

pub(super) async fn monitor(State(api): State<Arc<Api>>, Query(query): Query<LiveQuery>) -> Events {
    events(api.monitoring.monitor().subscribe(), query.device)
}

fn events(receiver: Receiver<Live>, device: Option<String>) -> Events {
    let stream = unfold((receiver, device), |(mut receiver, device)| async move {
        loop {
            let event = match receiver.recv().await {
                Ok(live) if is_for(&live, device.as_deref()) => Event::default().event(live.name).data(&*live.data),
                Ok(_) => continue,
                // The client reads too slowly: it is told, and loads again.
                Err(RecvError::Lagged(missed)) => {
                    Event::default().event("lagged").data(format!("{{\"missed\":{missed}}}"))
                }
                Err(RecvError::Closed) => return None,
            };
            return Some((Ok(event), (receiver, device)));
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
