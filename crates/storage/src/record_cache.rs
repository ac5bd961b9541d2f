//! Records read lately, so that a twin read does not parse its row each time.
//!
//! The writer thread invalidates an identity after each commit that touched it and before the
//! caller hears of it, so whoever knows of a write also reads it. A reader that began before
//! may not put its older record back: it holds a [`Ticket`] of the state it started from.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use gantry_hub::ports::Record;
use gantry_identity::{DeviceId, Identity};
use parking_lot::Mutex;

const SHARDS: usize = 16;
/// Records one shard keeps: 8,192 in all, a few KiB each.
const SHARD_LEN_MAX: usize = 512;

#[derive(Default)]
struct Shard {
    /// Rises with every invalidation.
    epoch: u64,
    records: HashMap<Identity, Record>,
}

/// The cache. A device and its modules share a shard.
#[derive(Default)]
pub(crate) struct RecordCache {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

/// What a shard's state was when a reader began.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

impl RecordCache {
    fn shard(&self, device: &DeviceId) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(device);
        &self.shards[usize::try_from(hash % SHARDS as u64).expect("below 16")]
    }

    /// The record, or a ticket to [`put`](Self::put) it after reading it.
    pub(crate) fn get(&self, identity: &Identity) -> Result<Record, Ticket> {
        let shard = self.shard(&identity.device).lock();
        shard.records.get(identity).cloned().ok_or(Ticket(shard.epoch))
    }

    /// Keeps a record that was read after `ticket` was given, unless something was written since.
    pub(crate) fn put(&self, record: &Record, ticket: Ticket) {
        let identity = &record.device.identity;
        let mut shard = self.shard(&identity.device).lock();
        if shard.epoch != ticket.0 {
            return;
        }
        if shard.records.len() >= SHARD_LEN_MAX
            && let Some(any) = shard.records.keys().next().cloned()
        {
            shard.records.remove(&any);
        }
        shard.records.insert(identity.clone(), record.clone());
    }

    /// Forgets a device and its modules, and every read of them under way.
    pub(crate) fn invalidate(&self, device: &DeviceId) {
        let mut shard = self.shard(device).lock();
        shard.epoch += 1;
        shard.records.retain(|identity, _| identity.device != *device);
    }
}
