//! Automatic device management: configurations of a hub, and bringing records in line with them.
//!
//! What may have changed is noted, and [`Hub::manage`] works it off: single records after
//! writes, all records a configuration targets or targeted after it changed. It ends when
//! nothing is left, and finds the rest after a crash because a start notes everything.

pub mod configuration;
pub mod management;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use gantry_identity::{Identity, ModuleId, Timestamp};
use gantry_query::Query;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tracing::warn;

use crate::configurations::configuration::{
    Configuration, ConfigurationError, ConfigurationWrite, Content, Nulls, Target, parse_content, put,
};
use crate::configurations::management::{Kind, Managed, Settled, difference, settle, sort};
use crate::error::HubError;
use crate::events::reports::{Report, TwinChange};
use crate::hub::Hub;
use crate::limits;
use crate::owned::{Changed, Owned};
use crate::ports::{Collection, Documents, Record, StoreError};
use crate::registry::device::{DeviceWrite, IfMatch};
use crate::registry::search::Found;
use crate::registry::{EDGE_RUNTIME, SYSTEM_MODULES, WRITE_ATTEMPTS};
use crate::twins::twin::{Change, Object, SectionWrite, Twin, TwinWrite};

const COLLECTION: &str = "configurations";
/// Records brought in line at once; their writes share commits.
const CONCURRENCY: usize = 32;
/// Identities fetched at once while everything of a configuration is looked at.
const PAGE: usize = 500;
/// Changed records remembered one by one; past them everything is looked at.
const CHANGED_MAX: usize = 100_000;

/// The configurations, and what has to be looked at because of them.
pub(crate) struct Configurations {
    /// Strongest first.
    all: Owned<Vec<Arc<Configuration>>>,
    pending: Mutex<Pending>,
    wanted: Notify,
}

#[derive(Default)]
struct Pending {
    records: HashSet<Identity>,
    configurations: BTreeSet<String>,
    everything: bool,
}

impl Configurations {
    pub(crate) async fn load(documents: Arc<dyn Documents>) -> Result<Self, StoreError> {
        let read = |(id, text): (String, String)| {
            let broken = || StoreError::Failed(format!("stored configuration `{id}` cannot be read"));
            Configuration::read(&id, &text).map(Arc::new).ok_or_else(broken)
        };
        let read_all = move |stored: Vec<Collection>| {
            let texts = stored.into_iter().flat_map(|all| all.documents);
            let mut all = texts.map(read).collect::<Result<Vec<_>, _>>()?;
            sort(&mut all);
            Ok(all)
        };
        let all = Owned::load(documents, vec![COLLECTION], read_all).await?;
        let pending = Mutex::new(Pending { everything: true, ..Pending::default() });
        let wanted = Notify::new();
        wanted.notify_one();
        Ok(Self { all, pending, wanted })
    }

    fn all(&self) -> Arc<Vec<Arc<Configuration>>> {
        self.all.current()
    }

    /// Notes that a record changed. Cheap without configurations.
    pub(crate) fn note_record(&self, identity: &Identity) {
        if self.all().is_empty() {
            return;
        }
        let mut pending = self.pending.lock();
        if pending.records.len() >= CHANGED_MAX {
            *pending = Pending { everything: true, ..Pending::default() };
        }
        pending.records.insert(identity.clone());
        drop(pending);
        self.wanted.notify_one();
    }

    fn note_configuration(&self, id: &str) {
        self.pending.lock().configurations.insert(id.to_owned());
        self.wanted.notify_one();
    }

    async fn change(
        &self,
        id: &str,
        change: impl Fn(Option<&Configuration>, usize) -> Result<Option<Configuration>, ConfigurationError>,
    ) -> Result<Option<Arc<Configuration>>, HubError> {
        let before = self.all();
        let replace = |all: &Vec<Arc<Configuration>>| {
            let current = all.iter().find(|configuration| configuration.id == id);
            let changed = change(current.map(|current| &**current), all.len())?.map(Arc::new);
            let text = changed.as_ref().map(|configuration| configuration.document());
            let mut next = all.clone();
            next.retain(|configuration| configuration.id != id);
            next.extend(changed.clone());
            sort(&mut next);
            Ok(Changed { edits: vec![vec![(id.to_owned(), text)]], next, said: changed })
        };
        let changed = self.all.change(replace).await;
        // What others wrote was read with it, even when it was refused.
        let after = self.all();
        let is_in =
            |one: &Arc<Configuration>, all: &[Arc<Configuration>]| all.iter().any(|other| Arc::ptr_eq(one, other));
        before.iter().filter(|one| !is_in(one, &after)).for_each(|gone| self.note_configuration(&gone.id));
        after.iter().filter(|one| !is_in(one, &before)).for_each(|new| self.note_configuration(&new.id));
        changed
    }
}

impl Hub {
    /// The configurations, in order of id.
    pub fn configurations(&self) -> Vec<Arc<Configuration>> {
        let mut all = Vec::clone(&self.configurations.all());
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// One configuration.
    ///
    /// # Errors
    /// [`ConfigurationError::NotFound`].
    pub fn configuration(&self, id: &str) -> Result<Arc<Configuration>, HubError> {
        let all = self.configurations.all();
        let found = all.iter().find(|configuration| configuration.id == id);
        found.cloned().ok_or_else(|| ConfigurationError::NotFound(id.to_owned()).into())
    }

    /// Creates a configuration (no `If-Match`) or changes what may change of it.
    ///
    /// # Errors
    /// [`HubError::Configuration`].
    pub async fn put_configuration(
        &self,
        now: Timestamp,
        id: &str,
        write: ConfigurationWrite,
        if_match: &IfMatch,
    ) -> Result<Arc<Configuration>, HubError> {
        let etag = self.random_id() >> 32;
        let change = |current: Option<&Configuration>, count: usize| match current {
            None if !matches!(if_match, IfMatch::Absent) => Err(ConfigurationError::NotFound(id.to_owned())),
            None if count >= limits::CONFIGURATIONS_MAX => Err(ConfigurationError::TooMany),
            None => Configuration::new(id, write.clone(), now, etag).map(Some),
            Some(_) if matches!(if_match, IfMatch::Absent) => Err(ConfigurationError::AlreadyExists(id.to_owned())),
            Some(current) => update(current, write.clone(), if_match, now).map(Some),
        };
        let changed = self.configurations.change(id, change).await?;
        changed.ok_or_else(|| ConfigurationError::NotFound(id.to_owned()).into())
    }

    /// Deletes a configuration; what it put on devices goes soon after.
    ///
    /// # Errors
    /// [`HubError::Configuration`].
    pub async fn delete_configuration(&self, id: &str, if_match: &IfMatch) -> Result<(), HubError> {
        let change = |current: Option<&Configuration>, _: usize| {
            let current = current.ok_or_else(|| ConfigurationError::NotFound(id.to_owned()))?;
            if if_match.admits(&current.etag_text()) {
                Ok(None)
            } else {
                Err(ConfigurationError::PreconditionFailed(id.to_owned()))
            }
        };
        self.configurations.change(id, change).await.map(drop)
    }

    /// Results of the system metrics, in the order of [`Configuration::system_metrics`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn system_metric_results(&self, configuration: &Configuration) -> Result<Vec<u64>, HubError> {
        let (targeted, applied) = self.store.managed_counts(&configuration.id).await?;
        let mut results = vec![targeted, applied];
        for (_, text) in configuration.system_metrics().iter().skip(results.len()) {
            results.push(self.count_rows(text).await?);
        }
        Ok(results)
    }

    /// How many rows a query gives: what a custom metric counts.
    ///
    /// # Errors
    /// [`HubError::Query`] or a failure of the store.
    pub async fn count_rows(&self, text: &str) -> Result<u64, HubError> {
        let query = Query::parse(text)?;
        if query.is_aggregate() {
            return Ok(self.aggregate(&query).await?.len() as u64);
        }
        let top = query.top().map_or(u64::MAX, |top| top as u64);
        Ok(self.count_matches(&query).await?.min(top))
    }

    /// Resolves when [`manage`](Self::manage) has something to do.
    pub async fn management_wanted(&self) {
        self.configurations.wanted.notified().await;
    }

    /// Notes that every configuration is to be looked at again: some conditions follow what is not noted,
    /// such as who is connected.
    pub fn want_management(&self) {
        let ids = self.configurations.all();
        ids.iter().for_each(|configuration| self.configurations.note_configuration(&configuration.id));
    }

    /// Brings records in line with the configurations until nothing is left to look at.
    ///
    /// # Errors
    /// When the store fails; what was left is looked at again next time.
    pub async fn manage(&self, now: Timestamp) -> Result<(), HubError> {
        loop {
            let pending = std::mem::take(&mut *self.configurations.pending.lock());
            if pending.records.is_empty() && pending.configurations.is_empty() && !pending.everything {
                return Ok(());
            }
            if let Err(error) = self.manage_pending(now, &pending).await {
                let mut left = self.configurations.pending.lock();
                left.everything |= pending.everything;
                left.records.extend(pending.records);
                left.configurations.extend(pending.configurations);
                return Err(error);
            }
        }
    }

    async fn manage_pending(&self, now: Timestamp, pending: &Pending) -> Result<(), HubError> {
        let mut ids = pending.configurations.clone();
        if pending.everything {
            ids.extend(self.configurations.all().iter().map(|configuration| configuration.id.clone()));
            ids.extend(self.store.managed_by_any().await?);
        }
        for id in &ids {
            self.manage_targets(now, id).await?;
        }
        self.manage_all(now, pending.records.iter().cloned().collect()).await
    }

    /// Looks at every record a configuration targets or targeted.
    async fn manage_targets(&self, now: Timestamp, id: &str) -> Result<(), HubError> {
        let mut after = None;
        loop {
            let held = self.store.managed_by(id, after.as_ref(), PAGE).await?;
            let is_last = held.len() < PAGE;
            after = held.last().cloned();
            self.manage_all(now, held).await?;
            if is_last {
                break;
            }
        }
        let Ok(configuration) = self.configuration(id) else { return Ok(()) };
        let Target::Query(query) = &configuration.target else { return Ok(()) };
        let mut after = None;
        loop {
            let (found, next) = self.matching(query, after.as_ref(), PAGE).await?;
            self.manage_all(now, found.into_iter().map(|record| record.device.identity).collect()).await?;
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn manage_all(&self, now: Timestamp, identities: Vec<Identity>) -> Result<(), HubError> {
        let done = stream::iter(identities).map(|identity| async move {
            match self.manage_one(now, &identity).await {
                // Gone meanwhile, or busy: whoever is writing to it notes it again.
                Ok(()) | Err(HubError::NotFound(_) | HubError::Contended(_)) => Ok(()),
                Err(error @ (HubError::NoSpace | HubError::Failed(_))) => Err(error),
                Err(error) => {
                    warn!(%identity, %error, "configuration not applied");
                    Ok(())
                }
            }
        });
        done.buffer_unordered(CONCURRENCY).fold(Ok(()), |all, one| std::future::ready(all.and(one))).await
    }

    async fn manage_one(&self, now: Timestamp, identity: &Identity) -> Result<(), HubError> {
        let all = self.configurations.all();
        for _ in 0..WRITE_ATTEMPTS {
            let before = self.record(identity).await?;
            let kind = match (&identity.module, before.device.iot_edge) {
                (Some(_), _) => Kind::Module,
                (None, true) => Kind::EdgeDevice,
                (None, false) => Kind::Device,
            };
            let found = Found::new(&before, self.is_connected(identity));
            let settled = settle(&all, kind, &found, &before.twin.desired.values, &before.twin.managed);
            drop(found);
            let status = &settled.managed.configurations;
            match &settled.deployment {
                Some(modules) => self.deploy(now, identity, modules, Some(status)).await?,
                // What was deployed stays; that nothing is deployed any more is noted on the agent too.
                None if kind == Kind::EdgeDevice && *status != before.twin.managed.configurations => {
                    let module = ModuleId::parse(SYSTEM_MODULES[0]).ok();
                    let agent = Identity { module, ..identity.clone() };
                    self.write_module(now, &agent, None, Some(status)).await?;
                }
                None => {}
            }
            let (after, change) = settled_record(now, &before, settled);
            if after == before {
                return Ok(());
            }
            let reports = self.report_managed(now, &after, change.as_ref());
            match self.store.update(after.clone(), reports).await {
                Ok(()) => {
                    if let Some(change) = change {
                        self.tell_desired(&after, &change);
                    }
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HubError::Contended(identity.to_string()))
    }

    fn report_managed(&self, now: Timestamp, after: &Record, change: Option<&Change>) -> Vec<Report> {
        change.map_or(vec![], |change| self.report_twin_change(now, after, TwinChange::Written(change)))
    }

    /// Makes the modules of an edge deployment and writes their desired properties.
    async fn deploy(
        &self,
        now: Timestamp,
        device: &Identity,
        modules: &BTreeMap<String, Object>,
        configurations: Option<&BTreeMap<String, bool>>,
    ) -> Result<(), HubError> {
        let mut names: BTreeSet<&str> = modules.keys().map(String::as_str).collect();
        let listed = modules.get("$edgeAgent").and_then(|agent| agent.get("modules")).and_then(Value::as_object);
        names.extend(listed.into_iter().flat_map(Object::keys).map(String::as_str));
        let write = DeviceWrite { managed_by: Some(EDGE_RUNTIME.to_owned()), ..DeviceWrite::default() };
        let old = self.modules(device).await?;
        for name in &names {
            let module = ModuleId::parse(name)?;
            let id = Identity { module: Some(module), ..device.clone() };
            if !old.iter().any(|record| record.device.identity == id) {
                let module = vec![self.new_record(now, &id, &write, Twin::new())];
                let reports = self.report_lifecycle(now, &module, true);
                match self.store.insert(module, reports).await {
                    Ok(()) | Err(StoreError::Conflict) => {}
                    Err(StoreError::Full) => return Err(HubError::TooManyModules(device.clone())),
                    Err(error) => return Err(error.into()),
                }
            }
            let managed = configurations.filter(|_| *name == SYSTEM_MODULES[0]);
            self.write_module(now, &id, modules.get(*name), managed).await?;
        }
        for record in old {
            let id = &record.device.identity;
            let name = id.module.as_ref().map_or("", |module| module.as_str());
            let is_managed = record.device.managed_by.as_deref() == Some(EDGE_RUNTIME);
            if is_managed && !names.contains(name) && !SYSTEM_MODULES.contains(&name) {
                self.delete_record(now, id, &IfMatch::Any).await?;
            }
        }
        Ok(())
    }

    async fn write_module(
        &self,
        now: Timestamp,
        id: &Identity,
        desired: Option<&Object>,
        configurations: Option<&BTreeMap<String, bool>>,
    ) -> Result<(), HubError> {
        let before = self.record(id).await?;
        let is_same = desired.is_none_or(|desired| *desired == before.twin.desired.values)
            && configurations.is_none_or(|configurations| *configurations == before.twin.managed.configurations);
        if is_same {
            return Ok(());
        }
        let report = |after: &Record, change: &Option<Change>| self.report_managed(now, after, change.as_ref());
        let write_it = |record: &mut Record| {
            let change = match desired {
                Some(desired) if *desired != record.twin.desired.values => {
                    let write = TwinWrite { tags: None, desired: Some(SectionWrite::Replace(desired.clone())) };
                    Some(record.twin.write(&write, now)?)
                }
                _ => None,
            };
            if let Some(configurations) = configurations {
                record.twin.managed.configurations.clone_from(configurations);
            }
            Ok(change)
        };
        let (_, after, change) = self.change_quietly(id, write_it, report).await?;
        if let Some(change) = change {
            self.tell_desired(&after, &change);
        }
        Ok(())
    }

    /// Puts content on one device, once: what `applyConfigurationContent` does.
    ///
    /// # Errors
    /// [`HubError::Configuration`], [`HubError::NotFound`] or what a twin does not take.
    pub async fn apply_content(&self, now: Timestamp, device: &Identity, content: &Value) -> Result<(), HubError> {
        let bad = |why: &str| HubError::from(ConfigurationError::Content(why.to_owned()));
        let parsed = parse_content(content)?;
        parsed.check()?;
        match parsed {
            Content::Module(_) => Err(bad("moduleContent has no module here")),
            Content::Device(settings) => {
                let mut desired = Object::new();
                settings.iter().for_each(|setting| put(&mut desired, &setting.path, &setting.value, Nulls::Stay));
                self.write_twin(now, device, &TwinWrite::desired(desired), &IfMatch::Absent).await.map(drop)
            }
            Content::Edge(parts) => {
                if !self.record(device).await?.device.iot_edge {
                    return Err(bad("the device is not an edge device"));
                }
                let mut modules = BTreeMap::new();
                for (id, settings) in parts {
                    let desired: &mut Object = modules.entry(id).or_default();
                    settings.iter().for_each(|setting| put(desired, &setting.path, &setting.value, Nulls::Remove));
                }
                self.deploy(now, device, &modules, None).await
            }
        }
    }
}

/// The record as management wants it, and what that changed.
fn settled_record(now: Timestamp, before: &Record, settled: Settled) -> (Record, Option<Change>) {
    let mut after = before.clone();
    let patch = difference(&before.twin.desired.values, &settled.desired);
    let is_edge_agent = before.device.identity.module.as_ref().is_some_and(|m| m.as_str() == SYSTEM_MODULES[0]);
    if patch.is_empty() {
        // Its device's deployments are noted on the agent too, and are not the agent's to change.
        if !is_edge_agent || !settled.managed.configurations.is_empty() {
            after.twin.managed = settled.managed;
        }
        return (after, None);
    }
    match after.twin.write(&TwinWrite::desired(patch), now) {
        Ok(change) => {
            after.twin.managed = settled.managed;
            // As a whole: which of its places came from which configuration is not the listener's concern.
            (after, Some(Change { is_replacement: true, ..change }))
        }
        Err(error) => {
            // Too large together with what is there: targeted, and not applied.
            warn!(identity = %before.device.identity, %error, "configuration not applied");
            let configurations = settled.managed.configurations.into_keys().map(|id| (id, false)).collect();
            after.twin.managed = Managed { configurations, places: before.twin.managed.places.clone() };
            (after, None)
        }
    }
}

fn update(
    current: &Configuration,
    mut write: ConfigurationWrite,
    if_match: &IfMatch,
    now: Timestamp,
) -> Result<Configuration, ConfigurationError> {
    if !if_match.admits(&current.etag_text()) {
        return Err(ConfigurationError::PreconditionFailed(current.id.clone()));
    }
    write.content = match write.content {
        None => current.write.content.clone(),
        // Spelled differently it is still the same content.
        Some(content) if parse_content(&content)? == current.content => current.write.content.clone(),
        Some(_) => return Err(ConfigurationError::Immutable),
    };
    let changed = Configuration::new(&current.id, write, now, current.etag + 1)?;
    Ok(Configuration { created_at: current.created_at, ..changed })
}
