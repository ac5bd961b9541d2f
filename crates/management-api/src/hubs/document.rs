//! The document of a hub (`IotHubDescription`).

use std::time::Duration;

use gantry_hub::throttle::Edition;
use gantry_identity::Policy;
use serde_json::{Value, json};

use super::{KIND, routing, with_keys};
use crate::LOCATION;
use crate::call::Call;

/// Whether keys of policies are part of a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// As everybody sees it.
    Hidden,
    /// To compare with what a client writes.
    Shown,
}

/// What a hub without an edition is nearest to: the largest there is.
const UNLIMITED: (&str, &str, u16) = ("S3", "Standard", 10);

/// The edition a hub acts like.
pub(super) fn sku(edition: Option<Edition>) -> Value {
    let (name, tier, capacity) = match edition {
        Some(edition) => (edition.name(), edition.tier(), edition.units()),
        None => (UNLIMITED.0.to_owned(), UNLIMITED.1, UNLIMITED.2),
    };
    json!({ "name": name, "tier": tier, "capacity": capacity })
}

/// A duration as ISO 8601 has it, in days, hours, minutes and seconds, as clients write it again.
fn iso8601(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = |all: [(u64, char); 3]| {
        let there = all.into_iter().filter(|(count, _)| *count > 0);
        there.map(|(count, unit)| format!("{count}{unit}")).collect::<String>()
    };
    let days = if seconds >= 86_400 { format!("{}D", seconds / 86_400) } else { String::new() };
    let time = parts([(seconds / 3600 % 24, 'H'), (seconds / 60 % 60, 'M'), (seconds % 60, 'S')]);
    match (days.is_empty(), time.is_empty()) {
        (true, true) => "PT0S".to_owned(),
        (_, true) => format!("P{days}"),
        _ => format!("P{days}T{time}"),
    }
}

pub(super) fn of(call: &Call, keys: Keys) -> Value {
    let mut document = call.resource(KIND);
    document["etag"] = call.hub().routing().1.into();
    document["sku"] = sku(call.hub().config().edition);
    document["identity"] = json!({ "type": "None" });
    document["properties"] = properties(call, keys);
    document
}

fn properties(call: &Call, keys: Keys) -> Value {
    let (hub, facts) = (call.hub(), &call.management.facts);
    let (disabled, messaging) = (hub.config().disabled, hub.config().messaging);
    let policy = |policy: &Policy| match keys {
        Keys::Shown => with_keys(policy),
        Keys::Hidden => json!({ "keyName": policy.name, "rights": policy.rights.to_string() }),
    };
    let rule = |(at, rule): (usize, &crate::IpRule)| json!({ "filterName": format!("rule-{}", at + 1), "action": rule.action, "ipMask": rule.mask });
    let storage = facts.uploads.as_ref().map_or(json!({}), |(container, minutes)| {
        let life = iso8601(Duration::from_secs(minutes.saturating_mul(60)));
        json!({ "$default": { "sasTtlAsIso8601": life, "connectionString": "", "containerName": container } })
    });
    json!({
        "authorizationPolicies": hub.policies().iter().map(policy).collect::<Vec<_>>(),
        "disableLocalAuth": disabled.policies,
        "disableDeviceSAS": disabled.devices,
        "disableModuleSAS": disabled.modules,
        "restrictOutboundNetworkAccess": false,
        "allowedFqdnList": [],
        "publicNetworkAccess": "Enabled",
        "ipFilterRules": facts.ip_filter.iter().enumerate().map(rule).collect::<Vec<_>>(),
        "minTlsVersion": "1.2",
        "privateEndpointConnections": [],
        "provisioningState": "Succeeded",
        "state": "Active",
        "hostName": hub.host_name(),
        "eventHubEndpoints": { "events": {
            "retentionTimeInDays": facts.retention_hours.div_ceil(24),
            "partitionCount": facts.partitions,
            "partitionIds": (0..facts.partitions).map(|id| id.to_string()).collect::<Vec<_>>(),
            "path": hub.name(),
            "endpoint": facts.stream,
        } },
        "routing": routing::show(hub.routing().0),
        "storageEndpoints": storage,
        "messagingEndpoints": { "fileNotifications": {
            "lockDurationAsIso8601": iso8601(messaging.file_notifications.lock),
            "ttlAsIso8601": iso8601(messaging.file_notifications.ttl),
            "maxDeliveryCount": messaging.file_notifications.delivery_count_max,
        } },
        "enableFileUploadNotifications": messaging.file_notifications_enabled,
        "cloudToDevice": {
            "maxDeliveryCount": messaging.c2d.delivery_count_max,
            "defaultTtlAsIso8601": iso8601(messaging.c2d.ttl),
            "feedback": {
                "lockDurationAsIso8601": iso8601(messaging.feedback.lock),
                "ttlAsIso8601": iso8601(messaging.feedback.ttl),
                "maxDeliveryCount": messaging.feedback.delivery_count_max,
            },
        },
        "features": "None",
        "locations": [{ "location": LOCATION, "role": "primary" }],
        "enableDataResidency": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_clients_write_them_again() {
        let check = |seconds, expected: &str| assert_eq!(iso8601(Duration::from_secs(seconds)), expected);
        check(0, "PT0S");
        check(5, "PT5S");
        check(60, "PT1M");
        check(3600, "PT1H");
        check(3661, "PT1H1M1S");
        check(86_400, "P1D");
        check(90_000, "P1DT1H");
        check(172_800, "P2D");
    }

    #[test]
    fn a_hub_without_an_edition_is_the_largest() {
        assert_eq!(sku(None), json!({ "name": "S3", "tier": "Standard", "capacity": 10 }));
        assert_eq!(sku("B1x3".parse().ok()), json!({ "name": "B1", "tier": "Basic", "capacity": 3 }));
    }
}
