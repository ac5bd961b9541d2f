//! Many registry operations in one call: what `POST /devices` and import jobs do.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use gantry_identity::{Identity, Timestamp};

use crate::error::HubError;
use crate::hub::Hub;
use crate::ports::Record;
use crate::registry::device::{AuthenticationWrite, DeviceWrite, IfMatch};
use crate::twins::twin::{Twin, TwinWrite};

/// Entries worked on at once; their writes share commits.
const CONCURRENCY: usize = 256;

/// What to do with an entry (registry REST reference, "importMode"). Modes that write the identity merge what the
/// entry says of the twin, if anything; those of the twin and of deletion look at nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ImportMode {
    /// Fails when the identity exists.
    Create,
    /// Replaces the identity; fails when there is none.
    Update,
    /// As update, when the ETag matches.
    UpdateIfMatchETag,
    /// Deletes.
    Delete,
    /// Deletes, when the ETag matches.
    DeleteIfMatchETag,
    /// Merges into the twin.
    UpdateTwin,
    /// Merges into the twin, when the twin's ETag matches.
    UpdateTwinIfMatchETag,
    /// Creates or replaces.
    #[default]
    CreateOrUpdate,
    /// Creates, or replaces when the ETag matches.
    CreateOrUpdateIfMatchETag,
}

const MODES: [(&str, ImportMode); 9] = [
    ("create", ImportMode::Create),
    ("update", ImportMode::Update),
    ("updateIfMatchETag", ImportMode::UpdateIfMatchETag),
    ("delete", ImportMode::Delete),
    ("deleteIfMatchETag", ImportMode::DeleteIfMatchETag),
    ("updateTwin", ImportMode::UpdateTwin),
    ("updateTwinIfMatchETag", ImportMode::UpdateTwinIfMatchETag),
    ("createOrUpdate", ImportMode::CreateOrUpdate),
    ("createOrUpdateIfMatchETag", ImportMode::CreateOrUpdateIfMatchETag),
];

impl ImportMode {
    /// The mode of a word, without regard to case.
    pub fn parse(word: &str) -> Option<Self> {
        MODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, mode)| *mode)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        MODES.iter().find(|(_, mode)| *mode == self).map_or("", |(word, _)| word)
    }
}

/// One identity of a bulk call.
#[derive(Clone, Debug)]
pub struct BulkEntry {
    /// Which.
    pub identity: Identity,
    /// What to do.
    pub mode: ImportMode,
    /// ETag of the identity, for the modes that compare it.
    pub etag: Option<String>,
    /// ETag of the twin, for the modes that compare it.
    pub twin_etag: Option<String>,
    /// The identity to write.
    pub device: DeviceWrite,
    /// What to write to its twin.
    pub twin: TwinWrite,
}

/// An entry that was not carried out.
#[derive(Debug)]
pub struct BulkFailure {
    /// Which.
    pub identity: Identity,
    /// What was to be done.
    pub mode: ImportMode,
    /// Why not.
    pub error: HubError,
}

/// Which keys to draw anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyKey {
    /// The first.
    Primary,
    /// The second.
    Secondary,
    /// Both.
    Both,
}

impl Hub {
    /// Carries out every entry on its own: devices first, then modules, each kind many at once.
    ///
    /// # Errors
    /// [`HubError::NamedTwice`], and then nothing is done. Entries that fail are in the list.
    pub async fn bulk(&self, now: Timestamp, entries: Vec<BulkEntry>) -> Result<Vec<BulkFailure>, HubError> {
        let mut seen = HashSet::with_capacity(entries.len());
        if let Some(twice) = entries.iter().find(|entry| !seen.insert(entry.identity.clone())) {
            return Err(HubError::NamedTwice(twice.identity.clone()));
        }
        let (modules, devices): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.identity.module.is_some());
        let mut failures = vec![];
        for kind in [devices, modules] {
            let done = stream::iter(kind).map(|entry| self.bulk_one(now, entry)).buffered(CONCURRENCY);
            failures.extend(done.filter_map(std::future::ready).collect::<Vec<_>>().await);
        }
        Ok(failures)
    }

    async fn bulk_one(&self, now: Timestamp, entry: BulkEntry) -> Option<BulkFailure> {
        let (identity, mode) = (entry.identity.clone(), entry.mode);
        self.carry_out(now, entry).await.err().map(|error| BulkFailure { identity, mode, error })
    }

    async fn carry_out(&self, now: Timestamp, entry: BulkEntry) -> Result<(), HubError> {
        let BulkEntry { identity, mode, etag, twin_etag, device, twin } = entry;
        let matching = |etag: Option<String>| etag.map_or(IfMatch::Any, |etag| IfMatch::parse(Some(&etag)));
        match mode {
            ImportMode::Create => self.create_with_twin(now, &identity, device, &twin).await.map(drop),
            ImportMode::Update | ImportMode::UpdateIfMatchETag => {
                let if_match = if mode == ImportMode::Update { IfMatch::Any } else { matching(etag) };
                self.update_with_twin(now, &identity, device, &if_match, &twin, &matching(twin_etag)).await
            }
            ImportMode::Delete => self.delete_device(now, &identity, &IfMatch::Any).await,
            ImportMode::DeleteIfMatchETag => self.delete_device(now, &identity, &matching(etag)).await,
            ImportMode::UpdateTwin => self.write_twin(now, &identity, &twin, &IfMatch::Any).await.map(drop),
            ImportMode::UpdateTwinIfMatchETag => {
                self.write_twin(now, &identity, &twin, &matching(twin_etag)).await.map(drop)
            }
            ImportMode::CreateOrUpdate | ImportMode::CreateOrUpdateIfMatchETag => {
                match self.create_with_twin(now, &identity, device.clone(), &twin).await {
                    Err(HubError::AlreadyExists(_)) => {}
                    other => return other.map(drop),
                }
                let if_match = if mode == ImportMode::CreateOrUpdate { IfMatch::Any } else { matching(etag) };
                self.update_with_twin(now, &identity, device, &if_match, &twin, &matching(twin_etag)).await
            }
        }
    }

    /// Replaces the identity and merges into its twin. The ETag of the twin, when given, counts for itself
    /// ("import and export IoT Hub device identities in bulk").
    async fn update_with_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        device: DeviceWrite,
        if_match: &IfMatch,
        twin: &TwinWrite,
        twin_if_match: &IfMatch,
    ) -> Result<(), HubError> {
        self.put_device(now, identity, device, if_match).await?;
        if !twin.is_empty() {
            self.write_twin(now, identity, twin, twin_if_match).await?;
        }
        Ok(())
    }

    async fn create_with_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        device: DeviceWrite,
        write: &TwinWrite,
    ) -> Result<Record, HubError> {
        let mut twin = Twin::new();
        if !write.is_empty() {
            twin.write(write, now)?;
        }
        self.create(now, identity, device, twin).await
    }

    /// Draws new keys for an identity that has keys, and ends its connection.
    ///
    /// # Errors
    /// [`HubError::NotFound`], or [`HubError::Invalid`] for an identity without keys.
    pub async fn regenerate_keys(
        &self,
        now: Timestamp,
        identity: &Identity,
        which: PolicyKey,
    ) -> Result<Record, HubError> {
        use crate::registry::device::Authentication::Sas;
        let drawn = self.draw_keys();
        let (_, after, ()) = self
            .change(identity, |record| {
                let Sas(keys) = &mut record.device.authentication else {
                    return Err(HubError::Invalid(format!("`{identity}` does not use keys")));
                };
                if which != PolicyKey::Secondary {
                    keys.primary = drawn.primary.clone();
                }
                if which != PolicyKey::Primary {
                    keys.secondary = drawn.secondary.clone();
                }
                record.device.etag += 1;
                Ok(())
            })
            .await?;
        self.cut(now, identity).await?;
        Ok(after)
    }
}

impl BulkEntry {
    /// An entry that only names an identity.
    pub fn new(identity: Identity, mode: ImportMode) -> Self {
        let device = DeviceWrite { authentication: AuthenticationWrite::Unchanged, ..DeviceWrite::default() };
        Self { identity, mode, etag: None, twin_etag: None, device, twin: TwinWrite::default() }
    }
}
