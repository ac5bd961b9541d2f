//! A container of files as an endpoint: one partition's events, gathered into files.

use std::pin::Pin;

use gantry_blobs::{BlobError, ContainerName, Place};
use gantry_endpoints::Sink;
use gantry_endpoints::storage::{File, StorageBatch};
use gantry_hub::delivery::DeliveryError;
use gantry_hub::event::StoredEvent;
use gantry_identity::Timestamp;
use tracing::error;

/// Names tried for a file before the next attempt: each minute has one name, and a restart may meet its own files.
const NAMES_MAX: u32 = 1_000;

/// Gathers and writes files.
pub(super) struct Container {
    batch: StorageBatch,
    place: Place,
    /// A file that is not written yet.
    file: Option<File>,
}

impl Container {
    pub(super) fn new(batch: StorageBatch, place: Place) -> Self {
        Self { batch, place, file: None }
    }

    async fn write(&mut self, now: Timestamp) -> Result<(), DeliveryError> {
        if self.file.is_none() {
            self.file = self.batch.take(now).map_err(|error| DeliveryError::Never(error.to_string()))?;
        }
        let Some(file) = &self.file else { return Ok(()) };
        if let Place::Own(blobs, name) = &self.place {
            make(blobs, name, now).await.map_err(|error| DeliveryError::Again(error.to_string()))?;
        }
        for attempt in 1..=NAMES_MAX {
            match self.place.create(&file.name(attempt), file.content.clone(), file.content_type, now).await {
                Ok(()) => {
                    self.file = None;
                    return Ok(());
                }
                Err(BlobError::BlobExists) => {}
                Err(error) => return Err(DeliveryError::Again(error.to_string())),
            }
        }
        Err(DeliveryError::Again("every name of this minute is taken".into()))
    }
}

/// Makes a container of ours when it is missing.
async fn make(blobs: &gantry_blobs::Blobs, name: &ContainerName, now: Timestamp) -> Result<(), BlobError> {
    match blobs.create_container(name, Vec::new(), now).await {
        Ok(_) | Err(BlobError::ContainerExists) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Sink for Container {
    fn push(&mut self, now: Timestamp, event: StoredEvent) {
        if let Err(error) = self.batch.push(&event, now) {
            error!(%error, sequence_number = event.sequence_number, "event cannot be written to a file");
            metrics::counter!("gantry_routing_dropped").increment(1);
        }
    }

    fn has_room(&self) -> bool {
        self.file.is_none()
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.file.is_some() || self.batch.due(now)
    }

    fn flush(&mut self, now: Timestamp) -> Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + '_>> {
        Box::pin(self.write(now))
    }
}
