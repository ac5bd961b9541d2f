//! Import and export of identities.

use axum::Json;
use gantry_hub::import_export::{Job, Kind as JobKind, Request};
use serde_json::{Map, Value, json};

use super::{KIND, rfc1123};
use crate::Failure;
use crate::call::Call;

type Answer = Result<Json<Value>, Failure>;

fn document(job: &Job) -> Value {
    json!({
        "jobId": job.id,
        "startTimeUtc": rfc1123(job.started_at),
        "endTimeUtc": job.ended_at.map(rfc1123),
        "type": job.kind.as_str(),
        "status": job.status.as_str(),
        "failureReason": job.failure_reason,
        "statusMessage": null,
        "parentJobId": null,
    })
}

/// Fields of a request, each of the type it must have.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Failure::invalid(format!("`{name}` is a string"))),
        }
    }

    fn needed(&self, name: &str) -> Result<Option<String>, Failure> {
        self.text(name)?.map(Some).ok_or_else(|| Failure::invalid(format!("`{name}` is missing")))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Failure::invalid(format!("`{name}` is true or false"))),
        }
    }

    fn is_identity_based(&self) -> Result<bool, Failure> {
        let named = self.text("authenticationType")?.is_some_and(|text| !text.eq_ignore_ascii_case("keyBased"));
        Ok(named || self.0.get("identity").is_some_and(|identity| !identity.is_null()))
    }

    fn export(&self) -> Result<Request, Failure> {
        let excludes = self.flag("excludeKeys")?;
        Ok(Request {
            kind: JobKind::Export,
            is_identity_based: self.is_identity_based()?,
            input_uri: None,
            input_blob_name: None,
            output_uri: self.needed("exportBlobContainerUri")?,
            output_blob_name: self.text("exportBlobName")?,
            exclude_keys: excludes.ok_or_else(|| Failure::invalid("`excludeKeys` is missing"))?,
            include_configurations: self.flag("includeConfigurations")?.unwrap_or(false),
            configurations_blob_name: self.text("configurationsBlobName")?,
        })
    }

    fn import(&self) -> Result<Request, Failure> {
        Ok(Request {
            kind: JobKind::Import,
            is_identity_based: self.is_identity_based()?,
            input_uri: self.needed("inputBlobContainerUri")?,
            input_blob_name: self.text("inputBlobName")?,
            output_uri: self.needed("outputBlobContainerUri")?,
            output_blob_name: self.text("outputBlobName")?,
            exclude_keys: false,
            include_configurations: self.flag("includeConfigurations")?.unwrap_or(false),
            configurations_blob_name: self.text("configurationsBlobName")?,
        })
    }
}

pub(crate) async fn list(call: Call) -> Answer {
    call.check_name(KIND)?;
    let jobs = call.management.api.import_export.list();
    Ok(Json(json!({ "value": jobs.iter().map(document).collect::<Vec<_>>() })))
}

pub(crate) async fn get(call: Call) -> Answer {
    call.check_name(KIND)?;
    Ok(Json(document(&call.management.api.import_export.get(call.piece("jobId"))?)))
}

pub(crate) async fn export(call: Call) -> Answer {
    call.check_name(KIND)?;
    let request = Fields(call.body()?).export()?;
    Ok(Json(document(&call.management.api.import_export.create(request).await?)))
}

pub(crate) async fn import(call: Call) -> Answer {
    call.check_name(KIND)?;
    let request = Fields(call.body()?).import()?;
    Ok(Json(document(&call.management.api.import_export.create(request).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: Value) -> Fields {
        Fields(body.as_object().unwrap().clone())
    }

    #[test]
    fn what_a_job_needs_is_asked_for_by_name() {
        let words = |result: Result<Request, Failure>| format!("{:?}", result.unwrap_err());
        assert!(words(fields(json!({ "excludeKeys": true })).export()).contains("exportBlobContainerUri"));
        assert!(words(fields(json!({ "exportBlobContainerUri": "x" })).export()).contains("excludeKeys"));
        assert!(words(fields(json!({ "inputBlobContainerUri": "x" })).import()).contains("outputBlobContainerUri"));
        let wrong = json!({ "inputBlobContainerUri": 1, "outputBlobContainerUri": "y" });
        assert!(words(fields(wrong).import()).contains("inputBlobContainerUri"));
    }

    #[test]
    fn an_identity_is_asked_for_in_either_way() {
        let is = |body: Value| fields(body).is_identity_based().unwrap();
        assert!(is(json!({ "authenticationType": "identityBased" })));
        assert!(is(json!({ "identity": { "userAssignedIdentity": "x" } })));
        assert!(!is(json!({ "authenticationType": "KeyBased", "identity": null })));
    }
}
