//! The topics of one identity, matched by prefix built from its id: ids may hold `#` and `+`.

use gantry_hub::connection::Subscriptions;
use gantry_hub::streams::StreamOffer;
use gantry_identity::Identity;

pub(super) const METHOD_FILTER: &str = "$iothub/methods/POST/#";
pub(super) const TWIN_RESPONSE_FILTER: &str = "$iothub/twin/res/#";
const STREAM_FILTER: &str = "$iothub/streams/POST/#";
/// Nothing comes there, but the preview SDK of C# subscribes to it.
const STREAM_RESPONSE_FILTER: &str = "$iothub/streams/res/#";
pub(super) const DESIRED_FILTER: &str = "$iothub/twin/PATCH/properties/desired/#";

/// What a device publishes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound<'a> {
    /// Telemetry with its property bag.
    Telemetry { bag: &'a str },
    /// Read the twin.
    TwinGet { rid: &'a str },
    /// Report properties.
    TwinReport { rid: &'a str },
    /// Answer to a method, or to the offer of a stream.
    Answer { status: i32, rid: u64 },
}

/// Topics of one identity.
#[derive(Debug)]
pub(super) struct Topics {
    /// What they all begin with.
    base: Box<str>,
    is_module: bool,
}

impl Topics {
    pub(super) fn of(identity: &Identity) -> Self {
        Self { base: identity.resource().into(), is_module: identity.module.is_some() }
    }

    /// The topic of a cloud-to-device message.
    pub(super) fn c2d(&self, bag: &str) -> String {
        format!("{}/messages/devicebound/{bag}", self.base)
    }

    /// The bag of a telemetry topic.
    pub(super) fn telemetry_bag<'a>(&self, topic: &'a str) -> Option<&'a str> {
        match topic.strip_prefix(&*self.base)?.strip_prefix("/messages/events")? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }

    /// What a publish is; `None` when the topic is not allowed.
    pub(super) fn inbound<'a>(&self, topic: &'a str) -> Option<Inbound<'a>> {
        if let Some(bag) = self.telemetry_bag(topic) {
            return Some(Inbound::Telemetry { bag });
        }
        let rest = topic.strip_prefix("$iothub/")?;
        if let Some(rid) = rest.strip_prefix("twin/GET/?$rid=") {
            return Some(Inbound::TwinGet { rid: first(rid) });
        }
        if let Some(rid) = rest.strip_prefix("twin/PATCH/properties/reported/?$rid=") {
            return Some(Inbound::TwinReport { rid: first(rid) });
        }
        let answer = rest.strip_prefix("methods/res/").or_else(|| rest.strip_prefix("streams/res/"))?;
        let (status, rid) = answer.split_once("/?$rid=")?;
        Some(Inbound::Answer { status: status.parse().ok()?, rid: u64::from_str_radix(first(rid), 16).ok()? })
    }

    /// What a filter subscribes to; `None` when it is not allowed.
    pub(super) fn subscription(&self, filter: &str) -> Option<Subscriptions> {
        match filter {
            METHOD_FILTER => return Some(Subscriptions::METHODS),
            TWIN_RESPONSE_FILTER => return Some(Subscriptions::TWIN_RESPONSES),
            STREAM_FILTER => return Some(Subscriptions::STREAMS),
            STREAM_RESPONSE_FILTER => return Some(Subscriptions::default()),
            DESIRED_FILTER => return Some(Subscriptions::DESIRED),
            _ => {}
        }
        match filter.strip_prefix(&*self.base)? {
            "/messages/devicebound/#" => Some(Subscriptions::C2D),
            "/inputs/#" | "/#" if self.is_module => Some(Subscriptions::INPUTS),
            _ => None,
        }
    }
}

/// The topic on which a stream is offered.
pub(super) fn stream_offer(request_id: u64, offer: &StreamOffer) -> String {
    let StreamOffer { name, url, token } = offer;
    let name = method_name_in_topic(name);
    let url = percent_encoding::utf8_percent_encode(url, percent_encoding::NON_ALPHANUMERIC);
    format!("$iothub/streams/POST/{name}/?$rid={request_id:x}&$url={url}&$auth={token}")
}

/// A method's name as a segment of a topic.
pub(super) fn method_name_in_topic(name: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
    // Names of letters, digits and `-_.~*` are the rule; keep them readable for SDKs that do not decode.
    name.replace("%2D", "-").replace("%5F", "_").replace("%2E", ".").replace("%2A", "*")
}

/// A parameter up to the next one.
fn first(parameters: &str) -> &str {
    parameters.split('&').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_a_device_with_odd_characters_match_by_prefix() {
        let topics = Topics::of(&Identity::parse("a#b").unwrap());
        assert_eq!(topics.inbound("devices/a#b/messages/events/x=1"), Some(Inbound::Telemetry { bag: "x=1" }));
        assert_eq!(topics.inbound("devices/a#b/messages/events"), Some(Inbound::Telemetry { bag: "" }));
        assert_eq!(topics.inbound("devices/a#b/messages/eventsX"), None);
        assert_eq!(topics.inbound("devices/a/messages/events/"), None);
        assert_eq!(topics.subscription("devices/a#b/messages/devicebound/#"), Some(Subscriptions::C2D));
        assert_eq!(topics.subscription("devices/#"), None);
        assert_eq!(topics.subscription("devices/a#b/inputs/#"), None);
    }

    #[test]
    fn twin_and_method_topics() {
        let topics = Topics::of(&Identity::parse("d/m").unwrap());
        assert_eq!(topics.inbound("$iothub/twin/GET/?$rid=7-x"), Some(Inbound::TwinGet { rid: "7-x" }));
        assert_eq!(
            topics.inbound("$iothub/twin/PATCH/properties/reported/?$rid=7&x=1"),
            Some(Inbound::TwinReport { rid: "7" })
        );
        let answer = Inbound::Answer { status: -5, rid: 31 };
        assert_eq!(topics.inbound("$iothub/methods/res/-5/?$rid=1f"), Some(answer));
        assert_eq!(topics.inbound("$iothub/methods/res/x/?$rid=1f"), None);
        let refusal = Inbound::Answer { status: 400, rid: 31 };
        assert_eq!(topics.inbound("$iothub/streams/res/400/?$rid=1f"), Some(refusal));
        assert_eq!(topics.inbound("$iothub/other"), None);
        assert_eq!(topics.subscription("devices/d/modules/m/inputs/#"), Some(Subscriptions::INPUTS));
    }
}
