//! Twin operations: the rules of [`twin`](crate::twin) on stored records, with pushes to connected devices.

use gantry_identity::{Identity, Timestamp};
use serde_json::Value;

use crate::connection::{Delivery, Subscriptions};
use crate::device::IfMatch;
use crate::error::HubError;
use crate::hub::Hub;
use crate::ports::Record;
use crate::reports::TwinChange;
use crate::twin::{Object, TwinWrite};

impl Hub {
    /// Merges tags and desired properties; pushes the desired patch to a connected device.
    ///
    /// # Errors
    /// [`HubError::NotFound`], [`HubError::PreconditionFailed`] or [`HubError::Twin`].
    pub async fn patch_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: &TwinWrite,
        if_match: &IfMatch,
    ) -> Result<Record, HubError> {
        self.write_twin(now, identity, write, if_match, true).await
    }

    /// Replaces the sections that are given.
    ///
    /// # Errors
    /// As [`patch_twin`](Self::patch_twin).
    pub async fn replace_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: &TwinWrite,
        if_match: &IfMatch,
    ) -> Result<Record, HubError> {
        self.write_twin(now, identity, write, if_match, false).await
    }

    async fn write_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: &TwinWrite,
        if_match: &IfMatch,
        merge: bool,
    ) -> Result<Record, HubError> {
        let mut push = None;
        let change = if merge { TwinChange::Patched(write) } else { TwinChange::Replaced };
        let write_it = |record: &mut Record| {
            if !if_match.admits(&record.twin.etag_text()) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            push = if merge { record.twin.patch(write, now)? } else { record.twin.replace(write, now)? };
            Ok(())
        };
        let report = |after: &Record| self.report_twin_change(now, after, change);
        let (_, after) = self.change_and_report(identity, write_it, report).await?;
        if let Some(patch) = push {
            let version = after.twin.desired.version;
            self.connections.deliver(identity, Subscriptions::DESIRED, Delivery::Desired { version, patch });
        }
        Ok(after)
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
    /// [`HubError::Twin`] names the key; nothing is changed then.
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
        let report = |after: &Record| self.report_twin_change(now, after, TwinChange::Reported(patch));
        let (_, after) = self.change_and_report(identity, write_it, report).await?;
        Ok(after.twin.reported.version)
    }

    /// Notes the model id a device announced.
    ///
    /// # Errors
    /// [`HubError::NotFound`], or a store failure.
    pub async fn announce_model(&self, identity: &Identity, model_id: &str) -> Result<(), HubError> {
        if self.record(identity).await?.twin.model_id.as_deref() == Some(model_id) {
            return Ok(());
        }
        self.change(identity, |record| {
            record.twin.model_id = Some(model_id.to_owned());
            Ok(())
        })
        .await
        .map(|_| ())
    }
}
