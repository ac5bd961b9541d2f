//! A message as conditions see it.

use std::borrow::Cow;
use std::cell::OnceCell;

use gantry_identity::{Identity, Timestamp};
use gantry_query::{Lookup, Operand};
use serde_json::Value;

use crate::events::event::{MessageSource, Telemetry};

/// A message on its way into the log. The body is parsed when a condition first asks for it.
#[derive(Debug)]
pub struct Message<'a> {
    /// What produced it.
    pub source: MessageSource,
    /// Who it is about.
    pub identity: &'a Identity,
    /// When the hub took it.
    pub enqueued_at: Timestamp,
    /// Model id announced at connect.
    pub model_id: Option<&'a str>,
    /// The message.
    pub message: &'a Telemetry<'a>,
    /// The twin document of the device, when conditions or enrichments ask for it.
    pub twin: Option<&'a Value>,
    body: OnceCell<Option<Value>>,
}

impl<'a> Message<'a> {
    /// A message of a source.
    pub fn new(
        source: MessageSource,
        identity: &'a Identity,
        enqueued_at: Timestamp,
        model_id: Option<&'a str>,
        message: &'a Telemetry<'a>,
        twin: Option<&'a Value>,
    ) -> Self {
        Self { source, identity, enqueued_at, model_id, message, twin, body: OnceCell::new() }
    }
}

impl Lookup for Message<'_> {
    fn property(&self, name: &str) -> Operand<'_> {
        let mut properties = self.message.properties.iter().rev();
        let found = properties.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_deref().map_or(Operand::Null, Operand::from)).into()
    }

    fn system(&self, name: &str) -> Option<Cow<'_, str>> {
        let system = &self.message.system;
        let field = match name.to_ascii_lowercase().as_str() {
            "contenttype" | "content-type" => &system.content_type,
            "contentencoding" | "content-encoding" => &system.content_encoding,
            "messageid" | "message-id" => &system.message_id,
            "correlationid" | "correlation-id" => &system.correlation_id,
            "userid" | "user-id" => &system.user_id,
            "dt-subject" => &system.subject,
            "iothub-interface-id" => &system.interface_id,
            "iothub-creation-time-utc" | "creationtimeutc" => &system.creation_time,
            "outputname" | "iothub-outputname" => &system.output_name,
            "enqueuedtime" | "iothub-enqueuedtime" => return Some(self.enqueued_at.to_string().into()),
            "connectiondeviceid" | "iothub-connection-device-id" => return Some(self.identity.device.as_str().into()),
            "connectionmoduleid" | "iothub-connection-module-id" => {
                return self.identity.module.as_ref().map(|module| module.as_str().into());
            }
            "iothub-message-source" => return Some(self.source.as_str().into()),
            "dt-dataschema" => return self.model_id.map(Cow::Borrowed),
            _ => return None,
        };
        field.as_deref().map(Cow::Borrowed)
    }

    fn body(&self) -> Option<&Value> {
        self.body.get_or_init(|| parse(self.message)).as_ref()
    }

    fn twin(&self) -> Option<&Value> {
        self.twin
    }
}

/// The body as JSON, when content type and encoding say that it is (message routing query syntax).
fn parse(message: &Telemetry<'_>) -> Option<Value> {
    let content_type = message.system.content_type.as_deref()?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return None;
    }
    let encoding = message.system.content_encoding.as_deref()?.to_ascii_lowercase();
    match encoding.as_str() {
        "utf-8" => serde_json::from_slice(message.body).ok(),
        "utf-16" => {
            let units = message.body.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
            serde_json::from_str(text?.trim_start_matches('\u{feff}')).ok()
        }
        "utf-32" => {
            let units =
                message.body.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            let text: Option<String> = units.map(char::from_u32).collect();
            serde_json::from_str(text?.trim_start_matches('\u{feff}')).ok()
        }
        _ => None,
    }
}
