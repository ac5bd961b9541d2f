//! The record of one event in the event log, version 2.
//!
//! ```text
//! u8   version, 2
//! u8   source: 0 telemetry, 1 twin change, 2 lifecycle, 3 connection state, 4 digital twin change
//! u16  endpoints it goes to, one bit each (little-endian, as all numbers)
//! str  device id          (str: u16 little-endian length, then UTF-8)
//! str  module id, empty for the device itself
//! str  generation id
//! str  auth method, JSON text
//! str  model id, empty when none was announced
//! u16  bit set of system properties present, bit n for field n of SystemProperties::fields
//! str  each of them, in order of bits
//! u16  number of application properties, then name and value of each:
//! str  name   str32 value  (str32: u32 length)
//! u8   number of properties added by routing, then of each:
//! u16  endpoints that get it   str name   str32 value
//!      (one for no endpoint: its value is the places of application properties that are null, as `0,3`;
//!      they are empty above, and empty to who does not know this)
//! ...  the body: the rest of the record
//! ```
//!
//! Version 1 has neither endpoints (it is for the built-in one) nor added properties, and telemetry only.
//!
//! The enqueued time is the log's own and not repeated here.

use std::borrow::Cow;

use bytes::Bytes;
use gantry_hub::event::{Event, MessageSource, StoredEvent, SystemProperties, Telemetry, nulls, with_nulls};
use gantry_hub::routing::{Added, Destinations};
use gantry_identity::{DeviceId, Identity, ModuleId, Timestamp};

const VERSION: u8 = 2;
const NOWHERE: Destinations = Destinations(0);
const SOURCES: [MessageSource; 6] = [
    MessageSource::Telemetry,
    MessageSource::TwinChange,
    MessageSource::Lifecycle,
    MessageSource::ConnectionState,
    MessageSource::DigitalTwinChange,
    MessageSource::StreamingJob,
];

fn put_str(out: &mut Vec<u8>, text: &str) {
    // Longer than a message may be; such a text cannot come in.
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}

fn put_str32(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends the record of an event.
pub(crate) fn encode(event: &Event<'_>, out: &mut Vec<u8>) {
    let source = SOURCES.iter().position(|source| *source == event.source).unwrap_or(0);
    out.extend_from_slice(&[VERSION, u8::try_from(source).unwrap_or(0)]);
    out.extend_from_slice(&event.destinations.0.to_le_bytes());
    put_str(out, event.identity.device.as_str());
    put_str(out, event.identity.module.as_ref().map_or("", |m| m.as_str()));
    put_str(out, event.generation_id);
    put_str(out, event.auth_method);
    put_str(out, event.model_id.unwrap_or_default());
    let fields = event.message.system.fields();
    let bits = fields.iter().enumerate().fold(0_u16, |bits, (n, field)| bits | u16::from(field.is_some()) << n);
    out.extend_from_slice(&bits.to_le_bytes());
    for field in fields.into_iter().flatten() {
        put_str(out, field);
    }
    let properties = &event.message.properties;
    out.extend_from_slice(&u16::try_from(properties.len()).unwrap_or(u16::MAX).to_le_bytes());
    for (name, value) in properties.iter().take(usize::from(u16::MAX)) {
        put_str(out, name);
        put_str32(out, value.as_deref().unwrap_or_default());
    }
    let nulls: Vec<String> = nulls(properties).iter().map(ToString::to_string).collect();
    let nulls = Added { destinations: NOWHERE, name: "null".to_owned(), value: nulls.join(",") };
    let nulls = Some(&nulls).filter(|nulls| !nulls.value.is_empty());
    // Enrichments are ten at most.
    let added = event.added.iter().chain(nulls);
    out.push(u8::try_from(added.clone().count()).unwrap_or(u8::MAX));
    for added in added.take(usize::from(u8::MAX)) {
        out.extend_from_slice(&added.destinations.0.to_le_bytes());
        put_str(out, &added.name);
        put_str32(out, &added.value);
    }
    out.extend_from_slice(event.message.body);
}

/// Reads a record; `None` when it is not one.
pub(crate) fn decode(partition: u16, sequence_number: u64, enqueued_ms: i64, bytes: &Bytes) -> Option<StoredEvent> {
    let mut fields = Fields(bytes);
    let [version, source] = *fields.take(2)? else { return None };
    let source = *SOURCES.get(usize::from(source))?;
    let destinations = match version {
        1 => Destinations::BUILT_IN,
        VERSION => Destinations(fields.u16()?),
        _ => return None,
    };
    let device = DeviceId::parse(fields.text()?).ok()?;
    let module = match fields.text()? {
        "" => None,
        id => Some(ModuleId::parse(id).ok()?),
    };
    let generation_id = fields.text()?.to_owned();
    let auth_method = fields.text()?.to_owned();
    let model_id = Some(fields.text()?).filter(|id| !id.is_empty()).map(str::to_owned);
    let bits = fields.u16()?;
    let mut system = SystemProperties::default();
    for (n, slot) in slots(&mut system).into_iter().enumerate() {
        if bits & (1 << n) != 0 {
            *slot = Some(Cow::Owned(fields.text()?.to_owned()));
        }
    }
    let count = fields.u16()?;
    let mut properties = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        properties.push((fields.text()?.to_owned(), fields.text32()?.to_owned()));
    }
    let count = if version == 1 { 0 } else { *fields.take(1)?.first()? };
    let mut added = Vec::with_capacity(usize::from(count).min(16));
    let mut nulls = Vec::new();
    for _ in 0..count {
        let destinations = Destinations(fields.u16()?);
        let (name, value) = (fields.text()?, fields.text32()?);
        if destinations == NOWHERE {
            nulls.extend(value.split(',').filter_map(|at| at.parse::<usize>().ok()));
        } else {
            added.push(Added { destinations, name: name.to_owned(), value: value.to_owned() });
        }
    }
    let body = bytes.slice(bytes.len() - fields.0.len()..);
    Some(StoredEvent {
        partition,
        sequence_number,
        enqueued_at: Timestamp::from_millis(enqueued_ms),
        source,
        identity: Identity { device, module },
        generation_id,
        auth_method,
        model_id,
        system,
        properties: with_nulls(properties, &nulls),
        destinations,
        added,
        body,
    })
}

/// Reads any bytes as a record; what is one says the same when it is written again. It is what is fuzzed.
///
/// # Panics
/// When it does not.
pub fn survive_event_record(bytes: &[u8]) {
    let decode = |bytes: &[u8]| decode(3, 7, 5, &Bytes::copy_from_slice(bytes));
    // More enrichments than there may be do not fit beside the places of nulls.
    let Some(stored) = decode(bytes).filter(|stored| stored.added.len() <= 10) else { return };
    let properties = stored.properties.iter();
    let message = Telemetry {
        system: stored.system.clone(),
        properties: properties.map(|(name, value)| (name.into(), value.as_deref().map(Into::into))).collect(),
        body: &stored.body,
    };
    let mut again = vec![];
    let event = Event {
        source: stored.source,
        identity: &stored.identity,
        generation_id: &stored.generation_id,
        auth_method: &stored.auth_method,
        model_id: stored.model_id.as_deref(),
        enqueued_at: stored.enqueued_at,
        message: &message,
        destinations: stored.destinations,
        added: stored.added.as_slice().into(),
    };
    encode(&event, &mut again);
    assert_eq!(decode(&again).as_ref(), Some(&stored));
}

/// The fields in the order of [`SystemProperties::fields`].
fn slots<'a>(system: &'a mut SystemProperties<'static>) -> [&'a mut Option<Cow<'static, str>>; 10] {
    [
        &mut system.message_id,
        &mut system.correlation_id,
        &mut system.user_id,
        &mut system.content_type,
        &mut system.content_encoding,
        &mut system.expiry,
        &mut system.creation_time,
        &mut system.subject,
        &mut system.interface_id,
        &mut system.output_name,
    ]
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    fn text32(&mut self) -> Option<&'a str> {
        let len = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        std::str::from_utf8(self.take(usize::try_from(len).ok()?)?).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.take(len)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let identity = Identity::parse("motor-1/m").unwrap();
        let message = Telemetry {
            system: SystemProperties {
                message_id: Some("1".into()),
                content_type: Some("application/json".into()),
                output_name: Some("out".into()),
                ..Default::default()
            },
            properties: vec![("a".into(), Some("b".into())), ("null".into(), None), ("empty".into(), Some("".into()))],
            body: b"{\"temperature\":20}",
        };
        let added = Added { destinations: Destinations(4), name: "site".into(), value: "lyon".into() };
        let event = Event {
            source: MessageSource::TwinChange,
            identity: &identity,
            generation_id: "42",
            auth_method: "{}",
            model_id: Some("dtmi:x;1"),
            enqueued_at: Timestamp::from_millis(5),
            message: &message,
            destinations: Destinations(0b101),
            added: vec![added.clone()].into(),
        };
        let mut out = vec![];
        encode(&event, &mut out);
        let bytes = Bytes::from(out);
        let stored = decode(3, 7, 5, &bytes).unwrap();
        assert_eq!((stored.partition, stored.sequence_number, &stored.identity), (3, 7, &identity));
        assert_eq!(stored.system.fields(), message.system.fields());
        assert_eq!(
            stored.properties,
            [("a".into(), Some("b".into())), ("null".into(), None), ("empty".into(), Some(String::new()))]
        );
        assert_eq!(stored.body, message.body);
        assert_eq!(
            (stored.source, stored.destinations, &stored.added[..]),
            (event.source, event.destinations, &[added][..])
        );
        assert_eq!(stored.properties_for(Destinations(4)).count(), 4);
        assert_eq!(stored.properties_for(Destinations(1)).count(), 3);
        for len in 0..bytes.len() - message.body.len() {
            assert_eq!(decode(0, 0, 0, &bytes.slice(..len)), None, "cut at {len}");
        }
    }

    /// An event with every field.
    fn with_everything<T>(with: impl FnOnce(&Event<'_>) -> T) -> T {
        let text = |text: &'static str| Some(text.into());
        let message = Telemetry {
            system: SystemProperties {
                message_id: text("m-1"),
                correlation_id: text("c-1"),
                user_id: text("user"),
                content_type: text("application/json"),
                content_encoding: text("utf-8"),
                expiry: text("2026-01-01T00:00:00Z"),
                creation_time: text("2025-01-01T00:00:00Z"),
                subject: text("component"),
                interface_id: text("dtmi:com:example:Thermostat;1"),
                output_name: text("out"),
            },
            properties: vec![
                ("a".into(), text("b")),
                ("null".into(), None),
                ("Ü".into(), text("")),
                ("n".into(), None),
            ],
            body: b"{\"temperature\":20.5}",
        };
        let added = Added { destinations: Destinations(4), name: "site".into(), value: "lyon".into() };
        with(&Event {
            source: MessageSource::DigitalTwinChange,
            identity: &Identity::parse("motor-1/gearbox").unwrap(),
            generation_id: "638412345678901234",
            auth_method: r#"{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#,
            model_id: Some("dtmi:com:example:Motor;1"),
            enqueued_at: Timestamp::from_millis(1_767_225_600_000),
            message: &message,
            destinations: Destinations(0b101),
            added: vec![added].into(),
        })
    }

    #[test]
    fn records_of_every_version_are_read_and_the_newest_is_written_as_it_was() {
        let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR")).join("event_record");
        let mut written = vec![];
        with_everything(|event| encode(event, &mut written));
        gantry_golden::check(&golden.join("v2.bin"), &written);
        for version in ["v1", "v2"] {
            let record = Bytes::from(gantry_golden::read(&golden.join(version).with_extension("bin")));
            let stored = decode(3, 7, 1_767_225_600_000, &record).unwrap();
            gantry_golden::check(&golden.join(format!("{version}.expected.txt")), format!("{stored:#?}\n").as_bytes());
        }
    }
}
