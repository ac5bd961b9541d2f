//! Routing as it is kept, and the table in use.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::health::Health;
use super::settings::{BUILT_IN, Endpoint, EndpointKind, Route, Routing, RoutingError, Source};
use super::table::Table;
use super::test::{RouteVerdict, TestMessage, Verdict};
use super::validation::{self, Validations};
use crate::error::HubError;
use crate::hub::Hub;
use crate::owned::{Changed, Edits, Owned};
use crate::ports::{Collection, Documents, StoreError};
use crate::queues::service_queue::{ServiceQueue, subscription_id};
use crate::registry::device::IfMatch;

const COLLECTION: &str = "routing";
const ID: &str = "settings";
/// Numbers of endpoints beside the built-in one: bits of [`Destinations`](super::Destinations).
const NUMBER_MAX: u8 = 15;

/// What is kept: the settings, the numbers of endpoints, and how often they changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    routing: Routing,
    numbers: BTreeMap<String, Number>,
    /// The number given last.
    last_number: u8,
    version: u64,
}

/// Which bit an endpoint has, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Number {
    number: u8,
    since_ms: i64,
}

impl InUse {
    /// Its queues in this platform: one for a queue, one for each subscription of a topic.
    pub fn queues(&self) -> Vec<ServiceQueue> {
        let queue = |subscription| ServiceQueue::Routed { number: self.number, subscription };
        match &self.endpoint.kind {
            EndpointKind::OwnQueue => vec![queue(0)],
            EndpointKind::OwnTopic { subscriptions } => {
                subscriptions.iter().map(|name| queue(subscription_id(name))).collect()
            }
            _ => vec![],
        }
    }
}

impl Kept {
    fn has_webhook(&self, url: &str) -> bool {
        self.routing.endpoints.webhooks.iter().any(|webhook| webhook.url == url)
    }

    fn table(&self, hub: &str) -> Result<Table, RoutingError> {
        let numbers = self.numbers.iter().map(|(name, number)| (name.clone(), number.number)).collect();
        Table::compile(&self.routing, &numbers, hub)
    }
}

/// An endpoint in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Its bit.
    pub number: u8,
    /// When it was made: it gets no earlier event.
    pub since: Timestamp,
    /// What it is.
    pub endpoint: Endpoint,
}

/// The routes of a hub.
pub(crate) struct Routes {
    pub(super) validations: Validations,
    hub: String,
    current: Owned<Current>,
    changed: tokio::sync::watch::Sender<u64>,
    health: Health,
}

/// What is read of the store: routing and the table made of it, and the webhooks that proved themselves.
struct Current {
    kept: Arc<Kept>,
    table: Arc<Table>,
    proved: HashSet<String>,
}

impl Routes {
    pub(crate) async fn load(documents: Arc<dyn Documents>, hub: &str) -> Result<Self, StoreError> {
        let name = hub.to_owned();
        let read = move |stored: Vec<Collection>| {
            let unreadable = |error: String| StoreError::Failed(format!("stored routing cannot be read: {error}"));
            let [routing, webhooks] = <[Collection; 2]>::try_from(stored).expect("as many as were asked for");
            let kept: Kept = match routing.documents.into_iter().find(|(id, _)| id == ID) {
                Some((_, text)) => serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?,
                None => Kept::default(),
            };
            let table = kept.table(&name).map_err(|error| unreadable(error.to_string()))?;
            let proved = webhooks.documents.into_iter().map(|(url, _)| url).collect();
            Ok(Current { kept: Arc::new(kept), table: Arc::new(table), proved })
        };
        let current = Owned::load(documents, vec![COLLECTION, validation::COLLECTION], read).await?;
        let (changed, _) = tokio::sync::watch::channel(current.current().kept.version);
        let (validations, health) = Default::default();
        Ok(Self { validations, hub: hub.to_owned(), current, changed, health })
    }

    /// Whether a webhook proved that it wants events.
    pub(super) fn has_proved(&self, url: &str) -> bool {
        self.current.current().proved.contains(url)
    }

    /// Keeps that a webhook proved it.
    pub(super) async fn keep_proof(&self, url: &str) -> Result<(), StoreError> {
        let prove = |current: &Current| {
            let Current { kept, table, proved } = current;
            let (kept, table, mut proved) = (Arc::clone(kept), Arc::clone(table), proved.clone());
            proved.insert(url.to_owned());
            let edits = vec![vec![], vec![(url.to_owned(), Some("{}".into()))]];
            Ok(Changed { edits, next: Current { kept, table, proved }, said: () })
        };
        self.current.change(prove).await
    }

    /// The table in use.
    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.current.current().table)
    }
}

impl Hub {
    /// Routing as it is, and its ETag.
    pub fn routing(&self) -> (Routing, String) {
        let current = self.routes.current.current();
        (current.kept.routing.clone(), etag(current.kept.version))
    }

    /// Endpoints beside the built-in one.
    pub fn endpoints(&self) -> Vec<InUse> {
        let kept = Arc::clone(&self.routes.current.current().kept);
        let in_use = |endpoint: Endpoint| {
            let Number { number, since_ms } = *kept.numbers.get(&endpoint.name)?;
            Some(InUse { number, since: Timestamp::from_millis(since_ms), endpoint })
        };
        kept.routing.endpoints.all().into_iter().filter_map(in_use).collect()
    }

    /// A queue of this platform, or a subscription of a topic; names are compared without case.
    pub fn routed_queue(&self, name: &str, subscription: Option<&str>) -> Option<ServiceQueue> {
        let endpoints = self.endpoints();
        let one = endpoints.iter().find(|one| one.endpoint.name.eq_ignore_ascii_case(name))?;
        let subscription = subscription.map_or(0, subscription_id);
        one.queues().into_iter().find(|queue| *queue == ServiceQueue::Routed { number: one.number, subscription })
    }

    /// Rises when routing changes.
    pub fn routing_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.routes.changed.subscribe()
    }

    /// Notes how a delivery to an endpoint went.
    pub fn note_delivery(&self, now: Timestamp, endpoint: &str, outcome: Result<(), String>) {
        self.routes.health.note(now, endpoint, outcome);
    }

    /// Health of every endpoint, the built-in one first.
    pub fn endpoint_health(&self, now: Timestamp) -> Vec<Value> {
        let one = |name: &str, is_log: bool| self.routes.health.document(now, name, is_log);
        let endpoints = self.endpoints();
        let is_log = |endpoint: &Endpoint| endpoint.kind == EndpointKind::OwnStream;
        let others = endpoints.iter().map(|one_of| one(&one_of.endpoint.name, is_log(&one_of.endpoint)));
        std::iter::once(one(BUILT_IN, true)).chain(others).collect()
    }

    /// Names and verdicts of the routes of a source, tried on a message.
    pub fn try_routes(
        &self,
        source: Source,
        message: &TestMessage,
        twin: Option<&Value>,
    ) -> Vec<(Route, RouteVerdict)> {
        let routes = self.routing().0.routes.into_iter().filter(|route| route.source == source && route.is_enabled);
        let tried = routes.map(|route| {
            let verdict = message.try_route(&route, twin);
            (route, verdict)
        });
        tried.filter(|(_, tried)| tried.verdict == Verdict::True).collect()
    }

    /// Replaces routing. Events written from now on follow it.
    ///
    /// # Errors
    /// [`HubError::Routing`] names what is wrong, [`HubError::RoutingChanged`] when the ETag is not the current one.
    pub async fn put_routing(&self, now: Timestamp, routing: Routing, if_match: &IfMatch) -> Result<String, HubError> {
        let replace = |before: &Current| {
            let kept = &before.kept;
            if !if_match.admits(&etag(kept.version)) {
                return Err(HubError::RoutingChanged);
            }
            let routing = routing.clone().with_secrets_of(&kept.routing);
            routing.check()?;
            let (numbers, last_number) = number(&routing, kept, now);
            let kept = Kept { routing, numbers, last_number, version: kept.version + 1 };
            let table = kept.table(&self.routes.hub)?;
            let text = serde_json::to_string(&kept).map_err(|error| HubError::Failed(error.to_string()))?;
            let (proved, unused): (HashSet<_>, HashSet<_>) =
                before.proved.iter().cloned().partition(|url| kept.has_webhook(url));
            let forgotten: Edits = unused.into_iter().map(|url| (url, None)).collect();
            let edits = vec![vec![(ID.to_owned(), Some(text))], forgotten];
            let said = etag(kept.version);
            Ok(Changed { edits, next: Current { kept: Arc::new(kept), table: Arc::new(table), proved }, said })
        };
        let outcome = self.routes.current.change(replace).await;
        // What others wrote was read with it, even when this was refused.
        let kept = Arc::clone(&self.routes.current.current().kept);
        self.routes.validations.retain(|url| kept.has_webhook(url));
        self.routes.health.retain(|name| kept.numbers.contains_key(name));
        self.routes.changed.send_if_modified(|version| std::mem::replace(version, kept.version) != kept.version);
        outcome
    }
}

fn etag(version: u64) -> String {
    format!("{version:016x}")
}

/// Endpoints that stay keep their number. New ones get the next that is free, in turn: a number that was given up
/// comes round again late, so a new endpoint does not meet events of an older one.
fn number(routing: &Routing, before: &Kept, now: Timestamp) -> (BTreeMap<String, Number>, u8) {
    let endpoints = routing.endpoints.all();
    let old = before.routing.endpoints.all();
    let same_kind = |endpoint: &Endpoint| {
        let kind = std::mem::discriminant(&endpoint.kind);
        old.iter().any(|old| old.name == endpoint.name && std::mem::discriminant(&old.kind) == kind)
    };
    let staying = endpoints.iter().filter(|endpoint| same_kind(endpoint));
    let mut numbers: BTreeMap<String, Number> =
        staying.filter_map(|endpoint| Some((endpoint.name.clone(), *before.numbers.get(&endpoint.name)?))).collect();
    let mut last = before.last_number;
    for endpoint in &endpoints {
        if numbers.contains_key(&endpoint.name) {
            continue;
        }
        let in_use = |n: &u8| numbers.values().any(|used| used.number == *n);
        let in_turn = (1..=NUMBER_MAX).map(|step| (last + step - 1) % NUMBER_MAX + 1);
        if let Some(number) = in_turn.into_iter().find(|n| !in_use(n)) {
            numbers.insert(endpoint.name.clone(), Number { number, since_ms: now.as_millis() });
            last = number;
        }
    }
    (numbers, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn streams(names: &[&str]) -> Routing {
        let streams: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        serde_json::from_value(json!({ "endpoints": { "eventHubs": streams } })).unwrap()
    }

    #[test]
    fn endpoints_keep_their_numbers_and_new_ones_get_free_ones() {
        let step = |before: &Kept, names: &[&str]| {
            let routing = streams(names);
            let (numbers, last_number) = number(&routing, before, Timestamp::from_millis(5));
            Kept { routing, numbers, last_number, version: 0 }
        };
        let first = step(&Kept::default(), &["a", "b"]);
        let of = |kept: &Kept, name: &str| kept.numbers[name].number;
        assert_eq!((of(&first, "a"), of(&first, "b")), (1, 2));
        let second = step(&first, &["b", "c"]);
        assert_eq!((of(&second, "b"), of(&second, "c")), (2, 3), "1 was in use a moment ago");
        let empty = step(&second, &[]);
        assert_eq!(of(&step(&empty, &["a"]), "a"), 4);
        let names: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let full = step(&second, &names);
        let mut numbers: Vec<_> = full.numbers.values().map(|number| number.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 10);
        assert!(numbers.iter().all(|n| (1..16).contains(n)));
    }
}
