//! The identity registry and queries over it.

use gantry_identity::{Identity, Key, KeyPair, Timestamp};
use gantry_query::{Query, Source};
use serde_json::Value;

use crate::connection::CloseReason;
use crate::device::{Authentication, AuthenticationWrite, Device, DeviceWrite, IfMatch, STATUS_REASON_LEN_MAX, Status};
use crate::error::HubError;
use crate::hub::Hub;
use crate::limits;
use crate::ports::{Counts, Presence, Record, StoreError};
use crate::twin::Twin;

/// Attempts of a read-change-write before the caller is told of contention.
pub(crate) const WRITE_ATTEMPTS: usize = 32;

/// Records fetched at once while a query looks for matches.
const SCAN_PAGE: usize = 500;

/// One page of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryPage {
    /// Whether the items are whole twins or projections.
    pub is_twin: bool,
    /// The items.
    pub items: Vec<Value>,
    /// Where the next page begins; absent on the last.
    pub continuation: Option<String>,
}

impl Hub {
    /// One identity.
    ///
    /// # Errors
    /// [`HubError::NotFound`].
    pub async fn record(&self, identity: &Identity) -> Result<Record, HubError> {
        self.store.record(identity).await?.ok_or_else(|| HubError::NotFound(identity.clone()))
    }

    /// The first devices in order of id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn devices(&self, top: usize) -> Result<Vec<Record>, HubError> {
        Ok(self.store.records(false, None, top.clamp(1, limits::DEVICE_LIST_MAX)).await?)
    }

    /// The modules of a device, in order of id (at most 50 exist, registry reference).
    ///
    /// # Errors
    /// [`HubError::NotFound`].
    pub async fn modules(&self, device: &Identity) -> Result<Vec<Record>, HubError> {
        self.record(device).await?;
        let mut modules = self.store.records(true, Some(device), limits::MODULES_MAX).await?;
        modules.retain(|record| record.device.identity.device == device.device);
        Ok(modules)
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
        if write.status_reason.as_ref().is_some_and(|r| r.chars().count() > STATUS_REASON_LEN_MAX) {
            return Err(HubError::Invalid(format!("statusReason is longer than {STATUS_REASON_LEN_MAX} characters")));
        }
        if matches!(if_match, IfMatch::Absent) {
            return self.create(now, identity, write, Twin::new()).await;
        }
        let record = self.change(identity, |record| {
            if !if_match.admits(&record.device.etag_text()) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            self.apply(now, &mut record.device, &write);
            Ok(())
        });
        let (before, after) = record.await?;
        let keys_changed = before.device.authentication != after.device.authentication;
        if after.device.status == Status::Disabled || keys_changed {
            self.connections.close(identity, CloseReason::CredentialsChanged);
        }
        Ok(after)
    }

    /// Creates an identity with its first twin.
    ///
    /// # Errors
    /// [`HubError::AlreadyExists`], or [`HubError::NotFound`] for a module without its device.
    pub async fn create(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: DeviceWrite,
        twin: Twin,
    ) -> Result<Record, HubError> {
        if identity.module.is_some() {
            self.record(&Identity::device(identity.device.clone())).await?;
        }
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
            managed_by: None,
        };
        self.apply(now, &mut device, &write);
        device.status_updated_at = Timestamp::NEVER;
        let record = Record { device, twin, revision: 1, presence: Presence::default() };
        match self.store.insert(record.clone()).await {
            Ok(()) => Ok(record),
            Err(StoreError::Conflict) => Err(HubError::AlreadyExists(identity.clone())),
            Err(error) => Err(error.into()),
        }
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
        if device.iot_edge && device.device_scope.is_none() {
            device.device_scope = Some(format!("ms-azure-iot-edge://{}-{}", device.identity.device, now.as_millis()));
        } else if !device.iot_edge {
            device.device_scope.clone_from(&write.device_scope);
        }
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

    /// Deletes an identity, its twin, its queue and its modules, and ends its connection.
    ///
    /// # Errors
    /// [`HubError::NotFound`] or [`HubError::PreconditionFailed`].
    pub async fn delete_device(&self, identity: &Identity, if_match: &IfMatch) -> Result<(), HubError> {
        for _ in 0..WRITE_ATTEMPTS {
            let record = self.record(identity).await?;
            if !if_match.admits(&record.device.etag_text()) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            match self.store.delete(identity, record.revision).await {
                Ok(()) => {
                    self.connections.close(identity, CloseReason::CredentialsChanged);
                    self.locks.release_all(identity);
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HubError::Contended(identity.clone()))
    }

    /// Reads a record, lets `change` alter it and writes it, again if another writer was quicker.
    /// Returns the record before and after.
    pub(crate) async fn change<F>(&self, identity: &Identity, mut change: F) -> Result<(Record, Record), HubError>
    where
        F: FnMut(&mut Record) -> Result<(), HubError>,
    {
        for _ in 0..WRITE_ATTEMPTS {
            let before = self.record(identity).await?;
            let mut after = before.clone();
            change(&mut after)?;
            match self.store.update(after.clone()).await {
                Ok(()) => {
                    after.revision += 1;
                    return Ok((before, after));
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HubError::Contended(identity.clone()))
    }

    /// Runs a twin query: reads its own writes, pages by id.
    ///
    /// # Errors
    /// [`HubError::Query`] names what is wrong with the text; [`HubError::NotImplemented`] for jobs.
    pub async fn query(
        &self,
        text: &str,
        page: Option<usize>,
        continuation: Option<&str>,
    ) -> Result<QueryPage, HubError> {
        let query = Query::parse(text)?;
        let modules = match query.source() {
            Source::Devices => false,
            Source::Modules => true,
            Source::Jobs => return Err(HubError::NotImplemented("queries over devices.jobs")),
        };
        let page = page.unwrap_or(100).clamp(1, limits::QUERY_PAGE_MAX);
        let mut after = continuation
            .map(|text| Identity::parse(text).map_err(|_| HubError::Invalid("continuation token is malformed".into())))
            .transpose()?;
        let mut run = query.start(page);
        loop {
            let records = self.store.records(modules, after.as_ref(), SCAN_PAGE).await?;
            let is_last = records.len() < SCAN_PAGE;
            for record in records {
                let connected = self.is_connected(&record.device.identity);
                let full = run.offer(&record.twin_document(connected));
                after = Some(record.device.identity);
                if full {
                    let continuation = after.map(|id| id.to_string());
                    return Ok(QueryPage { is_twin: query.is_whole(), items: run.finish()?, continuation });
                }
            }
            if is_last {
                return Ok(QueryPage { is_twin: query.is_whole(), items: run.finish()?, continuation: None });
            }
        }
    }
}
