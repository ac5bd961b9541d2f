//! Where devices upload files: one object, or none; then they upload to the platform itself, if anywhere.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::CentralError;
use gantry_central::file_uploads::{FileUploads, FileUploadsError, SasTtl, State};
use gantry_central::ids::Single;
use gantry_central::kept::Kept;
use gantry_central::secrets::ConnectionString;
use gantry_hub::device::IfMatch;
use serde_json::{Value, json};

use crate::call::Call;
use crate::kind::Kind;
use crate::{Failure, body};

fn show(kept: &Kept<FileUploads>) -> Value {
    let one = &kept.value;
    let mut all = json!({
        "connectionString": one.connection_string.masked(),
        "container": one.container,
        "readAccess": one.read_access,
        // It is applied before it is answered.
        "state": State::Succeeded.word(),
        "etag": format!("\"{}\"", kept.etag.text()),
    });
    if let Some(account) = &one.account {
        all["account"] = account.as_str().into();
    }
    if let Some(ttl) = &one.sas_ttl {
        all["sasTtl"] = ttl.text().into();
    }
    all
}

fn read(body: &Value) -> Result<FileUploads, Failure> {
    let connection_string = ConnectionString::parse(body::needed(body, "connectionString")?);
    let sas_ttl = body::text(body, "sasTtl")?.map(SasTtl::parse).transpose();
    Ok(FileUploads {
        account: body::text(body, "account")?.map(str::to_owned),
        connection_string: connection_string.map_err(FileUploadsError::from).map_err(CentralError::from)?,
        container: body::needed(body, "container")?.to_owned(),
        sas_ttl: sas_ttl.map_err(CentralError::from)?,
        read_access: body::flag(body, "readAccess")?.unwrap_or(false),
    })
}

fn known(call: &Call) -> Result<(Single, &Kept<FileUploads>), Failure> {
    let kept = call.who.state.file_uploads();
    kept.map(|kept| (Single, &**kept)).ok_or_else(|| CentralError::from(FileUploadsError::Unknown).into())
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    Ok(Json(show(known(&call)?.1)))
}

/// Where devices upload files, as a kind of one.
pub(crate) struct Uploads;

impl Kind for Uploads {
    type Id = Single;
    type Object = FileUploads;
    const WHOLE: &'static [&'static str] = &[];

    fn known(call: &Call) -> Result<(Single, &Kept<FileUploads>), Failure> {
        known(call)
    }

    fn show(_: &str, kept: &Kept<FileUploads>) -> Value {
        show(kept)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        let uploads = &call.application().uploads;
        let check = |new: &FileUploads| uploads.check(new);
        let kept = call.central().put_file_uploads(call.write(if_match), &read(body)?, check).await?;
        apply(call)?;
        Ok(Json(show(&kept)))
    }
}

/// Has devices upload where the application says now, whoever said it.
fn apply(call: &Call) -> Result<(), Failure> {
    let state = call.central().state();
    let now = state.file_uploads().map(|kept| &kept.value);
    call.application().uploads.apply(now).map_err(Failure::invalid)
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    known(&call)?;
    call.central().delete_file_uploads(&call.if_match(&Value::Null)?).await?;
    apply(&call)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
