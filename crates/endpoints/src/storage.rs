//! Events as files in a storage container (message routing, "Azure Storage as a routing endpoint").
//!
//! A [`StorageBatch`] gathers the events of one partition for one container until it is large or old
//! enough, and gives a file: Avro in the reference's schema, or JSON lines. It reads no clock and writes
//! nothing; whoever drives it keeps the place in the log of what is written, so that a crash costs a
//! batch no event: the batch is gathered again.
//!
//! Names: `fileNameFormat` with its words filled in, from the time the file is taken, and the encoding
//! as extension. A file that is there already is not replaced: its name is tried again with `-2`, `-3`.

use std::sync::LazyLock;
use std::time::Duration;

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, Writer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gantry_hub::event::{StoredEvent, names};
use gantry_hub::routing::{Destinations, StorageContainer};
use gantry_identity::Timestamp;
use serde_json::{Map, Value, json};

/// The reference's schema of archived messages.
const SCHEMA_TEXT: &str = r#"{
  "type": "record", "name": "Message", "namespace": "Microsoft.Azure.Devices",
  "fields": [
    { "name": "EnqueuedTimeUtc", "type": "string" },
    { "name": "Properties", "type": { "type": "map", "values": "string" } },
    { "name": "SystemProperties", "type": { "type": "map", "values": "string" } },
    { "name": "Body", "type": ["null", "bytes"] }
  ]
}"#;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::parse_str(SCHEMA_TEXT).expect("the schema is valid"));

/// Why an event could not be added.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The encoder refused it.
    #[error("encoding an event: {0}")]
    Encode(String),
}

impl From<apache_avro::Error> for StorageError {
    fn from(error: apache_avro::Error) -> Self {
        Self::Encode(error.to_string())
    }
}

enum Encoder {
    Avro(Box<Writer<'static, Vec<u8>>>),
    Json(Vec<u8>),
}

impl Encoder {
    fn new(is_avro: bool) -> Result<Self, StorageError> {
        if is_avro { Ok(Self::Avro(Box::new(Writer::new(&SCHEMA, Vec::new())?))) } else { Ok(Self::Json(Vec::new())) }
    }
}

/// A file that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    stem: String,
    extension: &'static str,
    /// Its content.
    pub content: Bytes,
    /// Media type.
    pub content_type: &'static str,
    /// Sequence number of the last event in it: the log need not be read again up to here once it is written.
    pub last_sequence_number: u64,
}

impl File {
    /// The name of the blob. `attempt` begins with 1 and rises when there is a blob of that name.
    pub fn name(&self, attempt: u32) -> String {
        match attempt {
            0 | 1 => format!("{}.{}", self.stem, self.extension),
            n => format!("{}-{n}.{}", self.stem, self.extension),
        }
    }
}

/// Events of one partition on their way to one container.
pub struct StorageBatch {
    format: String,
    is_avro: bool,
    bytes_max: u64,
    age_max: Duration,
    endpoint: Destinations,
    encoder: Encoder,
    /// Size of the events so far, before encoding.
    bytes: u64,
    began_at: Option<Timestamp>,
    last_sequence_number: u64,
}

impl StorageBatch {
    /// An empty batch. `hub` and `partition` are words of the names; `endpoint` says which enrichments count.
    ///
    /// # Errors
    /// When the encoder cannot be made.
    pub fn new(
        container: &StorageContainer,
        hub: &str,
        partition: u16,
        endpoint: Destinations,
    ) -> Result<Self, StorageError> {
        let format = container.file_name_format.replace("{iothub}", hub);
        let is_avro = !container.encoding.eq_ignore_ascii_case("json");
        Ok(Self {
            format: format.replace("{partition}", &format!("{partition:02}")),
            is_avro,
            bytes_max: container.max_chunk_size_in_bytes,
            age_max: Duration::from_secs(container.batch_frequency_in_seconds),
            endpoint,
            encoder: Encoder::new(is_avro)?,
            bytes: 0,
            began_at: None,
            last_sequence_number: 0,
        })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.began_at.is_none()
    }

    /// Adds an event.
    ///
    /// # Errors
    /// [`StorageError::Encode`]; the batch is as it was.
    pub fn push(&mut self, event: &StoredEvent, now: Timestamp) -> Result<(), StorageError> {
        let properties = event.properties_for(self.endpoint);
        match &mut self.encoder {
            Encoder::Avro(writer) => drop(writer.append_value(avro(event, properties))?),
            Encoder::Json(lines) => {
                let line = json_line(event, properties);
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
            }
        }
        self.bytes += size(event);
        self.began_at.get_or_insert(now);
        self.last_sequence_number = event.sequence_number;
        Ok(())
    }

    /// Whether it is to be taken: it is full, or old enough.
    pub fn due(&self, now: Timestamp) -> bool {
        self.began_at.is_some_and(|began| self.bytes >= self.bytes_max || now.since(began) >= self.age_max)
    }

    /// When it is old enough; none while it is empty.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.began_at.map(|began| began.plus(self.age_max))
    }

    /// Ends the file and begins an empty batch. None when there is nothing in it.
    ///
    /// # Errors
    /// [`StorageError::Encode`].
    pub fn take(&mut self, now: Timestamp) -> Result<Option<File>, StorageError> {
        if self.began_at.take().is_none() {
            return Ok(None);
        }
        self.bytes = 0;
        let (content, extension, content_type) = match std::mem::replace(&mut self.encoder, Encoder::new(self.is_avro)?)
        {
            Encoder::Avro(writer) => (writer.into_inner()?, "avro", "application/octet-stream"),
            Encoder::Json(lines) => (lines, "json", "application/json"),
        };
        Ok(Some(File {
            stem: filled(&self.format, now),
            extension,
            content: content.into(),
            content_type,
            last_sequence_number: self.last_sequence_number,
        }))
    }
}

fn filled(format: &str, now: Timestamp) -> String {
    // `2026-01-02T03:04:05…`: the words are its pieces.
    let text = now.to_string();
    let piece = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
    [("{YYYY}", 0..4), ("{MM}", 5..7), ("{DD}", 8..10), ("{HH}", 11..13), ("{mm}", 14..16)]
        .into_iter()
        .fold(format.to_owned(), |name, (word, range)| name.replace(word, &piece(range)))
}

fn size(event: &StoredEvent) -> u64 {
    let properties: usize =
        event.properties.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len)).sum();
    let system: usize = event.system.fields().iter().flatten().map(|value| value.len()).sum();
    (event.body.len() + properties + system) as u64
}

/// System properties as the reference writes them into files.
fn system_properties(event: &StoredEvent) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("connectionDeviceId", event.identity.device.to_string()),
        ("connectionDeviceGenerationId", event.generation_id.clone()),
        ("connectionAuthMethod", event.auth_method.clone()),
        ("enqueuedTime", event.enqueued_at.to_string()),
        (names::MESSAGE_SOURCE, event.source.as_str().to_owned()),
    ];
    let module = event.identity.module.as_ref().map(ToString::to_string);
    let system = &event.system;
    let text = |value: &Option<std::borrow::Cow<'_, str>>| value.as_deref().map(str::to_owned);
    let optional = [
        ("connectionModuleId", module),
        (names::DATASCHEMA, event.model_id.clone()),
        ("messageId", text(&system.message_id)),
        ("correlationId", text(&system.correlation_id)),
        ("userId", text(&system.user_id)),
        ("contentType", text(&system.content_type)),
        ("contentEncoding", text(&system.content_encoding)),
        ("creationTimeUtc", text(&system.creation_time)),
        (names::SUBJECT, text(&system.subject)),
        (names::INTERFACE_ID, text(&system.interface_id)),
    ];
    all.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    all
}

fn avro<'a>(event: &StoredEvent, properties: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Avro {
    let map = |pairs: Vec<(String, String)>| {
        Avro::Map(pairs.into_iter().map(|(name, value)| (name, Avro::String(value))).collect())
    };
    // The reference's schema has texts only.
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let properties = properties.map(|(name, value)| (name.to_owned(), text(value))).collect();
    let system = system_properties(event).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Avro::Record(vec![
        ("EnqueuedTimeUtc".into(), Avro::String(event.enqueued_at.to_string())),
        ("Properties".into(), map(properties)),
        ("SystemProperties".into(), map(system)),
        ("Body".into(), Avro::Union(1, Box::new(Avro::Bytes(event.body.to_vec())))),
    ])
}

/// One line; its body is JSON when the message says so and it is, base64 otherwise.
fn json_line<'a>(event: &StoredEvent, properties: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let properties: Map<_, _> = properties.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let system = system_properties(event).into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let head = json!({
        "EnqueuedTimeUtc": event.enqueued_at.to_string(),
        "Properties": properties,
        "SystemProperties": system.collect::<Map<_, _>>(),
    })
    .to_string();
    let body = json_body(event).unwrap_or_else(|| format!("\"{}\"", BASE64.encode(&event.body)));
    format!("{},\"Body\":{body}}}", &head[..head.len() - 1])
}

fn json_body(event: &StoredEvent) -> Option<String> {
    let media = event.system.content_type.as_deref()?.split(';').next()?.trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return None;
    }
    let text = decode(event.system.content_encoding.as_deref()?, &event.body)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&text).ok()?;
    // Line breaks in JSON are blank space: within strings they are escaped.
    Some(text.replace(['\r', '\n'], " "))
}

/// UTF-8, or UTF-16 and UTF-32 in little-endian order unless a mark says otherwise.
fn decode(encoding: &str, body: &[u8]) -> Option<String> {
    let swap = |width: usize, mark: &[u8]| {
        let is_big = body.starts_with(mark);
        let units = body.chunks_exact(width).map(move |unit| {
            let mut unit = unit.to_vec();
            if is_big {
                unit.reverse();
            }
            unit
        });
        body.len().is_multiple_of(width).then_some(units)
    };
    let text = match encoding.to_ascii_lowercase().as_str() {
        "utf-8" => std::str::from_utf8(body).ok()?.to_owned(),
        "utf-16" => {
            let units = swap(2, &[0xfe, 0xff])?.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()?
        }
        "utf-32" => {
            let units = swap(4, &[0, 0, 0xfe, 0xff])?;
            let units = units.map(|unit| char::from_u32(u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])));
            units.collect::<Option<String>>()?
        }
        _ => return None,
    };
    Some(text.trim_start_matches('\u{feff}').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    use gantry_hub::event::{MessageSource, SystemProperties};
    use gantry_hub::routing::Added;
    use gantry_identity::{DeviceId, Identity};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_678);

    fn container(encoding: &str) -> StorageContainer {
        let text = json!({ "name": "cold", "containerName": "telemetry", "encoding": encoding,
                           "batchFrequencyInSeconds": 60, "maxChunkSizeInBytes": 10 << 20 });
        serde_json::from_value(text).unwrap()
    }

    fn event(n: u64, body: &[u8], encoding: Option<&'static str>) -> StoredEvent {
        StoredEvent {
            partition: 3,
            sequence_number: n,
            enqueued_at: NOW,
            source: MessageSource::Telemetry,
            identity: Identity::device(DeviceId::parse("d1").unwrap()),
            generation_id: "7".into(),
            auth_method: "{}".into(),
            model_id: None,
            system: SystemProperties {
                content_type: encoding.map(|_| Cow::Borrowed("application/json; x=y")),
                content_encoding: encoding.map(Cow::Borrowed),
                message_id: Some("m".into()),
                ..SystemProperties::default()
            },
            properties: vec![
                ("level".into(), Some("high".into())),
                ("null".into(), None),
                ("empty".into(), Some("".into())),
            ],
            destinations: Destinations::of(2),
            added: vec![
                Added { destinations: Destinations::of(2), name: "hub".into(), value: "plant".into() },
                Added { destinations: Destinations::of(1), name: "other".into(), value: "x".into() },
            ],
            body: Bytes::copy_from_slice(body),
        }
    }

    fn batch(encoding: &str) -> StorageBatch {
        StorageBatch::new(&container(encoding), "plant", 3, Destinations::of(2)).unwrap()
    }

    fn line(body: &[u8], encoding: Option<&'static str>) -> Value {
        let mut batch = batch("json");
        batch.push(&event(1, body, encoding), NOW).unwrap();
        let file = batch.take(NOW).unwrap().unwrap();
        assert_eq!(file.content.iter().filter(|byte| **byte == b'\n').count(), 1, "one event, one line");
        serde_json::from_slice(&file.content).unwrap()
    }

    #[test]
    fn names_are_filled_in_and_never_replace_a_file() {
        let mut batch = batch("avro");
        assert_eq!(batch.take(NOW).unwrap(), None);
        batch.push(&event(41, b"x", None), NOW).unwrap();
        let file = batch.take(NOW).unwrap().unwrap();
        assert_eq!(file.name(1), "plant/03/2026/01/02/03/04.avro");
        assert_eq!(file.name(2), "plant/03/2026/01/02/03/04-2.avro");
        assert_eq!(file.last_sequence_number, 41);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_batch_is_due_by_age_or_by_size() {
        let mut batch = batch("json");
        let at = |secs: i64| Timestamp::from_millis(NOW.as_millis() + secs * 1000);
        assert!(!batch.due(at(1000)));
        batch.push(&event(1, b"x", None), NOW).unwrap();
        assert_eq!((batch.due(at(59)), batch.due(at(60))), (false, true));
        assert_eq!(batch.due_at(), Some(at(60)));
        let body = vec![0; 1 << 20];
        for n in 2..=10 {
            batch.push(&event(n, &body, None), NOW).unwrap();
            assert!(!batch.due(NOW));
        }
        batch.push(&event(11, &body, None), NOW).unwrap();
        assert!(batch.due(NOW));
    }

    #[test]
    fn a_json_body_is_json_only_when_it_says_so_and_is() {
        let body = b"{\"t\":\n 21.5}";
        let mut found = line(body, Some("utf-8"));
        assert_eq!(found["Body"], json!({ "t": 21.5 }));
        assert_eq!(found["EnqueuedTimeUtc"], "2026-01-02T03:04:05.6780000Z");
        assert_eq!(found["Properties"], json!({ "level": "high", "null": null, "empty": "", "hub": "plant" }));
        assert_eq!(found["SystemProperties"]["connectionDeviceId"], "d1");
        assert_eq!(found["SystemProperties"]["contentEncoding"], "utf-8");
        found = line(body, None);
        assert_eq!(found["Body"], BASE64.encode(body));
        assert_eq!(line(b"{no json", Some("utf-8"))["Body"], BASE64.encode("{no json"));
        assert_eq!(line(b"", Some("utf-8"))["Body"], "");
        assert_eq!(line(b"{}", Some("latin-1"))["Body"], BASE64.encode("{}"));
    }

    #[test]
    fn an_avro_file_has_an_empty_value_where_a_property_is_null_or_empty() {
        let mut batch = batch("avro");
        batch.push(&event(1, b"x", None), NOW).unwrap();
        let content = batch.take(NOW).unwrap().unwrap().content;
        let Avro::Record(fields) = apache_avro::Reader::new(&content[..]).unwrap().next().unwrap().unwrap() else {
            panic!("a record")
        };
        let Avro::Map(properties) = &fields[1].1 else { panic!("a map") };
        let text = |text: &str| Avro::String(text.to_owned());
        let expected = [("level", "high"), ("null", ""), ("empty", ""), ("hub", "plant")];
        assert_eq!(properties, &expected.map(|(name, value)| (name.to_owned(), text(value))).into());
        let Avro::Map(system) = &fields[2].1 else { panic!("a map") };
        assert_eq!((system.get("messageId"), system.get("correlationId")), (Some(&text("m")), None));
    }

    #[test]
    fn wide_encodings_are_read() {
        let text = "{\"t\":\"\u{e4}\u{1f600}\"}";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        let wide: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(line(&little, Some("UTF-16"))["Body"], expected);
        assert_eq!(line(&big, Some("utf-16"))["Body"], expected);
        assert_eq!(line(&wide, Some("utf-32"))["Body"], expected);
        assert_eq!(line(&little[1..], Some("utf-16"))["Body"], BASE64.encode(&little[1..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_event_is_in_the_file_in_order(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..40),
            is_json in any::<bool>(),
        ) {
            for encoding in ["avro", "json"] {
                let mut batch = batch(encoding);
                for (n, body) in (0..).zip(&bodies) {
                    batch.push(&event(n, body, is_json.then_some("utf-16")), NOW).unwrap();
                }
                let file = batch.take(NOW).unwrap().unwrap();
                prop_assert_eq!(file.last_sequence_number, bodies.len() as u64 - 1);
                if encoding == "json" {
                    let lines: Vec<_> = file.content.split(|byte| *byte == b'\n').collect();
                    prop_assert_eq!(lines.len(), bodies.len() + 1);
                    for (line, body) in lines.iter().zip(&bodies) {
                        let line: Value = serde_json::from_slice(line).unwrap();
                        if !is_json {
                            prop_assert_eq!(line["Body"].as_str().unwrap(), BASE64.encode(body));
                        }
                    }
                    continue;
                }
                let reader = apache_avro::Reader::new(&file.content[..]).unwrap();
                let read: Vec<_> = reader.map(|value| body_of(value.unwrap())).collect();
                prop_assert_eq!(&read, &bodies);
            }
        }
    }

    fn body_of(value: Avro) -> Vec<u8> {
        let Avro::Record(fields) = value else { panic!("a record") };
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["EnqueuedTimeUtc", "Properties", "SystemProperties", "Body"]);
        match fields.into_iter().nth(3) {
            Some((_, Avro::Union(1, body))) => match *body {
                Avro::Bytes(bytes) => bytes,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}
