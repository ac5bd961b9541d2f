//! What the application does by itself: jobs on devices, and those that are due.
//!
//! A job is worked on in one task: batches are handed out as the job says, [`AT_ONCE`] devices of them at a time, and
//! how they fared is written together. A job that ran when the process stopped goes on with the devices that had not
//! fared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use gantry_api::now;
use gantry_central::devices::{Device, Profile, template_of, write_properties};
use gantry_central::ids::{JobId, OrganizationId};
use gantry_central::jobs::all::Handed;
use gantry_central::jobs::run::Status;
use gantry_central::jobs::{CapabilityValue, Job, JobData, JobError};
use gantry_central::organizations::Ancestry;
use gantry_central::templates::DeviceTemplate;
use gantry_central::{CentralError, State, Write};
use gantry_hub::device::IfMatch;
use gantry_hub::twin::TwinWrite;
use gantry_hub::{HubError, MethodTimeouts};
use gantry_identity::{DeviceId, Identity};
use rand::Rng as _;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::devices::commands::{Asked, execute};
use crate::devices::members;
use crate::{Application, Failure};

/// How often it is looked for jobs nobody told of.
const PERIOD: Duration = Duration::from_secs(1);
/// Devices of a job that are worked on at once.
const AT_ONCE: usize = 64;
/// How long the answer to a command of a job is waited for.
const RESPONSE: Duration = Duration::from_secs(30);
/// Attempts of a read-change-write.
const WRITE_ATTEMPTS: usize = 32;

/// Runs jobs until it is told to stop.
pub async fn run(application: Arc<Application>, mut stopped: watch::Receiver<bool>) {
    let mut working: HashMap<JobId, JoinHandle<()>> = HashMap::new();
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = application.work.notified() => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
        if let Err(error) = make_due(&application).await {
            warn!(?error, "scheduled jobs are not made");
        }
        if let Err(error) = application.central.forget_jobs(now()).await {
            warn!(%error, "old jobs are not forgotten");
        }
        working.retain(|_, work| !work.is_finished());
        for (id, kept) in application.central.jobs().iter() {
            if kept.value.run.status() == Status::Running && !working.contains_key(id) {
                let work = tokio::spawn(work(Arc::clone(&application), id.clone()));
                working.insert(id.clone(), work);
            }
        }
    }
    for work in working.into_values() {
        work.abort();
    }
}

/// Makes the jobs of scheduled ones that are due.
async fn make_due(application: &Application) -> Result<(), Failure> {
    for (scheduled, kept) in &application.central.state().scheduled {
        let Some(number) = kept.value.due(now()) else { continue };
        let devices = devices_of(application, &kept.value.job).await?;
        let id = JobId::parse(&uuid::Uuid::new_v4().to_string())?;
        let write = Write { now: now(), drawn: rand::rng().random(), if_match: &IfMatch::Absent };
        match application.central.run_scheduled_job(write, scheduled, number, &id, &devices).await {
            Ok(()) => {}
            // It stays due.
            Err(CentralError::Job(JobError::Busy)) => return Ok(()),
            Err(error) => info!(%scheduled, %error, "a scheduled job was not made"),
        }
    }
    Ok(())
}

/// The devices of a job's group that are seen from its organization.
pub(crate) async fn devices_of(application: &Application, job: &Job) -> Result<Vec<DeviceId>, Failure> {
    let state = application.central.state();
    let group =
        state.groups.get(&job.group).ok_or_else(|| CentralError::from(JobError::UnknownGroup(job.group.clone())))?;
    let is_seen =
        |of: Option<&OrganizationId>| Ancestry::of(&state.organizations, of).is_seen(job.organization.as_ref());
    members(application, &group.value, &is_seen).await
}

/// Works on a job until it ends, is stopped, or cannot go on.
async fn work(application: Arc<Application>, id: JobId) {
    match work_on(&application, &id).await {
        Ok(()) => {}
        // It was deleted, or goes on when the store does.
        Err(CentralError::Job(error)) => info!(%id, %error, "a job ended meanwhile"),
        Err(error) => warn!(%id, %error, "a job does not go on"),
    }
}

async fn work_on(application: &Application, id: &JobId) -> Result<(), CentralError> {
    let central = &application.central;
    let mut waiting = central.jobs().outstanding(id);
    loop {
        let jobs = central.jobs();
        let record = jobs.get(id).filter(|kept| kept.value.run.status() == Status::Running);
        let Some(record) = record else { return Ok(()) };
        if waiting.is_empty() {
            waiting = central.hand_out_devices(id).await?;
            if waiting.is_empty() {
                return Ok(());
            }
        }
        let rest = waiting.split_off(waiting.len().min(AT_ONCE));
        let some = std::mem::replace(&mut waiting, rest);
        let job = &record.value.job;
        let one = async |handed: Handed| {
            let done = carry_out(application, &handed.device, job).await;
            if let Err(error) = &done {
                info!(%id, device = %handed.device, ?error, "a job failed on a device");
            }
            (handed.at, done.is_ok())
        };
        let fared = join_all(some.into_iter().map(one)).await;
        central.settle_devices(now(), id, &fared).await?;
    }
}

/// Does to one device what a job says.
async fn carry_out(application: &Application, id: &DeviceId, job: &Job) -> Result<(), Failure> {
    let identity = Identity::device(id.clone());
    check_seen(application, &identity, job).await?;
    let (changes, commands): (Vec<_>, Vec<_>) = job.data.iter().partition(|data| !matches!(data, JobData::Command(_)));
    if !changes.is_empty() {
        change(application, &identity, &changes).await?;
    }
    for command in commands {
        if let JobData::Command(command) = command {
            call(application, &identity, command).await?;
        }
    }
    Ok(())
}

/// Checks that a device is still seen from where the job is: it may have moved since the job was made.
async fn check_seen(application: &Application, identity: &Identity, job: &Job) -> Result<(), Failure> {
    let record = application.api.hub.record(identity).await?;
    let state = application.central.state();
    let of = Profile::of(&record.twin.tags).organization;
    if Ancestry::of(&state.organizations, of.as_ref()).is_seen(job.organization.as_ref()) {
        return Ok(());
    }
    Err(Failure::conflict("the device is not in the organization of the job any more"))
}

/// Writes what a job changes of a twin, all of it at once.
async fn change(application: &Application, identity: &Identity, changes: &[&JobData]) -> Result<(), Failure> {
    let hub = &application.api.hub;
    for _ in 0..WRITE_ATTEMPTS {
        let record = hub.record(identity).await?;
        let state = application.central.state();
        let mut profile = Profile::of(&record.twin.tags);
        let template = template_of(&state.templates, &profile, record.twin.model_id.as_deref());
        let mut body = Map::new();
        let mut is_moved = false;
        for one in changes {
            match one {
                JobData::Property(value) | JobData::CloudProperty(value) => {
                    let is_cloud = matches!(one, JobData::CloudProperty(_));
                    put(&mut body, template.map(|(id, kept)| (id.as_str(), &kept.value)), value, is_cloud)?;
                }
                JobData::DeviceTemplateMigration { template } => {
                    (profile.template, is_moved) = (Some(template.clone()), true);
                }
                JobData::DeviceManifestMigration { manifest } => {
                    let kept = state.manifests.get(manifest);
                    let kept = kept.ok_or_else(|| CentralError::from(JobError::UnknownManifest(manifest.clone())))?;
                    hub.apply_content(now(), identity, kept.value.data.value()).await?;
                    (profile.manifest, is_moved) = (Some(manifest.clone()), true);
                }
                JobData::Command(_) => {}
            }
        }
        let capabilities = template.map(|(_, kept)| kept.value.capabilities()).transpose();
        let capabilities = capabilities.map_err(CentralError::from)?;
        let body = Value::Object(body);
        let written = write_properties(&record, &profile, capabilities.as_deref(), None, &body, false)?;
        let mut writes: Vec<TwinWrite> = written.twin().into_iter().collect();
        if is_moved {
            writes.push(TwinWrite { tags: profile.write_over(&Profile::of(&record.twin.tags)), desired: None });
        }
        match store(application, identity, record.twin.etag_text(), &writes).await {
            Err(HubError::PreconditionFailed(_)) => {}
            other => return Ok(other?),
        }
    }
    Err(HubError::Contended(identity.to_string()).into())
}

async fn store(
    application: &Application,
    identity: &Identity,
    mut etag: String,
    writes: &[TwinWrite],
) -> Result<(), HubError> {
    for write in writes {
        let record = application.api.hub.write_twin(now(), identity, write, &IfMatch::tag(etag)).await?;
        etag = record.twin.etag_text();
    }
    Ok(())
}

/// Checks that a value is for a device of a template, which may be named by its own id or by that of its model.
fn check_target(template: Option<(&str, &DeviceTemplate)>, target: &str) -> Result<(), Failure> {
    match template {
        Some((id, template)) if id == target || template.model_id() == target => Ok(()),
        _ => Err(Failure::conflict(format!("the device is not of template `{target}`"))),
    }
}

fn put(
    body: &mut Map<String, Value>,
    template: Option<(&str, &DeviceTemplate)>,
    value: &CapabilityValue,
    is_cloud: bool,
) -> Result<(), Failure> {
    check_target(template, &value.target)?;
    let (component, name) = value.name();
    if let Some((_, template)) = template {
        let capabilities = template.capabilities().map_err(CentralError::from)?;
        let property = capabilities.part(component).and_then(|part| part.property(name));
        if property.is_some_and(|property| property.is_cloud != is_cloud) {
            return Err(Failure::conflict(format!("`{}` is a property of the other kind", value.path)));
        }
    }
    let new = value.value.clone().unwrap_or_default();
    match component {
        None => drop(body.insert(name.to_owned(), new)),
        Some(component) => {
            let part = body.entry(component.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(part) = part {
                part.insert(name.to_owned(), new);
            }
        }
    }
    Ok(())
}

async fn call(application: &Application, identity: &Identity, command: &CapabilityValue) -> Result<(), Failure> {
    let record = application.api.hub.record(identity).await?;
    let state: Arc<State> = application.central.state();
    let device = Device::of(&record, &state.templates, false);
    let template = device.template.as_ref().and_then(|id| Some((id.as_str(), &state.templates.get(id)?.value)));
    check_target(template, &command.target)?;
    let capabilities = template.map(|(_, template)| template.capabilities()).transpose();
    let capabilities = capabilities.map_err(CentralError::from)?;
    let (component, name) = command.name();
    let request = command.value.clone().filter(|value| !value.is_null());
    let timeouts = MethodTimeouts { connect: Duration::ZERO, response: RESPONSE };
    let asked = Asked { component, name, request, timeouts };
    let run = execute(application, identity, capabilities.as_deref(), asked).await?;
    match run.response_code {
        // What a device refuses failed; what waits for it did not.
        Some(code) if code >= 400 => Err(Failure::conflict(format!("the device answered {code}"))),
        _ => Ok(()),
    }
}
