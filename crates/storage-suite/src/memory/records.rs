//! Identities and twins.

use gantry_hub::device::Status;
use gantry_hub::limits::MODULES_MAX;
use gantry_hub::ports::{Counts, PortFuture, Presence, Record, Search, Store, StoreError};
use gantry_hub::reports::Report;
use gantry_identity::{DeviceId, Identity, Timestamp};

use super::{Memory, State, is_after};

/// What connections wrote of an identity.
#[derive(Clone, Copy)]
pub(super) struct Noted {
    updated_at: Timestamp,
    last_activity_at: Timestamp,
    subscriptions: u8,
}

impl State {
    /// A record as it is read: with what connections and queues made of it.
    fn read(&self, record: &Record) -> Record {
        let identity = &record.device.identity;
        let noted = self.presence.get(identity).map_or_else(Presence::default, |noted| Presence {
            updated_at: noted.updated_at,
            last_activity_at: noted.last_activity_at,
            subscriptions: noted.subscriptions,
            c2d_count: 0,
        });
        let waiting = self.c2d.values().filter(|waiting| waiting.identity == *identity).count();
        let c2d_count = u32::try_from(waiting).unwrap_or(u32::MAX);
        Record { presence: Presence { c2d_count, ..noted }, ..record.clone() }
    }

    fn of_kind(&self, modules: bool) -> impl Iterator<Item = (&Identity, &Record)> {
        self.records.iter().filter(move |(identity, _)| identity.module.is_some() == modules)
    }

    fn modules(&self, device: &DeviceId) -> impl Iterator<Item = (&Identity, &Record)> {
        self.of_kind(true).filter(move |(identity, _)| identity.device == *device)
    }

    /// Whether a record may be made after others of the same call.
    fn check_room(&self, record: &Record, before: &[Record]) -> Result<(), StoreError> {
        let identity = &record.device.identity;
        if self.records.contains_key(identity) {
            return Err(StoreError::Conflict);
        }
        let device = Identity::device(identity.device.clone());
        if identity.module.is_none() || before.iter().any(|made| made.device.identity == device) {
            return Ok(());
        }
        if !self.records.contains_key(&device) {
            return Err(StoreError::Missing);
        }
        if self.modules(&identity.device).count() >= MODULES_MAX { Err(StoreError::Full) } else { Ok(()) }
    }

    fn record_at(&mut self, identity: &Identity, revision: u64) -> Result<&mut Record, StoreError> {
        let found = self.records.get_mut(identity).filter(|stored| stored.revision == revision);
        found.ok_or(StoreError::Conflict)
    }
}

impl Memory {
    fn write<'a>(
        &'a self,
        reports: Vec<Report>,
        work: impl FnOnce(&mut State) -> Result<(), StoreError> + Send + 'a,
    ) -> PortFuture<'a, (), StoreError> {
        self.run(move |state| {
            work(state)?;
            if !reports.is_empty() {
                state.outbox.extend(reports);
                self.reports.notify_one();
            }
            Ok(())
        })
    }
}

impl Store for Memory {
    fn record<'a>(&'a self, identity: &'a Identity) -> PortFuture<'a, Option<Record>, StoreError> {
        self.run(|state| Ok(state.records.get(identity).map(|record| state.read(record))))
    }

    fn known(&self, identity: &Identity) -> Option<Record> {
        let state = self.state.lock();
        state.records.get(identity).map(|record| state.read(record))
    }

    fn records<'a>(
        &'a self,
        modules: bool,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Record>, StoreError> {
        self.run(move |state| {
            let page = state.of_kind(modules).filter(|(identity, _)| is_after(*identity, after)).take(limit);
            Ok(page.map(|(_, record)| state.read(record)).collect())
        })
    }

    fn modules_of<'a>(&'a self, device: &'a DeviceId, limit: usize) -> PortFuture<'a, Vec<Record>, StoreError> {
        self.run(move |state| Ok(state.modules(device).take(limit).map(|(_, record)| state.read(record)).collect()))
    }

    fn find(&self, search: Search, after: Option<Identity>, limit: usize) -> PortFuture<'_, Vec<Record>, StoreError> {
        self.run(move |state| {
            let all = state.of_kind(search.modules).filter(|(identity, _)| is_after(*identity, after.as_ref()));
            Ok(all.take(limit).map(|(_, record)| state.read(record)).collect())
        })
    }

    fn count(&self, search: Search) -> PortFuture<'_, Option<u64>, StoreError> {
        let is_told = search.constraints.is_empty();
        self.run(move |state| Ok(is_told.then(|| state.of_kind(search.modules).count() as u64)))
    }

    fn insert<'a>(&'a self, records: Vec<Record>, reports: Vec<Report>) -> PortFuture<'a, (), StoreError> {
        self.write(reports, move |state| {
            for (number, record) in records.iter().enumerate() {
                state.check_room(record, &records[..number])?;
            }
            state.records.extend(records.into_iter().map(|record| (record.device.identity.clone(), record)));
            Ok(())
        })
    }

    fn update<'a>(&'a self, record: Record, reports: Vec<Report>) -> PortFuture<'a, (), StoreError> {
        self.write(reports, move |state| {
            let stored = state.record_at(&record.device.identity, record.revision)?;
            *stored = Record { revision: record.revision + 1, ..record };
            Ok(())
        })
    }

    fn delete<'a>(
        &'a self,
        identity: &'a Identity,
        revision: u64,
        reports: Vec<Report>,
    ) -> PortFuture<'a, (), StoreError> {
        self.write(reports, move |state| {
            state.record_at(identity, revision)?;
            // A device goes with its modules.
            let goes = |one: &Identity| one == identity || identity.module.is_none() && one.device == identity.device;
            state.records.retain(|one, _| !goes(one));
            state.presence.retain(|one, _| !goes(one));
            state.c2d.retain(|_, waiting| !goes(&waiting.identity));
            Ok(())
        })
    }

    fn managed_by<'a>(
        &'a self,
        configuration: &'a str,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Identity>, StoreError> {
        self.run(move |state| {
            let targeted = state.records.iter().filter(|(identity, record)| {
                record.twin.managed.configurations.contains_key(configuration) && is_after(*identity, after)
            });
            Ok(targeted.take(limit).map(|(identity, _)| identity.clone()).collect())
        })
    }

    fn managed_counts<'a>(&'a self, configuration: &'a str) -> PortFuture<'a, (u64, u64), StoreError> {
        self.run(move |state| {
            let status = |identity: &Identity| {
                state.records.get(identity)?.twin.managed.configurations.get(configuration).copied()
            };
            // What is noted on an agent too counts once.
            let is_counted = |identity: &Identity| {
                let is_agent = identity.module.as_ref().is_some_and(|module| module.as_str() == "$edgeAgent");
                !(is_agent && status(&Identity::device(identity.device.clone())).is_some())
            };
            let all = state.records.keys().filter(|identity| is_counted(identity)).filter_map(status);
            Ok(all.fold((0, 0), |(targeted, applied), is_applied| (targeted + 1, applied + u64::from(is_applied))))
        })
    }

    fn managed_by_any(&self) -> PortFuture<'_, Vec<String>, StoreError> {
        self.run(|state| {
            let all = state.records.values().flat_map(|record| record.twin.managed.configurations.keys().cloned());
            Ok(all.collect::<std::collections::BTreeSet<_>>().into_iter().collect())
        })
    }

    fn counts(&self) -> PortFuture<'_, Counts, StoreError> {
        self.run(|state| {
            let count = |status| state.of_kind(false).filter(|(_, record)| record.device.status == status).count();
            Ok(Counts { enabled: count(Status::Enabled) as u64, disabled: count(Status::Disabled) as u64 })
        })
    }

    fn note_presence(&self, identity: &Identity, presence: Presence) {
        let Presence { updated_at, last_activity_at, subscriptions, .. } = presence;
        let noted = Noted { updated_at, last_activity_at, subscriptions };
        let mut state = self.state.lock();
        let kept = state.presence.entry(identity.clone()).or_insert(noted);
        (kept.updated_at, kept.last_activity_at) = (updated_at, last_activity_at);
    }

    fn save_subscriptions<'a>(&'a self, identity: &'a Identity, bits: u8) -> PortFuture<'a, (), StoreError> {
        self.run(move |state| {
            let never = Noted { updated_at: Timestamp::NEVER, last_activity_at: Timestamp::NEVER, subscriptions: bits };
            state.presence.entry(identity.clone()).or_insert(never).subscriptions = bits;
            Ok(())
        })
    }
}
