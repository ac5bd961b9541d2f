//! Event routes: which events of the graph go to which endpoint.
//!
//! A filter is a condition of the hub's routing language over the members of the event as CloudEvents has them (`type`,
//! `subject`, `source`, `dataschema`...) and its data (`$body.$metadata.$model`). Source: the reference's page on
//! filters of event routes.

use std::borrow::Cow;

use gantry_query::{Condition, Lookup, Operand};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::GraphError;
use crate::events::Notification;

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventRoute {
    /// The endpoint, one of those of the hub.
    pub endpoint_name: String,
    /// Which events go there.
    pub filter: String,
}

/// A route with its filter ready.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) route: EventRoute,
    condition: Condition,
}

impl Compiled {
    /// Reads the filter.
    pub(crate) fn new(route: EventRoute) -> Result<Self, GraphError> {
        if route.filter.trim().is_empty() {
            return Err(GraphError::EventRouteFilterInvalid(
                "a route without a filter sends nothing; `true` sends all".into(),
            ));
        }
        let condition =
            Condition::parse(&route.filter).map_err(|error| GraphError::EventRouteFilterInvalid(error.to_string()))?;
        Ok(Self { route, condition })
    }

    pub(crate) fn matches(&self, event: &Notification, host: &str) -> bool {
        self.condition.matches(&Event { event, source: event.source(host), time: event.time.to_string() })
    }
}

struct Event<'a> {
    event: &'a Notification,
    source: String,
    time: String,
}

impl Lookup for Event<'_> {
    fn property(&self, name: &str) -> Operand<'_> {
        let text = match name.to_ascii_lowercase().as_str() {
            "type" => self.event.kind.name(),
            "subject" => &self.event.subject,
            "source" => &self.source,
            "time" => &self.time,
            "id" => &self.event.id,
            "specversion" => "1.0",
            "datacontenttype" => "application/json",
            "dataschema" => return self.event.dataschema.as_deref().into(),
            _ => return Operand::Undefined,
        };
        text.into()
    }

    fn system(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn body(&self) -> Option<&Value> {
        Some(&self.event.data)
    }

    fn twin(&self) -> Option<&Value> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::NotificationKind;
    use gantry_identity::Timestamp;
    use serde_json::json;

    #[track_caller]
    fn check(filter: &str, expected: bool) {
        let event = Notification {
            kind: NotificationKind::TwinCreate,
            id: "1".into(),
            twin: "room1".into(),
            subject: "room1".into(),
            time: Timestamp::from_millis(0),
            data: json!({"$dtId": "room1", "temperature": 20, "$metadata": {"$model": "dtmi:x:Room;1"}}),
            dataschema: None,
        };
        let route = EventRoute { endpoint_name: "e".into(), filter: filter.into() };
        assert_eq!(Compiled::new(route).unwrap().matches(&event, "host"), expected, "{filter}");
    }

    #[test]
    fn filters_read_events() {
        check("true", true);
        check("false", false);
        check("type = 'Microsoft.DigitalTwins.Twin.Create'", true);
        check("type = 'Microsoft.DigitalTwins.Twin.Delete'", false);
        check("subject = 'room1' AND source = 'host'", true);
        check("$body.$metadata.$model = 'dtmi:x:Room;1'", true);
        check("$body.temperature > 20", false);
        check("STARTS_WITH(subject, 'room')", true);
        check("dataschema = 'x'", false);
    }

    #[test]
    fn filters_that_are_none_are_refused() {
        for bad in ["", "type =", "SELECT * FROM x", "(", "type = 'a"] {
            let route = EventRoute { endpoint_name: "e".into(), filter: bad.into() };
            assert!(matches!(Compiled::new(route), Err(GraphError::EventRouteFilterInvalid(_))), "{bad}");
        }
    }
}
