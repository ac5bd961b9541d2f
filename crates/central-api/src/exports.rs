//! Exports of data.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::CentralError;
use gantry_central::exports::filter::ExportFilter;
use gantry_central::exports::{DestinationUse, Enrichment, Export, ExportError, Source};
use gantry_central::ids::{DestinationId, DisplayName, ExportId};
use gantry_central::kept::Kept;
use gantry_hub::device::IfMatch;
use serde_json::{Value, json};

use crate::call::Call;
use crate::destinations::{self, put_status};
use crate::kind::Kind;
use crate::{Failure, body, list};

/// An export as bodies show it, with how it fares.
pub(crate) fn shown(call: &Call, id: &ExportId, one: &Export) -> Value {
    let mut all = show(id.as_str(), one);
    put_status(&mut all, call.application().exporting.health.of_export(id, one.enabled));
    all
}

fn show(id: &str, one: &Export) -> Value {
    let mut all = json!({
        "id": id,
        "displayName": one.display_name.as_str(),
        "enabled": one.enabled,
        "source": one.source.word(),
    });
    if let Some(filter) = &one.filter {
        all["filter"] = filter.text().into();
    }
    if !one.enrichments.is_empty() {
        let shown = one.enrichments.iter().map(|(name, one)| (name.clone(), show_enrichment(one)));
        all["enrichments"] = Value::Object(shown.collect());
    }
    let to = |one: &DestinationUse| {
        let mut shown = json!({ "id": one.id.as_str() });
        if let Some(transform) = &one.transform {
            shown["transform"] = transform.as_str().into();
        }
        shown
    };
    all["destinations"] = one.destinations.iter().map(to).collect();
    all
}

fn show_enrichment(one: &Enrichment) -> Value {
    match one {
        Enrichment::Value { value } => json!({ "value": value }),
        Enrichment::System { path, .. } => json!({ "path": path }),
        Enrichment::Property { target, path } => json!({ "target": target, "path": path }),
    }
}

fn read(body: &Value) -> Result<Export, Failure> {
    let word = body::needed(body, "source")?;
    let source = Source::parse(word).ok_or_else(|| {
        Failure::invalid(format!(
            "`source`: `{word}` is none of `telemetry`, `properties`, `deviceLifecycle`, `deviceConnectivity`, \
             `deviceTemplateLifecycle` or `audit`"
        ))
    })?;
    if matches!(source, Source::DeviceTemplateLifecycle | Source::Audit) {
        return Err(Failure::not_implemented(&format!("an export of `{word}`")));
    }
    let enabled = body::flag(body, "enabled")?.ok_or_else(|| Failure::invalid("`enabled` is missing"))?;
    let filter = body::text(body, "filter")?.filter(|text| !text.trim().is_empty());
    Ok(Export {
        display_name: DisplayName::parse(body::needed(body, "displayName")?)?,
        enabled,
        source,
        filter: filter.map(ExportFilter::parse).transpose().map_err(ExportError::from).map_err(CentralError::from)?,
        enrichments: read_enrichments(body)?,
        destinations: read_destinations(body)?,
    })
}

fn read_enrichments(body: &Value) -> Result<BTreeMap<String, Enrichment>, Failure> {
    let all = match body.get("enrichments") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(all)) => all,
        Some(_) => return Err(Failure::invalid("`enrichments` is an object of enrichments by name")),
    };
    let one = |(name, one): (&String, &Value)| {
        let members = one.as_object().ok_or_else(|| Failure::invalid(format!("enrichment `{name}` is an object")))?;
        if let Some(other) = members.keys().find(|name| !["target", "path", "value"].contains(&name.as_str())) {
            return Err(Failure::invalid(format!("`{other}` is nothing of an enrichment")));
        }
        let text = |member: &str| body::text(one, member).map(|text| text.map(str::to_owned));
        // A value may be null.
        let read = Enrichment::new(text("target")?, text("path")?, members.get("value").cloned());
        Ok((name.clone(), read.map_err(CentralError::from)?))
    };
    all.iter().map(one).collect()
}

fn read_destinations(body: &Value) -> Result<Vec<DestinationUse>, Failure> {
    let wrong = || Failure::invalid("`destinations` is an array of objects with `id` and perhaps `transform`");
    let all = body.get("destinations").and_then(Value::as_array).ok_or_else(wrong)?;
    let one = |one: &Value| {
        let members = one.as_object().ok_or_else(wrong)?;
        if members.keys().any(|name| name != "id" && name != "transform") {
            return Err(wrong());
        }
        let id = DestinationId::parse(body::needed(one, "id")?)?;
        let transform = body::text(one, "transform")?.filter(|text| !text.trim().is_empty()).map(str::to_owned);
        Ok(DestinationUse { id, transform, since_ms: 0 })
    };
    all.iter().map(one).collect()
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let all = call.who.state.exports.iter();
    list::answer(&call, all.map(|(id, kept)| (id.to_string(), (id, kept))), |_, (id, kept)| {
        shown(&call, id, &kept.value)
    })
}

fn known(call: &Call) -> Result<(ExportId, &Kept<Export>), Failure> {
    let id = call.id("exportId", ExportId::parse)?;
    match call.who.state.exports.get(&id) {
        Some(kept) => Ok((id, kept)),
        None => Err(CentralError::from(ExportError::Unknown(id)).into()),
    }
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let (id, kept) = known(&call)?;
    Ok(Json(shown(&call, &id, &kept.value)))
}

/// Exports, as a kind.
pub(crate) struct Exports;

impl Kind for Exports {
    type Id = ExportId;
    type Object = Export;
    const WHOLE: &'static [&'static str] = &[];

    fn known(call: &Call) -> Result<(ExportId, &Kept<Export>), Failure> {
        known(call)
    }

    fn show(id: &str, kept: &Kept<Export>) -> Value {
        show(id, &kept.value)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        let id = call.id("exportId", ExportId::parse)?;
        let new = read(body)?;
        new.check().map_err(CentralError::from)?;
        for to in &new.destinations {
            let Some(program) = &to.transform else { continue };
            let checked = call.application().exporting.transforms.check(program).await;
            checked.map_err(|why| Failure::invalid(format!("`transform` for destination `{}`: {why}", to.id)))?;
        }
        let kept = call.central().put_export(call.write(if_match), &id, &new).await?;
        Ok(Json(shown(call, &id, &kept.value)))
    }
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let (id, _) = known(&call)?;
    call.central().delete_export(&id, &call.if_match(&Value::Null)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The destinations of an export, with the transform of each.
pub(crate) async fn destinations(call: Call) -> Result<Response, Failure> {
    let (_, export) = known(&call)?;
    let state = &call.who.state;
    let mut all: Vec<_> = export.value.destinations.iter().collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    let all =
        all.into_iter().filter_map(|to| state.destinations.get(&to.id).map(|kept| (to.id.to_string(), (to, kept))));
    list::answer(&call, all, |_, (to, kept)| {
        let mut shown = destinations::shown(&call, &to.id, &kept.value);
        if let Some(transform) = &to.transform {
            shown["transform"] = transform.as_str().into();
        }
        shown
    })
}
