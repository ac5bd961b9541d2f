//! What services are told: outcomes of their cloud-to-device messages, and uploaded files.
//!
//! Outcomes are written in the transaction that changes the queue, gathered into messages of
//! at most [`FEEDBACK_BATCH_LEN_MAX`], and wait with the notifications of files in two queues
//! (`service_queue.rs`). The JSON here is what the reference puts on the wire, over AMQP and
//! HTTP alike (service API reference, sections 9.3 and 9.4).

use std::time::Duration;

use gantry_identity::{Identity, Timestamp};
use serde_json::json;

use crate::ports::Enqueued;
use crate::queues::c2d::Ack;

/// Outcomes in one message. Source: cloud-to-device guide.
pub const FEEDBACK_BATCH_LEN_MAX: usize = 64;
/// How long an outcome waits for others. Source: cloud-to-device guide.
pub const FEEDBACK_BATCH_AGE_MAX: Duration = Duration::from_secs(15);
/// Content type of a message with outcomes; clients compare it to the letter.
pub const FEEDBACK_CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.feedback.json";
/// Content type of a message about a file.
pub const FILE_NOTIFICATION_CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.filenotification.json";

/// What became of a cloud-to-device message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The device completed it.
    Success,
    /// Nobody completed it in time.
    Expired,
    /// It was abandoned too many times.
    DeliveryCountExceeded,
    /// The device rejected it.
    Rejected,
    /// A service emptied the queue.
    Purged,
}

impl Outcome {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Expired => "Expired",
            Self::DeliveryCountExceeded => "DeliveryCountExceeded",
            Self::Rejected => "Rejected",
            Self::Purged => "Purged",
        }
    }
}

/// What must be known of a message to say what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) sequence_number: u64,
    pub(crate) delivery_count: u32,
    message_id: Option<String>,
    generation_id: String,
    ack: Ack,
}

impl Receipt {
    pub(crate) fn of(enqueued: &Enqueued) -> Self {
        Self {
            sequence_number: enqueued.sequence_number,
            delivery_count: enqueued.delivery_count,
            message_id: enqueued.message.message_id.clone(),
            generation_id: enqueued.generation_id.clone(),
            ack: enqueued.message.ack,
        }
    }

    /// The record of an outcome, when the sender wants to hear of it.
    pub(crate) fn feedback(&self, now: Timestamp, identity: &Identity, outcome: Outcome) -> Option<String> {
        if !self.ack.wants(outcome == Outcome::Success) {
            return None;
        }
        let mut record = json!({
            "originalMessageId": self.message_id.as_deref().unwrap_or_default(),
            "description": outcome.as_str(),
            "deviceGenerationId": self.generation_id,
            "deviceId": identity.device.as_str(),
            "enqueuedTimeUtc": now.to_string(),
            "statusCode": outcome.as_str(),
        });
        if let Some(module) = &identity.module {
            record["moduleId"] = module.as_str().into();
        }
        Some(record.to_string())
    }
}

/// A file a device uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNotification {
    /// Who uploaded it.
    pub identity: Identity,
    /// Where it is.
    pub blob_uri: String,
    /// Its name, which begins with the device's.
    pub blob_name: String,
    /// When it was last written.
    pub last_updated_at: Timestamp,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl FileNotification {
    pub(crate) fn document(&self, now: Timestamp) -> String {
        json!({
            "deviceId": self.identity.device.as_str(),
            "blobUri": self.blob_uri,
            "blobName": self.blob_name,
            "lastUpdatedTime": self.last_updated_at.to_string(),
            "blobSizeInBytes": self.size_bytes,
            "enqueuedTimeUtc": now.to_string(),
        })
        .to_string()
    }
}
