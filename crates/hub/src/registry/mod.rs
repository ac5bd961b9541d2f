//! The identity registry and queries over it.

pub mod bulk;
pub mod device;
pub mod export;
mod scopes;
pub(crate) mod search;

use gantry_identity::{Identity, Key, KeyPair, ModuleId, Timestamp};

use crate::connections::connection::CloseReason;
use crate::error::HubError;
use crate::events::reports::{Report, TwinChange};
use crate::hub::Hub;
use crate::limits;
use crate::ports::{Counts, Presence, Record, StoreError};
use crate::registry::device::{
    Authentication, AuthenticationWrite, Device, DeviceWrite, IfMatch, STATUS_REASON_LEN_MAX, Status,
};
use crate::twins::twin::{Change, Twin, TwinWrite};

/// Attempts of a read-change-write before the caller is told of contention.
pub(crate) const WRITE_ATTEMPTS: usize = 32;

/// Modules every edge device has.
pub(crate) const SYSTEM_MODULES: [&str; 2] = ["$edgeAgent", "$edgeHub"];
/// `managedBy` of modules the edge runtime runs.
pub(crate) const EDGE_RUNTIME: &str = "IotEdge";

impl Hub {
    /// One identity.
    ///
    /// # Errors
    /// [`HubError::NotFound`].
    pub async fn record(&self, identity: &Identity) -> Result<Record, HubError> {
        let record = self.store.record(identity).await?.ok_or_else(|| HubError::NotFound(identity.clone()))?;
        Ok(self.with_activity(record))
    }

    /// The record of a connected identity with the time it was last heard, which its connection knows.
    pub(crate) fn with_activity(&self, mut record: Record) -> Record {
        if let Some(at) = self.connections.last_activity(&record.device.identity) {
            record.presence.last_activity_at = at.max(record.presence.last_activity_at);
        }
        record
    }

    /// The first devices in order of id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn devices(&self, top: usize) -> Result<Vec<Record>, HubError> {
        let records = self.store.records(false, None, top.clamp(1, limits::DEVICE_LIST_MAX)).await?;
        Ok(records.into_iter().map(|record| self.with_activity(record)).collect())
    }

    /// The modules of a device, in order of id (at most 50 exist, registry reference).
    ///
    /// # Errors
    /// [`HubError::NotFound`].
    pub async fn modules(&self, device: &Identity) -> Result<Vec<Record>, HubError> {
        self.record(device).await?;
        let modules = self.store.modules_of(&device.device, limits::MODULES_MAX).await?;
        Ok(modules.into_iter().map(|record| self.with_activity(record)).collect())
    }

    /// Totals.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn counts(&self) -> Result<Counts, HubError> {
        Ok(self.store.counts().await?)
    }

    /// Creates an identity (no `If-Match`) or replaces what a service may write of it.
    ///
    /// # Errors
    /// [`HubError::AlreadyExists`], [`HubError::NotFound`], [`HubError::PreconditionFailed`], or a bad argument.
    pub async fn put_device(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: DeviceWrite,
        if_match: &IfMatch,
    ) -> Result<Record, HubError> {
        check_reason(&write)?;
        check_not_system(identity)?;
        if matches!(if_match, IfMatch::Absent) {
            return self.create(now, identity, write, Twin::new()).await;
        }
        let old = self.record(identity).await?;
        let own_scope = old.device.device_scope.as_deref().filter(|_| old.device.iot_edge);
        let scopes = self.scopes(now, identity, &write, own_scope).await?;
        let write_it = |record: &mut Record| {
            if !if_match.admits(&record.device.etag_text()) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            let before = record.device.status;
            self.apply(now, &mut record.device, &write);
            scopes.clone().put(&mut record.device);
            Ok(before != record.device.status)
        };
        let report = |after: &Record, is_other: &bool| self.report_status_if(*is_other, now, after);
        let (before, after, _) = self.change_and_report(identity, write_it, report).await?;
        self.match_system_modules(now, &before, &after).await?;
        let keys_changed = before.device.authentication != after.device.authentication;
        if after.device.status == Status::Disabled || keys_changed {
            self.cut(now, identity).await?;
        }
        Ok(after)
    }

    /// Replaces what a service may write of an identity and writes its twin, both or neither, if both are as they were
    /// read: their etags in this order.
    ///
    /// # Errors
    /// [`HubError::PreconditionFailed`] when either was changed since; [`HubError::NotFound`], or a bad argument.
    pub async fn put_device_with_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: &DeviceWrite,
        twin: &TwinWrite,
        (device_etag, twin_etag): (&str, &str),
    ) -> Result<Record, HubError> {
        check_reason(write)?;
        check_not_system(identity)?;
        let old = self.record(identity).await?;
        let own_scope = old.device.device_scope.as_deref().filter(|_| old.device.iot_edge);
        let scopes = self.scopes(now, identity, write, own_scope).await?;
        let write_it = |record: &mut Record| {
            if record.device.etag_text() != device_etag || record.twin.etag_text() != twin_etag {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            let before = record.device.status;
            self.apply(now, &mut record.device, write);
            scopes.clone().put(&mut record.device);
            Ok((record.twin.write(twin, now)?, before != record.device.status))
        };
        let report = |after: &Record, (change, is_other): &(Change, bool)| {
            let mut reports = self.report_twin_change(now, after, TwinChange::Written(change));
            reports.extend(self.report_status_if(*is_other, now, after));
            reports
        };
        let (before, after, (change, _)) = self.change_and_report(identity, write_it, report).await?;
        self.tell_desired(&after, &change);
        self.match_system_modules(now, &before, &after).await?;
        if after.device.status == Status::Disabled || before.device.authentication != after.device.authentication {
            self.cut(now, identity).await?;
        }
        Ok(after)
    }

    /// Creates an identity with its first twin; an edge device with its system modules.
    ///
    /// # Errors
    /// [`HubError::AlreadyExists`], [`HubError::NotFound`] for a module without its device,
    /// [`HubError::TooManyModules`] or [`HubError::Scope`].
    pub async fn create(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: DeviceWrite,
        twin: Twin,
    ) -> Result<Record, HubError> {
        check_reason(&write)?;
        check_not_system(identity)?;
        let scopes = self.scopes(now, identity, &write, None).await?;
        let mut record = self.new_record(now, identity, &write, twin);
        scopes.put(&mut record.device);
        let mut all = vec![record.clone()];
        if record.device.iot_edge {
            all.extend(self.system_modules(now, identity));
        }
        let reports = self.report_lifecycle(now, &all, true);
        match self.store.insert(all, reports).await {
            Ok(()) => {
                self.configurations.note_record(identity);
                Ok(record)
            }
            Err(StoreError::Conflict) => Err(HubError::AlreadyExists(identity.clone())),
            Err(StoreError::Missing) => Err(HubError::NotFound(Identity::device(identity.device.clone()))),
            Err(StoreError::Full) => Err(HubError::TooManyModules(Identity::device(identity.device.clone()))),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn new_record(&self, now: Timestamp, identity: &Identity, write: &DeviceWrite, twin: Twin) -> Record {
        let mut device = Device {
            identity: identity.clone(),
            generation_id: (self.random_id() >> 1).to_string(),
            etag: self.random_id() >> 32,
            status: write.status,
            status_reason: None,
            status_updated_at: Timestamp::NEVER,
            authentication: Authentication::None,
            iot_edge: false,
            device_scope: None,
            parent_scopes: vec![],
            managed_by: None,
        };
        self.apply(now, &mut device, write);
        Record { device, twin, revision: 1, presence: Presence::default() }
    }

    fn system_modules(&self, now: Timestamp, device: &Identity) -> Vec<Record> {
        let write = DeviceWrite { managed_by: Some(EDGE_RUNTIME.to_owned()), ..DeviceWrite::default() };
        let module = |id: &str| {
            let module = ModuleId::parse(id).expect("an id of ours");
            self.new_record(now, &Identity { module: Some(module), ..device.clone() }, &write, Twin::new())
        };
        SYSTEM_MODULES.map(module).into()
    }

    /// A device that becomes an edge device gets its system modules; one that is none any more loses them.
    async fn match_system_modules(&self, now: Timestamp, before: &Record, after: &Record) -> Result<(), HubError> {
        if before.device.iot_edge == after.device.iot_edge {
            return Ok(());
        }
        let device = &after.device.identity;
        for module in self.system_modules(now, device) {
            let id = module.device.identity.clone();
            if after.device.iot_edge {
                let reports = self.report_lifecycle(now, std::slice::from_ref(&module), true);
                match self.store.insert(vec![module], reports).await {
                    Ok(()) | Err(StoreError::Conflict) => {}
                    Err(StoreError::Full) => return Err(HubError::TooManyModules(device.clone())),
                    Err(error) => return Err(error.into()),
                }
            } else if self.store.record(&id).await?.is_some() {
                self.delete_record(now, &id, &IfMatch::Any).await?;
            }
        }
        Ok(())
    }

    fn apply(&self, now: Timestamp, device: &mut Device, write: &DeviceWrite) {
        device.etag += 1;
        if device.status != write.status {
            device.status_updated_at = now;
        }
        device.status = write.status;
        device.status_reason.clone_from(&write.status_reason);
        device.iot_edge = write.iot_edge;
        device.managed_by.clone_from(&write.managed_by);
        device.authentication = match &write.authentication {
            AuthenticationWrite::Unchanged => match &device.authentication {
                Authentication::None => Authentication::Sas(self.draw_keys()),
                kept => kept.clone(),
            },
            AuthenticationWrite::Sas(Some(keys)) => Authentication::Sas(keys.clone()),
            AuthenticationWrite::Sas(None) => match &device.authentication {
                Authentication::Sas(keys) => Authentication::Sas(keys.clone()),
                _ => Authentication::Sas(self.draw_keys()),
            },
            AuthenticationWrite::SelfSigned { primary, secondary } => {
                Authentication::SelfSigned { primary: primary.clone(), secondary: secondary.clone() }
            }
            AuthenticationWrite::CertificateAuthority => Authentication::CertificateAuthority,
            AuthenticationWrite::None => Authentication::None,
        };
    }

    /// Two fresh keys.
    pub fn draw_keys(&self) -> KeyPair {
        let draw = || {
            let mut bytes = [0; 32];
            self.entropy.fill(&mut bytes);
            Key::from_bytes(bytes)
        };
        KeyPair { primary: draw(), secondary: draw() }
    }

    /// Deletes an identity, its twin, its queue and its modules, and ends their connections.
    ///
    /// # Errors
    /// [`HubError::NotFound`], [`HubError::PreconditionFailed`] or [`HubError::SystemModule`].
    pub async fn delete_device(&self, now: Timestamp, identity: &Identity, if_match: &IfMatch) -> Result<(), HubError> {
        check_not_system(identity)?;
        self.delete_record(now, identity, if_match).await
    }

    pub(crate) async fn delete_record(
        &self,
        now: Timestamp,
        identity: &Identity,
        if_match: &IfMatch,
    ) -> Result<(), HubError> {
        for _ in 0..WRITE_ATTEMPTS {
            let record = self.record(identity).await?;
            if !if_match.admits(&record.device.etag_text()) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            let family = self.family(identity).await?;
            let reports = self.report_lifecycle(now, std::slice::from_ref(&record), false);
            match self.store.delete(identity, record.revision, reports).await {
                Ok(()) => {
                    for gone in &family {
                        self.connections.close(gone, CloseReason::CredentialsChanged);
                        self.streams.close_of(gone);
                        self.queues.locks.release_all(gone);
                    }
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HubError::Contended(identity.to_string()))
    }

    /// An identity and, for a device, its modules.
    async fn family(&self, identity: &Identity) -> Result<Vec<Identity>, HubError> {
        let mut all = vec![identity.clone()];
        if identity.module.is_none() {
            all.extend(self.modules(identity).await?.into_iter().map(|record| record.device.identity));
        }
        Ok(all)
    }

    /// Ends the connection and the streams of an identity and, for a device, those of its modules.
    pub(crate) async fn cut(&self, now: Timestamp, identity: &Identity) -> Result<(), HubError> {
        for one in self.family(identity).await? {
            self.streams.close_of(&one);
            if self.connections.close(&one, CloseReason::CredentialsChanged) {
                self.queues.locks.release_all(&one);
                self.note_gone(now, &one);
            }
        }
        Ok(())
    }

    /// As [`change_and_report`](Self::change_and_report), with nothing to report.
    pub(crate) async fn change<T>(
        &self,
        identity: &Identity,
        change: impl FnMut(&mut Record) -> Result<T, HubError>,
    ) -> Result<(Record, Record, T), HubError> {
        self.change_and_report(identity, change, |_, _| vec![]).await
    }

    /// Reads a record, lets `change` alter it and writes it, again if another writer was quicker, together with what
    /// `report` makes of it. Returns the record before and after, and what `change` says of it. Device management
    /// looks at it afterwards.
    pub(crate) async fn change_and_report<T>(
        &self,
        identity: &Identity,
        change: impl FnMut(&mut Record) -> Result<T, HubError>,
        report: impl Fn(&Record, &T) -> Vec<Report>,
    ) -> Result<(Record, Record, T), HubError> {
        let changed = self.change_quietly(identity, change, report).await?;
        self.configurations.note_record(identity);
        if identity.module.is_some() {
            // What is deployed on a module belongs to its device's deployments.
            self.configurations.note_record(&Identity::device(identity.device.clone()));
        }
        Ok(changed)
    }

    /// As [`change_and_report`](Self::change_and_report), for management itself: nothing is noted.
    pub(crate) async fn change_quietly<T>(
        &self,
        identity: &Identity,
        mut change: impl FnMut(&mut Record) -> Result<T, HubError>,
        report: impl Fn(&Record, &T) -> Vec<Report>,
    ) -> Result<(Record, Record, T), HubError> {
        for _ in 0..WRITE_ATTEMPTS {
            let before = self.record(identity).await?;
            let mut after = before.clone();
            let changed = change(&mut after)?;
            match self.store.update(after.clone(), report(&after, &changed)).await {
                Ok(()) => {
                    after.revision += 1;
                    return Ok((before, after, changed));
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HubError::Contended(identity.to_string()))
    }
}

fn check_reason(write: &DeviceWrite) -> Result<(), HubError> {
    if write.status_reason.as_ref().is_some_and(|reason| reason.chars().count() > STATUS_REASON_LEN_MAX) {
        return Err(HubError::Invalid(format!("statusReason is longer than {STATUS_REASON_LEN_MAX} characters")));
    }
    Ok(())
}

/// The edge runtime's own modules come and go with their device.
fn check_not_system(identity: &Identity) -> Result<(), HubError> {
    match &identity.module {
        Some(module) if SYSTEM_MODULES.contains(&module.as_str()) => Err(HubError::SystemModule(identity.clone())),
        _ => Ok(()),
    }
}
