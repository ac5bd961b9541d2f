//! Requests to `$cbs` and `$management`, and their answers.

use gantry_amqp::{Array, Body, Message, MessageId, Properties, Value};
use gantry_hub::ports::{EventSource, PartitionState};
use tracing::error;

use super::event::last_enqueued;

/// Operation that presents a token.
const PUT_TOKEN: &str = "put-token";
const READ: &str = "READ";
const EVENT_HUB: &str = "com.microsoft:eventhub";
const PARTITION: &str = "com.microsoft:partition";

/// The answer to a request.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: i32,
    pub(super) description: String,
    /// Condition of a failure.
    pub(super) condition: Option<&'static str>,
    pub(super) body: Body,
}

impl Answer {
    pub(super) fn ok(body: Body) -> Self {
        Self { status: 200, description: "OK".into(), condition: None, body }
    }

    pub(super) fn failed(status: i32, condition: &'static str, description: impl Into<String>) -> Self {
        Self { status, description: description.into(), condition: Some(condition), body: Body::Empty }
    }

    /// Appends the encoded message; the correlation id keeps the type of the request's message id.
    pub(super) fn encode(self, request: Option<MessageId>) -> Vec<u8> {
        let mut application_properties = vec![
            ("status-code".into(), Value::Int(self.status)),
            ("status-description".into(), self.description.into()),
        ];
        if let Some(condition) = self.condition {
            application_properties.push(("error-condition".into(), Value::Symbol(condition.into())));
        }
        let message = Message {
            properties: Some(Properties { correlation_id: request, ..Properties::default() }),
            application_properties,
            body: if self.body == Body::Empty { Body::Value(Value::Null) } else { self.body },
            ..Message::default()
        };
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }
}

/// A token somebody presents.
#[derive(Debug, PartialEq)]
pub(super) struct PutToken {
    /// What it is for, in the client's words.
    pub(super) audience: String,
    /// The token.
    pub(super) token: String,
}

/// Reads a request to `$cbs`.
pub(super) fn put_token(request: &Message) -> Result<PutToken, Answer> {
    let bad = |text: &str| Answer::failed(400, "amqp:invalid-field", text);
    let property = |name| request.application_property(name).and_then(Value::as_str);
    if property("operation") != Some(PUT_TOKEN) {
        return Err(bad("the only operation is put-token"));
    }
    let audience = property("name").ok_or_else(|| bad("property `name` is missing"))?.to_owned();
    let body = request.body.to_bytes().unwrap_or_default();
    let token = String::from_utf8(body.to_vec()).map_err(|_| bad("the token is not text"))?;
    Ok(PutToken { audience, token })
}

/// What a request to `$management` asks about.
pub(super) enum Question {
    /// An endpoint.
    EventHub(String),
    /// A partition of one.
    Partition(String, String),
}

/// Reads a request to `$management`, about an endpoint of `entities`.
pub(super) fn question(request: &Message, mut entities: impl Iterator<Item = String>) -> Result<Question, Answer> {
    let property = |name| request.application_property(name).and_then(Value::as_str);
    if property("operation") != Some(READ) {
        return Err(Answer::failed(400, "amqp:not-implemented", "the only operation is READ"));
    }
    let name = property("name").unwrap_or_default();
    let entity = entities.find(|known| known.eq_ignore_ascii_case(name)).ok_or_else(|| not_found(name))?;
    match property("type") {
        Some(EVENT_HUB) => Ok(Question::EventHub(entity)),
        Some(PARTITION) => Ok(Question::Partition(entity, property("partition").unwrap_or_default().to_owned())),
        _ => Err(Answer::failed(400, "com.microsoft:argument-error", "the type is unknown")),
    }
}

/// Answers it.
pub(super) async fn answer(question: &Question, events: &dyn EventSource) -> Answer {
    let (entity, id) = match question {
        Question::EventHub(entity) => return Answer::ok(Body::Value(event_hub(entity, events))),
        Question::Partition(entity, id) => (entity, id),
    };
    let found = match partition_number(id) {
        Some(number) => events.partition(number).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(state)) => Answer::ok(Body::Value(partition(entity, id, &state))),
        Ok(None) => not_found(&format!("{entity}/Partitions/{id}")),
        Err(error) => {
            error!(partition = id, %error, "a partition cannot be looked at");
            Answer::failed(500, "amqp:internal-error", "internal error")
        }
    }
}

fn not_found(entity: &str) -> Answer {
    let text = format!("The messaging entity '{entity}' could not be found.");
    Answer::failed(404, "amqp:not-found", text)
}

fn event_hub(entity: &str, events: &dyn EventSource) -> Value {
    let partitions = events.partitions();
    let ids = (0..partitions).map(|id| id.to_string());
    Value::Map(vec![
        ("name".into(), entity.into()),
        ("type".into(), EVENT_HUB.into()),
        ("created_at".into(), Value::Timestamp(events.created_at().as_millis())),
        ("partition_count".into(), Value::Int(partitions.into())),
        ("partition_ids".into(), Value::Array(Array::of_strings(ids))),
        ("georeplication_factor".into(), Value::Int(1)),
    ])
}

fn partition(entity: &str, id: &str, state: &PartitionState) -> Value {
    let (last, at) = last_enqueued(state);
    let begin = i64::try_from(state.begin).unwrap_or(i64::MAX);
    Value::Map(vec![
        ("name".into(), entity.into()),
        ("type".into(), PARTITION.into()),
        ("partition".into(), id.into()),
        ("begin_sequence_number".into(), Value::Long(begin)),
        ("last_enqueued_sequence_number".into(), Value::Long(last)),
        ("last_enqueued_offset".into(), last.to_string().into()),
        ("last_enqueued_time_utc".into(), Value::Timestamp(at.as_millis())),
        ("is_partition_empty".into(), state.is_empty.into()),
        ("begin_sequence_number_epoch".into(), Value::Int(0)),
        ("last_enqueued_sequence_number_epoch".into(), Value::Int(0)),
    ])
}

/// The number of a partition from its name, which has one spelling only.
pub(super) fn partition_number(id: &str) -> Option<u16> {
    let number: u16 = id.parse().ok()?;
    (number.to_string() == id).then_some(number)
}
