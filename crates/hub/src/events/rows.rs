//! Rows of streaming jobs as events: routes with the source `StreamingJobEvents` take them to endpoints, and whoever
//! follows the log sees them.

use gantry_identity::{DeviceId, Identity, Timestamp};

use crate::error::HubError;
use crate::events::event::{Event, MessageSource, StoredEvent, SystemProperties, Telemetry};
use crate::hub::Hub;
use crate::limits;
use crate::ports::Record;
use crate::routing::{Decision, Message};

/// Property that names the job an event comes from.
const JOB: &str = "job";
/// Property that names the output of the job.
const OUTPUT: &str = "output";

/// A row of a job.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The job.
    pub job: &'a str,
    /// Its output.
    pub output: &'a str,
    /// The message id: the same when the row is offered again.
    pub id: &'a str,
    /// The device it is about, if it is about one.
    pub device: Option<&'a str>,
    /// JSON.
    pub body: &'a [u8],
}

/// Where an event comes from that is a row of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The job.
    pub job: &'a str,
    /// Its output.
    pub output: &'a str,
    /// The device the row is about, which was registered then.
    pub device: Option<&'a str>,
}

impl<'a> Origin<'a> {
    /// Nothing for other events.
    pub fn of(event: &'a StoredEvent) -> Option<Self> {
        if event.source != MessageSource::StreamingJob {
            return None;
        }
        let property = |wanted: &str| {
            let found = event.properties.iter().find(|(name, _)| name == wanted);
            found.and_then(|(_, value)| value.as_deref())
        };
        // An event without a device has no generation.
        let device = (!event.generation_id.is_empty()).then(|| event.identity.device.as_str());
        Some(Self { job: property(JOB)?, output: property(OUTPUT)?, device })
    }
}

impl Hub {
    /// Appends rows to the log, in order, and waits until they are durable. A row that is about no registered device
    /// is an event of the job, by its name. How many rows were larger than a message may be and are left out.
    ///
    /// # Errors
    /// When the store or the log fails, or the name of the job cannot be that of a device; rows may be there then.
    pub async fn append_rows(&self, now: Timestamp, rows: &[Row<'_>]) -> Result<usize, HubError> {
        let table = self.routes.table();
        let mut made = Vec::with_capacity(rows.len());
        let mut too_large = 0;
        for row in rows {
            let system = SystemProperties {
                message_id: Some(row.id.into()),
                content_type: Some("application/json".into()),
                content_encoding: Some("utf-8".into()),
                ..SystemProperties::default()
            };
            let properties = [(JOB, row.job), (OUTPUT, row.output)];
            let properties = properties.map(|(name, value)| (name.into(), Some(value.into()))).into();
            let message = Telemetry { system, properties, body: row.body };
            if message.size() > limits::D2C_BYTES_MAX {
                too_large += 1;
                continue;
            }
            let record = self.about(row).await?;
            let identity = match &record {
                Some(record) => record.device.identity.clone(),
                None => Identity { device: DeviceId::parse(row.job)?, module: None },
            };
            made.push((identity, record, message));
        }
        let events: Vec<Event<'_>> = made
            .iter()
            .map(|(identity, record, message)| {
                let model_id = record.as_ref().and_then(|record| record.twin.model_id.as_deref());
                let twin = record.as_ref().filter(|_| table.uses_twin());
                let twin = twin.map(|record| record.twin_document(self.is_connected(identity)));
                let source = MessageSource::StreamingJob;
                let Decision { destinations, added } =
                    table.decide(&Message::new(source, identity, now, model_id, message, twin.as_ref()));
                Event {
                    source,
                    identity,
                    generation_id: record.as_ref().map_or("", |record| &record.device.generation_id),
                    auth_method: "",
                    model_id,
                    enqueued_at: now,
                    message,
                    destinations,
                    added: added.into(),
                }
            })
            .collect();
        if !events.is_empty() {
            self.log.ready().await;
            self.log.append(&events).await?;
        }
        Ok(too_large)
    }

    /// The record of the device that a row is about.
    async fn about(&self, row: &Row<'_>) -> Result<Option<Record>, HubError> {
        let Some(device) = row.device.and_then(|device| DeviceId::parse(device).ok()) else { return Ok(None) };
        let identity = Identity { device, module: None };
        match self.store.known(&identity) {
            Some(record) => Ok(Some(record)),
            None => Ok(self.store.record(&identity).await?),
        }
    }
}
