//! Scheduled jobs: tables `jobs` and `job_devices`.
//!
//! `jobs.document` is JSON: `condition`, `kind`, `work`, `executionMaxMs`, `failure`. In the work of a twin update
//! `tags` and `desired` are what is merged, or false when the section is cleared. What is
//! compared, counted or changed while a job runs has columns. `job_devices.outcome` is a
//! number: 0 pending, 1 succeeded, 2 failed, 3 cancelled; `details` is JSON with `status` and
//! `payload` (base64) of a method's response, or `code` and `description` of a failure.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_hub::MethodCall;
use gantry_hub::job::{DeviceJob, Job, JobStatus, Outcome, Statistics, Work, response};
use gantry_hub::ports::{DeviceJobFilter, Fared, JobFilter, JobStore, PortFuture, StoreError};
use gantry_hub::twin::{Object, SectionWrite, TwinWrite};
use gantry_identity::{Identity, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Value, json};

use crate::database::{Database, fail};
use crate::shapes::{corrupt, identity};

pub(crate) const TABLES: &str = "
CREATE TABLE jobs(
  id TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL, kind TEXT NOT NULL, created_at INTEGER NOT NULL,
  start_at INTEGER NOT NULL, began_at INTEGER, ended_at INTEGER, listed INTEGER NOT NULL DEFAULT 0,
  devices INTEGER NOT NULL DEFAULT 0, succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  document TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX jobs_by_age ON jobs(created_at, id);
CREATE INDEX jobs_unfinished ON jobs(start_at) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs(ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE job_devices(
  job_id TEXT NOT NULL, device_id TEXT NOT NULL, module_id TEXT NOT NULL, outcome INTEGER NOT NULL,
  created_at INTEGER NOT NULL, began_at INTEGER, ended_at INTEGER, details TEXT,
  PRIMARY KEY(job_id, device_id, module_id)) WITHOUT ROWID;
CREATE INDEX job_devices_pending ON job_devices(job_id, device_id, module_id) WHERE outcome = 0;
CREATE INDEX job_devices_by_device ON job_devices(device_id, job_id, module_id);
";

/// Rows deleted at once when history is forgotten, so that no transaction is long.
const FORGET_ROWS_MAX: i64 = 5_000;

const SELECT: &str = "SELECT id, status, created_at, start_at, began_at, ended_at, listed, devices, succeeded, failed,
                      document FROM jobs";

fn module_of(identity: &Identity) -> &str {
    identity.module.as_ref().map_or("", |module| module.as_str())
}

fn document(job: &Job) -> String {
    let work = match &job.work {
        Work::UpdateTwin { write, shown } => {
            json!({ "tags": section(write.tags.as_ref()), "desired": section(write.desired.as_ref()), "shown": shown })
        }
        Work::CallMethod { call, response, connect } => json!({
            "method": call.name, "payload": STANDARD.encode(&call.payload),
            "responseMs": response.as_millis() as u64, "connectMs": connect.as_millis() as u64,
        }),
    };
    json!({
        "condition": job.condition, "work": work, "failure": job.failure,
        "executionMaxMs": job.execution_max.as_millis() as u64,
    })
    .to_string()
}

fn read_work(work: &Value) -> Option<Work> {
    if let Some(name) = work["method"].as_str() {
        let ms = |field: &str| work[field].as_u64().map(Duration::from_millis);
        let payload = STANDARD.decode(work["payload"].as_str()?).ok()?;
        let call = MethodCall { name: name.to_owned(), payload: payload.into() };
        return Some(Work::CallMethod { call, response: ms("responseMs")?, connect: ms("connectMs")? });
    }
    let write = TwinWrite { tags: read_section(&work["tags"]), desired: read_section(&work["desired"]) };
    Some(Work::UpdateTwin { write, shown: work["shown"].clone() })
}

fn section(write: Option<&SectionWrite>) -> Value {
    match write {
        None => Value::Null,
        Some(SectionWrite::Clear) => Value::Bool(false),
        Some(SectionWrite::Merge(values) | SectionWrite::Replace(values)) => Value::Object(values.clone()),
    }
}

fn read_section(value: &Value) -> Option<SectionWrite> {
    match value {
        Value::Object(patch) => Some(SectionWrite::Merge(patch.clone())),
        Value::Bool(false) => Some(SectionWrite::Clear),
        _ => None,
    }
}

/// A row as read, decoded outside of the query.
struct RawJob {
    id: String,
    status: String,
    created_at: i64,
    start_at: i64,
    began_at: Option<i64>,
    ended_at: Option<i64>,
    is_listed: bool,
    statistics: Statistics,
    document: String,
}

impl RawJob {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let count = |index| row.get(index).map(i64::cast_unsigned);
        Ok(Self {
            id: row.get(0)?,
            status: row.get(1)?,
            created_at: row.get(2)?,
            start_at: row.get(3)?,
            began_at: row.get(4)?,
            ended_at: row.get(5)?,
            is_listed: row.get(6)?,
            statistics: Statistics { devices: count(7)?, succeeded: count(8)?, failed: count(9)? },
            document: row.get(10)?,
        })
    }

    fn decode(self) -> Result<Job, StoreError> {
        let bad = || corrupt("job");
        let document: Value = serde_json::from_str(&self.document).map_err(|_| bad())?;
        Ok(Job {
            id: self.id,
            condition: document["condition"].as_str().ok_or_else(bad)?.to_owned(),
            work: read_work(&document["work"]).ok_or_else(bad)?,
            created_at: Timestamp::from_millis(self.created_at),
            start_at: Timestamp::from_millis(self.start_at),
            execution_max: Duration::from_millis(document["executionMaxMs"].as_u64().ok_or_else(bad)?),
            began_at: self.began_at.map(Timestamp::from_millis),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            status: JobStatus::parse(&self.status).ok_or_else(bad)?,
            failure: document["failure"].as_str().map(str::to_owned),
            is_listed: self.is_listed,
            statistics: self.statistics,
        })
    }
}

fn outcome_columns(outcome: &Outcome) -> (i64, Option<String>) {
    match outcome {
        Outcome::Pending => (0, None),
        Outcome::Succeeded(answer) => (
            1,
            answer.as_ref().map(|answer| {
                json!({ "status": answer.status, "payload": STANDARD.encode(&answer.payload) }).to_string()
            }),
        ),
        Outcome::Failed { code, description } => {
            (2, Some(json!({ "code": code, "description": description }).to_string()))
        }
        Outcome::Cancelled => (3, None),
    }
}

fn read_outcome(kind: i64, details: Option<&str>) -> Option<Outcome> {
    let details: Object = details.map(serde_json::from_str).transpose().ok()?.unwrap_or_default();
    let text = |field: &str| details.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(match kind {
        0 => Outcome::Pending,
        1 => match details.get("status").and_then(Value::as_i64) {
            Some(status) => {
                let payload = STANDARD.decode(text("payload")?).ok()?;
                Outcome::Succeeded(Some(response(i32::try_from(status).ok()?, payload.into())))
            }
            None => Outcome::Succeeded(None),
        },
        2 => Outcome::Failed { code: text("code")?, description: text("description")? },
        _ => Outcome::Cancelled,
    })
}

fn write_row(connection: &Connection, job: &Job) -> rusqlite::Result<()> {
    let sql = "UPDATE jobs SET status = ?2, began_at = ?3, ended_at = ?4, listed = ?5, document = ?6 WHERE id = ?1";
    let at = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
    let values = params![job.id, job.status.as_str(), at(job.began_at), at(job.ended_at), job.is_listed, document(job)];
    connection.prepare_cached(sql)?.execute(values).map(drop)
}

impl Database {
    async fn read_jobs(
        &self,
        condition: &'static str,
        values: Vec<Box<dyn rusqlite::ToSql + Send>>,
    ) -> Result<Vec<Job>, StoreError> {
        let rows = self.scan(move |connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} {condition}"))?;
            let rows = statement.query_map(rusqlite::params_from_iter(values), RawJob::from_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.await?.into_iter().map(RawJob::decode).collect()
    }
}

impl JobStore for Database {
    fn insert_job(&self, job: Job) -> PortFuture<'_, (), StoreError> {
        Box::pin(self.write(move |connection| {
            let sql =
                "INSERT INTO jobs(id, status, kind, created_at, start_at, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let (created_at, start_at) = (job.created_at.as_millis(), job.start_at.as_millis());
            let values = params![job.id, job.status.as_str(), job.work.kind(), created_at, start_at, document(&job)];
            connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map(drop).map_err(fail)
        }))
    }

    fn update_job(&self, job: Job) -> PortFuture<'_, (), StoreError> {
        Box::pin(self.write(move |connection| write_row(connection, &job).map_err(fail)))
    }

    fn end_job(&self, job: Job, rest: Outcome) -> PortFuture<'_, (), StoreError> {
        Box::pin(self.write(move |connection| {
            let run = || -> rusqlite::Result<()> {
                write_row(connection, &job)?;
                let (kind, details) = outcome_columns(&rest);
                if kind == 0 {
                    return Ok(());
                }
                let sql = "UPDATE job_devices SET outcome = ?2, details = ?3, ended_at = ?4
                           WHERE job_id = ?1 AND outcome = 0";
                let ended_at = job.ended_at.map(Timestamp::as_millis);
                let changed = connection.execute(sql, params![job.id, kind, details, ended_at])?;
                if kind == 2 {
                    let sql = "UPDATE jobs SET failed = failed + ?2 WHERE id = ?1";
                    connection.execute(sql, params![job.id, changed as i64])?;
                }
                Ok(())
            };
            run().map_err(fail)
        }))
    }

    fn job<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<Job>, StoreError> {
        Box::pin(async move {
            let raw = self.read(|connection| {
                let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
                statement.query_row([id], RawJob::from_row).optional()
            })?;
            raw.map(RawJob::decode).transpose()
        })
    }

    fn jobs(
        &self,
        filter: JobFilter,
        before: Option<(Timestamp, String)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<Job>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, String::new()), |(at, id)| (at.as_millis(), id));
        let status = filter.status.map(JobStatus::as_str);
        Box::pin(self.read_jobs(
            "WHERE (created_at, id) < (?1, ?2) AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR status = ?4)
             ORDER BY created_at DESC, id DESC LIMIT ?5",
            vec![Box::new(at), Box::new(id), Box::new(filter.kind), Box::new(status), Box::new(limit as i64)],
        ))
    }

    fn unfinished_jobs(&self) -> PortFuture<'_, Vec<Job>, StoreError> {
        Box::pin(self.read_jobs("WHERE ended_at IS NULL ORDER BY start_at, id", vec![]))
    }

    fn forget_jobs(&self, before: Timestamp) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            let old = self.read_jobs("WHERE ended_at < ?1 LIMIT 20", vec![Box::new(before.as_millis())]).await?;
            if old.is_empty() {
                return Ok(());
            }
            self.write(move |connection| {
                let run = || -> rusqlite::Result<()> {
                    for job in &old {
                        let sql = "DELETE FROM job_devices WHERE (job_id, device_id, module_id) IN (
                                     SELECT job_id, device_id, module_id FROM job_devices WHERE job_id = ?1 LIMIT ?2)";
                        if (connection.execute(sql, params![job.id, FORGET_ROWS_MAX])? as i64) < FORGET_ROWS_MAX {
                            connection.execute("DELETE FROM jobs WHERE id = ?1", [&job.id])?;
                        }
                    }
                    Ok(())
                };
                run().map_err(fail)
            })
            .await
        })
    }

    fn list_devices<'a>(
        &'a self,
        id: &'a str,
        now: Timestamp,
        identities: Vec<Identity>,
    ) -> PortFuture<'a, (), StoreError> {
        let id = id.to_owned();
        Box::pin(self.write(move |connection| {
            let run = || -> rusqlite::Result<()> {
                let sql = "INSERT OR IGNORE INTO job_devices(job_id, device_id, module_id, outcome, created_at)
                           VALUES (?1, ?2, ?3, 0, ?4)";
                // A job that was cancelled meanwhile gets no more devices.
                let sql_open = "SELECT 1 FROM jobs WHERE id = ?1 AND ended_at IS NULL";
                if !connection.prepare_cached(sql_open)?.exists([&id])? {
                    return Ok(());
                }
                let (mut statement, mut listed) = (connection.prepare_cached(sql)?, 0);
                for identity in &identities {
                    listed += statement.execute(params![
                        id,
                        identity.device.as_str(),
                        module_of(identity),
                        now.as_millis()
                    ])?;
                }
                let sql = "UPDATE jobs SET devices = devices + ?2 WHERE id = ?1";
                connection.prepare_cached(sql)?.execute(params![id, listed as i64]).map(drop)
            };
            run().map_err(fail)
        }))
    }

    fn last_device_of<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<Identity>, StoreError> {
        Box::pin(async move {
            let last = self.read(|connection| {
                let sql = "SELECT device_id, module_id FROM job_devices WHERE job_id = ?1
                           ORDER BY device_id DESC, module_id DESC LIMIT 1";
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).optional()
            })?;
            last.map(|(device, module)| identity(&device, &module)).transpose()
        })
    }

    fn pending_devices<'a>(
        &'a self,
        id: &'a str,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Identity>, StoreError> {
        let (device, module) = after.map_or_else(Default::default, |a| (a.device.to_string(), module_of(a).to_owned()));
        let id = id.to_owned();
        Box::pin(async move {
            let rows = self.scan(move |connection| {
                let sql = "SELECT device_id, module_id FROM job_devices
                           WHERE job_id = ?1 AND outcome = 0 AND (device_id, module_id) > (?2, ?3)
                           ORDER BY device_id, module_id LIMIT ?4";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map(params![id, device, module, limit as i64], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            });
            rows.await?.iter().map(|(device, module)| identity(device, module)).collect()
        })
    }

    fn put_outcomes<'a>(&'a self, id: &'a str, outcomes: Vec<Fared>) -> PortFuture<'a, (), StoreError> {
        let id = id.to_owned();
        Box::pin(self.write(move |connection| {
            let run = || -> rusqlite::Result<()> {
                let sql = "UPDATE job_devices SET outcome = ?4, began_at = ?5, ended_at = ?6, details = ?7
                           WHERE job_id = ?1 AND device_id = ?2 AND module_id = ?3 AND outcome = 0";
                let (mut statement, mut succeeded, mut failed) = (connection.prepare_cached(sql)?, 0, 0);
                for (identity, began_at, ended_at, outcome) in &outcomes {
                    let (kind, details) = outcome_columns(outcome);
                    let (began_at, ended_at) = (began_at.as_millis(), ended_at.as_millis());
                    let device = identity.device.as_str();
                    let values = params![id, device, module_of(identity), kind, began_at, ended_at, details];
                    let changed = statement.execute(values)?;
                    succeeded += changed * usize::from(kind == 1);
                    failed += changed * usize::from(kind == 2);
                }
                let sql = "UPDATE jobs SET succeeded = succeeded + ?2, failed = failed + ?3 WHERE id = ?1";
                let values = params![id, succeeded as i64, failed as i64];
                connection.prepare_cached(sql)?.execute(values).map(drop)
            };
            run().map_err(fail)
        }))
    }

    fn device_jobs(
        &self,
        filter: DeviceJobFilter,
        after: Option<(String, Identity)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<DeviceJob>, StoreError> {
        let (job, device, module) = after.map_or_else(Default::default, |(job, identity)| {
            (job, identity.device.to_string(), module_of(&identity).to_owned())
        });
        Box::pin(async move {
            let rows = self.scan(move |connection| {
                // One statement for each filter, so that each has its index.
                let by_job = filter.job.as_ref().map_or("", |_| "AND d.job_id = ?5");
                let by_device = filter.device.as_ref().map_or("", |_| "AND d.device_id = ?6");
                let sql = format!(
                    "SELECT d.job_id, j.kind, d.device_id, d.module_id, d.outcome, d.created_at, d.began_at, d.ended_at,
                            d.details
                     FROM job_devices d JOIN jobs j ON j.id = d.job_id
                     WHERE (d.job_id, d.device_id, d.module_id) > (?1, ?2, ?3) {by_job} {by_device}
                       AND (?5 IS NULL OR TRUE) AND (?6 IS NULL OR TRUE)
                     ORDER BY d.job_id, d.device_id, d.module_id LIMIT ?4"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let values = params![job, device, module, limit as i64, filter.job, filter.device];
                let rows = statement.query_map(values, RawDeviceJob::from_row)?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            });
            rows.await?.into_iter().map(RawDeviceJob::decode).collect()
        })
    }
}

struct RawDeviceJob {
    ids: [String; 4],
    outcome: i64,
    times: (i64, Option<i64>, Option<i64>),
    details: Option<String>,
}

impl RawDeviceJob {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            ids: [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?],
            outcome: row.get(4)?,
            times: (row.get(5)?, row.get(6)?, row.get(7)?),
            details: row.get(8)?,
        })
    }

    fn decode(self) -> Result<DeviceJob, StoreError> {
        let [job_id, kind, device, module] = self.ids;
        let (created_at, began_at, ended_at) = self.times;
        Ok(DeviceJob {
            job_id,
            kind,
            identity: identity(&device, &module)?,
            outcome: read_outcome(self.outcome, self.details.as_deref()).ok_or_else(|| corrupt("job outcome"))?,
            created_at: Timestamp::from_millis(created_at),
            began_at: began_at.map(Timestamp::from_millis),
            ended_at: ended_at.map(Timestamp::from_millis),
        })
    }
}
