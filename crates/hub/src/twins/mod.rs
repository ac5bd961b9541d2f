//! Twin operations: the rules of [`twin`](crate::twins::twin) on stored records, with pushes to connected devices.

pub mod digital_twin;
pub(crate) mod document;
pub mod twin;
pub(crate) mod write;

use gantry_identity::{Identity, Timestamp};
use serde_json::Value;

use crate::connections::connection::{Delivery, Subscriptions};
use crate::error::HubError;
use crate::events::reports::TwinChange;
use crate::hub::Hub;
use crate::ports::Record;
use crate::registry::device::IfMatch;
use crate::twins::twin::{Change, Object, TwinWrite};

impl Hub {
    /// Writes tags and desired properties; tells a connected device what changed for it.
    ///
    /// # Errors
    /// [`HubError::NotFound`], [`HubError::PreconditionFailed`] or [`HubError::Twin`].
    pub async fn write_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: &TwinWrite,
        if_match: &IfMatch,
    ) -> Result<Record, HubError> {
        let write_it = |record: &mut Record| {
            if !if_match.admits(&record.twin.etag_text()) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            Ok(record.twin.write(write, now)?)
        };
        let report = |after: &Record, change: &Change| self.report_twin_change(now, after, TwinChange::Written(change));
        let (_, after, change) = self.change_and_report(identity, write_it, report).await?;
        self.tell_desired(&after, &change);
        Ok(after)
    }

    /// Tells a connected device what a write changed for it.
    pub(crate) fn tell_desired(&self, after: &Record, change: &Change) {
        if let Some(patch) = after.twin.push(change) {
            let version = after.twin.desired.version;
            let delivery = Delivery::Desired { version, patch };
            self.connections.deliver(&after.device.identity, Subscriptions::DESIRED, delivery);
        }
    }

    /// What a device reads: desired and reported, without tags and metadata.
    ///
    /// # Errors
    /// [`HubError::NotFound`] when it was deleted meanwhile.
    pub async fn device_twin(&self, identity: &Identity) -> Result<Value, HubError> {
        Ok(self.record(identity).await?.twin.for_device())
    }

    /// Merges what a device reported; returns the new version of the section.
    ///
    /// # Errors
    /// [`HubError::Twin`] names the place; nothing is changed then.
    pub async fn report(&self, now: Timestamp, identity: &Identity, patch: &Object) -> Result<u64, HubError> {
        self.report_if(now, identity, patch, None).await
    }

    /// As [`report`](Self::report), if the section has the version the device knows.
    ///
    /// # Errors
    /// [`HubError::PreconditionFailed`] when it has another, and those of `report`.
    pub async fn report_if(
        &self,
        now: Timestamp,
        identity: &Identity,
        patch: &Object,
        version: Option<u64>,
    ) -> Result<u64, HubError> {
        let write_it = |record: &mut Record| {
            if version.is_some_and(|version| version != record.twin.reported.version) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            Ok(record.twin.report(patch, now).map(drop)?)
        };
        let report = |after: &Record, _: &()| self.report_twin_change(now, after, TwinChange::Reported(patch));
        let (_, after, ()) = self.change_and_report(identity, write_it, report).await?;
        Ok(after.twin.reported.version)
    }

    /// Notes the model id a device announced.
    ///
    /// # Errors
    /// [`HubError::NotFound`], or a store failure.
    pub async fn announce_model(&self, identity: &Identity, model_id: &str) -> Result<(), HubError> {
        if self.record(identity).await?.twin.model_id.as_deref() != Some(model_id) {
            let note = |record: &mut Record| {
                record.twin.model_id = Some(model_id.to_owned());
                Ok(())
            };
            self.change(identity, note).await?;
        }
        self.connections.observer().model(identity, model_id);
        Ok(())
    }
}
