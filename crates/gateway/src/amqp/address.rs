//! Link addresses: what a link is for.
//!
//! Clients write a path with or without a leading slash, or a whole URI; some percent-encode it. Words of the path
//! are compared without case, names keep theirs. An id may hold a `%` itself: then what a client that does not encode
//! writes has two readings, and the registry knows which one it is.

use gantry_identity::{DeviceId, Identity, ModuleId};
use percent_encoding::percent_decode_str;

/// A node of a device or module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceNode {
    /// `messages/events`: telemetry, or the inputs of a module.
    Events,
    /// `messages/devicebound`: cloud-to-device messages.
    DeviceBound,
    /// `methods/devicebound`: direct methods.
    Methods,
    /// `twin`: the twin.
    Twin,
}

/// The node a link address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// `$cbs`: tokens.
    Cbs,
    /// `$management` or `{entity}/$management`: properties of the stream.
    Management,
    /// `{entity}/ConsumerGroups/{group}/Partitions/{partition}`.
    Partition {
        /// The event hub's name.
        entity: String,
        /// The consumer group.
        group: String,
        /// The partition as text.
        partition: String,
    },
    /// `messages/events/...` on the hub: the stream lives elsewhere. Holds what follows.
    HubEvents(String),
    /// `messages/devicebound`: cloud-to-device messages.
    DeviceBound,
    /// `messages/serviceBound/feedback`: outcomes of cloud-to-device messages.
    Feedback,
    /// `messages/serviceBound/filenotifications`: file uploads.
    FileNotifications,
    /// `devices/{id}/...` or `devices/{id}/modules/{id}/...`; every reading of the ids, the likeliest first.
    Device(Vec<Identity>, DeviceNode),
    /// `{queue}` or `{topic}/Subscriptions/{subscription}`: what routes send there, if there is such an endpoint.
    Queue(String, Option<String>),
    /// `{scope}/registrations/{id}`: a device at the provisioning service.
    Registration(String, String),
    /// Nothing of ours.
    Unknown,
}

impl Address {
    /// Reads an address.
    pub(super) fn parse(address: &str) -> Self {
        let path = address.split_once("://").map_or(address, |(_, rest)| rest.split_once('/').map_or("", |(_, p)| p));
        let written = segments(path);
        if written.first().is_some_and(|word| word.eq_ignore_ascii_case("devices"))
            && let Some(device) = Self::device(&written)
        {
            return device;
        }
        let path = percent_decode_str(path).decode_utf8_lossy();
        let segments = segments(&path);
        let word = |at: usize, word: &str| segments.get(at).is_some_and(|segment| segment.eq_ignore_ascii_case(word));
        match segments.len() {
            1 if word(0, "$cbs") => Self::Cbs,
            1 if word(0, "$management") => Self::Management,
            1 => Self::Queue(segments[0].to_owned(), None),
            3 if word(1, "registrations") => Self::Registration(segments[0].to_owned(), segments[2].to_owned()),
            3 if word(1, "subscriptions") => Self::Queue(segments[0].to_owned(), Some(segments[2].to_owned())),
            2.. if word(0, "messages") && word(1, "events") => Self::HubEvents(segments[2..].join("/")),
            2 if word(1, "$management") => Self::Management,
            2 if word(0, "messages") && word(1, "devicebound") => Self::DeviceBound,
            3 if word(0, "messages") && word(1, "servicebound") => {
                if word(2, "feedback") {
                    Self::Feedback
                } else if word(2, "filenotifications") || word(2, "fileuploadnotifications") {
                    Self::FileNotifications
                } else {
                    Self::Unknown
                }
            }
            5 if word(1, "consumergroups") && word(3, "partitions") => Self::Partition {
                entity: segments[0].to_owned(),
                group: segments[2].to_owned(),
                partition: segments[4].to_owned(),
            },
            _ if word(0, "devices") => Self::device(&segments).unwrap_or(Self::Unknown),
            _ => Self::Unknown,
        }
    }

    fn device(segments: &[&str]) -> Option<Self> {
        let (module, rest) = match segments.get(2..)? {
            [modules, module, rest @ ..] if modules.eq_ignore_ascii_case("modules") => (Some(*module), rest),
            rest => (None, rest),
        };
        let readings = readings(segments.get(1)?, module);
        if readings.is_empty() {
            return None;
        }
        let is = |words: &[&str]| {
            rest.len() == words.len() && rest.iter().zip(words).all(|(found, word)| found.eq_ignore_ascii_case(word))
        };
        let node = if is(&["messages", "events"]) {
            DeviceNode::Events
        } else if is(&["messages", "devicebound"]) {
            DeviceNode::DeviceBound
        } else if is(&["methods", "devicebound"]) {
            DeviceNode::Methods
        } else if is(&["twin"]) {
            DeviceNode::Twin
        } else {
            return None;
        };
        Some(Self::Device(readings, node))
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// Whom ids name: as percent-encoded ones, then as they are written, if that is somebody else.
pub(super) fn readings(device: &str, module: Option<&str>) -> Vec<Identity> {
    let read = |decode: fn(&str) -> Option<String>| {
        let device = DeviceId::parse(&decode(device)?).ok()?;
        let module = module.map(|id| ModuleId::parse(&decode(id)?).ok()).map_or(Some(None), |id| id.map(Some))?;
        Some(Identity { device, module })
    };
    let decoded = read(|id| Some(percent_decode_str(id).decode_utf8().ok()?.into_owned()));
    let written = read(|id| Some(id.to_owned())).filter(|written| decoded.as_ref() != Some(written));
    decoded.into_iter().chain(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(group: &str) -> Address {
        Address::Partition { entity: "hub".into(), group: group.into(), partition: "3".into() }
    }

    #[track_caller]
    fn check(address: &str, expected: &Address) {
        assert_eq!(&Address::parse(address), expected, "{address}");
    }

    #[test]
    fn partitions_are_named_in_every_form() {
        check("hub/ConsumerGroups/$Default/Partitions/3", &partition("$Default"));
        check("/hub/ConsumerGroups/$Default/Partitions/3", &partition("$Default"));
        check("amqps://localhost:5671/hub/consumergroups/g1/partitions/3", &partition("g1"));
        check("sb://localhost/hub/ConsumerGroups/%24Default/Partitions/3", &partition("$Default"));
        check("hub/ConsumerGroups/$Default/Partitions", &Address::Unknown);
        check("hub/ConsumerGroups/$Default/Partitions/3/4", &Address::Unknown);
    }

    #[test]
    fn service_words_are_known_in_any_case() {
        check("$cbs", &Address::Cbs);
        check("$management", &Address::Management);
        check("hub/$management", &Address::Management);
        check("/messages/deviceBound", &Address::DeviceBound);
        check("amqps://h/messages/devicebound", &Address::DeviceBound);
        check("/messages/serviceBound/feedback", &Address::Feedback);
        check("/messages/serviceBound/FileNotifications", &Address::FileNotifications);
        check("/messages/events/$management", &Address::HubEvents("$management".into()));
        check(
            "messages/events/ConsumerGroups/g/Partitions/1",
            &Address::HubEvents("ConsumerGroups/g/Partitions/1".into()),
        );
    }

    #[test]
    fn nodes_of_devices_and_modules_are_known() {
        let device = |id: &str, node| Address::Device(vec![Identity::parse(id).unwrap()], node);
        check("/devices/d/messages/events", &device("d", DeviceNode::Events));
        check("amqps://h:5671%2Fdevices/d/twin", &Address::Unknown);
        check("/Devices/D/modules/m/methods/devicebound", &device("D/m", DeviceNode::Methods));
        check("devices/d/twin/", &device("d", DeviceNode::Twin));
        check("%2Fdevices%2Fd%2Ftwin", &device("d", DeviceNode::Twin));
        check("/devices/d/modules/m/twin", &device("d/m", DeviceNode::Twin));
        for wrong in ["/devices/d", "/devices/d/twin/x", "/devices/d/modules/m", "/devices/a b/twin"] {
            check(wrong, &Address::Unknown);
        }
    }

    #[test]
    fn an_escape_in_an_id_is_read_both_ways() {
        let both = |segment: &str, expected: &[&str]| {
            let expected: Vec<_> = expected.iter().map(|id| Identity::parse(id).unwrap()).collect();
            check(&format!("amqps://h:5671/devices/{segment}/twin"), &Address::Device(expected, DeviceNode::Twin));
        };
        both("n%40m.et%23st", &["n@m.et#st", "n%40m.et%23st"]);
        both("n@m.et#st?", &["n@m.et#st?"]);
        both("a%2Cb/modules/m%2B", &["a,b/m+", "a%2Cb/m%2B"]);
        // Only one of them can be an id.
        both("a%2Fb", &["a%2Fb"]);
        both("a%252Fb", &["a%2Fb", "a%252Fb"]);
        both("a/modules/%20", &["a/%20"]);
        both("100%", &["100%"]);
        both("%ff", &["%ff"]);
        both("100%25", &["100%", "100%25"]);
    }

    #[test]
    fn one_word_may_name_a_queue() {
        check("/devices", &Address::Queue("devices".into(), None));
        check("alerts/Subscriptions/Desk", &Address::Queue("alerts".into(), Some("Desk".into())));
        check("%ff", &Address::Queue("\u{fffd}".into(), None));
    }

    #[test]
    fn registrations_have_a_scope() {
        check("0ne1/registrations/r:1", &Address::Registration("0ne1".into(), "r:1".into()));
        check("amqps://h/0ne1/registrations/r", &Address::Registration("0ne1".into(), "r".into()));
        check("0ne1/registrations/r/x", &Address::Unknown);
    }

    #[test]
    fn anything_else_is_unknown() {
        for address in ["", "/", "amqps://h", "messages/serviceBound/other", "%ff/x"] {
            check(address, &Address::Unknown);
        }
    }
}
