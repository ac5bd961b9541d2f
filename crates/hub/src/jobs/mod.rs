//! Scheduled jobs of a hub: making, showing, cancelling and running them.
//!
//! A run first lists the devices its condition matches, then works through those that are
//! pending, many at once. Both steps are written page by page, so that a run that was
//! interrupted goes on where it was; a device that was being worked on is then worked on
//! again. The hub has no clock and does not bound waits: [`Clock`] brings both.

pub mod job;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use gantry_identity::{Identity, Timestamp};
use gantry_query::{Constraint, Query, Step, Test};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::connections::connection::MethodResponse;
use crate::connections::methods::MethodTimeouts;
use crate::error::HubError;
use crate::hub::Hub;
use crate::jobs::job::{HISTORY, Job, JobError, JobStatus, Outcome, UNFINISHED_MAX, Work};
use crate::ports::{Clock, DeviceJobFilter, JobFilter, StoreError};
use crate::registry::device::IfMatch;

/// Jobs that run at once (IoT Hub quotas: 10 for the largest tier).
pub const RUNNING_MAX: usize = 10;
/// Devices a job works on at once.
pub const DEVICES_AT_ONCE: usize = 64;
/// Devices listed or fetched at once, and outcomes written at once at most.
const PAGE: usize = 500;
/// Device jobs read at once while a query looks for matches.
const SCAN_PAGE: usize = 500;

/// Jobs that run now.
#[derive(Default)]
pub(crate) struct Running {
    jobs: Mutex<HashMap<String, Control>>,
    /// Held over a read, change and write of a job's row.
    writing: tokio::sync::Mutex<()>,
    wanted: Notify,
}

/// The handle on a running job.
#[derive(Clone)]
struct Control {
    stop: watch::Sender<bool>,
    at_work: Arc<AtomicU64>,
}

/// One page of jobs or of their outcomes.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPage<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    pub continuation: Option<String>,
}

impl Hub {
    /// Makes a job; it runs when its time has come.
    ///
    /// # Errors
    /// [`JobError::AlreadyExists`] or [`JobError::TooMany`].
    pub async fn create_job(&self, job: Job) -> Result<Job, HubError> {
        let _one = self.running.writing.lock().await;
        if self.store.unfinished_jobs().await?.len() >= UNFINISHED_MAX {
            return Err(JobError::TooMany.into());
        }
        match self.store.insert_job(job.clone()).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Err(JobError::AlreadyExists(job.id).into()),
            Err(error) => return Err(error.into()),
        }
        self.running.wanted.notify_one();
        Ok(job)
    }

    /// One job.
    ///
    /// # Errors
    /// [`JobError::NotFound`].
    pub async fn job(&self, id: &str) -> Result<Job, HubError> {
        self.store.job(id).await?.ok_or_else(|| JobError::NotFound(id.to_owned()).into())
    }

    /// Devices a running job works on at this moment.
    pub fn job_devices_at_work(&self, id: &str) -> u64 {
        self.running.jobs.lock().get(id).map_or(0, |control| control.at_work.load(Ordering::Relaxed))
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// When the token cannot be used or the store fails.
    pub async fn jobs(
        &self,
        filter: JobFilter,
        page: usize,
        continuation: Option<&str>,
    ) -> Result<JobPage<Job>, HubError> {
        let malformed = || HubError::Invalid("continuation token is malformed".into());
        let before = continuation.map(|text| {
            let (at, id) = text.split_once('|').ok_or_else(malformed)?;
            Ok::<_, HubError>((Timestamp::from_millis(at.parse().map_err(|_| malformed())?), id.to_owned()))
        });
        let mut items = self.store.jobs(filter, before.transpose()?, page + 1).await?;
        let continuation = (items.len() > page).then(|| {
            items.truncate(page);
            items.last().map(|job| format!("{}|{}", job.created_at.as_millis(), job.id)).unwrap_or_default()
        });
        Ok(JobPage { items, continuation })
    }

    /// Stops a job: what is pending stays undone.
    ///
    /// # Errors
    /// [`JobError::NotFound`] or [`JobError::Ended`].
    pub async fn cancel_job(&self, now: Timestamp, id: &str) -> Result<Job, HubError> {
        let _one = self.running.writing.lock().await;
        let mut job = self.job(id).await?;
        if job.status.has_ended() {
            return Err(JobError::Ended(id.to_owned()).into());
        }
        (job.status, job.ended_at) = (JobStatus::Cancelled, Some(now));
        self.store.end_job(job, Outcome::Cancelled).await?;
        if let Some(control) = self.running.jobs.lock().get(id) {
            control.stop.send_replace(true);
        }
        self.job(id).await
    }

    /// A page of `devices.jobs`.
    pub(crate) async fn query_device_jobs(
        &self,
        query: &Query,
        page: usize,
        continuation: Option<&str>,
    ) -> Result<JobPage<Value>, HubError> {
        let malformed = || HubError::Invalid("continuation token is malformed".into());
        let place = continuation.map(|text| {
            let mut parts = text.splitn(3, '|');
            let (left, job, identity) = (parts.next(), parts.next(), parts.next());
            let left = left.filter(|left| !left.is_empty()).map(str::parse::<usize>).transpose();
            let identity = Identity::parse(identity.unwrap_or_default()).map_err(|_| malformed())?;
            Ok::<_, HubError>((left.map_err(|_| malformed())?, (job.unwrap_or_default().to_owned(), identity)))
        });
        let (left, mut after) = match place.transpose()? {
            Some((left, after)) => (left, Some(after)),
            None => (query.top(), None),
        };
        let size = left.map_or(page, |left| left.min(page));
        let filter = DeviceJobFilter { job: one_text(query, "jobId"), device: one_text(query, "deviceId") };
        let mut items = vec![];
        loop {
            let found = self.store.device_jobs(filter.clone(), after.clone(), SCAN_PAGE).await?;
            let is_last = found.len() < SCAN_PAGE;
            for device_job in found {
                if items.len() >= size {
                    let left = left.map(|left| left - size);
                    let next = after.filter(|_| left != Some(0));
                    let text = |(job, identity): (String, Identity)| {
                        format!("{}|{job}|{identity}", left.map(|left| left.to_string()).unwrap_or_default())
                    };
                    return Ok(JobPage { items, continuation: next.map(text) });
                }
                let document = device_job.document();
                after = Some((device_job.job_id, device_job.identity));
                if query.matches(&document) {
                    items.push(document);
                }
            }
            if is_last {
                return Ok(JobPage { items, continuation: None });
            }
        }
    }

    /// Runs jobs whose time has come, for ever; returns only when the store fails.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_jobs(&self, clock: &dyn Clock) -> Result<(), HubError> {
        let mut running = stream::FuturesUnordered::new();
        // Whatever an earlier call left behind does not run any more.
        self.running.jobs.lock().clear();
        loop {
            let now = clock.now();
            let mut next = None;
            for job in self.store.unfinished_jobs().await? {
                let is_running = self.running.jobs.lock().contains_key(&job.id);
                if job.start_at > now {
                    next = Some(next.map_or(job.start_at, |at: Timestamp| at.min(job.start_at)));
                } else if !is_running && running.len() < RUNNING_MAX {
                    let control = Control { stop: watch::Sender::new(false), at_work: Arc::default() };
                    self.running.jobs.lock().insert(job.id.clone(), control.clone());
                    running.push(self.run_job(clock, job, control));
                }
            }
            self.store.forget_jobs(Timestamp::from_millis(now.as_millis() - HISTORY.as_millis() as i64)).await?;
            let pause = next.map_or(Duration::from_secs(60), |at| at.since(now)).min(Duration::from_secs(60));
            tokio::select! {
                () = self.running.wanted.notified() => {}
                () = clock.sleep(pause) => {}
                Some(ended) = running.next() => {
                    let (id, result): (String, Result<(), HubError>) = ended;
                    self.running.jobs.lock().remove(&id);
                    result?;
                }
            }
        }
    }

    async fn run_job(&self, clock: &dyn Clock, job: Job, control: Control) -> (String, Result<(), HubError>) {
        let id = job.id.clone();
        let mut stop = control.stop.subscribe();
        let result = tokio::select! {
            result = self.work_off(clock, job, &control) => result,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        };
        (id, result)
    }

    async fn work_off(&self, clock: &dyn Clock, mut job: Job, control: &Control) -> Result<(), HubError> {
        if job.began_at.is_none() {
            (job.began_at, job.status) = (Some(clock.now()), JobStatus::Running);
            self.advance(&job).await?;
        }
        let deadline = job.deadline();
        let left = deadline.since(clock.now());
        let finished = tokio::select! {
            result = self.list_and_work(clock, &mut job, control) => { result?; true }
            () = clock.sleep(left) => false,
        };
        let _one = self.running.writing.lock().await;
        let mut job = self.job(&job.id).await?;
        if job.status.has_ended() {
            return Ok(());
        }
        job.ended_at = Some(clock.now());
        if finished {
            job.status = JobStatus::Completed;
            self.store.end_job(job, Outcome::Pending).await?;
        } else {
            let why = "maxExecutionTimeInSeconds is over".to_owned();
            (job.status, job.failure) = (JobStatus::Failed, Some(why.clone()));
            let late = Outcome::Failed { code: "JobTimedOut".to_owned(), description: why };
            self.store.end_job(job, late).await?;
        }
        Ok(())
    }

    /// Writes what changed of a job, unless it was cancelled meanwhile.
    async fn advance(&self, job: &Job) -> Result<(), HubError> {
        let _one = self.running.writing.lock().await;
        if self.job(&job.id).await?.status.has_ended() {
            return Ok(());
        }
        Ok(self.store.update_job(job.clone()).await?)
    }

    async fn list_and_work(&self, clock: &dyn Clock, job: &mut Job, control: &Control) -> Result<(), HubError> {
        if !job.is_listed {
            let query = job.query()?;
            let mut after = self.store.last_device_of(&job.id).await?;
            loop {
                let (found, next) = self.matching(&query, after.as_ref(), PAGE).await?;
                let identities = found.into_iter().map(|record| record.device.identity).collect();
                self.store.list_devices(&job.id, clock.now(), identities).await?;
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            job.is_listed = true;
            self.advance(job).await?;
        }
        let mut after = None;
        loop {
            let pending = self.store.pending_devices(&job.id, after.as_ref(), PAGE).await?;
            let Some(last) = pending.last().cloned() else { return Ok(()) };
            after = Some(last);
            self.work_through(clock, job, control, pending).await?;
        }
    }

    async fn work_through(
        &self,
        clock: &dyn Clock,
        job: &Job,
        control: &Control,
        devices: Vec<Identity>,
    ) -> Result<(), HubError> {
        let work = |identity: Identity| async move {
            control.at_work.fetch_add(1, Ordering::Relaxed);
            let began_at = clock.now();
            let outcome = Outcome::of(self.do_work(clock, &job.work, &identity).await);
            control.at_work.fetch_sub(1, Ordering::Relaxed);
            (identity, began_at, clock.now(), outcome)
        };
        // Outcomes that are there together share a commit; none waits for a slow device.
        let mut outcomes = stream::iter(devices).map(work).buffer_unordered(DEVICES_AT_ONCE).ready_chunks(PAGE);
        while let Some(chunk) = outcomes.next().await {
            self.store.put_outcomes(&job.id, chunk).await?;
        }
        Ok(())
    }

    async fn do_work(
        &self,
        clock: &dyn Clock,
        work: &Work,
        identity: &Identity,
    ) -> Result<Option<MethodResponse>, HubError> {
        match work {
            Work::UpdateTwin { write, .. } => {
                self.write_twin(clock.now(), identity, write, &IfMatch::Any).await.map(|_| None)
            }
            Work::CallMethod { call, response, connect } => {
                let timeouts = MethodTimeouts { connect: *connect, response: *response };
                self.call_method(clock, identity, call, timeouts).await.map(Some)
            }
        }
    }
}

/// The one text an attribute must equal, if the condition demands one.
fn one_text(query: &Query, name: &str) -> Option<String> {
    query.constraints().into_iter().find_map(|Constraint { path, test }| match (path.as_slice(), test) {
        ([Step::Name(found)], Test::OneOf(values)) if found == name => match values.as_slice() {
            [Value::String(text)] => Some(text.clone()),
            _ => None,
        },
        _ => None,
    })
}
