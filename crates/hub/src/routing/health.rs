//! How endpoints fare (`EndpointHealthData` of the management API).

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_identity::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// How long an endpoint may fail before it counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(3600);

/// Deliveries to one endpoint, as far as they say something of its health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Deliveries {
    last_attempt_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    last_error: Option<(Timestamp, String)>,
}

impl Deliveries {
    fn status(&self, now: Timestamp) -> &'static str {
        match (self.failing_since, self.last_success_at) {
            (Some(since), _) if now.since(since) >= DEAD_AFTER => "dead",
            (Some(_), _) => "unhealthy",
            (None, Some(_)) => "healthy",
            (None, None) => "unknown",
        }
    }
}

/// Health of every endpoint that has been sent to since the start.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<BTreeMap<String, Deliveries>>);

impl Health {
    pub(crate) fn note(&self, now: Timestamp, endpoint: &str, outcome: Result<(), String>) {
        let mut all = self.0.lock();
        let deliveries = all.entry(endpoint.to_owned()).or_default();
        deliveries.last_attempt_at = Some(now);
        match outcome {
            Ok(()) => (deliveries.last_success_at, deliveries.failing_since) = (Some(now), None),
            Err(words) => {
                deliveries.failing_since.get_or_insert(now);
                deliveries.last_error = Some((now, words));
            }
        }
    }

    /// Forgets endpoints that are no more.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.0.lock().retain(|name, _| is_there(name));
    }

    pub(crate) fn document(&self, now: Timestamp, endpoint: &str, always_healthy: bool) -> Value {
        let deliveries = self.0.lock().get(endpoint).cloned().unwrap_or_default();
        let at = |at: Option<Timestamp>| at.map(|at| at.to_string());
        json!({
            "endpointId": endpoint,
            "healthStatus": if always_healthy { "healthy" } else { deliveries.status(now) },
            "lastKnownError": deliveries.last_error.as_ref().map(|(_, words)| words),
            "lastKnownErrorTime": at(deliveries.last_error.as_ref().map(|(at, _)| *at)),
            "lastSuccessfulSendAttemptTime": at(deliveries.last_success_at),
            "lastSendAttemptTime": at(deliveries.last_attempt_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_unknown_then_healthy_then_unhealthy_then_dead() {
        let health = Health::default();
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        let status = |now| health.document(now, "e", false)["healthStatus"].clone();
        assert_eq!(status(at(0)), "unknown");
        health.note(at(1), "e", Ok(()));
        assert_eq!(status(at(9999)), "healthy");
        health.note(at(10), "e", Err("refused".into()));
        health.note(at(20), "e", Err("refused again".into()));
        assert_eq!(status(at(20)), "unhealthy");
        assert_eq!(health.document(at(20), "e", false)["lastKnownError"], "refused again");
        assert_eq!(status(at(3610)), "dead");
        health.note(at(4000), "e", Ok(()));
        assert_eq!(status(at(4000)), "healthy");
        health.retain(|name| name != "e");
        assert_eq!(status(at(4000)), "unknown");
        assert_eq!(health.document(at(0), "events", true)["healthStatus"], "healthy");
    }
}
