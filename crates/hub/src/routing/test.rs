//! Trying routes on a message that nobody sent (`testRoute` and `testAllRoutes` of the management API).

use std::collections::BTreeMap;

use gantry_identity::{DeviceId, Identity, Timestamp};
use gantry_query::Condition;
use serde::Deserialize;
use serde_json::{Value, json};

use super::message::Message;
use super::settings::{Route, Source};
use crate::events::event::{MessageSource, SystemProperties, Telemetry};

/// A message to try.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TestMessage {
    /// The body, as text.
    pub body: Option<String>,
    /// Application properties.
    pub app_properties: BTreeMap<String, Option<String>>,
    /// System properties (`contentType`, `contentEncoding`, `connectionDeviceId`, …).
    pub system_properties: BTreeMap<String, String>,
}

/// What a route says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It matches.
    True,
    /// It does not.
    False,
    /// Its condition cannot be read.
    Undefined,
}

/// A verdict, and why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// What is wrong with the condition.
    pub error: Option<String>,
}

impl TestMessage {
    /// Calls `with` with the message as conditions see it.
    fn as_message<T>(&self, source: MessageSource, twin: Option<&Value>, with: impl FnOnce(&Message<'_>) -> T) -> T {
        let field = |name: &str| {
            let found = self.system_properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone().into())
        };
        // A body is taken for JSON unless the message says otherwise, as in the portal's test.
        let system = SystemProperties {
            message_id: field("messageId"),
            correlation_id: field("correlationId"),
            user_id: field("userId"),
            content_type: field("contentType").or(Some("application/json".into())),
            content_encoding: field("contentEncoding").or(Some("utf-8".into())),
            subject: field("dt-subject"),
            ..SystemProperties::default()
        };
        let properties =
            self.app_properties.iter().map(|(k, v)| (k.as_str().into(), v.as_deref().map(Into::into))).collect();
        let body = self.body.as_deref().unwrap_or_default().as_bytes();
        let telemetry = Telemetry { system, properties, body };
        let device = field("connectionDeviceId").and_then(|id: std::borrow::Cow<'_, str>| DeviceId::parse(&id).ok());
        let device = device.unwrap_or_else(|| DeviceId::parse("testDevice").expect("a good id"));
        let identity = Identity::device(device);
        with(&Message::new(source, &identity, Timestamp::from_millis(0), None, &telemetry, twin))
    }

    /// Tries one route.
    pub fn try_route(&self, route: &Route, twin: Option<&Value>) -> RouteVerdict {
        match Condition::parse(&route.condition) {
            Err(error) => RouteVerdict { verdict: Verdict::Undefined, error: Some(error.to_string()) },
            Ok(condition) => {
                let matches = self.as_message(source_of(route.source), twin, |message| condition.matches(message));
                let verdict = if matches { Verdict::True } else { Verdict::False };
                RouteVerdict { verdict, error: None }
            }
        }
    }
}

impl RouteVerdict {
    /// The answer of the management API.
    pub fn document(&self) -> Value {
        let result = match self.verdict {
            Verdict::True => "true",
            Verdict::False => "false",
            Verdict::Undefined => "undefined",
        };
        let error = |words: &String| json!({ "message": words, "severity": "error" });
        json!({ "result": result, "details": { "compilationErrors": self.error.iter().map(error).collect::<Vec<_>>() } })
    }
}

fn source_of(source: Source) -> MessageSource {
    match source {
        Source::DeviceMessages | Source::DeviceJobLifecycleEvents => MessageSource::Telemetry,
        Source::TwinChangeEvents => MessageSource::TwinChange,
        Source::DeviceLifecycleEvents => MessageSource::Lifecycle,
        Source::DeviceConnectionStateEvents => MessageSource::ConnectionState,
        Source::DigitalTwinChangeEvents => MessageSource::DigitalTwinChange,
        Source::StreamingJobEvents => MessageSource::StreamingJob,
    }
}
