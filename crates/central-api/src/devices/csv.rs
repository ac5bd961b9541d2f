//! Devices in CSV files: many made at once, and all that are seen with what proves them.
//!
//! A file is looked at whole before anything of it is made: one that has an error makes nothing. A device that is there
//! already stays as it is and is told of.

use axum::Json;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use gantry_api::now;
use gantry_central::access::permissions::Permission;
use gantry_central::csv::{ERRORS_MAX, Export, Exported, Import, Row, Thumbprints, check};
use gantry_central::devices::{Device, Profile, write_properties};
use gantry_central::ids::{DeviceTemplateId, OrganizationId};
use gantry_central::templates::{Capabilities, Property, Schema};
use gantry_hub::HubError;
use gantry_hub::device::{Authentication, AuthenticationWrite, IfMatch};
use gantry_hub::ports::{Record, Search};
use gantry_identity::{DeviceId, Identity, KeyPair};
use gantry_provisioning::AttestationWrite;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::{Written, attestation, create, credentials, hub};
use crate::Failure;
use crate::call::Call;

/// Bytes of a text that a twin has (IoT Hub, twin size).
const TEXT_BYTES_MAX: usize = 4_096;
/// Files looked at at once: each takes a thread for a while.
static IMPORTS: Semaphore = Semaphore::const_new(2);
/// Devices made at once.
const MADE_AT_ONCE: usize = 32;
/// Ids told of devices that were there already.
const KEPT_TOLD_MAX: usize = 100;
/// Records asked of the store at once.
const LOOKED_AT_ONCE: usize = 500;

/// The property of a column, which is its name, after that of its component and a dot in one.
fn property<'c>(capabilities: Option<&'c Capabilities>, column: &str) -> Option<&'c Property> {
    let (component, name) = match column.split_once('.') {
        Some((component, name)) => (Some(component), name),
        None => (None, column),
    };
    capabilities?.part(component)?.property(name).filter(|property| property.is_writable || property.is_cloud)
}

/// What a cell is for a property: the text itself, or the JSON it is written as.
fn value(schema: &Schema, text: &str) -> Result<Value, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("it is longer than {TEXT_BYTES_MAX} bytes"));
    }
    let plain = Value::String(text.to_owned());
    let Err(unfit) = schema.check(&plain) else { return Ok(plain) };
    match serde_json::from_str::<Value>(text) {
        Ok(value) => schema.check(&value).map(|()| value).map_err(|unfit| unfit.to_string()),
        Err(_) => Err(unfit.to_string()),
    }
}

/// The properties of a row as a body has them.
fn properties(capabilities: Option<&Capabilities>, row: &Row) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    for (column, text) in &row.properties {
        let property = property(capabilities, column).ok_or_else(|| format!("column `{column}`: no such property"))?;
        let value = value(&property.schema, text);
        let value = value.map_err(|why| format!("row {}, column `{column}`: {why}", row.row))?;
        match column.split_once('.') {
            None => drop(all.insert(column.clone(), value)),
            Some((component, name)) => {
                let part = all.entry(component.to_owned()).or_insert_with(|| json!({}));
                if let Value::Object(part) = part {
                    part.insert(name.to_owned(), value);
                }
            }
        }
    }
    Ok(all)
}

pub(crate) async fn import(call: Call) -> Result<Json<Value>, Failure> {
    let id = |name: &str| call.asked(&[name]).filter(|text| !text.is_empty());
    let template = id("template").map(DeviceTemplateId::parse).transpose()?;
    let organization = id("organization").map(OrganizationId::parse).transpose()?;
    call.may_in(Permission::DevicesCreate, organization.as_ref())?;
    let state = call.central().state();
    let capabilities = super::template(&state.templates, template.as_ref())?.map(|template| template.capabilities());
    let capabilities = capabilities.transpose().map_err(|error| Failure::internal(&error))?;
    let all = capabilities;
    let capabilities = all.as_deref();
    let is_known = |column: &str| property(capabilities, column).is_some();
    let _turn = IMPORTS.acquire().await.map_err(|error| Failure::internal(&error))?;
    let wrong = |errors: Vec<String>, more: u64| {
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        Failure::unfit(format!("{}{more}", errors.join("; ")))
    };
    // A large file takes a while: not on a thread that others wait for.
    let (file, of) = (call.bytes.clone(), all.clone());
    let looked = tokio::task::spawn_blocking(move || look(&file, of.as_deref()));
    let proves = match looked.await.map_err(|error| Failure::internal(&error))? {
        Ok(proves) => proves,
        Err((errors, more)) => return Err(wrong(errors, more)),
    };
    if proves {
        call.may_in(Permission::ConnectivityManage, organization.as_ref())?;
    }
    // Nothing of it is wrong, so all rows are there.
    let rows = || Import::new(&call.bytes, is_known).into_iter().flatten().filter_map(Result::ok);
    let (call, template, organization) = (&call, &template, &organization);
    let one = |row: Row| async move {
        let id = row.device_id.clone();
        let profile = Profile { template: template.clone(), organization: organization.clone(), ..Profile::default() };
        make(call, capabilities, row, profile).await.map(|is_new| (id, is_new))
    };
    let mut made = stream::iter(rows().map(one)).buffer_unordered(MADE_AT_ONCE);
    let (mut new, mut kept, mut told) = (0_u64, 0_u64, vec![]);
    while let Some(outcome) = made.next().await {
        let (id, is_new) = outcome?;
        if is_new {
            new += 1;
            continue;
        }
        kept += 1;
        if told.len() < KEPT_TOLD_MAX && sees(call, &id).await? {
            told.push(Value::from(id.as_str()));
        }
    }
    Ok(Json(json!({ "made": new, "kept": kept, "keptDevices": told })))
}

/// Looks at a whole file: whether it has anything that proves devices, or what is wrong with it, and how much more.
fn look(file: &[u8], capabilities: Option<&Capabilities>) -> Result<bool, (Vec<String>, u64)> {
    let is_known = |column: &str| property(capabilities, column).is_some();
    check(file, is_known)
        .map_err(|refused| (refused.errors.iter().map(ToString::to_string).collect(), refused.more))?;
    let rows = || Import::new(file, is_known).into_iter().flatten().filter_map(Result::ok);
    let unfit: Vec<_> = rows().filter_map(|row| properties(capabilities, &row).err()).take(ERRORS_MAX).collect();
    if unfit.is_empty() {
        Ok(rows().any(|row| row.keys.is_some() || row.thumbprints.is_some()))
    } else {
        Err((unfit, 0))
    }
}

/// Whether the caller sees a device.
async fn sees(call: &Call, id: &DeviceId) -> Result<bool, Failure> {
    match hub(call).record(&Identity::device(id.clone())).await {
        Ok(record) => Ok(call.sees(Permission::DevicesView, Profile::of(&record.twin.tags).organization.as_ref())),
        Err(HubError::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the device of a row, unless there is one; says whether there was none.
async fn make(
    call: &Call,
    capabilities: Option<&Capabilities>,
    row: Row,
    mut profile: Profile,
) -> Result<bool, Failure> {
    let identity = Identity::device(row.device_id.clone());
    match hub(call).record(&identity).await {
        Ok(_) => return Ok(false),
        Err(HubError::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let is_named = row.display_name.as_str() != row.device_id.as_str();
    profile.display_name = is_named.then(|| row.display_name.clone());
    let written = Written {
        display_name: profile.display_name.clone(),
        template: profile.template.clone(),
        is_enabled: Some(true),
        is_edge: None,
        profile,
    };
    let authentication = match (&row.keys, &row.thumbprints) {
        (Some(keys), _) => AuthenticationWrite::Sas(Some(keys.clone())),
        (None, Some(Thumbprints { primary, secondary })) => {
            AuthenticationWrite::SelfSigned { primary: Some(primary.clone()), secondary: secondary.clone() }
        }
        (None, None) => AuthenticationWrite::Sas(credentials::derived(call, &row.device_id).await?),
    };
    let record = match create(call, &identity, written, authentication).await {
        Ok(record) => record,
        Err(failure) if failure.is_conflict() && hub(call).record(&identity).await.is_ok() => return Ok(false),
        Err(failure) => return Err(failure),
    };
    if let Some(keys) = &row.keys {
        let keys = AttestationWrite::SymmetricKey(Some(keys.clone()));
        attestation::give(call, &row.device_id, record.device.iot_edge, keys).await?;
    }
    let body = properties(capabilities, &row).map_err(Failure::unfit)?;
    if !body.is_empty() {
        let profile = Profile::of(&record.twin.tags);
        let write = write_properties(&record, &profile, capabilities, None, &Value::Object(body), false)?;
        if let Some(twin) = write.twin() {
            hub(call).write_twin(now(), &identity, &twin, &IfMatch::Any).await?;
        }
    }
    Ok(true)
}

pub(crate) async fn export(call: Call) -> Result<Response, Failure> {
    let template = call.asked(&["template"]).filter(|text| !text.is_empty());
    let template = template.map(DeviceTemplateId::parse).transpose()?;
    let state = call.central().state();
    let of = super::template(&state.templates, template.as_ref())?.map(|template| template.capabilities()).transpose();
    let of = of.map_err(|error| Failure::internal(&error))?;
    let columns = of.map_or_else(|| Export::new(vec![]), |capabilities| Export::of(&capabilities));
    let columns = match call.asked(&["separator"]) {
        None | Some("," | "comma") => columns,
        Some(";" | "semicolon") => columns.with_semicolons(),
        Some(other) => {
            return Err(Failure::invalid(format!("separator: `{other}` is neither `comma` nor `semicolon`")));
        }
    };
    let header = columns.header();
    let rest = stream::unfold(Some((call, template, columns, None)), |state| async move {
        let (call, template, columns, after) = state?;
        let next = some(&call, template.as_ref(), &columns, after).await;
        match next {
            Ok((text, None)) => Some((Ok(text), None)),
            Ok((text, after)) => Some((Ok(text), Some((call, template, columns, after)))),
            // The answer has begun: it ends before its end.
            Err(failure) => Some((Err(std::io::Error::other(format!("{failure:?}"))), None)),
        }
    });
    let body = stream::once(async { Ok(header) }).chain(rest).map(|text| text.map(Bytes::from));
    let disposition = "attachment; filename=\"devices.csv\"";
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The rows of some devices, and after which more follow.
async fn some(
    call: &Call,
    template: Option<&DeviceTemplateId>,
    columns: &Export,
    after: Option<Identity>,
) -> Result<(String, Option<Identity>), Failure> {
    let search = Search { modules: false, constraints: vec![] };
    let found = hub(call).find_devices(search, after, LOOKED_AT_ONCE).await?;
    let next = found.last().filter(|_| found.len() >= LOOKED_AT_ONCE).map(|record| record.device.identity.clone());
    let state = call.central().state();
    let mut text = String::new();
    for record in &found {
        let device = Device::of(record, &state.templates, false);
        let organization = device.profile.organization.as_ref();
        let is_seen = [Permission::DevicesView, Permission::ConnectivityRead]
            .into_iter()
            .all(|permission| call.sees(permission, organization));
        if is_seen && template.is_none_or(|template| device.template.as_ref() == Some(template)) {
            let (keys, thumbprints) = proofs(record);
            let keys = match keys {
                None if thumbprints.is_none() => registered(call, &record.device.identity.device).await?,
                keys => keys,
            };
            let properties = device.properties();
            text.push_str(&columns.row(&Exported {
                device_id: device.id(),
                display_name: device.display_name(),
                keys: keys.as_ref(),
                thumbprints: thumbprints.as_ref(),
                properties: &properties,
            }));
        }
    }
    Ok((text, next))
}

/// What proves a device at the hub.
fn proofs(record: &Record) -> (Option<KeyPair>, Option<Thumbprints>) {
    match &record.device.authentication {
        Authentication::Sas(keys) => (Some(keys.clone()), None),
        Authentication::SelfSigned { primary, secondary } => {
            let primary = primary.clone().or_else(|| secondary.clone());
            (None, primary.map(|primary| Thumbprints { primary, secondary: secondary.clone() }))
        }
        Authentication::CertificateAuthority | Authentication::None => (None, None),
    }
}

/// What proves a device at provisioning that has no keys at the hub yet.
async fn registered(call: &Call, id: &DeviceId) -> Result<Option<KeyPair>, Failure> {
    let own = attestation::own(call, id).await?;
    Ok(own.and_then(|own| match own.attestation {
        gantry_provisioning::Attestation::SymmetricKey(keys) => Some(keys),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_what_its_schema_takes() {
        let word = Schema::Word;
        assert_eq!(value(&word("string"), "5"), Ok(json!("5")));
        assert_eq!(value(&word("integer"), "5"), Ok(json!(5)));
        assert_eq!(value(&word("double"), "2.5"), Ok(json!(2.5)));
        assert_eq!(value(&word("boolean"), "true"), Ok(json!(true)));
        assert_eq!(value(&word("dateTime"), "2026-11-30T10:00:00Z"), Ok(json!("2026-11-30T10:00:00Z")));
        assert!(value(&word("integer"), "five").is_err() && value(&word("boolean"), "1").is_err());
    }
}
