//! All jobs as they are kept: what each is, how far it is, and how its devices fared.
//!
//! Two collections: jobs with their runs, and pages of devices ([`devices`]). Both are written
//! together, so counts and pages agree after every crash. What was handed out and had not fared is handed out again
//! by [`Jobs::outstanding`]; a device may then get the same twice. A job that ended is kept for [`HISTORY`], and for
//! less when room is needed: the one that ended first goes first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gantry_hub::owned::{Changed, Edits};
use gantry_hub::ports::{Collection, StoreError};
use gantry_identity::{DeviceId, Timestamp};
use serde::{Deserialize, Serialize};

use super::devices::{self, Outcome, PAGE_DEVICES, Page};
use super::run::{Run, Status};
use super::{Job, JobError, Occurrence};
use crate::ids::{ETag, JobId, OrganizationId};
use crate::kept::Kept;

/// How long a job is kept that has ended ("Manage devices in bulk").
pub const HISTORY: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Jobs that are kept; ours.
pub const JOBS_MAX: usize = 1_000;
/// Devices of all jobs that are kept: as many as five jobs over a full application have.
pub const DEVICES_MAX: usize = super::RUNNING_MAX * devices::DEVICES_MAX;

pub(crate) const COLLECTIONS: [&str; 2] = ["centralJobs", "centralJobDevices"];

/// A job and how far it is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// What it is.
    pub job: Job,
    /// How far it is.
    pub run: Run,
}

/// A device of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handed {
    /// Its place in the job, which [`Central::settle_devices`](crate::Central::settle_devices) wants.
    pub at: u64,
    /// Which.
    pub device: DeviceId,
}

#[derive(Clone, Debug)]
struct Entry {
    kept: Arc<Kept<JobRecord>>,
    pages: Arc<Vec<Arc<Page>>>,
}

/// All jobs.
#[derive(Clone, Default, Debug)]
pub struct Jobs(BTreeMap<JobId, Entry>);

impl Jobs {
    /// A job.
    #[must_use]
    pub fn get(&self, id: &JobId) -> Option<&Arc<Kept<JobRecord>>> {
        self.0.get(id).map(|entry| &entry.kept)
    }

    /// All of them by id.
    pub fn iter(&self) -> impl Iterator<Item = (&JobId, &Arc<Kept<JobRecord>>)> {
        self.0.iter().map(|(id, entry)| (id, &entry.kept))
    }

    /// The devices of a job with their places, from one on, and how each fared.
    pub fn devices(&self, id: &JobId, from: u64) -> impl Iterator<Item = (u64, &str, Outcome)> {
        let pages = self.0.get(id).map_or(&[][..], |entry| entry.pages.as_slice());
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let first = from / PAGE_DEVICES;
        let all = pages.iter().skip(first).flat_map(|page| page.iter());
        let numbered = all.zip((first * PAGE_DEVICES) as u64..).map(|((device, outcome), at)| (at, device, outcome));
        numbered.skip(from % PAGE_DEVICES)
    }

    /// Devices of a job that were handed out and have not fared.
    #[must_use]
    pub fn outstanding(&self, id: &JobId) -> Vec<Handed> {
        let until = self.get(id).map_or(0, |kept| kept.value.run.handed_out());
        let all = self.devices(id, 0).take_while(|(at, ..)| *at < until);
        all.filter(|(.., outcome)| *outcome == Outcome::Pending).filter_map(handed).collect()
    }

    /// Whether a time of a scheduled job was made.
    pub(crate) fn has_occurrence(&self, occurrence: &Occurrence) -> bool {
        self.iter().any(|(_, kept)| kept.value.job.scheduled.as_ref() == Some(occurrence))
    }

    /// Checks that no job that a scheduled one made is on its way.
    pub(crate) fn check_idle(&self, scheduled: &JobId) -> Result<(), JobError> {
        let is_its = |job: &Job| job.scheduled.as_ref().is_some_and(|one| one.job == *scheduled);
        let mut active = self.iter().filter(|(_, kept)| !kept.value.run.status().is_end());
        match active.find(|(_, kept)| is_its(&kept.value.job)) {
            Some((id, _)) => Err(JobError::Active(id.clone())),
            None => Ok(()),
        }
    }

    /// Whether a job that has not ended is in an organization.
    pub(crate) fn are_in(&self, organization: &OrganizationId) -> bool {
        let is_in = |one: &JobRecord| one.job.organization.as_ref() == Some(organization);
        self.iter().any(|(_, kept)| is_in(&kept.value) && !kept.value.run.status().is_end())
    }

    /// Whether a job ended so long ago that it is forgotten.
    pub(crate) fn has_old(&self, now: Timestamp) -> bool {
        self.iter().any(|(_, kept)| is_old(&kept.value.run, now))
    }

    fn running(&self) -> usize {
        self.iter().filter(|(_, kept)| kept.value.run.status() == Status::Running).count()
    }

    fn entry(&self, id: &JobId) -> Result<&Entry, JobError> {
        self.0.get(id).ok_or_else(|| JobError::Unknown(id.clone()))
    }

    /// What was stored, checked.
    pub(crate) fn read(stored: Vec<Collection>) -> Result<Self, StoreError> {
        let mut all = stored.into_iter().map(|collection| collection.documents);
        let (records, pages) = (all.next().unwrap_or_default(), all.next().unwrap_or_default());
        let broken = |at: usize, id: &str, why: String| {
            StoreError::Failed(format!("`{id}` of {}: {why}", COLLECTIONS.get(at).unwrap_or(&"")))
        };
        let mut by_job: BTreeMap<JobId, Vec<Arc<Page>>> = BTreeMap::new();
        for (id, text) in pages {
            let page = Page::read(&text).map_err(|why| broken(1, &id, why))?;
            let place = devices::parse_page_id(&id).ok_or_else(|| broken(1, &id, "the id is none".to_owned()))?;
            let pages = by_job.entry(place.0).or_default();
            if pages.len() != place.1 {
                return Err(broken(1, &id, "a page before it is missing".to_owned()));
            }
            pages.push(Arc::new(page));
        }
        let mut jobs = Self::default();
        for (id, text) in records {
            let kept = Kept::<JobRecord>::read(&text).map_err(|error| broken(0, &id, error.to_string()))?;
            let job = JobId::parse(&id).map_err(|error| broken(0, &id, error.to_string()))?;
            let pages = by_job.remove(&job).unwrap_or_default();
            let devices: usize = pages.iter().map(|page| page.len()).sum();
            if devices as u64 != kept.value.run.progress().total {
                return Err(broken(0, &id, "its pages do not have its devices".to_owned()));
            }
            jobs.0.insert(job, Entry { kept, pages: Arc::new(pages) });
        }
        match by_job.keys().next() {
            Some(id) => Err(broken(1, id.as_str(), "there is no such job".to_owned())),
            None => Ok(jobs),
        }
    }
}

fn handed((at, device, _): (u64, &str, Outcome)) -> Option<Handed> {
    DeviceId::parse(device).ok().map(|device| Handed { at, device })
}

fn is_old(run: &Run, now: Timestamp) -> bool {
    run.ended_at().is_some_and(|end| end.plus(HISTORY) <= now)
}

/// A change of jobs that is being made.
pub(crate) struct Draft {
    next: Jobs,
    records: Edits,
    pages: Edits,
}

impl Draft {
    pub(crate) fn of(jobs: &Jobs) -> Self {
        Self { next: jobs.clone(), records: vec![], pages: vec![] }
    }

    pub(crate) fn changed<R>(self, said: R) -> Changed<Jobs, R> {
        Changed { edits: vec![self.records, self.pages], next: self.next, said }
    }

    /// Makes a job and starts it.
    pub(crate) fn start(
        &mut self,
        now: Timestamp,
        drawn: u64,
        id: &JobId,
        job: &Job,
        devices: &[DeviceId],
    ) -> Result<Arc<Kept<JobRecord>>, JobError> {
        if self.next.0.contains_key(id) {
            return Err(JobError::Exists(id.clone()));
        }
        if devices.len() > devices::DEVICES_MAX {
            return Err(JobError::TooManyDevices(devices.len()));
        }
        let mut run = Run::new(devices.len() as u64);
        run.start(now, self.next.running())?;
        self.make_room(devices.len())?;
        let pages: Vec<Arc<Page>> = Page::all(devices).into_iter().map(Arc::new).collect();
        let documents = pages.iter().enumerate().map(|(at, page)| (devices::page_id(id, at), Some(page.document())));
        self.pages.extend(documents);
        let value = JobRecord { job: job.clone(), run };
        let kept = Arc::new(Kept { value, etag: ETag::first(drawn), updated_at: now });
        self.put(id, Arc::clone(&kept), Arc::new(pages));
        Ok(kept)
    }

    /// Changes how far a job is.
    pub(crate) fn change<R>(
        &mut self,
        id: &JobId,
        change: impl FnOnce(&Jobs, &Job, &mut Run) -> Result<R, JobError>,
    ) -> Result<R, JobError> {
        let entry = self.next.entry(id)?;
        let mut run = entry.kept.value.run.clone();
        let said = change(&self.next, &entry.kept.value.job, &mut run)?;
        self.put_run(id, run)?;
        Ok(said)
    }

    /// Continues a job, if not too many others run.
    pub(crate) fn resume(&mut self, id: &JobId, now: Timestamp) -> Result<(), JobError> {
        self.change(id, |all, _, run| run.start(now, all.running()))
    }

    /// A job that has ended, and the devices on which it failed.
    pub(crate) fn failed(&self, id: &JobId) -> Result<(Job, Vec<DeviceId>), JobError> {
        let record = &self.next.entry(id)?.kept.value;
        record.run.check_rerun()?;
        let all = self.next.devices(id, 0).filter(|(.., outcome)| *outcome == Outcome::Failed);
        Ok((record.job.clone(), all.filter_map(handed).map(|one| one.device).collect()))
    }

    /// Deletes a job that does not run.
    pub(crate) fn delete(&mut self, id: &JobId) -> Result<(), JobError> {
        match self.next.entry(id)?.kept.value.run.status() {
            status @ (Status::Running | Status::Pending) => Err(JobError::Status { status, what: "deleted" }),
            _ => {
                self.remove(id);
                Ok(())
            }
        }
    }

    /// The next devices of a job.
    pub(crate) fn hand_out(&mut self, id: &JobId) -> Result<Vec<Handed>, JobError> {
        self.change(id, |all, job, run| {
            let from = run.handed_out();
            let next = run.next_batch(job);
            Ok(all.devices(id, from).take(usize::try_from(next).unwrap_or(usize::MAX)).filter_map(handed).collect())
        })
    }

    /// Says how devices of a job fared; counts those for which that was expected.
    pub(crate) fn settle(&mut self, id: &JobId, now: Timestamp, fared: &[(u64, bool)]) -> Result<usize, JobError> {
        let entry = self.next.entry(id)?.clone();
        let (job, mut run, mut pages) = (&entry.kept.value.job, entry.kept.value.run.clone(), (*entry.pages).clone());
        let (mut touched, mut counted) = (vec![], 0);
        for (at, is_good) in fared.iter().filter(|(at, _)| *at < entry.kept.value.run.handed_out()) {
            let at = usize::try_from(*at).unwrap_or(usize::MAX);
            let number = at / PAGE_DEVICES;
            let Some(page) = pages.get_mut(number) else { continue };
            if Arc::make_mut(page).settle(at % PAGE_DEVICES, *is_good) && run.settle(job, now, *is_good) {
                counted += 1;
                if !touched.contains(&number) {
                    touched.push(number);
                }
            }
        }
        let document = |number: usize| Some((devices::page_id(id, number), Some(pages.get(number)?.document())));
        self.pages.extend(touched.into_iter().filter_map(document));
        let value = JobRecord { job: job.clone(), run };
        self.put(id, Arc::new(Kept { value, ..*entry.kept }), Arc::new(pages));
        Ok(counted)
    }

    /// Forgets jobs that ended long ago.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let all = self.next.iter().filter(|(_, kept)| is_old(&kept.value.run, now));
        let old: Vec<JobId> = all.map(|(id, _)| id.clone()).collect();
        old.iter().for_each(|id| self.remove(id));
    }

    fn remove(&mut self, id: &JobId) {
        if let Some(entry) = self.next.0.remove(id) {
            self.records.push((id.to_string(), None));
            self.pages.extend((0..entry.pages.len()).map(|number| (devices::page_id(id, number), None)));
        }
    }

    fn make_room(&mut self, devices: usize) -> Result<(), JobError> {
        let kept = |jobs: &Jobs| jobs.iter().map(|(_, kept)| kept.value.run.progress().total).sum::<u64>();
        while self.next.0.len() >= JOBS_MAX || kept(&self.next) + devices as u64 > DEVICES_MAX as u64 {
            let ended = self.next.iter().filter_map(|(id, kept)| Some((kept.value.run.ended_at()?, id.clone())));
            let (_, first) = ended.min().ok_or(JobError::Full)?;
            self.remove(&first);
        }
        Ok(())
    }

    fn put_run(&mut self, id: &JobId, run: Run) -> Result<(), JobError> {
        let entry = self.next.entry(id)?.clone();
        let value = JobRecord { job: entry.kept.value.job.clone(), run };
        self.put(id, Arc::new(Kept { value, ..*entry.kept }), entry.pages);
        Ok(())
    }

    fn put(&mut self, id: &JobId, kept: Arc<Kept<JobRecord>>, pages: Arc<Vec<Arc<Page>>>) {
        self.records.push((id.to_string(), Some(kept.document())));
        self.next.0.insert(id.clone(), Entry { kept, pages });
    }
}
