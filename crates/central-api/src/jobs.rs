//! Jobs and scheduled jobs. What runs them is in [`work`](crate::work).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::access::permissions::Permission;
use gantry_central::ids::{DeploymentManifestId, DeviceGroupId, DeviceTemplateId, DisplayName, JobId};
use gantry_central::jobs::all::JobRecord;
use gantry_central::jobs::schedule::{End, Recurrence, Schedule};
use gantry_central::jobs::scheduled::ScheduledJob;
use gantry_central::jobs::{CapabilityValue, Job, JobData, JobError, Share, Threshold};
use gantry_central::kept::Kept;
use gantry_central::{CentralError, ScheduledWrite};
use gantry_hub::device::IfMatch;
use gantry_identity::Timestamp;
use serde_json::{Value, json};

use crate::call::Call;
use crate::kind::Kind;
use crate::{Failure, body, list, work};

fn show_share(share: Share) -> Value {
    match share {
        Share::Number(value) => json!({ "type": "number", "value": value }),
        Share::Percentage(value) => json!({ "type": "percentage", "value": value }),
    }
}

fn read_share(value: &Value, field: &str) -> Result<Share, Failure> {
    let number = value.get("value").and_then(Value::as_u64);
    let number = number.ok_or_else(|| Failure::invalid(format!("`{field}.value` is a whole number")))?;
    match value.get("type").and_then(Value::as_str) {
        Some("number") => Ok(Share::Number(number)),
        // Past a hundred it is refused by what it is for.
        Some("percentage") => Ok(Share::Percentage(u8::try_from(number).unwrap_or(u8::MAX))),
        _ => Err(Failure::invalid(format!("`{field}.type` is `number` or `percentage`"))),
    }
}

/// An object without other members than these.
fn only(value: &Value, field: &str, names: &[&str]) -> Result<(), Failure> {
    let Value::Object(members) = value else { return Err(Failure::invalid(format!("`{field}` is an object"))) };
    match members.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(Failure::invalid(format!("`{field}.{name}` is not a field"))),
        None => Ok(()),
    }
}

fn there<'b>(body: &'b Value, name: &str) -> Option<&'b Value> {
    body.get(name).filter(|value| !value.is_null())
}

fn read_data(item: &Value, at: usize) -> Result<JobData, Failure> {
    let field = format!("data[{at}]");
    let kind = body::needed(item, "type").map_err(|_| Failure::invalid(format!("`{field}.type` is missing")))?;
    let text = |name: &str| {
        let text = item.get(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| Failure::invalid(format!("`{field}.{name}` is a string")))
    };
    let value = || {
        only(item, &field, &["type", "target", "path", "value"])?;
        Ok::<_, Failure>(CapabilityValue {
            target: text("target")?,
            path: text("path")?,
            value: item.get("value").cloned(),
        })
    };
    // The longer words are those of the first previews.
    match kind {
        "property" | "PropertyJobData" => Ok(JobData::Property(value()?)),
        "cloudProperty" | "CloudPropertyJobData" => Ok(JobData::CloudProperty(value()?)),
        "command" | "CommandJobData" => Ok(JobData::Command(value()?)),
        "deviceTemplateMigration" => {
            only(item, &field, &["type", "template"])?;
            Ok(JobData::DeviceTemplateMigration { template: DeviceTemplateId::parse(&text("template")?)? })
        }
        "deviceManifestMigration" => {
            only(item, &field, &["type", "manifest"])?;
            Ok(JobData::DeviceManifestMigration { manifest: DeploymentManifestId::parse(&text("manifest")?)? })
        }
        _ => Err(Failure::invalid(format!("`{field}.type` is no kind of change"))),
    }
}

fn show_data(data: &JobData) -> Value {
    let of = |kind: &str, value: &CapabilityValue| {
        let mut shown = json!({ "type": kind, "target": value.target, "path": value.path });
        if let Some(value) = &value.value {
            shown["value"] = value.clone();
        }
        shown
    };
    match data {
        JobData::Property(value) => of("property", value),
        JobData::CloudProperty(value) => of("cloudProperty", value),
        JobData::Command(value) => of("command", value),
        JobData::DeviceTemplateMigration { template } => {
            json!({ "type": "deviceTemplateMigration", "template": template.as_str() })
        }
        JobData::DeviceManifestMigration { manifest } => {
            json!({ "type": "deviceManifestMigration", "manifest": manifest.as_str() })
        }
    }
}

fn read(body: &Value) -> Result<Job, Failure> {
    let batch = there(body, "batch").map(|value| {
        only(value, "batch", &["type", "value"])?;
        read_share(value, "batch")
    });
    let threshold = there(body, "cancellationThreshold").map(|value| {
        only(value, "cancellationThreshold", &["type", "value", "batch"])?;
        let is_per_batch = body::flag(value, "batch")?.unwrap_or(false);
        Ok::<_, Failure>(Threshold { share: read_share(value, "cancellationThreshold")?, is_per_batch })
    });
    let Some(Value::Array(data)) = body.get("data") else { return Err(Failure::invalid("`data` is an array")) };
    Ok(Job {
        scheduled: None,
        display_name: body::parsed(body, "displayName", DisplayName::parse)?,
        description: body::text(body, "description")?.map(str::to_owned),
        group: DeviceGroupId::parse(body::needed(body, "group")?)?,
        batch: batch.transpose()?,
        cancellation_threshold: threshold.transpose()?,
        data: data.iter().enumerate().map(|(at, item)| read_data(item, at)).collect::<Result<_, _>>()?,
        organization: body::organization(body)?,
    })
}

/// What jobs and scheduled ones have in common.
fn show_job(id: &str, job: &Job) -> Value {
    let data: Vec<Value> = job.data.iter().map(show_data).collect();
    let mut shown = json!({ "id": id, "group": job.group.as_str(), "data": data });
    if let Some(name) = &job.display_name {
        shown["displayName"] = name.as_str().into();
    }
    if let Some(description) = &job.description {
        shown["description"] = description.as_str().into();
    }
    if let Some(batch) = job.batch {
        shown["batch"] = show_share(batch);
    }
    if let Some(threshold) = job.cancellation_threshold {
        shown["cancellationThreshold"] = show_share(threshold.share);
        shown["cancellationThreshold"]["batch"] = threshold.is_per_batch.into();
    }
    body::put_organization(&mut shown, job.organization.as_ref());
    shown
}

fn show(id: &str, kept: &Kept<JobRecord>) -> Value {
    let JobRecord { job, run } = &kept.value;
    let mut shown = show_job(id, job);
    if let Some(occurrence) = &job.scheduled {
        shown["scheduledJobId"] = occurrence.job.as_str().into();
    }
    for (name, at) in [("start", run.started_at()), ("end", run.ended_at())] {
        if let Some(at) = at {
            shown[name] = at.to_string().into();
        }
    }
    let progress = run.progress();
    shown["progress"] = json!({
        "total": progress.total,
        "pending": progress.pending,
        "completed": progress.completed,
        "failed": progress.failed,
    });
    shown["status"] = run.status().word().into();
    shown
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let jobs = call.central().jobs();
    let seen = jobs.iter().filter(|(_, kept)| call.sees(Permission::JobsView, kept.value.job.organization.as_ref()));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show(id, kept))
}

/// The job of a piece of the path, which the caller sees.
fn known(call: &Call) -> Result<JobId, Failure> {
    let id = call.id("jobId", JobId::parse)?;
    let jobs = call.central().jobs();
    let unknown = || Failure::from(CentralError::from(JobError::Unknown(id.clone())));
    let kept = jobs.get(&id).ok_or_else(unknown)?;
    call.may_see(Permission::JobsView, kept.value.job.organization.as_ref(), unknown)?;
    Ok(id)
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let id = known(&call)?;
    let jobs = call.central().jobs();
    let kept = jobs.get(&id).ok_or_else(|| CentralError::from(JobError::Unknown(id.clone())))?;
    Ok(Json(show(id.as_str(), kept)))
}

pub(crate) async fn put(call: Call) -> Result<Json<Value>, Failure> {
    let id = call.id("jobId", JobId::parse)?;
    let (job, if_match) = (read(&call.body()?)?, call.if_match(&Value::Null)?);
    let devices = work::devices_of(call.application(), &job).await?;
    let kept = call.central().put_job(call.write(&if_match), &id, &job, &devices, &call.who.roles).await?;
    call.application().work.notify_one();
    Ok(Json(show(id.as_str(), &kept)))
}

pub(crate) async fn devices(call: Call) -> Result<Response, Failure> {
    let id = known(&call)?;
    let jobs = call.central().jobs();
    let all = jobs.devices(&id, 0).map(|(at, device, outcome)| (format!("{at:09}"), (device.to_owned(), outcome)));
    list::answer(&call, all, |_, (device, outcome)| json!({ "id": device, "status": outcome.word() }))
}

pub(crate) async fn rerun(call: Call) -> Result<Json<Value>, Failure> {
    let (id, rerun) = (known(&call)?, call.id("rerunId", JobId::parse)?);
    let if_match = call.if_match(&Value::Null)?;
    let kept = call.central().rerun_job(call.write(&if_match), &id, &rerun, &call.who.roles).await?;
    call.application().work.notify_one();
    Ok(Json(show(rerun.as_str(), &kept)))
}

pub(crate) async fn stop(call: Call) -> Result<Response, Failure> {
    let id = known(&call)?;
    call.central().stop_job(&id, &call.who.roles).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn resume(call: Call) -> Result<Response, Failure> {
    let id = known(&call)?;
    call.central().resume_job(gantry_api::now(), &id, &call.who.roles).await?;
    call.application().work.notify_one();
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn show_scheduled(id: &str, kept: &Kept<ScheduledJob>) -> Value {
    let one = &kept.value;
    let mut shown = show_job(id, &one.job);
    let mut schedule = json!({ "start": one.schedule.start.to_string() });
    if let Some(recurrence) = one.schedule.recurrence {
        schedule["recurrence"] = word(recurrence).into();
    }
    match one.schedule.end {
        Some(End::Date(at)) => schedule["end"] = json!({ "type": "date", "date": at.to_string() }),
        Some(End::Occurrences(count)) => schedule["end"] = json!({ "type": "occurrences", "occurrences": count }),
        None => {}
    }
    shown["schedule"] = schedule;
    shown["enabled"] = one.enabled.into();
    shown["completed"] = one.is_completed().into();
    shown["etag"] = format!("\"{}\"", kept.etag.text()).into();
    shown
}

fn word(recurrence: Recurrence) -> &'static str {
    match recurrence {
        Recurrence::Daily => "daily",
        Recurrence::Weekly => "weekly",
        Recurrence::Monthly => "monthly",
    }
}

fn read_schedule(value: &Value) -> Result<Schedule, Failure> {
    only(value, "schedule", &["start", "recurrence", "end"])?;
    let time = |text: &str, field: &str| {
        Timestamp::parse(text).ok_or_else(|| Failure::invalid(format!("`{field}` is a time as `2027-01-01T00:00:00Z`")))
    };
    let words = [Recurrence::Daily, Recurrence::Weekly, Recurrence::Monthly];
    let recurrence = body::text(value, "recurrence")?.map(|text| {
        let found = words.into_iter().find(|one| word(*one) == text);
        found.ok_or_else(|| Failure::invalid("`schedule.recurrence` is `daily`, `weekly` or `monthly`"))
    });
    let end = there(value, "end").map(|end| match end.get("type").and_then(Value::as_str) {
        Some("date") => {
            only(end, "schedule.end", &["type", "date"])?;
            Ok(End::Date(time(body::needed(end, "date")?, "schedule.end.date")?))
        }
        Some("occurrences") => {
            only(end, "schedule.end", &["type", "occurrences"])?;
            let count = end.get("occurrences").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
            count.map(End::Occurrences).ok_or_else(|| Failure::invalid("`schedule.end.occurrences` is a whole number"))
        }
        _ => Err(Failure::invalid("`schedule.end.type` is `date` or `occurrences`")),
    });
    let start = time(body::needed(value, "start")?, "schedule.start")?;
    Ok(Schedule { start, recurrence: recurrence.transpose()?, end: end.transpose()? })
}

pub(crate) async fn list_scheduled(call: Call) -> Result<Response, Failure> {
    let all = call.who.state.scheduled.iter();
    let seen = all.filter(|(_, kept)| call.sees(Permission::JobsView, kept.value.job.organization.as_ref()));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show_scheduled(id, kept))
}

fn known_scheduled(call: &Call) -> Result<(JobId, &Kept<ScheduledJob>), Failure> {
    let id = call.id("scheduledJobId", JobId::parse)?;
    let kept = call.who.state.scheduled.get(&id);
    let unknown = || Failure::from(CentralError::from(JobError::UnknownScheduled(id.clone())));
    let kept = kept.ok_or_else(unknown)?;
    call.may_see(Permission::JobsView, kept.value.job.organization.as_ref(), unknown)?;
    Ok((id, kept))
}

pub(crate) async fn get_scheduled(call: Call) -> Result<Json<Value>, Failure> {
    let (id, kept) = known_scheduled(&call)?;
    Ok(Json(show_scheduled(id.as_str(), kept)))
}

/// Scheduled jobs, as a kind.
pub(crate) struct ScheduledJobs;

impl Kind for ScheduledJobs {
    type Id = JobId;
    type Object = ScheduledJob;
    const WHOLE: &'static [&'static str] = &["data", "schedule", "batch", "cancellationThreshold"];

    fn known(call: &Call) -> Result<(JobId, &Kept<ScheduledJob>), Failure> {
        known_scheduled(call)
    }

    fn show(id: &str, kept: &Kept<ScheduledJob>) -> Value {
        show_scheduled(id, kept)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        write_scheduled(call, body, if_match).await
    }
}

async fn write_scheduled(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
    let id = call.id("scheduledJobId", JobId::parse)?;
    let schedule = there(body, "schedule").ok_or_else(|| Failure::invalid("`schedule` is missing"))?;
    let enabled = body::flag(body, "enabled")?.unwrap_or(true);
    let new = ScheduledWrite { job: read(body)?, schedule: read_schedule(schedule)?, enabled };
    let kept = call.central().put_scheduled_job(call.write(if_match), &id, &new, &call.who.roles).await?;
    call.application().work.notify_one();
    Ok(Json(show_scheduled(id.as_str(), &kept)))
}

pub(crate) async fn remove_scheduled(call: Call) -> Result<Response, Failure> {
    let (id, _) = known_scheduled(&call)?;
    call.central().delete_scheduled_job(&id, &call.if_match(&Value::Null)?, &call.who.roles).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn jobs_of_scheduled(call: Call) -> Result<Response, Failure> {
    let (id, _) = known_scheduled(&call)?;
    let jobs = call.central().jobs();
    let its = jobs.iter().filter(|(_, kept)| kept.value.job.scheduled.as_ref().is_some_and(|one| one.job == id));
    list::answer(&call, its.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show(id, kept))
}
