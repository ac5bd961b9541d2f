//! Events: device-to-cloud messages and everything else the log holds.

use std::borrow::Cow;

use bytes::Bytes;
use gantry_identity::{DeviceId, Identity, Timestamp};

use crate::routing::{Added, Destinations};

/// Names of system properties and annotations as event consumers see them (message routing reference).
pub mod names {
    /// Device that sent the event.
    pub const CONNECTION_DEVICE_ID: &str = "iothub-connection-device-id";
    /// Module that sent the event.
    pub const CONNECTION_MODULE_ID: &str = "iothub-connection-module-id";
    /// Generation of the identity.
    pub const AUTH_GENERATION_ID: &str = "iothub-connection-auth-generation-id";
    /// How the identity had proved itself, as JSON text.
    pub const AUTH_METHOD: &str = "iothub-connection-auth-method";
    /// When the hub took the event.
    pub const ENQUEUED_TIME: &str = "iothub-enqueuedtime";
    /// Where the event comes from.
    pub const MESSAGE_SOURCE: &str = "iothub-message-source";
    /// Model id announced at connect.
    pub const DATASCHEMA: &str = "dt-dataschema";
    /// Component name.
    pub const SUBJECT: &str = "dt-subject";
    /// Interface id.
    pub const INTERFACE_ID: &str = "iothub-interface-id";
    /// Marks the message of a will.
    pub const MESSAGE_TYPE: &str = "iothub-MessageType";
    /// Marks a message published with RETAIN.
    pub const MQTT_RETAIN: &str = "mqtt-retain";
    /// When the device says it made the message.
    pub const CREATION_TIME: &str = "iothub-creation-time-utc";
    /// Output of a module.
    pub const OUTPUT_NAME: &str = "iothub-outputname";

    /// Whether a sender may not set it, because the hub stamps it.
    pub fn is_stamped(name: &str) -> bool {
        matches!(
            name,
            CONNECTION_DEVICE_ID
                | CONNECTION_MODULE_ID
                | AUTH_GENERATION_ID
                | AUTH_METHOD
                | ENQUEUED_TIME
                | MESSAGE_SOURCE
        )
    }
}

/// What produced an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageSource {
    /// A device-to-cloud message.
    Telemetry,
    /// A change of tags, desired or reported properties.
    TwinChange,
    /// A device or module made or deleted.
    Lifecycle,
    /// A connection that came or went.
    ConnectionState,
    /// A change of the twin of a device with a model, as JSON Patch.
    DigitalTwinChange,
    /// A row that a streaming job gave. The reference has no such source: its jobs write into endpoints of their own.
    StreamingJob,
}

impl MessageSource {
    /// The value of `iothub-message-source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::TwinChange => "twinChangeEvents",
            Self::Lifecycle => "deviceLifecycleEvents",
            Self::ConnectionState => "deviceConnectionStateEvents",
            Self::DigitalTwinChange => "digitalTwinChangeEvents",
            Self::StreamingJob => "streamingJobEvents",
        }
    }

    /// Reads the value.
    pub fn parse(word: &str) -> Option<Self> {
        use MessageSource::{ConnectionState, DigitalTwinChange, Lifecycle, StreamingJob, Telemetry, TwinChange};
        let all = [Telemetry, TwinChange, Lifecycle, ConnectionState, DigitalTwinChange, StreamingJob];
        all.into_iter().find(|source| source.as_str() == word)
    }
}

/// System properties a sender may set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemProperties<'a> {
    /// Message id.
    pub message_id: Option<Cow<'a, str>>,
    /// Correlation id.
    pub correlation_id: Option<Cow<'a, str>>,
    /// User id.
    pub user_id: Option<Cow<'a, str>>,
    /// Content type.
    pub content_type: Option<Cow<'a, str>>,
    /// Content encoding.
    pub content_encoding: Option<Cow<'a, str>>,
    /// Absolute expiry, as sent.
    pub expiry: Option<Cow<'a, str>>,
    /// Creation time, as sent.
    pub creation_time: Option<Cow<'a, str>>,
    /// Component name.
    pub subject: Option<Cow<'a, str>>,
    /// Interface id.
    pub interface_id: Option<Cow<'a, str>>,
    /// Output name of a module.
    pub output_name: Option<Cow<'a, str>>,
}

impl SystemProperties<'_> {
    /// The same, borrowing nothing.
    pub fn into_owned(self) -> SystemProperties<'static> {
        let owned = |field: Option<Cow<'_, str>>| field.map(|text| Cow::Owned(text.into_owned()));
        SystemProperties {
            message_id: owned(self.message_id),
            correlation_id: owned(self.correlation_id),
            user_id: owned(self.user_id),
            content_type: owned(self.content_type),
            content_encoding: owned(self.content_encoding),
            expiry: owned(self.expiry),
            creation_time: owned(self.creation_time),
            subject: owned(self.subject),
            interface_id: owned(self.interface_id),
            output_name: owned(self.output_name),
        }
    }

    /// The ten fields in a fixed order; records on disk use it.
    pub fn fields(&self) -> [Option<&str>; 10] {
        [
            &self.message_id,
            &self.correlation_id,
            &self.user_id,
            &self.content_type,
            &self.content_encoding,
            &self.expiry,
            &self.creation_time,
            &self.subject,
            &self.interface_id,
            &self.output_name,
        ]
        .map(|field| field.as_deref())
    }
}

/// Application properties in the order sent. One without a value is null, which is not empty.
pub type Properties<'a> = Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>;

/// The places of properties that are null, for records whose values are texts: those who read a record without
/// looking at them see empty values.
pub fn nulls<N, V>(properties: &[(N, Option<V>)]) -> Vec<usize> {
    let is_null = |(at, (_, value)): (usize, &(N, Option<V>))| value.is_none().then_some(at);
    properties.iter().enumerate().filter_map(is_null).collect()
}

/// Properties of a record, with [`nulls`] where they were.
pub fn with_nulls(properties: Vec<(String, String)>, nulls: &[usize]) -> Vec<(String, Option<String>)> {
    let mut all: Vec<_> = properties.into_iter().map(|(name, value)| (name, Some(value))).collect();
    for at in nulls {
        if let Some((_, value)) = all.get_mut(*at) {
            *value = None;
        }
    }
    all
}

/// What properties count for in a message's size.
pub(crate) fn properties_size<N: AsRef<str>, V: AsRef<str>>(properties: &[(N, Option<V>)]) -> usize {
    let size = |(name, value): &(N, Option<V>)| name.as_ref().len() + value.as_ref().map_or(0, |v| v.as_ref().len());
    properties.iter().map(size).sum()
}

/// A device-to-cloud message as a head hands it in.
#[derive(Clone, Debug, Default)]
pub struct Telemetry<'a> {
    /// System properties.
    pub system: SystemProperties<'a>,
    /// Application properties.
    pub properties: Properties<'a>,
    /// The body.
    pub body: &'a [u8],
}

impl Telemetry<'_> {
    /// Size as the service counts it: body, system property values, application names and values.
    pub fn size(&self) -> usize {
        let system: usize = self.system.fields().iter().flatten().map(|v| v.len()).sum();
        self.body.len() + system + properties_size(&self.properties)
    }
}

/// An event on its way into the log: a message stamped with what the hub knows of its sender.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What produced it.
    pub source: MessageSource,
    /// Who sent it.
    pub identity: &'a Identity,
    /// Generation of the identity.
    pub generation_id: &'a str,
    /// How it proved itself, as JSON text.
    pub auth_method: &'a str,
    /// Model id announced at connect.
    pub model_id: Option<&'a str>,
    /// When the hub took it.
    pub enqueued_at: Timestamp,
    /// The message.
    pub message: &'a Telemetry<'a>,
    /// Which endpoints it goes to.
    pub destinations: Destinations,
    /// What is added to it on the way there.
    pub added: Cow<'a, [Added]>,
}

impl Event<'_> {
    /// The event as it is read once it has its place in the log.
    pub fn stored(&self, partition: u16, sequence_number: u64, enqueued_at: Timestamp) -> StoredEvent {
        let owned = |text: &Cow<'_, str>| text.clone().into_owned();
        StoredEvent {
            partition,
            sequence_number,
            enqueued_at,
            source: self.source,
            identity: self.identity.clone(),
            generation_id: self.generation_id.to_owned(),
            auth_method: self.auth_method.to_owned(),
            model_id: self.model_id.map(str::to_owned),
            system: self.message.system.clone().into_owned(),
            properties: self.message.properties.iter().map(|(n, v)| (owned(n), v.as_ref().map(owned))).collect(),
            destinations: self.destinations,
            added: self.added.to_vec(),
            body: Bytes::copy_from_slice(self.message.body),
        }
    }
}

/// An event read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Partition it is in.
    pub partition: u16,
    /// Rises by one within the partition; also its offset.
    pub sequence_number: u64,
    /// When the hub took it.
    pub enqueued_at: Timestamp,
    /// What produced it.
    pub source: MessageSource,
    /// Who sent it.
    pub identity: Identity,
    /// Generation of the identity.
    pub generation_id: String,
    /// How it proved itself, as JSON text.
    pub auth_method: String,
    /// Model id announced at connect.
    pub model_id: Option<String>,
    /// System properties.
    pub system: SystemProperties<'static>,
    /// Application properties; one without a value is null.
    pub properties: Vec<(String, Option<String>)>,
    /// Which endpoints it goes to.
    pub destinations: Destinations,
    /// What is added to it on the way there.
    pub added: Vec<Added>,
    /// The body.
    pub body: Bytes,
}

impl StoredEvent {
    /// The event as an endpoint gets it, with what is added for it; `None` when it does not go there.
    pub fn routed_to(mut self, endpoint: Destinations) -> Option<Self> {
        for added in std::mem::take(&mut self.added) {
            if added.destinations.meets(endpoint) {
                self.properties.push((added.name, Some(added.value)));
            }
        }
        self.destinations.meets(endpoint).then_some(self)
    }

    /// Application properties as an endpoint gets them: those of the message, then those added for it.
    pub fn properties_for(&self, endpoint: Destinations) -> impl Iterator<Item = (&str, Option<&str>)> {
        let added = self.added.iter().filter(move |added| added.destinations.meets(endpoint));
        let added = added.map(|added| (added.name.as_str(), Some(added.value.as_str())));
        self.properties.iter().map(|(name, value)| (name.as_str(), value.as_deref())).chain(added)
    }
}

/// The partition of a device: stable for its life, evenly spread (FNV-1a over the id).
pub fn partition_of(device: &DeviceId, partitions: u16) -> u16 {
    let hash = device
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    // The low bits of FNV-1a are its best mixed after a fold of the high half.
    u16::try_from((hash ^ (hash >> 32)) % u64::from(partitions.max(1))).expect("a remainder of a u16 is a u16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_spread_evenly_and_stay_where_they_are() {
        let mut counts = [0; 4];
        for i in 0..4000 {
            counts[usize::from(partition_of(&DeviceId::parse(&format!("motor-{i}")).unwrap(), 4))] += 1;
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
        assert_eq!(
            partition_of(&DeviceId::parse("motor-1").unwrap(), 4),
            partition_of(&DeviceId::parse("motor-1").unwrap(), 4)
        );
    }

    #[test]
    fn an_endpoint_gets_what_goes_there_with_what_is_added_for_it() {
        let added = |number, name: &str| Added {
            destinations: Destinations::of(number),
            name: name.into(),
            value: "lyon".into(),
        };
        let event = StoredEvent {
            partition: 0,
            sequence_number: 7,
            enqueued_at: Timestamp::NEVER,
            source: MessageSource::Telemetry,
            identity: Identity::parse("motor-1").unwrap(),
            generation_id: String::new(),
            auth_method: String::new(),
            model_id: None,
            system: SystemProperties::default(),
            properties: vec![("a".into(), None)],
            destinations: Destinations(0b101),
            added: vec![added(0, "site"), added(2, "place"), added(1, "other")],
            body: Bytes::new(),
        };
        let properties = |number| {
            let routed = event.clone().routed_to(Destinations::of(number))?;
            assert!(routed.added.is_empty());
            Some(routed.properties)
        };
        let lyon = Some("lyon".to_owned());
        assert_eq!(properties(0), Some(vec![("a".into(), None), ("site".into(), lyon.clone())]));
        assert_eq!(properties(2), Some(vec![("a".into(), None), ("place".into(), lyon)]));
        assert_eq!(properties(1), None, "it does not go there");
    }
}
