//! Routes made ready to decide about messages.

use std::collections::BTreeMap;
use std::ops::BitOr;

use gantry_query::{Condition, Lookup as _, Uses};
use serde_json::Value;

use super::message::Message;
use super::settings::{BUILT_IN, Enrichment, Routing, RoutingError, Source};
use crate::events::event::MessageSource;
use crate::limits;

/// The endpoints an event goes to, one bit each; bit 0 is the built-in one.
///
/// Numbers are given to endpoints when they are made and are free again when they are
/// deleted: a new endpoint reads from its making on, so it never meets events of an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Destinations(pub u16);

impl Destinations {
    /// No endpoint.
    pub const NONE: Self = Self(0);
    /// The built-in endpoint.
    pub const BUILT_IN: Self = Self(1);

    /// The endpoint of a number.
    pub fn of(number: u8) -> Self {
        Self(1_u16.checked_shl(number.into()).unwrap_or(0))
    }

    /// Whether one of `others` is among them.
    pub fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl BitOr for Destinations {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A property added to an event for some of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// For which endpoints.
    pub destinations: Destinations,
    /// Name of the application property.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What was decided about an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Where it goes.
    pub destinations: Destinations,
    /// What is added on the way.
    pub added: Vec<Added>,
}

#[derive(Debug)]
struct Compiled {
    name: String,
    source: Source,
    condition: Condition,
    destination: Destinations,
}

#[derive(Debug)]
struct Enriching {
    key: String,
    value: EnrichmentValue,
    destinations: Destinations,
}

#[derive(Debug)]
enum EnrichmentValue {
    Text(String),
    /// Steps from the twin document, and the text to stamp when they lead to no primitive.
    Twin {
        path: Vec<String>,
        literal: String,
    },
}

/// Routes ready for use. Immutable: a change makes another.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Compiled>,
    fallback: Destinations,
    enrichments: Vec<Enriching>,
    uses: Uses,
}

impl Table {
    /// Compiles checked routing. `numbers` are those of the endpoints beside the built-in one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(routing: &Routing, numbers: &BTreeMap<String, u8>, hub: &str) -> Result<Self, RoutingError> {
        routing.check()?;
        let destination = |name: &String| match name.as_str() {
            BUILT_IN => Destinations::BUILT_IN,
            other => numbers.get(other).map_or(Destinations::NONE, |number| Destinations::of(*number)),
        };
        let all = |names: &[String]| names.iter().map(destination).fold(Destinations::NONE, BitOr::bitor);
        let mut routes = vec![];
        for route in routing.routes.iter().filter(|route| route.is_enabled) {
            let condition = Condition::parse(&route.condition)
                .map_err(|error| RoutingError::Condition { route: route.name.clone(), error })?;
            let (name, source) = (route.name.clone(), route.source);
            routes.push(Compiled { name, source, condition, destination: all(&route.endpoint_names) });
        }
        let fallback = match &routing.fallback_route {
            fallback if fallback.is_enabled => all(&fallback.endpoint_names),
            // Without any route everything goes to the built-in endpoint (message routing reference).
            _ if routing.routes.is_empty() => Destinations::BUILT_IN,
            _ => Destinations::NONE,
        };
        let enriching = |enrichment: &Enrichment| Enriching {
            key: enrichment.key.clone(),
            value: EnrichmentValue::read(&enrichment.value, hub),
            destinations: all(&enrichment.endpoint_names),
        };
        let enrichments: Vec<_> = routing.enrichments.iter().map(enriching).collect();
        let mut uses = routes.iter().fold(Uses::default(), |uses, route| uses.or(route.condition.uses()));
        uses.twin |= enrichments.iter().any(|e| matches!(e.value, EnrichmentValue::Twin { .. }));
        Ok(Self { routes, fallback, enrichments, uses })
    }

    /// Whether telemetry goes where it went before there were routes, so that nothing needs to be decided.
    pub fn is_plain(&self) -> bool {
        self.routes.is_empty() && self.enrichments.is_empty() && self.fallback == Destinations::BUILT_IN
    }

    /// Whether the twin is needed to decide.
    pub fn uses_twin(&self) -> bool {
        self.uses.twin
    }

    /// Whether any route listens to a source.
    pub fn listens_to(&self, source: MessageSource) -> bool {
        let source = Source::of(source);
        source == Source::DeviceMessages || self.routes.iter().any(|route| route.source == source)
    }

    /// Where a message goes and what is added to it. A message goes once to an endpoint, however many routes
    /// name it.
    pub fn decide(&self, message: &Message<'_>) -> Decision {
        let source = Source::of(message.source);
        let matching = self.matching(source, message).map(|route| route.destination);
        let mut destinations = matching.fold(Destinations::NONE, BitOr::bitor);
        if destinations == Destinations::NONE && source == Source::DeviceMessages {
            destinations = self.fallback;
        }
        Decision { destinations, added: self.added(destinations, message) }
    }

    /// Names of the routes of a source that match a message.
    pub fn matching_names<'a>(&'a self, source: Source, message: &'a Message<'_>) -> impl Iterator<Item = &'a str> {
        self.matching(source, message).map(|route| route.name.as_str())
    }

    fn matching<'a>(&'a self, source: Source, message: &'a Message<'_>) -> impl Iterator<Item = &'a Compiled> {
        self.routes.iter().filter(move |route| route.source == source && route.condition.matches(message))
    }

    fn added(&self, destinations: Destinations, message: &Message<'_>) -> Vec<Added> {
        let reached = self.enrichments.iter().filter(|e| e.destinations.meets(destinations));
        let mut added = vec![];
        let mut size = message.message.size();
        for enrichment in reached {
            let value = enrichment.value.resolve(message.twin());
            size += enrichment.key.len() + value.len();
            // What would make the message too large is left out (message enrichments, limitations).
            if size > limits::D2C_BYTES_MAX {
                break;
            }
            added.push(Added { destinations: enrichment.destinations, name: enrichment.key.clone(), value });
        }
        added
    }
}

impl EnrichmentValue {
    fn read(text: &str, hub: &str) -> Self {
        if text.eq_ignore_ascii_case("$iothubname") {
            return Self::Text(hub.to_owned());
        }
        match text.strip_prefix("$twin.") {
            Some(path) => Self::Twin { path: path.split('.').map(str::to_owned).collect(), literal: text.to_owned() },
            None => Self::Text(text.to_owned()),
        }
    }

    fn resolve(&self, twin: Option<&Value>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Twin { path, literal } => {
                let found = twin.and_then(|twin| path.iter().try_fold(twin, |value, step| value.get(step)));
                match found {
                    Some(Value::String(text)) => text.clone(),
                    Some(primitive @ (Value::Bool(_) | Value::Number(_))) => primitive.to_string(),
                    // Only primitives are stamped (message enrichments, limitations).
                    None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => literal.clone(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::{SystemProperties, Telemetry};
    use gantry_identity::{DeviceId, Identity, Timestamp};
    use serde_json::json;

    fn table(routing: Value) -> Table {
        let numbers = BTreeMap::from([("one".to_owned(), 1), ("two".to_owned(), 2)]);
        let mut routing = routing;
        routing["endpoints"] = json!({ "eventHubs": [{ "name": "one" }, { "name": "two" }] });
        Table::compile(&serde_json::from_value(routing).unwrap(), &numbers, "plant").unwrap()
    }

    fn route(name: &str, source: &str, condition: &str, endpoint: &str) -> Value {
        json!({ "name": name, "source": source, "condition": condition, "endpointNames": [endpoint] })
    }

    fn decide(table: &Table, source: MessageSource, body: &str, twin: Option<&Value>) -> Decision {
        let identity = Identity::device(DeviceId::parse("d").unwrap());
        let system = SystemProperties {
            content_type: Some("application/json; charset=utf-8".into()),
            content_encoding: Some("UTF-8".into()),
            ..SystemProperties::default()
        };
        let telemetry =
            Telemetry { system, properties: vec![("Level".into(), Some("high".into()))], body: body.as_bytes() };
        table.decide(&Message::new(source, &identity, Timestamp::from_millis(0), None, &telemetry, twin))
    }

    const D2C: MessageSource = MessageSource::Telemetry;

    #[test]
    fn without_routes_telemetry_goes_to_the_built_in_endpoint_and_nothing_else_anywhere() {
        for fallback in [true, false] {
            let fallback = json!({ "source": "DeviceMessages", "endpointNames": ["events"], "isEnabled": fallback });
            let table = table(json!({ "fallbackRoute": fallback }));
            assert!(table.is_plain());
            assert_eq!(decide(&table, D2C, "", None).destinations, Destinations::BUILT_IN);
            assert_eq!(decide(&table, MessageSource::TwinChange, "", None).destinations, Destinations::NONE);
            assert!(!table.listens_to(MessageSource::TwinChange));
        }
    }

    #[test]
    fn every_matching_route_sends_and_the_fallback_takes_the_rest() {
        let routes = json!([
            route("hot", "DeviceMessages", "$body.temperature > 30 AND level = 'high'", "one"),
            route("warm", "DeviceMessages", "$body.temperature > 20", "one"),
            route("all", "DeviceMessages", "$body.temperature > 25", "two"),
            route("twins", "TwinChangeEvents", "true", "events"),
        ]);
        let with_fallback = table(json!({ "routes": routes }));
        let to = |table: &Table, body: &str| decide(table, D2C, body, None).destinations;
        assert_eq!(to(&with_fallback, r#"{"temperature":31}"#), Destinations(0b110));
        assert_eq!(to(&with_fallback, r#"{"temperature":21}"#), Destinations(0b010));
        assert_eq!(to(&with_fallback, r#"{"temperature":1}"#), Destinations::BUILT_IN);
        assert_eq!(to(&with_fallback, "not json"), Destinations::BUILT_IN);
        assert_eq!(decide(&with_fallback, MessageSource::TwinChange, "{}", None).destinations, Destinations::BUILT_IN);
        assert!(!with_fallback.listens_to(MessageSource::Lifecycle));
        let off = json!({ "source": "DeviceMessages", "endpointNames": ["events"], "isEnabled": false });
        let without = table(json!({ "routes": routes, "fallbackRoute": off }));
        assert_eq!(to(&without, r#"{"temperature":1}"#), Destinations::NONE);
        let to_two = json!({ "source": "DeviceMessages", "endpointNames": ["two"] });
        assert_eq!(to(&table(json!({ "fallbackRoute": to_two })), "x"), Destinations::of(2));
    }

    #[test]
    fn enrichments_are_for_their_endpoints_and_a_lost_path_is_stamped_as_it_is() {
        let enrichment = |key: &str, value: &str, endpoints: &[&str]| json!({ "key": key, "value": value, "endpointNames": endpoints });
        let table = table(json!({
            "routes": [route("a", "DeviceMessages", "$twin.tags.site = 'lyon'", "one")],
            "enrichments": [
                enrichment("hub", "$iothubname", &["events", "one"]),
                enrichment("site", "$twin.tags.site", &["one"]),
                enrichment("rate", "$twin.properties.desired.rate", &["one"]),
                enrichment("lost", "$twin.tags.floor", &["one"]),
                enrichment("on", "$twin.tags.on", &["one"]),
                enrichment("object", "$twin.tags.place", &["one"]),
                enrichment("array", "$twin.tags.list", &["one"]),
                enrichment("section", "$twin.tags", &["one"]),
                enrichment("empty", "$twin.tags.empty", &["one"]),
                enrichment("other", "x", &["two"]),
            ],
        }));
        assert!(table.uses_twin() && !table.is_plain());
        let twin = json!({ "tags": { "site": "lyon", "on": true, "place": {"x": 1}, "list": [1], "empty": "" }, "properties": { "desired": { "rate": 5 } } });
        let decision = decide(&table, D2C, "", Some(&twin));
        let added: Vec<_> = decision.added.iter().map(|a| (a.name.as_str(), a.value.as_str())).collect();
        let expected = [
            ("hub", "plant"),
            ("site", "lyon"),
            ("rate", "5"),
            ("lost", "$twin.tags.floor"),
            ("on", "true"),
            ("object", "$twin.tags.place"),
            ("array", "$twin.tags.list"),
            ("section", "$twin.tags"),
            ("empty", ""),
        ];
        assert_eq!(added, expected);
        let elsewhere = decide(&table, D2C, "", None);
        assert_eq!(elsewhere.destinations, Destinations::BUILT_IN);
        assert_eq!(elsewhere.added.len(), 1);
        let large = "x".repeat(limits::D2C_BYTES_MAX - 60);
        assert_eq!(decide(&table, D2C, &large, Some(&twin)).added.len(), 1);
    }

    #[test]
    fn bodies_in_wide_encodings_are_read() {
        let table = table(json!({ "routes": [route("a", "DeviceMessages", "$body.a = 1", "one")] }));
        let identity = Identity::device(DeviceId::parse("d").unwrap());
        let wide: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wider: Vec<u8> = "{\"a\":1}".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        for (encoding, body, matches) in
            [("utf-16", &wide, true), ("UTF-32", &wider, true), ("utf-8", &wide, false), ("ascii", &wider, false)]
        {
            let system = SystemProperties {
                content_type: Some("application/json".into()),
                content_encoding: Some(encoding.into()),
                ..SystemProperties::default()
            };
            let telemetry = Telemetry { system, properties: vec![], body };
            let message = Message::new(D2C, &identity, Timestamp::from_millis(0), None, &telemetry, None);
            assert_eq!(table.decide(&message).destinations.meets(Destinations::of(1)), matches, "{encoding}");
        }
    }
}
