//! The topics of this API. Names are exact and of one case; the only wildcard is `$iothub/methods/+`.

use std::collections::HashSet;

use gantry_hub::connection::Subscriptions;
use gantry_mqtt::QoS;
use gantry_mqtt::v5::Reason;

use super::SUBSCRIPTIONS_MAX;

pub(super) const TELEMETRY: &str = "$iothub/telemetry";
pub(super) const COMMANDS: &str = "$iothub/commands";
pub(super) const DESIRED: &str = "$iothub/twin/patch/desired";
pub(super) const RESPONSES: &str = "$iothub/responses";
const TWIN_GET: &str = "$iothub/twin/get";
const TWIN_REPORT: &str = "$iothub/twin/patch/reported";
const METHODS: &str = "$iothub/methods/";
const ALL_METHODS: &str = "$iothub/methods/+";
/// Longest name of a method in a filter, in bytes: 100 characters, percent-encoded.
const METHOD_BYTES_MAX: usize = 1200;

/// What a client publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Telemetry,
    TwinGet,
    TwinReport,
    /// Answer to a method.
    Response,
    /// No topic of this API.
    Unknown,
}

impl Inbound {
    pub(super) fn of(topic: &str) -> Self {
        match topic {
            TELEMETRY => Self::Telemetry,
            TWIN_GET => Self::TwinGet,
            TWIN_REPORT => Self::TwinReport,
            RESPONSES => Self::Response,
            _ => Self::Unknown,
        }
    }
}

/// The topic of a method.
pub(super) fn method(name_in_topic: &str) -> String {
    format!("{METHODS}{name_in_topic}")
}

/// Whether a filter is one of this API, or why it is refused.
fn check(filter: &str) -> Result<(), Reason> {
    if matches!(filter, COMMANDS | DESIRED | RESPONSES | ALL_METHODS) {
        return Ok(());
    }
    if filter.starts_with("$share/") {
        return Err(Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
    }
    if filter.contains(['+', '#']) {
        return Err(Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
    }
    match filter.strip_prefix(METHODS) {
        Some(name) if !name.is_empty() && name.len() <= METHOD_BYTES_MAX && !name.contains('/') => Ok(()),
        _ => Err(Reason::TOPIC_FILTER_INVALID),
    }
}

/// What one client subscribed to.
#[derive(Debug)]
pub(super) struct Filters {
    filters: HashSet<String>,
    /// With which QoS commands are sent.
    pub(super) commands: QoS,
}

impl Filters {
    /// Those of a kept session. Names of single methods are not kept: whoever had any hears all.
    pub(super) fn kept(subscriptions: Subscriptions) -> Self {
        let known =
            [(Subscriptions::C2D, COMMANDS), (Subscriptions::DESIRED, DESIRED), (Subscriptions::METHODS, ALL_METHODS)];
        let filters = known.into_iter().filter(|(bit, _)| subscriptions.contains(*bit));
        Self { filters: filters.map(|(_, filter)| filter.to_owned()).collect(), commands: QoS::AtLeastOnce }
    }

    /// Adds a filter; the QoS granted, or why not.
    pub(super) fn add(&mut self, filter: &str, qos: QoS) -> Reason {
        if let Err(reason) = check(filter) {
            return reason;
        }
        if !self.filters.contains(filter) && self.filters.len() >= SUBSCRIPTIONS_MAX {
            return Reason::QUOTA_EXCEEDED;
        }
        self.filters.insert(filter.to_owned());
        let granted = qos.min(QoS::AtLeastOnce);
        if filter == COMMANDS {
            self.commands = granted;
        }
        granted.into()
    }

    /// Takes a filter away.
    pub(super) fn remove(&mut self, filter: &str) -> Reason {
        match check(filter) {
            Err(reason) => reason,
            // Everybody hears responses, subscribed or not.
            Ok(()) if self.filters.remove(filter) || filter == RESPONSES => Reason::SUCCESS,
            Ok(()) => Reason::NO_SUBSCRIPTION_EXISTED,
        }
    }

    /// Whether calls to a method are heard.
    pub(super) fn hear_method(&self, topic: &str) -> bool {
        self.filters.contains(ALL_METHODS) || self.filters.contains(topic)
    }

    /// As the hub keeps them.
    pub(super) fn subscriptions(&self) -> Subscriptions {
        let mut bits = Subscriptions::default();
        for filter in &self.filters {
            bits = match filter.as_str() {
                COMMANDS => bits.with(Subscriptions::C2D),
                DESIRED => bits.with(Subscriptions::DESIRED),
                RESPONSES => bits,
                _ => bits.with(Subscriptions::METHODS),
            };
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Filters {
        Filters::kept(Subscriptions::default())
    }

    #[test]
    fn topics_are_exact() {
        assert_eq!(Inbound::of("$iothub/telemetry"), Inbound::Telemetry);
        for topic in ["$iothub/telemetry/", "$iothub/Telemetry", "$iothub/twin/gett", "devices/d/messages/events/"] {
            assert_eq!(Inbound::of(topic), Inbound::Unknown, "{topic}");
        }
    }

    #[test]
    fn filters_are_granted_or_refused_by_kind() {
        let check = |filter: &str, reason: Reason| assert_eq!(none().add(filter, QoS::ExactlyOnce), reason, "{filter}");
        for filter in [COMMANDS, DESIRED, RESPONSES, "$iothub/methods/+", "$iothub/methods/stop"] {
            check(filter, Reason(1));
        }
        for filter in ["$iothub/#", "$iothub/+", "$iothub/methods/#", "$iothub/methods/a+"] {
            check(filter, Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        for filter in ["$iothub/methods/", "$iothub/methods/a/b", "$iothub/telemetry", "x"] {
            check(filter, Reason::TOPIC_FILTER_INVALID);
        }
        check("$share/g/$iothub/commands", Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
    }

    #[test]
    fn one_client_has_fifty_subscriptions_at_most() {
        let mut filters = none();
        for n in 0..SUBSCRIPTIONS_MAX {
            assert_eq!(filters.add(&method(&n.to_string()), QoS::AtMostOnce), Reason::SUCCESS);
        }
        assert_eq!(filters.add(COMMANDS, QoS::AtLeastOnce), Reason::QUOTA_EXCEEDED);
        assert_eq!(filters.add(&method("0"), QoS::AtMostOnce), Reason::SUCCESS);
        assert_eq!(filters.remove(&method("0")), Reason::SUCCESS);
        assert_eq!(filters.remove(&method("0")), Reason::NO_SUBSCRIPTION_EXISTED);
        assert_eq!(filters.add(COMMANDS, QoS::AtLeastOnce), Reason(1));
    }

    #[test]
    fn methods_are_heard_by_name_or_all() {
        let mut filters = none();
        filters.add("$iothub/methods/stop", QoS::AtMostOnce);
        assert!(filters.hear_method(&method("stop")) && !filters.hear_method(&method("start")));
        assert_eq!(filters.subscriptions(), Subscriptions::METHODS);
        assert!(Filters::kept(filters.subscriptions()).hear_method(&method("start")));
    }
}
