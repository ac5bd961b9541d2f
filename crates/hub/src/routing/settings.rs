//! What an operator writes down: endpoints, routes, fallback, enrichments.

use std::collections::HashSet;

use gantry_query::{Condition, QueryError};
use serde::{Deserialize, Serialize};

use crate::events::event::MessageSource;
use crate::limits;
use crate::queues::service_queue::subscription_id;

/// Name of the built-in endpoint.
pub const BUILT_IN: &str = "events";
/// Longest name of a route or endpoint in characters (management reference).
const NAME_LEN_MAX: usize = 64;
/// Longest name of an enrichment in characters; a bound of ours.
const ENRICHMENT_KEY_LEN_MAX: usize = 128;
/// What stands where a key is.
const HIDDEN: &str = "****";
/// Subscriptions of a topic; a bound of ours.
const SUBSCRIPTIONS_MAX: usize = 20;
/// Words a storage container's file names must hold (message routing, storage endpoints).
const FILE_NAME_WORDS: [&str; 7] = ["{iothub}", "{partition}", "{YYYY}", "{MM}", "{DD}", "{HH}", "{mm}"];

/// Why routing cannot be as it was written.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum RoutingError {
    /// A name cannot be used.
    #[error(
        "`{0}` is not a name: 1 to {NAME_LEN_MAX} letters, digits, `-`, `.` or `_`, and not one of the built-in words"
    )]
    Name(String),
    /// A name is used twice.
    #[error("the name `{0}` is used twice")]
    Twice(String),
    /// An endpoint that is not there.
    #[error("`{of}` names the endpoint `{endpoint}`, which is not there")]
    NoEndpoint {
        /// Route or enrichment.
        of: String,
        /// The name it gives.
        endpoint: String,
    },
    /// A route has exactly one endpoint.
    #[error("route `{0}` must name exactly one endpoint")]
    OneEndpoint(String),
    /// A condition cannot be used.
    #[error("condition of route `{route}`: {error}")]
    Condition {
        /// The route.
        route: String,
        /// What is wrong.
        error: QueryError,
    },
    /// More than the reference allows.
    #[error("{found} {what}; a hub has at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// A setting of an endpoint cannot be used.
    #[error("endpoint `{endpoint}`: {words}")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
        /// What is wrong.
        words: String,
    },
    /// An enrichment cannot be used.
    #[error("enrichment `{0}`: a key has 1 to {ENRICHMENT_KEY_LEN_MAX} letters, digits, `-`, `_` or `.`, and a value")]
    Enrichment(String),
    /// The fallback route sends telemetry only.
    #[error("the fallback route has source DeviceMessages and one endpoint")]
    Fallback,
    /// Known to the reference, not built here yet.
    #[error("{0} is not implemented; see docs/compatibility.md")]
    NotImplemented(String),
}

/// What a route listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// Telemetry.
    DeviceMessages,
    /// Changes of tags, desired and reported properties.
    TwinChangeEvents,
    /// Creation and deletion of devices and modules.
    DeviceLifecycleEvents,
    /// Outcomes of jobs.
    DeviceJobLifecycleEvents,
    /// Connections coming and going.
    DeviceConnectionStateEvents,
    /// Changes of twins of devices with a model, as JSON Patch.
    DigitalTwinChangeEvents,
    /// Rows that streaming jobs give out as events; a source of ours.
    StreamingJobEvents,
}

impl Source {
    /// The source of an event.
    pub fn of(source: MessageSource) -> Self {
        match source {
            MessageSource::Telemetry => Self::DeviceMessages,
            MessageSource::TwinChange => Self::TwinChangeEvents,
            MessageSource::Lifecycle => Self::DeviceLifecycleEvents,
            MessageSource::ConnectionState => Self::DeviceConnectionStateEvents,
            MessageSource::DigitalTwinChange => Self::DigitalTwinChangeEvents,
            MessageSource::StreamingJob => Self::StreamingJobEvents,
        }
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// What it listens to.
    pub source: Source,
    /// Which of that it sends on; empty or `true` for all.
    #[serde(default = "always")]
    pub condition: String,
    /// One endpoint.
    pub endpoint_names: Vec<String>,
    /// Whether it is in use.
    #[serde(default = "yes")]
    pub is_enabled: bool,
}

/// Where telemetry goes that no route matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FallbackRoute {
    /// Its name; no more than a label.
    #[serde(default = "fallback_name")]
    pub name: String,
    /// Telemetry.
    pub source: Source,
    /// Not used, as in the reference.
    #[serde(default = "always")]
    pub condition: String,
    /// One endpoint.
    pub endpoint_names: Vec<String>,
    /// Whether it is in use; without it, such telemetry reaches no endpoint.
    #[serde(default = "yes")]
    pub is_enabled: bool,
}

impl Default for FallbackRoute {
    fn default() -> Self {
        Self {
            name: fallback_name(),
            source: Source::DeviceMessages,
            condition: always(),
            endpoint_names: vec![BUILT_IN.into()],
            is_enabled: true,
        }
    }
}

/// A property added to events on their way to endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enrichment {
    /// Name of the application property.
    pub key: String,
    /// A text, `$iothubname`, or a place in the twin (`$twin.tags.site`).
    pub value: String,
    /// Which endpoints get it.
    pub endpoint_names: Vec<String>,
}

/// An event stream of this platform, or of another by its connection string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stream {
    /// Its name; consumers of a stream of this platform use it as entity path.
    pub name: String,
    /// Where to send; absent for a stream of this platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_string: Option<String>,
}

/// A topic of this platform with its subscriptions, or one elsewhere by its connection string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Where to send; absent for a topic of this platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_string: Option<String>,
    /// Subscriptions of a topic of this platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
}

/// A container of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageContainer {
    /// Its name.
    pub name: String,
    /// Storage account; absent for the store of this platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_string: Option<String>,
    /// Container.
    pub container_name: String,
    /// Names of files.
    #[serde(default = "file_name_format")]
    pub file_name_format: String,
    /// Seconds until a file is written, 60 to 720.
    #[serde(default = "batch_frequency")]
    pub batch_frequency_in_seconds: u64,
    /// Bytes at which it is written earlier, 10 to 500 MiB.
    #[serde(default = "chunk_size")]
    pub max_chunk_size_in_bytes: u64,
    /// `Avro` or `JSON`.
    #[serde(default = "encoding")]
    pub encoding: String,
}

/// A web address that takes events in the Event Grid schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Where events are posted.
    pub url: String,
}

/// All endpoints beside the built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Endpoints {
    /// Queues.
    pub service_bus_queues: Vec<Stream>,
    /// Topics.
    pub service_bus_topics: Vec<Topic>,
    /// Event streams.
    pub event_hubs: Vec<Stream>,
    /// Containers of files.
    pub storage_containers: Vec<StorageContainer>,
    /// Web addresses.
    pub webhooks: Vec<Webhook>,
}

/// One endpoint, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: EndpointKind,
}

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// A view of this platform's log.
    OwnStream,
    /// A queue of this platform.
    OwnQueue,
    /// A topic of this platform.
    OwnTopic {
        /// Its subscriptions; each gets every message.
        subscriptions: Vec<String>,
    },
    /// A queue, topic or stream elsewhere; not implemented, so routing with it is refused.
    Elsewhere,
    /// A container of files.
    Storage(StorageContainer),
    /// A web address.
    Webhook {
        /// Where events are posted.
        url: String,
    },
}

impl Endpoints {
    /// Every endpoint, in the order of the kinds above.
    pub fn all(&self) -> Vec<Endpoint> {
        let endpoint = |stream: &Stream, own: EndpointKind| Endpoint {
            name: stream.name.clone(),
            kind: match &stream.connection_string {
                Some(_) => EndpointKind::Elsewhere,
                None => own,
            },
        };
        let stream = |stream: &Stream| endpoint(stream, EndpointKind::OwnStream);
        let queues = self.service_bus_queues.iter().map(|queue| endpoint(queue, EndpointKind::OwnQueue));
        let topics = self.service_bus_topics.iter().map(|topic| Endpoint {
            name: topic.name.clone(),
            kind: match &topic.connection_string {
                Some(_) => EndpointKind::Elsewhere,
                None => EndpointKind::OwnTopic { subscriptions: topic.subscriptions.clone() },
            },
        });
        let files = self
            .storage_containers
            .iter()
            .map(|container| Endpoint { name: container.name.clone(), kind: EndpointKind::Storage(container.clone()) });
        let hooks = self
            .webhooks
            .iter()
            .map(|hook| Endpoint { name: hook.name.clone(), kind: EndpointKind::Webhook { url: hook.url.clone() } });
        queues.chain(topics).chain(self.event_hubs.iter().map(stream)).chain(files).chain(hooks).collect()
    }
}

/// Everything an operator decides about routing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Routing {
    /// Endpoints beside the built-in one.
    pub endpoints: Endpoints,
    /// Routes.
    pub routes: Vec<Route>,
    /// Where telemetry goes that no route matched.
    pub fallback_route: FallbackRoute,
    /// Properties added on the way.
    pub enrichments: Vec<Enrichment>,
}

impl Endpoints {
    /// Name and connection string of each endpoint that may have one.
    fn connection_strings(&mut self) -> impl Iterator<Item = (&str, &mut Option<String>)> {
        let streams = self.service_bus_queues.iter_mut().chain(&mut self.event_hubs);
        let streams = streams.map(|stream| (stream.name.as_str(), &mut stream.connection_string));
        let topics = self.service_bus_topics.iter_mut();
        let topics = topics.map(|topic| (topic.name.as_str(), &mut topic.connection_string));
        let containers = self.storage_containers.iter_mut();
        streams
            .chain(topics)
            .chain(containers.map(|container| (container.name.as_str(), &mut container.connection_string)))
    }
}

impl Routing {
    /// The same with keys hidden, for showing.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        for (_, text) in self.endpoints.connection_strings() {
            *text = text.as_deref().map(without_key);
        }
        self
    }

    /// The same with keys that are hidden taken from `before`, so that what was shown can be written back.
    #[must_use]
    pub fn with_secrets_of(mut self, before: &Self) -> Self {
        let mut known = before.endpoints.clone();
        let known: Vec<_> = known.connection_strings().map(|(name, text)| (name.to_owned(), text.clone())).collect();
        for (name, text) in self.endpoints.connection_strings() {
            let kept = known.iter().find(|(known, _)| known == name).and_then(|(_, text)| text.clone());
            if let Some(kept) = kept.filter(|kept| Some(without_key(kept)) == *text) {
                *text = Some(kept);
            }
        }
        self
    }

    /// Checks names, limits, references and conditions.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), RoutingError> {
        let endpoints = self.endpoints.all();
        bound("custom endpoints", endpoints.len(), limits::ROUTING_ENDPOINTS_MAX)?;
        bound("routes", self.routes.len(), limits::ROUTES_MAX)?;
        bound("enrichments", self.enrichments.len(), limits::ENRICHMENTS_MAX)?;
        let mut names = HashSet::from([BUILT_IN]);
        for endpoint in &endpoints {
            check_name(&endpoint.name)?;
            if !names.insert(&endpoint.name) {
                return Err(RoutingError::Twice(endpoint.name.clone()));
            }
            check_endpoint(endpoint)?;
        }
        let mut routes = HashSet::new();
        for route in &self.routes {
            check_name(&route.name)?;
            if !routes.insert(&route.name) {
                return Err(RoutingError::Twice(route.name.clone()));
            }
            check_route(route)?;
            one_endpoint(&route.name, &route.endpoint_names, &names)?;
        }
        if self.fallback_route.source != Source::DeviceMessages || self.fallback_route.endpoint_names.len() != 1 {
            return Err(RoutingError::Fallback);
        }
        one_endpoint("$fallback", &self.fallback_route.endpoint_names, &names)?;
        self.enrichments.iter().try_for_each(|enrichment| check_enrichment(enrichment, &names))
    }
}

/// A connection string with its key hidden.
fn without_key(text: &str) -> String {
    let hide = |field: &str| match field.split_once('=') {
        Some((name @ ("SharedAccessKey" | "AccountKey"), _)) => format!("{name}={HIDDEN}"),
        _ => field.to_owned(),
    };
    text.split(';').map(hide).collect::<Vec<_>>().join(";")
}

fn bound(what: &'static str, found: usize, max: usize) -> Result<(), RoutingError> {
    if found > max { Err(RoutingError::TooMany { what, found, max }) } else { Ok(()) }
}

fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.chars().all(is_letter)
}

fn check_name(name: &str) -> Result<(), RoutingError> {
    let is_reserved = [BUILT_IN, "fileNotifications", "operationsMonitoringEvents"].contains(&name);
    if is_name(name) && !is_reserved {
        Ok(())
    } else {
        Err(RoutingError::Name(name.chars().take(NAME_LEN_MAX).collect()))
    }
}

fn check_route(route: &Route) -> Result<(), RoutingError> {
    if route.source == Source::DeviceJobLifecycleEvents {
        return Err(RoutingError::NotImplemented("source DeviceJobLifecycleEvents".into()));
    }
    let parsed = Condition::parse(&route.condition);
    parsed.map_err(|error| RoutingError::Condition { route: route.name.clone(), error }).map(|_| ())
}

fn one_endpoint(of: &str, given: &[String], names: &HashSet<&str>) -> Result<(), RoutingError> {
    match given {
        [endpoint] if names.contains(endpoint.as_str()) => Ok(()),
        [endpoint] => Err(RoutingError::NoEndpoint { of: of.into(), endpoint: endpoint.clone() }),
        _ => Err(RoutingError::OneEndpoint(of.into())),
    }
}

fn check_endpoint(endpoint: &Endpoint) -> Result<(), RoutingError> {
    let wrong = |words: &str| Err(RoutingError::Endpoint { endpoint: endpoint.name.clone(), words: words.into() });
    match &endpoint.kind {
        EndpointKind::OwnStream | EndpointKind::OwnQueue => Ok(()),
        EndpointKind::OwnTopic { subscriptions } => {
            let ids: HashSet<u32> = subscriptions.iter().map(|name| subscription_id(name)).collect();
            let is_bounded = (1..=SUBSCRIPTIONS_MAX).contains(&subscriptions.len());
            if !is_bounded || ids.len() != subscriptions.len() || !subscriptions.iter().all(|name| is_name(name)) {
                return wrong("a topic of this platform has 1 to 20 subscriptions with different names");
            }
            Ok(())
        }
        EndpointKind::Elsewhere => {
            Err(RoutingError::NotImplemented(format!("endpoint `{}`: sending to a namespace elsewhere", endpoint.name)))
        }
        EndpointKind::Webhook { url } if url.starts_with("https://") => Ok(()),
        EndpointKind::Webhook { .. } => wrong("a webhook's url begins with https://"),
        EndpointKind::Storage(container) => {
            if !FILE_NAME_WORDS.iter().all(|word| container.file_name_format.contains(word)) {
                return wrong("fileNameFormat has {iothub}, {partition}, {YYYY}, {MM}, {DD}, {HH} and {mm}");
            }
            if !(60..=720).contains(&container.batch_frequency_in_seconds) {
                return wrong("batchFrequencyInSeconds is from 60 to 720");
            }
            if !(10 << 20..=500 << 20).contains(&container.max_chunk_size_in_bytes) {
                return wrong("maxChunkSizeInBytes is from 10485760 to 524288000");
            }
            match container.encoding.to_ascii_lowercase().as_str() {
                "avro" | "json" => Ok(()),
                _ => wrong("encoding is Avro or JSON"),
            }
        }
    }
}

fn check_enrichment(enrichment: &Enrichment, names: &HashSet<&str>) -> Result<(), RoutingError> {
    let (key, is_letter) = (&enrichment.key, |c: char| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !(1..=ENRICHMENT_KEY_LEN_MAX).contains(&key.len()) || !key.chars().all(is_letter) || enrichment.value.is_empty()
    {
        return Err(RoutingError::Enrichment(key.chars().take(ENRICHMENT_KEY_LEN_MAX).collect()));
    }
    match enrichment.endpoint_names.iter().find(|name| !names.contains(name.as_str())) {
        Some(endpoint) => Err(RoutingError::NoEndpoint { of: key.clone(), endpoint: endpoint.clone() }),
        None => Ok(()),
    }
}

fn yes() -> bool {
    true
}

fn always() -> String {
    "true".into()
}

fn fallback_name() -> String {
    "$fallback".into()
}

fn file_name_format() -> String {
    "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}".into()
}

fn batch_frequency() -> u64 {
    100
}

fn chunk_size() -> u64 {
    100 << 20
}

fn encoding() -> String {
    "Avro".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: serde_json::Value) -> Routing {
        serde_json::from_value(value).unwrap()
    }

    fn route(name: &str, condition: &str, endpoint: &str) -> serde_json::Value {
        json!({ "name": name, "source": "DeviceMessages", "condition": condition, "endpointNames": [endpoint] })
    }

    #[test]
    fn what_is_left_out_is_as_in_the_reference() {
        let routing = read(json!({}));
        assert_eq!(routing.check(), Ok(()));
        assert_eq!(routing.fallback_route.endpoint_names, [BUILT_IN]);
        let files = read(json!({ "endpoints": { "storageContainers": [{ "name": "f", "containerName": "c" }] } }));
        let EndpointKind::Storage(container) = &files.endpoints.all()[0].kind else { panic!() };
        assert_eq!((container.batch_frequency_in_seconds, container.encoding.as_str()), (100, "Avro"));
        assert_eq!(files.check(), Ok(()));
        assert!(serde_json::from_value::<Routing>(json!({ "rotues": [] })).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let words = |value| read(value).check().unwrap_err().to_string();
        for (value, expected) in [
            (json!({ "routes": [route("a b", "true", "events")] }), "a b"),
            (json!({ "routes": [route("a", "true", "nowhere")] }), "nowhere"),
            (json!({ "routes": [route("a", "x = ", "events")] }), "condition of route `a`"),
            (json!({ "routes": [route("a", "", "events"), route("a", "", "events")] }), "used twice"),
            (json!({ "endpoints": { "eventHubs": [{ "name": "events" }] } }), "events"),
            (json!({ "endpoints": { "webhooks": [{ "name": "w", "url": "http://x" }] } }), "https://"),
            (json!({ "endpoints": { "eventHubs": [{ "name": "e", "connectionString": "x" }] } }), "not implemented"),
            (json!({ "endpoints": { "serviceBusTopics": [{ "name": "q" }] } }), "subscriptions"),
            (
                json!({ "endpoints": { "serviceBusTopics": [{ "name": "q", "subscriptions": ["a", "A"] }] } }),
                "different",
            ),
            (json!({ "enrichments": [{ "key": "a b", "value": "x", "endpointNames": [] }] }), "a b"),
            (json!({ "enrichments": [{ "key": "a", "value": "x", "endpointNames": ["y"] }] }), "`y`"),
            (json!({ "fallbackRoute": { "source": "TwinChangeEvents", "endpointNames": ["events"] } }), "fallback"),
        ] {
            let found = words(value);
            assert!(found.contains(expected), "{found} should name {expected}");
        }
        let many = |n: usize| (0..n).map(|i| route(&format!("r{i}"), "", "events")).collect::<Vec<_>>();
        assert_eq!(read(json!({ "routes": many(100) })).check(), Ok(()));
        assert!(read(json!({ "routes": many(101) })).check().is_err());
    }

    #[test]
    fn keys_are_hidden_and_what_is_shown_can_be_written_back() {
        let with = |key: &str| {
            let text = format!("Endpoint=sb://h/;SharedAccessKeyName=p;SharedAccessKey={key};EntityPath=e");
            read(json!({ "endpoints": { "eventHubs": [{ "name": "e", "connectionString": text }] } }))
        };
        let shown = with("c2VjcmV0==").without_secrets();
        assert_eq!(shown, with("****"));
        assert_eq!(shown.with_secrets_of(&with("c2VjcmV0==")), with("c2VjcmV0=="));
        assert_eq!(with("bmV3").with_secrets_of(&with("c2VjcmV0==")), with("bmV3"));
    }
}
