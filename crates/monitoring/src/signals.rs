//! Telemetry to numeric signals.
//!
//! A JSON object's numbers, nested objects flattened with dots. `timestamp` or `time` (ISO
//! 8601 or milliseconds), or the application property `iothub-creation-time-utc`, says when
//! the sample was taken; the enqueued time does otherwise. The body is read once, no tree is
//! made of it, and what is no number is passed over.

use std::fmt;
use std::ops::Range;

use gantry_hub::event::{StoredEvent, names};
use gantry_identity::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Signals read from one message; further ones are not analysed.
pub const SIGNALS_PER_MESSAGE_MAX: usize = 64;
/// Longest name of a signal in bytes.
pub const NAME_BYTES_MAX: usize = 128;
const DEPTH_MAX: usize = 4;
/// Names of times, the first that is one counts.
const TIME_NAMES: [&str; 4] = ["timestamp", "time", "ts", "Timestamp"];

/// What one message measured. Made once, and read into again and again.
#[derive(Debug, Default)]
pub struct Sample {
    at: Timestamp,
    /// All names, one after the other.
    names: String,
    values: Vec<(Range<usize>, f64)>,
    times: [Option<Timestamp>; TIME_NAMES.len()],
    /// The names of the objects around, each with its dot.
    path: String,
}

impl Sample {
    /// When it was taken.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Name and value of each signal.
    pub fn values(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(name, value)| (&self.names[name.clone()], *value))
    }

    /// Reads an event; false when it is not a JSON object with numbers.
    pub fn read(&mut self, event: &StoredEvent) -> bool {
        let property = |name: &str| event.properties.iter().find(|(k, _)| k == name).and_then(|(_, v)| v.as_deref());
        self.read_message(&event.body, property(names::CREATION_TIME), event.enqueued_at)
    }

    /// Reads the body of a message, with when it was made as its properties say, and when it was taken.
    pub fn read_message(&mut self, body: &[u8], made: Option<&str>, enqueued_at: Timestamp) -> bool {
        self.names.clear();
        self.values.clear();
        self.path.clear();
        self.times = [None; TIME_NAMES.len()];
        let begins_as_object = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        if !begins_as_object {
            return false;
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let whole = json.deserialize_map(Members { sample: self, depth: 0 }).and_then(|()| json.end());
        if whole.is_err() || self.values.is_empty() {
            return false;
        }
        let own = self.times.iter().flatten().next().copied();
        self.at = own.or_else(|| made.and_then(Timestamp::parse)).unwrap_or(enqueued_at);
        true
    }

    /// Takes a number. Of two with one name the last counts.
    fn put(&mut self, name: &str, value: f64) {
        let len = self.path.len() + name.len();
        if len > NAME_BYTES_MAX {
            return;
        }
        let (path, names) = (&self.path, &self.names);
        let is_it = |(at, _): &&mut (Range<usize>, f64)| {
            at.len() == len && names[at.clone()].starts_with(path.as_str()) && names[at.clone()].ends_with(name)
        };
        if let Some((_, before)) = self.values.iter_mut().find(is_it) {
            *before = value;
        } else if self.values.len() < SIGNALS_PER_MESSAGE_MAX {
            let from = self.names.len();
            self.names.push_str(&self.path);
            self.names.push_str(name);
            self.values.push((from..self.names.len(), value));
        }
    }
}

/// Reads the members of an object.
struct Members<'s> {
    sample: &'s mut Sample,
    depth: usize,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key_seed(Name)? {
            let time = TIME_NAMES.iter().position(|time| self.depth == 0 && *time == name);
            let member = Member { sample: &mut *self.sample, depth: self.depth, name: &name, time };
            members.next_value_seed(member)?;
        }
        Ok(())
    }
}

/// A name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = std::borrow::Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = std::borrow::Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(name.into())
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(name.to_owned().into())
    }
}

/// Reads the value of a member.
struct Member<'s> {
    sample: &'s mut Sample,
    depth: usize,
    name: &'s str,
    /// Which of the names of times it has.
    time: Option<usize>,
}

impl Member<'_> {
    fn number(self, value: f64, whole: Option<i64>) {
        match self.time {
            // Anything smaller is seconds or a counter, and not told apart.
            Some(time) => {
                self.sample.times[time] = whole.filter(|ms| *ms > 100_000_000_000).map(Timestamp::from_millis);
            }
            None => self.sample.put(self.name, value),
        }
    }

    /// A value that is no number; one of a time's name takes an earlier one's place.
    fn other(self) {
        if let Some(time) = self.time {
            self.sample.times[time] = None;
        }
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.other();
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.other();
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64, Some(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64, i64::try_from(value).ok());
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value, None);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if let Some(time) = self.time {
            self.sample.times[time] = Timestamp::parse(text);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.other();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if self.time.is_some() || self.depth >= DEPTH_MAX || self.sample.path.len() + self.name.len() > NAME_BYTES_MAX {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            self.other();
            return Ok(());
        }
        let before = self.sample.path.len();
        self.sample.path.push_str(self.name);
        self.sample.path.push('.');
        Members { sample: &mut *self.sample, depth: self.depth + 1 }.visit_map(members)?;
        self.sample.path.truncate(before);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use gantry_hub::event::{MessageSource, SystemProperties};
    use gantry_identity::Identity;

    pub(crate) fn event(device: &str, sequence_number: u64, body: &str) -> StoredEvent {
        StoredEvent {
            partition: 0,
            sequence_number,
            enqueued_at: Timestamp::from_millis(5_000),
            source: MessageSource::Telemetry,
            identity: Identity::parse(device).unwrap(),
            generation_id: "1".into(),
            auth_method: "{}".into(),
            model_id: None,
            system: SystemProperties::default(),
            properties: vec![],
            destinations: gantry_hub::routing::Destinations::BUILT_IN,
            added: vec![],
            body: body.as_bytes().to_vec().into(),
        }
    }

    fn read(body: &str) -> Option<(i64, Vec<(String, f64)>)> {
        let mut sample = Sample::default();
        // What an earlier message left behind plays no part.
        sample.read(&event("d", 0, r#"{"x": {"y": 1}, "time": 1700000000000}"#));
        let values = |sample: &Sample| sample.values().map(|(name, value)| (name.to_owned(), value)).collect();
        sample.read(&event("d", 0, body)).then(|| (sample.at().as_millis(), values(&sample)))
    }

    #[test]
    fn numbers_are_found_at_any_level_and_time_is_the_sample_s_own() {
        let body = r#"{"temperature": 20.5, "timestamp": "2026-01-01T00:00:00Z", "motor": {"rpm": 900, "on": true, "in\u006eer": {"a": -1}}, "name": "x"}"#;
        let values = [("temperature".into(), 20.5), ("motor.rpm".into(), 900.0), ("motor.inner.a".into(), -1.0)];
        assert_eq!(read(body), Some((1_767_225_600_000, values.to_vec())));
    }

    #[test]
    fn the_first_name_of_a_time_that_is_one_counts() {
        for (body, at) in [
            (r#"{"t": 1}"#, 5_000),
            (r#"{"t": 1, "time": 1700000000001, "timestamp": 1700000000002}"#, 1_700_000_000_002),
            (r#"{"t": 1, "timestamp": 17, "time": 1700000000001}"#, 1_700_000_000_001),
            (r#"{"t": 1, "timestamp": "soon", "ts": "2026-01-01T00:00:00Z"}"#, 1_767_225_600_000),
            (r#"{"t": 1, "time": 1700000000001, "time": null}"#, 5_000),
            (r#"{"t": 1, "time": 1700000000001.5, "ts": {"a": [1]}}"#, 5_000),
        ] {
            assert_eq!(read(body), Some((at, vec![("t".into(), 1.0)])), "{body}");
        }
        assert_eq!(read(r#"{"m": {"time": 3}}"#), Some((5_000, vec![("m.time".into(), 3.0)])), "of the message alone");
    }

    #[test]
    fn other_bodies_have_no_signals() {
        for body in
            ["", "x", "[1]", "{\"a\":\"b\"}", "{broken", "12", "{\"a\":1}{}", "{\"a\":1,}", " ", "{\"a\":1e999}"]
        {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn signals_of_a_message_are_bounded() {
        let many: String = (0..100).map(|n| format!("\"s{n}\":{n},")).collect();
        let (_, values) = read(&format!("{{{many}\"s1\":7}}")).unwrap();
        assert_eq!(values.len(), SIGNALS_PER_MESSAGE_MAX);
        assert_eq!(values[1], ("s1".into(), 7.0), "of two with one name the last counts");
        let long = "n".repeat(NAME_BYTES_MAX);
        assert_eq!(read(&format!(r#"{{"{long}": 1, "{long}x": 2, "{long}": {{"y": 1}}}}"#)).unwrap().1, [(long, 1.0)]);
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(read(&deep(5)).unwrap().1, [("a.a.a.a.a".into(), 1.0)]);
        assert_eq!(read(&deep(6)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_survived(body in "[\\[\\]{}:,\" a-c0-9.e\\\\-]{0,60}") {
            read(&body);
        }
    }
}
