//! Scheduled jobs and how they fare on each device.

use gantry_hub::job::{DeviceJob, Job, Outcome, Statistics};
use gantry_hub::ports::{DeviceJobFilter, Fared, JobFilter, JobStore, PortFuture, StoreError};
use gantry_identity::{Identity, Timestamp};

use super::{Memory, State, is_after, is_wanted};

/// A device of a job.
#[derive(Clone)]
pub(super) struct Listed {
    outcome: Outcome,
    created_at: Timestamp,
    began_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl State {
    /// Writes what changed of a job: not when it was made, nor what its devices say.
    fn write_job(&mut self, job: Job) {
        if let Some(stored) = self.jobs.get_mut(&job.id) {
            let (created_at, start_at, statistics) = (stored.created_at, stored.start_at, stored.statistics);
            *stored = Job { created_at, start_at, statistics, ..job };
        }
    }

    /// Ends what is pending of a device; says whether it was.
    fn end_pending(&mut self, job: &str, identity: &Identity, ended: Listed) {
        let Some(listed) = self.listed.get_mut(&(job.to_owned(), identity.clone())) else { return };
        if listed.outcome != Outcome::Pending {
            return;
        }
        if let Some(Job { statistics, .. }) = self.jobs.get_mut(job) {
            match ended.outcome {
                Outcome::Succeeded(_) => statistics.succeeded += 1,
                Outcome::Failed { .. } => statistics.failed += 1,
                Outcome::Pending | Outcome::Cancelled => {}
            }
        }
        *listed = Listed { created_at: listed.created_at, ..ended };
    }

    fn pending<'a>(&'a self, job: &'a str) -> impl Iterator<Item = &'a Identity> {
        let pending = self.listed.iter().filter(move |((of, _), one)| of == job && one.outcome == Outcome::Pending);
        pending.map(|((_, identity), _)| identity)
    }
}

impl JobStore for Memory {
    fn insert_job(&self, job: Job) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            if state.jobs.contains_key(&job.id) {
                return Err(StoreError::Conflict);
            }
            let statistics = Statistics::default();
            let job = Job { began_at: None, ended_at: None, is_listed: false, statistics, ..job };
            state.jobs.insert(job.id.clone(), job);
            Ok(())
        })
    }

    fn update_job(&self, job: Job) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            state.write_job(job);
            Ok(())
        })
    }

    fn end_job(&self, job: Job, rest: Outcome) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            let (id, ended_at) = (job.id.clone(), job.ended_at);
            state.write_job(job);
            if rest == Outcome::Pending {
                return Ok(());
            }
            let pending: Vec<Identity> = state.pending(&id).cloned().collect();
            for identity in pending {
                let ended = Listed { outcome: rest.clone(), created_at: Timestamp::NEVER, began_at: None, ended_at };
                state.end_pending(&id, &identity, ended);
            }
            Ok(())
        })
    }

    fn job<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<Job>, StoreError> {
        self.run(move |state| Ok(state.jobs.get(id).cloned()))
    }

    fn jobs(
        &self,
        filter: JobFilter,
        before: Option<(Timestamp, String)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<Job>, StoreError> {
        self.run(move |state| {
            let place = |job: &Job| (job.created_at, job.id.clone());
            let mut all: Vec<&Job> = state.jobs.values().collect();
            all.retain(|job| {
                filter.kind.as_deref().is_none_or(|kind| kind == job.work.kind())
                    && filter.status.is_none_or(|status| status == job.status)
                    && before.as_ref().is_none_or(|before| place(job) < *before)
            });
            all.sort_by_key(|job| std::cmp::Reverse(place(job)));
            Ok(all.into_iter().take(limit).cloned().collect())
        })
    }

    fn unfinished_jobs(&self) -> PortFuture<'_, Vec<Job>, StoreError> {
        self.run(|state| {
            let mut all: Vec<Job> = state.jobs.values().filter(|job| job.ended_at.is_none()).cloned().collect();
            all.sort_by_key(|job| (job.start_at, job.id.clone()));
            Ok(all)
        })
    }

    fn forget_jobs(&self, before: Timestamp) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            state.jobs.retain(|_, job| job.ended_at.is_none_or(|at| at >= before));
            let State { jobs, listed, .. } = state;
            listed.retain(|(job, _), _| jobs.contains_key(job));
            Ok(())
        })
    }

    fn list_devices<'a>(
        &'a self,
        id: &'a str,
        now: Timestamp,
        identities: Vec<Identity>,
    ) -> PortFuture<'a, (), StoreError> {
        self.run(move |state| {
            // A job that was cancelled meanwhile gets no more devices.
            let Some(job) = state.jobs.get_mut(id).filter(|job| job.ended_at.is_none()) else { return Ok(()) };
            for identity in identities {
                let new = Listed { outcome: Outcome::Pending, created_at: now, began_at: None, ended_at: None };
                state.listed.entry((id.to_owned(), identity)).or_insert_with(|| {
                    job.statistics.devices += 1;
                    new
                });
            }
            Ok(())
        })
    }

    fn last_device_of<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<Identity>, StoreError> {
        self.run(move |state| {
            let of_job = state.listed.keys().filter(|(job, _)| job == id);
            Ok(of_job.map(|(_, identity)| identity).max().cloned())
        })
    }

    fn pending_devices<'a>(
        &'a self,
        id: &'a str,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Identity>, StoreError> {
        self.run(move |state| {
            Ok(state.pending(id).filter(|identity| is_after(*identity, after)).take(limit).cloned().collect())
        })
    }

    fn put_outcomes<'a>(&'a self, id: &'a str, outcomes: Vec<Fared>) -> PortFuture<'a, (), StoreError> {
        self.run(move |state| {
            for (identity, began_at, ended_at, outcome) in outcomes {
                let (began_at, ended_at) = (Some(began_at), Some(ended_at));
                state.end_pending(id, &identity, Listed { outcome, created_at: Timestamp::NEVER, began_at, ended_at });
            }
            Ok(())
        })
    }

    fn device_jobs(
        &self,
        filter: DeviceJobFilter,
        after: Option<(String, Identity)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<DeviceJob>, StoreError> {
        self.run(move |state| {
            let wanted = state.listed.iter().filter(|(place, _)| is_after(*place, after.as_ref()));
            let wanted = wanted.filter(|((job, identity), _)| is_wanted(&filter, job, identity));
            let shown = wanted.filter_map(|((job, identity), listed)| {
                Some(DeviceJob {
                    job_id: job.clone(),
                    kind: state.jobs.get(job)?.work.kind().to_owned(),
                    identity: identity.clone(),
                    outcome: listed.outcome.clone(),
                    created_at: listed.created_at,
                    began_at: listed.began_at,
                    ended_at: listed.ended_at,
                })
            });
            Ok(shown.take(limit).collect())
        })
    }
}
