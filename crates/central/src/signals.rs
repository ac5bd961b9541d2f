//! Telemetry to numeric signals.
//!
//! A JSON object's numbers, nested objects flattened with dots. `timestamp` or `time` (ISO
//! 8601 or milliseconds), or the application property `iothub-creation-time-utc`, says when
//! the sample was taken; the enqueued time does otherwise.

use gantry_hub::event::{StoredEvent, names};
use gantry_identity::Timestamp;
use serde_json::Value;

/// Signals read from one message; further ones are not analysed.
pub const SIGNALS_PER_MESSAGE_MAX: usize = 64;
/// Longest name of a signal in bytes.
pub const NAME_BYTES_MAX: usize = 128;
const DEPTH_MAX: usize = 4;
const TIME_NAMES: [&str; 4] = ["timestamp", "time", "ts", "Timestamp"];

/// What one message measured.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// Name and value of each signal.
    pub values: Vec<(String, f64)>,
}

/// Reads a message; `None` when it is not a JSON object with numbers.
pub fn read(event: &StoredEvent) -> Option<Sample> {
    if event.body.first().is_none_or(|b| *b != b'{' && !b.is_ascii_whitespace()) {
        return None;
    }
    let body: Value = serde_json::from_slice(&event.body).ok()?;
    let mut values = vec![];
    flatten(&body, "", 0, &mut values);
    if values.is_empty() {
        return None;
    }
    let property = |name: &str| event.properties.iter().find(|(k, _)| k == name).and_then(|(_, v)| v.as_deref());
    let at = TIME_NAMES
        .iter()
        .find_map(|name| instant(body.get(name)?))
        .or_else(|| property(names::CREATION_TIME).and_then(Timestamp::parse))
        .unwrap_or(event.enqueued_at);
    Some(Sample { at, values })
}

fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => Timestamp::parse(text),
        // Anything smaller is seconds or a counter, and not told apart.
        Value::Number(n) => n.as_i64().filter(|ms| *ms > 100_000_000_000).map(Timestamp::from_millis),
        _ => None,
    }
}

fn flatten(value: &Value, prefix: &str, depth: usize, values: &mut Vec<(String, f64)>) {
    let Value::Object(object) = value else { return };
    for (key, value) in object {
        if depth == 0 && TIME_NAMES.contains(&key.as_str()) {
            continue;
        }
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if values.len() >= SIGNALS_PER_MESSAGE_MAX || name.len() > NAME_BYTES_MAX {
            continue;
        }
        match value {
            Value::Number(number) => values.extend(number.as_f64().map(|number| (name, number))),
            Value::Object(_) if depth < DEPTH_MAX => flatten(value, &name, depth + 1, values),
            _ => {}
        }
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

    #[test]
    fn numbers_are_found_at_any_level_and_time_is_the_sample_s_own() {
        let body = r#"{"temperature": 20.5, "timestamp": "2026-01-01T00:00:00Z", "motor": {"rpm": 900, "on": true}, "name": "x"}"#;
        let sample = read(&event("d", 0, body)).unwrap();
        assert_eq!(sample.values, [("temperature".into(), 20.5), ("motor.rpm".into(), 900.0)]);
        assert_eq!(sample.at.as_millis(), 1_767_225_600_000);
    }

    #[test]
    fn without_a_time_the_enqueued_time_counts() {
        assert_eq!(read(&event("d", 0, r#"{"t": 1}"#)).unwrap().at.as_millis(), 5_000);
    }

    #[test]
    fn other_bodies_have_no_signals() {
        for body in ["", "x", "[1]", "{\"a\":\"b\"}", "{broken", "12"] {
            assert_eq!(read(&event("d", 0, body)), None, "{body}");
        }
    }

    #[test]
    fn signals_of_a_message_are_bounded() {
        let many: String = (0..100).map(|n| format!("\"s{n}\":{n},")).collect();
        let sample = read(&event("d", 0, &format!("{{{}\"last\":1}}", many))).unwrap();
        assert_eq!(sample.values.len(), SIGNALS_PER_MESSAGE_MAX);
    }
}
