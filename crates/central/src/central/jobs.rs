//! Jobs and scheduled jobs: their writes, and how far they are.
//!
//! Scheduled jobs are objects like others. Jobs have collections of their own ([`all`](crate::jobs::all)), because
//! they are written with every device that fares. So what a job names is looked at just before it is made, not at one
//! version with it; one whose organization goes meanwhile is seen from the root only.

use std::sync::Arc;

use gantry_hub::device::IfMatch;
use gantry_identity::{DeviceId, Timestamp};

use super::{Central, CentralError, Rights, State, Write};
use crate::access::caller::{Denied, Place};
use crate::access::permissions::Permission;
use crate::access::users::RoleAssignment;
use crate::ids::{JobId, OrganizationId};
use crate::jobs::all::{Draft, Handed, JobRecord, Jobs};
use crate::jobs::schedule::Schedule;
use crate::jobs::scheduled::{SCHEDULED_MAX, ScheduledJob};
use crate::jobs::{Job, JobData, JobError, Occurrence};
use crate::kept::Kept;
use crate::organizations::Ancestry;

const JOBS: Rights =
    Rights { create: Permission::JobsExecute, update: Permission::JobsExecute, delete: Permission::JobsDelete };
const SCHEDULED: Rights =
    Rights { create: Permission::JobsExecute, update: Permission::JobsExecute, delete: Permission::JobsDelete };

/// A scheduled job as a request gives it.
#[derive(Clone, PartialEq, Debug)]
pub struct ScheduledWrite {
    /// What is made each time.
    pub job: Job,
    /// When.
    pub schedule: Schedule,
    /// Whether it is made.
    pub enabled: bool,
}

impl Central {
    /// All jobs as they are now.
    #[must_use]
    pub fn jobs(&self) -> Arc<Jobs> {
        self.jobs.current()
    }

    /// Makes a job and starts it, in the name of somebody who runs jobs where it is and sees its group. `devices` are
    /// those of the group that are seen from the job's organization, in the order in which they will be handed out. A
    /// job is never changed, so what the write expects is not looked at.
    ///
    /// # Errors
    /// [`JobError::Busy`] and [`JobError::Exists`] among others.
    pub async fn put_job(
        &self,
        write: Write<'_>,
        id: &JobId,
        job: &Job,
        devices: &[DeviceId],
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<JobRecord>>, CentralError> {
        let state = self.state();
        job.check()?;
        state.may_put(by, JOBS, None, job.organization.as_ref())?;
        check_names(&state, job, by)?;
        self.change_jobs(|draft| draft.start(write.now, write.drawn, id, job, devices)).await
    }

    /// Does a job again, as another, on the devices on which it failed.
    ///
    /// # Errors
    /// [`JobError::Status`] while it runs or when it failed nowhere, and those of [`Central::put_job`].
    pub async fn rerun_job(
        &self,
        write: Write<'_>,
        id: &JobId,
        rerun: &JobId,
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<JobRecord>>, CentralError> {
        self.check_job(id, by, JOBS.update)?;
        self.change_jobs(|draft| {
            let (job, devices) = draft.failed(id)?;
            draft.start(write.now, write.drawn, rerun, &Job { scheduled: None, ..job }, &devices)
        })
        .await
    }

    /// Stops a job. Devices that were handed out may fare afterwards.
    ///
    /// # Errors
    /// [`JobError::Status`] when it does not run, among others.
    pub async fn stop_job(&self, id: &JobId, by: &[RoleAssignment]) -> Result<(), CentralError> {
        self.check_job(id, by, JOBS.update)?;
        self.change_jobs(|draft| draft.change(id, |_, _, run| run.stop())).await
    }

    /// Goes on with a job that was stopped.
    ///
    /// # Errors
    /// [`JobError::Busy`] and [`JobError::Status`] among others.
    pub async fn resume_job(&self, now: Timestamp, id: &JobId, by: &[RoleAssignment]) -> Result<(), CentralError> {
        self.check_job(id, by, JOBS.update)?;
        self.change_jobs(|draft| draft.resume(id, now)).await
    }

    /// Deletes a job that does not run, with how its devices fared.
    ///
    /// # Errors
    /// [`JobError::Status`] while it runs, among others.
    pub async fn delete_job(&self, id: &JobId, by: &[RoleAssignment]) -> Result<(), CentralError> {
        self.check_job(id, by, JOBS.delete)?;
        self.change_jobs(|draft| draft.delete(id)).await
    }

    /// The next devices of a job, for whoever runs it; none while it does not run or the last ones have not fared.
    /// After a start, [`Jobs::outstanding`] has those that were handed out before and did not fare.
    ///
    /// # Errors
    /// [`JobError::Unknown`] and those of the store.
    pub async fn hand_out_devices(&self, id: &JobId) -> Result<Vec<Handed>, CentralError> {
        let jobs = self.jobs();
        let record = &jobs.get(id).ok_or_else(|| JobError::Unknown(id.clone()))?.value;
        if record.run.clone().next_batch(&record.job) == 0 {
            return Ok(vec![]);
        }
        self.change_jobs(|draft| draft.hand_out(id)).await
    }

    /// Says how devices of a job fared that were handed out: the place of each, and whether it went well. Says for how
    /// many that was expected. Many are said at once by whoever has many: each call is one write.
    ///
    /// # Errors
    /// [`JobError::Unknown`] and those of the store.
    pub async fn settle_devices(
        &self,
        now: Timestamp,
        id: &JobId,
        fared: &[(u64, bool)],
    ) -> Result<usize, CentralError> {
        self.change_jobs(|draft| draft.settle(id, now, fared)).await
    }

    /// Ends a job that cannot go on.
    ///
    /// # Errors
    /// [`JobError::Status`] when it has ended, among others.
    pub async fn fail_job(&self, now: Timestamp, id: &JobId) -> Result<(), CentralError> {
        self.change_jobs(|draft| draft.change(id, |_, _, run| run.fail(now))).await
    }

    /// Forgets jobs that ended longer ago than [`HISTORY`](crate::jobs::all::HISTORY).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget_jobs(&self, now: Timestamp) -> Result<(), CentralError> {
        if !self.jobs().has_old(now) {
            return Ok(());
        }
        self.change_jobs(|draft| {
            draft.forget(now);
            Ok(())
        })
        .await
    }

    /// Makes or replaces a scheduled job in the name of somebody who runs jobs, where it was and where it will be.
    ///
    /// # Errors
    /// [`JobError::Active`] among others.
    pub async fn put_scheduled_job(
        &self,
        write: Write<'_>,
        id: &JobId,
        new: &ScheduledWrite,
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<ScheduledJob>>, CentralError> {
        let jobs = self.jobs();
        let made = |state: &State| {
            let before = state.scheduled.get(id).map(|kept| &kept.value);
            let place = before.map(|one| one.job.organization.as_ref());
            state.may_put(by, SCHEDULED, place, new.job.organization.as_ref())?;
            if before.is_none() && state.scheduled.len() >= SCHEDULED_MAX {
                return Err(JobError::TooManyScheduled.into());
            }
            jobs.check_idle(id)?;
            let job = Job { scheduled: None, ..new.job.clone() };
            let one = ScheduledJob::new(job, new.schedule, new.enabled, before, write.now)?;
            check_names(state, &one.job, by)?;
            Ok(one)
        };
        self.put_made(write, id, made).await
    }

    /// Deletes a scheduled job; jobs that it made stay.
    ///
    /// # Errors
    /// [`JobError::UnknownScheduled`] among others.
    pub async fn delete_scheduled_job(
        &self,
        id: &JobId,
        if_match: &IfMatch,
        by: &[RoleAssignment],
    ) -> Result<(), CentralError> {
        let check = |state: &State| {
            let before = state.scheduled.get(id).and_then(|kept| kept.value.job.organization.as_ref());
            state.may_delete(by, SCHEDULED, before).map_err(Into::into)
        };
        self.delete::<ScheduledJob>(id, if_match, check).await
    }

    /// Makes the job of a scheduled one that is due ([`ScheduledJob::due`]), under an id of its own, and marks that it
    /// was. When too many jobs run it stays due. `devices` are those that [`Central::put_job`] wants, as they are now.
    ///
    /// # Errors
    /// [`JobError::Busy`] among others.
    pub async fn run_scheduled_job(
        &self,
        write: Write<'_>,
        scheduled: &JobId,
        number: u32,
        id: &JobId,
        devices: &[DeviceId],
    ) -> Result<(), CentralError> {
        let state = self.state();
        let kept = state.scheduled.get(scheduled).ok_or_else(|| JobError::UnknownScheduled(scheduled.clone()))?;
        let occurrence = Occurrence { job: scheduled.clone(), number };
        let job = Job { scheduled: Some(occurrence.clone()), ..kept.value.job.clone() };
        if !self.jobs().has_occurrence(&occurrence) {
            self.change_jobs(|draft| draft.start(write.now, write.drawn, id, &job, devices)).await?;
        }
        let marked = |state: &State| {
            let kept = state.scheduled.get(scheduled).ok_or_else(|| JobError::UnknownScheduled(scheduled.clone()))?;
            let mut draft = super::Draft::of(state);
            // Who read it before may still write it: nothing that they wrote is another.
            draft.insert(scheduled, Arc::new(Kept { value: kept.value.after(number), ..**kept }));
            Ok::<_, CentralError>(draft.changed(()))
        };
        self.state.change(marked).await
    }

    /// Checks that somebody may do something with a job where it is.
    fn check_job(&self, id: &JobId, by: &[RoleAssignment], one: Permission) -> Result<(), CentralError> {
        let (state, jobs) = (self.state(), self.jobs());
        let kept = jobs.get(id).ok_or_else(|| JobError::Unknown(id.clone()))?;
        let place = Place::In(kept.value.job.organization.as_ref());
        Ok(state.caller(by).may(&state.organizations, one, place)?)
    }

    async fn change_jobs<R>(&self, change: impl Fn(&mut Draft) -> Result<R, JobError>) -> Result<R, CentralError> {
        let changed = |jobs: &Jobs| {
            let mut draft = Draft::of(jobs);
            let said = change(&mut draft)?;
            Ok::<_, CentralError>(draft.changed(said))
        };
        self.jobs.change(changed).await
    }
}

/// Checks that what a job names is there: its organization, its group, which is seen by who makes the job and from the
/// organization, and what its devices get.
fn check_names(state: &State, job: &Job, by: &[RoleAssignment]) -> Result<(), CentralError> {
    if let Some(id) = job.organization.as_ref().filter(|id| !state.organizations.contains_key(*id)) {
        return Err(JobError::UnknownOrganization(id.clone()).into());
    }
    let group = state.groups.get(&job.group).ok_or_else(|| JobError::UnknownGroup(job.group.clone()))?;
    let of: Option<&OrganizationId> = group.value.organization.as_ref();
    if !state.caller(by).sees(&state.organizations, of) {
        return Err(Denied::Unseen.into());
    }
    if !Ancestry::of(&state.organizations, of).is_seen(job.organization.as_ref()) {
        return Err(JobError::GroupElsewhere(job.group.clone()).into());
    }
    for one in &job.data {
        match one {
            JobData::DeviceTemplateMigration { template } if !state.templates.contains_key(template) => {
                return Err(JobError::UnknownTemplate(template.clone()).into());
            }
            JobData::DeviceManifestMigration { manifest } => {
                let kept = state.manifests.get(manifest);
                let is_seen = kept.is_some_and(|kept| sees(state, job, kept.value.organization.as_ref()));
                if !is_seen {
                    return Err(JobError::UnknownManifest(manifest.clone()).into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a manifest is for a job: one of the root is for all, one of an organization for those it has below it.
fn sees(state: &State, job: &Job, of: Option<&OrganizationId>) -> bool {
    Ancestry::of(&state.organizations, job.organization.as_ref()).is_seen(of)
}
